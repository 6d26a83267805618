//! The convolutional part: stem, residual blocks and head on rows of cells.

use super::plane::{Area, Plane, Size, each_row};
use super::row_ops::{gelu, rms_norm};
use super::weights::{Conv, Projection};
use super::{Fused, Pass, Pool, Scratch, even, narrow_relative};
use crate::kernels::isa::{COLUMNS, Isa, ROWS};
use crate::kernels::panels::multiply;
use crate::model::contrast::Contrast;
use rayon::prelude::*;

/// `to = sums + bias`.
#[inline(always)]
pub fn set(to: &mut [f32], sums: &[f32], bias: &[f32]) {
    to.iter_mut().zip(sums).zip(bias).for_each(|((to, sum), bias)| *to = sum + bias);
}

/// What a residual block works on: the norm of its input, and what lies between its convolutions. Kept in the stem from pass to pass, for
/// the neighbours of what is computed anew.
pub struct Between<I: Isa> {
    pub normed: Plane<I::Element>,
    pub hidden: Plane<I::Element>,
}

impl<I: Isa> Between<I> {
    pub fn new(size: Size, channels: usize) -> Self {
        Self { normed: Plane::new(size, channels), hidden: Plane::new(size, channels) }
    }
}

/// 3x3 convolution of an area's cells in a row: calls `done(cell, first channel, sums, bias)`.
#[inline(always)]
fn convolve<I: Isa>(
    isa: I,
    input: &Plane<I::Element>,
    area: Area,
    (latent, row): (usize, usize),
    weights: &Projection<I>,
    sums: &mut [f32],
    mut done: impl FnMut(usize, usize, &[f32], &[f32]),
) {
    for piece in area.pieces(latent, row) {
        let strides = (input.channels, input.stride());
        multiply(
            isa,
            piece.len(),
            input.corner(latent, row, piece.start),
            strides,
            &weights.panels,
            sums,
            #[inline(always)]
            |first, width, sums| {
                for (cell, sums) in piece.clone().zip(sums.chunks_exact(COLUMNS)) {
                    done(cell, first, &sums[..width], &weights.bias[first..]);
                }
            },
        );
    }
}

/// A residual block of convolutions on `cells`: its norm, first and second convolution, each on an area of its own.
fn residual<I: Isa>(isa: I, pool: &Pool<I>, weights: &Conv<I>, areas: [Area; 3], between: &mut Between<I>, cells: &mut Plane<f32>) {
    let Between { normed, hidden } = between;
    let [first, second] = &weights.convs;
    let c = cells.channels;
    normed.each_row(|latent, row, normed| {
        let scratch = &mut *pool.take();
        isa.vectorize(
            #[inline(always)]
            || {
                for cell in areas[0].pieces(latent, row).flatten() {
                    let line = &mut scratch.line[..c];
                    line.copy_from_slice(&cells.row(latent, row)[cell * c..][..c]);
                    rms_norm(line, &weights.norm, 1.0);
                    isa.narrow(line, &mut normed[cell * c..][..c]);
                }
            },
        );
    });
    hidden.each_row(|latent, row, hidden| {
        let Scratch { line, sums, .. } = &mut *pool.take();
        isa.vectorize(
            #[inline(always)]
            || {
                convolve(
                    isa,
                    normed,
                    areas[1],
                    (latent, row),
                    first,
                    sums,
                    #[inline(always)]
                    |cell, at, sums, bias| {
                        let line = &mut line[..sums.len()];
                        line.iter_mut().zip(sums).zip(bias).for_each(|((line, sum), bias)| *line = gelu(sum + bias));
                        isa.narrow(line, &mut hidden[cell * c + at..][..sums.len()]);
                    },
                );
            },
        );
    });
    cells.each_row(|latent, row, cells| {
        let scratch = &mut *pool.take();
        isa.vectorize(
            #[inline(always)]
            || {
                convolve(
                    isa,
                    hidden,
                    areas[2],
                    (latent, row),
                    second,
                    &mut scratch.sums,
                    #[inline(always)]
                    |cell, at, sums, bias| {
                        let to = &mut cells[cell * c + at..][..sums.len()];
                        to.iter_mut().zip(sums).zip(bias).for_each(|((to, sum), bias)| *to += sum + bias);
                    },
                );
            },
        );
    });
}

