//! What an artist does in the studio, from the first picture to the saved video, by the labels of its buttons.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use eframe::egui::{self, Key, Modifiers};
use egui_kittest::kittest::Queryable;
use egui_kittest::{SnapshotOptions, SnapshotResults};
use kinebrush::studio::action::{Action, Compare};
use kinebrush::studio::document::Selection;
use kinebrush_engine::stream::live::State;
use kinebrush_tests::desk::{Desk, difference, repository};

/// Frames in the video file, if something here can count them.
fn frames_in(path: &Path) -> Option<usize> {
    let arguments = ["-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(arguments).arg(path).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).trim().trim_end_matches(',').parse().unwrap())
}

#[test]
fn from_a_picture_to_a_video_and_a_project() {
    let home = tempfile::tempdir().unwrap();
    let picture = home.path().join("rocket.jpg");
    std::fs::copy(repository("assets/pictures/rocket.jpg"), &picture).unwrap();
    let mut desk = Desk::new(&home.path().join("home"), None);
    desk.press("Open a picture…");
    desk.write_path(&picture);
    desk.until("the picture is open and cut", |desk| desk.studio().is_ready());

    desk.press("Region");
    desk.stroke((0.0, -60.0), (0.0, 40.0));
    assert_eq!(desk.document().undo_label(), Some("Mark region"));
    assert!(desk.document().work().region.is_some());
    desk.press("Path");
    desk.stroke((0.0, 0.0), (30.0, -90.0));
    assert_eq!((desk.document().undo_label(), desk.document().project().strokes.len()), (Some("Draw path"), 1));
    let drawn = desk.document().work().clone();

    desk.press("Every frame");
    desk.press("Start");
    desk.until("a chunk is made", |desk| desk.player().stats.is_some());
    let chunk = desk.player().stats.unwrap().frames;
    desk.until_frames(3 * chunk);
    desk.pause();
    let made = desk.player().generated().end;
    assert!(desk.player().held(made - 1).is_some_and(|frame| frame.correction.is_some()));

    desk.press("Go to start");
    desk.press("Step forward");
    assert_eq!(desk.player().playhead(), 1.0);
    desk.keys(Modifiers::NONE, Key::End);
    assert_eq!(desk.player().playhead(), (made - 1) as f32, "the end of what was made, not of what is planned");
    desk.press("Step back");
    desk.press("Branch from here");
    desk.until("there is a second take", |desk| desk.player().takes().len() == 2);
    let (branch, frames) = desk.player().shown_take().unwrap();
    let (parent, shared) = frames.parent.unwrap();
    assert!(branch > parent && shared % chunk == 0 && shared < made && frames.end == shared, "{parent} {shared} of {made}");
    assert!(desk.player().held(0).is_some(), "the shared past is there");
    assert_eq!(desk.player().cached(), [0..shared], "and the timeline says so");
    desk.press("Resume");
    desk.until_frames(shared + chunk);
    desk.pause();

    desk.press("Undo");
    assert_eq!((desk.document().project().strokes.len(), desk.document().redo_label()), (0, Some("Draw path")));
    desk.press("Redo");
    assert_eq!(**desk.document().work(), *drawn);

    let video = home.path().join("lift-off.mp4");
    let frames = desk.player().generated().end;
    desk.press("Export");
    desk.write("File", video.to_str().unwrap());
    desk.press("Export");
    assert!(desk.studio().is_exporting());
    desk.until("the video is written", |desk| !desk.studio().is_exporting());
    assert!(video.metadata().unwrap().len() > 1000 && desk.reads("Saved"), "{:?}", desk.labels());
    assert!(frames_in(&video).is_none_or(|count| count == frames), "{:?} frames for {frames}", frames_in(&video));
    desk.keys(Modifiers::NONE, Key::Escape);

    let project = home.path().join("lift-off.ron");
    desk.press("Save");
    desk.write_path(&project);
    desk.until("the project is saved", |desk| !desk.document().is_dirty());
    assert_eq!(desk.document().path(), Some(&*project));
    let saved = desk.document().project().clone();
    desk.close();
    let desk = Desk::ready(&home.path().join("other"), &project);
    assert_eq!((desk.document().project(), desk.document().is_dirty()), (&saved, false));
    assert_eq!(desk.document().project().strokes, drawn.project.strokes);
    desk.close();
}

#[test]
fn what_is_dragged_while_it_plays_is_a_stroke_in_the_end() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::ready(home.path(), &repository("assets/pictures/coffee.png"));
    desk.press("Start");
    desk.until("video is made", |desk| desk.player().state == State::Running && desk.player().stats.is_some());
    desk.hold((-40.0, 0.0), (10.0, 20.0));
    let before = desk.player().generated().end;
    desk.until("frames were made with the hand's motion", |desk| {
        desk.player().dragged().is_some() && desk.player().generated().end > before
    });
    assert!(desk.document().project().strokes.is_empty(), "not before the hand lets go");
    desk.drop_at((10.0, 20.0));
    desk.until("the drag is a stroke", |desk| desk.document().project().strokes.len() == 1);
    assert_eq!(desk.document().undo_label(), Some("Drag"));
    let path = desk.document().project().strokes[0].path.clone();
    let way = path.last().unwrap().place - path[0].place;
    assert!(path.len() >= 2 && way.x > 1.0 && way.y > 0.4, "the hand went right and down: {path:?}");

    // Undo while it plays: the motion goes, the video goes on.
    let at = desk.player().generated().end;
    desk.keys(Modifiers::COMMAND, Key::Z);
    assert_eq!((desk.document().project().strokes.len(), desk.document().redo_label()), (0, Some("Drag")));
    desk.until("the video goes on without the stroke", |desk| {
        let player = desk.player();
        let newest = player.generated().end - 1;
        newest > at && player.held(newest).is_some_and(|frame| frame.layers.objects.is_empty())
    });
    assert_eq!(desk.player().state, State::Running);
    desk.press("End");
    desk.until("the take ends", |desk| desk.player().state == State::Idle);
    desk.press("Redo");
    assert_eq!(desk.document().project().strokes.len(), 1);
}

