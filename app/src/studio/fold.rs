//! Sections of a panel that fold away, and a sign that a panel goes on below what is in sight.
//!
//! Invariants: what was folded stays so, also in the next session; no field's identity depends on what stands before its section, so that one
//! which is being typed into keeps the keyboard while notes come and go. Guarded by the tests below.

use std::collections::BTreeMap;

use eframe::egui::{FontId, Pos2, Rect, Role, ScrollArea, Sense, Shape, Stroke as Line, Ui, UiBuilder, WidgetInfo, pos2, vec2};
use serde::{Deserialize, Serialize};

use super::theme;
use super::timeline::{Look, focus_ring};

/// Height of a section's head, points.
const HEAD: f32 = 24.0;
/// Less than this below the fold is not worth a sign, points.
const LITTLE: f32 = 12.0;
/// The sign that there is more.
pub const MORE: &str = "More below";

/// Which sections are open, by their names; those that nobody touched are as the program has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Folds(BTreeMap<String, bool>);

impl Folds {
    fn is_open(&self, name: &str, at_first: bool) -> bool {
        self.0.get(name).copied().unwrap_or(at_first)
    }
}

/// Contents whose identity is their name alone; names differ within a panel.
pub fn fixed_ui<R>(ui: &mut Ui, name: &str, content: impl FnOnce(&mut Ui) -> R) -> R {
    let id = ui.scope_id().with(name);
    ui.scope_builder(UiBuilder::new().scope_id(id), content).inner
}

/// A section below a head that opens and closes it; `at_first` is whether it is open before anybody touched it.
pub fn section_ui(ui: &mut Ui, folds: &mut Folds, (name, title): (&str, &str), at_first: bool, content: impl FnOnce(&mut Ui)) {
    fixed_ui(ui, name, |ui| {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), HEAD), Sense::click());
        let mut open = folds.is_open(name, at_first);
        if response.clicked() {
            open = !open;
            folds.0.insert(name.to_owned(), open);
        }
        response.widget_info(|| WidgetInfo::selected(Role::Button, true, open, title));
        let (look, tokens) = (Look::of(ui), theme::tokens(ui));
        let color = if response.hovered() { look.text } else { tokens.muted };
        chevron(ui, rect.left_center() + vec2(6.0, 0.0), open, color);
        let place = rect.left_center() + vec2(18.0, 0.0);
        ui.painter().text(place, eframe::egui::Align2::LEFT_CENTER, title, FontId::proportional(13.0), color);
        focus_ring(ui, &response, rect);
        if open {
            content(ui);
        }
    });
}

/// Contents that scroll, with a sign where they go on below.
pub fn scroll_ui<R>(ui: &mut Ui, name: &str, content: impl FnOnce(&mut Ui) -> R) -> R {
    let page = ui.scope_id().with((name, "page"));
    let output = ScrollArea::vertical().id_salt(name).auto_shrink(false).show(ui, |ui| {
        // The sign was pressed in the last frame.
        if let Some(height) = ui.data_mut(|data| data.remove_temp::<f32>(page)) {
            ui.scroll_with_delta(vec2(0.0, -height));
        }
        // Beside the scroll bar.
        ui.set_max_width(ui.available_width() - 8.0);
        content(ui)
    });
    let shown = output.inner_rect;
    if output.content_size.y - output.state.clamped_offset().y - shown.height() > LITTLE {
        let look = Look::of(ui);
        // In the corner, where it hides least.
        let pill = Rect::from_center_size(shown.right_bottom() - vec2(26.0, 11.0), vec2(34.0, 18.0));
        let response = ui.interact(pill, output.id.with("more"), Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, MORE));
        let fill = if response.hovered() { look.hover } else { look.well };
        ui.painter().rect(pill, 9.0, fill, Line::new(1.0, look.line), eframe::egui::StrokeKind::Inside);
        chevron(ui, pill.center(), true, look.text);
        if response.on_hover_text(MORE).clicked() {
            ui.data_mut(|data| data.insert_temp(page, shown.height() * 0.8));
            ui.ctx().request_repaint();
        }
    }
    output.inner
}

/// Down, or to the right.
fn chevron(ui: &Ui, at: Pos2, down: bool, color: eframe::egui::Color32) {
    let points =
        [(-4.0, -2.0), (0.0, 2.0), (4.0, -2.0)].map(|(x, y)| if down { pos2(at.x + x, at.y + y) } else { pos2(at.x + y, at.y + x) });
    ui.painter().add(Shape::line(points.to_vec(), Line::new(1.5, color)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use eframe::egui::{Key, TextEdit};
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable;

    #[derive(Default)]
    struct Page {
        folds: Folds,
        notes: usize,
        text: String,
    }

    fn harness() -> Harness<'static, Page> {
        let page = |ui: &mut Ui, page: &mut Page| {
            scroll_ui(ui, "page", |ui| {
                for i in 0..page.notes {
                    ui.label(format!("note {i}"));
                }
                section_ui(ui, &mut page.folds, ("first", "First"), true, |ui| {
                    ui.add(TextEdit::singleline(&mut page.text)).accessible_name("Field");
                });
                section_ui(ui, &mut page.folds, ("second", "Second"), false, |ui| {
                    ui.add_space(400.0);
                    ui.label("the end");
                });
            });
        };
        Harness::builder().with_size([240.0, 200.0]).build_ui_state(page, Page::default())
    }

    #[test]
    fn a_field_keeps_the_keyboard_while_notes_come() {
        let mut harness = harness();
        harness.get_by_label("Field").focus();
        harness.run();
        for notes in [1, 3, 0] {
            harness.state_mut().notes = notes;
            harness.run();
            harness.event(eframe::egui::Event::Text("a".to_owned()));
            harness.run();
        }
        assert_eq!(harness.state().text, "aaa");
    }

    #[test]
    fn sections_open_and_close_and_are_remembered() {
        let mut harness = harness();
        assert!(harness.query_by_label("Field").is_some() && harness.query_by_label("the end").is_none());
        assert!(harness.query_by_label(MORE).is_none());
        for title in ["First", "Second"] {
            harness.get_by_label(title).click();
            harness.run();
        }
        assert!(harness.query_by_label("Field").is_none() && harness.query_by_label("the end").is_some());
        let text = ron::to_string(&harness.state().folds).unwrap();
        assert_eq!(ron::from_str::<Folds>(&text).unwrap(), harness.state().folds);
        // There is more; the keyboard gets there too.
        harness.get_by_label(MORE).focus();
        harness.run();
        for _ in 0..3 {
            harness.key_press(Key::Enter);
            harness.run();
        }
        assert!(harness.query_by_label(MORE).is_none(), "this is the end");
    }
}
