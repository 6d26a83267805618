//! The curve of one segment with its handles, and the camera's values over time.
//!
//! Invariant: what is drawn is measured on the very path that is rendered; a handle stays inside the square, so each state is a valid curve.
//! Guarded by the panel's tests.

use eframe::egui::{Color32, CursorIcon, Pos2, Rect, Role, Sense, Shape, Stroke as Line, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2};
use kinebrush_engine::motion::camera::{CameraPath, Curve};

use super::edit::{self, handles};
use super::space::axis_color;
use super::{CameraInput, CameraPanel, texts};
use crate::studio::action::Action;
use crate::studio::theme;
use crate::studio::timeline::{Look, RADIUS, focus_ring, segments, small};

/// Points along a drawn curve.
const SAMPLES: usize = 64;
/// How far an arrow key moves a handle.
const STEP: f32 = 0.02;

impl CameraPanel {
    /// Kind and shape of the segment at the playhead.
    pub(super) fn segment_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, actions: &mut Vec<Action>) {
        let look = Look::of(ui);
        let Some(i) = edit::segment_at(path, t.playhead) else {
            ui.label(eframe::egui::RichText::new(texts::NO_SEGMENT).font(small()).color(look.quiet));
            return;
        };
        let curve = path.keys[i].curve;
        let is_bezier = matches!(curve, Curve::Bezier { .. });
        let choices = [
            (texts::LINEAR, texts::LINEAR_TIP, curve == Curve::Linear),
            (texts::SMOOTH, texts::SMOOTH_TIP, curve == Curve::Smooth),
            (texts::HOLD, texts::HOLD_TIP, curve == Curve::Hold),
            (texts::BEZIER, texts::BEZIER_TIP, is_bezier),
        ];
        let [from, to] = handles(curve);
        let kinds = [Curve::Linear, Curve::Smooth, Curve::Hold, Curve::Bezier { from, to }];
        let chosen = segments(ui, &choices).map(|chosen| kinds[chosen]).filter(|chosen| *chosen != curve);
        let pulled = self.progress_ui(ui, t, path, i);
        let gesture = if chosen.is_some() { 0 } else { self.gesture(ui) };
        if let Some(curve) = chosen.or(pulled) {
            let mut changed = path.clone();
            changed.keys[i].curve = curve;
            actions.push(t.edit_path(texts::STEP_CURVE, gesture, changed));
        }
    }

    /// Progress over time in a square with two handles; the curve when it changed.
    fn progress_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, i: usize) -> Option<Curve> {
        let (look, tokens) = (Look::of(ui), theme::tokens(ui));
        let (rect, plot) = ui.allocate_exact_size(vec2(ui.available_width(), 128.0), Sense::HOVER);
        plot.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, texts::CURVE));
        let inner = rect.shrink(12.0);
        let screen = |(time, way): (f32, f32)| pos2(inner.left() + time * inner.width(), inner.bottom() - way * inner.height());
        let ground = ui.painter();
        ground.rect(rect, RADIUS, look.ground, Line::new(1.0, look.line), StrokeKind::Inside);
        for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let line = Line::new(1.0, look.line.gamma_multiply(0.6));
            ground.vline(inner.left() + part * inner.width(), inner.y_range(), line);
            ground.hline(inner.x_range(), inner.bottom() - part * inner.height(), line);
        }
        let (from, to) = (path.keys[i].frame, path.keys[i + 1].frame);
        let curve = path.keys[i].curve;
        let moments: Vec<f32> = (0..=SAMPLES).map(|k| from + (to - from) * k as f32 / SAMPLES as f32).collect();
        let way = edit::way(&edit::bare(path), t.size(), &moments, self.survey.distance(path));
        let whole = way.last().copied().unwrap_or(0.0);
        let speeds: Vec<f32> = way.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let fastest = speeds.iter().copied().fold(0.0, f32::max);
        // The jump of a held key is no speed.
        if fastest > 1e-6 && curve != Curve::Hold {
            let point = |(k, speed): (usize, &f32)| screen(((k as f32 + 0.5) / SAMPLES as f32, 0.92 * speed / fastest));
            ground.add(Shape::line(speeds.iter().enumerate().map(point).collect(), Line::new(1.5, look.driven.gamma_multiply(0.75))));
        }
        let part = |k: usize| k as f32 / SAMPLES as f32;
        let points: Vec<Pos2> = match curve {
            Curve::Hold => [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)].map(screen).to_vec(),
            Curve::Bezier { from, to } => (0..=SAMPLES).map(|k| screen(cubic(from, to, part(k)))).collect(),
            _ if whole > 1e-6 => way.iter().enumerate().map(|(k, way)| screen((part(k), way / whole))).collect(),
            _ => [(0.0, 0.0), (1.0, 1.0)].map(screen).to_vec(),
        };
        ground.add(Shape::line(points, Line::new(2.0, tokens.accent)));
        if (from..=to).contains(&t.playhead) {
            let x = screen(((t.playhead - from) / (to - from), 0.0)).x;
            ground.vline(x, rect.y_range(), Line::new(1.0, look.playhead.gamma_multiply(0.6)));
        }
        let changed = self.handles_ui(ui, &plot, inner, curve, &look);
        plot.on_hover_text(texts::CURVE_TIP);
        changed
    }

    fn handles_ui(&mut self, ui: &mut Ui, plot: &eframe::egui::Response, inner: Rect, curve: Curve, look: &Look) -> Option<Curve> {
        let accent = theme::tokens(ui).accent;
        let is_bezier = matches!(curve, Curve::Bezier { .. });
        let screen =
            |(time, way): (f32, f32)| pos2(inner.left() + time * inner.width(), inner.bottom() - way.clamp(-0.1, 1.1) * inner.height());
        let mut changed = None;
        for (which, (handle, end)) in handles(curve).into_iter().zip([(0.0, 0.0), (1.0, 1.0)]).enumerate() {
            let at = screen(handle);
            let response = ui.interact(Rect::from_center_size(at, Vec2::splat(18.0)), plot.id.with(which), Sense::click_and_drag());
            response.widget_info(|| WidgetInfo::labeled(Role::Unknown, true, texts::HANDLES[which]));
            let lit = response.hovered() || response.dragged() || response.has_focus();
            let color = if is_bezier || lit { look.text } else { look.off };
            ui.painter().line_segment([screen(end), at], Line::new(1.25, color.gamma_multiply(0.8)));
            ui.painter().circle(at, if lit { 6.0 } else { 4.5 }, if is_bezier { accent } else { look.ground }, Line::new(1.5, color));
            focus_ring(ui, &response, Rect::from_center_size(at, Vec2::splat(18.0)));
            if response.clicked() {
                response.request_focus();
            }
            if response.dragged()
                && let Some(pointer) = response.interact_pointer_pos()
            {
                let place = ((pointer.x - inner.left()) / inner.width(), (inner.bottom() - pointer.y) / inner.height());
                changed = Some(edit::with_handle(curve, which, place));
            }
            if response.has_focus() {
                let way = arrows(ui, &response);
                if way != Vec2::ZERO {
                    changed = Some(edit::with_handle(curve, which, (handle.0 + way.x * STEP, handle.1 - way.y * STEP)));
                }
            }
            response.on_hover_and_drag_cursor(CursorIcon::Move);
        }
        changed.filter(|changed| *changed != curve)
    }

    /// Position, rotation, field of view and speed over the project's time.
    pub(super) fn values_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, actions: &mut Vec<Action>) {
        let (look, tokens) = (Look::of(ui), theme::tokens(ui));
        let end = path.keys.last().map_or(t.end(), |key| key.frame.max(t.end()));
        let moments: Vec<f32> = (0..=SAMPLES * 2).map(|k| end * k as f32 / (SAMPLES * 2) as f32).collect();
        let cameras: Vec<_> = moments.iter().map(|frame| path.camera(t.size(), *frame)).collect();
        let of = |value: &dyn Fn(&kinebrush_engine::motion::camera::Camera) -> f32| cameras.iter().map(value).collect::<Vec<f32>>();
        let angles: Vec<[f32; 3]> = cameras.iter().map(|camera| edit::euler_deg(camera.rotation)).collect();
        let angle = |axis: usize| unwrapped(angles.iter().map(|angles| angles[axis]));
        let way = edit::way(path, t.size(), &moments, self.survey.distance(path));
        let step = moments[1].max(1e-6);
        let speed: Vec<f32> = way.windows(2).map(|pair| (pair[1] - pair[0]) / step * 16.0).collect();
        let axis = |i: usize| axis_color(i, tokens);
        let plots: [(&str, Vec<(&str, Color32, Vec<f32>)>, f32); 4] = [
            (
                texts::POSITION,
                vec![
                    (texts::AXES[0], axis(0), of(&|camera| camera.position.x)),
                    (texts::AXES[1], axis(1), of(&|camera| camera.position.y)),
                    (texts::AXES[2], axis(2), of(&|camera| camera.position.z)),
                ],
                0.02,
            ),
            (texts::ROTATION, (0..3).map(|i| (texts::ROTATION_NAMES[i], [axis(1), axis(0), axis(2)][i], angle(i))).collect(), 0.5),
            (texts::FOV, vec![("", tokens.accent, of(&|camera| edit::fov_deg(t.size(), camera.lens.focal_px)))], 2.0),
            (texts::PLOT_SPEED, vec![("", look.driven, speed)], 0.01),
        ];
        for (name, lines, least) in plots {
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 54.0), Sense::CLICK | Sense::DRAG);
            response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, format!("{name}: {}", texts::VALUES)));
            let painter = ui.painter_at(rect);
            painter.rect_filled(rect, RADIUS, look.ground);
            let inner = rect.shrink2(vec2(6.0, 6.0));
            let all = || lines.iter().flat_map(|line| line.2.iter().copied());
            let (low, high) = all().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
            let (middle, half) = ((low + high) * 0.5, ((high - low) * 0.5).max(least));
            let x = |frame: f32| inner.left() + inner.width() * frame / end.max(1e-3);
            let y = |value: f32| inner.center().y - (value - middle) / half * inner.height() * 0.5;
            for key in &path.keys {
                painter.vline(x(key.frame), rect.y_range(), Line::new(1.0, look.line));
            }
            for (_, color, values) in &lines {
                let offset = if values.len() < moments.len() { step * 0.5 } else { 0.0 };
                let points = values.iter().zip(&moments).map(|(value, frame)| pos2(x(frame + offset), y(*value))).collect();
                painter.add(Shape::line(points, Line::new(1.75, *color)));
            }
            painter.vline(x(t.playhead.min(end)), rect.y_range(), Line::new(1.0, look.playhead));
            legend(&painter, rect, name, &lines, &look);
            if let Some(at) = response.interact_pointer_pos().filter(|_| response.dragged() || response.clicked()) {
                let frame = ((at.x - inner.left()) / inner.width() * end).clamp(0.0, end).round();
                if frame != t.playhead {
                    actions.push(Action::Seek(frame));
                }
            }
        }
    }
}

