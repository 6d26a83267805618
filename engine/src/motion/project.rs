//! The project file: one picture and the motion painted on it, in RON.
//!
//! Invariant: a project that was loaded is valid as a whole (every number finite and in range, the picture there), and a file appears
//! under its name only when whole. Guarded by the tests below and `tests/tests/project.rs`.

use std::path::{Component, Path, PathBuf};

use image::ImageDecoder;
use image::metadata::Orientation;
use serde::{Deserialize, Serialize};

use super::camera::CameraPath;
use super::region::Region;
use super::stroke::{MAX_FRAMES, Stroke};
use super::transfer::Transfer;
use crate::media::atomic::write_atomic;
use crate::{Error, Result};

/// The version of the format that this build writes.
pub const VERSION: u32 = 1;
/// Largest project file, bytes: a hundred full paths.
const MAX_BYTES: u64 = 64 << 20;
/// Most strokes, and most pins.
const MAX_LAYERS: usize = 1000;
/// Smallest and largest side of a video, px.
const SIDES: std::ops::RangeInclusive<usize> = 16..=8192;

/// A picture and the motion painted on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// The format's version, [`VERSION`].
    pub version: u32,
    /// A name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What happens, in a sentence or two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who made the picture, and its licence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub credits: String,
    /// The picture, relative to the project file.
    pub image: PathBuf,
    /// Width and height that the model works at; its own default when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<(usize, usize)>,
    /// Length in frames at 16 fps.
    pub frames: usize,
    /// What every random choice is drawn from.
    #[serde(default)]
    pub seed: u64,
    /// What moves, back to front.
    #[serde(default)]
    pub strokes: Vec<Stroke>,
    /// What must stay. `All` pins whatever no stroke moves; any other pin wins over the strokes.
    #[serde(default)]
    pub pins: Vec<Region>,
    /// The motion of clips, laid over the strokes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfers: Vec<Transfer>,
    /// The camera's way; without it the picture is flat and the camera stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraPath>,
    /// Where relative paths start.
    #[serde(skip)]
    folder: PathBuf,
}

impl Project {
    /// A project without motion for the picture at `image` (relative to `folder`).
    pub fn new(folder: impl Into<PathBuf>, image: impl Into<PathBuf>, frames: usize) -> Self {
        Self {
            version: VERSION,
            name: String::new(),
            description: String::new(),
            credits: String::new(),
            image: image.into(),
            size: None,
            frames,
            seed: 0,
            strokes: Vec::new(),
            pins: Vec::new(),
            transfers: Vec::new(),
            camera: None,
            folder: folder.into(),
        }
    }

