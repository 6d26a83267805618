//! H.264 in MP4, in pure cargo: openh264 (built from its source) encodes, muxide writes the container.
//!
//! Invariant: constant frame rate, yuv420p, BT.709 limited range and tagged so, `moov` before `mdat`; one frame in, one frame
//! out; the same frames give the same bytes. The file appears only by [`VideoWriter::finish`].
//! Guarded by the tests below (through openh264's decoder) and by `tests/tests/media.rs` (through ffprobe).

use std::path::{Path, PathBuf};

use muxide::api::{Muxer, MuxerBuilder, MuxerError, VideoCodec};
use openh264::OpenH264API;
use openh264::encoder::{BitRate, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, QpRange, RateControlMode, VuiConfig};
use openh264::formats::YUVSource;

use super::atomic::{AtomicFile, cannot_write};
use super::yuv::Yuv420;
use super::{FrameSink, check_size};
use crate::picture::Picture;
use crate::{Error, Result};

/// Ticks per second of the track: muxide's media timescale.
const TIMESCALE: u32 = 90_000;
/// openh264 refuses longer and shorter sides.
pub(crate) const MAX_SIDES: (usize, usize) = (3840, 2160);
const MIN_SIDE: usize = 16;
/// How much of a video is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quality {
    /// For messages.
    Small,
    /// For most screens.
    Good,
    /// For further work.
    #[default]
    Best,
}

impl Quality {
    /// H.264's quantiser; constant, so that quality is.
    fn quantiser(self) -> u8 {
        match self {
            Self::Small => 30,
            Self::Good => 22,
            // Measured on the panning coffee of the test, 360p at 16 frames/s: 40.7 dB in RGB (4:2:0 alone: 45.5) at 2 Mbit/s.
            Self::Best => 14,
        }
    }

    /// About how many bytes a video will have, all of which are held in memory until it is finished: of a calm picture (measured on the
    /// rocket preset) and of a lively one (coffee).
    pub fn expected_bytes(self, width: usize, height: usize, frames: usize) -> (u64, u64) {
        let (calm, lively) = match self {
            Self::Small => (0.018, 0.04),
            Self::Good => (0.047, 0.112),
            Self::Best => (0.107, 0.277),
        };
        let bytes = |bits_per_px: f64| (bits_per_px / 8.0 * width as f64 * height as f64 * frames as f64) as u64;
        (bytes(calm), bytes(lively))
    }
}

/// muxide holds the compressed video in memory until the end, and MP4's 32-bit offsets end at 4 GiB.
pub(crate) const MAX_BYTES: usize = 2 << 30;

/// An MP4 file that is being written.
pub struct VideoWriter {
    path: PathBuf,
    muxer: Muxer<AtomicFile>,
    encoder: FrameEncoder,
    bytes: usize,
    fps: u32,
}

impl VideoWriter {
    /// Opens a video of `width` x `height` px at `fps` frames per second, 1..=60. A side that is odd grows by one replicated
    /// column or row, because 4:2:0 has even sides. Where 90 000 is no multiple of `fps`, the time of a frame is rounded to
    /// 1/90 000 s, the same for each. Fails for sizes that H.264 encoding cannot do here and for a place that cannot be written.
    pub fn create(path: &Path, width: usize, height: usize, fps: u32) -> Result<Self> {
        Self::with_quality(path, width, height, fps, Quality::default())
    }

    /// As [`VideoWriter::create`], of another quality.
    pub fn with_quality(path: &Path, width: usize, height: usize, fps: u32, quality: Quality) -> Result<Self> {
        let (long, short) = (width.max(height), width.min(height));
        if long > MAX_SIDES.0 || short > MAX_SIDES.1 || short < MIN_SIDE {
            let what = format_args!(
                "a video of {width}x{height} cannot be encoded; sides go from {MIN_SIDE} to {}x{}: choose another size or write a PNG folder",
                MAX_SIDES.0, MAX_SIDES.1
            );
            return Err(Error::file(path, what));
        }
        if !(1..=60).contains(&fps) {
            return Err(Error::file(path, format_args!("{fps} frames/s cannot be encoded; choose 1 to 60")));
        }
        let encoder = FrameEncoder::new(width, height, fps, quality).map_err(|error| encoder_failed(path, &error))?;
        let (coded_width, coded_height) = encoder.frame.dimensions();
        let muxer = MuxerBuilder::new(AtomicFile::create(path)?)
            .video(VideoCodec::H264, coded_width as u32, coded_height as u32, f64::from(fps))
            .with_fast_start(true)
            .build()
            .map_err(|error| muxer_failed(path, error))?;
        Ok(Self { path: path.to_owned(), muxer, encoder, bytes: 0, fps })
    }

