#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::motion::stroke::{After, Key, Stroke};

/// A project over a 200 x 100 picture, with its folder.
fn project(strokes: Vec<Stroke>, pins: Vec<Region>) -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    image::RgbImage::new(200, 100).save(folder.path().join("p.png")).unwrap();
    let mut project = Project::new(folder.path(), "p.png", 20);
    (project.strokes, project.pins) = (strokes, pins);
    (folder, project)
}

fn scene(strokes: Vec<Stroke>, pins: Vec<Region>) -> Scene {
    Scene::new(&project(strokes, pins).1, 200, 100).unwrap()
}

fn stroke(region: Region, path: &[(f32, f32, f32)]) -> Stroke {
    Stroke::along(region, path.iter().map(|key| Key::from(*key)).collect())
}

fn square(x: f32, y: f32, side: f32) -> Region {
    Region::Lasso { points: vec![(x, y), (x + side, y), (x + side, y + side), (x, y + side)], softness: 0.0 }
}

fn disc(x: f32, y: f32, radius: f32, softness: f32) -> Region {
    Region::Disc { center: (x, y), radius, softness }
}

/// Places, visibility and states at `frame` of a fresh field.
fn at(scene: &Scene, frame: usize) -> (TrackField, TrackFrame, Vec<PointState>) {
    let mut field = scene.track_field(50);
    scene.advance(&mut field, frame);
    let (tracks, states) = (field.frame(0).unwrap().clone(), field.states(0).unwrap().to_vec());
    (field, tracks, states)
}

#[test]
fn frame_zero_is_the_picture() {
    let mut turned = stroke(square(120.0, 20.0, 30.0), &[(3.0, 5.0, 5.0), (9.0, 90.0, 40.0)]);
    turned.turn = vec![(0.0, 0.0), (10.0, 70.0)];
    turned.scale = vec![(2.0, 1.0), (10.0, 2.0)];
    let strokes = vec![
        stroke(Region::All, &[(0.0, 0.0, 0.0), (10.0, 30.0, 10.0)]),
        stroke(disc(50.0, 50.0, 30.0, 0.7), &[(0.0, 50.0, 50.0), (10.0, 60.0, 55.0)]),
        turned,
    ];
    let scene = scene(strokes, vec![disc(20.0, 20.0, 10.0, 0.5), square(160.0, 60.0, 20.0)]);
    let (field, tracks, _) = at(&scene, 0);
    for (place, source) in tracks.positions.iter().zip(&field.sources) {
        assert!(place.distance(*source) < 1e-3, "{source} -> {place}");
    }
    assert!(tracks.visible.iter().all(|visible| *visible));
}

#[test]
fn a_hard_object_moves_as_a_whole_and_hides_what_it_covers() {
    let scene = scene(vec![stroke(square(20.0, 20.0, 40.0), &[(0.0, 0.0, 0.0), (10.0, 100.0, 20.0)])], vec![]);
    assert!(
        matches!(scene.object_motions(10)[..], [LayerMotion::Affine(map)] if (map.translation - Vec2::new(100.0, 20.0)).length() < 1e-2)
    );
    assert_eq!(scene.plate_motion(10), LayerMotion::STILL);
    let (field, tracks, states) = at(&scene, 10);
    let inside = |p: Vec2, x: f32, y: f32| p.x > x && p.x < x + 40.0 && p.y > y && p.y < y + 40.0;
    for (i, source) in field.sources.iter().enumerate() {
        let object = inside(*source, 20.0, 20.0);
        assert_eq!((field.layers[i], states[i]), if object { (1, PointState::Driven) } else { (0, PointState::Free) });
        let expected = if object { *source + Vec2::new(100.0, 20.0) } else { *source };
        assert!(tracks.positions[i].distance(expected) < 1e-2);
        assert_eq!(tracks.visible[i], object || !inside(*source, 120.0, 40.0), "{source}");
    }
}

#[test]
fn points_that_leave_the_frame_are_not_visible() {
    let scene = scene(vec![stroke(square(20.0, 20.0, 40.0), &[(0.0, 0.0, 0.0), (10.0, -300.0, 0.0)])], vec![]);
    let (field, tracks, _) = at(&scene, 10);
    assert!(field.layers.iter().zip(&tracks.visible).all(|(layer, visible)| *visible == (*layer == 0)));
}

