//! Row-wise operations and their gradients, on the calling thread, written for the vectoriser; and the cutting of matrices into the
//! parts that tasks work on.
//!
//! Invariant: an operation's result for a row does not depend on how the rows are cut. Guarded by `tests.rs`.

use super::lanes::{map, total};
use crate::kernels::vector::{GELU_A, GELU_C, dispatch, exp2};
use crate::model::ops;

const EPSILON: f32 = ops::EPSILON as f32;

/// Cuts each matrix into `parts` equal runs of rows and hands out the first parts of all, the second parts of all, and so on.
pub(super) fn cut<const N: usize>(parts: usize, matrices: [&mut [f32]; N]) -> Vec<[&mut [f32]; N]> {
    let mut chunks = matrices.map(|matrix| {
        let len = matrix.len() / parts;
        matrix.chunks_exact_mut(len.max(1))
    });
    (0..parts).map(|_| chunks.each_mut().map(|chunk| chunk.next().unwrap_or_default())).collect()
}

/// Part `i` of a matrix cut into `parts`.
pub(super) fn part(matrix: &[f32], i: usize, parts: usize) -> &[f32] {
    let len = matrix.len() / parts;
    &matrix[i * len..][..len]
}

/// The largest divisor of `n` that is at most `most`.
pub(super) fn divisor(n: usize, most: usize) -> usize {
    (1..=n.min(most.max(1))).rev().find(|d| n % d == 0).unwrap_or(1)
}

/// `to = ` the sum of the rows of `rows`, one after the other.
pub(super) fn sum_rows(rows: &[f32], to: &mut [f32]) {
    to.fill(0.0);
    for row in rows.chunks_exact(to.len()) {
        add(to, row);
    }
}

/// `to += from`.
pub(super) fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// Every row of `to` becomes `row`.
pub(super) fn fill_rows(to: &mut [f32], row: &[f32]) {
    to.chunks_exact_mut(row.len()).for_each(|to| to.copy_from_slice(row));
}

/// Mean and reciprocal standard deviation.
#[inline(always)]
fn statistics(x: &[f32]) -> (f32, f32) {
    let d = x.len() as f32;
    let mean = total([x], |[x]| x) / d;
    let variance = total([x], |[x]| (x - mean) * (x - mean)) / d;
    (mean, 1.0 / (variance + EPSILON).sqrt())
}

#[inline(always)]
fn reciprocal_rms(x: &[f32]) -> f32 {
    1.0 / (total([x], |[x]| x * x) / x.len() as f32 + EPSILON).sqrt()
}

/// Layer norm of each row, `* (1 + scale) + shift`; `x` and `y` (rows, d), `shift` and `scale` (d).
pub(super) fn norm_modulate(x: &[f32], shift: &[f32], scale: &[f32], y: &mut [f32]) {
    let d = shift.len();
    dispatch(
        #[inline(always)]
        || {
            for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                let (mean, rstd) = statistics(x);
                map([x, scale, shift], [y], |[x, scale, shift], _| [(x - mean) * rstd * (1.0 + scale) + shift]);
            }
        },
    );
}

/// Gradient of [`norm_modulate`]; adds to `dx`, `dshift` and `dscale`.
pub(super) fn norm_modulate_backward(x: &[f32], scale: &[f32], dy: &[f32], dx: &mut [f32], dshift: &mut [f32], dscale: &mut [f32]) {
    let d = scale.len();
    dispatch(
        #[inline(always)]
        || {
            for ((dx, x), dy) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(dy.chunks_exact(d)) {
                let (mean, rstd) = statistics(x);
                let a = total([dy, scale], |[dy, scale]| dy * (1.0 + scale)) / d as f32;
                let b = total([dy, scale, x], |[dy, scale, x]| dy * (1.0 + scale) * ((x - mean) * rstd)) / d as f32;
                map([x, dy, scale], [dx, &mut *dshift, &mut *dscale], |[x, dy, scale], [dx, dshift, dscale]| {
                    let normed = (x - mean) * rstd;
                    [dx + rstd * (dy * (1.0 + scale) - a - normed * b), dshift + dy, dscale + dy * normed]
                });
            }
        },
    );
}

