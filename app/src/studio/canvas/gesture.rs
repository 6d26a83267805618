//! What the hand is doing, and what comes of it.
//!
//! Invariant: [`Canvas::finished`] depends on the gesture alone and changes nothing, so that what is kept while the hand moves is what
//! will be there when it lets go. Guarded by the canvas's tests.

use eframe::egui::{Modifiers, Pos2};
use glam::Vec2;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::{After, Easing, Stroke};

use super::brush::{Brush, Use};
use super::edit::{self, Mark, new_stroke};
use super::style::TEXTS;
use super::timing::{Sample, even_keys, keys};
use super::{Canvas, RegionMode};
use crate::studio::document::{Selection, Work};

/// What the hand is doing.
#[derive(Clone, Debug, Default)]
pub enum Gesture {
    /// Nothing.
    #[default]
    None,
    /// Moves the view.
    Pan {
        /// Where the pointer was.
        last: Pos2,
    },
    /// Changes the brush.
    Resize {
        /// Which one.
        of: Use,
        /// Where the pointer went down.
        origin: Pos2,
        /// How the brush was.
        before: Brush,
    },
    /// Moves something at the hand's speed.
    Drag(Box<Drag>),
    /// Draws.
    Draw(Box<Draw>),
    /// Clicks a path.
    Points(Box<Points>),
    /// Moves a key or its handle.
    Key(Box<KeyMove>),
}

/// Something held by the hand.
#[derive(Clone, Debug)]
pub struct Drag {
    /// Its number while video is made.
    pub live: Option<u64>,
    /// What was there before.
    pub before: Work,
    /// What is held.
    pub region: Region,
    /// Whether it has a layer of its own already.
    pub on_object: bool,
    /// Its outline as it was shown when the pointer went down, picture px.
    pub outline: Vec<Vec<Vec2>>,
    /// Where the pointer went down, on the screen and in the picture.
    pub origin: (Pos2, Vec2),
    /// Where the held place lies on the source picture, and when.
    pub samples: Vec<Sample>,
    /// The frame that was shown.
    pub first_frame: f32,
    /// Whether the pointer went farther than a click does.
    pub moved: bool,
    /// Whether it is let go when the hand is.
    pub after: After,
}

impl Drag {
    /// How far it was moved, picture px.
    pub fn shift(&self) -> Vec2 {
        match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) => last.place - first.place,
            _ => Vec2::ZERO,
        }
    }
}

/// A line drawn freehand.
#[derive(Clone, Debug)]
pub struct Draw {
    /// What for.
    pub purpose: Purpose,
    /// What was there before.
    pub before: Work,
    /// Where the pointer went down on the screen.
    pub origin: Pos2,
    /// Where the hand was, and when.
    pub samples: Vec<Sample>,
    /// The frame that was shown.
    pub first_frame: f32,
    /// Whether the pointer went farther than a click does.
    pub moved: bool,
    /// The brush, with its radius after the strongest pressure so far.
    pub brush: Brush,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Purpose {
    /// The way of a region.
    Path(Region),
    /// A region.
    Mark(RegionMode, Mark),
    /// What stays.
    Pin,
    /// What shall go, and the pin that was touched first.
    Erase(Option<usize>),
}

/// A path of clicks.
#[derive(Clone, Debug)]
pub struct Points {
    /// What was there before.
    pub before: Work,
    /// What goes along it.
    pub target: Region,
    /// The clicks so far, picture px.
    pub places: Vec<Vec2>,
    /// The frame that was shown.
    pub first_frame: f32,
}

/// A key on the move.
#[derive(Clone, Debug)]
pub struct KeyMove {
    /// The gesture's number.
    pub gesture: u64,
    /// What is there, with the changes of the gesture so far.
    pub latest: Work,
    /// The stroke as it was.
    pub before: Stroke,
    /// Which stroke.
    pub stroke: usize,
    /// Which key.
    pub key: usize,
    /// The side of its handle that is held, 1 after the key and -1 before; None for the key itself.
    pub handle: Option<f32>,
    /// From the pointer to what it holds, picture px.
    pub grip: Vec2,
    /// Where the pointer went down on the screen.
    pub origin: Pos2,
    /// Where it is, picture px.
    pub place: Vec2,
    /// Whether the pointer went farther than a click does.
    pub moved: bool,
}

/// What comes of a gesture.
pub struct Done {
    /// The step's name.
    pub label: &'static str,
    /// The new state.
    pub work: Work,
    /// What is selected then, if that changes.
    pub select: Option<Selection>,
}

impl Gesture {
    /// Takes in what happened to the work meanwhile, so that it is not undone by the end of the gesture.
    pub fn rebase(&mut self, work: &Work) {
        let known = match self {
            Self::None | Self::Pan { .. } | Self::Resize { .. } => return,
            Self::Drag(drag) => &mut drag.before,
            Self::Draw(draw) => &mut draw.before,
            Self::Points(points) => &mut points.before,
            Self::Key(held) => &mut held.latest,
        };
        if known != work {
            known.clone_from(work);
        }
    }

    /// Whether something is held.
    pub fn is_drag(&self) -> bool {
        matches!(self, Self::Drag(_))
    }

