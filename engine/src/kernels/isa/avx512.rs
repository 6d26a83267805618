//! AVX-512 in f32, and with bfloat16 dot products. The two share the shape of their tiles: 24 sums, as many as the registers hold
//! beside a row of the panel and one broadcast.

use super::{COLUMNS, Isa, ROWS, Row, check, unrolled, weigh_rows};
use std::arch::x86_64::*;

/// AVX-512, f32.
#[derive(Clone, Copy)]
pub struct Avx512(());

/// AVX-512 with bfloat16 dot products.
#[derive(Clone, Copy)]
pub struct Bf16(());

impl Avx512 {
    /// The proof that this processor has it.
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

impl Bf16 {
    /// The proof that this processor has it.
    pub fn detect() -> Option<Self> {
        (Avx512::detect().is_some() && is_x86_feature_detected!("avx512bf16")).then_some(Self(()))
    }
}

/// Rows of a tile: 24 sums for two, three and four vectors.
pub(super) fn tile_rows(vectors: usize) -> usize {
    match vectors {
        4 => 6,
        3 => 8,
        _ => 12,
    }
}

/// Calls `$tile::<R, V>` for each full tile of rows.
macro_rules! over_rows {
    ($rows:expr, $vectors:expr, $row:ident, $tile:ident, $($argument:expr),*) => {
        for $row in (0..$rows).step_by(tile_rows($vectors)) {
            match $vectors {
                4 => $tile::<6, 4>($($argument),*),
                3 => $tile::<8, 3>($($argument),*),
                2 => $tile::<12, 2>($($argument),*),
                _ => $tile::<12, 1>($($argument),*),
            }
        }
    };
}
pub(super) use over_rows;

/// What the sets with vectors of sixteen sums share: the shape of their tiles, and products by `$tile` on `$element`.
macro_rules! sixteen_lanes {
    ($element:ty, $tile:ident) => {
        const LANES: usize = 16;
        const VECTORS: usize = 4;

        fn tile_rows(vectors: usize) -> usize {
            tile_rows(vectors)
        }

        #[inline(always)]
        fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
            // SAFETY: `self` proves the instructions.
            unsafe { run(f) }
        }

        fn panel(self, rows: usize, k: usize, a: &[$element], stride: usize, b: &[$element], vectors: usize, c: &mut [f32], add: bool) {
            check::<Self>(rows, k, a.len(), stride, b.len(), vectors, (c.len(), COLUMNS));
            let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
            // SAFETY: `self` proves the instructions, `check` the extents.
            unsafe { over_rows!(rows, vectors, row, $tile, k, a.add(row * stride), stride, b, c.add(row * COLUMNS), COLUMNS, add) }
        }
    };
}
pub(super) use sixteen_lanes;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn run<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// # Safety
/// `a` reaches R rows of `k` numbers, `b` holds `k` rows of V vectors, `c` reaches R rows of V vectors.
#[target_feature(enable = "avx512f")]
unsafe fn tile<const R: usize, const V: usize>(
    k: usize,
    a: *const f32,
    stride: usize,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    add: bool,
) {
    // SAFETY: every offset below is one of those that the caller vouches for.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        unrolled!(R, k, step, {
            let mut columns = [_mm512_setzero_ps(); V];
            for v in 0..V {
                columns[v] = _mm512_loadu_ps(b.add((step * V + v) * 16));
            }
            for r in 0..R {
                let value = _mm512_set1_ps(*a.add(r * stride + step));
                for v in 0..V {
                    sums[r][v] = _mm512_fmadd_ps(value, columns[v], sums[r][v]);
                }
            }
        });
        store(&sums, c, c_stride, add);
    }
}

/// # Safety
/// As [`tile`]; the numbers are pairs of bfloat16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tile_bf16<const R: usize, const V: usize>(
    k: usize,
    a: *const u16,
    stride: usize,
    b: *const u16,
    c: *mut f32,
    c_stride: usize,
    add: bool,
) {
    // SAFETY: every offset below is one of those that the caller vouches for; `k` is even; bit patterns of vectors are all valid.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        unrolled!(R, k / 2, step, {
            let mut columns = [_mm512_setzero_si512(); V];
            for v in 0..V {
                columns[v] = _mm512_loadu_si512(b.add((step * V + v) * 32).cast());
            }
            for r in 0..R {
                let pair = _mm512_set1_epi32(a.add(r * stride + 2 * step).cast::<i32>().read_unaligned());
                let pair: __m512bh = std::mem::transmute(pair);
                for v in 0..V {
                    sums[r][v] = _mm512_dpbf16_ps(sums[r][v], pair, std::mem::transmute::<__m512i, __m512bh>(columns[v]));
                }
            }
        });
        store(&sums, c, c_stride, add);
    }
}

