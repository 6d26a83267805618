//! A clip of varying rate brought to its mean rate: each moment shows what the clip shows then.
//!
//! Invariant: frame `i` is the source's frame at `i / fps` seconds, to half a frame; a clip whose rate is steady passes unchanged.
//! Guarded by the tests below.

use super::{ClipFrame, ClipInfo, FrameSource};
use crate::Result;

/// A source that knows beforehand when each of its frames is shown.
pub trait Timed: Send {
    /// What is known; `fps` is the mean rate.
    fn info(&self) -> &ClipInfo;
    /// When each frame is shown, seconds from the first, rising.
    fn times(&self) -> &[f64];
    /// Decodes the next frame's size and pixels; index and time are not its own to set. False at the end.
    fn decode(&mut self, into: &mut ClipFrame) -> Result<bool>;
    /// Makes this frame the next one, by whatever way is shorter.
    fn seek(&mut self, frame: usize) -> Result<()>;
}

/// A source at its mean rate.
struct Steady {
    source: Box<dyn Timed>,
    info: ClipInfo,
    /// The source's frame for each of ours; empty if they are the same.
    shown: Vec<u32>,
    /// The next of ours.
    next: usize,
    /// What was decoded last, and which of the source's frames it is, as long as it may be shown again.
    held: ClipFrame,
    held_index: Option<usize>,
    /// The frame that the source decodes next; none after an error.
    position: Option<usize>,
    ended: bool,
}

/// `source` as one of constant rate.
pub fn steady(source: Box<dyn Timed>) -> Result<Box<dyn FrameSource>> {
    let info = source.info().clone();
    let shown = mapping(source.times(), info.fps);
    Ok(Box::new(Steady { source, info, shown, next: 0, held: ClipFrame::default(), held_index: None, position: Some(0), ended: false }))
}

/// For each frame at the mean rate, the source's; empty if none is off by half a frame.
fn mapping(times: &[f64], fps: f64) -> Vec<u32> {
    if times.iter().enumerate().all(|(i, time)| (time * fps - i as f64).abs() <= 0.5) {
        return Vec::new();
    }
    let mut at = 0;
    (0..times.len())
        .map(|i| {
            while times.get(at + 1).is_some_and(|time| time * fps <= i as f64 + 0.5) {
                at += 1;
            }
            at as u32
        })
        .collect()
}

impl FrameSource for Steady {
    fn info(&self) -> &ClipInfo {
        &self.info
    }

    fn next_frame(&mut self, into: &mut ClipFrame) -> Result<bool> {
        let count = self.info.frames.unwrap_or(usize::MAX);
        if self.ended || self.next >= count {
            return Ok(false);
        }
        let wanted = self.shown.get(self.next).map_or(self.next, |frame| *frame as usize);
        if self.held_index != Some(wanted) {
            let whole = self.decode(wanted).inspect_err(|_| self.ended = true)?;
            if !whole {
                self.ended = true;
                return Ok(false);
            }
        }
        let (index, seconds) = (self.next, self.next as f64 / self.info.fps);
        let ClipFrame { width, height, .. } = self.held;
        if self.shown.is_empty() {
            std::mem::swap(into, &mut self.held);
            // What is held now is the caller's old buffer.
            self.held_index = None;
        } else {
            into.rgb.clone_from(&self.held.rgb);
        }
        (into.index, into.seconds, into.width, into.height) = (index, seconds, width, height);
        self.next += 1;
        Ok(true)
    }

    fn seek(&mut self, seconds: f64) -> Result<()> {
        let last = self.info.frames.unwrap_or(1).saturating_sub(1);
        let frame = ((seconds.max(0.0) * self.info.fps + 1e-3) as usize).min(last);
        (self.next, self.ended) = (frame, false);
        Ok(())
    }
}

impl Steady {
    /// Holds the source's frame `wanted`; false if the source ends before.
    fn decode(&mut self, wanted: usize) -> Result<bool> {
        let position = self.position.take();
        self.held_index = None;
        if position != Some(wanted) {
            self.source.seek(wanted)?;
        }
        let whole = self.source.decode(&mut self.held)?;
        self.position = whole.then_some(wanted + 1);
        self.held_index = whole.then_some(wanted);
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// Frames that show their own number.
    struct Counting {
        info: ClipInfo,
        times: Vec<f64>,
        next: usize,
    }

    impl Timed for Counting {
        fn info(&self) -> &ClipInfo {
            &self.info
        }
        fn times(&self) -> &[f64] {
            &self.times
        }
        fn decode(&mut self, into: &mut ClipFrame) -> Result<bool> {
            (into.width, into.height) = (1, 1);
            into.rgb = vec![self.next as u8; 3];
            self.next += 1;
            Ok(self.next <= self.times.len())
        }
        fn seek(&mut self, frame: usize) -> Result<()> {
            self.next = frame;
            Ok(())
        }
    }

    fn of(times: &[f64], end: f64) -> Box<dyn FrameSource> {
        let fps = times.len() as f64 / end;
        let info = ClipInfo { width: 1, height: 1, fps, frames: Some(times.len()), seconds: Some(end), format: String::new() };
        steady(Box::new(Counting { info, times: times.to_vec(), next: 0 })).unwrap()
    }

    fn numbers(source: &mut dyn FrameSource) -> Vec<u8> {
        let mut frame = ClipFrame::default();
        let mut numbers = Vec::new();
        while source.next_frame(&mut frame).unwrap() {
            assert!((frame.seconds - frame.index as f64 / source.info().fps).abs() < 1e-9);
            numbers.push(frame.rgb[0]);
        }
        numbers
    }

    #[test]
    fn a_steady_clip_passes_and_a_varying_one_shows_what_is_there_at_each_moment() {
        assert_eq!(numbers(of(&[0.0, 0.1, 0.21, 0.3], 0.4).as_mut()), [0, 1, 2, 3]);
        // Fast, then slow: 4 frames in 0.4 s, then one of 0.6 s, at 5 frames/s.
        assert_eq!(numbers(of(&[0.0, 0.1, 0.2, 0.3, 0.4], 1.0).as_mut()), [1, 3, 4, 4, 4]);
    }

    #[test]
    fn a_seek_shows_the_same_as_playing_until_there() {
        for times in [vec![0.0, 0.1, 0.2, 0.3, 0.4], vec![0.0, 0.2, 0.4, 0.6, 0.8]] {
            let mut source = of(&times, 1.0);
            let all = numbers(source.as_mut());
            for i in [3, 0, 4, 4, 2, 3, 1] {
                source.seek(i as f64 / source.info().fps).unwrap();
                assert_eq!(numbers(source.as_mut()), all[i..], "from {i}");
                source.seek(i as f64 / source.info().fps).unwrap();
                source.next_frame(&mut ClipFrame::default()).unwrap();
            }
            source.seek(99.0).unwrap();
            assert_eq!(numbers(source.as_mut()).len(), 1);
        }
    }
}
