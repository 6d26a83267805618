//! The document: a picture, the motion painted on it, and every step that led there.
//!
//! Invariant: every change can be undone, a change is taken whole or not at all, and none is lost: the newest state is on disk within a
//! second. Guarded by the tests below, those of [`history`], and `tests/tests/kill.rs`.

pub mod autosave;
pub mod history;
pub mod job;
pub mod opening;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::Stroke;
use kinebrush_engine::motion::transfer::Transfer;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::{Error, Result};

use history::History;
use job::{Job, Wake};

/// Frames of a project that was made from a bare picture: five seconds.
const NEW_FRAMES: usize = 81;

/// Everything that undo brings back.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Picture and motion.
    pub project: Project,
    /// What was marked on the picture and has no motion yet.
    pub region: Option<Region>,
}

/// What the next command is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Nothing.
    #[default]
    None,
    /// A stroke, by index.
    Stroke(usize),
    /// A pin, by index.
    Pin(usize),
}

/// A picture and the motion painted on it, with its past.
#[derive(Debug)]
pub struct Document {
    history: History<Work>,
    /// The state's project, as the live worker takes it.
    project: Arc<Project>,
    picture: Arc<Picture>,
    revision: u64,
    absorbed: u64,
    path: Option<PathBuf>,
    /// The state that is in the file at `path`, or that there is nothing to save of.
    saved: Option<Arc<Work>>,
    /// What the next command is about; never beyond the strokes and pins there are.
    pub selection: Selection,
}

/// A state that was written.
#[derive(Debug)]
pub struct Saved {
    path: PathBuf,
    work: Arc<Work>,
    /// The picture, when it is not there any more.
    pub missing_picture: Option<PathBuf>,
}

impl Document {
    /// A document of `work` on `picture`, which the project names; `path` is its project file. Clean, with no past.
    ///
    /// # Errors
    /// The first value of the work that is not usable.
    pub fn new(work: Work, picture: Arc<Picture>, path: Option<PathBuf>) -> Result<Self> {
        check(&work, None, size_of(&picture))?;
        let (project, work) = (Arc::new(work.project.clone()), Arc::new(work));
        let saved = Some(work.clone());
        let history = History::new(work);
        Ok(Self { history, project, picture, revision: 1, absorbed: 0, path, saved, selection: Selection::None })
    }

    /// The state.
    pub fn work(&self) -> &Arc<Work> {
        self.history.now()
    }

    /// The state's project.
    pub fn project(&self) -> &Arc<Project> {
        &self.project
    }

    /// The picture at its own size.
    pub fn picture(&self) -> &Arc<Picture> {
        &self.picture
    }

    /// Counts up from 1 with every change, also by undo and redo.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The last drag that ended and is a stroke of the project (or was undone, or refused).
    pub fn absorbed(&self) -> u64 {
        self.absorbed
    }

    /// Makes `work` the state: one step to undo, called `label`. Changes of the same `gesture` other than 0 are one step.
    ///
    /// # Errors
    /// The first value that is not usable; the state is then what it was.
    pub fn edit(&mut self, label: &'static str, gesture: u64, work: Work) -> Result<()> {
        check(&work, Some(self.work()), size_of(&self.picture))?;
        if self.history.edit(label, gesture, work) {
            self.changed();
        }
        Ok(())
    }

    /// A drag ended while video was made: it becomes the topmost stroke, one step to undo.
    ///
    /// # Errors
    /// What makes the stroke unusable; it is dropped then, in the worker too.
    pub fn finish_drag(&mut self, drag: u64, stroke: Stroke) -> Result<()> {
        // Before the edit: whatever hears of the new revision shall hear that the drag is part of it.
        self.absorbed = self.absorbed.max(drag);
        let mut work = Work::clone(self.work());
        work.project.strokes.push(stroke);
        self.edit("Drag", 0, work)
    }

