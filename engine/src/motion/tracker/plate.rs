//! The plate: what most of the frame shows, moving as one. It is what a place goes by that has nothing to be seen.
//!
//! Invariant: registered anew each frame with a frame long before, not by adding up small motions, so it does not drift while half of
//! that frame is still there. Guarded by the tests below.

use glam::{Affine2, Vec2};

use super::block::Light;
use super::direct::{Reference, Registered};
use super::point::Point;
use super::pyramid::Pyramid;

/// Once less than this share of the reference is inside, the motion is counted from the present frame on.
const OUTWORN: f32 = 0.5;
/// How far points of the plate are off it before anything is known, px.
const SPREAD: f32 = 0.3;

/// How the plate has moved; a place on it is px of the first frame.
pub(super) struct Plate {
    reference: Option<Reference>,
    /// Plate px to reference px.
    base: Affine2,
    /// Reference px to px of the newest frame, and of the frame before.
    since: Affine2,
    before: Affine2,
    light: Light,
    /// How far points that are well determined are off it, px.
    pub spread: f32,
}

impl Default for Plate {
    fn default() -> Self {
        let still = Affine2::IDENTITY;
        Self { reference: None, base: still, since: still, before: still, light: Light::SAME, spread: SPREAD }
    }
}

impl Plate {
    /// Forgets all, at a cut.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Plate px to px of the newest frame.
    pub fn motion(&self) -> Affine2 {
        self.since * self.base
    }

    /// Takes the next frame; `way` is how most points moved from the one before, px, `noise` a pixel's deviation, luma.
    pub fn push(&mut self, now: &Pyramid, way: Vec2, noise: f32) {
        let Some(reference) = &self.reference else { return self.start(now) };
        let step = self.since * self.before.inverse();
        let starts = [self.since, step * self.since, Affine2::from_translation(way) * self.since];
        let Some(Registered { motion, light, inside, .. }) = reference.find(now, &starts, self.light, noise) else {
            return self.start(now);
        };
        (self.before, self.since, self.light) = (self.since, motion, light);
        if inside < OUTWORN {
            self.start(now);
        }
    }

    /// Takes note of where the points are that are seen for certain.
    pub fn compare(&mut self, points: &[Point]) {
        let certain = points.iter().filter(|point| point.visible && point.certainty > 0.8);
        let off = certain.map(|point| self.motion().transform_point2(point.member.home).distance(point.place));
        let mut off: Vec<f32> = off.filter(|px| *px < 2.0).collect();
        if off.len() > 3 {
            let middle = off.len() / 2;
            self.spread += 0.3 * (*off.select_nth_unstable_by(middle, f32::total_cmp).1 - self.spread);
        }
    }

    /// Counts from this frame on.
    fn start(&mut self, now: &Pyramid) {
        let step = self.since * self.before.inverse();
        (self.base, self.since, self.before) = (self.motion(), Affine2::IDENTITY, step.inverse());
        (self.light, self.reference) = (Light::SAME, Some(Reference::new(now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Mask;

    #[test]
    fn stripes_and_a_faint_shade_tell_a_long_pan_without_drift() {
        let mut plate = Plate::default();
        for t in 0..90 {
            let motion =
                Affine2::from_scale_angle_translation(Vec2::splat(1.002f32.powi(t)), 0.001 * t as f32, Vec2::new(1.3, -0.4) * t as f32);
            let back = motion.inverse();
            let frame = Mask::from_fn(160, 120, |x, y| {
                let p = back.transform_point2(Vec2::new(x as f32 + 0.5, y as f32 + 0.5));
                0.5 + 0.2 * (0.5 * p.x).sin() + 0.1 * (0.02 * p.x + 1.0).sin() * (0.03 * p.y).cos()
            });
            plate.push(&Pyramid::new(&frame, 4), Vec2::ZERO, 0.001);
            let middle = back.transform_point2(Vec2::new(80.0, 60.0));
            let off = plate.motion().transform_point2(middle).distance(Vec2::new(80.0, 60.0));
            assert!(off < 0.8, "{off} px in frame {t}");
        }
    }
}
