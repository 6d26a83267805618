//! Writes takes and projects as files while the studio goes on.
//!
//! A job has a thread and a pool of its own, both at the lowest priority, so that the live loop hardly notices it. Invariants: a file
//! appears under its name only when it is whole, whatever ends the job; nobody waits for a job. Guarded by `tests/tests/export.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use candle_core::Device;
use crossbeam_channel::{Receiver, bounded};

use super::render::Renderer;
use super::take::TakePlayer;
use crate::error::{Error, Result};
use crate::media::FrameSink;
use crate::media::atomic::{parent, remove_stale};
use crate::media::gif::{GIF_PX, GifWriter};
use crate::media::picture_file::load_picture;
use crate::media::sequence::SequenceWriter;
use crate::media::video::{MAX_BYTES, MAX_SIDES, Quality, VideoWriter};
use crate::model::checkpoint::Checkpoint;
use crate::motion::project::Project;
use crate::picture::Picture;
use crate::priority::{Priority, set_priority};

/// Frames per second of the models.
const FPS: u32 = 16;
/// Temporary files that nobody has written to for so long are left over from a run that was killed.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// What is exported.
#[derive(Clone, Debug)]
pub enum ExportSource {
    /// A take that was made, by its log.
    Take(PathBuf),
    /// A project, rendered anew with its own seed.
    Project {
        /// What moves.
        project: Box<Project>,
        /// How many frames it has.
        frames: usize,
    },
}

/// As what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// H.264 in MP4, 16 frames a second.
    Mp4 {
        /// How much is kept.
        quality: Quality,
    },
    /// A folder of PNG frames.
    Png,
    /// An endless GIF.
    Gif {
        /// Every how many frames one is shown: 1 is 16 frames a second, 2 is 8.
        divisor: usize,
    },
}

/// What to export, and where to.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// From what.
    pub source: ExportSource,
    /// The first frame.
    pub first: usize,
    /// The frame after the last one.
    pub end: usize,
    /// Width and height; the source's (even; within what the format can hold; for a GIF at most 640 px) when none is given.
    pub size: Option<(usize, usize)>,
    /// As what.
    pub format: ExportFormat,
    /// The file, or the folder for PNG frames.
    pub path: PathBuf,
    /// Threads; when none is given, as many as leave the live loop alone.
    pub threads: Option<usize>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Frames done.
    pub frame: usize,
    /// Frames in all.
    pub frames: usize,
    /// How long it will take at the pace so far.
    pub seconds_left: Option<f64>,
}

/// A job at work. Dropped, it is cancelled.
pub struct ExportJob {
    shared: Arc<Shared>,
    frames: usize,
    path: PathBuf,
    result: Receiver<Result<PathBuf>>,
}

struct Shared {
    cancelled: Arc<AtomicBool>,
    done: AtomicUsize,
    /// Whether the live loop makes video meanwhile.
    beside: AtomicBool,
    /// Of an f64; NaN as long as nothing is known.
    seconds_left: AtomicU64,
}

/// What share of its time a job works beside the live loop. A low priority alone is not enough where cores are few: caches and memory
/// are shared whoever comes first.
fn share_beside(cores: usize) -> f64 {
    match cores {
        0..=2 => 0.1,
        3..=4 => 0.5,
        _ => 1.0,
    }
}

/// Longest rest at a time.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// How often a rest looks whether it is over.
const LOOK: Duration = Duration::from_millis(10);

impl Shared {
    /// Rests after `worked` as long as the live loop needs the cores.
    fn rest(&self, worked: Duration, share: f64) {
        let rest = worked.mul_f64(1.0 / share - 1.0).min(LONGEST_REST);
        let start = Instant::now();
        while start.elapsed() < rest && self.beside.load(Ordering::Relaxed) && !self.cancelled.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
    }
}

impl ExportJob {
    /// Starts a job; `wake` is called from its threads whenever there is something new to ask for. What is wrong with the options comes
    /// as the result.
    pub fn spawn(options: ExportOptions, checkpoint: Arc<Checkpoint>, wake: impl Fn() + Send + 'static) -> Self {
        let seconds_left = AtomicU64::new(f64::NAN.to_bits());
        let shared =
            Arc::new(Shared { cancelled: Arc::default(), done: AtomicUsize::new(0), beside: AtomicBool::new(false), seconds_left });
        let (say, result) = bounded(1);
        let job = Self { shared: shared.clone(), frames: options.end.saturating_sub(options.first), path: options.path.clone(), result };
        let told = say.clone();
        let run = move || {
            set_priority(Priority::Idle);
            drop(told.try_send(exported(options, &checkpoint, &shared, &wake)));
            wake();
        };
        if let Err(e) = std::thread::Builder::new().name("kinebrush-export".into()).spawn(run) {
            drop(say.try_send(Err(Error::field("export", format!("cannot be started ({e}); close other programs")))));
        }
        job
    }

