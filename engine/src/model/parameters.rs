//! Where a model's parameters come from: a seed (training) or a checkpoint's tensors (everything else).
//!
//! Invariant: the values of a parameter depend on the seed and its name alone, not on the order of construction; a checkpoint's tensor
//! is used only when its shape fits, and [`Parameters::finish`] names those that nobody asked for.
//! Guarded by the tests below and `tests/tests/bad_input.rs`.

use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How a parameter starts.
#[derive(Clone, Copy, Debug)]
pub enum Init {
    /// All zero: a layer that starts without effect.
    Zeros,
    /// All one.
    Ones,
    /// Normal with this standard deviation.
    Normal(f32),
}

enum Origin {
    Seed(u64),
    Tensors { path: PathBuf, tensors: HashMap<String, Tensor> },
}

struct Store {
    origin: Origin,
    device: Device,
    trainable: bool,
    used: BTreeMap<String, Var>,
    taken: Vec<String>,
}

/// A named place in a tree of parameters.
#[derive(Clone)]
pub struct Parameters {
    prefix: String,
    store: Rc<RefCell<Store>>,
}

impl Parameters {
    /// Fresh trainable parameters.
    pub fn seeded(seed: u64, device: &Device) -> Self {
        Self::of(Origin::Seed(seed), device, true)
    }

    /// Parameters read from `path`, which is named in errors; `trainable` when they are to be trained further.
    pub fn loaded(path: &Path, tensors: HashMap<String, Tensor>, device: &Device, trainable: bool) -> Self {
        Self::of(Origin::Tensors { path: path.to_owned(), tensors }, device, trainable)
    }

    fn of(origin: Origin, device: &Device, trainable: bool) -> Self {
        let store = Store { origin, device: device.clone(), trainable, used: BTreeMap::new(), taken: Vec::new() };
        Self { prefix: String::new(), store: Rc::new(RefCell::new(store)) }
    }

    /// The place `name` below this one.
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), store: self.store.clone() }
    }

    /// The parameter `name`, f32.
    pub fn get(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        let store = &mut *self.store.borrow_mut();
        let tensor = match &store.origin {
            Origin::Seed(seed) => Tensor::from_vec(initial(*seed, &name, shape, init), shape, &store.device)?,
            Origin::Tensors { path, tensors } => {
                let tensor = tensors.get(&name).ok_or_else(|| {
                    Error::file(path, format!("tensor `{name}` is missing; the file does not belong to the description beside it"))
                })?;
                if tensor.dims() != shape {
                    let what = format!("tensor `{name}` has shape {:?}, but the description beside it asks for {shape:?}", tensor.dims());
                    return Err(Error::file(path, what));
                }
                tensor.to_device(&store.device)?.to_dtype(DType::F32)?
            }
        };
        store.taken.push(name.clone());
        if !store.trainable {
            return Ok(tensor);
        }
        let var = Var::from_tensor(&tensor)?;
        let tensor = var.as_tensor().clone();
        store.used.insert(name, var);
        Ok(tensor)
    }

    /// A parameter pair of a fully connected layer: weight (to, from), bias (to).
    pub fn linear(&self, name: &str, from: usize, to: usize, init: Init) -> Result<(Tensor, Tensor)> {
        let at = self.pp(name);
        Ok((at.get("weight", &[to, from], init)?, at.get("bias", &[to], Init::Zeros)?))
    }

    /// Ends construction: the trainable parameters by name; an error if the checkpoint holds tensors that the model does not have.
    pub fn finish(self) -> Result<BTreeMap<String, Var>> {
        let store = &mut *self.store.borrow_mut();
        if let Origin::Tensors { path, tensors } = &store.origin {
            let mut extra: Vec<_> = tensors.keys().filter(|name| !store.taken.contains(name)).collect();
            extra.sort();
            if let Some(name) = extra.first() {
                let what = format!("tensor `{name}` is not part of the model described beside it ({} such tensors)", extra.len());
                return Err(Error::file(path, what));
            }
        }
        Ok(std::mem::take(&mut store.used))
    }
}

fn initial(seed: u64, name: &str, shape: &[usize], init: Init) -> Vec<f32> {
    let count = shape.iter().product();
    match init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Normal(deviation) => {
            let mut noise = vec![0.0; count];
            normal(&mut ChaCha8Rng::seed_from_u64(seed ^ fnv1a(name.as_bytes())), &mut noise);
            noise.iter_mut().for_each(|v| *v *= deviation);
            noise
        }
    }
}

/// FNV-1a of some bytes: a stable hash for seeds and splits.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ *b as u64).wrapping_mul(0x0100_0000_01b3))
}

/// Fills `values` with standard normal numbers (Box-Muller).
pub fn normal(rng: &mut ChaCha8Rng, values: &mut [f32]) {
    for pair in values.chunks_mut(2) {
        let (u, v): (f32, f32) = (rng.random(), rng.random());
        let radius = (-2.0 * (1.0 - u).ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * v).sin_cos();
        pair[0] = radius * cos;
        if let Some(second) = pair.get_mut(1) {
            *second = radius * sin;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_parameter_depends_on_its_name_and_the_seed_alone() {
        let get = |seed, name| {
            let p = Parameters::seeded(seed, &Device::Cpu);
            p.pp("blocks").get(name, &[3, 5], Init::Normal(1.0)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(get(1, "a"), get(1, "a"));
        assert_ne!(get(1, "a"), get(1, "b"));
        assert_ne!(get(1, "a"), get(2, "a"));
    }

    #[test]
    fn normal_numbers_have_unit_variance() {
        let mut x = vec![0.0; 20_001];
        normal(&mut ChaCha8Rng::seed_from_u64(5), &mut x);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05 && x.iter().all(|v| v.is_finite()));
    }
}
