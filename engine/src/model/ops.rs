//! The operations of the network as plain candle graphs: they run on any device and let every gradient through. They say what the
//! network *is*; the packed network (`fused`) and the trainer's own ([`crate::train::network`]) are held against them.
//!
//! Invariant: each is its formula, to f32 rounding. Guarded by `tests/tests/ops.rs`.

use candle_core::{D, DType, Result, Tensor};

/// What norms add to the mean square before its root.
pub(crate) const EPSILON: f64 = 1e-6;

/// Which keys a query may see.
#[derive(Clone, Copy, Debug)]
pub enum Visibility<'a> {
    /// Every key.
    All,
    /// Block-causal: the queries' tokens are the last of the keys', and come in chunks.
    Chunks {
        /// Tokens of a chunk.
        len: usize,
        /// 1 for queries that see all of their own chunk and all before it, 0 for those that see all before it and, of their own, only
        /// tokens marked 0 themselves; (b, queries), u8.
        active: &'a Tensor,
    },
}

/// `x w^T + b`; `x` (..., k), `w` (n, k), `b` (n) -> (..., n).
pub fn linear(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (n, k) = w.dims2()?;
    let rows = x.elem_count() / k;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    x.contiguous()?.reshape((rows, k))?.matmul(&w.t()?)?.broadcast_add(b)?.reshape(dims)
}

/// Layer norm without affine, then `* (1 + scale) + shift`; all (..., d).
pub fn norm_modulate(x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)?;
    normed * (scale + 1.0)? + shift
}

/// `x + y * gate`; all (..., d).
pub fn gate_residual(x: &Tensor, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
    x + (y * gate)?
}

/// RMS norm over the last dimension with a weight (Wan 2.1's norm of queries and keys); `x` (..., d), `weight` (d).
pub fn rms_norm(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + EPSILON)?.sqrt()?)?.broadcast_mul(weight)
}

/// Rotary embedding of interleaved pairs (Su 2021, as in Wan 2.1): `x` (b, n, heads * hd), `rotation` (n, hd) with the cosines of the
/// hd / 2 pairs first, then their sines; see [`crate::model::rope`].
pub fn rope(x: &Tensor, rotation: &Tensor) -> Result<Tensor> {
    let (b, n, d) = x.dims3()?;
    let hd = rotation.dim(1)?;
    let pairs = x.contiguous()?.reshape((b, n, d / hd, hd / 2, 2))?;
    let (real, imaginary) = (pairs.narrow(4, 0, 1)?, pairs.narrow(4, 1, 1)?);
    let part = |start: usize| rotation.narrow(1, start, hd / 2)?.reshape((1, n, 1, hd / 2, 1));
    let (cos, sin) = (part(0)?, part(hd / 2)?);
    let rotated_real = (real.broadcast_mul(&cos)? - imaginary.broadcast_mul(&sin)?)?;
    let rotated_imaginary = (real.broadcast_mul(&sin)? + imaginary.broadcast_mul(&cos)?)?;
    Tensor::cat(&[rotated_real, rotated_imaginary], 4)?.reshape((b, n, d))
}

/// Softmax attention; `q` (b, n, heads * hd), `k` and `v` (b, m, heads * hd) -> (b, n, heads * hd).
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, visible: Visibility) -> Result<Tensor> {
    let (b, n, d) = q.dims3()?;
    let split = |x: &Tensor| x.reshape((b, x.dim(1)?, heads, d / heads))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    let scale = 1.0 / ((d / heads) as f64).sqrt();
    let scores = |q: &Tensor, k: &Tensor| q.contiguous()?.matmul(&k.t()?.contiguous()?)? * scale;
    let mix = |scores: &Tensor, v: &Tensor| candle_nn::ops::softmax(scores, D::Minus1)?.matmul(&v.contiguous()?);
    let mixed = match visible {
        Visibility::All => mix(&scores(&q, &k)?, &v)?,
        Visibility::Chunks { len, active } => {
            let earlier = k.dim(2)? - n;
            let chunk = |start: usize| -> Result<Tensor> {
                let (own, past) = (len.min(n - start), earlier + start);
                let (k, v) = (k.narrow(2, 0, past + own)?, v.narrow(2, 0, past + own)?);
                let scores = scores(&q.narrow(2, start, own)?, &k)?;
                let active = active.narrow(1, start, own)?;
                let keys = active.pad_with_zeros(1, past, 0)?.reshape((b, 1, 1, past + own))?;
                let hidden = keys.broadcast_gt(&active.reshape((b, 1, own, 1))?)?;
                // Far below any score: its weight is 0 exactly.
                mix(&scores.broadcast_add(&(hidden.to_dtype(DType::F32)? * f64::from(f32::MIN))?)?, &v)
            };
            Tensor::cat(&(0..n).step_by(len).map(chunk).collect::<Result<Vec<_>>>()?, 2)?
        }
    };
    mixed.transpose(1, 2)?.contiguous()?.reshape((b, n, d))
}

/// 3x3 convolution, stride 1, zero padding; `x` (n, h, w, c), `weight` (o, 3, 3, c), `bias` (o) -> (n, h, w, o).
pub fn conv3x3(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let x = x.permute((0, 3, 1, 2))?.contiguous()?;
    let y = x.conv2d(&weight.permute((0, 3, 1, 2))?.contiguous()?, 1, 1, 1, 1)?;
    y.permute((0, 2, 3, 1))?.contiguous()?.broadcast_add(bias)
}
