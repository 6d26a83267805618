//! The pointer on the canvas: events in the order in which they came, so that a press and a move within one frame of the screen keep
//! their places.
//!
//! Invariant: what begins above the canvas (a bar, a window) never reaches it; a gesture ends where its button does. Guarded by the
//! canvas's tests.

use std::time::Instant;

use eframe::egui::{self, Event, Key, Modifiers, MouseWheelSource, MouseWheelUnit, PointerButton, Pos2};
use glam::Vec2;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::{After, Easing, Key as PathKey};
use kinebrush_engine::stream::live::Hand;

use super::brush::{Brush, Use};
use super::edit::{self, within_reach};
use super::gesture::{Drag, Draw, Gesture, KeyMove, Points, Purpose, how};
use super::style::TEXTS;
use super::timing::Sample;
use super::view::ScreenFromPicture;
use super::{Canvas, Env, RegionMode, Tool};
use crate::studio::action::Action;
use crate::studio::document::Selection;

/// A click moves no farther than this, screen points.
const CLICK_REACH: f32 = 4.0;
/// Zoom of one notch of a wheel.
const NOTCH: f32 = 1.2;
/// The lightest touch of a pen has this part of the radius.
const LIGHTEST: f32 = 0.3;

/// A press or a move.
#[derive(Clone, Copy)]
struct At {
    pos: Pos2,
    seconds: f64,
}

impl Canvas {
    pub(super) fn input(&mut self, ui: &egui::Ui, env: &Env<'_>, actions: &mut Vec<Action>) {
        let (events, now, space, double, touches) = env.context.input(|input| {
            let double = input.pointer.button_double_clicked(PointerButton::Primary);
            (input.events.clone(), input.time, input.key_down(Key::Space), double, input.multi_touch())
        });
        if let Some(touches) = touches {
            // Two fingers move the view; what the first one began is given up.
            if self.dragging() && !matches!(self.gesture, Gesture::Points(_)) {
                self.escape(env, actions);
            }
            let way = touches.translation_delta;
            self.view = self.view.zoomed(touches.zoom_delta, touches.center_pos, env.rect, env.picture);
            self.view = self.view.moved(Vec2::new(way.x, way.y), env.rect, env.picture);
            return;
        }
        let is_move = |event: &&Event| matches!(event, Event::PointerMoved(_) | Event::PointerButton { .. });
        let count = events.iter().filter(is_move).count().max(1) as f64;
        let before = self.last_seconds.clamp(now - 0.1, now);
        let mut nth = 0.0;
        let mut moved = false;
        for event in &events {
            let map = self.view.transform(env.rect, env.picture);
            if is_move(&event) {
                nth += 1.0;
            }
            let seconds = before + (now - before) * nth / count;
            match event {
                Event::Touch { force: Some(force), .. } => self.pressure = Some(force.clamp(0.0, 1.0)),
                Event::PointerMoved(pos) => {
                    self.moved(env, At { pos: *pos, seconds }, &map);
                    moved = true;
                }
                Event::PointerButton { pos, button, pressed: true, modifiers }
                    if (!self.lent || space) && self.is_free(ui, env.rect, *pos) =>
                {
                    self.pressed(env, At { pos: *pos, seconds }, *button, *modifiers, space, &map, actions);
                }
                Event::PointerButton { pos, pressed: false, modifiers, button } => {
                    self.moved(env, At { pos: *pos, seconds }, &map);
                    self.released(env, *pos, *button, *modifiers, double, &map, actions);
                    self.pressure = None;
                    moved = false;
                }
                Event::MouseWheel { unit, delta, source, modifiers, .. }
                    if env.pointer.is_some() && (!self.lent || modifiers.command || modifiers.ctrl) =>
                {
                    self.wheel(env, *unit, *delta, *source, *modifiers);
                }
                Event::Zoom(factor) if env.pointer.is_some() => self.zoom_at_pointer(env, *factor),
                _ => {}
            }
        }
        // A release that never comes, for another window took over, must not leave the gesture stuck to the pointer.
        let (held, last) = env.context.input(|input| (input.pointer.any_down(), input.pointer.latest_pos()));
        let left = events.iter().any(|event| matches!(event, Event::WindowFocused(false)));
        if (left || !held) && self.dragging() && !matches!(self.gesture, Gesture::Points(_)) {
            let map = self.view.transform(env.rect, env.picture);
            self.released(env, last.unwrap_or(env.rect.center()), PointerButton::Primary, Modifiers::NONE, false, &map, actions);
        }
        if let (Gesture::Drag(drag), true) = (&self.gesture, moved)
            && let (Some(number), Some(last)) = (drag.live, drag.samples.last())
        {
            actions.push(Action::Hand(Hand::Move { drag: number, place: last.place, time: Instant::now() }));
        }
        if moved {
            self.ask_smart(env, false);
        }
        if let (Gesture::Key(_), true) = (&self.gesture, moved) {
            self.push_key_move(actions);
        }
    }

