//! AVX2 and FMA, f32: tiles of six rows by two vectors of eight, twelve of the sixteen registers.

use super::{COLUMNS, Isa, Row, check, unrolled, weigh_rows};
use std::arch::x86_64::*;

/// AVX2 and FMA, f32.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The proof that this processor has it.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

#[target_feature(enable = "avx2,fma")]
fn run<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// # Safety
/// `a` reaches 6 rows of `k` numbers, `b` holds `k` rows of V vectors, `c` reaches 6 rows of V vectors.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const V: usize>(k: usize, a: *const f32, stride: usize, b: *const f32, c: *mut f32, c_stride: usize, add: bool) {
    // SAFETY: every offset below is one of those that the caller vouches for.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); V]; 6];
        unrolled!(6, k, step, {
            let mut columns = [_mm256_setzero_ps(); V];
            for v in 0..V {
                columns[v] = _mm256_loadu_ps(b.add((step * V + v) * 8));
            }
            for r in 0..6 {
                let value = _mm256_broadcast_ss(&*a.add(r * stride + step));
                for v in 0..V {
                    sums[r][v] = _mm256_fmadd_ps(value, columns[v], sums[r][v]);
                }
            }
        });
        for r in 0..6 {
            for v in 0..V {
                let to = c.add(r * c_stride + 8 * v);
                let sum = if add { _mm256_add_ps(sums[r][v], _mm256_loadu_ps(to)) } else { sums[r][v] };
                _mm256_storeu_ps(to, sum);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn multiply_adds(rounds: u64) -> u64 {
    let (mut sums, mut x) = ([_mm256_set1_ps(1.0); 12], _mm256_set1_ps(0.5));
    for _ in 0..2 * rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(x, x, *sum);
        }
        // The compiler must not see that `x` stays the same.
        x = std::hint::black_box(x);
    }
    std::hint::black_box(sums);
    rounds * 24 * 16
}

impl Isa for Avx2 {
    type Element = f32;
    type Score = f32;
    const LANES: usize = 8;
    const VECTORS: usize = 2;
    const PAIR: usize = 1;
    const BLOCK: usize = 256;
    const HIDDEN: f32 = f32::NEG_INFINITY;

    fn tile_rows(_: usize) -> usize {
        6
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: `self` proves the instructions.
        unsafe { run(f) }
    }

    fn narrow(self, from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    fn panel(self, rows: usize, k: usize, a: &[f32], stride: usize, b: &[f32], vectors: usize, c: &mut [f32], add: bool) {
        check::<Self>(rows, k, a.len(), stride, b.len(), vectors, (c.len(), COLUMNS));
        let tile = if vectors == 2 { tile::<2> } else { tile::<1> };
        for row in (0..rows).step_by(6) {
            // SAFETY: `self` proves the instructions, `check` the extents.
            unsafe { tile(k, a.as_ptr().add(row * stride), stride, b.as_ptr(), c.as_mut_ptr().add(row * COLUMNS), COLUMNS, add) };
        }
    }

    fn scores(self, rows: usize, k: usize, q: &[f32], stride: usize, keys: &[f32], s: &mut [f32], s_stride: usize) {
        check::<Self>(rows, k, q.len(), stride, keys.len(), 2, (s.len(), s_stride));
        for row in (0..rows).step_by(6) {
            // SAFETY: `self` proves the instructions, `check` the extents.
            unsafe {
                tile::<2>(k, q.as_ptr().add(row * stride), stride, keys.as_ptr(), s.as_mut_ptr().add(row * s_stride), s_stride, false)
            };
        }
    }

    fn weights<'a>(self, length: usize, stride: usize, scores: &'a mut [f32], _: &'a mut [f32], rows: &mut [Row]) -> &'a [f32] {
        self.vectorize(
            #[inline(always)]
            || weigh_rows(length, stride, scores, rows),
        );
        scores
    }

    fn multiply_adds(self, rounds: u64) -> u64 {
        // SAFETY: `self` proves the instructions.
        unsafe { multiply_adds(rounds) }
    }
}
