//! `kinebrush train`.

use crate::arguments::{PictureFolders, TrainOptions};
use kinebrush_engine::model::config::Config;
use kinebrush_engine::train::pool::Pool;
use kinebrush_engine::train::trainer::{Settings, train};

/// Opens the pictures for training and those held out, and says what was found.
pub fn open_pools(folders: &PictureFolders) -> anyhow::Result<(Pool, Pool)> {
    let (training, held_out) = Pool::open_both(&folders.photos, &folders.cutouts, folders.memory_mib << 20)?;
    eprintln!("training pictures: {}\nheld out: {}", training.census(), held_out.census());
    Ok((training, held_out))
}

pub fn run(options: &TrainOptions) -> anyhow::Result<()> {
    let settings = Settings {
        run: options.run.clone(),
        config: if options.tiny { Config::tiny() } else { Config::sketch() },
        minutes: options.minutes,
        most_steps: options.steps,
        learning_rate: options.learning_rate,
        batch_px: options.batch_px,
        evaluate_every: options.evaluate_every,
        evaluation_clips: options.evaluation_clips,
        workers: options.workers,
        seed: options.seed,
    };
    let (pool, held_out) = open_pools(&options.folders)?;
    let report = train(&settings, pool, held_out)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
