//! A row for each stroke, the front one on top, and a thin one for each pin.
//!
//! Invariant: a drag starts from the stroke as it was at the press, so that no rounding adds up, and every state on the way is one
//! [`Action::Edit`] of the same gesture. Guarded by the timeline's tests.

use eframe::egui::{
    CursorIcon, EventFilter, Key, Modifiers, Pos2, Rangef, Rect, Response, Role, ScrollArea, Sense, Stroke as Line, StrokeKind, TextEdit,
    Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::{After, Stroke};

use super::axis::Axis;
use super::controls::{elided, focus_ring};
use super::edit::{self, Edge};
use super::{Action, Look, NAMES, Selection, Timeline, TimelineInput, edit_stroke, edit_work, look, name_of, row_id, texts};

/// How near something has to be to be snapped to, points.
const SNAP: f32 = 7.0;
/// Width of a bar's edge that stretches it, points.
const EDGE: f32 = 7.0;
/// Samples of the speed that is drawn in a bar.
const SPEEDS: usize = 64;

/// A bar in the hand.
#[derive(Debug)]
pub(super) struct Drag {
    index: usize,
    grip: Grip,
    /// The stroke as it was at the press.
    original: Stroke,
    press: Pos2,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Grip {
    Body,
    Edge(Edge),
    /// In front of or behind others.
    Order,
}

impl Timeline {
    pub(super) fn rows_ui(&mut self, ui: &mut Ui, rect: Rect, axis: &Axis, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let project = &t.work.project;
        let (strokes, pins) = (project.strokes.len(), project.pins.len());
        self.profiles.resize(strokes, None);
        if self.drag.as_ref().is_some_and(|drag| drag.index >= strokes)
            || !ui.input(|input| input.pointer.any_down() || input.pointer.any_released())
        {
            self.drag = None;
        }
        if strokes + pins == 0 {
            let text = if t.work.project.transfers.is_empty() { texts::EMPTY } else { texts::BY_CLIP };
            empty_ui(ui, Rect::from_x_y_ranges(axis.x, rect.y_range()), text);
            return;
        }
        let mut regions: Vec<&Region> = Vec::new();
        for stroke in &project.strokes {
            if !regions.contains(&&stroke.region) {
                regions.push(&stroke.region);
            }
        }
        let height = strokes as f32 * look::ROW + pins as f32 * look::PIN_ROW;
        ScrollArea::vertical().id_salt("rows").auto_shrink(false).show(ui, |ui| {
            let (space, background) = ui.allocate_exact_size(vec2(rect.width(), height.max(ui.available_height())), Sense::CLICK);
            if background.clicked() && t.selection != Selection::None {
                actions.push(Action::Select(Selection::None));
            }
            for place in 0..strokes {
                let i = strokes - 1 - place;
                let row = Rect::from_min_size(space.min + vec2(0.0, place as f32 * look::ROW), vec2(space.width(), look::ROW));
                if ui.is_rect_visible(row) {
                    self.stroke_ui(ui, row, i, axis, &regions, t, actions);
                }
            }
            for i in 0..pins {
                let top = space.top() + strokes as f32 * look::ROW + i as f32 * look::PIN_ROW;
                let row = Rect::from_min_size(pos2(space.left(), top), vec2(space.width(), look::PIN_ROW));
                if ui.is_rect_visible(row) {
                    pin_ui(ui, row, i, axis, t, actions);
                }
            }
            self.order_ui(ui, space, t, actions);
        });
    }

    fn stroke_ui(
        &mut self,
        ui: &mut Ui,
        row: Rect,
        i: usize,
        axis: &Axis,
        regions: &[&Region],
        t: &TimelineInput<'_>,
        actions: &mut Vec<Action>,
    ) {
        let (look, stroke) = (Look::of(ui), &t.work.project.strokes[i]);
        let selected = t.selection == Selection::Stroke(i);
        let color = look::layer_color(&look, &stroke.region, regions);
        let name = name_of(stroke, i);
        if selected {
            ui.painter().rect_filled(row, 0.0, look.accent.gamma_multiply(0.22));
        } else if i % 2 == 1 {
            ui.painter().rect_filled(row, 0.0, look.raised.gamma_multiply(0.5));
        }
        let cell = Rect::from_min_max(row.min, pos2(row.left() + NAMES, row.bottom()));
        let label = self.name_ui(ui, cell, i, &name, selected, color, t, actions);
        let bar = self.bar_ui(ui, row, i, &name, axis, color, selected, t, actions);
        for response in [&label, &bar] {
            let picked = response.clicked() || response.drag_started();
            if picked && !selected {
                actions.push(Action::Select(Selection::Stroke(i)));
            }
            if picked {
                ui.memory_mut(|memory| memory.request_focus(row_id(i)));
            }
            if response.double_clicked() {
                self.rename = Some((i, stroke.name.clone()));
            }
        }
        if label.has_focus() {
            self.keys(ui, i, t, actions);
        }
    }

    /// Colour and name; the name can be edited. What has the focus here takes the keys.
    fn name_ui(
        &mut self,
        ui: &mut Ui,
        cell: Rect,
        i: usize,
        name: &str,
        selected: bool,
        color: eframe::egui::Color32,
        t: &TimelineInput<'_>,
        actions: &mut Vec<Action>,
    ) -> Response {
        let look = Look::of(ui);
        let response = ui.interact(cell, row_id(i), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::selected(Role::ListItem, true, selected, name));
        let chip = Rect::from_center_size(pos2(cell.left() + 14.0, cell.center().y), vec2(4.0, 14.0));
        ui.painter().rect_filled(chip, 2.0, color);
        let text = Rect::from_min_max(pos2(cell.left() + 24.0, cell.top()), cell.max - vec2(6.0, 0.0));
        if let Some((renamed, mut typed)) = self.rename.take_if(|rename| rename.0 == i) {
            let mut field = ui.new_child(UiBuilder::new().max_rect(text.shrink2(vec2(0.0, 2.0))).id_salt(("rename", i)));
            let edit =
                TextEdit::singleline(&mut typed).font(look::body()).char_limit(200).desired_width(text.width()).margin(vec2(4.0, 2.0));
            let edit = field.add(edit).accessible_name(texts::NAME);
            if edit.lost_focus() {
                let dropped = ui.input(|input| input.key_pressed(Key::Escape));
                if !dropped && typed != t.work.project.strokes[i].name {
                    actions.push(edit_work(t, texts::RENAME, 0, |work| work.project.strokes[i].name = typed));
                }
            } else {
                if !edit.has_focus() {
                    edit.request_focus();
                }
                self.rename = Some((renamed, typed));
            }
        } else {
            let galley = elided(ui, name, text.width(), look::body(), if selected { look.text } else { look.quiet });
            ui.painter().galley(pos2(text.left(), text.center().y - galley.size().y / 2.0), galley, look.text);
            focus_ring(ui, &response, cell.shrink(1.0));
        }
        if response.drag_started() {
            self.take(ui, i, Grip::Order, t);
        }
        response
    }

    fn bar_ui(
        &mut self,
        ui: &mut Ui,
        row: Rect,
        i: usize,
        name: &str,
        axis: &Axis,
        color: eframe::egui::Color32,
        selected: bool,
        t: &TimelineInput<'_>,
        actions: &mut Vec<Action>,
    ) -> Response {
        let (look, stroke) = (Look::of(ui), &t.work.project.strokes[i]);
        let lane = Rect::from_x_y_ranges(axis.x, row.y_range());
        let (first, last) = edit::span(stroke);
        let x = Rangef::new(axis.x_from_frame(first), axis.x_from_frame(last).max(axis.x_from_frame(first) + 6.0));
        let bar = Rect::from_x_y_ranges(x, row.y_range().shrink(3.0));
        let painter = ui.painter_at(lane);
        if stroke.after == After::Hold {
            let end = axis.x_from_frame(t.end() as f32).max(x.max);
            painter.hline(Rangef::new(x.max, end), row.center().y, Line::new(2.0, color.gamma_multiply(0.3)));
        }
        let lit = selected || self.drag.as_ref().is_some_and(|drag| drag.index == i);
        painter.rect_filled(bar, look::RADIUS, color.lerp_to_gamma(look.ground, if lit { 0.25 } else { 0.5 }));
        paint_speed(&painter, bar, color, self.profile(i, stroke));
        paint_keys(&painter, bar, axis, stroke, look.text);
        if lit {
            painter.rect_stroke(bar, look::RADIUS, Line::new(1.0, look.text), StrokeKind::Inside);
        }
        let seen = bar.intersect(lane);
        let place = if seen.is_positive() { seen } else { Rect::from_min_size(pos2(lane.left(), bar.top()), vec2(0.0, 0.0)) };
        let body = ui.interact(place, row_id(i).with("bar"), Sense::CLICK | Sense::DRAG).on_hover_cursor(CursorIcon::Grab);
        body.widget_info(|| WidgetInfo::labeled(Role::Unknown, true, format!("{name}: {first:.1} {} {last:.1}", texts::TO)));
        if body.drag_started() {
            self.take(ui, i, Grip::Body, t);
        }
        let wide = (bar.width() / 3.0).min(EDGE);
        for (edge, at, word) in [(Edge::Start, bar.left(), texts::EDGE_START), (Edge::End, bar.right() - wide, texts::EDGE_END)] {
            let handle = Rect::from_min_size(pos2(at, bar.top()), vec2(wide, bar.height())).intersect(lane);
            if last > first && handle.is_positive() {
                let response = ui.interact(handle, row_id(i).with(word), Sense::DRAG);
                response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, format!("{word} {name}")));
                if response.hovered() || response.dragged() {
                    painter.rect_filled(handle, 2.0, look.text.gamma_multiply(0.7));
                }
                if response.drag_started() {
                    self.take(ui, i, Grip::Edge(edge), t);
                    if !selected {
                        actions.push(Action::Select(Selection::Stroke(i)));
                    }
                }
                response.on_hover_and_drag_cursor(CursorIcon::ResizeHorizontal);
            }
        }
        self.pull(ui, i, axis, t, actions);
        body.on_hover_text(texts::BAR_TIP)
    }

    fn take(&mut self, ui: &Ui, i: usize, grip: Grip, t: &TimelineInput<'_>) {
        let (press, now) = ui.input(|input| (input.pointer.press_origin(), input.pointer.latest_pos()));
        let (Some(press), Some(now)) = (press, now) else { return };
        let way = now - press;
        let grip = if grip == Grip::Body && way.y.abs() > way.x.abs() { Grip::Order } else { grip };
        self.drag = Some(Drag { index: i, grip, original: t.work.project.strokes[i].clone(), press });
    }

    /// Moves or stretches what is in the hand.
    fn pull(&mut self, ui: &Ui, i: usize, axis: &Axis, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let Some(drag) = self.drag.as_ref().filter(|drag| drag.index == i && drag.grip != Grip::Order) else { return };
        let Some(at) = ui.input(|input| input.pointer.latest_pos()) else { return };
        let free = ui.input(|input| input.modifiers.alt);
        let (marks, reach) = (marks(t, i), SNAP / axis.scale);
        let by = (at.x - drag.press.x) / axis.scale;
        let (first, last) = edit::span(&drag.original);
        let (label, stroke) = match drag.grip {
            Grip::Edge(edge) => {
                let from = if edge == Edge::Start { first } else { last };
                (texts::STRETCH, edit::stretched(&drag.original, edge, edit::snapped(from + by, &marks, reach, free)))
            }
            _ => {
                let start = edit::snapped(first + by, &marks, reach, free) - first;
                let end = edit::snapped(last + by, &marks, reach, free) - last;
                // The end snaps when a mark is near to it and none to the start.
                let near = |frame: f32| marks.iter().any(|mark| (mark - frame).abs() <= reach);
                (texts::MOVE, edit::moved(&drag.original, if !near(first + by) && near(last + by) { end } else { start }))
            }
        };
        if stroke != t.work.project.strokes[i] {
            actions.push(edit_stroke(t, label, self.gesture, i, stroke));
        }
    }

    /// Where a stroke will land in the order; it does when it is let go.
    fn order_ui(&mut self, ui: &Ui, space: Rect, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let Some(drag) = self.drag.as_ref().filter(|drag| drag.grip == Grip::Order) else { return };
        let Some(at) = ui.input(|input| input.pointer.latest_pos()) else { return };
        let strokes = t.work.project.strokes.len();
        let place = ((at.y - space.top()) / look::ROW).round().clamp(0.0, strokes as f32) as usize;
        let from = strokes - 1 - drag.index;
        // Below its own place everything moves up by one once it is taken out.
        let to = strokes - 1 - if place > from { place - 1 } else { place };
        let y = space.top() + place as f32 * look::ROW;
        ui.painter().hline(space.x_range(), y, Line::new(2.0, Look::of(ui).accent));
        ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
        if ui.input(|input| input.pointer.any_released()) {
            let index = drag.index;
            self.drag = None;
            self.reorder(index, to, t, actions);
            ui.memory_mut(|memory| memory.request_focus(row_id(to)));
        }
    }

    fn reorder(&mut self, from: usize, to: usize, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        if from == to || to >= t.work.project.strokes.len() {
            return;
        }
        actions.push(edit_work(t, texts::REORDER, 0, |work| work.project.strokes = edit::reordered(&work.project.strokes, from, to)));
        actions.push(Action::Select(Selection::Stroke(to)));
    }

    /// Keys of the row that has the focus: Delete, and the arrows with Alt for order and time, without for the selection.
    fn keys(&mut self, ui: &mut Ui, i: usize, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let arrows = EventFilter { horizontal_arrows: true, vertical_arrows: true, tab: false, escape: false };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(row_id(i), arrows));
        let strokes = t.work.project.strokes.len();
        let pressed = |modifiers, key| ui.input_mut(|input| input.consume_key(modifiers, key));
        if pressed(Modifiers::NONE, Key::Delete) || pressed(Modifiers::NONE, Key::Backspace) {
            actions.push(remove_stroke(t, i));
            actions.push(Action::Select(Selection::None));
            return;
        }
        let mut to = i;
        for (key, way) in [(Key::ArrowUp, 1), (Key::ArrowDown, -1)] {
            let next = i.saturating_add_signed(way);
            if pressed(Modifiers::ALT, key) {
                self.reorder(i, next, t, actions);
                to = next;
            } else if pressed(Modifiers::NONE, key) && next < strokes && next != i {
                actions.push(Action::Select(Selection::Stroke(next)));
                to = next;
            }
        }
        for (key, by) in [(Key::ArrowLeft, -1.0), (Key::ArrowRight, 1.0)] {
            if pressed(Modifiers::ALT, key) {
                let stroke = edit::moved(&t.work.project.strokes[i], by);
                actions.push(edit_stroke(t, texts::MOVE, 0, i, stroke));
            }
        }
        if to != i && to < strokes {
            ui.memory_mut(|memory| memory.request_focus(row_id(to)));
        }
    }

    /// The speed over the bar's time, made again only when the stroke is another one.
    fn profile(&mut self, i: usize, stroke: &Stroke) -> &[f32] {
        let known = self.profiles[i].take().filter(|(of, _)| of == stroke);
        let (_, speeds) = self.profiles[i].insert(known.unwrap_or_else(|| (stroke.clone(), edit::speeds(stroke, SPEEDS))));
        speeds
    }
}

