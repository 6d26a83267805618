//! The tracks of a clip made fit to drive a picture: chosen, cleaned, smoothed, and known at every frame.
//!
//! A track that leaves its neighbours alone for some frames is not believed there; where a track is not seen it goes on as its neighbours
//! do that moved alike so far, and meets its next sight without a jump. Invariant: every place is finite, and the same tracks give the same
//! motion, whatever the number of threads. Guarded by the tests below.

use std::sync::Arc;

use glam::{DVec2, Vec2};
use rayon::prelude::*;

use super::neighbours::Buckets;
use super::{Transfer, homography};
use crate::motion::npz::Tracks;
use crate::{Error, Result};

/// Neighbours that a lost track goes on with.
const COMPANIONS: usize = 16;
/// Neighbours that a track is compared with.
const WITNESSES: usize = 8;
/// A track within this of a neighbour's way (px, and as a share of the way) is supported by it.
const SUPPORT: (f32, f32) = (1.0, 0.1);
/// So many px and median deviations from its neighbours a track without support is not believed.
const DISBELIEF: (f32, f32) = (2.0, 4.0);
/// Frames by which likeness of motion is judged, at most.
const LIKENESS_FRAMES: usize = 64;

/// What decides a clip's motion: as long as it is the same, nothing has to be worked out again.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub tracks: Arc<Tracks>,
    clip_size: (usize, usize),
    range: (usize, usize),
    smoothing: f32,
    remove_camera: bool,
    hidden: Vec<u32>,
}

impl PartialEq for Recipe {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |r: &Self| (r.clip_size, r.range, r.smoothing, r.remove_camera);
        Arc::ptr_eq(&self.tracks, &other.tracks) && numbers(self) == numbers(other) && self.hidden == other.hidden
    }
}

/// The places of a clip's tracks at every frame of a range, px of the clip.
#[derive(Clone, Debug)]
pub struct ClipMotion {
    recipe: Recipe,
    /// Which tracks of the file they are.
    pub tracks: Vec<u32>,
    /// How far each is to be believed, 0..1: how long it was seen.
    pub trust: Vec<f32>,
    /// Places by frame.
    frames: Vec<Vec<Vec2>>,
}

impl Recipe {
    pub fn new(tracks: Arc<Tracks>, transfer: &Transfer) -> Self {
        let Transfer { clip_size, range, smoothing, remove_camera, hidden, .. } = transfer.clone();
        Self { tracks, clip_size, range, smoothing, remove_camera, hidden }
    }
}

/// Which places of the tracks are believed.
struct Sights {
    /// By track, then frame.
    places: Vec<Vec<Vec2>>,
    seen: Vec<Vec<bool>>,
}

impl ClipMotion {
    /// Of `tracks` as `transfer` uses them; `field` is the transfer's own name.
    ///
    /// # Errors
    /// A range beyond the tracks, or one in which nothing is seen of what is not hidden.
    pub fn new(tracks: Arc<Tracks>, transfer: &Transfer, field: &str) -> Result<Self> {
        Self::of(Recipe::new(tracks, transfer), field)
    }

