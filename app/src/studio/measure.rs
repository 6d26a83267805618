//! `kinebrush bench --studio`: how the window feels while video is made. Opens a real window, plays a script, and prints what it saw.
//!
//! Every phase asks for frame after frame, so the times are those of a window that is busy all the time; the idle phase asks for none.

use std::time::{Duration, Instant};

use eframe::egui;
use glam::Vec2;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::stream::live::{Clock, Hand, State};
use serde_json::json;

use super::action::Action;
use super::{Options, Studio};

/// Parts of the script, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until the picture is cut and the model is there.
    Start,
    /// Nothing is asked for.
    Idle,
    /// Frames of the window while nothing is made.
    Paused,
    /// Until the first generated frame.
    FirstFrame,
    /// Frames of the window while video is made as fast as it can be, and a hand moves.
    Running,
    /// The same while the take is exported.
    Exporting,
    Done,
}

/// When an idle window has settled, and how long it is watched, seconds.
const SETTLED: f64 = 2.0;
const IDLE: f64 = 12.0;
/// Most seconds of the parts that last only until their medians stand: a long run is for what happens while video is made.
const LONG_ENOUGH: f64 = 30.0;

/// A studio that is watched.
pub struct Measured {
    studio: Studio,
    json: bool,
    seconds: f64,
    started: Instant,
    phase: Phase,
    phase_start: Instant,
    cpu_at_phase: f64,
    made_at_phase: usize,
    last_frame: Option<Instant>,
    frame_ms: Vec<f64>,
    hand_ms: Vec<f64>,
    next_hand: Instant,
    pressed: bool,
    /// Set once the idle window has settled.
    settled: bool,
    /// Memory a quarter into the longest phase.
    resident_mib: Option<f64>,
    report: serde_json::Map<String, serde_json::Value>,
}

impl Measured {
    /// Opens `options.file` and measures; `seconds` for the longest phase. `started`: when the program was.
    pub fn new(cc: &eframe::CreationContext, options: Options, seconds: f64, json: bool, started: Instant) -> Self {
        let now = Instant::now();
        Self {
            studio: Studio::new(cc, options),
            json,
            seconds,
            started,
            phase: Phase::Start,
            phase_start: now,
            cpu_at_phase: cpu_seconds(),
            made_at_phase: 0,
            last_frame: None,
            frame_ms: Vec::new(),
            hand_ms: Vec::new(),
            next_hand: now,
            pressed: false,
            settled: false,
            resident_mib: None,
            report: serde_json::Map::new(),
        }
    }

    fn note(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.report.insert(name.to_owned(), value.into());
    }

