//! How deep the picture is: from a file, a scene shape that a person fitted, or marks painted by hand.
//!
//! Depth is kept as its inverse (1 / world units): it is what parallax is proportional to, and the sky's is simply 0. Invariant: a depth
//! map is finite, not negative and nowhere nearer than [`NEAREST`]. Guarded by the tests of this folder.

mod file;
mod painted;
mod shape;
mod spread;

use std::path::{Path, PathBuf};

use glam::Vec2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::motion::camera::Lens;
use crate::motion::region::{Placement, Region, check_place};
use crate::picture::{Mask, Picture};
use crate::{Error, Result};

/// The nearest that anything may be, world units.
pub const NEAREST: f32 = 0.01;
/// The farthest distance that can be given, world units.
pub const FARTHEST: f32 = 1e6;
/// Most painted marks.
const MAX_MARKS: usize = 1000;
/// Inverse depths within this share of the larger one, and this share of the nearest one, belong to one surface.
const SAME_SURFACE: (f32, f32) = (0.06, 0.02);
/// The same for neighbouring pixels of a finished map.
const SAME_PX: f32 = 0.15;

/// What gives every pixel of a picture its depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DepthSource {
    /// A depth picture: PNG of 8 or 16 bits, EXR of 32 bits, or `.npz`.
    File {
        /// Where it is, relative to the project.
        path: PathBuf,
        /// What its numbers mean.
        meaning: DepthMeaning,
    },
    /// A simple scene that a person fitted to the picture.
    Shape(SceneShape),
    /// Marks, and between them a fill that keeps to the picture's edges.
    Painted {
        /// Distance of what is painted 0, world units.
        far: f32,
        /// Distance of what is painted 1, world units.
        near: f32,
        /// What was painted, in order; later marks lie over earlier ones.
        marks: Vec<DepthMark>,
    },
}

/// What the numbers of a depth file mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum DepthMeaning {
    /// White (or the largest number) is near: inverse depth, from 1/far to 1/near.
    NearIsWhite {
        /// Distance of black, world units.
        far: f32,
        /// Distance of white, world units.
        near: f32,
    },
    /// White (or the largest number) is far: inverse depth, from 1/near to 1/far.
    FarIsWhite {
        /// Distance of white, world units.
        far: f32,
        /// Distance of black, world units.
        near: f32,
    },
    /// Distances along the optical axis; a PNG's whole numbers or a file's floats, times `scale`, are world units.
    Metric {
        /// World units per number.
        scale: f32,
    },
    /// A stereo pair's disparity in px: depth = focal px of the picture * baseline / (disparity + offset).
    Disparity {
        /// Distance of the two cameras, world units.
        baseline: f32,
        /// Added to each disparity, px.
        offset: f32,
    },
}

/// A scene simple enough to fit by hand in seconds; places in px of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum SceneShape {
    /// A wall, everywhere as far.
    Backdrop {
        /// Its distance, world units.
        distance: f32,
    },
    /// The ground up to a horizon, and a far backdrop above it.
    Ground {
        /// Where the horizon meets the left and the right border, y in px.
        horizon: (f32, f32),
        /// How high the camera is above the ground, world units.
        height: f32,
        /// Where the ground ends: distance of the backdrop, world units.
        far: f32,
    },
    /// The inside of a box, seen along its length.
    Room {
        /// The back wall: left, top, right, bottom, px.
        back: (f32, f32, f32, f32),
        /// Where the lines along the room meet, px.
        vanishing: (f32, f32),
        /// Distance of the back wall, world units.
        depth: f32,
    },
}

/// A painted depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthMark {
    /// Where.
    pub region: Region,
    /// 0 far, 1 near.
    pub value: f32,
}

/// Inverse depth per pixel of a picture, 1 / world units.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthMap {
    /// 0 is infinitely far.
    pub inverse: Mask,
}

impl DepthSource {
    /// What to begin with on a picture of this size: a ground with its horizon a little above the middle.
    pub fn guess((_, height): (usize, usize)) -> Self {
        let horizon = (height as f32 * 0.42).round();
        Self::Shape(SceneShape::Ground { horizon: (horizon, horizon), height: 1.0, far: 12.0 })
    }

    /// The depth of every pixel of `picture`, which lies in the scene as `placement` says; files are looked for from `folder`, and `lens`
    /// is the one that took the picture, px of the whole picture. Also what the user should know: what was resampled, clamped or
    /// filled.
    ///
    /// # Errors
    /// A file that is missing, broken or holds no depth.
    pub fn map(&self, picture: &Picture, placement: &Placement, folder: &Path, lens: &Lens) -> Result<(DepthMap, Vec<String>)> {
        let mut notes = Vec::new();
        let inverse = match self {
            Self::File { path, meaning } => file::load(&folder.join(path), *meaning, picture, placement, lens, &mut notes)?,
            Self::Shape(shape) => shape.inverse(placement, lens),
            Self::Painted { far, near, marks } => {
                if marks.is_empty() {
                    notes.push("no depth is painted yet: everything is far".to_owned());
                }
                painted::inverse(picture, placement, folder, (*far, *near), marks)?
            }
        };
        let map = DepthMap::new(inverse);
        let (low, high) = map.inverse.data.iter().fold((f32::INFINITY, 0.0_f32), |(low, high), w| (low.min(*w), high.max(*w)));
        let is_flat = !matches!(self, Self::Shape(SceneShape::Backdrop { .. })) && high - low <= 1e-4 * high;
        if is_flat {
            notes.push("the depth is the same everywhere: nothing will move against anything else".to_owned());
        }
        Ok((map, notes))
    }