/// The work without stroke `i`.
pub(super) fn remove_stroke(t: &TimelineInput<'_>, i: usize) -> Action {
    edit_work(t, texts::DELETE, 0, |work| drop(work.project.strokes.remove(i)))
}

/// The work without pin `i`.
pub(super) fn remove_pin(t: &TimelineInput<'_>, i: usize) -> Action {
    edit_work(t, texts::DELETE, 0, |work| drop(work.project.pins.remove(i)))
}

/// What a bar snaps to: the playhead, the ends of project and loop, the edges of the other bars.
fn marks(t: &TimelineInput<'_>, own: usize) -> Vec<f32> {
    let others = t.work.project.strokes.iter().enumerate().filter(|(i, _)| *i != own).map(|(_, stroke)| edit::span(stroke));
    let fixed = [0.0, t.playhead, (t.work.project.frames - 1) as f32];
    let of_loop = t.loop_range.iter().flat_map(|range| [range.0 as f32, range.1 as f32]);
    fixed.into_iter().chain(of_loop).chain(others.flat_map(|(first, last)| [first, last])).collect()
}

/// The speed as a low relief in the bar.
fn paint_speed(painter: &eframe::egui::Painter, bar: Rect, color: eframe::egui::Color32, speeds: &[f32]) {
    let fastest = speeds.iter().copied().fold(0.0, f32::max);
    let inner = bar.shrink2(vec2(2.0, 3.0));
    if fastest <= 0.0 || inner.width() < 16.0 {
        return;
    }
    let seen = inner.x_range().intersection(painter.clip_rect().x_range());
    let columns = ((seen.span() / 3.0) as usize).clamp(1, 400);
    for column in 0..columns {
        let x = seen.min + seen.span() * (column as f32 + 0.5) / columns as f32;
        let at = ((x - inner.left()) / inner.width() * speeds.len() as f32) as usize;
        let height = inner.height() * 0.9 * speeds.get(at).copied().unwrap_or(0.0) / fastest;
        painter.vline(x, Rangef::new(inner.bottom() - height, inner.bottom()), Line::new(1.5, color.gamma_multiply(0.75)));
    }
}

