//! Where depth jumps, and how what lies behind goes on.
//!
//! How large a jump is, is said in px: by so much more would the nearer side shift if the camera moved so far that what is nearest
//! shifts by [`MOVE`] of the picture's width. Invariant: everything is finite and not negative; a slanted surface has no jump. Guarded
//! by the tests below.

use std::borrow::Cow;
use std::collections::VecDeque;

use rayon::prelude::*;

use super::super::pull_push::pull_push;
use crate::picture::{Grid, Mask};

/// A camera move of moderate size shifts what is nearest by this share of the picture's longer side.
const MOVE: f32 = 0.05;
/// Neighbouring pixels that shift by so many px more or less than one another do not belong together.
pub const TEAR_PX: f32 = 0.75;
/// A pixel between two depths that differ by more than this belongs to one of them: files blur their edges.
const BLUR_PX: f32 = 3.0;
/// How far what is hidden goes on behind the near side: so many px for each px of the jump, and some more.
const HIDDEN_PER_PX: f32 = 3.0;
const HIDDEN_MORE: f32 = 6.0;
/// At most this share of the longer side.
const HIDDEN_MOST: f32 = 0.15;
/// Further in so many px are not believed to be the far side's colours either.
const COVERS_MORE: u32 = 16;
/// Rounds in which near surroundings of an object's hole are left out.
const FAR_ROUNDS: usize = 3;
/// Rounds of smoothing of the hidden depth.
const ROUNDS: usize = 24;

/// The plate's depth, and what lies behind its tears.
#[derive(Clone, Debug)]
pub struct Depth {
    /// Inverse depth of what the picture shows, its edges cleaned.
    pub front: Mask,
    /// Inverse depth of what is behind, where `hidden`; elsewhere the front's.
    pub back: Mask,
    /// 1 where something behind may come to light.
    pub hidden: Mask,
    /// 1 there and a little further in.
    pub covers: Mask,
    /// Whether `hidden` is anywhere.
    pub hides: bool,
    /// Inverse depth of a jump of one px.
    pub unit: f32,
}

/// Inverse depth that shifts by one px; above 0.
pub fn unit(inverse: &Mask) -> f32 {
    let mut sample: Vec<f32> =
        inverse.data.iter().copied().step_by((inverse.data.len() / 65_536).max(1)).filter(|w| w.is_finite()).collect();
    sample.sort_unstable_by(f32::total_cmp);
    let near = sample.get(sample.len() * 98 / 100).copied().unwrap_or(0.0);
    (near / (MOVE * inverse.width.max(inverse.height) as f32)).max(1e-9)
}

/// `inverse` at this size, nothing mixed across its edges; what is not a number counts as infinitely far.
pub fn fitting(inverse: &Mask, width: usize, height: usize) -> Cow<'_, Mask> {
    let same = (inverse.width, inverse.height) == (width, height);
    if same && inverse.data.iter().all(|w| w.is_finite() && *w >= 0.0) {
        return Cow::Borrowed(inverse);
    }
    let at = |x: usize, y: usize| inverse.at(((2 * x + 1) * inverse.width) / (2 * width), ((2 * y + 1) * inverse.height) / (2 * height));
    Cow::Owned(Mask::from_fn(width, height, |x, y| Some(at(x, y)).filter(|w| w.is_finite() && *w >= 0.0).unwrap_or(0.0)))
}

/// `inverse` with the objects' holes (where `seen` is 0) filled from the far side of their surroundings.
pub fn without_objects(inverse: &Mask, seen: &Mask, unit: f32) -> Mask {
    if seen.data.iter().all(|&s| s > 0.0) {
        return inverse.clone();
    }
    let single = |grid: &Mask| Grid { width: grid.width, height: grid.height, data: grid.data.iter().map(|&w| [w]).collect() };
    let (given, hole) = (single(inverse), Mask { data: seen.data.iter().map(|s| 1.0 - s).collect(), ..*seen });
    let mut filled = pull_push(&given, seen);
    for _ in 0..FAR_ROUNDS {
        // What is nearer than the hole beside it is no part of the ground.
        let beside = pull_push(&filled, &hole);
        let far = Mask::from_fn(seen.width, seen.height, |x, y| match inverse.at(x, y) > beside.at(x, y)[0] + unit {
            true => 0.0,
            false => seen.at(x, y),
        });
        if far.data.iter().all(|&f| f == 0.0) {
            break;
        }
        filled = pull_push(&given, &far);
    }
    Mask::from_fn(seen.width, seen.height, |x, y| if seen.at(x, y) > 0.0 { inverse.at(x, y) } else { filled.at(x, y)[0] })
}

/// `grid` continued by `margin` px on each side.
pub fn extended(grid: &Mask, margin: usize) -> Mask {
    let inside = |i: usize| i as isize - margin as isize;
    Mask::from_fn(grid.width + 2 * margin, grid.height + 2 * margin, |x, y| grid.clamped(inside(x), inside(y)))
}

