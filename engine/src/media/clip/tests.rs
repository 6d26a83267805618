//! Tests of all readers, on small test patterns: frame N is a ramp whose level rises by 6 with each N.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::fs;
use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::media::video::VideoWriter;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/clips").join(name)
}

/// The fixture as bytes, or those changed, in a file of their own.
fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn refusal(path: &Path) -> String {
    open_clip(path).err().expect("must be refused").to_string()
}

fn all(source: &mut dyn FrameSource) -> Vec<ClipFrame> {
    let mut frames = Vec::new();
    let mut frame = ClipFrame::default();
    while source.next_frame(&mut frame).unwrap() {
        assert_eq!(frame.rgb.len(), 3 * frame.width * frame.height);
        assert_eq!((frame.width, frame.height), (source.info().width, source.info().height));
        frames.push(frame.clone());
    }
    frames
}

/// Which N a frame of ramps shows, by its green in the middle (luma as BT.601, limited range).
fn number(frame: &ClipFrame) -> i32 {
    let at = 3 * (frame.height / 2 * frame.width + frame.width / 2) + 1;
    let luma = f32::from(frame.rgb[at]) * 219.0 / 255.0 + 16.0;
    ((luma - 40.0 - frame.width as f32 / 8.0) / 6.0).round() as i32
}

fn numbers(frames: &[ClipFrame]) -> Vec<i32> {
    frames.iter().map(number).collect()
}

fn has_ffmpeg() -> bool {
    let there = ["ffmpeg", "ffprobe"].iter().all(|name| std::process::Command::new(name).arg("-version").output().is_ok());
    if !there {
        println!("skipped: no ffmpeg on PATH");
    }
    there
}

#[test]
fn frames_come_in_the_order_of_being_shown_whatever_the_order_of_coding() {
    for (name, count) in [("bframes.mp4", 25), ("open.mov", 25), ("baseline.m4v", 10), ("moving.gif", 10), ("moving.webp", 10)] {
        let mut clip = open_clip(&fixture(name)).unwrap();
        let info = clip.info().clone();
        println!("{name}: {info:?}");
        assert_eq!((info.width, info.height, info.frames), (64, 48, Some(count)), "{name}");
        assert!((info.fps - 25.0).abs() < 0.1 && (info.seconds.unwrap() - count as f64 / 25.0).abs() < 0.01, "{name}: {info:?}");
        let frames = all(clip.as_mut());
        assert_eq!(numbers(&frames), (0..count as i32).collect::<Vec<_>>(), "{name}");
        for (i, frame) in frames.iter().enumerate() {
            assert!(frame.index == i && (frame.seconds - i as f64 / info.fps).abs() < 1e-9);
        }
        assert!(!clip.next_frame(&mut ClipFrame::default()).unwrap());
    }
}

#[test]
fn a_seek_shows_the_same_frame_as_playing_until_there() {
    for name in ["bframes.mp4", "open.mov", "edited.mp4", "varying.mp4", "moving.gif", "moving.webp", "rotated.mp4"] {
        let mut clip = open_clip(&fixture(name)).unwrap();
        let frames = all(clip.as_mut());
        let fps = clip.info().fps;
        let mut frame = ClipFrame::default();
        let last = frames.len() - 1;
        for i in [last, 0, 1, last / 2, last / 2 + 1, 2, last - 1, last] {
            clip.seek(i as f64 / fps).unwrap();
            for expected in frames[i..].iter().take(3) {
                assert!(clip.next_frame(&mut frame).unwrap());
                assert!(&frame == expected, "{name} from {i}: {} at {}", number(&frame), frame.index);
            }
        }
        clip.seek(-3.0).unwrap();
        assert!(clip.next_frame(&mut frame).unwrap() && frame == frames[0]);
        clip.seek(1e9).unwrap();
        assert!(clip.next_frame(&mut frame).unwrap() && frame == frames[last] && !clip.next_frame(&mut frame).unwrap());
        let small = thumbnail(clip.as_mut(), 0.0, 16).unwrap();
        assert_eq!(small.width.max(small.height), 16);
        assert_eq!(small.rgb.len(), 3 * small.width * small.height);
    }
}

