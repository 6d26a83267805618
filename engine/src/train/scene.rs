//! A random scene: what lies where on the first frame and how it moves.
//!
//! Invariant: the plate's texture covers every frame however the camera moves, so the truth is known everywhere; each object shows
//! on the first frame. Guarded by the tests of `clip`.

use super::motion_path::MotionPath;
use super::pool::Stock;
use super::raster::{Layer, PAD};
use super::shape::{self, Tint};
use crate::motion::track_field::PointState;
use crate::picture::{Grid, Picture};
use glam::{Affine2, Vec2};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::f32::consts::TAU;

/// Texels per source px: sharp under a moderate enlargement, not yet aliased.
const DENSITY: f32 = 1.15;
/// Smallest part of an object that must show on the first frame.
const LEAST_VISIBLE: f32 = 0.35;
/// Share of the frame that the motion should uncover.
const HOLE: std::ops::Range<f32> = 0.02..0.30;
/// Samples across the frame when a draw is judged.
const PROBES: usize = 28;

/// An object or the plate.
pub(super) struct SceneLayer {
    pub layer: Layer,
    pub state: PointState,
    path: MotionPath,
    pivot: Vec2,
}

/// Layers back to front, the plate first.
pub(super) struct Scene {
    size: Vec2,
    pub layers: Vec<SceneLayer>,
}

impl Scene {
    /// A scene for frames of `width` x `height` px at `times`.
    pub fn random(stock: &Stock, rng: &mut ChaCha8Rng, width: usize, height: usize, times: &[f32]) -> Self {
        let size = Vec2::new(width as f32, height as f32);
        let span = times.iter().copied().fold(1.0, f32::max);
        let mut scene = Self { size, layers: vec![plate(stock, rng, size, times, span)] };
        let objects = [1, 1, 1, 1, 2, 2, 2, 3, 3, 4][rng.random_range(0..10)];
        for _ in 0..objects {
            scene.add_object(stock, rng, span);
        }
        // Something moves in nearly every clip, but a picture that must rest has to rest.
        if scene.layers.iter().all(|layer| layer.state != PointState::Driven) && rng.random_bool(0.8) {
            let reach = size.min_element();
            if let Some(front) = scene.layers.iter_mut().skip(1).last() {
                (front.path, front.state) = (MotionPath::hand(rng, span, reach), PointState::Driven);
            }
        }
        // Now and then any amount of uncovered area will do, even none.
        if !rng.random_bool(0.1) {
            scene.settle(rng, times);
        }
        scene
    }

    /// Source px to frame px for `layer` at `time`. Objects move on the plate.
    pub fn motion(&self, layer: usize, time: f32) -> Affine2 {
        let plate = self.layers[0].path.at(time, self.layers[0].pivot);
        if layer == 0 { plate } else { plate * self.layers[layer].path.at(time, self.layers[layer].pivot) }
    }

    fn add_object(&mut self, stock: &Stock, rng: &mut ChaCha8Rng, span: f32) {
        let reach = self.size.min_element();
        let (path, state) = if rng.random_bool(0.82) {
            (MotionPath::hand(rng, span, reach), PointState::Driven)
        } else {
            let state = match self.layers[0].state {
                PointState::Pinned if rng.random_bool(0.5) => PointState::Free,
                other => other,
            };
            (MotionPath::still(), state)
        };
        let extent = reach * rng.random_range(0.15..0.55f32);
        let density = DENSITY * path.greatest_scale().sqrt();
        let texture = shape::object(stock, rng, extent * density);
        let half = Vec2::new(texture.width as f32, texture.height as f32) * 0.5;
        let tilt = if rng.random_bool(0.5) { rng.random_range(-0.5..0.5) } else { 0.0 };
        for _ in 0..12 {
            let pivot = self.size * Vec2::new(rng.random_range(0.1..0.9), rng.random_range(0.1..0.9));
            let texture_from_source = Affine2::from_translation(half)
                * Affine2::from_scale_angle_translation(Vec2::splat(density), tilt, Vec2::ZERO)
                * Affine2::from_translation(-pivot);
            let layer = Layer { texture: texture.clone(), texture_from_source };
            self.layers.push(SceneLayer { layer, state, path: path.clone(), pivot });
            if self.all_show() {
                return;
            }
            self.layers.pop();
        }
    }

    /// Whether each object shows enough of itself on the first frame.
    fn all_show(&self) -> bool {
        let cell = self.size / PROBES as f32;
        let mut visible = vec![0usize; self.layers.len()];
        for i in 0..PROBES * PROBES {
            visible[self.top_at_source(Vec2::new((i % PROBES) as f32 + 0.5, (i / PROBES) as f32 + 0.5) * cell)] += 1;
        }
        (1..self.layers.len()).all(|k| {
            let layer = &self.layers[k].layer;
            // Its whole area, in probes.
            let solid = layer.texture.data.iter().filter(|sample| sample[3] > 0.5).count() as f32;
            let area = solid * layer.texture_from_source.matrix2.determinant().abs().recip() / (cell.x * cell.y);
            visible[k] as f32 >= (LEAST_VISIBLE * area).max(3.0)
        })
    }