/// A pixel that something lies behind.
struct Step {
    place: usize,
    /// Inverse depth of what lies behind.
    back: f32,
    /// Px from the tear, and how many of them may come to light.
    way: u32,
    most: u32,
}

impl Depth {
    /// Of a plate whose inverse depth is `inverse`.
    pub fn new(inverse: &Mask, unit: f32) -> Self {
        let front = grown(&unblurred(inverse, unit), unit);
        let nowhere = Mask::filled(front.width, front.height, 0.0);
        let mut depth = Self { back: front.clone(), hidden: nowhere.clone(), covers: nowhere, front, hides: false, unit };
        let covered = depth.continue_behind();
        depth.smooth_behind(&covered);
        depth.hides = !covered.is_empty();
        depth
    }

    /// Carries the depth of every far side in behind its near side, nearest places first; returns the places reached.
    fn continue_behind(&mut self) -> Vec<usize> {
        let (width, tear) = (self.front.width, TEAR_PX * self.unit);
        let farthest = HIDDEN_MOST * width.max(self.front.height) as f32;
        let mut queue = VecDeque::new();
        for from in 0..self.front.data.len() {
            let back = self.front.data[from];
            for place in around(from, width, self.front.data.len()) {
                let jump = self.front.data[place] - back;
                if jump > tear {
                    let most = (HIDDEN_MORE + HIDDEN_PER_PX * jump / self.unit).min(farthest) as u32;
                    queue.push_back(Step { place, back, way: 1, most });
                }
            }
        }
        let mut covered = Vec::new();
        while let Some(Step { place, back, way, most }) = queue.pop_front() {
            if self.covers.data[place] > 0.0 {
                continue;
            }
            covered.push(place);
            self.covers.data[place] = 1.0;
            if way <= most {
                (self.back.data[place], self.hidden.data[place]) = (back, 1.0);
            }
            if way < most + COVERS_MORE {
                let further = around(place, width, self.front.data.len()).filter(|&next| self.front.data[next] > back + tear);
                queue.extend(further.map(|place| Step { place, back, way: way + 1, most }));
            }
        }
        covered.retain(|&place| self.hidden.data[place] > 0.0);
        covered
    }

    /// Smooths the depth behind, so that sides that met inside do not tear it; what is seen stays.
    fn smooth_behind(&mut self, hidden: &[usize]) {
        let (width, size, near) = (self.front.width, self.front.data.len(), 2.0 * TEAR_PX * self.unit);
        let mut smoothed = Vec::new();
        for _ in 0..ROUNDS {
            let mean = |&place: &usize| {
                let own = self.back.data[place];
                let behind = around(place, width, size).filter(|&i| self.hidden.data[i] > 0.0 || self.covers.data[i] == 0.0);
                // What is hidden is smoothed whatever it came from; what is seen holds its own alone.
                let alike =
                    behind.filter(|&i| self.hidden.data[i] > 0.0 || (self.back.data[i] - own).abs() < near).map(|i| self.back.data[i]);
                let (sum, count) = alike.fold((own, 1.0), |(sum, count), w| (sum + w, count + 1.0));
                sum / count
            };
            hidden.par_iter().map(mean).collect_into_vec(&mut smoothed);
            hidden.iter().zip(&smoothed).for_each(|(&place, &w)| self.back.data[place] = w);
        }
    }
}

/// How far a plate of inverse depth `front` is at least around every `step`th of its pixels, and a little farther: what is drawn there
/// lies behind everything.
pub fn backdrop(front: &Mask, step: usize) -> Mask {
    let least = |grid: &Mask, x: usize, y: usize, across: bool| {
        let (centre, size) = if across { (x * step, grid.width) } else { (y * step, grid.height) };
        let range = centre.saturating_sub(2 * step).min(size - 1)..(centre + 2 * step + 1).min(size);
        range.map(|i| if across { grid.at(i, y) } else { grid.at(x, i) }).fold(f32::INFINITY, f32::min)
    };
    let (columns, rows) = (front.width.div_ceil(step) + 1, front.height.div_ceil(step) + 1);
    let across = Mask::from_fn(columns, front.height, |x, y| least(front, x, y, true));
    Mask::from_fn(columns, rows, |x, y| 0.9 * least(&across, x, y, false))
}

/// The up to four neighbours of a place in a grid of `size` places, `width` to a row.
fn around(place: usize, width: usize, size: usize) -> impl Iterator<Item = usize> {
    let x = place % width;
    let left = (x > 0).then(|| place - 1);
    let right = (x + 1 < width).then_some(place + 1);
    [left, right, place.checked_sub(width), Some(place + width).filter(|i| *i < size)].into_iter().flatten()
}

