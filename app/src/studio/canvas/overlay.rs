//! What is drawn over the picture: regions, pins, paths, the gesture under way, the brush.
//!
//! Invariant: nothing moves by itself unless video is made, so a canvas at rest needs no repaint. What it looks like is guarded by eye;
//! that it draws at all and asks for no repaint, by the canvas's tests.

use eframe::egui::{
    Align2, Color32, CornerRadius, CursorIcon, FontId, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, Vec2, Visuals, vec2,
};
use kinebrush_engine::motion::region::Region;

use super::brush::Use;
use super::edit::Mark;
use super::gesture::{Gesture, Purpose};
use super::shapes::{PathShape, filled, hatched, span};
use super::style::{DARK, DRIVEN, HINT_GROUND, HINT_TEXT, LIGHT, MARKED, PATH, PINNED, TEXTS};
use super::view::ScreenFromPicture;
use super::{Canvas, Env, RegionMode, Tool};
use crate::studio::document::Selection;

/// How visible overlays are while video is made and the pointer is elsewhere.
const DIMMED: f32 = 0.4;
/// Ticks nearer than this are left out, points.
const TICK_DISTANCE: f32 = 4.0;
/// Distance of the arrowheads, points.
const ARROW_DISTANCE: f32 = 90.0;
/// Distance of the lines that hatch a pin, points.
const HATCH: f32 = 9.0;

impl Canvas {
    /// Everything over the picture but the pointer.
    pub(super) fn overlays(&mut self, env: &Env<'_>, painter: &Painter, map: &ScreenFromPicture) {
        if !self.overlays_hidden {
            self.pins(env, painter, map);
            self.driven(env, painter, map);
            self.marked(env, painter, map);
            self.paths(env, painter, map);
        }
        self.under_way(env, painter, map);
        self.hints(env, painter, map);
    }

    /// The outline of `region` on the screen, where its layer is at the frame that is shown.
    pub(super) fn rings(&mut self, env: &Env<'_>, region: &Region, map: &ScreenFromPicture) -> Vec<Vec<Pos2>> {
        let rings = self.shapes.rings(region, env.picture, env.compiled);
        let motion = self.shapes.motion_of(region, env.compiled, env.whole_frame());
        let place = |point: &glam::Vec2| match &motion {
            Some((scale, motion)) => map.screen(motion.apply(*point * *scale) / *scale),
            None => map.screen(*point),
        };
        rings.iter().map(|ring| ring.iter().map(place).collect()).collect()
    }

    fn pins(&mut self, env: &Env<'_>, painter: &Painter, map: &ScreenFromPicture) {
        for (i, pin) in env.work.project.pins.iter().enumerate() {
            let rings = self.rings(env, pin, map);
            let selected = env.selection == Selection::Pin(i);
            let painter = faded(painter, self.strength(env, selected || is_hovered(env, &rings)));
            if *pin == Region::All {
                // Hatching everything would hide the picture: a frame says enough.
                outline(&painter, &rings, PINNED, 2.0);
                continue;
            }
            let near = painter.clip_rect();
            painter.add(Shape::mesh(filled(&rings, near, PINNED.gamma_multiply(if selected { 0.32 } else { 0.2 }))));
            for line in hatched(&rings, near, HATCH, map.screen(glam::Vec2::ZERO)) {
                painter.line_segment(line, Stroke::new(1.0, PINNED.gamma_multiply(0.85)));
            }
            outline(&painter, &rings, PINNED, if selected { 2.5 } else { 1.5 });
        }
    }

    fn driven(&mut self, env: &Env<'_>, painter: &Painter, map: &ScreenFromPicture) {
        for (i, stroke) in env.work.project.strokes.iter().enumerate() {
            // Strokes of one region share an outline.
            let first = env.work.project.strokes.iter().position(|other| other.region == stroke.region);
            let selected = env.selection == Selection::Stroke(i);
            if (first != Some(i) && !selected) || stroke.region == Region::All {
                continue;
            }
            let rings = self.rings(env, &stroke.region, map);
            let painter = faded(painter, self.strength(env, selected));
            if selected {
                painter.add(Shape::mesh(filled(&rings, painter.clip_rect(), DRIVEN.gamma_multiply(0.14))));
            }
            outline(&painter, &rings, DRIVEN, if selected { 2.0 } else { 1.25 });
        }
    }

