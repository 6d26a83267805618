//! What the points around one say about it: a robust local affine motion from where they were first to where they are now.
//!
//! Invariant: exact where the neighbours move affinely, whatever minority of them does not; a neighbour that has long moved otherwise
//! (another object) loses its say. Guarded by the tests below.

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
}

/// A neighbour that is seen now.
#[derive(Clone, Copy)]
pub(super) struct Voice {
    pub from: Vec2,
    pub place: Vec2,
    pub say: f32,
}

/// How far a neighbour `from` away may be off and still count as agreeing, px.
pub(super) fn tolerance(from: Vec2) -> f32 {
    0.5 + 0.025 * from.length()
}

/// The motion that those near `start` agree on, beginning with `shape`.
pub(super) fn consensus(voices: &[Voice], start: Vec2, shape: Mat2, stiffness: f32) -> Option<Consensus> {
    let (mut place, mut shape) = (start, shape);
    let mut found = None;
    for pass in 0..4 {
        // First loosely, then strictly.
        let looseness = [3.0, 2.0, 1.0, 1.0][pass];
        let weight = |voice: &Voice| {
            let allowed = looseness * tolerance(voice.from);
            let doubt = 1.0 / (1.0 + (voice.place - shape * voice.from - place).length_squared() / (allowed * allowed));
            voice.say * doubt * doubt
        };
        let (mut total, mut mean_from, mut mean_place) = (0.0, Vec2::ZERO, Vec2::ZERO);
        for voice in voices {
            let w = weight(voice);
            (total, mean_from, mean_place) = (total + w, mean_from + voice.from * w, mean_place + voice.place * w);
        }
        if total < 1e-4 {
            break;
        }
        (mean_from, mean_place) = (mean_from / total, mean_place / total);
        // Ridge towards the shape so far; stiffness is a squared length.
        let believed = stiffness * total;
        let (mut across, mut within, mut apart) = (shape * believed, Mat2::from_diagonal(Vec2::splat(believed)), 0.0);
        for voice in voices {
            let w = weight(voice);
            let (from, to) = (voice.from - mean_from, voice.place - mean_place);
            across += Mat2::from_cols(to * from.x, to * from.y) * w;
            within += Mat2::from_cols(from * from.x, from * from.y) * w;
            apart += w * (voice.place - shape * voice.from - place).length_squared().min(100.0);
        }
        let next = across * within.inverse();
        // A surface does not shrink to nothing or turn over.
        let usable = next.is_finite() && (0.2..5.0).contains(&next.determinant());
        shape = if usable { next } else { shape };
        place = mean_place - shape * mean_from;
        found = place.is_finite().then_some(Consensus { place, shape, spread: (apart / total).sqrt(), support: total });
    }
    found
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
        let voices: Vec<Voice> = (0..24)
            .map(|i| {
                let from = Vec2::new((i % 5) as f32 * 9.0 - 18.0, (i / 5) as f32 * 9.0 - 17.0);
                let moved = Vec2::new(40.0, 30.0) + motion * from;
                Voice { from, place: if i % 3 == 0 { moved + Vec2::new(9.0, -6.0) } else { moved }, say: 1.0 }
            })
            .collect();
        let found = consensus(&voices, Vec2::new(41.0, 30.5), Mat2::IDENTITY, 1.0).unwrap();
        assert!((found.place - Vec2::new(40.0, 30.0)).length() < 0.2, "{found:?}");
        assert!((found.shape - motion).x_axis.length() < 0.02);
        assert!(consensus(&[], Vec2::ZERO, Mat2::IDENTITY, 1.0).is_none());
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
