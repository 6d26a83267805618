//! H.264 in MP4 and MOV, decoded by openh264.
//!
//! Invariant: one sample is read from the file at a time; a frame's time is found by its rank among the presentation times, counted
//! from an IDR frame, after which nothing is shown that was coded before it. Guarded by the tests of this folder.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use openh264::OpenH264API;
use openh264::decoder::{DecodeOptions, DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;

use super::convert::{Colours, rgb_of};
use super::mp4::{self, Refusal, Track, Turn};
use super::sps::Sps;
use super::steady::Timed;
use super::{ClipFrame, ClipInfo, cannot_read, changed_size, check_size};
use crate::{Error, Result};

/// So many frames may be missing at the end: some encoders announce one that they never wrote.
const MISSING: usize = 2;

/// A film that is being decoded.
pub struct Mp4Clip {
    path: PathBuf,
    file: File,
    track: Track,
    info: ClipInfo,
    /// Size as coded, before any turn.
    coded: (usize, usize),
    colours: Colours,
    nal_length: usize,
    /// Parameter sets with start codes.
    header: Vec<u8>,
    decoder: Decoder,
    /// The next sample to read.
    next_sample: usize,
    /// Rank in `track.order` of the next frame that the decoder gives.
    rank: usize,
    /// Ranks before this one are not converted.
    wanted: usize,
    flushed: bool,
    ready: VecDeque<(usize, Vec<u8>)>,
    sample: Vec<u8>,
    packet: Vec<u8>,
}

impl Mp4Clip {
    /// Opens the film at `path` and decodes its first frame: whatever openh264 cannot do is seen here.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let io = |error: std::io::Error| Refusal::Broken(cannot_read(path, &error));
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let track = mp4::read(path, &mut file, length)?;
        let damaged = || Refusal::Broken(Error::file(path, "is damaged: its parameters of H.264 make no sense; copy the clip again"));
        let (nal_length, sets) = parameter_sets(&track.parameters).ok_or_else(damaged)?;
        let first = sets.iter().find(|set| set.first().is_some_and(|byte| byte & 31 == 7));
        let sps = first.ok_or_else(|| Refusal::Foreign("is H.264 without parameters in its index".to_owned()))?;
        let sps = Sps::parse(sps).ok_or_else(damaged)?;
        check_size(path, sps.width, sps.height).map_err(Refusal::Broken)?;
        if !sps.is_plain {
            return Err(Refusal::Foreign("is H.264 of a kind for editing (4:2:2, 10 bits, or half-frames)".to_owned()));
        }
        // What the container says of colours wins, as in players.
        let matrix = track.colour.map(|(matrix, _)| matrix).filter(|matrix| *matrix != 2).or(sps.matrix.filter(|matrix| *matrix != 2));
        if matrix == Some(0) {
            return Err(Refusal::Foreign("is H.264 coded as RGB".to_owned()));
        }
        let full_range = sps.full_range.or(track.colour.map(|(_, full)| full)).unwrap_or(false);
        let colours = Colours::new(matrix, full_range, sps.height);
        let header: Vec<u8> = sets.iter().flat_map(|set| [0, 0, 0, 1].into_iter().chain(set.iter().copied())).collect();
        let coded = (sps.width, sps.height);
        let (width, height) = match track.turn {
            Turn::None | Turn::Half => coded,
            Turn::Quarter | Turn::ThreeQuarters => (coded.1, coded.0),
        };
        let (frames, seconds) = (track.times.len(), track.seconds);
        let format = "H.264".to_owned();
        let info = ClipInfo { width, height, fps: frames as f64 / seconds, frames: Some(frames), seconds: Some(seconds), format };
        let decoder = new_decoder().map_err(|_| Refusal::Foreign("cannot be decoded here".to_owned()))?;
        let wanted = track.shown.start;
        let mut clip = Self {
            path: path.to_owned(),
            file,
            track,
            info,
            coded,
            colours,
            nal_length,
            header,
            decoder,
            next_sample: 0,
            rank: 0,
            wanted,
            flushed: false,
            ready: VecDeque::new(),
            sample: Vec::new(),
            packet: Vec::new(),
        };
        match clip.fill() {
            Ok(true) => Ok(clip),
            Ok(false) => Err(Refusal::Foreign("has no frame that can be decoded here".to_owned())),
            Err(Fault::Decoder) => Err(Refusal::Foreign("is H.264 that cannot be decoded here".to_owned())),
            Err(Fault::Told(error)) => Err(Refusal::Broken(error)),
        }
    }

    /// Decodes until a frame is ready; false at the end.
    fn fill(&mut self) -> Result<bool, Fault> {
        while self.ready.is_empty() {
            if self.next_sample < self.track.samples.len() {
                self.decode_sample()?;
                continue;
            }
            if self.flushed {
                return Ok(false);
            }
            self.flushed = true;
            for frame in self.decoder.flush_remaining().map_err(|_| Fault::Decoder)? {
                Output { track: &self.track, coded: self.coded, colours: &self.colours, path: &self.path, wanted: self.wanted }.take(
                    &frame,
                    &mut self.rank,
                    &mut self.ready,
                )?;
            }
            if self.rank + MISSING < self.track.order.len() {
                let what =
                    format_args!("is damaged: only {} of {} frames can be decoded; copy the clip again", self.rank, self.track.order.len());
                return Err(Fault::Told(Error::file(&self.path, what)));
            }
        }
        Ok(true)
    }

    /// Reads the next sample and gives it to the decoder.
    fn decode_sample(&mut self) -> Result<(), Fault> {
        self.read(self.next_sample).map_err(Fault::Told)?;
        let starts = self.packet.is_empty();
        self.packet.clear();
        if starts {
            self.packet.extend_from_slice(&self.header);
        }
        let seconds = self.seconds_of(self.next_sample);
        self.next_sample += 1;
        for nal in nals(&self.sample, self.nal_length) {
            let nal = nal.ok_or_else(|| Fault::Told(self.damaged(seconds)))?;
            match nal.first().map_or(0, |byte| byte & 31) {
                7 => {
                    // Judged before the decoder sees it: it would allocate whatever the set says.
                    let sps = Sps::parse(nal).ok_or_else(|| Fault::Told(self.damaged(seconds)))?;
                    let now = (sps.width, sps.height);
                    if now != self.coded {
                        return Err(Fault::Told(changed_size(&self.path, seconds, self.coded, now)));
                    }
                }
                1 | 5 | 8 => {}
                // Messages, delimiters and layers of other decoders.
                _ => continue,
            }
            self.packet.extend_from_slice(&[0, 0, 0, 1]);
            self.packet.extend_from_slice(nal);
        }
        if self.packet.is_empty() {
            // Never empty, so that the header is not given again.
            self.packet.extend_from_slice(&[0, 0, 0, 1, 9, 0xF0]);
        }
        let options = DecodeOptions::new().flush_after_decode(Flush::NoFlush);
        let frame = self.decoder.decode_with_options(&self.packet, options).map_err(|_| Fault::Decoder)?;
        if let Some(frame) = frame {
            let output = Output { track: &self.track, coded: self.coded, colours: &self.colours, path: &self.path, wanted: self.wanted };
            output.take(&frame, &mut self.rank, &mut self.ready)?;
        }
        Ok(())
    }

    /// Reads a sample's bytes.
    fn read(&mut self, index: usize) -> Result<()> {
        let sample = self.track.samples[index];
        self.sample.clear();
        let read = self.file.seek(SeekFrom::Start(sample.offset));
        let read = read.and_then(|_| (&mut self.file).take(u64::from(sample.size)).read_to_end(&mut self.sample));
        let count = read.map_err(|error| cannot_read(&self.path, &error))?;
        if count < sample.size as usize {
            return Err(Error::file(&self.path, "became shorter while it was read; open it again"));
        }
        Ok(())
    }

    /// Whether nothing before this sample is needed, nor shown, after it.
    fn is_idr(&mut self, index: usize) -> Result<bool> {
        if index == 0 || !self.track.samples[index].is_key {
            return Ok(index == 0);
        }
        self.read(index)?;
        Ok(nals(&self.sample, self.nal_length).flatten().any(|nal| nal.first().is_some_and(|byte| byte & 31 == 5)))
    }

    /// When a sample is shown, seconds.
    fn seconds_of(&self, sample: usize) -> f64 {
        let rank = self.rank_of(sample).saturating_sub(self.track.shown.start);
        self.track.times[rank.min(self.track.times.len() - 1)]
    }

    fn rank_of(&self, sample: usize) -> usize {
        let key = |i: u32| (self.track.samples[i as usize].shown_at, i);
        self.track.order.partition_point(|i| key(*i) < key(sample as u32))
    }

    fn damaged(&self, seconds: f64) -> Error {
        Error::file(&self.path, format_args!("is damaged at {seconds:.2} s; copy the clip again, or cut it before"))
    }
}

