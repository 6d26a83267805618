//! Exports hold what the take shows; one that is cancelled or killed leaves nothing under its name, and the take stays readable.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use candle_core::Device;
use image::AnimationDecoder;
use image::codecs::gif::GifDecoder;
use kinebrush_engine::media::picture_file::{load_picture, rgb8, save_png};
use kinebrush_engine::media::video::Quality;
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::motion::Project;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::stream::export::{ExportFormat, ExportJob, ExportOptions, ExportSource, default_size};
use kinebrush_engine::stream::live::Compiled;
use kinebrush_engine::stream::live::compile::{Filling, Stage};
use kinebrush_engine::stream::live::log::Log;
use kinebrush_engine::stream::live::maker::ChunkMaker;
use kinebrush_engine::stream::take::{CAP_BYTES, Header, ModelId, TakePlayer, TakeReader, TakeWriter};

/// Tells a child of this test where to write.
const FOLDER: &str = "KINEBRUSH_TEST_EXPORT_FOLDER";

fn sketch() -> Arc<Checkpoint> {
    Arc::new(Checkpoint::sketch(&Device::Cpu).unwrap())
}

/// A disc on soft ground, dragged to the right; the model works at half the size.
fn project(folder: &Path) -> Project {
    let picture = Picture::from_fn(160, 96, |x, y| {
        let inside = (12.5 - (x as f32 - 40.0).hypot(y as f32 - 50.0)).clamp(0.0, 1.0);
        let ground = 0.3 + x as f32 / 400.0 + (y as f32 / 9.0).sin() * 0.05;
        [0.8 * inside + ground * (1.0 - inside), ground, 0.4]
    });
    save_png(&picture, &folder.join("p.png")).unwrap();
    let text = "(version: 1, image: \"p.png\", frames: 64, seed: 3, size: (80, 48),
        strokes: [(region: Disc(center: (40, 50), radius: 14), path: [(0, 40, 50), (12, 100, 50)])])";
    std::fs::write(folder.join("p.ron"), text).unwrap();
    Project::load(folder.join("p.ron")).unwrap()
}

/// Writes chunks of a take at `path` as long as `more` says so.
fn write(path: &Path, checkpoint: &Checkpoint, project: &Project, more: impl Fn(u64) -> bool) {
    let picture = Arc::new(load_picture(&project.image_path()).unwrap());
    let mut stage = Stage::new(&picture, 1280, project.seed).unwrap();
    let header = Header {
        version: 1,
        model: ModelId::of(checkpoint),
        seed: project.seed,
        live_size: (picture.width, picture.height),
        model_size: project.size.unwrap(),
        chunk_frames: checkpoint.dit.config.chunk_frames(),
        parent: None,
    };
    let (scene, layers) = stage.compile(project, Filling::Textured).unwrap();
    let compiled = Arc::new(Compiled { revision: 1, scene: Arc::new(scene), layers: Arc::new(layers), cut: 1, scale: 1.0 });
    let mut writer = TakeWriter::create(path, &header, CAP_BYTES, None).unwrap();
    let mut maker = ChunkMaker::new(checkpoint, &Device::Cpu, header.model_size, header.seed);
    writer.motion(0, project).unwrap();
    for chunk in (0..).take_while(|chunk| more(*chunk)) {
        maker.make(1, &compiled).unwrap();
        writer.chunk(chunk, &maker.made(Filling::Textured)).unwrap();
    }
}

fn options(source: ExportSource, first: usize, end: usize, format: ExportFormat, path: PathBuf) -> ExportOptions {
    ExportOptions { source, first, end, size: None, format, path, threads: Some(1) }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Of this process's threads of that name (which Linux cuts at 15 letters).
#[cfg(target_os = "linux")]
fn niceness(name: &str) -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may have ended since.
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let found: Vec<i32> = stats
        .filter(|stat| stat.contains(&format!("({name})")))
        .map(|stat| stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap())
        .collect();
    assert!(found.len() >= 2, "the job's threads are not there");
    found
}