    fn marked(&mut self, env: &Env<'_>, painter: &Painter, map: &ScreenFromPicture) {
        let preview = self.smart.preview().cloned().map(|region| (region, true));
        let Some((region, found)) = preview.or_else(|| env.work.region.clone().map(|region| (region, false))) else { return };
        let rings = self.rings(env, &region, map);
        painter.add(Shape::mesh(filled(&rings, painter.clip_rect(), MARKED.gamma_multiply(if found { 0.26 } else { 0.13 }))));
        // They march while video is made, which repaints anyway.
        let offset = if env.running() { (env.context.input(|input| input.time) * 12.0 % 10.0) as f32 } else { 0.0 };
        for ring in rings {
            let closed: Vec<Pos2> = ring.iter().chain(ring.first()).copied().collect();
            painter.line(closed.clone(), Stroke::new(2.0, DARK));
            painter.extend(Shape::dashed_line_with_offset(&closed, Stroke::new(1.5, MARKED), &[5.0], &[5.0], offset));
        }
    }

    fn paths(&mut self, env: &Env<'_>, painter: &Painter, map: &ScreenFromPicture) {
        for (i, stroke) in env.work.project.strokes.iter().enumerate() {
            let selected = env.selection == Selection::Stroke(i);
            let shape = self.shapes.path(stroke);
            let hovered = env.pointer.is_some_and(|pointer| shape.hit(pointer, env.reach, |place| map.screen(place)).is_some());
            let painter = faded(painter, self.strength(env, selected || hovered));
            path(&painter, &shape, selected, map);
            let (first, last) = span(stroke);
            if (first..=last.max(first)).contains(&env.frame) || selected {
                let dot = map.screen(shape.at(env.frame));
                painter.circle(dot, 4.5, LIGHT, Stroke::new(1.5, DARK));
            }
            if selected {
                self.selected_keys(stroke, &painter, map);
            }
        }
    }

    /// Keys as squares, handles as lines with round ends.
    fn selected_keys(&self, stroke: &kinebrush_engine::motion::stroke::Stroke, painter: &Painter, map: &ScreenFromPicture) {
        for (key, x, y) in &stroke.handles {
            let Some(place) = stroke.path.get(*key).map(|key| key.place) else { continue };
            let ends = [1.0, -1.0].map(|side| map.screen(place + glam::Vec2::new(*x, *y) * side));
            painter.line_segment(ends, Stroke::new(3.0, DARK));
            painter.line_segment(ends, Stroke::new(1.25, DRIVEN));
            for end in ends {
                painter.circle(end, 4.0, DRIVEN, Stroke::new(1.25, DARK));
            }
        }
        for (i, key) in stroke.path.iter().enumerate() {
            let chosen = self.key == Some(i);
            let square = Rect::from_center_size(map.screen(key.place), Vec2::splat(if chosen { 10.0 } else { 7.0 }));
            let fill = if chosen { DRIVEN } else { LIGHT };
            painter.rect(square, CornerRadius::same(2), fill, Stroke::new(1.25, DARK), StrokeKind::Outside);
        }
    }

