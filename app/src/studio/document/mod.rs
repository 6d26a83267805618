//! The document: a picture, the motion painted on it, and every step that led there.
//!
//! Invariant: every change can be undone, and none is lost: the newest state is on disk within a second. Guarded by the tests below and
//! `tests/tests/kill.rs`.

use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::region::Region;

/// Everything that undo brings back.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Picture and motion.
    pub project: Project,
    /// What was marked on the picture and has no motion yet.
    pub region: Option<Region>,
}

/// What the next command is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Nothing.
    #[default]
    None,
    /// A stroke, by index.
    Stroke(usize),
    /// A pin, by index.
    Pin(usize),
}
