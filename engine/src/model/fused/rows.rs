//! The order in which the tokens of a chunk are computed, and where their keys stand.
//!
//! A chunk's rows are two runs: the tokens that are not active come first and are computed once, the active ones follow and are computed
//! in every pass. Wanted tokens stand where the runs meet, so that they too are one run of each. Keys of the runs are packed apart, each
//! run padded to whole panels.
//! Invariant: every token has one row, and every panel of keys belongs to one run. Guarded by the tests below.

use crate::kernels::isa::ROWS;
use crate::model::activity::Activity;
use rayon::prelude::*;
use std::ops::Range;

/// Most rows of a task: half of what the kernels take at once, so that few rows are still shared out evenly.
pub const TILE: usize = ROWS / 2;

/// The rows of one chunk.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Token of each row.
    tokens: Vec<usize>,
    /// Row of each token.
    places: Vec<usize>,
    /// Rows that are not active.
    known: usize,
    wanted: Range<usize>,
    /// Keys of a panel.
    panel: usize,
}

impl Rows {
    /// Room for this many tokens, none of them active or wanted.
    pub fn new(tokens: usize, panel: usize) -> Self {
        let order: Vec<_> = (0..tokens).collect();
        Self { tokens: order.clone(), places: order, known: tokens, wanted: tokens..tokens, panel }
    }

    /// Those of another chunk; nothing is allocated.
    pub fn refill(&mut self, activity: &Activity) {
        let marks = || activity.active.iter().copied().zip(activity.wanted.iter().copied()).enumerate();
        self.tokens.clear();
        let ends = [(false, false), (false, true), (true, true), (true, false)].map(|class| {
            self.tokens.extend(marks().filter(|(_, marks)| *marks == class).map(|(token, _)| token));
            self.tokens.len()
        });
        (self.known, self.wanted) = (ends[1], ends[0]..ends[2]);
        for (row, token) in self.tokens.iter().enumerate() {
            self.places[*token] = row;
        }
    }

    pub fn token(&self, row: usize) -> usize {
        self.tokens[row]
    }

    /// The row of a token.
    pub fn place(&self, token: usize) -> usize {
        self.places[token]
    }

    /// What a pass computes: all rows, or, once that was done, the active ones.
    pub fn runs(&self, first: bool) -> Runs {
        Runs([if first { 0 } else { self.known }..self.known, self.known..self.tokens.len()])
    }

    /// Of `runs` the wanted ones.
    pub fn wanted(&self, runs: &Runs) -> Runs {
        Runs(runs.0.clone().map(|run| {
            let start = run.start.max(self.wanted.start).min(run.end);
            start..run.end.min(self.wanted.end).max(start)
        }))
    }

    /// Panels of keys that hold `runs`; rows before a run's own end stand in them whether they belong to `runs` or not.
    pub fn panels(&self, runs: &Runs) -> Range<usize> {
        let first = if runs.0[0].is_empty() { self.known.div_ceil(self.panel) } else { 0 };
        first..self.visible(true) / self.panel
    }

    /// The rows whose keys a panel holds.
    pub fn of_panel(&self, panel: usize) -> Range<usize> {
        let edge = self.known.div_ceil(self.panel);
        let (start, end) =
            if panel < edge { (panel * self.panel, self.known) } else { (self.known + (panel - edge) * self.panel, self.tokens.len()) };
        start..(start + self.panel).min(end)
    }

    /// Positions of keys that a row may look at, padding included: an active one at both runs, any other at the first.
    pub fn visible(&self, active: bool) -> usize {
        let known = self.known.next_multiple_of(self.panel);
        if active { known + (self.tokens.len() - self.known).next_multiple_of(self.panel) } else { known }
    }

    /// Most positions that keys of so many tokens can take.
    pub fn positions(tokens: usize, panel: usize) -> usize {
        tokens.next_multiple_of(panel) + panel
    }

    /// Positions among `range` that hold no key.
    pub fn padding(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        let known = self.known.next_multiple_of(self.panel);
        let end = known + self.tokens.len() - self.known;
        let overlap = |from: usize, to: usize| from.max(range.start)..to.min(range.end);
        overlap(self.known, known).chain(overlap(end, end.next_multiple_of(self.panel)))
    }
}

