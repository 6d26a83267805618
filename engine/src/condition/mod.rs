//! Tracks and guide, turned into the channels that a checkpoint eats.
//!
//! Invariant: a chunk's condition depends on that chunk's frames alone, so conditions made chunk by chunk equal those made in one go; a
//! frame whose sides are no multiple of a token is padded with *known* pixels, so nothing is ever invented outside the picture. Made
//! row by row of cells, in parallel, without a copy in between. Guarded by the tests below, `tests/tests/parity.rs` and
//! `tests/tests/streaming.rs`.

use crate::guide::warp::GuideFrame;
use crate::kernels::vector::dispatch;
use crate::model::codec::PatchCodec;
use crate::model::config::Config;
use crate::model::contrast::Contrast;
use crate::model::sampler::Prior;
use crate::model::track_head::{cell_from_px, embed_id};
use crate::motion::track_field::PointState;
use glam::Vec2;
use rayon::prelude::*;
use std::ops::Range;

/// The track points of one frame, positions in px of the model's picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FramePoints {
    /// Identity of each point.
    pub ids: Vec<u32>,
    /// What each point is.
    pub states: Vec<PointState>,
    /// Where each point is.
    pub positions: Vec<Vec2>,
    /// Whether it is seen.
    pub visible: Vec<bool>,
}

/// What the model is told about one chunk (or several): cells ordered latent frame, row, column.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Latent frames.
    pub latents: usize,
    /// Rows of cells (even).
    pub rows: usize,
    /// Columns of cells (even).
    pub columns: usize,
    /// All channels, (cells, condition_channels): guide, smooth guide, coverage, states, raw track map.
    pub channels: Vec<f32>,
    /// The guide's latent, (cells, latent_channels).
    pub guide_latent: Vec<f32>,
    /// The guide's pixels in -1..1, (cells, patch_len).
    pub guide_patches: Vec<f32>,
    /// Smooth guide minus guide, as latents, (cells, latent_channels).
    pub smooth_latent: Vec<f32>,
    /// Smooth guide minus guide, in pixels of -1..1, (cells, patch_len).
    pub smooth_patches: Vec<f32>,
    /// Share of each pixel that was not seen in the source, (cells, patch_len / 3).
    pub uncovered: Vec<f32>,
    /// Cells with any uncovered pixel: something has to be invented in them.
    pub unknown: Vec<bool>,
    embeddings: Embeddings,
}

/// The embeddings of the points' ids, which hardly ever change from frame to frame.
#[derive(Clone, Debug, Default)]
struct Embeddings {
    channels: usize,
    ids: Vec<u32>,
    values: Vec<f32>,
}

impl Embeddings {
    /// The embeddings of `ids`, (ids, channels).
    fn of(&mut self, ids: &[u32], channels: usize) -> &[f32] {
        if self.channels != channels {
            *self = Self { channels, ..Self::default() };
        }
        for (i, id) in ids.iter().enumerate() {
            if i == self.ids.len() {
                self.ids.push(*id);
                self.values.extend(embed_id(*id, channels));
            } else if self.ids[i] != *id {
                self.ids[i] = *id;
                self.values[i * channels..][..channels].copy_from_slice(&embed_id(*id, channels));
            }
        }
        &self.values
    }
}

/// Of `chunks` equal parts of `all` those `wanted`, in this order.
pub(crate) fn some_of<T: Copy>(all: &[T], chunks: usize, wanted: &[usize]) -> Vec<T> {
    let len = all.len() / chunks;
    wanted.iter().flat_map(|i| &all[i * len..(i + 1) * len]).copied().collect()
}

/// Size of the padded picture: both sides multiples of a token.
pub fn padded(config: &Config, width: usize, height: usize) -> (usize, usize) {
    (width.next_multiple_of(config.token_px()), height.next_multiple_of(config.token_px()))
}

