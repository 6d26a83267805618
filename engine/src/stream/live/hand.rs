//! Drags while video is made: what the hand did between two cuts becomes keys in the frames of the chunk that is cut.
//!
//! Invariant: a drag's keys are strictly increasing, at most one per quarter of a frame, and after a cut the last one is where the hand
//! was last, on the chunk's last frame; frames that were made already are passed exactly where they were. The same samples give the
//! same keys. Guarded by the tests below.

use std::time::Instant;

use glam::Vec2;

use super::Hand;
use crate::motion::region::Region;
use crate::motion::stroke::{After, Key, Stroke};

/// Keys per frame, at most.
const PER_FRAME: f32 = 4.0;
/// Samples that may wait for a cut: minutes of a hand while nothing is made.
const MOST_WAITING: usize = 1 << 14;

/// All drags that the project does not hold yet.
#[derive(Debug, Default)]
pub struct Hands {
    drags: Vec<Drag>,
    last_cut: Option<Instant>,
    newest: u64,
}

#[derive(Debug)]
struct Drag {
    number: u64,
    region: Region,
    /// Not in the keys yet, in order of time.
    waiting: Vec<(Instant, Vec2)>,
    keys: Vec<Key>,
    /// Of the newest sample.
    time: Instant,
    /// What becomes of the region, once the hand let go.
    after: Option<After>,
    /// Whether every sample has become a key and none will follow.
    done: bool,
}

/// What a cut took in.
#[derive(Debug, Default, PartialEq)]
pub struct Taken {
    /// Drags whose keys changed.
    pub drags: Vec<u64>,
    /// The oldest movement among them.
    pub oldest: Option<Instant>,
}

impl Hands {
    /// A sample. What is no part of a drag that is held is left out: an unknown drag, one that was released, a time that runs
    /// backwards, a place that is none.
    pub fn push(&mut self, hand: Hand) {
        match hand {
            Hand::Press { drag, region, place, time } => {
                if drag > self.newest && place.is_finite() {
                    self.newest = drag;
                    let waiting = vec![(time, place)];
                    self.drags.push(Drag { number: drag, region, waiting, keys: Vec::new(), time, after: None, done: false });
                }
            }
            Hand::Move { drag, place, time } => {
                if let Some(drag) = self.held(drag) {
                    drag.sample(time, place);
                }
            }
            Hand::Release { drag, place, time, after } => {
                if let Some(drag) = self.held(drag) {
                    drag.sample(time.max(drag.time), place);
                    drag.after = Some(after);
                }
            }
        }
    }

    fn held(&mut self, number: u64) -> Option<&mut Drag> {
        self.drags.iter_mut().find(|drag| drag.number == number && drag.after.is_none())
    }

    /// The drags as strokes, oldest first; one without a key yet stands still.
    pub fn strokes(&self) -> impl Iterator<Item = (u64, Stroke)> {
        self.drags.iter().map(|drag| (drag.number, drag.stroke()))
    }

    /// The stroke of one drag, and whether it is over.
    pub fn stroke(&self, number: u64) -> Option<(Stroke, bool)> {
        self.drags.iter().find(|drag| drag.number == number).map(|drag| (drag.stroke(), drag.done))
    }

    /// A chunk of `frames` from frame `first` on is cut at `now`: the samples of the drags that are `shown` become keys in its frames.
    /// Those of other drags go on waiting, so that nothing of them is lost.
    pub fn cut(&mut self, first: usize, frames: usize, now: Instant, shown: &[u64]) -> Taken {
        let (start, end) = (first.saturating_sub(1) as f32, (first + frames - 1) as f32);
        let mut taken = Taken::default();
        for drag in self.drags.iter_mut().filter(|drag| !drag.done && shown.contains(&drag.number)) {
            if let Some(oldest) = drag.cut(start, end, self.last_cut, now) {
                taken.oldest = Some(taken.oldest.map_or(oldest, |other| other.min(oldest)));
            }
            taken.drags.push(drag.number);
        }
        self.last_cut = Some(now);
        taken
    }

    /// Forgets finished drags up to `absorbed`: the project holds them, or they were undone.
    pub fn forget(&mut self, absorbed: u64) {
        self.drags.retain(|drag| drag.number > absorbed || drag.after.is_none());
    }

    /// Forgets one drag.
    pub fn remove(&mut self, number: u64) {
        self.drags.retain(|drag| drag.number != number);
    }

    /// Nothing is held any more. Gives the drags that moved something and were not over, as they were.
    pub fn end(&mut self) -> Vec<(u64, Stroke)> {
        self.last_cut = None;
        let ended = std::mem::take(&mut self.drags);
        ended.iter().filter(|drag| !drag.done && !drag.keys.is_empty()).map(|drag| (drag.number, drag.stroke())).collect()
    }
}