#[test]
fn a_soft_object_bends_and_its_border_stays() {
    let strokes = || vec![stroke(disc(100.0, 50.0, 40.0, 1.0), &[(0.0, 0.0, 0.0), (10.0, 12.0, 0.0)])];
    let free = scene(strokes(), vec![]);
    let map = &free.object_motions(10)[0];
    assert!(free.is_soft(0) && matches!(map, LayerMotion::Mesh(_)));
    let moved = |map: &LayerMotion, x: f32, y: f32| map.apply(Vec2::new(x, y)).x - x;
    assert!((moved(map, 100.0, 50.0) - 12.0).abs() < 0.3, "{}", moved(map, 100.0, 50.0));
    assert!((moved(map, 120.0, 50.0) - 6.0).abs() < 0.3, "half way out, half the motion: {}", moved(map, 120.0, 50.0));
    for (x, y) in [(58.0, 50.0), (100.0, 8.0), (142.0, 50.0), (5.0, 5.0), (195.0, 95.0)] {
        assert!(moved(map, x, y).abs() < 0.05, "({x}, {y}): {}", moved(map, x, y));
    }
    assert!(at(&free, 10).1.visible.iter().all(|visible| *visible), "nothing is hidden by a bend without folds");

    let pinned = scene(strokes(), vec![square(100.0, 0.0, 100.0)]);
    let map = &pinned.object_motions(10)[0];
    assert!(moved(map, 112.0, 50.0).abs() < 1e-3 && moved(map, 130.0, 50.0).abs() < 1e-3);
    assert!((moved(map, 84.0, 50.0) - moved(&free.object_motions(10)[0], 84.0, 50.0)).abs() < 0.1);
    let (field, _, states) = at(&pinned, 10);
    for (source, state) in field.sources.iter().zip(&states) {
        let expected = match (source.x > 100.0, source.distance(Vec2::new(100.0, 50.0)) < 34.0) {
            (true, _) => PointState::Pinned,
            (false, true) => PointState::Driven,
            (false, false) => continue,
        };
        assert_eq!(*state, expected, "{source}");
    }
}

#[test]
fn a_pin_on_a_moving_plate_stands_still() {
    for (pin, soft) in [(square(20.0, 20.0, 40.0), false), (disc(40.0, 40.0, 30.0, 0.5), true)] {
        let scene = scene(vec![stroke(Region::All, &[(0.0, 0.0, 0.0), (10.0, 8.0, 0.0)])], vec![pin]);
        assert_eq!((scene.regions.len(), scene.is_soft(0)), (1, soft));
        let middle = Vec2::new(41.0, 41.0);
        assert!(scene.object_motions(10)[0].apply(middle).distance(middle) < 1e-3);
        let (field, tracks, states) = at(&scene, 10);
        for (i, source) in field.sources.iter().enumerate() {
            match (source.distance(middle), field.layers[i]) {
                (d, 1) if d < 8.0 => assert!(states[i] == PointState::Pinned && tracks.positions[i].distance(*source) < 0.05),
                (_, 0) => assert!(states[i] == PointState::Driven && tracks.positions[i].distance(*source + Vec2::X * 8.0) < 1e-2),
                _ => {}
            }
        }
    }
}

#[test]
fn strokes_add_to_the_plate_in_picture_space() {
    let mut zoom = stroke(Region::All, &[(0.0, 0.0, 0.0), (10.0, 10.0, 0.0)]);
    zoom.scale = vec![(0.0, 1.0), (10.0, 2.0)];
    let mut object = stroke(disc(50.0, 50.0, 20.0, 0.0), &[(0.0, 50.0, 50.0), (10.0, 50.0, 80.0)]);
    object.turn = vec![(0.0, 0.0), (10.0, 90.0)];
    let scene = scene(vec![zoom, object], vec![]);
    // The disc's middle goes with the zoom about (100, 50), then both ways are added.
    let place = scene.object_motions(10)[0].apply(Vec2::new(50.0, 50.0));
    assert!(place.distance(Vec2::new(0.0 + 10.0, 50.0 + 30.0)) < 1e-2, "{place}");
    let right = scene.object_motions(10)[0].apply(Vec2::new(51.0, 50.0)) - place;
    assert!(right.distance(Vec2::new(0.0, 2.0)) < 1e-2, "turned on the plate, then zoomed: {right}");
    assert_eq!((scene.layer_state(0, 5), scene.layer_state(1, 5)), (PointState::Driven, PointState::Driven));
}

#[test]
fn strokes_with_one_region_share_a_layer() {
    let region = square(20.0, 20.0, 20.0);
    let mut turn = stroke(region.clone(), &[(5.0, 0.0, 0.0)]);
    turn.turn = vec![(5.0, 0.0), (10.0, 180.0)];
    let scene = scene(vec![stroke(region, &[(0.0, 0.0, 0.0), (10.0, 50.0, 0.0)]), turn], vec![]);
    assert_eq!(scene.regions.len(), 1);
    let place = scene.object_motions(10)[0].apply(Vec2::new(20.0, 20.0));
    assert!(place.distance(Vec2::new(90.0, 40.0)) < 1e-2, "{place}");
}

