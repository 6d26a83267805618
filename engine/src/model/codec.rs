//! PatchCodec: a linear map between blocks of pixels (a cell over the frames of a latent) and latent channels, fitted by principal
//! component analysis; each channel is scaled to unit variance, so that noise means the same in all.
//!
//! Invariant: works on whole latents, so a stream decoded in chunks equals one decoded in one go; a patch is ordered frame, row,
//! column, colour, with colours in -1..1. Guarded by the tests below.

use crate::error::{Error, Result};
use crate::kernels::gemm::{Threads, View, matmul};
use crate::kernels::vector::dispatch;
use crate::model::product::product;
use crate::picture::Picture;

/// The fitted map.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchCodec {
    /// Side of a cell, px.
    pub cell_px: usize,
    /// Frames per latent.
    pub frames: usize,
    /// Mean patch, (patch_len).
    pub mean: Vec<f32>,
    /// Orthonormal directions, (channels, patch_len).
    pub basis: Vec<f32>,
    /// Standard deviation of each channel, (channels).
    pub scale: Vec<f32>,
    /// Patch to latent, (patch_len, channels): directions over scale, transposed for the product.
    encoder: Vec<f32>,
    /// The mean patch's latent, (channels).
    mean_latent: Vec<f32>,
    /// Latent to patch, (channels, patch_len): directions times scale.
    decoder: Vec<f32>,
}

impl PatchCodec {
    /// A fitted map: `mean` (patch_len), `basis` (channels, patch_len), `scale` (channels).
    pub fn new(cell_px: usize, frames: usize, mean: Vec<f32>, basis: Vec<f32>, scale: Vec<f32>) -> Self {
        let (n, c) = (mean.len(), scale.len());
        assert!(n == frames * cell_px * cell_px * 3 && basis.len() == n * c, "a codec's parts must fit each other");
        let encoder = (0..n * c).map(|i| basis[i % c * n + i / c] / scale[i % c]).collect();
        let mean_latent = basis.chunks_exact(n).zip(&scale).map(|(b, s)| dot(b, &mean) / s).collect();
        let decoder = basis.chunks_exact(n).zip(&scale).flat_map(|(b, s)| b.iter().map(move |v| v * s)).collect();
        Self { cell_px, frames, mean, basis, scale, encoder, mean_latent, decoder }
    }

    /// Numbers of a patch.
    pub fn patch_len(&self) -> usize {
        self.mean.len()
    }

    /// Latent channels.
    pub fn channels(&self) -> usize {
        self.scale.len()
    }

    /// Fits the map to sample patches, (count, patch_len), by orthogonal iteration on their covariance.
    pub fn fit(cell_px: usize, frames: usize, channels: usize, patches: &[f32]) -> Result<Self> {
        let n = frames * cell_px * cell_px * 3;
        let count = patches.len() / n;
        if channels > n || count < n {
            return Err(Error::field("codec", format!("{count} patches cannot fit {channels} of {n} directions; give more pictures")));
        }
        let mut mean = vec![0f64; n];
        patches.chunks_exact(n).for_each(|p| mean.iter_mut().zip(p).for_each(|(m, v)| *m += *v as f64 / count as f64));
        let mean: Vec<f32> = mean.iter().map(|m| *m as f32).collect();
        let centred: Vec<f32> = patches.chunks_exact(n).flat_map(|p| p.iter().zip(&mean).map(|(v, m)| v - m)).collect();
        let mut covariance = vec![0f32; n * n];
        let (transposed, rows, scale) = (View::columns(&centred, n), View::rows(&centred, n), 1.0 / count as f32);
        matmul((n, count, n), &mut covariance, n, false, transposed, rows, scale, Threads::All);
        // Directions in which the samples do not vary would be lost to rounding: a trace of variance everywhere keeps them apart.
        let trace = 1e-6 * (0..n).map(|i| covariance[i * n + i]).sum::<f32>() / n as f32;
        (0..n).for_each(|i| covariance[i * n + i] += trace);
        // Start from the unit vectors: deterministic, and never orthogonal to everything that matters.
        let mut basis = vec![0f32; channels * n];
        (0..channels).for_each(|c| basis[c * n + c * n / channels] = 1.0);
        let mut next = vec![0f32; channels * n];
        for _ in 0..200 {
            product(&basis, &covariance, n, n, &mut next);
            std::mem::swap(&mut basis, &mut next);
            orthonormalise(&mut basis, n);
        }
        product(&basis, &covariance, n, n, &mut next);
        let scale = basis.chunks_exact(n).zip(next.chunks_exact(n)).map(|(b, cb)| dot(b, cb).max(1e-8).sqrt()).collect();
        Ok(Self::new(cell_px, frames, mean, basis, scale))
    }

    /// Cuts `frames` pictures, whose sides are multiples of a cell, into patches: (rows * columns, patch_len).
    pub fn patches(&self, frames: &[&Picture]) -> Vec<f32> {
        cut(frames, self.cell_px)
    }

    /// (cells, patch_len) -> (cells, channels).
    pub fn encode(&self, patches: &[f32]) -> Vec<f32> {
        let mut latent = vec![0f32; patches.len() / self.patch_len() * self.channels()];
        self.encode_to(patches, &mut latent);
        latent
    }

