//! Scattered ways of tracks become one smooth displacement over a mesh.
//!
//! Moving least squares with affine maps (Schaefer, McPhail, Warren 2006): each vertex takes a fixed linear mix of the ways of the tracks
//! around it, worked out once, so a frame costs a few products a vertex. Invariant: where all tracks move by one affine map so does the
//! mesh, close to them; far away from all tracks nothing moves; no cell of the mesh is turned over. Guarded by the tests below.

use glam::{Mat2, Vec2};
use rayon::prelude::*;

use super::neighbours::Buckets;
use crate::motion::layer_motion::Mesh;
use crate::picture::Mask;

/// Tracks that a vertex is mixed from.
const MIXED: usize = 12;
/// Nearer than this share of the tracks' distance from each other all are equally near.
const BLUR: f32 = 0.1;
/// Share of the spread that keeps a local map plain where tracks lie on a line.
const RIDGE: f32 = 0.002;
/// Influence of the tracks fades between these shares of their extent, ...
const REACH: (f32, f32) = (0.2, 0.6);
/// ... which counts as at least this share of the mesh.
const LEAST_EXTENT: f32 = 0.1;
/// A cell keeps at least this share of its area.
const LEAST_AREA: f32 = 0.05;
/// Rounds in which folds are smoothed away; after them what is left of a fold stays.
const UNFOLDINGS: usize = 48;
/// After so many rounds they reach one cell farther.
const WIDEN: usize = 5;
/// Cells of a mesh along its longer side, and the smallest cell, px.
const CELLS: (f32, f32) = (96.0, 3.0);

/// How every vertex is mixed from tracks.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Per vertex [`MIXED`] tracks with their shares; unused ones have none.
    shares: Vec<[(u32, f32); MIXED]>,
}

/// The mesh at rest that layers are bent by: over the part of a picture where `covered` is not zero (all of it if there is no mask), with
/// `margin_px` on each side.
pub(crate) fn rest_mesh(width: usize, height: usize, covered: Option<&Mask>, margin_px: f32) -> Mesh {
    let (mut low, mut high) = (Vec2::ZERO, Vec2::new(width as f32, height as f32));
    if let Some(mask) = covered {
        (low, high) = (high, low);
        for i in (0..mask.data.len()).filter(|i| mask.data[*i] > 0.0) {
            let corner = Vec2::new((i % width) as f32, (i / width) as f32);
            (low, high) = (low.min(corner), high.max(corner + 1.0));
        }
        high = high.max(low);
    }
    let spacing_px = (width.max(height) as f32 / CELLS.0).max(CELLS.1);
    // On the same lines for every layer of a picture, so that layers that move alike have the same mesh.
    let low = ((low - margin_px - spacing_px) / spacing_px).floor() * spacing_px;
    let high = high + margin_px + spacing_px;
    let cells = ((high - low) / spacing_px).ceil();
    let (columns, rows) = (cells.x as usize + 1, cells.y as usize + 1);
    let at = |i: usize| low + Vec2::new((i % columns) as f32, (i / columns) as f32) * spacing_px;
    Mesh { origin: low, spacing_px, columns, rows, positions: (0..columns * rows).map(at).collect() }
}

impl Field {
    /// For the vertices of `rest`, from tracks at `places` that are to be believed by `trust`.
    pub fn new(rest: &Mesh, places: &[Vec2], trust: &[f32]) -> Self {
        let buckets = Buckets::new(places);
        let (low, high) = places.iter().fold((Vec2::INFINITY, Vec2::NEG_INFINITY), |(low, high), p| (low.min(*p), high.max(*p)));
        let size = Vec2::new(rest.columns as f32, rest.rows as f32) * rest.spacing_px;
        let extent = if places.is_empty() { 0.0 } else { (high - low).length() }.max(LEAST_EXTENT * size.max_element());
        let (near, far) = (REACH.0 * extent, REACH.1 * extent);
        let share = |vertex: &Vec2| {
            let mut found = Vec::new();
            buckets.nearest(*vertex, MIXED + 1, &mut found);
            let mut shares = [(0, 0.0); MIXED];
            let Some((nearest, _)) = found.first() else { return shares };
            let part = 1.0 - crate::motion::raster::smoothstep((nearest.sqrt() - near) / (far - near));
            if part > 0.0 {
                mix(*vertex, &found, places, trust, &mut shares);
                shares.iter_mut().for_each(|(_, share)| *share *= part);
            }
            shares
        };
        Self { shares: rest.positions.par_iter().map(share).collect() }
    }

    /// Adds to every vertex what the tracks' `ways` come to there.
    pub fn add(&self, ways: &[Vec2], vertices: &mut [Vec2]) {
        for (vertex, shares) in vertices.iter_mut().zip(&self.shares) {
            for (track, share) in shares.iter().filter(|(_, share)| *share != 0.0) {
                *vertex += ways[*track as usize] * *share;
            }
        }
    }
}

