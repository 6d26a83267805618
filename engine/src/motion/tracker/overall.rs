//! How most of the frame moves: the camera, or what the picture mostly shows. It is what a place goes by that has nothing to be seen.
//!
//! Invariant: found anew each frame as an affine motion since a frame long before, not by adding up small ones, so it does not drift
//! while the points of that frame are still there. Guarded by the tests below.

use glam::{Affine2, Mat2, Vec2};

use super::follow::Followed;
use super::neighbours::{Consensus, Voices, consensus};
use super::point::Point;

/// How far a point may be off and still count as going with the rest, px.
const TOLERANCE: f32 = 1.0;
/// Stiffness of the motion's shape against change within a frame, px^2: nearly a shift, or it would bend to what moves in front.
const STIFFNESS: f32 = 100_000.0;
/// Say of a point whose place is wholly undetermined.
const FLOOR: f32 = 0.05;
/// Once less than this is left of the points (by say), the motion is counted from the present frame on.
const OUTWORN: f32 = 0.5;
/// How much more support than rest another motion needs: what moves in front often has more to be seen than what rests behind.
const AT_REST: f32 = 1.3;
/// How much more support another motion needs than the one that goes on.
const BETTER: f32 = 1.1;

/// The motion since the frame that it is counted from.
#[derive(Default)]
pub(super) struct Overall {
    /// Where each point was in that frame; those taken up later have no say.
    base: Vec<Option<Vec2>>,
    middle: Vec2,
    since: Affine2,
    support: f32,
}

impl Overall {
    /// Forgets all, at a cut.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How the frame moved from the one before, given its points there and where they were followed to.
    pub fn push(&mut self, points: &[Point], followed: &[Option<Followed>]) -> Affine2 {
        let before = self.since;
        if let Some((now, left)) = self.found(points, followed)
            && left >= OUTWORN * self.support
        {
            return self.go_on(before, &now);
        }
        self.base = points.iter().map(|point| (point.visible && !point.ended).then_some(point.place)).collect();
        let (sum, count) = self.base.iter().flatten().fold((Vec2::ZERO, 0), |(sum, count), place| (sum + *place, count + 1));
        (self.middle, self.since, self.support) = (sum / count.max(1) as f32, Affine2::IDENTITY, 0.0);
        match self.found(points, followed) {
            Some((now, all)) => {
                self.support = all;
                self.go_on(Affine2::IDENTITY, &now)
            }
            None => Affine2::IDENTITY,
        }
    }

    fn go_on(&mut self, before: Affine2, now: &Consensus) -> Affine2 {
        self.since = Affine2::from_mat2_translation(now.shape, now.place - now.shape * self.middle);
        let step = self.since * before.inverse();
        if step.is_finite() { step } else { Affine2::IDENTITY }
    }

    /// The motion that most agree on: at rest, going on as it did, or with the median of those that are sure; and the say of all.
    fn found(&self, points: &[Point], followed: &[Option<Followed>]) -> Option<(Consensus, f32)> {
        let mut voices = Voices::default();
        let mut ways: Vec<Vec2> = Vec::new();
        for ((base, point), own) in self.base.iter().zip(points).zip(followed) {
            if let (Some(base), Some(own)) = (base, own) {
                voices.push_within(*base - self.middle, own.place, own.certainty + FLOOR, TOLERANCE);
                ways.extend((own.certainty > 0.2).then(|| own.place - point.place));
            }
        }
        let mut median = |of: fn(&Vec2) -> f32| {
            ways.sort_unstable_by(|a, b| of(a).total_cmp(&of(b)));
            ways.get(ways.len() / 2).map_or(0.0, of)
        };
        let way = Vec2::new(median(|way| way.x), median(|way| way.y));
        let on = self.since.transform_point2(self.middle);
        let starts = [(self.middle, Mat2::IDENTITY, AT_REST), (on, self.since.matrix2, BETTER), (on + way, self.since.matrix2, 1.0)];
        let mut best: Option<(f32, Consensus)> = None;
        for (start, shape, trust) in starts {
            if let Some(found) = consensus(&voices, start, shape, STIFFNESS)
                && best.as_ref().is_none_or(|(most, _)| trust * found.support > *most)
            {
                best = Some((trust * found.support, found));
            }
        }
        best.map(|(_, found)| (found, voices.total))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::block::Bells;
    use super::super::grid;
    use super::super::point::take_up;
    use super::super::pyramid::Pyramid;
    use super::*;
    use crate::picture::Mask;

    #[test]
    fn a_third_that_goes_its_own_way_does_not_count_and_nothing_drifts() {
        let now = Pyramid::new(&Mask::filled(96, 72, 0.5), 3);
        let mut points = take_up(&grid(96, 72, 12), &[], &now, 0, &Bells::new(0.01));
        let first: Vec<Vec2> = points.iter().map(|point| point.place).collect();
        let mut overall = Overall::default();
        let mut all = Affine2::IDENTITY;
        for t in 1..40 {
            let turn = Affine2::from_translation(Vec2::new(0.7, -0.3) * t as f32);
            let place = |i: usize| {
                // Some wrongness that changes from frame to frame.
                let off = Vec2::from_angle((7 * t + 13 * i) as f32) * 0.3;
                turn.transform_point2(first[i]) + off + if i % 3 == 0 { Vec2::new(-2.0, 1.0) * t as f32 } else { Vec2::ZERO }
            };
            let followed: Vec<_> = (0..points.len()).map(|i| Some(Followed { place: place(i), certainty: 0.5, residual: 0.001 })).collect();
            all = overall.push(&points, &followed) * all;
            points.iter_mut().enumerate().for_each(|(i, point)| point.place = place(i));
            let off = all.transform_point2(first[40]).distance(turn.transform_point2(first[40]));
            assert!(off < 0.4, "{off} px in frame {t}");
        }
    }
}
