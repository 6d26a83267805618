//! The layers drawn at their place in one frame, back to front over the plate.
//!
//! Drawing is backward: each output pixel asks every layer what it shows there, averaged over the pixel's footprint, so layers that
//! part leave the plate between them and nothing is stretched. Where an object and the plate below it move alike, the source itself
//! is shown: there the picture is known, edges included. Invariants: where nothing moved the result is the source bit for bit and
//! covered everywhere; each pixel depends on the motion alone, not on threads. Guarded by the tests below.

use glam::Vec2;
use rayon::prelude::*;

use super::inverse::{Inverse, Piece};
use super::layers::{Layer, Layers, reach_bit};
use crate::motion::layer_motion::LayerMotion;
use crate::picture::{Grid, Mask, Picture};

/// The guide of one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct GuideFrame {
    /// The layers over the plate.
    pub rgb: Picture,
    /// The layers over the smoothly filled plate.
    pub smooth: Picture,
    /// 1 where the pixel was seen in the source, 0 where it is invented; soft at edges.
    pub coverage: Mask,
    /// The topmost layer with alpha above 0.5: object index + 1, or 0 for the plate. Row-major, as `rgb`; objects beyond the 255th
    /// count as the 255th.
    pub owner: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct Pixel {
    rgb: [f32; 3],
    smooth: [f32; 3],
    coverage: f32,
    owner: u8,
}

impl Layers {
    /// The guide at the frame that `plate_motion` and `object_motions` lead to (source px to frame px; objects without a motion stay
    /// with the plate), scaled from the source's size to `width` x `height`.
    pub fn warp(&self, plate_motion: &LayerMotion, object_motions: &[LayerMotion], width: usize, height: usize) -> GuideFrame {
        let frame = Vec2::new(self.width as f32, self.height as f32);
        let reach = 2.0 * (frame.x + frame.y) + self.plate_margin_px as f32;
        let invert = |motion: &LayerMotion| Inverse::of(motion, frame, width, height, reach);
        let plate = invert(plate_motion);
        let objects: Vec<Inverse> =
            (0..self.objects.len()).into_par_iter().map(|k| invert(object_motions.get(k).unwrap_or(plate_motion))).collect();
        let still = invert(&LayerMotion::STILL);
        let mut pixels = vec![Pixel::default(); width * height];
        pixels.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| {
            for (x, pixel) in row.iter_mut().enumerate() {
                // A plate that is folded away shows what stood here.
                if let Some(piece) = plate.at(x, y).or_else(|| still.at(x, y)) {
                    *pixel = self.pixel(x, y, piece, &objects);
                }
            }
        });
        let grid = |f: fn(&Pixel) -> [f32; 3]| Grid { width, height, data: pixels.iter().map(f).collect() };
        GuideFrame {
            rgb: grid(|p| p.rgb),
            smooth: grid(|p| p.smooth),
            coverage: Grid { width, height, data: pixels.iter().map(|p| p.coverage).collect() },
            owner: pixels.iter().map(|p| p.owner).collect(),
        }
    }

    #[inline(always)]
    fn pixel(&self, x: usize, y: usize, plate: &Piece, objects: &[Inverse]) -> Pixel {
        let centre = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
        let place = plate.map.transform_point2(centre);
        let [r, g, b, seen] = self.plate_texture.sample(place, &plate.footprint);
        let mut pixel = Pixel { rgb: [r, g, b], smooth: [r, g, b], coverage: seen, owner: 0 };
        if seen < 1.0 {
            let [r, g, b, _] = self.smooth_texture.sample(place, &plate.footprint);
            pixel.smooth = [r, g, b];
        }
        let reach = self.reach_at(place);
        // How still the objects that matter here are against the plate, and how much of the plate they leave to be seen.
        let (mut stillness, mut gap) = (1.0f32, 1.0f32);
        for (k, (layer, inverse)) in self.objects.iter().zip(objects).enumerate() {
            let bit = reach_bit(k);
            let Some(piece) = inverse.at(x, y) else {
                stillness = if reach & bit != 0 { 0.0 } else { stillness };
                continue;
            };
            let own = piece.map.transform_point2(centre);
            if (reach | self.reach_at(own)) & bit == 0 {
                continue;
            }
            stillness = stillness.min(1.02 * (1.0 - (own - place).length()));
            gap *= 1.0 - layer.over(own, piece, &mut pixel, k);
        }
        if stillness > 0.0 && reach != 0 && gap > 0.0 {
            let weight = if stillness >= 1.0 { 1.0 } else { stillness * (4.0 * gap).min(1.0) };
            let [r, g, b, _] = self.source_texture.sample(place, &plate.footprint);
            pixel.rgb = mix(pixel.rgb, [r, g, b], weight);
            pixel.smooth = mix(pixel.smooth, [r, g, b], weight);
            [pixel.coverage] = mix([pixel.coverage], [1.0], weight);
        }
        pixel
    }

    /// Which objects' holes are near source position `place`.
    #[inline(always)]
    fn reach_at(&self, place: Vec2) -> u32 {
        let inside = place.x >= 0.0 && place.y >= 0.0 && place.x < self.width as f32 && place.y < self.height as f32;
        if inside { self.reach.data[place.y as usize * self.width + place.x as usize] } else { 0 }
    }
}

