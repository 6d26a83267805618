//! `kinebrush models`, and how a model is chosen by name.

use crate::arguments::ModelsOptions;
use candle_core::Device;
use kinebrush_engine::model::checkpoint::Checkpoint;
use std::path::Path;

/// `sketch`, a folder, or none for `none`.
pub fn open(name: &str, device: &Device) -> anyhow::Result<Option<Checkpoint>> {
    Ok(match name {
        "none" => None,
        "sketch" => Some(Checkpoint::sketch(device)?),
        folder => Some(Checkpoint::load(Path::new(folder), device)?),
    })
}

pub fn run(options: &ModelsOptions) -> anyhow::Result<()> {
    describe("sketch (embedded)", &Checkpoint::sketch(&Device::Cpu)?);
    if let Some(folder) = &options.folder {
        describe(&folder.display().to_string(), &Checkpoint::load(folder, &Device::Cpu)?);
    }
    Ok(())
}

fn describe(place: &str, checkpoint: &Checkpoint) {
    let (card, config) = (&checkpoint.card, &checkpoint.card.config);
    println!("{place}: {}", card.name);
    println!("  {} parameters, width {}, {} blocks", checkpoint.parameters, config.dim, config.layers);
    println!(
        "  chunks of {} frames, {} sink and {} window chunks, noise levels {:?}",
        config.chunk_frames(),
        config.sink_chunks,
        config.window_chunks,
        config.noise_levels
    );
    println!("  licence: {}\n  {}", card.licence, card.origin);
}
