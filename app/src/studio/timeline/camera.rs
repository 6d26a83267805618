//! The camera's row: a diamond for each key, joined where the camera is on its way.
//!
//! Invariant: a drag starts from the path as it was at the press, and a key never passes another one. Guarded by the timeline's tests.

use eframe::egui::{
    Color32, CursorIcon, EventFilter, Id, Key, Modifiers, Pos2, Rangef, Rect, Role, Sense, Shape, Stroke as Line, Ui, WidgetInfo, pos2,
    vec2,
};
use kinebrush_engine::motion::camera::{CameraPath, Curve};

use super::axis::Axis;
use super::controls::{elided, focus_ring};
use super::{Action, Look, NAMES, Timeline, TimelineInput, edit, edit_work, look};
use crate::studio::camera as texts;
use crate::studio::camera::{key_at, retimed, without_key};

/// Half the size of a diamond, points.
const RADIUS: f32 = 6.0;
/// How near something has to be to be snapped to, points.
const SNAP: f32 = 7.0;

/// A key in the hand.
#[derive(Debug)]
pub(super) struct Drag {
    key: usize,
    original: CameraPath,
    press: Pos2,
}

impl Timeline {
    pub(super) fn camera_ui(&mut self, ui: &mut Ui, row: Rect, axis: &Axis, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let Some(path) = &t.work.project.camera else { return };
        let look = Look::of(ui);
        let down = ui.input(|input| input.pointer.any_down() || input.pointer.any_released());
        if !down || self.camera_drag.as_ref().is_some_and(|drag| drag.key >= path.keys.len()) {
            self.camera_drag = None;
        }
        ui.painter().rect_filled(row, 0.0, look.raised.gamma_multiply(0.8));
        ui.painter().hline(row.x_range(), row.bottom(), Line::new(1.0, look.line));
        let lane = ui.interact(Rect::from_x_y_ranges(axis.x, row.y_range()), ui.scope_id().with("camera lane"), Sense::CLICK);
        lane.widget_info(|| WidgetInfo::labeled(Role::Unknown, true, texts::LANE));
        icon(ui, pos2(row.left() + 14.0, row.center().y), look.accent);
        let galley = elided(ui, texts::TITLE, NAMES - 30.0, look::body(), look.text);
        ui.painter().galley(pos2(row.left() + 24.0, row.center().y - galley.size().y / 2.0), galley, look.text);

        let painter = ui.painter_at(Rect::from_x_y_ranges(axis.x, row.y_range()));
        let middle = row.center().y;
        for pair in path.keys.windows(2) {
            let x = Rangef::new(axis.x_from_frame(pair[0].frame), axis.x_from_frame(pair[1].frame));
            let held = pair[0].curve == Curve::Hold || pair[0].position == pair[1].position && pair[0].rotation == pair[1].rotation;
            // Where it stands still the line is thin.
            let color = if held { look.off } else { look.accent.gamma_multiply(0.7) };
            painter.hline(x, middle, Line::new(if held { 1.0 } else { 3.0 }, color));
        }
        let current = key_at(path, t.playhead);
        for i in 0..path.keys.len() {
            self.key_ui(ui, i, path, current == Some(i), row, axis, t, actions);
        }
    }