/// # Safety
/// `c` reaches R rows of V vectors.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<const R: usize, const V: usize>(sums: &[[__m512; V]; R], c: *mut f32, stride: usize, add: bool) {
    for r in 0..R {
        for v in 0..V {
            // SAFETY: inside what the caller vouches for.
            unsafe {
                let to = c.add(r * stride + 16 * v);
                let sum = if add { _mm512_add_ps(sums[r][v], _mm512_loadu_ps(to)) } else { sums[r][v] };
                _mm512_storeu_ps(to, sum);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
fn multiply_adds(rounds: u64) -> u64 {
    let (mut sums, mut x) = ([_mm512_set1_ps(1.0); 24], _mm512_set1_ps(0.5));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(x, x, *sum);
        }
        // The compiler must not see that `x` stays the same.
        x = std::hint::black_box(x);
    }
    std::hint::black_box(sums);
    rounds * 24 * 32
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn multiply_adds_bf16(rounds: u64) -> u64 {
    let (mut sums, mut x) = ([_mm512_set1_ps(1.0); 24], _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5), _mm512_set1_ps(0.5)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, x, x);
        }
        x = std::hint::black_box(x);
    }
    std::hint::black_box(sums);
    rounds * 24 * 64
}

/// Rounds; `from` and `to` are of one length.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
fn narrow_bf16(from: &[f32], to: &mut [u16]) {
    for (from, to) in from.chunks(16).zip(to.chunks_mut(16)) {
        let mask = u16::MAX >> (16 - from.len());
        // SAFETY: the mask leaves out what lies behind a chunk of less than sixteen numbers.
        unsafe {
            let values: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from.as_ptr())));
            _mm256_mask_storeu_epi16(to.as_mut_ptr().cast(), mask, values);
        }
    }
}

impl Isa for Avx512 {
    type Element = f32;
    type Score = f32;
    const PAIR: usize = 1;
    const BLOCK: usize = 96;
    const HIDDEN: f32 = f32::NEG_INFINITY;

    sixteen_lanes!(f32, tile);

    fn narrow(self, from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    fn scores(self, rows: usize, k: usize, q: &[f32], stride: usize, keys: &[f32], s: &mut [f32], s_stride: usize) {
        check::<Self>(rows, k, q.len(), stride, keys.len(), 2, (s.len(), s_stride));
        let (q, keys, s) = (q.as_ptr(), keys.as_ptr(), s.as_mut_ptr());
        // SAFETY: `self` proves the instructions, `check` the extents.
        unsafe { over_rows!(rows, 2, row, tile, k, q.add(row * stride), stride, keys, s.add(row * s_stride), s_stride, false) }
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

impl Isa for Bf16 {
    type Element = u16;
    type Score = f32;
    const PAIR: usize = 2;
    const BLOCK: usize = 192;
    const HIDDEN: f32 = f32::NEG_INFINITY;

    sixteen_lanes!(u16, tile_bf16);

    fn narrow(self, from: &[f32], to: &mut [u16]) {
        assert_eq!(from.len(), to.len(), "narrowing changes no length");
        // SAFETY: `self` proves the instructions.
        unsafe { narrow_bf16(from, to) };
    }

    fn scores(self, rows: usize, k: usize, q: &[u16], stride: usize, keys: &[u16], s: &mut [f32], s_stride: usize) {
        check::<Self>(rows, k, q.len(), stride, keys.len(), 2, (s.len(), s_stride));
        let (q, keys, s) = (q.as_ptr(), keys.as_ptr(), s.as_mut_ptr());
        // SAFETY: `self` proves the instructions, `check` the extents.
        unsafe { over_rows!(rows, 2, row, tile_bf16, k, q.add(row * stride), stride, keys, s.add(row * s_stride), s_stride, false) }
    }

    fn weights<'a>(self, length: usize, stride: usize, scores: &'a mut [f32], other: &'a mut [u16], rows: &mut [Row]) -> &'a [u16] {
        self.vectorize(
            #[inline(always)]
            || weigh_rows(length, stride, scores, rows),
        );
        for (scores, other) in scores.chunks(stride).zip(other.chunks_mut(stride)).take(rows.len()) {
            self.narrow(&scores[..length], &mut other[..length]);
        }
        other
    }

    fn multiply_adds(self, rounds: u64) -> u64 {
        // SAFETY: `self` proves the instructions.
        unsafe { multiply_adds_bf16(rounds) }
    }
}

const _: () = assert!(ROWS % 6 == 0 && ROWS % 8 == 0 && ROWS % 12 == 0);
