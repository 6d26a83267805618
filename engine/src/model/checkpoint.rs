//! Checkpoints: a folder with `model.ron` (architecture, codec size, licence, origin) and `model.safetensors` (f16 or f32).
//!
//! Invariant: a file with a missing, extra or misshapen tensor is refused with the tensor's name; writing is atomic.
//! Guarded by `tests/tests/bad_input.rs`.

use crate::error::{Error, Result};
use crate::kernels::isa::Precision;
use crate::media::atomic;
use crate::model::codec::PatchCodec;
use crate::model::config::Config;
use crate::model::dit::Dit;
use crate::model::parameters::Parameters;
use candle_core::{DType, Device, Tensor, Var, safetensors};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What `model.ron` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Version of this layout: 1.
    pub version: u32,
    /// Name shown to the user.
    pub name: String,
    /// Licence of the weights.
    pub licence: String,
    /// Where the weights came from: data, training, figures.
    pub origin: String,
    /// The architecture.
    pub config: Config,
}

/// A model ready to run.
pub struct Checkpoint {
    /// What it is.
    pub card: Card,
    /// Pixels to latents and back.
    pub codec: PatchCodec,
    /// The network.
    pub dit: Dit,
    /// Numbers in the network.
    pub parameters: usize,
    /// Instruction set that sessions compute with; none: the candle graph.
    pub precision: Option<Precision>,
}

const CODEC: [&str; 3] = ["codec.mean", "codec.basis", "codec.scale"];
/// A model.ron is a page of text; anything larger is not one.
const MOST_CARD_BYTES: u64 = 1 << 20;

/// The embedded checkpoint, Sketch.
const SKETCH: (&str, &[u8]) =
    (include_str!("../../../assets/sketch/model.ron"), include_bytes!("../../../assets/sketch/model.safetensors"));

impl Checkpoint {
    /// The checkpoint that is part of the program.
    pub fn sketch(device: &Device) -> Result<Self> {
        let name = Path::new("sketch (embedded)");
        let tensors = safetensors::load_buffer(SKETCH.1, &Device::Cpu).map_err(|e| Error::file(name, e))?;
        Ok(Self::assemble(parse_card(name, SKETCH.0)?, name, tensors, device, false)?.0)
    }

    /// The checkpoint in the folder `path`.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        Ok(Self::load_trainable(path, device, false)?.0)
    }

    /// As [`Checkpoint::load`], with the parameters to train on when `trainable`.
    pub fn load_trainable(path: &Path, device: &Device, trainable: bool) -> Result<(Self, BTreeMap<String, Var>)> {
        let card_path = path.join("model.ron");
        let size = std::fs::metadata(&card_path)
            .map_err(|e| Error::file(&card_path, format!("{e}; a model folder holds model.ron and model.safetensors")))?;
        if size.len() > MOST_CARD_BYTES {
            return Err(Error::file(&card_path, "is too large to be a model card"));
        }
        let text = std::fs::read_to_string(&card_path).map_err(|e| Error::file(&card_path, e))?;
        let card = parse_card(&card_path, &text)?;
        let weights = path.join("model.safetensors");
        let bytes = std::fs::read(&weights).map_err(|e| Error::file(&weights, e))?;
        let tensors = safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|e| Error::file(&weights, format!("is not a whole safetensors file ({e}); fetch it again")))?;
        Self::assemble(card, &weights, tensors, device, trainable)
    }

    /// A model of these parameters, computed by the candle graph on the CPU: a network in training.
    pub fn in_training(card: Card, codec: PatchCodec, parameters: BTreeMap<String, Tensor>) -> Result<Self> {
        let name = Path::new("network in training");
        let count = parameters.values().map(Tensor::elem_count).sum();
        let parameters = Parameters::loaded(name, parameters.into_iter().collect(), &Device::Cpu, false);
        let dit = Dit::new(&card.config, &parameters)?;
        parameters.finish()?;
        Ok(Self { card, codec, dit, parameters: count, precision: None })
    }

    fn assemble(
        card: Card,
        path: &Path,
        mut tensors: HashMap<String, Tensor>,
        device: &Device,
        trainable: bool,
    ) -> Result<(Self, BTreeMap<String, Var>)> {
        let config = &card.config;
        let n = config.patch_len();
        let shapes = [vec![n], vec![config.latent_channels, n], vec![config.latent_channels]];
        let mut parts = Vec::new();
        for (name, shape) in CODEC.iter().zip(shapes) {
            let tensor = tensors.remove(*name).ok_or_else(|| Error::file(path, format!("tensor `{name}` is missing")))?;
            if tensor.dims() != shape {
                return Err(Error::file(path, format!("tensor `{name}` has shape {:?}, but model.ron asks for {shape:?}", tensor.dims())));
            }
            parts.push(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
        }
        let [mean, basis, scale] = <[Vec<f32>; 3]>::try_from(parts).map_err(|_| Error::file(path, "has no codec"))?;
        let codec = PatchCodec::new(config.cell_px, config.frames_per_latent, mean, basis, scale);
        let count = tensors.values().map(Tensor::elem_count).sum();
        let parameters = Parameters::loaded(path, tensors, device, trainable);
        let dit = Dit::new(config, &parameters)?;
        let variables = parameters.finish()?;
        let precision = device.is_cpu().then(Precision::detect);
        Ok((Self { card, codec, dit, parameters: count, precision }, variables))
    }
}

/// Writes a checkpoint folder; `f16` halves it for shipping.
pub fn save(path: &Path, card: &Card, codec: &PatchCodec, parameters: &BTreeMap<String, Tensor>, f16: bool) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::file(path, e))?;
    let (n, c) = (codec.patch_len(), codec.channels());
    let cpu = &Device::Cpu;
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    tensors.insert(CODEC[0].into(), Tensor::from_slice(&codec.mean, n, cpu)?);
    tensors.insert(CODEC[1].into(), Tensor::from_slice(&codec.basis, (c, n), cpu)?);
    tensors.insert(CODEC[2].into(), Tensor::from_slice(&codec.scale, c, cpu)?);
    for (name, tensor) in parameters {
        tensors.insert(name.clone(), tensor.to_device(cpu)?);
    }
    if f16 {
        for tensor in tensors.values_mut() {
            *tensor = tensor.to_dtype(DType::F16)?;
        }
    }
    let weights = path.join("model.safetensors");
    let text = ron::ser::to_string_pretty(card, ron::ser::PrettyConfig::default()).map_err(|e| Error::file(path, e))?;
    write_tensors(&weights, &tensors)?;
    atomic::write_atomic(&path.join("model.ron"), |w| w.write_all(text.as_bytes()))
}

/// Writes a safetensors file, whole or not at all, in the order of the names.
pub fn write_tensors(path: &Path, tensors: &HashMap<String, Tensor>) -> Result<()> {
    let mut list: Vec<_> = tensors.iter().collect();
    list.sort_by_key(|(name, _)| name.as_str());
    let bytes = ::safetensors::serialize(list, None).map_err(|e| Error::file(path, e))?;
    atomic::write_atomic(path, |w| w.write_all(&bytes))
}

fn parse_card(path: &Path, text: &str) -> Result<Card> {
    let card: Card = ron::from_str(text).map_err(|e| Error::file(path, format!("line {e}; see the model card's description")))?;
    if card.version != 1 {
        return Err(Error::file(path, format!("version {} is not known; this program reads version 1", card.version)));
    }
    card.config.validate().map_err(|e| Error::file(path, format!("config.{e}")))?;
    Ok(card)
}
