//! A transformer block: forward with saved activations, and its gradient, in tasks of a few hundred tokens whose intermediate results
//! stay in the cache.
//!
//! Invariant: agrees with `model::dit::Block`; tokens of dead groups give nothing but keys and values. Guarded by `tests.rs`.

use super::attention::{Operands, Sight};
use super::geometry::fit;
use super::levels::Levels;
use super::linear::{Linear, Names};
use super::ops::{
    add, cut, gate_backward, gate_residual, gelu, gelu_backward, norm_modulate, norm_modulate_backward, norm_rotate, part,
    rms_norm_backward_in_place, rotate_back, sum_rows,
};
use super::product::{Held, Matrix, Target, WeightGradient, weight_gradients};
use crate::error::Result;
use crate::kernels::vector::dispatch;
use crate::model::config::Config;
use rayon::prelude::*;
use std::ops::Range;

pub(super) struct Block {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm_q: usize,
    norm_k: usize,
    up: Linear,
    down: Linear,
    modulation: usize,
    layer: usize,
    dim: usize,
    heads: usize,
}

/// What a block keeps for its gradient. Rows are tokens; the comments give the columns.
#[derive(Default)]
pub(super) struct Saved {
    /// Modulation of each level, 6 dim.
    modulation: Vec<f32>,
    /// What the projections see, dim.
    attention_in: Vec<f32>,
    /// Queries and keys before their norm, and values: 3 dim. Becomes its own gradient.
    qkv: Vec<f32>,
    /// Rotated queries and keys, dim each.
    q: Vec<f32>,
    k: Vec<f32>,
    /// Keys and values with those of a past before them, dim each; empty without one.
    keys: Vec<f32>,
    values: Vec<f32>,
    attended: Vec<f32>,
    /// See [`Operands::forward`]; heads.
    log_sums: Vec<f32>,
    /// The output projection, dim. Becomes its own gradient.
    projected: Vec<f32>,
    /// The stream between attention and feed-forward, dim.
    middle: Vec<f32>,
    /// What the feed-forward sees, dim.
    ffn_in: Vec<f32>,
    /// Before GELU, ffn_dim. Becomes its own gradient.
    hidden: Vec<f32>,
    /// What the feed-forward gives, dim. Becomes its own gradient.
    ffn_out: Vec<f32>,
}

/// What all blocks share.
#[derive(Default)]
pub(super) struct Scratch {
    /// After GELU, ffn_dim.
    activated: Vec<f32>,
    /// Gradient of what a norm or the output projection gave, dim.
    gradient: Vec<f32>,
    /// See [`Operands::backward`].
    heads: Vec<f32>,
    /// Sums over each block's tokens.
    sums: Vec<f32>,
    total: Vec<f32>,
}

impl Saved {
    pub fn buffers(&self) -> [&Vec<f32>; 14] {
        let Self { modulation, attention_in, qkv, q, k, keys, values, attended, log_sums, projected, middle, ffn_in, hidden, ffn_out } =
            self;
        [modulation, attention_in, qkv, q, k, keys, values, attended, log_sums, projected, middle, ffn_in, hidden, ffn_out]
    }

    /// What attention works on, once `q`, `k` and the values in `qkv` are there.
    fn operands<'a>(&'a self, pass: Pass<'a>, dim: usize, heads: usize) -> Operands<'a> {
        let sight = pass.sight;
        let (k, v) = match sight {
            Sight::After(_) => (Matrix(&self.keys, dim), Matrix(&self.values, dim)),
            Sight::Causal | Sight::All => (Matrix(&self.k, dim), Matrix(&self.qkv[2 * dim..], 3 * dim)),
        };
        let causal = !matches!(sight, Sight::All);
        Operands { q: Matrix(&self.q, dim), k, v, dim, heads, before: sight.before(), active: causal.then_some(pass.levels.active) }
    }
}

