//! A picture to be drawn under a map: its pyramid of halved copies, and samples that average what falls into one output pixel.
//!
//! Invariant: a sample at a pixel's centre, one source px per output px, is that pixel bit for bit. Guarded by the tests below.

use glam::{Affine2, Vec2, Vec4};
use rayon::prelude::*;

use crate::picture::{Grid, catmull_rom};

/// Four numbers drawn together: premultiplied colour and alpha, or colour and whether it was seen.
pub type Texel = [f32; 4];

/// A grid of texels somewhere in picture space, with its halved copies.
#[derive(Clone, Debug)]
pub struct Texture {
    origin: Vec2,
    levels: Vec<Grid<Texel>>,
}

/// How one output pixel samples: which level, how many samples, and how far apart.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    level: usize,
    count: usize,
    /// The first `count` are the samples' places around the pixel's centre, source px.
    offsets: [Vec2; 16],
}

impl Footprint {
    /// Of output pixels that `map` takes to picture space.
    pub fn of(map: &Affine2) -> Self {
        let steps = [map.matrix2.x_axis, map.matrix2.y_axis];
        let lengths = steps.map(|s| if s.is_finite() { s.length() } else { 1.0 });
        // Up to four source px across are sampled directly; what shrinks more is sampled on a halved copy.
        let level = (lengths[0].max(lengths[1]) * 0.5).max(1.0).log2().floor() as usize;
        let taps = lengths.map(|l| ((l / (1usize << level.min(20)) as f32 - 0.25).ceil() as usize).clamp(1, 4));
        let mut offsets = [Vec2::ZERO; 16];
        for (i, offset) in offsets.iter_mut().enumerate().take(taps[0] * taps[1]) {
            let part = |i: usize, axis: usize| steps[axis] * ((i as f32 + 0.5) / taps[axis] as f32 - 0.5);
            *offset = part(i % taps[0], 0) + part(i / taps[0], 1);
        }
        Self { level, count: taps[0] * taps[1], offsets }
    }
}

impl Texture {
    /// A texture whose top-left corner lies at `origin`, px of picture space.
    pub fn new(base: Grid<Texel>, origin: Vec2) -> Self {
        let mut levels = vec![base];
        while let Some(last) = levels.last().filter(|l| l.width.min(l.height) >= 8) {
            let half = halved(last);
            levels.push(half);
        }
        Self { origin, levels }
    }

    /// The texels as they were given.
    pub fn base(&self) -> &Grid<Texel> {
        &self.levels[0]
    }

    /// Where the top-left corner lies, px of picture space.
    pub fn origin(&self) -> Vec2 {
        self.origin
    }

    /// The mean of what one output pixel at picture position `point` shows; clamped to 0..1, and to the border outside.
    #[inline(always)]
    pub fn sample(&self, point: Vec2, footprint: &Footprint) -> Texel {
        let level = footprint.level.min(self.levels.len() - 1);
        let grid = &self.levels[level];
        let scale = 1.0 / (1usize << level) as f32;
        let place = (point - self.origin) * scale;
        if footprint.count == 1 {
            return bicubic(grid, place).to_array();
        }
        let mut sum = Vec4::ZERO;
        for offset in &footprint.offsets[..footprint.count] {
            sum += bilinear(grid, place + *offset * scale);
        }
        (sum * (1.0 / footprint.count as f32)).to_array()
    }
}

fn halved(grid: &Grid<Texel>) -> Grid<Texel> {
    let (width, height) = (grid.width.div_ceil(2), grid.height.div_ceil(2));
    let mut data = vec![[0.0; 4]; width * height];
    data.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
        let (top, bottom) = (2 * y, (2 * y + 1).min(grid.height - 1));
        for (x, out) in row.iter_mut().enumerate() {
            let (left, right) = (2 * x, (2 * x + 1).min(grid.width - 1));
            let four = [grid.at(left, top), grid.at(right, top), grid.at(left, bottom), grid.at(right, bottom)];
            *out = std::array::from_fn(|c| (four[0][c] + four[1][c] + four[2][c] + four[3][c]) * 0.25);
        }
    });
    Grid { width, height, data }
}

