//! The network's parameters, packed for the kernels, and what can be worked out before the first chunk.
//!
//! Invariant: the packed network computes what [`Dit::forward`] computes. Three things are rearranged, none of them changes the result:
//! the track head is linear and goes straight into the stem, so the two are one matrix; the rows of the query and key projections are
//! ordered real parts first, so that a rotation works on whole vectors; the part of the stem that reads the condition is apart from the
//! part that reads the noisy latent, because it is the same in every pass. Guarded by `tests/tests/packed.rs`.

use crate::error::Result;
use crate::kernels::isa::Isa;
use crate::kernels::panels::Panels;
use crate::model::config::Config;
use crate::model::dit::{ConvBlock, Dit, Linear};
use candle_core::Tensor;

/// A fully connected layer or a convolution.
pub struct Projection<I: Isa> {
    pub panels: Panels<I>,
    pub bias: Vec<f32>,
}

/// Residual convolutions: the weight of the norm and both convolutions.
pub struct Conv<I: Isa> {
    pub norm: Vec<f32>,
    pub convs: [Projection<I>; 2],
}

/// A transformer block.
pub struct Layer<I: Isa> {
    pub q: Projection<I>,
    pub k: Projection<I>,
    pub v: Projection<I>,
    pub norm_q: Vec<f32>,
    pub norm_k: Vec<f32>,
    pub o: Projection<I>,
    pub ffn: [Projection<I>; 2],
}

/// Shifts, scales and gates of one noise level.
pub struct Modulation {
    pub level: f32,
    /// Six of the width for each layer.
    pub layers: Vec<f32>,
    /// Shift and scale before the head.
    pub head: Vec<f32>,
}

