//! The long-term tracker: pyramidal Lucas-Kanade from frame to frame, held to what each point looked like first and to what its
//! neighbours do.
//!
//! Per frame: every visible point is followed from the frame before, forward and backward (Bouguet 2001; Kalal 2010); those moves are
//! gathered into what the neighbourhood agrees on; then each point is registered against its first sight, warped by the neighbourhood's
//! local motion, with the agreed place as prior (so drift cannot build up, and flat places follow their surroundings); what does not
//! look like the first sight, nor like a later one that agreed with it, is hidden and looked for again where its neighbours are.
//!
//! Invariant: as in the module above. Guarded by the tests of this folder.

use std::sync::Arc;

use glam::{Mat2, Vec2};
use rayon::prelude::*;

use super::block::{Bells, Fit, Light, Prior, Template};
use super::cut::CutDetector;
use super::neighbours::{self, Consensus, Neighbour, Voice, consensus};
use super::pyramid::Pyramid;
use super::sight::Sight;
use super::{MAX_SIDE, PointTracker, TrackedPoint};
use crate::picture::Mask;
use crate::{Error, Result};

/// Sizes at which a point is followed from frame to frame: a block of the coarsest spans 128 px.
const LEVELS: usize = 4;
/// A visible point whose misfit grows beyond this is hidden.
const LOST: f32 = 2.6;
/// A hidden point is seen again if its misfit falls below this.
const FOUND: f32 = 1.7;
/// Information at which a place is well determined by itself, 1/px^2.
const TEXTURED: f32 = 60.0;
/// Deviation of a pixel from what it showed before, luma: the most and the least that is believed.
const LARGEST_NOISE: f32 = 0.012;
const SMALLEST_NOISE: f32 = 0.001;
/// Neighbours a point needs; where the user chose fewer, helpers are added around it.
const FEWEST_NEIGHBOURS: usize = 8;
/// Helpers' distances from a lone point, px.
const HELPERS: [f32; 5] = [-28.0, -14.0, 0.0, 14.0, 28.0];
/// Stiffness of a neighbourhood's shape against change within a frame, px^2.
const STIFFNESS: f32 = 12.0;
/// Say of a neighbour whose own place is wholly undetermined, against that of one well determined: what surrounds a point on all sides
/// weighs more than the one moving thing beside it that has texture.
const FLOOR: f32 = 1.0;
/// Share of [`TEXTURED`] below which a place has nothing of its own to be followed by.
const BLANK: f32 = 0.02;
/// The later sight is made anew after this many frames.
const REFRESH: usize = 12;

/// One point's past and present.
#[derive(Clone, Debug)]
struct Point {
    first: Appearance,
    later: Option<Appearance>,
    place: Vec2,
    velocity: Vec2,
    shape: Mat2,
    light: Light,
    neighbours: Vec<Neighbour>,
    misfit: f32,
    certainty: f32,
    visible: bool,
    ended: bool,
}

/// What a point looked like at some time, and how its surroundings have changed since.
#[derive(Clone, Debug)]
struct Appearance {
    sight: Arc<Sight>,
    at: Vec2,
    /// Shape at that time, from the first sight.
    shape: Mat2,
    light: Light,
    frame: usize,
}

/// A point followed from the frame before.
#[derive(Clone, Copy)]
struct Followed {
    place: Vec2,
    /// 0..1: texture, agreement with the frame before, forward and backward.
    certainty: f32,
    /// What is left over, luma.
    residual: f32,
}

