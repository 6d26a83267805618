//! The engine's error: one clear line that names the file or field and says what to do.
//!
//! Invariant: every message is a full sentence a user can act on; sources are folded into it, so it is shown once.
//! Guarded by `tests/tests/bad_input.rs`.

use std::path::{Path, PathBuf};

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, written or understood.
    #[error("{}: {what}", path.display())]
    File {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// A value in a project or a setting is not usable.
    #[error("{field}: {what}")]
    Field {
        /// Where the value stands, for example `strokes[2].path`.
        field: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// A tensor operation failed: a programming error or an exhausted device.
    #[error("model: {0}")]
    Model(#[from] candle_core::Error),
}

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error about the file at `path`.
    pub fn file(path: impl AsRef<Path>, what: impl std::fmt::Display) -> Self {
        Self::File { path: path.as_ref().to_owned(), what: what.to_string() }
    }

    /// An error about a value that stands at `field`.
    pub fn field(field: impl Into<String>, what: impl std::fmt::Display) -> Self {
        Self::Field { field: field.into(), what: what.to_string() }
    }
}
