//! The picture in layers, over a clean plate that shows what is behind them.
//!
//! `cut` makes them with smoothly filled holes; here the holes get their texture, once, at the source's resolution, so that uncovered places
//! are sharp and do not flicker. The plate goes on beyond the picture for camera moves. Invariant: texture changes nothing of the plate
//! that was seen. Guarded by the tests of `cut`.

use std::sync::Arc;

use glam::Vec2;
use rayon::prelude::*;

use super::exemplar::exemplar_fill;
use super::matte::{foreground_colour, smoothstep};
use super::relief::Relief;
use super::smooth::{smooth_beyond, smooth_fill};
use super::texture::Texture;
use crate::picture::{Grid, Mask, Picture, Sample};

/// How the plate's holes are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Smooth and at once.
    PullPush,
    /// With the texture of the surroundings.
    Exemplar,
}

/// How a picture is cut.
#[derive(Clone, Debug, PartialEq)]
pub struct CutOptions {
    /// How far, in px, a region's border may be from the object's; decides the matte's band and how far the hole is grown.
    pub matte_radius_px: f32,
    /// Whether the matting network corrects the matte.
    pub matting: bool,
    /// How many px the plate goes on beyond the picture, on each side.
    pub plate_margin_px: usize,
    /// How the plate's holes are filled.
    pub fill: Fill,
    /// Seed of the exemplar fill.
    pub seed: u64,
}

impl Default for CutOptions {
    fn default() -> Self {
        Self { matte_radius_px: 4.0, matting: true, plate_margin_px: 64, fill: Fill::Exemplar, seed: 0 }
    }
}

/// A rectangle of source pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Leftmost column.
    pub left: usize,
    /// Topmost row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Bounds {
    /// Of all pixels where `region` is above 0, with `room` px around them; empty if there are none.
    pub(super) fn around(region: &Mask, room: usize) -> Self {
        let rows: Vec<usize> =
            (0..region.height).filter(|&y| region.data[y * region.width..(y + 1) * region.width].iter().any(|&r| r > 0.0)).collect();
        let columns: Vec<usize> = (0..region.width).filter(|&x| rows.iter().any(|&y| region.at(x, y) > 0.0)).collect();
        let span = |used: &[usize], size: usize| match used {
            [first, .., last] => (first.saturating_sub(room), (last + 1 + room).min(size)),
            [only] => (only.saturating_sub(room), (only + 1 + room).min(size)),
            [] => (0, 0),
        };
        let ((left, right), (top, bottom)) = (span(&columns, region.width), span(&rows, region.height));
        Self { left, top, width: right - left, height: bottom - top }
    }

    /// Top-left and bottom-right corner.
    pub(super) fn corners(&self) -> (Vec2, Vec2) {
        let corner = Vec2::new(self.left as f32, self.top as f32);
        (corner, corner + Vec2::new(self.width as f32, self.height as f32))
    }

    pub(super) fn crop<T: Sample>(&self, grid: &Grid<T>) -> Grid<T> {
        Grid::from_fn(self.width, self.height, |x, y| grid.at(x + self.left, y + self.top))
    }

    /// Index in a grid `width` columns wide of the `i`th pixel of a crop.
    pub(super) fn index(&self, i: usize, width: usize) -> usize {
        (i / self.width + self.top) * width + i % self.width + self.left
    }
}

/// One object, cropped to `bounds`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Where the crop lies in the source; empty for an empty region.
    pub bounds: Bounds,
    /// The region as it was drawn.
    pub region: Mask,
    /// How much of each pixel is the object, 0..1; 0 where another object hides it.
    pub matte: Mask,
    /// The object's own colour, freed from what is behind it and continued beyond the matte.
    pub colour: Picture,
    /// 1 where the object is seen in the source, 0 where another hides it; None if none does.
    pub(super) visible: Option<Mask>,
    /// Premultiplied colour and alpha, with a transparent rim.
    pub(super) texture: Option<Texture>,
}