/// dB between 8-bit pictures.
fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / sum.max(1e-9)).log10()
}

#[test]
fn what_is_exported_is_what_the_take_shows() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), sketch());
    let at = |name: &str| folder.path().join(name);
    write(&at("take"), &checkpoint, &project(folder.path()), |chunk| chunk < 4);
    let mut player = TakePlayer::open(&at("take"), &checkpoint, &Device::Cpu, None, None).unwrap();
    let truth: Vec<Vec<u8>> = (0..4).flat_map(|chunk| player.chunk(chunk).unwrap().iter().map(rgb8).collect::<Vec<_>>()).collect();
    let wakes = Arc::new(AtomicUsize::new(0));
    let export = |format, name: &str| {
        let wakes = wakes.clone();
        let options = options(ExportSource::Take(at("take")), 3, 14, format, at(name));
        let job = ExportJob::spawn(options, checkpoint.clone(), move || {
            wakes.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(job.wait().unwrap(), at(name));
        let progress = job.progress();
        assert_eq!((progress.frame, progress.frames, progress.seconds_left), (11, 11, Some(0.0)));
    };
    export(ExportFormat::Png, "png");
    for i in 0..11 {
        let frame = load_picture(&at("png").join(format!("frame_{i:05}.png"))).unwrap();
        assert!(rgb8(&frame) == truth[3 + i], "PNG {i}");
    }
    export(ExportFormat::Gif { divisor: 2 }, "a.gif");
    let decoder = GifDecoder::new(std::io::Cursor::new(std::fs::read(at("a.gif")).unwrap())).unwrap();
    let frames = decoder.into_frames().collect_frames().unwrap();
    // A GIF is as large as the picture where that is small.
    assert_eq!(frames.len(), 6);
    for (i, frame) in frames.iter().enumerate() {
        let bytes: Vec<u8> = frame.buffer().pixels().flat_map(|p| [p[0], p[1], p[2]]).collect();
        let psnr = psnr(&bytes, &truth[3 + 2 * i]);
        assert!(psnr > 30.0, "GIF {i}: {psnr} dB");
    }
    let mut sizes = Vec::new();
    for (quality, least) in [(Quality::Small, 28.0), (Quality::Good, 33.0), (Quality::Best, 36.0)] {
        export(ExportFormat::Mp4 { quality }, "a.mp4");
        sizes.push(std::fs::metadata(at("a.mp4")).unwrap().len());
        let decoded = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(at("a.mp4"))
            .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-sws_flags", "accurate_rnd+full_chroma_int", "-"])
            .output();
        // Without ffmpeg the encoder's own tests, which decode, must do.
        let Ok(decoded) = decoded else { continue };
        let frames: Vec<&[u8]> = decoded.stdout.chunks(160 * 96 * 3).collect();
        assert_eq!(frames.len(), 11, "{}", String::from_utf8_lossy(&decoded.stderr));
        for (i, frame) in frames.iter().enumerate() {
            let psnr = psnr(frame, &truth[3 + i]);
            assert!(psnr > least, "{quality:?} {i}: {psnr} dB");
        }
    }
    assert!(sizes.is_sorted(), "{sizes:?}");
    assert!(wakes.load(Ordering::Relaxed) >= 5 * 3);
    assert_eq!(names(folder.path()), ["a.gif", "a.mp4", "p.png", "p.ron", "png", "take"]);
}

#[test]
fn what_cannot_be_is_said_before_a_file_is_there_and_a_cancelled_job_leaves_none() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), sketch());
    let at = |name: &str| folder.path().join(name);
    let project = project(folder.path());
    write(&at("take"), &checkpoint, &project, |chunk| chunk < 2);
    let before = names(folder.path());
    let refused = |first, end, format| {
        let options = options(ExportSource::Take(at("take")), first, end, format, at("a.out"));
        ExportJob::spawn(options, checkpoint.clone(), || {}).wait().unwrap_err().to_string()
    };
    assert!(refused(0, 9, ExportFormat::Png).contains("there are only 8"));
    assert!(refused(5, 5, ExportFormat::Png).contains("there are none"));
    assert!(refused(0, 4, ExportFormat::Gif { divisor: 0 }).contains("there are none"));
    let source = ExportSource::Project { project: Box::new(project), frames: 100_000 };
    let mut long = options(source.clone(), 0, 100_000, ExportFormat::Mp4 { quality: Quality::Best }, at("a.out"));
    long.size = Some((1920, 1080));
    let why = ExportJob::spawn(long, checkpoint.clone(), || {}).wait().unwrap_err().to_string();
    assert!(why.contains("would pass 2 GiB"), "{why}");
    for format in [ExportFormat::Mp4 { quality: Quality::Good }, ExportFormat::Png, ExportFormat::Gif { divisor: 1 }] {
        let job = ExportJob::spawn(options(source.clone(), 0, 100_000, format, at("a.out")), checkpoint.clone(), || {});
        while job.progress().frame < 8 {
            assert!(job.result().is_none());
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(job.progress().seconds_left.is_some_and(|left| left > 0.0));
        #[cfg(target_os = "linux")]
        assert!(niceness("kinebrush-expor").iter().all(|nice| *nice == 19), "the live loop would feel it");
        job.cancel();
        assert!(job.wait().unwrap_err().to_string().contains("cancelled"));
        assert_eq!(names(folder.path()), before);
    }
}

