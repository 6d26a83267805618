//! The training step without a graph: the network's forward pass with what its gradient needs kept in flat buffers, and the gradient
//! written by hand. What candle's autograd allocates, zeroes, copies and adds per node does not exist here.
//!
//! Invariant: loss and every parameter's gradient are those of candle's graph (`Dit::forward`) to f32 rounding; buffers do not
//! grow after the first step of a size; the result is the same for any number of threads. Guarded by `tests.rs`.

mod attention;
mod block;
mod conv_block;
mod geometry;
mod head;
pub(super) mod lanes;
mod levels;
mod linear;
mod ops;
mod product;
mod stem;
#[cfg(test)]
mod tests;
mod time;
mod winograd;

use crate::error::{Error, Result};
use crate::model::activity::Activity;
use crate::model::config::Config;
use crate::model::rope;
use crate::train::example::{Example, Input};
use crate::train::loss::{LEAST_ERROR, LEAST_SHARE, Truth};
use crate::train::optimizer::AdamW;
pub use attention::{Past, Sight};
use block::{Block, Pass};
use candle_core::Device;
use geometry::{Geometry, fit};
use head::Head;
use levels::Levels;
use linear::Names;
use rayon::prelude::*;
use stem::Stem;
use time::Time;

/// The generator's network as it is trained: gradients by the places of the optimizer's parameters.
pub struct Network {
    config: Config,
    time: Time,
    stem: Stem,
    blocks: Vec<Block>,
    head: Head,
    kept: Kept,
    gradients: Vec<Vec<f32>>,
}

/// The buffers of a step.
struct Kept {
    time: time::Saved,
    stem: stem::Saved,
    /// What each transformer block sees, and what the last one gives.
    stream: Vec<Vec<f32>>,
    blocks: Vec<block::Saved>,
    head: head::Saved,
    block_scratch: block::Scratch,
    conv_scratch: conv_block::Scratch,
    /// Gradients of the stream of tokens and of that of cells.
    dtokens: Vec<f32>,
    dcells: Vec<f32>,
    /// Latents, rows and columns that the rotation is for.
    rotated: (usize, usize, usize),
    rotation: Vec<f32>,
    /// Which groups and which pictures have a loss, and all of them: clean history is there to be looked at.
    live: [Vec<bool>; 2],
    every: [Vec<bool>; 2],
    /// Cells whose output is shown, and tokens that noise reaches.
    shown: Vec<bool>,
    activity: Activity,
}

/// What training wants of the network: for picture `i` (clip and latent) its output, (cells of a picture, output_channels), becomes the
/// gradient of the loss by it; the picture's loss is returned. Called for live pictures only, on any thread.
pub type Objective<'a> = dyn Fn(usize, &mut [f32]) -> f64 + Sync + 'a;

/// From the losses of the pictures to the weights of their gradients.
type Weigh<'a> = dyn Fn(&[f64]) -> Vec<f32> + Sync + 'a;

impl Network {
    /// The network of `config`, whose parameters `optimizer` holds; an error names one that is missing or has another size.
    pub fn new(config: &Config, optimizer: &AdamW) -> Result<Self> {
        config.validate()?;
        let names = Names { names: optimizer.names(), values: optimizer.values() };
        let blocks = (0..config.layers).map(|layer| Block::new(config, &names, layer)).collect::<Result<_>>()?;
        let kept = Kept {
            time: Default::default(),
            stem: stem::Saved::new(config),
            stream: vec![Vec::new(); config.layers + 1],
            blocks: (0..config.layers).map(|_| Default::default()).collect(),
            head: head::Saved::new(config.head_blocks),
            block_scratch: Default::default(),
            conv_scratch: Default::default(),
            dtokens: Vec::new(),
            dcells: Vec::new(),
            rotated: (0, 0, 0),
            rotation: Vec::new(),
            live: Default::default(),
            every: Default::default(),
            shown: Vec::new(),
            activity: Activity::default(),
        };
        Ok(Self {
            config: config.clone(),
            time: Time::new(config, &names)?,
            stem: Stem::new(config, &names)?,
            blocks,
            head: Head::new(config, &names)?,
            kept,
            gradients: optimizer.values().iter().map(|value| vec![0.0; value.len()]).collect(),
        })
    }

