//! A scene: a project compiled for one picture size. It knows each layer's region and, for any frame, its motion.
//!
//! Layers lie in the strokes' order, back to front; strokes with the very same region share a layer. A stroke over `All` moves the
//! plate and everything on it, the other strokes add their way to it in picture space. Hard regions move as a whole (an affine
//! map); in soft ones a point's displacement is scaled by the region's value there, so their border stays with the plate. Of two
//! hard layers a pixel belongs to the front one.
//!
//! Invariant: at frame 0 every layer is where the picture has it; pinned pixels stay at every frame. Guarded by the tests below.

use std::path::PathBuf;
use std::sync::Arc;

use glam::{Affine2, Vec2};

use super::bend::{Bend, value};
use super::frame_motion::FrameMotion;
use super::layer_motion::LayerMotion;
use super::project::Project;
use super::region::{Placement, Region};
use super::stroke::{Stroke, Trajectory};
use super::track_field::{PointState, TrackField, TrackFrame};
use crate::Result;
use crate::picture::Mask;

/// A point belongs to a soft layer where the weight is at least this ...
const SOFT_OWNS: f32 = 0.001;
/// ... and is hidden by it only where the weight is at least this: in between the layer cannot be told from the plate.
const SOFT_HIDES: f32 = 0.02;
/// Steps of the search for the source of a place on a bent layer.
const INVERSE_STEPS: usize = 12;

/// A project compiled for one picture size. All places are scene px. Clones share their masks.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Width, px.
    pub width: usize,
    /// Height, px.
    pub height: usize,
    /// One per object layer, back to front. Hard regions: coverage. Soft ones: the weight of their motion.
    pub regions: Vec<Arc<Mask>>,
    /// The regions as the project has them, parallel to `regions`.
    pub outlines: Vec<Region>,
    layers: Vec<Layer>,
    /// The strokes over `All`.
    plate: Vec<Arc<Driver>>,
    /// What is pinned, 0..1; pins over `All` are not in it.
    pins: Option<Arc<Mask>>,
    /// Whether a pin over `All` keeps what no stroke moves.
    rest_pinned: bool,
    scene_from_picture: Affine2,
    seed: u64,
    made_of: MadeOf,
}

/// What of a project decides regions and layers: as long as it is the same, only the drivers can differ.
#[derive(Clone, Debug)]
struct MadeOf {
    folder: PathBuf,
    image: PathBuf,
    picture: (usize, usize),
    pins: Vec<Region>,
    /// How many of the first layers are pins that stand on a moving plate.
    standing: usize,
}

/// A stroke's motion and what it turns about, both in picture px.
#[derive(Debug)]
struct Driver {
    stroke: Stroke,
    trajectory: Trajectory,
    anchor: Vec2,
}

impl Driver {
    /// `center` is the middle of the stroke's region.
    fn new(stroke: &Stroke, center: Vec2) -> Arc<Self> {
        let anchor = stroke.pivot.map_or(center, Vec2::from);
        Arc::new(Self { trajectory: Trajectory::new(stroke), anchor, stroke: stroke.clone() })
    }
}

#[derive(Clone, Debug)]
struct Layer {
    /// Empty for a pin that stands still on a moving plate.
    drivers: Vec<Arc<Driver>>,
    /// What its strokes turn about unless they say otherwise.
    center: Vec2,
    bend: Option<Arc<Bend>>,
}

/// The strokes over `All`, and the others by region, in their order.
fn grouped(project: &Project) -> (Vec<&Stroke>, Vec<(&Region, Vec<&Stroke>)>) {
    let mut plate = Vec::new();
    let mut groups: Vec<(&Region, Vec<&Stroke>)> = Vec::new();
    for stroke in &project.strokes {
        if stroke.region == Region::All {
            plate.push(stroke);
        } else if let Some((_, strokes)) = groups.iter_mut().find(|(region, _)| **region == stroke.region) {
            strokes.push(stroke);
        } else {
            groups.push((&stroke.region, vec![stroke]));
        }
    }
    (plate, groups)
}

/// All motions of one frame, with the plate's first.
struct Moment {
    motions: Vec<LayerMotion>,
    inverses: Vec<Affine2>,
}

impl Scene {
    /// Compiles `project` for pictures of `width` x `height` px, to which the picture is stretched.
    ///
    /// # Errors
    /// An invalid project, or a mask file that cannot be read.
    pub fn new(project: &Project, width: usize, height: usize) -> Result<Self> {
        Self::placed(project, &Placement::stretch(project.picture_size()?, (width, height)))
    }

