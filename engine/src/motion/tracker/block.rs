//! Registering one square block of pixels with a frame: inverse compositional Lucas-Kanade (Baker and Matthews 2004) with robust
//! weights, gain and bias, and a prior place that decides where the picture itself does not.
//!
//! Invariant: a block that is partly outside the frame is judged by what is inside; a place is always finite and moves at most
//! [`REACH`] px per call. Guarded by the tests below.

use crate::kernels::vector::dispatch;
use crate::picture::Mask;
use glam::{Mat2, Vec2};

/// Pixels along a block's side: one vector of the widest instruction set.
pub(super) const SIDE: usize = 16;
/// Way from a block's first pixel to its middle, px.
const MIDDLE: f32 = 0.5 * (SIDE as f32 - 1.0);
/// Farthest that a place is moved, px of the level.
const REACH: f32 = 10.0;
/// Deviation that is no misfit yet, luma.
const MISFIT_NOISE: f32 = 0.012;
/// Largest residual that is still taken for noise rather than for something else, luma.
const SMALLEST_TOLERANCE: f32 = 0.03;
const LARGEST_TOLERANCE: f32 = 0.2;
/// How many pixels' worth of belief there is that the light is as before.
const LIGHT_BELIEF: f32 = 20.0;
/// Pixels of a block that differ less than this from its middle belong to the same thing, luma; others count by [`UNLIKE`].
const ALIKE: f32 = 0.08;
const UNLIKE: f32 = 0.15;
/// Share of a block's shading that is alike all over it.
const ALL_ALIKE: f32 = 0.05;
/// How far a pixel of the block is from where a mere shift puts it, px: shape, resampling. Beside strong edges it is what hides weak texture.
const ASTRAY: f32 = 0.1;
/// Steps smaller than this end a registration, px.
const SMALL_STEP: f32 = 0.01;

pub(super) type Pixels = [[f32; SIDE]; SIDE];

/// How bright a frame shows what the template has: `gain * template + bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Light {
    pub gain: f32,
    pub bias: f32,
}

impl Light {
    pub const SAME: Self = Self { gain: 1.0, bias: 0.0 };

    /// The change from `then` to this.
    pub fn since(self, then: Self) -> Self {
        let gain = self.gain / then.gain;
        Self { gain, bias: self.bias - gain * then.bias }
    }

    /// First `then`, after that this.
    pub fn after(self, then: Self) -> Self {
        Self { gain: self.gain * then.gain, bias: self.bias + self.gain * then.bias }
    }
}

/// What is known of a place beforehand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prior {
    pub place: Vec2,
    /// 1 / variance, 1/px^2.
    pub precision: f32,
}

/// A block to be found, with its slopes.
#[derive(Clone)]
pub(super) struct Template {
    value: Pixels,
    slope_x: Pixels,
    slope_y: Pixels,
    weight: Pixels,
}

/// Where a template was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub place: Vec2,
    pub light: Light,
    /// Root mean square of what is left over around the middle, against what noise and a misplacement of a third of a pixel explain: about 1
    /// where the frame shows the template.
    pub misfit: f32,
    /// Smaller eigenvalue of what the block's middle says about the place, 1/px^2.
    pub information: f32,
    /// Root mean square of what is left over, luma.
    pub residual: f32,
    /// How much brighter the frame is than the template, luma.
    pub shift: f32,
}

/// `level` around `at`, and what share of each pixel counts (0 outside).
#[inline(always)]
fn cut(level: &Mask, at: Vec2, value: &mut Pixels, inside: &mut Pixels) -> bool {
    let corner = at - MIDDLE - 0.5;
    let (x0, y0) = (corner.x as usize, corner.y as usize);
    let whole = corner.cmpge(Vec2::ZERO).all() && x0 + SIDE < level.width && y0 + SIDE < level.height;
    if whole {
        let (fx, fy) = (corner.x - x0 as f32, corner.y - y0 as f32);
        for (j, line) in value.iter_mut().enumerate() {
            let start = (y0 + j) * level.width + x0;
            let above = &level.data[start..start + SIDE + 1];
            let below = &level.data[start + level.width..start + level.width + SIDE + 1];
            for i in 0..SIDE {
                let left = above[i] + fy * (below[i] - above[i]);
                let right = above[i + 1] + fy * (below[i + 1] - above[i + 1]);
                line[i] = left + fx * (right - left);
            }
        }
    } else {
        cut_warped(level, at, Mat2::IDENTITY, value, inside);
    }
    whole
}

