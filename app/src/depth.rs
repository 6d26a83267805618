//! `kinebrush depth`.

use crate::arguments::DepthOptions;
use kinebrush_engine::media::picture_file::{load_picture, save_grey16};
use kinebrush_engine::model::depth_anything::DepthAnything;
use kinebrush_engine::model::device::device_by_name;

pub fn run(options: &DepthOptions) -> anyhow::Result<()> {
    let network = DepthAnything::load(&options.weights, &device_by_name(&options.device)?)?;
    let estimate = network.estimate(&load_picture(&options.picture)?)?;
    save_grey16(&estimate.nearness, &options.output)?;
    let (near, far) = estimate.metres.unwrap_or((1.0, 10.0));
    let known = if estimate.metres.is_some() { "metres" } else { "near and far are yours to choose" };
    println!("{}: NearIsWhite(far: {far:.3}, near: {near:.3}), {known}", options.output.display());
    Ok(())
}