/// A picture cut into a plate and objects.
#[derive(Clone, Debug)]
pub struct Layers {
    /// Columns of the source.
    pub width: usize,
    /// Rows of the source.
    pub height: usize,
    /// How far the plates go on beyond the source on each side, px.
    pub plate_margin_px: usize,
    /// What is behind all objects, filled as the options say; with margin.
    pub plate: Arc<Picture>,
    /// The same, filled smoothly; with margin.
    pub plate_smooth: Arc<Picture>,
    /// 1 where the plate was seen in the source, 0 where it was filled in or lies outside; with margin.
    pub plate_seen: Mask,
    /// The objects, back to front.
    pub objects: Vec<Arc<Layer>>,
    /// Bit k: within reach of object k's hole, where the source shows what plate and object only show together.
    pub(super) reach: Grid<u32>,
    pub(super) source_texture: Arc<Texture>,
    pub(super) plate_texture: Arc<Texture>,
    pub(super) smooth_texture: Arc<Texture>,
    /// The layers in depth; see [`Layers::with_depth`].
    pub(super) relief: Option<Arc<Relief>>,
    /// Seed of the exemplar fill, if the plate is filled that way.
    pub(super) fill_seed: Option<u64>,
}

/// What the holes of a cut are filled with: what [`super::cut::Cutter::cut_after`] goes on from.
#[derive(Clone, Debug)]
pub struct Filled {
    /// How many objects made the holes.
    pub objects: usize,
    /// [`Layers::plate`].
    pub plate: Arc<Picture>,
    /// [`Layers::plate_smooth`].
    pub plate_smooth: Arc<Picture>,
}

pub(super) fn source_texture(source: &Picture) -> Arc<Texture> {
    Arc::new(Texture::new(with_seen(source, |_| 1.0), Vec2::ZERO))
}

/// Colours with whether they were seen.
fn with_seen(picture: &Picture, seen: impl Fn(usize) -> f32 + Sync) -> Grid<[f32; 4]> {
    let texel = |(i, &[r, g, b]): (usize, &[f32; 3])| [r, g, b, seen(i)];
    Grid { width: picture.width, height: picture.height, data: picture.data.par_iter().enumerate().map(texel).collect() }
}

/// A texture of the plate, whose margin lies beyond the source.
pub(super) fn plate_texture(colour: &Picture, margin: usize, seen: impl Fn(usize) -> f32 + Sync) -> Arc<Texture> {
    Arc::new(Texture::new(with_seen(colour, seen), -Vec2::splat(margin as f32)))
}

/// The best smooth guess of what is not `known` in `picture`, and of `margin` px more on each side. Takes several times as long as
/// [`pull_push`].
pub(super) fn smoothest(picture: &Picture, known: &Mask, margin: usize) -> Picture {
    // Four numbers a pixel, since processors add them at once and three one by one.
    let filled = smooth_beyond(&smooth_fill(&with_seen(picture, |_| 0.0), known), margin);
    let colour = |[r, g, b, _]: &[f32; 4]| [r, g, b].map(|v| v.clamp(0.0, 1.0));
    Picture { width: filled.width, height: filled.height, data: filled.data.iter().map(colour).collect() }
}

/// The bit of object `k` in [`Layers::reach`]; from the 32nd on they share one.
pub fn reach_bit(k: usize) -> u32 {
    1 << k.min(31)
}

impl Layers {
    /// The source picture; its fourth number is 1.
    pub fn source(&self) -> &Texture {
        &self.source_texture
    }

    /// Seed of the texture behind the objects, if they have texture.
    pub fn fill_seed(&self) -> Option<u64> {
        self.fill_seed
    }

    /// Per source pixel the objects ([`reach_bit`]) near whose hole it lies: there the source shows what plate and object only show
    /// together, as long as both move alike.
    pub fn reach(&self) -> &Grid<u32> {
        &self.reach
    }

