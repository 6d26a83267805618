//! The teacher's video: a rectified flow, z_t = (1 - t) z_0 + t noise, followed from noise to picture in many small steps, with guidance.
//!
//! Invariant: a state at any level lies exactly on the path that is followed (Euler's is straight between two steps); what is known of
//! the picture is never noised. Method: rectified flow (Liu et al. 2022) with the timestep shift of Stable Diffusion 3 (Esser et al.
//! 2024) and the joint guidance of MotionStream (arXiv 2511.01266). Guarded by the tests below.

use crate::condition::{Condition, FramePoints};
use crate::error::Result;
use crate::guide::warp::GuideFrame;
use crate::model::codec::PatchCodec;
use crate::model::config::Config;
use crate::picture::Picture;
use crate::stream::compose::Composer;
use crate::stream::session::Chunk;
use crate::train::example::{Input, Material};
use crate::train::network::{Network, Sight};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Noise level `t` moved towards noise: `k t / (1 + (k - 1) t)`.
pub fn shifted(t: f32, k: f32) -> f32 {
    k * t / (1.0 + (k - 1.0) * t)
}

/// How much more than the conditions say the teacher is to follow them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guidance {
    /// Weight of the motion.
    pub motion: f32,
    /// Weight of the text; only counts where a model takes text.
    pub text: f32,
}

impl Guidance {
    /// Joint guidance: `both` follows motion and text, `no_motion` text alone, `no_text` motion alone (None for a model without text).
    /// Works on velocities and on clean estimates alike, since the weights add up to one.
    pub fn combined(&self, both: &[f32], no_motion: &[f32], no_text: Option<&[f32]>) -> Vec<f32> {
        let (wm, wt) = (self.motion, self.text);
        let Some(no_text) = no_text else {
            return both.iter().zip(no_motion).map(|(both, base)| base + wm * (both - base)).collect();
        };
        let a = wt / (wt + wm).max(1e-6);
        let one = |((both, text), motion): ((&f32, &f32), &f32)| a * motion + (1.0 - a) * text + wt * (both - motion) + wm * (both - text);
        both.iter().zip(no_motion).zip(no_text).map(one).collect()
    }
}

/// The condition channels without what is known of the motion: neither states nor tracks.
pub fn without_motion(config: &Config, channels: &[f32]) -> Vec<f32> {
    let all = config.condition_channels();
    let first = all - config.raw_track_channels() - 2;
    let mut channels = channels.to_vec();
    channels.chunks_exact_mut(all).for_each(|cell| cell[first..].fill(0.0));
    channels
}

/// A teacher at work: a network that sees whole clips, and how its flow is followed.
pub struct Teacher<'a> {
    /// Its architecture.
    pub config: &'a Config,
    /// Its network.
    pub network: &'a mut Network,
    /// Its parameters, in the optimizer's order.
    pub values: &'a [Vec<f32>],
    /// How much it follows the conditions.
    pub guidance: Guidance,
}

/// A clip that a teacher made.
pub struct Made {
    /// Clean latents, (cells, latent_channels).
    pub latents: Vec<f32>,
    /// The last output, (cells, output_channels).
    pub output: Vec<f32>,
    /// The state at each level that was asked for.
    pub states: Vec<Vec<f32>>,
}

