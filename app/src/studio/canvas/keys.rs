//! The keyboard on the canvas. Invariant: while a text field has the focus no key is taken; a key that is taken does nothing else.
//! Guarded by the canvas's tests.

use eframe::egui::{Key, Modifiers};
use kinebrush_engine::motion::stroke::After;
use kinebrush_engine::stream::live::Hand;

use super::brush::Use;
use super::gesture::Gesture;
use super::style::TEXTS;
use super::view::View;
use super::{Canvas, Env, RegionMode, Tool, edit};
use crate::studio::action::Action;
use crate::studio::document::Selection;

const TOOL_KEYS: [Key; 6] = [Key::D, Key::P, Key::R, Key::N, Key::E, Key::H];
/// How much a press on a bracket key changes the radius, and the softness.
const BRUSH_STEP: (f32, f32) = (1.15, 0.1);

impl Canvas {
    pub(super) fn keys(&mut self, env: &Env<'_>, actions: &mut Vec<Action>) {
        if env.context.text_edit_focused() {
            return;
        }
        let pressed = |modifiers: Modifiers, key: Key| env.context.input_mut(|input| input.consume_key(modifiers, key));
        for (tool, key) in Tool::ALL.into_iter().zip(TOOL_KEYS) {
            if pressed(Modifiers::NONE, key) {
                // The key of the tool in hand, again: what is marked becomes a pin.
                if tool == Tool::Pin && self.tool == Tool::Pin {
                    self.pin_marked(env, actions);
                }
                self.set_tool(tool);
            }
        }
        if pressed(Modifiers::NONE, Key::O) {
            self.overlays_hidden = !self.overlays_hidden;
        }
        let zoom = |canvas: &mut Self, factor: f32| {
            let about = env.pointer.unwrap_or(env.rect.center());
            canvas.view = canvas.view.zoomed(factor, about, env.rect, env.picture);
        };
        if pressed(Modifiers::COMMAND, Key::Plus) || pressed(Modifiers::COMMAND, Key::Equals) {
            zoom(self, 1.25);
        }
        if pressed(Modifiers::COMMAND, Key::Minus) {
            zoom(self, 0.8);
        }
        if pressed(Modifiers::COMMAND, Key::Num0) {
            self.view = View::Fit;
        }
        if pressed(Modifiers::COMMAND, Key::Num1) {
            self.view = self.view.actual_pixels(env.context.pixels_per_point(), env.rect, env.picture);
        }
        let curly = |open: bool| {
            let (curly, bracket) =
                if open { (Key::OpenCurlyBracket, Key::OpenBracket) } else { (Key::CloseCurlyBracket, Key::CloseBracket) };
            pressed(Modifiers::NONE, curly) || pressed(Modifiers::SHIFT, curly) || pressed(Modifiers::SHIFT, bracket)
        };
        let softer = f32::from(i8::from(curly(false)) - i8::from(curly(true))) * BRUSH_STEP.1;
        let larger = i32::from(pressed(Modifiers::NONE, Key::CloseBracket)) - i32::from(pressed(Modifiers::NONE, Key::OpenBracket));
        if let (Some(of), true) = (Use::of(self.tool, self.mode), softer != 0.0 || larger != 0) {
            let brush = &mut self.brushes[of as usize];
            *brush = brush.resized(BRUSH_STEP.0.powi(larger), softer, env.picture);
        }
        if matches!(self.gesture, Gesture::Points(_)) {
            if pressed(Modifiers::NONE, Key::Enter) {
                self.finish(env, actions);
            }
            if pressed(Modifiers::NONE, Key::Backspace)
                && let Gesture::Points(points) = &mut self.gesture
            {
                points.places.pop();
                if points.places.is_empty() {
                    self.gesture = Gesture::None;
                }
            }
        } else if (pressed(Modifiers::NONE, Key::Delete) || pressed(Modifiers::NONE, Key::Backspace)) && !self.dragging() {
            self.delete(env, actions);
        }
        if pressed(Modifiers::NONE, Key::Escape) {
            self.escape(env, actions);
        }
    }

    /// Ends what is nearest: the gesture, else the mark, else the selection.
    pub(super) fn escape(&mut self, env: &Env<'_>, actions: &mut Vec<Action>) {
        match std::mem::take(&mut self.gesture) {
            Gesture::None if self.smart.waits() => self.smart.cancel(),
            Gesture::None if env.work.region.is_some() => {
                let work = super::Work { region: None, ..env.work.clone() };
                self.push_edit(TEXTS.steps.unmark, work, actions);
            }
            Gesture::None if env.selection != Selection::None => actions.push(Action::Select(Selection::None)),
            Gesture::Key(held) => {
                let mut work = held.latest;
                if let Some(stroke) = work.project.strokes.get_mut(held.stroke) {
                    *stroke = held.before;
                    actions.push(Action::Edit { label: TEXTS.steps.move_key, gesture: held.gesture, work: Box::new(work) });
                }
            }
            Gesture::Drag(drag) => {
                if let (Some(number), Some(last)) = (drag.live, drag.samples.last()) {
                    let time = std::time::Instant::now();
                    actions.push(Action::Hand(Hand::Release { drag: number, place: last.place, time, after: After::Release }));
                }
            }
            Gesture::Draw(_) => self.smart.cancel(),
            Gesture::None | Gesture::Pan { .. } | Gesture::Resize { .. } | Gesture::Points(_) => {}
        }
    }

    /// Removes the selected key, or stroke, or pin.
    fn delete(&mut self, env: &Env<'_>, actions: &mut Vec<Action>) {
        let mut work = env.work.clone();
        match env.selection {
            Selection::Stroke(index) if index < work.project.strokes.len() => {
                if let Some(key) = self.key.take()
                    && edit::delete_key(&mut work.project.strokes[index], key)
                {
                    self.push_edit(TEXTS.steps.delete_key, work, actions);
                    return;
                }
                work.project.strokes.remove(index);
                self.push_edit(TEXTS.steps.delete_path, work, actions);
            }
            Selection::Pin(index) if index < work.project.pins.len() => {
                work.project.pins.remove(index);
                self.push_edit(TEXTS.steps.delete_pin, work, actions);
            }
            _ => return,
        }
        actions.push(Action::Select(Selection::None));
    }

    /// What is marked becomes a pin.
    pub(super) fn pin_marked(&mut self, env: &Env<'_>, actions: &mut Vec<Action>) {
        let mut work = env.work.clone();
        if let Some(region) = work.region.take() {
            let moves_all = work.project.strokes.iter().any(|stroke| stroke.region == super::Region::All);
            if region != super::Region::All || !moves_all {
                work.project.pins.push(region);
                self.push_edit(TEXTS.steps.pin, work, actions);
            }
        }
    }

    /// Takes another way to mark; the whole picture is marked at once.
    pub(super) fn set_mode(&mut self, mode: RegionMode, env: &Env<'_>, actions: &mut Vec<Action>) {
        self.mode = mode;
        if mode == RegionMode::Whole && env.work.region != Some(super::Region::All) {
            let work = super::Work { region: Some(super::Region::All), ..env.work.clone() };
            self.push_edit(TEXTS.steps.mark, work, actions);
        }
    }

    pub(super) fn push_edit(&mut self, label: &'static str, work: super::Work, actions: &mut Vec<Action>) {
        let gesture = self.next_gesture();
        actions.push(Action::Edit { label, gesture, work: Box::new(work) });
    }

    pub(super) fn next_gesture(&mut self) -> u64 {
        self.gestures += 1;
        super::FIRST_GESTURE + self.gestures
    }
}
