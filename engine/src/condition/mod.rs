//! Tracks and guide, turned into the channels that a checkpoint eats.
//!
//! Invariant: a chunk's condition depends on that chunk's frames alone, so conditions made chunk by chunk equal those made in one go; a
//! frame whose sides are no multiple of a token is padded with *known* pixels, so nothing is ever invented outside the picture.
//! Guarded by the tests below.

use crate::guide::warp::GuideFrame;
use crate::model::codec::{PatchCodec, cut};
use crate::model::config::Config;
use crate::model::track_head::{cell_from_px, embed_id};
use crate::motion::track_field::PointState;
use crate::picture::{Grid, Sample};
use glam::Vec2;

/// Uncovered pixels that make a cell unknown: a cell with less is taken as seen.
const UNKNOWN_SHARE: f32 = 0.02;

/// The track points of one frame, positions in px of the model's picture.
#[derive(Clone, Debug, Default)]
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
#[derive(Clone, Debug)]
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
    /// Cells in which something has to be invented.
    pub unknown: Vec<bool>,
}

/// Size of the padded picture: both sides multiples of a token.
pub fn padded(config: &Config, width: usize, height: usize) -> (usize, usize) {
    (width.next_multiple_of(config.token_px()), height.next_multiple_of(config.token_px()))
}

/// A grid with its last column and row repeated.
pub fn pad<T: Sample>(grid: &Grid<T>, (width, height): (usize, usize)) -> Grid<T> {
    if (grid.width, grid.height) == (width, height) {
        return grid.clone();
    }
    Grid::from_fn(width, height, |x, y| grid.clamped(x as isize, y as isize))
}

impl Condition {
    /// The condition of whole latents; `frames` and `points` per video frame, all frames of one size.
    pub fn new(config: &Config, codec: &PatchCodec, frames: &[GuideFrame], points: &[FramePoints]) -> Self {
        assert_eq!(frames.len() % config.frames_per_latent, 0, "a condition is made of whole latents");
        let (width, height) = (frames[0].rgb.width, frames[0].rgb.height);
        let size = padded(config, width, height);
        let (columns, rows) = (size.0 / config.cell_px, size.1 / config.cell_px);
        let latents = frames.len() / config.frames_per_latent;
        let mut condition = Self {
            latents,
            rows,
            columns,
            channels: Vec::with_capacity(latents * rows * columns * config.condition_channels()),
            guide_latent: Vec::new(),
            guide_patches: Vec::new(),
            smooth_latent: Vec::new(),
            smooth_patches: Vec::new(),
            uncovered: Vec::new(),
            unknown: Vec::new(),
        };
        for (frames, points) in frames.chunks(config.frames_per_latent).zip(points.chunks(config.frames_per_latent)) {
            condition.push_latent(config, codec, frames, points, (width, height), size);
        }
        condition
    }

    fn push_latent(
        &mut self,
        config: &Config,
        codec: &PatchCodec,
        frames: &[GuideFrame],
        points: &[FramePoints],
        (width, height): (usize, usize),
        size: (usize, usize),
    ) {
        let cell = config.cell_px;
        let rgb: Vec<_> = frames.iter().map(|f| pad(&f.rgb, size)).collect();
        let smooth: Vec<_> = frames.iter().map(|f| pad(&f.smooth, size)).collect();
        let patches = cut(&rgb.iter().collect::<Vec<_>>(), cell);
        let latent = codec.encode(&patches);
        let smooth_patches = cut(&smooth.iter().collect::<Vec<_>>(), cell);
        let smooth = codec.encode(&smooth_patches);
        let (states, tracks) = self.track_channels(config, points);
        let cells = self.rows * self.columns;
        for index in 0..cells {
            let (row, column) = (index / self.columns, index % self.columns);
            let first = self.uncovered.len();
            for frame in frames {
                for y in row * cell..(row + 1) * cell {
                    for x in column * cell..(column + 1) * cell {
                        let inside = x < width && y < height;
                        self.uncovered.push(if inside { (1.0 - frame.coverage.at(x, y)).clamp(0.0, 1.0) } else { 0.0 });
                    }
                }
            }
            let uncovered = &self.uncovered[first..];
            self.unknown.push(uncovered.iter().sum::<f32>() > UNKNOWN_SHARE * uncovered.len() as f32);
            let c = config.latent_channels;
            self.channels.extend(&latent[index * c..][..c]);
            self.channels.extend(&smooth[index * c..][..config.smooth_channels]);
            self.channels.extend(quarters(uncovered, cell));
            self.channels.extend(states[index]);
            self.channels.extend(&tracks[index * config.raw_track_channels()..][..config.raw_track_channels()]);
        }
        self.smooth_latent.extend(smooth.iter().zip(&latent).map(|(s, g)| s - g));
        self.smooth_patches.extend(smooth_patches.iter().zip(&patches).map(|(s, g)| s - g));
        self.guide_latent.extend(latent);
        self.guide_patches.extend(patches);
    }

    /// Per cell whether a pinned and a driven point is in it, and the raw track map.
    fn track_channels(&self, config: &Config, points: &[FramePoints]) -> (Vec<[f32; 2]>, Vec<f32>) {
        let mut states = vec![[0.0; 2]; self.rows * self.columns];
        let mut map = vec![0.0; self.rows * self.columns * config.raw_track_channels()];
        for (frame, points) in points.iter().enumerate() {
            for i in (0..points.ids.len()).filter(|i| points.visible[*i]) {
                let at = points.positions[i];
                let Some(cell) = cell_from_px(at.x, at.y, config.cell_px as f32, self.rows, self.columns) else { continue };
                match points.states[i] {
                    PointState::Free => {}
                    PointState::Pinned => states[cell][0] = 1.0,
                    PointState::Driven => states[cell][1] = 1.0,
                }
                let start = cell * config.raw_track_channels() + frame * config.id_channels;
                let embedding = embed_id(points.ids[i], config.id_channels);
                map[start..start + config.id_channels].iter_mut().zip(embedding).for_each(|(m, e)| *m += e);
            }
        }
        (states, map)
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
