//! Attention without a score matrix in memory: tiles of queries against all visible keys, recomputed in the backward pass
//! (the idea of FlashAttention, Dao 2022; no online rescaling, since a row of scores fits the cache).

use super::Visibility;
use super::gemm::{Threads, View, matmul};
use super::storage::{slice, tensor, with};
use super::vector::{dispatch, softmax_base2, sum};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Queries per tile.
const TILE: usize = 64;

pub struct Attention {
    pub heads: usize,
    pub visible: Visibility,
}

/// A run of queries that see the same keys.
#[derive(Clone, Copy)]
struct Tile {
    start: usize,
    end: usize,
    keys: usize,
}

impl Attention {
    fn tiles(&self, queries: usize, keys: usize) -> Vec<Tile> {
        let mut tiles = Vec::new();
        let mut start = 0;
        while start < queries {
            let (seen, run_end) = self.visible.keys(start, queries, keys);
            let end = run_end.min(start + TILE);
            tiles.push(Tile { start, end, keys: seen });
            start = end;
        }
        tiles
    }

    /// Scale of the scores, times log2(e) so that the softmax can use powers of two.
    fn scale_base2(hd: usize) -> f32 {
        std::f32::consts::LOG2_E / (hd as f32).sqrt()
    }
}

/// Softmax of `q k^T` for one tile and head, into `p` (rows, keys).
fn probabilities(tile: Tile, d: usize, hd: usize, q: &[f32], k: &[f32], p: &mut [f32]) {
    let rows = tile.end - tile.start;
    let scale = Attention::scale_base2(hd);
    matmul((rows, hd, tile.keys), p, tile.keys, false, View::rows(q, d), View::columns(k, d), scale, Threads::One);
    dispatch(
        #[inline(always)]
        || {
            for row in p.chunks_exact_mut(tile.keys) {
                softmax_base2(row);
            }
        },
    );
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        ql: &Layout,
        k: &CpuStorage,
        kl: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, n, d) = ql.shape().dims3()?;
        let keys = kl.shape().dims3()?.1;
        if d % self.heads != 0 || kl.dims() != [b, keys, d] || vl.dims() != [b, keys, d] || keys == 0 {
            bail!("attention: q {:?}, k {:?}, v {:?}, {} heads", ql.dims(), kl.dims(), vl.dims(), self.heads);
        }
        let hd = d / self.heads;
        let (q, k, v) = (slice(q, ql)?, slice(k, kl)?, slice(v, vl)?);
        let mut out = vec![0f32; q.len()];
        let tiles = self.tiles(n, keys);
        let mut tasks = Vec::with_capacity(b * tiles.len());
        let mut rest = out.as_mut_slice();
        for batch in 0..b {
            for tile in &tiles {
                let (part, tail) = rest.split_at_mut((tile.end - tile.start) * d);
                rest = tail;
                tasks.push((batch, *tile, part));
            }
        }
        tasks.into_par_iter().for_each_init(Vec::new, |p: &mut Vec<f32>, (batch, tile, out)| {
            let rows = tile.end - tile.start;
            p.resize(rows * tile.keys, 0.0);
            for head in 0..self.heads {
                let q = &q[(batch * n + tile.start) * d + head * hd..];
                let past = batch * keys * d + head * hd;
                probabilities(tile, d, hd, q, &k[past..], p);
                let (p, v) = (View::rows(p, tile.keys), View::rows(&v[past..], d));
                matmul((rows, tile.keys, hd), &mut out[head * hd..], d, false, p, v, 1.0, Threads::One);
            }
        });
        Ok((CpuStorage::F32(out), ql.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        dout: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (b, n, d) = q.dims3()?;
        let keys = k.dim(1)?;
        let tiles = self.tiles(n, keys);
        let (mut dq, mut dk, mut dv) = (vec![0f32; b * n * d], vec![0f32; b * keys * d], vec![0f32; b * keys * d]);
        with(q, |q| {
            with(k, |k| {
                with(v, |v| {
                    with(out, |out| {
                        with(dout, |dout| {
                            let saved = Saved { n, keys, d, heads: self.heads, tiles: &tiles, q, k, v, out, dout };
                            // One task per batch and head writes head-major gradients; they are interleaved afterwards.
                            let parts: Vec<_> =
                                (0..b * self.heads).into_par_iter().map(|i| saved.head(i / self.heads, i % self.heads)).collect();
                            let parts = &parts;
                            saved.interleave(&mut dq, n, |i| &parts[i].0);
                            saved.interleave(&mut dk, keys, |i| &parts[i].1);
                            saved.interleave(&mut dv, keys, |i| &parts[i].2);
                        })
                    })
                })
            })
        })?????;
        Ok((Some(tensor(dq, q.shape())?), Some(tensor(dk, k.shape())?), Some(tensor(dv, v.shape())?)))
    }
}

