//! The session file: what is being worked on, written by a thread of its own within half a second of each change.
//!
//! Invariant: the file is whole at any moment, and after a crash at most a second is lost; of many changes only the newest is written, no
//! more than twice a second; a disk that refuses is tried again while the old file stays. A session belongs to the process that holds
//! its lock; what no process holds was cut off and can be brought back. Guarded by the tests below and `tests/tests/kill.rs`.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use kinebrush_engine::media::atomic::write_atomic;
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::{Error, Result};
use serde::{Deserialize, Serialize};

use super::job::Wake;
use super::{Document, Work};

/// Shortest time between two writes.
const INTERVAL: Duration = Duration::from_millis(500);
/// After a write that failed, when nothing changes meanwhile.
const RETRY: Duration = Duration::from_secs(3);
/// Largest session file that is read, bytes.
const MAX_BYTES: u64 = 128 << 20;

/// What is kept of a document.
#[derive(Clone, Debug)]
pub struct SaveState {
    /// The state.
    pub work: Arc<Work>,
    /// Its project file, if it has one.
    pub document_path: Option<PathBuf>,
    /// A name for people.
    pub title: String,
}

impl SaveState {
    /// Of a document.
    pub fn of(document: &Document) -> Self {
        Self { work: document.work().clone(), document_path: document.path().map(Path::to_owned), title: document.title() }
    }
}

/// What the thread says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutosaveEvent {
    /// The session cannot be written; said once until it can.
    Warning(String),
    /// It can be written again.
    Recovered,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Session {
    version: u32,
    title: String,
    /// Seconds since 1970.
    saved_at: u64,
    document_path: Option<PathBuf>,
    /// Where the project's paths start.
    folder: PathBuf,
    project: Project,
    region: Option<Region>,
}

/// The version of [`Session`] that this build writes.
const VERSION: u32 = 1;

/// What thread and window share.
#[derive(Default)]
struct Slot {
    /// The newest state, until it is written.
    state: Option<SaveState>,
    /// A cut-off session that the next write makes superfluous.
    adopted: Option<Arc<Recovery>>,
    /// Nothing is open any more: the file goes.
    clear: bool,
    end: bool,
    /// Whether something is between slot and disk.
    writing: bool,
}

struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        // No code panics while it holds the lock, and a slot is whole after every assignment.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the session of this process.
pub struct Autosave {
    shared: Arc<Shared>,
    events: Receiver<AutosaveEvent>,
    thread: Option<JoinHandle<()>>,
}

impl Autosave {
    /// Starts the thread; sessions are kept in `folder`, which is made when needed. Every event calls `wake`.
    pub fn new(folder: PathBuf, wake: Wake) -> Self {
        let shared = Arc::new(Shared { slot: Mutex::default(), changed: Condvar::new() });
        let (sender, events) = bounded(16);
        let writer = Writer { shared: shared.clone(), folder, lock: None, last: None, failing: false, sender, wake };
        let thread = std::thread::Builder::new().name("kinebrush-autosave".to_owned()).spawn(move || writer.run()).ok();
        Self { shared, events, thread }
    }

    /// The newest state; an older one that is not written yet is forgotten. Does not wait.
    pub fn put(&self, state: SaveState) {
        let mut slot = self.shared.lock();
        (slot.state, slot.clear) = (Some(state), false);
        self.shared.changed.notify_all();
    }

    /// `recovery` was opened: once its state is in this session's file, its own file goes.
    pub fn adopt(&self, recovery: Arc<Recovery>) {
        self.shared.lock().adopted = Some(recovery);
    }

    /// Nothing is left to be brought back: the artist saved or threw away everything. The file goes; `put` begins anew.
    pub fn clear(&self) {
        let mut slot = self.shared.lock();
        (slot.state, slot.clear) = (None, true);
        self.shared.changed.notify_all();
    }

    /// The next thing the thread says, if any.
    pub fn poll(&self) -> Option<AutosaveEvent> {
        self.events.try_recv().ok()
    }

