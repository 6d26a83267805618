//! Records of a take log: length, kind, checksum, payload.
//!
//! `u32` payload length, `u8` kind, `u32` CRC-32 of kind and payload, payload; little-endian. The first record is the header (RON), later
//! ones are motions (chunk and project as zstd-packed RON), changes of the motion before (the part of the text that is another), and
//! chunks (number, fill, bitmap of active cells, their outputs as zstd-packed f32 in byte planes: exact, and the planes of signs and
//! exponents pack well). Invariant: no length that a file names is trusted before it was compared with what is there. Guarded by the
//! tests below and `tests/tests/take.rs`.

use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::stream::live::compile::Filling;
use crate::stream::live::log::MadeChunk;

/// What every log starts with.
pub(super) const MAGIC: &[u8; 8] = b"KBTAKE\x00\x01";
/// The version of the format that this build writes; it reads the earlier ones. 2: motions may be changes of the one before. 3: holes
/// may be filled after an earlier cut.
pub const VERSION: u32 = 3;
/// Bytes before a payload.
pub(super) const HEAD: usize = 9;
/// No record is larger: a chunk of the largest picture with every cell active is about half of this.
pub(super) const MOST_PAYLOAD: usize = 256 << 20;
/// No project is larger when unpacked, as for project files.
const MOST_TEXT: u64 = 64 << 20;
/// Of zstd: what it packs better beyond, it packs too slowly for a live loop.
const LEVEL: i32 = 1;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Header = 1,
    Motion = 2,
    /// A chunk with its output.
    Chunk = 3,
    /// A chunk that was made after the log was full: number and fill alone.
    Bare = 4,
    /// What of the motion before is another.
    Change = 5,
}

impl Kind {
    pub fn of(byte: u8) -> Option<Self> {
        [Self::Header, Self::Motion, Self::Chunk, Self::Bare, Self::Change].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What a take is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The format's version.
    pub version: u32,
    /// The model.
    pub model: ModelId,
    /// What the session's noise is drawn from.
    pub seed: u64,
    /// Size of the picture that was cut, px.
    pub live_size: (usize, usize),
    /// Size that the model works at, px.
    pub model_size: (usize, usize),
    /// Frames of a chunk.
    pub chunk_frames: usize,
    /// The take it branched off.
    pub parent: Option<Parent>,
}

/// Whose past a take shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// Its log; relative paths start at the folder of the take that says so.
    pub path: PathBuf,
    /// The first chunk that is the branch's own.
    pub first_chunk: u64,
}

/// A checkpoint by name and content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelId {
    /// Its name.
    pub name: String,
    /// CRC-32 of its card (architecture, origin, figures) and of its codec.
    pub hash: u32,
    /// The kernels it ran with: others give slightly other numbers.
    pub kernels: String,
}

impl ModelId {
    /// Of `checkpoint` as it runs here.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let mut hash = crc32fast::Hasher::new();
        hash.update(format!("{:?} {}", checkpoint.card, checkpoint.parameters).as_bytes());
        for numbers in [&checkpoint.codec.mean, &checkpoint.codec.basis, &checkpoint.codec.scale] {
            numbers.iter().for_each(|v| hash.update(&v.to_le_bytes()));
        }
        let kernels = checkpoint.precision.map_or("candle".to_owned(), |precision| format!("{precision:?}").to_lowercase());
        Self { name: checkpoint.card.name.clone(), hash: hash.finalize(), kernels }
    }

    /// Whether outputs of `other` can be shown by this one.
    pub fn decodes(&self, other: &Self) -> bool {
        self.name == other.name && self.hash == other.hash
    }
}

/// A whole record.
pub(super) fn record(kind: Kind, payload: &[u8]) -> Result<Vec<u8>> {
    if payload.len() > MOST_PAYLOAD {
        return Err(Error::field("take", format!("a record of {} bytes does not fit; work on a smaller picture", payload.len())));
    }
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.push(kind as u8);
    bytes.extend(checksum(kind as u8, payload).to_le_bytes());
    bytes.extend(payload);
    Ok(bytes)
}

