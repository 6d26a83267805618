//! The KV window in packed form: a ring of chunk slots per layer. Values never move and sink keys are packed once; when a chunk leaves,
//! those parts of the rolling window's keys that turn with time are rotated anew for the slots that they have moved to.
//!
//! A slot's keys and values stand in the order of its chunk's [`Rows`], which stay with it.
//! Invariant: what is attended to equals [`crate::model::kv_window::KvWindow`], whose two key policies differ in rounding alone; cost and
//! memory do not depend on how many chunks were committed. Guarded by `tests/tests/packed.rs`.

use super::row_ops::turn;
use super::rows::{Rows, Runs, Tile};
use crate::error::Result;
use crate::kernels::aligned::Aligned;
use crate::kernels::isa::{COLUMNS, Isa, ROWS, Row};
use crate::kernels::panels::cut;
use crate::model::activity::Activity;
use crate::model::config::Config;
use crate::model::rope;
use candle_core::Device;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Pairs that are rotated at once: a run that fits the stack.
const PART: usize = 32;

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
    /// Tokens of a chunk, and the most places that their keys take with their padding.
    tokens: usize,
    positions: usize,
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
    /// (slots, rows, dim), not rotated.
    raw: Vec<f32>,
}

/// The keys and values of all layers.
#[derive(Clone)]
pub struct Window<I: Isa> {
    isa: I,
    shape: Shape,
    layers: Vec<Layer<I>>,
    /// Of each slot.
    rows: Vec<Rows>,
    /// Rotation of every token of every place in the window, (places, tokens, head_dim).
    rotation: Arc<Vec<f32>>,
    /// Slots of the committed chunks, oldest first.
    order: Vec<usize>,
    /// Slot of the chunk in work.
    current: usize,
    sink: usize,
    capacity: usize,
}

/// Calls `f(head, part, panel, elements)` for the panels `wanted` of every part of every head of a slot; elements `width` per key.
fn each_panel<I: Isa>(
    shape: Shape,
    packed: &mut [I::Element],
    (parts, width): (usize, usize),
    wanted: Range<usize>,
    f: impl Fn(usize, usize, usize, &mut [I::Element]) + Sync,
) {
    let panels = shape.positions / I::KEYS;
    packed.par_chunks_mut(I::KEYS * width).enumerate().filter(|(index, _)| wanted.contains(&(index % panels))).for_each(
        |(index, packed)| {
            f(index / panels / parts, index / panels % parts, index % panels, packed);
        },
    );
}

/// Rotates the first `pairs` pairs of the keys of some rows and packs them.
fn pack_keys<I: Isa>(isa: I, shape: Shape, pairs: usize, rows: &Rows, runs: &Runs, raw: &[f32], rotation: &[f32], keys: &mut [I::Element]) {
    let (hd, dim) = (shape.head_dim, shape.heads * shape.head_dim);
    each_panel::<I>(shape, keys, (1, hd), rows.panels(runs), |head, _, held, panel| {
        isa.vectorize(
            #[inline(always)]
            || {
                for part in (0..pairs).step_by(PART) {
                    // A run of real parts and the imaginary ones that belong to it.
                    let run = PART.min(pairs - part);
                    for (key, row) in rows.of_panel(held).enumerate() {
                        let (mut rotated, mut elements) = ([0.0; 2 * PART], [I::Element::default(); 2 * PART]);
                        let (real, imaginary) = raw[row * dim + head * hd + part..][..hd / 2 + run].split_at(hd / 2);
                        let (cos, sin) = rotation[rows.token(row) * hd + part..][..hd / 2 + run].split_at(hd / 2);
                        let (to_real, to_imaginary) = rotated[..2 * run].split_at_mut(run);
                        for i in 0..run {
                            (to_real[i], to_imaginary[i]) = turn((real[i], imaginary[i]), (cos[i], sin[i]));
                        }
                        isa.narrow(&rotated[..2 * run], &mut elements[..2 * run]);
                        for (half, offset) in [0, hd / 2].into_iter().enumerate() {
                            for first in (0..I::PAIR).filter(|first| *first < run) {
                                let d = offset + part + first;
                                let to = &mut panel[d / I::PAIR * I::PAIR * I::KEYS + key * I::PAIR + d % I::PAIR..];
                                let elements = elements[half * run + first..][..run - first].iter().step_by(I::PAIR);
                                to.iter_mut().step_by(I::PAIR * I::KEYS).zip(elements).for_each(|(to, element)| *to = *element);
                            }
                        }
                    }
                }
            },
        );
    });
}

