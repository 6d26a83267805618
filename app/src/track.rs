//! `kinebrush track`.

use crate::arguments::TrackOptions;
use anyhow::ensure;
use indicatif::{ProgressBar, ProgressStyle};
use kinebrush_engine::media::clip::open_clip;
use kinebrush_engine::motion::tracker::{self, track_clip};

pub fn run(options: &TrackOptions) -> anyhow::Result<()> {
    let is_npz = options.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"));
    ensure!(is_npz, "{}: tracks are written as .npz; end the name in .npz", options.output.display());
    let wanted = tracker::TrackOptions {
        points: options.points,
        places: options.at.clone(),
        every: options.every,
        first: options.first,
        frames: options.frames,
    };
    wanted.validate()?;
    let mut source = open_clip(&options.clip)?;
    let info = source.info().clone();
    let length = info.frames.map(|frames| frames.saturating_sub(wanted.first).div_ceil(wanted.every));
    let length = length.map(|frames| frames.min(wanted.frames.unwrap_or(frames)));
    let bar = length.map_or_else(ProgressBar::no_length, |frames| ProgressBar::new(frames as u64));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} frames  {per_sec}  {eta} left")?);
    let result = track_clip(&mut *source, &wanted, &mut |done| {
        bar.set_position(done as u64);
        true
    })?;
    bar.finish_and_clear();
    result.tracks.save(&options.output)?;
    let (points, frames) = (result.tracks.points, result.tracks.frames.len());
    let alive = result.tracks.frames.last().map_or(0, |frame| frame.visible.iter().filter(|visible| **visible).count());
    println!(
        "{}: {points} points over {frames} frames of {}x{}, {alive} visible in the last",
        options.output.display(),
        info.width,
        info.height
    );
    if let Some(cut) = result.cuts.first() {
        println!("the clip cuts at frame {}; all tracks end there", wanted.first + cut * wanted.every);
    }
    Ok(())
}
