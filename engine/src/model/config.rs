//! Every size of the generator, named.
//!
//! Invariant: a config that passes [`Config::validate`] can be built, and nothing is allocated before it passed. Guarded by the tests
//! below and `tests/tests/bad_input.rs`.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How keys are kept in the KV window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyPolicy {
    /// Sink keys are stored after rotation, window keys are rotated for the slot they are in (MotionStream).
    SinkRotated,
    /// All keys are stored un-rotated; the oldest gets position 0 (TrackWan).
    AllUnrotated,
}

/// Architecture, window and schedule of a generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Side of a latent cell, px.
    pub cell_px: usize,
    /// Video frames per latent frame.
    pub frames_per_latent: usize,
    /// Channels of a latent cell.
    pub latent_channels: usize,
    /// Leading channels of the smoothly filled guide that are given besides the guide.
    pub smooth_channels: usize,
    /// Numbers of a track's id embedding.
    pub id_channels: usize,
    /// Channels of the track map after its head.
    pub track_channels: usize,
    /// Channels of the convolutions before and after the transformer.
    pub stem_channels: usize,
    /// Residual convolution blocks before the transformer.
    pub stem_blocks: usize,
    /// Whether a chunk's latents are taken relative to its guide's level and spread, and the stem's output is normed. Without it a net
    /// that has to answer calm and harsh pictures grows numbers so large before the transformer that nothing of the latter is heard.
    #[serde(default)]
    pub normed: bool,
    /// Residual convolution blocks after the transformer.
    pub head_blocks: usize,
    /// Width of the transformer.
    pub dim: usize,
    /// Attention heads.
    pub heads: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the feed-forward layers.
    pub ffn_dim: usize,
    /// Numbers of the sinusoidal embedding of the noise level.
    pub time_channels: usize,
    /// Latent frames per chunk.
    pub chunk_latents: usize,
    /// Chunks of the sink: the first ones, kept for ever.
    pub sink_chunks: usize,
    /// Chunks of the rolling window.
    pub window_chunks: usize,
    /// How keys are kept.
    pub key_policy: KeyPolicy,
    /// Noise levels of the sampler, falling, in (0, 1].
    pub noise_levels: Vec<f32>,
    /// Share of the correction that is shown, 0..1: 0 means that the guide wins everywhere.
    pub correction: f32,
    /// Share of the correction's fine part that is shown, 0..1. A net that is unsure answers with an average, which measures well and
    /// looks soft: below 1, the guide's own texture stays and the model decides tone and shading.
    pub fine_correction: f32,
    /// Share of what `fine_correction` holds back that is shown at the rim of a hole, 0..1; less further in, none a cell away from what the
    /// source shows. At the rim the network sees what it continues: there its fine part is right, not an average.
    #[serde(default)]
    pub rim_correction: f32,
    /// Share of the correction that covered pixels may get, 0..1: 0 until it measures better than the guide there.
    pub covered_correction: f32,
}

impl Config {
    /// The smallest model with the real topology, for tests.
    pub fn tiny() -> Self {
        Self {
            latent_channels: 12,
            smooth_channels: 4,
            id_channels: 8,
            track_channels: 4,
            stem_channels: 16,
            stem_blocks: 1,
            head_blocks: 1,
            dim: 24,
            heads: 2,
            layers: 2,
            ffn_dim: 48,
            time_channels: 16,
            noise_levels: vec![1.0, 0.5],
            ..Self::sketch()
        }
    }

    /// What a new training run is given: the embedded checkpoint's shape, but normed. Twice the convolutions, coverage in 2 px and all
    /// channels of the smooth guide bought nothing that evaluation saw.
    pub fn sketch() -> Self {
        Self {
            cell_px: 8,
            frames_per_latent: 2,
            latent_channels: 96,
            smooth_channels: 12,
            id_channels: 64,
            track_channels: 16,
            stem_channels: 96,
            stem_blocks: 1,
            normed: true,
            head_blocks: 2,
            dim: 192,
            heads: 3,
            layers: 5,
            ffn_dim: 768,
            time_channels: 256,
            chunk_latents: 2,
            sink_chunks: 1,
            window_chunks: 2,
            key_policy: KeyPolicy::SinkRotated,
            noise_levels: vec![1.0],
            correction: 1.0,
            fine_correction: 0.0,
            rim_correction: 0.0,
            covered_correction: 0.0,
        }
    }

    /// Side of a token, px: 2x2 latent cells.
    pub fn token_px(&self) -> usize {
        2 * self.cell_px
    }

