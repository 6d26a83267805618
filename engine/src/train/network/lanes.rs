//! Loops over the numbers of a row, sixteen at a time: whole vectors are read before any is written, so that neither bounds checks nor
//! slices that might overlap keep the compiler from vectorising.
//!
//! Invariant: sums are taken in fixed lanes, so a row's result depends on its numbers alone. To be called inside `vector::dispatch`.
//! Guarded by the tests below.

const LANES: usize = 16;

#[inline(always)]
fn load(row: &[f32], at: usize) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&row[at..at + LANES]);
    lanes
}

/// Every number of the `N` rows `to` becomes what `f` makes of the numbers that `from` and `to` hold in its place.
#[inline(always)]
pub(in crate::train) fn map<const M: usize, const N: usize>(
    from: [&[f32]; M],
    to: [&mut [f32]; N],
    f: impl Fn([f32; M], [f32; N]) -> [f32; N],
) {
    let n = to.first().map_or(0, |row| row.len());
    let mut at = 0;
    while at + LANES <= n {
        let read: [[f32; LANES]; M] = std::array::from_fn(|k| load(from[k], at));
        let mut held: [[f32; LANES]; N] = std::array::from_fn(|k| load(to[k], at));
        for lane in 0..LANES {
            let made = f(std::array::from_fn(|k| read[k][lane]), std::array::from_fn(|k| held[k][lane]));
            for k in 0..N {
                held[k][lane] = made[k];
            }
        }
        for k in 0..N {
            to[k][at..at + LANES].copy_from_slice(&held[k]);
        }
        at += LANES;
    }
    for i in at..n {
        let made = f(std::array::from_fn(|k| from[k][i]), std::array::from_fn(|k| to[k][i]));
        for k in 0..N {
            to[k][i] = made[k];
        }
    }
}

/// Sum over a row of what `f` makes of the numbers of `from` in each place.
#[inline(always)]
pub(in crate::train) fn total<const M: usize>(from: [&[f32]; M], f: impl Fn([f32; M]) -> f32) -> f32 {
    let n = from.first().map_or(0, |row| row.len());
    let mut sums = [0f32; LANES];
    let mut at = 0;
    while at + LANES <= n {
        let read: [[f32; LANES]; M] = std::array::from_fn(|k| load(from[k], at));
        for lane in 0..LANES {
            sums[lane] += f(std::array::from_fn(|k| read[k][lane]));
        }
        at += LANES;
    }
    let rest: f32 = (at..n).map(|i| f(std::array::from_fn(|k| from[k][i]))).sum();
    // Halves onto halves, as a vector unit adds.
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_counts_once_for_any_length() {
        for n in [0usize, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let (mut b, mut c) = (vec![1.0; n], vec![2.0; n]);
            map([&a], [&mut b, &mut c], |[a], [b, c]| [a + b, a * c]);
            assert!((0..n).all(|i| b[i] == i as f32 + 1.0 && c[i] == 2.0 * i as f32), "{n}");
            assert_eq!(total([&a, &b], |[a, b]| b - a), n as f32);
        }
    }
}
