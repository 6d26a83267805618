//! Direct registration: a similarity and a change of light found from every pixel at once (inverse compositional, robust; Odobez and
//! Bouthemy 1995). Stripes, a faint vignette or two edges far apart tell nothing at one place, but together they tell the motion.
//!
//! Invariant: sums are taken row by row in a fixed order, so the result does not depend on the number of threads; a motion is always
//! finite and neither collapses nor turns over. Guarded by the tests below.

use glam::{Affine2, Mat2, Vec2};
use rayon::prelude::*;

use super::block::{Light, totals};
use super::pyramid::Pyramid;
use crate::kernels::vector::dispatch;
use crate::picture::Mask;

/// Pixels in one vector.
const LANES: usize = 16;
/// Unknowns: scale, turn, shift (2), gain, bias.
const N: usize = 6;
/// Sums per row: the upper triangle of the normal equations, their right side, weight, what tells and agrees, pixels inside.
const SUMS: usize = N * (N + 1) / 2 + N + 3;
/// Finest level has at most this many pixels: more cost time and tell nothing new.
const MOST_PIXELS: usize = 90_000;
/// How far a pixel's own motion may be off, px of the level: at first and at last. It bounds what a pixel says: a sharp outline counts as
/// much as a faint cloud of the same size.
const LOOSE: f32 = 0.6;
const STRICT: f32 = 0.15;
/// Deviations beyond which a pixel belongs to something else.
const FAR: f32 = 2.5;
/// Pixels that err together.
const TOGETHER: f64 = 30.0;
/// Deviation of gain and bias from one frame to the next.
const LIGHT_DEVIATION: f64 = 0.004;
/// Steps smaller than this end a level, px; starts nearer than that are one.
const SMALL_STEP: f32 = 0.01;
const SAME: f32 = 0.3;
/// Rows of a task.
const ROWS: usize = 32;
/// How much more is needed for another motion than for none.
const AT_REST: f32 = 1.3;

/// What is registered: a frame at a few sizes.
pub(super) struct Reference {
    levels: Vec<(i32, Mask)>,
    /// About which scale and turn are counted, px of the full size.
    middle: Vec2,
    /// Unit of the scale's and the turn's columns, px of the full size.
    reach: f32,
}

/// How a frame shows the reference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registered {
    /// Reference px to frame px, full size.
    pub motion: Affine2,
    pub light: Light,
    /// Pixels that tell something of the motion and agree with it.
    pub support: f32,
    /// Share of the reference's pixels inside the frame.
    pub inside: f32,
}

impl Reference {
    pub fn new(frame: &Pyramid) -> Self {
        let all = frame.levels.iter().enumerate().map(|(level, mask)| (level as i32, mask));
        let last = frame.levels.len() - 1;
        let levels = all.filter(|(level, mask)| mask.data.len() <= MOST_PIXELS || *level as usize == last).take(3);
        let size = Vec2::new(frame.levels[0].width as f32, frame.levels[0].height as f32);
        Self { levels: levels.map(|(level, mask)| (level, mask.clone())).collect(), middle: 0.5 * size, reach: 0.35 * size.max_element() }
    }

    /// Registered with `frame`, beginning with the best of `starts`, unless it shows the reference where it was.
    pub fn find(&self, frame: &Pyramid, starts: &[Affine2], light: Light, noise: f32) -> Option<Registered> {
        let coarse = self.levels.last()?;
        let at = |motion: Affine2| Registered { motion, light, support: 0.0, inside: 0.0 };
        let mut best: Option<Registered> = None;
        for (k, start) in starts.iter().enumerate() {
            if starts[..k].iter().any(|other| self.apart(*other, *start) < SAME) {
                continue;
            }
            let mut now = at(*start);
            for _ in 0..5 {
                // What is told is told of the place before the step.
                let before = now.motion;
                now = self.step(coarse, frame, &now, light, noise, LOOSE)?;
                if best.is_none_or(|best| now.support > best.support) {
                    best = Some(Registered { motion: before, ..now });
                }
            }
        }
        let mut now = best?;
        for (k, level) in self.levels.iter().enumerate().rev() {
            let rounds: &[(f32, usize)] = if k == 0 { &[(LOOSE, 3), (STRICT, 3)] } else { &[(LOOSE, 3)] };
            for (px, steps) in rounds {
                for _ in 0..*steps {
                    let before = now.motion;
                    now = self.step(level, frame, &now, light, noise, *px)?;
                    if self.apart(before, now.motion) < SMALL_STEP {
                        break;
                    }
                }
            }
        }
        let rest = self.step(&self.levels[0], frame, &at(Affine2::IDENTITY), light, noise, STRICT)?;
        Some(if AT_REST * rest.support > now.support { Registered { motion: Affine2::IDENTITY, ..rest } } else { now })
    }

