//! Regions cut out of the picture, and the plate behind them freed from what they hold.
//!
//! Behind each layer the hole is grown beyond the matte *before* it is filled, so that no rim of the object stays in the plate. Where the
//! matte is faint the object's colour is taken out instead. Invariant: outside the grown holes and without any alpha the plate is the
//! source, bit for bit, and cutting again is cutting anew. Guarded by the tests below.

use std::borrow::{Borrow, Cow};
use std::sync::Arc;

use super::distance::distance_px;
use super::layers::{Bounds, CutOptions, Fill, Filled, Layer, Layers, plate_texture, reach_bit, source_texture};
use super::matte::{drawn, is_soft, signed_depth, smoothstep};
use super::matting::Matting;
use super::pull_push::pull_push;
use super::texture::Texture;
use crate::picture::{Grid, Mask, Picture};

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
    /// what a cut of the same source along the first of `regions` holds.
    pub fn cut_after<R: Borrow<Mask>>(&mut self, regions: &[R], before: &Filled) -> Layers {
        Layers::smooth(&self.source, &self.source_texture, regions, &self.options, &mut self.parts, Some(before))
    }
}

impl Layers {
    /// Cuts `source` along `regions` (back to front; one of another size is scaled to the source's).
    pub fn cut<R: Borrow<Mask>>(source: &Picture, regions: &[R], options: &CutOptions) -> Self {
        let smooth = Self::smooth(source, &source_texture(source), regions, options, &mut Vec::new(), None);
        match options.fill {
            Fill::PullPush => smooth,
            Fill::Exemplar => smooth.textured(options.seed),
        }
    }

    /// Cuts with smoothly filled holes, or what `before` has filled them with; objects that are among `parts` are taken from there, and
    /// afterwards these are this cut's.
    fn smooth<R: Borrow<Mask>>(
        source: &Picture,
        source_texture: &Arc<Texture>,
        regions: &[R],
        options: &CutOptions,
        parts: &mut Vec<Part>,
        before: Option<&Filled>,
    ) -> Self {
        let (width, height) = (source.width, source.height);
        let radius = options.matte_radius_px.max(1.0);
        let mut hidden = Mask::filled(width, height, 0.0);
        let mut known = Mask::filled(width, height, 1.0);
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
                None => {
                    let source = window.crop(source);
                    let own = alike.map_or_else(|| matte(&source, &region, options), |part| part.own.clone());
                    Part::new(&source, region, above, own, radius, window)
                }
            };
            for (i, &d) in part.away_from_all.data.iter().enumerate() {
                let at = window.index(i, width);
                // Resampling looks two px around itself.
                if d <= GROWTH * radius + 2.0 {
                    reach.data[at] |= reach_bit(k);
                }
                hidden.data[at] = hidden.data[at].max(part.own.data[i]);
            }
            part.hide(&mut known, radius);
            part.unmix(&mut behind);
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
                let mut kept = Mask::filled(width, height, 1.0);
                parts[before.objects..].iter().for_each(|part| part.hide(&mut kept, radius));
                let kept = Mask::from_fn(wide, high, |x, y| if inside(x, y) { kept.at(x - margin, y - margin) } else { 1.0 });
                let seen = |x: usize, y: usize| (plate_seen.at(x, y) > 0.0).then(|| behind.at(x - margin, y - margin));
                let filled = |plate: &Picture| {
                    Arc::new(pull_push(&Picture::from_fn(wide, high, |x, y| seen(x, y).unwrap_or_else(|| plate.at(x, y))), &kept))
                };
                (filled(&before.plate), filled(&before.plate_smooth))
            }
            None => {
                let smooth_inside = pull_push(&behind, &known);
                let frame = Mask::from_fn(wide, high, |x, y| f32::from(inside(x, y)));
                let plate = Arc::new(if margin == 0 { smooth_inside } else { pull_push(&smooth_inside.padded(margin), &frame) });
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
    /// From crops of the source, the region, what hides it, and its matte.
    fn new(source: &Picture, region: Mask, above: Mask, own: Mask, radius: f32, window: Bounds) -> Self {
        let alpha = under(&own, &above, radius);
        let away = |least: f32| distance_px(window.width, window.height, |x, y| alpha.at(x, y) > least || region.at(x, y) > 0.5);
        // An edge however faint changes what is drawn.
        let (away, away_from_all) = (away(LOST), away(0.0));
        let layer = Layer::new(source, region, alpha, &above, window);
        Self { above, own, away, away_from_all, layer: Arc::new(layer) }
    }

    /// Takes from what is `known` of the source what lies behind it.
    fn hide(&self, known: &mut Mask, radius: f32) {
        for (i, _) in self.away.data.iter().enumerate().filter(|(_, away)| **away <= GROWTH * radius) {
            let at = self.layer.bounds.index(i, known.width);
            known.data[at] = 0.0;
        }
    }

    /// Takes its colour out of `picture` where little of it shows.
    fn unmix(&self, picture: &mut Cow<Picture>) {
        let Layer { matte, colour, bounds, .. } = &*self.layer;
        for (i, &alpha) in matte.data.iter().enumerate().filter(|(_, alpha)| **alpha > TRACE && **alpha <= LOST) {
            let at = bounds.index(i, picture.width);
            let (own, mixed) = (colour.data[i], picture.data[at]);
            picture.to_mut().data[at] = [0, 1, 2].map(|c| ((mixed[c] - alpha * own[c]) / (1.0 - alpha)).clamp(0.0, 1.0));
        }
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
fn matte(source: &Picture, region: &Mask, options: &CutOptions) -> Mask {
    if is_soft(region, options.matte_radius_px) {
        // A soft brush bends its layer: the motion itself fades out towards the border, so the layer is whole up to there.
        return Mask::from_fn(region.width, region.height, |x, y| smoothstep(0.0, 0.02, region.at(x, y)));
    }
    let drawn = drawn(source, region, options.matte_radius_px);
    if options.matting { Matting::embedded().matte(source, &drawn) } else { drawn.matte() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use glam::Vec2;

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
        let (after, plain) = (cutter.cut_after(&regions, &before.filled()), cutter.cut(&regions));
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
        // The third is out of the others' reach, its band included.
        let [a, b, c] = [disc(30.0, 30.0, 14.0), disc(46.0, 34.0, 10.0), disc(85.0, 52.0, 6.0)];
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
        assert_eq!(*layers.plate, source);
    }
}
