//! The view in space: the picture's surface, the camera now, its way and its keys, looked at from aside by an observer.
//!
//! Invariant: nothing nearer to the observer than its near plane is drawn, so that no coordinate is infinite; a drag starts from the keys as
//! they were at the press. Guarded by the tests below and the panel's.

use eframe::egui::{
    Align2, Color32, CursorIcon, Mesh, Painter, Pos2, Rect, Role, Sense, Shape, Stroke as Line, StrokeKind, Ui, Vec2, WidgetInfo, pos2,
    vec2,
};
use glam::{Quat, Vec3};
use kinebrush_engine::motion::camera::{Camera, CameraPath, Lens};

use super::edit::{self, Size};
use super::survey::{Shade, Surveyed, ramp};
use super::{CameraInput, CameraPanel, texts};
use crate::studio::action::Action;
use crate::studio::theme::{self, Tokens};
use crate::studio::timeline::{Look, RADIUS, small};

/// Columns of the picture's surface as it is drawn.
const COLUMNS: usize = 56;
/// What is farther than this many medians is drawn there.
const FARTHEST: f32 = 5.0;
/// A step of inverse depth larger than this part of all there is tears the surface.
const TEAR: f32 = 0.09;
/// Size of the cameras that are drawn, in medians.
const CAMERA: f32 = 0.22;
/// Samples of the path's line at most.
const SAMPLES: usize = 240;
/// How near the pointer has to be, points.
const REACH: f32 = 10.0;

/// Who looks at the scene.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observer {
    /// To the right, radians.
    yaw: f32,
    /// Up, radians.
    pitch: f32,
    /// From the target, in medians of the scene.
    distance: f32,
    /// What is looked at, in medians.
    target: Vec3,
}

impl Default for Observer {
    fn default() -> Self {
        Self { yaw: 0.62, pitch: -0.34, distance: 2.6, target: Vec3::new(0.0, 0.02, 0.55) }
    }
}

/// What is in the hand.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// The observer as it was at the press.
    Observer { before: Observer, press: Pos2, pans: bool },
    /// A key, or the camera at the playhead (None), across the view or along an axis.
    Eye { before: CameraPath, key: Option<usize>, axis: Option<usize>, press: Pos2 },
}

/// From the world to the screen.
struct Projection {
    eye: Vec3,
    rotation: Quat,
    focal: f32,
    middle: Pos2,
    near: f32,
}

impl Projection {
    fn new(observer: &Observer, rect: Rect, unit: f32) -> Self {
        let rotation = Quat::from_rotation_y(observer.yaw) * Quat::from_rotation_x(observer.pitch);
        let eye = observer.target * unit - rotation * Vec3::Z * observer.distance * unit;
        Self { eye, rotation, focal: rect.size().min_elem() * 1.05, middle: rect.center(), near: unit * 0.02 }
    }

    /// Place on the screen and distance along the line of sight.
    fn at(&self, world: Vec3) -> Option<(Pos2, f32)> {
        let seen = self.rotation.inverse() * (world - self.eye);
        (seen.z > self.near).then(|| (self.middle + vec2(seen.x, seen.y) * (self.focal / seen.z), seen.z))
    }

    fn place(&self, world: Vec3) -> Option<Pos2> {
        self.at(world).map(|(place, _)| place)
    }

    fn line(&self, painter: &Painter, from: Vec3, to: Vec3, line: Line) {
        // Cut at the near plane, not left out.
        let depth = |world: Vec3| (self.rotation.inverse() * (world - self.eye)).z;
        let (a, b) = (depth(from), depth(to));
        let near = self.near * 1.01;
        if a < near && b < near {
            return;
        }
        let cut = |p: Vec3, q: Vec3, dp: f32, dq: f32| if dp < near { p + (q - p) * ((near - dp) / (dq - dp)) } else { p };
        if let (Some(p), Some(q)) = (self.place(cut(from, to, a, b)), self.place(cut(to, from, b, a))) {
            painter.line_segment([p, q], line);
        }
    }
}

