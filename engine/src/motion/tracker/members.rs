//! Which points are part of the plate: motion segmentation in two, by what each shows itself and by what its neighbours make of that.
//!
//! A point's own evidence is where its first sight is found: with the plate, or where it was followed to. What is flat has none and takes
//! on what is around it, as far as no edge lies between: a random walk over the neighbours (Grady 2006), a few steps a frame.
//!
//! Invariant: every step is made from the memberships before it, so the order of points and threads does not matter. Guarded by the tests
//! of this folder.

use glam::{Affine2, Mat2, Vec2};
use rayon::prelude::*;

use super::block::{Bells, Prior};
use super::follow::Followed;
use super::point::Point;
use super::pyramid::Pyramid;

/// Most evidence against and for a point that is kept, so that it can be forgotten.
const MOST: (f32, f32) = (7.0, 2.0);
/// Nearer to the plate's place than this, a followed point tells nothing, px.
const APART: f32 = 0.7;
/// Misfits at which the plate's place shows something else, and at which another place shows the point.
const ELSE: f32 = 2.3;
const SAME: f32 = 1.2;
/// Steps of the walk per frame.
const STEPS: usize = 8;
/// Belief that a point is part of the plate before anything is known, as so many neighbours beside it.
const BELIEF: f32 = 0.1;

/// A point's part in the plate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    /// Where it is on the plate, if it is part of it.
    pub home: Vec2,
    /// Its surroundings' change from first sight to plate.
    pub shape: Mat2,
    /// Whether it is part of the plate, 0..1.
    pub belongs: f32,
    /// Its own evidence that it is not; each unit costs a factor e.
    strife: f32,
    /// How much it has to tell itself, 0..1.
    known: f32,
}

impl Membership {
    /// Of a point first seen at `place`, when the plate had moved by `plate`.
    pub fn new(plate: Affine2, place: Vec2) -> Self {
        let back = plate.inverse();
        Self { home: back.transform_point2(place), shape: back.matrix2, belongs: 0.9, strife: 0.0, known: 0.0 }
    }

    /// Takes note that the point is seen `off` px from the plate's place, where members are off by `spread`; `certainty` (0..1) of that.
    /// `elsewhere` says that the plate's place shows something else.
    pub fn hear(&mut self, off: f32, spread: f32, certainty: f32, elsewhere: bool) {
        if certainty > 0.2 {
            let wrong = (off / (0.5 + 3.0 * spread)).powi(2).min(5.0);
            self.strife = self.strife * (1.0 - 0.02 * certainty) + certainty * (0.3 * wrong - 0.2);
        }
        self.known = (0.97 * self.known).max(certainty);
        if elsewhere {
            (self.strife, self.known) = (self.strife + 0.5, self.known.max(0.5));
        }
        self.strife = self.strife.clamp(-MOST.1, MOST.0);
    }

    /// Takes note that the point was found away from the plate and not with it.
    fn part(&mut self) {
        (self.strife, self.known) = ((self.strife + 1.5).min(MOST.0), self.known.max(0.6));
    }
}

/// Every point's membership after one more frame, `now`, in which the plate has moved by `plate`.
pub(super) fn divide(points: &mut [Point], followed: &[Option<Followed>], plate: Affine2, now: &Pyramid, bells: &Bells) {
    points.par_iter_mut().zip(followed).for_each(|(point, own)| {
        if let Some(own) = own
            && goes_its_own_way(point, own.place, plate, now, bells)
        {
            point.member.part();
        }
    });
    for _ in 0..STEPS {
        let before: Vec<f32> = points.iter().map(|point| point.member.belongs).collect();
        points.iter_mut().for_each(|point| {
            let own = 4.0 * point.member.known.powi(2);
            let (mut sum, mut weight) = (own * (-point.member.strife.max(0.0)).exp() + BELIEF, own + BELIEF);
            for neighbour in &point.neighbours {
                let say = neighbour.say();
                (sum, weight) = (sum + say * before[neighbour.index], weight + say);
            }
            point.member.belongs = sum / weight;
        });
    }
}

/// Whether the point is seen at `place` and not where the plate has it.
fn goes_its_own_way(point: &Point, place: Vec2, plate: Affine2, now: &Pyramid, bells: &Bells) -> bool {
    let with_plate = plate.transform_point2(point.member.home);
    if with_plate.distance(place) < APART {
        return false;
    }
    let Some((_, template)) = point.first.template(plate.matrix2 * point.member.shape, None, bells) else { return false };
    let misfit = |place: Vec2, steps: usize| {
        let prior = Prior { place, precision: 4.0 };
        template.find(&now.levels[0], place, Some(prior), point.light, steps, bells).map(|fit| fit.misfit)
    };
    misfit(with_plate, 0).is_some_and(|misfit| misfit > ELSE) && misfit(place, 4).is_some_and(|misfit| misfit < SAME)
}
