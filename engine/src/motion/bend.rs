//! Soft layers: a mesh whose vertices follow the layer's motion in part.
//!
//! Invariant: where the weight is 0 the mesh follows the plate, where a pin is 1 it stays. Guarded by the tests of `scene`.

use glam::Vec2;

use super::layer_motion::Mesh;
use crate::picture::Mask;

/// The rest mesh of a soft layer and how much each vertex takes part.
#[derive(Clone, Debug)]
pub(crate) struct Bend {
    rest: Mesh,
    /// Share of the layer's own motion, 0 at the border.
    weights: Vec<f32>,
    /// Share that stays although everything moves.
    pinned: Vec<f32>,
}

impl Bend {
    /// A mesh over the part of the picture where `weights` is not zero, with two cells of margin that go with the plate. `pins` must
    /// already be taken from `weights`.
    pub fn new(weights: &Mask, pins: Option<&Mask>) -> Self {
        let support = |i: &usize| weights.data[*i] > 0.0;
        let (mut low, mut high) = (Vec2::new(weights.width as f32, weights.height as f32), Vec2::ZERO);
        for i in (0..weights.data.len()).filter(support) {
            let corner = Vec2::new((i % weights.width) as f32, (i / weights.width) as f32);
            (low, high) = (low.min(corner), high.max(corner + 1.0));
        }
        high = high.max(low);
        // Fine enough for the picture and, in a small region, for the slope of its weights.
        let coarse = (weights.width.max(weights.height) as f32 / 64.0).max(8.0);
        let spacing_px = coarse.min((high - low).min_element() / 12.0).max(2.0);
        let origin = low - 2.0 * spacing_px;
        let cells = ((high - low) / spacing_px).ceil();
        let (columns, rows) = (cells.x as usize + 5, cells.y as usize + 5);
        let positions: Vec<Vec2> =
            (0..rows * columns).map(|i| origin + Vec2::new((i % columns) as f32, (i / columns) as f32) * spacing_px).collect();
        let sample = |mask: &Mask| positions.iter().map(|p| value(mask, *p)).collect::<Vec<f32>>();
        let pinned = pins.map_or_else(|| vec![0.0; positions.len()], sample);
        Self { weights: sample(weights), pinned, rest: Mesh { origin, spacing_px, columns, rows, positions } }
    }

    /// The mesh at rest.
    pub fn rest(&self) -> &Mesh {
        &self.rest
    }

    /// The mesh when the plate takes each vertex (its index, its place at rest) to `base` and the layer's full weight to `own`.
    pub fn at(&self, base: impl Fn(usize, Vec2) -> Vec2, own: impl Fn(usize, Vec2) -> Vec2) -> Mesh {
        let positions = self.rest.positions.iter().zip(&self.weights).zip(&self.pinned).enumerate();
        let positions = positions.map(|(i, ((rest, weight), pinned))| {
            let base = base(i, *rest);
            base.lerp(*rest, *pinned) + (own(i, *rest) - base) * *weight
        });
        Mesh { positions: positions.collect(), ..self.rest.clone() }
    }
}

/// A mask's value at a place; outside the picture the border's value holds on.
pub(crate) fn value(mask: &Mask, place: Vec2) -> f32 {
    mask.bilinear(place.x, place.y)
}