    /// Encodes the next frame.
    pub fn push(&mut self, frame: &Picture) -> Result<()> {
        check_size(&self.path, self.encoder.index, frame, self.encoder.width, self.encoder.height)?;
        let index = self.encoder.index;
        let (sample, is_key) = self.encoder.encode(frame).map_err(|error| encoder_failed(&self.path, &error))?;
        self.store(index, &sample, is_key)
    }

    /// Completes the file and gives it its name. Fails, leaving nothing, if no frame was pushed.
    pub fn finish(mut self) -> Result<()> {
        if self.encoder.index == 0 {
            return Err(Error::file(&self.path, "would be an empty video; render at least one frame"));
        }
        if self.encoder.index == 1 {
            // muxide knows a frame's time only by the next one: alone it would last 1/90 000 s. Shown twice, it lasts.
            let (sample, is_key) = self.encoder.repeat().map_err(|error| encoder_failed(&self.path, &error))?;
            self.store(1, &sample, is_key)?;
        }
        self.muxer.finish_in_place().map_err(|error| muxer_failed(&self.path, error))?;
        self.muxer.into_writer().commit()
    }

    /// Hands one access unit to the muxer, having made sure of all that it would otherwise panic on.
    fn store(&mut self, index: usize, sample: &[u8], is_key: bool) -> Result<()> {
        if sample.is_empty() {
            return Err(Error::file(&self.path, format_args!("the encoder gave nothing for frame {index}; write a PNG folder instead")));
        }
        self.bytes += sample.len();
        if self.bytes > MAX_BYTES {
            let what = format_args!("passes 2 GiB at frame {index}; render fewer frames at a time or a PNG folder");
            return Err(Error::file(&self.path, what));
        }
        let ticks = (f64::from(TIMESCALE) / f64::from(self.fps)).round();
        let seconds = index as f64 * ticks / f64::from(TIMESCALE);
        self.muxer.write_video(seconds, sample, is_key).map_err(|error| muxer_failed(&self.path, error))
    }
}

impl FrameSink for VideoWriter {
    fn push(&mut self, frame: &Picture) -> Result<()> {
        VideoWriter::push(self, frame)
    }
    fn finish(self: Box<Self>) -> Result<()> {
        VideoWriter::finish(*self)
    }
}

/// Pictures to H.264 access units (Annex B).
struct FrameEncoder {
    encoder: Encoder,
    frame: Yuv420,
    width: usize,
    height: usize,
    index: usize,
}

impl FrameEncoder {
    fn new(width: usize, height: usize, fps: u32, quality: Quality) -> Result<Self, openh264::Error> {
        let frame = Yuv420::new(width, height);
        // The encoder derives the stream's level from this; a fine quantiser takes about half a bit a pixel.
        let bits = frame.y().len() as u64 * u64::from(fps) / 2;
        let config = EncoderConfig::new()
            .skip_frames(false)
            .bitrate(BitRate::from_bps(bits.clamp(1_000_000, 200_000_000) as u32))
            .max_frame_rate(FrameRate::from_hz(fps as f32))
            .intra_frame_period(IntraFramePeriod::from_num_frames(2 * fps))
            // This mode walks the quantiser to the lower end of its range and stays: constant quality, no frame dropped, and no
            // warning on stderr as the others print without frame skipping.
            .rate_control_mode(RateControlMode::Bufferbased)
            .qp(QpRange::new(quality.quantiser(), quality.quantiser()))
            .adaptive_quantization(false)
            .background_detection(false)
            .vui(VuiConfig::bt709())
            // One thread: the bytes must not depend on the machine.
            .num_threads(1);
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), config)?;
        Ok(Self { encoder, frame, width, height, index: 0 })
    }

    fn encode(&mut self, picture: &Picture) -> Result<(Vec<u8>, bool), openh264::Error> {
        self.frame.fill_from(picture);
        self.repeat()
    }

    /// The last frame once more.
    fn repeat(&mut self) -> Result<(Vec<u8>, bool), openh264::Error> {
        let bits = self.encoder.encode(&self.frame)?;
        self.index += 1;
        Ok((bits.to_vec(), bits.frame_type() == FrameType::IDR))
    }
}

