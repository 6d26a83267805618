//! What can be set about the selected stroke or pin.
//!
//! Invariant: tracks that are richer than two keys are kept until somebody clears them; strokes that share a region keep sharing it.
//! Guarded by the timeline's tests.

use eframe::egui::{Align2, ComboBox, DragValue, Response, RichText, ScrollArea, Sense, Slider, Ui, UiBuilder, vec2};
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::{After, Easing, MAX_FRAMES, Stroke};

use super::controls::{Icon, button, elided, segments};
use super::edit::{self, Simple};
use super::rows::{remove_pin, remove_stroke};
use super::speed::presets_ui;
use super::{Action, Look, Selection, Timeline, TimelineInput, edit_stroke, edit_work, look, name_of, texts};

/// Width of the column with the curve, points.
const LEFT: f32 = 146.0;
/// Width of a row's caption, points.
const CAPTION: f32 = 50.0;

/// A path that is being smoothed: the amount belongs to the path as it was recorded, not to what came of it.
#[derive(Clone, Debug)]
pub(super) struct Smoothing {
    base: Stroke,
    result: Stroke,
    amount: f32,
}

impl Timeline {
    pub(super) fn inspector_ui(&mut self, ui: &mut Ui, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        ui.spacing_mut().item_spacing = vec2(6.0, 3.0);
        ui.spacing_mut().interact_size.y = 21.0;
        ScrollArea::vertical().id_salt("inspector").auto_shrink(false).show(ui, |ui| match t.selection {
            Selection::Stroke(i) if i < t.work.project.strokes.len() => {
                let rect = ui.available_rect_before_wrap();
                let stroke = &t.work.project.strokes[i];
                let left = eframe::egui::Rect::from_min_size(rect.min, vec2(LEFT, rect.height()));
                let below = ui.scope_builder(UiBuilder::new().max_rect(left), |ui| self.timing_ui(ui, i, stroke, t, actions)).response.rect;
                let right = eframe::egui::Rect::from_min_max(rect.min + vec2(LEFT + 14.0, 0.0), rect.max);
                let other =
                    ui.scope_builder(UiBuilder::new().max_rect(right), |ui| self.stroke_rows_ui(ui, i, stroke, t, actions)).response.rect;
                ui.advance_cursor_after_rect(below.union(other));
            }
            Selection::Pin(i) if i < t.work.project.pins.len() => self.pin_rows_ui(ui, i, t, actions),
            _ => drop(note(ui, texts::SELECT)),
        });
    }

    fn timing_ui(&mut self, ui: &mut Ui, i: usize, stroke: &Stroke, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let look = Look::of(ui);
        let galley = elided(ui, &name_of(stroke, i), LEFT, look::body(), look.text);
        ui.label(galley);
        let height = (ui.available_height() - 30.0).clamp(84.0, 138.0);
        let moved = self.curve_ui(ui, stroke, vec2(LEFT, height));
        let chosen = presets_ui(ui, stroke);
        let gesture = if chosen.is_some() { 0 } else { self.gesture(ui) };
        if let Some(timing) = chosen.or(moved) {
            actions.push(edit_stroke(t, texts::SPEED, gesture, i, Stroke { timing, ..stroke.clone() }));
        }
    }