#[test]
fn released_objects_are_free_where_they_are() {
    let mut released = stroke(square(20.0, 20.0, 20.0), &[(2.0, 0.0, 0.0), (6.0, 50.0, 0.0)]);
    released.after = After::Release;
    let scene = scene(vec![released], vec![Region::All]);
    let states: Vec<_> = [1, 2, 6, 7].iter().map(|frame| scene.layer_state(1, *frame)).collect();
    assert_eq!(states, [PointState::Free, PointState::Driven, PointState::Driven, PointState::Free]);
    assert_eq!(scene.object_motions(15), scene.object_motions(6));
    assert_eq!(scene.layer_state(0, 3), PointState::Pinned, "a pin over All keeps what no stroke moves");
}

#[test]
fn pixels_belong_to_the_front_object_and_never_to_a_pinned_one() {
    let still = [(0.0, 0.0, 0.0)];
    let strokes = vec![stroke(square(0.0, 0.0, 60.0), &still), stroke(square(20.0, 20.0, 60.0), &still)];
    let scene = scene(strokes, vec![square(20.0, 20.0, 20.0)]);
    let values = |x: usize, y: usize| (scene.regions[0].at(x, y), scene.regions[1].at(x, y));
    assert_eq!((values(10, 10), values(50, 50), values(30, 30)), ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)));
    assert_eq!([(10.0, 10.0), (50.0, 50.0), (30.0, 30.0)].map(|p| scene.layer_at(p.into())), [1, 2, 0]);
}

#[test]
fn a_scene_of_another_size_is_the_same_motion_stretched() {
    let mut object = stroke(square(60.0, 20.0, 30.0), &[(0.0, 0.0, 0.0), (5.0, 20.0, 30.0), (10.0, 60.0, 0.0)]);
    object.turn = vec![(0.0, 0.0), (10.0, 120.0)];
    let soft = stroke(disc(140.0, 60.0, 30.0, 0.8), &[(0.0, 0.0, 0.0), (10.0, 9.0, -4.0)]);
    let (_folder, project) = project(vec![object, soft], vec![]);
    let (whole, half) = (Scene::new(&project, 200, 100).unwrap(), Scene::new(&project, 100, 60).unwrap());
    let scale = Vec2::new(0.5, 0.6);
    for (a, b) in whole.object_motions(7).iter().zip(half.object_motions(7)) {
        for point in [Vec2::new(70.0, 40.0), Vec2::new(141.0, 60.0), Vec2::new(150.0, 70.0)] {
            let (a, b) = (a.apply(point) * scale, b.apply(point * scale));
            assert!(a.distance(b) < 0.4, "{point}: {a} {b}");
        }
    }
}

#[test]
fn newly_uncovered_cells_get_points_and_covered_ones_do_not() {
    let scene = scene(vec![stroke(Region::All, &[(0.0, 0.0, 0.0), (10.0, 50.0, 0.0)])], vec![]);
    let mut field = scene.track_field(50);
    scene.advance(&mut field, 0);
    assert_eq!(scene.seed_uncovered(&mut field, 0), 0);
    let before = field.len();
    let added = scene.seed_uncovered(&mut field, 10);
    assert!((250..=350).contains(&added), "a quarter of 1250 cells: {added}");
    assert!(field.sources[before..].iter().all(|source| source.x < 0.1), "they come from outside the picture");
    scene.advance(&mut field, 10);
    let tracks = field.frame(1).unwrap();
    assert!(tracks.visible[before..].iter().all(|visible| *visible));
    assert_eq!(scene.seed_uncovered(&mut field, 10), 0);
}

#[test]
fn a_mask_file_moves_what_it_shows() {
    let (folder, mut project) = project(vec![], vec![]);
    image::GrayImage::from_fn(100, 50, |x, _| image::Luma([if x < 50 { 255 } else { 0 }])).save(folder.path().join("m.png")).unwrap();
    project.strokes = vec![stroke(Region::MaskFile { path: "m.png".into(), soft: false }, &[(0.0, 0.0, 0.0), (4.0, 7.0, 0.0)])];
    let scene = Scene::new(&project, 200, 100).unwrap();
    assert_eq!((scene.layer_at(Vec2::new(90.0, 50.0)), scene.layer_at(Vec2::new(110.0, 50.0))), (1, 0));
}

#[test]
fn what_shows_at_a_place_is_what_was_moved_there() {
    let scene = scene(vec![stroke(square(20.0, 20.0, 30.0), &[(0.0, 0.0, 0.0), (10.0, 80.0, 10.0)])], vec![]);
    assert_eq!(scene.outlines.len(), 1);
    let (object, source) = scene.pick(Vec2::new(115.0, 45.0), 10);
    assert_eq!(object, Some(0));
    assert!(source.distance(Vec2::new(35.0, 35.0)) < 1e-2, "{source}");
    assert_eq!(scene.pick(Vec2::new(35.0, 35.0), 10), (None, Vec2::new(35.0, 35.0)));
    assert_eq!(scene.pick(Vec2::new(35.0, 35.0), 0).0, Some(0));
}

