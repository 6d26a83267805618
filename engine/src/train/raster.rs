//! Layers drawn with exact affine motion: the renderer behind the truth of every training clip.
//!
//! Invariant: a textured layer is sampled through the inverse of its motion with a Catmull-Rom kernel, so the first frame is no
//! sharper and no softer than the later ones; colours are premultiplied and stay in 0..1. Guarded by the tests below and of `clip`.

use crate::picture::{Grid, Mask, Picture, catmull_rom};
use glam::{Affine2, Vec2, Vec4};

/// Empty or repeated texels around a texture, so that the kernel never leaves it and an object fades out inside it.
pub(super) const PAD: usize = 3;

/// A picture with premultiplied alpha and its place.
pub(super) struct Layer {
    /// Premultiplied red, green, blue, alpha, 0..1, with [`PAD`] texels of margin.
    pub texture: Grid<[f32; 4]>,
    /// Source px of the clip to texels.
    pub texture_from_source: Affine2,
}

impl Layer {
    /// Alpha of the layer at source point `point`, as drawn.
    pub fn alpha_at(&self, point: Vec2) -> f32 {
        let at = self.texture_from_source.transform_point2(point);
        let inside = |v: f32, size: usize| v >= 1.5 && v < size as f32 - 1.5;
        if inside(at.x, self.texture.width) && inside(at.y, self.texture.height) { sample(&self.texture, at.x, at.y)[3] } else { 0.0 }
    }

    /// The layer's alpha over a frame of the source's size, not moved.
    pub fn alpha(&self, width: usize, height: usize) -> Mask {
        let mut mask = Mask::filled(width, height, 0.0);
        self.visit(Affine2::IDENTITY, width, height, |i, [.., alpha]| mask.data[i] = alpha);
        mask
    }

    /// The layer, moved by `motion` (source px to frame px), as an opaque frame.
    pub fn fill(&self, motion: Affine2, frame: &mut Picture) {
        let (width, height) = (frame.width, frame.height);
        self.visit(motion, width, height, |i, [r, g, b, _]| frame.data[i] = [r, g, b]);
    }

    /// The layer, moved by `motion` (source px to frame px), drawn over `frame`.
    pub fn draw_over(&self, motion: Affine2, frame: &mut Picture) {
        let (width, height) = (frame.width, frame.height);
        self.visit(motion, width, height, |i, [r, g, b, alpha]| {
            let under = &mut frame.data[i];
            let clear = 1.0 - alpha;
            *under = [under[0] * clear + r, under[1] * clear + g, under[2] * clear + b];
        });
    }

    /// Calls `put(index, premultiplied colour)` for each frame pixel that the texture reaches.
    #[inline(always)]
    fn visit(&self, motion: Affine2, width: usize, height: usize, mut put: impl FnMut(usize, [f32; 4])) {
        let inverse = self.texture_from_source * motion.inverse();
        let step = inverse.matrix2.x_axis;
        for y in 0..height {
            let start = inverse.transform_point2(Vec2::new(0.5, y as f32 + 0.5));
            let (mut first, mut last) = (0.0f32, width as f32 - 1.0);
            for (start, step, size) in [(start.x, step.x, self.texture.width), (start.y, step.y, self.texture.height)] {
                let (low, high) = (1.5 - start, size as f32 - 1.501 - start);
                if step.abs() < 1e-9 {
                    if low > 0.0 || high < 0.0 {
                        last = -1.0;
                    }
                } else {
                    let (a, b) = (low / step, high / step);
                    first = first.max(a.min(b));
                    last = last.min(a.max(b));
                }
            }
            if last < first {
                continue;
            }
            for x in first.ceil() as usize..=last.floor() as usize {
                let at = start + step * x as f32;
                put(y * width + x, sample(&self.texture, at.x, at.y));
            }
        }
    }
}

/// Catmull-Rom sample at texel coordinates (centres at +0.5), which must lie 1.5 texels inside the texture; clamped to what a
/// premultiplied colour may be.
#[inline(always)]
fn sample(texture: &Grid<[f32; 4]>, x: f32, y: f32) -> [f32; 4] {
    let (x, y) = (x - 0.5, y - 0.5);
    // Rounding may carry a point a hair over the border.
    let column = (x as i32).clamp(1, texture.width as i32 - 3);
    let row = (y as i32).clamp(1, texture.height as i32 - 3);
    let (wx, wy) = (catmull_rom(x - column as f32), catmull_rom(y - row as f32));
    let mut start = (row as usize - 1) * texture.width + column as usize - 1;
    let mut sum = Vec4::ZERO;
    for wy in wy {
        // One vector per texel: the compiler does not find that by itself.
        let [a, b, c, d] = texture.data[start..start + 4] else { return [0.0; 4] };
        let line = Vec4::from_array(a) * wx[0] + Vec4::from_array(b) * wx[1] + Vec4::from_array(c) * wx[2] + Vec4::from_array(d) * wx[3];
        sum += line * wy;
        start += texture.width;
    }
    let alpha = sum.w.clamp(0.0, 1.0);
    sum.max(Vec4::ZERO).min(Vec4::splat(alpha)).to_array()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Layer {
        let texture = Grid::<[f32; 4]>::from_fn(40, 30, |x, y| [x as f32 / 100.0, y as f32 / 100.0, 0.2, 1.0]);
        Layer { texture, texture_from_source: Affine2::from_translation(Vec2::new(10.0, 8.0)) }
    }

    #[test]
    fn a_layer_is_drawn_where_its_motion_says() {
        let motion = Affine2::from_scale_angle_translation(Vec2::splat(1.1), 0.2, Vec2::new(2.0, -1.0));
        let mut frame = Picture::filled(16, 12, [0.0; 3]);
        ramp().fill(motion, &mut frame);
        let source = motion.inverse().transform_point2(Vec2::new(7.5, 6.5)) + Vec2::new(10.0 - 0.5, 8.0 - 0.5);
        let [r, g, b] = frame.at(7, 6);
        assert!((r * 100.0 - source.x).abs() < 1e-3 && (g * 100.0 - source.y).abs() < 1e-3 && (b - 0.2).abs() < 1e-6);
    }

    #[test]
    fn nothing_is_drawn_outside_the_texture() {
        let mut frame = Picture::filled(64, 64, [0.5; 3]);
        ramp().draw_over(Affine2::from_translation(Vec2::new(20.0, 20.0)), &mut frame);
        assert_eq!(frame.at(2, 2), [0.5; 3]);
        assert_eq!(frame.at(63, 30), [0.5; 3]);
        assert!((frame.at(22, 22)[2] - 0.2).abs() < 1e-6);
        assert_eq!(ramp().alpha(64, 64).at(15, 10), 1.0);
        assert_eq!(ramp().alpha(64, 64).at(40, 10), 0.0);
    }
}
