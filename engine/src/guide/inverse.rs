//! From output pixels back to source pixels: one affine map, or one per triangle of a mesh.
//!
//! A mesh is drawn as the graphics card draws it: two triangles a cell, with a ring of long cells around it that continue it
//! linearly. Invariant: an affine mesh gives the affine map. Guarded by the tests below and those of `warp`.

use std::ops::Range;

use glam::{Affine2, Vec2};
use rayon::prelude::*;

use super::layers::Bounds;
use super::texture::Footprint;
use crate::motion::layer_motion::{LayerMotion, Mesh};

/// Rows of a mesh that are drawn together.
const BAND: usize = 8;
/// How far beyond its bounds a layer is looked for: more than rounding may move a place.
const SLACK_PX: f32 = 0.5;

/// An affine map from output px to source px, and what one output pixel covers there.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub map: Affine2,
    pub footprint: Footprint,
}

/// The inverse of a motion, for every output pixel; its buffers serve one motion after the other.
#[derive(Debug, Default)]
pub struct Inverse {
    /// One map for all pixels.
    whole: Option<Piece>,
    /// Without it, one map per triangle of a mesh ...
    pieces: Vec<Piece>,
    triangles: Vec<Triangle>,
    /// ... and for each pixel the index + 1 of its piece, 0 where the mesh does not reach.
    index: Vec<u32>,
    /// Per row the columns that triangles over the layer's bounds touch.
    spans: Vec<Range<usize>>,
    width: usize,
}

/// A drawn triangle of a mesh, and whether it shows a part of the layer's bounds.
#[derive(Clone, Copy, Debug)]
struct Triangle {
    corners: [Vec2; 3],
    piece: u32,
    near: bool,
}

impl Piece {
    /// Of a map from source px to output px; None if it has no inverse.
    fn inverse_of(forward: Affine2) -> Option<Self> {
        let map = forward.inverse();
        (map.is_finite() && forward.matrix2.determinant().abs() > 1e-9).then(|| Self { map, footprint: Footprint::of(&map) })
    }

    /// Columns of output row `y` whose centres may be mapped into `bounds`: never too few.
    pub fn columns(&self, y: usize, width: usize, bounds: &Bounds) -> Range<usize> {
        let (step, start) = (self.map.matrix2.x_axis, self.map.transform_point2(Vec2::new(0.5, y as f32 + 0.5)));
        let (low, high) = bounds.corners();
        let (mut from, mut to) = (0.0f32, width as f32);
        for axis in 0..2 {
            let (low, high) = (low[axis] - SLACK_PX - start[axis], high[axis] + SLACK_PX - start[axis]);
            if step[axis].abs() < 1e-6 {
                // Over a row of any length such a step stays within the slack.
                if low > 0.0 || high < 0.0 {
                    return 0..0;
                }
            } else {
                let (a, b) = (low / step[axis], high / step[axis]);
                (from, to) = (from.max(a.min(b) - 1.0), to.min(a.max(b) + 2.0));
            }
        }
        if from < to { from as usize..(to as usize).min(width) } else { 0..0 }
    }
}

impl Inverse {
    /// Of `motion` for an output of `width` x `height` px that shows a frame of `frame` px; `reach` is how far beyond its mesh a
    /// layer may go, px.
    pub fn of(motion: &LayerMotion, frame: Vec2, width: usize, height: usize, reach: f32) -> Self {
        let mut inverse = Self::default();
        inverse.set(motion, frame, width, height, reach, &Bounds { left: 0, top: 0, width: 0, height: 0 });
        inverse
    }

    /// Becomes [`Inverse::of`] another motion, of a layer that shows nothing outside `bounds`.
    pub fn set(&mut self, motion: &LayerMotion, frame: Vec2, width: usize, height: usize, reach: f32, bounds: &Bounds) {
        let scale = Vec2::new(width as f32, height as f32) / frame;
        self.pieces.clear();
        self.triangles.clear();
        self.width = width;
        self.whole = None;
        match motion {
            LayerMotion::Affine(affine) => {
                self.whole = Piece::inverse_of(Affine2::from_scale(scale) * *affine);
                if self.whole.is_some() {
                    return;
                }
            }
            LayerMotion::Mesh(mesh) => self.triangulate(mesh, scale, reach, bounds),
        }
        self.index.resize(width * height, 0);
        self.spans.resize(height, 0..0);
        let rows = self.index.par_chunks_mut(BAND * width).zip(self.spans.par_chunks_mut(BAND)).enumerate();
        rows.for_each(|(band, (index, spans))| {
            index.fill(0);
            spans.fill(0..0);
            self.triangles.iter().for_each(|triangle| triangle.draw(width, band * BAND, index, spans));
        });
    }

