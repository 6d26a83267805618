//! From latents and condition to tokens: track head, first layer, convolutions, 2x2 cells into one token.
//!
//! Invariant: agrees with the first half of `model::dit::Dit::forward`; nothing is spent on gradients of latents and condition. Guarded
//! by `tests.rs`.

use super::conv_block::{self, ConvBlock};
use super::geometry::{Geometry, fit};
use super::linear::{Linear, Names};
use super::ops::{add, add_columns, cut, part, rms_norm, rms_norm_backward, sum_rows};
use super::product::{Held, Matrix, Target, WeightGradient, nn, tn, weight_gradients};
use crate::error::Result;
use crate::model::config::Config;
use crate::model::contrast::Contrast;
use crate::train::example::Input;
use rayon::prelude::*;

pub(super) struct Stem {
    track_head: Linear,
    first: Linear,
    pub blocks: Vec<ConvBlock>,
    patch: Linear,
    norm: Option<usize>,
    latent: usize,
    smooth: usize,
    plain: usize,
}

/// Rows are cells, or tokens where said.
#[derive(Default)]
pub(super) struct Saved {
    /// What the first layer sees: weighted latent, plain condition, tracks after their head.
    input: Vec<f32>,
    /// What each convolution block sees, what the last one gives, and that normed, if the network norms it.
    pub stream: Vec<Vec<f32>>,
    pub blocks: Vec<conv_block::Saved>,
    /// Gradient of the norm's output.
    dnormed: Vec<f32>,
    /// Level and spread of each group, if the network takes its input relative to them.
    pub contrasts: Vec<Contrast>,
    /// Four cells' channels per token.
    folded: Vec<f32>,
    /// Gradient of `folded`.
    dfolded: Vec<f32>,
    dtracks: Vec<f32>,
    sums: Vec<f32>,
    total: Vec<f32>,
}

impl Saved {
    pub fn new(config: &Config) -> Self {
        let (blocks, norms) = (config.stem_blocks, usize::from(config.normed));
        Self { stream: vec![Vec::new(); blocks + 1 + norms], blocks: (0..blocks).map(|_| Default::default()).collect(), ..Self::default() }
    }

    /// What the transformer and the head see, (cells, c).
    pub fn output(&self) -> &[f32] {
        &self.stream[self.stream.len() - 1]
    }

    pub fn buffers(&self) -> impl Iterator<Item = &Vec<f32>> {
        let own = [&self.input, &self.dnormed, &self.folded, &self.dfolded, &self.dtracks, &self.sums, &self.total];
        own.into_iter().chain(&self.stream).chain(self.blocks.iter().flat_map(|b| b.buffers()))
    }
}

impl Stem {
    pub fn new(config: &Config, names: &Names) -> Result<Self> {
        let (c, raw) = (config.stem_channels, config.raw_track_channels());
        let plain = config.condition_channels() - raw;
        Ok(Self {
            track_head: names.linear("track_head", raw, config.track_channels)?,
            first: names.linear("stem.in", config.latent_channels + plain + config.track_channels, c)?,
            blocks: (0..config.stem_blocks).map(|i| ConvBlock::new(c, names, &format!("stem.{i}"))).collect::<Result<_>>()?,
            patch: names.linear("patch_embedding", 4 * c, config.dim)?,
            norm: config.normed.then(|| names.find("stem.norm.weight", c)).transpose()?,
            latent: config.latent_channels,
            smooth: config.smooth_channels,
            plain,
        })
    }

    /// Second forms of the weights.
    pub fn buffers(&self) -> [&Vec<f32>; 3] {
        [&self.track_head, &self.first, &self.patch].map(Linear::buffer)
    }

    pub fn linears(&mut self) -> [&mut Linear; 3] {
        [&mut self.track_head, &mut self.first, &mut self.patch]
    }

