//! The take log: everything that decides a video, written as it happens, so that nobody has to press record.
//!
//! Invariant: a record is whole or is not read; a log that ends anywhere opens with all its whole chunks; what is replayed from it are the
//! frames that were shown. Guarded by `tests/tests/take.rs`.
