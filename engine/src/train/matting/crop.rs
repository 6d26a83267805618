//! Pieces of clips along drawn borders, with the true alpha beside them.
//!
//! Invariant: the crops of a clip depend on the pool's working set, the spec and its seed alone. Guarded by the tests of `matting`.

use crate::guide::matte::{Drawn, drawn};
use crate::guide::matting::conv::Plane;
use crate::guide::matting::{CELL, features};
use crate::picture::{Grid, Mask, Sample};
use crate::train::clip::{ClipSpec, make_clip};
use crate::train::pool::Pool;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Side of a crop, px.
pub const SIDE: usize = 64;
/// Crops along each drawn border.
const PER_OBJECT: usize = 3;
/// What a border whose two colours are alike still counts, in squared colour units.
const LEAST_CONTRAST: f32 = 0.03;
/// The radius that regions are cut with, px.
const RADIUS_PX: f32 = 4.0;
/// A border of fewer pixels says nothing.
const LEAST_BORDER: usize = 20;

/// One piece: what the network is told, and what it should say.
pub struct Crop {
    /// What the filter found.
    pub drawn: Drawn,
    /// The network's input.
    pub input: Plane,
    /// True alpha.
    pub truth: Mask,
    /// What a pixel's squared error counts: the contrast that a wrong alpha would show; 0 where the matte is as drawn or hidden.
    pub weight: Mask,
}

/// Crops of the clip that starts as `spec` says.
pub fn crops(pool: &Pool, (width, height): (usize, usize), seed: u64) -> Vec<Crop> {
    let clip = make_clip(pool, &ClipSpec { width, height, frame_times: vec![0.0], seed });
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0A17);
    let truth = clip.alphas();
    let mut crops = Vec::new();
    for (k, region) in clip.regions.iter().enumerate() {
        let drawn = drawn(&clip.source, region, RADIUS_PX);
        let border: Vec<usize> = (0..width * height).filter(|i| drawn.depth.data[*i].abs() < 1.5).collect();
        if border.len() < LEAST_BORDER {
            continue;
        }
        for _ in 0..PER_OBJECT {
            let at = border[rng.random_range(0..border.len())];
            let from = |middle: usize, size: usize| middle.saturating_sub(SIDE / 2).min(size - SIDE);
            let place = (from(at % width, width), from(at / width, height));
            let drawn = Drawn {
                depth: cropped(&drawn.depth, place),
                band: drawn.band,
                foreground: cropped(&drawn.foreground, place),
                background: cropped(&drawn.background, place),
                filtered: cropped(&drawn.filtered, place),
            };
            let hidden: Vec<Mask> = truth[k + 1..].iter().map(|front| cropped(front, place)).collect();
            let weight = Mask::from_fn(SIDE, SIDE, |x, y| {
                let (f, b) = (drawn.foreground.at(x, y), drawn.background.at(x, y));
                let contrast: f32 = (0..3).map(|c| (f[c] - b[c]).powi(2)).sum();
                let open: f32 = hidden.iter().map(|front| 1.0 - front.at(x, y)).product();
                if drawn.in_band(x, y) { open * (contrast + LEAST_CONTRAST) } else { 0.0 }
            });
            let all = vec![vec![0..SIDE / CELL]; SIDE / CELL];
            let input = features(&cropped(&clip.source, place), &drawn, &all);
            crops.push(Crop { input, truth: cropped(&truth[k], place), weight, drawn });
        }
    }
    crops
}

fn cropped<T: Sample>(grid: &Grid<T>, (left, top): (usize, usize)) -> Grid<T> {
    Grid::from_fn(SIDE, SIDE, |x, y| grid.at(left + x, top + y))
}