pub struct Weights<I: Isa> {
    pub stem_known: Projection<I>,
    pub stem_noisy: Panels<I>,
    pub stem_blocks: Vec<Conv<I>>,
    pub stem_norm: Option<Vec<f32>>,
    pub patch: Projection<I>,
    pub layers: Vec<Layer<I>>,
    pub unpatch: Projection<I>,
    pub head_blocks: Vec<Conv<I>>,
    pub out_norm: Vec<f32>,
    pub out: Projection<I>,
    pub modulations: Vec<Modulation>,
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

impl<I: Isa> Projection<I> {
    fn linear(isa: I, Linear(weight, bias): &Linear) -> Result<Self> {
        let (columns, k) = weight.dims2()?;
        let weight = values(weight)?;
        Ok(Self { panels: Panels::pack(isa, columns, (1, k), |column, i| weight[column * k + i]), bias: values(bias)? })
    }
}

impl<I: Isa> Conv<I> {
    fn new(isa: I, block: &ConvBlock) -> Result<Self> {
        let conv = |(weight, bias): &(Tensor, Tensor)| -> Result<_> {
            let (columns, _, _, channels) = weight.dims4()?;
            let k = 9 * channels;
            let weight = values(weight)?;
            let panels = Panels::pack(isa, columns, (3, 3 * channels), |column, i| weight[column * k + i]);
            Ok(Projection { panels, bias: values(bias)? })
        };
        Ok(Self { norm: values(&block.norm)?, convs: [conv(&block.convs[0])?, conv(&block.convs[1])?] })
    }
}

/// Where number `i` of a projection stands when each head has its real parts first: its place in the checkpoint's order.
fn interleaved(i: usize, head_dim: usize) -> usize {
    let (head, at, half) = (i / head_dim, i % head_dim, head_dim / 2);
    head * head_dim + if at < half { 2 * at } else { 2 * (at - half) + 1 }
}

impl<I: Isa> Layer<I> {
    fn new(isa: I, block: &crate::model::dit::Block, dim: usize) -> Result<Self> {
        let head_dim = dim / block.heads;
        let turned = |Linear(weight, bias): &Linear| -> Result<_> {
            let (weight, bias) = (values(weight)?, values(bias)?);
            let panels = Panels::pack(isa, dim, (1, dim), |column, i| weight[interleaved(column, head_dim) * dim + i]);
            Ok(Projection { panels, bias: (0..dim).map(|i| bias[interleaved(i, head_dim)]).collect() })
        };
        let norm = |weight: &Tensor| -> Result<Vec<f32>> {
            let weight = values(weight)?;
            Ok((0..dim).map(|i| weight[interleaved(i, head_dim)]).collect())
        };
        Ok(Self {
            q: turned(&block.q)?,
            k: turned(&block.k)?,
            v: Projection::linear(isa, &block.v)?,
            norm_q: norm(&block.norm_q)?,
            norm_k: norm(&block.norm_k)?,
            o: Projection::linear(isa, &block.o)?,
            ffn: [Projection::linear(isa, &block.ffn.0)?, Projection::linear(isa, &block.ffn.1)?],
        })
    }
}

impl<I: Isa> Weights<I> {
    /// Packs the network; the modulations of the sampler's noise levels and of the commit are worked out here.
    pub fn new(isa: I, dit: &Dit) -> Result<Self> {
        let config = &dit.config;
        let (known, noisy, bias) = stem(config, dit)?;
        let (c, latent) = (config.stem_channels, config.latent_channels);
        let k = config.condition_channels();
        let levels: Vec<f32> = config.noise_levels.iter().copied().chain([0.0]).collect();
        let convs = |blocks: &[ConvBlock]| blocks.iter().map(|b| Conv::new(isa, b)).collect::<Result<Vec<_>>>();
        Ok(Self {
            stem_known: Projection { panels: Panels::pack(isa, c, (1, k), |column, i| known[column * k + i]), bias },
            stem_noisy: Panels::pack(isa, c, (1, latent), |column, i| noisy[column * latent + i]),
            stem_blocks: convs(&dit.stem_blocks)?,
            stem_norm: dit.stem_norm.as_ref().map(values).transpose()?,
            patch: Projection::linear(isa, &dit.patch_embedding)?,
            layers: dit.blocks.iter().map(|b| Layer::new(isa, b, config.dim)).collect::<Result<_>>()?,
            unpatch: Projection::linear(isa, &dit.unpatch)?,
            head_blocks: convs(&dit.head_blocks)?,
            out_norm: values(&dit.out_norm)?,
            out: Projection::linear(isa, &dit.out)?,
            modulations: levels.into_iter().map(|level| modulation(dit, level)).collect::<Result<_>>()?,
        })
    }
}

/// The stem's matrix for the condition, (stem, condition), and for the noisy latent, (stem, latent), and its bias.
fn stem(config: &Config, dit: &Dit) -> Result<(Vec<f32>, Vec<f32>, Vec<f32>)> {
    let (latent, raw, tracks) = (config.latent_channels, config.raw_track_channels(), config.track_channels);
    let plain = config.condition_channels() - raw;
    let (stem, mut bias) = (values(&dit.stem.0)?, values(&dit.stem.1)?);
    let (head, head_bias) = (values(&dit.track_head.0)?, values(&dit.track_head.1)?);
    let (mut known, mut noisy) = (Vec::new(), Vec::new());
    for (row, bias) in stem.chunks_exact(latent + plain + tracks).zip(&mut bias) {
        noisy.extend(&row[..latent]);
        known.extend(&row[latent..latent + plain]);
        let mix = &row[latent + plain..];
        known.extend((0..raw).map(|i| mix.iter().enumerate().map(|(t, m)| m * head[t * raw + i]).sum::<f32>()));
        *bias += mix.iter().zip(&head_bias).map(|(m, b)| m * b).sum::<f32>();
    }
    Ok((known, noisy, bias))
}

fn modulation(dit: &Dit, level: f32) -> Result<Modulation> {
    let (embedding, time) = dit.time(&[level], &dit.head_modulation)?;
    let layers = dit.blocks.iter().map(|b| values(&time.broadcast_add(&b.modulation)?)).collect::<Result<Vec<_>>>()?.concat();
    Ok(Modulation { level, layers, head: values(&embedding.unsqueeze(1)?.broadcast_add(&dit.head_modulation)?)? })
}
