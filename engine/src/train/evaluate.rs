//! Held-out evaluation: the model's rollout, the clean-plate guide and a plain warp, against the truth.
//!
//! Invariant: the model runs exactly as in a session, chunk by chunk on its own past; the set of uncovered pixels is the plain warp's,
//! the same for all three. Guarded by the tests below and of `trainer`.

use crate::condition::{Condition, FramePoints};
use crate::error::{Error, Result};
use crate::guide::baseline::plain_warp;
use crate::guide::warp::GuideFrame;
use crate::media::picture_file::save_png;
use crate::model::checkpoint::Checkpoint;
use crate::motion::layer_motion::LayerMotion;
use crate::picture::{Mask, Picture};
use crate::stream::compose::Composer;
use crate::stream::session::{Chunk, Session};
use crate::train::clip::{Clip, ClipSpec, make_clip};
use crate::train::film::{guide_and_points, guide_of};
use crate::train::pool::Pool;
use crate::train::tracking::displacement;
use candle_core::Device;
use glam::Vec2;
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;

/// Seeds of the evaluation clips: their own range, far from any training run's.
pub(super) const FIRST_SEED: u64 = 0x00E7_A100_0000;
/// Clips that figures are given of; whoever chooses between models or settings uses those behind them.
pub const PUBLISHED: usize = 64;
/// Frames of a clip, unless more are asked for.
pub const FRAMES: usize = 16;
/// A region's border is this wide, px to either side.
const BORDER_PX: usize = 2;
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
    /// Clean-plate guide, without any network, over plain warp on uncovered pixels, dB.
    pub guide_uncovered_gain_db: f64,
    /// Clean-plate guide, without any network, over plain warp on the rest, dB.
    pub guide_covered_delta_db: f64,
    /// The same guide with mattes of the matting network, which is what the model is given: on uncovered pixels, dB.
    pub matted_uncovered_gain_db: f64,
    /// The same guide with mattes of the matting network: on the rest, dB.
    pub matted_covered_delta_db: f64,
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
    /// How much stronger gradients across the borders of tokens are than others, on uncovered pixels: the model's over the truth's.
    pub blockiness: f64,
    /// Mean error of the gradient along the borders of regions and holes, in 0..1: model.
    pub border_error: f64,
    /// The same of the clean-plate guide.
    pub guide_border_error: f64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} clips, uncovered {:+.2} dB (guide alone {:+.2}, matted {:+.2}), covered {:+.2} dB (guide {:+.2}, matted {:+.2}), EPE {:.2} px, sharpness {:.2} of the truth's \
             (guide {:.2}, plain warp {:.2}), blockiness {:.3} of the truth's, border error {:.4} (guide {:.4})",
            self.clips,
            self.uncovered_gain_db,
            self.guide_uncovered_gain_db,
            self.matted_uncovered_gain_db,
            self.covered_delta_db,
            self.guide_covered_delta_db,
            self.matted_covered_delta_db,
            self.epe_px,
            self.sharpness,
            self.guide_sharpness,
            self.baseline_sharpness,
            self.blockiness,
            self.border_error,
            self.guide_border_error
        )
    }
}

/// Sums over the frames of a clip for one of those compared.
#[derive(Clone, Copy, Default)]
struct Sums {
    uncovered: f64,
    covered: f64,
    gradient: f64,
    /// Gradients across the borders of tokens, and others: sum and number.
    across: [(f64, f64); 2],
    border: f64,
}

#[derive(Default)]
struct Outcome {
    uncovered_px: f64,
    covered_px: f64,
    border_px: f64,
    truth: Sums,
    model: Sums,
    guide: Sums,
    matted: Sums,
    baseline: Sums,
    epe: (f64, f64),
    row: Option<Picture>,
}

/// Which held-out clips to evaluate on.
#[derive(Clone, Copy, Debug)]
pub struct Clips<'a> {
    /// Number of the first.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Width and height, px.
    pub size: (usize, usize),
    /// Frames of each; whole chunks of what is evaluated.
    pub frames: usize,
    /// Where to put a contact sheet: input, plain warp, guide, ours, truth.
    pub sheet: Option<&'a Path>,
}

/// What makes the frames of a clip: from its guide, its track points and a seed.
pub type Film<'a> = dyn Fn(&[GuideFrame], &[FramePoints], u64) -> Result<Vec<Picture>> + Sync + 'a;

