//! How deep the picture is: from a file, a scene shape that a person fitted, or marks painted by hand.
//!
//! Depth is kept as its inverse (1 / world units): it is what parallax is proportional to, and the sky's is simply 0. Invariant: a depth
//! map is finite, not negative and nowhere nearer than [`NEAREST`]. Guarded by the tests of this folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::motion::region::Region;
use crate::picture::Mask;

/// The nearest that anything may be, world units.
pub const NEAREST: f32 = 0.01;

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
