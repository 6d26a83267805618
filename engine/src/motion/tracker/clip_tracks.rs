//! A whole clip tracked: frames in, tracks out, with a word on how well.
//!
//! Invariant: one frame of the clip is in memory at a time. Guarded by the tests of this folder.

use glam::Vec2;

use super::{LucasKanade, PointTracker, TrackOptions, grid};
use crate::media::clip::{ClipFrame, FrameSource};
use crate::motion::npz::Tracks;
use crate::motion::track_field::{MAX_POINTS, TrackFrame};
use crate::{Error, Result};

/// Most places (frames times points) that are kept: what one file of tracks holds.
const MAX_PLACES: usize = 1 << 26;

/// The tracks of a clip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClipTracks {
    /// Places in px of the clip, and visibility; one frame per tracked frame of the clip.
    pub tracks: Tracks,
    /// Per point, its mean quality over the frames it was visible in, 0..1.
    pub quality: Vec<f32>,
    /// Tracked frames (counted from 0) at which the clip cuts. All tracks end at the first.
    pub cuts: Vec<usize>,
    /// Whether it was stopped before the clip's end; the tracks are whole up to there.
    pub stopped: bool,
}

/// Tracks a clip from where `source` stands: a grid of points, or the places of the options. `progress` is told the number of tracked
/// frames; once it says false, tracking stops.
///
/// # Errors
/// What [`FrameSource::next_frame`] and [`PointTracker::push`] say, an option out of range, or a clip without a frame.
pub fn track_clip(source: &mut dyn FrameSource, options: &TrackOptions, progress: &mut dyn FnMut(usize) -> bool) -> Result<ClipTracks> {
    options.validate()?;
    let mut tracker = LucasKanade::new();
    let mut result = ClipTracks::default();
    let mut seen: Vec<(f32, u32)> = Vec::new();
    let mut frame = ClipFrame::default();
    let mut index = 0;
    let most = options.frames.unwrap_or(usize::MAX);
    while result.tracks.frames.len() < most && source.next_frame(&mut frame)? {
        index += 1;
        if index <= options.first || !(index - 1 - options.first).is_multiple_of(options.every) {
            continue;
        }
        if result.tracks.frames.is_empty() {
            let places = options.start(frame.width, frame.height)?;
            seen = vec![(0.0, 0); places.len()];
            result.tracks.points = places.len();
            tracker.add(&places);
        }
        tracker.push(&frame.to_luma())?;
        let tracked = tracker.tracked();
        result.tracks.frames.push(TrackFrame {
            positions: tracked.iter().map(|point| point.place).collect(),
            visible: tracked.iter().map(|point| point.visible).collect(),
        });
        for (sum, point) in seen.iter_mut().zip(tracked).filter(|(_, point)| point.visible) {
            *sum = (sum.0 + point.quality, sum.1 + 1);
        }
        if result.tracks.frames.len() * result.tracks.points >= MAX_PLACES {
            let what = format_args!(
                "{} points over {} frames are more than a file holds; choose fewer points or frames",
                result.tracks.points, index
            );
            return Err(Error::field("points", what));
        }
        if !progress(result.tracks.frames.len()) {
            result.stopped = true;
            break;
        }
    }
    if result.tracks.frames.is_empty() {
        let what = format_args!("has no frame {}; begin earlier", options.first);
        return Err(Error::field("clip", what));
    }
    result.cuts = tracker.cuts().to_vec();
    result.quality = seen.iter().map(|(sum, count)| sum / (*count).max(1) as f32).collect();
    Ok(result)
}

impl TrackOptions {
    /// Checks every number.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        let wrong = |field: &str, what: &str| Err(Error::field(field, what));
        if self.places.is_empty() && !(1..=200).contains(&self.points) {
            return wrong("points", "must be 1 to 200 along the longer side");
        }
        if self.places.len() > MAX_POINTS {
            return wrong("places", "are more than 50000; choose fewer");
        }
        if !self.places.iter().all(|(x, y)| x.is_finite() && y.is_finite()) {
            return wrong("places", "must be finite numbers");
        }
        if !(1..=1000).contains(&self.every) {
            return wrong("every", "must be 1 to 1000 frames");
        }
        if self.frames == Some(0) {
            return wrong("frames", "must be at least 1");
        }
        Ok(())
    }

    /// The points of the first frame.
    fn start(&self, width: usize, height: usize) -> Result<Vec<Vec2>> {
        if self.places.is_empty() {
            return Ok(grid(width, height, self.points));
        }
        let size = Vec2::new(width as f32, height as f32);
        let places: Vec<Vec2> = self.places.iter().map(|(x, y)| Vec2::new(*x, *y)).collect();
        match places.iter().find(|p| p.cmplt(Vec2::ZERO).any() || p.cmpge(size).any()) {
            Some(p) => Err(Error::field("places", format_args!("{},{} lies outside the clip of {width}x{height} px", p.x, p.y))),
            None => Ok(places),
        }
    }
}
