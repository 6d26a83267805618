//! Camera moves to begin with, as RON in `presets/camera/`: distances in parts of the target's, times in parts of the length.
//!
//! Invariant: every preset makes a path that can be used, at whatever distance and length. Guarded by the tests below.

use glam::{EulerRot, Quat, Vec3};
use serde::Deserialize;

use super::FOV_DEG;
use super::path::{CameraKey, CameraPath, Curve, Handheld};
use crate::{Error, Result};

/// The embedded files.
const FILES: [(&str, &str); 7] = [
    ("push_in", include_str!("../../../../presets/camera/push_in.ron")),
    ("pull_out", include_str!("../../../../presets/camera/pull_out.ron")),
    ("orbit", include_str!("../../../../presets/camera/orbit.ron")),
    ("truck", include_str!("../../../../presets/camera/truck.ron")),
    ("crane", include_str!("../../../../presets/camera/crane.ron")),
    ("dolly_zoom", include_str!("../../../../presets/camera/dolly_zoom.ron")),
    ("handheld", include_str!("../../../../presets/camera/handheld.ron")),
];
/// Nearest and farthest target, world units.
const TARGETS: (f32, f32) = (0.02, 1e4);

/// A camera move for any picture.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What it is called.
    pub name: String,
    /// What it does, in a sentence.
    pub description: String,
    /// Its keys; with none the path's own stay.
    #[serde(default)]
    pub keys: Vec<PresetKey>,
    /// Whether the lens makes up for the way, so that the target keeps its size.
    #[serde(default)]
    pub keeps_size: bool,
    /// A hand's trembling; `position` in parts of the target's distance.
    #[serde(default)]
    pub handheld: Option<PresetHand>,
}

/// A key of a [`Preset`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetKey {
    /// When, 0..1 of the length.
    pub at: f32,
    /// Way from where the picture was taken, in parts of the target's distance.
    #[serde(default)]
    pub position: Vec3,
    /// Around the target: to the right and upwards, degrees.
    #[serde(default)]
    pub orbit_deg: (f32, f32),
    /// Clockwise turn of the frame, degrees.
    #[serde(default)]
    pub roll_deg: f32,
    /// To the next key.
    #[serde(default)]
    pub curve: Curve,
}

/// The trembling of a [`Preset`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetHand {
    position: f32,
    rotation_deg: f32,
    frequency_hz: f32,
}

/// What a preset is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Occasion {
    /// Distance of what the move is about, world units: that of a look-at target, or the picture's middle one
    /// ([`crate::motion::depth::DepthMap::spread`]).
    pub target: f32,
    /// When it begins, in frames at 16 fps.
    pub start: f32,
    /// How long it takes, frames.
    pub frames: f32,
    /// How much of it; 1 is as the preset says.
    pub strength: f32,
    /// Decides a hand's trembling.
    pub seed: u64,
}

impl Preset {
    /// All presets in their order, by the names of their files.
    ///
    /// # Errors
    /// One that cannot be read, which is a fault of the program.
    pub fn all() -> Result<Vec<(&'static str, Self)>> {
        let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        let parse = |(name, text): (&'static str, &str)| {
            let preset = options.from_str(text).map_err(|e| Error::field(format!("presets/camera/{name}.ron"), e));
            preset.map(|preset| (name, preset))
        };
        FILES.into_iter().map(parse).collect()
    }

