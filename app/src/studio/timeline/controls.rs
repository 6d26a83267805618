//! Small controls of these panels: icons drawn with the painter, icon buttons, segmented choices.
//!
//! Invariant: each control has a name for screen readers and shows focus; an icon never depends on a font. Guarded by the panels' tests,
//! which find every control by its name.

use eframe::egui::{
    Align2, Color32, Painter, Pos2, Rect, Response, Role, Sense, Shape, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use super::look::{self, Look};

/// What is drawn on a button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icon {
    /// A filled disc: make video.
    Start,
    /// A filled square: end.
    End,
    /// Two bars.
    Pause,
    /// A triangle.
    Play,
    /// A bar and a triangle to the left.
    First,
    /// A triangle and a bar to the right.
    Last,
    /// A thin triangle to the left.
    Back,
    /// A thin triangle to the right.
    Forward,
    /// An arrow that comes round.
    Loop,
    /// A line that parts.
    Branch,
    /// A plus sign.
    Plus,
    /// A minus sign.
    Minus,
    /// Two arrows apart.
    Fit,
    /// A pencil.
    Rename,
    /// An arrow out of a tray.
    Export,
    /// A bin.
    Delete,
    /// A cross.
    Close,
    /// Two sheets.
    Repeat,
}

/// Draws `icon` about `center` within 14 points.
pub fn paint(painter: &Painter, center: Pos2, icon: Icon, color: Color32) {
    let at = |x: f32, y: f32| center + vec2(x, y);
    let line = Stroke::new(1.5, color);
    let stroke = |points: &[(f32, f32)]| {
        painter.add(Shape::line(points.iter().map(|p| at(p.0, p.1)).collect(), line));
    };
    let fill = |points: &[(f32, f32)]| {
        painter.add(Shape::convex_polygon(points.iter().map(|p| at(p.0, p.1)).collect(), color, Stroke::NONE));
    };
    let bar = |x: f32, y: f32, w: f32, h: f32| {
        painter.rect_filled(Rect::from_center_size(at(x, y), vec2(w, h)), 0.5, color);
    };
    match icon {
        Icon::Start => drop(painter.circle_filled(center, 5.0, color)),
        Icon::End => bar(0.0, 0.0, 9.0, 9.0),
        Icon::Pause => [-3.0, 3.0].into_iter().for_each(|x| bar(x, 0.0, 3.0, 11.0)),
        Icon::Play => fill(&[(-4.0, -6.0), (6.0, 0.0), (-4.0, 6.0)]),
        Icon::First => {
            bar(-5.0, 0.0, 2.0, 10.0);
            fill(&[(5.0, -5.0), (5.0, 5.0), (-3.0, 0.0)]);
        }
        Icon::Last => {
            bar(5.0, 0.0, 2.0, 10.0);
            fill(&[(-5.0, -5.0), (3.0, 0.0), (-5.0, 5.0)]);
        }
        Icon::Back => stroke(&[(2.5, -5.0), (-2.5, 0.0), (2.5, 5.0)]),
        Icon::Forward => stroke(&[(-2.5, -5.0), (2.5, 0.0), (-2.5, 5.0)]),
        Icon::Loop => {
            let arc: Vec<(f32, f32)> =
                (0..=20).map(|i| (-0.25 + 5.2 * i as f32 / 20.0).sin_cos()).map(|(sin, cos)| (5.0 * cos, 5.0 * sin)).collect();
            stroke(&arc);
            fill(&[(2.0, -3.4), (7.6, -3.4), (5.6, 1.4)]);
        }
        Icon::Branch => {
            stroke(&[(-4.0, -2.5), (-4.0, 2.5)]);
            stroke(&[(-4.0, 2.0), (-3.0, 0.0), (3.0, 0.0), (4.0, -2.0)]);
            for (x, y) in [(-4.0, -4.5), (-4.0, 4.5), (4.0, -4.0)] {
                painter.circle_filled(at(x, y), 2.2, color);
            }
        }
        Icon::Plus => {
            stroke(&[(-4.0, 0.0), (4.0, 0.0)]);
            stroke(&[(0.0, -4.0), (0.0, 4.0)]);
        }
        Icon::Minus => stroke(&[(-4.0, 0.0), (4.0, 0.0)]),
        Icon::Fit => {
            stroke(&[(-5.0, 0.0), (5.0, 0.0)]);
            stroke(&[(-2.5, -3.0), (-5.5, 0.0), (-2.5, 3.0)]);
            stroke(&[(2.5, -3.0), (5.5, 0.0), (2.5, 3.0)]);
        }
        Icon::Rename => {
            stroke(&[(-5.0, 5.0), (-4.0, 2.0), (3.0, -5.0), (5.0, -3.0), (-2.0, 4.0), (-5.0, 5.0)]);
        }
        Icon::Export => {
            stroke(&[(-5.0, 1.0), (-5.0, 5.0), (5.0, 5.0), (5.0, 1.0)]);
            stroke(&[(0.0, 2.5), (0.0, -5.0)]);
            stroke(&[(-3.0, -2.5), (0.0, -5.5), (3.0, -2.5)]);
        }
        Icon::Delete => {
            stroke(&[(-5.0, -3.5), (5.0, -3.5)]);
            stroke(&[(-1.5, -3.5), (-1.5, -5.5), (1.5, -5.5), (1.5, -3.5)]);
            stroke(&[(-3.8, -3.0), (-3.2, 5.5), (3.2, 5.5), (3.8, -3.0)]);
        }
        Icon::Close => {
            stroke(&[(-4.0, -4.0), (4.0, 4.0)]);
            stroke(&[(4.0, -4.0), (-4.0, 4.0)]);
        }
        Icon::Repeat => {
            painter.rect_stroke(Rect::from_center_size(at(-1.5, 1.5), vec2(7.0, 8.0)), 1.0, line, StrokeKind::Middle);
            stroke(&[(-1.5, -5.0), (5.0, -5.0), (5.0, 3.0)]);
        }
    }
}

