//! The status line: what the model does, how fast, and whether the work is safe.
//!
//! Invariant: it only shows what it was given; nothing here makes the window repaint. Guarded by the tests below.

use std::time::{Duration, Instant};

use eframe::egui::{Align, Color32, Layout, Rect, RichText, Sense, Ui, UiBuilder, vec2};
use kinebrush_engine::stream::live::{Clock, State};

use super::timeline::texts;
use super::timeline::{Look, elided, small};

/// Height of the line, points.
pub const HEIGHT: f32 = 24.0;
/// Frames per second of real time.
const REAL_TIME: f64 = 16.0;
/// A measurement of the hand older than this is no longer told.
const FRESH: Duration = Duration::from_secs(3);

/// What the status line shows.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Name of the model; None without one.
    pub model: Option<String>,
    /// Whether video is made.
    pub state: State,
    /// Whether frames that exist are played.
    pub playing: bool,
    /// How time runs.
    pub clock: Clock,
    /// Frames made per second, lately; None before the first chunk.
    pub frames_per_second: Option<f64>,
    /// How long the last chunk took, seconds.
    pub chunk_seconds: Option<f64>,
    /// From the hand to frames that show it, seconds, and when that was measured.
    pub hand: Option<(f64, Instant)>,
    /// Memory that is resident, bytes; None where the system does not tell.
    pub memory: Option<u64>,
    /// Whether the newest state is on disk; None without a document.
    pub saved: Option<bool>,
    /// What the worker said last, and whether it was a failure.
    pub message: Option<(String, bool)>,
}

/// Shows the line in the space that `ui` has.
pub fn status_ui(ui: &mut Ui, status: &Status) {
    let look = Look::of(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
    let inner = rect.shrink2(vec2(10.0, 0.0));
    let mut right = ui.new_child(UiBuilder::new().max_rect(inner).layout(Layout::right_to_left(Align::Center)));
    right.spacing_mut().item_spacing.x = 16.0;
    for figure in figures(status, Instant::now()) {
        right.label(RichText::new(figure).font(small()).color(look.quiet));
    }
    let edge = right.min_rect().left();
    let left_rect = Rect::from_min_max(inner.min, eframe::egui::pos2((edge - 20.0).max(inner.left() + 80.0), inner.max.y));
    let mut left = ui.new_child(UiBuilder::new().max_rect(left_rect).layout(Layout::left_to_right(Align::Center)));
    left.spacing_mut().item_spacing.x = 16.0;
    state_ui(&mut left, status, &look);
    if let Some(saved) = status.saved {
        let (word, color) = if saved { (texts::SAVED_AT, look.quiet) } else { (texts::UNSAVED, look.text) };
        left.label(RichText::new(word).font(small()).color(color));
    }
    let note = match (&status.message, behind(status)) {
        (Some((message, failed)), _) => Some((message.clone(), if *failed { look.alert } else { look.warning })),
        (None, Some(factor)) => Some((format!("{factor:.1}x {}", texts::SLOWER), look.warning)),
        (None, None) => None,
    };
    if let Some((note, color)) = note {
        let galley = elided(&left, &note, left.available_width(), small(), color);
        left.label(galley).on_hover_text(note);
    }
}

/// A dot and a word.
fn state_ui(ui: &mut Ui, status: &Status, look: &Look) {
    let (word, color): (_, Color32) = match (status.state, status.playing) {
        (State::Running, _) => (texts::RUNNING, look.alert),
        (_, true) => (texts::PLAYING, look.good),
        (State::Paused, _) => (texts::PAUSED, look.playhead),
        (State::Idle, _) => (texts::IDLE, look.quiet),
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        let (dot, _) = ui.allocate_exact_size(vec2(8.0, 8.0), Sense::hover());
        ui.painter().circle_filled(dot.center(), 3.5, color);
        ui.label(RichText::new(word).font(small()).color(look.text));
    });
}

/// Part of real time that the network reaches, where that is less than all of it and matters.
fn behind(status: &Status) -> Option<f64> {
    let factor = status.frames_per_second? / REAL_TIME;
    (status.state == State::Running && status.clock == Clock::RealTime && factor < 0.95).then_some(factor)
}

