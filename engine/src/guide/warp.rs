//! The layers drawn at their place in one frame, back to front over the plate.
//!
//! Drawing is backward: each output pixel asks every layer what it shows there, averaged over the pixel's footprint, so layers that
//! part leave the plate between them and nothing is stretched. Where an object and the plate below it move alike, the source itself
//! is shown: there the picture is known, edges included. Invariants: where nothing moved the result is the source bit for bit and
//! covered everywhere; each pixel depends on the motion alone, not on threads. Guarded by the tests below.

use std::ops::Range;
use std::sync::Arc;

use glam::{Affine2, Vec2};
use rayon::prelude::*;

use super::inverse::{Inverse, Piece};
use super::layers::{Bounds, Layer, Layers, reach_bit};
use super::relief::{self, Relief};
use super::texture::Footprint;
use crate::kernels::vector::dispatch;
use crate::motion::frame_motion::FrameMotion;
use crate::motion::layer_motion::LayerMotion;
use crate::picture::{Mask, Picture};

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

impl GuideFrame {
    /// A black frame in which nothing is covered.
    pub fn blank(width: usize, height: usize) -> Self {
        let rgb = Picture::filled(width, height, [0.0; 3]);
        Self { smooth: rgb.clone(), rgb, coverage: Mask::filled(width, height, 0.0), owner: vec![0; width * height] }
    }
}

/// Draws the layers at one size, frame after frame, without allocating; a plate that stands still is drawn once.
#[derive(Debug)]
pub struct Warper {
    layers: Arc<Layers>,
    width: usize,
    height: usize,
    workspace: Workspace,
    /// For frames that a camera sees in depth, and the depth of layers that have none.
    in_depth: relief::Workspace,
    flat: Option<Arc<Relief>>,
    /// The plate alone ...
    backdrop: GuideFrame,
    /// ... where it last stood still, and where it was in the last frame.
    backdrop_at: Option<Affine2>,
    last: Option<Affine2>,
}

impl Warper {
    /// For frames of `width` x `height` px.
    pub fn new(layers: Arc<Layers>, width: usize, height: usize) -> Self {
        let backdrop = GuideFrame::blank(width, height);
        let (workspace, in_depth) = (Workspace::default(), relief::Workspace::default());
        Self { layers, width, height, workspace, in_depth, flat: None, backdrop, backdrop_at: None, last: None }
    }

    /// [`Layers::guide`] into `frame`.
    pub fn warp(&mut self, motion: &FrameMotion, frame: &mut GuideFrame) {
        if (frame.rgb.width, frame.rgb.height) != (self.width, self.height) {
            *frame = GuideFrame::blank(self.width, self.height);
        }
        if let Some(view) = motion.view.as_ref().filter(|view| !view.is_at_rest()) {
            let relief =
                self.layers.relief.as_ref().unwrap_or_else(|| self.flat.get_or_insert_with(|| Arc::new(self.layers.flat_relief())));
            self.in_depth.draw(&self.layers, relief, motion, view, frame);
            return;
        }
        let FrameMotion { plate: plate_motion, objects: object_motions, .. } = motion;
        self.workspace.set(&self.layers, plate_motion, object_motions, self.width, self.height);
        let motion = if let LayerMotion::Affine(affine) = plate_motion { Some(*affine) } else { None };
        if motion.is_some() && motion == self.last && motion != self.backdrop_at {
            self.layers.draw_plate(&self.workspace, &mut self.backdrop);
            self.backdrop_at = motion;
        }
        self.last = motion;
        let backdrop = (motion.is_some() && motion == self.backdrop_at).then_some(&self.backdrop);
        self.layers.draw(&mut self.workspace, backdrop, frame);
    }
}

/// The inverse motions of one frame, and where objects matter in it.
#[derive(Debug, Default)]
struct Workspace {
    plate: Inverse,
    /// What a plate that is folded away shows: what stood there.
    still: Inverse,
    objects: Vec<Inverse>,
    /// Per row the columns at which each object may show, then the columns at which anything but the plate may matter, sorted.
    spans: Vec<Range<usize>>,
}

