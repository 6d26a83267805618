//! The track field: points that follow the motion, the one thing that every source of motion writes and every model reads.
//!
//! Invariant: ids are distinct, below [`MAX_ID`] and never change; frames only grow at the end, and at most `capacity` of them are
//! kept, so memory is bounded however long a take runs. Guarded by the tests below.

use std::collections::VecDeque;

use glam::Vec2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Ids are drawn from `0..MAX_ID`, as in MotionStream (arXiv 2511.01266).
pub const MAX_ID: u32 = 100_000;
/// Most points of a field; half of the ids, so that drawing a fresh one stays quick.
pub const MAX_POINTS: usize = 50_000;
/// Points along the longer side of a default grid.
pub const DEFAULT_POINTS: usize = 50;
/// Frames kept by default: more than the longest window of a model with its sink.
pub const DEFAULT_CAPACITY: usize = 128;

/// Who decides where a point goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointState {
    /// The model.
    Free,
    /// Nobody: it stays.
    Pinned,
    /// A stroke.
    Driven,
}

/// All points at one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrackFrame {
    /// Places, px.
    pub positions: Vec<Vec2>,
    /// Whether a point is inside the frame and nothing is before it.
    pub visible: Vec<bool>,
}

/// Points with ids, layers and states, and where they were in the last frames.
#[derive(Clone, Debug)]
pub struct TrackField {
    /// A number per point, drawn once from the seed, distinct, below [`MAX_ID`].
    pub ids: Vec<u32>,
    /// The layer per point: 0 is the plate, `k` the object layer `k - 1`.
    pub layers: Vec<u16>,
    /// Places in the source picture, px.
    pub sources: Vec<Vec2>,
    /// Distance between neighbouring points of the grid, px.
    spacing: Vec2,
    frames: VecDeque<(TrackFrame, Vec<PointState>)>,
    pushed: usize,
    capacity: usize,
    rng: ChaCha8Rng,
    taken: Vec<bool>,
}

impl TrackField {
    /// A field without points over nothing in particular.
    pub fn empty(seed: u64) -> Self {
        Self {
            ids: Vec::new(),
            layers: Vec::new(),
            sources: Vec::new(),
            spacing: Vec2::ONE,
            frames: VecDeque::new(),
            pushed: 0,
            capacity: DEFAULT_CAPACITY,
            rng: ChaCha8Rng::seed_from_u64(seed),
            taken: vec![false; MAX_ID as usize],
        }
    }

    /// A regular grid over a picture of `width` x `height` px, points in the middle of equal cells, `points_along_longer_side`
    /// of them along the longer side (at least 1, and no more than fit into [`MAX_POINTS`]).
    pub fn grid(width: usize, height: usize, points_along_longer_side: usize, seed: u64, layer_of: impl Fn(Vec2) -> u16) -> Self {
        let (longer, shorter) = (width.max(height).max(1), width.min(height).max(1));
        let most = (1..=MAX_POINTS).rev().find(|n| n * across(*n, longer, shorter) <= MAX_POINTS).unwrap_or(1);
        let along = points_along_longer_side.clamp(1, most);
        let across = across(along, longer, shorter);
        let (columns, rows) = if width >= height { (along, across) } else { (across, along) };
        let mut field = Self::empty(seed);
        field.spacing = Vec2::new(width as f32 / columns as f32, height as f32 / rows as f32);
        let cells = (0..rows * columns).map(|i| Vec2::new((i % columns) as f32 + 0.5, (i / columns) as f32 + 0.5));
        let sources: Vec<Vec2> = cells.map(|cell| cell * field.spacing).collect();
        field.seed_points(sources.into_iter().map(|source| (source, layer_of(source))));
        field
    }