    pub(super) fn of(recipe: Recipe, field: &str) -> Result<Self> {
        let (first, last) = recipe.range;
        let count = recipe.tracks.frames.len();
        if last >= count {
            let what = format!("ends at frame {last}, but the tracks have {count} frames; the last one is {}", count.saturating_sub(1));
            return Err(Error::field(format!("{field}.range"), what));
        }
        let source = &recipe.tracks.frames[first..=last];
        let least = source.len().min(2);
        let hidden = |track: usize| recipe.hidden.contains(&(track as u32));
        let kept: Vec<usize> = (0..recipe.tracks.points)
            .filter(|track| !hidden(*track) && source.iter().filter(|frame| frame.visible[*track]).take(least).count() == least)
            .collect();
        if kept.is_empty() {
            let what = match recipe.tracks.points {
                0 => "holds no track; track the clip again with more points".to_owned(),
                _ => format!(
                    "holds no track that is seen in frames {first} to {last} and not hidden; choose another range or show more tracks"
                ),
            };
            return Err(Error::field(format!("{field}.tracks"), what));
        }
        let mut sights = Sights {
            places: kept.iter().map(|track| source.iter().map(|frame| frame.positions[*track]).collect()).collect(),
            seen: kept.iter().map(|track| source.iter().map(|frame| frame.visible[*track]).collect()).collect(),
        };
        sights.disbelieve();
        if recipe.remove_camera {
            sights.stand_still(Vec2::new(recipe.clip_size.0 as f32, recipe.clip_size.1 as f32));
        }
        if recipe.smoothing > 0.0 {
            sights.smooth(recipe.smoothing);
        }
        let trust = sights.seen.iter().map(|seen| {
            let share = seen.iter().filter(|seen| **seen).count() as f32 / seen.len() as f32;
            share.max(0.05) * if seen[0] { 1.0 } else { 0.3 }
        });
        let trust = trust.collect();
        let places = sights.filled();
        let frames = (0..source.len()).map(|frame| places.iter().map(|track| track[frame]).collect()).collect();
        Ok(Self { tracks: kept.into_iter().map(|track| track as u32).collect(), trust, frames, recipe })
    }

    pub(super) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The places at the range's first frame, px of the clip.
    pub fn rest(&self) -> &[Vec2] {
        &self.frames[0]
    }

    /// The places at `time` frames after the range's first, px of the clip: between two frames on a smooth curve through them. The share
    /// `closed` of the way from the first frame to the last is taken off, which makes the last one of a loop the first.
    pub fn places(&self, time: f32, closed: f32) -> Vec<Vec2> {
        let last = self.frames.len() - 1;
        let time = time.clamp(0.0, last as f32);
        let frame = (time as usize).min(last.saturating_sub(1));
        let [a, b, c, d] = crate::picture::catmull_rom(time - frame as f32);
        let at = |offset: isize| &self.frames[(frame as isize + offset).clamp(0, last as isize) as usize];
        let (before, here, next, after) = (at(-1), at(0), at(1), at(2));
        (0..here.len())
            .map(|i| {
                let place = before[i] * a + here[i] * b + next[i] * c + after[i] * d;
                if closed > 0.0 { place - (self.frames[last][i] - self.frames[0][i]) * closed } else { place }
            })
            .collect()
    }
}

impl Sights {
    fn frames(&self) -> usize {
        self.places[0].len()
    }

    /// For every track the tracks next to it, nearest first, with their distance, px.
    fn neighbours(&self, count: usize) -> Vec<Vec<(f32, u32)>> {
        // Where it is first seen: a place that was never seen means nothing.
        let first = |track: usize| self.seen[track].iter().position(|seen| *seen).unwrap_or(0);
        let places: Vec<Vec2> = (0..self.places.len()).map(|track| self.places[track][first(track)]).collect();
        let buckets = Buckets::new(&places);
        let of = |track: usize| {
            let mut found = Vec::new();
            buckets.nearest(places[track], count + 1, &mut found);
            found.retain(|(_, other)| *other as usize != track);
            found.truncate(count);
            found.iter().map(|(squared, other)| (squared.sqrt(), *other)).collect()
        };
        (0..places.len()).into_par_iter().map(of).collect()
    }

