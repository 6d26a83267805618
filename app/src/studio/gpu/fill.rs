//! Large areas of one colour, without egui's shader: where the processor draws, that one costs hundreds of cycles a pixel, because both
//! sides of each of its conditions are run.
//!
//! Invariant: looks as egui's own filled rectangle. Guarded by the snapshots of `tests/tests/studio.rs`.

use eframe::egui::{self, Color32, Rect};
use eframe::egui_wgpu::{self, CallbackResources, CallbackTrait, wgpu};

/// Draws rectangles into textures of one format.
#[derive(Debug)]
pub(super) struct Filler {
    pipeline: wgpu::RenderPipeline,
}

impl Filler {
    pub fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let pipeline = covering(device, "fill", include_str!("../../../../shaders/fill.wgsl"), format);
        Self { pipeline }
    }
}

/// A pipeline that covers the viewport with one triangle; `wgsl` has `vertex` and `fragment`, and nothing is blended.
pub(super) fn covering(device: &wgpu::Device, label: &str, wgsl: &str, format: wgpu::TextureFormat) -> wgpu::RenderPipeline {
    let source = wgpu::ShaderSource::Wgsl(wgsl.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(label), source });
    let stage = wgpu::PipelineCompilationOptions::default;
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some(label),
        layout: None,
        vertex: wgpu::VertexState { module: &module, entry_point: Some("vertex"), compilation_options: stage(), buffers: &[] },
        fragment: Some(wgpu::FragmentState {
            module: &module,
            entry_point: Some("fragment"),
            compilation_options: stage(),
            targets: &[Some(format.into())],
        }),
        primitive: Default::default(),
        depth_stencil: None,
        multisample: Default::default(),
        multiview_mask: None,
        cache: None,
    })
}

/// Fills `rect` with an opaque colour.
pub fn fill(painter: &egui::Painter, rect: Rect, colour: Color32) {
    let rect = rect.intersect(painter.clip_rect());
    if rect.is_positive() {
        painter.add(egui_wgpu::Callback::new_paint_callback(rect, Fill(u32::from_le_bytes(colour.to_array()))));
    }
}

struct Fill(u32);

impl CallbackTrait for Fill {
    fn paint(&self, _info: egui::PaintCallbackInfo, pass: &mut wgpu::RenderPass<'static>, resources: &CallbackResources) {
        if let Some(filler) = resources.get::<Filler>() {
            pass.set_pipeline(&filler.pipeline);
            pass.draw(0..3, self.0..self.0.wrapping_add(1));
        }
    }
}
