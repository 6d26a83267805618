//! The network: DINOv2's transformer, four of its layers as maps of falling size, fused from the coarsest up (DPT, Ranftl et al. 2021,
//! arXiv 2103.13413).

use candle_core::{D, Tensor};

use super::config::{Backbone, Config, Estimates, STAGES};
use super::resample::{Mode, resample};
use crate::error::Result;
use crate::model::ops::{Visibility, attention, linear};
use crate::model::parameters::{Init, Parameters};

/// What checkpoints are asked for; nothing is ever started from this.
const FROM_FILE: Init = Init::Zeros;

/// A fully connected layer.
struct Linear(Tensor, Tensor);

impl Linear {
    fn new(p: &Parameters, name: &str, from: usize, to: usize) -> Result<Self> {
        let (weight, bias) = p.linear(name, from, to, FROM_FILE)?;
        Ok(Self(weight, bias))
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        linear(x, &self.0, &self.1)
    }
}

/// A square convolution, padded so that stride 1 keeps the size.
struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    padding: usize,
    stride: usize,
}

impl Conv {
    fn new(p: &Parameters, name: &str, from: usize, to: usize, side: usize, bias: bool) -> Result<Self> {
        let at = p.pp(name);
        let weight = at.get("weight", &[to, from, side, side], FROM_FILE)?;
        let bias = bias.then(|| at.get("bias", &[to], FROM_FILE)).transpose()?;
        Ok(Self { weight, bias, padding: side / 2, stride: 1 })
    }

    /// `x` (c, h, w).
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let out = x.unsqueeze(0)?.conv2d(&self.weight, self.padding, self.stride, 1, 1)?.squeeze(0)?;
        self.bias.as_ref().map_or(Ok(out.clone()), |bias| out.broadcast_add(&bias.reshape(((), 1, 1))?))
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    fn new(p: &Parameters, name: &str, backbone: &Backbone) -> Result<Self> {
        let at = p.pp(name);
        let get = |name| at.get(name, &[backbone.hidden_size], FROM_FILE);
        Ok(Self { weight: get("weight")?, bias: get("bias")?, epsilon: backbone.layer_norm_eps })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        centred.broadcast_div(&(variance + self.epsilon)?.sqrt()?)?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// A pre-norm transformer block with layer scale.
struct Block {
    norms: [Norm; 2],
    scales: [Tensor; 2],
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
    heads: usize,
}

impl Block {
    fn new(p: &Parameters, backbone: &Backbone) -> Result<Self> {
        let d = backbone.hidden_size;
        let (inner, own) = (p.pp("attention.attention"), |name: &str, from, to| Linear::new(p, name, from, to));
        let scale = |name: &str| p.pp(name).get("lambda1", &[d], FROM_FILE);
        Ok(Self {
            norms: [Norm::new(p, "norm1", backbone)?, Norm::new(p, "norm2", backbone)?],
            scales: [scale("layer_scale1")?, scale("layer_scale2")?],
            query: Linear::new(&inner, "query", d, d)?,
            key: Linear::new(&inner, "key", d, d)?,
            value: Linear::new(&inner, "value", d, d)?,
            out: own("attention.output.dense", d, d)?,
            up: own("mlp.fc1", d, d * backbone.mlp_ratio)?,
            down: own("mlp.fc2", d * backbone.mlp_ratio, d)?,
            heads: backbone.num_attention_heads,
        })
    }

    /// `x` (1, tokens, d).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norms[0].forward(x)?;
        let (q, k, v) = (self.query.forward(&normed)?, self.key.forward(&normed)?, self.value.forward(&normed)?);
        let seen = self.out.forward(&attention(&q, &k, &v, self.heads, Visibility::All)?)?;
        let x = (x + seen.broadcast_mul(&self.scales[0])?)?;
        let wide = self.up.forward(&self.norms[1].forward(&x)?)?.gelu_erf()?;
        Ok((&x + self.down.forward(&wide)?.broadcast_mul(&self.scales[1])?)?)
    }
}

/// How a stage's map changes its size.
enum Resize {
    /// Transposed convolution with this stride.
    Larger(Tensor, Tensor, usize),
    Same,
    Smaller(Conv),
}

/// A layer of the transformer as a map.
struct Stage {
    projection: Conv,
    resize: Resize,
    narrow: Conv,
}

impl Stage {
    fn new(p: &Parameters, config: &Config, i: usize) -> Result<Self> {
        let (at, c) = (p.pp("reassemble_stage.layers").pp(i), config.neck_hidden_sizes[i]);
        let resize = match i {
            0 | 1 => {
                let (at, stride) = (at.pp("resize"), 4 >> i);
                Resize::Larger(at.get("weight", &[c, c, stride, stride], FROM_FILE)?, at.get("bias", &[c], FROM_FILE)?, stride)
            }
            2 => Resize::Same,
            _ => Resize::Smaller(Conv { stride: 2, ..Conv::new(&at, "resize", c, c, 3, true)? }),
        };
        let narrow = Conv::new(&p.pp("convs"), &i.to_string(), c, config.fusion_hidden_size, 3, false)?;
        Ok(Self { projection: Conv::new(&at, "projection", config.backbone_config.hidden_size, c, 1, true)?, resize, narrow })
    }

