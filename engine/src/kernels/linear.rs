//! Fully connected layer, forward and backward as three matrix products.

use super::gemm::{Threads, View, matmul};
use super::storage::{slice, tensor, with};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

pub struct Linear;

/// Sums the rows of a (rows, n) matrix.
pub fn column_sums(rows: &[f32], n: usize) -> Vec<f32> {
    let mut sums = vec![0f32; n];
    super::vector::dispatch(
        #[inline(always)]
        || {
            for row in rows.chunks_exact(n) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        },
    );
    sums
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, k) = wl.shape().dims2()?;
        if xl.dims().last() != Some(&k) || bl.dims() != [n] {
            bail!("linear: {:?} by {:?} plus {:?}", xl.dims(), wl.dims(), bl.dims());
        }
        let (x, w, b) = (slice(x, xl)?, slice(w, wl)?, slice(b, bl)?);
        let m = x.len() / k;
        let mut y = Vec::with_capacity(m * n);
        for _ in 0..m {
            y.extend_from_slice(b);
        }
        matmul((m, k, n), &mut y, n, true, View::rows(x, k), View::columns(w, k), 1.0, Threads::All);
        let mut dims = xl.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = n;
        }
        Ok((CpuStorage::F32(y), dims.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (n, k) = w.dims2()?;
        let m = x.elem_count() / k;
        let (mut dx, mut dw) = (vec![0f32; m * k], vec![0f32; n * k]);
        let db = with(dy, |dy| {
            with(w, |w| matmul((m, n, k), &mut dx, k, false, View::rows(dy, n), View::rows(w, k), 1.0, Threads::All))?;
            with(x, |x| matmul((n, m, k), &mut dw, k, false, View::columns(dy, n), View::rows(x, k), 1.0, Threads::All))?;
            Ok::<_, candle_core::Error>(column_sums(dy, n))
        })??;
        Ok((Some(tensor(dx, x.shape())?), Some(tensor(dw, (n, k))?), Some(tensor(db, n)?)))
    }
}
