//! The studio: paint motion on a picture while it plays.
//!
//! Data flows one way. Panels read the studio's parts and return [`Action`]s; [`Studio::apply`] alone changes the document and talks to
//! the live worker. Invariant: no panel blocks: files, cutting and video are made on other threads. Guarded by `tests/tests/studio.rs`.

pub mod action;
mod apply;
pub mod canvas;
pub mod document;
pub mod export;
pub mod gpu;
mod layout;
pub mod model;
pub mod player;
pub mod start;
pub mod status;
pub mod takes;
pub mod timeline;
mod uploads;
mod view;

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui;
use kinebrush_engine::stream::live::Command;

use crate::arguments::ModelChoice;
use action::{Action, Page};

/// How the studio is started.
#[derive(Clone)]
pub struct Options {
    /// A picture or a project to open.
    pub file: Option<PathBuf>,
    /// What makes the video.
    pub model: ModelChoice,
    /// Threads to compute with; all if not given.
    pub threads: Option<usize>,
}

/// The window's state.
pub struct Studio {
    settings: Settings,
    document: Option<Document>,
    opening: Option<Loading>,
    model: Model,
    player: Player,
    uploads: Uploads,
    canvas: Canvas,
    timeline: Timeline,
    autosave: Autosave,
    toasts: Toasts,
    gallery: Gallery,
    export: ExportDialog,
    exports: Exports,
    page: Page,
    last_view: Option<View>,
}
