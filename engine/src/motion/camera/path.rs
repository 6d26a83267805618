//! A camera path as a project holds it: keyframes and how the camera goes between them.
//!
//! Invariant: a path that was validated holds finite numbers only, its keys go forward in time and its rotations are of unit length.
//! Guarded by the tests below.

use glam::{Quat, Vec3};
use serde::{Deserialize, Serialize};

use super::FOV_DEG;
use crate::motion::depth::DepthSource;
use crate::motion::region::check_place;
use crate::motion::stroke::MAX_FRAMES;
use crate::{Error, Result};

/// Most keys of one path.
const MAX_KEYS: usize = 10_000;
/// Farthest that a camera may go, and farthest target, world units.
const REACH: f32 = 1e5;
/// How far a rotation's length may be from 1: what rounding in a text file does.
const UNIT_TOLERANCE: f32 = 0.02;
/// How far a Bezier handle may overshoot, in units of progress.
const OVERSHOOT: std::ops::RangeInclusive<f32> = -2.0..=3.0;

/// A camera's way through the picture, and how deep the picture is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraPath {
    /// What gives every pixel its depth.
    pub depth: DepthSource,
    /// Field of view of the camera that took the picture, over its longer side, degrees.
    #[serde(default = "default_fov_deg")]
    pub fov_deg: f32,
    /// Where the optical axis met the picture, px of the picture; its middle if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_px: Option<(f32, f32)>,
    /// Keys by rising frame; with none the camera stays where the picture was taken.
    #[serde(default)]
    pub keys: Vec<CameraKey>,
    /// What the camera always looks at, world: it stays where the picture has it in the frame. The keys' rotations then say only the
    /// camera's roll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_at: Option<Vec3>,
    /// The trembling of a hand, added to the keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handheld: Option<Handheld>,
}

/// The camera at one frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraKey {
    /// When, in frames at 16 fps.
    pub frame: f32,
    /// Where the eye is, world.
    #[serde(default)]
    pub position: Vec3,
    /// From camera space to world space, (x, y, z, w).
    #[serde(default)]
    pub rotation: Quat,
    /// Field of view over the picture's longer side, degrees; the path's own if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fov_deg: Option<f32>,
    /// How the camera goes from here to the next key.
    #[serde(default)]
    pub curve: Curve,
}

/// How values go from one key to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Curve {
    /// At constant speed.
    Linear,
    /// Through the keys without a kink (Catmull-Rom in time), at rest at both ends of the path.
    #[default]
    Smooth,
    /// Stays until the next key, then jumps.
    Hold,
    /// A cubic Bezier curve of progress over time, from (0, 0) to (1, 1), as in CSS.
    Bezier {
        /// First handle: time 0..1, progress.
        from: (f32, f32),
        /// Second handle.
        to: (f32, f32),
    },
}

/// A hand-held camera's trembling, decided by its seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handheld {
    /// Root mean square of the eye's way, world units.
    pub position: f32,
    /// Root mean square of the turn about each axis, degrees.
    pub rotation_deg: f32,
    /// Swings a second, about.
    pub frequency_hz: f32,
    /// Decides which trembling.
    pub seed: u64,
}

/// Of an ordinary lens.
fn default_fov_deg() -> f32 {
    50.0
}

impl CameraPath {
    /// A camera that stays where the picture was taken.
    pub fn new(depth: DepthSource) -> Self {
        Self { depth, fov_deg: default_fov_deg(), principal_px: None, keys: Vec::new(), look_at: None, handheld: None }
    }

    /// Whether the pictures taken by `a` and `b` have the same depth: only then the ways alone differ.
    pub fn same_depth(a: Option<&Self>, b: Option<&Self>) -> bool {
        let made_of = |path: &'_ Self| (path.fov_deg, path.principal_px);
        match (a, b) {
            (Some(a), Some(b)) => a.depth == b.depth && made_of(a) == made_of(b),
            (a, b) => a.is_none() == b.is_none(),
        }
    }

