//! The operations of the generator, each in two forms: the plain candle graph, which runs on every device and is the reference, and
//! fused f32 CPU ops with hand-written backward, which are several times faster and keep gradients where candle's fused ops drop them.
//!
//! Invariant: both forms of an op agree (forward and gradient) to f32 rounding. Guarded by `tests/tests/kernels.rs`.

pub mod aligned;
mod attention;
mod conv;
pub(crate) mod gemm;
pub mod isa;
mod linear;
mod norm;
pub mod panels;
pub(crate) mod pointwise;
pub(crate) mod storage;
pub mod vector;

use candle_core::{D, Device, Result, Tensor};

/// Which form of the operations to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Plain candle ops: any device, any gradient.
    Reference,
    /// Fused f32 ops on the CPU.
    Fused,
}

/// Which keys a query may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Every key.
    All,
    /// Block-causal: queries and keys come in chunks of this many tokens, and a query sees its own chunk and all before it.
    Chunks(usize),
}

impl Visibility {
    /// How many keys the queries from `query` on may see, and where the run of queries that share this number ends.
    fn keys(self, query: usize, queries: usize, keys: usize) -> (usize, usize) {
        match self {
            Self::All => (keys, queries),
            Self::Chunks(chunk) => {
                let end = (query / chunk + 1) * chunk;
                (end.min(keys), end.min(queries))
            }
        }
    }
}

const EPSILON: f64 = 1e-6;

impl Kernels {
    /// The fastest form for `device`.
    pub fn for_device(device: &Device) -> Self {
        if device.is_cpu() { Self::Fused } else { Self::Reference }
    }

    /// `x w^T + b`; `x` (..., k), `w` (n, k), `b` (n) -> (..., n).
    pub fn linear(self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => x.contiguous()?.apply_op3(w, b, linear::Linear),
            Self::Reference => {
                let (n, k) = w.dims2()?;
                let rows = x.elem_count() / k;
                let mut dims = x.dims().to_vec();
                if let Some(last) = dims.last_mut() {
                    *last = n;
                }
                x.contiguous()?.reshape((rows, k))?.matmul(&w.t()?)?.broadcast_add(b)?.reshape(dims)
            }
        }
    }

    /// GELU, tanh approximation; any shape.
    pub fn gelu(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => x.contiguous()?.apply_op1(pointwise::Gelu),
            Self::Reference => x.gelu(),
        }
    }

    /// Layer norm without affine, then `* (1 + scale) + shift`; `x` (g, n, d), `shift` and `scale` (g, d).
    pub fn norm_modulate(self, x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => x.contiguous()?.apply_op3(&shift.contiguous()?, &scale.contiguous()?, norm::NormModulate),
            Self::Reference => {
                let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
                let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                let normed = centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)?;
                normed.broadcast_mul(&(scale.unsqueeze(1)? + 1.0)?)?.broadcast_add(&shift.unsqueeze(1)?)
            }
        }
    }

    /// `x + y * gate`; `x` and `y` (g, n, d), `gate` (g, d).
    pub fn gate_residual(self, x: &Tensor, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => x.contiguous()?.apply_op3(&y.contiguous()?, &gate.contiguous()?, pointwise::GateResidual),
            Self::Reference => x + y.broadcast_mul(&gate.unsqueeze(1)?)?,
        }
    }

    /// RMS norm over the last dimension with a weight (Wan 2.1's norm of queries and keys); `x` (..., d), `weight` (d).
    pub fn rms_norm(self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => x.contiguous()?.apply_op2(weight, norm::RmsNorm),
            Self::Reference => {
                let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
                x.broadcast_div(&(mean + EPSILON)?.sqrt()?)?.broadcast_mul(weight)
            }
        }
    }

    /// Rotary embedding of interleaved pairs (Su 2021, as in Wan 2.1): `x` (b, n, heads * hd), `rotation` (n, hd) with the cosines
    /// of the hd / 2 pairs first, then their sines.
    pub fn rope(self, x: &Tensor, rotation: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => x.contiguous()?.apply_op2(&rotation.contiguous()?, pointwise::Rope),
            Self::Reference => {
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
        }
    }

    /// Softmax attention; `q` (b, n, heads * hd), `k` and `v` (b, m, heads * hd) -> (b, n, heads * hd).
    pub fn attention(self, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, visible: Visibility) -> Result<Tensor> {
        match self {
            Self::Fused => q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, attention::Attention { heads, visible }),
            Self::Reference => {
                let (b, n, d) = q.dims3()?;
                let split = |x: &Tensor| x.reshape((b, x.dim(1)?, heads, d / heads))?.transpose(1, 2)?.contiguous();
                let (q, k, v) = (split(q)?, split(k)?, split(v)?);
                let keys = k.dim(2)?;
                let scale = 1.0 / ((d / heads) as f64).sqrt();
                let mut parts = Vec::new();
                let mut start = 0;
                while start < n {
                    let (seen, end) = visible.keys(start, n, keys);
                    let (q, k, v) = (q.narrow(2, start, end - start)?, k.narrow(2, 0, seen)?, v.narrow(2, 0, seen)?);
                    let scores = (q.contiguous()?.matmul(&k.t()?.contiguous()?)? * scale)?;
                    parts.push(candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v.contiguous()?)?);
                    start = end;
                }
                Tensor::cat(&parts, 2)?.transpose(1, 2)?.contiguous()?.reshape((b, n, d))
            }
        }
    }

    /// 3x3 convolution, stride 1, zero padding; `x` (n, h, w, c), `weight` (o, 3, 3, c), `bias` (o) -> (n, h, w, o).
    pub fn conv3x3(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => x.contiguous()?.apply_op3(weight, bias, conv::Conv3x3),
            Self::Reference => {
                let x = x.permute((0, 3, 1, 2))?.contiguous()?;
                let y = x.conv2d(&weight.permute((0, 3, 1, 2))?.contiguous()?, 1, 1, 1, 1)?;
                y.permute((0, 2, 3, 1))?.contiguous()?.broadcast_add(bias)
            }
        }
    }
}

/// `out = a b`; `a` (m, k), `b` (k, n).
pub fn product_nn(a: &[f32], b: &[f32], k: usize, n: usize, out: &mut [f32]) {
    let m = a.len() / k;
    gemm::matmul((m, k, n), out, n, false, gemm::View::rows(a, k), gemm::View::rows(b, n), 1.0, gemm::Threads::One);
}

/// `out = a b^T`; `a` (m, k), `b` (n, k).
pub fn product_nt(a: &[f32], b: &[f32], k: usize, n: usize, out: &mut [f32]) {
    let m = a.len() / k;
    gemm::matmul((m, k, n), out, n, false, gemm::View::rows(a, k), gemm::View::columns(b, k), 1.0, gemm::Threads::One);
}

/// `out = scale * a^T b`; `a` (k, m), `b` (k, n).
pub fn product_tn(a: &[f32], b: &[f32], m: usize, n: usize, scale: f32, out: &mut [f32]) {
    let k = a.len() / m;
    gemm::matmul((m, k, n), out, n, false, gemm::View::columns(a, m), gemm::View::rows(b, n), scale, gemm::Threads::All);
}
