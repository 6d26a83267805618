//! Files that appear whole or not at all.
//!
//! Invariant: bytes go to a hidden file beside the target, which is synced and renamed over the target by
//! [`AtomicFile::commit`]; any other end (error, drop, unwinding panic) removes it and leaves the target as it was.
//! Guarded by the tests below.

use std::fs::Metadata;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A file that is being written under a temporary name.
pub struct AtomicFile {
    temporary: tempfile::NamedTempFile,
    target: PathBuf,
}

impl AtomicFile {
    /// Starts a file that will be `target`. Fails if its folder is missing or cannot be written, or if `target` is there and
    /// is no regular file (renaming over a folder or a device would destroy it).
    pub fn create(target: &Path) -> Result<Self> {
        // A symbolic link stays one: the file it points at is replaced.
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        if target.file_name().is_none() {
            return Err(Error::file(&target, "is no file name; give the name of the file to write"));
        }
        if target.metadata().is_ok_and(|m: Metadata| !m.is_file()) {
            return Err(Error::file(&target, "is there already and is no regular file; give another name"));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".kinebrush-").suffix(".part");
        // The umask decides, as for any file; the default of a temporary file would hide the result from others.
        #[cfg(unix)]
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        #[cfg(unix)]
        builder.permissions(mode);
        match builder.tempfile_in(parent(&target)) {
            Ok(temporary) => Ok(Self { temporary, target }),
            Err(error) => Err(cannot_write(&target, &error)),
        }
    }

    /// The file that will appear.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Syncs the bytes to the disk and gives the file its name.
    pub fn commit(mut self) -> Result<()> {
        let synced = self.temporary.flush().and_then(|()| self.temporary.as_file().sync_all());
        synced.map_err(|error| cannot_write(&self.target, &error))?;
        self.temporary.persist(&self.target).map_err(|error| cannot_write(&self.target, &error.error))?;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
    }
}

/// Writes `target` in one go with `write`; it appears only if `write` succeeds.
pub fn write_atomic(target: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut file = io::BufWriter::new(AtomicFile::create(target)?);
    write(&mut file).map_err(|error| cannot_write(target, &error))?;
    file.into_inner().map_err(|error| cannot_write(target, error.error()))?.commit()
}

/// Removes temporary files and folders of this program in `folder` that nobody has written to for `age`: those of runs that were killed.
/// What cannot be removed stays.
pub fn remove_stale(folder: &Path, age: std::time::Duration) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(data) = entry.metadata() else { continue };
        let old = data.modified().is_ok_and(|then| then.elapsed().is_ok_and(|since| since > age));
        if !(old && name.starts_with(".kinebrush-") && name.ends_with(".part")) {
            continue;
        }
        drop(if data.is_dir() { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) });
    }
}

/// The folder `target` lies in.
pub(crate) fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The one line that says why `target` could not be written and what to do.
pub(crate) fn cannot_write(target: &Path, error: &io::Error) -> Error {
    let folder = parent(target);
    let why = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full; free some space or write to another disk".to_owned()
        }
        _ if !folder.exists() => format!("the folder {} does not exist; create it or choose another", folder.display()),
        _ if !folder.is_dir() => format!("{} is not a folder; choose another place", folder.display()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("no permission to write in the folder {}; choose another", folder.display())
        }
        _ => format!("{error}; choose another place"),
    };
    Error::file(target, format_args!("cannot be written: {why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::fs;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_appears_only_when_committed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.bin");
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!target.exists());
        file.write_all(b" and half").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"half and half");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_disk_that_fills_up_midway_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.bin");
        fs::write(&target, "old").unwrap();
        let failed = write_atomic(&target, |writer| {
            writer.write_all(&[7; 100_000])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        let message = failed.unwrap_err().to_string();
        assert!(message.contains("a.bin") && message.contains("disk is full"), "{message}");
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_panic_and_a_drop_remove_the_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.bin");
        let panicked = std::panic::catch_unwind(|| {
            write_atomic(&target, |writer| {
                writer.write_all(b"x")?;
                std::panic::resume_unwind(Box::new("the writer fell over"))
            })
        });
        assert!(panicked.is_err());
        drop(AtomicFile::create(&target).unwrap());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn only_old_leftovers_of_ours_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let age = std::time::Duration::from_secs(3600);
        let old = std::time::SystemTime::now() - 2 * age;
        for name in [".kinebrush-old.part", ".kinebrush-new.part", ".kinebrush-a.old", "mine.part"] {
            let file = fs::File::create(at(name)).unwrap();
            if !name.contains("new") {
                file.set_modified(old).unwrap();
            }
        }
        remove_stale(folder.path(), age);
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, [".kinebrush-a.old", ".kinebrush-new.part", "mine.part"]);
        remove_stale(&at("missing"), age);
    }

    #[test]
    fn places_that_cannot_be_written_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = |target: &Path| AtomicFile::create(target).err().expect("must be refused").to_string();
        assert!(message(&folder.path().join("no/a.mp4")).contains("no does not exist"));
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(message(&folder.path().join("file/a.mp4")).contains("file is not a folder"));
        assert!(message(folder.path()).contains("no regular file"));
        assert!(message(Path::new("")).contains("no file name"));
        #[cfg(target_os = "linux")]
        {
            assert!(message(Path::new("/dev/null")).contains("no regular file"), "a device must survive");
            // Not even root can make a file there.
            assert!(message(Path::new("/proc/a.mp4")).contains("cannot be written"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_are_those_of_an_ordinary_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (real, link, plain) = (folder.path().join("real"), folder.path().join("link"), folder.path().join("plain"));
        fs::write(&plain, "").unwrap();
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomic(&link, |writer| writer.write_all(b"new")).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&real), mode(&plain));
    }
}
