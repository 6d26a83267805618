//! The nearest known patch of every patch that touches a hole: PatchMatch (Barnes et al. 2009) on one level of a pyramid.
//!
//! Targets are scanned in chunks of a fixed size: inside a chunk propagation is sequential, across chunks it reads the state before
//! the pass, and random offsets are hashes of (seed, level, pass, target). Invariant: so the field does not depend on the number
//! of threads. Guarded by the determinism test of `exemplar`.

use rayon::prelude::*;

use crate::picture::{Grid, Mask};

/// Patches are 7 x 7.
pub const RADIUS: usize = 3;
pub const SIDE: usize = 2 * RADIUS + 1;
const CHUNK: usize = 4096;
pub const NONE: u32 = u32::MAX;

/// A colour with a fourth number that tells rough from smooth texture, so that both count in a match (Newson et al. 2014).
pub type Feature = [f32; 4];

/// Where a target's best match is, as an index into the padded image, and their squared distance.
#[derive(Clone, Copy, Debug)]
pub struct Match {
    pub source: u32,
    pub distance: f32,
}

/// One level of the pyramid with its field of matches. The image has a border of [`RADIUS`] copied pixels on every side.
pub struct Level {
    pub stride: usize,
    pub width: usize,
    pub height: usize,
    pub image: Vec<Feature>,
    /// Centres of all patches that touch the hole, in scan order.
    pub targets: Vec<u32>,
    pub matches: Vec<Match>,
    /// Of each target: whether the centre itself is in the hole.
    pub hole: Vec<bool>,
    pub(super) slot: Vec<u32>,
    pub(super) sources: Vec<u32>,
    pub(super) is_source: Vec<bool>,
}

impl Level {
    /// The level over `image`, whose pixels are to be replaced where `known` is 0. None if no patch of it is wholly known.
    pub fn new(image: &Grid<Feature>, known: &Mask) -> Option<Self> {
        let (width, height) = (image.width, image.height);
        let stride = width + 2 * RADIUS;
        let area = stride * (height + 2 * RADIUS);
        let wide = grown(known);
        let mut level = Self {
            stride,
            width,
            height,
            image: vec![[0.0; 4]; area],
            targets: Vec::new(),
            matches: Vec::new(),
            hole: Vec::new(),
            slot: vec![NONE; area],
            sources: Vec::new(),
            is_source: vec![false; area],
        };
        for y in 0..height {
            for x in 0..width {
                let at = level.index(x, y);
                level.image[at] = image.at(x, y);
                if wide[y * width + x] {
                    level.slot[at] = level.targets.len() as u32;
                    level.targets.push(at as u32);
                    level.hole.push(known.at(x, y) < 0.5);
                } else if (RADIUS..width.saturating_sub(RADIUS)).contains(&x) && (RADIUS..height.saturating_sub(RADIUS)).contains(&y) {
                    level.is_source[at] = true;
                    level.sources.push(at as u32);
                }
            }
        }
        level.pad();
        (!level.sources.is_empty()).then_some(level)
    }

    /// Index of picture pixel `(x, y)` in the padded image.
    pub fn index(&self, x: usize, y: usize) -> usize {
        (y + RADIUS) * self.stride + x + RADIUS
    }

    fn place(&self, index: u32) -> (usize, usize) {
        (index as usize % self.stride - RADIUS, index as usize / self.stride - RADIUS)
    }

    /// Copies the outermost pixels into the border.
    pub(super) fn pad(&mut self) {
        for y in 0..self.height + 2 * RADIUS {
            let inner = y.clamp(RADIUS, self.height + RADIUS - 1);
            if inner != y {
                self.image.copy_within(inner * self.stride..(inner + 1) * self.stride, y * self.stride);
            }
            let row = &mut self.image[y * self.stride..(y + 1) * self.stride];
            let (first, last) = (row[RADIUS], row[RADIUS + self.width - 1]);
            row[..RADIUS].fill(first);
            row[RADIUS + self.width..].fill(last);
        }
        // The corners were copied before the sides of their row were known.
        for y in (0..RADIUS).chain(self.height + RADIUS..self.height + 2 * RADIUS) {
            let inner = y.clamp(RADIUS, self.height + RADIUS - 1);
            self.image.copy_within(inner * self.stride..(inner + 1) * self.stride, y * self.stride);
        }
    }

