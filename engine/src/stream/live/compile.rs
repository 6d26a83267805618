//! Projects become scenes and cut pictures, on threads of their own: at once with smoothly filled holes, then with texture.
//!
//! "kinebrush-compile" cuts, the newest motion first; "kinebrush-texture" fills holes with texture on threads of lower priority, so that
//! neither the next cut nor a chunk waits for it. Invariant: what comes out depends on picture and project alone. Guarded by the tests
//! below and `tests/tests/live.rs`.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::Compiled;
use crate::error::{Error, Result};
use crate::guide::cut::Cutter;
use crate::guide::layers::{CutOptions, Filled, Layers};
use crate::motion::camera::CameraPath;
use crate::motion::depth::DepthMap;
use crate::motion::project::Project;
use crate::motion::region::Placement;
use crate::motion::scene::Scene;
use crate::picture::{Mask, Picture};
use crate::priority::{Priority, set_priority};

/// Plate beyond the picture on each side, as a share of the longer side: room for camera moves.
const MARGIN: f32 = 0.25;
/// Objects behind which texture can be carried on: a take log has a byte for it.
const MOST_AFTER: usize = 253;
/// Textures that are kept, two pictures each: the newest cut's and those that undoing or redoing comes to next.
const MOST_TEXTURES: usize = 3;
/// Smallest picture, px a side.
const LEAST_PX: usize = 16;

/// How the holes of a cut are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// Smoothly, at once.
    Smooth,
    /// At once, too: behind so many of the first objects with the texture of a cut along these alone, the rest smoothly.
    After(u8),
    /// With texture.
    Textured,
}

/// A picture no larger than the live loop works at, with what its cuts share.
#[derive(Debug)]
pub struct Stage {
    placement: Placement,
    /// The picture as it is cut.
    pub picture: Arc<Picture>,
    options: CutOptions,
    cutter: Cutter,
    depth: Option<Depth>,
}

/// The depth of the last project that had one.
#[derive(Debug)]
struct Depth {
    /// What it was made of.
    camera: CameraPath,
    folder: PathBuf,
    map: Arc<DepthMap>,
}

impl Stage {
    /// `picture`, scaled down so that its longer side has at most `live_px`; `seed` is what its texture is drawn from.
    ///
    /// # Errors
    /// A picture of less than 16 px a side.
    pub fn new(picture: &Arc<Picture>, live_px: usize, seed: u64) -> Result<Self> {
        let (width, height) = (picture.width, picture.height);
        if width < LEAST_PX || height < LEAST_PX {
            return Err(Error::field("image", format!("is {width}x{height} px; a picture needs at least {LEAST_PX} px a side")));
        }
        let shrink = (live_px.max(LEAST_PX) as f64 / width.max(height) as f64).min(1.0);
        let side = |px: usize| ((px as f64 * shrink).round() as usize).max(LEAST_PX);
        let size = (side(width), side(height));
        let live = if size == (width, height) { picture.clone() } else { Arc::new(picture.resized(size.0, size.1)) };
        let margin = (size.0.max(size.1) as f32 * MARGIN) as usize;
        let options = CutOptions { plate_margin_px: margin, seed, ..CutOptions::default() };
        let cutter = Cutter::new(live.clone(), options.clone());
        Ok(Self { placement: Placement::cover((width, height), size), picture: live, options, cutter, depth: None })
    }

    /// Live px per px of the source picture.
    pub fn scale(&self) -> f32 {
        self.placement.scale.x
    }

    /// `project` as a scene of the live picture, and the picture cut for it, its holes filled as `filling` says.
    ///
    /// # Errors
    /// A project that is not valid or has fewer objects than were cut before, or a mask or depth file that cannot be read.
    pub fn compile(&mut self, project: &Project, filling: Filling) -> Result<(Scene, Layers)> {
        let scene = Scene::placed(project, &self.placement)?;
        let layers = match filling {
            Filling::Smooth | Filling::Textured => self.cutter.cut(&scene.regions),
            Filling::After(objects) => {
                let first = scene.regions.get(..objects.into()).ok_or_else(|| {
                    Error::field("strokes", format!("are fewer than the {objects} objects that were textured; the take is damaged"))
                })?;
                let before = self.cutter.cut(first).textured(self.options.seed).filled();
                self.cutter.cut_after(&scene.regions, &before)
            }
        };
        let (scene, layers, _) = self.in_depth(project, scene, layers)?;
        let textured = filling == Filling::Textured;
        Ok(if textured { (scene, layers.textured(self.options.seed)) } else { (scene, layers) })
    }