    fn wheel(&mut self, env: &Env<'_>, unit: MouseWheelUnit, delta: egui::Vec2, source: MouseWheelSource, modifiers: Modifiers) {
        let notched = match source {
            MouseWheelSource::Wheel => true,
            MouseWheelSource::Unknown => unit != MouseWheelUnit::Point,
            _ => false,
        };
        let lines = if unit == MouseWheelUnit::Point { delta / 50.0 } else { delta };
        if modifiers.command || modifiers.ctrl || (notched && !modifiers.shift) {
            self.zoom_at_pointer(env, NOTCH.powf(lines.y));
        } else {
            let way = if unit == MouseWheelUnit::Point { delta } else { delta * 40.0 };
            // With Shift a wheel moves sideways.
            let way = if modifiers.shift && way.x == 0.0 { Vec2::new(way.y, 0.0) } else { Vec2::new(way.x, way.y) };
            self.view = self.view.moved(way, env.rect, env.picture);
        }
    }

    fn zoom_at_pointer(&mut self, env: &Env<'_>, factor: f32) {
        let about = env.pointer.unwrap_or(env.rect.center());
        self.view = self.view.zoomed(factor, about, env.rect, env.picture);
    }

    fn pressed(
        &mut self,
        env: &Env<'_>,
        at: At,
        button: PointerButton,
        modifiers: Modifiers,
        space: bool,
        map: &ScreenFromPicture,
        actions: &mut Vec<Action>,
    ) {
        let clicking = matches!(self.gesture, Gesture::Points(_));
        if self.dragging() && !clicking {
            return;
        }
        let primary = button == PointerButton::Primary;
        if button == PointerButton::Middle || (primary && (space || self.tool == Tool::Hand)) {
            if !clicking {
                self.gesture = Gesture::Pan { last: at.pos };
            }
            return;
        }
        if let Some(of) = Use::of(self.tool, self.mode)
            && ((primary && modifiers.command) || (button == PointerButton::Secondary && modifiers.alt))
        {
            if !clicking {
                self.gesture = Gesture::Resize { of, origin: at.pos, before: self.brushes[of as usize] };
            }
            return;
        }
        // Points are added where the button is let go; a scribble waits for the answer to the one before.
        if !primary || clicking || self.smart.waits() {
            return;
        }
        let place = map.picture(at.pos);
        match self.tool {
            Tool::Drag => self.press_drag(env, at, place, actions),
            Tool::Path => self.press_path(env, at, place, modifiers, map),
            Tool::Region => {
                let mark = how(modifiers);
                self.begin_draw(env, at, place, Purpose::Mark(self.mode, mark), Use::of(Tool::Region, self.mode).unwrap_or(Use::Mark));
                if let (RegionMode::Smart, Gesture::Draw(draw)) = (self.mode, &self.gesture) {
                    let softness_px = draw.softness_px();
                    self.begin_scribble(env.work, mark, softness_px);
                    self.ask_smart(env, false);
                }
            }
            Tool::Pin => self.begin_draw(env, at, place, Purpose::Pin, Use::Mark),
            Tool::Erase => {
                let pin = self.pin_at(env, place);
                self.begin_draw(env, at, place, Purpose::Erase(pin), Use::Mark);
            }
            Tool::Hand => {}
        }
    }

