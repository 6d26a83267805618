//! The panel by label and pointer, and pictures of it to look at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use eframe::egui::{self, Event, Modifiers, Pos2, Rect, vec2};
use egui_kittest::{Harness, kittest::Queryable};
use glam::{Vec2, Vec3};
use kinebrush_engine::motion::camera::Curve;
use kinebrush_engine::motion::depth::SceneShape;
use kinebrush_engine::motion::project::Project;

use super::*;
use crate::studio::settings::Settings;
use crate::studio::timeline::picture as look;

/// What the studio would hold: the panel on the right, a picture on the left, and every action done as the studio does it.
struct Bench {
    panel: CameraPanel,
    work: Work,
    picture: Arc<Picture>,
    playhead: f32,
    in_hand: bool,
    steps: Vec<(&'static str, u64)>,
    asked: Vec<Action>,
    rect: Rect,
    folds: Folds,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(picture: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("picture.png");
        match picture {
            Some(name) => {
                let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pictures").join(name);
                std::fs::copy(from, &file).unwrap();
            }
            None => image::RgbImage::from_fn(400, 300, |x, y| image::Rgb([(x / 2) as u8, y as u8, 90])).save(&file).unwrap(),
        }
        let picture = kinebrush_engine::media::picture_file::load_picture(&file).unwrap();
        Self {
            panel: CameraPanel { open: true, ..CameraPanel::default() },
            work: Work { project: Project::new(folder.path(), "picture.png", 81), region: None },
            picture: Arc::new(picture),
            playhead: 0.0,
            in_hand: true,
            steps: Vec::new(),
            asked: Vec::new(),
            rect: Rect::NOTHING,
            folds: Folds::default(),
            _folder: folder,
        }
    }

    fn ui(&mut self, ui: &mut Ui) {
        let ctx = ui.ctx().clone();
        let wake: Wake = Arc::new(move || ctx.request_repaint());
        let whole = ui.available_rect_before_wrap();
        let (left, right) = whole.split_left_right_at_x(whole.right() - 350.0);
        let mut child = ui.new_child(egui::UiBuilder::new().max_rect(right.shrink(8.0)));
        let (work, picture) = (self.work.clone(), self.picture.clone());
        let input = CameraInput { work: &work, picture: &picture, playhead: self.playhead };
        let actions = self.panel.panel_ui(&mut child, &input, &mut self.in_hand, &mut self.folds, &wake);
        self.take(actions);
        let scale = (left.width() / picture.width as f32).min(left.height() / picture.height as f32);
        let map = ScreenFromPicture { scale, offset: Vec2::new(left.left(), left.top()) };
        self.rect = map.picture_rect((picture.width, picture.height));
        let on = OnScreen { rect: left, map };
        if self.in_hand {
            let work = self.work.clone();
            let input = CameraInput { work: &work, picture: &picture, playhead: self.playhead };
            let actions = self.panel.on_picture(ui, &input, on, &|place| left.contains(place));
            self.take(actions);
        }
        let work = self.work.clone();
        let input = CameraInput { work: &work, picture: &picture, playhead: self.playhead };
        self.panel.overlay_ui(ui, &input, on, self.in_hand);
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Edit { label, gesture, work } => {
                    work.project.validate().unwrap();
                    self.work = *work;
                    self.steps.push((label, gesture));
                }
                Action::Seek(frame) => self.playhead = frame,
                other => self.asked.push(other),
            }
        }
    }

    fn camera(&self) -> &CameraPath {
        self.work.project.camera.as_ref().unwrap()
    }
}

fn harness(bench: Bench, size: egui::Vec2, theme: egui::Theme) -> Harness<'static, Bench> {
    let mut harness = Harness::builder()
        .with_size(size)
        .with_theme(theme)
        .with_step_dt(0.05)
        .with_max_steps(60)
        .wgpu()
        .build_ui_state(|ui, bench: &mut Bench| bench.ui(ui), bench);
    crate::studio::theme::apply(&harness.ctx, &Settings { theme: crate::studio::settings::ThemeChoice::System, ..Settings::default() });
    surveyed(&mut harness);
    harness
}

