//! Pictures as a clip: a folder of them, or a numbered run.
//!
//! Invariant: in the order of their numbers; each is decoded when it is asked for. Guarded by the tests of this folder.

use std::path::{Path, PathBuf};

use super::{ClipFrame, ClipInfo, FrameSource, STILLS_FPS, cannot_read, changed_size, check_size};
use crate::media::picture_file::{load_picture, rgb8};
use crate::{Error, Result};

/// More pictures are refused.
const MAX_PICTURES: usize = 1_000_000;

/// Pictures that are shown one after the other.
pub struct Numbered {
    info: ClipInfo,
    pictures: Vec<PathBuf>,
    next: usize,
}

impl Numbered {
    /// The run at `path`: a folder, a pattern (`name_%04d.png`) or one picture of a run. `None` if `path` is none of these.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (folder, before, after) = if path.is_dir() {
            (path, String::new(), String::new())
        } else if let Some((before, rest)) = name.split_once('%')
            && let Some((digits, after)) = rest.split_once('d')
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !path.exists()
        {
            (parent(path), before.to_owned(), after.to_owned())
        } else if is_still(path) {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let before = stem.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
            if before == stem {
                let what = "is one picture, not a clip; give a video, a folder of pictures, or one picture of a numbered run";
                return if path.is_file() { Err(Error::file(path, what)) } else { Ok(None) };
            }
            (parent(path), before, name[stem.len()..].to_owned())
        } else {
            return Ok(None);
        };
        let mut pictures: Vec<(Vec<Piece>, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|error| cannot_read(path, &error))? {
            let file = entry.map_err(|error| cannot_read(path, &error))?.path();
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let whole_folder = path == folder;
            let number = name.strip_prefix(&before).and_then(|rest| rest.strip_suffix(&after));
            let numbered = number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
            if (whole_folder || numbered) && is_still(&file) && !name.starts_with('.') {
                pictures.push((pieces(&name), file));
            }
            if pictures.len() > MAX_PICTURES {
                return Err(Error::file(path, "holds more than a million pictures; give a folder with fewer"));
            }
        }
        pictures.sort();
        let pictures: Vec<PathBuf> = pictures.into_iter().map(|(_, file)| file).collect();
        let Some(first) = pictures.first() else {
            return Err(Error::file(path, "holds no picture; give a folder or a run of PNG, JPEG or WebP pictures"));
        };
        let size = image::ImageReader::open(first)
            .and_then(image::ImageReader::with_guessed_format)
            .map_err(|error| cannot_read(first, &error))?
            .into_dimensions();
        if let Ok((width, height)) = size {
            check_size(first, width as usize, height as usize)?;
        }
        let first = load_picture(first)?;
        let (frames, seconds) = (Some(pictures.len()), Some(pictures.len() as f64 / STILLS_FPS));
        let format = "pictures".to_owned();
        let info = ClipInfo { width: first.width, height: first.height, fps: STILLS_FPS, frames, seconds, format };
        Ok(Some(Self { info, pictures, next: 0 }))
    }
}

impl FrameSource for Numbered {
    fn info(&self) -> &ClipInfo {
        &self.info
    }

    fn next_frame(&mut self, into: &mut ClipFrame) -> Result<bool> {
        let Some(path) = self.pictures.get(self.next) else { return Ok(false) };
        let (index, seconds) = (self.next, self.next as f64 / self.info.fps);
        let picture = load_picture(path).inspect_err(|_| self.next = self.pictures.len())?;
        let size = (self.info.width, self.info.height);
        if (picture.width, picture.height) != size {
            self.next = self.pictures.len();
            return Err(changed_size(path, seconds, size, (picture.width, picture.height)));
        }
        *into = ClipFrame { index, seconds, width: picture.width, height: picture.height, rgb: rgb8(&picture) };
        self.next += 1;
        Ok(true)
    }

    fn seek(&mut self, seconds: f64) -> Result<()> {
        self.next = ((seconds.max(0.0) * self.info.fps + 1e-3) as usize).min(self.pictures.len() - 1);
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether the name is that of a still picture; WebP may move and is looked into elsewhere.
fn is_still(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    matches!(extension.as_deref(), Some("png" | "jpg" | "jpeg"))
}

/// Part of a name: text, or a number of any length (without leading zeros: its length, then its digits).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Number(usize, String),
    Text(String),
}

/// A name so that 9 comes before 10.
fn pieces(name: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        pieces.push(match digits {
            true => Piece::Number(piece.trim_start_matches('0').len(), piece.trim_start_matches('0').to_owned()),
            false => Piece::Text(piece.to_owned()),
        });
        rest = tail;
    }
    pieces
}