/// What one frame made of a point.
struct Outcome {
    place: Vec2,
    shape: Mat2,
    light: Light,
    misfit: f32,
    certainty: f32,
    visible: bool,
    quality: f32,
}

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
        }
    }

    /// Every point moved on by one frame.
    fn advance(&mut self, last: &Pyramid, now: &Pyramid) {
        let followed: Vec<Option<Followed>> =
            self.points.par_iter().map(|point| (point.visible && !point.ended).then(|| self.follow(point, last, now)).flatten()).collect();
        let mut residuals: Vec<f32> = followed.iter().flatten().map(|followed| followed.residual).collect();
        if !residuals.is_empty() {
            let middle = residuals.len() / 2;
            let (_, median, _) = residuals.select_nth_unstable_by(middle, f32::total_cmp);
            let noise = (1.5 * *median).clamp(SMALLEST_NOISE, LARGEST_NOISE);
            self.bells.noise += 0.3 * (noise - self.bells.noise);
        }
        let outcomes: Vec<Option<Outcome>> = (0..self.points.len())
            .into_par_iter()
            .map(|i| (!self.points[i].ended).then(|| self.settle(&self.points[i], followed[i], &followed, now)))
            .collect();
        for (point, outcome) in self.points.iter_mut().zip(&outcomes) {
            let Some(outcome) = outcome else { continue };
            point.velocity = match (outcome.visible, point.visible) {
                (true, true) => outcome.place - point.place,
                // Nothing is known of what is hidden; what is found again starts anew.
                _ => 0.6 * point.velocity,
            };
            (point.place, point.shape, point.light) = (outcome.place, outcome.shape, outcome.light);
            (point.misfit, point.certainty, point.visible) = (outcome.misfit, outcome.certainty, outcome.visible);
        }
        let states: Vec<(Vec2, f32)> = self.points.iter().map(|p| (p.place, if p.visible { p.certainty } else { 0.0 })).collect();
        let frame = self.frames;
        self.points.par_iter_mut().zip(&outcomes).filter(|(point, _)| point.visible && !point.ended).for_each(|(point, _)| {
            let (place, shape, certainty) = (point.place, point.shape, point.certainty);
            for neighbour in &mut point.neighbours {
                let (there, its) = states[neighbour.index];
                neighbour.hear((there - shape * neighbour.from - place).length(), certainty * its);
            }
            let newest = point.later.as_ref().unwrap_or(&point.first).frame;
            if frame - newest >= REFRESH && point.misfit < 1.2 && point.certainty > 0.3 {
                let sight = Arc::new(Sight::around(now, std::iter::once(place)));
                point.later = Some(Appearance { sight, at: place, shape, light: point.light, frame });
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

    /// Where `now` shows what `last` showed at the point.
    fn follow(&self, point: &Point, last: &Pyramid, now: &Pyramid) -> Option<Followed> {
        let from = point.place;
        let steady = self.chase(last, now, from, point.velocity, 2)?;
        // What is found at once beyond doubt needs no wider search.
        let doubtful = steady.misfit > 0.7 || steady.information < TEXTURED;
        let searched = doubtful.then(|| self.chase(last, now, from, Vec2::ZERO, LEVELS)).flatten();
        let fit = match searched {
            Some(other) if (other.place - steady.place).length() > 0.5 && other.misfit < 0.9 * steady.misfit => other,
            _ => steady,
        };
        let Fit { place, misfit, information, residual, .. } = fit;
        if information < BLANK * TEXTURED {
            // Nothing here tells a place; what the coarse sizes saw was something else nearby.
            return Some(Followed { place: from + 0.5 * point.velocity, certainty: 0.0, residual });
        }
        let back = self.chase(now, last, place, from - place + 0.3 * point.velocity.clamp_length_max(2.0), 2);
        let apart = back.map_or(4.0, |back| (back.place - from).length());
        let certainty = information / (information + TEXTURED) * (-apart * apart).exp() / (1.0 + (0.5 * misfit).powi(4));
        Some(Followed { place, certainty, residual })
    }

    /// From coarse to fine.
    fn chase(&self, from: &Pyramid, to: &Pyramid, at: Vec2, guess: Vec2, levels: usize) -> Option<Fit> {
        let mut way = guess;
        let mut end = None;
        for level in (0..levels.min(from.levels.len())).rev() {
            let scale = 0.5f32.powi(level as i32);
            let template = Template::new(&from.levels[level], at * scale, Mat2::IDENTITY, &self.bells)?;
            let fit = template.find(&to.levels[level], (at + way) * scale, None, Light::SAME, 6, &self.bells);
            if let Some(fit) = fit {
                way = fit.place / scale - at;
                end = (level == 0).then_some(fit);
            }
        }
        end
    }

    /// Everything that is known of a point brought together.
    fn settle(&self, point: &Point, own: Option<Followed>, followed: &[Option<Followed>], now: &Pyramid) -> Outcome {
        let heard = || point.neighbours.iter().filter_map(|n| Some((n, followed[n.index]?)));
        // How much of what the neighbours say rests on something to be seen.
        let sure: f32 = heard().map(|(n, heard)| n.say() * heard.certainty).sum();
        let mut voices: Vec<Voice> = heard()
            .map(|(n, heard)| Voice { from: n.from, place: heard.place, say: n.say() * (heard.certainty + FLOOR) })
            .collect();
        // As before, where nobody has anything to say: blank places rest until they are seen to move. What is hidden has long not been asked.
        let flat = (1.0 - 10.0 * own.map_or(1.0, |own| own.certainty)).max(0.0);
        let say = if point.visible { 0.05 + flat } else { 0.01 };
        voices.push(Voice { from: Vec2::ZERO, place: point.place + (1.0 - flat) * point.velocity, say });
        let total: f32 = voices.iter().map(|voice| voice.say).sum();
        // What the neighbourhood may be doing: as the point itself, or as its neighbours one by one.
        let mut starts: Vec<Vec2> = own.iter().map(|own| own.place).collect();
        starts.push(point.place + point.velocity);
        let mut by_say: Vec<(f32, Vec2)> = voices.iter().map(|voice| (voice.say, voice.place - point.shape * voice.from)).collect();
        by_say.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        starts.extend(by_say.iter().take(4).map(|(_, place)| *place));
        let mut agreements: Vec<Consensus> = Vec::new();
        for start in &starts {
            if let Some(found) = consensus(&voices, *start, point.shape, STIFFNESS)
                && agreements.iter().all(|other| (other.place - found.place).length() > 0.6)
            {
                agreements.push(found);
            }
            if agreements.len() == 3 {
                break;
            }
        }
        let size = Vec2::new(now.levels[0].width as f32, now.levels[0].height as f32);
        let inside = |place: Vec2| place.cmpge(Vec2::ZERO).all() && place.cmplt(size).all();
        let mut best: Option<(f32, Outcome)> = None;
        let lonely =
            Consensus { place: own.map_or(point.place + point.velocity, |own| own.place), shape: point.shape, spread: 3.0, support: 0.01 };
        let mut options: Vec<(Vec2, Consensus)> = agreements.iter().map(|agreed| (agreed.place, *agreed)).collect();
        if let Some(own) = own
            && own.certainty > 0.2
            && agreements.iter().all(|agreed| (agreed.place - own.place).length() > 1.0)
        {
            // It goes its own way: alone, or against the nearest that the others offer.
            options.push((own.place, Consensus { spread: 3.0, support: 0.01, place: own.place, shape: point.shape }));
        }
        if options.is_empty() {
            options.push((lonely.place, lonely));
        }
        let mut cached = None;
        for (start, agreed) in options {
            let outcome = self.judge(point, start, &agreed, now, &inside, sure, &mut cached);
            // Whoever disagrees with everybody must look clearly better.
            let share = agreed.support / total.max(0.01);
            let sudden = (agreed.place - point.place - point.velocity).length_squared();
            let misfit = if outcome.visible { outcome.misfit } else { LOST };
            let price = misfit.powi(2) - 4.0 * share.clamp(0.003, 1.0).ln() + 0.7 * (1.0 + 0.25 * sudden).ln();
            if best.as_ref().is_none_or(|(least, _)| price < *least) {
                best = Some((price, outcome));
            }
        }
        match best {
            Some((_, outcome)) => outcome,
            None => self.judge(point, lonely.place, &lonely, now, &inside, sure, &mut cached),
        }
    }

    /// The point registered against its sights near `start`, with what the neighbours agree on as prior.
    fn judge(
        &self,
        point: &Point,
        start: Vec2,
        agreed: &Consensus,
        now: &Pyramid,
        inside: &dyn Fn(Vec2) -> bool,
        sure: f32,
        cached: &mut Option<(Mat2, Template)>,
    ) -> Outcome {
        let alone = agreed.support <= 0.01;
        let variance = agreed.spread * agreed.spread + 0.1 + if point.visible { 0.0 } else { 0.5 };
        let prior = Prior { place: agreed.place, precision: if alone { 0.0 } else { 0.5 / variance } };
        let shape = agreed.shape;
        let mut outcome = Outcome {
            place: agreed.place,
            shape,
            light: point.light,
            misfit: 9.0,
            certainty: 0.0,
            visible: false,
            quality: 0.0,
        };
        let mut information = 0.0;
        for appearance in std::iter::once(&point.first).chain(&point.later) {
            let relative = shape * appearance.shape.inverse();
            // What has become much smaller is no longer what the full-size sight shows.
            let mut near = start;
            if !point.visible && appearance.sight.sizes() > 1 {
                let coarse = appearance.sight.template(appearance.at, relative, 1, &self.bells);
                let prior = Prior { place: prior.place * 0.5, precision: 4.0 * prior.precision };
                let level = now.levels.get(1);
                let fit = coarse.zip(level).and_then(|(t, level)| t.find(level, near * 0.5, Some(prior), point.light, 6, &self.bells));
                near = fit.map_or(near, |fit| fit.place * 2.0);
            }
            let again = cached.take().filter(|(shape, _)| std::ptr::eq(appearance, &point.first) && alike(*shape, relative));
            let template =
                again.map(|(_, template)| template).or_else(|| appearance.sight.template(appearance.at, relative, 0, &self.bells));
            let Some(template) = template else { continue };
            let light = Light {
                gain: point.light.gain / appearance.light.gain,
                bias: point.light.bias - point.light.gain / appearance.light.gain * appearance.light.bias,
            };
            let Some(fit) = template.find(&now.levels[0], near, Some(prior), light, 8, &self.bells) else { continue };
            if std::ptr::eq(appearance, &point.first) {
                *cached = Some((relative, template));
            }
            // The first sight is believed unless the later one is clearly better.
            if fit.misfit < 0.75 * outcome.misfit {
                information = fit.information;
                outcome.place = fit.place;
                outcome.misfit = fit.misfit;
                outcome.light =
                    Light { gain: fit.light.gain * appearance.light.gain, bias: fit.light.bias + fit.light.gain * appearance.light.bias };
            }
            if outcome.misfit < 1.5 {
                break;
            }
        }
        let limit = if point.visible { LOST } else { FOUND };
        let near_enough = point.visible || (outcome.place - agreed.place).length() < 2.0 + 2.0 * agreed.spread;
        let known = information > 4.0 || !alone || point.visible;
        outcome.visible = outcome.misfit < limit && inside(outcome.place) && near_enough && known;
        if !outcome.visible {
            outcome.place = agreed.place;
            outcome.light = point.light;
        }
        let supported = if alone { 0.0 } else { 0.5 / (1.0 + 4.0 * variance) * sure / (sure + 1.0) };
        let determined = information / (information + TEXTURED);
        outcome.certainty = if outcome.visible { determined / (1.0 + (0.5 * outcome.misfit).powi(4)) } else { 0.0 };
        outcome.quality =
            if outcome.visible { (determined + (1.0 - determined) * supported) / (1.0 + (0.4 * outcome.misfit).powi(4)) } else { 0.0 };
        outcome
    }

    /// The points that were waiting, first seen in `now`.
    fn admit(&mut self, now: &Pyramid) {
        let waiting: Vec<Vec2> = std::mem::take(&mut self.waiting).iter().map(|place| *place * self.scale).collect();
        if waiting.is_empty() {
            return;
        }
        let alive = |points: &[Point]| -> Vec<(usize, Vec2)> {
            points.iter().enumerate().filter(|(_, p)| p.visible && !p.ended).map(|(i, p)| (i, p.place)).collect()
        };
        let size = Vec2::new(now.levels[0].width as f32, now.levels[0].height as f32);
        let mut places = waiting.clone();
        let around = alive(&self.points);
        for place in &waiting {
            let reach = HELPERS[4] * 1.5;
            let near = |other: Vec2| (other - *place).length() < reach;
            let company = around.iter().filter(|(_, other)| near(*other)).count() + places.iter().filter(|other| near(**other)).count();
            if company <= FEWEST_NEIGHBOURS {
                let ring = HELPERS.iter().flat_map(|y| HELPERS.iter().map(move |x| *place + Vec2::new(*x, *y)));
                places.extend(ring.filter(|p| *p != *place && p.cmpge(Vec2::ZERO).all() && p.cmplt(size).all()));
            }
        }
        let sight = Arc::new(Sight::around(now, places.iter().copied()));
        let start = self.points.len();
        let mut certainties = Vec::with_capacity(places.len());
        for (k, place) in places.iter().enumerate() {
            let information =
                sight.template(*place, Mat2::IDENTITY, 0, &self.bells).map_or(0.0, |template| template.information(&self.bells));
            let inside = place.cmpge(Vec2::ZERO).all() && place.cmplt(size).all();
            certainties.push(information / (information + TEXTURED));
            self.points.push(Point {
                first: Appearance { sight: Arc::clone(&sight), at: *place, shape: Mat2::IDENTITY, light: Light::SAME, frame: self.frames },
                later: None,
                place: *place,
                velocity: Vec2::ZERO,
                shape: Mat2::IDENTITY,
                light: Light::SAME,
                neighbours: Vec::new(),
                misfit: 0.0,
                certainty: certainties[k],
                visible: inside,
                ended: false,
            });
            if k < waiting.len() {
                self.chosen.push(start + k);
                self.tracked.push(TrackedPoint { place: *place / self.scale, visible: inside, quality: certainties[k] });
            }
        }
        let around = alive(&self.points);
        let lists: Vec<Vec<Neighbour>> = (start..self.points.len())
            .into_par_iter()
            .map(|i| {
                let here = self.points[i].place;
                let mut list = neighbours::choose(here, around.iter().filter(|(j, _)| *j != i).copied());
                // What is of another brightness is more likely another thing.
                let luma = sight.luma(here);
                for n in &mut list {
                    let steps = (n.from.length() / 2.0).ceil().clamp(1.0, 16.0) as usize;
                    let along = (1..=steps).map(|k| (sight.luma(here + n.from * (k as f32 / steps as f32)) - luma).abs());
                    n.strife = (along.fold(0.0, f32::max) / 0.05).min(3.5);
                }
                list
            })
            .collect();
        self.points[start..].iter_mut().zip(lists).for_each(|(point, list)| point.neighbours = list);
    }
}

/// Whether two shapes of a block differ by less than a fraction of a pixel at its rim.
fn alike(a: Mat2, b: Mat2) -> bool {
    let apart = a - b;
    apart.x_axis.length() + apart.y_axis.length() < 0.005
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
            self.tracked.iter_mut().for_each(|point| (point.visible, point.quality) = (false, 0.0));
        } else if let Some(last) = self.last.take() {
            self.advance(&last, &now);
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