/// Waits until the depth is known.
fn surveyed(harness: &mut Harness<'_, Bench>) {
    let begin = Instant::now();
    loop {
        harness.step();
        let survey = &harness.state().panel.survey;
        if !survey.waits() && (survey.get().is_some() || survey.error().is_some()) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "no depth comes");
        std::thread::sleep(Duration::from_millis(2));
    }
    harness.run_steps(3);
}

fn open() -> Harness<'static, Bench> {
    harness(Bench::new(None), vec2(1100.0, 1500.0), egui::Theme::Dark)
}

fn press(harness: &mut Harness<'_, Bench>, label: &str) {
    harness.get_by_label(label).click();
    harness.run_steps(3);
}

fn drag(harness: &mut Harness<'_, Bench>, from: Pos2, by: egui::Vec2, modifiers: Modifiers) {
    harness.event(Event::ModifiersChanged(modifiers));
    harness.hover_at(from);
    harness.step();
    harness.event_modifiers(Event::PointerButton { pos: from, button: egui::PointerButton::Primary, pressed: true, modifiers }, modifiers);
    harness.step();
    for part in [0.3, 0.7, 1.0] {
        harness.hover_at(from + by * part);
        harness.step();
    }
    harness.event_modifiers(
        Event::PointerButton { pos: from + by, button: egui::PointerButton::Primary, pressed: false, modifiers },
        modifiers,
    );
    harness.event(Event::ModifiersChanged(Modifiers::NONE));
    harness.run_steps(3);
}

fn type_into(harness: &mut Harness<'_, Bench>, label: &str, text: &str) {
    harness.get_by_label(label).focus();
    harness.run_steps(2);
    harness.event(Event::Text(text.to_owned()));
    harness.run_steps(2);
    harness.key_press(egui::Key::Enter);
    harness.run_steps(2);
}

#[test]
fn opening_offers_a_guess_and_changes_nothing() {
    let harness = open();
    let bench = harness.state();
    assert!(bench.work.project.camera.is_none() && bench.steps.is_empty());
    assert!(harness.query_by_label(texts::NEW).is_some());
    assert!(bench.panel.survey.get().unwrap().median.is_finite());
}

#[test]
fn keys_are_added_gone_to_and_deleted_at_the_playhead() {
    let mut harness = open();
    for frame in [0.0, 40.0, 80.0] {
        harness.state_mut().playhead = frame;
        harness.run_steps(2);
        press(&mut harness, texts::ADD);
    }
    assert_eq!(harness.state().camera().keys.len(), 3);
    assert!(harness.state().steps.iter().all(|step| *step == (texts::STEP_ADD, 0)));
    press(&mut harness, texts::PREVIOUS);
    assert_eq!(harness.state().playhead, 40.0);
    press(&mut harness, "Go to camera key 1");
    assert_eq!(harness.state().playhead, 0.0);
    press(&mut harness, texts::DELETE);
    let frames: Vec<f32> = harness.state().camera().keys.iter().map(|key| key.frame).collect();
    assert_eq!(frames, [40.0, 80.0]);
}

#[test]
fn fields_change_the_key_at_the_playhead_or_add_one() {
    let mut harness = open();
    harness.state_mut().playhead = 32.0;
    harness.run_steps(2);
    type_into(&mut harness, "Camera z", "1.5");
    let camera = harness.state().camera().clone();
    assert_eq!((camera.keys.len(), camera.keys[1].frame, camera.keys[1].position), (2, 32.0, Vec3::new(0.0, 0.0, 1.5)));
    type_into(&mut harness, "Camera yaw", "20");
    assert!((edit::euler_deg(harness.state().camera().keys[1].rotation)[0] - 20.0).abs() < 0.01);
    type_into(&mut harness, texts::FOV_FIELD, "30");
    type_into(&mut harness, texts::FRAME_FIELD, "48");
    let key = harness.state().camera().keys[1];
    assert_eq!((key.fov_deg, key.frame, harness.state().playhead), (Some(30.0), 48.0, 48.0));
}

