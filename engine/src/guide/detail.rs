//! The source picture's sharpness, put back onto a frame made at the model's size.
//!
//! final = up(generated) + (guide - up(down(guide))) * coverage: what the guide holds beyond the model's resolution is added wherever
//! the source is still seen. Invariant: a generated frame that equals the scaled-down guide gives the guide back where it is
//! covered. Guarded by the tests below.

use super::warp::GuideFrame;
use crate::picture::{Grid, Picture, Sample, catmull_rom};

/// `generated` (model size) at the size of `guide_full` (source size), with the guide's detail where the source is seen, and with the
/// share `kept` of it elsewhere.
pub fn detail_transfer(generated: &Picture, guide_full: &GuideFrame, kept: f32) -> Picture {
    let guide = &guide_full.rgb;
    let grown = enlarged(generated, guide.width, guide.height);
    let blurred = enlarged(&guide.resized(generated.width, generated.height), guide.width, guide.height);
    Picture::from_fn(guide.width, guide.height, |x, y| {
        let seen = guide_full.coverage.at(x, y);
        let (coverage, sharp, soft, own) = (seen + (1.0 - seen) * kept, guide.at(x, y), blurred.at(x, y), grown.at(x, y));
        // Grouped so that equal terms cancel before anything is added to them.
        std::array::from_fn(|c| (coverage * sharp[c] + (own[c] - coverage * soft[c])).clamp(0.0, 1.0))
    })
}

/// `picture` at `width` x `height` by separable Catmull-Rom interpolation; made for growing.
pub fn enlarged(picture: &Picture, width: usize, height: usize) -> Picture {
    if (width, height) == (picture.width, picture.height) {
        return picture.clone();
    }
    let columns = taps(picture.width, width);
    let rows = taps(picture.height, height);
    let wide = Grid::from_fn(width, picture.height, |x, y| {
        let (at, weights) = columns[x];
        (0..4).fold([0.0; 3], |sum, i| sum.add_scaled(picture.at(at[i], y), weights[i]))
    });
    Grid::from_fn(width, height, |x, y| {
        let (at, weights) = rows[y];
        (0..4).fold([0.0; 3], |sum, i| sum.add_scaled(wide.at(x, at[i]), weights[i]))
    })
}

/// The four source samples and weights of each of `to` samples made from `from`, clamped at the ends.
fn taps(from: usize, to: usize) -> Vec<([usize; 4], [f32; 4])> {
    (0..to)
        .map(|i| {
            let place = (i as f32 + 0.5) * from as f32 / to as f32 - 0.5;
            let first = place.floor();
            let at = [-1, 0, 1, 2].map(|k| (first as isize + k).clamp(0, from as isize - 1) as usize);
            (at, catmull_rom(place - first))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Mask;

    fn guide(coverage: f32) -> GuideFrame {
        let rgb = Picture::from_fn(60, 44, |x, y| [(x * 7 + y * 3) % 16, (x + y) % 5, x * y % 11].map(|v| v as f32 / 16.0));
        GuideFrame { smooth: rgb.clone(), rgb, coverage: Mask::filled(60, 44, coverage), owner: vec![0; 60 * 44] }
    }

    #[test]
    fn the_scaled_down_guide_gives_the_guide_back_where_it_is_covered() {
        let guide = guide(1.0);
        assert_eq!(detail_transfer(&guide.rgb.resized(30, 22), &guide, 0.0), guide.rgb);
        assert_eq!(detail_transfer(&guide.rgb.resized(25, 19), &guide, 0.0), guide.rgb);
    }

    #[test]
    fn uncovered_places_show_what_was_generated_alone() {
        let generated = Picture::from_fn(30, 22, |x, y| [0.2 + x as f32 * 0.01, 0.5, 0.3 + y as f32 * 0.01]);
        assert_eq!(detail_transfer(&generated, &guide(0.0), 0.0), enlarged(&generated, 60, 44));
    }

    #[test]
    fn enlarging_keeps_a_ramp() {
        let ramp = Picture::from_fn(10, 8, |x, y| [(x as f32 + 0.5) * 0.1, (y as f32 + 0.5) * 0.1, 0.5]);
        let big = enlarged(&ramp, 25, 16);
        let [r, g, b] = big.at(11, 8);
        assert!((r - 0.46).abs() < 1e-5 && (g - 0.425).abs() < 1e-5 && (b - 0.5).abs() < 1e-5, "{r} {g} {b}");
    }
}
