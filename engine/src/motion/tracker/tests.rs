#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::media::clip::{ClipFrame, ClipInfo, FrameSource};
use glam::{Affine2, Mat2};

/// Something to see everywhere, smooth enough to be drawn at any place.
fn texture(p: Vec2) -> f32 {
    let wave = (0.31 * p.x + 0.12 * p.y).sin() + (0.27 * p.y - 0.08 * p.x).cos() + (0.53 * p.x).sin() * (0.47 * p.y).cos();
    0.5 + 0.13 * wave + 0.08 * (0.11 * p.x * (0.013 * p.y).cos()).sin()
}

/// Frames of `width` x `height` px in which the texture has moved by `motion(t)`, and what `over` puts before it.
fn film(
    width: usize,
    height: usize,
    frames: usize,
    motion: impl Fn(usize) -> Affine2 + Sync,
    over: impl Fn(usize, Vec2) -> Option<f32> + Sync,
) -> Vec<Mask> {
    (0..frames)
        .map(|t| {
            let back = motion(t).inverse();
            Mask::from_fn(width, height, |x, y| {
                let p = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
                over(t, p).unwrap_or_else(|| texture(back.transform_point2(p)))
            })
        })
        .collect()
}

fn nothing(_: usize, _: Vec2) -> Option<f32> {
    None
}

fn tracked(frames: &[Mask], points: &[Vec2]) -> Vec<Vec<TrackedPoint>> {
    let mut tracker = LucasKanade::new();
    tracker.add(points);
    frames
        .iter()
        .map(|frame| {
            tracker.push(frame).unwrap();
            tracker.tracked().to_vec()
        })
        .collect()
}

/// A clip in memory.
struct Frames {
    info: ClipInfo,
    frames: Vec<Mask>,
    next: usize,
}

impl Frames {
    fn new(frames: Vec<Mask>) -> Self {
        let (width, height) = frames.first().map_or((0, 0), |frame| (frame.width, frame.height));
        let info = ClipInfo { width, height, fps: 16.0, frames: Some(frames.len()), seconds: None, format: "memory".into() };
        Self { info, frames, next: 0 }
    }
}

impl FrameSource for Frames {
    fn info(&self) -> &ClipInfo {
        &self.info
    }
    fn next_frame(&mut self, into: &mut ClipFrame) -> Result<bool> {
        let Some(frame) = self.frames.get(self.next) else { return Ok(false) };
        let rgb = frame.data.iter().flat_map(|v| [(v * 255.0).round() as u8; 3]).collect();
        *into = ClipFrame { index: self.next, seconds: self.next as f64 / 16.0, width: frame.width, height: frame.height, rgb };
        self.next += 1;
        Ok(true)
    }
    fn seek(&mut self, seconds: f64) -> Result<()> {
        self.next = (seconds * 16.0) as usize;
        Ok(())
    }
}

#[test]
fn exact_motion_is_followed_to_a_fraction_of_a_pixel() {
    let middle = Vec2::new(64.0, 48.0);
    let about = |shape: Mat2, shift: Vec2| {
        Affine2::from_translation(middle + shift) * Affine2::from_mat2(shape) * Affine2::from_translation(-middle)
    };
    let motions: [(&str, Box<dyn Fn(usize) -> Affine2 + Sync>); 3] = [
        ("shift", Box::new(move |t| about(Mat2::IDENTITY, Vec2::new(1.7, -0.9) * t as f32))),
        ("turn", Box::new(move |t| about(Mat2::from_angle(0.04 * t as f32), Vec2::ZERO))),
        ("zoom", Box::new(move |t| about(Mat2::IDENTITY * 1.015f32.powi(t as i32), Vec2::ZERO))),
    ];
    for (name, motion) in motions {
        let frames = film(128, 96, 16, &motion, nothing);
        let points = grid(128, 96, 12);
        let found = tracked(&frames, &points);
        let (mut off, mut said) = (Vec::new(), 0);
        for (t, found) in found.iter().enumerate() {
            for (point, found) in points.iter().zip(found) {
                let truth = motion(t).transform_point2(*point);
                // Well inside: at the border half a block is not there.
                if truth.cmpgt(Vec2::splat(6.0)).all() && truth.cmplt(Vec2::new(122.0, 90.0)).all() {
                    off.push(found.place.distance(truth));
                    said += usize::from(found.visible);
                }
            }
        }
        off.sort_unstable_by(f32::total_cmp);
        assert!(off[off.len() * 95 / 100] < 0.25, "{name}: {} px at 95 %", off[off.len() * 95 / 100]);
        assert!(said > off.len() * 95 / 100, "{name}: {said} of {} visible", off.len());
    }
}

