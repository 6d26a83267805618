//! How far a picture shows a point from where another does: one point, small distances, sub-pixel (Lucas & Kanade 1981).
//!
//! Invariant: none is returned where the texture does not determine the place, rather than a wrong distance. Guarded by the tests below.

use crate::picture::Picture;
use glam::Vec2;

/// Half side of the compared window, px.
const RADIUS: i32 = 7;
const ITERATIONS: usize = 20;
/// Smallest eigenvalue of the structure tensor per pixel: below it a place is not determined.
const TEXTURE: f32 = 1e-4;
/// Beyond this distance, px, the search has left what it was given.
const REACH: f32 = 6.0;

fn luma(picture: &Picture, at: Vec2) -> f32 {
    let [r, g, b] = picture.bilinear(at.x, at.y);
    0.299 * r + 0.587 * g + 0.114 * b
}

/// From where `reference` shows what is at `at` to where `picture` shows it, px.
pub fn displacement(reference: &Picture, picture: &Picture, at: Vec2) -> Option<Vec2> {
    let offsets = || (-RADIUS..=RADIUS).flat_map(|y| (-RADIUS..=RADIUS).map(move |x| Vec2::new(x as f32, y as f32)));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    let samples: Vec<(Vec2, f32, Vec2)> = offsets()
        .map(|o| {
            let p = at + o;
            let slope = |d: Vec2| 0.5 * (luma(reference, p + d) - luma(reference, p - d));
            let gradient = Vec2::new(slope(Vec2::X), slope(Vec2::Y));
            xx += gradient.x * gradient.x;
            xy += gradient.x * gradient.y;
            yy += gradient.y * gradient.y;
            (o, luma(reference, p), gradient)
        })
        .collect();
    let determinant = xx * yy - xy * xy;
    let smallest = 0.5 * (xx + yy - ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt());
    if smallest < TEXTURE * samples.len() as f32 {
        return None;
    }
    let mut moved = Vec2::ZERO;
    for _ in 0..ITERATIONS {
        let pull = samples.iter().fold(Vec2::ZERO, |sum, (o, value, gradient)| sum + *gradient * (value - luma(picture, at + *o + moved)));
        let step = Vec2::new(yy * pull.x - xy * pull.y, xx * pull.y - xy * pull.x) / determinant;
        moved = (moved + step).clamp_length_max(REACH);
        if step.length() < 0.01 {
            break;
        }
    }
    Some(moved)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn waves(shift: Vec2) -> Picture {
        Picture::from_fn(48, 48, |x, y| {
            let (x, y) = (x as f32 - shift.x, y as f32 - shift.y);
            [0.5 + 0.2 * (x * 0.5).sin() + 0.2 * (y * 0.4 + x * 0.1).cos(); 3]
        })
    }

    #[test]
    fn a_shift_is_found_and_flat_places_are_not_judged() {
        let shift = Vec2::new(1.3, -0.7);
        let found = displacement(&waves(Vec2::ZERO), &waves(shift), Vec2::new(24.0, 24.0)).unwrap();
        assert!((found - shift).length() < 0.05, "{found}");
        let flat = Picture::filled(48, 48, [0.5; 3]);
        assert!(displacement(&flat, &flat, Vec2::new(24.0, 24.0)).is_none());
    }
}
