#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::motion::depth::{DepthMap, DepthSource};
use exr::prelude::{AnyChannel, AnyChannels, Encoding, Image, Layer, LayerAttributes, SmallVec, WritableImage};
use image::{ImageBuffer, Luma, Rgb, RgbImage};
use std::path::PathBuf;

/// A near square (2 units away) before a wall (8 units).
fn is_near(x: usize, y: usize, width: usize, height: usize) -> bool {
    (x * 4 / width, y * 4 / height) == (1, 1)
}

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn exr(&self, name: &str, channels: &[&str], (width, height): (usize, usize), f: impl Fn(usize, usize) -> f32) {
        let plane: Vec<f32> = (0..width * height).map(|i| f(i % width, i / width)).collect();
        let list: SmallVec<[_; 4]> = channels.iter().map(|name| AnyChannel::new(*name, FlatSamples::F32(plane.clone()))).collect();
        let layer = Layer::new((width, height), LayerAttributes::named("all"), Encoding::UNCOMPRESSED, AnyChannels::sort(list));
        Image::from_layer(layer).write().to_file(self.path(name)).unwrap();
    }

    /// The map at a picture of 32 x 24 px, and what was said.
    fn map(&self, name: &str, meaning: DepthMeaning) -> Result<(DepthMap, Vec<String>)> {
        self.map_at(name, meaning, (32, 24))
    }

    fn map_at(&self, name: &str, meaning: DepthMeaning, scene: (usize, usize)) -> Result<(DepthMap, Vec<String>)> {
        let picture =
            Picture::from_fn(scene.0, scene.1, |x, y| if is_near(x, y, scene.0, scene.1) { [0.9, 0.2, 0.1] } else { [0.2, 0.3, 0.8] });
        let source = DepthSource::File { path: name.into(), meaning };
        source.map(
            &picture,
            &Placement::stretch((32, 24), scene),
            self.folder.path(),
            &Lens { focal_px: 50.0, principal_px: Vec2::new(16.0, 12.0) },
        )
    }
}

const RANK: DepthMeaning = DepthMeaning::NearIsWhite { far: 8.0, near: 2.0 };

fn distances(map: &DepthMap) -> (f32, f32) {
    (map.inverse.at(12, 9).recip(), map.inverse.at(2, 2).recip())
}

fn close(found: (f32, f32), near: f32, far: f32) {
    assert!((found.0 - near).abs() < 1e-3 * near && (found.1 - far).abs() < 1e-3 * far, "{found:?}");
}

#[test]
fn every_kind_of_file_and_meaning_gives_the_same_depth() {
    let desk = Desk::new();
    let near = |x: u32, y: u32| is_near(x as usize, y as usize, 32, 24);
    RgbImage::from_fn(32, 24, |x, y| Rgb([if near(x, y) { 255 } else { 0 }; 3])).save(desk.path("8.png")).unwrap();
    ImageBuffer::from_fn(32, 24, |x, y| Luma([if near(x, y) { 0_u16 } else { 65535 }])).save(desk.path("16.png")).unwrap();
    ImageBuffer::from_fn(32, 24, |x, y| Luma([if near(x, y) { 2001_u16 } else { 8001 }])).save(desk.path("mm.png")).unwrap();
    desk.exr("z.exr", &["A", "B", "Z"], (32, 24), |x, y| if is_near(x, y, 32, 24) { 2.0 } else { 8.0 });
    desk.exr("v.exr", &["Layer.Depth.V"], (32, 24), |x, y| if is_near(x, y, 32, 24) { 25.0 } else { 6.25 });
    close(distances(&desk.map("8.png", RANK).unwrap().0), 2.0, 8.0);
    close(distances(&desk.map("16.png", DepthMeaning::FarIsWhite { far: 8.0, near: 2.0 }).unwrap().0), 2.0, 8.0);
    close(distances(&desk.map("mm.png", DepthMeaning::Metric { scale: 0.001 }).unwrap().0), 2.001, 8.001);
    close(distances(&desk.map("z.exr", DepthMeaning::Metric { scale: 1.0 }).unwrap().0), 2.0, 8.0);
    let (map, notes) = desk.map("v.exr", DepthMeaning::Disparity { baseline: 1.0, offset: 0.0 }).unwrap();
    close(distances(&map), 2.0, 8.0);
    assert!(notes.iter().any(|note| note.contains("`Layer.Depth.V`")), "{notes:?}");
    let (map, notes) = desk.map("v.exr", RANK).unwrap();
    close(distances(&map), 2.0, 8.0);
    assert!(notes.iter().any(|note| note.contains("from 6.25 to 25 were taken as black to white")), "{notes:?}");
    assert!(desk.map("8.png", RANK).unwrap().1.iter().any(|note| note.contains("8 bits")));
}

#[test]
fn the_bits_of_a_deep_png_are_kept() {
    let desk = Desk::new();
    ImageBuffer::from_fn(32, 24, |x, _| Luma([30_000_u16 + x as u16])).save(desk.path("a.png")).unwrap();
    let (map, notes) = desk.map("a.png", DepthMeaning::Metric { scale: 1.0 }).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    for x in 0..32 {
        assert!((map.inverse.at(x, 5).recip() - (30_000 + x) as f32).abs() < 0.02);
    }
}

