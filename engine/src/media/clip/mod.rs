//! Clips in: any video, as frames one after the other.
//!
//! Invariant: frame `i` is shown at `i / fps` seconds (a clip of variable rate is brought to its mean rate), upright and in sRGB
//! bytes; a clip never sits whole in memory, and nothing is allocated by a number that a file claims. Guarded by the tests of this
//! folder.

mod animation;
mod convert;
mod feed;
mod ffmpeg;
mod h264;
mod mp4;
mod numbered;
mod sps;
mod steady;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

use crate::picture::{Mask, Picture};
use crate::{Error, Result};

/// Larger frames are refused: what H.264 goes to at level 5.2, and 4K in either direction.
pub const MAX_PIXELS: usize = 4096 * 2304;
/// No side may be longer, px.
const MAX_SIDE: usize = 8192;
/// Frames per second of pictures that say nothing about it.
const STILLS_FPS: f64 = 16.0;

/// What is known of a clip before its frames are decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipInfo {
    /// Width as shown (rotation applied), px.
    pub width: usize,
    /// Height as shown (rotation applied), px.
    pub height: usize,
    /// Frames per second; the mean where the clip's rate varies.
    pub fps: f64,
    /// Number of frames, where it is known before the end.
    pub frames: Option<usize>,
    /// Length, seconds, where it is known before the end.
    pub seconds: Option<f64>,
    /// For people: "H.264 in MP4", "GIF", "hevc (ffmpeg)".
    pub format: String,
}

/// One frame of a clip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClipFrame {
    /// Counted from 0 at the clip's start.
    pub index: usize,
    /// When it is shown: `index / fps`.
    pub seconds: f64,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row-major RGB, 8 bits, sRGB.
    pub rgb: Vec<u8>,
}

impl ClipFrame {
    /// The frame as a picture, 0..1.
    pub fn to_picture(&self) -> Picture {
        let data = self.rgb.as_chunks::<3>().0.iter().map(|rgb| rgb.map(|c| f32::from(c) / 255.0)).collect();
        Picture { width: self.width, height: self.height, data }
    }

    /// The frame's luma (BT.709 weights on encoded values), 0..1: what a tracker looks at.
    pub fn to_luma(&self) -> Mask {
        let luma = |[r, g, b]: &[u8; 3]| (0.2126 * f32::from(*r) + 0.7152 * f32::from(*g) + 0.0722 * f32::from(*b)) / 255.0;
        Mask { width: self.width, height: self.height, data: self.rgb.as_chunks::<3>().0.iter().map(luma).collect() }
    }

    /// The frame made so small that no side is longer than `side` px; one that is small enough stays. For thumbnails.
    pub fn shrunk(&self, side: usize) -> Self {
        let longer = self.width.max(self.height);
        if longer <= side.max(1) {
            return self.clone();
        }
        let of = |length: usize| (length * side.max(1) / longer).max(1);
        let (width, height) = (of(self.width), of(self.height));
        let mut rgb = Vec::with_capacity(3 * width * height);
        for y in 0..height {
            let rows = y * self.height / height..((y + 1) * self.height / height).max(y * self.height / height + 1);
            for x in 0..width {
                let columns = x * self.width / width..((x + 1) * self.width / width).max(x * self.width / width + 1);
                let count = (rows.len() * columns.len()) as u32;
                let mut sum = [0u32; 3];
                for row in rows.clone() {
                    let pixels = &self.rgb[3 * (row * self.width + columns.start)..3 * (row * self.width + columns.end)];
                    pixels.as_chunks::<3>().0.iter().for_each(|p| (0..3).for_each(|c| sum[c] += u32::from(p[c])));
                }
                rgb.extend(sum.map(|c| ((c + count / 2) / count) as u8));
            }
        }
        Self { width, height, rgb, ..*self }
    }
}

/// Where frames come from, one after the other.
pub trait FrameSource: Send {
    /// What is known of the clip.
    fn info(&self) -> &ClipInfo;
    /// Decodes the next frame into `into`, whose buffer is used again; false at the end, and then `into` is as it was. An error says
    /// what is wrong where; after it, the clip is at its end.
    fn next_frame(&mut self, into: &mut ClipFrame) -> Result<bool>;
    /// Makes the frame that is shown at `seconds` the next one; times outside the clip are clamped to it.
    fn seek(&mut self, seconds: f64) -> Result<()>;
}

/// Opens the clip at `path`: MP4, MOV and M4V with H.264, GIF, animated WebP, a folder of pictures, a numbered run
/// (`name_%04d.png`, or one picture of the run); anything else through `ffmpeg` where that is installed. Told by content, not name.
/// Fails with one line if there is nothing to see in it, it is cut short, or too large.
pub fn open_clip(path: &Path) -> Result<Box<dyn FrameSource>> {
    if let Some(run) = numbered::Numbered::open(path)? {
        return Ok(Box::new(run));
    }
    let metadata = path.metadata().map_err(|error| cannot_read(path, &error))?;
    // Opening a pipe or a device could wait for ever.
    if !metadata.is_file() {
        return Err(Error::file(path, "is neither a file nor a folder of pictures; give a video"));
    }
    if metadata.len() == 0 {
        return Err(Error::file(path, "is empty; give a video"));
    }
    let mut head = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut head)).map_err(|error| cannot_read(path, &error))?;
    if let Some(kind) = animation::Kind::of(&head) {
        return steady::steady(Box::new(animation::Animation::open(path, kind)?));
    }
    if !mp4::is_mp4(&head) {
        return ffmpeg::open(path, "is no video that Kinebrush reads itself");
    }
    match h264::Mp4Clip::open(path) {
        Ok(clip) => steady::steady(Box::new(clip)),
        Err(mp4::Refusal::Broken(error)) => Err(error),
        Err(mp4::Refusal::Foreign(what)) => ffmpeg::open(path, &what),
    }
}

/// The frame of `source` that is shown at `seconds`, no side longer than `side` px. The source stands after it.
pub fn thumbnail(source: &mut dyn FrameSource, seconds: f64, side: usize) -> Result<ClipFrame> {
    source.seek(seconds)?;
    let mut frame = ClipFrame::default();
    if !source.next_frame(&mut frame)? {
        return Err(Error::field("clip", format_args!("has no frame at {seconds:.2} s; choose a time inside it")));
    }
    Ok(frame.shrunk(side))
}

/// Judges a size before anything is allocated by it.
fn check_size(path: &Path, width: usize, height: usize) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::file(path, format_args!("claims frames of {width}x{height} px; give another clip")));
    }
    if width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS {
        let what = "clips go up to 4096x2304: make it smaller first, for example with ffmpeg -i IN -vf scale=1920:-2 OUT.mp4";
        return Err(Error::file(path, format_args!("is {width}x{height} px; {what}")));
    }
    Ok(())
}

fn changed_size(path: &Path, seconds: f64, (width, height): (usize, usize), now: (usize, usize)) -> Error {
    let (to_width, to_height) = now;
    let what = format_args!(
        "changes from {width}x{height} to {to_width}x{to_height} px at {seconds:.2} s; cut it there, or convert it to one size"
    );
    Error::file(path, what)
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::file(path, "does not exist; check the path of the clip"),
        std::io::ErrorKind::PermissionDenied => Error::file(path, "may not be read; change its permissions"),
        std::io::ErrorKind::UnexpectedEof => Error::file(path, "is cut short; copy the clip again"),
        _ => Error::file(path, format_args!("cannot be read ({error}); check the path of the clip")),
    }
}
