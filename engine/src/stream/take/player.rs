//! Shows any chunk of a take again, at any size.
//!
//! The guide is drawn anew by the chunk's motion, at the model's size from the live picture's cut and at the frames' size from the
//! source's; the network's output comes from the log, so that no network runs. Chunks whose output was not kept are made again from the
//! beginning. Invariant: at the size of the live picture the frames are those that were made, bit for bit. Guarded by
//! `tests/tests/take.rs`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use rayon::prelude::*;

use super::reader::TakeReader;
use super::record::ModelId;
use crate::condition::{Condition, FramePoints, padded};
use crate::error::{Error, Result};
use crate::media::picture_file::load_picture;
use crate::model::checkpoint::Checkpoint;
use crate::motion::frame_motion::FrameMotion;
use crate::motion::project::Project;
use crate::picture::Picture;
use crate::stream::compose::Composer;
use crate::stream::live::Compiled;
use crate::stream::live::compile::{Filling, Stage};
use crate::stream::live::maker::ChunkMaker;
use crate::stream::render::{Guide, at_output_size};
use crate::stream::session::Chunk;

/// A take that is shown again.
pub struct TakePlayer<'a> {
    reader: TakeReader,
    checkpoint: &'a Checkpoint,
    device: Device,
    picture: Arc<Picture>,
    /// At the model's size, from the picture that was cut live.
    small: Stand,
    /// At the frames' size, from the source, if that is another.
    full: Option<Stand>,
    /// What is cut off the shown frames: left, top.
    cut: (usize, usize),
    output_size: (usize, usize),
    condition: Condition,
    chunk: Chunk,
    composer: Composer,
    shown: Vec<Picture>,
    finished: Vec<Picture>,
    /// Makes again what was not kept.
    maker: Option<ChunkMaker<'a>>,
    stop: Arc<AtomicBool>,
}

/// A picture at one size, cut for the newest motion.
struct Stand {
    picture: Arc<Picture>,
    longer_px: usize,
    size: (usize, usize),
    stage: Option<(u64, Stage)>,
    compiled: Option<(Arc<Project>, Filling, Arc<Compiled>)>,
    cuts: u64,
    guide: Option<(u64, Guide)>,
}

impl<'a> TakePlayer<'a> {
    /// Opens the take `path`, which `checkpoint` made. Frames are `size` px large, of another shape the middle; the source's size (made
    /// even) when none is given. The source is read from its file unless `picture` is it.
    ///
    /// # Errors
    /// A log or picture that cannot be read, a picture that is not the take's, another model, or an empty take.
    pub fn open(
        path: &Path,
        checkpoint: &'a Checkpoint,
        device: &Device,
        size: Option<(usize, usize)>,
        picture: Option<Arc<Picture>>,
    ) -> Result<Self> {
        let mut reader = TakeReader::open(path)?;
        let header = reader.header().clone();
        if !ModelId::of(checkpoint).decodes(&header.model) {
            let what = format!("was made with the model `{}` as it was then; choose that one", header.model.name);
            return Err(Error::file(path, what));
        }
        if header.chunk_frames != checkpoint.dit.config.chunk_frames() {
            return Err(Error::file(path, "has chunks of another length than its model; the file is damaged"));
        }
        if reader.chunks() == 0 {
            return Err(Error::file(path, "holds no frame yet; let it run a moment"));
        }
        let first = reader.motion(reader.chunks() - 1)?;
        let picture = match picture {
            Some(picture) => picture,
            None => Arc::new(load_picture(&first.image_path())?),
        };
        let live_px = header.live_size.0.max(header.live_size.1);
        let mut small = Stand::new(&picture, live_px, header.model_size);
        let live = &small.stage(first.seed)?.picture;
        if (live.width, live.height) != header.live_size {
            let (w, h) = (picture.width, picture.height);
            return Err(Error::file(first.image_path(), format!("has {w}x{h} px, which is not the picture of this take; put it back")));
        }
        let (width, height) = (picture.width, picture.height);
        let output_size = size.unwrap_or((width.next_multiple_of(2), height.next_multiple_of(2)));
        // The smallest size of the source's shape that covers the frames.
        let grow = (output_size.0 as f64 / width as f64).max(output_size.1 as f64 / height as f64);
        let side = |px: usize, least: usize| {
            let side = (px as f64 * grow).round() as usize;
            // Sides are whole pixels: what differs by less is stretched.
            if side.abs_diff(least) * 50 < least { least } else { side.max(least) }
        };
        let whole = (side(width, output_size.0), side(height, output_size.1));
        let full = (whole != header.model_size).then(|| Stand::new(&picture, width.max(height), whole));
        Ok(Self {
            reader,
            checkpoint,
            device: device.clone(),
            picture,
            small,
            full,
            cut: ((whole.0 - output_size.0) / 2, (whole.1 - output_size.1) / 2),
            output_size,
            condition: Condition::default(),
            chunk: Chunk::default(),
            composer: Composer::default(),
            shown: Vec::new(),
            finished: Vec::new(),
            maker: None,
            stop: Arc::default(),
        })
    }

