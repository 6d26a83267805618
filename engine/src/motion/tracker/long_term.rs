//! The long-term tracker: pyramidal Lucas-Kanade from frame to frame, held to what each point looked like first and to what its
//! neighbours do.
//!
//! Per frame: every visible point is followed from the frame before, forward and backward (Bouguet 2001; Kalal 2010); the plate, what most
//! of the frame shows, is registered as a whole, and points are told apart into its members and others; the moves are gathered into what
//! the neighbourhood agrees on; then each point is registered against its first sight, warped by the plate's motion or by its
//! neighbourhood's, with that place as prior (so drift cannot build up, and flat places follow what they are part of); what does not look
//! like the first sight, nor like a later one that agreed with it, is hidden and looked for again where plate or neighbours have it.
//!
//! Invariant: as in the module above. Guarded by the tests of this folder.

use std::sync::Arc;

use glam::Vec2;
use rayon::prelude::*;

use super::block::Bells;
use super::cut::CutDetector;
use super::follow::{Followed, LEVELS, follow};
use super::members::divide;
use super::plate::Plate;
use super::point::{Appearance, Point, take_up};
use super::pyramid::Pyramid;
use super::settle::{Outcome, Scene, settle};
use super::sight::Sight;
use super::{MAX_SIDE, PointTracker, TrackedPoint};
use crate::picture::Mask;
use crate::{Error, Result};

/// Deviation of a pixel from what it showed before, luma: the most and the least that is believed.
const LARGEST_NOISE: f32 = 0.012;
const SMALLEST_NOISE: f32 = 0.001;
/// The later sight is made anew after this many frames.
const REFRESH: usize = 12;

/// The tracker. Memory: two frames, a piece of a frame per [`PointTracker::add`], and a later sight per point.
pub struct LucasKanade {
    size: Option<(usize, usize)>,
    /// Input px to px worked on.
    scale: f32,
    last: Option<Pyramid>,
    points: Vec<Point>,
    /// Index into `points` of each of the user's; the rest are helpers.
    chosen: Vec<usize>,
    waiting: Vec<Vec2>,
    tracked: Vec<TrackedPoint>,
    cut: CutDetector,
    cuts: Vec<usize>,
    frames: usize,
    bells: Bells,
    plate: Plate,
}

impl Default for LucasKanade {
    fn default() -> Self {
        Self::new()
    }
}

impl LucasKanade {
    /// A tracker without points.
    pub fn new() -> Self {
        Self {
            size: None,
            scale: 1.0,
            last: None,
            points: Vec::new(),
            chosen: Vec::new(),
            waiting: Vec::new(),
            tracked: Vec::new(),
            cut: CutDetector::default(),
            cuts: Vec::new(),
            frames: 0,
            bells: Bells::new(LARGEST_NOISE),
            plate: Plate::default(),
        }
    }

    /// Every point moved on by one frame.
    fn advance(&mut self, last: &Pyramid, now: &Pyramid) {
        let bells = &self.bells;
        let followed: Vec<Option<Followed>> = self
            .points
            .par_iter()
            .map(|point| (point.visible && !point.ended).then(|| follow(point, last, now, bells)).flatten())
            .collect();
        let mut residuals: Vec<f32> = followed.iter().flatten().map(|followed| followed.residual).collect();
        if !residuals.is_empty() {
            let noise = (1.5 * quantile(&mut residuals, 0.5)).clamp(SMALLEST_NOISE, LARGEST_NOISE);
            // What the first pair says is all that is known.
            let haste = if self.frames == 1 { 1.0 } else { 0.3 };
            self.bells.noise += haste * (noise - self.bells.noise);
            let grain = quantile(&mut residuals, 0.25).min(LARGEST_NOISE);
            self.bells.grain += 0.3 * (grain - self.bells.grain);
        }
        self.plate.push(now, usual_way(&self.points, &followed), self.bells.noise);
        let plate = self.plate.motion();
        divide(&mut self.points, &followed, plate, now, &self.bells);
        let members: Vec<f32> = self.points.iter().map(|point| point.member.belongs).collect();
        let scene = Scene { now, followed: &followed, plate, spread: self.plate.spread, members: &members, bells: &self.bells };
        let outcomes = self.points.par_iter().zip(&followed);
        let mut outcomes: Vec<Option<Outcome>> = outcomes.map(|(point, own)| (!point.ended).then(|| settle(point, *own, &scene))).collect();
        let mut shifts: Vec<f32> = outcomes.iter().flatten().filter_map(|outcome| outcome.shift).collect();
        let usual = quantile(&mut shifts, 0.5);
        shifts.iter_mut().for_each(|shift| *shift = (*shift - usual).abs());
        self.bells.shading += 0.3 * (1.5 * quantile(&mut shifts, 0.5) - self.bells.shading);
        for (point, outcome) in self.points.iter_mut().zip(&mut outcomes) {
            let Some(outcome) = outcome else { continue };
            point.velocity = match (outcome.visible, point.visible) {
                (true, true) => outcome.place - point.place,
                // Nothing is known of what is hidden; what is found again starts anew.
                _ => 0.6 * point.velocity,
            };
            (point.place, point.shape, point.light) = (outcome.place, outcome.shape, outcome.light);
            (point.misfit, point.certainty, point.visible) = (outcome.misfit, outcome.certainty, outcome.visible);
            if point.visible {
                let off = plate.transform_point2(point.member.home).distance(point.place);
                point.member.hear(off, self.plate.spread, point.certainty, outcome.elsewhere);
            }
            let [first, later] = std::mem::take(&mut outcome.cuts);
            point.first.keep(first);
            point.later.iter_mut().for_each(|appearance| appearance.keep(later.clone()));
        }
        self.plate.compare(&self.points);
        let states: Vec<(Vec2, f32)> = self.points.iter().map(|p| (p.place, if p.visible { p.certainty } else { 0.0 })).collect();
        let frame = self.frames;
        self.points.par_iter_mut().filter(|point| point.visible && !point.ended).for_each(|point| {
            let (place, shape, certainty) = (point.place, point.shape, point.certainty);
            for neighbour in &mut point.neighbours {
                let (there, its) = states[neighbour.index];
                neighbour.hear((there - shape * neighbour.from - place).length(), certainty * its);
            }
            let newest = point.later.as_ref().unwrap_or(&point.first).frame;
            if frame - newest >= REFRESH && point.misfit < 1.2 && point.certainty > 0.3 {
                let sight = Arc::new(Sight::around(now, std::iter::once(place)));
                point.later = Some(Appearance::new(sight, place, shape, point.light, frame));
            }
        });
        self.tracked = self.chosen.iter().zip(&self.tracked).map(|(index, before)| self.shown(*index, &outcomes[*index], before)).collect();
    }

