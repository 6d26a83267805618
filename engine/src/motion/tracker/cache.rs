//! Tracks kept beside the clip they were made from.
//!
//! Invariant: what is read back is what tracking the same clip with the same options would give, or nothing: a clip that changed, other
//! options, another version of the tracker or a damaged file are as good as no file. Guarded by the tests below.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::{ClipTracks, TrackOptions, track_clip};
use crate::media::atomic::write_atomic;
use crate::media::clip::open_clip;
use crate::motion::npz::Tracks;
use crate::{Error, Result};

/// Grows when the tracker's results change.
const VERSION: u32 = 1;
/// A card longer than this is not one of ours, bytes.
const MAX_CARD: u64 = 8 << 20;

/// What a file of tracks was made from, and what it does not hold itself.
#[derive(Serialize, Deserialize)]
struct Card {
    version: u32,
    clip_bytes: u64,
    clip_changed_ns: u64,
    options: TrackOptions,
    /// Of the file of tracks.
    crc32: u32,
    quality: Vec<f32>,
    cuts: Vec<usize>,
}

/// Where the tracks of the clip at `path` are kept: `clip.mp4` has `clip.mp4.tracks.npz`, and `clip.mp4.tracks.ron` beside it.
pub fn cached_tracks_path(path: &Path) -> PathBuf {
    suffixed(path, "tracks.npz")
}

/// The tracks of the clip at `path`: those kept beside it where they still fit, else tracked now and kept. A folder that cannot be written
/// to, and a run that was stopped, keep nothing.
///
/// # Errors
/// As [`open_clip`] and [`track_clip`].
pub fn track_clip_cached(path: &Path, options: &TrackOptions, progress: &mut dyn FnMut(usize) -> bool) -> Result<ClipTracks> {
    options.validate()?;
    let (clip_bytes, clip_changed_ns) = stamp(path)?;
    if let Some(kept) = load(path, clip_bytes, clip_changed_ns, options) {
        return Ok(kept);
    }
    let result = track_clip(&mut *open_clip(path)?, options, progress)?;
    if !result.stopped {
        // The clip may lie where nobody may write; the tracks are no worse for it.
        drop(keep(path, clip_bytes, clip_changed_ns, options, &result));
    }
    Ok(result)
}

/// Length and time of change; of a folder of pictures, over all of them.
fn stamp(path: &Path) -> Result<(u64, u64)> {
    let cannot = |error: std::io::Error| Error::file(path, format_args!("cannot be read ({error}); check the path of the clip"));
    let of = |data: &std::fs::Metadata| {
        let changed = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (data.len(), changed.map_or(0, |time| time.as_nanos() as u64))
    };
    // A pattern such as name_%04d.png is no file: its folder speaks for it.
    let folder = if path.exists() { path } else { crate::media::atomic::parent(path) };
    let data = folder.metadata().map_err(cannot)?;
    if !data.is_dir() {
        return Ok(of(&data));
    }
    let ours = |name: &std::ffi::OsStr| name.to_string_lossy().contains(".tracks.") || name.to_string_lossy().starts_with(".kinebrush-");
    let mut sum = (0u64, 0u64);
    for entry in std::fs::read_dir(folder).map_err(cannot)?.flatten().filter(|entry| !ours(&entry.file_name())) {
        if let Ok(data) = entry.metadata() {
            let (bytes, changed) = of(&data);
            sum = (sum.0.wrapping_add(bytes), sum.1.max(changed));
        }
    }
    Ok(sum)
}

fn load(path: &Path, clip_bytes: u64, clip_changed_ns: u64, options: &TrackOptions) -> Option<ClipTracks> {
    let card_path = suffixed(path, "tracks.ron");
    if card_path.metadata().ok()?.len() > MAX_CARD {
        return None;
    }
    let card: Card = ron::from_str(&std::fs::read_to_string(card_path).ok()?).ok()?;
    let fits = card.version == VERSION
        && (card.clip_bytes, card.clip_changed_ns) == (clip_bytes, clip_changed_ns)
        && card.options == *options
        && card.quality.iter().all(|quality| (0.0..=1.0).contains(quality));
    let archive = cached_tracks_path(path);
    if !fits || crc32fast::hash(&std::fs::read(&archive).ok()?) != card.crc32 {
        return None;
    }
    let tracks = Tracks::load(archive).ok()?;
    (tracks.points == card.quality.len()).then_some(ClipTracks { tracks, quality: card.quality, cuts: card.cuts, stopped: false })
}

fn keep(path: &Path, clip_bytes: u64, clip_changed_ns: u64, options: &TrackOptions, result: &ClipTracks) -> Result<()> {
    let archive = cached_tracks_path(path);
    result.tracks.save(&archive)?;
    let bytes = std::fs::read(&archive).map_err(|error| Error::file(&archive, error))?;
    let card = Card {
        version: VERSION,
        clip_bytes,
        clip_changed_ns,
        options: options.clone(),
        crc32: crc32fast::hash(&bytes),
        quality: result.quality.clone(),
        cuts: result.cuts.clone(),
    };
    let card_path = suffixed(path, "tracks.ron");
    let text = ron::to_string(&card).map_err(|error| Error::file(&card_path, error))?;
    write_atomic(&card_path, |out| out.write_all(text.as_bytes()))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}
