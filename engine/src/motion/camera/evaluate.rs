//! Where the camera is at any moment: keys, look-at and a hand's trembling become one camera.
//!
//! Rotations are interpolated by cumulative Bezier curves of unit quaternions (Kim, Kim and Shin, A general construction scheme for unit
//! quaternion curves with simple high order derivatives, 1995), focal lengths instead of angles, so that a dolly zoom of two keys keeps
//! its target's size all the way. Invariants: the camera passes through every key exactly, its smooth way has no kink, and whatever a
//! path holds, the camera is finite. Guarded by the tests below.

use glam::{Affine2, Quat, Vec2, Vec3};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::path::{CameraKey, CameraPath, Curve, Handheld};
use super::{Camera, FOV_DEG, Lens, View};

/// Frames of a second.
const FPS: f32 = 16.0;
/// A tangent longer than this many times the slower of the two ways around its key would overshoot (as in Fritsch and Carlson 1980).
const STEEPEST: f32 = 3.0;
/// Sines that make up one axis of a hand's trembling.
const SWINGS: usize = 8;

impl CameraPath {
    /// The lens that took a picture of this size, px of the picture.
    pub fn lens(&self, picture: (usize, usize)) -> Lens {
        self.lens_of(picture, focal_of(self.fov_deg))
    }

    /// The camera at `frame`, fractions allowed, px of a picture of this size; at and before the first key it is that key, at and after
    /// the last one that. Never anything but finite numbers.
    pub fn camera(&self, picture: (usize, usize), frame: f32) -> Camera {
        let mut pose = self.pose(frame);
        if let Some(target) = self.look_at {
            pose.rotation = looking(target, pose.position) * roll(pose.rotation);
        }
        if let Some(hand) = &self.handheld {
            let (way, turn) = hand.at(frame);
            pose.position += pose.rotation * way;
            pose.rotation *= Quat::from_scaled_axis(turn);
        }
        let position = if pose.position.is_finite() { pose.position } else { Vec3::ZERO };
        let rotation = match pose.rotation.normalize() {
            _ if pose.rotation == Quat::IDENTITY => Quat::IDENTITY,
            unit if unit.is_finite() && unit.is_normalized() => unit,
            _ => Quat::IDENTITY,
        };
        Camera { position, rotation, lens: self.lens_of(picture, pose.focal) }
    }

    /// What the camera sees at `frame` of a scene in which a picture of this size lies as `scene_from_picture` says; None where it is
    /// exactly as it took the picture.
    pub fn view(&self, picture: (usize, usize), scene_from_picture: Affine2, frame: f32) -> Option<View> {
        let (lens, camera) = (self.lens(picture), self.camera(picture, frame));
        (camera != Camera::at_rest(lens)).then(|| View::new(&lens, &camera).in_scene(scene_from_picture))
    }

    /// The field of view at `frame`, over the picture's longer side, degrees.
    pub fn fov_deg_at(&self, frame: f32) -> f32 {
        (self.pose(frame).focal.recip().atan() * 2.0).to_degrees()
    }

    /// `focal` in halves of the picture's longer side.
    fn lens_of(&self, (width, height): (usize, usize), focal: f32) -> Lens {
        let size = Vec2::new(width as f32, height as f32);
        Lens { focal_px: size.max_element() * 0.5 * focal, principal_px: self.principal_px.map_or(size * 0.5, Vec2::from) }
    }

    /// The keys' camera at `frame`.
    fn pose(&self, frame: f32) -> Pose {
        let base = focal_of(self.fov_deg);
        let pose = |key: &CameraKey| Pose::of(key, base);
        let (Some(first), Some(last)) = (self.keys.first(), self.keys.last()) else {
            return Pose { position: Vec3::ZERO, rotation: Quat::IDENTITY, focal: base };
        };
        // NaN is before everything.
        if !(frame > first.frame) {
            return pose(first);
        }
        if frame >= last.frame {
            return pose(last);
        }
        let i = self.keys.partition_point(|key| key.frame <= frame).clamp(1, self.keys.len() - 1) - 1;
        let (from, to) = (&self.keys[i], &self.keys[i + 1]);
        let (a, b, span) = (pose(from), pose(to), to.frame - from.frame);
        let part = (frame - from.frame) / span;
        match from.curve {
            Curve::Hold => a,
            Curve::Linear => a.step(&a.way_to(&b), part),
            Curve::Bezier { from, to } => a.step(&a.way_to(&b), bezier_progress(from, to, part)),
            Curve::Smooth => a.hermite(&b, &self.velocity(i).scaled(span), &self.velocity(i + 1).scaled(span), part),
        }
    }