#[test]
fn another_picture_in_the_middle_of_a_drag_gets_nothing_of_it() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::ready(home.path(), &repository("assets/pictures/rocket.jpg"));
    desk.press("Start");
    desk.until("video is made", |desk| desk.player().stats.is_some());
    desk.hold((0.0, 0.0), (30.0, -20.0));
    desk.until("the hand is in the video", |desk| desk.player().dragged().is_some());
    // As if dropped on the window.
    desk.harness.state_mut().act(Action::Open(repository("assets/pictures/cat.png")));
    desk.until("the cat is open", |desk| desk.document().title() == "cat");
    desk.until("the worker is at the cat", |desk| desk.player().state == State::Idle && desk.studio().is_ready());
    desk.drop_at((30.0, -20.0));
    desk.press("Start");
    desk.until("video of the cat is made", |desk| desk.player().stats.is_some());
    desk.pause();
    assert_eq!((desk.document().project().strokes.len(), desk.player().takes().len()), (0, 1));
    assert!(!desk.document().is_dirty());
}

#[test]
fn what_was_made_is_compared_scrubbed_and_comes_back_from_the_log() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(home.path(), None);
    desk.until("the presets are there", |desk| desk.can_press("Pulling out the spoon"));
    desk.press("Pulling out the spoon");
    desk.until_filled();
    desk.press("Every frame");
    desk.press("Start");
    desk.until_frames(32);
    desk.pause();

    // Scrub: with the ruler, to somewhere in the past.
    let ruler = desk.harness.query_all_by_label("Time ruler").next().unwrap().rect();
    let at = |part: f32| ruler.left_center() + ruler.width() * part * egui::Vec2::RIGHT;
    desk.harness.drag_at(at(0.0));
    desk.harness.hover_at(at(0.2));
    desk.harness.hover_at(at(0.4));
    desk.harness.drop_at(at(0.4));
    desk.harness.run_steps(3);
    let frame = desk.player().playhead() as usize;
    assert!(frame > 2 && desk.player().held(frame).is_some(), "frame {frame}");
    let generated = desk.look();

    // A holds the guide, and the split shows both.
    desk.harness.key_down(Key::A);
    desk.harness.run_steps(2);
    assert_eq!(desk.player().compare, Compare::Guide);
    let guide = desk.look();
    desk.harness.key_up(Key::A);
    desk.harness.run_steps(2);
    assert_eq!(desk.player().compare, Compare::Generated);
    assert_eq!(difference(&desk.look(), &generated), 0.0);
    let made = difference(&guide, &generated);
    assert!(made > 0.0, "the network changes what is seen: {made}");
    desk.press("Split");
    let split = desk.look();
    let part = |picture: &image::RgbaImage, from: f32, to: f32| {
        let (width, height) = picture.dimensions();
        let at = |part: f32| (width as f32 * part) as u32;
        image::imageops::crop_imm(picture, at(from), height / 8, at(to) - at(from), height * 3 / 4).to_image()
    };
    assert_eq!(difference(&part(&split, 0.1, 0.45), &part(&guide, 0.1, 0.45)), 0.0);
    assert_eq!(difference(&part(&split, 0.55, 0.9), &part(&generated, 0.55, 0.9)), 0.0);
    desk.press("Generated");

    // A stroke in the timeline shows what can be set about it.
    assert!(!desk.reads("Easing"));
    let name = desk.document().project().strokes[0].name.clone();
    let name = if name.is_empty() { "Motion 1".to_owned() } else { name };
    desk.press(&name);
    assert_eq!(desk.document().selection, Selection::Stroke(0));
    assert!(desk.can_press("Let go"), "{:?}", desk.labels());
    desk.press("Let go");
    assert_eq!(desk.document().undo_label(), Some("After the end"));
    desk.press("Undo");
    desk.keys(Modifiers::NONE, Key::Escape);

    // Memory is short: old frames go, and are shown again from the disk.
    let mut look_at = |frame: usize| {
        desk.harness.state_mut().act(Action::Seek(frame as f32));
        desk.harness.run_steps(2);
        desk.look()
    };
    let (other, shown) = (look_at(0), look_at(frame));
    desk.harness.state_mut().player_mut().hold_at_most(1);
    desk.press("Every frame");
    desk.keys(Modifiers::NONE, Key::End);
    desk.press("Resume");
    desk.until("old frames are let go", |desk| desk.player().held(frame).is_none());
    desk.pause();
    desk.harness.state_mut().act(Action::Seek(frame as f32));
    desk.harness.run_steps(2);
    assert!(desk.player().held(frame).is_none() && desk.player().logged(frame).is_some());
    // What was shown last stays until the frame is here.
    desk.until("the frame is back", |desk| {
        let now = desk.look();
        desk.studio().shows_log() && difference(&now, &shown) < difference(&now, &other) / 4.0
    });
}

