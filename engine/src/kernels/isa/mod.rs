//! Instruction sets behind one small interface: how numbers are packed, a block of rows times a packed panel, scores and softmax.
//!
//! Which set runs is decided once, at run time, from what the processor says; it never depends on timing, so a video does not change
//! from run to run. A value of a type that implements [`Isa`] proves that its instructions exist, which is what makes the safe methods
//! safe. `unsafe` lives in this folder alone. Invariant: every set computes the same products, f32 ones to rounding, half-precision ones
//! within a relative RMS of 5e-3, for any shape. Guarded by `tests/tests/packed.rs` and the tests of `panels`.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod emulated;
#[cfg(target_arch = "x86_64")]
mod fp16;
mod portable;

use crate::error::{Error, Result};
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Bf16};
pub use emulated::Fp16Emulated;
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
    fn panel(
        self,
        rows: usize,
        k: usize,
        a: &[Self::Element],
        stride: usize,
        b: &[Self::Element],
        vectors: usize,
        c: &mut [f32],
        add: bool,
    );

    /// Scores of `rows` queries (of `k` elements, `stride` apart) for one panel of [`Isa::KEYS`] keys, into rows `s_stride` apart.
    fn scores(
        self,
        rows: usize,
        k: usize,
        q: &[Self::Element],
        stride: usize,
        keys: &[Self::Element],
        s: &mut [Self::Score],
        s_stride: usize,
    );

    /// Where key `key` stands in a row of scores, and so in the values.
    fn key_position(key: usize) -> usize {
        key
    }

    /// Turns rows of `length` base-2 scores, `stride` apart, into weights relative to the largest score that a row had so far. They are
    /// written over the scores where both have one format, else to `other`.
    fn weights<'a>(
        self,
        length: usize,
        stride: usize,
        scores: &'a mut [Self::Score],
        other: &'a mut [Self::Element],
        rows: &mut [Row],
    ) -> &'a [Self::Element];

    /// Runs `rounds` x 24 independent multiply-adds in registers and returns how many floating-point operations that was: the ceiling
    /// that a kernel can be compared with.
    fn multiply_adds(self, rounds: u64) -> u64;
}

/// Softmax of a row whose scores come in pieces (Milakov & Gimelshein 2018).
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    /// Largest score so far.
    top: f32,
    /// Sum of all weights so far, relative to it.
    pub sum: f32,
    /// What sums of earlier pieces are to be multiplied by, because the largest score has changed.
    pub factor: f32,
}

impl Row {
    /// Before the first piece.
    pub const START: Self = Self { top: f32::NEG_INFINITY, sum: 0.0, factor: 0.0 };

    /// Takes in a piece: its largest score, then, by `weigh(largest score so far)`, the sum of its weights.
    #[inline(always)]
    fn take(&mut self, top: f32, weigh: impl FnOnce(f32) -> f32) {
        let top = if top > self.top { top } else { self.top };
        self.factor = super::vector::exp2(self.top - top);
        self.top = top;
        self.sum = self.sum * self.factor + weigh(top);
    }
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
    /// What `Fp16` computes, on any processor, slowly.
    Fp16Emulated,
}

impl Precision {
    /// All of them, the fastest first.
    pub const ALL: [Self; 6] = [Self::Fp16, Self::Bf16, Self::Avx512, Self::Avx2, Self::Portable, Self::Fp16Emulated];

    /// Its name in settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp16 => "avx512-fp16",
            Self::Bf16 => "avx512-bf16",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
            Self::Fp16Emulated => "fp16-emulated",
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
            Self::Portable | Self::Fp16Emulated => true,
        };
        #[cfg(not(target_arch = "x86_64"))]
        return matches!(self, Self::Portable | Self::Fp16Emulated);
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
        if self == Self::Fp16Emulated {
            return visit.visit(Fp16Emulated);
        }
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
            Self::Portable | Self::Fp16Emulated => {}
        }
        visit.visit(Portable)
    }
}

/// Runs `$body` for `$step` from 0 to `$steps`, four at a time where a tile has at most `$rows` <= 8 rows: the addresses of the rows are
/// then worked out once in four steps, which matters because that arithmetic shares its ports with the multiply-adds. Twelve addresses
/// at once are more than there are registers for.
#[cfg(target_arch = "x86_64")]
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
#[cfg(target_arch = "x86_64")]
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

