//! The two interpolations a stroke needs: a smooth curve through places and a monotone function through times.
//!
//! Invariant: [`Path`] passes through every place and is parametrised by arc length; [`Monotone`] never leaves the range of two
//! neighbouring values, so a hand that moves on never slips back. Guarded by the tests below.

use glam::Vec2;

/// Arc-length samples per curve segment; between two samples the curve itself is evaluated, only the speed is interpolated.
const SAMPLES: usize = 16;

/// A centripetal Catmull-Rom spline (Yuksel, Schaefer, Keyser 2011: no cusps, no loops inside a segment).
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// Distinct consecutive places; never empty.
    places: Vec<Vec2>,
    /// The way to each place's control point as in a Bézier curve, mirrored before it; None where the spline decides.
    handles: Vec<Option<Vec2>>,
    /// Arc length at each sample: `(places.len() - 1) * SAMPLES + 1` values.
    lengths: Vec<f32>,
    /// Arc length at each place that was handed in, repeated ones included.
    pub at_place: Vec<f32>,
}

impl Path {
    /// A curve through `through`, which must not be empty, with the handles that somebody set (by index).
    pub fn new(through: &[Vec2], set: &[(usize, Vec2)]) -> Self {
        let mut places: Vec<Vec2> = Vec::with_capacity(through.len());
        let mut index_of = Vec::with_capacity(through.len());
        for place in through {
            // Places nearer than a thousandth of a pixel are one place: a zero-length knot interval has no tangent.
            if places.last().is_none_or(|last| last.distance(*place) > 1e-3) {
                places.push(*place);
            }
            index_of.push(places.len() - 1);
        }
        let mut handles = vec![None; places.len()];
        for (i, handle) in set {
            if let Some(at) = index_of.get(*i) {
                handles[*at] = Some(*handle);
            }
        }
        let mut path = Self { places, handles, lengths: vec![0.0], at_place: Vec::new() };
        let mut length = 0.0_f64;
        for segment in 0..path.places.len() - 1 {
            let mut last = path.places[segment];
            for sample in 1..=SAMPLES {
                let place = path.on_segment(segment, sample as f32 / SAMPLES as f32);
                length += f64::from(last.distance(place));
                path.lengths.push(length as f32);
                last = place;
            }
        }
        path.at_place = index_of.into_iter().map(|i| path.lengths[i * SAMPLES]).collect();
        path
    }

    /// Total arc length, px.
    pub fn length(&self) -> f32 {
        self.lengths.last().copied().unwrap_or(0.0)
    }

