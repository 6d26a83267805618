//! The panel without its window: what is decoded, what is asked for, one step to undo for each.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::time::{Duration, Instant};

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use kinebrush_engine::media::video::VideoWriter;
use kinebrush_engine::motion::transfer::{Placing, Repeat};
use kinebrush_engine::picture::Picture;

use super::*;

/// 24 frames in which a textured square goes right by 2 px a frame.
fn film(folder: &Path) -> PathBuf {
    film_of(folder, 24, None)
}

/// More of the same; where it `cuts` something else is seen from then on.
fn film_of(folder: &Path, frames: usize, cuts: Option<usize>) -> PathBuf {
    let path = folder.join("film.mp4");
    let mut writer = VideoWriter::create(&path, 128, 96, 16).unwrap();
    for t in 0..frames {
        let noise = |x: usize, y: usize, seed: usize| ((x / 3 * 7919 + y / 3 * 104_729 + seed) % 97) as f32 / 97.0;
        let (left, other) = (20 + 2 * (t % 24), cuts.is_some_and(|cut| t >= cut));
        let frame = Picture::from_fn(128, 96, |x, y| {
            let inside = (left..left + 30).contains(&x) && (30..60).contains(&y);
            let shown = if inside { noise(x - left, y, 5) } else { 0.3 + 0.2 * noise(x, y, 1) };
            [if other { 0.9 * noise(y + 40, x / 2, 31) } else { shown }; 3]
        });
        writer.push(&frame).unwrap();
    }
    writer.finish().unwrap();
    path
}

#[track_caller]
fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "nothing came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_thread_shows_the_newest_frame_that_was_asked_for_and_makes_the_strip() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = Reader::open(film(folder.path()), Arc::new(|| {}));
    let info = wait(|| match reader.poll()? {
        News::Opened(info) => Some(info),
        _ => None,
    });
    assert_eq!((info.width, info.height, frames_of(&info)), (128, 96, 24));
    for frame in [3, 20, 7, 11] {
        reader.show(frame);
    }
    let mut strip = [false; THUMBNAILS];
    let mut shown = None;
    wait(|| {
        match reader.poll() {
            Some(News::Thumbnail(i, small)) => strip[i] = small.width <= 96,
            Some(News::Frame(frame)) => shown = Some(frame.index),
            _ => {}
        }
        (shown == Some(11) && strip.iter().all(|made| *made)).then_some(())
    });
    let mut missing = Reader::open(folder.path().join("none.mp4"), Arc::new(|| {}));
    let told = wait(|| match missing.poll()? {
        News::Failed(text) => Some(text),
        _ => None,
    });
    assert!(told.contains("none.mp4: does not exist"), "{told}");
}

#[test]
fn clips_and_pictures_are_told_apart_when_they_are_dropped() {
    for (name, is) in [("a.MP4", true), ("a.gif", true), ("a.mov", true), ("a.png", false), ("a.ron", false), ("a", false)] {
        assert_eq!(is_clip(Path::new(name)), is, "{name}");
    }
}

/// The panel in a window, and the work that its actions make.
struct Bench {
    panel: ClipPanel,
    work: Work,
    data: PathBuf,
    folds: Folds,
    labels: Vec<(&'static str, u64)>,
}

impl Bench {
    fn ui(&mut self, ui: &mut Ui) {
        let work = self.work.clone();
        let input = ClipInput { work: &work, selection: Selection::None, picture: (256, 192), playhead: 0.0, making: false, camera: None };
        let ctx = ui.ctx().clone();
        let wake: Wake = Arc::new(move || ctx.request_repaint());
        for action in self.panel.panel_ui(ui, &input, &mut self.folds, &wake, &self.data) {
            if let Action::Edit { label, gesture, work } = action {
                self.labels.push((label, gesture));
                self.work = *work;
            }
        }
    }

    fn new(folder: &Path) -> Self {
        let work = Work { project: Project::new(folder, "a.png", 48), region: None };
        Self { panel: ClipPanel::default(), work, data: folder.join("data"), folds: Folds::default(), labels: Vec::new() }
    }

