//! A scene: a project compiled for one picture size. It knows each layer's region and, for any frame, its motion.
//!
//! Layers lie in the strokes' order, back to front, and those of transfers alone before them; strokes and transfers with the very same region
//! share a layer. A stroke over `All` moves the plate and everything on it, the other strokes add their way to it in picture space.
//! Transfers bend a layer by the tracks of a clip before its strokes move it. Hard regions move as a whole (an affine
//! map); in soft ones a point's displacement is scaled by the region's value there, so their border stays with the plate. Of two
//! hard layers a pixel belongs to the front one.
//!
//! All this happens on the picture's surface; where the project has a camera and the picture a depth, the camera looks at it, and the depth
//! decides what hides what (`sight`).
//!
//! Invariant: at frame 0 every layer is where the picture has it; pinned pixels stay at every frame; without a camera that has moved, all
//! is as if there were none, bit for bit. Guarded by the tests below.

use std::path::PathBuf;
use std::sync::Arc;

use glam::{Affine2, Vec2};

use super::bend::{Bend, value};
use super::camera::{CameraPath, View};
use super::depth::DepthMap;
use super::frame_motion::FrameMotion;
use super::layer_motion::LayerMotion;
use super::project::Project;
use super::region::{Placement, Region};
use super::sheet::{Places, Sheet};
use super::stroke::{Stroke, Trajectory};
use super::track_field::{PointState, TrackField, TrackFrame};
use super::transfer::{Driven, rest_mesh};
use crate::Result;
use crate::picture::Mask;
use sight::{Relief, Sight};

/// A point belongs to a soft layer where the weight is at least this ...
const SOFT_OWNS: f32 = 0.001;
/// ... and is hidden by it only where the weight is at least this: in between the layer cannot be told from the plate.
const SOFT_HIDES: f32 = 0.02;
/// Steps of the search for the source of a place on a bent layer.
const INVERSE_STEPS: usize = 12;
/// A place that a search ends farther from than this is not on the layer, px.
const FOUND_PX: f32 = 1.0;
/// A plate that bends does so this far beyond the picture, as a share of its longer side: as far as renders show it.
const PLATE_MARGIN: f32 = 0.25;

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
    /// The mesh of the transfers over `All`.
    plate_sheet: Option<Arc<Sheet>>,
    /// The motion of clips, in the project's order.
    transfers: Vec<Arc<Driven>>,
    /// What is pinned, 0..1; pins over `All` are not in it.
    pins: Option<Arc<Mask>>,
    /// Whether a pin over `All` keeps what no stroke moves.
    rest_pinned: bool,
    scene_from_picture: Affine2,
    seed: u64,
    camera: Option<Arc<CameraPath>>,
    /// What the camera looks at; None where nothing has depth.
    relief: Option<Arc<Relief>>,
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
    drivers: Vec<Arc<Driver>>,
    /// Its mesh under transfers.
    sheet: Option<Arc<Sheet>>,
    /// A pin that stands still on a moving plate.
    stands: bool,
    /// Which transfers are its own.
    transfers: Vec<usize>,
    /// What its strokes turn about unless they say otherwise.
    center: Vec2,
    bend: Option<Arc<Bend>>,
}

/// What moves one region: strokes, and transfers by index.
#[derive(Default)]
struct Movers<'a> {
    strokes: Vec<&'a Stroke>,
    transfers: Vec<usize>,
}

/// What is over `All`, and the rest by region, strokes first, in their order.
fn grouped(project: &Project) -> (Movers<'_>, Vec<(&Region, Movers<'_>)>) {
    let mut plate = Movers::default();
    let mut groups: Vec<(&Region, Movers)> = Vec::new();
    let strokes = project.strokes.iter().map(|stroke| (&stroke.region, Some(stroke), None));
    let transfers = project.transfers.iter().enumerate().map(|(i, transfer)| (&transfer.region, None, Some(i)));
    for (region, stroke, transfer) in strokes.chain(transfers) {
        let movers = if *region == Region::All {
            &mut plate
        } else if let Some(known) = groups.iter().position(|(known, _)| *known == region) {
            &mut groups[known].1
        } else {
            groups.push((region, Movers::default()));
            let last = groups.len() - 1;
            &mut groups[last].1
        };
        movers.strokes.extend(stroke);
        movers.transfers.extend(transfer);
    }
    (plate, groups)
}