/// The shares of the `found` tracks at `vertex`: one for all of them together.
fn mix(vertex: Vec2, found: &[(f32, u32)], places: &[Vec2], trust: &[f32], shares: &mut [(u32, f32); MIXED]) {
    // The one too many tells where the weights end, so that they do not jump when a vertex lies a little farther on.
    let (used, horizon) = match found.len() > MIXED {
        true => (&found[..MIXED], found[MIXED].0.sqrt()),
        false => (found, f32::INFINITY),
    };
    let typical = used[used.len() - 1].0 / used.len() as f32;
    let blur = (BLUR * BLUR * typical).max(1e-6);
    let place = |i: usize| places[used[i].1 as usize];
    // Sharp weights say how far the place goes, soft ones how that changes around it: sharp ones alone may know only one direction.
    let soft = |(squared, track): &(f32, u32)| {
        let end = if horizon.is_finite() { (1.0 - squared.sqrt() / (horizon * 1.001 + 1e-6)).max(0.0) } else { 1.0 };
        trust[*track as usize] * end * end
    };
    let softly: Vec<f32> = used.iter().map(soft).collect();
    let sharply: Vec<f32> = used.iter().zip(&softly).map(|((squared, _), soft)| soft / ((squared + blur) * (squared + blur))).collect();
    let mean = |weights: &[f32]| {
        let all = weights.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        ((0..used.len()).map(|i| place(i) * (weights[i] / all)).sum::<Vec2>(), all)
    };
    let ((middle, all), (around, all_soft)) = (mean(&sharply), mean(&softly));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (i, weight) in softly.iter().enumerate() {
        let way = place(i) - around;
        (xx, xy, yy) = (xx + weight * way.x * way.x, xy + weight * way.x * way.y, yy + weight * way.y * way.y);
    }
    let ridge = RIDGE * (xx + yy);
    let spread = Mat2::from_cols(Vec2::new(xx + ridge, xy), Vec2::new(xy, yy + ridge));
    // Beyond the tracks their local map is not continued farther than they reach.
    let radius = ((xx + yy) / all_soft).sqrt();
    let slope = match radius > 1e-3 && spread.determinant() > 0.0 {
        true => spread.inverse() * (vertex - middle).clamp_length_max(radius),
        false => Vec2::ZERO,
    };
    for i in 0..used.len() {
        let tilt = if slope.is_finite() { slope.dot(place(i) - around) } else { 0.0 };
        shares[i] = (used[i].1, sharply[i] / all + softly[i] * tilt);
    }
}

