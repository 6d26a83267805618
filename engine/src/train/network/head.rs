//! From tokens to the correction, its loss, and back: in live pictures only, since clean history has no loss.
//!
//! Invariant: agrees with the second half of `model::dit::Dit::forward`. Guarded by `tests.rs`.

use super::block::ranges;
use super::conv_block::{self, ConvBlock};
use super::geometry::{Geometry, fit};
use super::levels::Levels;
use super::linear::{Linear, Names};
use super::ops::{add, add_columns, cut, norm_modulate, norm_modulate_backward, part, rms_norm, rms_norm_backward, sum_rows};
use super::product::{Held, Matrix, WeightGradient, weight_gradients};
use super::stem::{add_unfolded, fold};
use super::{Objective, Weigh};
use crate::error::Result;
use crate::model::config::Config;
use crate::model::contrast::Contrast;
use rayon::prelude::*;
use std::ops::Range;

pub(super) struct Head {
    modulation: usize,
    unpatch: Linear,
    pub blocks: Vec<ConvBlock>,
    norm: usize,
    out: Linear,
    latent: usize,
}

/// Rows are cells, or tokens where said.
#[derive(Default)]
pub(super) struct Saved {
    /// Shift and scale of each level, 2 dim.
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
            latent: config.latent_channels,
        })
    }

    /// Second forms of the weights.
    pub fn buffers(&self) -> [&Vec<f32>; 2] {
        [&self.unpatch, &self.out].map(Linear::buffer)
    }

    pub fn linears(&mut self) -> [&mut Linear; 2] {
        [&mut self.unpatch, &mut self.out]
    }

    /// From `tokens` (tokens, dim), the noise levels' embedding (levels, dim) and the stem (cells, c) to `saved.stream[0]`.
    pub fn forward(
        &self,
        levels: Levels,
        values: &[Vec<f32>],
        live: &[bool],
        tokens: &[f32],
        embedding: &[f32],
        stem: &[f32],
        saved: &mut Saved,
    ) {
        let (g, d) = (levels.geometry, self.unpatch.from);
        let Saved { modulation, token_in, unpatched, stream, .. } = saved;
        fit(modulation, levels.rows() * 2 * d);
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
            for (at, level) in levels.runs(picture_tokens(g, i), d) {
                let (shift, scale) = modulation[level * 2 * d..][..2 * d].split_at(d);
                norm_modulate(&part(tokens, i, g.pictures())[at.clone()], shift, scale, &mut token_in[at]);
            }
            self.unpatch.forward(values, Matrix(token_in, d), unpatched);
            out.copy_from_slice(part(stem, i, g.pictures()));
            add_unfolded(g, unpatched, out);
        });
    }

    /// What the last of `saved.stream` makes, (cells, output_channels); zero in dead pictures and in cells that are not `shown`.
    pub fn output(
        &self,
        g: Geometry,
        values: &[Vec<f32>],
        live: &[bool],
        shown: &[bool],
        contrasts: &[Contrast],
        saved: &mut Saved,
        out: &mut Vec<f32>,
    ) {
        let pictures = g.pictures();
        let Saved { stream, normed, .. } = saved;
        let x = &stream[self.blocks.len()];
        fit(normed, x.len());
        fit(out, g.cells() * self.out.to);
        cut(pictures, [normed, out]).into_par_iter().with_max_len(1).enumerate().for_each(|(i, [normed, out])| {
            if !live[i] {
                return out.fill(0.0);
            }
            let shown = &shown[i * g.picture_cells()..][..g.picture_cells()];
            self.say(values, part(x, i, pictures), contrasts.get(i / g.chunk_latents), shown, normed, out);
        });
    }

    /// A picture's `out` from what the last block gives for it, `x`.
    fn say(&self, values: &[Vec<f32>], x: &[f32], contrast: Option<&Contrast>, shown: &[bool], normed: &mut [f32], out: &mut [f32]) {
        rms_norm(x, &values[self.norm], normed);
        self.out.forward(values, Matrix(normed, self.out.from), out);
        self.spread(contrast, out);
        confine(out, shown);
    }

    /// The loss of what [`Head::output`] gives, and its gradient `dx` (cells, c), zero in dead pictures.
    pub fn loss(
        &self,
        g: Geometry,
        values: &[Vec<f32>],
        live: &[bool],
        shown: &[bool],
        contrasts: &[Contrast],
        (objective, weigh): (&Objective, Option<&Weigh>),
        saved: &mut Saved,
        dx: &mut [f32],
        gradients: &mut [Vec<f32>],
    ) -> Vec<f64> {
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
            let contrast = contrasts.get(i / g.chunk_latents);
            let shown = &shown[i * g.picture_cells()..][..g.picture_cells()];
            self.say(values, x, contrast, shown, normed, out);
            *loss = objective(i, out);
            confine(out, shown);
            self.spread(contrast, out);
            add_columns(out, dbias);
            self.out.backward(values, Matrix(out, width), dnormed, Held::Replaced);
            rms_norm_backward(x, &values[self.norm], dnormed, dx, dnorm);
        });
        if let Some(weigh) = weigh {
            let parts = cut(pictures, [&mut *out, &mut *dx, &mut *sums]).into_par_iter().zip(weigh(losses)).with_max_len(1);
            parts.for_each(|(parts, weight)| parts.into_iter().for_each(|part| part.iter_mut().for_each(|v| *v *= weight)));
        }
        sum_rows(sums, total);
        gradients[self.norm].copy_from_slice(&total[..c]);
        gradients[self.out.bias].copy_from_slice(&total[c..]);
        let rows = ranges(live, g.picture_cells());
        let gradient =
            WeightGradient { to: &mut gradients[self.out.weight], inputs: c, rows: &rows, dy: Matrix(out, width), x: Matrix(normed, c) };
        weight_gradients([gradient]);
        losses.clone()
    }

    /// Corrections times the spread of their chunk; for what the last layer gives and for its gradient.
    fn spread(&self, contrast: Option<&Contrast>, out: &mut [f32]) {
        let Some(spread) = contrast.map(Contrast::spread) else { return };
        out.chunks_exact_mut(self.out.to).for_each(|row| row[..self.latent].iter_mut().for_each(|v| *v *= spread));
    }

    /// From the gradient of `saved.stream[0]` to that of the tokens, zero in dead pictures; adds to that of the embedding.
    pub fn backward(
        &self,
        levels: Levels,
        values: &[Vec<f32>],
        live: &[bool],
        tokens: &[f32],
        saved: &mut Saved,
        dx: &[f32],
        dtokens: &mut [f32],
        dembedding: &mut [f32],
        gradients: &mut [Vec<f32>],
    ) {
        let g = levels.geometry;
        let (d, wide, pictures) = (self.unpatch.from, self.unpatch.to, g.pictures());
        let Saved { modulation, token_in, unpatched, dtoken_in, sums, total, .. } = saved;
        fit(dtoken_in, tokens.len());
        // Shift and scale of the tokens at their group's level, of those at level 0, and the bias.
        let width = 4 * d + wide;
        fit(sums, pictures * width);
        fit(total, width);
        sums.fill(0.0);
        let parts = cut(pictures, [unpatched, dtoken_in, dtokens, sums]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [dunpatched, dtoken_in, dtokens, sums])| {
            dtokens.fill(0.0);
            if !live[i] {
                return;
            }
            let (dmodulations, dbias) = sums.split_at_mut(4 * d);
            fold(g, part(dx, i, pictures), dunpatched);
            add_columns(dunpatched, dbias);
            self.unpatch.backward(values, Matrix(dunpatched, wide), dtoken_in, Held::Replaced);
            for (at, level) in levels.runs(picture_tokens(g, i), d) {
                let scale = &modulation[(level * 2 + 1) * d..][..d];
                let (dshift, dscale) = dmodulations[levels.kind(level) * 2 * d..][..2 * d].split_at_mut(d);
                let (tokens, dtokens) = (&part(tokens, i, pictures)[at.clone()], &mut dtokens[at.clone()]);
                norm_modulate_backward(tokens, scale, &dtoken_in[at], dtokens, dshift, dscale);
            }
        });
        for (picture, sums) in sums.chunks_exact(width).enumerate() {
            for (level, sums) in [picture / g.chunk_latents, g.groups()].into_iter().zip(sums.chunks_exact(2 * d)) {
                sums.chunks_exact(d).for_each(|sums| add(&mut dembedding[level * d..][..d], sums));
            }
        }
        sum_rows(sums, total);
        let (modulations, bias) = total.split_at(4 * d);
        sum_rows(modulations, &mut gradients[self.modulation]);
        gradients[self.unpatch.bias].copy_from_slice(bias);
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

/// The tokens of a picture.
fn picture_tokens(g: Geometry, picture: usize) -> Range<usize> {
    let tokens = g.picture_cells() / 4;
    picture * tokens..(picture + 1) * tokens
}

/// Nothing in cells that are not shown.
fn confine(rows: &mut [f32], shown: &[bool]) {
    let width = rows.len() / shown.len();
    rows.chunks_exact_mut(width).zip(shown).filter(|(_, shown)| !**shown).for_each(|(row, _)| row.fill(0.0));
}