    fn triangulate(&mut self, mesh: &Mesh, scale: Vec2, reach: f32, bounds: &Bounds) {
        // One more line on each side, far out.
        let line = |origin: f32, count: usize, i: usize| match i {
            0 => origin - reach,
            i if i <= count => origin + (i - 1) as f32 * mesh.spacing_px,
            _ => origin + (count - 1) as f32 * mesh.spacing_px + reach,
        };
        let (columns, rows) = (mesh.columns + 2, mesh.rows + 2);
        let is_ring = |c: usize, r: usize| c == 0 || r == 0 || c + 2 == columns || r + 2 == rows;
        let (low, high) = bounds.corners();
        // The ring first: where the mesh folds over it, the mesh counts.
        for ring in [true, false] {
            for r in 0..rows - 1 {
                for c in (0..columns - 1).filter(|&c| is_ring(c, r) == ring) {
                    let corner =
                        |i: usize, j: usize| Vec2::new(line(mesh.origin.x, mesh.columns, c + i), line(mesh.origin.y, mesh.rows, r + j));
                    let apart = corner(1, 1).cmplt(low - SLACK_PX) | corner(0, 0).cmpgt(high + SLACK_PX);
                    for triangle in [[corner(0, 0), corner(1, 0), corner(1, 1)], [corner(0, 0), corner(1, 1), corner(0, 1)]] {
                        let drawn = triangle.map(|p| mesh.apply(p) * scale);
                        let Some(piece) = Piece::inverse_of(affine_between(triangle, drawn)) else { continue };
                        self.pieces.push(piece);
                        let corners = drawn;
                        self.triangles.push(Triangle { corners, piece: self.pieces.len() as u32, near: !apart.any() });
                    }
                }
            }
        }
    }

    /// The one map of all pixels, if there is one.
    #[inline(always)]
    pub fn whole(&self) -> Option<&Piece> {
        self.whole.as_ref()
    }

    /// The piece that output pixel `(x, y)` belongs to.
    #[inline(always)]
    pub fn at(&self, x: usize, y: usize) -> Option<&Piece> {
        match &self.whole {
            Some(piece) => Some(piece),
            None => (self.index[y * self.width + x] as usize).checked_sub(1).map(|i| &self.pieces[i]),
        }
    }

    /// Columns of row `y` at which the layer that lies within `bounds` may show: never too few.
    pub fn columns(&self, y: usize, bounds: &Bounds) -> Range<usize> {
        match &self.whole {
            Some(piece) => piece.columns(y, self.width, bounds),
            None => self.spans[y].clone(),
        }
    }
}

/// The affine map that takes three points to three others.
fn affine_between(from: [Vec2; 3], to: [Vec2; 3]) -> Affine2 {
    let frame = |p: [Vec2; 3]| Affine2::from_cols(p[1] - p[0], p[2] - p[0], p[0]);
    frame(to) * frame(from).inverse()
}

