//! GIF and animated WebP.
//!
//! Invariant: how long each frame is shown is read from the file's blocks without decoding; frames are decoded one after the other
//! on a thread, and again from the start for a seek back. Guarded by the tests of this folder.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::codecs::gif::GifDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, ImageDecoder, Limits};

use super::feed::Feed;
use super::steady::Timed;
use super::{ClipFrame, ClipInfo, cannot_read, check_size};
use crate::{Error, Result};

/// More frames are refused.
const MAX_FRAMES: usize = 1 << 20;
/// A frame takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GIF.
    Gif,
    /// WebP.
    WebP,
}

impl Kind {
    /// Told by the first bytes.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [b'G', b'I', b'F', b'8', ..] => Some(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            _ => None,
        }
    }
}

/// A moving picture.
pub struct Animation {
    path: PathBuf,
    kind: Kind,
    info: ClipInfo,
    times: Vec<f64>,
    feed: Option<Feed<Vec<u8>>>,
    /// The frame that the feed gives next.
    next: usize,
    wanted: usize,
}

impl Animation {
    /// Opens the animation at `path`.
    pub fn open(path: &Path, kind: Kind) -> Result<Self> {
        let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
        let mut reader = BufReader::new(file);
        let scanned = match kind {
            Kind::Gif => scan_gif(&mut reader),
            Kind::WebP => scan_webp(&mut reader),
        };
        let Scan { width, height, delays } = scanned.map_err(|error| cannot_read(path, &error))?;
        check_size(path, width, height)?;
        if delays.is_empty() {
            return Err(Error::file(path, "does not move: it holds one picture or none; give an animation or a video"));
        }
        if delays.len() >= MAX_FRAMES {
            return Err(Error::file(path, "has more than a million frames; cut the clip into parts"));
        }
        let mut seconds = 0.0;
        let mut times = Vec::with_capacity(delays.len());
        for delay in delays {
            times.push(seconds);
            // Browsers show frames that ask for less than this for a tenth of a second.
            seconds += f64::from(if delay <= 10 { 100 } else { delay }) / 1000.0;
        }
        let format = if kind == Kind::Gif { "GIF" } else { "WebP" }.to_owned();
        let (frames, fps) = (Some(times.len()), times.len() as f64 / seconds);
        let info = ClipInfo { width, height, fps, frames, seconds: Some(seconds), format };
        let mut animation = Self { path: path.to_owned(), kind, info, times, feed: None, next: 0, wanted: 0 };
        // A first frame shows that there is something to see; then from the start.
        animation.decode(&mut ClipFrame::default())?;
        animation.wanted = 0;
        Ok(animation)
    }

    fn start(&self) -> Result<Feed<Vec<u8>>> {
        let (path, kind, size) = (self.path.clone(), self.kind, (self.info.width, self.info.height));
        let work = move |push: &mut dyn FnMut(Vec<u8>) -> bool| {
            let broken = |error: image::ImageError| Error::file(&path, format_args!("is damaged or cut short ({error}); copy it again"));
            let reader = BufReader::new(File::open(&path).map_err(|error| cannot_read(&path, &error))?);
            let frames = match kind {
                Kind::Gif => {
                    let mut decoder = GifDecoder::new(reader).map_err(broken)?;
                    decoder.set_limits(Limits::default()).map_err(broken)?;
                    decoder.into_frames()
                }
                Kind::WebP => WebPDecoder::new(reader).map_err(broken)?.into_frames(),
            };
            for frame in frames {
                let image = frame.map_err(broken)?.into_buffer();
                if (image.width() as usize, image.height() as usize) != size {
                    return Err(Error::file(&path, "changes its size on the way; save it again as a video"));
                }
                // Over white, as pictures are.
                let over = |[r, g, b, a]: [u8; 4]| {
                    [r, g, b].map(|c| ((u32::from(c) * u32::from(a) + 255 * (255 - u32::from(a)) + 127) / 255) as u8)
                };
                let rgb = image.as_raw().as_chunks::<4>().0.iter().flat_map(|pixel| over(*pixel)).collect();
                if !push(rgb) {
                    break;
                }
            }
            Ok(())
        };
        Feed::start("clip-animation", work).map_err(|error| cannot_read(&self.path, &error))
    }
}

impl Timed for Animation {
    fn info(&self) -> &ClipInfo {
        &self.info
    }

    fn times(&self) -> &[f64] {
        &self.times
    }

