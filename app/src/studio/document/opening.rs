//! Pictures and projects become documents, on a thread of their own.
//!
//! Invariant: a picture is judged by its header before a pixel is decoded; one that is too large to work with is offered smaller instead of
//! exhausting the machine; whatever does not open is one clear line. Guarded by the tests below.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kinebrush_engine::media::picture_file::{load_picture, save_png};
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::{Error, Result};

use super::autosave::Recovery;
use super::job::{Job, Wake};
use super::{Document, NEW_FRAMES, Work};

/// Larger pictures are offered smaller.
const MAX_PIXELS: usize = 50_000_000;
/// The smaller copy's size, about: more than a 4K screen shows.
const SUGGESTED_PIXELS: f64 = 12_000_000.0;
/// Smallest side of a picture that motion can be painted on, px.
const MIN_SIDE: usize = 16;

/// What came of opening a file.
#[derive(Debug)]
pub enum Opened {
    /// It is open.
    Document(Box<Document>),
    /// It has more than 50 megapixels; [`Loading::smaller`] makes a copy that has not.
    TooLarge {
        /// The picture.
        path: PathBuf,
        /// Its pixels.
        pixels: usize,
        /// Width and height of the copy.
        suggested: (usize, usize),
    },
}

/// A document that is being opened.
pub type Loading = Job<Opened>;

impl Document {
    /// Opens a picture or a project (`.ron`), waiting for the disk; see [`Loading::open`].
    ///
    /// # Errors
    /// One line that names the file: missing, unsupported, damaged, too large, or a project with a value that cannot be used.
    pub fn open(path: &Path) -> Result<Self> {
        match open(path, None)? {
            Opened::Document(document) => Ok(*document),
            Opened::TooLarge { path, pixels, .. } => {
                let what = format!("has {} megapixels; save it with at most {}", pixels / 1_000_000, MAX_PIXELS / 1_000_000);
                Err(Error::file(&path, what))
            }
        }
    }

    /// A document of a picture that is in no file yet: it is written as PNG into `data_folder` first.
    ///
    /// # Errors
    /// A picture too small to paint on, or a folder that cannot be written.
    pub fn from_picture(picture: Picture, data_folder: &Path) -> Result<Self> {
        let path = store(&picture, "Pasted picture", data_folder)?;
        from_picture_file(&path, Arc::new(picture))
    }
}

impl Loading {
    /// Opens a picture or a project. What lies in `templates` opens as a copy without a file, so that saving does not write there.
    pub fn open(path: PathBuf, templates: PathBuf, wake: Wake) -> Self {
        Job::start("kinebrush-open", wake, move || open(&path, Some(&templates)))
    }

    /// Opens a copy of the picture at `path`, `size` wide and high, written to `data_folder`.
    pub fn smaller(path: PathBuf, size: (usize, usize), data_folder: PathBuf, wake: Wake) -> Self {
        Job::start("kinebrush-open", wake, move || {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let picture = load_picture(&path)?.resized(size.0, size.1);
            let copy = store(&picture, &name, &data_folder)?;
            let mut document = from_picture_file(&copy, Arc::new(picture))?;
            document.rename(name)?;
            Ok(Opened::Document(Box::new(document)))
        })
    }

    /// Makes a document of a pasted picture.
    pub fn pasted(picture: Picture, data_folder: PathBuf, wake: Wake) -> Self {
        Job::start("kinebrush-open", wake, move || Ok(Opened::Document(Box::new(Document::from_picture(picture, &data_folder)?))))
    }

    /// Brings back a session that was cut off.
    pub fn restored(recovery: Arc<Recovery>, wake: Wake) -> Self {
        Job::start("kinebrush-open", wake, move || Ok(Opened::Document(Box::new(recovery.restore()?))))
    }
}

impl Document {
    /// Another name for a document that has no past yet.
    fn rename(&mut self, name: String) -> Result<()> {
        let mut work = Work::clone(self.work());
        work.project.name = name;
        *self = Self::new(work, self.picture.clone(), self.path.take())?;
        Ok(())
    }

    /// A document of a session's state: nothing of it is in a file.
    pub(super) fn recovered(work: Work, path: Option<PathBuf>) -> Result<Self> {
        let picture = load_picture(&work.project.image_path())?;
        let mut document = Self::new(work, Arc::new(picture), path)?;
        document.mark_unsaved();
        Ok(document)
    }
}

fn open(path: &Path, templates: Option<&Path>) -> Result<Opened> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ron")) {
        let project = Project::load(&path)?;
        let picture = Arc::new(load_picture(&project.image_path())?);
        let is_template = templates.is_some_and(|templates| path.starts_with(templates));
        let document = Document::new(Work { project, region: None }, picture, (!is_template).then_some(path))?;
        return Ok(Opened::Document(Box::new(document)));
    }
    if let Ok((width, height)) = Project::new("", &path, NEW_FRAMES).picture_size()
        && let Some(pixels) = width.checked_mul(height)
        && pixels > MAX_PIXELS
    {
        let scale = (SUGGESTED_PIXELS / pixels as f64).sqrt();
        let side = |side: usize| ((side as f64 * scale).round() as usize).max(MIN_SIDE);
        return Ok(Opened::TooLarge { path, pixels, suggested: (side(width), side(height)) });
    }
    let picture = load_picture(&path)?;
    Ok(Opened::Document(Box::new(from_picture_file(&path, Arc::new(picture))?)))
}

