//! Every operation of the graph against its formula written out in f64, at small odd sizes: values, and the gradient of every input by
//! finite differences of the formula.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Result, Tensor, Var};
use kinebrush_engine::model::ops::{self, Visibility};
use kinebrush_tests::{error, flat, random};

fn double(tensor: &Tensor) -> Vec<f64> {
    flat(tensor).into_iter().map(f64::from).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Compares `op` on random inputs of these shapes with `truth` on the same numbers.
fn check(shapes: &[&[usize]], op: impl Fn(&[Tensor]) -> Result<Tensor>, truth: impl Fn(&[Vec<f64>]) -> Vec<f64>) {
    let inputs: Vec<Var> = (1..).zip(shapes).map(|(seed, shape)| Var::from_tensor(&random(seed, shape)).unwrap()).collect();
    let tensors: Vec<Tensor> = inputs.iter().map(|var| var.as_tensor().clone()).collect();
    let values: Vec<Vec<f64>> = tensors.iter().map(double).collect();
    let out = op(&tensors).unwrap();
    let expected: Vec<f32> = truth(&values).iter().map(|v| *v as f32).collect();
    let error = error(&expected, &flat(&out));
    assert!(error < 3e-6, "value: {error:e}");

    let weight = random(50, out.dims());
    let gradients = (&out * &weight).unwrap().sum_all().unwrap().backward().unwrap();
    let weight = double(&weight);
    for (i, var) in inputs.iter().enumerate() {
        let gradient = double(gradients.get(var).unwrap_or_else(|| panic!("no gradient of input {i}")));
        for seed in 60..63 {
            let direction = double(&random(seed, shapes[i]));
            let at = |step: f64| {
                let mut moved = values.clone();
                moved[i].iter_mut().zip(&direction).for_each(|(value, d)| *value += step * d);
                dot(&truth(&moved), &weight)
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5 - dot(&gradient, &direction);
            let size = (dot(&gradient, &gradient) * dot(&direction, &direction)).sqrt();
            assert!(size > 0.0 && difference.abs() < 3e-6 * size, "gradient of input {i}: {difference:e} of {size}");
        }
    }
}

#[test]
fn linear() {
    let truth = |x: &[Vec<f64>]| x[0].chunks(5).flat_map(|row| (0..3).map(|o| dot(row, &x[1][o * 5..][..5]) + x[2][o])).collect();
    check(&[&[2, 7, 5], &[3, 5], &[3]], |x| ops::linear(&x[0], &x[1], &x[2]), truth);
}

#[test]
fn gelu_is_the_tanh_approximation() {
    let gelu = |x: &f64| 0.5 * x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    check(&[&[3, 37]], |x| (&x[0] * 2.0)?.gelu(), |x| x[0].iter().map(|x| gelu(&(2.0 * x))).collect());
}

#[test]
fn norm_modulate() {
    let (n, d) = (5, 7);
    let truth = |x: &[Vec<f64>]| {
        let row = |(i, row): (usize, &[f64])| {
            let mean = row.iter().sum::<f64>() / d as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / d as f64;
            let modulated = |(j, v): (usize, &f64)| (v - mean) / (variance + 1e-6).sqrt() * (1.0 + x[2][i * d + j]) + x[1][i * d + j];
            row.iter().enumerate().map(modulated).collect::<Vec<_>>()
        };
        x[0].chunks(d).enumerate().flat_map(row).collect()
    };
    check(&[&[3, n, d], &[3, n, d], &[3, n, d]], |x| ops::norm_modulate(&x[0], &x[1], &x[2]), truth);
}

#[test]
fn gate_residual() {
    let truth = |x: &[Vec<f64>]| (0..x[0].len()).map(|i| x[0][i] + x[1][i] * x[2][i]).collect();
    check(&[&[3, 5, 7], &[3, 5, 7], &[3, 5, 7]], |x| ops::gate_residual(&x[0], &x[1], &x[2]), truth);
}

#[test]
fn rms_norm() {
    let truth = |x: &[Vec<f64>]| {
        let row = |row: &[f64]| {
            let rms = (dot(row, row) / 7.0 + 1e-6).sqrt();
            row.iter().zip(&x[1]).map(|(v, weight)| v / rms * weight).collect::<Vec<_>>()
        };
        x[0].chunks(7).flat_map(row).collect()
    };
    check(&[&[2, 5, 7], &[7]], |x| ops::rms_norm(&x[0], &x[1]), truth);
}

#[test]
fn rope() {
    let (n, heads, pairs) = (5, 3, 3);
    let truth = |x: &[Vec<f64>]| {
        let pair = |(i, pair): (usize, &[f64])| {
            let rotation = &x[1][i / (heads * pairs) % n * 2 * pairs..];
            let (cos, sin) = (rotation[i % pairs], rotation[pairs + i % pairs]);
            [pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos]
        };
        x[0].chunks(2).enumerate().flat_map(pair).collect()
    };
    check(&[&[2, n, heads * 2 * pairs], &[n, 2 * pairs]], |x| ops::rope(&x[0], &x[1]), truth);
}

/// Attention of `n` queries of two clips in three heads of four numbers, over `m` keys each, of which `sees(clip, query, key)`.
fn check_attention(n: usize, m: usize, visible: Visibility, sees: impl Fn(usize, usize, usize) -> bool) {
    const HEADS: usize = 3;
    const HD: usize = 4;
    let dim = HEADS * HD;
    let truth = |x: &[Vec<f64>]| {
        let mut out = Vec::new();
        for (clip, query, head) in (0..2).flat_map(|c| (0..n).flat_map(move |q| (0..HEADS).map(move |h| (c, q, h)))) {
            let part = |of: usize, row: usize| &x[of][row * dim + head * HD..][..HD];
            let weight = |key| (dot(part(0, clip * n + query), part(1, clip * m + key)) / (HD as f64).sqrt()).exp();
            let seen = || (0..m).filter(|key| sees(clip, query, *key));
            let sum: f64 = seen().map(weight).sum();
            out.extend((0..HD).map(|i| seen().map(|key| weight(key) / sum * part(2, clip * m + key)[i]).sum::<f64>()));
        }
        out
    };
    check(&[&[2, n, dim], &[2, m, dim], &[2, m, dim]], |x| ops::attention(&x[0], &x[1], &x[2], HEADS, visible), truth);
}

#[test]
fn attention_to_every_key() {
    check_attention(7, 9, Visibility::All, |_, _, _| true);
}

#[test]
fn attention_by_chunks_to_the_own_one_and_those_before() {
    let active = Tensor::ones((2, 11), DType::U8, &Device::Cpu).unwrap();
    check_attention(11, 11, Visibility::Chunks { len: 4, active: &active }, |_, query, key| key < [4, 8, 11][query / 4]);
}

#[test]
fn attention_of_what_is_not_active_to_its_like_and_to_chunks_before() {
    // Chunks of both kinds, of one alone, and of the other.
    let marks = [[0u8, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0]];
    let active = Tensor::new(&marks, &Device::Cpu).unwrap();
    for earlier in [0, 5] {
        check_attention(11, earlier + 11, Visibility::Chunks { len: 4, active: &active }, |clip, query, key| {
            match key.checked_sub(earlier) {
                Some(key) if key / 4 == query / 4 => marks[clip][key] <= marks[clip][query],
                Some(key) => key < query,
                None => true,
            }
        });
    }
}

#[test]
fn conv3x3() {
    let (rows, columns, from, to) = (5, 3, 4, 6);
    let truth = |x: &[Vec<f64>]| {
        let mut out = Vec::new();
        for i in 0..2 * rows * columns * to {
            let (picture, row, column, o) = (i / to / columns / rows, i / to / columns % rows, i / to % columns, i % to);
            let mut sum = x[2][o];
            for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
                // One more than the place in the picture, so that it cannot fall below zero.
                let (y, x1) = (row + ky, column + kx);
                if (1..=rows).contains(&y) && (1..=columns).contains(&x1) {
                    let cell = &x[0][((picture * rows + y - 1) * columns + x1 - 1) * from..][..from];
                    sum += dot(cell, &x[1][((o * 3 + ky) * 3 + kx) * from..][..from]);
                }
            }
            out.push(sum);
        }
        out
    };
    check(&[&[2, rows, columns, from], &[to, 3, 3, from], &[to]], |x| ops::conv3x3(&x[0], &x[1], &x[2]), truth);
}
