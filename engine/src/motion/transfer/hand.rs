//! Motion drawn by a filmed hand: one track of a clip as the path of a stroke.
//!
//! Invariant: the stroke passes within the asked tolerance of the track at every frame, with no more keys than that takes. Guarded by the
//! tests below.

use std::sync::Arc;

use glam::Vec2;
use rayon::prelude::*;

use super::clip_motion::ClipMotion;
use super::neighbours::Buckets;
use super::{ClipMap, Transfer};
use crate::motion::npz::Tracks;
use crate::motion::stroke::{Key, MAX_FRAMES, Stroke};
use crate::motion::track_field::TrackFrame;
use crate::{Error, Result};

/// Frames over which a speed is measured.
const STRIDE: usize = 3;
/// Neighbours that a fast track must move with.
const BLOB: usize = 6;
/// Slower than this (px a frame) nothing moves, it only trembles.
const LEAST_SPEED_PX: f32 = 0.1;

/// The way of track `point` of a clip, placed and timed as `transfer` says (its range, start, speed, placing, smoothing and camera; not
/// strength and repetition), as a stroke over `transfer.region`: through the track within `tolerance_px` of the picture of `picture` px.
///
/// # Errors
/// A track that is not there, is hidden or is not seen in the range; a path that leaves what a stroke may do.
pub fn stroke_from_track(
    tracks: Arc<Tracks>,
    point: usize,
    transfer: &Transfer,
    picture: (usize, usize),
    tolerance_px: f32,
) -> Result<Stroke> {
    if point >= tracks.points {
        return Err(Error::field("track", format!("{point} is not there; the clip has {} tracks", tracks.points)));
    }
    transfer.validate("transfer", picture)?;
    let motion = ClipMotion::new(tracks, transfer, "transfer")?;
    let Some(at) = motion.tracks.iter().position(|track| *track as usize == point) else {
        return Err(Error::field("track", format!("{point} is hidden or not seen in the chosen range; pick another one")));
    };
    let map = ClipMap::new(&transfer.placing, transfer.clip_size, picture);
    let pace = 16.0 / (transfer.clip_fps * transfer.speed);
    let count = transfer.range.1 - transfer.range.0 + 1;
    let keys = (0..count).map(|i| Key { frame: transfer.start + i as f32 * pace, place: map.place(motion.places(i as f32, 0.0)[at]) });
    let keys: Vec<Key> = keys.take_while(|key| key.frame <= MAX_FRAMES as f32).collect();
    let along = Stroke::along(transfer.region.clone(), thinned(&keys, tolerance_px.max(1e-3)));
    let stroke = Stroke { name: transfer.name.clone(), ..along };
    stroke.validate("track", picture)?;
    Ok(stroke)
}

/// As few of `keys` as it takes to pass within `tolerance_px` of all of them at their time (Douglas and Peucker 1973, over time).
fn thinned(keys: &[Key], tolerance_px: f32) -> Vec<Key> {
    let mut kept = vec![false; keys.len()];
    let mut parts = vec![(0, keys.len().saturating_sub(1))];
    while let Some((first, last)) = parts.pop() {
        (kept[first], kept[last]) = (true, true);
        let (a, b) = (keys[first], keys[last]);
        let off = |i: usize| {
            let part = (keys[i].frame - a.frame) / (b.frame - a.frame);
            keys[i].place.distance(a.place.lerp(b.place, part))
        };
        let worst = (first + 1..last).map(|i| (off(i), i)).max_by(|x, y| x.0.total_cmp(&y.0));
        // The stroke's curve swings a little more than the lines between its keys.
        if let Some((_, i)) = worst.filter(|(off, _)| *off > 0.5 * tolerance_px) {
            parts.extend([(first, i), (i, last)]);
        }
    }
    keys.iter().zip(kept).filter_map(|(key, kept)| kept.then_some(*key)).collect()
}

