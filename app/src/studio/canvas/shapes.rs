//! Outlines and paths in picture px, kept as long as they are drawn, and the geometry of filling and hatching them.
//!
//! Invariant: a region is rasterised and a path sampled once, not per frame of the screen; no file is read. Guarded by the tests below.

use std::path::Path;
use std::sync::Arc;

use eframe::egui::{Color32, Mesh, Pos2, Rect};
use glam::Vec2;
use kinebrush_engine::motion::layer_motion::LayerMotion;
use kinebrush_engine::motion::outline::{grid_size, hard, trace};
use kinebrush_engine::motion::region::{Placement, Region};
use kinebrush_engine::motion::stroke::{Easing, Key, Stroke, Trajectory};
use kinebrush_engine::stream::live::Compiled;

/// Longer side of the grid that outlines are traced on, px.
const LONGER_SIDE: usize = 1024;
/// Points of a drawn curve per stretch between two keys.
pub const PER_SEGMENT: usize = 12;
/// Most places of one path that are kept by frame.
const MAX_TICKS: usize = 4000;

/// Closed lines, picture px; parts one way round, holes the other.
pub type Rings = Arc<Vec<Vec<Vec2>>>;

/// A stroke's path, ready to be drawn.
#[derive(Debug)]
pub struct PathShape {
    /// The curve: [`PER_SEGMENT`] points per stretch between two keys and the last key.
    pub curve: Vec<Vec2>,
    /// Where it is at whole frames from the first key to the last.
    pub by_frame: Vec<Vec2>,
    trajectory: Trajectory,
    first: Vec2,
}

impl PathShape {
    /// Of a stroke with at least one key.
    pub fn new(stroke: &Stroke) -> Self {
        // By the number of the key instead of its time: the shape alone.
        let by_key = Stroke {
            path: stroke.path.iter().enumerate().map(|(i, key)| Key { frame: i as f32, ..*key }).collect(),
            easing: Easing::Hand,
            timing: Vec::new(),
            ..stroke.clone()
        };
        let shape = Trajectory::new(&by_key);
        let trajectory = Trajectory::new(stroke);
        let first = stroke.path.first().map_or(Vec2::ZERO, |key| key.place);
        let segments = stroke.path.len().saturating_sub(1);
        let curve = (0..=segments * PER_SEGMENT).map(|i| first + shape.displacement(i as f32 / PER_SEGMENT as f32)).collect();
        let (from, to) = span(stroke);
        let ticks = ((to - from) as usize).min(MAX_TICKS);
        let by_frame = (0..=ticks).map(|i| first + trajectory.displacement(from + i as f32)).collect();
        Self { curve, by_frame, trajectory, first }
    }

    /// Where it is at `frame`.
    pub fn at(&self, frame: f32) -> Vec2 {
        self.first + self.trajectory.displacement(frame)
    }

    /// The nearest place of the curve within `reach` screen points of `pointer`: stretch between two keys, part of it, picture place.
    pub fn hit(&self, pointer: Pos2, reach: f32, screen: impl Fn(Vec2) -> Pos2) -> Option<(usize, f32, Vec2)> {
        let mut best: Option<(f32, usize, f32, Vec2)> = None;
        for (i, pair) in self.curve.windows(2).enumerate() {
            let (a, b) = (screen(pair[0]), screen(pair[1]));
            let along = b - a;
            let squared = along.length_sq();
            let t = if squared > 0.0 { ((pointer - a).dot(along) / squared).clamp(0.0, 1.0) } else { 0.0 };
            let distance = pointer.distance(a + along * t);
            if distance <= reach && best.is_none_or(|best| distance < best.0) {
                let part = ((i % PER_SEGMENT) as f32 + t) / PER_SEGMENT as f32;
                best = Some((distance, i / PER_SEGMENT, part, pair[0].lerp(pair[1], t)));
            }
        }
        best.map(|(_, segment, part, place)| (segment, part, place))
    }