    /// Compiles `project` for a scene in which the picture lies as `placement` says.
    ///
    /// # Errors
    /// As [`Scene::new`].
    pub fn placed(project: &Project, placement: &Placement) -> Result<Self> {
        project.validate_for(placement.picture)?;
        let folder = project.folder();
        let raster = |region: &Region| region.rasterize_placed(placement, folder);
        let center = |region: &Region| region.center(placement.picture, folder);

        let (plate, groups) = grouped(project);
        let plate_center = center(&Region::All)?;
        let own_pins: Vec<&Region> = project.pins.iter().filter(|pin| **pin != Region::All).collect();
        let mut pins: Option<Mask> = None;
        for pin in &own_pins {
            let mask = raster(pin)?;
            match &mut pins {
                None => pins = Some(mask),
                Some(all) => all.data.iter_mut().zip(&mask.data).for_each(|(a, b)| *a = a.max(*b)),
            }
        }
        // On a plate that moves a pinned region needs a layer that does not; on a still plate it stays anyway.
        let standing = if plate.is_empty() { Vec::new() } else { own_pins };
        let made_of = MadeOf {
            folder: folder.to_owned(),
            image: project.image.clone(),
            picture: placement.picture,
            pins: project.pins.clone(),
            standing: standing.len(),
        };
        let parts = standing.into_iter().map(|pin| (pin, Vec::new())).chain(groups);

        let mut masks: Vec<Mask> = Vec::new();
        let (mut outlines, mut layers) = (Vec::new(), Vec::<Layer>::new());
        for (region, strokes) in parts {
            let mut mask = raster(region)?;
            if let (Some(pins), false) = (&pins, strokes.is_empty()) {
                mask.data.iter_mut().zip(&pins.data).for_each(|(value, pin)| *value *= 1.0 - pin);
            }
            let bend = region.is_soft().then(|| Arc::new(Bend::new(&mask, pins.as_ref().filter(|_| !strokes.is_empty()))));
            if bend.is_none() {
                for (behind, _) in masks.iter_mut().zip(&layers).filter(|(_, layer)| layer.bend.is_none()) {
                    behind.data.iter_mut().zip(&mask.data).for_each(|(value, front)| *value *= 1.0 - front);
                }
            }
            let center = center(region)?;
            masks.push(mask);
            outlines.push(region.clone());
            layers.push(Layer { drivers: strokes.into_iter().map(|stroke| Driver::new(stroke, center)).collect(), center, bend });
        }
        Ok(Self {
            width: placement.scene.0,
            height: placement.scene.1,
            regions: masks.into_iter().map(Arc::new).collect(),
            outlines,
            layers,
            plate: plate.into_iter().map(|stroke| Driver::new(stroke, plate_center)).collect(),
            pins: pins.map(Arc::new),
            rest_pinned: project.pins.contains(&Region::All),
            scene_from_picture: placement.scene_from_picture(),
            seed: project.seed,
            made_of,
        })
    }

    /// Whether `project` has this scene's picture, regions, pins and layers, so that only the motion can differ.
    pub fn fits(&self, project: &Project) -> bool {
        let MadeOf { folder, image, pins, standing, .. } = &self.made_of;
        let (plate, groups) = grouped(project);
        let same_picture = *image == project.image && *folder == project.folder() && self.seed == project.seed;
        let same_layers = groups.iter().map(|(region, _)| *region).eq(&self.outlines[*standing..]);
        same_picture && same_layers && *pins == project.pins && plate.is_empty() == self.plate.is_empty()
    }

    /// The scene of `project` if it differs in its motion alone, at once: nothing is rasterised or read, masks are shared, and strokes
    /// that are the same are not built again. None where [`Scene::fits`] says no or a stroke is not valid.
    pub fn revised(&self, project: &Project) -> Option<Self> {
        if !self.fits(project) {
            return None;
        }
        let picture = self.made_of.picture;
        let revise = |old: &[Arc<Driver>], strokes: Vec<&Stroke>, center: Vec2| -> Option<Vec<Arc<Driver>>> {
            let driver = |(i, stroke): (usize, &Stroke)| {
                let same = old.get(i).filter(|driver| driver.stroke == *stroke);
                let fresh = || stroke.validate("stroke", picture).ok().map(|()| Driver::new(stroke, center));
                same.cloned().or_else(fresh)
            };
            strokes.into_iter().enumerate().map(driver).collect()
        };
        let (plate, groups) = grouped(project);
        let plate_center = Vec2::new(picture.0 as f32, picture.1 as f32) * 0.5;
        let mut scene = Self { plate: revise(&self.plate, plate, plate_center)?, ..self.clone() };
        for (layer, (_, strokes)) in scene.layers[self.made_of.standing..].iter_mut().zip(groups) {
            layer.drivers = revise(&layer.drivers, strokes, layer.center)?;
        }
        Some(scene)
    }

