//! The network on the CPU: preallocated buffers, packed weights, one pass over the tokens of a layer per task.
//!
//! What is known of a chunk is computed in its first pass alone, what depends on noise in every pass ([`rows`]), the last layer and the
//! head only where it is shown. Behind its attention, a task takes a tile of tokens through all of a layer: output projection,
//! feed-forward, and the projections of the next layer, so that its rows stay in the cache and threads seldom wait for each other.
//! Invariant: the same numbers as [`Dit::forward`] through the window (to the precision of the instruction set), for any number of
//! threads; after the first chunk nothing is allocated. Guarded by `tests/tests/packed.rs`, `streaming.rs` and `allocations.rs`.

mod cells;
mod plane;
mod row_ops;
mod rows;
mod tokens;
mod weights;
mod window;

use crate::error::{Error, Result};
use crate::kernels::aligned::Aligned;
use crate::kernels::isa::{COLUMNS, Isa, ROWS};
use crate::model::activity::Activity;
use crate::model::config::Config;
use crate::model::contrast::Contrast;
use crate::model::dit::Dit;
use crate::model::network::{Network, Saved, foreign};
use cells::Between;
use plane::{Plane, Size};
use rows::Tile;
use std::ops::Range;
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

/// As [`narrow_rows`], the latents in `parts` of each row relative to their chunk if it has a contrast.
#[inline(always)]
fn narrow_relative<I: Isa>(
    isa: I,
    contrast: Option<&Contrast>,
    from: &[f32],
    parts: &[Range<usize>],
    line: &mut [f32],
    to: &mut [I::Element],
    stride: usize,
) {
    let width = line.len();
    let Some(contrast) = contrast else { return narrow_rows(isa, from, width, to, stride) };
    for (from, to) in from.chunks_exact(width).zip(to.chunks_mut(stride)) {
        line.copy_from_slice(from);
        parts.iter().for_each(|part| contrast.apply(&mut line[part.clone()]));
        isa.narrow(line, &mut to[..width]);
    }
}

/// Elements a row of `width` numbers takes as a left-hand side.
fn even(width: usize) -> usize {
    width.next_multiple_of(2)
}

/// What is computed in a pass.
struct Pass {
    /// All of the chunk, or what depends on noise alone.
    first: bool,
    level: f32,
    /// Which of the modulations are those of rows that are not active, and of those that are.
    modulations: [usize; 2],
}

impl Pass {
    fn modulation(&self, tile: Tile) -> usize {
        self.modulations[usize::from(tile.active)]
    }
}

/// The network and its KV window for one size of picture.
pub struct Fused<I: Isa> {
    isa: I,
    config: Config,
    size: Size,
    weights: Weights<I>,
    window: Window<I>,
    pool: Pool<I>,
    activity: Activity,
    contrast: Option<Contrast>,
    /// Whether a pass over the chunk in work was made.
    begun: bool,
    /// The stem's first layer without what is noisy, the same in every pass of a chunk.
    known: Plane<f32>,
    /// What the stem gives.
    cells: Plane<f32>,
    stem: Vec<Between<I>>,
    head: (Plane<f32>, Between<I>),
    /// Residual stream, (rows, dim).
    x: Vec<f32>,
    q: Vec<I::Element>,
    /// Attention's output, (heads, rows, head_dim).
    attended: Vec<I::Element>,
    v: Vec<f32>,
    /// What the transformer adds to the cells, (rows, 4 * stem_channels).
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
            activity: Activity::new(&config, &vec![false; size.cells()], rows, columns),
            contrast: config.normed.then(Contrast::default),
            begun: false,
            known: Plane::new(size, c),
            cells: Plane::new(size, c),
            stem: (0..config.stem_blocks).map(|_| Between::new(size, c)).collect(),
            head: (Plane::new(size, c), Between::new(size, c)),
            x: vec![0.0; tokens * dim],
            // A tile reads whole tiles of queries.
            q: vec![I::Element::default(); (tokens + ROWS) * dim],
            attended: vec![I::Element::default(); tokens * dim],
            v: vec![0.0; tokens * dim],
            unpatched: vec![0.0; tokens * 4 * c],
            config,
        })
    }

    /// One pass: the output (cells, output_channels) at noise level `level`, or, without it, keys and values alone.
    fn pass(&mut self, noisy: &[f32], level: f32, output: Option<&mut [f32]>) -> Result<()> {
        let modulation = |level: f32| self.weights.modulations.iter().position(|m| m.level == level);
        let (Some(clean), Some(noised)) = (modulation(0.0), modulation(level)) else {
            return Err(Error::field("noise_levels", format!("do not hold {level}, the level of this pass")));
        };
        let pass = Pass { first: !self.begun, level, modulations: [clean, noised] };
        let runs = self.window.rows().runs(pass.first);
        self.begun = true;
        self.stem(noisy, &pass);
        let layers = self.config.layers;
        self.each_tile(
            &pass,
            0,
            &runs,
            #[inline(always)]
            |tokens, tile, to, scratch| {
                tokens.embed(tile, to, scratch);
                tokens.project(tile, 0, to, scratch);
            },
        );
        for layer in 0..layers - 1 {
            self.window.put(layer, &runs, &self.v);
            self.attend(layer, &runs);
            self.each_tile(
                &pass,
                layer + 1,
                &runs,
                #[inline(always)]
                |tokens, tile, to, scratch| {
                    tokens.block(tile, layer, to.x, scratch);
                    tokens.project(tile, layer + 1, to, scratch);
                },
            );
        }
        let last = layers - 1;
        self.window.put(last, &runs, &self.v);
        let Some(output) = output else { return Ok(()) };
        let shown = self.window.rows().wanted(&runs);
        self.attend(last, &shown);
        self.each_tile(
            &pass,
            last,
            &shown,
            #[inline(always)]
            |tokens, tile, to, scratch| {
                tokens.block(tile, last, to.x, scratch);
                tokens.unpatch(tile, to, scratch);
            },
        );
        self.head(output);
        Ok(())
    }
}

impl<I: Isa> Network for Fused<I> {
    fn begin(&mut self, condition: &[f32], unknown: &[bool]) -> Result<()> {
        self.activity.refill(&self.config, unknown, self.size.rows, self.size.columns);
        self.window.begin(&self.activity);
        self.begun = false;
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
