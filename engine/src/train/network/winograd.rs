//! 3x3 convolutions of bordered pictures by Winograd's F(2x2, 3x3) (Lavin & Gray, arXiv 1509.09308): 16 products for each 2x2 tile and
//! pair of channels where the sum has 36; and the gradient of the weights, the adjoint of the same.
//!
//! With B, G, A of the paper: `y = A^T ((G w G^T) * (B^T x B)) A` over tiles of 4x4 inputs that overlap by two. Places in a transformed
//! tile are taken a row of four at a time, so that what is in work stays in the second-level cache. Invariant: what a picture gives
//! depends on that picture alone, and weights sum over pictures in their order. Guarded by the tests below and `tests.rs`.

use super::geometry::fit;
use super::lanes::map;
use super::ops::transpose;
use super::product::{Held, Matrix, Target, nn, tn};
use crate::kernels::vector::dispatch;
use std::cell::RefCell;
use std::ops::Range;

/// Rows, and columns, of a transformed tile.
pub(super) const ROWS: usize = 4;

/// A picture of `rows` x `columns` cells, both even, inside a border one cell wide; `c` channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bordered {
    pub rows: usize,
    pub columns: usize,
    pub c: usize,
}

thread_local! {
    /// A row of places of all tiles, transformed and multiplied: grows once and stays.
    static TILES: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

impl Bordered {
    /// Where the cells of a row are.
    pub fn row(self, row: usize) -> Range<usize> {
        let start = self.cell(row + 1, 1);
        start..start + self.columns * self.c
    }

    pub fn clear_border(self, picture: &mut [f32]) {
        let mut end = 0;
        for row in 0..self.rows {
            let cells = self.row(row);
            picture[end..cells.start].fill(0.0);
            end = cells.end;
        }
        picture[end..].fill(0.0);
    }

    /// Where a cell is, counted with the border.
    fn cell(self, row: usize, column: usize) -> usize {
        (row * (self.columns + 2) + column) * self.c
    }

    fn tiles(self) -> usize {
        self.rows * self.columns / 4
    }

    /// The first cell, counted with the border, of the 4x4 that tile `tile` reads; the 2x2 that it writes begin one further on.
    fn corner(self, tile: usize) -> (usize, usize) {
        (2 * (tile / (self.columns / 2)), 2 * (tile % (self.columns / 2)))
    }

    /// A row of places of every tile, (4 places, tiles, channels), by `f` from these cells, (row, column), of what the tile covers.
    #[inline(always)]
    fn gather<const M: usize>(self, x: &[f32], cells: [(usize, usize); M], to: &mut [f32], f: impl Fn([f32; M]) -> [f32; ROWS]) {
        let [a, b, c, d] = quarters(to).map(|place| place.chunks_exact_mut(self.c));
        dispatch(
            #[inline(always)]
            || {
                for (tile, (((a, b), c), d)) in a.zip(b).zip(c).zip(d).enumerate() {
                    let (row, column) = self.corner(tile);
                    let from = std::array::from_fn(|i| &x[self.cell(row + cells[i].0, column + cells[i].1)..][..self.c]);
                    map(from, [a, b, c, d], |cells, _| f(cells));
                }
            },
        );
    }

    /// Row `i` of `B^T x B` of every tile, as [`Bordered::gather`].
    fn read(self, x: &[f32], i: usize, to: &mut [f32]) {
        // Each row of B^T takes two rows of the tile.
        let (first, second, sign) = [(0, 2, -1.0), (1, 2, 1.0), (2, 1, -1.0), (1, 3, -1.0)][i];
        let cells = std::array::from_fn(|k| (if k < ROWS { first } else { second }, k % ROWS));
        self.gather(x, cells, to, |[p, q, r, s, t, u, v, w]| {
            let [p, q, r, s] = [p + sign * t, q + sign * u, r + sign * v, s + sign * w];
            [p - r, q + r, r - q, q - s]
        });
    }

    /// Row `i` of `A y A^T` of every tile, as [`Bordered::gather`].
    fn read_gradient(self, dy: &[f32], i: usize, to: &mut [f32]) {
        let (upper, lower) = SHARES[i];
        self.gather(dy, [(1, 1), (1, 2), (2, 1), (2, 2)], to, |[p, q, r, s]| {
            let [p, q] = [upper * p + lower * r, upper * q + lower * s];
            [p, p + q, p - q, -q]
        });
    }

    /// Adds what row `i` of the products, (4 places, tiles, channels), gives of `A^T m A`.
    fn write(self, m: &[f32], i: usize, y: &mut [f32]) {
        let (upper, lower) = SHARES[i];
        let (len, c) = (m.len() / ROWS, self.c);
        dispatch(
            #[inline(always)]
            || {
                for tile in 0..self.tiles() {
                    let (row, column) = self.corner(tile);
                    let at = |k: usize| &m[k * len + tile * c..][..c];
                    let (above, below) = y.split_at_mut(self.cell(row + 2, 0));
                    let (p, q) = above[self.cell(row + 1, column + 1)..][..2 * c].split_at_mut(c);
                    let (r, s) = below[self.cell(0, column + 1)..][..2 * c].split_at_mut(c);
                    map([at(0), at(1), at(2), at(3)], [p, q, r, s], |[a, b, c, d], [p, q, r, s]| {
                        let (left, right) = (a + b + c, b - c - d);
                        [p + upper * left, q + upper * right, r + lower * left, s + lower * right]
                    });
                }
            },
        );
    }

    /// `y` = the convolution of `x`, whose border is zero; `weight` transformed, (16 places, inputs, outputs). The border of `y` becomes zero.
    pub fn convolve(self, x: &[f32], weight: &[f32], y: &mut [f32]) {
        let (tiles, c) = (self.tiles(), self.c);
        y.fill(0.0);
        TILES.with_borrow_mut(|[read, made]| {
            fit(read, ROWS * tiles * c);
            fit(made, ROWS * tiles * c);
            for (i, weight) in weight.chunks_exact(ROWS * c * c).enumerate() {
                self.read(x, i, read);
                let places = read.chunks_exact(tiles * c).zip(weight.chunks_exact(c * c)).zip(made.chunks_exact_mut(tiles * c));
                for ((read, weight), made) in places {
                    nn((tiles, c, c), Target(made, c), Held::Replaced, Matrix(read, c), Matrix(weight, c), 1.0);
                }
                self.write(made, i, y);
            }
        });
    }

    /// Row `i` of the transformed weight's gradient, (4 places, outputs, inputs), over pictures of inputs and of gradients of outputs, both
    /// with borders of zero.
    pub fn weight_gradient<'a>(self, pictures: impl Iterator<Item = (&'a [f32], &'a [f32])>, i: usize, to: &mut [f32]) {
        let (tiles, c) = (self.tiles(), self.c);
        to.fill(0.0);
        TILES.with_borrow_mut(|[read, given]| {
            fit(read, ROWS * tiles * c);
            fit(given, ROWS * tiles * c);
            for (x, dy) in pictures {
                self.read(x, i, read);
                self.read_gradient(dy, i, given);
                let places = read.chunks_exact(tiles * c).zip(given.chunks_exact(tiles * c)).zip(to.chunks_exact_mut(c * c));
                for ((x, dy), to) in places {
                    tn((c, tiles, c), Target(to, c), Held::Kept, Matrix(dy, c), Matrix(x, c), 1.0);
                }
            }
        });
    }
}

