//! What the network on the CPU and the trainer compute with: instruction sets, packed matrices and their buffers for the former
//! ([`isa`], [`panels`], [`aligned`]), matrix products on slices for the latter (`gemm`), and arithmetic that the compiler vectorises for
//! both ([`vector`]).
//!
//! Invariant: nothing here knows the network or candle; results do not depend on the number of threads. Guarded by the tests of each
//! module.

pub mod aligned;
pub(crate) mod gemm;
pub mod isa;
pub mod panels;
pub mod vector;
