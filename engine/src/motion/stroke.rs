//! A stroke: which part of the picture follows which timed path, and how it turns and grows on the way.
//!
//! Invariant: at and before its first key a stroke leaves the picture as it is, so frame 0 of every project is the picture itself;
//! along the path the motion never runs backwards in time. Guarded by the tests below.

use glam::{Affine2, Vec2};
use serde::{Deserialize, Serialize};

use super::curve::{Monotone, Path};
use super::region::{Region, check_place};
use crate::{Error, Result};

/// Longest project, and so the latest key, in frames (104 minutes at 16 fps).
pub const MAX_FRAMES: usize = 100_000;
/// Most keys of one path.
const MAX_KEYS: usize = 100_000;

/// A place on a timed path; written `(frame, x, y)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f32, f32, f32)", into = "(f32, f32, f32)")]
pub struct Key {
    /// Frame index at 16 fps, fractions allowed.
    pub frame: f32,
    /// Place in the picture, px.
    pub place: Vec2,
}

impl From<(f32, f32, f32)> for Key {
    fn from((frame, x, y): (f32, f32, f32)) -> Self {
        Self { frame, place: Vec2::new(x, y) }
    }
}

impl From<Key> for (f32, f32, f32) {
    fn from(key: Key) -> Self {
        (key.frame, key.place.x, key.place.y)
    }
}

/// How time runs along the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Easing {
    /// The recorded timing: each place is reached at its key's frame.
    #[default]
    Hand,
    /// Constant speed from the first key's frame to the last one's.
    Linear,
    /// From rest, quadratic.
    EaseIn,
    /// Into rest, quadratic.
    EaseOut,
    /// From rest into rest (smoothstep).
    EaseInOut,
}

impl Easing {
    /// Part of the way done at part `u` (0..1) of the time.
    fn ease(self, u: f32) -> f32 {
        match self {
            Self::Hand | Self::Linear => u,
            Self::EaseIn => u * u,
            Self::EaseOut => u * (2.0 - u),
            Self::EaseInOut => u * u * (3.0 - 2.0 * u),
        }
    }

    /// The time at which a recorded timing over `span` shows what this easing shows at `time`.
    fn warp(self, time: f32, (first, last): (f32, f32), timing: Option<&Monotone>) -> f32 {
        if last <= first {
            return time;
        }
        let part = self.ease(((time - first) / (last - first)).clamp(0.0, 1.0));
        first + timing.map_or(part, |timing| timing.at(part)) * (last - first)
    }
}

/// What becomes of the region after the last key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum After {
    /// It is held where it is.
    #[default]
    Hold,
    /// It is let go: its points are free, the model decides.
    Release,
}

/// A region that follows a timed path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stroke {
    /// A name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What moves. Strokes with the very same region move one layer together.
    pub region: Region,
    /// Where it goes. Only the way counts, not where the path begins: the region is displaced by `place - first place`.
    pub path: Vec<Key>,
    /// Handles that were pulled out of keys: the key's index and the way to its control point, px. Before the key the curve is
    /// mirrored, as with a smooth point of a Bézier curve; keys without a handle are passed smoothly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handles: Vec<(usize, f32, f32)>,
    /// Speed curve: part of the way done at parts of the time, from (0, 0) to (1, 1), neither running backwards. It comes after the
    /// easing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timing: Vec<(f32, f32)>,
    /// Clockwise degrees over frames; begins at 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turn: Vec<(f32, f32)>,
    /// Size factor over frames; begins at 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<(f32, f32)>,
    /// What it turns and grows about, picture px; the region's centre by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pivot: Option<(f32, f32)>,
    /// How time runs along the path, the turn and the scale.
    #[serde(default)]
    pub easing: Easing,
    /// What becomes of the region after the last key.
    #[serde(default)]
    pub after: After,
}

impl Stroke {
    /// `region` along `path` in the hand's timing, and nothing else.
    pub fn along(region: Region, path: Vec<Key>) -> Self {
        Self {
            name: String::new(),
            region,
            path,
            handles: Vec::new(),
            timing: Vec::new(),
            turn: Vec::new(),
            scale: Vec::new(),
            pivot: None,
            easing: Easing::default(),
            after: After::default(),
        }
    }

    /// Where a source point (px) is at `frame` (px) when the stroke turns and scales about `anchor` (px). Scenes keep a
    /// [`Trajectory`] instead, which does the work of building the curve once.
    pub fn transform_at(&self, frame: f32, anchor: Vec2) -> Affine2 {
        Trajectory::new(self).transform_at(frame, anchor)
    }

