//! Where everything is: a bar on top, the canvas, and below it the takes, the timeline and the status line.

use super::camera::{CameraInput, OnScreen};
use super::canvas::{ScreenFromPicture, Shown};
use super::clip::{ClipInput, Through};
use super::fold::Folds;
use super::gpu::{self, Paint, ScreenFromLive};
use super::settings::settings_page_ui;
use super::shortcuts::{self, ShortcutState};
use super::status::{Status, status_ui};
use super::takes::{TakeAction, takes_ui};
use super::theme::{self, Tokens};
use super::timeline::TimelineInput;
use super::view::{Hand, view};
use super::*;
use eframe::egui::{Align, Button, CentralPanel, Frame, Layout, Margin, Modal, Panel, Rect, RichText, Ui, vec2};

/// Height of the bar on top, points.
const BAR: f32 = 40.0;

impl eframe::App for Studio {
    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        gpu::fill(ui.painter(), ui.max_rect(), theme::tokens(ui).panel);
        self.poll();
        self.dropped(ui.ctx());
        let now = ui.input(|input| input.time);
        let next = self.player.tick(now, self.project_end());
        let mut actions = shortcuts::shortcut_actions(ui.ctx(), &self.shortcut_state());
        self.bar_ui(ui, &mut actions);
        Panel::bottom("status").resizable(false).show_separator_line(false).frame(panel_frame()).show(ui, |ui| self.status_ui(ui));
        if self.document.is_some() {
            Panel::bottom("timeline").resizable(true).default_size(232.0).size_range(150.0..=520.0).frame(panel_frame()).show(ui, |ui| {
                self.timeline_ui(ui, &mut actions);
            });
            if self.takes_shown && !self.player.takes().is_empty() {
                Panel::bottom("takes").resizable(false).frame(panel_frame()).show(ui, |ui| self.takes_ui(ui, &mut actions));
            }
        }
        self.clip_ui(ui, &mut actions);
        self.camera_panel_ui(ui);
        let middle = ui.available_rect_before_wrap();
        CentralPanel::no_frame().show(ui, |ui| match (&self.document, self.page) {
            (None, _) | (_, Page::Gallery) => {
                let room = Margin::symmetric(0, theme::space::PAGE as i8);
                Frame::NONE.inner_margin(room).show(ui, |ui| self.gallery_ui(ui, &mut actions));
            }
            _ => self.canvas_ui(ui, &mut actions),
        });
        self.page_ui(ui, &mut actions);
        self.dialogs_ui(ui.ctx());
        self.toasts.toasts_ui(ui.ctx(), middle, self.strings());
        for action in actions {
            self.act(action);
        }
        self.close_if_wanted(ui.ctx());
        if let Some(next) = next {
            ui.ctx().request_repaint_after(next);
        }
    }

    fn on_exit(&mut self) {
        self.shut_down();
    }
}

impl Studio {
    fn shortcut_state(&self) -> ShortcutState {
        ShortcutState {
            page: if self.document.is_none() { Page::Gallery } else { self.page },
            making: self.player.state != State::Idle,
            frame: self.player.playhead(),
            frames: self.player.generated().end.max(self.project_end()),
            made: self.player.generated().end,
            looped: self.player.loop_range,
            compare: self.player.compare,
            dialog: self.files.asks(),
        }
    }