/// The part of a condition that one row of cells of one latent fills.
struct CellRow<'a> {
    channels: &'a mut [f32],
    guide_latent: &'a mut [f32],
    guide_patches: &'a mut [f32],
    smooth_latent: &'a mut [f32],
    smooth_patches: &'a mut [f32],
    uncovered: &'a mut [f32],
    unknown: &'a mut [bool],
}

impl Condition {
    /// What pure noise is spread around in the `cells` of a chunk; `contrast` is room to work in.
    pub fn prior(&self, config: &Config, cells: Range<usize>, contrast: &mut Contrast) -> Prior<'_> {
        if !config.normed {
            return Prior::STANDARD;
        }
        let (width, channels) = (config.condition_channels(), config.latent_channels);
        contrast.refill(&self.channels[cells.start * width..cells.end * width], width, channels);
        Prior { mean: Some(&self.guide_latent[cells.start * channels..cells.end * channels]), deviation: contrast.spread() }
    }

    /// The condition of whole latents; `frames` and `points` per video frame, all frames of one size.
    pub fn new(config: &Config, codec: &PatchCodec, frames: &[GuideFrame], points: &[FramePoints]) -> Self {
        let mut condition = Self::default();
        condition.refill(config, codec, frames, points);
        condition
    }

    /// Becomes the condition of other frames; nothing is allocated if sizes and ids stay the same.
    pub fn refill(&mut self, config: &Config, codec: &PatchCodec, frames: &[GuideFrame], points: &[FramePoints]) {
        assert_eq!(frames.len() % config.frames_per_latent, 0, "a condition is made of whole latents");
        let (width, height) = padded(config, frames[0].rgb.width, frames[0].rgb.height);
        let (columns, rows) = (width / config.cell_px, height / config.cell_px);
        (self.columns, self.rows, self.latents) = (columns, rows, frames.len() / config.frames_per_latent);
        let (all, c, n) = (config.condition_channels(), config.latent_channels, config.patch_len());
        let cells = self.latents * rows * columns;
        self.channels.resize(cells * all, 0.0);
        self.guide_latent.resize(cells * c, 0.0);
        self.guide_patches.resize(cells * n, 0.0);
        self.smooth_latent.resize(cells * c, 0.0);
        self.smooth_patches.resize(cells * n, 0.0);
        self.uncovered.resize(cells * n / 3, 0.0);
        self.unknown.resize(cells, false);
        let filled = self.channels.par_chunks_mut(columns * all).zip(self.guide_latent.par_chunks_mut(columns * c));
        let filled = filled.zip(self.guide_patches.par_chunks_mut(columns * n)).zip(self.smooth_latent.par_chunks_mut(columns * c));
        let filled = filled.zip(self.smooth_patches.par_chunks_mut(columns * n)).zip(self.uncovered.par_chunks_mut(columns * n / 3));
        filled.zip(self.unknown.par_chunks_mut(columns)).enumerate().for_each(
            |(index, ((((((channels, guide_latent), guide_patches), smooth_latent), smooth_patches), uncovered), unknown))| {
                let frames = &frames[index / rows * config.frames_per_latent..][..config.frames_per_latent];
                let row = CellRow { channels, guide_latent, guide_patches, smooth_latent, smooth_patches, uncovered, unknown };
                row.fill(config, codec, frames, index % rows);
            },
        );
        self.add_tracks(config, points);
    }

    /// Some of its chunks alone, in this order; `chunks` is how many there are.
    pub fn pick(&self, chunks: usize, wanted: &[usize]) -> Self {
        let some = |all: &[f32]| some_of(all, chunks, wanted);
        Self {
            latents: self.latents / chunks * wanted.len(),
            rows: self.rows,
            columns: self.columns,
            channels: some(&self.channels),
            guide_latent: some(&self.guide_latent),
            guide_patches: some(&self.guide_patches),
            smooth_latent: some(&self.smooth_latent),
            smooth_patches: some(&self.smooth_patches),
            uncovered: some(&self.uncovered),
            unknown: some_of(&self.unknown, chunks, wanted),
            embeddings: Embeddings::default(),
        }
    }

    /// Marks the cells of pinned and driven points, and adds the embeddings of ids to the raw track map.
    fn add_tracks(&mut self, config: &Config, points: &[FramePoints]) {
        let (all, ids) = (config.condition_channels(), config.id_channels);
        let latent_len = self.rows * self.columns * all;
        let first = all - config.raw_track_channels();
        for (frame, points) in points.iter().enumerate() {
            let (latent, part) = (frame / config.frames_per_latent, frame % config.frames_per_latent);
            let channels = &mut self.channels[latent * latent_len..][..latent_len];
            let embeddings = self.embeddings.of(&points.ids, ids);
            for i in (0..points.ids.len()).filter(|i| points.visible[*i]) {
                let at = points.positions[i];
                let Some(cell) = cell_from_px(at.x, at.y, config.cell_px as f32, self.rows, self.columns) else { continue };
                let cell = &mut channels[cell * all..][..all];
                match points.states[i] {
                    PointState::Free => {}
                    PointState::Pinned => cell[first - 2] = 1.0,
                    PointState::Driven => cell[first - 1] = 1.0,
                }
                let map = &mut cell[first + part * ids..][..ids];
                map.iter_mut().zip(&embeddings[i * ids..][..ids]).for_each(|(m, e)| *m += e);
            }
        }
    }
}

