//! Layers in depth on the graphics card: their sheets of triangles, sent once for each cut, moved and projected by the vertex shader.
//!
//! Opaque triangles first, then the rims of what is near, then the objects, each hidden where the plate is clearly nearer and where it
//! hides itself, in their order unless one is clearly nearer as a whole (the engine decides that for each pixel). The frame is drawn into
//! a texture of its own with a depth buffer, for a window has none; each object has a copy of the plate's. Invariant: looks as the engine's relief. Guarded by `tests/tests/gpu.rs`.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use eframe::egui_wgpu::wgpu::{self, util::DeviceExt};
use glam::Vec2;
use kinebrush_engine::guide::layers::Layers;
use kinebrush_engine::guide::relief;
use kinebrush_engine::motion::{FrameMotion, View};

use super::prepared::Sheet;

/// Cells of a layer without depth, px: where it bends they must be small; and how many there are at most along a side.
const CELL_PX: f32 = 8.0;
const MOST_CELLS: f32 = 160.0;
/// In an instance's number, beside the layer: the triangles fade out; they belong to the back.
const RIM: u32 = 1 << 31;
const BACK: u32 = 1 << 30;
const DEPTH: wgpu::TextureFormat = wgpu::TextureFormat::Depth32Float;

/// A corner of a sheet, as the shader reads it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Corner {
    place: [f32; 2],
    inverse_depth: f32,
    alpha: f32,
}

/// All sheets of a cut.
#[derive(Clone, Debug)]
pub(super) struct Sheets {
    corners: Vec<Corner>,
    indices: Vec<u32>,
    back: Range<u32>,
    front: Range<u32>,
    rim: Range<u32>,
    objects: Vec<Range<u32>>,
    /// The middle of each object and its inverse depth there.
    middles: Vec<(Vec2, f32)>,
    /// Colours of what lies behind the tears.
    pub behind: Option<Sheet>,
    /// From inverse depth to the depth buffer.
    pub nearness: f32,
    /// See [`relief::Relief::unit`].
    pub unit: f32,
}

/// The same on the card.
#[derive(Debug)]
pub(super) struct DeepCut {
    corners: wgpu::Buffer,
    indices: wgpu::Buffer,
    behind: Option<wgpu::BindGroup>,
}

/// Pipelines for opaque triangles and for what lies over them, and the depth buffer.
#[derive(Debug)]
pub(super) struct Deep {
    /// See [`super::renderer::variant`]; made when they are needed.
    pipelines: [Option<[wgpu::RenderPipeline; 2]>; 6],
    depth: Option<[wgpu::Texture; 2]>,
}

impl Sheets {
    /// Of layers that have depth.
    pub fn of(layers: &Layers) -> Option<Self> {
        let relief = layers.relief()?;
        let (mut corners, mut indices) = (Vec::new(), Vec::new());
        let mut add = |sheet: &relief::Sheet| {
            let first = corners.len() as u32;
            corners.extend(sheet.corners.iter().map(|c| Corner { place: c.place.into(), inverse_depth: c.inverse_depth, alpha: c.alpha }));
            [&sheet.opaque, &sheet.rim].map(|triangles| {
                let start = indices.len() as u32;
                indices.extend(triangles.iter().flatten().map(|i| first + i));
                start..indices.len() as u32
            })
        };
        let [back, _] = add(&relief.back);
        let [front, rim] = add(&relief.front);
        let objects = relief.objects.iter().map(|sheet| add(sheet)[0].clone()).collect();
        let middle = |sheet: &relief::Sheet| {
            let count = sheet.corners.len().max(1) as f32;
            let sum = sheet.corners.iter().fold((Vec2::ZERO, 0.0), |sum, c| (sum.0 + c.place, sum.1 + c.inverse_depth));
            (sum.0 / count, sum.1 / count)
        };
        let margin = Vec2::splat(-(layers.plate_margin_px as f32));
        Some(Self {
            back,
            front,
            rim,
            objects,
            middles: relief.objects.iter().map(|sheet| middle(sheet)).collect(),
            behind: relief.back_colour().map(|colour| Sheet::opaque(colour, margin)),
            nearness: relief.near,
            unit: relief.unit,
            corners,
            indices,
        })
    }

