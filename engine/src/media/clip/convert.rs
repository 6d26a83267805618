//! A decoded frame (4:2:0) as upright RGB bytes.
//!
//! Invariant: the stream's own matrix and range; chroma is taken linearly between its samples, sited as H.264 assumes (left column,
//! half-way between two rows). Guarded by the tests below and those of this folder.

use openh264::formats::YUVSource;
use rayon::prelude::*;

use super::mp4::Turn;

/// How luma and chroma become RGB, in 1/65536.
#[derive(Clone, Copy, Debug)]
pub struct Colours {
    black: i32,
    luma: i32,
    red: i32,
    green: [i32; 2],
    blue: i32,
}

impl Colours {
    /// By H.264's `matrix_coefficients` (none said: as players do, BT.709 from 720 rows on, else BT.601) and range.
    pub fn new(matrix: Option<u8>, full_range: bool, height: usize) -> Self {
        let (kr, kb) = match matrix {
            Some(1) => (0.2126, 0.0722),
            Some(4) => (0.30, 0.11),
            Some(5 | 6) => (0.299, 0.114),
            Some(7) => (0.212, 0.087),
            Some(9 | 10) => (0.2627, 0.0593),
            _ if height >= 720 => (0.2126, 0.0722),
            _ => (0.299, 0.114),
        };
        let (luma, chroma, black) = if full_range { (1.0, 255.0 / 127.5 / 2.0, 0) } else { (255.0 / 219.0, 255.0 / 224.0, 16) };
        let kg = 1.0 - kr - kb;
        let fixed = |x: f64| (x * 65536.0).round() as i32;
        let (red, blue) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
        Self { black, luma: fixed(luma), red: fixed(red), green: [fixed(-blue * kb / kg), fixed(-red * kr / kg)], blue: fixed(blue) }
    }

    /// One pixel; `u` and `v` are eight times their sample.
    #[inline(always)]
    fn rgb(&self, y: u8, u: i32, v: i32) -> [u8; 3] {
        let luma = (i32::from(y) - self.black) * self.luma + 0x8000;
        let (u, v) = (u - 8 * 128, v - 8 * 128);
        let byte = |value: i32| (value >> 16).clamp(0, 255) as u8;
        [
            byte(luma + ((self.red * v) >> 3)),
            byte(luma + ((self.green[0] * u + self.green[1] * v) >> 3)),
            byte(luma + ((self.blue * u) >> 3)),
        ]
    }
}

/// `frame` as upright row-major RGB in `rgb`; the size as shown comes back. Nothing is written for a frame whose planes are too short.
pub fn rgb_of(frame: &impl YUVSource, colours: &Colours, turn: Turn, rgb: &mut Vec<u8>) -> Option<(usize, usize)> {
    let (width, height) = frame.dimensions();
    let (stride, stride_u, stride_v) = frame.strides();
    let (columns, rows) = (width.div_ceil(2), height.div_ceil(2));
    let fits = |plane: &[u8], stride: usize, columns: usize, rows: usize| columns <= stride && plane.len() >= (rows - 1) * stride + columns;
    let whole = width > 0 && height > 0 && fits(frame.y(), stride, width, height);
    if !whole || !fits(frame.u(), stride_u, columns, rows) || !fits(frame.v(), stride_v, columns, rows) {
        return None;
    }
    rgb.resize(3 * width * height, 0);
    let (luma, blue, red) = (frame.y(), frame.u(), frame.v());
    rgb.par_chunks_mut(3 * width).enumerate().for_each(|(y, out)| {
        let near = y / 2;
        let far = if y % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(rows - 1) };
        let luma = &luma[y * stride..][..width];
        let [un, uf] = [near, far].map(|row| &blue[row * stride_u..][..columns]);
        let [vn, vf] = [near, far].map(|row| &red[row * stride_v..][..columns]);
        let blend = |near: &[u8], far: &[u8], i: usize| 3 * i32::from(near[i]) + i32::from(far[i]);
        let (mut u, mut v) = (blend(un, uf, 0), blend(vn, vf, 0));
        for (i, (out, luma)) in out.chunks_mut(6).zip(luma.chunks(2)).enumerate() {
            let right = (i + 1).min(columns - 1);
            let (u1, v1) = (blend(un, uf, right), blend(vn, vf, right));
            out[..3].copy_from_slice(&colours.rgb(luma[0], 2 * u, 2 * v));
            if let (Some(y), Some(out)) = (luma.get(1), out.get_mut(3..6)) {
                out.copy_from_slice(&colours.rgb(*y, u + u1, v + v1));
            }
            (u, v) = (u1, v1);
        }
    });
    Some(turned(rgb, width, height, turn))
}

/// Turns the pixels; the new size comes back.
fn turned(rgb: &mut Vec<u8>, width: usize, height: usize, turn: Turn) -> (usize, usize) {
    let (to_width, to_height) = match turn {
        Turn::None => return (width, height),
        Turn::Half => (width, height),
        Turn::Quarter | Turn::ThreeQuarters => (height, width),
    };
    let pixels = rgb.as_chunks::<3>().0;
    let mut out = vec![0; rgb.len()];
    out.par_chunks_mut(3 * to_width).enumerate().for_each(|(y, row)| {
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (from_x, from_y) = match turn {
                Turn::None => (x, y),
                Turn::Quarter => (y, height - 1 - x),
                Turn::Half => (width - 1 - x, height - 1 - y),
                Turn::ThreeQuarters => (width - 1 - y, x),
            };
            *pixel = pixels[from_y * width + from_x];
        }
    });
    *rgb = out;
    (to_width, to_height)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::media::yuv::Yuv420;
    use crate::picture::Picture;

    #[test]
    fn our_encoder_s_colours_come_back_and_full_range_is_full() {
        let colours = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.2, 0.5, 0.9], [1.0; 3], [0.0; 3]];
        for colour in colours {
            let mut frame = Yuv420::new(5, 3);
            frame.fill_from(&Picture::filled(5, 3, colour));
            let mut rgb = Vec::new();
            assert_eq!(rgb_of(&frame, &Colours::new(Some(1), false, 3), Turn::None, &mut rgb), Some((6, 4)));
            for pixel in rgb.as_chunks::<3>().0 {
                assert!((0..3).all(|c| (f32::from(pixel[c]) - 255.0 * colour[c]).abs() < 2.5), "{colour:?} became {pixel:?}");
            }
        }
        // Full range, BT.601: luma is grey as it stands; pure red is (76, 85, 255).
        let full = Colours::new(Some(6), true, 3);
        assert_eq!(full.rgb(77, 8 * 128, 8 * 128), [77; 3]);
        let red = full.rgb(76, 8 * 85, 8 * 255);
        assert!(red[0] >= 253 && red[1] <= 2 && red[2] <= 2, "{red:?}");
    }

    #[test]
    fn a_quarter_turn_is_clockwise() {
        // a b c        d a
        // d e f   ->   e b
        //              f c
        let start: Vec<u8> = (b'a'..=b'f').flat_map(|c| [c; 3]).collect();
        let of = |turn| {
            let mut rgb = start.clone();
            let size = turned(&mut rgb, 3, 2, turn);
            (size, String::from_utf8(rgb.iter().step_by(3).copied().collect()).unwrap())
        };
        assert_eq!(of(Turn::Quarter), ((2, 3), "daebfc".to_owned()));
        assert_eq!(of(Turn::Half), ((3, 2), "fedcba".to_owned()));
        assert_eq!(of(Turn::ThreeQuarters), ((2, 3), "cfbead".to_owned()));
    }
}