    /// Takes sights away that no neighbour supports.
    fn disbelieve(&mut self) {
        let neighbours = self.neighbours(WITNESSES);
        let way = |track: usize, frame: usize| {
            (self.seen[track][0] && self.seen[track][frame]).then(|| self.places[track][frame] - self.places[track][0])
        };
        let believed = |track: usize, frame: usize| -> bool {
            let Some(own) = way(track, frame) else { return true };
            let mut others: Vec<Vec2> = neighbours[track].iter().filter_map(|(_, other)| way(*other as usize, frame)).collect();
            if others.len() < WITNESSES / 2 {
                return true;
            }
            let near = SUPPORT.0 + SUPPORT.1 * own.length();
            if others.iter().filter(|other| other.distance(own) < near).count() >= 2 {
                return true;
            }
            let middle = Vec2::new(median(others.iter().map(|w| w.x)), median(others.iter().map(|w| w.y)));
            others.iter_mut().for_each(|other| *other -= middle);
            let spread = median(others.iter().map(|w| w.length()));
            own.distance(middle) <= DISBELIEF.0 + DISBELIEF.1 * spread
        };
        let frames = self.frames();
        let seen: Vec<Vec<bool>> = (0..self.places.len())
            .into_par_iter()
            .map(|track| (0..frames).map(|frame| self.seen[track][frame] && believed(track, frame)).collect())
            .collect();
        // A track that is believed nowhere but at its start is left as it was: better a strange track than none.
        for (seen, old) in seen.into_iter().zip(&mut self.seen) {
            if seen.iter().filter(|seen| **seen).count() >= frames.min(2) {
                *old = seen;
            }
        }
    }

    /// Takes the motion of the camera out: all places as the first frame's camera would see them.
    fn stand_still(&mut self, size: Vec2) {
        let by_frame: Vec<Vec<Vec2>> = (0..self.frames()).map(|frame| self.places.iter().map(|track| track[frame]).collect()).collect();
        let seen = |frame: usize, track: usize| self.seen[track][0] && self.seen[track][frame];
        let maps = homography::background(&by_frame[0], &by_frame, seen, size);
        for (frame, map) in maps.iter().enumerate().skip(1) {
            let back = map.inverse();
            for track in &mut self.places {
                let at: DVec2 = track[frame].as_dvec2();
                if let Some(place) = homography::project(&back, at).filter(|place| place.is_finite() && place.abs().max_element() < 1e6) {
                    track[frame] = place.as_vec2();
                }
            }
        }
    }

    /// Gaussian smoothing over time with a local line (Cleveland 1979), so that ends do not lag; only what is seen counts.
    fn smooth(&mut self, width: f32) {
        let reach = (3.0 * width).ceil() as usize;
        let Self { places, seen } = self;
        places.par_iter_mut().zip(seen).for_each(|(places, seen)| {
            let raw = places.clone();
            for frame in (0..raw.len()).filter(|frame| seen[*frame]) {
                let (mut n, mut t, mut tt) = (0.0, 0.0, 0.0);
                let (mut sum, mut slope) = (Vec2::ZERO, Vec2::ZERO);
                for other in (frame.saturating_sub(reach)..(frame + reach + 1).min(raw.len())).filter(|other| seen[*other]) {
                    let time = other as f32 - frame as f32;
                    let weight = (-0.5 * (time / width).powi(2)).exp();
                    (n, t, tt) = (n + weight, t + weight * time, tt + weight * time * time);
                    let way = (raw[other] - raw[frame]) * weight;
                    (sum, slope) = (sum + way, slope + way * time);
                }
                let spread = n * tt - t * t;
                let middle = if spread > 1e-4 * n * n { (sum * tt - slope * t) / spread } else { sum / n };
                places[frame] = raw[frame] + middle;
            }
        });
    }

    /// The places by track, with the gaps filled.
    fn filled(&self) -> Vec<Vec<Vec2>> {
        let neighbours = self.neighbours(COMPANIONS);
        (0..self.places.len()).into_par_iter().map(|track| self.fill(track, &neighbours[track])).collect()
    }

    fn fill(&self, track: usize, neighbours: &[(f32, u32)]) -> Vec<Vec2> {
        let (mut places, seen) = (self.places[track].clone(), &self.seen[track]);
        if seen.iter().all(|seen| *seen) {
            return places;
        }
        let companions = self.companions(track, neighbours);
        // What the companions do from one frame to the next, whichever comes first.
        let step = |from: usize, to: usize| {
            let both = companions.iter().filter(|(_, other)| self.seen[*other][from] && self.seen[*other][to]);
            let (sum, weight) = both.fold((Vec2::ZERO, 0.0), |(sum, all), (weight, other)| {
                (sum + (self.places[*other][to] - self.places[*other][from]) * *weight, all + weight)
            });
            if weight > 1e-6 { sum / weight } else { Vec2::ZERO }
        };
        let Some(first) = seen.iter().position(|seen| *seen) else { return places };
        for frame in (0..first).rev() {
            places[frame] = places[frame + 1] + step(frame + 1, frame);
        }
        let mut last = first;
        for frame in first + 1..seen.len() {
            if !seen[frame] {
                places[frame] = places[frame - 1] + step(frame - 1, frame);
                continue;
            }
            let missed =
                self.places[track][frame] - (places[frame - 1] + if frame - last > 1 { step(frame - 1, frame) } else { Vec2::ZERO });
            let gap = (frame - last) as f32;
            for (i, place) in places[last + 1..frame].iter_mut().enumerate() {
                *place += missed * ((i + 1) as f32 / gap);
            }
            last = frame;
        }
        places
    }