    /// Checks every value; `field` is the source's own name, `camera.depth`.
    ///
    /// # Errors
    /// The first value that is not usable, by name. Files are not looked for.
    pub fn validate(&self, field: &str, picture: (usize, usize)) -> Result<()> {
        match self {
            Self::File { path, .. } if path.as_os_str().is_empty() => {
                Err(Error::field(format!("{field}.path"), "is empty; name a depth picture (PNG, EXR or .npz)"))
            }
            Self::File { meaning, .. } => meaning.validate(&format!("{field}.meaning")),
            Self::Shape(shape) => shape.validate(field, picture),
            Self::Painted { far, near, marks } => {
                check_span(field, *far, *near)?;
                if marks.len() > MAX_MARKS {
                    return Err(Error::field(
                        format!("{field}.marks"),
                        format!("has {} marks; at most {MAX_MARKS} are allowed", marks.len()),
                    ));
                }
                for (i, mark) in marks.iter().enumerate() {
                    mark.region.validate(&format!("{field}.marks[{i}].region"), picture)?;
                    if !(0.0..=1.0).contains(&mark.value) {
                        let what = format!("is {}; it must lie between 0 (far) and 1 (near)", mark.value);
                        return Err(Error::field(format!("{field}.marks[{i}].value"), what));
                    }
                }
                Ok(())
            }
        }
    }

    /// The painted marks, if it is painted.
    pub fn marks(&self) -> &[DepthMark] {
        if let Self::Painted { marks, .. } = self { marks } else { &[] }
    }

    /// Every file that the source reads.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let (file, marks) = match self {
            Self::File { path, .. } => (Some(path), None),
            Self::Painted { marks, .. } => (None, Some(marks)),
            Self::Shape(_) => (None, None),
        };
        let masks = marks.into_iter().flatten().filter_map(|mark| match &mut mark.region {
            Region::MaskFile { path, .. } => Some(path),
            _ => None,
        });
        file.into_iter().chain(masks)
    }
}

impl DepthMeaning {
    fn validate(self, field: &str) -> Result<()> {
        match self {
            Self::NearIsWhite { far, near } | Self::FarIsWhite { far, near } => check_span(field, far, near),
            Self::Metric { scale } => check_distance(&format!("{field}.scale"), scale, 1e-9),
            Self::Disparity { baseline, offset } => {
                check_distance(&format!("{field}.baseline"), baseline, 1e-6)?;
                if offset.abs() <= FARTHEST {
                    return Ok(());
                }
                Err(Error::field(format!("{field}.offset"), format!("is {offset}; give a finite number of px")))
            }
        }
    }
}

impl DepthMap {
    /// Of inverse depths: what is no number becomes infinitely far, what is nearer than [`NEAREST`] as near as that.
    pub fn new(mut inverse: Mask) -> Self {
        // `max` takes the number of a number and NaN.
        inverse.data.par_iter_mut().for_each(|w| *w = w.max(0.0).min(NEAREST.recip()));
        Self { inverse }
    }

    /// Inverse depth at a place, px of the map; the border's goes on beyond it. Interpolated within a surface, never across its edge.
    pub fn at(&self, place: Vec2) -> f32 {
        within_surface(&self.inverse, place)
    }

    /// Distance of the nearest and of the middle pixel, world units; the sky is [`FARTHEST`].
    pub fn spread(&self) -> (f32, f32) {
        let mut sorted = self.inverse.data.clone();
        let distance = |w: f32| w.recip().min(FARTHEST);
        let Some(last) = sorted.len().checked_sub(1) else { return (FARTHEST, FARTHEST) };
        let (_, middle, _) = sorted.select_nth_unstable_by(last / 2, f32::total_cmp);
        let middle = *middle;
        (distance(sorted.iter().copied().fold(0.0, f32::max)), distance(middle))
    }
}

/// Bilinear among those of the four samples around `place` that are of the surface of the nearest one.
fn within_surface(inverse: &Mask, place: Vec2) -> f32 {
    let place = if place.is_finite() { place } else { Vec2::ZERO };
    let (column, row) = (place.x.floor() as isize, place.y.floor() as isize);
    let own = inverse.clamped(column, row);
    let corner = (place - 0.5).floor();
    let part = place - 0.5 - corner;
    let (mut sum, mut weight) = (0.0, 0.0);
    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let sample = inverse.clamped(corner.x as isize + dx, corner.y as isize + dy);
        if (sample - own).abs() <= SAME_PX * sample.max(own) {
            let share = if dx == 0 { 1.0 - part.x } else { part.x } * if dy == 0 { 1.0 - part.y } else { part.y };
            (sum, weight) = (sum + share * sample, weight + share);
        }
    }
    if weight > 0.0 { sum / weight } else { own }
}

/// `far` and `near` of a depth that is scaled between them.
fn check_span(field: &str, far: f32, near: f32) -> Result<()> {
    check_distance(&format!("{field}.far"), far, NEAREST)?;
    check_distance(&format!("{field}.near"), near, NEAREST)?;
    if near < far {
        return Ok(());
    }
    Err(Error::field(format!("{field}.near"), format!("is {near}, not nearer than far ({far}); give near less than far")))
}

fn check_distance(field: &str, value: f32, least: f32) -> Result<()> {
    if (least..=FARTHEST).contains(&value) {
        return Ok(());
    }
    Err(Error::field(field, format!("is {value}; it must lie between {least} and {FARTHEST}")))
}