pub(super) fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&[kind]);
    hash.update(payload);
    hash.finalize()
}

/// The payload of a motion: the chunk it starts at, the project packed.
pub(super) fn pack_motion(chunk: u64, text: &str) -> Result<Vec<u8>> {
    let mut payload = chunk.to_le_bytes().to_vec();
    payload.extend(packed(text.as_bytes())?);
    Ok(payload)
}

/// The chunk that a motion, a chunk or a bare chunk starts with.
pub(super) fn chunk_of(payload: &[u8]) -> Option<u64> {
    payload.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The project's text of a motion.
pub(super) fn unpack_motion(payload: &[u8]) -> Option<Vec<u8>> {
    unpacked(payload.get(8..)?)
}

/// The payload of a change from one text to the next: the chunk it starts at, how many bytes stay at the beginning and at the end, and what
/// comes between them, packed.
pub(super) fn pack_change(chunk: u64, from: &[u8], to: &[u8]) -> Result<Vec<u8>> {
    let alike = |a: &mut dyn Iterator<Item = (&u8, &u8)>| a.take_while(|(a, b)| a == b).count();
    let first = alike(&mut from.iter().zip(to));
    let last = alike(&mut from[first..].iter().rev().zip(to[first..].iter().rev()));
    let mut payload = chunk.to_le_bytes().to_vec();
    payload.extend((first as u32).to_le_bytes());
    payload.extend((last as u32).to_le_bytes());
    payload.extend(packed(&to[first..to.len() - last])?);
    Ok(payload)
}

/// Makes `text` what it is after a change; None if the change does not fit it.
pub(super) fn unpack_change(payload: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let number = |at: usize| Some(u32::from_le_bytes(*payload.get(at..)?.first_chunk()?) as usize);
    let (first, last) = (number(8)?, number(12)?);
    let end = text.len().checked_sub(last).filter(|end| first <= *end)?;
    let between = unpacked(payload.get(16..)?)?;
    text.splice(first..end, between);
    ((text.len() as u64) < MOST_TEXT).then_some(())
}

fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    zstd::Decoder::new(packed).ok()?.take(MOST_TEXT).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The payload of a chunk without its output.
pub(super) fn pack_bare(chunk: u64, filling: Filling) -> Vec<u8> {
    let mut payload = chunk.to_le_bytes().to_vec();
    payload.push(match filling {
        Filling::Smooth => 0,
        Filling::Textured => 1,
        Filling::After(objects) => objects.saturating_add(2),
    });
    payload
}

/// How the holes were filled, of a chunk or a bare chunk.
pub(super) fn filling_of(payload: &[u8]) -> Option<Filling> {
    Some(match *payload.get(8)? {
        0 => Filling::Smooth,
        1 => Filling::Textured,
        more => Filling::After(more - 2),
    })
}

/// The payload of a chunk.
pub(super) fn pack_chunk(chunk: u64, made: &MadeChunk) -> Result<Vec<u8>> {
    let cells = made.active.len();
    let channels = made.output.len().checked_div(cells).unwrap_or(0);
    let mut payload = pack_bare(chunk, made.filling);
    payload.extend((cells as u32).to_le_bytes());
    payload.extend((channels as u32).to_le_bytes());
    payload.extend(made.active.chunks(8).map(|byte| byte.iter().rev().fold(0, |bits, active| bits << 1 | u8::from(*active))));
    let active = made.active.iter().zip(made.output.chunks(channels.max(1))).filter(|(active, _)| **active);
    let values: Vec<f32> = active.flat_map(|(_, output)| output).copied().collect();
    let mut planes = vec![0; 4 * values.len()];
    for (i, value) in values.iter().enumerate() {
        value.to_le_bytes().iter().enumerate().for_each(|(plane, byte)| planes[plane * values.len() + i] = *byte);
    }
    payload.extend(packed(&planes)?);
    Ok(payload)
}

/// Fills `output` (cells, channels) from a chunk's payload, zero where a cell is not active; None if it does not hold just that.
pub(super) fn unpack_chunk(payload: &[u8], cells: usize, channels: usize, output: &mut Vec<f32>) -> Option<()> {
    let number = |at: usize| Some(u32::from_le_bytes(*payload.get(at..)?.first_chunk()?) as usize);
    if number(9)? != cells || number(13)? != channels {
        return None;
    }
    let bitmap = payload.get(17..17 + cells.div_ceil(8))?;
    let is_active = |cell: usize| bitmap[cell / 8] >> (cell % 8) & 1 == 1;
    let count = (0..cells).filter(|cell| is_active(*cell)).count() * channels;
    let mut planes = Vec::with_capacity(4 * count);
    let decoder = zstd::Decoder::new(&payload[17 + bitmap.len()..]).ok()?;
    decoder.take(4 * count as u64 + 1).read_to_end(&mut planes).ok()?;
    if planes.len() != 4 * count {
        return None;
    }
    output.clear();
    output.resize(cells * channels, 0.0);
    let mut at = 0;
    for (cell, output) in output.chunks_mut(channels.max(1)).enumerate().filter(|(cell, _)| is_active(*cell)) {
        debug_assert!(is_active(cell));
        for value in output {
            *value = f32::from_le_bytes([0, 1, 2, 3].map(|plane| planes[plane * count + at]));
            at += 1;
        }
    }
    output.iter().all(|v| v.is_finite()).then_some(())
}

fn packed(bytes: &[u8]) -> Result<Vec<u8>> {
    zstd::encode_all(bytes, LEVEL).map_err(|e| Error::field("take", format!("cannot be packed ({e}); free some memory")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_change_leads_from_text_to_text_and_does_not_fit_another() {
        let texts: [&[u8]; 6] = [b"", b"path:[(0,1)]", b"path:[(0,1),(2,3)]", b"path:[(0,1),(2,3)]", b"(2,3)]", b"other"];
        for from in texts {
            for to in texts {
                let payload = pack_change(9, from, to).unwrap();
                let mut text = from.to_vec();
                assert_eq!((chunk_of(&payload), unpack_change(&payload, &mut text)), (Some(9), Some(())));
                assert_eq!(text, to);
                for end in 0..payload.len() {
                    assert!(unpack_change(&payload[..end], &mut from.to_vec()).is_none(), "{end}");
                }
            }
        }
        let payload = pack_change(0, b"a long text", b"a longer text").unwrap();
        assert!(unpack_change(&payload, &mut b"short".to_vec()).is_none());
    }

    #[test]
    fn a_chunk_comes_back_bit_for_bit_and_no_other_shape_is_read() {
        let (cells, channels) = (21, 5);
        let active: Vec<bool> = (0..cells).map(|i| i % 3 == 1 || i > 17).collect();
        let output: Vec<f32> = (0..cells * channels).map(|i| (i as f32 * 0.37).sin() * 10f32.powi(i as i32 % 60 - 30)).collect();
        for filling in [Filling::Smooth, Filling::Textured, Filling::After(0), Filling::After(253)] {
            let bare = pack_bare(7, filling);
            assert_eq!((chunk_of(&bare), filling_of(&bare)), (Some(7), Some(filling)));
        }
        let payload = pack_chunk(7, &MadeChunk { active: &active, output: &output, filling: Filling::After(3) }).unwrap();
        assert_eq!((chunk_of(&payload), filling_of(&payload)), (Some(7), Some(Filling::After(3))));
        let mut back = Vec::new();
        unpack_chunk(&payload, cells, channels, &mut back).unwrap();
        for (i, (a, b)) in output.iter().zip(&back).enumerate() {
            assert_eq!(if active[i / channels] { a.to_bits() } else { 0 }, b.to_bits());
        }
        for (cells, channels) in [(cells + 1, channels), (cells, channels + 1), (0, 0), (channels, cells)] {
            assert!(unpack_chunk(&payload, cells, channels, &mut back).is_none());
        }
        for end in 0..payload.len() {
            assert!(unpack_chunk(&payload[..end], cells, channels, &mut back).is_none(), "{end}");
        }
    }
}
