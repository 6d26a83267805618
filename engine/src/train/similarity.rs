//! How alike two pictures are: PSNR and SSIM.
//!
//! Invariant: a picture is like itself: SSIM 1, PSNR at its cap; both measure 8-bit-like values clamped to 0..1. Guarded by the tests
//! below, which hold SSIM to the value that scikit-image gives.

use crate::picture::{Mask, Picture};

/// What two equal pictures get, dB: where 8 bits end long since.
const CAP_DB: f64 = 100.0;
/// Half side and standard deviation of the window, px: 11 x 11, 1.5 (Wang, Bovik, Sheikh, Simoncelli 2004).
const RADIUS: usize = 5;
const SIGMA: f64 = 1.5;
/// The constants that keep flat windows apart, for values of 0..1.
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// Peak signal-to-noise ratio over all three channels, dB.
pub fn psnr_db(a: &Picture, b: &Picture) -> f64 {
    let squared = |(a, b): (&f32, &f32)| f64::from(a.clamp(0.0, 1.0) - b.clamp(0.0, 1.0)).powi(2);
    let sum: f64 = a.data.as_flattened().iter().zip(b.data.as_flattened()).map(squared).sum();
    let mean = sum / (3 * a.data.len()).max(1) as f64;
    if mean > 0.0 { (-10.0 * mean.log10()).min(CAP_DB) } else { CAP_DB }
}

/// Structural similarity of the luma (BT.601), the mean over all windows that lie inside; of pictures smaller than a window, of the pixels
/// there are.
pub fn ssim(a: &Picture, b: &Picture) -> f64 {
    let luma = |p: &Picture| {
        let of = |[r, g, b]: [f32; 3]| 0.299 * r.clamp(0.0, 1.0) + 0.587 * g.clamp(0.0, 1.0) + 0.114 * b.clamp(0.0, 1.0);
        Mask { width: p.width, height: p.height, data: p.data.iter().map(|rgb| of(*rgb)).collect() }
    };
    let (a, b) = (luma(a), luma(b));
    let product = |a: &Mask, b: &Mask| a.data.iter().zip(&b.data).map(|(a, b)| f64::from(*a) * f64::from(*b)).collect::<Vec<f64>>();
    let plain = |a: &Mask| a.data.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let blur = |values: Vec<f64>| blurred(&values, a.width, a.height);
    let (ma, mb, aa, bb, ab) = (blur(plain(&a)), blur(plain(&b)), blur(product(&a, &a)), blur(product(&b, &b)), blur(product(&a, &b)));
    let similarity = (0..ma.len()).map(|i| {
        let (va, vb, vab) = (aa[i] - ma[i] * ma[i], bb[i] - mb[i] * mb[i], ab[i] - ma[i] * mb[i]);
        (2.0 * ma[i] * mb[i] + C1) * (2.0 * vab + C2) / ((ma[i] * ma[i] + mb[i] * mb[i] + C1) * (va + vb + C2))
    });
    similarity.sum::<f64>() / ma.len().max(1) as f64
}

/// The Gaussian means of the windows that lie inside, row by row.
fn blurred(values: &[f64], width: usize, height: usize) -> Vec<f64> {
    let radius = RADIUS.min(width.min(height).saturating_sub(1) / 2);
    let weights: Vec<f64> = (0..=2 * radius).map(|i| (-0.5 * ((i as f64 - radius as f64) / SIGMA).powi(2)).exp()).collect();
    let all: f64 = weights.iter().sum();
    let weigh = |value: &dyn Fn(usize) -> f64| weights.iter().enumerate().map(|(k, w)| w * value(k)).sum::<f64>() / all;
    let narrow = width - 2 * radius;
    let rows: Vec<f64> = (0..narrow * height).map(|i| weigh(&|k| values[i / narrow * width + i % narrow + k])).collect();
    (0..narrow * (height - 2 * radius)).map(|i| weigh(&|k| rows[(i / narrow + k) * narrow + i % narrow])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(phase: f32, contrast: f32) -> Picture {
        Picture::from_fn(32, 24, |x, y| [0.5 + contrast * ((x as f32 * 0.4 + phase).sin() * (y as f32 * 0.3).cos()); 3])
    }

    #[test]
    fn a_picture_is_like_itself_and_less_like_others() {
        let picture = waves(0.0, 0.4);
        assert_eq!(psnr_db(&picture, &picture), CAP_DB);
        assert!((ssim(&picture, &picture) - 1.0).abs() < 1e-12);
        let lighter = Picture::from_fn(32, 24, |x, y| picture.at(x, y).map(|c| c * 0.8 + 0.1));
        assert!(ssim(&picture, &waves(0.3, 0.4)) < 0.95 && ssim(&picture, &lighter) < 1.0);
        let off = Picture::from_fn(32, 24, |x, y| picture.at(x, y).map(|c| c + 0.01));
        assert!((psnr_db(&picture, &off) - 40.0).abs() < 1e-3);
        assert!(ssim(&Picture::filled(3, 2, [0.2; 3]), &Picture::filled(3, 2, [0.2; 3])) > 0.999);
    }

    /// scikit-image 0.26: structural_similarity(a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False).
    #[test]
    fn ssim_is_the_known_value() {
        let found = ssim(&waves(0.0, 0.4), &waves(0.6, 0.3));
        assert!((found - 0.768_808).abs() < 1e-5, "{found}");
    }
}
