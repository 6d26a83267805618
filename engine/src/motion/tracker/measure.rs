//! How the tracker does on a filmed clip, where nobody knows the truth, and how fast it is.
//!
//! Invariant: what counts as background is decided by the first tenth of the clip, so a point that is lost later stays in the count.
//! Guarded by the tests below.

use std::path::Path;
use std::time::Instant;

use glam::{Mat2, Vec2};
use serde::Serialize;

use super::neighbours::{Voices, consensus};
use super::{LucasKanade, PointTracker, TrackedPoint, grid};
use crate::media::clip::{ClipFrame, open_clip};
use crate::picture::Mask;
use crate::{Error, Result};

/// Most bytes of frames that are held to be gone through backwards.
const MAX_BYTES: usize = 1 << 30;
/// Background moves with the majority, this exactly, px.
const WITH_THE_MOST: f32 = 1.5;

/// Points followed through a clip and back again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClipReport {
    /// Frames of the clip.
    pub frames: usize,
    /// Points in the first.
    pub points: usize,
    /// Of those, points that move as most do in the first tenth of the clip.
    pub background: usize,
    /// Share of points that are visible in the last frame.
    pub alive: f64,
    /// The same of the background.
    pub background_alive: f64,
    /// All points that are visible in the last frame, there and back.
    pub there_and_back: Return,
    /// The same of the background.
    pub background_there_and_back: Return,
    /// Frames at which the clip cuts.
    pub cuts: Vec<usize>,
}

/// How near points come to where they began, on the way through a clip and back; whatever is said of them on the way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Return {
    /// Median distance, px.
    pub median_px: f64,
    /// Share that comes back within 1 px.
    pub within_1px: f64,
}

impl Return {
    fn of(mut apart: Vec<f32>) -> Self {
        apart.sort_unstable_by(f32::total_cmp);
        let near = apart.iter().filter(|px| **px <= 1.0).count();
        Self { median_px: apart.get(apart.len() / 2).copied().unwrap_or(f32::INFINITY).into(), within_1px: share(near, apart.len()) }
    }
}

impl std::fmt::Display for Return {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {:.3} px, {:.1} % within 1 px", self.median_px, 100.0 * self.within_1px)
    }
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl std::fmt::Display for ClipReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} frames, {} points, {} of them background; cuts: {:?}", self.frames, self.points, self.background, self.cuts)?;
        writeln!(f, "alive at the end: {:.1} %, of the background {:.1} %", 100.0 * self.alive, 100.0 * self.background_alive)?;
        write!(f, "there and back: background {}; all {}", self.background_there_and_back, self.there_and_back)
    }
}

/// Follows a grid of points, `along` of them along the longer side, through the clip at `path` and from its end back to its start.
///
/// # Errors
/// As [`open_clip`] and [`PointTracker::push`]; a clip too long to be held; a clip of fewer than two frames.
pub fn there_and_back(path: &Path, along: usize) -> Result<ClipReport> {
    let mut source = open_clip(path)?;
    let (mut frames, mut frame) = (Vec::new(), ClipFrame::default());
    while source.next_frame(&mut frame)? {
        frames.push(frame.to_luma());
        if frames.len() * frame.width * frame.height * size_of::<f32>() > MAX_BYTES {
            return Err(Error::file(path, "is too long to be gone through backwards; cut it, or make it smaller"));
        }
    }
    there_and_back_over(&frames, along).ok_or_else(|| Error::file(path, "has fewer than two frames; give a longer clip"))?
}

fn there_and_back_over(frames: &[Mask], along: usize) -> Option<Result<ClipReport>> {
    let (first, _) = frames.first().zip(frames.get(1))?;
    let starts = grid(first.width, first.height, along);
    let follow = || -> Result<ClipReport> {
        let (early, last, cuts) = passed(&mut frames.iter(), &starts, frames.len().div_ceil(10))?;
        let alive: Vec<usize> = (0..starts.len()).filter(|i| last[*i].visible).collect();
        let ends: Vec<Vec2> = alive.iter().map(|i| last[*i].place).collect();
        let (_, back, _) = passed(&mut frames.iter().rev(), &ends, 0)?;
        let apart: Vec<f32> = back.iter().zip(&alive).map(|(back, i)| back.place.distance(starts[*i])).collect();
        let background = with_the_most(&starts, &early);
        let behind = alive.iter().zip(&apart).filter(|(i, _)| background.binary_search(i).is_ok()).map(|(_, px)| *px).collect();
        Ok(ClipReport {
            frames: frames.len(),
            points: starts.len(),
            background: background.len(),
            alive: share(alive.len(), starts.len()),
            background_alive: share(background.iter().filter(|i| last[**i].visible).count(), background.len()),
            there_and_back: Return::of(apart),
            background_there_and_back: Return::of(behind),
            cuts,
        })
    };
    Some(follow())
}

