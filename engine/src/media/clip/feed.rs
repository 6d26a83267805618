//! Frames made on a thread of their own, a few ahead at most.
//!
//! Invariant: the thread ends soon after its feed is dropped; it holds back when nobody takes. Guarded by the tests below.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::Result;

/// Frames that wait to be taken.
const AHEAD: usize = 2;

/// The end at which frames are taken.
pub struct Feed<T> {
    items: Receiver<Result<T>>,
}

/// Nothing came in time.
#[derive(Debug)]
pub struct TimedOut;

impl<T: Send + 'static> Feed<T> {
    /// Starts a thread that runs `make`, which hands its frames to what it is given and stops when that says false.
    pub fn start(name: &str, make: impl FnOnce(&mut dyn FnMut(T) -> bool) -> Result<()> + Send + 'static) -> std::io::Result<Self> {
        let (sender, items) = bounded(AHEAD);
        let work = move || {
            // Whoever no longer listens needs no answer.
            if let Err(error) = make(&mut |item| sender.send(Ok(item)).is_ok()) {
                let _ = sender.send(Err(error));
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { items })
    }

    /// The next frame, or `None` at the end.
    pub fn next(&self, patience: Duration) -> Result<Option<Result<T>>, TimedOut> {
        match self.items.recv_timeout(patience) {
            Ok(item) => Ok(Some(item)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(TimedOut),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::Error;

    #[test]
    fn items_then_the_error_then_the_end_and_a_dropped_feed_ends_its_thread() {
        let feed = Feed::start("feed-test", |push| {
            push(1);
            push(2);
            Err(Error::field("x", "broke"))
        })
        .unwrap();
        let next = || feed.next(Duration::from_secs(10)).unwrap();
        assert_eq!((next().unwrap().unwrap(), next().unwrap().unwrap()), (1, 2));
        assert!(next().unwrap().is_err());
        assert!(next().is_none());

        let (ended, end) = bounded(1);
        let endless = Feed::start("feed-test", move |push| {
            while push(0) {}
            ended.send(()).map_err(|_| Error::field("x", "gone"))
        });
        drop(endless.unwrap());
        end.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
