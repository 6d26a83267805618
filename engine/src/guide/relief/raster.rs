//! The triangles of a sheet in the frame: projected, sorted into bands of rows, and drawn with a depth buffer.
//!
//! Invariant: what is nearest at a pixel does not depend on threads; of triangles that reach behind the camera the part before it is drawn.
//! Guarded by the tests of `draw`.

use glam::{Vec2, Vec3};
use rayon::prelude::*;

use super::{Corner, Sheet};
use crate::motion::camera::View;
use crate::motion::layer_motion::LayerMotion;

/// Rows that are drawn together.
pub const BAND: usize = 16;
/// Triangles are this much larger than they are, so that rounding opens no crack between neighbours, px.
const SEAM_PX: f32 = 0.03;
/// In a triangle's number: it belongs to the back.
pub const BACK: u32 = 1 << 31;
/// A corner farther from the frame than this is behind the camera for all that it matters, px.
const FARTHEST: f32 = 1e6;
/// What comes nearer to the eye's plane than this share of its depth cannot be in any frame.
const NEAR: f32 = 0.01;

/// Who looks, and at how large a frame.
#[derive(Clone, Copy, Debug)]
pub struct Eye<'a> {
    pub view: &'a View,
    /// px of the frame per px of the picture.
    pub scale: Vec2,
    /// Nearest that is drawn: so much of Z for each unit of inverse depth; see [`super::Relief::near`].
    pub near: f32,
    pub size: (usize, usize),
}

/// A sheet as the camera sees it.
#[derive(Debug, Default)]
pub struct Seen {
    pub corners: Vec<Projected>,
    pub opaque: Bins,
    pub rim: Bins,
}

/// A corner in the frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Projected {
    /// Where, px of the frame.
    pub place: Vec2,
    /// 1 / Z of [`View`]; 0 if the corner is behind the camera.
    pub nearness: f32,
    /// Inverse depth from where the camera is.
    pub inverse_depth: f32,
}

/// Triangles by the bands that they touch.
#[derive(Debug, Default)]
pub struct Bins {
    /// Where each band's triangles begin, and where the last one's end.
    starts: Vec<u32>,
    triangles: Vec<u32>,
    /// What is left of triangles that were cut at the near plane; they are numbered after the whole ones.
    cut: Vec<[Cut; 3]>,
}

/// A corner where a triangle was cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    seen: Projected,
    source: Corner,
}

/// What is nearest at each pixel of a band.
#[derive(Debug, Default)]
pub struct Surface {
    pub inverse_depth: Vec<f32>,
    /// Number of the triangle + 1, 0 for none.
    pub triangle: Vec<u32>,
    /// Whether anything was drawn.
    pub any: bool,
}

impl Eye<'_> {
    /// (X, Y, Z) of a place of the surface, and how far it lies before the near plane.
    fn sees(&self, place: Vec2, inverse_depth: f32) -> (Vec3, f32) {
        let [x, y, one, depth] = self.view.columns;
        let seen = x * place.x + y * place.y + one + depth * inverse_depth;
        (seen, seen.z - NEAR - self.near * inverse_depth)
    }

    fn projected(&self, seen: Vec3, inverse_depth: f32) -> Projected {
        let (place, inverse_depth) = (seen.truncate() / seen.z * self.scale, inverse_depth / seen.z);
        if place.abs().max_element() < FARTHEST && inverse_depth.is_finite() {
            Projected { place, nearness: seen.z.recip(), inverse_depth }
        } else {
            Projected::default()
        }
    }

    /// What of a triangle lies before the near plane: up to two triangles.
    fn cut(&self, corners: [Corner; 3], motion: &LayerMotion, out: &mut Vec<[Cut; 3]>) {
        let seen = corners.map(|corner| self.sees(motion.apply(corner.place), corner.inverse_depth));
        let mut left: Vec<Cut> = Vec::with_capacity(4);
        for (i, j) in [(0, 1), (1, 2), (2, 0)] {
            let ((a, before), (b, beyond)) = (seen[i], seen[j]);
            if before > 0.0 {
                left.push(Cut { seen: self.projected(a, corners[i].inverse_depth), source: corners[i] });
            }
            if (before > 0.0) != (beyond > 0.0) {
                let (part, p, q) = (before / (before - beyond), corners[i], corners[j]);
                let along = |a: f32, b: f32| a + part * (b - a);
                let source = Corner {
                    place: p.place.lerp(q.place, part),
                    inverse_depth: along(p.inverse_depth, q.inverse_depth),
                    alpha: along(p.alpha, q.alpha),
                };
                left.push(Cut { seen: self.projected(a.lerp(b, part), source.inverse_depth), source });
            }
        }
        // Numbers that are none, and what lies too far out, are left out.
        if left.len() < 3 || left.iter().any(|corner| !(corner.seen.nearness > 0.0)) {
            return;
        }
        out.extend((2..left.len()).map(|i| [left[0], left[i - 1], left[i]]));
    }
}

