//! The graphics card's side: pipelines, textures that are sent when they change, and the drawing of one frame.
//!
//! Invariant: without a soft drag and depth one pass over the canvas and the objects' own places in it, no texture in between. Guarded by
//! `tests/tests/gpu.rs`.

use bytemuck::{Pod, Zeroable};
use eframe::egui_wgpu::wgpu::{self, util::DeviceExt};
use glam::Vec2;
use half::f16;

use super::deep::{Deep, DeepCut};
use super::geometry::{Brush, Geometry, Vertex, seen_in_depth};
use super::prepared::{Level, Prepared, Sheet};
use super::{Liquify, Paint};
use crate::studio::action::Compare;

/// Texels in a row of the motions.
const MOTION_COLUMNS: u32 = 256;
/// The texture of a soft drag is no larger, px.
const LARGEST_TILE: f32 = 2048.0;

/// Where the picture lies on a target of `size` px: `target = live * scale + offset`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub scale: Vec2,
    pub offset: Vec2,
    pub size: Vec2,
}

/// As `View` in the shader.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct View {
    clip_scale: [f32; 2],
    clip_offset: [f32; 2],
    inverse_frame: [f32; 2],
    split_x: f32,
    objects: u32,
    columns: u32,
    range: f32,
    nearness: f32,
    unit: f32,
    eye: [[f32; 4]; 4],
}

/// As `Sheet` in the shader.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct SheetPlace {
    origin: [f32; 2],
    inverse_size: [f32; 2],
}

/// The pictures of one cut on the graphics card.
#[derive(Debug)]
struct Cut {
    number: u64,
    plate: wgpu::BindGroup,
    source: Option<wgpu::BindGroup>,
    objects: Vec<Option<wgpu::BindGroup>>,
    source_view: Option<wgpu::TextureView>,
    reach: wgpu::TextureView,
    deep: Option<DeepCut>,
}

/// What a soft drag is drawn from: the frame around it; in depth all of the frame.
#[derive(Debug)]
struct Tile {
    texture: wgpu::Texture,
    view: wgpu::TextureView,
    place: wgpu::Buffer,
    sheet: wgpu::BindGroup,
}

/// Draws frames into textures of one format.
#[derive(Debug)]
pub struct GuideRenderer {
    format: wgpu::TextureFormat,
    /// For plate and objects, and for the source over holes; see [`variant`].
    layer: [wgpu::RenderPipeline; 6],
    still: [wgpu::RenderPipeline; 6],
    copy: wgpu::RenderPipeline,
    /// What draws layers in depth, and what its pipelines are made from.
    deep: Deep,
    module: wgpu::ShaderModule,
    layout: wgpu::PipelineLayout,
    common_layout: wgpu::BindGroupLayout,
    sheet_layout: wgpu::BindGroupLayout,
    /// Between the levels, and of the finest alone.
    samplers: [wgpu::Sampler; 2],
    /// Stands where there is nothing.
    blank: wgpu::TextureView,
    /// Of the window and of the tile.
    views: [wgpu::Buffer; 2],
    common: Option<[wgpu::BindGroup; 2]>,
    cut: Option<Cut>,
    correction: Option<(u64, wgpu::Texture)>,
    /// The largest number in it.
    range: f32,
    motions: wgpu::Texture,
    vertices: wgpu::Buffer,
    geometry: Geometry,
    tile: Option<Tile>,
    /// Where the picture lies in the viewport: left, top, right, bottom.
    frame_px: [i32; 4],
    /// Which of the pipelines.
    variant: usize,
    /// From which scale on one sample a pixel will do.
    plain_from: f32,
}

/// From which scale on one sample a pixel will do where every sample costs nothing to speak of ...
const PLAIN_FROM: f32 = 0.8;
/// ... and where the processor draws, which pays for each: fine lines may flicker a little.
const PLAIN_FROM_IN_SOFTWARE: f32 = 0.45;

impl GuideRenderer {
    /// The same for a card that is none: the processor draws.
    pub fn in_software(self) -> Self {
        Self { plain_from: PLAIN_FROM_IN_SOFTWARE, ..self }
    }

