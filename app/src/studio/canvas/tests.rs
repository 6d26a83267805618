//! Every tool by simulated pointer events.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::{
    self, Color32, ColorImage, Event, Key, Modifiers, MouseWheelSource, MouseWheelUnit, PointerButton, Pos2, TextureHandle, pos2, vec2,
};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use glam::Vec2;
use kinebrush_engine::guide::layers::{CutOptions, Layers};
use kinebrush_engine::media::picture_file::{load_picture, rgb8};
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::scene::Scene;
use kinebrush_engine::motion::stroke::After;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::stream::live::{Compiled, Hand, State};

use super::edit::{add_stroke, new_stroke};
use super::timing::even_keys;
use super::{Canvas, Liquify, ScreenFromPicture, Shown, Tool};
use crate::studio::action::Action;
use crate::studio::document::{Selection, Work};

/// The canvas with a document that does what it asks for.
struct Desk {
    canvas: Canvas,
    work: Work,
    selection: Selection,
    source: Arc<Picture>,
    compiled: Option<Arc<Compiled>>,
    frame: f32,
    state: State,
    actions: Vec<Action>,
    texture: Option<TextureHandle>,
    map: Option<ScreenFromPicture>,
    liquify: Option<Liquify>,
}

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("assets/pictures")
}

impl Desk {
    fn new(source: Picture, project: Project) -> Self {
        Self {
            canvas: Canvas::default(),
            work: Work { project, region: None },
            selection: Selection::None,
            source: Arc::new(source),
            compiled: None,
            frame: 0.0,
            state: State::Idle,
            actions: Vec::new(),
            texture: None,
            map: None,
            liquify: None,
        }
    }

    fn coffee() -> Self {
        let mut project = Project::new(pictures(), "coffee.png", 65);
        project.seed = 1;
        Self::new(load_picture(&pictures().join("coffee.png")).unwrap(), project)
    }

    fn ui(&mut self, ui: &mut egui::Ui) {
        let (width, height) = (self.source.width, self.source.height);
        let texture = self.texture.get_or_insert_with(|| {
            let image = ColorImage::from_rgb([width, height], &rgb8(&self.source));
            ui.ctx().load_texture("picture", image, egui::TextureOptions::LINEAR)
        });
        let id = texture.id();
        let (mut seen, mut pushed) = (None, None);
        let mut paint = |ui: &egui::Ui, _: egui::Rect, map: ScreenFromPicture, liquify: Option<Liquify>| {
            (seen, pushed) = (Some(map), liquify);
            let uv = egui::Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
            ui.painter().image(id, map.picture_rect((width, height)), uv, Color32::WHITE);
        };
        let shown = Shown {
            work: &self.work,
            selection: self.selection,
            picture: (width, height),
            source: &self.source,
            compiled: self.compiled.as_ref(),
            camera: None,
            frame: self.frame,
            state: self.state,
            paint: &mut paint,
        };
        let actions = self.canvas.canvas_ui(ui, shown);
        (self.map, self.liquify) = (seen, pushed);
        for action in &actions {
            match action {
                Action::Edit { work, .. } => self.work = (**work).clone(),
                Action::Select(selection) => self.selection = *selection,
                _ => {}
            }
        }
        self.actions.extend(actions);
    }

    /// Compiles the motion as the live loop would.
    fn compile(&mut self) {
        let size = (self.source.width, self.source.height);
        let scene = Arc::new(Scene::new(&self.work.project, size.0, size.1).unwrap());
        let layers = Arc::new(Layers::cut(&self.source, &scene.regions, &CutOptions::default()));
        self.compiled = Some(Arc::new(Compiled { revision: 1, scene, layers, cut: 1, scale: 1.0 }));
    }
}

type Stage = Harness<'static, Desk>;

fn stage(desk: Desk) -> Stage {
    let mut harness = Harness::builder().with_size(vec2(900.0, 600.0)).with_step_dt(1.0 / 60.0).with_os(egui::os::OperatingSystem::Nix);
    if std::env::var("KINEBRUSH_SHOTS").is_ok() {
        harness = harness.wgpu();
    }
    let mut harness = harness.build_ui_state(|ui, desk: &mut Desk| desk.ui(ui), desk);
    harness.run_steps(2);
    harness
}

