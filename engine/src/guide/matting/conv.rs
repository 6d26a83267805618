//! 3x3 convolutions, dilated or not, of small pictures inside a zero border, and their gradients: nine products of matrices each, which
//! read the picture where it lies.
//!
//! Cells are counted with the border, row after row; what a run of cells needs of another row is a run, too, so no patch is ever
//! gathered. Invariant: agrees with candle's `conv2d`, value and gradients; a run's result depends on that run alone. Guarded by the
//! tests below.

use crate::kernels::gemm::{Threads, View, matmul};
use std::ops::Range;

/// Cells of border on each side: the largest dilation.
pub const BORDER: usize = 4;

/// `rows` x `columns` cells of `channels` numbers, in a border of [`BORDER`] cells that hold 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plane {
    /// Rows without the border.
    pub rows: usize,
    /// Columns without the border.
    pub columns: usize,
    /// Numbers of a cell.
    pub channels: usize,
    /// All cells, the border's too.
    pub data: Vec<f32>,
}

impl Plane {
    /// All zero.
    pub fn new(rows: usize, columns: usize, channels: usize) -> Self {
        let cells = (rows + 2 * BORDER) * (columns + 2 * BORDER);
        Self { rows, columns, channels, data: vec![0.0; cells * channels] }
    }

    /// Cells of a row, the border's too.
    pub fn stride(&self) -> usize {
        self.columns + 2 * BORDER
    }

    /// The number of the cell at `row` and `column`.
    pub fn cell(&self, row: usize, column: usize) -> usize {
        (row + BORDER) * self.stride() + column + BORDER
    }

    /// From the first cell to behind the last, with the borders between rows.
    pub fn cells(&self) -> Range<usize> {
        self.cell(0, 0)..self.cell(self.rows, 0) - 2 * BORDER
    }

    /// The numbers of a run of cells.
    pub fn at(&self, cells: Range<usize>) -> &[f32] {
        &self.data[cells.start * self.channels..cells.end * self.channels]
    }

    /// The numbers of a run of cells, to be written.
    pub fn at_mut(&mut self, cells: Range<usize>) -> &mut [f32] {
        &mut self.data[cells.start * self.channels..cells.end * self.channels]
    }

    /// Sets the border to 0 again, where runs went across it.
    pub fn clear_border(&mut self) {
        let mut end = 0;
        for row in 0..self.rows {
            let start = self.cell(row, 0);
            self.at_mut(end..start).fill(0.0);
            end = start + self.columns;
        }
        let all = self.data.len() / self.channels.max(1);
        self.at_mut(end..all).fill(0.0);
    }
}

/// A convolution's sizes; its weight is (to, 3, 3, from), its bias (to).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels that it reads.
    pub from: usize,
    /// Channels that it writes.
    pub to: usize,
    /// Cells between its taps, at most [`BORDER`].
    pub dilation: usize,
}

impl Conv {
    /// Numbers of the weight.
    pub fn weight_len(&self) -> usize {
        9 * self.from * self.to
    }

    /// For each tap where what it reads begins, if `start` is the cell that is written.
    fn taps(self, stride: usize, start: usize) -> impl Iterator<Item = (usize, usize)> {
        let reach = self.dilation * (stride + 1);
        (0..9).map(move |tap| (tap, start + self.dilation * (tap / 3 * stride + tap % 3) - reach))
    }

    /// `out` (cells, to) becomes what the convolution of `x` is in these cells.
    pub fn forward(&self, x: &Plane, cells: Range<usize>, weight: &[f32], bias: &[f32], out: &mut [f32]) {
        let Self { from, to, .. } = *self;
        out.chunks_exact_mut(to).for_each(|row| row.copy_from_slice(bias));
        for (tap, start) in self.taps(x.stride(), cells.start) {
            let (read, weight) = (View::rows(&x.data[start * from..], from), View::columns(&weight[tap * from..], 9 * from));
            matmul((cells.len(), from, to), out, to, true, read, weight, 1.0, Threads::One);
        }
    }

    /// Adds to `dx`, the gradient of `x` in all its cells, from `dy`, whose border is 0.
    pub fn backward(&self, dy: &Plane, weight: &[f32], dx: &mut Plane) {
        let Self { from, to, .. } = *self;
        let cells = dx.cells();
        // The same taps, turned: what a cell gave to is what its gradient comes from.
        for (tap, start) in self.taps(dy.stride(), cells.start) {
            let (read, weight) = (View::rows(&dy.data[start * to..], to), View::rows(&weight[(8 - tap) * from..], 9 * from));
            matmul((cells.len(), to, from), dx.at_mut(cells.clone()), from, true, read, weight, 1.0, Threads::One);
        }
        dx.clear_border();
    }

