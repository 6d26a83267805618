//! The camera panel: how deep the picture is, where the camera goes, and the camera in the hand on the picture.
//!
//! Data flows one way, as in the other panels: what is read is a [`CameraInput`], what is wanted are [`Action`]s, and a drag is one step
//! to undo. Without a camera in the project all works on a first guess ([`CameraInput::path`]), which becomes part of the project with the
//! first change. Invariants: nothing here waits for a depth map; while the panel is closed it does nothing. Guarded by the tests of
//! this folder and `tests/tests/camera.rs`.

mod curves;
mod depth;
mod edit;
mod keys;
mod picture;
mod space;
mod survey;
#[cfg(test)]
mod tests;
mod texts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::{Button, Color32, Layout, RichText, ScrollArea, Ui, vec2};
use glam::Affine2;
use kinebrush_engine::Result;
use kinebrush_engine::motion::camera::presets::Preset;
use kinebrush_engine::motion::camera::{CameraPath, View};
use kinebrush_engine::motion::depth::{DepthMeaning, DepthSource};
use kinebrush_engine::picture::Picture;

use super::Studio;
use super::action::Action;
use super::canvas::ScreenFromPicture;
use super::document::Work;
use super::document::job::{Job, Wake};
use super::theme;
use super::timeline::{Icon, Look, button, segments, small};
pub(super) use edit::{key_at, retimed, without_key};
use picture::Grip;
use space::{Held, Observer};
use survey::{Shade, Survey};
pub(super) use texts::{KEY, LANE, ROW_TIP, STEP_DELETE, STEP_TIME, TITLE};

/// Gestures of the panel count from here, apart from those of other panels.
const GESTURES: u64 = 4 << 40;

/// What the panel shows and works on.
#[derive(Clone, Copy)]
pub struct CameraInput<'a> {
    /// Picture and motion.
    pub work: &'a Work,
    /// The picture at its own size.
    pub picture: &'a Arc<Picture>,
    /// The frame that is shown, fractions allowed.
    pub playhead: f32,
}

impl CameraInput<'_> {
    /// The project's camera, or the one that would be a beginning.
    pub fn path(&self) -> CameraPath {
        self.work.project.camera.clone().unwrap_or_else(|| CameraPath::new(DepthSource::guess(self.size())))
    }

    /// Width and height of the picture, px.
    fn size(&self) -> edit::Size {
        (self.picture.width, self.picture.height)
    }

    /// The project's last frame.
    fn end(&self) -> f32 {
        self.work.project.frames.saturating_sub(1).max(1) as f32
    }

    /// How the camera sees the picture's surface now, px of the picture; None at rest.
    fn view(&self, path: &CameraPath) -> Option<View> {
        path.view(self.size(), Affine2::IDENTITY, self.playhead)
    }

    /// The work with this camera, as a step.
    fn edit_path(&self, label: &'static str, gesture: u64, path: CameraPath) -> Action {
        let mut work = Box::new(self.work.clone());
        work.project.camera = Some(path);
        Action::Edit { label, gesture, work }
    }
}

/// What of the camera is worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Its way.
    #[default]
    Move,
    /// The depth of what it sees.
    Depth,
}

/// A file that the panel asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraFile {
    /// A depth picture.
    Depth,
    /// A path to be read.
    Import,
    /// A path to be written.
    Export,
}

/// The panel's own state; the camera itself is the document's.
pub struct CameraPanel {
    /// Whether it is shown.
    pub open: bool,
    /// Whether it was just opened, and wants the pointer on the picture.
    pub wants_picture: bool,
    tab: Tab,
    gesture: u64,
    survey: Survey,
    shade: Shade,
    observer: Observer,
    held_in_space: Option<Held>,
    /// What is in the hand on the picture.
    grip: Option<Grip>,
    /// Whether the next click on the picture is the look-at target.
    picking: bool,
    /// When the wheel turned last, seconds: what follows soon belongs to the same step.
    wheel: (f64, u64),
    /// Part of the picture's longer side.
    brush: f32,
    /// What is painted: 0 far, 1 near.
    value: f32,
    /// The depth file that is being chosen.
    file: String,
    meaning: DepthMeaning,
    /// Whether a file is wanted that is not named yet.
    choosing_file: bool,
    strength: f32,
    /// Moves to begin with.
    presets: Vec<Preset>,
    reading: Option<Job<CameraPath>>,
    writing: Option<Job<PathBuf>>,
}

