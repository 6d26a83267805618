//! Latent frames of cells with a border of one zero cell, so that a convolution reads its neighbours without asking where the edge is.
//!
//! Invariant: the border stays zero. Guarded by `tests/tests/packed.rs`.

use crate::kernels::isa::ROWS;
use crate::model::activity::FAR;
use rayon::prelude::*;
use std::ops::Range;

/// Rows and columns of a latent frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub latents: usize,
    pub rows: usize,
    pub columns: usize,
}

impl Size {
    pub fn cells(self) -> usize {
        self.latents * self.rows * self.columns
    }

    /// Tokens of 2x2 cells.
    pub fn tokens(self) -> usize {
        self.cells() / 4
    }

    /// Bordered rows of all latents.
    fn all_rows(self) -> usize {
        self.latents * (self.rows + 2)
    }

    /// Latent and row of a bordered row, none for a border.
    fn inner(self, row: usize) -> Option<(usize, usize)> {
        let (latent, row) = (row / (self.rows + 2), row % (self.rows + 2));
        (1..=self.rows).contains(&row).then(|| (latent, row - 1))
    }
}

/// The cells that a step computes: those within a distance of an unknown one.
#[derive(Clone, Copy)]
pub struct Area<'a> {
    size: Size,
    /// Of every cell.
    distance: &'a [u8],
    within: u8,
}

impl<'a> Area<'a> {
    /// All cells.
    pub fn all(size: Size, distance: &'a [u8]) -> Self {
        Self { size, distance, within: FAR }
    }

    /// Those at most `within` cells from an unknown one.
    pub fn near(self, within: usize) -> Self {
        Self { within: within.min(FAR.into()) as u8, ..self }
    }

    /// Its columns in a row of cells, in pieces of at most [`ROWS`].
    pub fn pieces(self, latent: usize, row: usize) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let columns = self.size.columns;
        let distance = &self.distance[(latent * self.size.rows + row) * columns..][..columns];
        let mut next = 0;
        let runs = distance.chunk_by(move |a, b| (*a <= self.within) == (*b <= self.within)).map(move |run| {
            next += run.len();
            (run[0] <= self.within, next - run.len()..next)
        });
        let pieces = |run: Range<usize>| run.clone().step_by(ROWS).map(move |start| start..(start + ROWS).min(run.end));
        runs.filter(|(inside, _)| *inside).flat_map(move |(_, run)| pieces(run))
    }

    /// Whether a cell is unknown.
    pub fn unknown(self, latent: usize, row: usize, column: usize) -> bool {
        self.distance[(latent * self.size.rows + row) * self.size.columns + column] == 0
    }
}

/// (latents, rows + 2, columns + 2, channels), and behind it as many cells as a tile may read too many.
pub struct Plane<T> {
    pub size: Size,
    pub channels: usize,
    data: Vec<T>,
}

impl<T: Copy + Default + Send + Sync> Plane<T> {
    pub fn new(size: Size, channels: usize) -> Self {
        let len = (size.all_rows() * (size.columns + 2) + ROWS) * channels;
        Self { size, channels, data: vec![T::default(); len] }
    }

    /// Numbers of a bordered row.
    pub fn stride(&self) -> usize {
        (self.size.columns + 2) * self.channels
    }

    /// From cell (row, column) of a latent on; row and column -1 are the border, given here as 0: what a convolution at (row, column)
    /// reads first.
    pub fn corner(&self, latent: usize, row: usize, column: usize) -> &[T] {
        &self.data[(latent * (self.size.rows + 2) + row) * self.stride() + column * self.channels..]
    }

    /// A row of cells without its border.
    pub fn row(&self, latent: usize, row: usize) -> &[T] {
        &self.corner(latent, row + 1, 1)[..self.size.columns * self.channels]
    }

    /// Bordered rows.
    fn rows_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [T]> {
        let stride = self.stride();
        let all = self.size.all_rows() * stride;
        self.data[..all].par_chunks_mut(stride)
    }

    /// Calls `f(latent, row, cells)` for every row of cells.
    pub fn each_row(&mut self, f: impl Fn(usize, usize, &mut [T]) + Sync) {
        let (size, edge) = (self.size, self.channels);
        self.rows_mut().enumerate().with_max_len(2).for_each(|(row, cells)| {
            if let Some((latent, row)) = size.inner(row) {
                let end = cells.len() - edge;
                f(latent, row, &mut cells[edge..end]);
            }
        });
    }
}

/// Calls `f(latent, row, cells, other's cells)` for every row of cells of two planes of one size.
pub fn each_row<A, B>(a: &mut Plane<A>, b: &mut Plane<B>, f: impl Fn(usize, usize, &mut [A], &mut [B]) + Sync)
where
    A: Copy + Default + Send + Sync,
    B: Copy + Default + Send + Sync,
{
    let size = a.size;
    let (edge_a, edge_b) = (a.channels, b.channels);
    a.rows_mut().zip(b.rows_mut()).enumerate().with_max_len(2).for_each(|(row, (a, b))| {
        if let Some((latent, row)) = size.inner(row) {
            let (end_a, end_b) = (a.len() - edge_a, b.len() - edge_b);
            f(latent, row, &mut a[edge_a..end_a], &mut b[edge_b..end_b]);
        }
    });
}
