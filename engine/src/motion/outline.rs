//! Masks to outlines: marching squares, simplified, all parts and holes joined into one closed line.
//!
//! Invariant: the outline encloses (non-zero winding) the pixels where the mask is at least one half, to a fraction of a pixel: parts run
//! one way round, holes the other, and what joins them is walked once forth and once back, so it encloses nothing. Guarded by the tests
//! below.

use std::path::Path;

use glam::Vec2;

use super::region::{Placement, Region};
use crate::picture::Mask;
use crate::{Error, Result};

/// Most points of a joined outline; beyond, it is simplified more.
const MAX_POINTS: usize = 20_000;
/// Most closed lines that are joined, largest first.
const MAX_RINGS: usize = 500;

/// How two regions become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// What lies in either.
    Add,
    /// What lies in the first and not in the second.
    Subtract,
}

/// `a` and `b` combined as a hard region of a picture of `picture` px, drawn on a grid of at most `longer_side` px; `softness` is the
/// outline's own, px. None when nothing is left.
///
/// # Errors
/// A mask file that cannot be read (looked for from `base_dir`).
pub fn combine(
    a: &Region,
    b: &Region,
    how: Combine,
    softness: f32,
    picture: (usize, usize),
    longer_side: usize,
    base_dir: &Path,
) -> Result<Option<Region>> {
    if picture.0 == 0 || picture.1 == 0 {
        return Err(Error::field("picture", "has no pixels; load a picture first"));
    }
    let placement = Placement::stretch(picture, grid_size(picture, longer_side));
    let mut mask = hard(a).rasterize_placed(&placement, base_dir)?;
    let other = hard(b).rasterize_placed(&placement, base_dir)?;
    mask.data.iter_mut().zip(&other.data).for_each(|(a, b)| match how {
        Combine::Add => *a = a.max(*b),
        Combine::Subtract => *a = a.min(1.0 - b),
    });
    Ok(region_of(&mask, placement.scale, softness))
}

/// Width and height of the grid that a picture is drawn on: its own, or smaller with `longer_side` px.
pub fn grid_size((width, height): (usize, usize), longer_side: usize) -> (usize, usize) {
    let scale = (longer_side as f32 / width.max(height).max(1) as f32).min(1.0);
    let side = |px: usize| ((px as f32 * scale).round() as usize).max(1);
    (side(width), side(height))
}

/// The region without its fade.
pub fn hard(region: &Region) -> Region {
    let mut region = region.clone();
    match &mut region {
        Region::Disc { softness, .. } | Region::Brush { softness, .. } | Region::Lasso { softness, .. } => *softness = 0.0,
        Region::MaskFile { .. } | Region::All => {}
    }
    region
}

/// The mask's outline as a lasso of the picture; `scale` is mask px per picture px. None when the mask is nowhere one half.
pub fn region_of(mask: &Mask, scale: Vec2, softness: f32) -> Option<Region> {
    let mut tolerance = 0.25;
    loop {
        let points = joined(&trace(mask, tolerance, 2.0));
        if points.len() < 3 {
            return None;
        }
        if points.len() <= MAX_POINTS {
            let points = points.into_iter().map(|point| (point / scale).into()).collect();
            return Some(Region::Lasso { points, softness });
        }
        tolerance *= 2.0;
    }
}

/// Closed lines around the pixels of at least one half, in mask px, largest first: parts have a positive area (clockwise on the
/// screen), holes a negative one. They are off by at most `tolerance` px; those of less than `min_area` px² are left out.
pub fn trace(mask: &Mask, tolerance: f32, min_area: f32) -> Vec<Vec<Vec2>> {
    let mut rings: Vec<(f32, Vec<Vec2>)> = march(mask)
        .into_iter()
        .map(|ring| (area(&ring), ring))
        .filter(|(area, _)| area.abs() >= min_area.max(f32::EPSILON))
        .map(|(area, ring)| (area, simplified(&ring, tolerance)))
        .filter(|(_, ring)| ring.len() >= 3)
        .collect();
    rings.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
    rings.truncate(MAX_RINGS);
    rings.into_iter().map(|(_, ring)| ring).collect()
}

