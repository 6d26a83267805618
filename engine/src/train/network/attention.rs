//! Attention over clips, and its gradient with the scores recomputed (FlashAttention's idea, Dao 2022): only the logarithm of each
//! row's sum is kept.
//!
//! Invariant: a query sees what [`Sight`] says and nothing else; keys and values of a past are constants; tiles of dead groups cost
//! nothing. Guarded by `tests.rs`.

use super::geometry::Geometry;
use super::lanes::{map, total};
use super::ops::cut;
use super::product::{Held, Matrix, Target, nn, nt, tn};
use crate::kernels::vector::{dispatch, exp2, max};
use rayon::prelude::*;
use std::cell::RefCell;

/// What a token may look at.
#[derive(Clone, Copy)]
pub enum Sight<'a> {
    /// Its own chunk and all before it, as the streaming student sees its window; of its own chunk a token that noise does not reach sees
    /// only others like it.
    Causal,
    /// The whole clip, as teacher and critic see it.
    All,
    /// Its own chunk and a past that is held, as the student sees it when it runs; one clip of one chunk.
    After(&'a Past),
}

/// Keys and values of chunks that were committed, as [`KvWindow`](crate::model::kv_window::KvWindow) holds them.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Tokens held.
    pub tokens: usize,
    /// Per layer: keys, rotated for the slots they are in, and values; each (tokens, dim).
    pub layers: Vec<[Vec<f32>; 2]>,
}

impl Sight<'_> {
    /// Tokens before those of the pass.
    pub(super) fn before(self) -> usize {
        match self {
            Self::After(past) => past.tokens,
            Self::Causal | Self::All => 0,
        }
    }
}

/// Queries (tokens, dim), keys and values, each in rows of its own stride. `before` rows of keys and values stand before those of the
/// first clip: a past.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub q: Matrix<'a>,
    pub k: Matrix<'a>,
    pub v: Matrix<'a>,
    pub dim: usize,
    pub heads: usize,
    pub before: usize,
    /// Which tokens noise reaches; none if every query sees its whole clip.
    pub active: Option<&'a [bool]>,
}

/// A score that no query's largest comes near.
const HIDDEN: f32 = -1e30;

