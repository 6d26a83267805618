//! Instruction sets behind one small interface: how numbers are packed, a block of rows times a packed panel, scores and softmax.
//!
//! Which set runs is decided once, at run time, from what the processor says; it never depends on timing, so a video does not change
//! from run to run. A value of a type that implements [`Isa`] proves that its instructions exist, which is what makes the safe methods
//! safe. `unsafe` lives in this folder alone. Invariant: every set computes the same products, f32 ones to rounding, half-precision ones
//! within a relative RMS of 5e-3, for any shape. Guarded by `tests/tests/kernels.rs` and the tests of `panels`.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod fp16;
mod portable;

use crate::error::{Error, Result};
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Bf16};
#[cfg(target_arch = "x86_64")]
pub use fp16::Fp16;
pub use portable::Portable;

/// Most rows of one call: a multiple of every set's tile height.
pub const ROWS: usize = 48;
/// Most columns of a panel in any set.
pub const COLUMNS: usize = 64;

/// An instruction set and the number format that it multiplies in; sums leave it as f32.
pub trait Isa: Copy + Send + Sync + 'static {
    /// What factors are made of.
    type Element: Copy + Default + Send + Sync + PartialEq + std::fmt::Debug;
    /// What attention scores are made of.
    type Score: Copy + Default + Send + Sync;
    /// Columns of a vector of sums.
    const LANES: usize;
    /// Most vectors side by side in a panel.
    const VECTORS: usize;
    /// Neighbours along K that are stored side by side in a panel.
    const PAIR: usize;
    /// Longest run along K that is summed before the sum is added to f32.
    const BLOCK: usize;
    /// Keys of a panel of scores.
    const KEYS: usize = 2 * Self::LANES;
    /// The score of a key that must not be seen.
    const HIDDEN: Self::Score;

    /// Rows of a tile of this many vectors.
    fn tile_rows(vectors: usize) -> usize;

    /// Runs `f` compiled for this set. What `f` calls must be `#[inline(always)]` to take part.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// Rounds to elements.
    fn narrow(self, from: &[f32], to: &mut [Self::Element]);

    /// `c = a b`, or `c += a b`: `rows` rows of `k` elements, `stride` apart, times a panel of `vectors` vectors, into rows of
    /// [`COLUMNS`] numbers. Rows up to the next full tile are read and written too.
    fn panel(self, rows: usize, k: usize, a: &[Self::Element], stride: usize, b: &[Self::Element], vectors: usize, c: &mut [f32], add: bool);

    /// Scores of `rows` queries (of `k` elements, `stride` apart) for one panel of [`Isa::KEYS`] keys, into rows `s_stride` apart.
    fn scores(self, rows: usize, k: usize, q: &[Self::Element], stride: usize, keys: &[Self::Element], s: &mut [Self::Score], s_stride: usize);

    /// Where key `key` stands in a row of scores, and so in the values.
    fn key_position(key: usize) -> usize {
        key
    }

    /// Turns rows of `length` base-2 scores, `stride` apart, into unnormalised probabilities, and the reciprocal of each row's sum. They
    /// are written over the scores where both have one format, else to `other`.
    fn softmax<'a>(
        self,
        length: usize,
        stride: usize,
        scores: &'a mut [Self::Score],
        other: &'a mut [Self::Element],
        reciprocals: &mut [f32],
    ) -> &'a [Self::Element];

    /// Runs `rounds` x 24 independent multiply-adds in registers and returns how many floating-point operations that was: the ceiling
    /// that a kernel can be compared with.
    fn multiply_adds(self, rounds: u64) -> u64;
}

/// The sets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// AVX-512 FP16: half-precision sums of short runs, f32 beyond.
    Fp16,
    /// AVX-512 with bfloat16 dot products.
    Bf16,
    /// AVX-512, f32.
    Avx512,
    /// AVX2 and FMA, f32.
    Avx2,
    /// Any processor, f32.
    Portable,
}

impl Precision {
    /// All of them, the fastest first.
    pub const ALL: [Self; 5] = [Self::Fp16, Self::Bf16, Self::Avx512, Self::Avx2, Self::Portable];