/// Smallest and largest value within `radius` px along both axes.
fn extremes(grid: &Mask, radius: usize) -> Grid<[f32; 2]> {
    let pick = |a: [f32; 2], b: [f32; 2]| [a[0].min(b[0]), a[1].max(b[1])];
    let own = |w: f32| [w, w];
    let across = Grid::from_fn(grid.width, grid.height, |x, y| {
        (x.saturating_sub(radius)..(x + radius + 1).min(grid.width)).fold(own(grid.at(x, y)), |m, u| pick(m, own(grid.at(u, y))))
    });
    Grid::from_fn(grid.width, grid.height, |x, y| {
        (y.saturating_sub(radius)..(y + radius + 1).min(grid.height)).fold(across.at(x, y), |m, v| pick(m, across.at(x, v)))
    })
}

/// Pixels between two depths become one of them.
fn unblurred(inverse: &Mask, unit: f32) -> Mask {
    let extremes = extremes(inverse, 2);
    Mask::from_fn(inverse.width, inverse.height, |x, y| {
        let (w, [far, near]) = (inverse.at(x, y), extremes.at(x, y));
        let part = (w - far) / (near - far);
        if near - far <= BLUR_PX * unit || !(0.2..=0.8).contains(&part) {
            w
        } else if part > 0.4 {
            near
        } else {
            far
        }
    })
}

/// The near sides of tears grown by a px: the mixed pixels of an edge go with what is in front, so that nothing of it stays behind.
fn grown(inverse: &Mask, unit: f32) -> Mask {
    let extremes = extremes(inverse, 1);
    Mask::from_fn(inverse.width, inverse.height, |x, y| {
        let (w, [_, near]) = (inverse.at(x, y), extremes.at(x, y));
        if near - w > TEAR_PX * unit { near } else { w }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slanted_ground_has_no_tears_and_a_box_before_it_hides_its_ground() {
        let ground = |y: usize| 0.002 * y as f32;
        let inside = |x: usize, y: usize| (60..100).contains(&x) && (40..80).contains(&y);
        let slanted = Mask::from_fn(160, 120, |_, y| ground(y));
        assert!(!Depth::new(&slanted, unit(&slanted)).hides);
        let boxed = Mask::from_fn(160, 120, |x, y| if inside(x, y) { 0.4 } else { ground(y) });
        let depth = Depth::new(&boxed, unit(&boxed));
        assert!(depth.hides);
        for y in 0..120 {
            for x in 0..160 {
                let (hidden, back) = (depth.hidden.at(x, y), depth.back.at(x, y));
                // Its edge is grown by a px.
                let near = (59..101).contains(&x) && (39..81).contains(&y);
                assert_eq!(depth.front.at(x, y), if near { 0.4 } else { ground(y) });
                assert!(hidden == 0.0 || near && depth.covers.at(x, y) > 0.0);
                assert!(hidden == 0.0 || (back - ground(y)).abs() < 0.05, "{x} {y}: {back} instead of {}", ground(y));
            }
        }
        assert!(depth.hidden.at(62, 60) > 0.0 && depth.hidden.at(98, 60) > 0.0);
    }

    #[test]
    fn a_blurred_edge_becomes_sharp() {
        let blurred = Mask::from_fn(64, 8, |x, _| (x as f32 - 30.0).clamp(0.0, 3.0) / 3.0);
        let depth = Depth::new(&blurred, unit(&blurred));
        assert!(depth.front.data.iter().all(|w| *w == 0.0 || *w == 1.0), "{:?}", &depth.front.data[25..40]);
    }

    #[test]
    fn what_is_no_number_is_far_away_and_sizes_fit() {
        let broken = Mask { width: 3, height: 2, data: vec![f32::NAN, 1.0, f32::INFINITY, -1.0, 0.5, 2.0] };
        let fitted = fitting(&broken, 6, 4);
        assert_eq!((fitted.width, fitted.height), (6, 4));
        assert_eq!(fitted.data[..6], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert!(unit(&Mask::filled(4, 4, 0.0)) > 0.0);
    }

    #[test]
    fn the_hole_of_an_object_is_as_far_as_its_surroundings() {
        let seen = Mask::from_fn(60, 40, |x, y| f32::from(!((20..40).contains(&x) && (10..30).contains(&y))));
        // Left of the object something near stands.
        let inverse = Mask::from_fn(60, 40, |x, y| {
            if seen.at(x, y) == 0.0 {
                9.0
            } else if x < 20 && x > 12 {
                2.0
            } else {
                0.5
            }
        });
        let filled = without_objects(&inverse, &seen, 0.05);
        assert!((10..30).all(|y| (20..40).all(|x| (filled.at(x, y) - 0.5).abs() < 0.1)), "{}", filled.at(22, 20));
        assert_eq!(filled.at(15, 20), 2.0);
    }
}