    fn key_ui(
        &mut self,
        ui: &mut Ui,
        i: usize,
        path: &CameraPath,
        current: bool,
        row: Rect,
        axis: &Axis,
        t: &TimelineInput<'_>,
        actions: &mut Vec<Action>,
    ) {
        let (look, frame) = (Look::of(ui), path.keys[i].frame);
        let at = pos2(axis.x_from_frame(frame), row.center().y);
        let lane = Rect::from_x_y_ranges(axis.x.expand(RADIUS), row.y_range());
        let place = Rect::from_center_size(at, vec2(2.0 * RADIUS + 2.0, row.height())).intersect(lane);
        let place = if place.is_positive() { place } else { Rect::from_min_size(lane.left_center(), vec2(0.0, 0.0)) };
        let id = Id::unique("camera key").with(i);
        let response = ui.interact(place, id, Sense::click_and_drag());
        let name = format!("{} {}: {frame:.1}", texts::KEY, i + 1);
        response.widget_info(|| WidgetInfo::selected(Role::ListItem, true, current, &name));
        if response.clicked() || response.drag_started() {
            response.request_focus();
            if !current {
                actions.push(Action::Seek(frame));
            }
        }
        if response.drag_started()
            && let Some(press) = ui.input(|input| input.pointer.press_origin())
        {
            self.camera_drag = Some(Drag { key: i, original: path.clone(), press });
        }
        let to = self.pulled(ui, i, axis, t).or_else(|| if response.has_focus() { key_presses(ui, id, frame) } else { None });
        if let Some(to) = to {
            let original = self.camera_drag.as_ref().map_or(path, |drag| &drag.original);
            let moved = retimed(original, i, to);
            if moved != *path {
                let frame = moved.keys[i].frame;
                let gesture = if self.camera_drag.is_some() { self.gesture } else { 0 };
                actions.push(edit_work(t, texts::STEP_TIME, gesture, |work| work.project.camera = Some(moved)));
                actions.push(Action::Seek(frame));
            }
        }
        let delete = |ui: &Ui, key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        if response.has_focus() && (delete(ui, Key::Delete) || delete(ui, Key::Backspace)) {
            actions.push(edit_work(t, texts::STEP_DELETE, 0, |work| work.project.camera = Some(without_key(path, i))));
        }
        let lit = response.hovered() || response.dragged();
        let radius = if lit { RADIUS + 1.0 } else { RADIUS };
        let corners = [(0.0, -radius), (radius, 0.0), (0.0, radius), (-radius, 0.0)].map(|p| at + vec2(p.0, p.1)).to_vec();
        let color = if current { look.accent } else { look.text };
        ui.painter_at(lane).add(Shape::convex_polygon(corners, color, Line::new(1.25, look.ground)));
        focus_ring(ui, &response, place);
        response.on_hover_and_drag_cursor(CursorIcon::ResizeHorizontal).on_hover_text(texts::ROW_TIP);
    }

    /// The frame to which the hand pulls key `i`: a whole one, or what is near; with Alt just there.
    fn pulled(&self, ui: &Ui, i: usize, axis: &Axis, t: &TimelineInput<'_>) -> Option<f32> {
        let drag = self.camera_drag.as_ref().filter(|drag| drag.key == i)?;
        let (at, free) = ui.input(|input| (input.pointer.latest_pos(), input.modifiers.alt));
        let frame = drag.original.keys.get(i)?.frame + (at?.x - drag.press.x) / axis.scale;
        let strokes = t.work.project.strokes.iter().map(edit::span).flat_map(|(first, last)| [first, last]);
        let marks: Vec<f32> = strokes.chain([0.0, t.work.project.frames.saturating_sub(1) as f32]).collect();
        let snapped = edit::snapped(frame, &marks, SNAP / axis.scale, free);
        Some(if free || snapped != frame { snapped } else { frame.round() })
    }
}

/// Alt and the arrows move what has the focus in time.
fn key_presses(ui: &Ui, id: Id, frame: f32) -> Option<f32> {
    ui.memory_mut(|memory| memory.set_focus_lock_filter(id, EventFilter { horizontal_arrows: true, ..EventFilter::default() }));
    let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::ALT, key));
    let by = f32::from(i8::from(pressed(Key::ArrowRight)) - i8::from(pressed(Key::ArrowLeft)));
    (by != 0.0).then_some(frame + by)
}

/// A camera from the side.
fn icon(ui: &Ui, middle: Pos2, color: Color32) {
    let body = Rect::from_center_size(middle - vec2(2.0, 0.0), vec2(9.0, 8.0));
    ui.painter().rect_filled(body, 1.5, color);
    let horn = [(2.0, 0.0), (7.0, -3.5), (7.0, 3.5)].map(|p| middle + vec2(p.0, p.1)).to_vec();
    ui.painter().add(Shape::convex_polygon(horn, color, Line::NONE));
}
