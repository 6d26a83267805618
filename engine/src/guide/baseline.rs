//! The plain warp that the product is measured against: hard regions, no matte, no clean plate, a smooth fill in each frame.
//!
//! Invariant: nothing of the guide's own craft is in here (matte, colour, exemplar fill, footprints); it is what a simple tool does.
//! Guarded by the tests below.

use glam::Vec2;

use super::distance::distance_px;
use super::inverse::Inverse;
use super::pull_push::pull_push;
use crate::motion::layer_motion::LayerMotion;
use crate::picture::{Mask, Picture};

/// How far the hole of an object is grown, px.
const GROW_PX: f32 = 2.0;

/// `source` cut hard along `regions` (back to front) and warped by layers with bilinear sampling at the source's size, every place
/// that nothing covers filled by pull-push, scaled to `width` x `height`; and where it is covered.
pub fn plain_warp(
    source: &Picture,
    regions: &[Mask],
    plate_motion: &LayerMotion,
    object_motions: &[LayerMotion],
    width: usize,
    height: usize,
) -> (Picture, Mask) {
    let frame = Vec2::new(source.width as f32, source.height as f32);
    let invert = |m: &LayerMotion| Inverse::of(m, frame, source.width, source.height, 2.0 * (frame.x + frame.y));
    let plate = invert(plate_motion);
    let objects: Vec<Inverse> = (0..regions.len()).map(|k| invert(object_motions.get(k).unwrap_or(plate_motion))).collect();
    // The topmost region owns a source pixel.
    let owner = |p: Vec2| -> Option<usize> {
        let inside = p.x >= 0.0 && p.y >= 0.0 && p.x < frame.x && p.y < frame.y;
        inside.then(|| regions.iter().rposition(|r| r.at(p.x as usize, p.y as usize) > 0.5).map_or(0, |k| k + 1))
    };
    let place = |inverse: &Inverse, x: usize, y: usize| {
        inverse.at(x, y).map(|piece| piece.map.transform_point2(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)))
    };
    let shown = |x: usize, y: usize| -> Option<Vec2> {
        let object = objects.iter().enumerate().rev().find_map(|(k, inverse)| place(inverse, x, y).filter(|&p| owner(p) == Some(k + 1)));
        object.or_else(|| place(&plate, x, y).filter(|&p| owner(p) == Some(0)))
    };
    let covered = Mask::from_fn(source.width, source.height, |x, y| f32::from(shown(x, y).is_some()));
    let hole = distance_px(source.width, source.height, |x, y| covered.at(x, y) == 0.0);
    let known = Mask::from_fn(source.width, source.height, |x, y| f32::from(hole.at(x, y) > GROW_PX));
    let warped = Picture::from_fn(source.width, source.height, |x, y| shown(x, y).map_or([0.0; 3], |p| source.bilinear(p.x, p.y)));
    (pull_push(&warped, &known).resized(width, height), known.resized(width, height))
}

#[cfg(test)]
mod tests {
    use glam::Affine2;

    use super::*;

    #[test]
    fn a_still_picture_is_covered_and_unchanged_and_a_moved_object_leaves_a_grown_hole() {
        let source = Picture::from_fn(48, 32, |x, y| [x as f32 / 48.0, y as f32 / 32.0, ((x + y) % 2) as f32]);
        let region = Mask::from_fn(48, 32, |x, y| f32::from((8..16).contains(&x) && (8..16).contains(&y)));
        let (picture, covered) = plain_warp(&source, std::slice::from_ref(&region), &LayerMotion::STILL, &[LayerMotion::STILL], 48, 32);
        assert_eq!((picture, covered.data.iter().sum::<f32>()), (source.clone(), 48.0 * 32.0));

        let moved = LayerMotion::Affine(Affine2::from_translation(Vec2::new(20.0, 4.0)));
        let (picture, covered) = plain_warp(&source, &[region], &LayerMotion::STILL, &[moved], 48, 32);
        assert_eq!(picture.at(30, 15), source.at(10, 11));
        assert_eq!(covered.at(30, 15), 1.0);
        assert_eq!([covered.at(12, 12), covered.at(6, 12), covered.at(5, 12)], [0.0, 0.0, 1.0]);
    }
}
