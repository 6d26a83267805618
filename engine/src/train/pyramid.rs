//! One photograph or cut-out in memory: bytes at every power-of-two size, so that any crop at any scale is cheap and free of aliasing.
//!
//! Invariant: level `l` is the area average of `2^l x 2^l` squares of level 0, aligned at the top-left corner; a crop of size S costs
//! O(S), whatever the picture's size. Guarded by the tests below.

use crate::picture::Grid;

/// Levels stop where the shorter side would fall below this, px.
const SMALLEST_SIDE: usize = 16;

/// A picture of `N` interleaved byte channels at every power-of-two size.
pub(super) struct Pyramid<const N: usize> {
    levels: Vec<Level>,
}

struct Level {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

/// A rectangle in the pixels of level 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
}

impl<const N: usize> Pyramid<N> {
    /// Levels of a picture whose interleaved bytes are `data` (`width * height * N` of them, neither side zero), the first one no
    /// longer than `longest` px.
    pub fn new(width: usize, height: usize, data: Vec<u8>, longest: usize) -> Self {
        let mut levels = vec![Level { width, height, data }];
        while let Some(last) = levels.last()
            && (last.width.min(last.height) >= 2 * SMALLEST_SIDE
                || (last.width.max(last.height) > longest && last.width.min(last.height) >= 2))
        {
            let half = last.halved::<N>();
            levels.push(half);
        }
        let first = levels.iter().position(|level| level.width.max(level.height) <= longest).unwrap_or(levels.len() - 1);
        Self { levels: levels.split_off(first) }
    }

    pub fn width(&self) -> usize {
        self.levels[0].width
    }

    pub fn height(&self) -> usize {
        self.levels[0].height
    }

    /// Memory held, bytes.
    pub fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.data.len()).sum()
    }

    /// The whole picture.
    pub fn whole(&self) -> Window {
        Window { x: 0.0, y: 0.0, width: self.width() as f32, height: self.height() as f32 }
    }

    /// What `window` shows, area-averaged to `width` x `height` samples of 0..1; outside the picture its border is repeated.
    pub fn crop(&self, window: Window, width: usize, height: usize) -> Grid<[f32; N]> {
        let shrink = (window.width / width as f32).min(window.height / height as f32).max(1.0);
        let index = (shrink.log2() as usize).min(self.levels.len() - 1);
        let level = &self.levels[index];
        let unit = 1.0 / (1u32 << index) as f32;
        let columns = Taps::new(window.x * unit, window.width * unit, width, level.width);
        let rows = Taps::new(window.y * unit, window.height * unit, height, level.height);
        let (left, right) = (columns.low(), columns.high());
        let mut tall = vec![0.0f32; (right - left) * N];
        let mut data = Vec::with_capacity(width * height);
        for y in 0..height {
            tall.fill(0.0);
            for (row, weight) in rows.at(y) {
                let row = &level.data[(row * level.width + left) * N..(row * level.width + right) * N];
                let weight = weight / 255.0;
                tall.iter_mut().zip(row).for_each(|(sum, byte)| *sum += weight * f32::from(*byte));
            }
            data.extend((0..width).map(|x| {
                let mut sum = [0.0; N];
                for (column, weight) in columns.at(x) {
                    let sample = &tall[(column - left) * N..(column - left + 1) * N];
                    (0..N).for_each(|c| sum[c] += weight * sample[c]);
                }
                sum
            }));
        }
        Grid { width, height, data }
    }
}

impl Level {
    fn halved<const N: usize>(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut data = Vec::with_capacity(width * height * N);
        for y in 0..height {
            let top = &self.data[2 * y * self.width * N..][..2 * width * N];
            let bottom = &self.data[(2 * y + 1) * self.width * N..][..2 * width * N];
            for (top, bottom) in top.chunks_exact(2 * N).zip(bottom.chunks_exact(2 * N)) {
                for c in 0..N {
                    let sum = u16::from(top[c]) + u16::from(top[c + N]) + u16::from(bottom[c]) + u16::from(bottom[c + N]);
                    data.push(((sum + 2) / 4) as u8);
                }
            }
        }
        Self { width, height, data }
    }
}

/// Which samples of a line, and how much of each, make each sample of a resampled part of it.
struct Taps {
    /// For each output: first input and number of inputs.
    spans: Vec<(usize, usize)>,
    starts: Vec<usize>,
    weights: Vec<f32>,
}

impl Taps {
    fn new(origin: f32, length: f32, to: usize, available: usize) -> Self {
        let scale = length / to as f32;
        let radius = (scale * 0.5).max(0.5);
        let mut taps = Self { spans: Vec::with_capacity(to), starts: Vec::with_capacity(to), weights: Vec::new() };
        for i in 0..to {
            let centre = (origin + (i as f32 + 0.5) * scale).clamp(0.5, available as f32 - 0.5);
            let (low, high) = (centre - radius, centre + radius);
            let first = (low.max(0.0) as usize).min(available - 1);
            let last = (high.ceil().max(0.0) as usize).clamp(first + 1, available);
            let start = taps.weights.len();
            taps.weights.extend((first..last).map(|k| (((k + 1) as f32).min(high) - (k as f32).max(low)).max(1e-6)));
            let sum: f32 = taps.weights[start..].iter().sum();
            taps.weights[start..].iter_mut().for_each(|weight| *weight /= sum);
            taps.spans.push((first, last - first));
            taps.starts.push(start);
        }
        taps
    }

    fn at(&self, i: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let (first, count) = self.spans[i];
        self.weights[self.starts[i]..self.starts[i] + count].iter().enumerate().map(move |(k, weight)| (first + k, *weight))
    }

    fn low(&self) -> usize {
        self.spans.iter().map(|span| span.0).min().unwrap_or(0)
    }

    fn high(&self) -> usize {
        self.spans.iter().map(|span| span.0 + span.1).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose red is the column and green the row.
    fn coordinates(width: usize, height: usize) -> Pyramid<3> {
        let data = (0..width * height).flat_map(|i| [(i % width) as u8, (i / width) as u8, 7]).collect();
        Pyramid::new(width, height, data, usize::MAX)
    }

    #[test]
    fn crop_shows_its_window_at_every_scale() {
        let pyramid = coordinates(200, 120);
        for (width, height) in [(150, 90), (100, 60), (37, 23), (20, 12)] {
            let window = Window { x: 12.0, y: 9.0, width: 180.0, height: 108.0 };
            let crop = pyramid.crop(window, width, height);
            for (x, y) in [(1, 1), (width / 2, height / 3), (width - 2, height - 2)] {
                let [red, green, blue] = crop.at(x, y);
                let column = window.x + (x as f32 + 0.5) * window.width / width as f32;
                let row = window.y + (y as f32 + 0.5) * window.height / height as f32;
                assert!((red * 255.0 + 0.5 - column).abs() < 0.7, "{width}: {red} {column}");
                assert!((green * 255.0 + 0.5 - row).abs() < 0.7, "{width}: {green} {row}");
                assert!((blue * 255.0 - 7.0).abs() < 1e-2);
            }
        }
    }

    #[test]
    fn a_first_level_longer_than_asked_is_dropped() {
        let pyramid = Pyramid::<1>::new(100, 40, vec![9; 4000], 64);
        assert_eq!((pyramid.width(), pyramid.height()), (50, 20));
        assert!((pyramid.crop(pyramid.whole(), 5, 2).at(4, 1)[0] * 255.0 - 9.0).abs() < 1e-3);
    }
}
