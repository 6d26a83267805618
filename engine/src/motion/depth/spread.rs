//! Values continued along a picture's colours: what has one colour has one depth, and depth jumps where colours do.
//!
//! The smooth function that keeps the known values and changes least where the picture does (Levin, Lischinski and Weiss, Colorization
//! using optimization, 2004), found by successive over-relaxation. Invariant: known values stay, and nothing leaves their range and the
//! rest it is drawn to. Guarded by the tests of `painted`.

use crate::motion::geodesic::oklab;
use crate::picture::{Grid, Mask, Picture};

/// Colour distance (Oklab) over which a connection fades.
const CONTRAST: f32 = 0.04;
/// What is left of a connection across any edge: enough that a glint takes the depth of what it lies on.
const LEAK: f32 = 3e-4;
/// Over-relaxation: best for regions of some 100 px; larger ones are settled on a smaller copy first.
const RELAXATION: f32 = 1.96;

/// Continues `value` from where `known` says (by index) over the rest, which `pull` draws towards 0 (against connections of 1).
/// `value` holds a first guess everywhere.
pub(super) fn along_colours(guide: &Picture, value: &mut Mask, known: impl Fn(usize) -> bool, pull: f32, sweeps: usize) {
    let (width, height) = (value.width, value.height);
    let colours = Grid { width, height, data: guide.data.iter().map(|rgb| oklab(*rgb)).collect() };
    let weight = |a: usize, b: usize| {
        let away = (0..3).map(|c| (colours.data[a][c] - colours.data[b][c]).powi(2)).sum::<f32>();
        (-away / (2.0 * CONTRAST * CONTRAST)).exp().max(LEAK)
    };
    // To the right and downwards; none leads out of the picture.
    let right: Vec<f32> = (0..width * height).map(|i| if i % width + 1 < width { weight(i, i + 1) } else { 0.0 }).collect();
    let below: Vec<f32> = (0..width * height).map(|i| if i / width + 1 < height { weight(i, i + width) } else { 0.0 }).collect();
    let unknown: Vec<usize> = (0..width * height).filter(|i| !known(*i)).collect();
    for sweep in 0..sweeps {
        // The last sweeps do not overshoot.
        let step = if sweep + 8 < sweeps { RELAXATION } else { 1.0 };
        for &i in &unknown {
            let (mut sum, mut total) = (0.0, pull);
            let mut take = |other: usize, weight: f32| {
                sum += weight * value.data[other];
                total += weight;
            };
            if i % width > 0 {
                take(i - 1, right[i - 1]);
            }
            if right[i] > 0.0 {
                take(i + 1, right[i]);
            }
            if i >= width {
                take(i - width, below[i - width]);
            }
            if below[i] > 0.0 {
                take(i + width, below[i]);
            }
            if total > 0.0 {
                value.data[i] += step * (sum / total - value.data[i]);
            }
        }
    }
}

/// `small`, made on a smaller copy of the picture `guide`, at the size of `large`: every pixel takes those of the samples around it that
/// have its colour (Kopf et al., Joint bilateral upsampling, 2007).
pub(super) fn enlarged(small: &Mask, guide: &Picture, large: &Picture) -> Mask {
    if (small.width, small.height) == (large.width, large.height) {
        return small.clone();
    }
    let colours = Grid { width: small.width, height: small.height, data: guide.data.iter().map(|rgb| oklab(*rgb)).collect::<Vec<_>>() };
    let (sx, sy) = (small.width as f32 / large.width as f32, small.height as f32 / large.height as f32);
    Mask::from_fn(large.width, large.height, |x, y| {
        let own = oklab(large.at(x, y));
        let (px, py) = ((x as f32 + 0.5) * sx - 0.5, (y as f32 + 0.5) * sy - 0.5);
        let (column, row) = (px.floor() as isize, py.floor() as isize);
        let (mut sum, mut total) = (0.0, 0.0);
        for (i, j) in (-1..3).flat_map(|j| (-1..3).map(move |i| (i, j))) {
            let near = (1.0 - (px - (column + i) as f32).abs() * 0.5).max(0.0) * (1.0 - (py - (row + j) as f32).abs() * 0.5).max(0.0);
            let colour = colours.clamped(column + i, row + j);
            let away = (0..3).map(|c| (own[c] - colour[c]).powi(2)).sum::<f32>();
            let weight = near * ((-away / (2.0 * CONTRAST * CONTRAST)).exp() + LEAK);
            (sum, total) = (sum + weight * small.clamped(column + i, row + j), total + weight);
        }
        if total > 0.0 { sum / total } else { small.clamped(column, row) }
    })
}
