//! Frames drawn into pictures instead of a window: thumbnails, and what tests look at.
//!
//! Invariant: the same drawing as in the window. Guarded by `tests/tests/gpu.rs`.

use anyhow::{Context, Result};
use eframe::egui::{Pos2, Rect, vec2};
use eframe::egui_wgpu::wgpu;
use glam::Vec2;
use kinebrush_engine::picture::Picture;

use super::renderer::Place;
use super::{GuideCanvas, Paint};

const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// `paint` as a picture of `width` x `height` px; `screen_from_live` leads to its px.
///
/// # Errors
/// A graphics card that gives nothing back.
pub fn render_to_picture(device: &wgpu::Device, queue: &wgpu::Queue, paint: &Paint, width: usize, height: usize) -> Result<Picture> {
    GuideCanvas::new(device, queue, FORMAT).render_to_picture(device, queue, paint, width, height)
}

impl GuideCanvas {
    /// As [`render_to_picture`] with a canvas that is already there; it must have been made for `Rgba8Unorm`.
    ///
    /// # Errors
    /// As [`render_to_picture`].
    pub fn render_to_picture(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        paint: &Paint,
        width: usize,
        height: usize,
    ) -> Result<Picture> {
        let size = wgpu::Extent3d { width: width.max(1) as u32, height: height.max(1) as u32, depth_or_array_layers: 1 };
        let target = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("guide picture"),
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: FORMAT,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let view = target.create_view(&wgpu::TextureViewDescriptor::default());
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let [x, y] = [paint.screen_from_live.scale, paint.screen_from_live.offset].map(|v| Vec2::new(v.x, v.y));
        let place = Place { scale: x, offset: y, size: Vec2::new(size.width as f32, size.height as f32) };
        let rect = Rect::from_min_size(Pos2::ZERO, vec2(size.width as f32, size.height as f32));
        self.prepare(device, queue, &mut encoder, (paint, rect), &place);
        {
            let [r, g, b, a] = paint.outside.to_array().map(|v| f64::from(v) / 255.0);
            let mut pass = super::renderer::begin_pass(&mut encoder, &view, wgpu::Color { r, g, b, a });
            self.draw(&mut pass, [0, 0], [0, 0, size.width as i32, size.height as i32]);
        }
        let row = (4 * size.width).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("guide picture"),
            size: u64::from(row) * u64::from(size.height),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        encoder.copy_texture_to_buffer(
            target.as_image_copy(),
            wgpu::TexelCopyBufferInfo {
                buffer: &buffer,
                layout: wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None },
            },
            size,
        );
        queue.submit([encoder.finish()]);
        let (sender, receiver) = crossbeam_channel::bounded(1);
        buffer.slice(..).map_async(wgpu::MapMode::Read, move |result| drop(sender.send(result)));
        device.poll(wgpu::PollType::wait_indefinitely()).context("the graphics card did not finish")?;
        receiver.recv().context("the graphics card gave no answer")?.context("the drawn picture cannot be read back")?;
        let bytes = buffer.slice(..).get_mapped_range().context("the drawn picture cannot be read back")?;
        let at = |x: usize, y: usize, c: usize| f32::from(bytes[y * row as usize + 4 * x + c]) / 255.0;
        Ok(Picture::from_fn(width, height, |x, y| std::array::from_fn(|c| at(x, y, c))))
    }
}
