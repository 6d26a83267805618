//! `kinebrush eval`.

use crate::arguments::EvalOptions;
use crate::{models, train};
use anyhow::Context;
use kinebrush_engine::train::evaluate::evaluate;

pub fn run(options: &EvalOptions) -> anyhow::Result<()> {
    let (checkpoint, device) = models::open(&options.model, &options.place)?;
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
