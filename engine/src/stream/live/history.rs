//! What a take was made of, chunk by chunk, so that another one can branch off it.
//!
//! A chunk can be made again from its motion and the network's state before it; states are large, so only some are kept: the nearer to
//! now, the denser. A drag grows with every chunk, by keys behind those that were: all of its chunks share the longest motion, and each
//! knows how far it went. Invariant: what is held never exceeds the bytes it was given, however long a take runs; what can no longer be
//! made again is said so. Guarded by the tests below.

use std::collections::VecDeque;
use std::sync::Arc;

use super::compile::Filling;
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
    pub filling: Filling,
    /// The cut, by number: equal numbers are equal layers.
    pub cut: u64,
}

/// Chunks whose motions are one motion, ended sooner or later.
#[derive(Debug)]
struct Run {
    /// The longest, which is the last chunk's, or was until the take was cut short.
    project: Arc<Project>,
    bytes: usize,
    chunks: VecDeque<Held>,
}

/// A chunk of a run.
#[derive(Debug)]
struct Held {
    /// Keys of each stroke's path; later strokes were not there yet.
    keys: Box<[u32]>,
    filling: Filling,
    cut: u64,
}

/// The chunks of a take, and the network's state (of some type) before some of them.
#[derive(Debug)]
pub struct History<S> {
    runs: VecDeque<Run>,
    /// The first chunk that is held, and the one after the last.
    first: u64,
    end: u64,
    states: Vec<(u64, S)>,
    state_bytes: usize,
    plan_bytes: usize,
    most_bytes: usize,
}

impl<S> History<S> {
    /// Without chunks; each state holds about `state_bytes`, and all together hold `most_bytes` at most.
    pub fn new(state_bytes: usize, most_bytes: usize) -> Self {
        Self { runs: VecDeque::new(), first: 0, end: 0, states: Vec::new(), state_bytes, plan_bytes: 0, most_bytes }
    }

    /// Chunks made.
    pub fn chunks(&self) -> u64 {
        self.end
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
        let Plan { project, filling, cut } = plan;
        let held = Held { keys: keys(&project), filling, cut };
        self.plan_bytes += held.bytes();
        self.end += 1;
        let bytes = project_bytes(&project);
        match self.runs.back_mut().filter(|run| run.goes_on_in(&project)) {
            Some(run) => {
                self.plan_bytes = self.plan_bytes - run.bytes + bytes;
                (run.project, run.bytes) = (project, bytes);
                run.chunks.push_back(held);
            }
            None => {
                self.plan_bytes += bytes;
                self.runs.push_back(Run { project, bytes, chunks: VecDeque::from([held]) });
            }
        }
        self.shrink();
    }

    /// Where to start in order to be before `chunk`: a state, and the chunks to make from there on. None when that is forgotten.
    pub fn way_to(&self, chunk: u64) -> Option<(&S, impl Iterator<Item = Plan>)> {
        let (at, state) = self.states.iter().rev().find(|(at, _)| *at <= chunk)?;
        let (skipped, wanted) = (usize::try_from(at.checked_sub(self.first)?).ok()?, usize::try_from(chunk - at).ok()?);
        let chunks = self.runs.iter().flat_map(|run| run.chunks.iter().map(move |held| (run, held)));
        let mut last: Option<(&Arc<Project>, &Held, Arc<Project>)> = None;
        let plans = chunks.skip(skipped).take(wanted).map(move |(run, held)| {
            // Equal motions are one: whoever makes the chunks again need not compile it again.
            let known = last.take().filter(|(of, before, _)| Arc::ptr_eq(of, &run.project) && before.keys == held.keys);
            let project = known.map_or_else(|| run.project_of(held), |(_, _, project)| project);
            last = Some((&run.project, held, project.clone()));
            Plan { project, filling: held.filling, cut: held.cut }
        });
        (chunk <= self.end).then_some((state, plans))
    }

    /// Forgets `chunk` and all after it.
    pub fn truncate(&mut self, chunk: u64) {
        while self.end > chunk {
            let Some(run) = self.runs.back_mut() else { break };
            if let Some(held) = run.chunks.pop_back() {
                self.plan_bytes -= held.bytes();
                self.end -= 1;
            }
            if run.chunks.is_empty() {
                self.plan_bytes -= run.bytes;
                self.runs.pop_back();
            }
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
        while self.bytes() > self.most_bytes && self.end > self.first + 1 {
            let Some(run) = self.runs.front_mut() else { break };
            if let Some(held) = run.chunks.pop_front() {
                self.plan_bytes -= held.bytes();
                self.first += 1;
            }
            if run.chunks.is_empty() {
                self.plan_bytes -= run.bytes;
                self.runs.pop_front();
            }
            let first = self.first;
            self.states.retain(|(at, _)| *at >= first);
        }
    }
}

impl Run {
    /// Whether `project` is the motion of the last chunk, perhaps with more keys or strokes behind.
    fn goes_on_in(&self, project: &Arc<Project>) -> bool {
        let Some(last) = self.chunks.back() else { return false };
        Arc::ptr_eq(&self.project, project) || last.within(project) && ended(project, &last.keys) == *self.project_of(last)
    }