impl Timed for Mp4Clip {
    fn info(&self) -> &ClipInfo {
        &self.info
    }

    fn times(&self) -> &[f64] {
        &self.track.times
    }

    fn decode(&mut self, into: &mut ClipFrame) -> Result<bool> {
        let whole = self.fill().map_err(|fault| match fault {
            Fault::Told(error) => error,
            Fault::Decoder => self.damaged(self.seconds_of(self.next_sample.saturating_sub(1))),
        })?;
        let Some((rank, rgb)) = self.ready.pop_front().filter(|_| whole) else { return Ok(false) };
        if rank >= self.track.shown.end {
            return Ok(false);
        }
        (into.width, into.height, into.rgb) = (self.info.width, self.info.height, rgb);
        Ok(true)
    }

    fn seek(&mut self, frame: usize) -> Result<()> {
        let wanted = (self.track.shown.start + frame).min(self.track.shown.end - 1);
        let mut start = self.track.order[wanted] as usize;
        while !self.is_idr(start)? {
            start -= 1;
        }
        self.wanted = wanted;
        self.ready.retain(|(rank, _)| *rank >= wanted);
        let next = self.ready.front().map_or(self.rank, |(rank, _)| *rank);
        // Going on is shorter than starting anew, unless a key frame lies between.
        if next <= wanted && start < self.next_sample && !self.packet.is_empty() {
            return Ok(());
        }
        self.decoder =
            new_decoder().map_err(|error| Error::file(&self.path, format_args!("cannot be decoded ({error}); open it again")))?;
        (self.next_sample, self.rank, self.flushed) = (start, self.rank_of(start), false);
        self.ready.clear();
        self.packet.clear();
        Ok(())
    }
}