impl Default for CameraPanel {
    fn default() -> Self {
        Self {
            open: false,
            wants_picture: false,
            tab: Tab::Move,
            gesture: GESTURES,
            survey: Survey::default(),
            shade: Shade::Off,
            observer: Observer::default(),
            held_in_space: None,
            grip: None,
            picking: false,
            wheel: (f64::NEG_INFINITY, 0),
            brush: 0.06,
            value: 1.0,
            file: String::new(),
            meaning: DepthMeaning::NearIsWhite { far: 20.0, near: 1.0 },
            choosing_file: false,
            strength: 1.0,
            // They are part of the program, and read by a test of the engine.
            presets: Preset::all().unwrap_or_default().into_iter().map(|(_, preset)| preset).collect(),
            reading: None,
            writing: None,
        }
    }
}

impl CameraPanel {
    /// Opens the panel, or closes it.
    pub fn toggle(&mut self) {
        self.open = !self.open;
        (self.wants_picture, self.picking, self.grip) = (self.open, false, None);
    }

    /// Whether the canvas shall show the picture as it was taken: what is fitted to it lies on it then.
    pub fn shows_source(&self) -> bool {
        self.open && self.tab == Tab::Depth
    }

    /// The panel in the space that `ui` has; `in_hand` is whether the pointer on the picture works for it, and can be changed here.
    pub fn panel_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, in_hand: &mut bool, wake: &Wake) -> Vec<Action> {
        if ui.input(|input| input.pointer.any_pressed()) {
            self.gesture += 1;
        }
        let path = t.path();
        self.survey.look(t, &path, wake);
        let mut actions = Vec::new();
        ui.spacing_mut().item_spacing = vec2(6.0, 6.0);
        self.head_ui(ui, in_hand);
        ScrollArea::vertical().id_salt("camera").auto_shrink(false).show(ui, |ui| {
            // Beside the scroll bar.
            ui.set_max_width(ui.available_width() - 8.0);
            if t.work.project.camera.is_none() {
                note_ui(ui, texts::NEW, Look::of(ui).quiet);
            }
            let height = (ui.available_width() * 0.62).clamp(140.0, 300.0);
            self.space_ui(ui, t, &path, height, &mut actions);
            self.notes_ui(ui);
            match self.tab {
                Tab::Move => self.move_ui(ui, t, &path, &mut actions),
                Tab::Depth => self.depth_ui(ui, t, &path, &mut actions),
            }
            if t.work.project.camera.is_some() {
                ui.add_space(theme::space::MEDIUM);
                if ui.add(Button::new(RichText::new(texts::REMOVE).font(small()))).on_hover_text(texts::REMOVE_TIP).clicked() {
                    let mut work = Box::new(t.work.clone());
                    work.project.camera = None;
                    actions.push(Action::Edit { label: texts::STEP_REMOVE, gesture: 0, work });
                }
            }
        });
        actions
    }

    fn head_ui(&mut self, ui: &mut Ui, in_hand: &mut bool) {
        ui.horizontal(|ui| {
            let choices = [
                (texts::MOVE_TAB, texts::MOVE_TAB_TIP, self.tab == Tab::Move),
                (texts::DEPTH_TAB, texts::DEPTH_TAB_TIP, self.tab == Tab::Depth),
            ];
            if let Some(chosen) = segments(ui, &choices) {
                (self.tab, self.grip, self.picking) = ([Tab::Move, Tab::Depth][chosen], None, false);
                *in_hand = true;
            }
            if segments(ui, &[(texts::IN_HAND, texts::IN_HAND_TIP, *in_hand)]).is_some() {
                *in_hand = !*in_hand;
            }
            ui.with_layout(Layout::right_to_left(eframe::egui::Align::Center), |ui| {
                if button(ui, Icon::Close, "", texts::CLOSE, texts::CLOSE, false).clicked() {
                    self.toggle();
                }
            });
        });
    }

    /// What is to be known of depth and way.
    fn notes_ui(&self, ui: &mut Ui) {
        let look = Look::of(ui);
        if let Some(error) = self.survey.error() {
            note_ui(ui, error, look.alert);
        }
        let Some(surveyed) = self.survey.get() else {
            if self.survey.waits() {
                note_ui(ui, texts::MEASURING, look.quiet);
            }
            return;
        };
        for note in &surveyed.notes {
            note_ui(ui, note, look.quiet);
        }
        for warning in self.survey.warnings() {
            note_ui(ui, warning, look.warning);
        }
    }

    /// The gesture's number while the pointer is down, 0 for a step of its own.
    fn gesture(&self, ui: &Ui) -> u64 {
        if ui.input(|input| input.pointer.any_down() || input.pointer.any_released()) { self.gesture } else { 0 }
    }

    /// What came from disks: the steps that come of it, and what went wrong or was done.
    pub fn poll(&mut self, t: &CameraInput<'_>) -> (Vec<Action>, Option<Result<PathBuf>>) {
        let mut actions = Vec::new();
        let mut said = None;
        if let Some(answer) = self.reading.as_ref().and_then(Job::poll) {
            self.reading = None;
            match answer {
                // The depth may have changed while the file was read.
                Ok(read) => {
                    actions.push(t.edit_path(texts::STEP_IMPORT, 0, CameraPath { depth: t.path().depth, ..read }));
                }
                Err(error) => said = Some(Err(error)),
            }
        }
        if let Some(answer) = self.writing.as_ref().and_then(Job::poll) {
            self.writing = None;
            said = Some(answer);
        }
        (actions, said)
    }

    /// A file was chosen.
    pub fn take_file(&mut self, file: CameraFile, path: &Path, t: &CameraInput<'_>, wake: &Wake) -> Option<Action> {
        let path = path.to_owned();
        match file {
            CameraFile::Depth => {
                self.file = path.display().to_string();
                return self.file_chosen(t);
            }
            CameraFile::Import => {
                let (camera, size) = (t.path(), t.size());
                self.reading = Some(Job::start("kinebrush-camera", wake.clone(), move || camera.import(&path, size)));
            }
            CameraFile::Export => {
                let (camera, size, frames) = (t.path(), t.size(), t.work.project.frames);
                let write = move || camera.export(&path, size, frames).map(|()| path);
                self.writing = Some(Job::start("kinebrush-camera", wake.clone(), write));
            }
        }
        None
    }
}