    /// The condition of a clip, rows of all its channels.
    fn condition<'a>(&self, input: &'a Input) -> Matrix<'a> {
        Matrix(&input.condition, self.plain + self.track_head.from)
    }

    /// From examples to `saved.stream[0]`.
    pub fn forward(&self, g: Geometry, values: &[Vec<f32>], batch: &[&Input], saved: &mut Saved) {
        let (cells, width, latent) = (g.picture_cells(), self.first.from, self.latent);
        fit(&mut saved.input, g.cells() * width);
        saved.stream.iter_mut().for_each(|buffer| fit(buffer, g.cells() * self.first.to));
        let chunk = g.chunk_latents * cells;
        saved.contrasts.resize(if self.norm.is_some() { g.groups() } else { 0 }, Contrast::default());
        saved.contrasts.par_iter_mut().enumerate().for_each(|(group, contrast)| {
            let groups = g.groups() / g.clips;
            let condition = self.condition(batch[group / groups]);
            contrast.refill(&condition.0[group % groups * chunk * condition.1..][..chunk * condition.1], condition.1, latent);
        });
        let contrasts = &saved.contrasts;
        let parts = cut(g.pictures(), [&mut saved.input, &mut saved.stream[0]]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [input, out])| {
            let (example, picture) = (batch[i / g.latents], i % g.latents);
            // At noise level 1 an unknown cell's latent holds noise alone, which a small net would let through.
            let share = 1.0 - example.levels[picture / g.chunk_latents];
            let noisy = &example.noisy[picture * cells * latent..][..cells * latent];
            let unknown = &example.unknown[picture * cells..][..cells];
            let condition = self.condition(example);
            let condition = Matrix(&condition.0[picture * cells * condition.1..][..cells * condition.1], condition.1);
            let contrast = contrasts.get(i / g.chunk_latents);
            let sources = noisy.chunks_exact(latent).zip(unknown).zip(condition.0.chunks_exact(condition.1));
            for (input, ((noisy, unknown), condition)) in input.chunks_exact_mut(width).zip(sources) {
                let share = if *unknown { share } else { 1.0 };
                input[..latent].copy_from_slice(noisy);
                input[latent..][..self.plain].copy_from_slice(&condition[..self.plain]);
                if let Some(contrast) = contrast {
                    contrast.apply(&mut input[..latent]);
                    contrast.apply(&mut input[latent..2 * latent]);
                    contrast.apply(&mut input[2 * latent..][..self.smooth]);
                }
                input[..latent].iter_mut().for_each(|v| *v *= share);
            }
            let tracks = Matrix(&condition.0[self.plain..], condition.1);
            self.track_head.forward_to(values, tracks, Target(&mut input[latent + self.plain..], width), cells);
            self.first.forward(values, Matrix(input, width), out);
        });
    }

    /// Norms what the last block gives.
    pub fn finish(&self, g: Geometry, values: &[Vec<f32>], saved: &mut Saved) {
        let Some(norm) = self.norm else { return };
        let (before, after) = saved.stream.split_at_mut(self.blocks.len() + 1);
        let x = &before[self.blocks.len()];
        let parts = cut(g.pictures(), [&mut after[0]]).into_par_iter().with_max_len(1).enumerate();
        parts.for_each(|(i, [normed])| rms_norm(part(x, i, g.pictures()), &values[norm], normed));
    }

    /// Turns `dcells`, the gradient of [`Saved::output`], into that of what the last block gives.
    pub fn finish_backward(&self, g: Geometry, values: &[Vec<f32>], saved: &mut Saved, dcells: &mut [f32], gradients: &mut [Vec<f32>]) {
        let Some(norm) = self.norm else { return };
        let Saved { stream, dnormed, sums, .. } = saved;
        let (x, pictures) = (&stream[self.blocks.len()], g.pictures());
        fit(dnormed, dcells.len());
        fit(sums, pictures * self.first.to);
        sums.fill(0.0);
        cut(pictures, [dcells, dnormed, sums]).into_par_iter().with_max_len(1).enumerate().for_each(|(i, [dx, dy, dweight])| {
            dy.copy_from_slice(dx);
            dx.fill(0.0);
            rms_norm_backward(part(x, i, pictures), &values[norm], dy, dx, dweight);
        });
        sum_rows(sums, &mut gradients[norm]);
    }

    /// Tokens (tokens, dim) from [`Saved::output`].
    pub fn embed(&self, g: Geometry, values: &[Vec<f32>], saved: &mut Saved, tokens: &mut [f32]) {
        let Saved { stream, folded, .. } = saved;
        let stem = &stream[stream.len() - 1];
        fit(folded, stem.len());
        cut(g.pictures(), [folded, tokens]).into_par_iter().with_max_len(1).enumerate().for_each(|(i, [folded, tokens])| {
            fold(g, part(stem, i, g.pictures()), folded);
            self.patch.forward(values, Matrix(folded, self.patch.from), tokens);
        });
    }

    /// Adds the gradient that comes through the tokens to `dstem`, that of [`Saved::output`].
    pub fn embed_backward(
        &self,
        g: Geometry,
        values: &[Vec<f32>],
        saved: &mut Saved,
        dtokens: &[f32],
        dstem: &mut [f32],
        gradients: &mut [Vec<f32>],
    ) {
        let Saved { folded, dfolded, .. } = saved;
        fit(dfolded, folded.len());
        cut(g.pictures(), [dfolded, dstem]).into_par_iter().with_max_len(1).enumerate().for_each(|(i, [dfolded, dstem])| {
            self.patch.backward(values, Matrix(part(dtokens, i, g.pictures()), self.patch.to), dfolded, Held::Replaced);
            add_unfolded(g, dfolded, dstem);
        });
        gradients[self.patch.bias].fill(0.0);
        add_columns(dtokens, &mut gradients[self.patch.bias]);
        let (dy, x) = (Matrix(dtokens, self.patch.to), Matrix(folded, self.patch.from));
        weight_gradients([WeightGradient {
            to: &mut gradients[self.patch.weight],
            inputs: self.patch.from,
            rows: &[0..g.tokens()],
            dy,
            x,
        }]);
    }

    /// Gradients of the first layer and the track head from that of `saved.stream[0]`.
    pub fn backward(&self, g: Geometry, values: &[Vec<f32>], batch: &[&Input], saved: &mut Saved, dx: &[f32], gradients: &mut [Vec<f32>]) {
        let (c, tracks, width) = (self.first.to, self.track_head.to, self.first.from);
        let Saved { input, dtracks, sums, total, .. } = saved;
        fit(dtracks, g.cells() * tracks);
        fit(sums, g.pictures() * (c + tracks));
        fit(total, c + tracks);
        sums.fill(0.0);
        let weight = Matrix(&values[self.first.weight][self.latent + self.plain..], width);
        cut(g.pictures(), [dtracks, sums]).into_par_iter().with_max_len(1).enumerate().for_each(|(i, [dtracks, sums])| {
            let dx = part(dx, i, g.pictures());
            nn((g.picture_cells(), c, tracks), Target(dtracks, tracks), Held::Replaced, Matrix(dx, c), weight, 1.0);
            add_columns(dx, &mut sums[..c]);
            add_columns(dtracks, &mut sums[c..]);
        });
        sum_rows(sums, total);
        gradients[self.first.bias].copy_from_slice(&total[..c]);
        gradients[self.track_head.bias].copy_from_slice(&total[c..]);
        let mut head = std::mem::take(&mut gradients[self.track_head.weight]);
        let rows = [0..g.cells()];
        let first = WeightGradient {
            to: &mut gradients[self.first.weight],
            inputs: width,
            rows: &rows,
            dy: Matrix(dx, c),
            x: Matrix(input, width),
        };
        rayon::join(
            || weight_gradients([first]),
            || {
                for (clip, example) in batch.iter().enumerate() {
                    let (cells, condition) = (g.cells() / g.clips, self.condition(example));
                    let held = if clip == 0 { Held::Replaced } else { Held::Kept };
                    let dy = Matrix(part(dtracks, clip, g.clips), tracks);
                    let x = Matrix(&condition.0[self.plain..], condition.1);
                    tn((tracks, cells, self.track_head.from), Target(&mut head, self.track_head.from), held, dy, x, 1.0);
                }
            },
        );
        gradients[self.track_head.weight] = head;
    }
}

/// A picture's cells (rows, columns, c) as tokens: two by two, row by row.
pub(super) fn fold(g: Geometry, cells: &[f32], tokens: &mut [f32]) {
    let pair = 2 * cells.len() / g.picture_cells();
    for (i, token) in tokens.chunks_exact_mut(2 * pair).enumerate() {
        for (half, to) in token.chunks_exact_mut(pair).enumerate() {
            to.copy_from_slice(&cells[pair_of(g, i, half) * pair..][..pair]);
        }
    }
}

/// Adds a picture's tokens to its cells, the reverse of [`fold`].
pub(super) fn add_unfolded(g: Geometry, tokens: &[f32], cells: &mut [f32]) {
    let pair = 2 * cells.len() / g.picture_cells();
    for (i, token) in tokens.chunks_exact(2 * pair).enumerate() {
        for (half, from) in token.chunks_exact(pair).enumerate() {
            add(&mut cells[pair_of(g, i, half) * pair..][..pair], from);
        }
    }
}

/// Which pair of neighbouring cells is the upper or lower half of a token.
fn pair_of(g: Geometry, token: usize, half: usize) -> usize {
    let columns = g.columns / 2;
    (2 * (token / columns) + half) * columns + token % columns
}
