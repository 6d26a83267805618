//! Smart selection: a scribble grows to the object it lies on, as in Bai and Sapiro, "A geodesic framework for fast interactive image
//! and video segmentation and matting" (2007).
//!
//! Colour models of what was scribbled inside and outside give each pixel a likelihood; a pixel belongs to the side to which the way is
//! shorter, where a step costs what the likelihood changes on it. Invariants: scribbled pixels keep their side; the same scribbles give
//! the same mask for any number of threads. Guarded by the tests below.

use glam::Vec2;
use rayon::prelude::*;

use super::outline::grid_size;
use super::raster::brush;
use super::region::Placement;
use crate::picture::{Mask, Picture};

/// Longer side of the picture that is searched, px.
const LONGER_SIDE: usize = 512;
/// Bins of the colour models per axis.
const BINS: usize = 24;
/// Largest opponent colour that has bins of its own (Oklab).
const CHROMA: f32 = 0.22;
/// What a step costs by the change of likelihood, by that of colour, and by its length (of the longer side).
const COSTS: [f32; 3] = [1.0, 0.35, 0.35];
/// What a step costs more, per longer side, where the likelihood speaks for the other side.
const FOREIGN: f32 = 6.0;
/// Forth and back over the picture this often; distances that still shrink after that are far from any border.
const SWEEPS: usize = 3;

/// A round brush drawn along points, picture px.
#[derive(Clone, Debug, PartialEq)]
pub struct Scribble {
    /// Where it went; one point or more.
    pub points: Vec<Vec2>,
    /// Its radius.
    pub radius: f32,
}

/// A picture made ready to be selected in.
#[derive(Clone, Debug)]
pub struct Selector {
    placement: Placement,
    /// Oklab.
    colors: Vec<[f32; 3]>,
}

impl Selector {
    /// Prepares `picture`; one with no pixels gives empty masks.
    pub fn new(picture: &Picture) -> Self {
        let size = (picture.width, picture.height);
        let grid = grid_size(size, LONGER_SIDE);
        let small = if size.0 == 0 || size.1 == 0 { Picture::filled(1, 1, [0.0; 3]) } else { picture.resized(grid.0, grid.1) };
        let colors = small.data.par_iter().map(|rgb| oklab(*rgb)).collect();
        Self { placement: Placement::stretch((size.0.max(1), size.1.max(1)), grid), colors }
    }

    /// Mask px per picture px.
    pub fn scale(&self) -> Vec2 {
        self.placement.scale
    }

    /// The selected part on the grid of [`Selector::scale`]: its border lies where the value is one half. Without scribbles outside, the
    /// picture's border is outside; without any inside, the mask is empty.
    pub fn select(&self, inside: &[Scribble], outside: &[Scribble]) -> Mask {
        let (width, height) = self.placement.scene;
        let mut seeds = [self.seeds(inside), self.seeds(outside)];
        // Where both were drawn, the later thought counts: outside.
        let taken = std::mem::take(&mut seeds[0]);
        seeds[0] = taken.iter().zip(&seeds[1]).map(|(a, b)| *a && !b).collect();
        if !seeds[0].contains(&true) {
            return Mask::filled(width, height, 0.0);
        }
        if !seeds[1].contains(&true) {
            let on_border = |i: usize| i < width || i >= width * (height - 1) || i % width == 0 || i % width == width - 1;
            seeds[1] = seeds[0].iter().enumerate().map(|(i, inside)| on_border(i) && !inside).collect();
        }
        let models = [Model::of(&self.colors, &seeds[0]), Model::of(&self.colors, &seeds[1])];
        let likelihood: Vec<f32> = self
            .colors
            .par_iter()
            .map(|color| {
                let [a, b] = [&models[0], &models[1]].map(|model| model.at(*color) + 1e-3);
                a / (a + b)
            })
            .collect();
        let (near, far) = rayon::join(|| self.distances(&seeds[0], &likelihood, false), || self.distances(&seeds[1], &likelihood, true));
        let side = Mask {
            width,
            height,
            data: near.iter().zip(&far).map(|(near, far)| if near + far > 0.0 { far / (near + far) } else { 0.5 }).collect(),
        };
        // A soft step at the border: the mean of nine, sharpened around one half, takes the stairs away.
        let smooth = Mask::from_fn(width, height, |x, y| {
            let mean = (0..9).map(|i| side.clamped(x as isize + i % 3 - 1, y as isize + i / 3 - 1)).sum::<f32>() / 9.0;
            (0.5 + (mean - 0.5) * 4.0).clamp(0.0, 1.0)
        });
        let data = smooth.data.iter().zip(seeds[0].iter().zip(&seeds[1]));
        Mask {
            data: data
                .map(|(value, (inside, outside))| {
                    if *inside {
                        1.0
                    } else if *outside {
                        0.0
                    } else {
                        *value
                    }
                })
                .collect(),
            ..smooth
        }
    }

