//! Which motion is drawn: the newest project, the drags it does not hold yet, and the scene that both are compiled to.
//!
//! Invariant: what is drawn always fits the layers it is drawn with; a motion that is not compiled yet, or never will be, leaves the last
//! good one in place. Guarded by `tests/tests/live.rs`.

use std::sync::Arc;

use super::Compiled;
use super::compile::{Answer, Compilers, Filling, Request, Staged, Textures};
use super::hand::Hands;
use super::history::Plan;
use crate::guide::layers::Layers;
use crate::motion::camera::CameraPath;
use crate::motion::project::Project;
use crate::motion::scene::Scene;
use crate::picture::Picture;

/// A project with the drags among its strokes: their numbers and indices.
#[derive(Clone, Debug)]
pub(super) struct Motion {
    pub project: Arc<Project>,
    pub drags: Vec<(u64, usize)>,
    pub revision: u64,
}

/// An opened picture and its motion.
pub(super) struct Staging {
    opening: u64,
    /// The picture at its own size.
    pub picture: Arc<Picture>,
    /// The newest project, without drags.
    pub project: Arc<Project>,
    pub revision: u64,
    /// The newest request that was not answered.
    pending: Option<Pending>,
    /// What did not compile.
    refused: Option<Arc<Project>>,
    ready: Option<Ready>,
    /// What cuts were filled with.
    textures: Textures,
}

/// A request on its way.
struct Pending {
    serial: u64,
    /// What is being compiled.
    asked: Arc<Project>,
    /// What is wanted by now: it has the same layers.
    motion: Motion,
}

/// What chunks are drawn from.
pub(super) struct Ready {
    pub compiled: Arc<Compiled>,
    /// The motion in `compiled`.
    pub motion: Motion,
    pub staged: Staged,
    filling: Filling,
    /// The layers without texture of their own: what a texture is recognised by.
    smooth: Arc<Layers>,
}

/// What an answer of the compiler comes to.
#[derive(Default)]
pub(super) struct Heard {
    /// There is something new to draw.
    pub compiled: Option<Arc<Compiled>>,
    pub warning: Option<String>,
    /// Drags that cannot be drawn.
    pub broken: Vec<u64>,
}

impl Ready {
    /// How the next chunk is made.
    pub fn plan(&self) -> Plan {
        Plan { project: self.motion.project.clone(), filling: self.filling, cut: self.compiled.cut }
    }

    /// Takes another motion on the same layers.
    fn revise(&mut self, scene: Scene, motion: Motion) {
        let layers = self.compiled.layers.clone();
        self.compiled = Arc::new(Compiled { revision: motion.revision, scene: Arc::new(scene), layers, ..*self.compiled });
        self.motion = motion;
    }
}

impl Staging {
    pub fn new(opening: u64, picture: Arc<Picture>, project: Arc<Project>, revision: u64) -> Self {
        Self { opening, picture, project, revision, pending: None, refused: None, ready: None, textures: Textures::default() }
    }

    /// What can be drawn now.
    pub fn ready(&self) -> Option<&Ready> {
        self.ready.as_ref()
    }

    /// Whether the newest motion is being compiled.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The newest project with all drags.
    fn newest(&self, hands: &Hands) -> Motion {
        let mut drags = Vec::new();
        let mut project = self.project.clone();
        for (drag, stroke) in hands.strokes() {
            let strokes = &mut Arc::make_mut(&mut project).strokes;
            drags.push((drag, strokes.len()));
            strokes.push(stroke);
        }
        Motion { project, drags, revision: self.revision }
    }

    /// The project has changed: taken over at once if only its motion did, else compiled. Gives what is new to draw.
    pub fn refresh(&mut self, hands: &Hands, compilers: &Compilers, serial: &mut u64) -> Option<Arc<Compiled>> {
        let motion = self.newest(hands);
        if let Some(ready) = &mut self.ready
            && let Some(scene) = ready.compiled.scene.revised(&motion.project)
        {
            self.pending = None;
            ready.revise(scene, motion);
            return Some(ready.compiled.clone());
        }
        self.ask(motion, compilers, serial);
        None
    }

    fn ask(&mut self, motion: Motion, compilers: &Compilers, serial: &mut u64) {
        if self.refused.as_ref().is_some_and(|refused| **refused == *motion.project) {
            return;
        }
        if let Some(pending) = self.pending.as_mut().filter(|pending| same_layers(&pending.asked, &motion.project)) {
            // The answer is brought up to date when it comes.
            pending.motion = motion;
            return;
        }
        *serial += 1;
        let (picture, asked) = (self.picture.clone(), motion.project.clone());
        let before = self.textures.clone();
        compilers.ask(Request { opening: self.opening, picture, project: asked.clone(), before, serial: *serial });
        self.pending = Some(Pending { serial: *serial, asked, motion });
    }