    /// How fast the camera passes key `i`, per frame.
    fn velocity(&self, i: usize) -> Way {
        let base = focal_of(self.fov_deg);
        let Some(before) = i.checked_sub(1).map(|i| &self.keys[i]) else { return Way::NONE };
        let Some(after) = self.keys.get(i + 1) else { return Way::NONE };
        let key = &self.keys[i];
        let speed = |a: &CameraKey, b: &CameraKey| Pose::of(a, base).way_to(&Pose::of(b, base)).scaled((b.frame - a.frame).recip());
        let (come, go) = (speed(before, key), speed(key, after));
        match before.curve {
            Curve::Smooth => {}
            // What is not smooth itself decides how fast the key is passed.
            Curve::Linear => return come,
            Curve::Hold => return Way::NONE,
            Curve::Bezier { to, .. } => return come.scaled(((1.0 - to.1) / (1.0 - to.0).max(1e-3)).clamp(-STEEPEST, STEEPEST)),
        }
        // The slope of the parabola through the three keys.
        let (h0, h1) = (key.frame - before.frame, after.frame - key.frame);
        let (w0, w1) = (h1 / (h0 + h1), h0 / (h0 + h1));
        let limited = |come: Vec3, go: Vec3| {
            let tangent = come * w0 + go * w1;
            let limit = STEEPEST * come.length().min(go.length());
            // Back where it came from: a rest.
            if come.dot(go) <= -0.99 * come.length() * go.length() { Vec3::ZERO } else { tangent.clamp_length_max(limit) }
        };
        Way {
            position: limited(come.position, go.position),
            turn: limited(come.turn, go.turn),
            focal: limited(Vec3::X * come.focal, Vec3::X * go.focal).x,
        }
    }
}

/// A camera without a picture: the focal length is in halves of the longer side.
#[derive(Clone, Copy, Debug)]
struct Pose {
    position: Vec3,
    rotation: Quat,
    focal: f32,
}

/// From one pose to another, or a speed.
#[derive(Clone, Copy, Debug)]
struct Way {
    position: Vec3,
    /// Axis times angle, as the camera itself sees it.
    turn: Vec3,
    focal: f32,
}

impl Way {
    const NONE: Self = Self { position: Vec3::ZERO, turn: Vec3::ZERO, focal: 0.0 };

    fn scaled(self, by: f32) -> Self {
        Self { position: self.position * by, turn: self.turn * by, focal: self.focal * by }
    }
}

impl Pose {
    fn of(key: &CameraKey, base: f32) -> Self {
        let rotation = if key.rotation == Quat::IDENTITY { key.rotation } else { key.rotation.normalize() };
        Self { position: key.position, rotation, focal: key.fov_deg.map_or(base, focal_of) }
    }

    /// The shortest way to `other`.
    fn way_to(&self, other: &Self) -> Way {
        let turn = turn_of(self.rotation.inverse() * other.rotation);
        Way { position: other.position - self.position, turn, focal: other.focal - self.focal }
    }

    /// `part` of `way` on from here; a part beyond 0..1 overshoots.
    fn step(&self, way: &Way, part: f32) -> Self {
        Self {
            position: self.position + way.position * part,
            rotation: self.rotation * Quat::from_scaled_axis(way.turn * part),
            focal: kept(self.focal + way.focal * part),
        }
    }

    /// The cubic curve to `other` that leaves with `out` and arrives with `into`, both per segment.
    fn hermite(&self, other: &Self, out: &Way, into: &Way, u: f32) -> Self {
        // Cumulative Bernstein polynomials.
        let v = 1.0 - u;
        let (b1, b2, b3) = (1.0 - v * v * v, u * u * (3.0 - 2.0 * u), u * u * u);
        let way = self.way_to(other);
        let cubic = |way: Vec3, out: Vec3, into: Vec3| (out * b1 + (way * 3.0 - out - into) * b2 + into * b3) / 3.0;
        let (leave, arrive) = (Quat::from_scaled_axis(out.turn / 3.0), Quat::from_scaled_axis(into.turn / 3.0));
        let middle = turn_of(leave.inverse() * self.rotation.inverse() * other.rotation * arrive.inverse());
        let turned = |turn: Vec3, part: f32| Quat::from_scaled_axis(turn * part);
        Self {
            position: self.position + cubic(way.position, out.position, into.position),
            rotation: self.rotation * turned(out.turn / 3.0, b1) * turned(middle, b2) * turned(into.turn / 3.0, b3),
            focal: kept(self.focal + cubic(Vec3::X * way.focal, Vec3::X * out.focal, Vec3::X * into.focal).x),
        }
    }
}