/// Name and colours on a shade, so that the lines below do not hide them.
fn legend(painter: &eframe::egui::Painter, rect: Rect, name: &str, lines: &[(&str, Color32, Vec<f32>)], look: &Look) {
    let words = std::iter::once((name, look.quiet)).chain(lines.iter().map(|line| (line.0, line.1))).filter(|word| !word.0.is_empty());
    let galleys: Vec<_> = words.map(|(text, color)| painter.layout_no_wrap(text.to_owned(), small(), color)).collect();
    let width = galleys.iter().map(|galley| galley.size().x + 6.0).sum::<f32>() + 4.0;
    let ground = Rect::from_min_size(rect.min + vec2(3.0, 2.0), vec2(width, 15.0));
    painter.rect_filled(ground, 3.0, look.ground.gamma_multiply(0.8));
    let mut left = ground.left() + 4.0;
    for galley in galleys {
        let width = galley.size().x;
        painter.galley(pos2(left, ground.center().y - galley.size().y * 0.5), galley, look.quiet);
        left += width + 6.0;
    }
}

/// The curve of CSS: time and progress at parameter `u`.
fn cubic(from: (f32, f32), to: (f32, f32), u: f32) -> (f32, f32) {
    let v = 1.0 - u;
    let at = |a: f32, b: f32| 3.0 * v * v * u * a + 3.0 * v * u * u * b + u * u * u;
    (at(from.0, to.0), at(from.1, to.1))
}