    /// Its name in settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp16 => "avx512-fp16",
            Self::Bf16 => "avx512-bf16",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Whether this processor has it.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Fp16 => Fp16::detect().is_some(),
            Self::Bf16 => Bf16::detect().is_some(),
            Self::Avx512 => Avx512::detect().is_some(),
            Self::Avx2 => Avx2::detect().is_some(),
            Self::Portable => true,
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Portable;
    }

    /// The one to use unless the user says otherwise. FP16 comes before bfloat16: the processors that have both do the bfloat16 dot
    /// product at half the rate of f32 (measured; without AMX) and FP16 at twice that rate.
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|p| p.available()).unwrap_or(Self::Portable)
    }

    /// The one with this name; `auto` is [`Precision::detect`].
    pub fn by_name(name: &str) -> Result<Self> {
        let names = || Self::ALL.iter().filter(|p| p.available()).map(|p| p.name()).collect::<Vec<_>>().join(", ");
        match Self::ALL.into_iter().find(|p| p.name() == name) {
            _ if name == "auto" => Ok(Self::detect()),
            Some(precision) if precision.available() => Ok(precision),
            Some(_) => Err(Error::field("kernels", format!("this processor has no `{name}`; choose auto or one of {}", names()))),
            None => Err(Error::field("kernels", format!("`{name}` is not known; choose auto or one of {}", names()))),
        }
    }
}

/// Something to do with whichever set was chosen.
pub trait Visit {
    /// What it gives.
    type Output;
    /// Does it.
    fn visit<I: Isa>(self, isa: I) -> Self::Output;
}

impl Precision {
    /// Calls `visit` with the set. One that this processor lacks is replaced by the portable one.
    pub fn with<V: Visit>(self, visit: V) -> V::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Fp16 => {
                if let Some(isa) = Fp16::detect() {
                    return visit.visit(isa);
                }
            }
            Self::Bf16 => {
                if let Some(isa) = Bf16::detect() {
                    return visit.visit(isa);
                }
            }
            Self::Avx512 => {
                if let Some(isa) = Avx512::detect() {
                    return visit.visit(isa);
                }
            }
            Self::Avx2 => {
                if let Some(isa) = Avx2::detect() {
                    return visit.visit(isa);
                }
            }
            Self::Portable => {}
        }
        visit.visit(Portable)
    }
}

/// Runs `$body` for `$step` from 0 to `$steps`, four at a time where a tile has at most `$rows` <= 8 rows: the addresses of the rows are
/// then worked out once in four steps, which matters because that arithmetic shares its ports with the multiply-adds. Twelve addresses
/// at once are more than there are registers for.
macro_rules! unrolled {
    ($rows:expr, $steps:expr, $step:ident, $body:block) => {{
        let (steps, mut first) = ($steps, 0);
        while $rows <= 8 && first + 4 <= steps {
            for $step in [first, first + 1, first + 2, first + 3] $body
            first += 4;
        }
        for $step in first..steps $body
    }};
}
use unrolled;

/// Panics unless a product of these sizes stays inside its slices: what the `unsafe` tiles rely on.
fn check<I: Isa>(rows: usize, k: usize, a: usize, stride: usize, b: usize, vectors: usize, (c, c_stride): (usize, usize)) {
    assert!(rows <= ROWS && (1..=I::VECTORS).contains(&vectors) && k % I::PAIR == 0, "a tile of {rows} rows, {vectors} vectors, k = {k}");
    let tile = I::tile_rows(vectors);
    let all = rows.div_ceil(tile) * tile;
    assert!(all == 0 || (all - 1) * stride + k <= a, "a tile reads past its rows");
    assert!(vectors * I::LANES * k <= b, "a tile reads past its panel");
    assert!(all == 0 || (all - 1) * c_stride + vectors * I::LANES <= c, "a tile writes past its sums");
}

/// [`Isa::softmax`] of f32 scores, in place.
#[inline(always)]
fn softmax_rows(length: usize, stride: usize, scores: &mut [f32], reciprocals: &mut [f32]) {
    for (row, reciprocal) in scores.chunks_mut(stride).zip(reciprocals) {
        /// Sums side by side: as many as the widest vectors hold.
        const LANES: usize = 16;
        assert_eq!(length % LANES, 0, "a row of scores is made of whole panels");
        let row = &mut row[..length];
        let top = super::vector::max(row);
        let mut sums = [0.0; LANES];
        for chunk in row.chunks_exact_mut(LANES) {
            for (value, sum) in chunk.iter_mut().zip(&mut sums) {
                *value = super::vector::exp2(*value - top);
                *sum += *value;
            }
        }
        *reciprocal = 1.0 / sums.iter().sum::<f32>();
    }
}
