//! Work that must not be done on the thread that draws: files, the clipboard, dialogs.
//!
//! Invariant: a job always answers, also when its thread panicked or could not be started, and wakes the window when it has. Guarded
//! by the tests below.

use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use kinebrush_engine::{Error, Result};

/// Makes the window draw once more; callable from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// One piece of work on a thread of its own.
pub struct Job<T> {
    name: &'static str,
    answer: Receiver<Result<T>>,
}

/// Wakes the window however the thread ends.
struct WakeAtEnd(Wake);

impl Drop for WakeAtEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl<T: Send + 'static> Job<T> {
    /// Starts `work` on a thread called `name`.
    pub fn start(name: &'static str, wake: Wake, work: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        let (sender, answer) = bounded(1);
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn({
            let wake = wake.clone();
            move || {
                let _wake = WakeAtEnd(wake);
                // Dropped before the wake, also by a panic: whoever is woken finds the answer or its absence.
                let sender = sender;
                // Nobody waits any more when the receiver is gone; that is no fault.
                let _ = sender.send(work());
            }
        });
        if spawned.is_err() {
            wake();
        }
        Self { name, answer }
    }

    /// The answer, once; None while the work goes on.
    ///
    /// # Errors
    /// What the work failed with, or one line when its thread broke down.
    pub fn poll(&self) -> Option<Result<T>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(self.broken())),
        }
    }

    /// The answer, waited for: for tests and for the end of the program.
    ///
    /// # Errors
    /// As [`Job::poll`].
    pub fn wait(self) -> Result<T> {
        self.answer.recv().unwrap_or_else(|_| Err(self.broken()))
    }

    fn broken(&self) -> Error {
        Error::field(self.name, "broke down; try again, and report this if it happens twice")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_job_answers_fails_and_breaks_down_in_one_line() {
        let (woken, wakes) = bounded(8);
        let wake: Wake = Arc::new(move || woken.send(()).unwrap());
        assert_eq!(Job::start("sum", wake.clone(), || Ok(2 + 2)).wait().unwrap(), 4);
        wakes.recv().unwrap();
        let failed = Job::<()>::start("fails", wake.clone(), || Err(Error::file("a.png", "is gone"))).wait();
        assert_eq!(failed.unwrap_err().to_string(), "a.png: is gone");
        wakes.recv().unwrap();
        let broken = Job::<()>::start("a broken job", wake, || std::panic::resume_unwind(Box::new(())));
        wakes.recv().unwrap();
        assert!(broken.poll().expect("woken, so it is over").unwrap_err().to_string().starts_with("a broken job: broke down"));
    }

    #[test]
    fn polling_does_not_wait() {
        let (go, gate) = bounded::<()>(1);
        let job = Job::start("slow", Arc::new(|| {}), move || Ok(gate.recv().is_ok()));
        assert!(job.poll().is_none());
        go.send(()).unwrap();
        assert!(job.wait().unwrap());
    }
}
