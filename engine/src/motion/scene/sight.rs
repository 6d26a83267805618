//! What a camera that has moved sees of a scene: a coarse depth buffer over the frame decides what hides what.
//!
//! Every second pixel of the picture is looked at in its place and leaves its inverse depth in the cells it covers; of layers as near as
//! each other the upper one counts. A point is hidden where something clearly nearer is in its cell: nearer than its own surface can be
//! there, whose slope is measured around it. Invariant: no point of a smooth surface is hidden by that surface, however slanted. Guarded
//! by the tests below and those of `scene`.

use std::sync::Arc;

use glam::{Mat3, Vec2, Vec3};

use crate::motion::camera::View;
use crate::motion::depth::DepthMap;

/// Longer side of the grid of samples: a larger scene has larger steps.
const SAMPLES: usize = 320;
/// Smallest step between samples, px; a cell is twice as large.
const LEAST_STEP_PX: f32 = 2.0;
/// What is nearer by less than this share hides nothing by its depth.
const SLACK: f32 = 0.05;
/// What changes by more than this share within a cell and a half is another surface.
const TORN: f32 = 0.4;
/// A sample covers at most this many cells to each side: nearer things are known by several samples anyway.
const MOST_CELLS: f32 = 8.0;
/// Steps of the search for the source of a place, and how near it must come, px.
const STEPS: usize = 8;
const FOUND_PX: f32 = 1.5;
/// Farthest that a place may lie outside, px: numbers beyond are of no use to anybody.
const FARTHEST_PX: f32 = 1e5;

/// A scene's depth, and samples of its picture.
#[derive(Debug)]
pub(super) struct Relief {
    pub depth: Arc<DepthMap>,
    step_px: f32,
    samples: Vec<Sample>,
    /// The picture's middle distance, inverted.
    middle: f32,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    source: Vec2,
    inverse: f32,
    layer: u16,
}

/// What one camera sees.
pub(super) struct Sight {
    view: View,
    relief: Arc<Relief>,
    cell_px: f32,
    columns: usize,
    rows: usize,
    cells: Vec<Option<Seen>>,
}

/// The nearest thing in a cell.
#[derive(Clone, Copy)]
struct Seen {
    source: Vec2,
    place: Vec2,
    layer: u16,
    inverse: f32,
}

impl Relief {
    /// Of a scene of this size; `layer_at` says which layer shows where.
    pub fn new(depth: Arc<DepthMap>, (width, height): (usize, usize), layer_at: impl Fn(Vec2) -> u16) -> Self {
        let step_px = (width.max(height) as f32 / SAMPLES as f32).max(LEAST_STEP_PX);
        let count = |side: usize| (side as f32 / step_px).ceil() as usize;
        let (columns, rows) = (count(width), count(height));
        let sources = (0..columns * rows).map(|i| (Vec2::new((i % columns) as f32, (i / columns) as f32) + 0.5) * step_px);
        let samples = sources.map(|source| Sample { source, inverse: depth.at(source), layer: layer_at(source) }).collect();
        let middle = depth.spread().1.recip();
        Self { depth, step_px, samples, middle }
    }
}

impl Sight {
    /// What `view` sees of a scene of this size when `surface` says where a layer's source is on the picture's surface.
    pub fn new(view: View, relief: Arc<Relief>, (width, height): (usize, usize), surface: impl Fn(usize, Vec2) -> Vec2) -> Self {
        let cell_px = relief.step_px * 2.0;
        let count = |side: usize| (side as f32 / cell_px).ceil() as usize;
        let (columns, rows) = (count(width), count(height));
        let mut cells: Vec<Option<Seen>> = vec![None; columns * rows];
        for sample in &relief.samples {
            let on_surface = surface(usize::from(sample.layer), sample.source);
            let Some((place, inverse)) = view.project(on_surface, sample.inverse) else { continue };
            let reach = (relief.step_px * 0.5 * enlargement(&view, on_surface, sample.inverse, place)).min(MOST_CELLS * cell_px);
            let span = |at: f32, count: usize| {
                let (low, high) = ((at - reach) / cell_px, (at + reach) / cell_px);
                // A cast to an index keeps what is below 0 at 0.
                low.floor() as usize..if high < 0.0 { 0 } else { (high as usize + 1).min(count) }
            };
            let seen = Seen { source: sample.source, place, layer: sample.layer, inverse };
            for (row, column) in span(place.y, rows).flat_map(|row| span(place.x, columns).map(move |column| (row, column))) {
                let cell = &mut cells[row * columns + column];
                if cell.is_none_or(|last| seen.hides(&last)) {
                    *cell = Some(seen);
                }
            }
        }
        Self { view, relief, cell_px, columns, rows, cells }
    }