/// Rows of the two runs, first of those that are not active, then of those that are.
#[derive(Clone, Debug)]
pub struct Runs([Range<usize>; 2]);

/// Rows that one task takes: at most [`TILE`] of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    pub active: bool,
    pub first: usize,
    pub count: usize,
}

impl Runs {
    /// The rows in pieces for tasks.
    pub fn tiles(&self) -> impl IndexedParallelIterator<Item = Tile> + use<> {
        let tiles = |run: Range<usize>, active| {
            (0..run.len().div_ceil(TILE)).into_par_iter().map(move |tile| {
                let first = run.start + tile * TILE;
                Tile { active, first, count: TILE.min(run.end - first) }
            })
        };
        let [known, active] = self.0.clone();
        tiles(known, false).chain(tiles(active, true))
    }

    /// The rows of a buffer, `width` numbers each, in the same pieces.
    pub fn cut<'a, T: Send>(&self, rows: &'a mut [T], width: usize) -> impl IndexedParallelIterator<Item = &'a mut [T]> + use<'a, T> {
        let [known, active] = &self.0;
        let (before, behind) = rows.split_at_mut(active.start * width);
        let known = &mut before[known.start * width..known.end * width];
        known.par_chunks_mut(TILE * width).chain(behind[..active.len() * width].par_chunks_mut(TILE * width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_has_one_row_and_every_panel_one_run() {
        for (tokens, seed) in [(1, 0), (200, 0), (200, 1), (200, 2), (200, 3), (200, 97)] {
            let mark = |token: usize, of: usize| (token * 7919 + of) % 97 < seed;
            let marks = |of: usize| (0..tokens).map(|token| mark(token, of)).collect::<Vec<_>>();
            let activity = Activity { active: marks(0), wanted: marks(40), ..Activity::default() };
            let panel = 16;
            let mut rows = Rows::new(tokens, panel);
            rows.refill(&activity);
            assert!((0..tokens).all(|token| rows.token(rows.place(token)) == token));
            let all = rows.runs(true);
            let rows_of = |runs: &Runs| -> Vec<(bool, usize)> {
                let tiles: Vec<Tile> = runs.tiles().collect();
                let mut buffer: Vec<usize> = (0..2 * tokens).map(|i| i / 2).collect();
                let cut: Vec<Vec<usize>> = runs.cut(&mut buffer, 2).map(|rows| rows.iter().copied().step_by(2).collect()).collect();
                for (tile, rows) in tiles.iter().zip(&cut) {
                    assert_eq!(*rows, (tile.first..tile.first + tile.count).collect::<Vec<_>>());
                }
                assert_eq!(tiles.len(), cut.len());
                tiles.iter().flat_map(|tile| (tile.first..tile.first + tile.count).map(|row| (tile.active, row))).collect()
            };
            assert!(rows_of(&all).into_iter().enumerate().all(|(i, (active, row))| i == row && active == mark(rows.token(row), 0)));
            for first in [true, false] {
                let runs = rows.runs(first);
                let computed = |token: usize| first || mark(token, 0);
                assert_eq!(rows_of(&runs).len(), (0..tokens).filter(|token| computed(*token)).count());
                let wanted = rows_of(&rows.wanted(&runs));
                assert!(wanted.iter().all(|(_, row)| mark(rows.token(*row), 40)));
                assert_eq!(wanted.len(), (0..tokens).filter(|token| computed(*token) && mark(*token, 40)).count());
                let mut held: Vec<usize> = rows.panels(&runs).flat_map(|panel| rows.of_panel(panel)).collect();
                held.dedup();
                assert_eq!(held, rows_of(&runs).into_iter().map(|(_, row)| row).collect::<Vec<_>>());
            }
            let end = rows.visible(true);
            assert!(end % panel == 0 && end <= Rows::positions(tokens, panel) && rows.visible(false) % panel == 0);
            let padding: Vec<usize> = rows.padding(0..end).collect();
            assert_eq!(end - padding.len(), tokens);
            for position in 0..end {
                let held = rows.of_panel(position / panel);
                assert_eq!(padding.contains(&position), position % panel >= held.len());
                assert!(held.into_iter().all(|row| mark(rows.token(row), 0) == (position >= rows.visible(false))));
            }
            assert!((0..end).step_by(32).flat_map(|start| rows.padding(start..start + 32)).eq(padding));
        }
    }
}