impl CameraPanel {
    /// The view, `height` points high.
    pub(super) fn space_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, height: f32, actions: &mut Vec<Action>) {
        let (look, tokens) = (Look::of(ui), theme::tokens(ui));
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::CLICK | Sense::DRAG);
        response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, texts::VIEW));
        let painter = ui.painter_at(rect);
        painter.rect_filled(rect, RADIUS, look.ground);
        let unit = self.survey.distance(path);
        let size = t.size();
        let camera = path.camera(size, t.playhead);
        let projection = Projection::new(&self.observer, rect.shrink(6.0), unit);

        if let Some(surveyed) = self.survey.get() {
            surface(&painter, &projection, surveyed, unit, self.shade, tokens);
        }
        let rest = Camera::at_rest(path.lens(size));
        frustum(&painter, &projection, &rest, size, unit * CAMERA, Line::new(1.0, look.quiet));
        way(&painter, &projection, path, t, tokens);
        if let Some(target) = path.look_at {
            crosshair(&painter, &projection, target, tokens.accent);
            projection.line(&painter, camera.position, target, Line::new(1.0, tokens.accent.gamma_multiply(0.5)));
        }
        frustum(&painter, &projection, &camera, size, unit * CAMERA, Line::new(1.75, tokens.accent));

        let tips: Vec<Option<Pos2>> = (0..3).map(|axis| projection.place(camera.position + axis_of(axis) * unit * CAMERA * 1.7)).collect();
        let keys: Vec<Option<Pos2>> = path.keys.iter().map(|key| projection.place(key.position)).collect();
        let now = projection.place(camera.position);
        let hovered = ui.ctx().pointer_hover_pos().filter(|at| response.hovered() && rect.contains(*at));
        let hit = |at: Pos2| pick(at, &tips, &keys, now);
        let over = match &self.held_in_space {
            Some(Held::Eye { key, axis, .. }) => Some((*key, *axis)),
            Some(Held::Observer { .. }) => None,
            None => hovered.and_then(hit),
        };
        self.arrows(ui, &painter, now, &tips, over, tokens);
        let current = edit::key_at(path, t.playhead);
        for (i, place) in keys.iter().enumerate() {
            let Some(place) = place else { continue };
            let lit = over == Some((Some(i), None));
            diamond(
                &painter,
                *place,
                if current == Some(i) || lit { 6.5 } else { 5.0 },
                if current == Some(i) { tokens.accent } else { look.text },
                &look,
            );
            let spot = Rect::from_center_size(*place, Vec2::splat(14.0)).intersect(rect);
            let spot = if spot.is_positive() { spot } else { Rect::from_center_size(rect.center(), Vec2::ZERO) };
            let label = format!("{} {} {} {:.0}", texts::KEY, i + 1, texts::AT, path.keys[i].frame);
            let mark = ui.interact(spot, response.id.with(("key", i)), Sense::HOVER);
            mark.widget_info(|| WidgetInfo::labeled(Role::Unknown, true, &label));
        }
        compass(&painter, rect, &projection, tokens);
        ui.painter().rect_stroke(rect, RADIUS, Line::new(1.0, look.line), StrokeKind::Inside);

        self.space_input(ui, &response, rect, &projection, t, path, unit, &hit, actions);
        let icon = match (&self.held_in_space, over) {
            (Some(_), _) => Some(CursorIcon::Grabbing),
            (None, Some(_)) => Some(CursorIcon::Grab),
            _ => None,
        };
        if let Some(icon) = icon {
            ui.ctx().set_cursor_icon(icon);
        }
        response.on_hover_text(texts::VIEW_TIP);
    }

    #[expect(clippy::too_many_arguments, reason = "the pieces of one frame of the view, used once")]
    fn space_input(
        &mut self,
        ui: &Ui,
        response: &eframe::egui::Response,
        rect: Rect,
        projection: &Projection,
        t: &CameraInput<'_>,
        path: &CameraPath,
        unit: f32,
        hit: &dyn Fn(Pos2) -> Option<(Option<usize>, Option<usize>)>,
        actions: &mut Vec<Action>,
    ) {
        let (origin, latest, shift, middle, down) = ui.input(|input| {
            let middle = input.pointer.middle_down() || input.pointer.secondary_down();
            (input.pointer.press_origin(), input.pointer.latest_pos(), input.modifiers.shift, middle, input.pointer.any_down())
        });
        if response.drag_started()
            && let Some(press) = origin
        {
            self.held_in_space = Some(match hit(press).filter(|_| !middle) {
                Some((key, axis)) => Held::Eye { before: path.clone(), key, axis, press },
                None => Held::Observer { before: self.observer, press, pans: shift || middle },
            });
        }
        if response.clicked()
            && let Some(at) = response.interact_pointer_pos()
            && let Some((Some(key), None)) = hit(at)
        {
            actions.push(Action::Seek(path.keys[key].frame));
        }
        if response.double_clicked() {
            self.observer = Observer::default();
        }
        if response.hovered() && ui.rect_contains_pointer(rect) {
            let (scroll, zoom) = ui.input(|input| (input.smooth_scroll_delta().y, input.zoom_delta()));
            let factor = zoom * (scroll * 0.004).exp();
            if factor != 1.0 {
                self.observer.distance = (self.observer.distance / factor).clamp(0.3, 40.0);
            }
        }
        match (&self.held_in_space, latest) {
            (Some(Held::Observer { before, press, pans }), Some(at)) => {
                let way = at - *press;
                self.observer = if *pans {
                    let across = projection.rotation * Vec3::new(way.x, way.y, 0.0) * (before.distance / projection.focal);
                    Observer { target: (before.target - across).clamp(Vec3::splat(-20.0), Vec3::splat(20.0)), ..*before }
                } else {
                    // The scene follows the hand.
                    Observer { yaw: before.yaw + way.x * 0.008, pitch: (before.pitch - way.y * 0.008).clamp(-1.5, 1.5), ..*before }
                };
            }
            (Some(Held::Eye { before, key, axis, press }), Some(at)) => {
                let start = key.map_or_else(|| before.camera(t.size(), t.playhead).position, |key| before.keys[key].position);
                let by = shift_of(projection, start, at - *press, axis.map(axis_of), unit);
                let changed = match key {
                    Some(key) => {
                        let mut changed = before.clone();
                        changed.keys[*key].position += by;
                        changed
                    }
                    None => edit::posed(before, t.size(), t.playhead, |key| key.position += by),
                };
                if changed != *path && by.is_finite() {
                    actions.push(t.edit_path(texts::STEP_MOVE, self.gesture, changed));
                }
            }
            _ => {}
        }
        if !down {
            self.held_in_space = None;
        }
    }

    /// The three arrows of the camera at the playhead.
    fn arrows(
        &self,
        ui: &Ui,
        painter: &Painter,
        now: Option<Pos2>,
        tips: &[Option<Pos2>],
        over: Option<(Option<usize>, Option<usize>)>,
        tokens: &Tokens,
    ) {
        let Some(now) = now else { return };
        for (axis, tip) in tips.iter().enumerate() {
            let Some(tip) = tip else { continue };
            let lit = over == Some((None, Some(axis)));
            let color = axis_color(axis, tokens);
            let way = *tip - now;
            painter.line_segment([now, *tip], Line::new(if lit { 3.0 } else { 1.75 }, color));
            let (along, side) = (way.normalized() * 7.0, way.normalized().rot90() * 4.0);
            if way.length() > 4.0 {
                painter.add(Shape::convex_polygon(
                    vec![*tip + along * 0.5, *tip - along * 0.6 + side, *tip - along * 0.6 - side],
                    color,
                    Line::NONE,
                ));
            }
            let spot = Rect::from_center_size(*tip, Vec2::splat(12.0)).intersect(painter.clip_rect());
            let spot = if spot.is_positive() { spot } else { Rect::from_center_size(painter.clip_rect().center(), Vec2::ZERO) };
            let mark = ui.interact(spot, ui.scope_id().with(("axis", axis)), Sense::HOVER);
            mark.widget_info(|| WidgetInfo::labeled(Role::Unknown, true, format!("{} {}", texts::AXIS, texts::AXES[axis])));
        }
        let lit = over == Some((None, None));
        painter.circle(now, if lit { 6.0 } else { 4.5 }, tokens.accent, Line::new(1.5, Look::of(ui).ground));
    }
}