    /// `project` cut at once: after the one of `before` that has most of what this project begins with; and what the user should know of a
    /// depth that was made for it.
    fn compile_at_once(&mut self, project: &Project, before: &Textures) -> Result<(Scene, Layers, Filling, Vec<String>)> {
        let scene = Scene::placed(project, &self.placement)?;
        let (layers, filling) = match before.of(&scene.regions, self.options.seed) {
            Some(before) => (self.cutter.cut_after(&scene.regions, before), Filling::After(before.objects as u8)),
            None => (self.cutter.cut(&scene.regions), Filling::Smooth),
        };
        let (scene, layers, notes) = self.in_depth(project, scene, layers)?;
        Ok((scene, layers, filling, notes))
    }

    /// Scene and layers with the project's depth, and what the user should know of it.
    fn in_depth(&mut self, project: &Project, scene: Scene, layers: Layers) -> Result<(Scene, Layers, Vec<String>)> {
        let Some(camera) = &project.camera else { return Ok((scene, layers, Vec::new())) };
        let known =
            self.depth.take().filter(|depth| depth.folder == project.folder() && CameraPath::same_depth(Some(&depth.camera), Some(camera)));
        let (depth, notes) = match known {
            Some(depth) => (depth, Vec::new()),
            None => {
                let lens = camera.lens(self.placement.picture);
                let (map, notes) = camera.depth.map(&self.picture, &self.placement, project.folder(), &lens)?;
                (Depth { camera: camera.clone(), folder: project.folder().to_owned(), map: Arc::new(map) }, notes)
            }
        };
        let map = self.depth.insert(depth).map.clone();
        let layers = layers.with_depth(&map);
        Ok((scene.with_depth(map), layers, notes))
    }
}

/// What the holes of a cut along `regions` were filled with.
#[derive(Clone, Debug)]
struct Textured {
    regions: Vec<Arc<Mask>>,
    seed: u64,
    filled: Filled,
}

/// What the holes of the last cuts were filled with: drawing goes on from the last, undoing and redoing from those before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Textures(Vec<Textured>);

impl Textures {
    /// Adds a cut; one without texture has nothing to give.
    pub fn add(&mut self, compiled: &Compiled) {
        let Some(seed) = compiled.layers.fill_seed() else { return };
        let new = Textured { regions: compiled.scene.regions.clone(), seed, filled: compiled.layers.filled() };
        let on_the_way = |a: &[Arc<Mask>], b: &[Arc<Mask>]| a.len() < b.len() && b.starts_with(a);
        self.0.retain(|old| old.seed == seed && (on_the_way(&old.regions, &new.regions) || on_the_way(&new.regions, &old.regions)));
        let surplus = (self.0.len() + 1).saturating_sub(MOST_TEXTURES);
        self.0.drain(..surplus);
        self.0.push(new);
    }

    /// That of the most of the first of `regions`.
    fn of(&self, regions: &[Arc<Mask>], seed: u64) -> Option<&Filled> {
        let goes_on = |old: &&Textured| old.seed == seed && old.regions.len() <= MOST_AFTER && regions.starts_with(&old.regions);
        self.0.iter().filter(goes_on).max_by_key(|old| old.regions.len()).map(|old| &old.filled)
    }
}

/// A project to compile.
pub(super) struct Request {
    /// Which picture: counts up with every `Open`.
    pub opening: u64,
    pub picture: Arc<Picture>,
    pub project: Arc<Project>,
    /// What was filled with texture before.
    pub before: Textures,
    /// Counts up with every request.
    pub serial: u64,
}

/// What became of a request.
pub(super) enum Answer {
    /// Compiled, without texture of its own.
    Cut { opening: u64, serial: u64, scene: Box<Scene>, layers: Arc<Layers>, filling: Filling, stage: Staged, notes: Vec<String> },
    /// The same layers with texture.
    Textured { opening: u64, smooth: Arc<Layers>, layers: Arc<Layers> },
    /// It does not compile.
    Refused { opening: u64, serial: u64, why: String },
}

/// The live picture of an opening.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    pub picture: Arc<Picture>,
    pub scale: f32,
}

/// Layers to be textured.
struct Smooth {
    opening: u64,
    seed: u64,
    layers: Arc<Layers>,
}

/// Both threads; they end when it is dropped and their work in hand is done.
pub(super) struct Compilers {
    requests: Slot<Request>,
    pub answers: Receiver<Answer>,
}

/// Room for one thing, the newest.
struct Slot<T> {
    put: Sender<T>,
    held: Receiver<T>,
}

impl<T> Slot<T> {
    fn new() -> (Self, Receiver<T>) {
        let (put, held) = bounded(1);
        (Self { put, held: held.clone() }, held)
    }

