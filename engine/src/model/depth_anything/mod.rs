//! Depth from one picture: Depth Anything V2 (Yang et al. 2024, arXiv 2406.09414) from a folder of the user's own.
//!
//! The folder is a checkpoint as its authors publish it for transformers: `config.json` and `model.safetensors`. Invariant: the network
//! is that of the public PyTorch code, to 1e-4; a folder that does not hold it is refused by name. Guarded by
//! `tests/tests/depth_anything.rs`.

mod config;
mod network;
mod resample;

pub use config::{Config, Estimates};
pub use network::Network;

use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};

use crate::error::{Error, Result};
use crate::model::parameters::Parameters;
use crate::picture::{Mask, Picture};

/// The shorter side that the network works at, px, in tokens of a public checkpoint: 518 px.
const SIDE_PX: f32 = 518.0;
/// The longer side is at most this many times the shorter one; narrower pictures are squeezed.
const MOST_ASPECT: f32 = 3.0;
/// Mean and deviation of the pictures it was trained on (ImageNet).
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// A depth network, ready to estimate.
pub struct DepthAnything {
    network: Network,
    device: Device,
}

/// How near each pixel of a picture is.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Inverse depth, 0 for the farthest pixel to 1 for the nearest; of the picture's size.
    pub nearness: Mask,
    /// Distance of nearness 1 and of nearness 0 in metres, from a metric checkpoint; a relative one does not know them.
    pub metres: Option<(f32, f32)>,
}

impl DepthAnything {
    /// The checkpoint in `folder`.
    ///
    /// # Errors
    /// Names the file that is missing, damaged, or of another kind of network.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let config = Config::load(&folder.join("config.json"))?;
        let weights = folder.join("model.safetensors");
        let bytes = std::fs::read(&weights)
            .map_err(|e| Error::file(&weights, format!("cannot be read ({e}); a depth folder holds config.json and model.safetensors")))?;
        let tensors = safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|e| Error::file(&weights, format!("is not a whole safetensors file ({e}); fetch it again")))?;
        // The rectifiers would turn a number that is none into a picture that looks like one.
        for (name, tensor) in &tensors {
            // A sum that is finite has finite terms.
            if !tensor.to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar::<f64>()?.is_finite() {
                return Err(Error::file(&weights, format!("tensor `{name}` is damaged (it holds no finite numbers); fetch it again")));
            }
        }
        let parameters = Parameters::loaded(&weights, tensors, device, false);
        Ok(Self { network: Network::new(config, &parameters)?, device: device.clone() })
    }

    /// The nearness of every pixel of `picture`; takes seconds on a CPU.
    ///
    /// # Errors
    /// When the device runs out of memory, or the network's answer is not finite.
    pub fn estimate(&self, picture: &Picture) -> Result<Estimate> {
        let config = self.network.config();
        let (width, height) = working_size(picture.width, picture.height, config.patch_px());
        let small = picture.resized(width, height);
        let channel = |c: usize| small.data.iter().map(move |rgb| (rgb[c] - MEAN[c]) / DEVIATION[c]);
        let pixels: Vec<f32> = (0..3).flat_map(channel).collect();
        let depth = self.network.forward(&Tensor::from_vec(pixels, (3, height, width), &self.device)?)?;
        let values: Vec<f32> = depth.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::field("depth", "the network's answer is not finite; its weights are damaged, fetch them again"));
        }
        let metric = matches!(config.estimates(), Estimates::Metres { .. });
        // Nobody is nearer than a centimetre: the least of a sigmoid would be an infinite nearness.
        let values: Vec<f32> = if metric { values.iter().map(|metres| metres.max(0.01).recip()).collect() } else { values };
        let (low, high) = values.iter().fold((f32::INFINITY, 0.0f32), |(low, high), v| (low.min(*v), high.max(*v)));
        let span = (high - low).max(f32::MIN_POSITIVE);
        let nearness = Mask { width, height, data: values.iter().map(|v| (v - low) / span).collect() };
        let metres = metric.then(|| (high.recip(), low.recip()));
        Ok(Estimate { nearness: nearness.resized(picture.width, picture.height), metres })
    }
}

/// The size a picture is estimated at: about as large as in training, both sides whole patches.
fn working_size(width: usize, height: usize, patch: usize) -> (usize, usize) {
    let (w, h) = (width.max(1) as f32, height.max(1) as f32);
    let scale = SIDE_PX / w.min(h);
    let side = |px: f32| ((px * scale).min(SIDE_PX * MOST_ASPECT) / patch as f32).round().max(1.0) as usize * patch;
    (side(w), side(h))
}

#[cfg(test)]
mod tests {
    use super::working_size;

    #[test]
    fn pictures_are_estimated_at_whole_patches_of_their_shape() {
        assert_eq!(working_size(600, 400, 14), (784, 518));
        assert_eq!(working_size(400, 600, 14), (518, 784));
        assert_eq!(working_size(100_000, 10, 14), (1554, 518));
        assert_eq!(working_size(0, 0, 14), (518, 518));
    }
}
