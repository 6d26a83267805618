//! Threads that give way to others of this program: the network's to the window's, those that fill texture and export to the network's.
//!
//! Invariant: where the system allows no change a thread runs like any other; nothing depends on it but smoothness.

use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};

/// How much a thread gives way; each level to those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Makes video: gives way to the window.
    Making,
    /// Makes what is shown better, and may be late.
    Bettering,
    /// Whenever nobody else wants the processor.
    Idle,
}

/// Sets the priority of the running thread.
pub fn set_priority(priority: Priority) {
    let share = match priority {
        Priority::Making => 30,
        Priority::Bettering => 20,
        Priority::Idle => 0,
    };
    if let Ok(value) = ThreadPriorityValue::try_from(share) {
        drop(set_current_thread_priority(ThreadPriority::Crossplatform(value)));
    }
}
