//! A clip turned into what one training step eats: noisy latents, condition, targets, noise levels.
//!
//! Invariant: an example depends on its film and its seed alone. The noise follows the window's mask: each chunk has its own level, and
//! in half of the examples the chunks before a random one are clean history, as they are when the model runs.
//! Guarded by the tests below and of `trainer`.

use crate::condition::{Condition, some_of};
use crate::model::codec::{PatchCodec, cut};
use crate::model::config::Config;
use crate::model::contrast::Contrast;
use crate::model::parameters::normal;
use crate::model::sampler::noised;
use crate::picture::Picture;
use crate::train::film::Film;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// What the network sees of one clip; cells ordered latent frame, row, column.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Latent frames, rows and columns of cells.
    pub size: (usize, usize, usize),
    /// Noisy latents, (cells, latent_channels).
    pub noisy: Vec<f32>,
    /// Condition, (cells, condition_channels).
    pub condition: Vec<f32>,
    /// Cells in which something has to be invented.
    pub unknown: Vec<bool>,
    /// Noise level per chunk, of unknown cells.
    pub levels: Vec<f32>,
}

impl Input {
    /// Of a condition and noisy latents.
    pub fn new(condition: &Condition, noisy: Vec<f32>, levels: Vec<f32>) -> Self {
        Self {
            size: (condition.latents, condition.rows, condition.columns),
            noisy,
            condition: condition.channels.clone(),
            unknown: condition.unknown.clone(),
            levels,
        }
    }
}

/// One training example.
pub struct Example {
    /// What the network sees.
    pub input: Input,
    /// Truth minus guide in pixels of -1..1, (cells, patch_len).
    pub target: Vec<f32>,
    /// Smooth guide minus guide in pixels of -1..1, (cells, patch_len).
    pub smooth: Vec<f32>,
    /// Share of each pixel that was not seen, (cells, patch_len / 3).
    pub uncovered: Vec<f32>,
}

/// A clip in the model's terms, before any noise.
pub struct Material {
    /// What the model is told.
    pub condition: Condition,
    /// The truth's pixels in -1..1, (cells, patch_len).
    pub truth: Vec<f32>,
    /// The truth's latents, (cells, latent_channels).
    pub clean: Vec<f32>,
}

impl Material {
    /// A film in a model's terms; its frames are whole chunks.
    pub fn new(config: &Config, codec: &PatchCodec, film: &Film) -> Self {
        let frames: Vec<&Picture> = film.truth.iter().collect();
        let truth: Vec<f32> = frames.chunks(config.frames_per_latent).flat_map(|frames| cut(frames, config.cell_px)).collect();
        Self { condition: Condition::new(config, codec, &film.guide, &film.points), clean: codec.encode(&truth), truth }
    }

    /// The network's input with `levels` per chunk: unknown cells of a chunk are `latents`, noised to its level by noise of `rng`.
    pub fn input(&self, config: &Config, latents: &[f32], levels: Vec<f32>, rng: &mut ChaCha8Rng) -> Input {
        let condition = &self.condition;
        let (mut noisy, mut noise) = (condition.guide_latent.clone(), vec![0.0; latents.len()]);
        normal(rng, &mut noise);
        let channels = config.latent_channels;
        let (cells, mut contrast) = (condition.unknown.len() / levels.len(), Contrast::default());
        for (chunk, t) in levels.iter().enumerate() {
            let (cells, values) = (chunk * cells..(chunk + 1) * cells, chunk * cells * channels..(chunk + 1) * cells * channels);
            let prior = condition.prior(config, cells.clone(), &mut contrast);
            let (z, unknown) = (&mut noisy[values.clone()], &condition.unknown[cells]);
            let chosen = z.chunks_exact_mut(channels).zip(latents[values.clone()].chunks_exact(channels)).zip(unknown);
            chosen.filter(|(_, unknown)| **unknown).for_each(|((z, latent), _)| z.copy_from_slice(latent));
            noised(z, unknown, *t, prior, |first, fresh| fresh.copy_from_slice(&noise[values.start + first..][..fresh.len()]));
        }
        Input::new(condition, noisy, levels)
    }

    /// The example that asks for the truth.
    pub fn example(&self, input: Input) -> Example {
        let Condition { guide_patches, smooth_patches, uncovered, .. } = &self.condition;
        let target = self.truth.iter().zip(guide_patches).map(|(t, g)| t - g).collect();
        Example { input, target, smooth: smooth_patches.clone(), uncovered: uncovered.clone() }
    }

