//! A pair of pictures from two places with true disparities: what a camera move over real depth is measured on.
//!
//! Disparities are given on the *right* picture's grid: `right[y, x]` shows what `left[y, x + disparity]` shows. So the left picture,
//! which is the source, gets its depth by carrying every disparity to where it belongs, the nearest surface winning. Invariant: a depth
//! is given only where the pair knows one. Guarded by the tests below.

use std::path::Path;

use glam::{Quat, Vec2, Vec3};
use rayon::prelude::*;

use crate::media::picture_file::load_picture;
use crate::motion::camera::{Camera, Lens, View};
use crate::motion::npz::load_plane;
use crate::picture::{Grid, Mask, Picture};
use crate::{Error, Result};

/// Neighbouring disparities that differ by more belong to two surfaces, px.
const SURFACE_STEP_PX: f32 = 1.0;
/// A place whose true surface lies this much behind what is seen there is hidden, px of disparity.
const HIDDEN_PX: f32 = 1.0;

/// Two pictures of one scene, the right one taken by one baseline to the right.
#[derive(Clone, Debug)]
pub struct StereoPair {
    /// The left picture: the source.
    pub left: Picture,
    /// The right picture: the truth.
    pub right: Picture,
    /// Px from each pixel of the right picture to the left one's; NaN where unknown.
    pub disparity: Mask,
    /// Lens of the left picture.
    pub lens: Lens,
    /// Distance of the two cameras, world units (mm).
    pub baseline: f32,
    /// How far the right picture's principal point lies to the right of the left one's, px.
    pub offset_px: f32,
}

impl StereoPair {
    /// The Middlebury 2014 pair "motorcycle" at quarter size, as scikit-image ships it, with its calibration, from `folder`.
    ///
    /// # Errors
    /// A file that is missing, damaged or of another size than the others.
    pub fn motorcycle(folder: &Path) -> Result<Self> {
        let file = |name: &str| folder.join(name);
        let (left, right) = (load_picture(&file("motorcycle_left.png"))?, load_picture(&file("motorcycle_right.png"))?);
        let mut disparity = load_plane(file("motorcycle_disp.npz"))?;
        for (name, size) in
            [("motorcycle_left.png", (left.width, left.height)), ("motorcycle_disp.npz", (disparity.width, disparity.height))]
        {
            if size != (right.width, right.height) {
                let what = format!(
                    "is {}x{}, but motorcycle_right.png is {}x{}; take the three files of one size",
                    size.0, size.1, right.width, right.height
                );
                return Err(Error::file(file(name), what));
            }
        }
        disparity.data.iter_mut().filter(|d| !(d.is_finite() && d.abs() < right.width as f32)).for_each(|d| *d = f32::NAN);
        // Published for pixel centres at whole numbers.
        let lens = Lens { focal_px: 994.978, principal_px: Vec2::new(311.193, 254.877) + 0.5 };
        Ok(Self { left, right, disparity, lens, baseline: 193.001, offset_px: 31.086 })
    }

    /// Inverse depth of a disparity, 1 / world units.
    pub fn inverse_depth(&self, disparity: f32) -> f32 {
        (disparity + self.offset_px) / (self.lens.focal_px * self.baseline)
    }

    /// The disparity of each pixel of the left picture, NaN where none is known: every stretch of surface between two pixels of the
    /// right picture is carried over, the nearest wins.
    pub fn left_disparity(&self) -> Mask {
        let (width, height) = (self.left.width, self.left.height);
        let mut left = Mask::filled(width, height, f32::NAN);
        left.data.par_chunks_mut(width.max(1)).zip(self.disparity.data.par_chunks(width.max(1))).for_each(|(row, given)| {
            for (x, pair) in given.windows(2).enumerate() {
                if !((pair[0] - pair[1]).abs() <= SURFACE_STEP_PX) {
                    continue;
                }
                let (from, to) = (x as f32 + pair[0], (x + 1) as f32 + pair[1]);
                for target in from.ceil().max(0.0) as usize..(to.floor() + 1.0).clamp(0.0, width as f32) as usize {
                    let part = if to > from { (target as f32 - from) / (to - from) } else { 0.0 };
                    let d = pair[0] + part * (pair[1] - pair[0]);
                    // NaN loses too.
                    if !(row[target] >= d) {
                        row[target] = d;
                    }
                }
            }
        });
        left
    }