    /// What the hand is doing.
    fn under_way(&mut self, env: &Env<'_>, painter: &Painter, map: &ScreenFromPicture) {
        let both = |points: Vec<Pos2>, color: Color32, width: f32| {
            painter.line(points.clone(), Stroke::new(width + 2.0, DARK));
            painter.line(points, Stroke::new(width, color));
        };
        match &self.gesture {
            Gesture::Drag(drag) => {
                let shift = drag.shift();
                let way = drag.samples.iter().map(|sample| map.screen(sample.place - drag.samples[0].place + drag.origin.1)).collect();
                both(way, PATH, 1.5);
                let moved = |ring: &Vec<glam::Vec2>| ring.iter().map(|place| map.screen(*place + shift)).collect();
                outline(painter, &drag.outline.iter().map(moved).collect::<Vec<_>>(), DRIVEN, 1.5);
            }
            Gesture::Points(points) => {
                let mut line: Vec<Pos2> = points.places.iter().map(|place| map.screen(*place)).collect();
                let clicks = line.clone();
                line.extend(env.pointer);
                both(line, PATH, 1.5);
                for click in clicks {
                    painter.circle(click, 4.0, LIGHT, Stroke::new(1.25, DARK));
                }
            }
            Gesture::Draw(draw) => {
                let line: Vec<Pos2> = draw.samples.iter().map(|sample| map.screen(sample.place)).collect();
                match &draw.purpose {
                    Purpose::Path(_) => both(line, PATH, 2.0),
                    Purpose::Mark(RegionMode::Lasso, _) => {
                        if let (Some(first), Some(last)) = (line.first(), line.last()) {
                            painter.extend(Shape::dashed_line(&[*last, *first], Stroke::new(1.25, LIGHT), 4.0, 4.0));
                        }
                        both(line, MARKED, 1.5);
                    }
                    purpose => {
                        let color = match purpose {
                            Purpose::Pin | Purpose::Mark(RegionMode::Smart, Mark::Subtract) => PINNED,
                            Purpose::Mark(RegionMode::Smart, _) => DRIVEN,
                            Purpose::Erase(_) | Purpose::Mark(_, Mark::Subtract) => LIGHT,
                            _ => MARKED,
                        };
                        let region = draw.brushed();
                        let rings = self.rings(env, &region, map);
                        painter.add(Shape::mesh(filled(&rings, painter.clip_rect(), color.gamma_multiply(0.35))));
                        outline(painter, &rings, color, 1.25);
                    }
                }
            }
            Gesture::None | Gesture::Pan { .. } | Gesture::Resize { .. } | Gesture::Key(_) => {}
        }
    }

    fn hints(&self, env: &Env<'_>, painter: &Painter, map: &ScreenFromPicture) {
        let clicking = matches!(self.gesture, Gesture::Points(_));
        let fresh =
            env.work.project.strokes.is_empty() && env.work.region.is_none() && !self.dragging() && self.tool == Tool::Drag && !self.lent;
        let seen = env.context.animate_bool(painter.layer_id().id.with("first drag"), fresh);
        let text = if clicking { TEXTS.clicking } else { TEXTS.first_drag };
        let strength = if clicking { 1.0 } else { seen };
        if strength <= 0.0 {
            return;
        }
        let painter = faded(painter, strength);
        let shown = map.picture_rect(env.picture).intersect(env.rect);
        let galley = painter.layout_no_wrap(text.to_owned(), FontId::proportional(15.0), HINT_TEXT);
        let pill = Rect::from_center_size(shown.center_bottom() - vec2(0.0, 34.0), galley.size() + vec2(28.0, 16.0));
        painter.rect_filled(pill, CornerRadius::same(16), HINT_GROUND);
        painter.galley(pill.center() - galley.size() * 0.5, galley, HINT_TEXT);
    }

    fn strength(&self, env: &Env<'_>, near: bool) -> f32 {
        if env.running() && !near { DIMMED } else { 1.0 }
    }

