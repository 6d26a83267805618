//! All that the guide needs to know of one frame: where every layer is, and from where it is looked at.

use super::camera::View;
use super::layer_motion::LayerMotion;

/// The motions of one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameMotion {
    /// The plate's: source px to px of the picture's surface.
    pub plate: LayerMotion,
    /// Each object's, back to front, likewise.
    pub objects: Vec<LayerMotion>,
    /// How the camera sees the picture's surface; None while it stands where the picture was taken from, and where nothing has depth.
    pub view: Option<View>,
}

impl FrameMotion {
    /// Nothing but the plate, where it is in the source.
    pub fn still() -> Self {
        Self::flat(LayerMotion::STILL, Vec::new())
    }

    /// Layers seen from where the picture was taken.
    pub fn flat(plate: LayerMotion, objects: Vec<LayerMotion>) -> Self {
        Self { plate, objects, view: None }
    }
}
