//! What a point looked like when it was seen well: a piece of a frame at a few sizes.
//!
//! Invariant: holds the pixels that a template may need and no more, so a clicked point does not keep a whole frame. Guarded by the
//! tests below.

use super::block::{Bells, Template};
use super::pyramid::Pyramid;
use crate::picture::Mask;
use glam::{Mat2, Vec2};

/// Sizes that are kept: full, half, quarter.
pub(super) const LEVELS: usize = 3;
/// Pixels kept around a point: half a block of the coarsest level, turned and twice as large.
const MARGIN: f32 = 48.0;

/// A piece of a frame.
#[derive(Debug)]
pub(super) struct Sight {
    origin: Vec2,
    levels: Vec<Mask>,
}

impl Sight {
    /// The part of `frame` around `places` that their templates need.
    pub fn around(frame: &Pyramid, places: impl Iterator<Item = Vec2>) -> Self {
        let (low, high) = places.fold((Vec2::MAX, Vec2::MIN), |(low, high), p| (low.min(p), high.max(p)));
        let size = Vec2::new(frame.levels[0].width as f32, frame.levels[0].height as f32);
        let step = (1 << (LEVELS - 1)) as f32;
        let origin = (((low - MARGIN).clamp(Vec2::ZERO, (size - 1.0).max(Vec2::ZERO))) / step).floor() * step;
        let end = (high + MARGIN).clamp(origin + 1.0, size.max(origin + 1.0));
        let levels = frame.levels.iter().take(LEVELS).enumerate().map(|(level, mask)| {
            let scale = 0.5f32.powi(level as i32);
            let (x0, y0) = ((origin.x * scale) as usize, (origin.y * scale) as usize);
            let (x1, y1) = ((end.x * scale).ceil() as usize, (end.y * scale).ceil() as usize);
            let (x0, y0) = (x0.min(mask.width - 1), y0.min(mask.height - 1));
            let (x1, y1) = (x1.clamp(x0 + 1, mask.width), y1.clamp(y0 + 1, mask.height));
            let data = (y0..y1).flat_map(|y| &mask.data[y * mask.width + x0..y * mask.width + x1]).copied().collect();
            Mask { width: x1 - x0, height: y1 - y0, data }
        });
        Self { origin, levels: levels.collect() }
    }

    /// Number of sizes.
    pub fn sizes(&self) -> usize {
        self.levels.len()
    }

    /// What a frame's `level` shows of the point at `at` if the surroundings have been changed by `shape` since.
    pub fn template(&self, at: Vec2, shape: Mat2, level: usize, bells: &Bells) -> Option<Template> {
        let scale = 0.5f32.powi(level as i32);
        Template::new(self.levels.get(level)?, (at - self.origin) * scale, shape.inverse(), bells)
    }

    /// Luma at a place.
    pub fn luma(&self, at: Vec2) -> f32 {
        let at = at - self.origin;
        self.levels[0].bilinear(at.x, at.y)
    }
}