    /// The pointer: the brush as it will lie on the picture, or a shape that says what a press does.
    pub(super) fn cursor(&mut self, env: &Env<'_>, painter: &Painter, map: &ScreenFromPicture) {
        let resizing = if let Gesture::Resize { of, origin, .. } = self.gesture { Some((of, origin)) } else { None };
        let Some(pointer) = resizing.map(|resizing| resizing.1).or(env.pointer) else { return };
        let space = env.context.input(|input| input.key_down(eframe::egui::Key::Space));
        let icon = match (&self.gesture, self.tool) {
            (Gesture::Pan { .. }, _) => CursorIcon::Grabbing,
            (Gesture::Drag(_), _) => CursorIcon::Grabbing,
            (Gesture::None, Tool::Hand) => CursorIcon::Grab,
            (Gesture::None, _) if space => CursorIcon::Grab,
            (Gesture::None, Tool::Path) if self.key_at(env, pointer, map).is_some() => CursorIcon::PointingHand,
            (Gesture::None, Tool::Drag | Tool::Path) => return self.grip_cursor(env, painter, pointer, map),
            (_, Tool::Path) | (_, Tool::Region) if self.mode == RegionMode::Lasso || self.tool == Tool::Path => CursorIcon::Crosshair,
            (_, Tool::Region) if self.mode == RegionMode::Whole => CursorIcon::Default,
            _ => {
                let of = resizing.map_or(Use::of(self.tool, self.mode), |resizing| Some(resizing.0));
                if let Some(of) = of {
                    self.ring(env, painter, pointer, of, map);
                }
                return;
            }
        };
        env.context.set_cursor_icon(icon);
    }

    /// What a drag or a path would take: its outline if there is one, else the brush.
    fn grip_cursor(&mut self, env: &Env<'_>, painter: &Painter, pointer: Pos2, map: &ScreenFromPicture) {
        match self.grip(env, map.picture(pointer)) {
            Some(grip) if !matches!(grip.region, Region::Disc { .. }) || grip.on_object => {
                let rings = self.rings(env, &grip.region, map);
                painter.add(Shape::mesh(filled(&rings, painter.clip_rect(), DRIVEN.gamma_multiply(0.12))));
                outline(painter, &rings, DRIVEN, 2.0);
                env.context.set_cursor_icon(if self.tool == Tool::Drag { CursorIcon::Grab } else { CursorIcon::Crosshair });
            }
            Some(_) => self.ring(env, painter, pointer, Use::Grab, map),
            None => env.context.set_cursor_icon(if self.tool == Tool::Path { CursorIcon::Crosshair } else { CursorIcon::NotAllowed }),
        }
    }

    fn ring(&self, env: &Env<'_>, painter: &Painter, pointer: Pos2, of: Use, map: &ScreenFromPicture) {
        let brush = self.brushes[of as usize];
        let radius = brush.radius_px * map.scale;
        env.context.set_cursor_icon(if radius >= 4.0 { CursorIcon::None } else { CursorIcon::Crosshair });
        let color = match self.tool {
            Tool::Pin => PINNED,
            Tool::Region => MARKED,
            _ => LIGHT,
        };
        let inner = radius * (1.0 - brush.softness);
        if inner > 2.0 && brush.softness > 0.02 {
            let around: Vec<Pos2> = (0..=48).map(|i| pointer + Vec2::angled(i as f32 / 48.0 * std::f32::consts::TAU) * inner).collect();
            painter.extend(Shape::dashed_line(&around, Stroke::new(1.0, color.gamma_multiply(0.8)), 3.0, 4.0));
        }
        painter.circle_stroke(pointer, radius + 1.0, Stroke::new(1.5, DARK));
        painter.circle_stroke(pointer, radius, Stroke::new(1.25, color));
        painter.circle(pointer, 1.5, color, Stroke::new(1.0, DARK));
    }
}

fn faded(painter: &Painter, opacity: f32) -> Painter {
    let mut painter = painter.clone();
    painter.multiply_opacity(opacity);
    painter
}

/// A colour that is seen on any picture: with a dark line under it.
fn outline(painter: &Painter, rings: &[Vec<Pos2>], color: Color32, width: f32) {
    for ring in rings.iter().filter(|ring| ring.len() >= 2) {
        painter.add(Shape::closed_line(ring.clone(), Stroke::new(width + 1.75, DARK)));
        painter.add(Shape::closed_line(ring.clone(), Stroke::new(width, color)));
    }
}

fn is_hovered(env: &Env<'_>, rings: &[Vec<Pos2>]) -> bool {
    let as_vec = |place: &Pos2| glam::Vec2::new(place.x, place.y);
    let rings: Vec<Vec<glam::Vec2>> = rings.iter().map(|ring| ring.iter().map(as_vec).collect()).collect();
    env.running() && env.pointer.is_some_and(|pointer| kinebrush_engine::motion::outline::winding(&rings, as_vec(&pointer)) != 0)
}