    fn press_drag(&mut self, env: &Env<'_>, at: At, place: Vec2, actions: &mut Vec<Action>) {
        let Some(grip) = self.grip(env, place) else { return };
        let live = env.running().then(|| {
            self.drags += 1;
            self.drags
        });
        if let Some(drag) = live {
            actions.push(Action::Hand(Hand::Press { drag, region: grip.region.clone(), place: grip.source, time: Instant::now() }));
        }
        let map = self.view.transform(env.rect, env.picture);
        let rings = self.rings(env, &grip.region, &map);
        let outline = rings.iter().map(|ring| ring.iter().map(|place| map.picture(*place)).collect()).collect();
        self.gesture = Gesture::Drag(Box::new(Drag {
            live,
            before: env.work.clone(),
            region: grip.region,
            on_object: grip.on_object,
            outline,
            origin: (at.pos, place),
            samples: vec![Sample { seconds: at.seconds, place: grip.source }],
            first_frame: env.frame.max(0.0).floor(),
            moved: false,
            after: After::Hold,
        }));
    }

    fn press_path(&mut self, env: &Env<'_>, at: At, place: Vec2, modifiers: Modifiers, map: &ScreenFromPicture) {
        if let (Some((key, side)), Selection::Stroke(stroke)) = (self.key_at(env, at.pos, map), env.selection) {
            self.key = Some(key);
            // With Alt a handle is pulled out of the key.
            let handle = side.or(modifiers.alt.then_some(1.0));
            let path = &env.work.project.strokes[stroke];
            let way = path.handles.iter().find(|handle| handle.0 == key).map_or(Vec2::ZERO, |handle| Vec2::new(handle.1, handle.2));
            let held = path.path[key].place + side.map_or(Vec2::ZERO, |side| way * side);
            let (before, latest, gesture) = (path.clone(), env.work.clone(), self.next_gesture());
            self.gesture = Gesture::Key(Box::new(KeyMove {
                gesture,
                latest,
                before,
                stroke,
                key,
                handle,
                grip: held - place,
                origin: at.pos,
                place,
                moved: false,
            }));
            return;
        }
        if let Some(target) = self.path_target(env, place) {
            self.begin_draw(env, at, place, Purpose::Path(target), Use::Grab);
        }
    }

    fn begin_draw(&mut self, env: &Env<'_>, at: At, place: Vec2, purpose: Purpose, of: Use) {
        let brush = self.brushes[of as usize];
        let pressed = self.pressure.map_or(1.0, |force| LIGHTEST + (1.0 - LIGHTEST) * force);
        self.gesture = Gesture::Draw(Box::new(Draw {
            purpose,
            before: env.work.clone(),
            origin: at.pos,
            samples: vec![Sample { seconds: at.seconds, place: within_reach(place, env.picture) }],
            first_frame: env.frame.max(0.0).floor(),
            moved: false,
            brush: Brush { radius_px: brush.radius_px * pressed, ..brush },
        }));
    }

