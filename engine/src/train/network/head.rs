//! From tokens to the correction, its loss, and back: in live pictures only, since clean history has no loss.
//!
//! Invariant: agrees with the second half of `model::dit::Dit::forward`. Guarded by `tests.rs`.

use super::Objective;
use super::block::ranges;
use super::conv_block::{self, ConvBlock};
use super::geometry::{Geometry, fit};
use super::linear::{Linear, Names};
use super::ops::{add, add_columns, cut, norm_modulate, norm_modulate_backward, part, rms_norm, rms_norm_backward, sum_rows};
use super::product::{Held, Matrix, WeightGradient, weight_gradients};
use super::stem::{add_unfolded, fold};
use crate::error::Result;
use crate::model::config::Config;
use rayon::prelude::*;

pub(super) struct Head {
    modulation: usize,
    unpatch: Linear,
    pub blocks: Vec<ConvBlock>,
    norm: usize,
    out: Linear,
}

/// Rows are cells, or tokens where said.
#[derive(Default)]
pub(super) struct Saved {
    /// Shift and scale of each group, 2 dim.
    modulation: Vec<f32>,
    /// What `unpatch` sees, per token.
    token_in: Vec<f32>,
    /// What `unpatch` gives, per token; then its gradient.
    unpatched: Vec<f32>,
    /// Gradient of `token_in`.
    dtoken_in: Vec<f32>,
    /// What each convolution block sees, and what the last one gives.
    pub stream: Vec<Vec<f32>>,
    pub blocks: Vec<conv_block::Saved>,
    /// What the last layer sees; and its gradient.
    normed: Vec<f32>,
    dnormed: Vec<f32>,
    /// What the last layer gives; then its gradient.
    out: Vec<f32>,
    sums: Vec<f32>,
    total: Vec<f32>,
    losses: Vec<f64>,
}

impl Saved {
    pub fn new(blocks: usize) -> Self {
        Self { stream: vec![Vec::new(); blocks + 1], blocks: (0..blocks).map(|_| Default::default()).collect(), ..Self::default() }
    }

    pub fn buffers(&self) -> impl Iterator<Item = &Vec<f32>> {
        let Self { modulation, token_in, unpatched, dtoken_in, normed, dnormed, out, sums, total, .. } = self;
        let own = [modulation, token_in, unpatched, dtoken_in, normed, dnormed, out, sums, total];
        own.into_iter().chain(&self.stream).chain(self.blocks.iter().flat_map(|b| b.buffers()))
    }
}

impl Head {
    pub fn new(config: &Config, names: &Names) -> Result<Self> {
        let (c, d) = (config.stem_channels, config.dim);
        Ok(Self {
            modulation: names.find("head.modulation", 2 * d)?,
            unpatch: names.linear("head.unpatch", d, 4 * c)?,
            blocks: (0..config.head_blocks).map(|i| ConvBlock::new(c, names, &format!("head.{i}"))).collect::<Result<_>>()?,
            norm: names.find("head.norm.weight", c)?,
            out: names.linear("head.out", c, config.output_channels())?,
        })
    }

    /// Second forms of the weights.
    pub fn buffers(&self) -> [&Vec<f32>; 2] {
        [&self.unpatch, &self.out].map(Linear::buffer)
    }

    pub fn linears(&mut self) -> [&mut Linear; 2] {
        [&mut self.unpatch, &mut self.out]
    }

