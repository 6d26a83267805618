//! From the frame before to this one: pyramidal Lucas-Kanade (Bouguet 2001), there and back (Kalal 2010).
//!
//! Invariant: says nothing of what a point looked like earlier, so it drifts; [`settle`](super::settle) holds it. Guarded by the tests of
//! this folder.

use glam::{Mat2, Vec2};

use super::block::{Bells, Fit, Light, Template};
use super::point::{Point, TEXTURED};
use super::pyramid::Pyramid;

/// Sizes at which a point is followed: a block of the coarsest spans 128 px.
pub(super) const LEVELS: usize = 4;
/// Sizes at which one is followed that moves on as it did.
const STEADY_LEVELS: usize = 2;
/// Share of [`TEXTURED`] below which a place has nothing of its own to be followed by.
const BLANK: f32 = 0.02;

/// A point followed from the frame before.
#[derive(Clone, Copy)]
pub(super) struct Followed {
    pub place: Vec2,
    /// 0..1: texture, agreement with the frame before, forward and backward.
    pub certainty: f32,
    /// What is left over, luma.
    pub residual: f32,
}

/// Where `now` shows what `last` showed at the point.
pub(super) fn follow(point: &Point, last: &Pyramid, now: &Pyramid, bells: &Bells) -> Option<Followed> {
    let from = point.place;
    let steady = chase(last, now, from, point.velocity, STEADY_LEVELS, bells)?;
    // What is found at once beyond doubt needs no wider search.
    let doubtful = steady.misfit > 0.7 || steady.information < TEXTURED;
    let searched = doubtful.then(|| chase(last, now, from, Vec2::ZERO, LEVELS, bells)).flatten();
    let fit = match searched {
        Some(other) if (other.place - steady.place).length() > 0.5 && other.misfit < 0.9 * steady.misfit => other,
        _ => steady,
    };
    let Fit { place, misfit, information, residual, .. } = fit;
    if information < BLANK * TEXTURED {
        // Nothing here tells a place; what the coarse sizes saw was something else nearby.
        return Some(Followed { place: from + 0.5 * point.velocity, certainty: 0.0, residual });
    }
    let back = chase(now, last, place, from - place + 0.3 * point.velocity.clamp_length_max(2.0), STEADY_LEVELS, bells);
    let apart = back.map_or(4.0, |back| (back.place - from).length());
    let certainty = information / (information + TEXTURED) * (-apart * apart).exp() / (1.0 + (0.5 * misfit).powi(4));
    Some(Followed { place, certainty, residual })
}

/// From coarse to fine.
fn chase(from: &Pyramid, to: &Pyramid, at: Vec2, guess: Vec2, levels: usize, bells: &Bells) -> Option<Fit> {
    let mut way = guess;
    let mut end = None;
    for level in (0..levels.min(from.levels.len())).rev() {
        let scale = 0.5f32.powi(level as i32);
        let template = Template::new(&from.levels[level], at * scale, Mat2::IDENTITY, bells)?;
        if let Some(fit) = template.find(&to.levels[level], (at + way) * scale, None, Light::SAME, 6, bells) {
            way = fit.place / scale - at;
            end = (level == 0).then_some(fit);
        }
    }
    end
}
