//! Sessions, chunk by chunk: against the sampler over a block-causal pass, and against themselves in other pieces, on other threads, from
//! snapshots. Every parameter is random, so nothing here passes because a layer is zero.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use glam::Vec2;
use kinebrush_engine::condition::{Condition, FramePoints};
use kinebrush_engine::guide::warp::GuideFrame;
use kinebrush_engine::kernels::isa::Precision;
use kinebrush_engine::model::checkpoint::{Card, Checkpoint};
use kinebrush_engine::model::codec::PatchCodec;
use kinebrush_engine::model::config::Config;
use kinebrush_engine::model::contrast::Contrast;
use kinebrush_engine::model::dit::{Dit, Past};
use kinebrush_engine::model::parameters::Parameters;
use kinebrush_engine::model::{rope, sampler};
use kinebrush_engine::motion::track_field::PointState;
use kinebrush_engine::picture::{Grid, Picture};
use kinebrush_engine::stream::compose::Composer;
use kinebrush_engine::stream::session::{Chunk, Session};
use kinebrush_tests::{flat, network, random};

/// No multiple of a token, so that padding is part of the test.
const SIZE: (usize, usize) = (44, 28);

fn checkpoint(config: &Config, dit: Dit) -> Checkpoint {
    let n = config.patch_len();
    let codec = PatchCodec::new(
        config.cell_px,
        config.frames_per_latent,
        flat(&(random(11, &[n]) * 0.1).unwrap()),
        flat(&(random(12, &[config.latent_channels, n]) / (n as f64).sqrt()).unwrap()),
        vec![1.5; config.latent_channels],
    );
    let card = Card { version: 1, name: "test".into(), licence: String::new(), origin: String::new(), config: config.clone() };
    Checkpoint { card, codec, dit, parameters: 0, precision: Some(Precision::detect()) }
}

fn random_checkpoint(precision: Option<Precision>) -> Checkpoint {
    let config = Config::tiny();
    Checkpoint { precision, ..checkpoint(&config, network(&config)) }
}

/// The candle graph and every instruction set of this machine.
fn forms() -> impl Iterator<Item = Option<Precision>> {
    [None].into_iter().chain(Precision::ALL.into_iter().filter(|p| p.available()).map(Some))
}

/// How far a form may be from the truth, relative RMS.
fn bound(precision: Option<Precision>) -> f32 {
    match precision {
        // As in packed.rs: bfloat16's eight digits lose a little more over a whole network than over a block.
        Some(Precision::Bf16) => 1e-2,
        Some(Precision::Fp16 | Precision::Fp16Emulated) => 5e-3,
        _ => 1e-5,
    }
}

/// Root of the mean square of the differences, against that of the truth.
fn relative(truth: &[f32], ours: &[f32]) -> f32 {
    assert_eq!(truth.len(), ours.len());
    let (error, norm) = truth.iter().zip(ours).fold((0.0, 0.0), |(e, n), (a, b)| (e + (a - b).powi(2), n + a * a));
    (error / norm).sqrt()
}

/// A pattern that moves, with a hole of soft edge that moves otherwise, and points that wander.
fn scene(frames: usize) -> (Vec<GuideFrame>, Vec<FramePoints>) {
    let (width, height) = SIZE;
    let frame = |t: usize| {
        let wave = |x: usize, y: usize, c: usize| 0.5 + 0.4 * ((x + 2 * t) as f32 * 0.3 + y as f32 * 0.2 + c as f32).sin();
        let centre = Vec2::new(10.0 + 1.3 * t as f32, 14.0);
        GuideFrame {
            rgb: Grid::from_fn(width, height, |x, y| [0, 1, 2].map(|c| wave(x, y, c))),
            smooth: Grid::from_fn(width, height, |x, y| [0, 1, 2].map(|c| 0.5 * wave(x / 4 * 4, y / 4 * 4, c))),
            coverage: Grid::from_fn(width, height, |x, y| ((Vec2::new(x as f32, y as f32).distance(centre) - 6.0) / 3.0).clamp(0.0, 1.0)),
            owner: vec![0; width * height],
        }
    };
    let points = |t: usize| FramePoints {
        ids: (0..30).map(|i| i * 3001 % 100_000).collect(),
        states: (0..30).map(|i| [PointState::Free, PointState::Pinned, PointState::Driven][i % 3]).collect(),
        positions: (0..30).map(|i| Vec2::new((i * 7 % 44) as f32 + 0.7 * t as f32, (i * 11 % 28) as f32)).collect(),
        visible: (0..30).map(|i| (i + t) % 5 != 0).collect(),
    };
    (0..frames).map(|t| (frame(t), points(t))).unzip()
}

