//! The training loss: squared error of the shown pixels, where the correction is confined exactly as a session confines it.
//!
//! Invariant: value and gradient agree with the plain formula (finite differences in the tests below). One op, because the decoded
//! correction is four times larger than the latents and candle would keep several copies of it.

use crate::kernels::{product_nn, product_nt, storage};
use crate::model::dit::Dit;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::Arc;

/// What covered pixels weigh against uncovered ones: enough to keep the gate honest.
const COVERED_WEIGHT: f32 = 0.1;
/// Cells a task works on; a fixed number, so that sums do not depend on the number of threads.
const BLOCK: usize = 256;

/// Mean squared error of guide + correction against the truth over uncovered pixels (covered ones weigh little).
///
/// Input: the network's output, (.., channels + 2), as many rows as cells: correction, lean to the smooth guide, gate's logit.
#[derive(Clone)]
pub struct PatchLoss {
    /// Decoding matrix of the codec, (channels, patch_len).
    pub decoder: Arc<Vec<f32>>,
    /// Truth minus guide, (cells, patch_len).
    pub target: Arc<Vec<f32>>,
    /// Smooth guide minus guide, (cells, patch_len).
    pub smooth: Arc<Vec<f32>>,
    /// Share of each pixel that was not seen, (cells, patch_len / 3).
    pub uncovered: Arc<Vec<f32>>,
    /// Weight of each cell: 0 for clean history.
    pub cells: Arc<Vec<f32>>,
}

impl PatchLoss {
    fn norm(&self) -> f32 {
        let per_cell = self.uncovered.len() / self.cells.len();
        let sum = |(cell, u): (&f32, &[f32])| cell * 3.0 * u.iter().sum::<f32>();
        self.cells.iter().zip(self.uncovered.chunks_exact(per_cell)).map(sum).sum::<f32>().max(3.0 * per_cell as f32)
    }

    /// Sum of the loss over a block of cells; adds to its gradient where asked.
    fn block(&self, block: usize, out: &[f32], mut gradient: Option<(&mut [f32], f32)>) -> f32 {
        let n = 3 * self.uncovered.len() / self.cells.len();
        let width = out.len() / (self.cells.len() - block * BLOCK).min(BLOCK);
        let channels = width - 2;
        let first = block * BLOCK;
        let live: Vec<usize> = (0..out.len() / width).filter(|i| self.cells[first + i] > 0.0).collect();
        let delta: Vec<f32> = live.iter().flat_map(|i| out[i * width..][..channels].iter().copied()).collect();
        let mut pixels = vec![0.0; live.len() * n];
        product_nn(&delta, &self.decoder, channels, n, &mut pixels);
        let mut loss = 0.0;
        let mut scalars = vec![[0.0; 2]; live.len()];
        for ((pixels, i), dscalars) in pixels.chunks_exact_mut(n).zip(&live).zip(&mut scalars) {
            let cell = first + i;
            let (lean, gate) = (out[i * width + channels], Dit::gate(out[i * width + channels + 1]));
            let smooth = &self.smooth[cell * n..][..n];
            pixels.iter_mut().zip(smooth).for_each(|(value, smooth)| *value += lean * smooth);
            let (uncovered, target) = (&self.uncovered[cell * n / 3..][..n / 3], &self.target[cell * n..][..n]);
            let (mut sum, mut dgate) = (0.0, 0.0);
            for ((rgb, target), u) in pixels.chunks_exact_mut(3).zip(target.chunks_exact(3)).zip(uncovered) {
                let share = u + (1.0 - u) * gate;
                let weight = self.cells[cell] * (u + (1.0 - u) * COVERED_WEIGHT);
                for (value, target) in rgb.iter_mut().zip(target) {
                    let error = *value * share - target;
                    sum += weight * error * error;
                    dgate += 2.0 * weight * error * (1.0 - u) * *value;
                    *value = 2.0 * weight * error * share;
                }
            }
            loss += sum;
            let dlean = pixels.iter().zip(smooth).map(|(dvalue, smooth)| dvalue * smooth).sum();
            *dscalars = [dlean, dgate * gate * (1.0 - gate)];
        }
        if let Some((gradient, scale)) = &mut gradient {
            let mut ddelta = vec![0.0; delta.len()];
            product_nt(&pixels, &self.decoder, n, channels, &mut ddelta);
            for ((row, i), dscalars) in ddelta.chunks_exact(channels).zip(&live).zip(&scalars) {
                let to = &mut gradient[i * width..][..width];
                to[..channels].iter_mut().zip(row).for_each(|(g, d)| *g = d * *scale);
                to[channels..].iter_mut().zip(dscalars).for_each(|(g, d)| *g = d * *scale);
            }
        }
        loss
    }

