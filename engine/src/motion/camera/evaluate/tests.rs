#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::motion::depth::DepthSource;

const PICTURE: (usize, usize) = (640, 400);

fn key(frame: f32, position: Vec3, yaw_deg: f32, curve: Curve) -> CameraKey {
    CameraKey { position, rotation: Quat::from_rotation_y(yaw_deg.to_radians()), curve, ..CameraKey::at_rest(frame) }
}

fn path(keys: Vec<CameraKey>) -> CameraPath {
    CameraPath { keys, ..CameraPath::new(DepthSource::guess(PICTURE)) }
}

fn near(a: &Camera, b: &Camera) -> bool {
    a.position.distance(b.position) < 1e-4
        && a.rotation.angle_between(b.rotation) < 2e-3
        && (a.lens.focal_px / b.lens.focal_px - 1.0).abs() < 1e-4
}

#[test]
fn every_curve_passes_through_its_keys() {
    for curve in [Curve::Linear, Curve::Smooth, Curve::Hold, Curve::Bezier { from: (0.3, 0.0), to: (0.6, 1.2) }] {
        let mut keys = vec![
            key(0.0, Vec3::ZERO, 0.0, curve),
            key(10.0, Vec3::new(1.0, 0.0, 2.0), 30.0, curve),
            key(14.0, Vec3::new(1.0, -1.0, 2.0), 170.0, curve),
            key(40.0, Vec3::new(-3.0, 0.0, 0.0), -170.0, curve),
        ];
        keys[1].fov_deg = Some(20.0);
        let path = path(keys);
        for key in &path.keys {
            let expected = Pose::of(key, focal_of(path.fov_deg));
            let expected = Camera { position: expected.position, rotation: expected.rotation, lens: path.lens_of(PICTURE, expected.focal) };
            assert!(near(&path.camera(PICTURE, key.frame), &expected), "{curve:?} at {}", key.frame);
            if curve != Curve::Hold {
                assert!(near(&path.camera(PICTURE, key.frame - 1e-5), &expected), "{curve:?} before {}", key.frame);
            }
        }
        assert_eq!(path.camera(PICTURE, -5.0), path.camera(PICTURE, 0.0));
        assert_eq!(path.camera(PICTURE, 900.0), path.camera(PICTURE, 40.0));
    }
}

#[test]
fn a_smooth_way_has_no_kink_and_rests_where_it_stays() {
    let smooth = |frame, x, yaw| key(frame, Vec3::X * x, yaw, Curve::Smooth);
    let path =
        path(vec![smooth(0.0, 0.0, 0.0), smooth(8.0, 0.0, 0.0), smooth(20.0, 3.0, 40.0), smooth(30.0, 4.0, 90.0), smooth(33.0, 4.0, 90.0)]);
    let at = |frame: f32| path.camera(PICTURE, frame);
    for i in 0..=80 {
        assert!(at(i as f32 * 0.1) == at(0.0), "no swinging back before it leaves: {i}");
    }
    let mut last = 0.0;
    for i in 0..=330 {
        let x = at(i as f32 * 0.1).position.x;
        assert!(x >= last - 1e-4 && x <= 4.0 + 1e-4, "{i}: {x} after {last}");
        last = x;
    }
    for frame in [8.0, 20.0, 30.0_f32] {
        const H: f32 = 0.01;
        let speed = |a: f32, b: f32| (at(b).position.x - at(a).position.x) / H;
        let turning = |a: f32, b: f32| at(a).rotation.angle_between(at(b).rotation) / H;
        assert!((speed(frame - H, frame) - speed(frame, frame + H)).abs() < 0.02, "{frame}");
        assert!((turning(frame - H, frame) - turning(frame, frame + H)).abs() < 0.03, "{frame}");
    }
}

#[test]
fn turns_take_the_shorter_way_whatever_the_sign() {
    let mut keys = vec![key(0.0, Vec3::ZERO, 170.0, Curve::Linear), key(10.0, Vec3::ZERO, -170.0, Curve::Linear)];
    let middle = path(keys.clone()).camera(PICTURE, 5.0).rotation;
    assert!(middle.angle_between(Quat::from_rotation_y(std::f32::consts::PI)) < 1e-3);
    keys[1].rotation = -keys[1].rotation;
    assert!(path(keys).camera(PICTURE, 5.0).rotation.angle_between(middle) < 1e-3);
}

#[test]
fn bezier_progress_is_that_of_css() {
    assert!((bezier_progress((0.25, 0.1), (0.25, 1.0), 0.5) - 0.8024).abs() < 1e-3, "`ease` at one half");
    assert!((bezier_progress((0.42, 0.0), (0.58, 1.0), 0.5) - 0.5).abs() < 1e-4);
    assert!((bezier_progress((1.0, 0.0), (0.0, 1.0), 0.3) - 0.0).abs() < 0.2);
    assert_eq!((bezier_progress((0.1, 3.0), (0.0, -2.0), 0.0), bezier_progress((0.1, 3.0), (0.0, -2.0), 1.0)), (0.0, 1.0));
}

#[test]
fn a_dolly_zoom_of_two_keys_keeps_its_target_all_the_way() {
    for curve in [Curve::Linear, Curve::Smooth, Curve::Bezier { from: (0.5, 0.0), to: (0.4, 1.0) }] {
        let mut keys = vec![key(0.0, Vec3::ZERO, 0.0, curve), key(40.0, Vec3::Z * 2.0, 0.0, curve)];
        // Half as far, half the focal length.
        keys[1].fov_deg = Some((focal_of(50.0) * 0.5).recip().atan().to_degrees() * 2.0);
        let path = path(keys);
        for frame in 0..=40 {
            let camera = path.camera(PICTURE, frame as f32);
            let size = camera.lens.focal_px / (4.0 - camera.position.z);
            assert!((size / (path.lens(PICTURE).focal_px / 4.0) - 1.0).abs() < 1e-3, "{curve:?} {frame}: {size}");
        }
    }
}

