//! Depth of simple scenes: where the ray of each pixel meets their planes.
//!
//! Invariant: the inverse depth of a plane is linear in the picture, and a shape's depth is exact at every pixel's centre. Guarded by the
//! tests below.

use glam::{Vec2, Vec3};

use super::{NEAREST, SceneShape, check_distance, check_place};
use crate::motion::camera::Lens;
use crate::motion::region::Placement;
use crate::picture::Mask;
use crate::{Error, Result};

impl SceneShape {
    /// Inverse depth of every pixel of a scene in which the picture, taken through `lens`, lies as `placement` says.
    pub(super) fn inverse(&self, placement: &Placement, lens: &Lens) -> Mask {
        let at = self.planes(placement.picture, lens);
        let (width, height) = placement.scene;
        Mask::from_fn(width, height, |x, y| {
            at(Vec2::new(placement.picture_x(x as f32 + 0.5), placement.picture_y(y as f32 + 0.5))).clamp(0.0, NEAREST.recip())
        })
    }

    /// Inverse depth at a place of the picture, px.
    fn planes(&self, picture: (usize, usize), lens: &Lens) -> Box<dyn Fn(Vec2) -> f32 + Sync> {
        match *self {
            Self::Backdrop { distance } => Box::new(move |_| distance.recip()),
            Self::Ground { horizon, height, far } => {
                let lens = *lens;
                let ends = [Vec2::new(0.0, horizon.0), Vec2::new(picture.0 as f32, horizon.1)].map(|end| lens.direction(end));
                // The ground holds all directions along its horizon; its normal points down to it.
                let normal: Vec3 = ends[1].cross(-ends[0]).normalize();
                let normal = if normal.y < 0.0 { -normal } else { normal };
                Box::new(move |place| (lens.direction(place).dot(normal) / height).max(far.recip()))
            }
            Self::Room { back: (left, top, right, bottom), vanishing: (x, y), depth } => Box::new(move |place| {
                // A wall through the back wall's side towards the vanishing point; of all walls the ray meets the nearest one first.
                let across = [(place.x - x) / (left - x), (place.x - x) / (right - x)];
                let along = [(place.y - y) / (top - y), (place.y - y) / (bottom - y)];
                across.into_iter().chain(along).fold(1.0, f32::max) / depth
            }),
        }
    }

