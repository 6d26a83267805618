//! The timeline by label and pointer, and pictures of it to look at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use eframe::egui::{self, Key, Modifiers, Pos2, Vec2, vec2};
use egui_kittest::{Harness, kittest::Queryable};
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::stroke::{After, Easing};
use kinebrush_engine::stream::live::{Clock, State};

use super::testing::{Dice, look, project, stroke};
use super::*;

/// What the studio would hold, with every action done as the studio does it.
struct Bench {
    timeline: Timeline,
    work: Work,
    selection: Selection,
    playhead: f32,
    generated: Range<usize>,
    cached: Vec<Range<usize>>,
    loop_range: Option<(usize, usize)>,
    state: State,
    actions: Vec<Action>,
    _folder: Option<tempfile::TempDir>,
}

impl Bench {
    fn new(project: Project, folder: Option<tempfile::TempDir>) -> Self {
        Self {
            timeline: Timeline::default(),
            work: Work { project, region: None },
            selection: Selection::None,
            playhead: 0.0,
            generated: 0..0,
            cached: Vec::new(),
            loop_range: None,
            state: State::Idle,
            actions: Vec::new(),
            _folder: folder,
        }
    }

    fn ui(&mut self, ui: &mut Ui) {
        let input = TimelineInput {
            work: &self.work,
            selection: self.selection,
            playhead: self.playhead,
            generated: self.generated.clone(),
            cached: &self.cached,
            loop_range: self.loop_range,
            state: self.state,
            playing: false,
            clock: Clock::RealTime,
            compare: Compare::Generated,
        };
        let actions = self.timeline.timeline_ui(ui, &input);
        for action in &actions {
            match action {
                Action::Edit { work, .. } => {
                    work.project.validate().unwrap();
                    self.work = (**work).clone();
                }
                Action::Select(selection) => self.selection = *selection,
                Action::Seek(frame) => self.playhead = *frame,
                Action::SetLoop(range) => self.loop_range = *range,
                _ => {}
            }
        }
        self.actions.extend(actions);
    }

    /// Label and gesture of every step.
    fn steps(&self) -> Vec<(&'static str, u64)> {
        let step = |action: &Action| if let Action::Edit { label, gesture, .. } = action { Some((*label, *gesture)) } else { None };
        self.actions.iter().filter_map(step).collect()
    }
}

fn harness(bench: Bench, size: Vec2, theme: egui::Theme) -> Harness<'static, Bench> {
    let mut harness = Harness::builder()
        .with_size(size)
        .with_theme(theme)
        .with_step_dt(0.05)
        .with_max_steps(40)
        .wgpu()
        .build_ui_state(|ui, bench: &mut Bench| bench.ui(ui), bench);
    harness.run();
    harness
}

fn coffee() -> Project {
    Project::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("../presets/coffee.ron")).unwrap()
}

/// Two bars, `a` behind `b`.
fn two() -> Harness<'static, Bench> {
    let (folder, mut project) = project(81);
    project.strokes =
        vec![stroke("a", &[(8.0, 0.0, 0.0), (20.0, 90.0, 0.0), (40.0, 90.0, 50.0)]), stroke("b", &[(0.0, 9.0, 9.0), (60.0, 9.0, 99.0)])];
    harness(Bench::new(project, Some(folder)), vec2(1200.0, 300.0), egui::Theme::Dark)
}

fn drag(harness: &mut Harness<'_, Bench>, from: Pos2, by: Vec2, modifiers: Modifiers) {
    harness.event(egui::Event::ModifiersChanged(modifiers));
    harness.hover_at(from);
    harness.run();
    harness.drag_at(from);
    harness.run();
    for part in [0.3, 0.7, 1.0] {
        harness.hover_at(from + by * part);
        harness.run();
    }
    harness.drop_at(from + by);
    harness.event(egui::Event::ModifiersChanged(Modifiers::NONE));
    harness.run();
}

fn scale(harness: &Harness<'_, Bench>) -> f32 {
    harness.state().timeline.axis.unwrap().scale
}

