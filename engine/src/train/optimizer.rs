//! AdamW (Loshchilov & Hutter 2019) with gradient clipping and an exponential moving average of the parameters.
//!
//! Invariant: the whole state can be saved and restored, so a run that was stopped goes on at the very step. The parameters lie here, flat,
//! and are read here by [`crate::train::network`]: nothing is copied per step. Guarded by the tests below and those of `trainer`.

use crate::error::{Error, Result};
use crate::kernels::vector::dispatch;
use crate::model::checkpoint::write_tensors;
use crate::train::network::lanes::map;
use candle_core::{Device, Tensor, Var, safetensors};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Rates of the optimizer.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of weights (not of biases, norms and modulations).
    pub weight_decay: f64,
    /// Largest norm of a gradient.
    pub clip: f64,
    /// Decay of the average.
    pub ema: f32,
}

/// The parameters and the optimizer's state: lists in the order of the names, each parameter flat.
pub struct AdamW {
    names: Vec<String>,
    shapes: Vec<Vec<usize>>,
    values: Vec<Vec<f32>>,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    average: Vec<Vec<f32>>,
    steps: u64,
}

const BETAS: (f64, f64) = (0.9, 0.95);
/// Guards the division alone. Behind gates that start nearly shut and norms of a large stream, gradients of the transformer are a
/// millionth of the head's, about 1e-9: the usual 1e-8 holds them still for ever.
const EPSILON: f32 = 1e-15;
/// Pace of what the noise level passes through. Its sinusoids are all near one at level 0, and hundreds of steps of one size and sign add up
/// in every modulation: at full pace those of history grew a hundredfold within minutes.
const PACE_OF_TIME: f32 = 0.02;
/// Numbers a task works on; a fixed number, so that sums do not depend on the number of threads.
const BLOCK: usize = 1 << 14;

