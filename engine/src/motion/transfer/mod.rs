//! Motion transfer: the tracks of a clip, placed on the picture, drive a region of it.
//!
//! `clip_motion` makes the tracks fit to use (px of the clip), `placing` says where they lie on the picture, `driven` is both at any frame,
//! `field` bends a layer's mesh by it; `scene` adds it to the strokes. `hand` makes a stroke of one track instead.
//!
//! Invariant: at a transfer's first frame nothing has moved. Guarded by the tests of this folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::motion::region::Region;
use crate::motion::stroke::MAX_FRAMES;
use crate::{Error, Result};

mod clip_motion;
mod driven;
mod field;
mod hand;
mod homography;
mod linear;
mod neighbours;
mod placing;

pub use clip_motion::ClipMotion;
pub(crate) use driven::Driven;
pub use driven::load_tracks;
pub(crate) use field::{Field, rest_mesh, unfold};
pub use hand::{fastest_point, stroke_from_track};
pub use placing::ClipMap;

/// Longest side of a clip, px.
const MAX_SIDE: usize = 65_536;
/// Widest smoothing, frames.
const MAX_SMOOTHING: f32 = 100.0;

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
    /// From the start again, without a jump: the way from the first frame to the last is taken off little by little over the whole range. So
    /// what swings keeps its shape, and what only drifts (a pan) stands still: [`Repeat::PingPong`] is for that.
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

impl Transfer {
    /// All of a clip of `frames` frames, over the whole picture, as filmed.
    pub fn new(clip: impl Into<PathBuf>, tracks: impl Into<PathBuf>, clip_size: (usize, usize), clip_fps: f32, frames: usize) -> Self {
        Self {
            name: String::new(),
            clip: clip.into(),
            tracks: tracks.into(),
            clip_size,
            clip_fps,
            region: Region::All,
            placing: Placing::default(),
            range: (0, frames.saturating_sub(1)),
            start: 0.0,
            speed: 1.0,
            repeat: Repeat::default(),
            strength: 1.0,
            smoothing: 0.0,
            remove_camera: false,
            hidden: Vec::new(),
        }
    }