    /// Place at arc length `arc` px from the start, clamped to the curve.
    pub fn at(&self, arc: f32) -> Vec2 {
        if self.places.len() == 1 {
            return self.places[0];
        }
        let after = self.lengths.partition_point(|length| *length <= arc).clamp(1, self.lengths.len() - 1);
        let (low, high) = (self.lengths[after - 1], self.lengths[after]);
        let fraction = if high > low { ((arc - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
        let (segment, sample) = ((after - 1) / SAMPLES, (after - 1) % SAMPLES);
        self.on_segment(segment, (sample as f32 + fraction) / SAMPLES as f32)
    }

    /// Cubic Hermite form of the segment from place `i` to place `i + 1`, `u` in 0..1.
    fn on_segment(&self, i: usize, u: f32) -> Vec2 {
        let (p1, p2) = (self.places[i], self.places[i + 1]);
        // The ends are mirrored, which makes a two-point path a straight line.
        let p0 = if i > 0 { self.places[i - 1] } else { p1 * 2.0 - p2 };
        let p3 = self.places.get(i + 2).copied().unwrap_or(p2 * 2.0 - p1);
        let (d0, d1, d2) = (p0.distance(p1).sqrt(), p1.distance(p2).sqrt(), p2.distance(p3).sqrt());
        let m1 = self.handles[i].map_or_else(|| ((p1 - p0) / d0 - (p2 - p0) / (d0 + d1)) * d1 + (p2 - p1), |handle| handle * 3.0);
        let m2 = self.handles[i + 1].map_or_else(|| ((p3 - p2) / d2 - (p3 - p1) / (d1 + d2)) * d1 + (p2 - p1), |handle| handle * 3.0);
        let (u2, u3) = (u * u, u * u * u);
        p1 * (2.0 * u3 - 3.0 * u2 + 1.0) + m1 * (u3 - 2.0 * u2 + u) + p2 * (3.0 * u2 - 2.0 * u3) + m2 * (u3 - u2)
    }
}

/// A smooth function of time through `(time, value)` knots without overshoot (Fritsch and Butland 1984, the "PCHIP" slopes).
#[derive(Clone, Debug)]
pub(crate) struct Monotone {
    times: Vec<f32>,
    values: Vec<f32>,
    slopes: Vec<f32>,
}

impl Monotone {
    /// Knots with strictly increasing times, at least one.
    pub fn new(knots: impl IntoIterator<Item = (f32, f32)>) -> Self {
        let (times, values): (Vec<f32>, Vec<f32>) = knots.into_iter().unzip();
        let secant = |i: usize| (values[i + 1] - values[i]) / (times[i + 1] - times[i]);
        let last = times.len() - 1;
        let slopes = (0..times.len())
            .map(|i| match i {
                _ if last == 0 => 0.0,
                0 => secant(0),
                _ if i == last => secant(last - 1),
                _ => {
                    let (before, after) = (secant(i - 1), secant(i));
                    let (h0, h1) = (times[i] - times[i - 1], times[i + 1] - times[i]);
                    let (w0, w1) = (2.0 * h1 + h0, h1 + 2.0 * h0);
                    // Of one sign: the weighted harmonic mean. A turning point or a rest is flat.
                    if before * after > 0.0 { (w0 + w1) / (w0 / before + w1 / after) } else { 0.0 }
                }
            })
            .collect();
        Self { times, values, slopes }
    }

    /// First and last knot's time.
    pub fn span(&self) -> (f32, f32) {
        (self.times[0], self.times[self.times.len() - 1])
    }

    /// Value at `time`, constant before the first and after the last knot.
    pub fn at(&self, time: f32) -> f32 {
        let (first, last) = self.span();
        if time <= first {
            return self.values[0];
        }
        if time >= last {
            return self.values[self.values.len() - 1];
        }
        let i = self.times.partition_point(|knot| *knot <= time) - 1;
        let h = self.times[i + 1] - self.times[i];
        let u = (time - self.times[i]) / h;
        let (u2, u3) = (u * u, u * u * u);
        self.values[i] * (2.0 * u3 - 3.0 * u2 + 1.0)
            + self.slopes[i] * h * (u3 - 2.0 * u2 + u)
            + self.values[i + 1] * (3.0 * u2 - 2.0 * u3)
            + self.slopes[i + 1] * h * (u3 - u2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_goes_through_its_places_at_constant_speed() {
        let through = [Vec2::ZERO, Vec2::new(40.0, 10.0), Vec2::new(40.0, 10.0), Vec2::new(70.0, 50.0), Vec2::new(60.0, 100.0)];
        let path = Path::new(&through, &[]);
        for (place, arc) in through.iter().zip(&path.at_place) {
            assert!(path.at(*arc).distance(*place) < 1e-2, "{place}");
        }
        let steps = 400;
        let step = path.length() / steps as f32;
        for i in 0..steps {
            let speed = path.at(i as f32 * step).distance(path.at((i + 1) as f32 * step)) / step;
            assert!((0.95..1.03).contains(&speed), "step {i}: {speed}");
        }
    }

    #[test]
    fn quarter_circle_through_four_places_is_round() {
        let on_circle = |angle: f32| Vec2::from_angle(angle) * 100.0;
        let through: Vec<Vec2> = (0..=8).map(|i| on_circle(i as f32 * std::f32::consts::FRAC_PI_8)).collect();
        let path = Path::new(&through, &[]);
        // Away from the ends, whose tangents are guessed.
        for i in 30..70 {
            let radius = path.at(path.length() * i as f32 / 100.0).length();
            assert!((radius - 100.0).abs() < 0.3, "{radius}");
        }
    }

    #[test]
    fn one_place_and_two_places() {
        assert_eq!(Path::new(&[Vec2::new(3.0, 4.0)], &[]).at(10.0), Vec2::new(3.0, 4.0));
        let line = Path::new(&[Vec2::ZERO, Vec2::new(10.0, 0.0)], &[]);
        assert!((line.at(2.5) - Vec2::new(2.5, 0.0)).length() < 1e-4);
    }

    #[test]
    fn monotone_never_overshoots_and_hits_its_knots() {
        let knots = [(0.0, 0.0), (1.0, 0.0), (1.5, 90.0), (20.0, 91.0), (21.0, 200.0), (30.0, 200.0)];
        let curve = Monotone::new(knots);
        for (time, value) in knots {
            assert!((curve.at(time) - value).abs() < 1e-3);
        }
        let mut last = curve.at(-1.0);
        for i in 0..3200 {
            let value = curve.at(i as f32 * 0.01);
            assert!(value >= last - 1e-3, "slips back at {i}: {last} -> {value}");
            last = value;
        }
        let bump = Monotone::new([(0.0, 0.0), (2.0, 5.0), (3.0, 1.0)]);
        assert!((0..300).all(|i| (-1e-3..5.001).contains(&bump.at(i as f32 * 0.01))));
    }
}