#[test]
fn a_revised_scene_is_the_compiled_one_and_shares_its_masks() {
    let mut turned = stroke(square(60.0, 20.0, 30.0), &[(0.0, 0.0, 0.0), (5.0, 20.0, 30.0), (10.0, 60.0, 0.0)]);
    turned.turn = vec![(0.0, 0.0), (10.0, 120.0)];
    let strokes = vec![
        stroke(Region::All, &[(0.0, 0.0, 0.0), (10.0, 30.0, 10.0)]),
        turned,
        stroke(disc(140.0, 60.0, 30.0, 0.8), &[(0.0, 0.0, 0.0), (10.0, 9.0, -4.0)]),
    ];
    let (_folder, project) = project(strokes, vec![disc(20.0, 20.0, 10.0, 0.0)]);
    let scene = Scene::new(&project, 100, 60).unwrap();
    let mut moved = project.clone();
    moved.strokes[0].scale = vec![(0.0, 1.0), (8.0, 1.3)];
    moved.strokes[1].path[2].place = Vec2::new(-40.0, 10.0);
    moved.strokes[2].pivot = Some((120.0, 50.0));
    moved.strokes[2].turn = vec![(0.0, 0.0), (10.0, 20.0)];
    // The same region twice: one layer more to drive, none more to cut.
    moved.strokes.push(stroke(square(60.0, 20.0, 30.0), &[(3.0, 0.0, 0.0), (6.0, 3.0, 3.0)]));
    let (revised, compiled) = (scene.revised(&moved).unwrap(), Scene::new(&moved, 100, 60).unwrap());
    for frame in 0..12 {
        assert_eq!(revised.object_motions(frame), compiled.object_motions(frame), "{frame}");
        assert_eq!(revised.plate_motion(frame), compiled.plate_motion(frame));
        assert!((0..4).all(|layer| revised.layer_state(layer, frame) == compiled.layer_state(layer, frame)));
    }
    assert_ne!(revised.object_motions(9), scene.object_motions(9));
    assert!(revised.regions.iter().zip(&scene.regions).all(|(a, b)| Arc::ptr_eq(a, b)));

    let other = |change: &dyn Fn(&mut Project)| {
        let mut other = project.clone();
        change(&mut other);
        assert!(scene.revised(&other).is_none());
    };
    other(&|p| p.strokes[1].region = square(61.0, 20.0, 30.0));
    other(&|p| drop(p.strokes.remove(0)));
    other(&|p| p.strokes.swap(1, 2));
    other(&|p| p.pins.clear());
    other(&|p| p.seed = 9);
    other(&|p| p.image = "q.png".into());
    other(&|p| p.strokes[1].path[1].frame = 20.0);
    other(&|p| p.strokes[1].path.clear());
}

#[test]
fn a_field_outlives_its_scene() {
    let first = scene(vec![stroke(square(20.0, 20.0, 40.0), &[(0.0, 0.0, 0.0)])], vec![]);
    let second = scene(vec![stroke(square(100.0, 20.0, 40.0), &[(0.0, 0.0, 0.0), (4.0, 9.0, 0.0)])], vec![]);
    let mut field = first.track_field(50);
    first.advance(&mut field, 0);
    let fresh = second.track_field(50);
    second.relayer(&mut field);
    assert_eq!((&field.ids, &field.sources, &field.layers), (&fresh.ids, &fresh.sources, &fresh.layers));
    second.advance(&mut field, 1);
    assert_eq!(field.pushed(), 2);
}

/// A camera before a wall 4 units away, on whose left half something is twice as near.
fn with_camera(mut project: Project, keys: Vec<crate::motion::camera::CameraKey>) -> (Project, Arc<DepthMap>) {
    use crate::motion::depth::{DepthSource, SceneShape};
    let mut camera = CameraPath::new(DepthSource::Shape(SceneShape::Backdrop { distance: 4.0 }));
    camera.keys = keys;
    project.camera = Some(camera);
    (project, Arc::new(DepthMap::new(Mask::from_fn(200, 100, |x, _| if x < 100 { 0.5 } else { 0.25 }))))
}

