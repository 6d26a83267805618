//! The packed network against the candle graph, in every instruction set of this machine: pass by pass beyond the end of the window, at
//! sizes that are no multiple of any tile, and in the pictures that Sketch shows.
#![allow(clippy::unwrap_used)]

use candle_core::Device;
use glam::{Affine2, Vec2};
use kinebrush_engine::condition::FramePoints;
use kinebrush_engine::guide::layers::{CutOptions, Layers};
use kinebrush_engine::guide::warp::{GuideFrame, Warper};
use kinebrush_engine::kernels::isa::Precision;
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::model::config::Config;
use kinebrush_engine::model::network::network;
use kinebrush_engine::motion::{FrameMotion, LayerMotion};
use kinebrush_engine::picture::{Mask, Picture};
use kinebrush_engine::stream::pipeline::Pipeline;
use kinebrush_engine::stream::session::Session;
use kinebrush_tests::flat;
use std::sync::Arc;

fn sets() -> impl Iterator<Item = Precision> {
    Precision::ALL.into_iter().filter(|p| p.available())
}

fn random(seed: u64, len: usize) -> Vec<f32> {
    flat(&kinebrush_tests::random(seed, &[len]))
}

/// Root of the mean square of the differences, against that of the truth; where that is nothing, there must be nothing.
fn relative(truth: &[f32], ours: &[f32]) -> f32 {
    let (error, norm) = truth.iter().zip(ours).fold((0.0, 0.0), |(e, n), (a, b)| (e + (a - b).powi(2), n + a * a));
    if norm > 0.0 { (error / norm).sqrt() } else { error }
}

/// Everything, nothing, a cell here and there, or a block that wanders over the borders.
fn unknown(chunk: usize, latents: usize, rows: usize, columns: usize) -> Vec<bool> {
    let cells = (0..latents * rows * columns).map(|cell| (cell / (rows * columns), cell / columns % rows, cell % columns));
    let is = |(latent, row, column): (usize, usize, usize)| match chunk % 5 {
        0 => true,
        1 => (latent + 3 * row + 7 * column + chunk) % 31 == 0,
        2 => false,
        3 => (row + chunk) % rows < 2 && (column + 5 * latent) % columns < 3,
        _ => latent == 0 && row > 1 && column > 1,
    };
    cells.map(is).collect()
}

#[test]
fn every_set_equals_the_graph_for_any_shape() {
    let odd = Config { latent_channels: 11, smooth_channels: 3, id_channels: 6, track_channels: 3, stem_channels: 17, ..Config::tiny() };
    let configs = [
        // Head dimension 12; two conv blocks after the transformer.
        (Config { head_blocks: 2, ..Config::tiny() }, (4, 6)),
        // Odd channels; 9 tokens a chunk; heads of 20; more blocks before the transformer than after it.
        (Config { dim: 40, ffn_dim: 50, chunk_latents: 1, stem_blocks: 2, ..odd.clone() }, (6, 6)),
        // Heads of 80, five vectors wide; more tokens than a task takes; rows longer than a tile; no convolutions.
        (Config { dim: 160, layers: 1, stem_blocks: 0, head_blocks: 0, ..Config::tiny() }, (4, 98)),
        // Heads of 136, wider than a panel; a sink alone; no sink.
        (Config { dim: 272, sink_chunks: 1, window_chunks: 0, layers: 2, ..odd }, (2, 10)),
        (Config { sink_chunks: 0, window_chunks: 3, normed: false, ..Config::tiny() }, (8, 10)),
        // Runs of several tiles and panels.
        (Config { stem_blocks: 0, noise_levels: vec![0.5], ..Config::tiny() }, (10, 58)),
        // What is known is shown too; three steps.
        (Config { covered_correction: 0.5, noise_levels: vec![1.0, 0.7, 0.4], ..Config::tiny() }, (6, 22)),
    ];
    for (config, (rows, columns)) in configs {
        let dit = kinebrush_tests::network(&config);
        let cells = config.chunk_latents * rows * columns;
        let chunks = config.sink_chunks + config.window_chunks + 4;
        let run = |precision: Option<Precision>| -> Vec<Vec<f32>> {
            let mut network = network(&dit, precision, &Device::Cpu, rows, columns).unwrap();
            let mut outputs = Vec::new();
            let mut saved = None;
            // The last ones once more, from a snapshot.
            for chunk in (0..chunks).chain(3..chunks) {
                if chunk == 3 {
                    saved = match saved {
                        None => Some(network.save().unwrap()),
                        Some(saved) => {
                            network.restore(&saved).unwrap();
                            Some(saved)
                        }
                    };
                }
                let seed = chunk as u64;
                let unknown = unknown(chunk, config.chunk_latents, rows, columns);
                network.begin(&random(1000 + seed, cells * config.condition_channels()), &unknown).unwrap();
                let guide = random(4000 + seed, cells * config.latent_channels);
                let latent = |seed: u64| -> Vec<f32> {
                    let of = |(i, (z, guide)): (usize, (f32, &f32))| if unknown[i / config.latent_channels] { z } else { *guide };
                    random(seed, guide.len()).into_iter().zip(&guide).enumerate().map(of).collect()
                };
                for (step, level) in config.noise_levels.iter().enumerate() {
                    let mut output = vec![f32::NAN; cells * config.output_channels()];
                    network.denoise(&latent(2000 + 10 * seed + step as u64), *level, &mut output).unwrap();
                    outputs.push(output);
                }
                network.commit(&latent(3000 + seed)).unwrap();
                if chunk == 1 {
                    network.refresh_sink().unwrap();
                }
            }
            let again = (chunks - 3) * config.noise_levels.len();
            let (first, second) = outputs.split_at(outputs.len() - again);
            assert!(first[first.len() - again..] == *second, "a snapshot leads elsewhere");
            outputs
        };
        let truth = run(None);
        for precision in sets() {
            // A block alone is within 5e-3; a whole network loses a little more of sixteen bits.
            let whole = config.layers > 1 || config.stem_blocks > 0;
            let bound = match precision {
                Precision::Bf16 if whole => 2e-2,
                Precision::Fp16 | Precision::Fp16Emulated if whole => 1e-2,
                Precision::Bf16 | Precision::Fp16 | Precision::Fp16Emulated => 5e-3,
                _ => 1e-5,
            };
            for (pass, (truth, ours)) in truth.iter().zip(run(Some(precision))).enumerate() {
                let error = relative(truth, &ours);
                assert!(error < bound, "{}, width {}, pass {pass}: {error:e}", precision.name(), config.dim);
            }
        }
    }
}

