//! Where one layer of the picture is at one frame: the only thing the guide needs to know of motion.
//!
//! Invariant: maps *source* picture coordinates (px) to *frame* picture coordinates (px); a mesh is bilinear inside its cells
//! and extrapolates linearly beyond its border, so a layer may be larger than its mesh. Guarded by the tests below.

use glam::{Affine2, Mat2, Vec2};

/// The motion of a layer from the source picture to one frame.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerMotion {
    /// A rigid, scaled or sheared layer.
    Affine(Affine2),
    /// A layer that bends.
    Mesh(Mesh),
}

/// A regular grid of vertices over the source picture, each with its place in the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// Source position of vertex (0, 0), px.
    pub origin: Vec2,
    /// Distance between neighbouring vertices in the source, px.
    pub spacing_px: f32,
    /// Vertices per row (at least 2).
    pub columns: usize,
    /// Vertices per column (at least 2).
    pub rows: usize,
    /// Place of each vertex in the frame, px, row-major.
    pub positions: Vec<Vec2>,
}

impl LayerMotion {
    /// A layer that does not move.
    pub const STILL: Self = Self::Affine(Affine2::IDENTITY);

    /// Frame position of source position `point`, px.
    pub fn apply(&self, point: Vec2) -> Vec2 {
        match self {
            Self::Affine(affine) => affine.transform_point2(point),
            Self::Mesh(mesh) => mesh.apply(point),
        }
    }
}

impl Mesh {
    /// The column and row of the cell that holds or continues to source position `point`, and the place in it.
    fn cell(&self, point: Vec2) -> (usize, usize, Vec2) {
        let place = (point - self.origin) / self.spacing_px;
        let column = (place.x.floor().max(0.0) as usize).min(self.columns - 2);
        let row = (place.y.floor().max(0.0) as usize).min(self.rows - 2);
        (column, row, place - Vec2::new(column as f32, row as f32))
    }

    /// How small ways around source position `point` go on in the frame.
    pub fn linear(&self, point: Vec2) -> Mat2 {
        let (column, row, f) = self.cell(point);
        let at = |c: usize, r: usize| self.positions[r * self.columns + c];
        let (top, bottom) = (at(column + 1, row) - at(column, row), at(column + 1, row + 1) - at(column, row + 1));
        let (left, right) = (at(column, row + 1) - at(column, row), at(column + 1, row + 1) - at(column + 1, row));
        Mat2::from_cols(top.lerp(bottom, f.y), left.lerp(right, f.x)) * self.spacing_px.recip()
    }

    /// Frame position of source position `point`, px.
    pub fn apply(&self, point: Vec2) -> Vec2 {
        let (column, row, f) = self.cell(point);
        let at = |c: usize, r: usize| self.positions[r * self.columns + c];
        let top = at(column, row) * (1.0 - f.x) + at(column + 1, row) * f.x;
        let bottom = at(column, row + 1) * (1.0 - f.x) + at(column + 1, row + 1) * f.x;
        top * (1.0 - f.y) + bottom * f.y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mesh_of_an_affine_map_is_that_map_inside_and_outside() {
        let affine = Affine2::from_scale_angle_translation(Vec2::splat(1.2), 0.3, Vec2::new(5.0, -2.0));
        let (columns, rows, spacing_px) = (4, 3, 8.0);
        let origin = Vec2::new(10.0, 20.0);
        let positions = (0..rows * columns)
            .map(|i| affine.transform_point2(origin + Vec2::new((i % columns) as f32, (i / columns) as f32) * spacing_px))
            .collect();
        let mesh = Mesh { origin, spacing_px, columns, rows, positions };
        for point in [Vec2::new(13.0, 25.5), Vec2::new(33.0, 35.0), Vec2::new(0.0, 0.0), Vec2::new(60.0, 60.0)] {
            let (a, b) = (affine.transform_point2(point), LayerMotion::Mesh(mesh.clone()).apply(point));
            assert!((a - b).length() < 1e-3, "{a} {b}");
            assert!((mesh.linear(point) * Vec2::new(3.0, -2.0)).distance(affine.transform_vector2(Vec2::new(3.0, -2.0))) < 1e-3);
        }
    }
}
