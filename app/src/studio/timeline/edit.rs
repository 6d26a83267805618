//! What a hand on the timeline does to strokes, as functions of a stroke.
//!
//! Invariant: every function here takes a valid stroke to a valid one: frames stay within 0..=[`MAX_FRAMES`] and strictly increase,
//! whatever the rounding. Guarded by the randomised tests below, which ask `Project::validate`.

use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::{Easing, MAX_FRAMES, Stroke, Trajectory};

/// Which end of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The first key.
    Start,
    /// The last key.
    End,
}

/// First and last key's frame over path, turn and scale.
pub fn span(stroke: &Stroke) -> (f32, f32) {
    frames(stroke).fold((f32::INFINITY, 0.0), |(first, last), frame| (first.min(frame), last.max(frame)))
}

fn frames(stroke: &Stroke) -> impl Iterator<Item = f32> {
    stroke.path.iter().map(|key| key.frame).chain(stroke.turn.iter().chain(&stroke.scale).map(|key| key.0))
}

/// The stroke `by` frames later (or earlier), as far as it can go.
pub fn moved(stroke: &Stroke, by: f32) -> Stroke {
    let (first, last) = span(stroke);
    let by = by.clamp(-first, MAX_FRAMES as f32 - last);
    if by == 0.0 { stroke.clone() } else { retimed(stroke, |frame| frame + by) }
}

/// The stroke with one edge at frame `to`, the other one kept; never shorter than a frame. A stroke of one key stays as it is.
pub fn stretched(stroke: &Stroke, edge: Edge, to: f32) -> Stroke {
    let (first, last) = span(stroke);
    let (anchor, from, to) = match edge {
        Edge::Start => (last, first, to.clamp(0.0, (last - 1.0).max(0.0))),
        Edge::End => (first, last, to.clamp((first + 1.0).min(MAX_FRAMES as f32), MAX_FRAMES as f32)),
    };
    if last <= first || to == from {
        return stroke.clone();
    }
    let factor = (to - anchor) / (from - anchor);
    // The edge itself lands exactly where it was put.
    retimed(stroke, |frame| if frame == from { to } else { anchor + (frame - anchor) * factor })
}

fn retimed(stroke: &Stroke, time: impl Fn(f32) -> f32) -> Stroke {
    let mut stroke = stroke.clone();
    let mut path: Vec<f32> = stroke.path.iter().map(|key| time(key.frame)).collect();
    put_in_order(&mut path);
    stroke.path.iter_mut().zip(path).for_each(|(key, frame)| key.frame = frame);
    for track in [&mut stroke.turn, &mut stroke.scale] {
        let mut times: Vec<f32> = track.iter().map(|key| time(key.0)).collect();
        put_in_order(&mut times);
        track.iter_mut().zip(times).for_each(|(key, frame)| key.0 = frame);
    }
    stroke
}

/// Makes frames that rounding brought together strictly increasing again, by the smallest steps there are.
fn put_in_order(frames: &mut [f32]) {
    frames.iter_mut().for_each(|frame| *frame = frame.clamp(0.0, MAX_FRAMES as f32));
    for i in 1..frames.len() {
        frames[i] = frames[i].max(frames[i - 1].next_up());
    }
    let mut limit = (MAX_FRAMES as f32).next_up();
    for frame in frames.iter_mut().rev() {
        *frame = frame.min(limit.next_down());
        limit = *frame;
    }
}

/// The strokes with number `from` at place `to`, the others in their order.
pub fn reordered(strokes: &[Stroke], from: usize, to: usize) -> Vec<Stroke> {
    let mut strokes = strokes.to_vec();
    if from < strokes.len() {
        let stroke = strokes.remove(from);
        strokes.insert(to.min(strokes.len()), stroke);
    }
    strokes
}

/// `frame` itself when `free`; else the nearest of `marks` within `reach` frames, or the nearest whole frame.
pub fn snapped(frame: f32, marks: &[f32], reach: f32, free: bool) -> f32 {
    if free {
        return frame;
    }
    let nearest = marks.iter().copied().min_by(|a, b| (a - frame).abs().total_cmp(&(b - frame).abs()));
    nearest.filter(|mark| (mark - frame).abs() <= reach).unwrap_or(frame.round())
}