/// Signed area of a closed line.
pub fn area(ring: &[Vec2]) -> f32 {
    let Some(first) = ring.first() else { return 0.0 };
    (0..ring.len()).map(|i| (ring[i] - *first).perp_dot(ring[(i + 1) % ring.len()] - *first)).sum::<f32>() * 0.5
}

/// How often closed lines wind around `place`: 0 is outside.
pub fn winding(rings: &[Vec<Vec2>], place: Vec2) -> i32 {
    let mut winding = 0;
    for ring in rings {
        for (i, a) in ring.iter().enumerate() {
            let b = ring[(i + 1) % ring.len()];
            if (a.y <= place.y) != (b.y <= place.y) && a.x + (place.y - a.y) * (b.x - a.x) / (b.y - a.y) > place.x {
                winding += if b.y > a.y { 1 } else { -1 };
            }
        }
    }
    winding
}

/// All closed lines as one: each further one is reached from the nearest corner of those before, by a way that is walked forth and back.
fn joined(rings: &[Vec<Vec2>]) -> Vec<Vec2> {
    let mut line: Vec<Vec2> = rings.first().cloned().unwrap_or_default();
    for ring in rings.iter().skip(1) {
        let mut nearest = (f32::INFINITY, 0, 0);
        for (i, a) in line.iter().enumerate() {
            for (j, b) in ring.iter().enumerate() {
                let distance = a.distance_squared(*b);
                if distance < nearest.0 {
                    nearest = (distance, i, j);
                }
            }
        }
        let (_, at, from) = nearest;
        let round = ring[from..].iter().chain(&ring[..=from]).copied();
        let detour: Vec<Vec2> = round.chain([line[at]]).collect();
        line.splice(at + 1..at + 1, detour);
    }
    line
}

/// Marching squares over pixel centres; beyond the mask all is empty, so every line closes.
fn march(mask: &Mask) -> Vec<Vec<Vec2>> {
    let (columns, rows) = (mask.width + 1, mask.height + 1);
    // Corner (x, y) of the cells is the centre of pixel (x - 1, y - 1).
    let value = |x: usize, y: usize| {
        let inside = x > 0 && y > 0 && x <= mask.width && y <= mask.height;
        if inside { mask.data[(y - 1) * mask.width + x - 1].clamp(0.0, 1.0) } else { 0.0 }
    };
    // A crossing lies on the edge to the right (0) of corner (x, y), or below it (1).
    let edge = |x: usize, y: usize, down: usize| ((y * (columns + 1) + x) * 2 + down) as u32;
    const NONE: u32 = u32::MAX;
    let mut next = vec![NONE; (columns + 1) * (rows + 1) * 2];
    for y in 0..rows {
        for x in 0..columns {
            let corners = [value(x, y), value(x + 1, y), value(x + 1, y + 1), value(x, y + 1)];
            let case = corners.iter().enumerate().fold(0, |case, (i, value)| case | usize::from(*value >= 0.5) << i);
            if case == 0 || case == 15 {
                continue;
            }
            let (top, right, bottom, left) = (edge(x, y, 0), edge(x + 1, y, 1), edge(x, y + 1, 0), edge(x, y, 1));
            let full = corners.iter().sum::<f32>() >= 2.0;
            // Parts run clockwise on the screen, with the inside on the right hand.
            let mut link = |to: u32, from: u32| next[from as usize] = to;
            match case {
                1 => link(left, top),
                2 => link(top, right),
                3 => link(left, right),
                4 => link(right, bottom),
                5 if full => {
                    link(right, top);
                    link(left, bottom);
                }
                5 => {
                    link(left, top);
                    link(right, bottom);
                }
                6 => link(top, bottom),
                7 => link(left, bottom),
                8 => link(bottom, left),
                9 => link(bottom, top),
                10 if full => {
                    link(top, left);
                    link(bottom, right);
                }
                10 => {
                    link(top, right);
                    link(bottom, left);
                }
                11 => link(bottom, right),
                12 => link(right, left),
                13 => link(right, top),
                _ => link(top, left),
            }
        }
    }
    let place = |id: u32| {
        let (corner, down) = (id as usize / 2, id as usize % 2);
        let (x, y) = (corner % (columns + 1), corner / (columns + 1));
        let (a, b) = (value(x, y), if down == 1 { value(x, y + 1) } else { value(x + 1, y) });
        let t = if a == b { 0.5 } else { ((0.5 - a) / (b - a)).clamp(0.0, 1.0) };
        let centre = Vec2::new(x as f32 - 0.5, y as f32 - 0.5);
        centre + if down == 1 { Vec2::new(0.0, t) } else { Vec2::new(t, 0.0) }
    };
    let mut rings = Vec::new();
    for start in 0..next.len() as u32 {
        let mut ring = Vec::new();
        let mut at = start;
        while next[at as usize] != NONE {
            ring.push(place(at));
            at = std::mem::replace(&mut next[at as usize], NONE);
        }
        if ring.len() >= 3 {
            rings.push(ring);
        }
    }
    rings
}