impl Seen {
    /// Becomes `sheet` at `motion`, as `eye` sees it.
    pub fn set(&mut self, sheet: &Sheet, motion: &LayerMotion, eye: &Eye) {
        let project = |corner: &Corner| {
            let (seen, before) = eye.sees(motion.apply(corner.place), corner.inverse_depth);
            if before > 0.0 { eye.projected(seen, corner.inverse_depth) } else { Projected::default() }
        };
        sheet.corners.par_iter().with_min_len(1024).map(project).collect_into_vec(&mut self.corners);
        self.opaque.set(&sheet.opaque, sheet, &self.corners, motion, eye);
        self.rim.set(&sheet.rim, sheet, &self.corners, motion, eye);
    }
}

impl Bins {
    fn set(&mut self, triangles: &[[u32; 3]], sheet: &Sheet, corners: &[Projected], motion: &LayerMotion, eye: &Eye) {
        let (width, height) = eye.size;
        self.cut.clear();
        if corners.iter().any(|corner| corner.nearness <= 0.0) {
            for triangle in triangles {
                let before = triangle.iter().filter(|&&i| corners[i as usize].nearness > 0.0).count();
                if before == 1 || before == 2 {
                    eye.cut(triangle.map(|i| sheet.corners[i as usize]), motion, &mut self.cut);
                }
            }
        }
        let bands = height.div_ceil(BAND);
        self.starts.clear();
        self.starts.resize(bands + 2, 0);
        // The bands that a triangle touches; none if any corner is behind the camera.
        let touched = |[a, b, c]: [Projected; 3]| {
            if a.nearness.min(b.nearness).min(c.nearness) <= 0.0 {
                return 0..0;
            }
            let (low, high) = (a.place.min(b.place).min(c.place) - 0.5, a.place.max(b.place).max(c.place) - 0.5);
            let first = (low.y - SEAM_PX).ceil().max(0.0) as usize;
            let end = (high.y + SEAM_PX + 1.0).floor().clamp(0.0, height as f32) as usize;
            if first >= end || low.x - SEAM_PX >= width as f32 || high.x + SEAM_PX < 0.0 {
                0..0
            } else {
                first / BAND..(end - 1) / BAND + 1
            }
        };
        let whole = triangles.iter().map(|triangle| triangle.map(|i| corners[i as usize]));
        let all = || whole.clone().chain(self.cut.iter().map(|triangle| triangle.map(|corner| corner.seen)));
        for triangle in all() {
            for band in touched(triangle) {
                self.starts[band + 2] += 1;
            }
        }
        (2..self.starts.len()).for_each(|i| self.starts[i] += self.starts[i - 1]);
        self.triangles.resize(self.starts.last().map_or(0, |n| *n as usize), 0);
        // Afterwards what stood at band + 1 is where band's triangles end.
        for (i, triangle) in all().enumerate() {
            for band in touched(triangle) {
                let next = &mut self.starts[band + 1];
                self.triangles[*next as usize] = i as u32;
                *next += 1;
            }
        }
    }

    pub fn of(&self, band: usize) -> &[u32] {
        &self.triangles[self.starts[band] as usize..self.starts[band + 1] as usize]
    }