impl Layer {
    /// Draws the layer's point `own` over `pixel`; returns its alpha.
    #[inline(always)]
    fn over(&self, own: Vec2, piece: &Piece, pixel: &mut Pixel, k: usize) -> f32 {
        let Some(texture) = &self.texture else { return 0.0 };
        let corner = Vec2::new(self.bounds.left as f32, self.bounds.top as f32);
        let (low, high) = (corner - 1.5, corner + Vec2::new(self.bounds.width as f32, self.bounds.height as f32) + 1.5);
        if own.cmplt(low).any() || own.cmpgt(high).any() {
            return 0.0;
        }
        let [r, g, b, a] = texture.sample(own, &piece.footprint);
        if a <= 0.0 {
            return 0.0;
        }
        let behind = 1.0 - a;
        let own_colour = [r.min(a), g.min(a), b.min(a)];
        for c in 0..3 {
            pixel.rgb[c] = own_colour[c] + behind * pixel.rgb[c];
            pixel.smooth[c] = own_colour[c] + behind * pixel.smooth[c];
        }
        let visible = self.visible.as_ref().map_or(1.0, |v| v.bilinear(own.x - corner.x, own.y - corner.y));
        pixel.coverage = a * visible + behind * pixel.coverage;
        if a > 0.5 {
            pixel.owner = (k + 1).min(255) as u8;
        }
        a
    }
}

