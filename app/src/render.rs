//! `kinebrush render`.

use crate::arguments::RenderOptions;
use crate::models;
use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use kinebrush_engine::media::Output;
use kinebrush_engine::media::picture_file::load_picture;
use kinebrush_engine::motion::Project;
use kinebrush_engine::stream::render::Renderer;

/// Frames per second of the models.
const FPS: u32 = 16;
/// As in a project file.
const MOST_FRAMES: usize = kinebrush_engine::motion::stroke::MAX_FRAMES;

pub fn run(options: &RenderOptions) -> anyhow::Result<()> {
    let project = Project::load(&options.project)?;
    let frames = options.frames.unwrap_or(project.frames);
    ensure!((1..=MOST_FRAMES).contains(&frames), "--frames {frames}: must be between 1 and {MOST_FRAMES}");
    let output = Output::from_path(&options.output)?;
    let picture = load_picture(&project.image_path())?;
    let (checkpoint, device) = models::open(&options.model.model, &options.model.place)?;
    let seed = options.seed.unwrap_or(project.seed);
    let mut renderer = Renderer::new(&project, &picture, checkpoint.as_ref(), &device, options.size, seed)
        .with_context(|| options.project.display().to_string())?;
    renderer.notes().iter().for_each(|note| eprintln!("note: {note}"));
    let (width, height) = renderer.output_size();
    let mut sink = output.create(width, height, FPS)?;
    let bar = ProgressBar::new(frames as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} frames  {per_sec}  {eta} left")?);
    let mut done = 0;
    while done < frames {
        for frame in renderer.next_chunk()?.iter().take(frames - done) {
            sink.push(frame)?;
            done += 1;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    sink.finish()?;
    println!("{}: {frames} frames, {width}x{height}", output.path().display());
    Ok(())
}