    fn moved(&mut self, env: &Env<'_>, at: At, map: &ScreenFromPicture) {
        let pos = at.pos;
        let place = map.picture(pos);
        let left = |origin: Pos2| origin.distance(pos) > CLICK_REACH;
        let seeks_pin = matches!(&self.gesture, Gesture::Draw(draw) if draw.purpose == Purpose::Erase(None));
        let touched = if seeks_pin { self.pin_at(env, place) } else { None };
        match &mut self.gesture {
            Gesture::None | Gesture::Points(_) => {}
            Gesture::Pan { last } => {
                let way = pos - *last;
                *last = pos;
                self.view = self.view.moved(Vec2::new(way.x, way.y), env.rect, env.picture);
            }
            Gesture::Resize { of, origin, before } => self.brushes[*of as usize] = before.dragged(pos - *origin, env.picture),
            Gesture::Drag(drag) => {
                drag.moved |= left(drag.origin.0);
                if let Some(first) = drag.samples.first().copied() {
                    let place = within_reach(first.place + place - drag.origin.1, env.picture);
                    drag.samples.push(Sample { seconds: at.seconds, place });
                }
            }
            Gesture::Draw(draw) => {
                draw.moved |= left(draw.origin);
                if touched.is_some() {
                    draw.purpose = Purpose::Erase(touched);
                }
                draw.samples.push(Sample { seconds: at.seconds, place: within_reach(place, env.picture) });
                let is_brush = !matches!(draw.purpose, Purpose::Path(_) | Purpose::Mark(RegionMode::Lasso, _));
                if let (Some(force), true) = (self.pressure, is_brush) {
                    let of = if matches!(draw.purpose, Purpose::Mark(RegionMode::Smart, _)) { Use::Scribble } else { Use::Mark };
                    let radius = self.brushes[of as usize].radius_px * (LIGHTEST + (1.0 - LIGHTEST) * force);
                    // One stroke has one radius: that of the strongest pressure.
                    draw.brush.radius_px = draw.brush.radius_px.max(radius);
                }
            }
            Gesture::Key(held) => {
                held.moved |= left(held.origin);
                held.place = place;
            }
        }
    }

    fn push_key_move(&mut self, actions: &mut Vec<Action>) {
        let Gesture::Key(held) = &self.gesture else { return };
        let gesture = held.gesture;
        if held.moved
            && let Some(done) = self.finished()
        {
            actions.push(Action::Edit { label: done.label, gesture, work: Box::new(done.work) });
        }
    }

    fn released(
        &mut self,
        env: &Env<'_>,
        pos: Pos2,
        button: PointerButton,
        modifiers: Modifiers,
        double: bool,
        map: &ScreenFromPicture,
        actions: &mut Vec<Action>,
    ) {
        let primary = button == PointerButton::Primary;
        match &mut self.gesture {
            Gesture::Pan { .. } | Gesture::Resize { .. } => self.gesture = Gesture::None,
            _ if !primary => {}
            Gesture::None => {}
            Gesture::Drag(drag) => {
                drag.after = if modifiers.shift { After::Release } else { After::Hold };
                let (live, moved) = (drag.live, drag.moved);
                let (last, after) = (drag.samples.last().map(|sample| sample.place), drag.after);
                if let (Some(number), Some(place)) = (live, last) {
                    actions.push(Action::Hand(Hand::Release { drag: number, place, time: Instant::now(), after }));
                    self.gesture = Gesture::None;
                } else if moved {
                    self.finish(env, actions);
                } else {
                    self.gesture = Gesture::None;
                    self.select_at(env, pos, map, actions);
                }
            }
            Gesture::Points(points) => {
                if !double {
                    let place = within_reach(map.picture(pos), env.picture);
                    points.places.push(place);
                } else {
                    self.finish(env, actions);
                }
            }
            Gesture::Key(_) => {
                self.push_last_key_move(actions);
                self.gesture = Gesture::None;
            }
            Gesture::Draw(draw) => {
                let (purpose, moved) = (draw.purpose.clone(), draw.moved);
                match purpose {
                    Purpose::Path(target) if !moved => self.click_path(env, pos, target, double, map, actions),
                    Purpose::Mark(RegionMode::Smart, _) => {
                        self.ask_smart(env, true);
                        self.gesture = Gesture::None;
                    }
                    Purpose::Pin if !moved && self.is_on_mark(env, map.picture(pos)) => {
                        self.gesture = Gesture::None;
                        self.pin_marked(env, actions);
                    }
                    Purpose::Erase(_) if !moved && self.erase_at(env, pos, map, actions) => self.gesture = Gesture::None,
                    _ => self.finish(env, actions),
                }
            }
        }
    }

