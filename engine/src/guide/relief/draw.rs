//! A frame of the layers in depth.
//!
//! The corners of all sheets are projected, their triangles drawn with a depth buffer, band by band, into the triangle that each pixel
//! shows; then every pixel asks that triangle for its place in the source and is averaged over its footprint there, as without depth.
//! Rims and objects lie over that, nearer ones over farther ones. Guarded by the tests below.

use glam::{Affine2, Mat2, Vec2};
use rayon::prelude::*;

use super::super::layers::{Layers, reach_bit};
use super::super::texture::Footprint;
use super::super::warp::{GuideFrame, Pixel, mix, share_of_source, stillness_at};
use super::raster::{BACK, BAND, Bins, Eye, Seen, Surface, cover};
use super::{Relief, Sheet, is_clearly_nearer};
use crate::motion::camera::View;
use crate::motion::frame_motion::FrameMotion;
use crate::motion::layer_motion::LayerMotion;

/// Where front and back are as far to this share, the front counts.
const SAME: f32 = 0.999;
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

/// A band of rows.
#[derive(Debug, Default)]
struct Band {
    plate: Surface,
    objects: Vec<Surface>,
    fragments: Vec<Fragment>,
    hits: Vec<Hit>,
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
        let eye = Eye { view, scale, near: relief.near, size: (width, height) };
        let set = |seen: &mut Seen, sheet: &Sheet, motion: &LayerMotion| seen.set(sheet, motion, &eye);
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

impl Band {
    /// Finds what each pixel shows.
    fn rasterize(&mut self, scene: &Scene, band: usize, pixels: usize) {
        let (relief, width) = (scene.relief, scene.width);
        self.plate.clear(pixels);
        self.plate.draw(&relief.back, scene.back, band, width, BACK, 1.0);
        self.plate.draw(&relief.front, scene.front, band, width, 0, SAME);
        self.fragments.clear();
        for &triangle in scene.front.rim.of(band) {
            let corners = scene.front.rim.seen(triangle, &relief.front.rim, &scene.front.corners);
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
                tangent = Tangent::of(number, (&sheet.opaque, &seen.opaque), sheet, seen);
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
                tangent = Tangent::of(fragment.triangle + 1, (&sheet.rim, &scene.front.rim), sheet, scene.front);
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
        let nearer = |w: f32, than: f32| is_clearly_nearer(w, than, relief.unit);
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
                let (place, jacobian) = Tangent::of(surface.triangle[i], (&sheet.opaque, &seen.opaque), sheet, seen).at(centre);
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
                    let triangles = (&relief.front.opaque[..], &scene.front.opaque);
                    tangent = Tangent::of(number, triangles, &relief.front, scene.front);
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
                        stillness = stillness.min(stillness_at(hit.place.distance(place)));
                        together |= bit;
                    }
                    gap *= 1.0 - alpha;
                }
                // The source itself where all that reaches here is here and where the plate is.
                let weight = share_of_source(stillness, gap);
                if let Some((place, jacobian)) = plate.filter(|_| reach != 0 && reach & !together == 0 && weight > 0.0) {
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
    fn of(number: u32, (triangles, bins): (&[[u32; 3]], &Bins), sheet: &Sheet, seen: &Seen) -> Self {
        let i = (number & !BACK) - 1;
        let [a, b, c] = bins.seen(i, triangles, &seen.corners);
        let [p, q, r] = bins.source(i, triangles, sheet);
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
mod tests;