    /// For targets of `format`; egui prefers those without sRGB, in which colours blend as in the engine.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, format: wgpu::TextureFormat) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("guide"),
            source: wgpu::ShaderSource::Wgsl(include_str!("../../../../shaders/guide.wgsl").into()),
        });
        let entry = |binding, visibility, ty| wgpu::BindGroupLayoutEntry { binding, visibility, ty, count: None };
        let uniform = |binding| {
            let ty = wgpu::BindingType::Buffer { ty: wgpu::BufferBindingType::Uniform, has_dynamic_offset: false, min_binding_size: None };
            entry(binding, wgpu::ShaderStages::VERTEX_FRAGMENT, ty)
        };
        let texture = |binding, sample_type| {
            let ty = wgpu::BindingType::Texture { sample_type, view_dimension: wgpu::TextureViewDimension::D2, multisampled: false };
            entry(binding, wgpu::ShaderStages::FRAGMENT, ty)
        };
        let filtered = wgpu::TextureSampleType::Float { filterable: true };
        let common_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("guide"),
            entries: &[
                uniform(0),
                entry(1, wgpu::ShaderStages::FRAGMENT, wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering)),
                texture(2, filtered),
                texture(3, filtered),
                texture(4, wgpu::TextureSampleType::Uint),
                wgpu::BindGroupLayoutEntry {
                    visibility: wgpu::ShaderStages::VERTEX_FRAGMENT,
                    ..texture(5, wgpu::TextureSampleType::Float { filterable: false })
                },
                entry(6, wgpu::ShaderStages::FRAGMENT, wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering)),
            ],
        });
        let sheet_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("guide sheet"),
            entries: &[uniform(0), texture(1, filtered)],
        });
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("guide"),
            bind_group_layouts: &[Some(&common_layout), Some(&sheet_layout)],
            immediate_size: 0,
        });
        let pipeline = |fragment: &str, variant: usize| {
            let constants = constants(variant, format);
            let compilation_options = wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() };
            device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                label: Some(fragment),
                layout: Some(&layout),
                vertex: wgpu::VertexState {
                    module: &module,
                    entry_point: Some("vertex"),
                    compilation_options: compilation_options.clone(),
                    buffers: &[Some(wgpu::VertexBufferLayout {
                        array_stride: size_of::<Vertex>() as u64,
                        step_mode: wgpu::VertexStepMode::Vertex,
                        attributes: &wgpu::vertex_attr_array![0 => Float32x2, 1 => Float32x2, 2 => Uint32],
                    })],
                },
                primitive: wgpu::PrimitiveState::default(),
                depth_stencil: None,
                multisample: wgpu::MultisampleState::default(),
                fragment: Some(wgpu::FragmentState {
                    module: &module,
                    entry_point: Some(fragment),
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
        };
        let buffer =
            |usage| device.create_buffer(&wgpu::BufferDescriptor { label: Some("guide"), size: 1024, usage, mapped_at_creation: false });
        let uniforms = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let blank = texture_with(device, queue, wgpu::TextureFormat::Rgba16Float, 1, 1, &[[0; 8]]);
        Self {
            format,
            layer: std::array::from_fn(|variant| pipeline("layer", variant)),
            still: std::array::from_fn(|variant| pipeline("still", variant)),
            copy: pipeline("copy", 0),
            deep: Deep::new(),
            samplers: [wgpu::MipmapFilterMode::Linear, wgpu::MipmapFilterMode::Nearest].map(|mipmap_filter| {
                device.create_sampler(&wgpu::SamplerDescriptor {
                    label: Some("guide"),
                    mag_filter: wgpu::FilterMode::Linear,
                    min_filter: wgpu::FilterMode::Linear,
                    mipmap_filter,
                    ..Default::default()
                })
            }),
            blank: blank.create_view(&wgpu::TextureViewDescriptor::default()),
            views: [buffer(uniforms), buffer(uniforms)],
            common: None,
            cut: None,
            correction: None,
            range: 0.0,
            motions: motions_texture(device, 1),
            vertices: buffer(wgpu::BufferUsages::VERTEX | wgpu::BufferUsages::COPY_DST),
            geometry: Geometry::default(),
            tile: None,
            frame_px: [0; 4],
            plain_from: PLAIN_FROM,
            variant: 0,
            module,
            layout,
            common_layout,
            sheet_layout,
        }
    }

    /// Sends what changed since the last frame; a soft drag is drawn from `encoder` already.
    pub(super) fn prepare(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        encoder: &mut wgpu::CommandEncoder,
        paint: &Paint,
        place: &Place,
    ) {
        let prepared = &*paint.prepared;
        if self.cut.as_ref().is_none_or(|cut| cut.number != paint.cut) {
            self.cut = Some(self.upload(device, queue, prepared, paint.cut));
            self.common = None;
        }
        self.set_correction(device, queue, paint);
        self.geometry.set(prepared, &paint.motion, paint.liquify.as_ref());
        self.send_geometry(device, queue);

        let frame = prepared.size();
        let corners = [place.offset, place.offset + frame * place.scale].map(|p| p.round().clamp(Vec2::ZERO, place.size));
        self.frame_px = [corners[0].x, corners[0].y, corners[1].x, corners[1].y].map(|v| v as i32);
        let split_x = match paint.compare {
            Compare::Generated => f32::MIN,
            Compare::Guide => f32::MAX,
            Compare::Split(part) => part * frame.x,
        };
        let seen = seen_in_depth(prepared, &paint.motion);
        let eye = seen.map_or([[0.0; 4]; 4], |view| view.columns.map(|column| column.extend(0.0).into()));
        let (nearness, unit) = prepared.deep.as_ref().map_or((1.0, 1.0), |deep| (deep.nearness, deep.unit));
        let view = |place: &Place| View {
            clip_scale: (place.scale / place.size * Vec2::new(2.0, -2.0)).into(),
            clip_offset: (place.offset / place.size * Vec2::new(2.0, -2.0) + Vec2::new(-1.0, 1.0)).into(),
            inverse_frame: frame.recip().into(),
            split_x,
            objects: prepared.objects.len() as u32,
            columns: MOTION_COLUMNS,
            range: self.range,
            nearness,
            unit,
            eye,
        };
        let changes = self.correction.is_some() && paint.compare != Compare::Guide;
        self.variant = variant(place, changes, self.plain_from);
        queue.write_buffer(&self.views[0], 0, bytemuck::bytes_of(&view(place)));
        // In depth all of the frame goes through a texture.
        let tile = if seen.is_some() { Some(*place) } else { paint.liquify.as_ref().map(|liquify| tile_place(liquify, frame, place)) };
        if let Some(tile) = &tile {
            queue.write_buffer(&self.views[1], 0, bytemuck::bytes_of(&view(tile)));
        }
        if self.common.is_none() {
            self.common = Some([0, 1].map(|i| self.common_group(device, &self.views[i])));
        }
        match tile {
            Some(tile) => self.draw_tile(device, queue, encoder, &tile, prepared, seen.is_some()),
            None => self.tile = None,
        }
    }

    /// Draws what was prepared; `viewport` is its corner and `clip` (left, top, right, bottom) what may be touched, target px.
    pub(super) fn draw(&self, pass: &mut wgpu::RenderPass, viewport: [i32; 2], clip: [i32; 4]) {
        let Some([common, _]) = &self.common else { return };
        let own: [i32; 4] = std::array::from_fn(|i| self.frame_px[i] + viewport[i % 2]);
        let (left, top) = (own[0].max(clip[0]), own[1].max(clip[1]));
        let (right, bottom) = (own[2].min(clip[2]), own[3].min(clip[3]));
        if left >= right || top >= bottom {
            return;
        }
        pass.set_scissor_rect(left as u32, top as u32, (right - left) as u32, (bottom - top) as u32);
        self.draw_layers(pass, common);
        if let Some(tile) = &self.tile {
            pass.set_pipeline(&self.copy);
            pass.set_bind_group(1, &tile.sheet, &[]);
            pass.draw(self.geometry.liquify.clone(), 0..1);
        }
    }

    fn draw_layers(&self, pass: &mut wgpu::RenderPass, common: &wgpu::BindGroup) {
        let Some(cut) = &self.cut else { return };
        let (layer, still) = (&self.layer[self.variant], &self.still[self.variant]);
        pass.set_vertex_buffer(0, self.vertices.slice(..));
        pass.set_bind_group(0, common, &[]);
        for (brush, range) in &self.geometry.draws {
            let (pipeline, sheet) = match brush {
                Brush::Plate => (layer, Some(&cut.plate)),
                Brush::Source => (layer, cut.source.as_ref()),
                Brush::Object(k) => (layer, cut.objects.get(*k).and_then(Option::as_ref)),
                Brush::Still(k) => (still, cut.objects.get(*k).and_then(Option::as_ref)),
            };
            let Some(sheet) = sheet else { continue };
            pass.set_pipeline(pipeline);
            pass.set_bind_group(1, sheet, &[]);
            pass.draw(range.clone(), 0..1);
        }
    }

    /// Draws a part of the frame into a texture of its own: what is around a soft drag, or what is seen in depth.
    fn draw_tile(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        encoder: &mut wgpu::CommandEncoder,
        place: &Place,
        prepared: &Prepared,
        in_depth: bool,
    ) {
        // In steps, so that a drag at another zoom seldom makes a new one.
        let [width, height] = [place.size.x, place.size.y].map(|v| (v.ceil() as u32).next_multiple_of(64));
        if self.tile.as_ref().is_none_or(|tile| tile.texture.width() < width || tile.texture.height() < height) {
            let texture = device.create_texture(&wgpu::TextureDescriptor {
                label: Some("guide drag"),
                usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING,
                ..descriptor(self.format, width, height, 1)
            });
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("guide drag"),
                size: size_of::<SheetPlace>() as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let sheet = self.sheet_group(device, &buffer, &view);
            self.tile = Some(Tile { texture, view, place: buffer, sheet });
        }
        let (Some(tile), Some([_, common])) = (&self.tile, &self.common) else { return };
        let size = Vec2::new(tile.texture.width() as f32, tile.texture.height() as f32);
        let sheet = SheetPlace { origin: (-place.offset / place.scale).into(), inverse_size: (place.scale / size).into() };
        queue.write_buffer(&tile.place, 0, bytemuck::bytes_of(&sheet));
        if let Some((cut, sheets)) = self.cut.as_ref().zip(prepared.deep.as_ref()).filter(|_| in_depth) {
            let Some(deep) = &cut.deep else { return };
            let (target, textures) = ((&tile.texture, &tile.view), (&cut.plate, &cut.objects[..]));
            self.deep.make(device, &self.module, &self.layout, self.format, (self.variant, &constants(self.variant, self.format)));
            self.deep.draw(device, encoder, target, place.size, self.variant, (sheets, deep), common, textures);
            return;
        }
        let mut pass = begin_pass(encoder, &tile.view, wgpu::Color::BLACK);
        pass.set_viewport(0.0, 0.0, place.size.x, place.size.y, 0.0, 1.0);
        self.draw_layers(&mut pass, common);
    }

    fn set_correction(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, paint: &Paint) {
        let sane = |c: &&std::sync::Arc<_>| {
            let c: &kinebrush_engine::stream::live::Correction = c;
            c.width > 0 && c.height > 0 && c.rgba.len() == c.width * c.height
        };
        let Some(correction) = paint.correction.as_ref().filter(sane) else {
            self.common = self.common.take().filter(|_| self.correction.is_none());
            self.correction = None;
            return;
        };
        let (width, height) = (correction.width as u32, correction.height as u32);
        if self.correction.as_ref().is_some_and(|(id, t)| *id == paint.correction_id && (t.width(), t.height()) == (width, height)) {
            return;
        }
        let texture = match self.correction.take() {
            Some((_, texture)) if (texture.width(), texture.height()) == (width, height) => texture,
            _ => {
                self.common = None;
                device.create_texture(&descriptor(wgpu::TextureFormat::Rgba8Unorm, width, height, 1))
            }
        };
        // 8 bits of the range that it needs: much faster on a software card than 16, and finer than the window's own 8.
        let values = correction.rgba.as_flattened();
        let value = |v: f16| if v.is_finite() { v.to_f32() } else { 0.0 };
        self.range = values.iter().map(|v| value(*v).abs()).fold(1e-3, f32::max);
        let bytes: Vec<u8> = values.iter().map(|v| (127.0 + value(*v) / self.range * 127.0).round() as u8).collect();
        write(queue, &texture, 0, 4, &bytes);
        self.correction = Some((paint.correction_id, texture));
    }

    fn send_geometry(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) {
        let vertices: &[u8] = bytemuck::cast_slice(&self.geometry.vertices);
        if self.vertices.size() < vertices.len() as u64 {
            let usage = wgpu::BufferUsages::VERTEX | wgpu::BufferUsages::COPY_DST;
            let size = (vertices.len() as u64).next_power_of_two();
            self.vertices = device.create_buffer(&wgpu::BufferDescriptor { label: Some("guide"), size, usage, mapped_at_creation: false });
        }
        queue.write_buffer(&self.vertices, 0, vertices);
        let motions = &mut self.geometry.motions;
        if motions.is_empty() {
            return;
        }
        let rows = (motions.len() as u32).div_ceil(MOTION_COLUMNS);
        motions.resize((rows * MOTION_COLUMNS) as usize, [0.0; 4]);
        if self.motions.height() < rows {
            self.motions = motions_texture(device, rows.next_power_of_two());
            self.common = None;
        }
        write_rows(queue, &self.motions, 0, 16, rows, bytemuck::cast_slice(motions));
    }

    fn upload(&self, device: &wgpu::Device, queue: &wgpu::Queue, prepared: &Prepared, number: u64) -> Cut {
        let upload = |sheet: &Sheet| {
            let (width, height) = (sheet.levels[0].width, sheet.levels[0].height);
            let levels = sheet.levels.len() as u32;
            let texture = device.create_texture(&descriptor(wgpu::TextureFormat::Rgba8Unorm, width, height, levels));
            for (i, Level { rgba, .. }) in sheet.levels.iter().enumerate() {
                write(queue, &texture, i as u32, 4, rgba);
            }
            let place = SheetPlace { origin: sheet.origin.into(), inverse_size: sheet.size.recip().into() };
            let place = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: Some("guide sheet"),
                contents: bytemuck::bytes_of(&place),
                usage: wgpu::BufferUsages::UNIFORM,
            });
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            (self.sheet_group(device, &place, &view), view)
        };
        let (source, source_view) = prepared.source.as_ref().map(upload).unzip();
        let reach = &prepared.reach;
        let reach = texture_with(device, queue, wgpu::TextureFormat::R32Uint, reach.width as u32, reach.height as u32, &reach.data);
        Cut {
            number,
            plate: upload(&prepared.plate).0,
            source,
            objects: prepared.objects.iter().map(|sheet| sheet.as_ref().map(|sheet| upload(sheet).0)).collect(),
            source_view,
            reach: reach.create_view(&wgpu::TextureViewDescriptor::default()),
            deep: prepared.deep.as_ref().map(|deep| deep.upload(device, deep.behind.as_ref().map(|sheet| upload(sheet).0))),
        }
    }

    fn sheet_group(&self, device: &wgpu::Device, place: &wgpu::Buffer, view: &wgpu::TextureView) -> wgpu::BindGroup {
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("guide sheet"),
            layout: &self.sheet_layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: place.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::TextureView(view) },
            ],
        })
    }

    fn common_group(&self, device: &wgpu::Device, view: &wgpu::Buffer) -> wgpu::BindGroup {
        let texture = |view| wgpu::BindingResource::TextureView(view);
        let own = |t: &wgpu::Texture| t.create_view(&wgpu::TextureViewDescriptor::default());
        let correction = self.correction.as_ref().map(|(_, t)| own(t));
        let motions = own(&self.motions);
        // Before anything was cut nothing is looked up in it.
        let nothing = own(&device.create_texture(&descriptor(wgpu::TextureFormat::R32Uint, 1, 1, 1)));
        let cut = self.cut.as_ref();
        let resources = [
            view.as_entire_binding(),
            wgpu::BindingResource::Sampler(&self.samplers[0]),
            texture(correction.as_ref().unwrap_or(&self.blank)),
            texture(cut.and_then(|cut| cut.source_view.as_ref()).unwrap_or(&self.blank)),
            texture(cut.map_or(&nothing, |cut| &cut.reach)),
            texture(&motions),
            wgpu::BindingResource::Sampler(&self.samplers[1]),
        ];
        let entries: Vec<wgpu::BindGroupEntry> =
            resources.into_iter().enumerate().map(|(i, resource)| wgpu::BindGroupEntry { binding: i as u32, resource }).collect();
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("guide"), layout: &self.common_layout, entries: &entries })
    }
}

