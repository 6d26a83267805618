//! The time axis: frames to points on the screen and back, zoom, ticks, and how a time is written.
//!
//! Invariant: what lies under the pointer stays there while zooming, and the axis never shows only time before frame 0. Guarded by the
//! tests below.

use eframe::egui::Rangef;

/// Frames per second of every time that is shown.
pub const RATE: f32 = 16.0;
/// Least and most points per frame.
const ZOOM: std::ops::RangeInclusive<f32> = 0.005..=60.0;

/// How times are written and where the ruler's marks lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Minutes and seconds.
    #[default]
    Seconds,
    /// Frame indices.
    Frames,
}

/// Which frames are in view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Frame at the left end.
    pub first: f32,
    /// Points per frame.
    pub scale: f32,
    /// From left to right end, points.
    pub x: Rangef,
}

impl Axis {
    /// All of `frames` in view, with some air.
    pub fn fit(x: Rangef, frames: f32) -> Self {
        let air = 10.0;
        let scale = ((x.span() - 3.0 * air) / frames.max(8.0)).clamp(*ZOOM.start(), *ZOOM.end());
        Self { first: -air / scale, scale, x }
    }

    /// Where `frame` is on the screen.
    pub fn x_from_frame(&self, frame: f32) -> f32 {
        self.x.min + (frame - self.first) * self.scale
    }

    /// Which frame is at `x`.
    pub fn frame_from_x(&self, x: f32) -> f32 {
        self.first + (x - self.x.min) / self.scale
    }

    /// Frames in view.
    pub fn frames(&self) -> f32 {
        self.x.span() / self.scale
    }

    /// `factor` times larger; what is at `x` stays there, unless the time before frame 0 would fill the view.
    pub fn zoomed(&self, factor: f32, x: f32) -> Self {
        let scale = (self.scale * factor).clamp(*ZOOM.start(), *ZOOM.end());
        let at = self.frame_from_x(x);
        Self { first: at - (x - self.x.min) / scale, scale, ..*self }.kept()
    }

    /// Moved by `points` to the right: earlier frames come into view.
    pub fn panned(&self, points: f32) -> Self {
        Self { first: self.first - points / self.scale, ..*self }.kept()
    }

    /// Turned like a page when `frame` is out of view.
    pub fn revealed(&self, frame: f32) -> Self {
        let x = self.x_from_frame(frame);
        if x >= self.x.min && x <= self.x.max - 12.0 {
            return *self;
        }
        Self { first: frame - 0.1 * self.frames(), ..*self }.kept()
    }

    fn kept(self) -> Self {
        Self { first: self.first.max(-10.0 / self.scale), ..self }
    }

    /// Frames between two written marks, and how many small ticks they hold: marks at least `room` points apart.
    pub fn steps(&self, unit: Unit, room: f32) -> (f32, usize) {
        const SECONDS: [(f32, usize); 12] = [
            (1.0, 1),
            (4.0, 4),
            (8.0, 4),
            (16.0, 4),
            (32.0, 4),
            (80.0, 5),
            (160.0, 5),
            (480.0, 6),
            (960.0, 6),
            (4800.0, 5),
            (9600.0, 5),
            (28800.0, 6),
        ];
        const FRAMES: [(f32, usize); 15] = [
            (1.0, 1),
            (2.0, 2),
            (5.0, 5),
            (10.0, 5),
            (20.0, 4),
            (50.0, 5),
            (100.0, 5),
            (200.0, 4),
            (500.0, 5),
            (1000.0, 5),
            (2000.0, 4),
            (5000.0, 5),
            (10_000.0, 5),
            (20_000.0, 4),
            (50_000.0, 5),
        ];
        let table: &[_] = if unit == Unit::Seconds { &SECONDS } else { &FRAMES };
        table.iter().copied().find(|step| step.0 * self.scale >= room).unwrap_or(table[table.len() - 1])
    }
}

/// `frame` as minutes, seconds and tenths: "0:03.2".
pub fn clock(frame: f32) -> String {
    let tenths = (frame.max(0.0) / RATE * 10.0).round() as u64;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// A ruler's mark: "1:05", "0:00.25" between whole seconds, or the frame's index.
pub fn mark(frame: f32, unit: Unit) -> String {
    if unit == Unit::Frames {
        return format!("{frame:.0}");
    }
    let hundredths = (frame / RATE * 100.0).floor() as u64;
    let (minutes, seconds, rest) = (hundredths / 6000, hundredths / 100 % 60, hundredths % 100);
    if rest == 0 { format!("{minutes}:{seconds:02}") } else { format!("{minutes}:{seconds:02}.{rest:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screen_to_frame_to_screen_is_the_same() {
        let axis = Axis { first: 12.5, scale: 3.25, x: Rangef::new(180.0, 900.0) };
        for x in [180.0, 333.0, 900.0] {
            assert!((axis.x_from_frame(axis.frame_from_x(x)) - x).abs() < 1e-3);
        }
    }

    #[test]
    fn zooming_keeps_what_is_under_the_pointer() {
        let mut axis = Axis { first: 200.0, scale: 2.0, x: Rangef::new(180.0, 900.0) };
        for factor in [1.3, 4.0, 0.7, 1.1] {
            let at = axis.frame_from_x(400.0);
            axis = axis.zoomed(factor, 400.0);
            assert!((axis.frame_from_x(400.0) - at).abs() < 0.01);
        }
        let out = axis.zoomed(1e-9, 400.0);
        assert!(out.scale >= 0.005 && out.x_from_frame(0.0) >= 180.0 && out.x_from_frame(0.0) <= 200.0);
        assert!(axis.panned(1e9).x_from_frame(0.0) <= 190.1);
    }

    #[test]
    fn a_page_turns_when_the_playhead_leaves() {
        let axis = Axis::fit(Rangef::new(0.0, 600.0), 81.0);
        assert!(axis.x_from_frame(81.0) < 590.0 && axis.x_from_frame(0.0) >= 10.0);
        assert_eq!(axis.revealed(40.0), axis);
        let turned = axis.revealed(200.0);
        assert!(turned.x_from_frame(200.0) < 100.0 && turned.x_from_frame(200.0) > 0.0);
    }

    #[test]
    fn marks_never_touch() {
        for unit in [Unit::Seconds, Unit::Frames] {
            for i in 0..100 {
                let axis = Axis { first: 0.0, scale: 0.006 * 1.097_f32.powi(i), x: Rangef::new(0.0, 900.0) };
                let (step, ticks) = axis.steps(unit, 60.0);
                assert!(step * axis.scale >= 60.0 || step >= 1e4, "{unit:?} {} {step}", axis.scale);
                assert_eq!(step % ticks as f32, 0.0);
            }
        }
    }

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(clock(51.0), "0:03.2");
        assert_eq!(clock(16.0 * 61.5), "1:01.5");
        assert_eq!(mark(4.0, Unit::Seconds), "0:00.25");
        assert_eq!(mark(960.0, Unit::Seconds), "1:00");
        assert_eq!(mark(960.0, Unit::Frames), "960");
    }
}
