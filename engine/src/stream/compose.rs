//! What is shown of a chunk: the guide's pixels plus the network's correction, confined to what the source does not show.
//!
//! A net that is unsure answers with an average: near the truth by any squared error, but soft to the eye. With its fine part held
//! back, the correction brings tone and shading, and the texture stays the guide's. Only cells that can change anything are decoded.
//! Invariant: where the correction is zero the guide is shown as it is; the result does not depend on the number of threads, and
//! nothing is allocated after the first chunk of a size. Guarded by the tests below and `tests/tests/allocations.rs`.

use crate::condition::Condition;
use crate::kernels::vector::dispatch;
use crate::model::codec::PatchCodec;
use crate::model::config::Config;
use crate::model::dit::Dit;
use crate::picture::{Picture, Sample};
use crate::stream::session::Chunk;
use rayon::prelude::*;

/// How fast the rim's share falls with the share of the surroundings that was not seen.
const RIM_FALL: f32 = 2.0;
/// Uncovered share below which a mean over it says nothing.
const LEAST_SHARE: f32 = 1e-3;

/// Turns chunks into frames; keeps its buffers from chunk to chunk.
#[derive(Debug, Default)]
pub struct Composer {
    /// Cells that can change anything.
    active: Vec<bool>,
    /// The network's corrections of active cells, (cells, latent_channels).
    delta: Vec<f32>,
    /// What active cells change of the guide, in pixels of -1..1, (cells, patch_len).
    correction: Vec<f32>,
    /// Mean correction and uncovered share of each cell of the shown picture, (frames, rows, columns).
    coarse: Vec<[f32; 4]>,
    /// For each shown column the two columns of `coarse` around it, and the weight of the second.
    between: Vec<(usize, usize, f32)>,
}

/// The shown picture in cells: as many as it takes, all of one size that need not be whole pixels.
#[derive(Clone, Copy)]
struct Axis {
    length: usize,
    cells: usize,
}

impl Composer {
    /// Fills `frames` with the chunk's frames, `width` x `height` (the padding is cut off).
    pub fn compose(
        &mut self,
        config: &Config,
        codec: &PatchCodec,
        chunk: &Chunk,
        condition: &Condition,
        width: usize,
        height: usize,
        frames: &mut Vec<Picture>,
    ) {
        let count = condition.latents * config.frames_per_latent;
        frames.resize_with(count, || Picture::filled(width, height, [0.0; 3]));
        for frame in frames.iter_mut().filter(|f| (f.width, f.height) != (width, height)) {
            *frame = Picture::filled(width, height, [0.0; 3]);
        }
        let axes = [width, height].map(|length| Axis { length, cells: length.div_ceil(config.cell_px) });
        self.correct(config, codec, chunk, condition);
        if config.fine_correction < 1.0 {
            self.average(config, condition, axes);
        }
        self.show(config, condition, axes, frames);
    }

    /// Which cells of the last chunk the network could change.
    pub fn active(&self) -> &[bool] {
        &self.active
    }

