//! The transformer part: what a task does with its rows of tokens.

use super::cells::set;
use super::plane::{Plane, Size};
use super::row_ops::{gelu, norm_modulate, rms_norm, rotate};
use super::weights::{Projection, Weights};
use super::window::Window;
use super::{Fused, Scratch, even};
use crate::kernels::isa::{COLUMNS, Isa, ROWS};
use crate::kernels::panels::multiply;
use crate::model::config::Config;
use rayon::prelude::*;

/// What every task may read.
pub struct Tokens<'a, I: Isa> {
    isa: I,
    config: &'a Config,
    size: Size,
    weights: &'a Weights<I>,
    window: &'a Window<I>,
    cells: &'a Plane<f32>,
    /// What attention gave, (heads, tokens rounded up to [`ROWS`], head_dim).
    attended: &'a [I::Element],
}

/// A task's rows of queries, keys and values, (rows, dim) each.
pub struct Projected<'a, I: Isa> {
    q: &'a mut [I::Element],
    k: &'a mut [f32],
    v: &'a mut [f32],
}

impl<I: Isa> Fused<I> {
    /// Attention of `layer`, one head after the other: keys and values of a head fit the second-level cache, those of all do not.
    pub(super) fn attend(&mut self, layer: usize) {
        let (isa, window, pool, q, dim) = (self.isa, &self.window, &self.pool, &self.q, self.config.dim);
        let hd = dim / self.config.heads;
        let tokens = self.size.tokens();
        let tiles = tokens.div_ceil(ROWS);
        self.attended.par_chunks_mut(ROWS * hd).enumerate().with_max_len(1).for_each(|(index, attended)| {
            let (head, first) = (index / tiles, index % tiles * ROWS);
            let Scratch { attention, line, .. } = &mut *pool.take();
            let count = ROWS.min(tokens - first);
            let queries = (&q[first * dim + head * hd..], dim);
            isa.vectorize(
                #[inline(always)]
                || {
                    window.attend(layer, head, count, queries, attention, |first, columns, sums, rows| {
                        for (row, (sums, state)) in sums.chunks_exact(COLUMNS).zip(rows).enumerate() {
                            let reciprocal = 1.0 / state.sum;
                            line[..columns].iter_mut().zip(sums).for_each(|(line, sum)| *line = sum * reciprocal);
                            isa.narrow(&line[..columns], &mut attended[row * hd + first..][..columns]);
                        }
                    });
                },
            );
        });
    }

    /// Calls `task(.., first token, residual stream, projections, unpatched, scratch)` for every [`ROWS`] tokens.
    pub(super) fn each_tokens(&mut self, task: impl Fn(&Tokens<I>, usize, &mut [f32], Projected<I>, &mut [f32], &mut Scratch<I>) + Sync) {
        let (config, pool) = (&self.config, &self.pool);
        let (isa, size, weights) = (self.isa, self.size, &self.weights);
        let tokens = Tokens { isa, config, size, weights, window: &self.window, cells: &self.cells, attended: &self.attended };
        let rows = ROWS * config.dim;
        let end = size.tokens() * config.dim;
        let projected = self.q[..end].par_chunks_mut(rows).zip(self.k.par_chunks_mut(rows)).zip(self.v.par_chunks_mut(rows));
        let unpatched = self.unpatched.par_chunks_mut(ROWS * 4 * config.stem_channels);
        let tasks = self.x.par_chunks_mut(rows).zip(projected).zip(unpatched).enumerate().with_max_len(1);
        tasks.for_each(|(index, ((x, ((q, k), v)), unpatched))| {
            let scratch = &mut *pool.take();
            isa.vectorize(
                #[inline(always)]
                || task(&tokens, index * ROWS, x, Projected { q, k, v }, unpatched, scratch),
            );
        });
    }
}

/// Rows of `width` numbers times a projection: calls `done(row, first column, sums, bias)`.
#[inline(always)]
fn project<I: Isa>(
    isa: I,
    rows: usize,
    input: &[I::Element],
    width: usize,
    weights: &Projection<I>,
    sums: &mut [f32],
    mut done: impl FnMut(usize, usize, &[f32], &[f32]),
) {
    multiply(isa, rows, input, (even(width), 0), &weights.panels, sums, |first, columns, sums| {
        for (row, sums) in sums.chunks_exact(COLUMNS).take(rows).enumerate() {
            done(row, first, &sums[..columns], &weights.bias[first..]);
        }
    });
}

/// `to += gate * (sums + bias)`.
#[inline(always)]
fn gated(to: &mut [f32], sums: &[f32], bias: &[f32], gate: &[f32]) {
    to.iter_mut().zip(sums).zip(bias).zip(gate).for_each(|(((to, sum), bias), gate)| *to += gate * (sum + bias));
}

