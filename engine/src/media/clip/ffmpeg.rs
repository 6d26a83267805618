//! Everything that we do not decode ourselves, through an `ffmpeg` that is installed.
//!
//! Invariant: a plain child process without a shell, which reads local files only and is killed when the clip is dropped; one that
//! says nothing for too long is given up. Guarded by the tests of this folder (skipped where there is no ffmpeg).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::feed::Feed;
use super::{ClipFrame, ClipInfo, FrameSource, STILLS_FPS, check_size};
use crate::{Error, Result};

/// How long a child may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// Faster clips are shown at this rate: nothing filmed is faster, and damaged headers are.
const MAX_FPS: f64 = 240.0;

/// A clip that `ffmpeg` decodes.
pub struct FfmpegClip {
    path: PathBuf,
    info: ClipInfo,
    running: Option<Running>,
    next: usize,
}

/// A child that writes frames.
struct Running {
    child: Child,
    frames: Feed<Vec<u8>>,
    said: File,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens the clip at `path`; `why` says why we do not decode it ourselves ("is HEVC video").
pub fn open(path: &Path, why: &str) -> Result<Box<dyn FrameSource>> {
    let probe = probe(path, why)?;
    let info = info_of(path, why, &probe)?;
    let mut clip = FfmpegClip { path: path.to_owned(), info, running: None, next: 0 };
    // The header of a damaged file may be whole: only a first frame shows that there is something to see.
    let mut first = ClipFrame::default();
    if !clip.next_frame(&mut first)? {
        return Err(Error::file(path, format_args!("{why}, and ffmpeg finds no frame in it; give another clip")));
    }
    clip.seek(0.0)?;
    Ok(Box::new(clip))
}

/// What `ffprobe` says of the first video stream.
fn probe(path: &Path, why: &str) -> Result<Value> {
    let entries = "stream=codec_name,width,height,avg_frame_rate,r_frame_rate,duration,nb_frames:stream_side_data=rotation:format=duration";
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-protocol_whitelist", "file", "-select_streams", "v:0", "-show_entries", entries, "-of", "json"]);
    command.arg(local(path));
    let mut out = scratch(path)?;
    let mut said = scratch(path)?;
    let mut child = spawn(path, why, &mut command, clone(path, &out)?.into(), &said)?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::file(path, "cannot be understood: ffprobe gave no answer in 30 s; convert it to MP4 with H.264"));
            }
        }
    };
    if !status.success() {
        return Err(Error::file(path, format_args!("{why}, and ffmpeg cannot read it ({}); give another clip", first_line(&mut said))));
    }
    serde_json::from_str(&text(&mut out, 1 << 20))
        .map_err(|_| Error::file(path, format_args!("{why}, and ffprobe's answer is no JSON; give another clip")))
}

/// What a probe's answer means.
fn info_of(path: &Path, why: &str, probe: &Value) -> Result<ClipInfo> {
    let Some(stream) = probe["streams"].get(0) else {
        return Err(Error::file(path, format_args!("{why}, and ffmpeg finds no picture in it, only sound or data; give a video")));
    };
    let size = |key: &str| stream[key].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let (mut width, mut height) = (size("width"), size("height"));
    check_size(path, width, height)?;
    let rotation = stream["side_data_list"].as_array().into_iter().flatten().find_map(|data| data["rotation"].as_f64());
    if rotation.is_some_and(|degrees| (degrees.abs() % 180.0 - 90.0).abs() < 45.0) {
        (width, height) = (height, width);
    }
    let rate = |key: &str| {
        let (n, d) = stream[key].as_str()?.split_once('/')?;
        let fps = n.parse::<f64>().ok()? / d.parse::<f64>().ok()?;
        (fps.is_finite() && fps > 0.0).then_some(fps)
    };
    let fps = rate("avg_frame_rate").or_else(|| rate("r_frame_rate")).unwrap_or(STILLS_FPS).min(MAX_FPS);
    let seconds = |value: &Value| value.as_str()?.parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0);
    let seconds = seconds(&stream["duration"]).or_else(|| seconds(&probe["format"]["duration"]));
    let codec = stream["codec_name"].as_str().unwrap_or("video");
    // How many frames come out is known at their end: the length in a header is rounded, or wrong.
    Ok(ClipInfo { width, height, fps, frames: None, seconds, format: format!("{codec} (ffmpeg)") })
}

