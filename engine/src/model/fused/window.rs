//! The KV window in packed form: a ring of chunk slots per layer. Values never move and sink keys are packed once; when a chunk leaves,
//! the keys of the rolling window are rotated anew for the slots that they have moved to.
//!
//! Invariant: what is attended to equals [`crate::model::kv_window::KvWindow`], whose two key policies differ in rounding alone; cost and
//! memory do not depend on how many chunks were committed. Guarded by `tests/tests/packed.rs`.

use super::row_ops::rotate;
use crate::error::Result;
use crate::kernels::aligned::Aligned;
use crate::kernels::isa::{COLUMNS, Isa, ROWS, Row};
use crate::kernels::panels::cut;
use crate::model::config::Config;
use crate::model::rope;
use candle_core::Device;
use rayon::prelude::*;
use std::sync::Arc;

/// Numbers that are rotated at once: a run that fits the stack.
const PART: usize = 64;

/// Keys whose scores are held at once, a multiple of every set's panel.
const RUN: usize = 768;
/// Scores between the starts of two rows: an odd number of cache lines, so that the rows of a tile do not fall on the same few sets of
/// the cache.
const SCORES_STRIDE: usize = RUN + 32;

/// Sizes that do not change.
#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    head_dim: usize,
    /// Tokens of a chunk, and rounded up to whole panels of keys.
    tokens: usize,
    padded: usize,
    /// Columns of a panel of values, and such panels per head.
    width: usize,
    value_panels: usize,
}

#[derive(Clone)]
struct Layer<I: Isa> {
    /// (slots, heads, key panels, head_dim / PAIR, KEYS, PAIR), rotated.
    keys: Aligned<I::Element>,
    /// (slots, heads, value panels, positions / PAIR, width, PAIR).
    values: Aligned<I::Element>,
    /// (slots, tokens, dim), not rotated.
    raw: Vec<f32>,
}

/// The keys and values of all layers.
#[derive(Clone)]
pub struct Window<I: Isa> {
    isa: I,
    shape: Shape,
    layers: Vec<Layer<I>>,
    /// Rotation of every token of every place in the window, (places, tokens, head_dim).
    rotation: Arc<Vec<f32>>,
    /// Slots of the committed chunks, oldest first.
    order: Vec<usize>,
    /// Slot of the chunk in work.
    current: usize,
    sink: usize,
    capacity: usize,
}

/// Rotates the keys of a chunk and packs them.
fn pack_keys<I: Isa>(isa: I, shape: Shape, raw: &[f32], rotation: &[f32], keys: &mut [I::Element]) {
    let (hd, dim) = (shape.head_dim, shape.heads * shape.head_dim);
    let panels = shape.padded / I::KEYS;
    keys.par_chunks_mut(hd * I::KEYS).enumerate().for_each(|(index, panel)| {
        let (head, first) = (index / panels, index % panels * I::KEYS);
        isa.vectorize(
            #[inline(always)]
            || {
                for part in (0..hd / 2).step_by(PART) {
                    // A run of real parts and the imaginary ones that belong to it.
                    let run = PART.min(hd / 2 - part);
                    for key in first..(first + I::KEYS).min(shape.tokens) {
                        let (mut rotated, mut angles) = ([0.0; 2 * PART], [0.0; 2 * PART]);
                        let mut elements = [I::Element::default(); 2 * PART];
                        for (half, offset) in [0, hd / 2].into_iter().enumerate() {
                            let at = half * run;
                            rotated[at..at + run].copy_from_slice(&raw[key * dim + head * hd + offset + part..][..run]);
                            angles[at..at + run].copy_from_slice(&rotation[key * hd + offset + part..][..run]);
                        }
                        rotate(&mut rotated[..2 * run], &angles[..2 * run]);
                        isa.narrow(&rotated[..2 * run], &mut elements[..2 * run]);
                        for (half, offset) in [0, hd / 2].into_iter().enumerate() {
                            for (i, element) in elements[half * run..][..run].iter().enumerate() {
                                let d = offset + part + i;
                                panel[d / I::PAIR * I::PAIR * I::KEYS + (key - first) * I::PAIR + d % I::PAIR] = *element;
                            }
                        }
                    }
                }
            },
        );
    });
}