/// Ramer, Douglas, Peucker on a closed line: between its first corner and the one farthest from it, both ways.
fn simplified(ring: &[Vec2], tolerance: f32) -> Vec<Vec2> {
    let far = (0..ring.len()).max_by(|a, b| ring[0].distance_squared(ring[*a]).total_cmp(&ring[0].distance_squared(ring[*b])));
    let Some(far) = far.filter(|far| *far > 0) else { return ring.to_vec() };
    let closed: Vec<Vec2> = ring.iter().chain(ring.first()).copied().collect();
    let mut kept = vec![false; closed.len()];
    kept[0] = true;
    kept[far] = true;
    let mut open = vec![(0, far), (far, closed.len() - 1)];
    while let Some((first, last)) = open.pop() {
        let along = closed[last] - closed[first];
        let squared = along.length_squared();
        let off = |point: Vec2| {
            let from = point - closed[first];
            let t = if squared > 0.0 { (from.dot(along) / squared).clamp(0.0, 1.0) } else { 0.0 };
            (from - along * t).length()
        };
        let worst = (first + 1..last).map(|i| (off(closed[i]), i)).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, i)) = worst.filter(|(distance, _)| *distance > tolerance) {
            kept[i] = true;
            open.extend([(first, i), (i, last)]);
        }
    }
    closed[..ring.len()].iter().zip(&kept).filter(|(_, kept)| **kept).map(|(point, _)| *point).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn iou(a: &Mask, b: &Mask) -> f32 {
        let sum = |f: fn(f32, f32) -> f32| a.data.iter().zip(&b.data).map(|(a, b)| f(*a, *b)).sum::<f32>();
        sum(f32::min) / sum(f32::max)
    }

    fn again(mask: &Mask) -> Mask {
        let region = region_of(mask, Vec2::ONE, 0.0).unwrap();
        region.validate("region", (mask.width, mask.height)).unwrap();
        region.rasterize(mask.width, mask.height, Path::new(".")).unwrap()
    }

    fn disc(width: usize, height: usize, center: Vec2, radius: f32) -> Mask {
        Mask::from_fn(width, height, |x, y| (radius - center.distance(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)) + 0.5).clamp(0.0, 1.0))
    }

    #[test]
    fn an_outline_encloses_what_the_mask_has() {
        let blob = disc(120, 90, Vec2::new(60.3, 44.8), 30.5);
        assert!(iou(&blob, &again(&blob)) >= 0.98, "{}", iou(&blob, &again(&blob)));
        let cut_off = disc(120, 90, Vec2::new(0.0, 80.0), 40.0);
        assert!(iou(&cut_off, &again(&cut_off)) >= 0.98);
        let full = Mask::filled(40, 30, 1.0);
        // Its corners are cut off, an eighth of a pixel each.
        assert!(iou(&full, &again(&full)) > 0.999);
        assert_eq!(region_of(&Mask::filled(40, 30, 0.0), Vec2::ONE, 0.0), None);
    }

    #[test]
    fn holes_and_several_parts_become_one_outline() {
        let (ring, hole) = (disc(200, 140, Vec2::new(60.0, 70.0), 45.0), disc(200, 140, Vec2::new(66.0, 64.0), 22.0));
        let (island, other) = (disc(200, 140, Vec2::new(66.0, 64.0), 9.0), disc(200, 140, Vec2::new(160.0, 60.0), 25.0));
        let mask = Mask::from_fn(200, 140, |x, y| {
            let ring = ring.at(x, y).min(1.0 - hole.at(x, y));
            ring.max(island.at(x, y)).max(other.at(x, y))
        });
        let rings = trace(&mask, 0.25, 2.0);
        assert_eq!(rings.iter().map(|ring| area(ring).signum()).collect::<Vec<_>>(), [1.0, 1.0, -1.0, 1.0]);
        assert!(iou(&mask, &again(&mask)) >= 0.98, "{}", iou(&mask, &again(&mask)));
        for (place, inside) in [((20.0, 70.0), true), ((66.0, 80.0), false), ((66.0, 64.0), true), ((120.0, 60.0), false)] {
            assert_eq!(winding(&rings, place.into()) != 0, inside, "{place:?}");
        }
    }

    #[test]
    fn corners_that_touch_stay_lines_that_close() {
        let checks = Mask::from_fn(33, 21, |x, y| ((x + y) % 2) as f32);
        assert!(trace(&checks, 0.0, 0.0).iter().all(|ring| ring.len() >= 3));
        let noise = Mask::from_fn(64, 48, |x, y| ((x * 7919 + y * 104_729 + x * y * 31) % 97) as f32 / 97.0);
        for mask in [&checks, &noise] {
            let rings = trace(mask, 0.0, 0.0);
            for (i, value) in mask.data.iter().enumerate() {
                let centre = Vec2::new((i % mask.width) as f32 + 0.5, (i / mask.width) as f32 + 0.5);
                assert_eq!(winding(&rings, centre) != 0, *value >= 0.5, "{centre}");
            }
        }
        assert!(joined(&trace(&noise, 0.0, 0.0)).len() > 100);
    }

    #[test]
    fn the_inside_of_a_soft_outline_does_not_fade_along_what_joins_it() {
        let (outer, hole) = (disc(160, 160, Vec2::splat(80.0), 70.0), disc(160, 160, Vec2::splat(80.0), 12.0));
        let mask = Mask::from_fn(160, 160, |x, y| outer.at(x, y).min(1.0 - hole.at(x, y)));
        let soft = region_of(&mask, Vec2::ONE, 10.0).unwrap().rasterize(160, 160, Path::new(".")).unwrap();
        // Half way between hole and border, all around: nowhere nearer than 28 px to either.
        for step in 0..360 {
            let place = Vec2::splat(80.0) + Vec2::from_angle((step as f32).to_radians()) * 41.0;
            assert!(soft.bilinear(place.x, place.y) > 0.99, "{step}: {}", soft.bilinear(place.x, place.y));
        }
    }

    #[test]
    fn regions_are_added_and_taken_away() {
        let a = Region::Disc { center: (60.0, 60.0), radius: 30.0, softness: 0.5 };
        let b = Region::Brush { points: vec![(80.0, 60.0), (120.0, 60.0)], radius: 12.0, softness: 0.0 };
        let masks = [&a, &b].map(|region| hard(region).rasterize(160, 120, Path::new(".")).unwrap());
        for (how, f) in [(Combine::Add, f32::max as fn(f32, f32) -> f32), (Combine::Subtract, |a, b| a.min(1.0 - b))] {
            let region = combine(&a, &b, how, 0.0, (160, 120), 1024, Path::new(".")).unwrap().unwrap();
            let expected = Mask::from_fn(160, 120, |x, y| f(masks[0].at(x, y), masks[1].at(x, y)));
            let found = region.rasterize(160, 120, Path::new(".")).unwrap();
            assert!(iou(&expected, &found) >= 0.98, "{how:?} {}", iou(&expected, &found));
        }
        let nothing = combine(&a, &Region::All, Combine::Subtract, 0.0, (160, 120), 1024, Path::new(".")).unwrap();
        assert_eq!(nothing, None);
        // On a coarser grid it is nearly the same.
        let coarse = combine(&a, &b, Combine::Add, 0.0, (1600, 1200), 400, Path::new(".")).unwrap().unwrap();
        let fine = combine(&a, &b, Combine::Add, 0.0, (1600, 1200), 1600, Path::new(".")).unwrap().unwrap();
        let [coarse, fine] = [coarse, fine].map(|region| region.rasterize(1600, 1200, Path::new(".")).unwrap());
        assert!(iou(&coarse, &fine) > 0.97, "{}", iou(&coarse, &fine));
    }
}