    /// How far two motions are apart at most, about, px.
    fn apart(&self, a: Affine2, b: Affine2) -> f32 {
        let about = |p: Vec2| a.transform_point2(p).distance(b.transform_point2(p));
        about(Vec2::ZERO).max(about(2.0 * self.middle))
    }

    /// One step of Gauss and Newton, where a pixel may be `px` off; support and inside are those of the place before the step.
    fn step(
        &self,
        (level, mask): &(i32, Mask),
        frame: &Pyramid,
        now: &Registered,
        before: Light,
        noise: f32,
        px: f32,
    ) -> Option<Registered> {
        if mask.width < 3 || mask.height < 3 {
            return None;
        }
        let scale = 0.5f32.powi(*level);
        let view = View {
            reference: mask,
            frame: &frame.levels[*level as usize],
            motion: Affine2::from_mat2_translation(now.motion.matrix2, now.motion.translation * scale),
            light: now.light,
            middle: self.middle * scale,
            unit: 1.0 / (self.reach * scale),
            noise: noise * noise,
            off: px * px,
        };
        let rows: Vec<[f32; SUMS]> = (1..mask.height - 1)
            .into_par_iter()
            .with_min_len(ROWS)
            .map(|y| {
                dispatch(
                    #[inline(always)]
                    || view.row(y),
                )
            })
            .collect();
        let mut sums = [0.0f64; SUMS];
        rows.iter().for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value)));
        let [weight, holds, inside] = [3, 2, 1].map(|k| sums[SUMS - k]);
        if inside < 16.0 {
            return None;
        }
        let mut normal = [[0.0f64; N + 1]; N];
        let mut next = 0;
        for i in 0..N {
            for j in i..N {
                (normal[i][j], normal[j][i]) = (sums[next], sums[next]);
                next += 1;
            }
        }
        (0..N).for_each(|i| normal[i][N] = sums[next + i]);
        // Held back by what noise would say of the motion, and by what is known of the light.
        let doubt = 0.1 * weight * f64::from(noise * noise);
        (0..4).for_each(|i| normal[i][i] += doubt + 1e-3);
        let belief = TOGETHER / (LIGHT_DEVIATION * LIGHT_DEVIATION);
        let known = [f64::from(before.gain - now.light.gain), f64::from(before.bias - now.light.bias)];
        (4..N).for_each(|i| (normal[i][i], normal[i][N]) = (normal[i][i] + belief, normal[i][N] + belief * known[i - 4]));
        let way = solve(normal)?;
        let [grow, turn, x, y] = [0, 1, 2, 3].map(|i| way[i] as f32);
        let unit = view.unit;
        let shape = Mat2::from_cols(Vec2::new(1.0 + grow * unit, turn * unit), Vec2::new(-turn * unit, 1.0 + grow * unit));
        let change = Affine2::from_translation(self.middle + Vec2::new(x, y) / scale)
            * Affine2::from_mat2(shape)
            * Affine2::from_translation(-self.middle);
        let motion = now.motion * change.inverse();
        let determinant = motion.matrix2.determinant();
        if !motion.is_finite() || !(0.04..25.0).contains(&determinant) {
            return None;
        }
        let light =
            Light { gain: (now.light.gain + way[4] as f32).clamp(0.3, 3.0), bias: (now.light.bias + way[5] as f32).clamp(-1.0, 1.0) };
        let pixels = ((mask.width - 2) * (mask.height - 2)) as f64;
        Some(Registered { motion, light, support: holds as f32 / (scale * scale), inside: (inside / pixels) as f32 })
    }
}

