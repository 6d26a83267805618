//! A clip turned into what one training step eats: noisy latents, condition, targets, noise levels.
//!
//! Invariant: an example depends on the pool and its seed alone. The noise follows the window's mask: each chunk has its own level, and
//! in half of the examples the chunks before a random one are clean history, as they are when the model runs.
//! Guarded by the tests of `trainer`.

use crate::condition::{Condition, FramePoints};
use crate::guide::layers::{CutOptions, Layers};
use crate::guide::warp::GuideFrame;
use crate::model::codec::{PatchCodec, cut};
use crate::model::config::Config;
use crate::model::parameters::normal;
use crate::motion::layer_motion::LayerMotion;
use crate::motion::track_field::PointState;
use crate::picture::Picture;
use crate::train::clip::{Clip, ClipSpec, make_clip};
use crate::train::pool::Pool;
use glam::Vec2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One training example; cells ordered latent frame, row, column over all chunks of a full window.
pub struct Example {
    /// Latent frames, rows and columns of cells.
    pub size: (usize, usize, usize),
    /// Noisy latents, (cells, latent_channels).
    pub noisy: Vec<f32>,
    /// Condition, (cells, condition_channels).
    pub condition: Vec<f32>,
    /// Noise level per chunk.
    pub levels: Vec<f32>,
    /// Truth minus guide in pixels of -1..1, (cells, patch_len).
    pub target: Vec<f32>,
    /// Smooth guide minus guide in pixels of -1..1, (cells, patch_len).
    pub smooth: Vec<f32>,
    /// Share of each pixel that was not seen, (cells, patch_len / 3).
    pub uncovered: Vec<f32>,
}

/// Points along the longer side of a picture of this many pixels: one per latent cell or so, as in a session.
fn track_points(clip: &Clip, frames: usize, rng: &mut ChaCha8Rng) -> Vec<FramePoints> {
    const SPACING_PX: f32 = 7.7;
    let (width, height) = (clip.source.width, clip.source.height);
    let (columns, rows) = ((width as f32 / SPACING_PX).ceil() as usize, (height as f32 / SPACING_PX).ceil() as usize);
    let sources: Vec<Vec2> = (0..rows * columns)
        .map(|i| Vec2::new((i % columns) as f32 + 0.5, (i / columns) as f32 + 0.5) * SPACING_PX)
        .filter(|p| p.x < width as f32 && p.y < height as f32)
        .collect();
    let ids: Vec<u32> = sources.iter().map(|_| rng.random_range(0..100_000)).collect();
    let states: Vec<PointState> = sources.iter().map(|p| clip.states[clip.layer_at(*p) as usize]).collect();
    (0..frames)
        .map(|frame| {
            let (positions, visible) = sources.iter().map(|p| clip.track(*p, frame)).unzip();
            FramePoints { ids: ids.clone(), states: states.clone(), positions, visible }
        })
        .collect()
}

/// The guide's frames and track points of a clip, as a session would get them.
pub fn guide_and_points(clip: &Clip, seed: u64) -> (Layers, Vec<GuideFrame>, Vec<FramePoints>) {
    let (width, height) = (clip.source.width, clip.source.height);
    let options = CutOptions { plate_margin_px: width.max(height) / 4, seed, ..CutOptions::default() };
    let layers = Layers::cut(&clip.source, &clip.regions, &options);
    let frames = clip
        .motions
        .iter()
        .map(|m| {
            let objects: Vec<LayerMotion> = m.objects.iter().map(|a| LayerMotion::Affine(*a)).collect();
            layers.warp(&LayerMotion::Affine(m.plate), &objects, width, height)
        })
        .collect();
    let points = track_points(clip, clip.motions.len(), &mut ChaCha8Rng::seed_from_u64(seed));
    (layers, frames, points)
}

/// A full window: the sink at the start, then, often after a gap, the rolling window and the chunk in work.
fn frame_times(config: &Config, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let chunk = config.chunk_frames();
    let first = if rng.random_bool(0.5) { chunk } else { rng.random_range(chunk..10 * chunk) };
    let rest = (config.window_chunks + 1) * chunk;
    (0..config.sink_chunks * chunk).chain(first..first + rest).map(|t| t as f32).collect()
}

impl Example {
    /// The example of `seed`, of `width` x `height` pixels (multiples of a token).
    pub fn new(pool: &Pool, config: &Config, codec: &PatchCodec, width: usize, height: usize, seed: u64) -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let clip = make_clip(pool, &ClipSpec { width, height, frame_times: frame_times(config, rng), seed });
        let (_, guide, points) = guide_and_points(&clip, seed);
        Self::from_clip(config, codec, &clip.frames, &Condition::new(config, codec, &guide, &points), rng)
    }

    fn from_clip(config: &Config, codec: &PatchCodec, truth: &[Picture], condition: &Condition, rng: &mut ChaCha8Rng) -> Self {
        let channels = config.latent_channels;
        let truth: Vec<f32> =
            truth.chunks(config.frames_per_latent).flat_map(|f| cut(&f.iter().collect::<Vec<_>>(), config.cell_px)).collect();
        let clean = codec.encode(&truth);
        let chunks = condition.latents / config.chunk_latents;
        let levels = noise_levels(chunks, rng);
        // What the model shows is never quite the truth, so its history must not be either.
        let faith: f32 = if rng.random_bool(0.5) { 1.0 } else { rng.random_range(0.3..1.0) };
        let mut noise = vec![0.0; clean.len()];
        normal(rng, &mut noise);
        let cells = condition.unknown.len() / chunks;
        let mut noisy = condition.guide_latent.clone();
        for (cell, _) in condition.unknown.iter().enumerate().filter(|(_, unknown)| **unknown) {
            let t = levels[cell / cells];
            for i in cell * channels..(cell + 1) * channels {
                let z0 = if t > 0.0 { clean[i] } else { faith * clean[i] + (1.0 - faith) * condition.guide_latent[i] };
                noisy[i] = (1.0 - t) * z0 + t * noise[i];
            }
        }
        Self {
            size: (condition.latents, condition.rows, condition.columns),
            noisy,
            condition: condition.channels.clone(),
            levels,
            target: truth.iter().zip(&condition.guide_patches).map(|(t, g)| t - g).collect(),
            smooth: condition.smooth_patches.clone(),
            uncovered: condition.uncovered.clone(),
        }
    }
}

/// A level per chunk: often pure noise, which every chunk starts from; else anywhere, leaning to noise. In half of the examples the
/// chunks before a random one are clean.
fn noise_levels(chunks: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let clean = if rng.random_bool(0.5) { rng.random_range(1..chunks) } else { 0 };
    (0..chunks)
        .map(|i| match i < clean {
            true => 0.0,
            false if rng.random_bool(0.5) => 1.0,
            false => 1.0 - rng.random_range(0.0f32..0.98).powi(2),
        })
        .collect()
}