    fn transfer(&self) -> &Transfer {
        &self.work.project.transfers[0]
    }
}

/// The panel as high as it is in a window of 1280x800.
fn small(bench: Bench) -> Harness<'static, Bench> {
    Harness::builder().with_size([340.0, 488.0]).build_ui_state(|ui, bench: &mut Bench| bench.ui(ui), bench)
}

#[track_caller]
fn until(harness: &mut Harness<Bench>, holds: &dyn Fn(&Harness<Bench>) -> bool) {
    let mut looks = || {
        harness.step();
        assert_eq!(harness.state_mut().panel.problem(), None);
        holds(harness).then_some(())
    };
    wait(&mut looks);
}

#[test]
fn a_film_is_tracked_used_changed_and_taken_off_again() {
    let folder = tempfile::tempdir().unwrap();
    let film = film(folder.path());
    let mut bench = Bench::new(folder.path());
    bench.panel.open_clip(&film, Arc::new(|| {}));
    let mut harness = Harness::builder().with_size([340.0, 1200.0]).build_ui_state(|ui, bench: &mut Bench| bench.ui(ui), bench);
    until(&mut harness, &|harness| harness.query_by_label(texts::TRACK).is_some());
    harness.get_by_label(texts::TRACK).click();
    until(&mut harness, &|harness| harness.state().panel.is_tracked());
    until(&mut harness, &|harness| harness.query_by_label(texts::USE).is_some());
    harness.get_by_label(texts::USE).click();
    until(&mut harness, &|harness| !harness.state().work.project.transfers.is_empty());
    harness.state().work.project.validate_for((256, 192)).unwrap();
    assert_eq!(harness.state().transfer().range, (0, 23));
    until(&mut harness, &|harness| harness.state().panel.clip.as_ref().is_some_and(|clip| clip.landed.is_some()));

    harness.get_by_label(texts::CAMERA).click();
    until(&mut harness, &|harness| harness.state().transfer().remove_camera);
    harness.get_by_label(texts::MIRROR).click();
    until(&mut harness, &|harness| matches!(harness.state().transfer().placing, Placing::Similarity { mirror: true, .. }));
    assert_eq!(harness.state().labels, [(texts::USED, 0), (texts::USED, 0), (texts::PLACE, 0)]);
    assert_eq!(harness.state().transfer().repeat, Repeat::Once);

    // Click on a track: it is left out, and only that one.
    harness.get_by_label(texts::HIDE).click();
    harness.run_steps(2);
    let rect = harness.get_by_label(texts::PICTURE).rect();
    let tracked = harness.state().panel.clip.as_ref().unwrap().tracked.clone().unwrap();
    let scale = (rect.width() / 128.0).min(300.0 / 96.0);
    let place = tracked.tracks.frames[0].positions[40] * scale;
    let origin = rect.center() - egui::vec2(64.0, 48.0) * scale;
    let at = origin + egui::vec2(place.x, place.y);
    harness.hover_at(at);
    harness.drag_at(at);
    harness.step();
    harness.drop_at(at);
    harness.run_steps(2);
    assert_eq!(harness.state().transfer().hidden, [40]);
    harness.get_by_label(texts::SHOW_ALL).click();
    until(&mut harness, &|harness| harness.state().transfer().hidden.is_empty());

    // The square is the fastest: its way is a path to the right.
    harness.get_by_label(texts::FASTEST).click();
    until(&mut harness, &|harness| !harness.state().work.project.strokes.is_empty());
    let stroke = &harness.state().work.project.strokes[0];
    let (first, last) = (stroke.path.first().unwrap(), stroke.path.last().unwrap());
    assert!(!stroke.path.is_empty() && format!("{first:?}") != format!("{last:?}"));
    harness.state().work.project.validate_for((256, 192)).unwrap();

    harness.get_by_label(texts::REMOVE).click();
    until(&mut harness, &|harness| harness.state().work.project.transfers.is_empty());
}