    /// A clean end: the session is not needed any more.
    pub fn finish(self) {
        self.clear();
    }

    /// Waits until what was put is on the disk or was refused by it: for tests.
    pub fn flush(&self) {
        let mut slot = self.shared.lock();
        while slot.state.is_some() || slot.clear || slot.writing {
            slot = self.shared.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Autosave {
    /// Writes what is still waiting, and leaves the file unless [`Autosave::finish`] or [`Autosave::clear`] said otherwise.
    fn drop(&mut self) {
        self.shared.lock().end = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that broke down has nothing more to write.
            let _ = thread.join();
        }
    }
}

/// The thread.
struct Writer {
    shared: Arc<Shared>,
    folder: PathBuf,
    /// The session's file, and its lock, once there is something to write.
    lock: Option<(PathBuf, File)>,
    last: Option<Instant>,
    failing: bool,
    sender: Sender<AutosaveEvent>,
    wake: Wake,
}

impl Writer {
    fn run(mut self) {
        // What the disk refused, and when to try again.
        let mut refused: Option<(SaveState, Instant)> = None;
        loop {
            let mut slot = self.shared.lock();
            slot.writing = false;
            self.shared.changed.notify_all();
            let due = |last: Option<Instant>| last.map_or(Duration::ZERO, |last| INTERVAL.saturating_sub(last.elapsed()));
            loop {
                if slot.clear || slot.end {
                    break;
                }
                let wait = match (&slot.state, &refused) {
                    (Some(_), _) => due(self.last),
                    (None, Some((_, at))) => at.saturating_duration_since(Instant::now()),
                    (None, None) => {
                        slot = self.shared.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
                        continue;
                    }
                };
                if wait.is_zero() {
                    break;
                }
                slot = self.shared.changed.wait_timeout(slot, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
            let (clear, end) = (std::mem::take(&mut slot.clear), slot.end);
            let state = slot.state.take();
            slot.writing = true;
            drop(slot);
            if clear {
                refused = None;
                self.remove();
            }
            if let Some(state) = state.or_else(|| refused.take().map(|(state, _)| state)) {
                let written = self.write(&state);
                self.last = Some(Instant::now());
                refused = written.is_err().then(|| (state, Instant::now() + RETRY));
                match written {
                    Ok(()) => {
                        if std::mem::take(&mut self.failing) {
                            self.say(AutosaveEvent::Recovered);
                        }
                        if let Some(recovery) = self.shared.lock().adopted.take() {
                            recovery.discard();
                        }
                    }
                    Err(error) if !std::mem::replace(&mut self.failing, true) => self.say(AutosaveEvent::Warning(error.to_string())),
                    Err(_) => {}
                }
            }
            if end {
                let mut slot = self.shared.lock();
                slot.writing = false;
                self.shared.changed.notify_all();
                return;
            }
        }
    }

    fn say(&self, event: AutosaveEvent) {
        // A full queue holds enough to show.
        let _ = self.sender.try_send(event);
        (self.wake)();
    }

    fn write(&mut self, state: &SaveState) -> Result<()> {
        if self.lock.is_none() {
            self.lock = Some(lock_new(&self.folder)?);
        }
        let Some((path, _)) = &self.lock else { return Ok(()) };
        let Work { project, region } = &*state.work;
        let session = Session {
            version: VERSION,
            title: state.title.clone(),
            saved_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            document_path: state.document_path.clone(),
            folder: project.folder().to_owned(),
            project: project.clone(),
            region: region.clone(),
        };
        let text = ron::to_string(&session).map_err(|error| Error::file(path, format!("cannot hold this session ({error})")))?;
        write_atomic(path, |out| out.write_all(text.as_bytes()))
    }

    fn remove(&mut self) {
        if let Some((path, lock)) = self.lock.take() {
            remove_session(&path);
            drop(lock);
        }
    }
}

/// A name for a new session, and its lock, which the system lets go of however the process ends.
fn lock_new(folder: &Path) -> Result<(PathBuf, File)> {
    let refused = |path: &Path, error: std::io::Error| {
        Error::file(
            path,
            format!("cannot be written ({error}), so your work would be lost in a crash: save it, free some space or allow the place"),
        )
    };
    std::fs::create_dir_all(folder).map_err(|error| refused(folder, error))?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    // Never the name of a session that is there, also if two begin in one millisecond.
    let mut number = started;
    let (path, lock) = loop {
        let path = folder.join(format!("session-{}-{number}.ron", std::process::id()));
        let lock_path = path.with_extension("lock");
        match File::create_new(&lock_path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            lock => break (path, lock.map_err(|error| refused(&lock_path, error))?),
        }
    };
    // Where the file system knows no locks, two windows could offer each other's session; that is better than to keep none.
    let _ = lock.try_lock();
    Ok((path, lock))
}

fn remove_session(path: &Path) {
    // What is gone already needs no removing, and what cannot be removed is offered once more, which loses nothing.
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(path.with_extension("lock"));
}

/// A session that was cut off.
#[derive(Debug)]
pub struct Recovery {
    path: PathBuf,
    /// A name for people.
    pub title: String,
    /// When it was written last.
    pub time: SystemTime,
    /// Held so that no other window offers the same session.
    _lock: Option<File>,
}

impl Recovery {
    /// The sessions of processes that are not there any more, newest first. Reads the disk: not for the thread that draws.
    pub fn find(folder: &Path) -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut found: Vec<Self> = entries.filter_map(|entry| Self::cut_off(&entry.ok()?.path())).collect();
        found.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| b.path.cmp(&a.path)));
        found
    }

    fn cut_off(path: &Path) -> Option<Self> {
        let is_session = path.file_name()?.to_str()?.starts_with("session-") && path.extension()? == "ron";
        if !is_session {
            return None;
        }
        let lock = File::options().write(true).open(path.with_extension("lock")).ok();
        if let Some(lock) = &lock
            && let Err(TryLockError::WouldBlock) = lock.try_lock()
        {
            return None;
        }
        let modified = path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
        // One that cannot be read is listed too: trying to restore it says why.
        let title =
            read(path).map_or_else(|_| path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), |session| session.title);
        Some(Self { path: path.to_owned(), title, time: modified, _lock: lock })
    }