/// The scene's conditions, made chunk by chunk.
fn conditions(checkpoint: &Checkpoint, chunks: usize) -> Vec<Condition> {
    let frames = checkpoint.dit.config.chunk_frames();
    let (guide, points) = scene(chunks * frames);
    let condition =
        |(guide, points): (&[GuideFrame], &[FramePoints])| Condition::new(&checkpoint.dit.config, &checkpoint.codec, guide, points);
    guide.chunks(frames).zip(points.chunks(frames)).map(condition).collect()
}

/// A chunk's numbers.
fn numbers(chunk: &Chunk) -> Vec<f32> {
    [chunk.latents.as_slice(), &chunk.output].concat()
}

fn frames(chunk: &Chunk, condition: &Condition, checkpoint: &Checkpoint) -> Vec<Picture> {
    let mut frames = Vec::new();
    Composer::default().compose(&checkpoint.dit.config, &checkpoint.codec, chunk, condition, SIZE.0, SIZE.1, &mut frames);
    frames
}

fn next(session: &mut Session, condition: &Condition) -> Chunk {
    let mut chunk = Chunk::default();
    session.next_chunk(condition, &mut chunk).unwrap();
    chunk
}

fn generate(session: &mut Session, conditions: &[Condition]) -> Vec<Vec<f32>> {
    conditions.iter().map(|c| numbers(&next(session, c))).collect()
}

fn video(checkpoint: &Checkpoint, seed: u64, conditions: &[Condition]) -> Vec<Vec<f32>> {
    generate(&mut Session::new(checkpoint, &Device::Cpu, seed), conditions)
}

#[test]
fn conditions_and_sessions_in_chunks_equal_those_in_one_go() {
    let checkpoint = random_checkpoint(Some(Precision::detect()));
    let chunks = 6;
    let by_chunk = conditions(&checkpoint, chunks);
    let (guide, points) = scene(chunks * checkpoint.dit.config.chunk_frames());
    let whole = Condition::new(&checkpoint.dit.config, &checkpoint.codec, &guide, &points);
    fn part<T: Clone>(values: &[T], chunks: usize, i: usize) -> Vec<T> {
        values[i * values.len() / chunks..(i + 1) * values.len() / chunks].to_vec()
    }
    let cut: Vec<Condition> = (0..chunks)
        .map(|i| {
            let mut cut = by_chunk[i].clone();
            cut.channels = part(&whole.channels, chunks, i);
            cut.guide_latent = part(&whole.guide_latent, chunks, i);
            cut.guide_patches = part(&whole.guide_patches, chunks, i);
            cut.smooth_latent = part(&whole.smooth_latent, chunks, i);
            cut.smooth_patches = part(&whole.smooth_patches, chunks, i);
            cut.uncovered = part(&whole.uncovered, chunks, i);
            cut.unknown = part(&whole.unknown, chunks, i);
            cut
        })
        .collect();
    let pieces = cut.iter().zip(&by_chunk);
    assert!(pieces.clone().all(|(a, b)| a.channels == b.channels && a.guide_latent == b.guide_latent && a.unknown == b.unknown));
    assert!(pieces.clone().all(|(a, b)| a.guide_patches == b.guide_patches && a.uncovered == b.uncovered));
    assert!(pieces.clone().all(|(a, b)| a.smooth_latent == b.smooth_latent && a.smooth_patches == b.smooth_patches));
    assert!(by_chunk.iter().all(|c| c.unknown.contains(&true) && c.unknown.contains(&false)));

    let in_one_go = video(&checkpoint, 1, &cut);
    let mut first = Session::new(&checkpoint, &Device::Cpu, 1);
    let mut in_two = generate(&mut first, &by_chunk[..4]);
    let mut second = Session::new(&checkpoint, &Device::Cpu, 1);
    second.restore(&first.snapshot().unwrap()).unwrap();
    assert_eq!(second.chunks(), 4);
    in_two.extend(generate(&mut second, &by_chunk[4..]));
    assert!(in_one_go == in_two);
}

