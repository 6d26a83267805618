//! A camera path as a project holds it: keyframes and how the camera goes between them.

use glam::{Quat, Vec3};
use serde::{Deserialize, Serialize};

use crate::motion::depth::DepthSource;

/// A camera's way through the picture, and how deep the picture is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraPath {
    /// What gives every pixel its depth.
    pub depth: DepthSource,
    /// Field of view of the camera that took the picture, over its longer side, degrees.
    #[serde(default = "default_fov_deg")]
    pub fov_deg: f32,
    /// Where the optical axis met the picture, px of the picture; its middle if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_px: Option<(f32, f32)>,
    /// Keys by rising frame; with none the camera stays where the picture was taken.
    #[serde(default)]
    pub keys: Vec<CameraKey>,
    /// What the camera always looks at, world; the keys' rotations then say only its roll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_at: Option<Vec3>,
    /// The trembling of a hand, added to the keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handheld: Option<Handheld>,
}

/// The camera at one frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraKey {
    /// When, in frames at 16 fps.
    pub frame: f32,
    /// Where the eye is, world.
    #[serde(default)]
    pub position: Vec3,
    /// From camera space to world space, (x, y, z, w).
    #[serde(default)]
    pub rotation: Quat,
    /// Field of view over the picture's longer side, degrees; the path's own if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fov_deg: Option<f32>,
    /// How the camera goes from here to the next key.
    #[serde(default)]
    pub curve: Curve,
}

/// How values go from one key to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Curve {
    /// At constant speed.
    Linear,
    /// Through the keys without a kink (Catmull-Rom in time), at rest at both ends of the path.
    #[default]
    Smooth,
    /// Stays until the next key, then jumps.
    Hold,
    /// A cubic Bezier curve of progress over time, from (0, 0) to (1, 1), as in CSS.
    Bezier {
        /// First handle: time 0..1, progress.
        from: (f32, f32),
        /// Second handle.
        to: (f32, f32),
    },
}

/// A hand-held camera's trembling, decided by its seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handheld {
    /// Root mean square of the eye's way, world units.
    pub position: f32,
    /// Root mean square of the turn about each axis, degrees.
    pub rotation_deg: f32,
    /// Swings a second, about.
    pub frequency_hz: f32,
    /// Decides which trembling.
    pub seed: u64,
}

/// Of an ordinary lens.
fn default_fov_deg() -> f32 {
    50.0
}
