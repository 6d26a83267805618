//! The motion of a clip's own camera: a homography per frame that most of the picture follows.
//!
//! RANSAC (Fischler and Bolles 1981) with truncated errors finds it, iteratively reweighted least squares make it exact; tracks that
//! follow it in most frames are the background, and in a second round only they count. Invariant: the same tracks give the same
//! homographies, whatever the number of threads. Guarded by the tests below.

use glam::{DMat3, DVec2, Vec2};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::linear::solve;
use super::placing::similarity;

/// Samples of four tracks that are tried.
const TRIES: usize = 300;
/// Tracks by which a sample is judged.
const JUDGES: usize = 400;
/// Fewer tracks than this say nothing of a perspective: then a similarity is fitted.
const LEAST_TRACKS: usize = 8;
/// Rounds of reweighting.
const ROUNDS: usize = 8;
/// Share of the frames in which a track of the background follows it.
const FAITHFUL: f32 = 0.6;
/// Keeps the perspective at none where tracks do not tell.
const RIDGE: f64 = 1e-6;

/// A place of the first frame that was seen in another one.
#[derive(Clone, Copy, Debug)]
struct Sight {
    track: usize,
    from: DVec2,
    to: DVec2,
}

/// For each of `frames` (places of all tracks, px) the homography that takes the background's places in `rest` there. Only tracks that
/// are `seen` at a frame (frame, track) count for it; where none are, the frame before goes on. `size` is the clip's, px.
pub(super) fn background<F: Fn(usize, usize) -> bool + Sync>(rest: &[Vec2], frames: &[Vec<Vec2>], seen: F, size: Vec2) -> Vec<DMat3> {
    let unit_px = f64::from(size.max_element()).max(1.0) * 0.5;
    let middle = (size * 0.5).as_dvec2();
    let tolerance = f64::from((0.004 * size.length()).clamp(0.75, 3.0)) / unit_px;
    let sights = |frame: usize, trusted: &(dyn Fn(usize) -> bool + Sync)| -> Vec<Sight> {
        let unit = |p: Vec2| (p.as_dvec2() - middle) / unit_px;
        let tracks = (0..rest.len()).filter(|track| seen(frame, *track) && trusted(*track));
        tracks.map(|track| Sight { track, from: unit(rest[track]), to: unit(frames[frame][track]) }).collect()
    };
    let first: Vec<(Option<DMat3>, Vec<Sight>)> = (0..frames.len())
        .into_par_iter()
        .map(|frame| {
            let sights = sights(frame, &|_| true);
            (fit(&sights, tolerance, frame as u64), sights)
        })
        .collect();
    let (mut followed, mut shown) = (vec![0.0_f32; rest.len()], vec![0.0_f32; rest.len()]);
    for (map, sights) in first.iter().filter_map(|(map, sights)| Some(((*map)?, sights))) {
        for sight in sights {
            shown[sight.track] += 1.0;
            followed[sight.track] += f32::from(error(&map, sight) < 2.0 * tolerance);
        }
    }
    let faithful: Vec<bool> = followed.iter().zip(&shown).map(|(followed, shown)| *followed >= FAITHFUL * shown.max(1.0)).collect();
    let second: Vec<Option<DMat3>> = first
        .into_par_iter()
        .enumerate()
        .map(|(frame, (map, _))| {
            let sights = sights(frame, &|track| faithful[track]);
            if sights.len() < LEAST_TRACKS { map } else { fit(&sights, tolerance, frame as u64).or(map) }
        })
        .collect();
    let to_unit = DMat3::from_scale(DVec2::splat(1.0 / unit_px)) * DMat3::from_translation(-middle);
    let to_px = DMat3::from_translation(middle) * DMat3::from_scale(DVec2::splat(unit_px));
    let mut last = DMat3::IDENTITY;
    second
        .into_iter()
        .map(|map| {
            last = map.map_or(last, |map| to_px * map * to_unit);
            last
        })
        .collect()
}

/// Where a homography takes a place; None beyond its horizon.
pub(super) fn project(map: &DMat3, at: DVec2) -> Option<DVec2> {
    let seen = *map * at.extend(1.0);
    (seen.z > 1e-6).then(|| seen.truncate() / seen.z)
}

fn error(map: &DMat3, sight: &Sight) -> f64 {
    project(map, sight.from).map_or(f64::INFINITY, |to| to.distance(sight.to))
}

/// The homography that most of `sights` follow, within `tolerance` or nearly so.
fn fit(sights: &[Sight], tolerance: f64, seed: u64) -> Option<DMat3> {
    if sights.len() < LEAST_TRACKS {
        return similar(sights);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |count: usize| ((u64::from(rng.next_u32()) * count as u64) >> 32) as usize;
    let step = sights.len().div_ceil(JUDGES);
    let cost = |map: &DMat3| sights.iter().step_by(step).map(|sight| error(map, sight).min(tolerance)).sum::<f64>();
    let mut best: Option<(f64, DMat3)> = similar(sights).map(|map| (cost(&map), map));
    for _ in 0..TRIES {
        let four = [(); 4].map(|()| sights[draw(sights.len())]);
        let Some(map) = least_squares(four.iter().map(|sight| (sight, 1.0))) else { continue };
        let cost = cost(&map);
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, map));
        }
    }
    let (_, mut map) = best?;
    for round in 0..ROUNDS {
        // From the tracks that roughly follow to those that do exactly (Geman and McClure's weights).
        let scale = tolerance * if round < ROUNDS / 2 { 1.0 } else { 0.5 };
        let weighed = sights.iter().map(|sight| {
            let depth = (map * sight.from.extend(1.0)).z;
            (sight, (1.0 + (error(&map, sight) / scale).powi(2)).recip().powi(2) / (depth * depth).max(1e-6))
        });
        map = least_squares(weighed).unwrap_or(map);
    }
    Some(map)
}

