//! Writes a take as it happens.
//!
//! Invariant: every record is one write, so that a process that is killed loses at most the record in flight; beyond its cap a log keeps
//! motions and numbers of chunks, from which the rest can be made again, and says so once. Guarded by `tests/tests/take.rs`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::record::{Header, Kind, MAGIC, pack_bare, pack_change, pack_chunk, pack_motion, record};
use crate::error::{Error, Result};
use crate::media::atomic::cannot_write;
use crate::motion::project::Project;
use crate::stream::live::log::{Log, MadeChunk};

/// Told what the user should know about a take.
pub type Notice = Box<dyn FnMut(String) + Send>;

/// Changes of a motion between two that are written whole: as many have to be read to know one.
const CHANGES: usize = 64;

/// A take log that is being written.
pub struct TakeWriter {
    path: PathBuf,
    file: File,
    /// Held as long as the take is open: what tells others that it is.
    _mark: OpenMark,
    bytes: u64,
    cap_bytes: u64,
    notice: Option<Notice>,
    /// The motion that was written last, and how many changes since it was written whole.
    motion: Option<(String, usize)>,
}

impl TakeWriter {
    /// Starts the log `path`, which must not be there yet. Of chunks about `cap_bytes` are kept; when they are full, `notice` is told.
    ///
    /// # Errors
    /// Names `path` when it cannot be written.
    pub fn create(path: &Path, header: &Header, cap_bytes: u64, notice: Option<Notice>) -> Result<Self> {
        let failed = |e: std::io::Error| cannot_write(path, &e);
        let mark = OpenMark::set(path)?;
        let file = File::options().append(true).create_new(true).open(path).map_err(failed)?;
        let mut writer = Self { path: path.to_owned(), file, _mark: mark, bytes: 0, cap_bytes, notice, motion: None };
        let text = ron::ser::to_string(header).map_err(|e| Error::file(path, format!("has a header that cannot be written ({e})")))?;
        let mut start = MAGIC.to_vec();
        start.extend(record(Kind::Header, text.as_bytes())?);
        writer.write(&start)?;
        Ok(writer)
    }

    /// The log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| cannot_write(&self.path, &e))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Log for TakeWriter {
    fn motion(&mut self, chunk: u64, project: &Project) -> Result<()> {
        let text = project.to_text()?;
        // A drag that goes on adds a little to a text that grows and grows: written whole each time, an hour would fill a disk.
        let (bytes, changes) = match &self.motion {
            Some((before, changes)) if *changes < CHANGES => {
                (record(Kind::Change, &pack_change(chunk, before.as_bytes(), text.as_bytes())?)?, changes + 1)
            }
            _ => (record(Kind::Motion, &pack_motion(chunk, &text)?)?, 0),
        };
        self.write(&bytes)?;
        self.motion = Some((text, changes));
        Ok(())
    }

    fn chunk(&mut self, chunk: u64, made: &MadeChunk) -> Result<()> {
        if self.bytes < self.cap_bytes {
            let whole = record(Kind::Chunk, &pack_chunk(chunk, made)?)?;
            if self.bytes + whole.len() as u64 <= self.cap_bytes {
                return self.write(&whole);
            }
            // From now on none fits, so that what is kept is one piece.
            self.cap_bytes = 0;
        }
        if let Some(mut notice) = self.notice.take() {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            notice(format!("The take {name} has reached its size limit: it goes on, but to replay the rest it has to be made again"));
        }
        self.write(&record(Kind::Bare, &pack_bare(chunk, made.filling))?)
    }
}

/// A file beside a log that is locked as long as the log is written; the lock ends with the process, however that ends.
pub(super) struct OpenMark {
    path: PathBuf,
    file: Option<File>,
}

impl OpenMark {
    fn path(log: &Path) -> PathBuf {
        log.with_extension("open")
    }

    fn set(log: &Path) -> Result<Self> {
        let path = Self::path(log);
        let failed = |e: std::io::Error| cannot_write(log, &e);
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        file.try_lock().map_err(|_| Error::file(log, "is being written by another window; choose another name"))?;
        Ok(Self { path, file: Some(file) })
    }

    /// Whether somebody writes `log`.
    pub fn is_set(log: &Path) -> bool {
        let held = |file: File| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock));
        File::options().write(true).open(Self::path(log)).is_ok_and(held)
    }

    /// Removes what a process that was killed left.
    pub fn clear(log: &Path) {
        drop(std::fs::remove_file(Self::path(log)));
    }
}

impl Drop for OpenMark {
    fn drop(&mut self) {
        // Some systems do not remove a file that is open.
        self.file = None;
        drop(std::fs::remove_file(&self.path));
    }
}
