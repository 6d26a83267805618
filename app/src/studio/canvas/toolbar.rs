//! The strip of tools at the left of the canvas and the bar with what the tool in hand can be set to.
//!
//! Invariant: every button has a label for screen readers; all signs are drawn, none needs a font. Guarded by the canvas's tests.

use eframe::egui::{
    self, Align, Color32, CornerRadius, Frame, Layout, Margin, Painter, Pos2, Rect, Sense, Shape, Slider, Stroke, StrokeKind, Ui,
    UiBuilder, Vec2, WidgetInfo, vec2,
};
use kinebrush_engine::motion::region::Region;

use super::brush::{Brush, Use};
use super::style::TEXTS;
use super::{Canvas, Env, RegionMode, Tool};
use crate::studio::action::Action;

const BUTTON: f32 = 36.0;

impl Canvas {
    /// The strip of tools.
    pub(super) fn toolbar_ui(&mut self, ui: &mut Ui, strip: Rect) {
        let mut strip_ui = ui.new_child(UiBuilder::new().max_rect(strip.shrink(4.0)).layout(Layout::top_down(Align::Center)));
        strip_ui.spacing_mut().item_spacing.y = 4.0;
        for (tool, (name, key, what)) in Tool::ALL.into_iter().zip(TEXTS.tools) {
            let selected = self.tool == tool && !self.lent;
            let (rect, response) = strip_ui.allocate_exact_size(Vec2::splat(BUTTON), Sense::click());
            response.widget_info(|| WidgetInfo::selected(egui::Role::Button, true, selected, name));
            let visuals = strip_ui.style().interact_selectable(&response, selected);
            if selected || response.hovered() || response.has_focus() {
                strip_ui.painter().rect(
                    rect.shrink(1.0),
                    CornerRadius::same(6),
                    visuals.weak_bg_fill,
                    visuals.bg_stroke,
                    StrokeKind::Inside,
                );
            }
            icon(strip_ui.painter(), tool, rect, visuals.fg_stroke.color);
            if response.clicked() {
                self.set_tool(tool);
            }
            response.on_hover_text(format!("{name} ({key})\n{what}"));
        }
    }

    /// The bar over the canvas: ways to mark, the brush, what can be pinned.
    pub(super) fn options_ui(&mut self, ui: &mut Ui, env: &Env<'_>, actions: &mut Vec<Action>) {
        let of = Use::of(self.tool, self.mode);
        if of.is_none() && self.tool != Tool::Region {
            return;
        }
        let room = Rect::from_min_max(env.rect.min + vec2(8.0, 8.0), env.rect.max - vec2(8.0, 8.0));
        let mut bar_ui = ui.new_child(UiBuilder::new().max_rect(room).layout(Layout::top_down(Align::Min)));
        let fill = bar_ui.visuals().panel_fill.gamma_multiply(0.94);
        let frame = Frame::NONE.fill(fill).corner_radius(CornerRadius::same(8)).inner_margin(Margin::symmetric(10, 6));
        let shown = frame.show(&mut bar_ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                if self.tool == Tool::Region {
                    self.modes_ui(ui, env, actions);
                }
                if let Some(of) = of {
                    self.brush_ui(ui, of, env.picture);
                }
                if matches!(self.tool, Tool::Region | Tool::Pin) && env.work.region.is_some() && ui.button(TEXTS.pin_marked).clicked() {
                    self.pin_marked(env, actions);
                }
                if self.tool == Tool::Pin {
                    self.pin_rest_ui(ui, env, actions);
                }
            });
        });
        self.bars.push(shown.response.rect);
    }

    fn modes_ui(&mut self, ui: &mut Ui, env: &Env<'_>, actions: &mut Vec<Action>) {
        let modes = [RegionMode::Brush, RegionMode::Lasso, RegionMode::Smart, RegionMode::Whole];
        for (mode, (name, what)) in modes.into_iter().zip(TEXTS.modes) {
            if ui.selectable_label(self.mode == mode, name).on_hover_text(what).clicked() {
                self.set_mode(mode, env, actions);
            }
        }
        ui.separator();
    }

    fn brush_ui(&mut self, ui: &mut Ui, of: Use, picture: (usize, usize)) {
        let brush = &mut self.brushes[of as usize];
        ui.spacing_mut().slider_width = 90.0;
        let radius = Slider::new(&mut brush.radius_px, Brush::radii(picture)).logarithmic(true).fixed_decimals(0).suffix(" px");
        ui.add(radius.text(TEXTS.radius)).on_hover_text("[  ]");
        if of != Use::Scribble {
            let percent = Slider::new(&mut brush.softness, 0.0..=1.0).custom_formatter(|value, _| format!("{:.0} %", value * 100.0));
            let percent = percent.custom_parser(|text| text.trim_end_matches('%').trim().parse().ok().map(|value: f64| value / 100.0));
            ui.add(percent.text(TEXTS.softness)).on_hover_text("{  }");
        }
    }

    fn pin_rest_ui(&mut self, ui: &mut Ui, env: &Env<'_>, actions: &mut Vec<Action>) {
        let mut pinned = env.work.project.pins.contains(&Region::All);
        let moves_all = env.work.project.strokes.iter().any(|stroke| stroke.region == Region::All);
        if ui.add_enabled(!moves_all, egui::Checkbox::new(&mut pinned, TEXTS.pin_rest)).changed() {
            let mut work = env.work.clone();
            work.project.pins.retain(|pin| *pin != Region::All);
            if pinned {
                work.project.pins.push(Region::All);
            }
            self.push_edit(TEXTS.steps.pin, work, actions);
        }
    }
}

