//! BT.709 limited-range 4:2:0: what the video encoder eats.
//!
//! Invariant: luma 16..=235, chroma 16..=240 around 128 (ITU-R BT.709-6, 8 bit); chroma is sited as H.264 assumes by default,
//! on the left luma sample and half-way between two rows. Odd sizes grow by one replicated column or row.
//! Guarded by the tests below and, through a decoder, by those of [`super::video`].

use openh264::formats::YUVSource;
use rayon::prelude::*;

use crate::picture::Picture;

/// Weight of red in BT.709's luma.
const KR: f32 = 0.2126;
/// Weight of blue in BT.709's luma.
const KB: f32 = 0.0722;
/// Weight of green in BT.709's luma.
const KG: f32 = 1.0 - KR - KB;

/// One frame in planar 4:2:0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yuv420 {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl Yuv420 {
    /// A black frame that holds `width` x `height` px: odd sizes are rounded up to even ones.
    pub fn new(width: usize, height: usize) -> Self {
        let (width, height) = (width.next_multiple_of(2), height.next_multiple_of(2));
        let quarter = width / 2 * (height / 2);
        Self { width, height, y: vec![16; width * height], u: vec![128; quarter], v: vec![128; quarter] }
    }

    /// Fills the frame from `picture`, whose last column and row are repeated where the frame is larger. Colours are clamped
    /// to 0..1, NaN is black.
    pub fn fill_from(&mut self, picture: &Picture) {
        let width = self.width;
        if picture.data.is_empty() || width == 0 {
            return;
        }
        let chroma = self.u.par_chunks_mut(width / 2).zip(self.v.par_chunks_mut(width / 2));
        self.y.par_chunks_mut(2 * width).zip(chroma).enumerate().for_each(|(pair, (luma, (u, v)))| {
            let rows = [0, 1].map(|i| {
                let row = (2 * pair + i).min(picture.height - 1);
                &picture.data[row * picture.width..][..picture.width]
            });
            for (row, luma) in rows.iter().zip(luma.chunks_mut(width)) {
                let (inside, beyond) = luma.split_at_mut(row.len().min(width));
                inside.iter_mut().zip(*row).for_each(|(luma, rgb)| *luma = (16.5 + 219.0 * y_of(clean(*rgb))) as u8);
                beyond.fill(inside.last().copied().unwrap_or(16));
            }
            // The mean of both rows, with one more column at the left and, for odd widths, at the right.
            let mean = |top: &[f32; 3], bottom: &[f32; 3]| {
                let (top, bottom) = (clean(*top), clean(*bottom));
                [0, 1, 2].map(|c| 0.5 * (top[c] + bottom[c]))
            };
            let mut means = Vec::with_capacity(width + 1);
            means.push(mean(&rows[0][0], &rows[1][0]));
            means.extend(rows[0].iter().zip(rows[1]).map(|(top, bottom)| mean(top, bottom)));
            means.resize(width + 1, means[means.len() - 1]);
            // Columns 2i - 1, 2i and 2i + 1 of the picture around chroma sample i.
            for ((u, v), around) in u.iter_mut().zip(v).zip(means.windows(3).step_by(2)) {
                let rgb = [0, 1, 2].map(|c| 0.25 * around[0][c] + 0.5 * around[1][c] + 0.25 * around[2][c]);
                let y = y_of(rgb);
                *u = (128.5 + 224.0 / (2.0 * (1.0 - KB)) * (rgb[2] - y)) as u8;
                *v = (128.5 + 224.0 / (2.0 * (1.0 - KR)) * (rgb[0] - y)) as u8;
            }
        });
    }
}

impl YUVSource for Yuv420 {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }
    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }
    fn y(&self) -> &[u8] {
        &self.y
    }
    fn u(&self) -> &[u8] {
        &self.u
    }
    fn v(&self) -> &[u8] {
        &self.v
    }
}

#[inline(always)]
fn y_of(rgb: [f32; 3]) -> f32 {
    KR * rgb[0] + KG * rgb[1] + KB * rgb[2]
}

/// Clamped to 0..1; `max` turns NaN into 0.
#[allow(clippy::manual_clamp, reason = "clamp would keep NaN")]
#[inline(always)]
fn clean(rgb: [f32; 3]) -> [f32; 3] {
    rgb.map(|c| c.max(0.0).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(picture: &Picture) -> Yuv420 {
        let mut frame = Yuv420::new(picture.width, picture.height);
        frame.fill_from(picture);
        frame
    }

    #[test]
    fn flat_colours_have_the_codes_of_the_standard() {
        // The 100 % colour bars in 8-bit BT.709, as any test-pattern table lists them.
        let bars = [
            ([1.0, 1.0, 1.0], [235, 128, 128]),
            ([1.0, 1.0, 0.0], [219, 16, 138]),
            ([0.0, 1.0, 1.0], [188, 154, 16]),
            ([0.0, 1.0, 0.0], [173, 42, 26]),
            ([1.0, 0.0, 1.0], [78, 214, 230]),
            ([1.0, 0.0, 0.0], [63, 102, 240]),
            ([0.0, 0.0, 1.0], [32, 240, 118]),
            ([0.0, 0.0, 0.0], [16, 128, 128]),
        ];
        for (rgb, yuv) in bars {
            let frame = of(&Picture::filled(4, 4, rgb));
            assert_eq!([frame.y[5], frame.u[3], frame.v[3]], yuv, "{rgb:?}");
        }
    }

    #[test]
    fn odd_sizes_repeat_their_last_column_and_row() {
        let frame = of(&Picture::from_fn(3, 5, |x, y| [if x == 2 || y == 4 { 1.0 } else { 0.0 }; 3]));
        assert_eq!(frame.dimensions(), (4, 6));
        assert_eq!(frame.y[..4], [16, 16, 235, 235]);
        assert_eq!(frame.y[4 * 4..], [235; 8]);
        assert_eq!(frame.u, [128; 6]);
    }

    #[test]
    fn chroma_sits_on_the_left_luma_sample() {
        // A horizontal ramp of blue: chroma sample i must show the ramp at column 2i, not between 2i and 2i + 1.
        let ramp = |x: f32| 0.1 + 0.02 * x;
        let frame = of(&Picture::from_fn(32, 2, |x, _| [0.0, 0.0, ramp(x as f32)]));
        for i in 1..16 {
            assert_eq!(frame.u[i], (128.0 + 112.0 * ramp(2.0 * i as f32) + 0.5) as u8, "chroma {i}");
        }
    }

    #[test]
    fn colours_out_of_range_are_clamped_and_nan_is_black() {
        let frame = of(&Picture { width: 2, height: 2, data: vec![[2.0; 3], [-1.0; 3], [f32::NAN; 3], [f32::INFINITY; 3]] });
        assert_eq!(frame.y, [235, 16, 16, 235]);
    }
}
