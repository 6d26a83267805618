//! `kinebrush models` and `kinebrush average`, and how a model is chosen by name.

use crate::arguments::{AverageOptions, ModelsOptions, Place};
use anyhow::bail;
use candle_core::Device;
use kinebrush_engine::kernels::isa::Precision;
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::model::device::device_by_name;
use std::path::Path;

/// The model that was chosen (none for `none`) and the device it runs on.
pub fn open(model: &str, place: &Place) -> anyhow::Result<(Option<Checkpoint>, Device)> {
    let device = device_by_name(&place.device)?;
    let mut checkpoint = match model {
        "none" => None,
        "sketch" => Some(Checkpoint::sketch(&device)?),
        folder => Some(Checkpoint::load(Path::new(folder), &device)?),
    };
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint.precision = match place.kernels.as_str() {
            "graph" => None,
            name if device.is_cpu() => Some(Precision::by_name(name)?),
            "auto" => None,
            name => bail!("kernels: `{name}` runs on the CPU alone; choose --device cpu or --kernels auto"),
        };
    }
    Ok((checkpoint, device))
}

pub fn run(options: &ModelsOptions) -> anyhow::Result<()> {
    describe("sketch (embedded)", &Checkpoint::sketch(&Device::Cpu)?);
    if let Some(folder) = &options.folder {
        describe(&folder.display().to_string(), &Checkpoint::load(folder, &Device::Cpu)?);
    }
    Ok(())
}

/// `kinebrush average`.
pub fn average(options: &AverageOptions) -> anyhow::Result<()> {
    kinebrush_engine::train::average::average(&options.models, &options.out)?;
    println!("{}: the mean of {} models", options.out.display(), options.models.len());
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