    pub(super) fn validate(&self, field: &str, picture: (usize, usize)) -> Result<()> {
        match *self {
            Self::Backdrop { distance } => check_distance(&format!("{field}.distance"), distance, NEAREST),
            Self::Ground { horizon, height, far } => {
                for (x, y) in [(0.0, horizon.0), (picture.0 as f32, horizon.1)] {
                    check_place(&format!("{field}.horizon"), Vec2::new(x, y), picture)?;
                }
                check_distance(&format!("{field}.height"), height, NEAREST)?;
                check_distance(&format!("{field}.far"), far, NEAREST)
            }
            Self::Room { back: (left, top, right, bottom), vanishing, depth } => {
                check_place(&format!("{field}.back"), Vec2::new(left, top), picture)?;
                check_place(&format!("{field}.back"), Vec2::new(right, bottom), picture)?;
                check_place(&format!("{field}.vanishing"), vanishing.into(), picture)?;
                if right - left < 1.0 || bottom - top < 1.0 {
                    return Err(Error::field(format!("{field}.back"), "is less than a pixel large; give left < right and top < bottom"));
                }
                let inside = |low: f32, at: f32, high: f32| at - low >= 0.25 && high - at >= 0.25;
                if !(inside(left, vanishing.0, right) && inside(top, vanishing.1, bottom)) {
                    let what = format!("is ({}, {}), not within the back wall; move it there", vanishing.0, vanishing.1);
                    return Err(Error::field(format!("{field}.vanishing"), what));
                }
                check_distance(&format!("{field}.depth"), depth, NEAREST)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const PICTURE: (usize, usize) = (80, 60);

    fn inverse(shape: SceneShape, scene: (usize, usize)) -> Mask {
        shape.validate("depth", PICTURE).unwrap();
        shape.inverse(&Placement::stretch(PICTURE, scene), &Lens::from_fov(80.0, 60.0, 60.0))
    }

    #[test]
    fn the_ground_is_as_far_below_as_the_eye_is_high() {
        let lens = Lens::from_fov(80.0, 60.0, 60.0);
        let map = inverse(SceneShape::Ground { horizon: (20.0, 20.0), height: 2.0, far: 50.0 }, PICTURE);
        // The foot of the eye's plumb line, measured along the ground's own normal.
        let normal = Vec3::new(0.0, lens.focal_px, -(20.0 - 30.0)).normalize();
        for (x, y) in [(3, 59), (70, 40), (40, 25)] {
            let point = lens.direction(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)) / map.at(x, y);
            assert!((point.dot(normal) - 2.0).abs() < 1e-3, "{point}");
        }
        assert_eq!(map.at(10, 5), 0.02, "beyond the horizon the backdrop");
        let tilted = inverse(SceneShape::Ground { horizon: (30.0, 10.0), height: 2.0, far: 50.0 }, PICTURE);
        assert!(tilted.at(79, 40) > tilted.at(0, 40) && tilted.at(2, 27) == 0.02 && tilted.at(77, 27) > 0.02);
    }

    #[test]
    fn the_walls_of_a_room_meet_its_back_wall_and_are_straight() {
        let room = SceneShape::Room { back: (30.0, 20.0, 54.0, 38.0), vanishing: (44.0, 28.0), depth: 6.0 };
        let map = inverse(room, PICTURE);
        assert!((map.at(40, 30) - 1.0 / 6.0).abs() < 1e-6);
        let lens = Lens::from_fov(80.0, 60.0, 60.0);
        let at = |x: usize, y: usize| lens.direction(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)) / map.at(x, y);
        // Points of the left wall lie in the plane of the back wall's left side and the direction of the vanishing point.
        let along = lens.direction(Vec2::new(44.0, 28.0));
        let corner = lens.direction(Vec2::new(30.0, 20.0)) * 6.0;
        for (x, y) in [(2, 30), (10, 40), (27, 29)] {
            assert!((at(x, y) - corner).dot(along.cross(Vec3::Y).normalize()).abs() < 1e-3, "{x} {y}");
        }
        assert!(at(40, 59).z < at(40, 45).z && at(40, 45).z < 6.0);
        let half = inverse(room, (40, 30));
        assert!((half.at(5, 20) - 0.25 * (map.at(10, 40) + map.at(11, 40) + map.at(10, 41) + map.at(11, 41))).abs() < 1e-4);
    }

    #[test]
    fn shapes_that_cannot_be_are_refused() {
        let refused = |shape: SceneShape, words: &str| {
            let message = shape.validate("camera.depth", PICTURE).unwrap_err().to_string();
            assert!(message.starts_with(words), "{message}");
        };
        refused(SceneShape::Backdrop { distance: 0.0 }, "camera.depth.distance: is 0");
        refused(SceneShape::Ground { horizon: (f32::NAN, 0.0), height: 1.0, far: 9.0 }, "camera.depth.horizon: is (0, NaN)");
        refused(SceneShape::Ground { horizon: (0.0, 0.0), height: 1.0, far: f32::INFINITY }, "camera.depth.far: is inf");
        refused(SceneShape::Room { back: (9.0, 9.0, 9.0, 20.0), vanishing: (9.0, 9.0), depth: 2.0 }, "camera.depth.back: is less");
        refused(SceneShape::Room { back: (9.0, 9.0, 30.0, 20.0), vanishing: (40.0, 12.0), depth: 2.0 }, "camera.depth.vanishing: is (40");
    }
}
