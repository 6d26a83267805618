//! The clip panel in the studio: a film is opened, tracked and moves the picture, with the embedded model.
#![allow(clippy::unwrap_used)]

use eframe::egui::{Key, Modifiers};
use kinebrush_tests::desk::{Desk, repository};

#[test]
fn a_film_moves_the_picture() {
    let film = repository("../shared/clips/carphone.mp4");
    if !film.is_file() {
        println!("skipped: {} is not there", film.display());
        return;
    }
    let home = tempfile::tempdir().unwrap();
    // Tracks are kept beside a clip: this one is the test's own.
    let clip = home.path().join("carphone.mp4");
    std::fs::copy(film, &clip).unwrap();
    let picture = home.path().join("rocket.jpg");
    std::fs::copy(repository("assets/pictures/rocket.jpg"), &picture).unwrap();
    let mut desk = Desk::ready(&home.path().join("home"), &picture);
    assert!(!desk.reads("Let a film move your picture"));
    desk.keys(Modifiers::NONE, Key::T);
    desk.until("the panel is there", |desk| desk.reads("Let a film move your picture"));
    desk.press("Open a clip…");
    desk.write_path(&clip);
    desk.until("the clip is open", |desk| desk.can_press("Track"));
    desk.press("Track");
    // Tracking gives way to all else that runs: it may take long, but it never stands still.
    desk.until("tracking has begun", |desk| desk.studio().clip().tracking_frames().is_some());
    while let Some(frames) = desk.studio().clip().tracking_frames() {
        desk.until("another frame is tracked", |desk| desk.studio().clip().tracking_frames() != Some(frames));
    }
    desk.until("it is tracked", |desk| desk.studio().clip().is_tracked() && desk.can_press("Move the picture with it"));
    desk.press("Move the picture with it");
    assert_eq!((desk.document().undo_label(), desk.document().project().transfers.len()), (Some("Move with clip"), 1));
    let transfer = &desk.document().project().transfers[0];
    assert!(transfer.tracks.is_file() && transfer.range.0 == 0 && transfer.range.1 > 10, "{transfer:?}");

    desk.press("Every frame");
    desk.press("Start");
    desk.until("a chunk is made", |desk| desk.player().stats.is_some());
    let chunk = desk.player().stats.unwrap().frames;
    desk.until_frames(3 * chunk);
    desk.pause();
    // What is made is what the clip says: things went somewhere.
    let made = desk.player().held(desk.player().generated().end - 1).unwrap().clone();
    assert!(made.correction.is_some());

    desk.reach("Place by hand");
    desk.press("Place by hand");
    desk.stroke((0.0, 0.0), (40.0, 20.0));
    assert_eq!(desk.document().undo_label(), Some("Place by hand"));
    desk.press("Undo");
    desk.press("Undo");
    assert!(desk.document().project().transfers.is_empty());
    desk.press("Redo");
    assert_eq!(desk.document().project().transfers.len(), 1);

    if let Some(folder) = std::env::var_os("KINEBRUSH_SHOW") {
        desk.press("Place by hand");
        desk.press("Clip: one frame on");
        for _ in 0..40 {
            desk.harness.step();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        desk.look().save(std::path::Path::new(&folder).join("clip.png")).unwrap();
    }
}
