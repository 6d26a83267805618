//! The training loss: squared error of the shown pixels, where the correction is confined exactly as a session confines it. Its logarithm
//! against the guide's is meant over clips, as decibels are in an evaluation: calm pictures, where a small fault is seen at once, count as
//! much as wild ones, and no clip pulls harder for being far off.
//!
//! Invariant: value and gradient agree with the plain formula (finite differences in the tests below, candle's graph in those of
//! `network`). Both come out of one pass: the decoded correction is four times larger than the latents and is never kept.

use crate::kernels::gemm::{Threads, View, matmul};
use crate::kernels::vector::dispatch;
use crate::model::dit::Dit;
use crate::train::network::lanes::{map, total};
use std::cell::RefCell;

/// What covered pixels weigh against uncovered ones: enough to keep the gate honest.
pub(super) const COVERED_WEIGHT: f32 = 0.1;
/// Mean squared error, in pixels of -1..1, that a guide is taken to have at least: 40 dB.
pub(super) const LEAST_ERROR: f64 = 4e-4;
/// Share of a clip's numbers that are taken to count at least.
pub(super) const LEAST_SHARE: f64 = 0.005;
/// Cells decoded at once.
const BLOCK: usize = 256;

/// What the network's output for some cells is compared with.
#[derive(Clone, Copy)]
pub(super) struct Truth<'a> {
    /// Numbers of a cell's pixels.
    pub patch: usize,
    /// Decoding matrix of the codec, (channels, patch_len).
    pub decoder: &'a [f32],
    /// Truth minus guide, (cells, patch_len).
    pub target: &'a [f32],
    /// Smooth guide minus guide, (cells, patch_len).
    pub smooth: &'a [f32],
    /// Share of each pixel that was not seen, (cells, patch_len / 3).
    pub uncovered: &'a [f32],
    /// Cells whose output is shown; all if none.
    pub shown: Option<&'a [bool]>,
}

