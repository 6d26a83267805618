//! A residual block of two 3x3 convolutions, one task per picture. A convolution is three matrix products over a picture with a zero
//! border: the rows of the left factor overlap, so that nothing is unfolded, and run on over the border between two rows of cells;
//! what they give there is thrown away.
//!
//! Invariant: agrees with `model::dit`'s block; dead pictures are neither read nor written. Guarded by `tests.rs`.

use super::geometry::{Geometry, fit};
use super::linear::Names;
use super::ops::{add_columns, bias_gelu, bias_gelu_backward, cut, part, rms_norm, rms_norm_backward, sum_rows, transpose};
use super::product::{Held, Matrix, Target, nn, nt, tn};
use crate::error::Result;
use crate::kernels::vector::dispatch;
use rayon::prelude::*;
use std::ops::Range;

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
    /// Before bias and GELU; its border holds leavings. Becomes its own gradient, its border zero.
    hidden: Vec<f32>,
}

/// What all blocks share.
#[derive(Default)]
pub(super) struct Scratch {
    /// After GELU, its border zero.
    activated: Vec<f32>,
    /// What a convolution gives, its border leavings.
    convolved: Vec<f32>,
    /// The gradient of the output, its border zero.
    gradient: Vec<f32>,
    /// Both weights with their taps turned by 180 degrees and channels exchanged: (3, 3 outputs, inputs).
    turned: Vec<f32>,
    /// Gradients of both weights, (3, 3 inputs, outputs).
    weights: Vec<f32>,
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
        [&self.activated, &self.convolved, &self.gradient, &self.turned, &self.weights, &self.sums, &self.total]
    }
}

/// A picture of `rows` x `columns` cells inside a border, `c` channels.
#[derive(Clone, Copy)]
struct Bordered {
    rows: usize,
    columns: usize,
    c: usize,
}

impl Bordered {
    /// Where the cells of a row are.
    fn row(self, row: usize) -> Range<usize> {
        let start = ((row + 1) * (self.columns + 2) + 1) * self.c;
        start..start + self.columns * self.c
    }

    fn clear_border(self, picture: &mut [f32]) {
        let mut end = 0;
        for row in 0..self.rows {
            let cells = self.row(row);
            picture[end..cells.start].fill(0.0);
            end = cells.end;
        }
        picture[end..].fill(0.0);
    }

    /// Where, in bordered cells, the first and the last cell lie, and those between them.
    fn span(self) -> (usize, usize) {
        (self.columns + 3, self.rows * (self.columns + 2) - 2)
    }

    /// The three factors that a convolution multiplies, one per row of taps: rows of three neighbouring cells.
    fn taps(self, picture: &[f32], tap_row: usize) -> Matrix<'_> {
        Matrix(&picture[tap_row * (self.columns + 2) * self.c..], self.c)
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

    /// `to` gets leavings in its border.
    fn convolve(&self, b: Bordered, x: &[f32], weight: &[f32], to: &mut [f32]) {
        let (c, (first, cells)) = (self.channels, b.span());
        for tap_row in 0..3 {
            let held = if tap_row == 0 { Held::Replaced } else { Held::Kept };
            let weight = Matrix(&weight[tap_row * 3 * c..], 9 * c);
            nt((cells, 3 * c, c), Target(&mut to[first * c..], c), held, b.taps(x, tap_row), weight, 1.0);
        }
    }

    /// The gradient of a convolution's input, which is the convolution with the turned weight.
    fn convolve_back(&self, b: Bordered, dy: &[f32], turned: &[f32], to: &mut [f32]) {
        let (c, (first, cells)) = (self.channels, b.span());
        for tap_row in 0..3 {
            let held = if tap_row == 0 { Held::Replaced } else { Held::Kept };
            let weight = Matrix(&turned[tap_row * 3 * c * c..], c);
            nn((cells, 3 * c, c), Target(&mut to[first * c..], c), held, b.taps(dy, tap_row), weight, 1.0);
        }
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
            self.convolve(b, normed, &values[first.weight], hidden);
            b.clear_border(activated);
            for row in 0..b.rows {
                bias_gelu(&hidden[b.row(row)], &values[first.bias], &mut activated[b.row(row)]);
            }
            self.convolve(b, activated, &values[second.weight], convolved);
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
        let Scratch { activated, convolved, gradient, turned, weights, sums, total } = scratch;
        fit(gradient, pictures * g.bordered_cells() * c);
        fit(turned, 18 * c * c);
        fit(weights, 18 * c * c);
        fit(sums, pictures * 3 * c);
        sums.fill(0.0);
        for (turned, conv) in turned.chunks_exact_mut(9 * c * c).zip(&self.convs) {
            turn(&values[conv.weight], c, turned);
        }
        let (turned_first, turned_second) = turned.split_at(9 * c * c);
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
            self.convolve_back(b, gradient, turned_second, convolved);
            b.clear_border(activated);
            b.clear_border(hidden);
            for row in (0..b.rows).map(|row| b.row(row)) {
                let (hidden, activated) = (&mut hidden[row.clone()], &mut activated[row.clone()]);
                bias_gelu_backward(hidden, &values[first.bias], &convolved[row], activated, dfirst);
            }
            self.convolve_back(b, hidden, turned_first, convolved);
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
        self.weight_gradients(b, live, [(&saved.normed, &saved.hidden), (activated, gradient)], weights);
        for (conv, weights) in self.convs.iter().zip(weights.chunks_exact(9 * c * c)) {
            // (taps' row, tap and input, output) to (output, taps' row, tap and input).
            dispatch(|| transpose(weights, c, &mut gradients[conv.weight]));
        }
    }

    /// Gradients of both weights from their inputs and the gradients of their outputs, whose borders are zero.
    fn weight_gradients(&self, b: Bordered, live: &[bool], operands: [(&Vec<f32>, &Vec<f32>); 2], to: &mut [f32]) {
        let (c, (first, cells)) = (self.channels, b.span());
        // Half a row of taps each: as many tasks as keep a few threads busy, none of them small.
        let half = (3 * c).div_ceil(2);
        let tasks: Vec<_> = to
            .chunks_exact_mut(3 * c * c)
            .enumerate()
            .flat_map(|(i, to)| to.chunks_mut(half * c).enumerate().map(move |(part, to)| (i / 3, i % 3, part * half, to)))
            .collect();
        tasks.into_par_iter().with_max_len(1).for_each(|(conv, tap_row, skip, to)| {
            let (x, dy) = operands[conv];
            let mut held = Held::Replaced;
            for i in (0..live.len()).filter(|i| live[*i]) {
                let x = b.taps(part(x, i, live.len()), tap_row);
                let dy = Matrix(&part(dy, i, live.len())[first * c..], c);
                tn((to.len() / c, cells, c), Target(to, c), held, Matrix(&x.0[skip..], x.1), dy, 1.0);
                held = Held::Kept;
            }
            if held == Held::Replaced {
                to.fill(0.0);
            }
        });
    }
}

/// (output, tap, input) to (turned tap, output, input).
fn turn(weight: &[f32], c: usize, turned: &mut [f32]) {
    for (i, from) in weight.chunks_exact(c).enumerate() {
        let (output, tap) = (i / 9, i % 9);
        turned[((8 - tap) * c + output) * c..][..c].copy_from_slice(from);
    }
}