    /// The gradient of every parameter, in the optimizer's order, as the last step left it.
    pub fn gradients(&self) -> &[Vec<f32>] {
        &self.gradients
    }

    /// Memory of buffers and gradients, bytes.
    pub fn bytes(&self) -> usize {
        let Kept { time, stem, stream, blocks, head, block_scratch, conv_scratch, dtokens, dcells, rotation, .. } = &self.kept;
        let mut all: Vec<&Vec<f32>> = vec![dtokens, dcells, rotation];
        all.extend(time.buffers());
        all.extend(stem.buffers());
        all.extend(stream);
        all.extend(blocks.iter().flat_map(|b| b.buffers()));
        all.extend(head.buffers());
        all.extend(block_scratch.buffers());
        all.extend(conv_scratch.buffers());
        all.extend(self.blocks.iter().flat_map(|b| b.buffers()).chain(self.stem.buffers()).chain(self.head.buffers()));
        all.extend(&self.gradients);
        all.iter().map(|buffer| buffer.capacity() * size_of::<f32>()).sum()
    }

    /// Loss of a batch of examples of one size, the mean over clips of the logarithm of the error over the guide's, and the gradient of every
    /// parameter; `values` are the optimizer's, `decoder` is the codec's, (latent_channels, patch_len).
    pub fn step(&mut self, values: &[Vec<f32>], decoder: &[f32], batch: &[Example], sight: Sight) -> Result<f32> {
        let inputs: Vec<&Input> = batch.iter().map(|example| &example.input).collect();
        let g = self.forward(values, &inputs, sight)?;
        let (cells, patch) = (g.cells() / g.clips, self.config.patch_len());
        let pixels =
            |e: &Example| e.target.len() == cells * patch && e.smooth.len() == cells * patch && e.uncovered.len() == cells * patch / 3;
        if !batch.iter().all(pixels) {
            return Err(Error::field("batch", "needs examples whose pixels are those of their cells"));
        }
        let at = |i: usize| (&batch[i / g.latents], i % g.latents);
        let confined = self.config.covered_correction == 0.0;
        let truth = |i: usize| {
            let (example, picture) = at(i);
            let part = |values| ops::part(values, picture, g.latents);
            let shown = confined.then(|| &example.input.unknown[picture * g.picture_cells()..][..g.picture_cells()]);
            let (target, smooth, uncovered) = (part(&example.target), part(&example.smooth), part(&example.uncovered));
            Truth { patch, decoder, target, smooth, uncovered, shown }
        };
        let live = &self.kept.live[1];
        let guide = |i: usize| if live[i] { truth(i).of_guide() } else { (0.0, 0.0) };
        let guides: Vec<(f64, f64)> = (0..g.pictures()).into_par_iter().map(guide).collect();
        let least =
            |clip: &[(f64, f64)]| LEAST_ERROR * clip.iter().map(|guide| guide.1).sum::<f64>().max(LEAST_SHARE * (cells * patch) as f64);
        let least: Vec<f64> = guides.chunks_exact(g.latents).map(least).collect();
        let errors = |losses: &[f64]| losses.chunks_exact(g.latents).zip(&least).map(|(clip, l)| clip.iter().sum::<f64>() + l).collect();
        // The gradient of a logarithm: over what it is taken of.
        let weigh = |losses: &[f64]| {
            let errors: Vec<f64> = errors(losses);
            (0..losses.len()).map(|i| (1.0 / (g.clips as f64 * errors[i / g.latents])) as f32).collect()
        };
        let losses = self.backward(g, values, &inputs, sight, &|i, out| truth(i).loss(out, 1.0), Some(&weigh));
        let guides: Vec<f64> = errors(&guides.iter().map(|guide| guide.0).collect::<Vec<_>>());
        Ok((errors(&losses).iter().zip(guides).map(|(error, guide)| (error / guide).ln()).sum::<f64>() / g.clips as f64) as f32)
    }