fn from_picture_file(path: &Path, picture: Arc<Picture>) -> Result<Document> {
    if picture.width.min(picture.height) < MIN_SIDE {
        let what = format!("is {}x{}; choose a picture of at least {MIN_SIDE}x{MIN_SIDE} px", picture.width, picture.height);
        return Err(Error::file(path, what));
    }
    let file = path.file_name().ok_or_else(|| Error::file(path, "is not a file; choose a picture"))?;
    let mut project = Project::new(path.parent().unwrap_or(Path::new("")), file, NEW_FRAMES);
    project.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Document::new(Work { project, region: None }, picture, None)
}

/// Writes the picture into the data folder under a name of its own.
fn store(picture: &Picture, name: &str, data_folder: &Path) -> Result<PathBuf> {
    let folder = data_folder.join("pictures");
    std::fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, format!("cannot be made ({error}); free or allow the place")))?;
    let milliseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    // Taken at once, so that two windows never write the same file.
    for number in 0..1000 {
        let path = folder.join(format!("{name} {}.png", milliseconds + number));
        if std::fs::OpenOptions::new().write(true).create_new(true).open(&path).is_ok() {
            save_png(picture, &path)?;
            return Ok(path);
        }
    }
    Err(Error::file(&folder, "cannot be written; free some space or change its permissions"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn idle() -> Wake {
        Arc::new(|| {})
    }

    fn document(opened: Opened) -> Document {
        match opened {
            Opened::Document(document) => *document,
            Opened::TooLarge { pixels, .. } => panic!("{pixels} pixels"),
        }
    }

    #[test]
    fn a_picture_becomes_a_project_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my cat.png");
        save_png(&Picture::filled(40, 30, [0.5; 3]), &path).unwrap();
        let document = Document::open(&path).unwrap();
        assert_eq!((document.title().as_str(), document.project().frames, document.picture().width), ("my cat", 81, 40));
        assert!(document.path().is_none() && !document.is_dirty());
        assert_eq!(document.project().image_path(), path);
        save_png(&Picture::filled(40, 3, [0.5; 3]), &path).unwrap();
        assert!(Document::open(&path).unwrap_err().to_string().contains("40x3; choose a picture of at least"));
    }

    #[test]
    fn presets_open_as_copies_and_projects_as_themselves() {
        let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../presets");
        let path = std::path::absolute(presets.join("rocket.ron")).unwrap();
        let own = document(Loading::open(path.clone(), "/none".into(), idle()).wait().unwrap());
        assert_eq!((own.path(), own.project().strokes.len()), (Some(&*path), 1));
        let copy = document(Loading::open(path.clone(), path.parent().unwrap().into(), idle()).wait().unwrap());
        assert_eq!((copy.path(), copy.title().as_str()), (None, "Lift-off"));
    }

    #[test]
    fn a_picture_that_is_too_large_is_offered_smaller() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.png");
        // One grey channel: 51 megapixels that take little room and time.
        image::GrayImage::from_pixel(10_200, 5_000, image::Luma([90])).save(&path).unwrap();
        let Opened::TooLarge { pixels, suggested, path: named } = Loading::open(path.clone(), "/none".into(), idle()).wait().unwrap()
        else {
            panic!("must be refused")
        };
        assert_eq!((pixels, &named), (51_000_000, &path));
        assert!(suggested.0 * suggested.1 < 12_100_000 && suggested.0 > 2 * suggested.1, "{suggested:?}");
        assert!(Document::open(&path).unwrap_err().to_string().contains("51 megapixels"));
        // The copy itself, from a small picture: the same way, faster.
        let small = folder.path().join("small.png");
        save_png(&Picture::from_fn(80, 60, |x, _| [x as f32 / 80.0; 3]), &small).unwrap();
        let copy = document(Loading::smaller(small, (40, 30), folder.path().join("data"), idle()).wait().unwrap());
        assert_eq!((copy.picture().width, copy.title().as_str()), (40, "small"));
        assert!(copy.project().image_path().starts_with(folder.path().join("data")));
        copy.project().validate().unwrap();
    }

    #[test]
    fn pasted_pictures_are_kept_in_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let paste = |level| Document::from_picture(Picture::filled(20, 20, [level; 3]), folder.path()).unwrap();
        let (a, b) = (paste(0.0), paste(1.0));
        assert_ne!(a.project().image_path(), b.project().image_path());
        for (document, level) in [(a, 0.0), (b, 1.0)] {
            assert_eq!(load_picture(&document.project().image_path()).unwrap().at(3, 3), [level; 3]);
        }
        let refused = Document::from_picture(Picture::filled(20, 2, [0.0; 3]), folder.path()).unwrap_err().to_string();
        assert!(refused.contains("at least 16x16"), "{refused}");
    }

    #[test]
    fn what_does_not_open_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter.txt");
        std::fs::write(&path, "a letter").unwrap();
        assert!(Document::open(&path).unwrap_err().to_string().contains("PNG, JPEG or WebP"));
        assert!(Document::open(&folder.path().join("none.png")).unwrap_err().to_string().contains("does not exist"));
        let broken = folder.path().join("broken.ron");
        std::fs::write(&broken, "(version: 1, image: \"none.png\", frames: 5)").unwrap();
        assert!(Document::open(&broken).unwrap_err().to_string().contains("broken.ron: image"));
    }
}