    fn width(&self, elements: usize) -> Result<usize> {
        let cells = self.cells.len();
        let channels = self.decoder.len() * cells / self.target.len().max(1);
        if cells == 0 || elements != cells * (channels + 2) {
            bail!("patch-loss: {elements} numbers for {cells} cells of {channels} channels");
        }
        Ok(channels + 2)
    }
}

impl CustomOp1 for PatchLoss {
    fn name(&self) -> &'static str {
        "patch-loss"
    }

    fn cpu_fwd(&self, out: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = storage::slice(out, layout)?;
        let width = self.width(out.len())?;
        let sums: Vec<f32> = out.par_chunks(BLOCK * width).enumerate().map(|(i, out)| self.block(i, out, None)).collect();
        Ok((CpuStorage::F32(vec![sums.iter().sum::<f32>() / self.norm()]), Shape::from(())))
    }

    fn bwd(&self, out: &Tensor, _loss: &Tensor, dloss: &Tensor) -> Result<Option<Tensor>> {
        let scale = dloss.to_scalar::<f32>()? / self.norm();
        let mut gradient = vec![0.0; out.elem_count()];
        let width = self.width(out.elem_count())?;
        storage::with(out, |out| {
            gradient.par_chunks_mut(BLOCK * width).zip(out.par_chunks(BLOCK * width)).enumerate().for_each(|(i, (gradient, out))| {
                self.block(i, out, Some((gradient, scale)));
            });
        })?;
        Ok(Some(storage::tensor(gradient, out.shape())?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::parameters::normal;
    use candle_core::{Device, Var};
    use rand::SeedableRng;

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let (cells, channels, n) = (300, 3, 12);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut random = |len| {
            let mut v = vec![0.0; len];
            normal(&mut rng, &mut v);
            v
        };
        let mut out = random(cells * (channels + 2));
        let loss = PatchLoss {
            decoder: Arc::new(random(channels * n)),
            target: Arc::new(random(cells * n)),
            smooth: Arc::new(random(cells * n)),
            uncovered: Arc::new((0..cells * n / 3).map(|i| (i % 5) as f32 / 4.0).collect()),
            cells: Arc::new((0..cells).map(|i| (i % 3) as f32 / 2.0).collect()),
        };
        out.iter_mut().skip(channels + 1).step_by(channels + 2).for_each(|logit| *logit += 4.0);
        let value = |out: &[f32]| {
            let t = Tensor::from_slice(out, (cells, channels + 2), &Device::Cpu).unwrap();
            t.apply_op1(loss.clone()).unwrap().to_scalar::<f32>().unwrap()
        };
        let var = Var::from_slice(&out, (cells, channels + 2), &Device::Cpu).unwrap();
        let grads = var.apply_op1(loss.clone()).unwrap().backward().unwrap();
        let gradient = grads.get(&var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for i in [5, 6, 7, 8, 9, 8 * 5 + 1, 259 * 5, 259 * 5 + 3, 259 * 5 + 4, 298 * 5 + 2] {
            let mut moved = out.clone();
            moved[i] += 0.5;
            let up = value(&moved);
            moved[i] -= 1.0;
            let numeric = (up - value(&moved)) as f64;
            // The loss is quadratic in a correction, so a central difference is exact; the gate's is not.
            let tolerance = if i % 5 == 4 { 0.1 } else { 0.01 };
            assert!((numeric - gradient[i] as f64).abs() < tolerance * gradient[i].abs() as f64 + 2e-6, "{i}: {numeric} {}", gradient[i]);
        }
        assert!(gradient[..5].iter().all(|g| *g == 0.0), "a cell of weight 0 has a gradient");
    }
}