/// The same motion once more, right after the first time.
pub fn repeated(stroke: &Stroke, name: String) -> Stroke {
    let (first, last) = span(stroke);
    Stroke { name, ..moved(stroke, (last - first).max(1.0)) }
}

/// The stroke with its path smoothed by `amount` (0: as it is, 1: most): every key moves to the mean of what lies around it in time,
/// then keys that say nothing new go. First and last key, their frames and keys with handles are kept.
pub fn smoothed(stroke: &Stroke, amount: f32) -> Stroke {
    let keys = &stroke.path;
    if amount <= 0.0 || keys.len() < 3 {
        return stroke.clone();
    }
    let last = keys.len() - 1;
    let (start, end) = (keys[0].frame, keys[last].frame);
    let widest = amount.min(1.0) * (0.15 * (end - start)).min(12.0);
    let mut path = keys.clone();
    for i in 1..last {
        let at = keys[i].frame;
        // Narrower towards the ends, so that these stay where they are and nothing jumps beside them.
        let sigma = widest.min((at - start) / 3.0).min((end - at) / 3.0);
        let reach = |j: usize| (keys[j].frame - at).abs() <= 3.0 * sigma;
        let (mut sum, mut weights) = (glam::Vec2::ZERO, 0.0);
        let mut add = |j: usize| {
            // A key stands for the time around it: dense keys count no more than sparse ones.
            let share = (keys[(j + 1).min(last)].frame - keys[j.saturating_sub(1)].frame) / 2.0;
            let weight = share * (-0.5 * ((keys[j].frame - at) / sigma.max(1e-6)).powi(2)).exp();
            sum += keys[j].place * weight;
            weights += weight;
        };
        (0..=i).rev().take_while(|j| reach(*j)).for_each(&mut add);
        (i + 1..=last).take_while(|j| reach(*j)).for_each(&mut add);
        if weights > 0.0 {
            path[i].place = sum / weights;
        }
    }
    let fixed: Vec<usize> = stroke.handles.iter().map(|handle| handle.0).collect();
    let kept = thinned(&path, &fixed, 1.5 * amount);
    let index = |old: usize| kept.binary_search(&old).unwrap_or(0);
    Stroke {
        path: kept.iter().map(|i| path[*i]).collect(),
        handles: stroke.handles.iter().map(|(key, x, y)| (index(*key), *x, *y)).collect(),
        ..stroke.clone()
    }
}

/// Indices of the keys without which the hand would be more than `tolerance` px off at some key's time (Ramer, Douglas, Peucker).
fn thinned(keys: &[kinebrush_engine::motion::stroke::Key], fixed: &[usize], tolerance: f32) -> Vec<usize> {
    let last = keys.len() - 1;
    let mut kept = vec![false; keys.len()];
    let corners: std::collections::BTreeSet<usize> = fixed.iter().copied().filter(|i| *i <= last).chain([0, last]).collect();
    corners.iter().for_each(|i| kept[*i] = true);
    let corners: Vec<usize> = corners.into_iter().collect();
    let mut parts: Vec<(usize, usize)> = corners.windows(2).map(|pair| (pair[0], pair[1])).collect();
    while let Some((from, to)) = parts.pop() {
        let (a, b) = (keys[from], keys[to]);
        let off = |i: usize| a.place.lerp(b.place, (keys[i].frame - a.frame) / (b.frame - a.frame)).distance(keys[i].place);
        let worst = (from + 1..to).map(|i| (i, off(i))).max_by(|x, y| x.1.total_cmp(&y.1));
        if let Some((i, off)) = worst
            && off > tolerance
        {
            kept[i] = true;
            parts.extend([(from, i), (i, to)]);
        }
    }
    (0..keys.len()).filter(|i| kept[*i]).collect()
}

/// A turn or scale track as an inspector can show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Simple {
    /// No keys: nothing turns or grows.
    None,
    /// From its rest to `value` between two frames.
    Two {
        /// First frame.
        from: f32,
        /// Last frame.
        to: f32,
        /// Value at the last frame.
        value: f32,
    },
    /// More than two keys, made elsewhere.
    Custom(usize),
}