    /// Where the source lies in the plates.
    pub(super) fn frame(&self) -> Bounds {
        Bounds { left: self.plate_margin_px, top: self.plate_margin_px, width: self.width, height: self.height }
    }

    /// What its holes are filled with.
    pub fn filled(&self) -> Filled {
        Filled { objects: self.objects.len(), plate: self.plate.clone(), plate_smooth: self.plate_smooth.clone() }
    }

    /// The same cut with its smoothly filled holes textured, as [`Fill::Exemplar`] does it.
    pub fn textured(&self, seed: u64) -> Self {
        let margin = self.plate_margin_px;
        let (known, behind) = (self.frame().crop(&self.plate_seen), self.frame().crop(&self.plate));
        // There is time now for a better smooth guess as well.
        let plate_smooth = smoothest(&behind, &known, margin);
        let plate = extended(&exemplar_fill(&behind, &known, seed), &plate_smooth, margin);
        let texture = |colour: &Picture| plate_texture(colour, margin, |i| self.plate_seen.data[i]);
        let (plate_texture, smooth_texture) = (texture(&plate), texture(&plate_smooth));
        let (plate, plate_smooth) = (Arc::new(plate), Arc::new(plate_smooth));
        Self { plate_texture, smooth_texture, plate, plate_smooth, fill_seed: Some(seed), ..self.clone() }.with_textured_back(seed)
    }
}

/// `filled` continued by `margin` px on each side: mirrored near the border, fading into the smooth continuation, because a mirror
/// image is right in texture but wrong in things.
fn extended(filled: &Picture, smooth: &Picture, margin: usize) -> Picture {
    if margin == 0 {
        return filled.clone();
    }
    let mirror = |i: usize, size: usize| {
        let period = 2 * size as isize;
        let i = (i as isize - margin as isize).rem_euclid(period);
        (if i < size as isize { i } else { period - 1 - i }) as usize
    };
    let beyond = |i: usize, size: usize| (margin as f32 - i as f32).max(i as f32 + 1.0 - (size + margin) as f32).max(0.0);
    Picture::from_fn(smooth.width, smooth.height, |x, y| {
        let mirrored = filled.at(mirror(x, filled.width), mirror(y, filled.height));
        let far = beyond(x, filled.width).hypot(beyond(y, filled.height));
        let fade = 0.8 * smoothstep(0.25, 1.0, far / margin as f32);
        let soft = smooth.at(x, y);
        std::array::from_fn(|c| mirrored[c] + fade * (soft[c] - mirrored[c]))
    })
}

impl Layer {
    /// Premultiplied colour and alpha with a transparent rim; None for an empty region.
    pub fn texture(&self) -> Option<&Texture> {
        self.texture.as_ref()
    }

    /// From crops of the source, the region, the matte and what hides them.
    pub(super) fn new(source: &Picture, region: Mask, matte: Mask, hidden: &Mask, bounds: Bounds) -> Self {
        let (left, top) = (bounds.left, bounds.top);
        let overlapped = hidden.data.iter().any(|&h| h > 0.0).then_some(hidden);
        let colour = foreground_colour(source, &matte, overlapped);
        let texture = (bounds.width > 0).then(|| {
            const RIM: usize = 2;
            let base = Grid::from_fn(bounds.width + 2 * RIM, bounds.height + 2 * RIM, |x, y| {
                let (u, v) = (x.wrapping_sub(RIM), y.wrapping_sub(RIM));
                if u >= bounds.width || v >= bounds.height {
                    return [0.0; 4];
                }
                let (a, [r, g, b]) = (matte.at(u, v), colour.at(u, v));
                [r * a, g * a, b * a, a]
            });
            Texture::new(base, Vec2::new(left as f32, top as f32) - RIM as f32)
        });
        let visible = overlapped.map(|h| Mask::from_fn(h.width, h.height, |x, y| 1.0 - h.at(x, y)));
        Self { bounds, region, visible, matte, colour, texture }
    }
}
