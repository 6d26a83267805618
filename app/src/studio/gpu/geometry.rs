//! What is drawn of a frame: triangles from the source to the frame, and the motions as the shader reads them.
//!
//! Meshes are cut into triangles as the engine's warp does it, with a ring of long cells that continues them. Invariant: layers are
//! drawn in their order, and none twice at one place unless it folds. Guarded by `tests/tests/gpu.rs`.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use glam::{Affine2, Vec2};
use kinebrush_engine::motion::layer_motion::{LayerMotion, Mesh};
use kinebrush_engine::motion::{FrameMotion, View};

use super::Liquify;
use super::prepared::Prepared;

/// How far beyond its window an object is drawn: its texture fades to nothing there.
const RIM_PX: f32 = 1.5;
/// Texels that describe one motion for the shader.
const HEADER: usize = 4;
/// Within this a mesh stands where it was, px.
const UNMOVED_PX: f32 = 1e-3;
/// Spokes of the mesh of a soft drag, and rings of its fading part.
const SPOKES: usize = 96;
const RINGS: usize = 24;

/// A corner of a triangle.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Vertex {
    /// Where it is in the frame, px.
    pub frame: [f32; 2],
    /// Where that is in the source (of a drag: where it was in the frame), px.
    pub own: [f32; 2],
    /// 0 the plate, k object k - 1.
    pub layer: u32,
}

/// Which texture is drawn, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brush {
    Plate,
    /// The source in place of the plate: nothing moved.
    Source,
    Object(usize),
    /// The source over an object's hole where it moves as the plate does.
    Still(usize),
}

/// Triangles and motions of a frame; its buffers serve one frame after the other.
#[derive(Debug, Default)]
pub(super) struct Geometry {
    pub vertices: Vec<Vertex>,
    pub draws: Vec<(Brush, Range<u32>)>,
    /// The vertices that are drawn from a texture of the frame: a soft drag, and before it all of a frame in depth.
    pub liquify: Range<u32>,
    /// What the shader reads of the motions: four texels each, then the meshes' places.
    pub motions: Vec<[f32; 4]>,
}

impl Geometry {
    /// Becomes that of `prepared` at `motion`.
    pub fn set(&mut self, prepared: &Prepared, motion: &FrameMotion, liquify: Option<&Liquify>) {
        self.vertices.clear();
        self.draws.clear();
        self.motions.clear();
        let plate = &motion.plate;
        let object = |k: usize| motion.objects.get(k).unwrap_or(plate);
        let frame = prepared.size();

        let deep = seen_in_depth(prepared, motion).is_some();
        let unmoved = is_still(plate) && (0..prepared.objects.len()).all(|k| is_still(object(k)));
        if deep {
            self.describe(std::iter::once(plate).chain((0..prepared.objects.len()).map(object)), Affine2::IDENTITY);
        } else if unmoved && prepared.source.is_some() {
            self.draw(Brush::Source, |out| quad(out, Affine2::IDENTITY, Vec2::ZERO, frame, 0));
        } else {
            self.draw(Brush::Plate, |out| match invertible(plate) {
                Some(affine) => fill_frame(out, affine, frame),
                None => {
                    // What a folded plate leaves bare shows what stood there.
                    fill_frame(out, Affine2::IDENTITY, frame);
                    if let LayerMotion::Mesh(mesh) = plate {
                        triangles(out, mesh, reach_of(prepared), Vec2::ZERO, frame, 0);
                    }
                }
            });
            for (k, (low, high)) in prepared.windows.iter().enumerate().filter(|(k, _)| prepared.objects[*k].is_some()) {
                self.draw(Brush::Object(k), |out| layer(out, object(k), prepared, *low - RIM_PX, *high + RIM_PX, k as u32 + 1));
            }
            for (k, (low, high)) in prepared.windows.iter().enumerate() {
                if prepared.objects[k].is_some() && may_stand(plate, object(k), *low, *high) {
                    self.draw(Brush::Still(k), |out| match (invertible(plate), object(k)) {
                        (Some(plate), LayerMotion::Mesh(mesh)) => standing(out, plate, mesh, *low, *high, k as u32 + 1),
                        _ => layer(out, plate, prepared, *low, *high, k as u32 + 1),
                    });
                }
            }
            let base = invertible(plate).unwrap_or(Affine2::IDENTITY);
            self.describe(std::iter::once(plate).chain((0..prepared.objects.len()).map(object)), base);
        }

        let first = self.vertices.len() as u32;
        if deep {
            quad(&mut self.vertices, Affine2::IDENTITY, Vec2::ZERO, frame, 0);
        }
        if let Some(liquify) = liquify {
            liquify.triangles(&mut self.vertices);
        }
        self.liquify = first..self.vertices.len() as u32;
    }

