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

use crate::motion::track_field::PointState;

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
    pub states: Vec<PointState>,
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
    filmed(scene, spec, &mut rng)
}

/// The clip of a scene.
fn filmed(scene: Scene, spec: &ClipSpec, rng: &mut ChaCha8Rng) -> Clip {
    let motion = |time: &f32| ClipMotion {
        plate: scene.motion(0, *time),
        objects: (1..scene.layers.len()).map(|k| scene.motion(k, *time)).collect(),
    };
    let motions: Vec<ClipMotion> = spec.frame_times.iter().map(motion).collect();
    let mut plate = Picture::filled(spec.width, spec.height, [0.0; 3]);
    let mut drawn = None;
    let mut frames = Vec::with_capacity(motions.len());
    for motion in &motions {
        // A plate that rests is drawn once.
        if drawn != Some(motion.plate) {
            scene.layers[0].layer.fill(motion.plate, &mut plate);
            drawn = Some(motion.plate);
        }
        let mut frame = plate.clone();
        for (object, motion) in scene.layers[1..].iter().zip(&motion.objects) {
            object.layer.draw_over(*motion, &mut frame);
        }
        frames.push(frame);
    }
    let states = scene.layers.iter().map(|layer| layer.state).collect();
    let objects: Vec<Layer> = scene.layers.into_iter().skip(1).map(|layer| layer.layer).collect();
    let regions = regions(&objects, spec.width, spec.height, rng);
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
    /// The true alpha of each object in the source, 0..1, as if nothing hid it.
    pub fn alphas(&self) -> Vec<Mask> {
        self.objects.iter().map(|object| object.alpha(self.source.width, self.source.height)).collect()
    }

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::pool::{DEFAULT_BUDGET, Split, tests::folders};
    use super::*;

    fn pool() -> Pool {
        let (_root, photos, cutouts) = folders(8, 8);
        Pool::open(&[photos], &[cutouts], Split::Train, DEFAULT_BUDGET).unwrap()
    }

    fn spec(seed: u64) -> ClipSpec {
        ClipSpec { width: 96, height: 72, frame_times: vec![0.0, 1.0, 2.0, 3.0, 11.0, 12.0, 13.0, 14.0], seed }
    }

    #[test]
    fn a_seed_gives_one_clip_that_starts_with_its_source() {
        let pool = pool();
        for seed in 0..20 {
            let (clip, again) = (make_clip(&pool, &spec(seed)), make_clip(&pool, &spec(seed)));
            assert_eq!((&clip.frames, &clip.regions, &clip.motions), (&again.frames, &again.regions, &again.motions));
            assert_eq!(clip.source, clip.frames[0]);
            assert_eq!(clip.motions.len(), 8);
            assert_eq!(clip.states.len(), clip.regions.len() + 1);
            assert_eq!(clip.motions[0].plate, Affine2::IDENTITY);
            assert!(clip.motions[0].objects.iter().all(|motion| motion.abs_diff_eq(Affine2::IDENTITY, 1e-4)));
            assert!(clip.frames.iter().all(|frame| frame.data.iter().flatten().all(|v| (0.0..=1.0).contains(v))));
            assert!(clip.states[0] != PointState::Pinned || clip.motions.iter().all(|motion| motion.plate == Affine2::IDENTITY));
        }
        assert_ne!(make_clip(&pool, &spec(0)).source, make_clip(&pool, &spec(1)).source);
    }

    #[test]
    fn the_plate_covers_every_frame() {
        let pool = pool();
        for seed in 0..80 {
            let spec = spec(seed);
            let scene = Scene::random(&pool.stock(), &mut ChaCha8Rng::seed_from_u64(seed), spec.width, spec.height, &spec.frame_times);
            for time in &spec.frame_times {
                let mut frame = Picture::filled(spec.width, spec.height, [f32::NAN; 3]);
                scene.layers[0].layer.fill(scene.motion(0, *time), &mut frame);
                assert!(frame.data.iter().all(|sample| sample[0].is_finite()), "seed {seed} time {time}");
            }
        }
    }

    #[test]
    fn a_dot_painted_on_a_layer_is_where_its_track_says() {
        let pool = pool();
        let (mut followed, mut hidden) = (0, 0);
        for seed in 0..60 {
            let spec = spec(seed);
            let filmed_with = |painted: Option<(usize, Vec2, f32)>| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut scene = Scene::random(&pool.stock(), &mut rng, spec.width, spec.height, &spec.frame_times);
                if let Some((layer, point, strength)) = painted {
                    let layer = &mut scene.layers[layer].layer;
                    let at = layer.texture_from_source.transform_point2(point);
                    let width = layer.texture.width;
                    for (i, sample) in layer.texture.data.iter_mut().enumerate() {
                        let away = Vec2::new((i % width) as f32 + 0.5, (i / width) as f32 + 0.5) - at;
                        // A flat patch, so that the change is the dot alone.
                        if away.length() < 7.0 {
                            sample[0] = (0.2 + strength * (-0.5 * away.length_squared() / 1.5).exp()) * sample[3];
                        }
                    }
                }
                filmed(scene, &spec, &mut rng)
            };
            let clean = filmed_with(None);
            let size = Vec2::new(96.0, 72.0);
            // The middle of the first object's region, else of the picture.
            let inner = (0..96 * 72).map(|i| Vec2::new((i % 96) as f32 + 0.5, (i / 96) as f32 + 0.5)).find(|point| {
                let around = [Vec2::X, Vec2::Y, -Vec2::X, -Vec2::Y].map(|way| clean.layer_at(*point + way * 4.0));
                clean.layer_at(*point) > 0 && around.iter().all(|layer| *layer == clean.layer_at(*point))
            });
            let point = inner.unwrap_or(size * 0.5);
            let layer = clean.layer_at(point) as usize;
            let (bare, dotted) = (filmed_with(Some((layer, point, 0.0))), filmed_with(Some((layer, point, 0.6))));
            for frame in 0..spec.frame_times.len() {
                let (place, visible) = clean.track(point, frame);
                let (mut sum, mut weight) = (Vec2::ZERO, 0.0);
                for (i, (a, b)) in bare.frames[frame].data.iter().zip(&dotted.frames[frame].data).enumerate() {
                    let change = (a[0] - b[0]).abs();
                    weight += change;
                    sum += change * Vec2::new((i % 96) as f32 + 0.5, (i / 96) as f32 + 0.5);
                }
                let border = place.min(size - place).min_element();
                let clear = (0..121).map(|i| Vec2::new((i % 11) as f32 - 5.0, (i / 11) as f32 - 5.0)).all(|away| {
                    let layer = clean.layer_at(point);
                    clean.shows(layer, place + away, frame)
                });
                if clear {
                    assert!(visible && weight > 0.5, "seed {seed} frame {frame}: the dot is missing at {place}");
                    assert!((sum / weight - place).length() < 0.6, "seed {seed} frame {frame}: {} instead of {place}", sum / weight);
                    followed += 1;
                }
                if border < -8.0 {
                    assert!(!visible && weight < 1e-3, "seed {seed} frame {frame}");
                    hidden += 1;
                }
            }
        }
        assert!(followed > 100 && hidden > 3, "{followed} {hidden}");
    }

    #[test]
    fn what_is_behind_a_front_object_is_not_visible() {
        let pool = pool();
        let mut covered = 0;
        for seed in 0..40 {
            let clip = make_clip(&pool, &spec(seed));
            for (x, y) in (0..96 * 72).step_by(37).map(|i| (i % 96, i / 96)) {
                let point = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
                assert!(clip.track(point, 0).1, "in the source everything that shows is visible");
                let (place, visible) = clip.track(point, 7);
                let front = (0..clip.objects.len())
                    .rev()
                    .find(|k| clip.objects[*k].alpha_at(clip.motions[7].objects[*k].inverse().transform_point2(place)) > 0.5);
                let covering = front.is_some_and(|k| k as u16 + 1 > clip.layer_at(point));
                covered += usize::from(covering);
                assert!(!(visible && covering));
            }
        }
        assert!(covered > 50);
    }

    #[test]
    fn regions_show_their_objects_and_are_apart() {
        let pool = pool();
        for seed in 0..40 {
            let clip = make_clip(&pool, &spec(seed));
            for i in 0..96 * 72 {
                assert!(clip.regions.iter().map(|region| region.data[i]).sum::<f32>() <= 1.0);
            }
            for (k, region) in clip.regions.iter().enumerate() {
                let drawn = region.data.iter().sum::<f32>();
                let point = |i: usize| Vec2::new((i % 96) as f32 + 0.5, (i / 96) as f32 + 0.5);
                let right = (0..96 * 72).filter(|i| region.data[*i] > 0.5 && clip.layer_at(point(*i)) as usize == k + 1).count();
                assert!(drawn > 0.0 && right as f32 > 0.3 * drawn, "seed {seed} object {k}: {right} of {drawn}");
            }
        }
    }
}