    /// As [`Network::step`], with any objective instead of the pixels'.
    pub fn step_towards(&mut self, values: &[Vec<f32>], batch: &[&Input], sight: Sight, objective: &Objective) -> Result<f64> {
        let g = self.forward(values, batch, sight)?;
        let losses = self.backward(g, values, batch, sight, objective, None);
        Ok(losses.iter().sum())
    }

    /// What the network says to a batch, (cells, output_channels); zero where the noise level is 0, and where nothing of it is shown.
    pub fn output(&mut self, values: &[Vec<f32>], batch: &[&Input], sight: Sight, out: &mut Vec<f32>) -> Result<()> {
        let g = self.forward(values, batch, sight)?;
        let Kept { live, shown, stem, head, .. } = &mut self.kept;
        self.head.output(g, values, &live[1], shown, &stem.contrasts, head, out);
        Ok(())
    }

    /// Everything up to the last layer of the head, with what the gradient needs.
    fn forward(&mut self, values: &[Vec<f32>], batch: &[&Input], sight: Sight) -> Result<Geometry> {
        let g = Geometry::of(&self.config, batch)?;
        self.fits(g, sight)?;
        let Self { config, time, stem, blocks, head, kept, .. } = self;
        let slots = g.latents + sight.before() * g.latents / g.clip_tokens();
        if kept.rotated != (slots, g.rows, g.columns) {
            let table = rope::rotation(config.dim / config.heads, slots, g.rows / 2, g.columns / 2, &Device::Cpu)?;
            fit(&mut kept.rotation, table.elem_count());
            kept.rotation.copy_from_slice(&table.flatten_all()?.to_vec1::<f32>()?);
            kept.rotated = (slots, g.rows, g.columns);
        }
        kept.shown.clear();
        batch.iter().for_each(|e| kept.shown.extend_from_slice(&e.unknown));
        kept.activity.refill(config, &kept.shown, g.rows, g.columns);
        if config.covered_correction > 0.0 {
            kept.shown.fill(true);
        }
        let mut levels: Vec<f32> = batch.iter().flat_map(|e| e.levels.iter().copied()).collect();
        let live: Vec<bool> = levels.iter().map(|t| *t > 0.0).collect();
        let pictures = live.iter().flat_map(|live| std::iter::repeat_n(*live, g.chunk_latents)).collect();
        kept.every = [vec![true; g.groups()], vec![true; g.pictures()]];
        kept.live = [live, pictures];
        levels.push(0.0);
        let Kept { time: time_kept, stem: stem_kept, stream, blocks: blocks_kept, head: head_kept, block_scratch, conv_scratch, .. } = kept;

        let mut linears: Vec<_> = blocks.iter_mut().flat_map(Block::linears).chain(stem.linears()).chain(head.linears()).collect();
        linears.par_iter_mut().for_each(|linear| linear.prepare(values));
        time.forward(values, &levels, time_kept);
        stem.forward(g, values, batch, stem_kept);
        for (i, block) in stem.blocks.iter().enumerate() {
            let (before, after) = stem_kept.stream.split_at_mut(i + 1);
            block.forward(g, values, &kept.every[1], &before[i], &mut stem_kept.blocks[i], conv_scratch, &mut after[0]);
        }
        stem.finish(g, values, stem_kept);
        stream.iter_mut().for_each(|buffer| fit(buffer, g.tokens() * config.dim));
        stem.embed(g, values, stem_kept, &mut stream[0]);
        let levels = Levels { geometry: g, active: &kept.activity.active };
        let pass = Pass { levels, values, rotation: &kept.rotation, sight, time: &time_kept.projected };
        for (i, block) in blocks.iter().enumerate() {
            let (before, after) = stream.split_at_mut(i + 1);
            let live = live_in(config, &kept.live, &kept.every, i);
            block.forward(pass, live, &before[i], &mut blocks_kept[i], block_scratch, &mut after[0]);
        }
        head.forward(levels, values, &kept.live[1], &stream[config.layers], time_kept.embedding(), stem_kept.output(), head_kept);
        for (i, block) in head.blocks.iter().enumerate() {
            let (before, after) = head_kept.stream.split_at_mut(i + 1);
            block.forward(g, values, &kept.live[1], &before[i], &mut head_kept.blocks[i], conv_scratch, &mut after[0]);
        }
        Ok(g)
    }

