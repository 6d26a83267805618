//! A clip as a session would get it, with the truth beside it; and the same in a mirror or on its side.
//!
//! Invariant: a film depends on the pool's working set, the spec and what is withheld alone; turned, everything in it goes to the same
//! places. Guarded by the tests below.

use crate::condition::FramePoints;
use crate::guide::layers::{CutOptions, Layers};
use crate::guide::warp::GuideFrame;
use crate::model::config::Config;
use crate::motion::layer_motion::LayerMotion;
use crate::motion::track_field::PointState;
use crate::picture::{Grid, Picture, Sample};
use crate::train::clip::{Clip, ClipSpec, make_clip};
use crate::train::pool::Pool;
use glam::Vec2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What is withheld of the tracks, so that the model learns to go on without them (MotionStream's second stage).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Withheld {
    /// Share of points that are hidden for some frames in the middle.
    pub masking: f32,
    /// Share of objects that are let go once they rest: from then on nobody says that they stay.
    pub released: f32,
}

/// How much of a clip a film shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A full window: the sink at the start, then, often after a gap, the rolling window and the chunk in work.
    Window,
    /// One chunk without a past, somewhere in the clip. Holes change little from chunk to chunk, so for the same work these show four
    /// times as many different ones.
    Chunk,
}

/// When the frames are of which a film is made: for one chunk alone, two, of which the first is the start.
pub(super) fn frame_times(config: &Config, extent: Extent, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let chunk = config.chunk_frames();
    let (start, rest) = match extent {
        Extent::Window => (config.sink_chunks, config.window_chunks + 1),
        Extent::Chunk => (1, 1),
    };
    let first = if rng.random_bool(0.5) { start * chunk } else { rng.random_range(start * chunk..10 * chunk) };
    (0..start * chunk).chain(first..first + rest * chunk).map(|t| t as f32).collect()
}

/// Frames of a clip: what they show, their guide, and their track points.
#[derive(Clone, Debug, PartialEq)]
pub struct Film {
    /// The truth.
    pub truth: Vec<Picture>,
    /// What a session is given of each frame.
    pub guide: Vec<GuideFrame>,
    /// The points of each frame.
    pub points: Vec<FramePoints>,
}

/// One of the eight symmetries of a square: mirrored and flipped first, then rows and columns exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Left becomes right.
    pub mirrored: bool,
    /// Top becomes bottom.
    pub flipped: bool,
    /// Rows become columns.
    pub transposed: bool,
}

impl Turn {
    /// Half of the time at most a mirror image: the world stands upright, and so do the pictures that are worked on. Else any of them; one
    /// that lies on its side only if it is to be `square`.
    pub fn random(rng: &mut ChaCha8Rng, square: bool) -> Self {
        let any = rng.random_bool(0.5);
        let mut toss = |may: bool| rng.random_bool(0.5) && may;
        Self { mirrored: toss(true), flipped: toss(any), transposed: toss(any && square) }
    }

    /// A place of a frame of this size, px.
    fn place(self, at: Vec2, size: Vec2) -> Vec2 {
        let mirrored = if self.mirrored { size.x - at.x } else { at.x };
        let flipped = if self.flipped { size.y - at.y } else { at.y };
        if self.transposed { Vec2::new(flipped, mirrored) } else { Vec2::new(mirrored, flipped) }
    }

    /// The size of what was (width, height), and for each of its pixels where it comes from.
    fn sources(self, width: usize, height: usize) -> ((usize, usize), Vec<u32>) {
        let (wide, high) = if self.transposed { (height, width) } else { (width, height) };
        let source = |i: usize| {
            let (x, y) = if self.transposed { (i / wide, i % wide) } else { (i % wide, i / wide) };
            let x = if self.mirrored { width - 1 - x } else { x };
            let y = if self.flipped { height - 1 - y } else { y };
            (y * width + x) as u32
        };
        ((wide, high), (0..wide * high).map(source).collect())
    }
}

impl Film {
    /// The film of a clip of `spec`.
    pub fn new(pool: &Pool, spec: &ClipSpec, withheld: Withheld) -> Self {
        let clip = make_clip(pool, spec);
        let (_, guide, mut points) = guide_and_points(&clip, spec.seed);
        withheld.apply(&clip, &mut points, &mut ChaCha8Rng::seed_from_u64(spec.seed ^ 0x5EED));
        Self { truth: clip.frames, guide, points }
    }

