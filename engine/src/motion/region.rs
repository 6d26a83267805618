//! Regions: which pixels of the picture a stroke takes or a pin keeps.
//!
//! Invariant: a rasterised region is 0 outside its outline and 1 well inside, antialiased in between; softness only takes away
//! inside the outline, never adds outside, so a soft region ends where its outline is drawn. Guarded by the tests below.

use std::path::{Path, PathBuf};

use glam::{Affine2, Vec2};
use serde::{Deserialize, Serialize};

use super::raster::{brush, lasso};
use crate::media::picture_file::load_mask;
use crate::picture::Mask;
use crate::{Error, Result};

/// Most points of one outline.
const MAX_POINTS: usize = 100_000;
/// How far outside the picture a place may lie, in picture sizes.
const REACH: f32 = 4.0;

/// A part of the picture; coordinates are picture px.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Region {
    /// A round brush set down once.
    Disc {
        /// Its middle.
        center: (f32, f32),
        /// Its radius, px.
        radius: f32,
        /// The outer part of the radius over which the region fades, 0 (hard) to 1.
        #[serde(default)]
        softness: f32,
    },
    /// A round brush drawn along points.
    Brush {
        /// Where the brush went, one point or more.
        points: Vec<(f32, f32)>,
        /// Its radius, px.
        radius: f32,
        /// The outer part of the radius over which the region fades, 0 (hard) to 1.
        #[serde(default)]
        softness: f32,
    },
    /// A closed outline; where it crosses itself everything circled is inside (non-zero winding).
    Lasso {
        /// The outline, three points or more.
        points: Vec<(f32, f32)>,
        /// Width of the fade inside the outline, px; 0 is hard.
        #[serde(default)]
        softness: f32,
    },
    /// A cut-out (its opaque part) or a grey picture (its bright part); resampled when its size is another.
    MaskFile {
        /// The file, relative to the project.
        path: PathBuf,
        /// Whether grey means "moves partly" rather than "partly covered".
        #[serde(default)]
        soft: bool,
    },
    /// The whole picture.
    All,
}

/// How the picture lies in a scene of another size: `scene = picture * scale + offset`, px.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// The picture's width and height.
    pub picture: (usize, usize),
    /// The scene's width and height.
    pub scene: (usize, usize),
    /// Scene px per picture px.
    pub scale: Vec2,
    /// Scene place of the picture's top-left corner, px.
    pub offset: Vec2,
}

impl Placement {
    /// The whole picture, stretched to the scene.
    pub fn stretch(picture: (usize, usize), scene: (usize, usize)) -> Self {
        let scale = Vec2::new(scene.0 as f32 / picture.0 as f32, scene.1 as f32 / picture.1 as f32);
        Self { picture, scene, scale, offset: Vec2::ZERO }
    }

    /// The picture's middle, undistorted, cut to the scene's proportions.
    pub fn cover(picture: (usize, usize), scene: (usize, usize)) -> Self {
        let stretch = Self::stretch(picture, scene);
        let scale = Vec2::splat(stretch.scale.max_element());
        let spare = Vec2::new(scene.0 as f32, scene.1 as f32) - Vec2::new(picture.0 as f32, picture.1 as f32) * scale;
        Self { scale, offset: spare * 0.5, ..stretch }
    }

    /// The map from picture px to scene px.
    pub fn scene_from_picture(&self) -> Affine2 {
        Affine2::from_scale_angle_translation(self.scale, 0.0, self.offset)
    }

    /// Picture x of a scene x.
    pub(crate) fn picture_x(&self, scene_x: f32) -> f32 {
        (scene_x - self.offset.x) / self.scale.x
    }

    /// Picture y of a scene y.
    pub(crate) fn picture_y(&self, scene_y: f32) -> f32 {
        (scene_y - self.offset.y) / self.scale.y
    }
}