    /// `path` with this move instead of its own; its depth and lens stay.
    pub fn apply(&self, path: &CameraPath, occasion: &Occasion) -> CameraPath {
        let mut path = path.clone();
        let target = if occasion.target.is_nan() { 1.0 } else { occasion.target.clamp(TARGETS.0, TARGETS.1) };
        let (frames, strength) = (occasion.frames.max(1.0), occasion.strength);
        if let Some(hand) = self.handheld {
            path.handheld = Some(Handheld {
                position: hand.position * target * strength,
                rotation_deg: hand.rotation_deg * strength,
                frequency_hz: hand.frequency_hz,
                seed: occasion.seed,
            });
        }
        if self.keys.is_empty() {
            return path;
        }
        let fov_deg = path.fov_deg;
        let key = |key: &PresetKey| {
            let (yaw, pitch) = (key.orbit_deg.0 * strength, key.orbit_deg.1 * strength);
            // To the right of the target is to look left, above it to look down.
            let around = Quat::from_euler(EulerRot::YXZ, -yaw.to_radians(), -pitch.to_radians(), 0.0);
            let center = Vec3::Z * target;
            let way = key.position * target * strength;
            let roll = Quat::from_rotation_z((key.roll_deg * strength).to_radians());
            let lens = self.keeps_size.then(|| {
                let focal = (fov_deg * 0.5).to_radians().tan().recip() * ((target - way.z) / target).max(0.01);
                (focal.recip().atan() * 2.0).to_degrees().clamp(*FOV_DEG.start(), *FOV_DEG.end())
            });
            let still = yaw == 0.0 && pitch == 0.0 && key.roll_deg == 0.0;
            CameraKey {
                frame: occasion.start + key.at * frames,
                position: if still { way } else { center - around * center + way },
                rotation: if still { Quat::IDENTITY } else { around * roll },
                fov_deg: lens,
                curve: key.curve,
            }
        };
        path.keys = self.keys.iter().map(key).collect();
        path
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::motion::depth::DepthSource;
    use glam::{Affine2, Vec2};

    const PICTURE: (usize, usize) = (640, 400);

    #[test]
    fn every_preset_is_usable_and_the_target_stays_in_sight() {
        let base = CameraPath::new(DepthSource::guess(PICTURE));
        for (name, preset) in Preset::all().unwrap() {
            for target in [0.0, 0.3, 7.0, 1e9, f32::NAN] {
                let occasion = Occasion { target, start: 0.0, frames: 96.0, strength: 1.0, seed: 3 };
                let path = preset.apply(&base, &occasion);
                path.validate("camera", PICTURE).unwrap_or_else(|e| panic!("{name}: {e}"));
                let inverse = if target.is_nan() { 1.0 } else { target.clamp(TARGETS.0, TARGETS.1).recip() };
                for frame in (1..=96).step_by(5) {
                    let Some(view) = path.view(PICTURE, Affine2::IDENTITY, frame as f32) else { continue };
                    let (seen, _) = view.project(Vec2::new(320.0, 200.0), inverse).unwrap();
                    let is_still = name != "truck" && name != "handheld";
                    assert!(!is_still || seen.distance(Vec2::new(320.0, 200.0)) < 6.0, "{name} {target} at {frame}: {seen}");
                    assert!((0.0..640.0).contains(&seen.x) && (0.0..400.0).contains(&seen.y), "{name} {target} at {frame}: {seen}");
                }
            }
        }
    }

    #[test]
    fn a_dolly_zoom_keeps_the_target_and_moves_what_is_behind() {
        let (_, preset) = Preset::all().unwrap().into_iter().find(|(name, _)| *name == "dolly_zoom").unwrap();
        let occasion = Occasion { target: 5.0, start: 8.0, frames: 40.0, strength: 1.0, seed: 0 };
        let path = preset.apply(&CameraPath::new(DepthSource::guess(PICTURE)), &occasion);
        let at = |distance: f32, frame: f32| {
            let view = path.view(PICTURE, Affine2::IDENTITY, frame).unwrap();
            view.project(Vec2::new(500.0, 300.0), distance.recip()).unwrap().0
        };
        for frame in [10.0, 24.0, 48.0] {
            assert!(at(5.0, frame).distance(Vec2::new(500.0, 300.0)) < 0.1, "{frame}");
        }
        assert!(at(50.0, 48.0).x < 460.0, "what is far shrinks towards the middle");
    }
}
