//! The depth network against public PyTorch code: what `tests/fixtures/make_depth_anything.py` computed with transformers, to 1e-4. The
//! fixture is committed; no Python is needed here.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor, safetensors};
use kinebrush_engine::media::picture_file::{load_picture, save_grey16};
use kinebrush_engine::model::depth_anything::{Config, DepthAnything, Network};
use kinebrush_engine::model::parameters::Parameters;
use kinebrush_engine::picture::{Mask, Picture};
use kinebrush_tests::{error, flat};
use std::path::{Path, PathBuf};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/depth_anything")
}

fn picture() -> Picture {
    Picture::from_fn(60, 40, |x, y| [x as f32 / 60.0, y as f32 / 40.0, ((x / 7 + y / 5) % 3) as f32 / 3.0])
}

#[test]
fn features_and_depth_are_those_of_the_public_code() {
    let path = fixture().join("model.safetensors");
    let parameters = Parameters::loaded(&path, safetensors::load(&path, &Device::Cpu).unwrap(), &Device::Cpu, false);
    let network = Network::new(Config::load(&fixture().join("config.json")).unwrap(), &parameters).unwrap();
    let expected = safetensors::load(fixture().join("expected.safetensors"), &Device::Cpu).unwrap();
    let features = network.features(&expected["pixels"]).unwrap();
    for (name, ours) in [("feature_0", &features[0]), ("feature_3", &features[3])] {
        // (tokens with the class token, d) there, (d, rows, columns) here.
        let truth = &expected[name];
        let truth = truth.narrow(0, 1, truth.dim(0).unwrap() - 1).unwrap().t().unwrap().contiguous().unwrap();
        let error = error(&flat(&truth), &flat(ours));
        assert!(error < 1e-4, "{name}: {error:e}");
    }
    let depth = network.forward(&expected["pixels"]).unwrap();
    assert_eq!(depth.dims(), expected["depth"].dims());
    let error = error(&flat(&expected["depth"]), &flat(&depth));
    assert!(error < 1e-4, "depth: {error:e}");
}

#[test]
fn an_estimate_has_the_pictures_size_and_the_range_of_a_depth_file() {
    let estimate = DepthAnything::load(&fixture(), &Device::Cpu).unwrap().estimate(&picture()).unwrap();
    let nearness = &estimate.nearness;
    assert_eq!((nearness.width, nearness.height, estimate.metres), (60, 40, None));
    assert!(nearness.data.iter().all(|v| (0.0..=1.0).contains(v)));
    let spread = nearness.data.iter().fold((1.0f32, 0.0f32), |(low, high), v| (low.min(*v), high.max(*v)));
    assert!(spread.1 - spread.0 > 0.3, "{spread:?}");
}

#[test]
fn sixteen_bits_are_written_and_white_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("depth.png");
    let mask = Mask::from_fn(300, 2, |x, y| if y == 0 { x as f32 / 65535.0 } else { 1.0 });
    save_grey16(&mask, &path).unwrap();
    let back = load_picture(&path).unwrap();
    assert_eq!((back.width, back.height), (300, 2));
    for (a, b) in mask.data.iter().zip(&back.data) {
        assert!((a - b[0]).abs() < 1e-6, "{a} {b:?}");
    }
}

/// A copy of the fixture, changed; what its loading says.
fn refused(change: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture().join(file), folder.path().join(file)).unwrap();
    }
    change(folder.path());
    DepthAnything::load(folder.path(), &Device::Cpu).err().map(|e| e.to_string()).unwrap()
}

#[test]
fn a_folder_that_is_no_depth_network_is_refused_by_name() {
    let edited = |from: &str, to: &str| {
        refused(|folder| {
            let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
            assert!(text.contains(from), "{from}");
            std::fs::write(folder.join("config.json"), text.replace(from, to)).unwrap();
        })
    };
    assert!(edited("depth_anything", "llama").contains("kind `llama`"));
    assert!(edited("\"hidden_size\": 24", "\"hidden_size\": 99999999999").contains("hidden_size"));
    assert!(edited("\"hidden_size\": 24", "\"hidden_size\": 0").contains("hidden_size"));
    assert!(edited("\"hidden_size\": 24", "\"hidden_size\": 26").contains("shape"));
    assert!(edited("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 3").contains("out_indices"));
    assert!(edited("\"use_swiglu_ffn\": false", "\"use_swiglu_ffn\": true").contains("swiglu"));
    assert!(refused(|folder| std::fs::remove_file(folder.join("config.json")).unwrap()).contains("config.json"));
    assert!(refused(|folder| std::fs::write(folder.join("config.json"), "{}").unwrap()).contains("config.json"));
    let cut = refused(|folder| {
        let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
        std::fs::write(folder.join("model.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(cut.contains("model.safetensors") && cut.contains("whole"), "{cut}");
    let without = refused(|folder| {
        let path = folder.join("model.safetensors");
        let mut tensors = safetensors::load(&path, &Device::Cpu).unwrap();
        tensors.remove("head.conv2.bias").unwrap();
        safetensors::save(&tensors, &path).unwrap();
    });
    assert!(without.contains("head.conv2.bias"), "{without}");
    let damaged = refused(|folder| {
        let path = folder.join("model.safetensors");
        let mut tensors = safetensors::load(&path, &Device::Cpu).unwrap();
        tensors.insert("head.conv3.bias".into(), Tensor::new(&[f32::NAN], &Device::Cpu).unwrap());
        safetensors::save(&tensors, &path).unwrap();
    });
    assert!(damaged.contains("head.conv3.bias") && damaged.contains("damaged"), "{damaged}");
}
