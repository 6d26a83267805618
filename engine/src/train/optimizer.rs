//! AdamW (Loshchilov & Hutter 2019) with gradient clipping and an exponential moving average of the parameters.
//!
//! Invariant: the whole state can be saved and restored, so a run that was stopped goes on at the very step. candle's AdamW keeps its
//! moments to itself and works on one thread, hence our own. Guarded by the tests of `trainer`.

use crate::error::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

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

struct Slot {
    name: String,
    var: Var,
    first: Vec<f32>,
    second: Vec<f32>,
    average: Vec<f32>,
}

/// The optimizer's state.
pub struct AdamW {
    slots: Vec<Slot>,
    steps: u64,
}

const BETAS: (f64, f64) = (0.9, 0.95);

impl AdamW {
    /// A fresh state for these parameters.
    pub fn new(variables: BTreeMap<String, Var>) -> Result<Self> {
        let slot = |(name, var): (String, Var)| -> Result<Slot> {
            let average = var.flatten_all()?.to_vec1::<f32>()?;
            let zeros = vec![0.0; average.len()];
            Ok(Slot { name, var, first: zeros.clone(), second: zeros, average })
        };
        Ok(Self { slots: variables.into_iter().map(slot).collect::<Result<_>>()?, steps: 0 })
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Numbers that are trained.
    pub fn parameters(&self) -> usize {
        self.slots.iter().map(|s| s.first.len()).sum()
    }

    /// One step; returns the norm of the gradient before clipping. A step whose gradient is not finite is skipped.
    pub fn step(&mut self, grads: &GradStore, rates: Rates) -> Result<f64> {
        let gradients = self
            .slots
            .iter()
            .map(|s| {
                let gradient = grads.get(s.var.as_tensor()).ok_or_else(|| Error::field(&s.name, "got no gradient; an op dropped it"))?;
                Ok(gradient.flatten_all()?.to_vec1::<f32>()?)
            })
            .collect::<Result<Vec<_>>>()?;
        let square: f64 = gradients.par_iter().map(|g| g.iter().map(|v| (*v as f64).powi(2)).sum::<f64>()).collect::<Vec<_>>().iter().sum();
        let norm = square.sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.steps += 1;
        let clip = (rates.clip / norm.max(1e-12)).min(1.0) as f32;
        let correction = |beta: f64| 1.0 - beta.powi(self.steps.min(100_000) as i32);
        let step = (rates.learning_rate / correction(BETAS.0)) as f32;
        let second_scale = (1.0 / correction(BETAS.1)) as f32;
        // Early on the average follows closely, or it would remember the random start.
        let ema = rates.ema.min((1.0 + self.steps as f32) / (10.0 + self.steps as f32));
        let (b1, b2) = (BETAS.0 as f32, BETAS.1 as f32);
        self.slots.par_iter_mut().zip(&gradients).try_for_each(|(slot, gradient)| -> candle_core::Result<()> {
            let decays = slot.var.rank() >= 2 && slot.name.ends_with("weight");
            let keep = 1.0 - if decays { (rates.learning_rate * rates.weight_decay) as f32 } else { 0.0 };
            let mut value = slot.var.flatten_all()?.to_vec1::<f32>()?;
            for i in 0..value.len() {
                let g = gradient[i] * clip;
                slot.first[i] = b1 * slot.first[i] + (1.0 - b1) * g;
                slot.second[i] = b2 * slot.second[i] + (1.0 - b2) * g * g;
                value[i] = value[i] * keep - step * slot.first[i] / ((slot.second[i] * second_scale).sqrt() + 1e-8);
                slot.average[i] += (1.0 - ema) * (value[i] - slot.average[i]);
            }
            slot.var.set(&Tensor::from_vec(value, slot.var.shape(), &Device::Cpu)?)
        })?;
        Ok(norm)
    }

    /// The averaged parameters: what is shown and shipped.
    pub fn averaged(&self) -> Result<BTreeMap<String, Tensor>> {
        self.each(|s| &s.average)
    }

    fn each(&self, of: impl Fn(&Slot) -> &Vec<f32>) -> Result<BTreeMap<String, Tensor>> {
        let tensor = |s: &Slot| Ok((s.name.clone(), Tensor::from_slice(of(s), s.var.shape(), &Device::Cpu)?));
        self.slots.iter().map(tensor).collect()
    }

    /// Everything, as named tensors.
    pub fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut state = HashMap::new();
        let current: BTreeMap<_, _> = self.slots.iter().map(|s| (s.name.clone(), s.var.as_tensor().clone())).collect();
        let groups =
            [("value", current), ("first", self.each(|s| &s.first)?), ("second", self.each(|s| &s.second)?), ("ema", self.averaged()?)];
        for (group, tensors) in groups {
            state.extend(tensors.into_iter().map(|(name, tensor)| (format!("{group}/{name}"), tensor)));
        }
        state.insert("steps".into(), Tensor::from_slice(&[self.steps as i64], 1, &Device::Cpu)?);
        Ok(state)
    }

    /// Takes up a saved state.
    pub fn restore(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let find = |name: String| state.get(&name).ok_or_else(|| Error::field(name, "is missing in the saved training state"));
        self.steps = find("steps".into())?.to_vec1::<i64>()?[0] as u64;
        for slot in &mut self.slots {
            slot.var.set(find(format!("value/{}", slot.name))?)?;
            for (group, to) in [("first", &mut slot.first), ("second", &mut slot.second), ("ema", &mut slot.average)] {
                let values = find(format!("{group}/{}", slot.name))?.flatten_all()?.to_vec1::<f32>()?;
                if values.len() != to.len() {
                    return Err(Error::field(&slot.name, "has another shape in the saved training state; it belongs to another model"));
                }
                *to = values;
            }
        }
        Ok(())
    }
}
