//! Few-step sampling of a rectified flow: z_t = (1 - t) z_0 + t noise, with fresh noise between the steps.
//!
//! Invariant: the noise depends on (seed, chunk, step) alone, so a chunk can be made again bit for bit. Guarded by the tests below.

use crate::model::parameters::normal;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Standard normal noise of step `step` of chunk `chunk`.
pub fn noise(seed: u64, chunk: u64, step: usize, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(chunk.wrapping_mul(64).wrapping_add(step as u64));
    let mut values = vec![0.0; len];
    normal(&mut rng, &mut values);
    values
}

/// `z_t` where something is unknown; the known cells keep `known`. All (cells, channels), `unknown` (cells).
///
/// Noise only where nothing is known: a covered cell shows the guide itself, and the net corrects it from context.
pub fn noised(clean: &[f32], known: &[f32], noise: &[f32], unknown: &[bool], t: f32) -> Vec<f32> {
    let channels = clean.len() / unknown.len().max(1);
    let mut z = known.to_vec();
    for (cell, _) in unknown.iter().enumerate().filter(|(_, unknown)| **unknown) {
        for i in cell * channels..(cell + 1) * channels {
            z[i] = (1.0 - t) * clean[i] + t * noise[i];
        }
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_repeatable_and_fresh() {
        assert_eq!(noise(1, 2, 0, 9), noise(1, 2, 0, 9));
        assert_ne!(noise(1, 2, 0, 9), noise(1, 2, 1, 9));
        assert_ne!(noise(1, 2, 0, 9), noise(1, 3, 0, 9));
    }

    #[test]
    fn only_unknown_cells_are_noised() {
        let z = noised(&[1.0; 4], &[2.0; 4], &[3.0; 4], &[false, true], 0.5);
        assert_eq!(z, [2.0, 2.0, 2.0, 2.0]);
        assert_eq!(noised(&[1.0; 4], &[9.0; 4], &[3.0; 4], &[false, true], 0.0), [9.0, 9.0, 1.0, 1.0]);
    }
}