#[test]
fn a_handle_of_the_curve_is_pulled_as_one_step() {
    let mut harness = open();
    harness.state_mut().playhead = 40.0;
    harness.run_steps(2);
    type_into(&mut harness, "Camera x", "0.5");
    press(&mut harness, texts::LINEAR);
    assert_eq!(harness.state().camera().keys[0].curve, Curve::Linear);
    let before = harness.state().steps.len();
    let handle = harness.get_by_label(texts::HANDLES[0]).rect().center();
    drag(&mut harness, handle, vec2(60.0, 20.0), Modifiers::NONE);
    let bench = harness.state();
    let Curve::Bezier { from, to } = bench.camera().keys[0].curve else { panic!("{:?}", bench.camera()) };
    assert!(from.0 > 0.4 && from.1 < 0.3 && to == (2.0 / 3.0, 2.0 / 3.0), "{from:?} {to:?}");
    let steps = &bench.steps[before..];
    assert!(steps.len() >= 2 && steps.iter().all(|step| *step == (texts::STEP_CURVE, steps[0].1)) && steps[0].1 > 0, "{steps:?}");
    harness.get_by_label(texts::HANDLES[1]).focus();
    harness.run_steps(2);
    harness.key_press(egui::Key::ArrowLeft);
    harness.run_steps(2);
    let Curve::Bezier { to, .. } = harness.state().camera().keys[0].curve else { panic!("a curve of another kind") };
    assert!(to.0 < 0.66, "the keyboard moves it too: {to:?}");
}

#[test]
fn drags_on_the_picture_orbit_pan_dolly_and_roll() {
    let mut harness = open();
    harness.state_mut().playhead = 24.0;
    harness.run_steps(2);
    let middle = harness.state().rect.center();
    let key = |harness: &Harness<'_, Bench>| harness.state().camera().keys.last().copied().unwrap();
    drag(&mut harness, middle, vec2(60.0, 0.0), Modifiers::NONE);
    let orbited = key(&harness);
    assert_eq!(harness.state().camera().keys.len(), 2, "one at the beginning, one here");
    assert!(orbited.position.x < -0.05 && edit::euler_deg(orbited.rotation)[0] > 2.0, "{orbited:?}");
    let gestures: Vec<u64> = harness.state().steps.iter().map(|step| step.1).collect();
    assert!(gestures.windows(2).all(|pair| pair[0] == pair[1]) && gestures[0] > 0, "{gestures:?}");
    drag(&mut harness, middle, vec2(0.0, 40.0), Modifiers::SHIFT);
    let panned = key(&harness);
    assert!(panned.position.y < orbited.position.y - 0.01 && panned.rotation == orbited.rotation);
    drag(&mut harness, middle, vec2(0.0, -60.0), Modifiers::COMMAND);
    let closer = key(&harness);
    assert!(closer.position.z > panned.position.z + 0.05);
    drag(&mut harness, middle + vec2(100.0, 0.0), vec2(0.0, 30.0), Modifiers::ALT);
    assert!(edit::euler_deg(key(&harness).rotation)[2].abs() > 5.0);
    let before = harness.state().steps.len();
    harness.hover_at(middle);
    for _ in 0..2 {
        harness.event(Event::MouseWheel {
            unit: egui::MouseWheelUnit::Line,
            delta: vec2(0.0, 1.0),
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Wheel,
            modifiers: Modifiers::NONE,
        });
        harness.step();
    }
    let steps = harness.state().steps[before..].to_vec();
    assert!(steps.len() == 2 && steps[0].1 == steps[1].1, "two notches are one step: {steps:?}");
    assert!(key(&harness).position.distance(closer.position) > 0.01);
}