    /// Adds to the gradients of weight and bias, from `dy`, whose border is 0.
    pub fn weight_gradient(&self, x: &Plane, dy: &Plane, dweight: &mut [f32], dbias: &mut [f32]) {
        let Self { from, to, .. } = *self;
        let cells = dy.cells();
        let given = dy.at(cells.clone());
        for (tap, start) in self.taps(x.stride(), cells.start) {
            let (dy, x) = (View::columns(given, to), View::rows(&x.data[start * from..], from));
            matmul((to, cells.len(), from), &mut dweight[tap * from..], 9 * from, true, dy, x, 1.0, Threads::One);
        }
        given.chunks_exact(to).for_each(|row| dbias.iter_mut().zip(row).for_each(|(sum, v)| *sum += v));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::parameters::normal;
    use candle_core::{Device, Tensor, Var};
    use rand::SeedableRng;

    #[test]
    fn value_and_gradients_are_candles() {
        let (rows, columns) = (7, 6);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let mut random = |len: usize| {
            let mut values = vec![0.0; len];
            normal(&mut rng, &mut values);
            values
        };
        for conv in [Conv { from: 5, to: 3, dilation: 1 }, Conv { from: 4, to: 6, dilation: 2 }, Conv { from: 3, to: 3, dilation: 4 }] {
            let (weight, bias, input) = (random(conv.weight_len()), random(conv.to), random(rows * columns * conv.from));
            let given = random(rows * columns * conv.to);
            let plane = |values: &[f32], channels: usize| {
                let mut plane = Plane::new(rows, columns, channels);
                for (row, values) in values.chunks_exact(columns * channels).enumerate() {
                    let start = plane.cell(row, 0);
                    plane.at_mut(start..start + columns).copy_from_slice(values);
                }
                plane
            };
            let inner = |plane: &Plane| -> Vec<f32> {
                (0..rows).flat_map(|row| plane.at(plane.cell(row, 0)..plane.cell(row, columns)).to_vec()).collect()
            };
            let (x, dy) = (plane(&input, conv.from), plane(&given, conv.to));
            let mut y = Plane::new(rows, columns, conv.to);
            let cells = y.cells();
            conv.forward(&x, cells.clone(), &weight, &bias, y.at_mut(cells.clone()));
            y.clear_border();
            // A run alone is the same.
            let run = y.cell(3, 1)..y.cell(3, 5);
            let mut alone = vec![0.0; 4 * conv.to];
            conv.forward(&x, run.clone(), &weight, &bias, &mut alone);
            assert!(alone.iter().zip(y.at(run)).all(|(a, b)| (a - b).abs() < 1e-5));
            let (mut dx, mut dweight, mut dbias) = (Plane::new(rows, columns, conv.from), vec![0.0; weight.len()], vec![0.0; conv.to]);
            conv.backward(&dy, &weight, &mut dx);
            conv.weight_gradient(&x, &dy, &mut dweight, &mut dbias);

            let device = Device::Cpu;
            let var = |values: &[f32], shape: &[usize]| Var::from_tensor(&Tensor::from_slice(values, shape, &device).unwrap()).unwrap();
            let (tx, tw) = (var(&input, &[1, rows, columns, conv.from]), var(&weight, &[conv.to, 3, 3, conv.from]));
            let tb = var(&bias, &[conv.to]);
            let flipped = |t: &Tensor| t.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
            let ty = flipped(&tx).conv2d(&flipped(&tw), conv.dilation, 1, conv.dilation, 1).unwrap();
            let ty = ty.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap().broadcast_add(&tb).unwrap();
            let tg = Tensor::from_slice(&given, &[1, rows, columns, conv.to], &device).unwrap();
            let gradients = (&ty * tg).unwrap().sum_all().unwrap().backward().unwrap();
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let mut near = vec![("value", inner(&y), flat(&ty)), ("bias", dbias, flat(gradients.get(&tb).unwrap()))];
            near.push(("input", inner(&dx), flat(gradients.get(&tx).unwrap())));
            near.push(("weight", dweight, flat(gradients.get(&tw).unwrap())));
            for (what, ours, theirs) in near {
                let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(ours.len() == theirs.len() && worst < 1e-4, "{what} at dilation {}: {worst}", conv.dilation);
            }
        }
    }
}