#[test]
fn another_size_is_resampled_without_mixing_and_said() {
    let desk = Desk::new();
    for (size, scene) in [((64, 48), (32, 24)), ((16, 12), (32, 24)), ((40, 30), (96, 72)), ((32, 24), (48, 20))] {
        desk.exr("z.exr", &["Z"], size, |x, y| if is_near(x, y, size.0, size.1) { 2.0 } else { 8.0 });
        let (map, notes) = desk.map_at("z.exr", DepthMeaning::Metric { scale: 1.0 }, scene).unwrap();
        assert_eq!((map.inverse.width, map.inverse.height), scene);
        assert!(map.inverse.data.iter().all(|w| [0.5, 0.125].iter().any(|surface| (w - surface).abs() < 1e-5)), "{size:?} {scene:?}");
        let share = map.inverse.data.iter().filter(|w| **w > 0.3).count() as f32 / map.inverse.data.len() as f32;
        assert!((share - 1.0 / 16.0).abs() < 0.02, "{share}");
        assert_eq!(notes.iter().any(|note| note.contains("resampled")), size != (32, 24), "{notes:?}");
    }
    // A slope stays one.
    desk.exr("z.exr", &["Z"], (8, 6), |x, _| (0.1 + 0.004 * (x as f32 + 0.5)).recip());
    let (map, _) = desk.map("z.exr", DepthMeaning::Metric { scale: 1.0 }).unwrap();
    for x in 4..28 {
        assert!((map.inverse.at(x, 9) - (0.1 + 0.004 * (x as f32 + 0.5) / 4.0)).abs() < 1e-4, "{x}");
    }
    desk.exr("z.exr", &["Z"], (48, 10), |_, _| 3.0);
    let (_, notes) = desk.map("z.exr", DepthMeaning::Metric { scale: 1.0 }).unwrap();
    assert!(notes.iter().any(|note| note.contains("stretched")) && notes.iter().any(|note| note.contains("same everywhere")), "{notes:?}");
}

#[test]
fn what_is_missing_is_filled_along_the_colours_and_said() {
    let desk = Desk::new();
    let hole = |x: usize, y: usize| (10..20).contains(&x) && (7..16).contains(&y);
    for missing in [f32::NAN, -1.0, 0.0] {
        desk.exr("z.exr", &["Z"], (32, 24), |x, y| match (hole(x, y), is_near(x, y, 32, 24)) {
            (true, _) => missing,
            (_, true) => 2.0,
            _ => 8.0,
        });
        let (map, notes) = desk.map("z.exr", DepthMeaning::Metric { scale: 1.0 }).unwrap();
        assert!(notes.iter().any(|note| note.contains("11.7 % of the depth is missing")), "{notes:?}");
        assert!(map.inverse.at(12, 9) > 0.4 && map.inverse.at(18, 14) < 0.2, "{} {}", map.inverse.at(12, 9), map.inverse.at(18, 14));
        assert!(map.inverse.data.iter().all(|w| (0.1..=0.51).contains(w)));
    }
    desk.exr("z.exr", &["Z"], (32, 24), |x, _| if x < 16 { f32::INFINITY } else { 4.0 });
    let (map, _) = desk.map("z.exr", DepthMeaning::Metric { scale: 1.0 }).unwrap();
    assert_eq!((map.inverse.at(2, 2), map.inverse.at(30, 2)), (0.0, 0.25), "infinitely far is a distance");
    desk.exr("z.exr", &["Z"], (32, 24), |x, _| if x < 16 { 1e-6 } else { 4.0 });
    let (map, notes) = desk.map("z.exr", DepthMeaning::Metric { scale: 1.0 }).unwrap();
    assert!(map.inverse.at(2, 2) == 100.0 && notes[0].starts_with("384 px of the depth file are nearer than 0.01"), "{notes:?}");
}

#[test]
fn what_is_no_depth_is_told_in_one_line() {
    let desk = Desk::new();
    let refused = |name: &str, words: &str| {
        let message = desk.map(name, DepthMeaning::Metric { scale: 1.0 }).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains(name) && !message.contains('\n'), "{message}");
    };
    refused("none.exr", "cannot be read");
    for missing in [f32::NAN, f32::INFINITY] {
        desk.exr("nan.exr", &["Z"], (32, 24), |_, _| missing);
        refused("nan.exr", "every number is missing");
    }
    desk.exr("behind.exr", &["Z"], (32, 24), |_, _| -2.0);
    refused("behind.exr", "holds no distance that lies before the camera");
    std::fs::create_dir(desk.path("folder.png")).unwrap();
    refused("folder.png", "is no file");
    std::fs::write(desk.path("text.png"), "far far away").unwrap();
    refused("text.png", "is no picture");
    std::fs::write(desk.path("a.npz"), b"PK but no zip").unwrap();
    refused("a.npz", "cannot be opened as .npz");
    desk.exr("whole.exr", &["Z"], (32, 24), |x, y| (x + y) as f32 + 1.0);
    let whole = std::fs::read(desk.path("whole.exr")).unwrap();
    for length in (4..whole.len()).step_by(97) {
        std::fs::write(desk.path("cut.exr"), &whole[..length]).unwrap();
        refused("cut.exr", "cut.exr");
    }
    // Whatever was damaged, an answer comes and holds no NaN.
    for i in 0..whole.len().min(600) {
        let mut bytes = whole.clone();
        bytes[i] ^= 0x41;
        std::fs::write(desk.path("bad.exr"), bytes).unwrap();
        if let Ok((map, _)) = desk.map("bad.exr", DepthMeaning::Metric { scale: 1.0 }) {
            assert!(map.inverse.data.iter().all(|w| w.is_finite()));
        }
    }
}