/// What the upper and the lower row of a tile's output take of row `i` of the products: the rows of A.
const SHARES: [(f32, f32); ROWS] = [(1.0, 0.0), (1.0, 1.0), (1.0, -1.0), (0.0, -1.0)];

/// The four places of a row.
fn quarters(values: &mut [f32]) -> [&mut [f32]; ROWS] {
    let (ab, cd) = values.split_at_mut(values.len() / 2);
    let ((a, b), (c, d)) = (ab.split_at_mut(ab.len() / 2), cd.split_at_mut(cd.len() / 2));
    [a, b, c, d]
}

/// Rows of G, and of its transpose.
const G: [[f32; 3]; ROWS] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
const G_TURNED: [[f32; ROWS]; 3] = [[1.0, 0.5, 0.5, 0.0], [0.0, 0.5, -0.5, 0.0], [0.0, 0.5, 0.5, 1.0]];

/// `G w G^T` of a weight (outputs, 3, 3, inputs): (16 places, outputs, inputs). With its taps `turned` by 180 degrees it is what
/// [`Bordered::convolve`] wants in order to bring gradients of outputs back to inputs.
pub(super) fn transformed(weight: &[f32], c: usize, turned: bool, to: &mut [f32]) {
    for (g, to) in G.into_iter().zip(to.chunks_exact_mut(ROWS * c * c)) {
        let [p, q, r, s] = quarters(to).map(|place| place.chunks_exact_mut(c));
        dispatch(
            #[inline(always)]
            || {
                for ((((p, q), r), s), weight) in p.zip(q).zip(r).zip(s).zip(weight.chunks_exact(9 * c)) {
                    let taps: [&[f32]; 9] = std::array::from_fn(|tap| &weight[if turned { 8 - tap } else { tap } * c..][..c]);
                    // Written out: sums over arrays are not inlined here, and then not vectorised.
                    map(taps, [p, q, r, s], |w, _| {
                        let row = |j: usize| g[0] * w[j] + g[1] * w[3 + j] + g[2] * w[6 + j];
                        let (a, b, c) = (row(0), row(1), row(2));
                        [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c]
                    });
                }
            },
        );
    }
}

