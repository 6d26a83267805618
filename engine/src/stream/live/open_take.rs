//! A take: the chunks made so far, where they can be made again from, and the log they go to.
//!
//! Invariant: a log is told a motion before the first chunk it made; a chunk that is made again is the one that was. Guarded by
//! `tests/tests/live.rs`.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;

use super::compile::Stage;
use super::history::{History, Plan};
use super::log::{Log, OpenLog};
use super::maker::ChunkMaker;
use super::{Compiled, LiveFrame};
use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::motion::project::Project;
use crate::picture::Picture;
use crate::stream::render::model_size;
use crate::stream::session::Snapshot;

/// One take.
pub(super) struct Take<'a> {
    /// Counts up from 1.
    pub number: u64,
    /// Whether it goes on; one that ended can still be branched off.
    pub open: bool,
    maker: ChunkMaker<'a>,
    history: History<Snapshot>,
    log: Option<Box<dyn Log>>,
    /// The motion that the log was told last.
    logged: Option<Arc<Project>>,
}

/// What a take was opened with.
pub(super) struct Opened {
    /// The log's file.
    pub path: Option<PathBuf>,
    /// What went wrong with the log.
    pub warning: Option<String>,
}

/// About how many bytes the network's state holds: keys twice, values, and the chunk in work.
fn state_bytes(config: &Config, (width, height): (usize, usize)) -> usize {
    let tokens = width.div_ceil(config.token_px()) * height.div_ceil(config.token_px());
    let slots = config.span_latents() + config.chunk_latents;
    3 * config.layers * slots * tokens * config.dim * size_of::<f32>()
}

impl<'a> Take<'a> {
    /// A new video of the live picture `picture`.
    pub fn new(checkpoint: &'a Checkpoint, device: &Device, project: &Project, picture: &Picture, history_bytes: usize) -> Self {
        let config = &checkpoint.dit.config;
        let size = project.size.unwrap_or_else(|| model_size(picture.width, picture.height, config.token_px()));
        let maker = ChunkMaker::new(checkpoint, device, size, project.seed);
        let history = History::new(state_bytes(config, size), history_bytes);
        Self { number: 0, open: false, maker, history, log: None, logged: None }
    }

    /// Becomes take `number`, with a log of its own.
    pub fn begin(
        &mut self,
        number: u64,
        open_log: Option<&mut OpenLog>,
        project: &Project,
        picture: &Picture,
        parent: Option<(u64, usize)>,
    ) -> Opened {
        (self.number, self.open, self.log, self.logged) = (number, true, None, None);
        match open_log.map(|open| open(number, project, picture, parent)) {
            Some(Ok((log, path))) => {
                self.log = Some(log);
                Opened { path: Some(path), warning: None }
            }
            Some(Err(e)) => Opened { path: None, warning: Some(not_kept(&e)) },
            None => Opened { path: None, warning: None },
        }
    }

    /// No chunk is added any more.
    pub fn end(&mut self) {
        (self.open, self.log) = (false, None);
    }

    /// The first frame that is not made yet.
    pub fn next_frame(&self) -> usize {
        self.history.chunks() as usize * self.maker.chunk_frames()
    }

    /// Frames of a chunk.
    pub fn chunk_frames(&self) -> usize {
        self.maker.chunk_frames()
    }

    /// Makes the next chunk of `compiled`, which is `plan`'s. Beside the frames: what went wrong with the log.
    pub fn make(&mut self, compiled: &Arc<Compiled>, plan: Plan) -> Result<(Vec<LiveFrame>, Option<String>)> {
        if self.history.wants_state() {
            let state = self.maker.snapshot()?;
            self.history.keep(state);
        }
        let chunk = self.history.chunks();
        let (maker, number) = (&mut self.maker, self.number);
        // On the pool's own threads the many small tasks of a chunk start without a queue.
        let frames = rayon::scope(|_| maker.make(number, compiled))?;
        let mut told = Ok(());
        if let Some(log) = &mut self.log {
            if !self.logged.as_ref().is_some_and(|last| Arc::ptr_eq(last, &plan.project)) {
                told = log.motion(chunk, &plan.project);
                self.logged = Some(plan.project.clone());
            }
            told = told.and_then(|()| log.chunk(chunk, &self.maker.made(plan.filling)));
        }
        let warning = told.err().map(|e| {
            self.log = None;
            not_kept(&e)
        });
        self.history.push(plan);
        Ok((frames, warning))
    }

    /// Goes back to before `chunk`, and no further than what was made; false where that is forgotten. `stage` cuts what is no longer
    /// at hand, `at_hand` is the newest cut, `stop` is asked between chunks.
    pub fn rewind(&mut self, chunk: u64, stage: &mut Stage, at_hand: &Compiled, stop: impl Fn() -> bool) -> Result<bool> {
        let chunk = chunk.min(self.history.chunks());
        let Some((state, plans)) = self.history.way_to(chunk) else { return Ok(false) };
        self.maker.restore(state)?;
        let mut last: Option<(Plan, Arc<Compiled>)> = None;
        for plan in plans {
            if stop() {
                return Ok(false);
            }
            let compiled = match last.take() {
                Some((made, compiled)) if Arc::ptr_eq(&made.project, &plan.project) && made.cut == plan.cut => compiled,
                Some((made, compiled)) if made.cut == plan.cut => revised(&compiled, &plan)?,
                _ if plan.cut == at_hand.cut => revised(at_hand, &plan)?,
                _ => {
                    let (scene, layers) = stage.compile(&plan.project, plan.filling)?;
                    let (scene, layers, scale) = (Arc::new(scene), Arc::new(layers), stage.scale());
                    Arc::new(Compiled { revision: 0, scene, layers, cut: plan.cut, scale })
                }
            };
            let (maker, number) = (&mut self.maker, self.number);
            rayon::scope(|_| maker.make(number, &compiled))?;
            last = Some((plan, compiled));
        }
        self.history.truncate(chunk);
        Ok(true)
    }
}

/// `compiled` with the motion of `plan`, which was made of the same cut.
fn revised(compiled: &Compiled, plan: &Plan) -> Result<Arc<Compiled>> {
    let scene = compiled.scene.revised(&plan.project).ok_or_else(|| Error::field("take", "does not fit its own cut; start a new one"))?;
    Ok(Arc::new(Compiled { revision: compiled.revision, scene: Arc::new(scene), layers: compiled.layers.clone(), ..*compiled }))
}

fn not_kept(e: &Error) -> String {
    format!("The take goes on, but is not kept on disk: {e}")
}
