//! The causal diffusion transformer: a convolutional stem on latent cells, Wan 2.1's blocks on tokens of 2x2 cells, and a convolutional
//! head that sees the stem again, so that nothing of the guide has to pass through the narrow tokens.
//!
//! The output is a *correction to the guide*, zero at initialisation: an untrained model shows the guide. What noise does not reach
//! ([`Activity`]) is at level 0 in every pass and looks at nothing that noise reaches, save in chunks that were committed.
//! Invariant: a chunk generated through the KV window equals the same chunk of a block-causal pass over all of it; keys and values of
//! what noise does not reach are those of the commit in every pass.
//! Guarded by `tests/tests/window.rs` (window against whole) and `tests/tests/parity.rs` (against the public PyTorch block).

use crate::error::Result;
use crate::model::activity::Activity;
use crate::model::config::Config;
use crate::model::contrast;
use crate::model::kv_window::KvWindow;
use crate::model::ops::{self, Visibility};
use crate::model::parameters::{Init, Parameters};
use candle_core::{Tensor, bail};

/// Weight (to, from) and bias (to).
pub(super) struct Linear(pub(super) Tensor, pub(super) Tensor);

impl Linear {
    fn new(p: &Parameters, name: &str, from: usize, to: usize, init: Init) -> Result<Self> {
        let (weight, bias) = p.linear(name, from, to, init)?;
        Ok(Self(weight, bias))
    }

    fn scaled(p: &Parameters, name: &str, from: usize, to: usize) -> Result<Self> {
        Self::new(p, name, from, to, Init::Normal(1.0 / (from as f32).sqrt()))
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        ops::linear(x, &self.0, &self.1)
    }
}

/// Where the attention of a pass looks.
pub enum Past<'a> {
    /// All chunks are in the pass.
    Whole {
        /// Rotation of every token, (tokens, head_dim).
        rotation: &'a Tensor,
        /// Whether a chunk sees only itself and those before it; a teacher sees all.
        causal: bool,
    },
    /// One chunk is in the pass; the earlier ones are in the window.
    Window(&'a mut KvWindow),
}

/// One transformer block (Wan 2.1 without cross-attention).
pub struct Block {
    pub(super) heads: usize,
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) o: Linear,
    pub(super) norm_q: Tensor,
    pub(super) norm_k: Tensor,
    pub(super) ffn: (Linear, Linear),
    pub(super) modulation: Tensor,
}

impl Block {
    /// The block at `p`, native Wan key names.
    pub fn new(dim: usize, ffn_dim: usize, heads: usize, p: &Parameters) -> Result<Self> {
        let (attention, ffn) = (p.pp("self_attn"), p.pp("ffn"));
        let project = |name| Linear::scaled(&attention, name, dim, dim);
        Ok(Self {
            heads,
            q: project("q")?,
            k: project("k")?,
            v: project("v")?,
            o: project("o")?,
            norm_q: attention.get("norm_q.weight", &[dim], Init::Ones)?,
            norm_k: attention.get("norm_k.weight", &[dim], Init::Ones)?,
            ffn: (Linear::scaled(&ffn, "0", dim, ffn_dim)?, Linear::scaled(&ffn, "2", ffn_dim, dim)?),
            modulation: p.get("modulation", &[1, 6, dim], Init::Normal(1.0 / (dim as f32).sqrt()))?,
        })
    }