/// `track` as an inspector can show it.
pub fn simple(track: &[(f32, f32)]) -> Simple {
    match track {
        [] => Simple::None,
        [(from, _), (to, value)] => Simple::Two { from: *from, to: *to, value: *value },
        more => Simple::Custom(more.len()),
    }
}

/// The track that goes from `rest` at frame `from` to `value` at frame `to`, which comes at least a frame later; none when nothing changes.
pub fn two_keys(rest: f32, value: f32, from: f32, to: f32) -> Vec<(f32, f32)> {
    if value == rest {
        return Vec::new();
    }
    let from = from.clamp(0.0, MAX_FRAMES as f32 - 1.0);
    vec![(from, rest), (to.clamp(from + 1.0, MAX_FRAMES as f32), value)]
}

/// Softness of a region, and the most it may have here; None where it has none.
pub fn softness(region: &Region) -> Option<(f32, f32)> {
    match region {
        Region::Disc { softness, .. } | Region::Brush { softness, .. } => Some((*softness, 1.0)),
        Region::Lasso { softness, .. } => Some((*softness, softness.max(64.0))),
        Region::MaskFile { .. } | Region::All => None,
    }
}

/// The region with another softness.
pub fn softened(region: &Region, value: f32) -> Region {
    let mut region = region.clone();
    if let Region::Disc { softness, .. } | Region::Brush { softness, .. } | Region::Lasso { softness, .. } = &mut region {
        *softness = value;
    }
    region
}

/// How fast the stroke moves in each of `samples` equal parts of its time, px per frame; zeros where it stands still.
pub fn speeds(stroke: &Stroke, samples: usize) -> Vec<f32> {
    let (first, last) = span(stroke);
    if stroke.path.is_empty() || last <= first {
        return vec![0.0; samples];
    }
    let trajectory = Trajectory::new(stroke);
    let step = (last - first) / samples as f32;
    let mut before = trajectory.displacement(first);
    (1..=samples)
        .map(|i| {
            let place = trajectory.displacement(first + step * i as f32);
            std::mem::replace(&mut before, place).distance(place) / step
        })
        .collect()
}

/// Part of the way done after part `u` of the time by a speed curve, as the engine bends it.
pub fn way_at(timing: &[(f32, f32)], samples: usize) -> Vec<f32> {
    let straight = Stroke::along(Region::All, vec![(0.0, 0.0, 0.0).into(), (1.0, 1000.0, 0.0).into()]);
    let ruler = Stroke { timing: timing.to_vec(), easing: Easing::Linear, ..straight };
    let trajectory = Trajectory::new(&ruler);
    (0..=samples).map(|i| trajectory.displacement(i as f32 / samples as f32).x / 1000.0).collect()
}

/// Least time between two points of a speed curve, as a part of the whole.
pub const POINT_GAP: f32 = 0.01;

/// The speed curve with point `i` at `to`, kept between its neighbours; the two ends stay.
pub fn with_point_at(timing: &[(f32, f32)], i: usize, to: (f32, f32)) -> Vec<(f32, f32)> {
    let mut timing = timing.to_vec();
    if i == 0 || i + 1 >= timing.len() {
        return timing;
    }
    let (before, after) = (timing[i - 1], timing[i + 1]);
    let (low, high) = (before.0 + POINT_GAP, after.0 - POINT_GAP);
    let time = if low < high { to.0.clamp(low, high) } else { (before.0 + after.0) / 2.0 };
    timing[i] = (time, to.1.clamp(before.1, after.1));
    timing
}

/// The speed curve with one more point near `at`, and its index; None where there is no room.
pub fn with_point_added(timing: &[(f32, f32)], at: (f32, f32)) -> Option<(Vec<(f32, f32)>, usize)> {
    let mut timing = if timing.is_empty() { vec![(0.0, 0.0), (1.0, 1.0)] } else { timing.to_vec() };
    let i = timing.partition_point(|point| point.0 <= at.0).clamp(1, timing.len() - 1);
    (timing[i].0 - timing[i - 1].0 > 2.0 * POINT_GAP).then(|| {
        timing.insert(i, at);
        (with_point_at(&timing, i, at), i)
    })
}

