//! From a project to frames: scene -> guide -> condition -> session -> detail transfer, one chunk at a time.
//!
//! Invariant: memory does not grow with the length of the video; a chunk is made from the part of the motion that lies in its frames; the
//! same project, model and seed give the same frames. Guarded by `tests/tests/render.rs`.

use crate::condition::FramePoints;
use crate::error::{Error, Result};
use crate::guide::detail::{detail_transfer, enlarged};
use crate::guide::layers::{CutOptions, Layers};
use crate::guide::warp::{GuideFrame, Warper};
use crate::model::checkpoint::Checkpoint;
use crate::motion::frame_motion::FrameMotion;
use crate::motion::project::Project;
use crate::motion::region::Placement;
use crate::motion::scene::Scene;
use crate::motion::track_field::{DEFAULT_POINTS, TrackField};
use crate::picture::Picture;
use crate::stream::pipeline::Pipeline;
use crate::stream::session::Session;
use candle_core::Device;
use glam::Vec2;
use rayon::prelude::*;
use std::sync::Arc;

/// Pixels the model works on unless the project says otherwise: as many as 384x216 has.
const MODEL_PX: f64 = 384.0 * 216.0;
/// Plate beyond the picture on each side, as a share of the longer side: room for camera moves.
const MARGIN: f32 = 0.25;

/// A video in the making.
pub struct Renderer<'a> {
    scene: Scene,
    field: TrackField,
    /// The guide at the output's size.
    full: Guide,
    /// The guide at the model's size, if that is another.
    small: Option<Guide>,
    points: Vec<FramePoints>,
    generator: Option<Pipeline<'a>>,
    /// Frames at the output's size, if that is another than the generator's.
    finished: Vec<Picture>,
    model_size: (usize, usize),
    output_size: (usize, usize),
    chunk_frames: usize,
    next_frame: usize,
    notes: Vec<String>,
}

/// A chunk's guide at one size.
pub(super) struct Guide {
    warper: Warper,
    pub frames: Vec<GuideFrame>,
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
        let placement = Placement::cover(project.picture_size()?, (width, height));
        let scene = Scene::placed(project, &placement)?;
        let margin = (width.max(height) as f32 * MARGIN) as usize;
        let options = CutOptions { plate_margin_px: margin, seed, ..CutOptions::default() };
        let layers = Layers::cut(picture, &scene.regions, &options);
        let (scene, layers, notes) = match &project.camera {
            Some(camera) => {
                let lens = camera.lens(placement.picture);
                let (depth, mut notes) = camera.depth.map(picture, &placement, project.folder(), &lens)?;
                notes.extend(camera.warnings(&depth, &placement, project.frames));
                let layers = layers.with_depth(&depth);
                (scene.with_depth(Arc::new(depth)), layers, notes)
            }
            None => (scene, layers, Vec::new()),
        };
        let layers = Arc::new(layers);
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
            finished: Vec::new(),
            generator: checkpoint.map(|c| Pipeline::new(c, Session::new(c, device, seed))),
            model_size,
            output_size,
            chunk_frames,
            next_frame: 0,
            notes,
        })
    }

    /// What the user should know of the depth and the camera: what was resampled or filled, where the camera passes through things.
    pub fn notes(&self) -> &[String] {
        &self.notes
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
        let first = self.next_frame;
        self.next_frame += self.chunk_frames;
        for i in 0..self.chunk_frames {
            let motion = self.scene.frame_motion(first + i);
            self.full.warp(i, &motion);
            if let Some(small) = &mut self.small {
                small.warp(i, &motion);
            }
            if self.generator.is_some() {
                self.set_points(i, first + i);
            }
        }
        let Self { generator, full, small, finished, points, output_size, .. } = self;
        finished.resize_with(self.chunk_frames, || Picture::filled(0, 0, [0.0; 3]));
        let Some(generator) = generator else {
            finished.iter_mut().zip(&full.frames).for_each(|(finished, guide)| finished.clone_from(&guide.rgb));
            return Ok(finished);
        };
        let Some(small) = small else {
            generator.advance(&full.frames, points, |_| {})?;
            return Ok(generator.shown());
        };
        let kept = 1.0 - generator.checkpoint().dit.config.fine_correction;
        generator.advance(&small.frames, points, |shown| {
            let frames = finished.par_iter_mut().zip(shown).zip(&full.frames);
            frames.for_each(|((finished, shown), guide)| *finished = at_output_size(shown, guide, *output_size, kept));
        })?;
        Ok(finished)
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
    /// Of `layers`, `frames` blank ones.
    pub fn new(layers: &Arc<Layers>, (width, height): (usize, usize), frames: usize) -> Self {
        Self { warper: Warper::new(layers.clone(), width, height), frames: vec![GuideFrame::blank(width, height); frames] }
    }

    /// Draws frame `i` with the layers where the motions have them.
    pub fn warp(&mut self, i: usize, motion: &FrameMotion) {
        self.warper.warp(motion, &mut self.frames[i]);
    }
}

/// Detail of the source is put back where the output is larger than the model's picture (the share `kept` of it where the model decides);
/// a smaller output is an average of it.
pub(super) fn at_output_size(picture: &Picture, guide: &GuideFrame, (width, height): (usize, usize), kept: f32) -> Picture {
    match width >= picture.width && height >= picture.height {
        true => detail_transfer(picture, guide, kept),
        false if width <= picture.width && height <= picture.height => picture.resized(width, height),
        false => enlarged(picture, width, height),
    }
}
