//! The convolutional part: stem, residual blocks and head on rows of cells.

use super::plane::{Plane, each_row};
use super::row_ops::{gelu, rms_norm};
use super::weights::{Conv, Projection};
use super::{Fused, even, narrow_rows};
use crate::kernels::isa::{COLUMNS, Isa, ROWS};
use crate::kernels::panels::multiply;
use rayon::prelude::*;

/// `to = sums + bias`.
#[inline(always)]
pub fn set(to: &mut [f32], sums: &[f32], bias: &[f32]) {
    to.iter_mut().zip(sums).zip(bias).for_each(|((to, sum), bias)| *to = sum + bias);
}

/// Norm of every cell of a row, as elements; nothing where no convolution follows.
#[inline(always)]
fn norm_cells<I: Isa>(isa: I, cells: &[f32], weight: Option<&[f32]>, normed: &mut [I::Element], line: &mut [f32]) {
    let Some(weight) = weight else { return };
    let c = weight.len();
    for (cell, normed) in cells.chunks_exact(c).zip(normed.chunks_exact_mut(c)) {
        let line = &mut line[..c];
        line.copy_from_slice(cell);
        rms_norm(line, weight, 1.0);
        isa.narrow(line, normed);
    }
}

/// 3x3 convolution of one row of cells: calls `done(cell, first channel, sums, bias)`.
#[inline(always)]
fn conv_row<I: Isa>(
    isa: I,
    input: &Plane<I::Element>,
    latent: usize,
    row: usize,
    weights: &Projection<I>,
    sums: &mut [f32],
    mut done: impl FnMut(usize, usize, &[f32], &[f32]),
) {
    for column in (0..input.size.columns).step_by(ROWS) {
        let count = (input.size.columns - column).min(ROWS);
        let strides = (input.channels, input.stride());
        multiply(isa, count, input.corner(latent, row, column), strides, &weights.panels, sums, |first, width, sums| {
            for (cell, sums) in sums.chunks_exact(COLUMNS).take(count).enumerate() {
                done(column + cell, first, &sums[..width], &weights.bias[first..]);
            }
        });
    }
}

impl<I: Isa> Fused<I> {
    /// Takes the condition of the chunk in work, (cells, condition_channels).
    pub(super) fn know(&mut self, condition: &[f32]) {
        let (isa, weights, pool, columns) = (self.isa, &self.weights.stem_known, &self.pool, self.size.columns);
        let (c, channels, rows) = (self.config.stem_channels, self.config.condition_channels(), self.size.rows);
        self.known.each_row(|latent, row, known| {
            let scratch = &mut *pool.take();
            let cells = &condition[(latent * rows + row) * columns * channels..][..columns * channels];
            let stride = even(channels);
            for (cells, known) in cells.chunks(ROWS * channels).zip(known.chunks_mut(ROWS * c)) {
                isa.vectorize(
                    #[inline(always)]
                    || {
                        narrow_rows(isa, cells, channels, &mut scratch.input, stride);
                        let count = known.len() / c;
                        multiply(isa, count, &scratch.input, (stride, 0), &weights.panels, &mut scratch.sums, |first, width, sums| {
                            for (known, sums) in known.chunks_exact_mut(c).zip(sums.chunks_exact(COLUMNS)) {
                                set(&mut known[first..first + width], sums, &weights.bias[first..]);
                            }
                        });
                    },
                );
            }
        });
    }

    /// The stem: known share plus the noisy latent's, then the norm of the first convolutions.
    pub(super) fn stem(&mut self, noisy: &[f32], level: f32) {
        let (isa, pool, size) = (self.isa, &self.pool, self.size);
        let (weights, known) = (&self.weights, &self.known);
        let (c, latent_channels) = (self.config.stem_channels, self.config.latent_channels);
        let next = weights.stem_blocks.first().map(|b| b.norm.as_slice());
        each_row(&mut self.cells, &mut self.normed, |latent, row, cells, normed| {
            let scratch = &mut *pool.take();
            cells.copy_from_slice(known.row(latent, row));
            let noisy = &noisy[(latent * size.rows + row) * size.columns * latent_channels..][..size.columns * latent_channels];
            isa.vectorize(
                #[inline(always)]
                || {
                    // At t = 1 the noisy latent has no weight: see `Dit::forward`.
                    if level < 1.0 {
                        let stride = even(latent_channels);
                        for (noisy, cells) in noisy.chunks(ROWS * latent_channels).zip(cells.chunks_mut(ROWS * c)) {
                            narrow_rows(isa, noisy, latent_channels, &mut scratch.input, stride);
                            let (count, panels) = (cells.len() / c, &weights.stem_noisy);
                            multiply(isa, count, &scratch.input, (stride, 0), panels, &mut scratch.sums, |first, width, sums| {
                                for (cell, sums) in cells.chunks_exact_mut(c).zip(sums.chunks_exact(COLUMNS)) {
                                    let cell = &mut cell[first..first + width];
                                    cell.iter_mut().zip(sums).for_each(|(cell, sum)| *cell += (1.0 - level) * sum);
                                }
                            });
                        }
                    }
                    norm_cells(isa, cells, next, normed, &mut scratch.line);
                },
            );
        });
    }