#[test]
fn what_cannot_be_opened_is_said_and_what_is_too_large_is_offered_smaller() {
    let home = tempfile::tempdir().unwrap();
    let (letter, wide) = (home.path().join("letter.txt"), home.path().join("wide.png"));
    std::fs::write(&letter, "a letter").unwrap();
    image::GrayImage::from_pixel(10_200, 5_000, image::Luma([90])).save(&wide).unwrap();
    let mut desk = Desk::new(&home.path().join("home"), Some(&letter));
    desk.until("it is said", |desk| desk.reads("PNG, JPEG or WebP") && desk.reads("letter.txt"));
    desk.press("Dismiss");
    assert!(!desk.reads("letter.txt") && desk.studio().document().is_none());

    desk.keys(Modifiers::COMMAND, Key::O);
    desk.write_path(&wide);
    desk.until("it is offered smaller", |desk| desk.can_press("Open a smaller copy"));
    assert!(desk.reads("51 megapixels"));
    desk.press("Open a smaller copy");
    desk.until("the copy is open", |desk| desk.studio().document().is_some());
    let (width, height) = desk.studio().picture_size().unwrap();
    assert!(width * height < 12_100_000 && desk.document().title() == "wide", "{width} x {height}");
}

#[test]
fn a_picture_that_goes_away_costs_nothing() {
    let home = tempfile::tempdir().unwrap();
    let picture = home.path().join("cat.png");
    std::fs::copy(repository("assets/pictures/cat.png"), &picture).unwrap();
    let mut desk = Desk::ready(&home.path().join("home"), &picture);
    desk.press("Path");
    desk.stroke((0.0, 0.0), (50.0, 10.0));
    std::fs::remove_file(&picture).unwrap();
    // Another program had the focus meanwhile.
    for focused in [false, true] {
        desk.harness.input_mut().focused = focused;
        desk.harness.step();
    }
    desk.until("it is said", |desk| desk.reads("is not there any more; your work is safe"));
    let project = home.path().join("cat.ron");
    desk.keys(Modifiers::COMMAND, Key::S);
    desk.write_path(&project);
    desk.until("it is saved nevertheless", |desk| !desk.document().is_dirty());
    assert!(desk.reads("its picture") && project.is_file());
    desk.press("Start");
    desk.until("video is made all the same", |desk| desk.player().stats.is_some());
}

#[test]
fn nothing_is_lost_by_closing_without_an_answer() {
    let home = tempfile::tempdir().unwrap();
    let dirty = |name: &str| {
        let mut desk = Desk::ready(&home.path().join(name), &repository("assets/pictures/cat.png"));
        desk.press("Path");
        desk.stroke((0.0, 0.0), (50.0, 10.0));
        assert!(desk.document().is_dirty());
        desk.ask_to_close();
        desk.until("it asks", |desk| desk.reads("Save changes to “cat”?"));
        desk
    };
    let mut desk = dirty("a");
    desk.press("Cancel");
    desk.harness.run_steps(3);
    assert!(!desk.closes() && !desk.reads("Save changes to") && desk.document().is_dirty());
    desk.ask_to_close();
    desk.press("Don't save");
    desk.until("the window closes", |desk| desk.closes());

    let mut desk = dirty("b");
    desk.press("Save");
    desk.write_path(&home.path().join("kept"));
    desk.until("the window closes", |desk| desk.closes());
    assert!(home.path().join("kept.ron").is_file(), "with the ending of projects");
}