    fn stroke_rows_ui(&mut self, ui: &mut Ui, i: usize, stroke: &Stroke, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let mut set = |label, gesture, stroke| actions.push(edit_stroke(t, label, gesture, i, stroke));
        row(ui, texts::EASING, |ui| {
            if let Some(easing) = easing_ui(ui, stroke.easing) {
                set(texts::EASE, 0, Stroke { easing, ..stroke.clone() });
            }
            ui.add_enabled_ui(!stroke.timing.is_empty() || stroke.easing != Easing::Hand, |ui| {
                if ui.button(text(texts::RESET)).on_hover_text(texts::RESET_TIP).clicked() {
                    set(texts::SPEED, 0, Stroke { timing: Vec::new(), easing: Easing::Hand, ..stroke.clone() });
                }
            });
        });
        row(ui, texts::AFTER, |ui| {
            let choices = [
                (texts::HOLD, texts::HOLD_TIP, stroke.after == After::Hold),
                (texts::LET_GO, texts::LET_GO_TIP, stroke.after == After::Release),
            ];
            if let Some(chosen) = segments(ui, &choices) {
                let after = [After::Hold, After::Release][chosen];
                if after != stroke.after {
                    set(texts::AFTERWARDS, 0, Stroke { after, ..stroke.clone() });
                }
            }
        });
        let gesture = self.gesture(ui);
        let (first, last) = edit::span(stroke);
        let last = last.max(first + 1.0);
        if let Some(turn) = track_ui(ui, texts::TURN, &stroke.turn, (0.0, -3600.0, 3600.0, 1.0, "°"), (first, last)) {
            set(texts::TURN_STEP, gesture, Stroke { turn, ..stroke.clone() });
        }
        if let Some(scale) = track_ui(ui, texts::SCALE, &stroke.scale, (1.0, 0.05, 20.0, 0.01, "x"), (first, last)) {
            set(texts::SCALE_STEP, gesture, Stroke { scale, ..stroke.clone() });
        }
        if let Some(smooth) = self.smoothing_ui(ui, stroke) {
            set(texts::SMOOTH, gesture, smooth);
        }
        if let Some(softness) = softness_ui(ui, &stroke.region) {
            let region = edit::softened(&stroke.region, softness);
            // The layer stays one: every stroke that moves it gets the same region.
            actions.push(edit_work(t, texts::SOFTEN, gesture, |work| {
                work.project
                    .strokes
                    .iter_mut()
                    .filter(|other| other.region == stroke.region)
                    .for_each(|other| other.region = region.clone());
            }));
        }
        row(ui, "", |ui| {
            if button(ui, Icon::Repeat, texts::REPEAT, texts::REPEAT, texts::REPEAT_TIP, false).clicked() {
                let name = format!("{} {}", name_of(stroke, i), texts::COPY);
                actions.push(edit_work(t, texts::REPEAT, 0, |work| work.project.strokes.insert(i + 1, edit::repeated(stroke, name))));
                actions.push(Action::Select(Selection::Stroke(i + 1)));
            }
            if button(ui, Icon::Delete, texts::DELETE, texts::DELETE, texts::DELETE_TIP, false).clicked() {
                actions.push(remove_stroke(t, i));
                actions.push(Action::Select(Selection::None));
            }
        });
    }

    fn pin_rows_ui(&self, ui: &mut Ui, i: usize, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let look = Look::of(ui);
        ui.label(RichText::new(format!("{} {}", texts::PIN, i + 1)).font(look::body()).color(look.text));
        ui.label(RichText::new(texts::PIN_NOTE).font(look::small()).color(look.quiet));
        if let Some(softness) = softness_ui(ui, &t.work.project.pins[i]) {
            let gesture = self.gesture(ui);
            actions.push(edit_work(t, texts::SOFTEN, gesture, |work| {
                work.project.pins[i] = edit::softened(&work.project.pins[i], softness);
            }));
        }
        row(ui, "", |ui| {
            if button(ui, Icon::Delete, texts::DELETE, texts::DELETE, texts::DELETE_PIN_TIP, false).clicked() {
                actions.push(remove_pin(t, i));
                actions.push(Action::Select(Selection::None));
            }
        });
    }

    /// The slider starts at 0 for every path and remembers what it began from while nothing else changes the stroke.
    fn smoothing_ui(&mut self, ui: &mut Ui, stroke: &Stroke) -> Option<Stroke> {
        if self.smoothing.as_ref().is_none_or(|smoothing| smoothing.result != *stroke) {
            self.smoothing = Some(Smoothing { base: stroke.clone(), result: stroke.clone(), amount: 0.0 });
        }
        let smoothing = self.smoothing.as_mut()?;
        let mut changed = false;
        row(ui, texts::SMOOTHING, |ui| {
            ui.add_enabled_ui(smoothing.base.path.len() > 2, |ui| {
                let slider = Slider::new(&mut smoothing.amount, 0.0..=1.0).show_value(false);
                changed = ui.add(slider).accessible_name(texts::SMOOTHING).on_hover_text(texts::SMOOTHING_TIP).changed();
            });
            note(ui, &format!("{} {}", stroke.path.len(), texts::KEYS));
        });
        if !changed {
            return None;
        }
        smoothing.result = edit::smoothed(&smoothing.base, smoothing.amount);
        (smoothing.result != *stroke).then(|| smoothing.result.clone())
    }
}

fn text(of: &str) -> RichText {
    RichText::new(of).font(look::small())
}

