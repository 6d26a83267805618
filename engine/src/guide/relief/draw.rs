//! A frame of the layers in depth.
//!
//! The corners of all sheets are projected, their triangles drawn with a depth buffer, band by band, into the triangle that each pixel
//! shows; then every pixel asks that triangle for its place in the source and is averaged over its footprint there, as without depth.
//! Rims and objects lie over that, nearer ones over farther ones. Guarded by the tests below.

use glam::{Affine2, Mat2, Vec2};
use rayon::prelude::*;

use super::super::layers::{Layers, reach_bit};
use super::super::texture::Footprint;
use super::super::warp::{GuideFrame, Pixel, mix};
use super::{Relief, Sheet};
use crate::motion::camera::View;
use crate::motion::frame_motion::FrameMotion;
use crate::motion::layer_motion::LayerMotion;

/// Rows that are drawn together.
const BAND: usize = 16;
/// Triangles are this much larger than they are, so that no crack opens where large ones meet small ones, px.
const SEAM_PX: f32 = 0.03;
/// What is this much nearer, by ratio and in px of parallax, is clearly nearer.
const NEARER: f32 = 1.15;
const NEARER_PX: f32 = 6.0;
/// Where front and back are as far to this share, the front counts.
const SAME: f32 = 0.999;
/// In a triangle's number: it belongs to the back.
const BACK: u32 = 1 << 31;
/// A corner farther from the frame than this is behind the camera for all that it matters, px.
const FARTHEST: f32 = 1e6;
/// Side lengths of a pixel's footprint up to which one sample will do; as [`Footprint::of`] sees it.
const SINGLE: f32 = 1.25;

/// What a frame needs to be drawn; its buffers serve one frame after the other.
#[derive(Debug, Default)]
pub struct Workspace {
    back: Seen,
    front: Seen,
    objects: Vec<Seen>,
    bands: Vec<Band>,
}

/// A sheet as the camera sees it.
#[derive(Debug, Default)]
struct Seen {
    corners: Vec<Projected>,
    opaque: Bins,
    rim: Bins,
}

/// A corner in the frame.
#[derive(Clone, Copy, Debug, Default)]
struct Projected {
    /// Where, px of the frame.
    place: Vec2,
    /// 1 / Z of [`View`]; 0 if the corner is behind the camera.
    nearness: f32,
    /// Inverse depth from where the camera is.
    inverse_depth: f32,
}

/// Triangles by the bands that they touch.
#[derive(Debug, Default)]
struct Bins {
    /// Where each band's triangles begin, and where the last one's end.
    starts: Vec<u32>,
    triangles: Vec<u32>,
}

/// A band of rows.
#[derive(Debug, Default)]
struct Band {
    plate: Surface,
    objects: Vec<Surface>,
    fragments: Vec<Fragment>,
    hits: Vec<Hit>,
}

/// What is nearest at each pixel of a band.
#[derive(Debug, Default)]
struct Surface {
    inverse_depth: Vec<f32>,
    /// Number of the triangle + 1, 0 for none.
    triangle: Vec<u32>,
    /// Whether anything was drawn.
    any: bool,
}

/// A pixel of a rim.
#[derive(Clone, Copy, Debug)]
struct Fragment {
    pixel: u32,
    triangle: u32,
    inverse_depth: f32,
}

/// A pixel of an object.
#[derive(Clone, Copy, Debug)]
struct Hit {
    object: usize,
    place: Vec2,
    jacobian: Mat2,
    inverse_depth: f32,
}

/// From a frame's pixels to the source, within one triangle: place = corner + numerator / nearness, both affine in the pixel.
#[derive(Clone, Copy, Debug, Default)]
struct Tangent {
    number: u32,
    origin: Vec2,
    corner: Vec2,
    numerator: Mat2,
    nearness: f32,
    slope: Vec2,
    alpha: f32,
    alpha_slope: Vec2,
}

/// Averages over pixels; the last footprint is kept, for neighbours share it.
struct Sampler {
    single: Footprint,
    jacobian: Mat2,
    footprint: Footprint,
}

/// What all bands read.
struct Scene<'a> {
    layers: &'a Layers,
    relief: &'a Relief,
    back: &'a Seen,
    front: &'a Seen,
    objects: &'a [Seen],
    width: usize,
}

