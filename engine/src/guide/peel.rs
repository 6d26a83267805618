//! A first fill of the coarsest level, from the hole's rim inwards and along edges first (Criminisi, Perez and Toyama, Region filling
//! and object removal by exemplar-based image inpainting, 2004).
//!
//! A smooth start would make the search find smooth places whatever the surroundings; this one carries structure into the hole.
//! Invariant: afterwards every pixel of the hole has a match, and known pixels are untouched. Guarded by the tests of `exemplar`.

use super::distance::distance_px;
use super::patch_match::{Feature, Level, Match, NONE, RADIUS, SIDE};

/// At most this many patches are compared with each patch of the rim.
const CANDIDATES: usize = 4096;
/// How much an edge that runs into the hole brings a patch forward.
const EDGE_WEIGHT: f32 = 6.0;

impl Level {
    /// Fills the hole patch by patch, believing the smooth fill that is there with weight `prior`.
    pub fn peel(&mut self, prior: f32) {
        let mut peel = Peel::new(self, prior);
        while let Some(centre) = peel.most_urgent() {
            peel.fill_around(centre);
        }
        self.pad();
    }
}

/// How deep in the hole, px, the smooth fill is believed half as much as at the rim.
const PRIOR_DEPTH_PX: f32 = 4.0;

struct Peel<'a> {
    level: &'a mut Level,
    /// Not yet filled, by padded index; the border counts as unfilled but is never a target.
    open: Vec<bool>,
    confidence: Vec<f32>,
    /// Urgency of each open target at the rim; negative elsewhere.
    urgency: Vec<f32>,
    candidates: Vec<u32>,
    /// How much the smooth fill under still open pixels counts; without it whole things would be copied into the hole.
    prior: f32,
    /// Of each open pixel, px from what is known.
    depth: Vec<f32>,
}

fn light(f: Feature) -> f32 {
    (f[0] + f[1] + f[2]) / 3.0
}

impl<'a> Peel<'a> {
    fn new(level: &'a mut Level, prior: f32) -> Self {
        let mut open = vec![true; level.image.len()];
        for y in 0..level.height {
            let row = level.index(0, y);
            open[row..row + level.width].fill(false);
        }
        level.targets.iter().zip(&level.hole).filter(|t| *t.1).for_each(|(&t, _)| open[t as usize] = true);
        let depth = distance_px(level.stride, level.image.len() / level.stride, |x, y| !open[y * level.stride + x]).data;
        let confidence = open.iter().map(|&o| f32::from(!o)).collect();
        let step = level.sources.len().div_ceil(CANDIDATES);
        let candidates = level.sources.iter().copied().step_by(step.max(1)).collect();
        let mut peel = Self { urgency: vec![-1.0; level.targets.len()], level, open, confidence, candidates, prior, depth };
        (0..peel.urgency.len()).for_each(|slot| peel.update(slot));
        peel
    }

    /// The offsets of a patch as padded indices relative to its first pixel.
    fn patch(&self, centre: usize) -> impl Iterator<Item = usize> + use<> {
        let (stride, first) = (self.level.stride, centre - RADIUS * self.level.stride - RADIUS);
        (0..SIDE * SIDE).map(move |k| first + k / SIDE * stride + k % SIDE)
    }

    fn is_target(&self, slot: usize) -> bool {
        self.level.hole[slot] && self.open[self.level.targets[slot] as usize]
    }

    /// Confidence of the patch, raised where the picture's edges run into the hole.
    fn update(&mut self, slot: usize) {
        let centre = self.level.targets[slot] as usize;
        let stride = self.level.stride;
        let at_rim = [1, stride].iter().any(|step| !self.open[centre - step] || !self.open[centre + step]);
        self.urgency[slot] = if !self.is_target(slot) || !at_rim {
            -1.0
        } else {
            let sure: f32 = self.patch(centre).map(|p| if self.open[p] { 0.0 } else { self.confidence[p] }).sum();
            let (mut edge, mut strongest) = ([0.0f32; 2], 0.0);
            let mut normal = [0.0f32; 2];
            for (k, p) in self.patch(centre).enumerate() {
                let (x, y) = ((k % SIDE) as f32 - RADIUS as f32, (k / SIDE) as f32 - RADIUS as f32);
                if self.open[p] {
                    normal = [normal[0] + x, normal[1] + y];
                    continue;
                }
                if self.open[p - 1] || self.open[p + 1] || self.open[p - stride] || self.open[p + stride] {
                    continue;
                }
                let at = |i: usize| light(self.level.image[i]);
                let slope = [at(p + 1) - at(p - 1), at(p + stride) - at(p - stride)];
                let strength = slope[0].hypot(slope[1]);
                if strength > strongest {
                    (edge, strongest) = (slope, strength);
                }
            }
            let length = normal[0].hypot(normal[1]).max(1e-6);
            let inwards = (edge[0] * normal[1] - edge[1] * normal[0]).abs() / length;
            sure / (SIDE * SIDE) as f32 * (0.3 + EDGE_WEIGHT * inwards.min(0.5))
        };
    }

    /// The centre of the rim's most urgent patch; None when all is filled. A hole without a rim cannot exist beside sources.
    fn most_urgent(&self) -> Option<usize> {
        let best = (0..self.urgency.len()).fold(None, |best: Option<usize>, slot| match best {
            Some(b) if self.urgency[b] >= self.urgency[slot] => best,
            _ => Some(slot),
        })?;
        (self.urgency[best] >= 0.0).then(|| self.level.targets[best] as usize)
    }

    /// Copies what is missing around `centre` from the patch that agrees best with what is there.
    fn fill_around(&mut self, centre: usize) {
        let mut there: Vec<(usize, Feature, f32)> = self
            .patch(centre)
            .filter(|&p| !self.open[p] || self.level.slot[p] != NONE)
            .map(|p| {
                (
                    p,
                    self.level.image[p],
                    if self.open[p] { self.prior / (1.0 + self.depth[p] / PRIOR_DEPTH_PX) } else { self.confidence[p].sqrt() },
                )
            })
            .collect();
        there.sort_by(|a, b| b.2.total_cmp(&a.2));
        let mut best = Match { source: self.candidates[0], distance: f32::MAX };
        for &source in &self.candidates {
            let mut sum = 0.0;
            for &(p, a, weight) in &there {
                let b = self.level.image[source as usize + p - centre];
                sum += weight * (0..4).map(|c| (a[c] - b[c]).powi(2)).sum::<f32>();
                if sum >= best.distance {
                    break;
                }
            }
            if sum < best.distance {
                best = Match { source, distance: sum };
            }
        }
        let sure = there.iter().filter(|t| !self.open[t.0]).map(|t| self.confidence[t.0]).sum::<f32>() / (SIDE * SIDE) as f32;
        for p in self.patch(centre) {
            let slot = self.level.slot[p];
            if slot == NONE || !self.is_target(slot as usize) {
                continue;
            }
            let source = best.source as usize + p - centre;
            self.level.image[p] = self.level.image[source];
            let source = if self.level.is_source[source] { source as u32 } else { best.source };
            self.level.matches[slot as usize] = Match { source, distance: best.distance };
            self.confidence[p] = sure;
            self.open[p] = false;
        }
        let reach = 2 * RADIUS + 1;
        for row in 0..=2 * reach {
            let first = (centre + row * self.level.stride).wrapping_sub(reach * self.level.stride + reach);
            for p in first..=first.wrapping_add(2 * reach) {
                if let Some(&slot) = self.level.slot.get(p).filter(|&&s| s != NONE) {
                    self.update(slot as usize);
                }
            }
        }
    }
}