impl CellRow<'_> {
    /// Everything but the tracks, of row `row` of the latent over `frames`.
    fn fill(mut self, config: &Config, codec: &PatchCodec, frames: &[GuideFrame], row: usize) {
        let (all, c, n) = (config.condition_channels(), config.latent_channels, config.patch_len());
        dispatch(
            #[inline(always)]
            || self.cut(config, frames, row),
        );
        codec.encode_to(self.guide_patches, self.guide_latent);
        // Most cells are seen whole: there the smooth guide is the guide.
        let mut first = 0;
        while first < self.unknown.len() {
            let differs = |cell: usize| self.smooth_patches[cell * n..][..n].iter().any(|v| *v != 0.0);
            let same = differs(first);
            let run = 1 + (first + 1..self.unknown.len()).take_while(|cell| differs(*cell) == same).count();
            let (patches, latent) = (&self.smooth_patches[first * n..][..run * n], &mut self.smooth_latent[first * c..][..run * c]);
            if same {
                codec.encode_difference(patches, latent);
            } else {
                latent.fill(0.0);
            }
            first += run;
        }
        for (cell, channels) in self.channels.chunks_exact_mut(all).enumerate() {
            let (guide, rest) = channels.split_at_mut(c);
            let (smooth, rest) = rest.split_at_mut(config.smooth_channels);
            let (coverage, rest) = rest.split_at_mut(config.coverage_channels());
            guide.copy_from_slice(&self.guide_latent[cell * c..][..c]);
            smooth.iter_mut().zip(&*guide).zip(&self.smooth_latent[cell * c..]).for_each(|((s, g), d)| *s = g + d);
            let uncovered = &self.uncovered[cell * n / 3..][..n / 3];
            coverage.iter_mut().zip(quarters(uncovered, config.cell_px)).for_each(|(c, q)| *c = q);
            rest.fill(0.0);
            self.unknown[cell] = uncovered.iter().any(|u| *u > 0.0);
        }
    }

    /// The frames' pixels as patches; beyond the picture its border goes on, and is seen.
    #[inline(always)]
    fn cut(&mut self, config: &Config, frames: &[GuideFrame], row: usize) {
        let (cell, n) = (config.cell_px, config.patch_len());
        let patches = self.guide_patches.chunks_exact_mut(n).zip(self.smooth_patches.chunks_exact_mut(n));
        for (column, ((guide, smooth), uncovered)) in patches.zip(self.uncovered.chunks_exact_mut(n / 3)).enumerate() {
            let lines = guide.chunks_exact_mut(cell * 3).zip(smooth.chunks_exact_mut(cell * 3)).zip(uncovered.chunks_exact_mut(cell));
            for (line, ((guide, smooth), uncovered)) in lines.enumerate() {
                let (frame, y) = (&frames[line / cell], row * cell + line % cell);
                let (width, height) = (frame.rgb.width, frame.rgb.height);
                let start = y.min(height - 1) * width;
                let left = (column * cell).min(width);
                let count = cell.min(width - left);
                let range = start + left..start + left + count;
                let (rgb, soft) = (frame.rgb.data[range.clone()].as_flattened(), frame.smooth.data[range.clone()].as_flattened());
                for ((g, s), (rgb, soft)) in guide.iter_mut().zip(smooth.iter_mut()).zip(rgb.iter().zip(soft)) {
                    *g = rgb * 2.0 - 1.0;
                    *s = (soft * 2.0 - 1.0) - *g;
                }
                let seen = &frame.coverage.data[range];
                uncovered.iter_mut().zip(seen).for_each(|(u, seen)| *u = (1.0 - seen).clamp(0.0, 1.0));
                if count < cell {
                    let last = start + width - 1;
                    let (rgb, soft) = (frame.rgb.data[last].map(|v| v * 2.0 - 1.0), frame.smooth.data[last].map(|v| v * 2.0 - 1.0));
                    guide[3 * count..].as_chunks_mut::<3>().0.fill(rgb);
                    smooth[3 * count..].as_chunks_mut::<3>().0.fill([0, 1, 2].map(|c| soft[c] - rgb[c]));
                }
                let inside = if y < height { count } else { 0 };
                uncovered[inside..].fill(0.0);
            }
        }
    }
}

