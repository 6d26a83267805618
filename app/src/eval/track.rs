//! `kinebrush eval track`.

use crate::arguments::EvalTrackOptions;
use crate::train;
use kinebrush_engine::motion::tracker::{ClipReport, there_and_back, tracking_speed};
use kinebrush_engine::train::tracks::{TrackReport, TrackTest};
use serde::Serialize;

#[derive(Serialize)]
struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    synthetic: Option<TrackReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clip: Option<ClipReport>,
    /// 400 points, 640x360.
    frames_per_s: f64,
}

pub fn run(options: &EvalTrackOptions) -> anyhow::Result<()> {
    let mut figures = Figures { synthetic: None, clip: None, frames_per_s: tracking_speed()? };
    if let Some(clip) = &options.clip {
        figures.clip = Some(there_and_back(clip, options.points)?);
    } else if !options.speed {
        let (_, held_out) = train::open_pools(&options.folders)?;
        let test = TrackTest { clips: options.clips, size: options.size, frames: options.frames, points: options.points };
        figures.synthetic = Some(test.run(&held_out, options.export.as_deref())?);
    }
    if options.json {
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    if let Some(report) = &figures.synthetic {
        println!("{report}");
    }
    if let Some(report) = &figures.clip {
        println!("{report}");
    }
    println!("speed: {:.1} frames/s with 400 points at 640x360", figures.frames_per_s);
    Ok(())
}