    fn replace(&self, mut value: T) {
        while let Err(TrySendError::Full(back)) = self.put.try_send(value) {
            drop(self.held.try_recv());
            value = back;
        }
    }
}

impl Compilers {
    pub fn spawn(live_px: usize) -> Result<Self> {
        let (requests, wanted) = Slot::new();
        let (smooth, holes) = Slot::new();
        let (say, answers) = bounded(4);
        let said = say.clone();
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let spawned = std::thread::Builder::new().name(name.into()).spawn(run);
            spawned.map(drop).map_err(|e| Error::field("threads", format!("cannot be started ({e}); close other programs")))
        };
        thread("kinebrush-compile", Box::new(move || compile(&wanted, &smooth, &say, live_px)))?;
        thread("kinebrush-texture", Box::new(move || texture(&holes, &said)))?;
        Ok(Self { requests, answers })
    }

    /// Compiles `request`, unless a newer one comes first.
    pub fn ask(&self, request: Request) {
        self.requests.replace(request);
    }
}

fn compile(wanted: &Receiver<Request>, smooth: &Slot<Smooth>, say: &Sender<Answer>, live_px: usize) {
    let mut stage: Option<(u64, Stage)> = None;
    while let Ok(Request { opening, picture, project, before, serial }) = wanted.recv() {
        let answer = caught(|| {
            let fresh = match stage.take() {
                Some((of, stage)) if of == opening && stage.options.seed == project.seed => stage,
                _ => Stage::new(&picture, live_px, project.seed)?,
            };
            let (_, stage) = stage.insert((opening, fresh));
            let (scene, layers, filling, notes) = stage.compile_at_once(&project, &before)?;
            Ok((scene, Arc::new(layers), filling, Staged { picture: stage.picture.clone(), scale: stage.scale() }, notes))
        });
        let answer = match answer {
            Ok((scene, layers, filling, staged, notes)) => {
                smooth.replace(Smooth { opening, seed: project.seed, layers: layers.clone() });
                Answer::Cut { opening, serial, scene: Box::new(scene), layers, filling, stage: staged, notes }
            }
            Err(why) => Answer::Refused { opening, serial, why },
        };
        if say.send(answer).is_err() {
            return;
        }
    }
}

fn texture(holes: &Receiver<Smooth>, say: &Sender<Answer>) {
    let pool = slow_pool();
    while let Ok(Smooth { opening, seed, layers }) = holes.recv() {
        let fill = || Ok(layers.textured(seed));
        let textured = match &pool {
            Some(pool) => pool.install(|| caught(fill)),
            None => caught(fill),
        };
        // Without texture the smooth fill stays, which is no fault to tell anybody.
        if let Ok(textured) = textured
            && say.send(Answer::Textured { opening, smooth: layers, layers: Arc::new(textured) }).is_err()
        {
            return;
        }
    }
}

/// Threads that give way to a window, but not to the network: with the lowest priority a hole could stay smooth for seconds beside a
/// live loop that takes all there is.
fn slow_pool() -> Option<rayon::ThreadPool> {
    let builder = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("kinebrush-texture-{i}"));
    builder.start_handler(|_| set_priority(Priority::Bettering)).build().ok()
}