    /// The frame within `first..=last` at which the path is nearest to `place`.
    pub fn frame_near(&self, place: Vec2, first: f32, last: f32) -> f32 {
        const STEPS: usize = 256;
        let frame = |i: usize| first + (last - first) * i as f32 / STEPS as f32;
        let distance = |i: &usize| self.at(frame(*i)).distance_squared(place);
        (0..=STEPS).min_by(|a, b| distance(a).total_cmp(&distance(b))).map_or(first, frame)
    }
}

/// First and last frame of a stroke's path.
pub fn span(stroke: &Stroke) -> (f32, f32) {
    (stroke.path.first().map_or(0.0, |key| key.frame), stroke.path.last().map_or(0.0, |key| key.frame))
}

/// What was worked out for regions, strokes and a frame.
#[derive(Debug, Default)]
pub struct Shapes {
    regions: Vec<(Region, (usize, usize), Rings, bool)>,
    paths: Vec<(Stroke, Arc<PathShape>, bool)>,
    motions: Option<(Arc<Compiled>, usize, Arc<Vec<LayerMotion>>)>,
}

impl Shapes {
    /// Forgets what was not asked for since the last call.
    pub fn begin_frame(&mut self) {
        self.regions.retain_mut(|(.., used)| std::mem::take(used));
        self.paths.retain_mut(|(.., used)| std::mem::take(used));
    }

    /// The outline of `region` on a picture of `size` px. One that lies in a file comes from `compiled`, and is empty until it is there.
    pub fn rings(&mut self, region: &Region, size: (usize, usize), compiled: Option<&Arc<Compiled>>) -> Rings {
        if let Some((.., rings, used)) = self.regions.iter_mut().find(|(known, known_size, ..)| *known_size == size && known == region) {
            *used = true;
            return rings.clone();
        }
        let Some(rings) = outline(region, size, compiled) else { return Rings::default() };
        let rings = Arc::new(rings);
        self.regions.push((region.clone(), size, rings.clone(), true));
        rings
    }

    /// The path of `stroke`.
    pub fn path(&mut self, stroke: &Stroke) -> Arc<PathShape> {
        if let Some((_, shape, used)) = self.paths.iter_mut().find(|(known, ..)| known == stroke) {
            *used = true;
            return shape.clone();
        }
        let shape = Arc::new(PathShape::new(stroke));
        self.paths.push((stroke.clone(), shape.clone(), true));
        shape
    }

    /// Where the object layers are at `frame`, live px.
    pub fn motions(&mut self, compiled: &Arc<Compiled>, frame: usize) -> Arc<Vec<LayerMotion>> {
        match &self.motions {
            Some((known, at, motions)) if Arc::ptr_eq(known, compiled) && *at == frame => motions.clone(),
            _ => {
                let motions = Arc::new(compiled.scene.object_motions(frame));
                self.motions = Some((compiled.clone(), frame, motions.clone()));
                motions
            }
        }
    }

    /// Where the layer of `region` is at `frame`: live px per picture px and its motion; None for what does not move.
    pub fn motion_of(&mut self, region: &Region, compiled: Option<&Arc<Compiled>>, frame: usize) -> Option<(f32, LayerMotion)> {
        let compiled = compiled?;
        let layer = compiled.scene.outlines.iter().position(|outline| outline == region)?;
        let motion = self.motions(compiled, frame).get(layer)?.clone();
        Some((compiled.scale, motion))
    }
}

