//! Pictures in, video out.
//!
//! Invariant: a file or folder appears under its final name only when it is whole; whatever fails before leaves nothing there.
//! Guarded by the tests of [`atomic`], [`video`] and [`sequence`] and by `tests/tests/media.rs`.

pub mod atomic;
pub mod clip;
pub mod gif;
pub mod picture_file;
pub mod sequence;
pub mod video;
pub mod yuv;

use std::path::{Path, PathBuf};

use crate::picture::Picture;
use crate::{Error, Result};

/// Where the frames of a render go, one by one.
pub trait FrameSink: Send {
    /// Takes the next frame; its size must be the one the sink was made for.
    fn push(&mut self, frame: &Picture) -> Result<()>;
    /// Makes the result appear under its name. A sink that is dropped instead leaves nothing.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// What a render is written as, chosen by the path the user gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// An H.264 video in an MP4 file.
    Mp4(PathBuf),
    /// A folder of `frame_00000.png`, `frame_00001.png`, ...
    PngFolder(PathBuf),
}

impl Output {
    /// `x.mp4` is a video; `x/`, an existing folder and `x.png` (the folder `x`) are PNG sequences; all else is refused by name.
    pub fn from_path(path: &Path) -> Result<Self> {
        let is_folder = path.as_os_str().to_string_lossy().ends_with(['/', std::path::MAIN_SEPARATOR]) || path.is_dir();
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            _ if is_folder => Ok(Self::PngFolder(path.to_owned())),
            Some("mp4") => Ok(Self::Mp4(path.to_owned())),
            Some("png") => Ok(Self::PngFolder(path.with_extension(""))),
            _ => Err(Error::file(path, "is neither a video nor a folder; end it in .mp4 for a video or in / for a folder of PNG frames")),
        }
    }

    /// The file or folder that will appear.
    pub fn path(&self) -> &Path {
        match self {
            Self::Mp4(path) | Self::PngFolder(path) => path,
        }
    }

    /// Opens the sink for frames of `width` x `height` px shown at `fps` frames per second (a PNG folder has no rate).
    pub fn create(&self, width: usize, height: usize, fps: u32) -> Result<Box<dyn FrameSink>> {
        Ok(match self {
            Self::Mp4(path) => Box::new(video::VideoWriter::create(path, width, height, fps)?),
            Self::PngFolder(path) => Box::new(sequence::SequenceWriter::create(path, width, height)?),
        })
    }
}

/// The frame must have the size its sink was made for: neither a video nor a sequence can change size midway.
fn check_size(path: &Path, index: usize, frame: &Picture, width: usize, height: usize) -> Result<()> {
    if (frame.width, frame.height) == (width, height) {
        return Ok(());
    }
    Err(Error::file(path, format_args!("frame {index} is {}x{}, the output was opened for {width}x{height}", frame.width, frame.height)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_path_chooses_the_output() {
        let of = |path: &str| Output::from_path(Path::new(path));
        assert_eq!(of("out/walk.MP4").unwrap(), Output::Mp4("out/walk.MP4".into()));
        assert_eq!(of("out/walk/").unwrap(), Output::PngFolder("out/walk/".into()));
        assert_eq!(of("out/walk.png").unwrap(), Output::PngFolder("out/walk".into()));
        let existing = tempfile::tempdir().unwrap();
        assert_eq!(Output::from_path(existing.path()).unwrap(), Output::PngFolder(existing.path().into()));
        for wrong in ["walk.mov", "walk", ""] {
            assert!(of(wrong).unwrap_err().to_string().contains(".mp4"), "{wrong}");
        }
    }

    #[test]
    fn both_outputs_refuse_a_frame_of_another_size_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.mp4", "a.png"] {
            let output = Output::from_path(&folder.path().join(name)).unwrap();
            let mut sink = output.create(32, 16, 16).unwrap();
            sink.push(&Picture::filled(32, 16, [0.5; 3])).unwrap();
            let error = sink.push(&Picture::filled(16, 32, [0.5; 3])).unwrap_err().to_string();
            assert!(error.contains("frame 1 is 16x32") && error.contains("32x16"), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