impl Workspace {
    /// Draws `layers` in depth as `motion` and `view` show them.
    pub fn draw(&mut self, layers: &Layers, relief: &Relief, motion: &FrameMotion, view: &View, frame: &mut GuideFrame) {
        let (width, height) = (frame.rgb.width, frame.rgb.height);
        let scale = Vec2::new(width as f32 / layers.width as f32, height as f32 / layers.height as f32);
        let bands = height.div_ceil(BAND);
        self.objects.resize_with(relief.objects.len(), Seen::default);
        self.bands.resize_with(bands, Band::default);
        let set = |seen: &mut Seen, sheet: &Sheet, motion: &LayerMotion| seen.set(sheet, motion, view, scale, (width, height));
        rayon::join(
            || set(&mut self.back, &relief.back, &motion.plate),
            || {
                set(&mut self.front, &relief.front, &motion.plate);
                self.objects.par_iter_mut().zip(&relief.objects).enumerate().for_each(|(k, (seen, sheet))| {
                    set(seen, sheet, motion.objects.get(k).unwrap_or(&motion.plate));
                });
            },
        );
        let scene = Scene { layers, relief, back: &self.back, front: &self.front, objects: &self.objects, width };
        let size = (width * BAND).max(1);
        let colours = frame.rgb.data.par_chunks_mut(size).zip(frame.smooth.data.par_chunks_mut(size));
        let rows = colours.zip(frame.coverage.data.par_chunks_mut(size)).zip(frame.owner.par_chunks_mut(size));
        rows.zip(&mut self.bands).enumerate().for_each(|(band, ((((rgb, smooth), coverage), owner), buffers))| {
            buffers.rasterize(&scene, band, rgb.len());
            let mut sampler = Sampler::new();
            buffers.plate(&scene, band, &mut sampler, |i, pixel| {
                (rgb[i], smooth[i], coverage[i], owner[i]) = (pixel.rgb, pixel.smooth, pixel.coverage, 0);
            });
            let mut at = |i: usize, change: &mut dyn FnMut(&mut Pixel)| {
                let mut pixel = Pixel { rgb: rgb[i], smooth: smooth[i], coverage: coverage[i], owner: owner[i] };
                change(&mut pixel);
                (rgb[i], smooth[i], coverage[i], owner[i]) = (pixel.rgb, pixel.smooth, pixel.coverage, pixel.owner);
            };
            buffers.rims(&scene, band, &mut sampler, &mut at);
            buffers.objects(&scene, band, &mut sampler, &mut at);
        });
    }
}

impl Seen {
    /// Becomes `sheet` at `motion`, seen by `view`, in a frame of `size`.
    fn set(&mut self, sheet: &Sheet, motion: &LayerMotion, view: &View, scale: Vec2, size: (usize, usize)) {
        let project = |corner: &super::Corner| {
            let place = motion.apply(corner.place);
            let seen = view.project(place, corner.inverse_depth).map(|(place, w)| (place * scale, w));
            match seen {
                Some((place, inverse_depth)) if place.abs().max_element() < FARTHEST && inverse_depth.is_finite() => {
                    let nearness = view.nearness(motion.apply(corner.place), corner.inverse_depth);
                    Projected { place, nearness, inverse_depth }
                }
                _ => Projected::default(),
            }
        };
        sheet.corners.par_iter().with_min_len(1024).map(project).collect_into_vec(&mut self.corners);
        self.opaque.set(&sheet.opaque, &self.corners, size);
        self.rim.set(&sheet.rim, &self.corners, size);
    }
}