/// What distinguishes the shaders of a variant.
fn constants(variant: usize, format: wgpu::TextureFormat) -> [(&'static str, f64); 3] {
    let flag = |on: bool| f64::from(u8::from(on));
    [("LINEAR_TARGET", flag(format.is_srgb())), ("SHRINKS", (variant % 3) as f64), ("CHANGES", flag(variant >= 3))]
}

/// Which pipelines draw at `place`: for pictures that are not shrunk, shrunk, or shrunk much; then the same with a correction.
fn variant(place: &Place, changes: bool, plain_from: f32) -> usize {
    let shrinks = match place.scale.min_element() {
        scale if scale >= plain_from => 0,
        scale if scale >= 0.33 => 1,
        _ => 2,
    };
    shrinks + if changes { 3 } else { 0 }
}

/// The part of the frame that a soft drag is drawn from, as fine as on the target.
fn tile_place(liquify: &Liquify, frame: Vec2, place: &Place) -> Place {
    let corners = [liquify.center - liquify.radius - 2.0, liquify.center + liquify.radius + 2.0];
    let [low, high] = corners.map(|c| c.clamp(Vec2::ZERO, frame));
    let size = (high - low).max(Vec2::ONE);
    let scale = place.scale.min(LARGEST_TILE / size);
    Place { scale, offset: -low * scale, size: (size * scale).max(Vec2::ONE) }
}

/// A pass that fills `view` with a colour first.
pub(super) fn begin_pass<'a>(encoder: &'a mut wgpu::CommandEncoder, view: &wgpu::TextureView, colour: wgpu::Color) -> wgpu::RenderPass<'a> {
    encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        label: Some("guide"),
        color_attachments: &[Some(wgpu::RenderPassColorAttachment {
            view,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations { load: wgpu::LoadOp::Clear(colour), store: wgpu::StoreOp::Store },
        })],
        ..Default::default()
    })
}