fn shot(harness: &mut Stage, name: &str) {
    if let Ok(folder) = std::env::var("KINEBRUSH_SHOTS") {
        harness.step();
        harness.render().unwrap().save(Path::new(&folder).join(format!("{name}.png"))).unwrap();
    }
}

fn screen(harness: &Stage, x: f32, y: f32) -> Pos2 {
    harness.state().map.unwrap().screen(Vec2::new(x, y))
}

fn button(harness: &mut Stage, pos: Pos2, button: PointerButton, pressed: bool, modifiers: Modifiers) {
    harness.event(Event::PointerButton { pos, button, pressed, modifiers });
    harness.step();
}

/// Presses at the first place, goes through the others, each in its own frame of the screen; does not let go.
fn press_along(harness: &mut Stage, places: &[(f32, f32)], modifiers: Modifiers) -> Pos2 {
    let places: Vec<Pos2> = places.iter().map(|(x, y)| screen(harness, *x, *y)).collect();
    harness.event(Event::PointerMoved(places[0]));
    harness.step();
    button(harness, places[0], PointerButton::Primary, true, modifiers);
    for pair in places.windows(2) {
        for i in 1..=6 {
            harness.event(Event::PointerMoved(pair[0].lerp(pair[1], i as f32 / 6.0)));
            harness.step();
        }
    }
    places[places.len() - 1]
}

fn drag(harness: &mut Stage, places: &[(f32, f32)], modifiers: Modifiers) {
    let end = press_along(harness, places, modifiers);
    button(harness, end, PointerButton::Primary, false, modifiers);
    harness.step();
}

fn click(harness: &mut Stage, x: f32, y: f32, modifiers: Modifiers) {
    drag(harness, &[(x, y)], modifiers);
    // The next click shall not be taken for the second of two.
    harness.run_steps(40);
}

fn key(harness: &mut Stage, modifiers: Modifiers, key: Key) {
    harness.key_press_modifiers(modifiers, key);
    harness.run_steps(2);
}

fn hands(harness: &Stage) -> Vec<&Hand> {
    harness.state().actions.iter().filter_map(|action| if let Action::Hand(hand) = action { Some(hand) } else { None }).collect()
}

/// Names and numbers of the steps so far.
fn steps(harness: &Stage) -> Vec<(&'static str, u64)> {
    let step = |action: &Action| if let Action::Edit { label, gesture, .. } = action { Some((*label, *gesture)) } else { None };
    harness.state().actions.iter().filter_map(step).collect()
}

const NONE: Modifiers = Modifiers::NONE;

#[test]
fn a_drag_at_rest_becomes_a_stroke_with_the_hands_timing() {
    let mut harness = stage(Desk::coffee());
    harness.state_mut().frame = 8.0;
    let end = press_along(&mut harness, &[(200.0, 150.0), (320.0, 150.0), (320.0, 250.0)], NONE);
    shot(&mut harness, "drag");
    assert!(harness.state().canvas.dragging());
    let (kept, preview) = (harness.state().canvas.unfinished().unwrap(), harness.state().canvas.live_preview().unwrap());
    let pushed = harness.state().liquify.unwrap();
    assert!(pushed.shift.distance(Vec2::new(120.0, 100.0)) < 0.1 && pushed.center == Vec2::new(200.0, 150.0), "{pushed:?}");
    button(&mut harness, end, PointerButton::Primary, false, NONE);
    let desk = harness.state();
    assert_eq!(desk.work.project.strokes.len(), 1);
    assert_eq!((kept.project.strokes.len(), steps(&harness).len(), desk.selection), (1, 1, Selection::Stroke(0)));
    let stroke = &desk.work.project.strokes[0];
    assert!(matches!(stroke.region, Region::Disc { center: (x, y), .. } if (x - 200.0).abs() < 0.1 && (y - 150.0).abs() < 0.1));
    let (first, last) = (stroke.path[0], stroke.path[stroke.path.len() - 1]);
    assert!(first.frame == 8.0 && last.place.distance(Vec2::new(320.0, 250.0)) < 0.1 && stroke.path.len() >= 3);
    // Twelve frames of the screen for the moves and one for the release, a sixtieth of a second each.
    assert!((last.frame - 8.0 - 13.0 / 60.0 * 16.0).abs() < 0.3, "{}", last.frame);
    assert_eq!(preview.region, stroke.region);
    assert!(stroke.validate("strokes[0]", (600, 400)).is_ok() && hands(&harness).is_empty());
}

