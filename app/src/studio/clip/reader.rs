//! A clip that is decoded on a thread of its own, for the panel to look at.
//!
//! Invariant: the newest frame that was asked for wins; thumbnails are made while nothing is asked; the window is woken by each
//! answer. The thread ends when its reader is dropped. Guarded by the tests of this folder.

use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use kinebrush_engine::media::clip::{ClipFrame, ClipInfo, FrameSource, open_clip, thumbnail};

use super::super::document::job::Wake;

/// Pictures in the strip below the clip.
pub const THUMBNAILS: usize = 8;
/// Longer side of the clip's picture in the panel, px.
const SIDE: usize = 720;
const THUMBNAIL_SIDE: usize = 96;

/// What the thread has to say.
pub enum News {
    /// The clip is open.
    Opened(ClipInfo),
    /// A frame that was asked for, made smaller.
    Frame(ClipFrame),
    /// One of the strip.
    Thumbnail(usize, ClipFrame),
    /// It could not be opened, or not be decoded any further.
    Failed(String),
}

/// The end in the window.
pub struct Reader {
    orders: Sender<usize>,
    news: Receiver<News>,
    /// A frame that the thread was too busy to hear of.
    waiting: Option<usize>,
}

/// Number of frames, estimated where the clip does not say.
pub fn frames_of(info: &ClipInfo) -> usize {
    let estimated = || (info.seconds.unwrap_or(0.0) * info.fps).round().clamp(1.0, 1e7) as usize;
    info.frames.unwrap_or_else(estimated).max(1)
}

impl Reader {
    /// Opens the clip at `path` and shows its first frame.
    pub fn open(path: PathBuf, wake: Wake) -> Self {
        let (orders, ordered) = bounded(1);
        let (tell, news) = bounded(4);
        let say = move |item: News| {
            let told = tell.send(item).is_ok();
            wake();
            told
        };
        let work = move || match open_clip(&path) {
            Ok(clip) => run(clip, &ordered, &say),
            Err(error) => drop(say(News::Failed(error.to_string()))),
        };
        // Without the thread the clip stays closed, and says nothing.
        let _ = std::thread::Builder::new().name("kinebrush-clip".into()).spawn(work);
        Self { orders, news, waiting: Some(0) }
    }

    /// Asks for a frame.
    pub fn show(&mut self, frame: usize) {
        self.waiting = Some(frame);
        self.ask();
    }

    /// What is new.
    pub fn poll(&mut self) -> Option<News> {
        self.ask();
        self.news.try_recv().ok()
    }

    fn ask(&mut self) {
        if let Some(frame) = self.waiting
            && !matches!(self.orders.try_send(frame), Err(TrySendError::Full(_)))
        {
            self.waiting = None;
        }
    }
}

/// Serves orders until nobody listens.
fn run(mut clip: Box<dyn FrameSource>, orders: &Receiver<usize>, say: &dyn Fn(News) -> bool) {
    let info = clip.info().clone();
    let frames = frames_of(&info);
    let mut next = 0;
    let mut thumbnails = 0..THUMBNAILS;
    if !say(News::Opened(info.clone())) {
        return;
    }
    let mut frame = ClipFrame::default();
    loop {
        let order = match orders.try_recv() {
            Ok(order) => order,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => match thumbnails.next() {
                Some(i) => {
                    let middle = (2 * i + 1) * frames / (2 * THUMBNAILS);
                    // A picture that cannot be decoded is missing in the strip; the frame itself says why when it is asked for.
                    if let Ok(small) = thumbnail(clip.as_mut(), middle as f64 / info.fps, THUMBNAIL_SIDE)
                        && !say(News::Thumbnail(i, small))
                    {
                        return;
                    }
                    next = usize::MAX;
                    continue;
                }
                None => match orders.recv() {
                    Ok(order) => order,
                    Err(_) => return,
                },
            },
        };
        let decoded = if order == next { Ok(()) } else { clip.seek(order as f64 / info.fps) }.and_then(|()| clip.next_frame(&mut frame));
        let told = match decoded {
            Ok(true) => say(News::Frame(frame.shrunk(SIDE))),
            Ok(false) => true,
            Err(error) => say(News::Failed(error.to_string())),
        };
        if !told {
            return;
        }
        next = frame.index + 1;
    }
}
