//! Element-wise ops: GELU, gated residual, rotary embedding.

use super::storage::{slice, tensor, with};
use super::vector::{dispatch, exp2};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Numbers a task works on: large enough to hide the hand-over, small enough to balance.
const BLOCK: usize = 1 << 14;

pub struct Gelu;

pub(crate) const GELU_A: f32 = 0.044_715;
/// 2 sqrt(2 / pi): tanh(u) = 2 sigmoid(2u) - 1.
pub(crate) const GELU_C: f32 = 1.595_769_1;

/// What GELU multiplies `x` by.
#[inline(always)]
pub(crate) fn gelu_gate(x: f32) -> f32 {
    1.0 / (1.0 + exp2(-std::f32::consts::LOG2_E * GELU_C * x * (1.0 + GELU_A * x * x)))
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
            dispatch(
                #[inline(always)]
                || {
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = x * gelu_gate(*x);
                    }
                },
            )
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = vec![0f32; x.elem_count()];
        with(x, |x| {
            with(dy, |dy| {
                dx.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).zip(dy.par_chunks(BLOCK)).for_each(|((dx, x), dy)| {
                    dispatch(
                        #[inline(always)]
                        || {
                            for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                                let s = gelu_gate(*x);
                                let slope = GELU_C * (1.0 + 3.0 * GELU_A * x * x);
                                *dx = dy * (s + x * s * (1.0 - s) * slope);
                            }
                        },
                    )
                })
            })
        })??;
        Ok(Some(tensor(dx, x.shape())?))
    }
}

pub struct GateResidual;

impl CustomOp3 for GateResidual {
    fn name(&self) -> &'static str {
        "gate-residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        y: &CpuStorage,
        yl: &Layout,
        gate: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, y, gate) = (slice(x, xl)?, slice(y, yl)?, slice(gate, gl)?);
        let (_, n, d) = xl.shape().dims3()?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(d).zip(x.par_chunks(d)).zip(y.par_chunks(d)).with_min_len(BLOCK / d + 1).enumerate().for_each(
            |(row, ((out, x), y))| {
                let gate = &gate[row / n * d..][..d];
                for i in 0..d {
                    out[i] = x[i] + y[i] * gate[i];
                }
            },
        );
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        gate: &Tensor,
        _out: &Tensor,
        dout: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (g, n, d) = x.dims3()?;
        let mut dy = vec![0f32; g * n * d];
        let mut dgate = vec![0f32; g * d];
        with(y, |y| {
            with(gate, |gate| {
                with(dout, |dout| {
                    dy.par_chunks_mut(n * d).zip(dgate.par_chunks_mut(d)).enumerate().for_each(|(group, (dy, dgate))| {
                        let (y, dout) = (&y[group * n * d..], &dout[group * n * d..]);
                        let gate = &gate[group * d..][..d];
                        for (row, dy) in dy.chunks_exact_mut(d).enumerate() {
                            let (y, dout) = (&y[row * d..][..d], &dout[row * d..][..d]);
                            for i in 0..d {
                                dy[i] = dout[i] * gate[i];
                                dgate[i] += dout[i] * y[i];
                            }
                        }
                    })
                })
            })
        })???;
        Ok((Some(dout.clone()), Some(tensor(dy, y.shape())?), Some(tensor(dgate, gate.shape())?)))
    }
}

pub struct Rope;

impl Rope {
    /// Rotates by the angles in `rotation`, or back when `sign` is -1.
    fn rotate(x: &[f32], rotation: &[f32], n: usize, d: usize, sign: f32) -> Vec<f32> {
        let hd = rotation.len() / n;
        let half = hd / 2;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(d).zip(x.par_chunks(d)).with_min_len(BLOCK / d + 1).enumerate().for_each(|(row, (y, x))| {
            let (cos, sin) = rotation[row % n * hd..][..hd].split_at(half);
            for (y, x) in y.chunks_exact_mut(hd).zip(x.chunks_exact(hd)) {
                for i in 0..half {
                    let (a, b) = (x[2 * i], x[2 * i + 1]);
                    y[2 * i] = a * cos[i] - b * sin[i] * sign;
                    y[2 * i + 1] = a * sin[i] * sign + b * cos[i];
                }
            }
        });
        y
    }
}

impl CustomOp2 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, rotation: &CpuStorage, rl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, n, d) = xl.shape().dims3()?;
        Ok((CpuStorage::F32(Self::rotate(slice(x, xl)?, slice(rotation, rl)?, n, d, 1.0)), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, rotation: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, n, d) = x.dims3()?;
        let dx = with(dy, |dy| with(rotation, |rotation| Self::rotate(dy, rotation, n, d, -1.0)))??;
        Ok((Some(tensor(dx, x.shape())?), None))
    }
}
