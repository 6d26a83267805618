//! Smart selection beside the window: a thread that turns scribbles into a region.
//!
//! Invariants: the window never waits for it; of requests the newest counts; answers come in the order of their numbers. Guarded by
//! the canvas's test `a_scribble_becomes_the_object`.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use eframe::egui;
use kinebrush_engine::motion::geodesic::{Scribble, Selector};
use kinebrush_engine::motion::outline::region_of;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::picture::Picture;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The picture.
    pub picture: Arc<Picture>,
    /// Scribbles on what is meant.
    pub inside: Vec<Scribble>,
    /// Scribbles on what is not.
    pub outside: Vec<Scribble>,
    /// Fade of the outline, px.
    pub softness_px: f32,
}

/// The thread, started when it is first asked.
#[derive(Debug, Default)]
pub struct Smart {
    channels: Option<(Sender<(u64, Request)>, Receiver<(u64, Option<Region>)>)>,
    /// What could not be sent yet.
    waiting: Option<(u64, Request)>,
    asked: u64,
}

impl Smart {
    /// Asks; the number of the answer, 0 if there will be none because no thread could be started.
    pub fn ask(&mut self, request: Request, context: &egui::Context) -> u64 {
        if self.channels.is_none() {
            self.channels = start(context.clone());
        }
        if self.channels.is_none() {
            return 0;
        }
        self.asked += 1;
        self.waiting = Some((self.asked, request));
        self.send();
        self.asked
    }

    /// Whether answers may still come.
    pub fn works(&self) -> bool {
        self.channels.is_some()
    }

    /// The newest answer since the last call, with its number.
    pub fn answer(&mut self) -> Option<(u64, Option<Region>)> {
        self.send();
        let (_, answers) = self.channels.as_ref()?;
        let mut newest = None;
        let gone = loop {
            match answers.try_recv() {
                Ok(answer) => newest = Some(answer),
                Err(nothing) => break nothing == TryRecvError::Disconnected,
            }
        };
        if gone {
            self.channels = None;
        }
        if newest.is_some() {
            self.send();
        }
        newest
    }

    fn send(&mut self) {
        let (Some((requests, _)), Some(waiting)) = (&self.channels, self.waiting.take()) else { return };
        match requests.try_send(waiting) {
            Ok(()) => {}
            Err(TrySendError::Full(waiting)) => self.waiting = Some(waiting),
            // The thread is gone: the next request starts another.
            Err(TrySendError::Disconnected(_)) => self.channels = None,
        }
    }
}

fn start(context: egui::Context) -> Option<(Sender<(u64, Request)>, Receiver<(u64, Option<Region>)>)> {
    let (requests, work) = bounded::<(u64, Request)>(1);
    let (done, answers) = bounded(4);
    let run = move || {
        let mut ready: Option<(Arc<Picture>, Selector)> = None;
        for (number, request) in work {
            let selector = match ready.take() {
                Some((picture, selector)) if Arc::ptr_eq(&picture, &request.picture) => selector,
                _ => Selector::new(&request.picture),
            };
            let region = region_of(&selector.select(&request.inside, &request.outside), selector.scale(), request.softness_px);
            ready = Some((request.picture, selector));
            if done.send((number, region)).is_err() {
                break;
            }
            context.request_repaint();
        }
    };
    std::thread::Builder::new().name("smart selection".to_owned()).spawn(run).ok().map(|_| (requests, answers))
}