    /// `x` (batch, tokens, dim); `time` (batch, tokens, 6, dim).
    pub fn forward(&self, x: &Tensor, time: &Tensor, visible: Visibility, layer: usize, past: &mut Past) -> candle_core::Result<Tensor> {
        let modulation = time.broadcast_add(&self.modulation)?;
        let part = |i: usize| modulation.narrow(2, i, 1)?.squeeze(2)?.contiguous();

        let y = ops::norm_modulate(x, &part(0)?, &part(1)?)?;
        let q = ops::rms_norm(&self.q.forward(&y)?, &self.norm_q)?;
        let k = ops::rms_norm(&self.k.forward(&y)?, &self.norm_k)?;
        let v = self.v.forward(&y)?;
        let (q, k, v) = match past {
            Past::Whole { rotation, .. } => (ops::rope(&q, rotation)?, ops::rope(&k, rotation)?, v),
            Past::Window(window) => {
                let q = ops::rope(&q, &window.current_rotation()?)?;
                let (k, v) = window.attend(layer, &k, &v)?;
                (q, k, v)
            }
        };
        let y = ops::attention(&q, &k, &v, self.heads, visible)?;
        let x = ops::gate_residual(x, &self.o.forward(&y)?, &part(2)?)?;
        let y = ops::norm_modulate(&x, &part(3)?, &part(4)?)?;
        let y = self.ffn.0.forward(&y)?.gelu()?;
        ops::gate_residual(&x, &self.ffn.1.forward(&y)?, &part(5)?)
    }
}

/// Residual convolutions on latent cells.
pub(super) struct ConvBlock {
    pub(super) norm: Tensor,
    pub(super) convs: [(Tensor, Tensor); 2],
}

impl ConvBlock {
    fn new(channels: usize, p: &Parameters) -> Result<Self> {
        let conv = |name: &str, init| -> Result<_> {
            let at = p.pp(name);
            Ok((at.get("weight", &[channels, 3, 3, channels], init)?, at.get("bias", &[channels], Init::Zeros)?))
        };
        let fan_in = (9 * channels) as f32;
        Ok(Self {
            norm: p.get("norm.weight", &[channels], Init::Ones)?,
            convs: [conv("conv1", Init::Normal((2.0 / fan_in).sqrt()))?, conv("conv2", Init::Normal(0.3 / fan_in.sqrt()))?],
        })
    }

    /// `x` (pictures, rows, columns, channels).
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let [(w1, b1), (w2, b2)] = &self.convs;
        let y = ops::conv3x3(&ops::rms_norm(x, &self.norm)?, w1, b1)?;
        x + ops::conv3x3(&y.gelu()?, w2, b2)?
    }
}

/// The generator's network.
pub struct Dit {
    /// Its sizes.
    pub config: Config,
    pub(super) track_head: Linear,
    pub(super) stem: Linear,
    pub(super) stem_blocks: Vec<ConvBlock>,
    pub(super) stem_norm: Option<Tensor>,
    pub(super) patch_embedding: Linear,
    pub(super) time: [Linear; 3],
    pub(super) blocks: Vec<Block>,
    pub(super) head_modulation: Tensor,
    pub(super) unpatch: Linear,
    pub(super) head_blocks: Vec<ConvBlock>,
    pub(super) out_norm: Tensor,
    pub(super) out: Linear,
}

/// A correction shut this far is 0.02 of itself: the gate of covered cells at the start.
const SHUT: f64 = 4.0;

impl Dit {
    /// Builds the network from `p`.
    pub fn new(config: &Config, p: &Parameters) -> Result<Self> {
        config.validate()?;
        let c = config.stem_channels;
        let d = config.dim;
        let input = config.latent_channels + config.condition_channels() - config.raw_track_channels() + config.track_channels;
        let (stem, head, embedding) = (p.pp("stem"), p.pp("head"), p.pp("time_embedding"));
        Ok(Self {
            track_head: Linear::scaled(p, "track_head", config.raw_track_channels(), config.track_channels)?,
            stem: Linear::scaled(&stem, "in", input, c)?,
            stem_blocks: (0..config.stem_blocks).map(|i| ConvBlock::new(c, &stem.pp(i))).collect::<Result<_>>()?,
            stem_norm: config.normed.then(|| stem.get("norm.weight", &[c], Init::Ones)).transpose()?,
            patch_embedding: Linear::scaled(p, "patch_embedding", 4 * c, d)?,
            time: [
                Linear::new(&embedding, "0", config.time_channels, d, Init::Normal(0.02))?,
                Linear::new(&embedding, "2", d, d, Init::Normal(0.02))?,
                Linear::new(&p.pp("time_projection"), "1", d, 6 * d, Init::Zeros)?,
            ],
            blocks: (0..config.layers)
                .map(|i| Block::new(d, config.ffn_dim, config.heads, &p.pp("blocks").pp(i)))
                .collect::<Result<_>>()?,
            head_modulation: head.get("modulation", &[1, 2, d], Init::Normal(1.0 / (d as f32).sqrt()))?,
            unpatch: Linear::scaled(&head, "unpatch", d, 4 * c)?,
            head_blocks: (0..config.head_blocks).map(|i| ConvBlock::new(c, &head.pp(i))).collect::<Result<_>>()?,
            out_norm: head.get("norm.weight", &[c], Init::Ones)?,
            out: Linear::new(&head, "out", c, config.output_channels(), Init::Zeros)?,
            config: config.clone(),
        })
    }

