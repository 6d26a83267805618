//! How many floating-point operations the passes over a chunk take: what a measured time is compared with the machine's ceiling by.
//!
//! Invariant: counts the multiply-adds (as two) of every matrix product and convolution of [`crate::model::dit`] that the chunk's
//! [`Activity`] asks for, and nothing else. The window is full; what the condition alone gives to the stem is left out, since it is made
//! before the passes. Guarded by the tests below.

use crate::model::activity::Activity;
use crate::model::config::Config;

/// Floating-point operations of the passes over one chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The first denoising step, which computes what is known too.
    pub first: f64,
    /// Every other denoising step.
    pub later: f64,
    /// The commit behind a denoising step: keys and values alone.
    pub commit: f64,
}

/// How many tokens are not active, and how many are.
type Counts = [f64; 2];

impl Cost {
    /// Of a chunk whose cells have this activity.
    pub fn of(config: &Config, activity: &Activity) -> Self {
        let marks = || activity.active.iter().copied().zip(activity.wanted.iter().copied());
        let count = |active: bool, any: bool| marks().filter(|(a, wanted)| *a == active && (any || *wanted)).count() as f64;
        let (all, wanted): (Counts, Counts) = ([count(false, true), count(true, true)], [count(false, false), count(true, false)]);
        let past = (all[0] + all[1]) * (config.sink_chunks + config.window_chunks) as f64;
        let keys = [past + all[0], past + all[0] + all[1]];
        let [c, d, f] = [config.stem_channels, config.dim, config.ffn_dim].map(|v| v as f64);
        let near = |reach: usize| activity.distance.iter().filter(|distance| usize::from(**distance) <= reach).count() as f64;
        let cells = activity.distance.len() as f64;
        let shown = |reach: usize| if config.covered_correction > 0.0 { cells } else { near(reach) };

        let (latent, reach) = (config.latent_channels as f64, 2 * config.stem_blocks);
        let anew: f64 = (0..config.stem_blocks).map(|block| near(2 * block + 1) + near(reach)).sum();
        let convolution = 9.0 * c * c;
        let stem = [cells * latent * c + reach as f64 * cells * convolution, near(0) * latent * c + anew * convolution];
        let head = (0..2 * config.head_blocks).map(shown).sum::<f64>() * convolution + shown(0) * c * config.output_channels() as f64;

        let total = |[known, active]: Counts| known + active;
        let layers = config.layers as f64;
        let projections = |rows: Counts| total(rows) * (4.0 * c * d + layers * 3.0 * d * d);
        let rest = |rows: Counts| total(rows) * (d * d + 2.0 * d * f) + (rows[0] * keys[0] + rows[1] * keys[1]) * 2.0 * d;
        let kept = |stem: f64, rows: Counts| stem + projections(rows) + (layers - 1.0) * rest(rows);
        let end = |rows: Counts| rest(rows) + total(rows) * d * 4.0 * c + head;
        let again = |rows: Counts| [0.0, rows[1]];
        Self {
            first: 2.0 * (kept(stem[0], all) + end(wanted)),
            later: 2.0 * (kept(stem[1], again(all)) + end(again(wanted))),
            commit: 2.0 * kept(stem[1], again(all)),
        }
    }

    /// All of `steps` denoising steps, without the commit.
    pub fn denoise(&self, steps: usize) -> f64 {
        self.first + steps.saturating_sub(1) as f64 * self.later
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_of_one_unknown_token_by_hand() {
        let config = Config { layers: 1, sink_chunks: 0, window_chunks: 0, chunk_latents: 1, ..Config::tiny() };
        let (c, d, f) = (16.0, 24.0, 48.0);
        let stem = 4.0 * 12.0 * c + 4.0 * 18.0 * c * c;
        let projections = 4.0 * c * d + 3.0 * d * d;
        let rest = d * d + 2.0 * d * f + 2.0 * d + d * 4.0 * c;
        let head = 4.0 * 18.0 * c * c + 4.0 * c * 14.0;
        let first = 2.0 * (stem + projections + rest + head);
        let cost = Cost::of(&config, &Activity::new(&config, &[true; 4], 2, 2));
        assert_eq!(cost, Cost { first, later: first, commit: 2.0 * (stem + projections) });
        assert_eq!(cost.denoise(3), 3.0 * first);
    }

    #[test]
    fn what_is_known_costs_one_pass_without_its_end() {
        let config = Config { layers: 2, sink_chunks: 0, window_chunks: 1, chunk_latents: 1, ..Config::tiny() };
        let (c, d, f) = (16.0, 24.0, 48.0);
        let stem = 4.0 * 12.0 * c + 4.0 * 18.0 * c * c;
        let first = 2.0 * (stem + 4.0 * c * d + 2.0 * 3.0 * d * d + d * d + 2.0 * d * f + 2.0 * 2.0 * d);
        let cost = Cost::of(&config, &Activity::new(&config, &[false; 4], 2, 2));
        assert_eq!(cost, Cost { first, later: 0.0, commit: 0.0 });
    }

    #[test]
    fn far_tokens_neither_see_noise_nor_are_shown() {
        // One cell in the corner of 8x8: its stem reaches 3x3 cells in 2x2 tokens, of 16; a head of one convolution block as many.
        let config = Config { layers: 1, sink_chunks: 0, window_chunks: 0, chunk_latents: 1, ..Config::tiny() };
        let unknown: Vec<bool> = (0..64).map(|cell| cell == 0).collect();
        let cost = Cost::of(&config, &Activity::new(&config, &unknown, 8, 8));
        let (c, d, f) = (16.0, 24.0, 48.0);
        let stem = 12.0 * c + (4.0 + 9.0) * 9.0 * c * c;
        let kept = stem + 4.0 * (4.0 * c * d + 3.0 * d * d);
        let head = (4.0 + 1.0) * 9.0 * c * c + c * 14.0;
        let end = 4.0 * (d * d + 2.0 * d * f + 16.0 * 2.0 * d + d * 4.0 * c) + head;
        assert_eq!((cost.later, cost.commit), (2.0 * (kept + end), 2.0 * kept));
    }
}
