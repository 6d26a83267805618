//! A region drawn by hand becomes a soft matte, and the colour of what it holds is freed from what is behind it.
//!
//! The hand is off by a few px, so only a band around the region's border is decided anew: each pixel there is placed on the line
//! between the nearest sure foreground and background colours, and the result is smoothed along the picture's own edges by a guided
//! filter (He, Sun and Tang, Guided image filtering, 2013). Colours are unmixed as in blur-fusion (Forte, Approximate fast foreground
//! colour estimation, 2021), with pull-push for the blurs. All of it is O(pixels).
//! Invariant: outside the band the matte is 0 or 1, and where it is 1 the colour is the picture's, bit for bit. Guarded by the tests
//! below.

use rayon::prelude::*;

use super::distance::distance_px;
use super::pull_push::pull_push;
use crate::picture::{Grid, Mask, Picture};

/// Squared colour distance of foreground and background at which the picture decides as much as the drawn border does.
const CONTRAST: f32 = 0.01;
/// Regularisation of the guided filter, in squared colour units.
const EPSILON: f32 = 3e-4;
/// How far from the drawn border the matte is decided anew, in units of the radius.
pub const BAND: f32 = 1.5;

/// Depth inside the region's 0.5 contour in px, negative outside.
pub fn signed_depth(region: &Mask) -> Mask {
    let to_outside = distance_px(region.width, region.height, |x, y| region.at(x, y) <= 0.5);
    let to_inside = distance_px(region.width, region.height, |x, y| region.at(x, y) > 0.5);
    Mask::from_fn(
        region.width,
        region.height,
        |x, y| {
            if region.at(x, y) > 0.5 { to_outside.at(x, y) - 0.5 } else { 0.5 - to_inside.at(x, y) }
        },
    )
}

/// Whether a region fades out over a band wider than any drawn edge: a soft brush, whose layer bends instead of being cut out.
pub fn is_soft(region: &Mask, radius_px: f32) -> bool {
    let graded = region.data.iter().filter(|r| (0.02..0.98).contains(*r)).count();
    let inside = |x: usize, y: usize| region.at(x, y) > 0.5;
    let crossings: usize = (0..region.height)
        .map(|y| {
            let right = (1..region.width).filter(|&x| inside(x, y) != inside(x - 1, y)).count();
            let below = if y == 0 { 0 } else { (0..region.width).filter(|&x| inside(x, y) != inside(x, y - 1)).count() };
            right + below
        })
        .sum();
    // Counting crossings overestimates a border's length by 4/pi on average.
    graded as f32 > 2.5 * radius_px * crossings as f32 * 0.785 && graded > 0
}

/// What a hand drew, and what the guided filter makes of it.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Depth inside the drawn border, px; negative outside.
    pub depth: Mask,
    /// How far from the drawn border the matte is decided, px.
    pub band: f32,
    /// Colours of what is surely the object, continued everywhere ...
    pub foreground: Picture,
    /// ... and of what surely is not.
    pub background: Picture,
    /// The filter's matte, made firm; to be [`Drawn::settled`].
    pub filtered: Mask,
}

