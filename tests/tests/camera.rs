//! A camera is given to a picture in the studio, by the labels of its buttons: keys, curve, scrubbing, undo, and the picture that follows.
#![allow(clippy::unwrap_used)]

use eframe::egui::{self, Key, Modifiers};
use egui_kittest::SnapshotOptions;
use egui_kittest::kittest::Queryable;
use kinebrush::studio::action::Action;
use kinebrush_engine::motion::camera::{CameraPath, Curve};
use kinebrush_engine::motion::project::Project;
use kinebrush_tests::desk::{Desk, difference, repository};

/// The document's camera.
fn camera(desk: &Desk) -> CameraPath {
    desk.document().project().camera.clone().unwrap()
}

fn seek(desk: &mut Desk, frame: f32) {
    desk.harness.state_mut().act(Action::Seek(frame));
    desk.harness.run_steps(2);
}

/// The middle of what is called `label`.
fn middle(desk: &Desk, label: &str) -> egui::Pos2 {
    desk.harness.query_all_by_label(label).last().unwrap().rect().center()
}

fn drag(desk: &mut Desk, from: egui::Pos2, by: egui::Vec2) {
    desk.harness.hover_at(from);
    desk.harness.drag_at(from);
    desk.harness.step();
    for part in [0.25, 0.5, 0.75, 1.0] {
        desk.harness.hover_at(from + by * part);
        desk.harness.step();
    }
    desk.harness.drop_at(from + by);
    desk.harness.run_steps(2);
    desk.harness.remove_cursor();
    desk.harness.step();
}

/// Waits until what is seen stays the same: the scene with its depth is compiled beside the window.
fn settled(desk: &mut Desk) -> image::RgbaImage {
    desk.until_filled();
    let mut last = desk.look();
    desk.until("the picture is still", |desk| {
        let now = desk.look();
        difference(&std::mem::replace(&mut last, now), &last) == 0.0 && desk.studio().is_ready()
    });
    last
}

#[test]
fn three_keys_a_curve_a_scrub_and_back() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::ready(home.path(), &repository("assets/pictures/coffee.png"));
    assert!(!desk.can_press("Add key"), "closed at first");
    desk.press("Camera");
    assert!(desk.document().project().camera.is_none() && !desk.document().is_dirty(), "opening changes nothing");

    // A key at rest, one moved by its fields, one moved on the picture.
    desk.press("Add key");
    seek(&mut desk, 32.0);
    desk.press("Add key");
    let z = desk.harness.query_all_by_label("Camera z").last().unwrap();
    z.focus();
    desk.harness.run_steps(2);
    desk.harness.event(egui::Event::Text("0.4".to_owned()));
    desk.keys(Modifiers::NONE, Key::Enter);
    seek(&mut desk, 64.0);
    desk.press("Add key");
    assert_eq!(camera(&desk).keys.len(), 3);
    desk.until("the scene is compiled in depth", |desk| desk.player().compiled().is_some_and(|c| c.layers.relief().is_some()));
    let still = settled(&mut desk);
    let from = desk.place(0.0, 0.0);
    desk.harness.hover_at(from);
    desk.harness.drag_at(from);
    desk.harness.step();
    desk.harness.hover_at(from + egui::vec2(70.0, 0.0));
    // As soon as the layers in depth are on the card.
    desk.until("the picture follows the hand", |desk| difference(&still, &desk.look()) > 1.0);
    desk.harness.drop_at(from + egui::vec2(70.0, 0.0));
    desk.harness.run_steps(2);
    let keys = camera(&desk).keys;
    assert!(keys.len() == 3 && keys[2].position.x < -0.05 && keys[1].position.z == 0.4, "{keys:?}");
    assert_eq!(desk.document().undo_label(), Some("Move camera"));

    // A curve.
    seek(&mut desk, 16.0);
    desk.reach("Bezier");
    desk.press("Bezier");
    desk.reach("First curve handle");
    let handle = middle(&desk, "First curve handle");
    drag(&mut desk, handle, egui::vec2(50.0, 0.0));
    let curved = camera(&desk);
    let Curve::Bezier { from, .. } = curved.keys[0].curve else { panic!("{:?}", curved.keys[0]) };
    assert!(from.0 > 0.45, "{from:?}");
    assert_eq!(desk.document().undo_label(), Some("Camera curve"));

    // Scrubbed, every frame is seen from elsewhere.
    let mut at = |frame: f32| {
        seek(&mut desk, frame);
        desk.look()
    };
    let (rest, half, end) = (at(0.0), at(32.0), at(64.0));
    let (a, b) = (difference(&rest, &half), difference(&half, &end));
    assert!(a > 1.0 && b > 1.0, "{a} {b}");

    // All the way back, and forward again.
    let done = camera(&desk);
    let mut steps = 0;
    while desk.document().undo_label().is_some() {
        desk.keys(Modifiers::COMMAND, Key::Z);
        steps += 1;
    }
    assert!(desk.document().project().camera.is_none(), "nothing is left of it");
    assert!((6..=7).contains(&steps), "{steps}: three keys, a field, a drag, a kind of curve and its handle, the last two maybe in one");
    while desk.document().redo_label().is_some() {
        desk.press("Redo");
    }
    assert_eq!(camera(&desk), done);

    // The row in the timeline: a key is moved in time.
    let diamond = desk.harness.query_all_by_label_contains("Camera key 2: 32").last().unwrap().rect().center();
    drag(&mut desk, diamond, egui::vec2(40.0, 0.0));
    let frame = camera(&desk).keys[1].frame;
    assert!(frame > 33.0 && frame < 63.0 && desk.player().playhead() == frame, "{frame}");
    assert_eq!(desk.document().undo_label(), Some("Move camera key in time"));

    // And it is saved with the project.
    let project = home.path().join("orbit.ron");
    desk.press("Save");
    desk.write_path(&project);
    desk.until("the project is saved", |desk| !desk.document().is_dirty());
    assert_eq!(Project::load(&project).unwrap().camera, Some(camera(&desk)));
}

#[test]
fn the_camera_panel_looks_as_it_did() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::ready(home.path(), &repository("presets/coffee.ron"));
    desk.press("Camera");
    for (frame, field, value) in [(0.0, "Camera x", "0"), (40.0, "Camera x", "-0.35"), (80.0, "Camera z", "0.6")] {
        seek(&mut desk, frame);
        if frame == 0.0 {
            desk.press("Add key");
            settled(&mut desk);
            continue;
        }
        // A field that is laid out anew meanwhile, because the depth came, loses what was typed.
        desk.until("the field is taken", |desk| {
            desk.harness.query_all_by_label(field).last().unwrap().focus();
            desk.harness.run_steps(2);
            desk.harness.event(egui::Event::Text(value.to_owned()));
            desk.keys(Modifiers::NONE, Key::Enter);
            camera(desk).keys.iter().any(|key| key.frame == frame)
        });
    }
    desk.until("the scene is compiled in depth", |desk| desk.player().compiled().is_some_and(|c| c.layers.relief().is_some()));
    seek(&mut desk, 40.0);
    settled(&mut desk);
    let status = desk.harness.query_all_by_label("Ready").last().map(|node| node.rect().center().y);
    if let Some(y) = status {
        desk.harness.mask(egui::Rect::from_x_y_ranges(0.0..=1280.0, y - 12.0..=800.0));
    }
    let options = SnapshotOptions::new().threshold(2.0).max_failed_pixels(4000_usize);
    desk.harness.snapshot_options("studio_camera", &options);
}
