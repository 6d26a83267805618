//! Training: clips made on the fly from photographs and cut-outs, with exact motion.
//!
//! Invariant: a clip is a pure function of the pool's files, its epoch and the clip's seed. Guarded by the tests of `clip`.

pub mod average;
mod batches;
pub mod clip;
pub mod drift;
pub mod evaluate;
pub mod example;
pub mod film;
mod loss;
pub mod matting;
pub mod motion_path;
pub mod network;
pub mod optimizer;
pub mod pool;
mod pyramid;
mod raster;
pub mod recipe;
pub mod reconstruct;
mod region;
mod replay;
mod scan;
mod scene;
mod shape;
pub mod similarity;
pub mod speed;
mod split;
mod tracking;
pub mod tracks;
pub mod trainee;
pub mod trainer;
