//! How well the tracker follows points whose ways are known: synthetic clips with exact tracks.
//!
//! Invariant: points are counted as a user places them, on a grid, not where tracking is easy; every point-frame that the truth shows
//! counts, whatever the tracker says of it. Guarded by the tests below.

use super::clip::{Clip, ClipSpec, make_clip};
use super::pool::Pool;
use crate::error::{Error, Result};
use crate::media::picture_file::save_png;
use crate::motion::npz::Tracks;
use crate::motion::track_field::TrackFrame;
use crate::motion::tracker::{LucasKanade, PointTracker, grid};
use crate::picture::{Mask, Picture};
use glam::Vec2;
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;

/// Seeds of the evaluation clips: as those of the model's evaluation, never a training run's.
const FIRST_SEED: u64 = 0x00E7_A100_0000;
/// A point this near to another layer's is at a border, px.
const BORDER: f32 = 6.0;

/// What is measured.
#[derive(Clone, Debug)]
pub struct TrackTest {
    /// Number of clips.
    pub clips: usize,
    /// Their width and height, px.
    pub size: (usize, usize),
    /// Frames of each.
    pub frames: usize,
    /// Points along the longer side.
    pub points: usize,
}

/// Shares of point-frames, 0..1.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TrackReport {
    /// Clips that were tracked.
    pub clips: usize,
    /// Visible point-frames (the first frame of each clip left out).
    pub visible: usize,
    /// Of those, within 1 px.
    pub within_1px: f64,
    /// Within 2 px.
    pub within_2px: f64,
    /// Within 4 px.
    pub within_4px: f64,
    /// Median distance, px.
    pub median_px: f64,
    /// Point-frames whose visibility was told rightly.
    pub occlusion_accuracy: f64,
    /// Visible point-frames that were said to be hidden.
    pub missed: f64,
    /// Hidden point-frames.
    pub hidden: usize,
    /// Hidden point-frames that were said to be visible.
    pub invented: f64,
    /// Within 1 px, of the points at a border between layers.
    pub border_within_1px: f64,
    /// Share of visible point-frames at a border.
    pub border: f64,
    /// Within 1 px, of visible point-frames after the point was hidden.
    pub again_within_1px: f64,
    /// Share of visible point-frames after the point was hidden.
    pub again: f64,
    /// Within 1 px, of the best half of visible point-frames by the tracker's own quality.
    pub trusted_within_1px: f64,
}

/// One visible point-frame.
struct Seen {
    off: f32,
    border: bool,
    again: bool,
    quality: f32,
}

#[derive(Default)]
struct Tally {
    seen: Vec<Seen>,
    missed: usize,
    hidden: usize,
    invented: usize,
}

impl TrackTest {
    fn spec(&self, clip: usize) -> ClipSpec {
        let frame_times = (0..self.frames).map(|t| t as f32).collect();
        ClipSpec { width: self.size.0, height: self.size.1, frame_times, seed: FIRST_SEED + clip as u64 }
    }

    /// The clips, tracked; where `export` names a folder, each is also put there for other trackers: `clip_000/frame_000.png`,
    /// `clip_000/truth.npz` (the exact tracks) and `clip_000/ours.npz`.
    ///
    /// # Errors
    /// If a clip cannot be exported, or the test has no clip or no second frame.
    pub fn run(&self, pool: &Pool, export: Option<&Path>) -> Result<TrackReport> {
        if self.clips == 0 || self.frames < 2 {
            return Err(Error::field("clips", "there must be at least one clip of two frames"));
        }
        // One after the other: the tracker uses the threads.
        let mut tallies = Vec::with_capacity(self.clips);
        for batch in (0..self.clips).collect::<Vec<_>>().chunks(rayon::current_num_threads().max(1)) {
            let clips: Vec<Clip> = batch.par_iter().map(|clip| make_clip(pool, &self.spec(*clip))).collect();
            for (clip, index) in clips.iter().zip(batch) {
                tallies.push(self.one(clip, export.map(|folder| folder.join(format!("clip_{index:03}"))).as_deref())?);
            }
        }
        Ok(report(tallies))
    }

