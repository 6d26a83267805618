//! The live loop: a worker thread that makes video while the hand still moves, and what is said to it and by it.
//!
//! One named thread owns the network and everything it needs; commands go in, events come out, both through bounded queues; of motions
//! the newest wins. A second thread compiles scenes, so that neither the worker nor a window waits for a picture to be cut. Invariants:
//! a take holds every frame that was made, whatever the clock; frames depend on picture, motion revisions by chunk, checkpoint and seed
//! alone, never on timing; a panic of the worker becomes an event. Guarded by `tests/tests/live.rs`.

pub mod compile;
pub mod hand;
pub mod history;
pub mod log;
mod mailbox;
pub mod maker;
mod open_take;
mod pace;
mod staging;
pub mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use glam::Vec2;
use half::f16;

use crate::guide::layers::Layers;
use crate::motion::frame_motion::FrameMotion;
use crate::motion::project::Project;
use crate::motion::region::Region;
use crate::motion::scene::Scene;
use crate::motion::stroke::{After, Stroke};
use crate::picture::Picture;

/// What the worker is told.
#[derive(Clone, Debug)]
pub enum Command {
    /// Another picture: whatever ran ends, everything starts anew.
    Open {
        /// The picture at its own size.
        picture: Arc<Picture>,
        /// The motion painted on it.
        project: Arc<Project>,
        /// Counts up with every change of the project.
        revision: u64,
    },
    /// The motion changed, also while video is made; only the newest counts.
    SetMotion {
        /// The whole project.
        project: Arc<Project>,
        /// Counts up with every change of the project.
        revision: u64,
        /// Finished drags up to this number are strokes of `project` now (or were undone): the worker forgets its own copies.
        absorbed: u64,
    },
    /// The hand drags something while video is made.
    Hand(Hand),
    /// Makes video: a new take from frame 0 if none is open, else on from where it paused. Pauses before frame `until`, or never.
    Run {
        /// The first frame not to make any more.
        until: Option<usize>,
    },
    /// Holds; the take stays open.
    Pause,
    /// Ends the take.
    Stop,
    /// How time runs.
    SetClock(Clock),
    /// A new take that shares the past of the open one (or of the one that ended last) before the chunk in which `frame` lies; paused
    /// there.
    Branch {
        /// Where to branch, in frames of that take.
        frame: usize,
    },
}

/// How the time of hand and video runs while video is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// 16 frames are a second. Where the network is slower, the clock waits for it: no frame is left out of a take.
    #[default]
    RealTime,
    /// Every frame as soon as it is made, however fast or slow.
    EveryFrame,
}

/// A drag while video is made. Places are *source* picture px at the press and move with the hand from there; the worker gives the keys
/// their frames: what the hand does between two chunks happens in the second one's frames.
#[derive(Clone, Debug)]
pub enum Hand {
    /// The hand takes hold of a region.
    Press {
        /// Counts up from 1.
        drag: u64,
        /// What is taken.
        region: Region,
        /// Where.
        place: Vec2,
        /// When.
        time: Instant,
    },
    /// It moves.
    Move {
        /// Which drag.
        drag: u64,
        /// Where to.
        place: Vec2,
        /// When.
        time: Instant,
    },
    /// It lets go.
    Release {
        /// Which drag.
        drag: u64,
        /// Where.
        place: Vec2,
        /// When.
        time: Instant,
        /// What becomes of the region then.
        after: After,
    },
}

/// What the worker says.
#[derive(Clone, Debug)]
pub enum Event {
    /// A motion was compiled: at once with smoothly filled holes, later again with texture. `Compiled::revision` says which motion.
    Compiled(Arc<Compiled>),
    /// Frames of a chunk, oldest first.
    Frames(Vec<LiveFrame>),
    /// How making the chunk went.
    Chunk(ChunkStats),
    /// A drag as a stroke with the keys so far; sent after each chunk that it had a part in, and when it is over.
    Dragged {
        /// Which drag.
        drag: u64,
        /// The drag as a stroke.
        stroke: Stroke,
        /// Whether the hand let go.
        done: bool,
    },
    /// A take was opened.
    Take {
        /// Counts up from 1 for each worker.
        take: u64,
        /// The take it branched off, and its first own frame.
        parent: Option<(u64, usize)>,
        /// Its log, if takes are kept.
        path: Option<PathBuf>,
    },
    /// Whether video is made.
    State(State),
    /// Something to know; nothing stops.
    Warning(String),
    /// The worker could not go on: the take is closed with its last chunk, and can be branched off there.
    Failed(String),
}

/// Whether video is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No take is open.
    #[default]
    Idle,
    /// Chunk follows chunk.
    Running,
    /// A take is open, nothing is made.
    Paused,
}

/// A project compiled for one picture: what every frame of it is drawn from.
#[derive(Debug)]
pub struct Compiled {
    /// Which motion it is; goes up.
    pub revision: u64,
    /// Where each layer is at any frame, in px of the layers' picture.
    pub scene: Arc<Scene>,
    /// The picture cut into layers, no larger than the live loop works at.
    pub layers: Arc<Layers>,
    /// Counts up whenever `layers` is another one: what has to be sent to the graphics card.
    pub cut: u64,
    /// Live px per px of the source picture.
    pub scale: f32,
}

/// A frame that was made: the guide at its motion plus what the network changed of it.
#[derive(Clone, Debug)]
pub struct LiveFrame {
    /// Which take it belongs to.
    pub take: u64,
    /// Its index there.
    pub frame: usize,
    /// Which motion it shows: [`Compiled::revision`].
    pub revision: u64,
    /// What it is drawn from, and the number of that cut. Not all that was compiled: the motion of a long performance, as it was at each of
    /// many frames that are held, would fill the memory.
    pub layers: Arc<Layers>,
    /// See [`Compiled::cut`].
    pub cut: u64,
    /// Where the layers are.
    pub motion: FrameMotion,
    /// What the network changed of the guide, at the model's size; None where it changed nothing.
    pub correction: Option<Arc<Correction>>,
}

/// Shown minus guide, sRGB-encoded, -1..1.
#[derive(Clone, Debug, PartialEq)]
pub struct Correction {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green, blue and 0 per pixel, row-major.
    pub rgba: Vec<[f16; 4]>,
}

/// How making a chunk went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChunkStats {
    /// Its take.
    pub take: u64,
    /// Its first frame.
    pub frame: usize,
    /// Frames in it.
    pub frames: usize,
    /// From the motion's cut to the frames, seconds.
    pub seconds: f64,
    /// From the oldest unseen movement of the hand to the frames that show it, seconds; None without a hand.
    pub hand_seconds: Option<f64>,
}

/// What a panic says.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