#[test]
fn a_point_goes_behind_something_and_comes_back() {
    // The ground drifts, a bar passes over it.
    let motion = |t: usize| Affine2::from_translation(Vec2::new(0.5, 0.3) * t as f32);
    let bar =
        |t: usize, p: Vec2| (p.x - (-30.0 + 8.0 * t as f32)).abs().le(&12.0).then(|| 0.25 + 0.2 * (0.9 * p.y + 0.4 * p.x).sin().abs());
    let frames = film(128, 96, 26, motion, bar);
    let points: Vec<Vec2> = grid(128, 96, 12);
    let found = tracked(&frames, &points);
    let (mut right, mut total, mut again) = (0, 0, Vec::new());
    for (t, found) in found.iter().enumerate() {
        for (point, found) in points.iter().zip(found) {
            let truth = motion(t).transform_point2(*point);
            // A pixel at the bar's edge is both.
            let way = (truth.x - (-30.0 + 8.0 * t as f32)).abs() - 12.0;
            if way.abs() > 3.0 && truth.cmpgt(Vec2::splat(4.0)).all() && truth.cmplt(Vec2::new(124.0, 92.0)).all() {
                total += 1;
                right += usize::from(found.visible == (way > 0.0));
                if t == 25 {
                    again.push(found.place.distance(truth));
                }
            }
        }
    }
    assert!(right > total * 9 / 10, "{right} of {total}");
    again.sort_unstable_by(f32::total_cmp);
    assert!(again[again.len() * 9 / 10] < 0.5, "{again:?}");
}

#[test]
fn a_lone_point_is_followed_as_well() {
    let motion = |t: usize| Affine2::from_translation(Vec2::new(3.0, 1.0) * t as f32);
    let found = tracked(&film(160, 100, 12, motion, nothing), &[Vec2::new(60.3, 40.9)]);
    let last = found[11][0];
    assert!(last.visible && last.place.distance(Vec2::new(93.3, 51.9)) < 0.2, "{last:?}");
    assert!(found.iter().all(|frame| frame.len() == 1), "helpers are not the user's points");
}

#[test]
fn flat_places_go_with_their_surroundings_and_are_not_trusted() {
    let frames: Vec<Mask> = (0..14)
        .map(|t| {
            let shift = Vec2::new(1.5, 0.6) * t as f32;
            Mask::from_fn(128, 96, |x, y| {
                let p = Vec2::new(x as f32 + 0.5, y as f32 + 0.5) - shift;
                if p.distance(Vec2::new(50.0, 48.0)) < 16.0 { 0.5 } else { texture(p) }
            })
        })
        .collect();
    let found = tracked(&frames, &[grid(128, 96, 16), vec![Vec2::new(50.0, 48.0)]].concat());
    let (first, last) = (found[0].last().unwrap(), found[13].last().unwrap());
    assert!(last.place.distance(Vec2::new(69.5, 55.8)) < 1.0, "{last:?}");
    let textured: f32 = found[13].iter().map(|point| point.quality).fold(0.0, f32::max);
    assert!(first.quality < 0.1 && last.quality < 0.7 * textured, "{first:?} {last:?} {textured}");
    // Nothing to see anywhere: all stay.
    let flat = tracked(&vec![Mask::filled(64, 48, 0.4); 5], &grid(64, 48, 6));
    for (before, after) in flat[0].iter().zip(&flat[4]) {
        assert!(before.place.distance(after.place) < 0.01 && after.quality < 0.2, "{after:?}");
    }
}

