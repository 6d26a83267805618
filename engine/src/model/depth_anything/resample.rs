//! Feature maps at another size, as two matrix products: torch's `interpolate` for the two modes that the network uses.

use candle_core::{Result, Tensor};

/// How samples between samples are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Linear, the corners' centres staying where they are (`align_corners=True`).
    BilinearCorners,
    /// Cubic with a = -0.75 over whole areas (`align_corners=False`), without antialiasing.
    Bicubic,
}

impl Mode {
    /// Weights of the sources, row by row of the result: (to, from).
    fn weights(self, from: usize, to: usize) -> Vec<f32> {
        let mut weights = vec![0.0; to * from];
        let mut add = |i: usize, at: isize, weight: f64| weights[i * from + at.clamp(0, from as isize - 1) as usize] += weight as f32;
        for i in 0..to {
            match self {
                Self::BilinearCorners => {
                    let place = if to > 1 { (i * (from - 1)) as f64 / (to - 1) as f64 } else { 0.0 };
                    let first = place.floor();
                    add(i, first as isize, 1.0 - (place - first));
                    add(i, first as isize + 1, place - first);
                }
                Self::Bicubic => {
                    let place = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
                    let first = place.floor();
                    (-1..3).for_each(|tap: isize| add(i, first as isize + tap, cubic((place - first - tap as f64).abs())));
                }
            }
        }
        weights
    }
}

/// Keys' cubic with a = -0.75 at a distance.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    match x {
        x if x <= 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A,
        _ => 0.0,
    }
}

/// `x` (c, h, w) at `rows` x `columns`: (c, rows, columns).
pub fn resample(x: &Tensor, rows: usize, columns: usize, mode: Mode) -> Result<Tensor> {
    let (_, h, w) = x.dims3()?;
    if (h, w) == (rows, columns) {
        return Ok(x.clone());
    }
    let down = Tensor::from_vec(mode.weights(h, rows), (rows, h), x.device())?;
    let across = Tensor::from_vec(mode.weights(w, columns), (columns, w), x.device())?.t()?;
    down.broadcast_matmul(&x.contiguous()?.broadcast_matmul(&across)?)
}