    /// Checks every value; `field` is the stroke's own name, for example `strokes[1]`, `picture` the picture's size in px.
    ///
    /// # Errors
    /// The first value that is not usable, by name.
    pub fn validate(&self, field: &str, picture: (usize, usize)) -> Result<()> {
        self.region.validate(&format!("{field}.region"), picture)?;
        if self.path.is_empty() {
            return Err(Error::field(format!("{field}.path"), "has no key; give at least one (frame, x, y)"));
        }
        check_times(&format!("{field}.path"), self.path.iter().map(|key| key.frame))?;
        for (i, key) in self.path.iter().enumerate() {
            check_place(&format!("{field}.path[{i}]"), key.place, picture)?;
        }
        for (i, (key, x, y)) in self.handles.iter().enumerate() {
            let at = format!("{field}.handles[{i}]");
            if *key >= self.path.len() {
                return Err(Error::field(at, format!("is for key {key}, but the path ends at key {}", self.path.len() - 1)));
            }
            check_place(&at, self.path[*key].place + Vec2::new(*x, *y), picture)?;
        }
        check_timing(&format!("{field}.timing"), &self.timing)?;
        let begins = "the picture itself is shown there";
        for (name, track, rest, low, high) in [("turn", &self.turn, 0.0, -36_000.0, 36_000.0), ("scale", &self.scale, 1.0, 0.01, 100.0)] {
            let name = format!("{field}.{name}");
            check_times(&name, track.iter().map(|key| key.0))?;
            for (i, (_, value)) in track.iter().enumerate() {
                if !(low..=high).contains(value) {
                    return Err(Error::field(format!("{name}[{i}]"), format!("is {value}; it must lie between {low} and {high}")));
                }
            }
            if track.first().is_some_and(|key| key.1 != rest) {
                return Err(Error::field(format!("{name}[0]"), format!("must begin at {rest}: {begins}")));
            }
        }
        match self.pivot {
            Some(pivot) => check_place(&format!("{field}.pivot"), pivot.into(), picture),
            None => Ok(()),
        }
    }
}

/// A curve from (0, 0) to (1, 1) that never goes backwards; none at all is fine too.
fn check_timing(field: &str, timing: &[(f32, f32)]) -> Result<()> {
    if timing.is_empty() {
        return Ok(());
    }
    if timing.len() > MAX_KEYS || timing.first() != Some(&(0.0, 0.0)) || timing.last() != Some(&(1.0, 1.0)) {
        return Err(Error::field(field, "must begin at (0, 0) and end at (1, 1); remove it for plain easing"));
    }
    let back = timing.windows(2).position(|pair| !(pair[1].0 > pair[0].0 && pair[1].1 >= pair[0].1));
    match back {
        Some(i) => Err(Error::field(format!("{field}[{}]", i + 1), "goes backwards; its time must grow and its way must not shrink")),
        None => Ok(()),
    }
}

/// Frames that are finite, within the longest project and strictly increasing.
fn check_times(field: &str, frames: impl ExactSizeIterator<Item = f32>) -> Result<()> {
    if frames.len() > MAX_KEYS {
        return Err(Error::field(field, format!("has {} keys; at most {MAX_KEYS} are allowed", frames.len())));
    }
    let mut last = f32::NEG_INFINITY;
    for (i, frame) in frames.enumerate() {
        let at = || format!("{field}[{i}]");
        if !(0.0..=MAX_FRAMES as f32).contains(&frame) {
            return Err(Error::field(at(), format!("its frame is {frame}; it must lie between 0 and {MAX_FRAMES}")));
        }
        if frame <= last {
            return Err(Error::field(
                at(),
                format!("its frame {frame} is not later than the one before ({last}); keys go forward in time"),
            ));
        }
        last = frame;
    }
    Ok(())
}

/// A stroke's motion, ready to be asked for any frame.
#[derive(Clone, Debug)]
pub struct Trajectory {
    path: Path,
    arc: Monotone,
    turn: Option<Monotone>,
    /// Of the factor's logarithm, so that doubling twice takes as long as doubling once twice.
    log_scale: Option<Monotone>,
    easing: Easing,
    timing: Option<Monotone>,
    after: After,
}

impl Trajectory {
    /// Builds the curve of a validated `stroke` (at least one key).
    pub fn new(stroke: &Stroke) -> Self {
        let handles: Vec<_> = stroke.handles.iter().map(|(key, x, y)| (*key, Vec2::new(*x, *y))).collect();
        let path = Path::new(&stroke.path.iter().map(|key| key.place).collect::<Vec<_>>(), &handles);
        let arc = match stroke.easing {
            Easing::Hand => Monotone::new(stroke.path.iter().zip(&path.at_place).map(|(key, arc)| (key.frame, *arc))),
            // Constant speed: only the first and the last frame count, the easing bends the time between.
            _ => {
                let (first, last) = (stroke.path[0].frame, stroke.path[stroke.path.len() - 1].frame);
                let end = (last > first).then_some((last, path.length()));
                Monotone::new(std::iter::once((first, 0.0)).chain(end))
            }
        };
        let track = |keys: &[(f32, f32)], f: fn(f32) -> f32| {
            (!keys.is_empty()).then(|| Monotone::new(keys.iter().map(|(frame, value)| (*frame, f(*value)))))
        };
        Self {
            arc,
            path,
            turn: track(&stroke.turn, f32::to_radians),
            log_scale: track(&stroke.scale, f32::ln),
            easing: stroke.easing,
            timing: (!stroke.timing.is_empty()).then(|| Monotone::new(stroke.timing.iter().copied())),
            after: stroke.after,
        }
    }