    /// One step back; what was undone.
    pub fn undo(&mut self) -> Option<&'static str> {
        let label = self.history.undo()?;
        self.changed();
        Some(label)
    }

    /// One step forward; what was done again.
    pub fn redo(&mut self) -> Option<&'static str> {
        let label = self.history.redo()?;
        self.changed();
        Some(label)
    }

    /// What undo would take back.
    pub fn undo_label(&self) -> Option<&'static str> {
        self.history.undo_label()
    }

    /// What redo would bring back.
    pub fn redo_label(&self) -> Option<&'static str> {
        self.history.redo_label()
    }

    /// Whether there is something that is in no project file.
    pub fn is_dirty(&self) -> bool {
        self.saved.as_ref().is_none_or(|saved| !Arc::ptr_eq(saved, self.work()))
    }

    /// The project file, once there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// A name for people: the project's, else its file's, else the picture's.
    pub fn title(&self) -> String {
        let named = Some(&self.project.name).filter(|name| !name.is_empty()).cloned();
        let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        named.or_else(|| self.path().and_then(stem)).or_else(|| stem(&self.project.image)).unwrap_or_default()
    }

    /// Writes the project to `path`, which becomes its file. Works also when the picture went away. Waits for the disk.
    ///
    /// # Errors
    /// Names `path` when it cannot be written.
    pub fn save(&mut self, path: &Path) -> Result<()> {
        let saved = write(path, self.work().clone())?;
        self.finish_save(saved);
        Ok(())
    }

    /// [`Document::save`] on another thread; give its answer to [`Document::finish_save`].
    pub fn save_job(&self, path: PathBuf, wake: Wake) -> Job<Saved> {
        let work = self.work().clone();
        Job::start("kinebrush-save", wake, move || write(&path, work))
    }

    /// Takes note of what was written; changes made meanwhile stay unsaved.
    pub fn finish_save(&mut self, saved: Saved) {
        (self.path, self.saved) = (Some(saved.path), Some(saved.work));
    }

    /// Looks on another thread whether the picture is still there; an error names it. To be asked when the window gets the focus.
    pub fn check_picture(&self, wake: Wake) -> Job<()> {
        let path = self.project.image_path();
        Job::start("kinebrush-look", wake, move || {
            if path.is_file() {
                return Ok(());
            }
            Err(Error::file(&path, "is not there any more; your work is safe, but the project cannot be opened again without its picture"))
        })
    }

    /// There is no file that holds this state.
    fn mark_unsaved(&mut self) {
        self.saved = None;
    }

    fn changed(&mut self) {
        self.revision += 1;
        self.project = Arc::new(self.work().project.clone());
        let exists = match self.selection {
            Selection::None => true,
            Selection::Stroke(i) => i < self.project.strokes.len(),
            Selection::Pin(i) => i < self.project.pins.len(),
        };
        if !exists {
            self.selection = Selection::None;
        }
    }
}

fn size_of(picture: &Picture) -> (usize, usize) {
    (picture.width, picture.height)
}

fn write(path: &Path, work: Arc<Work>) -> Result<Saved> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    work.project.write(&path)?;
    let picture = work.project.image_path();
    let missing_picture = (!picture.is_file()).then_some(picture);
    Ok(Saved { path, work, missing_picture })
}