impl<I: Isa> Tokens<'_, I> {
    /// One of the six modulations of a layer.
    fn part(&self, level: usize, layer: usize, part: usize) -> &[f32] {
        let dim = self.config.dim;
        &self.weights.modulations[level].layers[(layer * 6 + part) * dim..][..dim]
    }

    /// Norm and modulation of rows, as elements.
    #[inline(always)]
    fn normed(&self, x: &[f32], shift: &[f32], scale: &[f32], line: &mut [f32], to: &mut [I::Element]) {
        let dim = self.config.dim;
        for (x, to) in x.chunks_exact(dim).zip(to.chunks_mut(even(dim))) {
            norm_modulate(x, shift, scale, line);
            self.isa.narrow(&line[..dim], &mut to[..dim]);
        }
    }

    /// The cells of each token, projected to the residual stream.
    #[inline(always)]
    pub fn embed(&self, first: usize, x: &mut [f32], scratch: &mut Scratch<I>) {
        let (dim, pair) = (self.config.dim, 2 * self.config.stem_channels);
        let (rows, columns) = (self.size.rows / 2, self.size.columns / 2);
        let count = x.len() / dim;
        for (i, input) in scratch.input.chunks_mut(2 * pair).take(count).enumerate() {
            let (latent, row, column) = ((first + i) / columns / rows, (first + i) / columns % rows, (first + i) % columns);
            for (half, input) in input.chunks_mut(pair).enumerate() {
                self.isa.narrow(&self.cells.row(latent, 2 * row + half)[column * pair..][..pair], input);
            }
        }
        project(self.isa, count, &scratch.input, 2 * pair, &self.weights.patch, &mut scratch.sums, |row, at, sums, bias| {
            set(&mut x[row * dim + at..][..sums.len()], sums, bias);
        });
    }

    /// Queries (rotated, scaled for base-2 scores), keys (not rotated) and values of `layer`.
    #[inline(always)]
    pub fn project(&self, level: usize, layer: usize, first: usize, x: &[f32], to: Projected<I>, scratch: &mut Scratch<I>) {
        let (dim, weights) = (self.config.dim, &self.weights.layers[layer]);
        let hd = dim / self.config.heads;
        let count = x.len() / dim;
        self.normed(x, self.part(level, layer, 0), self.part(level, layer, 1), &mut scratch.line, &mut scratch.input);
        let rotation = &self.window.rotation()[first * hd..];
        let Scratch { input, rows, sums, .. } = scratch;
        for (weights, to) in [(&weights.q, &mut rows[..count * dim]), (&weights.k, &mut *to.k), (&weights.v, &mut *to.v)] {
            project(self.isa, count, input, dim, weights, sums, |row, at, sums, bias| {
                set(&mut to[row * dim + at..][..sums.len()], sums, bias);
            });
        }
        let scale = std::f32::consts::LOG2_E / (hd as f32).sqrt();
        for (row, q) in rows.chunks_exact_mut(dim).take(count).enumerate() {
            rms_norm(q, &weights.norm_q, scale);
            rotate(q, &rotation[row * hd..][..hd]);
            self.isa.narrow(q, &mut to.q[row * dim..][..dim]);
        }
        to.k.chunks_exact_mut(dim).for_each(|k| rms_norm(k, &weights.norm_k, 1.0));
    }

    /// Output projection and feed-forward of `layer` behind its attention.
    #[inline(always)]
    pub fn block(&self, level: usize, layer: usize, first: usize, x: &mut [f32], scratch: &mut Scratch<I>) {
        let (dim, weights) = (self.config.dim, &self.weights.layers[layer]);
        let hd = dim / self.config.heads;
        let count = x.len() / dim;
        let rows = self.attended.len() / self.config.heads;
        for (head, attended) in self.attended.chunks_exact(rows).enumerate() {
            for (row, attended) in attended[first * hd..].chunks_exact(hd).take(count).enumerate() {
                scratch.input[row * even(dim) + head * hd..][..hd].copy_from_slice(attended);
            }
        }
        let gate = self.part(level, layer, 2);
        project(self.isa, count, &scratch.input, dim, &weights.o, &mut scratch.sums, |row, at, sums, bias| {
            gated(&mut x[row * dim + at..][..sums.len()], sums, bias, &gate[at..]);
        });
        self.normed(x, self.part(level, layer, 3), self.part(level, layer, 4), &mut scratch.line, &mut scratch.input);
        let (width, line, hidden) = (self.config.ffn_dim, &mut scratch.line, &mut scratch.hidden);
        let stride = even(width);
        project(self.isa, count, &scratch.input, dim, &weights.ffn[0], &mut scratch.sums, |row, at, sums, bias| {
            let line = &mut line[..sums.len()];
            line.iter_mut().zip(sums).zip(bias).for_each(|((line, sum), bias)| *line = gelu(sum + bias));
            self.isa.narrow(line, &mut hidden[row * stride + at..][..sums.len()]);
        });
        let gate = self.part(level, layer, 5);
        project(self.isa, count, &scratch.hidden, width, &weights.ffn[1], &mut scratch.sums, |row, at, sums, bias| {
            gated(&mut x[row * dim + at..][..sums.len()], sums, bias, &gate[at..]);
        });
    }

    /// What the tokens give back to their cells.
    #[inline(always)]
    pub fn unpatch(&self, level: usize, x: &[f32], unpatched: &mut [f32], scratch: &mut Scratch<I>) {
        let (dim, width) = (self.config.dim, 4 * self.config.stem_channels);
        let (shift, scale) = self.weights.modulations[level].head.split_at(dim);
        self.normed(x, shift, scale, &mut scratch.line, &mut scratch.input);
        project(self.isa, x.len() / dim, &scratch.input, dim, &self.weights.unpatch, &mut scratch.sums, |row, at, sums, bias| {
            set(&mut unpatched[row * width + at..][..sums.len()], sums, bias);
        });
    }
}
