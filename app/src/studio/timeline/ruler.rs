//! The ruler: marks, what was generated, the loop, the project's end and the playhead.
//!
//! Invariant: the playhead's line is drawn over everything at the very place where a press on the ruler puts it. Guarded by the
//! timeline's tests.

use eframe::egui::{
    Align, Align2, CursorIcon, Layout, Rangef, Rect, Response, Role, Sense, Shape, Stroke as Line, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use kinebrush_engine::motion::stroke::MAX_FRAMES;

use super::axis::{Axis, mark};
use super::controls::{Icon, button};
use super::{Action, Look, NAMES, Timeline, TimelineInput, edit_work, look, texts};

/// Height of the bar below the rows that scrolls in time, points.
pub(super) const PAN_BAR: f32 = 10.0;
/// Height of the strip that shows which frames exist, points.
const STRIP: f32 = 5.0;
/// How far from a mark a press still takes it, points.
const GRAB: f32 = 6.0;

impl Timeline {
    pub(super) fn ruler_ui(
        &mut self,
        ui: &mut Ui,
        head: Rect,
        rows: Rect,
        axis: &mut Axis,
        t: &TimelineInput<'_>,
        actions: &mut Vec<Action>,
    ) {
        let look = Look::of(ui);
        let ruler = Rect::from_min_max(pos2(axis.x.min, head.top()), head.max);
        crate::studio::gpu::fill(ui.painter(), head, look.raised);
        self.zoom_ui(ui, Rect::from_min_max(head.min, pos2(head.left() + NAMES, head.bottom())), axis);
        let response = ui.interact(ruler, ui.scope_id().with("ruler"), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, texts::RULER));
        let painter = ui.painter_at(ruler.union(rows).intersect(Rect::everything_right_of(axis.x.min)));
        paint_marks(&painter, &look, ruler, rows, axis, self.unit);
        paint_generated(&painter, &look, ruler, axis, t);
        self.press(ui, &response, axis, t, actions);
        self.loop_ui(ui, ruler, rows, axis, t, actions);
        self.end_ui(ui, ruler, rows, axis, t, actions);
        ui.painter().hline(head.x_range(), head.bottom(), Line::new(1.0, look.line));
        ui.painter().vline(axis.x.min, Rangef::new(head.top(), rows.bottom()), Line::new(1.0, look.line));
        self.playhead_ui(ui, ruler, rows, axis, t, actions);
    }

    fn zoom_ui(&mut self, ui: &mut Ui, cell: Rect, axis: &mut Axis) {
        let layout = Layout::right_to_left(Align::Center);
        let mut ui = ui.new_child(UiBuilder::new().max_rect(cell.shrink2(vec2(6.0, 2.0))).layout(layout));
        ui.spacing_mut().item_spacing.x = 0.0;
        let tip = |label: &str| format!("{label} {}", texts::ZOOM_TIP);
        if button(&mut ui, Icon::Plus, "", texts::ZOOM_IN, &tip(texts::ZOOM_IN), false).clicked() {
            (*axis, self.fit) = (axis.zoomed(1.5, axis.x.center()), false);
        }
        if button(&mut ui, Icon::Minus, "", texts::ZOOM_OUT, &tip(texts::ZOOM_OUT), false).clicked() {
            (*axis, self.fit) = (axis.zoomed(1.0 / 1.5, axis.x.center()), false);
        }
        if button(&mut ui, Icon::Fit, "", texts::FIT, texts::FIT, self.fit).clicked() {
            self.fit = !self.fit;
        }
    }

    /// A press on the ruler moves the playhead there; with Shift it draws a loop.
    fn press(&mut self, ui: &Ui, response: &Response, axis: &Axis, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let (shift, alt, origin) = ui.input(|input| (input.modifiers.shift, input.modifiers.alt, input.pointer.press_origin()));
        if response.drag_started() && shift {
            self.loop_anchor = origin.map(|at| axis.frame_from_x(at.x).max(0.0).round());
        }
        if !response.is_pointer_button_down_on() {
            self.loop_anchor = None;
            return;
        }
        let Some(at) = response.interact_pointer_pos().map(|at| axis.frame_from_x(at.x)) else { return };
        if let Some(anchor) = self.loop_anchor {
            let (a, b) = (anchor.min(at).max(0.0).round() as usize, anchor.max(at).max(0.0).round() as usize);
            let range = Some((a, b.max(a + 1)));
            if range != t.loop_range {
                actions.push(Action::SetLoop(range));
            }
        } else if !shift {
            seek(at, alt, t, actions);
        }
    }

    fn loop_ui(&self, ui: &Ui, ruler: Rect, rows: Rect, axis: &Axis, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let Some((first, end)) = t.loop_range else { return };
        let look = Look::of(ui);
        let painter = ui.painter_at(ruler.union(rows).intersect(Rect::everything_right_of(axis.x.min)));
        let range = Rangef::new(axis.x_from_frame(first as f32), axis.x_from_frame(end as f32));
        let band = Rect::from_x_y_ranges(range, Rangef::new(ruler.top(), ruler.top() + 6.0));
        painter.rect_filled(band, 2.0, look.accent);
        painter.rect_filled(Rect::from_x_y_ranges(range, rows.y_range()), 0.0, look.accent.gamma_multiply(0.10));
        for (label, x, is_end) in [(texts::LOOP_START, range.min, false), (texts::LOOP_END, range.max, true)] {
            let line = Line::new(1.0, look.accent);
            painter.vline(x, Rangef::new(ruler.top(), rows.bottom()), line);
            let handle = Rect::from_center_size(pos2(x, ruler.top() + 5.0), vec2(2.0 * GRAB, 12.0));
            let response = marker(ui, handle, ruler, label);
            if let Some(at) = response.interact_pointer_pos().filter(|_| response.dragged()) {
                let frame = axis.frame_from_x(at.x).max(0.0).round() as usize;
                let range = if is_end { (first, frame.max(first + 1)) } else { (frame.min(end - 1), end) };
                if Some(range) != t.loop_range {
                    actions.push(Action::SetLoop(Some(range)));
                }
            }
        }
    }

    /// The flag at the end of the project, and the shade behind it.
    fn end_ui(&self, ui: &Ui, ruler: Rect, rows: Rect, axis: &Axis, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let look = Look::of(ui);
        let painter = ui.painter_at(ruler.union(rows).intersect(Rect::everything_right_of(axis.x.min)));
        let x = axis.x_from_frame(t.work.project.frames as f32);
        let beyond = Rect::from_min_max(pos2(x.max(axis.x.min), rows.top()), rows.max);
        if beyond.is_positive() {
            painter.rect_filled(beyond, 0.0, look.beyond);
        }
        let flag = Rect::from_min_size(pos2(x, ruler.top() + 8.0), vec2(11.0, 12.0));
        let response = marker(ui, flag.expand2(vec2(3.0, 1.0)), ruler, texts::PROJECT_END).on_hover_text(texts::PROJECT_END_TIP);
        let color = if response.hovered() || response.dragged() { look.text } else { look.quiet };
        painter.vline(x, Rangef::new(flag.top(), rows.bottom()), Line::new(1.0, color));
        let points = [(0.0, 0.0), (10.0, 0.0), (6.5, 5.0), (10.0, 10.0), (0.0, 10.0)];
        for triangle in [[0, 1, 2], [0, 2, 4], [2, 3, 4]] {
            let corners = triangle.map(|i: usize| flag.min + vec2(points[i].0, points[i].1)).to_vec();
            painter.add(Shape::convex_polygon(corners, color, Line::NONE));
        }
        if let Some(at) = response.interact_pointer_pos().filter(|_| response.dragged()) {
            let frames = axis.frame_from_x(at.x).round().clamp(1.0, MAX_FRAMES as f32) as usize;
            if frames != t.work.project.frames {
                actions.push(edit_work(t, texts::LENGTH, self.gesture, |work| work.project.frames = frames));
            }
        }
    }

    fn playhead_ui(&self, ui: &Ui, ruler: Rect, rows: Rect, axis: &Axis, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let look = Look::of(ui);
        let x = axis.x_from_frame(t.playhead);
        let top = ruler.top() + 3.0;
        let head = Rect::from_center_size(pos2(x, top + 8.0), vec2(16.0, 18.0));
        let response = marker(ui, head, ruler, texts::PLAYHEAD);
        if let Some(at) = response.interact_pointer_pos().filter(|_| response.dragged()) {
            let alt = ui.input(|input| input.modifiers.alt);
            seek(axis.frame_from_x(at.x), alt, t, actions);
        }
        let painter = ui.painter_at(ruler.union(rows).expand2(vec2(8.0, 0.0)).intersect(Rect::everything_right_of(axis.x.min - 8.0)));
        if x < axis.x.min - 1.0 {
            return;
        }
        painter.vline(x, Rangef::new(top + 10.0, rows.bottom()), Line::new(1.5, look.playhead));
        let half = if response.hovered() || response.dragged() { 7.5 } else { 6.5 };
        let outline = [(-half, 0.0), (half, 0.0), (half, 8.0), (0.0, 15.0), (-half, 8.0)];
        let corners = outline.iter().map(|p| pos2(x + p.0, top + p.1)).collect();
        painter.add(Shape::convex_polygon(corners, look.playhead, Line::new(1.0, look.ground)));
    }

    /// The bar below the rows: its thumb is what is in view.
    pub(super) fn pan_ui(&mut self, ui: &Ui, bar: Rect, axis: &mut Axis, t: &TimelineInput<'_>) {
        let look = Look::of(ui);
        ui.painter().rect_filled(bar, 0.0, look.raised);
        let all = (t.end() as f32 * 1.1).max(axis.first + axis.frames()).max(1.0);
        let at = |frame: f32| bar.left() + bar.width() * (frame.max(0.0) / all);
        let thumb =
            Rect::from_x_y_ranges(Rangef::new(at(axis.first), at(axis.first + axis.frames()).max(at(axis.first) + 12.0)), bar.y_range());
        let response = ui.interact(bar, ui.scope_id().with("pan"), Sense::DRAG);
        response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, texts::PAN));
        let color = if response.dragged() || response.hovered() { look.quiet } else { look.off };
        ui.painter().rect_filled(thumb.shrink2(vec2(1.0, 3.0)), 2.0, color);
        if response.dragged() {
            *axis = axis.panned(-response.drag_delta().x * all / bar.width() * axis.scale);
            self.fit = false;
        }
    }
}

