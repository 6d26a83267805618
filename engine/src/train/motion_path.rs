//! How a hand or a camera moves a layer: smooth paths over frame time.
//!
//! Invariant: at time 0 every path is the identity, so the source picture is the first frame. Guarded by the tests below.

use glam::{Affine2, Vec2};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::f32::consts::{PI, TAU};

/// How progress along a [`Move`] depends on time.
#[derive(Clone, Copy, Debug)]
enum Ease {
    /// Starts and stops at rest: 10 s^3 - 15 s^4 + 6 s^5, the minimum-jerk profile of a human reach (Flash and Hogan 1985).
    Reach,
    /// Constant speed.
    Steady,
    /// From rest, ever faster.
    Accelerating,
}

/// A displacement between two times.
#[derive(Clone, Copy, Debug)]
struct Move {
    start: f32,
    duration: f32,
    ease: Ease,
    by: Vec2,
    /// Sideways excursion half-way.
    bow: Vec2,
    angle: f32,
    log_scale: f32,
}

/// A small oscillation: a hand is never quite straight.
#[derive(Clone, Copy, Debug)]
struct Wave {
    amplitude: Vec2,
    angle: f32,
    per_frame: f32,
    phase: f32,
}

/// A smooth motion over frame time, the identity at time 0.
#[derive(Clone, Debug, Default)]
pub struct MotionPath {
    moves: Vec<Move>,
    waves: Vec<Wave>,
}

impl Move {
    fn progress(&self, time: f32) -> f32 {
        let s = ((time - self.start) / self.duration).clamp(0.0, 1.0);
        match self.ease {
            Ease::Reach => s * s * s * (10.0 + s * (6.0 * s - 15.0)),
            Ease::Steady => s,
            Ease::Accelerating => s * s,
        }
    }
}

impl MotionPath {
    /// A layer that stays.
    pub fn still() -> Self {
        Self::default()
    }

    /// What an artist's hand does to an object within `span` frames: a wandering path, a fast stroke, a drag that is released, or
    /// a turn in place; `reach` is the frame's shorter side, px.
    pub fn hand(rng: &mut ChaCha8Rng, span: f32, reach: f32) -> Self {
        let mut path = Self::default();
        match rng.random_range(0..100) {
            0..35 => {
                let ease = if rng.random_bool(0.5) { Ease::Steady } else { Ease::Accelerating };
                let by = direction(rng) * reach * rng.random_range(0.1..0.7);
                path.moves.push(Move { start: 0.0, duration: span, ease, by, bow: bow(rng, by), angle: 0.0, log_scale: 0.0 });
                for _ in 0..2 {
                    let amplitude = direction(rng) * reach * rng.random_range(0.0..0.08);
                    path.waves.push(wave(rng, span, amplitude));
                }
            }
            35..60 => {
                // At most 60 % of the frame in six frames.
                let duration = rng.random_range(4.0..10.0f32);
                let by = direction(rng) * reach * rng.random_range(0.25..0.6f32).min(0.1 * duration);
                let start = rng.random_range(0.0..(span - 0.7 * duration).max(0.5));
                path.moves.push(Move { start, duration, ease: Ease::Reach, by, bow: bow(rng, by), angle: 0.0, log_scale: 0.0 });
                if rng.random_bool(0.3) {
                    let by = direction(rng) * reach * rng.random_range(0.05..0.3);
                    let start = (start + duration).min(span);
                    path.moves.push(Move { start, duration: 8.0, ease: Ease::Reach, by, bow: bow(rng, by), angle: 0.0, log_scale: 0.0 });
                }
            }
            60..85 => {
                let duration = (span * rng.random_range(0.35..0.85f32)).max(4.0);
                let by = direction(rng) * reach * rng.random_range(0.1..0.6);
                let start = rng.random_range(0.0..(0.25 * span).max(0.1));
                path.moves.push(Move { start, duration, ease: Ease::Reach, by, bow: bow(rng, by), angle: 0.0, log_scale: 0.0 });
                let amplitude = direction(rng) * reach * 0.02;
                path.waves.push(wave(rng, span, amplitude));
            }
            _ => {
                let by = direction(rng) * reach * rng.random_range(0.0..0.12);
                let angle = signed(rng) * rng.random_range(0.3..1.6);
                path.moves.push(Move { start: 0.0, duration: span, ease: Ease::Reach, by, bow: Vec2::ZERO, angle, log_scale: 0.0 });
            }
        }
        let first = &mut path.moves[0];
        if rng.random_bool(0.3) {
            first.angle += signed(rng) * rng.random_range(0.1..0.9);
        }
        if rng.random_bool(0.25) {
            first.log_scale = rng.random_range(-0.35..0.3);
        }
        path
    }