/// A line of second rank that may be long.
fn note_ui(ui: &mut Ui, text: &str, color: Color32) {
    ui.label(RichText::new(text).font(small()).color(color));
}

/// A caption in a column of its own, then controls.
fn row_ui(ui: &mut Ui, caption: &str, content: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        ui.set_min_height(24.0);
        ui.spacing_mut().item_spacing.x = 5.0;
        // Painted: for a screen reader the controls carry the name themselves.
        let (rect, _) = ui.allocate_exact_size(vec2(88.0, 22.0), eframe::egui::Sense::hover());
        ui.painter().text(rect.left_center(), eframe::egui::Align2::LEFT_CENTER, caption, small(), Look::of(ui).quiet);
        content(ui);
    });
}

/// A number that is dragged or typed.
fn number_ui(
    ui: &mut Ui,
    value: &mut f32,
    label: &str,
    range: std::ops::RangeInclusive<f32>,
    speed: f64,
    decimals: usize,
    suffix: &str,
) -> bool {
    let field = eframe::egui::DragValue::new(value).range(range).speed(speed).max_decimals(decimals).suffix(suffix);
    ui.style_mut().drag_value_text_style = eframe::egui::TextStyle::Small;
    ui.spacing_mut().interact_size = vec2(58.0, 22.0);
    ui.add(field.update_while_editing(false)).accessible_name(label).changed()
}

/// Where the canvas lies and how the picture lies on it.
#[derive(Clone, Copy, Debug)]
pub struct OnScreen {
    /// The canvas, points.
    pub rect: eframe::egui::Rect,
    /// From the picture to it.
    pub map: ScreenFromPicture,
}

impl Studio {
    /// A file of the camera panel was chosen.
    pub(super) fn camera_file(&mut self, file: CameraFile, path: &Path) {
        let Some(document) = &self.document else { return };
        let input = CameraInput { work: document.work(), picture: document.picture(), playhead: self.player.playhead() };
        let action = self.camera.take_file(file, path, &input, &self.wake);
        if let Some(action) = action {
            self.act(action);
        }
    }

    /// Takes in what the camera panel's threads read and wrote.
    pub(super) fn poll_camera(&mut self) {
        let Some(document) = &self.document else { return };
        let input = CameraInput { work: document.work(), picture: document.picture(), playhead: self.player.playhead() };
        let (actions, said) = self.camera.poll(&input);
        for action in actions {
            self.act(action);
        }
        match said {
            None => {}
            Some(Ok(path)) => self.toasts.info((self.strings().messages.saved)(&path.display().to_string())),
            Some(Err(error)) => self.toasts.error(error.to_string()),
        }
    }
}