    /// How far it is; never waits.
    pub fn progress(&self) -> Progress {
        let left = f64::from_bits(self.shared.seconds_left.load(Ordering::Relaxed));
        let frame = self.shared.done.load(Ordering::Relaxed);
        Progress { frame, frames: self.frames, seconds_left: Some(left).filter(|left| left.is_finite()) }
    }

    /// Says whether the live loop makes video: beside it a job on few cores works only now and then.
    pub fn give_way(&self, beside: bool) {
        self.shared.beside.store(beside, Ordering::Relaxed);
    }

    /// Ends it within a chunk; nothing is left of it.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to end.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Relaxed)
    }

    /// The file or folder it writes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What became of it, once; None as long as it runs. Cancelled, it is an error.
    pub fn result(&self) -> Option<Result<PathBuf>> {
        self.result.try_recv().ok()
    }

    /// As [`ExportJob::result`], waiting for it: not for a thread that must not wait.
    ///
    /// # Errors
    /// What went wrong, or that the result was taken already.
    pub fn wait(&self) -> Result<PathBuf> {
        self.result.recv().unwrap_or_else(|_| Err(Error::field("export", "has ended already")))
    }
}

impl Drop for ExportJob {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The whole job, in a pool of its own.
fn exported(options: ExportOptions, checkpoint: &Checkpoint, shared: &Shared, wake: &(dyn Fn() + Send)) -> Result<PathBuf> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores.saturating_sub(1) / 2).max(1);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("kinebrush-export-{i}"))
        .start_handler(|_| set_priority(Priority::Idle))
        .build()
        .map_err(|e| Error::field("export", format!("cannot start its threads ({e}); close other programs")))?;
    // The pool's threads make a chunk; this one writes it, tells how far it is, and looks whether it shall end.
    let work = || run(&options, checkpoint, shared, wake, &pool);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::file(&options.path, "was not written: the export failed; this is a fault of the program")))
}

/// Where frames come from.
enum Frames<'a> {
    Take(Box<TakePlayer<'a>>),
    Project(Box<Renderer<'a>>),
}

impl Frames<'_> {
    fn output_size(&self) -> (usize, usize) {
        match self {
            Self::Take(player) => player.output_size(),
            Self::Project(renderer) => renderer.output_size(),
        }
    }

    /// The frames of `chunk`; a project's come one after the other.
    fn chunk(&mut self, chunk: usize) -> Result<&[Picture]> {
        match self {
            Self::Take(player) => player.chunk(chunk as u64),
            Self::Project(renderer) => renderer.next_chunk(),
        }
    }
}

fn run(
    options: &ExportOptions,
    checkpoint: &Checkpoint,
    shared: &Shared,
    wake: &(dyn Fn() + Send),
    pool: &rayon::ThreadPool,
) -> Result<PathBuf> {
    let ExportOptions { source, first, end, size, format, path, .. } = options;
    let step = if let ExportFormat::Gif { divisor } = format { *divisor } else { 1 };
    if first >= end || step == 0 {
        return Err(Error::field("export", format!("frames {first} to {end}, every {step}: there are none; choose others")));
    }
    let cancelled = || shared.cancelled.load(Ordering::Relaxed);
    let stopped = || Error::file(path, "was not written: the export was cancelled");
    remove_stale(parent(path), STALE);
    let (mut frames, known) = pool.install(|| open(source, *size, *format, checkpoint, shared))?;
    if *end > known {
        return Err(Error::field("export", format!("goes to frame {end}, but there are only {known}; choose fewer")));
    }
    let (width, height) = frames.output_size();
    if let ExportFormat::Mp4 { quality } = format
        && quality.expected_bytes(width, height, end - first).0 > MAX_BYTES as u64
    {
        let what =
            format!("a video of {} frames of {width}x{height} would pass 2 GiB; choose fewer, smaller, or less quality", end - first);
        return Err(Error::file(path, what));
    }
    let mut sink: Box<dyn FrameSink> = match format {
        ExportFormat::Mp4 { quality } => Box::new(VideoWriter::with_quality(path, width, height, FPS, *quality)?),
        ExportFormat::Png => Box::new(SequenceWriter::create(path, width, height)?),
        ExportFormat::Gif { divisor } => Box::new(GifWriter::create(path, width, height, (FPS as usize, *divisor))?),
    };
    let chunk_frames = checkpoint.dit.config.chunk_frames();
    // A project has to be made from its beginning.
    let start = if matches!(frames, Frames::Take(_)) { first / chunk_frames } else { 0 };
    let share = share_beside(std::thread::available_parallelism().map_or(1, usize::from));
    let clock = Instant::now();
    for chunk in start..end.div_ceil(chunk_frames) {
        if cancelled() {
            return Err(stopped());
        }
        let mut worked = Instant::now();
        pool.install(|| {
            for (i, frame) in frames.chunk(chunk)?.iter().enumerate() {
                shared.rest(worked.elapsed(), share);
                worked = Instant::now();
                let index = chunk * chunk_frames + i;
                if index >= *first && index < *end && (index - first) % step == 0 {
                    if cancelled() {
                        return Err(stopped());
                    }
                    sink.push(frame)?;
                }
            }
            Ok(())
        })?;
        shared.rest(worked.elapsed(), share);
        let next = (chunk + 1) * chunk_frames;
        shared.done.store(next.min(*end).saturating_sub(*first), Ordering::Relaxed);
        let (made, left) = (next - start * chunk_frames, end.saturating_sub(next));
        let seconds_left = clock.elapsed().as_secs_f64() / made as f64 * left as f64;
        shared.seconds_left.store(seconds_left.to_bits(), Ordering::Relaxed);
        wake();
    }
    if cancelled() {
        return Err(stopped());
    }
    sink.finish()?;
    Ok(path.clone())
}