impl AdamW {
    /// A fresh state for these parameters, whose values are taken over.
    pub fn new(variables: BTreeMap<String, Var>) -> Result<Self> {
        let shapes = variables.values().map(|var| var.dims().to_vec()).collect();
        let values = variables.values().map(|var| Ok(var.flatten_all()?.to_vec1::<f32>()?)).collect::<Result<Vec<_>>>()?;
        let zeros: Vec<_> = values.iter().map(|value| vec![0.0; value.len()]).collect();
        let (average, names) = (values.clone(), variables.into_keys().collect());
        Ok(Self { names, shapes, values, first: zeros.clone(), second: zeros, average, steps: 0 })
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Names of the parameters, ascending: the order of all lists.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The parameters as they are now, each flat.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// Numbers that are trained.
    pub fn parameters(&self) -> usize {
        self.values.iter().map(Vec::len).sum()
    }

    /// One step by a gradient for each parameter; returns its norm before clipping. A step whose gradient is not finite is skipped.
    pub fn step(&mut self, gradients: &[Vec<f32>], rates: Rates) -> Result<f64> {
        let lengths = || gradients.iter().map(Vec::len);
        if !lengths().eq(self.values.iter().map(Vec::len)) {
            return Err(Error::field("gradients", "do not fit the trained parameters; they belong to another model"));
        }
        let square = |block: &[f32]| {
            let mut sums = [0f64; 8];
            block.chunks(8).for_each(|eight| sums.iter_mut().zip(eight).for_each(|(sum, v)| *sum += f64::from(*v).powi(2)));
            sums.iter().sum::<f64>()
        };
        let squares: Vec<f64> = gradients.par_iter().flat_map(|g| g.par_chunks(BLOCK).map(square)).collect();
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.steps += 1;
        let correction = |beta: f64| 1.0 - beta.powi(self.steps.min(100_000) as i32);
        let update = Update {
            clip: (rates.clip / norm.max(1e-12)).min(1.0) as f32,
            step: (rates.learning_rate / correction(BETAS.0)) as f32,
            second_scale: (1.0 / correction(BETAS.1)) as f32,
            // Early on the average follows closely, or it would remember the random start.
            ema: rates.ema.min((1.0 + self.steps as f32) / (10.0 + self.steps as f32)),
        };
        let state = blocks(&mut self.values).zip(blocks(&mut self.first)).zip(blocks(&mut self.second)).zip(blocks(&mut self.average));
        let tasks: Vec<_> = state
            .zip(gradients.iter().enumerate().flat_map(|(i, g)| g.chunks(BLOCK).map(move |block| (i, block))))
            .map(|((((value, first), second), average), (i, gradient))| {
                let decays = self.shapes[i].len() >= 2 && self.names[i].ends_with("weight");
                let pace = if self.names[i].starts_with("time_") { PACE_OF_TIME } else { 1.0 };
                let keep = 1.0 - if decays { (rates.learning_rate * rates.weight_decay) as f32 } else { 0.0 };
                (Update { step: pace * update.step, ..update }, keep, gradient, value, first, second, average)
            })
            .collect();
        tasks.into_par_iter().for_each(|(update, keep, gradient, value, first, second, average)| {
            dispatch(
                #[inline(always)]
                || update.apply(keep, gradient, value, first, second, average),
            );
        });
        Ok(norm)
    }

    /// The averaged parameters: what is shown and shipped.
    pub fn averaged(&self) -> Result<BTreeMap<String, Tensor>> {
        self.tensors(&self.average)
    }

    /// The parameters as they are now: what a rollout in training is made with.
    pub fn current(&self) -> Result<BTreeMap<String, Tensor>> {
        self.tensors(&self.values)
    }

    fn tensors(&self, list: &[Vec<f32>]) -> Result<BTreeMap<String, Tensor>> {
        let tensor = |((name, shape), values): ((&String, &Vec<usize>), &Vec<f32>)| {
            Ok((name.clone(), Tensor::from_slice(values, shape.as_slice(), &Device::Cpu)?))
        };
        self.names.iter().zip(&self.shapes).zip(list).map(tensor).collect()
    }

    /// Writes everything to a file, and these numbers of a run with it.
    pub fn save<'a>(&self, path: &Path, numbers: impl IntoIterator<Item = (&'a str, f64)>) -> Result<()> {
        let mut tensors = self.state()?;
        for (name, value) in numbers {
            tensors.insert(name.into(), Tensor::from_slice(&[value], 1, &Device::Cpu)?);
        }
        write_tensors(path, &tensors)
    }

    /// Takes up what was saved to a file; returns those of the numbers that are in it.
    pub fn load<const N: usize>(&mut self, path: &Path, names: [&str; N]) -> Result<[Option<f64>; N]> {
        let tensors = safetensors::load(path, &Device::Cpu).map_err(|e| Error::file(path, e))?;
        self.restore(&tensors).map_err(|e| Error::file(path, e))?;
        let mut numbers = [None; N];
        for (number, name) in numbers.iter_mut().zip(names) {
            let held = tensors.get(name).map(|tensor| tensor.to_vec1::<f64>()).transpose().map_err(|e| Error::file(path, e))?;
            *number = held.and_then(|held| held.first().copied());
        }
        Ok(numbers)
    }

    /// Everything, as named tensors.
    fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut state = HashMap::new();
        for (group, list) in [("value", &self.values), ("first", &self.first), ("second", &self.second), ("ema", &self.average)] {
            state.extend(self.tensors(list)?.into_iter().map(|(name, tensor)| (format!("{group}/{name}"), tensor)));
        }
        state.insert("steps".into(), Tensor::from_slice(&[self.steps as i64], 1, &Device::Cpu)?);
        Ok(state)
    }

    /// Takes up a saved state.
    fn restore(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let find = |name: String| state.get(&name).ok_or_else(|| Error::field(name, "is missing in the saved training state"));
        let steps = find("steps".into())?.to_vec1::<i64>()?;
        self.steps = *steps.first().ok_or_else(|| Error::field("steps", "is empty in the saved training state"))? as u64;
        let Self { names, shapes, values, first, second, average, .. } = self;
        for (group, list) in [("value", values), ("first", first), ("second", second), ("ema", average)] {
            for ((name, shape), to) in names.iter().zip(shapes.iter()).zip(list) {
                let tensor = find(format!("{group}/{name}"))?;
                if tensor.dims() != shape.as_slice() {
                    return Err(Error::field(name, "has another shape in the saved training state; it belongs to another model"));
                }
                *to = tensor.flatten_all()?.to_vec1::<f32>()?;
            }
        }
        Ok(())
    }
}

