//! From output pixels back to source pixels: one affine map, or one per triangle of a mesh.
//!
//! A mesh is drawn as the graphics card draws it: two triangles a cell, with a ring of long cells around it that continue it
//! linearly. Invariant: an affine mesh gives the affine map. Guarded by the tests of `warp`.

use glam::{Affine2, Vec2};

use super::texture::Footprint;
use crate::motion::layer_motion::{LayerMotion, Mesh};

/// An affine map from output px to source px, and what one output pixel covers there.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub map: Affine2,
    pub footprint: Footprint,
}

/// The inverse of a motion, for every output pixel.
pub enum Inverse {
    /// One map for all pixels.
    Whole(Piece),
    /// The map of each pixel, as index + 1 into the pieces; 0 where the mesh does not reach.
    Pieces { pieces: Vec<Piece>, index: Vec<u32>, width: usize },
}

impl Piece {
    /// Of a map from source px to output px; None if it has no inverse.
    fn inverse_of(forward: Affine2) -> Option<Self> {
        let map = forward.inverse();
        (map.is_finite() && forward.matrix2.determinant().abs() > 1e-9).then(|| Self { map, footprint: Footprint::of(&map) })
    }
}

impl Inverse {
    /// Of `motion` for an output of `width` x `height` px that shows a frame of `frame` px; `reach` is how far beyond its mesh a
    /// layer may go, px.
    pub fn of(motion: &LayerMotion, frame: Vec2, width: usize, height: usize, reach: f32) -> Self {
        let scale = Vec2::new(width as f32, height as f32) / frame;
        match motion {
            LayerMotion::Affine(affine) => match Piece::inverse_of(Affine2::from_scale(scale) * *affine) {
                Some(piece) => Self::Whole(piece),
                None => Self::Pieces { pieces: Vec::new(), index: vec![0; width * height], width },
            },
            LayerMotion::Mesh(mesh) => Self::of_mesh(mesh, scale, width, height, reach),
        }
    }

    fn of_mesh(mesh: &Mesh, scale: Vec2, width: usize, height: usize, reach: f32) -> Self {
        let (mut pieces, mut index) = (Vec::new(), vec![0u32; width * height]);
        let lines = |origin: f32, count: usize| -> Vec<f32> {
            let inner = (0..count).map(|i| origin + i as f32 * mesh.spacing_px);
            let last = origin + (count - 1) as f32 * mesh.spacing_px;
            std::iter::once(origin - reach).chain(inner).chain(std::iter::once(last + reach)).collect()
        };
        let (xs, ys) = (lines(mesh.origin.x, mesh.columns), lines(mesh.origin.y, mesh.rows));
        let is_ring = |c: usize, r: usize| c == 0 || r == 0 || c + 2 == xs.len() || r + 2 == ys.len();
        // The ring first: where the mesh folds over it, the mesh counts.
        for ring in [true, false] {
            for r in 0..ys.len() - 1 {
                for c in (0..xs.len() - 1).filter(|&c| is_ring(c, r) == ring) {
                    let corner = |i: usize, j: usize| Vec2::new(xs[c + i], ys[r + j]);
                    for triangle in [[corner(0, 0), corner(1, 0), corner(1, 1)], [corner(0, 0), corner(1, 1), corner(0, 1)]] {
                        let drawn = triangle.map(|p| mesh.apply(p) * scale);
                        let Some(piece) = Piece::inverse_of(affine_between(triangle, drawn)) else { continue };
                        pieces.push(piece);
                        rasterise(drawn, width, height, pieces.len() as u32, &mut index);
                    }
                }
            }
        }
        Self::Pieces { pieces, index, width }
    }

    /// The piece that output pixel `(x, y)` belongs to.
    #[inline(always)]
    pub fn at(&self, x: usize, y: usize) -> Option<&Piece> {
        match self {
            Self::Whole(piece) => Some(piece),
            Self::Pieces { pieces, index, width } => (index[y * width + x] as usize).checked_sub(1).map(|i| &pieces[i]),
        }
    }
}

/// The affine map that takes three points to three others.
fn affine_between(from: [Vec2; 3], to: [Vec2; 3]) -> Affine2 {
    let frame = |p: [Vec2; 3]| Affine2::from_cols(p[1] - p[0], p[2] - p[0], p[0]);
    frame(to) * frame(from).inverse()
}

/// Writes `value` to every pixel whose centre lies in the triangle; edges belong to both neighbours, so no crack stays open.
fn rasterise(corners: [Vec2; 3], width: usize, height: usize, value: u32, index: &mut [u32]) {
    if !corners.iter().all(|c| c.is_finite()) {
        return;
    }
    let [a, b, c] = corners;
    let (low, high) = (a.min(b).min(c), a.max(b).max(c));
    let span =
        |low: f32, high: f32, size: usize| ((low - 0.5).floor().max(0.0) as usize, ((high + 0.5).ceil().max(0.0) as usize).min(size));
    let ((left, right), (top, bottom)) = (span(low.x, high.x, width), span(low.y, high.y, height));
    let area = (b - a).perp_dot(c - a);
    if area == 0.0 {
        return;
    }
    for y in top..bottom {
        for x in left..right {
            let p = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
            let weights = [(c - b).perp_dot(p - b), (a - c).perp_dot(p - c), (b - a).perp_dot(p - a)];
            if weights.iter().all(|w| w / area >= -1e-4) {
                index[y * width + x] = value;
            }
        }
    }
}
