//! The step against candle's graph and autograd, and against itself: again and again, and on other numbers of threads.
#![allow(clippy::unwrap_used)]

use super::{Network, Past as Held, Sight};
use crate::model::config::Config;
use crate::model::dit::{Dit, Past};
use crate::model::kv_window::KvWindow;
use crate::model::parameters::{Parameters, normal};
use crate::model::rope;
use crate::train::example::{Example, Input};
use crate::train::loss::{COVERED_WEIGHT, LEAST_ERROR, LEAST_SHARE};
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

/// Cells of which a corner is unknown, all, or nothing, latent by latent: tokens of both kinds, and chunks of one kind alone.
fn unknown((latents, rows, columns): (usize, usize, usize)) -> Vec<bool> {
    let cell = |i: usize| (i / (rows * columns), i % (rows * columns));
    (0..latents * rows * columns).map(cell).map(|(latent, cell)| [cell == 0, true, false, false][latent % 4]).collect()
}

/// Examples whose chunks have these noise levels; 0 is clean history.
fn batch(config: &Config, cells: (usize, usize), levels: &[&[f32]]) -> (Vec<f32>, Vec<Example>) {
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    let mut decoder = vec![0.0; config.latent_channels * config.patch_len()];
    normal(rng, &mut decoder);
    let example = |levels: &&[f32]| {
        let example = example(config, cells, rng);
        Example { input: Input { levels: levels.to_vec(), unknown: unknown(example.input.size), ..example.input }, ..example }
    };
    (decoder, levels.iter().map(example).collect())
}

/// The loss as candle composes it from plain operations.
fn reference(dit: &Dit, decoder: &[f32], batch: &[Example], causal: bool) -> candle_core::Result<Tensor> {
    let config = &dit.config;
    let (latents, rows, columns) = batch[0].input.size;
    let cells = batch.len() * latents * rows * columns;
    let gather = |of: fn(&Example) -> &Vec<f32>| batch.iter().flat_map(|e| of(e).iter().copied()).collect::<Vec<f32>>();
    let tensor = |values: Vec<f32>, channels: usize| Tensor::from_vec(values, (cells, channels), &Device::Cpu);
    let volume = |values: Tensor| values.reshape((batch.len(), latents, rows, columns, ()));
    let noisy = volume(tensor(gather(|e| &e.input.noisy), config.latent_channels)?)?;
    let condition = volume(tensor(gather(|e| &e.input.condition), config.condition_channels())?)?;
    let levels = gather(|e| &e.input.levels);
    let rotation = rope::rotation(config.dim / config.heads, latents, rows / 2, columns / 2, &Device::Cpu)?;
    let unknown: Vec<bool> = batch.iter().flat_map(|e| e.input.unknown.iter().copied()).collect();
    let out = dit.forward(&noisy, &condition, &levels, &unknown, &mut Past::Whole { rotation: &rotation, causal })?;
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
    let error = (delta.reshape((cells, patch / 3, 3))?.broadcast_mul(&open)? - &target)?;
    let per_cell = latents * rows * columns / batch[0].input.levels.len();
    let counts = levels.iter().flat_map(|t| std::iter::repeat_n(if *t > 0.0 { 1.0f32 } else { 0.0 }, per_cell)).collect();
    let counts = Tensor::from_vec(counts, (cells, 1, 1), &Device::Cpu)?;
    let shown = unknown.iter().map(|unknown| f32::from(u8::from(*unknown || config.covered_correction > 0.0))).collect();
    let shown = Tensor::from_vec(shown, (cells, 1, 1), &Device::Cpu)?;
    let weight = (&u + (covered * COVERED_WEIGHT as f64)?)?.broadcast_mul(&(&counts * shown)?)?;
    let by_clip = |values: Tensor| values.reshape((batch.len(), ()))?.sum(1);
    let least = LEAST_SHARE * (latents * rows * columns * patch) as f64;
    let count = (by_clip(weight.clone())? * 3.0)?.maximum(least)?;
    let guide = by_clip(target.sqr()?.broadcast_mul(&weight)?)?;
    let least = (count * LEAST_ERROR)?;
    (by_clip(error.sqr()?.broadcast_mul(&weight)?)? + &least)?.div(&(guide + &least)?)?.log()?.mean_all()
}

