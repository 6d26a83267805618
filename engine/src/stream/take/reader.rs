//! Reads a take, also one that is still being written or was cut short.
//!
//! Invariant: what is not whole at the end is left out and counted; nothing is allocated by a number that was not compared with the
//! file; whatever bytes come, there is an answer or an error. Guarded by `tests/tests/take.rs`.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{
    HEAD, Header, Kind, MAGIC, MOST_PAYLOAD, VERSION, checksum, chunk_of, filling_of, unpack_change, unpack_chunk, unpack_motion,
};
use crate::error::{Error, Result};
use crate::motion::project::Project;
use crate::stream::live::compile::Filling;

/// Branches of branches: more is a circle.
const MOST_PARENTS: usize = 64;
/// No picture has longer sides.
const MOST_SIDE: usize = 1 << 16;

/// A take log that is open for reading.
pub struct TakeReader {
    path: PathBuf,
    header: Header,
    file: File,
    /// Own chunks, the first of which is `first_own`.
    chunks: Vec<Entry>,
    /// Motions with the chunk each starts at, ascending.
    motions: Vec<(u64, Entry)>,
    ignored_bytes: u64,
    /// The take it branched off, or why that cannot be read.
    parent: Option<Result<Box<TakeReader>, String>>,
    /// The motion that was read last, and its text, by their place in `motions`.
    newest: Option<(usize, Arc<Project>)>,
    text: Option<(usize, Vec<u8>)>,
    payload: Vec<u8>,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: Kind,
    start: u64,
    len: usize,
}

/// A chunk as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredChunk {
    /// How the guide's holes were filled.
    pub filling: Filling,
    /// Whether the network's output is kept; else it has to be made again.
    pub kept: bool,
}

