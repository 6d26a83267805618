//! The takes of one folder.
//!
//! Invariant: a take that is being written, or that such a one branched off, is never removed; nothing but takes and what lies beside
//! them under the same name is touched. Guarded by `tests/tests/take.rs`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::reader::TakeReader;
use super::record::{Header, ModelId, Parent, VERSION};
use super::writer::{OpenMark, TakeWriter};
use crate::error::{Error, Result};
use crate::media::atomic::cannot_write;
use crate::model::checkpoint::Checkpoint;
use crate::motion::project::Project;
use crate::picture::Picture;
use crate::stream::live::log::{Log, OpenLog};
use crate::stream::render::model_size;

/// How a take's file ends.
const EXTENSION: &str = "kbtake";
/// Frames per second.
const FPS: f64 = 16.0;

/// A folder of takes.
#[derive(Clone, Debug)]
pub struct Takes {
    folder: PathBuf,
}

/// A take in a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct TakeInfo {
    /// Its log.
    pub path: PathBuf,
    /// Frames from the beginning of the video.
    pub frames: usize,
    /// The same in seconds.
    pub seconds: f64,
    /// What it takes on disk, bytes.
    pub bytes: u64,
    /// A picture of it, if one was written beside the log (same name, `.png`).
    pub thumbnail: Option<PathBuf>,
    /// When it was written to last.
    pub modified: SystemTime,
    /// Whether it is being written.
    pub open: bool,
    /// The take it branched off, and its first own frame.
    pub parent: Option<(PathBuf, usize)>,
    /// The picture it shows.
    pub picture: PathBuf,
}

impl Takes {
    /// The takes in `folder`, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All that can be read, newest first. Reads every log: not for a thread that must not wait.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn list(&self) -> Result<Vec<TakeInfo>> {
        let mut takes: Vec<TakeInfo> = self.logs()?.iter().filter_map(|path| info(path)).collect();
        // Names hold the time; equal times of different folders do not meet here.
        takes.sort_by(|a, b| b.path.cmp(&a.path));
        Ok(takes)
    }

    /// Bytes that all takes hold, with what lies beside them.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.logs()?.iter().map(|path| size(path)).sum())
    }

    /// Removes a take and its thumbnail.
    ///
    /// # Errors
    /// A take that is being written, is none, or cannot be removed.
    pub fn delete(&self, path: &Path) -> Result<()> {
        if path.parent() != Some(&self.folder) || path.extension().is_none_or(|e| e != EXTENSION) {
            return Err(Error::file(path, format!("is no take in {}", self.folder.display())));
        }
        if OpenMark::is_set(path) {
            return Err(Error::file(path, "is being made; stop it first"));
        }
        fs::remove_file(path).map_err(|e| Error::file(path, format!("cannot be removed ({e}); check the folder's permissions")))?;
        drop(fs::remove_file(path.with_extension("png")));
        OpenMark::clear(path);
        Ok(())
    }

    /// Removes the oldest takes until the others hold at most `most_bytes`; gives what was removed.
    ///
    /// # Errors
    /// A folder that cannot be read or a take that cannot be removed.
    pub fn prune(&self, most_bytes: u64) -> Result<Vec<PathBuf>> {
        let mut logs = self.logs()?;
        logs.sort();
        let mut bytes: u64 = logs.iter().map(|path| size(path)).sum();
        let mut needed = HashSet::new();
        for path in &logs {
            let mut at = OpenMark::is_set(path).then(|| path.clone());
            while let Some(path) = at.take().filter(|path| !needed.contains(path)) {
                let parent = TakeReader::open(&path).ok().and_then(|reader| reader.header().parent.clone());
                at = parent.map(|parent| self.folder.join(parent.path));
                needed.insert(path);
            }
        }
        let mut removed = Vec::new();
        for path in logs.into_iter().filter(|path| !needed.contains(path)) {
            if bytes <= most_bytes {
                break;
            }
            bytes -= size(&path);
            self.delete(&path)?;
            removed.push(path);
        }
        Ok(removed)
    }

    /// What a worker opens its logs with: each take is a new file here, of at most `cap_bytes`; `notice` is told what the user should
    /// know.
    pub fn open_log(&self, checkpoint: &Checkpoint, cap_bytes: u64, notice: Arc<dyn Fn(String) + Send + Sync>) -> OpenLog {
        let (takes, model, config) = (self.clone(), ModelId::of(checkpoint), checkpoint.dit.config.clone());
        // By number, the seed of the session too: a branch goes on with its parent's.
        let mut opened: HashMap<u64, (PathBuf, u64)> = HashMap::new();
        Box::new(move |take, project: &Project, picture: &Picture, parent| {
            let from = parent.and_then(|(number, frame)| Some((opened.get(&number)?.clone(), frame)));
            let seed = from.as_ref().map_or(project.seed, |((_, seed), _)| *seed);
            if parent.is_some() && from.is_none() {
                return Err(Error::field("take", "branches off one that was not kept, so it is not kept either"));
            }
            let header = Header {
                version: VERSION,
                model: model.clone(),
                seed,
                live_size: (picture.width, picture.height),
                model_size: project.size.unwrap_or_else(|| model_size(picture.width, picture.height, config.token_px())),
                chunk_frames: config.chunk_frames(),
                parent: from.map(|((path, _), frame)| Parent {
                    path: path.file_name().map_or(path.clone(), PathBuf::from),
                    first_chunk: (frame / config.chunk_frames()) as u64,
                }),
            };
            let path = takes.free_name()?;
            let told = notice.clone();
            let writer = TakeWriter::create(&path, &header, cap_bytes, Some(Box::new(move |text| told(text))))?;
            opened.insert(take, (path.clone(), seed));
            Ok((Box::new(writer) as Box<dyn Log>, path))
        })
    }

    /// A name that no take has: names go up with time.
    fn free_name(&self) -> Result<PathBuf> {
        fs::create_dir_all(&self.folder).map_err(|e| cannot_write(&self.folder, &e))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let name = |millis: u128| self.folder.join(format!("take-{millis:015}.{EXTENSION}"));
        Ok((now..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(now)))
    }

    fn logs(&self) -> Result<Vec<PathBuf>> {
        let failed = |e: std::io::Error| Error::file(&self.folder, format!("cannot be read ({e}); check the folder's permissions"));
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect::<Result<Vec<_>>>()?;
        Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == EXTENSION)).collect())
    }
}

/// What a take and its thumbnail hold, bytes.
fn size(path: &Path) -> u64 {
    [path.to_owned(), path.with_extension("png")].iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum()
}

/// Of a take that can be read.
fn info(path: &Path) -> Option<TakeInfo> {
    let mut reader = TakeReader::open(path).ok()?;
    let thumbnail = Some(path.with_extension("png")).filter(|png| png.is_file());
    let header = reader.header().clone();
    let folder = path.parent().unwrap_or(Path::new(""));
    let picture = reader.chunks().checked_sub(1).and_then(|last| reader.motion(last).ok());
    Some(TakeInfo {
        frames: reader.frames(),
        seconds: reader.frames() as f64 / FPS,
        bytes: size(path),
        thumbnail,
        modified: fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH),
        open: OpenMark::is_set(path),
        parent: header.parent.map(|parent| {
            let frame = usize::try_from(parent.first_chunk).unwrap_or(usize::MAX).saturating_mul(header.chunk_frames);
            (folder.join(parent.path), frame)
        }),
        picture: picture.map(|project| project.image_path()).unwrap_or_default(),
        path: path.to_owned(),
    })
}