/// The figures, right to left.
fn figures(status: &Status, now: Instant) -> Vec<String> {
    let milliseconds = |seconds: f64| format!("{:.0} ms", seconds * 1000.0);
    let hand = status.hand.filter(|(_, when)| now.saturating_duration_since(*when) <= FRESH);
    let running = status.state == State::Running;
    [
        Some(status.model.clone().unwrap_or_else(|| texts::NO_MODEL.to_owned())),
        status.memory.map(bytes),
        hand.map(|(seconds, _)| format!("{} {}", texts::HAND_MS, milliseconds(seconds))),
        status.chunk_seconds.filter(|_| running).map(|seconds| format!("{} {}", texts::CHUNK, milliseconds(seconds))),
        status.frames_per_second.filter(|_| running).map(|rate| format!("{rate:.1} {}", texts::FRAMES_A_SECOND)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A number of bytes for people.
pub(super) fn bytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b < 1e3 => format!("{b:.0} B"),
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// Resident memory of this process, read again at most once a second.
#[derive(Debug, Default)]
pub struct Memory {
    read: Option<Instant>,
    bytes: Option<u64>,
}

impl Memory {
    /// Bytes that are resident; None where the system does not tell.
    pub fn resident(&mut self) -> Option<u64> {
        if self.read.is_none_or(|read| read.elapsed() >= Duration::from_secs(1)) {
            self.read = Some(Instant::now());
            self.bytes = resident();
        }
        self.bytes
    }
}

/// In kB in /proc/self/status; that is kept in memory by the kernel, no disk is asked.
#[cfg(target_os = "linux")]
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(not(target_os = "linux"))]
fn resident() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use eframe::egui;
    use egui_kittest::{Harness, kittest::Queryable};

    use super::super::timeline::picture;
    use super::*;

    fn running() -> Status {
        Status {
            model: Some("sketch".to_owned()),
            state: State::Running,
            frames_per_second: Some(9.3),
            chunk_seconds: Some(0.43),
            hand: Some((0.21, Instant::now())),
            memory: Some(412_000_000),
            saved: Some(true),
            ..Status::default()
        }
    }

    #[test]
    fn a_slow_network_is_said_and_a_fast_one_is_not() {
        assert!((behind(&running()).unwrap() - 9.3 / 16.0).abs() < 1e-9);
        for other in [
            Status { frames_per_second: Some(17.0), ..running() },
            Status { clock: Clock::EveryFrame, ..running() },
            Status { state: State::Paused, ..running() },
        ] {
            assert_eq!(behind(&other), None);
        }
    }

    #[test]
    fn an_old_measurement_of_the_hand_is_not_told() {
        let status = running();
        let tells =
            |after: f32| figures(&status, Instant::now() + Duration::from_secs_f32(after)).iter().any(|f| f.starts_with(texts::HAND_MS));
        assert!(tells(0.5) && !tells(4.0));
    }

    #[test]
    fn memory_is_that_of_this_process() {
        if cfg!(target_os = "linux") {
            // Other tests take and free memory meanwhile, so it is held against what this one holds alone.
            let held = std::hint::black_box(vec![1_u8; 256 << 20]);
            let resident = Memory::default().resident().unwrap();
            assert!(resident > held.len() as u64 && resident < 16 << 30, "{resident} bytes with {} held", held.len());
        }
    }

    #[test]
    fn bytes_are_written_for_people() {
        assert_eq!([bytes(12), bytes(12_400), bytes(412_000_000), bytes(2_500_000_000)], ["12 B", "12 kB", "412 MB", "2.5 GB"]);
    }

    #[test]
    fn the_line_shows_state_figures_and_message_and_rests() {
        for (name, theme, width, message) in [
            ("status_dark", egui::Theme::Dark, 1400.0, None),
            (
                "status_light_narrow",
                egui::Theme::Light,
                1000.0,
                Some(("The disk is full: the take goes on without its log.".to_owned(), true)),
            ),
        ] {
            let status = Status { message, ..running() };
            let mut harness =
                Harness::builder().with_size(vec2(width, HEIGHT)).with_theme(theme).wgpu().build_ui(move |ui| status_ui(ui, &status));
            harness.run();
            assert!(harness.query_by_label(texts::RUNNING).is_some() && harness.query_by_label("412 MB").is_some());
            let delay = harness.output().viewport_output.values().map(|out| out.repaint_delay).min().unwrap();
            assert!(delay > Duration::from_secs(10), "{delay:?}");
            picture(&mut harness, name);
        }
    }
}