/// The points after `early` frames and after all, and the cuts.
fn passed(
    frames: &mut dyn Iterator<Item = &Mask>,
    starts: &[Vec2],
    early: usize,
) -> Result<(Vec<TrackedPoint>, Vec<TrackedPoint>, Vec<usize>)> {
    let mut tracker = LucasKanade::new();
    tracker.add(starts);
    let mut then = Vec::new();
    for (index, frame) in frames.enumerate() {
        tracker.push(frame)?;
        if index <= early {
            then = tracker.tracked().to_vec();
        }
    }
    Ok((then, tracker.tracked().to_vec(), tracker.cuts().to_vec()))
}

/// The points that the majority's affine motion explains.
fn with_the_most(starts: &[Vec2], now: &[TrackedPoint]) -> Vec<usize> {
    let middle = starts.iter().sum::<Vec2>() / starts.len().max(1) as f32;
    let mut ways: Vec<Vec2> = starts.iter().zip(now).map(|(start, now)| now.place - *start).collect();
    let mut voices = Voices::default();
    starts.iter().zip(now).for_each(|(start, now)| voices.push(*start - middle, now.place, now.quality + 1e-3));
    let half = ways.len() / 2;
    ways.sort_unstable_by(|a, b| a.x.total_cmp(&b.x));
    let x = ways.get(half).map_or(0.0, |way| way.x);
    ways.sort_unstable_by(|a, b| a.y.total_cmp(&b.y));
    let y = ways.get(half).map_or(0.0, |way| way.y);
    let Some(most) = consensus(&voices, middle + Vec2::new(x, y), Mat2::IDENTITY, 1.0) else { return Vec::new() };
    let explained = |i: &usize| (most.place + most.shape * (starts[*i] - middle)).distance(now[*i].place) < WITH_THE_MOST;
    (0..starts.len()).filter(explained).collect()
}

/// Frames per second with 400 points at 640x360, frames already in memory.
///
/// # Errors
/// As [`PointTracker::push`].
pub fn tracking_speed() -> Result<f64> {
    const FRAMES: usize = 60;
    let scene = Mask::from_fn(1024, 600, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let hash = ((x as u32 / 5).wrapping_mul(0x9E37_79B1) ^ (y as u32 / 5).wrapping_mul(0x85EB_CA77)).wrapping_mul(0xC2B2_AE3D) >> 24;
        0.4 + 0.15 * (x * 0.11).sin() * (y * 0.07).cos() + 0.1 * (x * 0.31 + y * 0.23).sin() + 0.0012 * hash as f32
    });
    let seen = |t: usize| {
        let (turn, at) = (Mat2::from_angle(0.002 * t as f32), Vec2::new(200.0 + 1.7 * t as f32, 100.0 + 0.6 * t as f32));
        Mask::from_fn(640, 360, |x, y| {
            let p = at + turn * Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
            scene.bilinear(p.x, p.y)
        })
    };
    let frames: Vec<Mask> = (0..FRAMES).map(seen).collect();
    let points: Vec<Vec2> =
        (0..400).map(|i| Vec2::new((i % 25) as f32 + 0.5, (i / 25) as f32 + 0.5) * Vec2::new(640.0 / 25.0, 360.0 / 16.0)).collect();
    let mut tracker = LucasKanade::new();
    tracker.add(&points);
    tracker.push(&frames[0])?;
    let start = Instant::now();
    for frame in &frames[1..] {
        tracker.push(frame)?;
    }
    Ok((FRAMES - 1) as f64 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pan_comes_back_to_where_it_began() {
        let frames: Vec<Mask> = (0..8)
            .map(|t| {
                Mask::from_fn(96, 72, |x, y| {
                    let (x, y) = (x as f32 + 1.3 * t as f32, y as f32 - 0.4 * t as f32);
                    0.5 + 0.15 * (x * 0.4 + 0.1 * y).sin() + 0.15 * (y * 0.5).cos() + 0.1 * (0.21 * x - 0.3 * y).sin()
                })
            })
            .collect();
        let report = there_and_back_over(&frames, 8).unwrap().unwrap();
        assert!(report.there_and_back.median_px < 0.1 && report.background_there_and_back.median_px < 0.1, "{report:?}");
        assert!(report.alive > 0.8, "{report:?}");
        assert!(report.background > 40, "{report:?}");
        assert!(there_and_back_over(&frames[..1], 8).is_none());
    }
}
