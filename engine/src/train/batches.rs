//! Batches of examples, made on threads of their own while the network learns from the one before.
//!
//! Invariant: they come in the order of their numbers, whichever thread is done first, and memory is flat: a bounded queue. Guarded by the
//! tests of `trainer` and `recipe`.

use super::example::Example;
use super::film::Film;
use super::replay::{Replay, Source};
use crate::error::{Error, Result};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

/// Batches on their way.
pub(super) struct Batches {
    receiver: Receiver<(u64, Vec<Example>)>,
    early: BTreeMap<u64, Vec<Example>>,
    next: u64,
}

impl Batches {
    /// Starts as many threads; they end with this. `show` makes an example of a film.
    pub fn start(
        source: Source,
        first: u64,
        workers: usize,
        show: impl Fn(&Film, &mut ChaCha8Rng) -> Example + Send + Sync + 'static,
    ) -> Result<Self> {
        // As many as there are workers: with what each has in hand, that bounds the memory.
        let (sender, receiver) = sync_channel(workers.max(1));
        let shared = Arc::new((source, Replay::default(), AtomicU64::new(first), show));
        for worker in 0..workers.max(1) {
            let (sender, shared) = (sender.clone(), shared.clone());
            let body = move || {
                let (source, replay, next, show) = &*shared;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if sender.send((number, replay.batch(source, number, show))).is_err() {
                        return;
                    }
                }
            };
            std::thread::Builder::new().name(format!("examples-{worker}")).spawn(body).map_err(|e| Error::field("workers", e))?;
        }
        Ok(Self { receiver, early: BTreeMap::new(), next: first })
    }

    /// Waits for the next one.
    pub fn next(&mut self) -> Result<Vec<Example>> {
        loop {
            if let Some(batch) = self.early.remove(&self.next) {
                self.next += 1;
                return Ok(batch);
            }
            let (index, batch) = self.receiver.recv().map_err(|_| Error::field("workers", "stopped; their message stands above"))?;
            self.early.insert(index, batch);
        }
    }
}