/// What lies under the pointer: a key (None: the camera at the playhead), and an axis of it.
fn pick(at: Pos2, tips: &[Option<Pos2>], keys: &[Option<Pos2>], now: Option<Pos2>) -> Option<(Option<usize>, Option<usize>)> {
    let near = |place: &Option<Pos2>| place.filter(|place| place.distance(at) <= REACH).map(|place| place.distance(at));
    if let Some(distance) = near(&now)
        && tips.iter().filter_map(near).all(|tip| distance <= tip)
    {
        return Some((None, None));
    }
    let best = |places: &[Option<Pos2>]| {
        let all = places.iter().enumerate().filter_map(|(i, place)| Some((near(place)?, i)));
        all.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, i)| i)
    };
    best(tips).map(|axis| (None, Some(axis))).or_else(|| best(keys).map(|key| (Some(key), None)))
}

/// How far an eye at `start` goes when the pointer goes `way` points: across the view, or along `axis`.
fn shift_of(projection: &Projection, start: Vec3, way: Vec2, axis: Option<Vec3>, unit: f32) -> Vec3 {
    let Some((place, depth)) = projection.at(start) else { return Vec3::ZERO };
    let Some(axis) = axis else {
        return projection.rotation * Vec3::new(way.x, way.y, 0.0) * (depth / projection.focal);
    };
    // A little along the axis on the screen: which part of the hand's way that is.
    let step = unit * 0.05;
    let Some(tip) = projection.place(start + axis * step) else { return Vec3::ZERO };
    let along = tip - place;
    // An axis that points at the observer is hardly seen: it must not run away.
    let length = along.length_sq().max((0.15 * step * projection.focal / depth).powi(2));
    axis * (step * way.dot(along) / length.max(1e-9))
}

