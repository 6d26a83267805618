//! Smooth hole filling by a spline in tension (Smith & Wessel, Gridding with continuous curvature splines in tension, Geophysics 55,
//! 1990): the surface through the known samples that bends least, held flat by a tension.
//!
//! What bends least is, for pictures, also the best guess that is linear in what is known: their power falls a little faster than the
//! square of the frequency, and the energy below weighs frequencies so. Coarse to fine, each level started from the one above and
//! improved by conjugate gradients where it is near what is known; deep inside the level above is as good. Invariants: known samples
//! come out bit for bit, unknown ones are never read; ramps go on as ramps; the same for any number of threads. Guarded by the tests below.

use super::distance::distance_px;
use crate::picture::{Grid, Mask};

/// Weight of slopes against curvature, per px squared: the best of 0.02 to 4 for holes of 8 to 40 px in photographs.
const TENSION: f32 = 0.3;
/// How far from what is known a level is improved, its own px.
const DEPTH: f32 = 12.0;
/// Steps of conjugate gradients per level: holes of 20 px end up as good as with any number, of 40 px 0.15 dB short.
const STEPS: usize = 48;
/// Where the square of the residual has fallen to this share, a level is done.
const ENOUGH: f32 = 1e-6;

/// `picture` with everything where `known` is below 0.5 filled from what is known around it. With nothing known at all, `picture` comes
/// back as it is.
pub fn tension_fill<const N: usize>(picture: &Grid<[f32; N]>, known: &Mask) -> Grid<[f32; N]> {
    debug_assert_eq!((picture.width, picture.height), (known.width, known.height));
    let known: Vec<bool> = known.data.iter().map(|k| *k >= 0.5).collect();
    if !known.contains(&true) {
        return picture.clone();
    }
    let mut levels = vec![Level { values: picture.clone(), known }];
    while let Some(level) = levels.last().filter(|level| level.known.contains(&false)) {
        let above = level.halved();
        levels.push(above);
    }
    let mut tension = TENSION * 4f32.powi(levels.len() as i32 - 1);
    let Some(mut filled) = levels.pop().map(|top| top.values) else { return picture.clone() };
    while let Some(mut level) = levels.pop() {
        tension /= 4.0;
        level.start_from(&filled);
        level.improve(tension);
        filled = level.values;
    }
    filled
}

/// A level of the pyramid; unknown values are this module's own guess.
struct Level<const N: usize> {
    values: Grid<[f32; N]>,
    known: Vec<bool>,
}

