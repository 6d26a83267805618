//! The studio: paint motion on a picture while it plays.
//!
//! Data flows one way. Panels read the studio's parts and return [`Action`]s; [`Studio::act`] alone changes the document and talks to
//! the live worker. Invariant: no panel blocks: files, cutting and video are made on other threads. Guarded by `tests/tests/studio.rs`.

pub mod action;
mod apply;
pub mod camera;
pub mod canvas;
pub mod clip;
pub mod dialogs;
pub mod document;
pub mod export;
mod exports;
mod files;
pub mod gallery;
pub mod gpu;
mod layout;
pub mod measure;
mod model;
mod paste;
pub mod player;
mod replay;
pub mod settings;
mod shelf;
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
use std::time::Instant;

use eframe::egui;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::priority::{Priority, set_priority};
use kinebrush_engine::stream::live::{Command, Event, State};
use kinebrush_engine::stream::take::Takes;

use crate::arguments::ModelChoice;
use action::{Action, Page};
use camera::CameraPanel;
use canvas::Canvas;
use clip::ClipPanel;
use document::autosave::{Autosave, AutosaveEvent, SaveState};
use document::job::Wake;
use document::opening::{Loading, Opened};
use document::{Document, Work};
use exports::Exports;
use files::{Files, Next};
use gallery::Gallery;
use model::Model;
use player::{Notice, Player};
use replay::Replay;
use settings::{Folders, Settings};
use shelf::Shelf;
use status::Memory;
use strings::Strings;
use timeline::Timeline;
use toast::Toasts;
use uploads::Uploads;
use view::View;

/// How the studio is started.
#[derive(Clone)]
pub struct Options {
    /// A picture or a project to open.
    pub file: Option<PathBuf>,
    /// What makes the video.
    pub model: ModelChoice,
    /// Threads to compute with; what the settings say if not given.
    pub threads: Option<usize>,
    /// Where files are kept; where the system wants them if not given.
    pub folders: Option<Folders>,
    /// Whether paths are chosen in the system's file windows, or typed.
    pub file_windows: bool,
}

/// The window's state.
pub struct Studio {
    options: Options,
    folders: Folders,
    settings: Settings,
    wake: Wake,
    document: Option<Document>,
    files: Files,
    gallery: Gallery,
    autosave: Option<Autosave>,
    /// What was put into the session file last: the document's state, and the unfinished gesture over it.
    kept: Option<(u64, Option<Work>)>,
    /// Whether the session file could not be written.
    unsaved_session: bool,
    model: Model,
    player: Player,
    uploads: Uploads,
    canvas: Canvas,
    clip: ClipPanel,
    timeline: Timeline,
    camera: CameraPanel,
    exports: Exports,
    shelf: Shelf,
    toasts: Toasts,
    page: Page,
    takes_shown: bool,
    run_when_ready: bool,
    replay: Option<Replay>,
    /// Frames there were when the worker failed last.
    failed_at: Option<usize>,
    last_view: Option<View>,
    /// How long the hand waited last, seconds, and when that was.
    hand: Option<(f64, Instant)>,
    memory: Memory,
}

impl Studio {
    /// A studio in the window of `cc`.
    pub fn new(cc: &eframe::CreationContext, options: Options) -> Self {
        let folders = options.folders.clone().unwrap_or_else(Folders::find);
        let (settings, broken) = Settings::load(&folders.config);
        theme::apply(&cc.egui_ctx, &settings);
        if let Some(state) = &cc.wgpu_render_state {
            gpu::install(state);
        }
        let ctx = cc.egui_ctx.clone();
        let wake: Wake = Arc::new(move || ctx.request_repaint());
        share_processor(options.threads.or(settings.threads));
        let mut studio = Self {
            gallery: Gallery::new(&folders, &settings.recent, wake.clone()),
            model: Model::load(options.model.clone(), Takes::new(folders.takes()), settings.take_budget_bytes, wake.clone()),
            autosave: Some(Autosave::new(folders.sessions(), wake.clone())),
            uploads: Uploads::new(wake.clone()),
            player: Player::new(settings.clock),
            canvas: Canvas::default(),
            clip: ClipPanel::default(),
            timeline: Timeline::default(),
            camera: CameraPanel::default(),
            exports: Exports::new(wake.clone()),
            shelf: Shelf::default(),
            document: None,
            files: Files::default(),
            kept: None,
            unsaved_session: false,
            toasts: Toasts::default(),
            page: Page::Gallery,
            takes_shown: false,
            run_when_ready: false,
            replay: None,
            failed_at: None,
            last_view: None,
            hand: None,
            memory: Memory::default(),
            options,
            folders,
            settings,
            wake,
        };
        if let Some(broken) = broken {
            studio.toasts.warning(broken);
        }
        if let Some(file) = studio.options.file.clone() {
            studio.act(Action::Open(file));
        }
        studio
    }

    /// What is on the canvas when.
    pub fn player(&self) -> &Player {
        &self.player
    }

    /// What is on the canvas when, to be set up.
    pub fn player_mut(&mut self) -> &mut Player {
        &mut self.player
    }

    /// The document, if one is open.
    pub fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// Whether the picture is cut and the model can make video.
    pub fn is_ready(&self) -> bool {
        self.model.ready().is_some() && self.player.compiled().is_some_and(|compiled| self.uploads.get(compiled.cut).is_some())
    }

    /// Whether the canvas shows a frame that came back from its take's log.
    pub fn shows_log(&self) -> bool {
        self.last_view.as_ref().is_some_and(|view| replay::is_logged(view.cut))
    }

    /// How long the hand waited for frames that show it, seconds, if that is news.
    pub fn take_hand_seconds(&mut self) -> Option<f64> {
        self.hand.take().map(|(seconds, _)| seconds)
    }

    /// The clip panel.
    pub fn clip(&self) -> &ClipPanel {
        &self.clip
    }

    /// Width and height of the picture, px.
    pub fn picture_size(&self) -> Option<(usize, usize)> {
        self.document.as_ref().map(|document| (document.picture().width, document.picture().height))
    }

    fn strings(&self) -> &'static Strings {
        Strings::of(self.settings.language)
    }

    /// Length of the project, frames.
    fn project_end(&self) -> usize {
        self.document.as_ref().map_or(0, |document| document.project().frames)
    }

    /// Ends what runs; the session counts as closed properly.
    fn shut_down(&mut self) {
        self.exports.end();
        self.model = Model::Failed;
        if let Some(autosave) = self.autosave.take() {
            autosave.finish();
        }
    }
}

/// Lets all threads that compute give way to the one that draws.
fn share_processor(threads: Option<usize>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).start_handler(|_| set_priority(Priority::Making));
    // Tests open several studios in one process: the pool is there already then.
    let _ = pool.build_global();
}