/// Packs the values of a chunk.
fn pack_values<I: Isa>(isa: I, shape: Shape, v: &[f32], values: &mut [I::Element]) {
    let (hd, dim, width) = (shape.head_dim, shape.heads * shape.head_dim, shape.width);
    let blocks = shape.padded / I::KEYS;
    values.par_chunks_mut(I::KEYS * width).enumerate().for_each(|(index, block)| {
        let (column, first) = (index / blocks % shape.value_panels * width, index % blocks * I::KEYS);
        let head = index / blocks / shape.value_panels;
        let columns = width.min(hd - column);
        isa.vectorize(
            #[inline(always)]
            || {
                let mut elements = [I::Element::default(); COLUMNS];
                for key in first..(first + I::KEYS).min(shape.tokens) {
                    let position = I::key_position(key) - first;
                    isa.narrow(&v[key * dim + head * hd + column..][..columns], &mut elements[..columns]);
                    let row = &mut block[position / I::PAIR * I::PAIR * width..][..I::PAIR * width];
                    for (to, element) in row[position % I::PAIR..].iter_mut().step_by(I::PAIR).zip(&elements[..columns]) {
                        *to = *element;
                    }
                }
            },
        );
    });
}

impl<I: Isa> Window<I> {
    /// An empty window for latent frames of `rows` x `columns` tokens.
    pub fn new(isa: I, config: &Config, rows: usize, columns: usize) -> Result<Self> {
        let head_dim = config.dim / config.heads;
        let tokens = config.chunk_latents * rows * columns;
        let vectors = head_dim.div_ceil(I::LANES);
        let side_by_side = (1..=I::VECTORS).rev().find(|v| vectors % v == 0).unwrap_or(1);
        let shape = Shape {
            heads: config.heads,
            head_dim,
            tokens,
            padded: tokens.next_multiple_of(I::KEYS),
            width: side_by_side * I::LANES,
            value_panels: vectors / side_by_side,
        };
        let slots = config.sink_chunks + config.window_chunks + 1;
        let layer = Layer {
            keys: Aligned::new(slots * shape.keys_len()),
            values: Aligned::new(slots * shape.values_len()),
            raw: vec![0.0; slots * tokens * config.dim],
        };
        let rotation = rope::rotation(head_dim, config.span_latents(), rows, columns, &Device::Cpu)?;
        Ok(Self {
            isa,
            shape,
            layers: vec![layer; config.layers],
            rotation: Arc::new(rotation.flatten_all()?.to_vec1()?),
            order: Vec::with_capacity(slots),
            current: 0,
            sink: config.sink_chunks,
            capacity: config.sink_chunks + config.window_chunks,
        })
    }

    /// Rotation of the tokens of the chunk in work, (tokens, head_dim).
    pub fn rotation(&self) -> &[f32] {
        self.rotation_at(self.order.len())
    }

    fn rotation_at(&self, place: usize) -> &[f32] {
        let len = self.shape.tokens * self.shape.head_dim;
        &self.rotation[place * len..(place + 1) * len]
    }

    /// Puts keys (normed, not rotated) and values of the chunk in work in their place; both (tokens, dim). `last`: no other pass over
    /// the chunk follows.
    pub fn put(&mut self, layer: usize, k: &[f32], v: &[f32], last: bool) {
        let shape = self.shape;
        let rotation = self.rotation.clone();
        let len = shape.tokens * shape.head_dim;
        let rotation = &rotation[self.order.len() * len..][..len];
        let (slot, isa, layer) = (self.current, self.isa, &mut self.layers[layer]);
        let len = shape.tokens * shape.heads * shape.head_dim;
        if last {
            layer.raw[slot * len..(slot + 1) * len].copy_from_slice(k);
        }
        let keys = &mut layer.keys[slot * shape.keys_len()..][..shape.keys_len()];
        let values = &mut layer.values[slot * shape.values_len()..][..shape.values_len()];
        rayon::join(|| pack_keys(isa, shape, k, rotation, keys), || pack_values(isa, shape, v, values));
    }

    /// Keeps the chunk in work; the oldest chunk of the rolling window leaves when it is full.
    pub fn commit(&mut self) {
        if self.order.len() < self.capacity {
            self.order.push(self.current);
            // Slots are taken in turn until all but one are in use; from then on the one that left is free.
            self.current = self.order.len();
            return;
        }
        if self.sink == self.capacity {
            return; // No rolling window: the sink alone is kept.
        }
        let free = self.order.remove(self.sink);
        self.order.push(self.current);
        self.current = free;
        for place in self.sink..self.capacity {
            self.rotate_slot(self.order[place], place);
        }
    }

    /// Makes the newest chunk the sink. Nothing happens while the window is still the sink itself.
    pub fn refresh_sink(&mut self) {
        if self.sink == 0 || self.order.len() <= self.sink {
            return;
        }
        let (from, to) = (self.order[self.order.len() - 1], self.order[0]);
        let shape = self.shape;
        let copy = |len: usize| (from * len..(from + 1) * len, to * len);
        for layer in &mut self.layers {
            let (source, target) = copy(shape.values_len());
            layer.values.copy_within(source, target);
            let (source, target) = copy(shape.tokens * shape.heads * shape.head_dim);
            layer.raw.copy_within(source, target);
        }
        self.rotate_slot(to, 0);
    }