    /// A film to train on, of `width` x `height` pixels (multiples of a token).
    pub fn random(pool: &Pool, config: &Config, extent: Extent, (width, height): (usize, usize), withheld: Withheld, seed: u64) -> Self {
        let frame_times = frame_times(config, extent, &mut ChaCha8Rng::seed_from_u64(seed));
        let mut film = Self::new(pool, &ClipSpec { width, height, frame_times, seed }, withheld);
        if extent == Extent::Chunk {
            film.keep_last(config.chunk_frames());
        }
        film
    }

    /// Whether its frames are as high as they are wide.
    pub fn is_square(&self) -> bool {
        self.truth.iter().all(|frame| frame.width == frame.height)
    }

    /// Only its last `frames`.
    pub fn keep_last(&mut self, frames: usize) {
        let first = self.truth.len().saturating_sub(frames);
        self.truth.drain(..first);
        self.guide.drain(..first);
        self.points.drain(..first);
    }

    /// The film as it looks turned.
    pub fn turned(&self, turn: Turn) -> Self {
        let Some((width, height)) = self.truth.first().map(|frame| (frame.width, frame.height)) else { return self.clone() };
        let ((wide, high), sources) = turn.sources(width, height);
        let size = Vec2::new(width as f32, height as f32);
        let guide = |frame: &GuideFrame| GuideFrame {
            rgb: gathered(&frame.rgb, (wide, high), &sources),
            smooth: gathered(&frame.smooth, (wide, high), &sources),
            coverage: gathered(&frame.coverage, (wide, high), &sources),
            owner: sources.iter().map(|i| frame.owner[*i as usize]).collect(),
        };
        let points = |points: &FramePoints| FramePoints {
            positions: points.positions.iter().map(|at| turn.place(*at, size)).collect(),
            ..points.clone()
        };
        Self {
            truth: self.truth.iter().map(|frame| gathered(frame, (wide, high), &sources)).collect(),
            guide: self.guide.iter().map(guide).collect(),
            points: self.points.iter().map(points).collect(),
        }
    }
}

fn gathered<T: Sample>(grid: &Grid<T>, (width, height): (usize, usize), sources: &[u32]) -> Grid<T> {
    Grid { width, height, data: sources.iter().map(|i| grid.data[*i as usize]).collect() }
}

/// Points along the longer side of a picture of this many pixels: one per latent cell or so, as in a session.
fn track_points(clip: &Clip, frames: usize, rng: &mut ChaCha8Rng) -> Vec<FramePoints> {
    const SPACING_PX: f32 = 7.7;
    let (width, height) = (clip.source.width, clip.source.height);
    let (columns, rows) = ((width as f32 / SPACING_PX).ceil() as usize, (height as f32 / SPACING_PX).ceil() as usize);
    let sources: Vec<Vec2> = (0..rows * columns)
        .map(|i| Vec2::new((i % columns) as f32 + 0.5, (i / columns) as f32 + 0.5) * SPACING_PX)
        .filter(|p| p.x < width as f32 && p.y < height as f32)
        .collect();
    let ids: Vec<u32> = sources.iter().map(|_| rng.random_range(0..100_000)).collect();
    let states: Vec<PointState> = sources.iter().map(|p| clip.states[clip.layer_at(*p) as usize]).collect();
    (0..frames)
        .map(|frame| {
            let (positions, visible) = sources.iter().map(|p| clip.track(*p, frame)).unzip();
            FramePoints { ids: ids.clone(), states: states.clone(), positions, visible }
        })
        .collect()
}

impl Withheld {
    /// Takes from the points of a clip's frames what is withheld.
    fn apply(self, clip: &Clip, frames: &mut [FramePoints], rng: &mut ChaCha8Rng) {
        let count = frames.len();
        let points = frames.first().map_or(0, |f| f.ids.len());
        for i in (0..points).filter(|_| self.masking > 0.0 && count > 2) {
            if rng.random_bool(self.masking.clamp(0.0, 1.0).into()) {
                let first = rng.random_range(1..count - 1);
                let last = rng.random_range(first..count - 1);
                frames[first..=last].iter_mut().for_each(|frame| frame.visible[i] = false);
            }
        }
        for layer in (1..clip.states.len()).filter(|layer| clip.states[*layer] == PointState::Driven) {
            if self.released <= 0.0 || !rng.random_bool(self.released.clamp(0.0, 1.0).into()) {
                continue;
            }
            let on_plate = |frame: usize| clip.motions[frame].plate.inverse() * clip.motions[frame].objects[layer - 1];
            let end = on_plate(count - 1);
            let resting = (0..count).rev().take_while(|frame| on_plate(*frame).abs_diff_eq(end, 0.02)).count();
            let mine: Vec<bool> =
                (0..points).map(|i| frames[0].visible[i] && clip.layer_at(frames[0].positions[i]) as usize == layer).collect();
            // The first frame at rest is still held: the drag ends there.
            for frame in frames.iter_mut().skip(count - resting + 1) {
                frame.states.iter_mut().zip(&mine).filter(|(_, mine)| **mine).for_each(|(state, _)| *state = PointState::Free);
            }
        }
    }
}

