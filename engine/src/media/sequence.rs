//! A folder of PNG frames that appears whole or not at all.
//!
//! Invariant: frames go to a hidden folder beside the target, which is renamed by [`SequenceWriter::finish`]; only an empty
//! folder or an earlier sequence is ever replaced. Guarded by the tests below.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::atomic::{cannot_write, parent};
use super::picture_file::save_png;
use super::{FrameSink, check_size};
use crate::picture::Picture;
use crate::{Error, Result};

/// A PNG sequence that is being written.
pub struct SequenceWriter {
    target: PathBuf,
    temporary: TempDir,
    width: usize,
    height: usize,
    count: usize,
}

impl SequenceWriter {
    /// Opens a sequence of frames of `width` x `height` px that will be the folder `target`. A folder that holds nothing but an
    /// earlier sequence is replaced at the end; any other that is not empty is refused.
    pub fn create(target: &Path, width: usize, height: usize) -> Result<Self> {
        // `x/` and `x` are the same folder; a link to a folder stays one.
        let target = target.canonicalize().unwrap_or_else(|_| target.components().collect());
        if target.file_name().is_none() || target.is_dir() && target.parent().is_none() {
            return Err(Error::file(&target, "is no folder name; give the name of a new folder"));
        }
        check_replaceable(&target)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".kinebrush-").suffix(".part");
        #[cfg(unix)]
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        #[cfg(unix)]
        builder.permissions(mode);
        let temporary = builder.tempdir_in(parent(&target)).map_err(|error| cannot_write(&target, &error))?;
        Ok(Self { target, temporary, width, height, count: 0 })
    }

    /// Writes the next frame.
    pub fn push(&mut self, frame: &Picture) -> Result<()> {
        check_size(&self.target, self.count, frame, self.width, self.height)?;
        save_png(frame, &self.temporary.path().join(frame_name(self.count))).map_err(|error| match error {
            // The user knows the folder by the name it will have.
            Error::File { what, .. } => Error::file(self.target.join(frame_name(self.count)), what),
            error => error,
        })?;
        self.count += 1;
        Ok(())
    }

    /// Gives the folder its name. Fails, leaving nothing, if no frame was pushed.
    pub fn finish(self) -> Result<()> {
        if self.count == 0 {
            return Err(Error::file(&self.target, "would be an empty sequence; render at least one frame"));
        }
        check_replaceable(&self.target)?;
        self.replace().map_err(|error| cannot_write(&self.target, &error))
    }

    fn replace(&self) -> io::Result<()> {
        // Asked for and checked above: only our own earlier frames go. They move aside first, so that the name is never half full.
        let aside = match self.target.exists() {
            false => None,
            true => {
                let aside = tempfile::Builder::new().prefix(".kinebrush-").suffix(".old").tempdir_in(parent(&self.target))?;
                fs::rename(&self.target, aside.path().join("frames"))?;
                Some(aside)
            }
        };
        let renamed = fs::rename(self.temporary.path(), &self.target);
        if let (Err(_), Some(aside)) = (&renamed, &aside) {
            fs::rename(aside.path().join("frames"), &self.target)?;
        }
        renamed
    }
}

impl FrameSink for SequenceWriter {
    fn push(&mut self, frame: &Picture) -> Result<()> {
        SequenceWriter::push(self, frame)
    }
    fn finish(self: Box<Self>) -> Result<()> {
        SequenceWriter::finish(*self)
    }
}

fn frame_name(index: usize) -> String {
    format!("frame_{index:05}.png")
}

/// The name must be free, an empty folder or an earlier sequence: nothing else of the user's may vanish.
fn check_replaceable(target: &Path) -> Result<()> {
    if !target.exists() {
        return Ok(());
    }
    if !target.is_dir() {
        return Err(Error::file(target, "is a file; give the name of a new folder for the PNG frames"));
    }
    for entry in fs::read_dir(target).map_err(|error| cannot_write(target, &error))? {
        let name = entry.map_err(|error| cannot_write(target, &error))?.file_name();
        let name = name.to_string_lossy();
        let digits = name.strip_prefix("frame_").and_then(|rest| rest.strip_suffix(".png"));
        if !digits.is_some_and(|digits| digits.len() >= 5 && digits.bytes().all(|b| b.is_ascii_digit())) {
            let what = format_args!("holds {name}, which is no frame of a sequence; give the name of a new or empty folder");
            return Err(Error::file(target, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::media::picture_file::load_picture;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn write(target: &Path, count: usize, level: f32) {
        let mut writer = SequenceWriter::create(target, 6, 4).unwrap();
        for _ in 0..count {
            writer.push(&Picture::filled(6, 4, [level; 3])).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn the_folder_appears_whole_and_replaces_an_earlier_sequence() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("walk");
        let mut writer = SequenceWriter::create(&folder.path().join("walk/"), 6, 4).unwrap();
        writer.push(&Picture::filled(6, 4, [0.0; 3])).unwrap();
        assert!(!target.exists());
        drop(writer);
        assert!(names(folder.path()).is_empty());
        write(&target, 3, 0.0);
        write(&target, 2, 1.0);
        assert_eq!(names(&target), ["frame_00000.png", "frame_00001.png"]);
        assert_eq!(names(folder.path()), ["walk"]);
        assert_eq!(load_picture(&target.join("frame_00001.png")).unwrap().at(5, 3), [1.0; 3]);
    }

    #[test]
    fn other_people_s_files_are_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let message = |target: &Path| SequenceWriter::create(target, 6, 4).err().expect("must be refused").to_string();
        fs::write(folder.path().join("frame_.png"), "mine").unwrap();
        assert!(message(folder.path()).contains("holds frame_.png"));
        assert!(message(&folder.path().join("frame_.png")).contains("is a file"));
        assert!(message(&folder.path().join("no/walk")).contains("does not exist"));
        assert!(message(Path::new("/")).contains("no folder name"));

        // A file that arrives while frames are written is safe too.
        let target = folder.path().join("walk");
        let mut writer = SequenceWriter::create(&target, 6, 4).unwrap();
        writer.push(&Picture::filled(6, 4, [0.5; 3])).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(target.join("notes.txt"), "mine").unwrap();
        assert!(writer.finish().unwrap_err().to_string().contains("notes.txt"));
        assert_eq!(names(&target), ["notes.txt"]);
        assert_eq!(names(folder.path()), ["frame_.png", "walk"]);
    }
}
