//! The worker's queue: sending never waits, and nothing but movements of a hand is ever dropped.
//!
//! Invariant: the queue is bounded by what people can do between two chunks: of motions and of clocks only the newest stays, `Open`
//! replaces what came before it, and a hand's movements beyond [`MOST`] replace each other. Guarded by the tests below.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Command, Hand};

/// Commands that may wait before movements of a hand replace each other.
const MOST: usize = 1024;

#[derive(Debug)]
pub(super) struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    ring: Sender<()>,
    bell: Receiver<()>,
    closed: AtomicBool,
}

impl Default for Mailbox {
    fn default() -> Self {
        let (ring, bell) = bounded(1);
        Self { commands: Mutex::default(), ring, bell, closed: AtomicBool::new(false) }
    }
}

impl Mailbox {
    /// Puts a command behind the others.
    pub fn send(&self, mut command: Command) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut command {
            Command::Open { .. } => commands.retain(|command| matches!(command, Command::SetClock(_))),
            Command::SetMotion { absorbed, .. } => commands.retain(|command| match command {
                Command::SetMotion { absorbed: earlier, .. } => {
                    *absorbed = (*absorbed).max(*earlier);
                    false
                }
                _ => true,
            }),
            Command::SetClock(_) => commands.retain(|command| !matches!(command, Command::SetClock(_))),
            Command::Hand(Hand::Move { drag, .. }) if commands.len() >= MOST => {
                let own = |command: &&mut Command| matches!(command, Command::Hand(Hand::Move { drag: other, .. }) if other == drag);
                if let Some(last) = commands.iter_mut().rev().find(own) {
                    *last = command;
                }
                return;
            }
            _ => {}
        }
        commands.push_back(command);
        drop(commands);
        // A bell that rings already need not ring twice.
        let _ = self.ring.try_send(());
    }

    /// All that waits, oldest first.
    pub fn take(&self) -> VecDeque<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rings when something came.
    pub fn bell(&self) -> &Receiver<()> {
        &self.bell
    }

    /// Asks the worker to end.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _ = self.ring.try_send(());
    }

    /// Whether the worker shall end.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::motion::project::Project;
    use crate::stream::live::Clock;
    use glam::Vec2;
    use std::sync::Arc;
    use std::time::Instant;

    fn motion(revision: u64, absorbed: u64) -> Command {
        Command::SetMotion { project: Arc::new(Project::new("", "p.png", 1)), revision, absorbed }
    }

    fn moved(drag: u64, x: f32) -> Command {
        Command::Hand(Hand::Move { drag, place: Vec2::new(x, 0.0), time: Instant::now() })
    }

    #[test]
    fn the_newest_motion_wins_and_the_rest_stays_in_order() {
        let mailbox = Mailbox::default();
        for command in [motion(1, 7), Command::Run { until: None }, motion(2, 3), Command::SetClock(Clock::EveryFrame), Command::Pause] {
            mailbox.send(command);
        }
        let all: Vec<Command> = mailbox.take().into();
        assert!(matches!(
            all[..],
            [Command::Run { .. }, Command::SetMotion { revision: 2, absorbed: 7, .. }, Command::SetClock(_), Command::Pause]
        ));
        assert!(mailbox.take().is_empty() && mailbox.bell().try_recv().is_ok() && mailbox.bell().try_recv().is_err());
    }

    #[test]
    fn a_flood_of_movements_is_bounded_and_ends_where_the_hand_is() {
        let mailbox = Mailbox::default();
        (0..5000).for_each(|i| mailbox.send(moved(1 + i % 2, i as f32)));
        let all = mailbox.take();
        assert_eq!(all.len(), MOST);
        let last = |wanted: u64| {
            all.iter().rev().find_map(|command| match command {
                Command::Hand(Hand::Move { drag, place, .. }) if *drag == wanted => Some(place.x),
                _ => None,
            })
        };
        assert_eq!((last(1), last(2)), (Some(4998.0), Some(4999.0)));
        (0..5000).for_each(|_| mailbox.send(Command::Pause));
        assert_eq!(mailbox.take().len(), 5000, "nothing but movements is dropped");
    }
}