    /// Time embedding of noise levels: (groups, dim) and its projection (groups, 6, dim).
    pub(super) fn time(&self, levels: &[f32], like: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
        let half = self.config.time_channels / 2;
        let table: Vec<f32> = levels
            .iter()
            .flat_map(|t| {
                let angle = move |i: usize| *t as f64 * 1000.0 * 10_000f64.powf(-(i as f64) / half as f64);
                (0..half).map(move |i| angle(i).cos() as f32).chain((0..half).map(move |i| angle(i).sin() as f32))
            })
            .collect();
        let table = Tensor::from_vec(table, (levels.len(), 2 * half), like.device())?;
        let hidden = self.time[0].forward(&table)?.silu()?;
        let embedding = self.time[1].forward(&hidden)?;
        let projected = self.time[2].forward(&embedding.silu()?)?;
        Ok((embedding, projected.reshape((levels.len(), 6, self.config.dim))?))
    }

    /// [`Dit::time`] for each token, (tokens, ...): of its chunk's level if it is active, else of level 0.
    fn time_of_tokens(&self, levels: &[f32], active: &[bool], like: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
        let (embedding, time) = self.time(&[&[0.0], levels].concat(), like)?;
        let chunk = active.len() / levels.len();
        let rows = active.iter().enumerate().map(|(token, active)| if *active { 1 + (token / chunk) as u32 } else { 0 });
        let rows = Tensor::from_iter(rows, like.device())?;
        Ok((embedding.index_select(&rows, 0)?, time.index_select(&rows, 0)?))
    }