/// A move, turn and scale for few tracks; none of none.
fn similar(sights: &[Sight]) -> Option<DMat3> {
    if sights.is_empty() {
        return None;
    }
    let (from, to): (Vec<Vec2>, Vec<Vec2>) = sights.iter().map(|sight| (sight.from.as_vec2(), sight.to.as_vec2())).unzip();
    let (map, _) = similarity(&from, &to, false);
    let (x, y, t) = (map.matrix2.x_axis.as_dvec2(), map.matrix2.y_axis.as_dvec2(), map.translation.as_dvec2());
    Some(DMat3::from_cols(x.extend(0.0), y.extend(0.0), t.extend(1.0)))
}

/// The homography of least weighted algebraic error (its last entry is 1); None when the sights do not determine it, or it turns
/// the picture over.
fn least_squares<'a>(sights: impl Iterator<Item = (&'a Sight, f64)>) -> Option<DMat3> {
    let mut matrix = vec![0.0; 64];
    let mut right = vec![[0.0]; 8];
    let mut all = 0.0;
    for (Sight { from, to, .. }, weight) in sights {
        let (x, y, u, v) = (from.x, from.y, to.x, to.y);
        for (row, value) in [([x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y], u), ([0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y], v)] {
            for i in 0..8 {
                right[i][0] += weight * row[i] * value;
                for j in 0..8 {
                    matrix[i * 8 + j] += weight * row[i] * row[j];
                }
            }
        }
        all += weight;
    }
    for i in 6..8 {
        matrix[i * 9] += RIDGE * all;
    }
    let h: Vec<f64> = solve(matrix, right)?.iter().map(|[value]| *value).collect();
    let map = DMat3::from_cols_array(&[h[0], h[3], h[6], h[1], h[4], h[7], h[2], h[5], 1.0]);
    (h[0] * h[4] - h[1] * h[3] > 0.0).then_some(map)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_camera_is_found_among_moving_things_and_lost_tracks() {
        let size = Vec2::new(320.0, 180.0);
        let rest: Vec<Vec2> = (0..400).map(|i| Vec2::new((i % 25) as f32 * 12.5 + 6.0, (i / 25) as f32 * 11.0 + 5.0)).collect();
        let truth = |frame: usize| {
            let t = frame as f64;
            DMat3::from_cols_array(&[1.0 + 0.004 * t, 0.003 * t, 2e-5 * t, -0.003 * t, 1.0 + 0.002 * t, -1e-5 * t, 1.5 * t, -0.7 * t, 1.0])
        };
        let noise = |i: usize| ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) * 0.4;
        let moved = |frame: usize| -> Vec<Vec2> {
            let place = |(i, p): (usize, &Vec2)| {
                let seen = project(&truth(frame), p.as_dvec2()).unwrap().as_vec2();
                // A third of the picture goes its own way.
                let own = if p.distance(size * 0.5) < 70.0 { Vec2::new(-4.0, 3.0) * frame as f32 } else { Vec2::ZERO };
                seen + own + Vec2::new(noise(2 * i + frame), noise(2 * i + 1 + 31 * frame))
            };
            rest.iter().enumerate().map(place).collect()
        };
        let mut frames: Vec<Vec<Vec2>> = (0..12).map(moved).collect();
        frames.push(vec![Vec2::ZERO; 400]);
        let found = background(&rest, &frames, |frame, track| frame < 12 && (track + frame) % 5 != 0, size);
        for frame in 0..12 {
            for p in [Vec2::new(10.0, 10.0), Vec2::new(300.0, 20.0), Vec2::new(160.0, 90.0), Vec2::new(40.0, 170.0)] {
                let (a, b) = (project(&found[frame], p.as_dvec2()).unwrap(), project(&truth(frame), p.as_dvec2()).unwrap());
                assert!(a.distance(b) < 0.3, "{frame} {p}: {a} {b}");
            }
        }
        assert_eq!(found[12], found[11], "where nothing is seen the camera stands");
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let again = one.install(|| background(&rest, &frames, |frame, track| frame < 12 && (track + frame) % 5 != 0, size));
        assert_eq!(again, found);
    }

    #[test]
    fn few_tracks_or_tracks_on_a_line_make_a_similarity() {
        let rest: Vec<Vec2> = (0..20).map(|i| Vec2::new(10.0 + 5.0 * i as f32, 50.0)).collect();
        let frames = vec![rest.iter().map(|p| *p + Vec2::new(3.0, -2.0)).collect::<Vec<_>>()];
        for few in [20, 3, 1] {
            let map = background(&rest, &frames, |_, track| track < few, Vec2::new(120.0, 100.0))[0];
            let to = project(&map, DVec2::new(60.0, 50.0)).unwrap();
            assert!(to.distance(DVec2::new(63.0, 48.0)) < 0.05, "{few}: {to}");
        }
        assert_eq!(background(&rest, &frames, |_, _| false, Vec2::new(120.0, 100.0)), [DMat3::IDENTITY]);
    }
}