    /// The stroke that a drag would be if the hand let go now.
    pub fn stroke_so_far(&self, tolerance_px: f32) -> Option<Stroke> {
        let Self::Drag(drag) = self else { return None };
        let keys = keys(&drag.samples, drag.first_frame, tolerance_px);
        (!keys.is_empty()).then(|| new_stroke(drag.region.clone(), keys, Easing::Hand, drag.after))
    }
}

impl Draw {
    /// The places drawn, without those too near to matter.
    pub fn points(&self) -> Vec<(f32, f32)> {
        let least = (self.brush.radius_px * 0.04).max(0.25);
        let mut kept: Vec<Vec2> = Vec::new();
        for (i, sample) in self.samples.iter().enumerate() {
            let last = i + 1 == self.samples.len();
            if kept.last().is_none_or(|before| before.distance(sample.place) > if last { 0.0 } else { least }) {
                kept.push(sample.place);
            }
        }
        kept.into_iter().map(Into::into).collect()
    }

    /// The region drawn with the brush.
    pub fn brushed(&self) -> Region {
        Region::Brush { points: self.points(), radius: self.brush.radius_px, softness: self.brush.softness }
    }

    /// Fade of an outline, px.
    pub fn softness_px(&self) -> f32 {
        self.brush.radius_px * self.brush.softness
    }
}

impl Canvas {
    /// The state after the gesture if it ended now; None when nothing would change.
    pub(super) fn finished(&self) -> Option<Done> {
        let steps = &TEXTS.steps;
        let stroke_added = |label, before: &Work, stroke: Stroke| {
            let mut work = before.clone();
            let index = edit::add_stroke(&mut work, stroke, self.picture)?;
            Some(Done { label, work, select: Some(Selection::Stroke(index)) })
        };
        match &self.gesture {
            Gesture::None => self.smart.unfinished(self.picture).map(|work| Done { label: steps.mark, work, select: None }),
            Gesture::Pan { .. } | Gesture::Resize { .. } => None,
            Gesture::Drag(drag) if !drag.moved => None,
            Gesture::Drag(drag) => stroke_added(steps.drag, &drag.before, self.gesture.stroke_so_far(self.tolerance_px())?),
            Gesture::Points(points) => stroke_added(steps.path, &points.before, self.clicked_stroke(points)?),
            Gesture::Key(held) => {
                let mut work = held.latest.clone();
                let stroke = work.project.strokes.get_mut(held.stroke)?;
                stroke.clone_from(&held.before);
                let label = match held.handle {
                    None => {
                        edit::move_key(stroke, held.key, held.place + held.grip, self.picture);
                        if held.key == 0 { steps.move_path } else { steps.move_key }
                    }
                    Some(side) => {
                        let from_key = held.place + held.grip - stroke.path.get(held.key)?.place;
                        // A click on a handle takes it away.
                        edit::set_handle(stroke, held.key, held.moved.then_some(from_key * side), self.picture);
                        steps.bend_path
                    }
                };
                (work != held.latest).then_some(Done { label, work, select: None })
            }
            Gesture::Draw(draw) => match &draw.purpose {
                Purpose::Path(region) => {
                    let path = keys(&draw.samples, draw.first_frame, self.tolerance_px());
                    let stroke = new_stroke(region.clone(), path, Easing::Hand, After::Hold);
                    draw.moved.then(|| stroke_added(steps.path, &draw.before, stroke)).flatten()
                }
                Purpose::Mark(RegionMode::Smart, _) => {
                    self.smart.unfinished(self.picture).map(|work| Done { label: steps.mark, work, select: None })
                }
                Purpose::Mark(mode, how) => {
                    let region = match mode {
                        RegionMode::Lasso => Region::Lasso { points: draw.points(), softness: draw.softness_px() },
                        RegionMode::Whole => Region::All,
                        _ => draw.brushed(),
                    };
                    self.changed(steps.mark, &draw.before, |work| edit::mark(work, region, *how, draw.softness_px(), self.picture))
                }
                Purpose::Pin => self.changed(steps.pin, &draw.before, |work| {
                    let pin = draw.brushed();
                    if pin.validate("pin", self.picture).is_ok() {
                        work.project.pins.push(pin);
                    }
                }),
                Purpose::Erase(pin) => {
                    let brush = draw.brushed();
                    self.changed(steps.erase, &draw.before, |work| {
                        edit::erase(work, &brush, *pin, self.picture);
                    })
                }
            },
        }
    }

    fn changed(&self, label: &'static str, before: &Work, change: impl FnOnce(&mut Work)) -> Option<Done> {
        let mut work = before.clone();
        change(&mut work);
        (work != *before).then_some(Done { label, work, select: None })
    }

    /// Clicked points as a stroke of even speed: across the picture in four seconds.
    fn clicked_stroke(&self, points: &Points) -> Option<Stroke> {
        let speed = self.picture.0.max(self.picture.1) as f32 / 4.0;
        let path = even_keys(&points.places, points.first_frame, speed.max(1.0));
        (path.len() >= 2).then(|| new_stroke(points.target.clone(), path, Easing::Linear, After::Hold))
    }
}

/// How a mark goes together with what is there, by the keys held.
pub fn how(modifiers: Modifiers) -> Mark {
    match modifiers {
        Modifiers { alt: true, .. } => Mark::Subtract,
        Modifiers { shift: true, .. } => Mark::Add,
        _ => Mark::Replace,
    }
}
