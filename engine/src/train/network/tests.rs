//! The step against candle's graph and autograd, and against itself: again and again, and on other numbers of threads.
#![allow(clippy::unwrap_used)]

use super::Network;
use crate::model::config::Config;
use crate::model::dit::{Dit, Past};
use crate::model::parameters::{Parameters, normal};
use crate::model::rope;
use crate::train::example::Example;
use crate::train::loss::COVERED_WEIGHT;
use crate::train::optimizer::{AdamW, Rates};
use crate::train::speed::example;
use candle_core::{Device, Tensor, Var};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// A network all of whose parameters are random, so that no gradient is zero because a layer starts at zero.
fn variables(config: &Config) -> (Dit, BTreeMap<String, Var>) {
    let parameters = Parameters::seeded(1, &Device::Cpu);
    let dit = Dit::new(config, &parameters).unwrap();
    let variables = parameters.finish().unwrap();
    for (i, var) in variables.values().enumerate() {
        let mut noise = vec![0.0; var.elem_count()];
        normal(&mut ChaCha8Rng::seed_from_u64(100 + i as u64), &mut noise);
        let noise = (Tensor::from_vec(noise, var.shape(), &Device::Cpu).unwrap() * 0.1).unwrap();
        var.set(&(var.as_tensor() + noise).unwrap()).unwrap();
    }
    (dit, variables)
}

/// Examples whose chunks have these noise levels; 0 is clean history.
fn batch(config: &Config, cells: (usize, usize), levels: &[&[f32]]) -> (Vec<f32>, Vec<Example>) {
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    let mut decoder = vec![0.0; config.latent_channels * config.patch_len()];
    normal(rng, &mut decoder);
    let example = |levels: &&[f32]| Example { levels: levels.to_vec(), ..example(config, cells, rng) };
    (decoder, levels.iter().map(example).collect())
}

/// The loss as candle composes it from plain operations.
fn reference(dit: &Dit, decoder: &[f32], batch: &[Example]) -> candle_core::Result<Tensor> {
    let config = &dit.config;
    let (latents, rows, columns) = batch[0].size;
    let cells = batch.len() * latents * rows * columns;
    let gather = |of: fn(&Example) -> &Vec<f32>| batch.iter().flat_map(|e| of(e).iter().copied()).collect::<Vec<f32>>();
    let tensor = |values: Vec<f32>, channels: usize| Tensor::from_vec(values, (cells, channels), &Device::Cpu);
    let volume = |values: Tensor| values.reshape((batch.len(), latents, rows, columns, ()));
    let noisy = volume(tensor(gather(|e| &e.noisy), config.latent_channels)?)?;
    let condition = volume(tensor(gather(|e| &e.condition), config.condition_channels())?)?;
    let levels = gather(|e| &e.levels);
    let rotation = rope::rotation(config.dim / config.heads, latents, rows / 2, columns / 2, &Device::Cpu)?;
    let out = dit.forward(&noisy, &condition, &levels, &mut Past::Whole { rotation: &rotation })?;
    let (channels, patch) = (config.latent_channels, config.patch_len());
    let out = out.reshape((cells, channels + 2))?;
    let decoder = Tensor::from_slice(decoder, (channels, patch), &Device::Cpu)?;
    let delta = out.narrow(1, 0, channels)?.contiguous()?.matmul(&decoder)?;
    let delta = (delta + tensor(gather(|e| &e.smooth), patch)?.broadcast_mul(&out.narrow(1, channels, 1)?)?)?;
    let gate = (candle_nn::ops::sigmoid(&(out.narrow(1, channels + 1, 1)? - 4.0)?)?).unsqueeze(2)?;
    let u = tensor(gather(|e| &e.uncovered), patch / 3)?.unsqueeze(2)?;
    let covered = (1.0 - &u)?;
    let open = u.broadcast_add(&covered.broadcast_mul(&gate)?)?;
    let target = tensor(gather(|e| &e.target), patch)?.reshape((cells, patch / 3, 3))?;
    let error = (delta.reshape((cells, patch / 3, 3))?.broadcast_mul(&open)? - target)?;
    let per_cell = latents * rows * columns / batch[0].levels.len();
    let counts = levels.iter().flat_map(|t| std::iter::repeat_n(if *t > 0.0 { 1.0f32 } else { 0.0 }, per_cell)).collect();
    let counts = Tensor::from_vec(counts, (cells, 1, 1), &Device::Cpu)?;
    let weight = (&u + (covered * COVERED_WEIGHT as f64)?)?.broadcast_mul(&counts)?;
    let sum = error.sqr()?.broadcast_mul(&weight)?.sum_all()?;
    sum.div(&(u.broadcast_mul(&counts)?.sum_all()? * 3.0)?)
}