    fn decode(&mut self, into: &mut ClipFrame) -> Result<bool> {
        if self.next > self.wanted || self.feed.is_none() {
            (self.feed, self.next) = (Some(self.start()?), 0);
        }
        loop {
            let Some(feed) = &self.feed else { return Ok(false) };
            let item = feed
                .next(PATIENCE)
                .map_err(|_| Error::file(&self.path, "cannot be decoded: a frame took more than a minute; save it as a video"))?;
            match item {
                Some(rgb) => {
                    let rgb = rgb?;
                    self.next += 1;
                    if self.next > self.wanted {
                        (into.width, into.height, into.rgb) = (self.info.width, self.info.height, rgb);
                        self.wanted = self.next;
                        return Ok(true);
                    }
                }
                None if self.next < self.times.len() => {
                    let what = format_args!("is damaged: only {} of {} frames can be decoded; copy it again", self.next, self.times.len());
                    return Err(Error::file(&self.path, what));
                }
                None => return Ok(false),
            }
        }
    }

    fn seek(&mut self, frame: usize) -> Result<()> {
        self.wanted = frame;
        Ok(())
    }
}

/// What the blocks of a file say.
struct Scan {
    width: usize,
    height: usize,
    /// How long each frame is shown, ms. Empty if nothing moves.
    delays: Vec<u32>,
}

/// GIF89a, sections 18 to 27.
fn scan_gif(reader: &mut (impl BufRead + Seek)) -> std::io::Result<Scan> {
    let mut screen = [0; 13];
    reader.read_exact(&mut screen)?;
    let short = |bytes: &[u8]| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    let mut scan = Scan { width: short(&screen[6..]), height: short(&screen[8..]), delays: Vec::new() };
    let skip_colours = |reader: &mut dyn Skip, flags: u8| if flags & 0x80 != 0 { reader.skip(3 << ((flags & 7) + 1)) } else { Ok(()) };
    skip_colours(reader, screen[10])?;
    let mut delay = 0;
    loop {
        let mut kind = [0];
        // A file without its end mark shows what it has; the decoder says whether the last frame is whole.
        if reader.read(&mut kind)? == 0 || scan.delays.len() >= MAX_FRAMES {
            return Ok(scan);
        }
        match kind[0] {
            0x21 => {
                let mut label = [0];
                reader.read_exact(&mut label)?;
                if label[0] == 0xF9 {
                    let mut control = [0; 5];
                    reader.read_exact(&mut control)?;
                    delay = 10 * short(&control[2..]) as u32;
                }
                skip_blocks(reader)?;
            }
            0x2C => {
                let mut image = [0; 9];
                reader.read_exact(&mut image)?;
                skip_colours(reader, image[8])?;
                reader.skip(1)?;
                skip_blocks(reader)?;
                scan.delays.push(std::mem::take(&mut delay));
            }
            _ => return Ok(scan),
        }
    }
}

/// Blocks that say their own length, up to the empty one.
fn skip_blocks(reader: &mut (impl Read + Skip)) -> std::io::Result<()> {
    loop {
        let mut length = [0];
        reader.read_exact(&mut length)?;
        match length[0] {
            0 => return Ok(()),
            length => reader.skip(u32::from(length))?,
        }
    }
}

/// The RIFF chunks of an extended WebP: `VP8X` has the size, each `ANMF` a frame.
fn scan_webp(reader: &mut (impl BufRead + Seek)) -> std::io::Result<Scan> {
    reader.skip(12)?;
    let mut scan = Scan { width: 1, height: 1, delays: Vec::new() };
    let int24 = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    loop {
        let mut chunk = [0; 8];
        if reader.read_exact(&mut chunk).is_err() || scan.delays.len() >= MAX_FRAMES {
            return Ok(scan);
        }
        let length = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        let mut head = [0; 16];
        let known = &mut head[..length.min(16) as usize];
        reader.read_exact(known)?;
        match &chunk[..4] {
            b"VP8X" if length >= 10 => (scan.width, scan.height) = (int24(&head[4..]) as usize + 1, int24(&head[7..]) as usize + 1),
            b"ANMF" if length >= 16 => scan.delays.push(int24(&head[12..])),
            _ => {}
        }
        // Chunks have even lengths in the file.
        reader.seek(SeekFrom::Current(i64::from(length) - i64::from(length.min(16)) + i64::from(length % 2)))?;
    }
}

/// Goes over bytes that are not needed.
trait Skip {
    fn skip(&mut self, count: u32) -> std::io::Result<()>;
}

impl<R: BufRead + Seek> Skip for R {
    fn skip(&mut self, count: u32) -> std::io::Result<()> {
        self.seek_relative(i64::from(count))
    }
}
