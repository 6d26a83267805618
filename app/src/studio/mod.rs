//! The studio: paint motion on a picture while it plays.
//!
//! Data flows one way. Panels read the studio's parts and return [`Action`]s; [`Studio::act`] alone changes the document and talks to
//! the live worker. Invariant: no panel blocks: files, cutting and video are made on other threads. Guarded by `tests/tests/studio.rs`.

pub mod action;
mod apply;
pub mod canvas;
pub mod dialogs;
pub mod document;
pub mod export;
mod exports;
pub mod gallery;
pub mod gpu;
mod layout;
pub mod measure;
mod model;
mod paste;
pub mod player;
pub mod settings;
pub mod shortcuts;
pub mod start;
pub mod status;
pub mod strings;
pub mod takes;
pub mod theme;
pub mod timeline;
pub mod toast;
mod uploads;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::stream::live::{Command, State};

use crate::arguments::ModelChoice;
use action::{Action, Page};
use canvas::Canvas;
use document::{Autosave, AutosaveEvent, Document, Loading, Opened, SaveState, Selection, Wake, Work};
use model::Model;
use player::{Notice, Player};
use settings::{Folders, Settings};
use strings::Strings;
use timeline::Timeline;
use toast::Toasts;
use uploads::Uploads;
use view::View;

/// How the studio is started.
#[derive(Clone, Default)]
pub struct Options {
    /// A picture or a project to open.
    pub file: Option<PathBuf>,
    /// What makes the video.
    pub model: ModelChoice,
    /// Threads to compute with; what the settings say if not given.
    pub threads: Option<usize>,
    /// Where files are kept; where the system wants them if not given.
    pub folders: Option<Folders>,
}

/// The window's state.
pub struct Studio {
    folders: Folders,
    settings: Settings,
    wake: Wake,
    document: Option<Document>,
    model: Model,
    player: Player,
    uploads: Uploads,
    canvas: Canvas,
    timeline: Timeline,
    autosave: Option<Autosave>,
    toasts: Toasts,
    page: Page,
    jobs: Jobs,
    last_view: Option<View>,
    /// What was put into the session file last.
    kept: Option<Kept>,
}

/// What was put into the session file: the document's state, and the unfinished gesture over it.
type Kept = (u64, Option<Work>);