impl Scratch {
    pub fn buffers(&self) -> [&Vec<f32>; 5] {
        [&self.activated, &self.gradient, &self.heads, &self.sums, &self.total]
    }
}

/// What a step gives to all blocks.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub levels: Levels<'a>,
    pub values: &'a [Vec<f32>],
    /// Of all slots, (tokens of a past and of a clip, head_dim).
    pub rotation: &'a [f32],
    pub sight: Sight<'a>,
    /// Of each level, (levels, 6 dim).
    pub time: &'a [f32],
}

/// Sums over a block's tokens.
struct Sums<'a> {
    /// Six modulations of the tokens at their group's level, and of those at level 0.
    modulations: [[&'a mut [f32]; 6]; 2],
    down: &'a mut [f32],
    o: &'a mut [f32],
    q: &'a mut [f32],
    k: &'a mut [f32],
    v: &'a mut [f32],
    norm_q: &'a mut [f32],
    norm_k: &'a mut [f32],
    up: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// Numbers of all of them.
    fn width(dim: usize, ffn_dim: usize) -> usize {
        19 * dim + ffn_dim
    }

    fn of(sums: &'a mut [f32], dim: usize) -> Self {
        let (narrow, up) = sums.split_at_mut(19 * dim);
        let mut parts = narrow.chunks_exact_mut(dim);
        let mut next = || parts.next().unwrap_or_default();
        let mut six = || std::array::from_fn(|_| next());
        let modulations = [six(), six()];
        Self { modulations, down: next(), o: next(), q: next(), k: next(), v: next(), norm_q: next(), norm_k: next(), up }
    }
}

impl Block {
    pub fn new(config: &Config, names: &Names, layer: usize) -> Result<Self> {
        let dim = config.dim;
        let project = |name: &str| names.linear(&format!("blocks.{layer}.self_attn.{name}"), dim, dim);
        let norm = |name: &str| names.find(&format!("blocks.{layer}.self_attn.{name}.weight"), dim);
        Ok(Self {
            q: project("q")?,
            k: project("k")?,
            v: project("v")?,
            o: project("o")?,
            norm_q: norm("norm_q")?,
            norm_k: norm("norm_k")?,
            up: names.linear(&format!("blocks.{layer}.ffn.0"), dim, config.ffn_dim)?,
            down: names.linear(&format!("blocks.{layer}.ffn.2"), config.ffn_dim, dim)?,
            modulation: names.find(&format!("blocks.{layer}.modulation"), 6 * dim)?,
            layer,
            dim,
            heads: config.heads,
        })
    }

    /// Second forms of the weights.
    pub fn buffers(&self) -> [&Vec<f32>; 6] {
        [&self.q, &self.k, &self.v, &self.o, &self.up, &self.down].map(Linear::buffer)
    }

    pub fn linears(&mut self) -> [&mut Linear; 6] {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.up, &mut self.down]
    }

    /// `x` and `out` (tokens, dim); rows of `out` in dead groups are not written.
    pub fn forward(&self, pass: Pass, live: &[bool], x: &[f32], saved: &mut Saved, scratch: &mut Scratch, out: &mut [f32]) {
        let Pass { levels, values, rotation, sight, time } = pass;
        let g = levels.geometry;
        let (d, tokens, blocks, rows) = (self.dim, g.tokens(), g.blocks(), g.block_tokens());
        let s = saved;
        fit(&mut s.modulation, time.len());
        for (modulation, time) in s.modulation.chunks_exact_mut(6 * d).zip(time.chunks_exact(6 * d)) {
            modulation.copy_from_slice(time);
            add(modulation, &values[self.modulation]);
        }
        for buffer in
            [&mut s.attention_in, &mut s.q, &mut s.k, &mut s.attended, &mut s.projected, &mut s.middle, &mut s.ffn_in, &mut s.ffn_out]
        {
            fit(buffer, tokens * d);
        }
        fit(&mut s.qkv, tokens * 3 * d);
        fit(&mut s.log_sums, tokens * self.heads);
        fit(&mut s.hidden, tokens * self.up.to);
        fit(&mut scratch.activated, tokens * self.up.to);
        let modulation = &s.modulation;
        let modulation = |level: usize, part: usize| &modulation[(level * 6 + part) * d..][..d];
        let runs = |block: usize| levels.runs(block * rows..(block + 1) * rows, d);

        let parts = cut(blocks, [&mut s.attention_in, &mut s.qkv, &mut s.q, &mut s.k]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [y, qkv, q, k])| {
            for (at, level) in runs(i) {
                norm_modulate(&part(x, i, blocks)[at.clone()], modulation(level, 0), modulation(level, 1), &mut y[at]);
            }
            for (at, linear) in [&self.q, &self.k, &self.v].into_iter().enumerate() {
                linear.forward_to(values, Matrix(y, d), Target(&mut qkv[at * d..], 3 * d), rows);
            }
            let (norm_q, norm_k) = (&values[self.norm_q], &values[self.norm_k]);
            let first = sight.before() + i * rows % g.clip_tokens();
            dispatch(
                #[inline(always)]
                || {
                    for (row, qkv) in qkv.chunks_exact(3 * d).enumerate() {
                        let rotation = self.rotation(rotation, first + row);
                        norm_rotate(&qkv[..d], norm_q, rotation, &mut q[row * d..][..d]);
                        norm_rotate(&qkv[d..2 * d], norm_k, rotation, &mut k[row * d..][..d]);
                    }
                },
            );
        });
        if let Sight::After(past) = sight {
            let [keys, values] = &past.layers[self.layer];
            s.keys.clear();
            s.keys.extend(keys.iter().chain(&s.k));
            s.values.clear();
            s.values.extend(values.iter().chain(s.qkv.chunks_exact(3 * d).flat_map(|row| &row[2 * d..])));
        }
        let (mut attended, mut log_sums) = (std::mem::take(&mut s.attended), std::mem::take(&mut s.log_sums));
        s.operands(pass, d, self.heads).forward(g, live, &mut attended, &mut log_sums);
        (s.attended, s.log_sums) = (attended, log_sums);

        let attended = &s.attended;
        let parts =
            cut(blocks, [&mut s.projected, &mut s.middle, &mut s.ffn_in, &mut s.hidden, &mut scratch.activated, &mut s.ffn_out, out]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [projected, middle, ffn_in, hidden, activated, ffn_out, out])| {
            if !live[i / g.blocks_per_group()] {
                return;
            }
            self.o.forward(values, Matrix(part(attended, i, blocks), d), projected);
            for (at, level) in runs(i) {
                let middle = &mut middle[at.clone()];
                gate_residual(&part(x, i, blocks)[at.clone()], &projected[at.clone()], modulation(level, 2), middle);
                norm_modulate(middle, modulation(level, 3), modulation(level, 4), &mut ffn_in[at]);
            }
            self.up.forward(values, Matrix(ffn_in, d), hidden);
            gelu(hidden, activated);
            self.down.forward(values, Matrix(activated, self.up.to), ffn_out);
            for (at, level) in runs(i) {
                gate_residual(&middle[at.clone()], &ffn_out[at.clone()], modulation(level, 5), &mut out[at]);
            }
        });
    }

    fn rotation<'a>(&self, rotation: &'a [f32], token: usize) -> &'a [f32] {
        let hd = self.dim / self.heads;
        &rotation[token * hd..][..hd]
    }

    /// Turns `dx`, the gradient of the output, into that of the input; it must be zero in dead groups. Adds to `dtime` (levels, 6 dim).
    pub fn backward(
        &self,
        pass: Pass,
        live: &[bool],
        x: &[f32],
        saved: &mut Saved,
        scratch: &mut Scratch,
        dx: &mut [f32],
        dtime: &mut [f32],
        gradients: &mut [Vec<f32>],
    ) {
        let Pass { levels, values, rotation, sight, .. } = pass;
        let g = levels.geometry;
        let (d, f, tokens, blocks, rows) = (self.dim, self.up.to, g.tokens(), g.blocks(), g.block_tokens());
        let s = saved;
        let Scratch { activated, gradient, heads, sums, total } = scratch;
        fit(gradient, tokens * d);
        let before = sight.before();
        fit(heads, (tokens + before) * 3 * d);
        let width = Sums::width(d, f);
        fit(sums, blocks * width);
        sums.fill(0.0);
        let modulation = &s.modulation;
        let modulation = |level: usize, part: usize| &modulation[(level * 6 + part) * d..][..d];
        let runs = |block: usize| levels.runs(block * rows..(block + 1) * rows, d);

        let middle = &s.middle;
        let parts = cut(blocks, [dx, &mut s.ffn_out, activated, &mut s.hidden, gradient, &mut s.projected, sums]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [dx, ffn_out, activated, hidden, gradient, projected, sums])| {
            if !live[i / g.blocks_per_group()] {
                return;
            }
            let mut sums = Sums::of(sums, d);
            for (at, level) in runs(i) {
                let dgate = &mut sums.modulations[levels.kind(level)][5];
                gate_backward(&mut dx[at.clone()], modulation(level, 5), &mut ffn_out[at], dgate, sums.down);
            }
            self.down.backward(values, Matrix(ffn_out, d), activated, Held::Replaced);
            gelu_backward(hidden, activated, sums.up);
            self.up.backward(values, Matrix(hidden, f), gradient, Held::Replaced);
            for (at, level) in runs(i) {
                let [_, _, dgate, dshift, dscale, _] = &mut sums.modulations[levels.kind(level)];
                let (middle, dx) = (&part(middle, i, blocks)[at.clone()], &mut dx[at.clone()]);
                norm_modulate_backward(middle, modulation(level, 4), &gradient[at.clone()], dx, dshift, dscale);
                gate_backward(dx, modulation(level, 2), &mut projected[at], dgate, sums.o);
            }
            self.o.backward(values, Matrix(projected, d), gradient, Held::Replaced);
        });
        s.operands(pass, d, self.heads).backward(g, live, &s.log_sums, &s.attended, gradient, heads);

        let parts = cut(blocks, [dx, &mut s.qkv, gradient, sums, &mut s.q]);
        parts.into_par_iter().with_max_len(1).enumerate().for_each(|(i, [dx, qkv, gradient, sums, turned])| {
            let mut sums = Sums::of(sums, d);
            let (clip, first) = (i * rows / g.clip_tokens(), before + i * rows % g.clip_tokens());
            self.projections_backward(heads, clip, first, before + g.clip_tokens(), rotation, values, qkv, turned, &mut sums);
            for (at, linear) in [&self.q, &self.k, &self.v].into_iter().enumerate() {
                let held = if at == 0 { Held::Replaced } else { Held::Kept };
                linear.backward(values, Matrix(&qkv[at * d..], 3 * d), gradient, held);
            }
            for (at, level) in runs(i) {
                let [dshift, dscale, ..] = &mut sums.modulations[levels.kind(level)];
                let (x, dx) = (&part(x, i, blocks)[at.clone()], &mut dx[at.clone()]);
                norm_modulate_backward(x, modulation(level, 1), &gradient[at], dx, dshift, dscale);
            }
        });
        let live_rows = ranges(live, g.group_tokens());
        let mut take = |linear: &Linear| std::mem::take(&mut gradients[linear.weight]);
        let [mut o, mut up, mut down, mut q, mut k, mut v] = [&self.o, &self.up, &self.down, &self.q, &self.k, &self.v].map(&mut take);
        let (live, all) = (live_rows.as_slice(), [0..tokens]);
        let project = |to, at: usize| {
            let (dy, x) = (Matrix(&s.qkv[at * d..], 3 * d), Matrix(&s.attention_in, d));
            WeightGradient { to, inputs: d, rows: &all, dy, x }
        };
        weight_gradients([
            WeightGradient { to: &mut down, inputs: f, rows: live, dy: Matrix(&s.ffn_out, d), x: Matrix(activated, f) },
            WeightGradient { to: &mut up, inputs: d, rows: live, dy: Matrix(&s.hidden, f), x: Matrix(&s.ffn_in, d) },
            WeightGradient { to: &mut o, inputs: d, rows: live, dy: Matrix(&s.projected, d), x: Matrix(&s.attended, d) },
            project(&mut q, 0),
            project(&mut k, 1),
            project(&mut v, 2),
        ]);
        for (linear, weight) in [&self.o, &self.up, &self.down, &self.q, &self.k, &self.v].into_iter().zip([o, up, down, q, k, v]) {
            gradients[linear.weight] = weight;
        }

        gradients[self.modulation].fill(0.0);
        for (block, sums) in sums.chunks_exact(width).enumerate() {
            let own = block / g.blocks_per_group();
            for (level, sums) in [own, g.groups()].into_iter().zip(sums.chunks_exact(6 * d)) {
                add(&mut dtime[level * 6 * d..][..6 * d], sums);
                add(&mut gradients[self.modulation], sums);
            }
        }
        fit(total, width);
        sum_rows(sums, total);
        let Sums { down, o, q, k, v, norm_q, norm_k, up, .. } = Sums::of(total, d);
        let places = [self.down.bias, self.o.bias, self.q.bias, self.k.bias, self.v.bias, self.norm_q, self.norm_k, self.up.bias];
        for (place, sum) in places.into_iter().zip([down, o, q, k, v, norm_q, norm_k, up]) {
            gradients[place].copy_from_slice(sum);
        }
    }

    /// From the heads' gradients to those of the projections, written over `qkv`; `turned` has room for as many rows of dim. `first` is
    /// the first token's slot among the `all` that its clip sees.
    fn projections_backward(
        &self,
        heads: &[f32],
        clip: usize,
        first: usize,
        all: usize,
        rotation: &[f32],
        values: &[Vec<f32>],
        qkv: &mut [f32],
        turned: &mut [f32],
        sums: &mut Sums,
    ) {
        let (d, hd) = (self.dim, self.dim / self.heads);
        let head_row =
            |head: usize, part: usize, token: usize| &heads[(((clip * self.heads + head) * 3 + part) * all + token) * hd..][..hd];
        let (norm_q, norm_k) = (&values[self.norm_q], &values[self.norm_k]);
        dispatch(
            #[inline(always)]
            || {
                for (row, (qkv, turned)) in qkv.chunks_exact_mut(3 * d).zip(turned.chunks_exact_mut(d)).enumerate() {
                    let token = first + row;
                    let rotation = self.rotation(rotation, token);
                    let (q, rest) = qkv.split_at_mut(d);
                    let (k, v) = rest.split_at_mut(d);
                    for head in 0..self.heads {
                        rotate_back(head_row(head, 0, token), rotation, &mut turned[head * hd..][..hd]);
                        v[head * hd..][..hd].copy_from_slice(head_row(head, 2, token));
                    }
                    rms_norm_backward_in_place(q, norm_q, turned, sums.norm_q, sums.q);
                    for head in 0..self.heads {
                        rotate_back(head_row(head, 1, token), rotation, &mut turned[head * hd..][..hd]);
                    }
                    rms_norm_backward_in_place(k, norm_k, turned, sums.norm_k, sums.k);
                    add(sums.v, v);
                }
            },
        );
    }
}

/// The rows of live runs of `unit` rows, neighbours joined.
pub(super) fn ranges(live: &[bool], unit: usize) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (i, _) in live.iter().enumerate().filter(|(_, live)| **live) {
        match ranges.last_mut() {
            Some(last) if last.end == i * unit => last.end += unit,
            _ => ranges.push(i * unit..(i + 1) * unit),
        }
    }
    ranges
}
