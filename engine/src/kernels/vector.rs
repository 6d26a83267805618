//! Element-wise building blocks that the compiler vectorises: sums in fixed lanes, a polynomial exponential, and a dispatch that
//! compiles its closure for the widest instruction set of the machine it runs on.
//!
//! Invariant: plain Rust without intrinsics; the result does not depend on the number of threads. Guarded by the tests below.

const LANES: usize = 16;

/// Runs `f` compiled for the machine's widest vectors. Everything that `f` calls must be `#[inline(always)]` to take part.
#[inline(always)]
pub fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// `2^x`, relative error below 3e-7; clamps to the range of normal numbers.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -126.0 { x } else { -126.0 };
    let x = if x < 127.0 { x } else { 127.0 };
    let rounded = x + ROUND;
    let f = x - (rounded - ROUND);
    let p = 1.540_353e-4 * f + 1.333_355_8e-3;
    let p = p * f + 9.618_129e-3;
    let p = p * f + 5.550_411e-2;
    let p = p * f + 2.402_265e-1;
    let p = p * f + std::f32::consts::LN_2;
    let p = p * f + 1.0;
    let power = f32::from_bits(rounded.to_bits().wrapping_shl(23).wrapping_add(127 << 23));
    p * power
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp2(-std::f32::consts::LOG2_E * x))
}

/// The slope of SiLU, `x sigmoid(x)`.
#[inline(always)]
pub fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

/// GELU, tanh approximation, is `x sigmoid(GELU_C (x + GELU_A x^3))`.
pub const GELU_A: f32 = 0.044_715;
/// 2 sqrt(2 / pi): tanh(u) = 2 sigmoid(2u) - 1.
pub const GELU_C: f32 = 1.595_769;

/// Sum of `f(i)` for `i` in `0..n`, in fixed lanes.
#[inline(always)]
pub fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(i + lane);
        }
        i += LANES;
    }
    let mut total = 0.0;
    for i in whole..n {
        total += f(i);
    }
    for lane in lanes {
        total += lane;
    }
    total
}

/// Largest value of a row; negative infinity when empty.
#[inline(always)]
pub fn max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp2_is_accurate() {
        for i in -12_000..=12_000 {
            let x = i as f32 * 0.01;
            let truth = (x as f64).exp2();
            assert!(((exp2(x) as f64 - truth) / truth).abs() < 4e-7, "{x}");
        }
        assert!(exp2(-1e9) >= 0.0 && exp2(-1e9) < 1e-37);
    }

    #[test]
    fn sum_and_max_take_every_place_once_for_any_length() {
        for n in [0usize, 1, 15, 16, 17, 100] {
            let row: Vec<f32> = (0..n).map(|i| (i * 7 % 13) as f32 - 300.0).collect();
            assert_eq!(dispatch(|| sum(n, |i| row[i])), row.iter().sum::<f32>());
            assert_eq!(dispatch(|| max(&row)), row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
