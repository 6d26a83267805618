//! What becomes of an action: the only place where the document changes and the worker is spoken to.

use super::dialogs::Purpose;
use super::export::What;
use super::*;
use kinebrush_engine::stream::live::Hand;

impl Studio {
    /// Does what was asked for.
    pub fn act(&mut self, action: Action) {
        match action {
            Action::Edit { label, gesture, work } => self.change(|document| document.edit(label, gesture, *work)),
            Action::Select(selection) => {
                if let Some(document) = &mut self.document {
                    document.selection = selection;
                }
            }
            Action::Hand(hand) => {
                if let Hand::Press { drag, .. } = &hand {
                    self.player.pressed(*drag);
                }
                self.model.send(Command::Hand(hand));
            }
            Action::Undo => self.change(|document| {
                document.undo();
                Ok(())
            }),
            Action::Redo => self.change(|document| {
                document.redo();
                Ok(())
            }),
            Action::Run => self.run(),
            Action::TogglePause => match self.player.state {
                State::Running => self.model.send(Command::Pause),
                State::Paused if !self.player.scrubbed || self.player.at_end() || self.player.stale => self.run(),
                _ => self.player.toggle_playing(self.project_end()),
            },
            Action::Stop => self.model.send(Command::Stop),
            // The worker remembers the way through the newest take alone.
            Action::Branch if !self.player.shows_newest() => self.toasts.info(self.strings().messages.branch_newest),
            Action::Branch => self.model.send(Command::Branch { frame: self.player.playhead() as usize }),
            Action::SetClock(clock) => {
                (self.player.clock, self.settings.clock) = (clock, clock);
                self.model.send(Command::SetClock(clock));
                self.save_settings();
            }
            Action::Seek(frame) => self.player.seek(frame),
            Action::SetLoop(range) => self.player.loop_range = range,
            Action::ShowTake(take) => self.player.show_take(take),
            Action::SetCompare(compare) => self.player.compare = compare,
            Action::Open(path) => self.leave(Next::Open(path)),
            Action::AskOpen => self.ask(Purpose::Open),
            Action::Ask(purpose) => self.ask(purpose),
            Action::Paste => self.files.clipboard = Some(paste::read_clipboard(self.strings(), self.wake.clone())),
            Action::Save => match self.document.as_ref().map(|document| document.path().map(Path::to_owned)) {
                Some(Some(path)) => self.save(path),
                Some(None) => self.ask(Purpose::Save { suggested: self.suggested_path() }),
                None => {}
            },
            Action::SaveAs => self.ask(Purpose::Save { suggested: self.suggested_path() }),
            Action::ToggleCamera => {
                if self.document.is_some() {
                    self.camera.toggle();
                }
            }
            Action::Show(page) => {
                if page == Page::Export {
                    self.exports.offer(self.player.shown_take().map_or(What::Project, |(take, _)| What::Take(take)));
                }
                self.page = page;
            }
            Action::ToggleClip => self.clip.open = !self.clip.open,
            Action::AskClip => self.ask(Purpose::Clip),
            Action::OpenClip(_) if self.document.is_none() => self.toasts.info(clip::NO_PICTURE),
            Action::OpenClip(path) => self.clip.open_clip(&path, self.wake.clone()),
            Action::Quit => self.leave(Next::Close),
        }
    }

    /// Makes video, or says why it cannot yet.
    fn run(&mut self) {
        let strings = self.strings();
        match (&self.document, &self.model) {
            (None, _) => {}
            (_, Model::Loading(_)) => {
                self.run_when_ready = true;
                self.toasts.info(strings.messages.model_loading);
            }
            (_, Model::Failed) => self.toasts.error(strings.messages.model_failed),
            (Some(_), Model::Ready(_)) => self.model.send(Command::Run { until: None }),
        }
    }

    /// After a failure of the worker: a new take that shares all that was made, unless nothing was made since the last failure.
    fn restart(&mut self) {
        let made = self.player.generated().end;
        if made > 0 && self.failed_at.replace(made).is_none_or(|before| before < made) {
            self.model.send(Command::Branch { frame: made });
        }
    }

