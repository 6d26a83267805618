//! Plain Rust in f32 for any processor; the compiler turns the fixed arrays into whatever vectors the target has (NEON, SSE2).

use super::{COLUMNS, Isa, Row, check, weigh_rows};

/// Any processor, f32.
#[derive(Clone, Copy)]
pub struct Portable;

const ROWS: usize = 4;
const LANES: usize = 8;

/// A multiply-add; fused where that is one instruction, since elsewhere it would be a call.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

fn tile(k: usize, a: &[f32], stride: usize, b: &[f32], vectors: usize, c: &mut [f32], c_stride: usize, add: bool) {
    for v in 0..vectors {
        let mut sums = [[0f32; LANES]; ROWS];
        for (step, columns) in b.chunks_exact(vectors * LANES).take(k).enumerate() {
            let columns = &columns[v * LANES..][..LANES];
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = a[r * stride + step];
                sums.iter_mut().zip(columns).for_each(|(sum, column)| *sum = multiply_add(value, *column, *sum));
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let to = &mut c[r * c_stride + v * LANES..][..LANES];
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = if add { *to + sum } else { *sum });
        }
    }
}

impl Isa for Portable {
    type Element = f32;
    type Score = f32;
    const LANES: usize = LANES;
    const VECTORS: usize = 2;
    const PAIR: usize = 1;
    const BLOCK: usize = 256;
    const HIDDEN: f32 = f32::NEG_INFINITY;

    fn tile_rows(_: usize) -> usize {
        ROWS
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }

    fn narrow(self, from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    fn panel(self, rows: usize, k: usize, a: &[f32], stride: usize, b: &[f32], vectors: usize, c: &mut [f32], add: bool) {
        check::<Self>(rows, k, a.len(), stride, b.len(), vectors, (c.len(), COLUMNS));
        for row in (0..rows).step_by(ROWS) {
            tile(k, &a[row * stride..], stride, b, vectors, &mut c[row * COLUMNS..], COLUMNS, add);
        }
    }

    fn scores(self, rows: usize, k: usize, q: &[f32], stride: usize, keys: &[f32], s: &mut [f32], s_stride: usize) {
        check::<Self>(rows, k, q.len(), stride, keys.len(), 2, (s.len(), s_stride));
        for row in (0..rows).step_by(ROWS) {
            tile(k, &q[row * stride..], stride, keys, 2, &mut s[row * s_stride..], s_stride, false);
        }
    }

    fn weights<'a>(self, length: usize, stride: usize, scores: &'a mut [f32], _: &'a mut [f32], rows: &mut [Row]) -> &'a [f32] {
        weigh_rows(length, stride, scores, rows);
        scores
    }

    fn multiply_adds(self, rounds: u64) -> u64 {
        let (mut sums, mut x) = ([[1f32; LANES]; 6], 0.5f32);
        for _ in 0..rounds {
            for sum in sums.as_flattened_mut() {
                *sum = multiply_add(x, x, *sum);
            }
            x = std::hint::black_box(x);
        }
        std::hint::black_box(sums);
        rounds * 6 * LANES as u64 * 2
    }
}