    fn draw(&mut self, brush: Brush, fill: impl FnOnce(&mut Vec<Vertex>)) {
        let first = self.vertices.len() as u32;
        fill(&mut self.vertices);
        let end = self.vertices.len() as u32;
        if end > first {
            self.draws.push((brush, first..end));
        }
    }

    /// Writes the motions down for the shader; `base` is what meshes are searched from.
    fn describe<'a>(&mut self, motions: impl Iterator<Item = &'a LayerMotion>, base: Affine2) {
        let motions: Vec<&LayerMotion> = motions.collect();
        self.motions.resize(HEADER * motions.len(), [0.0; 4]);
        for (i, motion) in motions.into_iter().enumerate() {
            // A map without an inverse shows nothing: all of the frame comes from far away.
            let lost = Affine2::from_mat2_translation(glam::Mat2::ZERO, Vec2::splat(-1e6));
            let (affine, mesh) = match motion {
                LayerMotion::Affine(_) => (invertible(motion).map_or(lost, |a| a.inverse()), None),
                LayerMotion::Mesh(mesh) => (base.inverse(), Some(mesh)),
            };
            let first = self.motions.len() as f32;
            let header = &mut self.motions[HEADER * i..HEADER * (i + 1)];
            let (x, y, t) = (affine.matrix2.x_axis, affine.matrix2.y_axis, affine.translation);
            header[0] = [x.x, x.y, y.x, y.y];
            header[1] = [t.x, t.y, f32::from(mesh.is_some()), 0.0];
            // Corners in depth are moved forwards.
            if let LayerMotion::Affine(Affine2 { matrix2, translation }) = motion {
                header[2] = matrix2.to_cols_array();
                header[3] = [0.0, 0.0, translation.x, translation.y];
            }
            if let Some(mesh) = mesh {
                header[2] = [mesh.origin.x, mesh.origin.y, mesh.spacing_px, first];
                header[3] = [mesh.columns as f32, mesh.rows as f32, 0.0, 0.0];
                self.motions.extend(mesh.positions.iter().map(|p| [p.x, p.y, 0.0, 0.0]));
            }
        }
    }
}

/// The view in which a frame is drawn in depth.
pub(super) fn seen_in_depth<'a>(prepared: &Prepared, motion: &'a FrameMotion) -> Option<&'a View> {
    motion.view.as_ref().filter(|view| prepared.deep.is_some() && !view.is_at_rest())
}

/// Whether nothing moved at all.
fn is_still(motion: &LayerMotion) -> bool {
    match motion {
        LayerMotion::Affine(affine) => *affine == Affine2::IDENTITY,
        LayerMotion::Mesh(mesh) => mesh.positions.iter().enumerate().all(|(i, p)| {
            let rest = mesh.origin + Vec2::new((i % mesh.columns) as f32, (i / mesh.columns) as f32) * mesh.spacing_px;
            (*p - rest).abs().max_element() <= UNMOVED_PX
        }),
    }
}

