//! Training: clips made on the fly from photographs and cut-outs, with exact motion.
//!
//! Invariant: a clip is a pure function of the pool's files, its epoch and the clip's seed. Guarded by the tests of `clip`.

pub mod clip;
pub mod evaluate;
pub mod example;
mod loss;
pub mod motion_path;
pub mod network;
pub mod optimizer;
pub mod pool;
mod pyramid;
mod raster;
pub mod reconstruct;
mod region;
mod scan;
mod scene;
mod shape;
pub mod similarity;
pub mod speed;
mod split;
mod tracking;
pub mod tracks;
pub mod trainer;