    fn seeds(&self, scribbles: &[Scribble]) -> Vec<bool> {
        let (width, height) = self.placement.scene;
        let mut seeds = vec![false; width * height];
        for scribble in scribbles.iter().filter(|scribble| !scribble.points.is_empty()) {
            let points: Vec<(f32, f32)> = scribble.points.iter().map(|point| (*point).into()).collect();
            // However thin it is drawn, a scribble holds pixels.
            let radius = scribble.radius.max(0.75 / self.placement.scale.min_element());
            let mask = brush(&points, radius, 0.0, &self.placement);
            seeds.iter_mut().zip(&mask.data).for_each(|(seed, value)| *seed |= *value >= 0.5);
        }
        seeds
    }

    /// The cheapest way from the seeds to each pixel (raster scans, as in Toivanen 1996).
    fn distances(&self, seeds: &[bool], likelihood: &[f32], outside: bool) -> Vec<f32> {
        let (width, height) = self.placement.scene;
        let length = 1.0 / width.max(height) as f32;
        let foreign: Vec<f32> =
            likelihood.iter().map(|inside| length * (COSTS[2] + FOREIGN * if outside { *inside } else { 1.0 - inside })).collect();
        let mut distances: Vec<f32> = seeds.iter().map(|seed| if *seed { 0.0 } else { f32::INFINITY }).collect();
        let step = |distances: &[f32], from: usize, to: usize, px: f32| {
            let color = self.colors[from].iter().zip(&self.colors[to]).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
            distances[from] + COSTS[0] * (likelihood[from] - likelihood[to]).abs() + COSTS[1] * color + foreign[to] * px
        };
        const DIAGONAL: f32 = std::f32::consts::SQRT_2;
        for _ in 0..SWEEPS {
            for y in 0..height {
                for x in 0..width {
                    let to = y * width + x;
                    let mut best = distances[to];
                    if x > 0 {
                        best = best.min(step(&distances, to - 1, to, 1.0));
                    }
                    if y > 0 {
                        best = best.min(step(&distances, to - width, to, 1.0));
                        if x > 0 {
                            best = best.min(step(&distances, to - width - 1, to, DIAGONAL));
                        }
                        if x + 1 < width {
                            best = best.min(step(&distances, to - width + 1, to, DIAGONAL));
                        }
                    }
                    distances[to] = best;
                }
            }
            for y in (0..height).rev() {
                for x in (0..width).rev() {
                    let to = y * width + x;
                    let mut best = distances[to];
                    if x + 1 < width {
                        best = best.min(step(&distances, to + 1, to, 1.0));
                    }
                    if y + 1 < height {
                        best = best.min(step(&distances, to + width, to, 1.0));
                        if x > 0 {
                            best = best.min(step(&distances, to + width - 1, to, DIAGONAL));
                        }
                        if x + 1 < width {
                            best = best.min(step(&distances, to + width + 1, to, DIAGONAL));
                        }
                    }
                    distances[to] = best;
                }
            }
        }
        distances
    }
}

/// A smoothed histogram of colours; the greatest value is 1.
struct Model {
    bins: Vec<f32>,
}

impl Model {
    fn of(colors: &[[f32; 3]], seeds: &[bool]) -> Self {
        let mut bins = vec![0.0_f32; BINS * BINS * BINS];
        for color in colors.iter().zip(seeds).filter(|(_, seed)| **seed).map(|(color, _)| color) {
            let [l, a, b] = bin(*color).map(|at| at.round() as usize);
            bins[(l * BINS + a) * BINS + b] += 1.0;
        }
        // Twice a binomial of five along each axis: a bell of about 1.4 bins.
        for stride in [1, BINS, BINS * BINS, 1, BINS, BINS * BINS] {
            let before = bins.clone();
            let last = BINS as isize - 1;
            for (i, value) in bins.iter_mut().enumerate() {
                let at = (i / stride % BINS) as isize;
                let near = |step: isize| before[(i as isize + ((at + step).clamp(0, last) - at) * stride as isize) as usize];
                *value = (near(-2) + 4.0 * near(-1) + 6.0 * near(0) + 4.0 * near(1) + near(2)) / 16.0;
            }
        }
        let total: f32 = bins.iter().sum();
        if total > 0.0 {
            bins.iter_mut().for_each(|value| *value /= total);
        }
        Self { bins }
    }

