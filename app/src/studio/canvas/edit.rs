//! What tools do to a work, as plain functions.
//!
//! Invariant: whatever they leave is valid as the engine checks it: keys go forward in time, handles name keys, a path has a key.
//! Guarded by the tests below.

use glam::Vec2;
use kinebrush_engine::motion::outline::{Combine, combine};
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::{After, Easing, Key, MAX_FRAMES, Stroke};

use crate::studio::document::Work;

/// Longer side of the grid that regions are combined on, px.
const LONGER_SIDE: usize = 1024;
/// How far outside the picture a key may be drawn, in picture sizes; the engine takes a little more.
const REACH: f32 = 3.5;

/// A stroke with nothing but region, path and timing.
pub fn new_stroke(region: Region, path: Vec<Key>, easing: Easing, after: After) -> Stroke {
    Stroke { easing, after, ..Stroke::along(region, path) }
}

/// Adds `stroke` in front; the project grows so that all of it is seen. Its index, or None when it is no use (its region lies outside
/// the picture, say).
pub fn add_stroke(work: &mut Work, stroke: Stroke, picture: (usize, usize)) -> Option<usize> {
    let moves_all = stroke.region == Region::All;
    if stroke.path.len() < 2 || stroke.validate("stroke", picture).is_err() {
        return None;
    }
    if moves_all {
        work.project.pins.retain(|pin| *pin != Region::All);
    }
    let last = stroke.path.last().map_or(0.0, |key| key.frame);
    work.project.frames = work.project.frames.max((last.ceil() as usize + 1).min(MAX_FRAMES));
    if work.region.as_ref() == Some(&stroke.region) {
        work.region = None;
    }
    work.project.strokes.push(stroke);
    Some(work.project.strokes.len() - 1)
}

/// `place`, or the nearest one that a key may have.
pub fn within_reach(place: Vec2, picture: (usize, usize)) -> Vec2 {
    let size = Vec2::new(picture.0 as f32, picture.1 as f32);
    if place.is_finite() { place.clamp(size * -REACH, size * (1.0 + REACH)) } else { size * 0.5 }
}

/// Takes key `key` out; false when the path would be left with less than two.
pub fn delete_key(stroke: &mut Stroke, key: usize) -> bool {
    if stroke.path.len() <= 2 || key >= stroke.path.len() {
        return false;
    }
    stroke.path.remove(key);
    stroke.handles.retain(|handle| handle.0 != key);
    stroke.handles.iter_mut().filter(|handle| handle.0 > key).for_each(|handle| handle.0 -= 1);
    true
}

/// Puts a key between `segment` and the next; false when there is no time between them.
pub fn insert_key(stroke: &mut Stroke, segment: usize, key: Key) -> bool {
    let (Some(before), Some(after)) = (stroke.path.get(segment), stroke.path.get(segment + 1)) else { return false };
    let margin = (after.frame - before.frame) * 0.02;
    let key = Key { frame: key.frame.clamp(before.frame + margin, after.frame - margin), ..key };
    if key.frame <= before.frame || key.frame >= after.frame {
        return false;
    }
    stroke.path.insert(segment + 1, key);
    stroke.handles.iter_mut().filter(|handle| handle.0 > segment).for_each(|handle| handle.0 += 1);
    true
}

/// Moves a key; the first takes the others along, for only the way from it counts.
pub fn move_key(stroke: &mut Stroke, key: usize, to: Vec2, picture: (usize, usize)) {
    let Some(way) = stroke.path.get(key).map(|key| within_reach(to, picture) - key.place) else { return };
    let moved = if key == 0 { 0..stroke.path.len() } else { key..key + 1 };
    for key in &mut stroke.path[moved] {
        key.place = within_reach(key.place + way, picture);
    }
}

/// Sets the way from a key to its control point; None lets the curve pass smoothly again.
pub fn set_handle(stroke: &mut Stroke, key: usize, way: Option<Vec2>, picture: (usize, usize)) {
    let Some(place) = stroke.path.get(key).map(|key| key.place) else { return };
    stroke.handles.retain(|handle| handle.0 != key);
    if let Some(way) = way {
        let way = within_reach(place + way, picture) - place;
        stroke.handles.push((key, way.x, way.y));
        stroke.handles.sort_by_key(|handle| handle.0);
    }
}

/// How a mark goes together with what was marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It alone counts.
    Replace,
    /// Both.
    Add,
    /// What was marked without it.
    Subtract,
}

/// `new` marked on what `work` has; `softness_px` is the fade of an outline that has to be traced. Nothing changes where a mask file
/// cannot be read.
pub fn mark(work: &mut Work, new: Region, how: Mark, softness_px: f32, picture: (usize, usize)) {
    let how = match (how, &work.region) {
        (Mark::Subtract, None) => return,
        (Mark::Subtract, Some(_)) => Combine::Subtract,
        (Mark::Add, Some(old)) if *old != Region::All => Combine::Add,
        (Mark::Add, Some(_)) => return,
        (Mark::Replace, _) | (Mark::Add, None) => {
            if new.validate("region", picture).is_ok() {
                work.region = Some(new);
            }
            return;
        }
    };
    let Some(old) = work.region.take() else { return };
    work.region = combine(&old, &new, how, softness_px, picture, LONGER_SIDE, work.project.folder()).unwrap_or(Some(old));
}