    /// Decodes and confines the corrections of active cells.
    fn correct(&mut self, config: &Config, codec: &PatchCodec, chunk: &Chunk, condition: &Condition) {
        let (channels, n, stride) = (config.latent_channels, codec.patch_len(), config.output_channels());
        let (cells, columns) = (condition.unknown.len(), condition.columns);
        self.active.resize(cells, false);
        self.delta.resize(cells * channels, 0.0);
        self.correction.resize(cells * n, 0.0);
        let rows = self.active.par_chunks_mut(columns).zip(self.delta.par_chunks_mut(columns * channels));
        rows.zip(self.correction.par_chunks_mut(columns * n)).enumerate().for_each(|(row, ((active, delta), correction))| {
            let first = row * columns;
            for (cell, active) in active.iter_mut().enumerate() {
                *active = config.correction > 0.0 && (config.covered_correction > 0.0 || condition.unknown[first + cell]);
            }
            let output = |cell: usize| &chunk.output[(first + cell) * stride..][..stride];
            let mut cell = 0;
            for run in active.chunk_by(|a, b| a == b) {
                let range = cell..cell + run.len();
                cell = range.end;
                if !run[0] {
                    continue;
                }
                let delta = &mut delta[range.start * channels..range.end * channels];
                range.clone().zip(delta.chunks_exact_mut(channels)).for_each(|(cell, d)| d.copy_from_slice(&output(cell)[..channels]));
                let patches = &mut correction[range.start * n..range.end * n];
                codec.decode_difference(delta, patches);
                dispatch(
                    #[inline(always)]
                    || {
                        for (cell, patch) in range.zip(patches.chunks_exact_mut(n)) {
                            let (lean, gate) = (output(cell)[channels], config.covered_correction * Dit::gate(output(cell)[channels + 1]));
                            let smooth = &condition.smooth_patches[(first + cell) * n..][..n];
                            let uncovered = &condition.uncovered[(first + cell) * n / 3..][..n / 3];
                            for ((rgb, smooth), u) in patch.as_chunks_mut::<3>().0.iter_mut().zip(smooth.as_chunks::<3>().0).zip(uncovered)
                            {
                                let share = config.correction * (u + (1.0 - u) * gate);
                                (0..3).for_each(|c| rgb[c] = share * (rgb[c] + lean * smooth[c]));
                            }
                        }
                    },
                );
            }
        });
    }

    /// The corrections at the resolution of cells.
    fn average(&mut self, config: &Config, condition: &Condition, [across, down]: [Axis; 2]) {
        let (cell, n) = (config.cell_px, config.patch_len());
        self.coarse.resize(condition.latents * config.frames_per_latent * across.cells * down.cells, [0.0; 4]);
        let (active, correction) = (&self.active, &self.correction);
        self.coarse.par_chunks_mut(across.cells).enumerate().for_each(|(index, means)| {
            let (frame, row) = (index / down.cells, index % down.cells);
            let (latent, part) = (frame / config.frames_per_latent, frame % config.frames_per_latent);
            let rows = down.pixels(row);
            for (column, mean) in means.iter_mut().enumerate() {
                let columns = across.pixels(column);
                let mut sum = [0.0; 4];
                // A cell of the shown picture may lie across several of the padded one.
                for cell_row in rows.0 / cell..=(rows.1 - 1) / cell {
                    for cell_column in columns.0 / cell..=(columns.1 - 1) / cell {
                        let index = (latent * condition.rows + cell_row) * condition.columns + cell_column;
                        if !active[index] {
                            continue;
                        }
                        for y in rows.0.max(cell_row * cell)..rows.1.min((cell_row + 1) * cell) {
                            let start = index * n / 3 + (part * cell + y - cell_row * cell) * cell;
                            let share = down.overlap(row, y);
                            for x in columns.0.max(cell_column * cell)..columns.1.min((cell_column + 1) * cell) {
                                let at = start + x - cell_column * cell;
                                let [r, g, b] = [0, 1, 2].map(|c| correction[3 * at + c]);
                                sum = sum.add_scaled([r, g, b, condition.uncovered[at]], share * across.overlap(column, x));
                            }
                        }
                    }
                }
                *mean = sum;
            }
        });
    }