    /// Video frames per chunk.
    pub fn chunk_frames(&self) -> usize {
        self.chunk_latents * self.frames_per_latent
    }

    /// Latent frames that the window and the current chunk span together.
    pub fn span_latents(&self) -> usize {
        (self.sink_chunks + self.window_chunks + 1) * self.chunk_latents
    }

    /// Numbers of a patch: pixels of one cell over the frames of one latent, three colours each.
    pub fn patch_len(&self) -> usize {
        self.frames_per_latent * self.cell_px * self.cell_px * 3
    }

    /// Channels of coverage per cell: quarters of a cell at each frame.
    pub fn coverage_channels(&self) -> usize {
        4 * self.frames_per_latent
    }

    /// Channels that the condition gives the model per cell, the track map still raw.
    pub fn condition_channels(&self) -> usize {
        self.latent_channels + self.smooth_channels + self.coverage_channels() + 2 + self.raw_track_channels()
    }

    /// Channels that the network gives per cell: the correction, the lean to the smooth guide, the gate.
    pub fn output_channels(&self) -> usize {
        self.latent_channels + 2
    }

    /// Channels of the track map before its head: ids packed over the frames of a latent.
    pub fn raw_track_channels(&self) -> usize {
        self.id_channels * self.frames_per_latent
    }

    /// Says which field cannot work.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("cell_px", self.cell_px, 64),
            ("frames_per_latent", self.frames_per_latent, 16),
            ("latent_channels", self.latent_channels, 4096),
            ("id_channels", self.id_channels, 4096),
            ("track_channels", self.track_channels, 4096),
            ("stem_channels", self.stem_channels, 8192),
            ("dim", self.dim, 16384),
            ("heads", self.heads, 256),
            ("layers", self.layers, 256),
            ("ffn_dim", self.ffn_dim, 65536),
            ("time_channels", self.time_channels, 4096),
            ("chunk_latents", self.chunk_latents, 64),
        ];
        for (name, value, most) in sizes {
            if value == 0 || value > most {
                return Err(Error::field(name, format!("is {value}; it must be between 1 and {most}")));
            }
        }
        for (name, value, most) in [
            ("stem_blocks", self.stem_blocks, 64),
            ("head_blocks", self.head_blocks, 64),
            ("sink_chunks", self.sink_chunks, 64),
            ("window_chunks", self.window_chunks, 64),
        ] {
            if value > most {
                return Err(Error::field(name, format!("is {value}; it must be at most {most}")));
            }
        }
        if self.cell_px % 2 != 0 {
            return Err(Error::field("cell_px", "must be even"));
        }
        if self.dim % self.heads != 0 || (self.dim / self.heads) % 2 != 0 || self.dim / self.heads < 6 {
            return Err(Error::field(
                "heads",
                format!("{} heads do not split {} numbers into even parts of 6 or more", self.heads, self.dim),
            ));
        }
        if self.time_channels % 2 != 0 || self.id_channels % 2 != 0 {
            return Err(Error::field("time_channels", "and id_channels must be even: they hold cosines and sines"));
        }
        if self.smooth_channels > self.latent_channels {
            return Err(Error::field("smooth_channels", "cannot be more than latent_channels"));
        }
        if self.latent_channels > self.patch_len() {
            return Err(Error::field("latent_channels", format!("cannot be more than the {} numbers of a patch", self.patch_len())));
        }
        let falling = self.noise_levels.windows(2).all(|w| w[1] < w[0]);
        if self.noise_levels.is_empty() || !falling || self.noise_levels.iter().any(|t| !(*t > 0.0 && *t <= 1.0)) {
            return Err(Error::field("noise_levels", "must fall from at most 1 and stay above 0"));
        }
        for (name, share) in [
            ("correction", self.correction),
            ("fine_correction", self.fine_correction),
            ("rim_correction", self.rim_correction),
            ("covered_correction", self.covered_correction),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::field(name, format!("is {share}; it must be between 0 and 1")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn presets_are_valid_and_bad_ones_name_the_field() {
        Config::tiny().validate().unwrap();
        Config::sketch().validate().unwrap();
        let bad = Config { heads: 5, ..Config::sketch() };
        assert!(bad.validate().unwrap_err().to_string().starts_with("heads"));
        let bad = Config { noise_levels: vec![0.5, 1.0], ..Config::sketch() };
        assert!(bad.validate().unwrap_err().to_string().contains("noise_levels"));
        let bad = Config { dim: usize::MAX, ..Config::sketch() };
        assert!(bad.validate().unwrap_err().to_string().starts_with("dim"));
    }
}
