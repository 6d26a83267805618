//! Which tokens noise reaches, and which are looked at: what is known of a chunk is computed once, only the rest in every pass.
//!
//! A token is *active* if the stem mixes anything unknown into it. The others hold the guide alone, at noise level 0 in every pass, and
//! see only each other and the past: so their keys and values are those of the commit from the first pass on. Active tokens see all. A
//! token is *wanted* if the head reaches an unknown cell from it; what the last layer gives for others is never shown.
//! Invariant: a token that is not active has no input, modulation or key that depends on noise. Guarded by the tests below,
//! `tests/tests/window.rs` and `tests/tests/packed.rs`.

use crate::model::config::Config;

/// Marks per token, ordered latent frame, row, column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Noise reaches it.
    pub active: Vec<bool>,
    /// Its output reaches what is shown.
    pub wanted: Vec<bool>,
    /// A row of cells, for each of the two: marks spread along it.
    spread: [Vec<bool>; 2],
}

impl Activity {
    /// Of latents of `rows` x `columns` cells, both even; `unknown` per cell.
    pub fn new(config: &Config, unknown: &[bool], rows: usize, columns: usize) -> Self {
        let mut activity = Self::default();
        activity.refill(config, unknown, rows, columns);
        activity
    }

    /// Becomes that of other cells; nothing is allocated if the sizes stay the same.
    pub fn refill(&mut self, config: &Config, unknown: &[bool], rows: usize, columns: usize) {
        let tokens = unknown.len() / 4;
        // Each residual block has two convolutions of 3x3.
        let reaches = [2 * config.stem_blocks, 2 * config.head_blocks];
        let Self { active, wanted, spread } = self;
        for ((marks, reach), spread) in [active, wanted].into_iter().zip(reaches).zip(spread) {
            marks.clear();
            marks.resize(tokens, false);
            spread.resize(columns / 2, false);
            for (latent, unknown) in unknown.chunks_exact(rows * columns).enumerate() {
                let marks = &mut marks[latent * rows * columns / 4..][..rows * columns / 4];
                for (row, cells) in unknown.chunks_exact(columns).enumerate() {
                    spread.fill(false);
                    for column in (0..columns).filter(|column| cells[*column]) {
                        spread[column.saturating_sub(reach) / 2..=(column + reach).min(columns - 1) / 2].fill(true);
                    }
                    if !spread.contains(&true) {
                        continue;
                    }
                    let touched = row.saturating_sub(reach) / 2..=(row + reach).min(rows - 1) / 2;
                    for marks in marks.chunks_exact_mut(columns / 2).skip(*touched.start()).take(touched.count()) {
                        marks.iter_mut().zip(&*spread).for_each(|(mark, spread)| *mark |= spread);
                    }
                }
            }
        }
        if config.covered_correction > 0.0 {
            wanted.fill(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_the_tokens_that_a_convolution_reaches() {
        let (rows, columns, latents) = (10, 14, 2);
        for (stem, head) in [(0, 1), (1, 2), (2, 0)] {
            let config = Config { stem_blocks: stem, head_blocks: head, ..Config::tiny() };
            for seed in 0..20 {
                let unknown: Vec<bool> = (0..latents * rows * columns).map(|i| (i * 7919 + seed * 104_729) % 97 < seed / 4).collect();
                let by_hand = |reach: usize| -> Vec<bool> {
                    let mut marks = vec![false; unknown.len() / 4];
                    for (cell, _) in unknown.iter().enumerate().filter(|(_, unknown)| **unknown) {
                        let (latent, row, column) = (cell / (rows * columns), cell / columns % rows, cell % columns);
                        for (y, x) in (0..rows * columns).map(|i| (i / columns, i % columns)) {
                            if y.abs_diff(row) <= reach && x.abs_diff(column) <= reach {
                                marks[(latent * rows / 2 + y / 2) * columns / 2 + x / 2] = true;
                            }
                        }
                    }
                    marks
                };
                let activity = Activity::new(&config, &unknown, rows, columns);
                assert_eq!((activity.active, activity.wanted), (by_hand(2 * stem), by_hand(2 * head)), "{stem} {head} {seed}");
            }
        }
        let config = Config { covered_correction: 0.5, ..Config::tiny() };
        let activity = Activity::new(&config, &[false; 64], 4, 4);
        assert!(activity.wanted.iter().all(|w| *w) && !activity.active.contains(&true));
    }
}
