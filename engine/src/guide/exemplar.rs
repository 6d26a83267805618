//! Exemplar-based hole filling: patches of the known part, chosen by PatchMatch (Barnes et al. 2009), vote for the pixels of the
//! hole, from coarse to fine (Wexler et al. 2007).
//!
//! Work is done only in a window around each group of holes. Invariants: known pixels come out bit for bit; the same picture, mask
//! and seed give the same bytes for any number of threads. Guarded by the tests below.

use rayon::prelude::*;

use super::matte::{box_mean, smoothstep};
use super::patch_match::{Feature, Level, RADIUS};
use super::pull_push::pull_push;
use crate::picture::{Grid, Mask, Picture};

/// How much roughness counts in a match beside colour.
const TEXTURE_WEIGHT: f32 = 3.0;
/// Sides of the coarsest level, px: small enough for patches to span the hole, large enough to leave patches to choose from.
const COARSEST: std::ops::RangeInclusive<usize> = 48..=96;
/// How much more a better match weighs while the levels settle, and at the end.
const SMOOTH: f32 = 1.5;
const SHARP: f32 = 4.0;
/// Rounds of search and vote at the coarsest level.
const COARSE_ROUNDS: u64 = 4;
/// How much the smooth fill is believed in first fills; the one that ends up with the best matches goes on.
const PRIORS: [f32; 2] = [0.1, 0.6];
/// Half the width of what counts as a broad shade, px.
const SHADE_PX: usize = 6;
/// Holes are gathered in tiles of this side; a group is what touches tile to tile.
const TILE: usize = 16;

/// `picture` with everything where `known` is below 0.5 filled by patches of the rest; the rest is kept bit for bit. Where there is
/// nothing to copy from, the fill is smooth.
pub fn exemplar_fill(picture: &Picture, known: &Mask, seed: u64) -> Picture {
    let hard = Mask::from_fn(known.width, known.height, |x, y| f32::from(known.at(x, y) >= 0.5));
    let groups = hole_groups(&hard);
    let fills: Vec<(Window, Picture)> = groups
        .par_iter()
        .map(|group| {
            let window = group.widened(picture.width, picture.height);
            let cut = |x: usize, y: usize| (x + window.left, y + window.top);
            let (width, height) = (window.right - window.left, window.bottom - window.top);
            let part = Picture::from_fn(width, height, |x, y| picture.at(cut(x, y).0, cut(x, y).1));
            let part_known = Mask::from_fn(width, height, |x, y| hard.at(cut(x, y).0, cut(x, y).1));
            (window, fill_window(&part, &part_known, seed))
        })
        .collect();
    let mut filled = picture.clone();
    // A window may show holes of other groups: each group writes only its own tiles.
    for (group, (window, part)) in groups.iter().zip(&fills) {
        for &(column, row) in &group.tiles {
            for y in row * TILE..((row + 1) * TILE).min(picture.height) {
                for x in column * TILE..((column + 1) * TILE).min(picture.width) {
                    if hard.at(x, y) < 0.5 {
                        filled.data[y * picture.width + x] = part.at(x - window.left, y - window.top);
                    }
                }
            }
        }
    }
    filled
}

