//! Few-step sampling of a rectified flow: z_t = (1 - t) z_0 + t z_1, with fresh noise between the steps. Pure noise z_1 lies around the
//! guide, as strong as the chunk's own contrast, for nets that see latents relative to it: a calm sky would drown in the noise that a
//! harsh wall needs, and nothing but the last steps would be heard.
//!
//! Invariant: the noise of a cell depends on (seed, chunk, step, cell) alone, so a chunk can be made again bit for bit, by any number of
//! threads. Guarded by the tests below.

use crate::model::parameters::normal;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Standard normal noise of step `step` of chunk `chunk`: fills numbers `first..` of (cells, channels).
pub fn noise(seed: u64, chunk: u64, step: usize) -> impl Fn(usize, &mut [f32]) + Sync {
    let mut start = ChaCha8Rng::seed_from_u64(seed);
    start.set_stream(chunk.wrapping_mul(64).wrapping_add(step as u64));
    move |first, values| {
        let mut rng = start.clone();
        rng.set_word_pos(2 * first as u128);
        normal(&mut rng, values);
    }
}

/// What pure noise is spread around, and how far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior<'a> {
    /// Its middle, (cells, channels); zero if none.
    pub mean: Option<&'a [f32]>,
    /// Its standard deviation.
    pub deviation: f32,
}

impl Prior<'_> {
    /// Of nets that see latents as they are.
    pub const STANDARD: Self = Self { mean: None, deviation: 1.0 };
}

/// Turns the clean latent `z` (cells, channels) into z_t where something is unknown; `unknown` (cells), standard normal
/// `noise(first, values)`.
///
/// Noise only where nothing is known: a covered cell shows the guide itself, and the net corrects it from context.
pub fn noised(z: &mut [f32], unknown: &[bool], t: f32, prior: Prior, noise: impl Fn(usize, &mut [f32]) + Sync) {
    /// Channels that are drawn at once: a run that fits the stack.
    const RUN: usize = 512;
    let channels = z.len() / unknown.len().max(1);
    z.par_chunks_mut(channels.max(1)).with_min_len(64).enumerate().filter(|(cell, _)| unknown[*cell]).for_each(|(cell, z)| {
        let mut fresh = [0.0; RUN];
        for (part, z) in z.chunks_mut(RUN).enumerate() {
            let fresh = &mut fresh[..z.len()];
            let first = cell * channels + part * RUN;
            noise(first, fresh);
            fresh.iter_mut().for_each(|noise| *noise *= prior.deviation);
            if let Some(mean) = prior.mean {
                fresh.iter_mut().zip(&mean[first..]).for_each(|(noise, mean)| *noise += mean);
            }
            z.iter_mut().zip(fresh).for_each(|(z, noise)| *z = (1.0 - t) * *z + t * *noise);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, chunk: u64, step: usize, first: usize) -> Vec<f32> {
        let mut values = vec![0.0; 9];
        noise(seed, chunk, step)(first, &mut values);
        values
    }

    #[test]
    fn noise_is_repeatable_and_fresh() {
        assert_eq!(drawn(1, 2, 0, 9), drawn(1, 2, 0, 9));
        for other in [drawn(1, 2, 1, 9), drawn(1, 3, 0, 9), drawn(2, 2, 0, 9), drawn(1, 2, 0, 18)] {
            assert!(drawn(1, 2, 0, 9).iter().all(|value| !other.contains(value)));
        }
    }

    #[test]
    fn only_unknown_cells_are_noised() {
        let mut z = [2.0, 2.0, 1.0, 1.0];
        noised(&mut z, &[false, true], 0.5, Prior::STANDARD, |_, noise| noise.fill(3.0));
        assert_eq!(z, [2.0; 4]);
        noised(&mut z, &[true, true], 0.0, Prior::STANDARD, |_, noise| noise.fill(3.0));
        assert_eq!(z, [2.0; 4]);
    }

    #[test]
    fn pure_noise_lies_around_the_mean_as_far_as_the_prior_says() {
        let mean: Vec<f32> = (0..600 * 3).map(|i| i as f32).collect();
        let mut z = vec![7.0; mean.len()];
        let prior = Prior { mean: Some(&mean), deviation: 0.5 };
        noised(&mut z, &[true; 3], 1.0, prior, |first, noise| noise.iter_mut().enumerate().for_each(|(i, v)| *v = (first + i) as f32));
        assert!(z.iter().zip(&mean).all(|(z, mean)| *z == 1.5 * mean));
    }
}
