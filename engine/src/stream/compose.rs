//! What is shown of a chunk: the guide's pixels plus the correction, of which the fine part may be held back.
//!
//! A net that is unsure answers with an average: near the truth by any squared error, but soft to the eye. Held back, the correction
//! brings tone and shading, and the texture stays the guide's. Invariant: where the correction is zero the guide is shown as it is.
//! Guarded by the tests below.

use crate::condition::Condition;
use crate::model::codec::paste;
use crate::model::config::Config;
use crate::picture::{Grid, Picture};
use crate::stream::session::Chunk;

/// The chunk's frames, `width` x `height` (the padding is cut off).
pub fn frames(config: &Config, chunk: &Chunk, condition: &Condition, width: usize, height: usize) -> Vec<Picture> {
    let (columns, cell, per_latent) = (condition.columns * config.cell_px, config.cell_px, config.frames_per_latent);
    let latent_len = condition.guide_patches.len() / condition.latents;
    let mut shown = Vec::with_capacity(condition.latents * per_latent);
    for latent in 0..condition.latents {
        let range = latent * latent_len..(latent + 1) * latent_len;
        let mut guide = vec![Picture::filled(width, height, [0.0; 3]); per_latent];
        paste(&condition.guide_patches[range.clone()], cell, per_latent, columns, |frame, y, x, rgb| {
            if x < width && y < height {
                guide[frame].data[y * width + x] = rgb;
            }
        });
        // Colour and weight: the uncovered share of each pixel, which the correction carries already.
        let mut correction = vec![Grid::filled(width, height, [0.0f32; 4]); per_latent];
        let uncovered = condition.uncovered[range.start / 3..range.end / 3].iter().flat_map(|u| [*u; 3]).collect::<Vec<_>>();
        paste(&chunk.correction[range], cell, per_latent, columns, |frame, y, x, [r, g, b]| {
            if x < width && y < height {
                correction[frame].data[y * width + x] = [r, g, b, 0.0];
            }
        });
        paste(&uncovered, cell, per_latent, columns, |frame, y, x, [u, _, _]| {
            if x < width && y < height {
                correction[frame].data[y * width + x][3] = u;
            }
        });
        shown.extend(guide.iter().zip(&correction).map(|(guide, correction)| add(guide, correction, config.fine_correction, cell)));
    }
    shown
}

/// Guide (-1..1) plus correction; of what the correction holds beyond the resolution of cells only the share `fine`.
fn add(guide: &Picture, correction: &Grid<[f32; 4]>, fine: f32, cell: usize) -> Picture {
    let (width, height) = (guide.width, guide.height);
    let smooth = (fine < 1.0).then(|| correction.resized(width.div_ceil(cell), height.div_ceil(cell)).resized(width, height));
    Picture::from_fn(width, height, |x, y| {
        let (guide, [r, g, b, uncovered]) = (guide.at(x, y), correction.at(x, y));
        let own = [r, g, b];
        let coarse = smooth.as_ref().map_or(own, |smooth| {
            let sum = smooth.at(x, y);
            std::array::from_fn(|c| sum[c] / sum[3].max(1e-3) * uncovered)
        });
        std::array::from_fn(|c| {
            let correction = coarse[c] + fine * (own[c] - coarse[c]);
            ((guide[c] + correction + 1.0) / 2.0).clamp(0.0, 1.0)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tone_passes_and_texture_is_held_back() {
        let guide = Picture::from_fn(32, 32, |x, _| [if x % 2 == 0 { 0.3 } else { -0.3 }; 3]);
        // A darker tone, and the guide's texture taken away, inside a hole.
        let correction = Grid::from_fn(32, 32, |x, y| {
            let hole = (8..24).contains(&x) && (8..24).contains(&y);
            let value = -0.2 - if x % 2 == 0 { 0.3 } else { -0.3 };
            if hole { [value, value, value, 1.0] } else { [0.0; 4] }
        });
        let at = |fine: f32, x: usize, y: usize| add(&guide, &correction, fine, 8).at(x, y)[0] * 2.0 - 1.0;
        for x in [10, 11] {
            let (texture, tone) = (guide.at(x, 16)[0], -0.2);
            assert!((at(1.0, x, 16) - tone).abs() < 1e-5);
            assert!((at(0.0, x, 16) - (texture + tone)).abs() < 1e-3);
            assert!((at(0.5, x, 16) - (texture / 2.0 + tone)).abs() < 1e-3);
        }
        for fine in [0.0, 1.0] {
            assert!((at(fine, 2, 2) - guide.at(2, 2)[0]).abs() < 1e-6, "what is covered was changed");
        }
    }
}
