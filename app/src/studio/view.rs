//! What the canvas shows of the picture at this moment: a frame that was made, or the guide at the motion that the hand gives it now.
//!
//! Invariant: while the hand moves something, the picture follows it in the same frame of the window; what was made takes over as it
//! comes. Guarded by `tests/tests/studio.rs` and the test below.

use std::sync::Arc;

use kinebrush_engine::motion::FrameMotion;
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::stream::live::{Correction, State};

use super::gpu::Prepared;
use super::player::Player;
use super::uploads::{Upload, Uploads};

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

/// Chooses what to draw; `last` stays where a frame that is made is still on its way.
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
    let compiled = player.compiled().and_then(|compiled| Some((compiled.cut, &compiled.scene, uploads.get(compiled.cut)?)));
    // While the pixels of the newest scene are on their way the one before is as good: it moves with the playhead and the hand.
    let (cut, scene, prepared) = match compiled {
        Some(compiled) => compiled,
        None => {
            let Upload { cut, scene, prepared } = uploads.newest()?;
            let Some(scene) = scene else { return Some(View::of_picture(prepared.clone(), *cut)) };
            (*cut, scene, prepared)
        }
    };
    let (project, frame) = hand.map_or((project, frame), |hand| (hand.project, hand.frame));
    // While the regions are other ones, the layers stay where the scene has them.
    let revised = scene.revised(project);
    let motion = revised.as_ref().unwrap_or(scene).frame_motion(frame);
    Some(View { prepared: prepared.clone(), cut, motion, correction: None, bends: revised.is_some() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::{Duration, Instant};

    use kinebrush_engine::motion::region::Region;
    use kinebrush_engine::motion::stroke::Stroke;
    use kinebrush_engine::picture::Picture;
    use kinebrush_engine::stream::live::compile::{Filling, Stage};
    use kinebrush_engine::stream::live::{Clock, Compiled, Event};

    use super::*;

    #[test]
    fn the_playhead_is_followed_while_the_next_scene_is_on_its_way() {
        let picture = Arc::new(Picture::filled(32, 24, [0.5; 3]));
        let mut project = Project::new("", "none.png", 9);
        let disc = Region::Disc { center: (10.0, 10.0), radius: 4.0, softness: 0.0 };
        project.strokes.push(Stroke::along(disc, [(0.0, 10.0, 10.0), (8.0, 20.0, 10.0)].map(Into::into).to_vec()));
        let (scene, layers) = Stage::new(&picture, 32, 0).unwrap().compile(&project, Filling::Smooth).unwrap();
        let (scene, layers) = (Arc::new(scene), Arc::new(layers));
        let compiled = |cut| Arc::new(Compiled { revision: cut, scene: scene.clone(), layers: layers.clone(), cut, scale: 1.0 });
        let (mut player, mut uploads) = (Player::new(Clock::RealTime), Uploads::new(Arc::new(|| {})));
        uploads.open(picture.clone());
        uploads.want(&compiled(1));
        let begin = Instant::now();
        while uploads.get(1).is_none() {
            assert!(begin.elapsed() < Duration::from_secs(60), "nothing is prepared");
            uploads.poll();
            std::thread::yield_now();
        }
        // Compiled, and its pixels are not ready.
        player.receive(Event::Compiled(compiled(2)));
        let mut at = |frame: f32| {
            player.seek(frame);
            view(&player, &uploads, &project, None, None).unwrap()
        };
        let (first, last) = (at(0.0), at(8.0));
        assert_eq!((first.cut, last.cut), (1, 1));
        assert_eq!(first.motion, scene.frame_motion(0));
        assert_eq!(last.motion, scene.frame_motion(8));
        assert_ne!(first.motion, last.motion);
    }
}
