//! When the next chunk is cut off the motion. In real time as late as the display allows, so that the hand is as fresh as possible.
//!
//! Invariant: pacing decides *when* a chunk is made, never what is in it. Guarded by the tests below.

use std::time::{Duration, Instant};

use super::Clock;

/// Frames per second of the models.
const FPS: f64 = 16.0;
/// How much earlier than needed the chunks after the first are cut: room for one that takes longer.
const LEAD: Duration = Duration::from_millis(60);

/// The times of cuts.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub clock: Clock,
    /// When the next chunk is due; None: at once, and the count starts there.
    due: Option<Instant>,
}

impl Pace {
    /// The next chunk is the first after a rest.
    pub fn restart(&mut self) {
        self.due = None;
    }

    /// How long to wait from `now` on until the next cut.
    pub fn wait(&self, now: Instant) -> Duration {
        match (self.clock, self.due) {
            (Clock::RealTime, Some(due)) => due.saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    /// A chunk of `frames` was cut at `now`. Where chunks take longer than they last, the clock waits for them.
    pub fn cut(&mut self, now: Instant, frames: usize) {
        let period = Duration::from_secs_f64(frames as f64 / FPS);
        self.due = Some(match self.due {
            Some(due) => (due + period).max(now),
            None => now + period.saturating_sub(LEAD),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_due_when_the_display_needs_them_and_a_slow_one_moves_the_clock() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut pace = Pace::default();
        assert_eq!(pace.wait(start), ms(0));
        pace.cut(start, 4);
        assert_eq!(pace.wait(start + ms(100)), ms(90));
        pace.cut(start + ms(195), 4);
        assert_eq!(pace.wait(start + ms(195)), ms(245));
        pace.cut(start + ms(900), 4);
        assert_eq!(pace.wait(start + ms(901)), ms(0));
        pace.cut(start + ms(905), 4);
        assert_eq!(pace.wait(start + ms(905)), ms(245));
        pace.clock = Clock::EveryFrame;
        assert_eq!(pace.wait(start + ms(906)), ms(0));
        pace.clock = Clock::RealTime;
        pace.restart();
        assert_eq!(pace.wait(start + ms(907)), ms(0));
    }
}
