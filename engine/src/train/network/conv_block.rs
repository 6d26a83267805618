//! A residual block of two 3x3 convolutions, one task per picture.
//!
//! Invariant: agrees with `model::dit`'s block; dead pictures are neither read nor written. Guarded by `tests.rs`.

use super::geometry::{Geometry, fit};
use super::linear::Names;
use super::ops::{add_columns, bias_gelu, bias_gelu_backward, cut, part, rms_norm, rms_norm_backward, sum_rows};
use super::winograd::{Bordered, ROWS, inputs_first, transformed, weight_of_transformed};
use crate::error::Result;
use rayon::prelude::*;

struct Conv {
    weight: usize,
    bias: usize,
}

pub(super) struct ConvBlock {
    norm: usize,
    convs: [Conv; 2],
    channels: usize,
}

/// What a block keeps for its gradient; pictures with a border.
#[derive(Default)]
pub(super) struct Saved {
    /// The normed input, its border zero.
    normed: Vec<f32>,
    /// Before bias and GELU, its border zero. Becomes its own gradient.
    hidden: Vec<f32>,
}

/// What all blocks share.
#[derive(Default)]
pub(super) struct Scratch {
    /// After GELU, its border zero.
    activated: Vec<f32>,
    /// What a convolution gives.
    convolved: Vec<f32>,
    /// The gradient of the output, its border zero.
    gradient: Vec<f32>,
    /// Both weights transformed, twice: on the way and as the convolutions want them. Then their gradients.
    weights: [Vec<f32>; 2],
    sums: Vec<f32>,
    total: Vec<f32>,
}

impl Saved {
    pub fn buffers(&self) -> [&Vec<f32>; 2] {
        [&self.normed, &self.hidden]
    }
}

impl Scratch {
    pub fn buffers(&self) -> [&Vec<f32>; 7] {
        let [weights, rows] = &self.weights;
        [&self.activated, &self.convolved, &self.gradient, weights, rows, &self.sums, &self.total]
    }
}

impl ConvBlock {
    /// The block at the prefix `name`, e.g. `stem.0`.
    pub fn new(channels: usize, names: &Names, name: &str) -> Result<Self> {
        let conv = |conv: &str| -> Result<Conv> {
            let weight = names.find(&format!("{name}.{conv}.weight"), 9 * channels * channels)?;
            Ok(Conv { weight, bias: names.find(&format!("{name}.{conv}.bias"), channels)? })
        };
        let norm = names.find(&format!("{name}.norm.weight"), channels)?;
        Ok(Self { norm, convs: [conv("conv1")?, conv("conv2")?], channels })
    }

