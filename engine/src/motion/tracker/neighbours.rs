//! What the points around one say about it: a robust local affine motion from where they were first to where they are now.
//!
//! Invariant: exact where the neighbours move affinely, whatever minority of them does not; a neighbour that has long moved otherwise
//! (another object) loses its say. Guarded by the tests below.

use super::block::totals;
use crate::kernels::vector::dispatch;
use glam::{Mat2, Vec2};

/// A point that was near when this one was first seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbour {
    pub index: usize,
    /// Its way from this one then, px.
    pub from: Vec2,
    /// Say by distance, 0..1.
    pub near: f32,
    /// Evidence that it belongs to something that moves otherwise; each unit costs a factor e of its say.
    pub strife: f32,
}

/// Most evidence against a neighbour that is kept, so that it can be forgotten.
const MOST_STRIFE: f32 = 7.0;

/// Where the neighbours say that a point is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consensus {
    pub place: Vec2,
    /// From the surroundings at first sight to now.
    pub shape: Mat2,
    /// How far the neighbours that agree are apart about it, px.
    pub spread: f32,
    /// Sum of their says.
    pub support: f32,
    /// How far the place is to be believed, 1/px^2.
    pub precision: f32,
}

/// What one that nobody agrees with has for support.
const ALONE: f32 = 0.01;

impl Consensus {
    /// Nobody agrees.
    pub fn alone(place: Vec2, shape: Mat2) -> Self {
        Self { place, shape, spread: 3.0, support: ALONE, precision: 0.0 }
    }

    /// Whether nobody agrees.
    pub fn is_alone(&self) -> bool {
        self.support <= ALONE
    }
}

/// Voices in one vector.
const LANES: usize = 16;

/// Sixteen neighbours, number by number; one that is not there has no say.
#[derive(Clone, Default)]
struct Chunk {
    from: [[f32; LANES]; 2],
    place: [[f32; LANES]; 2],
    say: [f32; LANES],
    /// 1 / tolerance^2.
    sharp: [f32; LANES],
}

/// The neighbours that are seen now: where each was from here, where it is, and its say.
#[derive(Clone, Default)]
pub(super) struct Voices {
    chunks: Vec<Chunk>,
    len: usize,
    /// Sum of all says.
    pub total: f32,
}

impl Voices {
    /// A neighbour that may be off by its [`tolerance`].
    pub fn push(&mut self, from: Vec2, place: Vec2, say: f32) {
        self.push_within(from, place, say, tolerance(from));
    }

    /// A neighbour that may be off by `px`.
    pub fn push_within(&mut self, from: Vec2, place: Vec2, say: f32, px: f32) {
        let lane = self.len % LANES;
        if lane == 0 {
            self.chunks.push(Chunk::default());
        }
        if let Some(chunk) = self.chunks.last_mut() {
            (chunk.from[0][lane], chunk.from[1][lane]) = from.into();
            (chunk.place[0][lane], chunk.place[1][lane]) = place.into();
            (chunk.say[lane], chunk.sharp[lane]) = (say, px.powi(-2));
        }
        (self.len, self.total) = (self.len + 1, self.total + say);
    }
}

/// How far a neighbour `from` away may be off and still count as agreeing, px.
pub(super) fn tolerance(from: Vec2) -> f32 {
    0.5 + 0.025 * from.length()
}

/// The motion that those near `start` agree on, beginning with `shape`; `stiffness` (px^2) holds the shape against change.
pub(super) fn consensus(voices: &Voices, start: Vec2, shape: Mat2, stiffness: f32) -> Option<Consensus> {
    let (mut place, mut shape) = (start, shape);
    let mut found = None;
    // First loosely, then strictly.
    for looseness in [3.0f32, 2.0, 1.0, 1.0] {
        let sums = dispatch(
            #[inline(always)]
            || sums(&voices.chunks, place, shape, looseness.powi(-2)),
        );
        let [total, fx, fy, ux, uy, fxx, fxy, fyy, uxfx, uxfy, uyfx, uyfy, apart] = sums;
        if total < 1e-4 {
            break;
        }
        // What is left over, fitted by an affine change: ridge regression towards the shape so far.
        let (from, over) = (Vec2::new(fx, fy) / total, Vec2::new(ux, uy) / total);
        let believed = stiffness * total;
        let across = Mat2::from_cols(Vec2::new(uxfx - fx * over.x, uyfx - fx * over.y), Vec2::new(uxfy - fy * over.x, uyfy - fy * over.y));
        let mixed = fxy - fx * from.y;
        let within = Mat2::from_cols(Vec2::new(fxx - fx * from.x + believed, mixed), Vec2::new(mixed, fyy - fy * from.y + believed));
        let next = shape + across * within.inverse();
        // A surface does not shrink to nothing or turn over.
        let usable = next.is_finite() && (0.2..5.0).contains(&next.determinant());
        let next = if usable { next } else { shape };
        place += over - (next - shape) * from;
        shape = next;
        found = place.is_finite().then_some(Consensus {
            place,
            shape,
            spread: (apart / total).sqrt(),
            support: total,
            precision: 0.5 / (apart / total + 0.1),
        });
    }
    found
}

