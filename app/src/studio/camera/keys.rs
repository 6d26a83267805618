//! The camera's way in words and numbers: keys, fields, presets, target and files.
//!
//! Invariant: a field shows the camera at the playhead, and changing it changes the key there; there being none, it is added. Guarded by the
//! panel's tests.

use eframe::egui::{Button, RichText, Slider, Ui};
use glam::Vec3;
use kinebrush_engine::motion::camera::presets::Occasion;
use kinebrush_engine::motion::camera::{CameraPath, FOV_DEG, Handheld};

use super::{CameraFile, CameraInput, CameraPanel, edit, note_ui, number_ui, row_ui, texts};
use crate::studio::action::Action;
use crate::studio::dialogs::Purpose;
use crate::studio::theme;
use crate::studio::timeline::{Icon, Look, button, clock, small};

/// Farthest place that a field allows, world units.
const REACH: f32 = 1000.0;

impl CameraPanel {
    pub(super) fn move_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, actions: &mut Vec<Action>) {
        self.keys_ui(ui, t, path, actions);
        self.fields_ui(ui, t, path, actions);
        theme::heading_ui(ui, texts::SPEED);
        self.segment_ui(ui, t, path, actions);
        theme::heading_ui(ui, texts::PRESETS);
        self.presets_ui(ui, t, path, actions);
        self.look_at_ui(ui, t, path, actions);
        theme::heading_ui(ui, texts::VALUES);
        self.values_ui(ui, t, path, actions);
        theme::heading_ui(ui, texts::FILES);
        self.files_ui(ui, t, actions);
    }

    fn keys_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, actions: &mut Vec<Action>) {
        let look = Look::of(ui);
        let current = edit::key_at(path, t.playhead);
        ui.horizontal(|ui| {
            ui.label(RichText::new(texts::KEYS).color(theme::tokens(ui).muted).size(13.0).strong());
            ui.add_enabled_ui(current.is_none(), |ui| {
                if button(ui, Icon::Plus, texts::ADD, texts::ADD, texts::ADD_TIP, false).clicked() {
                    let (added, _) = edit::with_key(path, t.size(), t.playhead);
                    actions.push(t.edit_path(texts::STEP_ADD, 0, added));
                }
            });
            ui.add_enabled_ui(current.is_some(), |ui| {
                if button(ui, Icon::Delete, "", texts::DELETE, texts::DELETE_TIP, false).clicked()
                    && let Some(i) = current
                {
                    actions.push(t.edit_path(texts::STEP_DELETE, 0, edit::without_key(path, i)));
                }
            });
            let before = path.keys.iter().rev().find(|key| key.frame < t.playhead - 0.5);
            let after = path.keys.iter().find(|key| key.frame > t.playhead + 0.5);
            for (key, icon, label) in [(before, Icon::Back, texts::PREVIOUS), (after, Icon::Forward, texts::NEXT)] {
                ui.add_enabled_ui(key.is_some(), |ui| {
                    if button(ui, icon, "", label, label, false).clicked()
                        && let Some(key) = key
                    {
                        actions.push(Action::Seek(key.frame));
                    }
                });
            }
        });
        if path.keys.is_empty() {
            note_ui(ui, texts::NO_KEYS, look.quiet);
            return;
        }
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = eframe::egui::vec2(4.0, 4.0);
            ui.spacing_mut().button_padding = eframe::egui::vec2(7.0, 2.0);
            for (i, key) in path.keys.iter().enumerate() {
                let text = RichText::new(format!("{}  {}", i + 1, clock(key.frame))).font(small());
                let chip = ui.add(Button::selectable(current == Some(i), text));
                let chip = chip.accessible_name(format!("Go to {} {}", texts::KEY.to_lowercase(), i + 1));
                if chip.clicked() {
                    actions.push(Action::Seek(key.frame));
                }
            }
        });
    }

    fn fields_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, actions: &mut Vec<Action>) {
        let gesture = self.gesture(ui);
        let pose = edit::pose(path, t.size(), t.playhead);
        let posed = |change: &dyn Fn(&mut kinebrush_engine::motion::camera::CameraKey)| edit::posed(path, t.size(), t.playhead, change);
        let speed = f64::from(self.survey.distance(path)) * 0.004;
        row_ui(ui, texts::POSITION, |ui| {
            let mut position = pose.position.to_array();
            let mut touched = false;
            for (value, label) in position.iter_mut().zip(texts::POSITION_FIELDS) {
                touched |= number_ui(ui, value, label, -REACH..=REACH, speed, 3, "");
            }
            if touched {
                actions.push(t.edit_path(texts::STEP_MOVE, gesture, posed(&|key| key.position = Vec3::from_array(position))));
            }
        });
        row_ui(ui, texts::ROTATION, |ui| {
            let mut angles = edit::euler_deg(pose.rotation);
            let mut touched = false;
            for (i, (value, label)) in angles.iter_mut().zip(texts::ROTATION_FIELDS).enumerate() {
                // Straight up or down yaw and roll would be one.
                let range = if i == 1 { -89.0..=89.0 } else { -180.0..=180.0 };
                let aimed = path.look_at.is_some() && i < 2;
                touched |= ui.add_enabled_ui(!aimed, |ui| number_ui(ui, value, label, range, 0.25, 2, "°")).inner;
            }
            if touched {
                actions.push(t.edit_path(texts::STEP_MOVE, gesture, posed(&|key| key.rotation = edit::rotation_of(angles))));
            }
        });
        row_ui(ui, texts::FOV, |ui| {
            let mut fov = pose.fov_deg.unwrap_or(path.fov_deg);
            if number_ui(ui, &mut fov, texts::FOV_FIELD, FOV_DEG, 0.2, 2, "°") {
                actions.push(t.edit_path(texts::STEP_FOV, gesture, posed(&|key| key.fov_deg = Some(fov))));
            }
            if let Some(i) = edit::key_at(path, t.playhead) {
                ui.label(RichText::new(texts::FRAME).font(small()).color(Look::of(ui).quiet));
                let mut frame = path.keys[i].frame;
                if number_ui(ui, &mut frame, texts::FRAME_FIELD, 0.0..=kinebrush_engine::motion::stroke::MAX_FRAMES as f32, 0.25, 1, "") {
                    let moved = edit::retimed(path, i, frame);
                    actions.push(Action::Seek(moved.keys[i].frame));
                    actions.push(t.edit_path(texts::STEP_TIME, gesture, moved));
                }
            }
        });
    }

    fn presets_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, actions: &mut Vec<Action>) {
        let gesture = self.gesture(ui);
        let distance = self.target_distance(t, path);
        let seed = path.handheld.map_or(1, |hand| hand.seed);
        let occasion = Occasion { target: distance, start: 0.0, frames: t.end(), strength: self.strength, seed };
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = eframe::egui::vec2(4.0, 4.0);
            ui.spacing_mut().button_padding = eframe::egui::vec2(9.0, 3.0);
            for preset in &self.presets {
                let text = RichText::new(&preset.name).font(small());
                let tip = if preset.keys.is_empty() { texts::PRESETS_ADD } else { texts::PRESETS_TIP };
                if ui.add(Button::new(text)).on_hover_text(format!("{} {tip}", preset.description)).clicked() {
                    actions.push(t.edit_path(texts::STEP_PRESET, 0, preset.apply(path, &occasion)));
                }
            }
        });
        row_ui(ui, texts::STRENGTH, |ui| {
            ui.spacing_mut().slider_width = 120.0;
            ui.add(Slider::new(&mut self.strength, 0.1..=2.0).show_value(false)).accessible_name(texts::STRENGTH);
            note_ui(ui, &format!("{:.0} %", self.strength * 100.0), Look::of(ui).quiet);
        });
        row_ui(ui, texts::HANDHELD, |ui| {
            let before = path.handheld;
            let usual =
                |amount: f32| Handheld { position: 0.004 * distance * amount, rotation_deg: 0.5 * amount, frequency_hz: 1.2, seed: 1 };
            let mut amount = before.map_or(0.0, |hand| hand.rotation_deg / 0.5);
            let mut seed = before.map_or(1, |hand| hand.seed);
            ui.spacing_mut().slider_width = 120.0;
            let slider = ui.add(Slider::new(&mut amount, 0.0..=4.0).show_value(false)).accessible_name(texts::HANDHELD);
            let mut touched = slider.on_hover_text(texts::HANDHELD_TIP).changed();
            ui.add_enabled_ui(before.is_some(), |ui| {
                ui.label(RichText::new(texts::SEED).font(small()).color(Look::of(ui).quiet));
                ui.style_mut().drag_value_text_style = eframe::egui::TextStyle::Small;
                let field = eframe::egui::DragValue::new(&mut seed).speed(0.1).update_while_editing(false);
                touched |= ui.add(field).accessible_name(texts::SEED).changed();
            });
            if touched {
                let handheld = (amount > 0.02).then(|| Handheld { seed, ..usual(amount) });
                actions.push(t.edit_path(texts::STEP_HANDHELD, gesture, CameraPath { handheld, ..path.clone() }));
            }
        });
    }

    fn look_at_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, actions: &mut Vec<Action>) {
        row_ui(ui, texts::LOOK_AT, |ui| {
            let text = RichText::new(texts::PICK_BUTTON).font(small());
            let enabled = self.survey.get().is_some();
            let pick = ui.add_enabled(enabled, Button::selectable(self.picking, text)).on_hover_text(texts::PICK_TIP);
            if pick.clicked() {
                self.picking = !self.picking;
                self.wants_picture |= self.picking;
            }
            match path.look_at {
                Some(target) => {
                    note_ui(ui, &format!("{:.2}  {:.2}  {:.2}", target.x, target.y, target.z), Look::of(ui).text);
                    if button(ui, Icon::Close, "", texts::CLEAR, texts::CLEAR, false).clicked() {
                        actions.push(t.edit_path(texts::STEP_LOOK, 0, CameraPath { look_at: None, ..path.clone() }));
                    }
                }
                None => note_ui(ui, texts::NO_TARGET, Look::of(ui).quiet),
            }
        });
    }

    fn files_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, actions: &mut Vec<Action>) {
        ui.horizontal(|ui| {
            if ui.add(Button::new(RichText::new(texts::IMPORT).font(small()))).on_hover_text(texts::IMPORT_TIP).clicked() {
                actions.push(Action::Ask(Purpose::Camera { file: CameraFile::Import, suggested: Default::default() }));
            }
            if ui.add(Button::new(RichText::new(texts::EXPORT).font(small()))).on_hover_text(texts::EXPORT_TIP).clicked() {
                let suggested = t.work.project.folder().join("camera.json");
                actions.push(Action::Ask(Purpose::Camera { file: CameraFile::Export, suggested }));
            }
        });
    }

    /// How far what the camera is about lies: its target, or what is in the middle of the picture.
    pub(super) fn target_distance(&self, t: &CameraInput<'_>, path: &CameraPath) -> f32 {
        let middle = glam::Vec2::new(t.picture.width as f32, t.picture.height as f32) * 0.5;
        let median = self.survey.distance(path);
        let of_middle = self.survey.get().map(|surveyed| surveyed.inverse(middle)).filter(|inverse| *inverse > 0.0);
        let distance = path.look_at.map(Vec3::length).or(of_middle.map(f32::recip)).unwrap_or(median);
        // What is beyond everything else, the sky, is nothing to go around.
        distance.clamp(median * 0.2, median * 3.0)
    }
}
