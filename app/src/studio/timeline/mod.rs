//! The timeline: transport, ruler, a bar for each stroke, and what can be set about the selected one.
//!
//! Invariant: it changes nothing itself; every change is an [`Action`], a drag is one step to undo, and each state on the way is a valid
//! project. Guarded by the tests here and in [`edit`].

mod axis;
mod camera;
mod controls;
pub mod edit;
mod inspector;
mod look;
mod rows;
mod ruler;
mod speed;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(super) mod texts;
mod transport;

use std::ops::Range;

use eframe::egui::{Id, Rangef, Rect, Stroke as Line, Ui, UiBuilder, pos2};
use kinebrush_engine::motion::stroke::Stroke;
use kinebrush_engine::stream::live::{Clock, State};

use super::action::{Action, Compare};
use super::document::{Selection, Work};
use super::gpu::fill;
pub use axis::{Unit, clock};
pub(super) use controls::{Icon, button, elided, focus_ring, segments};
pub(super) use look::{Look, RADIUS, body, small};
#[cfg(test)]
pub(super) use testing::{Dice, look as picture};

/// Width of the column with the names, points.
const NAMES: f32 = 156.0;
/// Width of the inspector, points.
const INSPECTOR: f32 = 430.0;
/// Gestures of the timeline count from here, apart from those of other panels.
const GESTURES: u64 = 2 << 40;

/// What the timeline shows.
#[derive(Clone, Debug)]
pub struct TimelineInput<'a> {
    /// Picture and motion.
    pub work: &'a Work,
    /// Which stroke or pin is selected.
    pub selection: Selection,
    /// The frame that is shown, fractions allowed.
    pub playhead: f32,
    /// Frames of the shown take that exist.
    pub generated: Range<usize>,
    /// Those of them that are shown without waiting, in order.
    pub cached: &'a [Range<usize>],
    /// The range that is played again and again: first frame, and one after the last.
    pub loop_range: Option<(usize, usize)>,
    /// Whether video is made.
    pub state: State,
    /// Whether the playhead runs, be it by new frames or by those that exist.
    pub playing: bool,
    /// How time runs while video is made.
    pub clock: Clock,
    /// What the canvas shows of a frame.
    pub compare: Compare,
}

impl TimelineInput<'_> {
    /// One after the last frame that can be shown.
    fn end(&self) -> usize {
        self.generated.end.max(self.work.project.frames)
    }
}

/// The view of the timeline and the gesture that is under way.
#[derive(Debug)]
pub struct Timeline {
    /// How the ruler counts; a click on the time switches it.
    pub unit: Unit,
    axis: Option<axis::Axis>,
    /// Whether the whole project is kept in view.
    fit: bool,
    gesture: u64,
    drag: Option<rows::Drag>,
    camera_drag: Option<camera::Drag>,
    loop_anchor: Option<f32>,
    last_loop: Option<(usize, usize)>,
    last_playhead: f32,
    rename: Option<(usize, String)>,
    profiles: Vec<Option<(Stroke, Vec<f32>)>>,
    smoothing: Option<inspector::Smoothing>,
    speed_point: Option<usize>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            unit: Unit::default(),
            axis: None,
            fit: true,
            gesture: GESTURES,
            drag: None,
            camera_drag: None,
            loop_anchor: None,
            last_loop: None,
            last_playhead: 0.0,
            rename: None,
            profiles: Vec::new(),
            smoothing: None,
            speed_point: None,
        }
    }
}

impl Timeline {
    /// Shows the timeline in the space that `ui` has and says what the artist wants.
    pub fn timeline_ui(&mut self, ui: &mut Ui, t: &TimelineInput<'_>) -> Vec<Action> {
        if ui.input(|input| input.pointer.any_pressed()) {
            self.gesture += 1;
        }
        self.last_loop = t.loop_range.or(self.last_loop);
        let mut actions = Vec::new();
        self.transport_ui(ui, t, &mut actions);
        let below = ui.available_rect_before_wrap();
        // Always there, so that nothing moves under the hand when something is selected.
        let right = (below.right() - INSPECTOR).max(below.left() + NAMES + 80.0);
        let board = Rect::from_min_max(below.min, pos2(right, below.bottom()));
        self.board_ui(ui, board, t, &mut actions);
        let rect = Rect::from_min_max(pos2(right, below.top()), below.max);
        ui.painter().vline(right, rect.y_range(), Line::new(1.0, Look::of(ui).line));
        ui.scope_builder(UiBuilder::new().max_rect(rect.shrink2(eframe::egui::vec2(10.0, 6.0))).id_salt("inspector"), |ui| {
            self.inspector_ui(ui, t, &mut actions);
        });
        ui.advance_cursor_after_rect(below);
        actions
    }

