//! Pictures and masks in memory: the two pixel types that every stage shares.
//!
//! Invariant: `data.len() == width * height`, row-major, (0,0) the top-left corner; a sample at integer `(x, y)` covers the
//! square `[x, x+1) x [y, y+1)`, so its centre is at `(x + 0.5, y + 0.5)` in picture space. Colours are sRGB-encoded, 0..1.
//! Guarded by the tests below.

use rayon::prelude::*;

/// A grid of samples of type `T`.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid<T> {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples, row-major.
    pub data: Vec<T>,
}

/// An RGB picture, sRGB-encoded, 0..1.
pub type Picture = Grid<[f32; 3]>;
/// A mask, 0..1.
pub type Mask = Grid<f32>;

/// What can be averaged: a colour or a number.
pub trait Sample: Copy + Send + Sync {
    /// The neutral element of [`Sample::add_scaled`].
    const ZERO: Self;
    /// `self + other * weight`.
    fn add_scaled(self, other: Self, weight: f32) -> Self;
}

impl Sample for f32 {
    const ZERO: Self = 0.0;
    #[inline(always)]
    fn add_scaled(self, other: Self, weight: f32) -> Self {
        self + other * weight
    }
}

impl<const N: usize> Sample for [f32; N] {
    const ZERO: Self = [0.0; N];
    #[inline(always)]
    fn add_scaled(mut self, other: Self, weight: f32) -> Self {
        for channel in 0..N {
            self[channel] += other[channel] * weight;
        }
        self
    }
}

impl<T: Sample> Grid<T> {
    /// A grid filled with `value`.
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Self { width, height, data: vec![value; width * height] }
    }

    /// A grid whose sample at `(x, y)` is `f(x, y)`; rows are computed in parallel.
    pub fn from_fn(width: usize, height: usize, f: impl Fn(usize, usize) -> T + Sync) -> Self {
        let mut data = vec![T::ZERO; width * height];
        data.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| {
            for (x, sample) in row.iter_mut().enumerate() {
                *sample = f(x, y);
            }
        });
        Self { width, height, data }
    }

    /// The sample at column `x`, row `y`.
    #[inline(always)]
    pub fn at(&self, x: usize, y: usize) -> T {
        self.data[y * self.width + x]
    }

    /// The sample at `(x, y)` with coordinates clamped to the grid.
    #[inline(always)]
    pub fn clamped(&self, x: isize, y: isize) -> T {
        let x = x.clamp(0, self.width as isize - 1) as usize;
        let y = y.clamp(0, self.height as isize - 1) as usize;
        self.at(x, y)
    }

    /// Turned by 180 degrees.
    pub fn turned(&self) -> Self {
        Self { data: self.data.par_iter().rev().copied().collect(), ..*self }
    }

    /// With `margin` px more on each side, which repeat the outermost pixels.
    pub fn padded(&self, margin: usize) -> Self {
        let inner = |i: usize| i as isize - margin as isize;
        Self::from_fn(self.width + 2 * margin, self.height + 2 * margin, |x, y| self.clamped(inner(x), inner(y)))
    }

    /// Bilinear sample at picture coordinates (pixel centres at +0.5), clamped at the border.
    #[inline(always)]
    pub fn bilinear(&self, x: f32, y: f32) -> T {
        let (x, y) = (x - 0.5, y - 0.5);
        let (x0, y0) = (x.floor(), y.floor());
        let (fx, fy) = (x - x0, y - y0);
        let (x0, y0) = (x0 as isize, y0 as isize);
        T::ZERO
            .add_scaled(self.clamped(x0, y0), (1.0 - fx) * (1.0 - fy))
            .add_scaled(self.clamped(x0 + 1, y0), fx * (1.0 - fy))
            .add_scaled(self.clamped(x0, y0 + 1), (1.0 - fx) * fy)
            .add_scaled(self.clamped(x0 + 1, y0 + 1), fx * fy)
    }

    /// Catmull-Rom (bicubic, a = -0.5) sample at picture coordinates, clamped at the border. May overshoot 0..1 at edges.
    #[inline(always)]
    pub fn bicubic(&self, x: f32, y: f32) -> T {
        let (x, y) = (x - 0.5, y - 0.5);
        let (x0, y0) = (x.floor(), y.floor());
        let (wx, wy) = (catmull_rom(x - x0), catmull_rom(y - y0));
        let (x0, y0) = (x0 as isize, y0 as isize);
        let mut sum = T::ZERO;
        for (j, wy) in wy.iter().enumerate() {
            for (i, wx) in wx.iter().enumerate() {
                sum = sum.add_scaled(self.clamped(x0 + i as isize - 1, y0 + j as isize - 1), wx * wy);
            }
        }
        sum
    }

    /// Resampled to `width` x `height`: area average when it shrinks, bilinear when it grows.
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let columns = taps(self.width, width);
        let rows = taps(self.height, height);
        let narrow = Self::from_fn(width, self.height, |x, y| {
            columns[x].1.iter().enumerate().fold(T::ZERO, |sum, (i, w)| sum.add_scaled(self.at(columns[x].0 + i, y), *w))
        });
        Self::from_fn(width, height, |x, y| {
            rows[y].1.iter().enumerate().fold(T::ZERO, |sum, (i, w)| sum.add_scaled(narrow.at(x, rows[y].0 + i), *w))
        })
    }
}

