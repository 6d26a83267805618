//! The layers in depth: what a camera that moves sees of a picture.
//!
//! Every layer becomes a sheet of triangles over its pixels, each corner with an inverse depth. The plate is two of them: in front what
//! the picture shows, torn where depth jumps, and behind the tears what it hides, its depth continued from the far side and its
//! colours filled from there: a layered depth image as in Shih et al., 3D Photography using Context-aware Layered Depth Inpainting,
//! 2020, with our own fill. `depth` finds the tears and what is behind them, `sheet` makes the triangles, `raster` finds what
//! each pixel shows of them, `draw` draws a frame.
//!
//! Invariants: a camera that stands where the picture was taken is drawn without any of this, bit for bit; no camera, however wrong,
//! makes a NaN or a panic; each pixel depends on the motion alone, not on threads. Guarded by the tests of `draw`.

mod depth;
mod draw;
mod raster;
mod sheet;

use std::sync::Arc;

use glam::Vec2;

use self::depth::Depth;
pub use self::sheet::{Corner, Sheet};
pub(super) use draw::Workspace;

use super::distance::distance_px;
use super::exemplar::exemplar_fill;
use super::layers::{Layer, Layers, plate_texture, smoothest};
use super::pull_push::pull_push;
use super::texture::Texture;
use crate::motion::depth::DepthMap;
use crate::picture::{Grid, Mask, Picture};

/// Largest triangles of the plate and of an object, px along their short sides: where a layer bends, they must be small.
const PLATE_BLOCK: usize = 16;
const OBJECT_BLOCK: usize = 4;
/// How far the plate's border is drawn out beyond the plate, in units of its longer side.
const SKIRT: f32 = 1.0;
/// What comes so many times nearer than what was nearest is cut off.
const NEAREST: f32 = 16.0;
/// How many px around what is hidden are not believed to be the colours of what lies behind.
const RIM_PX: f32 = 2.0;

/// What is this much nearer, by ratio and in px of parallax, is clearly nearer.
const NEARER: f32 = 1.15;
const NEARER_PX: f32 = 6.0;

/// Whether inverse depth `w` is clearly nearer `than` another; `unit` is [`Relief::unit`]. Only that hides an object, or lays one over
/// another against their order.
pub fn is_clearly_nearer(w: f32, than: f32, unit: f32) -> bool {
    w > than * NEARER && w > than + NEARER_PX * unit
}

/// The sheets of a cut picture.
#[derive(Clone, Debug)]
pub struct Relief {
    /// Behind the tears.
    pub back: Sheet,
    /// What the picture shows of the plate, and beyond its border.
    pub front: Sheet,
    /// Each object's, in their order.
    pub objects: Vec<Arc<Sheet>>,
    /// Inverse depth that a camera move of moderate size shifts by one px; see [`depth`].
    pub unit: f32,
    /// What comes so many times nearer than what is nearest in the picture is not drawn: so much of Z for each unit of inverse depth.
    pub near: f32,
    /// Where the plate's texels are not what lies behind the tears; as the plate, with margin.
    hidden: Mask,
    pub(super) back_texture: Arc<Texture>,
    pub(super) back_smooth: Arc<Texture>,
    back_colour: Arc<Picture>,
}

impl Layers {
    /// The same layers in depth; a map of another size is resampled. Layers whose plate is textured get a textured back too, which
    /// takes as long as theirs did. Without depth a camera sees the picture as infinitely far: it turns and zooms, but nothing shifts.
    pub fn with_depth(&self, depth: &DepthMap) -> Self {
        let relief = Relief::new(self, &depth.inverse);
        let layers = Self { relief: Some(Arc::new(relief)), ..self.clone() };
        match self.fill_seed {
            Some(seed) => layers.with_textured_back(seed),
            None => layers,
        }
    }

    /// The sheets, if the layers have depth.
    pub fn relief(&self) -> Option<&Arc<Relief>> {
        self.relief.as_ref()
    }

    /// What a camera sees that nothing is known of: everything infinitely far.
    pub(super) fn flat_relief(&self) -> Relief {
        Relief::new(self, &Mask::filled(1, 1, 0.0))
    }