    /// From the objective back to every parameter, after [`Network::forward`] of the same batch; returns the losses of the pictures, before
    /// `weigh`, if there is one, made their gradients' weights of them.
    fn backward(
        &mut self,
        g: Geometry,
        values: &[Vec<f32>],
        batch: &[&Input],
        sight: Sight,
        objective: &Objective,
        weigh: Option<&Weigh>,
    ) -> Vec<f64> {
        let Self { config, time, stem, blocks, head, kept, gradients } = self;
        let Kept {
            time: time_kept,
            stem: stem_kept,
            stream,
            blocks: blocks_kept,
            head: head_kept,
            block_scratch,
            conv_scratch,
            dtokens,
            dcells,
            rotation,
            live,
            every,
            shown,
            activity,
            ..
        } = kept;
        let levels = Levels { geometry: g, active: &activity.active };
        fit(dcells, g.cells() * config.stem_channels);
        fit(dtokens, g.tokens() * config.dim);
        let losses = head.loss(g, values, &live[1], shown, &stem_kept.contrasts, (objective, weigh), head_kept, dcells, gradients);
        for (i, block) in head.blocks.iter().enumerate().rev() {
            let (x, saved) = (&head_kept.stream[i], &mut head_kept.blocks[i]);
            block.backward(g, values, &live[1], x, saved, conv_scratch, dcells, gradients);
        }
        let dembedding = &mut time_kept.dembedding;
        head.backward(levels, values, &live[1], &stream[config.layers], head_kept, dcells, dtokens, dembedding, gradients);
        let pass = Pass { levels, values, rotation, sight, time: &time_kept.projected };
        for (i, block) in blocks.iter().enumerate().rev() {
            let dtime = &mut time_kept.dprojected;
            let live = live_in(config, live, every, i);
            block.backward(pass, live, &stream[i], &mut blocks_kept[i], block_scratch, dtokens, dtime, gradients);
        }
        // The stem is seen by the head too: what came back from there is in `dcells`.
        stem.embed_backward(g, values, stem_kept, dtokens, dcells, gradients);
        stem.finish_backward(g, values, stem_kept, dcells, gradients);
        for (i, block) in stem.blocks.iter().enumerate().rev() {
            let (x, saved) = (&stem_kept.stream[i], &mut stem_kept.blocks[i]);
            block.backward(g, values, &every[1], x, saved, conv_scratch, dcells, gradients);
        }
        stem.backward(g, values, batch, stem_kept, dcells, gradients);
        time.backward(values, time_kept, gradients);
        losses
    }

    /// Whether a past belongs to this network and to a pass of one chunk.
    fn fits(&self, g: Geometry, sight: Sight) -> Result<()> {
        let Sight::After(past) = sight else { return Ok(()) };
        let long = |values: &Vec<f32>| values.len() == past.tokens * self.config.dim;
        let whole = past.tokens.is_multiple_of(g.group_tokens()) && past.layers.len() == self.config.layers;
        if g.groups() != 1 || !whole || !past.layers.iter().flatten().all(long) {
            return Err(Error::field("past", "does not fit; it belongs to another network or size, or the pass has several chunks"));
        }
        Ok(())
    }
}

/// The groups whose tokens matter after `layer`: what the last block gives for clean history is not looked at.
fn live_in<'a>(config: &Config, live: &'a [Vec<bool>; 2], every: &'a [Vec<bool>; 2], layer: usize) -> &'a [bool] {
    if layer + 1 == config.layers { &live[0] } else { &every[0] }
}
