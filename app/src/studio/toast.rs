//! Messages over the bottom of the canvas.
//!
//! Invariant: an error stays until it is clicked away, the rest goes by itself; the same message is shown once, with a count; while
//! nothing changes, nothing is drawn again. Guarded by the tests below.

use std::collections::VecDeque;
use std::time::Duration;

use eframe::egui::{self, Align2, Id, RichText, vec2};

use super::strings::Strings;
use super::theme::{self, Tokens};

/// Most messages in sight.
const MAX: usize = 5;
/// How long a note is shown, seconds.
const NOTE_SECONDS: f64 = 4.0;
/// How long a warning is shown, seconds.
const WARNING_SECONDS: f64 = 10.0;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something went well.
    Info,
    /// Something to know; work goes on.
    Warning,
    /// Something was not done.
    Error,
}

/// One message.
#[derive(Clone, Debug)]
struct Toast {
    kind: Kind,
    text: String,
    /// How often it was said.
    count: usize,
    /// When it goes, seconds of the window's clock; known once it was drawn.
    until: Option<f64>,
}

/// The messages in sight, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Toasts {
    shown: VecDeque<Toast>,
}

impl Toasts {
    /// Something went well.
    pub fn info(&mut self, text: impl Into<String>) {
        self.push(Kind::Info, text.into());
    }

    /// Something to know; work goes on.
    pub fn warning(&mut self, text: impl Into<String>) {
        self.push(Kind::Warning, text.into());
    }

    /// Something was not done.
    pub fn error(&mut self, text: impl Into<String>) {
        self.push(Kind::Error, text.into());
    }

    /// Whether nothing is in sight.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    fn push(&mut self, kind: Kind, text: String) {
        if let Some(at) = self.shown.iter().position(|toast| toast.kind == kind && toast.text == text)
            && let Some(toast) = self.shown.remove(at)
        {
            self.shown.push_back(Toast { count: toast.count + 1, until: None, ..toast });
            return;
        }
        self.shown.push_back(Toast { kind, text, count: 1, until: None });
        if self.shown.len() > MAX {
            // What goes by itself goes first.
            let oldest = self.shown.iter().position(|toast| toast.kind != Kind::Error).unwrap_or(0);
            self.shown.remove(oldest);
        }
    }

    /// Draws the messages over the bottom of `canvas`, newest lowest.
    pub fn toasts_ui(&mut self, ctx: &egui::Context, canvas: egui::Rect, strings: &Strings) {
        let now = ctx.input(|input| input.time);
        for toast in &mut self.shown {
            let seconds = match toast.kind {
                Kind::Info => NOTE_SECONDS,
                Kind::Warning => WARNING_SECONDS,
                Kind::Error => f64::INFINITY,
            };
            toast.until.get_or_insert(now + seconds);
        }
        self.shown.retain(|toast| toast.until.is_none_or(|until| until > now));
        let soonest = self.shown.iter().filter_map(|toast| toast.until).fold(f64::INFINITY, f64::min);
        if soonest.is_finite() {
            ctx.request_repaint_after(Duration::from_secs_f64((soonest - now).max(0.0)));
        }
        let mut clicked = None;
        let from_bottom = canvas.center_bottom() - vec2(0.0, theme::space::LARGE);
        if self.shown.is_empty() {
            return;
        }
        egui::Area::new(Id::unique("toasts")).order(egui::Order::Foreground).pivot(Align2::CENTER_BOTTOM).fixed_pos(from_bottom).show(
            ctx,
            |ui| {
                let width = (canvas.width() - 2.0 * theme::space::LARGE).clamp(120.0, 560.0);
                for (i, toast) in self.shown.iter().enumerate() {
                    if toast_ui(ui, toast, width, strings) {
                        clicked = Some(i);
                    }
                }
            },
        );
        if let Some(i) = clicked {
            self.shown.remove(i);
        }
    }
}

/// Draws one; whether it was clicked away.
fn toast_ui(ui: &mut egui::Ui, toast: &Toast, width: f32, strings: &Strings) -> bool {
    let tokens: &Tokens = theme::tokens(ui);
    let (colour, kind) = match toast.kind {
        Kind::Info => (tokens.muted, strings.messages.info),
        Kind::Warning => (tokens.warning, strings.messages.warning),
        Kind::Error => (tokens.error, strings.messages.error),
    };
    let frame = theme::card_frame(tokens).shadow(ui.visuals().popup_shadow).inner_margin(egui::Margin::symmetric(14, 8));
    let response = frame.show(ui, |ui| {
        ui.set_width(width);
        ui.horizontal(|ui| {
            ui.label(RichText::new(kind).color(colour).strong());
            let count = if toast.count > 1 { format!("{} (×{})", toast.text, toast.count) } else { toast.text.clone() };
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let clicked = ui.small_button("×").on_hover_text(strings.common.dismiss);
                clicked.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, strings.common.dismiss));
                ui.with_layout(egui::Layout::top_down(egui::Align::Min), |ui| {
                    ui.add(egui::Label::new(count).wrap());
                });
                clicked.clicked()
            })
            .inner
        })
        .inner
    });
    // A bar of the kind's colour, so that colour is not all that tells them apart: it comes with a word.
    let rect = response.response.rect;
    ui.painter().rect_filled(egui::Rect::from_min_size(rect.min, vec2(4.0, rect.height())), 2.0, colour);
    response.inner
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::studio::strings::ENGLISH;
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable;

    fn harness<'a>(toasts: Toasts) -> Harness<'a, Toasts> {
        // A step of a quarter of a second.
        Harness::builder()
            .with_size([600.0, 300.0])
            .with_step_dt(0.25)
            .build_ui_state(|ui, toasts: &mut Toasts| toasts.toasts_ui(ui.ctx(), ui.max_rect(), &ENGLISH), toasts)
    }

    #[test]
    fn notes_go_by_themselves_and_errors_stay_until_clicked() {
        let mut toasts = Toasts::default();
        toasts.info("Saved a.ron");
        toasts.error("a.ron: cannot be written");
        let mut harness = harness(toasts);
        harness.run_steps(4);
        harness.get_by_label("Saved a.ron");
        harness.run_steps(20);
        assert!(harness.query_by_label("Saved a.ron").is_none());
        harness.run_steps(60);
        harness.get_by_label("a.ron: cannot be written");
        harness.get_by_label("Dismiss").click();
        harness.run_steps(3);
        assert!(harness.state().is_empty());
    }

    #[test]
    fn the_same_message_is_counted_and_errors_outlive_notes() {
        let mut toasts = Toasts::default();
        toasts.warning("The disk is full");
        toasts.warning("The disk is full");
        let mut harness = harness(toasts);
        harness.run_steps(2);
        harness.get_by_label("The disk is full (×2)");
        let toasts = harness.state_mut();
        toasts.error("first");
        for i in 0..9 {
            toasts.info(format!("note {i}"));
        }
        assert_eq!(toasts.shown.len(), MAX);
        assert!(toasts.shown.iter().any(|toast| toast.text == "first"));
    }

    #[test]
    fn an_error_in_sight_asks_for_no_repaint() {
        let mut toasts = Toasts::default();
        toasts.error("stays");
        let mut harness = harness(toasts);
        // Fails if the window still wants to be drawn after a few steps.
        harness.run();
    }
}