    /// Guide plus correction; of what the correction holds beyond the resolution of cells only the share `fine_correction`, and more of it at rims.
    fn show(&mut self, config: &Config, condition: &Condition, [across, down]: [Axis; 2], frames: &mut [Picture]) {
        let (cell, n) = (config.cell_px, config.patch_len());
        let (fine, rim) = (config.fine_correction, (1.0 - config.fine_correction) * config.rim_correction);
        self.between.clear();
        self.between.extend((0..across.length).map(|x| across.between(x)));
        let Self { active, correction, coarse, between, .. } = &*self;
        frames.par_iter_mut().enumerate().for_each(|(frame, picture)| {
            let (latent, part) = (frame / config.frames_per_latent, frame % config.frames_per_latent);
            picture.data.par_chunks_mut(cell * across.length).enumerate().for_each(|(row, band)| {
                let first = (latent * condition.rows + row) * condition.columns;
                dispatch(
                    #[inline(always)]
                    || {
                        for (line, shown) in band.chunks_mut(across.length).enumerate() {
                            let (above, below, weight) = down.between(row * cell + line);
                            let coarse_row = |row: usize| (frame * down.cells + row) * across.cells;
                            let (above, below) = (coarse_row(above), coarse_row(below));
                            for (column, shown) in shown.chunks_mut(cell).enumerate() {
                                let start = (first + column) * n + (part * cell + line) * cell * 3;
                                let guide = condition.guide_patches[start..start + cell * 3].as_chunks::<3>().0;
                                if !active[first + column] {
                                    shown
                                        .iter_mut()
                                        .zip(guide)
                                        .for_each(|(shown, guide)| *shown = guide.map(|v| ((v + 1.0) / 2.0).clamp(0.0, 1.0)));
                                    continue;
                                }
                                let own = correction[start..start + cell * 3].as_chunks::<3>().0;
                                let uncovered = &condition.uncovered[start / 3..][..cell];
                                let between = &between[column * cell..][..shown.len()];
                                for (x, (left, right, f)) in between.iter().enumerate() {
                                    let (mut broad, mut fine) = (own[x], fine);
                                    if fine < 1.0 {
                                        let mean = |row: usize| {
                                            [0.0; 4].add_scaled(coarse[row + left], 1.0 - f).add_scaled(coarse[row + right], *f)
                                        };
                                        let mean = [0.0; 4].add_scaled(mean(above), 1.0 - weight).add_scaled(mean(below), weight);
                                        let share = uncovered[x] / mean[3].max(LEAST_SHARE);
                                        broad = [0, 1, 2].map(|c| mean[c] * share);
                                        fine += rim * (RIM_FALL * (1.0 - mean[3])).clamp(0.0, 1.0);
                                    }
                                    shown[x] = std::array::from_fn(|c| {
                                        let correction = broad[c] + fine * (own[x][c] - broad[c]);
                                        ((guide[x][c] + correction + 1.0) / 2.0).clamp(0.0, 1.0)
                                    });
                                }
                            }
                        }
                    },
                );
            });
        });
    }
}

impl Axis {
    /// Length of a cell, px.
    #[inline(always)]
    fn scale(self) -> f32 {
        self.length as f32 / self.cells as f32
    }

    /// First pixel of a cell, and the one after its last.
    #[inline(always)]
    fn pixels(self, cell: usize) -> (usize, usize) {
        let (low, high) = (cell as f32 * self.scale(), (cell + 1) as f32 * self.scale());
        (low as usize, (high.ceil() as usize).min(self.length))
    }

    /// Share of pixel `x` in the mean over a cell.
    #[inline(always)]
    fn overlap(self, cell: usize, x: usize) -> f32 {
        let (low, high) = (cell as f32 * self.scale(), (cell + 1) as f32 * self.scale());
        (((x + 1) as f32).min(high) - (x as f32).max(low)).max(0.0) / self.scale()
    }

