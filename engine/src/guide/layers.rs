//! The picture cut into layers along the regions, over a clean plate that shows what is behind them.
//!
//! Behind each layer the hole is grown beyond the matte *before* it is filled, so that no rim of the object stays in the plate, and
//! filled once, at the source's resolution, so that uncovered places are sharp and do not flicker. Where the matte is faint the object's
//! colour is taken out instead. The plate goes on beyond the picture for camera moves. Invariant: outside the grown holes and without
//! any alpha the plate is the source, bit for bit. Guarded by the tests below.

use std::borrow::{Borrow, Cow};
use std::sync::Arc;

use glam::Vec2;
use rayon::prelude::*;

use super::distance::distance_px;
use super::exemplar::exemplar_fill;
use super::matte::{foreground_colour, is_soft, signed_depth, smoothstep, soft_matte};
use super::pull_push::pull_push;
use super::relief::Relief;
use super::smooth::{smooth_beyond, smooth_fill};
use super::texture::Texture;
use crate::picture::{Grid, Mask, Picture, Sample};

/// How far behind a matte the hole is grown, in radii of the matte: one pixel at the usual radius. What is grown is lost: at a whole
/// radius, guesses stood where the source shows the truth, and every fill had to bridge them (0.4 dB of what is uncovered, 1.5 dB of all
/// else). With nothing grown a thin rim stays, of shadows and of edges that the lens or a JPEG made soft.
const GROWTH: f32 = 0.25;
/// Alpha from which on a pixel is the object's: what is behind it is lost. Below, the object's share is taken out of the pixel's colour.
/// A matte has faint alpha in the background, too; with all of that lost, the guide is 0.9 dB worse on what a plain warp shows and 0.4 dB
/// on what it does not (63 evaluation clips).
const LOST: f32 = 0.3;
/// Alpha up to which a pixel shows nothing of the object.
const TRACE: f32 = 0.02;

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
    /// How many px the plate goes on beyond the picture, on each side.
    pub plate_margin_px: usize,
    /// How the plate's holes are filled.
    pub fill: Fill,
    /// Seed of the exemplar fill.
    pub seed: u64,
}

