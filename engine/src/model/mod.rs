//! The generator: codec, causal DiT, KV window, track head, sampler, checkpoints.

pub mod checkpoint;
pub mod codec;
pub mod config;
pub mod cost;
pub mod device;
pub mod dit;
mod fused;
pub mod kv_window;
pub mod network;
pub mod parameters;
mod product;
pub mod rope;
pub mod sampler;
pub mod track_head;
