//! The canvas: the picture, the tools that paint motion on it, and what shows where things will go.
//!
//! Data flows one way: [`Canvas::canvas_ui`] reads a [`Shown`] and returns [`Action`]s; the canvas itself keeps the view, the tool and the
//! gesture under way. Invariants: it changes no document; one gesture is one step to undo; at rest it asks for no repaint; whatever the
//! hand has begun can be kept ([`Canvas::unfinished`]). Guarded by the tests in `tests.rs`.

mod brush;
mod edit;
mod gesture;
mod input;
mod keys;
mod marks;
mod overlay;
mod paths;
mod shapes;
mod smart;
mod style;
#[cfg(test)]
mod tests;
mod timing;
mod toolbar;
mod view;

use std::sync::{Arc, Weak};

use eframe::egui::{self, Rect, Sense, UiBuilder, WidgetInfo};
use glam::Vec2;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::Stroke;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::stream::live::{self, Compiled};

use self::brush::{Brush, Use};
use self::gesture::Gesture;
use self::marks::SmartMark;
use self::shapes::Shapes;
use self::style::TEXTS;
use self::view::View;
use super::action::Action;
use super::document::{Selection, Work};

pub use self::view::ScreenFromPicture;
use super::gpu::Liquify;

/// Width of the toolbar, points.
const TOOLBAR_WIDTH: f32 = 44.0;
/// Numbers of the canvas's gestures begin here, so that they are never those of another panel.
const FIRST_GESTURE: u64 = 1 << 40;

/// What the canvas shows and works on.
pub struct Shown<'a> {
    /// Picture and motion.
    pub work: &'a Work,
    /// What is selected.
    pub selection: Selection,
    /// Width and height of the picture, px; (0, 0) while there is none.
    pub picture: (usize, usize),
    /// The picture itself, for smart selection.
    pub source: &'a Arc<Picture>,
    /// The motion compiled, as soon as it is.
    pub compiled: Option<&'a Arc<Compiled>>,
    /// The frame that is shown, fractions allowed.
    pub frame: f32,
    /// Whether video is made.
    pub state: live::State,
    /// Draws the picture: where, how the picture lies there, and what a drag bends before video shows it.
    pub paint: &'a mut dyn FnMut(&egui::Ui, Rect, ScreenFromPicture, Option<Liquify>),
}

/// What the pointer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tool {
    /// Takes hold of something and moves it.
    #[default]
    Drag,
    /// Draws a path.
    Path,
    /// Marks a region.
    Region,
    /// Paints what stays.
    Pin,
    /// Removes.
    Erase,
    /// Moves the view.
    Hand,
}

impl Tool {
    /// All of them, in the order of the toolbar.
    pub const ALL: [Self; 6] = [Self::Drag, Self::Path, Self::Region, Self::Pin, Self::Erase, Self::Hand];
}

/// How a region is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegionMode {
    /// With the brush.
    #[default]
    Brush,
    /// Around it.
    Lasso,
    /// By a scribble that grows to the edges.
    Smart,
    /// All of the picture.
    Whole,
}

/// View, tool and gesture.
#[derive(Debug, Default)]
pub struct Canvas {
    tool: Tool,
    mode: RegionMode,
    brushes: [Brush; 3],
    view: View,
    gesture: Gesture,
    gestures: u64,
    drags: u64,
    /// The selected key of the selected stroke.
    key: Option<usize>,
    shapes: Shapes,
    smart: SmartMark,
    /// How hard a pen presses, if it says; 1 is hardest.
    pressure: Option<f32>,
    overlays_hidden: bool,
    /// Whether the pointer works for another panel.
    lent: bool,
    /// Where the canvas is, points.
    rect: Option<Rect>,
    /// The picture that view and brushes are for.
    source: Weak<Picture>,
    /// Where widgets lie on the canvas.
    bars: Vec<Rect>,
    /// Time of the last frame of the screen, seconds.
    last_seconds: f64,
    map: Option<ScreenFromPicture>,
    picture: (usize, usize),
}

/// What a frame of the screen is worked out from.
#[derive(Clone, Copy)]
struct Env<'a> {
    context: &'a egui::Context,
    work: &'a Work,
    selection: Selection,
    picture: (usize, usize),
    source: &'a Arc<Picture>,
    compiled: Option<&'a Arc<Compiled>>,
    frame: f32,
    state: live::State,
    rect: Rect,
    /// Where the pointer is, if it is on the canvas and on nothing above it.
    pointer: Option<egui::Pos2>,
    /// Reach of a pointer, screen points: a finger's is wider.
    reach: f32,
}

impl Env<'_> {
    fn running(&self) -> bool {
        self.state == live::State::Running
    }

    /// The frame that is shown, for scenes.
    fn whole_frame(&self) -> usize {
        if self.frame.is_finite() { self.frame.max(0.0).round() as usize } else { 0 }
    }
}