#[test]
fn a_camera_moves_all_points_by_their_depth_and_strokes_and_pins_go_with_the_surface() {
    use crate::motion::camera::CameraKey;
    let sideways = vec![CameraKey::at_rest(0.0), CameraKey { position: glam::Vec3::X * 0.2, ..CameraKey::at_rest(10.0) }];
    let strokes = vec![
        stroke(square(120.0, 20.0, 30.0), &[(0.0, 0.0, 0.0), (10.0, 20.0, 0.0)]),
        stroke(disc(40.0, 50.0, 20.0, 0.6), &[(0.0, 0.0, 0.0), (10.0, 0.0, 10.0)]),
    ];
    let (_folder, flat) = project(strokes, vec![square(160.0, 60.0, 20.0)]);
    let (project, depth) = with_camera(flat.clone(), sideways);
    let (still, moving) = (Scene::new(&flat, 200, 100).unwrap(), Scene::new(&project, 200, 100).unwrap().with_depth(depth.clone()));
    // At rest it is as if there were no camera, bit for bit.
    assert_eq!(moving.frame_motion(0), still.frame_motion(0));
    assert_eq!((at(&moving, 0).1, at(&moving, 0).2), (at(&still, 0).1, at(&still, 0).2));
    let focal = moving.camera().unwrap().lens((200, 100)).focal_px;
    let motion = moving.frame_motion(10);
    assert!(motion.view.is_some() && motion.objects == still.frame_motion(10).objects);
    let (field, tracks, states) = at(&moving, 10);
    let surface = at(&still, 10).1;
    let (mut hidden, mut seen) = (0, 0);
    for (i, source) in field.sources.iter().enumerate() {
        let expected = surface.positions[i] - Vec2::X * (focal * 0.2 * depth.at(*source));
        assert!(tracks.positions[i].distance(expected) < 0.05, "{source}");
        assert_eq!(states[i], PointState::Driven);
        // The nearer half slides over what is right of it: nothing there yet, it uncovers.
        let inside = (0.0..200.0).contains(&expected.x) && (0.0..100.0).contains(&expected.y);
        seen += usize::from(tracks.visible[i]);
        hidden += usize::from(inside && !tracks.visible[i]);
        assert!(inside || !tracks.visible[i], "{source}");
    }
    assert!(seen > 1000 && hidden < seen / 10, "{seen} {hidden}");
    // The other way it covers.
    let back = vec![CameraKey { position: glam::Vec3::X * -0.4, ..CameraKey::at_rest(0.0) }];
    let (project, depth) = with_camera(flat, back);
    let scene = Scene::new(&project, 200, 100).unwrap().with_depth(depth);
    let (field, tracks, _) = at(&scene, 0);
    for (source, visible) in field.sources.iter().zip(&tracks.visible) {
        let slid = focal * 0.4 * 0.25;
        if (106.0..94.0 + slid).contains(&source.x) && source.x + slid < 196.0 {
            assert!(!visible, "{source} is behind the nearer half");
        }
        if source.x < 92.0 && source.y < 96.0 {
            assert!(*visible, "{source}");
        }
    }
    let (object, source) = scene.pick(Vec2::new(100.0, 80.0), 0);
    assert!(object.is_none() && source.distance(Vec2::new(100.0 - focal * 0.2, 80.0)) < 0.2, "{source}");
}

#[test]
fn another_way_of_the_camera_is_drawn_at_once_and_another_depth_is_not() {
    use crate::motion::camera::CameraKey;
    let (_folder, plain) = project(vec![stroke(square(20.0, 20.0, 40.0), &[(0.0, 0.0, 0.0), (9.0, 50.0, 0.0)])], vec![]);
    let (mut project, depth) = with_camera(plain.clone(), vec![CameraKey::at_rest(0.0)]);
    let scene = Scene::new(&project, 200, 100).unwrap().with_depth(depth.clone());
    assert!(scene.frame_motion(5).view.is_none());
    let camera = project.camera.as_mut().unwrap();
    camera.keys.push(CameraKey { position: glam::Vec3::new(0.1, 0.0, 0.4), ..CameraKey::at_rest(8.0) });
    let revised = scene.revised(&project).unwrap();
    assert_eq!(revised.frame_motion(5), Scene::new(&project, 200, 100).unwrap().with_depth(depth).frame_motion(5));
    assert!(revised.frame_motion(5).view.is_some());
    project.camera.as_mut().unwrap().keys[1].frame = 0.0;
    assert!(scene.revised(&project).is_none(), "two keys at one frame");
    project.camera.as_mut().unwrap().keys.pop();
    project.camera.as_mut().unwrap().fov_deg = 70.0;
    assert!(scene.revised(&project).is_none() && scene.revised(&plain).is_none());
}

#[test]
fn points_are_added_where_the_camera_uncovers_the_picture_and_nothing_is_ever_not_a_number() {
    use crate::motion::camera::CameraKey;
    let (_folder, plain) = project(vec![stroke(disc(60.0, 50.0, 30.0, 0.5), &[(0.0, 0.0, 0.0), (9.0, 10.0, 0.0)])], vec![]);
    for (position, yaw_deg) in
        [((0.5, 0.0, 1.5), 20.0), ((0.0, 0.0, 3.0), 0.0), ((0.0, 0.0, 5.0), 0.0), ((0.0, 0.0, 0.0), 180.0), ((0.0, 0.0, -9.0), 3.0_f32)]
    {
        let rotation = glam::Quat::from_rotation_y(yaw_deg.to_radians());
        let keys = vec![CameraKey::at_rest(0.0), CameraKey { position: position.into(), rotation, ..CameraKey::at_rest(9.0) }];
        let (project, depth) = with_camera(plain.clone(), keys);
        let scene = Scene::new(&project, 200, 100).unwrap().with_depth(depth);
        let mut field = scene.track_field(40);
        for frame in 0..12 {
            let added = scene.seed_uncovered(&mut field, frame);
            assert!(added < 800, "{added}");
            scene.advance(&mut field, frame);
            let tracks = field.frame(frame).unwrap();
            assert!(tracks.positions.iter().all(|place| place.is_finite()), "{position:?} at {frame}");
            let (_, source) = scene.pick(Vec2::new(50.0, 50.0), frame);
            assert!(source.is_finite());
        }
    }
}

