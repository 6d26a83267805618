//! The take log: everything that decides a video, written as it happens, so that nobody has to press record.
//!
//! `record` is the file's format, `writer` and `reader` its two ends, `player` shows its chunks again, `folder` keeps the takes of one
//! place. Invariant: a record is whole or is not read; a log that ends anywhere opens with all its whole chunks; what is replayed from it
//! are the frames that were shown. Guarded by the tests below and `tests/tests/take.rs`.

mod folder;
mod player;
mod reader;
mod record;
mod writer;

pub use folder::{TakeInfo, Takes};
pub use player::TakePlayer;
pub use reader::{StoredChunk, TakeReader};
pub use record::{Header, ModelId, Parent};
pub use writer::{Notice, TakeWriter};

/// Payload that one log holds at most unless somebody says otherwise, bytes.
pub const CAP_BYTES: u64 = 1 << 30;