/// A tool's sign, drawn in a square of 20 points.
fn icon(painter: &Painter, tool: Tool, rect: Rect, color: Color32) {
    let origin = rect.center() - Vec2::splat(10.0);
    let at = |x: f32, y: f32| origin + vec2(x, y);
    let line = Stroke::new(1.6, color);
    let lines = |points: &[(f32, f32)]| {
        painter.add(Shape::line(points.iter().map(|(x, y)| at(*x, *y)).collect(), line));
    };
    match tool {
        Tool::Drag => {
            // Four arrows from a point that is held.
            painter.circle_filled(at(10.0, 10.0), 2.6, color);
            for turn in 0..4 {
                let way = Vec2::angled(turn as f32 * std::f32::consts::FRAC_PI_2);
                let (center, side): (Pos2, Vec2) = (at(10.0, 10.0), way.rot90());
                painter.line_segment([center + way * 5.0, center + way * 9.0], line);
                painter.line(vec![center + way * 6.6 + side * 2.6, center + way * 9.4, center + way * 6.6 - side * 2.6], line);
            }
        }
        Tool::Path => {
            let curve = |t: f32| at(2.0 + 16.0 * t, 10.0 - 7.0 * (t * std::f32::consts::TAU).sin());
            painter.add(Shape::line((0..=20).map(|i| curve(i as f32 / 20.0)).collect(), line));
            painter.circle_filled(at(2.0, 10.0), 2.4, color);
            lines(&[(13.8, 10.2), (18.2, 10.0), (18.6, 14.6)]);
        }
        Tool::Region => {
            let around: Vec<Pos2> = (0..=40)
                .map(|i| i as f32 / 40.0 * std::f32::consts::TAU)
                .map(|turn| at(10.0, 10.0) + Vec2::angled(turn) * (8.0 + 1.2 * (turn * 3.0).sin()))
                .collect();
            painter.extend(Shape::dashed_line(&around, line, 3.6, 2.4));
        }
        Tool::Pin => {
            lines(&[(6.0, 2.0), (14.0, 2.0)]);
            lines(&[(7.5, 2.0), (7.0, 8.5), (4.0, 12.0), (16.0, 12.0), (13.0, 8.5), (12.5, 2.0)]);
            lines(&[(10.0, 12.0), (10.0, 19.0)]);
        }
        Tool::Erase => {
            let body = [(7.0, 17.0), (2.0, 12.0), (11.0, 3.0), (17.0, 9.0), (9.0, 17.0)].map(|(x, y)| at(x, y));
            painter.add(Shape::closed_line(body.to_vec(), line));
            lines(&[(6.5, 7.5), (12.5, 13.5)]);
            lines(&[(7.0, 17.4), (18.0, 17.4)]);
        }
        Tool::Hand => {
            // A palm with four fingers and a thumb.
            lines(&[(6.0, 13.0), (3.0, 9.6), (4.6, 8.4), (7.0, 10.6), (7.0, 4.0)]);
            for (i, top) in [4.0, 2.4, 2.8, 4.6].into_iter().enumerate() {
                let x = 7.0 + i as f32 * 2.9;
                painter.add(Shape::line(vec![at(x, 10.0), at(x, top), at(x + 2.2, top), at(x + 2.2, 10.0)], line));
            }
            lines(&[(6.0, 13.0), (8.6, 18.0), (15.4, 18.0), (17.9, 13.0), (17.9, 9.0)]);
        }
    }
}