impl Teacher<'_> {
    /// What the teacher takes for the truth behind `noisy` (cells, latent_channels), all chunks at level `t`: its output, guided.
    pub fn estimate(&mut self, condition: &Condition, noisy: &[f32], t: f32) -> Result<Vec<f32>> {
        let chunks = condition.latents / self.config.chunk_latents;
        let input = |channels: Vec<f32>| Input { condition: channels, ..Input::new(condition, noisy.to_vec(), vec![t; chunks]) };
        let both = input(condition.channels.clone());
        let mut out = Vec::new();
        if self.guidance.motion == 1.0 {
            self.network.output(self.values, &[&both], Sight::All, &mut out)?;
            return Ok(out);
        }
        let base = input(without_motion(self.config, &condition.channels));
        self.network.output(self.values, &[&both, &base], Sight::All, &mut out)?;
        let (both, base) = out.split_at(out.len() / 2);
        Ok(self.guidance.combined(both, base, None))
    }

    /// Follows the flow from noise to the clip in `steps` steps, shifted by `shift`; keeps the states at `levels` (falling).
    pub fn film(&mut self, material: &Material, steps: usize, shift: f32, levels: &[f32], seed: u64) -> Result<Made> {
        let condition = &material.condition;
        let chunks = condition.latents / self.config.chunk_latents;
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut z = material.input(self.config, &material.clean, vec![1.0; chunks], rng).noisy;
        let (mut output, mut states) = (Vec::new(), Vec::new());
        let mut latents = z.clone();
        let level = |step: usize| shifted(1.0 - step as f32 / steps as f32, shift);
        for step in 0..steps {
            let (now, next) = (level(step), level(step + 1));
            output = self.estimate(condition, &z, now)?;
            latents = material.latents(&output);
            let at = |t: f32| -> Vec<f32> {
                let way = (t - now) / now;
                z.iter().zip(&latents).map(|(z, clean)| z + way * (z - clean)).collect()
            };
            while let Some(t) = levels.get(states.len()).filter(|t| **t >= next) {
                states.push(at(t.min(now)));
            }
            z = at(next);
        }
        Ok(Made { latents, output, states })
    }

    /// The frames of the video that the teacher makes of a guide and track points, in so many `steps` with so much `shift`.
    pub fn pictures(
        &mut self,
        codec: &PatchCodec,
        guide: &[GuideFrame],
        points: &[FramePoints],
        (steps, shift): (usize, f32),
        seed: u64,
    ) -> Result<Vec<Picture>> {
        let (width, height) = guide.first().map_or((0, 0), |frame| (frame.rgb.width, frame.rgb.height));
        let condition = Condition::new(self.config, codec, guide, points);
        let clean = condition.guide_latent.clone();
        let material = Material { truth: Vec::new(), clean, condition };
        let made = self.film(&material, steps, shift, &[], seed)?;
        let (chunk, mut frames) = (Chunk { latents: made.latents, output: made.output }, Vec::new());
        Composer::default().compose(self.config, codec, &chunk, &material.condition, width, height, &mut frames);
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_keeps_the_ends_and_leans_to_noise() {
        assert_eq!((shifted(0.0, 6.0), shifted(1.0, 6.0)), (0.0, 1.0));
        assert!((shifted(0.5, 6.0) - 3.0 / 3.5).abs() < 1e-6 && (shifted(0.3, 1.0) - 0.3).abs() < 1e-6);
    }

    #[test]
    fn guidance_is_the_published_formula() {
        let guidance = Guidance { motion: 1.5, text: 3.0 };
        let (both, text, motion) = (1.0, 0.25, -0.5);
        let a = 3.0 / 4.5;
        let expected = a * motion + (1.0 - a) * text + 3.0 * (both - motion) + 1.5 * (both - text);
        let found = guidance.combined(&[both], &[text], Some(&[motion]))[0];
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        // Without text what is left is classifier-free guidance by motion alone.
        assert_eq!(guidance.combined(&[1.0], &[0.5], None), [1.25]);
        // Where the conditions change nothing, guidance changes nothing.
        assert!((guidance.combined(&[0.7], &[0.7], Some(&[0.7]))[0] - 0.7).abs() < 1e-6);
    }

    #[test]
    fn without_motion_guide_and_coverage_stay() {
        let config = Config::tiny();
        let all = config.condition_channels();
        let channels = vec![1.0; 3 * all];
        let dropped = without_motion(&config, &channels);
        let kept = config.latent_channels + config.smooth_channels + config.coverage_channels();
        assert!(dropped.chunks(all).all(|cell| cell[..kept].iter().all(|v| *v == 1.0) && cell[kept..].iter().all(|v| *v == 0.0)));
    }
}
