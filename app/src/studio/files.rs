//! Opening, saving, pasting and closing: what waits for disks, file windows and answers.
//!
//! Invariant: a document with unsaved changes is left only after a question was answered; nothing here waits on the thread that draws.
//! Guarded by `tests/tests/studio.rs`.

use std::time::{Duration, Instant};

use kinebrush_engine::Result;

use super::dialogs::{Answer, Dialog, Purpose, choose_file};
use super::document::autosave::Recovery;
use super::document::{Saved, job::Job};
use super::gallery::GalleryAction;
use super::*;

/// A file window that answers sooner than a hand can was never there.
const NO_WINDOW: Duration = Duration::from_millis(400);

/// What happens once the document may be left.
#[derive(Clone)]
pub(super) enum Next {
    /// A file is opened.
    Open(PathBuf),
    /// A picture becomes a document.
    Picture(Arc<Picture>),
    /// A session that was cut off is brought back.
    Restore(Arc<Recovery>),
    /// The window closes.
    Close,
}

/// Files on their way, and the question that is open.
#[derive(Default)]
pub(super) struct Files {
    opening: Option<Loading>,
    saving: Option<Job<Saved>>,
    choosing: Option<(Purpose, Instant, Job<Option<PathBuf>>)>,
    pub clipboard: Option<Job<Picture>>,
    settings: Option<Job<()>>,
    looking: Option<Job<()>>,
    dialog: Option<Dialog>,
    /// What waits for an answer or for the document to be saved.
    next: Option<Next>,
    /// Whether the session that is being restored is to be thrown away once it is open.
    restored: Option<Arc<Recovery>>,
    may_close: bool,
    had_focus: bool,
}

impl Files {
    /// Whether a question is open.
    pub fn asks(&self) -> bool {
        self.dialog.is_some()
    }
}

impl Studio {
    /// Leaves the document for something else, asking first if something would be lost.
    pub(super) fn leave(&mut self, next: Next) {
        let closes = matches!(next, Next::Close);
        self.files.next = Some(next);
        self.files.dialog = match &self.document {
            _ if closes && self.exports.is_running() => Some(Dialog::ExportRunning),
            Some(document) if document.is_dirty() => Some(Dialog::SaveChanges { title: document.title() }),
            _ => None,
        };
        if self.files.dialog.is_none() {
            self.go_on();
        }
    }

    /// Does what waited.
    fn go_on(&mut self) {
        let wake = self.wake.clone();
        let loading = match self.files.next.take() {
            None => return,
            Some(Next::Close) => {
                self.files.may_close = true;
                return;
            }
            Some(Next::Open(path)) => Loading::open(path, self.folders.templates(), wake),
            Some(Next::Picture(picture)) => Loading::pasted(picture.as_ref().clone(), self.folders.data.join("pasted"), wake),
            Some(Next::Restore(recovery)) => {
                self.files.restored = Some(recovery.clone());
                Loading::restored(recovery, wake)
            }
        };
        self.files.opening = Some(loading);
    }

    /// Asks for a path.
    pub(super) fn ask(&mut self, purpose: Purpose) {
        if self.options.file_windows {
            let job = choose_file(purpose.clone(), self.strings(), self.wake.clone());
            self.files.choosing = Some((purpose, Instant::now(), job));
        } else {
            self.files.dialog = Some(Dialog::path(purpose));
        }
    }

    /// Where the document would be saved.
    pub(super) fn suggested_path(&self) -> PathBuf {
        let Some(document) = &self.document else { return PathBuf::new() };
        let folder = match document.path() {
            Some(path) => return path.to_owned(),
            None => document.project().image_path().parent().map(Path::to_owned).unwrap_or_default(),
        };
        // What lies in the program's own folders is not where an artist looks.
        let folder = if folder.starts_with(&self.folders.data) { std::env::home_dir().unwrap_or(folder) } else { folder };
        folder.join(format!("{}.ron", document.title()))
    }

    pub(super) fn save(&mut self, path: PathBuf) {
        if let Some(document) = &self.document {
            self.files.saving = Some(document.save_job(path, self.wake.clone()));
        }
    }

    pub(super) fn save_settings(&mut self) {
        self.files.settings = Some(self.settings.save_job(self.folders.config.clone(), self.wake.clone()));
    }

    /// A picture or a project that was dropped onto the window.
    pub(super) fn dropped(&mut self, ctx: &egui::Context) {
        let dropped = ctx.input(|input| input.raw.dropped_files.first().map(|file| file.path().to_owned()));
        if let Some(path) = dropped {
            self.act(if clip::is_clip(&path) { Action::OpenClip(path) } else { Action::Open(path) });
        }
        // Back from another program, which may have moved the picture.
        let focused = ctx.input(|input| input.focused);
        if focused
            && !std::mem::replace(&mut self.files.had_focus, focused)
            && let Some(document) = &self.document
        {
            self.files.looking = Some(document.check_picture(self.wake.clone()));
        }
        self.files.had_focus = focused;
    }