    /// (cells, patch_len) -> (cells, channels), on this thread alone: for callers that are parallel over cells.
    pub fn encode_to(&self, patches: &[f32], latent: &mut [f32]) {
        self.encode_difference(patches, latent);
        dispatch(
            #[inline(always)]
            || latent.chunks_exact_mut(self.channels()).for_each(|z| z.iter_mut().zip(&self.mean_latent).for_each(|(z, m)| *z -= m)),
        );
    }

    /// As [`PatchCodec::encode_to`] for differences of patches, in which the mean is gone.
    pub fn encode_difference(&self, patches: &[f32], latent: &mut [f32]) {
        product(patches, &self.encoder, self.patch_len(), self.channels(), latent);
    }

    /// (cells, channels) -> (cells, patch_len).
    pub fn decode(&self, latent: &[f32]) -> Vec<f32> {
        let n = self.patch_len();
        let mut patches = vec![0f32; latent.len() / self.channels() * n];
        self.decode_difference(latent, &mut patches);
        patches.chunks_exact_mut(n).for_each(|p| p.iter_mut().zip(&self.mean).for_each(|(v, m)| *v += m));
        patches
    }

    /// What differences of latents, (cells, channels), are in pixels, (cells, patch_len); on this thread alone.
    pub fn decode_difference(&self, latent: &[f32], patches: &mut [f32]) {
        product(latent, &self.decoder, self.channels(), self.patch_len(), patches);
    }

    /// The decoding matrix, (channels, patch_len): directions times scale.
    pub fn decoder(&self) -> &[f32] {
        &self.decoder
    }
}

/// Cuts pictures into patches ordered frame, row, column, colour, in -1..1; (rows * columns of cells, patch_len).
pub fn cut(frames: &[&Picture], cell: usize) -> Vec<f32> {
    let (width, height) = (frames[0].width, frames[0].height);
    let mut patches = Vec::with_capacity(frames.len() * width * height * 3);
    for row in 0..height / cell {
        for column in 0..width / cell {
            for frame in frames {
                for y in 0..cell {
                    let start = (row * cell + y) * width + column * cell;
                    patches.extend(frame.data[start..start + cell].iter().flatten().map(|v| v * 2.0 - 1.0));
                }
            }
        }
    }
    patches
}

/// The inverse of [`cut`]: calls `put(frame, y, x, rgb)` with colours in -1..1.
pub fn paste(patches: &[f32], cell: usize, frames: usize, width: usize, mut put: impl FnMut(usize, usize, usize, [f32; 3])) {
    let columns = width / cell;
    let len = frames * cell * cell * 3;
    for (index, patch) in patches.chunks_exact(len).enumerate() {
        for (i, rgb) in patch.chunks_exact(3).enumerate() {
            let (frame, y, x) = (i / (cell * cell), i / cell % cell, i % cell);
            put(frame, index / columns * cell + y, index % columns * cell + x, [rgb[0], rgb[1], rgb[2]]);
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Modified Gram-Schmidt on the rows.
fn orthonormalise(rows: &mut [f32], n: usize) {
    for i in 0..rows.len() / n {
        let (done, rest) = rows.split_at_mut(i * n);
        let row = &mut rest[..n];
        // Twice is enough (Giraud & Langou 2005): one pass leaves rounding along the earlier rows.
        for earlier in done.chunks_exact(n).chain(done.chunks_exact(n)) {
            let along = dot(earlier, row);
            row.iter_mut().zip(earlier).for_each(|(r, e)| *r -= along * e);
        }
        let length = dot(row, row).sqrt().max(1e-20);
        row.iter_mut().for_each(|r| *r /= length);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn picture(seed: usize) -> Picture {
        Picture::from_fn(32, 16, |x, y| [0, 1, 2].map(|c| 0.5 + 0.4 * ((x * (seed + 3) + y * 5 + c * 7) as f32 * 0.11).sin()))
    }

    fn codec(channels: usize) -> PatchCodec {
        let patches: Vec<f32> = (0..40).flat_map(|i| cut(&[&picture(i % 9), &picture(i % 7)], 4)).collect();
        PatchCodec::fit(4, 2, channels, &patches).unwrap()
    }

    #[test]
    fn all_directions_reproduce_the_picture_and_fewer_do_well() {
        let (a, b) = (picture(3), picture(5));
        for (channels, bound) in [(96, 1e-3), (40, 0.05)] {
            let codec = codec(channels);
            let patches = codec.patches(&[&a, &b]);
            let back = codec.decode(&codec.encode(&patches));
            let worst = patches.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < bound, "{channels} channels: {worst}");
        }
    }

    #[test]
    fn cut_and_paste_are_inverse() {
        let (a, b) = (picture(1), picture(2));
        let mut back = [Picture::filled(32, 16, [0.0; 3]), Picture::filled(32, 16, [0.0; 3])];
        paste(&cut(&[&a, &b], 4), 4, 2, 32, |f, y, x, rgb| back[f].data[y * 32 + x] = rgb.map(|v| (v + 1.0) / 2.0));
        for (truth, back) in [a, b].iter().zip(&back) {
            assert!(truth.data.iter().flatten().zip(back.data.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }

    #[test]
    fn in_chunks_equals_in_one_go() {
        let codec = codec(24);
        let frames: Vec<Picture> = (0..4).map(picture).collect();
        let whole: Vec<f32> = frames.chunks(2).flat_map(|f| codec.patches(&[&f[0], &f[1]])).collect();
        let latents = codec.encode(&whole);
        let halves: Vec<f32> = whole.chunks(whole.len() / 2).flat_map(|half| codec.encode(half)).collect();
        assert_eq!(latents, halves);
    }
}
