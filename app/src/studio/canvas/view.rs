//! Where the picture lies on the screen.
//!
//! Invariants: [`ScreenFromPicture`] and its inverse cancel out; a zoom keeps the place under the pointer; the middle of the canvas always
//! shows a place of the picture, so it cannot be lost. Guarded by the tests below.

use eframe::egui::{Pos2, Rect};
use glam::Vec2;

/// Part of the canvas that a fitted picture leaves free at the sides, points; above and below there is room for the tool's bar.
const MARGIN: Vec2 = Vec2::new(16.0, 50.0);
/// Largest zoom, screen points per picture px.
const LARGEST: f32 = 40.0;
/// Smallest zoom, as part of that which fits.
const SMALLEST: f32 = 0.25;

/// The map from picture px to screen points: `screen = picture * scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScreenFromPicture {
    /// Screen points per picture px.
    pub scale: f32,
    /// Screen place of the picture's top-left corner.
    pub offset: Vec2,
}

impl ScreenFromPicture {
    /// Screen place of a picture place.
    pub fn screen(&self, picture: Vec2) -> Pos2 {
        let place = picture * self.scale + self.offset;
        Pos2::new(place.x, place.y)
    }

    /// Picture place of a screen place.
    pub fn picture(&self, screen: Pos2) -> Vec2 {
        (Vec2::new(screen.x, screen.y) - self.offset) / self.scale
    }

    /// Where a picture of `size` px lies.
    pub fn picture_rect(&self, size: (usize, usize)) -> Rect {
        Rect::from_two_pos(self.screen(Vec2::ZERO), self.screen(Vec2::new(size.0 as f32, size.1 as f32)))
    }
}

/// What of the picture is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum View {
    /// All of it, as large as it fits.
    #[default]
    Fit,
    /// A part.
    Free {
        /// The picture place in the middle of the canvas, px.
        center: Vec2,
        /// Screen points per picture px.
        scale: f32,
    },
}

impl View {
    /// How a picture of `size` px lies on the canvas `rect`.
    pub fn transform(&self, rect: Rect, size: (usize, usize)) -> ScreenFromPicture {
        let (center, scale) = self.parts(rect, size);
        ScreenFromPicture { scale, offset: middle(rect) - center * scale }
    }

    /// The same view `factor` times as large, with the picture place under `about` (a screen place) still there.
    pub fn zoomed(&self, factor: f32, about: Pos2, rect: Rect, size: (usize, usize)) -> Self {
        let (center, scale) = self.parts(rect, size);
        let fit = fit_scale(rect, size);
        let (low, high) = ((fit * SMALLEST).min(1.0), LARGEST.max(fit));
        let new = (scale * factor.clamp(0.01, 100.0)).clamp(low, high);
        let from_middle = Vec2::new(about.x, about.y) - middle(rect);
        Self::Free { center: inside(center + from_middle / scale - from_middle / new, size), scale: new }
    }

    /// The same view moved by `way` screen points.
    pub fn moved(&self, way: Vec2, rect: Rect, size: (usize, usize)) -> Self {
        let (center, scale) = self.parts(rect, size);
        Self::Free { center: inside(center - way / scale, size), scale }
    }

    /// One picture px is one px of the screen; the middle stays.
    pub fn actual_pixels(&self, pixels_per_point: f32, rect: Rect, size: (usize, usize)) -> Self {
        Self::Free { center: inside(self.parts(rect, size).0, size), scale: 1.0 / pixels_per_point.max(0.1) }
    }

    fn parts(&self, rect: Rect, size: (usize, usize)) -> (Vec2, f32) {
        match *self {
            Self::Fit => (Vec2::new(size.0 as f32, size.1 as f32) * 0.5, fit_scale(rect, size)),
            Self::Free { center, scale } => (inside(center, size), scale),
        }
    }
}

fn middle(rect: Rect) -> Vec2 {
    Vec2::new(rect.center().x, rect.center().y)
}

fn fit_scale(rect: Rect, size: (usize, usize)) -> f32 {
    let room = |points: f32, margin: f32, px: usize| (points - 2.0 * margin).max(8.0) / px.max(1) as f32;
    room(rect.width(), MARGIN.x, size.0).min(room(rect.height(), MARGIN.y, size.1)).min(LARGEST)
}

fn inside(center: Vec2, size: (usize, usize)) -> Vec2 {
    center.clamp(Vec2::ZERO, Vec2::new(size.0 as f32, size.1 as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (640, 427);

    fn canvas() -> Rect {
        Rect::from_min_max(Pos2::new(44.0, 30.0), Pos2::new(1000.0, 700.0))
    }

    fn views() -> [View; 3] {
        [View::Fit, View::Free { center: Vec2::new(100.0, 300.0), scale: 3.7 }, View::Free { center: Vec2::new(9e9, -5.0), scale: 0.2 }]
    }

    #[test]
    fn there_and_back_is_the_same_place() {
        for view in views() {
            let map = view.transform(canvas(), SIZE);
            for place in [Vec2::ZERO, Vec2::new(320.5, 11.25), Vec2::new(-50.0, 900.0)] {
                assert!(map.picture(map.screen(place)).distance(place) < 2e-3, "{view:?} {place}");
            }
        }
    }

    #[test]
    fn a_zoom_keeps_the_place_under_the_pointer() {
        let mut view = View::Fit;
        let pointer = Pos2::new(300.0, 500.0);
        let place = view.transform(canvas(), SIZE).picture(pointer);
        for factor in [1.5, 1.2, 3.0, 0.7] {
            view = view.zoomed(factor, pointer, canvas(), SIZE);
            assert!(view.transform(canvas(), SIZE).picture(pointer).distance(place) < 1e-2, "{factor}");
        }
    }

    #[test]
    fn the_picture_cannot_be_lost() {
        for view in views() {
            for way in [Vec2::new(1e6, 0.0), Vec2::new(-1e6, 1e6), Vec2::new(3.0, -1e5)] {
                let moved = view.moved(way, canvas(), SIZE).zoomed(1e-9, Pos2::new(1e5, 0.0), canvas(), SIZE);
                let map = moved.transform(canvas(), SIZE);
                let shown = map.picture_rect(SIZE).intersect(canvas());
                assert!(map.scale > 0.05 && shown.width() > 30.0 && shown.height() > 30.0, "{moved:?} {shown:?}");
            }
        }
    }

    #[test]
    fn fitted_pictures_fill_the_canvas_and_actual_pixels_are_pixels() {
        let shown = View::Fit.transform(canvas(), SIZE).picture_rect(SIZE);
        assert!(canvas().contains_rect(shown) && shown.center().distance(canvas().center()) < 1e-3);
        let free = canvas().size() - shown.size();
        assert!((free.x - 2.0 * MARGIN.x).abs() < 1.0 || (free.y - 2.0 * MARGIN.y).abs() < 1.0, "{free:?}");
        assert_eq!(View::Fit.actual_pixels(2.0, canvas(), SIZE).transform(canvas(), SIZE).scale, 0.5);
    }
}