#[test]
fn a_camera_is_dragged_in_space_as_one_step() {
    let mut harness = open();
    harness.state_mut().playhead = 30.0;
    harness.run_steps(2);
    let tip = harness.get_by_label("Move camera along x").rect().center();
    drag(&mut harness, tip, vec2(30.0, 0.0), Modifiers::NONE);
    let key = *harness.state().camera().keys.last().unwrap();
    assert!(key.position.x.abs() > 0.02 && key.position.y == 0.0 && key.position.z == 0.0, "{key:?}");
    let first = harness.get_by_label("Camera key 1 at 0").rect().center();
    drag(&mut harness, first + vec2(0.0, 0.0), vec2(-20.0, 15.0), Modifiers::NONE);
    let camera = harness.state().camera().clone();
    assert!(camera.keys[0].position.length() > 0.01 && camera.keys[1] == key, "{camera:?}");
    let observer = harness.state().panel.observer;
    let corner = harness.get_by_label(texts::VIEW).rect().right_bottom() - vec2(14.0, 14.0);
    drag(&mut harness, corner, vec2(-40.0, -10.0), Modifiers::NONE);
    assert!(harness.state().panel.observer != observer && *harness.state().camera() == camera);
}

#[test]
fn the_horizon_is_put_where_it_is_and_a_room_is_fitted() {
    let mut harness = open();
    press(&mut harness, texts::DEPTH_TAB);
    let left = harness.get_by_label(texts::HORIZON_LEFT).rect().center();
    drag(&mut harness, left, vec2(0.0, 50.0), Modifiers::NONE);
    let DepthSource::Shape(SceneShape::Ground { horizon, .. }) = harness.state().camera().depth else { panic!("no ground") };
    assert!(horizon.0 > horizon.1 + 10.0, "{horizon:?}");
    press(&mut harness, texts::ROOM);
    let corner = harness.get_by_label(texts::CORNERS[0]).rect().center();
    drag(&mut harness, corner, vec2(-30.0, -20.0), Modifiers::NONE);
    let DepthSource::Shape(SceneShape::Room { back, .. }) = harness.state().camera().depth else { panic!("no room") };
    assert!(back.0 < 110.0 && back.1 < 85.0, "{back:?}");
    type_into(&mut harness, texts::LENGTH, "7");
    press(&mut harness, texts::SHOW_COLOUR);
    surveyed(&mut harness);
    let surveyed = harness.state().panel.survey.get().unwrap();
    assert!((surveyed.inverse(Vec2::new(200.0, 140.0)).recip() - 7.0).abs() < 0.1, "the back wall");
}

#[test]
fn depth_is_painted_and_taken_back() {
    let mut harness = open();
    press(&mut harness, texts::DEPTH_TAB);
    press(&mut harness, texts::PAINTED);
    let middle = harness.state().rect.center();
    drag(&mut harness, middle, vec2(80.0, 20.0), Modifiers::NONE);
    let DepthSource::Painted { marks, .. } = &harness.state().camera().depth else { panic!("not painted") };
    assert_eq!((marks.len(), marks[0].value), (1, 1.0));
    assert_eq!(harness.state().steps.last(), Some(&(texts::STEP_MARK, 0)));
    surveyed(&mut harness);
    press(&mut harness, texts::UNDO_MARK);
    let DepthSource::Painted { marks, .. } = &harness.state().camera().depth else { panic!("not painted") };
    assert!(marks.is_empty());
}

