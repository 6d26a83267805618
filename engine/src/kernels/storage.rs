//! Access to the f32 data behind candle tensors.
//!
//! Invariant: only contiguous f32 CPU data is handed out; anything else is an error, never a silent copy in the wrong order.

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, bail};

/// The contiguous f32 values of a CPU storage.
pub fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("a fused kernel was given a strided tensor"),
    }
}

/// Calls `f` with the f32 values of a CPU tensor.
pub fn with<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(slice(storage, layout)?)),
        _ => bail!("a fused kernel was given a tensor that is not on the CPU"),
    }
}

/// A CPU tensor of `values`.
pub fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}