    /// The document as it was; nothing of it counts as saved. The session's file stays until [`Recovery::discard`]. Reads the disk.
    ///
    /// # Errors
    /// A session or a picture that cannot be read, by name.
    pub fn restore(&self) -> Result<Document> {
        let session = read(&self.path)?;
        let project = session.project.in_folder(session.folder);
        Document::recovered(Work { project, region: session.region }, session.document_path)
    }

    /// Throws the session away.
    pub fn discard(&self) {
        remove_session(&self.path);
    }
}

fn read(path: &Path) -> Result<Session> {
    let unreadable = |error: std::io::Error| Error::file(path, format!("cannot be read ({error}); the session cannot be restored"));
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if bytes as u64 > MAX_BYTES {
        return Err(Error::file(path, "is too large for a session; it cannot be restored"));
    }
    let session: Session =
        ron::from_str(&text).map_err(|error| Error::file(path, format!("is no session of Kinebrush ({error}); discard it")))?;
    if session.version != VERSION {
        return Err(Error::file(path, format!("was written by another version ({}); restore it with that one", session.version)));
    }
    Ok(session)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use kinebrush_engine::media::picture_file::save_png;
    use kinebrush_engine::picture::Picture;

    fn drain(autosave: &Autosave) -> Vec<AutosaveEvent> {
        std::iter::from_fn(|| autosave.poll()).collect()
    }

    fn state(folder: &Path, seed: u64) -> SaveState {
        let path = folder.join("a.png");
        if !path.exists() {
            save_png(&Picture::filled(20, 20, [0.5; 3]), &path).unwrap();
        }
        let mut project = Project::new(folder, "a.png", 9);
        project.seed = seed;
        let region = Some(Region::Disc { center: (3.0, 4.0), radius: 2.0, softness: 0.5 });
        SaveState { work: Arc::new(Work { project, region }), document_path: None, title: format!("Number {seed}") }
    }

    #[test]
    fn the_newest_state_is_written_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = folder.path().join("sessions");
        let autosave = Autosave::new(sessions.clone(), Arc::new(|| {}));
        for seed in 0..50 {
            autosave.put(state(folder.path(), seed));
        }
        autosave.flush();
        assert!(Recovery::find(&sessions).is_empty(), "this process is alive");
        drop(autosave);
        let found = Recovery::find(&sessions);
        assert_eq!(found.iter().map(|r| r.title.as_str()).collect::<Vec<_>>(), ["Number 49"]);
        assert!(Recovery::find(&sessions).is_empty(), "offered by one window only");
        let document = found[0].restore().unwrap();
        assert_eq!(**document.work(), *state(folder.path(), 49).work);
        assert!(document.is_dirty());
        found[0].discard();
        assert_eq!(std::fs::read_dir(&sessions).unwrap().count(), 0);
    }

    #[test]
    fn a_clean_end_leaves_nothing_and_an_adopted_session_goes_once_written() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = folder.path().join("sessions");
        let first = Autosave::new(sessions.clone(), Arc::new(|| {}));
        first.put(state(folder.path(), 1));
        drop(first);
        let recovery = Arc::new(Recovery::find(&sessions).remove(0));
        let second = Autosave::new(sessions.clone(), Arc::new(|| {}));
        second.adopt(recovery.clone());
        second.flush();
        assert!(recovery.path.exists(), "nothing is written yet");
        second.put(SaveState::of(&recovery.restore().unwrap()));
        second.flush();
        assert!(!recovery.path.exists());
        assert_eq!(std::fs::read_dir(&sessions).unwrap().count(), 2, "the new session and its lock");
        second.finish();
        assert_eq!(std::fs::read_dir(&sessions).unwrap().count(), 0);
    }

    #[test]
    fn a_disk_that_refuses_is_told_once_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = folder.path().join("sessions");
        std::fs::write(&sessions, "a file where the folder should be").unwrap();
        let (woken, wakes) = bounded(16);
        let autosave = Autosave::new(
            sessions.clone(),
            Arc::new(move || {
                let _ = woken.try_send(());
            }),
        );
        for seed in 0..2 {
            autosave.put(state(folder.path(), seed));
            autosave.flush();
        }
        wakes.recv().unwrap();
        let events = drain(&autosave);
        assert!(matches!(&events[..], [AutosaveEvent::Warning(text)] if text.contains("sessions")), "{events:?}");
        std::fs::remove_file(&sessions).unwrap();
        // Nothing is put: the thread tries again by itself.
        wakes.recv().unwrap();
        assert_eq!(drain(&autosave), [AutosaveEvent::Recovered]);
        drop(autosave);
        assert_eq!(Recovery::find(&sessions)[0].title, "Number 1");
    }

    #[test]
    fn sessions_that_cannot_be_read_say_why() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("session-1-1.ron"), "(version: 1, title: ").unwrap();
        std::fs::write(folder.path().join("other.ron"), "()").unwrap();
        let found = Recovery::find(folder.path());
        assert_eq!(found.len(), 1);
        let error = found[0].restore().unwrap_err().to_string();
        assert!(error.contains("session-1-1.ron: is no session"), "{error}");
        let autosave = Autosave::new(folder.path().join("s"), Arc::new(|| {}));
        autosave.put(state(folder.path(), 1));
        drop(autosave);
        std::fs::remove_file(folder.path().join("a.png")).unwrap();
        let error = Recovery::find(&folder.path().join("s"))[0].restore().unwrap_err().to_string();
        assert!(error.contains("a.png: does not exist"), "{error}");
    }
}
