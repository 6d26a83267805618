//! `kinebrush train`.

use crate::arguments::{PictureFolders, TrainOptions};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use kinebrush_engine::model::config::Config;
use kinebrush_engine::train::matting;
use kinebrush_engine::train::pool::Pool;
use kinebrush_engine::train::recipe::{self, Recipe};
use kinebrush_engine::train::trainer::{Event, Settings, train};

use std::sync::Arc;
use std::time::Instant;

/// Opens the pictures for training and those held out, and says what was found.
pub fn open_pools(folders: &PictureFolders) -> anyhow::Result<(Pool, Pool)> {
    let (training, held_out) = Pool::open_both(&folders.photos, &folders.cutouts, folders.memory_mib << 20)?;
    eprintln!("training pictures: {}\nheld out: {}", training.census(), held_out.census());
    Ok((training, held_out))
}

pub fn run(options: &TrainOptions) -> anyhow::Result<()> {
    match options.recipe.as_str() {
        "history" => history(options),
        "matting" => matting(options),
        "full" if options.tiny => full(options, Recipe::tiny()),
        "full" => full(options, Recipe::sketch()),
        file => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("recipe: `{file}` is neither history, full nor matting, nor a file"))?;
            full(
                options,
                ron::from_str(&text).with_context(|| format!("{file}: is not a recipe; a run of `--recipe full` leaves one to edit"))?,
            )
        }
    }
}

/// The MotionStream recipe, stage by stage.
fn full(options: &TrainOptions, recipe: Recipe) -> anyhow::Result<()> {
    let recipe = match &options.from {
        Some(folder) => recipe.starting_from(folder)?,
        None => recipe,
    };
    let settings = recipe::Settings {
        folder: options.run.clone(),
        evaluation_clips: options.evaluation_clips,
        recipe,
        workers: options.workers,
        seed: options.seed,
        save_every: options.evaluate_every * 60.0,
    };
    let (pool, held_out) = open_pools(&options.folders)?;
    let (mut last_line, mut last_stage) = (Instant::now(), String::new());
    let outcome = recipe::train(&settings, &Arc::new(pool), &held_out, &mut |progress| {
        if progress.stage != last_stage || last_line.elapsed().as_secs() >= 60 || progress.steps.0 == progress.steps.1 {
            (last_line, last_stage) = (Instant::now(), progress.stage.to_owned());
            eprintln!("{}: {} of {}, loss {:.5}", progress.stage, progress.steps.0, progress.steps.1, progress.loss);
        }
    })?;
    println!("{}", serde_json::to_string_pretty(&outcome)?);
    Ok(())
}

/// The network that corrects mattes.
fn matting(options: &TrainOptions) -> anyhow::Result<()> {
    anyhow::ensure!(options.from.is_none() && !options.tiny, "--from, --tiny: `--recipe matting` has one network, and starts it afresh");
    let settings = matting::Settings {
        run: options.run.clone(),
        minutes: options.minutes,
        most_steps: options.steps,
        learning_rate: options.learning_rate,
        evaluate_every: options.evaluate_every,
        evaluation_clips: options.evaluation_clips,
        seed: options.seed,
    };
    let (pool, held_out) = open_pools(&options.folders)?;
    let mut told = Told::new(options.minutes)?;
    let report = matting::train(&settings, &pool, &held_out, &mut |event| told.tell(event))?;
    told.end(&report)
}

/// One network on clips with clean and noisy history.
fn history(options: &TrainOptions) -> anyhow::Result<()> {
    let settings = Settings {
        run: options.run.clone(),
        config: if options.tiny { Config::tiny() } else { Config::sketch() },
        from: options.from.clone(),
        minutes: options.minutes,
        most_steps: options.steps,
        learning_rate: options.learning_rate,
        batch_px: options.batch_px,
        evaluation_size: (256, 256),
        evaluate_every: options.evaluate_every,
        evaluation_clips: options.evaluation_clips,
        workers: options.workers,
        seed: options.seed,
    };
    let (pool, held_out) = open_pools(&options.folders)?;
    let mut told = Told::new(options.minutes)?;
    let report = train(&settings, pool, &held_out, &mut |event| told.tell(event))?;
    told.end(&report)
}

/// A bar for who watches, lines for who does not.
struct Told {
    bar: ProgressBar,
    minutes: f64,
    last_line: Instant,
}

impl Told {
    fn new(minutes: f64) -> anyhow::Result<Self> {
        let bar = ProgressBar::new((minutes * 60.0) as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {msg}  {eta} left")?);
        Ok(Self { bar, minutes, last_line: Instant::now() })
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Step { step, loss, examples_per_s, seconds } => {
                let text = format!("step {step}, loss {loss:.5}, {examples_per_s:.2} examples/s");
                // Where nobody watches a bar, a line a minute says as much.
                if self.bar.is_hidden() && self.last_line.elapsed().as_secs() >= 60 {
                    self.last_line = Instant::now();
                    eprintln!("{text}, {:.1} of {} minutes", seconds / 60.0, self.minutes);
                }
                self.bar.set_position(seconds as u64);
                self.bar.set_message(text);
            }
            Event::Evaluated(line) => self.bar.suspend(|| eprintln!("{line}")),
        }
    }

    fn end(self, report: &impl serde::Serialize) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        println!("{}", serde_json::to_string_pretty(report)?);
        Ok(())
    }
}