    /// Way from the path's first place at `frame`, px.
    pub fn displacement(&self, frame: f32) -> Vec2 {
        self.path.at(self.eased(&self.arc, frame)) - self.path.at(0.0)
    }

    /// Turn and scale about `anchor` (px) at `frame`, without the displacement.
    pub fn local(&self, frame: f32, anchor: Vec2) -> Affine2 {
        let angle = self.turn.as_ref().map_or(0.0, |turn| self.eased(turn, frame));
        let scale = self.log_scale.as_ref().map_or(1.0, |scale| self.eased(scale, frame).exp());
        if angle == 0.0 && scale == 1.0 {
            return Affine2::IDENTITY;
        }
        Affine2::from_translation(anchor)
            * Affine2::from_scale_angle_translation(Vec2::splat(scale), angle, Vec2::ZERO)
            * Affine2::from_translation(-anchor)
    }

    /// Where a source point (px) is at `frame` (px).
    pub fn transform_at(&self, frame: f32, anchor: Vec2) -> Affine2 {
        Affine2::from_translation(self.displacement(frame)) * self.local(frame, anchor)
    }

    /// Whether the stroke has a say at `frame`: from its first key on, until its last one if it is released there.
    pub fn drives(&self, frame: f32) -> bool {
        let tracks = || [Some(&self.arc), self.turn.as_ref(), self.log_scale.as_ref()].into_iter().flatten().map(Monotone::span);
        let first = tracks().map(|span| span.0).fold(f32::INFINITY, f32::min);
        let last = tracks().map(|span| span.1).fold(f32::NEG_INFINITY, f32::max);
        frame >= first && (self.after == After::Hold || frame <= last)
    }

