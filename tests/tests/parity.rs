//! The network against public PyTorch code: what `tests/fixtures/make_wan_block.py` computed with diffusers and torch.nn, to 1e-4.
//! The fixtures are committed; no Python is needed here.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, safetensors};
use glam::Vec2;
use kinebrush_engine::condition::{Condition, FramePoints};
use kinebrush_engine::guide::warp::GuideFrame;
use kinebrush_engine::model::codec::PatchCodec;
use kinebrush_engine::model::config::Config;
use kinebrush_engine::model::dit::{Block, Dit, Past};
use kinebrush_engine::model::ops::Visibility;
use kinebrush_engine::model::parameters::Parameters;
use kinebrush_engine::model::rope;
use kinebrush_engine::model::sampler::{self, Prior};
use kinebrush_engine::motion::track_field::PointState;
use kinebrush_engine::picture::Grid;
use kinebrush_tests::{error, flat};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A fixture: named tensors, f16 ones as f32.
struct Fixture {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        let tensors = safetensors::load(&path, &Device::Cpu).unwrap();
        Self { path, tensors }
    }

    fn tensor(&self, name: &str) -> Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no {name} in {}", self.path.display())).to_dtype(DType::F32).unwrap()
    }

    fn values(&self, name: &str) -> Vec<f32> {
        self.tensor(name).flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The parameters below `prefix`.
    fn parameters(&self, prefix: &str) -> Parameters {
        let below = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()));
        Parameters::loaded(&self.path, self.tensors.iter().filter_map(below).collect(), &Device::Cpu, false)
    }
}

/// Largest difference, against the size of the truth.
fn close(what: &str, truth: &[f32], ours: &[f32], tolerance: f32) {
    let error = error(truth, ours);
    assert!(error <= tolerance, "{what}: {error:e}");
}

#[test]
fn block_and_rotation_are_those_of_wan() {
    let fixture = Fixture::open("wan_block.safetensors");
    for (frames, rows, columns) in [(3, 2, 5), (1, 4, 3)] {
        let of = |name: &str| fixture.tensor(&format!("{frames}x{rows}x{columns}.{name}"));
        let rotation = rope::rotation(16, frames, rows, columns, &Device::Cpu).unwrap();
        close("rotation", &flat(&of("rotation")), &flat(&rotation), 1e-6);
        let parameters = fixture.parameters("block.");
        let block = Block::new(32, 64, 2, &parameters).unwrap();
        parameters.finish().unwrap();
        let x = of("x");
        let time = of("time").unsqueeze(1).unwrap().broadcast_as((2, frames * rows * columns, 6, 32)).unwrap();
        let out = block.forward(&x, &time, Visibility::All, 0, &mut Past::Whole { rotation: &rotation, causal: true }).unwrap();
        close("block", &flat(&of("out")), &flat(&out), 1e-4);
    }
}

#[test]
fn noised_is_the_flow_of_the_public_scheduler() {
    let fixture = Fixture::open("wan_block.safetensors");
    let unknown: Vec<bool> = fixture.values("sampler.unknown").iter().map(|u| *u > 0.0).collect();
    let (clean, known, noise) = (fixture.values("sampler.clean"), fixture.values("sampler.known"), fixture.values("sampler.noise"));
    let channels = clean.len() / unknown.len();
    let start: Vec<f32> = (0..clean.len()).map(|i| if unknown[i / channels] { clean[i] } else { known[i] }).collect();
    let at = |t: &f32| {
        let mut z = start.clone();
        sampler::noised(&mut z, &unknown, *t, Prior::STANDARD, |first, values| values.copy_from_slice(&noise[first..][..values.len()]));
        z
    };
    let z: Vec<f32> = fixture.values("sampler.levels").iter().flat_map(at).collect();
    close("z", &fixture.values("sampler.z"), &z, 1e-6);
}

/// What `make_wan_block.py` calls its sizes.
fn config() -> Config {
    Config { cell_px: 4, ..Config::tiny() }
}

/// Latents, rows and columns of a clip in the fixture.
const CLIP: (usize, usize, usize) = (6, 6, 10);

/// Which cells of the two clips are unknown.
fn unknown(fixture: &Fixture) -> Vec<bool> {
    fixture.values("unknown").iter().map(|u| *u > 0.0).collect()
}