impl Workspace {
    fn set(&mut self, layers: &Layers, plate_motion: &LayerMotion, object_motions: &[LayerMotion], width: usize, height: usize) {
        let frame = Vec2::new(layers.width as f32, layers.height as f32);
        let reach = 2.0 * (frame.x + frame.y) + layers.plate_margin_px as f32;
        let everywhere = Bounds { left: 0, top: 0, width: layers.width, height: layers.height };
        self.plate.set(plate_motion, frame, width, height, reach, &everywhere);
        self.still.set(&LayerMotion::STILL, frame, width, height, reach, &everywhere);
        self.objects.resize_with(layers.objects.len(), Inverse::default);
        self.objects.par_iter_mut().zip(&layers.objects).enumerate().for_each(|(k, (inverse, layer))| {
            inverse.set(object_motions.get(k).unwrap_or(plate_motion), frame, width, height, reach, &layer.bounds);
        });
        self.spans.resize(3 * layers.objects.len() * height, 0..0);
    }

    /// The plate's piece at an output pixel.
    #[inline(always)]
    fn plate_at(&self, x: usize, y: usize) -> Option<&Piece> {
        self.plate.at(x, y).or_else(|| self.still.at(x, y))
    }
}

/// One row of a frame.
struct Row<'a> {
    y: usize,
    rgb: &'a mut [[f32; 3]],
    smooth: &'a mut [[f32; 3]],
    coverage: &'a mut [f32],
}

#[derive(Clone, Copy)]
pub(super) struct Pixel {
    pub rgb: [f32; 3],
    pub smooth: [f32; 3],
    pub coverage: f32,
    pub owner: u8,
}

impl Layers {
    /// The guide at the frame that `motion` leads to, scaled from the source's size to `width` x `height`.
    pub fn guide(&self, motion: &FrameMotion, width: usize, height: usize) -> GuideFrame {
        let Some(view) = motion.view.as_ref().filter(|view| !view.is_at_rest()) else {
            return self.warp(&motion.plate, &motion.objects, width, height);
        };
        let mut frame = GuideFrame::blank(width, height);
        let flat = self.relief.is_none().then(|| self.flat_relief());
        if let Some(relief) = self.relief.as_deref().or(flat.as_ref()) {
            relief::Workspace::default().draw(self, relief, motion, view, &mut frame);
        }
        frame
    }

    /// The guide at the frame that `plate_motion` and `object_motions` lead to (source px to frame px; objects without a motion stay
    /// with the plate), scaled from the source's size to `width` x `height`. [`Warper`] does the same for many frames.
    pub fn warp(&self, plate_motion: &LayerMotion, object_motions: &[LayerMotion], width: usize, height: usize) -> GuideFrame {
        let (mut workspace, mut frame) = (Workspace::default(), GuideFrame::blank(width, height));
        workspace.set(self, plate_motion, object_motions, width, height);
        self.draw(&mut workspace, None, &mut frame);
        frame
    }

    /// Draws the plate alone; leaves the owners as they are.
    fn draw_plate(&self, workspace: &Workspace, frame: &mut GuideFrame) {
        rows(frame).for_each(|(mut row, _)| self.plate_row(workspace, &mut row));
    }

    /// Draws the plate, unless `backdrop` shows it already, and the objects.
    fn draw(&self, workspace: &mut Workspace, backdrop: Option<&GuideFrame>, frame: &mut GuideFrame) {
        let (width, objects) = (frame.rgb.width, self.objects.len());
        let mut spans = std::mem::take(&mut workspace.spans);
        let workspace_of_rows = &*workspace;
        let draw = |row: &mut Row, owner: &mut [u8], spans: &mut [Range<usize>]| {
            match backdrop {
                Some(backdrop) => {
                    let range = row.y * width..(row.y + 1) * width;
                    row.rgb.copy_from_slice(&backdrop.rgb.data[range.clone()]);
                    row.smooth.copy_from_slice(&backdrop.smooth.data[range.clone()]);
                    row.coverage.copy_from_slice(&backdrop.coverage.data[range]);
                }
                None => self.plate_row(workspace_of_rows, row),
            }
            owner.fill(0);
            if objects > 0 {
                self.object_row(workspace_of_rows, row, owner, spans);
            }
        };
        match objects {
            0 => rows(frame).for_each(|(mut row, owner)| draw(&mut row, owner, &mut [])),
            _ => rows(frame).zip(spans.par_chunks_mut(3 * objects)).for_each(|((mut row, owner), spans)| draw(&mut row, owner, spans)),
        }
        workspace.spans = spans;
    }

