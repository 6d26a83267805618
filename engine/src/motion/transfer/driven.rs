//! A transfer compiled for one picture and one scene: for any frame, how far its tracks have gone.
//!
//! Invariant: at and before the transfer's first frame no track has gone anywhere; a loop comes back to where it began. Guarded by the
//! tests below and those of `scene`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use glam::{Affine2, Vec2};

use super::clip_motion::{ClipMotion, Recipe};
use super::{ClipMap, Transfer};
use crate::motion::npz::Tracks;
use crate::{Error, Result};

/// What a file was when it was read.
#[derive(Clone, Debug, PartialEq)]
struct Stamp {
    path: PathBuf,
    changed: Option<SystemTime>,
    bytes: u64,
}

/// Tracks and motions that somebody still uses: scenes are compiled often, and most of them from the same clips.
static FILES: Mutex<Vec<(Stamp, Weak<Tracks>)>> = Mutex::new(Vec::new());
static MOTIONS: Mutex<Vec<Weak<ClipMotion>>> = Mutex::new(Vec::new());

/// The tracks in the file at `path`, read once as long as they are in use and the file stays as it is.
///
/// # Errors
/// As [`Tracks::load`].
pub fn load_tracks(path: &Path) -> Result<Arc<Tracks>> {
    let unreadable = |e: std::io::Error| Error::file(path, format!("cannot be opened ({e}); track the clip again"));
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(Error::file(path, "is not a file; track the clip again"));
    }
    let stamp = Stamp { path: path.to_owned(), changed: about.modified().ok(), bytes: about.len() };
    let known = |files: &[(Stamp, Weak<Tracks>)]| files.iter().find(|(known, _)| *known == stamp).and_then(|(_, tracks)| tracks.upgrade());
    if let Some(tracks) = known(&FILES.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(tracks);
    }
    let tracks = Arc::new(Tracks::load(path)?);
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    files.retain(|(known, tracks)| *known != stamp && tracks.strong_count() > 0);
    files.push((stamp, Arc::downgrade(&tracks)));
    Ok(tracks)
}

/// The motion of `tracks` as `transfer` uses them, shared with whoever has the same.
fn motion(tracks: Arc<Tracks>, transfer: &Transfer, field: &str) -> Result<Arc<ClipMotion>> {
    let recipe = Recipe::new(tracks, transfer);
    let known = MOTIONS.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).find(|m| *m.recipe() == recipe);
    if let Some(motion) = known {
        return Ok(motion);
    }
    let motion = Arc::new(ClipMotion::of(recipe, field)?);
    let mut motions = MOTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    motions.retain(|motion| motion.strong_count() > 0);
    motions.push(Arc::downgrade(&motion));
    Ok(motion)
}

/// A transfer's motion, ready to be asked for any frame.
#[derive(Clone, Debug)]
pub(crate) struct Driven {
    pub transfer: Transfer,
    motion: Arc<ClipMotion>,
    map: ClipMap,
    scene_from_picture: Affine2,
    /// Where the tracks begin, scene px.
    pub rest: Vec<Vec2>,
}

impl Driven {
    /// Reads and conditions what a valid `transfer` needs; `field` is its own name, `folder` where its paths start.
    pub fn new(transfer: &Transfer, field: &str, folder: &Path, picture: (usize, usize), scene_from_picture: Affine2) -> Result<Self> {
        let tracks = load_tracks(&folder.join(&transfer.tracks)).map_err(|e| Error::field(format!("{field}.tracks"), e))?;
        Ok(Self::placed(motion(tracks, transfer, field)?, transfer, picture, scene_from_picture))
    }

    /// The same clip with other numbers: nothing is read or conditioned. None where that would be needed.
    pub fn revised(&self, transfer: &Transfer, picture: (usize, usize)) -> Option<Self> {
        let same = self.transfer.same_clip_motion(transfer);
        same.then(|| Self::placed(self.motion.clone(), transfer, picture, self.scene_from_picture))
    }

