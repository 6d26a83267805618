//! A followed point: what it looked like, where it is, who is around it.
//!
//! Invariant: a point's lists and sights are made when it is taken up; only its state changes from frame to frame. Guarded by the tests
//! of this folder.

use std::sync::Arc;

use glam::{Affine2, Mat2, Vec2};
use rayon::prelude::*;

use super::block::{Bells, Light, Template};
use super::members::Membership;
use super::neighbours::{self, Neighbour};
use super::pyramid::Pyramid;
use super::sight::Sight;

/// Information at which a place is well determined by itself, 1/px^2.
pub(super) const TEXTURED: f32 = 60.0;
/// Neighbours a point needs within [`COMPANY`]; where the user chose fewer, helpers are added around it.
const FEWEST_NEIGHBOURS: usize = 3;
/// px.
const COMPANY: f32 = 64.0;
/// Helpers' distances from a lone point, px.
const HELPERS: [f32; 5] = [-28.0, -14.0, 0.0, 14.0, 28.0];

/// A template, and the change of the surroundings that it was cut for.
pub(super) type Cut = (Mat2, Arc<Template>);

/// One point's past and present.
#[derive(Clone)]
pub(super) struct Point {
    pub first: Appearance,
    pub later: Option<Appearance>,
    pub member: Membership,
    pub place: Vec2,
    pub velocity: Vec2,
    pub shape: Mat2,
    pub light: Light,
    pub neighbours: Vec<Neighbour>,
    pub misfit: f32,
    pub certainty: f32,
    pub visible: bool,
    pub ended: bool,
}

/// What a point looked like at some time, and how its surroundings have changed since.
#[derive(Clone)]
pub(super) struct Appearance {
    pub sight: Arc<Sight>,
    pub at: Vec2,
    /// Shape at that time, from the first sight.
    pub shape: Mat2,
    pub light: Light,
    pub frame: usize,
    /// The template that was cut last, and the shape it was cut for.
    cut: Option<Cut>,
}

impl Appearance {
    pub fn new(sight: Arc<Sight>, at: Vec2, shape: Mat2, light: Light, frame: usize) -> Self {
        Self { sight, at, shape, light, frame, cut: None }
    }

    /// What a frame shows of the point if its surroundings have been changed by `shape` since the first sight, and the change that it was
    /// cut for; `newest` or the one that is kept, if it will do.
    pub fn template(&self, shape: Mat2, newest: Option<Cut>, bells: &Bells) -> Option<Cut> {
        let relative = shape * self.shape.inverse();
        let will_do = |cut: &Cut| alike(cut.0, relative);
        newest
            .filter(will_do)
            .or_else(|| self.cut.clone().filter(will_do))
            .or_else(|| self.sight.template(self.at, relative, 0, bells).map(|template| (relative, Arc::new(template))))
    }

    /// Keeps a template for the frames to come.
    pub fn keep(&mut self, cut: Option<Cut>) {
        self.cut = cut.or(self.cut.take());
    }
}

/// Whether two shapes of a block differ by less than a fraction of a pixel at its rim.
fn alike(a: Mat2, b: Mat2) -> bool {
    let apart = a - b;
    apart.x_axis.length() + apart.y_axis.length() < 0.02
}

/// Points first seen in `now` at `places` when the plate has moved by `plate`, after `known`: those, then the helpers around lone ones.
pub(super) fn take_up(places: &[Vec2], known: &[Point], now: &Pyramid, plate: Affine2, frame: usize, bells: &Bells) -> Vec<Point> {
    let size = Vec2::new(now.levels[0].width as f32, now.levels[0].height as f32);
    let inside = |place: Vec2| place.cmpge(Vec2::ZERO).all() && place.cmplt(size).all();
    let mut around: Vec<(usize, Vec2)> =
        known.iter().enumerate().filter(|(_, point)| point.visible && !point.ended).map(|(i, point)| (i, point.place)).collect();
    let mut all = places.to_vec();
    for place in places {
        let near = |other: &Vec2| other.distance_squared(*place) < COMPANY * COMPANY;
        let company = around.iter().map(|(_, other)| other).chain(&all).filter(|other| near(other)).take(FEWEST_NEIGHBOURS + 1).count();
        if company <= FEWEST_NEIGHBOURS {
            let ring = HELPERS.iter().flat_map(|y| HELPERS.iter().map(move |x| *place + Vec2::new(*x, *y)));
            all.extend(ring.filter(|helper| helper != place && inside(*helper)));
        }
    }
    let sight = Arc::new(Sight::around(now, all.iter().copied()));
    around.extend(all.iter().enumerate().filter(|(_, place)| inside(**place)).map(|(k, place)| (known.len() + k, *place)));
    let new = |(k, place): (usize, &Vec2)| {
        let template = sight.template(*place, Mat2::IDENTITY, 0, bells);
        let information = template.map_or(0.0, |template| template.information(bells));
        let index = known.len() + k;
        let mut neighbours = neighbours::choose(*place, around.iter().filter(|(other, _)| *other != index).copied());
        // What is of another brightness is more likely another thing.
        let luma = sight.luma(*place);
        for n in &mut neighbours {
            let steps = (n.from.length() / 2.0).ceil().clamp(1.0, 16.0) as usize;
            let along = (1..=steps).map(|k| (sight.luma(*place + n.from * (k as f32 / steps as f32)) - luma).abs());
            n.strife = (along.fold(0.0, f32::max) / 0.05).min(3.5);
        }
        Point {
            first: Appearance::new(Arc::clone(&sight), *place, Mat2::IDENTITY, Light::SAME, frame),
            later: None,
            member: Membership::new(plate, *place),
            place: *place,
            velocity: Vec2::ZERO,
            shape: Mat2::IDENTITY,
            light: Light::SAME,
            neighbours,
            misfit: 0.0,
            certainty: information / (information + TEXTURED),
            visible: inside(*place),
            ended: false,
        }
    };
    all.par_iter().enumerate().map(new).collect()
}
