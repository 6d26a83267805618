//! What the hand did, as keys of a path: its way and its speed, without what cannot be seen.
//!
//! Invariant: between the keys neither the place nor the time is off by more than the tolerance, and frames strictly increase.
//! Guarded by the tests below.

use glam::{Vec2, Vec3};
use kinebrush_engine::motion::stroke::{Key, MAX_FRAMES};

/// Frames per second of every project.
pub const FRAMES_PER_SECOND: f32 = 16.0;
/// How far a key may be off in time, frames.
const FRAME_TOLERANCE: f32 = 0.25;

/// Where the hand was, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds, from anywhere.
    pub seconds: f64,
    /// Picture px.
    pub place: Vec2,
}

/// The samples as keys from `first_frame` on; the way is off by at most `tolerance` px. One sample or a hand at rest gives one key.
pub fn keys(samples: &[Sample], first_frame: f32, tolerance: f32) -> Vec<Key> {
    let Some(first) = samples.first() else { return Vec::new() };
    let mut timed: Vec<Key> = Vec::with_capacity(samples.len());
    for sample in samples {
        let frame = first_frame.max(0.0) + (sample.seconds - first.seconds) as f32 * FRAMES_PER_SECOND;
        if frame > MAX_FRAMES as f32 {
            break;
        }
        let key = Key { frame, place: sample.place };
        // Of what arrives at the same time the last counts, but a path begins where the hand went down.
        let at_once = timed.last().is_some_and(|last| key.frame < last.frame + 1e-3);
        match timed.as_mut_slice() {
            [_, .., last] if at_once => last.place = key.place,
            [_] if at_once => {}
            _ => timed.push(key),
        }
    }
    thinned(&timed, tolerance.max(1e-3))
}

/// Ramer, Douglas, Peucker in space and time, with the tolerances as units.
fn thinned(keys: &[Key], tolerance: f32) -> Vec<Key> {
    if keys.len() < 3 {
        return keys.to_vec();
    }
    let at = |i: usize| Vec3::new(keys[i].frame / FRAME_TOLERANCE, keys[i].place.x / tolerance, keys[i].place.y / tolerance);
    let mut kept = vec![false; keys.len()];
    kept[0] = true;
    kept[keys.len() - 1] = true;
    let mut open = vec![(0, keys.len() - 1)];
    while let Some((first, last)) = open.pop() {
        let (from, along) = (at(first), at(last) - at(first));
        // Time grows, so `along` is never zero.
        let off = |i: usize| (at(i) - from - along * ((at(i) - from).dot(along) / along.length_squared()).clamp(0.0, 1.0)).length();
        let worst = (first + 1..last).map(|i| (off(i), i)).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, i)) = worst.filter(|(distance, _)| *distance > 1.0) {
            kept[i] = true;
            open.extend([(first, i), (i, last)]);
        }
    }
    keys.iter().zip(kept).filter(|(_, kept)| *kept).map(|(key, _)| *key).collect()
}

/// Keys through `places` from `first_frame` on at an even speed of `px_per_second`.
pub fn even_keys(places: &[Vec2], first_frame: f32, px_per_second: f32) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::with_capacity(places.len());
    for place in places {
        let frame = match keys.last() {
            None => first_frame.max(0.0),
            Some(last) if last.place.distance(*place) < 1e-2 => continue,
            Some(last) => last.frame + (last.place.distance(*place) / px_per_second * FRAMES_PER_SECOND).max(0.25),
        };
        if frame <= MAX_FRAMES as f32 {
            keys.push(Key { frame, place: *place });
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_that_slows_down_keeps_its_timing() {
        // Fast for a second, a rest of a second, then slowly around a quarter circle.
        let at = |t: f32| match t {
            t if t < 1.0 => Vec2::new(t * 200.0, 0.0),
            t if t < 2.0 => Vec2::new(200.0, 0.0),
            t => Vec2::new(200.0, 60.0) - Vec2::from_angle((t - 2.0) * 0.5 + std::f32::consts::FRAC_PI_2) * 60.0,
        };
        let samples: Vec<Sample> =
            (0..480).map(|i| i as f32 / 120.0).map(|t| Sample { seconds: f64::from(t) + 100.0, place: at(t) }).collect();
        let keys = keys(&samples, 5.0, 0.5);
        assert!(keys.len() < 20, "{}", keys.len());
        assert!(keys.windows(2).all(|pair| pair[1].frame > pair[0].frame));
        assert_eq!((keys[0].frame, keys[0].place), (5.0, samples[0].place));
        for sample in &samples {
            let frame = 5.0 + (sample.seconds - 100.0) as f32 * 16.0;
            let distance =
                (-25..=25).map(|shift| place_at(&keys, frame + shift as f32 * 0.01).distance(sample.place)).fold(f32::MAX, f32::min);
            assert!(distance < 0.75, "frame {frame}: {distance}");
        }
    }

    fn place_at(keys: &[Key], frame: f32) -> Vec2 {
        let after = keys.partition_point(|key| key.frame <= frame).clamp(1, keys.len() - 1);
        let (a, b) = (keys[after - 1], keys[after]);
        a.place.lerp(b.place, ((frame - a.frame) / (b.frame - a.frame)).clamp(0.0, 1.0))
    }

    #[test]
    fn what_comes_at_once_is_one_key() {
        let sample = |seconds: f64, x: f32| Sample { seconds, place: Vec2::new(x, 0.0) };
        let found = keys(&[sample(1.0, 0.0), sample(1.0, 5.0), sample(1.5, 10.0), sample(1.5, 20.0)], 0.0, 0.5);
        assert_eq!(found.iter().map(|key| (key.frame, key.place.x)).collect::<Vec<_>>(), [(0.0, 0.0), (8.0, 20.0)]);
        assert_eq!(keys(&[], 0.0, 0.5), []);
    }

    #[test]
    fn clicked_paths_run_evenly() {
        let keys = even_keys(&[Vec2::ZERO, Vec2::new(160.0, 0.0), Vec2::new(160.0, 0.0), Vec2::new(160.0, 80.0)], 2.0, 160.0);
        assert_eq!(keys.iter().map(|key| key.frame).collect::<Vec<_>>(), [2.0, 18.0, 26.0]);
    }
}