impl Canvas {
    /// Shows the canvas in what is left of `ui` and works with what the hand does; returns what shall happen.
    pub fn canvas_ui(&mut self, ui: &mut egui::Ui, shown: Shown<'_>) -> Vec<Action> {
        let Shown { work, selection, picture, source, compiled, frame, state, paint } = shown;
        let mut actions = Vec::new();
        let whole = ui.available_rect_before_wrap();
        let strip = Rect::from_min_max(whole.min, egui::pos2(whole.left() + TOOLBAR_WIDTH, whole.bottom()));
        let rect = Rect::from_min_max(egui::pos2(strip.right(), whole.top()), whole.max);
        self.rect = Some(rect);
        let response = ui.interact(rect, ui.scope_id().with("canvas"), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(egui::Role::Canvas, true, TEXTS.canvas));
        ui.advance_cursor_after_rect(whole);

        self.see(source, picture);
        self.gesture.rebase(work);
        self.smart.rebase(work);
        self.shapes.begin_frame();
        let context = ui.ctx().clone();
        let touch = context.input(|input| input.any_touches());
        let pointer = context.input(|input| input.pointer.latest_pos()).filter(|place| self.is_free(ui, rect, *place));
        let reach = if touch { 18.0 } else { 9.0 };
        let env = Env { context: &context, work, selection, picture, source, compiled, frame, state, rect, pointer, reach };
        let has_picture = picture.0 > 0 && picture.1 > 0;
        if has_picture {
            self.keys(&env, &mut actions);
            self.input(ui, &env, &mut actions);
            self.smart_answers(&env, &mut actions);
        }

        let map = self.view.transform(rect, picture);
        self.map = Some(map);
        if has_picture {
            let mut child = ui.new_child(UiBuilder::new().max_rect(rect));
            child.set_clip_rect(rect.intersect(ui.clip_rect()));
            paint(&child, rect, map, self.liquify(&env));
            self.overlays(&env, &ui.painter().with_clip_rect(rect.intersect(ui.clip_rect())), &map);
            if !self.lent {
                self.cursor(&env, &ui.painter().with_clip_rect(rect.intersect(ui.clip_rect())), &map);
            }
        } else {
            overlay::empty(&ui.painter().with_clip_rect(rect), rect, ui.visuals());
        }
        self.toolbar_ui(ui, strip);
        self.bars.clear();
        if has_picture && !self.lent {
            self.options_ui(ui, &env, &mut actions);
        }
        self.last_seconds = context.input(|input| input.time);
        actions
    }

    /// The tool in hand.
    pub fn tool(&self) -> Tool {
        self.tool
    }

    /// Takes another tool; a gesture under way is given up.
    pub fn set_tool(&mut self, tool: Tool) {
        self.lent = false;
        if self.tool != tool {
            self.tool = tool;
            if !self.gesture.is_drag() {
                self.gesture = Gesture::None;
                if !self.smart.waits() {
                    self.smart.cancel();
                }
            }
        }
    }

    /// Whether presses and the plain wheel on the picture are for another panel; until a tool is taken.
    pub fn is_lent(&self) -> bool {
        self.lent
    }

    /// Lends the pointer to another panel, or takes it back.
    pub fn lend(&mut self, lent: bool) {
        self.lent = lent && !self.dragging();
    }

    /// Whether a place of the screen is on the canvas and on nothing above it; space and the hand move the view.
    pub fn is_on_picture(&self, ui: &egui::Ui, place: egui::Pos2) -> bool {
        self.rect.is_some_and(|rect| self.is_free(ui, rect, place)) && !ui.input(|input| input.key_down(egui::Key::Space))
    }

    /// Whether a gesture is under way.
    pub fn dragging(&self) -> bool {
        !matches!(self.gesture, Gesture::None)
    }

    /// The work as if the hand let go now; None when no gesture would change it.
    pub fn unfinished(&self) -> Option<Work> {
        self.finished().map(|done| done.work)
    }

    /// What a drag under way moves, as the stroke so far: its last key is where the hand is now. Its region is one of the scene's
    /// outlines, or new.
    pub fn live_preview(&self) -> Option<Stroke> {
        self.gesture.stroke_so_far(self.tolerance_px())
    }

    /// A new picture is looked at anew.
    fn see(&mut self, source: &Arc<Picture>, picture: (usize, usize)) {
        if self.picture != picture || !Weak::ptr_eq(&self.source, &Arc::downgrade(source)) {
            self.source = Arc::downgrade(source);
            self.picture = picture;
            self.view = View::Fit;
            self.gesture = Gesture::None;
            self.smart = SmartMark::default();
            self.key = None;
            self.brushes = Use::ALL.map(|of| Brush::fitting(of, picture));
        }
    }

    /// Whether a place is on the canvas and on nothing above it.
    fn is_free(&self, ui: &egui::Ui, rect: Rect, place: egui::Pos2) -> bool {
        rect.contains(place)
            && !self.bars.iter().any(|bar| bar.contains(place))
            && ui.ctx().layer_id_at(place).is_none_or(|layer| layer == ui.layer_id())
    }

    /// Where the canvas is and how the picture lies on it, as in the last frame of the screen.
    pub fn on_screen(&self) -> Option<(Rect, ScreenFromPicture)> {
        self.rect.zip(self.map)
    }

    /// What cannot be seen at the present zoom, picture px.
    fn tolerance_px(&self) -> f32 {
        self.map.map_or(0.5, |map| 0.5 * (1.0 / map.scale).max(1.0))
    }

    /// What a drag on the plate bends before video shows it.
    fn liquify(&self, env: &Env<'_>) -> Option<Liquify> {
        let scale = env.compiled.map_or(1.0, |compiled| compiled.scale);
        let Gesture::Drag(drag) = &self.gesture else { return None };
        let (Region::Disc { center, radius, softness }, false) = (&drag.region, drag.on_object) else { return None };
        Some(Liquify { center: Vec2::from(*center) * scale, radius: radius * scale, softness: *softness, shift: drag.shift() * scale })
    }
}