impl Region {
    /// The region over its own picture of `width` x `height` px; mask files are looked for from `base_dir`.
    ///
    /// # Errors
    /// A mask file that is missing, broken or all black.
    pub fn rasterize(&self, width: usize, height: usize, base_dir: &Path) -> Result<Mask> {
        self.rasterize_placed(&Placement::stretch((width, height), (width, height)), base_dir)
    }

    /// The region as it lies in a scene of another size.
    ///
    /// # Errors
    /// As [`Region::rasterize`].
    pub fn rasterize_placed(&self, placement: &Placement, base_dir: &Path) -> Result<Mask> {
        let (width, height) = placement.scene;
        Ok(match self {
            Self::All => Mask::filled(width, height, 1.0),
            Self::Disc { center, radius, softness } => brush(&[*center], *radius, *softness, placement),
            Self::Brush { points, radius, softness } => brush(points, *radius, *softness, placement),
            Self::Lasso { points, softness } => lasso(points, *softness, placement),
            Self::MaskFile { path, .. } => {
                let size = |pixels: usize, scale: f32| ((pixels as f32 * scale).round() as usize).max(1);
                let (w, h) = (size(placement.picture.0, placement.scale.x), size(placement.picture.1, placement.scale.y));
                let mask = read_mask(&base_dir.join(path))?.resized(w, h);
                let place = |x: usize, offset: f32| x as f32 + 0.5 - offset;
                Mask::from_fn(width, height, |x, y| {
                    let (x, y) = (place(x, placement.offset.x), place(y, placement.offset.y));
                    let inside = (0.0..=w as f32).contains(&x) && (0.0..=h as f32).contains(&y);
                    if inside { mask.bilinear(x, y) } else { 0.0 }
                })
            }
        })
    }

    /// Whether the region's values are weights of motion rather than coverage.
    pub fn is_soft(&self) -> bool {
        match self {
            Self::Disc { softness, .. } | Self::Brush { softness, .. } | Self::Lasso { softness, .. } => *softness > 0.0,
            Self::MaskFile { soft, .. } => *soft,
            Self::All => false,
        }
    }

    /// The region's middle, picture px: what it turns about when nothing else is said.
    ///
    /// # Errors
    /// As [`Region::rasterize`].
    pub fn center(&self, picture: (usize, usize), base_dir: &Path) -> Result<Vec2> {
        Ok(match self {
            Self::All => Vec2::new(picture.0 as f32, picture.1 as f32) * 0.5,
            Self::Disc { center, .. } => (*center).into(),
            Self::Brush { points, .. } => points.iter().map(|p| Vec2::from(*p)).sum::<Vec2>() / points.len().max(1) as f32,
            Self::Lasso { points, .. } => polygon_centroid(points),
            Self::MaskFile { path, .. } => {
                let mask = read_mask(&base_dir.join(path))?;
                let (mut sum, mut weight) = (glam::DVec2::ZERO, 0.0);
                for (i, value) in mask.data.iter().enumerate() {
                    let place = glam::DVec2::new((i % mask.width) as f64 + 0.5, (i / mask.width) as f64 + 0.5);
                    sum += place * f64::from(*value);
                    weight += f64::from(*value);
                }
                let scale = Vec2::new(picture.0 as f32 / mask.width as f32, picture.1 as f32 / mask.height as f32);
                (sum / weight).as_vec2() * scale
            }
        })
    }