    /// Reads and checks the project at `path`.
    ///
    /// # Errors
    /// One line that names the file and the place in it: a missing or unreadable file, a syntax error, an unknown or missing
    /// field, another version, or a value that [`Project::validate`] refuses.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let unreadable = |e: std::io::Error| Error::file(path, format!("cannot be opened ({e}); check the path"));
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > MAX_BYTES {
            return Err(Error::file(path, format!("has {bytes} bytes, too many for a project (at most {MAX_BYTES})")));
        }
        let text = std::fs::read(path).map_err(unreadable)?;
        let text = String::from_utf8(text).map_err(|_| Error::file(path, "is not text; a project is a RON file"))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::parse(&text, folder).and_then(|project| project.validate().map(|()| project)).map_err(|e| match e {
            Error::Field { field, what } => Error::file(path, format!("{field}: {what}")),
            other => other,
        })
    }

    /// The project as RON text that can be read anywhere on this machine: every path in it is absolute.
    ///
    /// # Errors
    /// When it cannot be written as RON, which is a fault of the program.
    pub fn to_text(&self) -> Result<String> {
        let mut absolute = self.clone();
        for path in absolute.paths() {
            *path = std::path::absolute(self.folder.join(&*path)).unwrap_or_else(|_| self.folder.join(&*path));
        }
        ron::ser::to_string(&absolute)
            .map_err(|e| Error::field("project", format!("cannot be written as RON ({e}); this is a fault of the program")))
    }

    /// Reads the text of a project whose relative paths start at `folder`; the values are not checked, see [`Project::validate_for`].
    ///
    /// # Errors
    /// The place in the text that is not understood.
    pub fn from_text(text: &str, folder: impl Into<PathBuf>) -> Result<Self> {
        Self::parse(text, folder.into())
    }

    fn parse(text: &str, folder: PathBuf) -> Result<Self> {
        /// Just the version, whatever else a newer format may hold.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        if let Ok(Versioned { version }) = options.from_str(text) {
            check_version(version)?;
        }
        let project: Self = options.from_str(text).map_err(|e| {
            let at = e.span.start;
            Error::field(format!("line {}, column {}", at.line, at.col), format!("{}; correct the project file", e.code))
        })?;
        Ok(Self { folder, ..project })
    }

    /// Writes the project to `path`, with the paths in it relative to that place. The file appears only when whole.
    ///
    /// # Errors
    /// Names `path` when it cannot be written, or the field that [`Project::validate`] refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.validate()?;
        self.write(path)
    }

    /// Like [`Project::save`], but nothing is checked: work is kept even when its picture went away meanwhile.
    ///
    /// # Errors
    /// Names `path` when it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let moved = self.moved_to(path.parent().unwrap_or(Path::new("")));
        let config = ron::ser::PrettyConfig::new().depth_limit(4).new_line("\n").struct_names(false);
        let text = ron::ser::to_string_pretty(&moved, config)
            .map_err(|e| Error::file(path, format!("cannot be written as RON ({e}); this is a fault of the program")))?;
        write_atomic(path, |out| out.write_all((text + "\n").as_bytes()))
    }

    /// Checks every value, and that the picture is there.
    ///
    /// # Errors
    /// The first value that is not usable, by name (`strokes[1].path[3]`), with what to do.
    pub fn validate(&self) -> Result<()> {
        self.validate_for(self.picture_size()?)
    }

    /// Checks every value for a picture of this size, which is not looked for.
    ///
    /// # Errors
    /// As [`Project::validate`].
    pub fn validate_for(&self, picture: (usize, usize)) -> Result<()> {
        check_version(self.version)?;
        if !(1..=MAX_FRAMES).contains(&self.frames) {
            return Err(Error::field("frames", format!("is {}; it must lie between 1 and {MAX_FRAMES}", self.frames)));
        }
        if let Some((width, height)) = self.size
            && !(SIDES.contains(&width) && SIDES.contains(&height))
        {
            let what = format!("is {width}x{height}; both sides must lie between {} and {}", SIDES.start(), SIDES.end());
            return Err(Error::field("size", what));
        }
        for (field, count) in [("strokes", self.strokes.len()), ("pins", self.pins.len()), ("transfers", self.transfers.len())] {
            if count > MAX_LAYERS {
                return Err(Error::field(field, format!("has {count} entries; at most {MAX_LAYERS} are allowed")));
            }
        }
        for (i, stroke) in self.strokes.iter().enumerate() {
            stroke.validate(&format!("strokes[{i}]"), picture)?;
            self.check_mask(&format!("strokes[{i}].region"), &stroke.region)?;
        }
        for (i, pin) in self.pins.iter().enumerate() {
            let field = format!("pins[{i}]");
            pin.validate(&field, picture)?;
            self.check_mask(&field, pin)?;
            if *pin == Region::All
                && let Some(moving) = self.first_over_all()
            {
                let what = format!("pins the whole picture, which {moving} moves; remove one of them");
                return Err(Error::field(field, what));
            }
        }
        for (i, transfer) in self.transfers.iter().enumerate() {
            let field = format!("transfers[{i}]");
            transfer.validate(&field, picture)?;
            self.check_mask(&format!("{field}.region"), &transfer.region)?;
            if !self.folder.join(&transfer.tracks).is_file() {
                let what = format!("{} does not exist; track the clip again or remove the transfer", transfer.tracks.display());
                return Err(Error::field(format!("{field}.tracks"), what));
            }
        }
        if let Some(camera) = &self.camera {
            camera.validate("camera", picture)?;
            for (i, mark) in camera.depth.marks().iter().enumerate() {
                self.check_mask(&format!("camera.depth.marks[{i}].region"), &mark.region)?;
            }
        }
        Ok(())
    }

    /// Where relative paths start.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same paths, starting at another folder: for projects that were read from within another file.
    pub fn in_folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), ..self }
    }

    /// The picture's file.
    pub fn image_path(&self) -> PathBuf {
        self.folder.join(&self.image)
    }

    /// Width and height of the picture as it is shown (a camera's orientation tag applied), read from the file's header.
    ///
    /// # Errors
    /// The field `image` when the file is missing or no picture.
    pub fn picture_size(&self) -> Result<(usize, usize)> {
        read_size(&self.image_path()).map_err(|e| {
            Error::field("image", format!("{} cannot be read as a picture ({e}); name a PNG, JPEG or WebP file", self.image.display()))
        })
    }

    /// The name of what moves the whole picture, if anything does.
    fn first_over_all(&self) -> Option<String> {
        let stroke = self.strokes.iter().position(|stroke| stroke.region == Region::All).map(|i| format!("strokes[{i}]"));
        let transfer = || self.transfers.iter().position(|transfer| transfer.region == Region::All).map(|i| format!("transfers[{i}]"));
        stroke.or_else(transfer)
    }

    fn check_mask(&self, field: &str, region: &Region) -> Result<()> {
        let Region::MaskFile { path, .. } = region else { return Ok(()) };
        read_size(&self.folder.join(path)).map(|_| ()).map_err(|e| {
            let what = format!("{} cannot be read as a picture ({e}); name a PNG, JPEG or WebP file", path.display());
            Error::field(format!("{field}.path"), what)
        })
    }

    /// The same project as seen from `folder`.
    fn moved_to(&self, folder: &Path) -> Self {
        let mut moved = Self { folder: folder.to_owned(), ..self.clone() };
        for path in moved.paths() {
            *path = relative(&self.folder, path, folder);
        }
        moved
    }

    /// The picture's path, those of the masks, of clips and their tracks, and of the depth.
    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let transfers = self.transfers.iter_mut().map(|transfer| (&mut transfer.region, [&mut transfer.clip, &mut transfer.tracks]));
        let (clip_regions, clips): (Vec<_>, Vec<_>) = transfers.unzip();
        let regions = self.strokes.iter_mut().map(|stroke| &mut stroke.region).chain(&mut self.pins).chain(clip_regions);
        let masks = regions.filter_map(|region| if let Region::MaskFile { path, .. } = region { Some(path) } else { None });
        let depth = self.camera.iter_mut().flat_map(|camera| camera.depth.paths());
        let clips = clips.into_iter().flatten().filter(|path| !path.as_os_str().is_empty());
        masks.chain(clips).chain(depth).chain([&mut self.image])
    }
}