    fn shown(&self, index: usize, outcome: &Option<Outcome>, before: &TrackedPoint) -> TrackedPoint {
        match outcome {
            Some(outcome) => {
                TrackedPoint { place: self.points[index].place / self.scale, visible: outcome.visible, quality: outcome.quality }
            }
            None => TrackedPoint { visible: false, quality: 0.0, ..*before },
        }
    }

    /// The points that were waiting, first seen in `now`.
    fn admit(&mut self, now: &Pyramid) {
        let places: Vec<Vec2> = std::mem::take(&mut self.waiting).iter().map(|place| *place * self.scale).collect();
        if places.is_empty() {
            return;
        }
        let start = self.points.len();
        let new = take_up(&places, &self.points, now, self.plate.motion(), self.frames, &self.bells);
        self.chosen.extend(start..start + places.len());
        self.tracked.extend(new.iter().take(places.len()).map(|point| TrackedPoint {
            place: point.place / self.scale,
            visible: point.visible,
            quality: point.certainty,
        }));
        self.points.extend(new);
    }
}

impl PointTracker for LucasKanade {
    fn add(&mut self, points: &[Vec2]) {
        let limit = 2.0 * super::MAX_SIDE as f32;
        self.waiting
            .extend(points.iter().map(|p| if p.is_finite() { p.clamp(Vec2::splat(-limit), Vec2::splat(limit)) } else { Vec2::ZERO }));
    }

    fn push(&mut self, frame: &Mask) -> Result<()> {
        let size = (frame.width, frame.height);
        if size.0 == 0 || size.1 == 0 || frame.data.len() != size.0 * size.1 {
            return Err(Error::field("frame", format_args!("is {}x{} px; there is nothing to track on", size.0, size.1)));
        }
        if let Some(before) = self.size.filter(|before| *before != size) {
            let what = format_args!("is {}x{} px, those before were {}x{}; cut the clip there", size.0, size.1, before.0, before.1);
            return Err(Error::field(format!("frame {}", self.frames), what));
        }
        self.size = Some(size);
        let longer = size.0.max(size.1);
        let now = if longer > MAX_SIDE {
            self.scale = MAX_SIDE as f32 / longer as f32;
            let of = |side: usize| ((side as f32 * self.scale).round() as usize).max(1);
            Pyramid::new(&frame.resized(of(size.0), of(size.1)), LEVELS)
        } else {
            Pyramid::new(frame, LEVELS)
        };
        let small = now.levels.len().min(3) - 1;
        if self.cut.push(&now.levels[small]) {
            self.cuts.push(self.frames);
            for point in &mut self.points {
                (point.ended, point.visible, point.later) = (true, false, None);
            }
            self.plate.clear();
            self.plate.push(&now, Vec2::ZERO, self.bells.noise);
            self.tracked.iter_mut().for_each(|point| (point.visible, point.quality) = (false, 0.0));
        } else if let Some(last) = self.last.take() {
            self.advance(&last, &now);
        } else {
            self.plate.push(&now, Vec2::ZERO, self.bells.noise);
        }
        self.admit(&now);
        self.last = Some(now);
        self.frames += 1;
        Ok(())
    }

    fn tracked(&self) -> &[TrackedPoint] {
        &self.tracked
    }

    fn cuts(&self) -> &[usize] {
        &self.cuts
    }
}

/// How most points that are sure of it moved, px.
fn usual_way(points: &[Point], followed: &[Option<Followed>]) -> Vec2 {
    let sure =
        points.iter().zip(followed).filter_map(|(point, own)| own.filter(|own| own.certainty > 0.2).map(|own| own.place - point.place));
    let (mut x, mut y): (Vec<f32>, Vec<f32>) = sure.map(|way| (way.x, way.y)).unzip();
    Vec2::new(quantile(&mut x, 0.5), quantile(&mut y, 0.5))
}

/// The value that `share` of all are smaller than; 0 of none.
fn quantile(values: &mut [f32], share: f32) -> f32 {
    let index = (values.len() as f32 * share) as usize;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(index.min(values.len() - 1), f32::total_cmp).1 }
}
