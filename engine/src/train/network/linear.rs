//! A fully connected layer by the places of its parameters.
//!
//! Invariant: the weight is read where the optimizer keeps it; only a layer that was prepared holds a second form of it, for this step.
//! Guarded by `tests.rs`.

use super::geometry::fit;
use super::ops::{fill_rows, transpose};
use super::product::{Held, Matrix, Target, nn, nt};
use crate::error::{Error, Result};
use crate::kernels::vector::dispatch;

/// Names of the parameters in the optimizer's order, with the sizes that each must have.
pub(super) struct Names<'a> {
    pub names: &'a [String],
    pub values: &'a [Vec<f32>],
}

impl Names<'_> {
    /// The place of the parameter `name`, which holds `len` numbers.
    pub fn find(&self, name: &str, len: usize) -> Result<usize> {
        match self.names.iter().position(|n| n == name) {
            Some(place) if self.values[place].len() == len => Ok(place),
            Some(place) => Err(Error::field(name, format!("holds {} numbers where the network needs {len}", self.values[place].len()))),
            None => Err(Error::field(name, "is not among the trained parameters")),
        }
    }

    pub fn linear(&self, name: &str, from: usize, to: usize) -> Result<Linear> {
        let weight = self.find(&format!("{name}.weight"), from * to)?;
        Ok(Linear { weight, bias: self.find(&format!("{name}.bias"), to)?, from, to, transposed: Vec::new() })
    }
}

/// `y = x w^T + b`.
pub(super) struct Linear {
    pub weight: usize,
    pub bias: usize,
    pub from: usize,
    pub to: usize,
    /// (from, to): products of few rows are a fifth faster than with the weight itself.
    transposed: Vec<f32>,
}

impl Linear {
    /// Brings the weight into the form for many products. To be called in each step or never.
    pub fn prepare(&mut self, values: &[Vec<f32>]) {
        fit(&mut self.transposed, self.from * self.to);
        dispatch(|| transpose(&values[self.weight], self.from, &mut self.transposed));
    }

    /// Memory of the second form.
    pub fn buffer(&self) -> &Vec<f32> {
        &self.transposed
    }

    /// `y` (rows, to) without gaps, from `x` with rows of its own stride.
    pub fn forward(&self, values: &[Vec<f32>], x: Matrix, y: &mut [f32]) {
        fill_rows(y, &values[self.bias]);
        let rows = y.len() / self.to;
        self.product(values, x, Target(y, self.to), rows);
    }

    /// As [`Linear::forward`], to columns of a wider matrix.
    pub fn forward_to(&self, values: &[Vec<f32>], x: Matrix, y: Target, rows: usize) {
        for row in y.0.chunks_mut(y.1).take(rows) {
            row[..self.to].copy_from_slice(&values[self.bias]);
        }
        self.product(values, x, y, rows);
    }

    fn product(&self, values: &[Vec<f32>], x: Matrix, y: Target, rows: usize) {
        let size = (rows, self.from, self.to);
        match self.transposed.is_empty() {
            true => nt(size, y, Held::Kept, x, Matrix(&values[self.weight], self.from), 1.0),
            false => nn(size, y, Held::Kept, x, Matrix(&self.transposed, self.to), 1.0),
        }
    }

    /// The gradient of `x`, (rows, from) without gaps.
    pub fn backward(&self, values: &[Vec<f32>], dy: Matrix, dx: &mut [f32], held: Held) {
        let rows = dx.len() / self.from;
        nn((rows, self.to, self.from), Target(dx, self.from), held, dy, Matrix(&values[self.weight], self.from), 1.0);
    }
}