impl Bins {
    fn set(&mut self, triangles: &[[u32; 3]], corners: &[Projected], (width, height): (usize, usize)) {
        let bands = height.div_ceil(BAND);
        self.starts.clear();
        self.starts.resize(bands + 2, 0);
        // The bands that a triangle touches; none if any corner is behind the camera.
        let touched = |triangle: &[u32; 3]| {
            let [a, b, c] = triangle.map(|i| corners[i as usize]);
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
        for triangle in triangles {
            for band in touched(triangle) {
                self.starts[band + 2] += 1;
            }
        }
        (2..self.starts.len()).for_each(|i| self.starts[i] += self.starts[i - 1]);
        self.triangles.resize(self.starts.last().map_or(0, |n| *n as usize), 0);
        // Afterwards what stood at band + 1 is where band's triangles end.
        for (i, triangle) in triangles.iter().enumerate() {
            for band in touched(triangle) {
                let next = &mut self.starts[band + 1];
                self.triangles[*next as usize] = i as u32;
                *next += 1;
            }
        }
    }

    fn of(&self, band: usize) -> &[u32] {
        &self.triangles[self.starts[band] as usize..self.starts[band + 1] as usize]
    }
}

/// Calls `put` with each pixel of a band of `pixels` px that a triangle covers, and its inverse depth there.
fn cover(corners: [Projected; 3], band: usize, width: usize, pixels: usize, mut put: impl FnMut(usize, f32)) {
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
    fn clear(&mut self, pixels: usize) {
        self.inverse_depth.clear();
        self.inverse_depth.resize(pixels, -1.0);
        self.triangle.clear();
        self.triangle.resize(pixels, 0);
        self.any = false;
    }

    /// Draws the opaque triangles of a sheet; `mark` goes into their numbers, and `favour` is how far they may lie behind what is there.
    fn draw(&mut self, sheet: &Sheet, seen: &Seen, band: usize, width: usize, mark: u32, favour: f32) {
        let pixels = self.triangle.len();
        for &i in seen.opaque.of(band) {
            let corners = sheet.opaque[i as usize].map(|c| seen.corners[c as usize]);
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

impl Band {
    /// Finds what each pixel shows.
    fn rasterize(&mut self, scene: &Scene, band: usize, pixels: usize) {
        let (relief, width) = (scene.relief, scene.width);
        self.plate.clear(pixels);
        self.plate.draw(&relief.back, scene.back, band, width, BACK, 1.0);
        self.plate.draw(&relief.front, scene.front, band, width, 0, SAME);
        self.fragments.clear();
        for &triangle in scene.front.rim.of(band) {
            let corners = relief.front.rim[triangle as usize].map(|c| scene.front.corners[c as usize]);
            cover(corners, band, width, pixels, |pixel, inverse_depth| {
                if inverse_depth >= self.plate.inverse_depth[pixel] {
                    self.fragments.push(Fragment { pixel: pixel as u32, triangle, inverse_depth });
                }
            });
        }
        // Farther ones first, so that nearer ones lie over them.
        self.fragments.sort_unstable_by(|a, b| {
            a.pixel.cmp(&b.pixel).then(a.inverse_depth.total_cmp(&b.inverse_depth)).then(a.triangle.cmp(&b.triangle))
        });
        self.objects.resize_with(scene.objects.len(), Surface::default);
        for ((surface, sheet), seen) in self.objects.iter_mut().zip(&relief.objects).zip(scene.objects) {
            if seen.opaque.of(band).is_empty() {
                surface.any = false;
                continue;
            }
            surface.clear(pixels);
            surface.draw(sheet, seen, band, width, 0, 1.0);
        }
    }

    /// Draws the plate's two sheets.
    fn plate(&self, scene: &Scene, band: usize, sampler: &mut Sampler, mut put: impl FnMut(usize, Pixel)) {
        let (layers, relief) = (scene.layers, scene.relief);
        let mut tangent = Tangent::default();
        for (i, &number) in self.plate.triangle.iter().enumerate() {
            if number == 0 {
                put(i, Pixel { rgb: [0.0; 3], smooth: [0.0; 3], coverage: 0.0, owner: 0 });
                continue;
            }
            let back = number & BACK != 0;
            let (sheet, seen) = if back { (&relief.back, scene.back) } else { (&relief.front, scene.front) };
            if tangent.number != number {
                tangent = Tangent::of(number, &sheet.opaque, sheet, seen);
            }
            let centre = scene.centre(band, i);
            let (place, jacobian) = tangent.at(centre);
            let footprint = sampler.footprint(jacobian);
            let (texture, smooth) =
                if back { (&relief.back_texture, &relief.back_smooth) } else { (&layers.plate_texture, &layers.smooth_texture) };
            let [r, g, b, seen] = texture.sample(place, footprint);
            let coverage = if back { seen * tangent.alpha_at(centre) } else { seen };
            let mut pixel = Pixel { rgb: [r, g, b], smooth: [r, g, b], coverage, owner: 0 };
            if coverage < 1.0 {
                let [r, g, b, _] = smooth.sample(place, footprint);
                pixel.smooth = [r, g, b];
            }
            put(i, pixel);
        }
    }

    /// Draws the rims of the front over what lies behind them.
    fn rims(&self, scene: &Scene, band: usize, sampler: &mut Sampler, at: &mut impl FnMut(usize, &mut dyn FnMut(&mut Pixel))) {
        let (layers, sheet) = (scene.layers, &scene.relief.front);
        let mut tangent = Tangent::default();
        for fragment in &self.fragments {
            if tangent.number != fragment.triangle + 1 {
                tangent = Tangent::of(fragment.triangle + 1, &sheet.rim, sheet, scene.front);
            }
            let centre = scene.centre(band, fragment.pixel as usize);
            let (place, jacobian) = tangent.at(centre);
            let alpha = tangent.alpha_at(centre);
            if alpha <= 0.0 {
                continue;
            }
            let footprint = sampler.footprint(jacobian);
            let [r, g, b, seen] = layers.plate_texture.sample(place, footprint);
            at(fragment.pixel as usize, &mut |pixel| {
                pixel.rgb = mix(pixel.rgb, [r, g, b], alpha);
                let smooth = if seen < 1.0 { layers.smooth_texture.sample(place, footprint) } else { [r, g, b, seen] };
                pixel.smooth = mix(pixel.smooth, [smooth[0], smooth[1], smooth[2]], alpha);
                [pixel.coverage] = mix([pixel.coverage], [seen], alpha);
            });
        }
    }

    /// Draws the objects, each hidden where the plate is clearly nearer.
    fn objects(&mut self, scene: &Scene, band: usize, sampler: &mut Sampler, at: &mut impl FnMut(usize, &mut dyn FnMut(&mut Pixel))) {
        let (layers, relief) = (scene.layers, scene.relief);
        if !self.objects.iter().any(|surface| surface.any) {
            return;
        }
        let nearer = |w: f32, than: f32| w > than * NEARER && w > than + NEARER_PX * relief.unit;
        let mut tangent = Tangent::default();
        for i in 0..self.plate.triangle.len() {
            let centre = scene.centre(band, i);
            self.hits.clear();
            for (object, (surface, seen)) in self.objects.iter().zip(scene.objects).enumerate() {
                if !surface.any || surface.triangle[i] == 0 {
                    continue;
                }
                let inverse_depth = surface.inverse_depth[i];
                if nearer(self.plate.inverse_depth[i], inverse_depth) {
                    continue;
                }
                let sheet = &relief.objects[object];
                let (place, jacobian) = Tangent::of(surface.triangle[i], &sheet.opaque, sheet, seen).at(centre);
                let hit = Hit { object, place, jacobian, inverse_depth };
                // In their own order, unless one is clearly nearer.
                let behind = self.hits.iter().rposition(|other| !nearer(other.inverse_depth, inverse_depth)).map_or(0, |k| k + 1);
                self.hits.insert(behind, hit);
            }
            if self.hits.is_empty() {
                continue;
            }
            // Where the plate shows the source, and what of it is only right together with its objects.
            let number = self.plate.triangle[i];
            let plate = (number != 0 && number & BACK == 0).then(|| {
                if tangent.number != number {
                    tangent = Tangent::of(number, &relief.front.opaque, &relief.front, scene.front);
                }
                tangent.at(centre)
            });
            let reach = plate.map_or(0, |(place, _)| layers.reach_at(place));
            let hits = &self.hits;
            at(i, &mut |pixel| {
                let (mut stillness, mut gap, mut together) = (1.0f32, 1.0f32, 0);
                for hit in hits {
                    let layer = &layers.objects[hit.object];
                    let alpha = layer.over(hit.place, sampler.footprint(hit.jacobian), pixel, hit.object);
                    let bit = reach_bit(hit.object);
                    if let Some((place, _)) = plate.filter(|_| (reach | layers.reach_at(hit.place)) & bit != 0) {
                        stillness = stillness.min(1.02 * (1.0 - hit.place.distance(place)));
                        together |= bit;
                    }
                    gap *= 1.0 - alpha;
                }
                // The source itself where all that reaches here is here and where the plate is.
                if let Some((place, jacobian)) = plate.filter(|_| reach != 0 && reach & !together == 0 && stillness > 0.0 && gap > 0.0) {
                    let weight = if stillness >= 1.0 { 1.0 } else { stillness * (4.0 * gap).min(1.0) };
                    let [r, g, b, _] = layers.source_texture.sample(place, sampler.footprint(jacobian));
                    pixel.rgb = mix(pixel.rgb, [r, g, b], weight);
                    pixel.smooth = mix(pixel.smooth, [r, g, b], weight);
                    [pixel.coverage] = mix([pixel.coverage], [1.0], weight);
                }
            });
        }
    }
}

impl Scene<'_> {
    /// Centre of the `i`th pixel of a band.
    fn centre(&self, band: usize, i: usize) -> Vec2 {
        Vec2::new((i % self.width) as f32 + 0.5, (band * BAND + i / self.width) as f32 + 0.5)
    }
}

impl Tangent {
    /// Of the triangle with this number (its index + 1, and whether it is the back's).
    fn of(number: u32, triangles: &[[u32; 3]], sheet: &Sheet, seen: &Seen) -> Self {
        let triangle = triangles[((number & !BACK) - 1) as usize];
        let [a, b, c] = triangle.map(|i| seen.corners[i as usize]);
        let [p, q, r] = triangle.map(|i| sheet.corners[i as usize]);
        let (ab, ac) = (b.place - a.place, c.place - a.place);
        let area = ab.perp_dot(ac);
        // Slope of a number that is affine in the frame and `u`, `v` higher at the other two corners.
        let slope = |u: f32, v: f32| Vec2::new(u * ac.y - v * ab.y, v * ab.x - u * ac.x) / area;
        let (u, v) = ((q.place - p.place) * b.nearness, (r.place - p.place) * c.nearness);
        Self {
            number,
            origin: a.place,
            corner: p.place,
            numerator: Mat2::from_cols(slope(u.x, v.x), slope(u.y, v.y)),
            nearness: a.nearness,
            slope: slope(b.nearness - a.nearness, c.nearness - a.nearness),
            alpha: p.alpha,
            alpha_slope: slope(q.alpha - p.alpha, r.alpha - p.alpha),
        }
    }

    /// Place in the source at a place of the frame, and how it changes with that.
    fn at(&self, centre: Vec2) -> (Vec2, Mat2) {
        let away = centre - self.origin;
        let nearness = (self.nearness + self.slope.dot(away)).max(1e-9);
        let way = Vec2::new(self.numerator.x_axis.dot(away), self.numerator.y_axis.dot(away)) / nearness;
        let (x, y) = ((self.numerator.x_axis - way.x * self.slope) / nearness, (self.numerator.y_axis - way.y * self.slope) / nearness);
        (self.corner + way, Mat2::from_cols(Vec2::new(x.x, y.x), Vec2::new(x.y, y.y)))
    }

    fn alpha_at(&self, centre: Vec2) -> f32 {
        (self.alpha + self.alpha_slope.dot(centre - self.origin)).clamp(0.0, 1.0)
    }
}

impl Sampler {
    fn new() -> Self {
        let single = Footprint::of(&Affine2::IDENTITY);
        Self { single, jacobian: Mat2::IDENTITY, footprint: single }
    }

    fn footprint(&mut self, jacobian: Mat2) -> &Footprint {
        if jacobian.x_axis.length_squared().max(jacobian.y_axis.length_squared()) <= SINGLE * SINGLE {
            return &self.single;
        }
        if jacobian != self.jacobian {
            (self.jacobian, self.footprint) = (jacobian, Footprint::of(&Affine2::from_mat2(jacobian)));
        }
        &self.footprint
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use glam::{Quat, Vec3};

    use super::super::super::layers::{CutOptions, Fill};
    use super::super::super::warp::Warper;
    use super::*;
    use crate::motion::camera::{Camera, Lens};
    use crate::motion::depth::DepthMap;
    use crate::picture::{Mask, Picture};

    const SIZE: (usize, usize) = (160, 120);

    fn in_box(x: usize, y: usize) -> bool {
        (60..100).contains(&x) && (40..80).contains(&y)
    }

    fn wall(x: f32, y: f32) -> [f32; 3] {
        [0.3 + 0.2 * (x * 0.21).sin(), 0.5 + 0.2 * (y * 0.17).cos(), 0.6]
    }

    /// A red box before a wall; inverse depths 0.5 and 0.1.
    fn scene() -> (Picture, DepthMap) {
        let picture = Picture::from_fn(SIZE.0, SIZE.1, |x, y| match in_box(x, y) {
            true => [0.9, 0.1 + 0.1 * ((x / 3 + y / 3) % 2) as f32, 0.1],
            false => wall(x as f32, y as f32),
        });
        (picture, DepthMap { inverse: Mask::from_fn(SIZE.0, SIZE.1, |x, y| if in_box(x, y) { 0.5 } else { 0.1 }) })
    }

    fn options() -> CutOptions {
        CutOptions { plate_margin_px: 16, fill: Fill::PullPush, ..CutOptions::default() }
    }

    fn lens() -> Lens {
        Lens { focal_px: 160.0, principal_px: Vec2::new(80.0, 60.0) }
    }

    fn seen_from(position: Vec3, rotation: Quat) -> View {
        View::new(&lens(), &Camera { position, rotation, lens: lens() })
    }

    fn motion(view: Option<View>, objects: usize) -> FrameMotion {
        FrameMotion { view, ..FrameMotion::flat(LayerMotion::STILL, vec![LayerMotion::STILL; objects]) }
    }

    fn at_rest() -> View {
        View { columns: [Vec3::X, Vec3::Y, Vec3::Z, Vec3::ZERO] }
    }

    #[test]
    fn at_rest_depth_changes_nothing_bit_for_bit() {
        let (picture, depth) = scene();
        let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from(in_box(x, y)));
        let layers = Layers::cut(&picture, &[region], &options());
        let deep = layers.with_depth(&depth);
        for objects in [LayerMotion::STILL, LayerMotion::Affine(Affine2::from_translation(Vec2::new(9.3, -4.0)))] {
            let flat = FrameMotion::flat(LayerMotion::STILL, vec![objects]);
            let truth = layers.guide(&flat, 160, 120);
            for view in [None, Some(at_rest())] {
                assert!(deep.guide(&FrameMotion { view, ..flat.clone() }, 160, 120) == truth);
            }
        }
    }

    #[test]
    fn near_things_shift_more_and_uncover_what_is_behind_without_ghost_or_pinhole() {
        let (picture, depth) = scene();
        let layers = Layers::cut::<Mask>(&picture, &[], &options()).with_depth(&depth);
        // The box goes 16 px to the left, the wall 3.2.
        let frame = layers.guide(&motion(Some(seen_from(Vec3::X * 0.2, Quat::IDENTITY)), 0), 160, 120);
        for y in 0..120 {
            for x in 0..150usize {
                let (shown, covered) = (frame.rgb.at(x, y), frame.coverage.at(x, y));
                let on_box = (46..82).contains(&x) && (42..78).contains(&y);
                let near_box = (42..86).contains(&x) && (38..82).contains(&y);
                if on_box {
                    assert_eq!(covered, 1.0);
                    let truth = picture.at(x + 16, y);
                    assert!((0..3).all(|c| (shown[c] - truth[c]).abs() < 0.01), "{shown:?}, not {truth:?} at {x} {y}");
                } else if !near_box {
                    let truth = wall(x as f32 + 3.2, y as f32);
                    let least = if covered < 1.0 { 0.12 } else { 0.02 };
                    assert!((0..3).all(|c| (shown[c] - truth[c]).abs() < least), "{shown:?}, not {truth:?} at {x} {y}, {covered}");
                }
            }
        }
        let uncovered = (0..160).filter(|&x| frame.coverage.at(x, 60) < 0.5).count();
        assert!((10..22).contains(&uncovered), "{uncovered} px of the wall come to light");
    }

    #[test]
    fn a_turn_is_a_homography_whatever_the_depth() {
        let (picture, depth) = scene();
        let layers = Layers::cut::<Mask>(&picture, &[], &options());
        let view = seen_from(Vec3::ZERO, Quat::from_rotation_y(0.03) * Quat::from_rotation_z(0.05));
        let flat = layers.guide(&motion(Some(view), 0), 160, 120);
        let deep = layers.with_depth(&depth).guide(&motion(Some(view), 0), 160, 120);
        for i in 0..flat.rgb.data.len() {
            let (a, b) = (flat.rgb.data[i], deep.rgb.data[i]);
            // Only along the tear itself back and front are mixed.
            let (x, y) = (i % 160, i / 160);
            let edge = (50..110).contains(&x) && (30..90).contains(&y) && !((70..90).contains(&x) && (50..70).contains(&y));
            assert!(edge || (0..3).all(|c| (a[c] - b[c]).abs() < 0.02), "{a:?} {b:?} at {x} {y}");
        }
    }

    #[test]
    fn an_object_behind_something_near_is_hidden_by_it() {
        let (picture, depth) = scene();
        // A patch of the wall, dragged behind the box.
        let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from((20..40).contains(&x) && (50..70).contains(&y)));
        let layers = Layers::cut(&picture, &[region], &options()).with_depth(&depth);
        let drag = LayerMotion::Affine(Affine2::from_translation(Vec2::new(40.0, 0.0)));
        let motion =
            FrameMotion { view: Some(seen_from(Vec3::X * 1e-4, Quat::IDENTITY)), ..FrameMotion::flat(LayerMotion::STILL, vec![drag]) };
        let frame = layers.guide(&motion, 160, 120);
        assert!(frame.rgb.at(70, 60)[0] > 0.8, "the box lies before the patch");
        assert_eq!(frame.owner[60 * 160 + 70], 0);
    }

    #[test]
    fn objects_that_stand_still_show_the_source() {
        let (picture, depth) = scene();
        let flat = DepthMap { inverse: Mask::filled(SIZE.0, SIZE.1, 0.2) };
        let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from(in_box(x, y)));
        let layers = Layers::cut(&picture, &[region], &options()).with_depth(&flat);
        let frame = layers.guide(&motion(Some(seen_from(Vec3::X * 0.25, Quat::IDENTITY)), 1), 160, 120);
        for y in 4..116 {
            for x in 4..148 {
                let (shown, truth) = (frame.rgb.at(x, y), picture.at(x + 8, y));
                assert!((0..3).all(|c| (shown[c] - truth[c]).abs() < 0.01), "{shown:?}, not {truth:?} at {x} {y}");
                assert_eq!(frame.coverage.at(x, y), 1.0);
            }
        }
        drop(depth);
    }

    #[test]
    fn no_camera_makes_a_nan_or_a_panic_and_a_warper_gives_the_same() {
        let (picture, depth) = scene();
        let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from((90..130).contains(&x) && (20..60).contains(&y)));
        let layers = Arc::new(Layers::cut(&picture, &[region], &options()).with_depth(&depth));
        let mut state = 7u32;
        let mut number = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        for (width, height) in [(160, 120), (64, 48), (201, 77)] {
            let mut warper = Warper::new(layers.clone(), width, height);
            let mut frame = GuideFrame::blank(1, 1);
            for i in 0..24 {
                let far = [0.1, 1.0, 5.0, 1e4][i % 4];
                let position = Vec3::new(number(), number(), number()) * far;
                let rotation = Quat::from_axis_angle(Vec3::new(number(), number(), number() + 1.5).normalize(), number() * 3.0);
                let broken = View { columns: [Vec3::splat(f32::NAN), Vec3::Y, Vec3::Z, Vec3::X] };
                let view = if i == 23 { broken } else { seen_from(position, rotation) };
                let motion = motion(Some(view), 1);
                warper.warp(&motion, &mut frame);
                assert!(
                    frame.rgb.data.iter().flatten().chain(&frame.coverage.data).all(|v| (0.0..=1.0).contains(v)),
                    "{position} {rotation}"
                );
                assert!(frame == layers.guide(&motion, width, height));
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let (picture, depth) = scene();
        let guide = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from(in_box(x, y)));
                let layers = Layers::cut(&picture, &[region], &CutOptions { fill: Fill::Exemplar, ..options() }).with_depth(&depth);
                layers.guide(&motion(Some(seen_from(Vec3::new(0.2, 0.05, 0.4), Quat::from_rotation_y(0.1))), 1), 150, 100)
            })
        };
        assert_eq!(guide(1), guide(3));
    }
}