/// [`Isa::weights`] of f32 scores, in place.
#[inline(always)]
fn weigh_rows(length: usize, stride: usize, scores: &mut [f32], rows: &mut [Row]) {
    /// Sums side by side: as many as the widest vectors hold.
    const LANES: usize = 16;
    assert_eq!(length % LANES, 0, "a row of scores is made of whole panels");
    for (scores, row) in scores.chunks_mut(stride).zip(rows) {
        let scores = &mut scores[..length];
        row.take(super::vector::max(scores), |top| {
            let mut sums = [0.0; LANES];
            for chunk in scores.chunks_exact_mut(LANES) {
                for (value, sum) in chunk.iter_mut().zip(&mut sums) {
                    *value = super::vector::exp2(*value - top);
                    *sum += *value;
                }
            }
            sums.iter().sum()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error of a probability, against the largest probability of its row.
    struct Attention;

    impl Visit for Attention {
        type Output = f64;

        fn visit<I: Isa>(self, isa: I) -> f64 {
            let (rows, k, panels) = (19, 24, 5);
            let (length, stride) = (panels * I::KEYS, panels * I::KEYS + 32);
            let value = |i: usize| ((i * 2_654_435_761) % 2000) as f32 / 1000.0 - 1.0;
            let q: Vec<f32> = (0..ROWS * k).map(value).collect();
            let key = |key: usize, i: usize| value(key * 977 + i * 131 + 7);
            let mut narrow = vec![I::Element::default(); q.len()];
            isa.narrow(&q, &mut narrow);
            let mut scores = vec![I::HIDDEN; ROWS * stride];
            for panel in 0..panels {
                let mut packed = vec![0.0; k * I::KEYS];
                for (j, i) in (0..I::KEYS).flat_map(|j| (0..k).map(move |i| (j, i))) {
                    packed[i / I::PAIR * I::PAIR * I::KEYS + j * I::PAIR + i % I::PAIR] = key(panel * I::KEYS + j, i);
                }
                let mut keys = vec![I::Element::default(); packed.len()];
                isa.narrow(&packed, &mut keys);
                isa.scores(rows, k, &narrow, k, &keys, &mut scores[panel * I::KEYS..], stride);
            }
            let hidden = length - 3;
            (0..rows).for_each(|row| (hidden..length).for_each(|j| scores[row * stride + I::key_position(j)] = I::HIDDEN));
            let mut other = vec![I::Element::default(); ROWS * stride];
            let mut state = vec![Row::START; rows];
            // In two pieces; the weights of the first are relative to what was the largest score then.
            let mut p = vec![I::Element::default(); ROWS * stride];
            let mut factors = Vec::new();
            for (first, run) in [(0, 2 * I::KEYS), (2 * I::KEYS, length - 2 * I::KEYS)] {
                let weights = isa.weights(run, stride, &mut scores[first..], &mut other, &mut state);
                for row in 0..rows {
                    p[row * stride + first..][..run].copy_from_slice(&weights[row * stride..][..run]);
                }
                factors = state.iter().map(|row| row.factor).collect();
            }
            let mut worst = 0f64;
            for row in 0..rows {
                let score = |j: usize| (0..k).map(|i| q[row * k + i] as f64 * key(j, i) as f64).sum::<f64>();
                let truth: Vec<f64> = (0..hidden).map(|j| score(j).exp2()).collect();
                let (sum, top) = (truth.iter().sum::<f64>(), truth.iter().fold(0.0, |a: f64, b| a.max(*b)));
                for j in 0..length {
                    // A panel of one column reads an element back as f32, whatever its format.
                    let mut one = vec![0.0; COLUMNS * ROWS];
                    let mut a = vec![I::Element::default(); ROWS * I::PAIR];
                    a[0] = p[row * stride + I::key_position(j)];
                    let mut unit = vec![0.0; I::LANES * I::PAIR];
                    unit[0] = 1.0;
                    let mut b = vec![I::Element::default(); unit.len()];
                    isa.narrow(&unit, &mut b);
                    isa.panel(1, I::PAIR, &a, I::PAIR, &b, 1, &mut one, false);
                    let earlier = if I::key_position(j) < 2 * I::KEYS { factors[row] } else { 1.0 };
                    let ours = (one[0] * earlier / state[row].sum) as f64;
                    let truth = truth.get(j).copied().unwrap_or(0.0);
                    worst = worst.max((ours - truth / sum).abs() / (top / sum));
                }
            }
            worst
        }
    }

    #[test]
    fn scores_and_softmax_of_every_set() {
        for precision in Precision::ALL.into_iter().filter(|p| p.available()) {
            let bound = match precision {
                Precision::Bf16 => 3e-2, // 8 digits, and scores of several units
                Precision::Fp16 | Precision::Fp16Emulated => 1e-2,
                _ => 1e-5,
            };
            let error = precision.with(Attention);
            assert!(error < bound, "{}: {error:e}", precision.name());
        }
    }

    #[test]
    fn names_are_found_or_refused_with_a_way_out() {
        for precision in Precision::ALL.into_iter().filter(|p| p.available()) {
            assert_eq!(Precision::by_name(precision.name()).unwrap_or(Precision::Portable), precision);
        }
        assert_eq!(Precision::by_name("auto").ok(), Some(Precision::detect()));
        let error = Precision::by_name("mmx").map_or_else(|e| e.to_string(), |p| p.name().into());
        assert!(error.contains("kernels") && error.contains("portable"), "{error}");
    }
}
