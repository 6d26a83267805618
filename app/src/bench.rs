//! `kinebrush bench`: time of every stage, and what share of the machine's ceiling the network reaches, on a scene made on the spot, so
//! that it needs no files.

use crate::arguments::BenchOptions;
use crate::models;
use anyhow::{Context, ensure};
use candle_core::Device;
use glam::Vec2;
use kinebrush_engine::condition::FramePoints;
use kinebrush_engine::guide::detail::detail_transfer;
use kinebrush_engine::guide::layers::{CutOptions, Fill, Layers};
use kinebrush_engine::guide::warp::{GuideFrame, Warper};
use kinebrush_engine::kernels::isa::{Isa, Precision, Visit};
use kinebrush_engine::model::activity::Activity;
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::model::config::Config;
use kinebrush_engine::model::cost::Cost;
use kinebrush_engine::motion::track_field::{PointState, TrackField};
use kinebrush_engine::motion::{FrameMotion, LayerMotion};
use kinebrush_engine::picture::{Mask, Picture};
use kinebrush_engine::stream::pipeline::Pipeline;
use kinebrush_engine::stream::session::Session;
use rayon::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Chunks until the window is full and the caches are warm.
const WARM_UP: usize = 20;
/// Chunks at the end of the run that are compared, in turns, with those that follow the warm-up of a session that began then: two ends of
/// one run lie minutes apart, in which a shared machine changes by more than what is looked for.
const END: usize = 100;
/// Chunks between two measurements of the ceiling: often enough to see the machine that the chunks saw.
const CEILING_EVERY: usize = 20;
/// Size at which a large picture is cut in the studio, px.
const LIVE: (usize, usize) = (1280, 720);

pub fn run(options: &BenchOptions) -> anyhow::Result<()> {
    let (checkpoint, device) = models::open(&options.model.model, &options.model.place)?;
    let mut checkpoint = checkpoint.context("--model: `none` has nothing to measure")?;
    if let Some(levels) = &options.noise_levels {
        checkpoint.dit.config.noise_levels = levels.clone();
        checkpoint.dit.config.validate()?;
    }
    if let Some(steps) = options.training {
        return training(&checkpoint.dit.config, steps, options.json);
    }
    ensure!(options.chunks > WARM_UP + 1, "--chunks: at least {} are needed, the first {WARM_UP} are not counted", WARM_UP + 2);
    // On one of the pool's own threads, as the studio does.
    let measured = rayon::scope(|_| measure(&checkpoint, &device, options))?;
    match options.json {
        true => println!("{}", measured.json()),
        false => measured.print(),
    }
    Ok(())
}

/// What a run gave; times in ms.
struct Measured {
    size: (usize, usize),
    kernels: &'static str,
    frames_per_chunk: usize,
    denoising_steps: usize,
    chunks: Vec<f64>,
    /// Of a young session, in turns with the last chunks.
    young: Vec<f64>,
    stages: BTreeMap<&'static str, Vec<f64>>,
    /// GFLOP/s of the passes of each kind, by the operations that the chunk in question takes.
    rates: BTreeMap<&'static str, Vec<f64>>,
    /// Shares of tokens that noise reaches, and of those whose output is shown.
    tokens: BTreeMap<&'static str, Vec<f64>>,
    /// GFLOP/s of multiply-adds on all threads, by instruction set.
    ceilings: BTreeMap<&'static str, Vec<f64>>,
    /// Resident memory since the warm-up, MiB.
    memory: f64,
}

/// A session on the bench's scene, with all that a chunk needs.
struct Stream<'a> {
    pipeline: Pipeline<'a>,
    warper: Warper,
    guide: Vec<GuideFrame>,
    points: Vec<FramePoints>,
    bytes: Vec<u8>,
}

impl<'a> Stream<'a> {
    fn new(checkpoint: &'a Checkpoint, device: &Device, layers: &Arc<Layers>, (width, height): (usize, usize)) -> Self {
        let frames = checkpoint.dit.config.chunk_frames();
        Self {
            pipeline: Pipeline::new(checkpoint, Session::new(checkpoint, device, 1)),
            warper: Warper::new(layers.clone(), width, height),
            guide: vec![GuideFrame::blank(width, height); frames],
            points: vec![points(width, height); frames],
            bytes: vec![0; frames * width * height * 4],
        }
    }

