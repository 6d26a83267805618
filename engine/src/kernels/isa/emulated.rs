//! What AVX-512 FP16 computes, on any processor: f32 numbers that are rounded to half precision after every operation, in the order in
//! which `fp16` sums them. Slow; for seeing whether a network's numbers fit that format where no processor at hand has it.
//!
//! Invariant: products equal those of [`super::Fp16`] but for the rare sum that f32 has rounded to a tie of half precision. Guarded by the
//! tests below and `tests/tests/packed.rs`.

use super::{COLUMNS, Isa, Row, check};

/// AVX-512 FP16 in f32 instructions.
#[derive(Clone, Copy)]
pub struct Fp16Emulated;

/// Runs `f` compiled for the widest f32 vectors with fused multiply-adds; elsewhere each of those is a call.
#[inline(always)]
fn wide<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if let Some(isa) = super::Avx512::detect() {
        return isa.vectorize(f);
    } else if let Some(isa) = super::Avx2::detect() {
        return isa.vectorize(f);
    }
    f()
}

const ROWS: usize = 4;
/// Even and odd steps of sixteen columns side by side.
const HALVES: usize = 32;

/// The nearest number of half precision.
#[inline(always)]
fn half(x: f32) -> f32 {
    const LEAST_NORMAL: u32 = 0x3880_0000;
    const BEYOND: u32 = 0x4780_0000;
    let bits = x.to_bits();
    let size = bits & 0x7FFF_FFFF;
    let rounded = (size + 0xFFF + (size >> 13 & 1)) & !0x1FFF;
    // Too large is infinite; what is no number stays none.
    let large = if size > 0x7F80_0000 { size } else { 0x7F80_0000 };
    let normal = if rounded >= BEYOND { large } else { rounded };
    // Here f32 has the steps of the smallest numbers of half precision.
    let small = (f32::from_bits(size) + 0.5 - 0.5).to_bits();
    f32::from_bits(if size < LEAST_NORMAL { small } else { normal } | bits & 0x8000_0000)
}

#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    half(a.mul_add(b, c))
}

