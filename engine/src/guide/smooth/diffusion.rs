//! Edge-enhancing diffusion (Weickert, Anisotropic Diffusion in Image Processing, 1998; for filling in: Galić et al., Image Compression
//! with Anisotropic Diffusion, JMIV 31, 2008): what is known spreads along edges and hardly across them.
//!
//! Where edges go is asked of the guess itself, a few times over: the direction in which a slightly blurred picture changes most, averaged
//! over a neighbourhood. In between the surface of least energy for these directions is approached. Guarded by the
//! tests of this folder.

use super::super::matte::box_mean;
use super::{Level, relax};
use crate::picture::Grid;
use rayon::prelude::*;

/// How often directions are asked for.
const PASSES: usize = 3;
/// Steps of conjugate gradients in between: in a trial outside this program, with [`Edges::OPEN`], four times as many gained 0.05 dB in
/// holes 24 px wide, and lost 0.14 in wider ones.
const STEPS: usize = 15;
/// Means over squares that blur a picture before its slopes are taken: radius, px, and number.
const BLUR: (usize, usize) = (1, 3);

/// What counts as an edge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edges {
    /// Slope per px, colours from 0 to 1 taken together, from which on less and less spreads across.
    least: f32,
    /// Means over squares that average directions: radius, px, and number.
    neighbourhood: (usize, usize),
}

impl Edges {
    /// For a hole with something known on all sides: of neighbourhoods with radii from 2 to 12 and slopes from 0.0001 to 0.012 the best by
    /// squared error of what is uncovered in 32 clips, about 0.35 dB better than [`Edges::OPEN`].
    pub const ENCLOSED: Self = Self { least: 0.0005, neighbourhood: (8, 3) };
    /// For what lies beyond a picture's border, where it is 0.9 dB better than [`Edges::ENCLOSED`]: what goes on too far costs more there.
    pub const OPEN: Self = Self { least: 0.003, neighbourhood: (3, 3) };
}

/// How well values spread at a sample: a symmetric tensor xx, xy, yy.
type Spread = [f32; 3];
/// What each of the nine samples around one contributes to the energy's slope there.
type Weights = [f32; 9];

/// Spreads what is known along edges into the `free` samples of a level.
pub(super) fn improve<const N: usize>(level: &mut Level<N>, free: &[u32], edges: Edges) {
    if free.is_empty() {
        return;
    }
    let width = level.values.width;
    for _ in 0..PASSES {
        let spread = spread(&level.values, edges);
        let weights: Vec<Weights> = free.par_iter().map(|at| weights(&spread, *at as usize)).collect();
        let stiffness: Vec<f32> = weights.iter().map(|w| w[4].max(1e-6)).collect();
        relax(&mut level.values.data, free, &stiffness, STEPS, |values, slope| {
            for ((slope, weights), at) in slope.iter_mut().zip(&weights).zip(free) {
                *slope = [0.0; N];
                for (k, weight) in weights.iter().enumerate() {
                    // Beyond the border the weight is 0, and any sample will do.
                    let other = (*at as usize + k / 3 * width + k % 3).saturating_sub(width + 1).min(values.len() - 1);
                    (0..N).for_each(|c| slope[c] += weight * values[other][c]);
                }
            }
        });
    }
}

fn blurred<const N: usize>(grid: &Grid<[f32; N]>, (radius, times): (usize, usize)) -> Grid<[f32; N]> {
    let first = box_mean(grid, radius);
    (1..times).fold(first, |grid, _| box_mean(&grid, radius))
}

/// How well values spread at every sample of a picture.
fn spread<const N: usize>(picture: &Grid<[f32; N]>, edges: Edges) -> Grid<Spread> {
    let soft = blurred(picture, BLUR);
    let Grid { width, height, .. } = soft;
    let mut slopes = Grid::filled(width, height, [0.0; 3]);
    slopes.data.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, out)| {
        let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)].map(|y| &soft.data[y * width..][..width]);
        for (x, out) in out.iter_mut().enumerate() {
            let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
            for c in 0..N {
                // Sobel's slopes.
                let at = |row: usize, column: usize| rows[row][columns[column]][c];
                let across = at(0, 2) - at(0, 0) + 2.0 * (at(1, 2) - at(1, 0)) + at(2, 2) - at(2, 0);
                let down = at(2, 0) - at(0, 0) + 2.0 * (at(2, 1) - at(0, 1)) + at(2, 2) - at(0, 2);
                let (across, down) = (across / 8.0, down / 8.0);
                out[0] += across * across;
                out[1] += across * down;
                out[2] += down * down;
            }
        }
    });
    let mut spread = blurred(&slopes, edges.neighbourhood);
    spread.data.par_iter_mut().for_each(|tensor| {
        let [xx, xy, yy] = *tensor;
        let apart = ((xx - yy) * (xx - yy) + 4.0 * xy * xy).sqrt();
        // The larger eigenvalue is the square of the slope across the edge.
        let across = (1.0 + 0.5 * (xx + yy + apart) / (edges.least * edges.least)).sqrt().recip();
        let (mean, half) = (0.5 * (across + 1.0), 0.5 * (across - 1.0));
        let (cosine, sine) = if apart > 1e-12 { ((xx - yy) / apart, 2.0 * xy / apart) } else { (0.0, 0.0) };
        *tensor = [mean + half * cosine, half * sine, mean - half * cosine];
    });
    spread
}