fn descriptor(format: wgpu::TextureFormat, width: u32, height: u32, levels: u32) -> wgpu::TextureDescriptor<'static> {
    wgpu::TextureDescriptor {
        label: Some("guide"),
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: levels,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    }
}

fn motions_texture(device: &wgpu::Device, rows: u32) -> wgpu::Texture {
    device.create_texture(&descriptor(wgpu::TextureFormat::Rgba32Float, MOTION_COLUMNS, rows, 1))
}

fn texture_with<T: Pod>(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    format: wgpu::TextureFormat,
    width: u32,
    height: u32,
    texels: &[T],
) -> wgpu::Texture {
    let texture = device.create_texture(&descriptor(format, width, height, 1));
    write(queue, &texture, 0, size_of::<T>() as u32, bytemuck::cast_slice(texels));
    texture
}

/// Writes a whole level.
fn write(queue: &wgpu::Queue, texture: &wgpu::Texture, level: u32, bytes_per_texel: u32, bytes: &[u8]) {
    write_rows(queue, texture, level, bytes_per_texel, (texture.height() >> level).max(1), bytes);
}

/// Writes the first rows of a level.
fn write_rows(queue: &wgpu::Queue, texture: &wgpu::Texture, level: u32, bytes_per_texel: u32, rows: u32, bytes: &[u8]) {
    let width = (texture.width() >> level).max(1);
    queue.write_texture(
        wgpu::TexelCopyTextureInfo { texture, mip_level: level, origin: wgpu::Origin3d::ZERO, aspect: wgpu::TextureAspect::All },
        bytes,
        wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(bytes_per_texel * width), rows_per_image: None },
        wgpu::Extent3d { width, height: rows, depth_or_array_layers: 1 },
    );
}