/// Takes `brush` from what is marked and, if any, from pin `pin`; false when nothing changed.
pub fn erase(work: &mut Work, brush: &Region, pin: Option<usize>, picture: (usize, usize)) -> bool {
    let before = work.clone();
    let folder = work.project.folder().to_owned();
    let taken = |region: &Region| {
        let softness = if let Region::Lasso { softness, .. } = region { *softness } else { 0.0 };
        combine(region, brush, Combine::Subtract, softness, picture, LONGER_SIDE, &folder).unwrap_or_else(|_| Some(region.clone()))
    };
    if let Some(region) = &work.region {
        work.region = taken(region);
    }
    if let Some(pin) = pin.filter(|pin| *pin < work.project.pins.len()) {
        match taken(&work.project.pins[pin]) {
            Some(region) => work.project.pins[pin] = region,
            None => drop(work.project.pins.remove(pin)),
        }
    }
    *work != before
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use kinebrush_engine::motion::project::Project;

    const SIZE: (usize, usize) = (300, 200);

    fn work() -> Work {
        Work { project: Project::new("", "x.png", 10), region: None }
    }

    fn stroke() -> Stroke {
        let keys = [(0.0, 10.0, 10.0), (8.0, 60.0, 10.0), (20.0, 90.0, 60.0)].map(Key::from);
        new_stroke(Region::Disc { center: (10.0, 10.0), radius: 9.0, softness: 0.5 }, keys.to_vec(), Easing::Hand, After::Hold)
    }

    #[test]
    fn a_new_stroke_is_seen_to_its_end_and_useless_ones_are_refused() {
        let mut work = work();
        work.region = Some(stroke().region);
        assert_eq!(add_stroke(&mut work, stroke(), SIZE), Some(0));
        assert_eq!((work.project.frames, &work.region), (21, &None));
        let outside = Region::Disc { center: (-500.0, 10.0), radius: 9.0, softness: 0.5 };
        assert_eq!(add_stroke(&mut work, Stroke { region: outside, ..stroke() }, SIZE), None);
        work.project.pins.push(Region::All);
        assert_eq!(add_stroke(&mut work, Stroke { region: Region::All, ..stroke() }, SIZE), Some(1));
        assert!(work.project.pins.is_empty());
    }

    #[test]
    fn keys_come_and_go_with_their_handles() {
        let mut stroke = stroke();
        set_handle(&mut stroke, 1, Some(Vec2::new(0.0, 20.0)), SIZE);
        set_handle(&mut stroke, 2, Some(Vec2::new(5.0, 0.0)), SIZE);
        assert!(insert_key(&mut stroke, 0, Key { frame: 99.0, place: Vec2::new(30.0, 12.0) }));
        assert_eq!(stroke.handles, [(2, 0.0, 20.0), (3, 5.0, 0.0)]);
        assert!(stroke.validate("s", SIZE).is_ok() && stroke.path[1].frame < 8.0);
        assert!(delete_key(&mut stroke, 2) && stroke.handles == [(2, 5.0, 0.0)]);
        assert!(delete_key(&mut stroke, 0) && !delete_key(&mut stroke, 0));
        assert!(stroke.validate("s", SIZE).is_ok());
    }

    #[test]
    fn the_first_key_takes_the_others_along() {
        let (mut moved, before) = (stroke(), stroke());
        move_key(&mut moved, 0, Vec2::new(20.0, 15.0), SIZE);
        assert!(moved.path.iter().zip(&before.path).all(|(a, b)| a.place == b.place + Vec2::new(10.0, 5.0)));
        move_key(&mut moved, 2, Vec2::new(f32::NAN, 0.0), SIZE);
        move_key(&mut moved, 1, Vec2::splat(1e9), SIZE);
        assert!(moved.validate("s", SIZE).is_ok() && moved.path[0].place == Vec2::new(20.0, 15.0));
    }

    #[test]
    fn marks_add_up_and_take_away() {
        let mut work = work();
        let brush = |x: f32| Region::Brush { points: vec![(x, 50.0)], radius: 20.0, softness: 0.0 };
        mark(&mut work, brush(50.0), Mark::Add, 0.0, SIZE);
        assert_eq!(work.region, Some(brush(50.0)));
        mark(&mut work, brush(150.0), Mark::Add, 4.0, SIZE);
        assert!(matches!(&work.region, Some(Region::Lasso { softness, .. }) if *softness == 4.0));
        mark(&mut work, Region::All, Mark::Subtract, 0.0, SIZE);
        assert_eq!(work.region, None);
        work.project.pins.push(brush(50.0));
        assert!(!erase(&mut work, &brush(200.0), None, SIZE));
        assert!(erase(&mut work, &brush(60.0), Some(0), SIZE) && matches!(work.project.pins[0], Region::Lasso { .. }));
        assert!(erase(&mut work, &Region::All, Some(0), SIZE) && work.project.pins.is_empty());
    }
}
