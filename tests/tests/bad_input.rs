//! Checkpoints that are broken, foreign or tampered with: each is refused in one line that names the file and the tensor or field.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, safetensors};
use kinebrush_engine::model::checkpoint::{Card, Checkpoint, save};
use kinebrush_engine::model::codec::PatchCodec;
use kinebrush_engine::model::config::Config;
use kinebrush_engine::model::dit::Dit;
use kinebrush_engine::model::parameters::Parameters;
use std::collections::HashMap;
use std::path::Path;

/// Writes a whole tiny checkpoint.
fn checkpoint(folder: &Path) {
    let config = Config::tiny();
    let parameters = Parameters::seeded(1, &Device::Cpu);
    Dit::new(&config, &parameters).unwrap();
    let tensors = parameters.finish().unwrap().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
    let (n, c) = (config.patch_len(), config.latent_channels);
    let basis = (0..c * n).map(|i| if i % n == i / n { 1.0 } else { 0.0 }).collect();
    let codec = PatchCodec::new(config.cell_px, config.frames_per_latent, vec![0.0; n], basis, vec![1.0; c]);
    let card = Card { version: 1, name: "tiny".into(), licence: "MIT".into(), origin: "a test".into(), config };
    save(folder, &card, &codec, &tensors, true).unwrap();
}

/// The message with which a checkpoint is refused after `spoil` had its way with the folder.
fn refused(spoil: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    assert!(Checkpoint::load(folder.path(), &Device::Cpu).is_ok());
    spoil(folder.path());
    let message = match Checkpoint::load(folder.path(), &Device::Cpu) {
        Ok(_) => panic!("a spoilt checkpoint was taken"),
        Err(error) => error.to_string(),
    };
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

fn change_tensors(folder: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let path = folder.join("model.safetensors");
    let mut tensors = safetensors::load(&path, &Device::Cpu).unwrap();
    change(&mut tensors);
    safetensors::save(&tensors, &path).unwrap();
}

fn change_card(folder: &Path, from: &str, to: &str) {
    let path = folder.join("model.ron");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
}

#[test]
fn a_missing_an_extra_and_a_misshapen_tensor_are_named() {
    let message = refused(|f| change_tensors(f, |t| assert!(t.remove("blocks.1.ffn.0.weight").is_some())));
    assert!(message.contains("model.safetensors") && message.contains("`blocks.1.ffn.0.weight` is missing"), "{message}");
    let message = refused(|f| change_tensors(f, |t| assert!(t.remove("codec.basis").is_some())));
    assert!(message.contains("`codec.basis` is missing"), "{message}");
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let message = refused(|f| change_tensors(f, |t| drop(t.insert("blocks.2.surprise".into(), zeros(&[3])))));
    assert!(message.contains("`blocks.2.surprise`"), "{message}");
    let message = refused(|f| change_tensors(f, |t| drop(t.insert("head.out.bias".into(), zeros(&[5])))));
    assert!(message.contains("`head.out.bias` has shape [5]"), "{message}");
}

#[test]
fn broken_files_are_named() {
    let message = refused(|f| std::fs::remove_file(f.join("model.safetensors")).unwrap());
    assert!(message.contains("model.safetensors"), "{message}");
    let message = refused(|f| {
        let path = f.join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(message.contains("not a whole safetensors file"), "{message}");
    // A header that claims more than there is must not be believed.
    let message = refused(|f| std::fs::write(f.join("model.safetensors"), u64::MAX.to_le_bytes()).unwrap());
    assert!(message.contains("model.safetensors"), "{message}");
    let message = refused(|f| std::fs::remove_file(f.join("model.ron")).unwrap());
    assert!(message.contains("model.ron"), "{message}");
}

#[test]
fn a_card_with_a_wrong_field_or_version_is_named() {
    for (from, to, word) in [
        ("version: 1", "version: 9", "version 9"),
        ("heads: 2", "heads: 5", "config.heads"),
        ("dim: 24", "dim: 18446744073709551615", "config.dim"),
        ("licence:", "license:", "license"),
        ("noise_levels: [", "noise_levels: [2.0, ", "config.noise_levels"),
    ] {
        let message = refused(|f| change_card(f, from, to));
        assert!(message.contains("model.ron") && message.contains(word), "{word}: {message}");
    }
}