#[test]
fn a_flat_disc_goes_with_its_rim_and_the_faint_ground_with_the_camera() {
    let (ground, disc, middle) = (Vec2::new(-0.6, 0.3), Vec2::new(1.5, 0.6), Vec2::splat(70.0));
    let shown = |t: usize, p: Vec2| {
        let (on_disc, on_ground) = (p - disc * t as f32, p - ground * t as f32);
        match on_disc.distance(middle) {
            r if r < 26.0 => 0.5,
            r if r < 34.0 => texture(on_disc),
            _ => {
                let wide = (0.05 * on_ground.x).sin() * (0.04 * on_ground.y).cos();
                0.42 + 0.05 * wide + 0.01 * (0.4 * on_ground.x + 0.3 * on_ground.y).sin()
            }
        }
    };
    let frames = film(192, 144, 20, |_| Affine2::IDENTITY, |t, p| Some(shown(t, p)));
    let points = grid(192, 144, 24);
    let found = tracked(&frames, &points);
    let off = |way: Vec2, keep: &dyn Fn(Vec2) -> bool| {
        let kept = points.iter().zip(&found[19]).filter(|(point, _)| keep(**point));
        let mut off: Vec<f32> = kept.map(|(point, found)| found.place.distance(*point + way * 19.0)).collect();
        off.sort_unstable_by(f32::total_cmp);
        off
    };
    let inner = off(disc, &|point| point.distance(middle) < 22.0);
    assert!(inner.len() > 15 && inner[inner.len() * 4 / 5] < 1.0, "flat places of the disc: {inner:?}");
    let inside = |point: Vec2| {
        let end = point + ground * 19.0;
        end.cmpgt(Vec2::splat(4.0)).all() && end.cmplt(Vec2::new(188.0, 140.0)).all()
    };
    let outer = off(ground, &|point| point.distance(middle) > 38.0 && inside(point));
    assert!(outer.len() > 200 && outer[outer.len() * 7 / 10] < 0.5, "the ground: {outer:?}");
}

#[test]
fn tracks_end_at_a_cut_and_new_points_live_on() {
    let mut frames = film(128, 96, 5, |t| Affine2::from_translation(Vec2::new(1.0, 0.0) * t as f32), nothing);
    let other = |p: Vec2| 0.3 + 0.25 * (0.045 * p.y - 0.02 * p.x).sin() + 0.2 * (0.07 * p.x + 0.06 * p.y).cos();
    frames.extend((0..5).map(|_| Mask::from_fn(128, 96, |x, y| other(Vec2::new(x as f32, y as f32)))));
    let mut tracker = LucasKanade::new();
    tracker.add(&grid(128, 96, 8));
    for (t, frame) in frames.iter().enumerate() {
        if t == 6 {
            tracker.add(&[Vec2::new(60.0, 50.0)]);
        }
        tracker.push(frame).unwrap();
        assert_eq!(tracker.tracked()[..48].iter().any(|point| point.visible), t < 5, "frame {t}");
    }
    assert_eq!(tracker.cuts(), [5]);
    assert!(tracker.tracked()[48].visible);
}

#[test]
fn any_frame_is_taken_and_nothing_is_ever_not_a_number() {
    for (width, height) in [(1, 1), (1, 9), (5, 3), (17, 16), (40, 2)] {
        let mut tracker = LucasKanade::new();
        tracker.add(&[grid(width, height, 3), vec![Vec2::NAN, Vec2::new(1e9, -1e9), Vec2::new(f32::INFINITY, 0.0)]].concat());
        for t in 0..6 {
            let mut frame = Mask::from_fn(width, height, |x, y| texture(Vec2::new((x + t) as f32, (y * t) as f32)));
            frame.data[0] = [0.5, f32::NAN, f32::INFINITY, -f32::INFINITY, 1e30, 0.0][t];
            tracker.push(&frame).unwrap();
            assert!(tracker.tracked().iter().all(|p| p.place.is_finite() && (0.0..=1.0).contains(&p.quality)), "{width}x{height}");
        }
    }
    let mut tracker = LucasKanade::new();
    tracker.push(&Mask::filled(8, 8, 0.0)).unwrap();
    assert!(tracker.push(&Mask::filled(9, 8, 0.0)).unwrap_err().to_string().contains("9x8"));
    assert!(LucasKanade::new().push(&Mask::filled(0, 8, 0.0)).is_err());
}