/// Places what `region` holds between its surroundings' colours and smooths it along edges: `radius_px` is how far from the drawn border the
/// true one may be.
pub fn drawn(picture: &Picture, region: &Mask, radius_px: f32) -> Drawn {
    let radius = radius_px.max(1.0);
    let band = radius * BAND;
    let depth = signed_depth(region);
    let (width, height) = (picture.width, picture.height);
    // What is sure, and the surer the farther from the drawn border.
    let sure = |sign: f32| Mask::from_fn(width, height, |x, y| ((sign * depth.at(x, y) - 0.5) / band).clamp(0.0, 1.0).powi(2));
    let [inside, outside] = [1.0, -1.0].map(sure);
    let (foreground, background) = (pull_push(picture, &inside), pull_push(picture, &outside));
    let placed = |foreground: &Picture, background: &Picture| {
        Mask::from_fn(width, height, |x, y| {
            let d = depth.at(x, y);
            if d.abs() >= band {
                return f32::from(d > 0.0);
            }
            let (i, f, b) = (picture.at(x, y), foreground.at(x, y), background.at(x, y));
            let dot = |a: [f32; 3], b: [f32; 3]| (0..3).map(|c| a[c] * b[c]).sum::<f32>();
            let line: [f32; 3] = std::array::from_fn(|c| f[c] - b[c]);
            let away: [f32; 3] = std::array::from_fn(|c| i[c] - b[c]);
            let contrast = dot(line, line);
            let placed = (dot(away, line) / contrast.max(1e-6)).clamp(0.0, 1.0);
            let off: [f32; 3] = std::array::from_fn(|c| away[c] - placed * line[c]);
            // A colour far from the line belongs to a texture that the two means do not describe: trust the hand there.
            let trust = contrast / (contrast + CONTRAST + 2.0 * dot(off, off));
            let drawn = (0.5 + d / radius).clamp(0.0, 1.0);
            trust * placed + (1.0 - trust) * drawn
        })
    };
    // What turned out to be the other side is not sure any more.
    let first = placed(&foreground, &background);
    let inside = Mask::from_fn(width, height, |x, y| inside.at(x, y) * first.at(x, y));
    let outside = Mask::from_fn(width, height, |x, y| outside.at(x, y) * (1.0 - first.at(x, y)));
    let rough = placed(&pull_push(picture, &inside), &pull_push(picture, &outside));
    let mut filtered = guided_filter(picture, &rough, (radius.ceil() as usize).max(2), EPSILON);
    // The filter leaves a veil near 0 and a thin spot near 1; both would be seen moving.
    let low = 0.12;
    filtered.data.iter_mut().for_each(|v| *v = ((*v - low) / (1.0 - 2.0 * low)).clamp(0.0, 1.0));
    Drawn { depth, band, foreground, background, filtered }
}

impl Drawn {
    /// Whether the matte of a pixel is decided, rather than as drawn.
    pub fn in_band(&self, x: usize, y: usize) -> bool {
        self.depth.at(x, y).abs() < self.band
    }

    /// How much of a pixel's matte is as drawn, 0..1: more and more towards the end of the band, all beyond it.
    pub fn fixed(&self, x: usize, y: usize) -> f32 {
        smoothstep(0.6, 1.0, self.depth.at(x, y).abs() / self.band)
    }

    /// The matte of a pixel for which the picture says `alpha`.
    pub fn settled(&self, x: usize, y: usize, alpha: f32) -> f32 {
        let drawn = f32::from(self.depth.at(x, y) > 0.0);
        let alpha = alpha.clamp(0.0, 1.0);
        if self.in_band(x, y) { alpha + self.fixed(x, y) * (drawn - alpha) } else { drawn }
    }

    /// The same of the picture turned by 180 degrees.
    pub fn turned(&self) -> Self {
        let Self { depth, band, foreground, background, filtered } = self;
        let (foreground, background) = (foreground.turned(), background.turned());
        Self { depth: depth.turned(), band: *band, foreground, background, filtered: filtered.turned() }
    }

    /// The filter's matte, 0..1.
    pub fn matte(&self) -> Mask {
        Mask::from_fn(self.depth.width, self.depth.height, |x, y| self.settled(x, y, self.filtered.at(x, y)))
    }
}

/// The colour that `matte` weighs, unmixed from the background and continued outwards to the whole picture; `hidden` is 1 where
/// something lies in front of it, so that nothing there is taken for it.
pub fn foreground_colour(picture: &Picture, matte: &Mask, hidden: Option<&Mask>) -> Picture {
    let seen = |i: usize| hidden.map_or(1.0, |h| f32::from(h.data[i] <= 0.0));
    let weigh = |f: &(dyn Fn(f32) -> f32 + Sync)| Mask {
        width: matte.width,
        height: matte.height,
        data: (0..matte.data.len()).into_par_iter().map(|i| f(matte.data[i]) * seen(i)).collect(),
    };
    let foreground = pull_push(picture, &weigh(&|a| if a >= 1.0 { 1.0 } else { a.powi(4) * 0.5 }));
    let background = pull_push(picture, &weigh(&|a| if a <= 0.0 { 1.0 } else { (1.0 - a).powi(4) * 0.5 }));
    Picture::from_fn(picture.width, picture.height, |x, y| {
        let i = y * picture.width + x;
        let (a, colour) = (matte.data[i], picture.data[i]);
        let (f, b) = (foreground.data[i], background.data[i]);
        if a >= 1.0 && seen(i) > 0.0 {
            colour
        } else if a <= 0.0 || seen(i) == 0.0 {
            f
        } else {
            std::array::from_fn(|c| (f[c] + a * (colour[c] - a * f[c] - (1.0 - a) * b[c])).clamp(0.0, 1.0))
        }
    })
}