/// The condition of the fixture's pictures and points.
fn condition(fixture: &Fixture) -> Condition {
    let [frames, height, width, _] = fixture.tensor("rgb").dims4().unwrap().into();
    let picture = |name: &str, frame: usize| {
        let bytes = fixture.values(name);
        let data = bytes[frame * width * height * 3..][..width * height * 3].chunks_exact(3);
        Grid { width, height, data: data.map(|rgb| [rgb[0], rgb[1], rgb[2]].map(|v| v / 255.0)).collect() }
    };
    let coverage = fixture.values("coverage");
    let guide: Vec<GuideFrame> = (0..frames)
        .map(|frame| GuideFrame {
            rgb: picture("rgb", frame),
            smooth: picture("smooth", frame),
            coverage: Grid {
                width,
                height,
                data: coverage[frame * width * height..][..width * height].iter().map(|v| v / 255.0).collect(),
            },
            owner: vec![0; width * height],
        })
        .collect();
    let ids: Vec<u32> = fixture.values("ids").iter().map(|id| *id as u32).collect();
    let states: Vec<PointState> =
        fixture.values("states").iter().map(|s| [PointState::Free, PointState::Pinned, PointState::Driven][*s as usize]).collect();
    let (positions, visible) = (fixture.values("positions"), fixture.values("visible"));
    let points: Vec<FramePoints> = (0..frames)
        .map(|frame| FramePoints {
            ids: ids.clone(),
            states: states.clone(),
            positions: positions[frame * 2 * ids.len()..][..2 * ids.len()].chunks_exact(2).map(|p| Vec2::new(p[0], p[1])).collect(),
            visible: visible[frame * ids.len()..][..ids.len()].iter().map(|v| *v > 0.0).collect(),
        })
        .collect();
    let config = config();
    let codec = PatchCodec::new(
        config.cell_px,
        config.frames_per_latent,
        fixture.values("codec.mean"),
        fixture.values("codec.basis"),
        fixture.values("codec.scale"),
    );
    Condition::new(&config, &codec, &guide, &points)
}

#[test]
fn condition_is_the_scattered_tracks_and_the_encoded_guide() {
    let fixture = Fixture::open("dit.safetensors");
    let condition = condition(&fixture);
    assert_eq!((condition.latents, condition.rows, condition.columns), CLIP);
    let truth = unknown(&fixture);
    assert_eq!(condition.unknown, truth[..truth.len() / 2]);
    let channels = config().condition_channels();
    let truth = fixture.values("condition.0");
    // Each kind of channel against its own size, so that a large one cannot hide a small one.
    let mut first = 0;
    for (what, count) in [("guide", 12), ("smooth guide", 4), ("coverage", 8), ("states", 2), ("tracks", 16)] {
        let part = |values: &[f32]| values.chunks_exact(channels).flat_map(|c| c[first..first + count].to_vec()).collect::<Vec<f32>>();
        close(what, &part(&truth), &part(&condition.channels), 1e-4);
        first += count;
    }
    assert_eq!(first, channels);
}

#[test]
fn whole_network_with_what_it_knows_and_its_block_causal_mask() {
    let fixture = Fixture::open("dit.safetensors");
    let (latents, rows, columns) = CLIP;
    let (config, unknown) = (config(), unknown(&fixture));
    // Whole chunks of either kind, and such as have both.
    let chunks: Vec<&[bool]> = unknown.chunks(config.chunk_latents * rows * columns).collect();
    let of_kinds = |kinds: [bool; 2]| chunks.iter().filter(|chunk| kinds == [true, false].map(|kind| chunk.contains(&kind))).count();
    assert_eq!([[true, false], [false, true], [true, true]].map(of_kinds), [1, 1, 4]);
    let shape = (1, latents, rows, columns, config.condition_channels());
    // The first clip's condition is the one that the engine makes, the second clip's is random.
    let first = Tensor::from_vec(condition(&fixture).channels, shape, &Device::Cpu).unwrap();
    let condition = Tensor::cat(&[first, fixture.tensor("condition.1").unsqueeze(0).unwrap()], 0).unwrap();
    let rotation = rope::rotation(config.dim / config.heads, latents, rows / 2, columns / 2, &Device::Cpu).unwrap();
    let (noisy, levels, truth) = (fixture.tensor("noisy"), fixture.values("levels"), fixture.values("out"));
    let out = |covered_correction: f32| {
        let config = Config { covered_correction, ..config.clone() };
        let parameters = fixture.parameters("dit.");
        let dit = Dit::new(&config, &parameters).unwrap();
        parameters.finish().unwrap();
        let past = &mut Past::Whole { rotation: &rotation, causal: true };
        flat(&dit.forward(&noisy, &condition, &levels, &unknown, past).unwrap())
    };
    let all = out(1.0);
    close("network", &truth, &all, 1e-4);
    // What nobody shows is 0, and nothing else changes.
    let shown = all.chunks_exact(config.output_channels()).zip(&unknown).flat_map(|(out, u)| out.iter().map(|v| if *u { *v } else { 0.0 }));
    assert_eq!(out(0.0), shown.collect::<Vec<_>>());
}