/// RMS norm of each row with a weight; `x` and `y` (rows, d).
pub(super) fn rms_norm(x: &[f32], weight: &[f32], y: &mut [f32]) {
    let d = weight.len();
    dispatch(
        #[inline(always)]
        || {
            for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                let r = reciprocal_rms(x);
                map([x, weight], [y], |[x, weight], _| [x * r * weight]);
            }
        },
    );
}

/// Gradient of [`rms_norm`]; adds to `dx` and `dweight`.
pub(super) fn rms_norm_backward(x: &[f32], weight: &[f32], dy: &[f32], dx: &mut [f32], dweight: &mut [f32]) {
    let d = weight.len();
    dispatch(
        #[inline(always)]
        || {
            for ((dx, x), dy) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(dy.chunks_exact(d)) {
                let r = reciprocal_rms(x);
                let a = total([dy, weight, x], |[dy, weight, x]| dy * weight * x) * r * r / d as f32;
                map([x, dy, weight], [dx, &mut *dweight], |[x, dy, weight], [dx, dweight]| {
                    [dx + r * (dy * weight - x * a), dweight + dy * x * r]
                });
            }
        },
    );
}

/// RMS norm of a row, then rotary embedding of its interleaved pairs; `rotation` holds the cosines of a head's pairs, then their sines.
#[inline(always)]
pub(super) fn norm_rotate(x: &[f32], weight: &[f32], rotation: &[f32], y: &mut [f32]) {
    let (half, r) = (rotation.len() / 2, reciprocal_rms(x));
    let (cos, sin) = rotation.split_at(half);
    for ((y, x), weight) in y.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half)).zip(weight.chunks_exact(2 * half)) {
        let pairs = y.chunks_exact_mut(2).zip(x.chunks_exact(2)).zip(weight.chunks_exact(2));
        for (((y, x), weight), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
            let (a, b) = (x[0] * weight[0] * r, x[1] * weight[1] * r);
            (y[0], y[1]) = (a * cos - b * sin, a * sin + b * cos);
        }
    }
}

/// Rotates one head's pairs back: the gradient of the rotation.
#[inline(always)]
pub(super) fn rotate_back(dy: &[f32], rotation: &[f32], dx: &mut [f32]) {
    let (cos, sin) = rotation.split_at(rotation.len() / 2);
    for ((dx, dy), (cos, sin)) in dx.chunks_exact_mut(2).zip(dy.chunks_exact(2)).zip(cos.iter().zip(sin)) {
        (dx[0], dx[1]) = (dy[0] * cos + dy[1] * sin, dy[1] * cos - dy[0] * sin);
    }
}

/// Gradient of the RMS norm of one row, written over the row itself; adds to `dweight` and `dbias`, the bias that `x` contains.
#[inline(always)]
pub(super) fn rms_norm_backward_in_place(x: &mut [f32], weight: &[f32], dy: &[f32], dweight: &mut [f32], dbias: &mut [f32]) {
    let r = reciprocal_rms(x);
    let a = total([dy, weight, x], |[dy, weight, x]| dy * weight * x) * r * r / x.len() as f32;
    map([dy, weight], [x, dweight, dbias], |[dy, weight], [x, dweight, dbias]| {
        let dx = r * (dy * weight - x * a);
        [dx, dweight + dy * x * r, dbias + dx]
    });
}

/// `out = x + y * gate`; `gate` (d).
pub(super) fn gate_residual(x: &[f32], y: &[f32], gate: &[f32], out: &mut [f32]) {
    let d = gate.len();
    dispatch(
        #[inline(always)]
        || {
            for ((out, x), y) in out.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(y.chunks_exact(d)) {
                map([x, y, gate], [out], |[x, y, gate], _| [x + y * gate]);
            }
        },
    );
}