fn outline(region: &Region, size: (usize, usize), compiled: Option<&Arc<Compiled>>) -> Option<Vec<Vec<Vec2>>> {
    let (width, height) = (size.0 as f32, size.1 as f32);
    let scaled = |rings: Vec<Vec<Vec2>>, scale: Vec2| rings.into_iter().map(|ring| ring.into_iter().map(|p| p / scale).collect()).collect();
    match region {
        Region::All => Some(vec![vec![Vec2::ZERO, Vec2::new(width, 0.0), Vec2::new(width, height), Vec2::new(0.0, height)]]),
        Region::Disc { center, radius, .. } => {
            let around = |i: i32| Vec2::from(*center) + Vec2::from_angle(i as f32 * std::f32::consts::TAU / 72.0) * *radius;
            Some(vec![(0..72).map(around).collect()])
        }
        Region::MaskFile { .. } => {
            let scene = &compiled?.scene;
            let layer = scene.outlines.iter().position(|outline| outline == region)?;
            let scale = Vec2::new(scene.width as f32 / width, scene.height as f32 / height);
            Some(scaled(trace(&scene.regions[layer], 0.3, 4.0), scale))
        }
        Region::Brush { .. } | Region::Lasso { .. } => {
            let placement = Placement::stretch(size, grid_size(size, LONGER_SIDE));
            let mask = hard(region).rasterize_placed(&placement, Path::new("")).ok()?;
            Some(scaled(trace(&mask, 0.2, 2.0), placement.scale))
        }
    }
}

/// What of the lines `q = k * step + phase` lies inside the rings (non-zero winding): `(q, p at the start, p at the end)`.
fn spans(rings: &[Vec<[f32; 2]>], (low, high): (f32, f32), step: f32, phase: f32) -> Vec<(f32, f32, f32)> {
    let first = ((low - phase) / step).ceil();
    let count = (((high - phase) / step).floor() - first + 1.0).clamp(0.0, 20_000.0) as usize;
    let mut crossings: Vec<Vec<(f32, i32)>> = vec![Vec::new(); count];
    for ring in rings {
        for (i, a) in ring.iter().enumerate() {
            let b = ring[(i + 1) % ring.len()];
            let (bottom, top, way) = if a[1] < b[1] { (a, &b, 1) } else { (&b, a, -1) };
            let index = |q: f32| (((q - phase) / step - first).ceil()).clamp(0.0, count as f32) as usize;
            for line in index(bottom[1])..index(top[1]) {
                let q = (first + line as f32) * step + phase;
                let p = bottom[0] + (q - bottom[1]) * (top[0] - bottom[0]) / (top[1] - bottom[1]);
                crossings[line].push((p, way));
            }
        }
    }
    let mut spans = Vec::new();
    for (line, mut row) in crossings.into_iter().enumerate() {
        row.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut winding, mut start) = (0, 0.0);
        for (p, way) in row {
            if winding == 0 {
                start = p;
            }
            winding += way;
            if winding == 0 && p - start > 0.05 {
                spans.push(((first + line as f32) * step + phase, start, p));
            }
        }
    }
    spans
}

/// The inside of `rings` (screen points) as triangles of one colour, as far as it lies in `clip`.
pub fn filled(rings: &[Vec<Pos2>], clip: Rect, color: Color32) -> Mesh {
    const STEP: f32 = 1.5;
    let rows: Vec<Vec<[f32; 2]>> = rings.iter().map(|ring| ring.iter().map(|p| [p.x, p.y]).collect()).collect();
    let mut mesh = Mesh::default();
    for (y, from, to) in spans(&rows, (clip.top(), clip.bottom()), STEP, STEP * 0.5) {
        let (from, to) = (from.max(clip.left()), to.min(clip.right()));
        if to > from {
            mesh.add_colored_rect(Rect::from_min_max(Pos2::new(from, y - STEP * 0.5), Pos2::new(to, y + STEP * 0.5)), color);
        }
    }
    mesh
}

