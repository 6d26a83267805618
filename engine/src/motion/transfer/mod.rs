//! Motion transfer: the tracks of a clip, placed on the picture, drive a region of it.
//!
//! Invariant: at a transfer's first frame nothing has moved. Guarded by the tests of this folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::motion::region::Region;

/// The motion of a clip, as a project holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// A name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The clip, relative to the project; only shown, never needed to render.
    pub clip: PathBuf,
    /// Its tracks (`.npz` with `tracks` and `visibility`, px of the clip), relative to the project.
    pub tracks: PathBuf,
    /// The clip's width and height, px.
    pub clip_size: (usize, usize),
    /// The clip's frames per second.
    pub clip_fps: f32,
    /// What it drives; with the region of a stroke it shares that one's layer.
    pub region: Region,
    /// Where the clip lies on the picture.
    #[serde(default)]
    pub placing: Placing,
    /// First and last frame of the clip that are used, counted in the tracks' frames.
    pub range: (usize, usize),
    /// When it begins, in frames at 16 fps.
    #[serde(default)]
    pub start: f32,
    /// How fast the clip runs; 1 is as filmed.
    #[serde(default = "one")]
    pub speed: f32,
    /// What happens after the last frame.
    #[serde(default)]
    pub repeat: Repeat,
    /// How much of the motion is taken; 1 is all.
    #[serde(default = "one")]
    pub strength: f32,
    /// Width of the smoothing over time, frames of the clip; 0 is none.
    #[serde(default)]
    pub smoothing: f32,
    /// Whether the motion of the clip's own camera is taken out.
    #[serde(default)]
    pub remove_camera: bool,
    /// Tracks that are left out, by index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<u32>,
}

/// What comes after a transfer's last frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repeat {
    /// It stays as it was then.
    #[default]
    Once,
    /// From the start again.
    Loop,
    /// Back and forth.
    PingPong,
}

/// Where a clip lies on the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Placing {
    /// Scaled to cover the picture, in its middle, then moved by hand.
    Similarity {
        /// Way of the clip's middle from the picture's, px of the picture.
        offset: (f32, f32),
        /// Size against covering the picture.
        scale: f32,
        /// Clockwise turn, degrees.
        turn_deg: f32,
        /// Whether left and right change places.
        mirror: bool,
    },
    /// Places of the clip (px of it) that lie on places of the picture (px of it): 2 make a similarity, 3 or 4 a thin-plate spline.
    Pairs(Vec<((f32, f32), (f32, f32))>),
}

impl Default for Placing {
    fn default() -> Self {
        Self::Similarity { offset: (0.0, 0.0), scale: 1.0, turn_deg: 0.0, mirror: false }
    }
}

fn one() -> f32 {
    1.0
}