impl Default for CutOptions {
    fn default() -> Self {
        Self { matte_radius_px: 4.0, plate_margin_px: 64, fill: Fill::Exemplar, seed: 0 }
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
    fn around(region: &Mask, room: usize) -> Self {
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

    fn crop<T: Sample>(&self, grid: &Grid<T>) -> Grid<T> {
        Grid::from_fn(self.width, self.height, |x, y| grid.at(x + self.left, y + self.top))
    }

    /// Index in a grid `width` columns wide of the `i`th pixel of a crop.
    fn index(&self, i: usize, width: usize) -> usize {
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
    pub plate: Picture,
    /// The same, filled smoothly; with margin.
    pub plate_smooth: Picture,
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

/// Cuts one picture again and again, smoothly filled: objects that are the same as in the last cut are not cut anew. What comes out is
/// what [`Layers::cut`] gives.
#[derive(Debug)]
pub struct Cutter {
    source: Arc<Picture>,
    source_texture: Arc<Texture>,
    options: CutOptions,
    /// The objects of the last cut.
    parts: Vec<Part>,
}

/// An object as it was cut, and what it was cut from.
#[derive(Clone, Debug)]
struct Part {
    /// What hides it, cropped to its bounds.
    above: Mask,
    /// Its matte as if nothing hid it.
    own: Mask,
    /// Distance to what it hides wholly and to all of it, px.
    away: Mask,
    away_from_all: Mask,
    layer: Arc<Layer>,
}

impl Cutter {
    /// For `source`; the options' fill is not looked at, see [`Layers::textured`].
    pub fn new(source: Arc<Picture>, options: CutOptions) -> Self {
        Self { source_texture: source_texture(&source), source, options, parts: Vec::new() }
    }

    /// [`Layers::cut`] with [`Fill::PullPush`].
    pub fn cut<R: Borrow<Mask>>(&mut self, regions: &[R]) -> Layers {
        Layers::smooth(&self.source, &self.source_texture, regions, &self.options, &mut self.parts, None)
    }

    /// [`Cutter::cut`], but holes that `before` has filled stay filled as they are there, apart from what the other objects hide: `before` is
    /// a cut of the same source along the first of `regions`.
    pub fn cut_after<R: Borrow<Mask>>(&mut self, regions: &[R], before: &Layers) -> Layers {
        Layers::smooth(&self.source, &self.source_texture, regions, &self.options, &mut self.parts, Some(before))
    }
}

fn source_texture(source: &Picture) -> Arc<Texture> {
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

    /// Cuts `source` along `regions` (back to front; one of another size is scaled to the source's).
    pub fn cut<R: Borrow<Mask>>(source: &Picture, regions: &[R], options: &CutOptions) -> Self {
        let smooth = Self::smooth(source, &source_texture(source), regions, options, &mut Vec::new(), None);
        match options.fill {
            Fill::PullPush => smooth,
            Fill::Exemplar => smooth.textured(options.seed),
        }
    }

    /// The same cut with its smoothly filled holes textured, as [`Fill::Exemplar`] does it.
    pub fn textured(&self, seed: u64) -> Self {
        let margin = self.plate_margin_px;
        let known = Mask::from_fn(self.width, self.height, |x, y| self.plate_seen.at(x + margin, y + margin));
        let behind = Picture::from_fn(self.width, self.height, |x, y| self.plate.at(x + margin, y + margin));
        // There is time now for a better smooth guess as well.
        let plate_smooth = smoothest(&behind, &known, margin);
        let plate = extended(&exemplar_fill(&behind, &known, seed), &plate_smooth, margin);
        let texture = |colour: &Picture| plate_texture(colour, margin, |i| self.plate_seen.data[i]);
        let (plate_texture, smooth_texture) = (texture(&plate), texture(&plate_smooth));
        Self { plate_texture, smooth_texture, plate, plate_smooth, fill_seed: Some(seed), ..self.clone() }.with_textured_back(seed)
    }

    /// Cuts with smoothly filled holes, or what `before` has filled them with; objects that are among `parts` are taken from there, and
    /// afterwards these are this cut's.
    fn smooth<R: Borrow<Mask>>(
        source: &Picture,
        source_texture: &Arc<Texture>,
        regions: &[R],
        options: &CutOptions,
        parts: &mut Vec<Part>,
        before: Option<&Layers>,
    ) -> Self {
        let (width, height) = (source.width, source.height);
        let radius = options.matte_radius_px.max(1.0);
        let mut hidden = Mask::filled(width, height, 0.0);
        let mut known = Mask::filled(width, height, 1.0);
        // What the objects that `before` does not know leave of it.
        let mut kept = Mask::filled(width, height, 1.0);
        let mut reach = Grid { width, height, data: vec![0u32; width * height] };
        // The source freed from faint edges of the objects.
        let mut behind = Cow::Borrowed(source);
        let (old, mut cut) = (std::mem::take(parts), Vec::new());
        for (k, region) in regions.iter().enumerate().rev() {
            let region = fitting(region.borrow(), width, height);
            // Everything about one object happens in a window around it, wide enough for matte, hole and reach.
            let window = Bounds::around(&region, (4.0 * radius) as usize + 8);
            let (region, above) = (window.crop(&region), window.crop(&hidden));
            let alike = old.iter().find(|part| part.layer.bounds == window && part.layer.region == region);
            let part = match alike.filter(|part| part.above == above) {
                Some(part) => part.clone(),
                None => Part::new(&window.crop(source), region, above, alike.map(|part| &part.own), radius, window),
            };
            for (i, &d) in part.away.data.iter().enumerate() {
                let at = window.index(i, width);
                if d <= GROWTH * radius {
                    known.data[at] = 0.0;
                    if before.is_some_and(|before| k >= before.objects.len()) {
                        kept.data[at] = 0.0;
                    }
                }
                // Resampling looks two px around itself.
                if part.away_from_all.data[i] <= GROWTH * radius + 2.0 {
                    reach.data[at] |= reach_bit(k);
                }
                hidden.data[at] = hidden.data[at].max(part.own.data[i]);
                let alpha = part.layer.matte.data[i];
                if alpha > TRACE && alpha <= LOST {
                    let (own, mixed) = (part.layer.colour.data[i], behind.data[at]);
                    behind.to_mut().data[at] = [0, 1, 2].map(|c| ((mixed[c] - alpha * own[c]) / (1.0 - alpha)).clamp(0.0, 1.0));
                }
            }
            cut.push(part);
        }
        cut.reverse();
        *parts = cut;

        let margin = options.plate_margin_px;
        let (wide, high) = (width + 2 * margin, height + 2 * margin);
        let inside = |x: usize, y: usize| (margin..width + margin).contains(&x) && (margin..height + margin).contains(&y);
        let plate_seen = Mask::from_fn(wide, high, |x, y| if inside(x, y) { known.at(x - margin, y - margin) } else { 0.0 });
        let (plate, plate_smooth) = match before {
            Some(before) => {
                let kept = Mask::from_fn(wide, high, |x, y| if inside(x, y) { kept.at(x - margin, y - margin) } else { 1.0 });
                let seen = |x: usize, y: usize| (plate_seen.at(x, y) > 0.0).then(|| behind.at(x - margin, y - margin));
                let filled =
                    |plate: &Picture| pull_push(&Picture::from_fn(wide, high, |x, y| seen(x, y).unwrap_or_else(|| plate.at(x, y))), &kept);
                (filled(&before.plate), filled(&before.plate_smooth))
            }
            None => {
                let smooth_inside = pull_push(&behind, &known);
                let frame = Mask::from_fn(wide, high, |x, y| f32::from(inside(x, y)));
                let plate = if margin == 0 { smooth_inside } else { pull_push(&smooth_inside.padded(margin), &frame) };
                (plate.clone(), plate)
            }
        };
        let texture = |colour: &Picture| plate_texture(colour, margin, |i| plate_seen.data[i]);
        let plate_texture = texture(&plate);
        Self {
            source_texture: source_texture.clone(),
            smooth_texture: if before.is_some() { texture(&plate_smooth) } else { plate_texture.clone() },
            plate_texture,
            width,
            height,
            plate_margin_px: margin,
            plate_smooth,
            plate,
            plate_seen,
            objects: parts.iter().map(|part| part.layer.clone()).collect(),
            reach,
            relief: None,
            fill_seed: None,
        }
    }
}

impl Part {
    /// From crops of the source, the region and what hides it; `own` is its matte if it is known.
    fn new(source: &Picture, region: Mask, above: Mask, own: Option<&Mask>, radius: f32, window: Bounds) -> Self {
        let own = own.map_or_else(|| matte(source, &region, radius), Mask::clone);
        let alpha = under(&own, &above, radius);
        let away = |least: f32| distance_px(window.width, window.height, |x, y| alpha.at(x, y) > least || region.at(x, y) > 0.5);
        let (away, away_from_all) = (away(LOST), away(TRACE));
        let layer = Layer::new(source, region, alpha, &above, window);
        Self { above, own, away, away_from_all, layer: Arc::new(layer) }
    }
}

/// `region` at this size.
fn fitting(region: &Mask, width: usize, height: usize) -> Cow<'_, Mask> {
    match (region.width, region.height) == (width, height) {
        true => Cow::Borrowed(region),
        false => Cow::Owned(region.resized(width, height)),
    }
}

/// The matte of one region on its own.
fn matte(source: &Picture, region: &Mask, radius: f32) -> Mask {
    if is_soft(region, radius) {
        // A soft brush bends its layer: the motion itself fades out towards the border, so the layer is whole up to there.
        return Mask::from_fn(region.width, region.height, |x, y| smoothstep(0.0, 0.02, region.at(x, y)));
    }
    soft_matte(source, region, radius)
}

/// `matte` less what `hidden` hides, but continued `radius` px under the upper objects' soft edges, so that no gap shows there.
fn under(matte: &Mask, hidden: &Mask, radius: f32) -> Mask {
    let touched = hidden.data.iter().zip(&matte.data).any(|(&h, &a)| h > 0.0 && a > 0.0);
    if !touched {
        return matte.clone();
    }
    let depth = signed_depth(hidden);
    let own = Grid { width: matte.width, height: matte.height, data: matte.data.iter().map(|&a| [a]).collect() };
    let seen = Mask::from_fn(matte.width, matte.height, |x, y| f32::from(hidden.at(x, y) <= 0.0));
    let continued = pull_push(&own, &seen);
    Mask::from_fn(matte.width, matte.height, |x, y| {
        if hidden.at(x, y) <= 0.0 {
            return matte.at(x, y);
        }
        continued.at(x, y)[0] * (1.0 - smoothstep(radius * 0.5, radius * 1.5, depth.at(x, y)))
    })
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
    fn new(source: &Picture, region: Mask, matte: Mask, hidden: &Mask, bounds: Bounds) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plate_is_the_source_outside_the_grown_hole_and_free_of_the_object_inside() {
        let inside = |x: usize, y: usize| (30..50).contains(&x) && (20..44).contains(&y);
        let source = Picture::from_fn(96, 64, |x, y| if inside(x, y) { [1.0, 0.0, 0.0] } else { [0.1, x as f32 / 96.0, 0.6] });
        let region = Mask::from_fn(96, 64, |x, y| f32::from(inside(x, y)));
        for fill in [Fill::PullPush, Fill::Exemplar] {
            let options = CutOptions { plate_margin_px: 10, fill, ..CutOptions::default() };
            let layers = Layers::cut(&source, std::slice::from_ref(&region), &options);
            assert_eq!((layers.plate.width, layers.plate.height), (116, 84));
            for y in 0..64 {
                for x in 0..96 {
                    let (plate, seen) = (layers.plate.at(x + 10, y + 10), layers.plate_seen.at(x + 10, y + 10));
                    assert!(plate[0] < 0.15, "{plate:?} at {x} {y}");
                    if seen > 0.0 {
                        assert_eq!(plate, source.at(x, y));
                    }
                    // The hole is the region, its matte and a pixel more.
                    let away = x + 4 < 30 || x > 49 + 4 || y + 4 < 20 || y > 43 + 4;
                    assert!(seen == f32::from(away) || !away && !inside(x, y), "{x} {y} {seen}");
                }
            }
            assert_eq!(layers.plate_seen.at(3, 40), 0.0);
        }
    }

    #[test]
    fn a_faint_edge_leaves_less_of_the_object_in_the_plate_than_in_the_source() {
        let background = |x: usize, y: usize| [0.1, 0.3 + x as f32 * 0.002, 0.5 + y as f32 * 0.002];
        let alpha = |x: usize, y: usize| ((18.5 - (x as f32 - 48.0).hypot(y as f32 - 40.0)) / 5.0).clamp(0.0, 1.0);
        let source = Picture::from_fn(96, 80, |x, y| {
            let (a, behind) = (alpha(x, y), background(x, y));
            std::array::from_fn(|c| a * [0.9, 0.8, 0.1][c] + (1.0 - a) * behind[c])
        });
        let region = Mask::from_fn(96, 80, |x, y| f32::from(alpha(x, y) > 0.5));
        let layers = Layers::cut(&source, &[region], &CutOptions { plate_margin_px: 0, ..CutOptions::default() });
        let layer = &layers.objects[0];
        let matte = |i: usize| layer.matte.data[(i / 96 - layer.bounds.top) * layer.matte.width + i % 96 - layer.bounds.left];
        let inside = |i: &usize| {
            let (corner, end) = layer.bounds.corners();
            let at = Vec2::new((i % 96) as f32, (i / 96) as f32);
            at.cmpge(corner).all() && at.cmplt(end).all()
        };
        let faint = (0..96 * 80).filter(inside).filter(|i| layers.plate_seen.data[*i] > 0.0 && matte(*i) > TRACE).collect::<Vec<_>>();
        let off = |picture: &Picture| {
            let error = |i: &usize| (0..3).map(|c| (picture.data[*i][c] - background(i % 96, i / 96)[c]).abs()).sum::<f32>();
            faint.iter().map(error).sum::<f32>() / faint.len() as f32
        };
        assert!(faint.len() > 10 && off(&layers.plate) < 0.9 * off(&source), "{}: {} {}", faint.len(), off(&layers.plate), off(&source));
    }

    #[test]
    fn what_an_upper_object_hides_is_not_the_lower_ones() {
        let source = Picture::from_fn(80, 60, |x, y| match (x, y) {
            (30..60, 20..40) => [0.9, 0.8, 0.1],
            (10..45, 10..50) => [0.1, 0.2, 0.9],
            _ => [0.5, 0.5, 0.5],
        });
        let lower = Mask::from_fn(80, 60, |x, y| f32::from((10..45).contains(&x) && (10..50).contains(&y)));
        let upper = Mask::from_fn(80, 60, |x, y| f32::from((30..60).contains(&x) && (20..40).contains(&y)));
        let options = CutOptions { plate_margin_px: 0, ..CutOptions::default() };
        let layers = Layers::cut(&source, &[lower, upper], &options);
        let layer = &layers.objects[0];
        let at = |x: usize, y: usize| (x - layer.bounds.left, y - layer.bounds.top);
        let ((x, y), (u, v)) = (at(42, 30), at(20, 30));
        assert!(layer.matte.at(x, y) < 0.01 && layer.matte.at(u, v) == 1.0);
        let [r, _, b] = layer.colour.at(x, y);
        assert!(r < 0.15 && b > 0.85, "the lower colour goes on under the upper object");
    }

    /// Everything a cut says.
    fn all(layers: &Layers) -> impl PartialEq + use<> {
        let objects: Vec<_> = layers
            .objects
            .iter()
            .map(|layer| (layer.bounds, layer.region.clone(), layer.matte.clone(), layer.colour.clone(), layer.visible.clone()))
            .collect();
        let plates = (layers.plate.clone(), layers.plate_smooth.clone(), layers.plate_seen.clone());
        let places = [Vec2::new(20.3, 17.9), Vec2::new(-3.2, 30.0), Vec2::new(41.0, 33.3)];
        let still = super::super::texture::Footprint::of(&glam::Affine2::IDENTITY);
        let textures = [&layers.source_texture, &layers.plate_texture, &layers.smooth_texture];
        let samples: Vec<_> = textures.iter().flat_map(|texture| places.map(|place| texture.sample(place, &still))).collect();
        (objects, plates, layers.reach.data.clone(), samples)
    }

    #[test]
    fn a_cut_after_another_keeps_its_texture_and_gets_its_own_as_any() {
        let source = Picture::from_fn(96, 64, |x, y| [(x * 7 % 13) as f32 / 13.0, (y * 5 % 11) as f32 / 11.0, x as f32 / 96.0]);
        let disc = |x: f32, y: f32| Mask::from_fn(96, 64, |u, v| f32::from((u as f32 - x).hypot(v as f32 - y) < 9.0));
        let regions = [disc(30.0, 30.0), disc(38.0, 36.0)];
        let options = CutOptions { plate_margin_px: 12, ..CutOptions::default() };
        let mut cutter = Cutter::new(Arc::new(source.clone()), options);
        let before = cutter.cut(&regions[..1]).textured(5);
        let (after, plain) = (cutter.cut_after(&regions, &before), cutter.cut(&regions));
        let (mut kept, mut new) = (0, 0);
        for i in 0..after.plate.data.len() {
            let (seen, seen_before) = (after.plate_seen.data[i], before.plate_seen.data[i]);
            let (x, y) = (i % 120, i / 120);
            let far = (x as f32 - 50.0).hypot(y as f32 - 48.0) > 16.0;
            if far {
                // Faint edges of the lower object are freed from its colour, which the upper one changes a little.
                let pairs = [(after.plate.data[i], before.plate.data[i]), (after.plate_smooth.data[i], before.plate_smooth.data[i])];
                let off = pairs.map(|(a, b)| (0..3).map(|c| (a[c] - b[c]).abs()).fold(0.0, f32::max));
                assert!(off.iter().all(|off| *off <= if seen == 0.0 { 0.0 } else { 0.03 }), "{off:?} at {x} {y}");
                kept += usize::from(seen_before == 0.0 && (12..84).contains(&x) && (12..76).contains(&y));
            } else if seen == 0.0 && seen_before == 1.0 {
                new += usize::from(after.plate.data[i] != before.plate.data[i]);
            }
        }
        assert!(kept > 50 && new > 50, "{kept} {new}");
        assert!(after.plate_seen == plain.plate_seen && after.plate != plain.plate && after.fill_seed().is_none());
        assert!(all(&after.textured(5)) == all(&plain.textured(5)));
    }

    #[test]
    fn cutting_again_is_cutting_anew() {
        let source = Picture::from_fn(96, 64, |x, y| [(x * 7 % 13) as f32 / 13.0, (y * 5 % 11) as f32 / 11.0, x as f32 / 96.0]);
        let disc = |x: f32, y: f32, r: f32| {
            Mask::from_fn(96, 64, |u, v| (r + 0.5 - (u as f32 + 0.5 - x).hypot(v as f32 + 0.5 - y)).clamp(0.0, 1.0))
        };
        let [a, b, c] = [disc(30.0, 30.0, 14.0), disc(46.0, 34.0, 10.0), disc(80.0, 50.0, 8.0)];
        let options = CutOptions { plate_margin_px: 10, fill: Fill::PullPush, ..CutOptions::default() };
        let mut cutter = Cutter::new(Arc::new(source.clone()), options.clone());
        let mut last: Option<Layers> = None;
        let cuts = [vec![&a], vec![&a, &c], vec![&a, &c, &b], vec![&a, &b], vec![&b, &a], vec![], vec![&c]];
        for (step, regions) in cuts.into_iter().enumerate() {
            let again = cutter.cut(&regions);
            assert!(all(&again) == all(&Layers::cut(&source, &regions, &options)));
            let textured = CutOptions { fill: Fill::Exemplar, ..options.clone() };
            assert!(all(&again.textured(options.seed)) == all(&Layers::cut(&source, &regions, &textured)));
            // A lower object is cut anew only where what hides it has changed.
            if let Some(last) = last.filter(|_| [1, 3, 4].contains(&step)) {
                assert_eq!(Arc::ptr_eq(&last.objects[0], &again.objects[0]), step != 4);
            }
            last = Some(again);
        }
    }

    #[test]
    fn an_empty_region_is_an_empty_layer() {
        let source = Picture::filled(20, 20, [0.3; 3]);
        let layers = Layers::cut(&source, &[Mask::filled(20, 20, 0.0)], &CutOptions { plate_margin_px: 0, ..CutOptions::default() });
        assert_eq!(layers.objects[0].bounds.width, 0);
        assert_eq!(layers.plate, source);
    }
}
