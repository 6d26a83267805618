//! From a project to frames: scene -> guide -> condition -> session -> detail transfer, one chunk at a time.
//!
//! Invariant: memory does not grow with the length of the video; a chunk is made from the part of the motion that lies in its frames; the
//! same project, model and seed give the same frames. Guarded by `tests/tests/render.rs`.

use crate::condition::{Condition, FramePoints};
use crate::error::{Error, Result};
use crate::guide::detail::{detail_transfer, enlarged};
use crate::guide::layers::{CutOptions, Layers};
use crate::guide::warp::{GuideFrame, Warper};
use crate::model::checkpoint::Checkpoint;
use crate::motion::project::Project;
use crate::motion::region::Placement;
use crate::motion::scene::Scene;
use crate::motion::track_field::{DEFAULT_POINTS, TrackField};
use crate::picture::Picture;
use crate::stream::compose::Composer;
use crate::stream::session::Session;
use candle_core::Device;
use glam::Vec2;
use std::sync::Arc;
use std::time::Instant;

/// Pixels the model works on unless the project says otherwise: as many as 384x216 has.
const MODEL_PX: f64 = 384.0 * 216.0;
/// Plate beyond the picture on each side, as a share of the longer side: room for camera moves.
const MARGIN: f32 = 0.25;

/// Time of each stage of the last chunk, seconds.
#[derive(Clone, Debug, Default)]
pub struct StageSeconds {
    /// Warping at the output's size and, if it is another, at the model's.
    pub guide: f64,
    /// Tracks and guide to channels.
    pub condition: f64,
    /// Each denoising pass, then the commit.
    pub passes: Vec<f64>,
    /// Latents to pixels and everything of the session outside the network's passes.
    pub decode: f64,
    /// Detail transfer.
    pub detail: f64,
}

/// A video in the making.
pub struct Renderer<'a> {
    scene: Scene,
    field: TrackField,
    /// The guide at the output's size.
    full: Guide,
    /// The guide at the model's size, if that is another.
    small: Option<Guide>,
    points: Vec<FramePoints>,
    condition: Condition,
    composer: Composer,
    shown: Vec<Picture>,
    generator: Option<(&'a Checkpoint, Session<'a>)>,
    model_size: (usize, usize),
    output_size: (usize, usize),
    chunk_frames: usize,
    next_frame: usize,
    /// Where the time of the last chunk went.
    pub stages: StageSeconds,
}

/// A chunk's guide at one size.
struct Guide {
    warper: Warper,
    frames: Vec<GuideFrame>,
}

/// A model size for a picture: its shape, about as many pixels as Sketch was made for, whole tokens, never more than the picture has.
pub fn model_size(width: usize, height: usize, token_px: usize) -> (usize, usize) {
    let scale = (MODEL_PX / (width * height) as f64).sqrt().min(1.0);
    let side = |length: usize| (((length as f64 * scale) / token_px as f64).round() as usize).max(1) * token_px;
    (side(width), side(height))
}

/// Shapes that differ by less than this are taken as the same, and the rest is stretched: sides are whole pixels.
const SAME_SHAPE: f64 = 0.02;

/// The middle of `picture` in the shape of `output`: a video of another shape is cut, never distorted.
fn cropped(picture: &Picture, output: Option<(usize, usize)>) -> Picture {
    let (width, height) = (picture.width, picture.height);
    let Some(shape) = output.map(|(w, h)| w as f64 / h as f64) else { return picture.clone() };
    let own = width as f64 / height as f64;
    if (own / shape - 1.0).abs() < SAME_SHAPE {
        return picture.clone();
    }
    let (w, h) = match shape < own {
        true => (((height as f64 * shape).round() as usize).max(1), height),
        false => (width, ((width as f64 / shape).round() as usize).max(1)),
    };
    let (left, top) = ((width - w) / 2, (height - h) / 2);
    Picture::from_fn(w, h, |x, y| picture.at(left + x, top + y))
}

impl<'a> Renderer<'a> {
    /// Prepares `project` on its picture. Without a checkpoint the guide alone is rendered. `output` is the size of the frames; the
    /// picture's own (made even) when none is given. Of a picture of another shape the middle is shown.
    pub fn new(
        project: &Project,
        picture: &Picture,
        checkpoint: Option<&'a Checkpoint>,
        device: &Device,
        output: Option<(usize, usize)>,
        seed: u64,
    ) -> Result<Self> {
        let picture = &cropped(picture, output);
        let (width, height) = (picture.width, picture.height);
        if width < 16 || height < 16 {
            return Err(Error::field("image", format!("is {width}x{height} px; a picture needs at least 16 px a side")));
        }
        let scene = Scene::placed(project, &Placement::cover(project.picture_size()?, (width, height)))?;
        let margin = (width.max(height) as f32 * MARGIN) as usize;
        let options = CutOptions { plate_margin_px: margin, seed, ..CutOptions::default() };
        let layers = Arc::new(Layers::cut(picture, &scene.regions, &options));
        let token_px = checkpoint.map_or(16, |c| c.dit.config.token_px());
        let model_size = project.size.unwrap_or_else(|| model_size(width, height, token_px));
        let output_size = output.unwrap_or((width.next_multiple_of(2), height.next_multiple_of(2)));
        let chunk_frames = checkpoint.map_or(4, |c| c.dit.config.chunk_frames());
        let separate = checkpoint.is_some() && model_size != output_size;
        Ok(Self {
            field: scene.track_field(DEFAULT_POINTS),
            scene,
            full: Guide::new(&layers, output_size, chunk_frames),
            small: separate.then(|| Guide::new(&layers, model_size, chunk_frames)),
            points: vec![FramePoints::default(); chunk_frames],
            condition: Condition::default(),
            composer: Composer::default(),
            shown: Vec::new(),
            generator: checkpoint.map(|c| (c, Session::new(c, device, seed))),
            model_size,
            output_size,
            chunk_frames,
            next_frame: 0,
            stages: StageSeconds::default(),
        })
    }