    /// Checks every value; `field` is the path's own name, `camera`, and `picture` the picture's size in px.
    ///
    /// # Errors
    /// The first value that is not usable, by name (`camera.keys[2].fov_deg`), with what to do.
    pub fn validate(&self, field: &str, picture: (usize, usize)) -> Result<()> {
        self.depth.validate(&format!("{field}.depth"), picture)?;
        check_fov(&format!("{field}.fov_deg"), self.fov_deg)?;
        if let Some(principal) = self.principal_px {
            check_place(&format!("{field}.principal_px"), principal.into(), picture)?;
        }
        if self.keys.len() > MAX_KEYS {
            let what = format!("has {} keys; at most {MAX_KEYS} are allowed", self.keys.len());
            return Err(Error::field(format!("{field}.keys"), what));
        }
        let mut last: Option<f32> = None;
        for (i, key) in self.keys.iter().enumerate() {
            key.validate(&format!("{field}.keys[{i}]"), last)?;
            last = Some(key.frame);
        }
        if let Some(target) = self.look_at {
            check_position(&format!("{field}.look_at"), target)?;
        }
        self.handheld.map_or(Ok(()), |handheld| handheld.validate(&format!("{field}.handheld")))
    }
}

impl CameraKey {
    /// The camera as it took the picture, at `frame`.
    pub fn at_rest(frame: f32) -> Self {
        Self { frame, position: Vec3::ZERO, rotation: Quat::IDENTITY, fov_deg: None, curve: Curve::default() }
    }

    /// Checks every value; `last` is the frame of the key before.
    fn validate(&self, field: &str, last: Option<f32>) -> Result<()> {
        let frame = format!("{field}.frame");
        if !(0.0..=MAX_FRAMES as f32).contains(&self.frame) {
            return Err(Error::field(frame, format!("is {}; it must lie between 0 and {MAX_FRAMES}", self.frame)));
        }
        match last {
            Some(last) if last == self.frame => {
                return Err(Error::field(frame, format!("is {last}, where the key before is too; move or delete one of them")));
            }
            Some(last) if last > self.frame => {
                return Err(Error::field(frame, format!("is {}, before that of the key before ({last}); sort the keys", self.frame)));
            }
            _ => {}
        }
        check_position(&format!("{field}.position"), self.position)?;
        // NaN is not within the tolerance.
        if !((self.rotation.length() - 1.0).abs() <= UNIT_TOLERANCE) {
            let [x, y, z, w] = self.rotation.to_array();
            let what = format!("is ({x}, {y}, {z}, {w}); a rotation is a quaternion (x, y, z, w) of length 1, (0, 0, 0, 1) for none");
            return Err(Error::field(format!("{field}.rotation"), what));
        }
        if let Some(fov_deg) = self.fov_deg {
            check_fov(&format!("{field}.fov_deg"), fov_deg)?;
        }
        if let Curve::Bezier { from, to } = self.curve {
            for (name, handle) in [("from", from), ("to", to)] {
                if !((0.0..=1.0).contains(&handle.0) && OVERSHOOT.contains(&handle.1)) {
                    let what = format!(
                        "is ({}, {}); its time must lie between 0 and 1, its progress between {} and {}",
                        handle.0,
                        handle.1,
                        OVERSHOOT.start(),
                        OVERSHOOT.end()
                    );
                    return Err(Error::field(format!("{field}.curve.{name}"), what));
                }
            }
        }
        Ok(())
    }
}

impl Handheld {
    fn validate(&self, field: &str) -> Result<()> {
        let limits = [
            ("position", self.position, 0.0, 1e3),
            ("rotation_deg", self.rotation_deg, 0.0, 30.0),
            ("frequency_hz", self.frequency_hz, 0.01, 8.0),
        ];
        for (name, value, low, high) in limits {
            if !(low..=high).contains(&value) {
                return Err(Error::field(format!("{field}.{name}"), format!("is {value}; it must lie between {low} and {high}")));
            }
        }
        Ok(())
    }
}

