//! Scenes on their way to the graphics card: their pixels are prepared on a thread of their own.
//!
//! Invariant: at most [`HELD`] scenes are held, the newest ones. Guarded by `tests/tests/studio.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use kinebrush_engine::motion::scene::Scene;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::stream::live::Compiled;

use super::document::job::Wake;
use super::gpu::Prepared;

/// Scenes that are held: as many as the player holds frames of, and the newest.
const HELD: usize = 4;
/// Longer side of a picture that is shown before it was cut, px.
const FIRST_PX: usize = 1280;

/// The cut number of a picture that was not cut yet.
const PICTURE_ALONE: u64 = 0;

enum Wanted {
    Picture(Arc<Picture>),
    Scene(Arc<Compiled>),
}

/// A picture whose pixels are ready.
pub struct Upload {
    /// Which cut they are of.
    pub cut: u64,
    /// Where its layers are at any frame, as it was ordered; a picture that was not cut has none.
    pub scene: Option<Arc<Scene>>,
    /// The pixels.
    pub prepared: Arc<Prepared>,
}

/// Prepared scenes by cut.
pub struct Uploads {
    wanted: Sender<(u64, Wanted)>,
    done: Receiver<(u64, Upload)>,
    held: VecDeque<Upload>,
    /// Counts up with every picture, so that scenes of the last one are not taken for those of this one.
    picture: u64,
    /// The newest cut that was ordered; cuts go up.
    ordered: u64,
}

impl Uploads {
    /// Starts the thread; what is done wakes the window.
    pub fn new(wake: Wake) -> Self {
        let (wanted, orders) = bounded::<(u64, Wanted)>(64);
        let (results, done) = bounded(64);
        let work = move || {
            for (picture, order) in orders {
                let (cut, scene, prepared) = match order {
                    Wanted::Picture(source) => (PICTURE_ALONE, None, Prepared::from_picture(&fitted(&source))),
                    Wanted::Scene(compiled) => (compiled.cut, Some(compiled.scene.clone()), Prepared::new(&compiled.layers)),
                };
                if results.send((picture, Upload { cut, scene, prepared: Arc::new(prepared) })).is_err() {
                    return;
                }
                wake();
            }
        };
        // Without the thread nothing is ever prepared, and the canvas stays empty: the same as without a graphics card.
        let _ = std::thread::Builder::new().name("kinebrush-prepare".into()).spawn(work);
        Self { wanted, done, held: VecDeque::new(), picture: 0, ordered: 0 }
    }

    /// Another picture: what was held is of no use any more.
    pub fn open(&mut self, picture: Arc<Picture>) {
        self.picture += 1;
        self.held.clear();
        self.ordered = 0;
        let _ = self.wanted.try_send((self.picture, Wanted::Picture(picture)));
    }

    /// Wants a scene, unless it is there or on its way.
    pub fn want(&mut self, compiled: &Arc<Compiled>) {
        let is_new = compiled.cut > self.ordered;
        if is_new && self.wanted.try_send((self.picture, Wanted::Scene(compiled.clone()))).is_ok() {
            self.ordered = compiled.cut;
        }
    }

    /// Takes in what is done.
    pub fn poll(&mut self) {
        self.held.extend(self.done.try_iter().filter(|(picture, _)| *picture == self.picture).map(|(_, upload)| upload));
        while self.held.len() > HELD {
            self.held.pop_front();
        }
    }

    /// A prepared scene.
    pub fn get(&self, cut: u64) -> Option<&Arc<Prepared>> {
        self.held.iter().rev().find(|held| held.cut == cut).map(|held| &held.prepared)
    }

    /// What was prepared last: the picture alone, until a scene is there.
    pub fn newest(&self) -> Option<&Upload> {
        self.held.back()
    }
}

fn fitted(picture: &Picture) -> Picture {
    let longer = picture.width.max(picture.height);
    if longer <= FIRST_PX {
        return picture.clone();
    }
    let side = |length: usize| (length * FIRST_PX).div_ceil(longer);
    picture.resized(side(picture.width), side(picture.height))
}