    /// Its next chunk, in which the object is where chunk `place` of a run has it; seconds of the guide and of all.
    fn make(&mut self, place: usize) -> anyhow::Result<(f64, f64)> {
        let start = Instant::now();
        let (frames, height) = (self.guide.len(), self.guide[0].rgb.height as f32);
        for (i, frame) in self.guide.iter_mut().enumerate() {
            let angle = (place * frames + i) as f32 * 0.1;
            let offset = Vec2::new(angle.sin(), 1.0 - angle.cos()) * height * 0.2;
            self.warper.warp(&moved(offset), frame);
        }
        let drawn = start.elapsed().as_secs_f64();
        let Self { pipeline, guide, points, bytes, .. } = self;
        pipeline.advance(guide, points, |shown| to_rgba8(shown, bytes))?;
        Ok((drawn, start.elapsed().as_secs_f64()))
    }
}

fn measure(checkpoint: &Checkpoint, device: &Device, options: &BenchOptions) -> anyhow::Result<Measured> {
    let (width, height) = options.size;
    let config = &checkpoint.dit.config;
    let (picture, region) = scene(width, height);
    let layers = Arc::new(Layers::cut(&picture, &[region], &CutOptions::default()));
    let mut stream = Stream::new(checkpoint, device, &layers, options.size);
    let paired = END.min((options.chunks - WARM_UP) / 2).max(1);
    let mut young = None;
    let mut activity = Activity::default();
    let precision = checkpoint.precision.unwrap_or(Precision::Portable);
    let times = || Vec::with_capacity(options.chunks);
    let mut measured = Measured {
        size: options.size,
        kernels: checkpoint.precision.map_or("candle graph", Precision::name),
        frames_per_chunk: config.chunk_frames(),
        denoising_steps: config.noise_levels.len(),
        chunks: times(),
        young: Vec::with_capacity(paired),
        stages: ["guide", "condition", "denoise", "sampler", "commit", "compose", "rgba8"].map(|stage| (stage, times())).into(),
        rates: ["denoise", "commit"].map(|stage| (stage, times())).into(),
        tokens: ["active", "wanted"].map(|mark| (mark, times())).into(),
        ceilings: Precision::ALL.into_iter().filter(|p| p.available()).map(|p| (p.name(), vec![ceiling(p)])).collect(),
        memory: 0.0,
    };
    for chunk in 0..options.chunks {
        if chunk % CEILING_EVERY == 0 {
            let samples = measured.ceilings.entry(precision.name()).or_default();
            samples.push(ceiling(precision));
        }
        if chunk == WARM_UP {
            measured.memory = -resident_mib();
        }
        if chunk + paired == options.chunks {
            measured.memory += resident_mib();
            let young = young.insert(Stream::new(checkpoint, device, &layers, options.size));
            (chunk - WARM_UP..chunk).try_for_each(|place| young.make(place).map(drop))?;
        }
        let mut beside = |measured: &mut Measured, turn: usize| -> anyhow::Result<()> {
            if let Some(young) = young.as_mut().filter(|_| chunk % 2 == turn) {
                measured.young.push(young.make(chunk)?.1 * 1e3);
            }
            Ok(())
        };
        beside(&mut measured, 0)?;
        let (drawn, all) = stream.make(chunk)?;
        beside(&mut measured, 1)?;
        measured.chunks.push(all * 1e3);
        let pipeline = &mut stream.pipeline;
        let seconds = &pipeline.seconds;
        let (denoise, commit) = seconds.passes.split_at(config.noise_levels.len());
        let condition = pipeline.condition();
        activity.refill(config, &condition.unknown, condition.rows, condition.columns);
        let cost = Cost::of(config, &activity);
        let mut record = |stage, seconds: f64| {
            if let Some(times) = measured.stages.get_mut(stage) {
                times.push(seconds * 1e3);
            }
        };
        record("guide", drawn);
        record("condition", seconds.condition);
        record("sampler", seconds.sampler);
        record("compose", seconds.compose);
        record("rgba8", seconds.show);
        for (stage, operations, seconds) in
            [("denoise", cost.denoise(denoise.len()), denoise.iter().sum::<f64>()), ("commit", cost.commit, commit.iter().sum())]
        {
            record(stage, seconds);
            measured.rates.entry(stage).or_default().push(operations / seconds * 1e-9);
        }
        for (mark, marks) in [("active", &activity.active), ("wanted", &activity.wanted)] {
            let share = marks.iter().filter(|marked| **marked).count() as f64 / marks.len() as f64;
            measured.tokens.entry(mark).or_default().push(share);
        }
    }
    let detail = measured.stages.entry("detail, to twice the size").or_default();
    let mut large = Warper::new(layers, 2 * width, 2 * height);
    let mut sharp = GuideFrame::blank(2 * width, 2 * height);
    large.warp(&moved(glam::Vec2::ZERO), &mut sharp);
    for _ in 0..5 {
        let start = Instant::now();
        for frame in &stream.guide {
            std::hint::black_box(detail_transfer(&frame.rgb, &sharp, 1.0));
        }
        detail.push(start.elapsed().as_secs_f64() * 1e3);
    }
    // In turns: what the matting network adds to the moment after a region was drawn.
    let (picture, region) = scene(LIVE.0, LIVE.1);
    for _ in 0..5 {
        for (stage, matting) in [("cut at 1280x720", true), ("cut, no matting", false)] {
            let options = CutOptions { matting, fill: Fill::PullPush, ..CutOptions::default() };
            let start = Instant::now();
            std::hint::black_box(Layers::cut(&picture, std::slice::from_ref(&region), &options));
            measured.stages.entry(stage).or_default().push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(measured)
}

impl Measured {
    fn median(&self, stage: &str) -> f64 {
        self.stages.get(stage).map_or(f64::NAN, |times| median(times))
    }

    /// Median chunk, after the warm-up.
    fn chunk_ms(&self) -> f64 {
        median(&self.chunks[WARM_UP..])
    }

    /// Median of the last chunks over that of the young session's beside them: 1 when a chunk costs the same for ever.
    fn growth(&self) -> f64 {
        median(&self.chunks[self.chunks.len() - self.young.len()..]) / median(&self.young)
    }

    /// The longest way from hand to screen: the pointer moves just after a chunk's guide was drawn, and is seen in the next chunk.
    fn latency_ms(&self) -> f64 {
        self.chunk_ms() + ["condition", "denoise", "sampler", "compose", "rgba8"].map(|stage| self.median(stage)).iter().sum::<f64>()
    }

    fn ceiling(&self, kernels: &str) -> Option<f64> {
        self.ceilings.get(kernels).map(|samples| median(samples))
    }

    fn frames_per_s(&self) -> f64 {
        self.frames_per_chunk as f64 / self.chunk_ms() * 1e3
    }

    fn json(&self) -> serde_json::Value {
        let medians: BTreeMap<_, _> = self.stages.keys().map(|stage| (*stage, self.median(stage))).collect();
        let ceilings: BTreeMap<_, _> = self.ceilings.keys().filter_map(|name| Some((*name, self.ceiling(name)?))).collect();
        let medians_of = |all: &BTreeMap<&'static str, Vec<f64>>| all.iter().map(|(name, values)| (*name, median(values))).collect();
        let [rates, tokens]: [BTreeMap<_, f64>; 2] = [&self.rates, &self.tokens].map(medians_of);
        json!({
            "size": [self.size.0, self.size.1], "threads": rayon::current_num_threads(), "kernels": self.kernels,
            "chunks": self.chunks.len(), "frames_per_s": self.frames_per_s(), "chunk_ms_median": self.chunk_ms(),
            "hand_to_screen_ms": self.latency_ms(), "growth_ratio": self.growth(), "rss_growth_mib": self.memory,
            "denoising_steps": self.denoising_steps, "tokens": tokens, "stages": medians, "gflops": rates, "ceilings_gflops": ceilings,
        })
    }

    fn print(&self) {
        let (width, height) = self.size;
        println!("{width}x{height}, {} threads, {}", rayon::current_num_threads(), self.kernels);
        println!("{:.1} frames/s, chunk {:.1} ms, hand to screen {:.0} ms", self.frames_per_s(), self.chunk_ms(), self.latency_ms());
        println!("{} chunks: late over early {:.3}, resident memory {:+.1} MiB", self.chunks.len(), self.growth(), self.memory);
        let [active, wanted] = ["active", "wanted"].map(|mark| 100.0 * self.tokens.get(mark).map_or(f64::NAN, |shares| median(shares)));
        println!("{} denoising steps; of the tokens {active:.0} % are active, {wanted:.0} % wanted", self.denoising_steps);
        for stage in self.stages.keys() {
            let share = |rate: f64, kernels| self.ceiling(kernels).map_or(f64::NAN, |ceiling| 100.0 * rate / ceiling);
            let rate = self.rates.get(stage).map(|rates| median(rates)).map_or(String::new(), |rate| {
                format!(
                    "{rate:6.0} GFLOP/s, {:.0} % of this set's ceiling, {:.0} % of bfloat16's",
                    share(rate, self.kernels),
                    share(rate, "avx512-bf16")
                )
            });
            println!("  {stage:<26} {:8.2} ms {rate}", self.median(stage));
        }
        let ceilings: Vec<_> = self.ceilings.iter().map(|(name, samples)| format!("{name} {:.0}", median(samples))).collect();
        println!("ceilings, GFLOP/s: {}", ceilings.join(", "));
    }
}

/// GFLOP/s of multiply-adds in registers, on all threads at once.
fn ceiling(precision: Precision) -> f64 {
    const ROUNDS: u64 = 1_500_000;
    struct Run;
    impl Visit for Run {
        type Output = u64;

        fn visit<I: Isa>(self, isa: I) -> u64 {
            isa.multiply_adds(ROUNDS)
        }
    }
    let start = Instant::now();
    let operations: u64 = rayon::broadcast(|_| precision.with(Run)).into_iter().sum();
    operations as f64 / start.elapsed().as_secs_f64() * 1e-9
}

/// What a window uploads: the part of showing a frame that the processor does.
fn to_rgba8(frames: &[Picture], bytes: &mut [u8]) {
    let frame_bytes = bytes.len() / frames.len();
    frames.par_iter().zip(bytes.par_chunks_mut(frame_bytes)).for_each(|(frame, bytes)| {
        for (to, rgb) in bytes.chunks_exact_mut(4).zip(&frame.data) {
            let [r, g, b] = rgb.map(|v| (v * 255.0 + 0.5) as u8);
            to.copy_from_slice(&[r, g, b, 255]);
        }
    });
}

fn training(config: &Config, steps: usize, as_json: bool) -> anyhow::Result<()> {
    const BATCH: usize = 4;
    const CELLS: (usize, usize) = (16, 16);
    let times = kinebrush_engine::train::speed::step_milliseconds(config, BATCH, CELLS, steps)?;
    let ms = median(&times);
    match as_json {
        true => println!("{}", json!({ "step_ms_median": ms, "batch": BATCH, "cells": [CELLS.0, CELLS.1] })),
        false => println!("training step, {BATCH} clips of {}x{} cells: {ms:.0} ms", CELLS.0, CELLS.1),
    }
    Ok(())
}

/// A textured picture and a disc to drag.
fn scene(width: usize, height: usize) -> (Picture, Mask) {
    let picture = Picture::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let wave = |a: f32, b: f32| 0.5 + 0.25 * (x * a).sin() + 0.2 * (y * b + x * 0.01).cos();
        [wave(0.11, 0.07), wave(0.05, 0.13), wave(0.023, 0.031)]
    });
    let (centre, radius) = (Vec2::new(width as f32 * 0.4, height as f32 * 0.4), height as f32 * 0.2);
    let inside = |x: usize, y: usize| Vec2::new(x as f32 + 0.5, y as f32 + 0.5).distance(centre) < radius;
    (picture, Mask::from_fn(width, height, |x, y| f32::from(u8::from(inside(x, y)))))
}

fn points(width: usize, height: usize) -> FramePoints {
    let field = TrackField::grid(width, height, 50, 1, |_| 0);
    FramePoints {
        states: vec![PointState::Driven; field.len()],
        visible: vec![true; field.len()],
        positions: field.sources,
        ids: field.ids,
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Resident memory, MiB; 0 where the system does not tell.
fn resident_mib() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|s| s.split_whitespace().nth(1)?.parse::<f64>().ok());
    pages.map_or(0.0, |pages| pages * 4096.0 / (1 << 20) as f64)
}

/// One object, moved over a plate that stands still.
fn moved(offset: glam::Vec2) -> FrameMotion {
    FrameMotion::flat(LayerMotion::STILL, vec![LayerMotion::Affine(glam::Affine2::from_translation(offset))])
}
