//! Tracking a clip, and reading a path out of it, on threads of their own.
//!
//! Invariant: what was tracked lies in a file that a project can name. Guarded by the tests of this folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use glam::Vec2;
use kinebrush_engine::motion::npz::Tracks;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::Stroke;
use kinebrush_engine::motion::tracker::{TrackOptions, cached_tracks_path, track_clip_cached};
use kinebrush_engine::motion::transfer::{ClipMap, ClipMotion, Transfer, fastest_point, load_tracks, stroke_from_track};
use kinebrush_engine::{Error, Result};

use super::super::document::job::{Job, Wake};
use super::texts;

/// The tracks of a clip, and where they are kept.
#[derive(Debug)]
pub struct Tracked {
    /// px of the clip.
    pub tracks: Arc<Tracks>,
    /// How good each is, 0..1.
    pub quality: Vec<f32>,
    /// The first cut, if there is one.
    pub cut: Option<usize>,
    /// Their file.
    pub file: PathBuf,
}

/// Tracking that goes on.
pub struct Tracking {
    job: Job<Option<Tracked>>,
    frames: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Tracking {
    /// Tracks the clip at `path`. Where nothing can be written beside it, the tracks go into `folder`.
    pub fn start(path: PathBuf, folder: PathBuf, wake: Wake) -> Self {
        let (frames, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped, news) = (frames.clone(), stop.clone(), wake.clone());
        let job = Job::start("kinebrush-track", wake, move || {
            let mut progress = |frame: usize| {
                counted.store(frame, Ordering::Relaxed);
                news();
                !stopped.load(Ordering::Relaxed)
            };
            let found = track_clip_cached(&path, &TrackOptions::default(), &mut progress)?;
            if found.stopped {
                return Ok(None);
            }
            let kept = cached_tracks_path(&path);
            let is_kept = || load_tracks(&kept).is_ok_and(|tracks| *tracks == found.tracks);
            let file = if is_kept() { kept } else { keep(&found.tracks, &path, &folder)? };
            let (quality, cut) = (found.quality, found.cuts.first().copied());
            Ok(Some(Tracked { tracks: load_tracks(&file)?, quality, cut, file }))
        });
        Self { job, frames, stop }
    }

    /// How many frames are tracked.
    pub fn frames(&self) -> usize {
        self.frames.load(Ordering::Relaxed)
    }

    /// Gives up soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The tracks, once; nothing where it was stopped.
    pub fn poll(&self) -> Option<Result<Option<Tracked>>> {
        self.job.poll()
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Writes tracks into a folder of ours, under a name made of the clip's whole path.
fn keep(tracks: &Tracks, clip: &Path, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(|error| Error::file(folder, format_args!("cannot be made ({error}); free some space")))?;
    let path = std::path::absolute(clip).unwrap_or_else(|_| clip.to_owned());
    // FNV-1a: two clips of one name must not share a file.
    let hash = path.to_string_lossy().bytes().fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    let stem = clip.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let file = folder.join(format!("{stem}-{hash:016x}.npz"));
    tracks.save(&file)?;
    Ok(file)
}

/// Where a transfer's tracks go, conditioned as the engine does it.
pub fn landing(tracks: Arc<Tracks>, transfer: Transfer, wake: Wake) -> Job<(Transfer, ClipMotion)> {
    Job::start("kinebrush-landing", wake, move || ClipMotion::new(tracks, &transfer, "transfer").map(|motion| (transfer, motion)))
}

/// The way of a track (the fastest if none is named) as a stroke over `region`, or over a disc where the way begins.
pub fn path_of(
    tracks: Arc<Tracks>,
    point: Option<usize>,
    transfer: Transfer,
    region: Option<Region>,
    picture: (usize, usize),
    wake: Wake,
) -> Job<Stroke> {
    Job::start("kinebrush-hand", wake, move || {
        let point = point.or_else(|| fastest_point(&tracks)).ok_or_else(|| Error::field("clip", texts::NOTHING_MOVES))?;
        let region = region.unwrap_or_else(|| {
            let map = ClipMap::new(&transfer.placing, transfer.clip_size, picture);
            let at = tracks.frames.get(transfer.range.0).and_then(|frame| frame.positions.get(point)).copied();
            let size = Vec2::new(picture.0 as f32, picture.1 as f32);
            let center = map.place(at.unwrap_or_default()).clamp(Vec2::ZERO, size);
            Region::Disc { center: center.into(), radius: 0.1 * size.min_element(), softness: 0.5 }
        });
        stroke_from_track(tracks, point, &Transfer { region, ..transfer }, picture, 1.0)
    })
}
