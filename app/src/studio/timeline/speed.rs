//! The speed curve of a stroke: way over time in a square, and the speed that comes of it.
//!
//! Invariant: points never pass each other and the way never shrinks, so that each state is a valid curve. Guarded by the tests of
//! [`super::edit`] and of the timeline.

use eframe::egui::{CursorIcon, Pos2, Rect, Role, Sense, Shape, Stroke as Line, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use kinebrush_engine::motion::stroke::Stroke;

use super::controls::focus_ring;
use super::{Look, Timeline, edit, look, texts};

/// Points along a drawn curve.
const SAMPLES: usize = 48;

/// A ready-made curve.
type Preset = (&'static str, &'static [(f32, f32)]);

/// Ready-made curves: squares and a smoothstep through a few of their points.
const PRESETS: [Preset; 5] = [
    (texts::CONSTANT_CURVE, &[]),
    (texts::SLOW_START, &[(0.0, 0.0), (0.25, 0.062_5), (0.5, 0.25), (0.75, 0.562_5), (1.0, 1.0)]),
    (texts::SLOW_END, &[(0.0, 0.0), (0.25, 0.437_5), (0.5, 0.75), (0.75, 0.937_5), (1.0, 1.0)]),
    (texts::SLOW_BOTH, &[(0.0, 0.0), (0.2, 0.104), (0.4, 0.352), (0.6, 0.648), (0.8, 0.896), (1.0, 1.0)]),
    (texts::PAUSE_CURVE, &[(0.0, 0.0), (0.4, 0.5), (0.6, 0.5), (1.0, 1.0)]),
];

impl Timeline {
    /// The plot; returns the new curve when it changed.
    pub(super) fn curve_ui(&mut self, ui: &mut Ui, stroke: &Stroke, size: eframe::egui::Vec2) -> Option<Vec<(f32, f32)>> {
        let look = Look::of(ui);
        let (rect, plot) = ui.allocate_exact_size(size, Sense::CLICK | Sense::DRAG);
        plot.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, texts::CURVE));
        let inner = rect.shrink(7.0);
        let screen = |point: (f32, f32)| pos2(inner.left() + point.0 * inner.width(), inner.bottom() - point.1 * inner.height());
        let curve = |at: Pos2| ((at.x - inner.left()) / inner.width(), (inner.bottom() - at.y) / inner.height());
        let straight = [(0.0, 0.0), (1.0, 1.0)];
        let points: &[(f32, f32)] = if stroke.timing.is_empty() { &straight } else { &stroke.timing };
        paint_plot(ui, rect, inner, stroke);

        let mut changed = None;
        let mut over_point = false;
        for (i, point) in points.iter().enumerate() {
            let place = Rect::from_center_size(screen(*point), vec2(14.0, 14.0));
            let fixed = i == 0 || i + 1 == points.len();
            let response = ui.interact(place, plot.id.with(i), if fixed { Sense::HOVER } else { Sense::CLICK | Sense::DRAG });
            response.widget_info(|| {
                WidgetInfo::labeled(Role::Unknown, true, format!("{} {} {} {}", texts::POINT, i + 1, texts::OF, points.len()))
            });
            let held = self.speed_point == Some(i);
            over_point |= response.hovered();
            let radius = if !fixed && (response.hovered() || held) { 5.0 } else { 4.0 };
            ui.painter().circle(place.center(), radius, if held { look.text } else { look.accent }, Line::new(1.5, look.text));
            if response.drag_started() {
                self.speed_point = Some(i);
            }
            if response.double_clicked() {
                changed = Some(edit::without_point(points, i));
            }
            response.on_hover_cursor(if fixed { CursorIcon::Default } else { CursorIcon::Move });
        }
        if (plot.clicked() || plot.drag_started())
            && !over_point
            && let Some(at) = ui.input(|input| input.pointer.press_origin()).or_else(|| plot.interact_pointer_pos())
            && let Some((added, i)) = edit::with_point_added(points, curve(at))
        {
            self.speed_point = plot.drag_started().then_some(i);
            changed = Some(added);
        }
        if let Some(i) = self.speed_point {
            let (at, down) = ui.input(|input| (input.pointer.latest_pos(), input.pointer.any_down()));
            if let Some(at) = at.filter(|_| changed.is_none() && i < points.len()) {
                let moved = edit::with_point_at(points, i, curve(at));
                changed = (moved != points).then_some(moved);
            }
            if !down {
                self.speed_point = None;
            }
        }
        plot.on_hover_cursor(CursorIcon::Crosshair).on_hover_text(texts::CURVE_TIP);
        changed
    }
}

/// A row of small curves; returns the one that was chosen.
pub(super) fn presets_ui(ui: &mut Ui, stroke: &Stroke) -> Option<Vec<(f32, f32)>> {
    let look = Look::of(ui);
    let mut chosen = None;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        for (label, timing) in PRESETS {
            let on = stroke.timing == timing;
            let (rect, response) = ui.allocate_exact_size(vec2(27.0, 22.0), Sense::click());
            response.widget_info(|| WidgetInfo::selected(Role::Button, true, on, label));
            if on || response.hovered() {
                ui.painter().rect_filled(rect, look::RADIUS, if on { look.chosen } else { look.hover });
            }
            let inner = Rect::from_center_size(rect.center(), vec2(15.0, 12.0));
            paint_curve(ui, inner, timing, 14, Line::new(1.5, if on { look.on_chosen } else { look.quiet }));
            focus_ring(ui, &response, rect);
            if response.on_hover_text(label).clicked() && !on {
                chosen = Some(timing.to_vec());
            }
        }
    });
    chosen
}

fn paint_curve(ui: &Ui, inner: Rect, timing: &[(f32, f32)], samples: usize, line: Line) {
    let way = edit::way_at(timing, samples);
    let point =
        |(i, way): (usize, &f32)| pos2(inner.left() + inner.width() * i as f32 / samples as f32, inner.bottom() - way * inner.height());
    ui.painter().add(Shape::line(way.iter().enumerate().map(point).collect(), line));
}

/// Ground, grid, the resulting speed as a relief, and the way.
fn paint_plot(ui: &Ui, rect: Rect, inner: Rect, stroke: &Stroke) {
    let look = Look::of(ui);
    ui.painter().rect(rect, look::RADIUS, look.ground, Line::new(1.0, look.line), StrokeKind::Inside);
    for part in [0.25, 0.5, 0.75] {
        let line = Line::new(1.0, look.line.gamma_multiply(0.6));
        ui.painter().vline(inner.left() + part * inner.width(), inner.y_range(), line);
        ui.painter().hline(inner.x_range(), inner.bottom() - part * inner.height(), line);
    }
    let speeds = edit::speeds(stroke, SAMPLES);
    let fastest = speeds.iter().copied().fold(0.0, f32::max);
    if fastest > 0.0 {
        let point = |(i, speed): (usize, &f32)| {
            let x = inner.left() + inner.width() * (i as f32 + 0.5) / SAMPLES as f32;
            pos2(x, inner.bottom() - 0.92 * inner.height() * speed / fastest)
        };
        let line = Line::new(1.5, look.driven.gamma_multiply(0.7));
        ui.painter().add(Shape::line(speeds.iter().enumerate().map(point).collect(), line));
    }
    paint_curve(ui, inner, &stroke.timing, SAMPLES, Line::new(2.0, look.accent));
}