    /// The same with what is behind the tears textured.
    pub(super) fn with_textured_back(mut self, seed: u64) -> Self {
        if let Some(relief) = self.relief.as_mut().filter(|relief| relief.hides()) {
            let known = Mask { data: relief.hidden.data.iter().map(|h| 1.0 - h).collect(), ..relief.hidden };
            let colour = exemplar_fill(&self.plate, &known, seed);
            let smooth = smoothest(&self.plate_smooth, &known, 0);
            let texture = |colour: &Picture| Relief::texture(colour, &relief.hidden, &self.plate_seen, self.plate_margin_px);
            let (back_texture, back_smooth) = (texture(&colour), texture(&smooth));
            *relief = Arc::new(Relief { back_texture, back_smooth, back_colour: Arc::new(colour), ..(**relief).clone() });
        }
        self
    }
}

impl Relief {
    /// Of `layers` with this inverse depth.
    fn new(layers: &Layers, inverse: &Mask) -> Self {
        let inverse = &depth::fitting(inverse, layers.width, layers.height);
        let unit = depth::unit(inverse);
        let margin = layers.plate_margin_px;
        let seen = layers.frame().crop(&layers.plate_seen);
        let plate = depth::extended(&depth::without_objects(inverse, &seen, unit), margin);
        let depth = Depth::new(&plate, unit);

        let reach = SKIRT * plate.width.max(plate.height) as f32;
        let [front, back] = sheet::plate(&depth, -Vec2::splat(margin as f32), reach, PLATE_BLOCK);
        let objects: Vec<_> = layers.objects.iter().map(|layer| Arc::new(object(layer, inverse, unit))).collect();
        let corners = [&front, &back].into_iter().chain(objects.iter().map(Arc::as_ref)).flat_map(|sheet| &sheet.corners);
        let nearest = corners.map(|corner| corner.inverse_depth).fold(0.0, f32::max);
        let near = if nearest > 0.0 { (NEAREST * nearest).recip() } else { 1.0 };

        let away = distance_px(plate.width, plate.height, |x, y| depth.covers.at(x, y) > 0.0);
        let hidden = Mask::from_fn(plate.width, plate.height, |x, y| f32::from(depth.hides && away.at(x, y) <= RIM_PX));
        let (colour, back_texture, back_smooth) = if depth.hides {
            let known = Mask { data: hidden.data.iter().map(|h| 1.0 - h).collect(), ..hidden };
            let colour = pull_push(&layers.plate, &known);
            let texture = Self::texture(&colour, &hidden, &layers.plate_seen, margin);
            (Arc::new(colour), texture.clone(), texture)
        } else {
            (Arc::new(Picture::filled(1, 1, [0.0; 3])), layers.plate_texture.clone(), layers.smooth_texture.clone())
        };
        Self { back, front, objects, unit, near, hidden, back_texture, back_smooth, back_colour: colour }
    }

    /// Whether anything lies behind a tear.
    pub fn hides(&self) -> bool {
        !self.back.opaque.is_empty()
    }

    /// Colours of what lies behind the tears, with the plate's margin; None where nothing does.
    pub fn back_colour(&self) -> Option<&Picture> {
        self.hides().then_some(&*self.back_colour)
    }

    fn texture(colour: &Picture, hidden: &Mask, plate_seen: &Mask, margin: usize) -> Arc<Texture> {
        plate_texture(colour, margin, |i| if hidden.data[i] > 0.0 { 0.0 } else { plate_seen.data[i] })
    }
}

/// The sheet of one object: the depth of what is surely its own, continued beyond its matte, in one piece.
fn object(layer: &Layer, inverse: &Mask, unit: f32) -> Sheet {
    let bounds = layer.bounds;
    if bounds.width < 2 || bounds.height < 2 {
        return Sheet::default();
    }
    let crop = Grid::from_fn(bounds.width, bounds.height, |x, y| [inverse.at(x + bounds.left, y + bounds.top)]);
    let to_outside = distance_px(bounds.width, bounds.height, |x, y| layer.matte.at(x, y) < 0.5);
    // The depth's border is seldom exactly the region's: what lies deeper inside counts, if there is anything.
    let sure = [4.0, 1.0].into_iter().find(|&inside| to_outside.data.iter().any(|&d| d > inside)).unwrap_or(0.0);
    let known = Mask::from_fn(bounds.width, bounds.height, |x, y| f32::from(to_outside.at(x, y) > sure && layer.matte.at(x, y) >= 0.5));
    let filled = pull_push(&crop, &known);
    let depth = Mask { width: filled.width, height: filled.height, data: filled.data.iter().map(|d| d[0]).collect() };
    sheet::whole(&depth, bounds.corners().0, unit, OBJECT_BLOCK)
}
