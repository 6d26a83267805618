//! A pair of pictures from two places with true disparities: what a camera move over real depth is measured on.
//!
//! Disparities are given on the *left* picture's grid: `left[y, x]` shows what `right[y, x - disparity]` shows. (scikit-image, which
//! ships the pair, documents them for the right one; there the two pictures agree at 19 dB, so at 27.) The left picture is the source; for the right one every
//! disparity is carried to where it belongs, the nearest surface winning. Invariant: nothing is compared where the pair knows no truth.
//! Guarded by the tests below.

use std::path::Path;

use glam::{Quat, Vec2, Vec3};
use rayon::prelude::*;

use crate::media::picture_file::load_picture;
use crate::motion::camera::{Camera, Lens, View};
use crate::motion::depth::DepthMap;
use crate::motion::npz::read_plane;
use crate::picture::{Mask, Picture};
use crate::{Error, Result};

/// Neighbouring disparities that differ by more belong to two surfaces, px.
const SURFACE_STEP_PX: f32 = 1.0;

/// Two pictures of one scene, the right one taken by one baseline to the right.
#[derive(Clone, Debug)]
pub struct StereoPair {
    /// The left picture: the source.
    pub left: Picture,
    /// The right picture: the truth.
    pub right: Picture,
    /// Px from each pixel of the left picture to the right one's, to the left; NaN where unknown.
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
        let mut disparity = read_plane(&file("motorcycle_disp.npz"))?;
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

    /// The disparity of each pixel of the right picture, NaN where none is known or the left one does not show it: every stretch of
    /// surface between two pixels of the left picture is carried over, the nearest wins.
    pub fn right_disparity(&self) -> Mask {
        let (width, height) = (self.left.width, self.left.height);
        let mut right = Mask::filled(width, height, f32::NAN);
        right.data.par_chunks_mut(width.max(1)).zip(self.disparity.data.par_chunks(width.max(1))).for_each(|(row, given)| {
            for (x, pair) in given.windows(2).enumerate() {
                let (from, to) = (x as f32 - pair[0], (x + 1) as f32 - pair[1]);
                if (pair[0] - pair[1]).abs() > SURFACE_STEP_PX || !(to > from) {
                    continue;
                }
                for target in from.ceil().max(0.0) as usize..(to.floor() + 1.0).clamp(0.0, width as f32) as usize {
                    let d = pair[0] + (target as f32 - from) / (to - from) * (pair[1] - pair[0]);
                    if row[target].is_nan() || row[target] < d {
                        row[target] = d;
                    }
                }
            }
        });
        right
    }

    /// Inverse depth of each pixel of the left picture; where the pair knows none, as far as the farther side of the same row.
    pub fn depth(&self) -> DepthMap {
        let mut inverse = self.disparity.clone();
        let width = inverse.width;
        inverse.data.par_chunks_mut(width.max(1)).for_each(|row| {
            let mut start = 0;
            while let Some(first) = (start..width).find(|&x| row[x].is_nan()) {
                start = (first..width).find(|&x| !row[x].is_nan()).unwrap_or(width);
                let sides = [first.checked_sub(1), Some(start).filter(|x| *x < width)];
                let far = sides.into_iter().flatten().map(|x| row[x]).fold(f32::INFINITY, f32::min);
                row[first..start].fill(if far.is_finite() { far } else { 0.0 });
            }
            row.iter_mut().for_each(|d| *d = self.inverse_depth(*d).max(0.0));
        });
        DepthMap { inverse }
    }

    /// What the right camera sees of the left picture.
    pub fn view(&self) -> View {
        let lens = Lens { principal_px: self.lens.principal_px + Vec2::X * self.offset_px, ..self.lens };
        View::new(&self.lens, &Camera { position: Vec3::X * self.baseline, rotation: Quat::IDENTITY, lens })
    }

    /// The right picture as the left one gives it under its true disparities, bilinear; black where these are unknown.
    pub fn bilinear_warp(&self, right_disparity: &Mask) -> Picture {
        Picture::from_fn(self.right.width, self.right.height, |x, y| {
            let d = right_disparity.at(x, y);
            if d.is_nan() { [0.0; 3] } else { self.left.bilinear(x as f32 + 0.5 + d, y as f32 + 0.5) }
        })
    }

    /// Points that both pictures show: one of every `step` pixels of the right one along both axes, with its place in the left picture.
    pub fn tracks(&self, right_disparity: &Mask, step: usize) -> Vec<(Vec2, Vec2)> {
        let places = (0..self.right.height).step_by(step).flat_map(|y| (0..self.right.width).step_by(step).map(move |x| (x, y)));
        let track = |(x, y): (usize, usize)| {
            let (d, truth) = (right_disparity.at(x, y), Vec2::new(x as f32, y as f32) + 0.5);
            (d.is_finite() && truth.x + d < self.left.width as f32).then_some((truth + Vec2::X * d, truth))
        };
        places.filter_map(track).collect()
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
    fn pair() -> StereoPair {
        let (width, height) = (64, 24);
        let inside = |x: usize, y: usize| (24..40).contains(&x) && (6..18).contains(&y);
        let disparity = Mask::from_fn(width, height, |x, y| match () {
            () if inside(x, y) => 9.0,
            () if x == 60 => f32::NAN,
            () => 3.0,
        });
        let left = Picture::from_fn(width, height, |x, y| [x as f32 / 64.0, y as f32 / 24.0, ((x * 7 + y * 3) % 5) as f32 / 5.0]);
        let lens = Lens { focal_px: 60.0, principal_px: Vec2::new(30.0, 12.0) };
        StereoPair { right: left.clone(), left, disparity, lens, baseline: 0.5, offset_px: 4.0 }
    }

    #[test]
    fn disparities_are_carried_to_the_right_picture_and_the_nearest_wins() {
        let pair = pair();
        let right = pair.right_disparity();
        // The box is at 15..31 there; what was at 34..37 of the wall comes to light only there.
        assert_eq!([right.at(10, 2), right.at(15, 10), right.at(30, 10), right.at(20, 10), right.at(40, 10)], [3.0, 9.0, 9.0, 9.0, 3.0]);
        assert!(right.at(34, 10).is_nan() && right.at(57, 10).is_nan(), "unseen from the left, and unknown");
        assert_eq!(pair.bilinear_warp(&right).at(20, 10), pair.left.at(29, 10));
        for (source, truth) in pair.tracks(&right, 4) {
            let w = pair.depth().inverse.at(source.x as usize, source.y as usize);
            assert!(pair.view().project(source, w).unwrap().0.distance(truth) < 1e-3);
        }
        assert!(pair.depth().inverse.data.iter().all(|w| *w > 0.0));
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