/// The source at the size it is exported at, and how many frames it has.
fn open<'a>(
    source: &ExportSource,
    size: Option<(usize, usize)>,
    format: ExportFormat,
    checkpoint: &'a Checkpoint,
    shared: &Shared,
) -> Result<(Frames<'a>, usize)> {
    let own = |picture: (usize, usize)| size.unwrap_or_else(|| default_size(picture, format));
    Ok(match source {
        ExportSource::Take(path) => {
            let image = TakePlayer::picture_path(path)?;
            let picture = Arc::new(load_picture(&image)?);
            let size = own((picture.width, picture.height));
            let mut player = TakePlayer::open(path, checkpoint, &Device::Cpu, Some(size), Some(picture))?;
            player.stop_with(shared.cancelled.clone());
            let frames = player.reader().frames();
            (Frames::Take(Box::new(player)), frames)
        }
        ExportSource::Project { project, frames } => {
            let picture = load_picture(&project.image_path())?;
            let size = own((picture.width, picture.height));
            let renderer = Renderer::new(project, &picture, Some(checkpoint), &Device::Cpu, Some(size), project.seed)?;
            (Frames::Project(Box::new(renderer)), *frames)
        }
    })
}

/// The size at which a picture of `width` x `height` px is exported unless somebody says otherwise.
pub fn default_size((width, height): (usize, usize), format: ExportFormat) -> (usize, usize) {
    let (long, short) = (width.max(height).max(1) as f64, width.min(height).max(1) as f64);
    let fit = match format {
        ExportFormat::Mp4 { .. } => (MAX_SIDES.0 as f64 / long).min(MAX_SIDES.1 as f64 / short),
        ExportFormat::Png => 1.0,
        ExportFormat::Gif { .. } => GIF_PX as f64 / long,
    };
    // Shrunk sides are rounded down to even ones, so that they keep within; others are made even.
    let side = |px: usize| match fit < 1.0 {
        true => ((px as f64 * fit) as usize / 2 * 2).max(16),
        false => px.next_multiple_of(2),
    };
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_rests_beside_the_live_loop_until_that_ends_or_the_job_does() {
        let shared = |beside: bool, cancelled: bool| Shared {
            cancelled: Arc::new(AtomicBool::new(cancelled)),
            done: AtomicUsize::new(0),
            beside: AtomicBool::new(beside),
            seconds_left: AtomicU64::new(0),
        };
        let day = Duration::from_secs(24 * 3600);
        // Any rest here would last ten seconds and fail to be the shortest.
        let start = Instant::now();
        shared(false, false).rest(day, 0.1);
        shared(true, true).rest(day, 0.1);
        shared(true, false).rest(day, 1.0);
        let without = start.elapsed();
        shared(true, false).rest(Duration::from_millis(10), 0.1);
        assert!(start.elapsed() - without >= Duration::from_millis(90) && without < LONGEST_REST);
        assert!(share_beside(1) <= share_beside(4) && share_beside(4) < share_beside(16));
    }
}