fn axis_of(axis: usize) -> Vec3 {
    Vec3::AXES[axis.min(2)]
}

/// x, y and z as everywhere: red, green, blue.
pub(super) fn axis_color(axis: usize, tokens: &Tokens) -> Color32 {
    [tokens.pinned, tokens.driven, tokens.path][axis.min(2)]
}

/// The picture's surface, from far to near, torn where its depth jumps.
fn surface(painter: &Painter, projection: &Projection, surveyed: &Surveyed, unit: f32, shade: Shade, tokens: &Tokens) {
    let picture = &surveyed.picture;
    let columns = COLUMNS.min(picture.width.saturating_sub(1)).max(1);
    let rows = (columns * picture.height / picture.width.max(1)).clamp(1, COLUMNS * 2);
    let farthest = (unit * FARTHEST).recip();
    let nearest = surveyed.depth.inverse.data.iter().copied().fold(0.0, f32::max).max(farthest * 1.01);
    let tear = TEAR * nearest;
    let vertices: Vec<Option<(Pos2, f32, f32, Color32)>> = (0..(rows + 1) * (columns + 1))
        .map(|i| {
            let part = |k: usize, of: usize, px: usize| k as f32 / of as f32 * (px as f32 - 1.0) + 0.5;
            let (x, y) = (part(i % (columns + 1), columns, picture.width), part(i / (columns + 1), rows, picture.height));
            let place = glam::Vec2::new(x, y) / surveyed.scale;
            let inverse = surveyed.inverse(place).max(farthest);
            let (screen, distance) = projection.at(surveyed.lens.direction(place) / inverse)?;
            let color = match shade {
                Shade::Off => {
                    let [r, g, b] = picture.at(x as usize, y as usize).map(|c| (c.clamp(0.0, 1.0) * 255.0) as u8);
                    Color32::from_rgb(r, g, b)
                }
                shade => ramp(((inverse - farthest) / (nearest - farthest)).clamp(0.0, 1.0), shade, tokens),
            };
            Some((screen, distance, inverse, color))
        })
        .collect();
    let mut quads: Vec<(f32, [usize; 4])> = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let i = row * (columns + 1) + column;
            let corners = [i, i + 1, i + columns + 2, i + columns + 1];
            let [Some(a), Some(b), Some(c), Some(d)] = corners.map(|i| vertices[i].as_ref()) else { continue };
            let (low, high) = [a, b, c, d].iter().fold((f32::INFINITY, 0.0_f32), |(low, high), v| (low.min(v.2), high.max(v.2)));
            if high - low <= tear {
                quads.push((a.1 + b.1 + c.1 + d.1, corners));
            }
        }
    }
    quads.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let mut mesh = Mesh::default();
    for (_, corners) in quads {
        let base = mesh.vertices.len() as u32;
        for vertex in corners.iter().filter_map(|i| vertices[*i].as_ref()) {
            mesh.colored_vertex(vertex.0, vertex.3.gamma_multiply(0.92));
        }
        mesh.add_triangle(base, base + 1, base + 2);
        mesh.add_triangle(base, base + 2, base + 3);
    }
    painter.add(Shape::mesh(mesh));
}

/// A camera as a pyramid with a mark on its upper edge.
fn frustum(painter: &Painter, projection: &Projection, camera: &Camera, size: Size, length: f32, line: Line) {
    let Lens { focal_px, .. } = camera.lens;
    let (w, h) = (size.0 as f32, size.1 as f32);
    // As long as its picture is wide, so that a telephoto lens is seen as one and fits.
    let length = length * (focal_px / w.max(h)).clamp(0.4, 3.0).sqrt();
    let corner = |x: f32, y: f32| camera.position + camera.rotation * (camera.lens.direction(glam::Vec2::new(x, y)) * length);
    let corners = [corner(0.0, 0.0), corner(w, 0.0), corner(w, h), corner(0.0, h)];
    for i in 0..4 {
        projection.line(painter, corners[i], corners[(i + 1) % 4], line);
        projection.line(painter, camera.position, corners[i], line);
    }
    let top = corner(w * 0.5, -0.22 * h);
    projection.line(painter, corner(w * 0.38, 0.0), top, line);
    projection.line(painter, corner(w * 0.62, 0.0), top, line);
}

