//! The camera in the hand on the picture: orbit, pan, dolly and roll, handles that fit a scene, the depth brush and the look-at target.
//!
//! The pointer is read before the picture is drawn, so that the guide follows the hand in the same frame of the window. Invariant: a drag
//! starts from the path as it was at the press, and every state on the way is one step of one gesture. Guarded by the panel's tests and
//! `tests/tests/camera.rs`.

use eframe::egui::{
    CornerRadius, CursorIcon, Event, Key, Mesh, Modifiers, MouseWheelUnit, Painter, PointerButton, Pos2, Rect, Role, Sense, Shape,
    Stroke as Line, Ui, Vec2, WidgetInfo, vec2,
};
use glam::Vec3;
use kinebrush_engine::motion::camera::CameraPath;
use kinebrush_engine::motion::depth::{DepthMark, DepthSource, SceneShape};
use kinebrush_engine::motion::region::Region;

use super::edit::{self, Move};
use super::survey::{Shade, ramp};
use super::{CameraInput, CameraPanel, OnScreen, Tab, texts};
use crate::studio::action::Action;
use crate::studio::theme::Tokens;
use crate::studio::timeline::Look;

/// How near the pointer has to be to a handle, points.
const REACH: f32 = 12.0;
/// Part of the distance that a notch of the wheel goes.
const NOTCH: f32 = 0.05;
/// Turns of the wheel that come within this time are one step, seconds.
const TOGETHER: f64 = 0.8;
/// Points of a drag for the whole way to the pivot.
const DOLLY: f32 = 420.0;
/// Least side of a room's back wall, part of the picture's.
const WALL: f32 = 0.02;

/// What is in the hand on the picture.
#[derive(Clone, Debug)]
pub enum Grip {
    /// The camera.
    Camera { before: CameraPath, frame: f32, press: Pos2, pivot: Vec3, how: How },
    /// A handle of the scene's shape, by its number.
    Handle { before: CameraPath, handle: usize },
    /// The depth brush, px of the picture.
    Brush { points: Vec<(f32, f32)> },
}

/// What a drag does to the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Orbit,
    Pan,
    Dolly,
    Roll,
}

impl How {
    fn of(button: PointerButton, modifiers: Modifiers) -> Self {
        match () {
            () if button == PointerButton::Middle || modifiers.shift => Self::Pan,
            () if modifiers.command || modifiers.ctrl => Self::Dolly,
            () if modifiers.alt => Self::Roll,
            () => Self::Orbit,
        }
    }
}

