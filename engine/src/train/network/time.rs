//! The embedding of noise levels: one row per level, so few that one thread does it.
//!
//! Invariant: agrees with `model::dit::Dit::time`. Guarded by `tests.rs`.

use super::geometry::fit;
use super::linear::{Linear, Names};
use super::ops::add_columns;
use super::product::{Held, Matrix, WeightGradient, weight_gradients};
use crate::error::Result;
use crate::kernels::vector::{sigmoid, silu_slope};
use crate::model::config::Config;

pub(super) struct Time {
    layers: [Linear; 3],
}

/// Rows are levels.
#[derive(Default)]
pub(super) struct Saved {
    table: Vec<f32>,
    before: [Vec<f32>; 2],
    after: [Vec<f32>; 2],
    /// Modulations of the blocks, 6 dim.
    pub projected: Vec<f32>,
    /// Gradients of `projected` and of the embedding: the blocks and the head add to them.
    pub dprojected: Vec<f32>,
    pub dembedding: Vec<f32>,
    gradient: Vec<f32>,
}

impl Saved {
    /// The embedding itself, dim.
    pub fn embedding(&self) -> &[f32] {
        &self.before[1]
    }

    pub fn buffers(&self) -> [&Vec<f32>; 9] {
        let Self { table, before: [a, b], after: [c, d], projected, dprojected, dembedding, gradient } = self;
        [table, a, b, c, d, projected, dprojected, dembedding, gradient]
    }
}

impl Time {
    pub fn new(config: &Config, names: &Names) -> Result<Self> {
        let d = config.dim;
        Ok(Self {
            layers: [
                names.linear("time_embedding.0", config.time_channels, d)?,
                names.linear("time_embedding.2", d, d)?,
                names.linear("time_projection.1", d, 6 * d)?,
            ],
        })
    }

    /// A row for each of `levels`.
    pub fn forward(&self, values: &[Vec<f32>], levels: &[f32], saved: &mut Saved) {
        let [first, second, third] = &self.layers;
        let (rows, half) = (levels.len(), first.from / 2);
        let Saved { table, before, after, projected, dprojected, dembedding, .. } = saved;
        fit(table, rows * first.from);
        for (row, t) in table.chunks_exact_mut(first.from).zip(levels) {
            for i in 0..half {
                let angle = *t as f64 * 1000.0 * 10_000f64.powf(-(i as f64) / half as f64);
                (row[i], row[half + i]) = (angle.cos() as f32, angle.sin() as f32);
            }
        }
        for buffer in before.iter_mut().chain(after.iter_mut()).chain([&mut *dembedding]) {
            fit(buffer, rows * first.to);
        }
        fit(projected, rows * third.to);
        fit(dprojected, rows * third.to);
        first.forward(values, Matrix(table, first.from), &mut before[0]);
        silu(&before[0], &mut after[0]);
        second.forward(values, Matrix(&after[0], second.from), &mut before[1]);
        silu(&before[1], &mut after[1]);
        third.forward(values, Matrix(&after[1], third.from), projected);
        dprojected.fill(0.0);
        dembedding.fill(0.0);
    }

    /// Needs `dprojected` and `dembedding` complete.
    pub fn backward(&self, values: &[Vec<f32>], saved: &mut Saved, gradients: &mut [Vec<f32>]) {
        let [first, second, third] = &self.layers;
        let Saved { table, before, after, dprojected, dembedding, gradient, .. } = saved;
        fit(gradient, dembedding.len());
        self.parameters(third, dprojected, &after[1], gradients);
        third.backward(values, Matrix(dprojected, third.to), gradient, Held::Replaced);
        for ((to, dy), x) in dembedding.iter_mut().zip(gradient.iter()).zip(&before[1]) {
            *to += dy * silu_slope(*x);
        }
        self.parameters(second, dembedding, &after[0], gradients);
        second.backward(values, Matrix(dembedding, second.to), gradient, Held::Replaced);
        gradient.iter_mut().zip(&before[0]).for_each(|(dy, x)| *dy *= silu_slope(*x));
        self.parameters(first, gradient, table, gradients);
    }

    fn parameters(&self, linear: &Linear, dy: &[f32], x: &[f32], gradients: &mut [Vec<f32>]) {
        let rows = dy.len() / linear.to;
        let (dy_rows, x) = (Matrix(dy, linear.to), Matrix(x, linear.from));
        weight_gradients([WeightGradient { to: &mut gradients[linear.weight], inputs: linear.from, rows: &[0..rows], dy: dy_rows, x }]);
        gradients[linear.bias].fill(0.0);
        add_columns(dy, &mut gradients[linear.bias]);
    }
}

fn silu(x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = x * sigmoid(*x));
}