#[test]
fn a_depth_file_is_taken_by_its_path_and_its_faults_are_said() {
    let mut harness = open();
    let folder = harness.state().work.project.folder().to_owned();
    image::GrayImage::from_fn(400, 300, |_, y| image::Luma([(y * 255 / 299) as u8])).save(folder.join("depth.png")).unwrap();
    press(&mut harness, texts::DEPTH_TAB);
    press(&mut harness, texts::FILE);
    assert!(harness.state().steps.is_empty(), "no file yet");
    harness.get_by_label(texts::PATH).focus();
    harness.run_steps(2);
    harness.get_by_label(texts::PATH).type_text(folder.join("depth.png").to_str().unwrap());
    harness.run_steps(2);
    press(&mut harness, texts::USE_FILE);
    surveyed(&mut harness);
    let survey = &harness.state().panel.survey;
    assert_eq!(survey.error(), None);
    let surveyed_now = survey.get().unwrap();
    let (top, bottom) = (surveyed_now.inverse(Vec2::new(200.0, 2.0)), surveyed_now.inverse(Vec2::new(200.0, 297.0)));
    assert!((top - 0.05).abs() < 0.02 && (bottom - 1.0).abs() < 0.02, "near is white: {top} {bottom}");
    press(&mut harness, texts::BROWSE);
    let Some(Action::Ask(crate::studio::dialogs::Purpose::Camera { file: CameraFile::Depth, .. })) = harness.state().asked.last() else {
        panic!("no file is asked for");
    };
    std::fs::remove_file(folder.join("depth.png")).unwrap();
    type_into(&mut harness, texts::NEAR, "2");
    surveyed(&mut harness);
    assert!(harness.query_by_label_contains("depth.png").is_some(), "the missing file is named");
}

#[test]
fn a_target_is_picked_and_cleared() {
    let mut harness = open();
    press(&mut harness, texts::PICK_BUTTON);
    let at = harness.state().rect.center() + vec2(0.0, 80.0);
    drag(&mut harness, at, vec2(0.0, 0.0), Modifiers::NONE);
    let target = harness.state().camera().look_at.unwrap();
    assert!(target.z > 0.2 && target.y > 0.0, "{target}");
    assert!(harness.state().camera().keys.is_empty(), "a click that picks moves nothing");
    press(&mut harness, texts::CLEAR);
    assert_eq!(harness.state().camera().look_at, None);
}

#[test]
fn a_preset_is_one_step_and_its_strength_counts() {
    let mut harness = open();
    let names: Vec<String> = harness.state().panel.presets.iter().map(|preset| preset.name.clone()).collect();
    assert_eq!(names.len(), 7, "{names:?}");
    for name in &names {
        press(&mut harness, name);
        assert_eq!(harness.state().steps.last(), Some(&(texts::STEP_PRESET, 0)), "{name}");
    }
    press(&mut harness, "Push in");
    let far = harness.state().camera().keys.last().unwrap().position.z;
    harness.state_mut().panel.strength = 0.5;
    harness.run_steps(2);
    press(&mut harness, "Push in");
    let near = harness.state().camera().keys.last().unwrap().position.z;
    assert!(near > 0.0 && (near * 2.0 - far).abs() < 1e-3, "{near} {far}");
}

