//! What a take was made of, chunk by chunk, so that another one can branch off it.
//!
//! A chunk can be made again from its motion and the network's state before it; states are large, so only some are kept: the nearer to
//! now, the denser. Invariant: what is held never exceeds the bytes it was given, however long a take runs; what can no longer be
//! made again is said so. Guarded by the tests below.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::guide::layers::Fill;
use crate::motion::project::Project;
use crate::motion::region::Region;

/// Chunks between two states.
const EVERY: u64 = 16;
/// States that are kept at most.
const MOST_STATES: usize = 8;

/// What a chunk was drawn from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its motion.
    pub project: Arc<Project>,
    /// How the holes were filled.
    pub fill: Fill,
    /// The cut, by number: equal numbers are equal layers.
    pub cut: u64,
}

/// The chunks of a take, and the network's state (of some type) before some of them.
#[derive(Debug)]
pub struct History<S> {
    /// With the bytes that each alone holds.
    plans: VecDeque<(Plan, usize)>,
    /// The chunk of the first plan that is held.
    first: u64,
    states: Vec<(u64, S)>,
    state_bytes: usize,
    plan_bytes: usize,
    most_bytes: usize,
}

impl<S> History<S> {
    /// Without chunks; each state holds about `state_bytes`, and all together hold `most_bytes` at most.
    pub fn new(state_bytes: usize, most_bytes: usize) -> Self {
        Self { plans: VecDeque::new(), first: 0, states: Vec::new(), state_bytes, plan_bytes: 0, most_bytes }
    }

    /// Chunks made.
    pub fn chunks(&self) -> u64 {
        self.first + self.plans.len() as u64
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.plan_bytes + self.states.len() * self.state_bytes
    }

    /// Whether the state before the next chunk should be kept.
    pub fn wants_state(&self) -> bool {
        self.chunks().is_multiple_of(EVERY) && self.states.last().is_none_or(|(chunk, _)| *chunk < self.chunks())
    }

    /// Keeps the state before the next chunk.
    pub fn keep(&mut self, state: S) {
        self.states.push((self.chunks(), state));
        self.shrink();
    }

    /// The next chunk was made so.
    pub fn push(&mut self, plan: Plan) {
        let same = self.plans.back().is_some_and(|(last, _)| Arc::ptr_eq(&last.project, &plan.project));
        let bytes = if same { 0 } else { project_bytes(&plan.project) } + size_of::<(Plan, usize)>();
        self.plan_bytes += bytes;
        self.plans.push_back((plan, bytes));
        self.shrink();
    }

    /// Where to start in order to be before `chunk`: a state, and the chunks to make from there on. None when that is forgotten.
    pub fn way_to(&self, chunk: u64) -> Option<(&S, Vec<Plan>)> {
        let (at, state) = self.states.iter().rev().find(|(at, _)| *at <= chunk)?;
        let plans = (*at..chunk).map(|c| Some(self.plans.get(usize::try_from(c.checked_sub(self.first)?).ok()?)?.0.clone()));
        Some((state, plans.collect::<Option<_>>()?))
    }

    /// Forgets `chunk` and all after it.
    pub fn truncate(&mut self, chunk: u64) {
        while self.chunks() > chunk {
            let Some((_, bytes)) = self.plans.pop_back() else { break };
            self.plan_bytes -= bytes;
        }
        self.states.retain(|(at, _)| *at <= chunk);
    }

    /// Forgets what is dispensable until the rest fits.
    fn shrink(&mut self) {
        while self.states.len() > MOST_STATES || self.bytes() > self.most_bytes && self.states.len() > 1 {
            let now = self.chunks();
            // The one that is missed least: how much longer the way gets without it, against how long ago that is.
            let cost = |i: usize| {
                let before = if i > 0 { self.states[i - 1].0 } else { 0 };
                let after = self.states.get(i + 1).map_or(now, |state| state.0);
                (after - before) as f64 / (now - self.states[i].0 + EVERY) as f64
            };
            // Never the first: without it the beginning would be lost; nor the newest.
            let least = (1..self.states.len() - 1).min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
            self.states.remove(least.unwrap_or(0));
        }
        while self.bytes() > self.most_bytes && self.plans.len() > 1 {
            let Some((dropped, bytes)) = self.plans.pop_front() else { break };
            self.first += 1;
            self.plan_bytes -= bytes;
            // What two chunks share is held by the next one now.
            if let Some((next, held)) = self.plans.front_mut()
                && Arc::ptr_eq(&next.project, &dropped.project)
            {
                let shared = bytes - size_of::<(Plan, usize)>();
                *held += shared;
                self.plan_bytes += shared;
            }
            let first = self.first;
            self.states.retain(|(at, _)| *at >= first);
        }
    }
}