fn blocks(list: &mut [Vec<f32>]) -> impl Iterator<Item = &mut [f32]> {
    list.iter_mut().flat_map(|values| values.chunks_mut(BLOCK))
}

/// The numbers of one step.
#[derive(Clone, Copy)]
struct Update {
    clip: f32,
    step: f32,
    second_scale: f32,
    ema: f32,
}

impl Update {
    #[inline(always)]
    fn apply(&self, keep: f32, gradient: &[f32], value: &mut [f32], first: &mut [f32], second: &mut [f32], average: &mut [f32]) {
        let (b1, b2) = (BETAS.0 as f32, BETAS.1 as f32);
        map([gradient], [value, first, second, average], |[gradient], [value, first, second, average]| {
            let g = gradient * self.clip;
            let first = b1 * first + (1.0 - b1) * g;
            let second = b2 * second + (1.0 - b2) * g * g;
            let value = value * keep - self.step * first / ((second * self.second_scale).sqrt() + EPSILON);
            [value, first, second, average + (1.0 - self.ema) * (value - average)]
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RATES: Rates = Rates { learning_rate: 0.1, weight_decay: 0.5, clip: 1.0, ema: 0.5 };

    fn optimizer() -> AdamW {
        let var = |values: &[f32], shape: &[usize]| Var::from_slice(values, shape, &Device::Cpu).unwrap();
        AdamW::new(BTreeMap::from([("a.weight".into(), var(&[1.0, -2.0], &[1, 2])), ("a.bias".into(), var(&[3.0], &[1]))])).unwrap()
    }

    #[test]
    fn a_step_follows_the_published_formula() {
        let mut optimizer = optimizer();
        assert_eq!(optimizer.names(), ["a.bias", "a.weight"]);
        let norm = optimizer.step(&[vec![6.0], vec![0.0, -8.0]], RATES).unwrap();
        assert_eq!(norm, 10.0);
        // The first step of Adam has the size of the learning rate whatever the gradient's size; weights shrink by their decay.
        let [bias, weight] = optimizer.values() else { panic!("two parameters") };
        let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert!(near(bias[0], 3.0 - 0.1) && near(weight[0], 0.95) && near(weight[1], -2.0 * 0.95 + 0.1), "{bias:?} {weight:?}");
        let average = optimizer.averaged().unwrap()["a.bias"].to_vec1::<f32>().unwrap()[0];
        assert!(near(average, 3.0 - 0.1 * (1.0 - 2.0 / 11.0)), "{average}");
    }

    #[test]
    fn a_parameter_with_a_tiny_gradient_moves_as_fast_as_another() {
        let mut optimizer = optimizer();
        for _ in 0..3 {
            optimizer.step(&[vec![1e-12], vec![0.6, 0.0]], RATES).unwrap();
        }
        let [bias, weight] = optimizer.values() else { panic!("two parameters") };
        assert!((bias[0] - (3.0 - 0.3)).abs() < 1e-3 && weight[0] < 0.7, "{bias:?} {weight:?}");
    }

    #[test]
    fn what_the_noise_level_passes_through_moves_slowly() {
        let var = || Var::from_slice(&[1.0f32], &[1], &Device::Cpu).unwrap();
        let mut optimizer = AdamW::new(BTreeMap::from([("a.bias".into(), var()), ("time_projection.1.bias".into(), var())])).unwrap();
        optimizer.step(&[vec![0.5], vec![0.5]], RATES).unwrap();
        let [plain, time] = optimizer.values() else { panic!("two parameters") };
        assert!((plain[0] - 0.9).abs() < 1e-6 && (time[0] - (1.0 - 0.1 * PACE_OF_TIME)).abs() < 1e-6, "{plain:?} {time:?}");
    }

    #[test]
    fn what_cannot_be_used_changes_nothing() {
        let mut optimizer = optimizer();
        let before = optimizer.values().to_vec();
        assert!(optimizer.step(&[vec![f32::NAN], vec![0.0, 0.0]], RATES).unwrap().is_nan());
        assert!(optimizer.step(&[vec![1.0, 1.0], vec![0.0, 0.0]], RATES).is_err());
        assert!(optimizer.steps() == 0 && optimizer.values() == before);
    }
}
