//! A network in training: parameters, optimizer and codec, on disk and in memory.
//!
//! Invariant: what is on disk is always a whole state; a network that is taken up again goes on at the very step. Guarded by the tests
//! of `trainer` and `recipe`.

use crate::error::Result;
use crate::model::checkpoint::{self, Card, Checkpoint};
use crate::model::codec::PatchCodec;
use crate::model::config::Config;
use crate::model::dit::Dit;
use crate::model::parameters::Parameters;
use crate::train::example::Example;
use crate::train::network::{Network, Sight};
use crate::train::optimizer::{AdamW, Rates};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Steps over which the learning rate rises.
const WARM_UP_STEPS: f64 = 200.0;
/// Share of a run over which the learning rate falls.
const COOL_DOWN: f64 = 0.4;

/// A network in training.
pub struct Trainee {
    /// Its architecture.
    pub config: Config,
    /// Pixels to latents and back.
    pub codec: PatchCodec,
    /// Its gradients.
    pub network: Network,
    /// Its parameters.
    pub optimizer: AdamW,
    /// Time trained, over every resumption.
    pub seconds: f64,
    /// Best figure of an evaluation so far.
    pub best: Option<f64>,
    decoder: Vec<f32>,
}

/// The step size at this many steps, `progress` (0..1) of the run being over: up from nothing, and down at the end.
pub fn learning_rate(most: f64, steps: u64, progress: f64) -> f64 {
    let warm_up = (steps as f64 / WARM_UP_STEPS).clamp(0.01, 1.0);
    most * warm_up * ((1.0 - progress) / COOL_DOWN).clamp(0.02, 1.0)
}

/// The rates of a step.
pub fn rates(learning_rate: f64) -> Rates {
    Rates { learning_rate, weight_decay: 0.01, clip: 1.0, ema: 0.998 }
}

impl Trainee {
    /// A network with fresh parameters.
    pub fn fresh(config: &Config, codec: PatchCodec, seed: u64) -> Result<Self> {
        let parameters = Parameters::seeded(seed, &Device::Cpu);
        Dit::new(config, &parameters)?;
        Self::of(config.clone(), codec, AdamW::new(parameters.finish()?)?)
    }

    /// A network that starts where another one's average is, with a fresh optimizer.
    pub fn like(other: &Self, config: Config) -> Result<Self> {
        let parameters = Parameters::loaded(Path::new("network in training"), other.averaged()?.into_iter().collect(), &Device::Cpu, true);
        Dit::new(&config, &parameters)?;
        Self::of(config, other.codec.clone(), AdamW::new(parameters.finish()?)?)
    }

    /// A network that starts as the checkpoint in `folder`, with a fresh optimizer.
    pub fn from_checkpoint(folder: &Path) -> Result<Self> {
        let (checkpoint, variables) = Checkpoint::load_trainable(folder, &Device::Cpu, true)?;
        Self::of(checkpoint.dit.config, checkpoint.codec, AdamW::new(variables)?)
    }

    fn of(config: Config, codec: PatchCodec, optimizer: AdamW) -> Result<Self> {
        let (decoder, network) = (codec.decoder().to_vec(), Network::new(&config, &optimizer)?);
        Ok(Self { config, codec, network, optimizer, seconds: 0.0, best: None, decoder })
    }

    /// The network in the folder `state`, if there is one.
    pub fn open(state: &Path) -> Result<Option<Self>> {
        if !state.join("model.ron").exists() {
            return Ok(None);
        }
        let mut trainee = Self::from_checkpoint(state)?;
        let optimizer = state.join("optimizer.safetensors");
        if optimizer.exists() {
            let [seconds, best] = trainee.optimizer.load(&optimizer, ["seconds", "best"])?;
            (trainee.seconds, trainee.best) = (seconds.unwrap_or(0.0), best);
        }
        Ok(Some(trainee))
    }

    /// Writes everything to the folder `state`.
    pub fn save(&self, state: &Path, card: &Card) -> Result<()> {
        checkpoint::save(state, card, &self.codec, &self.averaged()?, false)?;
        let numbers = std::iter::once(("seconds", self.seconds)).chain(self.best.map(|best| ("best", best)));
        self.optimizer.save(&state.join("optimizer.safetensors"), numbers)
    }

    /// Writes what is shipped, the average in half precision, to the folder `path`.
    pub fn export(&self, path: &Path, card: &Card) -> Result<()> {
        checkpoint::save(path, card, &self.codec, &self.averaged()?, true)
    }

    /// One step towards the truth of a batch; returns the loss.
    pub fn step(&mut self, batch: &[Example], sight: Sight, rates: Rates) -> Result<f32> {
        let loss = self.network.step(self.optimizer.values(), &self.decoder, batch, sight)?;
        self.optimizer.step(self.network.gradients(), rates)?;
        Ok(loss)
    }

    /// The averaged parameters.
    pub fn averaged(&self) -> Result<BTreeMap<String, Tensor>> {
        self.optimizer.averaged()
    }

    /// A card that says where the network stands.
    pub fn card(&self, name: &str, origin: String) -> Card {
        Card {
            version: 1,
            name: name.into(),
            licence: "MIT OR Apache-2.0; see MODEL_CARD.md beside this file for the training pictures and their licences".into(),
            origin,
            config: self.config.clone(),
        }
    }
}
