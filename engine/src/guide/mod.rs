//! The picture warped by the motion, its holes filled: preview, condition and source of detail in one.
//!
//! `cut` cuts the picture along the regions (soft mattes from `matte` and `matting`, clean plate behind them), `layers` gives the plate texture, `warp` draws the layers of one frame,
//! `relief` gives them depth for a camera that moves,
//! `detail` puts the source picture's sharpness back onto a generated frame, `baseline` is the plain warp it is measured against.
//!
//! Invariant: where nothing moved, the guide is the source picture bit for bit. Guarded by the tests of `warp`.

pub mod baseline;
pub mod cut;
pub mod detail;
pub mod distance;
pub mod exemplar;
mod inverse;
pub mod layers;
pub mod matte;
pub mod matting;
mod patch_match;
mod peel;
pub mod pull_push;
pub mod relief;
mod smooth;
pub mod stereo;
pub mod texture;
pub mod warp;

pub use layers::{CutOptions, Fill, Layer, Layers};
pub use warp::GuideFrame;