    /// Takes an answer; `cuts` counts cuts.
    pub fn hear(&mut self, answer: Answer, hands: &Hands, cuts: &mut u64) -> Heard {
        match answer {
            Answer::Cut { opening, serial, scene, layers, filling, stage, notes } if opening == self.opening => {
                let heard = self.adopt(serial, *scene, (layers, filling), stage, hands, cuts);
                let warning = (!notes.is_empty()).then(|| format!("Depth: {}.", notes.join("; ")));
                Heard { warning: heard.warning.or(warning), ..heard }
            }
            Answer::Textured { opening, smooth, layers } if opening == self.opening => {
                let Some(ready) = self.ready.as_mut().filter(|ready| Arc::ptr_eq(&ready.smooth, &smooth)) else { return Heard::default() };
                *cuts += 1;
                let scene = ready.compiled.scene.clone();
                ready.compiled = Arc::new(Compiled { scene, layers, cut: *cuts, ..*ready.compiled });
                ready.filling = Filling::Textured;
                self.textures.add(&ready.compiled);
                Heard { compiled: Some(ready.compiled.clone()), ..Heard::default() }
            }
            Answer::Refused { opening, serial, why } if opening == self.opening => {
                let Some(pending) = self.pending.take_if(|pending| pending.serial == serial) else { return Heard::default() };
                // Drags that were never drawn are what is wrong, or may be: the project alone is tried again with the next motion.
                let drawn = |drag: &u64| self.ready.as_ref().is_some_and(|ready| ready.motion.drags.iter().any(|(known, _)| known == drag));
                let broken = pending.motion.drags.iter().map(|(drag, _)| *drag).filter(|drag| !drawn(drag)).collect();
                self.refused = Some(pending.asked);
                Heard { warning: Some(why), broken, ..Heard::default() }
            }
            _ => Heard::default(),
        }
    }

    fn adopt(
        &mut self,
        serial: u64,
        scene: Scene,
        (layers, filling): (Arc<Layers>, Filling),
        staged: Staged,
        hands: &Hands,
        cuts: &mut u64,
    ) -> Heard {
        let newest = self.newest(hands);
        let (scene, motion) = match (scene.revised(&newest.project), self.pending.take_if(|pending| pending.serial == serial)) {
            (Some(scene), _) => {
                self.pending = None;
                (scene, newest)
            }
            (None, Some(pending)) => match scene.revised(&pending.motion.project) {
                Some(scene) => (scene, pending.motion),
                None => return Heard::default(),
            },
            // A newer request is on its way, and this one is of no use any more.
            (None, None) => return Heard::default(),
        };
        *cuts += 1;
        let compiled =
            Compiled { revision: motion.revision, scene: Arc::new(scene), layers: layers.clone(), cut: *cuts, scale: staged.scale };
        let compiled = Arc::new(compiled);
        self.ready = Some(Ready { compiled: compiled.clone(), motion, staged, filling, smooth: layers });
        Heard { compiled: Some(compiled), ..Heard::default() }
    }

    /// Before a chunk is cut: the drags that it can show. What cannot be drawn yet is asked for.
    pub fn shown(&mut self, hands: &Hands, compilers: &Compilers, serial: &mut u64) -> Vec<u64> {
        let newest = self.newest(hands);
        let Some(ready) = &mut self.ready else { return Vec::new() };
        match ready.compiled.scene.revised(&newest.project) {
            Some(_) if *ready.motion.project == *newest.project => ready.motion.drags = newest.drags,
            Some(scene) => ready.revise(scene, newest),
            None => self.ask(newest, compilers, serial),
        }
        self.ready.as_ref().map_or_else(Vec::new, |ready| ready.motion.drags.iter().map(|(drag, _)| *drag).collect())
    }

    /// After the hands were cut: the chunk is drawn with the new places of their drags. Drags whose way left what is valid are named
    /// instead of drawn.
    pub fn draw(&mut self, hands: &Hands) -> Vec<u64> {
        let Some(ready) = &mut self.ready else { return Vec::new() };
        let (size, mut broken) = ((self.picture.width, self.picture.height), Vec::new());
        let mut motion = ready.motion.clone();
        for (drag, index) in &motion.drags {
            let Some((stroke, _)) = hands.stroke(*drag) else { continue };
            match stroke.validate("drag", size) {
                Ok(()) => Arc::make_mut(&mut motion.project).strokes[*index] = stroke,
                Err(_) => broken.push(*drag),
            }
        }
        if *motion.project != *ready.motion.project
            && let Some(scene) = ready.compiled.scene.revised(&motion.project)
        {
            ready.revise(scene, motion);
        }
        broken
    }
}

/// Whether two projects have the same strokes' and transfers' regions in the same order, the same clips' motion, the same depth,
/// and the same pins.
fn same_layers(a: &Project, b: &Project) -> bool {
    let regions = a.strokes.iter().map(|stroke| &stroke.region).eq(b.strokes.iter().map(|stroke| &stroke.region));
    let clips = a.transfers.len() == b.transfers.len()
        && a.transfers.iter().zip(&b.transfers).all(|(a, b)| a.region == b.region && a.same_clip_motion(b));
    let depth = CameraPath::same_depth(a.camera.as_ref(), b.camera.as_ref());
    regions && clips && depth && a.seed == b.seed && a.pins == b.pins
}