#[test]
fn a_phone_s_rotation_an_edit_list_and_a_varying_rate_are_applied() {
    let upright = all(open_clip(&fixture("baseline.m4v")).unwrap().as_mut());
    let mut clip = open_clip(&fixture("rotated.mp4")).unwrap();
    assert_eq!((clip.info().width, clip.info().height), (48, 64));
    // Its matrix says: a quarter against the clock.
    for (turned, upright) in all(clip.as_mut()).iter().zip(&upright) {
        let (from, to) = (upright.to_picture(), turned.to_picture());
        assert!((0..64).all(|y| (0..48).all(|x| to.at(x, y) == from.at(63 - y, x))));
    }
    let edited = numbers(&all(open_clip(&fixture("edited.mp4")).unwrap().as_mut()));
    assert_eq!(edited, (13..25).collect::<Vec<_>>());
    let mut varying = open_clip(&fixture("varying.mp4")).unwrap();
    let frames = all(varying.as_mut());
    let fps = varying.info().fps;
    for (frame, shown) in frames.iter().zip(numbers(&frames)) {
        // What the clip shows at that moment, of all frames before 10 and each fifth after; half a frame early or late.
        let shown_from = f64::from(shown) / 25.0;
        let shown_until = if shown < 10 { shown_from + 0.04 } else { shown_from + 0.2 };
        let slack = 0.5 / fps + 1e-6;
        assert!(frame.seconds + slack >= shown_from && frame.seconds - slack <= shown_until, "{shown} at {}", frame.seconds);
    }
    assert!(frames.len() == 13 && number(&frames[12]) == 20);
}

#[test]
fn colours_are_those_of_the_stream_s_own_matrix_and_range() {
    for name in ["full601.mp4", "limited709.mp4"] {
        for frame in all(open_clip(&fixture(name)).unwrap().as_mut()) {
            let pixel = &frame.rgb[3 * (16 * 32 + 16)..][..3];
            assert!(pixel[0] >= 250 && pixel[1] <= 5 && pixel[2] <= 5, "{name}: {pixel:?}");
        }
    }
}

#[test]
fn what_ffmpeg_decodes_is_what_we_decode_and_it_takes_over_what_we_cannot() {
    if !has_ffmpeg() {
        return;
    }
    for name in ["bframes.mp4", "rotated.mp4", "limited709.mp4"] {
        let ours = all(open_clip(&fixture(name)).unwrap().as_mut());
        let theirs = all(ffmpeg::open(&fixture(name), "is a test").unwrap().as_mut());
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (a, b) in ours.iter().zip(&theirs) {
            let off = a.rgb.iter().zip(&b.rgb).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.rgb.len() as f64;
            assert!(off < 1.5, "{name}, frame {}: {off}", a.index);
        }
    }
    let mut hevc = open_clip(&fixture("hevc.mp4")).unwrap();
    assert_eq!(hevc.info().format, "hevc (ffmpeg)");
    assert_eq!(numbers(&all(hevc.as_mut())), (0..10).collect::<Vec<_>>());
    hevc.seek(5.0 / 25.0).unwrap();
    assert_eq!(numbers(&all(hevc.as_mut())), (5..10).collect::<Vec<_>>());
}