    /// Checks every value; `field` is the transfer's own name, for example `transfers[1]`, `picture` the picture's size in px. The tracks
    /// are not read.
    ///
    /// # Errors
    /// The first value that is not usable, by name.
    pub fn validate(&self, field: &str, picture: (usize, usize)) -> Result<()> {
        let wrong = |name: &str, what: String| Err(Error::field(format!("{field}.{name}"), what));
        if self.tracks.as_os_str().is_empty() {
            return wrong("tracks", "is empty; name the .npz file of the clip's tracks".into());
        }
        let (width, height) = self.clip_size;
        if ![width, height].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
            return wrong("clip_size", format!("is {width}x{height}; both sides must lie between 1 and {MAX_SIDE}"));
        }
        for (name, value, low, high) in [
            ("clip_fps", self.clip_fps, 0.01, 10_000.0),
            ("start", self.start, 0.0, MAX_FRAMES as f32),
            ("speed", self.speed, 0.01, 100.0),
            ("strength", self.strength, -10.0, 10.0),
            ("smoothing", self.smoothing, 0.0, MAX_SMOOTHING),
        ] {
            if !(low..=high).contains(&value) {
                return wrong(name, format!("is {value}; it must lie between {low} and {high}"));
            }
        }
        if self.range.0 > self.range.1 {
            return wrong("range", format!("ends at frame {} before it begins at {}; swap them", self.range.1, self.range.0));
        }
        self.region.validate(&format!("{field}.region"), picture)?;
        self.placing.validate(&format!("{field}.placing"), picture)
    }

    /// What the clip shows at `frame` of the project: frames after the first of the range, and the share of the way from the range's
    /// first frame to its last that a loop has to take off there.
    pub fn clip_time(&self, frame: f32) -> (f32, f32) {
        let length = (self.range.1 - self.range.0) as f32;
        let time = (frame - self.start).max(0.0) * self.clip_fps * self.speed / 16.0;
        if length <= 0.0 {
            return (0.0, 0.0);
        }
        match self.repeat {
            Repeat::Once => (time.min(length), 0.0),
            Repeat::Loop => (time % length, time % length / length),
            Repeat::PingPong => (length - (time % (2.0 * length) - length).abs(), 0.0),
        }
    }

    /// Whether two transfers take the same motion from the same tracks, however they show it: only then one can become the other at once.
    pub fn same_clip_motion(&self, other: &Self) -> bool {
        let numbers = |t: &Self| (t.clip_size, t.range, t.smoothing, t.remove_camera);
        self.tracks == other.tracks && numbers(self) == numbers(other) && self.hidden == other.hidden
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::motion::npz::Tracks;
    use crate::motion::track_field::TrackFrame;
    use glam::Vec2;

    /// All of a clip of 200 x 100 px.
    pub(super) fn transfer(frames: usize) -> Transfer {
        Transfer::new("clip.mp4", "tracks.npz", (200, 100), 16.0, frames)
    }

    /// A grid of tracks that swings and drifts.
    pub(super) fn swinging(frames: usize) -> Tracks {
        let frame = |t: usize| {
            let t = t as f32;
            let way = |p: Vec2| Vec2::new(6.0 * (t * 0.26).sin() + 0.3 * t, 4.0 * (t * 0.26).sin() * (p.x * 0.02).cos());
            let rest = (0..200).map(|i| Vec2::new((i % 20) as f32 * 10.0 + 5.0, (i / 20) as f32 * 10.0 + 5.0));
            TrackFrame { positions: rest.map(|p| p + way(p)).collect(), visible: vec![true; 200] }
        };
        Tracks { points: 200, frames: (0..frames).map(frame).collect() }
    }

    #[test]
    fn bad_values_are_named() {
        let cases: [(&str, fn(&mut Transfer)); 11] = [
            ("transfers[0].tracks: is empty", |t| t.tracks = "".into()),
            ("transfers[0].clip_size: is 0x100", |t| t.clip_size.0 = 0),
            ("transfers[0].clip_fps: is 0", |t| t.clip_fps = 0.0),
            ("transfers[0].start: is -1", |t| t.start = -1.0),
            ("transfers[0].speed: is 0", |t| t.speed = 0.0),
            ("transfers[0].speed: is NaN", |t| t.speed = f32::NAN),
            ("transfers[0].strength: is inf", |t| t.strength = f32::INFINITY),
            ("transfers[0].smoothing: is -2", |t| t.smoothing = -2.0),
            ("transfers[0].range: ends at frame 2 before it begins at 5", |t| t.range = (5, 2)),
            ("transfers[0].region.radius: is 0", |t| t.region = Region::Disc { center: (5.0, 5.0), radius: 0.0, softness: 0.0 }),
            ("transfers[0].placing.scale: is 0", |t| {
                t.placing = Placing::Similarity { offset: (0.0, 0.0), scale: 0.0, turn_deg: 0.0, mirror: false };
            }),
        ];
        assert!(transfer(20).validate("transfers[0]", (200, 100)).is_ok());
        for (words, spoil) in cases {
            let mut transfer = transfer(20);
            spoil(&mut transfer);
            let message = transfer.validate("transfers[0]", (200, 100)).unwrap_err().to_string();
            assert!(message.starts_with(words), "{message}");
        }
    }

    #[test]
    fn clip_time_repeats_as_it_is_told() {
        let mut transfer = transfer(11);
        (transfer.clip_fps, transfer.start) = (32.0, 2.0);
        let times = |transfer: &Transfer| [0.0, 2.0, 4.5, 7.0, 8.0, 13.0].map(|frame| transfer.clip_time(frame));
        assert_eq!(times(&transfer).map(|t| t.0), [0.0, 0.0, 5.0, 10.0, 10.0, 10.0]);
        transfer.repeat = Repeat::Loop;
        assert_eq!(times(&transfer), [(0.0, 0.0), (0.0, 0.0), (5.0, 0.5), (0.0, 0.0), (2.0, 0.2), (2.0, 0.2)]);
        transfer.repeat = Repeat::PingPong;
        assert_eq!(times(&transfer).map(|t| t.0), [0.0, 0.0, 5.0, 10.0, 8.0, 2.0]);
        transfer.range = (3, 3);
        assert_eq!(times(&transfer), [(0.0, 0.0); 6]);
    }

    #[test]
    fn transfers_survive_the_project_file() {
        let mut transfer = transfer(20);
        transfer.placing = Placing::Pairs(vec![((1.0, 2.0), (3.0, 4.0)), ((5.0, 6.0), (7.5, 8.0))]);
        (transfer.repeat, transfer.hidden) = (Repeat::PingPong, vec![3, 9]);
        let text = ron::to_string(&transfer).unwrap();
        assert_eq!(ron::from_str::<Transfer>(&text).unwrap(), transfer);
    }
}