    fn forward(&self, map: &Tensor) -> candle_core::Result<Tensor> {
        let map = self.projection.forward(map)?;
        let map = match &self.resize {
            Resize::Larger(weight, bias, stride) => {
                let larger = map.unsqueeze(0)?.conv_transpose2d(weight, 0, 0, *stride, 1)?.squeeze(0)?;
                larger.broadcast_add(&bias.reshape(((), 1, 1))?)?
            }
            Resize::Same => map,
            Resize::Smaller(conv) => conv.forward(&map)?,
        };
        self.narrow.forward(&map)
    }
}

/// A step of the fusion from coarse to fine.
struct Fusion {
    /// Of the finer map that joins, and of the sum.
    residuals: [[Conv; 2]; 2],
    projection: Conv,
}

impl Fusion {
    fn new(p: &Parameters, width: usize) -> Result<Self> {
        let residual = |name: &str| -> Result<[Conv; 2]> {
            let at = p.pp(name);
            Ok([Conv::new(&at, "convolution1", width, width, 3, true)?, Conv::new(&at, "convolution2", width, width, 3, true)?])
        };
        Ok(Self {
            residuals: [residual("residual_layer1")?, residual("residual_layer2")?],
            projection: Conv::new(p, "projection", width, width, 1, true)?,
        })
    }

    fn residual(convs: &[Conv; 2], x: &Tensor) -> candle_core::Result<Tensor> {
        x + convs[1].forward(&convs[0].forward(&x.relu()?)?.relu()?)?
    }

    /// `fused` with `finer`, at `rows` x `columns`.
    fn forward(&self, fused: Option<&Tensor>, finer: &Tensor, rows: usize, columns: usize) -> candle_core::Result<Tensor> {
        let sum = match fused {
            Some(fused) => (fused + Self::residual(&self.residuals[0], finer)?)?,
            None => finer.clone(),
        };
        let sum = Self::residual(&self.residuals[1], &sum)?;
        self.projection.forward(&resample(&sum, rows, columns, Mode::BilinearCorners)?)
    }
}

/// Depth Anything V2.
pub struct Network {
    config: Config,
    class_token: Tensor,
    positions: Tensor,
    patches: Conv,
    blocks: Vec<Block>,
    norm: Norm,
    stages: Vec<Stage>,
    fusions: Vec<Fusion>,
    head: [Conv; 3],
}

impl Network {
    /// The network of `config` with the tensors of a checkpoint.
    ///
    /// # Errors
    /// Names the tensor that is missing, misshapen, or not part of the network.
    pub fn new(config: Config, p: &Parameters) -> Result<Self> {
        let backbone = &config.backbone_config;
        let (d, side) = (backbone.hidden_size, backbone.image_size / backbone.patch_size);
        let (trunk, neck, head) = (p.pp("backbone"), p.pp("neck"), p.pp("head"));
        let embeddings = trunk.pp("embeddings");
        let patch = backbone.patch_size;
        // Part of every checkpoint; only training masks anything.
        embeddings.get("mask_token", &[1, d], FROM_FILE)?;
        let patches = Conv::new(&embeddings, "patch_embeddings.projection", 3, d, patch, true)?;
        let width = config.fusion_hidden_size;
        let network = Self {
            class_token: embeddings.get("cls_token", &[1, 1, d], FROM_FILE)?,
            positions: embeddings.get("position_embeddings", &[1, side * side + 1, d], FROM_FILE)?,
            patches: Conv { padding: 0, stride: patch, ..patches },
            blocks: (0..backbone.num_hidden_layers)
                .map(|i| Block::new(&trunk.pp("encoder.layer").pp(i), backbone))
                .collect::<Result<_>>()?,
            norm: Norm::new(&trunk, "layernorm", backbone)?,
            stages: (0..STAGES).map(|i| Stage::new(&neck, &config, i)).collect::<Result<_>>()?,
            fusions: (0..STAGES).map(|i| Fusion::new(&neck.pp("fusion_stage.layers").pp(i), width)).collect::<Result<_>>()?,
            head: [
                Conv::new(&head, "conv1", width, width / 2, 3, true)?,
                Conv::new(&head, "conv2", width / 2, config.head_hidden_size, 3, true)?,
                Conv::new(&head, "conv3", config.head_hidden_size, 1, 1, true)?,
            ],
            config,
        };
        p.clone().finish()?;
        Ok(network)
    }

