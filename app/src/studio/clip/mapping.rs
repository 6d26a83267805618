//! How the clip moves the picture: what it drives, when, how much, and where it lies.
//!
//! Invariant: a number that is dragged is one step to undo. Guarded by the tests of this folder.

use std::ops::RangeInclusive;

use eframe::egui::{ComboBox, DragValue, Grid, Response, Ui};
use kinebrush_engine::motion::transfer::{ClipMap, Placing, Repeat};

use super::*;

/// A number with its name; whether it was changed.
fn number_ui(ui: &mut Ui, name: &str, value: &mut f32, range: RangeInclusive<f32>, speed: f64, suffix: &str) -> Response {
    ui.label(name);
    let field = DragValue::new(value).range(range).speed(speed).max_decimals(2).suffix(suffix.to_owned()).update_while_editing(false);
    let response = ui.add(field).accessible_name(name);
    ui.end_row();
    response
}

impl ClipPanel {
    /// The fields of this clip's transfer, if the picture moves with it.
    pub(super) fn mapping_ui(&mut self, ui: &mut Ui, input: &ClipInput, actions: &mut Vec<Action>) {
        let Some((index, before)) = self.transfer(&input.work.project).map(|(index, transfer)| (index, transfer.clone())) else { return };
        let mut now = before.clone();
        ui.horizontal_wrapped(|ui| {
            self.mode_ui(ui, Mode::Hide, texts::HIDE, texts::HIDE_TIP);
            if !now.hidden.is_empty() && ui.button(texts::SHOW_ALL).clicked() {
                now.hidden.clear();
            }
        });
        let mut responses = Vec::new();
        theme::heading_ui(ui, texts::TIMING);
        self.drives_ui(ui, input, &mut now);
        let (at, last) = (self.clip.as_ref().map_or(0, |clip| clip.frame), self.last_frame());
        ui.horizontal(|ui| {
            for (first, text, name) in [(true, texts::SET_FIRST, texts::FIRST), (false, texts::SET_LAST, texts::LAST)] {
                if ui.button(text).clicked() {
                    now.range = if first { (at.min(last), now.range.1.max(at.min(last))) } else { (now.range.0.min(at), at.min(last)) };
                }
                let value = if first { &mut now.range.0 } else { &mut now.range.1 };
                responses.push(
                    ui.add(DragValue::new(value).range(0..=last).update_while_editing(false)).accessible_name(name).on_hover_text(name),
                );
            }
            now.range = (now.range.0.min(now.range.1), now.range.1);
        });
        Grid::new("clip time").num_columns(2).show(ui, |ui| {
            responses.push(number_ui(ui, texts::START, &mut now.start, 0.0..=10_000.0, 0.25, ""));
            responses.push(number_ui(ui, texts::SPEED, &mut now.speed, 0.05..=8.0, 0.01, "×"));
            ui.label(texts::REPEAT);
            let name = |repeat| match repeat {
                Repeat::Once => texts::ONCE,
                Repeat::Loop => texts::LOOP,
                Repeat::PingPong => texts::PING_PONG,
            };
            let combo = ComboBox::from_id_salt("clip repeat").selected_text(name(now.repeat)).show_ui(ui, |ui| {
                for repeat in [Repeat::Once, Repeat::Loop, Repeat::PingPong] {
                    ui.selectable_value(&mut now.repeat, repeat, name(repeat));
                }
            });
            combo.response.accessible_name(texts::REPEAT);
            ui.end_row();
            responses.push(number_ui(ui, texts::STRENGTH, &mut now.strength, 0.0..=4.0, 0.01, "×"));
            responses.push(number_ui(ui, texts::SMOOTHING, &mut now.smoothing, 0.0..=30.0, 0.05, ""));
        });
        ui.checkbox(&mut now.remove_camera, texts::CAMERA).on_hover_text(texts::CAMERA_TIP);
        self.placing_ui(ui, input, &mut now, &mut responses);
        ui.add_space(theme::space::MEDIUM);
        let removed = ui.button(texts::REMOVE).clicked();
        if removed {
            self.mode = Mode::Look;
            actions.push(edit(input.work, texts::REMOVE, 0, |project| drop(project.transfers.remove(index))));
        } else if now != before {
            let label = if now.placing != before.placing { texts::PLACE } else { texts::USED };
            let dragged = responses.iter().any(Response::dragged);
            let gesture = if dragged { self.gesture() } else { 0 };
            actions.push(edit(input.work, label, gesture, |project| project.transfers[index] = now));
        }
        if responses.iter().any(Response::drag_stopped) {
            self.gestures += 1;
        }
    }

