//! The KV window in packed form: a ring of chunk slots per layer. Values never move and sink keys are packed once; when a chunk leaves,
//! the keys of the rolling window are rotated anew for the slots that they have moved to.
//!
//! Invariant: what is attended to equals [`crate::model::kv_window::KvWindow`], whose two key policies differ in rounding alone; cost and
//! memory do not depend on how many chunks were committed. Guarded by `tests/tests/streaming.rs`.

use super::row_ops::rotate;
use crate::error::Result;
use crate::kernels::aligned::Aligned;
use crate::kernels::isa::{COLUMNS, Isa};
use crate::kernels::panels::cut;
use crate::model::config::Config;
use crate::model::rope;
use candle_core::Device;
use rayon::prelude::*;
use std::sync::Arc;

/// Numbers that are rotated at once: a run that fits the stack.
const PART: usize = 64;

/// Scores of half precision on a cache line.
const SCORES_OF_A_LINE: usize = 32;

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

    /// Tokens that the chunk in work sees, padding included.
    pub fn seen(&self) -> usize {
        (self.order.len() + 1) * self.shape.padded
    }

    /// Scores between the starts of two rows, when all rows are as long as the longest: an odd number of cache lines, so that the rows
    /// of a tile do not fall on the same few sets of the cache.
    pub fn stride(&self) -> usize {
        let lines = ((self.capacity + 1) * self.shape.padded).div_ceil(SCORES_OF_A_LINE);
        (lines | 1) * SCORES_OF_A_LINE
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

    /// Attention of `rows` queries of one head, scaled for base 2 and `stride` apart: calls `done(first column, columns, sums)`, sums in
    /// rows of [`COLUMNS`] still to be multiplied by `reciprocals`. `scores` and `probabilities` hold `ROWS` rows of [`Window::stride`].
    #[inline(always)]
    pub fn attend(
        &self,
        layer: usize,
        head: usize,
        rows: usize,
        (q, stride): (&[I::Element], usize),
        (scores, probabilities): (&mut [I::Score], &mut [I::Element]),
        (reciprocals, sums): (&mut [f32], &mut [f32]),
        mut done: impl FnMut(usize, usize, &[f32], &[f32]),
    ) {
        let (isa, shape, layer) = (self.isa, self.shape, &self.layers[layer]);
        let (length, s_stride) = (self.seen(), self.stride());
        let slots = || self.order.iter().copied().chain([self.current]).enumerate();
        for (place, slot) in slots() {
            let keys = &layer.keys[slot * shape.keys_len() + head * shape.padded * shape.head_dim..];
            for (panel, keys) in keys.chunks_exact(I::KEYS * shape.head_dim).take(shape.padded / I::KEYS).enumerate() {
                isa.scores(rows, shape.head_dim, q, stride, keys, &mut scores[place * shape.padded + panel * I::KEYS..], s_stride);
            }
            for row in 0..rows {
                for key in shape.tokens..shape.padded {
                    scores[row * s_stride + place * shape.padded + I::key_position(key)] = I::HIDDEN;
                }
            }
        }
        let p = isa.softmax(length, s_stride, scores, probabilities, &mut reciprocals[..rows]);
        for panel in 0..shape.value_panels {
            let (first, width) = (panel * shape.width, shape.width);
            let mut add = false;
            for (place, slot) in slots() {
                let values = &layer.values[slot * shape.values_len() + (head * shape.value_panels + panel) * shape.padded * width..];
                for (start, run) in cut(shape.padded, I::BLOCK, I::PAIR) {
                    let (p, values) = (&p[place * shape.padded + start..], &values[start * width..][..run * width]);
                    isa.panel(rows, run, p, s_stride, values, width / I::LANES, sums, add);
                    add = true;
                }
            }
            done(first, width.min(shape.head_dim - first), sums, reciprocals);
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