#[test]
fn runs_of_pictures_go_by_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for (i, name) in [8, 9, 10, 11].iter().enumerate() {
        let level = i as f32 / 10.0;
        crate::media::picture_file::save_png(&Picture::filled(3, 2, [level; 3]), &folder.path().join(format!("walk_{name}.png"))).unwrap();
    }
    fs::write(folder.path().join("notes.txt"), "x").unwrap();
    for path in [folder.path().to_owned(), folder.path().join("walk_%d.png"), folder.path().join("walk_9.png")] {
        let mut clip = open_clip(&path).unwrap();
        assert_eq!((clip.info().width, clip.info().height, clip.info().frames), (3, 2, Some(4)));
        let levels: Vec<u8> = all(clip.as_mut()).iter().map(|frame| frame.rgb[0]).collect();
        assert_eq!(levels, [0, 26, 51, 77]);
        clip.seek(2.0 / 16.0).unwrap();
        assert_eq!(all(clip.as_mut()).len(), 2);
    }
    crate::media::picture_file::save_png(&Picture::filled(4, 4, [0.0; 3]), &folder.path().join("walk_12.png")).unwrap();
    let mut clip = open_clip(folder.path()).unwrap();
    let mut frame = ClipFrame::default();
    let error = (0..9).find_map(|_| clip.next_frame(&mut frame).err()).expect("the size changes").to_string();
    assert!(error.contains("changes from 3x2 to 4x4"), "{error}");
    assert!(!clip.next_frame(&mut frame).unwrap());
    let lone = tempfile::tempdir().unwrap();
    let picture = lone.path().join("cat.png");
    crate::media::picture_file::save_png(&Picture::filled(1, 1, [0.0; 3]), &picture).unwrap();
    assert!(refusal(&picture).contains("one picture, not a clip"));
    assert_eq!(all(open_clip(lone.path()).unwrap().as_mut()).len(), 1);
    assert!(refusal(tempfile::tempdir().unwrap().path()).contains("holds no picture"));
}

#[test]
fn our_own_videos_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.mp4");
    let mut writer = VideoWriter::create(&path, 64, 32, 16).unwrap();
    let frame = |t: usize| Picture::from_fn(64, 32, |x, y| [0.2 + 0.03 * t as f32, x as f32 / 64.0, y as f32 / 32.0]);
    (0..12).for_each(|t| writer.push(&frame(t)).unwrap());
    writer.finish().unwrap();
    // A name says nothing.
    let renamed = folder.path().join("own.txt");
    fs::rename(&path, &renamed).unwrap();
    let mut clip = open_clip(&renamed).unwrap();
    assert!((clip.info().fps - 16.0).abs() < 0.01);
    let frames = all(clip.as_mut());
    assert_eq!(frames.len(), 12);
    for (t, shown) in frames.iter().enumerate() {
        let (shown, given) = (shown.to_picture(), frame(t));
        let off = shown.data.iter().zip(&given.data).map(|(a, b)| (0..3).map(|c| (a[c] - b[c]).abs()).sum::<f32>()).sum::<f32>();
        assert!(off / (3.0 * 64.0 * 32.0) < 0.02, "frame {t}: {off}");
        assert!(
            (frames[t].to_luma().at(5, 5) - {
                let [r, g, b] = shown.at(5, 5);
                0.2126 * r + 0.7152 * g + 0.0722 * b
            })
            .abs()
                < 1e-3
        );
    }
}

#[test]
fn bad_clips_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(fixture("baseline.m4v")).unwrap();
    let late = fs::read(fixture("bframes.mp4")).unwrap();
    assert!(refusal(&folder.path().join("none.mp4")).contains("does not exist"));
    assert!(refusal(&written(&folder, "empty.mp4", b"")).contains("is empty"));
    assert!(refusal(&fixture("sound.mp4")).contains("only sound"));
    // Index first: frames are missing. Index last: it is what is missing.
    let cut = refusal(&written(&folder, "cut.mp4", &bytes[..bytes.len() - 200]));
    assert!(cut.contains("is cut short: "), "{cut}");
    let cut = refusal(&written(&folder, "cut2.mp4", &late[..late.len() - 300]));
    assert!(cut.contains("moov"), "{cut}");
    for (name, content) in [("text.mp4", &b"This is no video at all, whatever its name says."[..]), ("zeros.mp4", &[0; 4096][..])] {
        let error = refusal(&written(&folder, name, content));
        assert!(error.contains("is no video that Kinebrush reads itself"), "{error}");
    }
    let mut growing = open_clip(&fixture("growing.mp4")).unwrap();
    let mut frame = ClipFrame::default();
    let error = (0..20).find_map(|_| growing.next_frame(&mut frame).err()).expect("the size changes").to_string();
    assert!(error.contains("changes from 64x48 to 96x64"), "{error}");
    assert!(!growing.next_frame(&mut frame).unwrap());
    // 8K and nothing, before anything is decoded.
    let path = Path::new("x.mp4");
    assert!(check_size(path, 7680, 4320).unwrap_err().to_string().contains("is 7680x4320 px; clips go up to 4096x2304"));
    assert!(check_size(path, 0, 4).is_err() && check_size(path, 1, 1).is_ok() && check_size(path, 2160, 3840).is_ok());
    let gif = fs::read(fixture("moving.gif")).unwrap();
    let mut huge = gif.clone();
    huge[6..10].copy_from_slice(&[0xFF; 4]);
    assert!(refusal(&written(&folder, "huge.gif", &huge)).contains("65535x65535"));
    let mut cut = open_clip(&written(&folder, "cut.gif", &gif[..gif.len() / 2])).map(|mut clip| {
        let mut frame = ClipFrame::default();
        (0..20).find_map(|_| clip.next_frame(&mut frame).err()).map(|error| error.to_string())
    });
    if let Ok(error) = &mut cut {
        assert!(error.as_ref().is_some_and(|error| error.contains("cut short") || error.contains("frames can be decoded")), "{error:?}");
    }
}

