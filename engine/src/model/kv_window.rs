//! The KV window: sink chunks, a rolling window and room for the chunk in work, all preallocated.
//!
//! Invariant: memory and the cost of a chunk do not depend on how many chunks were committed; a key's position is its slot; the chunk in
//! work can be rewritten any number of times until it is committed. Method: MotionStream (arXiv 2511.01266); the alternative storing
//! policy is TrackWan's. Guarded by `tests/tests/window.rs`.

use crate::model::config::{Config, KeyPolicy};
use crate::model::{ops, rope};
use candle_core::{DType, Device, Result, Tensor};

/// Keys and values of one layer, each (1, slots, dim).
#[derive(Debug)]
struct Layer {
    /// What is kept: sink and window keys as the policy stores them.
    stored: Tensor,
    /// What is attended to: every key rotated for its slot, the chunk in work last.
    keys: Tensor,
    values: Tensor,
    /// Keys of the chunk in work, not rotated; (1, chunk, dim).
    current: Tensor,
}

/// The cache of a whole model.
#[derive(Debug)]
pub struct KvWindow {
    layers: Vec<Layer>,
    policy: KeyPolicy,
    /// Rotation of every slot's tokens, (slots, head_dim).
    rotation: Tensor,
    chunk: usize,
    sink: usize,
    capacity: usize,
    filled: usize,
}

impl KvWindow {
    /// An empty window for latent frames of `rows` x `columns` tokens.
    pub fn new(config: &Config, rows: usize, columns: usize, device: &Device) -> Result<Self> {
        let chunk = config.chunk_latents * rows * columns;
        let slots = config.span_latents() * rows * columns;
        let zeros = |tokens: usize| Tensor::zeros((1, tokens, config.dim), DType::F32, device);
        let layers = (0..config.layers)
            .map(|_| Ok(Layer { stored: zeros(slots)?, keys: zeros(slots)?, values: zeros(slots)?, current: zeros(chunk)? }))
            .collect::<Result<_>>()?;
        Ok(Self {
            layers,
            policy: config.key_policy,
            rotation: rope::rotation(config.dim / config.heads, config.span_latents(), rows, columns, device)?,
            chunk,
            sink: config.sink_chunks * chunk,
            capacity: (config.sink_chunks + config.window_chunks) * chunk,
            filled: 0,
        })
    }

    /// Tokens held, without the chunk in work.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Per layer, the held keys, rotated for the slots they are in, and values; each (filled, dim).
    pub fn held(&self) -> Result<Vec<[Vec<f32>; 2]>> {
        let flat = |values: &Tensor| values.narrow(1, 0, self.filled)?.flatten_all()?.to_vec1::<f32>();
        self.layers.iter().map(|layer| Ok([flat(&layer.keys)?, flat(&layer.values)?])).collect()
    }

    /// Rotation of the chunk in work, (chunk tokens, head_dim).
    pub fn current_rotation(&self) -> Result<Tensor> {
        self.rotation.narrow(0, self.filled, self.chunk)
    }

    /// Puts the chunk in work (`k` not rotated, `v`; both (1, chunk, dim)) behind the held ones and returns all visible keys and values.
    pub fn attend(&mut self, layer: usize, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let rotated = ops::rope(k, &self.current_rotation()?)?;
        let layer = &self.layers[layer];
        layer.current.slice_set(&k.contiguous()?, 1, 0)?;
        layer.keys.slice_set(&rotated.contiguous()?, 1, self.filled)?;
        layer.values.slice_set(&v.contiguous()?, 1, self.filled)?;
        let seen = self.filled + self.chunk;
        Ok((layer.keys.narrow(1, 0, seen)?, layer.values.narrow(1, 0, seen)?))
    }

    /// Keeps the chunk in work; the oldest chunk of the rolling window leaves when it is full. Call after the pass at noise level 0.
    pub fn commit(&mut self) -> Result<()> {
        if self.capacity == 0 {
            return Ok(());
        }
        let overflows = self.filled + self.chunk > self.capacity;
        if overflows && self.sink == self.capacity {
            return Ok(()); // No rolling window: the sink alone is kept.
        }
        for layer in &self.layers {
            if overflows {
                let rest = self.capacity - self.sink - self.chunk;
                // The values stand one chunk beyond the capacity already, so they move together with the rest.
                // `force_contiguous` copies the part alone; `copy` would copy the whole window behind it.
                let values = layer.values.narrow(1, self.sink + self.chunk, rest + self.chunk)?.force_contiguous()?;
                layer.values.slice_set(&values, 1, self.sink)?;
                if rest > 0 {
                    let keys = layer.stored.narrow(1, self.sink + self.chunk, rest)?.force_contiguous()?;
                    layer.stored.slice_set(&keys, 1, self.sink)?;
                }
            }
            let slot = if overflows { self.capacity - self.chunk } else { self.filled };
            let key = match self.policy {
                KeyPolicy::SinkRotated if slot < self.sink => self.rotated(&layer.current, slot)?,
                _ => layer.current.clone(),
            };
            layer.stored.slice_set(&key, 1, slot)?;
        }
        self.filled = (self.filled + self.chunk).min(self.capacity);
        self.stage()
    }

    /// Makes the newest chunk the sink: what a new scene is anchored to. Nothing happens while the window is still the sink itself.
    pub fn refresh_sink(&mut self) -> Result<()> {
        if self.sink < self.chunk || self.filled <= self.sink {
            return Ok(());
        }
        let newest = self.filled - self.chunk;
        for layer in &self.layers {
            let raw = layer.stored.narrow(1, newest, self.chunk)?.force_contiguous()?;
            let key = match self.policy {
                KeyPolicy::SinkRotated => self.rotated(&raw, 0)?,
                KeyPolicy::AllUnrotated => raw,
            };
            layer.stored.slice_set(&key, 1, 0)?;
            layer.values.slice_set(&layer.values.narrow(1, newest, self.chunk)?.force_contiguous()?, 1, 0)?;
        }
        self.stage()
    }

    /// A deep copy: what pause, scrub and branching start from.
    pub fn snapshot(&self) -> Result<Self> {
        let layers = self
            .layers
            .iter()
            .map(|l| Ok(Layer { stored: l.stored.copy()?, keys: l.keys.copy()?, values: l.values.copy()?, current: l.current.copy()? }));
        Ok(Self { layers: layers.collect::<Result<_>>()?, rotation: self.rotation.clone(), ..*self })
    }

    fn rotated(&self, keys: &Tensor, slot: usize) -> Result<Tensor> {
        ops::rope(keys, &self.rotation.narrow(0, slot, keys.dim(1)?)?)?.contiguous()
    }

    /// Rotates every held key for the slot it is in now.
    fn stage(&self) -> Result<()> {
        for layer in &self.layers {
            let ready = match self.policy {
                KeyPolicy::SinkRotated => self.sink.min(self.filled),
                KeyPolicy::AllUnrotated => 0,
            };
            if ready > 0 {
                layer.keys.slice_set(&layer.stored.narrow(1, 0, ready)?, 1, 0)?;
            }
            if self.filled > ready {
                let rotated = self.rotated(&layer.stored.narrow(1, ready, self.filled - ready)?.contiguous()?, ready)?;
                layer.keys.slice_set(&rotated, 1, ready)?;
            }
        }
        Ok(())
    }
}