#[test]
fn what_is_looked_at_stays_where_the_picture_has_it() {
    let mut path = path(vec![key(0.0, Vec3::ZERO, 25.0, Curve::Smooth), key(30.0, Vec3::new(2.0, -0.7, 1.5), -25.0, Curve::Smooth)]);
    let target = Vec3::new(0.6, 0.4, 5.0);
    path.look_at = Some(target);
    let lens = path.lens(PICTURE);
    let place = target.truncate() / target.z * lens.focal_px + lens.principal_px;
    assert!(path.view(PICTURE, Affine2::IDENTITY, 0.0).is_none(), "there it is at rest");
    for frame in 1..=30 {
        let (seen, _) = path.view(PICTURE, Affine2::IDENTITY, frame as f32).unwrap().project(place, target.z.recip()).unwrap();
        assert!(seen.distance(place) < 0.05, "{frame}: {seen} {place}");
    }
    path.keys[1].position = target;
    assert!(path.camera(PICTURE, 30.0).rotation.is_finite(), "looking at where it is");
}

#[test]
fn a_hand_trembles_as_much_as_it_says_from_rest() {
    let mut path = path(vec![]);
    path.handheld = Some(Handheld { position: 0.05, rotation_deg: 0.4, frequency_hz: 1.2, seed: 7 });
    assert!(path.view(PICTURE, Affine2::IDENTITY, 0.0).is_none());
    let (mut ways, mut turns, count) = (0.0, 0.0, 4000);
    for frame in 16..16 + count {
        let camera = path.camera(PICTURE, frame as f32);
        ways += camera.position.length_squared();
        turns += camera.rotation.to_scaled_axis().length_squared();
        let step = path.camera(PICTURE, frame as f32 + 0.1).position.distance(camera.position);
        assert!(step < 0.01, "smooth: {step}");
    }
    let (way, turn) = ((ways / count as f32).sqrt(), (turns / count as f32 / 3.0).sqrt().to_degrees());
    assert!((way / 0.05 - 1.0).abs() < 0.15 && (turn / 0.4 - 1.0).abs() < 0.15, "{way} {turn}");
    let again = path.camera(PICTURE, 33.0);
    assert_eq!(path.clone().camera(PICTURE, 33.0), again);
    path.handheld = Some(Handheld { seed: 8, ..path.handheld.unwrap() });
    assert_ne!(path.camera(PICTURE, 33.0), again);
}

#[test]
fn a_stretched_scene_sees_what_the_picture_sees() {
    let path = path(vec![key(0.0, Vec3::new(0.3, 0.1, -0.4), 8.0, Curve::Smooth)]);
    let scene_from_picture = Affine2::from_scale_angle_translation(Vec2::new(0.5, 0.75), 0.0, Vec2::new(-3.0, 11.0));
    let view = path.view(PICTURE, Affine2::IDENTITY, 0.0).unwrap();
    let scaled = path.view(PICTURE, scene_from_picture, 0.0).unwrap();
    for (x, y, w) in [(0.0, 0.0, 0.2), (320.0, 200.0, 0.0), (600.0, 13.0, 1.1)] {
        let (seen, depth) = view.project(Vec2::new(x, y), w).unwrap();
        let (place, other) = scaled.project(scene_from_picture.transform_point2(Vec2::new(x, y)), w).unwrap();
        assert!(place.distance(scene_from_picture.transform_point2(seen)) < 0.02 && (depth - other).abs() < 1e-5);
    }
}

#[test]
fn whatever_a_path_holds_the_camera_is_finite() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut draw = |size: f32| match random.next_u32() % 40 {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => -1e30,
        _ => (random.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0) * size,
    };
    for _ in 0..400 {
        let mut frame = 0.0;
        let keys: Vec<CameraKey> = (0..4)
            .map(|i| {
                frame += 1.0 + draw(1.0).abs().min(50.0);
                CameraKey {
                    frame,
                    position: Vec3::new(draw(5.0), draw(5.0), draw(5.0)),
                    rotation: Quat::from_xyzw(draw(1.0), draw(1.0), draw(1.0), draw(1.0)),
                    fov_deg: (i % 2 == 0).then(|| draw(200.0)),
                    curve: [
                        Curve::Smooth,
                        Curve::Linear,
                        Curve::Hold,
                        Curve::Bezier { from: (draw(1.0), draw(2.0)), to: (draw(1.0), draw(2.0)) },
                    ][i],
                }
            })
            .collect();
        let mut path = path(keys);
        path.fov_deg = draw(170.0);
        path.look_at = (draw(1.0) > 0.0).then(|| Vec3::new(draw(1.0), draw(1.0), draw(3.0)));
        path.handheld = Some(Handheld { position: draw(1.0), rotation_deg: draw(9.0), frequency_hz: draw(3.0), seed: 1 });
        for frame in [f32::NAN, -3.0, 0.0, 1.5, 2.5, 4.0, 6.3, 1e9, f32::INFINITY] {
            let camera = path.camera(PICTURE, frame);
            assert!(
                camera.position.is_finite() && camera.rotation.is_finite() && camera.lens.focal_px.is_finite(),
                "{camera:?} of {path:?} at {frame}"
            );
        }
    }
}