    /// Where the corners of triangle `i` are seen; `triangles` are the sheet's, `corners` the whole ones' corners.
    pub fn seen(&self, i: u32, triangles: &[[u32; 3]], corners: &[Projected]) -> [Projected; 3] {
        match triangles.get(i as usize) {
            Some(triangle) => triangle.map(|i| corners[i as usize]),
            None => self.cut[i as usize - triangles.len()].map(|corner| corner.seen),
        }
    }

    /// Where they are in the source.
    pub fn source(&self, i: u32, triangles: &[[u32; 3]], sheet: &Sheet) -> [Corner; 3] {
        match triangles.get(i as usize) {
            Some(triangle) => triangle.map(|i| sheet.corners[i as usize]),
            None => self.cut[i as usize - triangles.len()].map(|corner| corner.source),
        }
    }
}

/// Calls `put` with each pixel of a band of `pixels` px that a triangle covers, and its inverse depth there.
pub fn cover(corners: [Projected; 3], band: usize, width: usize, pixels: usize, mut put: impl FnMut(usize, f32)) {
    let [a, b, c] = corners;
    let area = (b.place - a.place).perp_dot(c.place - a.place);
    if !(area.abs() > 1e-9) {
        return;
    }
    let top = band * BAND;
    let (low, high) = (a.place.min(b.place).min(c.place) - 0.5, a.place.max(b.place).max(c.place) - 0.5);
    let end = |place: f32, size: usize| place.clamp(0.0, size as f32) as usize;
    let rows =
        end((low.y - SEAM_PX).ceil() - top as f32, pixels / width)..end((high.y + SEAM_PX).floor() + 1.0 - top as f32, pixels / width);
    let columns = end((low.x - SEAM_PX).ceil(), width)..end((high.x + SEAM_PX).floor() + 1.0, width);
    // Share of each corner, affine in the pixel, and how far below 0 it may be.
    let share = |from: Projected, to: Projected| {
        let edge = to.place - from.place;
        let slope = Vec2::new(-edge.y, edge.x) / area;
        (slope, from.place, -SEAM_PX * edge.length() / area.abs())
    };
    let edges = [share(b, c), share(c, a), share(a, b)];
    for row in rows {
        let y = (top + row) as f32 + 0.5;
        let (mut first, mut last) = (columns.start as f32, columns.end as f32 - 1.0);
        for (slope, from, least) in edges {
            let at_start = slope.x * (0.5 - from.x) + slope.y * (y - from.y) - least;
            let place = -at_start / slope.x;
            if slope.x > 0.0 {
                first = first.max(place.ceil());
            } else if slope.x < 0.0 {
                last = last.min(place.floor());
            } else if at_start < 0.0 {
                last = -1.0;
            }
        }
        if !(first <= last) {
            continue;
        }
        let depth_at = |x: usize| {
            let p = Vec2::new(x as f32 + 0.5, y);
            let [s, t, u] = edges.map(|(slope, from, _)| slope.dot(p - from));
            s * a.inverse_depth + t * b.inverse_depth + u * c.inverse_depth
        };
        (first as usize..=last as usize).for_each(|x| put(row * width + x, depth_at(x)));
    }
}

impl Surface {
    pub fn clear(&mut self, pixels: usize) {
        self.inverse_depth.clear();
        self.inverse_depth.resize(pixels, -1.0);
        self.triangle.clear();
        self.triangle.resize(pixels, 0);
        self.any = false;
    }

    /// Draws the opaque triangles of a sheet; `mark` goes into their numbers, and `favour` is how far they may lie behind what is there.
    pub fn draw(&mut self, sheet: &Sheet, seen: &Seen, band: usize, width: usize, mark: u32, favour: f32) {
        let pixels = self.triangle.len();
        for &i in seen.opaque.of(band) {
            let corners = seen.opaque.seen(i, &sheet.opaque, &seen.corners);
            cover(corners, band, width, pixels, |pixel, w| {
                self.any = true;
                let there = &mut self.inverse_depth[pixel];
                let favoured = if (self.triangle[pixel] ^ mark) & BACK == 0 { 1.0 } else { favour };
                if w >= *there * favoured {
                    (*there, self.triangle[pixel]) = (w, (i + 1) | mark);
                }
            });
        }
    }
}
