//! Exact Euclidean distance transform (Felzenszwalb and Huttenlocher, Distance transforms of sampled functions, 2012), O(pixels).
//!
//! Invariant: the result equals the brute-force minimum over all set pixels. Guarded by the test below.

use rayon::prelude::*;

use crate::picture::{Grid, Mask};

/// Farther than any picture is wide; what a picture without a set pixel gives everywhere.
pub const FAR_PX: f32 = 1e6;

/// Distance in px from each pixel's centre to the centre of the nearest pixel where `set` holds (0 there).
pub fn distance_px(width: usize, height: usize, set: impl Fn(usize, usize) -> bool + Sync) -> Mask {
    // Rows first, by two sweeps; then each column takes the lower envelope of parabolas. Columns are done as rows of the transpose.
    let mut along = Grid { width, height, data: vec![FAR_PX; width * height] };
    along.data.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| {
        let mut d = FAR_PX;
        for (x, value) in row.iter_mut().enumerate() {
            d = if set(x, y) { 0.0 } else { (d + 1.0).min(FAR_PX) };
            *value = d;
        }
        d = FAR_PX;
        for value in row.iter_mut().rev() {
            d = (d + 1.0).min(*value);
            *value = d;
        }
    });
    let mut columns = vec![0.0; width * height];
    columns.par_chunks_mut(height.max(1)).enumerate().for_each_init(
        || (Vec::new(), Vec::new()),
        |(hull, starts), (x, column)| {
            hull.clear();
            starts.clear();
            let squared = |y: usize| f64::from(along.at(x, y)).powi(2);
            for y in 0..height {
                let f = squared(y);
                let mut start = f64::NEG_INFINITY;
                while let Some(&q) = hull.last() {
                    let q: usize = q;
                    start = (f + (y * y) as f64 - squared(q) - (q * q) as f64) / (2 * (y - q)) as f64;
                    if starts.last().is_some_and(|&s| start <= s) {
                        hull.pop();
                        starts.pop();
                        start = f64::NEG_INFINITY;
                    } else {
                        break;
                    }
                }
                hull.push(y);
                starts.push(start);
            }
            let mut k = 0;
            for (y, value) in column.iter_mut().enumerate() {
                while k + 1 < hull.len() && starts[k + 1] < y as f64 {
                    k += 1;
                }
                let dy = y as f64 - hull[k] as f64;
                *value = ((dy * dy + squared(hull[k])).sqrt() as f32).min(FAR_PX);
            }
        },
    );
    Mask::from_fn(width, height, |x, y| columns[x * height + y])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_brute_force_minimum() {
        let (width, height) = (23, 17);
        let set = |x: usize, y: usize| (x * 31 + y * 17) % 47 == 3;
        let fast = distance_px(width, height, set);
        for y in 0..height {
            for x in 0..width {
                let mut best = FAR_PX;
                for v in 0..height {
                    for u in (0..width).filter(|&u| set(u, v)) {
                        best = best.min((x as f32 - u as f32).hypot(y as f32 - v as f32));
                    }
                }
                assert!((fast.at(x, y) - best).abs() < 1e-4, "{x} {y}");
            }
        }
        assert!(distance_px(4, 4, |_, _| false).data.iter().all(|&d| d >= FAR_PX));
    }
}
