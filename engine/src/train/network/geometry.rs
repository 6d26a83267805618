//! Sizes of a batch, and how its rows are shared out to tasks.
//!
//! Invariant: the cuts depend on the sizes alone, so results do not depend on the number of threads.

use super::ops::divisor;
use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::train::example::Input;

/// Tokens a task works on: what it makes of them stays in the second-level cache.
const TOKENS: usize = 256;
/// Scores of one head that attention holds at once.
const SCORES: usize = 1 << 18;

/// Sizes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub clips: usize,
    pub latents: usize,
    /// Rows and columns of cells, both even.
    pub rows: usize,
    pub columns: usize,
    /// Latents that share a noise level.
    pub chunk_latents: usize,
}

impl Geometry {
    pub fn of(config: &Config, batch: &[&Input]) -> Result<Self> {
        let refused = || Error::field("batch", "needs examples of one size, with even rows and columns and whole chunks");
        let (latents, rows, columns) = batch.first().ok_or_else(refused)?.size;
        let cells = latents * rows * columns;
        let fits = |input: &&Input| {
            input.size == (latents, rows, columns)
                && input.levels.len() * config.chunk_latents == latents
                && input.noisy.len() == cells * config.latent_channels
                && input.condition.len() == cells * config.condition_channels()
                && input.unknown.len() == cells
        };
        if cells == 0 || rows % 2 != 0 || columns % 2 != 0 || !batch.iter().all(fits) {
            return Err(refused());
        }
        Ok(Self { clips: batch.len(), latents, rows, columns, chunk_latents: config.chunk_latents })
    }

    /// Pictures of cells: one per clip and latent.
    pub fn pictures(self) -> usize {
        self.clips * self.latents
    }

    /// Cells of a picture.
    pub fn picture_cells(self) -> usize {
        self.rows * self.columns
    }

    pub fn cells(self) -> usize {
        self.pictures() * self.picture_cells()
    }

    /// Cells of a picture with a border one cell wide.
    pub fn bordered_cells(self) -> usize {
        (self.rows + 2) * (self.columns + 2)
    }

    pub fn clip_tokens(self) -> usize {
        self.latents * self.picture_cells() / 4
    }

    pub fn tokens(self) -> usize {
        self.clips * self.clip_tokens()
    }

    /// Runs of tokens that share a noise level: one per clip and chunk.
    pub fn groups(self) -> usize {
        self.pictures() / self.chunk_latents
    }

    pub fn group_tokens(self) -> usize {
        self.tokens() / self.groups()
    }

    /// Tokens of a block, all of one group.
    pub fn block_tokens(self) -> usize {
        divisor(self.group_tokens(), TOKENS)
    }

    pub fn blocks(self) -> usize {
        self.tokens() / self.block_tokens()
    }

    pub fn blocks_per_group(self) -> usize {
        self.group_tokens() / self.block_tokens()
    }

    /// Queries of an attention tile, all of one group, with this many keys before the clip's own.
    pub fn tile_tokens(self, before: usize) -> usize {
        divisor(self.group_tokens(), (SCORES / (before + self.clip_tokens())).clamp(16, 128))
    }
}

/// Makes `buffer` this long. What it holds is not defined; it never gives memory back, so it is flat once the largest batch was seen.
pub(super) fn fit(buffer: &mut Vec<f32>, len: usize) {
    buffer.resize(len, 0.0);
}