#[test]
fn a_path_goes_out_as_a_file_and_comes_back() {
    let mut harness = open();
    harness.state_mut().playhead = 40.0;
    harness.run_steps(2);
    type_into(&mut harness, "Camera x", "0.5");
    for label in [texts::EXPORT, texts::IMPORT] {
        press(&mut harness, label);
    }
    assert!(matches!(harness.state().asked[..], [Action::Ask(_), Action::Ask(_)]));
    let bench = harness.state_mut();
    let (work, picture) = (bench.work.clone(), bench.picture.clone());
    let input = CameraInput { work: &work, picture: &picture, playhead: 0.0 };
    let wake: Wake = Arc::new(|| {});
    let file = work.project.folder().join("camera.json");
    let done = |panel: &mut CameraPanel, which: CameraFile, file: &Path| {
        assert!(panel.take_file(which, file, &input, &wake).is_none());
        let begin = Instant::now();
        loop {
            let (actions, said) = panel.poll(&input);
            if !actions.is_empty() || said.is_some() {
                return (actions, said);
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "no answer comes");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let (actions, said) = done(&mut bench.panel, CameraFile::Export, &file);
    assert!(actions.is_empty() && said.unwrap().unwrap() == file && file.is_file());
    let (actions, said) = done(&mut bench.panel, CameraFile::Import, &file);
    assert!(said.is_none());
    bench.take(actions);
    assert_eq!(bench.steps.last(), Some(&(texts::STEP_IMPORT, 0)));
    let read = bench.camera();
    assert!(read.keys.len() > 10 && (read.camera((400, 300), 40.0).position.x - 0.5).abs() < 1e-3);
    std::fs::write(&file, "a letter").unwrap();
    let (actions, said) = done(&mut bench.panel, CameraFile::Import, &file);
    assert!(actions.is_empty() && said.unwrap().unwrap_err().to_string().contains("camera.json"));
}

#[test]
fn a_camera_that_runs_into_the_scene_is_told_so() {
    let mut harness = open();
    harness.state_mut().playhead = 60.0;
    harness.run_steps(2);
    assert!(harness.state().panel.survey.warnings().is_empty());
    type_into(&mut harness, "Camera z", "30");
    let begin = Instant::now();
    while harness.state().panel.survey.warnings().is_empty() {
        harness.step();
        assert!(begin.elapsed() < Duration::from_secs(60), "nobody warns");
        std::thread::sleep(Duration::from_millis(2));
    }
    harness.run_steps(2);
    let warning = harness.state().panel.survey.warnings()[0].clone();
    assert!(harness.query_by_label(&warning).is_some(), "{warning}");
}

#[test]
fn what_is_wrong_with_a_depth_file_is_said() {
    let mut harness = open();
    let folder = harness.state().work.project.folder().to_owned();
    let grey = |name: &str, side: u32, value: &dyn Fn(u32) -> u16| {
        image::ImageBuffer::from_fn(side, 80, |x, _| image::Luma([value(x)])).save(folder.join(name)).unwrap();
        folder.join(name)
    };
    press(&mut harness, texts::DEPTH_TAB);
    press(&mut harness, texts::FILE);
    let use_file = |harness: &mut Harness<'static, Bench>, path: &Path| {
        harness.state_mut().panel.file = path.display().to_string();
        harness.run_steps(2);
        press(harness, texts::USE_FILE);
        surveyed(harness);
    };
    let says = |harness: &Harness<'static, Bench>, text: &str| harness.query_all_by_label_contains(text).next().is_some();
    use_file(&mut harness, &grey("constant.png", 100, &|_| 30_000));
    assert!(says(&harness, "the depth is the same everywhere"));
    use_file(&mut harness, &grey("square.png", 80, &|x| (x * 800) as u16));
    assert!(says(&harness, "it was resampled") && says(&harness, "it was stretched"));
    // The wrong way round: another meaning of its numbers turns it.
    let left = |harness: &Harness<'static, Bench>| harness.state().panel.survey.get().unwrap().inverse(Vec2::new(5.0, 150.0));
    let before = left(&harness);
    let camera = harness.state_mut().work.project.camera.as_mut().unwrap();
    let DepthSource::File { meaning, .. } = &mut camera.depth else { panic!("no file") };
    *meaning = DepthMeaning::FarIsWhite { far: 20.0, near: 1.0 };
    harness.run_steps(2);
    surveyed(&mut harness);
    assert!(left(&harness) > 4.0 * before, "{before} {}", left(&harness));
    // Numbers that are none, as a PNG has them: what is transparent is no depth.
    let holes = |name: &str, hole: &dyn Fn(u32) -> bool| {
        let pixel = |x: u32, _: u32| image::LumaA([40_000_u16, if hole(x) { 0 } else { 65_535 }]);
        image::ImageBuffer::from_fn(400, 300, pixel).save(folder.join(name)).unwrap();
        folder.join(name)
    };
    use_file(&mut harness, &holes("holes.png", &|x| (100..200).contains(&x)));
    assert!(says(&harness, "of the depth is missing: it was filled from around"));
    use_file(&mut harness, &holes("nothing.png", &|_| true));
    assert!(says(&harness, "nothing.png: holds no depth: every number is missing"));
    let surveyed = harness.state().panel.survey.get().unwrap();
    assert!(surveyed.depth.inverse.data.iter().all(|w| w.is_finite()), "what was last known stays");
}

#[test]
fn numbers_that_make_no_sense_are_brought_into_their_range() {
    let mut harness = open();
    harness.state_mut().playhead = 40.0;
    harness.run_steps(2);
    for (typed, expected) in [("0", 5.0), ("180", 150.0), ("-70", 5.0), ("nan", 150.0), ("inf", 150.0)] {
        type_into(&mut harness, texts::FOV_FIELD, typed);
        assert_eq!(harness.state().camera().keys[1].fov_deg, Some(expected), "{typed}");
    }
    // Two keys at one frame: there is one between them at least.
    type_into(&mut harness, texts::FRAME_FIELD, "0");
    assert_eq!(harness.state().camera().keys[1].frame, 1.0);
    type_into(&mut harness, "Camera z", "1e30");
    type_into(&mut harness, "Camera x", "inf");
    assert!(harness.state().camera().keys.iter().all(|key| key.position.abs().max_element() <= 1000.0));
    press(&mut harness, texts::DEPTH_TAB);
    type_into(&mut harness, texts::LENS, "0");
    assert_eq!(harness.state().camera().fov_deg, 5.0);
    press(&mut harness, texts::PAINTED);
    type_into(&mut harness, texts::NEAR, "1e9");
    let DepthSource::Painted { far, near, .. } = harness.state().camera().depth else { panic!("not painted") };
    assert!(near < far, "{near} {far}");
}

#[test]
fn in_a_small_window_the_curve_is_in_sight() {
    let mut bench = Bench::new(None);
    let input = CameraInput { work: &bench.work, picture: &bench.picture, playhead: 0.0 };
    let path = [0.0, 30.0, 60.0]
        .iter()
        .fold(input.path(), |path, frame| edit::posed(&path, (400, 300), *frame, |key| key.position.x = frame * 0.005));
    bench.work.project.camera = Some(path);
    // As high as the panel is in a window of 1280x800.
    let mut harness = harness(bench, vec2(1200.0, 504.0), egui::Theme::Dark);
    let curve = harness.get_by_label(texts::CURVE).rect();
    assert!(curve.bottom() < 500.0 && curve.height() > 80.0, "the curve is at {curve}");
    assert!(harness.query_by_label(crate::studio::fold::MORE).is_some(), "there is more below, and it is said");
    // Closed, it makes room for the presets.
    press(&mut harness, texts::SPEED);
    assert!(harness.query_by_label(texts::CURVE).is_none());
    assert!(harness.get_by_label("Push in").rect().bottom() < 500.0);
    look(&mut harness, "camera_small");
}

#[test]
fn a_depth_is_estimated_with_weights_of_ones_own() {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/depth_anything");
    let mut harness = open();
    press(&mut harness, texts::DEPTH_TAB);
    press(&mut harness, texts::ESTIMATE);
    assert!(harness.state().steps.is_empty() && harness.query_by_label(texts::ESTIMATE_ABOUT).is_some());
    harness.state_mut().panel.weights = "/no weights here".to_owned();
    harness.run_steps(2);
    press(&mut harness, texts::ESTIMATE_BUTTON);
    let Some(Action::EstimateDepth(folder)) = harness.state().asked.last().cloned() else { panic!("nothing is asked for") };
    assert_eq!(folder, Path::new("/no weights here"));
    let estimated = |harness: &mut Harness<'static, Bench>, folder: &Path| {
        let kept = harness.state().work.project.folder().to_owned();
        let picture = harness.state().picture.clone();
        harness.state_mut().panel.estimate(folder.to_owned(), &picture, "picture".to_owned(), vec![kept], Arc::new(|| {}));
        let begin = Instant::now();
        while harness.state().panel.estimating.is_some() {
            harness.step();
            let (work, picture) = (harness.state().work.clone(), picture.clone());
            let bench = harness.state_mut();
            let (actions, _) = bench.panel.poll(&CameraInput { work: &work, picture: &picture, playhead: 0.0 });
            bench.take(actions);
            assert!(begin.elapsed() < Duration::from_secs(120), "no estimate comes");
            std::thread::sleep(Duration::from_millis(2));
        }
        harness.run_steps(2);
    };
    estimated(&mut harness, &folder);
    assert!(harness.query_all_by_label_contains("config.json").next().is_some(), "it is said what is missing");
    assert!(harness.state().steps.is_empty());
    estimated(&mut harness, &weights);
    assert_eq!(harness.state().steps, [(texts::STEP_ESTIMATE, 0)]);
    let DepthSource::File { path, meaning: DepthMeaning::NearIsWhite { far, near } } = harness.state().camera().depth.clone() else {
        panic!("no file")
    };
    assert!(path.is_relative() && near < far && harness.state().work.project.folder().join(&path).is_file(), "{path:?}");
    surveyed(&mut harness);
    assert_eq!(harness.state().panel.survey.error(), None);
    assert!(harness.query_by_label(texts::ESTIMATE_AGAIN).is_some() && harness.query_by_label(texts::ESTIMATE_DONE).is_some());
    type_into(&mut harness, texts::NEAR, "2");
    let DepthSource::File { meaning, .. } = harness.state().camera().depth else { panic!("no file") };
    assert_eq!(meaning, DepthMeaning::NearIsWhite { far, near: 2.0 });
    // What is chosen meanwhile is not replaced.
    let picture = harness.state().picture.clone();
    harness.state_mut().panel.estimate(weights, &picture, "picture".to_owned(), vec![], Arc::new(|| {}));
    press(&mut harness, texts::ROOM);
    assert!(harness.state().panel.estimating.is_none());
}

