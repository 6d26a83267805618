//! Painted depth: marks of near and far, and between them a fill that keeps to the picture's edges.
//!
//! Invariants: what a mark covers has the mark's depth; what no mark speaks for leans to the far. Guarded by the tests below.

use std::path::Path;

use super::{DepthMark, spread};
use crate::Result;
use crate::guide::pull_push::pull_push;
use crate::motion::outline::grid_size;
use crate::motion::region::Placement;
use crate::picture::{Grid, Mask, Picture};

/// Longer sides of the picture on which marks are continued, px, and the sweeps on each: what is far apart is settled on the smallest.
const LEVELS: [(usize, usize); 4] = [(50, 600), (100, 300), (200, 120), (400, 60)];
/// How far a mark reaches without anything against it, as a share of the longer side, before it has leant to the far by a good half.
const REACH: f32 = 0.5;
/// A sample is a mark's where it covers at least this much of it.
const COVERED: f32 = 0.25;

/// Inverse depth of every pixel of `picture`, which lies in the scene as `placement` says.
pub(super) fn inverse(
    picture: &Picture,
    placement: &Placement,
    folder: &Path,
    (far, near): (f32, f32),
    marks: &[DepthMark],
) -> Result<Mask> {
    let (width, height) = placement.scene;
    // What was painted, times how surely.
    let mut painted = Grid::filled(width, height, [0.0_f32; 2]);
    for mark in marks {
        let mask = mark.region.rasterize_placed(placement, folder)?;
        painted.data.iter_mut().zip(&mask.data).for_each(|([value, cover], own)| {
            *value += own * (mark.value - *value);
            *cover += own * (1.0 - *cover);
        });
    }
    let picture = if (picture.width, picture.height) == (width, height) { picture } else { &picture.resized(width, height) };
    // The last fill, and the picture it was made on.
    let mut last: Option<(Mask, Picture)> = None;
    for (longer_side, sweeps) in LEVELS {
        let (columns, rows) = grid_size((width, height), longer_side);
        let (guide, seeds) = (picture.resized(columns, rows), painted.resized(columns, rows));
        let known = |i: usize| seeds.data[i][1] >= COVERED;
        let value = |i: usize| seeds.data[i][0] / seeds.data[i][1].max(1e-6);
        let mut fill = match &last {
            Some((fill, smaller)) => spread::enlarged(fill, smaller, &guide),
            None => guess(columns, rows, known, value),
        };
        (0..columns * rows).filter(|i| known(*i)).for_each(|i| fill.data[i] = value(i));
        let reach = REACH * columns.max(rows) as f32;
        spread::along_colours(&guide, &mut fill, known, (reach * reach).recip(), sweeps);
        last = Some((fill, guide));
    }
    let fill = last.map_or_else(|| Mask::filled(width, height, 0.0), |(fill, guide)| spread::enlarged(&fill, &guide, picture));
    Ok(Mask::from_fn(width, height, |x, y| {
        let ([value, cover], fill) = (painted.at(x, y), fill.at(x, y));
        // `value` began at 0: less than full cover means that much less of it.
        let value = (value + (1.0 - cover) * fill).clamp(0.0, 1.0);
        far.recip() + value * (near.recip() - far.recip())
    }))
}

/// Known values and, smoothly, those between them; nothing known is 0.
fn guess(width: usize, height: usize, known: impl Fn(usize) -> bool, value: impl Fn(usize) -> f32) -> Mask {
    let weights = Mask { width, height, data: (0..width * height).map(|i| f32::from(known(i))).collect() };
    let values = Grid { width, height, data: (0..width * height).map(|i| if known(i) { [value(i)] } else { [0.0] }).collect() };
    Mask { width, height, data: pull_push(&values, &weights).data.iter().map(|[value]| *value).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::motion::region::Region;

    fn disc(x: f32, y: f32, radius: f32, value: f32) -> DepthMark {
        DepthMark { region: Region::Disc { center: (x, y), radius, softness: 0.0 }, value }
    }

    /// Values 0..1 of marks on a picture of `scale` times 120 x 80 px: an orange box in front of a blue wall.
    fn painted(marks: &[DepthMark], scale: usize) -> Mask {
        let size = (120 * scale, 80 * scale);
        let picture = Picture::from_fn(size.0, size.1, |x, y| {
            let inside = (40..80).contains(&(x / scale)) && (20..60).contains(&(y / scale));
            let grain = ((x * 7 + y * 13) % 5) as f32 * 0.004;
            if inside { [0.9, 0.5 + grain, 0.1] } else { [0.1, 0.2, 0.5 + grain] }
        });
        let map = inverse(&picture, &Placement::stretch((120, 80), size), Path::new(""), (10.0, 1.0), marks).unwrap();
        Mask { data: map.data.iter().map(|w| (w - 0.1) / 0.9).collect(), ..map }
    }

    #[test]
    fn a_mark_fills_the_thing_it_lies_on_and_no_other() {
        for scale in [1, 5] {
            let map = painted(&[disc(60.0, 40.0, 5.0, 1.0), disc(10.0, 10.0, 4.0, 0.0)], scale);
            let at = |x: usize, y: usize| map.at(x * scale, y * scale);
            assert!(at(60, 40) > 0.999 && at(43, 23) > 0.85 && at(77, 57) > 0.85, "{} {}", at(43, 23), at(77, 57));
            assert!(at(36, 40) < 0.15 && at(84, 40) < 0.15 && at(115, 75) < 0.1, "{} {} {}", at(36, 40), at(84, 40), at(115, 75));
        }
        let alone = painted(&[disc(60.0, 40.0, 5.0, 1.0)], 1);
        assert!(alone.at(50, 30) > 0.85 && alone.at(20, 40) < 0.2, "one mark is enough: {}", alone.at(20, 40));
    }

    #[test]
    fn between_marks_on_one_surface_depth_is_a_slope_and_later_marks_lie_over_earlier_ones() {
        let marks = [disc(10.0, 70.0, 4.0, 1.0), disc(110.0, 70.0, 4.0, 0.0)];
        let map = painted(&marks, 1);
        let values: Vec<f32> = [15, 35, 60, 85, 104].map(|x| map.at(x, 70)).to_vec();
        assert!(values.windows(2).all(|pair| pair[0] > pair[1]) && (0.25..0.6).contains(&values[2]), "{values:?}");
        let over = painted(&[marks[0].clone(), disc(10.0, 70.0, 2.0, 0.25)], 1);
        assert!((over.at(10, 70) - 0.25).abs() < 0.01 && over.at(13, 70) > 0.9);
        assert!(painted(&[], 1).data.iter().all(|value| value.abs() < 1e-6), "nothing painted is far");
        assert!(map.data.iter().all(|value| (-1e-5..=1.0 + 1e-5).contains(value)));
    }
}