    /// What the right camera sees of the left picture.
    pub fn view(&self) -> View {
        let lens = Lens { principal_px: self.lens.principal_px + Vec2::X * self.offset_px, ..self.lens };
        View::new(&self.lens, &Camera { position: Vec3::X * self.baseline, rotation: Quat::IDENTITY, lens })
    }

    /// Per pixel of the right picture whether the left one shows the same point, given the left disparities.
    pub fn seen_by_both(&self, left_disparity: &Mask) -> Grid<f32> {
        Mask::from_fn(self.right.width, self.right.height, |x, y| {
            let d = self.disparity.at(x, y);
            let place = x as f32 + d;
            if !(place >= 0.0 && place <= (self.left.width - 1) as f32) {
                return 0.0;
            }
            // Both neighbours, so that no place between two surfaces counts.
            let known = |u: f32| (left_disparity.at(u as usize, y) - d).abs() <= HIDDEN_PX;
            f32::from(known(place.floor()) && known(place.ceil()))
        })
    }

    /// The right picture as the left one gives it under the true disparities, bilinear; black where these are unknown.
    pub fn bilinear_warp(&self) -> Picture {
        Picture::from_fn(self.right.width, self.right.height, |x, y| {
            let d = self.disparity.at(x, y);
            if d.is_nan() { [0.0; 3] } else { self.left.bilinear(x as f32 + 0.5 + d, y as f32 + 0.5) }
        })
    }
}

/// Peak signal to noise ratio of `shown` against `truth` over the pixels where `counts` is above 0.5, dB; NaN over none.
pub fn psnr_db(shown: &Picture, truth: &Picture, counts: &Mask) -> f64 {
    let (mut sum, mut pixels) = (0.0, 0usize);
    for ((a, b), _) in shown.data.iter().zip(&truth.data).zip(&counts.data).filter(|(_, counts)| **counts > 0.5) {
        sum += (0..3).map(|c| f64::from(a[c] - b[c]).powi(2)).sum::<f64>();
        pixels += 1;
    }
    -10.0 * (sum / (3 * pixels) as f64).max(1e-10).log10()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// A wall with a nearer box before it, seen from two places.
    pub(crate) fn pair() -> StereoPair {
        let (width, height) = (64, 24);
        let inside = |x: usize, y: usize| (24..40).contains(&x) && (6..18).contains(&y);
        let disparity = Mask::from_fn(width, height, |x, y| {
            if inside(x, y) {
                9.0
            } else if x == 5 {
                f32::NAN
            } else {
                3.0
            }
        });
        let left = Picture::from_fn(width, height, |x, y| [x as f32 / 64.0, y as f32 / 24.0, ((x * 7 + y * 3) % 5) as f32 / 5.0]);
        let lens = Lens { focal_px: 60.0, principal_px: Vec2::new(30.0, 12.0) };
        StereoPair { right: left.clone(), left, disparity, lens, baseline: 0.5, offset_px: 4.0 }
    }

    #[test]
    fn disparities_are_carried_to_the_left_picture_and_the_nearest_wins() {
        let pair = pair();
        let left = pair.left_disparity();
        assert_eq!([left.at(20, 2), left.at(40, 10), left.at(33, 10), left.at(48, 10)], [3.0, 9.0, 9.0, 9.0]);
        assert!(left.at(8, 10).is_nan() && left.at(2, 10).is_nan(), "unknown, and seen from the left alone");
        let both = pair.seen_by_both(&left);
        // Of the wall, what the box hides from the left eye alone: right x 40..46 is left x 43..49, where the box is.
        assert_eq!([both.at(30, 10), both.at(42, 10), both.at(50, 10), both.at(5, 10)], [1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn the_view_moves_every_point_by_its_disparity() {
        let (pair, view) = (pair(), pair().view());
        for d in [3.0, 9.0] {
            let (seen, _) = view.project(Vec2::new(31.5, 7.5), pair.inverse_depth(d)).unwrap();
            assert!(seen.distance(Vec2::new(31.5 - d, 7.5)) < 1e-3, "{seen}");
        }
    }

    #[test]
    fn psnr_counts_what_it_is_told_to() {
        let (a, mut b) = (Picture::filled(4, 4, [0.5; 3]), Picture::filled(4, 4, [0.6; 3]));
        b.data[0] = [0.5; 3];
        let counts = Mask::from_fn(4, 4, |x, y| f32::from(x + y > 0));
        assert!((psnr_db(&a, &b, &counts) - 20.0).abs() < 1e-3);
    }
}
