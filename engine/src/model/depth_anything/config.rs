//! What `config.json` of a Depth Anything checkpoint says; the defaults are those of transformers.
//!
//! Invariant: every number is in a range that a network can have, so nothing is sized by a hostile file.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};

/// A config.json is a page of text; anything larger is not one.
const MOST_BYTES: u64 = 1 << 20;
/// Stages between backbone and head.
pub(super) const STAGES: usize = 4;

/// The sizes of a network.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    model_type: String,
    pub(super) backbone_config: Backbone,
    #[serde(default = "reassemble_factors")]
    reassemble_factors: Vec<f32>,
    #[serde(default = "neck_hidden_sizes")]
    pub(super) neck_hidden_sizes: Vec<usize>,
    #[serde(default = "fusion_hidden_size")]
    pub(super) fusion_hidden_size: usize,
    #[serde(default = "head_hidden_size")]
    pub(super) head_hidden_size: usize,
    #[serde(default = "relative")]
    depth_estimation_type: String,
    #[serde(default)]
    max_depth: Option<f32>,
}

/// The vision transformer, DINOv2 (Oquab et al. 2023, arXiv 2304.07193).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Backbone {
    #[serde(default = "hidden_size")]
    pub hidden_size: usize,
    #[serde(default = "twelve")]
    pub num_hidden_layers: usize,
    #[serde(default = "twelve")]
    pub num_attention_heads: usize,
    #[serde(default = "mlp_ratio")]
    pub mlp_ratio: usize,
    #[serde(default = "image_size")]
    pub image_size: usize,
    #[serde(default = "patch_size")]
    pub patch_size: usize,
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    #[serde(default)]
    use_swiglu_ffn: bool,
    pub out_indices: Vec<usize>,
}

/// What the network's numbers are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimates {
    /// Inverse depth, of no unit.
    Nearness,
    /// Depth up to `most`.
    Metres {
        /// The largest answer.
        most: f32,
    },
}

fn reassemble_factors() -> Vec<f32> {
    vec![4.0, 2.0, 1.0, 0.5]
}
fn neck_hidden_sizes() -> Vec<usize> {
    vec![48, 96, 192, 384]
}
fn fusion_hidden_size() -> usize {
    64
}
fn head_hidden_size() -> usize {
    32
}
fn relative() -> String {
    "relative".into()
}
fn hidden_size() -> usize {
    768
}
fn twelve() -> usize {
    12
}
fn mlp_ratio() -> usize {
    4
}
fn image_size() -> usize {
    518
}
fn patch_size() -> usize {
    14
}
fn layer_norm_eps() -> f64 {
    1e-6
}

impl Config {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// One line that names the file and what in it is missing or cannot be.
    pub fn load(path: &Path) -> Result<Self> {
        let missing = |e: std::io::Error| {
            let what = "a depth folder holds config.json and model.safetensors of a Depth Anything V2 checkpoint for transformers";
            Error::file(path, format!("cannot be read ({e}); {what}"))
        };
        if std::fs::metadata(path).map_err(missing)?.len() > MOST_BYTES {
            return Err(Error::file(path, "is too large to be a model's description"));
        }
        let text = std::fs::read_to_string(path).map_err(missing)?;
        let config: Self =
            serde_json::from_str(&text).map_err(|e| Error::file(path, format!("is no description of a depth network ({e})")))?;
        config.check().map_err(|what| Error::file(path, what))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.model_type != "depth_anything" {
            return Err(format!("describes a network of kind `{}`; choose a Depth Anything V2 checkpoint", self.model_type));
        }
        let backbone = &self.backbone_config;
        let numbers = [
            ("backbone_config.hidden_size", backbone.hidden_size, 4096),
            ("backbone_config.num_hidden_layers", backbone.num_hidden_layers, 64),
            ("backbone_config.num_attention_heads", backbone.num_attention_heads, 64),
            ("backbone_config.mlp_ratio", backbone.mlp_ratio, 16),
            ("backbone_config.image_size", backbone.image_size, 2048),
            ("backbone_config.patch_size", backbone.patch_size, 64),
            ("fusion_hidden_size", self.fusion_hidden_size, 4096),
            ("head_hidden_size", self.head_hidden_size, 4096),
        ];
        let sizes = self.neck_hidden_sizes.iter().map(|size| ("neck_hidden_sizes", *size, 4096));
        for (name, number, most) in numbers.into_iter().chain(sizes) {
            if !(1..=most).contains(&number) {
                return Err(format!("{name} is {number}; it must lie between 1 and {most}"));
            }
        }
        let rising = backbone.out_indices.windows(2).all(|pair| pair[0] < pair[1]);
        let within = backbone.out_indices.iter().all(|index| (1..=backbone.num_hidden_layers).contains(index));
        let wrong = [
            (backbone.hidden_size % backbone.num_attention_heads != 0, "its heads do not divide backbone_config.hidden_size"),
            (backbone.image_size < backbone.patch_size, "its pictures are smaller than a patch"),
            (backbone.use_swiglu_ffn, "backbone_config.use_swiglu_ffn is not supported; choose a small, base or large checkpoint"),
            (self.neck_hidden_sizes.len() != STAGES, "neck_hidden_sizes must have four entries"),
            (backbone.out_indices.len() != STAGES || !rising || !within, "backbone_config.out_indices must name four layers, rising"),
            (self.reassemble_factors != reassemble_factors(), "reassemble_factors other than 4, 2, 1 and 0.5 are not supported"),
            (!(1e-12..1.0).contains(&backbone.layer_norm_eps), "backbone_config.layer_norm_eps is no small number"),
            (!["relative", "metric"].contains(&&*self.depth_estimation_type), "depth_estimation_type must be relative or metric"),
            (self.max_depth.is_some_and(|most| !(most > 0.0 && most < 1e6)), "max_depth must be a positive number"),
        ];
        wrong.iter().find(|(is, _)| *is).map_or(Ok(()), |(_, what)| Err((*what).to_owned()))
    }

    /// What the network's numbers are.
    pub fn estimates(&self) -> Estimates {
        match &*self.depth_estimation_type {
            "metric" => Estimates::Metres { most: self.max_depth.unwrap_or(1.0) },
            _ => Estimates::Nearness,
        }
    }

    /// Sides of the pictures it takes are multiples of this, px.
    pub fn patch_px(&self) -> usize {
        self.backbone_config.patch_size
    }
}
