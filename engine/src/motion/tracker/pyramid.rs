//! A frame at every power-of-two size.
//!
//! Invariant: a place of level `l` is `place / 2^l` exactly (the kernel is symmetric about the corner of four pixels), and no level is
//! empty. Guarded by the tests below.

use crate::kernels::vector::dispatch;
use crate::picture::Mask;
use rayon::prelude::*;

/// Levels stop where the shorter side would fall below this, px.
const SMALLEST_SIDE: usize = 12;

/// Luma from full size (slightly smoothed, so that places between pixels are interpolated well) to the coarsest level.
#[derive(Clone, Debug)]
pub(super) struct Pyramid {
    /// Finest first; at least one.
    pub levels: Vec<Mask>,
}

impl Pyramid {
    /// At most `most` levels of `frame`; what is not finite counts as black.
    pub fn new(frame: &Mask, most: usize) -> Self {
        let mut levels = vec![smoothed(frame)];
        while let Some(last) = levels.last().filter(|last| levels.len() < most && last.width.min(last.height) >= 2 * SMALLEST_SIDE) {
            let half = halved(last);
            levels.push(half);
        }
        Self { levels }
    }
}

/// 1-2-1 along both axes.
fn smoothed(frame: &Mask) -> Mask {
    let (width, height) = (frame.width, frame.height);
    let clean = |v: f32| if v.is_finite() { v.clamp(-1.0, 2.0) } else { 0.0 };
    let mut result = Mask::filled(width, height, 0.0);
    result.data.par_chunks_mut(width).enumerate().for_each_init(
        || vec![0.0f32; width + 2],
        |line, (y, row)| {
            let of = |y: usize| &frame.data[y * width..][..width];
            let (above, here, below) = (of(y.saturating_sub(1)), of(y), of((y + 1).min(height - 1)));
            dispatch(
                #[inline(always)]
                || {
                    for x in 0..width {
                        line[x + 1] = 0.25 * (clean(above[x]) + clean(below[x])) + 0.5 * clean(here[x]);
                    }
                    (line[0], line[width + 1]) = (line[1], line[width]);
                    for x in 0..width {
                        row[x] = 0.25 * (line[x] + line[x + 2]) + 0.5 * line[x + 1];
                    }
                },
            );
        },
    );
    result
}

/// Half the size, 1-3-3-1 along both axes.
fn halved(from: &Mask) -> Mask {
    let (width, height) = (from.width.div_ceil(2), from.height.div_ceil(2));
    let mut result = Mask::filled(width, height, 0.0);
    result.data.par_chunks_mut(width).enumerate().for_each_init(
        || vec![0.0f32; 2 * width + 2],
        |line, (y, row)| {
            let of = |y: usize| &from.data[y.min(from.height - 1) * from.width..][..from.width];
            let rows = [of((2 * y).saturating_sub(1)), of(2 * y), of(2 * y + 1), of(2 * y + 2)];
            dispatch(
                #[inline(always)]
                || {
                    for x in 0..from.width {
                        line[x + 1] = 0.125 * (rows[0][x] + rows[3][x]) + 0.375 * (rows[1][x] + rows[2][x]);
                    }
                    line[0] = line[1];
                    let last = line[from.width];
                    line[from.width + 1..].fill(last);
                    for x in 0..width {
                        row[x] = 0.125 * (line[2 * x] + line[2 * x + 3]) + 0.375 * (line[2 * x + 1] + line[2 * x + 2]);
                    }
                },
            );
        },
    );
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_stays_where_it_is_at_every_level() {
        let frame = Mask::from_fn(97, 64, |x, y| 0.005 * (x as f32 + 0.5) + 0.003 * (y as f32 + 0.5));
        let pyramid = Pyramid::new(&frame, 8);
        assert_eq!(pyramid.levels.len(), 3);
        for (level, mask) in pyramid.levels.iter().enumerate() {
            let scale = 0.5f32.powi(level as i32);
            assert!((mask.bilinear(40.3 * scale, 33.7 * scale) - (0.005 * 40.3 + 0.003 * 33.7)).abs() < 1e-5, "level {level}");
        }
    }

    #[test]
    fn tiny_and_broken_frames_are_taken() {
        for (width, height) in [(1, 1), (1, 40), (3, 2), (2, 300)] {
            let pyramid = Pyramid::new(&Mask::filled(width, height, f32::NAN), 5);
            assert!(pyramid.levels.iter().all(|level| level.data.iter().all(|v| *v == 0.0)));
        }
    }
}