/// First source index and normalised weights of each of `to` samples made from `from` samples.
fn taps(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = from as f32 / to as f32;
    let radius = (scale * 0.5).max(0.5);
    (0..to)
        .map(|i| {
            let centre = (i as f32 + 0.5) * scale;
            // Area average: the overlap of each source pixel with the target's footprint; growing, the footprint is one
            // source pixel wide, which is exactly linear interpolation.
            let (low, high) = (centre - radius, centre + radius);
            let first = (low.floor().max(0.0) as usize).min(from - 1);
            let last = ((high.ceil() as usize).max(first + 1)).min(from);
            let mut weights: Vec<f32> =
                (first..last).map(|k| ((k + 1) as f32).min(high) - (k as f32).max(low)).map(|w| w.max(0.0)).collect();
            let sum: f32 = weights.iter().sum();
            if sum > 0.0 {
                weights.iter_mut().for_each(|w| *w /= sum);
            } else {
                weights[0] = 1.0;
            }
            (first, weights)
        })
        .collect()
}

/// Weights of the four samples around a place `t` after the second (Catmull-Rom, a = -0.5).
#[inline(always)]
pub fn catmull_rom(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [-0.5 * t3 + t2 - 0.5 * t, 1.5 * t3 - 2.5 * t2 + 1.0, -1.5 * t3 + 2.0 * t2 + 0.5 * t, 0.5 * t3 - 0.5 * t2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Mask {
        Mask::from_fn(width, height, |x, y| x as f32 + 0.5 + 10.0 * (y as f32 + 0.5))
    }

    #[test]
    fn interpolation_reproduces_a_ramp_in_picture_coordinates() {
        let ramp = ramp(9, 7);
        for (x, y) in [(3.2, 2.9), (4.5, 3.5), (6.01, 4.99)] {
            assert!((ramp.bilinear(x, y) - (x + 10.0 * y)).abs() < 1e-4);
            assert!((ramp.bicubic(x, y) - (x + 10.0 * y)).abs() < 1e-4);
        }
    }

    #[test]
    fn shrinking_averages_and_keeps_the_mean() {
        let ramp = ramp(12, 8);
        let small = ramp.resized(4, 2);
        let mean = |m: &Mask| m.data.iter().sum::<f32>() / m.data.len() as f32;
        assert!((mean(&small) - mean(&ramp)).abs() < 1e-3);
        assert!((small.at(1, 1) - ramp.resized(12, 8).bilinear(4.5, 6.0)).abs() < 1e-3);
    }

    #[test]
    fn growing_is_linear_inside() {
        let big = ramp(4, 4).resized(8, 8);
        assert!((big.at(3, 3) - (1.75 + 17.5)).abs() < 1e-3);
    }
}
