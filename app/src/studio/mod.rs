//! The studio: paint motion on a picture while it plays.
//!
//! Data flows one way. Panels read [`Studio`]'s parts and return [`Action`]s; [`Studio::apply`] alone changes the document and talks to
//! the live worker. Invariant: no panel blocks: files, cutting and video are made on other threads. Guarded by `tests/tests/studio.rs`.

pub mod action;
pub mod canvas;
pub mod dialogs;
pub mod document;
pub mod gallery;
pub mod gpu;
pub mod paste;
pub mod player;
pub mod settings;
pub mod shortcuts;
pub mod strings;
pub mod theme;
pub mod timeline;
pub mod toast;
