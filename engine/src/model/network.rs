//! The network at work on one video, chunk by chunk, in either of its two forms: the candle graph, which runs on every device and is the
//! reference, and packed buffers on the CPU, which are several times faster.
//!
//! Invariant: both forms give the same numbers, to the precision of the instruction set. Guarded by `tests/tests/packed.rs`.

use crate::error::{Error, Result};
use crate::kernels::isa::{Isa, Precision, Visit};
use crate::model::dit::{Dit, Past};
use crate::model::fused::Fused;
use crate::model::kv_window::KvWindow;
use candle_core::{Device, Tensor};
use std::any::Any;

/// A deep copy of a network's KV window.
pub type Saved = Box<dyn Any + Send + Sync>;

/// Passes over a chunk in work, and the window behind it.
pub trait Network: Send {
    /// Takes the condition of the next chunk, (cells, condition_channels), and which of its cells are unknown.
    fn begin(&mut self, condition: &[f32], unknown: &[bool]) -> Result<()>;
    /// A pass over the noisy latent (cells, latent_channels), the guide's own where nothing is unknown: its output, (cells,
    /// output_channels).
    fn denoise(&mut self, noisy: &[f32], level: f32, output: &mut [f32]) -> Result<()>;
    /// Keeps the chunk, whose clean latent is (cells, latent_channels), in the window.
    fn commit(&mut self, clean: &[f32]) -> Result<()>;
    /// Makes the newest chunk the sink.
    fn refresh_sink(&mut self) -> Result<()>;
    /// A deep copy of the window.
    fn save(&self) -> Result<Saved>;
    /// Goes back to a copy from a network of the same form and size.
    fn restore(&mut self, saved: &Saved) -> Result<()>;
}

/// The network for chunks of `rows` x `columns` cells, both even: packed with `precision`, or the graph without one.
pub fn network<'a>(
    dit: &'a Dit,
    precision: Option<Precision>,
    device: &Device,
    rows: usize,
    columns: usize,
) -> Result<Box<dyn Network + 'a>> {
    match precision {
        Some(precision) => precision.with(Pack { dit, rows, columns }),
        None => Ok(Box::new(Graph {
            dit,
            window: KvWindow::new(&dit.config, rows / 2, columns / 2, device)?,
            condition: Tensor::zeros(0, candle_core::DType::F32, device)?,
            unknown: Vec::new(),
            size: (rows, columns),
        })),
    }
}

/// What [`Network::restore`] says to a copy from another form.
pub(super) fn foreign() -> Error {
    Error::field("snapshot", "was taken with other kernels; start the video anew")
}

struct Pack<'a> {
    dit: &'a Dit,
    rows: usize,
    columns: usize,
}

impl<'a> Visit for Pack<'a> {
    type Output = Result<Box<dyn Network + 'a>>;

    fn visit<I: Isa>(self, isa: I) -> Self::Output {
        Ok(Box::new(Fused::new(isa, self.dit, self.rows, self.columns)?))
    }
}

struct Graph<'a> {
    dit: &'a Dit,
    window: KvWindow,
    condition: Tensor,
    unknown: Vec<bool>,
    size: (usize, usize),
}

impl Graph<'_> {
    fn tensor(&self, values: &[f32], channels: usize) -> Result<Tensor> {
        let shape = (1, self.dit.config.chunk_latents, self.size.0, self.size.1, channels);
        Ok(Tensor::from_slice(values, shape, self.condition.device())?)
    }

    fn pass(&mut self, z: &[f32], level: f32) -> Result<Tensor> {
        let z = self.tensor(z, self.dit.config.latent_channels)?;
        Ok(self.dit.forward(&z, &self.condition, &[level], &self.unknown, &mut Past::Window(&mut self.window))?)
    }
}

impl Network for Graph<'_> {
    fn begin(&mut self, condition: &[f32], unknown: &[bool]) -> Result<()> {
        self.condition = self.tensor(condition, self.dit.config.condition_channels())?;
        self.unknown = unknown.to_vec();
        Ok(())
    }

    fn denoise(&mut self, noisy: &[f32], level: f32, output: &mut [f32]) -> Result<()> {
        output.copy_from_slice(&self.pass(noisy, level)?.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }

    fn commit(&mut self, clean: &[f32]) -> Result<()> {
        self.pass(clean, 0.0)?;
        Ok(self.window.commit()?)
    }

    fn refresh_sink(&mut self) -> Result<()> {
        Ok(self.window.refresh_sink()?)
    }

    fn save(&self) -> Result<Saved> {
        Ok(Box::new(self.window.snapshot()?))
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        self.window = saved.downcast_ref::<KvWindow>().ok_or_else(foreign)?.snapshot()?;
        Ok(())
    }
}