impl Drag {
    fn sample(&mut self, time: Instant, place: Vec2) {
        if !place.is_finite() || time < self.time {
            return;
        }
        self.time = time;
        // A hand that goes on for minutes while nothing is made: only where it ends counts.
        self.waiting.truncate(MOST_WAITING - 1);
        self.waiting.push((time, place));
    }

    /// Waiting samples become keys after `start` up to `end`; returns the time of the oldest.
    fn cut(&mut self, start: f32, end: f32, last_cut: Option<Instant>, now: Instant) -> Option<Instant> {
        let samples = std::mem::take(&mut self.waiting);
        let oldest = samples.first().map(|sample| sample.0);
        let from = oldest.map_or(now, |oldest| last_cut.map_or(oldest, |cut| cut.min(oldest)));
        let span = now.saturating_duration_since(from).as_secs_f32();
        let frame_of = |time: Instant| {
            let part = if span > 0.0 { (time.saturating_duration_since(from).as_secs_f32() / span).min(1.0) } else { 1.0 };
            ((start + part * (end - start)) * PER_FRAME).round() / PER_FRAME
        };
        let mut samples = samples.into_iter();
        if self.keys.is_empty() {
            // The place of the press; what follows it needs room before the chunk's end.
            let (time, place) = samples.next()?;
            let latest = (end - 1.0 / PER_FRAME).max(0.0);
            self.keys.push(Key { frame: frame_of(time).min(latest), place });
        }
        let pressed = self.keys.len();
        let mut place = self.keys.last()?.place;
        for (time, newest) in samples {
            place = newest;
            let (frame, last) = (frame_of(time).min(end), self.keys.last()?.frame);
            if frame > last {
                self.keys.push(Key { frame, place });
            } else if self.keys.len() > pressed {
                // Several samples in a quarter of a frame: the last one counts.
                self.keys.last_mut()?.place = place;
            }
        }
        match self.keys.last_mut() {
            Some(last) if last.frame >= end => last.place = place,
            _ => self.keys.push(Key { frame: end, place }),
        }
        self.done = self.after.is_some();
        oldest
    }