#[test]
fn a_session_is_the_sampler_over_the_block_causal_network() {
    for form in forms() {
        let checkpoint = random_checkpoint(form);
        let (config, dit) = (&checkpoint.dit.config, &checkpoint.dit);
        let conditions = conditions(&checkpoint, 4);
        let mut session = Session::new(&checkpoint, &Device::Cpu, 5);
        let (mut history, mut told, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for (chunk, condition) in conditions.iter().enumerate() {
            told.extend_from_slice(&condition.channels);
            unknown.extend_from_slice(&condition.unknown);
            let channels = config.latent_channels;
            let latents = (chunk + 1) * config.chunk_latents;
            let tensor = |values: Vec<f32>, channels: usize| {
                Tensor::from_vec(values, (1, latents, condition.rows, condition.columns, channels), &Device::Cpu).unwrap()
            };
            let head_dim = config.dim / config.heads;
            let rotation = rope::rotation(head_dim, latents, condition.rows / 2, condition.columns / 2, &Device::Cpu).unwrap();
            let mut clean = condition.guide_latent.clone();
            for (step, level) in config.noise_levels.iter().enumerate() {
                let mut z = clean.clone();
                let prior = condition.prior(config, 0..condition.unknown.len(), &mut Contrast::default());
                sampler::noised(&mut z, &condition.unknown, *level, prior, sampler::noise(5, chunk as u64, step));
                let mut levels = vec![0.0; chunk];
                levels.push(*level);
                let z = tensor([history.as_slice(), &z].concat(), channels);
                let past = &mut Past::Whole { rotation: &rotation, causal: true };
                let told = tensor(told.clone(), config.condition_channels());
                let out = flat(&dit.forward(&z, &told, &levels, &unknown, past).unwrap());
                let newest = &out[out.len() - condition.unknown.len() * config.output_channels()..];
                for (cell, out) in newest.chunks_exact(config.output_channels()).enumerate() {
                    for c in 0..channels {
                        let i = cell * channels + c;
                        clean[i] = condition.guide_latent[i]
                            + if condition.unknown[cell] { out[c] + out[channels] * condition.smooth_latent[i] } else { 0.0 };
                    }
                }
            }
            let made = next(&mut session, condition);
            let error = relative(&clean, &made.latents);
            assert!(error < bound(form), "{form:?}, chunk {chunk}: {error:e}");
            let outputs = made.output.chunks_exact(config.output_channels()).zip(&condition.unknown);
            assert!(outputs.filter(|(_, unknown)| !**unknown).all(|(out, _)| out.iter().all(|v| *v == 0.0)), "{form:?}, chunk {chunk}");
            history.extend(clean);
            assert_eq!(session.pass_seconds.len(), config.noise_levels.len() + 1);
        }
    }
}

#[test]
fn a_seed_repeats_and_another_changes_what_is_unknown() {
    let checkpoint = random_checkpoint(Some(Precision::detect()));
    let conditions = conditions(&checkpoint, 5);
    let [a, again, b] = [1, 1, 2].map(|seed| video(&checkpoint, seed, &conditions));
    assert!(a == again);
    let channels = checkpoint.dit.config.latent_channels;
    for ((a, b), condition) in a.iter().zip(&b).zip(&conditions) {
        for (cell, unknown) in condition.unknown.iter().enumerate() {
            let range = cell * channels..(cell + 1) * channels;
            assert_eq!(a[range.clone()] != b[range.clone()], *unknown, "cell {cell}");
            assert!(*unknown || a[range.clone()] == condition.guide_latent[range]);
        }
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    for form in [None, Some(Precision::detect())] {
        let [one, two] = [1, 2].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let checkpoint = random_checkpoint(form);
                video(&checkpoint, 3, &conditions(&checkpoint, 5))
            })
        });
        assert!(one == two, "{form:?}");
    }
}