impl<const N: usize> Level<N> {
    /// Half the size: the mean of the known samples, known where any of the four is.
    fn halved(&self) -> Self {
        let Grid { width, height, .. } = self.values;
        let (wide, high) = (width.div_ceil(2), height.div_ceil(2));
        let mut known = vec![false; wide * high];
        let mut values = Grid::filled(wide, high, [0.0; N]);
        for (i, (mean, known)) in values.data.iter_mut().zip(&mut known).enumerate() {
            let (x, y) = (2 * (i % wide), 2 * (i / wide));
            let mut count = 0.0;
            for at in [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)].into_iter().filter(|(x, y)| *x < width && *y < height) {
                let at = at.1 * width + at.0;
                if self.known[at] {
                    count += 1.0;
                    (0..N).for_each(|c| mean[c] += self.values.data[at][c]);
                }
            }
            *known = count > 0.0;
            mean.iter_mut().for_each(|v| *v /= f32::max(count, 1.0));
        }
        Self { values, known }
    }

    fn start_from(&mut self, above: &Grid<[f32; N]>) {
        let width = self.values.width;
        for (i, value) in self.values.data.iter_mut().enumerate().filter(|(i, _)| !self.known[*i]) {
            *value = above.bilinear(((i % width) as f32 + 0.5) * 0.5, ((i / width) as f32 + 0.5) * 0.5);
        }
    }

    /// Conjugate gradients on the energy's unknown samples near known ones.
    fn improve(&mut self, tension: f32) {
        let stencil = Stencil::new(self);
        let free = stencil.free.len();
        let values = &mut self.values.data;
        let mut bend = vec![[0.0f32; N]; values.len()];
        let mut force = vec![[0.0f32; N]; free];
        stencil.apply(values, &mut bend, tension, &mut force);
        let mut residual: Vec<[f32; N]> = force.iter().map(|f| f.map(|v| -v)).collect();
        let mut step = vec![[0.0f32; N]; values.len()];
        stencil.free.iter().zip(&residual).for_each(|(at, r)| step[at.here()] = *r);
        let dot = |a: &mut dyn Iterator<Item = ([f32; N], [f32; N])>| {
            let mut sums = [0.0f64; N];
            a.for_each(|(a, b)| (0..N).for_each(|c| sums[c] += f64::from(a[c] * b[c])));
            sums.map(|sum| sum as f32)
        };
        let mut size = dot(&mut residual.iter().map(|r| (*r, *r)));
        let enough = size.map(|s| s * ENOUGH + 1e-12);
        for _ in 0..STEPS {
            if size.iter().zip(&enough).all(|(size, enough)| size <= enough) {
                break;
            }
            stencil.apply(&step, &mut bend, tension, &mut force);
            let along = dot(&mut stencil.free.iter().zip(&force).map(|(at, f)| (step[at.here()], *f)));
            let length: [f32; N] = std::array::from_fn(|c| if along[c] > 0.0 { size[c] / along[c] } else { 0.0 });
            for ((at, residual), force) in stencil.free.iter().zip(&mut residual).zip(&force) {
                let (value, step) = (&mut values[at.here()], &step[at.here()]);
                for c in 0..N {
                    value[c] += length[c] * step[c];
                    residual[c] -= length[c] * force[c];
                }
            }
            let now = dot(&mut residual.iter().map(|r| (*r, *r)));
            let keep: [f32; N] = std::array::from_fn(|c| if size[c] > 0.0 { now[c] / size[c] } else { 0.0 });
            for (at, residual) in stencil.free.iter().zip(&residual) {
                let step = &mut step[at.here()];
                (0..N).for_each(|c| step[c] = residual[c] + keep[c] * step[c]);
            }
            size = now;
        }
    }
}

/// A sample and its four neighbours, by index; one that would lie outside is the sample itself.
struct Cross([u32; 5]);

impl Cross {
    fn here(&self) -> usize {
        self.0[0] as usize
    }

    /// How much the sample sticks out of its neighbours.
    #[inline(always)]
    fn bend<const N: usize>(&self, values: &[[f32; N]]) -> [f32; N] {
        let [here, rest @ ..] = self.0.map(|i| values[i as usize]);
        std::array::from_fn(|c| 4.0 * here[c] - (rest[0][c] + rest[1][c] + rest[2][c] + rest[3][c]))
    }
}

/// Where a level is improved.
struct Stencil {
    /// Samples that may change.
    free: Vec<Cross>,
    /// These and their neighbours: where the bend depends on them.
    touched: Vec<Cross>,
}

impl Stencil {
    fn new<const N: usize>(level: &Level<N>) -> Self {
        let Grid { width, height, .. } = level.values;
        let away = distance_px(width, height, |x, y| level.known[y * width + x]);
        let free = |at: usize| !level.known[at] && away.data[at] <= DEPTH;
        let cross = |at: usize| {
            let (x, y) = (at % width, at / width);
            let or_here = |inside: bool, other: usize| if inside { other as u32 } else { at as u32 };
            Cross([
                at as u32,
                or_here(x > 0, at.wrapping_sub(1)),
                or_here(x + 1 < width, at + 1),
                or_here(y > 0, at.wrapping_sub(width)),
                or_here(y + 1 < height, at + width),
            ])
        };
        let mut stencil = Self { free: Vec::new(), touched: Vec::new() };
        for at in 0..width * height {
            let cross = cross(at);
            if cross.0.iter().any(|i| free(*i as usize)) {
                if free(at) {
                    stencil.free.push(Cross(cross.0));
                }
                stencil.touched.push(cross);
            }
        }
        stencil
    }

