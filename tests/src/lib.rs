//! Test support shared by the integration tests in `tests/tests`: random tensors, networks whose every parameter counts, differences.
#![allow(clippy::unwrap_used)]

pub mod desk;
pub mod editing;

use candle_core::{Device, Tensor};
use kinebrush_engine::model::config::Config;
use kinebrush_engine::model::dit::Dit;
use kinebrush_engine::model::parameters::{Parameters, normal};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// Normally distributed numbers.
pub fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    normal(&mut ChaCha8Rng::seed_from_u64(seed), &mut values);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A network in which every parameter has an effect, those that training starts at zero too.
pub fn network(config: &Config) -> Dit {
    let seeded = Parameters::seeded(1, &Device::Cpu);
    Dit::new(config, &seeded).unwrap();
    let variables = seeded.finish().unwrap();
    let moved = variables.into_iter().enumerate().map(|(i, (name, var))| {
        let noise = (random(100 + i as u64, var.dims()) * 0.15).unwrap();
        (name, (var.as_tensor().detach() + noise).unwrap())
    });
    let parameters = Parameters::loaded(Path::new("random"), moved.collect(), &Device::Cpu, false);
    let dit = Dit::new(config, &parameters).unwrap();
    parameters.finish().unwrap();
    dit
}

/// A tensor's numbers.
pub fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference, against the size of the truth, which must not be zero everywhere.
pub fn error(truth: &[f32], ours: &[f32]) -> f32 {
    assert_eq!(truth.len(), ours.len());
    assert!(truth.iter().chain(ours).all(|v| v.is_finite()));
    let scale = truth.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    assert!(scale > 0.0, "there is nothing to compare");
    truth.iter().zip(ours).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}