/// What went wrong.
enum Fault {
    /// The decoder refused something.
    Decoder,
    /// Already in words.
    Told(Error),
}

/// Where the decoder's frames go.
struct Output<'a> {
    track: &'a Track,
    coded: (usize, usize),
    colours: &'a Colours,
    path: &'a Path,
    wanted: usize,
}

impl Output<'_> {
    fn take(&self, frame: &DecodedYUV, rank: &mut usize, ready: &mut VecDeque<(usize, Vec<u8>)>) -> Result<(), Fault> {
        let this = *rank;
        *rank += 1;
        if this < self.wanted || this >= self.track.shown.end {
            return Ok(());
        }
        let seconds = self.track.times[this - self.track.shown.start];
        if frame.dimensions() != self.coded {
            return Err(Fault::Told(changed_size(self.path, seconds, self.coded, frame.dimensions())));
        }
        let mut rgb = Vec::new();
        let size = rgb_of(frame, self.colours, self.track.turn, &mut rgb);
        size.ok_or(Fault::Decoder)?;
        ready.push_back((this, rgb));
        Ok(())
    }
}

fn new_decoder() -> Result<Decoder, openh264::Error> {
    Decoder::with_api_config(OpenH264API::from_source(), DecoderConfig::new())
}

/// Length of a NAL unit's length, and the sets of an `avcC` (ISO/IEC 14496-15, 5.3.3.1).
fn parameter_sets(avcc: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let nal_length = usize::from(avcc.get(4)? & 3) + 1;
    let mut sets = Vec::new();
    let mut at = 5;
    for mask in [31, 255] {
        let count = *avcc.get(at)? & mask;
        at += 1;
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes([*avcc.get(at)?, *avcc.get(at + 1)?]));
            sets.push(avcc.get(at + 2..at + 2 + length)?);
            at += 2 + length;
        }
    }
    Some((nal_length, sets))
}

/// The NAL units of a sample; `None` where one goes beyond its end.
fn nals(sample: &[u8], nal_length: usize) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = rest.get(..nal_length).map(|bytes| bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte)));
        let nal = length.and_then(|length| rest.get(nal_length..nal_length + length));
        rest = nal.map_or(&[], |nal| &rest[nal_length + nal.len()..]);
        Some(nal)
    })
}