#[test]
fn in_a_small_window_the_tools_are_in_sight() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    bench.panel.open_clip(&film(folder.path()), Arc::new(|| {}));
    let mut harness = small(bench);
    until(&mut harness, &|harness| harness.query_by_label(texts::TRACK).is_some());
    harness.get_by_label(texts::TRACK).click();
    until(&mut harness, &|harness| harness.query_by_label(texts::USE).is_some());
    harness.get_by_label(texts::USE).click();
    until(&mut harness, &|harness| !harness.state().work.project.transfers.is_empty());
    harness.run_steps(2);
    for label in [texts::PLACE, texts::PAIR, texts::HIDE, texts::PICK, texts::FASTEST] {
        let rect = harness.get_by_label(label).rect();
        assert!(rect.bottom() < 470.0 && rect.right() < 340.0, "{label} is at {rect}");
    }
    assert!(harness.query_by_label(crate::studio::fold::MORE).is_some(), "and what is not says so");
    // What the pointer is put to is said, and ends with the panel.
    harness.get_by_label(texts::PLACE).click();
    harness.run_steps(2);
    assert!(harness.query_by_label(texts::PLACE_TIP).is_some() && harness.state().panel.takes_picture());
    harness.state_mut().panel.toggle();
    assert!(!harness.state().panel.takes_picture());
}

#[test]
fn a_clip_that_moved_away_is_said_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (film, elsewhere) = (film(folder.path()), folder.path().join("elsewhere.mp4"));
    std::fs::rename(&film, &elsewhere).unwrap();
    let mut bench = Bench::new(folder.path());
    bench.work.project.transfers.push(Transfer::new("film.mp4", "t.npz", (128, 96), 16.0, 24));
    let mut harness = small(bench);
    until(&mut harness, &|harness| harness.query_by_label_contains("film.mp4: does not exist").is_some());
    assert!(harness.query_by_label(texts::LOST).is_some() && harness.query_by_label(texts::FIND).is_some());
    // Another film is not the one.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    image::RgbImage::new(40, 30).save(other.join("a_1.png")).unwrap();
    image::RgbImage::new(40, 30).save(other.join("a_2.png")).unwrap();
    harness.state_mut().panel.open_clip(&other, Arc::new(|| {}));
    until(&mut harness, &|harness| harness.query_by_label(texts::TRACK).is_some());
    assert!(harness.state().labels.is_empty());
    // The same at its new place is.
    harness.state_mut().panel.open_clip(&film, Arc::new(|| {}));
    until(&mut harness, &|harness| harness.query_by_label_contains("does not exist").is_some());
    harness.state_mut().panel.open_clip(&elsewhere, Arc::new(|| {}));
    until(&mut harness, &|harness| !harness.state().labels.is_empty());
    assert_eq!((&harness.state().labels[..], &harness.state().transfer().clip), (&[(texts::FIND, 0)][..], &elsewhere));
}

#[test]
fn tracking_can_be_stopped_and_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    bench.panel.open_clip(&film_of(folder.path(), 400, None), Arc::new(|| {}));
    let mut harness = small(bench);
    until(&mut harness, &|harness| harness.query_by_label(texts::TRACK).is_some());
    harness.get_by_label(texts::TRACK).click();
    until(&mut harness, &|harness| harness.query_by_label(texts::CANCEL).is_some());
    assert!(harness.query_by_label_contains("of 400").is_some(), "it is said how far it has come");
    harness.get_by_label(texts::CANCEL).click();
    until(&mut harness, &|harness| harness.query_by_label(texts::TRACK).is_some());
    assert!(!harness.state().panel.is_tracked() && harness.state_mut().panel.problem().is_none());
}

#[test]
fn a_cut_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    bench.panel.open_clip(&film_of(folder.path(), 24, Some(12)), Arc::new(|| {}));
    let mut harness = small(bench);
    until(&mut harness, &|harness| harness.query_by_label(texts::TRACK).is_some());
    harness.get_by_label(texts::TRACK).click();
    until(&mut harness, &|harness| harness.state().panel.is_tracked());
    harness.run_steps(2);
    assert!(harness.query_by_label(&texts::cut(12)).is_some());
}

#[test]
fn of_tracks_that_lie_close_the_best_is_drawn() {
    let tracks = [(0, 1.0, 0.4), (1, 4.0, 0.9), (2, 6.0, 0.2), (3, 40.0, 0.1)];
    assert_eq!(preview::thinned(tracks.into_iter().map(|(i, x, quality)| (i, egui::pos2(x, 5.0), quality))), [1, 3]);
}