/// Whether some point of an object's window may be within a px of where the plate takes it.
fn may_stand(plate: &LayerMotion, object: &LayerMotion, low: Vec2, high: Vec2) -> bool {
    let (Some(plate), Some(object)) = (invertible(plate), invertible(object)) else { return true };
    // How far apart plate and object take a place, in source px, is an affine function of it.
    let apart = |p: Vec2| object.inverse().transform_point2(plate.transform_point2(p)) - p;
    let middle = (low + high) * 0.5;
    let corners = [low, high, Vec2::new(low.x, high.y), Vec2::new(high.x, low.y)];
    let spread = corners.iter().map(|c| (apart(*c) - apart(middle)).length()).fold(0.0, f32::max);
    apart(middle).length() - spread < 1.0
}

/// The cells of a mesh, on the plate, that may hold a point within a px of where the plate takes it.
fn standing(out: &mut Vec<Vertex>, plate: Affine2, mesh: &Mesh, low: Vec2, high: Vec2, layer: u32) {
    let inverse = plate.inverse();
    let apart: Vec<Vec2> = mesh
        .positions
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let rest = mesh.origin + Vec2::new((i % mesh.columns) as f32, (i / mesh.columns) as f32) * mesh.spacing_px;
            inverse.transform_point2(*p) - rest
        })
        .collect();
    let lines = |low: f32, high: f32, origin: f32, count: usize| -> Vec<f32> {
        let inner = (0..count).map(|i| origin + i as f32 * mesh.spacing_px).filter(|v| *v > low && *v < high);
        std::iter::once(low).chain(inner).chain(std::iter::once(high)).collect()
    };
    let (xs, ys) = (lines(low.x, high.x, mesh.origin.x, mesh.columns), lines(low.y, high.y, mesh.origin.y, mesh.rows));
    // A point that moves by less than a px comes from the cell itself or one next to it; its way lies between those of their corners.
    let goes = |middle: Vec2| {
        let cell = ((middle - mesh.origin) / mesh.spacing_px).floor();
        let (c, r) = (cell.x as isize, cell.y as isize);
        if c < 1 || r < 1 || c + 2 >= mesh.columns as isize || r + 2 >= mesh.rows as isize {
            return false;
        }
        let corner = |i: usize| apart[(r as usize - 1 + i / 4) * mesh.columns + c as usize - 1 + i % 4];
        let mean = (0..16).map(corner).sum::<Vec2>() / 16.0;
        mean.length() - (0..16).map(|i| corner(i).distance(mean)).fold(0.0, f32::max) > 1.0
    };
    for y in ys.windows(2) {
        for x in xs.windows(2) {
            let (low, high) = (Vec2::new(x[0], y[0]), Vec2::new(x[1], y[1]));
            if !goes((low + high) * 0.5) {
                quad(out, plate, low, high, layer);
            }
        }
    }
}

/// The affine motion that has an inverse.
fn invertible(motion: &LayerMotion) -> Option<Affine2> {
    match motion {
        LayerMotion::Affine(affine) if affine.matrix2.determinant().abs() > 1e-9 && affine.inverse().is_finite() => Some(*affine),
        _ => None,
    }
}

/// How far beyond its mesh a layer may go, px.
fn reach_of(prepared: &Prepared) -> f32 {
    2.0 * (prepared.size().x + prepared.size().y) + prepared.plate.size.max_element()
}

/// The whole frame under the inverse of `affine`.
fn fill_frame(out: &mut Vec<Vertex>, affine: Affine2, frame: Vec2) {
    let inverse = affine.inverse();
    let corner = |x: f32, y: f32| {
        let place = frame * Vec2::new(x, y);
        Vertex { frame: place.into(), own: inverse.transform_point2(place).into(), layer: 0 }
    };
    two(out, [corner(0.0, 0.0), corner(1.0, 0.0), corner(1.0, 1.0), corner(0.0, 1.0)]);
}

/// The part of a layer between two source corners.
fn layer(out: &mut Vec<Vertex>, motion: &LayerMotion, prepared: &Prepared, low: Vec2, high: Vec2, layer: u32) {
    match motion {
        LayerMotion::Affine(_) => {
            if let Some(affine) = invertible(motion) {
                quad(out, affine, low, high, layer);
            }
        }
        LayerMotion::Mesh(mesh) => triangles(out, mesh, reach_of(prepared), low, high, layer),
    }
}

