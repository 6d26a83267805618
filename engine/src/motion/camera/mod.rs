//! The camera: where it is at each frame, and what it makes of a picture whose pixels have a depth.
//!
//! World space is the picture's own camera: x to the right, y down, z into the picture, the eye at the origin when the picture was
//! taken; lengths are the depth's unit. Invariant: the camera at rest maps every place to itself, at every depth. Guarded by the tests
//! of this folder.

mod evaluate;
mod exchange;
pub mod path;
pub mod presets;
mod warnings;

pub use evaluate::bezier_progress;
pub use path::{CameraKey, CameraPath, Curve, Handheld};

use glam::{Affine2, Mat3, Quat, Vec2, Vec3};

/// Smallest and largest field of view, degrees.
pub const FOV_DEG: std::ops::RangeInclusive<f32> = 5.0..=150.0;
/// What comes nearer than this share of its depth to the eye's plane is behind the camera.
const LEAST_NEARING: f32 = 1e-3;

/// What turns directions into places: pinhole, square pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lens {
    /// Focal length, px.
    pub focal_px: f32,
    /// Where the optical axis meets the picture, px.
    pub principal_px: Vec2,
}

/// A camera at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    /// Where the eye is.
    pub position: Vec3,
    /// From camera space to world space.
    pub rotation: Quat,
    /// Its lens.
    pub lens: Lens,
}

/// How a camera sees the surface of a picture that another one took: a place (x, y) px of inverse depth w goes to the place (X/Z, Y/Z) px
/// of inverse depth w/Z, where (X, Y, Z) = `columns` * (x, y, 1, w): a homography and a parallax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The four columns of the 3x4 matrix.
    pub columns: [Vec3; 4],
}

impl Lens {
    /// The lens of a picture of `width` x `height` px whose longer side spans `fov_deg` degrees, its axis in the middle.
    pub fn from_fov(width: f32, height: f32, fov_deg: f32) -> Self {
        let half = (fov_deg.clamp(*FOV_DEG.start(), *FOV_DEG.end()) * 0.5).to_radians();
        Self { focal_px: width.max(height) * 0.5 / half.tan(), principal_px: Vec2::new(width, height) * 0.5 }
    }

    /// Direction of a place, with z = 1.
    pub fn direction(&self, place: Vec2) -> Vec3 {
        ((place - self.principal_px) / self.focal_px).extend(1.0)
    }

    /// The lens of the same picture enlarged by `scale`.
    pub fn scaled(&self, scale: f32) -> Self {
        Self { focal_px: self.focal_px * scale, principal_px: self.principal_px * scale }
    }

    fn matrix(&self) -> Mat3 {
        Mat3::from_cols(Vec3::new(self.focal_px, 0.0, 0.0), Vec3::new(0.0, self.focal_px, 0.0), self.principal_px.extend(1.0))
    }
}

impl Camera {
    /// The camera that took the picture.
    pub fn at_rest(lens: Lens) -> Self {
        Self { position: Vec3::ZERO, rotation: Quat::IDENTITY, lens }
    }
}

impl View {
    /// What `camera` sees of a picture that was taken at rest through `source`.
    pub fn new(source: &Lens, camera: &Camera) -> Self {
        let turn = camera.lens.matrix() * Mat3::from_quat(camera.rotation.inverse());
        // The inverse of a lens's matrix: places to directions.
        let f = source.focal_px.recip();
        let back = Mat3::from_cols(Vec3::new(f, 0.0, 0.0), Vec3::new(0.0, f, 0.0), (-source.principal_px * f).extend(1.0));
        let homography = turn * back;
        Self { columns: [homography.x_axis, homography.y_axis, homography.z_axis, turn * -camera.position] }
    }

    /// The same view of pictures that lie in a scene as `scene_from_picture` says: places are scene px, depths stay.
    pub fn in_scene(&self, scene_from_picture: Affine2) -> Self {
        let (to, back) = (Mat3::from(scene_from_picture), Mat3::from(scene_from_picture.inverse()));
        let [x, y, one, depth] = self.columns;
        let homography = to * Mat3::from_cols(x, y, one) * back;
        Self { columns: [homography.x_axis, homography.y_axis, homography.z_axis, to * depth] }
    }

    /// Where a place of this inverse depth is seen, px, and its inverse depth there; None behind the camera.
    pub fn project(&self, place: Vec2, inverse_depth: f32) -> Option<(Vec2, f32)> {
        let [x, y, one, depth] = self.columns;
        let seen = x * place.x + y * place.y + one + depth * inverse_depth;
        (seen.z > LEAST_NEARING).then(|| (seen.truncate() / seen.z, inverse_depth / seen.z))
    }

    /// Whether every place is seen where it is, exactly and whatever its depth.
    pub fn is_at_rest(&self) -> bool {
        self.columns == [Vec3::X, Vec3::Y, Vec3::Z, Vec3::ZERO]
    }

    /// 1 / Z at a place of this inverse depth: what is linear in the frame along a flat surface.
    pub fn nearness(&self, place: Vec2, inverse_depth: f32) -> f32 {
        let [x, y, one, depth] = self.columns;
        (x.z * place.x + y.z * place.y + one.z + depth.z * inverse_depth).recip()
    }
}

/// Projects `points`, places in px with their inverse depths, into `seen`: their places in the frame with their inverse depths there, or
/// None behind the camera.
pub fn project_points(view: &View, points: &[(Vec2, f32)], seen: &mut Vec<Option<(Vec2, f32)>>) {
    seen.clear();
    seen.extend(points.iter().map(|(place, inverse_depth)| view.project(*place, *inverse_depth)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn at_rest_everything_stays_and_a_move_shifts_by_inverse_depth() {
        let lens = Lens { focal_px: 500.0, principal_px: Vec2::new(311.0, 254.0) };
        let rest = View::new(&lens, &Camera::at_rest(lens));
        let place = Vec2::new(17.5, 402.25);
        for w in [0.0, 0.01, 3.0] {
            let (seen, depth) = rest.project(place, w).unwrap();
            assert!(seen.distance(place) < 1e-3 && (depth - w).abs() < 1e-6);
        }
        let right = View::new(&lens, &Camera { position: Vec3::X * 0.2, ..Camera::at_rest(lens) });
        let (seen, _) = right.project(place, 0.5).unwrap();
        assert!(seen.distance(place - Vec2::X * (500.0 * 0.2 * 0.5)) < 1e-3);
        let ahead = View::new(&lens, &Camera { position: Vec3::Z * 4.0, ..Camera::at_rest(lens) });
        assert!(ahead.project(place, 0.5).is_none(), "what lies behind the camera is not seen");
        assert!((ahead.project(place, 0.125).unwrap().1 - 0.25).abs() < 1e-6);
    }
}