    /// The neighbours that moved like a track while both were seen, with weights.
    fn companions(&self, track: usize, neighbours: &[(f32, u32)]) -> Vec<(f32, usize)> {
        let frames = self.frames();
        let stride = (frames / LIKENESS_FRAMES).max(1);
        let reach = 2.0 * neighbours.iter().map(|(distance, _)| *distance).sum::<f32>() / neighbours.len().max(1) as f32;
        let weigh = |(distance, other): &(f32, u32)| {
            let other = *other as usize;
            let (mut apart, mut pace, mut count) = (0.0, 0.0, 0.0);
            for frame in (0..frames.saturating_sub(stride)).step_by(stride) {
                let then = frame + stride;
                if [track, other].iter().all(|t| self.seen[*t][frame] && self.seen[*t][then]) {
                    let way = |t: usize| self.places[t][then] - self.places[t][frame];
                    apart += way(track).distance(way(other));
                    pace += way(track).length();
                    count += 1.0;
                }
            }
            let unlike = if count > 0.0 { apart / (0.5 * count + 0.5 * pace) } else { 1.0 };
            let near = if reach > 0.0 { distance / reach } else { 0.0 };
            ((-0.5 * (near * near + unlike * unlike)).exp(), other)
        };
        neighbours.iter().map(weigh).collect()
    }
}

fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::tests::{swinging, transfer};
    use super::*;

    fn motion(tracks: Tracks, transfer: &Transfer) -> ClipMotion {
        ClipMotion::new(Arc::new(tracks), transfer, "transfers[0]").unwrap()
    }

    #[test]
    fn what_is_seen_is_kept_and_gaps_go_on_as_the_neighbours_do() {
        let truth = swinging(40);
        let mut tracks = truth.clone();
        // Gone at the start, in the middle, at the end; the file's places mean nothing there.
        for (track, hidden) in [(0, 0..9), (84, 10..25), (131, 20..40), (199, 5..39)] {
            for frame in hidden {
                tracks.frames[frame].visible[track] = false;
                tracks.frames[frame].positions[track] = Vec2::new(-50.0, 7.0);
            }
        }
        let motion = motion(tracks, &transfer(40));
        assert_eq!(motion.tracks.len(), 200);
        for frame in 0..40 {
            for (track, (found, truth)) in motion.places(frame as f32, 0.0).iter().zip(&truth.frames[frame].positions).enumerate() {
                assert!(found.distance(*truth) < 0.8, "{frame} {track}: {found} {truth}");
            }
        }
        assert!(motion.trust[131] < 0.6 && motion.trust[50] == 1.0);
        let half = motion.places(7.5, 0.0);
        let between = (motion.places(7.0, 0.0)[3] + motion.places(8.0, 0.0)[3]) * 0.5;
        assert!(half[3].distance(between) < 0.1);
    }

    #[test]
    fn a_track_that_runs_off_alone_is_not_believed() {
        let truth = swinging(30);
        let mut tracks = truth.clone();
        for frame in 12..30 {
            tracks.frames[frame].positions[88] += Vec2::new(40.0, -25.0);
        }
        let found = motion(tracks, &transfer(30));
        for frame in 12..30 {
            let place = found.places(frame as f32, 0.0)[88];
            assert!(place.distance(truth.frames[frame].positions[88]) < 1.0, "{frame}: {place}");
        }
    }

    #[test]
    fn a_small_thing_that_moves_as_one_is_believed() {
        let mut tracks = swinging(20);
        for (t, frame) in tracks.frames.iter_mut().enumerate() {
            [45, 46, 65, 66].iter().for_each(|i| frame.positions[*i] += Vec2::new(3.0, 1.0) * t as f32);
        }
        let truth = tracks.clone();
        let found = motion(tracks, &transfer(20)).places(19.0, 0.0);
        assert!([45, 46, 65, 66].iter().all(|i| found[*i].distance(truth.frames[19].positions[*i]) < 1e-3));
    }

    #[test]
    fn smoothing_takes_the_trembling_and_leaves_the_way() {
        let mut tracks = swinging(40);
        let truth = tracks.clone();
        let noise = |i: usize| ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) * 2.0;
        for (t, frame) in tracks.frames.iter_mut().enumerate() {
            frame.positions.iter_mut().enumerate().for_each(|(i, p)| *p += Vec2::new(noise(i + 331 * t), noise(3 * i + 97 * t)));
        }
        let mut smooth = transfer(40);
        smooth.smoothing = 1.0;
        let error = |motion: &ClipMotion| -> f32 {
            let of = |frame: usize| {
                motion.places(frame as f32, 0.0).iter().zip(&truth.frames[frame].positions).map(|(a, b)| a.distance(*b)).sum::<f32>()
            };
            (0..40).map(of).sum::<f32>() / 8000.0
        };
        let (rough, calm) = (error(&motion(tracks.clone(), &transfer(40))), error(&motion(tracks, &smooth)));
        assert!(calm < 0.75 * rough, "{calm} {rough}");
    }

    #[test]
    fn without_its_camera_a_drifting_clip_stands_and_things_in_it_move() {
        let mut tracks = swinging(30);
        for (t, frame) in tracks.frames.iter_mut().enumerate() {
            for (i, p) in frame.positions.iter_mut().enumerate() {
                *p = Vec2::new((i % 20) as f32 * 10.0 + 5.0, (i / 20) as f32 * 10.0 + 5.0) * (1.0 + 0.005 * t as f32)
                    + Vec2::new(2.0, -1.0) * t as f32;
                if [45, 46, 47, 65, 66, 67].contains(&i) {
                    p.y += t as f32;
                }
            }
        }
        let mut still = transfer(30);
        still.remove_camera = true;
        let motion = motion(tracks, &still);
        let (first, last) = (motion.places(0.0, 0.0), motion.places(29.0, 0.0));
        assert!(last[150].distance(first[150]) < 0.1 && last[3].distance(first[3]) < 0.1);
        assert!((last[46].y - first[46].y - 29.0 / 1.145).abs() < 0.3, "{}", last[46].y - first[46].y);
    }

    #[test]
    fn tracks_that_say_nothing_are_refused_in_words() {
        let refused =
            |tracks: Tracks, transfer: &Transfer| ClipMotion::new(Arc::new(tracks), transfer, "transfers[0]").unwrap_err().to_string();
        let mut hidden = transfer(20);
        hidden.hidden = (0..200).collect();
        assert!(refused(swinging(20), &hidden).starts_with("transfers[0].tracks: holds no track that is seen in frames 0 to 19"));
        let mut unseen = swinging(20);
        unseen.frames.iter_mut().for_each(|frame| frame.visible.fill(false));
        assert!(refused(unseen, &transfer(20)).contains("show more tracks"));
        assert!(refused(swinging(20), &transfer(30)).starts_with("transfers[0].range: ends at frame 29, but the tracks have 20 frames"));
        let none = Tracks { points: 0, frames: vec![Default::default(); 20] };
        assert!(refused(none, &transfer(20)).contains("holds no track; track the clip again"));
        assert!(refused(Tracks::default(), &transfer(1)).contains("have 0 frames"));
        // One frame is a clip too.
        assert_eq!(motion(swinging(1), &transfer(1)).places(3.0, 0.0), swinging(1).frames[0].positions);
    }
}
