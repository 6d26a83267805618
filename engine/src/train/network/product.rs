//! Every matrix product of the training step goes through here: three forms on row-major matrices, each on the calling thread alone,
//! and the gradients of weights, which are shared out to all threads.
//!
//! Invariant: the order of summation depends on the sizes alone, never on the number of threads. Guarded by `tests.rs`.

use crate::kernels::gemm::{Threads, View, matmul};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a weight's gradient per task.
const ROWS: usize = 96;

/// A row-major matrix: rows of `stride` numbers, of which a product takes as many as it needs. Rows may overlap.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a>(pub &'a [f32], pub usize);

/// A matrix to be written, as [`Matrix`].
pub(super) struct Target<'a>(pub &'a mut [f32], pub usize);

/// What happens to the numbers that the target holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Replaced,
    Kept,
}

/// `to (+)= scale * a b^T`; sizes (m, k, n), `a` (m, k), `b` (n, k).
pub(super) fn nt(size: (usize, usize, usize), to: Target, held: Held, a: Matrix, b: Matrix, scale: f32) {
    matmul(size, to.0, to.1, held == Held::Kept, View::rows(a.0, a.1), View::columns(b.0, b.1), scale, Threads::One);
}

/// `to (+)= scale * a b`; sizes (m, k, n), `a` (m, k), `b` (k, n).
pub(super) fn nn(size: (usize, usize, usize), to: Target, held: Held, a: Matrix, b: Matrix, scale: f32) {
    matmul(size, to.0, to.1, held == Held::Kept, View::rows(a.0, a.1), View::rows(b.0, b.1), scale, Threads::One);
}

/// `to (+)= scale * a^T b`; sizes (m, k, n), `a` (k, m), `b` (k, n).
pub(super) fn tn(size: (usize, usize, usize), to: Target, held: Held, a: Matrix, b: Matrix, scale: f32) {
    matmul(size, to.0, to.1, held == Held::Kept, View::columns(a.0, a.1), View::rows(b.0, b.1), scale, Threads::One);
}

/// A weight's gradient to be computed: `to = dy^T x` over these ranges of the rows of both; `to` is (outputs, inputs), without gaps.
pub(super) struct WeightGradient<'a> {
    pub to: &'a mut [f32],
    pub inputs: usize,
    pub rows: &'a [Range<usize>],
    pub dy: Matrix<'a>,
    pub x: Matrix<'a>,
}

/// Computes several gradients, sharing their parts out to all threads; those with the most inputs should come first.
pub(super) fn weight_gradients<const N: usize>(gradients: [WeightGradient; N]) {
    let parts: Vec<_> = gradients
        .into_iter()
        .flat_map(|g| {
            let WeightGradient { to, inputs, rows, dy, x } = g;
            let part = move |(i, to)| WeightGradient { to, inputs, rows, dy: Matrix(&dy.0[i * ROWS..], dy.1), x };
            to.chunks_mut(ROWS * inputs).enumerate().map(part)
        })
        .collect();
    parts.into_par_iter().with_max_len(1).for_each(|WeightGradient { to, inputs, rows, dy, x }| {
        let mut held = Held::Replaced;
        for range in rows {
            let (dy, x) = (Matrix(&dy.0[range.start * dy.1..], dy.1), Matrix(&x.0[range.start * x.1..], x.1));
            tn((to.len() / inputs, range.len(), inputs), Target(to, inputs), held, dy, x, 1.0);
            held = Held::Kept;
        }
        if rows.is_empty() {
            to.fill(0.0);
        }
    });
}