#[test]
fn a_drag_while_video_is_made_is_told_to_the_worker() {
    let mut desk = Desk::coffee();
    desk.state = State::Running;
    let cup = Region::Lasso { points: vec![(180.0, 30.0), (400.0, 30.0), (400.0, 280.0), (180.0, 280.0)], softness: 0.0 };
    let keys = even_keys(&[Vec2::new(300.0, 150.0), Vec2::new(340.0, 150.0)], 0.0, 40.0);
    add_stroke(&mut desk.work, new_stroke(cup.clone(), keys, Default::default(), After::Hold), (600, 400)).unwrap();
    desk.compile();
    desk.frame = 16.0;
    let mut harness = stage(desk);
    // The cup is 40 px further right by now.
    drag(&mut harness, &[(420.0, 100.0), (440.0, 130.0)], Modifiers::SHIFT);
    drag(&mut harness, &[(100.0, 300.0), (120.0, 330.0)], NONE);
    let told = hands(&harness);
    let Hand::Press { drag: 1, region, place, .. } = told[0] else { panic!("{told:?}") };
    assert!(*region == cup && place.distance(Vec2::new(380.0, 100.0)) < 0.1, "{place}");
    assert!(told.iter().filter(|hand| matches!(hand, Hand::Move { drag: 1, .. })).count() >= 6);
    let release =
        told.iter().find_map(|hand| if let Hand::Release { drag: 1, place, after, .. } = hand { Some((*place, *after)) } else { None });
    let (place, after) = release.unwrap();
    assert!(place.distance(Vec2::new(400.0, 130.0)) < 0.1 && after == After::Release);
    assert!(told.iter().any(|hand| matches!(hand, Hand::Press { drag: 2, region: Region::Disc { .. }, .. })));
    assert!(told.iter().any(|hand| matches!(hand, Hand::Release { drag: 2, after: After::Hold, .. })));
    assert!(steps(&harness).is_empty() && harness.state().work.project.strokes.len() == 1);
}

#[test]
fn press_and_move_in_one_frame_keep_the_press_place() {
    let mut harness = stage(Desk::coffee());
    let (from, to) = (screen(&harness, 100.0, 100.0), screen(&harness, 180.0, 130.0));
    let events = &mut harness.input_mut().events;
    events.push(Event::PointerMoved(from));
    events.push(Event::PointerButton { pos: from, button: PointerButton::Primary, pressed: true, modifiers: NONE });
    events.push(Event::PointerMoved(to));
    harness.step();
    button(&mut harness, to, PointerButton::Primary, false, NONE);
    let path = &harness.state().work.project.strokes[0].path;
    assert!(path[0].place.distance(Vec2::new(100.0, 100.0)) < 0.1 && path[path.len() - 1].place.distance(Vec2::new(180.0, 130.0)) < 0.1);
}