    /// The energy's gradient at the free samples, `bend` being room to work in that is 0 elsewhere.
    fn apply<const N: usize>(&self, values: &[[f32; N]], bend: &mut [[f32; N]], tension: f32, out: &mut [[f32; N]]) {
        self.touched.iter().for_each(|at| bend[at.here()] = at.bend(values));
        for (out, at) in out.iter_mut().zip(&self.free) {
            let (own, bent) = (bend[at.here()], at.bend(bend));
            *out = std::array::from_fn(|c| bent[c] + tension * own[c]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disc(width: usize, height: usize, radius: f32) -> Mask {
        Mask::from_fn(width, height, |x, y| f32::from((x as f32 - 0.45 * width as f32).hypot(y as f32 - 0.5 * height as f32) > radius))
    }

    fn largest_error<const N: usize>(a: &Grid<[f32; N]>, b: &Grid<[f32; N]>) -> f32 {
        a.data.as_flattened().iter().zip(b.data.as_flattened()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn known_samples_stay_and_unknown_ones_are_never_read() {
        let known = disc(61, 47, 14.0);
        let truth = Grid::from_fn(61, 47, |x, y| [(x * 7 % 13) as f32 / 13.0, y as f32 / 47.0]);
        let hidden = Grid::from_fn(61, 47, |x, y| if known.at(x, y) > 0.0 { truth.at(x, y) } else { [f32::NAN; 2] });
        let filled = tension_fill(&hidden, &known);
        for i in 0..truth.data.len() {
            match known.data[i] > 0.0 {
                true => assert_eq!(filled.data[i], truth.data[i]),
                false => assert!(filled.data[i].iter().all(|v| (-0.5..=1.5).contains(v))),
            }
        }
        assert_eq!(tension_fill(&truth, &Mask::filled(61, 47, 0.0)), truth);
        assert_eq!(tension_fill(&truth, &Mask::filled(61, 47, 1.0)), truth);
    }

    #[test]
    fn a_ramp_goes_on_through_a_hole() {
        let ramp = Grid::from_fn(64, 64, |x, y| [x as f32 / 64.0, 0.3 + y as f32 / 128.0 - x as f32 / 200.0]);
        for radius in [2.0, 9.0, 24.0] {
            let error = largest_error(&tension_fill(&ramp, &disc(64, 64, radius)), &ramp);
            assert!(error < 0.01, "{radius}: {error}");
        }
    }

    #[test]
    fn it_is_nearly_the_surface_of_least_energy() {
        let truth = Grid::from_fn(72, 60, |x, y| [(x as f32 * 0.21).sin() * (y as f32 * 0.13).cos(), f32::from(x + y > 64)]);
        for radius in [3.0, 10.0, 20.0] {
            let known = disc(72, 60, radius);
            let filled = tension_fill(&truth, &known);
            // Plain descent from there, for long, everywhere in the hole.
            let mut settled = filled.clone();
            let at = |g: &Grid<[f32; 2]>, x: isize, y: isize, c: usize| g.clamped(x, y)[c];
            for _ in 0..4000 {
                let bend = Grid::from_fn(72, 60, |x, y| {
                    let (x, y) = (x as isize, y as isize);
                    [0, 1].map(|c| {
                        4.0 * at(&settled, x, y, c)
                            - at(&settled, x - 1, y, c)
                            - at(&settled, x + 1, y, c)
                            - at(&settled, x, y - 1, c)
                            - at(&settled, x, y + 1, c)
                    })
                });
                settled = Grid::from_fn(72, 60, |x, y| {
                    if known.at(x, y) > 0.0 {
                        return settled.at(x, y);
                    }
                    let (u, v) = (x as isize, y as isize);
                    [0, 1].map(|c| {
                        let own = at(&bend, u, v, c);
                        let around = at(&bend, u - 1, v, c) + at(&bend, u + 1, v, c) + at(&bend, u, v - 1, c) + at(&bend, u, v + 1, c);
                        settled.at(x, y)[c] - (4.0 * own - around + TENSION * own) / 34.0
                    })
                });
            }
            let error = largest_error(&filled, &settled);
            assert!(error < 0.08, "{radius}: {error}");
        }
    }
}