/// One level's registration at one place.
struct View<'a> {
    reference: &'a Mask,
    frame: &'a Mask,
    motion: Affine2,
    light: Light,
    middle: Vec2,
    unit: f32,
    /// Variance of a pixel, luma^2, and of its own motion, px^2.
    noise: f32,
    off: f32,
}

impl View<'_> {
    /// The sums of one row of the reference.
    #[inline(always)]
    fn row(&self, y: usize) -> [f32; SUMS] {
        let (reference, frame) = (self.reference, self.frame);
        let width = reference.width;
        let of = |y: usize| &reference.data[y * width..][..width];
        let (above, here, below) = (of(y - 1), of(y), of(y + 1));
        let mut lanes = [[0.0f32; LANES]; SUMS];
        let along = self.motion.matrix2.x_axis;
        let (right, bottom) = (frame.width as f32 - 1.001, frame.height as f32 - 1.001);
        let mut x = 1;
        while x + 1 < width {
            let n = LANES.min(width - 1 - x);
            let start = self.motion.transform_point2(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)) - 0.5;
            let (mut corner, mut fx, mut fy, mut weight) = ([0usize; LANES], [0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
            for i in 0..LANES {
                let (px, py) = (start.x + along.x * i as f32, start.y + along.y * i as f32);
                let inside = i < n && px >= 0.0 && py >= 0.0 && px < right && py < bottom;
                let (px, py) = if inside { (px, py) } else { (0.0, 0.0) };
                let (x0, y0) = (px as i32, py as i32);
                (fx[i], fy[i]) = (px - x0 as f32, py - y0 as f32);
                corner[i] = y0 as usize * frame.width + x0 as usize;
                weight[i] = f32::from(u8::from(inside));
            }
            let mut corners = [[0.0f32; LANES]; 4];
            let (mut t, mut gx, mut gy) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
            for i in 0..LANES {
                if let (Some([a, b]), Some([c, d])) =
                    (frame.data.get(corner[i]..corner[i] + 2), frame.data.get(corner[i] + frame.width..corner[i] + frame.width + 2))
                {
                    (corners[0][i], corners[1][i], corners[2][i], corners[3][i]) = (*a, *b, *c, *d);
                }
            }
            for i in 0..n {
                t[i] = here[x + i];
                gx[i] = 0.5 * (here[x + i + 1] - here[x + i - 1]);
                gy[i] = 0.5 * (below[x + i] - above[x + i]);
            }
            let [a, b, c, d] = &corners;
            let v = (y as f32 + 0.5 - self.middle.y) * self.unit;
            for i in 0..LANES {
                let (upper, lower) = (a[i] + fx[i] * (b[i] - a[i]), c[i] + fx[i] * (d[i] - c[i]));
                let value = upper + fy[i] * (lower - upper);
                let r = value - (self.light.gain * t[i] + self.light.bias);
                let (gx, gy) = (self.light.gain * gx[i], self.light.gain * gy[i]);
                let moved = self.off * (gx * gx + gy * gy);
                let certain = 1.0 / (self.noise + moved);
                // Geman and McClure.
                let doubt = 1.0 / (1.0 + r * r * certain * (1.0 / (FAR * FAR)));
                let (doubt, telling) = (doubt * doubt, weight[i] * moved * certain);
                let w = weight[i] * doubt * certain;
                let u = (x as f32 + i as f32 + 0.5 - self.middle.x) * self.unit;
                let columns = [gx * u + gy * v, gy * u - gx * v, gx, gy, t[i], 1.0];
                let mut next = 0;
                for j in 0..N {
                    let weighted = w * columns[j];
                    for column in &columns[j..] {
                        lanes[next][i] += weighted * column;
                        next += 1;
                    }
                }
                for column in columns {
                    lanes[next][i] += w * r * column;
                    next += 1;
                }
                lanes[next][i] += w;
                lanes[next + 1][i] += telling * doubt;
                lanes[next + 2][i] += weight[i];
            }
            x += LANES;
        }
        totals(lanes)
    }
}

