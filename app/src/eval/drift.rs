//! `kinebrush eval drift`: a model's video after thousands of frames, against its beginning.

use crate::arguments::EvalDriftOptions;
use crate::{models, train};
use anyhow::Context;
use kinebrush_engine::train::drift::drift;

pub fn run(options: &EvalDriftOptions) -> anyhow::Result<()> {
    let (checkpoint, device) = models::open(&options.model.model, &options.model.place)?;
    let checkpoint = checkpoint.context("model: `none` is the guide, which cannot drift; choose sketch or a folder")?;
    let (_, held_out) = train::open_pools(&options.folders)?;
    let report = drift(&checkpoint, &device, &held_out, options.clips, options.size, options.frames)?;
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}
