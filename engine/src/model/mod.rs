//! The generator: codec, causal DiT (as a candle graph, and packed for the CPU), KV window, track head, sampler, checkpoints;
//! beside it the depth network.

pub mod activity;
pub mod checkpoint;
pub mod codec;
pub mod config;
pub mod contrast;
pub mod cost;
pub mod depth_anything;
pub mod device;
pub mod dit;
mod fused;
pub mod kv_window;
pub mod network;
pub mod ops;
pub mod parameters;
mod product;
pub mod rope;
pub mod sampler;
pub mod track_head;