    fn one(&self, clip: &Clip, export: Option<&Path>) -> Result<Tally> {
        let points = grid(self.size.0, self.size.1, self.points);
        let truth = truth(clip, &points);
        let mut tracker = LucasKanade::new();
        tracker.add(&points);
        let mut found = Vec::with_capacity(clip.frames.len());
        for frame in &clip.frames {
            tracker.push(&luma(frame))?;
            found.push(tracker.tracked().to_vec());
        }
        if let Some(folder) = export {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::file(folder, format_args!("cannot be made ({error}); choose another")))?;
            for (i, frame) in clip.frames.iter().enumerate() {
                save_png(frame, &folder.join(format!("frame_{i:03}.png")))?;
            }
            let frames = found.iter().map(|frame| TrackFrame {
                positions: frame.iter().map(|point| point.place).collect(),
                visible: frame.iter().map(|point| point.visible).collect(),
            });
            Tracks { points: points.len(), frames: frames.collect() }.save(folder.join("ours.npz"))?;
            truth.save(folder.join("truth.npz"))?;
        }
        let border: Vec<bool> = points.iter().map(|point| at_border(clip, *point)).collect();
        let mut tally = Tally::default();
        let mut was_hidden = vec![false; points.len()];
        for (truth, found) in truth.frames.iter().zip(&found).skip(1) {
            for (i, found) in found.iter().enumerate() {
                if truth.visible[i] {
                    let off = found.place.distance(truth.positions[i]);
                    tally.seen.push(Seen { off, border: border[i], again: was_hidden[i], quality: found.quality });
                    tally.missed += usize::from(!found.visible);
                } else {
                    was_hidden[i] = true;
                    tally.hidden += 1;
                    tally.invented += usize::from(found.visible);
                }
            }
        }
        Ok(tally)
    }
}

/// Where every point of the first frame goes.
fn truth(clip: &Clip, points: &[Vec2]) -> Tracks {
    let frames = (0..clip.frames.len()).map(|frame| {
        let (positions, visible) = points.iter().map(|point| clip.track(*point, frame)).unzip();
        TrackFrame { positions, visible }
    });
    Tracks { points: points.len(), frames: frames.collect() }
}

fn at_border(clip: &Clip, point: Vec2) -> bool {
    let layer = clip.layer_at(point);
    (0..8).any(|i| clip.layer_at(point + Vec2::from_angle(i as f32 * std::f32::consts::FRAC_PI_4) * BORDER) != layer)
}

/// As a clip that was loaded is brought to luma.
fn luma(picture: &Picture) -> Mask {
    Mask::from_fn(picture.width, picture.height, |x, y| {
        let [r, g, b] = picture.at(x, y).map(|c| (c * 255.0).round() / 255.0);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    })
}

fn report(tallies: Vec<Tally>) -> TrackReport {
    let clips = tallies.len();
    let (mut missed, mut hidden, mut invented) = (0, 0, 0);
    let mut seen: Vec<Seen> = Vec::new();
    for tally in tallies {
        (missed, hidden, invented) = (missed + tally.missed, hidden + tally.hidden, invented + tally.invented);
        seen.extend(tally.seen);
    }
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    let within = |px: f32, keep: &dyn Fn(&Seen) -> bool| {
        let (good, all) = seen.iter().filter(|s| keep(s)).fold((0, 0), |(good, all), s| (good + usize::from(s.off <= px), all + 1));
        (share(good, all), share(all, seen.len()))
    };
    let mut off: Vec<f32> = seen.iter().map(|s| s.off).collect();
    off.sort_unstable_by(f32::total_cmp);
    let mut quality: Vec<f32> = seen.iter().map(|s| s.quality).collect();
    quality.sort_unstable_by(f32::total_cmp);
    let trusted = quality.get(quality.len() / 2).copied().unwrap_or(0.0);
    let ((border_within_1px, border), (again_within_1px, again)) = (within(1.0, &|s| s.border), within(1.0, &|s| s.again));
    let all: &dyn Fn(&Seen) -> bool = &|_| true;
    TrackReport {
        clips,
        visible: seen.len(),
        within_1px: within(1.0, all).0,
        within_2px: within(2.0, all).0,
        within_4px: within(4.0, all).0,
        median_px: off.get(off.len() / 2).copied().unwrap_or(0.0).into(),
        occlusion_accuracy: 1.0 - share(missed + invented, seen.len() + hidden),
        missed: share(missed, seen.len()),
        hidden,
        invented: share(invented, hidden),
        border_within_1px,
        border,
        again_within_1px,
        again,
        trusted_within_1px: within(1.0, &|s| s.quality >= trusted).0,
    }
}

impl std::fmt::Display for TrackReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |share: f64| 100.0 * share;
        writeln!(f, "{} clips, {} visible point-frames, {} hidden", self.clips, self.visible, self.hidden)?;
        writeln!(
            f,
            "within 1 px {:.1} %, 2 px {:.1} %, 4 px {:.1} %; median {:.3} px",
            percent(self.within_1px),
            percent(self.within_2px),
            percent(self.within_4px),
            self.median_px
        )?;
        writeln!(
            f,
            "occlusion accuracy {:.1} % (visible said hidden {:.1} %, hidden said visible {:.1} %)",
            percent(self.occlusion_accuracy),
            percent(self.missed),
            percent(self.invented)
        )?;
        write!(
            f,
            "within 1 px at borders {:.1} % (of {:.1} %), after having been hidden {:.1} % (of {:.1} %), in the better half by quality {:.1} %",
            percent(self.border_within_1px),
            percent(self.border),
            percent(self.again_within_1px),
            percent(self.again),
            percent(self.trusted_within_1px)
        )
    }
}
