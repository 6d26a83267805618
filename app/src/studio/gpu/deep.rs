//! Layers in depth on the graphics card: their sheets of triangles, sent once for each cut, moved and projected by the vertex shader.
//!
//! Opaque triangles first, then the rims of what is near, then the objects, each hidden where the plate is clearly nearer, in their
//! order. The frame is drawn into a texture of its own with a depth buffer, for a window has none. Invariant: looks as the engine's
//! relief. Guarded by `tests/tests/gpu.rs`.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use eframe::egui_wgpu::wgpu::{self, util::DeviceExt};
use glam::Vec2;
use kinebrush_engine::guide::layers::Layers;
use kinebrush_engine::guide::relief;

use super::prepared::Sheet;

/// What comes so many times nearer than what was nearest is cut off.
const NEAREST: f32 = 16.0;
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
    depth: Option<wgpu::Texture>,
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
        let nearest = corners.iter().map(|c| c.inverse_depth).fold(0.0, f32::max);
        let margin = Vec2::splat(-(layers.plate_margin_px as f32));
        Some(Self {
            back,
            front,
            rim,
            objects,
            behind: relief.back_colour().map(|colour| Sheet::opaque(colour, margin)),
            nearness: if nearest > 0.0 { (NEAREST * nearest).recip() } else { 1.0 },
            unit: relief.unit,
            corners,
            indices,
        })
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
        (sheets, cut): (&Sheets, &DeepCut),
        common: &wgpu::BindGroup,
        (plate, objects): (&wgpu::BindGroup, &[Option<wgpu::BindGroup>]),
    ) {
        let Some([opaque, over]) = &self.pipelines[variant] else { return };
        let (width, height) = (target.width(), target.height());
        let depth = match self.depth.take().filter(|depth| (depth.width(), depth.height()) == (width, height)) {
            Some(depth) => depth,
            None => device.create_texture(&wgpu::TextureDescriptor {
                label: Some("guide depth"),
                size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: DEPTH,
                usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
                view_formats: &[],
            }),
        };
        let depth_view = depth.create_view(&wgpu::TextureViewDescriptor::default());
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("guide in depth"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::BLACK), store: wgpu::StoreOp::Store },
            })],
            depth_stencil_attachment: Some(wgpu::RenderPassDepthStencilAttachment {
                view: &depth_view,
                depth_ops: Some(wgpu::Operations { load: wgpu::LoadOp::Clear(0.0), store: wgpu::StoreOp::Discard }),
                stencil_ops: None,
            }),
            ..Default::default()
        });
        pass.set_viewport(0.0, 0.0, size.x, size.y, 0.0, 1.0);
        pass.set_vertex_buffer(0, cut.corners.slice(..));
        pass.set_index_buffer(cut.indices.slice(..), wgpu::IndexFormat::Uint32);
        pass.set_bind_group(0, common, &[]);
        let mut draw = |pipeline: &wgpu::RenderPipeline, sheet: &wgpu::BindGroup, range: &Range<u32>, number: u32| {
            if !range.is_empty() {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(1, sheet, &[]);
                pass.draw_indexed(range.clone(), 0, number..number + 1);
            }
        };
        if let Some(behind) = &cut.behind {
            draw(opaque, behind, &sheets.back, BACK);
        }
        draw(opaque, plate, &sheets.front, 0);
        draw(over, plate, &sheets.rim, RIM);
        for (k, (range, sheet)) in sheets.objects.iter().zip(objects).enumerate() {
            if let Some(sheet) = sheet {
                draw(over, sheet, range, k as u32 + 1);
            }
        }
        drop(pass);
        self.depth = Some(depth);
    }
}