    /// From `tokens` (tokens, dim), the noise levels' embedding (groups, dim) and the stem (cells, c) to `saved.stream[0]`.
    pub fn forward(
        &self,
        g: Geometry,
        values: &[Vec<f32>],
        live: &[bool],
        tokens: &[f32],
        embedding: &[f32],
        stem: &[f32],
        saved: &mut Saved,
    ) {
        let d = self.unpatch.from;
        let Saved { modulation, token_in, unpatched, stream, .. } = saved;
        fit(modulation, g.groups() * 2 * d);
        for (modulation, embedding) in modulation.chunks_exact_mut(2 * d).zip(embedding.chunks_exact(d)) {
            modulation.copy_from_slice(&values[self.modulation]);
            modulation.chunks_exact_mut(d).for_each(|part| add(part, embedding));
        }
        fit(token_in, tokens.len());
        fit(unpatched, stem.len());
        stream.iter_mut().for_each(|buffer| fit(buffer, stem.len()));
        let parts = cut(g.pictures(), [token_in, unpatched, &mut stream[0]]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [token_in, unpatched, out])| {
            if !live[i] {
                return;
            }
            let (shift, scale) = modulation[i / g.chunk_latents * 2 * d..][..2 * d].split_at(d);
            norm_modulate(part(tokens, i, g.pictures()), shift, scale, token_in);
            self.unpatch.forward(values, Matrix(token_in, d), unpatched);
            out.copy_from_slice(part(stem, i, g.pictures()));
            add_unfolded(g, unpatched, out);
        });
    }

    /// What the last of `saved.stream` makes, (cells, output_channels); zero in dead pictures.
    pub fn output(&self, g: Geometry, values: &[Vec<f32>], live: &[bool], saved: &mut Saved, out: &mut Vec<f32>) {
        let (c, pictures) = (self.out.from, g.pictures());
        let Saved { stream, normed, .. } = saved;
        let x = &stream[self.blocks.len()];
        fit(normed, x.len());
        fit(out, g.cells() * self.out.to);
        cut(pictures, [normed, out]).into_par_iter().with_max_len(1).enumerate().for_each(|(i, [normed, out])| {
            if !live[i] {
                return out.fill(0.0);
            }
            rms_norm(part(x, i, pictures), &values[self.norm], normed);
            self.out.forward(values, Matrix(normed, c), out);
        });
    }

    /// The loss of what the last of `saved.stream` makes, and its gradient `dx` (cells, c), zero in dead pictures.
    pub fn loss(
        &self,
        g: Geometry,
        values: &[Vec<f32>],
        live: &[bool],
        objective: &Objective,
        saved: &mut Saved,
        dx: &mut [f32],
        gradients: &mut [Vec<f32>],
    ) -> f64 {
        let (c, width, pictures) = (self.out.from, self.out.to, g.pictures());
        let Saved { stream, normed, dnormed, out, sums, total, losses, .. } = saved;
        let x = &stream[self.blocks.len()];
        fit(normed, x.len());
        fit(dnormed, x.len());
        fit(out, g.cells() * width);
        fit(sums, pictures * (c + width));
        fit(total, c + width);
        sums.fill(0.0);
        losses.resize(pictures, 0.0);

        let parts = cut(pictures, [normed, dnormed, out, dx, sums]).into_par_iter().zip(losses.par_iter_mut()).with_max_len(1);
        parts.enumerate().for_each(|(i, ([normed, dnormed, out, dx, sums], loss))| {
            dx.fill(0.0);
            *loss = 0.0;
            if !live[i] {
                return;
            }
            let x = part(x, i, pictures);
            let (dnorm, dbias) = sums.split_at_mut(c);
            rms_norm(x, &values[self.norm], normed);
            self.out.forward(values, Matrix(normed, c), out);
            *loss = objective(i, out);
            add_columns(out, dbias);
            self.out.backward(values, Matrix(out, width), dnormed, Held::Replaced);
            rms_norm_backward(x, &values[self.norm], dnormed, dx, dnorm);
        });
        sum_rows(sums, total);
        gradients[self.norm].copy_from_slice(&total[..c]);
        gradients[self.out.bias].copy_from_slice(&total[c..]);
        let rows = ranges(live, g.picture_cells());
        let gradient =
            WeightGradient { to: &mut gradients[self.out.weight], inputs: c, rows: &rows, dy: Matrix(out, width), x: Matrix(normed, c) };
        weight_gradients([gradient]);
        losses.iter().sum()
    }

    /// From the gradient of `saved.stream[0]` to that of the tokens, zero in dead pictures; adds to that of the embedding.
    pub fn backward(
        &self,
        g: Geometry,
        values: &[Vec<f32>],
        live: &[bool],
        tokens: &[f32],
        saved: &mut Saved,
        dx: &[f32],
        dtokens: &mut [f32],
        dembedding: &mut [f32],
        gradients: &mut [Vec<f32>],
    ) {
        let (d, wide, pictures) = (self.unpatch.from, self.unpatch.to, g.pictures());
        let Saved { modulation, token_in, unpatched, dtoken_in, sums, total, .. } = saved;
        fit(dtoken_in, tokens.len());
        fit(sums, pictures * (2 * d + wide));
        fit(total, 2 * d + wide);
        sums.fill(0.0);
        let parts = cut(pictures, [unpatched, dtoken_in, dtokens, sums]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [dunpatched, dtoken_in, dtokens, sums])| {
            dtokens.fill(0.0);
            if !live[i] {
                return;
            }
            let (dshift, rest) = sums.split_at_mut(d);
            let (dscale, dbias) = rest.split_at_mut(d);
            fold(g, part(dx, i, pictures), dunpatched);
            add_columns(dunpatched, dbias);
            self.unpatch.backward(values, Matrix(dunpatched, wide), dtoken_in, Held::Replaced);
            let scale = &modulation[(i / g.chunk_latents * 2 + 1) * d..][..d];
            norm_modulate_backward(part(tokens, i, pictures), scale, dtoken_in, dtokens, dshift, dscale);
        });
        for (picture, sums) in sums.chunks_exact(2 * d + wide).enumerate() {
            let to = &mut dembedding[picture / g.chunk_latents * d..][..d];
            add(to, &sums[..d]);
            add(to, &sums[d..2 * d]);
        }
        sum_rows(sums, total);
        gradients[self.modulation].copy_from_slice(&total[..2 * d]);
        gradients[self.unpatch.bias].copy_from_slice(&total[2 * d..]);
        let rows = ranges(live, g.picture_cells() / 4);
        let gradient = WeightGradient {
            to: &mut gradients[self.unpatch.weight],
            inputs: d,
            rows: &rows,
            dy: Matrix(unpatched, wide),
            x: Matrix(token_in, d),
        };
        weight_gradients([gradient]);
    }
}
