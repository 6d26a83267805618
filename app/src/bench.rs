//! `kinebrush bench`: time of every stage on a scene made on the spot, so that it needs no files.

use crate::arguments::BenchOptions;
use crate::models;
use anyhow::{Context, ensure};
use glam::Vec2;
use kinebrush_engine::condition::{Condition, FramePoints};
use kinebrush_engine::guide::layers::{CutOptions, Layers};
use kinebrush_engine::model::config::Config;
use kinebrush_engine::model::device::device_by_name;
use kinebrush_engine::motion::LayerMotion;
use kinebrush_engine::motion::track_field::{PointState, TrackField};
use kinebrush_engine::picture::{Mask, Picture};
use kinebrush_engine::stream::compose;
use kinebrush_engine::stream::session::Session;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// Chunks until the window is full and the caches are warm.
const WARM_UP: usize = 20;

pub fn run(options: &BenchOptions) -> anyhow::Result<()> {
    let device = device_by_name(&options.model.device)?;
    let checkpoint = models::open(&options.model.model, &device)?.context("--model: `none` has nothing to measure")?;
    if let Some(steps) = options.training {
        return training(&checkpoint.dit.config, steps, options.json);
    }
    ensure!(options.chunks > WARM_UP + 1, "--chunks: at least {} are needed, the first {WARM_UP} are not counted", WARM_UP + 2);
    let (width, height) = options.size;
    let config = &checkpoint.dit.config;
    let (picture, region) = scene(width, height);
    let layers = Layers::cut(&picture, &[region], &CutOptions::default());
    let mut session = Session::new(&checkpoint, &device, 1);
    let mut stages: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut chunks = Vec::new();
    let mut early_rss = 0.0;
    for chunk in 0..options.chunks {
        let mut record = |stage, seconds: f64| stages.entry(stage).or_default().push(seconds * 1e3);
        let start = Instant::now();
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        let motion = |frame: usize| {
            let angle = frame as f32 * 0.1;
            Vec2::new(angle.sin(), 1.0 - angle.cos()) * height as f32 * 0.2
        };
        let frames: Vec<usize> = (chunk * config.chunk_frames()..(chunk + 1) * config.chunk_frames()).collect();
        let guide: Vec<_> = frames
            .iter()
            .map(|f| {
                let moved = LayerMotion::Affine(glam::Affine2::from_translation(motion(*f)));
                layers.warp(&LayerMotion::STILL, &[moved], width, height)
            })
            .collect();
        record("guide", lap());
        let points: Vec<_> = frames.iter().map(|_| points(width, height)).collect();
        let condition = Condition::new(config, &checkpoint.codec, &guide, &points);
        record("condition", lap());
        let made = session.next_chunk(&condition)?;
        let whole = lap();
        let passes = &session.pass_seconds;
        for (pass, seconds) in passes.iter().enumerate() {
            record(if pass + 1 == passes.len() { "commit" } else { "denoise" }, *seconds);
        }
        let shown = compose::frames(config, &made, &condition, width, height);
        ensure!(shown.len() == config.chunk_frames(), "a chunk has the wrong number of frames");
        record("decode", whole - passes.iter().sum::<f64>() + lap());
        chunks.push(start.elapsed().as_secs_f64() * 1e3);
        if chunk + 1 == WARM_UP {
            early_rss = resident_mib();
        }
    }
    let counted = &chunks[WARM_UP..];
    let part = (counted.len() / 4).max(1);
    let chunk_ms = median(counted);
    let growth = median(&counted[counted.len() - part..]) / median(&counted[..part]);
    let medians: BTreeMap<_, _> = stages.iter().map(|(stage, times)| (*stage, median(times))).collect();
    let frames_per_s = config.chunk_frames() as f64 / chunk_ms * 1e3;
    let rss = resident_mib() - early_rss;
    if options.json {
        let report = json!({
            "frames_per_s": frames_per_s, "chunk_ms_median": chunk_ms, "growth_ratio": growth, "rss_growth_mib": rss,
            "stages": medians, "size": [width, height], "chunks": options.chunks, "threads": rayon::current_num_threads(),
        });
        println!("{report}");
        return Ok(());
    }
    println!("{width}x{height}, {} threads: {frames_per_s:.1} frames/s, chunk {chunk_ms:.0} ms", rayon::current_num_threads());
    println!("late over early chunks {growth:.3}, resident memory {rss:+.1} MiB since chunk {WARM_UP}");
    for (stage, ms) in medians {
        let times = if stage == "denoise" { format!(" x {}", config.noise_levels.len()) } else { String::new() };
        println!("  {stage:<10} {ms:8.1} ms{times}");
    }
    Ok(())
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
