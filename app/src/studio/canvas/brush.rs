//! The round brush: how large it is for what, and changing that. Invariant: radius and softness stay in their ranges. Guarded by the
//! test below.

use eframe::egui::Vec2;

use super::{RegionMode, Tool};

/// What a brush is used for; each use has its own size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To take hold of a part of the picture.
    Grab,
    /// To mark, pin and erase.
    Mark,
    /// To scribble for smart selection.
    Scribble,
}

impl Use {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Grab, Self::Mark, Self::Scribble];

    /// What `tool` uses a brush for, if it does.
    pub fn of(tool: Tool, mode: RegionMode) -> Option<Self> {
        match (tool, mode) {
            (Tool::Drag | Tool::Path, _) => Some(Self::Grab),
            (Tool::Region, RegionMode::Smart) => Some(Self::Scribble),
            (Tool::Region, RegionMode::Brush | RegionMode::Lasso) | (Tool::Pin | Tool::Erase, _) => Some(Self::Mark),
            (Tool::Region, RegionMode::Whole) | (Tool::Hand, _) => None,
        }
    }
}

/// Size and edge of the brush.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Brush {
    /// Radius, picture px.
    pub radius_px: f32,
    /// The outer part of it that fades, 0 (hard) to 1.
    pub softness: f32,
}

impl Brush {
    /// What a picture is best begun with.
    pub fn fitting(of: Use, picture: (usize, usize)) -> Self {
        let side = picture.0.max(picture.1) as f32;
        let (part, softness) = match of {
            Use::Grab => (0.09, 0.7),
            Use::Mark => (0.04, 0.0),
            Use::Scribble => (0.008, 0.0),
        };
        Self { radius_px: 1.0, softness }.resized((side * part).round(), 0.0, picture)
    }

    /// Smallest and largest radius for a picture, px.
    pub fn radii(picture: (usize, usize)) -> std::ops::RangeInclusive<f32> {
        1.0..=(picture.0.max(picture.1) as f32 * 0.5).max(2.0)
    }

    /// With the radius times `factor` and `softer` more softness.
    pub fn resized(self, factor: f32, softer: f32, picture: (usize, usize)) -> Self {
        let radii = Self::radii(picture);
        Self {
            radius_px: (self.radius_px * factor).clamp(*radii.start(), *radii.end()),
            softness: (self.softness + softer).clamp(0.0, 1.0),
        }
    }

    /// As it was, after the hand was dragged by `way` screen points: right is larger, up is softer.
    pub fn dragged(self, way: Vec2, picture: (usize, usize)) -> Self {
        self.resized((way.x / 100.0).exp(), -way.y / 200.0, picture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brush_stays_in_its_range() {
        let picture = (640, 480);
        let brush = Brush::fitting(Use::Grab, picture);
        assert_eq!(brush, Brush { radius_px: 58.0, softness: 0.7 });
        assert_eq!(brush.dragged(Vec2::new(1e4, -1e4), picture), Brush { radius_px: 320.0, softness: 1.0 });
        assert_eq!(brush.dragged(Vec2::new(-1e4, 1e4), picture), Brush { radius_px: 1.0, softness: 0.0 });
        assert_eq!(brush.dragged(Vec2::ZERO, picture), brush);
        assert!(Use::ALL.iter().all(|of| Brush::fitting(*of, (0, 0)).radius_px >= 1.0));
    }
}