/// The layers of a clip and its guide's frames; with the matting network as a session would get them.
pub fn guide_of(clip: &Clip, seed: u64, matting: bool) -> (Layers, Vec<GuideFrame>) {
    let (width, height) = (clip.source.width, clip.source.height);
    let options = CutOptions { plate_margin_px: width.max(height) / 4, seed, matting, ..CutOptions::default() };
    let layers = Layers::cut(&clip.source, &clip.regions, &options);
    let frames = clip
        .motions
        .iter()
        .map(|m| {
            let objects: Vec<LayerMotion> = m.objects.iter().map(|a| LayerMotion::Affine(*a)).collect();
            layers.warp(&LayerMotion::Affine(m.plate), &objects, width, height)
        })
        .collect();
    (layers, frames)
}

/// The guide's frames and track points of a clip, as a session would get them.
pub fn guide_and_points(clip: &Clip, seed: u64) -> (Layers, Vec<GuideFrame>, Vec<FramePoints>) {
    let (layers, frames) = guide_of(clip, seed, true);
    let points = track_points(clip, clip.motions.len(), &mut ChaCha8Rng::seed_from_u64(seed));
    (layers, frames, points)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::pool::tests::folders;

    fn turns() -> impl Iterator<Item = Turn> {
        let bit = |i: usize, bit: usize| i >> bit & 1 == 1;
        (0..8).map(move |i| Turn { mirrored: bit(i, 0), flipped: bit(i, 1), transposed: bit(i, 2) })
    }

    #[test]
    fn turned_pixels_and_points_go_to_the_same_places() {
        let (_root, photos, cutouts) = folders(12, 12);
        let (pool, _) = Pool::open_both(&[photos], &[cutouts], 1 << 28).unwrap();
        let film = Film::random(&pool, &Config::tiny(), Extent::Chunk, (96, 64), Withheld::default(), 3);
        assert_eq!((film.truth.len(), film.guide.len(), film.points.len()), (4, 4, 4));
        assert_eq!(film.turned(Turn::default()), film);
        assert!(film.guide[3].coverage.data.iter().any(|seen| *seen < 0.5));
        let mut looks: Vec<Film> = Vec::new();
        for turn in turns() {
            let turned = film.turned(turn);
            let frame = &turned.guide[3];
            let (wide, high) = if turn.transposed { (64, 96) } else { (96, 64) };
            assert_eq!((frame.rgb.width, frame.rgb.height, turned.truth[0].width), (wide, high, wide));
            // At its points a turned film shows what the film shows there.
            let mut inside = 0;
            for (before, after) in film.points[3].positions.iter().zip(&turned.points[3].positions) {
                let size = Vec2::new(96.0, 64.0);
                if before.cmplt(Vec2::ONE).any() || before.cmpgt(size - 1.0).any() {
                    continue;
                }
                inside += 1;
                let near = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
                let pair =
                    |before: &Picture, after: &Picture, at: Vec2, to: Vec2| near(before.bilinear(at.x, at.y), after.bilinear(to.x, to.y));
                assert!(pair(&film.truth[3], &turned.truth[3], *before, *after));
                assert!(pair(&film.guide[3].rgb, &frame.rgb, *before, *after));
                assert!(pair(&film.guide[3].smooth, &frame.smooth, *before, *after));
                let seen = |frame: &GuideFrame, at: Vec2| frame.coverage.bilinear(at.x, at.y);
                assert!((seen(&film.guide[3], *before) - seen(frame, *after)).abs() < 1e-4);
            }
            assert!(inside > 40, "{inside}");
            assert!(looks.iter().all(|other| *other != turned), "two turns look the same");
            looks.push(turned);
        }
        // Mirrored twice, it is what it was.
        for turn in turns().filter(|turn| !turn.transposed || turn.mirrored == turn.flipped) {
            assert_eq!(film.turned(turn).turned(turn).truth, film.truth, "{turn:?}");
        }
    }

    #[test]
    fn what_is_not_square_never_lies_on_its_side_and_half_stand_upright() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut upright = 0;
        for i in 0..2000 {
            let turn = Turn::random(rng, i % 2 == 0);
            assert!(i % 2 == 0 || !turn.transposed);
            upright += usize::from(!turn.flipped && !turn.transposed);
        }
        assert!((1200..1500).contains(&upright), "{upright}");
    }
}
