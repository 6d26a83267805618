//! `kinebrush train`.

use crate::arguments::{PictureFolders, TrainOptions};
use kinebrush_engine::model::config::Config;
use kinebrush_engine::train::pool::{Pool, Split};
use kinebrush_engine::train::trainer::{Settings, train};

/// Opens one side of the split and says what was found.
pub fn open_pool(folders: &PictureFolders, split: Split) -> anyhow::Result<Pool> {
    Ok(Pool::open(&folders.photos, &folders.cutouts, split, folders.memory_mib << 20)?)
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
    let pool = open_pool(&options.folders, Split::Train)?;
    let held_out = open_pool(&options.folders, Split::HeldOut)?;
    eprintln!("training pictures: {:?}\nheld out: {:?}", pool.census(), held_out.census());
    let report = train(&settings, pool, held_out)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