    fn bar_ui(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        let (strings, tokens) = (self.strings(), theme::tokens(ui));
        let frame = Frame::NONE.inner_margin(Margin::symmetric(10, 0));
        Panel::top("bar").resizable(false).exact_size(BAR).frame(frame).show(ui, |ui| {
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let text = &strings.bar;
                let document = self.document.as_ref();
                let tip = |command| shortcuts::keys_of(ui.ctx(), command);
                let buttons = [
                    (
                        text.gallery,
                        String::new(),
                        true,
                        Action::Show(if self.page == Page::Gallery { Page::Canvas } else { Page::Gallery }),
                    ),
                    (text.open, tip(shortcuts::Command::Open), true, Action::AskOpen),
                    (text.save, tip(shortcuts::Command::Save), document.is_some(), Action::Save),
                    (text.undo, tip(shortcuts::Command::Undo), document.is_some_and(|d| d.undo_label().is_some()), Action::Undo),
                    (text.redo, tip(shortcuts::Command::Redo), document.is_some_and(|d| d.redo_label().is_some()), Action::Redo),
                ];
                let done = [document.and_then(Document::undo_label), document.and_then(Document::redo_label)];
                for (i, (label, keys, enabled, action)) in buttons.into_iter().enumerate() {
                    let what = i.checked_sub(3).and_then(|i| done[i]).map_or(String::new(), |what| format!("{what}  "));
                    if ui
                        .add_enabled(enabled, Button::new(label).frame_when_inactive(false))
                        .on_hover_text(format!("{what}{keys}"))
                        .clicked()
                    {
                        actions.push(action);
                    }
                }
                self.title_ui(ui, tokens);
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if ui.add(Button::new(text.shortcuts).frame_when_inactive(false)).clicked() {
                        actions.push(Action::Show(Page::Shortcuts));
                    }
                    if ui.add(Button::new(text.settings).frame_when_inactive(false)).clicked() {
                        actions.push(Action::Show(Page::Settings));
                    }
                    if ui.add_enabled(self.document.is_some(), theme::primary_button(tokens, text.export)).clicked() {
                        actions.push(Action::Show(Page::Export));
                    }
                    let tip = shortcuts::keys_of(ui.ctx(), shortcuts::Command::Clip);
                    let shown = Button::selectable(self.clip.open, text.clip);
                    if self.document.is_some() && ui.add(shown).on_hover_text(tip).clicked() {
                        actions.push(Action::ToggleClip);
                    }
                    let takes = self.player.takes().len();
                    if takes > 0 && ui.add(Button::selectable(self.takes_shown, format!("{} {takes}", text.takes))).clicked() {
                        self.takes_shown = !self.takes_shown;
                    }
                    let tip = shortcuts::keys_of(ui.ctx(), shortcuts::Command::Camera);
                    let camera = Button::selectable(self.camera.open, text.camera);
                    if self.document.is_some() && ui.add(camera).on_hover_text(tip).clicked() {
                        actions.push(Action::ToggleCamera);
                    }
                });
            });
        });
    }

    fn title_ui(&self, ui: &mut Ui, tokens: &Tokens) {
        let Some(document) = &self.document else { return };
        let mark = if document.is_dirty() { " •" } else { "" };
        ui.add_space(16.0);
        ui.label(RichText::new(format!("{}{mark}", document.title())).color(tokens.muted));
    }

    fn status_ui(&mut self, ui: &mut Ui) {
        let made = self.player.stats;
        let status = Status {
            model: self.model.ready().map(|ready| ready.checkpoint.card.name.clone()),
            state: self.player.state,
            playing: self.player.playing,
            clock: self.player.clock,
            frames_per_second: made.map(|_| f64::from(self.player.made_fps)),
            chunk_seconds: made.map(|stats| stats.seconds),
            hand: self.hand,
            memory: self.memory.resident(),
            saved: self.document.as_ref().map(|_| !self.unsaved_session),
            message: None,
        };
        status_ui(ui, &status);
    }

    fn timeline_ui(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        let Some(document) = &self.document else { return };
        let cached = self.player.cached();
        let input = TimelineInput {
            work: document.work(),
            selection: document.selection,
            playhead: self.player.playhead(),
            generated: self.player.generated(),
            cached: &cached,
            loop_range: self.player.loop_range,
            state: self.player.state,
            playing: self.player.playing || self.player.state == State::Running,
            clock: self.player.clock,
            compare: self.player.compare,
        };
        actions.extend(self.timeline.timeline_ui(ui, &input));
    }

    /// The clip beside the canvas.
    fn clip_ui(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        let Some(document) = &self.document else { return };
        if !self.clip.open || self.page == Page::Gallery {
            return;
        }
        let input = clip_input(document, &self.player);
        let (clip, wake, data) = (&mut self.clip, &self.wake, &self.folders.data);
        let mut folds = self.settings.folds.clone();
        let room = Frame::NONE.inner_margin(Margin::symmetric(10, 8));
        let panel = Panel::left("clip").resizable(true).default_size(340.0).size_range(310.0..=640.0).frame(room);
        actions.extend(panel.show(ui, |ui| clip.panel_ui(ui, &input, &mut folds, wake, data)).inner);
        self.keep_folds(folds);
    }

    fn takes_ui(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        let items = self.take_items(ui.ctx());
        let shown = self.player.shown_take().map_or(0, |(id, _)| id);
        for action in takes_ui(ui, &items, shown) {
            match action {
                TakeAction::Show(take) => actions.push(Action::ShowTake(take)),
                TakeAction::Export(take) => {
                    self.player.show_take(take);
                    actions.push(Action::Show(Page::Export));
                }
                TakeAction::Delete(take) => self.delete_take(take),
                TakeAction::Rename(take, name) => self.name_take(take, name),
            }
        }
    }

    /// The camera panel beside the canvas. What it asks for is done before the canvas is drawn: the picture follows in the same frame.
    fn camera_panel_ui(&mut self, ui: &mut Ui) {
        let Some(document) = &self.document else { return };
        if !self.camera.open || self.page == Page::Gallery {
            return;
        }
        let input = CameraInput { work: document.work(), picture: document.picture(), playhead: self.player.playhead() };
        let (camera, canvas, wake) = (&mut self.camera, &mut self.canvas, &self.wake);
        let mut folds = self.settings.folds.clone();
        let room = Frame::NONE.inner_margin(Margin::symmetric(10, 8));
        let panel = Panel::right("camera").resizable(true).default_size(350.0).size_range(330.0..=620.0).frame(room);
        let mut in_hand = canvas.is_lent();
        let actions = panel.show(ui, |ui| camera.panel_ui(ui, &input, &mut in_hand, &mut folds, wake)).inner;
        in_hand |= std::mem::take(&mut camera.wants_picture);
        canvas.lend(in_hand && camera.open);
        self.keep_folds(folds);
        for action in actions {
            self.act(action);
        }
    }

    /// Remembers which sections are open.
    fn keep_folds(&mut self, folds: Folds) {
        if folds != self.settings.folds {
            self.settings.folds = folds;
            self.save_settings();
        }
    }

    /// What the camera in the hand on the picture asks for, before the picture is drawn.
    fn camera_hand_ui(&mut self, ui: &Ui) {
        let Some(document) = &self.document else { return };
        let Some((rect, map)) = self.canvas.on_screen().filter(|_| self.camera.open && self.canvas.is_lent()) else { return };
        let input = CameraInput { work: document.work(), picture: document.picture(), playhead: self.player.playhead() };
        let canvas = &self.canvas;
        let actions = self.camera.on_picture(ui, &input, OnScreen { rect, map }, &|place| canvas.is_on_picture(ui, place));
        for action in actions {
            self.act(action);
        }
    }

    /// The canvas with the picture on it.
    fn canvas_ui(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        self.camera_hand_ui(ui);
        let Some(document) = &self.document else { return };
        let Self { player, uploads, canvas, last_view, replay, .. } = self;
        let picture = document.picture();
        // While video is made the hand is where the video will be next.
        let (at_hand, frame) = match player.state {
            State::Running => {
                let dragged = canvas.live_preview().or_else(|| player.dragged().cloned());
                let with = |stroke| {
                    let mut project = document.project().as_ref().clone();
                    project.strokes.push(stroke);
                    project
                };
                (dragged.map(with), player.generated().end)
            }
            _ => (canvas.unfinished().map(|work| work.project), player.playhead() as usize),
        };
        let hand = at_hand.as_ref().map(|project| Hand { project, frame });
        let frame = player.playhead() as usize;
        // Made, but not held any more: back from the log.
        let replayed = match (replay.as_mut(), player.logged(frame)) {
            (Some(replay), Some(path))
                if hand.is_none() && player.state != State::Running && !player.stale && player.held(frame).is_none() =>
            {
                replay.frame(path, frame, picture)
            }
            _ => None,
        };
        *last_view = match replayed {
            Some(replayed) => Some(View::of_picture(replayed.prepared.clone(), replayed.cut)),
            None => view(player, uploads, document.project(), hand, last_view.as_ref()),
        };
        if self.camera.shows_source()
            && let Some(view) = last_view
        {
            // Handles lie on the picture as it was taken.
            (view.motion.view, view.correction) = (None, None);
        }
        let outside = theme::tokens(ui).surround;
        let compiled = player.compiled();
        let (shown, compare) = (last_view.clone(), player.compare);
        let mut paint = |ui: &Ui, rect: Rect, map: ScreenFromPicture, liquify: Option<gpu::Liquify>| {
            let Some(shown) = &shown else { return };
            // The picture on the screen has the place of the source, whatever the size of what it is drawn from.
            let size = shown.prepared.size();
            let scale = vec2(map.scale * picture.width as f32 / size.x, map.scale * picture.height as f32 / size.y);
            let (correction_id, correction) = shown.correction.clone().map_or((0, None), |(id, c)| (id, Some(c)));
            // A scene that has the drag's layer already bends by itself.
            let liquify = liquify.filter(|_| !shown.bends);
            let paint = Paint {
                prepared: shown.prepared.clone(),
                cut: shown.cut,
                motion: shown.motion.clone(),
                correction,
                correction_id,
                liquify,
                compare,
                screen_from_live: ScreenFromLive { scale, offset: map.screen(glam::Vec2::ZERO).to_vec2() },
                outside,
            };
            gpu::paint(ui, rect, paint);
        };
        let eye = seen_at(document, player.playhead()).filter(|_| !self.camera.shows_source());
        let shown = Shown {
            work: document.work(),
            selection: document.selection,
            picture: (picture.width, picture.height),
            source: picture,
            compiled,
            camera: eye.as_ref(),
            frame: player.playhead(),
            state: player.state,
            paint: &mut paint,
        };
        let lent = canvas.is_lent();
        canvas.lend(lent || self.clip.open && self.clip.takes_picture());
        actions.extend(canvas.canvas_ui(ui, shown));
        canvas.lend(lent);
        if let Some((rect, map)) = canvas.on_screen().filter(|_| self.camera.open) {
            let input = CameraInput { work: document.work(), picture, playhead: player.playhead() };
            self.camera.overlay_ui(ui, &input, OnScreen { rect, map }, canvas.is_lent());
        }
        if let Some((rect, map)) = self.canvas.on_screen().filter(|_| self.clip.open) {
            actions.extend(self.clip.on_picture_ui(ui, rect, map, &clip_input(document, &self.player)));
        }
    }

    fn settings_ui(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let (chosen, asked) = settings_page_ui(ui, &self.settings, cores);
        actions.extend(asked);
        if let Some(chosen) = chosen {
            if chosen.clock != self.settings.clock {
                actions.push(Action::SetClock(chosen.clock));
            }
            self.settings = chosen;
            theme::apply(ui.ctx(), &self.settings);
            self.save_settings();
        }
    }

    /// Pages over the canvas.
    fn page_ui(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        if !matches!(self.page, Page::Settings | Page::Shortcuts | Page::Export) {
            return;
        }
        // One page is not as wide as another, and each has its own place to remember.
        let (id, width) = match self.page {
            Page::Settings => ("settings page", 560.0),
            Page::Shortcuts => ("keys page", 1000.0),
            _ => ("export page", super::export::WIDTH),
        };
        let id = egui::Id::unique(id);
        let room = ui.ctx().content_rect().size() - egui::Vec2::splat(4.0 * theme::space::PAGE);
        let size = room.min(vec2(width, f32::INFINITY));
        let modal = Modal { area: Modal::default_area(id).default_size(size), ..Modal::new(id) };
        let modal = modal.frame(theme::dialog_frame(ui.ctx())).show(ui.ctx(), |ui| {
            ui.set_max_size(vec2(size.x, size.y - 2.0 * theme::space::PAGE));
            match self.page {
                Page::Settings => self.settings_ui(ui, actions),
                Page::Shortcuts => actions.extend(shortcuts::shortcuts_page_ui(ui, self.strings())),
                _ => self.export_ui(ui, actions),
            }
        });
        if modal.should_close() {
            actions.push(Action::Show(Page::Canvas));
        }
    }
}

/// How the document's camera sees its picture at a frame, px of the picture.
fn seen_at(document: &Document, frame: f32) -> Option<kinebrush_engine::motion::View> {
    let picture = document.picture();
    document.project().camera.as_ref()?.view((picture.width, picture.height), glam::Affine2::IDENTITY, frame)
}

fn clip_input<'a>(document: &'a Document, player: &Player) -> ClipInput<'a> {
    let size = (document.picture().width, document.picture().height);
    let through = |view| {
        let compiled = player.compiled()?;
        Some(Through { view, depth: compiled.scene.depth()?.clone(), scale: compiled.scale })
    };
    ClipInput {
        work: document.work(),
        selection: document.selection,
        picture: size,
        playhead: player.playhead(),
        making: player.state == State::Running,
        camera: seen_at(document, player.playhead()).and_then(through),
    }
}

fn panel_frame() -> Frame {
    // The window's ground is the panels' colour already.
    Frame::NONE
}
