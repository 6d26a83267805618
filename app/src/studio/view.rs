//! What the canvas shows of the picture at this moment: a frame that was made, or the guide at the motion that the hand gives it now.
//!
//! Invariant: while the hand moves something, the picture follows it in the same frame of the window; what was made takes over as it
//! comes. Guarded by `tests/tests/studio.rs`.

use std::sync::Arc;

use kinebrush_engine::motion::FrameMotion;
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::stream::live::{Correction, State};

use super::gpu::Prepared;
use super::player::Player;
use super::uploads::{PICTURE_ALONE, Uploads};

/// What is drawn.
#[derive(Clone)]
pub struct View {
    /// The pixels.
    pub prepared: Arc<Prepared>,
    /// Which they are.
    pub cut: u64,
    /// Where the layers are.
    pub motion: FrameMotion,
    /// What the network changed, and a number for it.
    pub correction: Option<(u64, Arc<Correction>)>,
    /// Whether what the hand moves is one of the layers.
    pub bends: bool,
}

impl View {
    /// A picture without layers.
    pub fn of_picture(prepared: Arc<Prepared>, cut: u64) -> Self {
        let motion = FrameMotion::still();
        Self { prepared, cut, motion, correction: None, bends: false }
    }
}

/// What the motion is when it is not the document's: the hand is at it.
pub struct Hand<'a> {
    /// The work as if the hand let go now.
    pub project: &'a Project,
    /// The frame that the hand works at.
    pub frame: usize,
}

/// Chooses what to draw; `last` stays where something is still on its way.
pub fn view(player: &Player, uploads: &Uploads, project: &Project, hand: Option<Hand>, last: Option<&View>) -> Option<View> {
    let frame = player.playhead() as usize;
    if hand.is_none() && (player.state == State::Running || !player.stale) {
        if let Some(made) = player.held(frame)
            && let Some(prepared) = uploads.get(made.cut)
        {
            let correction = made.correction.clone().map(|c| (made.take << 32 | made.frame as u64, c));
            let (cut, motion) = (made.cut, made.motion.clone());
            return Some(View { prepared: prepared.clone(), cut, motion, correction, bends: false });
        }
        if player.state == State::Running
            && let Some(last) = last
        {
            return Some(last.clone());
        }
    }
    let compiled = player.compiled();
    let Some((compiled, prepared)) = compiled.and_then(|compiled| Some((compiled, uploads.get(compiled.cut)?))) else {
        // Not cut yet: the picture as it is.
        return last.cloned().or_else(|| uploads.get(PICTURE_ALONE).map(|alone| View::of_picture(alone.clone(), PICTURE_ALONE)));
    };
    let (project, frame) = hand.map_or((project, frame), |hand| (hand.project, hand.frame));
    // While the regions are other ones, the layers stay where the scene has them.
    let revised = compiled.scene.revised(project);
    let motion = revised.as_ref().unwrap_or(&compiled.scene).frame_motion(frame);
    Some(View { prepared: prepared.clone(), cut: compiled.cut, motion, correction: None, bends: revised.is_some() })
}