thread_local! {
    /// Pixels of a block, then one cell's shares of uncovered: grows once and stays.
    static PIXELS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// What a number of a pixel counts, by the share of it that was not seen.
#[inline(always)]
fn weight(uncovered: f32) -> f32 {
    uncovered + (1.0 - uncovered) * COVERED_WEIGHT
}

impl Truth<'_> {
    /// What [`Truth::loss`] would say of the guide alone, and how many numbers count in it, by their weight.
    pub fn of_guide(&self) -> (f64, f64) {
        let pixels = self.patch / 3;
        let mut sums = (0.0, 0.0);
        dispatch(
            #[inline(always)]
            || {
                for (cell, uncovered) in self.uncovered.chunks_exact(pixels).enumerate().filter(|(cell, _)| self.shows(*cell)) {
                    let target = self.target[cell * self.patch..][..self.patch].as_chunks::<3>().0;
                    let errors = target.iter().zip(uncovered).map(|([r, g, b], u)| weight(*u) * (r * r + g * g + b * b));
                    sums.0 += f64::from(errors.sum::<f32>());
                    sums.1 += 3.0 * f64::from(total([uncovered], |[u]| weight(u)));
                }
            },
        );
        sums
    }

    fn shows(&self, cell: usize) -> bool {
        self.shown.is_none_or(|shown| shown[cell])
    }

    /// Sum of squared errors of guide + correction over the pixels of shown cells, uncovered ones at full weight; of these cells `out`, rows
    /// of channels + 2 (correction, lean to the smooth guide, gate's logit), becomes `scale` times its gradient. The sum is not scaled.
    pub fn loss(&self, out: &mut [f32], scale: f32) -> f64 {
        let patch = self.patch;
        let width = self.decoder.len() / patch + 2;
        PIXELS.with_borrow_mut(|buffer| {
            let room = (BLOCK + 1) * patch;
            if buffer.len() < room {
                buffer.resize(room, 0.0);
            }
            let (pixels, shares) = buffer.split_at_mut(BLOCK * patch);
            let all = out.len() / width;
            let mut run = |first: usize, cells: usize| -> f64 {
                let out = out[first * width..(first + cells) * width].chunks_mut(BLOCK * width);
                out.enumerate().map(|(i, out)| self.block(first + i * BLOCK, out, scale, pixels, shares)).sum()
            };
            let Some(shown) = self.shown else { return run(0, all) };
            let (mut loss, mut first) = (0.0, 0);
            for cells in shown.chunk_by(|a, b| a == b) {
                if cells[0] {
                    loss += run(first, cells.len());
                }
                first += cells.len();
            }
            loss
        })
    }

    fn block(&self, first: usize, out: &mut [f32], scale: f32, pixels: &mut [f32], shares: &mut [f32]) -> f64 {
        let Self { patch, decoder, .. } = *self;
        let channels = decoder.len() / patch;
        let width = channels + 2;
        let cells = out.len() / width;
        matmul((cells, channels, patch), pixels, patch, false, View::rows(out, width), View::rows(decoder, patch), 1.0, Threads::One);
        let mut loss = 0.0;
        dispatch(
            #[inline(always)]
            || {
                for (i, (pixels, out)) in pixels.chunks_exact_mut(patch).zip(out.chunks_exact_mut(width)).enumerate() {
                    loss += f64::from(self.cell(first + i, pixels, &mut out[channels..], scale, &mut shares[..patch]));
                }
            },
        );
        matmul((cells, patch, channels), out, width, false, View::rows(pixels, patch), View::columns(decoder, patch), scale, Threads::One);
        loss
    }

    /// Decoded pixels become their gradient, lean and logit theirs times `scale`.
    #[inline(always)]
    fn cell(&self, cell: usize, pixels: &mut [f32], scalars: &mut [f32], scale: f32, shares: &mut [f32]) -> f32 {
        let n = shares.len();
        let (lean, gate) = (scalars[0], Dit::gate(scalars[1]));
        let (smooth, target) = (&self.smooth[cell * n..][..n], &self.target[cell * n..][..n]);
        for (share, u) in shares.chunks_exact_mut(3).zip(&self.uncovered[cell * n / 3..][..n / 3]) {
            share.fill(*u);
        }
        let shares = &shares[..n];
        let open = |u: f32| u + (1.0 - u) * gate;
        map([smooth], [pixels], |[smooth], [pixel]| [pixel + lean * smooth]);
        let loss = total([pixels, shares, target], |[pixel, u, target]| {
            let error = pixel * open(u) - target;
            weight(u) * error * error
        });
        let dgate = total([pixels, shares, target], |[pixel, u, target]| 2.0 * weight(u) * (pixel * open(u) - target) * (1.0 - u) * pixel);
        map([shares, target], [pixels], |[u, target], [pixel]| [2.0 * weight(u) * (pixel * open(u) - target) * open(u)]);
        scalars[0] = scale * total([pixels, smooth], |[pixel, smooth]| pixel * smooth);
        scalars[1] = scale * dgate * gate * (1.0 - gate);
        loss
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::parameters::normal;
    use rand::SeedableRng;

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let (cells, channels, n) = (300, 3, 12);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut random = |len| {
            let mut v = vec![0.0; len];
            normal(&mut rng, &mut v);
            v
        };
        let mut out = random(cells * (channels + 2));
        let (decoder, target, smooth) = (random(channels * n), random(cells * n), random(cells * n));
        let uncovered: Vec<f32> = (0..cells * n / 3).map(|i| (i % 5) as f32 / 4.0).collect();
        let truth = Truth { patch: n, decoder: &decoder, target: &target, smooth: &smooth, uncovered: &uncovered, shown: None };
        out.iter_mut().skip(channels + 1).step_by(channels + 2).for_each(|logit| *logit += 4.0);
        let scale = 1.0 / truth.of_guide().1 as f32;
        let mut gradient = out.clone();
        truth.loss(&mut gradient, scale);
        for i in [0, 5, 6, 7, 8, 9, 8 * 5 + 1, 259 * 5, 259 * 5 + 3, 259 * 5 + 4, 298 * 5 + 2] {
            let value = |by: f32| {
                let mut moved = out.clone();
                moved[i] += by;
                truth.loss(&mut moved, scale) * f64::from(scale)
            };
            let numeric = value(0.5) - value(-0.5);
            // The loss is quadratic in a correction, so a central difference is exact; the gate's is not.
            let tolerance = if i % 5 == 4 { 0.1 } else { 0.01 };
            assert!((numeric - gradient[i] as f64).abs() < tolerance * gradient[i].abs() as f64 + 2e-6, "{i}: {numeric} {}", gradient[i]);
        }
    }
}