/// A path with its direction, and a tick for every frame: where they are dense it is slow.
fn path(painter: &Painter, shape: &PathShape, selected: bool, map: &ScreenFromPicture) {
    let curve: Vec<Pos2> = shape.curve.iter().map(|place| map.screen(*place)).collect();
    let width = if selected { 2.5 } else { 1.75 };
    painter.line(curve.clone(), Stroke::new(width + 2.0, DARK));
    painter.line(curve.clone(), Stroke::new(width, PATH));
    let ticks: Vec<Pos2> = shape.by_frame.iter().map(|place| map.screen(*place)).collect();
    let mut last: Option<Pos2> = None;
    for (i, tick) in ticks.iter().enumerate() {
        if last.is_some_and(|last| last.distance(*tick) < TICK_DISTANCE) {
            continue;
        }
        let (before, after) = (ticks[i.saturating_sub(1)], ticks[(i + 1).min(ticks.len() - 1)]);
        let across = (after - before).normalized().rot90() * 4.0;
        painter.line_segment([*tick - across, *tick + across], Stroke::new(3.0, DARK));
        painter.line_segment([*tick - across, *tick + across], Stroke::new(1.25, PATH));
        last = Some(*tick);
    }
    let mut way = ARROW_DISTANCE * 0.5;
    for pair in curve.windows(2) {
        way += pair[0].distance(pair[1]);
        if way >= ARROW_DISTANCE {
            way = 0.0;
            arrowhead(painter, pair[1], pair[1] - pair[0], width);
        }
    }
    if let Some([before, end]) = curve.last_chunk::<2>() {
        arrowhead(painter, *end, *end - *before, width + 1.0);
    }
    if let Some(start) = curve.first() {
        painter.circle(*start, 4.0, PATH, Stroke::new(1.5, DARK));
    }
}

fn arrowhead(painter: &Painter, tip: Pos2, along: Vec2, width: f32) {
    let along = along.normalized() * (5.0 + width * 2.0);
    if along == Vec2::ZERO {
        return;
    }
    let side = along.rot90() * 0.55;
    painter.add(Shape::convex_polygon(
        vec![tip + along * 0.5, tip - along * 0.5 + side, tip - along * 0.5 - side],
        PATH,
        Stroke::new(1.25, DARK),
    ));
}

/// The canvas without a picture.
pub(super) fn empty(painter: &Painter, rect: Rect, visuals: &Visuals) {
    let frame = Rect::from_center_size(rect.center(), (rect.size() * 0.6).min(vec2(520.0, 280.0)));
    let color = visuals.weak_text_color();
    let corners = [frame.left_top(), frame.right_top(), frame.right_bottom(), frame.left_bottom(), frame.left_top()];
    painter.extend(Shape::dashed_line(&corners, Stroke::new(1.5, color), 8.0, 6.0));
    // A picture: a frame with a hill and a sun.
    let icon = Rect::from_center_size(frame.center() - vec2(0.0, 52.0), vec2(64.0, 46.0));
    let line = Stroke::new(2.0, color);
    painter.rect_stroke(icon, CornerRadius::same(4), line, StrokeKind::Inside);
    let at = |x: f32, y: f32| icon.min + icon.size() * vec2(x, y);
    painter.line(vec![at(0.04, 0.9), at(0.34, 0.45), at(0.54, 0.7), at(0.7, 0.52), at(0.96, 0.9)], line);
    painter.circle_stroke(at(0.74, 0.28), 4.5, line);
    let [first, second] = TEXTS.empty;
    painter.text(frame.center() + vec2(0.0, 10.0), Align2::CENTER_CENTER, first, FontId::proportional(20.0), visuals.strong_text_color());
    painter.text(frame.center() + vec2(0.0, 42.0), Align2::CENTER_CENTER, second, FontId::proportional(14.0), color);
}
