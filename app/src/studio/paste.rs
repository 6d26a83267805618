//! The picture in the clipboard.
//!
//! Invariant: the clipboard is read on a thread of its own, since its owner may take long to answer; what is no picture is one clear line.
//! Guarded by the tests below.

use arboard::{Clipboard, ImageData};
use kinebrush_engine::picture::Picture;
use kinebrush_engine::{Error, Result};

use super::document::job::{Job, Wake};
use super::strings::Strings;

/// Most pixels of a pasted picture.
const MAX_PIXELS: usize = 50_000_000;

/// Starts to read the picture in the clipboard.
pub fn read_clipboard(strings: &'static Strings, wake: Wake) -> Job<Picture> {
    Job::start("kinebrush-paste", wake, move || {
        let texts = &strings.messages;
        let image = Clipboard::new().and_then(|mut clipboard| clipboard.get_image()).map_err(|error| match error {
            arboard::Error::ContentNotAvailable => Error::field(strings.shortcuts.paste, texts.clipboard_empty),
            arboard::Error::ConversionFailure => Error::field(strings.shortcuts.paste, texts.clipboard_broken),
            other => Error::field(strings.shortcuts.paste, (texts.clipboard_none)(other.to_string().trim_end_matches('.'))),
        })?;
        picture_from(&image, strings)
    })
}

/// The clipboard's 8-bit RGBA over white.
fn picture_from(image: &ImageData, strings: &Strings) -> Result<Picture> {
    let pixels = image.width.checked_mul(image.height).filter(|pixels| (1..=MAX_PIXELS).contains(pixels));
    if pixels.and_then(|pixels| pixels.checked_mul(4)) != Some(image.bytes.len()) {
        return Err(Error::field(strings.shortcuts.paste, strings.messages.clipboard_broken));
    }
    let over_white = |&[r, g, b, a]: &[u8; 4]| {
        let alpha = f32::from(a) / 255.0;
        [r, g, b].map(|c| f32::from(c) / 255.0 * alpha + (1.0 - alpha))
    };
    Ok(Picture { width: image.width, height: image.height, data: image.bytes.as_chunks::<4>().0.iter().map(over_white).collect() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::studio::strings::ENGLISH;

    #[test]
    fn transparency_goes_over_white_and_odd_sizes_are_refused() {
        let image = |width, height, bytes: Vec<u8>| ImageData { width, height, bytes: bytes.into() };
        let picture = picture_from(&image(2, 1, vec![255, 0, 0, 255, 0, 0, 255, 0]), &ENGLISH).unwrap();
        assert_eq!((picture.at(0, 0), picture.at(1, 0)), ([1.0, 0.0, 0.0], [1.0; 3]));
        for (width, height, bytes) in [(0, 0, 0), (2, 2, 15), (usize::MAX, 2, 8), (3, 1, 16)] {
            assert!(picture_from(&image(width, height, vec![0; bytes]), &ENGLISH).unwrap_err().to_string().contains("damaged"));
        }
    }
}