    /// Between the bins.
    fn at(&self, color: [f32; 3]) -> f32 {
        let place = bin(color);
        let low = place.map(|at| (at as usize).min(BINS - 2));
        let part = [0, 1, 2].map(|axis| place[axis] - low[axis] as f32);
        (0..8)
            .map(|corner| {
                let up = [corner >> 2 & 1, corner >> 1 & 1, corner & 1];
                let weight: f32 = (0..3).map(|axis| if up[axis] == 1 { part[axis] } else { 1.0 - part[axis] }).product();
                weight * self.bins[((low[0] + up[0]) * BINS + low[1] + up[1]) * BINS + low[2] + up[2]]
            })
            .sum()
    }
}

/// A colour's place among the bins, 0 to the last.
fn bin([l, a, b]: [f32; 3]) -> [f32; 3] {
    let chroma = |value: f32| (value / CHROMA * 0.5 + 0.5).clamp(0.0, 1.0);
    [l.clamp(0.0, 1.0), chroma(a), chroma(b)].map(|part| part * (BINS - 1) as f32)
}

/// Ottosson's Oklab of an sRGB-encoded colour.
pub(super) fn oklab(rgb: [f32; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(|value| {
        let value = if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    let l = (0.412_221_47 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
    let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
    let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::media::picture_file::load_picture;
    use crate::motion::outline::region_of;
    use crate::motion::project::Project;
    use crate::motion::region::Region;
    use std::path::Path;

    fn scribble(points: &[(f32, f32)], radius: f32) -> Scribble {
        Scribble { points: points.iter().map(|point| Vec2::from(*point)).collect(), radius }
    }

    fn iou(a: &Mask, b: &Mask) -> f32 {
        let sum = |f: fn(f32, f32) -> f32| a.data.iter().zip(&b.data).map(|(a, b)| f(*a, *b)).sum::<f32>();
        sum(f32::min) / sum(f32::max)
    }

    /// A noisy blue disc on a noisy, shaded ground.
    fn disc_picture(width: usize, height: usize, center: Vec2, radius: f32) -> Picture {
        Picture::from_fn(width, height, |x, y| {
            let noise = ((x * 7919 + y * 104_729 + x * y * 17) % 101) as f32 / 101.0 * 0.08;
            let inside = center.distance(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)) < radius;
            if inside { [0.2 + noise, 0.3, 0.7 + noise] } else { [0.5 + x as f32 / width as f32 * 0.3, 0.45 + noise, 0.3] }
        })
    }

    #[test]
    fn a_scribble_on_a_disc_selects_the_disc() {
        let (center, radius) = (Vec2::new(130.0, 100.0), 55.0);
        let picture = disc_picture(300, 220, center, radius);
        let mask = Selector::new(&picture).select(&[scribble(&[(110.0, 100.0), (150.0, 105.0)], 4.0)], &[]);
        let truth =
            Mask::from_fn(300, 220, |x, y| f32::from(u8::from(center.distance(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)) < radius)));
        assert!(iou(&mask, &truth) > 0.95, "{}", iou(&mask, &truth));
        // The same through the outline, for a picture that is searched at half its size.
        let large = disc_picture(1024, 700, Vec2::new(500.0, 300.0), 180.0);
        let selector = Selector::new(&large);
        assert_eq!(selector.scale(), Vec2::splat(0.5));
        let region = region_of(&selector.select(&[scribble(&[(450.0, 300.0), (560.0, 320.0)], 9.0)], &[]), selector.scale(), 0.0).unwrap();
        let truth = Region::Disc { center: (500.0, 300.0), radius: 180.0, softness: 0.0 };
        let [found, truth] = [&region, &truth].map(|region| region.rasterize(1024, 700, Path::new(".")).unwrap());
        assert!(iou(&found, &truth) > 0.95, "{}", iou(&found, &truth));
    }

    #[test]
    fn scribbles_keep_their_side_and_outside_ones_take_away() {
        let picture = disc_picture(200, 200, Vec2::splat(100.0), 60.0);
        let selector = Selector::new(&picture);
        let inside = [scribble(&[(100.0, 60.0), (100.0, 140.0)], 3.0)];
        let outside = [scribble(&[(60.0, 100.0), (60.0, 101.0)], 3.0)];
        let alone = selector.select(&inside, &[]);
        let both = selector.select(&inside, &outside);
        assert!(alone.at(60, 100) > 0.9 && both.at(60, 100) == 0.0 && both.at(100, 100) == 1.0);
        assert!(selector.select(&[], &outside).data.iter().all(|value| *value == 0.0));
        assert!(selector.select(&[scribble(&[], 3.0)], &[]).data.iter().all(|value| *value == 0.0));
        // Scribbles beyond the picture and pictures of one pixel are no trouble.
        assert!(selector.select(&[scribble(&[(-900.0, 4000.0)], 3.0)], &[]).data.iter().all(|value| *value == 0.0));
        assert_eq!(Selector::new(&Picture::filled(1, 1, [0.5; 3])).select(&[scribble(&[(0.5, 0.5)], 1.0)], &[]).data, [1.0]);
    }

    /// Scribbles an artist would draw on the demo pictures, against the outlines drawn by hand in the presets.
    #[test]
    fn objects_of_the_demo_pictures_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let cases: [(&str, usize, Vec<Scribble>, Vec<Scribble>, f32); 2] = [
            (
                "coffee",
                1,
                vec![
                    scribble(&[(190.0, 120.0), (215.0, 200.0), (290.0, 262.0), (350.0, 205.0)], 4.0),
                    scribble(&[(240.0, 260.0), (215.0, 290.0)], 4.0),
                    scribble(&[(215.0, 95.0), (290.0, 45.0), (370.0, 90.0), (300.0, 150.0)], 4.0),
                ],
                vec![
                    scribble(
                        &[
                            (290.0, 6.0),
                            (150.0, 50.0),
                            (140.0, 220.0),
                            (190.0, 320.0),
                            (420.0, 340.0),
                            (450.0, 120.0),
                            (400.0, 20.0),
                            (300.0, 6.0),
                        ],
                        4.0,
                    ),
                    scribble(&[(410.0, 75.0), (370.0, 260.0), (345.0, 300.0)], 3.0),
                ],
                0.85,
            ),
            (
                "cat",
                0,
                vec![scribble(&[(120.0, 80.0), (110.0, 180.0), (220.0, 270.0), (330.0, 200.0), (330.0, 80.0), (220.0, 60.0)], 5.0)],
                vec![scribble(&[(445.0, 20.0), (435.0, 200.0), (400.0, 280.0)], 4.0)],
                0.8,
            ),
        ];
        for (name, stroke, inside, outside, least) in cases {
            let project = Project::load(root.join(format!("presets/{name}.ron"))).unwrap();
            let picture = load_picture(&project.image_path()).unwrap();
            let started = std::time::Instant::now();
            let selector = Selector::new(&picture);
            let ready = started.elapsed();
            let mask = selector.select(&inside, &outside);
            let found = region_of(&mask, selector.scale(), 0.0).unwrap();
            println!("{name}: ready after {ready:?}, with the outline after {:?}", started.elapsed());
            let truth = crate::motion::outline::hard(&project.strokes[stroke].region);
            let [found, truth] = [&found, &truth].map(|region| region.rasterize(picture.width, picture.height, Path::new(".")).unwrap());
            println!("{name}: IoU {:.3}", iou(&found, &truth));
            if let Ok(folder) = std::env::var("KINEBRUSH_SMART") {
                let shown = Picture::from_fn(picture.width, picture.height, |x, y| {
                    let dim = 0.35 + 0.65 * found.at(x, y);
                    let mark = inside.iter().any(|s| s.points.windows(2).any(|w| near(w, x, y) < s.radius));
                    let out = outside.iter().any(|s| s.points.windows(2).any(|w| near(w, x, y) < s.radius));
                    if mark {
                        [0.0, 1.0, 0.0]
                    } else if out {
                        [1.0, 0.0, 0.0]
                    } else {
                        picture.at(x, y).map(|v| v * dim)
                    }
                });
                crate::media::picture_file::save_png(&shown, &Path::new(&folder).join(format!("{name}.png"))).unwrap();
            }
            assert!(iou(&found, &truth) >= least, "{name}: {}", iou(&found, &truth));
        }
    }

    fn near(w: &[Vec2], x: usize, y: usize) -> f32 {
        let p = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
        let along = w[1] - w[0];
        let t = ((p - w[0]).dot(along) / along.length_squared()).clamp(0.0, 1.0);
        (p - w[0] - along * t).length()
    }
}