/// The frames that a session of `checkpoint` makes, chunk by chunk.
pub fn filmed(checkpoint: &Checkpoint, device: &Device, guide: &[GuideFrame], points: &[FramePoints], seed: u64) -> Result<Vec<Picture>> {
    let config = &checkpoint.dit.config;
    let (width, height) = guide.first().map_or((0, 0), |frame| (frame.rgb.width, frame.rgb.height));
    let mut session = Session::new(checkpoint, device, seed);
    let mut shown = Vec::with_capacity(guide.len());
    let (mut composer, mut made, mut frames) = (Composer::default(), Chunk::default(), Vec::new());
    for (guide, points) in guide.chunks_exact(config.chunk_frames()).zip(points.chunks_exact(config.chunk_frames())) {
        let condition = Condition::new(config, &checkpoint.codec, guide, points);
        session.next_chunk(&condition, &mut made)?;
        composer.compose(config, &checkpoint.codec, &made, &condition, width, height, &mut frames);
        shown.extend_from_slice(&frames);
    }
    Ok(shown)
}

/// Evaluates sessions of `checkpoint` on clips from `pool`.
pub fn evaluate(checkpoint: &Checkpoint, device: &Device, pool: &Pool, clips: Clips) -> Result<Report> {
    let film = |guide: &[GuideFrame], points: &[FramePoints], seed| filmed(checkpoint, device, guide, points, seed);
    evaluate_film(checkpoint.dit.config.token_px(), pool, clips, &film)
}