    fn placed(motion: Arc<ClipMotion>, transfer: &Transfer, picture: (usize, usize), scene_from_picture: Affine2) -> Self {
        let map = ClipMap::new(&transfer.placing, transfer.clip_size, picture);
        let rest = motion.rest().iter().map(|p| scene_from_picture.transform_point2(map.place(*p))).collect();
        Self { transfer: transfer.clone(), motion, map, scene_from_picture, rest }
    }

    /// How far each track is to be believed.
    pub fn trust(&self) -> &[f32] {
        &self.motion.trust
    }

    /// How far each track has gone at `frame`, scene px.
    pub fn ways(&self, frame: f32) -> Vec<Vec2> {
        let (time, closed) = self.transfer.clip_time(frame);
        if time <= 0.0 && closed == 0.0 {
            return vec![Vec2::ZERO; self.rest.len()];
        }
        let scene = |p: &Vec2| self.scene_from_picture.transform_point2(self.map.place(*p));
        let places = self.motion.places(time, closed);
        places.iter().zip(&self.rest).map(|(place, rest)| (scene(place) - *rest) * self.transfer.strength).collect()
    }

    /// Whether it has a say at `frame`.
    pub fn drives(&self, frame: f32) -> bool {
        frame >= self.transfer.start
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::tests::{swinging, transfer};
    use super::super::{Placing, Repeat};
    use super::*;

    fn driven(transfer: &Transfer) -> Driven {
        let motion = Arc::new(ClipMotion::new(Arc::new(swinging(25)), transfer, "transfers[0]").unwrap());
        Driven::placed(motion, transfer, (200, 100), Affine2::IDENTITY)
    }

    #[test]
    fn nothing_has_moved_at_the_start_and_speed_and_strength_scale() {
        let mut transfer = transfer(25);
        (transfer.start, transfer.clip_fps) = (4.0, 16.0);
        let plain = driven(&transfer);
        for frame in [0.0, 4.0] {
            assert!(plain.ways(frame).iter().all(|way| *way == Vec2::ZERO));
        }
        (transfer.speed, transfer.strength) = (2.0, 0.5);
        let quick = driven(&transfer);
        for (a, b) in plain.ways(14.0).iter().zip(quick.ways(9.0)) {
            assert!((*a * 0.5).distance(b) < 1e-3, "{a} {b}");
        }
        let shown: Vec<bool> = [3.0, 4.0, 900.0].iter().map(|frame| plain.drives(*frame)).collect();
        assert_eq!(shown, [false, true, true]);
        // A clip of 32 frames a second is shown twice as fast, one at twice its size goes twice as far.
        (transfer.speed, transfer.strength, transfer.clip_fps) = (1.0, 1.0, 32.0);
        transfer.placing = Placing::Similarity { offset: (3.0, 4.0), scale: 2.0, turn_deg: 0.0, mirror: true };
        for (a, b) in plain.ways(14.0).iter().zip(driven(&transfer).ways(9.0)) {
            assert!((*a * Vec2::new(-2.0, 2.0)).distance(b) < 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn loops_have_no_jump() {
        let mut transfer = transfer(25);
        transfer.clip_fps = 16.0;
        for repeat in [Repeat::Loop, Repeat::PingPong] {
            transfer.repeat = repeat;
            let driven = driven(&transfer);
            let longest = |from: f32, to: f32| {
                let pairs = driven.ways(from).into_iter().zip(driven.ways(to));
                pairs.map(|(a, b)| a.distance(b)).fold(0.0, f32::max)
            };
            let steps: Vec<f32> = (0..1000).map(|i| longest(i as f32 * 0.1, (i + 1) as f32 * 0.1)).collect();
            assert!(steps.iter().all(|step| *step < 1.0), "{repeat:?}: {}", steps.iter().fold(0.0_f32, |a, b| a.max(*b)));
            let period = if repeat == Repeat::Loop { 24.0 } else { 48.0 };
            assert!(longest(7.0, 7.0 + period) < 1e-2);
            assert!(longest(7.0, 12.0) > 2.0, "it moves");
        }
        transfer.repeat = Repeat::Once;
        let driven = driven(&transfer);
        assert_eq!(driven.ways(24.0), driven.ways(400.0));
    }
}