    /// Random matches to start from.
    pub fn scatter(&mut self, seed: u64) {
        let matches = (0..self.targets.len())
            .map(|i| Match { source: self.sources[(hash(seed, i as u64) % self.sources.len() as u64) as usize], distance: f32::MAX })
            .collect();
        self.matches = matches;
    }

    /// The matches of `coarse` (half the size) carried over to this level, the image voted by them.
    pub fn refine(&mut self, coarse: &Level, seed: u64) {
        self.scatter(seed);
        for i in 0..self.targets.len() {
            let (x, y) = self.place(self.targets[i]);
            let parent = coarse.slot[coarse.index((x / 2).min(coarse.width - 1), (y / 2).min(coarse.height - 1))];
            if parent == NONE {
                continue;
            }
            let matched = coarse.matches[parent as usize];
            let (u, v) = coarse.place(matched.source);
            let (u, v) = (2 * u + (x & 1), 2 * v + (y & 1));
            if u < self.width && v < self.height && self.is_source[self.index(u, v)] {
                self.matches[i] = Match { source: self.index(u, v) as u32, distance: matched.distance };
            }
        }
    }

    /// Squared distance of the patches around `a` and `b`; anything above `limit` once it is known to be above.
    #[inline(always)]
    fn distance(&self, a: usize, b: usize, limit: f32) -> f32 {
        let mut sums = [0.0f32; 4];
        let (mut a, mut b) = (a - RADIUS * self.stride - RADIUS, b - RADIUS * self.stride - RADIUS);
        for _ in 0..SIDE {
            let (p, q) = (&self.image[a..a + SIDE], &self.image[b..b + SIDE]);
            for i in 0..SIDE {
                for c in 0..4 {
                    let d = p[i][c] - q[i][c];
                    sums[c] += d * d;
                }
            }
            if sums[0] + sums[1] + sums[2] + sums[3] > limit {
                return f32::MAX;
            }
            a += self.stride;
            b += self.stride;
        }
        sums[0] + sums[1] + sums[2] + sums[3]
    }

    /// Measures all matches again, after the image has changed.
    pub fn measure(&mut self) {
        let mut matches = std::mem::take(&mut self.matches);
        matches.par_chunks_mut(CHUNK).zip(self.targets.par_chunks(CHUNK)).for_each(|(matches, targets)| {
            for (m, &target) in matches.iter_mut().zip(targets) {
                m.distance = self.distance(target as usize, m.source as usize, f32::MAX);
            }
        });
        self.matches = matches;
    }