/// The way of the eye, with a dot every quarter of a second.
fn way(painter: &Painter, projection: &Projection, path: &CameraPath, t: &CameraInput<'_>, tokens: &Tokens) {
    let (Some(first), Some(last)) = (path.keys.first(), path.keys.last()) else { return };
    if path.handheld.is_none() && path.keys.len() < 2 {
        return;
    }
    let end = if path.handheld.is_some() { t.end() } else { last.frame };
    let begin = if path.handheld.is_some() { 0.0 } else { first.frame };
    let samples = (((end - begin) * 2.0) as usize).clamp(2, SAMPLES);
    let places: Vec<Pos2> = (0..=samples)
        .filter_map(|i| projection.place(path.camera(t.size(), begin + (end - begin) * i as f32 / samples as f32).position))
        .collect();
    painter.add(Shape::line(places.clone(), Line::new(3.5, tokens.sunken)));
    painter.add(Shape::line(places, Line::new(1.75, tokens.path)));
    let ticks = ((end - begin) / 4.0) as usize;
    for tick in 1..ticks.min(SAMPLES) {
        if let Some(place) = projection.place(path.camera(t.size(), begin + tick as f32 * 4.0).position) {
            painter.circle_filled(place, 1.6, tokens.text);
        }
    }
}

fn diamond(painter: &Painter, at: Pos2, radius: f32, color: Color32, look: &Look) {
    let corners = [(0.0, -radius), (radius, 0.0), (0.0, radius), (-radius, 0.0)].map(|p| at + vec2(p.0, p.1)).to_vec();
    painter.add(Shape::convex_polygon(corners, color, Line::new(1.25, look.ground)));
}

fn crosshair(painter: &Painter, projection: &Projection, target: Vec3, color: Color32) {
    let Some(at) = projection.place(target) else { return };
    painter.circle_stroke(at, 6.0, Line::new(1.5, color));
    for way in [vec2(1.0, 0.0), vec2(0.0, 1.0)] {
        painter.line_segment([at - way * 10.0, at - way * 3.0], Line::new(1.5, color));
        painter.line_segment([at + way * 3.0, at + way * 10.0], Line::new(1.5, color));
    }
}

/// Which way x, y and z go, in the corner.
fn compass(painter: &Painter, rect: Rect, projection: &Projection, tokens: &Tokens) {
    let middle = pos2(rect.left() + 30.0, rect.bottom() - 30.0);
    for axis in 0..3 {
        let way = projection.rotation.inverse() * axis_of(axis);
        let tip = middle + vec2(way.x, way.y) * 17.0;
        painter.line_segment([middle, tip], Line::new(1.5, axis_color(axis, tokens)));
        let name = middle + vec2(way.x, way.y) * 17.0 + vec2(way.x, way.y).normalized() * 7.0;
        painter.text(name, Align2::CENTER_CENTER, texts::AXES[axis], small(), axis_color(axis, tokens));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn projection() -> Projection {
        Projection::new(&Observer::default(), Rect::from_min_size(Pos2::ZERO, vec2(400.0, 300.0)), 4.0)
    }

    #[test]
    fn an_eye_goes_where_the_hand_goes() {
        let projection = projection();
        let start = Vec3::new(0.5, -0.2, 1.0);
        let before = projection.place(start).unwrap();
        let way = vec2(31.0, -14.0);
        let after = projection.place(start + shift_of(&projection, start, way, None, 4.0)).unwrap();
        assert!((after - before - way).length() < 1e-2, "{after:?}");
        for axis in 0..3 {
            let by = shift_of(&projection, start, way, Some(axis_of(axis)), 4.0);
            assert!(by.cross(axis_of(axis)).length() < 1e-5 && by.is_finite());
        }
    }

    #[test]
    fn what_lies_behind_the_observer_is_nowhere() {
        let projection = projection();
        assert!(projection.at(projection.eye - projection.rotation * Vec3::Z).is_none());
        assert!(projection.at(projection.eye).is_none());
    }

    #[test]
    fn the_nearest_thing_is_picked() {
        let at = |x: f32| Some(pos2(x, 0.0));
        let keys = [at(100.0), at(60.0), None];
        let tips = [at(30.0), None, at(70.0)];
        assert_eq!(pick(pos2(1.0, 1.0), &tips, &keys, at(0.0)), Some((None, None)));
        assert_eq!(pick(pos2(31.0, 1.0), &tips, &keys, at(0.0)), Some((None, Some(0))));
        assert_eq!(pick(pos2(98.0, 1.0), &tips, &keys, at(0.0)), Some((Some(0), None)));
        assert_eq!(pick(pos2(200.0, 1.0), &tips, &keys, at(0.0)), None);
    }
}