    fn plate_row(&self, workspace: &Workspace, row: &mut Row) {
        let y = row.y;
        dispatch(
            #[inline(always)]
            || match workspace.plate.whole() {
                Some(piece) => self.plate_pixels(
                    row,
                    #[inline(always)]
                    |_| Some(piece),
                ),
                None => self.plate_pixels(
                    row,
                    #[inline(always)]
                    |x| workspace.plate_at(x, y),
                ),
            },
        );
    }

    #[inline(always)]
    fn plate_pixels<'a>(&self, row: &mut Row, piece: impl Fn(usize) -> Option<&'a Piece>) {
        let pixels = row.rgb.iter_mut().zip(row.smooth.iter_mut()).zip(row.coverage.iter_mut());
        for (x, ((rgb, smooth), coverage)) in pixels.enumerate() {
            let Some(piece) = piece(x) else {
                (*rgb, *smooth, *coverage) = ([0.0; 3], [0.0; 3], 0.0);
                continue;
            };
            let place = piece.map.transform_point2(Vec2::new(x as f32 + 0.5, row.y as f32 + 0.5));
            let [r, g, b, seen] = self.plate_texture.sample(place, &piece.footprint);
            (*rgb, *smooth, *coverage) = ([r, g, b], [r, g, b], seen);
            if seen < 1.0 {
                let [r, g, b, _] = self.smooth_texture.sample(place, &piece.footprint);
                *smooth = [r, g, b];
            }
        }
    }

    /// Draws the objects over a row of the plate, where they or their holes may be.
    fn object_row(&self, workspace: &Workspace, row: &mut Row, owner: &mut [u8], spans: &mut [Range<usize>]) {
        let (own, merged) = spans.split_at_mut(self.objects.len());
        let both = merged.chunks_exact_mut(2).zip(own.iter_mut()).zip(self.objects.iter().zip(&workspace.objects));
        for ((merged, own), (layer, inverse)) in both {
            *own = inverse.columns(row.y, &layer.bounds);
            // Holes go with the plate.
            let hole = workspace.plate.whole().map_or(0..row.rgb.len(), |piece| piece.columns(row.y, row.rgb.len(), &layer.bounds));
            merged.clone_from_slice(&[own.clone(), hole]);
        }
        merged.sort_unstable_by_key(|span| span.start);
        dispatch(
            #[inline(always)]
            || {
                let mut done = 0;
                for span in merged.iter() {
                    for x in span.start.max(done)..span.end {
                        let Some(piece) = workspace.plate_at(x, row.y) else { continue };
                        let mut pixel = Pixel { rgb: row.rgb[x], smooth: row.smooth[x], coverage: row.coverage[x], owner: 0 };
                        self.draw_objects((x, row.y), piece, workspace, own, &mut pixel);
                        (row.rgb[x], row.smooth[x], row.coverage[x], owner[x]) = (pixel.rgb, pixel.smooth, pixel.coverage, pixel.owner);
                    }
                    done = done.max(span.end);
                }
            },
        );
    }

    /// Draws the objects over a pixel of the plate; `columns` are where each may show in this row.
    #[inline(always)]
    fn draw_objects(&self, (x, y): (usize, usize), plate: &Piece, workspace: &Workspace, columns: &[Range<usize>], pixel: &mut Pixel) {
        let centre = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
        let place = plate.map.transform_point2(centre);
        let reach = self.reach_at(place);
        // How still the objects that matter here are against the plate, and how much of the plate they leave to be seen.
        let (mut stillness, mut gap) = (1.0f32, 1.0f32);
        for (k, (layer, inverse)) in self.objects.iter().zip(&workspace.objects).enumerate() {
            let bit = reach_bit(k);
            if reach & bit == 0 && !columns[k].contains(&x) {
                continue;
            }
            let Some(piece) = inverse.at(x, y) else {
                stillness = if reach & bit != 0 { 0.0 } else { stillness };
                continue;
            };
            let own = piece.map.transform_point2(centre);
            if (reach | self.reach_at(own)) & bit == 0 {
                continue;
            }
            stillness = stillness.min(stillness_at((own - place).length()));
            gap *= 1.0 - layer.over(own, &piece.footprint, pixel, k);
        }
        let weight = share_of_source(stillness, gap);
        if weight > 0.0 && reach != 0 {
            let [r, g, b, _] = self.source_texture.sample(place, &plate.footprint);
            pixel.rgb = mix(pixel.rgb, [r, g, b], weight);
            pixel.smooth = mix(pixel.smooth, [r, g, b], weight);
            [pixel.coverage] = mix([pixel.coverage], [1.0], weight);
        }
    }

    /// Which objects' holes are near source position `place`.
    #[inline(always)]
    pub(super) fn reach_at(&self, place: Vec2) -> u32 {
        let inside = place.x >= 0.0 && place.y >= 0.0 && place.x < self.width as f32 && place.y < self.height as f32;
        if inside { self.reach.data[place.y as usize * self.width + place.x as usize] } else { 0 }
    }
}