    /// Its sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The transformer's layers that the head reads, normed, without the class token: four of (d, rows, columns). `pixels` is
    /// (3, height, width), both whole patches.
    pub fn features(&self, pixels: &Tensor) -> Result<Vec<Tensor>> {
        let backbone = &self.config.backbone_config;
        let (d, patch) = (backbone.hidden_size, backbone.patch_size);
        let (_, height, width) = pixels.dims3()?;
        let (rows, columns) = (height / patch, width / patch);
        let patches = self.patches.forward(pixels)?.reshape((1, d, rows * columns))?.transpose(1, 2)?;
        let x = Tensor::cat(&[&self.class_token, &patches.contiguous()?], 1)?;
        let mut x = (x + self.positions(rows, columns)?)?;
        let mut features = Vec::with_capacity(STAGES);
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x)?;
            if backbone.out_indices.contains(&(i + 1)) {
                let map = self.norm.forward(&x)?.narrow(1, 1, rows * columns)?.transpose(1, 2)?;
                features.push(map.contiguous()?.reshape((d, rows, columns))?);
            }
        }
        Ok(features)
    }

    /// What `pixels` (3, height, width) show: (height, width), see [`Config::estimates`].
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let features = self.features(pixels)?;
        let maps: Vec<Tensor> =
            self.stages.iter().zip(&features).map(|(stage, map)| stage.forward(map)).collect::<candle_core::Result<_>>()?;
        // From the coarsest map up, each step at the size of the next finer one, the last at twice the finest's.
        let mut fused: Option<Tensor> = None;
        for (step, i) in (0..STAGES).rev().enumerate() {
            let (rows, columns) = match i.checked_sub(1) {
                Some(finer) => (maps[finer].dim(1)?, maps[finer].dim(2)?),
                None => (2 * maps[i].dim(1)?, 2 * maps[i].dim(2)?),
            };
            fused = Some(self.fusions[step].forward(fused.as_ref(), &maps[i], rows, columns)?);
        }
        let (_, height, width) = pixels.dims3()?;
        let narrow = self.head[0].forward(fused.as_ref().unwrap_or(&maps[0]))?;
        let full = resample(&narrow, height, width, Mode::BilinearCorners)?;
        let depth = self.head[2].forward(&self.head[1].forward(&full)?.relu()?)?.squeeze(0)?;
        Ok(match self.config.estimates() {
            Estimates::Nearness => depth.relu()?,
            Estimates::Metres { most } => (candle_nn::ops::sigmoid(&depth)? * f64::from(most))?,
        })
    }

    /// The positions' embeddings for `rows` x `columns` patches.
    fn positions(&self, rows: usize, columns: usize) -> candle_core::Result<Tensor> {
        let (_, count, d) = self.positions.dims3()?;
        let side = self.config.backbone_config.image_size / self.config.backbone_config.patch_size;
        let grid = self.positions.narrow(1, 1, count - 1)?.transpose(1, 2)?.contiguous()?.reshape((d, side, side))?;
        let grid = resample(&grid, rows, columns, Mode::Bicubic)?.reshape((1, d, rows * columns))?.transpose(1, 2)?;
        Tensor::cat(&[&self.positions.narrow(1, 0, 1)?, &grid.contiguous()?], 1)
    }
}