impl<I: Isa> Fused<I> {
    /// Takes the condition of the chunk in work, (cells, condition_channels).
    pub(super) fn know(&mut self, condition: &[f32]) {
        let (isa, weights, pool, columns) = (self.isa, &self.weights.stem_known, &self.pool, self.size.columns);
        let (c, channels, rows) = (self.config.stem_channels, self.config.condition_channels(), self.size.rows);
        let (guide, both) = (self.config.latent_channels, self.config.latent_channels + self.config.smooth_channels);
        if let Some(contrast) = &mut self.contrast {
            contrast.refill(condition, channels, guide);
        }
        let contrast = self.contrast.as_ref();
        self.known.each_row(|latent, row, known| {
            let scratch = &mut *pool.take();
            let cells = &condition[(latent * rows + row) * columns * channels..][..columns * channels];
            let stride = even(channels);
            for (cells, known) in cells.chunks(ROWS * channels).zip(known.chunks_mut(ROWS * c)) {
                isa.vectorize(
                    #[inline(always)]
                    || {
                        let (line, input) = (&mut scratch.line[..channels], &mut scratch.input);
                        narrow_relative(isa, contrast, cells, &[0..guide, guide..both], line, input, stride);
                        let count = known.len() / c;
                        multiply(
                            isa,
                            count,
                            &scratch.input,
                            (stride, 0),
                            &weights.panels,
                            &mut scratch.sums,
                            #[inline(always)]
                            |first, width, sums| {
                                for (known, sums) in known.chunks_exact_mut(c).zip(sums.chunks_exact(COLUMNS)) {
                                    set(&mut known[first..first + width], sums, &weights.bias[first..]);
                                }
                            },
                        );
                    },
                );
            }
        });
    }

    /// The stem: what is known plus the noisy latent's share, then convolutions. In a first pass it computes all cells, then those alone
    /// that an unknown one reaches.
    pub(super) fn stem(&mut self, noisy: &[f32], pass: &Pass) {
        let (isa, pool, weights, size) = (self.isa, &self.pool, &self.weights, self.size);
        let (c, latent_channels) = (self.config.stem_channels, self.config.latent_channels);
        let all = Area::all(size, &self.activity.distance);
        let near = |within: usize| if pass.first { all } else { all.near(within) };
        let reach = 2 * self.config.stem_blocks;
        let contrast = self.contrast.as_ref();
        each_row(&mut self.known, &mut self.cells, |latent, row, known, cells| {
            let Scratch { input, line, sums, .. } = &mut *pool.take();
            near(reach)
                .pieces(latent, row)
                .for_each(|piece| cells[piece.start * c..piece.end * c].copy_from_slice(&known[piece.start * c..piece.end * c]));
            let noisy = &noisy[(latent * size.rows + row) * size.columns * latent_channels..][..size.columns * latent_channels];
            let share = |column: usize| if all.unknown(latent, row, column) { 1.0 - pass.level } else { 1.0 };
            isa.vectorize(
                #[inline(always)]
                || {
                    let stride = even(latent_channels);
                    for piece in near(0).pieces(latent, row).filter(|piece| piece.clone().any(|column| share(column) > 0.0)) {
                        let noisy = &noisy[piece.start * latent_channels..piece.end * latent_channels];
                        let line = &mut line[..latent_channels];
                        narrow_relative(isa, contrast, noisy, std::slice::from_ref(&(0..latent_channels)), line, input, stride);
                        multiply(
                            isa,
                            piece.len(),
                            input,
                            (stride, 0),
                            &weights.stem_noisy,
                            sums,
                            #[inline(always)]
                            |first, width, sums| {
                                for (column, sums) in piece.clone().zip(sums.chunks_exact(COLUMNS)) {
                                    let (cell, share) = (&mut cells[column * c + first..][..width], share(column));
                                    cell.iter_mut().zip(sums).for_each(|(cell, sum)| *cell += share * sum);
                                }
                            },
                        );
                    }
                },
            );
            if pass.first {
                let seen = (0..size.columns).filter(|column| !all.unknown(latent, row, *column));
                seen.for_each(|column| known[column * c..][..c].copy_from_slice(&cells[column * c..][..c]));
            }
        });
        for (block, (weights, between)) in weights.stem_blocks.iter().zip(&mut self.stem).enumerate() {
            residual(isa, pool, weights, [near(2 * block), near(2 * block + 1), near(reach)], between, &mut self.cells);
        }
        let Some(norm) = &weights.stem_norm else { return };
        self.cells.each_row(|latent, row, cells| {
            isa.vectorize(
                #[inline(always)]
                || near(reach).pieces(latent, row).flatten().for_each(|cell| rms_norm(&mut cells[cell * c..][..c], norm, 1.0)),
            );
        });
    }