/// Mean of the values in each quarter of a cell at each frame, scaled to -1..1.
fn quarters(values: &[f32], cell: usize) -> impl Iterator<Item = f32> {
    let half = cell / 2;
    values.chunks_exact(cell * cell).flat_map(move |frame| {
        (0..4).map(move |quarter| {
            let (top, left) = (quarter / 2 * half, quarter % 2 * half);
            let sum: f32 = (top..top + half).map(|y| frame[y * cell + left..][..half].iter().sum::<f32>()).sum();
            sum / (half * half) as f32 * 2.0 - 1.0
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::{Mask, Picture};

    fn number(i: usize) -> f32 {
        (i * 7919 % 1009) as f32 / 1009.0
    }

    fn frame(width: usize, height: usize, seed: usize) -> GuideFrame {
        let picture = |seed: usize| Picture::from_fn(width, height, |x, y| [0, 1, 2].map(|c| number(seed + 3 * (y * width + x) + c)));
        let (rgb, other) = (picture(seed), picture(seed + 7));
        let coverage = Mask::from_fn(width, height, |x, y| ((x as f32 - 9.0).hypot(y as f32 - 9.0) / 5.0 - 1.0).clamp(0.0, 1.0));
        let smooth = Picture::from_fn(width, height, |x, y| if coverage.at(x, y) < 1.0 { other.at(x, y) } else { rgb.at(x, y) });
        GuideFrame { rgb, smooth, coverage, owner: vec![0; width * height] }
    }

    fn points(count: usize, seed: usize) -> FramePoints {
        FramePoints {
            ids: (0..count).map(|i| ((i * 977 + seed) % 1000) as u32).collect(),
            states: (0..count).map(|i| [PointState::Free, PointState::Pinned, PointState::Driven][i % 3]).collect(),
            positions: (0..count).map(|i| Vec2::new(number(i + seed), number(2 * i + seed)) * 60.0 - 5.0).collect(),
            visible: (0..count).map(|i| i % 4 != 1).collect(),
        }
    }

    #[test]
    fn refilled_it_is_the_condition_of_the_padded_frames() {
        let config = Config { id_channels: 4, ..Config::tiny() };
        let (n, c) = (config.patch_len(), config.latent_channels);
        let basis = (0..c * n).map(|i| (number(i) - 0.5) * 0.2).collect();
        let codec = PatchCodec::new(config.cell_px, config.frames_per_latent, (0..n).map(number).collect(), basis, vec![0.7; c]);
        let mut condition = Condition::default();
        for (width, height, seed) in [(64, 32, 1), (41, 27, 2), (41, 27, 50), (17, 33, 3)] {
            let frames: Vec<GuideFrame> = (0..config.chunk_frames()).map(|t| frame(width, height, seed + t)).collect();
            let tracks: Vec<FramePoints> = (0..frames.len()).map(|t| points(20 + t, seed * (t / 2))).collect();
            condition.refill(&config, &codec, &frames, &tracks);
            let (wide, high) = padded(&config, width, height);
            assert_eq!((condition.columns, condition.rows), (wide / config.cell_px, high / config.cell_px));
            let cells = condition.rows * condition.columns;
            let padded = |p: &Picture| Picture::from_fn(wide, high, |x, y| p.clamped(x as isize, y as isize));
            for (latent, frames) in frames.chunks(2).enumerate() {
                let guide = codec.patches(&[&padded(&frames[0].rgb), &padded(&frames[1].rgb)]);
                let smooth = codec.patches(&[&padded(&frames[0].smooth), &padded(&frames[1].smooth)]);
                let (guide_latent, smooth_latent) = (codec.encode(&guide), codec.encode(&smooth));
                let near = |ours: &[f32], truth: &[f32]| {
                    assert_eq!(ours.len(), truth.len());
                    assert!(ours.iter().zip(truth).all(|(a, b)| (a - b).abs() < 1e-4), "{width}x{height}, latent {latent}");
                };
                let difference = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
                near(&condition.guide_patches[latent * cells * n..][..cells * n], &guide);
                near(&condition.smooth_patches[latent * cells * n..][..cells * n], &difference(&smooth, &guide));
                near(&condition.guide_latent[latent * cells * c..][..cells * c], &guide_latent);
                near(&condition.smooth_latent[latent * cells * c..][..cells * c], &difference(&smooth_latent, &guide_latent));
                for cell in 0..cells {
                    let (row, column) = (cell / condition.columns, cell % condition.columns);
                    let mut uncovered = Vec::new();
                    for (frame, y, x) in (0..n / 3).map(|i| (i / 64, row * 8 + i / 8 % 8, column * 8 + i % 8)) {
                        uncovered.push(if x < width && y < height { 1.0 - frames[frame].coverage.at(x, y) } else { 0.0 });
                    }
                    let index = latent * cells + cell;
                    near(&condition.uncovered[index * n / 3..][..n / 3], &uncovered);
                    assert_eq!(condition.unknown[index], uncovered.iter().any(|u| *u > 0.0));
                    let all = config.condition_channels();
                    let mut truth = [&guide_latent[cell * c..][..c], &smooth_latent[cell * c..][..config.smooth_channels]].concat();
                    truth.extend(quarters(&uncovered, config.cell_px));
                    let mut states = [0.0; 2];
                    let mut map = vec![0.0; config.raw_track_channels()];
                    for (part, points) in tracks[2 * latent..2 * latent + 2].iter().enumerate() {
                        for i in (0..points.ids.len()).filter(|i| points.visible[*i]) {
                            let at = (points.positions[i] / 8.0).floor();
                            if at != Vec2::new(column as f32, row as f32) {
                                continue;
                            }
                            match points.states[i] {
                                PointState::Free => {}
                                PointState::Pinned => states[0] = 1.0,
                                PointState::Driven => states[1] = 1.0,
                            }
                            embed_id(points.ids[i], 4).iter().enumerate().for_each(|(k, e)| map[4 * part + k] += e);
                        }
                    }
                    truth.extend(states);
                    truth.extend(map);
                    near(&condition.channels[index * all..][..all], &truth);
                }
            }
        }
    }
}