/// `signal` smoothed along the edges of `guide` (He et al. 2013, colour guide), windows of `2 radius + 1` px.
pub fn guided_filter(guide: &Picture, signal: &Mask, radius: usize, epsilon: f32) -> Mask {
    let moments = Grid::from_fn(guide.width, guide.height, |x, y| {
        // Centred colours keep the running sums precise.
        let ([r, g, b], p) = (guide.at(x, y).map(|v| v - 0.5), signal.at(x, y));
        [r, g, b, p, r * p, g * p, b * p, r * r, r * g, r * b, g * g, g * b, b * b]
    });
    let means = box_mean(&moments, radius);
    let lines = Grid {
        width: means.width,
        height: means.height,
        data: means
            .data
            .par_iter()
            .map(|m| {
                let [r, g, b, p, rp, gp, bp, rr, rg, rb, gg, gb, bb] = *m;
                let covariance = glam::Mat3::from_cols_array(&[
                    rr - r * r + epsilon,
                    rg - r * g,
                    rb - r * b,
                    rg - r * g,
                    gg - g * g + epsilon,
                    gb - g * b,
                    rb - r * b,
                    gb - g * b,
                    bb - b * b + epsilon,
                ]);
                let a = covariance.inverse() * glam::Vec3::new(rp - r * p, gp - g * p, bp - b * p);
                let a = if a.is_finite() { a } else { glam::Vec3::ZERO };
                [a.x, a.y, a.z, p - a.dot(glam::Vec3::new(r, g, b))]
            })
            .collect(),
    };
    let lines = box_mean(&lines, radius);
    Mask::from_fn(guide.width, guide.height, |x, y| {
        let ([r, g, b], [ar, ag, ab, offset]) = (guide.at(x, y).map(|v| v - 0.5), lines.at(x, y));
        (ar * r + ag * g + ab * b + offset).clamp(0.0, 1.0)
    })
}

/// Mean over windows of `2 radius + 1` px, cut off at the border, by running sums that start anew every [`STRIP`] rows.
pub fn box_mean<const N: usize>(grid: &Grid<[f32; N]>, radius: usize) -> Grid<[f32; N]> {
    const STRIP: usize = 64;
    let (width, height) = (grid.width, grid.height);
    let add = |sum: &mut [f32; N], value: &[f32; N], sign: f32| (0..N).for_each(|c| sum[c] += sign * value[c]);
    let mut across = Grid::filled(width, height, [0.0; N]);
    across.data.par_chunks_mut(width.max(1)).zip(grid.data.par_chunks(width.max(1))).for_each(|(out, row)| {
        let mut sum = [0.0; N];
        row[..radius.min(width)].iter().for_each(|v| add(&mut sum, v, 1.0));
        for x in 0..width {
            if x + radius < width {
                add(&mut sum, &row[x + radius], 1.0);
            }
            if x > radius {
                add(&mut sum, &row[x - radius - 1], -1.0);
            }
            let count = (x + radius + 1).min(width) - x.saturating_sub(radius);
            out[x] = sum.map(|s| s / count as f32);
        }
    });
    let mut mean = Grid::filled(width, height, [0.0; N]);
    mean.data.par_chunks_mut((width * STRIP).max(1)).enumerate().for_each(|(strip, out)| {
        let first = strip * STRIP;
        let mut sums = vec![[0.0; N]; width];
        let take = |sums: &mut [[f32; N]], y: usize, sign: f32| {
            sums.iter_mut().zip(&across.data[y * width..]).for_each(|(sum, v)| add(sum, v, sign));
        };
        (first.saturating_sub(radius)..(first + radius).min(height)).for_each(|y| take(&mut sums, y, 1.0));
        for (k, row) in out.chunks_mut(width.max(1)).enumerate() {
            let y = first + k;
            if y + radius < height {
                take(&mut sums, y + radius, 1.0);
            }
            if k > 0 && y > radius {
                take(&mut sums, y - radius - 1, -1.0);
            }
            let count = (y + radius + 1).min(height) - y.saturating_sub(radius);
            row.iter_mut().zip(&sums).for_each(|(m, s)| *m = s.map(|s| s / count as f32));
        }
    });
    mean
}

