//! A session: one continuous video, chunk by chunk, from conditions.
//!
//! Invariant: the same checkpoint, seed and conditions give the same frames, whatever the number of threads; memory and time per chunk
//! are constant. Guarded by `tests/tests/streaming.rs`.

use crate::condition::Condition;
use crate::error::{Error, Result};
use crate::kernels::isa::Precision;
use crate::model::checkpoint::Checkpoint;
use crate::model::contrast::Contrast;
use crate::model::kv_window::KvWindow;
use crate::model::network::{Network, Saved, network};
use crate::model::sampler::{noise, noised};
use candle_core::Device;
use rayon::prelude::*;
use std::time::Instant;

/// A video in the making.
pub struct Session<'a> {
    checkpoint: &'a Checkpoint,
    device: Device,
    seed: u64,
    chunk: u64,
    network: Option<Running<'a>>,
    /// The noisy latent of the pass in work, (cells, latent_channels).
    noisy: Vec<f32>,
    /// Room to work out how strong noise is.
    contrast: Contrast,
    /// A time for each pass of the last chunk, seconds: denoising steps, then the commit.
    pub pass_seconds: Vec<f64>,
}

/// A network and the rows and columns of cells that it was made for.
struct Running<'a> {
    network: Box<dyn Network + 'a>,
    size: (usize, usize),
}

/// A generated chunk.
#[derive(Default)]
pub struct Chunk {
    /// Clean latents, (cells, latent_channels).
    pub latents: Vec<f32>,
    /// The network's last output as it came, (cells, output_channels): correction, lean to the smooth guide, gate; what
    /// [`Composer`](crate::stream::compose::Composer) shows.
    pub output: Vec<f32>,
}

/// Where a session stood: what branching starts from.
pub struct Snapshot {
    chunk: u64,
    window: Option<(Saved, (usize, usize))>,
}

impl Snapshot {
    /// The window of a session that computes with the candle graph.
    pub fn window(&self) -> Option<&KvWindow> {
        self.window.as_ref().and_then(|(saved, _)| saved.downcast_ref())
    }
}

impl<'a> Session<'a> {
    /// A new video.
    pub fn new(checkpoint: &'a Checkpoint, device: &Device, seed: u64) -> Self {
        let (noisy, contrast, pass_seconds) = Default::default();
        Self { checkpoint, device: device.clone(), seed, chunk: 0, network: None, noisy, contrast, pass_seconds }
    }

    /// Chunks made so far.
    pub fn chunks(&self) -> u64 {
        self.chunk
    }

    /// A deep copy of the state.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let window = self.network.as_ref().map(|r| Ok::<_, Error>((r.network.save()?, r.size))).transpose()?;
        Ok(Snapshot { chunk: self.chunk, window })
    }

    /// Goes back (or sideways) to a snapshot of a session of the same checkpoint; the snapshot can be used again.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        match &snapshot.window {
            Some((saved, size)) => self.running(*size)?.restore(saved)?,
            None => self.network = None,
        }
        self.chunk = snapshot.chunk;
        Ok(())
    }

    /// Anchors the video to what it shows now: for a change of scene.
    pub fn refresh_sink(&mut self) -> Result<()> {
        self.network.as_mut().map_or(Ok(()), |r| r.network.refresh_sink())
    }

    /// The network for this many rows and columns of cells.
    fn running(&mut self, size: (usize, usize)) -> Result<&mut Box<dyn Network + 'a>> {
        let running = match self.network.take() {
            Some(running) if running.size == size => running,
            _ => Running { network: network(&self.checkpoint.dit, self.checkpoint.precision, &self.device, size.0, size.1)?, size },
        };
        Ok(&mut self.network.insert(running).network)
    }

    /// Makes the next chunk, into buffers that are used again.
    pub fn next_chunk(&mut self, condition: &Condition, chunk: &mut Chunk) -> Result<()> {
        self.denoise(condition, chunk)?;
        self.commit(chunk)
    }

    /// The first half of [`Session::next_chunk`]: all that has to be known to show the chunk.
    pub fn denoise(&mut self, condition: &Condition, chunk: &mut Chunk) -> Result<()> {
        self.denoise_steps(condition, chunk, usize::MAX)
    }

    /// The first `steps` denoising steps alone; what training goes on from.
    pub fn denoise_steps(&mut self, condition: &Condition, chunk: &mut Chunk, steps: usize) -> Result<()> {
        let config = &self.checkpoint.dit.config;
        let (channels, width, trust) = (config.latent_channels, config.output_channels(), config.correction);
        let (seed, number) = (self.seed, self.chunk);
        self.running((condition.rows, condition.columns))?.begin(&condition.channels, &condition.unknown)?;
        self.pass_seconds.clear();
        chunk.latents.clear();
        chunk.latents.extend_from_slice(&condition.guide_latent);
        chunk.output.resize(condition.unknown.len() * width, 0.0);
        for (step, level) in config.noise_levels.iter().take(steps).enumerate() {
            let start = Instant::now();
            // At t = 1 the network gives the noisy latent no weight, so none is drawn.
            let mut z = &chunk.latents;
            if *level < 1.0 {
                self.noisy.clone_from(z);
                let prior = condition.prior(config, 0..condition.unknown.len(), &mut self.contrast);
                noised(&mut self.noisy, &condition.unknown, *level, prior, noise(seed, number, step));
                z = &self.noisy;
            }
            let Some(running) = &mut self.network else { continue };
            running.network.denoise(z, *level, &mut chunk.output)?;
            if !chunk.output.par_chunks(1 << 14).all(|part| part.iter().all(|v| v.is_finite())) {
                return Err(self.not_finite());
            }
            let cells = chunk.latents.par_chunks_mut(channels).zip(chunk.output.par_chunks(width)).with_min_len(64);
            cells.enumerate().filter(|(cell, _)| condition.unknown[*cell]).for_each(|(cell, (z, out))| {
                let at = cell * channels..(cell + 1) * channels;
                let (guide, smooth) = (&condition.guide_latent[at.clone()], &condition.smooth_latent[at]);
                for (((z, guide), smooth), correction) in z.iter_mut().zip(guide).zip(smooth).zip(out) {
                    *z = guide + trust * (correction + out[channels] * smooth);
                }
            });
            self.pass_seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// The second half: keeps the chunk that was just made in the window, while it may already be shown.
    pub fn commit(&mut self, chunk: &Chunk) -> Result<()> {
        let start = Instant::now();
        if let Some(running) = &mut self.network {
            running.network.commit(&chunk.latents)?;
        }
        self.pass_seconds.push(start.elapsed().as_secs_f64());
        self.chunk += 1;
        Ok(())
    }

    /// Why numbers may have left the range, and what to do.
    fn not_finite(&self) -> Error {
        let half = matches!(self.checkpoint.precision, Some(Precision::Fp16 | Precision::Bf16));
        let first = if half { "may not fit half precision: choose the kernels `avx512` or `avx2`; else " } else { "" };
        Error::field("model", format!("gives numbers that are not finite; {first}its weights are damaged, fetch it again"))
    }
}