    /// Checks every value; `field` is the region's own name, for example `pins[0]`.
    ///
    /// # Errors
    /// The first value that is not usable, by name.
    pub fn validate(&self, field: &str, picture: (usize, usize)) -> Result<()> {
        let (points, radius, softness, soft_max): (&[(f32, f32)], f32, f32, f32) = match self {
            Self::All => return Ok(()),
            Self::MaskFile { path, .. } if path.as_os_str().is_empty() => {
                return Err(Error::field(format!("{field}.path"), "is empty; name a mask file"));
            }
            Self::MaskFile { .. } => return Ok(()),
            Self::Disc { center, radius, softness } => (std::slice::from_ref(center), *radius, *softness, 1.0),
            Self::Brush { points, radius, softness } => (points, *radius, *softness, 1.0),
            Self::Lasso { points, softness } => (points, 0.0, *softness, 100_000.0),
        };
        let is_lasso = matches!(self, Self::Lasso { .. });
        let needed = if is_lasso { 3 } else { 1 };
        if !(needed..=MAX_POINTS).contains(&points.len()) {
            let what = format!("has {} points; it needs at least {needed} and at most {MAX_POINTS}", points.len());
            return Err(Error::field(format!("{field}.points"), what));
        }
        for (i, point) in points.iter().enumerate() {
            let at = if matches!(self, Self::Disc { .. }) { "center".to_owned() } else { format!("points[{i}]") };
            check_place(&format!("{field}.{at}"), (*point).into(), picture)?;
        }
        let largest = REACH * (picture.0 + picture.1) as f32;
        let radius_fits = radius > 0.0 && radius <= largest;
        if !(is_lasso || radius_fits) {
            let what = format!("is {radius}; it must be more than 0 and at most {largest} px");
            return Err(Error::field(format!("{field}.radius"), what));
        }
        if !(0.0..=soft_max).contains(&softness) {
            return Err(Error::field(format!("{field}.softness"), format!("is {softness}; it must lie between 0 and {soft_max}")));
        }
        let (low, high) = bounds(points);
        if high.x + radius <= 0.0 || high.y + radius <= 0.0 || low.x - radius >= picture.0 as f32 || low.y - radius >= picture.1 as f32 {
            return Err(Error::field(field, "lies outside the picture; draw it on the picture"));
        }
        if is_lasso && (high - low).min_element() <= 0.0 {
            return Err(Error::field(format!("{field}.points"), "enclose nothing: all lie on one line; draw around something"));
        }
        Ok(())
    }
}

/// A place that is finite and not absurdly far from the picture.
pub(crate) fn check_place(field: &str, place: Vec2, picture: (usize, usize)) -> Result<()> {
    if !place.is_finite() {
        return Err(Error::field(field, format!("is ({}, {}); places must be finite numbers", place.x, place.y)));
    }
    let size = Vec2::new(picture.0 as f32, picture.1 as f32);
    let far = place.cmplt(size * -REACH).any() || place.cmpgt(size * (1.0 + REACH)).any();
    if far {
        let what = format!(
            "is ({}, {}), more than {REACH} picture sizes outside the {}x{} picture; move it nearer",
            place.x, place.y, picture.0, picture.1
        );
        return Err(Error::field(field, what));
    }
    Ok(())
}

fn bounds(points: &[(f32, f32)]) -> (Vec2, Vec2) {
    points.iter().fold((Vec2::INFINITY, Vec2::NEG_INFINITY), |(low, high), p| (low.min((*p).into()), high.max((*p).into())))
}

/// Area centroid of a polygon; the mean of its points when it encloses nothing.
fn polygon_centroid(points: &[(f32, f32)]) -> Vec2 {
    let mean = points.iter().map(|p| Vec2::from(*p)).sum::<Vec2>() / points.len().max(1) as f32;
    let (mut sum, mut doubled_area) = (Vec2::ZERO, 0.0);
    for (i, point) in points.iter().enumerate() {
        let (a, b) = (Vec2::from(*point) - mean, Vec2::from(points[(i + 1) % points.len()]) - mean);
        let cross = a.perp_dot(b);
        sum += (a + b) * cross;
        doubled_area += cross;
    }
    if doubled_area.abs() > 1e-3 { mean + sum / (3.0 * doubled_area) } else { mean }
}