/// A ring around what has the keyboard's focus.
pub fn focus_ring(ui: &Ui, response: &Response, rect: Rect) {
    if response.has_focus() {
        let look = Look::of(ui);
        ui.painter().rect_stroke(rect, look::RADIUS, Stroke::new(1.5, look.accent), StrokeKind::Inside);
    }
}

/// A button with an icon, `text` beside it if not empty, known as `label`.
pub fn button(ui: &mut Ui, icon: Icon, text: &str, label: &str, tip: &str, on: bool) -> Response {
    let look = Look::of(ui);
    let galley = (!text.is_empty()).then(|| ui.painter().layout_no_wrap(text.to_owned(), look::body(), look.text));
    let width = galley.as_ref().map_or(look::CONTROL + 2.0, |galley| galley.size().x + 34.0);
    let (rect, response) = ui.allocate_exact_size(vec2(width, look::CONTROL), Sense::click());
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::selected(Role::Button, enabled, on, label));
    let hovered = response.hovered() && enabled;
    let ground = if on { look.chosen } else { look.hover };
    if on || hovered {
        ui.painter().rect_filled(rect, look::RADIUS, if response.is_pointer_button_down_on() { look.line } else { ground });
    }
    let color = match (enabled, on) {
        (false, _) => look.off,
        (true, true) => look.on_chosen,
        (true, false) => look.text,
    };
    let left = if text.is_empty() { rect.center().x } else { rect.left() + 14.0 };
    paint(ui.painter(), pos2(left, rect.center().y), icon, if icon == Icon::Start && enabled { look.alert } else { color });
    if let Some(galley) = galley {
        let place = pos2(rect.left() + 26.0, rect.center().y - galley.size().y / 2.0);
        ui.painter().galley_with_override_text_color(place, galley, color);
    }
    focus_ring(ui, &response, rect);
    response.on_hover_text(tip).on_disabled_hover_text(tip)
}

/// One of several, side by side: each with a label, a tip and whether it is the one. Returns the one that was clicked.
pub fn segments(ui: &mut Ui, choices: &[(&str, &str, bool)]) -> Option<usize> {
    let look = Look::of(ui);
    let font = look::small();
    let sizes: Vec<f32> =
        choices.iter().map(|choice| ui.painter().layout_no_wrap(choice.0.to_owned(), font.clone(), look.text).size().x + 16.0).collect();
    let (whole, group) = ui.allocate_exact_size(vec2(sizes.iter().sum::<f32>() + 4.0, look::CONTROL - 2.0), Sense::hover());
    ui.painter().rect_filled(whole, look::RADIUS, look.well);
    let (mut left, mut clicked) = (whole.left() + 2.0, None);
    for (i, ((label, tip, on), width)) in choices.iter().zip(sizes).enumerate() {
        let rect = Rect::from_min_size(pos2(left, whole.top() + 2.0), vec2(width, whole.height() - 4.0));
        left += width;
        let response = ui.interact(rect, group.id.with(i), Sense::click());
        let enabled = ui.is_enabled();
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, enabled, *on, label));
        let color = if !enabled {
            look.off
        } else if *on {
            look.on_chosen
        } else if response.hovered() {
            look.text
        } else {
            look.quiet
        };
        if *on {
            ui.painter().rect_filled(rect, look::RADIUS - 1.0, if enabled { look.chosen } else { look.hover });
        }
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, *label, font.clone(), color);
        focus_ring(ui, &response, rect);
        if response.on_hover_text(*tip).clicked() {
            clicked = Some(i);
        }
    }
    clicked
}

/// A thin line between groups of controls.
pub fn divider(ui: &mut Ui) {
    let (rect, _) = ui.allocate_exact_size(Vec2::new(9.0, look::CONTROL), Sense::hover());
    let look = Look::of(ui);
    ui.painter().vline(rect.center().x, rect.shrink2(vec2(0.0, 5.0)).y_range(), Stroke::new(1.0, look.line));
}

/// `text` in `width` points, with dots where it does not fit.
pub fn elided(ui: &Ui, text: &str, width: f32, font: eframe::egui::FontId, color: Color32) -> std::sync::Arc<eframe::egui::Galley> {
    let mut job = eframe::egui::text::LayoutJob::simple_singleline(text.to_owned(), font, color);
    job.wrap = eframe::egui::text::TextWrapping::truncate_at_width(width.max(8.0));
    ui.painter().layout_job(job)
}