fn encoder_failed(path: &Path, error: &openh264::Error) -> Error {
    Error::file(path, format_args!("the H.264 encoder failed ({error}); try another size or write a PNG folder"))
}

fn muxer_failed(path: &Path, error: MuxerError) -> Error {
    match error {
        MuxerError::Io(error) => cannot_write(path, &error),
        error => Error::file(path, format_args!("the MP4 writer failed ({error}); write a PNG folder instead")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::media::picture_file::load_picture;
    use openh264::decoder::{DecodeOptions, Decoder, DecoderConfig, Flush};
    use std::fs;

    /// `count` frames of a picture that pans and zooms.
    fn moving(width: usize, height: usize, count: usize) -> Vec<Picture> {
        let coffee = load_picture(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pictures/coffee.png")).unwrap();
        let frame = |t: usize| {
            let zoom = 0.55 + 0.008 * t as f32;
            let scale = zoom * coffee.width as f32 / width as f32;
            let left = 2.5 * t as f32;
            Picture::from_fn(width, height, |x, y| {
                coffee.bicubic(left + (x as f32 + 0.5) * scale, 20.0 + (y as f32 + 0.5) * scale).map(|c| c.clamp(0.0, 1.0))
            })
        };
        (0..count).map(frame).collect()
    }

    /// BT.709 limited range back to RGB, chroma taken linearly between its left-sited samples.
    fn rgb_of(yuv: &impl YUVSource) -> Picture {
        let ((width, height), (sy, su, _)) = (yuv.dimensions(), yuv.strides());
        let (luma, blue, red) = (yuv.y(), yuv.u(), yuv.v());
        Picture::from_fn(width, height, |x, y| {
            let chroma = |plane: &[u8]| {
                let at = |cx: usize, cy: usize| f32::from(plane[cy.min(height / 2 - 1) * su + cx.min(width / 2 - 1)]);
                let near = y / 2;
                let far = if y % 2 == 0 { near.saturating_sub(1) } else { near + 1 };
                let row = |cy: usize| if x % 2 == 0 { at(x / 2, cy) } else { 0.5 * (at(x / 2, cy) + at(x / 2 + 1, cy)) };
                (0.75 * row(near) + 0.25 * row(far) - 128.0) / 224.0
            };
            let (luma, cb, cr) = ((f32::from(luma[y * sy + x]) - 16.0) / 219.0, chroma(blue), chroma(red));
            // The matrix of BT.709, written out: independent of the constants that encode.
            [luma + 1.5748 * cr, luma - 0.187_324 * cb - 0.468_124 * cr, luma + 1.8556 * cb].map(|c| c.clamp(0.0, 1.0))
        })
    }

    fn decoded(samples: &[Vec<u8>]) -> Vec<Picture> {
        let mut decoder = Decoder::with_api_config(OpenH264API::from_source(), DecoderConfig::new()).unwrap();
        let mut frames = Vec::new();
        for sample in samples {
            let options = DecodeOptions::new().flush_after_decode(Flush::NoFlush);
            frames.extend(decoder.decode_with_options(sample, options).unwrap().as_ref().map(rgb_of));
        }
        frames.extend(decoder.flush_remaining().unwrap().iter().map(rgb_of));
        frames
    }

    fn encoded(frames: &[Picture], fps: u32) -> Vec<Vec<u8>> {
        encoded_as(frames, fps, Quality::Best)
    }

    fn encoded_as(frames: &[Picture], fps: u32, quality: Quality) -> Vec<Vec<u8>> {
        let mut encoder = FrameEncoder::new(frames[0].width, frames[0].height, fps, quality).unwrap();
        frames.iter().map(|frame| encoder.encode(frame).unwrap().0).collect()
    }

    fn psnr(a: &[Picture], b: &[Picture]) -> f64 {
        assert_eq!(a.len(), b.len());
        let pairs = || a.iter().zip(b).flat_map(|(a, b)| a.data.iter().zip(&b.data));
        let sum: f64 = pairs().flat_map(|(a, b)| [0, 1, 2].map(|c| f64::from(a[c] - b[c]).powi(2))).sum();
        -10.0 * (sum / (3 * pairs().count()) as f64).log10()
    }

    #[test]
    fn a_natural_picture_in_motion_comes_back_above_38_db() {
        let frames = moving(640, 360, 24);
        let samples = encoded(&frames, 16);
        let bytes: usize = samples.iter().map(Vec::len).sum();
        let psnr = psnr(&frames, &decoded(&samples));
        println!("360p: {psnr:.2} dB RGB, {} kbit/s", bytes * 8 * 16 / 24 / 1000);
        assert!(psnr >= 38.0, "{psnr} dB");
    }

    #[test]
    fn each_step_of_quality_is_smaller_and_still_fair() {
        let frames = moving(640, 360, 12);
        let of = |quality| {
            let samples = encoded_as(&frames, 16, quality);
            let (bytes, psnr) = (samples.iter().map(Vec::len).sum::<usize>(), psnr(&frames, &decoded(&samples)));
            println!("{quality:?}: {psnr:.2} dB, {bytes} bytes");
            (bytes, psnr)
        };
        let (small, good, best) = (of(Quality::Small), of(Quality::Good), of(Quality::Best));
        assert!(2 * small.0 < good.0 && 2 * good.0 < best.0 + best.0 / 4);
        assert!(small.1 > 30.0 && good.1 > 35.0 && best.1 > 38.0);
    }

    #[test]
    fn flat_patches_keep_their_colour() {
        // A wrong matrix is off by 0.05 and more here, a wrong range by 0.07 in black and white.
        let patch = |x: usize, y: usize| [x % 2, x / 2, y].map(|bit| [0.0, 1.0, 0.5][bit % 3]);
        let chart = Picture::from_fn(256, 96, |x, y| patch(x / 64, y / 32));
        let back = decoded(&encoded(&[chart.clone(), chart.clone()], 16)).pop().unwrap();
        for (x, y) in (0..4).flat_map(|x| (0..3).map(move |y| (x * 64 + 32, y * 32 + 16))) {
            let (a, b) = (chart.at(x, y), back.at(x, y));
            assert!((0..3).all(|c| (a[c] - b[c]).abs() < 0.012), "({x}, {y}): {a:?} became {b:?}");
        }
    }

    #[test]
    fn sizes_that_are_no_multiple_of_a_macroblock_keep_their_edges() {
        for (width, height) in [(16, 16), (386, 218), (101, 67)] {
            // Brightest at the edges, so that a cropped or shifted one is seen.
            let slope = |i: usize, n: usize| (i as f32 / (n - 1) as f32 - 0.5).abs() * 2.0;
            let frame = |t: usize| Picture::from_fn(width, height, |x, y| [slope(x, width), slope(y, height), 0.1 * t as f32]);
            let frames: Vec<Picture> = (0..3).map(frame).collect();
            let given: Vec<Picture> = frames
                .iter()
                .map(|picture| {
                    let mut frame = Yuv420::new(width, height);
                    frame.fill_from(picture);
                    rgb_of(&frame)
                })
                .collect();
            let back = decoded(&encoded(&frames, 16));
            assert_eq!((back[0].width, back[0].height), (width.next_multiple_of(2), height.next_multiple_of(2)));
            assert!(psnr(&given, &back) > 38.0, "{width}x{height}: {} dB", psnr(&given, &back));
        }
    }

    #[test]
    fn the_file_appears_whole_and_the_same_frames_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            let mut writer = VideoWriter::create(&path, 96, 64, 16).unwrap();
            for frame in moving(96, 64, 5) {
                writer.push(&frame).unwrap();
                assert!(!path.exists());
            }
            writer.finish().unwrap();
            fs::read(path).unwrap()
        };
        assert_eq!(write("a.mp4"), write("b.mp4"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_a_video_is_refused_by_name_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let refusal = |width, height, fps| VideoWriter::create(&path, width, height, fps).err().expect("must be refused").to_string();
        assert!(refusal(0, 64, 16).contains("0x64"));
        assert!(refusal(4000, 2000, 16).contains("3840x2160"));
        assert!(refusal(64, 64, 0).contains("0 frames/s"));
        let empty = VideoWriter::create(&path, 64, 64, 16).unwrap().finish().unwrap_err().to_string();
        assert!(empty.contains("at least one frame"), "{empty}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let missing = VideoWriter::create(&folder.path().join("no/a.mp4"), 64, 64, 16).err().expect("must be refused").to_string();
        assert!(missing.contains("does not exist"), "{missing}");
    }
}
