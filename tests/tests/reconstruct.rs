//! A clip made again from its first frame and its tracks is more like the clip than a picture that stands still, and moves as it does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use candle_core::Device;
use glam::{Affine2, Vec2};
use kinebrush_engine::media::FrameSink;
use kinebrush_engine::media::picture_file::load_picture;
use kinebrush_engine::media::video::VideoWriter;
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::train::reconstruct::{Wanted, reconstruct};

const SIZE: (usize, usize) = (160, 112);

/// A picture that slides, turns and comes nearer, as a video.
fn film(path: &Path, frames: usize) {
    let picture = load_picture(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pictures/coffee.png")).unwrap();
    let mut video = Box::new(VideoWriter::create(path, SIZE.0, SIZE.1, 16).unwrap());
    for t in 0..frames {
        let t = t as f32;
        let middle = Vec2::new(SIZE.0 as f32, SIZE.1 as f32) * 0.5;
        let view = Affine2::from_translation(Vec2::new(300.0 + 3.0 * t, 190.0 - t))
            * Affine2::from_scale_angle_translation(Vec2::splat(2.4 - 0.01 * t), 0.004 * t, Vec2::ZERO)
            * Affine2::from_translation(-middle);
        let frame = Picture::from_fn(SIZE.0, SIZE.1, |x, y| {
            let place = view.transform_point2(Vec2::new(x as f32 + 0.5, y as f32 + 0.5));
            picture.bicubic(place.x, place.y).map(|c| c.clamp(0.0, 1.0))
        });
        video.push(&frame).unwrap();
    }
    video.finish().unwrap();
}

#[test]
fn a_moving_picture_is_made_again_from_its_tracks() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, sheet) = (folder.path().join("clip.mp4"), folder.path().join("sheet.png"));
    film(&clip, 13);
    let checkpoint = Checkpoint::sketch(&Device::Cpu).unwrap();
    let wanted = Wanted { tracks: None, frames: Some(12), sheet: Some(&sheet) };
    let report = reconstruct(&checkpoint, &Device::Cpu, &clip, &wanted).unwrap();
    assert_eq!((report.frames, report.size, report.points), (11, SIZE, 50 * 35));
    let [model, guide, still] = &report.likeness[..] else { panic!("three rows") };
    assert_eq!([model.name, guide.name, still.name], ["model", "guide", "first frame"]);
    for moving in [model, guide] {
        assert!(moving.psnr_db > still.psnr_db + 4.0 && moving.ssim > still.ssim + 0.1, "{report}");
        assert!(moving.epe_px < 0.5 && moving.found > 0.8, "{report}");
    }
    assert!(still.epe_px > 3.0 && report.to_string().lines().count() == 5, "{report}");
    let shown = load_picture(&sheet).unwrap();
    assert_eq!((shown.width, shown.height), (4 * SIZE.0, 6 * SIZE.1));

    let refused = |clip: &Path, frames| {
        let wanted = Wanted { tracks: None, frames: Some(frames), sheet: None };
        reconstruct(&checkpoint, &Device::Cpu, clip, &wanted).unwrap_err().to_string()
    };
    assert!(refused(&clip, 1).contains("clip.mp4: has fewer than two frames"));
    assert!(refused(&folder.path().join("none.mp4"), 5).contains("does not exist"));
}