    /// Takes in what came from disks and file windows.
    pub(super) fn poll_files(&mut self) {
        let strings = self.strings();
        match taken(&mut self.files.opening) {
            None => {}
            Some(Ok(Opened::Document(document))) => {
                self.set_document(*document);
                if let Some(recovery) = self.files.restored.take() {
                    self.gallery.forget(&recovery);
                    if let Some(autosave) = &self.autosave {
                        autosave.adopt(recovery);
                    }
                }
            }
            Some(Ok(Opened::TooLarge { path, pixels, suggested })) => {
                self.files.dialog = Some(Dialog::TooLarge { path, pixels, suggested })
            }
            Some(Err(error)) => {
                self.files.restored = None;
                // What is still open is kept again, also after "Don't save".
                self.kept = None;
                self.toasts.error(error.to_string());
            }
        }
        match taken(&mut self.files.saving) {
            None => {}
            Some(Ok(saved)) => {
                if let Some(missing) = &saved.missing_picture {
                    self.toasts.warning((strings.messages.picture_missing)(&missing.display().to_string()));
                }
                if let Some(document) = &mut self.document {
                    document.finish_save(saved);
                    if let Some(path) = document.path() {
                        self.toasts.info((strings.messages.saved)(&path.display().to_string()));
                        self.settings.remember(path);
                    }
                }
                self.save_settings();
                self.go_on();
            }
            Some(Err(error)) => {
                self.files.next = None;
                self.toasts.error(error.to_string());
            }
        }
        if let Some((_, _, job)) = &self.files.choosing
            && let Some(answer) = job.poll()
            && let Some((purpose, asked, _)) = self.files.choosing.take()
        {
            match answer {
                Ok(Some(path)) => self.answer(Answer::Path(purpose, path)),
                Ok(None) if asked.elapsed() < NO_WINDOW => self.files.dialog = Some(Dialog::path(purpose)),
                Ok(None) => self.files.next = None,
                Err(error) => self.toasts.error(error.to_string()),
            }
        }
        match taken(&mut self.files.clipboard) {
            None => {}
            Some(Ok(picture)) => self.leave(Next::Picture(Arc::new(picture))),
            Some(Err(error)) => self.toasts.warning(error.to_string()),
        }
        for job in [&mut self.files.settings, &mut self.files.looking] {
            if let Some(Err(error)) = taken(job) {
                self.toasts.warning(error.to_string());
            }
        }
        while let Some(event) = self.autosave.as_ref().and_then(Autosave::poll) {
            self.unsaved_session = matches!(event, AutosaveEvent::Warning(_));
            if let AutosaveEvent::Warning(text) = event {
                self.toasts.warning(text);
            }
        }
        if let Some(error) = self.gallery.poll() {
            self.toasts.warning(error);
        }
    }

    /// The question that is open.
    pub(super) fn dialogs_ui(&mut self, ctx: &egui::Context) {
        let strings = self.strings();
        if let Some(answer) = self.files.dialog.as_mut().and_then(|dialog| dialog.dialog_ui(ctx, strings)) {
            self.files.dialog = None;
            self.answer(answer);
        }
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Save => self.act(Action::Save),
            Answer::Discard => {
                if let Some(autosave) = &self.autosave {
                    autosave.clear();
                }
                self.go_on();
            }
            Answer::Cancel => self.files.next = None,
            Answer::CancelExport => {
                self.exports.cancel_all();
                self.leave(Next::Close);
            }
            Answer::Smaller { path, size } => {
                self.files.opening = Some(Loading::smaller(path, size, self.folders.data.join("smaller"), self.wake.clone()));
            }
            Answer::Path(Purpose::Open, path) => self.leave(Next::Open(path)),
            Answer::Path(Purpose::Save { .. }, path) => self.save(path),
            Answer::Path(Purpose::Clip, path) => self.act(Action::OpenClip(path)),
            Answer::Path(Purpose::Export { .. }, path) => self.set_export_path(&path),
            Answer::Path(Purpose::Camera { file, .. }, path) => self.camera_file(file, &path),
        }
    }

    /// The start page.
    pub(super) fn gallery_ui(&mut self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        let strings = self.strings();
        for asked in self.gallery.gallery_page_ui(ui, strings) {
            match asked {
                GalleryAction::Action(action) => actions.push(action),
                GalleryAction::Restore(recovery) => self.leave(Next::Restore(recovery)),
                GalleryAction::Discard(recovery) => {
                    recovery.discard();
                    self.gallery.forget(&recovery);
                }
            }
        }
    }

    /// Closes the window, or keeps it open until a question was answered.
    pub(super) fn close_if_wanted(&mut self, ctx: &egui::Context) {
        let asked = ctx.input(|input| input.viewport().close_requested());
        if self.files.may_close {
            if !asked {
                ctx.send_viewport_cmd(egui::ViewportCommand::Close);
            }
        } else if asked {
            ctx.send_viewport_cmd(egui::ViewportCommand::CancelClose);
            self.leave(Next::Close);
            ctx.request_repaint();
        }
    }
}

/// A job's answer, once; the job is over then.
fn taken<T: Send + 'static>(job: &mut Option<Job<T>>) -> Option<Result<T>> {
    let answer = job.as_ref()?.poll()?;
    *job = None;
    Some(answer)
}