/// A project over a 200 x 100 picture whose clip is that picture in motion: `to` says where a place is at a frame.
fn filmed(strokes: Vec<Stroke>, pins: Vec<Region>, regions: &[Region], to: impl Fn(Vec2, f32) -> Vec2) -> (tempfile::TempDir, Project) {
    use crate::motion::npz::Tracks;
    use crate::motion::transfer::Transfer;
    let (folder, mut project) = project(strokes, pins);
    let places: Vec<Vec2> = (0..800).map(|i| Vec2::new((i % 40) as f32 * 5.0 + 2.5, (i / 40) as f32 * 5.0 + 2.5)).collect();
    let frame = |t: usize| TrackFrame { positions: places.iter().map(|p| to(*p, t as f32)).collect(), visible: vec![true; 800] };
    Tracks { points: 800, frames: (0..=20).map(frame).collect() }.save(folder.path().join("t.npz")).unwrap();
    let clip = |region: &Region| Transfer { region: region.clone(), ..Transfer::new("c.mp4", "t.npz", (200, 100), 16.0, 21) };
    project.transfers = regions.iter().map(clip).collect();
    (folder, project)
}

/// Turns about the middle and bends.
fn turning(p: Vec2, t: f32) -> Vec2 {
    let middle = Vec2::new(100.0, 50.0);
    middle + Vec2::from_angle(0.01 * t).rotate(p - middle) + Vec2::new(0.0, 0.2 * t * (p.x * 0.04).sin())
}

#[test]
fn a_clip_moves_the_plate_as_its_tracks_go() {
    let (_folder, project) = filmed(vec![], vec![], &[Region::All], turning);
    let scene = Scene::new(&project, 200, 100).unwrap();
    let (field, tracks, _) = at(&scene, 0);
    assert!(field.sources.iter().zip(&tracks.positions).all(|(a, b)| a.distance(*b) < 1e-3));
    let mut field = scene.track_field(50);
    for frame in 0..=20 {
        scene.advance(&mut field, frame);
        let (tracks, states) = (field.frame(frame).unwrap(), field.states(frame).unwrap());
        for (source, place) in field.sources.iter().zip(&tracks.positions) {
            let truth = turning(*source, frame as f32);
            assert!(place.distance(truth) < 0.3, "{frame} {source}: {place} {truth}");
        }
        assert!(states.iter().all(|state| *state == PointState::Driven));
        let place = turning(Vec2::new(60.0, 40.0), frame as f32);
        let (object, source) = scene.pick(place, frame);
        assert!(object.is_none() && source.distance(Vec2::new(60.0, 40.0)) < 0.5, "{frame}: {source}");
    }
    // A picture of another size moves alike.
    let half = Scene::new(&project, 100, 50).unwrap();
    let place = half.plate_motion(20).apply(Vec2::new(30.0, 20.0)) * 2.0;
    assert!(place.distance(turning(Vec2::new(60.0, 40.0), 20.0)) < 0.3, "{place}");
}

#[test]
fn strokes_come_on_top_of_clips_and_share_their_layer() {
    let region = square(40.0, 20.0, 60.0);
    let mut moved = stroke(region.clone(), &[(0.0, 0.0, 0.0), (20.0, 60.0, 10.0)]);
    moved.turn = vec![(0.0, 0.0), (20.0, 90.0)];
    let (_folder, project) = filmed(vec![moved], vec![], &[region], turning);
    let scene = Scene::new(&project, 200, 100).unwrap();
    assert_eq!((scene.regions.len(), scene.plate_motion(20)), (1, LayerMotion::STILL));
    for source in [Vec2::new(50.0, 30.0), Vec2::new(70.0, 50.0), Vec2::new(95.0, 75.0)] {
        let bent = turning(source, 20.0) - Vec2::new(70.0, 50.0);
        let truth = Vec2::new(70.0, 50.0) + bent.perp() + Vec2::new(60.0, 10.0);
        let place = scene.object_motions(20)[0].apply(source);
        assert!(place.distance(truth) < 0.3, "{source}: {place} {truth}");
        let (object, found) = scene.pick(place, 20);
        assert!(object == Some(0) && found.distance(source) < 0.1, "{found}");
    }
    assert_eq!(scene.pick(Vec2::new(45.0, 25.0), 20).0, None, "it has left");
}

