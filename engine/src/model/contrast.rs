//! The level and the spread of a chunk's guide, which its latents are taken relative to: a calm sky and a harsh wall look alike to the
//! network, and what it adds to each is as large as the picture's own contrast.
//!
//! Invariant: depends on the chunk's condition alone, so it is the same in every pass and however a video is cut. Guarded by the tests
//! below, and by those that hold the forms of the network to each other.

use crate::kernels::vector::dispatch;
use candle_core::Tensor;

/// Variance, in latents' units, that a chunk is taken to have at least: a flat one has no contrast to speak of.
pub(super) const LEAST: f64 = 1e-4;

/// Level and spread of a chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contrast {
    /// Mean of the guide's latents, (latent_channels).
    mean: Vec<f32>,
    /// Root of their mean square deviation, over all channels.
    spread: f32,
}

impl Contrast {
    /// Becomes that of a chunk whose condition is `condition`, rows of `width` numbers of which the first `channels` are the guide's.
    pub fn refill(&mut self, condition: &[f32], width: usize, channels: usize) {
        let rows = || condition.chunks_exact(width).map(|row| &row[..channels]);
        let count = (condition.len() / width).max(1) as f32;
        self.mean.clear();
        self.mean.resize(channels, 0.0);
        let mean = &mut self.mean;
        let mut squares = 0.0;
        dispatch(
            #[inline(always)]
            || {
                rows().for_each(|row| mean.iter_mut().zip(row).for_each(|(mean, v)| *mean += v));
                mean.iter_mut().for_each(|mean| *mean /= count);
                // Row by row, so that no sum has more than a few hundred numbers in single precision.
                squares = rows().map(|row| row.iter().zip(&*mean).map(|(v, m)| (v - m) * (v - m)).sum::<f32>() as f64).sum::<f64>();
            },
        );
        self.spread = (squares / (f64::from(count) * channels as f64) + LEAST).sqrt() as f32;
    }

    /// Root mean square deviation of the guide.
    pub fn spread(&self) -> f32 {
        self.spread
    }

    /// Takes a latent, or its leading channels, relative to the chunk.
    #[inline(always)]
    pub fn apply(&self, latent: &mut [f32]) {
        let scale = 1.0 / self.spread;
        latent.iter_mut().zip(&self.mean).for_each(|(v, mean)| *v = (*v - mean) * scale);
    }
}

/// Mean (groups, 1, channels) and spread (groups, 1, 1) of guides (groups, cells, channels).
pub(super) fn of(guide: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
    let mean = guide.mean_keepdim(1)?;
    let variance = guide.broadcast_sub(&mean)?.sqr()?.mean_keepdim((1, 2))?;
    Ok((mean, (variance + LEAST)?.sqrt()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    #[test]
    fn both_forms_agree_and_contrast_does_not_matter() {
        let (cells, width, channels) = (40, 7, 4);
        let rows: Vec<f32> = (0..cells * width).map(|i| (i * 7919 % 1009) as f32 / 100.0).collect();
        let mut contrast = Contrast::default();
        contrast.refill(&rows, width, channels);
        let guide = Tensor::from_slice(&rows, (1, cells, width), &Device::Cpu).unwrap().narrow(2, 0, channels).unwrap();
        let (mean, spread) = of(&guide).unwrap();
        let mean = mean.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(mean.iter().zip(&contrast.mean).all(|(a, b)| (a - b).abs() < 1e-4), "{mean:?} {:?}", contrast.mean);
        let spread = spread.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
        assert!((spread / contrast.spread - 1.0).abs() < 1e-5, "{spread} {}", contrast.spread);

        let relative = |rows: &[f32]| {
            let mut contrast = Contrast::default();
            contrast.refill(rows, width, channels);
            let mut row = rows[3 * width..][..channels].to_vec();
            contrast.apply(&mut row);
            row
        };
        let fainter: Vec<f32> = rows.iter().map(|v| 0.5 * v - 3.0).collect();
        assert!(relative(&rows).iter().zip(relative(&fainter)).all(|(a, b)| (a - b).abs() < 1e-3));
    }
}