    /// Size of the frames.
    pub fn output_size(&self) -> (usize, usize) {
        self.output_size
    }

    /// Size the model works at.
    pub fn model_size(&self) -> (usize, usize) {
        self.model_size
    }

    /// The next frames of the video, in buffers that the chunk after them is made in.
    pub fn next_chunk(&mut self) -> Result<&[Picture]> {
        self.stages = StageSeconds::default();
        let first = self.next_frame;
        self.next_frame += self.chunk_frames;
        let mut clock = Instant::now();
        for i in 0..self.chunk_frames {
            let (plate, objects) = (self.scene.plate_motion(first + i), self.scene.object_motions(first + i));
            self.full.warper.warp(&plate, &objects, &mut self.full.frames[i]);
            if let Some(small) = &mut self.small {
                small.warper.warp(&plate, &objects, &mut small.frames[i]);
            }
        }
        self.stages.guide = lap(&mut clock);
        if self.generator.is_none() {
            self.shown.resize_with(self.chunk_frames, || Picture::filled(0, 0, [0.0; 3]));
            self.shown.iter_mut().zip(&self.full.frames).for_each(|(shown, guide)| shown.clone_from(&guide.rgb));
            return Ok(&self.shown);
        }
        for i in 0..self.chunk_frames {
            self.set_points(i, first + i);
        }
        let Some((checkpoint, session)) = &mut self.generator else { return Ok(&[]) };
        let (config, codec) = (&checkpoint.dit.config, &checkpoint.codec);
        let guide = &self.small.as_ref().unwrap_or(&self.full).frames;
        self.condition.refill(config, codec, guide, &self.points);
        self.stages.condition = lap(&mut clock);
        let chunk = session.next_chunk(&self.condition)?;
        let (width, height) = self.model_size;
        self.composer.compose(config, codec, &chunk, &self.condition, width, height, &mut self.shown);
        self.stages.passes.clone_from(&session.pass_seconds);
        self.stages.decode = lap(&mut clock) - self.stages.passes.iter().sum::<f64>();
        if self.small.is_some() {
            for i in 0..self.chunk_frames {
                self.shown[i] = self.at_output_size(&self.shown[i], &self.full.frames[i]);
            }
        }
        self.stages.detail = lap(&mut clock);
        Ok(&self.shown)
    }

    /// Detail of the source is put back where the output is larger than the model's picture; a smaller output is an average of it.
    fn at_output_size(&self, picture: &Picture, guide: &GuideFrame) -> Picture {
        let (width, height) = self.output_size;
        match width >= picture.width && height >= picture.height {
            true => detail_transfer(picture, guide, self.kept_texture()),
            false if width <= picture.width && height <= picture.height => picture.resized(width, height),
            false => enlarged(picture, width, height),
        }
    }

    /// How much of the guide's texture stays where the model decides.
    fn kept_texture(&self) -> f32 {
        self.generator.as_ref().map_or(1.0, |(checkpoint, _)| 1.0 - checkpoint.dit.config.fine_correction)
    }

    /// Track points of a frame, in px of the model's picture, as the `i`th of a chunk.
    fn set_points(&mut self, i: usize, frame: usize) {
        self.scene.advance(&mut self.field, frame);
        let scale = Vec2::new(self.model_size.0 as f32 / self.scene.width as f32, self.model_size.1 as f32 / self.scene.height as f32);
        let points = &mut self.points[i];
        points.ids.clone_from(&self.field.ids);
        points.states.clear();
        points.states.extend_from_slice(self.field.states(frame).unwrap_or_default());
        points.positions.clear();
        points.visible.clear();
        if let Some(tracks) = self.field.frame(frame) {
            points.positions.extend(tracks.positions.iter().map(|p| *p * scale));
            points.visible.extend_from_slice(&tracks.visible);
        }
    }
}

impl Guide {
    fn new(layers: &Arc<Layers>, (width, height): (usize, usize), frames: usize) -> Self {
        Self { warper: Warper::new(layers.clone(), width, height), frames: vec![GuideFrame::blank(width, height); frames] }
    }
}

/// Seconds since `clock`, which starts anew.
fn lap(clock: &mut Instant) -> f64 {
    let seconds = clock.elapsed().as_secs_f64();
    *clock = Instant::now();
    seconds
}
