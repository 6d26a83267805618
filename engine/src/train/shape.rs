//! What moves in a training clip: cut-outs, and pieces cut from photographs along random outlines.
//!
//! Invariant: premultiplied, with an empty margin of [`PAD`] texels, so that the renderer fades it out. Guarded by the tests below.

use super::pool::Stock;
use super::raster::PAD;
use crate::picture::Grid;
use glam::Vec2;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::f32::consts::{PI, TAU};

/// A random object whose longer side is about `size` texels, premultiplied, margin included.
pub(super) fn object(stock: &Stock, rng: &mut ChaCha8Rng, size: f32) -> Grid<[f32; 4]> {
    if rng.random_bool(0.65)
        && let Some(cutout) = stock.cutout(rng)
    {
        let (width, height) = (cutout.width() as f32, cutout.height() as f32);
        // A small cut-out is not enlarged much: the truth must be sharp.
        let scale = (size / width.max(height)).min(1.25);
        let side = |length: f32| ((length * scale).round() as usize).max(3);
        let mut texture = cutout.crop(cutout.whole(), side(width), side(height));
        if rng.random_bool(0.5) {
            let width = texture.width;
            texture.data.chunks_exact_mut(width).for_each(<[_]>::reverse);
        }
        Tint::random(rng, 0.6).apply(&mut texture.data);
        return padded(&texture);
    }
    let outline = Outline::random(rng, size);
    let reach = outline.half_size();
    let scale = size / (2.0 * reach.max_element());
    let (width, height) = (((2.0 * reach.x * scale).ceil() as usize).max(3), ((2.0 * reach.y * scale).ceil() as usize).max(3));
    let photo = stock.texture(rng, width, height, true);
    let soft = rng.random_range(0.7..2.0f32);
    let mut data: Vec<[f32; 4]> = photo.data.iter().map(|[r, g, b]| [*r, *g, *b, 1.0]).collect();
    Tint::random(rng, 1.0).apply(&mut data);
    for (i, sample) in data.iter_mut().enumerate() {
        let at = Vec2::new((i % width) as f32 + 0.5 - 0.5 * width as f32, (i / width) as f32 + 0.5 - 0.5 * height as f32);
        let inside = outline.distance(at / scale) * scale;
        let alpha = (inside / soft + 0.5).clamp(0.0, 1.0);
        *sample = sample.map(|v| v * alpha);
    }
    padded(&Grid { width, height, data })
}

/// `texture` with an empty margin.
fn padded(texture: &Grid<[f32; 4]>) -> Grid<[f32; 4]> {
    let (width, height) = (texture.width + 2 * PAD, texture.height + 2 * PAD);
    let mut out = Grid::filled(width, height, [0.0; 4]);
    for (y, row) in texture.data.chunks_exact(texture.width).enumerate() {
        let start = (y + PAD) * width + PAD;
        out.data[start..start + row.len()].copy_from_slice(row);
    }
    out
}

/// A closed outline around (0, 0), of a size near 1.
enum Outline {
    /// Distance from the centre by direction (a Fourier series, tabulated), squeezed across one axis.
    Blob { radius: Vec<f32>, squeeze: Vec2, half_size: Vec2 },
    /// A rounded box, which a bar, a disc and a pole are too.
    Box { half: Vec2, corner: f32, along: Vec2 },
}

impl Outline {
    /// An outline to be drawn `size` texels long.
    fn random(rng: &mut ChaCha8Rng, size: f32) -> Self {
        if rng.random_bool(0.65) {
            const DIRECTIONS: usize = 256;
            let roughness = rng.random_range(0.1..0.55f32);
            let waves: Vec<(f32, f32, f32)> = (1..=7)
                .map(|k| (k as f32, roughness * rng.random_range(0.0..1.0f32) / (k as f32).powf(0.9), rng.random_range(0.0..TAU)))
                .collect();
            let radius: Vec<f32> = (0..=DIRECTIONS)
                .map(|i| i as f32 * TAU / DIRECTIONS as f32 - PI)
                .map(|angle| (1.0 + waves.iter().map(|(k, a, phase)| a * (k * angle + phase).cos()).sum::<f32>()).max(0.15))
                .collect();
            let squeeze = if rng.random_bool(0.5) { rng.random_range(0.35..0.8) } else { 1.0 };
            let squeeze = if rng.random_bool(0.5) { Vec2::new(1.0, squeeze) } else { Vec2::new(squeeze, 1.0) };
            let half_size = (0..DIRECTIONS).fold(Vec2::ZERO, |most, i| {
                most.max((Vec2::from_angle(i as f32 * TAU / DIRECTIONS as f32 - PI) * radius[i] * squeeze).abs())
            });
            return Self::Blob { radius, squeeze, half_size: half_size * 1.02 };
        }
        // One in three is thin: a pole, a rope, an arm.
        let across: f32 = if rng.random_bool(0.33) { rng.random_range(0.05..0.16) } else { rng.random_range(0.35..1.0) };
        // Thinner than this it would not be solid anywhere.
        let across = across.max(3.0 / size).min(1.0);
        let corner = across * rng.random_range(0.0..1.0f32);
        Self::Box { half: Vec2::new(1.0, across), corner, along: Vec2::from_angle(rng.random_range(0.0..TAU)) }
    }