/// The row of the sample `at` in the energy's matrix: over every square of four samples, slopes at its middle weighed by the spread there,
/// and a little of what a slope cannot see, against checkerboards.
fn weights(spread: &Grid<Spread>, at: usize) -> Weights {
    /// Share of the mean spread.
    const CHECKER: f32 = 0.5;
    /// Slopes across and down, and the checker, of the four samples of a square.
    const ACROSS: [f32; 4] = [-0.5, 0.5, -0.5, 0.5];
    const DOWN: [f32; 4] = [-0.5, -0.5, 0.5, 0.5];
    const CHECKED: [f32; 4] = [0.5, -0.5, -0.5, 0.5];
    let Grid { width, height, .. } = *spread;
    let (x, y) = (at % width, at / width);
    let mut weights = [0.0; 9];
    // The squares whose bottom right, bottom left, top right, top left sample it is.
    for (own, (right, down)) in [(3, (0, 0)), (2, (1, 0)), (1, (0, 1)), (0, (1, 1))] {
        let (left, top) = ((x + right).wrapping_sub(1), (y + down).wrapping_sub(1));
        if left.saturating_add(1) >= width || top.saturating_add(1) >= height {
            continue;
        }
        let corner = top * width + left;
        let mut tensor = [0.0; 3];
        for other in [corner, corner + 1, corner + width, corner + width + 1] {
            tensor.iter_mut().zip(spread.data[other]).for_each(|(mean, v)| *mean += 0.25 * v);
        }
        let [xx, xy, yy] = tensor;
        let checker = CHECKER * 0.5 * (xx + yy);
        for other in 0..4 {
            let slot = (down + other / 2) * 3 + right + other % 2;
            weights[slot] += xx * ACROSS[own] * ACROSS[other]
                + xy * (ACROSS[own] * DOWN[other] + DOWN[own] * ACROSS[other])
                + yy * DOWN[own] * DOWN[other]
                + checker * CHECKED[own] * CHECKED[other];
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_symmetric_and_flat_areas_have_no_slope() {
        let picture = Grid::from_fn(12, 9, |x, y| [((x * 7 + y * 5) % 11) as f32 / 11.0, (x * y % 7) as f32 / 7.0]);
        let spread = spread(&picture, Edges::OPEN);
        let all: Vec<Weights> = (0..12 * 9).map(|at| weights(&spread, at)).collect();
        for (at, row) in all.iter().enumerate() {
            assert!(row.iter().sum::<f32>().abs() < 1e-5 && row[4] > 0.0, "{row:?}");
            for (k, weight) in row.iter().enumerate() {
                let (x, y) = ((at % 12 + k % 3).wrapping_sub(1), (at / 12 + k / 3).wrapping_sub(1));
                match x < 12 && y < 9 {
                    true => assert!((weight - all[y * 12 + x][8 - k]).abs() < 1e-6),
                    false => assert_eq!(*weight, 0.0),
                }
            }
        }
    }

    #[test]
    fn along_an_edge_spreads_all_and_across_it_hardly_anything() {
        let edge = Grid::from_fn(24, 20, |x, _| [if x < 12 { 0.2 } else { 0.8 }]);
        for edges in [Edges::ENCLOSED, Edges::OPEN] {
            let [xx, xy, yy] = spread(&edge, edges).at(12, 10);
            assert!(xx < 0.05 && xy.abs() < 1e-3 && yy > 0.99, "{xx} {xy} {yy}");
            let [xx, xy, yy] = spread(&Grid::filled(24, 20, [0.5]), edges).at(12, 10);
            assert_eq!([xx, xy, yy], [1.0, 0.0, 1.0]);
        }
    }
}