#[test]
fn a_bar_is_dragged_in_time_as_one_step() {
    let mut harness = two();
    let from = harness.get_by_label("a: 8.0 to 40.0").rect().center();
    let by = vec2(13.0 * scale(&harness), 2.0);
    drag(&mut harness, from, by, Modifiers::NONE);
    let bench = harness.state();
    assert_eq!(edit::span(&bench.work.project.strokes[0]), (21.0, 53.0));
    let steps = bench.steps();
    assert!(steps.len() >= 2 && steps.iter().all(|step| *step == (texts::MOVE, steps[0].1)) && steps[0].1 > 0, "{steps:?}");
    assert_eq!(bench.selection, Selection::Stroke(0));
    let gesture = steps[0].1;
    drag(&mut harness, from + by, vec2(-100.0, 1.0), Modifiers::NONE);
    assert_ne!(harness.state().steps().last().unwrap().1, gesture, "another drag is another step");
}

#[test]
fn a_bar_snaps_to_what_is_near_and_not_with_alt() {
    let mut harness = two();
    let from = harness.get_by_label("a: 8.0 to 40.0").rect().center();
    let near = vec2(19.6 * scale(&harness), 1.0);
    drag(&mut harness, from, near, Modifiers::NONE);
    assert_eq!(edit::span(&harness.state().work.project.strokes[0]).1, 60.0, "the end of b");
    let back = vec2(-5.3 * scale(&harness), 1.0);
    drag(&mut harness, from + near, back, Modifiers::ALT);
    let end = edit::span(&harness.state().work.project.strokes[0]).1;
    assert!((end - 54.7).abs() < 0.05, "{end}");
}

#[test]
fn an_edge_stretches_about_the_other_one() {
    let mut harness = two();
    let from = harness.get_by_label("end of a").rect().center();
    let by = vec2(32.0 * scale(&harness), 0.0);
    drag(&mut harness, from, by, Modifiers::NONE);
    let frames: Vec<f32> = harness.state().work.project.strokes[0].path.iter().map(|key| key.frame).collect();
    assert_eq!(frames, [8.0, 32.0, 72.0]);
    assert!(harness.state().steps().iter().all(|step| step.0 == texts::STRETCH));
}