/// Gradient of [`gate_residual`] to `y`, written over `y`; adds to `dgate` and `dbias`, the bias that `y` contains.
pub(super) fn gate_backward(dout: &[f32], gate: &[f32], y: &mut [f32], dgate: &mut [f32], dbias: &mut [f32]) {
    let d = gate.len();
    dispatch(
        #[inline(always)]
        || {
            for (y, dout) in y.chunks_exact_mut(d).zip(dout.chunks_exact(d)) {
                map([dout, gate], [y, &mut *dgate, &mut *dbias], |[dout, gate], [y, dgate, dbias]| {
                    [dout * gate, dgate + dout * y, dbias + dout * gate]
                });
            }
        },
    );
}

/// What GELU multiplies `x` by.
#[inline(always)]
fn gelu_gate(x: f32) -> f32 {
    1.0 / (1.0 + exp2(-std::f32::consts::LOG2_E * GELU_C * x * (1.0 + GELU_A * x * x)))
}

/// `y = gelu(x)`, tanh approximation.
pub(super) fn gelu(x: &[f32], y: &mut [f32]) {
    dispatch(
        #[inline(always)]
        || map([x], [y], |[x], _| [x * gelu_gate(x)]),
    );
}

#[inline(always)]
fn gelu_and_slope(x: f32) -> (f32, f32) {
    let s = gelu_gate(x);
    (x * s, s + x * s * (1.0 - s) * GELU_C * (1.0 + 3.0 * GELU_A * x * x))
}

/// From a row-major `x` and the gradient of `gelu(x)` in `y`: `y` becomes `gelu(x)` and `x` its own gradient, whose columns are added
/// to `dbias`.
pub(super) fn gelu_backward(x: &mut [f32], y: &mut [f32], dbias: &mut [f32]) {
    let d = dbias.len();
    dispatch(
        #[inline(always)]
        || {
            for (x, y) in x.chunks_exact_mut(d).zip(y.chunks_exact_mut(d)) {
                map([], [x, y, &mut *dbias], |[], [x, y, dbias]| {
                    let (value, slope) = gelu_and_slope(x);
                    [y * slope, value, dbias + y * slope]
                });
            }
        },
    );
}

/// As [`gelu`] of rows that still lack their bias.
pub(super) fn bias_gelu(x: &[f32], bias: &[f32], y: &mut [f32]) {
    let d = bias.len();
    dispatch(
        #[inline(always)]
        || {
            for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                map([x, bias], [y], |[x, bias], _| [(x + bias) * gelu_gate(x + bias)]);
            }
        },
    );
}

/// Gradient of [`bias_gelu`]: `x` becomes its own gradient, `y` the value; adds to `dbias`.
pub(super) fn bias_gelu_backward(x: &mut [f32], bias: &[f32], dy: &[f32], y: &mut [f32], dbias: &mut [f32]) {
    let d = bias.len();
    dispatch(
        #[inline(always)]
        || {
            for ((x, y), dy) in x.chunks_exact_mut(d).zip(y.chunks_exact_mut(d)).zip(dy.chunks_exact(d)) {
                map([dy, bias], [x, y, &mut *dbias], |[dy, bias], [x, _, dbias]| {
                    let (value, slope) = gelu_and_slope(x + bias);
                    [dy * slope, value, dbias + dy * slope]
                });
            }
        },
    );
}

/// Adds the columns of `rows` to `to`.
pub(super) fn add_columns(rows: &[f32], to: &mut [f32]) {
    let d = to.len();
    dispatch(
        #[inline(always)]
        || {
            for row in rows.chunks_exact(d) {
                map([row], [&mut *to], |[row], [to]| [to + row]);
            }
        },
    );
}

/// Writes `from` (rows, columns) transposed.
pub(super) fn transpose(from: &[f32], columns: usize, to: &mut [f32]) {
    const SIDE: usize = 16;
    let rows = from.len() / columns;
    for top in (0..rows).step_by(SIDE) {
        for left in (0..columns).step_by(SIDE) {
            for column in left..(left + SIDE).min(columns) {
                for row in top..(top + SIDE).min(rows) {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
}
