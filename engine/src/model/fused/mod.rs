//! The network on the CPU: preallocated buffers, packed weights, one pass over the tokens of a layer per task.
//!
//! Behind its attention, a task takes [`ROWS`] tokens through all of a layer: output projection, feed-forward, and the projections of
//! the next layer, so that its rows stay in the cache and threads seldom wait for each other.
//! Invariant: the same numbers as [`Dit::forward`] through the window (to the precision of the instruction set), for any number of
//! threads; after the first chunk nothing is allocated. Guarded by `tests/tests/packed.rs`, `streaming.rs` and `allocations.rs`.

mod cells;
mod plane;
mod row_ops;
mod tokens;
mod weights;
mod window;

use crate::error::{Error, Result};
use crate::kernels::aligned::Aligned;
use crate::kernels::isa::{COLUMNS, Isa, ROWS};
use crate::model::config::Config;
use crate::model::dit::Dit;
use crate::model::network::{Network, Saved, foreign};
use plane::{Plane, Size};
use std::sync::{Mutex, MutexGuard, PoisonError};
use weights::Weights;
use window::{Attention, Window};

/// What a thread works in.
struct Scratch<I: Isa> {
    /// Left-hand side of the product in work, at most [`ROWS`] rows of the widest one.
    input: Aligned<I::Element>,
    /// Hidden layer of the feed-forward network, (ROWS, ffn_dim).
    hidden: Aligned<I::Element>,
    attention: Attention<I>,
    /// Queries, (ROWS, dim).
    rows: Aligned<f32>,
    /// A row of numbers on its way to elements.
    line: Aligned<f32>,
    sums: Aligned<f32>,
}

/// Scratch for each thread of the pool.
struct Pool<I: Isa>(Vec<Mutex<Scratch<I>>>);

impl<I: Isa> Pool<I> {
    fn new(config: &Config, window: &Window<I>) -> Self {
        let widest = config.condition_channels().max(4 * config.stem_channels).max(config.latent_channels).max(config.dim) + 1;
        let elements = |width: usize| Aligned::new(ROWS * width + I::PAIR);
        let scratch = || Scratch {
            input: elements(widest),
            hidden: elements(config.ffn_dim),
            attention: Attention::new(window),
            rows: Aligned::new(ROWS * config.dim),
            line: Aligned::new(widest.max(config.ffn_dim)),
            sums: Aligned::new(ROWS * COLUMNS),
        };
        Self((0..rayon::current_num_threads() + 1).map(|_| Mutex::new(scratch())).collect())
    }

    /// This thread's scratch; a panic of another task left nothing in it that matters.
    fn take(&self) -> MutexGuard<'_, Scratch<I>> {
        let index = rayon::current_thread_index().map_or(0, |i| i + 1) % self.0.len();
        self.0[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of f32 to elements, `stride` apart.
#[inline(always)]
fn narrow_rows<I: Isa>(isa: I, from: &[f32], width: usize, to: &mut [I::Element], stride: usize) {
    for (from, to) in from.chunks_exact(width).zip(to.chunks_mut(stride)) {
        isa.narrow(from, &mut to[..width]);
    }
}

/// Elements a row of `width` numbers takes as a left-hand side.
fn even(width: usize) -> usize {
    width.next_multiple_of(2)
}

/// The network and its KV window for one size of picture.
pub struct Fused<I: Isa> {
    isa: I,
    config: Config,
    size: Size,
    weights: Weights<I>,
    window: Window<I>,
    pool: Pool<I>,
    /// The stem's share of the condition, the same in every pass of a chunk.
    known: Plane<f32>,
    cells: Plane<f32>,
    normed: Plane<I::Element>,
    hidden: Plane<I::Element>,
    /// Residual stream, (tokens, dim).
    x: Vec<f32>,
    q: Vec<I::Element>,
    /// Attention's output, (heads, tokens rounded up to [`ROWS`], head_dim).
    attended: Vec<I::Element>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// What the transformer adds to the cells, (tokens, 4 * stem_channels).
    unpatched: Vec<f32>,
}

impl<I: Isa> Fused<I> {
    /// Packs the network for chunks of `rows` x `columns` cells, both even.
    pub fn new(isa: I, dit: &Dit, rows: usize, columns: usize) -> Result<Self> {
        let config = dit.config.clone();
        let size = Size { latents: config.chunk_latents, rows, columns };
        let (tokens, dim, c) = (size.tokens(), config.dim, config.stem_channels);
        let window = Window::new(isa, &config, rows / 2, columns / 2)?;
        Ok(Self {
            isa,
            size,
            weights: Weights::new(isa, dit)?,
            pool: Pool::new(&config, &window),
            window,
            known: Plane::new(size, c),
            cells: Plane::new(size, c),
            normed: Plane::new(size, c),
            hidden: Plane::new(size, c),
            x: vec![0.0; tokens * dim],
            q: vec![I::Element::default(); (tokens + ROWS) * dim],
            attended: vec![I::Element::default(); tokens.next_multiple_of(ROWS) * dim],
            k: vec![0.0; tokens * dim],
            v: vec![0.0; tokens * dim],
            unpatched: vec![0.0; tokens * 4 * c],
            config,
        })
    }

    /// One pass: the output (cells, output_channels) at noise level `level`, or, without it, keys and values alone.
    fn pass(&mut self, noisy: &[f32], level: f32, output: Option<&mut [f32]>) -> Result<()> {
        let Some(index) = self.weights.modulations.iter().position(|m| m.level == level) else {
            return Err(Error::field("noise_levels", format!("do not hold {level}, the level of this pass")));
        };
        self.stem(noisy, level);
        for block in 0..self.weights.stem_blocks.len() {
            self.convolve(false, block);
        }
        let layers = self.config.layers;
        self.each_tokens(
            #[inline(always)]
            |tokens, first, x, projected, _, scratch| {
                tokens.embed(first, x, scratch);
                tokens.project(index, 0, first, x, projected, scratch);
            },
        );
        for layer in 0..layers {
            self.window.put(layer, &self.k, &self.v, output.is_none());
            let last = layer + 1 == layers;
            if last && output.is_none() {
                return Ok(());
            }
            self.attend(layer);
            self.each_tokens(
                #[inline(always)]
                |tokens, first, x, projected, unpatched, scratch| {
                    tokens.block(index, layer, first, x, scratch);
                    match last {
                        false => tokens.project(index, layer + 1, first, x, projected, scratch),
                        true => tokens.unpatch(index, x, unpatched, scratch),
                    }
                },
            );
        }
        if let Some(output) = output {
            self.head(output);
        }
        Ok(())
    }
}

impl<I: Isa> Network for Fused<I> {
    fn begin(&mut self, condition: &[f32], _unknown: &[bool]) -> Result<()> {
        self.know(condition);
        Ok(())
    }

    fn denoise(&mut self, noisy: &[f32], level: f32, output: &mut [f32]) -> Result<()> {
        self.pass(noisy, level, Some(output))
    }

    fn commit(&mut self, clean: &[f32]) -> Result<()> {
        self.pass(clean, 0.0, None)?;
        self.window.commit();
        Ok(())
    }

    fn refresh_sink(&mut self) -> Result<()> {
        self.window.refresh_sink();
        Ok(())
    }

    fn save(&self) -> Result<Saved> {
        Ok(Box::new(self.window.clone()))
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        self.window = saved.downcast_ref::<Window<I>>().ok_or_else(foreign)?.clone();
        Ok(())
    }
}
