//! The state of a smart selection: its scribbles, the last answer, and what waits for it.
//!
//! Invariant: an answer becomes a step only when its scribble is finished, and then it is the answer to that very scribble. Guarded by
//! the canvas's test `a_scribble_becomes_the_object`.

use kinebrush_engine::motion::geodesic::Scribble;
use kinebrush_engine::motion::region::Region;

use super::edit::{self, Mark};
use super::gesture::{Draw, Gesture, Purpose};
use super::smart::{Request, Smart};
use super::style::TEXTS;
use super::{Canvas, Env, RegionMode};
use crate::studio::action::Action;
use crate::studio::document::Work;

/// A smart selection under way.
#[derive(Debug, Default)]
pub struct SmartMark {
    thread: Smart,
    inside: Vec<Scribble>,
    outside: Vec<Scribble>,
    /// What was marked before the first scribble, to be kept.
    base: Option<Region>,
    /// What the scribbles so far made of it: while that is what is marked, more scribbles belong to it.
    result: Option<Region>,
    /// The answer to the scribble under way.
    preview: Option<Region>,
    /// The work before the scribble, and its fade, while an answer is waited for.
    before: Option<(Work, f32)>,
    /// The answer that ends the scribble.
    last: Option<u64>,
}

impl SmartMark {
    /// What was found so far.
    pub fn preview(&self) -> Option<&Region> {
        self.preview.as_ref()
    }

    /// Whether the hand let go and the answer is not there yet.
    pub fn waits(&self) -> bool {
        self.last.is_some()
    }

    /// The work with what was found so far.
    pub fn unfinished(&self, picture: (usize, usize)) -> Option<Work> {
        let (before, softness_px) = self.before.as_ref()?;
        let mut work = before.clone();
        work.region.clone_from(&self.base);
        edit::mark(&mut work, self.preview.clone()?, Mark::Add, *softness_px, picture);
        (work != *before).then_some(work)
    }

    /// Takes in what happened to the work meanwhile.
    pub fn rebase(&mut self, work: &Work) {
        if let Some((before, _)) = &mut self.before
            && before != work
        {
            before.clone_from(work);
        }
    }

    /// Gives up the scribble under way.
    pub fn cancel(&mut self) {
        self.before = None;
        self.last = None;
        self.preview = None;
    }
}

fn scribble(draw: &Draw) -> Scribble {
    Scribble { points: draw.points().into_iter().map(Into::into).collect(), radius: draw.brush.radius_px }
}

impl Canvas {
    /// A scribble begins.
    pub(super) fn begin_scribble(&mut self, work: &Work, how: Mark, softness_px: f32) {
        let smart = &mut self.smart;
        let goes_on = how != Mark::Replace && smart.result.is_some() && smart.result == work.region;
        if !goes_on {
            smart.inside.clear();
            smart.outside.clear();
            smart.base = if how == Mark::Replace { None } else { work.region.clone() };
        }
        smart.preview = None;
        smart.last = None;
        smart.before = Some((work.clone(), softness_px));
    }

    /// The scribble grew, or ended: asks for what lies under it.
    pub(super) fn ask_smart(&mut self, env: &Env<'_>, ended: bool) {
        let Gesture::Draw(draw) = &self.gesture else { return };
        let Purpose::Mark(RegionMode::Smart, how) = draw.purpose else { return };
        let (mut inside, mut outside) = (self.smart.inside.clone(), self.smart.outside.clone());
        if how == Mark::Subtract { &mut outside } else { &mut inside }.push(scribble(draw));
        let request = Request { picture: env.source.clone(), inside, outside, softness_px: draw.softness_px() };
        if ended {
            self.smart.inside.clone_from(&request.inside);
            self.smart.outside.clone_from(&request.outside);
        }
        let number = self.smart.thread.ask(request, env.context);
        if ended {
            self.smart.last = Some(number).filter(|number| *number > 0);
        }
    }

    /// Takes in what was found.
    pub(super) fn smart_answers(&mut self, env: &Env<'_>, actions: &mut Vec<Action>) {
        let answer = self.smart.thread.answer();
        if self.smart.waits() && !self.smart.thread.works() && answer.is_none() {
            self.smart.cancel();
        }
        let Some((number, region)) = answer else { return };
        if self.smart.before.is_none() {
            return;
        }
        self.smart.preview = region;
        if self.smart.last.is_none_or(|last| number < last) {
            return;
        }
        let work = self.smart.unfinished(env.picture);
        self.smart.cancel();
        if let Some(work) = work {
            self.smart.result.clone_from(&work.region);
            let gesture = self.next_gesture();
            actions.push(Action::Edit { label: TEXTS.steps.mark, gesture, work: Box::new(work) });
        }
    }
}
