//! A cut picture as the graphics card takes it: 8-bit texels with all their halved copies.
//!
//! Made once for each cut, on another thread than the window's. Invariant: colours are premultiplied, so that filtering leaves no dark
//! rim around an object. Guarded by `tests/tests/gpu.rs`.

use glam::Vec2;
use kinebrush_engine::guide::layers::Layers;
use kinebrush_engine::picture::{Grid, Picture, Sample};
use rayon::prelude::*;

use super::deep::Sheets;

/// No texture has more texels along a side: every graphics card takes so many.
const LARGEST: usize = 8192;

/// One halved copy of a texture.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub width: u32,
    pub height: u32,
    /// Four bytes a texel, row-major.
    pub rgba: Vec<u8>,
}

/// A texture somewhere in picture space.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    /// Its top-left corner, and how much of the picture it covers, px.
    pub origin: Vec2,
    pub size: Vec2,
    /// From fine to coarse, down to one texel.
    pub levels: Vec<Level>,
}

/// What is sent to the graphics card when a picture was cut anew.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Columns and rows of the layers' picture.
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) plate: Sheet,
    /// None before the first cut.
    pub(super) source: Option<Sheet>,
    /// Back to front; None for empty ones.
    pub(super) objects: Vec<Option<Sheet>>,
    /// Per object its window in the picture: top-left and bottom-right corner.
    pub(super) windows: Vec<(Vec2, Vec2)>,
    /// See [`Layers::reach`]; one 0 before the first cut.
    pub(super) reach: Grid<u32>,
    /// The layers in depth, if they have any.
    pub(super) deep: Option<Sheets>,
}

impl Prepared {
    /// Of a cut picture. Takes a while: call it where nobody waits.
    pub fn new(layers: &Layers) -> Self {
        let source = layers.source();
        let window = |origin: Vec2, size: (usize, usize)| (origin, origin + Vec2::new(size.0 as f32, size.1 as f32));
        let corner = |left: usize, top: usize| Vec2::new(left as f32, top as f32);
        Self {
            width: layers.width,
            height: layers.height,
            plate: Sheet::opaque(&layers.plate, Vec2::splat(-(layers.plate_margin_px as f32))),
            source: Some(Sheet::new(source.base().clone(), source.origin())),
            objects: layers.objects.par_iter().map(|o| o.texture().map(|t| Sheet::new(t.base().clone(), t.origin()))).collect(),
            windows: layers
                .objects
                .iter()
                .map(|o| window(corner(o.bounds.left, o.bounds.top), (o.bounds.width, o.bounds.height)))
                .collect(),
            reach: layers.reach().clone(),
            deep: Sheets::of(layers),
        }
    }

    /// Of a picture that is not cut yet.
    pub fn from_picture(picture: &Picture) -> Self {
        Self {
            width: picture.width,
            height: picture.height,
            plate: Sheet::opaque(picture, Vec2::ZERO),
            source: None,
            objects: Vec::new(),
            windows: Vec::new(),
            reach: Grid { width: 1, height: 1, data: vec![0] },
            deep: None,
        }
    }

    /// Columns and rows of the layers' picture, px.
    pub fn size(&self) -> Vec2 {
        Vec2::new(self.width as f32, self.height as f32)
    }
}

impl Sheet {
    /// Of a picture whose top left corner is at `origin`.
    pub fn opaque(picture: &Picture, origin: Vec2) -> Self {
        Self::new(map(picture, |[r, g, b]| [r, g, b, 1.0]), origin)
    }

    fn new(mut grid: Grid<[f32; 4]>, origin: Vec2) -> Self {
        let size = Vec2::new(grid.width as f32, grid.height as f32);
        let excess = grid.width.max(grid.height).div_ceil(LARGEST);
        if excess > 1 {
            grid = grid.resized((grid.width / excess).max(1), (grid.height / excess).max(1));
        }
        let mut levels = vec![Level::of(&grid)];
        while grid.width.max(grid.height) > 1 {
            grid = grid.resized((grid.width / 2).max(1), (grid.height / 2).max(1));
            levels.push(Level::of(&grid));
        }
        Self { origin, size, levels }
    }
}

impl Level {
    fn of(grid: &Grid<[f32; 4]>) -> Self {
        let mut rgba = vec![0; grid.data.len() * 4];
        rgba.par_chunks_exact_mut(4).zip(&grid.data).for_each(|(bytes, texel)| {
            for (byte, value) in bytes.iter_mut().zip(texel) {
                *byte = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        });
        Self { width: grid.width as u32, height: grid.height as u32, rgba }
    }
}

/// Each sample of `grid` as `f` makes it.
fn map<A: Sample, B: Sample>(grid: &Grid<A>, f: impl Fn(A) -> B + Sync) -> Grid<B> {
    Grid::from_fn(grid.width, grid.height, |x, y| f(grid.at(x, y)))
}