    /// The latents of a network's output, (cells, output_channels): guide where all is known, else guide and correction.
    pub fn latents(&self, output: &[f32]) -> Vec<f32> {
        let Condition { guide_latent, smooth_latent, unknown, .. } = &self.condition;
        let (channels, width) = (guide_latent.len() / unknown.len(), output.len() / unknown.len());
        let mut z = guide_latent.clone();
        let cells = z.chunks_exact_mut(channels).zip(smooth_latent.chunks_exact(channels)).zip(output.chunks_exact(width)).zip(unknown);
        for (((z, smooth), out), _) in cells.filter(|(_, unknown)| **unknown) {
            z.iter_mut().zip(out).zip(smooth).for_each(|((z, correction), smooth)| *z += correction + out[channels] * smooth);
        }
        z
    }

    /// Some of the chunks alone, in this order; `chunks` is how many there are.
    pub fn pick(&self, chunks: usize, wanted: &[usize]) -> Self {
        let some = |all: &[f32]| some_of(all, chunks, wanted);
        Self { condition: self.condition.pick(chunks, wanted), truth: some(&self.truth), clean: some(&self.clean) }
    }
}

impl Example {
    /// A film, with noise of `rng`.
    pub fn new(config: &Config, codec: &PatchCodec, film: &Film, rng: &mut ChaCha8Rng) -> Self {
        let material = Material::new(config, codec, film);
        let levels = noise_levels(config, material.condition.latents / config.chunk_latents, rng);
        // What the model shows is never quite the truth, so its history must not be either.
        let faith: f32 = if rng.random_bool(0.5) { 1.0 } else { rng.random_range(0.3..1.0) };
        let mut latents = material.clean.clone();
        let chunk = latents.len() / levels.len();
        for (i, _) in levels.iter().enumerate().filter(|(_, t)| **t == 0.0) {
            let range = i * chunk..(i + 1) * chunk;
            let guide = &material.condition.guide_latent[range.clone()];
            latents[range].iter_mut().zip(guide).for_each(|(z, guide)| *z = faith * *z + (1.0 - faith) * guide);
        }
        let input = material.input(config, &latents, levels, rng);
        material.example(input)
    }
}

/// A level per chunk: pure noise, which every chunk starts from; for a sampler of several steps now and then anywhere, leaning to noise. In
/// half of the examples the chunks before a random one are clean.
fn noise_levels(config: &Config, chunks: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let clean = if chunks > 1 && rng.random_bool(0.5) { rng.random_range(1..chunks) } else { 0 };
    (0..chunks)
        .map(|i| match i < clean {
            true => 0.0,
            false if config.noise_levels.len() == 1 || rng.random_bool(0.75) => 1.0,
            false => 1.0 - rng.random_range(0.0f32..0.98).powi(2),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::clip::ClipSpec;
    use crate::train::film::{Extent, Withheld, frame_times};
    use crate::train::pool::Pool;
    use crate::train::pool::tests::folders;
    use crate::train::trainer::fit_codec;
    use rand::SeedableRng;

    #[test]
    fn a_chunk_alone_is_the_same_chunk_of_its_clip_and_a_window_starts_with_the_source() {
        let (_root, photos, cutouts) = folders(12, 12);
        let (pool, _) = Pool::open_both(&[photos], &[cutouts], 1 << 28).unwrap();
        let config = Config::tiny();
        let codec = fit_codec(&config, &pool, 1).unwrap();
        let mut invented = 0;
        for seed in 0..12 {
            let example = |extent| {
                let film = Film::random(&pool, &config, extent, (64, 64), Withheld::default(), seed);
                Example::new(&config, &codec, &film, &mut ChaCha8Rng::seed_from_u64(seed))
            };
            let [window, alone, again] = [Extent::Window, Extent::Chunk, Extent::Chunk].map(example);
            assert_eq!((&alone.input.noisy, &alone.input.levels, &alone.target), (&again.input.noisy, &again.input.levels, &again.target));
            assert_eq!(
                (window.input.size.0, window.input.levels.len()),
                (config.span_latents(), config.span_latents() / config.chunk_latents)
            );
            assert_eq!((alone.input.size.0, alone.input.levels.len()), (config.chunk_latents, 1));
            assert!(alone.input.levels[0] > 0.0, "nobody learns from history alone");
            // The clip of two chunks of which the example shows the second.
            let frame_times = frame_times(&config, Extent::Chunk, &mut ChaCha8Rng::seed_from_u64(seed));
            let spec = ClipSpec { width: 64, height: 64, frame_times, seed };
            let whole = Material::new(&config, &codec, &Film::new(&pool, &spec, Withheld::default()));
            let half = whole.condition.channels.len() / 2;
            assert_eq!(alone.input.condition, whole.condition.channels[half..]);
            // Nothing has moved in the first frame, so what the guide shows there is the truth.
            let first = config.patch_len() / config.frames_per_latent;
            assert!(window.target[..first].iter().all(|v| v.abs() < 1e-3) && window.uncovered[..first / 3].iter().all(|u| *u == 0.0));
            invented += alone.input.unknown.iter().filter(|unknown| **unknown).count();
        }
        assert!(invented > 50, "{invented}");
    }
}