impl Movers<'_> {
    fn is_empty(&self) -> bool {
        self.strokes.is_empty() && self.transfers.is_empty()
    }
}

/// All motions of one frame, with the plate's first.
struct Moment {
    motions: Vec<LayerMotion>,
    inverses: Vec<Affine2>,
    /// Which of them follow clips.
    clips: Vec<bool>,
    /// What the camera sees, if it has moved.
    sight: Option<Sight>,
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
        let parts = standing.into_iter().map(|pin| (pin, Movers::default())).chain(groups);
        let scene_from_picture = placement.scene_from_picture();
        let transfers = project.transfers.iter().enumerate().map(|(i, transfer)| {
            Driven::new(transfer, &format!("transfers[{i}]"), folder, placement.picture, scene_from_picture).map(Arc::new)
        });
        let transfers = transfers.collect::<Result<Vec<_>>>()?;

        let mut masks: Vec<Mask> = Vec::new();
        let (mut outlines, mut layers) = (Vec::new(), Vec::<Layer>::new());
        for (region, movers) in parts {
            let mut mask = raster(region)?;
            if let (Some(pins), false) = (&pins, movers.is_empty()) {
                mask.data.iter_mut().zip(&pins.data).for_each(|(value, pin)| *value *= 1.0 - pin);
            }
            let bend = region.is_soft().then(|| Arc::new(Bend::new(&mask, pins.as_ref().filter(|_| !movers.is_empty()))));
            if bend.is_none() {
                for (behind, _) in masks.iter_mut().zip(&layers).filter(|(_, layer)| layer.bend.is_none()) {
                    behind.data.iter_mut().zip(&mask.data).for_each(|(value, front)| *value *= 1.0 - front);
                }
            }
            let center = center(region)?;
            masks.push(mask);
            outlines.push(region.clone());
            let (stands, Movers { strokes, transfers }) = (movers.is_empty(), movers);
            let drivers = strokes.into_iter().map(|stroke| Driver::new(stroke, center)).collect();
            layers.push(Layer { drivers, sheet: None, stands, transfers, center, bend });
        }
        let (width, height) = placement.scene;
        for (layer, mask) in layers.iter_mut().zip(&masks).filter(|(layer, _)| !layer.stands) {
            if !plate.transfers.is_empty() || !layer.transfers.is_empty() {
                let rest = layer.bend.as_ref().map_or_else(|| rest_mesh(width, height, Some(mask), 0.0), |bend| bend.rest().clone());
                layer.sheet = Sheet::new(rest, &plate.transfers, &layer.transfers, &transfers);
            }
        }
        let plate_sheet = match plate.transfers.is_empty() {
            true => None,
            false => {
                let margin_px = PLATE_MARGIN * width.max(height) as f32;
                Sheet::new(rest_mesh(width, height, None, margin_px), &plate.transfers, &[], &transfers)
            }
        };
        Ok(Self {
            width,
            height,
            regions: masks.into_iter().map(Arc::new).collect(),
            outlines,
            layers,
            plate: plate.strokes.into_iter().map(|stroke| Driver::new(stroke, plate_center)).collect(),
            plate_sheet,
            transfers,
            pins: pins.map(Arc::new),
            rest_pinned: project.pins.contains(&Region::All),
            scene_from_picture,
            seed: project.seed,
            camera: project.camera.clone().map(Arc::new),
            relief: None,
            made_of,
        })
    }

    /// The same scene with the depth of its picture, a map of the scene's size: its camera moves from now on.
    pub fn with_depth(mut self, depth: Arc<DepthMap>) -> Self {
        let relief = Relief::new(depth, (self.width, self.height), |source| self.layer_at(source));
        self.relief = Some(Arc::new(relief));
        self
    }

    /// The depth of the picture, if it has one.
    pub fn depth(&self) -> Option<&Arc<DepthMap>> {
        self.relief.as_ref().map(|relief| &relief.depth)
    }

    /// The project's camera, if it has one.
    pub fn camera(&self) -> Option<&CameraPath> {
        self.camera.as_deref()
    }

    /// How the camera sees the picture's surface at `frame`, scene px; None where it stands as it took the picture, and without depth.
    pub fn view(&self, frame: usize) -> Option<View> {
        let camera = self.camera.as_ref().filter(|_| self.relief.is_some())?;
        camera.view(self.made_of.picture, self.scene_from_picture, frame as f32)
    }

    /// Whether `project` has this scene's picture, regions, pins and layers, so that only the motion can differ.
    pub fn fits(&self, project: &Project) -> bool {
        let MadeOf { folder, image, pins, standing, .. } = &self.made_of;
        let (plate, groups) = grouped(project);
        let same_picture = *image == project.image && *folder == project.folder() && self.seed == project.seed;
        let same_layers = groups.iter().map(|(region, _)| *region).eq(&self.outlines[*standing..]);
        let same_clips = self.transfers.len() == project.transfers.len()
            && self
                .transfers
                .iter()
                .zip(&project.transfers)
                .all(|(driven, transfer)| driven.transfer.region == transfer.region && driven.transfer.same_clip_motion(transfer));
        let same_depth = CameraPath::same_depth(self.camera.as_deref(), project.camera.as_ref());
        same_depth && same_picture && same_layers && same_clips && *pins == project.pins && plate.is_empty() == self.plate_is_still()
    }

    /// Whether neither a stroke nor a transfer moves all there is.
    fn plate_is_still(&self) -> bool {
        self.plate.is_empty() && self.plate_sheet.is_none()
    }

    /// The scene of `project` if it differs in its motion alone, at once: nothing is rasterised or read, masks are shared, and strokes
    /// that are the same are not built again. None where [`Scene::fits`] says no, or a stroke or transfer is not valid.
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
        let mut scene = Self { plate: revise(&self.plate, plate.strokes, plate_center)?, ..self.clone() };
        if self.camera.as_deref() != project.camera.as_ref() {
            scene.camera = project.camera.clone().map(Arc::new);
            scene.camera.as_ref().map_or(Ok(()), |camera| camera.validate("camera", picture)).ok()?;
        }
        for (layer, (_, movers)) in scene.layers[self.made_of.standing..].iter_mut().zip(groups) {
            layer.drivers = revise(&layer.drivers, movers.strokes, layer.center)?;
        }
        let transfers = self.transfers.iter().zip(&project.transfers).map(|(driven, transfer)| match driven.transfer == *transfer {
            true => Some(driven.clone()),
            false => transfer.validate("transfer", picture).ok().and_then(|()| driven.revised(transfer, picture)).map(Arc::new),
        });
        scene.transfers = transfers.collect::<Option<_>>()?;
        for sheet in scene.layers.iter_mut().map(|layer| &mut layer.sheet).chain([&mut scene.plate_sheet]).flatten() {
            *sheet = sheet.revised(&self.transfers, &scene.transfers);
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
        let ways = self.ways(frame);
        FrameMotion {
            view: self.view(frame),
            ..FrameMotion::flat(self.plate_motion_by(frame, &ways), self.object_motions_by(frame, &ways))
        }
    }

    /// The plate's motion at `frame`.
    pub fn plate_motion(&self, frame: usize) -> LayerMotion {
        self.plate_motion_by(frame, &self.ways(frame))
    }

    /// Each object layer's motion at `frame`, back to front, parallel to [`Scene::regions`].
    pub fn object_motions(&self, frame: usize) -> Vec<LayerMotion> {
        self.object_motions_by(frame, &self.ways(frame))
    }

    /// How far the tracks of each transfer have gone at `frame`.
    fn ways(&self, frame: usize) -> Vec<Vec<Vec2>> {
        self.transfers.iter().map(|driven| driven.ways(frame as f32)).collect()
    }

    fn plate_motion_by(&self, frame: usize, ways: &[Vec<Vec2>]) -> LayerMotion {
        let base = self.in_scene(compose(&self.plate, &[], frame));
        match &self.plate_sheet {
            Some(sheet) => LayerMotion::Mesh(sheet.mesh(sheet.places(ways).all.into_iter().map(|place| base.transform_point2(place)))),
            None => LayerMotion::Affine(base),
        }
    }

    fn object_motions_by(&self, frame: usize, ways: &[Vec<Vec2>]) -> Vec<LayerMotion> {
        let base = self.in_scene(compose(&self.plate, &[], frame));
        let motion = |layer: &Layer| {
            let own = self.own_strokes(layer, frame);
            let places = layer.sheet.as_ref().map(|sheet| (sheet, sheet.places(ways)));
            match (&layer.bend, places) {
                (Some(bend), Some((_, Places { plate, all }))) => {
                    LayerMotion::Mesh(bend.at(|i, _| base.transform_point2(plate[i]), |i, _| own.transform_point2(all[i])))
                }
                (Some(bend), None) => {
                    LayerMotion::Mesh(bend.at(|_, rest| base.transform_point2(rest), |_, rest| own.transform_point2(rest)))
                }
                (None, Some((sheet, Places { all, .. }))) => {
                    LayerMotion::Mesh(sheet.mesh(all.into_iter().map(|place| own.transform_point2(place))))
                }
                (None, None) => LayerMotion::Affine(own),
            }
        };
        self.layers.iter().map(motion).collect()
    }

    /// What strokes do to a layer at `frame`.
    fn own_strokes(&self, layer: &Layer, frame: usize) -> Affine2 {
        if layer.stands { Affine2::IDENTITY } else { self.in_scene(compose(&self.plate, &layer.drivers, frame)) }
    }

    /// Who decides where layer `layer` (0 the plate, `k` object `k - 1`) is at `frame`; pinned points of it may differ. A camera that has
    /// moved drives all there is.
    pub fn layer_state(&self, layer: usize, frame: usize) -> PointState {
        if self.view(frame).is_some() {
            return PointState::Driven;
        }
        let driven = |drivers: &[Arc<Driver>]| drivers.iter().any(|driver| driver.trajectory.drives(frame as f32));
        let by_clips = |indices: &[usize]| indices.iter().any(|i| self.transfers[*i].drives(frame as f32));
        let over_all = || self.transfers.iter().any(|clip| clip.transfer.region == Region::All && clip.drives(frame as f32));
        match layer.checked_sub(1).map(|object| &self.layers[object]) {
            Some(layer) if layer.stands => PointState::Pinned,
            Some(layer) if driven(&layer.drivers) || by_clips(&layer.transfers) => PointState::Driven,
            _ if driven(&self.plate) || over_all() => PointState::Driven,
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
        let (layer, source) = match &moment.sight {
            Some(sight) => {
                let seen = sight.source(place, |layer, source| moment.motions[layer].apply(source));
                // Nothing is there: what is shown was invented, as far as the middle of the picture is.
                seen.unwrap_or_else(|| (0, moment.source(0, sight.surface(place))))
            }
            None => self.flat_source(&moment, place),
        };
        (usize::from(layer).checked_sub(1), source)
    }

    /// The layer that shows at `place` without a camera, and the place's source on it.
    fn flat_source(&self, moment: &Moment, place: Vec2) -> (u16, Vec2) {
        match self.front_layer(moment, place, 0) {
            Some((object, source)) => (object as u16 + 1, source),
            None => (0, moment.source(0, place)),
        }
    }

    /// Where a point of `layer` is in the frame, and whether it shows there. Behind the camera it stays where the surface has it.
    fn shown(&self, moment: &Moment, source: Vec2, layer: usize) -> (Vec2, bool) {
        let place = moment.motions[layer].apply(source);
        match &moment.sight {
            Some(sight) => {
                let holds = |layer: usize, source| layer.checked_sub(1).is_some_and(|object| self.has(object, source, SOFT_HIDES));
                let (place, is_hidden) = sight.shown(source, layer, |source| moment.motions[layer].apply(source), holds);
                (place, !is_hidden && self.inside(place))
            }
            None => (place, self.inside(place) && self.front_layer(moment, place, layer).is_none()),
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
            let (place, visible) = self.shown(&moment, *source, layer);
            tracks.positions.push(place);
            tracks.visible.push(visible);
            let pinned = moment.sight.is_none()
                && (layer == 0 && self.plate_is_still() || layer > 0)
                && self.pins.as_ref().is_some_and(|pins| value(pins, *source) >= 0.5);
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
            let (place, visible) = self.shown(&moment, *source, layer);
            if visible {
                // Its own cell and those whose middle is within one spacing: a mere zoom does not make the grid denser.
                let cell = place / spacing;
                let around = |at: f32, count: usize| (at as usize).saturating_sub(1)..(at as usize + 2).min(count);
                for (row, column) in around(cell.y, rows).flat_map(|row| around(cell.x, columns).map(move |column| (row, column))) {
                    seen[row * columns + column] |= cell.distance(Vec2::new(column as f32 + 0.5, row as f32 + 0.5)) <= 1.0;
                }
            }
        }
        let fresh = seen.iter().enumerate().filter(|(_, seen)| !**seen).filter_map(|(i, _)| {
            let place = Vec2::new((i % columns) as f32 + 0.5, (i / columns) as f32 + 0.5) * spacing;
            let (layer, source) = match &moment.sight {
                // What the camera sees behind the picture's edges has no source that a point could follow.
                Some(sight) => sight.source(place, |layer, source| moment.motions[layer].apply(source))?,
                None => self.flat_source(&moment, place),
            };
            Some((source, layer))
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
            (self.has(object, source, SOFT_HIDES) && moment.found(object + 1, source, place)).then_some((object, source))
        })
    }

    fn moment(&self, frame: usize) -> Moment {
        let ways = self.ways(frame);
        let plate = self.plate_motion_by(frame, &ways);
        let base = self.in_scene(compose(&self.plate, &[], frame)).inverse();
        let motions: Vec<LayerMotion> = std::iter::once(plate).chain(self.object_motions_by(frame, &ways)).collect();
        // Bent layers are searched from the plate's place, layers under clips from where their strokes alone would have them.
        let inverse = |layer: &Layer| if layer.bend.is_some() { base } else { self.own_strokes(layer, frame).inverse() };
        let inverses = std::iter::once(base).chain(self.layers.iter().map(inverse)).collect();
        let sheets = std::iter::once(&self.plate_sheet).chain(self.layers.iter().map(|layer| &layer.sheet));
        let clips = sheets.map(Option::is_some).collect();
        let sight = self.view(frame).zip(self.relief.as_ref()).map(|(view, relief)| {
            Sight::new(view, relief.clone(), (self.width, self.height), |layer, source| motions[layer].apply(source))
        });
        Moment { motions, inverses, clips, sight }
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
    /// Source of `place` on `layer`: exact for affine layers, for bent ones a fixed-point search that starts from the plate's, for those
    /// that follow clips Newton's.
    fn source(&self, layer: usize, place: Vec2) -> Vec2 {
        let inverse = self.inverses[layer];
        let mut source = inverse.transform_point2(place);
        let LayerMotion::Mesh(mesh) = &self.motions[layer] else { return source };
        if !self.clips[layer] {
            for _ in 0..INVERSE_STEPS {
                source += inverse.transform_vector2(place - mesh.apply(source));
            }
            return source;
        }
        let (mut best, mut least) = (source, f32::INFINITY);
        for _ in 0..INVERSE_STEPS {
            let off = place - mesh.apply(source);
            if off.length() < least {
                (best, least) = (source, off.length());
            }
            if least < 0.01 {
                break;
            }
            let linear = mesh.linear(source);
            let step = if linear.determinant() > 0.01 { linear.inverse() * off } else { inverse.transform_vector2(off) };
            // Farther than this the cell says nothing of the way.
            source += step.clamp_length_max(4.0 * mesh.spacing_px + off.length());
        }
        best
    }

    /// Whether a search for `place` on `layer` found it at `source`: what a clip moved need not be everywhere.
    fn found(&self, layer: usize, source: Vec2, place: Vec2) -> bool {
        !self.clips[layer] || self.motions[layer].apply(source).distance(place) <= FOUND_PX
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

mod sight;
#[cfg(test)]
mod tests;
