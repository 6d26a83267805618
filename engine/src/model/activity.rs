//! Which tokens noise reaches, and which are looked at: what is known of a chunk is computed once, only the rest in every pass.
//!
//! A token is *active* if the stem mixes anything unknown into it. The others hold the guide alone, at noise level 0 in every pass, and
//! see only each other and the past: so their keys and values are those of the commit from the first pass on. Active tokens see all. A
//! token is *wanted* if the head reaches an unknown cell from it; what the last layer gives for others is never shown.
//! Invariant: a token that is not active has no input, modulation or key that depends on noise. Guarded by the tests below,
//! `tests/tests/window.rs` and `tests/tests/packed.rs`.

use crate::model::config::Config;

/// What a distance is at most: farther than any network reaches.
pub const FAR: u8 = u8::MAX;

/// Marks per token, ordered latent frame, row, column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Noise reaches it.
    pub active: Vec<bool>,
    /// Its output reaches what is shown.
    pub wanted: Vec<bool>,
    /// How far each cell is from an unknown one of its latent frame, by rows or by columns, whichever is more; at most [`FAR`].
    pub distance: Vec<u8>,
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
        let Self { active, wanted, distance } = self;
        distance.clear();
        distance.extend(unknown.iter().map(|unknown| if *unknown { 0 } else { FAR }));
        for frame in distance.chunks_exact_mut(rows * columns) {
            // From the one corner, then from the other.
            for _ in 0..2 {
                spread(frame, columns);
                frame.reverse();
            }
        }
        // Both sides are even, so token rows go on from latent to latent as rows of cells do.
        let nearest = |token: usize| {
            let corner = token / (columns / 2) * 2 * columns + token % (columns / 2) * 2;
            [0, 1, columns, columns + 1].into_iter().map(|cell| distance[corner + cell]).fold(FAR, u8::min)
        };
        // Each residual block has two convolutions of 3x3.
        for (marks, blocks) in [(active, config.stem_blocks), (&mut *wanted, config.head_blocks)] {
            marks.clear();
            marks.extend((0..unknown.len() / 4).map(|token| usize::from(nearest(token)) <= 2 * blocks));
        }
        if config.covered_correction > 0.0 {
            wanted.fill(true);
        }
    }
}

/// Distances by way of the neighbours before each cell (Rosenfeld & Pfaltz 1968).
fn spread(distance: &mut [u8], columns: usize) {
    for cell in 0..distance.len() {
        let (row, column) = (cell / columns, cell % columns);
        let left = column.min(1);
        let above = if row > 0 { cell - columns - left..cell - columns + (columns - column).min(2) } else { 0..0 };
        let near = above.chain([cell - left]).map(|neighbour| distance[neighbour].saturating_add(1));
        distance[cell] = near.fold(distance[cell], u8::min);
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
                for (cell, distance) in activity.distance.into_iter().enumerate() {
                    let (latent, row, column) = (cell / (rows * columns), cell / columns % rows, cell % columns);
                    let apart = |other: usize| row.abs_diff(other / columns % rows).max(column.abs_diff(other % columns));
                    let same = (0..unknown.len()).filter(|other| unknown[*other] && other / (rows * columns) == latent);
                    assert_eq!(usize::from(distance), same.map(apart).min().unwrap_or(FAR.into()), "{seed}, cell {cell}");
                }
            }
        }
        let config = Config { covered_correction: 0.5, ..Config::tiny() };
        let activity = Activity::new(&config, &[false; 64], 4, 4);
        assert!(activity.wanted.iter().all(|w| *w) && !activity.active.contains(&true));
    }
}