/// Gaussian elimination with pivots; none if singular.
fn solve(mut rows: [[f64; N + 1]; N]) -> Option<[f64; N]> {
    for i in 0..N {
        let pivot = (i..N).max_by(|a, b| rows[*a][i].abs().total_cmp(&rows[*b][i].abs()))?;
        rows.swap(i, pivot);
        if rows[i][i].abs() < 1e-12 {
            return None;
        }
        let top = rows[i];
        for row in &mut rows[i + 1..] {
            let factor = row[i] / top[i];
            row.iter_mut().zip(top).for_each(|(value, top)| *value -= factor * top);
        }
    }
    let mut way = [0.0; N];
    for i in (0..N).rev() {
        way[i] = (rows[i][N] - (i + 1..N).map(|j| rows[i][j] * way[j]).sum::<f64>()) / rows[i][i];
    }
    way.iter().all(|v| v.is_finite()).then_some(way)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn picture(p: Vec2) -> f32 {
        0.5 + 0.02 * (0.05 * p.x + 0.5).sin() * (0.04 * p.y).cos() + 0.02 * (0.3 * p.x + 0.1 * p.y).sin()
    }

    /// A faint picture moved by `motion`, under a sharp thing that is somewhere else.
    fn frame(motion: Affine2, light: Light, thing: Vec2) -> Pyramid {
        let mask = Mask::from_fn(150, 120, |x, y| {
            let p = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
            let q = p - thing;
            let covered = q.cmpgt(Vec2::splat(20.0)).all() && q.cmplt(Vec2::new(65.0, 80.0)).all();
            let bare = light.gain * picture(motion.inverse().transform_point2(p)) + light.bias;
            if covered { 0.4 + 0.3 * (0.9 * q.x).sin() * (0.8 * q.y).cos() } else { bare }
        });
        Pyramid::new(&mask, 4)
    }

    #[test]
    fn what_is_faint_and_wide_is_registered_beside_what_is_sharp() {
        let reference = Reference::new(&frame(Affine2::IDENTITY, Light::SAME, Vec2::ZERO));
        let motion = Affine2::from_scale_angle_translation(Vec2::splat(1.02), 0.015, Vec2::new(1.6, -2.1));
        let light = Light { gain: 1.0, bias: 0.004 };
        let now = frame(motion, light, Vec2::new(6.0, 3.0));
        let found = reference.find(&now, &[Affine2::IDENTITY], Light::SAME, 0.001).unwrap();
        for corner in [Vec2::ZERO, Vec2::new(150.0, 0.0), Vec2::new(0.0, 120.0), Vec2::new(150.0, 120.0)] {
            let off = found.motion.transform_point2(corner).distance(motion.transform_point2(corner));
            assert!(off < 0.6, "{off} px at {corner}: {found:?}");
        }
        // Nothing but the sharp thing moves.
        let still = frame(Affine2::IDENTITY, Light::SAME, Vec2::new(6.0, 3.0));
        assert_eq!(reference.find(&still, &[motion], Light::SAME, 0.001).unwrap().motion, Affine2::IDENTITY);
    }

    #[test]
    fn frames_too_small_or_blank_are_taken() {
        for (width, height) in [(1, 1), (2, 9), (3, 3), (40, 5)] {
            let blank = Pyramid::new(&Mask::filled(width, height, 0.3), 4);
            let found = Reference::new(&blank).find(&blank, &[Affine2::IDENTITY], Light::SAME, 0.0);
            assert!(found.is_none_or(|found| found.motion.is_finite()), "{width}x{height}: {found:?}");
        }
    }
}
