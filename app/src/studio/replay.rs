//! Frames that are not held any more, from the take's log.
//!
//! Invariant: what comes back is what was shown; only the newest wish counts. Guarded by `tests/tests/studio.rs`.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::stream::take::TakePlayer;

use super::document::job::Wake;
use super::gpu::Prepared;
use super::*;

/// Longer side of frames that come back, px.
const SIDE_PX: usize = 960;
/// Pictures of logs have cut numbers from here on, apart from those of scenes.
const FIRST_CUT: u64 = 1 << 48;

/// Whether a cut is a picture of a log.
pub(super) fn is_logged(cut: u64) -> bool {
    cut >= FIRST_CUT
}

/// A frame that is wanted: the log and the frame's index.
type Wish = (PathBuf, usize, Arc<Picture>);

/// A frame that came back.
pub(super) struct Replayed {
    pub path: PathBuf,
    pub cut: u64,
    pub prepared: Arc<Prepared>,
}

/// The thread that shows logs again.
pub(super) struct Replay {
    wishes: Sender<Wish>,
    answers: Receiver<Result<Replayed, String>>,
    asked: Option<(PathBuf, usize)>,
    shown: Option<Replayed>,
}

impl Replay {
    /// Starts the thread.
    pub fn new(checkpoint: Arc<Checkpoint>, wake: Wake) -> Self {
        let (wishes, asked) = bounded::<Wish>(64);
        let (say, answers) = bounded(8);
        let work = move || {
            set_priority(Priority::Making);
            let mut open: Option<(PathBuf, TakePlayer)> = None;
            let mut cut = FIRST_CUT;
            while let Ok(mut wish) = asked.recv() {
                // Of a hand that scrubs only the newest place counts.
                while let Ok(newer) = asked.try_recv() {
                    wish = newer;
                }
                cut += 1;
                let answer = replay(&mut open, &checkpoint, &wish, cut).map_err(|error| {
                    open = None;
                    error.to_string()
                });
                if say.send(answer).is_err() {
                    return;
                }
                wake();
            }
        };
        // Without the thread nothing comes back, and the guide is shown.
        let _ = std::thread::Builder::new().name("kinebrush-replay".into()).spawn(work);
        Self { wishes, answers, asked: None, shown: None }
    }

    /// The frame, if it is here; it is asked for if not.
    pub fn frame(&mut self, path: &Path, frame: usize, picture: &Arc<Picture>) -> Option<&Replayed> {
        let wanted = (path.to_owned(), frame);
        if self.asked.as_ref() != Some(&wanted) && self.wishes.try_send((wanted.0.clone(), frame, picture.clone())).is_ok() {
            self.asked = Some(wanted);
        }
        // What came last stays until the next one is here: scrubbing shows no gaps.
        self.shown.as_ref().filter(|shown| shown.path == path)
    }

    /// Takes in what came back; an error is told once.
    pub fn poll(&mut self) -> Option<String> {
        let mut told = None;
        for answer in self.answers.try_iter() {
            match answer {
                Ok(replayed) => self.shown = Some(replayed),
                Err(error) => told = Some(error),
            }
        }
        told
    }
}

fn replay<'a>(
    open: &mut Option<(PathBuf, TakePlayer<'a>)>,
    checkpoint: &'a Checkpoint,
    (path, frame, picture): &Wish,
    cut: u64,
) -> kinebrush_engine::Result<Replayed> {
    let chunk_frames = checkpoint.dit.config.chunk_frames();
    let chunk = (frame / chunk_frames) as u64;
    // A log that has grown since it was opened is opened again.
    let player = match open.take().filter(|(of, player)| of == path && player.reader().chunks() > chunk) {
        Some((_, player)) => player,
        None => {
            let scale = (SIDE_PX as f32 / picture.width.max(picture.height) as f32).min(1.0);
            let side = |length: usize| ((length as f32 * scale / 2.0).round() as usize).max(8) * 2;
            let size = Some((side(picture.width), side(picture.height)));
            TakePlayer::open(path, checkpoint, &candle_core::Device::Cpu, size, Some(picture.clone()))?
        }
    };
    let (_, player) = open.insert((path.clone(), player));
    let frames = player.chunk(chunk)?;
    let shown = &frames[frame % chunk_frames];
    Ok(Replayed { path: path.clone(), cut, prepared: Arc::new(Prepared::from_picture(shown)) })
}