    /// Where the source picture of the take `path` lies.
    ///
    /// # Errors
    /// A log that cannot be read or is empty.
    pub fn picture_path(path: &Path) -> Result<std::path::PathBuf> {
        let mut reader = TakeReader::open(path)?;
        let last = reader.chunks().checked_sub(1).ok_or_else(|| Error::file(path, "holds no frame yet; let it run a moment"))?;
        Ok(reader.motion(last)?.image_path())
    }

    /// The log.
    pub fn reader(&self) -> &TakeReader {
        &self.reader
    }

    /// The source picture.
    pub fn picture(&self) -> &Arc<Picture> {
        &self.picture
    }

    /// Size of the frames.
    pub fn output_size(&self) -> (usize, usize) {
        self.output_size
    }

    /// Once `stop` is set, the making of chunks that were not kept, which may take long, ends with an error.
    pub fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// The frames of `chunk`, in buffers that the next one is drawn in.
    ///
    /// # Errors
    /// A chunk that is not there, or a damaged log.
    pub fn chunk(&mut self, chunk: u64) -> Result<&[Picture]> {
        let (project, stored) = (self.reader.motion(chunk)?, self.reader.stored(chunk)?);
        let config = &self.checkpoint.dit.config;
        let (frames, (width, height)) = (config.chunk_frames(), self.small.size);
        let (padded_width, padded_height) = padded(config, width, height);
        let cells = config.chunk_latents * (padded_width / config.cell_px) * (padded_height / config.cell_px);
        if !self.reader.output(chunk, cells, config.output_channels(), &mut self.chunk.output)? {
            self.make_again(chunk)?;
        }
        let first = usize::try_from(chunk).unwrap_or(usize::MAX).saturating_mul(frames);
        let compiled = self.small.compiled(&project, stored.filling)?;
        let motions: Vec<FrameMotion> = (first..first + frames).map(|frame| compiled.scene.frame_motion(frame)).collect();
        let guide = self.small.drawn(&compiled, &motions);
        self.condition.refill(config, &self.checkpoint.codec, guide, &vec![FramePoints::default(); frames]);
        let Self { composer, chunk, condition, shown, finished, full, checkpoint, cut, output_size, .. } = self;
        composer.compose(config, &checkpoint.codec, chunk, condition, width, height, shown);
        if let Some(full) = full {
            // The source's own cut is always textured: it lends detail that a smooth one has not.
            let compiled = full.compiled(&project, Filling::Textured)?;
            let motions: Vec<FrameMotion> = (first..first + frames).map(|frame| compiled.scene.frame_motion(frame)).collect();
            let (size, kept) = (full.size, 1.0 - config.fine_correction);
            let guide = full.drawn(&compiled, &motions);
            finished.resize_with(frames, || Picture::filled(0, 0, [0.0; 3]));
            let all = finished.par_iter_mut().zip(&*shown).zip(guide);
            all.for_each(|((finished, shown), guide)| *finished = at_output_size(shown, guide, size, kept));
        } else {
            finished.clone_from(shown);
        }
        let ((left, top), (width, height)) = (*cut, *output_size);
        for frame in finished.iter_mut().filter(|frame| (frame.width, frame.height) != (width, height)) {
            *frame = Picture::from_fn(width, height, |x, y| frame.at(left + x, top + y));
        }
        Ok(finished)
    }

