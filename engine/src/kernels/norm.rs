//! Layer norm with modulation, and RMS norm, each in one pass over the rows.

use super::EPSILON;
use super::linear::column_sums;
use super::storage::{slice, tensor, with};
use super::vector::{dispatch, sum};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Rows a task works on; partial sums are made per block, so their order does not depend on the number of threads.
const ROWS: usize = 64;

pub struct NormModulate;

/// Mean and reciprocal standard deviation.
#[inline(always)]
fn statistics(x: &[f32]) -> (f32, f32) {
    let d = x.len() as f32;
    let mean = sum(x.len(), |i| x[i]) / d;
    let variance = sum(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / d;
    (mean, 1.0 / (variance + EPSILON as f32).sqrt())
}

impl CustomOp3 for NormModulate {
    fn name(&self) -> &'static str {
        "norm-modulate"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        shift: &CpuStorage,
        hl: &Layout,
        scale: &CpuStorage,
        cl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, shift, scale) = (slice(x, xl)?, slice(shift, hl)?, slice(scale, cl)?);
        let (_, n, d) = xl.shape().dims3()?;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(d * ROWS).zip(x.par_chunks(d * ROWS)).enumerate().for_each(|(block, (y, x))| {
            dispatch(
                #[inline(always)]
                || {
                    for (row, (y, x)) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).enumerate() {
                        let group = (block * ROWS + row) / n;
                        let (shift, scale) = (&shift[group * d..][..d], &scale[group * d..][..d]);
                        let (mean, rstd) = statistics(x);
                        for i in 0..d {
                            y[i] = (x[i] - mean) * rstd * (1.0 + scale[i]) + shift[i];
                        }
                    }
                },
            )
        });
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        shift: &Tensor,
        scale: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (g, n, d) = x.dims3()?;
        let mut dx = vec![0f32; g * n * d];
        let (mut dshift, mut dscale) = (vec![0f32; g * d], vec![0f32; g * d]);
        with(x, |x| {
            with(scale, |scale| {
                with(dy, |dy| {
                    let groups = dx.par_chunks_mut(n * d).zip(dshift.par_chunks_mut(d)).zip(dscale.par_chunks_mut(d));
                    groups.enumerate().for_each(|(group, ((dx, dshift), dscale))| {
                        let (x, dy) = (&x[group * n * d..], &dy[group * n * d..]);
                        let scale = &scale[group * d..][..d];
                        dispatch(
                            #[inline(always)]
                            || {
                                for (row, dx) in dx.chunks_exact_mut(d).enumerate() {
                                    let (x, dy) = (&x[row * d..][..d], &dy[row * d..][..d]);
                                    let (mean, rstd) = statistics(x);
                                    let a = sum(d, |i| dy[i] * (1.0 + scale[i])) / d as f32;
                                    let b = sum(d, |i| dy[i] * (1.0 + scale[i]) * ((x[i] - mean) * rstd)) / d as f32;
                                    for i in 0..d {
                                        let normed = (x[i] - mean) * rstd;
                                        dx[i] = rstd * (dy[i] * (1.0 + scale[i]) - a - normed * b);
                                        dshift[i] += dy[i];
                                        dscale[i] += dy[i] * normed;
                                    }
                                }
                            },
                        )
                    })
                })
            })
        })???;
        Ok((Some(tensor(dx, x.shape())?), Some(tensor(dshift, shift.shape())?), Some(tensor(dscale, scale.shape())?)))
    }
}

pub struct RmsNorm;

#[inline(always)]
fn reciprocal_rms(x: &[f32]) -> f32 {
    1.0 / (sum(x.len(), |i| x[i] * x[i]) / x.len() as f32 + EPSILON as f32).sqrt()
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, weight: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, xl)?, slice(weight, wl)?);
        let d = weight.len();
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(d * ROWS).zip(x.par_chunks(d * ROWS)).for_each(|(y, x)| {
            dispatch(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                        let r = reciprocal_rms(x);
                        for i in 0..d {
                            y[i] = x[i] * r * weight[i];
                        }
                    }
                },
            )
        });
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let d = weight.elem_count();
        let rows = x.elem_count() / d;
        let mut dx = vec![0f32; rows * d];
        let mut partial = vec![0f32; rows.div_ceil(ROWS) * d];
        with(x, |x| {
            with(weight, |weight| {
                with(dy, |dy| {
                    let blocks = dx.par_chunks_mut(d * ROWS).zip(x.par_chunks(d * ROWS)).zip(dy.par_chunks(d * ROWS));
                    blocks.zip(partial.par_chunks_mut(d)).for_each(|(((dx, x), dy), dweight)| {
                        dispatch(
                            #[inline(always)]
                            || {
                                for ((dx, x), dy) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(dy.chunks_exact(d)) {
                                    let r = reciprocal_rms(x);
                                    let a = sum(d, |i| dy[i] * weight[i] * x[i]) * r * r / d as f32;
                                    for i in 0..d {
                                        dx[i] = r * (dy[i] * weight[i] - x[i] * a);
                                        dweight[i] += dy[i] * x[i] * r;
                                    }
                                }
                            },
                        )
                    })
                })
            })
        })???;
        Ok((Some(tensor(dx, x.shape())?), Some(tensor(column_sums(&partial, d), weight.shape())?)))
    }
}