    /// One pass of propagation and of random search within `reach` px; `backward` turns the scan around.
    pub fn search(&mut self, reach: usize, backward: bool, seed: u64) {
        let mut matches = std::mem::take(&mut self.matches);
        let before = matches.clone();
        matches.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, matches)| {
            let first = chunk * CHUNK;
            for k in 0..matches.len() {
                let k = if backward { matches.len() - 1 - k } else { k };
                let target = self.targets[first + k] as usize;
                let mut best = matches[k];
                let consider = |source: usize, best: &mut Match| {
                    if source != best.source as usize && self.is_source.get(source).copied().unwrap_or(false) {
                        let distance = self.distance(target, source, best.distance);
                        if distance < best.distance {
                            *best = Match { source: source as u32, distance };
                        }
                    }
                };
                for step in [1, self.stride] {
                    let neighbour = self.slot[if backward { target + step } else { target - step }];
                    if neighbour == NONE {
                        continue;
                    }
                    let neighbour = neighbour as usize;
                    let own = (first..first + matches.len()).contains(&neighbour);
                    let source = if own { matches[neighbour - first].source } else { before[neighbour].source } as usize;
                    consider(if backward { source - step } else { source + step }, &mut best);
                }
                let mut radius = reach;
                let mut draw = 0;
                while radius >= 1 {
                    let r = hash(seed ^ (first + k) as u64, draw);
                    let span = 2 * radius as u64 + 1;
                    let (dx, dy) = ((r & 0xffff_ffff) % span, (r >> 32) % span);
                    let (x, y) = self.place(best.source);
                    let (u, v) = ((x + dx as usize).wrapping_sub(radius), (y + dy as usize).wrapping_sub(radius));
                    if u < self.width && v < self.height {
                        consider(self.index(u, v), &mut best);
                    }
                    radius /= 2;
                    draw += 1;
                }
                matches[k] = best;
            }
        });
        self.matches = matches;
    }

    /// What the overlapping matches say about each target's centre: their mean, a better match weighing more (Wexler et al. 2007).
    pub fn vote(&self, sharpness: f32) -> Vec<Feature> {
        self.vote_from(sharpness, false)
    }

    /// The same from patches centred in the hole alone: beyond the rim that is how the fill would go on.
    pub fn continued(&self, sharpness: f32) -> Vec<Feature> {
        self.vote_from(sharpness, true)
    }

    fn vote_from(&self, sharpness: f32, hole_only: bool) -> Vec<Feature> {
        let mut distances: Vec<f32> = self.matches.iter().map(|m| m.distance).collect();
        let rank = distances.len() * 3 / 4;
        let spread = if distances.is_empty() { 0.0 } else { *distances.select_nth_unstable_by(rank, f32::total_cmp).1 };
        let scale = sharpness / (spread + 1e-4);
        let weights: Vec<f32> = self.matches.iter().map(|m| (-(m.distance * scale).min(40.0)).exp()).collect();
        self.targets
            .par_iter()
            .with_min_len(1024)
            .map(|&target| {
                let (mut sum, mut total) = ([0.0f32; 4], 0.0);
                for j in 0..SIDE {
                    for i in 0..SIDE {
                        // The patch centred here shows this pixel at the opposite offset.
                        let centre = target as usize + (RADIUS * self.stride + RADIUS) - (j * self.stride + i);
                        let slot = self.slot[centre];
                        if slot == NONE || (hole_only && !self.hole[slot as usize]) {
                            continue;
                        }
                        let (weight, source) = (weights[slot as usize], self.matches[slot as usize].source as usize);
                        let seen = self.image[source + (j * self.stride + i) - (RADIUS * self.stride + RADIUS)];
                        total += weight;
                        (0..4).for_each(|c| sum[c] += weight * seen[c]);
                    }
                }
                if total > 0.0 { sum.map(|s| s / total) } else { self.image[target as usize] }
            })
            .collect()
    }

    /// Writes voted values into the hole.
    pub fn paint(&mut self, votes: &[Feature]) {
        for ((&target, &hole), vote) in self.targets.iter().zip(&self.hole).zip(votes) {
            if hole {
                self.image[target as usize] = *vote;
            }
        }
        self.pad();
    }

    /// The image without its border.
    pub fn picture(&self) -> Grid<Feature> {
        Grid::from_fn(self.width, self.height, |x, y| self.image[self.index(x, y)])
    }
}

/// Which pixels have a hole within [`RADIUS`] columns and rows.
fn grown(known: &Mask) -> Vec<bool> {
    let (width, height) = (known.width, known.height);
    let spread = |along: usize, across: usize, hit: &dyn Fn(usize, usize) -> bool| {
        let mut out = vec![false; along * across];
        for line in 0..across {
            let mut last = None;
            for i in 0..along + RADIUS {
                if i < along && hit(i, line) {
                    last = Some(i);
                }
                // A hit at `last` covers everything from `last - RADIUS` on, which is where this sweep writes.
                if let (Some(last), Some(at)) = (last, i.checked_sub(RADIUS))
                    && last + 2 * RADIUS >= i
                {
                    out[line * along + at] = true;
                }
            }
        }
        out
    };
    let rows = spread(width, height, &|x, y| known.at(x, y) < 0.5);
    let columns = spread(height, width, &|y, x| rows[y * width + x]);
    (0..width * height).map(|i| columns[(i % width) * height + i / width]).collect()
}

/// SplitMix64 of a seed and a counter.
fn hash(seed: u64, counter: u64) -> u64 {
    let mut z = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
