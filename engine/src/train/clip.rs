//! One training clip: frames, the regions a user would draw, and the exact motion behind them.
//!
//! Invariant: a pure function of the pool's working set and the [`ClipSpec`]; made on one thread. `frames[0]` is the source and its
//! motions are the identity; [`Clip::track`] says to a fraction of a pixel where the frames show a point. Guarded by the tests below.

use super::pool::Pool;
use super::raster::Layer;
use super::region;
use super::scene::Scene;
use crate::picture::{Mask, Picture};
use glam::{Affine2, Vec2};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use super::scene::LayerState;

/// Which clip to make.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipSpec {
    /// Frame width, px.
    pub width: usize,
    /// Frame height, px.
    pub height: usize,
    /// When each frame is, in frames after the source; rising from 0. May have gaps.
    pub frame_times: Vec<f32>,
    /// Decides everything else.
    pub seed: u64,
}

/// Where everything is in one frame: source px to frame px.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipMotion {
    /// The background.
    pub plate: Affine2,
    /// Objects, back to front.
    pub objects: Vec<Affine2>,
}

/// Frames with exact motion. Layer 0 is the plate, layer `k` is object `k - 1`.
pub struct Clip {
    /// The picture the artist starts from: the frame at time 0.
    pub source: Picture,
    /// The truth at each of the spec's times.
    pub frames: Vec<Picture>,
    /// Per object, the part of it that shows in the source, as a user would draw it: 0 or 1, the border up to 2 px wrong.
    pub regions: Vec<Mask>,
    /// Per frame.
    pub motions: Vec<ClipMotion>,
    /// Per layer, the plate first.
    pub states: Vec<LayerState>,
    /// Objects, back to front.
    objects: Vec<Layer>,
}

/// Makes the clip that `spec` asks for.
///
/// # Panics
/// If `spec` has no frame or an empty frame: specs are made by the trainer, not read from files.
pub fn make_clip(pool: &Pool, spec: &ClipSpec) -> Clip {
    assert!(spec.width >= 16 && spec.height >= 16, "a clip is at least 16 x 16 px");
    assert!(spec.frame_times.first() == Some(&0.0), "a clip starts at time 0");
    let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
    let scene = Scene::random(&pool.stock(), &mut rng, spec.width, spec.height, &spec.frame_times);
    let motions: Vec<ClipMotion> = spec
        .frame_times
        .iter()
        .map(|time| ClipMotion {
            plate: scene.motion(0, *time),
            objects: (1..scene.layers.len()).map(|k| scene.motion(k, *time)).collect(),
        })
        .collect();
    let mut plate = Picture::filled(spec.width, spec.height, [0.0; 3]);
    let mut drawn = None;
    let frames: Vec<Picture> = motions
        .iter()
        .map(|motion| {
            if drawn != Some(motion.plate) {
                scene.layers[0].layer.fill(motion.plate, &mut plate);
                drawn = Some(motion.plate);
            }
            let mut frame = plate.clone();
            for (object, motion) in scene.layers[1..].iter().zip(&motion.objects) {
                object.layer.draw_over(*motion, &mut frame);
            }
            frame
        })
        .collect();
    let states = scene.layers.iter().map(|layer| layer.state).collect();
    let objects: Vec<Layer> = scene.layers.into_iter().skip(1).map(|layer| layer.layer).collect();
    let regions = regions(&objects, spec.width, spec.height, &mut rng);
    Clip { source: frames[0].clone(), frames, regions, motions, states, objects }
}

/// What a user would draw around the visible part of each object; nothing belongs to two of them.
fn regions(objects: &[Layer], width: usize, height: usize, rng: &mut ChaCha8Rng) -> Vec<Mask> {
    let mut hidden = Mask::filled(width, height, 0.0);
    let mut regions: Vec<Mask> = objects
        .iter()
        .rev()
        .map(|object| {
            let mut shape = object.alpha(width, height);
            for (shape, hidden) in shape.data.iter_mut().zip(&mut hidden.data) {
                let solid = *shape > 0.5;
                *shape = f32::from(u8::from(solid && *hidden == 0.0));
                if solid {
                    *hidden = 1.0;
                }
            }
            region::sketched(&shape, rng)
        })
        .collect();
    for front in 0..regions.len() {
        let (done, rest) = regions.split_at_mut(front + 1);
        for behind in rest {
            behind.data.iter_mut().zip(&done[front].data).for_each(|(behind, front)| *behind *= 1.0 - front);
        }
    }
    regions.reverse();
    regions
}

impl Clip {
    /// The layer that shows at a source point, px: 0 for the plate, `k` for object `k - 1`.
    pub fn layer_at(&self, point: Vec2) -> u16 {
        (1..=self.objects.len()).rev().find(|k| self.objects[k - 1].alpha_at(point) > 0.5).unwrap_or(0) as u16
    }

    /// Source px to frame px for `layer` in `frame`.
    pub fn motion(&self, layer: u16, frame: usize) -> Affine2 {
        let motion = &self.motions[frame];
        if layer == 0 { motion.plate } else { motion.objects[layer as usize - 1] }
    }

    /// Where the point that the source shows at `point` is in `frame`, px, and whether it is inside it and nothing hides it.
    pub fn track(&self, point: Vec2, frame: usize) -> (Vec2, bool) {
        let layer = self.layer_at(point);
        let place = self.motion(layer, frame).transform_point2(point);
        (place, self.shows(layer, place, frame))
    }

    /// Whether `layer` is the one that shows at `place` of `frame`, given that it is there at all.
    fn shows(&self, layer: u16, place: Vec2, frame: usize) -> bool {
        let size = Vec2::new(self.source.width as f32, self.source.height as f32);
        let inside = place.cmpge(Vec2::ZERO).all() && place.cmplt(size).all();
        let mut in_front = (layer as usize..self.objects.len()).map(|k| (k, self.motions[frame].objects[k]));
        inside && !in_front.any(|(k, motion)| self.objects[k].alpha_at(motion.inverse().transform_point2(place)) > 0.5)
    }
}