#[inline(always)]
fn tile(k: usize, a: &[f32], stride: usize, b: &[f32], vectors: usize, c: &mut [f32], c_stride: usize, add: bool) {
    for v in 0..vectors {
        let mut sums = [[0f32; HALVES]; ROWS];
        for (step, columns) in b.chunks_exact(vectors * HALVES).take(k / 2).enumerate() {
            let columns = &columns[v * HALVES..][..HALVES];
            for (r, sums) in sums.iter_mut().enumerate() {
                let pair = [a[r * stride + 2 * step], a[r * stride + 2 * step + 1]];
                for i in 0..HALVES {
                    sums[i] = multiply_add(pair[i % 2], columns[i], sums[i]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let to = &mut c[r * c_stride + v * HALVES / 2..][..HALVES / 2];
            for (to, [even, odd]) in to.iter_mut().zip(sums.as_chunks().0) {
                let sum = half(even + odd);
                *to = if add { *to + sum } else { sum };
            }
        }
    }
}

/// Exponentials of one row of base-2 scores against `top`, in place, by the polynomial of `fp16`; returns their sum.
#[inline(always)]
fn exponentials(row: &mut [f32], top: f32) -> f32 {
    let [c1, c2, c3] = [0.693_13, 0.240_23, 0.055_8].map(half);
    let mut total = [0f32; HALVES];
    for chunks in row.chunks_mut(4 * HALVES) {
        let mut part = [0f32; HALVES];
        for chunk in chunks.chunks_exact_mut(HALVES) {
            for (value, part) in chunk.iter_mut().zip(&mut part) {
                let x = half(*value - top);
                let x = if x > -25.0 { x } else { -25.0 };
                let n = x.round_ties_even();
                let f = x - n;
                let p = multiply_add(multiply_add(multiply_add(c3, f, c2), f, c1), f, 1.0);
                // Two to a whole number from -25 to 0.
                *value = half(p * f32::from_bits((127 + n as i32) as u32 * (1 << 23)));
                *part = half(*part + *value);
            }
        }
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total.iter().sum()
}

impl Isa for Fp16Emulated {
    type Element = f32;
    type Score = f32;
    const LANES: usize = HALVES / 2;
    const VECTORS: usize = 4;
    const PAIR: usize = 2;
    const BLOCK: usize = 192;
    const HIDDEN: f32 = f32::NEG_INFINITY;

    fn tile_rows(_: usize) -> usize {
        ROWS
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        wide(f)
    }

    fn narrow(self, from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len(), to.len(), "narrowing changes no length");
        wide(
            #[inline(always)]
            || to.iter_mut().zip(from).for_each(|(to, from)| *to = half(*from)),
        );
    }

    fn panel(self, rows: usize, k: usize, a: &[f32], stride: usize, b: &[f32], vectors: usize, c: &mut [f32], add: bool) {
        check::<Self>(rows, k, a.len(), stride, b.len(), vectors, (c.len(), COLUMNS));
        wide(
            #[inline(always)]
            || {
                for row in (0..rows).step_by(ROWS) {
                    tile(k, &a[row * stride..], stride, b, vectors, &mut c[row * COLUMNS..], COLUMNS, add);
                }
            },
        );
    }

    fn scores(self, rows: usize, k: usize, q: &[f32], stride: usize, keys: &[f32], s: &mut [f32], s_stride: usize) {
        check::<Self>(rows, k, q.len(), stride, keys.len(), 2, (s.len(), s_stride));
        wide(
            #[inline(always)]
            || {
                for row in (0..rows).step_by(ROWS) {
                    tile(k, &q[row * stride..], stride, keys, 2, &mut s[row * s_stride..], s_stride, false);
                }
            },
        );
    }

    fn weights<'a>(self, length: usize, stride: usize, scores: &'a mut [f32], _: &'a mut [f32], rows: &mut [Row]) -> &'a [f32] {
        assert_eq!(length % Self::KEYS, 0, "a row of scores is made of whole panels");
        for (scores, row) in scores.chunks_mut(stride).zip(rows) {
            let scores = &mut scores[..length];
            wide(
                #[inline(always)]
                || row.take(super::super::vector::max(scores), |top| exponentials(scores, top)),
            );
        }
        scores
    }

    fn multiply_adds(self, rounds: u64) -> u64 {
        let (mut sums, mut x) = ([1f32; HALVES], 0.5f32);
        wide(
            #[inline(always)]
            || {
                for _ in 0..rounds {
                    sums.iter_mut().for_each(|sum| *sum = multiply_add(x, x, *sum));
                    x = std::hint::black_box(x);
                }
            },
        );
        std::hint::black_box(sums);
        rounds * HALVES as u64 * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_the_format_does() {
        for high in 0..=u16::MAX {
            // Every number of the format, what lies just beside it, halfway to the next, and just beside that.
            let exact = ::half::f16::from_bits(high).to_f32();
            for offset in [0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF] {
                let x = f32::from_bits(exact.to_bits().wrapping_add(offset));
                let (truth, ours) = (::half::f16::from_f32(x).to_f32(), half(x));
                assert!(truth.to_bits() == ours.to_bits() || truth.is_nan() && ours.is_nan(), "{x:e}: {ours:e} instead of {truth:e}");
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn products_are_those_of_a_processor_that_has_it() {
        let Some(real) = super::super::Fp16::detect() else { return };
        let (rows, k, vectors) = (24, Fp16Emulated::BLOCK, 4);
        let value = |i: usize| ((i * 2_654_435_761) % 2000) as f32 / 1000.0 - 1.0;
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..rows * k).map(value).collect(), (0..vectors * 16 * k).map(|i| value(i + 77)).collect());
        fn product<I: Isa>(isa: I, a: &[f32], b: &[f32], rows: usize, vectors: usize) -> Vec<f32> {
            let narrow = |from: &[f32]| {
                let mut to = vec![I::Element::default(); from.len()];
                isa.narrow(from, &mut to);
                to
            };
            let mut c = vec![0.0; rows * COLUMNS];
            isa.panel(rows, I::BLOCK, &narrow(a), I::BLOCK, &narrow(b), vectors, &mut c, false);
            c
        }
        let (truth, ours) = (product(real, &a, &b, rows, vectors), product(Fp16Emulated, &a, &b, rows, vectors));
        let (error, norm) = truth.iter().zip(&ours).fold((0.0, 0.0), |(e, n), (a, b)| (e + (a - b) * (a - b), n + a * a));
        assert!((error / norm).sqrt() < 5e-4, "{error:e} {norm:e}");
    }
}