#[test]
fn an_idle_panel_does_not_repaint() {
    let mut harness = open();
    surveyed(&mut harness);
    let mut rests = || {
        harness.run_steps(4);
        harness.output().viewport_output.values().all(|out| out.repaint_delay > Duration::from_secs(10))
    };
    // A worker wakes the window after it has handed its result over, so its request may come at any later step: at rest is
    // what stays so, and a panel that asks by itself never does.
    let settles = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        (0..5).all(|_| rests())
    });
    assert!(settles);
}

#[test]
fn pictures_to_look_at() {
    let mut bench = Bench::new(Some("coffee.png"));
    let input = CameraInput { work: &bench.work, picture: &bench.picture, playhead: 0.0 };
    let mut path = input.path();
    let size = (bench.picture.width, bench.picture.height);
    for (frame, position, angles) in [
        (0.0, Vec3::ZERO, [0.0; 3]),
        (36.0, Vec3::new(-0.5, -0.1, 0.3), [9.0, -2.0, 0.0]),
        (80.0, Vec3::new(0.3, -0.3, 0.9), [-7.0, -8.0, 2.0]),
    ] {
        path = edit::posed(&path, size, frame, |key| (key.position, key.rotation) = (position, edit::rotation_of(angles)));
    }
    bench.work.project.camera = Some(path);
    bench.playhead = 36.0;
    let mut dark = harness(bench, vec2(1200.0, 1250.0), egui::Theme::Dark);
    look(&mut dark, "camera_move");
    press(&mut dark, texts::DEPTH_TAB);
    look(&mut dark, "camera_ground");
    press(&mut dark, texts::SHOW_COLOUR);
    press(&mut dark, texts::ROOM);
    surveyed(&mut dark);
    look(&mut dark, "camera_room");
    press(&mut dark, texts::PAINTED);
    surveyed(&mut dark);
    look(&mut dark, "camera_painted");
    let mut light = harness(Bench::new(Some("coffee.png")), vec2(1200.0, 900.0), egui::Theme::Light);
    look(&mut light, "camera_new_light");
}
