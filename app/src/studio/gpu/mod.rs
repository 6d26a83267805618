//! A frame on the canvas: the source picture's layers at full sharpness where the motion takes them, with the network's change on top.
//!
//! It serves as preview while the hand moves and as the video: between two frames of the network only the motion differs. One canvas
//! per window. Invariant: looks as the engine's warp plus the enlarged correction. Guarded by `tests/tests/gpu.rs`.

mod deep;
mod fill;
mod geometry;
mod headless;
mod prepared;
mod renderer;

use std::sync::Arc;

use eframe::egui::{self, Color32, Rect};
use eframe::egui_wgpu::{self, CallbackResources, CallbackTrait, RenderState, ScreenDescriptor, wgpu};
use glam::Vec2;
use kinebrush_engine::motion::FrameMotion;
use kinebrush_engine::stream::live::Correction;

pub use fill::fill;
pub use headless::render_to_picture;
pub use prepared::Prepared;
pub use renderer::GuideRenderer;
use renderer::Place;

use super::action::Compare;

/// A frame to be drawn.
#[derive(Clone, Debug)]
pub struct Paint {
    /// What it is drawn from.
    pub prepared: Arc<Prepared>,
    /// Another number whenever `prepared` is another one.
    pub cut: u64,
    /// Where the layers are, px of the layers' picture (live px); from where they are seen counts if they have depth.
    pub motion: FrameMotion,
    /// What the network changed; None: nothing.
    pub correction: Option<Arc<Correction>>,
    /// Another number whenever `correction` is another one.
    pub correction_id: u64,
    /// A soft drag that is no layer yet.
    pub liquify: Option<Liquify>,
    /// With or without the correction, or both side by side.
    pub compare: Compare,
    /// How the picture lies on the screen.
    pub screen_from_live: ScreenFromLive,
    /// What is shown around the picture.
    pub outside: Color32,
}

/// `screen = live * scale + offset`: live px to points of the window (of a picture: to its px).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScreenFromLive {
    /// Points per live px.
    pub scale: egui::Vec2,
    /// Where the picture's top-left corner is, points.
    pub offset: egui::Vec2,
}

/// A soft drag to be seen before anything is cut: what the frame shows in a disc goes with the hand, less towards the disc's border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Liquify {
    /// The disc's middle in the frame, live px.
    pub center: Vec2,
    /// Its radius, live px.
    pub radius: f32,
    /// The part of the radius that fades, 0..1.
    pub softness: f32,
    /// How far the hand went, live px.
    pub shift: Vec2,
}

/// Makes the renderer part of a window. Without it neither frames nor fills are drawn.
pub fn install(state: &RenderState) {
    let renderer = GuideRenderer::new(&state.device, &state.queue, state.target_format);
    let software = state.adapter.get_info().device_type == wgpu::DeviceType::Cpu;
    let renderer = if software { renderer.in_software() } else { renderer };
    let filler = fill::Filler::new(&state.device, state.target_format);
    let resources = &mut state.renderer.write().callback_resources;
    resources.insert(renderer);
    resources.insert(filler);
}

/// Draws a frame into `rect` of the window.
pub fn paint(ui: &egui::Ui, rect: Rect, paint: Paint) {
    let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    // Around the picture alone (and a little under its edge): painting all of the canvas twice costs a software card much.
    let view = &paint.screen_from_live;
    let size = paint.prepared.size();
    let corner = egui::Pos2::ZERO + view.offset;
    let inner = Rect::from_min_size(corner, egui::vec2(size.x * view.scale.x, size.y * view.scale.y)).shrink(1.0);
    let (left, right) = (inner.left().clamp(rect.left(), rect.right()), inner.right().clamp(rect.left(), rect.right()));
    let (top, bottom) = (inner.top().clamp(rect.top(), rect.bottom()), inner.bottom().clamp(rect.top(), rect.bottom()));
    let bands = match left < right && top < bottom {
        true => vec![
            Rect::from_min_max(rect.min, egui::pos2(rect.right(), top)),
            Rect::from_min_max(egui::pos2(rect.left(), bottom), rect.max),
            Rect::from_min_max(egui::pos2(rect.left(), top), egui::pos2(left, bottom)),
            Rect::from_min_max(egui::pos2(right, top), egui::pos2(rect.right(), bottom)),
        ],
        false => vec![rect],
    };
    for band in bands.into_iter().filter(Rect::is_positive) {
        fill(&painter, band, paint.outside);
    }
    painter.add(egui_wgpu::Callback::new_paint_callback(rect, CanvasCallback { paint, rect }));
}

struct CanvasCallback {
    paint: Paint,
    rect: Rect,
}

impl CallbackTrait for CanvasCallback {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        screen: &ScreenDescriptor,
        encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        if let Some(renderer) = resources.get_mut::<GuideRenderer>() {
            // Exactly the px that egui makes the viewport, so that a frame at full size is not resampled.
            let info = egui::PaintCallbackInfo {
                viewport: self.rect,
                clip_rect: self.rect,
                pixels_per_point: screen.pixels_per_point,
                screen_size_px: screen.size_in_pixels,
            };
            let viewport = info.viewport_in_pixels();
            let points = |v: egui::Vec2| Vec2::new(v.x, v.y) * screen.pixels_per_point;
            let corner = Vec2::new(viewport.left_px as f32, viewport.top_px as f32);
            let place = Place {
                scale: points(self.paint.screen_from_live.scale),
                offset: points(self.paint.screen_from_live.offset) - corner,
                size: Vec2::new(viewport.width_px as f32, viewport.height_px as f32).max(Vec2::ONE),
            };
            renderer.prepare(device, queue, encoder, &self.paint, &place);
        }
        Vec::new()
    }

    fn paint(&self, info: egui::PaintCallbackInfo, pass: &mut wgpu::RenderPass<'static>, resources: &CallbackResources) {
        let Some(renderer) = resources.get::<GuideRenderer>() else { return };
        let (viewport, clip) = (info.viewport_in_pixels(), info.clip_rect_in_pixels());
        let corner = |left: i32, top: i32, width: i32, height: i32| [left, top, left + width, top + height];
        let clip = corner(clip.left_px, clip.top_px, clip.width_px, clip.height_px);
        renderer.draw(pass, [viewport.left_px, viewport.top_px], clip);
    }
}