/// Something on the ruler that is dragged sideways; it stays reachable where the view cuts it off.
fn marker(ui: &Ui, rect: Rect, ruler: Rect, label: &str) -> Response {
    let seen = rect.intersect(ruler.expand2(vec2(8.0, 0.0)));
    let place = if seen.is_positive() { seen } else { Rect::from_center_size(rect.center(), vec2(0.0, 0.0)) };
    let response = ui.interact(place, ui.scope_id().with(label), Sense::DRAG);
    response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, label));
    response.on_hover_and_drag_cursor(CursorIcon::ResizeHorizontal)
}

/// Asks for the frame at a place of the ruler: a whole one unless `free`.
fn seek(at: f32, free: bool, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
    let frame = at.clamp(0.0, t.end().max(1) as f32 - 1.0);
    let frame = if free { frame } else { frame.round() };
    if frame != t.playhead {
        actions.push(Action::Seek(frame));
    }
}

fn paint_marks(painter: &eframe::egui::Painter, look: &Look, ruler: Rect, rows: Rect, axis: &Axis, unit: super::Unit) {
    let (step, ticks) = axis.steps(unit, 64.0);
    let first = (axis.first.max(0.0) / step).floor() * step;
    let end = axis.frame_from_x(axis.x.max);
    let base = ruler.bottom() - STRIP;
    for i in 0..=((end - first) / step).ceil() as usize {
        let frame = first + i as f32 * step;
        let x = axis.x_from_frame(frame);
        painter.vline(x, Rangef::new(base - 10.0, base), Line::new(1.0, look.quiet));
        painter.vline(x, rows.y_range(), Line::new(1.0, look.line.gamma_multiply(0.45)));
        painter.text(pos2(x + 4.0, base - 6.0), Align2::LEFT_CENTER, mark(frame, unit), look::small(), look.quiet);
        for tick in 1..ticks {
            let x = axis.x_from_frame(frame + step * tick as f32 / ticks as f32);
            painter.vline(x, Rangef::new(base - 3.0, base), Line::new(1.0, look.off));
        }
    }
}

fn paint_generated(painter: &eframe::egui::Painter, look: &Look, ruler: Rect, axis: &Axis, t: &TimelineInput<'_>) {
    let strip = Rangef::new(ruler.bottom() - STRIP, ruler.bottom() - 1.0);
    let fill = |range: &std::ops::Range<usize>, color| {
        let x = Rangef::new(axis.x_from_frame(range.start as f32), axis.x_from_frame(range.end as f32));
        if range.end > range.start {
            painter.rect_filled(Rect::from_x_y_ranges(x, strip), 0.0, color);
        }
    };
    fill(&t.generated, look.generated);
    t.cached.iter().for_each(|range| fill(range, look.cached));
}