    /// The same field, keeping the last `frames` frames (at least 1).
    pub fn with_capacity(mut self, frames: usize) -> Self {
        self.capacity = frames.max(1);
        while self.frames.len() > self.capacity {
            self.frames.pop_front();
        }
        self
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Distance between neighbouring points of the grid, px.
    pub fn spacing(&self) -> Vec2 {
        self.spacing
    }

    /// Adds points at (source px, layer), for example where the picture is newly uncovered, up to [`MAX_POINTS`] in all; returns how
    /// many were added. They appear in the frames pushed from now on; earlier frames stay shorter.
    pub fn seed_points(&mut self, points: impl IntoIterator<Item = (Vec2, u16)>) -> usize {
        let before = self.len();
        for (source, layer) in points.into_iter().take(MAX_POINTS - before) {
            let id = self.draw_id();
            self.ids.push(id);
            self.layers.push(layer);
            self.sources.push(source);
        }
        self.len() - before
    }

    /// Gives every point the layer that `layer_of` says for its source (px), in the frames pushed from now on; ids and sources stay.
    pub fn relayer(&mut self, layer_of: impl Fn(Vec2) -> u16) {
        self.layers.iter_mut().zip(&self.sources).for_each(|(layer, source)| *layer = layer_of(*source));
    }

    fn draw_id(&mut self) -> u32 {
        loop {
            // The high bits of a 32-bit draw, scaled: no modulo bias worth speaking of, and the same on every platform.
            let id = ((u64::from(self.rng.next_u32()) * u64::from(MAX_ID)) >> 32) as usize;
            if !std::mem::replace(&mut self.taken[id], true) {
                return id as u32;
            }
        }
    }

    /// Appends a frame with one place, one visibility and one state per point; the oldest frame is forgotten when the field is full.
    ///
    /// # Panics
    /// When the numbers do not match the points: a fault of the caller that would otherwise surface far away.
    pub fn push(&mut self, frame: TrackFrame, states: Vec<PointState>) {
        assert!(
            frame.positions.len() == self.len() && frame.visible.len() == self.len() && states.len() == self.len(),
            "a frame has one position, one visibility and one state per point"
        );
        if self.frames.len() == self.capacity {
            self.frames.pop_front();
        }
        self.frames.push_back((frame, states));
        self.pushed += 1;
    }

    /// Number of frames pushed so far, forgotten ones included.
    pub fn pushed(&self) -> usize {
        self.pushed
    }

    /// Index of the oldest frame that is still kept.
    pub fn first_kept(&self) -> usize {
        self.pushed - self.frames.len()
    }

    /// The frame at `index`, counted from the first one pushed; `None` when it is forgotten or still to come.
    pub fn frame(&self, index: usize) -> Option<&TrackFrame> {
        self.entry(index).map(|(frame, _)| frame)
    }

    /// The states at `index`; `None` as in [`TrackField::frame`].
    pub fn states(&self, index: usize) -> Option<&[PointState]> {
        self.entry(index).map(|(_, states)| states.as_slice())
    }

    fn entry(&self, index: usize) -> Option<&(TrackFrame, Vec<PointState>)> {
        self.frames.get(index.checked_sub(self.first_kept())?)
    }
}

fn across(along: usize, longer: usize, shorter: usize) -> usize {
    ((along as f64 * shorter as f64 / longer as f64).round() as usize).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn push(field: &mut TrackField, x: f32) {
        let n = field.len();
        field.push(TrackFrame { positions: vec![Vec2::splat(x); n], visible: vec![true; n] }, vec![PointState::Free; n]);
    }

    #[test]
    fn grid_has_the_asked_points_along_the_longer_side() {
        let field = TrackField::grid(384, 216, 50, 7, |p| u16::from(p.x > 192.0));
        assert_eq!(field.len(), 50 * 28);
        assert_eq!(field.sources[0], field.spacing() * 0.5);
        assert!((field.sources[1399] + field.spacing() * 0.5 - Vec2::new(384.0, 216.0)).length() < 1e-3);
        assert_eq!((field.layers[0], field.layers[49]), (0, 1));
        assert_eq!(TrackField::grid(100, 400, 8, 0, |_| 0).len(), 16);
    }

    #[test]
    fn ids_are_distinct_small_and_decided_by_the_seed() {
        let ids = |seed| TrackField::grid(640, 640, 200, seed, |_| 0).ids;
        let mut sorted = ids(3);
        assert_eq!(sorted, ids(3));
        assert_ne!(sorted, ids(4));
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 40_000);
        assert!(sorted.iter().all(|id| *id < MAX_ID));
    }

    #[test]
    fn memory_for_the_past_is_bounded_and_indices_stay_absolute() {
        let mut field = TrackField::grid(64, 64, 4, 0, |_| 0).with_capacity(3);
        for i in 0..10 {
            push(&mut field, i as f32);
        }
        assert_eq!((field.pushed(), field.first_kept(), field.frames.len()), (10, 7, 3));
        assert!(field.frame(6).is_none() && field.frame(10).is_none());
        assert_eq!(field.frame(8).unwrap().positions[0].x, 8.0);
        assert_eq!(field.states(9).unwrap().len(), 16);
    }

    #[test]
    fn seeded_points_join_later_frames_with_fresh_ids_and_end_at_the_limit() {
        let mut field = TrackField::grid(64, 64, 2, 0, |_| 0);
        push(&mut field, 0.0);
        assert_eq!(field.seed_points([(Vec2::ONE, 0), (Vec2::ZERO, 2)]), 2);
        push(&mut field, 1.0);
        assert_eq!((field.frame(0).unwrap().positions.len(), field.frame(1).unwrap().positions.len()), (4, 6));
        assert!(!field.ids[..4].contains(&field.ids[4]));
        assert_eq!(field.seed_points(std::iter::repeat_n((Vec2::ZERO, 0), 2 * MAX_POINTS)), MAX_POINTS - 6);
        assert_eq!(TrackField::grid(10, 10, usize::MAX, 0, |_| 0).len(), 223 * 223);
    }
}