fn note(ui: &mut Ui, of: &str) -> Response {
    let quiet = Look::of(ui).quiet;
    ui.label(text(of).color(quiet))
}

/// A caption, then controls.
fn row(ui: &mut Ui, caption: &str, content: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        ui.set_min_height(24.0);
        ui.spacing_mut().item_spacing.x = 5.0;
        ui.spacing_mut().slider_width = 116.0;
        // Painted: for a screen reader the controls carry the name themselves.
        let (rect, _) = ui.allocate_exact_size(vec2(CAPTION, 22.0), Sense::hover());
        ui.painter().text(rect.left_center(), Align2::LEFT_CENTER, caption, look::small(), Look::of(ui).quiet);
        content(ui);
    });
}

fn easing_ui(ui: &mut Ui, easing: Easing) -> Option<Easing> {
    let all = [
        (Easing::Hand, texts::HAND),
        (Easing::Linear, texts::LINEAR),
        (Easing::EaseIn, texts::EASE_IN),
        (Easing::EaseOut, texts::EASE_OUT),
        (Easing::EaseInOut, texts::EASE_IN_OUT),
    ];
    let shown = all.iter().find(|one| one.0 == easing).map_or("", |one| one.1);
    let mut chosen = easing;
    let combo = ComboBox::from_id_salt("easing").width(104.0).selected_text(text(shown));
    let inner = combo.show_ui(ui, |ui| {
        for (value, label) in all {
            ui.selectable_value(&mut chosen, value, label);
        }
    });
    inner.response.accessible_name(texts::EASING);
    (chosen != easing).then_some(chosen)
}

/// End value, first and last frame of a simple track; a richer one can be cleared. `kind` is rest, least, most, speed and unit, `span`
/// where a new track would lie.
fn track_ui(
    ui: &mut Ui,
    caption: &str,
    track: &[(f32, f32)],
    kind: (f32, f32, f32, f64, &str),
    span: (f32, f32),
) -> Option<Vec<(f32, f32)>> {
    let (rest, least, most, speed, unit) = kind;
    let mut changed = None;
    row(ui, caption, |ui| {
        let (mut from, mut to, mut value) = match edit::simple(track) {
            Simple::None => (span.0, span.1, rest),
            Simple::Two { from, to, value } => (from, to, value),
            Simple::Custom(keys) => {
                note(ui, &format!("{} ({keys} {})", texts::CUSTOM, texts::KEYS));
                if ui.button(text(texts::CLEAR)).clicked() {
                    changed = Some(Vec::new());
                }
                return;
            }
        };
        let drag = |ui: &mut Ui, value: DragValue<'_>, label: String| {
            ui.style_mut().drag_value_text_style = eframe::egui::TextStyle::Small;
            ui.style_mut().text_styles.insert(eframe::egui::TextStyle::Small, look::small());
            ui.spacing_mut().interact_size.x = 37.0;
            ui.add(value.update_while_editing(false)).accessible_name(label).changed()
        };
        let whole = DragValue::new(&mut value).range(least..=most).speed(speed).suffix(unit).max_decimals(2);
        let mut touched = drag(ui, whole, caption.to_owned());
        ui.add_enabled_ui(!track.is_empty(), |ui| {
            note(ui, texts::FROM);
            let start = DragValue::new(&mut from).range(0.0..=(to - 1.0).max(0.0)).speed(0.25).max_decimals(1);
            touched |= drag(ui, start, format!("{caption} {} {}", texts::FROM, texts::FRAME));
            note(ui, texts::TO);
            let end = DragValue::new(&mut to).range(from + 1.0..=MAX_FRAMES as f32).speed(0.25).max_decimals(1);
            touched |= drag(ui, end, format!("{caption} {} {}", texts::TO, texts::FRAME));
        });
        if touched {
            changed = Some(edit::two_keys(rest, value, from, to)).filter(|new| new != track);
        }
    });
    changed
}

fn softness_ui(ui: &mut Ui, region: &Region) -> Option<f32> {
    let (mut softness, most) = edit::softness(region)?;
    let before = softness;
    row(ui, texts::SOFTNESS, |ui| {
        ui.add(Slider::new(&mut softness, 0.0..=most).show_value(false)).accessible_name(texts::SOFTNESS);
        note(ui, &if most > 1.0 { format!("{softness:.0} px") } else { format!("{:.0} %", softness * 100.0) });
    });
    (softness != before).then_some(softness)
}