#[test]
fn sizes_keep_within_what_the_format_holds() {
    let mp4 = ExportFormat::Mp4 { quality: Quality::Best };
    let gif = ExportFormat::Gif { divisor: 1 };
    assert_eq!(default_size((161, 97), mp4), (162, 98));
    assert_eq!(default_size((6000, 4000), mp4), (3240, 2160));
    assert_eq!(default_size((4000, 6000), mp4), (2160, 3240));
    assert_eq!(default_size((6000, 4000), ExportFormat::Png), (6000, 4000));
    assert_eq!(default_size((1920, 1080), gif), (640, 360));
    assert_eq!(default_size((500, 281), gif), (500, 282));
}

/// Not a test of its own: what the next one kills.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let checkpoint = sketch();
    let project = project(&folder);
    let source = ExportSource::Project { project: Box::new(project.clone()), frames: 100_000 };
    let mp4 = ExportFormat::Mp4 { quality: Quality::Small };
    let jobs = [("a.mp4", mp4), ("a", ExportFormat::Png), ("a.gif", ExportFormat::Gif { divisor: 1 })];
    let _jobs = jobs
        .map(|(name, format)| ExportJob::spawn(options(source.clone(), 0, 100_000, format, folder.join(name)), checkpoint.clone(), || {}));
    write(&folder.join("take"), &checkpoint, &project, |_| true);
}

#[test]
fn a_process_that_is_killed_leaves_no_broken_file_and_a_take_of_whole_chunks() {
    let checkpoint = sketch();
    let (cells, channels) = (checkpoint.dit.config.chunk_latents * 60, checkpoint.dit.config.output_channels());
    let mut most = 0;
    for round in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--quiet"])
            .env(FOLDER, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let take = folder.path().join("take");
        while !take.exists() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(17 + 53 * round));
        // SIGKILL on Unix: nothing of it runs any more.
        child.kill().unwrap();
        child.wait().unwrap();
        for name in ["a.mp4", "a", "a.gif"] {
            assert!(!folder.path().join(name).exists(), "{name} is there");
        }
        // Killed at once, not even the header may be whole.
        let Ok(mut reader) = TakeReader::open(&take) else { continue };
        for chunk in 0..reader.chunks() {
            assert!(reader.output(chunk, cells, channels, &mut Vec::new()).unwrap());
        }
        most = most.max(reader.chunks());
    }
    assert!(most > 0, "no chunk was ever written");
}