impl TakeReader {
    /// Opens the log `path` with all its whole records.
    ///
    /// # Errors
    /// Names `path` when it cannot be read, is no take log, or is one of another version.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_at(path, 0)
    }

    fn open_at(path: &Path, depth: usize) -> Result<Self> {
        let failed = |e: std::io::Error| Error::file(path, format!("cannot be read ({e}); check the path"));
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::file(path, "is no file; choose a take"));
        }
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut scan = Scan { source: BufReader::with_capacity(1 << 18, &file), at: 0, size, payload: Vec::new() };
        let no_take = || Error::file(path, "is not a take of this program or has lost its beginning; choose another");
        if scan.bytes(MAGIC.len()).ok().flatten().is_none_or(|magic| magic != MAGIC) {
            return Err(no_take());
        }
        let header = scan.record().map_err(failed)?.filter(|entry| entry.kind == Kind::Header).ok_or_else(no_take)?;
        let text = std::str::from_utf8(&scan.payload[..header.len]).map_err(|_| no_take())?;
        let header: Header = ron::from_str(text).map_err(|e| Error::file(path, format!("has a header that is not understood ({e})")))?;
        check(path, &header)?;
        let first_own = header.parent.as_ref().map_or(0, |parent| parent.first_chunk);
        let (mut chunks, mut motions) = (Vec::<Entry>::new(), Vec::<(u64, Entry)>::new());
        let mut whole = scan.at;
        while let Some(entry) = scan.record().map_err(failed)? {
            let Some(chunk) = chunk_of(&scan.payload) else { break };
            let next = first_own.checked_add(chunks.len() as u64);
            let in_order = match entry.kind {
                Kind::Header => false,
                // The last one told before a chunk counts.
                Kind::Motion => Some(chunk) == next,
                Kind::Change => Some(chunk) == next && !motions.is_empty(),
                Kind::Chunk | Kind::Bare => Some(chunk) == next && filling_of(&scan.payload).is_some() && !motions.is_empty(),
            };
            if !in_order {
                break;
            }
            match entry.kind {
                Kind::Motion | Kind::Change => motions.push((chunk, entry)),
                _ => chunks.push(entry),
            }
            whole = scan.at;
        }
        let parent = header.parent.as_ref().map(|parent| {
            let at = path.parent().unwrap_or(Path::new("")).join(&parent.path);
            if depth == MOST_PARENTS {
                return Err("it branches off itself".to_owned());
            }
            Self::open_at(&at, depth + 1).map(Box::new).map_err(|e| e.to_string())
        });
        let ignored_bytes = size - whole;
        drop(scan);
        Ok(Self {
            path: path.to_owned(),
            header,
            file,
            chunks,
            motions,
            ignored_bytes,
            parent,
            newest: None,
            text: None,
            payload: Vec::new(),
        })
    }

    /// What the take is made with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Chunks from the beginning of the video, those of the parents included.
    pub fn chunks(&self) -> u64 {
        self.first_own() + self.chunks.len() as u64
    }

    /// Frames from the beginning of the video.
    pub fn frames(&self) -> usize {
        usize::try_from(self.chunks()).unwrap_or(usize::MAX).saturating_mul(self.header.chunk_frames)
    }

    /// The first chunk that is not a parent's.
    pub fn first_own(&self) -> u64 {
        self.header.parent.as_ref().map_or(0, |parent| parent.first_chunk)
    }

    /// Bytes at the end that are no whole records, as after a crash.
    pub fn ignored_bytes(&self) -> u64 {
        self.ignored_bytes
    }

    /// What is known of `chunk`.
    ///
    /// # Errors
    /// A chunk that was not made, or lies in a parent that is gone.
    pub fn stored(&mut self, chunk: u64) -> Result<StoredChunk> {
        let (reader, entry) = self.entry(chunk)?;
        reader.read(entry)?;
        let filling = filling_of(&reader.payload).ok_or_else(|| reader.damaged(chunk))?;
        Ok(StoredChunk { filling, kept: entry.kind == Kind::Chunk })
    }

    /// Fills `output` with the network's output of `chunk` (cells, channels); false if it was not kept.
    ///
    /// # Errors
    /// As [`TakeReader::stored`], and a chunk of another shape.
    pub fn output(&mut self, chunk: u64, cells: usize, channels: usize, output: &mut Vec<f32>) -> Result<bool> {
        let (reader, entry) = self.entry(chunk)?;
        if entry.kind == Kind::Bare {
            return Ok(false);
        }
        reader.read(entry)?;
        unpack_chunk(&reader.payload, cells, channels, output).ok_or_else(|| reader.damaged(chunk))?;
        Ok(true)
    }

    /// The motion that made `chunk`; the same one is the same `Arc` when it is asked for again next.
    ///
    /// # Errors
    /// As [`TakeReader::stored`], and a project that is not understood.
    pub fn motion(&mut self, chunk: u64) -> Result<Arc<Project>> {
        let (reader, _) = self.entry(chunk)?;
        let index = reader.motions.partition_point(|(at, _)| *at <= chunk);
        let Some(index) = index.checked_sub(1) else { return Err(reader.damaged(chunk)) };
        if let Some((held, project)) = &reader.newest
            && *held == index
        {
            return Ok(project.clone());
        }
        let wrong = |reader: &Self, what: String| Error::file(&reader.path, format!("the motion of chunk {chunk}: {what}"));
        let text = reader.text(index)?.ok_or_else(|| reader.damaged(chunk))?;
        let project = std::str::from_utf8(&text).map_err(|e| wrong(reader, e.to_string()))?;
        let project = Arc::new(Project::from_text(project, "").map_err(|e| wrong(reader, e.to_string()))?);
        reader.text = Some((index, text));
        reader.newest = Some((index, project.clone()));
        Ok(project)
    }

    /// The text of a motion: from the last one that was written whole, or was read, change by change. None if they do not fit.
    fn text(&mut self, index: usize) -> Result<Option<Vec<u8>>> {
        let whole = (0..=index).rev().find(|i| self.motions[*i].1.kind == Kind::Motion).unwrap_or(0);
        let (mut next, mut text) = match self.text.take() {
            Some((held, text)) if (whole..=index).contains(&held) => (held + 1, text),
            _ => (whole, Vec::new()),
        };
        while next <= index {
            let entry = self.motions[next].1;
            self.read(entry)?;
            if entry.kind == Kind::Motion {
                let Some(unpacked) = unpack_motion(&self.payload) else { return Ok(None) };
                text = unpacked;
            } else if unpack_change(&self.payload, &mut text).is_none() {
                return Ok(None);
            }
            next += 1;
        }
        Ok(Some(text))
    }

    /// The log that holds `chunk`, and where.
    fn entry(&mut self, chunk: u64) -> Result<(&mut Self, Entry)> {
        let mut reader = self;
        loop {
            let first_own = reader.first_own();
            if let Some(own) = chunk.checked_sub(first_own) {
                let entry = usize::try_from(own).ok().and_then(|own| reader.chunks.get(own).copied());
                return match entry {
                    Some(entry) => Ok((reader, entry)),
                    None => Err(Error::file(&reader.path, format!("ends before chunk {chunk}; it has {}", reader.chunks()))),
                };
            }
            match reader.parent.as_mut() {
                Some(Ok(parent)) => reader = parent,
                Some(Err(why)) => {
                    return Err(Error::file(
                        &reader.path,
                        format!("starts in a take that cannot be read any more ({why}); its own part is whole"),
                    ));
                }
                None => return Err(Error::file(&reader.path, format!("has no chunk {chunk}"))),
            }
        }
    }

    /// The payload of a record that was whole when the log was opened.
    fn read(&mut self, entry: Entry) -> Result<()> {
        let read = (|| {
            self.file.seek(SeekFrom::Start(entry.start))?;
            self.payload.clear();
            (&self.file).take(entry.len as u64).read_to_end(&mut self.payload)
        })();
        match read {
            Ok(len) if len == entry.len => Ok(()),
            Ok(_) => Err(Error::file(&self.path, "has become shorter while it was open; open it again")),
            Err(e) => Err(Error::file(&self.path, format!("cannot be read ({e}); check the disk"))),
        }
    }

    fn damaged(&self, chunk: u64) -> Error {
        Error::file(&self.path, format!("chunk {chunk} does not fit the take's model; the file was made by another program"))
    }
}