    /// The two cells whose middles pixel `x` lies between, and the weight of the second.
    #[inline(always)]
    fn between(self, x: usize) -> (usize, usize, f32) {
        let place = ((x as f32 + 0.5) / self.scale() - 0.5).clamp(0.0, (self.cells - 1) as f32);
        let first = place as usize;
        (first, (first + 1).min(self.cells - 1), place - first as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::FramePoints;
    use crate::guide::warp::GuideFrame;
    use crate::picture::{Grid, Mask};

    fn config(channels: usize) -> Config {
        Config { latent_channels: channels, smooth_channels: 4, id_channels: 4, ..Config::tiny() }
    }

    fn number(i: usize) -> f32 {
        (i * 7919 % 1009) as f32 / 1009.0 - 0.5
    }

    /// All of a patch's numbers, each its own channel.
    fn plain_codec(config: &Config) -> PatchCodec {
        let n = config.patch_len();
        let basis = (0..n * n).map(|i| f32::from(u8::from(i / n == i % n))).collect();
        PatchCodec::new(config.cell_px, config.frames_per_latent, vec![0.0; n], basis, vec![1.0; n])
    }

    fn guide(width: usize, height: usize, seen: impl Fn(usize, usize) -> f32 + Sync) -> GuideFrame {
        let rgb = Picture::from_fn(width, height, |x, y| [0, 1, 2].map(|c| 0.5 + 0.6 * number(x * 31 + y * 17 + c)));
        let smooth = Picture::from_fn(width, height, |x, y| rgb.at(x, y).map(|v| if seen(x, y) < 1.0 { 0.5 * v } else { v }));
        GuideFrame { rgb, smooth, coverage: Mask::from_fn(width, height, seen), owner: vec![0; width * height] }
    }

    /// The formula, pixel by pixel and without any shortcut.
    fn reference(config: &Config, codec: &PatchCodec, output: &[f32], guide: &[GuideFrame], condition: &Condition) -> Vec<Picture> {
        let (width, height) = (guide[0].rgb.width, guide[0].rgb.height);
        let (cell, n, channels) = (config.cell_px, config.patch_len(), config.latent_channels);
        let show = |(frame, guide): (usize, &GuideFrame)| {
            let (latent, part) = (frame / config.frames_per_latent, frame % config.frames_per_latent);
            let correction = Grid::from_fn(width, height, |x, y| {
                let index = (latent * condition.rows + y / cell) * condition.columns + x / cell;
                let out = &output[index * config.output_channels()..][..config.output_channels()];
                let gate = config.covered_correction * Dit::gate(out[channels + 1]);
                let uncovered = 1.0 - guide.coverage.at(x, y);
                let share = config.correction * (uncovered + (1.0 - uncovered) * gate);
                let at = ((part * cell + y % cell) * cell + x % cell) * 3;
                let [r, g, b] = [0, 1, 2].map(|c| {
                    let delta: f32 = (0..channels).map(|z| out[z] * codec.scale[z] * codec.basis[z * n + at + c]).sum();
                    share * (delta + out[channels] * 2.0 * (guide.smooth.at(x, y)[c] - guide.rgb.at(x, y)[c]))
                });
                [r, g, b, uncovered]
            });
            let broad = correction.resized(width.div_ceil(cell), height.div_ceil(cell)).resized(width, height);
            Picture::from_fn(width, height, |x, y| {
                let (own, broad) = (correction.at(x, y), broad.at(x, y));
                std::array::from_fn(|c| {
                    let coarse = match config.fine_correction < 1.0 {
                        true => broad[c] / broad[3].max(LEAST_SHARE) * own[3],
                        false => own[c],
                    };
                    let near = (2.0 * (1.0 - broad[3])).clamp(0.0, 1.0);
                    let fine = config.fine_correction + (1.0 - config.fine_correction) * config.rim_correction * near;
                    let correction = coarse + fine * (own[c] - coarse);
                    (guide.rgb.at(x, y)[c] + correction / 2.0).clamp(0.0, 1.0)
                })
            })
        };
        guide.iter().enumerate().map(show).collect()
    }

    #[test]
    fn every_setting_and_size_gives_the_formula() {
        let (mut composer, mut frames) = (Composer::default(), Vec::new());
        for (width, height) in [(64, 32), (44, 28), (17, 33)] {
            for (correction, fine, rim, covered) in [
                (1.0, 0.0, 0.0, 0.0),
                (1.0, 0.0, 1.0, 0.0),
                (1.0, 1.0, 0.5, 0.0),
                (0.7, 0.4, 0.6, 0.0),
                (0.6, 0.3, 0.2, 0.8),
                (1.0, 1.0, 0.0, 1.0),
                (0.0, 0.0, 0.0, 1.0),
            ] {
                let config = Config { correction, fine_correction: fine, rim_correction: rim, covered_correction: covered, ..config(12) };
                let n = config.patch_len();
                let basis = (0..12 * n).map(|i| 0.3 * number(i)).collect();
                let codec = PatchCodec::new(config.cell_px, config.frames_per_latent, vec![0.1; n], basis, vec![1.5; 12]);
                let hole = |x: usize, y: usize| ((x as f32 - 14.0).hypot(y as f32 - 13.0) / 4.0 - 1.5).clamp(0.0, 1.0);
                let guide: Vec<GuideFrame> = (0..config.chunk_frames()).map(|t| guide(width, height, |x, y| hole(x + t, y))).collect();
                let condition = Condition::new(&config, &codec, &guide, &vec![FramePoints::default(); guide.len()]);
                let output: Vec<f32> = (0..condition.unknown.len() * config.output_channels()).map(|i| 3.0 * number(i)).collect();
                let truth = reference(&config, &codec, &output, &guide, &condition);
                let chunk = Chunk { latents: Vec::new(), output };
                composer.compose(&config, &codec, &chunk, &condition, width, height, &mut frames);
                assert_eq!(frames.len(), guide.len());
                for ((shown, truth), guide) in frames.iter().zip(&truth).zip(&guide) {
                    let numbers = |picture: &Picture| picture.data.clone().into_iter().flatten().collect::<Vec<_>>();
                    let distance =
                        |a: &Picture, b: &Picture| numbers(a).iter().zip(numbers(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(
                        distance(shown, truth) < 2e-5,
                        "{width}x{height} {correction} {fine} {rim} {covered}: {}",
                        distance(shown, truth)
                    );
                    assert!(correction == 0.0 || distance(shown, &guide.rgb) > 0.05);
                }
            }
        }
    }

    #[test]
    fn tone_passes_and_texture_is_held_back() {
        const SIDE: usize = 48;
        let texture = |x: usize| if x % 2 == 0 { 0.3 } else { -0.3 };
        let hole = |x: usize, y: usize| (8..40).contains(&x) && (8..40).contains(&y);
        for (fine, rim) in [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 1.0)] {
            let config = Config { fine_correction: fine, rim_correction: rim, ..config(Config::tiny().patch_len()) };
            let codec = plain_codec(&config);
            let rgb = Picture::from_fn(SIDE, SIDE, |x, _| [(texture(x) + 1.0) / 2.0; 3]);
            let coverage = Mask::from_fn(SIDE, SIDE, |x, y| f32::from(u8::from(!hole(x, y))));
            let guide = vec![GuideFrame { smooth: rgb.clone(), rgb, coverage, owner: vec![0; SIDE * SIDE] }; config.chunk_frames()];
            let condition = Condition::new(&config, &codec, &guide, &vec![FramePoints::default(); guide.len()]);
            // A darker tone everywhere, and the guide's texture taken away.
            let (n, channels) = (config.patch_len(), config.output_channels());
            let output =
                (0..condition.unknown.len() * channels).map(|i| if i % channels < n { -0.2 - texture(i % channels / 3) } else { 0.0 });
            let chunk = Chunk { latents: Vec::new(), output: output.collect() };
            let mut frames = Vec::new();
            Composer::default().compose(&config, &codec, &chunk, &condition, SIDE, SIDE, &mut frames);
            let at = |x: usize, y: usize| frames[1].at(x, y)[0] * 2.0 - 1.0;
            // Far from what is seen, and beside it, where the rim's share has hardly begun to fall.
            let mut places = vec![(22, fine, 1e-3), (23, fine, 1e-3), (8, fine.max(rim), 0.05), (39, fine.max(rim), 0.05)];
            if rim == 0.0 {
                places.extend([(10, fine, 1e-3), (11, fine, 1e-3)]);
            }
            for (x, fine, tolerance) in places {
                let wanted = texture(x) * (1.0 - fine) - 0.2;
                assert!((at(x, 24) - wanted).abs() < tolerance, "{fine} {rim}, {x}: {} instead of {wanted}", at(x, 24));
            }
            assert!((at(2, 2) - texture(2)).abs() < 1e-6, "what is covered was changed");
        }
    }
}