    /// Of layers without depth: all is infinitely far, so that a camera turns and zooms, and nothing shifts. `windows` are the objects'.
    pub fn flat(plate: &Sheet, windows: &[(Vec2, Vec2)]) -> Self {
        let (mut corners, mut indices) = (Vec::new(), Vec::new());
        let mut grid = |low: Vec2, high: Vec2| {
            let cells = ((high - low) / CELL_PX).ceil().clamp(Vec2::ONE, Vec2::splat(MOST_CELLS));
            let (columns, rows) = (cells.x as u32 + 1, cells.y as u32 + 1);
            let (first, start) = (corners.len() as u32, indices.len() as u32);
            corners.extend((0..rows * columns).map(|i| {
                let part = Vec2::new((i % columns) as f32, (i / columns) as f32) / cells;
                Corner { place: (low + (high - low) * part).into(), inverse_depth: 0.0, alpha: 1.0 }
            }));
            for i in (0..(rows - 1) * columns).filter(|i| (i + 1) % columns != 0).map(|i| first + i) {
                indices.extend([i, i + 1, i + columns + 1, i, i + columns + 1, i + columns]);
            }
            start..indices.len() as u32
        };
        let reach = plate.size.max_element();
        let front = grid(plate.origin - reach, plate.origin + plate.size + reach);
        let objects = windows.iter().map(|(low, high)| grid(*low - 0.5, *high + 0.5)).collect();
        let middles = windows.iter().map(|(low, high)| ((*low + *high) * 0.5, 0.0)).collect();
        Self { corners, indices, back: 0..0, front, rim: 0..0, objects, middles, behind: None, nearness: 1.0, unit: 0.0 }
    }

    /// The objects from back to front.
    fn order(&self, motion: &FrameMotion, view: &View) -> Vec<usize> {
        let seen = |object: usize| {
            let (middle, inverse_depth) = self.middles[object];
            let place = motion.objects.get(object).unwrap_or(&motion.plate).apply(middle);
            view.project(place, inverse_depth).map_or(0.0, |(_, inverse_depth)| inverse_depth)
        };
        let mut order: Vec<(usize, f32)> = Vec::with_capacity(self.objects.len());
        for (object, near) in (0..self.objects.len()).map(|object| (object, seen(object))) {
            let behind = order.iter().rposition(|other| !relief::is_clearly_nearer(other.1, near, self.unit)).map_or(0, |k| k + 1);
            order.insert(behind, (object, near));
        }
        order.into_iter().map(|(object, _)| object).collect()
    }

    /// Sends the sheets; `behind` is the texture of the back.
    pub fn upload(&self, device: &wgpu::Device, behind: Option<wgpu::BindGroup>) -> DeepCut {
        let buffer = |contents: &[u8], usage| {
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: Some("guide sheets"), contents, usage })
        };
        DeepCut {
            corners: buffer(bytemuck::cast_slice(&self.corners), wgpu::BufferUsages::VERTEX),
            indices: buffer(bytemuck::cast_slice(&self.indices), wgpu::BufferUsages::INDEX),
            behind,
        }
    }
}

impl Deep {
    pub fn new() -> Self {
        Self { pipelines: Default::default(), depth: None }
    }