/// 0 below `low`, 1 above `high`, smooth between.
pub fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disc with an antialiased edge over a gradient, its true alpha, and the disc as a careless hand would draw it.
    fn disc() -> (Picture, Mask, Mask) {
        let depth = |x: usize, y: usize| 20.0 - (x as f32 + 0.5 - 40.0).hypot(y as f32 + 0.5 - 36.0);
        let alpha = Mask::from_fn(80, 72, |x, y| (depth(x, y) / 2.0 + 0.5).clamp(0.0, 1.0));
        let picture = Picture::from_fn(80, 72, |x, y| {
            let (a, stripe) = (alpha.at(x, y), 0.06 * ((x * 5 + y * 3) % 4) as f32);
            let (f, b) = ([0.8 - stripe, 0.3, 0.1 + stripe], [0.1 + x as f32 * 0.004, 0.5, 0.3 + y as f32 * 0.005]);
            std::array::from_fn(|c| a * f[c] + (1.0 - a) * b[c])
        });
        let region = Mask::from_fn(80, 72, |x, y| f32::from(depth(x, y) > 2.0 * (x as f32 * 0.31).sin()));
        (picture, alpha, region)
    }

    #[test]
    fn a_careless_region_becomes_nearly_the_true_alpha() {
        let (picture, alpha, region) = disc();
        let matte = drawn(&picture, &region, 4.0).matte();
        let error = |m: &Mask| m.data.iter().zip(&alpha.data).map(|(a, b)| (a - b).abs()).sum::<f32>() / alpha.data.len() as f32;
        assert!(error(&matte) * 4.0 < error(&region), "{} {}", error(&matte), error(&region));
        let depth = signed_depth(&region);
        for i in (0..depth.data.len()).filter(|&i| depth.data[i].abs() >= 6.0) {
            assert_eq!(matte.data[i], f32::from(depth.data[i] > 0.0));
        }
    }

    #[test]
    fn the_background_is_taken_out_of_the_edge_colours() {
        let (picture, alpha, _) = disc();
        let colour = foreground_colour(&picture, &alpha, None);
        for i in 0..alpha.data.len() {
            if alpha.data[i] >= 1.0 {
                assert_eq!(colour.data[i], picture.data[i]);
            } else if alpha.data[i] > 0.1 {
                assert!((colour.data[i][1] - 0.3).abs() < 0.03, "{:?} at alpha {}", colour.data[i], alpha.data[i]);
            }
        }
    }

    #[test]
    fn only_a_wide_brush_is_soft() {
        let disc =
            |edge: f32| Mask::from_fn(90, 90, |x, y| ((30.0 - (x as f32 - 45.0).hypot(y as f32 - 45.0)) / edge + 0.5).clamp(0.0, 1.0));
        assert!(!is_soft(&disc(0.5), 4.0) && !is_soft(&disc(3.0), 4.0) && is_soft(&disc(30.0), 4.0));
    }

    #[test]
    fn box_means_equal_the_sums_they_stand_for() {
        let grid = Grid::from_fn(37, 150, |x, y| [((x * 13 + y * 7) % 29) as f32]);
        let mean = box_mean(&grid, 3);
        for (x, y) in [(0, 0), (36, 149), (5, 63), (20, 64), (8, 131), (30, 2)] {
            let (mut sum, mut count) = (0.0, 0.0);
            for v in y.max(3) - 3..(y + 4usize).min(150) {
                for u in x.max(3) - 3..(x + 4usize).min(37) {
                    sum += grid.at(u, v)[0];
                    count += 1.0;
                }
            }
            assert!((mean.at(x, y)[0] - sum / count).abs() < 1e-3, "{x} {y}");
        }
    }
}
