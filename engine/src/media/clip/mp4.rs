//! The boxes of MP4 and MOV (ISO/IEC 14496-12, QuickTime) that a film needs: which bytes of the file are the samples of its H.264
//! track, and when each is shown.
//!
//! Invariant: only `moov` is read, at most [`MAX_MOOV`] bytes of it; a list never has more entries than the bytes that it was read
//! from, or than the file has bytes; every sample lies inside the file. Guarded by the tests of this folder (mutated files).

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{STILLS_FPS, cannot_read};
use crate::Error;

/// A film of 20 hours has an index of 64 MB.
const MAX_MOOV: u64 = 128 << 20;
/// A 4K frame without loss is smaller.
const MAX_SAMPLE: u64 = 64 << 20;
/// 38 hours at 60 frames/s.
const MAX_SAMPLES: usize = 1 << 23;

/// Why a file is not read here.
#[derive(Debug)]
pub enum Refusal {
    /// Nobody can.
    Broken(Error),
    /// Others might; says why we do not: "is HEVC video".
    Foreign(String),
}

/// How the picture must be turned to stand upright, clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// Not.
    #[default]
    None,
    /// By a quarter.
    Quarter,
    /// By half.
    Half,
    /// By three quarters.
    ThreeQuarters,
}

/// One coded frame.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length, bytes.
    pub size: u32,
    /// Whether decoding can begin here.
    pub is_key: bool,
    /// When it is shown, in ticks.
    pub shown_at: i64,
}

/// A film's H.264 track.
#[derive(Clone, Debug)]
pub struct Track {
    /// The content of `avcC`.
    pub parameters: Vec<u8>,
    /// How it must be turned.
    pub turn: Turn,
    /// Matrix and range of `colr`, if said.
    pub colour: Option<(u8, bool)>,
    /// In the order of decoding.
    pub samples: Vec<Sample>,
    /// Indices of the samples in the order of being shown.
    pub order: Vec<u32>,
    /// Which part of `order` the edit list shows.
    pub shown: std::ops::Range<usize>,
    /// When each of those is shown, seconds from the first.
    pub times: Vec<f64>,
    /// Length of what is shown, seconds.
    pub seconds: f64,
}