#[test]
fn paths_are_drawn_clicked_and_changed() {
    let mut harness = stage(Desk::coffee());
    harness.get_by_label("Path").click();
    harness.run_steps(2);
    assert_eq!(harness.state().canvas.tool(), Tool::Path);
    // Clicked: three points, one taken back.
    for (x, y) in [(100.0, 300.0), (250.0, 300.0), (400.0, 310.0), (500.0, 380.0)] {
        click(&mut harness, x, y, NONE);
    }
    shot(&mut harness, "clicking");
    key(&mut harness, NONE, Key::Backspace);
    key(&mut harness, NONE, Key::Enter);
    let path = |harness: &Stage, i: usize| harness.state().work.project.strokes[i].clone();
    assert_eq!(path(&harness, 0).path.len(), 3);
    assert!(path(&harness, 0).path[2].place.distance(Vec2::new(400.0, 310.0)) < 0.1);
    assert_eq!(harness.state().selection, Selection::Stroke(0));
    // A key is dragged: many edits, one step.
    drag(&mut harness, &[(250.0, 300.0), (260.0, 240.0)], NONE);
    let moves: Vec<u64> = steps(&harness).iter().filter(|step| step.0 == "Move key").map(|step| step.1).collect();
    assert!(moves.len() > 3 && moves.iter().all(|number| *number == moves[0] && *number != 0));
    assert!(path(&harness, 0).path[1].place.distance(Vec2::new(260.0, 240.0)) < 0.1);
    // The first takes all along; with Alt a handle comes out, and a click on it takes it away.
    drag(&mut harness, &[(100.0, 300.0), (110.0, 320.0)], NONE);
    assert!(path(&harness, 0).path[2].place.distance(Vec2::new(410.0, 330.0)) < 0.1);
    drag(&mut harness, &[(270.0, 260.0), (330.0, 240.0)], Modifiers::ALT);
    assert_eq!(path(&harness, 0).handles.len(), 1);
    shot(&mut harness, "keys");
    click(&mut harness, 330.0, 240.0, NONE);
    assert_eq!(path(&harness, 0).handles, []);
    // Two clicks put a key on it, Delete takes the key and then the path.
    let middle = super::shapes::PathShape::new(&path(&harness, 0)).curve[6];
    drag(&mut harness, &[(middle.x, middle.y)], NONE);
    drag(&mut harness, &[(middle.x, middle.y)], NONE);
    assert_eq!(path(&harness, 0).path.len(), 4, "{:?}", steps(&harness));
    key(&mut harness, NONE, Key::Delete);
    assert_eq!(path(&harness, 0).path.len(), 3);
    key(&mut harness, NONE, Key::Delete);
    assert!(harness.state().work.project.strokes.is_empty() && harness.state().selection == Selection::None);
    // Drawn freehand over what is marked.
    let marked = Region::Disc { center: (300.0, 150.0), radius: 90.0, softness: 0.0 };
    harness.state_mut().work.region = Some(marked.clone());
    drag(&mut harness, &[(300.0, 150.0), (360.0, 120.0), (420.0, 150.0)], NONE);
    assert!(path(&harness, 0).region == marked && harness.state().work.region.is_none());
}

#[test]
fn regions_are_marked_added_taken_away_and_cleared() {
    let mut harness = stage(Desk::coffee());
    key(&mut harness, NONE, Key::R);
    drag(&mut harness, &[(200.0, 100.0), (350.0, 100.0)], NONE);
    let marked = |harness: &Stage| harness.state().work.region.clone();
    assert!(matches!(marked(&harness), Some(Region::Brush { .. })));
    drag(&mut harness, &[(200.0, 180.0), (350.0, 180.0)], Modifiers::SHIFT);
    let area = |harness: &Stage| marked(harness).unwrap().rasterize(600, 400, Path::new("")).unwrap().data.iter().sum::<f32>();
    let both = area(&harness);
    assert!(matches!(marked(&harness), Some(Region::Lasso { .. })) && both > 14_000.0, "{both}");
    drag(&mut harness, &[(275.0, 60.0), (275.0, 220.0)], Modifiers::ALT);
    assert!(area(&harness) < both - 4000.0);
    shot(&mut harness, "marked");
    harness.get_by_label("Lasso").click();
    harness.run_steps(2);
    drag(&mut harness, &[(100.0, 100.0), (200.0, 100.0), (200.0, 200.0), (100.0, 200.0)], NONE);
    assert!((area(&harness) - 10_000.0).abs() < 200.0, "{}", area(&harness));
    harness.get_by_label("Whole picture").click();
    harness.run_steps(2);
    assert_eq!(marked(&harness), Some(Region::All));
    key(&mut harness, NONE, Key::Escape);
    assert_eq!(marked(&harness), None);
    assert_eq!(steps(&harness).len(), 6);
    // A gesture given up leaves nothing.
    key(&mut harness, NONE, Key::N);
    let end = press_along(&mut harness, &[(200.0, 100.0), (350.0, 100.0)], NONE);
    key(&mut harness, NONE, Key::Escape);
    button(&mut harness, end, PointerButton::Primary, false, NONE);
    assert!(steps(&harness).len() == 6 && !harness.state().canvas.dragging());
}