/// How still an object is whose point is so many px away from the plate's: 1 at rest, 0 or less from one px on.
#[inline(always)]
pub(super) fn stillness_at(away_px: f32) -> f32 {
    1.02 * (1.0 - away_px)
}

/// How much of a pixel the source itself shows: all of it at rest, less and less where objects move on and where they leave no gap.
#[inline(always)]
pub(super) fn share_of_source(stillness: f32, gap: f32) -> f32 {
    if stillness >= 1.0 { 1.0 } else { stillness * (4.0 * gap).min(1.0) }
}

impl Layer {
    /// Draws the layer's point `own` over `pixel`; returns its alpha.
    #[inline(always)]
    pub(super) fn over(&self, own: Vec2, footprint: &Footprint, pixel: &mut Pixel, k: usize) -> f32 {
        let Some(texture) = &self.texture else { return 0.0 };
        let (corner, end) = self.bounds.corners();
        if own.cmplt(corner - 1.5).any() || own.cmpgt(end + 1.5).any() {
            return 0.0;
        }
        let [r, g, b, a] = texture.sample(own, footprint);
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

/// The rows of a frame with their owners.
fn rows(frame: &mut GuideFrame) -> impl IndexedParallelIterator<Item = (Row<'_>, &mut [u8])> {
    let width = frame.rgb.width.max(1);
    let colours = frame.rgb.data.par_chunks_mut(width).zip(frame.smooth.data.par_chunks_mut(width));
    let rows = colours.zip(frame.coverage.data.par_chunks_mut(width)).zip(frame.owner.par_chunks_mut(width));
    rows.enumerate().map(|(y, (((rgb, smooth), coverage), owner))| (Row { y, rgb, smooth, coverage }, owner))
}

/// `a` towards `b`; exactly `b` at 1.
#[inline(always)]
pub(super) fn mix<const N: usize>(mut a: [f32; N], b: [f32; N], weight: f32) -> [f32; N] {
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

    /// Every layer at every pixel, without any shortcut.
    fn reference(layers: &Layers, plate_motion: &LayerMotion, object_motions: &[LayerMotion], width: usize, height: usize) -> GuideFrame {
        let frame = Vec2::new(layers.width as f32, layers.height as f32);
        let reach = 2.0 * (frame.x + frame.y) + layers.plate_margin_px as f32;
        let invert = |motion: &LayerMotion| Inverse::of(motion, frame, width, height, reach);
        let (plate, still) = (invert(plate_motion), invert(&LayerMotion::STILL));
        let objects: Vec<Inverse> = (0..layers.objects.len()).map(|k| invert(object_motions.get(k).unwrap_or(plate_motion))).collect();
        let mut guide = GuideFrame::blank(width, height);
        for i in 0..width * height {
            let (x, y) = (i % width, i / width);
            let pixel = reference_pixel(layers, x, y, plate.at(x, y).or(still.at(x, y)).unwrap(), &objects);
            (guide.rgb.data[i], guide.smooth.data[i], guide.coverage.data[i], guide.owner[i]) =
                (pixel.rgb, pixel.smooth, pixel.coverage, pixel.owner);
        }
        guide
    }

    fn reference_pixel(layers: &Layers, x: usize, y: usize, plate: &Piece, objects: &[Inverse]) -> Pixel {
        let centre = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
        let place = plate.map.transform_point2(centre);
        let [r, g, b, seen] = layers.plate_texture.sample(place, &plate.footprint);
        let mut pixel = Pixel { rgb: [r, g, b], smooth: [r, g, b], coverage: seen, owner: 0 };
        if seen < 1.0 {
            let [r, g, b, _] = layers.smooth_texture.sample(place, &plate.footprint);
            pixel.smooth = [r, g, b];
        }
        let reach = layers.reach_at(place);
        // How still the objects that matter here are against the plate, and how much of the plate they leave to be seen.
        let (mut stillness, mut gap) = (1.0f32, 1.0f32);
        for (k, (layer, inverse)) in layers.objects.iter().zip(objects).enumerate() {
            let bit = reach_bit(k);
            let Some(piece) = inverse.at(x, y) else {
                stillness = if reach & bit != 0 { 0.0 } else { stillness };
                continue;
            };
            let own = piece.map.transform_point2(centre);
            if (reach | layers.reach_at(own)) & bit == 0 {
                continue;
            }
            stillness = stillness.min(1.02 * (1.0 - (own - place).length()));
            gap *= 1.0 - layer.over(own, &piece.footprint, &mut pixel, k);
        }
        let weight = if stillness >= 1.0 { 1.0 } else { stillness * (4.0 * gap).min(1.0) };
        if weight > 0.0 && reach != 0 {
            let [r, g, b, _] = layers.source_texture.sample(place, &plate.footprint);
            pixel.rgb = mix(pixel.rgb, [r, g, b], weight);
            pixel.smooth = mix(pixel.smooth, [r, g, b], weight);
            [pixel.coverage] = mix([pixel.coverage], [1.0], weight);
        }
        pixel
    }

    fn bent(by: f32, zoom: f32) -> LayerMotion {
        let (columns, rows, spacing_px, origin) = (12, 9, 8.0, Vec2::new(14.0, 18.0));
        let positions = (0..columns * rows)
            .map(|i| {
                let p = origin + Vec2::new((i % columns) as f32, (i / columns) as f32) * spacing_px;
                p * zoom + by * Vec2::new((p.y * 0.1).sin(), (p.x * 0.15).cos())
            })
            .collect();
        LayerMotion::Mesh(Mesh { origin, spacing_px, columns, rows, positions })
    }

    #[test]
    fn one_warper_over_many_frames_gives_what_every_layer_at_every_pixel_gives() {
        let (source, region) = disc(1.5);
        let upper = Mask::from_fn(128, 96, |x, y| f32::from((50..90).contains(&x) && (30..50).contains(&y)));
        let layers = Arc::new(Layers::cut(&source, &[region, upper, Mask::filled(128, 96, 0.0)], &options(Fill::Exemplar)));
        let turn = |scale: f32, angle: f32| {
            LayerMotion::Affine(Affine2::from_scale_angle_translation(Vec2::splat(scale), angle, Vec2::new(9.0, -4.0)))
        };
        let (still, flat) = (LayerMotion::STILL, LayerMotion::Affine(Affine2::from_scale(Vec2::new(1.0, 0.0))));
        let folded = bent(60.0, 1.0);
        let frames = [
            (still.clone(), vec![shift(3.0, 2.0), shift(-8.5, 4.25), still.clone()]),
            (still.clone(), vec![turn(1.2, 0.3), shift(0.4, 0.2), still.clone()]),
            (still.clone(), vec![shift(60.0, 10.0), shift(-70.0, 0.0)]),
            (still.clone(), vec![flat.clone(), bent(3.0, 1.1), still.clone()]),
            (turn(0.9, -0.1), vec![turn(0.9, -0.1), bent(0.5, 1.0), still.clone()]),
            (turn(0.9, -0.1), vec![shift(9.0, -4.0), turn(0.9, -0.1)]),
            (turn(0.9, -0.1), vec![still.clone(), folded.clone()]),
            (still.clone(), vec![]),
            (bent(1.0, 1.0), vec![bent(1.0, 1.0), shift(1.0, 1.0)]),
            (folded, vec![still.clone(), bent(1.0, 1.0)]),
            (flat, vec![turn(3.0, 1.0), still.clone()]),
            (turn(1.0, 1.57), vec![turn(1.0, 1.57), turn(1.0, 1.6)]),
        ];
        for (width, height) in [(128, 96), (50, 37), (150, 120)] {
            let mut warper = Warper::new(layers.clone(), width, height);
            let mut guide = GuideFrame::blank(1, 1);
            for (i, (plate, objects)) in frames.iter().enumerate() {
                warper.warp(&FrameMotion::flat(plate.clone(), objects.to_vec()), &mut guide);
                let truth = reference(&layers, plate, objects, width, height);
                assert!(guide == truth, "frame {i} of {width}x{height}");
                assert!(layers.warp(plate, objects, width, height) == truth, "frame {i} of {width}x{height} alone");
            }
        }
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
