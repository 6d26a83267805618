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
    let path = folder.join("film.mp4");
    let mut writer = VideoWriter::create(&path, 128, 96, 16).unwrap();
    for t in 0..24 {
        let noise = |x: usize, y: usize, seed: usize| ((x / 3 * 7919 + y / 3 * 104_729 + seed) % 97) as f32 / 97.0;
        let left = 20 + 2 * t;
        let frame = Picture::from_fn(128, 96, |x, y| {
            let inside = (left..left + 30).contains(&x) && (30..60).contains(&y);
            [if inside { noise(x - left, y, 5) } else { 0.3 + 0.2 * noise(x, y, 1) }; 3]
        });
        writer.push(&frame).unwrap();
    }
    writer.finish().unwrap();
    path
}

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
    labels: Vec<(&'static str, u64)>,
}

impl Bench {
    fn ui(&mut self, ui: &mut Ui) {
        let work = self.work.clone();
        let input = ClipInput { work: &work, selection: Selection::None, picture: (256, 192), playhead: 0.0, making: false };
        let ctx = ui.ctx().clone();
        let wake: Wake = Arc::new(move || ctx.request_repaint());
        for action in self.panel.panel_ui(ui, &input, &wake, &self.data) {
            if let Action::Edit { label, gesture, work } = action {
                self.labels.push((label, gesture));
                self.work = *work;
            }
        }
    }

    fn transfer(&self) -> &Transfer {
        &self.work.project.transfers[0]
    }
}

#[test]
fn a_film_is_tracked_used_changed_and_taken_off_again() {
    let folder = tempfile::tempdir().unwrap();
    let film = film(folder.path());
    let work = Work { project: Project::new(folder.path(), "a.png", 48), region: None };
    let mut bench = Bench { panel: ClipPanel::default(), work, data: folder.path().join("data"), labels: Vec::new() };
    bench.panel.open_clip(&film, Arc::new(|| {}));
    let mut harness = Harness::builder().with_size([340.0, 1200.0]).build_ui_state(|ui, bench: &mut Bench| bench.ui(ui), bench);
    let until = |harness: &mut Harness<Bench>, holds: &dyn Fn(&Harness<Bench>) -> bool| {
        wait(|| {
            harness.step();
            assert_eq!(harness.state_mut().panel.problem(), None);
            holds(harness).then_some(())
        });
    };
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
