//! A clip made again from its first frame and the tracks of its points: the protocol of MotionStream (arXiv 2511.01266).
//!
//! Tracks that were found in the clip drive a project whose picture is the first frame; what comes out is compared with the clip: the
//! model, the guide alone and, as a floor, the first frame standing still. The error of the motion is measured by tracking the result
//! from the same points. Invariant: frames pass one at a time, so a long clip takes no more memory than its tracks. Guarded by
//! `tests/tests/reconstruct.rs`.

use std::path::Path;

use candle_core::Device;
use glam::Vec2;
use serde::Serialize;

use super::similarity::{psnr_db, ssim};
use crate::error::{Error, Result};
use crate::media::clip::{ClipFrame, FrameSource, open_clip};
use crate::media::picture_file::save_png;
use crate::model::checkpoint::Checkpoint;
use crate::motion::Project;
use crate::motion::npz::Tracks;
use crate::motion::track_field::TrackFrame;
use crate::motion::tracker::{LucasKanade, PointTracker, grid};
use crate::motion::transfer::Transfer;
use crate::picture::{Mask, Picture};
use crate::stream::render::Renderer;

/// Larger clips are made smaller first: longest side, px.
const MAX_SIDE: usize = 640;
/// Points along the longer side of the grid.
const POINTS: usize = 50;
/// Rows of the contact sheet.
const SHEET_ROWS: usize = 6;

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Tracks of the clip, px of it; found here if not given.
    pub tracks: Option<&'a Path>,
    /// Frames from the first on; all if not given.
    pub frames: Option<usize>,
    /// Where to put a contact sheet.
    pub sheet: Option<&'a Path>,
}

/// How like the clip one of the three is.
#[derive(Clone, Debug, Serialize)]
pub struct Likeness {
    /// Which one.
    pub name: &'static str,
    /// Mean over the frames after the first, dB.
    pub psnr_db: f64,
    /// The same.
    pub ssim: f64,
    /// Mean distance of the tracks found again from the clip's, where both are seen, px of the compared size.
    pub epe_px: f64,
    /// Share of the clip's visible places whose track was found again.
    pub found: f64,
}

/// The result for a clip.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Frames compared.
    pub frames: usize,
    /// Size they were compared at.
    pub size: (usize, usize),
    /// Tracks that drove it.
    pub points: usize,
    /// Model, guide, first frame.
    pub likeness: Vec<Likeness>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.size;
        writeln!(f, "{} frames at {width}x{height}, {} tracks", self.frames, self.points)?;
        write!(f, "{:<14}{:>9}{:>8}{:>10}{:>8}", "", "PSNR dB", "SSIM", "EPE px", "found")?;
        for Likeness { name, psnr_db, ssim, epe_px, found } in &self.likeness {
            write!(f, "\n{name:<14}{psnr_db:>9.2}{ssim:>8.4}{epe_px:>10.2}{:>7.0}%", 100.0 * found)?;
        }
        Ok(())
    }
}

/// The clip's frames at the size they are compared at.
struct Film {
    source: Box<dyn FrameSource>,
    frame: ClipFrame,
    size: Option<(usize, usize)>,
    /// Px compared per px of the clip.
    scale: Vec2,
}

impl Film {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self { source: open_clip(path)?, frame: ClipFrame::default(), size: None, scale: Vec2::ONE })
    }

    /// The next frame; both sides even, as videos have them.
    fn next(&mut self) -> Result<Option<Picture>> {
        if !self.source.next_frame(&mut self.frame)? {
            return Ok(None);
        }
        let (width, height) = (self.frame.width, self.frame.height);
        let shrink = (MAX_SIDE as f64 / width.max(height) as f64).min(1.0);
        let side = |px: usize| (((px as f64 * shrink * 0.5).round() as usize) * 2).max(16);
        let size = *self.size.get_or_insert((side(width), side(height)));
        self.scale = Vec2::new(size.0 as f32 / width as f32, size.1 as f32 / height as f32);
        Ok(Some(self.frame.to_picture().resized(size.0, size.1)))
    }
}

fn luma(picture: &Picture) -> Mask {
    let of = |[r, g, b]: &[f32; 3]| (0.2126 * r + 0.7152 * g + 0.0722 * b).clamp(0.0, 1.0);
    Mask { width: picture.width, height: picture.height, data: picture.data.iter().map(of).collect() }
}

/// The tracks of a film from a grid over its first frame, and that frame.
fn track(film: &mut Film, most: usize) -> Result<(Tracks, Picture)> {
    let mut tracker = LucasKanade::new();
    let mut tracks = Tracks::default();
    let mut first = None;
    while tracks.frames.len() < most
        && let Some(picture) = film.next()?
    {
        if first.is_none() {
            let points = grid(picture.width, picture.height, POINTS);
            tracks.points = points.len();
            tracker.add(&points);
            first = Some(picture.clone());
        }
        tracker.push(&luma(&picture))?;
        tracks.frames.push(tracked(&tracker));
    }
    let first = first.ok_or_else(|| Error::field("clip", "has no frame; choose another one"))?;
    Ok((tracks, first))
}

fn tracked(tracker: &LucasKanade) -> TrackFrame {
    TrackFrame {
        positions: tracker.tracked().iter().map(|point| point.place).collect(),
        visible: tracker.tracked().iter().map(|point| point.visible).collect(),
    }
}

/// Sums over the frames of one of the three.
struct Sums {
    name: &'static str,
    psnr: f64,
    ssim: f64,
    apart: f64,
    found: usize,
    /// Follows the points through what was made; None where nothing moves.
    tracker: Option<LucasKanade>,
}

