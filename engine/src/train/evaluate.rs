//! Held-out evaluation: the model's rollout, the clean-plate guide and a plain warp, against the truth.
//!
//! Invariant: the model runs exactly as in a session, chunk by chunk on its own past; the set of uncovered pixels is the plain warp's,
//! the same for all three. Guarded by the tests of `trainer`.

use crate::condition::Condition;
use crate::error::{Error, Result};
use crate::guide::baseline::plain_warp;
use crate::media::picture_file::save_png;
use crate::model::checkpoint::Checkpoint;
use crate::motion::layer_motion::LayerMotion;
use crate::picture::{Mask, Picture};
use crate::stream::compose::Composer;
use crate::stream::session::{Chunk, Session};
use crate::train::clip::{Clip, ClipSpec, make_clip};
use crate::train::example::guide_and_points;
use crate::train::pool::Pool;
use crate::train::tracking::displacement;
use candle_core::Device;
use glam::Vec2;
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;

/// Seeds of the evaluation clips: their own range, far from any training run's.
const FIRST_SEED: u64 = 0x00E7_A100_0000;
/// Chunks of a clip.
const CHUNKS: usize = 4;
/// Clips in a contact sheet.
const SHEET_CLIPS: usize = 8;

/// Figures of an evaluation; gains are means over clips of differences in PSNR against the plain warp with pull-push fill.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Clips that count.
    pub clips: usize,
    /// Model over plain warp on uncovered pixels, dB.
    pub uncovered_gain_db: f64,
    /// Model over plain warp on the rest, dB.
    pub covered_delta_db: f64,
    /// Clean-plate guide over plain warp on uncovered pixels, dB.
    pub guide_uncovered_gain_db: f64,
    /// Clean-plate guide over plain warp on the rest, dB.
    pub guide_covered_delta_db: f64,
    /// Mean distance between where the truth and the model show a visible track point, px.
    pub epe_px: f64,
    /// Mean gradient on uncovered pixels over the truth's: model.
    pub sharpness: f64,
    /// The same of the clean-plate guide.
    pub guide_sharpness: f64,
    /// The same of the plain warp.
    pub baseline_sharpness: f64,
    /// PSNR of the plain warp on uncovered pixels, dB.
    pub baseline_uncovered_psnr_db: f64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} clips, uncovered {:+.2} dB (guide alone {:+.2}), covered {:+.2} dB, EPE {:.2} px, sharpness {:.2} of the truth's (plain warp {:.2})",
            self.clips,
            self.uncovered_gain_db,
            self.guide_uncovered_gain_db,
            self.covered_delta_db,
            self.epe_px,
            self.sharpness,
            self.baseline_sharpness
        )
    }
}

/// Sums over the frames of a clip for one of the three.
#[derive(Clone, Copy, Default)]
struct Sums {
    uncovered: f64,
    covered: f64,
    gradient: f64,
}

struct Outcome {
    uncovered_px: f64,
    covered_px: f64,
    truth_gradient: f64,
    model: Sums,
    guide: Sums,
    baseline: Sums,
    epe: (f64, f64),
    row: Option<Picture>,
}

/// Evaluates on `clips` clips of `size` from `pool`; the contact sheet (input, plain warp, guide, ours, truth) goes to `sheet`.
pub fn evaluate(
    checkpoint: &Checkpoint,
    device: &Device,
    pool: &Pool,
    clips: usize,
    size: (usize, usize),
    sheet: Option<&Path>,
) -> Result<Report> {
    // In parallel over clips only as far as memory allows; each session's own kernels share the threads.
    let outcomes: Vec<Outcome> = (0..clips)
        .into_par_iter()
        .map(|i| one(checkpoint, device, pool, i, size, sheet.is_some() && i < SHEET_CLIPS))
        .collect::<Result<_>>()?;
    if let Some(path) = sheet {
        let rows: Vec<&Picture> = outcomes.iter().filter_map(|o| o.row.as_ref()).collect();
        if let Some(first) = rows.first() {
            let (width, height) = (first.width, first.height);
            let all = Picture::from_fn(width, height * rows.len(), |x, y| rows[y / height].at(x, y % height));
            save_png(&all, path)?;
        }
    }
    let counted: Vec<&Outcome> = outcomes.iter().filter(|o| o.uncovered_px > 0.002 * (o.uncovered_px + o.covered_px)).collect();
    if counted.is_empty() {
        return Err(Error::field("clips", "none of the clips uncovers anything; evaluate more of them"));
    }
    let n = counted.len() as f64;
    let mean = |f: &dyn Fn(&Outcome) -> f64| counted.iter().map(|o| f(o)).sum::<f64>() / n;
    let gain = |ours: f64, base: f64| 10.0 * (base.max(1e-9) / ours.max(1e-9)).log10();
    let total = |f: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(f).sum::<f64>();
    let truth = total(&|o| o.truth_gradient);
    Ok(Report {
        clips: counted.len(),
        uncovered_gain_db: mean(&|o| gain(o.model.uncovered, o.baseline.uncovered)),
        covered_delta_db: mean(&|o| gain(o.model.covered, o.baseline.covered)),
        guide_uncovered_gain_db: mean(&|o| gain(o.guide.uncovered, o.baseline.uncovered)),
        guide_covered_delta_db: mean(&|o| gain(o.guide.covered, o.baseline.covered)),
        epe_px: total(&|o| o.epe.0) / total(&|o| o.epe.1).max(1.0),
        sharpness: total(&|o| o.model.gradient) / truth,
        guide_sharpness: total(&|o| o.guide.gradient) / truth,
        baseline_sharpness: total(&|o| o.baseline.gradient) / truth,
        baseline_uncovered_psnr_db: mean(&|o| -10.0 * (o.baseline.uncovered / (3.0 * o.uncovered_px)).max(1e-9).log10()),
    })
}