    fn stroke(&self) -> Stroke {
        let standing = || self.waiting.first().map(|(_, place)| Key { frame: 0.0, place: *place }).into_iter().collect();
        let path = if self.keys.is_empty() { standing() } else { self.keys.clone() };
        Stroke { after: self.after.filter(|_| self.done).unwrap_or_default(), ..Stroke::along(self.region.clone(), path) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    use std::time::Duration;

    fn region() -> Region {
        Region::Disc { center: (50.0, 50.0), radius: 10.0, softness: 0.0 }
    }

    fn press(drag: u64, x: f32, time: Instant) -> Hand {
        Hand::Press { drag, region: region(), place: Vec2::new(x, 0.0), time }
    }

    fn moved(drag: u64, x: f32, time: Instant) -> Hand {
        Hand::Move { drag, place: Vec2::new(x, 0.0), time }
    }

    fn release(drag: u64, x: f32, time: Instant) -> Hand {
        Hand::Release { drag, place: Vec2::new(x, 0.0), time, after: After::Release }
    }

    fn keys(hands: &Hands, drag: u64) -> Vec<(f32, f32)> {
        hands.stroke(drag).unwrap().0.path.iter().map(|key| (key.frame, key.place.x)).collect()
    }

    #[test]
    fn samples_are_spread_over_the_frames_of_the_chunk() {
        let (start, ms) = (Instant::now(), |ms| Duration::from_millis(ms));
        let mut hands = Hands::default();
        hands.cut(0, 4, start, &[]);
        hands.push(press(1, 10.0, start + ms(100)));
        hands.push(moved(1, 20.0, start + ms(200)));
        hands.push(moved(1, 30.0, start + ms(300)));
        let taken = hands.cut(4, 4, start + ms(400), &[1]);
        assert_eq!(taken, Taken { drags: vec![1], oldest: Some(start + ms(100)) });
        assert_eq!(keys(&hands, 1), [(4.0, 10.0), (5.0, 20.0), (6.0, 30.0), (7.0, 30.0)]);
        // The hand rests: the place is held for the whole chunk, so that a later move does not reach back into it.
        hands.cut(8, 4, start + ms(800), &[1]);
        hands.push(release(1, 40.0, start + ms(900)));
        assert_eq!(hands.stroke(1).unwrap().0.after, After::Hold);
        hands.cut(12, 4, start + ms(1200), &[1]);
        assert_eq!(keys(&hands, 1)[4..], [(11.0, 30.0), (12.0, 40.0), (15.0, 40.0)]);
        assert!(matches!(hands.stroke(1), Some((Stroke { after: After::Release, .. }, true))));
        assert_eq!(hands.cut(16, 4, start + ms(1600), &[1]), Taken::default());
        hands.forget(1);
        assert!(hands.stroke(1).is_none());
    }

    #[test]
    fn what_is_not_shown_yet_waits_whole() {
        let (start, ms) = (Instant::now(), |ms| Duration::from_millis(ms));
        let mut hands = Hands::default();
        hands.cut(0, 4, start, &[]);
        hands.push(press(1, 10.0, start + ms(50)));
        hands.push(moved(1, 20.0, start + ms(90)));
        assert_eq!(hands.cut(4, 4, start + ms(100), &[]), Taken::default());
        assert_eq!(hands.strokes().map(|(n, stroke)| (n, stroke.path.len())).collect::<Vec<_>>(), [(1, 1)]);
        hands.push(release(1, 60.0, start + ms(200)));
        hands.cut(8, 4, start + ms(250), &[1]);
        assert_eq!((keys(&hands, 1)[0].1, *keys(&hands, 1).last().unwrap()), (10.0, (11.0, 60.0)));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        let start = Instant::now();
        let later = start + Duration::from_millis(10);
        let mut hands = Hands::default();
        hands.push(moved(3, 1.0, start));
        hands.push(release(3, 1.0, start));
        hands.push(press(2, f32::NAN, start));
        hands.push(press(2, 5.0, later));
        hands.push(press(1, 7.0, later));
        hands.push(press(2, 8.0, later));
        hands.push(moved(2, 9.0, start));
        hands.push(moved(2, f32::INFINITY, later));
        hands.push(release(2, 6.0, later));
        hands.push(moved(2, 99.0, later));
        hands.push(release(2, 99.0, later));
        hands.cut(0, 4, later, &[1, 2, 3]);
        assert_eq!(hands.strokes().count(), 1);
        assert_eq!((keys(&hands, 2)[0].1, *keys(&hands, 2).last().unwrap()), (5.0, (3.0, 6.0)));
        // Nothing was left to end: the only drag is over.
        assert!(hands.end().is_empty() && hands.strokes().count() == 0);
    }

    /// Any samples at any times: keys go forward, stay inside the chunk, and end where the hand is; earlier keys stay.
    #[test]
    fn any_hands_give_keys_that_go_forward_and_end_where_the_hand_is() {
        for seed in 0..200 {
            let run = || {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut random = |below: u32| rng.next_u32() % below;
                let start = Instant::now();
                let (mut time, mut next, mut first) = (Duration::ZERO, 1, 0);
                let mut hands = Hands::default();
                let mut places = std::collections::BTreeMap::new();
                let mut log: Vec<Vec<(f32, f32)>> = Vec::new();
                for _ in 0..12 {
                    for _ in 0..random(30) {
                        time += Duration::from_micros(u64::from(random(20_000)));
                        let x = random(1000) as f32;
                        let drag = if next > 1 { 1 + u64::from(random(next as u32)) } else { 1 };
                        match random(8) {
                            0 => {
                                hands.push(press(next, x, start + time));
                                places.insert(next, (x, false));
                                next += 1;
                            }
                            1 => {
                                hands.push(release(drag, x, start + time));
                                places.entry(drag).and_modify(|place| *place = if place.1 { *place } else { (x, true) });
                            }
                            _ => {
                                hands.push(moved(drag, x, start + time));
                                places.entry(drag).and_modify(|place| *place = if place.1 { *place } else { (x, false) });
                            }
                        }
                    }
                    time += Duration::from_micros(u64::from(random(50_000)));
                    let before: Vec<_> = (1..next).map(|drag| keys(&hands, drag)).collect();
                    let shown: Vec<u64> = (1..next).filter(|drag| (drag + seed + first as u64 / 4) % 3 != 0).collect();
                    let taken = hands.cut(first, 4, start + time, &shown);
                    for drag in &taken.drags {
                        let keys = keys(&hands, *drag);
                        assert!(keys.windows(2).all(|pair| pair[1].0 >= pair[0].0 + 0.25), "{seed}: {keys:?}");
                        assert_eq!(*keys.last().unwrap(), ((first + 3) as f32, places[drag].0), "{seed}");
                        let kept: Vec<_> = before[*drag as usize - 1].iter().filter(|key| key.0 > 0.0 && key.0 < first as f32).collect();
                        assert!(kept.iter().all(|key| keys.contains(key)), "{seed}: a key that was shown has changed");
                    }
                    first += 4;
                    log.extend((1..next).map(|drag| keys(&hands, drag)));
                }
                log
            };
            assert_eq!(run(), run());
        }
    }
}