    /// `x` and `out` (cells, channels); `live` per picture.
    pub fn forward(
        &self,
        g: Geometry,
        values: &[Vec<f32>],
        live: &[bool],
        x: &[f32],
        saved: &mut Saved,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let (c, pictures) = (self.channels, g.pictures());
        let b = Bordered { rows: g.rows, columns: g.columns, c };
        for buffer in [&mut saved.normed, &mut saved.hidden, &mut scratch.activated, &mut scratch.convolved] {
            fit(buffer, pictures * g.bordered_cells() * c);
        }
        let [first, second] = &self.convs;
        let [weights, rows] = &mut scratch.weights;
        self.transform(values, false, rows);
        fit(weights, rows.len());
        inputs_first(rows, c, weights);
        let (first_weight, second_weight) = weights.split_at(weights.len() / 2);
        let parts = cut(pictures, [&mut saved.normed, &mut saved.hidden, &mut scratch.activated, &mut scratch.convolved, out]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [normed, hidden, activated, convolved, out])| {
            if !live[i] {
                return;
            }
            let x = part(x, i, pictures);
            b.clear_border(normed);
            for (row, x) in x.chunks_exact(b.columns * c).enumerate() {
                rms_norm(x, &values[self.norm], &mut normed[b.row(row)]);
            }
            b.convolve(normed, first_weight, hidden);
            b.clear_border(activated);
            for row in 0..b.rows {
                bias_gelu(&hidden[b.row(row)], &values[first.bias], &mut activated[b.row(row)]);
            }
            b.convolve(activated, second_weight, convolved);
            let bias = &values[second.bias];
            for (row, (out, x)) in out.chunks_exact_mut(b.columns * c).zip(x.chunks_exact(b.columns * c)).enumerate() {
                let convolved = &convolved[b.row(row)];
                for ((out, x), y) in out.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(convolved.chunks_exact(c)) {
                    out.iter_mut().zip(x).zip(y).zip(bias).for_each(|(((out, x), y), bias)| *out = x + (y + bias));
                }
            }
        });
    }

    /// Turns `dx`, the gradient of the output, into that of the input, in live pictures.
    pub fn backward(
        &self,
        g: Geometry,
        values: &[Vec<f32>],
        live: &[bool],
        x: &[f32],
        saved: &mut Saved,
        scratch: &mut Scratch,
        dx: &mut [f32],
        gradients: &mut [Vec<f32>],
    ) {
        let (c, pictures) = (self.channels, g.pictures());
        let b = Bordered { rows: g.rows, columns: g.columns, c };
        let Scratch { activated, convolved, gradient, weights, sums, total } = scratch;
        fit(gradient, pictures * g.bordered_cells() * c);
        fit(sums, pictures * 3 * c);
        sums.fill(0.0);
        let [weights, rows] = weights;
        self.transform(values, true, rows);
        let (turned_first, turned_second) = rows.split_at(rows.len() / 2);
        let [first, second] = &self.convs;
        let parts = cut(pictures, [dx, &mut saved.hidden, activated, convolved, gradient, sums]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [dx, hidden, activated, convolved, gradient, sums])| {
            if !live[i] {
                return;
            }
            let (dfirst, rest) = sums.split_at_mut(c);
            let (dsecond, dnorm) = rest.split_at_mut(c);
            b.clear_border(gradient);
            for (row, dx) in dx.chunks_exact(b.columns * c).enumerate() {
                gradient[b.row(row)].copy_from_slice(dx);
            }
            add_columns(dx, dsecond);
            b.convolve(gradient, turned_second, convolved);
            b.clear_border(activated);
            for row in (0..b.rows).map(|row| b.row(row)) {
                let (hidden, activated) = (&mut hidden[row.clone()], &mut activated[row.clone()]);
                bias_gelu_backward(hidden, &values[first.bias], &convolved[row], activated, dfirst);
            }
            b.convolve(hidden, turned_first, convolved);
            let rows = dx.chunks_exact_mut(b.columns * c).zip(part(x, i, pictures).chunks_exact(b.columns * c));
            for (row, (dx, x)) in rows.enumerate() {
                rms_norm_backward(x, &values[self.norm], &convolved[b.row(row)], dx, dnorm);
            }
        });
        fit(total, 3 * c);
        sum_rows(sums, total);
        for (place, sum) in [first.bias, second.bias, self.norm].into_iter().zip(total.chunks_exact(c)) {
            gradients[place].copy_from_slice(sum);
        }
        let operands = [(&saved.normed, &saved.hidden), (&*activated, &*gradient)];
        weights.par_chunks_exact_mut(ROWS * c * c).with_max_len(1).enumerate().for_each(|(i, to)| {
            let (x, dy) = operands[i / ROWS];
            let shown = (0..pictures).filter(|picture| live[*picture]);
            b.weight_gradient(shown.map(|picture| (part(x, picture, pictures), part(dy, picture, pictures))), i % ROWS, to);
        });
        for (conv, weights) in self.convs.iter().zip(weights.chunks_exact(weights.len() / 2)) {
            weight_of_transformed(weights, c, &mut gradients[conv.weight]);
        }
    }

    /// Both weights transformed, (2, 16 places, outputs, inputs).
    fn transform(&self, values: &[Vec<f32>], turned: bool, to: &mut Vec<f32>) {
        let c = self.channels;
        fit(to, 2 * ROWS * ROWS * c * c);
        let both = self.convs.par_iter().zip(to.par_chunks_exact_mut(ROWS * ROWS * c * c));
        both.for_each(|(conv, to)| transformed(&values[conv.weight], c, turned, to));
    }
}
