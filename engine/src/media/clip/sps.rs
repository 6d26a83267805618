//! H.264's sequence parameter set: what a stream needs of its decoder and how its colours are meant.
//!
//! Invariant: any bytes give a [`Sps`] or `None`; nothing is read beyond their end. ITU-T H.264 (2021), 7.3.2.1 and E.1.1.
//! Guarded by the tests below and those of this folder.

/// What we need of a sequence parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// Columns after cropping.
    pub width: usize,
    /// Rows after cropping.
    pub height: usize,
    /// 8-bit 4:2:0, whole frames: what our decoder does.
    pub is_plain: bool,
    /// Whether luma goes from 0 to 255 rather than 16 to 235, if that is said.
    pub full_range: Option<bool>,
    /// `matrix_coefficients` of table E-5, if said.
    pub matrix: Option<u8>,
}

impl Sps {
    /// Reads the NAL unit `nal`, header byte included.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(nal.get(1..)?);
        let profile = bits.take(8)?;
        bits.take(16)?;
        bits.ue()?;
        let mut is_plain = true;
        if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
            let chroma = bits.ue()?;
            let separate = chroma == 3 && bits.flag()?;
            let depths = (bits.ue()?, bits.ue()?);
            let lossless = bits.flag()?;
            is_plain = chroma == 1 && !separate && depths == (0, 0) && !lossless;
            if bits.flag()? {
                for i in 0..if chroma == 3 { 12 } else { 8 } {
                    if bits.flag()? {
                        bits.skip_scaling_list(if i < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        bits.ue()?;
        match bits.ue()? {
            0 => drop(bits.ue()?),
            1 => {
                bits.take(1)?;
                bits.ue()?;
                bits.ue()?;
                for _ in 0..bits.ue()?.min(256) {
                    bits.ue()?;
                }
            }
            _ => {}
        }
        bits.ue()?;
        bits.take(1)?;
        let (columns, rows) = (u64::from(bits.ue()?) + 1, u64::from(bits.ue()?) + 1);
        let frames_only = bits.flag()?;
        if !frames_only {
            bits.take(1)?;
        }
        bits.take(1)?;
        let mut crop = [0u64; 4];
        if bits.flag()? {
            for side in &mut crop {
                *side = u64::from(bits.ue()?);
            }
        }
        // Of 4:2:0; other kinds are not decoded here.
        let fields = if frames_only { 1 } else { 2 };
        let width = (16 * columns).checked_sub(2 * (crop[0] + crop[1]))?;
        let height = (16 * rows * fields).checked_sub(2 * fields * (crop[2] + crop[3]))?;
        let (width, height) = (usize::try_from(width).ok()?, usize::try_from(height).ok()?);
        // What is cut off after here has its defaults: many encoders were careless about it.
        let (full_range, matrix) = bits.colour().unwrap_or_default();
        Some(Self { width, height, is_plain: is_plain && frames_only, full_range, matrix })
    }
}

/// Bits of a NAL unit's payload, emulation prevention removed on the way.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    zeros: u32,
    byte: u8,
    left: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, zeros: 0, byte: 0, left: 0 }
    }

    fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            if self.zeros >= 2 && self.bytes.get(self.at) == Some(&3) {
                (self.at, self.zeros) = (self.at + 1, 0);
            }
            self.byte = *self.bytes.get(self.at)?;
            self.zeros = if self.byte == 0 { self.zeros + 1 } else { 0 };
            (self.at, self.left) = (self.at + 1, 8);
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0u32, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    /// Unsigned Exp-Golomb.
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }

    /// Signed Exp-Golomb.
    fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 })
    }

    fn skip_scaling_list(&mut self, length: usize) -> Option<()> {
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..length {
            if next != 0 {
                next = (last + self.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Some(())
    }

    /// Range and matrix from the usability information, as far as they are said.
    fn colour(&mut self) -> Option<(Option<bool>, Option<u8>)> {
        if !self.flag()? {
            return None;
        }
        if self.flag()? && self.take(8)? == 255 {
            self.take(32)?;
        }
        if self.flag()? {
            self.take(1)?;
        }
        if !self.flag()? {
            return None;
        }
        self.take(3)?;
        let full_range = self.flag()?;
        let matrix = match self.flag()? {
            true => Some((self.take(24)? & 0xFF) as u8),
            false => None,
        };
        Some((Some(full_range), matrix))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// A set of x264: High, 1920x1080 (8 rows cropped), BT.709, limited range.
    const HIGH_1080: &str = "67640028acd940780227e5c05a808080a0000003002000000781e3063 2c0";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn a_set_of_x264_is_understood_and_any_part_of_it_does_no_harm() {
        let nal = bytes(HIGH_1080);
        let sps = Sps::parse(&nal).unwrap();
        assert_eq!((sps.width, sps.height, sps.is_plain), (1920, 1080, true));
        assert_eq!((sps.full_range, sps.matrix), (Some(false), Some(1)));
        for length in 0..nal.len() {
            if let Some(part) = Sps::parse(&nal[..length]) {
                assert_eq!((part.width, part.height), (1920, 1080));
            }
        }
        // Zeros are endless prefixes of numbers, ones the shortest.
        assert_eq!(Sps::parse(&[0x67; 0]), None);
        assert_eq!(Sps::parse(&[0; 4000]), None);
        Sps::parse(&[0xFF; 4000]);
    }
}