/// The speed curve without point `i`; none at all when only the ends are left.
pub fn without_point(timing: &[(f32, f32)], i: usize) -> Vec<(f32, f32)> {
    let mut timing = timing.to_vec();
    if i > 0 && i + 1 < timing.len() {
        timing.remove(i);
    }
    if timing.len() <= 2 { Vec::new() } else { timing }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::testing::{Dice, project, stroke};
    use super::*;

    fn random_stroke(dice: &mut Dice) -> Stroke {
        let keys = 1 + dice.below(40);
        let mut frame = dice.unit() * 300.0 * dice.unit();
        let dense = if dice.below(2) == 0 { 0.01 } else { 4.0 };
        let path = (0..keys).map(|_| {
            frame += 1e-3 + dice.unit() * dense;
            (frame, dice.unit() * 400.0, dice.unit() * 300.0)
        });
        let mut made = stroke("random", &path.collect::<Vec<_>>());
        if dice.below(2) == 0 {
            made.turn = vec![(dice.unit() * 50.0, 0.0), (60.0 + dice.unit() * 50.0, 90.0)];
        }
        if dice.below(3) == 0 {
            made.scale = vec![(1.0, 1.0), (2.0 + dice.unit(), 1.4), (9.0, 0.5)];
        }
        if keys > 4 && dice.below(2) == 0 {
            made.handles = vec![(3, 4.0, -2.0)];
        }
        made
    }

    #[test]
    fn whatever_a_hand_does_the_project_stays_valid() {
        let (folder, mut project) = project(81);
        let mut dice = Dice(7);
        for round in 0..600 {
            project.strokes = (0..1 + dice.below(4)).map(|_| random_stroke(&mut dice)).collect();
            for _ in 0..6 {
                let i = dice.below(project.strokes.len());
                let far = (dice.unit() - 0.5) * if dice.below(4) == 0 { 250_000.0 } else { 200.0 };
                let one = &project.strokes[i];
                let (first, last) = span(one);
                project.strokes[i] = match dice.below(4) {
                    0 => moved(one, far),
                    1 => stretched(one, Edge::Start, first + far),
                    2 => stretched(one, Edge::End, last + far),
                    _ => smoothed(one, dice.unit()),
                };
                project.validate().unwrap_or_else(|e| panic!("round {round}: {e}"));
            }
            let to = dice.below(project.strokes.len());
            project.strokes = reordered(&project.strokes, 0, to);
            project.validate().unwrap();
        }
        drop(folder);
    }

    #[test]
    fn a_bar_moves_as_one_and_stops_at_the_start() {
        let one = Stroke { turn: vec![(6.0, 0.0), (12.0, 30.0)], ..stroke("a", &[(8.0, 0.0, 0.0), (20.0, 9.0, 9.0)]) };
        assert_eq!(span(&one), (6.0, 20.0));
        assert_eq!(span(&moved(&one, 10.0)), (16.0, 30.0));
        assert_eq!(span(&moved(&one, -10.0)), (0.0, 14.0), "the turn begins first");
        assert_eq!(moved(&one, 5.0).turn, vec![(11.0, 0.0), (17.0, 30.0)]);
    }

    #[test]
    fn a_bar_is_stretched_about_its_other_end() {
        let one = stroke("a", &[(8.0, 0.0, 0.0), (12.0, 4.0, 0.0), (20.0, 9.0, 9.0)]);
        let frames = |stroke: &Stroke| stroke.path.iter().map(|key| key.frame).collect::<Vec<_>>();
        assert_eq!(frames(&stretched(&one, Edge::End, 32.0)), [8.0, 16.0, 32.0]);
        assert_eq!(frames(&stretched(&one, Edge::Start, 14.0)), [14.0, 16.0, 20.0]);
        assert_eq!(span(&stretched(&one, Edge::End, -5.0)), (8.0, 9.0));
        assert_eq!(span(&stretched(&one, Edge::Start, 50.0)), (19.0, 20.0));
        let held = stroke("held", &[(3.0, 1.0, 1.0)]);
        assert_eq!(stretched(&held, Edge::End, 9.0), held);
    }

    #[test]
    fn snapping_takes_marks_then_whole_frames() {
        assert_eq!(snapped(10.4, &[10.6, 30.0], 1.0, false), 10.6);
        assert_eq!(snapped(12.4, &[10.6, 30.0], 1.0, false), 12.0);
        assert_eq!(snapped(10.4, &[10.6], 1.0, true), 10.4);
    }

    #[test]
    fn smoothing_keeps_ends_and_time_and_calms_a_trembling_hand() {
        let mut dice = Dice(3);
        let keys: Vec<_> = (0..=120)
            .map(|i| (i as f32 * 0.5, i as f32 * 3.0, 150.0 + if i % 120 == 0 { 0.0 } else { dice.unit() * 12.0 - 6.0 }))
            .collect();
        let one = stroke("shaky", &keys);
        let rough = |stroke: &Stroke| {
            let trajectory = Trajectory::new(stroke);
            let y = |i: i32| trajectory.displacement(i as f32 * 0.5).y;
            (0..120).map(|i| (y(i + 1) - y(i)).abs()).sum::<f32>()
        };
        for amount in [0.25, 0.5, 1.0] {
            let calm = smoothed(&one, amount);
            assert_eq!((calm.path.first(), calm.path.last()), (one.path.first(), one.path.last()));
            assert!(calm.path.len() < one.path.len() / 2, "{} keys left", calm.path.len());
            assert!(rough(&calm) < rough(&one) / 4.0, "{amount}: {} is not calmer than {}", rough(&calm), rough(&one));
        }
        assert!(rough(&smoothed(&one, 1.0)) < rough(&smoothed(&one, 0.25)), "more is calmer");
        assert_eq!(smoothed(&one, 0.0), one);
        let held = smoothed(&Stroke { handles: vec![(61, 5.0, 5.0)], ..one }, 1.0);
        assert_eq!(held.path[held.handles[0].0].frame, 30.5, "a key with a handle is kept");
    }

    #[test]
    fn speed_points_stay_in_order() {
        let (_folder, mut project) = project(81);
        let mut dice = Dice(11);
        project.strokes = vec![stroke("a", &[(0.0, 0.0, 0.0), (10.0, 90.0, 0.0)])];
        let mut timing = Vec::new();
        for _ in 0..2000 {
            let at = (dice.unit() * 1.4 - 0.2, dice.unit() * 1.4 - 0.2);
            let any = dice.below(timing.len().max(1));
            timing = match dice.below(3) {
                0 => with_point_added(&timing, at).map_or(timing, |added| added.0),
                1 => with_point_at(&timing, any, at),
                _ if timing.len() > 30 => without_point(&timing, any),
                _ => timing,
            };
            project.strokes[0].timing.clone_from(&timing);
            project.validate().unwrap();
        }
        assert!(timing.len() > 3);
        assert_eq!(without_point(&[(0.0, 0.0), (0.5, 0.2), (1.0, 1.0)], 1), []);
    }

    #[test]
    fn a_two_key_track_is_simple_and_a_richer_one_custom() {
        assert_eq!(two_keys(0.0, 90.0, 4.0, 2.0), [(4.0, 0.0), (5.0, 90.0)]);
        assert_eq!(two_keys(1.0, 1.0, 4.0, 8.0), []);
        assert_eq!(simple(&two_keys(1.0, 2.0, 4.0, 8.0)), Simple::Two { from: 4.0, to: 8.0, value: 2.0 });
        assert_eq!(simple(&[(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)]), Simple::Custom(3));
    }

    #[test]
    fn speeds_tell_a_pause() {
        let mut one = stroke("a", &[(0.0, 0.0, 0.0), (40.0, 200.0, 0.0)]);
        assert!(speeds(&one, 10).iter().all(|speed| (speed - 5.0).abs() < 0.05));
        one.timing = vec![(0.0, 0.0), (0.4, 0.5), (0.6, 0.5), (1.0, 1.0)];
        let with_pause = speeds(&one, 10);
        assert!(with_pause[4] < 0.05 && with_pause[5] < 0.05 && with_pause[1] > 4.0, "{with_pause:?}");
        assert!((way_at(&one.timing, 10)[5] - 0.5).abs() < 1e-3);
        let twice = repeated(&one, "b".to_owned());
        assert_eq!(span(&twice), (40.0, 80.0));
    }
}