#[test]
fn a_scribble_becomes_the_object() {
    let mut harness = stage(Desk::coffee());
    key(&mut harness, NONE, Key::R);
    harness.get_by_label("Smart").click();
    harness.run_steps(2);
    drag(&mut harness, &[(215.0, 95.0), (290.0, 45.0), (370.0, 90.0), (300.0, 180.0), (215.0, 190.0)], NONE);
    let wait = |harness: &mut Stage, count: usize| {
        for _ in 0..3000 {
            if steps(harness).len() == count {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            harness.step();
        }
        assert_eq!(steps(harness).len(), count);
    };
    wait(&mut harness, 1);
    let mask = |harness: &Stage| harness.state().work.region.as_ref().unwrap().rasterize(600, 400, Path::new("")).unwrap();
    let found = mask(&harness);
    assert!(found.at(290, 120) > 0.9 && found.at(30, 30) < 0.1);
    // What is not meant is scribbled away.
    drag(&mut harness, &[(290.0, 150.0), (320.0, 150.0)], Modifiers::ALT);
    wait(&mut harness, 2);
    assert!(mask(&harness).at(305, 150) < 0.1 && mask(&harness).at(215, 120) > 0.9);
    shot(&mut harness, "smart");
}

#[test]
fn pins_are_painted_clicked_and_erased() {
    let mut harness = stage(Desk::coffee());
    key(&mut harness, NONE, Key::N);
    drag(&mut harness, &[(450.0, 80.0), (550.0, 120.0)], NONE);
    harness.state_mut().work.region = Some(Region::Disc { center: (150.0, 300.0), radius: 40.0, softness: 0.0 });
    harness.step();
    click(&mut harness, 150.0, 300.0, NONE);
    assert!(harness.state().work.region.is_none());
    assert!(matches!(harness.state().work.project.pins[..], [Region::Brush { .. }, Region::Disc { .. }]));
    harness.state_mut().work.region = Some(Region::Disc { center: (300.0, 340.0), radius: 30.0, softness: 0.0 });
    harness.step();
    harness.get_by_label("Pin marked region").click();
    harness.run_steps(2);
    harness.get_by_label("Pin the rest").click();
    harness.run_steps(2);
    assert_eq!(harness.state().work.project.pins.len(), 4);
    shot(&mut harness, "pins");
    key(&mut harness, NONE, Key::E);
    click(&mut harness, 150.0, 300.0, NONE);
    assert_eq!(harness.state().work.project.pins.len(), 3);
    drag(&mut harness, &[(500.0, 70.0), (500.0, 140.0)], NONE);
    assert!(matches!(harness.state().work.project.pins[0], Region::Lasso { .. } | Region::Brush { .. }));
    assert_eq!(steps(&harness).last().unwrap().0, "Erase");
    // A click on a pin with the drag tool selects it; Delete removes it.
    key(&mut harness, NONE, Key::D);
    let before = harness.state().work.project.pins.len();
    harness.state_mut().selection = Selection::Pin(0);
    key(&mut harness, NONE, Key::Delete);
    assert_eq!(harness.state().work.project.pins.len(), before - 1);
}

#[test]
fn the_view_zooms_and_moves() {
    let mut harness = stage(Desk::coffee());
    let fit = harness.state().map.unwrap();
    let pointer = screen(&harness, 150.0, 90.0);
    harness.event(Event::PointerMoved(pointer));
    harness.step();
    let wheel = |harness: &mut Stage, delta: egui::Vec2, source: MouseWheelSource, unit: MouseWheelUnit| {
        harness.event(Event::MouseWheel { unit, delta, source, phase: egui::TouchPhase::Move, modifiers: NONE });
        harness.run_steps(2);
    };
    wheel(&mut harness, vec2(0.0, 3.0), MouseWheelSource::Wheel, MouseWheelUnit::Line);
    let zoomed = harness.state().map.unwrap();
    assert!(zoomed.scale > fit.scale * 1.5 && zoomed.picture(pointer).distance(Vec2::new(150.0, 90.0)) < 0.1);
    // Two fingers, the middle button, Space and the hand tool move it, and nothing is painted.
    wheel(&mut harness, vec2(30.0, -20.0), MouseWheelSource::Trackpad, MouseWheelUnit::Point);
    let moved = |harness: &Stage| harness.state().map.unwrap().offset;
    assert!((moved(&harness) - zoomed.offset).distance(Vec2::new(30.0, -20.0)) < 0.1);
    let before = moved(&harness);
    button(&mut harness, pointer, PointerButton::Middle, true, NONE);
    harness.event(Event::PointerMoved(pointer + vec2(-25.0, 10.0)));
    harness.step();
    button(&mut harness, pointer + vec2(-25.0, 10.0), PointerButton::Middle, false, NONE);
    assert!((moved(&harness) - before).distance(Vec2::new(-25.0, 10.0)) < 0.1);
    harness.key_down(Key::Space);
    harness.step();
    drag(&mut harness, &[(200.0, 200.0), (210.0, 200.0)], NONE);
    harness.key_up(Key::Space);
    key(&mut harness, NONE, Key::H);
    drag(&mut harness, &[(200.0, 200.0), (210.0, 200.0)], NONE);
    assert!(steps(&harness).is_empty() && moved(&harness) != before);
    key(&mut harness, Modifiers::COMMAND, Key::Num1);
    assert_eq!(harness.state().map.unwrap().scale, 1.0);
    key(&mut harness, Modifiers::COMMAND, Key::Plus);
    assert!((harness.state().map.unwrap().scale - 1.25).abs() < 1e-3);
    key(&mut harness, Modifiers::COMMAND, Key::Num0);
    assert_eq!(harness.state().map.unwrap(), fit);
}

#[test]
fn a_gesture_does_not_stick_to_the_pointer() {
    // The release is lost: another window took over.
    let mut desk = Desk::coffee();
    desk.state = State::Running;
    let mut harness = stage(desk);
    press_along(&mut harness, &[(200.0, 150.0), (300.0, 150.0)], NONE);
    harness.event(Event::WindowFocused(false));
    harness.run_steps(2);
    assert!(!harness.state().canvas.dragging());
    assert!(matches!(hands(&harness).last(), Some(Hand::Release { drag: 1, .. })));
}

#[test]
fn a_pen_that_presses_lightly_paints_a_thin_line() {
    let mut harness = stage(Desk::coffee());
    key(&mut harness, NONE, Key::R);
    let full = harness.state().canvas.brushes[1].radius_px;
    let touch = |harness: &mut Stage, pos: Pos2, phase: egui::TouchPhase, force: f32| {
        let (device_id, id) = (egui::TouchDeviceId(1), egui::TouchId(1));
        harness.input_mut().events.push(Event::Touch { device_id, id, phase, pos, force: Some(force) });
    };
    let (from, to) = (screen(&harness, 200.0, 150.0), screen(&harness, 260.0, 150.0));
    touch(&mut harness, from, egui::TouchPhase::Start, 0.2);
    button(&mut harness, from, PointerButton::Primary, true, NONE);
    touch(&mut harness, to, egui::TouchPhase::Move, 0.5);
    harness.event(Event::PointerMoved(to));
    harness.step();
    touch(&mut harness, to, egui::TouchPhase::End, 0.1);
    button(&mut harness, to, PointerButton::Primary, false, NONE);
    harness.step();
    let Some(Region::Brush { radius, .. }) = harness.state().work.region else { panic!("nothing is marked") };
    assert!((radius - full * 0.65).abs() < 0.1, "{radius} of {full}");
}

#[test]
fn the_brush_is_changed_by_keys_by_dragging_and_by_sliders() {
    let mut harness = stage(Desk::coffee());
    let brush = |harness: &Stage| harness.state().canvas.brushes[0];
    let before = brush(&harness);
    key(&mut harness, NONE, Key::CloseBracket);
    key(&mut harness, NONE, Key::OpenCurlyBracket);
    assert!(brush(&harness).radius_px > before.radius_px && brush(&harness).softness < before.softness);
    let before = brush(&harness);
    drag(&mut harness, &[(200.0, 200.0), (260.0, 180.0)], Modifiers::CTRL | Modifiers::COMMAND);
    assert!(brush(&harness).radius_px > before.radius_px * 1.3 && brush(&harness).softness > before.softness);
    harness.get_by_role_and_label(egui::Role::Slider, "Radius").set_value_accesskit(33.0);
    harness.run_steps(2);
    assert!((brush(&harness).radius_px - 33.0).abs() < 0.5 && steps(&harness).is_empty());
}

#[test]
fn a_canvas_at_rest_asks_for_no_repaint_and_every_tool_has_a_name() {
    let mut desk = Desk::coffee();
    let keys = even_keys(&[Vec2::new(300.0, 150.0), Vec2::new(340.0, 150.0)], 0.0, 40.0);
    let disc = Region::Disc { center: (300.0, 150.0), radius: 50.0, softness: 0.5 };
    add_stroke(&mut desk.work, new_stroke(disc, keys, Default::default(), After::Hold), (600, 400)).unwrap();
    desk.work.region = Some(Region::Disc { center: (100.0, 100.0), radius: 50.0, softness: 0.0 });
    let mut harness = stage(desk);
    for name in ["Drag", "Path", "Region", "Pin", "Erase", "Hand", "Canvas"] {
        assert!(harness.query_by_label(name).is_some(), "{name}");
    }
    harness.run();
    harness.step();
    let delay = harness.output().viewport_output.values().map(|output| output.repaint_delay).min().unwrap();
    assert!(delay > std::time::Duration::from_secs(1), "{delay:?}");
}

#[test]
fn without_a_picture_it_says_what_to_do() {
    let mut desk = Desk::new(Picture::filled(0, 0, [0.0; 3]), Project::new("", "none.png", 1));
    desk.texture = None;
    let mut harness = Harness::builder().with_size(vec2(900.0, 600.0));
    if std::env::var("KINEBRUSH_SHOTS").is_ok() {
        harness = harness.wgpu();
    }
    let source = desk.source.clone();
    let mut harness = harness.build_ui_state(
        move |ui, desk: &mut Desk| {
            let mut paint = |_: &egui::Ui, _: egui::Rect, _: ScreenFromPicture, _: Option<Liquify>| panic!("there is nothing to paint");
            let shown = Shown {
                work: &desk.work,
                selection: Selection::None,
                picture: (0, 0),
                source: &source,
                compiled: None,
                camera: None,
                frame: 0.0,
                state: State::Idle,
                paint: &mut paint,
            };
            desk.actions.extend(desk.canvas.canvas_ui(ui, shown));
        },
        desk,
    );
    harness.run_steps(2);
    button(&mut harness, pos2(400.0, 300.0), PointerButton::Primary, true, NONE);
    button(&mut harness, pos2(450.0, 300.0), PointerButton::Primary, false, NONE);
    shot(&mut harness, "empty");
    assert!(harness.state().actions.is_empty() && harness.state().canvas.unfinished().is_none());
}

/// A look at everything at once; looked at when `KINEBRUSH_SHOTS` names a folder.
#[test]
fn overlays_of_a_whole_work_can_be_drawn_and_hidden() {
    let mut desk = Desk::coffee();
    desk.work.project = Project::load(pictures().join("../../presets/coffee.ron")).unwrap();
    desk.work.project.pins.push(Region::Brush { points: vec![(520.0, 60.0), (560.0, 200.0)], radius: 30.0, softness: 0.0 });
    let keys = [(0.0, 100.0, 320.0), (4.0, 160.0, 350.0), (20.0, 200.0, 340.0), (30.0, 300.0, 370.0), (34.0, 460.0, 330.0)].map(Into::into);
    let disc = Region::Disc { center: (100.0, 320.0), radius: 50.0, softness: 0.7 };
    desk.selection = Selection::Stroke(
        add_stroke(&mut desk.work, new_stroke(disc, keys.to_vec(), Default::default(), After::Hold), (600, 400)).unwrap(),
    );
    desk.work.region = Some(Region::Lasso { points: vec![(60.0, 60.0), (150.0, 40.0), (160.0, 120.0), (80.0, 140.0)], softness: 0.0 });
    desk.compile();
    desk.frame = 24.0;
    let mut harness = stage(desk);
    key(&mut harness, NONE, Key::P);
    harness.event(Event::PointerMoved(screen(&harness, 480.0, 220.0)));
    harness.run_steps(2);
    let shapes = |harness: &Stage| harness.output().shapes.len();
    let shown = shapes(&harness);
    shot(&mut harness, "overlays");
    key(&mut harness, NONE, Key::O);
    assert!(shapes(&harness) + 20 < shown, "{} of {shown}", shapes(&harness));
    key(&mut harness, NONE, Key::O);
    key(&mut harness, NONE, Key::D);
    harness.state_mut().state = State::Running;
    harness.event(Event::PointerMoved(screen(&harness, 250.0, 120.0)));
    harness.run_steps(2);
    shot(&mut harness, "running");
}