    /// Gives every point of `field` the layer that shows at its source in this scene; ids and places stay.
    pub fn relayer(&self, field: &mut TrackField) {
        field.relayer(|source| self.layer_at(source));
    }

    /// Whether object layer `object` (0 is the backmost) bends: its region holds weights, its motion is a mesh.
    pub fn is_soft(&self, object: usize) -> bool {
        self.layers[object].bend.is_some()
    }

    /// Everything's motion at `frame`.
    pub fn frame_motion(&self, frame: usize) -> FrameMotion {
        FrameMotion::flat(self.plate_motion(frame), self.object_motions(frame))
    }

    /// The plate's motion at `frame`.
    pub fn plate_motion(&self, frame: usize) -> LayerMotion {
        LayerMotion::Affine(self.in_scene(compose(&self.plate, &[], frame)))
    }

    /// Each object layer's motion at `frame`, back to front, parallel to [`Scene::regions`].
    pub fn object_motions(&self, frame: usize) -> Vec<LayerMotion> {
        let base = self.in_scene(compose(&self.plate, &[], frame));
        self.layers
            .iter()
            .map(|layer| {
                let own = match layer.drivers.is_empty() {
                    true => Affine2::IDENTITY,
                    false => self.in_scene(compose(&self.plate, &layer.drivers, frame)),
                };
                layer.bend.as_ref().map_or(LayerMotion::Affine(own), |bend| LayerMotion::Mesh(bend.at(base, own)))
            })
            .collect()
    }

    /// Who decides where layer `layer` (0 the plate, `k` object `k - 1`) is at `frame`; pinned points of it may differ.
    pub fn layer_state(&self, layer: usize, frame: usize) -> PointState {
        let driven = |drivers: &[Arc<Driver>]| drivers.iter().any(|driver| driver.trajectory.drives(frame as f32));
        match layer.checked_sub(1).map(|object| &self.layers[object]) {
            Some(layer) if layer.drivers.is_empty() => PointState::Pinned,
            Some(layer) if driven(&layer.drivers) => PointState::Driven,
            _ if driven(&self.plate) => PointState::Driven,
            None if self.rest_pinned => PointState::Pinned,
            _ => PointState::Free,
        }
    }

    /// The layer that shows at source place `point` (0 the plate, `k` object `k - 1`).
    pub fn layer_at(&self, point: Vec2) -> u16 {
        (0..self.layers.len()).rev().find(|object| self.has(*object, point, SOFT_OWNS)).map_or(0, |object| object as u16 + 1)
    }

    /// What shows at `place` of `frame`: the object layer, if it is one, and the place's source on it.
    pub fn pick(&self, place: Vec2, frame: usize) -> (Option<usize>, Vec2) {
        let moment = self.moment(frame);
        match self.front_layer(&moment, place, 0) {
            Some((object, source)) => (Some(object), source),
            None => (None, moment.inverses[0].transform_point2(place)),
        }
    }

    /// A grid of points over the source picture, each on the layer that shows there; no frame is in it yet.
    pub fn track_field(&self, points_along_longer_side: usize) -> TrackField {
        TrackField::grid(self.width, self.height, points_along_longer_side, self.seed, |point| self.layer_at(point))
    }

    /// Appends `frame` to `field`: where its points are, whether they show, and who decides.
    pub fn advance(&self, field: &mut TrackField, frame: usize) {
        let moment = self.moment(frame);
        let layer_states: Vec<PointState> = (0..=self.layers.len()).map(|layer| self.layer_state(layer, frame)).collect();
        let mut tracks = TrackFrame::default();
        let mut states = Vec::with_capacity(field.len());
        for (source, layer) in field.sources.iter().zip(&field.layers) {
            // Points of layers that a newer scene no longer has fall back to the plate.
            let layer = if usize::from(*layer) <= self.layers.len() { usize::from(*layer) } else { 0 };
            let place = moment.motions[layer].apply(*source);
            tracks.positions.push(place);
            tracks.visible.push(self.inside(place) && self.front_layer(&moment, place, layer).is_none());
            let pinned =
                (layer == 0 && self.plate.is_empty() || layer > 0) && self.pins.as_ref().is_some_and(|pins| value(pins, *source) >= 0.5);
            states.push(if pinned { PointState::Pinned } else { layer_states[layer] });
        }
        field.push(tracks, states);
    }