    /// The correction of the guide in latent cells, then how far each cell leans to the smooth guide, then the logit of its gate.
    ///
    /// An unknown cell's noisy latent is weighted by 1 - t: at t = 1 it holds noise alone, which a small net would let through. Other
    /// cells hold the guide, without noise, and nobody shows their output: it is 0 unless covered pixels may be corrected.
    ///
    /// `noisy` (batch, latents, rows, columns, latent_channels) and `condition` (.., condition_channels), rows and columns even;
    /// `levels`: a noise level per batch entry and chunk; `unknown` per cell. Returns (batch, latents, rows, columns, output_channels).
    pub fn forward(
        &self,
        noisy: &Tensor,
        condition: &Tensor,
        levels: &[f32],
        unknown: &[bool],
        past: &mut Past,
    ) -> candle_core::Result<Tensor> {
        let (batch, latents, rows, columns, _) = noisy.dims5()?;
        let (device, groups) = (noisy.device(), levels.len());
        if rows % 2 != 0 || columns % 2 != 0 || batch * latents != groups * self.config.chunk_latents {
            bail!("{rows}x{columns} cells, {latents} latents and {groups} noise levels do not fit together");
        }
        if unknown.len() != batch * latents * rows * columns {
            bail!("{batch}x{latents}x{rows}x{columns} cells, but {} of them are said to be known or unknown", unknown.len());
        }
        let by_cell = |values: Vec<f32>| Tensor::from_vec(values, (batch, latents, rows, columns, 1), device);
        let level = levels.iter().flat_map(|t| std::iter::repeat_n(*t, unknown.len() / groups));
        let share = unknown.iter().zip(level).map(|(unknown, t)| if *unknown { 1.0 - t } else { 1.0 }).collect();
        let c = self.config.stem_channels;
        let cells = batch * latents;
        let by_chunk = |x: &Tensor| x.reshape((groups, unknown.len() / groups, ()));
        let [channels, smooth] = [self.config.latent_channels, self.config.smooth_channels];
        let plain = self.config.condition_channels() - self.config.raw_track_channels();
        let tracks = self.track_head.forward(&condition.narrow(4, plain, self.config.raw_track_channels())?)?;
        let noisy = by_chunk(noisy)?;
        let [guide, smooth, rest] = [(0, channels), (channels, smooth), (channels + smooth, plain - channels - smooth)]
            .map(|(first, count)| condition.narrow(4, first, count).and_then(|x| by_chunk(&x)));
        let (guide, smooth, rest) = (guide?, smooth?, rest?);
        let contrast = if self.config.normed { Some(contrast::of(&guide)?) } else { None };
        let relative = |x: Tensor| match &contrast {
            Some((mean, spread)) => x.broadcast_sub(&mean.narrow(2, 0, x.dim(2)?)?)?.broadcast_div(spread),
            None => Ok(x),
        };
        let noisy = relative(noisy)?.broadcast_mul(&by_chunk(&by_cell(share)?)?)?;
        let input = Tensor::cat(&[&noisy, &relative(guide)?, &relative(smooth)?, &rest, &by_chunk(&tracks)?], 2)?;
        let mut stem = self.stem.forward(&input)?.reshape((cells, rows, columns, c))?;
        for block in &self.stem_blocks {
            stem = block.forward(&stem)?;
        }
        if let Some(weight) = &self.stem_norm {
            stem = ops::rms_norm(&stem, weight)?;
        }

        let folded = stem.reshape((cells, rows / 2, 2, columns / 2, 2 * c))?.transpose(2, 3)?.contiguous()?;
        let tokens = latents * rows * columns / 4;
        let mut x = self.patch_embedding.forward(&folded.reshape((batch, tokens, 4 * c))?)?;
        let activity = Activity::new(&self.config, unknown, rows, columns);
        let active = Tensor::from_iter(activity.active.iter().map(|active| u8::from(*active)), device)?.reshape((batch, tokens))?;
        let len = batch * tokens / groups;
        let visible = match past {
            Past::Whole { causal: false, .. } => Visibility::All,
            _ => Visibility::Chunks { len, active: &active },
        };
        let (embedding, time) = self.time_of_tokens(levels, &activity.active, &input)?;
        let (embedding, time) = (embedding.reshape((batch, tokens, 1, ()))?, time.reshape((batch, tokens, 6, ()))?);
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, &time, visible, layer, past)?;
        }
        let modulation = embedding.broadcast_add(&self.head_modulation)?;
        let part = |i: usize| modulation.narrow(2, i, 1)?.squeeze(2)?.contiguous();
        let x = self.unpatch.forward(&ops::norm_modulate(&x, &part(0)?, &part(1)?)?)?;

        let unfolded = x.reshape((cells, rows / 2, columns / 2, 2, 2 * c))?.transpose(2, 3)?.contiguous()?;
        let mut x = (unfolded.reshape((cells, rows, columns, c))? + stem)?;
        for block in &self.head_blocks {
            x = block.forward(&x)?;
        }
        let mut x = by_chunk(&self.out.forward(&ops::rms_norm(&x, &self.out_norm)?)?)?;
        if let Some((_, spread)) = &contrast {
            x = Tensor::cat(&[&x.narrow(2, 0, channels)?.broadcast_mul(spread)?, &x.narrow(2, channels, 2)?], 2)?;
        }
        let x = x.reshape((batch, latents, rows, columns, self.config.output_channels()))?;
        if self.config.covered_correction > 0.0 {
            return Ok(x);
        }
        x.broadcast_mul(&by_cell(unknown.iter().map(|unknown| f32::from(u8::from(*unknown))).collect())?)
    }

    /// The openness of a covered cell's gate, 0..1, from its logit.
    pub fn gate(logit: f32) -> f32 {
        1.0 / (1.0 + (SHUT as f32 - logit).exp())
    }
}