    /// The motion of a chunk of this run.
    fn project_of(&self, held: &Held) -> Arc<Project> {
        if keys(&self.project) == held.keys { self.project.clone() } else { Arc::new(ended(&self.project, &held.keys)) }
    }
}

impl Held {
    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.keys)
    }

    /// Whether `project` has all these keys.
    fn within(&self, project: &Project) -> bool {
        self.keys.len() <= project.strokes.len()
            && self.keys.iter().zip(&project.strokes).all(|(keys, stroke)| *keys as usize <= stroke.path.len())
    }
}

/// Keys of each stroke's path.
fn keys(project: &Project) -> Box<[u32]> {
    project.strokes.iter().map(|stroke| stroke.path.len() as u32).collect()
}

/// `project` as it was when its strokes had so many keys.
fn ended(project: &Project, keys: &[u32]) -> Project {
    let mut project = project.clone();
    project.strokes.truncate(keys.len());
    project.strokes.iter_mut().zip(keys).for_each(|(stroke, keys)| stroke.path.truncate(*keys as usize));
    project
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
    use crate::motion::stroke::{Key, Stroke};

    fn plan(cut: u64) -> Plan {
        Plan { project: Arc::new(Project::new("", "p.png", 1)), filling: Filling::Smooth, cut }
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
            assert!(plans.map(|plan| plan.cut).eq(*state..chunk));
        }
        let long = |ago: u64| history.way_to(5000 - ago).unwrap().1.count() as u64;
        assert!(long(0) < 2 * EVERY && long(100) < 400, "{} {}", long(0), long(100));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_not_reached() {
        let most = 40_000;
        let history = take(3000, most);
        assert!(history.first > 0 && history.way_to(3).is_none() && history.way_to(history.first).is_none());
        let (state, plans) = history.way_to(3000).unwrap();
        assert!(plans.map(|plan| plan.cut).eq(*state..3000));
        // A motion that all chunks share is counted once, also when the first of them is forgotten.
        let bytes = (history.end - history.first) as usize * size_of::<Held>() + project_bytes(&plan(0).project);
        assert_eq!((history.runs.len(), history.plan_bytes), (1, bytes));
    }

    fn stroke(keys: usize) -> Stroke {
        let path = (0..keys).map(|i| Key { frame: i as f32, place: glam::Vec2::splat(i as f32) }).collect();
        Stroke::along(Region::Disc { center: (5.0, 5.0), radius: 2.0, softness: 0.0 }, path)
    }

    #[test]
    fn drags_that_grow_are_held_once_and_every_chunk_has_its_own_motion() {
        // A drag that grows, rests while another one begins and grows, is let go, and is drawn anew with other keys.
        let motion = |chunk: usize| {
            let mut project = (*plan(0).project).clone();
            project.strokes = vec![stroke(1 + 10 * chunk.min(200))];
            if chunk >= 220 {
                project.strokes.push(stroke(10 * (chunk - 200)));
            }
            if chunk >= 300 {
                project.strokes[0].after = crate::motion::stroke::After::Release;
            }
            if chunk >= 350 {
                project.strokes[1].path.truncate(3);
            }
            project
        };
        let mut history = History::new(1000, 10 << 20);
        for chunk in 0..400 {
            if history.wants_state() {
                history.keep(chunk as u64);
            }
            history.push(Plan { project: Arc::new(motion(chunk)), filling: Filling::Smooth, cut: 7 });
        }
        assert_eq!(history.runs.len(), 3);
        let all = history.runs.iter().map(|run| project_bytes(&run.project)).sum::<usize>();
        assert!(history.plan_bytes < all + 400 * (size_of::<Held>() + 8), "{} {all}", history.plan_bytes);
        for end in [17, 219, 221, 300, 349, 351, 400] {
            let (state, plans) = history.way_to(end).unwrap();
            let plans: Vec<Plan> = plans.collect();
            assert!(
                plans.iter().zip(*state..).all(|(plan, chunk)| *plan.project == motion(chunk as usize))
                    && plans.len() as u64 == end - state
            );
        }
        // Resting, it is one motion: nothing is compiled twice.
        let (state, plans) = history.way_to(219).unwrap();
        let resting: Vec<Plan> = plans.skip((210 - *state) as usize).collect();
        assert!(resting.len() == 9 && resting.windows(2).all(|two| Arc::ptr_eq(&two[0].project, &two[1].project)));
        // Cut short and continued otherwise, the past stays what it was.
        history.truncate(150);
        let other = |chunk: usize| {
            let mut project = motion(149);
            project.strokes[0].path.extend((1..=chunk - 149).map(|i| Key { frame: 2000.0 + i as f32, place: glam::Vec2::ZERO }));
            project
        };
        (150..170).for_each(|chunk| history.push(Plan { project: Arc::new(other(chunk)), filling: Filling::Smooth, cut: 7 }));
        let (state, plans) = history.way_to(170).unwrap();
        let expected = |chunk: usize| if chunk < 150 { motion(chunk) } else { other(chunk) };
        assert!(plans.zip(*state..).all(|(plan, chunk)| *plan.project == expected(chunk as usize)));
        assert_eq!(history.runs.len(), 1);
    }

    #[test]
    fn a_branch_shares_the_past_and_nothing_else() {
        let mut history = take(100, 10 << 20);
        history.truncate(37);
        assert_eq!((history.chunks(), history.way_to(38).is_none()), (37, true));
        assert_eq!(history.way_to(37).map(|(state, plans)| (*state, plans.count())), Some((32, 5)));
        history.truncate(0);
        assert_eq!((history.way_to(0).unwrap().1.count(), history.plan_bytes), (0, 0));
    }
}
