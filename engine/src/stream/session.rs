//! A session: one continuous video, chunk by chunk, from conditions.
//!
//! Invariant: the same checkpoint, seed and conditions give the same frames, whatever the number of threads; memory and time per chunk
//! are constant. Guarded by `tests/tests/streaming.rs`.

use crate::condition::Condition;
use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::dit::{Dit, Past};
use crate::model::kv_window::KvWindow;
use crate::model::sampler::{noise, noised};
use candle_core::{Device, Tensor};

/// A video in the making.
pub struct Session<'a> {
    checkpoint: &'a Checkpoint,
    device: Device,
    seed: u64,
    chunk: u64,
    window: Option<KvWindow>,
    /// A time for each pass of the last chunk, seconds: denoising steps, then the commit.
    pub pass_seconds: Vec<f64>,
}

/// A generated chunk.
pub struct Chunk {
    /// Clean latents, (cells, latent_channels).
    pub latents: Vec<f32>,
    /// The network's last output as it came, (cells, output_channels): what [`Composer`](crate::stream::compose::Composer) shows.
    pub output: Vec<f32>,
}

/// Where a session stood: what branching starts from.
pub struct Snapshot {
    chunk: u64,
    window: Option<KvWindow>,
}

impl<'a> Session<'a> {
    /// A new video.
    pub fn new(checkpoint: &'a Checkpoint, device: &Device, seed: u64) -> Self {
        Self { checkpoint, device: device.clone(), seed, chunk: 0, window: None, pass_seconds: Vec::new() }
    }

    /// Chunks made so far.
    pub fn chunks(&self) -> u64 {
        self.chunk
    }

    /// A deep copy of the state.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let window = self.window.as_ref().map(KvWindow::snapshot).transpose()?;
        Ok(Snapshot { chunk: self.chunk, window })
    }

    /// Goes back (or sideways) to a snapshot of a session of the same checkpoint; the snapshot can be used again.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.chunk = snapshot.chunk;
        self.window = snapshot.window.as_ref().map(KvWindow::snapshot).transpose()?;
        Ok(())
    }

    /// Anchors the video to what it shows now: for a change of scene.
    pub fn refresh_sink(&mut self) -> Result<()> {
        Ok(self.window.as_mut().map_or(Ok(()), KvWindow::refresh_sink)?)
    }

    /// Makes the next chunk.
    pub fn next_chunk(&mut self, condition: &Condition) -> Result<Chunk> {
        let Checkpoint { dit, .. } = self.checkpoint;
        let config = &dit.config;
        if self.window.is_none() {
            let window = KvWindow::new(config, condition.rows / 2, condition.columns / 2, dit.kernels(), &self.device)?;
            self.window = Some(window);
        }
        let (channels, width, trust) = (config.latent_channels, config.output_channels(), config.correction);
        let static_input = tensor(condition, &condition.channels, config.condition_channels(), &self.device)?;
        self.pass_seconds.clear();
        let mut clean = condition.guide_latent.clone();
        let mut output = Vec::new();
        for (step, level) in config.noise_levels.iter().enumerate() {
            let noise = noise(self.seed, self.chunk, step, clean.len());
            let z = noised(&clean, &condition.guide_latent, &noise, &condition.unknown, *level);
            output = self.pass(dit, condition, &z, &static_input, *level)?;
            clean.copy_from_slice(&condition.guide_latent);
            for (cell, out) in output.chunks_exact(width).enumerate().filter(|(cell, _)| condition.unknown[*cell]) {
                let smooth = &condition.smooth_latent[cell * channels..][..channels];
                let corrected = clean[cell * channels..][..channels].iter_mut().zip(out).zip(smooth);
                corrected.for_each(|((z, correction), smooth)| *z += trust * (correction + out[channels] * smooth));
            }
        }
        self.pass(dit, condition, &clean, &static_input, 0.0)?;
        if let Some(window) = &mut self.window {
            window.commit()?;
        }
        self.chunk += 1;
        Ok(Chunk { latents: clean, output })
    }

    fn pass(&mut self, dit: &Dit, condition: &Condition, z: &[f32], static_input: &Tensor, level: f32) -> Result<Vec<f32>> {
        let start = std::time::Instant::now();
        let z = tensor(condition, z, dit.config.latent_channels, &self.device)?;
        let Some(window) = &mut self.window else { return Ok(Vec::new()) };
        let out: Vec<f32> = dit.forward(&z, static_input, &[level], &mut Past::Window(window))?.flatten_all()?.to_vec1()?;
        self.pass_seconds.push(start.elapsed().as_secs_f64());
        match out.iter().all(|v| v.is_finite()) {
            true => Ok(out),
            false => Err(Error::field("model", "gives numbers that are not finite; its weights are damaged, fetch it again")),
        }
    }
}

fn tensor(condition: &Condition, values: &[f32], channels: usize, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, (1, condition.latents, condition.rows, condition.columns, channels), device)?)
}
