//! The command line from the outside: what it writes, what it says, and that nothing half-made is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn kinebrush(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinebrush")).args(arguments).current_dir(root()).output().unwrap()
}

/// The one line on stderr of a command that must fail.
fn refused(arguments: &[&str]) -> String {
    let output = kinebrush(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} should fail");
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn every_preset_renders_with_sketch_to_an_h264_file() {
    let folder = tempfile::tempdir().unwrap();
    for preset in ["cat", "coffee", "rocket", "pan", "turn"] {
        let out = folder.path().join(format!("{preset}.mp4"));
        let done =
            kinebrush(&["render", &format!("presets/{preset}.ron"), "-o", out.to_str().unwrap(), "--frames", "5", "--size", "160x106"]);
        assert!(done.status.success(), "{preset}: {}", String::from_utf8_lossy(&done.stderr));
        let bytes = std::fs::read(&out).unwrap();
        assert!(&bytes[4..8] == b"ftyp" && bytes.windows(4).any(|w| w == b"avc1"), "{preset}");
        let (moov, mdat) = (position(&bytes, b"moov"), position(&bytes, b"mdat"));
        assert!(moov < mdat, "{preset}: no fast start");
    }
}

fn position(bytes: &[u8], name: &[u8; 4]) -> usize {
    bytes.windows(4).position(|w| w == name).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_frames_with_one_and_with_two_threads() {
    let folder = tempfile::tempdir().unwrap();
    let render = |name: &str, extra: &[&str]| {
        let out = folder.path().join(name);
        let path = format!("{}/", out.display());
        let mut arguments = vec!["render", "presets/rocket.ron", "-o", &path, "--frames", "9", "--size", "192x128"];
        arguments.extend(extra);
        let done = kinebrush(&arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let mut files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        files.iter().map(|f| std::fs::read(f).unwrap()).collect::<Vec<_>>()
    };
    let one = render("one", &["--threads", "1"]);
    let two = render("two", &["--threads", "2"]);
    assert_eq!(one.len(), 9);
    assert!(one == two, "one and two threads differ");
    assert!(one[0] != one[8], "nothing moves");
}

#[test]
fn what_is_wrong_is_said_in_one_line_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("wrong.ron"), "(version: 1, image: \"p.png\", frames: 4, colour: 3)").unwrap();
    std::fs::write(at("broken.ron"), "(version: 1, image: \"broken.png\", frames: 4)").unwrap();
    std::fs::write(at("broken.png"), b"\x89PNG\r\n\x1a\nnot a picture").unwrap();
    std::fs::write(at("lost.ron"), "(version: 1, image: \"lost.png\", frames: 4)").unwrap();
    let out = at("out.mp4");
    let cases: [(&[&str], &[&str]); 9] = [
        (&["render", &at("none.ron"), "-o", &out], &["none.ron"]),
        (&["render", &at("wrong.ron"), "-o", &out], &["wrong.ron", "colour"]),
        (&["render", &at("broken.ron"), "-o", &out], &["broken.png"]),
        (&["render", &at("lost.ron"), "-o", &out], &["lost.png"]),
        (&["render", "presets/cat.ron", "-o", &at("nowhere/out.mp4")], &["nowhere"]),
        (&["render", "presets/cat.ron", "-o", &at("out.avi")], &["out.avi", ".mp4"]),
        (&["render", "presets/cat.ron", "-o", &out, "--model", &at("no-model")], &["no-model", "model.ron"]),
        (&["render", "presets/cat.ron", "-o", &out, "--device", "cuda"], &["cuda", "cpu"]),
        (&["render", "presets/cat.ron", "-o", &out, "--frames", "0"], &["--frames"]),
    ];
    for (arguments, words) in cases {
        let text = refused(arguments);
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.contains("out")), "{left:?}");
}

#[test]
fn sizes_are_checked_before_anything_is_made() {
    for size in ["0x0", "12", "100000x16", "axb"] {
        assert!(refused(&["render", "presets/cat.ron", "-o", "x.mp4", "--size", size]).contains("--size"), "{size}");
    }
}

#[test]
fn bench_and_models_print_what_their_readers_rely_on() {
    let output = kinebrush(&["bench", "--json", "--size", "64x48", "--chunks", "26"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["frames_per_s", "chunk_ms_median", "growth_ratio", "rss_growth_mib", "hand_to_screen_ms"] {
        assert!(report[key].is_number(), "{key}");
    }
    for stage in ["guide", "condition", "sampler", "denoise", "commit", "compose", "rgba8"] {
        assert!(report["stages"][stage].as_f64().unwrap() >= 0.0, "{stage}");
    }
    let kernels = report["kernels"].as_str().unwrap();
    for rate in [&report["gflops"]["denoise"], &report["gflops"]["commit"], &report["ceilings_gflops"][kernels]] {
        assert!(rate.as_f64().unwrap() > 0.0, "{report}");
    }
    assert!(refused(&["bench", "--kernels", "mmx"]).contains("portable"), "the sets that there are");
    let models = String::from_utf8(kinebrush(&["models"]).stdout).unwrap();
    assert!(models.contains("Sketch") && models.contains("licence"), "{models}");
}