/// What the backward pass reads.
struct Saved<'a> {
    n: usize,
    keys: usize,
    d: usize,
    heads: usize,
    tiles: &'a [Tile],
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    out: &'a [f32],
    dout: &'a [f32],
}

impl Saved<'_> {
    /// Gradients of one head: dq (n, hd), dk and dv (keys, hd).
    fn head(&self, batch: usize, head: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (d, hd) = (self.d, self.d / self.heads);
        let (mut dq, mut dk, mut dv) = (vec![0f32; self.n * hd], vec![0f32; self.keys * hd], vec![0f32; self.keys * hd]);
        let (mut p, mut dp) = (Vec::new(), Vec::new());
        let past = batch * self.keys * d + head * hd;
        let (k, v) = (&self.k[past..], &self.v[past..]);
        let scale = 1.0 / (hd as f32).sqrt();
        for tile in self.tiles {
            let (rows, keys) = (tile.end - tile.start, tile.keys);
            let first = (batch * self.n + tile.start) * d + head * hd;
            let (q, out, dout) = (&self.q[first..], &self.out[first..], &self.dout[first..]);
            p.resize(rows * keys, 0.0);
            dp.resize(rows * keys, 0.0);
            probabilities(*tile, d, hd, q, k, &mut p);
            matmul((rows, hd, keys), &mut dp, keys, false, View::rows(dout, d), View::columns(v, d), 1.0, Threads::One);
            matmul((keys, rows, hd), &mut dv, hd, true, View::columns(&p, keys), View::rows(dout, d), 1.0, Threads::One);
            dispatch(
                #[inline(always)]
                || {
                    for (row, (dp, p)) in dp.chunks_exact_mut(keys).zip(p.chunks_exact(keys)).enumerate() {
                        let delta = sum(hd, |i| dout[row * d + i] * out[row * d + i]);
                        for (dp, p) in dp.iter_mut().zip(p) {
                            *dp = p * (*dp - delta);
                        }
                    }
                },
            );
            let dq = &mut dq[tile.start * hd..tile.end * hd];
            matmul((rows, keys, hd), dq, hd, false, View::rows(&dp, keys), View::rows(k, d), scale, Threads::One);
            matmul((keys, rows, hd), &mut dk, hd, true, View::columns(&dp, keys), View::rows(q, d), scale, Threads::One);
        }
        (dq, dk, dv)
    }

    /// (batch, head, rows, hd) parts into (batch, rows, heads * hd).
    fn interleave<'p>(&self, whole: &mut [f32], rows: usize, part: impl Fn(usize) -> &'p Vec<f32> + Sync) {
        let hd = self.d / self.heads;
        whole.par_chunks_mut(self.d).with_min_len(64).enumerate().for_each(|(i, row)| {
            let (batch, r) = (i / rows, i % rows);
            for (head, to) in row.chunks_exact_mut(hd).enumerate() {
                to.copy_from_slice(&part(batch * self.heads + head)[r * hd..][..hd]);
            }
        });
    }
}
