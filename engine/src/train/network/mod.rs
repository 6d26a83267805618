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
mod linear;
mod ops;
mod product;
mod stem;
#[cfg(test)]
mod tests;
mod time;

use crate::error::Result;
use crate::model::config::Config;
use crate::model::rope;
use crate::train::example::Example;
use crate::train::optimizer::AdamW;
use block::{Block, Pass};
use candle_core::Device;
use geometry::{Geometry, fit};
use head::Head;
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
}

impl Network {
    /// The network of `config`, whose parameters `optimizer` holds; an error names one that is missing or has another size.
    pub fn new(config: &Config, optimizer: &AdamW) -> Result<Self> {
        config.validate()?;
        let names = Names { names: optimizer.names(), values: optimizer.values() };
        let blocks = (0..config.layers).map(|layer| Block::new(config, &names, layer)).collect::<Result<_>>()?;
        let kept = Kept {
            time: Default::default(),
            stem: stem::Saved::new(config.stem_blocks),
            stream: vec![Vec::new(); config.layers + 1],
            blocks: (0..config.layers).map(|_| Default::default()).collect(),
            head: head::Saved::new(config.head_blocks),
            block_scratch: Default::default(),
            conv_scratch: Default::default(),
            dtokens: Vec::new(),
            dcells: Vec::new(),
            rotated: (0, 0, 0),
            rotation: Vec::new(),
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

    /// Loss of a batch of examples of one size, and the gradient of every parameter; `values` are the optimizer's, `decoder` is the
    /// codec's, (latent_channels, patch_len).
    pub fn step(&mut self, values: &[Vec<f32>], decoder: &[f32], batch: &[Example]) -> Result<f32> {
        let g = Geometry::of(&self.config, batch)?;
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
            rotated,
            rotation,
        } = kept;
        if *rotated != (g.latents, g.rows, g.columns) {
            let table = rope::rotation(config.dim / config.heads, g.latents, g.rows / 2, g.columns / 2, &Device::Cpu)?;
            fit(rotation, table.elem_count());
            rotation.copy_from_slice(&table.flatten_all()?.to_vec1::<f32>()?);
            *rotated = (g.latents, g.rows, g.columns);
        }
        let levels: Vec<f32> = batch.iter().flat_map(|e| e.levels.iter().copied()).collect();
        // Clean history has no loss: it is there to be looked at.
        let live: Vec<bool> = levels.iter().map(|t| *t > 0.0).collect();
        let live_pictures: Vec<bool> = live.iter().flat_map(|live| std::iter::repeat_n(*live, g.chunk_latents)).collect();
        let (every_group, every_picture) = (vec![true; live.len()], vec![true; live_pictures.len()]);
        // What the last block gives for clean history is not looked at either.
        let live_in = |layer: usize| if layer + 1 == config.layers { &live } else { &every_group };

        let mut linears: Vec<_> = blocks.iter_mut().flat_map(Block::linears).chain(stem.linears()).chain(head.linears()).collect();
        linears.par_iter_mut().for_each(|linear| linear.prepare(values));
        time.forward(values, levels.into_iter(), time_kept);
        stem.forward(g, values, batch, stem_kept);
        for (i, block) in stem.blocks.iter().enumerate() {
            let (before, after) = stem_kept.stream.split_at_mut(i + 1);
            block.forward(g, values, &every_picture, &before[i], &mut stem_kept.blocks[i], conv_scratch, &mut after[0]);
        }
        stream.iter_mut().for_each(|buffer| fit(buffer, g.tokens() * config.dim));
        stem.embed(g, values, stem_kept, &mut stream[0]);
        let pass = Pass { geometry: g, values, rotation, time: &time_kept.projected };
        for (i, block) in blocks.iter().enumerate() {
            let (before, after) = stream.split_at_mut(i + 1);
            block.forward(pass, live_in(i), &before[i], &mut blocks_kept[i], block_scratch, &mut after[0]);
        }
        let stem_out = &stem_kept.stream[config.stem_blocks];
        head.forward(g, values, &live_pictures, &stream[config.layers], time_kept.embedding(), stem_out, head_kept);
        for (i, block) in head.blocks.iter().enumerate() {
            let (before, after) = head_kept.stream.split_at_mut(i + 1);
            block.forward(g, values, &live_pictures, &before[i], &mut head_kept.blocks[i], conv_scratch, &mut after[0]);
        }
        fit(dcells, g.cells() * config.stem_channels);
        fit(dtokens, g.tokens() * config.dim);
        let loss = head.loss(g, values, &live_pictures, batch, decoder, head_kept, dcells, gradients);

        for (i, block) in head.blocks.iter().enumerate().rev() {
            let (x, saved) = (&head_kept.stream[i], &mut head_kept.blocks[i]);
            block.backward(g, values, &live_pictures, x, saved, conv_scratch, dcells, gradients);
        }
        let dembedding = &mut time_kept.dembedding;
        head.backward(g, values, &live_pictures, &stream[config.layers], head_kept, dcells, dtokens, dembedding, gradients);
        for (i, block) in blocks.iter().enumerate().rev() {
            let dtime = &mut time_kept.dprojected;
            block.backward(pass, live_in(i), &stream[i], &mut blocks_kept[i], block_scratch, dtokens, dtime, gradients);
        }
        // The stem is seen by the head too: what came back from there is in `dcells`.
        stem.embed_backward(g, values, stem_kept, dtokens, dcells, gradients);
        for (i, block) in stem.blocks.iter().enumerate().rev() {
            let (x, saved) = (&stem_kept.stream[i], &mut stem_kept.blocks[i]);
            block.backward(g, values, &every_picture, x, saved, conv_scratch, dcells, gradients);
        }
        stem.backward(g, values, batch, stem_kept, dcells, gradients);
        time.backward(values, time_kept, gradients);
        Ok(loss)
    }
}