thread_local! {
    /// Scores of a tile and their gradient: they grow to the largest tile that a thread has seen and stay.
    static SCORES: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// The first `len` numbers of a buffer that only grows.
fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

impl<'a> Operands<'a> {
    fn head_dim(&self) -> usize {
        self.dim / self.heads
    }

    /// First key and number of keys of a query's group.
    fn keys(&self, g: Geometry, query: usize) -> (usize, usize) {
        let clip = query / g.clip_tokens() * g.clip_tokens();
        let end = if self.active.is_some() { (query / g.group_tokens() + 1) * g.group_tokens() - clip } else { g.clip_tokens() };
        (clip, self.before + end)
    }

    fn at(&self, matrix: Matrix<'a>, token: usize, head: usize) -> Matrix<'a> {
        Matrix(&matrix.0[token * matrix.1 + head * self.head_dim()..], matrix.1)
    }

    /// Scores of `rows` queries from token `query` on against `keys` keys from token `key` on, in powers of two.
    fn scores(&self, g: Geometry, (query, rows): (usize, usize), (key, keys): (usize, usize), head: usize, to: &mut [f32]) {
        let hd = self.head_dim();
        let scale = std::f32::consts::LOG2_E / (hd as f32).sqrt();
        nt((rows, hd, keys), Target(to, keys), Held::Replaced, self.at(self.q, query, head), self.at(self.k, key, head), scale);
        let Some(active) = self.active else { return };
        // The last keys are those of the queries' own group.
        let group = &active[query / g.group_tokens() * g.group_tokens()..][..g.group_tokens()];
        for (row, _) in to.chunks_exact_mut(keys).zip(&active[query..]).filter(|(_, active)| !**active) {
            row[keys - group.len()..].iter_mut().zip(group).filter(|(_, active)| **active).for_each(|(score, _)| *score = HIDDEN);
        }
    }

    /// Attention of all queries in live groups: `out` (tokens, dim), and per token and head the logarithm of its sum, base 2.
    pub fn forward(&self, g: Geometry, live: &[bool], out: &mut [f32], log_sums: &mut [f32]) {
        let (rows, hd, heads) = (g.tile_tokens(self.before), self.head_dim(), self.heads);
        let tiles = g.tokens() / rows;
        cut(tiles, [out, log_sums]).into_par_iter().with_max_len(1).enumerate().for_each(|(tile, [out, log_sums])| {
            let query = tile * rows;
            if !live[query / g.group_tokens()] {
                return;
            }
            let (clip, keys) = self.keys(g, query);
            SCORES.with_borrow_mut(|[p, _]| {
                let p = first(p, rows * keys);
                for head in 0..heads {
                    self.scores(g, (query, rows), (clip, keys), head, p);
                    exponentials(p, keys, log_sums[head..].iter_mut().step_by(heads));
                    let to = Target(&mut out[head * hd..], self.dim);
                    nn((rows, keys, hd), to, Held::Replaced, Matrix(p, keys), self.at(self.v, clip, head), 1.0);
                }
            });
        });
    }

    /// Gradients of the rotated queries and keys and of the values, from `out` of [`Operands::forward`] and its gradient: `to` is
    /// (clips, heads, 3, tokens of a clip with those before it, head_dim); rows of queries before it stay zero.
    pub fn backward(&self, g: Geometry, live: &[bool], log_sums: &[f32], out: &[f32], dout: &[f32], to: &mut [f32]) {
        let (rows, hd, heads, tokens) = (g.tile_tokens(self.before), self.head_dim(), self.heads, g.clip_tokens());
        let all = self.before + tokens;
        let scale = 1.0 / (hd as f32).sqrt();
        cut(g.clips * heads, [to]).into_par_iter().with_max_len(1).enumerate().for_each(|(i, [to])| {
            let (clip, head) = (i / heads * tokens, i % heads);
            to.fill(0.0);
            let (dq, rest) = to.split_at_mut(all * hd);
            let (dk, dv) = rest.split_at_mut(all * hd);
            SCORES.with_borrow_mut(|[p, dp]| {
                for start in (0..tokens).step_by(rows) {
                    let query = clip + start;
                    if !live[query / g.group_tokens()] {
                        continue;
                    }
                    let (_, keys) = self.keys(g, query);
                    let (p, dp) = (first(p, rows * keys), first(dp, rows * keys));
                    let (out, dout) =
                        (Matrix(&out[query * self.dim + head * hd..], self.dim), Matrix(&dout[query * self.dim + head * hd..], self.dim));
                    self.scores(g, (query, rows), (clip, keys), head, p);
                    nt((rows, hd, keys), Target(dp, keys), Held::Replaced, dout, self.at(self.v, clip, head), 1.0);
                    score_gradients(p, dp, keys, hd, log_sums[query * heads + head..].iter().step_by(heads), out, dout);
                    nn(
                        (rows, keys, hd),
                        Target(&mut dq[(self.before + start) * hd..], hd),
                        Held::Replaced,
                        Matrix(dp, keys),
                        self.at(self.k, clip, head),
                        scale,
                    );
                    tn((keys, rows, hd), Target(dk, hd), Held::Kept, Matrix(dp, keys), self.at(self.q, query, head), scale);
                    tn((keys, rows, hd), Target(dv, hd), Held::Kept, Matrix(p, keys), dout, 1.0);
                }
            });
        });
    }
}

/// Scores in powers of two become probabilities.
fn exponentials<'a>(p: &mut [f32], keys: usize, log_sums: impl Iterator<Item = &'a mut f32>) {
    dispatch(
        #[inline(always)]
        || {
            for (row, log_sum) in p.chunks_exact_mut(keys).zip(log_sums) {
                let top = max(row);
                map([], [row], |[], [value]| [exp2(value - top)]);
                let sum = total([row], |[value]| value);
                let share = 1.0 / sum;
                map([], [row], |[], [value]| [value * share]);
                *log_sum = top + sum.log2();
            }
        },
    );
}

/// Scores become probabilities in `p`; the gradients of the probabilities in `dp` become those of the scores.
fn score_gradients<'a>(
    p: &mut [f32],
    dp: &mut [f32],
    keys: usize,
    hd: usize,
    log_sums: impl Iterator<Item = &'a f32>,
    out: Matrix,
    dout: Matrix,
) {
    dispatch(
        #[inline(always)]
        || {
            let rows = p.chunks_exact_mut(keys).zip(dp.chunks_exact_mut(keys)).zip(log_sums);
            for (row, ((p, dp), log_sum)) in rows.enumerate() {
                let (out, dout) = (&out.0[row * out.1..][..hd], &dout.0[row * dout.1..][..hd]);
                let delta = total([dout, out], |[dout, out]| dout * out);
                map([], [p, dp], |[], [p, dp]| {
                    let p = exp2(p - log_sum);
                    [p, p * (dp - delta)]
                });
            }
        },
    );
}
