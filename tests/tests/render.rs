//! From a project to frames: the object travels along its path, the picture stays intact, and no ghost is left.
#![allow(clippy::unwrap_used)]

use candle_core::Device;
use kinebrush_engine::media::picture_file::{load_picture, save_png};
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::motion::Project;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::stream::render::{Renderer, model_size};

/// A red disc of radius 12 at (40, 50) on a grey-green ramp, and a project that drags it 60 px to the right over 12 frames.
fn project(folder: &std::path::Path) -> (Project, Picture) {
    let picture = Picture::from_fn(160, 96, |x, y| {
        let distance = (x as f32 + 0.5 - 40.0).hypot(y as f32 + 0.5 - 50.0);
        let inside = (12.5 - distance).clamp(0.0, 1.0);
        let ground = [0.3 + x as f32 / 800.0, 0.5, 0.3 + y as f32 / 400.0];
        [0.9, 0.1, 0.1].iter().zip(ground).map(|(d, g)| d * inside + g * (1.0 - inside)).collect::<Vec<_>>().try_into().unwrap()
    });
    save_png(&picture, &folder.join("p.png")).unwrap();
    let path = folder.join("p.ron");
    let text = "(version: 1, image: \"p.png\", frames: 16, seed: 3,
        strokes: [(region: Disc(center: (40, 50), radius: 14), path: [(0, 40, 50), (12, 100, 50)])])";
    std::fs::write(&path, text).unwrap();
    (Project::load(&path).unwrap(), load_picture(&folder.join("p.png")).unwrap())
}

fn redness(frame: &Picture, x: usize, y: usize) -> f32 {
    let [r, g, _] = frame.at(x, y);
    r - g
}

/// Where the red is, px.
fn centre(frame: &Picture) -> (f32, f32) {
    let mut sum = (0.0, 0.0, 0.0);
    for y in 0..frame.height {
        for x in 0..frame.width {
            let w = redness(frame, x, y).max(0.0);
            sum = (sum.0 + w * (x as f32 + 0.5), sum.1 + w * (y as f32 + 0.5), sum.2 + w);
        }
    }
    (sum.0 / sum.2, sum.1 / sum.2)
}

fn check(checkpoint: Option<&Checkpoint>) {
    let folder = tempfile::tempdir().unwrap();
    let (project, picture) = project(folder.path());
    let mut renderer = Renderer::new(&project, &picture, checkpoint, &Device::Cpu, None, project.seed).unwrap();
    assert_eq!(renderer.output_size(), (160, 96));
    let frames: Vec<Picture> = (0..4).flat_map(|_| renderer.next_chunk().unwrap().to_vec()).collect();
    let error = |a: &Picture, b: &Picture| {
        let sum: f32 = a.data.iter().flatten().zip(b.data.iter().flatten()).map(|(a, b)| (a - b).powi(2)).sum();
        sum / (a.data.len() * 3) as f32
    };
    assert!(error(&frames[0], &picture) < 1e-6, "the first frame is not the picture");
    for (frame, x) in [(0, 40.0), (6, 70.0), (12, 100.0), (15, 100.0)] {
        let found = centre(&frames[frame]);
        assert!((found.0 - x).abs() < 1.5 && (found.1 - 50.0).abs() < 1.5, "frame {frame}: the disc is at {found:?}, not at ({x}, 50)");
    }
    // Where it was, nothing of it is left; far from it, the picture is untouched.
    let last = &frames[15];
    for y in 36..64 {
        for x in 26..54 {
            assert!(redness(last, x, y) < 0.05, "a ghost at {x}, {y}: {:?}", last.at(x, y));
        }
    }
    for (x, y) in [(5, 5), (150, 90), (70, 10)] {
        for c in 0..3 {
            assert!((last.at(x, y)[c] - picture.at(x, y)[c]).abs() < 0.01);
        }
    }
}

#[test]
fn the_guide_alone_moves_the_object_and_leaves_no_ghost() {
    check(None);
}

#[test]
fn sketch_moves_the_object_and_leaves_no_ghost() {
    check(Some(&Checkpoint::sketch(&Device::Cpu).unwrap()));
}

#[test]
fn model_sizes_are_whole_tokens_of_the_pictures_shape() {
    assert_eq!(model_size(384, 216, 16), (384, 224));
    assert_eq!(model_size(600, 400, 16), (352, 240));
    assert_eq!(model_size(20, 5000, 16), (16, 4560));
    assert_eq!(model_size(64, 48, 16), (64, 48));
}

#[test]
fn a_video_of_another_shape_shows_the_middle_undistorted() {
    let folder = tempfile::tempdir().unwrap();
    let (project, picture) = project(folder.path());
    let mut renderer = Renderer::new(&project, &picture, None, &Device::Cpu, Some((96, 96)), 1).unwrap();
    let frames: Vec<Picture> = (0..4).flat_map(|_| renderer.next_chunk().unwrap().to_vec()).collect();
    // 32 px are cut off at the left, so the disc starts at 8 and ends at 68.
    let found = centre(&frames[15]);
    assert!((found.0 - 68.0).abs() < 1.5 && (found.1 - 50.0).abs() < 1.5, "{found:?}");
    assert!((frames[15].at(90, 90)[0] - picture.at(122, 90)[0]).abs() < 0.01);
}

#[test]
fn two_strokes_a_pin_and_a_camera_render_together() {
    let folder = tempfile::tempdir().unwrap();
    let (_, picture) = project(folder.path());
    // A camera that goes 0.1 to the right before a wall 2 units away: 160 px wide at 60 degrees, 6.93 px.
    let text = |camera: &str| {
        format!(
            "(version: 1, image: \"p.png\", frames: 16, seed: 3, strokes: [
                (region: Disc(center: (40, 50), radius: 14), path: [(0, 40, 50), (12, 100, 50)]),
                (region: Disc(center: (120, 20), radius: 10, softness: 0.5), path: [(0, 120, 20), (12, 120, 24)])],
            pins: [Disc(center: (130, 80), radius: 10)], {camera})"
        )
    };
    let camera = "camera: (depth: Shape(Backdrop(distance: 2)), fov_deg: 60,
        keys: [(frame: 0), (frame: 12, position: (0.1, 0, 0))])";
    let frames = |text: String| {
        std::fs::write(folder.path().join("c.ron"), text).unwrap();
        let project = Project::load(folder.path().join("c.ron")).unwrap();
        let mut renderer = Renderer::new(&project, &picture, None, &Device::Cpu, None, project.seed).unwrap();
        assert!(renderer.notes().is_empty(), "{:?}", renderer.notes());
        (0..4).flat_map(|_| renderer.next_chunk().unwrap().to_vec()).collect::<Vec<Picture>>()
    };
    let (flat, moved) = (frames(text("")), frames(text(camera)));
    assert!(flat[0] == moved[0], "at rest the camera changes nothing");
    for frame in [6, 12, 15] {
        let (still, seen) = (centre(&flat[frame]), centre(&moved[frame]));
        let way = 6.93 * if frame == 6 { 0.5 } else { 1.0 };
        assert!((still.0 - seen.0 - way).abs() < 0.7 && (still.1 - seen.1).abs() < 0.7, "{frame}: {still:?} {seen:?}");
    }
    // The picture's surface goes along, pins and all; it is a ramp of 1/800 per px.
    for (x, y) in [(120, 80), (30, 20), (60, 85)] {
        let (a, b) = (flat[12].at(x, y)[0], moved[12].at(x, y)[0]);
        assert!((b - a - 6.93 / 800.0).abs() < 0.003, "({x}, {y}): {a} {b}");
    }
}