    /// The front layer at a source point of the first frame.
    pub fn top_at_source(&self, point: Vec2) -> usize {
        (1..self.layers.len()).rev().find(|k| self.layers[*k].layer.alpha_at(point) > 0.5).unwrap_or(0)
    }

    /// Share of the frame at `time` that the first frame does not show.
    fn hole(&self, time: f32) -> f32 {
        let inverse: Vec<Affine2> = (0..self.layers.len()).map(|k| self.motion(k, time).inverse()).collect();
        let cell = self.size / PROBES as f32;
        let hidden = (0..PROBES * PROBES).filter(|i| {
            let point = Vec2::new((i % PROBES) as f32 + 0.5, (i / PROBES) as f32 + 0.5) * cell;
            let top = (1..self.layers.len()).rev().find(|k| self.layers[*k].layer.alpha_at(inverse[*k].transform_point2(point)) > 0.5);
            let top = top.unwrap_or(0);
            let source = inverse[top].transform_point2(point);
            let inside = source.cmpge(Vec2::ZERO).all() && source.cmplt(self.size).all();
            !inside || self.top_at_source(source) != top
        });
        hidden.count() as f32 / (PROBES * PROBES) as f32
    }

    /// Redirects the objects' ways until the uncovered area is in range and objects rarely leave the frame.
    fn settle(&mut self, rng: &mut ChaCha8Rng, times: &[f32]) {
        let last = times.last().copied().unwrap_or(0.0);
        let middle = times[times.len() / 2];
        let may_leave = rng.random_bool(0.15);
        for attempt in 0..8 {
            let hole = self.hole(last).max(self.hole(middle));
            for k in 1..self.layers.len() {
                if self.layers[k].state != PointState::Driven {
                    continue;
                }
                let end = self.motion(k, last).transform_point2(self.layers[k].pivot);
                let gone = !may_leave && (end.cmplt(Vec2::ZERO).any() || end.cmpgt(self.size).any());
                let factor = match hole {
                    // Twice at most: a hand is only so fast.
                    hole if hole < HOLE.start => [1.25, 1.25, 1.0][attempt.min(2)],
                    hole if hole >= HOLE.end => 0.75,
                    _ if gone => 0.95,
                    _ => continue,
                };
                let path = &mut self.layers[k].path;
                *path = path.redirected(rng.random_range(0.0..TAU), factor);
            }
            if HOLE.contains(&hole) && may_leave {
                break;
            }
        }
    }
}

/// The background: a photograph that reaches as far as the camera ever looks.
fn plate(stock: &Stock, rng: &mut ChaCha8Rng, size: Vec2, times: &[f32], span: f32) -> SceneLayer {
    let (path, state) = if rng.random_bool(0.6) {
        (MotionPath::still(), if rng.random_bool(0.75) { PointState::Pinned } else { PointState::Free })
    } else {
        (MotionPath::camera(rng, span, size.min_element()), PointState::Driven)
    };
    let pivot = size * 0.5;
    let (mut low, mut high) = (Vec2::ZERO, size);
    for time in times {
        let inverse = path.at(*time, pivot).inverse();
        for corner in [Vec2::ZERO, Vec2::new(size.x, 0.0), Vec2::new(0.0, size.y), size] {
            let corner = inverse.transform_point2(corner);
            (low, high) = (low.min(corner), high.max(corner));
        }
    }
    let density = DENSITY * path.greatest_scale().sqrt() * rng.random_range(0.92..1.1f32);
    // A random offset: the first frame is resampled like every other.
    let margin = Vec2::new(rng.random_range(0.0..1.0), rng.random_range(0.0..1.0)) + PAD as f32;
    let extent = (high - low) * density + margin + PAD as f32;
    let (width, height) = (extent.x.ceil() as usize + 1, extent.y.ceil() as usize + 1);
    let mut photo = stock.texture(rng, width, height, false);
    if rng.random_bool(0.12) {
        photo = blurred(photo);
    }
    let mut data: Vec<[f32; 4]> = photo.data.iter().map(|[r, g, b]| [*r, *g, *b, 1.0]).collect();
    Tint::random(rng, 1.0).apply(&mut data);
    let texture_from_source =
        Affine2::from_translation(margin) * Affine2::from_scale(Vec2::splat(density)) * Affine2::from_translation(-low);
    SceneLayer { layer: Layer { texture: Grid { width, height, data }, texture_from_source }, state, path, pivot }
}

/// A background a little out of focus: binomial 1-2-1 along both axes.
fn blurred(picture: Picture) -> Picture {
    let (width, height) = (picture.width, picture.height);
    let mix = |a: [f32; 3], b: [f32; 3], c: [f32; 3]| std::array::from_fn(|i| 0.25 * a[i] + 0.5 * b[i] + 0.25 * c[i]);
    let mut across = picture.clone();
    for y in 0..height {
        for x in 1..width - 1 {
            across.data[y * width + x] = mix(picture.at(x - 1, y), picture.at(x, y), picture.at(x + 1, y));
        }
    }
    let mut both = across.clone();
    for y in 1..height - 1 {
        for x in 0..width {
            both.data[y * width + x] = mix(across.at(x, y - 1), across.at(x, y), across.at(x, y + 1));
        }
    }
    both
}