/// Checks `work` without a look at the disk, except for mask files and tracks that `before` does not have: one that went away later must not
/// keep the artist from going on.
fn check(work: &Work, before: Option<&Work>, picture: (usize, usize)) -> Result<()> {
    if let Some(region) = &work.region {
        region.validate("region", picture)?;
    }
    fn regions(project: &mut Project) -> impl Iterator<Item = &mut Region> {
        project.strokes.iter_mut().map(|stroke| &mut stroke.region).chain(&mut project.pins)
    }
    let has_masks = |project: &Project| {
        let all = project.strokes.iter().map(|stroke| &stroke.region).chain(&project.pins);
        all.filter(|region| matches!(region, Region::MaskFile { .. })).cloned().collect::<Vec<_>>()
    };
    let known = before.map(|before| has_masks(&before.project)).unwrap_or_default();
    // Tracks that were there before and are not any more.
    let lost = |transfer: &Transfer| {
        let was_there = before.is_some_and(|before| before.project.transfers.iter().any(|old| old.tracks == transfer.tracks));
        was_there && !work.project.folder().join(&transfer.tracks).is_file()
    };
    if known.is_empty() && !work.project.transfers.iter().any(lost) {
        return work.project.validate_for(picture);
    }
    let mut project = work.project.clone();
    for (i, transfer) in project.transfers.iter().enumerate().filter(|(_, transfer)| lost(transfer)) {
        transfer.validate(&format!("transfers[{i}]"), picture)?;
    }
    project.transfers.retain(|transfer| !lost(transfer));
    for region in regions(&mut project).filter(|region| known.contains(region)) {
        *region = Region::Disc { center: (1.0, 1.0), radius: 1.0, softness: 0.0 };
    }
    project.validate_for(picture)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn disc(x: f32) -> Region {
        Region::Disc { center: (x, 5.0), radius: 3.0, softness: 0.0 }
    }

    fn document(folder: &Path) -> Document {
        let picture = Picture::filled(20, 10, [0.5; 3]);
        kinebrush_engine::media::picture_file::save_png(&picture, &folder.join("a.png")).unwrap();
        let work = Work { project: Project::new(folder, "a.png", NEW_FRAMES), region: None };
        Document::new(work, Arc::new(picture), None).unwrap()
    }

    fn with(document: &Document, change: impl FnOnce(&mut Work)) -> Work {
        let mut work = Work::clone(document.work());
        change(&mut work);
        work
    }

    #[test]
    fn a_change_that_is_not_usable_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut document = document(folder.path());
        document.edit("Pin", 0, with(&document, |work| work.project.pins.push(disc(4.0)))).unwrap();
        let (before, revision) = (document.work().clone(), document.revision());
        for (field, work) in [
            ("frames", with(&document, |work| work.project.frames = 0)),
            ("pins[1]", with(&document, |work| work.project.pins.push(disc(f32::NAN)))),
            ("region", with(&document, |work| work.region = Some(disc(1e9)))),
        ] {
            let refused = document.edit("Break", 0, work).unwrap_err().to_string();
            assert!(refused.starts_with(field), "{refused}");
            assert!(Arc::ptr_eq(document.work(), &before) && document.revision() == revision);
            assert_eq!(document.undo_label(), Some("Pin"));
        }
    }

    #[test]
    fn revisions_go_up_and_the_selection_never_points_at_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut document = document(folder.path());
        document.edit("Pin", 0, with(&document, |work| work.project.pins.push(disc(4.0)))).unwrap();
        document.selection = Selection::Pin(0);
        assert_eq!((document.undo(), document.selection, document.revision()), (Some("Pin"), Selection::None, 3));
        assert_eq!((document.redo(), document.revision(), document.project().pins.len()), (Some("Pin"), 4, 1));
        assert_eq!((document.redo(), document.revision()), (None, 4));
    }

    #[test]
    fn a_finished_drag_is_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut document = document(folder.path());
        let stroke = |text: &str| ron::from_str::<Stroke>(text).unwrap();
        let good = stroke("(region: Disc(center: (4, 4), radius: 2), path: [(3, 4, 4), (9, 8, 4)])");
        document.finish_drag(7, good.clone()).unwrap();
        assert_eq!((document.absorbed(), document.undo_label(), document.project().strokes.len()), (7, Some("Drag"), 1));
        document.undo();
        assert_eq!((document.absorbed(), document.project().strokes.len()), (7, 0));
        let bad = Stroke { path: Vec::new(), ..good };
        assert!(document.finish_drag(8, bad).unwrap_err().to_string().contains("strokes[0]"));
        assert_eq!((document.absorbed(), document.project().strokes.len()), (8, 0));
    }

    #[test]
    fn only_what_is_not_in_the_file_is_dirty() {
        let folder = tempfile::tempdir().unwrap();
        let mut document = document(folder.path());
        assert!(!document.is_dirty());
        document.edit("Length", 0, with(&document, |work| work.project.frames = 33)).unwrap();
        assert!(document.is_dirty());
        document.undo();
        assert!(!document.is_dirty(), "back where it began");
        document.redo();
        let path = folder.path().join("sub/a.ron");
        assert!(document.save(&path).unwrap_err().to_string().contains("sub does not exist"));
        assert!(document.is_dirty() && document.path().is_none());
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let job = document.save_job(path.clone(), Arc::new(|| {}));
        document.edit("Length", 0, with(&document, |work| work.project.frames = 34)).unwrap();
        document.finish_save(job.wait().unwrap());
        assert!(document.is_dirty(), "the change during the save is not in the file");
        document.undo();
        assert!(!document.is_dirty());
        assert_eq!((document.path(), document.title().as_str()), (Some(&*path), "a"));
        let again = Project::load(&path).unwrap();
        assert_eq!((again.frames, again.picture_size().unwrap()), (33, (20, 10)));
    }

    #[test]
    fn work_goes_on_when_a_clip_and_its_tracks_went_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut document = document(folder.path());
        std::fs::write(folder.path().join("t.npz"), "tracks").unwrap();
        let transfer = Transfer::new("c.mp4", "t.npz", (20, 10), 16.0, 5);
        document.edit("Clip", 0, with(&document, |work| work.project.transfers.push(transfer.clone()))).unwrap();
        std::fs::remove_file(folder.path().join("t.npz")).unwrap();
        document.edit("Length", 0, with(&document, |work| work.project.frames = 33)).unwrap();
        document.edit("Clip", 0, with(&document, |work| work.project.transfers[0].strength = 0.5)).unwrap();
        let refused = document.edit("Clip", 0, with(&document, |work| work.project.transfers[0].speed = f32::NAN)).unwrap_err();
        assert!(refused.to_string().starts_with("transfers[0].speed"), "{refused}");
        let missing = Transfer { tracks: "u.npz".into(), ..transfer };
        let refused = document.edit("Clip", 0, with(&document, |work| work.project.transfers.push(missing))).unwrap_err();
        assert!(refused.to_string().contains("u.npz does not exist"), "tracks that come in are looked for: {refused}");
        document.edit("Clip", 0, with(&document, |work| work.project.transfers.clear())).unwrap();
    }

    #[test]
    fn work_goes_on_and_is_saved_when_picture_and_mask_went_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut document = document(folder.path());
        let mask = folder.path().join("mask.png");
        kinebrush_engine::media::picture_file::save_png(document.picture(), &mask).unwrap();
        let region = Region::MaskFile { path: "mask.png".into(), soft: false };
        document.edit("Pin", 0, with(&document, |work| work.project.pins.push(region))).unwrap();
        document.check_picture(Arc::new(|| {})).wait().unwrap();
        std::fs::remove_file(&mask).unwrap();
        std::fs::remove_file(folder.path().join("a.png")).unwrap();
        let gone = document.check_picture(Arc::new(|| {})).wait().unwrap_err().to_string();
        assert!(gone.contains("a.png: is not there any more"), "{gone}");
        document.edit("Length", 0, with(&document, |work| work.project.frames = 33)).unwrap();
        let saved = document.save_job(folder.path().join("a.ron"), Arc::new(|| {})).wait().unwrap();
        assert_eq!(saved.missing_picture.as_deref(), Some(&*folder.path().join("a.png")));
        assert!(std::fs::read_to_string(folder.path().join("a.ron")).unwrap().contains("frames: 33"));
        let missing = Region::MaskFile { path: "none.png".into(), soft: false };
        let refused = document.edit("Pin", 0, with(&document, |work| work.project.pins.push(missing))).unwrap_err();
        assert!(refused.to_string().contains("none.png"), "a mask that comes in is looked for: {refused}");
    }
}
