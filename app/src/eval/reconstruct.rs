//! `kinebrush eval reconstruct`: a clip made again from its first frame and its tracks.

use crate::arguments::EvalReconstructOptions;
use crate::models;
use anyhow::Context;
use kinebrush_engine::train::reconstruct::{Wanted, reconstruct};

pub fn run(options: &EvalReconstructOptions) -> anyhow::Result<()> {
    let (checkpoint, device) = models::open(&options.model.model, &options.model.place)?;
    let checkpoint = checkpoint.context("model: `none` is the guide, which is measured anyway; choose sketch or a folder")?;
    let wanted = Wanted { tracks: options.tracks.as_deref(), frames: options.frames, sheet: options.sheet.as_deref() };
    let report = reconstruct(&checkpoint, &device, &options.clip, &wanted)?;
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}