/// About how many bytes a project holds.
fn project_bytes(project: &Project) -> usize {
    let region = |region: &Region| match region {
        Region::Brush { points, .. } | Region::Lasso { points, .. } => size_of_val(points.as_slice()),
        _ => 0,
    };
    let strokes = project.strokes.iter().map(|stroke| {
        let tracks = stroke.timing.len() + stroke.turn.len() + stroke.scale.len();
        size_of_val(stroke) + size_of_val(stroke.path.as_slice()) + 12 * stroke.handles.len() + 8 * tracks + region(&stroke.region)
    });
    let transfers = project.transfers.iter().map(|transfer| {
        let paths = transfer.clip.as_os_str().len() + transfer.tracks.as_os_str().len();
        size_of_val(transfer) + paths + 4 * transfer.hidden.len() + region(&transfer.region)
    });
    let texts = project.name.len() + project.description.len() + project.credits.len();
    size_of::<Project>()
        + texts
        + strokes.sum::<usize>()
        + transfers.sum::<usize>()
        + project.pins.iter().map(|pin| size_of_val(pin) + region(pin)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn plan(cut: u64) -> Plan {
        Plan { project: Arc::new(Project::new("", "p.png", 1)), fill: Fill::PullPush, cut }
    }

    /// A take of `chunks` chunks whose state before a chunk is the chunk's number, and whose cut is too.
    fn take(chunks: u64, most_bytes: usize) -> History<u64> {
        let mut history = History::new(1000, most_bytes);
        for chunk in 0..chunks {
            if history.wants_state() {
                history.keep(chunk);
            }
            history.push(plan(chunk));
            assert!(history.bytes() <= most_bytes, "{chunk}: {}", history.bytes());
        }
        history
    }

    #[test]
    fn every_chunk_is_reached_and_the_newest_ones_quickly() {
        let history = take(5000, 10 << 20);
        assert!(history.states.len() == MOST_STATES && history.chunks() == 5000);
        for chunk in (0..=5000).step_by(7).chain([5000]) {
            let (state, plans) = history.way_to(chunk).unwrap();
            assert!(plans.iter().map(|plan| plan.cut).eq(*state..chunk));
        }
        let long = |ago: u64| history.way_to(5000 - ago).unwrap().1.len() as u64;
        assert!(long(0) < 2 * EVERY && long(100) < 400, "{} {}", long(0), long(100));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_not_reached() {
        let most = 40_000;
        let history = take(3000, most);
        assert!(history.first > 0 && history.way_to(3).is_none() && history.way_to(history.first).is_none());
        let (state, plans) = history.way_to(3000).unwrap();
        assert!(plans.iter().map(|plan| plan.cut).eq(*state..3000));
        // A motion that all chunks share is counted once, also when the first of them is forgotten.
        let shared = plan(0);
        let mut history = History::<u64>::new(1000, most);
        (0..3000).for_each(|_| history.push(shared.clone()));
        let own = size_of::<(Plan, usize)>();
        assert!(history.first > 0 && history.plan_bytes == history.plans.len() * own + project_bytes(&shared.project));
    }

    #[test]
    fn a_branch_shares_the_past_and_nothing_else() {
        let mut history = take(100, 10 << 20);
        history.truncate(37);
        assert_eq!((history.chunks(), history.way_to(38).is_none()), (37, true));
        assert_eq!(history.way_to(37).map(|(state, plans)| (*state, plans.len())), Some((32, 5)));
        history.truncate(0);
        assert_eq!((history.way_to(0).unwrap().1.len(), history.plan_bytes), (0, 0));
    }
}
