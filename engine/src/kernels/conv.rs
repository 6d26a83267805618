//! 3x3 convolution, channels last: bands of rows are unfolded into a small matrix that stays in the cache, then one matrix product.

use super::gemm::{Threads, View, matmul};
use super::linear::column_sums;
use super::storage::{slice, tensor, with};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Rows of the picture per task.
const BAND: usize = 8;
/// Partial weight gradients: a fixed number, so that the order of summation does not depend on the number of threads.
const PARTS: usize = 8;

pub struct Conv3x3;

/// The size of a batch of channels-last pictures.
#[derive(Clone, Copy)]
struct Size {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
}

impl Size {
    fn bands(self) -> usize {
        self.h.div_ceil(BAND)
    }

    /// Unfolds rows `y0..y1` of picture `i` into (rows * w, 9 c), zero outside the picture.
    fn unfold(self, x: &[f32], i: usize, y0: usize, y1: usize, columns: &mut Vec<f32>) {
        let Self { h, w, c, .. } = self;
        columns.clear();
        columns.resize((y1 - y0) * w * 9 * c, 0.0);
        let picture = &x[i * h * w * c..][..h * w * c];
        for y in y0..y1 {
            for ky in 0..3 {
                let Some(source) = (y + ky).checked_sub(1).filter(|s| *s < h) else { continue };
                let row = &picture[source * w * c..][..w * c];
                for px in 0..w {
                    // The three taps of a row are neighbours in memory, except where they would leave the picture.
                    let (first, last) = (px.saturating_sub(1), (px + 2).min(w));
                    let skip = first + 1 - px;
                    let to = (((y - y0) * w + px) * 9 + ky * 3 + skip) * c;
                    columns[to..to + (last - first) * c].copy_from_slice(&row[first * c..last * c]);
                }
            }
        }
    }

    /// `weight` (o, 9 c); the result is (n, h, w, o).
    fn convolve(self, x: &[f32], weight: &[f32], bias: Option<&[f32]>, o: usize) -> Vec<f32> {
        let Self { n, h, w, c } = self;
        let mut y = vec![0f32; n * h * w * o];
        let mut tasks = Vec::with_capacity(n * self.bands());
        let mut rest = y.as_mut_slice();
        for i in 0..n {
            for band in 0..self.bands() {
                let (y0, y1) = (band * BAND, ((band + 1) * BAND).min(h));
                let (part, tail) = rest.split_at_mut((y1 - y0) * w * o);
                rest = tail;
                tasks.push((i, y0, y1, part));
            }
        }
        tasks.into_par_iter().for_each_init(Vec::new, |columns, (i, y0, y1, out)| {
            self.unfold(x, i, y0, y1, columns);
            if let Some(bias) = bias {
                out.chunks_exact_mut(o).for_each(|cell| cell.copy_from_slice(bias));
            }
            let size = ((y1 - y0) * w, 9 * c, o);
            matmul(size, out, o, bias.is_some(), View::rows(columns, 9 * c), View::columns(weight, 9 * c), 1.0, Threads::One);
        });
        y
    }

    /// Gradient of the weight, (o, 9 c).
    fn weight_gradient(self, x: &[f32], dy: &[f32], o: usize) -> Vec<f32> {
        let Self { n, h, w, c } = self;
        let total = n * self.bands();
        let partial: Vec<Vec<f32>> = (0..PARTS)
            .into_par_iter()
            .map(|part| {
                let mut dw = vec![0f32; o * 9 * c];
                let mut columns = Vec::new();
                for task in total * part / PARTS..total * (part + 1) / PARTS {
                    let (i, band) = (task / self.bands(), task % self.bands());
                    let (y0, y1) = (band * BAND, ((band + 1) * BAND).min(h));
                    self.unfold(x, i, y0, y1, &mut columns);
                    let dy = &dy[(i * h + y0) * w * o..][..(y1 - y0) * w * o];
                    let size = (o, (y1 - y0) * w, 9 * c);
                    matmul(size, &mut dw, 9 * c, true, View::columns(dy, o), View::rows(&columns, 9 * c), 1.0, Threads::One);
                }
                dw
            })
            .collect();
        let mut sum = vec![0f32; o * 9 * c];
        for part in &partial {
            sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        sum
    }
}

impl CustomOp3 for Conv3x3 {
    fn name(&self) -> &'static str {
        "conv3x3"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, h, w, c) = xl.shape().dims4()?;
        let o = wl.dims()[0];
        if wl.dims() != [o, 3, 3, c] || bl.dims() != [o] {
            bail!("conv3x3: {:?} by {:?} plus {:?}", xl.dims(), wl.dims(), bl.dims());
        }
        let y = Size { n, h, w, c }.convolve(slice(x, xl)?, slice(weight, wl)?, Some(slice(bias, bl)?), o);
        Ok((CpuStorage::F32(y), (n, h, w, o).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (n, h, w, c) = x.dims4()?;
        let o = weight.dim(0)?;
        let (dx, dw, db) = with(dy, |dy| {
            // The gradient of the input is the same convolution with the taps turned by 180 degrees and the channels exchanged.
            let dx = with(weight, |weight| {
                let mut turned = vec![0f32; weight.len()];
                for (to, tap) in (0..9).rev().enumerate() {
                    for i in 0..o {
                        for j in 0..c {
                            turned[(j * 9 + to) * o + i] = weight[(i * 9 + tap) * c + j];
                        }
                    }
                }
                Size { n, h, w, c: o }.convolve(dy, &turned, None, c)
            })?;
            let dw = with(x, |x| Size { n, h, w, c }.weight_gradient(x, dy, o))?;
            Ok::<_, candle_core::Error>((dx, dw, column_sums(dy, o)))
        })??;
        Ok((Some(tensor(dx, x.shape())?), Some(tensor(dw, weight.shape())?), Some(tensor(db, o)?)))
    }
}