    /// Ruler above rows.
    fn board_ui(&mut self, ui: &mut Ui, board: Rect, t: &TimelineInput<'_>, actions: &mut Vec<Action>) {
        let look = Look::of(ui);
        fill(ui.painter(), board, look.ground);
        let time = Rangef::new(board.left() + NAMES, board.right());
        let mut axis = self.axis_now(time, t, ui.input(|input| input.pointer.any_down()));
        self.view_input(ui, board, &mut axis);
        let (top, bottom) = (board.top() + look::RULER, board.bottom() - ruler::PAN_BAR);
        let rows = Rect::from_min_max(pos2(board.left(), top), pos2(board.right(), bottom));
        // Above the strokes, and there while they scroll.
        let camera = if t.work.project.camera.is_some() { look::ROW } else { 0.0 };
        if camera > 0.0 {
            self.camera_ui(ui, Rect::from_min_size(rows.min, eframe::egui::vec2(rows.width(), camera)), &axis, t, actions);
        }
        let below = Rect::from_min_max(rows.min + eframe::egui::vec2(0.0, camera), rows.max);
        ui.scope_builder(UiBuilder::new().max_rect(below).id_salt("rows"), |ui| self.rows_ui(ui, below, &axis, t, actions));
        let head = Rect::from_min_max(board.min, pos2(board.right(), top));
        self.ruler_ui(ui, head, rows, &mut axis, t, actions);
        self.pan_ui(ui, Rect::from_min_max(pos2(time.min, bottom), board.max), &mut axis, t);
        self.axis = Some(axis);
    }

    /// The axis of this frame: fitted (but not while something is `held`, which would run away from the hand), or kept and turned like a page where the playhead went out of view on its own.
    fn axis_now(&mut self, x: Rangef, t: &TimelineInput<'_>, held: bool) -> axis::Axis {
        let went = t.playhead != self.last_playhead && self.drag.is_none() && self.camera_drag.is_none();
        self.last_playhead = t.playhead;
        let mut axis = match self.axis {
            Some(axis) if !self.fit || held => axis::Axis { x, ..axis },
            _ => axis::Axis::fit(x, t.work.project.frames as f32),
        };
        if went {
            let turned = axis.revealed(t.playhead);
            self.fit &= turned == axis;
            axis = turned;
        }
        axis
    }

    /// Ctrl+wheel and pinch zoom about the pointer; Shift+wheel and a touchpad scroll in time.
    fn view_input(&mut self, ui: &Ui, board: Rect, axis: &mut axis::Axis) {
        let Some(at) = ui.ctx().pointer_hover_pos().filter(|at| ui.rect_contains_pointer(board) && axis.x.contains(at.x)) else { return };
        let (zoom, scroll) = ui.input(|input| (input.zoom_delta(), input.smooth_scroll_delta().x));
        if zoom != 1.0 {
            *axis = axis.zoomed(zoom, at.x);
            self.fit = false;
        }
        if scroll != 0.0 {
            *axis = axis.panned(scroll);
            self.fit = false;
        }
    }

    /// The gesture's number while the pointer is down, 0 for a step of its own.
    fn gesture(&self, ui: &Ui) -> u64 {
        if ui.input(|input| input.pointer.any_down() || input.pointer.any_released()) { self.gesture } else { 0 }
    }
}

/// The row of stroke `i`, which has the keyboard's focus while it is worked on.
fn row_id(i: usize) -> Id {
    Id::unique("timeline row").with(i)
}

/// `t` with stroke `i` replaced, as a step.
fn edit_stroke(t: &TimelineInput<'_>, label: &'static str, gesture: u64, i: usize, stroke: Stroke) -> Action {
    edit_work(t, label, gesture, |work| work.project.strokes[i] = stroke)
}

/// `t` after `change`, as a step.
fn edit_work(t: &TimelineInput<'_>, label: &'static str, gesture: u64, change: impl FnOnce(&mut Work)) -> Action {
    let mut work = Box::new(t.work.clone());
    change(&mut work);
    Action::Edit { label, gesture, work }
}

/// What a stroke is called.
fn name_of(stroke: &Stroke, i: usize) -> String {
    if stroke.name.is_empty() { format!("{} {}", texts::STROKE_UNNAMED, i + 1) } else { stroke.name.clone() }
}