/// Pixel bounds, right and bottom exclusive.
struct Window {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

/// Tiles with holes that touch each other.
struct Group {
    tiles: Vec<(usize, usize)>,
}

impl Group {
    /// The group's bounds with room to copy from.
    fn widened(&self, width: usize, height: usize) -> Window {
        let bounds = |f: fn(&(usize, usize)) -> usize| {
            let low = self.tiles.iter().map(f).min().unwrap_or(0);
            let high = self.tiles.iter().map(f).max().unwrap_or(0);
            (low * TILE, (high + 1) * TILE)
        };
        let ((left, right), (top, bottom)) = (bounds(|t| t.0), bounds(|t| t.1));
        let room = ((right - left).max(bottom - top) * 3 / 4).clamp(48, 256);
        Window {
            left: left.saturating_sub(room),
            top: top.saturating_sub(room),
            right: (right + room).min(width),
            bottom: (bottom + room).min(height),
        }
    }
}

fn hole_groups(known: &Mask) -> Vec<Group> {
    let (columns, rows) = (known.width.div_ceil(TILE), known.height.div_ceil(TILE));
    let mut open = vec![false; columns * rows];
    for (i, &k) in known.data.iter().enumerate() {
        open[i / known.width / TILE * columns + i % known.width / TILE] |= k < 0.5;
    }
    let mut groups = Vec::new();
    for start in 0..open.len() {
        if !std::mem::take(&mut open[start]) {
            continue;
        }
        let (mut tiles, mut stack) = (Vec::new(), vec![start]);
        while let Some(tile) = stack.pop() {
            let (column, row) = (tile % columns, tile / columns);
            tiles.push((column, row));
            for v in row.saturating_sub(1)..(row + 2).min(rows) {
                for u in column.saturating_sub(1)..(column + 2).min(columns) {
                    if std::mem::take(&mut open[v * columns + u]) {
                        stack.push(v * columns + u);
                    }
                }
            }
        }
        groups.push(Group { tiles });
    }
    groups
}

/// Fills the holes of one window, coarse to fine.
fn fill_window(picture: &Picture, known: &Mask, seed: u64) -> Picture {
    let smooth = pull_push(&features(picture, known), known);
    let mut pyramid = vec![(smooth.clone(), known.clone())];
    let least = (picture.width.min(picture.height) / 6).clamp(*COARSEST.start(), *COARSEST.end());
    loop {
        let (image, known) = &pyramid[pyramid.len() - 1];
        if !has_deep_hole(known) || image.width.min(image.height) < 2 * least {
            break;
        }
        let coarse = halved(image, known);
        if Level::new(&coarse.0, &coarse.1).is_none_or(|l| l.targets.is_empty()) {
            break;
        }
        pyramid.push(coarse);
    }
    let Some(mut level) = pyramid.pop().and_then(|(image, known)| first_fill(&image, &known, seed)) else {
        return pull_push(picture, known);
    };
    for (depth, (image, known)) in pyramid.iter().enumerate().rev() {
        let seed = seed.wrapping_mul(31).wrapping_add(depth as u64 + 1) << 8;
        let Some(mut next) = Level::new(image, known) else { break };
        next.refine(&level, seed);
        next.paint(&next.vote(1.0));
        for round in 0..(1 + depth as u64).min(5) {
            let reach = (next.width.max(next.height) / 4).clamp(1, 32);
            next.measure();
            next.search(reach, false, seed + 2 * round);
            next.search(reach / 2, true, seed + 2 * round + 1);
            next.paint(&next.vote(SMOOTH));
        }
        level = next;
    }
    let votes = seamless(&level, &level.vote(SHARP), &level.continued(SHARP));
    level.paint(&votes);
    let filled = calmed(&level.picture(), &smooth);
    Picture::from_fn(picture.width, picture.height, |x, y| {
        if known.at(x, y) >= 0.5 { picture.at(x, y) } else { filled.at(x, y).map(|v| v.clamp(0.0, 1.0)) }
    })
}

/// `filled` with the broad shades of the `smooth` fill where there is little texture and the two nearly agree: patches copy a sky's
/// steps and not its slope. Grain stays as it was copied.
fn calmed(filled: &Grid<Feature>, smooth: &Grid<Feature>) -> Picture {
    let apart = Grid::from_fn(filled.width, filled.height, |x, y| {
        let ([a, b, c, _], [u, v, w, _]) = (filled.at(x, y), smooth.at(x, y));
        [u - a, v - b, w - c]
    });
    let shade = box_mean(&apart, SHADE_PX);
    Grid::from_fn(filled.width, filled.height, |x, y| {
        let ([r, g, b, texture], shift) = (filled.at(x, y), shade.at(x, y));
        let most = shift.iter().fold(0.0f32, |m, s| m.max(s.abs()));
        let trust = (1.0 - smoothstep(0.02, 0.06, most)) * (1.0 - smoothstep(0.003, 0.009, texture / TEXTURE_WEIGHT));
        [r + trust * shift[0], g + trust * shift[1], b + trust * shift[2]]
    })
}

/// The coarsest level, filled from several starts and settled; None if there is nothing to copy from.
fn first_fill(image: &Grid<Feature>, known: &Mask, seed: u64) -> Option<Level> {
    let settle = |prior: f32| {
        let mut level = Level::new(image, known)?;
        let reach = level.width.max(level.height);
        level.scatter(seed << 8);
        level.peel(prior);
        // The rim has no matches yet: it must find them before it may vote on what was just filled in.
        for round in 0..COARSE_ROUNDS {
            level.measure();
            level.search(reach, false, seed.wrapping_add(2 * round));
            level.search(reach / 2, true, seed.wrapping_add(2 * round + 1));
            if round > 0 {
                level.paint(&level.vote(SMOOTH));
            }
        }
        Some(level)
    };
    let misfit = |l: &Level| l.matches.iter().map(|m| f64::from(m.distance).sqrt()).sum::<f64>();
    PRIORS.iter().filter_map(|&prior| settle(prior)).min_by(|a, b| misfit(a).total_cmp(&misfit(b)))
}

/// `votes` shifted so that they meet the known pixels around the hole: what their continuation beyond the rim, `continued`, gets wrong
/// is spread smoothly inwards.
fn seamless(level: &Level, votes: &[Feature], continued: &[Feature]) -> Vec<Feature> {
    let mut error = Grid::filled(level.stride, level.image.len() / level.stride, [0.0; 4]);
    let mut sure = Mask::filled(error.width, error.height, 0.0);
    for ((&target, &hole), vote) in level.targets.iter().zip(&level.hole).zip(continued) {
        if !hole {
            let truth = level.image[target as usize];
            error.data[target as usize] = std::array::from_fn(|c| truth[c] - vote[c]);
            // Less than 1, so that the correction is a local mean rather than the noise of single pixels.
            sure.data[target as usize] = 0.25;
        }
    }
    let correction = pull_push(&error, &sure);
    level.targets.iter().zip(votes).map(|(&target, vote)| std::array::from_fn(|c| vote[c] + correction.data[target as usize][c])).collect()
}

/// Colour, and the mean slope of the brightness around each known pixel.
fn features(picture: &Picture, known: &Mask) -> Grid<Feature> {
    let (width, height) = (picture.width, picture.height);
    let light = |x: usize, y: usize| picture.at(x, y).iter().sum::<f32>() / 3.0;
    let slope = Grid::from_fn(width, height, |x, y| {
        let (right, below) = ((x + 1).min(width - 1), (y + 1).min(height - 1));
        if known.at(x, y) < 0.5 || known.at(right, y) < 0.5 || known.at(x, below) < 0.5 {
            return [0.0; 2];
        }
        let here = light(x, y);
        [(light(right, y) - here).abs() + (light(x, below) - here).abs(), 1.0]
    });
    let means = box_mean(&slope, 2);
    Grid::from_fn(width, height, |x, y| {
        let ([r, g, b], [slope, count]) = (picture.at(x, y), means.at(x, y));
        [r, g, b, TEXTURE_WEIGHT * slope / count.max(0.04)]
    })
}

/// Whether a whole patch fits into the hole.
fn has_deep_hole(known: &Mask) -> bool {
    let side = 2 * RADIUS + 1;
    let mut runs = vec![0usize; known.width];
    for y in 0..known.height {
        let mut across = 0;
        for (x, run) in runs.iter_mut().enumerate() {
            *run = if known.at(x, y) < 0.5 { *run + 1 } else { 0 };
            across = if *run >= side { across + 1 } else { 0 };
            if across >= side {
                return true;
            }
        }
    }
    false
}

/// Half the size: the mean of the known pixels, known only where all four were.
fn halved(image: &Grid<Feature>, known: &Mask) -> (Grid<Feature>, Mask) {
    let (width, height) = (image.width.div_ceil(2), image.height.div_ceil(2));
    let four = |x: usize, y: usize| {
        let (right, below) = ((2 * x + 1).min(image.width - 1), (2 * y + 1).min(image.height - 1));
        [(2 * x, 2 * y), (right, 2 * y), (2 * x, below), (right, below)]
    };
    let small = Grid::from_fn(width, height, |x, y| {
        let four = four(x, y).map(|(u, v)| image.at(u, v));
        std::array::from_fn(|c| (four[0][c] + four[1][c] + four[2][c] + four[3][c]) * 0.25)
    });
    let small_known = Mask::from_fn(width, height, |x, y| f32::from(four(x, y).iter().all(|&(u, v)| known.at(u, v) >= 0.5)));
    (small, small_known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn checks(width: usize, height: usize) -> (Picture, Mask) {
        let picture = Picture::from_fn(width, height, |x, y| {
            let v = f32::from((x / 4 + y / 4) % 2 == 0);
            [0.2 + 0.6 * v, 0.5, 0.8 - 0.5 * v]
        });
        let known = Mask::from_fn(width, height, |x, y| {
            f32::from((x as f32 - width as f32 * 0.5).hypot(y as f32 - height as f32 * 0.45) > 0.18 * width as f32)
        });
        (picture, known)
    }

    fn error(a: &Picture, b: &Picture, known: &Mask) -> f32 {
        let hole: Vec<usize> = (0..known.data.len()).filter(|&i| known.data[i] < 0.5).collect();
        let sum: f32 = hole.iter().map(|&i| (0..3).map(|c| (a.data[i][c] - b.data[i][c]).powi(2)).sum::<f32>()).sum();
        sum / hole.len() as f32
    }

    #[test]
    fn a_periodic_texture_goes_on_where_a_smooth_fill_blurs_it() {
        let (picture, known) = checks(96, 80);
        let hidden = Picture::from_fn(96, 80, |x, y| if known.at(x, y) < 0.5 { [1.0, 0.0, 1.0] } else { picture.at(x, y) });
        let exemplar = error(&exemplar_fill(&hidden, &known, 7), &picture, &known);
        let smooth = error(&pull_push(&hidden, &known), &picture, &known);
        assert!(exemplar * 10.0 < smooth, "{exemplar} {smooth}");
    }

    #[test]
    fn known_pixels_stay() {
        let (picture, known) = checks(70, 50);
        let filled = exemplar_fill(&picture, &known, 1);
        for i in (0..known.data.len()).filter(|&i| known.data[i] >= 0.5) {
            assert_eq!(filled.data[i], picture.data[i]);
        }
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let picture = Picture::from_fn(150, 120, |x, y| [((x * y) % 31) as f32 / 31.0, x as f32 / 150.0, ((x ^ y) % 17) as f32 / 17.0]);
        let known = Mask::from_fn(150, 120, |x, y| f32::from((x as f32 - 70.0).hypot(y as f32 - 60.0) > 42.0 && (x + y) % 97 != 0));
        let fill = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| exemplar_fill(&picture, &known, 3))
        };
        assert_eq!(fill(1), fill(2));
    }

    #[test]
    fn holes_without_anything_to_copy_are_filled_smoothly() {
        let picture = Picture::filled(9, 9, [0.4; 3]);
        let known = Mask::from_fn(9, 9, |x, y| f32::from(x == 0 && y == 0));
        let filled = exemplar_fill(&picture, &known, 0);
        assert!(filled.data.iter().flatten().all(|v| (v - 0.4).abs() < 1e-4));
        assert_eq!(exemplar_fill(&picture, &Mask::filled(9, 9, 0.0), 0), picture);
    }
}