    /// Packs the keys of a slot as those of place `place`.
    fn rotate_slot(&mut self, slot: usize, place: usize) {
        let (shape, isa, rotation) = (self.shape, self.isa, self.rotation.clone());
        let len = shape.tokens * shape.head_dim;
        for layer in &mut self.layers {
            let raw = &layer.raw[slot * shape.tokens * shape.heads * shape.head_dim..];
            let keys = &mut layer.keys[slot * shape.keys_len()..][..shape.keys_len()];
            pack_keys(isa, shape, raw, &rotation[place * len..][..len], keys);
        }
    }

    /// Attention of `queries` (at most [`ROWS`]) rows of one head, scaled for base 2 and `stride` apart, one run of keys after the other so
    /// that their scores stay in the first-level cache: calls `done(first column, columns, sums, rows)`, sums in rows of [`COLUMNS`] still
    /// to be divided by those of `rows`.
    #[inline(always)]
    pub fn attend(
        &self,
        layer: usize,
        head: usize,
        queries: usize,
        (q, stride): (&[I::Element], usize),
        scratch: &mut Attention<I>,
        mut done: impl FnMut(usize, usize, &[f32], &[Row]),
    ) {
        let (isa, shape, layer) = (self.isa, self.shape, &self.layers[layer]);
        let (hd, width) = (shape.head_dim, shape.width);
        let Attention { scores, weights, rows, sums } = scratch;
        let rows = &mut rows[..queries];
        rows.fill(Row::START);
        for slot in self.order.iter().copied().chain([self.current]) {
            let keys = &layer.keys[slot * shape.keys_len() + head * shape.padded * hd..][..shape.padded * hd];
            for (first, run) in cut(shape.padded, RUN, I::KEYS) {
                for (panel, keys) in keys[first * hd..(first + run) * hd].chunks_exact(I::KEYS * hd).enumerate() {
                    isa.scores(queries, hd, q, stride, keys, &mut scores[panel * I::KEYS..], SCORES_STRIDE);
                }
                for key in shape.tokens.max(first)..first + run {
                    let at = I::key_position(key) - first;
                    (0..queries).for_each(|row| scores[row * SCORES_STRIDE + at] = I::HIDDEN);
                }
                let weights = isa.weights(run, SCORES_STRIDE, scores, weights, rows);
                for (panel, sums) in sums.chunks_exact_mut(ROWS * COLUMNS).enumerate() {
                    for (sums, row) in sums.chunks_exact_mut(COLUMNS).zip(&*rows).filter(|(_, row)| row.factor != 1.0) {
                        // Before the first run the sums hold what the last task left; zero times that may not be zero.
                        sums.iter_mut().for_each(|sum| *sum = if row.factor == 0.0 { 0.0 } else { *sum * row.factor });
                    }
                    let values = &layer.values[slot * shape.values_len() + (head * shape.value_panels + panel) * shape.padded * width..];
                    for (start, part) in cut(run, I::BLOCK, I::PAIR) {
                        let values = &values[(first + start) * width..][..part * width];
                        isa.panel(queries, part, &weights[start..], SCORES_STRIDE, values, width / I::LANES, sums, true);
                    }
                }
            }
        }
        for (panel, sums) in sums.chunks_exact(ROWS * COLUMNS).enumerate() {
            done(panel * width, width.min(hd - panel * width), sums, rows);
        }
    }
}

/// What a thread works in.
pub struct Attention<I: Isa> {
    scores: Aligned<I::Score>,
    /// Where the two formats differ.
    weights: Aligned<I::Element>,
    rows: [Row; ROWS],
    /// (value panels, ROWS, COLUMNS).
    sums: Aligned<f32>,
}

impl<I: Isa> Attention<I> {
    pub fn new(window: &Window<I>) -> Self {
        let apart = size_of::<I::Score>() != size_of::<I::Element>();
        Self {
            scores: Aligned::new(ROWS * SCORES_STRIDE),
            weights: Aligned::new(if apart { ROWS * SCORES_STRIDE } else { 0 }),
            rows: [Row::START; ROWS],
            sums: Aligned::new(window.shape.value_panels * ROWS * COLUMNS),
        }
    }
}

impl Shape {
    /// Elements of the keys of a slot.
    fn keys_len(self) -> usize {
        self.heads * self.padded * self.head_dim
    }

    /// Elements of the values of a slot.
    fn values_len(self) -> usize {
        self.heads * self.value_panels * self.padded * self.width
    }
}