    /// Where a point of `layer` is in the frame, and whether something hides it there; `surface` is its layer's motion, and `holds` says
    /// whether a layer has a source.
    pub fn shown(&self, source: Vec2, layer: usize, surface: impl Fn(Vec2) -> Vec2, holds: impl Fn(usize, Vec2) -> bool) -> (Vec2, bool) {
        let project = |source: Vec2| self.view.project(surface(source), self.relief.depth.at(source));
        let Some((place, inverse)) = project(source) else { return (surface(source), true) };
        let place = place.clamp(Vec2::splat(-FARTHEST_PX), Vec2::splat(FARTHEST_PX));
        let Some(front) = self.cell(place) else { return (place, false) };
        // How much the point's own surface comes nearer within a cell, by the steeper of both sides that are still this surface: a crease
        // counts, an edge does not.
        let slope = |axis: Vec2| {
            let one_side = |way: Vec2| {
                // Beyond the picture the depth of its border goes on, which is no slope.
                let last = Vec2::new(self.relief.depth.inverse.width as f32, self.relief.depth.inverse.height as f32);
                if (source + way).cmplt(Vec2::ZERO).any() || (source + way).cmpge(last).any() {
                    return 0.0;
                }
                match project(source + way) {
                    Some((other, near)) if (near - inverse).abs() <= TORN * near.max(inverse) => {
                        (near - inverse).abs() / other.distance(place).max(1e-3)
                    }
                    _ => 0.0,
                }
            };
            let way = axis * (self.cell_px + self.relief.step_px);
            one_side(way).max(one_side(-way))
        };
        let within_cell = (slope(Vec2::X) + slope(Vec2::Y)) * self.cell_px * 2.0;
        let nearer = front.inverse - inverse;
        let own = inverse.max(front.inverse);
        // The cell is coarser than the border of a layer that lies on another.
        let is_above = usize::from(front.layer) > layer
            && nearer > -(SLACK * own + within_cell)
            && holds(usize::from(front.layer), front.source + (place - front.place));
        (place, is_above || nearer > SLACK * own + within_cell)
    }

    /// The layer that shows at `place`, and the place's source on it; None where the picture has nothing to show there.
    pub fn source(&self, place: Vec2, surface: impl Fn(usize, Vec2) -> Vec2) -> Option<(u16, Vec2)> {
        let front = self.cell(place)?;
        let layer = usize::from(front.layer);
        let project = |source: Vec2| self.view.project(surface(layer, source), self.relief.depth.at(source)).map(|(place, _)| place);
        let (mut source, mut best, mut least) = (front.source, front.source, f32::INFINITY);
        for _ in 0..STEPS {
            let Some(at) = project(source) else { break };
            let off = place - at;
            if off.length() < least {
                (best, least) = (source, off.length());
            }
            let (Some(right), Some(below)) = (project(source + Vec2::X), project(source + Vec2::Y)) else { break };
            let linear = glam::Mat2::from_cols(right - at, below - at);
            // Across an edge of the depth the slope says nothing.
            let step = if linear.determinant().abs() > 0.05 { linear.inverse() * off } else { off };
            source += step.clamp_length_max(2.0 * self.relief.step_px);
        }
        // At an edge the sample of the cell may be all that is there.
        (least <= FOUND_PX.max(self.cell_px)).then_some((front.layer, best))
    }

    /// The place on the picture's surface that would be seen at `place` if it were as far as the picture's middle distance.
    pub fn surface(&self, place: Vec2) -> Vec2 {
        let [x, y, one, depth] = self.view.columns;
        let back = Mat3::from_cols(x, y, one + depth * self.relief.middle);
        let seen: Vec3 = back.inverse() * place.extend(1.0);
        let surface = seen.truncate() / seen.z;
        if surface.is_finite() { surface.clamp(Vec2::splat(-FARTHEST_PX), Vec2::splat(FARTHEST_PX)) } else { place }
    }

    fn cell(&self, place: Vec2) -> Option<Seen> {
        let cell = (place / self.cell_px).floor();
        let is_inside = cell.x >= 0.0 && cell.y >= 0.0 && cell.x < self.columns as f32 && cell.y < self.rows as f32;
        if is_inside { self.cells[cell.y as usize * self.columns + cell.x as usize] } else { None }
    }
}

