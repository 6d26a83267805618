//! Regions as a user would draw them: nearly right.
//!
//! Invariant: hard (0 or 1), within 2 px of the true outline. Guarded by the tests below.

use crate::picture::Mask;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::f32::consts::TAU;

/// Farthest distance from the outline that is measured, px.
const REACH: f32 = 4.0;

/// `shape` (0 or 1) with its outline displaced by up to 2 px of smooth noise, outwards more than inwards, as a lasso goes; one in
/// five is exact.
pub(super) fn sketched(shape: &Mask, rng: &mut ChaCha8Rng) -> Mask {
    if rng.random_bool(0.2) {
        return shape.clone();
    }
    let bias = rng.random_range(-0.8..1.4f32);
    let waves: Vec<[f32; 4]> = (0..4)
        .map(|_| {
            let (angle, length) = (rng.random_range(0.0..TAU), rng.random_range(6.0..40.0f32));
            [TAU / length * angle.cos(), TAU / length * angle.sin(), rng.random_range(0.0..TAU), rng.random_range(0.1..0.5)]
        })
        .collect();
    let Some((left, top, right, bottom)) = surroundings(shape) else {
        return shape.clone();
    };
    let rows = (top..bottom).flat_map(|y| &shape.data[y * shape.width + left..y * shape.width + right]);
    let near = Mask { width: right - left, height: bottom - top, data: rows.copied().collect() };
    let (outside, inside) = (distance(&near, 1.0), distance(&near, 0.0));
    let mut drawn = shape.clone();
    let (mut area, mut kept) = (0, 0);
    for (i, was) in near.data.iter().enumerate() {
        let (x, y) = (left + i % near.width, top + i / near.width);
        let sample = &mut drawn.data[y * shape.width + x];
        let signed = if *was > 0.5 { 0.5 - inside[i] } else { outside[i] - 0.5 };
        if signed.abs() < 3.0 {
            let noise: f32 = waves.iter().map(|[u, v, phase, amplitude]| amplitude * (u * x as f32 + v * y as f32 + phase).sin()).sum();
            *sample = f32::from(u8::from(signed < (bias + noise).clamp(-1.5, 2.0)));
        }
        area += usize::from(*was > 0.5);
        kept += usize::from(*sample > 0.5);
    }
    // A thin thing may vanish where its outline is drawn too tight: nobody would draw that.
    if 2 * kept < area { shape.clone() } else { drawn }
}

/// The rectangle around what is set, wide enough for any displacement: left, top, right, bottom; `None` for an empty mask.
fn surroundings(shape: &Mask) -> Option<(usize, usize, usize, usize)> {
    let mut rows = shape.data.chunks_exact(shape.width).enumerate().filter(|(_, row)| row.iter().any(|v| *v > 0.5)).map(|(y, _)| y);
    let top = rows.next()?;
    let bottom = rows.next_back().unwrap_or(top) + 1;
    let mut columns = (0..shape.width).filter(|x| (top..bottom).any(|y| shape.at(*x, y) > 0.5));
    let left = columns.next()?;
    let right = columns.next_back().unwrap_or(left) + 1;
    let margin = REACH as usize + 1;
    let below = |edge: usize, size: usize| (edge + margin).min(size);
    Some((left.saturating_sub(margin), top.saturating_sub(margin), below(right, shape.width), below(bottom, shape.height)))
}

/// Distance of each sample to the nearest one equal to `of`, px, at most about [`REACH`] (two-pass chamfer).
fn distance(shape: &Mask, of: f32) -> Vec<f32> {
    let (width, height) = (shape.width, shape.height);
    let mut field: Vec<f32> = shape.data.iter().map(|v| if *v == of { 0.0 } else { REACH }).collect();
    const DIAGONAL: f32 = std::f32::consts::SQRT_2;
    for y in 0..height {
        for x in 0..width {
            let i = y * width + x;
            let mut d = field[i];
            if x > 0 {
                d = d.min(field[i - 1] + 1.0);
            }
            if y > 0 {
                d = d.min(field[i - width] + 1.0);
                if x > 0 {
                    d = d.min(field[i - width - 1] + DIAGONAL);
                }
                if x + 1 < width {
                    d = d.min(field[i - width + 1] + DIAGONAL);
                }
            }
            field[i] = d;
        }
    }
    for y in (0..height).rev() {
        for x in (0..width).rev() {
            let i = y * width + x;
            let mut d = field[i];
            if x + 1 < width {
                d = d.min(field[i + 1] + 1.0);
            }
            if y + 1 < height {
                d = d.min(field[i + width] + 1.0);
                if x > 0 {
                    d = d.min(field[i + width - 1] + DIAGONAL);
                }
                if x + 1 < width {
                    d = d.min(field[i + width + 1] + DIAGONAL);
                }
            }
            field[i] = d;
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn outline_is_wrong_by_two_pixels_at_most() {
        let disc = |radius: f32| Mask::from_fn(64, 64, |x, y| f32::from(u8::from((x as f32 - 31.5).hypot(y as f32 - 31.5) < radius)));
        let shape = disc(18.0);
        let (least, most) = (disc(15.5), disc(20.9));
        let mut differing = 0;
        for seed in 0..40 {
            let drawn = sketched(&shape, &mut ChaCha8Rng::seed_from_u64(seed));
            assert!(drawn.data.iter().all(|v| *v == 0.0 || *v == 1.0));
            assert!(drawn.data.iter().zip(&least.data).all(|(drawn, least)| drawn >= least));
            assert!(drawn.data.iter().zip(&most.data).all(|(drawn, most)| drawn <= most));
            differing += usize::from(drawn != shape);
        }
        assert!((20..40).contains(&differing), "{differing}");
    }

    #[test]
    fn a_thin_shape_survives() {
        let line = Mask::from_fn(40, 40, |x, _| f32::from(u8::from(x == 20)));
        for seed in 0..40 {
            let drawn = sketched(&line, &mut ChaCha8Rng::seed_from_u64(seed));
            assert!(drawn.data.iter().sum::<f32>() >= 20.0);
        }
    }
}