/// As [`cut`], the block turned and scaled: its pixel at `offset` shows `at + shape * offset`.
#[inline(always)]
fn cut_warped(level: &Mask, at: Vec2, shape: Mat2, value: &mut Pixels, inside: &mut Pixels) {
    let size = Vec2::new(level.width as f32, level.height as f32);
    let reach = (shape.x_axis.abs() + shape.y_axis.abs()) * MIDDLE;
    let whole = (at - reach).cmpge(Vec2::ONE).all() && (at + reach).cmple(size - 2.0).all();
    for j in 0..SIDE {
        let start = at + shape * Vec2::new(-MIDDLE, j as f32 - MIDDLE);
        if whole {
            // Numbers in lanes, looked up one by one, blended in lanes.
            let (mut corner, mut fx, mut fy) = ([0i32; SIDE], [0.0f32; SIDE], [0.0f32; SIDE]);
            for i in 0..SIDE {
                let (x, y) = (start.x - 0.5 + shape.x_axis.x * i as f32, start.y - 0.5 + shape.x_axis.y * i as f32);
                let (x0, y0) = (x as i32, y as i32);
                (fx[i], fy[i]) = (x - x0 as f32, y - y0 as f32);
                corner[i] = y0 * level.width as i32 + x0;
            }
            let mut corners = [[0.0f32; SIDE]; 4];
            for i in 0..SIDE {
                let at = corner[i] as usize;
                let ([a, b], [c, d]) = (pair(&level.data, at), pair(&level.data, at + level.width));
                (corners[0][i], corners[1][i], corners[2][i], corners[3][i]) = (a, b, c, d);
            }
            let [a, b, c, d] = corners;
            for i in 0..SIDE {
                let (above, below) = (a[i] + fx[i] * (b[i] - a[i]), c[i] + fx[i] * (d[i] - c[i]));
                value[j][i] = above + fy[i] * (below - above);
            }
            inside[j] = [1.0; SIDE];
            continue;
        }
        for i in 0..SIDE {
            let p = start + shape.x_axis * i as f32;
            let within = p.cmpge(Vec2::ZERO).all() && p.cmple(size).all();
            inside[j][i] = f32::from(u8::from(within));
            let p = (p - 0.5).clamp(Vec2::ZERO, size - 1.0);
            let (x0, y0) = (p.x as usize, p.y as usize);
            let (x1, y1) = ((x0 + 1).min(level.width - 1), (y0 + 1).min(level.height - 1));
            let (fx, fy) = (p.x - x0 as f32, p.y - y0 as f32);
            let above = level.at(x0, y0) + fx * (level.at(x1, y0) - level.at(x0, y0));
            let below = level.at(x0, y1) + fx * (level.at(x1, y1) - level.at(x0, y1));
            value[j][i] = above + fy * (below - above);
        }
    }
}

/// Two neighbours in a row, looked up with one check.
#[inline(always)]
fn pair(data: &[f32], at: usize) -> [f32; 2] {
    match data.get(at..at + 2) {
        Some(&[a, b]) => [a, b],
        _ => [0.0; 2],
    }
}

/// A bell over a block, zero on its outermost pixels, whose slopes are one-sided.
fn bell(deviation: f32) -> Pixels {
    std::array::from_fn(|j| {
        std::array::from_fn(|i| {
            let away = Vec2::new(i as f32 - MIDDLE, j as f32 - MIDDLE);
            let rim = i == 0 || j == 0 || i == SIDE - 1 || j == SIDE - 1;
            if rim { 0.0 } else { (-0.5 * away.length_squared() / (deviation * deviation)).exp() }
        })
    })
}

/// Weights over a block, and the noise that residuals are judged by.
pub(super) struct Bells {
    /// Of a registration.
    wide: Pixels,
    /// Of what tells the place of the very point.
    medium: Pixels,
    /// Of whether it is seen.
    narrow: Pixels,
    /// Deviation of a pixel that shows the same thing, luma: noise, compression, resampling.
    pub noise: f32,
    /// What of it is there even where nothing moves: twice the variance of a frame's own noise is the square of this.
    pub grain: f32,
    /// Deviation of a whole block's brightness, luma: light and shade that move over things. However many pixels a block has, they do not
    /// average it away.
    pub shading: f32,
}

impl Bells {
    pub fn new(noise: f32) -> Self {
        Self { wide: bell(4.0), narrow: bell(1.8), medium: bell(3.0), noise, grain: 0.0, shading: 0.0 }
    }

    /// Mean square of the slopes that noise makes in a frame smoothed by 1-2-1 where there is nothing: half of what is left of the
    /// variance, less the correlation of every other pixel (1/6).
    #[inline(always)]
    fn false_slope(&self) -> f32 {
        0.5 * (1.0 - 1.0 / 6.0) * 0.5 * self.grain * self.grain
    }
}

