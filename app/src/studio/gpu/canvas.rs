//! A canvas that shows what it showed before: drawn once into a texture, from then on copied. Where the processor draws, that saves
//! most of a window's frame while nothing moves.
//!
//! Invariant: what is copied is, pixel for pixel, what would be drawn. Guarded by `tests/tests/gpu.rs`.

use eframe::egui::Rect;
use eframe::egui_wgpu::wgpu;
use glam::Vec2;
use kinebrush_engine::motion::FrameMotion;

use super::fill::covering;
use super::renderer::{Place, begin_pass};
use super::{GuideRenderer, Liquify, Paint, ScreenFromLive};
use crate::studio::action::Compare;

/// Frames of the window that look alike before one is kept: a video that plays is not drawn twice.
const ALIKE: u32 = 2;

/// All that decides what the canvas shows, but the motion, which may be large.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    cut: u64,
    correction: Option<u64>,
    liquify: Option<Liquify>,
    compare: Compare,
    screen_from_live: ScreenFromLive,
    rect: Rect,
    size: Vec2,
}

impl Look {
    fn of(paint: &Paint, rect: Rect, place: &Place) -> Self {
        Self {
            cut: paint.cut,
            correction: paint.correction.as_ref().map(|_| paint.correction_id),
            liquify: paint.liquify,
            compare: paint.compare,
            screen_from_live: paint.screen_from_live,
            rect,
            size: place.size,
        }
    }
}

/// A renderer, and the picture of what it drew last.
#[derive(Debug)]
pub struct GuideCanvas {
    renderer: GuideRenderer,
    copy: wgpu::RenderPipeline,
    /// What it shows, and for how many frames it has.
    look: Option<(Look, FrameMotion)>,
    stayed: u32,
    texture: Option<(wgpu::Texture, wgpu::TextureView, wgpu::BindGroup)>,
}

impl GuideCanvas {
    /// For targets of `format`.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, format: wgpu::TextureFormat) -> Self {
        Self::of(GuideRenderer::new(device, queue, format), device, format)
    }

    /// Of a renderer for targets of `format`.
    pub(super) fn of(renderer: GuideRenderer, device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let copy = covering(device, "canvas", include_str!("../../../../shaders/copy.wgsl"), format);
        Self { renderer, copy, look: None, stayed: 0, texture: None }
    }

    /// Sends what changed since the last frame; `rect` is where the canvas is in its window.
    pub(super) fn prepare(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        encoder: &mut wgpu::CommandEncoder,
        (paint, rect): (&Paint, Rect),
        place: &Place,
    ) {
        let look = Look::of(paint, rect, place);
        if self.look.as_ref().is_some_and(|(before, motion)| *before == look && *motion == paint.motion) {
            self.stayed = self.stayed.saturating_add(1);
            if self.is_held() && self.stayed > ALIKE {
                return;
            }
        } else {
            (self.look, self.stayed) = (Some((look, paint.motion.clone())), 0);
        }
        self.renderer.prepare(device, queue, encoder, paint, place);
        if self.stayed == ALIKE {
            self.keep(device, encoder, place.size);
        }
    }

    /// Whether the picture is shown instead of what the renderer prepared.
    fn is_held(&self) -> bool {
        self.stayed >= ALIKE && self.texture.is_some()
    }

    fn keep(&mut self, device: &wgpu::Device, encoder: &mut wgpu::CommandEncoder, size: Vec2) {
        let (width, height) = (size.x.ceil() as u32, size.y.ceil() as u32);
        if self.texture.as_ref().is_none_or(|(texture, ..)| (texture.width(), texture.height()) != (width, height)) {
            let texture = device.create_texture(&wgpu::TextureDescriptor {
                label: Some("canvas"),
                size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: self.renderer.format(),
                usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING,
                view_formats: &[],
            });
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("canvas"),
                layout: &self.copy.get_bind_group_layout(0),
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&view) }],
            });
            self.texture = Some((texture, view, group));
        }
        if let Some((_, view, _)) = &self.texture {
            let mut pass = begin_pass(encoder, view, wgpu::Color::BLACK);
            self.renderer.draw(&mut pass, [0, 0], [0, 0, width as i32, height as i32]);
        }
    }

    /// Draws what was prepared; `viewport` is its corner and `clip` (left, top, right, bottom) what may be touched, target px.
    pub(super) fn draw(&self, pass: &mut wgpu::RenderPass, viewport: [i32; 2], clip: [i32; 4]) {
        let Some((_, _, group)) = self.texture.as_ref().filter(|_| self.is_held()) else {
            return self.renderer.draw(pass, viewport, clip);
        };
        let Some([left, top, width, height]) = self.renderer.scissor(viewport, clip) else { return };
        pass.set_scissor_rect(left, top, width, height);
        pass.set_pipeline(&self.copy);
        pass.set_bind_group(0, group, &[]);
        // The corner travels as the instance's number; a canvas lies within the window, whose sides are less than 2^15 px.
        let [x, y] = viewport.map(|v| v.clamp(0, 0x7fff) as u32);
        let number = x | y << 16;
        pass.draw(0..3, number..number + 1);
    }
}