/// Rounded down. Without SSE 4.1 the library's `floor` is a call.
#[inline(always)]
fn floor(x: f32) -> i32 {
    let whole = x as i32;
    whole - i32::from(x < whole as f32)
}

#[inline(always)]
fn bilinear(grid: &Grid<Texel>, place: Vec2) -> Vec4 {
    let at = place - 0.5;
    let (x0, y0) = (floor(at.x), floor(at.y));
    let (fx, fy) = (at.x - x0 as f32, at.y - y0 as f32);
    let weights = [(1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy];
    let weighed = |left: usize, right: usize, top: usize, bottom: usize| {
        let at = |i: usize| Vec4::from_array(grid.data[i]);
        (at(top + left) * weights[0] + at(bottom + left) * weights[2]) + (at(top + right) * weights[1] + at(bottom + right) * weights[3])
    };
    if x0 >= 0 && y0 >= 0 && x0 < grid.width as i32 - 1 && y0 < grid.height as i32 - 1 {
        let (x0, top) = (x0 as usize, y0 as usize * grid.width);
        return weighed(x0, x0 + 1, top, top + grid.width);
    }
    let clamp = |v: i32, size: usize| v.clamp(0, size as i32 - 1) as usize;
    let (left, right) = (clamp(x0, grid.width), clamp(x0.saturating_add(1), grid.width));
    let (top, bottom) = (clamp(y0, grid.height) * grid.width, clamp(y0.saturating_add(1), grid.height) * grid.width);
    weighed(left, right, top, bottom)
}

#[inline(always)]
fn bicubic(grid: &Grid<Texel>, place: Vec2) -> Vec4 {
    let at = place - 0.5;
    let (x0, y0) = (floor(at.x), floor(at.y));
    let (wx, wy) = (catmull_rom(at.x - x0 as f32), catmull_rom(at.y - y0 as f32));
    let (x0, y0) = (x0 as isize - 1, y0 as isize - 1);
    let mut sum = Vec4::ZERO;
    let inside = x0 >= 0 && y0 >= 0 && x0 + 4 <= grid.width as isize && y0 + 4 <= grid.height as isize;
    if inside {
        let start = y0 as usize * grid.width + x0 as usize;
        for (j, wy) in wy.iter().enumerate() {
            let [a, b, c, d] = std::array::from_fn(|i| Vec4::from_array(grid.data[start + j * grid.width + i]) * wx[i]);
            sum += (a + b + c + d) * *wy;
        }
    } else {
        for (j, wy) in wy.iter().enumerate() {
            let [a, b, c, d] = std::array::from_fn(|i| Vec4::from_array(grid.clamped(x0 + i as isize, y0 + j as isize)) * wx[i]);
            sum += (a + b + c + d) * *wy;
        }
    }
    sum.clamp(Vec4::ZERO, Vec4::ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Texture {
        let base =
            Grid { width, height, data: (0..width * height).map(|i| [0, 7, 11, 13].map(|k| (i * (k + 5) % 97) as f32 / 97.0)).collect() };
        Texture::new(base, Vec2::new(-3.0, 2.0))
    }

    #[test]
    fn pixel_centres_come_out_bit_for_bit() {
        let texture = noise(19, 23);
        let still = Footprint::of(&Affine2::IDENTITY);
        for y in 0..23 {
            for x in 0..19 {
                let point = Vec2::new(x as f32 + 0.5 - 3.0, y as f32 + 0.5 + 2.0);
                assert_eq!(texture.sample(point, &still), texture.levels[0].at(x, y));
            }
        }
    }

    #[test]
    fn shrinking_averages_instead_of_skipping() {
        let base = Grid { width: 64, height: 64, data: (0..4096).map(|i| [((i + i / 64) % 2) as f32; 4]).collect() };
        let texture = Texture::new(base, Vec2::ZERO);
        for factor in [2.0, 3.0, 4.0, 7.5, 16.0] {
            let footprint = Footprint::of(&Affine2::from_scale(Vec2::splat(factor)));
            for point in [Vec2::new(31.0, 33.0), Vec2::new(32.3, 30.9)] {
                assert!((texture.sample(point, &footprint)[0] - 0.5).abs() < 0.13, "{factor} {point}");
            }
        }
    }
}
