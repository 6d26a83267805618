//! `kinebrush eval ablations`: the paper's ablations at our scale. The same weights run with another sink, window, chunk or number of
//! denoising steps, one changed at a time; what a chunk costs stands beside what it gives.

use crate::arguments::EvalAblationsOptions;
use crate::{models, train};
use anyhow::{Context, ensure};
use kinebrush_engine::model::config::Config;
use kinebrush_engine::train::evaluate::{Clips, evaluate};
use std::time::Instant;

/// What is changed, to what.
fn variants(own: &Config) -> Vec<(String, Config)> {
    let mut list = vec![("as it is".to_owned(), own.clone())];
    for sink in [0, 1, 2] {
        list.push((format!("sink {sink}"), Config { sink_chunks: sink, ..own.clone() }));
    }
    for window in [1, 2, 4] {
        list.push((format!("window {window}"), Config { window_chunks: window, ..own.clone() }));
    }
    for latents in [1, 2, 4] {
        list.push((format!("chunk {latents}"), Config { chunk_latents: latents, ..own.clone() }));
    }
    for steps in 1..=4 {
        // Evenly from noise down, as few-step students are trained.
        let noise_levels = (0..steps).map(|i| 1.0 - i as f32 / steps as f32).collect();
        list.push((format!("steps {steps}"), Config { noise_levels, ..own.clone() }));
    }
    list
}

pub fn run(options: &EvalAblationsOptions) -> anyhow::Result<()> {
    ensure!(options.frames > 0 && options.frames.is_multiple_of(8), "--frames: must be a multiple of 8, so that every chunk divides it");
    let (_, held_out) = train::open_pools(&options.folders)?;
    let open = || models::open(&options.model.model, &options.model.place);
    let own = open()?.0.context("model: `none` has nothing to change; choose sketch or a folder")?.dit.config;
    if !options.json {
        println!("{:<10} {:>12} {:>10} {:>8} {:>10} {:>9}", "", "uncovered dB", "covered dB", "EPE px", "sharpness", "seconds");
    }
    for (name, config) in variants(&own) {
        let (checkpoint, device) = open()?;
        let mut checkpoint = checkpoint.context("model: choose sketch or a folder")?;
        checkpoint.dit.config = config;
        let start = Instant::now();
        let clips = Clips { first: 0, count: options.clips, size: options.size, frames: options.frames, sheet: None };
        let report = evaluate(&checkpoint, &device, &held_out, clips)?;
        let seconds = start.elapsed().as_secs_f64();
        if options.json {
            println!("{}", serde_json::json!({ "change": name, "report": report, "seconds": seconds }));
            continue;
        }
        println!(
            "{name:<10} {:>+12.3} {:>+10.3} {:>8.3} {:>10.3} {seconds:>9.1}",
            report.uncovered_gain_db, report.covered_delta_db, report.epe_px, report.sharpness
        );
    }
    Ok(())
}