    /// A camera move within `span` frames: a pan, a zoom and a slight rotation, one or more of them.
    pub fn camera(rng: &mut ChaCha8Rng, span: f32, reach: f32) -> Self {
        let ease = [Ease::Reach, Ease::Steady, Ease::Steady, Ease::Accelerating][rng.random_range(0..4)];
        let far = if rng.random_bool(0.15) { 0.5 } else { 0.28 };
        let pan = rng.random_bool(0.8);
        let by = if pan { direction(rng) * reach * rng.random_range(0.03..far) } else { Vec2::ZERO };
        let log_scale = if !pan || rng.random_bool(0.4) { signed(rng) * rng.random_range(0.03..0.22) } else { 0.0 };
        let angle = if rng.random_bool(0.3) { signed(rng) * rng.random_range(0.01..0.1) } else { 0.0 };
        let mut path =
            Self { moves: vec![Move { start: 0.0, duration: span, ease, by, bow: bow(rng, by) * 0.5, angle, log_scale }], waves: vec![] };
        if rng.random_bool(0.25) {
            let amplitude = direction(rng) * reach * rng.random_range(0.004..0.02);
            path.waves.push(Wave { angle: signed(rng) * 0.006, ..wave(rng, span, amplitude) });
        }
        path
    }

    /// The same path with another direction and length of its way, its turn and scale kept.
    pub fn redirected(&self, angle: f32, factor: f32) -> Self {
        let turn = Vec2::from_angle(angle) * factor;
        let mut path = self.clone();
        for part in &mut path.moves {
            part.by = turn.rotate(part.by);
            part.bow = turn.rotate(part.bow);
        }
        path
    }

    /// Where the layer is at `time` (frames), turned and scaled about `pivot`: source px to frame px.
    pub fn at(&self, time: f32, pivot: Vec2) -> Affine2 {
        let (mut shift, mut angle, mut log_scale) = (Vec2::ZERO, 0.0, 0.0);
        for part in &self.moves {
            let s = part.progress(time);
            shift += part.by * s + part.bow * (PI * s).sin();
            angle += part.angle * s;
            log_scale += part.log_scale * s;
        }
        for wave in &self.waves {
            let s = (TAU * wave.per_frame * time + wave.phase).sin() - wave.phase.sin();
            shift += wave.amplitude * s;
            angle += wave.angle * s;
        }
        if angle == 0.0 && log_scale == 0.0 {
            // Exactly a translation: rounding about a far pivot would make a still layer tremble.
            return Affine2::from_translation(shift);
        }
        let scale = Vec2::splat(log_scale.exp());
        Affine2::from_translation(pivot + shift)
            * Affine2::from_scale_angle_translation(scale, angle, Vec2::ZERO)
            * Affine2::from_translation(-pivot)
    }

    /// Greatest scale over time, at least 1.
    pub fn greatest_scale(&self) -> f32 {
        self.moves.iter().map(|part| part.log_scale.max(0.0)).sum::<f32>().exp()
    }
}

fn direction(rng: &mut ChaCha8Rng) -> Vec2 {
    Vec2::from_angle(rng.random_range(0.0..TAU))
}

fn signed(rng: &mut ChaCha8Rng) -> f32 {
    if rng.random_bool(0.5) { 1.0 } else { -1.0 }
}

fn bow(rng: &mut ChaCha8Rng, by: Vec2) -> Vec2 {
    if rng.random_bool(0.6) { by.perp() * rng.random_range(-0.35..0.35) } else { Vec2::ZERO }
}

fn wave(rng: &mut ChaCha8Rng, span: f32, amplitude: Vec2) -> Wave {
    Wave { amplitude, angle: 0.0, per_frame: rng.random_range(0.4..1.6) / span.clamp(8.0, 24.0), phase: rng.random_range(0.0..TAU) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn every_path_starts_at_rest_in_place_and_is_smooth() {
        for seed in 0..200 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let pivot = Vec2::new(40.0, 70.0);
            for path in [MotionPath::hand(&mut rng, 15.0, 128.0), MotionPath::camera(&mut rng, 15.0, 128.0)] {
                assert!(path.at(0.0, pivot).abs_diff_eq(Affine2::IDENTITY, 1e-4), "{path:?}");
                for frame in 0..40 {
                    let step =
                        path.at(frame as f32 + 1.0, pivot).transform_point2(pivot) - path.at(frame as f32, pivot).transform_point2(pivot);
                    assert!(step.length() < 0.25 * 128.0, "{step} {path:?}");
                }
            }
        }
    }

    #[test]
    fn redirection_turns_the_way_only() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let path = MotionPath::camera(&mut rng, 10.0, 100.0);
        let pivot = Vec2::new(50.0, 50.0);
        let way = |path: &MotionPath| path.at(10.0, pivot).transform_point2(pivot) - pivot;
        let turned = path.redirected(PI, 0.5);
        assert!((way(&turned) + way(&path) * 0.5).length() < 1e-3 + 0.03 * 100.0);
        assert!((turned.at(10.0, pivot).matrix2.determinant() - path.at(10.0, pivot).matrix2.determinant()).abs() < 1e-4);
    }
}
