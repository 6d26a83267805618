//! `kinebrush eval`: a model by default, or what is named instead of one; each has a module of its own.

mod camera;
mod reconstruct;
mod track;

use crate::arguments::{EvalModelOptions, EvalOptions, EvalSubject};
use crate::{models, train};
use anyhow::Context;
use kinebrush_engine::train::evaluate::evaluate;

pub fn run(options: &EvalOptions) -> anyhow::Result<()> {
    match &options.subject {
        None => model(&options.model),
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
    if let Some(share) = options.fine_correction {
        checkpoint.dit.config.fine_correction = share;
    }
    checkpoint.dit.config.validate()?;
    let (_, held_out) = train::open_pools(&options.folders)?;
    let report = evaluate(&checkpoint, &device, &held_out, options.clips, options.size, options.sheet.as_deref())?;
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}