#[test]
fn pins_stay_where_clips_move_everything() {
    let (_folder, project) = filmed(vec![], vec![disc(60.0, 50.0, 20.0, 0.0)], &[Region::All], |p, t| p + Vec2::new(t, 0.0));
    let scene = Scene::new(&project, 200, 100).unwrap();
    let (field, tracks, states) = at(&scene, 20);
    for ((source, place), state) in field.sources.iter().zip(&tracks.positions).zip(&states) {
        let pinned = source.distance(Vec2::new(60.0, 50.0)) < 18.0;
        assert!(pinned == (*place == *source) || (source.distance(Vec2::new(60.0, 50.0)) - 20.0).abs() < 3.0, "{source} {place}");
        assert!(!pinned || *state == PointState::Pinned);
    }
    // In a soft layer over a pin as well.
    let (_folder, project) =
        filmed(vec![], vec![disc(60.0, 50.0, 10.0, 0.0)], &[disc(60.0, 50.0, 45.0, 0.5)], |p, t| p + Vec2::new(0.2 * t, 0.0));
    let scene = Scene::new(&project, 200, 100).unwrap();
    let bend = &scene.object_motions(20)[0];
    assert!(bend.apply(Vec2::new(60.0, 50.0)).distance(Vec2::new(60.0, 50.0)) < 0.05);
    assert!(bend.apply(Vec2::new(80.0, 50.0)).x > 83.0);
    assert!(bend.apply(Vec2::new(60.0, 3.0)).distance(Vec2::new(60.0, 3.0)) < 0.05, "its border stays with the plate");
}

#[test]
fn other_numbers_of_a_clip_are_taken_at_once_and_are_the_compiled_ones() {
    use crate::motion::transfer::{Placing, Repeat};
    let disc = disc(60.0, 50.0, 30.0, 0.4);
    let strokes = vec![stroke(square(20.0, 20.0, 20.0), &[(0.0, 0.0, 0.0), (10.0, 30.0, 0.0)])];
    let (folder, project) = filmed(strokes, vec![square(150.0, 10.0, 20.0)], &[Region::All, disc, square(20.0, 20.0, 20.0)], turning);
    let scene = Scene::new(&project, 100, 60).unwrap();
    // Nothing is read: the file may even be gone.
    let mut moved = project.clone();
    moved.strokes[0].path[1].place = Vec2::new(10.0, 10.0);
    (moved.transfers[0].strength, moved.transfers[0].start) = (0.4, 3.0);
    (moved.transfers[1].speed, moved.transfers[1].repeat) = (2.5, Repeat::PingPong);
    moved.transfers[2].placing = Placing::Similarity { offset: (20.0, 3.0), scale: 0.7, turn_deg: 30.0, mirror: true };
    let compiled = Scene::new(&moved, 100, 60).unwrap();
    std::fs::remove_file(folder.path().join("t.npz")).unwrap();
    let revised = scene.revised(&moved).unwrap();
    for frame in [0, 1, 7, 20, 33] {
        assert!(revised.frame_motion(frame) == compiled.frame_motion(frame), "{frame}");
        assert!((0..4).all(|layer| revised.layer_state(layer, frame) == compiled.layer_state(layer, frame)));
    }
    assert!(revised.frame_motion(7) != scene.frame_motion(7));
    let other = |change: &dyn Fn(&mut Project)| {
        let mut other = project.clone();
        change(&mut other);
        assert!(scene.revised(&other).is_none());
    };
    other(&|p| p.transfers[0].region = square(0.0, 0.0, 30.0));
    other(&|p| p.transfers[0].range = (2, 9));
    other(&|p| p.transfers[1].hidden = vec![4]);
    other(&|p| p.transfers[1].tracks = "u.npz".into());
    other(&|p| p.transfers[2].speed = 0.0);
    other(&|p| drop(p.transfers.remove(0)));
    let gone = Scene::new(&project, 100, 60).unwrap_err().to_string();
    assert!(gone.contains("transfers[0].tracks: t.npz does not exist; track the clip again"), "{gone}");
}

#[test]
fn tracks_that_cannot_be_used_are_named_by_their_transfer() {
    let (folder, mut project) = filmed(vec![], vec![], &[Region::All], turning);
    project.transfers[0].range = (0, 21);
    let message = Scene::new(&project, 200, 100).unwrap_err().to_string();
    assert!(message.starts_with("transfers[0].range: ends at frame 21"), "{message}");
    project.transfers[0].range = (0, 20);
    std::fs::write(folder.path().join("t.npz"), b"no archive").unwrap();
    let message = Scene::new(&project, 200, 100).unwrap_err().to_string();
    assert!(message.starts_with("transfers[0].tracks: ") && message.contains("t.npz: cannot be opened as .npz"), "{message}");
    project.pins = vec![Region::All];
    let message = Scene::new(&project, 200, 100).unwrap_err().to_string();
    assert!(message.contains("pins the whole picture, which transfers[0] moves"), "{message}");
}