/// The first chunks of what Sketch makes of a disc that is dragged away.
fn frames(precision: Option<Precision>, chunks: usize) -> Vec<Picture> {
    let (width, height) = (168, 104);
    let mut checkpoint = Checkpoint::sketch(&Device::Cpu).unwrap();
    checkpoint.precision = precision;
    // The model in full: nothing of a difference is held back.
    let config = &mut checkpoint.dit.config;
    (config.correction, config.fine_correction, config.covered_correction, config.noise_levels) = (1.0, 1.0, 1.0, vec![1.0, 0.5]);
    let disc = Mask::from_fn(width, height, |x, y| f32::from(u8::from(Vec2::new(x as f32 - 60.0, y as f32 - 50.0).length() < 24.0)));
    let picture =
        Picture::from_fn(width, height, |x, y| [0.11, 0.05, 0.023].map(|f| 0.5 + 0.4 * (x as f32 * f + (y as f32 * 0.07).cos()).sin()));
    let mut warper = Warper::new(Arc::new(Layers::cut(&picture, &[disc], &CutOptions::default())), width, height);
    let count = checkpoint.dit.config.chunk_frames();
    let mut guide = vec![GuideFrame::blank(width, height); count];
    let mut pipeline = Pipeline::new(&checkpoint, Session::new(&checkpoint, &Device::Cpu, 1));
    let mut made = Vec::new();
    for chunk in 0..chunks {
        for (i, frame) in guide.iter_mut().enumerate() {
            let offset = Vec2::new((chunk * count + i) as f32 * 2.5, (chunk * count + i) as f32);
            warper.warp(&FrameMotion::flat(LayerMotion::STILL, vec![LayerMotion::Affine(Affine2::from_translation(offset))]), frame);
        }
        pipeline.advance(&guide, &vec![FramePoints::default(); count], |shown| made.extend_from_slice(shown)).unwrap();
    }
    made
}

#[test]
fn pictures_of_all_sets_are_the_same_to_the_eye() {
    let truth = frames(None, 6);
    for precision in sets() {
        let (mut error, mut count) = (0f64, 0);
        // Emulated, a chunk takes as long as many others.
        let chunks = if precision == Precision::Fp16Emulated { 1 } else { 6 };
        for (truth, ours) in truth.iter().zip(frames(Some(precision), chunks)) {
            for (a, b) in truth.data.iter().flatten().zip(ours.data.iter().flatten()) {
                error += ((a - b) as f64).powi(2);
                count += 1;
            }
        }
        let psnr = -10.0 * (error / count as f64).log10();
        println!("{}: {psnr:.1} dB", precision.name());
        assert!(psnr >= 50.0, "{}: {psnr:.1} dB", precision.name());
    }
}