    /// Adds a point to every cell of the grid that has none near at `frame`, where the picture is newly uncovered; returns how many.
    /// Call it before [`Scene::advance`] for the same frame.
    pub fn seed_uncovered(&self, field: &mut TrackField, frame: usize) -> usize {
        let spacing = field.spacing();
        let (columns, rows) = ((self.width as f32 / spacing.x).round() as usize, (self.height as f32 / spacing.y).round() as usize);
        if columns == 0 || rows == 0 || columns * rows > self.width * self.height {
            return 0;
        }
        let moment = self.moment(frame);
        let mut seen = vec![false; columns * rows];
        for (source, layer) in field.sources.iter().zip(&field.layers) {
            let layer = if usize::from(*layer) <= self.layers.len() { usize::from(*layer) } else { 0 };
            let place = moment.motions[layer].apply(*source);
            if self.inside(place) && self.front_layer(&moment, place, layer).is_none() {
                // Its own cell and those whose middle is within one spacing: a mere zoom does not make the grid denser.
                let cell = place / spacing;
                let around = |at: f32, count: usize| (at as usize).saturating_sub(1)..(at as usize + 2).min(count);
                for (row, column) in around(cell.y, rows).flat_map(|row| around(cell.x, columns).map(move |column| (row, column))) {
                    seen[row * columns + column] |= cell.distance(Vec2::new(column as f32 + 0.5, row as f32 + 0.5)) <= 1.0;
                }
            }
        }
        let fresh = seen.iter().enumerate().filter(|(_, seen)| !**seen).map(|(i, _)| {
            let place = Vec2::new((i % columns) as f32 + 0.5, (i / columns) as f32 + 0.5) * spacing;
            match self.front_layer(&moment, place, 0) {
                Some((object, source)) => (source, object as u16 + 1),
                None => (moment.inverses[0].transform_point2(place), 0),
            }
        });
        field.seed_points(fresh)
    }

    fn inside(&self, place: Vec2) -> bool {
        (0.0..self.width as f32).contains(&place.x) && (0.0..self.height as f32).contains(&place.y)
    }

    /// Whether object layer `object` holds source place `source`; `soft` is the least weight that counts if the layer is soft.
    fn has(&self, object: usize, source: Vec2, soft: f32) -> bool {
        self.inside(source) && value(&self.regions[object], source) >= if self.is_soft(object) { soft } else { 0.5 }
    }

    /// The front object that covers `place` in the frame and lies before `layer`, with the place's source on it.
    fn front_layer(&self, moment: &Moment, place: Vec2, layer: usize) -> Option<(usize, Vec2)> {
        (layer..self.layers.len()).rev().find_map(|object| {
            let source = moment.source(object + 1, place);
            self.has(object, source, SOFT_HIDES).then_some((object, source))
        })
    }

    fn moment(&self, frame: usize) -> Moment {
        let plate = self.plate_motion(frame);
        let base = self.in_scene(compose(&self.plate, &[], frame)).inverse();
        let motions: Vec<LayerMotion> = std::iter::once(plate).chain(self.object_motions(frame)).collect();
        let inverses = motions.iter().map(|motion| if let LayerMotion::Affine(own) = motion { own.inverse() } else { base }).collect();
        Moment { motions, inverses }
    }

    /// A motion of picture px as a motion of scene px.
    fn in_scene(&self, motion: Affine2) -> Affine2 {
        if motion == Affine2::IDENTITY {
            return motion;
        }
        self.scene_from_picture * motion * self.scene_from_picture.inverse()
    }
}

impl Moment {
    /// Source of `place` on `layer`: exact for affine layers, for bent ones a fixed-point search that starts from the plate's.
    fn source(&self, layer: usize, place: Vec2) -> Vec2 {
        let inverse = self.inverses[layer];
        let mut source = inverse.transform_point2(place);
        if let LayerMotion::Mesh(mesh) = &self.motions[layer] {
            for _ in 0..INVERSE_STEPS {
                source += inverse.transform_vector2(place - mesh.apply(source));
            }
        }
        source
    }
}

/// The motion of picture px under the plate's strokes and a layer's own: turns and scales of the layer happen on the plate, then the
/// plate's, then all the ways add up in picture space.
fn compose(plate: &[Arc<Driver>], own: &[Arc<Driver>], frame: usize) -> Affine2 {
    let frame = frame as f32;
    let way = plate.iter().chain(own).map(|driver| driver.trajectory.displacement(frame)).sum();
    let local = |drivers: &[Arc<Driver>]| drivers.iter().fold(Affine2::IDENTITY, |map, d| d.trajectory.local(frame, d.anchor) * map);
    Affine2::from_translation(way) * local(plate) * local(own)
}

#[cfg(test)]
mod tests;