/// Keys as small diamonds, where there is room for each.
fn paint_keys(painter: &eframe::egui::Painter, bar: Rect, axis: &Axis, stroke: &Stroke, color: eframe::egui::Color32) {
    if stroke.path.len() as f32 * 12.0 > bar.width() && stroke.path.len() > 1 {
        return;
    }
    for key in &stroke.path {
        let at = pos2(axis.x_from_frame(key.frame).clamp(bar.left() + 4.0, bar.right() - 4.0), bar.center().y);
        let corners = [(0.0, -3.0), (3.0, 0.0), (0.0, 3.0), (-3.0, 0.0)].map(|p| at + vec2(p.0, p.1)).to_vec();
        painter.add(eframe::egui::Shape::convex_polygon(corners, color, Line::NONE));
    }
}

fn pin_ui(ui: &mut Ui, row: Rect, i: usize, axis: &Axis, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
    let look = Look::of(ui);
    let selected = t.selection == Selection::Pin(i);
    let name = format!("{} {}", texts::PIN, i + 1);
    let response = ui.interact(row, ui.scope_id().with(("pin", i)), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::ListItem, true, selected, &name));
    if selected {
        ui.painter().rect_filled(row, 0.0, look.accent.gamma_multiply(0.22));
    }
    let middle = row.center().y;
    ui.painter().circle_filled(pos2(row.left() + 14.0, middle), 3.5, look.pinned);
    let galley = elided(ui, &name, NAMES - 30.0, look::small(), if selected { look.text } else { look.quiet });
    ui.painter().galley(pos2(row.left() + 24.0, middle - galley.size().y / 2.0), galley, look.text);
    let lane = ui.painter_at(Rect::from_x_y_ranges(axis.x, row.y_range()));
    let x = Rangef::new(axis.x_from_frame(0.0), axis.x_from_frame(t.end() as f32));
    let bar = Rect::from_x_y_ranges(x, Rangef::new(middle - 2.5, middle + 2.5));
    lane.rect_filled(bar, 2.0, look.pinned.lerp_to_gamma(look.ground, if selected { 0.2 } else { 0.55 }));
    focus_ring(ui, &response, row.shrink(1.0));
    if response.clicked() {
        response.request_focus();
        actions.push(Action::Select(Selection::Pin(i)));
    }
    if response.has_focus() && ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Delete)) {
        actions.push(remove_pin(t, i));
        actions.push(Action::Select(Selection::None));
    }
}

fn empty_ui(ui: &mut Ui, rect: Rect, text: &str) {
    let look = Look::of(ui);
    let mut ui = ui.new_child(UiBuilder::new().max_rect(Rect::from_center_size(rect.center(), vec2(rect.width(), 44.0))));
    ui.vertical_centered(|ui| {
        ui.label(eframe::egui::RichText::new(text).font(look::body()).color(look.text));
        ui.label(eframe::egui::RichText::new(texts::EMPTY_HINT).font(look::small()).color(look.quiet));
    });
}
