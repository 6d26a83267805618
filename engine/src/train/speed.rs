//! How fast a training step is: forward, loss, backward and optimizer on random examples, so that no pool of pictures is needed.
//!
//! Invariant: the step is the trainer's own ([`Network::step`], [`AdamW::step`]); only the examples are made up. The same step in PyTorch is
//! `tests/bench/torch_sketch.py`. Guarded by the test below.

use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::model::dit::Dit;
use crate::model::parameters::{Parameters, normal};
use crate::train::example::{Example, Input};
use crate::train::network::{Network, Sight};
use crate::train::optimizer::{AdamW, Rates};
use candle_core::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::Instant;

/// The time of each of `steps` training steps, ms, after one that warms up: `batch` clips of a full window of latent frames with
/// `cells` = (rows, columns) cells, both even.
pub fn step_milliseconds(config: &Config, batch: usize, cells: (usize, usize), steps: usize) -> Result<Vec<f64>> {
    config.validate()?;
    let (rows, columns) = cells;
    if batch == 0 || rows == 0 || columns == 0 || rows % 2 != 0 || columns % 2 != 0 {
        return Err(Error::field(
            "bench",
            format!("{batch} clips of {rows}x{columns} cells cannot be trained on; give even numbers above 0"),
        ));
    }
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let parameters = Parameters::seeded(1, &Device::Cpu);
    Dit::new(config, &parameters)?;
    let mut optimizer = AdamW::new(parameters.finish()?)?;
    let mut network = Network::new(config, &optimizer)?;
    let decoder = random(rng, config.latent_channels * config.patch_len());
    let batch: Vec<Example> = (0..batch).map(|_| example(config, cells, rng)).collect();
    let rates = Rates { learning_rate: 1e-4, weight_decay: 0.01, clip: 1.0, ema: 0.998 };
    let mut step = || -> Result<f64> {
        let start = Instant::now();
        network.step(optimizer.values(), &decoder, &batch, Sight::Causal)?;
        optimizer.step(network.gradients(), rates)?;
        Ok(start.elapsed().as_secs_f64() * 1000.0)
    };
    step()?;
    (0..steps).map(|_| step()).collect()
}

/// An example of a full window in which every chunk is noisy, so that every cell has a gradient.
pub(super) fn example(config: &Config, (rows, columns): (usize, usize), rng: &mut ChaCha8Rng) -> Example {
    let latents = config.span_latents();
    let cells = latents * rows * columns;
    let input = Input {
        size: (latents, rows, columns),
        noisy: random(rng, cells * config.latent_channels),
        condition: random(rng, cells * config.condition_channels()),
        unknown: vec![true; cells],
        levels: (0..latents / config.chunk_latents).map(|_| 1.0 - rng.random_range(0.0..0.9)).collect(),
    };
    Example {
        input,
        target: random(rng, cells * config.patch_len()),
        smooth: random(rng, cells * config.patch_len()),
        uncovered: (0..cells * config.patch_len() / 3).map(|_| rng.random_range(0.0..1.0)).collect(),
    }
}

fn random(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    normal(rng, &mut values);
    values
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_step_is_timed_and_odd_sizes_are_refused() {
        let times = step_milliseconds(&Config::tiny(), 2, (4, 6), 3).unwrap();
        assert!(times.len() == 3 && times.iter().all(|ms| *ms > 0.0));
        assert!(step_milliseconds(&Config::tiny(), 2, (5, 4), 1).unwrap_err().to_string().contains("5x4"));
    }
}