/// Whether a file that begins so is one of boxes.
pub fn is_mp4(head: &[u8]) -> bool {
    matches!(head.get(4..8), Some(b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot"))
}

/// Reads the index of the film in `file`, which has `length` bytes.
pub fn read(path: &Path, file: &mut (impl Read + Seek), length: u64) -> Result<Track, Refusal> {
    let broken = |what: &str| Refusal::Broken(Error::file(path, what));
    let io = |error: std::io::Error| Refusal::Broken(cannot_read(path, &error));
    let moov = find_moov(file, length).map_err(io)?;
    let Some(moov) = moov else {
        return Err(broken("is cut short: its index (moov) is missing; copy the clip again, or record it anew"));
    };
    if moov.end - moov.start > MAX_MOOV {
        return Err(broken("has an index of more than 128 MB; cut the clip into parts"));
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(moov.start)).map_err(io)?;
    file.take(moov.end - moov.start).read_to_end(&mut bytes).map_err(io)?;
    let movie_scale = child(&bytes, b"mvhd").and_then(|mvhd| scale_of(mvhd, 12, 20)).unwrap_or(1000);
    let fragmented = child(&bytes, b"mvex").is_some();
    let films = Boxes(&bytes).filter(|(kind, _)| kind == b"trak").map(|(_, trak)| trak).filter(|trak| {
        let handler = path_to(trak, &[b"mdia", b"hdlr"]);
        handler.is_some_and(|hdlr| hdlr.get(8..12) == Some(b"vide"))
    });
    let mut foreign = None;
    for trak in films {
        match read_track(path, trak, movie_scale, length) {
            Ok(track) if track.times.is_empty() => foreign = Some("has no frames in its index".to_owned()),
            Err(Refusal::Foreign(what)) => foreign = Some(what),
            result => return result,
        }
    }
    Err(match foreign {
        _ if fragmented => Refusal::Foreign("is an MP4 in fragments".to_owned()),
        Some(what) => Refusal::Foreign(what),
        None => broken("has no picture, only sound or data; give a video"),
    })
}

/// Where the content of the top-level box `moov` lies.
fn find_moov(file: &mut (impl Read + Seek), length: u64) -> std::io::Result<Option<std::ops::Range<u64>>> {
    let mut at = 0u64;
    while at + 8 <= length {
        let mut header = [0; 16];
        file.seek(SeekFrom::Start(at))?;
        let count = (length - at).min(16) as usize;
        file.read_exact(&mut header[..count])?;
        let size = u64::from(be32(&header, 0).unwrap_or(0));
        let (head, size) = match size {
            0 => (8, length - at),
            1 if count == 16 => (16, u64::from(be32(&header, 8).unwrap_or(0)) << 32 | u64::from(be32(&header, 12).unwrap_or(0))),
            size => (8, size),
        };
        let Some(end) = at.checked_add(size).filter(|end| size >= head && *end <= length) else { return Ok(None) };
        if &header[4..8] == b"moov" {
            return Ok(Some(at + head..end));
        }
        at = end;
    }
    Ok(None)
}

fn read_track(path: &Path, trak: &[u8], movie_scale: u32, length: u64) -> Result<Track, Refusal> {
    let damaged = |what: &str| Refusal::Broken(Error::file(path, format_args!("is damaged: its index has {what}; copy the clip again")));
    let scale = path_to(trak, &[b"mdia", b"mdhd"]).and_then(|mdhd| scale_of(mdhd, 12, 20)).filter(|scale| *scale > 0);
    let scale = scale.ok_or_else(|| damaged("no clock"))?;
    let table = path_to(trak, &[b"mdia", b"minf", b"stbl"]).ok_or_else(|| damaged("no table of samples"))?;
    let entry = child(table, b"stsd").and_then(|stsd| stsd.get(8..)).and_then(|entries| Boxes(entries).next());
    let (kind, entry) = entry.ok_or_else(|| damaged("no description of its samples"))?;
    if !matches!(&kind, b"avc1" | b"avc3") {
        return Err(Refusal::Foreign(format!("is {} video", codec_name(&kind))));
    }
    let inner = entry.get(78..).unwrap_or_default();
    let parameters = child(inner, b"avcC").ok_or_else(|| damaged("no parameters of H.264"))?.to_vec();
    let colour = child(inner, b"colr").and_then(|colr| match colr.get(..4)? {
        b"nclx" => Some((*colr.get(9)?, colr.get(10)? & 0x80 != 0)),
        b"nclc" => Some((*colr.get(9)?, false)),
        _ => None,
    });
    let samples = read_samples(table, length).map_err(|fault| match fault {
        Fault::Damaged(what) => damaged(what),
        Fault::CutShort { whole, all } => {
            let what = format_args!("is cut short: {whole} of {all} frames are in the file; copy the clip again");
            Refusal::Broken(Error::file(path, what))
        }
        Fault::Foreign(what) => Refusal::Foreign(what.to_owned()),
    })?;
    let mut order: Vec<u32> = (0..samples.len() as u32).collect();
    order.sort_by_key(|i| (samples[*i as usize].shown_at, *i));
    let when = |rank: usize| samples[order[rank] as usize].shown_at;
    let edit = read_edit(trak, movie_scale, scale).map_err(|what| Refusal::Foreign(what.to_owned()))?;
    let shown = match edit {
        None => 0..order.len(),
        Some((from, to)) => {
            let first = order.partition_point(|i| samples[*i as usize].shown_at < from);
            first..order.partition_point(|i| samples[*i as usize].shown_at < to).max(first)
        }
    };
    if shown.is_empty() {
        let times = Vec::new();
        return Ok(Track { parameters, turn: Turn::None, colour, samples, order, shown, times, seconds: 0.0 });
    }
    let start = when(shown.start);
    let seconds_of = |ticks: i64| ticks as f64 / f64::from(scale);
    let times: Vec<f64> = shown.clone().map(|rank| seconds_of(when(rank).saturating_sub(start))).collect();
    // The last frame lasts until the next, until the edit ends, or as long as the mean of the others.
    let last = times[times.len() - 1];
    let mean = if times.len() > 1 { last / (times.len() - 1) as f64 } else { 1.0 / STILLS_FPS };
    let seconds = last + if mean > 0.0 { mean } else { 1.0 / STILLS_FPS };
    let turn = child(trak, b"tkhd").map(turn_of).unwrap_or_default();
    Ok(Track { parameters, turn, colour, samples, order, shown, times, seconds })
}

/// What is wrong with a table of samples.
enum Fault {
    Damaged(&'static str),
    CutShort { whole: usize, all: usize },
    Foreign(&'static str),
}

fn read_samples(table: &[u8], length: u64) -> Result<Vec<Sample>, Fault> {
    let need = |kind: &[u8; 4], what| child(table, kind).ok_or(Fault::Damaged(what));
    let sizes = need(b"stsz", "no sizes of samples")?;
    let (each, count) = (be32(sizes, 4).unwrap_or(0), be32(sizes, 8).unwrap_or(0) as usize);
    let known = if each > 0 { (length / u64::from(each)) as usize } else { sizes.len().saturating_sub(12) / 4 };
    if count > known {
        return Err(if each > 0 { Fault::CutShort { whole: known, all: count } } else { Fault::Damaged("fewer sizes than samples") });
    }
    if count > MAX_SAMPLES {
        return Err(Fault::Damaged("more than 8 million frames"));
    }
    let size_of = |i: usize| if each > 0 { each } else { be32(sizes, 12 + 4 * i).unwrap_or(0) };
    let mut samples = Vec::with_capacity(count);
    let (offsets, wide) = match child(table, b"co64") {
        Some(co64) => (co64, true),
        None => (need(b"stco", "no places of samples")?, false),
    };
    let chunk = |i: usize| match wide {
        true => Some(u64::from(be32(offsets, 8 + 8 * i)?) << 32 | u64::from(be32(offsets, 12 + 8 * i)?)),
        false => be32(offsets, 8 + 4 * i).map(u64::from),
    };
    let runs = need(b"stsc", "no chunks of samples")?;
    let run = |i: usize| Some((be32(runs, 8 + 12 * i)? as usize, be32(runs, 12 + 12 * i)? as usize, be32(runs, 16 + 12 * i)?));
    let (mut at, mut next_chunk) = (0, 0usize);
    while samples.len() < count {
        let (first, per_chunk, description) = run(at).ok_or(Fault::Damaged("fewer chunks than samples"))?;
        if description != 1 {
            return Err(Fault::Foreign("changes its coding on the way"));
        }
        let end = run(at + 1).map_or(usize::MAX, |next| next.0.saturating_sub(1));
        if first != next_chunk + 1 || per_chunk == 0 || end <= next_chunk {
            return Err(Fault::Damaged("chunks in disorder"));
        }
        while next_chunk < end && samples.len() < count {
            let mut offset = chunk(next_chunk).ok_or(Fault::Damaged("fewer chunks than samples"))?;
            for _ in 0..per_chunk.min(count - samples.len()) {
                let size = size_of(samples.len());
                let whole = u64::from(size) <= MAX_SAMPLE && offset.checked_add(u64::from(size)).is_some_and(|end| end <= length);
                if !whole {
                    return Err(Fault::CutShort { whole: samples.len(), all: count });
                }
                samples.push(Sample { offset, size, is_key: false, shown_at: 0 });
                offset += u64::from(size);
            }
            next_chunk += 1;
        }
        at += 1;
    }
    stamp(table, &mut samples)?;
    match child(table, b"stss") {
        None => samples.iter_mut().for_each(|sample| sample.is_key = true),
        Some(stss) => {
            let keys = stss.get(8..).unwrap_or_default().as_chunks::<4>().0;
            for number in keys.iter().map(|bytes| u32::from_be_bytes(*bytes) as usize) {
                if let Some(sample) = number.checked_sub(1).and_then(|i| samples.get_mut(i)) {
                    sample.is_key = true;
                }
            }
        }
    }
    // A frame of no bytes shows the one before for longer.
    samples.retain(|sample| sample.size > 0);
    Ok(samples)
}

/// Gives the samples their times: the clock of decoding, and each one's way from it.
fn stamp(table: &[u8], samples: &mut [Sample]) -> Result<(), Fault> {
    let runs = |kind: &[u8; 4]| Some(child(table, kind)?.get(8..)?.as_chunks::<8>().0);
    // Runs of (how many, what), never unrolled further than there are samples.
    let unrolled = |run: &[u8; 8]| {
        let (count, value) = (be32(run, 0).unwrap_or(0), be32(run, 4).unwrap_or(0));
        std::iter::repeat_n(value, count as usize)
    };
    let steps = runs(b"stts").ok_or(Fault::Damaged("no times of samples"))?;
    let mut steps = steps.iter().flat_map(unrolled);
    let mut ways = runs(b"ctts").unwrap_or_default().iter().flat_map(unrolled);
    let (mut clock, mut step) = (0i64, 0u32);
    for sample in samples {
        // Version 0 has no negative ways by the letter, but files do.
        sample.shown_at = clock + i64::from(ways.next().unwrap_or(0) as i32);
        step = steps.next().unwrap_or(step);
        clock += i64::from(step);
    }
    Ok(())
}

/// The part of the media that is shown, in its ticks: from, and up to. None if all is.
fn read_edit(trak: &[u8], movie_scale: u32, scale: u32) -> Result<Option<(i64, i64)>, &'static str> {
    let Some(elst) = path_to(trak, &[b"edts", b"elst"]) else { return Ok(None) };
    let wide = elst.first() == Some(&1);
    let stride = if wide { 20 } else { 12 };
    let count = be32(elst, 4).unwrap_or(0) as usize;
    let be64 = |at| Some((u64::from(be32(elst, at)?) << 32 | u64::from(be32(elst, at + 4)?)) as i64);
    let edit = |i: usize| match wide {
        true => Some((be64(8 + stride * i)?, be64(16 + stride * i)?)),
        false => Some((i64::from(be32(elst, 8 + stride * i)?), i64::from(be32(elst, 12 + stride * i)? as i32))),
    };
    // An edit of no media only delays: a clip begins with its first frame here.
    let mut edits = (0..count.min(elst.len() / stride)).filter_map(edit).filter(|(_, from)| *from >= 0);
    let Some((duration, from)) = edits.next() else { return Ok(None) };
    if edits.next().is_some() {
        return Err("is put together by an edit list of several parts");
    }
    let ticks = duration as f64 * f64::from(scale) / f64::from(movie_scale.max(1));
    // Of no length: to the end.
    Ok(Some((from, if duration > 0 { from.saturating_add(ticks.ceil() as i64) } else { i64::MAX })))
}

/// The turn of a track header's matrix.
fn turn_of(tkhd: &[u8]) -> Turn {
    let matrix = if tkhd.first() == Some(&1) { 52 } else { 40 };
    let sign = |i: usize| be32(tkhd, matrix + 4 * i).map_or(0, |v| (v as i32).signum());
    match (sign(0), sign(1), sign(3), sign(4)) {
        (0, 1, -1, 0) => Turn::Quarter,
        (-1, 0, 0, -1) => Turn::Half,
        (0, -1, 1, 0) => Turn::ThreeQuarters,
        _ => Turn::None,
    }
}

/// Ticks per second of an `mvhd` or `mdhd`: at these places by version.
fn scale_of(header: &[u8], narrow: usize, wide: usize) -> Option<u32> {
    be32(header, if header.first()? == &1 { wide } else { narrow })
}

/// For people.
fn codec_name(kind: &[u8; 4]) -> String {
    let name = match kind {
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => "HEVC",
        b"vp08" => "VP8",
        b"vp09" => "VP9",
        b"av01" => "AV1",
        b"mp4v" => "MPEG-4 part 2",
        b"jpeg" | b"mjpa" | b"mjpb" => "Motion JPEG",
        [b'a', b'p', ..] => "ProRes",
        b"encv" | b"drmi" => "encrypted",
        _ => return kind.iter().map(|b| if b.is_ascii_alphanumeric() { char::from(*b) } else { '?' }).collect(),
    };
    name.to_owned()
}

/// The boxes that stand one after the other in some bytes: kind and content. Ends at the first that does not fit.
struct Boxes<'a>(&'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let size = be32(self.0, 0)? as usize;
        let kind = self.0.get(4..8)?.try_into().ok()?;
        let end = if size == 0 { self.0.len() } else { size };
        let content = self.0.get(8..end)?;
        self.0 = &self.0[end..];
        Some((kind, content))
    }
}

/// The content of the first box of a kind.
fn child<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    Boxes(bytes).find(|(found, _)| found == kind).map(|(_, content)| content)
}

fn path_to<'a>(bytes: &'a [u8], kinds: &[&[u8; 4]]) -> Option<&'a [u8]> {
    kinds.iter().try_fold(bytes, |bytes, kind| child(bytes, kind))
}

/// The big-endian number at a place.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
