//! The transformer part: what a task does with its rows of tokens.

use super::cells::set;
use super::plane::{Plane, Size};
use super::row_ops::{gelu, norm_modulate, rms_norm, rotate};
use super::rows::{Rows, Runs, Tile};
use super::weights::{Modulation, Projection, Weights};
use super::{Fused, Pass, Scratch, even};
use crate::kernels::isa::{COLUMNS, Isa};
use crate::kernels::panels::multiply;
use crate::model::config::Config;
use rayon::prelude::*;

/// What every task may read.
pub struct Tokens<'a, I: Isa> {
    isa: I,
    config: &'a Config,
    size: Size,
    weights: &'a Weights<I>,
    pass: &'a Pass,
    rows: &'a Rows,
    /// Of every token, (tokens, head_dim).
    rotation: &'a [f32],
    cells: &'a Plane<f32>,
    /// What attention gave, (heads, rows, head_dim).
    attended: &'a [I::Element],
}

/// What a task writes: its rows of the residual stream, of queries, keys and values, (rows, dim) each, and of what goes back to the cells,
/// (rows, 4 * stem_channels).
pub struct Written<'a, I: Isa> {
    pub x: &'a mut [f32],
    q: &'a mut [I::Element],
    k: &'a mut [f32],
    v: &'a mut [f32],
    unpatched: &'a mut [f32],
}

impl<I: Isa> Fused<I> {
    /// Attention of some rows in `layer`, one head after the other: keys and values of a head fit the second-level cache, those of all do
    /// not.
    pub(super) fn attend(&mut self, layer: usize, runs: &Runs) {
        let (isa, window, pool, q, dim) = (self.isa, &self.window, &self.pool, &self.q, self.config.dim);
        let hd = dim / self.config.heads;
        let heads = self.attended.par_chunks_mut(self.size.tokens() * hd).enumerate().with_max_len(1);
        heads.flat_map(|(head, attended)| runs.tiles().zip(runs.cut(attended, hd)).with_max_len(1).map(move |task| (head, task))).for_each(
            |(head, (tile, attended))| {
                let Scratch { attention, line, .. } = &mut *pool.take();
                let queries = (&q[tile.first * dim + head * hd..], dim);
                isa.vectorize(
                    #[inline(always)]
                    || {
                        window.attend(
                            layer,
                            head,
                            tile,
                            queries,
                            attention,
                            #[inline(always)]
                            |first, columns, sums, rows| {
                                for (row, (sums, state)) in sums.chunks_exact(COLUMNS).zip(rows).enumerate() {
                                    let reciprocal = 1.0 / state.sum;
                                    line[..columns].iter_mut().zip(sums).for_each(|(line, sum)| *line = sum * reciprocal);
                                    isa.narrow(&line[..columns], &mut attended[row * hd + first..][..columns]);
                                }
                            },
                        );
                    },
                );
            },
        );
    }