impl Sums {
    fn new(name: &'static str, first: Option<(&Picture, &[Vec2])>) -> Result<Self> {
        let follow = |(picture, points): (&Picture, &[Vec2])| {
            let mut tracker = LucasKanade::new();
            tracker.add(points);
            tracker.push(&luma(picture)).map(|()| tracker)
        };
        Ok(Self { name, psnr: 0.0, ssim: 0.0, apart: 0.0, found: 0, tracker: first.map(follow).transpose()? })
    }

    fn add(&mut self, shown: &Picture, truth: &Picture, tracks: &TrackFrame, rest: &[Vec2]) -> Result<()> {
        self.psnr += psnr_db(shown, truth);
        self.ssim += ssim(shown, truth);
        let again = match &mut self.tracker {
            Some(tracker) => {
                tracker.push(&luma(shown))?;
                tracked(tracker)
            }
            None => TrackFrame { positions: rest.to_vec(), visible: vec![true; rest.len()] },
        };
        for i in (0..rest.len()).filter(|i| tracks.visible[*i] && again.visible[*i]) {
            self.apart += f64::from(tracks.positions[i].distance(again.positions[i]));
            self.found += 1;
        }
        Ok(())
    }

    fn likeness(&self, frames: usize, visible: usize) -> Likeness {
        let (frames, found) = (frames.max(1) as f64, self.found);
        Likeness {
            name: self.name,
            psnr_db: self.psnr / frames,
            ssim: self.ssim / frames,
            epe_px: self.apart / found.max(1) as f64,
            found: found as f64 / visible.max(1) as f64,
        }
    }
}

/// Frames of a renderer, one by one.
struct Frames<'a> {
    renderer: Renderer<'a>,
    ready: std::collections::VecDeque<Picture>,
}

impl Frames<'_> {
    fn next(&mut self) -> Result<Picture> {
        loop {
            if let Some(picture) = self.ready.pop_front() {
                return Ok(picture);
            }
            self.ready.extend(self.renderer.next_chunk()?.iter().cloned());
        }
    }
}

/// Makes the clip at `clip` again from its first frame and its tracks, and measures how like it is.
///
/// # Errors
/// A clip or tracks that cannot be read or have fewer than two frames, a sheet that cannot be written.
pub fn reconstruct(checkpoint: &Checkpoint, device: &Device, clip: &Path, wanted: &Wanted) -> Result<Report> {
    let most = wanted.frames.unwrap_or(usize::MAX);
    let mut film = Film::open(clip)?;
    let (tracks, first) = match wanted.tracks {
        None => track(&mut film, most)?,
        Some(path) => {
            let first = film.next()?.ok_or_else(|| Error::file(clip, "has no frame; choose another clip"))?;
            let mut tracks = Tracks::load(path)?;
            tracks.frames.truncate(most);
            tracks.frames.iter_mut().flat_map(|frame| &mut frame.positions).for_each(|p| *p *= film.scale);
            (tracks, first)
        }
    };
    let frames = tracks.frames.len();
    if frames < 2 {
        return Err(Error::file(clip, "has fewer than two frames to compare; choose a longer clip, or more --frames"));
    }
    let size = (first.width, first.height);
    let folder = tempfile::tempdir().map_err(|e| Error::file(std::env::temp_dir(), format!("cannot hold the first frame ({e})")))?;
    save_png(&first, &folder.path().join("first.png"))?;
    tracks.save(folder.path().join("tracks.npz"))?;
    let mut project = Project::new(folder.path(), "first.png", frames);
    project.transfers = vec![Transfer::new("", "tracks.npz", size, 16.0, frames)];
    let render = |checkpoint| Renderer::new(&project, &first, checkpoint, device, None, 0);
    let new = |renderer| Frames { renderer, ready: Default::default() };
    let (mut model, mut guide) = (new(render(Some(checkpoint))?), new(render(None)?));
    let (shown, drawn) = (model.next()?, guide.next()?);
    let rest = tracks.frames[0].positions.clone();
    let mut sums =
        [Sums::new("model", Some((&shown, &rest)))?, Sums::new("guide", Some((&drawn, &rest)))?, Sums::new("first frame", None)?];
    let mut film = Film::open(clip)?;
    film.next()?;
    let (mut visible, mut compared, mut sheet) = (0, 0, Vec::new());
    let stride = ((frames - 1) / SHEET_ROWS).max(1);
    for (t, places) in tracks.frames.iter().enumerate().skip(1) {
        let Some(truth) = film.next()? else { break };
        let (shown, drawn) = (model.next()?, guide.next()?);
        for (sums, picture) in sums.iter_mut().zip([&shown, &drawn, &first]) {
            sums.add(picture, &truth, places, &rest)?;
        }
        visible += places.visible.iter().filter(|visible| **visible).count();
        compared += 1;
        if wanted.sheet.is_some() && t.is_multiple_of(stride) && sheet.len() < SHEET_ROWS {
            sheet.push([truth, first.clone(), drawn, shown]);
        }
    }
    if let (Some(path), false) = (wanted.sheet, sheet.is_empty()) {
        let (width, height) = size;
        save_png(&Picture::from_fn(4 * width, sheet.len() * height, |x, y| sheet[y / height][x / width].at(x % width, y % height)), path)?;
    }
    let likeness = sums.iter().map(|sums| sums.likeness(compared, visible)).collect();
    Ok(Report { frames: compared, size, points: tracks.points, likeness })
}