impl FfmpegClip {
    /// Starts a child that writes frames from the `next` on.
    fn start(&self) -> Result<Running> {
        let ClipInfo { width, height, fps, .. } = self.info;
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-protocol_whitelist", "file,pipe"]);
        if self.next > 0 {
            command.args(["-ss", &format!("{:.6}", self.next as f64 / fps)]);
        }
        command.arg("-i").arg(local(&self.path)).args(["-map", "0:v:0", "-an", "-sn", "-dn"]);
        command.args(["-vf", &format!("fps={fps:.6},scale={width}:{height}"), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]);
        let said = scratch(&self.path)?;
        let mut child = spawn(&self.path, "needs ffmpeg", &mut command, Stdio::piped(), &said)?;
        let Some(mut out) = child.stdout.take() else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::file(&self.path, "cannot be read: ffmpeg has no output; try again"));
        };
        let path = self.path.clone();
        let bytes = 3 * width * height;
        let frames = Feed::start("clip-ffmpeg", move |push| {
            loop {
                let mut rgb = Vec::with_capacity(bytes);
                let count = out.by_ref().take(bytes as u64).read_to_end(&mut rgb).map_err(|error| super::cannot_read(&path, &error))?;
                // A last part of a frame is none.
                if count < bytes || !push(rgb) {
                    return Ok(());
                }
            }
        });
        match frames {
            Ok(frames) => Ok(Running { child, frames, said }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(super::cannot_read(&self.path, &error))
            }
        }
    }
}

impl FrameSource for FfmpegClip {
    fn info(&self) -> &ClipInfo {
        &self.info
    }

    fn next_frame(&mut self, into: &mut ClipFrame) -> Result<bool> {
        if self.running.is_none() {
            self.running = Some(self.start()?);
        }
        let Some(running) = &mut self.running else { return Ok(false) };
        match running.frames.next(PATIENCE) {
            Ok(Some(Ok(rgb))) => {
                let (index, seconds) = (self.next, self.next as f64 / self.info.fps);
                *into = ClipFrame { index, seconds, width: self.info.width, height: self.info.height, rgb };
                self.next += 1;
                Ok(true)
            }
            Ok(Some(Err(error))) => Err(error),
            Ok(None) => {
                let failed = running.child.wait().is_ok_and(|status| !status.success());
                if failed {
                    let line = first_line(&mut running.said);
                    return Err(Error::file(
                        &self.path,
                        format_args!("cannot be decoded after frame {} ({line}); give another clip", self.next),
                    ));
                }
                Ok(false)
            }
            Err(_) => {
                self.running = None;
                Err(Error::file(&self.path, "cannot be decoded: ffmpeg gave no frame in 30 s; convert it to MP4 with H.264"))
            }
        }
    }

    fn seek(&mut self, seconds: f64) -> Result<()> {
        let end = self.info.seconds.unwrap_or(f64::INFINITY) * self.info.fps;
        let frame = (seconds.max(0.0) * self.info.fps + 1e-3).min((end - 1.0).max(0.0)).min(u32::MAX as f64) as usize;
        if frame != self.next || self.running.is_none() {
            self.running = None;
            self.next = frame;
        }
        Ok(())
    }
}

/// The path as one that ffmpeg takes for neither an option nor a protocol.
fn local(path: &Path) -> std::ffi::OsString {
    let mut local = std::ffi::OsString::from("file:");
    local.push(path);
    local
}

fn spawn(path: &Path, why: &str, command: &mut Command, out: Stdio, said: &File) -> Result<Child> {
    command.stdin(Stdio::null()).stdout(out).stderr(clone(path, said)?);
    command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::file(path, format_args!("{why}; install ffmpeg (with ffprobe) to open it, or convert it to MP4 with H.264"))
        }
        _ => Error::file(path, format_args!("{why}, and ffmpeg cannot be started ({error}); convert it to MP4 with H.264")),
    })
}

/// A file without a name: unlike a pipe it never makes the child wait.
fn scratch(path: &Path) -> Result<File> {
    tempfile::tempfile().map_err(|error| Error::file(path, format_args!("cannot be opened: no temporary file can be made ({error})")))
}

fn clone(path: &Path, file: &File) -> Result<File> {
    file.try_clone().map_err(|error| super::cannot_read(path, &error))
}

fn text(file: &mut File, most: u64) -> String {
    let mut bytes = Vec::new();
    // Without its words the error is still one.
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(most).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn first_line(said: &mut File) -> String {
    let text = text(said, 4096);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim();
    line.chars().filter(|c| !c.is_control()).take(160).collect()
}
