//! Drift: what happens to a video that goes on and on. A held-out clip runs to its end and back, again and again, so that every frame's
//! truth is known and every cycle should look like the first.
//!
//! Invariant: the same frames are compared in an early cycle and in the last, so a difference is drift and nothing else. Guarded by the
//! test below.

use crate::condition::{Condition, FramePoints};
use crate::error::{Error, Result};
use crate::guide::warp::GuideFrame;
use crate::model::checkpoint::Checkpoint;
use crate::motion::track_field::PointState;
use crate::picture::{Mask, Picture};
use crate::stream::compose::Composer;
use crate::stream::session::{Chunk, Session};
use crate::train::clip::{ClipSpec, make_clip};
use crate::train::evaluate::FIRST_SEED;
use crate::train::film::guide_and_points;
use crate::train::pool::Pool;
use candle_core::Device;
use serde::Serialize;

/// Frames from the clip's beginning to its end; twice as many are a cycle.
const WAY: usize = 16;
/// Seeds that are tried to find clips whose background is pinned.
const TRIES: u64 = 400;

/// An early cycle against the last, means over the clips.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Clips.
    pub clips: usize,
    /// Frames of each.
    pub frames: usize,
    /// First frame of the early cycle and of the last.
    pub cycles: (usize, usize),
    /// PSNR of what is pinned and was seen, dB: early, last.
    pub pinned_psnr_db: (f64, f64),
    /// PSNR of what the source did not show, dB.
    pub uncovered_psnr_db: (f64, f64),
    /// Mean gradient of what the source did not show, of the truth's.
    pub sharpness: (f64, f64),
    /// Largest change of a colour's mean over what the source did not show, in 0..255.
    pub colour_shift: f64,
    /// The same over whole frames.
    pub frame_colour_shift: f64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { clips, frames, cycles, pinned_psnr_db: pinned, uncovered_psnr_db: uncovered, sharpness, .. } = self;
        writeln!(f, "{clips} clips, {frames} frames; the cycle from frame {} against that from frame {}", cycles.0, cycles.1)?;
        writeln!(f, "pinned     {:.2} -> {:.2} dB ({:+.3})", pinned.0, pinned.1, pinned.1 - pinned.0)?;
        writeln!(f, "uncovered  {:.2} -> {:.2} dB ({:+.3})", uncovered.0, uncovered.1, uncovered.1 - uncovered.0)?;
        writeln!(f, "sharpness of what was uncovered, of the truth's: {:.3} -> {:.3}", sharpness.0, sharpness.1)?;
        write!(f, "colour shift of what was uncovered {:.3} of 255, of whole frames {:.4}", self.colour_shift, self.frame_colour_shift)
    }
}

/// Sums over the frames of a cycle.
#[derive(Clone, Copy, Default)]
struct Cycle {
    pinned: (f64, f64),
    uncovered: (f64, f64),
    colour: [f64; 3],
    frame_colour: [f64; 3],
    frame_px: f64,
    gradient: f64,
    truth_gradient: f64,
}

impl Cycle {
    fn add(&mut self, shown: &Picture, truth: &Picture, guide: &GuideFrame) {
        let seen = |i: usize| guide.coverage.data[i] >= 0.5;
        for (i, (a, b)) in shown.data.iter().zip(&truth.data).enumerate() {
            let error: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a.clamp(0.0, 1.0) - b).powi(2)).sum::<f64>() / 3.0;
            self.frame_px += 1.0;
            (0..3).for_each(|c| self.frame_colour[c] += f64::from(a[c]));
            match (seen(i), guide.owner[i]) {
                (true, 0) => self.pinned = (self.pinned.0 + error, self.pinned.1 + 1.0),
                (true, _) => {}
                (false, _) => {
                    self.uncovered = (self.uncovered.0 + error, self.uncovered.1 + 1.0);
                    (0..3).for_each(|c| self.colour[c] += f64::from(a[c]));
                }
            }
        }
        self.gradient += gradient(shown, &guide.coverage);
        self.truth_gradient += gradient(truth, &guide.coverage);
    }

    fn mean_colour(&self) -> [f64; 3] {
        self.colour.map(|sum| sum / self.uncovered.1.max(1.0))
    }
}

/// Sum of steps along rows where nothing was seen.
fn gradient(picture: &Picture, coverage: &Mask) -> f64 {
    let mut sum = 0.0;
    for y in 0..picture.height {
        for x in (1..picture.width).filter(|x| coverage.at(*x, y).max(coverage.at(x - 1, y)) < 0.5) {
            sum += (0..3).map(|c| f64::from((picture.at(x, y)[c] - picture.at(x - 1, y)[c]).abs())).sum::<f64>();
        }
    }
    sum
}

fn psnr((error, px): (f64, f64)) -> f64 {
    -10.0 * (error / px.max(1.0)).max(1e-9).log10()
}

