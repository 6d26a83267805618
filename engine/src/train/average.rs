//! The mean of models that were trained on from one: where each run ended is chance, and the mean of their weights lies nearer to what all
//! of them circle (Wortsman et al. 2022, Model soups).
//!
//! Invariant: the mean of one model is that model; what does not fit the first is refused by name. Guarded by the test below.

use crate::error::{Error, Result};
use crate::model::checkpoint::{self, Checkpoint};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Writes the mean of the weights in `folders` to the model folder `out`, in half precision; all else is the first one's.
///
/// # Errors
/// No folder, one that is no model, one of another architecture, schedule or codec than the first; a folder that cannot be written.
pub fn average(folders: &[PathBuf], out: &Path) -> Result<()> {
    let (first, others) = folders.split_first().ok_or_else(|| Error::field("models", "are none; name at least one model folder"))?;
    let weights = |folder: &Path| -> Result<_> {
        let (Checkpoint { card, codec, .. }, variables) = Checkpoint::load_trainable(folder, &Device::Cpu, true)?;
        let tensors = variables.into_iter().map(|(name, var)| (name, var.as_detached_tensor()));
        Ok((card, codec, tensors.collect::<BTreeMap<String, Tensor>>()))
    };
    let (mut card, codec, mut sums) = weights(first)?;
    for folder in others {
        let (other, other_codec, tensors) = weights(folder)?;
        if other.config != card.config || other_codec != codec {
            let why =
                format!("is of another architecture, schedule or codec than {}; only runs that started from one fit", first.display());
            return Err(Error::file(folder, why));
        }
        for (sum, tensor) in sums.values_mut().zip(tensors.values()) {
            *sum = (&*sum + tensor)?;
        }
    }
    for sum in sums.values_mut() {
        *sum = (&*sum / folders.len() as f64)?;
    }
    if !others.is_empty() {
        card.origin = format!("The mean of {} models of `kinebrush train`, the first: {}", folders.len(), card.origin);
    }
    checkpoint::save(out, &card, &codec, &sums, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::codec::PatchCodec;
    use crate::model::config::Config;
    use crate::train::trainee::Trainee;

    #[test]
    fn the_mean_lies_between_and_what_does_not_fit_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let model = |name: &str, config: Config, seed: u64, scale: f32| {
            let (channels, len) = (config.latent_channels, config.patch_len());
            let basis = (0..channels * len).map(|i| f32::from(u8::from(i / len == i % len))).collect();
            let codec = PatchCodec::new(config.cell_px, config.frames_per_latent, vec![0.5; len], basis, vec![scale; channels]);
            let trainee = Trainee::fresh(&config, codec, seed).unwrap();
            let path = root.path().join(name);
            trainee.export(&path, &trainee.card(name, "here".into())).unwrap();
            path
        };
        let [a, b] = [("a", 1), ("b", 2)].map(|(name, seed)| model(name, Config::tiny(), seed, 1.0));
        let out = root.path().join("out");
        let read = |path: &Path| {
            let (checkpoint, variables) = Checkpoint::load_trainable(path, &Device::Cpu, true).unwrap();
            let values: Vec<f32> = variables.values().flat_map(|v| v.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect();
            (checkpoint.card, values)
        };
        let ((card, of_a), (_, of_b)) = (read(&a), read(&b));
        average(std::slice::from_ref(&a), &out).unwrap();
        assert_eq!(read(&out), (card, of_a.clone()));
        average(&[a.clone(), b.clone()], &out).unwrap();
        let (card, mean) = read(&out);
        assert!(card.name == "a" && card.origin.contains("2 models"));
        assert!(of_a != of_b && mean.len() == of_a.len());
        assert!(mean.iter().zip(of_a.iter().zip(&of_b)).all(|(mean, (a, b))| (mean - 0.5 * (a + b)).abs() <= 1e-3 * (a.abs() + b.abs())));
        let [codec, config] = [("codec", 1, 2.0), ("config", 0, 1.0)]
            .map(|(name, sinks, scale)| model(name, Config { sink_chunks: sinks, ..Config::tiny() }, 1, scale));
        for other in [codec, config] {
            let why = average(&[a.clone(), other.clone()], &out).unwrap_err().to_string();
            assert!(why.contains(&other.display().to_string()) && why.contains("architecture"), "{why}");
        }
        assert!(average(&[], &out).is_err() && average(&[a, root.path().join("none")], &out).is_err());
        assert!(read(&out).1 == mean, "a refused mean left something");
    }
}
