//! Outlines to masks: brushes by distance, lassos by the part of each pixel that lies inside.
//!
//! Invariant: antialiased, independent of the number of threads, exact to 1/16 px row. Guarded by the tests of `region`.

use std::collections::HashSet;

use glam::Vec2;
use rayon::prelude::*;

use super::region::Placement;
use crate::picture::Mask;

/// Sub-scanlines per row of a lasso; horizontally the coverage is exact.
const SUBROWS: usize = 16;

/// 0 at 0, 1 at 1, flat at both.
pub(super) fn smoothstep(u: f32) -> f32 {
    let u = u.clamp(0.0, 1.0);
    u * u * (3.0 - 2.0 * u)
}

/// Fills a mask row by row, in parallel; `fill(scene_y, row)` with the row's centre.
fn rows(placement: &Placement, fill: impl Fn(usize, &mut [f32]) + Sync) -> Mask {
    let mut mask = Mask::filled(placement.scene.0, placement.scene.1, 0.0);
    mask.data.par_chunks_mut(placement.scene.0.max(1)).enumerate().for_each(|(y, row)| fill(y, row));
    mask
}

/// A round brush drawn along `points`; `softness` is the part of the radius that fades.
pub(super) fn brush(points: &[(f32, f32)], radius: f32, softness: f32, placement: &Placement) -> Mask {
    // A recorded hand gives many points per px; neighbours much nearer than the radius change nothing that can be seen.
    let mut kept: Vec<Vec2> = Vec::new();
    for (i, point) in points.iter().enumerate() {
        let point = Vec2::from(*point);
        if i + 1 == points.len() || kept.last().is_none_or(|last| last.distance(point) > radius * 0.04) {
            kept.push(point);
        }
    }
    let segments: Vec<[Vec2; 2]> = if kept.len() == 1 { vec![[kept[0]; 2]] } else { kept.windows(2).map(|w| [w[0], w[1]]).collect() };
    // Scene px per picture px across the outline; for a stretched picture the mean of both directions.
    let scale = placement.scale.element_sum() * 0.5;
    let fade = radius * softness;
    let mut mask = distances(&segments, radius + 1.0 / scale, placement);
    mask.data.par_iter_mut().for_each(|value| {
        let inside = radius - *value;
        *value = if fade * scale > 1.0 { smoothstep(inside / fade) } else { (inside * scale + 0.5).clamp(0.0, 1.0) };
    });
    mask
}

/// Distance of each pixel centre to the nearest segment, picture px; infinite beyond `limit`.
fn distances(segments: &[[Vec2; 2]], limit: f32, placement: &Placement) -> Mask {
    rows(placement, |y, row| {
        row.fill(f32::INFINITY);
        let y = placement.picture_y(y as f32 + 0.5);
        for [a, b] in segments {
            if y < a.y.min(b.y) - limit || y > a.y.max(b.y) + limit {
                continue;
            }
            let column = |x: f32| (x * placement.scale.x + placement.offset.x).clamp(0.0, row.len() as f32);
            let first = column(a.x.min(b.x) - limit).floor() as usize;
            let last = column(a.x.max(b.x) + limit).ceil() as usize;
            let (along, squared) = (*b - *a, a.distance_squared(*b));
            for (x, value) in row[first..last].iter_mut().enumerate() {
                let from_a = Vec2::new(placement.picture_x((first + x) as f32 + 0.5), y) - *a;
                let t = if squared > 0.0 { (from_a.dot(along) / squared).clamp(0.0, 1.0) } else { 0.0 };
                *value = value.min((from_a - along * t).length());
            }
        }
        row.iter_mut().filter(|value| **value > limit).for_each(|value| *value = f32::INFINITY);
    })
}

/// The inside of a closed outline (non-zero winding), fading over `softness` picture px inside it.
pub(super) fn lasso(points: &[(f32, f32)], softness: f32, placement: &Placement) -> Mask {
    let map = placement.scene_from_picture();
    let corners: Vec<Vec2> = points.iter().map(|p| map.transform_point2((*p).into())).collect();
    let edges: Vec<[Vec2; 2]> = (0..corners.len()).map(|i| [corners[i], corners[(i + 1) % corners.len()]]).collect();
    let mut mask = rows(placement, |y, row| {
        let (top, bottom) = (y as f32, y as f32 + 1.0);
        let near: Vec<&[Vec2; 2]> = edges.iter().filter(|[a, b]| a.y.min(b.y) < bottom && a.y.max(b.y) > top).collect();
        let mut crossings: Vec<(f32, i32)> = Vec::new();
        for subrow in 0..SUBROWS {
            let y = top + (subrow as f32 + 0.5) / SUBROWS as f32;
            crossings.clear();
            for [a, b] in &near {
                // Half-open, so that a corner between two edges counts once.
                if (a.y <= y) != (b.y <= y) {
                    let x = a.x + (y - a.y) * (b.x - a.x) / (b.y - a.y);
                    crossings.push((x, if b.y > a.y { 1 } else { -1 }));
                }
            }
            crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut winding = 0;
            for pair in crossings.windows(2) {
                winding += pair[0].1;
                if winding != 0 {
                    cover(row, pair[0].0, pair[1].0);
                }
            }
        }
        row.iter_mut().for_each(|value| *value = (*value / SUBROWS as f32).min(1.0));
    });
    if softness * placement.scale.element_sum() * 0.5 > 1.0 {
        let edge = |i: usize| (points[i], points[(i + 1) % points.len()]);
        // What is walked forth and back joins parts and holes; it is no border (see `outline`).
        let bits = |(a, b): ((f32, f32), (f32, f32))| [a.0, a.1, b.0, b.1].map(f32::to_bits);
        let walked: HashSet<[u32; 4]> = (0..points.len()).map(|i| bits(edge(i))).collect();
        let border = (0..points.len()).map(edge).filter(|(a, b)| !walked.contains(&bits((*b, *a))));
        let outline: Vec<[Vec2; 2]> = border.map(|(a, b)| [a.into(), b.into()]).collect();
        let fade = distances(&outline, softness, placement);
        mask.data.par_iter_mut().zip(&fade.data).for_each(|(value, distance)| *value *= smoothstep(distance / softness));
    }
    mask
}

/// Adds the part of each pixel that lies in `low..high`.
fn cover(row: &mut [f32], low: f32, high: f32) {
    let (low, high) = (low.clamp(0.0, row.len() as f32), high.clamp(0.0, row.len() as f32));
    for (x, value) in row.iter_mut().enumerate().take(high.ceil() as usize).skip(low as usize) {
        *value += (high.min((x + 1) as f32) - low.max(x as f32)).max(0.0);
    }
}
