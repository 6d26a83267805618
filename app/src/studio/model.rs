//! The model and its worker, started beside the window: opening a checkpoint takes longer than a window may.
//!
//! Invariant: the window never waits for a model. Guarded by `tests/tests/studio.rs`.

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::stream::live::worker::{LiveOptions, Worker};
use kinebrush_engine::stream::live::{Command, Event};
use kinebrush_engine::stream::take::Takes;
use kinebrush_engine::{Error, Result};

use super::document::job::{Job, Wake};
use crate::arguments::ModelChoice;
use crate::models;

/// A model on its way or at work.
pub enum Model {
    /// Being read.
    Loading(Job<Ready>),
    /// At work.
    Ready(Ready),
    /// Cannot be used.
    Failed,
}

/// A model at work.
pub struct Ready {
    /// Its weights, shared with exports.
    pub checkpoint: Arc<Checkpoint>,
    worker: Worker,
    /// What the logs of takes have to say.
    notices: Receiver<String>,
}

impl Model {
    /// Starts to read the model; takes are kept in the folder `takes`, which older ones leave when all need more than `most_bytes`.
    pub fn load(choice: ModelChoice, takes: Takes, most_bytes: u64, wake: Wake) -> Self {
        Self::Loading(Job::start("kinebrush-load", wake.clone(), move || start(&choice, &takes, most_bytes, wake)))
    }

    /// Looks whether it is ready: true when it just became so.
    ///
    /// # Errors
    /// Why it cannot be used, once.
    pub fn poll(&mut self) -> Result<bool> {
        let Self::Loading(job) = self else { return Ok(false) };
        match job.poll() {
            None => Ok(false),
            Some(Ok(ready)) => {
                *self = Self::Ready(ready);
                Ok(true)
            }
            Some(Err(error)) => {
                *self = Self::Failed;
                Err(error)
            }
        }
    }

    /// Tells the worker, if there is one.
    pub fn send(&self, command: Command) {
        if let Self::Ready(ready) = self {
            ready.worker.send(command);
        }
    }

    /// The next thing the worker said.
    pub fn event(&self) -> Option<Event> {
        let ready = self.ready()?;
        ready.worker.events().try_recv().ok().or_else(|| ready.notices.try_recv().ok().map(Event::Warning))
    }

    /// The model, once it is ready.
    pub fn ready(&self) -> Option<&Ready> {
        if let Self::Ready(ready) = self { Some(ready) } else { None }
    }
}

fn start(choice: &ModelChoice, takes: &Takes, most_bytes: u64, wake: Wake) -> Result<Ready> {
    let (checkpoint, device) = models::open(&choice.model, &choice.place).map_err(|e| Error::field("model", format!("{e:#}")))?;
    let checkpoint = Arc::new(checkpoint.ok_or_else(|| Error::field("model", "`none` makes no video; choose `sketch` or a model folder"))?);
    let (say, notices) = bounded(8);
    // A budget that cannot be kept is no reason to make no video.
    if let Err(error) = takes.prune(most_bytes) {
        let _ = say.try_send(error.to_string());
    }
    let told = wake.clone();
    let notice = move |text| {
        // What does not fit was said often enough.
        let _ = say.try_send(text);
        told();
    };
    let open_log = takes.open_log(&checkpoint, most_bytes / 2, Arc::new(notice));
    let options = LiveOptions { device, open_log: Some(open_log), ..LiveOptions::new(checkpoint.clone()) };
    Ok(Ready { checkpoint, notices, worker: Worker::spawn(options, move || wake()) })
}