/// Packs the values of some rows.
fn pack_values<I: Isa>(isa: I, shape: Shape, rows: &Rows, runs: &Runs, v: &[f32], values: &mut [I::Element]) {
    let (hd, dim, width) = (shape.head_dim, shape.heads * shape.head_dim, shape.width);
    each_panel::<I>(shape, values, (shape.value_panels, width), rows.panels(runs), |head, column, held, block| {
        let column = column * width;
        let columns = width.min(hd - column);
        isa.vectorize(
            #[inline(always)]
            || {
                let mut elements = [I::Element::default(); COLUMNS];
                for (key, row) in rows.of_panel(held).enumerate() {
                    let position = I::key_position(key);
                    isa.narrow(&v[row * dim + head * hd + column..][..columns], &mut elements[..columns]);
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
            positions: Rows::positions(tokens, I::KEYS),
            width: side_by_side * I::LANES,
            value_panels: vectors / side_by_side,
        };
        let slots = config.sink_chunks + config.window_chunks + 1;
        let layer = Layer {
            keys: Aligned::new(slots * shape.keys_len()),
            values: Aligned::new(slots * shape.values_len()),
            raw: vec![0.0; slots * shape.raw_len()],
        };
        let rotation = rope::rotation(head_dim, config.span_latents(), rows, columns, &Device::Cpu)?;
        Ok(Self {
            isa,
            shape,
            layers: vec![layer; config.layers],
            rows: vec![Rows::new(tokens, I::KEYS); slots],
            rotation: Arc::new(rotation.flatten_all()?.to_vec1()?),
            order: Vec::with_capacity(slots),
            current: 0,
            sink: config.sink_chunks,
            capacity: config.sink_chunks + config.window_chunks,
        })
    }

    /// Takes the next chunk's tokens in the order that their activity gives them.
    pub fn begin(&mut self, activity: &Activity) {
        self.rows[self.current].refill(activity);
    }

    /// The rows of the chunk in work.
    pub fn rows(&self) -> &Rows {
        &self.rows[self.current]
    }

    /// Of the chunk in work: its rows, the rotation of its tokens, (tokens, head_dim), and the keys of a layer, (rows, dim), to be filled
    /// normed and not rotated.
    pub fn in_work(&mut self, layer: usize) -> (&Rows, &[f32], &mut [f32]) {
        let (rotation, raw) = (self.shape.rotation_at(self.order.len()), self.shape.raw_at(self.current));
        (&self.rows[self.current], &self.rotation[rotation], &mut self.layers[layer].raw[raw])
    }

    /// Puts the keys of some rows of the chunk in work, which [`Window::in_work`] was given, and their values, (rows, dim), in their place.
    pub fn put(&mut self, layer: usize, runs: &Runs, v: &[f32]) {
        let (shape, isa, slot, rows) = (self.shape, self.isa, self.current, &self.rows[self.current]);
        let rotation = &self.rotation[shape.rotation_at(self.order.len())];
        let layer = &mut self.layers[layer];
        let raw = &layer.raw[shape.raw_at(slot)];
        let keys = &mut layer.keys[shape.keys_at(slot)];
        let values = &mut layer.values[shape.values_at(slot)];
        let pairs = shape.head_dim / 2;
        rayon::join(|| pack_keys(isa, shape, pairs, rows, runs, raw, rotation, keys), || pack_values(isa, shape, rows, runs, v, values));
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
        for layer in &mut self.layers {
            layer.keys.copy_within(shape.keys_at(from), shape.keys_at(to).start);
            layer.values.copy_within(shape.values_at(from), shape.values_at(to).start);
            layer.raw.copy_within(shape.raw_at(from), shape.raw_at(to).start);
        }
        self.rows[to] = self.rows[from].clone();
        self.rotate_slot(to, 0);
    }

    /// Turns the keys of a slot, which are packed, to place `place`.
    fn rotate_slot(&mut self, slot: usize, place: usize) {
        let (shape, isa, rows) = (self.shape, self.isa, &self.rows[slot]);
        let (rotation, pairs) = (&self.rotation[shape.rotation_at(place)], rope::time_pairs(shape.head_dim));
        for layer in &mut self.layers {
            let raw = &layer.raw[shape.raw_at(slot)];
            pack_keys(isa, shape, pairs, rows, &rows.runs(true), raw, rotation, &mut layer.keys[shape.keys_at(slot)]);
        }
    }

    /// Attention of a tile's rows in one head, given as queries scaled for base 2 and `stride` apart, one run of keys after the other so
    /// that their scores stay in the first-level cache: calls `done(first column, columns, sums, rows)`, sums in rows of [`COLUMNS`] still
    /// to be divided by those of `rows`.
    #[inline(always)]
    pub fn attend(
        &self,
        layer: usize,
        head: usize,
        tile: Tile,
        (q, stride): (&[I::Element], usize),
        scratch: &mut Attention<I>,
        mut done: impl FnMut(usize, usize, &[f32], &[Row]),
    ) {
        let (isa, shape, layer) = (self.isa, self.shape, &self.layers[layer]);
        let (hd, width, positions) = (shape.head_dim, shape.width, shape.positions);
        let queries = tile.count;
        let Attention { scores, weights, rows, sums } = scratch;
        let rows = &mut rows[..queries];
        rows.fill(Row::START);
        for slot in self.order.iter().copied().chain([self.current]) {
            let held = &self.rows[slot];
            let keys = &layer.keys[shape.keys_at(slot)][head * positions * hd..];
            for (first, run) in cut(held.visible(tile.active || slot != self.current), RUN, I::KEYS) {
                for (panel, keys) in keys[first * hd..(first + run) * hd].chunks_exact(I::KEYS * hd).enumerate() {
                    isa.scores(queries, hd, q, stride, keys, &mut scores[panel * I::KEYS..], SCORES_STRIDE);
                }
                for key in held.padding(first..first + run) {
                    let at = I::key_position(key) - first;
                    (0..queries).for_each(|row| scores[row * SCORES_STRIDE + at] = I::HIDDEN);
                }
                let weights = isa.weights(run, SCORES_STRIDE, scores, weights, rows);
                for (panel, sums) in sums.chunks_exact_mut(ROWS * COLUMNS).enumerate() {
                    for (sums, row) in sums.chunks_exact_mut(COLUMNS).zip(&*rows).filter(|(_, row)| row.factor != 1.0) {
                        // Before the first run the sums hold what the last task left; zero times that may not be zero.
                        sums.iter_mut().for_each(|sum| *sum = if row.factor == 0.0 { 0.0 } else { *sum * row.factor });
                    }
                    let values = &layer.values[shape.values_at(slot)][(head * shape.value_panels + panel) * positions * width..];
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
        self.heads * self.positions * self.head_dim
    }

    /// Elements of the values of a slot.
    fn values_len(self) -> usize {
        self.heads * self.value_panels * self.positions * self.width
    }

    /// Numbers of the keys of a slot, not rotated.
    fn raw_len(self) -> usize {
        self.tokens * self.heads * self.head_dim
    }

    fn keys_at(self, slot: usize) -> Range<usize> {
        slot * self.keys_len()..(slot + 1) * self.keys_len()
    }

    fn values_at(self, slot: usize) -> Range<usize> {
        slot * self.values_len()..(slot + 1) * self.values_len()
    }

    fn raw_at(self, slot: usize) -> Range<usize> {
        slot * self.raw_len()..(slot + 1) * self.raw_len()
    }

    /// The rotation of the tokens of a place.
    fn rotation_at(self, place: usize) -> Range<usize> {
        let len = self.tokens * self.head_dim;
        place * len..(place + 1) * len
    }
}