impl Seen {
    /// Whether it hides `last`, which was in the cell before.
    fn hides(&self, last: &Self) -> bool {
        let slack = SLACK * self.inverse.max(last.inverse);
        let nearer = self.inverse - last.inverse;
        if self.layer == last.layer { nearer > 0.0 } else { nearer > slack || nearer >= -slack && self.layer > last.layer }
    }
}

/// How much larger `view` shows what is around a place of the surface, seen at `place`.
fn enlargement(view: &View, surface: Vec2, inverse: f32, place: Vec2) -> f32 {
    let [x, y, one, depth] = view.columns;
    let distance = x.z * surface.x + y.z * surface.y + one.z + depth.z * inverse;
    let along = |axis: Vec3| (axis.truncate() - place * axis.z).length() / distance.max(1e-6);
    // A diagonal is longer than a side.
    1.3 * along(x).max(along(y))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::motion::camera::{Camera, Lens};
    use crate::picture::Mask;
    use glam::Quat;

    const SIZE: (usize, usize) = (160, 100);

    fn sight(inverse: impl Fn(usize, usize) -> f32 + Sync, position: Vec3, yaw_deg: f32) -> Sight {
        let lens = Lens::from_fov(160.0, 100.0, 60.0);
        let rotation = Quat::from_rotation_y(yaw_deg.to_radians());
        let view = View::new(&lens, &Camera { position, rotation, lens });
        let depth = Arc::new(DepthMap::new(Mask::from_fn(SIZE.0, SIZE.1, inverse)));
        Sight::new(view, Arc::new(Relief::new(depth, SIZE, |_| 0)), SIZE, |_, source| source)
    }

    #[test]
    fn no_point_of_a_slanted_surface_is_hidden_by_it() {
        // A wall that leads far away, and a ground.
        let surfaces: [fn(usize, usize) -> f32; 2] = [|x, _| 0.05 + x as f32 * 0.003, |_, y| 0.083 + (y as f32 - 20.0).max(0.0) * 0.006];
        for surface in surfaces {
            for (position, yaw_deg) in [
                (Vec3::new(0.3, 0.0, 0.0), 0.0),
                (Vec3::new(-0.4, 0.1, 0.5), 10.0),
                (Vec3::new(0.0, -0.2, 0.7), -15.0),
                (Vec3::new(0.0, 0.0, -1.0), 0.0),
            ] {
                let sight = sight(surface, position, yaw_deg);
                for i in 0..2000 {
                    let source = Vec2::new((i * 37 % 1600) as f32 * 0.1, (i * 53 % 1000) as f32 * 0.1);
                    let (place, is_hidden) = sight.shown(source, 0, |source| source, |_, _| true);
                    assert!(!is_hidden || sight.view.project(source, sight.relief.depth.at(source)).is_none(), "{source} at {place}");
                }
            }
        }
    }

    #[test]
    fn what_is_near_hides_what_is_behind_it_and_sources_are_found() {
        let is_near = |x: usize| (60..100).contains(&x);
        let sight = sight(|x, _| if is_near(x) { 0.5 } else { 0.1 }, Vec3::X * 0.4, 0.0);
        let shift = |inverse: f32| Lens::from_fov(160.0, 100.0, 60.0).focal_px * 0.4 * inverse;
        let front = (60.0 - shift(0.5), 100.0 - shift(0.5));
        let (mut hidden, mut shown) = (0, 0);
        for x in 0..160 {
            let source = Vec2::new(x as f32 + 0.5, 50.5);
            let (place, is_hidden) = sight.shown(source, 0, |source| source, |_, _| true);
            let inverse = if is_near(x) { 0.5 } else { 0.1 };
            assert!((place.x - (source.x - shift(inverse))).abs() < 1e-2);
            let (inside, outside) =
                (place.x > front.0 + 4.0 && place.x < front.1 - 4.0, place.x < front.0 - 5.0 || place.x > front.1 + 5.0);
            if is_near(x) || outside {
                assert!(!is_hidden, "{x}");
                shown += 1;
            } else if inside {
                assert!(is_hidden, "{x}");
                hidden += 1;
            }
            if place.x > 1.0 && !is_hidden && (is_near(x) || outside) && !(56..104).contains(&x) {
                let (layer, found) = sight.source(place, |_, source| source).unwrap();
                assert!(layer == 0 && found.distance(source) < 0.2, "{source} {found}");
            }
        }
        assert!(hidden > 10 && shown > 80, "{hidden} {shown}");
        assert!(sight.source(Vec2::new(158.0, 50.0), |_, source| source).is_none(), "beyond the picture nothing is known");
    }
}