/// `a` towards `b`; exactly `b` at 1.
#[inline(always)]
fn mix<const N: usize>(mut a: [f32; N], b: [f32; N], weight: f32) -> [f32; N] {
    if weight >= 1.0 {
        return b;
    }
    for c in 0..N {
        a[c] += weight * (b[c] - a[c]);
    }
    a
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use glam::Affine2;

    use super::*;
    use crate::guide::layers::{CutOptions, Fill};
    use crate::motion::layer_motion::Mesh;

    fn depth(x: usize, y: usize) -> f32 {
        18.0 - (x as f32 + 0.5 - 40.0).hypot(y as f32 + 0.5 - 44.0)
    }

    fn background(x: usize, y: usize) -> [f32; 3] {
        [0.15 + x as f32 * 0.003, 0.55 - y as f32 * 0.002, 0.35 + (x + y) as f32 * 0.001]
    }

    /// A textured red disc with a soft edge on a gradient, and the disc as drawn 2 px off.
    fn disc(off: f32) -> (Picture, Mask) {
        let picture = Picture::from_fn(128, 96, |x, y| {
            let a = (depth(x, y) / 1.5 + 0.5).clamp(0.0, 1.0);
            let f = [0.9 - 0.1 * ((x / 2 + y / 3) % 2) as f32, 0.1, 0.05 * ((x * y) % 3) as f32];
            let b = background(x, y);
            std::array::from_fn(|c| a * f[c] + (1.0 - a) * b[c])
        });
        (picture, Mask::from_fn(128, 96, |x, y| f32::from(depth(x, y) > off)))
    }

    fn options(fill: Fill) -> CutOptions {
        CutOptions { plate_margin_px: 12, fill, ..CutOptions::default() }
    }

    fn shift(x: f32, y: f32) -> LayerMotion {
        LayerMotion::Affine(Affine2::from_translation(Vec2::new(x, y)))
    }

    fn mesh_of(affine: Affine2) -> LayerMotion {
        let (columns, rows, spacing_px, origin) = (5, 4, 16.0, Vec2::new(16.0, 20.0));
        let positions = (0..columns * rows)
            .map(|i| affine.transform_point2(origin + Vec2::new((i % columns) as f32, (i / columns) as f32) * spacing_px))
            .collect();
        LayerMotion::Mesh(Mesh { origin, spacing_px, columns, rows, positions })
    }

    #[test]
    fn an_unmoved_picture_is_the_source_bit_for_bit() {
        let (source, region) = disc(1.5);
        let upper = Mask::from_fn(128, 96, |x, y| f32::from((50..90).contains(&x) && (30..50).contains(&y)));
        let layers = Layers::cut(&source, &[region, upper], &options(Fill::Exemplar));
        let frame = layers.warp(&LayerMotion::STILL, &[LayerMotion::STILL, LayerMotion::STILL], 128, 96);
        assert_eq!(frame.rgb, source);
        assert_eq!(frame.smooth, source);
        assert!(frame.coverage.data.iter().all(|&c| c == 1.0));
        let owner = |x: usize, y: usize| frame.owner[y * 128 + x];
        assert_eq!([owner(5, 5), owner(30, 44), owner(70, 40)], [0, 1, 2]);
    }

    #[test]
    fn a_picture_that_moves_as_one_shows_no_seam() {
        let (source, region) = disc(-2.0);
        let layers = Layers::cut(&source, &[region], &options(Fill::PullPush));
        let frame = layers.warp(&shift(7.0, -3.0), &[shift(7.0, -3.0)], 128, 96);
        for y in 0..90 {
            for x in 10..128 {
                assert_eq!(frame.rgb.at(x, y), source.at(x - 7, y + 3));
                assert_eq!(frame.coverage.at(x, y), 1.0);
            }
        }
        assert!((0..96).all(|y| frame.coverage.at(2, y) == 0.0), "outside the picture nothing was seen");
    }

    #[test]
    fn a_dragged_object_leaves_no_ghost() {
        for (off, fill) in [(-2.0, Fill::PullPush), (2.0, Fill::PullPush), (-2.0, Fill::Exemplar), (2.0, Fill::Exemplar)] {
            let (source, region) = disc(off);
            let layers = Layers::cut(&source, &[region], &options(fill));
            let frame = layers.warp(&LayerMotion::STILL, &[shift(60.0, 10.0)], 128, 96);
            let (mut error, mut count) = (0.0, 0.0);
            for y in 0..96 {
                for x in 0..72 {
                    let (shown, truth) = (frame.rgb.at(x, y), background(x, y));
                    let worst = (0..3).map(|c| (shown[c] - truth[c]).abs()).fold(0.0, f32::max);
                    assert!(worst < 0.06, "{fill:?} off {off}: {shown:?} instead of {truth:?} at {x} {y}");
                    if depth(x, y) > -6.0 {
                        error += (0..3).map(|c| (shown[c] - truth[c]).abs()).sum::<f32>() / 3.0;
                        count += 1.0;
                    }
                    if depth(x, y) > 0.0 {
                        assert_eq!(frame.coverage.at(x, y), 0.0);
                    }
                    if depth(x, y) < -12.0 {
                        assert_eq!(frame.coverage.at(x, y), 1.0);
                    }
                }
            }
            assert!(error / count < 2.0 / 255.0, "{fill:?} off {off}: {}", error / count);
            assert_eq!(frame.rgb.at(100, 54), source.at(40, 44));
            assert_eq!(frame.owner[54 * 128 + 100], 1);
        }
    }

    #[test]
    fn layers_that_part_leave_the_plate_between_them() {
        let source = Picture::from_fn(96, 64, |x, y| match (x, y) {
            (24..48, 16..48) => [0.9, 0.1, 0.1],
            (48..72, 16..48) => [0.1, 0.1, 0.9],
            _ => [0.4, 0.6, 0.4],
        });
        let half = |from: usize| Mask::from_fn(96, 64, |x, y| f32::from((from..from + 24).contains(&x) && (16..48).contains(&y)));
        let layers = Layers::cut(&source, &[half(24), half(48)], &options(Fill::PullPush));
        let frame = layers.warp(&LayerMotion::STILL, &[shift(-16.0, 0.0), shift(16.0, 0.0)], 96, 64);
        for x in 40..56 {
            let [r, g, b] = frame.rgb.at(x, 32);
            assert!((r - 0.4).abs() < 0.05 && (g - 0.6).abs() < 0.05 && (b - 0.4).abs() < 0.05, "{r} {g} {b} at {x}");
            assert_eq!(frame.owner[32 * 96 + x], 0);
        }
        assert_eq!([frame.rgb.at(20, 32), frame.rgb.at(76, 32)], [[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]]);
    }

    #[test]
    fn an_affine_mesh_warps_as_the_affine_map() {
        let (source, region) = disc(0.0);
        let layers = Layers::cut(&source, &[region], &options(Fill::PullPush));
        let object = Affine2::from_scale_angle_translation(Vec2::splat(1.1), 0.4, Vec2::new(22.0, -18.0));
        let plate = Affine2::from_scale_angle_translation(Vec2::splat(0.95), -0.05, Vec2::new(4.0, 3.0));
        let affine = layers.warp(&LayerMotion::Affine(plate), &[LayerMotion::Affine(object)], 128, 96);
        let mesh = layers.warp(&mesh_of(plate), &[mesh_of(object)], 128, 96);
        for (a, b) in affine.rgb.data.iter().zip(&mesh.rgb.data) {
            assert!((0..3).all(|c| (a[c] - b[c]).abs() < 5e-3), "{a:?} {b:?}");
        }
        let worst = affine.coverage.data.iter().zip(&mesh.coverage.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.05, "{worst}");
    }

    #[test]
    fn a_smaller_frame_is_the_scaled_source() {
        let (source, region) = disc(0.0);
        let layers = Layers::cut(&source, &[region], &options(Fill::PullPush));
        let frame = layers.warp(&LayerMotion::STILL, &[LayerMotion::STILL], 64, 48);
        let truth = source.resized(64, 48);
        for (a, b) in frame.rgb.data.iter().zip(&truth.data) {
            assert!((0..3).all(|c| (a[c] - b[c]).abs() < 1e-5));
        }
    }

    #[test]
    fn a_soft_brush_bends_without_uncovering_anything() {
        let (source, _) = disc(0.0);
        let region = Mask::from_fn(128, 96, |x, y| ((depth(x, y) + 20.0) / 30.0).clamp(0.0, 1.0));
        let layers = Layers::cut(&source, std::slice::from_ref(&region), &options(Fill::PullPush));
        let (columns, rows, spacing_px) = (65, 49, 2.0);
        let positions = (0..columns * rows)
            .map(|i| {
                let p = Vec2::new((i % columns) as f32, (i / columns) as f32) * spacing_px;
                p + Vec2::new(6.0, 0.0) * region.bilinear(p.x, p.y)
            })
            .collect();
        let mesh = LayerMotion::Mesh(Mesh { origin: Vec2::ZERO, spacing_px, columns, rows, positions });
        let frame = layers.warp(&LayerMotion::STILL, &[mesh], 128, 96);
        let least = frame.coverage.data.iter().copied().fold(1.0, f32::min);
        assert!(least > 0.6, "{least}");
        assert_eq!(frame.rgb.at(3, 3), source.at(3, 3));
        let moved = frame.rgb.at(46, 44)[0];
        assert!((moved - source.at(40, 44)[0]).abs() < 0.1, "{moved}");
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let (source, region) = disc(1.0);
        let guide = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let layers = Layers::cut(&source, std::slice::from_ref(&region), &options(Fill::Exemplar));
                layers.warp(&shift(1.5, 0.5), &[shift(30.3, 5.7)], 100, 80)
            })
        };
        assert_eq!(guide(1), guide(2));
    }
}