    /// Calls `task(.., tile, what it writes, scratch)` for some rows; keys are those of `layer`.
    pub(super) fn each_tile(
        &mut self,
        pass: &Pass,
        layer: usize,
        runs: &Runs,
        task: impl Fn(&Tokens<I>, Tile, &mut Written<I>, &mut Scratch<I>) + Sync,
    ) {
        let (config, pool) = (&self.config, &self.pool);
        let (isa, size, weights) = (self.isa, self.size, &self.weights);
        let (rows, rotation, k) = self.window.in_work(layer);
        let tokens = Tokens { isa, config, size, weights, pass, rows, rotation, cells: &self.cells, attended: &self.attended };
        let dim = config.dim;
        let projected = runs.cut(&mut self.q, dim).zip(runs.cut(k, dim)).zip(runs.cut(&mut self.v, dim));
        let written = runs.cut(&mut self.x, dim).zip(projected).zip(runs.cut(&mut self.unpatched, 4 * config.stem_channels));
        runs.tiles().zip(written).with_max_len(1).for_each(|(tile, ((x, ((q, k), v)), unpatched))| {
            let scratch = &mut *pool.take();
            isa.vectorize(
                #[inline(always)]
                || task(&tokens, tile, &mut Written { x, q, k, v, unpatched }, scratch),
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
    multiply(
        isa,
        rows,
        input,
        (even(width), 0),
        &weights.panels,
        sums,
        #[inline(always)]
        |first, columns, sums| {
            for (row, sums) in sums.chunks_exact(COLUMNS).take(rows).enumerate() {
                done(row, first, &sums[..columns], &weights.bias[first..]);
            }
        },
    );
}

/// `to += gate * (sums + bias)`.
#[inline(always)]
fn gated(to: &mut [f32], sums: &[f32], bias: &[f32], gate: &[f32]) {
    to.iter_mut().zip(sums).zip(bias).zip(gate).for_each(|(((to, sum), bias), gate)| *to += gate * (sum + bias));
}

impl<I: Isa> Tokens<'_, I> {
    /// The modulations of a tile's noise level.
    fn modulation(&self, tile: Tile) -> &Modulation {
        &self.weights.modulations[self.pass.modulation(tile)]
    }

    /// One of the six modulations of a layer.
    fn part(&self, tile: Tile, layer: usize, part: usize) -> &[f32] {
        let dim = self.config.dim;
        &self.modulation(tile).layers[(layer * 6 + part) * dim..][..dim]
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
    pub fn embed(&self, tile: Tile, to: &mut Written<I>, scratch: &mut Scratch<I>) {
        let (dim, pair) = (self.config.dim, 2 * self.config.stem_channels);
        let (rows, columns) = (self.size.rows / 2, self.size.columns / 2);
        for (i, input) in scratch.input.chunks_mut(2 * pair).take(tile.count).enumerate() {
            let token = self.rows.token(tile.first + i);
            let (latent, row, column) = (token / columns / rows, token / columns % rows, token % columns);
            for (half, input) in input.chunks_mut(pair).enumerate() {
                self.isa.narrow(&self.cells.row(latent, 2 * row + half)[column * pair..][..pair], input);
            }
        }
        project(
            self.isa,
            tile.count,
            &scratch.input,
            2 * pair,
            &self.weights.patch,
            &mut scratch.sums,
            #[inline(always)]
            |row, at, sums, bias| {
                set(&mut to.x[row * dim + at..][..sums.len()], sums, bias);
            },
        );
    }

    /// Queries (rotated, scaled for base-2 scores), keys (not rotated) and values of `layer`.
    #[inline(always)]
    pub fn project(&self, tile: Tile, layer: usize, to: &mut Written<I>, scratch: &mut Scratch<I>) {
        let (dim, weights) = (self.config.dim, &self.weights.layers[layer]);
        let (hd, count) = (dim / self.config.heads, tile.count);
        self.normed(to.x, self.part(tile, layer, 0), self.part(tile, layer, 1), &mut scratch.line, &mut scratch.input);
        let Scratch { input, rows, sums, .. } = scratch;
        for (weights, to) in [(&weights.q, &mut rows[..count * dim]), (&weights.k, &mut *to.k), (&weights.v, &mut *to.v)] {
            project(
                self.isa,
                count,
                input,
                dim,
                weights,
                sums,
                #[inline(always)]
                |row, at, sums, bias| {
                    set(&mut to[row * dim + at..][..sums.len()], sums, bias);
                },
            );
        }
        let scale = std::f32::consts::LOG2_E / (hd as f32).sqrt();
        for (row, q) in rows.chunks_exact_mut(dim).take(count).enumerate() {
            rms_norm(q, &weights.norm_q, scale);
            rotate(q, &self.rotation[self.rows.token(tile.first + row) * hd..][..hd]);
            self.isa.narrow(q, &mut to.q[row * dim..][..dim]);
        }
        to.k.chunks_exact_mut(dim).for_each(|k| rms_norm(k, &weights.norm_k, 1.0));
    }

    /// Output projection and feed-forward of `layer` behind its attention.
    #[inline(always)]
    pub fn block(&self, tile: Tile, layer: usize, x: &mut [f32], scratch: &mut Scratch<I>) {
        let (dim, weights) = (self.config.dim, &self.weights.layers[layer]);
        let (hd, count) = (dim / self.config.heads, tile.count);
        for (head, attended) in self.attended.chunks_exact(self.size.tokens() * hd).enumerate() {
            for (row, attended) in attended[tile.first * hd..].chunks_exact(hd).take(count).enumerate() {
                scratch.input[row * even(dim) + head * hd..][..hd].copy_from_slice(attended);
            }
        }
        let gate = self.part(tile, layer, 2);
        project(
            self.isa,
            count,
            &scratch.input,
            dim,
            &weights.o,
            &mut scratch.sums,
            #[inline(always)]
            |row, at, sums, bias| {
                gated(&mut x[row * dim + at..][..sums.len()], sums, bias, &gate[at..]);
            },
        );
        self.normed(x, self.part(tile, layer, 3), self.part(tile, layer, 4), &mut scratch.line, &mut scratch.input);
        let (width, line, hidden) = (self.config.ffn_dim, &mut scratch.line, &mut scratch.hidden);
        let stride = even(width);
        project(
            self.isa,
            count,
            &scratch.input,
            dim,
            &weights.ffn[0],
            &mut scratch.sums,
            #[inline(always)]
            |row, at, sums, bias| {
                let line = &mut line[..sums.len()];
                line.iter_mut().zip(sums).zip(bias).for_each(|((line, sum), bias)| *line = gelu(sum + bias));
                self.isa.narrow(line, &mut hidden[row * stride + at..][..sums.len()]);
            },
        );
        let gate = self.part(tile, layer, 5);
        project(
            self.isa,
            count,
            &scratch.hidden,
            width,
            &weights.ffn[1],
            &mut scratch.sums,
            #[inline(always)]
            |row, at, sums, bias| {
                gated(&mut x[row * dim + at..][..sums.len()], sums, bias, &gate[at..]);
            },
        );
    }

    /// What the tokens give back to their cells.
    #[inline(always)]
    pub fn unpatch(&self, tile: Tile, to: &mut Written<I>, scratch: &mut Scratch<I>) {
        let (dim, width) = (self.config.dim, 4 * self.config.stem_channels);
        let (shift, scale) = self.modulation(tile).head.split_at(dim);
        self.normed(to.x, shift, scale, &mut scratch.line, &mut scratch.input);
        project(
            self.isa,
            tile.count,
            &scratch.input,
            dim,
            &self.weights.unpatch,
            &mut scratch.sums,
            #[inline(always)]
            |row, at, sums, bias| {
                set(&mut to.unpatched[row * width + at..][..sums.len()], sums, bias);
            },
        );
    }
}
