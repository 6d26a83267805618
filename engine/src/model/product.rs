//! A small matrix product on one thread that allocates nothing: what the codec needs for every row of cells.
//!
//! Invariant: a row of the result depends on that row of `a` and on `b` alone, to the bit, however many rows are multiplied together:
//! each number is summed over `k` in order. Guarded by the tests below.

use pulp::{Simd, WithSimd};

/// Vectors of a row of the result that are summed together; of four rows they fit the registers of AVX2, of eight those of AVX-512.
const VECTORS: usize = 3;

/// `out = a b`; `a` (m, k), `b` (k, n).
pub fn product(a: &[f32], b: &[f32], k: usize, n: usize, out: &mut [f32]) {
    assert!(a.len() * n == out.len() * k && b.len() == k * n, "the factors of a product must fit each other");
    pulp::Arch::new().dispatch(Product { a, b, k, n, out });
}

struct Product<'a> {
    a: &'a [f32],
    b: &'a [f32],
    k: usize,
    n: usize,
    out: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, k, n, out } = self;
        let (count, mut row) = (a.len() / k, 0);
        // The codec's runs of cells are often short: what is left over is done in halves, not row by row.
        while row < count {
            let (a, out, left) = (&a[row * k..], &mut out[row * n..], count - row);
            row += match left {
                8.. if S::REGISTER_COUNT >= 32 => rows::<S, 8>(simd, a, b, k, n, out),
                4.. => rows::<S, 4>(simd, a, b, k, n, out),
                2.. => rows::<S, 2>(simd, a, b, k, n, out),
                _ => rows::<S, 1>(simd, a, b, k, n, out),
            };
        }
    }
}

/// The first `R` rows of the result; returns how many that is. Each number of `b` that is read serves all of them.
#[inline(always)]
fn rows<S: Simd, const R: usize>(simd: S, a: &[f32], b: &[f32], k: usize, n: usize, out: &mut [f32]) -> usize {
    let mut column = 0;
    while column + VECTORS * S::F32_LANES <= n {
        block::<S, R, VECTORS>(simd, a, b, k, n, column, out);
        column += VECTORS * S::F32_LANES;
    }
    while column + S::F32_LANES <= n {
        block::<S, R, 1>(simd, a, b, k, n, column, out);
        column += S::F32_LANES;
    }
    for column in column..n {
        for (row, a) in a.chunks_exact(k).enumerate().take(R) {
            out[row * n + column] = a.iter().enumerate().fold(0.0, |sum, (i, a)| sum + a * b[i * n + column]);
        }
    }
    R
}

/// `V` vectors of `R` rows of the result, from `column` on.
#[inline(always)]
fn block<S: Simd, const R: usize, const V: usize>(simd: S, a: &[f32], b: &[f32], k: usize, n: usize, column: usize, out: &mut [f32]) {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let a: [&[f32]; R] = std::array::from_fn(|row| &a[row * k..(row + 1) * k]);
    for (i, b) in b.chunks_exact(n).enumerate().take(k) {
        let vectors = S::as_simd_f32s(&b[column..column + V * S::F32_LANES]).0;
        for row in 0..R {
            let factor = simd.splat_f32s(a[row][i]);
            for v in 0..V {
                sums[row][v] = simd.mul_add_e_f32s(factor, vectors[v], sums[row][v]);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let start = row * n + column;
        S::as_mut_simd_f32s(&mut out[start..start + V * S::F32_LANES]).0.copy_from_slice(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_shape_is_right_and_rows_do_not_depend_on_their_number() {
        let number = |i: usize| (i * 7919 % 1009) as f32 / 1009.0 - 0.5;
        for (m, k, n) in [(1, 1, 1), (3, 7, 12), (4, 384, 96), (11, 96, 384), (9, 33, 101), (0, 5, 5)] {
            let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(number).collect(), (0..k * n).map(|i| number(i + 5)).collect());
            let mut out = vec![0.0; m * n];
            product(&a, &b, k, n, &mut out);
            for i in 0..m * n {
                let truth: f64 = (0..k).map(|j| a[i / n * k + j] as f64 * b[j * n + i % n] as f64).sum();
                assert!((out[i] as f64 - truth).abs() < 1e-5, "{m}x{k}x{n}: {} instead of {truth}", out[i]);
            }
            let mut row = vec![0.0; n];
            for (a, together) in a.chunks_exact(k).zip(out.chunks_exact(n)) {
                product(a, &b, k, n, &mut row);
                assert_eq!(row, together);
            }
        }
    }
}
