//! `kinebrush eval`: a model by default, or what is named instead of one; each has a module of its own.

mod ablations;
mod camera;
mod drift;
mod reconstruct;
mod track;

use crate::arguments::{EvalModelOptions, EvalOptions, EvalSubject};
use crate::{models, train};
use anyhow::Context;
use kinebrush_engine::train::evaluate::{Clips, FRAMES, evaluate};

pub fn run(options: &EvalOptions) -> anyhow::Result<()> {
    match &options.subject {
        None => model(&options.model),
        Some(EvalSubject::Ablations(options)) => ablations::run(options),
        Some(EvalSubject::Drift(options)) => drift::run(options),
        Some(EvalSubject::Camera(options)) => camera::run(options),
        Some(EvalSubject::Reconstruct(options)) => reconstruct::run(options),
        Some(EvalSubject::Track(options)) => track::run(options),
    }
}

/// `kinebrush eval sketch` and `kinebrush eval FOLDER`.
fn model(options: &EvalModelOptions) -> anyhow::Result<()> {
    let name = options.model.as_deref().context("model: choose sketch or a folder")?;
    let (checkpoint, device) = models::open(name, &options.place)?;
    let mut checkpoint = checkpoint.context("model: `none` has nothing to measure; choose sketch or a folder")?;
    if let Some(levels) = &options.noise_levels {
        checkpoint.dit.config.noise_levels = levels.clone();
    }
    let config = &mut checkpoint.dit.config;
    let shares = [
        (options.correction, &mut config.correction),
        (options.fine_correction, &mut config.fine_correction),
        (options.rim_correction, &mut config.rim_correction),
    ];
    for (share, to) in shares {
        *to = share.unwrap_or(*to);
    }
    checkpoint.dit.config.validate()?;
    let (_, held_out) = train::open_pools(&options.folders)?;
    let clips = Clips { first: options.first, count: options.clips, size: options.size, frames: FRAMES, sheet: options.sheet.as_deref() };
    let report = evaluate(&checkpoint, &device, &held_out, clips)?;
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}
