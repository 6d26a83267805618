//! What a hand does to a camera path, as functions of the path.
//!
//! Invariant: keys stay in strictly rising order within the longest video and every number stays finite, whatever is asked. Guarded by the
//! tests below.

use glam::{EulerRot, Quat, Vec2, Vec3};
use kinebrush_engine::motion::camera::{CameraKey, CameraPath, Curve, FOV_DEG};
use kinebrush_engine::motion::stroke::MAX_FRAMES;

/// A key nearer to the playhead than this is at it, frames.
const AT: f32 = 0.5;
/// Least distance of two keys, frames.
const APART: f32 = 1.0;
/// Nearest that an orbit or a dolly goes, as a part of the distance it is about.
const NEAREST: f32 = 0.02;

/// Width and height of a picture, px.
pub type Size = (usize, usize);

/// A way to move a camera by hand; the picture follows the pointer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Move {
    /// About the pivot, by px of the picture.
    Orbit(Vec2),
    /// Across, by px of the picture.
    Pan(Vec2),
    /// Towards the pivot's distance: the part of it that is gone, less than 1.
    Dolly(f32),
    /// About the line of sight: what the picture turns, radians, clockwise.
    Roll(f32),
}

/// The key at `frame`, if there is one.
pub fn key_at(path: &CameraPath, frame: f32) -> Option<usize> {
    let distance = |i: &usize| (path.keys[*i].frame - frame).abs();
    (0..path.keys.len()).filter(|i| distance(i) < AT).min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// The key from which the camera goes at `frame`: the segment under the playhead. None with fewer than two keys.
pub fn segment_at(path: &CameraPath, frame: f32) -> Option<usize> {
    let segments = path.keys.len().checked_sub(1).filter(|segments| *segments > 0)?;
    let before = path.keys.partition_point(|key| key.frame <= frame + AT);
    Some(before.saturating_sub(1).min(segments - 1))
}

/// The path without what is added to its keys: a look-at target and a trembling hand.
pub fn bare(path: &CameraPath) -> CameraPath {
    CameraPath { look_at: None, handheld: None, ..path.clone() }
}

/// What a key at `frame` would be without changing the way.
pub fn pose(path: &CameraPath, picture: Size, frame: f32) -> CameraKey {
    if let Some(i) = key_at(path, frame) {
        return path.keys[i];
    }
    let camera = bare(path).camera(picture, frame);
    let zoomed = path.keys.iter().any(|key| key.fov_deg.is_some());
    let fov = fov_deg(picture, camera.lens.focal_px);
    let before = path.keys.iter().rev().find(|key| key.frame <= frame);
    // The speed inside a Bezier segment is that segment's: a new key in it starts calm.
    let curve = before.map_or_else(Curve::default, |key| if matches!(key.curve, Curve::Bezier { .. }) { Curve::Smooth } else { key.curve });
    CameraKey {
        frame: frame.round().clamp(0.0, MAX_FRAMES as f32),
        position: camera.position,
        rotation: camera.rotation,
        fov_deg: zoomed.then_some(fov),
        curve,
    }
}

/// Field of view over the longer side, degrees.
pub fn fov_deg(picture: Size, focal_px: f32) -> f32 {
    let half = picture.0.max(picture.1) as f32 * 0.5;
    (2.0 * (half / focal_px.max(1e-3)).atan()).to_degrees().clamp(*FOV_DEG.start(), *FOV_DEG.end())
}

/// The path with a key at `frame` (the one there, or a new one on the way), and its index. The first key of all, when it is not at the
/// beginning, gets one before it where the picture was taken: the camera goes there instead of being there from the start.
pub fn with_key(path: &CameraPath, picture: Size, frame: f32) -> (CameraPath, usize) {
    let mut path = path.clone();
    if let Some(i) = key_at(&path, frame) {
        return (path, i);
    }
    if path.keys.is_empty() && frame.round() >= APART {
        path.keys.push(pose(&path, picture, 0.0));
    }
    let key = pose(&path, picture, frame);
    let i = path.keys.partition_point(|other| other.frame < key.frame);
    path.keys.insert(i, key);
    (path, i)
}

/// The path with the key at `frame` changed; it is added if there is none.
pub fn posed(path: &CameraPath, picture: Size, frame: f32, change: impl FnOnce(&mut CameraKey)) -> CameraPath {
    let (mut path, i) = with_key(path, picture, frame);
    change(&mut path.keys[i]);
    path
}

/// The path with key `i` at frame `to`, between its neighbours.
pub fn retimed(path: &CameraPath, i: usize, to: f32) -> CameraPath {
    let mut path = path.clone();
    let low = i.checked_sub(1).map_or(0.0, |before| path.keys[before].frame + APART);
    let high = path.keys.get(i + 1).map_or(MAX_FRAMES as f32, |after| after.frame - APART);
    if let Some(key) = path.keys.get_mut(i).filter(|_| low <= high && to.is_finite()) {
        key.frame = to.clamp(low, high);
    }
    path
}

/// The path without key `i`.
pub fn without_key(path: &CameraPath, i: usize) -> CameraPath {
    let mut path = path.clone();
    if i < path.keys.len() {
        path.keys.remove(i);
    }
    path
}

/// Yaw (to the right), pitch (up) and roll (clockwise) of a rotation, degrees.
pub fn euler_deg(rotation: Quat) -> [f32; 3] {
    let (yaw, pitch, roll) = rotation.to_euler(EulerRot::YXZ);
    [yaw, pitch, roll].map(f32::to_degrees)
}

/// The rotation of yaw, pitch and roll, degrees.
pub fn rotation_of([yaw, pitch, roll]: [f32; 3]) -> Quat {
    Quat::from_euler(EulerRot::YXZ, yaw.to_radians(), pitch.to_radians(), roll.to_radians()).normalize()
}

/// `key` moved by hand about `pivot` (world); `focal_px` is the lens's. With a look-at target an orbit leaves the roll as it is.
pub fn moved(key: &CameraKey, focal_px: f32, pivot: Vec3, by: Move, looks_at: bool) -> CameraKey {
    let mut key = *key;
    let ahead = key.rotation * Vec3::Z;
    let distance = (pivot - key.position).dot(ahead).max(pivot.distance(key.position) * 0.1).max(1e-3);
    match by {
        Move::Orbit(way) => {
            // A drag over a focal length is a turn of a radian and a half: brisk, and fine enough.
            let angle = way / focal_px.max(1.0) * 1.5;
            let turn = Quat::from_rotation_y(angle.x) * Quat::from_axis_angle(key.rotation * Vec3::X, -angle.y);
            key.position = pivot + turn * (key.position - pivot);
            if !looks_at {
                key.rotation = (turn * key.rotation).normalize();
            }
        }
        Move::Pan(way) => key.position -= key.rotation * (way / focal_px.max(1.0)).extend(0.0) * distance,
        Move::Dolly(part) => key.position += ahead * distance * part.clamp(-20.0, 1.0 - NEAREST),
        Move::Roll(angle) => key.rotation = (key.rotation * Quat::from_rotation_z(-angle)).normalize(),
    }
    key
}

/// The handles that a curve has, or would have if it were a Bezier curve of about its shape.
pub fn handles(curve: Curve) -> [(f32, f32); 2] {
    match curve {
        Curve::Bezier { from, to } => [from, to],
        Curve::Linear => [(1.0 / 3.0, 1.0 / 3.0), (2.0 / 3.0, 2.0 / 3.0)],
        Curve::Smooth => [(0.4, 0.0), (0.6, 1.0)],
        Curve::Hold => [(0.9, 0.0), (1.0, 0.1)],
    }
}

/// The Bezier curve that `curve` becomes when its handle is put somewhere.
pub fn with_handle(curve: Curve, handle: usize, at: (f32, f32)) -> Curve {
    let mut both = handles(curve);
    if at.0.is_finite() && at.1.is_finite() {
        both[handle.min(1)] = (at.0.clamp(0.0, 1.0), at.1.clamp(0.0, 1.0));
    }
    Curve::Bezier { from: both[0], to: both[1] }
}

/// How much the picture changes from one frame to the next, at `frames` + 1 moments: the way of the eye, in parts of `distance`, and the
/// turn, radians. Its slope is what an artist sees as speed.
pub fn way(path: &CameraPath, picture: Size, moments: &[f32], distance: f32) -> Vec<f32> {
    let cameras: Vec<_> = moments.iter().map(|frame| path.camera(picture, *frame)).collect();
    let mut sum = 0.0;
    std::iter::once(0.0)
        .chain(cameras.windows(2).map(|pair| {
            let turn = pair[0].rotation.angle_between(pair[1].rotation);
            let zoom = (pair[1].lens.focal_px / pair[0].lens.focal_px.max(1e-3)).max(1e-3).ln().abs();
            sum += pair[0].position.distance(pair[1].position) / distance.max(1e-3) + turn + zoom;
            sum
        }))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::studio::timeline::Dice;
    use kinebrush_engine::motion::camera::{Camera, Lens, View};
    use kinebrush_engine::motion::depth::{DepthSource, SceneShape};

    const SIZE: Size = (400, 300);

    fn path() -> CameraPath {
        CameraPath {
            depth: DepthSource::Shape(SceneShape::Backdrop { distance: 4.0 }),
            fov_deg: 50.0,
            principal_px: None,
            keys: Vec::new(),
            look_at: None,
            handheld: None,
        }
    }

    #[test]
    fn the_first_key_is_gone_to_from_where_the_picture_was_taken() {
        let moved = posed(&path(), SIZE, 24.2, |key| key.position.z = 1.0);
        let frames: Vec<f32> = moved.keys.iter().map(|key| key.frame).collect();
        assert_eq!(frames, [0.0, 24.0]);
        assert_eq!((moved.keys[0].position, moved.keys[1].position.z), (Vec3::ZERO, 1.0));
        let again = posed(&moved, SIZE, 24.0, |key| key.position.x = 2.0);
        assert_eq!((again.keys.len(), again.keys[1].position), (2, Vec3::new(2.0, 0.0, 1.0)));
        assert_eq!(posed(&path(), SIZE, 0.0, |key| key.position.x = 1.0).keys.len(), 1);
    }

    #[test]
    fn a_key_between_two_lies_on_the_way() {
        let two = posed(&path(), SIZE, 40.0, |key| {
            key.position = Vec3::new(1.0, 0.0, 2.0);
            key.rotation = rotation_of([20.0, -5.0, 3.0]);
        });
        let before = two.camera(SIZE, 17.0);
        let (three, i) = with_key(&two, SIZE, 17.0);
        assert_eq!((three.keys.len(), i), (3, 1));
        assert!(three.keys[1].position.distance(before.position) < 1e-5);
        assert!(three.keys[1].rotation.angle_between(before.rotation) < 1e-3);
    }

    #[test]
    fn keys_stay_in_order_whatever_is_done() {
        let mut dice = Dice(7);
        let mut path = path();
        for _ in 0..2000 {
            let frame = dice.unit() * 200.0;
            let i = dice.below(path.keys.len() + 1);
            path = match dice.below(4) {
                0 if path.keys.len() < 12 => with_key(&path, SIZE, frame).0,
                1 => without_key(&path, i),
                _ => retimed(&path, i, frame * 3.0 - 200.0),
            };
            assert!(path.keys.windows(2).all(|pair| pair[0].frame < pair[1].frame), "{:?}", path.keys);
            assert!(path.keys.iter().all(|key| (0.0..=MAX_FRAMES as f32).contains(&key.frame)));
            if let Some(i) = segment_at(&path, frame) {
                assert!(i + 1 < path.keys.len());
                assert!(frame + AT >= path.keys[i].frame || i == 0);
            }
        }
    }

    #[test]
    fn angles_there_and_back() {
        for angles in [[0.0, 0.0, 0.0], [30.0, -20.0, 10.0], [-170.0, 80.0, -90.0]] {
            let back = euler_deg(rotation_of(angles));
            assert!(back.iter().zip(angles).all(|(a, b)| (a - b).abs() < 1e-2), "{angles:?} {back:?}");
        }
        assert!((rotation_of([30.0, 0.0, 0.0]) * Vec3::Z).x > 0.0, "yaw turns to the right");
        assert!((rotation_of([0.0, 30.0, 0.0]) * Vec3::Z).y < 0.0, "pitch turns up");
    }

    /// Where a point at `place` and `distance` is seen after the move.
    fn seen(key: &CameraKey, place: Vec2, distance: f32) -> Vec2 {
        let lens = Lens::from_fov(SIZE.0 as f32, SIZE.1 as f32, 50.0);
        let camera = Camera { position: key.position, rotation: key.rotation, lens };
        View::new(&lens, &camera).project(place, 1.0 / distance).unwrap().0
    }

    #[test]
    fn the_picture_follows_the_hand() {
        let rest = pose(&path(), SIZE, 0.0);
        let lens = Lens::from_fov(SIZE.0 as f32, SIZE.1 as f32, 50.0);
        let (middle, pivot) = (lens.principal_px, Vec3::Z * 4.0);
        let way = Vec2::new(30.0, -12.0);
        let panned = moved(&rest, lens.focal_px, pivot, Move::Pan(way), false);
        assert!((seen(&panned, middle, 4.0) - middle - way).length() < 1e-2, "what is as far as the pivot stays under the hand");
        let orbited = moved(&rest, lens.focal_px, pivot, Move::Orbit(way), false);
        assert!((seen(&orbited, middle, 4.0) - middle).length() < 1e-2, "the pivot stays");
        let near = seen(&orbited, middle, 2.0) - middle;
        assert!(near.x > 5.0 && near.y < -2.0, "what is nearer goes with the hand: {near}");
        let closer = moved(&rest, lens.focal_px, pivot, Move::Dolly(0.5), false);
        assert!((closer.position.z - 2.0).abs() < 1e-5);
        assert!(moved(&rest, lens.focal_px, pivot, Move::Dolly(7.0), false).position.z < 4.0, "never through the pivot");
        let rolled = moved(&rest, lens.focal_px, pivot, Move::Roll(0.1), false);
        let right = seen(&rolled, middle + Vec2::X * 100.0, 4.0) - middle;
        assert!(right.y > 5.0, "the picture turns clockwise with the hand: {right}");
        let aimed = moved(&rest, lens.focal_px, pivot, Move::Orbit(way), true);
        assert_eq!(aimed.rotation, rest.rotation);
    }

    #[test]
    fn a_handle_makes_a_bezier_curve_and_stays_inside() {
        let curve = with_handle(Curve::Smooth, 0, (0.7, -3.0));
        assert_eq!(curve, Curve::Bezier { from: (0.7, 0.0), to: (0.6, 1.0) });
        assert_eq!(with_handle(curve, 1, (f32::NAN, 0.0)), curve);
    }

    #[test]
    fn the_way_grows_as_the_camera_moves() {
        let still = way(&path(), SIZE, &[0.0, 10.0, 20.0], 4.0);
        assert_eq!(still, [0.0, 0.0, 0.0]);
        let moved = posed(&path(), SIZE, 40.0, |key| key.position.z = 2.0);
        let sums = way(&moved, SIZE, &[0.0, 10.0, 20.0, 40.0, 60.0], 4.0);
        assert!(sums.windows(2).all(|pair| pair[0] <= pair[1]) && (sums[3] - 0.5).abs() < 1e-3 && sums[4] == sums[3], "{sums:?}");
    }
}