/// Norm of the difference over the norm of `b`.
fn error(a: &[f32], b: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = square(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
    (difference / square(&mut b.iter().map(|b| f64::from(*b)))).sqrt()
}

fn check(config: &Config, cells: (usize, usize), levels: &[&[f32]]) {
    let (dit, variables) = variables(config);
    let (decoder, batch) = batch(config, cells, levels);
    let loss = reference(&dit, &decoder, &batch).unwrap();
    let expected = loss.backward().unwrap();
    let optimizer = AdamW::new(variables.clone()).unwrap();
    let mut network = Network::new(config, &optimizer).unwrap();
    let value = network.step(optimizer.values(), &decoder, &batch).unwrap();
    let truth = loss.to_scalar::<f32>().unwrap();
    assert!((value - truth).abs() < 1e-5 * truth, "loss {value}, candle's {truth}");
    for ((name, var), gradient) in variables.iter().zip(network.gradients()) {
        let expected = expected.get(var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let error = error(gradient, &expected);
        assert!(error < 1e-4, "{name}: relative error {error:e}");
    }
}

#[test]
fn loss_and_every_gradient_agree_with_candle() {
    check(&Config::tiny(), (4, 6), &[&[0.3, 0.9, 1.0, 0.5], &[0.7, 0.2, 0.6, 1.0]]);
}

#[test]
fn odd_sizes_and_clean_history_agree_with_candle() {
    let odd = Config {
        latent_channels: 7,
        smooth_channels: 3,
        id_channels: 6,
        track_channels: 5,
        stem_channels: 11,
        stem_blocks: 2,
        head_blocks: 2,
        dim: 42,
        heads: 3,
        layers: 3,
        ffn_dim: 55,
        time_channels: 10,
        ..Config::tiny()
    };
    check(&odd, (10, 6), &[&[0.0, 0.0, 1.0, 0.5], &[0.0, 0.2, 0.6, 1.0], &[0.0, 0.0, 0.0, 0.4]]);
    // More tokens in a group than a block may have.
    check(&Config { chunk_latents: 3, ..odd }, (2, 182), &[&[0.0, 0.8, 0.9, 0.3]]);
}

#[test]
fn memory_is_flat_from_the_second_step_on_and_sizes_may_change() {
    let config = Config::tiny();
    let mut optimizer = AdamW::new(variables(&config).1).unwrap();
    let mut network = Network::new(&config, &optimizer).unwrap();
    let (decoder, large) = batch(&config, (6, 8), &[&[0.3, 0.9, 1.0, 0.5], &[0.7, 0.2, 0.6, 1.0]]);
    let (_, small) = batch(&config, (4, 6), &[&[0.0, 0.9, 1.0, 0.5]]);
    let rates = Rates { learning_rate: 0.0, weight_decay: 0.0, clip: 1.0, ema: 0.9 };
    let mut seen = Vec::new();
    for batch in [&large, &small, &large, &small, &large] {
        let loss = network.step(optimizer.values(), &decoder, batch).unwrap();
        let norm = optimizer.step(network.gradients(), rates).unwrap();
        seen.push((loss, norm, network.bytes()));
    }
    assert!(seen[0].2 > 0 && seen.iter().all(|s| s.2 == seen[0].2), "{seen:?}");
    // What a buffer held before does not matter.
    assert!(seen[0] == seen[2] && seen[0] == seen[4] && seen[1] == seen[3], "{seen:?}");
}

#[test]
fn threads_do_not_change_a_bit() {
    let config = Config::tiny();
    let optimizer = AdamW::new(variables(&config).1).unwrap();
    let (decoder, batch) = batch(&config, (8, 12), &[&[0.3, 0.9, 1.0, 0.5], &[0.0, 0.2, 0.6, 1.0]]);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut network = Network::new(&config, &optimizer).unwrap();
            let loss = network.step(optimizer.values(), &decoder, &batch).unwrap();
            (loss, network.gradients().to_vec())
        })
    };
    assert!(run(1) == run(3), "one and three threads differ");
}

#[test]
fn what_does_not_fit_is_refused() {
    let config = Config::tiny();
    let optimizer = AdamW::new(variables(&config).1).unwrap();
    let mut network = Network::new(&config, &optimizer).unwrap();
    let (decoder, mut batch) = batch(&config, (4, 6), &[&[0.3, 0.9, 1.0, 0.5], &[0.7, 0.2, 0.6, 1.0]]);
    batch[1].size = (8, 6, 4);
    assert!(network.step(optimizer.values(), &decoder, &batch).unwrap_err().to_string().contains("batch"));
    assert!(network.step(optimizer.values(), &decoder, &[]).is_err());
    let wider = Config { ffn_dim: 50, ..config };
    assert!(Network::new(&wider, &optimizer).err().unwrap().to_string().contains("ffn.0.weight"));
}
