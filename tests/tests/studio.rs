//! What an artist does in the studio, from the first picture to the saved video, by the labels of its buttons.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use eframe::egui::{Key, Modifiers};
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
    desk.press("Branch from here");
    desk.until("there is a second take", |desk| desk.player().takes().len() == 2);
    let (branch, frames) = desk.player().shown_take().unwrap();
    let (parent, shared) = frames.parent.unwrap();
    assert!(branch > parent && shared % chunk == 0 && shared < made && frames.end == shared, "{parent} {shared} of {made}");
    assert!(desk.player().held(0).is_some(), "the shared past is there");
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
        newest > at && player.held(newest).is_some_and(|frame| frame.compiled.scene.regions.is_empty())
    });
    assert_eq!(desk.player().state, State::Running);
    desk.press("End");
    desk.until("the take ends", |desk| desk.player().state == State::Idle);
    desk.press("Redo");
    assert_eq!(desk.document().project().strokes.len(), 1);
}
