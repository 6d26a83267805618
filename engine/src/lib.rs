//! Kinebrush's engine: strokes become tracks, tracks become a condition, a causal generator with a constant KV window turns the
//! condition into the next chunk of video. No window and no UI here: the studio and the command line are shells over it.
//!
//! Data flows one way: `motion` -> `guide` -> `condition` -> `stream` (over `model` and `kernels`) -> `media`.

pub mod condition;
pub mod error;
pub mod guide;
pub mod kernels;
pub mod media;
pub mod model;
pub mod motion;
pub mod picture;
pub mod priority;
pub mod stream;
pub mod train;

pub use error::{Error, Result};
