//! The stages from a guide to shown frames, overlapped: while a chunk is composed and shown, it is already being committed.
//!
//! Everything runs on rayon's threads and in buffers that are used again, so a long video allocates nothing; called from one of the
//! pool's own threads (`rayon::scope`), it does not even touch its queue. Invariant: the frames are those of the stages one after the
//! other. Guarded by `tests/tests/streaming.rs` and `tests/tests/allocations.rs`.

use crate::condition::{Condition, FramePoints};
use crate::error::Result;
use crate::guide::warp::GuideFrame;
use crate::model::checkpoint::Checkpoint;
use crate::picture::Picture;
use crate::stream::compose::Composer;
use crate::stream::session::{Chunk, Session};
use std::time::Instant;

/// Where the time of a chunk went, seconds.
#[derive(Clone, Debug, Default)]
pub struct Seconds {
    /// Tracks and guide to channels.
    pub condition: f64,
    /// Each denoising pass, then the commit, which overlaps with what follows.
    pub passes: Vec<f64>,
    /// What the session does between its passes.
    pub sampler: f64,
    /// Output to frames.
    pub compose: f64,
    /// What the caller does with the frames.
    pub show: f64,
}

/// A session with its buffers.
pub struct Pipeline<'a> {
    checkpoint: &'a Checkpoint,
    session: Session<'a>,
    condition: Condition,
    chunk: Chunk,
    composer: Composer,
    shown: Vec<Picture>,
    /// Where the time of the last chunk went.
    pub seconds: Seconds,
}

impl<'a> Pipeline<'a> {
    /// A pipeline around a session of `checkpoint`.
    pub fn new(checkpoint: &'a Checkpoint, session: Session<'a>) -> Self {
        let (condition, chunk, composer) = (Condition::default(), Chunk::default(), Composer::default());
        Self { checkpoint, session, condition, chunk, composer, shown: Vec::new(), seconds: Seconds::default() }
    }

    /// The checkpoint it runs.
    pub fn checkpoint(&self) -> &'a Checkpoint {
        self.checkpoint
    }

    /// The frames of the last chunk.
    pub fn shown(&self) -> &[Picture] {
        &self.shown
    }

    /// The last chunk as the network gave it, and which of its cells are shown otherwise than the guide has them.
    pub fn made(&self) -> (&Chunk, &[bool]) {
        (&self.chunk, self.composer.active())
    }

    /// What the last chunk was made from.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The session: how far it is, and where it can go back to.
    pub fn session(&mut self) -> &mut Session<'a> {
        &mut self.session
    }

    /// Makes one chunk of the guide's frames and the points in them, and hands its frames to `show`.
    pub fn advance<R: Send>(
        &mut self,
        guide: &[GuideFrame],
        points: &[FramePoints],
        show: impl FnOnce(&[Picture]) -> R + Send,
    ) -> Result<R> {
        let Self { checkpoint, session, condition, chunk, composer, shown, seconds } = self;
        let (config, codec) = (&checkpoint.dit.config, &checkpoint.codec);
        let (width, height) = (guide[0].rgb.width, guide[0].rgb.height);
        let mut clock = Instant::now();
        condition.refill(config, codec, guide, points);
        seconds.condition = lap(&mut clock);
        session.denoise(condition, chunk)?;
        seconds.sampler = lap(&mut clock) - session.pass_seconds.iter().sum::<f64>();
        let (committed, result) = rayon::join(
            || session.commit(chunk),
            || {
                composer.compose(config, codec, chunk, condition, width, height, shown);
                seconds.compose = lap(&mut clock);
                let result = show(shown);
                seconds.show = lap(&mut clock);
                result
            },
        );
        committed?;
        seconds.passes.clone_from(&session.pass_seconds);
        Ok(result)
    }
}

/// Seconds since `clock`, which starts anew.
fn lap(clock: &mut Instant) -> f64 {
    let seconds = clock.elapsed().as_secs_f64();
    *clock = Instant::now();
    seconds
}