#[test]
fn an_untrained_model_shows_the_guide() {
    let config = Config { covered_correction: 1.0, ..Config::tiny() };
    let dit = Dit::new(&config, &Parameters::seeded(1, &Device::Cpu)).unwrap();
    let checkpoint = checkpoint(&config, dit);
    let mut session = Session::new(&checkpoint, &Device::Cpu, 1);
    let (guide, _) = scene(4 * config.chunk_frames());
    for (condition, guide) in conditions(&checkpoint, 4).iter().zip(guide.chunks(config.chunk_frames())) {
        let chunk = next(&mut session, condition);
        assert!(chunk.output.chunks_exact(config.output_channels()).all(|out| out[..=config.latent_channels].iter().all(|v| *v == 0.0)));
        assert_eq!(chunk.latents, condition.guide_latent);
        for (shown, guide) in frames(&chunk, condition, &checkpoint).iter().zip(guide) {
            // Colours go to -1..1 and back, which rounds once.
            let same = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-7;
            assert!(shown.data.iter().flatten().zip(guide.rgb.data.iter().flatten()).all(same));
        }
    }
}

#[test]
fn covered_pixels_are_the_guide_whatever_the_weights() {
    let checkpoint = random_checkpoint(Some(Precision::detect()));
    let config = &checkpoint.dit.config;
    assert_eq!(config.covered_correction, 0.0);
    let mut session = Session::new(&checkpoint, &Device::Cpu, 1);
    let (guide, _) = scene(5 * config.chunk_frames());
    for (condition, guide) in conditions(&checkpoint, 5).iter().zip(guide.chunks(config.chunk_frames())) {
        let chunk = next(&mut session, condition);
        let mut invented = 0;
        for (shown, guide) in frames(&chunk, condition, &checkpoint).iter().zip(guide) {
            for ((shown, rgb), coverage) in shown.data.iter().zip(&guide.rgb.data).zip(&guide.coverage.data) {
                let guide = rgb.map(|v| ((v * 2.0 - 1.0) + 1.0) / 2.0);
                match *coverage {
                    1.0 => assert_eq!(*shown, guide),
                    _ => invented += (*shown != guide) as usize,
                }
            }
        }
        assert!(invented > 50, "only {invented} pixels were invented");
    }
}

#[test]
fn a_branch_repeats_the_stem_and_disturbs_nothing() {
    let checkpoint = random_checkpoint(Some(Precision::detect()));
    let conditions = conditions(&checkpoint, 9);
    let truth = video(&checkpoint, 1, &conditions);
    for at in [0, 2, 5] {
        let mut stem = Session::new(&checkpoint, &Device::Cpu, 1);
        generate(&mut stem, &conditions[..at]);
        let snapshot = stem.snapshot().unwrap();
        // A branch that goes elsewhere, and changes all it can, while the stem goes on.
        let mut branch = Session::new(&checkpoint, &Device::Cpu, 1);
        branch.restore(&snapshot).unwrap();
        let elsewhere: Vec<Condition> = conditions[at..].iter().rev().cloned().collect();
        branch.refresh_sink().unwrap();
        let other = generate(&mut branch, &elsewhere);
        assert!(other != truth[at..]);
        assert!(generate(&mut stem, &conditions[at..at + 2]) == truth[at..at + 2], "the branch disturbed the stem at {at}");
        // Twice from the same snapshot, into either session.
        for session in [&mut stem, &mut branch] {
            session.restore(&snapshot).unwrap();
            assert_eq!(session.chunks(), at as u64);
            assert!(generate(session, &conditions[at..]) == truth[at..], "the snapshot at {at} changed");
        }
    }
}

#[test]
fn a_refreshed_sink_changes_what_comes() {
    let checkpoint = random_checkpoint(Some(Precision::detect()));
    let conditions = conditions(&checkpoint, 7);
    let truth = video(&checkpoint, 1, &conditions);
    let mut session = Session::new(&checkpoint, &Device::Cpu, 1);
    generate(&mut session, &conditions[..1]);
    session.refresh_sink().unwrap(); // The only chunk is the sink: nothing to change.
    assert!(generate(&mut session, &conditions[1..6]) == truth[1..6]);
    session.refresh_sink().unwrap();
    assert!(generate(&mut session, &conditions[6..]) != truth[6..]);
}