/// Smooths the displacement of `places` from a regular mesh where cells would lose nearly all of their area or be turned over; returns how
/// many still do. After a first look only what was touched is looked at again, so a mesh with few folds costs little more than none.
pub(crate) fn unfold(rest: &Mesh, places: &mut [Vec2]) -> usize {
    let (columns, rows) = (rest.columns, rest.rows);
    let least = LEAST_AREA * rest.spacing_px * rest.spacing_px;
    let bad = |places: &[Vec2], i: usize| {
        let (a, b, c, d) = (places[i], places[i + 1], places[i + columns + 1], places[i + columns]);
        (b - a).perp_dot(c - a) < least || (c - a).perp_dot(d - a) < least
    };
    let cells = (0..rows - 1).flat_map(|row| (0..columns - 1).map(move |column| row * columns + column));
    let mut folded: Vec<usize> = cells.filter(|i| bad(places, *i)).collect();
    // The round in which a vertex was touched, or a cell looked at, last.
    let (mut touched_in, mut looked_in) = (Vec::new(), Vec::new());
    let (mut touched, mut calm) = (Vec::new(), Vec::new());
    for round in 1..=UNFOLDINGS {
        if folded.is_empty() {
            return 0;
        }
        touched_in.resize(places.len(), 0);
        looked_in.resize(places.len(), 0);
        // The longer it takes, the wider around the fold.
        let wide = round / WIDEN;
        touched.clear();
        for cell in &folded {
            let (column, row) = (cell % columns, cell / columns);
            for r in row.saturating_sub(wide)..=(row + 1 + wide).min(rows - 1) {
                for i in r * columns + column.saturating_sub(wide)..=r * columns + (column + 1 + wide).min(columns - 1) {
                    if std::mem::replace(&mut touched_in[i], round) != round {
                        touched.push(i);
                    }
                }
            }
        }
        let way = |i: usize| places[i] - rest.positions[i];
        calm.clear();
        calm.extend(touched.iter().map(|i| {
            let (column, row) = (i % columns, i / columns);
            let (left, right) = (i - usize::from(column > 0), i + usize::from(column + 1 < columns));
            let (up, down) = (if row > 0 { i - columns } else { *i }, if row + 1 < rows { i + columns } else { *i });
            (way(left) + way(right) + way(up) + way(down)) * 0.25
        }));
        for (i, calm) in touched.iter().zip(&calm) {
            places[*i] = rest.positions[*i] + *calm;
        }
        folded.clear();
        for i in &touched {
            let (column, row) = (i % columns, i / columns);
            for r in row.saturating_sub(1)..=row.min(rows - 2) {
                for cell in r * columns + column.saturating_sub(1)..=r * columns + column.min(columns - 2) {
                    if std::mem::replace(&mut looked_in[cell], round) != round && bad(places, cell) {
                        folded.push(cell);
                    }
                }
            }
        }
    }
    folded.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use glam::Affine2;

    fn moved(rest: &Mesh, tracks: &[Vec2], to: impl Fn(Vec2) -> Vec2) -> Mesh {
        let ways: Vec<Vec2> = tracks.iter().map(|p| to(*p) - *p).collect();
        let mut mesh = rest.clone();
        Field::new(rest, tracks, &vec![1.0; tracks.len()]).add(&ways, &mut mesh.positions);
        mesh
    }

    fn scattered(count: usize, size: Vec2) -> Vec<Vec2> {
        let number = |i: usize| (i * 7919 % 10007) as f32 / 10007.0;
        (0..count).map(|i| Vec2::new(number(i + 1), number(3571 * (i + 1) % 9973)) * size).collect()
    }

    #[test]
    fn affine_motion_is_met_and_a_bend_closely() {
        let size = Vec2::new(384.0, 216.0);
        let rest = rest_mesh(384, 216, None, 0.0);
        let tracks = scattered(1500, size);
        let affine = Affine2::from_scale_angle_translation(Vec2::new(1.1, 0.9), 0.2, Vec2::new(20.0, -30.0));
        let bend = |p: Vec2| p + Vec2::new(6.0 * (p.y * 0.05).sin(), 5.0 * (p.x * 0.04).cos());
        let (by_affine, by_bend) = (moved(&rest, &tracks, |p| affine.transform_point2(p)), moved(&rest, &tracks, bend));
        for p in &tracks {
            assert!(
                by_affine.apply(*p).distance(affine.transform_point2(*p)) < 0.1,
                "{p}: {} {}",
                by_affine.apply(*p),
                affine.transform_point2(*p)
            );
            assert!(by_bend.apply(*p).distance(bend(*p)) < 0.3, "{p}: {} {}", by_bend.apply(*p), bend(*p));
        }
    }

    #[test]
    fn far_from_all_tracks_nothing_moves() {
        let rest = rest_mesh(400, 300, None, 0.0);
        let tracks: Vec<Vec2> = (0..9).map(|i| Vec2::new(80.0 + (i % 3) as f32 * 20.0, 80.0 + (i / 3) as f32 * 20.0)).collect();
        let mesh = moved(&rest, &tracks, |p| p + Vec2::new(7.0, -3.0));
        assert!(mesh.apply(Vec2::new(100.0, 95.0)).distance(Vec2::new(107.0, 92.0)) < 1e-2);
        assert!(mesh.apply(Vec2::new(300.0, 250.0)).distance(Vec2::new(300.0, 250.0)) < 1e-3);
        // One track alone, tracks on a line, all on one place, none: no numbers that are not finite.
        for few in [&tracks[..1], &tracks[..3], &[Vec2::splat(50.0); 20][..], &[]] {
            assert!(moved(&rest, few, |p| p + Vec2::X).positions.iter().all(|p| p.is_finite()));
        }
    }

    #[test]
    fn meshes_do_not_fold() {
        let rest = rest_mesh(200, 200, None, 0.0);
        let tracks: Vec<Vec2> = (0..400).map(|i| Vec2::new((i % 20) as f32 * 10.0 + 5.0, (i / 20) as f32 * 10.0 + 5.0)).collect();
        // A square runs over the rest.
        let to = |p: Vec2| if p.distance(Vec2::splat(100.0)) < 40.0 { p + Vec2::new(25.0, 0.0) } else { p };
        let mut mesh = moved(&rest, &tracks, to);
        let before = mesh.clone();
        assert_eq!(unfold(&rest, &mut mesh.positions), 0);
        assert_ne!(mesh, before, "it would have folded");
        assert!(mesh.apply(Vec2::splat(100.0)).distance(Vec2::new(125.0, 100.0)) < 1.0, "far from the fold all stays");
        let mut calm = moved(&rest, &tracks, |p| p * 1.01);
        let before = calm.clone();
        assert_eq!((unfold(&rest, &mut calm.positions), calm), (0, before));
    }

    #[test]
    fn a_mesh_lies_around_what_its_layer_shows() {
        let mask = Mask::from_fn(300, 200, |x, y| f32::from(u8::from((100..150).contains(&x) && (40..60).contains(&y))));
        let mesh = rest_mesh(300, 200, Some(&mask), 10.0);
        let end = mesh.positions[mesh.positions.len() - 1];
        assert!(mesh.origin.cmple(Vec2::new(90.0, 30.0)).all() && end.cmpge(Vec2::new(160.0, 70.0)).all());
        assert!(end.x < 180.0 && mesh.origin.x > 70.0);
        let nothing = rest_mesh(300, 200, Some(&Mask::filled(300, 200, 0.0)), 0.0);
        assert!(nothing.columns >= 2 && nothing.rows >= 2);
    }
}