fn check(path: &Path, header: &Header) -> Result<()> {
    if !(1..=VERSION).contains(&header.version) {
        return Err(Error::file(
            path,
            format!("is version {}, this build reads up to {VERSION}; update Kinebrush to open it", header.version),
        ));
    }
    let sizes = [header.live_size, header.model_size];
    let sane = sizes.iter().all(|(w, h)| (1..=MOST_SIDE).contains(w) && (1..=MOST_SIDE).contains(h));
    if !sane || !(1..=1024).contains(&header.chunk_frames) {
        return Err(Error::file(path, "names sizes that no take has; the file is damaged"));
    }
    Ok(())
}

/// Goes through a log from its start.
struct Scan<R> {
    source: R,
    at: u64,
    size: u64,
    /// The payload of the last record.
    payload: Vec<u8>,
}

impl<R: Read> Scan<R> {
    /// The next `len` bytes, in `payload`; None if there are not as many.
    fn bytes(&mut self, len: usize) -> std::io::Result<Option<&[u8]>> {
        if self.size - self.at < len as u64 {
            return Ok(None);
        }
        self.payload.clear();
        let read = self.source.by_ref().take(len as u64).read_to_end(&mut self.payload)?;
        self.at += read as u64;
        Ok((read == len).then_some(&self.payload))
    }

    /// The next record, its payload in `payload`; None at the first that is not whole.
    fn record(&mut self) -> std::io::Result<Option<Entry>> {
        let Some(&[a, b, c, d, kind, e, f, g, h]) = self.bytes(HEAD)? else { return Ok(None) };
        let (len, sum) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]));
        let start = self.at;
        let Some(known) = Kind::of(kind).filter(|_| len <= MOST_PAYLOAD) else { return Ok(None) };
        let Some(payload) = self.bytes(len)? else { return Ok(None) };
        Ok((checksum(kind, payload) == sum).then_some(Entry { kind: known, start, len }))
    }
}