#[test]
fn a_window_that_closes_asks_before_it_stops_an_export() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::ready(&home.path().join("home"), &repository("presets/coffee.ron"));
    let (folder, video) = (home.path().join("videos"), home.path().join("videos/long.mp4"));
    std::fs::create_dir(&folder).unwrap();
    desk.keys(Modifiers::COMMAND, Key::E);
    desk.write("File", video.to_str().unwrap());
    desk.press("Export");
    assert!(desk.studio().is_exporting());
    desk.ask_to_close();
    desk.press("Keep exporting");
    assert!(!desk.closes() && desk.studio().is_exporting());
    desk.ask_to_close();
    desk.press("Cancel the export");
    assert!(!desk.reads("Export is still running"), "one answer is enough");
    desk.until("the window closes", |desk| desk.closes());
    eframe::App::on_exit(desk.harness.state_mut());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing of it is left");
}

#[test]
fn after_a_crash_the_last_session_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::ready(home.path(), &repository("assets/pictures/cat.png"));
    desk.press("Region");
    desk.stroke((0.0, -30.0), (0.0, 30.0));
    desk.press("Path");
    desk.stroke((0.0, 0.0), (50.0, 10.0));
    let work = desk.document().work().clone();
    // Without a word to the program that it ends.
    drop(desk);
    let mut desk = Desk::new(home.path(), None);
    desk.until("it asks", |desk| desk.reads("Restore the last session?") && desk.reads("“cat” was not closed properly"));
    desk.press("Restore");
    desk.until("the session is back", |desk| desk.studio().document().is_some());
    assert_eq!(**desk.document().work(), *work);
    assert!(desk.document().is_dirty(), "it is in no file yet");
    desk.until("it is ready", |desk| desk.studio().is_ready());
    desk.ask_to_close();
    desk.press("Don't save");
    desk.until("the window closes", |desk| desk.closes());
    eframe::App::on_exit(desk.harness.state_mut());
    drop(desk);
    let mut desk = Desk::new(home.path(), None);
    desk.until("the start page is there", |desk| desk.can_press("Pulling out the spoon"));
    assert!(!desk.reads("Restore the last session?"));
}

/// Compares what is in sight with the picture of it that was looked at and found good; another graphics driver may round differently.
fn compare_screen(desk: &mut Desk, name: &str, results: &mut SnapshotResults) {
    desk.harness.remove_cursor();
    desk.harness.run_steps(3);
    // Numbers of this machine: memory and speed.
    let status =
        desk.harness.query_all_by_label("Ready").chain(desk.harness.query_all_by_label("Paused")).map(|node| node.rect().center().y);
    if let Some(y) = status.last() {
        desk.harness.mask(egui::Rect::from_x_y_ranges(0.0..=1280.0, y - 12.0..=800.0));
    }
    let options = SnapshotOptions::new().threshold(2.0).max_failed_pixels(2500_usize);
    results.add(desk.harness.try_snapshot_options(format!("studio_{name}"), &options));
}

#[test]
fn the_main_screens_look_as_they_did() {
    let home = tempfile::tempdir().unwrap();
    let mut results = SnapshotResults::new();
    let mut desk = Desk::new(home.path(), None);
    desk.until("the start page is there", |desk| desk.can_press("Pulling out the spoon") && desk.reads("Sketch"));
    compare_screen(&mut desk, "start", &mut results);

    desk.press("Pulling out the spoon");
    desk.until_filled();
    // How many frames were made when Pause is heard is chance; the branch has as many as it is told.
    desk.press("Every frame");
    desk.press("Start");
    desk.until_frames(49);
    desk.pause();
    desk.harness.state_mut().act(Action::Seek(48.0));
    desk.press("Branch from here");
    desk.until("there is a second take", |desk| desk.player().takes().len() == 2);
    assert_eq!(desk.player().generated().end, 48);
    desk.harness.state_mut().act(Action::Seek(40.0));
    desk.press("spoon");
    desk.harness.run_steps(3);
    assert!(desk.player().held(40).is_some());
    compare_screen(&mut desk, "canvas", &mut results);

    desk.keys(Modifiers::NONE, Key::F1);
    compare_screen(&mut desk, "keys", &mut results);
    desk.keys(Modifiers::NONE, Key::Escape);
    desk.keys(Modifiers::COMMAND, Key::E);
    desk.write("File", "spoon.mp4");
    compare_screen(&mut desk, "export", &mut results);
}