    /// A residual block of convolutions on the cells; `next`: the weight of the norm that follows.
    pub(super) fn convolve(&mut self, head: bool, index: usize) {
        let (isa, pool, weights) = (self.isa, &self.pool, &self.weights);
        let blocks = if head { &weights.head_blocks } else { &weights.stem_blocks };
        let Conv { convs: [first, second], .. } = &blocks[index];
        let next = match blocks.get(index + 1) {
            Some(block) => Some(block.norm.as_slice()),
            None => head.then_some(weights.out_norm.as_slice()),
        };
        let input = &self.normed;
        self.hidden.each_row(|latent, row, hidden| {
            let scratch = &mut *pool.take();
            isa.vectorize(
                #[inline(always)]
                || {
                    conv_row(isa, input, latent, row, first, &mut scratch.sums, |cell, at, sums, bias| {
                        let line = &mut scratch.line[..sums.len()];
                        line.iter_mut().zip(sums).zip(bias).for_each(|((line, sum), bias)| *line = gelu(sum + bias));
                        isa.narrow(line, &mut hidden[cell * input.channels + at..][..sums.len()]);
                    });
                },
            );
        });
        let input = &self.hidden;
        each_row(&mut self.cells, &mut self.normed, |latent, row, cells, normed| {
            let scratch = &mut *pool.take();
            isa.vectorize(
                #[inline(always)]
                || {
                    conv_row(isa, input, latent, row, second, &mut scratch.sums, |cell, at, sums, bias| {
                        let to = &mut cells[cell * input.channels + at..][..sums.len()];
                        to.iter_mut().zip(sums).zip(bias).for_each(|((to, sum), bias)| *to += sum + bias);
                    });
                    norm_cells(isa, cells, next, normed, &mut scratch.line);
                },
            );
        });
    }

    /// The end of a pass: the transformer's share added to the cells, convolutions, and the output (cells, output_channels).
    pub(super) fn head(&mut self, output: &mut [f32]) {
        let (isa, pool, weights, size) = (self.isa, &self.pool, &self.weights, self.size);
        let (c, unpatched) = (self.config.stem_channels, &self.unpatched);
        let next = weights.head_blocks.first().map_or(weights.out_norm.as_slice(), |b| b.norm.as_slice());
        each_row(&mut self.cells, &mut self.normed, |latent, row, cells, normed| {
            let scratch = &mut *pool.take();
            isa.vectorize(
                #[inline(always)]
                || {
                    let first = (latent * size.rows + row) / 2 * (size.columns / 2);
                    for (pair, cells) in cells.chunks_exact_mut(2 * c).enumerate() {
                        let token = &unpatched[(first + pair) * 4 * c + row % 2 * 2 * c..][..2 * c];
                        cells.iter_mut().zip(token).for_each(|(cell, token)| *cell += token);
                    }
                    norm_cells(isa, cells, Some(next), normed, &mut scratch.line);
                },
            );
        });
        for block in 0..self.weights.head_blocks.len() {
            self.convolve(true, block);
        }
        let (pool, weights, normed) = (&self.pool, &self.weights.out, &self.normed);
        let width = weights.panels.columns();
        output.par_chunks_mut(size.columns * width).enumerate().for_each(|(index, output)| {
            let scratch = &mut *pool.take();
            isa.vectorize(
                #[inline(always)]
                || {
                    for (column, output) in (0..size.columns).step_by(ROWS).zip(output.chunks_mut(ROWS * width)) {
                        let normed = normed.corner(index / size.rows, index % size.rows + 1, column + 1);
                        let count = output.len() / width;
                        multiply(isa, count, normed, (c, 0), &weights.panels, &mut scratch.sums, |first, columns, sums| {
                            for (to, sums) in output.chunks_exact_mut(width).zip(sums.chunks_exact(COLUMNS)) {
                                set(&mut to[first..first + columns], sums, &weights.bias[first..]);
                            }
                        });
                    }
                },
            );
        });
    }
}