/// The places of a file where its index is: everything but the coded pictures.
fn outside_mdat(bytes: &[u8]) -> Vec<usize> {
    let at = bytes.windows(4).position(|four| four == b"mdat").unwrap();
    let size = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
    (0..bytes.len()).filter(|i| *i < at + 4 || *i >= at - 4 + size).collect()
}

#[test]
fn a_damaged_index_never_panics_hangs_or_allocates_what_it_claims() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let path = Path::new("x.mp4");
    for name in ["bframes.mp4", "edited.mp4", "rotated.mp4", "sound.mp4", "varying.mp4"] {
        let bytes = fs::read(fixture(name)).unwrap();
        let places = outside_mdat(&bytes);
        for _ in 0..1500 {
            let mut bytes = bytes.clone();
            for _ in 0..rng.random_range(1..6) {
                let at = places[rng.random_range(0..places.len())];
                bytes[at] = [0, 1, 0x7F, 0x80, 0xFF, rng.random()][rng.random_range(0..6)];
            }
            if rng.random_bool(0.1) {
                bytes.truncate(rng.random_range(0..bytes.len()));
            }
            if let Ok(track) = mp4::read(path, &mut std::io::Cursor::new(&bytes), bytes.len() as u64) {
                // At least a byte each, so never more than the file has.
                assert!(track.samples.len() <= bytes.len() && track.times.len() == track.shown.len());
                assert!(track.samples.iter().all(|s| s.offset + u64::from(s.size) <= bytes.len() as u64));
                assert!(track.times.iter().all(|t| t.is_finite()) && track.seconds.is_finite() && track.seconds > 0.0);
            }
        }
    }
}

#[test]
fn damaged_pictures_are_an_error_or_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for (name, tries) in [("bframes.mp4", 60), ("moving.gif", 60), ("moving.webp", 60)] {
        let bytes = fs::read(fixture(name)).unwrap();
        for _ in 0..tries {
            let mut bytes = bytes.clone();
            for _ in 0..3 {
                let at = rng.random_range(40..bytes.len());
                bytes[at] = rng.random();
            }
            let path = written(&folder, name, &bytes);
            // Not through ffmpeg: it would be started for each.
            let clip: Option<Box<dyn steady::Timed>> = match animation::Kind::of(&bytes) {
                Some(kind) => animation::Animation::open(&path, kind).ok().map(|clip| Box::new(clip) as _),
                None => h264::Mp4Clip::open(&path).ok().map(|clip| Box::new(clip) as _),
            };
            let Some(clip) = clip else { continue };
            let mut source = steady::steady(clip).unwrap();
            let mut frame = ClipFrame::default();
            let mut count = 0;
            while source.next_frame(&mut frame).unwrap_or(false) {
                assert_eq!(frame.rgb.len(), 3 * frame.width * frame.height);
                count += 1;
            }
            assert!(count <= bytes.len());
            // A seek after an error is no worse.
            let _ = source.seek(0.0).and_then(|()| source.next_frame(&mut frame));
        }
    }
}