    /// Changes the document, and tells whoever has to know.
    fn change(&mut self, change: impl FnOnce(&mut Document) -> kinebrush_engine::Result<()>) {
        let Some(document) = &mut self.document else { return };
        let before = document.revision();
        if let Err(error) = change(document) {
            self.toasts.error(error.to_string());
        }
        if document.revision() != before {
            let (project, revision, absorbed) = (document.project().clone(), document.revision(), document.absorbed());
            self.player.stale = self.player.state != State::Running;
            self.model.send(Command::SetMotion { project, revision, absorbed });
        }
    }

    /// Another document takes the place of this one.
    pub(super) fn set_document(&mut self, document: Document) {
        let (picture, project, revision) = (document.picture().clone(), document.project().clone(), document.revision());
        self.player.reset();
        // Another picture: its own clip is found by its project.
        self.clip.close_clip();
        (self.last_view, self.failed_at) = (None, None);
        self.uploads.open(picture.clone());
        self.model.send(Command::Open { picture, project, revision });
        if let Some(path) = document.path().or(Some(&document.project().image_path())) {
            self.settings.remember(path);
            self.save_settings();
        }
        (self.document, self.kept, self.page) = (Some(document), None, Page::Canvas);
    }

    /// Takes in what was done on other threads since the last frame.
    pub(super) fn poll(&mut self) {
        match self.model.poll() {
            Ok(false) => {}
            Ok(true) => {
                self.replay = self.model.ready().map(|ready| Replay::new(ready.checkpoint.clone(), self.wake.clone()));
                self.model.send(Command::SetClock(self.player.clock));
                if let Some(document) = &self.document {
                    let (picture, project) = (document.picture().clone(), document.project().clone());
                    self.model.send(Command::Open { picture, project, revision: document.revision() });
                    if std::mem::take(&mut self.run_when_ready) {
                        self.run();
                    }
                }
            }
            Err(error) => self.toasts.error(error.to_string()),
        }
        while let Some(event) = self.model.event() {
            if let Some(seconds) = hand_seconds(&event) {
                self.hand = Some((seconds, Instant::now()));
            }
            match self.player.receive(event) {
                None => {}
                Some(Notice::Compiled(compiled)) => self.uploads.want(&compiled),
                Some(Notice::Dragged(drag, stroke)) => self.change(|document| document.finish_drag(drag, *stroke)),
                Some(Notice::Take(_)) => {}
                Some(Notice::Warning(text)) => self.toasts.warning(text),
                Some(Notice::Failed(text)) => {
                    self.toasts.error(text);
                    self.restart();
                }
            }
        }
        while let Some(problem) = self.clip.problem() {
            self.toasts.error(problem);
        }
        self.uploads.poll();
        self.poll_files();
        self.poll_camera();
        self.exports.poll(self.player.state == State::Running, &mut self.toasts, Strings::of(self.settings.language));
        if let Some(error) = self.replay.as_mut().and_then(Replay::poll) {
            self.toasts.warning(error);
        }
        self.keep();
    }

    /// Puts the newest state into the session file: also what the hand has not finished.
    fn keep(&mut self) {
        let (Some(document), Some(autosave)) = (&self.document, &self.autosave) else { return };
        let mut unfinished = self.canvas.unfinished();
        if let Some(stroke) = self.player.dragged() {
            unfinished.get_or_insert_with(|| Work::clone(document.work())).project.strokes.push(stroke.clone());
        }
        let now = (document.revision(), unfinished);
        if self.kept.as_ref() == Some(&now) {
            return;
        }
        let mut state = SaveState::of(document);
        if let Some(work) = &now.1 {
            state.work = Arc::new(work.clone());
        }
        autosave.put(state);
        self.kept = Some(now);
    }
}

fn hand_seconds(event: &Event) -> Option<f64> {
    if let Event::Chunk(stats) = event { stats.hand_seconds } else { None }
}