fn one(checkpoint: &Checkpoint, device: &Device, pool: &Pool, index: usize, (width, height): (usize, usize), row: bool) -> Result<Outcome> {
    let config = &checkpoint.dit.config;
    let frames = CHUNKS * config.chunk_frames();
    let seed = FIRST_SEED + index as u64;
    let clip = make_clip(pool, &ClipSpec { width, height, frame_times: (0..frames).map(|t| t as f32).collect(), seed });
    let (_, guide, points) = guide_and_points(&clip, seed);
    let mut session = Session::new(checkpoint, device, seed);
    let mut shown = Vec::with_capacity(frames);
    let (mut composer, mut made, mut chunk_frames) = (Composer::default(), Chunk::default(), Vec::new());
    for chunk in 0..CHUNKS {
        let range = chunk * config.chunk_frames()..(chunk + 1) * config.chunk_frames();
        let condition = Condition::new(config, &checkpoint.codec, &guide[range.clone()], &points[range]);
        session.next_chunk(&condition, &mut made)?;
        composer.compose(config, &checkpoint.codec, &made, &condition, width, height, &mut chunk_frames);
        shown.extend_from_slice(&chunk_frames);
    }
    let mut outcome = Outcome {
        uncovered_px: 0.0,
        covered_px: 0.0,
        truth_gradient: 0.0,
        model: Sums::default(),
        guide: Sums::default(),
        baseline: Sums::default(),
        epe: (0.0, 0.0),
        row: None,
    };
    let mut last_baseline = None;
    for frame in 1..frames {
        let motion = &clip.motions[frame];
        let objects: Vec<LayerMotion> = motion.objects.iter().map(|a| LayerMotion::Affine(*a)).collect();
        let (baseline, covered) = plain_warp(&clip.source, &clip.regions, &LayerMotion::Affine(motion.plate), &objects, width, height);
        let truth = &clip.frames[frame];
        let hole: f64 = covered.data.iter().map(|c| f64::from(*c < 0.5)).sum();
        outcome.uncovered_px += hole;
        outcome.covered_px += (width * height) as f64 - hole;
        outcome.truth_gradient += gradient(truth, &covered);
        for (sums, picture) in
            [(&mut outcome.model, &shown[frame]), (&mut outcome.guide, &guide[frame].rgb), (&mut outcome.baseline, &baseline)]
        {
            add_errors(sums, picture, truth, &covered);
        }
        last_baseline = Some(baseline);
    }
    outcome.epe = end_point_error(&clip, &shown, frames - 1);
    if let (true, Some(baseline)) = (row, last_baseline) {
        let last = frames - 1;
        let parts = [&clip.source, &baseline, &guide[last].rgb, &shown[last], &clip.frames[last]];
        outcome.row = Some(Picture::from_fn(width * parts.len(), height, |x, y| parts[x / width].at(x % width, y)));
    }
    Ok(outcome)
}

fn add_errors(sums: &mut Sums, picture: &Picture, truth: &Picture, covered: &Mask) {
    for ((a, b), covered) in picture.data.iter().zip(&truth.data).zip(&covered.data) {
        let error: f64 = a.iter().zip(b).map(|(a, b)| ((a.clamp(0.0, 1.0) - b) as f64).powi(2)).sum();
        *(if *covered < 0.5 { &mut sums.uncovered } else { &mut sums.covered }) += error;
    }
    sums.gradient += gradient(picture, covered);
}

/// Sum of gradient magnitudes where the plain warp saw nothing.
fn gradient(picture: &Picture, covered: &Mask) -> f64 {
    let mut sum = 0.0;
    for y in 0..picture.height - 1 {
        for x in (0..picture.width - 1).filter(|x| covered.at(*x, y) < 0.5) {
            let (here, right, below) = (picture.at(x, y), picture.at(x + 1, y), picture.at(x, y + 1));
            sum += (0..3).map(|c| ((right[c] - here[c]) as f64).hypot((below[c] - here[c]) as f64)).sum::<f64>();
        }
    }
    sum
}

/// Sum of distances and number of points: where the model shows what the truth shows at each visible track.
fn end_point_error(clip: &Clip, shown: &[Picture], frame: usize) -> (f64, f64) {
    const SPACING: usize = 16;
    let mut sum = (0.0, 0.0);
    for y in (SPACING / 2..clip.source.height).step_by(SPACING) {
        for x in (SPACING / 2..clip.source.width).step_by(SPACING) {
            let (at, visible) = clip.track(Vec2::new(x as f32, y as f32), frame);
            if let Some(moved) = visible.then(|| displacement(&clip.frames[frame], &shown[frame], at)).flatten() {
                sum.0 += moved.length() as f64;
                sum.1 += 1.0;
            }
        }
    }
    sum
}
