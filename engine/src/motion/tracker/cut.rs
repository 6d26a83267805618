//! Where a clip cuts to something else.
//!
//! Invariant: decided by two frames' thumbnails alone; neither a fast pan nor a change of light is a cut. Guarded by the tests below
//! and of the folder.

use crate::picture::Mask;

/// Thumbnail's longer side.
const SIDE: usize = 32;
/// Cells by which a pan may shift a thumbnail.
const SHIFT: isize = 5;
/// Thumbnails that correlate less than this, however shifted, show different things.
const SAME: f32 = 0.6;
/// Mean deviation below which a thumbnail shows nothing in particular, luma.
const FLAT: f32 = 0.01;

/// Compares each frame with the one before.
#[derive(Default)]
pub(super) struct CutDetector {
    last: Option<Mask>,
}

impl CutDetector {
    /// Whether `frame` (any level of a pyramid) shows something else than the one before.
    pub fn push(&mut self, frame: &Mask) -> bool {
        let scale = SIDE as f32 / frame.width.max(frame.height) as f32;
        let of = |length: usize| ((length as f32 * scale.min(1.0)).round() as usize).max(1);
        let now = frame.resized(of(frame.width), of(frame.height));
        let before = self.last.replace(now.clone());
        before.is_some_and(|before| {
            let mut shifts = std::iter::once((0, 0)).chain((-SHIFT..=SHIFT).flat_map(|y| (-SHIFT..=SHIFT).map(move |x| (x, y))));
            !shifts.any(|by| correlation(&before, &now, by).is_some_and(|agreed| agreed >= SAME))
        })
    }
}

/// Correlation of what both show if the second is shifted; None where too little is left. Two flat ones are judged by brightness.
fn correlation(a: &Mask, b: &Mask, (dx, dy): (isize, isize)) -> Option<f32> {
    let (width, height) = (a.width as isize, a.height as isize);
    let (x0, x1) = (0.max(-dx), width.min(width - dx));
    let (y0, y1) = (0.max(-dy), height.min(height - dy));
    if 2 * (x1 - x0) < width || 2 * (y1 - y0) < height {
        return None;
    }
    let n = ((x1 - x0) * (y1 - y0)) as f32;
    let [mut sa, mut sb, mut saa, mut sbb, mut sab] = [0.0f32; 5];
    for y in y0..y1 {
        for x in x0..x1 {
            let (a, b) = (a.at(x as usize, y as usize), b.at((x + dx) as usize, (y + dy) as usize));
            (sa, sb, saa, sbb, sab) = (sa + a, sb + b, saa + a * a, sbb + b * b, sab + a * b);
        }
    }
    let (ma, mb) = (sa / n, sb / n);
    let (va, vb) = ((saa / n - ma * ma).max(0.0), (sbb / n - mb * mb).max(0.0));
    match (va.sqrt() < FLAT, vb.sqrt() < FLAT) {
        (false, false) => Some((sab / n - ma * mb) / (va * vb).sqrt()),
        (true, true) => Some(if (ma - mb).abs() < 0.25 { 1.0 } else { 0.0 }),
        // A fade to or from nothing is no match, but a faint picture on the flat one is.
        _ => Some(if (va.sqrt() - vb.sqrt()).abs() < 3.0 * FLAT && (ma - mb).abs() < 0.1 { 1.0 } else { 0.0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(seed: f32, shift: f32, light: f32) -> Mask {
        Mask::from_fn(160, 120, |x, y| {
            let (x, y) = (x as f32 + shift, y as f32);
            let wave = (x * 0.05 * seed).sin() + (y * 0.07 + seed).cos() + (x * 0.11 - y * 0.09 * seed).sin();
            light * (0.5 + 0.15 * wave)
        })
    }

    #[test]
    fn other_scenes_are_cuts_and_pans_and_light_are_not() {
        let mut detector = CutDetector::default();
        let frames =
            [(1.0, 0.0, 1.0, false), (1.0, 12.0, 1.0, false), (1.0, 12.0, 0.6, false), (2.3, 0.0, 1.0, true), (2.3, 9.0, 1.0, false)];
        for (seed, shift, light, cut) in frames {
            assert_eq!(detector.push(&scene(seed, shift, light)), cut, "{seed} {shift} {light}");
        }
        let mut flat = CutDetector::default();
        assert!([0.5, 0.5, 0.55].iter().all(|v| !flat.push(&Mask::filled(20, 9, *v))) && flat.push(&Mask::filled(20, 9, 0.95)));
    }
}
