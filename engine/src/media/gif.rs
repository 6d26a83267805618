//! Animated GIF: a palette for each frame, endless.
//!
//! Invariant: GIF counts time in 1/100 s, so frames last alternately longer and shorter, and the whole as long as it should to 1/100 s;
//! the file appears only by [`GifWriter::finish`]. Guarded by the tests below and `tests/tests/export.rs`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, ImageError, RgbaImage};

use super::atomic::{AtomicFile, cannot_write};
use super::picture_file::rgb8;
use super::{FrameSink, check_size};
use crate::picture::Picture;
use crate::{Error, Result};

/// Longer side of a GIF unless somebody says otherwise, px.
pub const GIF_PX: usize = 640;
/// How thoroughly palettes are searched: 1 is best, 30 is fastest; 10 is what the algorithm's authors advise.
const SPEED: i32 = 10;
/// Hundredths of a second in a second.
const TICKS: usize = 100;

/// A GIF that is being written.
pub struct GifWriter {
    path: PathBuf,
    encoder: GifEncoder<Shared>,
    file: Arc<Mutex<BufWriter<AtomicFile>>>,
    width: usize,
    height: usize,
    /// Frames per second: numerator, denominator.
    fps: (usize, usize),
    count: usize,
}

/// The file for the encoder, which does not give it back.
struct Shared(Arc<Mutex<BufWriter<AtomicFile>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

impl GifWriter {
    /// Opens a GIF of `width` x `height` px with `fps.0 / fps.1` frames a second, at most 50: browsers slow down what is faster.
    ///
    /// # Errors
    /// A size or rate that no GIF has, and a place that cannot be written.
    pub fn create(path: &Path, width: usize, height: usize, fps: (usize, usize)) -> Result<Self> {
        let most = usize::from(u16::MAX);
        if !(1..=most).contains(&width) || !(1..=most).contains(&height) {
            return Err(Error::file(path, format_args!("a GIF of {width}x{height} cannot be written; sides go from 1 to {most}")));
        }
        if fps.0 == 0 || fps.1 == 0 || fps.0 > 50 * fps.1 {
            return Err(Error::file(path, format_args!("{}/{} frames/s cannot be written as GIF; choose at most 50", fps.0, fps.1)));
        }
        let file = Arc::new(Mutex::new(BufWriter::new(AtomicFile::create(path)?)));
        let mut encoder = GifEncoder::new_with_speed(Shared(file.clone()), SPEED);
        encoder.set_repeat(Repeat::Infinite).map_err(|e| failed(path, e))?;
        Ok(Self { path: path.to_owned(), encoder, file, width, height, fps, count: 0 })
    }

    /// When frame `index` starts, in 1/100 s.
    fn tick(&self, index: usize) -> usize {
        (2 * index * TICKS * self.fps.1 + self.fps.0) / (2 * self.fps.0)
    }
}

impl FrameSink for GifWriter {
    fn push(&mut self, frame: &Picture) -> Result<()> {
        check_size(&self.path, self.count, frame, self.width, self.height)?;
        let rgba = rgb8(frame).as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
        let what = || Error::file(&self.path, "has a frame of another size; this is a fault of the program");
        let picture = RgbaImage::from_raw(self.width as u32, self.height as u32, rgba).ok_or_else(what)?;
        let ticks = self.tick(self.count + 1) - self.tick(self.count);
        let delay = Delay::from_numer_denom_ms(10 * ticks as u32, 1);
        self.encoder.encode_frame(Frame::from_parts(picture, 0, 0, delay)).map_err(|e| failed(&self.path, e))?;
        self.count += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        if self.count == 0 {
            return Err(Error::file(&self.path, "would be an empty GIF; render at least one frame"));
        }
        let Self { path, encoder, file, .. } = *self;
        // Dropped, the encoder writes the end.
        drop(encoder);
        let file = Arc::into_inner(file).ok_or_else(|| Error::file(&path, "is still being written; this is a fault of the program"))?;
        let file = file.into_inner().unwrap_or_else(PoisonError::into_inner);
        file.into_inner().map_err(|e| cannot_write(&path, e.error()))?.commit()
    }
}

fn failed(path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::IoError(error) => cannot_write(path, &error),
        error => Error::file(path, format_args!("the GIF encoder failed ({error}); write a video or a PNG folder instead")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use image::AnimationDecoder;
    use image::codecs::gif::GifDecoder;

    #[test]
    fn frames_and_the_whole_time_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        let frame = |t: usize| Picture::from_fn(24, 10, |x, _| [if x == t { 1.0 } else { 0.0 }, 0.2, 0.6]);
        let mut writer = Box::new(GifWriter::create(&path, 24, 10, (16, 1)).unwrap());
        for t in 0..16 {
            writer.push(&frame(t)).unwrap();
        }
        assert!(!path.exists() && writer.push(&Picture::filled(10, 24, [0.0; 3])).is_err());
        writer.finish().unwrap();
        let decoder = GifDecoder::new(std::io::Cursor::new(std::fs::read(&path).unwrap())).unwrap();
        let frames = decoder.into_frames().collect_frames().unwrap();
        let delays: Vec<u32> = frames.iter().map(|frame| frame.delay().numer_denom_ms().0).collect();
        assert!(delays.iter().sum::<u32>() == 1000 && delays.iter().all(|ms| [60, 70].contains(ms)), "{delays:?}");
        for (t, shown) in frames.iter().enumerate() {
            let bytes: Vec<u8> = shown.buffer().pixels().flat_map(|p| [p[0], p[1], p[2]]).collect();
            assert!(bytes.iter().zip(rgb8(&frame(t))).all(|(a, b)| a.abs_diff(b) < 3), "frame {t}");
        }
    }

    #[test]
    fn what_no_gif_is_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        let refused = |width, fps| GifWriter::create(&path, width, 8, fps).err().unwrap().to_string();
        assert!(refused(70_000, (16, 1)).contains("70000x8"));
        assert!(refused(8, (16, 0)).contains("16/0") && refused(8, (60, 1)).contains("60/1"));
        assert!(Box::new(GifWriter::create(&path, 8, 8, (16, 1)).unwrap()).finish().unwrap_err().to_string().contains("empty GIF"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