/// Robustly weighted sums: weight, ways from here, what is left over, and their products.
#[inline(always)]
fn sums(chunks: &[Chunk], place: Vec2, shape: Mat2, strictness: f32) -> [f32; 13] {
    let mut lanes = [[0.0f32; LANES]; 13];
    let [[a, b], [c, d]] = [shape.x_axis.to_array(), shape.y_axis.to_array()];
    for chunk in chunks {
        for i in 0..LANES {
            let (fx, fy) = (chunk.from[0][i], chunk.from[1][i]);
            let (ux, uy) = (chunk.place[0][i] - (a * fx + c * fy) - place.x, chunk.place[1][i] - (b * fx + d * fy) - place.y);
            let off = ux * ux + uy * uy;
            let doubt = 1.0 / (1.0 + off * chunk.sharp[i] * strictness);
            let w = chunk.say[i] * doubt * doubt;
            let terms = [
                w,
                w * fx,
                w * fy,
                w * ux,
                w * uy,
                w * fx * fx,
                w * fx * fy,
                w * fy * fy,
                w * ux * fx,
                w * ux * fy,
                w * uy * fx,
                w * uy * fy,
            ];
            for (lane, term) in lanes.iter_mut().zip(terms) {
                lane[i] += term;
            }
            lanes[12][i] += w * if off < 100.0 { off } else { 100.0 };
        }
    }
    totals(lanes)
}

impl Neighbour {
    /// Takes note of how far off this neighbour's motion is, px, with this much certainty (0..1) of both.
    pub fn hear(&mut self, off: f32, certainty: f32) {
        let wrong = (off / tolerance(self.from)).powi(2).min(5.0);
        self.strife = (self.strife * (1.0 - 0.02 * certainty) + certainty * (0.3 * wrong - 0.1)).clamp(0.0, MOST_STRIFE);
    }

    /// Its say among the others.
    pub fn say(&self) -> f32 {
        self.near * (-self.strife).exp()
    }
}

/// Which of `places` are the neighbours of the point at `at`: the nearest ones all, those farther away ever more sparsely.
pub(super) fn choose(at: Vec2, places: impl Iterator<Item = (usize, Vec2)>) -> Vec<Neighbour> {
    /// All of this many.
    const CLOSE: usize = 12;
    /// In all.
    const MOST: usize = 28;
    let mut near: Vec<(f32, usize, Vec2)> = places.map(|(index, place)| ((place - at).length_squared(), index, place - at)).collect();
    let listed = near.len().min(240);
    if listed == 0 {
        return Vec::new();
    }
    let order = |a: &(f32, usize, Vec2), b: &(f32, usize, Vec2)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    near.select_nth_unstable_by(listed - 1, order);
    near.truncate(listed);
    near.sort_unstable_by(order);
    let reach = near[listed.min(CLOSE) - 1].0.sqrt().clamp(8.0, 60.0);
    let mut chosen = Vec::with_capacity(MOST);
    let mut next = 0.0f32;
    while chosen.len() < MOST && (next as usize) < listed {
        let (squared, index, from) = near[next as usize];
        let near = (-0.5 * squared / (reach * reach)).exp().max(0.02);
        chosen.push(Neighbour { index, from, near, strife: 0.0 });
        next = if chosen.len() < CLOSE { next + 1.0 } else { next.mul_add(1.2, 0.0).max(next + 1.0) };
    }
    chosen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_minority_that_moves_otherwise_does_not_count() {
        let motion = Mat2::from_angle(0.2) * 1.1;
        let mut voices = Voices::default();
        for i in 0..24 {
            let from = Vec2::new((i % 5) as f32 * 9.0 - 18.0, (i / 5) as f32 * 9.0 - 17.0);
            let moved = Vec2::new(40.0, 30.0) + motion * from;
            voices.push(from, if i % 3 == 0 { moved + Vec2::new(9.0, -6.0) } else { moved }, 1.0);
        }
        let found = consensus(&voices, Vec2::new(41.0, 30.5), Mat2::IDENTITY, 1.0).unwrap();
        assert!((found.place - Vec2::new(40.0, 30.0)).length() < 0.2, "{found:?}");
        assert!((found.shape - motion).x_axis.length() < 0.02);
        assert!(consensus(&Voices::default(), Vec2::ZERO, Mat2::IDENTITY, 1.0).is_none());
    }

    #[test]
    fn a_neighbour_that_keeps_moving_otherwise_loses_its_say() {
        let mut neighbour = choose(Vec2::ZERO, [(3, Vec2::new(5.0, 0.0))].into_iter())[0];
        let before = neighbour.say();
        (0..6).for_each(|_| neighbour.hear(4.0, 1.0));
        assert!(neighbour.say() < 0.01 * before);
        (0..80).for_each(|_| neighbour.hear(0.1, 1.0));
        assert!(neighbour.say() > 0.5 * before);
    }
}