    fn is_on_mark(&mut self, env: &Env<'_>, place: Vec2) -> bool {
        env.work.region.as_ref().is_some_and(|region| self.contains(env, region, place))
    }

    /// A click on a handle takes it away, a click on a key only selects it.
    fn push_last_key_move(&mut self, actions: &mut Vec<Action>) {
        let Gesture::Key(held) = &self.gesture else { return };
        let gesture = held.gesture;
        if (held.moved || held.handle.is_some())
            && let Some(done) = self.finished()
        {
            actions.push(Action::Edit { label: done.label, gesture, work: Box::new(done.work) });
        }
    }

    fn select_at(&mut self, env: &Env<'_>, pos: Pos2, map: &ScreenFromPicture, actions: &mut Vec<Action>) {
        let selection = self.selectable_at(env, pos, map);
        self.key = None;
        if selection != env.selection {
            actions.push(Action::Select(selection));
        }
    }

    /// A click with the path tool: selects a path, puts a key on it when clicked twice, or begins a path of clicks.
    fn click_path(&mut self, env: &Env<'_>, pos: Pos2, target: Region, double: bool, map: &ScreenFromPicture, actions: &mut Vec<Action>) {
        let before = match std::mem::take(&mut self.gesture) {
            Gesture::Draw(draw) => *draw,
            _ => return,
        };
        if let Some(stroke) = self.path_at(env, pos, map) {
            if double && env.selection == Selection::Stroke(stroke) {
                return self.insert_key(env, pos, map, actions);
            }
            self.select_at(env, pos, map, actions);
            return;
        }
        let places = vec![within_reach(map.picture(pos), env.picture)];
        self.gesture = Gesture::Points(Box::new(Points { before: before.before, target, places, first_frame: before.first_frame }));
    }

    fn insert_key(&mut self, env: &Env<'_>, pos: Pos2, map: &ScreenFromPicture, actions: &mut Vec<Action>) {
        let Selection::Stroke(index) = env.selection else { return };
        let mut work = env.work.clone();
        let Some(stroke) = work.project.strokes.get_mut(index) else { return };
        let shape = self.shapes.path(stroke);
        let Some((segment, part, place)) = shape.hit(pos, env.reach, |place| map.screen(place)) else { return };
        let (Some(from), Some(to)) = (stroke.path.get(segment), stroke.path.get(segment + 1)) else { return };
        // By the hand's timing the key gets the frame at which the path is there, else only its place matters.
        let frame = match stroke.easing {
            Easing::Hand if stroke.timing.is_empty() => shape.frame_near(place, from.frame, to.frame),
            _ => from.frame + (to.frame - from.frame) * part,
        };
        if edit::insert_key(stroke, segment, PathKey { frame, place }) {
            self.key = Some(segment + 1);
            self.push_edit(TEXTS.steps.insert_key, work, actions);
        }
    }

    /// Removes the path or pin under the pointer; false where there is none.
    fn erase_at(&mut self, env: &Env<'_>, pos: Pos2, map: &ScreenFromPicture, actions: &mut Vec<Action>) -> bool {
        let mut work = env.work.clone();
        let label = match self.selectable_at(env, pos, map) {
            Selection::Stroke(stroke) => {
                work.project.strokes.remove(stroke);
                TEXTS.steps.delete_path
            }
            Selection::Pin(pin) => {
                work.project.pins.remove(pin);
                TEXTS.steps.delete_pin
            }
            Selection::None => return false,
        };
        self.push_edit(label, work, actions);
        if env.selection != Selection::None {
            actions.push(Action::Select(Selection::None));
        }
        true
    }

    /// Ends the gesture; what comes of it is one step.
    pub(super) fn finish(&mut self, env: &Env<'_>, actions: &mut Vec<Action>) {
        let done = self.finished();
        self.gesture = Gesture::None;
        let Some(done) = done else { return };
        self.push_edit(done.label, done.work, actions);
        if let Some(selection) = done.select.filter(|selection| *selection != env.selection) {
            self.key = None;
            actions.push(Action::Select(selection));
        }
    }
}