/// Angles without the jump from 180 to -180 degrees.
fn unwrapped(angles: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut last: Option<f32> = None;
    angles
        .map(|angle| {
            let near = last.map_or(angle, |last| angle + ((last - angle) / 360.0).round() * 360.0);
            last = Some(near);
            near
        })
        .collect()
}

/// Presses of the arrow keys on what has the focus, which keeps them.
fn arrows(ui: &Ui, response: &eframe::egui::Response) -> Vec2 {
    use eframe::egui::{EventFilter, Key, Modifiers};
    let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, tab: false, escape: false };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
    let count = |key: Key| ui.input_mut(|input| input.count_and_consume_key(Modifiers::NONE, key)) as f32;
    vec2(count(Key::ArrowRight) - count(Key::ArrowLeft), count(Key::ArrowDown) - count(Key::ArrowUp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_begin_and_end_in_their_corners_and_angles_do_not_jump() {
        assert_eq!((cubic((0.4, 0.0), (0.6, 1.0), 0.0), cubic((0.4, 0.0), (0.6, 1.0), 1.0)), ((0.0, 0.0), (1.0, 1.0)));
        assert!((cubic((0.4, 0.0), (0.6, 1.0), 0.5).1 - 0.5).abs() < 1e-6);
        assert_eq!(unwrapped([170.0, 179.0, -172.0, -160.0].into_iter()), [170.0, 179.0, 188.0, 200.0]);
    }
}