    /// The last frame that is tracked.
    fn last_frame(&self) -> usize {
        let tracked = self.clip.as_ref().and_then(|clip| clip.tracked.as_ref());
        tracked.map_or(0, |tracked| tracked.tracks.frames.len().saturating_sub(1))
    }

    /// Which region it drives.
    fn drives_ui(&self, ui: &mut Ui, input: &ClipInput, now: &mut Transfer) {
        let selected = match input.selection {
            Selection::Stroke(i) => input.work.project.strokes.get(i).map(|stroke| stroke.region.clone()),
            _ => None,
        };
        let choices = [(texts::WHOLE, Some(Region::All)), (texts::MARKED, input.work.region.clone()), (texts::SELECTED, selected)];
        let name = choices.iter().find(|(_, region)| region.as_ref() == Some(&now.region)).map_or(texts::OWN, |(name, _)| name);
        ui.horizontal(|ui| {
            ui.label(texts::DRIVES);
            let combo = ComboBox::from_id_salt("clip drives").selected_text(name).width(180.0).show_ui(ui, |ui| {
                for (name, region) in choices {
                    if let Some(region) = region {
                        ui.selectable_value(&mut now.region, region, name);
                    }
                }
            });
            combo.response.accessible_name(texts::DRIVES);
        });
    }

    /// Where the clip lies.
    fn placing_ui(&mut self, ui: &mut Ui, input: &ClipInput, now: &mut Transfer, responses: &mut Vec<Response>) {
        theme::heading_ui(ui, texts::PLACING);
        ui.horizontal_wrapped(|ui| {
            if matches!(now.placing, Placing::Similarity { .. }) {
                self.mode_ui(ui, Mode::Place, texts::PLACE, texts::PLACE_TIP);
            } else if ui.button(texts::NO_PAIRS).clicked() {
                now.placing = Placing::default();
            }
            self.mode_ui(ui, Mode::Pair(None), texts::PAIR, texts::PAIR_TIP);
        });
        if let Mode::Pair(place) = self.mode {
            ui.label(RichText::new(if place.is_some() { texts::PAIR_THEN } else { texts::PAIR_FIRST }).color(theme::tokens(ui).accent));
        }
        if let Some(note) = ClipMap::new(&now.placing, now.clip_size, input.picture).note() {
            ui.label(RichText::new(note).color(theme::tokens(ui).warning).small());
        }
        let Placing::Similarity { offset, scale, turn_deg, mirror } = &mut now.placing else { return };
        let (width, height) = (input.picture.0 as f32, input.picture.1 as f32);
        Grid::new("clip place").num_columns(2).show(ui, |ui| {
            responses.push(number_ui(ui, texts::X, &mut offset.0, -width..=width, 0.5, " px"));
            responses.push(number_ui(ui, texts::Y, &mut offset.1, -height..=height, 0.5, " px"));
            responses.push(number_ui(ui, texts::SCALE, scale, 0.05..=20.0, 0.005, "×"));
            responses.push(number_ui(ui, texts::TURN, turn_deg, -180.0..=180.0, 0.5, "°"));
        });
        ui.checkbox(mirror, texts::MIRROR);
    }
}