/// A mask file that shows something.
fn read_mask(path: &Path) -> Result<Mask> {
    let mask = load_mask(path)?;
    if mask.data.iter().all(|value| *value <= 0.0) {
        return Err(Error::file(path, "the mask is all black; paint the region white"));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::motion::raster::smoothstep;

    fn area(mask: &Mask) -> f32 {
        mask.data.iter().sum()
    }

    fn raster(region: &Region, width: usize, height: usize) -> Mask {
        region.rasterize(width, height, Path::new(".")).unwrap()
    }

    #[test]
    fn hard_regions_have_their_exact_area() {
        let disc = Region::Disc { center: (50.3, 40.7), radius: 20.0, softness: 0.0 };
        assert!((area(&raster(&disc, 100, 80)) / (std::f32::consts::PI * 400.0) - 1.0).abs() < 0.005);
        let brush = Region::Brush { points: vec![(20.0, 20.0), (60.0, 20.0), (60.0, 60.0)], radius: 5.0, softness: 0.0 };
        let expected = 2.0 * 40.0 * 10.0 + std::f32::consts::PI * 25.0 - 25.0 + std::f32::consts::PI * 25.0 / 4.0;
        assert!((area(&raster(&brush, 100, 80)) / expected - 1.0).abs() < 0.01);
        let lasso = Region::Lasso { points: vec![(10.25, 10.5), (90.5, 20.0), (30.0, 70.25)], softness: 0.0 };
        let (a, b) = (Vec2::new(80.25, 9.5), Vec2::new(19.75, 59.75));
        assert!((area(&raster(&lasso, 100, 80)) - a.perp_dot(b) / 2.0).abs() < 2.0);
    }

    #[test]
    fn a_rectangle_covers_pixels_by_the_part_inside() {
        let points = vec![(2.25, 1.0), (5.5, 1.0), (5.5, 3.5), (2.25, 3.5)];
        let mask = raster(&Region::Lasso { points, softness: 0.0 }, 8, 5);
        assert_eq!((mask.at(2, 1), mask.at(3, 2), mask.at(5, 2), mask.at(3, 3)), (0.75, 1.0, 0.5, 0.5));
        assert_eq!((mask.at(1, 2), mask.at(6, 2), mask.at(3, 4)), (0.0, 0.0, 0.0));
    }

    #[test]
    fn everything_circled_is_inside() {
        // A pentagram drawn in one line: its middle is wound twice.
        let points = (0..5).map(|i| Vec2::from_angle(i as f32 * 2.0 * std::f32::consts::TAU / 5.0) * 40.0 + 50.0).map(Into::into);
        let mask = raster(&Region::Lasso { points: points.collect(), softness: 0.0 }, 100, 100);
        assert_eq!(mask.at(50, 50), 1.0);
    }

    #[test]
    fn softness_fades_inside_the_outline_only() {
        let square = vec![(10.0, 10.0), (70.0, 10.0), (70.0, 70.0), (10.0, 70.0)];
        let soft = raster(&Region::Lasso { points: square, softness: 20.0 }, 80, 80);
        assert_eq!((soft.at(9, 40), soft.at(40, 40)), (0.0, 1.0));
        assert!((soft.at(19, 40) - smoothstep(9.5 / 20.0)).abs() < 1e-3);
        let disc = raster(&Region::Disc { center: (40.0, 40.0), radius: 30.0, softness: 1.0 }, 80, 80);
        assert!(disc.at(70, 40) == 0.0 && disc.at(40, 40) > 0.99 && (disc.at(54, 39) - 0.5).abs() < 0.05);
    }

    #[test]
    fn placed_regions_keep_their_part_of_the_picture() {
        let region = Region::Brush { points: vec![(100.0, 50.0), (200.0, 120.0)], radius: 30.0, softness: 0.3 };
        let whole = raster(&region, 300, 200);
        for scene in [(150, 100), (384, 216), (90, 160)] {
            let part = region.rasterize_placed(&Placement::stretch((300, 200), scene), Path::new(".")).unwrap();
            let (a, b) = (area(&whole) / 60_000.0, area(&part) / (scene.0 * scene.1) as f32);
            assert!((a - b).abs() < 0.003, "{scene:?}: {a} {b}");
        }
        let cover = Placement::cover((300, 200), (100, 100));
        assert_eq!(cover.scene_from_picture().transform_point2(Vec2::new(150.0, 0.0)), Vec2::new(50.0, 0.0));
        let part = region.rasterize_placed(&cover, Path::new(".")).unwrap();
        assert!((part.bilinear(50.0, 42.5) - whole.bilinear(150.0, 85.0)).abs() < 1e-3);
    }

    #[test]
    fn mask_files_of_another_size_are_resampled_and_black_ones_refused() {
        let folder = tempfile::tempdir().unwrap();
        let paint = |name: &str, f: fn(u32, u32) -> u8| {
            image::GrayImage::from_fn(50, 40, |x, y| image::Luma([f(x, y)])).save(folder.path().join(name)).unwrap();
            Region::MaskFile { path: name.into(), soft: false }
        };
        let half = paint("half.png", |x, _| if x < 25 { 255 } else { 0 });
        let mask = half.rasterize(100, 60, folder.path()).unwrap();
        assert_eq!((mask.at(20, 30), mask.at(80, 30)), (1.0, 0.0));
        assert!((half.center((100, 60), folder.path()).unwrap() - Vec2::new(25.0, 30.0)).length() < 1e-3);
        for (region, words) in [
            (paint("black.png", |_, _| 0), "black.png: the mask is all black"),
            (Region::MaskFile { path: "none.png".into(), soft: false }, "none.png: does not exist"),
        ] {
            let message = region.rasterize(10, 10, folder.path()).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn centers_are_the_middle_of_the_area() {
        let triangle = Region::Lasso { points: vec![(0.0, 0.0), (30.0, 0.0), (0.0, 30.0)], softness: 0.0 };
        assert!((triangle.center((40, 40), Path::new(".")).unwrap() - Vec2::splat(10.0)).length() < 1e-3);
        assert_eq!(Region::All.center((40, 20), Path::new(".")).unwrap(), Vec2::new(20.0, 10.0));
    }

    #[test]
    fn bad_regions_are_named() {
        let line = vec![(1.0, 1.0), (9.0, 1.0), (5.0, 1.0)];
        let cases = [
            (Region::Lasso { points: vec![(1.0, 1.0), (2.0, 2.0)], softness: 0.0 }, "pins[0].points: has 2 points"),
            (Region::Lasso { points: line, softness: 0.0 }, "pins[0].points: enclose nothing"),
            (Region::Lasso { points: vec![(1.0, 1.0), (9.0, f32::NAN), (5.0, 5.0)], softness: 0.0 }, "pins[0].points[1]: is (9, NaN)"),
            (Region::Disc { center: (5.0, 5.0), radius: 0.0, softness: 0.0 }, "pins[0].radius: is 0"),
            (Region::Disc { center: (5.0, 5.0), radius: f32::NAN, softness: 0.0 }, "pins[0].radius: is NaN"),
            (Region::Disc { center: (5.0, 5.0), radius: 2.0, softness: 1.5 }, "pins[0].softness: is 1.5"),
            (Region::Disc { center: (-30.0, 5.0), radius: 2.0, softness: 0.0 }, "pins[0]: lies outside"),
            (Region::Brush { points: vec![], radius: 2.0, softness: 0.0 }, "pins[0].points: has 0 points"),
            (Region::Brush { points: vec![(0.0, 0.0); MAX_POINTS + 1], radius: 2.0, softness: 0.0 }, "pins[0].points: has 100001"),
            (Region::MaskFile { path: "".into(), soft: false }, "pins[0].path: is empty"),
        ];
        for (region, words) in cases {
            let message = region.validate("pins[0]", (20, 20)).unwrap_err().to_string();
            assert!(message.starts_with(words), "{message}");
        }
    }
}
