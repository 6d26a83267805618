//! Smooth hole filling by pull-push (Gortler et al., The Lumigraph, 1996; section 3.5): at once, and without texture.
//!
//! Pull: known samples are averaged into coarser and coarser levels until no hole is left. Push: each level's holes take the
//! level above, interpolated. O(pixels). Invariant: samples known with weight 1 come out bit for bit. Guarded by the tests below.

use rayon::prelude::*;

use crate::picture::{Grid, Mask};

/// One level of the pyramid: mean colour of the known samples below, and how well it is known, 0..1.
struct Level<const N: usize> {
    colour: Grid<[f32; N]>,
    weight: Mask,
}

/// `picture` with everything where `known` is below 1 filled from what is known around it; between 0 and 1, `known` weighs the
/// sample against its surroundings. With nothing known at all, `picture` comes back as it is.
pub fn pull_push<const N: usize>(picture: &Grid<[f32; N]>, known: &Mask) -> Grid<[f32; N]> {
    debug_assert_eq!((picture.width, picture.height), (known.width, known.height));
    if !known.data.par_iter().any(|&w| w > 0.0) {
        return picture.clone();
    }
    let mut levels: Vec<Level<N>> = Vec::new();
    let full = |weight: &Mask| weight.data.par_iter().all(|&w| w >= 1.0);
    loop {
        let (colour, weight) = levels.last().map_or((picture, known), |l| (&l.colour, &l.weight));
        if (colour.width == 1 && colour.height == 1) || full(weight) {
            break;
        }
        let above = pull(colour, weight);
        levels.push(above);
    }
    let Some(top) = levels.pop() else { return picture.clone() };
    let mut filled = top.colour;
    while let Some(level) = levels.pop() {
        filled = push(&level.colour, &level.weight, &filled);
    }
    push(picture, known, &filled)
}

/// The level above: a 4x4 tent of the known samples; its weight saturates, so that a hole shrinks from level to level.
fn pull<const N: usize>(colour: &Grid<[f32; N]>, weight: &Mask) -> Level<N> {
    const TENT: [f32; 4] = [0.125, 0.375, 0.375, 0.125];
    let (width, height) = (colour.width, colour.height);
    let (w2, h2) = (width.div_ceil(2), height.div_ceil(2));
    let mut level = Level { colour: Grid::filled(w2, h2, [0.0; N]), weight: Mask::filled(w2, h2, 0.0) };
    let rows = level.colour.data.par_chunks_mut(w2).zip(level.weight.data.par_chunks_mut(w2));
    rows.enumerate().for_each(|(y, (colours, weights))| {
        for (x, (mean, known)) in colours.iter_mut().zip(weights).enumerate() {
            let (mut sum, mut total) = ([0.0; N], 0.0);
            for (j, ky) in TENT.iter().enumerate() {
                let row = (2 * y + j).wrapping_sub(1);
                if row >= height {
                    continue;
                }
                for (i, kx) in TENT.iter().enumerate() {
                    let column = (2 * x + i).wrapping_sub(1);
                    if column >= width {
                        continue;
                    }
                    let at = row * width + column;
                    let k = kx * ky * weight.data[at].clamp(0.0, 1.0);
                    // An unknown sample may hold anything, so it is left out rather than multiplied by zero.
                    if k > 0.0 {
                        total += k;
                        (0..N).for_each(|c| sum[c] += k * colour.data[at][c]);
                    }
                }
            }
            if total > 0.0 {
                sum.iter_mut().for_each(|s| *s /= total);
            }
            (*mean, *known) = (sum, (4.0 * total).min(1.0));
        }
    });
    level
}

/// A level filled from the level `above` it.
fn push<const N: usize>(colour: &Grid<[f32; N]>, weight: &Mask, above: &Grid<[f32; N]>) -> Grid<[f32; N]> {
    Grid::from_fn(colour.width, colour.height, |x, y| {
        let own = colour.at(x, y);
        let w = weight.at(x, y).clamp(0.0, 1.0);
        if w >= 1.0 {
            return own;
        }
        let mut filled = above.bilinear((x as f32 + 0.5) * 0.5, (y as f32 + 0.5) * 0.5);
        if w > 0.0 {
            (0..N).for_each(|c| filled[c] += w * (own[c] - filled[c]));
        }
        filled
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(width: usize, height: usize) -> Mask {
        Mask::from_fn(width, height, |x, y| {
            let (dx, dy) = (x as f32 - 0.4 * width as f32, y as f32 - 0.55 * height as f32);
            f32::from(dx * dx + dy * dy > (0.2 * width as f32).powi(2))
        })
    }

    #[test]
    fn known_pixels_stay_and_unknown_values_do_not_leak() {
        let known = blob(61, 47);
        let truth = Grid::from_fn(61, 47, |x, y| [(x * 7 % 13) as f32 / 13.0, y as f32 / 47.0]);
        let broken = Grid::from_fn(61, 47, |x, y| if known.at(x, y) > 0.0 { truth.at(x, y) } else { [f32::NAN; 2] });
        let filled = pull_push(&broken, &known);
        for i in 0..truth.data.len() {
            if known.data[i] > 0.0 {
                assert_eq!(filled.data[i], truth.data[i]);
            } else {
                assert!(filled.data[i].iter().all(|v| (0.0..=1.0).contains(v)));
            }
        }
    }

    #[test]
    fn a_constant_is_reproduced_and_a_ramp_nearly() {
        let known = blob(64, 64);
        let grey = pull_push(&Grid::filled(64, 64, [0.3]), &known);
        assert!(grey.data.iter().all(|v| (v[0] - 0.3).abs() < 1e-5));
        let ramp = Grid::from_fn(64, 64, |x, _| [x as f32 / 64.0]);
        let filled = pull_push(&ramp, &known);
        let error = filled.data.iter().zip(&ramp.data).map(|(a, b)| (a[0] - b[0]).abs()).fold(0.0, f32::max);
        assert!(error < 0.08, "{error}");
    }

    #[test]
    fn nothing_known_changes_nothing() {
        let picture = Grid::filled(5, 3, [0.7]);
        assert_eq!(pull_push(&picture, &Mask::filled(5, 3, 0.0)), picture);
    }
}