/// The track in the midst of what moves fastest against the picture as a whole; single tracks that run off alone do not count. None where
/// nothing moves.
pub fn fastest_point(tracks: &Tracks) -> Option<usize> {
    let first = tracks.frames.first()?;
    if tracks.points == 0 || tracks.frames.len() <= STRIDE {
        return None;
    }
    let pairs: Vec<(&TrackFrame, &TrackFrame)> = tracks.frames.iter().zip(&tracks.frames[STRIDE..]).collect();
    let way = |(from, to): &(&TrackFrame, &TrackFrame), track: usize| {
        (from.visible[track] && to.visible[track]).then(|| (to.positions[track] - from.positions[track]) / STRIDE as f32)
    };
    let whole: Vec<Vec2> = pairs
        .par_iter()
        .map(|pair| middle((0..tracks.points).filter_map(|track| way(pair, track)).collect()).unwrap_or_default())
        .collect();
    let buckets = Buckets::new(&first.positions);
    let score = |track: usize| {
        let mut near = Vec::new();
        buckets.nearest(first.positions[track], BLOB, &mut near);
        let (mut together, mut apart) = (0.0, 0.0);
        for (pair, whole) in pairs.iter().zip(&whole) {
            let Some(own) = way(pair, track) else { continue };
            let blob: Vec<Vec2> = near.iter().filter_map(|(_, other)| way(pair, *other as usize)).collect();
            if blob.len() >= 3
                && let Some(shared) = middle(blob)
            {
                together += shared.distance(*whole);
                apart += shared.distance(own);
            }
        }
        (together - apart) / pairs.len() as f32
    };
    let scores: Vec<f32> = (0..tracks.points).into_par_iter().map(score).collect();
    let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a)))?;
    (scores[best] >= LEAST_SPEED_PX).then_some(best)
}

/// The median of each coordinate.
fn middle(mut ways: Vec<Vec2>) -> Option<Vec2> {
    let half = ways.len() / 2;
    if ways.is_empty() {
        return None;
    }
    let x = ways.select_nth_unstable_by(half, |a, b| a.x.total_cmp(&b.x)).1.x;
    let y = ways.select_nth_unstable_by(half, |a, b| a.y.total_cmp(&b.y)).1.y;
    Some(Vec2::new(x, y))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::tests::transfer;
    use super::*;

    /// A grid of tracks over 200 x 100 px; those around (150, 50) circle, one lone track jumps about, all of it drifts.
    fn filmed(frames: usize) -> Tracks {
        let frame = |t: usize| {
            let places = (0..200).map(|i| {
                let rest = Vec2::new((i % 20) as f32 * 10.0 + 5.0, (i / 20) as f32 * 10.0 + 5.0);
                let drift = Vec2::new(0.5, 0.2) * t as f32;
                let own = match i {
                    33 => Vec2::new((t * 37 % 19) as f32 - 9.0, (t * 11 % 23) as f32 - 11.0),
                    _ if rest.distance(Vec2::new(150.0, 50.0)) < 18.0 => (Vec2::from_angle(t as f32 * 0.2) - Vec2::X) * 12.0,
                    _ => Vec2::ZERO,
                };
                rest + drift + own
            });
            TrackFrame { positions: places.collect(), visible: vec![true; 200] }
        };
        Tracks { points: 200, frames: (0..frames).map(frame).collect() }
    }

    #[test]
    fn the_fastest_blob_is_found_and_noise_is_not() {
        let tracks = filmed(40);
        let found = fastest_point(&tracks).unwrap();
        assert!(tracks.frames[0].positions[found].distance(Vec2::new(150.0, 50.0)) < 18.0, "{found}");
        let still = TrackFrame { positions: vec![Vec2::ONE; 5], visible: vec![true; 5] };
        assert_eq!(fastest_point(&Tracks { points: 5, frames: vec![still; 9] }), None);
        assert_eq!(fastest_point(&Tracks::default()), None);
    }

    #[test]
    fn a_track_becomes_a_stroke_with_few_keys_at_the_right_places_and_times() {
        let tracks = Arc::new(filmed(64));
        let point = fastest_point(&tracks).unwrap();
        let mut transfer = transfer(64);
        (transfer.clip_fps, transfer.start, transfer.range) = (32.0, 8.0, (4, 60));
        let stroke = stroke_from_track(tracks.clone(), point, &transfer, (400, 200), 1.0).unwrap();
        assert!(stroke.path.len() < 40, "{} keys", stroke.path.len());
        let at = |frame: f32| stroke.path[0].place + stroke.transform_at(frame, Vec2::ZERO).translation;
        for t in 4..=60 {
            let truth = tracks.frames[t].positions[point] * 2.0;
            let found = at(8.0 + (t - 4) as f32 * 0.5);
            assert!(found.distance(truth) < 1.0, "{t}: {found} {truth}");
        }
        let wrong = |point: usize, transfer: &Transfer| {
            stroke_from_track(tracks.clone(), point, transfer, (400, 200), 1.0).unwrap_err().to_string()
        };
        assert!(wrong(900, &transfer).starts_with("track: 900 is not there"));
        transfer.hidden = vec![point as u32];
        assert!(wrong(point, &transfer).contains("is hidden"));
        transfer.range.1 = 64;
        assert!(wrong(3, &transfer).starts_with("transfer.range: ends at frame 64"));
    }
}