/// `work`, whose panic is a message too.
fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => Err(format!("the picture could not be cut ({}); this is a fault of the program", super::panic_message(&*panic))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::motion::region::Region;
    use crate::motion::stroke::{Key, Stroke};
    use glam::Vec2;

    fn project(discs: &[(f32, f32)]) -> Project {
        let mut project = Project::new("", "not on any disk.png", 8);
        project.strokes = discs
            .iter()
            .map(|center| {
                let region = Region::Disc { center: *center, radius: 20.0, softness: 0.0 };
                Stroke::along(region, vec![Key { frame: 0.0, place: Vec2::ZERO }, Key { frame: 4.0, place: Vec2::new(30.0, 10.0) }])
            })
            .collect();
        project
    }

    fn picture() -> Arc<Picture> {
        Arc::new(Picture::from_fn(300, 180, |x, y| [x as f32 / 300.0, y as f32 / 180.0, ((x / 7 + y / 5) % 3) as f32 / 3.0]))
    }

    #[test]
    fn a_large_picture_is_worked_on_smaller_and_no_file_is_looked_for() {
        let stage = Stage::new(&picture(), 150, 1).unwrap();
        assert_eq!((stage.picture.width, stage.picture.height, stage.scale()), (150, 90, 0.5));
        let (scene, layers) = { stage }.compile(&project(&[(100.0, 80.0)]), Filling::Smooth).unwrap();
        assert_eq!((scene.width, layers.width, layers.plate_margin_px), (150, 150, 37));
        assert_eq!(scene.regions[0].at(50, 40), 1.0);
        assert!((scene.object_motions(4)[0].apply(Vec2::ZERO) - Vec2::new(15.0, 5.0)).length() < 1e-3);
        let small = Stage::new(&picture(), 1280, 1).unwrap();
        assert!((small.picture.width, small.scale()) == (300, 1.0));
        assert!(Stage::new(&Arc::new(Picture::filled(300, 9, [0.0; 3])), 1280, 1).is_err());
    }

    #[test]
    fn the_newest_request_is_answered_at_once_and_with_texture_later() {
        let compilers = Compilers::spawn(1280).unwrap();
        let projects = [project(&[]), project(&[(60.0, 60.0)]), project(&[(60.0, 60.0), (200.0, 90.0)])];
        for (serial, project) in (1..).zip(projects.clone()) {
            compilers.ask(Request { opening: 1, picture: picture(), project: Arc::new(project), before: Textures::default(), serial });
        }
        let (mut smooth_layers, mut textured_layers) = (None, None);
        while textured_layers.is_none() {
            match compilers.answers.recv().unwrap() {
                Answer::Cut { serial: 3, layers, .. } => smooth_layers = Some(layers),
                Answer::Cut { .. } => {}
                Answer::Textured { smooth, layers, .. } => {
                    textured_layers = smooth_layers.as_ref().filter(|newest| Arc::ptr_eq(newest, &smooth)).map(|_| layers);
                }
                Answer::Refused { why, .. } => panic!("{why}"),
            }
        }
        let mut stage = Stage::new(&picture(), 1280, 0).unwrap();
        for (filling, found) in [(Filling::Smooth, smooth_layers), (Filling::Textured, textured_layers)] {
            let (_, layers) = stage.compile(&projects[2], filling).unwrap();
            assert!(layers.plate == found.unwrap().plate, "{filling:?}");
        }
        // With texture at hand the next cut goes on from it, and is made again from its project alone; so does one that was undone.
        let mut textures = Textures::default();
        for project in &projects {
            let (scene, layers) = stage.compile(project, Filling::Textured).unwrap();
            textures.add(&Compiled { revision: 1, scene: Arc::new(scene), layers: Arc::new(layers), cut: 1, scale: 1.0 });
        }
        assert_eq!(textures.0.len(), 3);
        let further = project(&[(60.0, 60.0), (200.0, 90.0), (120.0, 120.0)]);
        let others = [project(&[(60.0, 60.0), (201.0, 90.0)]), project(&[(61.0, 60.0), (200.0, 90.0)])];
        let cuts = [(further, 2), (projects[1].clone(), 1), (others[0].clone(), 1), (others[1].clone(), 0)];
        for (serial, (project, most)) in (4..).zip(cuts) {
            let (project, wanted) = (Arc::new(project), Filling::After(most));
            compilers.ask(Request { opening: 1, picture: picture(), project: project.clone(), before: textures.clone(), serial });
            let found = loop {
                match compilers.answers.recv().unwrap() {
                    Answer::Cut { serial: of, layers, filling, .. } if of == serial => break (filling, layers),
                    Answer::Refused { why, .. } => panic!("{why}"),
                    _ => {}
                }
            };
            let (_, again) = stage.compile(&project, wanted).unwrap();
            assert!(found.0 == wanted && found.1.plate == again.plate && found.1.plate_smooth == again.plate_smooth, "{wanted:?}");
            // Beyond the picture there is texture even behind none of the objects.
            assert!(again.plate != stage.compile(&project, Filling::Smooth).unwrap().1.plate);
            let all = project.strokes.len() == usize::from(most);
            assert_eq!(again.plate == stage.compile(&project, Filling::Textured).unwrap().1.plate, all);
        }
        // Those of another way are forgotten.
        let mut add = |project: &Project| {
            let (scene, layers) = stage.compile(project, Filling::Textured).unwrap();
            textures.add(&Compiled { revision: 1, scene: Arc::new(scene), layers: Arc::new(layers), cut: 1, scale: 1.0 });
            textures.0.len()
        };
        assert_eq!((add(&others[0]), add(&projects[1]), add(&others[1])), (3, 3, 2));
        assert!(stage.compile(&projects[0], Filling::After(1)).unwrap_err().to_string().contains("strokes"));
        let mut broken = project(&[(60.0, 60.0)]);
        broken.strokes[0].path.clear();
        compilers.ask(Request { opening: 1, picture: picture(), project: Arc::new(broken), before: Textures::default(), serial: 9 });
        let why = loop {
            if let Answer::Refused { serial: 9, why, .. } = compilers.answers.recv().unwrap() {
                break why;
            }
        };
        assert!(why.starts_with("strokes[0].path: has no key"), "{why}");
    }
}