impl Triangle {
    /// Writes the piece to every pixel of a band of rows from `top` on whose centre lies in the triangle; edges belong to both
    /// neighbours, so no crack stays open.
    fn draw(&self, width: usize, top: usize, index: &mut [u32], spans: &mut [Range<usize>]) {
        let [a, b, c] = self.corners;
        let (low, high) = (a.min(b).min(c), a.max(b).max(c));
        if high.y + 1.5 < top as f32 || low.y - 1.5 > (top + spans.len()) as f32 {
            return;
        }
        let area = (b - a).perp_dot(c - a);
        if area == 0.0 || !self.corners.iter().all(|c| c.is_finite()) {
            return;
        }
        let end = |place: f32, size: usize| (place.max(0.0) as usize).min(size);
        let (left, right) = (end((low.x - 0.5).floor(), width), end((high.x + 0.5).ceil(), width));
        let rows = end((low.y - 0.5).floor() - top as f32, spans.len())..end((high.y + 0.5).ceil() - top as f32, spans.len());
        let edges = [(b, c - b), (c, a - c), (a, b - a)];
        for row in rows {
            let y = (top + row) as f32 + 0.5;
            let holds = |x: usize| edges.iter().all(|(p, edge)| edge.perp_dot(Vec2::new(x as f32 + 0.5, y) - *p) / area >= -1e-4);
            // Where the row enters and leaves, as good as it can be calculated; the test above has the last word.
            let (mut first, mut last) = (left as f32, right as f32 - 1.0);
            for (p, edge) in edges {
                let slope = -edge.y / area;
                let place = p.x - 0.5 + (edge.x * (y - p.y) / area + 1e-4) / -slope;
                if slope > 0.0 {
                    first = first.max(place.ceil());
                } else if slope < 0.0 {
                    last = last.min(place.floor());
                }
            }
            if first > last + 2.0 {
                continue;
            }
            let (mut first, mut end) = (end(first - 1.0, right).max(left), end(last + 2.0, right));
            while first < end && !holds(first) {
                first += 1;
            }
            while first < end && !holds(end - 1) {
                end -= 1;
            }
            if first >= end {
                continue;
            }
            while first > left && holds(first - 1) {
                first -= 1;
            }
            while end < right && holds(end) {
                end += 1;
            }
            index[row * width + first..row * width + end].fill(self.piece);
            if self.near {
                let span = &mut spans[row];
                *span = if span.start == span.end { first..end } else { span.start.min(first)..span.end.max(end) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_map_are_those_that_reach_the_bounds_and_few_more() {
        let bounds = Bounds { left: 20, top: 10, width: 30, height: 25 };
        let (low, high) = bounds.corners();
        for (scale, angle, x, y) in
            [(1.0, 0.0, 0.0, 0.0), (1.3, 0.7, 12.0, -8.0), (0.4, 2.0, 90.0, 30.0), (1.0, std::f32::consts::FRAC_PI_2, 70.0, 5.0)]
        {
            let map = Affine2::from_scale_angle_translation(Vec2::splat(scale), angle, Vec2::new(x, y));
            let motion = LayerMotion::Affine(map);
            let inverse = Inverse::of(&motion, Vec2::new(128.0, 96.0), 128, 96, 1.0);
            let mut extra = 0;
            for y in 0..96 {
                let columns = inverse.columns(y, &bounds);
                for x in 0..128 {
                    let Some(piece) = inverse.at(x, y) else { continue };
                    let place = piece.map.transform_point2(Vec2::new(x as f32 + 0.5, y as f32 + 0.5));
                    let inside = place.cmpge(low).all() && place.cmplt(high).all();
                    assert!(!inside || columns.contains(&x), "{x} {y} is left out");
                    extra += usize::from(columns.contains(&x) && !inside);
                }
            }
            assert!(extra < 1500, "{extra} pixels too many");
        }
    }

    #[test]
    fn triangles_are_drawn_as_by_the_test_of_every_pixel() {
        let number = |i: usize| (i * 7919 % 1009) as f32 / 1009.0;
        let (width, height) = (61, 47);
        for i in 0..400 {
            let corner = |k: usize| Vec2::new(number(6 * i + k) * 90.0 - 15.0, number(6 * i + k + 3) * 70.0 - 12.0);
            let mut corners = [corner(0), corner(1), corner(2)];
            if i % 3 == 0 {
                corners[1].y = corners[0].y;
                corners[2].x = corners[0].x;
            }
            let triangle = Triangle { corners, piece: 7, near: true };
            let (mut index, mut spans) = (vec![0; width * height], vec![0..0; height]);
            for (band, (index, spans)) in index.chunks_mut(BAND * width).zip(spans.chunks_mut(BAND)).enumerate() {
                triangle.draw(width, band * BAND, index, spans);
            }
            let [a, b, c] = corners;
            let area = (b - a).perp_dot(c - a);
            for y in 0..height {
                for x in 0..width {
                    let p = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
                    let weights = [(c - b).perp_dot(p - b), (a - c).perp_dot(p - c), (b - a).perp_dot(p - a)];
                    let inside = weights.iter().all(|w| w / area >= -1e-4);
                    assert_eq!(index[y * width + x] == 7, inside, "triangle {i} at {x} {y}");
                    assert!(!inside || spans[y].contains(&x));
                }
            }
        }
    }
}