/// Norm of the difference over the norm of `b`.
fn error(a: &[f32], b: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = square(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
    (difference / square(&mut b.iter().map(|b| f64::from(*b)))).sqrt()
}

fn check(config: &Config, cells: (usize, usize), levels: &[&[f32]], causal: bool) {
    let sight = if causal { Sight::Causal } else { Sight::All };
    let (dit, variables) = variables(config);
    let (decoder, batch) = batch(config, cells, levels);
    let loss = reference(&dit, &decoder, &batch, causal).unwrap();
    let expected = loss.backward().unwrap();
    let optimizer = AdamW::new(variables.clone()).unwrap();
    let mut network = Network::new(config, &optimizer).unwrap();
    let value = network.step(optimizer.values(), &decoder, &batch, sight).unwrap();
    let truth = loss.to_scalar::<f32>().unwrap();
    assert!((value - truth).abs() < 1e-5 * truth.abs(), "loss {value}, candle's {truth}");
    for ((name, var), gradient) in variables.iter().zip(network.gradients()) {
        let expected = expected.get(var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let error = error(gradient, &expected);
        assert!(error < 1e-4, "{name}: relative error {error:e}");
    }
}

#[test]
fn loss_and_every_gradient_agree_with_candle() {
    check(&Config::tiny(), (4, 6), &[&[0.3, 0.9, 1.0, 0.5], &[0.7, 0.2, 0.6, 1.0]], true);
    check(&Config::tiny(), (4, 6), &[&[0.3, 0.9, 1.0, 0.5], &[0.7, 0.2, 0.6, 1.0]], false);
    check(&Config { covered_correction: 1.0, normed: false, ..Config::tiny() }, (4, 6), &[&[0.3, 0.9, 1.0, 0.5]], true);
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
    check(&odd, (10, 6), &[&[0.0, 0.0, 1.0, 0.5], &[0.0, 0.2, 0.6, 1.0], &[0.0, 0.0, 0.0, 0.4]], true);
    // More tokens in a group than a block may have.
    check(&Config { chunk_latents: 3, ..odd.clone() }, (2, 182), &[&[0.0, 0.8, 0.9, 0.3]], true);
    let odd_all = Config { chunk_latents: 2, ..odd };
    check(&odd_all, (6, 4), &[&[0.0, 0.6, 0.2, 1.0]], false);
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
        let loss = network.step(optimizer.values(), &decoder, batch, Sight::Causal).unwrap();
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
            let loss = network.step(optimizer.values(), &decoder, &batch, Sight::Causal).unwrap();
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
    batch[1].input.size = (8, 6, 4);
    assert!(network.step(optimizer.values(), &decoder, &batch, Sight::Causal).unwrap_err().to_string().contains("batch"));
    assert!(network.step(optimizer.values(), &decoder, &[], Sight::Causal).is_err());
    let wider = Config { ffn_dim: 50, ..config };
    assert!(Network::new(&wider, &optimizer).err().unwrap().to_string().contains("ffn.0.weight"));
}

/// A network, a chunk behind a window that real chunks were committed to, and what candle's graph says to it.
fn behind_a_window() -> (AdamW, Network, Held, Input, Vec<f32>) {
    let config = &Config::tiny();
    let (dit, variables) = variables(config);
    let optimizer = AdamW::new(variables).unwrap();
    let network = Network::new(config, &optimizer).unwrap();
    let (_, examples) = batch(config, (4, 6), &[&[1.0; 4]]);
    let batch = &examples[0];
    let (rows, columns) = (batch.input.size.1, batch.input.size.2);
    let mut window = KvWindow::new(config, rows / 2, columns / 2, &Device::Cpu).unwrap();
    let cells = config.chunk_latents * rows * columns;
    let tensor = |values: &[f32], chunk: usize, channels: usize| {
        let part = &values[chunk * cells * channels..][..cells * channels];
        Tensor::from_slice(part, (1, config.chunk_latents, rows, columns, channels), &Device::Cpu).unwrap()
    };
    let pass = |window: &mut KvWindow, chunk: usize, level: f32| {
        let noisy = tensor(&batch.input.noisy, chunk, config.latent_channels);
        let condition = tensor(&batch.input.condition, chunk, config.condition_channels());
        let unknown = &batch.input.unknown[chunk * cells..][..cells];
        dit.forward(&noisy, &condition, &[level], unknown, &mut Past::Window(window))
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
    };
    // More chunks than the window holds, so that it has rolled.
    for chunk in [0, 1, 2, 1, 3] {
        pass(&mut window, chunk, 0.0);
        window.commit().unwrap();
    }
    let expected = pass(&mut window, 2, 0.7);
    let part = |values: &[f32], channels: usize| values[2 * cells * channels..][..cells * channels].to_vec();
    let input = Input {
        size: (config.chunk_latents, rows, columns),
        noisy: part(&batch.input.noisy, config.latent_channels),
        condition: part(&batch.input.condition, config.condition_channels()),
        unknown: batch.input.unknown[2 * cells..][..cells].to_vec(),
        levels: vec![0.7],
    };
    (optimizer, network, Held { tokens: window.filled(), layers: window.held().unwrap() }, input, expected)
}

#[test]
fn a_chunk_behind_a_rolled_window_is_what_inference_makes_of_it() {
    let (optimizer, mut network, held, input, expected) = behind_a_window();
    let mut out = Vec::new();
    network.output(optimizer.values(), &[&input], Sight::After(&held), &mut out).unwrap();
    assert!(error(&out, &expected) < 1e-5, "{}", error(&out, &expected));
    // A window of another size is refused.
    let foreign = Held { tokens: held.tokens / 2, ..held.clone() };
    assert!(network.output(optimizer.values(), &[&input], Sight::After(&foreign), &mut out).unwrap_err().to_string().contains("past"));
}

#[test]
fn the_gradient_behind_a_window_agrees_with_finite_differences() {
    let (optimizer, mut network, held, input, expected) = behind_a_window();
    // Half the square of the distance from a target: its gradient is the difference.
    let target: Vec<f32> = expected.iter().enumerate().map(|(i, v)| v + ((i % 7) as f32 - 3.0) * 0.1).collect();
    let objective = |picture: usize, out: &mut [f32]| {
        let target = &target[picture * out.len()..][..out.len()];
        out.iter_mut().zip(target).for_each(|(out, target)| *out -= target);
        out.iter().map(|d| 0.5 * f64::from(*d).powi(2)).sum()
    };
    let mut values = optimizer.values().to_vec();
    let loss =
        |network: &mut Network, values: &[Vec<f32>]| network.step_towards(values, &[&input], Sight::After(&held), &objective).unwrap();
    loss(&mut network, &values);
    let gradients = network.gradients().to_vec();
    for (i, name) in optimizer.names().iter().enumerate() {
        // Along the gradient itself the change is largest, so rounding matters least.
        let norm = gradients[i].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(norm > 0.0, "{name} has no gradient");
        let before = values[i].clone();
        let mut moved = |by: f64, values: &mut Vec<Vec<f32>>| {
            values[i] = before.iter().zip(&gradients[i]).map(|(v, g)| v + (by / norm) as f32 * g).collect();
            loss(&mut network, values)
        };
        let numeric = (moved(3e-3, &mut values) - moved(-3e-3, &mut values)) / 6e-3;
        values[i] = before;
        assert!((numeric - norm).abs() < 0.02 * norm + 1e-4, "{name}: {numeric} {norm}");
    }
}