/// As [`evaluate`], of whatever makes frames from tokens of so many px.
pub fn evaluate_film(token_px: usize, pool: &Pool, clips: Clips, film: &Film) -> Result<Report> {
    // In parallel over clips only as far as memory allows; each session's own kernels share the threads.
    let outcomes: Vec<Outcome> = (0..clips.count).into_par_iter().map(|i| one(token_px, pool, i, clips, film)).collect::<Result<_>>()?;
    if let Some(path) = clips.sheet {
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
    let truth = total(&|o| o.truth.gradient);
    let blocky = |of: &dyn Fn(&Outcome) -> Sums| {
        let mean = |part: usize| total(&|o| of(o).across[part].0) / total(&|o| of(o).across[part].1).max(1.0);
        mean(0) / mean(1).max(1e-9)
    };
    let border_px = total(&|o| o.border_px).max(1.0);
    Ok(Report {
        clips: counted.len(),
        uncovered_gain_db: mean(&|o| gain(o.model.uncovered, o.baseline.uncovered)),
        covered_delta_db: mean(&|o| gain(o.model.covered, o.baseline.covered)),
        guide_uncovered_gain_db: mean(&|o| gain(o.guide.uncovered, o.baseline.uncovered)),
        guide_covered_delta_db: mean(&|o| gain(o.guide.covered, o.baseline.covered)),
        matted_uncovered_gain_db: mean(&|o| gain(o.matted.uncovered, o.baseline.uncovered)),
        matted_covered_delta_db: mean(&|o| gain(o.matted.covered, o.baseline.covered)),
        epe_px: total(&|o| o.epe.0) / total(&|o| o.epe.1).max(1.0),
        sharpness: total(&|o| o.model.gradient) / truth,
        guide_sharpness: total(&|o| o.guide.gradient) / truth,
        baseline_sharpness: total(&|o| o.baseline.gradient) / truth,
        baseline_uncovered_psnr_db: mean(&|o| -10.0 * (o.baseline.uncovered / (3.0 * o.uncovered_px)).max(1e-9).log10()),
        blockiness: blocky(&|o| o.model) / blocky(&|o| o.truth),
        border_error: total(&|o| o.model.border) / border_px,
        guide_border_error: total(&|o| o.guide.border) / border_px,
    })
}

fn one(token_px: usize, pool: &Pool, index: usize, clips: Clips, film: &Film) -> Result<Outcome> {
    let Clips { first, size: (width, height), frames, .. } = clips;
    let row = clips.sheet.is_some() && index < SHEET_CLIPS;
    let seed = FIRST_SEED + (first + index) as u64;
    let clip = make_clip(pool, &ClipSpec { width, height, frame_times: (0..frames).map(|t| t as f32).collect(), seed });
    let (_, matted, points) = guide_and_points(&clip, seed);
    let shown = film(&matted, &points, seed)?;
    let (_, guide) = guide_of(&clip, seed, false);
    let mut outcome = Outcome::default();
    let mut last_baseline = None;
    for frame in 1..frames {
        let motion = &clip.motions[frame];
        let objects: Vec<LayerMotion> = motion.objects.iter().map(|a| LayerMotion::Affine(*a)).collect();
        let (baseline, covered) = plain_warp(&clip.source, &clip.regions, &LayerMotion::Affine(motion.plate), &objects, width, height);
        let truth = &clip.frames[frame];
        let hole: f64 = covered.data.iter().map(|c| f64::from(*c < 0.5)).sum();
        outcome.uncovered_px += hole;
        outcome.covered_px += (width * height) as f64 - hole;
        let border = border(&covered, &guide[frame].owner);
        outcome.border_px += border.iter().filter(|at| **at).count() as f64;
        let Outcome { truth: sums, model, guide: drawn, matted: cut, baseline: plain, .. } = &mut outcome;
        let compared = [(sums, truth), (model, &shown[frame]), (drawn, &guide[frame].rgb), (cut, &matted[frame].rgb), (plain, &baseline)];
        for (sums, picture) in compared {
            add_errors(sums, picture, truth, &covered);
            add_blocks(sums, picture, &covered, token_px);
            add_border(sums, picture, truth, &border);
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

/// Gradients along rows on uncovered pixels, across the borders of tokens and elsewhere.
fn add_blocks(sums: &mut Sums, picture: &Picture, covered: &Mask, token: usize) {
    for y in 0..picture.height {
        for x in (1..picture.width).filter(|x| covered.at(*x, y).max(covered.at(x - 1, y)) < 0.5) {
            let (here, left) = (picture.at(x, y), picture.at(x - 1, y));
            let step: f64 = (0..3).map(|c| f64::from((here[c] - left[c]).abs())).sum();
            let (sum, number) = &mut sums.across[usize::from(!x.is_multiple_of(token))];
            (*sum, *number) = (*sum + step, *number + 1.0);
        }
    }
}

/// The pixels near a change of owner or the rim of a hole.
fn border(covered: &Mask, owner: &[u8]) -> Vec<bool> {
    let (width, height) = (covered.width, covered.height);
    let kind = |x: usize, y: usize| (covered.at(x, y) < 0.5, owner[y * width + x]);
    let mut near = vec![false; width * height];
    for y in 0..height - 1 {
        for x in 0..width - 1 {
            if kind(x, y) != kind(x + 1, y) || kind(x, y) != kind(x, y + 1) {
                for v in y.saturating_sub(BORDER_PX - 1)..(y + BORDER_PX + 1).min(height) {
                    near[v * width..][x.saturating_sub(BORDER_PX - 1)..(x + BORDER_PX + 1).min(width)].fill(true);
                }
            }
        }
    }
    near
}

/// Mean over colours of the distance between both pictures' gradients, summed over the pixels near a border.
fn add_border(sums: &mut Sums, picture: &Picture, truth: &Picture, border: &[bool]) {
    let width = picture.width;
    for (i, _) in border.iter().enumerate().filter(|(_, near)| **near) {
        let (x, y) = (i % width, i / width);
        if x + 1 < width && y + 1 < picture.height {
            let slope = |p: &Picture, c: usize| [p.at(x + 1, y)[c] - p.at(x, y)[c], p.at(x, y + 1)[c] - p.at(x, y)[c]];
            let off = |c: usize| {
                let (ours, theirs) = (slope(picture, c), slope(truth, c));
                f64::from((ours[0] - theirs[0]).hypot(ours[1] - theirs[1])) / 3.0
            };
            sums.border += (0..3).map(off).sum::<f64>();
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_show_in_their_figure_and_noise_does_not() {
        let covered = Mask::filled(96, 32, 0.0);
        let hash = |x: usize, y: usize| ((x * 7919 + y * 104_729) % 251) as f32 / 251.0;
        let ratio = |picture: &Picture| {
            let mut sums = Sums::default();
            add_blocks(&mut sums, picture, &covered, 16);
            let mean = |(sum, number): (f64, f64)| sum / number;
            mean(sums.across[0]) / mean(sums.across[1])
        };
        let noise = ratio(&Picture::from_fn(96, 32, |x, y| [hash(x, y); 3]));
        let blocks = ratio(&Picture::from_fn(96, 32, |x, y| [hash(x, y) * 0.1 + (x / 16 % 2) as f32; 3]));
        assert!((0.7..1.4).contains(&noise) && blocks > 5.0, "{noise} {blocks}");
    }

    #[test]
    fn a_border_is_where_owner_or_cover_change() {
        let covered = Mask::from_fn(12, 6, |x, _| if x < 9 { 1.0 } else { 0.0 });
        let owner: Vec<u8> = (0..72).map(|i| u8::from(i % 12 >= 4)).collect();
        let near = border(&covered, &owner);
        let columns: Vec<usize> = (0..12).filter(|x| near[2 * 12 + x]).collect();
        assert_eq!(columns, [2, 3, 4, 5, 7, 8, 9, 10]);
    }
}
