//! Which noise level a token has: its chunk's where noise reaches it, else 0.
//!
//! Invariant: what a token is given follows [`Activity`](crate::model::activity::Activity). Guarded by `tests.rs`.

use super::geometry::Geometry;
use std::ops::Range;

/// Noise levels of tokens, as rows of a table: one per group, then that of level 0.
#[derive(Clone, Copy)]
pub(super) struct Levels<'a> {
    pub geometry: Geometry,
    /// Per token.
    pub active: &'a [bool],
}

impl Levels<'_> {
    /// Rows of the table.
    pub fn rows(self) -> usize {
        self.geometry.groups() + 1
    }

    /// Runs of the tokens of `tokens`, all of one group, that share a level: as ranges of their numbers in rows of `width`, counted from
    /// the first token's, and the level's row.
    pub fn runs(self, tokens: Range<usize>, width: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let (group, groups) = (tokens.start / self.geometry.group_tokens(), self.geometry.groups());
        self.active[tokens].chunk_by(|a, b| a == b).scan(0, move |end, run| {
            let start = std::mem::replace(end, *end + run.len() * width);
            Some((start..*end, if run[0] { group } else { groups }))
        })
    }

    /// 0 for the row of a group, 1 for that of level 0.
    pub fn kind(self, row: usize) -> usize {
        usize::from(row == self.geometry.groups())
    }
}