/// The same for the forward convolution: (16 places, inputs, outputs); `rows` is what [`transformed`] made.
pub(super) fn inputs_first(rows: &[f32], c: usize, to: &mut [f32]) {
    dispatch(|| rows.chunks_exact(c * c).zip(to.chunks_exact_mut(c * c)).for_each(|(rows, to)| transpose(rows, c, to)));
}

/// The gradient of a weight (outputs, 3, 3, inputs) from that of its transform (16 places, outputs, inputs): `G^T u G`.
pub(super) fn weight_of_transformed(gradient: &[f32], c: usize, to: &mut [f32]) {
    dispatch(
        #[inline(always)]
        || {
            for (output, to) in to.chunks_exact_mut(9 * c).enumerate() {
                let places: [&[f32]; ROWS * ROWS] = std::array::from_fn(|place| &gradient[(place * c + output) * c..][..c]);
                for (g, to) in G_TURNED.into_iter().zip(to.chunks_exact_mut(3 * c)) {
                    let (left, rest) = to.split_at_mut(c);
                    let (middle, right) = rest.split_at_mut(c);
                    map(places, [left, middle, right], |u, _| {
                        let row = |j: usize| g[0] * u[j] + g[1] * u[4 + j] + g[2] * u[8 + j] + g[3] * u[12 + j];
                        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                        [a + 0.5 * (b + c), 0.5 * (b - c), 0.5 * (b + c) + d]
                    });
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parameters::normal;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// The sum as it is written, into cells inside the border.
    fn plain(b: Bordered, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let c = b.c;
        let mut y = vec![0.0; x.len()];
        for (row, column, output) in (0..b.rows).flat_map(|r| (0..b.columns).flat_map(move |k| (0..c).map(move |o| (r, k, o)))) {
            let tap = |tap: usize| (&x[b.cell(row + tap / 3, column + tap % 3)..][..c], &weight[(output * 9 + tap) * c..][..c]);
            let sum: f64 = (0..9).flat_map(|t| tap(t).0.iter().zip(tap(t).1)).map(|(x, w)| f64::from(x * w)).sum();
            y[b.cell(row + 1, column + 1) + output] = sum as f32;
        }
        y
    }

    fn inner(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn it_is_the_convolution_and_its_gradients_are_its_adjoints() {
        for (rows, columns, c) in [(2, 2, 3), (6, 4, 17), (8, 10, 32)] {
            let b = Bordered { rows, columns, c };
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let mut random = |len| {
                let mut values = vec![0.0; len];
                normal(&mut rng, &mut values);
                values
            };
            let len = (rows + 2) * (columns + 2) * c;
            let (mut x, weight, mut dy) = (random(len), random(9 * c * c), random(len));
            b.clear_border(&mut x);
            b.clear_border(&mut dy);
            let (mut transform, mut y) = (vec![0.0; 16 * c * c], vec![f32::NAN; len]);
            let mut rows = transform.clone();
            transformed(&weight, c, false, &mut rows);
            inputs_first(&rows, c, &mut transform);
            b.convolve(&x, &transform, &mut y);
            let truth = plain(b, &x, &weight);
            assert!(y.iter().zip(&truth).all(|(a, b)| (a - b).abs() < 1e-4), "{b:?}");
            // <dy, conv x> is linear in x and in w: its gradients by both give the same number back.
            let value = inner(&dy, &truth);
            let mut dx = vec![f32::NAN; len];
            transformed(&weight, c, true, &mut transform);
            b.convolve(&dy, &transform, &mut dx);
            assert!((inner(&dx, &x) - value).abs() < 1e-4 * value.abs().max(1.0), "{value} {}", inner(&dx, &x));
            let mut dweight = vec![f32::NAN; 9 * c * c];
            for (i, rows) in transform.chunks_exact_mut(ROWS * c * c).enumerate() {
                b.weight_gradient([(&*x, &*dy)].into_iter(), i, rows);
            }
            weight_of_transformed(&transform, c, &mut dweight);
            assert!((inner(&dweight, &weight) - value).abs() < 1e-4 * value.abs().max(1.0), "{value} {}", inner(&dweight, &weight));
            // And each number of the weight's gradient, by the sum as it is written.
            for tap in 0..9 {
                let mut only = vec![0.0; 9 * c * c];
                only[(c / 2 * 9 + tap) * c + c / 3] = 1.0;
                let expected = inner(&dy, &plain(b, &x, &only));
                let found = f64::from(dweight[(c / 2 * 9 + tap) * c + c / 3]);
                assert!((found - expected).abs() < 1e-3, "{b:?} {tap}: {found} {expected}");
            }
        }
    }
}