#[test]
fn what_a_clip_covers_is_hidden_and_what_it_uncovers_gets_points() {
    let (_folder, project) = filmed(vec![], vec![], &[square(20.0, 20.0, 40.0)], |p, t| p + Vec2::new(4.0 * t, 0.0));
    let scene = Scene::new(&project, 200, 100).unwrap();
    let mut field = scene.track_field(50);
    scene.advance(&mut field, 0);
    assert_eq!(scene.seed_uncovered(&mut field, 0), 0);
    scene.advance(&mut field, 1);
    let before = field.len();
    assert!(scene.seed_uncovered(&mut field, 20) > 50, "where the square was");
    assert!(field.sources[before..].iter().all(|p| (18.0..62.0).contains(&p.x) && (18.0..62.0).contains(&p.y)));
    scene.advance(&mut field, 20);
    let tracks = field.frame(2).unwrap();
    for i in 0..before {
        let under = field.layers[i] == 0 && (104.0..136.0).contains(&field.sources[i].x) && (24.0..56.0).contains(&field.sources[i].y);
        assert!(!under || !tracks.visible[i], "{}", field.sources[i]);
        assert!(field.layers[i] == 0 || tracks.visible[i]);
    }
}

#[test]
fn what_a_clip_moves_is_seen_by_the_camera_where_the_clip_took_it() {
    use crate::motion::camera::CameraKey;
    let place = glam::Vec3::new(0.15, -0.05, 0.3);
    let rotation = glam::Quat::from_rotation_y(0.04);
    let keys = vec![CameraKey::at_rest(0.0), CameraKey { position: place, rotation, ..CameraKey::at_rest(20.0) }];
    // All of the picture by one clip, a part of it by the same one twice as much, and a stroke on top of that.
    let region = square(120.0, 20.0, 40.0);
    let strokes = vec![stroke(region.clone(), &[(0.0, 0.0, 0.0), (20.0, -6.0, 4.0)])];
    let (_folder, filmed) = filmed(strokes, vec![], &[Region::All, region], turning);
    let (project, depth) = with_camera(filmed.clone(), keys);
    let surface = Scene::new(&filmed, 200, 100).unwrap();
    let scene = Scene::new(&project, 200, 100).unwrap().with_depth(depth.clone());
    assert_eq!(scene.frame_motion(0), surface.frame_motion(0), "at rest it is the clip alone");
    for frame in [7, 13, 20] {
        let (motion, flat) = (scene.frame_motion(frame), surface.frame_motion(frame));
        let view = motion.view.unwrap();
        assert!(view.columns.iter().all(|column| column.is_finite()));
        assert!(matches!(motion.plate, LayerMotion::Mesh(_)) && motion.plate == flat.plate && motion.objects == flat.objects);
        let meshes = std::iter::once(&motion.plate).chain(&motion.objects);
        assert!(meshes.flat_map(|m| if let LayerMotion::Mesh(m) = m { &m.positions[..] } else { &[] }).all(|p| p.is_finite()));
        let ((field, tracks, states), (_, on_surface, _)) = (at(&scene, frame), at(&surface, frame));
        let mut far = 0.0_f32;
        for (i, source) in field.sources.iter().enumerate() {
            let (expected, _) = view.project(on_surface.positions[i], depth.at(*source)).unwrap();
            assert!(tracks.positions[i].distance(expected) < 0.02, "{frame} {source}: {} {expected}", tracks.positions[i]);
            assert_eq!(states[i], PointState::Driven);
            far = far.max(expected.distance(on_surface.positions[i]));
        }
        assert!(far > 2.0, "the camera moves them too: {far}");
        assert!(tracks.visible.iter().filter(|visible| **visible).count() > 700);
        // What is seen there is what the clip brought there.
        let source = Vec2::new(60.0, 45.0);
        let (seen, _) = view.project(surface.plate_motion(frame).apply(source), depth.at(source)).unwrap();
        let (object, found) = scene.pick(seen, frame);
        assert!(object.is_none() && found.distance(source) < 1.0, "{frame}: {found}");
    }
    // Another strength of the clip and another way of the camera are taken at once.
    let mut moved = project.clone();
    moved.transfers[0].strength = 0.5;
    moved.camera.as_mut().unwrap().keys[1].position.x = -0.2;
    let (revised, compiled) = (scene.revised(&moved).unwrap(), Scene::new(&moved, 200, 100).unwrap().with_depth(depth));
    assert!(revised.frame_motion(13) == compiled.frame_motion(13) && revised.frame_motion(13) != scene.frame_motion(13));
}