impl Template {
    /// The block of `level` around `at`; its pixel at `offset` shows `at + shape * offset`. None where next to nothing of it is inside.
    pub fn new(level: &Mask, at: Vec2, shape: Mat2, bells: &Bells) -> Option<Self> {
        let mut inside = [[1.0; SIDE]; SIDE];
        let mut value = [[0.0; SIDE]; SIDE];
        dispatch(
            #[inline(always)]
            || {
                if shape == Mat2::IDENTITY {
                    cut(level, at, &mut value, &mut inside);
                } else {
                    cut_warped(level, at, shape, &mut value, &mut inside);
                }
            },
        );
        let mut template = Self { value, slope_x: [[0.0; SIDE]; SIDE], slope_y: [[0.0; SIDE]; SIDE], weight: bells.wide };
        let mut total = 0.0;
        let m = SIDE / 2;
        let middle = 0.25 * (value[m][m] + value[m][m - 1] + value[m - 1][m] + value[m - 1][m - 1]);
        let sharp = 1.0 / (ALIKE * ALIKE);
        dispatch(
            #[inline(always)]
            || {
                for j in 1..SIDE - 1 {
                    for i in 1..SIDE - 1 {
                        template.slope_x[j][i] = 0.5 * (value[j][i + 1] - value[j][i - 1]);
                        template.slope_y[j][i] = 0.5 * (value[j + 1][i] - value[j - 1][i]);
                    }
                    for i in 0..SIDE {
                        total += template.weight[j][i] * inside[j][i];
                        let unlike = (value[j][i] - middle) * (value[j][i] - middle) * sharp;
                        template.weight[j][i] *= inside[j][i] * (UNLIKE + (1.0 - UNLIKE) / (1.0 + unlike * unlike));
                    }
                }
            },
        );
        (total > 8.0).then_some(template)
    }

    /// Smaller eigenvalue of what the template's middle can say about its place, 1/px^2.
    pub fn information(&self, bells: &Bells) -> f32 {
        dispatch(
            #[inline(always)]
            || self.information_in_lanes(bells),
        )
    }

    #[inline(always)]
    fn information_in_lanes(&self, bells: &Bells) -> f32 {
        let mut lanes = [[0.0f32; SIDE]; 4];
        for j in 1..SIDE - 1 {
            for i in 0..SIDE {
                let (x, y, w) = (self.slope_x[j][i], self.slope_y[j][i], bells.medium[j][i] * self.weight[j][i]);
                lanes[0][i] += w * x * x;
                lanes[1][i] += w * x * y;
                lanes[2][i] += w * y * y;
                lanes[3][i] += w;
            }
        }
        let [xx, xy, yy, total] = totals(lanes);
        smaller_eigenvalue(xx, xy, yy) / (bells.noise * bells.noise + ASTRAY * ASTRAY * (xx + yy) / total.max(1e-3))
    }

    /// Finds the template in `level` near `start`. None where next to nothing of it is inside.
    pub fn find(&self, level: &Mask, start: Vec2, prior: Option<Prior>, light: Light, steps: usize, bells: &Bells) -> Option<Fit> {
        dispatch(
            #[inline(always)]
            || self.find_in_lanes(level, start, prior, light, steps, bells),
        )
    }