    fn half_size(&self) -> Vec2 {
        match self {
            Self::Blob { half_size, .. } => *half_size,
            Self::Box { half, along, .. } => {
                let along = along.abs();
                Vec2::new(half.x * along.x + half.y * along.y, half.x * along.y + half.y * along.x)
            }
        }
    }

    /// Distance of `at` from the outline, about, positive inside.
    fn distance(&self, at: Vec2) -> f32 {
        match self {
            Self::Blob { radius, squeeze, .. } => {
                let at = at / *squeeze;
                let place = (at.y.atan2(at.x) + PI) / TAU * (radius.len() - 1) as f32;
                let i = (place as usize).min(radius.len() - 2);
                let f = place - i as f32;
                let edge = radius[i] * (1.0 - f) + radius[i + 1] * f;
                // Along the radius the outline is met at a slant: the true distance is shorter.
                let slope = (radius[i + 1] - radius[i]) * (radius.len() - 1) as f32 / TAU / edge;
                (edge - at.length()) * squeeze.min_element() / (1.0 + slope * slope).sqrt()
            }
            Self::Box { half, corner, along } => {
                let q = along.rotate(Vec2::new(at.x, -at.y)).abs() - *half + *corner;
                corner - q.max(Vec2::ZERO).length() - q.max_element().min(0.0)
            }
        }
    }
}

/// A change of colour: brightness curve per channel, saturation and a little hue.
pub(super) struct Tint {
    curves: [[f32; CURVE + 2]; 3],
    mix: [[f32; 3]; 3],
}

const CURVE: usize = 64;

impl Tint {
    /// A random tint; `strength` 1 for photographs, less for what should keep its colours.
    pub fn random(rng: &mut ChaCha8Rng, strength: f32) -> Self {
        let plain = rng.random_bool(0.2);
        let strength = if plain { 0.0 } else { strength };
        let mut vary = |amount: f32| rng.random_range(-1.0..1.0f32) * amount * strength;
        let (gamma, gain, contrast) = (vary(0.35).exp(), vary(0.12).exp(), vary(0.15).exp());
        let saturation = 1.0 + vary(0.4);
        let (sin, cos) = vary(0.25).sin_cos();
        let curves = std::array::from_fn(|_| {
            let own = vary(0.08).exp();
            std::array::from_fn(|i| {
                let value = (i as f32 / CURVE as f32).min(1.0).powf(gamma);
                ((value - 0.5) * contrast + 0.5) * gain * own
            })
        });
        // Rotation and scaling of the chroma plane about the grey axis.
        let mix = std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let grey = 1.0 / 3.0;
                let same = if row == column { 1.0 } else { 0.0 };
                let cross = [0.0, -1.0, 1.0][(3 + column - row) % 3] / 3f32.sqrt();
                grey + saturation * (cos * (same - grey) + sin * cross)
            })
        });
        Self { curves, mix }
    }

    /// Changes premultiplied samples in place.
    pub fn apply(&self, samples: &mut [[f32; 4]]) {
        for sample in samples {
            let alpha = sample[3];
            if alpha <= 0.0 {
                continue;
            }
            let bent: [f32; 3] = std::array::from_fn(|c| {
                let place = (sample[c] / alpha).clamp(0.0, 1.0) * CURVE as f32;
                let i = place as usize;
                let f = place - i as f32;
                self.curves[c][i] * (1.0 - f) + self.curves[c][i + 1] * f
            });
            for (c, row) in self.mix.iter().enumerate() {
                sample[c] = (row[0] * bent[0] + row[1] * bent[1] + row[2] * bent[2]).clamp(0.0, 1.0) * alpha;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn outlines_lie_within_their_size_and_around_the_centre() {
        for seed in 0..100 {
            let outline = Outline::random(&mut ChaCha8Rng::seed_from_u64(seed), 40.0);
            let half = outline.half_size();
            assert!(outline.distance(Vec2::ZERO) > 0.0);
            for i in 0..64 {
                let way = Vec2::from_angle(i as f32 * TAU / 64.0);
                let border = way * (half.x / way.x.abs().max(1e-6)).min(half.y / way.y.abs().max(1e-6)) * 1.01;
                assert!(outline.distance(border) <= 0.0, "{seed}: {border}");
            }
        }
    }

    #[test]
    fn a_tint_keeps_grey_nearly_grey_and_the_range() {
        for seed in 0..50 {
            let tint = Tint::random(&mut ChaCha8Rng::seed_from_u64(seed), 1.0);
            let mut samples = [[0.25, 0.25, 0.25, 0.5], [0.9, 0.1, 0.0, 1.0], [0.0; 4]];
            tint.apply(&mut samples);
            let [r, g, b, alpha] = samples[0];
            assert!(alpha == 0.5 && (r - g).abs() < 0.12 && (g - b).abs() < 0.12, "{:?}", samples[0]);
            assert!(samples.iter().all(|s| s[..3].iter().all(|v| (0.0..=s[3]).contains(v))));
            assert_eq!(samples[2], [0.0; 4]);
        }
    }
}
