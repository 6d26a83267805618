//! What a take log is told as a take happens. The log itself is `stream::take`'s; here is only the door to it.
//!
//! Invariant: before a chunk is told, the motion that made it was; a log that fails is told no more, and the video goes on. Guarded by
//! `tests/tests/live.rs`.

use std::path::PathBuf;

use super::compile::Filling;
use crate::error::Result;
use crate::motion::project::Project;
use crate::picture::Picture;

/// Keeps what decides a take, and what the network made of it.
pub trait Log: Send {
    /// From `chunk` on the motion is `project`'s.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn motion(&mut self, chunk: u64, project: &Project) -> Result<()>;

    /// `chunk` was made.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn chunk(&mut self, chunk: u64, made: &MadeChunk) -> Result<()>;
}

/// What is needed to show a chunk again.
#[derive(Clone, Copy, Debug)]
pub struct MadeChunk<'a> {
    /// Cells that are shown otherwise than the guide has them.
    pub active: &'a [bool],
    /// The network's output as it came, (cells, output_channels); what is not active in it is never shown.
    pub output: &'a [f32],
    /// How the holes of the guide were filled when the chunk was made.
    pub filling: Filling,
}

/// Opens a log: take, motion, picture, and the take it branches off with its first own frame. Gives the log and its file.
pub type OpenLog = Box<dyn FnMut(u64, &Project, &Picture, Option<(u64, usize)>) -> Result<(Box<dyn Log>, PathBuf)> + Send>;
