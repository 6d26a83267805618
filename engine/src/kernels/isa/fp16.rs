//! AVX-512 FP16: twice the rate of f32, and more digits than bfloat16.
//!
//! A panel holds pairs along K side by side, as for bfloat16, so one 32-bit broadcast feeds two steps, and the two halves of a lane sum
//! the even and the odd steps. Sums of at most [`Isa::BLOCK`] steps stay in half precision (96 terms each: a relative RMS error of about
//! 1e-3, as much as bfloat16 loses by rounding its factors); longer ones are added in f32.
//!
//! Two neighbouring vectors of sums fold into one in which their columns alternate. Scores stay in that order, so key 16 + j stands
//! beside key j, and the values are packed to match.

use super::avx512::{over_rows, sixteen_lanes, tile_rows};
use super::{COLUMNS, Isa, Row, check, unrolled};
use std::arch::x86_64::*;

/// AVX-512 FP16.
#[derive(Clone, Copy)]
pub struct Fp16(());

impl Fp16 {
    /// The proof that this processor has it.
    pub fn detect() -> Option<Self> {
        (super::Avx512::detect().is_some() && is_x86_feature_detected!("avx512fp16")).then_some(Self(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512fp16,fma")]
fn run<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Sums R rows by V vectors; the halves of a lane are its even and odd steps.
///
/// # Safety
/// `a` reaches R rows of `k` numbers, `b` holds `k` rows of V vectors of 16 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512fp16")]
unsafe fn sums<const R: usize, const V: usize>(k: usize, a: *const u16, stride: usize, b: *const u16) -> [[__m512h; V]; R] {
    // SAFETY: every offset below is one of those that the caller vouches for; `k` is even.
    unsafe {
        let mut sums = [[_mm512_setzero_ph(); V]; R];
        unrolled!(R, k / 2, step, {
            let mut columns = [_mm512_setzero_ph(); V];
            for v in 0..V {
                columns[v] = _mm512_castsi512_ph(_mm512_loadu_si512(b.add((step * V + v) * 32).cast()));
            }
            for r in 0..R {
                let pair = _mm512_castsi512_ph(_mm512_set1_epi32(a.add(r * stride + 2 * step).cast::<i32>().read_unaligned()));
                for v in 0..V {
                    sums[r][v] = _mm512_fmadd_ph(pair, columns[v], sums[r][v]);
                }
            }
        });
        sums
    }
}

/// Adds the halves of each lane: word 2j of the result is column j of `x`, word 2j + 1 is column j of `y`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512fp16")]
fn fold(x: __m512h, y: __m512h) -> __m512h {
    const ODD: __mmask32 = 0xAAAA_AAAA;
    let (x, y) = (_mm512_castph_si512(x), _mm512_castph_si512(y));
    let straight = _mm512_mask_blend_epi16(ODD, x, y);
    let crossed = _mm512_rol_epi32::<16>(_mm512_mask_blend_epi16(ODD, y, x));
    _mm512_add_ph(_mm512_castsi512_ph(straight), _mm512_castsi512_ph(crossed))
}

/// The lower and upper sixteen numbers as f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512fp16")]
fn widen(x: __m512i) -> (__m512, __m512) {
    let (low, high) = (_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
    (_mm512_cvtph_ps(low), _mm512_cvtph_ps(high))
}

/// # Safety
/// As [`sums`], and `c` reaches R rows of V vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512fp16")]
unsafe fn tile<const R: usize, const V: usize>(
    k: usize,
    a: *const u16,
    stride: usize,
    b: *const u16,
    c: *mut f32,
    c_stride: usize,
    add: bool,
) {
    // SAFETY: every offset below is one of those that the caller vouches for.
    unsafe {
        let sums = sums::<R, V>(k, a, stride, b);
        let apart = _mm512_loadu_si512(APART.as_ptr().cast());
        let keep = |to: *mut f32, sum: __m512| {
            let sum = if add { _mm512_add_ps(sum, _mm512_loadu_ps(to)) } else { sum };
            _mm512_storeu_ps(to, sum);
        };
        for r in 0..R {
            for v in (0..V).step_by(2) {
                let second = if v + 1 < V { v + 1 } else { v };
                let folded = _mm512_castph_si512(fold(sums[r][v], sums[r][second]));
                let (first, other) = widen(_mm512_permutexvar_epi16(apart, folded));
                let to = c.add(r * c_stride + 16 * v);
                keep(to, first);
                if second > v {
                    keep(to.add(16), other);
                }
            }
        }
    }
}

/// Even words first, then the odd ones.
const APART: [u16; 32] =
    [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];

/// # Safety
/// As [`sums`] with two vectors, and `s` reaches R rows of 32 scores.
#[target_feature(enable = "avx512f,avx512bw,avx512fp16")]
unsafe fn score_tile<const R: usize>(k: usize, q: *const u16, stride: usize, keys: *const u16, s: *mut u16, s_stride: usize) {
    // SAFETY: every offset below is one of those that the caller vouches for.
    unsafe {
        let sums = sums::<R, 2>(k, q, stride, keys);
        for r in 0..R {
            _mm512_storeu_si512(s.add(r * s_stride).cast(), _mm512_castph_si512(fold(sums[r][0], sums[r][1])));
        }
    }
}

/// `value` in every place.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512fp16")]
fn constant(value: f32) -> __m512h {
    _mm512_castsi512_ph(_mm512_set1_epi16(half::f16::from_f32(value).to_bits() as i16))
}

/// # Safety
/// `x` is 32 long.
#[inline]
#[target_feature(enable = "avx512f,avx512fp16")]
unsafe fn load(x: &[u16]) -> __m512h {
    // SAFETY: as the caller vouches.
    unsafe { _mm512_castsi512_ph(_mm512_loadu_si512(x.as_ptr().cast())) }
}

/// The largest of a row of scores.
///
/// # Safety
/// `row` is a multiple of 32 long.
#[target_feature(enable = "avx512f,avx512bw,avx512fp16")]
unsafe fn largest(row: &[u16]) -> f32 {
    // SAFETY: chunks of 32 numbers.
    unsafe {
        // Four at a time: a maximum takes longer than the load that feeds it.
        let mut tops = [constant(f32::NEG_INFINITY); 4];
        for chunks in row.chunks(4 * 32) {
            for (top, chunk) in tops.iter_mut().zip(chunks.chunks_exact(32)) {
                *top = _mm512_max_ph(*top, load(chunk));
            }
        }
        let top = _mm512_max_ph(_mm512_max_ph(tops[0], tops[1]), _mm512_max_ph(tops[2], tops[3]));
        let (low, high) = widen(_mm512_castph_si512(top));
        _mm512_reduce_max_ps(_mm512_max_ps(low, high))
    }
}

/// Exponentials of one row of base-2 scores against `top`, in place; returns their sum.
///
/// # Safety
/// `row` is a multiple of 32 long.
#[target_feature(enable = "avx512f,avx512bw,avx512fp16")]
unsafe fn exponentials(row: &mut [u16], top: f32) -> f32 {
    // SAFETY: chunks of 32 numbers.
    unsafe {
        let top = constant(top);
        // 2^-25 rounds to zero, so nothing is lost below, and minus infinity becomes a number.
        let least = constant(-25.0);
        // 2^f for f in -0.5..0.5, least squares of the relative error: 1e-4, below the rounding of the format.
        let (c1, c2, c3, one) = (constant(0.693_13), constant(0.240_23), constant(0.055_8), constant(1.0));
        let mut total = _mm512_setzero_ps();
        for chunks in row.chunks_mut(4 * 32) {
            // Four terms in half precision, then f32: the sum of thousands would stop growing.
            let mut part = _mm512_setzero_ph();
            for chunk in chunks.chunks_exact_mut(32) {
                let x = _mm512_max_ph(_mm512_sub_ph(load(chunk), top), least);
                let n = _mm512_roundscale_ph::<0>(x);
                let f = _mm512_sub_ph(x, n);
                let p = _mm512_fmadd_ph(_mm512_fmadd_ph(_mm512_fmadd_ph(c3, f, c2), f, c1), f, one);
                let p = _mm512_scalef_ph(p, n);
                part = _mm512_add_ph(part, p);
                _mm512_storeu_si512(chunk.as_mut_ptr().cast(), _mm512_castph_si512(p));
            }
            let (low, high) = widen(_mm512_castph_si512(part));
            total = _mm512_add_ps(total, _mm512_add_ps(low, high));
        }
        _mm512_reduce_add_ps(total)
    }
}

/// Rounds; `from` and `to` are of one length.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512fp16")]
fn narrow(from: &[f32], to: &mut [u16]) {
    for (from, to) in from.chunks(16).zip(to.chunks_mut(16)) {
        let mask = u16::MAX >> (16 - from.len());
        // SAFETY: the mask leaves out what lies behind a chunk of less than sixteen numbers.
        unsafe {
            let values = _mm512_maskz_loadu_ps(mask, from.as_ptr());
            let values = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(values);
            _mm256_mask_storeu_epi16(to.as_mut_ptr().cast(), mask, values);
        }
    }
}

#[target_feature(enable = "avx512f,avx512fp16")]
fn multiply_adds(rounds: u64) -> u64 {
    let one = _mm512_castsi512_ph(_mm512_set1_epi16(half::f16::ONE.to_bits() as i16));
    let (mut sums, mut x) = ([one; 24], one);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ph(x, x, *sum);
        }
        // The compiler must not see that `x` stays the same.
        x = std::hint::black_box(x);
    }
    std::hint::black_box(sums);
    rounds * 24 * 64
}

impl Isa for Fp16 {
    type Element = u16;
    type Score = u16;
    const PAIR: usize = 2;
    const BLOCK: usize = 192;
    const HIDDEN: u16 = half::f16::NEG_INFINITY.to_bits();

    sixteen_lanes!(u16, tile);

    fn narrow(self, from: &[f32], to: &mut [u16]) {
        assert_eq!(from.len(), to.len(), "narrowing changes no length");
        // SAFETY: `self` proves the instructions.
        unsafe { narrow(from, to) };
    }

    fn scores(self, rows: usize, k: usize, q: &[u16], stride: usize, keys: &[u16], s: &mut [u16], s_stride: usize) {
        check::<Self>(rows, k, q.len(), stride, keys.len(), 2, (s.len(), s_stride));
        for row in (0..rows).step_by(12) {
            // SAFETY: `self` proves the instructions, `check` the extents.
            unsafe {
                score_tile::<12>(k, q.as_ptr().add(row * stride), stride, keys.as_ptr(), s.as_mut_ptr().add(row * s_stride), s_stride)
            };
        }
    }

    fn key_position(key: usize) -> usize {
        key / 32 * 32 + key % 16 * 2 + key / 16 % 2
    }

    fn weights<'a>(self, length: usize, stride: usize, scores: &'a mut [u16], _: &'a mut [u16], rows: &mut [Row]) -> &'a [u16] {
        assert_eq!(length % Self::KEYS, 0, "a row of scores is made of whole panels");
        for (scores, row) in scores.chunks_mut(stride).zip(rows) {
            let scores = &mut scores[..length];
            // SAFETY: `self` proves the instructions, the assert the length.
            unsafe { row.take(largest(scores), |top| exponentials(scores, top)) };
        }
        scores
    }

    fn multiply_adds(self, rounds: u64) -> u64 {
        // SAFETY: `self` proves the instructions.
        unsafe { multiply_adds(rounds) }
    }
}