/// Diagonal lines over the inside of `rings` (screen points), `spacing` apart, as far as they lie near `clip`; `anchor` is a place that
/// a line goes through, so that they stay with the picture.
pub fn hatched(rings: &[Vec<Pos2>], clip: Rect, spacing: f32, anchor: Pos2) -> Vec<[Pos2; 2]> {
    let turned: Vec<Vec<[f32; 2]>> = rings.iter().map(|ring| ring.iter().map(|p| [p.x - p.y, p.x + p.y]).collect()).collect();
    let step = spacing * std::f32::consts::SQRT_2;
    let range = (clip.left() + clip.top(), clip.right() + clip.bottom());
    let place = |p: f32, q: f32| Pos2::new((q + p) * 0.5, (q - p) * 0.5);
    spans(&turned, range, step, (anchor.x + anchor.y).rem_euclid(step))
        .into_iter()
        .map(|(q, from, to)| [place(from, q), place(to, q)])
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::edit::new_stroke;
    use super::*;
    use kinebrush_engine::motion::stroke::After;

    fn square(low: f32, high: f32, turned: bool) -> Vec<Pos2> {
        let mut ring = vec![Pos2::new(low, low), Pos2::new(high, low), Pos2::new(high, high), Pos2::new(low, high)];
        if turned {
            ring.reverse();
        }
        ring
    }

    #[test]
    fn fills_and_hatches_leave_holes_free() {
        let rings = [square(10.0, 90.0, false), square(40.0, 60.0, true)];
        let clip = Rect::from_min_max(Pos2::ZERO, Pos2::new(100.0, 100.0));
        let mesh = filled(&rings, clip, Color32::RED);
        let area: f32 = mesh
            .triangles()
            .map(|corners| corners.map(|i| mesh.vertices[i as usize].pos))
            .map(|[a, b, c]| ((b - a).x * (c - a).y - (b - a).y * (c - a).x).abs() * 0.5)
            .sum();
        assert!((area - 6000.0).abs() < 150.0, "{area}");
        let lines = hatched(&rings, clip, 5.0, Pos2::new(3.0, 0.0));
        let length: f32 = lines.iter().map(|[a, b]| a.distance(*b)).sum();
        assert!((length * 5.0 - 6000.0).abs() < 250.0, "{length}");
        assert!(lines.iter().all(|[a, b]| {
            let m = *a + (*b - *a) * 0.5;
            !(41.0..59.0).contains(&m.x) || !(41.0..59.0).contains(&m.y)
        }));
    }

    #[test]
    fn outlines_are_traced_once_and_forgotten_when_not_drawn() {
        let mut shapes = Shapes::default();
        let region = Region::Brush { points: vec![(50.0, 50.0), (90.0, 50.0)], radius: 10.0, softness: 0.8 };
        let rings = shapes.rings(&region, (200, 100), None);
        assert!(rings[0].iter().all(|p| (p.distance(p.clamp(Vec2::new(50.0, 50.0), Vec2::new(90.0, 50.0))) - 10.0).abs() < 0.5));
        assert!(Arc::ptr_eq(&rings, &shapes.rings(&region, (200, 100), None)));
        shapes.begin_frame();
        shapes.begin_frame();
        assert!(!Arc::ptr_eq(&rings, &shapes.rings(&region, (200, 100), None)));
    }

    #[test]
    fn a_path_is_hit_where_it_runs() {
        let keys = [(0.0, 0.0, 0.0), (10.0, 100.0, 0.0), (30.0, 100.0, 100.0)].map(Key::from);
        let stroke = new_stroke(Region::All, keys.to_vec(), Easing::Hand, After::Hold);
        let shape = PathShape::new(&stroke);
        assert_eq!((shape.curve.len(), shape.by_frame.len()), (2 * PER_SEGMENT + 1, 31));
        let screen = |place: Vec2| Pos2::new(place.x, place.y);
        let (segment, part, place) = shape.hit(screen(shape.curve[6]), 8.0, screen).unwrap();
        assert!(segment == 0 && (part - 0.5).abs() < 0.01 && place.distance(shape.curve[6]) < 0.1);
        assert!(shape.hit(Pos2::new(40.0, 60.0), 8.0, screen).is_none());
        let frame = shape.frame_near(shape.curve[18], 10.0, 30.0);
        assert!(shape.at(frame).distance(shape.curve[18]) < 1.0 && frame > 10.0 && frame < 30.0);
    }
}