impl CameraPanel {
    /// What the pointer on the picture asks for. `is_on` says whether a place is on the canvas and on nothing above it.
    pub fn on_picture(&mut self, ui: &Ui, t: &CameraInput<'_>, on: OnScreen, is_on: &dyn Fn(Pos2) -> bool) -> Vec<Action> {
        let mut actions = Vec::new();
        let (events, now, hover, held) =
            ui.input(|input| (input.events.clone(), input.time, input.pointer.latest_pos(), input.pointer.any_down()));
        if (self.grip.is_some() || self.picking) && ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Escape)) {
            self.picking = false;
            if let Some(Grip::Camera { before, .. } | Grip::Handle { before, .. }) = self.grip.take() {
                actions.push(t.edit_path(texts::STEP_MOVE, self.gesture, before));
            }
        }
        let mut latest = None;
        for event in &events {
            match event {
                Event::PointerButton { pos, button, pressed: true, modifiers } if self.grip.is_none() && is_on(*pos) => {
                    self.press(t, on, *pos, *button, *modifiers, &mut actions);
                }
                Event::PointerMoved(pos) => {
                    latest = Some(*pos);
                    if let Some(Grip::Brush { points }) = &mut self.grip {
                        let place = on.map.picture(*pos);
                        // Closer points draw nothing that is seen.
                        let last = points.last().map_or(glam::Vec2::MAX, |last| glam::Vec2::from(*last));
                        if last.distance(place) * on.map.scale > 2.0 {
                            points.push(place.into());
                        }
                    }
                }
                Event::PointerButton { pos, pressed: false, .. } if self.grip.is_some() => {
                    actions.extend(self.pulled(t, on, *pos));
                    actions.extend(self.let_go(t));
                    latest = None;
                }
                Event::MouseWheel { unit, delta, modifiers, .. }
                    if self.tab == Tab::Move && !modifiers.command && !modifiers.ctrl && hover.is_some_and(is_on) =>
                {
                    let lines = if *unit == MouseWheelUnit::Point { delta.y / 50.0 } else { delta.y };
                    actions.extend(self.wheeled(t, lines, now));
                }
                _ => {}
            }
        }
        if let Some(at) = latest {
            actions.extend(self.pulled(t, on, at));
        }
        // A release that never comes, for another window took over.
        if !held && self.grip.is_some() {
            actions.extend(self.let_go(t));
        }
        if let Some(icon) = hover.filter(|at| is_on(*at)).map(|at| self.cursor(t, on, at)) {
            ui.ctx().set_cursor_icon(icon);
        }
        // Of one frame of the window only the last state counts.
        let keep = actions.len().saturating_sub(1);
        let merges = |action: &Action| matches!(action, Action::Edit { gesture, .. } if *gesture == self.gesture);
        let last = actions.last().is_some_and(merges);
        actions.into_iter().enumerate().filter(|(i, action)| !last || *i == keep || !merges(action)).map(|(_, action)| action).collect()
    }

    fn press(
        &mut self,
        t: &CameraInput<'_>,
        on: OnScreen,
        at: Pos2,
        button: PointerButton,
        modifiers: Modifiers,
        actions: &mut Vec<Action>,
    ) {
        let path = t.path();
        let place = on.map.picture(at);
        let primary = button == PointerButton::Primary;
        // A place of the picture that was taken; where the camera moved it is looked for.
        if self.picking {
            self.picking = false;
            let view = t.view(&path).filter(|_| self.tab == Tab::Move);
            let far = self.survey.distance(&path) * 5.0;
            let point = self.survey.get().filter(|_| primary).and_then(|surveyed| surveyed.point_at(place, view.as_ref(), far));
            if let Some(target) = point {
                actions.push(t.edit_path(texts::STEP_LOOK, 0, CameraPath { look_at: Some(target), ..path }));
            }
            return;
        }
        match self.tab {
            Tab::Move if button != PointerButton::Secondary => {
                let pose = edit::pose(&path, t.size(), t.playhead);
                let camera = path.camera(t.size(), t.playhead);
                let distance = self.target_distance(t, &path);
                let pivot = path.look_at.unwrap_or(camera.position + pose.rotation * Vec3::Z * distance);
                self.grip = Some(Grip::Camera { before: path, frame: t.playhead, press: at, pivot, how: How::of(button, modifiers) });
            }
            Tab::Depth if primary => {
                let nearest = handles(&path.depth, t.size())
                    .into_iter()
                    .map(|handle| on.map.screen(handle).distance(at))
                    .enumerate()
                    .filter(|(_, distance)| *distance <= REACH)
                    .min_by(|a, b| a.1.total_cmp(&b.1));
                if let Some((handle, _)) = nearest {
                    self.grip = Some(Grip::Handle { before: path, handle });
                } else if matches!(path.depth, DepthSource::Painted { .. }) {
                    self.grip = Some(Grip::Brush { points: vec![place.into()] });
                }
            }
            _ => {}
        }
    }

    /// The path as the hand has it now.
    fn pulled(&self, t: &CameraInput<'_>, on: OnScreen, at: Pos2) -> Option<Action> {
        let (label, path) = match self.grip.as_ref()? {
            Grip::Camera { before, frame, press, pivot, how } => {
                let way = glam::Vec2::new(at.x - press.x, at.y - press.y);
                let middle = on.map.picture_rect(t.size()).center();
                let by = match how {
                    How::Orbit => Move::Orbit(way / on.map.scale),
                    How::Pan => Move::Pan(way / on.map.scale),
                    How::Dolly => Move::Dolly(-way.y / DOLLY),
                    How::Roll => Move::Roll(turn(middle, *press, at)),
                };
                let focal = before.camera(t.size(), *frame).lens.focal_px;
                let aims = before.look_at.is_some();
                (texts::STEP_MOVE, edit::posed(before, t.size(), *frame, |key| *key = edit::moved(key, focal, *pivot, by, aims)))
            }
            Grip::Handle { before, handle } => {
                let depth = with_handle(&before.depth, t.size(), *handle, on.map.picture(at));
                (texts::STEP_DEPTH, CameraPath { depth, ..before.clone() })
            }
            Grip::Brush { .. } => return None,
        };
        (t.work.project.camera.as_ref() != Some(&path) && path != t.path()).then(|| t.edit_path(label, self.gesture, path))
    }

    /// The hand lets go: what was painted becomes a mark.
    fn let_go(&mut self, t: &CameraInput<'_>) -> Option<Action> {
        let Some(Grip::Brush { points }) = self.grip.take() else { return None };
        let mut path = t.path();
        let DepthSource::Painted { marks, .. } = &mut path.depth else { return None };
        let region = Region::Brush { points, radius: self.radius_px(t), softness: 0.0 };
        // Beside the picture nothing is painted.
        region.validate("region", t.size()).ok()?;
        marks.push(DepthMark { region, value: self.value });
        Some(t.edit_path(texts::STEP_MARK, 0, path))
    }

    fn wheeled(&mut self, t: &CameraInput<'_>, lines: f32, now: f64) -> Option<Action> {
        if lines == 0.0 || self.grip.is_some() {
            return None;
        }
        if now - self.wheel.0 > TOGETHER {
            self.gesture += 1;
            self.wheel.1 = self.gesture;
        }
        self.wheel.0 = now;
        let path = t.path();
        let camera = path.camera(t.size(), t.playhead);
        let pivot = path.look_at.unwrap_or(camera.position + camera.rotation * Vec3::Z * self.target_distance(t, &path));
        let by = Move::Dolly(1.0 - (1.0 - NOTCH).powf(lines.clamp(-20.0, 20.0)));
        let aims = path.look_at.is_some();
        let moved = edit::posed(&path, t.size(), t.playhead, |key| *key = edit::moved(key, camera.lens.focal_px, pivot, by, aims));
        Some(t.edit_path(texts::STEP_MOVE, self.wheel.1, moved))
    }

    fn radius_px(&self, t: &CameraInput<'_>) -> f32 {
        (self.brush * t.picture.width.max(t.picture.height) as f32).max(1.0)
    }

    fn cursor(&self, t: &CameraInput<'_>, on: OnScreen, at: Pos2) -> CursorIcon {
        let near = |path: &CameraPath| handles(&path.depth, t.size()).into_iter().any(|handle| on.map.screen(handle).distance(at) <= REACH);
        match (&self.grip, self.tab) {
            _ if self.picking => CursorIcon::Crosshair,
            (Some(Grip::Brush { .. }), _) => CursorIcon::Crosshair,
            (Some(_), _) => CursorIcon::Grabbing,
            (None, Tab::Move) => CursorIcon::Move,
            (None, Tab::Depth) if near(&t.path()) => CursorIcon::Grab,
            (None, Tab::Depth) => CursorIcon::Crosshair,
        }
    }

    /// What lies over the picture: the depth, the scene's handles, the brush, the target, and a word of what the pointer does.
    pub fn overlay_ui(&mut self, ui: &Ui, t: &CameraInput<'_>, on: OnScreen, in_hand: bool) {
        let (path, dark) = (t.path(), ui.visuals().dark_mode);
        let (tokens, look) = (Tokens::of(dark), Look::of(ui));
        let painter = ui.painter().with_clip_rect(on.rect);
        let picture = on.map.picture_rect(t.size());
        if self.tab == Tab::Depth {
            let shade = self.shade;
            if shade != Shade::Off
                && let Some(texture) = self.survey.texture(ui.ctx(), shade, dark)
            {
                let mut mesh = Mesh::with_texture(texture.id());
                let whole = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
                mesh.add_rect_with_uv(picture, whole, look.on_shade.gamma_multiply(0.82));
                painter.add(Shape::mesh(mesh));
            }
            self.shape_handles(ui, &painter, &path, t, on, tokens, &look);
        } else if let Some(target) = path.look_at {
            let camera = path.camera(t.size(), t.playhead);
            let seen = camera.rotation.inverse() * (target - camera.position);
            if seen.z > 1e-3 {
                let place = seen.truncate() / seen.z * camera.lens.focal_px + camera.lens.principal_px;
                cross(&painter, on.map.screen(place), tokens, &look);
            }
        }
        if in_hand {
            self.hint(&painter, &path, picture.intersect(on.rect), &look);
            self.brush_ring(ui, &painter, &path, t, on, tokens, &look);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the pieces of one frame of the canvas, used once")]
    fn shape_handles(
        &self,
        ui: &Ui,
        painter: &Painter,
        path: &CameraPath,
        t: &CameraInput<'_>,
        on: OnScreen,
        tokens: &Tokens,
        look: &Look,
    ) {
        let size = t.size();
        let at = |place: glam::Vec2| on.map.screen(place);
        let line = |from: glam::Vec2, to: glam::Vec2, faint: bool| {
            let color = if faint { tokens.accent.gamma_multiply(0.6) } else { tokens.accent };
            painter.line_segment([at(from), at(to)], Line::new(if faint { 2.5 } else { 4.0 }, look.shade));
            painter.line_segment([at(from), at(to)], Line::new(if faint { 1.0 } else { 1.75 }, color));
        };
        let places = handles(&path.depth, size);
        let names: &[&str] = match &path.depth {
            DepthSource::Shape(SceneShape::Ground { .. }) => {
                line(places[0], places[1], false);
                &[texts::HORIZON_LEFT, texts::HORIZON_RIGHT]
            }
            DepthSource::Shape(SceneShape::Room { .. }) => {
                for i in 0..4 {
                    line(places[i], places[(i + 1) % 4], false);
                    // From the vanishing point through the corner to the picture's border.
                    let way = places[i] - places[4];
                    let reach = (size.0 + size.1) as f32 * 2.0;
                    line(places[i], places[i] + way.normalize_or_zero() * reach, true);
                }
                &[texts::CORNERS[0], texts::CORNERS[1], texts::CORNERS[2], texts::CORNERS[3], texts::VANISHING]
            }
            _ => &[],
        };
        let hover = ui.ctx().pointer_hover_pos();
        for (i, (place, name)) in places.iter().zip(names).enumerate() {
            let place = at(*place);
            let held = matches!(&self.grip, Some(Grip::Handle { handle, .. }) if *handle == i);
            let lit = held || hover.is_some_and(|hover| hover.distance(place) <= REACH);
            painter.circle(place, if lit { 8.0 } else { 6.0 }, tokens.accent, Line::new(2.0, look.on_shade));
            painter.circle_stroke(place, if lit { 9.5 } else { 7.5 }, Line::new(1.0, look.shade));
            let spot = Rect::from_center_size(place, Vec2::splat(2.0 * REACH)).intersect(on.rect);
            let spot = if spot.is_positive() { spot } else { Rect::from_center_size(on.rect.center(), Vec2::ZERO) };
            let mark = ui.interact(spot, ui.scope_id().with(("depth handle", i)), Sense::HOVER);
            mark.widget_info(|| WidgetInfo::labeled(Role::Unknown, true, *name));
        }
    }

    fn brush_ring(&self, ui: &Ui, painter: &Painter, path: &CameraPath, t: &CameraInput<'_>, on: OnScreen, tokens: &Tokens, look: &Look) {
        if self.tab != Tab::Depth || !matches!(path.depth, DepthSource::Painted { .. }) {
            return;
        }
        let radius = self.radius_px(t) * on.map.scale;
        let color = ramp(self.value, if self.shade == Shade::Grey { Shade::Grey } else { Shade::Colour }, tokens);
        if let Some(Grip::Brush { points }) = &self.grip {
            let places: Vec<Pos2> = points.iter().map(|place| on.map.screen(glam::Vec2::from(*place))).collect();
            for place in &places {
                painter.circle_filled(*place, radius, color.gamma_multiply(0.18));
            }
            painter.add(Shape::line(places, Line::new(2.0, color)));
        }
        if let Some(at) = ui.ctx().pointer_hover_pos().filter(|at| on.rect.contains(*at)) {
            painter.circle_stroke(at, radius + 1.0, Line::new(1.5, look.shade));
            painter.circle_stroke(at, radius, Line::new(1.5, color));
        }
    }

    fn hint(&self, painter: &Painter, path: &CameraPath, shown: Rect, look: &Look) {
        let text = match (&path.depth, self.tab) {
            _ if self.picking => texts::PICK,
            (_, Tab::Move) => texts::NAVIGATE,
            (DepthSource::Shape(SceneShape::Backdrop { .. }), _) => texts::FIT_BACKDROP,
            (DepthSource::Shape(SceneShape::Ground { .. }), _) => texts::FIT_GROUND,
            (DepthSource::Shape(SceneShape::Room { .. }), _) => texts::FIT_ROOM,
            (DepthSource::Painted { .. }, _) => texts::FIT_PAINT,
            (DepthSource::File { .. }, _) => texts::FIT_FILE,
        };
        let galley = painter.layout_no_wrap(text.to_owned(), crate::studio::timeline::body(), look.on_shade);
        let pill = Rect::from_center_size(shown.center_bottom() - vec2(0.0, 26.0), galley.size() + vec2(24.0, 12.0));
        painter.rect_filled(pill, CornerRadius::same(14), look.shade);
        painter.galley(pill.center() - galley.size() * 0.5, galley, look.on_shade);
    }
}

/// What can be pulled on the picture, px of it.
fn handles(depth: &DepthSource, size: edit::Size) -> Vec<glam::Vec2> {
    let at = glam::Vec2::new;
    match depth {
        DepthSource::Shape(SceneShape::Ground { horizon, .. }) => vec![at(0.0, horizon.0), at(size.0 as f32, horizon.1)],
        DepthSource::Shape(SceneShape::Room { back: (left, top, right, bottom), vanishing, .. }) => {
            vec![at(*left, *top), at(*right, *top), at(*right, *bottom), at(*left, *bottom), (*vanishing).into()]
        }
        _ => Vec::new(),
    }
}

/// The source with one of its handles at `place`, as far as it can go there.
fn with_handle(depth: &DepthSource, size: edit::Size, handle: usize, place: glam::Vec2) -> DepthSource {
    let mut depth = depth.clone();
    let (w, h) = (size.0 as f32, size.1 as f32);
    if !place.is_finite() {
        return depth;
    }
    match &mut depth {
        DepthSource::Shape(SceneShape::Ground { horizon, .. }) => {
            let y = place.y.clamp(-h, 2.0 * h);
            *(if handle == 0 { &mut horizon.0 } else { &mut horizon.1 }) = y;
        }
        DepthSource::Shape(SceneShape::Room { back: (left, top, right, bottom), vanishing, .. }) => {
            let (least, half) = ((w * WALL).max(2.0), (h * WALL).max(2.0));
            if handle < 4 {
                match handle {
                    0 | 3 => *left = place.x.clamp(-w, *right - least),
                    _ => *right = place.x.clamp(*left + least, 2.0 * w),
                }
                match handle {
                    0 | 1 => *top = place.y.clamp(-h, *bottom - half),
                    _ => *bottom = place.y.clamp(*top + half, 2.0 * h),
                }
            } else {
                *vanishing = place.into();
            }
            // The lines meet within the wall.
            let inset = |low: f32, at: f32, high: f32| at.clamp(low + (high - low) * 0.25_f32.min(0.5), high - (high - low) * 0.25);
            let loose = |low: f32, at: f32, high: f32| if at > low + 0.5 && at < high - 0.5 { at } else { inset(low, at, high) };
            *vanishing = (loose(*left, vanishing.0, *right), loose(*top, vanishing.1, *bottom));
        }
        _ => {}
    }
    depth
}

/// How far the pointer went around `middle`, radians, clockwise; near the middle it counts sideways.
fn turn(middle: Pos2, from: Pos2, to: Pos2) -> f32 {
    let (a, b) = (from - middle, to - middle);
    if a.length() < 24.0 {
        return (to.x - from.x) * 0.006;
    }
    let turned = b.angle() - a.angle();
    turned - (turned / std::f32::consts::TAU).round() * std::f32::consts::TAU
}

fn cross(painter: &Painter, at: Pos2, tokens: &Tokens, look: &Look) {
    for (color, width) in [(look.shade, 4.0), (tokens.accent, 1.75)] {
        painter.circle_stroke(at, 9.0, Line::new(width, color));
        for way in [vec2(1.0, 0.0), vec2(0.0, 1.0), vec2(-1.0, 0.0), vec2(0.0, -1.0)] {
            painter.line_segment([at + way * 5.0, at + way * 14.0], Line::new(width, color));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::studio::timeline::Dice;

    #[test]
    fn wherever_a_handle_goes_the_shape_can_be_used() {
        let mut dice = Dice(3);
        let size = (400, 300);
        let ground = DepthSource::guess(size);
        let room = SceneShape::Room { back: (120.0, 90.0, 280.0, 204.0), vanishing: (200.0, 140.0), depth: 5.0 };
        for mut depth in [ground, DepthSource::Shape(room)] {
            for _ in 0..500 {
                let place = glam::Vec2::new(dice.unit() * 900.0 - 250.0, dice.unit() * 700.0 - 200.0);
                let handle = dice.below(handles(&depth, size).len());
                depth = with_handle(&depth, size, handle, place);
                CameraPath::new(depth.clone()).validate("camera", size).unwrap();
            }
        }
    }

    #[test]
    fn a_turn_goes_around_the_middle_the_short_way() {
        let middle = Pos2::new(100.0, 100.0);
        let down = turn(middle, Pos2::new(200.0, 100.0), Pos2::new(100.0, 200.0));
        assert!((down - std::f32::consts::FRAC_PI_2).abs() < 1e-5);
        let over = turn(middle, Pos2::new(0.0, 99.0), Pos2::new(0.0, 101.0));
        assert!(over.abs() < 0.1, "{over}");
    }
}