    /// Makes the pipelines of a variant with its `constants`, unless they are there.
    pub fn make(
        &mut self,
        device: &wgpu::Device,
        module: &wgpu::ShaderModule,
        layout: &wgpu::PipelineLayout,
        format: wgpu::TextureFormat,
        (variant, constants): (usize, &[(&str, f64)]),
    ) {
        self.pipelines[variant].get_or_insert_with(|| {
            [true, false].map(|writes| {
                let compilation_options = wgpu::PipelineCompilationOptions { constants, ..Default::default() };
                device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                    label: Some("guide in depth"),
                    layout: Some(layout),
                    vertex: wgpu::VertexState {
                        module,
                        entry_point: Some("deep_vertex"),
                        compilation_options: compilation_options.clone(),
                        buffers: &[Some(wgpu::VertexBufferLayout {
                            array_stride: size_of::<Corner>() as u64,
                            step_mode: wgpu::VertexStepMode::Vertex,
                            attributes: &wgpu::vertex_attr_array![0 => Float32x2, 1 => Float32, 2 => Float32],
                        })],
                    },
                    primitive: wgpu::PrimitiveState::default(),
                    depth_stencil: Some(wgpu::DepthStencilState {
                        format: DEPTH,
                        depth_write_enabled: Some(writes),
                        depth_compare: Some(wgpu::CompareFunction::GreaterEqual),
                        stencil: Default::default(),
                        bias: Default::default(),
                    }),
                    multisample: wgpu::MultisampleState::default(),
                    fragment: Some(wgpu::FragmentState {
                        module,
                        entry_point: Some("deep"),
                        compilation_options,
                        targets: &[Some(wgpu::ColorTargetState {
                            format,
                            blend: Some(wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING),
                            write_mask: wgpu::ColorWrites::ALL,
                        })],
                    }),
                    multiview_mask: None,
                    cache: None,
                })
            })
        });
    }

    /// Draws a frame into the first `size` px of `target`.
    #[expect(clippy::too_many_arguments, reason = "everything that a frame is drawn from")]
    pub fn draw(
        &mut self,
        device: &wgpu::Device,
        encoder: &mut wgpu::CommandEncoder,
        (target, view): (&wgpu::Texture, &wgpu::TextureView),
        size: Vec2,
        variant: usize,
        (motion, eye): (&FrameMotion, &View),
        (sheets, cut): (&Sheets, &DeepCut),
        common: &wgpu::BindGroup,
        (plate, objects): (&wgpu::BindGroup, &[Option<wgpu::BindGroup>]),
    ) {
        let Some([opaque, over]) = &self.pipelines[variant] else { return };
        let (width, height) = (target.width(), target.height());
        let [plate_depth, own_depth] = match self.depth.take().filter(|[depth, _]| (depth.width(), depth.height()) == (width, height)) {
            Some(depth) => depth,
            None => [wgpu::TextureUsages::COPY_SRC, wgpu::TextureUsages::COPY_DST].map(|usage| {
                device.create_texture(&wgpu::TextureDescriptor {
                    label: Some("guide depth"),
                    size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
                    mip_level_count: 1,
                    sample_count: 1,
                    dimension: wgpu::TextureDimension::D2,
                    format: DEPTH,
                    usage: usage | wgpu::TextureUsages::RENDER_ATTACHMENT,
                    view_formats: &[],
                })
            }),
        };
        let views = [&plate_depth, &own_depth].map(|depth| depth.create_view(&wgpu::TextureViewDescriptor::default()));
        let mut pass = begin(encoder, (view, &views[0]), size, common, cut, true);
        if let Some(behind) = &cut.behind {
            draw(&mut pass, opaque, behind, &sheets.back, BACK);
        }
        draw(&mut pass, opaque, plate, &sheets.front, 0);
        draw(&mut pass, over, plate, &sheets.rim, RIM);
        drop(pass);
        for k in sheets.order(motion, eye) {
            let Some(Some(sheet)) = objects.get(k) else { continue };
            // Objects do not hide one another, but each hides itself.
            encoder.copy_texture_to_texture(plate_depth.as_image_copy(), own_depth.as_image_copy(), plate_depth.size());
            let mut pass = begin(encoder, (view, &views[1]), size, common, cut, false);
            draw(&mut pass, opaque, sheet, &sheets.objects[k], k as u32 + 1);
        }
        self.depth = Some([plate_depth, own_depth]);
    }
}

/// Draws a sheet's triangles; `number` is what the shader knows of them.
fn draw(pass: &mut wgpu::RenderPass, pipeline: &wgpu::RenderPipeline, sheet: &wgpu::BindGroup, range: &Range<u32>, number: u32) {
    if !range.is_empty() {
        pass.set_pipeline(pipeline);
        pass.set_bind_group(1, sheet, &[]);
        pass.draw_indexed(range.clone(), 0, number..number + 1);
    }
}

/// A pass over the frame, from nothing or over what is there.
fn begin<'a>(
    encoder: &'a mut wgpu::CommandEncoder,
    (view, depth): (&wgpu::TextureView, &wgpu::TextureView),
    size: Vec2,
    common: &wgpu::BindGroup,
    cut: &DeepCut,
    first: bool,
) -> wgpu::RenderPass<'a> {
    let (colour, far) = match first {
        true => (wgpu::LoadOp::Clear(wgpu::Color::BLACK), wgpu::LoadOp::Clear(0.0)),
        false => (wgpu::LoadOp::Load, wgpu::LoadOp::Load),
    };
    let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        label: Some("guide in depth"),
        color_attachments: &[Some(wgpu::RenderPassColorAttachment {
            view,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations { load: colour, store: wgpu::StoreOp::Store },
        })],
        depth_stencil_attachment: Some(wgpu::RenderPassDepthStencilAttachment {
            view: depth,
            depth_ops: Some(wgpu::Operations { load: far, store: wgpu::StoreOp::Store }),
            stencil_ops: None,
        }),
        ..Default::default()
    });
    pass.set_viewport(0.0, 0.0, size.x, size.y, 0.0, 1.0);
    pass.set_vertex_buffer(0, cut.corners.slice(..));
    pass.set_index_buffer(cut.indices.slice(..), wgpu::IndexFormat::Uint32);
    pass.set_bind_group(0, common, &[]);
    pass
}