#[test]
fn up_and_down_is_the_order() {
    let mut harness = two();
    assert!(harness.get_by_label("b").rect().top() < harness.get_by_label("a").rect().top(), "the front one is on top");
    let from = harness.get_by_label("a").rect().center();
    drag(&mut harness, from, vec2(3.0, -60.0), Modifiers::NONE);
    let names: Vec<_> = harness.state().work.project.strokes.iter().map(|stroke| stroke.name.clone()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(harness.state().steps(), [(texts::REORDER, 0)]);
    assert_eq!(harness.state().selection, Selection::Stroke(1));
    harness.key_press_modifiers(Modifiers::ALT, Key::ArrowDown);
    harness.run();
    assert_eq!(harness.state().work.project.strokes[0].name, "a");
}

#[test]
fn a_name_is_changed_and_a_stroke_deleted_by_keys() {
    let mut harness = two();
    let at = harness.get_by_label("a").rect().center();
    for _ in 0..2 {
        harness.drag_at(at);
        harness.event(egui::Event::PointerButton {
            pos: at,
            button: egui::PointerButton::Primary,
            pressed: false,
            modifiers: Modifiers::NONE,
        });
    }
    harness.run();
    harness.get_by_label(texts::NAME).type_text(" spoon");
    harness.run();
    harness.key_press(Key::Enter);
    harness.run();
    assert_eq!(harness.state().work.project.strokes[0].name, "a spoon");
    harness.get_by_label("b").click();
    harness.run();
    harness.key_press(Key::Delete);
    harness.run();
    assert_eq!(harness.state().work.project.strokes.len(), 1);
    assert_eq!(harness.state().steps().last(), Some(&(texts::DELETE, 0)));
    assert_eq!(harness.state().selection, Selection::None);
}

#[test]
fn the_ruler_seeks_and_shift_draws_a_loop() {
    let mut harness = two();
    let ruler = harness.get_by_label(texts::RULER).rect();
    let axis = harness.state().timeline.axis.unwrap();
    let at = |frame: f32| egui::pos2(axis.x_from_frame(frame), ruler.center().y + 4.0);
    drag(&mut harness, at(30.0), vec2(axis.scale * 10.2, 0.0), Modifiers::NONE);
    assert_eq!(harness.state().playhead, 40.0);
    drag(&mut harness, at(10.0), vec2(axis.scale * 14.0, 0.0), Modifiers::SHIFT);
    assert_eq!(harness.state().loop_range, Some((10, 24)));
    assert_eq!(harness.state().playhead, 40.0, "a loop does not seek");
    let end = harness.get_by_label(texts::PROJECT_END).rect().center();
    drag(&mut harness, end, vec2(axis.scale * -20.0, 0.0), Modifiers::NONE);
    let frames = harness.state().work.project.frames;
    assert!(frames.abs_diff(61) <= 1, "{frames}");
}

#[test]
fn the_transport_says_what_is_wanted() {
    let mut harness = two();
    for label in [texts::START, texts::FORWARD, texts::EVERY_FRAME, texts::SPLIT, texts::LOOP] {
        harness.get_by_label(label).click();
        harness.run();
    }
    let bench = harness.state();
    assert!(matches!(
        bench.actions[..],
        [
            Action::Run,
            Action::Seek(1.0),
            Action::SetClock(Clock::EveryFrame),
            Action::SetCompare(Compare::Split(_)),
            Action::SetLoop(Some((0, 81)))
        ]
    ));
    harness.state_mut().state = State::Running;
    harness.state_mut().generated = 0..40;
    harness.run();
    for label in [texts::PAUSE, texts::BRANCH_LABEL, texts::END] {
        harness.get_by_label(label).click();
        harness.run();
    }
    assert!(matches!(harness.state().actions[5..], [Action::TogglePause, Action::Branch, Action::Stop]));
    assert!(harness.query_by_label("Time: 0:00.1, frame 1 of 40").is_some());
}

#[test]
fn the_inspector_sets_curve_turn_and_end() {
    let mut harness = two();
    harness.get_by_label("a").click();
    harness.run();
    for label in [texts::LET_GO, texts::PAUSE_CURVE] {
        harness.get_by_label(label).click();
        harness.run();
    }
    let one = harness.state().work.project.strokes[0].clone();
    assert_eq!(one.after, After::Release);
    assert_eq!(one.timing, [(0.0, 0.0), (0.4, 0.5), (0.6, 0.5), (1.0, 1.0)]);
    let point = harness.get_by_label("Speed point 2 of 4").rect().center();
    drag(&mut harness, point, vec2(500.0, 6.0), Modifiers::NONE);
    let timing = harness.state().work.project.strokes[0].timing.clone();
    assert!((timing[1].0 - 0.59).abs() < 1e-4 && timing[1].1 < 0.5, "stopped by its neighbour: {timing:?}");
    harness.get_by_label(texts::TURN).focus();
    harness.run();
    harness.event(egui::Event::Text("90".to_owned()));
    harness.run();
    harness.key_press(Key::Enter);
    harness.run();
    assert_eq!(harness.state().work.project.strokes[0].turn, [(8.0, 0.0), (40.0, 90.0)]);
    harness.get_by_label(texts::REPEAT).click();
    harness.run();
    assert_eq!(edit::span(&harness.state().work.project.strokes[1]), (40.0, 72.0));
}

#[test]
fn a_click_in_the_plot_adds_a_point_and_a_double_click_removes_it() {
    let mut harness = two();
    harness.get_by_label("a").click();
    harness.run();
    let plot = harness.get_by_label(texts::CURVE).rect();
    let at = plot.center() + vec2(0.0, 20.0);
    drag(&mut harness, at, vec2(10.0, 6.0), Modifiers::NONE);
    assert_eq!(harness.state().work.project.strokes[0].timing.len(), 3, "pressed, and dragged in one go");
    harness.run_steps(8);
    let at = harness.get_by_label("Speed point 2 of 3").rect().center();
    for _ in 0..2 {
        harness.drag_at(at);
        harness.event(egui::Event::PointerButton {
            pos: at,
            button: egui::PointerButton::Primary,
            pressed: false,
            modifiers: Modifiers::NONE,
        });
    }
    harness.run();
    assert_eq!(harness.state().work.project.strokes[0].timing, []);
}

#[test]
fn smoothing_is_of_the_recorded_path() {
    let (folder, mut project) = project(81);
    let mut dice = Dice(5);
    let path: Vec<_> = (0..160).map(|i| (i as f32 * 0.5, i as f32 * 2.0, 150.0 + dice.unit() * 8.0)).collect();
    project.strokes = vec![stroke("shaky", &path)];
    let bench = Bench { selection: Selection::Stroke(0), ..Bench::new(project, Some(folder)) };
    let mut harness = harness(bench, vec2(1200.0, 300.0), egui::Theme::Dark);
    let recorded = harness.state().work.project.strokes[0].clone();
    let slider = harness.get_by_label(texts::SMOOTHING).rect();
    let most = egui::pos2(slider.right() - 1.0, slider.center().y);
    drag(&mut harness, slider.left_center() + vec2(1.0, 0.0), most - slider.left_center() - vec2(1.0, 0.0), Modifiers::NONE);
    let calm = harness.state().work.project.strokes[0].clone();
    assert!(calm.path.len() < 40, "{}", calm.path.len());
    drag(&mut harness, most, slider.left_center() - most - vec2(3.0, 0.0), Modifiers::NONE);
    assert_eq!(harness.state().work.project.strokes[0], recorded, "back at 0 it is what the hand did");
}

#[test]
fn an_idle_timeline_does_not_repaint() {
    let mut harness = two();
    harness.run_steps(3);
    let delay = harness.output().viewport_output.values().map(|out| out.repaint_delay).min().unwrap();
    assert!(delay > std::time::Duration::from_secs(10), "{delay:?}");
}

#[test]
fn pictures_to_look_at() {
    let mut project = coffee();
    project.strokes[1].timing = vec![(0.0, 0.0), (0.4, 0.5), (0.6, 0.5), (1.0, 1.0)];
    project.strokes[0].turn = vec![(8.0, 0.0), (60.0, 25.0)];
    let bench = |project: &Project| Bench {
        selection: Selection::Stroke(1),
        playhead: 27.0,
        generated: 0..49,
        cached: vec![0..33],
        loop_range: Some((16, 40)),
        state: State::Paused,
        ..Bench::new(project.clone(), None)
    };
    for (name, size, theme) in [
        ("timeline_dark", vec2(1400.0, 250.0), egui::Theme::Dark),
        ("timeline_narrow", vec2(1000.0, 230.0), egui::Theme::Dark),
        ("timeline_light", vec2(1400.0, 250.0), egui::Theme::Light),
    ] {
        look(&mut harness(bench(&project), size, theme), name);
    }
    let mut empty = project.clone();
    empty.strokes.clear();
    look(&mut harness(Bench::new(empty, None), vec2(1000.0, 220.0), egui::Theme::Dark), "timeline_empty");
    let mut dice = Dice(2);
    let words = ["spoon", "steam, left", "cup", "hand", "a rather long name for what moves here", "", "cloud"];
    let mut long = project.clone();
    long.frames = 1200;
    long.pins = vec![long.strokes[0].region.clone(); 2];
    long.strokes = (0..20)
        .map(|i| {
            let (from, keys) = (dice.unit() * 800.0, 2 + dice.below(60));
            let path: Vec<_> = (0..keys)
                .map(|k| (from + k as f32 * (2.0 + 200.0 / keys as f32), 200.0 + 100.0 * dice.unit(), 150.0 + 60.0 * dice.unit()))
                .collect();
            let mut one = stroke(words[i % words.len()], &path);
            if i % 3 == 0 {
                one.region = project.strokes[i % 2].region.clone();
            }
            one.easing = if i % 4 == 0 { Easing::EaseInOut } else { Easing::Hand };
            one.after = if i % 5 == 0 { After::Release } else { After::Hold };
            one
        })
        .collect();
    let many =
        Bench { selection: Selection::Stroke(17), playhead: 400.0, generated: 0..640, cached: vec![300..640], ..Bench::new(long, None) };
    look(&mut harness(many, vec2(1400.0, 360.0), egui::Theme::Dark), "timeline_long");
}