    /// Begins a phase with empty samples.
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.phase_start, self.last_frame) = (phase, Instant::now(), None);
        (self.cpu_at_phase, self.made_at_phase) = (cpu_seconds(), self.studio.player().generated().end);
        self.frame_ms.clear();
    }

    /// Median and largest time between two frames of the window in this phase.
    fn note_frames(&mut self, name: &str) {
        self.frame_ms.sort_by(f64::total_cmp);
        let (median, last) = (self.frame_ms.get(self.frame_ms.len() / 2), self.frame_ms.last());
        let value =
            json!({ "median_ms": median.map(|v| rounded(*v)), "largest_ms": last.map(|v| rounded(*v)), "frames": self.frame_ms.len() });
        self.note(name, value);
    }

    fn note_made(&mut self, name: &str) {
        let made = self.studio.player().generated().end - self.made_at_phase;
        self.note(name, rounded(made as f64 / self.phase_start.elapsed().as_secs_f64()));
    }

    /// A hand that circles in the middle of the picture, a hundred times a second.
    fn move_hand(&mut self) {
        let Some((width, height)) = self.studio.picture_size() else { return };
        let (middle, radius) = (Vec2::new(width as f32, height as f32) / 2.0, width.min(height) as f32 / 8.0);
        while self.next_hand <= Instant::now() {
            let time = self.next_hand;
            let angle = (time - self.started).as_secs_f32() * 4.0;
            let place = middle + Vec2::from_angle(angle) * radius;
            let hand = match self.pressed {
                true => Hand::Move { drag: 1, place, time },
                false => {
                    let region = Region::Disc { center: place.into(), radius, softness: 0.6 };
                    Hand::Press { drag: 1, region, place, time }
                }
            };
            self.pressed = true;
            self.studio.act(Action::Hand(hand));
            self.next_hand += Duration::from_millis(10);
        }
    }

    fn advance(&mut self, ctx: &egui::Context) {
        let passed = self.phase_start.elapsed().as_secs_f64();
        let running = self.studio.player().state == State::Running;
        match self.phase {
            Phase::Start if self.studio.is_ready() => {
                self.note("picture_cut_and_model_ready_s", rounded(self.started.elapsed().as_secs_f64()));
                self.enter(Phase::FirstFrame);
                self.studio.act(Action::SetClock(Clock::EveryFrame));
                self.studio.act(Action::Run);
            }
            Phase::FirstFrame if self.studio.player().generated().end > 0 => {
                self.note("first_generated_frame_after_run_s", rounded(passed));
                self.note("first_generated_frame_since_start_s", rounded(self.started.elapsed().as_secs_f64()));
                self.studio.act(Action::TogglePause);
                self.enter(Phase::Idle);
            }
            Phase::Idle if passed >= IDLE && !running => {
                self.note("idle_cpu_percent", rounded(100.0 * (cpu_seconds() - self.cpu_at_phase) / (passed - SETTLED)));
                self.enter(Phase::Paused);
            }
            Phase::Idle if !self.settled && passed >= SETTLED => {
                (self.settled, self.cpu_at_phase) = (true, cpu_seconds());
            }
            Phase::Paused if passed >= (self.seconds / 4.0).min(LONG_ENOUGH) => {
                self.note_frames("window_paused");
                self.studio.act(Action::TogglePause);
                self.next_hand = Instant::now();
                self.enter(Phase::Running);
            }
            // A quarter in, everything that is held is full.
            Phase::Running if passed >= self.seconds / 4.0 && self.resident_mib.is_none() => self.resident_mib = resident_mib(),
            Phase::Running if passed >= self.seconds => {
                self.note("resident_mib_a_quarter_in_and_at_the_end", json!([self.resident_mib, resident_mib()]));
                self.note_frames("window_running");
                self.note_made("made_frames_per_second");
                self.hand_ms.sort_by(f64::total_cmp);
                let largest = self.hand_ms.last().map(|v| rounded(*v));
                let median = self.hand_ms.get(self.hand_ms.len() / 2).map(|v| rounded(*v));
                self.note("hand_to_frames", json!({ "median_ms": median, "largest_ms": largest, "chunks": self.hand_ms.len() }));
                let out = std::env::temp_dir().join("kinebrush-bench.mp4");
                self.studio.export_shown_take(out);
                self.enter(Phase::Exporting);
            }
            Phase::Exporting if passed >= (self.seconds / 2.0).min(LONG_ENOUGH) || !self.studio.is_exporting() && passed > 1.0 => {
                self.note_made("made_frames_per_second_beside_export");
                self.note_frames("window_running_beside_export");
                self.enter(Phase::Done);
                self.print();
                self.studio.act(Action::Stop);
                // A file that is still being written would make the window ask.
                self.studio.exports.end();
                ctx.send_viewport_cmd(egui::ViewportCommand::Close);
            }
            _ => {}
        }
    }

    fn print(&self) {
        if self.json {
            println!("{}", serde_json::Value::Object(self.report.clone()));
            return;
        }
        for (name, value) in &self.report {
            println!("{:42} {value}", name.replace('_', " "));
        }
    }
}

impl eframe::App for Measured {
    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        if self.report.is_empty() {
            self.note("window_up_s", rounded(self.started.elapsed().as_secs_f64()));
        }
        if let Some(last) = self.last_frame.replace(Instant::now()) {
            self.frame_ms.push(last.elapsed().as_secs_f64() * 1e3);
        }
        if matches!(self.phase, Phase::Running | Phase::Exporting) {
            self.move_hand();
            self.hand_ms.extend(self.studio.take_hand_seconds().map(|s| s * 1e3));
        }
        self.studio.ui(ui, frame);
        self.advance(ui.ctx());
        match self.phase {
            // Once when it has settled, and once at the end: a window that is asked every moment is not idle.
            Phase::Idle => {
                let passed = self.phase_start.elapsed().as_secs_f64();
                let wait = if passed < SETTLED { SETTLED - passed } else { IDLE - passed };
                ui.ctx().request_repaint_after(Duration::from_secs_f64(wait.max(0.0) + 0.01));
            }
            _ => ui.ctx().request_repaint(),
        }
    }
}

/// Opens a window and measures; see [`Measured`].
///
/// # Errors
/// As [`super::start::run`].
pub fn run(options: Options, seconds: f64, json: bool, started: Instant) -> anyhow::Result<()> {
    super::start::open_window(Box::new(move |cc| Ok(Box::new(Measured::new(cc, options, seconds, json, started)))))
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn resident_mib() -> Option<f64> {
    super::status::Memory::default().resident().map(|bytes| rounded(bytes as f64 / f64::from(1 << 20)))
}

/// Processor time of all threads so far, seconds; 0 where the system does not say.
fn cpu_seconds() -> f64 {
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    };
    // The kernel counts in hundredths for programs, whatever it does itself.
    ticks().unwrap_or(0.0) / 100.0
}