fn quad(out: &mut Vec<Vertex>, affine: Affine2, low: Vec2, high: Vec2, layer: u32) {
    let corner = |p: Vec2| Vertex { frame: affine.transform_point2(p).into(), own: p.into(), layer };
    two(out, [corner(low), corner(Vec2::new(high.x, low.y)), corner(high), corner(Vec2::new(low.x, high.y))]);
}

/// Two triangles from four corners in turn.
fn two(out: &mut Vec<Vertex>, [a, b, c, d]: [Vertex; 4]) {
    out.extend([a, b, c, a, c, d]);
}

/// The cells of a mesh, and of the ring around it, that touch the rectangle between two source corners.
fn triangles(out: &mut Vec<Vertex>, mesh: &Mesh, reach: f32, low: Vec2, high: Vec2, layer: u32) {
    let line = |origin: f32, count: usize, i: usize| match i {
        0 => origin - reach,
        i if i <= count => origin + (i - 1) as f32 * mesh.spacing_px,
        _ => origin + (count - 1) as f32 * mesh.spacing_px + reach,
    };
    let (columns, rows) = (mesh.columns + 2, mesh.rows + 2);
    let is_ring = |c: usize, r: usize| c == 0 || r == 0 || c + 2 == columns || r + 2 == rows;
    // The ring first: where the mesh folds over it, the mesh counts.
    for ring in [true, false] {
        for r in 0..rows - 1 {
            for c in (0..columns - 1).filter(|&c| is_ring(c, r) == ring) {
                let at = |i: usize, j: usize| Vec2::new(line(mesh.origin.x, mesh.columns, c + i), line(mesh.origin.y, mesh.rows, r + j));
                if (at(1, 1).cmplt(low) | at(0, 0).cmpgt(high)).any() {
                    continue;
                }
                let corner = |i: usize, j: usize| Vertex { frame: mesh.apply(at(i, j)).into(), own: at(i, j).into(), layer };
                two(out, [corner(0, 0), corner(1, 0), corner(1, 1), corner(0, 1)]);
            }
        }
    }
}

impl Liquify {
    /// How far a point goes with the hand, 0..1: the softness of a disc region.
    pub fn weight(&self, place: Vec2) -> f32 {
        let (inside, fade) = (self.radius - place.distance(self.center), self.radius * self.softness);
        if fade <= 1.0 {
            return (inside + 0.5).clamp(0.0, 1.0);
        }
        let u = (inside / fade).clamp(0.0, 1.0);
        u * u * (3.0 - 2.0 * u)
    }

    /// The disc as rings around its middle, outer ones first: what is dragged furthest lies on top.
    fn triangles(&self, out: &mut Vec<Vertex>) {
        let (fade, radius) = (self.radius * self.softness, self.radius);
        // A hard disc goes as a whole.
        let soft = fade > 1.0;
        let rings = if soft { RINGS } else { 0 };
        let corner = |ring: f32, spoke: usize| {
            let (sin, cos) = (spoke as f32 / SPOKES as f32 * std::f32::consts::TAU).sin_cos();
            let place = self.center + Vec2::new(cos, sin) * ring;
            let weight = if soft { self.weight(place) } else { 1.0 };
            Vertex { frame: (place + self.shift * weight).into(), own: place.into(), layer: 0 }
        };
        let ring = |i: usize| (radius - fade * i as f32 / RINGS as f32).max(0.0);
        for i in 0..rings {
            for spoke in 0..SPOKES {
                let (outer, inner) = (ring(i), ring(i + 1));
                two(out, [corner(outer, spoke), corner(outer, spoke + 1), corner(inner, spoke + 1), corner(inner, spoke)]);
            }
        }
        let core = if soft { ring(RINGS) } else { radius };
        if core > 0.0 {
            for spoke in 0..SPOKES {
                out.extend([corner(0.0, 0), corner(core, spoke), corner(core, spoke + 1)]);
            }
        }
    }
}