#[test]
fn threads_do_not_matter_and_online_is_in_one_go() {
    let motion = |t: usize| Affine2::from_translation(Vec2::new(2.0, 1.0) * t as f32);
    let bar = |t: usize, p: Vec2| ((p.x - 10.0 * t as f32).abs() < 9.0).then_some(0.2);
    let frames = film(96, 72, 8, motion, bar);
    let points = grid(96, 72, 9);
    let with = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| tracked(&frames, &points));
    let (one, three) = (with(1), with(3));
    assert_eq!(one, three);
    // The whole clip, 8 bits as decoded, against the tracker fed by hand with the same.
    let bytes = |frame: &Mask| Mask {
        data: frame
            .data
            .iter()
            .map(|v| (v * 255.0).round() as u8)
            .map(|v| ClipFrame { width: 1, height: 1, rgb: vec![v; 3], ..Default::default() }.to_luma().data[0])
            .collect(),
        ..*frame
    };
    let by_hand = tracked(&frames.iter().map(bytes).collect::<Vec<_>>(), &points);
    let options = TrackOptions { points: 9, ..Default::default() };
    let whole = track_clip(&mut Frames::new(frames.clone()), &options, &mut |_| true).unwrap();
    for (frame, by_hand) in whole.tracks.frames.iter().zip(&by_hand) {
        assert!(
            frame.positions.iter().zip(&frame.visible).zip(by_hand).all(|((place, visible), p)| (*place, *visible) == (p.place, p.visible))
        );
    }
    assert_eq!(whole.quality.len(), points.len());
    let mut told = Vec::new();
    let part = track_clip(&mut Frames::new(frames), &TrackOptions { every: 2, first: 1, ..options }, &mut |done| {
        told.push(done);
        done < 2
    });
    let part = part.unwrap();
    assert!(part.stopped && part.tracks.frames.len() == 2 && told == [1, 2]);
}

#[test]
fn options_out_of_range_and_empty_clips_are_named() {
    let with = |options: TrackOptions| track_clip(&mut Frames::new(vec![Mask::filled(16, 16, 0.5)]), &options, &mut |_| true);
    let wrong = |change: fn(&mut TrackOptions), name: &str| {
        let mut options = TrackOptions::default();
        change(&mut options);
        let error = with(options).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    };
    wrong(|o| o.points = 0, "points");
    wrong(|o| o.every = 0, "every");
    wrong(|o| o.frames = Some(0), "frames");
    wrong(|o| o.places = vec![(99.0, 3.0)], "places");
    wrong(|o| o.places = vec![(f32::NAN, 3.0)], "places");
    wrong(|o| o.first = 7, "clip");
    assert_eq!(with(TrackOptions::default()).unwrap().tracks.frames.len(), 1);
}

#[test]
fn a_grid_has_its_points_along_the_longer_side() {
    assert_eq!(grid(320, 160, 8).len(), 32);
    assert_eq!(grid(160, 320, 8)[0], Vec2::new(20.0, 20.0));
    assert_eq!(grid(0, 0, 0), [Vec2::new(0.5, 0.5)]);
}

#[test]
fn the_cache_is_used_until_clip_or_options_change_or_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.gif");
    let frames = film(48, 40, 4, |t| Affine2::from_translation(Vec2::new(1.0, 0.5) * t as f32), nothing);
    let film = |frames: &[Mask]| {
        let mut encoder = image::codecs::gif::GifEncoder::new(std::fs::File::create(&clip).unwrap());
        encoder.encode_frames(frames.iter().map(|frame| {
            let pixels = image::RgbaImage::from_fn(48, 40, |x, y| {
                let v = (frame.at(x as usize, y as usize) * 255.0) as u8;
                image::Rgba([v, v, v, 255])
            });
            image::Frame::new(pixels)
        }))
    };
    film(&frames).unwrap();
    let options = TrackOptions { points: 5, ..Default::default() };
    let run = |options: &TrackOptions| {
        let mut worked = 0;
        let tracks = track_clip_cached(&clip, options, &mut |_| {
            worked += 1;
            true
        })
        .unwrap();
        (tracks, worked)
    };
    let (first, worked) = run(&options);
    assert!(worked > 0);
    assert_eq!(run(&options), (first.clone(), 0));
    assert!(run(&TrackOptions { points: 4, ..options.clone() }).1 > 0);
    assert_eq!(run(&options), (first.clone(), worked), "other options replaced it");
    std::fs::write(cached_tracks_path(&clip), b"damaged").unwrap();
    assert_eq!(run(&options), (first.clone(), worked));
    film(&frames[..2]).unwrap();
    assert_ne!(run(&options).0, first);
}
