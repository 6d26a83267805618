//! Video files as the world sees them: the boxes of the MP4 by our own reading, the stream by `ffprobe` and `ffmpeg` where
//! they are installed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use kinebrush_engine::media::picture_file::load_picture;
use kinebrush_engine::media::{FrameSink, Output};
use kinebrush_engine::picture::Picture;

const FPS: u32 = 16;

/// A pan over one of our pictures, written to `output`.
fn write_pan(output: &Path, width: usize, height: usize, count: usize) -> Vec<Picture> {
    let rocket = load_picture(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pictures/rocket.jpg")).unwrap();
    let frames: Vec<Picture> = (0..count)
        .map(|t| Picture::from_fn(width, height, |x, y| rocket.bilinear(x as f32 + 0.5 + 2.3 * t as f32, y as f32 + 60.5)))
        .collect();
    let mut sink: Box<dyn FrameSink> = Output::from_path(output).unwrap().create(width, height, FPS).unwrap();
    frames.iter().for_each(|frame| sink.push(frame).unwrap());
    sink.finish().unwrap();
    frames
}

/// Type and body of each box in `bytes`.
fn boxes(bytes: &[u8]) -> Vec<(String, &[u8])> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 8 {
        let size = u32_at(rest, 0) as usize;
        found.push((String::from_utf8_lossy(&rest[4..8]).into_owned(), &rest[8..size]));
        rest = &rest[size..];
    }
    found
}

fn child<'a>(bytes: &'a [u8], path: &[&str]) -> &'a [u8] {
    path.iter().fold(bytes, |bytes, name| boxes(bytes).iter().find(|b| b.0 == *name).unwrap_or_else(|| panic!("no {name}")).1)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("-version").output().is_ok();
    if !found {
        println!("skipped in part: {program} is not installed");
    }
    found
}

fn probe(path: &Path) -> serde_json::Value {
    let arguments = ["-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json"];
    let output = Command::new("ffprobe").args(arguments).arg(path).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn in_folder(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

#[test]
fn the_mp4_starts_fast_and_runs_at_a_constant_rate() {
    let (_folder, path) = in_folder("pan.mp4");
    write_pan(&path, 384, 216, 20);
    let bytes = std::fs::read(&path).unwrap();
    let order: Vec<String> = boxes(&bytes).into_iter().map(|b| b.0).collect();
    assert_eq!(order, ["ftyp", "moov", "mdat"]);
    let media = child(&bytes, &["moov", "trak", "mdia"]);
    let timescale = u32_at(child(media, &["mdhd"]), 12);
    let table = child(media, &["minf", "stbl"]);
    let stts = child(table, &["stts"]);
    // One run: all 20 samples last 1/16 s.
    assert_eq!((u32_at(stts, 4), u32_at(stts, 8), u32_at(stts, 12) * FPS), (1, 20, timescale));
    assert_eq!(u32_at(child(table, &["stsz"]), 8), 20);
    assert_eq!(&child(table, &["stsd"])[12..16], b"avc1");
}

#[test]
fn ffprobe_agrees_with_what_was_asked_for() {
    if !has("ffprobe") {
        return;
    }
    // A usual size, one that fills no macroblock, an odd one, and the shortest video there is.
    for (width, height, count) in [(384, 216, 33), (386, 218, 5), (255, 131, 5), (64, 64, 1)] {
        let (_folder, path) = in_folder("pan.mp4");
        write_pan(&path, width, height, count);
        let probe = probe(&path);
        let stream = &probe["streams"][0];
        for (key, value) in [
            ("codec_name", "h264"),
            ("pix_fmt", "yuv420p"),
            ("color_range", "tv"),
            ("color_space", "bt709"),
            ("color_primaries", "bt709"),
            ("color_transfer", "bt709"),
            ("r_frame_rate", "16/1"),
            ("avg_frame_rate", "16/1"),
        ] {
            assert_eq!(stream[key], value, "{key} at {width}x{height}");
        }
        assert_eq!(stream["width"], width.next_multiple_of(2));
        assert_eq!(stream["height"], height.next_multiple_of(2));
        // A lone frame is shown for two frame times.
        let shown = count.max(2);
        assert_eq!(stream["nb_frames"], shown.to_string());
        assert_eq!(stream["nb_read_frames"], shown.to_string());
        let seconds: f64 = stream["duration"].as_str().unwrap().parse().unwrap();
        assert!((seconds - shown as f64 / 16.0).abs() < 1e-3, "{seconds} s");
    }
}

#[test]
fn ffmpeg_decodes_the_colours_that_were_put_in() {
    if !has("ffmpeg") {
        return;
    }
    let (_folder, path) = in_folder("pan.mp4");
    let frames = write_pan(&path, 384, 216, 6);
    // The matrix and the range come from the tags; only the rounding is asked for.
    let filter = ["-vf", "scale=flags=accurate_rnd+full_chroma_int+full_chroma_inp+bicubic", "-f", "rawvideo", "-pix_fmt", "rgb24"];
    let output = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&path).args(filter).arg("-").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.len(), 6 * 384 * 216 * 3);
    let mut mean = [0.0; 3];
    let mut square = 0.0;
    for (pixel, truth) in output.stdout.chunks(3).zip(frames.iter().flat_map(|frame| &frame.data)) {
        for c in 0..3 {
            let error = f64::from(pixel[c]) / 255.0 - f64::from(truth[c]);
            mean[c] += error / (6.0 * 384.0 * 216.0);
            square += error * error / (6.0 * 384.0 * 216.0 * 3.0);
        }
    }
    let psnr = -10.0 * square.log10();
    println!("{psnr:.2} dB, mean error {mean:?}");
    // BT.601 taken for BT.709 moves the mean of red by 0.007 here, a wrong range by more.
    assert!(mean.iter().all(|error| error.abs() < 0.004), "{mean:?}");
    assert!(psnr > 35.0, "{psnr} dB");
}

#[test]
fn a_png_sequence_holds_every_frame() {
    let (_folder, path) = in_folder("pan/");
    let frames = write_pan(&path, 40, 30, 3);
    for (index, frame) in frames.iter().enumerate() {
        let back = load_picture(&path.join(format!("frame_{index:05}.png"))).unwrap();
        let worst = back.data.iter().zip(&frame.data).flat_map(|(a, b)| [0, 1, 2].map(|c| (a[c] - b[c]).abs())).fold(0.0, f32::max);
        assert!(worst <= 0.5 / 255.0 + 1e-5, "frame {index}: {worst}");
    }
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 3);
}
