//! How many floating-point operations a pass takes: what a measured time is compared with the machine's ceiling by.
//!
//! Invariant: counts the multiply-adds (as two) of every matrix product and convolution as written in [`crate::model::dit`], and nothing
//! else; the window is full. Guarded by the test below.

use crate::model::config::Config;

/// Floating-point operations of the two kinds of pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// A pass that gives an output.
    pub denoise: f64,
    /// A pass for keys and values alone.
    pub commit: f64,
}

impl Cost {
    /// Of a chunk of `rows` x `columns` cells.
    pub fn of(config: &Config, rows: usize, columns: usize) -> Self {
        let cells = (config.chunk_latents * rows * columns) as f64;
        let tokens = cells / 4.0;
        let keys = tokens * (config.sink_chunks + config.window_chunks + 1) as f64;
        let [c, d, f] = [config.stem_channels, config.dim, config.ffn_dim].map(|v| v as f64);
        let raw = config.raw_track_channels() as f64;
        let tracks = config.track_channels as f64;
        let input = (config.latent_channels + config.condition_channels()) as f64 - raw + tracks;
        let convolutions = |blocks: usize| cells * blocks as f64 * 2.0 * 9.0 * c * c;
        let before = cells * (raw * tracks + input * c) + convolutions(config.stem_blocks) + tokens * 4.0 * c * d;
        let (projections, rest) = (tokens * 3.0 * d * d, tokens * (d * d + 2.0 * d * f + 2.0 * keys * d));
        let head = tokens * d * 4.0 * c + convolutions(config.head_blocks) + cells * c * config.output_channels() as f64;
        let layers = config.layers as f64;
        Self {
            denoise: 2.0 * (before + layers * (projections + rest) + head),
            commit: 2.0 * (before + layers * projections + (layers - 1.0) * rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_of_one_token_by_hand() {
        let config = Config { layers: 1, sink_chunks: 0, window_chunks: 0, chunk_latents: 1, ..Config::tiny() };
        let (c, d, f) = (16.0, 24.0, 48.0);
        let (raw, tracks) = (16.0, 4.0);
        let input = 12.0 + (12.0 + 4.0 + 8.0 + 2.0) + tracks;
        let before = 4.0 * (raw * tracks + input * c) + 4.0 * 18.0 * c * c + 4.0 * c * d;
        let block = 4.0 * d * d + 2.0 * d * f + 2.0 * d;
        let head = d * 4.0 * c + 4.0 * 18.0 * c * c + 4.0 * c * 14.0;
        let cost = Cost::of(&config, 2, 2);
        assert_eq!(cost, Cost { denoise: 2.0 * (before + block + head), commit: 2.0 * (before + 3.0 * d * d) });
    }
}
