//! What is worth saying of a camera's way through a picture's depth before anybody wonders.
//!
//! Invariant: a way through free space is not warned of. Guarded by the tests below.

use glam::{Vec2, Vec3};

use super::path::CameraPath;
use crate::motion::depth::{DepthMap, FARTHEST};
use crate::motion::region::Placement;

/// Samples of the picture along its longer side, and most frames that are looked at.
const SAMPLES: usize = 48;
const MOST_FRAMES: usize = 600;
/// What the eye passes nearer than this share of its distance at rest is passed through.
const TOUCHES: f32 = 0.06;

impl CameraPath {
    /// What a user should know of the way over `frames` frames through `depth`, which lies as `placement` says: where the camera passes
    /// through what is there, and where it sees nothing of the picture. One sentence each, the first frame of each.
    pub fn warnings(&self, depth: &DepthMap, placement: &Placement, frames: usize) -> Vec<String> {
        let (width, height) = (depth.inverse.width, depth.inverse.height);
        let (lens, from_scene) = (self.lens(placement.picture), placement.scene_from_picture().inverse());
        let step = (width.max(height) as f32 / SAMPLES as f32).max(1.0);
        let (columns, rows) = ((width as f32 / step) as usize, (height as f32 / step) as usize);
        let points: Vec<Vec3> = (0..columns * rows)
            .map(|i| {
                let place = (Vec2::new((i % columns) as f32, (i / columns) as f32) + 0.5) * step;
                lens.direction(from_scene.transform_point2(place)) * depth.at(place).recip().min(FARTHEST)
            })
            .collect();
        let size = Vec2::new(placement.picture.0 as f32, placement.picture.1 as f32);
        let stride = frames.div_ceil(MOST_FRAMES).max(1);
        let (mut through, mut nothing) = (None, None);
        let mut last = self.camera(placement.picture, 0.0).position;
        for frame in (0..frames).step_by(stride) {
            let camera = self.camera(placement.picture, frame as f32);
            let eye = camera.position;
            // Nearest that the way from the last frame comes to a point.
            let touches = |point: &Vec3| {
                let way = eye - last;
                let part = if way.length_squared() > 0.0 { ((*point - last).dot(way) / way.length_squared()).clamp(0.0, 1.0) } else { 1.0 };
                (last + way * part).distance(*point) < TOUCHES * point.length()
            };
            if through.is_none() && eye != last && points.iter().any(touches) {
                through = Some(frame);
            }
            let back = camera.rotation.inverse();
            let is_seen = |point: &Vec3| {
                let local = back * (*point - eye);
                let place = local.truncate() / local.z * camera.lens.focal_px + camera.lens.principal_px;
                local.z > 0.0 && place.cmpge(Vec2::ZERO).all() && place.cmplt(size).all()
            };
            if nothing.is_none() && !points.iter().any(is_seen) {
                nothing = Some(frame);
            }
            last = eye;
        }
        let through =
            through.map(|frame| format!("the camera passes through what is there at frame {frame}; move it aside or nearer less"));
        let nothing = nothing.map(|frame| format!("the camera sees nothing of the picture at frame {frame}; turn or move it back"));
        through.into_iter().chain(nothing).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::motion::camera::CameraKey;
    use crate::motion::depth::{DepthSource, SceneShape};
    use crate::picture::Mask;
    use glam::Quat;

    #[test]
    fn only_what_is_wrong_is_warned_of() {
        let placement = Placement::stretch((320, 200), (160, 100));
        let depth = DepthMap::new(Mask::filled(160, 100, 0.25));
        let warned = |position: Vec3, yaw_deg: f32| {
            let mut path = CameraPath::new(DepthSource::Shape(SceneShape::Backdrop { distance: 4.0 }));
            let rotation = Quat::from_rotation_y(yaw_deg.to_radians());
            path.keys = vec![CameraKey::at_rest(0.0), CameraKey { position, rotation, ..CameraKey::at_rest(30.0) }];
            path.warnings(&depth, &placement, 31)
        };
        assert!(warned(Vec3::new(1.0, 0.3, 2.5), 10.0).is_empty() && warned(Vec3::ZERO, 0.0).is_empty());
        let through = warned(Vec3::Z * 8.0, 0.0);
        assert!(through[0].starts_with("the camera passes through what is there at frame 1"), "{through:?}");
        assert!(through[1].starts_with("the camera sees nothing"), "{through:?}");
        assert!(warned(Vec3::ZERO, 170.0)[0].starts_with("the camera sees nothing of the picture at frame"));
    }
}