    /// The end of a pass: the transformer's share added to the cells, convolutions, and the output (cells, output_channels) of the cells
    /// that are shown.
    pub(super) fn head(&mut self, output: &mut [f32]) {
        let (isa, pool, size, c) = (self.isa, &self.pool, self.size, self.config.stem_channels);
        let (weights, cells, unpatched, rows) = (&self.weights, &self.cells, &self.unpatched, self.window.rows());
        let all = Area::all(size, &self.activity.distance);
        let near = |within: usize| if self.config.covered_correction > 0.0 { all } else { all.near(within) };
        let reach = 2 * self.config.head_blocks;
        let (head, between) = &mut self.head;
        head.each_row(|latent, row, head| {
            let cells = cells.row(latent, row);
            for column in near(reach).pieces(latent, row).flatten() {
                let token = (latent * size.rows + row) / 2 * (size.columns / 2) + column / 2;
                let share = &unpatched[(4 * rows.place(token) + row % 2 * 2 + column % 2) * c..][..c];
                let head = &mut head[column * c..][..c];
                head.iter_mut().zip(&cells[column * c..]).zip(share).for_each(|((head, cell), share)| *head = cell + share);
            }
        });
        for (block, weights) in weights.head_blocks.iter().enumerate() {
            let left = reach - 2 * block;
            residual(isa, pool, weights, [near(left), near(left - 1), near(left - 2)], between, head);
        }
        let out = &weights.out;
        let width = out.panels.columns();
        let (latent_channels, spread) = (self.config.latent_channels, self.contrast.as_ref().map(Contrast::spread));
        output.par_chunks_mut(size.columns * width).enumerate().for_each(|(index, output)| {
            let (latent, row) = (index / size.rows, index % size.rows);
            let Scratch { input, line, sums, .. } = &mut *pool.take();
            let line = &mut line[..c];
            output.fill(0.0);
            isa.vectorize(
                #[inline(always)]
                || {
                    for piece in near(0).pieces(latent, row) {
                        for (column, input) in piece.clone().zip(input.chunks_mut(even(c))) {
                            line.copy_from_slice(&head.row(latent, row)[column * c..][..c]);
                            rms_norm(line, &weights.out_norm, 1.0);
                            isa.narrow(line, &mut input[..c]);
                        }
                        multiply(
                            isa,
                            piece.len(),
                            input,
                            (even(c), 0),
                            &out.panels,
                            sums,
                            #[inline(always)]
                            |first, columns, sums| {
                                for (column, sums) in piece.clone().zip(sums.chunks_exact(COLUMNS)) {
                                    let output = &mut output[column * width..][..width];
                                    set(&mut output[first..first + columns], sums, &out.bias[first..]);
                                    if let Some(spread) = spread {
                                        let correction = first.min(latent_channels)..(first + columns).min(latent_channels);
                                        output[correction].iter_mut().for_each(|v| *v *= spread);
                                    }
                                }
                            },
                        );
                    }
                },
            );
        });
    }
}
