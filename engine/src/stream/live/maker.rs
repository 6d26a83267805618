//! One chunk after the other, from compiled scenes: layers at the model's size, tracks, network, and what it changed of the guide.
//!
//! Invariant: a chunk depends on the scenes of the chunks so far, the seed and the checkpoint alone; another scene swaps layers and
//! masks, while tracks and window go on; buffers are used again. Guarded by the tests below and `tests/tests/live.rs`.

use std::sync::Arc;

use candle_core::Device;
use glam::Vec2;
use half::f16;
use rayon::prelude::*;

use super::compile::Filling;
use super::log::MadeChunk;
use super::{Compiled, Correction, LiveFrame};
use crate::condition::FramePoints;
use crate::error::Result;
use crate::guide::layers::Layers;
use crate::guide::warp::{GuideFrame, Warper};
use crate::model::checkpoint::Checkpoint;
use crate::motion::frame_motion::FrameMotion;
use crate::motion::scene::Scene;
use crate::motion::track_field::{DEFAULT_POINTS, TrackField};
use crate::picture::Picture;
use crate::stream::pipeline::Pipeline;
use crate::stream::session::{Session, Snapshot};

/// Changes of the guide that nobody sees.
const NOTHING: f32 = 1.0 / 1024.0;

/// Makes a take's chunks; no thread of its own.
pub struct ChunkMaker<'a> {
    pipeline: Pipeline<'a>,
    size: (usize, usize),
    warper: Option<(Arc<Layers>, Warper)>,
    field: Option<(Arc<Scene>, TrackField)>,
    guide: Vec<GuideFrame>,
    points: Vec<FramePoints>,
}

impl<'a> ChunkMaker<'a> {
    /// A new video at the model's size `size` (both sides whole tokens).
    pub fn new(checkpoint: &'a Checkpoint, device: &Device, size: (usize, usize), seed: u64) -> Self {
        let frames = checkpoint.dit.config.chunk_frames();
        Self {
            pipeline: Pipeline::new(checkpoint, Session::new(checkpoint, device, seed)),
            size,
            warper: None,
            field: None,
            guide: vec![GuideFrame::blank(size.0, size.1); frames],
            points: vec![FramePoints::default(); frames],
        }
    }

    /// Frames of a chunk.
    pub fn chunk_frames(&self) -> usize {
        self.guide.len()
    }

    /// Chunks made so far, or where it was put.
    pub fn chunks(&mut self) -> u64 {
        self.pipeline.session().chunks()
    }

    /// Where the network stands now.
    ///
    /// # Errors
    /// When the device has no memory for a copy.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        self.pipeline.session().snapshot()
    }

    /// Goes to where the network stood.
    ///
    /// # Errors
    /// When the device has no memory for a copy.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.pipeline.session().restore(snapshot)
    }

    /// The next chunk of the video, drawn from `compiled`, as frames of take `take`.
    ///
    /// # Errors
    /// When the network fails, or gives numbers that are none.
    pub fn make(&mut self, take: u64, compiled: &Arc<Compiled>) -> Result<Vec<LiveFrame>> {
        let first = self.chunks() as usize * self.guide.len();
        let motions: Vec<FrameMotion> = (first..first + self.guide.len()).map(|frame| compiled.scene.frame_motion(frame)).collect();
        self.draw(compiled, &motions);
        self.follow(&compiled.scene, first);
        let Self { pipeline, guide, points, .. } = self;
        let corrections = pipeline.advance(guide, points, |shown| {
            let both = shown.par_iter().zip(&*guide);
            both.map(|(shown, guide)| correction(shown, &guide.rgb).map(Arc::new)).collect::<Vec<_>>()
        })?;
        let frames = motions.into_iter().zip(corrections).enumerate();
        let Compiled { revision, layers, cut, .. } = &**compiled;
        let frame = |(i, (motion, correction))| LiveFrame {
            take,
            frame: first + i,
            revision: *revision,
            layers: layers.clone(),
            cut: *cut,
            motion,
            correction,
        };
        Ok(frames.map(frame).collect())
    }

    /// What the last chunk needs to be shown again; `filling` is its cut's.
    pub fn made(&self, filling: Filling) -> MadeChunk<'_> {
        let (chunk, active) = self.pipeline.made();
        MadeChunk { active, output: &chunk.output, filling }
    }

    /// The guides of a chunk.
    fn draw(&mut self, compiled: &Compiled, motions: &[FrameMotion]) {
        if !matches!(&self.warper, Some((layers, _)) if Arc::ptr_eq(layers, &compiled.layers)) {
            let warper = Warper::new(compiled.layers.clone(), self.size.0, self.size.1);
            self.warper = Some((compiled.layers.clone(), warper));
        }
        if let Some((_, warper)) = &mut self.warper {
            motions.iter().zip(&mut self.guide).for_each(|(motion, guide)| warper.warp(motion, guide));
        }
    }

    /// The points of a chunk, in px of the model's picture.
    fn follow(&mut self, scene: &Arc<Scene>, first: usize) {
        let mut field = match self.field.take() {
            Some((last, mut field)) => {
                if !Arc::ptr_eq(&last, scene) {
                    scene.relayer(&mut field);
                }
                field
            }
            None => scene.track_field(DEFAULT_POINTS).with_capacity(1),
        };
        let scale = Vec2::new(self.size.0 as f32 / scene.width as f32, self.size.1 as f32 / scene.height as f32);
        for (i, points) in self.points.iter_mut().enumerate() {
            scene.advance(&mut field, first + i);
            let newest = field.pushed() - 1;
            points.ids.clone_from(&field.ids);
            points.states.clear();
            points.states.extend_from_slice(field.states(newest).unwrap_or_default());
            points.positions.clear();
            points.visible.clear();
            if let Some(tracks) = field.frame(newest) {
                points.positions.extend(tracks.positions.iter().map(|place| *place * scale));
                points.visible.extend_from_slice(&tracks.visible);
            }
        }
        self.field = Some((scene.clone(), field));
    }
}

/// What is `shown` otherwise than the guide has it; None if nobody would see it.
fn correction(shown: &Picture, guide: &Picture) -> Option<Correction> {
    let difference = |(shown, guide): (&[f32; 3], &[f32; 3])| [0, 1, 2].map(|c| shown[c] - guide[c]);
    let both = || shown.data.iter().zip(&guide.data).map(difference);
    if both().all(|rgb| rgb.iter().all(|v| v.abs() <= NOTHING)) {
        return None;
    }
    let rgba = both().map(|[r, g, b]| [r, g, b, 0.0].map(f16::from_f32)).collect();
    Some(Correction { width: shown.width, height: shown.height, rgba })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_correction_is_the_difference_or_nothing() {
        let guide = Picture::from_fn(6, 4, |x, y| [x as f32 / 6.0, y as f32 / 4.0, 0.5]);
        let mut shown = guide.clone();
        shown.data[5][1] += 0.9 * NOTHING;
        assert_eq!(correction(&shown, &guide), None);
        shown.data[9] = [0.0, 1.0, 0.25];
        let found = correction(&shown, &guide).unwrap();
        assert_eq!((found.width, found.height, found.rgba.len()), (6, 4, 24));
        for (i, rgba) in found.rgba.iter().enumerate() {
            let back = [0, 1, 2].map(|c| guide.data[i][c] + rgba[c].to_f32());
            assert!((0..3).all(|c| (back[c] - shown.data[i][c]).abs() < 1e-3) && rgba[3] == f16::ZERO);
        }
    }
}
