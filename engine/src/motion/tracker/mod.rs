//! Long-term point tracking: where chosen points of a clip go, frame by frame, through occlusion and back.
//!
//! Invariant: a tracker sees each frame once and in order, so tracks come out while frames come in; the result depends on the frames
//! and the points alone, not on the number of threads; every place is finite. Guarded by the tests of this folder; figures come
//! from `kinebrush eval track`.

mod block;
mod cache;
mod clip_tracks;
mod cut;
mod direct;
mod follow;
mod long_term;
mod measure;
mod members;
mod neighbours;
mod plate;
mod point;
mod pyramid;
mod settle;
mod sight;
#[cfg(test)]
mod tests;

use glam::Vec2;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::picture::Mask;

pub use cache::{cached_tracks_path, track_clip_cached};
pub use clip_tracks::{ClipTracks, track_clip};
pub use long_term::LucasKanade;
pub use measure::{ClipReport, Return, there_and_back, tracking_speed};

/// Longest side of the picture that tracking works on, px: finer detail costs time and gives nothing.
pub const MAX_SIDE: usize = 4096;

/// Where a point is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackedPoint {
    /// px of the clip's frame; while the point is not visible, where its neighbours say that it is.
    pub place: Vec2,
    /// Whether the frame shows it.
    pub visible: bool,
    /// How far to trust the place, 0..1: small where nothing is to be seen but a flat colour or an edge, and while it is hidden.
    pub quality: f32,
}

/// Follows points from frame to frame.
pub trait PointTracker: Send {
    /// Points to follow from the frame that is pushed next, px of it. Places that are not finite are put into the corner.
    fn add(&mut self, points: &[Vec2]);
    /// Takes the next frame's luma, 0..1.
    ///
    /// # Errors
    /// If the frame is empty or of another size than the one before.
    fn push(&mut self, frame: &Mask) -> Result<()>;
    /// Every point that was added before the last frame, in the order of [`PointTracker::add`].
    fn tracked(&self) -> &[TrackedPoint];
    /// Frames (counted from 0) at which the clip cuts to something else. All tracks end there; points added later live on.
    fn cuts(&self) -> &[usize];
}

/// What to follow, and how carefully.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackOptions {
    /// Points along the longer side of a grid over the first frame; left out where there are `places`.
    pub points: usize,
    /// Chosen places in the first frame, px.
    pub places: Vec<(f32, f32)>,
    /// Every how many frames of the clip one is tracked and kept; 1 is all.
    pub every: usize,
    /// First frame of the clip that is used.
    pub first: usize,
    /// Most frames that are tracked; all if not given.
    pub frames: Option<usize>,
}

impl Default for TrackOptions {
    fn default() -> Self {
        Self { points: 50, places: Vec::new(), every: 1, first: 0, frames: None }
    }
}

/// A grid of points over a frame, in the middle of equal cells, `along` of them along the longer side (1 to 200).
pub fn grid(width: usize, height: usize, along: usize) -> Vec<Vec2> {
    let (width, height) = (width.max(1) as f32, height.max(1) as f32);
    let along = along.clamp(1, 200) as f32;
    let cell = width.max(height) / along;
    let (columns, rows) = ((width / cell).round().max(1.0), (height / cell).round().max(1.0));
    let size = Vec2::new(width / columns, height / rows);
    (0..(columns * rows) as usize).map(|i| Vec2::new(i as f32 % columns + 0.5, (i as f32 / columns).floor() + 0.5) * size).collect()
}