    fn eased(&self, track: &Monotone, frame: f32) -> f32 {
        track.at(self.easing.warp(frame, track.span(), self.timing.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn stroke(path: &[(f32, f32, f32)]) -> Stroke {
        Stroke::along(Region::All, path.iter().map(|key| Key::from(*key)).collect())
    }

    #[test]
    fn hand_timing_is_kept_and_ends_are_held() {
        let stroke = stroke(&[(4.0, 10.0, 10.0), (5.0, 60.0, 10.0), (20.0, 70.0, 40.0), (24.0, 70.0, 40.0)]);
        let at = |frame: f32| stroke.transform_at(frame, Vec2::ZERO).translation;
        for key in &stroke.path {
            assert!((at(key.frame) - (key.place - Vec2::splat(10.0))).length() < 0.02, "{key:?}");
        }
        assert_eq!(at(0.0), Vec2::ZERO);
        assert!((at(99.0) - Vec2::new(60.0, 30.0)).length() < 1e-3);
    }

    #[test]
    fn easings_start_end_and_share_the_path() {
        let mut stroke = stroke(&[(0.0, 0.0, 0.0), (1.0, 30.0, 0.0), (10.0, 100.0, 0.0)]);
        for (easing, middle) in [(Easing::Linear, 50.0), (Easing::EaseIn, 25.0), (Easing::EaseOut, 75.0), (Easing::EaseInOut, 50.0)] {
            stroke.easing = easing;
            let at = |frame: f32| stroke.transform_at(frame, Vec2::ZERO).translation.x;
            assert!((at(5.0) - middle).abs() < 0.1, "{easing:?}: {}", at(5.0));
            assert!(at(0.0).abs() < 1e-4 && (at(10.0) - 100.0).abs() < 1e-2);
        }
    }

    #[test]
    fn turn_and_scale_keep_the_anchor_on_the_path() {
        let mut stroke = stroke(&[(0.0, 0.0, 0.0), (8.0, 16.0, 0.0)]);
        stroke.turn = vec![(0.0, 0.0), (8.0, 90.0)];
        stroke.scale = vec![(0.0, 1.0), (8.0, 4.0)];
        let anchor = Vec2::new(50.0, 20.0);
        let half = stroke.transform_at(4.0, anchor);
        assert!((half.transform_point2(anchor) - (anchor + Vec2::new(8.0, 0.0))).length() < 1e-3);
        assert!((half.matrix2.determinant() - 4.0).abs() < 1e-3, "half way of a factor 4 is a factor 2");
        let end = stroke.transform_at(8.0, anchor).transform_point2(anchor + Vec2::X);
        assert!((end - (anchor + Vec2::new(16.0, 4.0))).length() < 1e-3, "clockwise with y down: {end}");
    }

    #[test]
    fn drives_from_the_first_key_until_released() {
        let mut stroke = stroke(&[(3.0, 0.0, 0.0), (6.0, 5.0, 0.0)]);
        stroke.turn = vec![(2.0, 0.0), (7.0, 10.0)];
        let drives = |stroke: &Stroke| [1.0, 2.0, 7.0, 8.0].map(|frame| Trajectory::new(stroke).drives(frame));
        assert_eq!(drives(&stroke), [false, true, true, true]);
        stroke.after = After::Release;
        assert_eq!(drives(&stroke), [false, true, true, false]);
    }

    #[test]
    fn a_still_path_and_a_single_key_hold() {
        for path in [&[(0.0, 5.0, 5.0)][..], &[(0.0, 5.0, 5.0), (9.0, 5.0, 5.0)]] {
            let stroke = stroke(path);
            assert!(stroke.validate("strokes[0]", (100, 100)).is_ok());
            assert_eq!(stroke.transform_at(4.0, Vec2::ZERO), Affine2::IDENTITY);
        }
    }

    #[test]
    fn bad_values_are_named() {
        let good = stroke(&[(0.0, 0.0, 0.0), (4.0, 5.0, 5.0)]);
        type Spoil = fn(&mut Stroke);
        let cases: [(&str, Spoil); 9] = [
            ("strokes[1].path: ", |s| s.path.clear()),
            ("strokes[1].path[1]: ", |s| s.path[1].frame = 0.0),
            ("strokes[1].path[0]: ", |s| s.path[0].frame = f32::NAN),
            ("strokes[1].path[1]: ", |s| s.path[1].place.y = f32::INFINITY),
            ("strokes[1].path[1]: ", |s| s.path[1].place.x = 501.0),
            ("strokes[1].turn[0]: ", |s| s.turn = vec![(0.0, 5.0)]),
            ("strokes[1].scale[1]: ", |s| s.scale = vec![(0.0, 1.0), (1.0, 0.0)]),
            ("strokes[1].turn[1]: ", |s| s.turn = vec![(0.0, 0.0), (1.0, f32::NAN)]),
            ("strokes[1].pivot: ", |s| s.pivot = Some((f32::NAN, 0.0))),
        ];
        for (start, spoil) in cases {
            let mut stroke = good.clone();
            spoil(&mut stroke);
            let message = stroke.validate("strokes[1]", (100, 100)).unwrap_err().to_string();
            assert!(message.starts_with(start), "{message}");
        }
        assert!(good.validate("strokes[1]", (100, 100)).is_ok());
    }

    #[test]
    fn a_speed_curve_says_how_far_it_is_when() {
        let mut stroke = stroke(&[(0.0, 0.0, 0.0), (10.0, 100.0, 0.0)]);
        stroke.timing = vec![(0.0, 0.0), (0.5, 0.1), (1.0, 1.0)];
        stroke.validate("strokes[0]", (200, 200)).unwrap();
        let trajectory = Trajectory::new(&stroke);
        assert!((trajectory.displacement(5.0).x - 10.0).abs() < 1e-3);
        assert!((trajectory.displacement(10.0).x - 100.0).abs() < 1e-3);
        stroke.timing = vec![(0.0, 0.0), (0.5, 0.6), (0.7, 0.4), (1.0, 1.0)];
        let message = stroke.validate("strokes[0]", (200, 200)).unwrap_err().to_string();
        assert!(message.starts_with("strokes[0].timing[2]: goes backwards"), "{message}");
    }

    #[test]
    fn a_handle_bends_the_path_as_in_a_bezier_curve() {
        let mut stroke = stroke(&[(0.0, 0.0, 0.0), (10.0, 90.0, 0.0)]);
        stroke.handles = vec![(0, 0.0, 60.0), (1, 0.0, -60.0)];
        stroke.validate("strokes[0]", (200, 200)).unwrap();
        // Control points at (0, 60) and (90, 60): at half the way 3/4 of 60 px down.
        assert!(Trajectory::new(&stroke).displacement(5.0).distance(Vec2::new(45.0, 45.0)) < 1e-2);
        stroke.handles = vec![(2, 0.0, 1.0)];
        let message = stroke.validate("strokes[0]", (200, 200)).unwrap_err().to_string();
        assert!(message.starts_with("strokes[0].handles[0]: is for key 2"), "{message}");
    }
}