fn check_version(version: u32) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    let what = if version > VERSION { "update Kinebrush to open it" } else { "set it to 1" };
    Err(Error::field("version", format!("is {version}, this build reads {VERSION}; {what}")))
}

fn read_size(path: &Path) -> image::ImageResult<(usize, usize)> {
    // Opening a pipe or a device could wait for ever.
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::other("not a file").into());
    }
    let mut decoder = image::ImageReader::open(path)?.with_guessed_format()?.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let turned = matches!(
        decoder.orientation().unwrap_or(Orientation::NoTransforms),
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    Ok(if turned { (height as usize, width as usize) } else { (width as usize, height as usize) })
}

/// `path`, which starts at `from`, as seen from `to`, with forward slashes; unchanged when it is absolute or the folders cannot be
/// resolved, absolute when they share no root.
fn relative(from: &Path, path: &Path, to: &Path) -> PathBuf {
    let resolve = |folder: &Path| std::fs::canonicalize(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let (Ok(from), Ok(to)) = (resolve(from), resolve(to)) else { return path.to_owned() };
    if path.is_absolute() || from == to {
        return path.to_owned();
    }
    let mut target = from;
    for part in path.components() {
        match part {
            Component::ParentDir => drop(target.pop()),
            Component::CurDir => {}
            other => target.push(other),
        }
    }
    let shared = target.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    if !matches!(to.components().nth(shared.saturating_sub(1)), Some(Component::RootDir | Component::Normal(_))) {
        return target;
    }
    let up = std::iter::repeat_n("..".to_owned(), to.components().count() - shared);
    let down = target.components().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/").into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn paths_follow_the_project_to_another_folder() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a/b", "a/c", "pictures"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let at = |folder: &str| root.path().join(folder);
        let moved = |path: &str, to: &str| relative(&at("a/b"), Path::new(path), &at(to));
        assert_eq!(moved("../../pictures/x.png", "a/b"), Path::new("../../pictures/x.png"));
        assert_eq!(moved("../../pictures/x.png", "a"), Path::new("../pictures/x.png"));
        assert_eq!(moved("../../pictures/x.png", "pictures"), Path::new("x.png"));
        assert_eq!(moved("x.png", "a/c"), Path::new("../b/x.png"));
        assert_eq!(moved("/x.png", "a/c"), Path::new("/x.png"));
    }

    #[test]
    fn the_version_is_told_before_anything_else() {
        let message = Project::parse("(version: 7, scenes: [1, 2], warp: Fast(3))", PathBuf::new()).unwrap_err().to_string();
        assert!(message.starts_with("version: is 7"), "{message}");
    }
}