    /// The output of a chunk that was not kept.
    fn make_again(&mut self, chunk: u64) -> Result<()> {
        let (made_with, own) = (&self.reader.header().model.kernels, ModelId::of(self.checkpoint).kernels);
        if *made_with != own {
            let what =
                format!("has chunks beyond its size limit, which only the kernels `{made_with}` make again as they were, not `{own}`");
            return Err(Error::file(self.reader.path(), what));
        }
        let (size, seed) = (self.small.size, self.reader.header().seed);
        // One that is just past the chunk still holds it.
        let at_hand = self.maker.take_if(|maker| maker.chunks() <= chunk + 1);
        let mut maker = at_hand.unwrap_or_else(|| ChunkMaker::new(self.checkpoint, &self.device, size, seed));
        for next in maker.chunks()..=chunk {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::field("take", "was not made again to its end: stopped"));
            }
            let (project, filling) = (self.reader.motion(next)?, self.reader.stored(next)?.filling);
            let compiled = self.small.compiled(&project, filling)?;
            maker.make(0, &compiled)?;
        }
        let stored = self.reader.stored(chunk)?;
        self.chunk.output.clear();
        self.chunk.output.extend_from_slice(maker.made(stored.filling).output);
        self.maker = Some(maker);
        Ok(())
    }
}

impl Stand {
    fn new(picture: &Arc<Picture>, longer_px: usize, size: (usize, usize)) -> Self {
        Self { picture: picture.clone(), longer_px, size, stage: None, compiled: None, cuts: 0, guide: None }
    }

    fn stage(&mut self, seed: u64) -> Result<&mut Stage> {
        let stage = match self.stage.take() {
            Some((of, stage)) if of == seed => stage,
            _ => Stage::new(&self.picture, self.longer_px, seed)?,
        };
        Ok(&mut self.stage.insert((seed, stage)).1)
    }

    /// `project` compiled; cut anew only where regions or filling differ from the last one's.
    fn compiled(&mut self, project: &Arc<Project>, filling: Filling) -> Result<Arc<Compiled>> {
        if let Some((last, filled, compiled)) = self.compiled.as_mut().filter(|(_, filled, _)| *filled == filling) {
            if Arc::ptr_eq(last, project) {
                return Ok(compiled.clone());
            }
            if let Some(scene) = compiled.scene.revised(project) {
                let revised = Arc::new(Compiled { scene: Arc::new(scene), layers: compiled.layers.clone(), ..**compiled });
                self.compiled = Some((project.clone(), *filled, revised.clone()));
                return Ok(revised);
            }
        }
        let stage = self.stage(project.seed)?;
        let (scene, layers) = stage.compile(project, filling)?;
        let scale = stage.scale();
        self.cuts += 1;
        let compiled = Arc::new(Compiled { revision: 0, scene: Arc::new(scene), layers: Arc::new(layers), cut: self.cuts, scale });
        self.compiled = Some((project.clone(), filling, compiled.clone()));
        Ok(compiled)
    }

    /// The guide by `motions`.
    fn drawn(&mut self, compiled: &Compiled, motions: &[FrameMotion]) -> &[crate::guide::GuideFrame] {
        let guide = match self.guide.take() {
            Some((cut, guide)) if cut == compiled.cut => guide,
            _ => Guide::new(&compiled.layers, self.size, motions.len()),
        };
        let (_, guide) = self.guide.insert((compiled.cut, guide));
        for (i, motion) in motions.iter().enumerate() {
            guide.warp(i, motion);
        }
        &guide.frames
    }
}
