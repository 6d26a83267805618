//! Operations on rows of f32 between the products, compiled for the widest vectors by [`Isa::vectorize`](crate::kernels::isa::Isa).
//!
//! Invariant: each equals its namesake in [`crate::model::ops`] or in candle. Guarded by `tests/tests/packed.rs`.

use crate::kernels::vector::{GELU_A, GELU_C, sigmoid, sum};
use crate::model::ops;

const EPSILON: f32 = ops::EPSILON as f32;

/// `x / rms(x) * weight`.
#[inline(always)]
pub fn rms_norm(x: &mut [f32], weight: &[f32], scale: f32) {
    let n = x.len();
    let mean = sum(n, |i| x[i] * x[i]) / n as f32;
    let factor = scale / (mean + EPSILON).sqrt();
    x.iter_mut().zip(weight).for_each(|(x, w)| *x *= factor * w);
}

/// Layer norm without affine, then `* (1 + scale) + shift`.
#[inline(always)]
pub fn norm_modulate(x: &[f32], shift: &[f32], scale: &[f32], y: &mut [f32]) {
    let n = x.len();
    let mean = sum(n, |i| x[i]) / n as f32;
    let variance = sum(n, |i| (x[i] - mean) * (x[i] - mean)) / n as f32;
    let factor = 1.0 / (variance + EPSILON).sqrt();
    let (y, x, shift, scale) = (&mut y[..n], &x[..n], &shift[..n], &scale[..n]);
    for i in 0..n {
        y[i] = (x[i] - mean) * factor * (1.0 + scale[i]) + shift[i];
    }
}

/// GELU, tanh approximation.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    x * sigmoid(GELU_C * (x + GELU_A * x * x * x))
}

/// A pair turned by an angle.
#[inline(always)]
pub fn turn((a, b): (f32, f32), (cos, sin): (f32, f32)) -> (f32, f32) {
    (a * cos - b * sin, a * sin + b * cos)
}

/// Rotates the heads of a row, each with its real parts first; `rotation`: cosines, then sines, of one head.
#[inline(always)]
pub fn rotate(x: &mut [f32], rotation: &[f32]) {
    let half = rotation.len() / 2;
    let (cos, sin) = rotation.split_at(half);
    for head in x.chunks_exact_mut(2 * half) {
        let (real, imaginary) = head.split_at_mut(half);
        for i in 0..half {
            (real[i], imaginary[i]) = turn((real[i], imaginary[i]), (cos[i], sin[i]));
        }
    }
}
