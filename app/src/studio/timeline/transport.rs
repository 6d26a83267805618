//! The row of buttons above the ruler.
//!
//! Invariant: each button does what its key does, and says so. Guarded by the timeline's tests.

use eframe::egui::{Align, Layout, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use kinebrush_engine::stream::live::{Clock, State};

use super::controls::{Icon, button, divider, focus_ring, segments};
use super::{Action, Compare, Look, Timeline, TimelineInput, Unit, clock, look, texts};

/// Below this width words give way to icons, points.
const WORDS: f32 = 940.0;

impl Timeline {
    pub(super) fn transport_ui(&mut self, ui: &mut Ui, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let words = ui.available_width() >= WORDS;
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), look::CONTROL + 10.0), Sense::hover());
        let inner = row.shrink2(vec2(8.0, 5.0));
        let mut left = ui.new_child(eframe::egui::UiBuilder::new().max_rect(inner).layout(Layout::left_to_right(Align::Center)));
        left.spacing_mut().item_spacing.x = 2.0;
        self.run_ui(&mut left, t, actions);
        divider(&mut left);
        self.steps_ui(&mut left, t, actions);
        divider(&mut left);
        self.loop_and_branch_ui(&mut left, words, t, actions);
        divider(&mut left);
        self.time_ui(&mut left, t);

        let mut right = ui.new_child(eframe::egui::UiBuilder::new().max_rect(inner).layout(Layout::right_to_left(Align::Center)));
        right.spacing_mut().item_spacing.x = 10.0;
        let split = matches!(t.compare, Compare::Split(_));
        let compare = [
            (texts::GENERATED, texts::GENERATED_TIP, t.compare == Compare::Generated),
            (texts::GUIDE, texts::GUIDE_TIP, t.compare == Compare::Guide),
            (texts::SPLIT, texts::SPLIT_TIP, split),
        ];
        let wanted = segments(&mut right, &compare);
        // A second click on the split keeps it where it was moved to.
        let modes = [Compare::Generated, Compare::Guide, if split { t.compare } else { Compare::Split(0.5) }];
        actions.extend(wanted.map(|i| Action::SetCompare(modes[i])));
        let clocks = [
            (texts::REAL_TIME, texts::REAL_TIME_TIP, t.clock == Clock::RealTime),
            (texts::EVERY_FRAME, texts::EVERY_FRAME_TIP, t.clock == Clock::EveryFrame),
        ];
        let wanted = segments(&mut right, &clocks);
        actions.extend(wanted.map(|i| Action::SetClock([Clock::RealTime, Clock::EveryFrame][i])));
        ui.painter().hline(row.x_range(), row.bottom(), eframe::egui::Stroke::new(1.0, Look::of(ui).line));
    }

    fn run_ui(&self, ui: &mut Ui, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        if t.state == State::Idle {
            if button(ui, Icon::Start, texts::START, texts::START, texts::START_TIP, false).clicked() {
                actions.push(Action::Run);
            }
        } else if button(ui, Icon::End, texts::END, texts::END, texts::END_TIP, false).clicked() {
            actions.push(Action::Stop);
        }
        let runs = t.state == State::Running || t.playing;
        let (icon, label, tip) =
            if runs { (Icon::Pause, texts::PAUSE, texts::PAUSE_TIP) } else { (Icon::Play, texts::RESUME, texts::RESUME_TIP) };
        let can = t.state != State::Idle || !t.generated.is_empty() || t.playing;
        ui.add_enabled_ui(can, |ui| {
            if button(ui, icon, "", label, tip, false).clicked() {
                actions.push(Action::TogglePause);
            }
        });
    }

    fn steps_ui(&self, ui: &mut Ui, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let last = (t.end().max(1) - 1) as f32;
        let end = if t.generated.is_empty() { last } else { (t.generated.end - 1) as f32 };
        let steps = [
            (Icon::First, texts::FIRST, texts::FIRST_TIP, t.loop_range.map_or(0.0, |range| range.0 as f32)),
            (Icon::Back, texts::BACK, texts::BACK_TIP, (t.playhead.ceil() - 1.0).max(0.0)),
            (Icon::Forward, texts::FORWARD, texts::FORWARD_TIP, (t.playhead.floor() + 1.0).min(last)),
            (Icon::Last, texts::LAST, texts::LAST_TIP, t.loop_range.map_or(end, |range| (range.1 - 1) as f32)),
        ];
        for (icon, label, tip, to) in steps {
            if button(ui, icon, "", label, tip, false).clicked() {
                actions.push(Action::Seek(to));
            }
        }
    }

    fn loop_and_branch_ui(&self, ui: &mut Ui, words: bool, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let on = t.loop_range.is_some();
        if button(ui, Icon::Loop, if words { texts::LOOP } else { "" }, texts::LOOP, texts::LOOP_TIP, on).clicked() {
            let whole = if t.generated.is_empty() { 0..t.work.project.frames } else { t.generated.clone() };
            actions.push(Action::SetLoop((!on).then(|| self.last_loop.unwrap_or((whole.start, whole.end)))));
        }
        ui.add_enabled_ui(!t.generated.is_empty(), |ui| {
            let word = if words { texts::BRANCH } else { "" };
            if button(ui, Icon::Branch, word, texts::BRANCH_LABEL, texts::BRANCH_TIP, false).clicked() {
                actions.push(Action::Branch);
            }
        });
    }

    /// Time and frame; digits in columns, so that nothing trembles while it plays.
    fn time_ui(&mut self, ui: &mut Ui, t: &TimelineInput<'_>) {
        let look = Look::of(ui);
        let frames = if t.generated.is_empty() { t.work.project.frames } else { t.generated.end };
        let time = clock(t.playhead);
        let counted = format!("{} {:.0} {} {frames}", texts::FRAME, t.playhead.floor(), texts::OF);
        let big = ui.painter().layout_no_wrap(time.clone(), eframe::egui::FontId::monospace(15.0), look.text);
        let fine = ui.painter().layout_no_wrap(counted.clone(), look::small(), look.quiet);
        let (rect, response) = ui.allocate_exact_size(vec2(big.size().x + fine.size().x + 22.0, look::CONTROL), Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{}: {time}, {counted}", texts::TIME)));
        if response.hovered() {
            ui.painter().rect_filled(rect, look::RADIUS, look.well);
        }
        let middle = |height: f32| rect.center().y - height / 2.0;
        let after = rect.left() + big.size().x + 14.0;
        ui.painter().galley(pos2(after, middle(fine.size().y) + 1.0), fine, look.quiet);
        ui.painter().galley(pos2(rect.left() + 6.0, middle(big.size().y)), big, look.text);
        focus_ring(ui, &response, rect);
        if response.on_hover_text(texts::TIME_TIP).clicked() {
            self.unit = if self.unit == Unit::Seconds { Unit::Frames } else { Unit::Seconds };
        }
    }
}