    #[inline(always)]
    fn find_in_lanes(&self, level: &Mask, start: Vec2, prior: Option<Prior>, before: Light, steps: usize, bells: &Bells) -> Option<Fit> {
        let (mut place, mut light) = (start, before);
        let mut value = [[0.0; SIDE]; SIDE];
        let mut inside = [[1.0; SIDE]; SIDE];
        let mut tolerance = LARGEST_TOLERANCE;
        let mut step = 0;
        loop {
            if cut(level, place, &mut value, &mut inside) {
                inside = [[1.0; SIDE]; SIDE];
            }
            let sums = self.sums(&value, &inside, light, tolerance);
            let [total, xx, xy, yy, xr, yr, squares, t, v, tt, tv] = sums;
            if total < 1.0 {
                return None;
            }
            // Ridge regression towards the light before.
            let (mean_t, mean_v) = (t / total, v / total);
            let spread = tt - t * mean_t;
            let believed = LIGHT_BELIEF * 0.01;
            light.gain = ((tv - t * mean_v + believed * before.gain) / (spread + believed)).clamp(0.3, 3.0);
            let bias = mean_v - light.gain * mean_t;
            light.bias = (total * bias + LIGHT_BELIEF * before.bias) / (total + LIGHT_BELIEF);
            tolerance = (2.5 * (squares / total).sqrt()).clamp(SMALLEST_TOLERANCE, LARGEST_TOLERANCE);
            let noise = bells.noise * bells.noise + ASTRAY * ASTRAY * (xx + yy) / total + ALL_ALIKE * total * bells.shading * bells.shading;
            let certain = light.gain * light.gain / noise;
            if step == steps {
                let misfit = self.misfit(&value, &inside, light, bells);
                let information = self.information_in_lanes(bells) * light.gain * light.gain;
                return Some(Fit { place, light, misfit, information, residual: (squares / total).sqrt(), shift: mean_v - mean_t });
            }
            let (mut a, b, mut c) = (xx * certain, xy * certain, yy * certain);
            let (mut p, mut q) = (-xr * certain / light.gain, -yr * certain / light.gain);
            // As much belief in what was known before as noise seems to say, and a breath more: what shows nothing stays.
            let doubt = (total * bells.false_slope() + 1e-5) * certain;
            let (known, precision) = prior.map_or((start, doubt), |prior| (prior.place, prior.precision + doubt));
            let way = known - place;
            (a, c) = (a + precision, c + precision);
            (p, q) = (p + precision * way.x, q + precision * way.y);
            let determinant = a * c - b * b;
            let way = Vec2::new(c * p - b * q, a * q - b * p) / determinant.max(1e-12);
            let way = if way.is_finite() { way.clamp_length_max(3.0) } else { Vec2::ZERO };
            place = start + (place + way - start).clamp_length_max(REACH);
            step = if way.length_squared() < SMALL_STEP * SMALL_STEP { steps } else { step + 1 };
        }
    }

    /// Robustly weighted sums: weight, slope products, slopes times residual, squared residual, and those of the light.
    #[inline(always)]
    fn sums(&self, value: &Pixels, inside: &Pixels, light: Light, tolerance: f32) -> [f32; 11] {
        let mut lanes = [[0.0f32; SIDE]; 11];
        let sharp = 1.0 / (tolerance * tolerance);
        for j in 1..SIDE - 1 {
            for i in 0..SIDE {
                let (t, v) = (self.value[j][i], value[j][i]);
                let (x, y) = (self.slope_x[j][i], self.slope_y[j][i]);
                let r = v - (light.gain * t + light.bias);
                // Geman and McClure.
                let doubt = 1.0 / (1.0 + r * r * sharp);
                let w = self.weight[j][i] * inside[j][i] * doubt * doubt;
                lanes[0][i] += w;
                lanes[1][i] += w * x * x;
                lanes[2][i] += w * x * y;
                lanes[3][i] += w * y * y;
                lanes[4][i] += w * x * r;
                lanes[5][i] += w * y * r;
                lanes[6][i] += w * r * r;
                lanes[7][i] += w * t;
                lanes[8][i] += w * v;
                lanes[9][i] += w * t * t;
                lanes[10][i] += w * t * v;
            }
        }
        totals(lanes)
    }

    /// See [`Fit::misfit`].
    #[inline(always)]
    fn misfit(&self, value: &Pixels, inside: &Pixels, light: Light, bells: &Bells) -> f32 {
        let allowed = (3.0 * bells.noise).clamp(0.003, MISFIT_NOISE);
        let (mut wrong, mut explained) = ([0.0f32; SIDE], [0.0f32; SIDE]);
        for j in 1..SIDE - 1 {
            for i in 0..SIDE {
                let r = value[j][i] - (light.gain * self.value[j][i] + light.bias);
                let steep = self.slope_x[j][i] * self.slope_x[j][i] + self.slope_y[j][i] * self.slope_y[j][i];
                let w = if self.weight[j][i] > 0.0 { bells.narrow[j][i] * inside[j][i] } else { 0.0 };
                wrong[i] += w * r * r;
                explained[i] += w * (allowed * allowed + 0.06 * steep);
            }
        }
        let [wrong, explained] = totals([wrong, explained]);
        (wrong / explained.max(1e-9)).sqrt()
    }
}

/// Sums over lanes, halving them: four steps instead of sixteen.
#[inline(always)]
pub(super) fn totals<const N: usize>(mut lanes: [[f32; SIDE]; N]) -> [f32; N] {
    let mut sums = [0.0; N];
    for (sum, lane) in sums.iter_mut().zip(&mut lanes) {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lane[i] += lane[i + half];
            }
        }
        *sum = lane[0];
    }
    sums
}

#[inline(always)]
fn smaller_eigenvalue(xx: f32, xy: f32, yy: f32) -> f32 {
    (0.5 * (xx + yy - ((xx - yy) * (xx - yy) + 4.0 * xy * xy).sqrt())).max(0.0)
}