/// Runs `clips` clips of `size` from `pool` for at least `frames` frames and compares their second cycle with the last.
///
/// # Errors
/// Fewer than three cycles, or too few pictures for a clip with a pinned background.
pub fn drift(checkpoint: &Checkpoint, device: &Device, pool: &Pool, clips: usize, size: (usize, usize), frames: usize) -> Result<Report> {
    let config = &checkpoint.dit.config;
    let chunk = config.chunk_frames();
    let (cycle, cycles) = (2 * WAY, frames.div_ceil(2 * WAY));
    if cycles < 3 || !cycle.is_multiple_of(chunk) {
        return Err(Error::field("frames", format!("must be at least {}, in chunks that divide {cycle} frames", 3 * cycle)));
    }
    let mut report = Report { frames: cycles * cycle, cycles: (cycle, (cycles - 1) * cycle), ..Report::default() };
    let mut seeds = FIRST_SEED..FIRST_SEED + TRIES;
    while report.clips < clips {
        let seed = seeds.next().ok_or_else(|| Error::field("clips", "too few of them have a pinned background; measure fewer"))?;
        let times = (0..WAY).map(|t| t as f32).collect();
        let clip = make_clip(pool, &ClipSpec { width: size.0, height: size.1, frame_times: times, seed });
        if clip.states.first() != Some(&PointState::Pinned) {
            continue;
        }
        let (_, guide, points) = guide_and_points(&clip, seed);
        if guide.iter().all(|frame| frame.coverage.data.iter().all(|seen| *seen >= 0.5)) {
            continue;
        }
        // There and back: 0, 1, .. 15, 15, .. 1, 0.
        let at = |frame: usize| {
            let t = frame % cycle;
            if t < WAY { t } else { cycle - 1 - t }
        };
        let mut session = Session::new(checkpoint, device, seed);
        let (mut composer, mut made, mut shown) = (Composer::default(), Chunk::default(), Vec::new());
        let (mut early, mut last) = (Cycle::default(), Cycle::default());
        for first in (0..report.frames).step_by(chunk) {
            let which: Vec<usize> = (first..first + chunk).map(at).collect();
            let drawn: Vec<GuideFrame> = which.iter().map(|t| guide[*t].clone()).collect();
            let tracks: Vec<FramePoints> = which.iter().map(|t| points[*t].clone()).collect();
            let condition = Condition::new(config, &checkpoint.codec, &drawn, &tracks);
            session.next_chunk(&condition, &mut made)?;
            let sums = match first / cycle {
                1 => &mut early,
                n if n + 1 == cycles => &mut last,
                _ => continue,
            };
            composer.compose(config, &checkpoint.codec, &made, &condition, size.0, size.1, &mut shown);
            for ((shown, t), guide) in shown.iter().zip(&which).zip(&drawn) {
                sums.add(shown, &clip.frames[*t], guide);
            }
        }
        report.take(&early, &last);
    }
    report.mean();
    Ok(report)
}

impl Report {
    fn take(&mut self, early: &Cycle, last: &Cycle) {
        self.clips += 1;
        let both = |to: &mut (f64, f64), of: &dyn Fn(&Cycle) -> f64| (to.0, to.1) = (to.0 + of(early), to.1 + of(last));
        both(&mut self.pinned_psnr_db, &|c| psnr(c.pinned));
        both(&mut self.uncovered_psnr_db, &|c| psnr(c.uncovered));
        both(&mut self.sharpness, &|c| c.gradient / c.truth_gradient.max(1e-9));
        let most = |a: [f64; 3], b: [f64; 3]| (0..3).map(|c| 255.0 * (a[c] - b[c]).abs()).fold(0.0, f64::max);
        self.colour_shift += most(early.mean_colour(), last.mean_colour());
        let whole = |c: &Cycle| c.frame_colour.map(|sum| sum / c.frame_px.max(1.0));
        self.frame_colour_shift += most(whole(early), whole(last));
    }

    fn mean(&mut self) {
        let n = self.clips.max(1) as f64;
        for pair in [&mut self.pinned_psnr_db, &mut self.uncovered_psnr_db, &mut self.sharpness] {
            *pair = (pair.0 / n, pair.1 / n);
        }
        self.colour_shift /= n;
        self.frame_colour_shift /= n;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::pool::tests::folders;

    #[test]
    fn the_guide_alone_does_not_drift() {
        let (_root, photos, cutouts) = folders(12, 12);
        let (_, held_out) = Pool::open_both(&[photos], &[cutouts], 1 << 28).unwrap();
        let mut checkpoint = Checkpoint::sketch(&Device::Cpu).unwrap();
        checkpoint.dit.config.correction = 0.0;
        let report = drift(&checkpoint, &Device::Cpu, &held_out, 1, (64, 64), 96).unwrap();
        assert_eq!((report.clips, report.frames, report.cycles), (1, 96, (32, 64)));
        assert!(report.pinned_psnr_db.0 == report.pinned_psnr_db.1 && report.pinned_psnr_db.0 > 15.0, "{report}");
        assert!(report.uncovered_psnr_db.0 == report.uncovered_psnr_db.1 && report.colour_shift == 0.0, "{report}");
        assert!(drift(&checkpoint, &Device::Cpu, &held_out, 1, (64, 64), 64).is_err());
    }
}