fn check_fov(field: &str, fov_deg: f32) -> Result<()> {
    if FOV_DEG.contains(&fov_deg) {
        return Ok(());
    }
    let what = format!("is {fov_deg}; a field of view lies between {} and {} degrees", FOV_DEG.start(), FOV_DEG.end());
    Err(Error::field(field, what))
}

fn check_position(field: &str, position: Vec3) -> Result<()> {
    if position.abs().max_element() <= REACH && position.is_finite() {
        return Ok(());
    }
    let what = format!("is ({}, {}, {}); give finite numbers of at most {REACH} units", position.x, position.y, position.z);
    Err(Error::field(field, what))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn path(keys: Vec<CameraKey>) -> CameraPath {
        CameraPath { keys, ..CameraPath::new(DepthSource::guess((640, 400))) }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let good = path(vec![CameraKey::at_rest(0.0), CameraKey::at_rest(20.0)]);
        good.validate("camera", (640, 400)).unwrap();
        let refused = |change: &dyn Fn(&mut CameraPath), words: &str| {
            let mut bad = good.clone();
            change(&mut bad);
            let message = bad.validate("camera", (640, 400)).unwrap_err().to_string();
            assert!(message.starts_with(words) && !message.contains('\n'), "{message}");
        };
        refused(&|p| p.fov_deg = 0.0, "camera.fov_deg: is 0; a field of view");
        refused(&|p| p.keys[1].fov_deg = Some(180.0), "camera.keys[1].fov_deg: is 180");
        refused(&|p| p.keys[1].frame = 0.0, "camera.keys[1].frame: is 0, where the key before is too");
        refused(&|p| p.keys[0].frame = 30.0, "camera.keys[1].frame: is 20, before that of the key before (30)");
        refused(&|p| p.keys[0].frame = f32::NAN, "camera.keys[0].frame: is NaN");
        refused(&|p| p.keys[1].position.y = f32::INFINITY, "camera.keys[1].position: is (0, inf, 0)");
        refused(&|p| p.keys[0].rotation = Quat::from_xyzw(0.0, 0.0, 0.0, 0.5), "camera.keys[0].rotation: is (0, 0, 0, 0.5)");
        refused(&|p| p.keys[0].rotation.x = f32::NAN, "camera.keys[0].rotation: is (NaN, 0, 0, 1)");
        refused(&|p| p.keys[0].curve = Curve::Bezier { from: (1.5, 0.0), to: (1.0, 1.0) }, "camera.keys[0].curve.from: is (1.5, 0)");
        refused(&|p| p.keys[0].curve = Curve::Bezier { from: (0.5, 0.0), to: (1.0, f32::NAN) }, "camera.keys[0].curve.to: is (1, NaN)");
        refused(&|p| p.principal_px = Some((1e9, 0.0)), "camera.principal_px: is (1000000000, 0), more than");
        refused(&|p| p.look_at = Some(Vec3::NAN), "camera.look_at: is (NaN, NaN, NaN)");
        let shaking = Handheld { position: 0.1, rotation_deg: 1.0, frequency_hz: f32::NAN, seed: 1 };
        refused(&|p| p.handheld = Some(shaking), "camera.handheld.frequency_hz: is NaN");
        refused(&|p| p.keys = vec![CameraKey::at_rest(1.0); MAX_KEYS + 1], "camera.keys: has 10001 keys");
    }

    #[test]
    fn the_way_alone_does_not_change_the_depth() {
        let one = path(vec![]);
        let mut other = path(vec![CameraKey::at_rest(3.0)]);
        assert!(CameraPath::same_depth(Some(&one), Some(&other)) && CameraPath::same_depth(None, None));
        other.fov_deg = 20.0;
        assert!(!CameraPath::same_depth(Some(&one), Some(&other)) && !CameraPath::same_depth(None, Some(&one)));
    }
}