/// Focal length of a field of view, in halves of the side that it spans; degrees out of range are clamped.
fn focal_of(fov_deg: f32) -> f32 {
    let fov_deg = if fov_deg.is_nan() { *FOV_DEG.end() } else { fov_deg.clamp(*FOV_DEG.start(), *FOV_DEG.end()) };
    (fov_deg * 0.5).to_radians().tan().recip()
}

/// An overshooting focal length, kept where lenses are.
fn kept(focal: f32) -> f32 {
    focal.max(focal_of(*FOV_DEG.end())).min(focal_of(*FOV_DEG.start()))
}

/// Axis times angle of a rotation, the shorter way round.
fn turn_of(rotation: Quat) -> Vec3 {
    let shorter = if rotation.w < 0.0 { -rotation } else { rotation };
    let turn = shorter.to_scaled_axis();
    if turn.is_finite() { turn } else { Vec3::ZERO }
}

/// The part of a rotation that turns about the camera's own axis.
fn roll(rotation: Quat) -> Quat {
    let length = rotation.z.hypot(rotation.w);
    if length > 1e-6 { Quat::from_xyzw(0.0, 0.0, rotation.z / length, rotation.w / length) } else { Quat::IDENTITY }
}

/// The rotation by which `target`, seen from `eye`, is where the picture has it, without tilting the horizon.
fn looking(target: Vec3, eye: Vec3) -> Quat {
    let towards = |way: Vec3| Quat::from_rotation_y(way.x.atan2(way.z)) * Quat::from_rotation_x((-way.y).atan2(way.x.hypot(way.z)));
    let way = target - eye;
    if way == target || way.length_squared() < 1e-12 || target.length_squared() < 1e-12 {
        return Quat::IDENTITY;
    }
    towards(way) * towards(target).inverse()
}

/// Progress of a Bezier curve from (0, 0) to (1, 1) with these handles at `time`, as CSS has it.
pub fn bezier_progress(from: (f32, f32), to: (f32, f32), time: f32) -> f32 {
    let cubic = |a: f32, b: f32, u: f32| {
        let v = 1.0 - u;
        3.0 * v * v * u * a + 3.0 * v * u * u * b + u * u * u
    };
    let (x1, x2, time) = (from.0.clamp(0.0, 1.0), to.0.clamp(0.0, 1.0), time.clamp(0.0, 1.0));
    if time <= 0.0 || time >= 1.0 {
        return time;
    }
    // Time never runs backwards along the curve, so halving finds the place.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..24 {
        let middle = 0.5 * (low + high);
        if cubic(x1, x2, middle) < time { low = middle } else { high = middle }
    }
    cubic(from.1, to.1, 0.5 * (low + high))
}

impl Handheld {
    /// Way (camera's own axes) and turn (axis times angle) at `frame`; nothing at frame 0, all of it from one second on.
    fn at(&self, frame: f32) -> (Vec3, Vec3) {
        let seconds = frame / FPS;
        if !(seconds > 0.0) {
            return (Vec3::ZERO, Vec3::ZERO);
        }
        let rise = seconds.min(1.0);
        let rise = rise * rise * (3.0 - 2.0 * rise);
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut uniform = || random.next_u32() as f32 / u32::MAX as f32;
        let mut axis = || {
            let (mut sum, mut power) = (0.0, 0.0);
            for i in 0..SWINGS {
                // One swing from each octave's part, weaker the faster it is.
                let ratio = 0.35 + 1.5 * (i as f32 + uniform()) / SWINGS as f32;
                let strength = ratio.recip();
                sum += strength * (std::f32::consts::TAU * (self.frequency_hz * ratio * seconds + uniform())).sin();
                power += strength * strength * 0.5;
            }
            sum * rise / power.sqrt()
        };
        let mut vector = || Vec3::new(axis(), axis(), axis());
        let (way, turn) = (vector(), vector());
        (way * self.position / 3.0_f32.sqrt(), turn * self.rotation_deg.to_radians())
    }
}

#[cfg(test)]
mod tests;
