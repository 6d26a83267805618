//! The training run: steps, state on disk, a held-out evaluation every few minutes.
//!
//! Invariant: what is on disk is always a whole state; a run that was stopped, by whatever, goes on from it at the very step. Memory is
//! flat: nothing is kept per step. Guarded by the tests below.

use crate::error::{Error, Result};
use crate::model::checkpoint::{Card, Checkpoint};
use crate::model::codec::{PatchCodec, cut};
use crate::model::config::Config;
use crate::train::batches::Batches;
use crate::train::clip::{ClipSpec, make_clip};
use crate::train::evaluate::{Clips, FRAMES, PUBLISHED, Report, evaluate};
use crate::train::example::Example;
use crate::train::film::Withheld;
use crate::train::network::Sight;
use crate::train::pool::Pool;
use crate::train::replay::Source;
use crate::train::trainee::{Trainee, learning_rate, rates};
use candle_core::Device;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to train, on what, for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the run: `state/` to resume, `best/` and `last/` checkpoints, `log.csv`, contact sheets.
    pub run: PathBuf,
    /// Architecture of a new run; a resumed one keeps its own.
    pub config: Config,
    /// Folder of a checkpoint whose architecture and weights a new run starts from instead.
    pub from: Option<PathBuf>,
    /// Minutes of training in all, over every resumption; the learning rate falls over the last third.
    pub minutes: f64,
    /// Stop after this many steps even if there is time.
    pub most_steps: Option<u64>,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// Pixels of a batch, per frame: 131072 is eight clips of 128x128, or twice as many single chunks.
    pub batch_px: usize,
    /// Evaluation clips' width and height, px.
    pub evaluation_size: (usize, usize),
    /// Minutes between evaluations.
    pub evaluate_every: f64,
    /// Clips of an evaluation.
    pub evaluation_clips: usize,
    /// Threads that make examples.
    pub workers: usize,
    /// Decides everything random.
    pub seed: u64,
}

/// Picture sizes in training, px, as often as each comes.
pub const SIZES: [(usize, usize); 5] = [(128, 128), (128, 128), (192, 192), (256, 256), (384, 224)];
/// Steps after which the pool's working set moves on, where not all photographs fit into memory.
pub(super) const STEPS_PER_EPOCH: u64 = 50;

/// What a run reports as it goes.
pub enum Event<'a> {
    /// After each step.
    Step {
        /// Steps done.
        step: u64,
        /// Smoothed loss.
        loss: f32,
        /// Examples per second of this session.
        examples_per_s: f64,
        /// Seconds trained, over every resumption.
        seconds: f64,
    },
    /// After each evaluation, with its line in the log.
    Evaluated(&'a str),
}

/// Trains until the time is up; returns the last evaluation.
pub fn train(settings: &Settings, pool: Pool, held_out: &Pool, tell: &mut dyn FnMut(Event)) -> Result<Report> {
    std::fs::create_dir_all(&settings.run).map_err(|e| Error::file(&settings.run, e))?;
    let mut trainee = settings.open(&pool)?;
    let pool = Arc::new(pool);
    let mut examples = settings.examples(pool.clone(), &trainee)?;
    let started = Instant::now();
    let already = trainee.seconds;
    let mut smooth_loss = None;
    let mut examples_done = 0usize;
    let mut last_evaluation = Instant::now();
    loop {
        pool.rotate_to(trainee.optimizer.steps() / STEPS_PER_EPOCH)?;
        let batch = examples.next()?;
        let progress = (trainee.seconds / (settings.minutes * 60.0)).min(1.0);
        let loss = settings.step(&mut trainee, &batch, progress)?;
        examples_done += batch.len();
        trainee.seconds = already + started.elapsed().as_secs_f64();
        let smooth = smooth_loss.map_or(loss, |s: f32| s + 0.02 * (loss - s));
        smooth_loss = Some(smooth);
        let examples_per_s = examples_done as f64 / started.elapsed().as_secs_f64();
        tell(Event::Step { step: trainee.optimizer.steps(), loss: smooth, examples_per_s, seconds: trainee.seconds });
        let over = trainee.seconds >= settings.minutes * 60.0 || settings.most_steps.is_some_and(|most| trainee.optimizer.steps() >= most);
        if !over && last_evaluation.elapsed() < Duration::from_secs_f64(settings.evaluate_every * 60.0) {
            continue;
        }
        trainee.save(&settings.run.join("state"), &settings.card(&trainee, None))?;
        let report = settings.evaluate(trainee.optimizer.steps(), held_out)?;
        let minutes = trainee.seconds / 60.0;
        let line =
            format!("step {}, minute {minutes:.1}, {examples_per_s:.2} examples/s, loss {smooth:.5}: {report}", trainee.optimizer.steps());
        tell(Event::Evaluated(&line));
        log(&settings.run, &line)?;
        if trainee.best.is_none_or(|best| report.uncovered_gain_db > best) {
            trainee.best = Some(report.uncovered_gain_db);
            trainee.export(&settings.run.join("best"), &settings.card(&trainee, Some(&report)))?;
        }
        last_evaluation = Instant::now();
        if over {
            trainee.export(&settings.run.join("last"), &settings.card(&trainee, Some(&report)))?;
            return Ok(report);
        }
    }
}

impl Settings {
    /// Takes up the run in the folder, or starts it.
    fn open(&self, pool: &Pool) -> Result<Trainee> {
        if let Some(trainee) = Trainee::open(&self.run.join("state"))? {
            return Ok(trainee);
        }
        match &self.from {
            Some(folder) => Trainee::from_checkpoint(folder),
            None => Trainee::fresh(&self.config, fit_codec(&self.config, pool, self.seed)?, self.seed),
        }
    }

    /// Starts to make batches, from the trainee's next step on.
    fn examples(&self, pool: Arc<Pool>, trainee: &Trainee) -> Result<Batches> {
        let (config, codec) = (trainee.config.clone(), trainee.codec.clone());
        let (sizes, withheld) = (SIZES.to_vec(), Withheld::default());
        let source = Source { pool, config: config.clone(), seed: self.seed, sizes, batch_px: self.batch_px, withheld };
        Batches::start(source, trainee.optimizer.steps(), self.workers, move |film, rng| Example::new(&config, &codec, film, rng))
    }

    /// One optimizer step, `progress` (0..1) of the run being over; returns the loss.
    fn step(&self, trainee: &mut Trainee, batch: &[Example], progress: f64) -> Result<f32> {
        let rate = learning_rate(self.learning_rate, trainee.optimizer.steps(), progress);
        trainee.step(batch, Sight::Causal, rates(rate))
    }

    fn card(&self, trainee: &Trainee, report: Option<&Report>) -> Card {
        let figures = report.map_or(String::new(), |r| format!(" Held-out: {r}"));
        let (minutes, steps) = (trainee.seconds / 60.0, trainee.optimizer.steps());
        let origin = format!("Trained by `kinebrush train` for {minutes:.0} minutes, {steps} steps, seed {}.{figures}", self.seed);
        trainee.card("Sketch", origin)
    }

    /// Evaluates the averaged parameters as they will be shipped: those that were saved last.
    fn evaluate(&self, steps: u64, held_out: &Pool) -> Result<Report> {
        let (checkpoint, _) = Checkpoint::load_trainable(&self.run.join("state"), &Device::Cpu, false)?;
        let sheet = self.run.join(format!("sheet-{steps:06}.png"));
        let (count, size) = (self.evaluation_clips, self.evaluation_size);
        evaluate(&checkpoint, &Device::Cpu, held_out, Clips { first: PUBLISHED, count, size, frames: FRAMES, sheet: Some(&sheet) })
    }
}

/// Adds a line to the log of a run.
pub(super) fn log(run: &Path, line: &str) -> Result<()> {
    use std::io::Write;
    let path = run.join("log.txt");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut f| writeln!(f, "{line}")).map_err(|e| Error::file(&path, e))
}

pub(super) fn example_seed(seed: u64, batch: u64, index: u64) -> u64 {
    crate::model::parameters::fnv1a(&[seed.to_le_bytes(), batch.to_le_bytes(), index.to_le_bytes()].concat())
}

/// Fits the codec to frames of the training clips.
pub fn fit_codec(config: &Config, pool: &Pool, seed: u64) -> Result<PatchCodec> {
    const CLIPS: u64 = 96;
    let times: Vec<f32> =
        (0..config.frames_per_latent * 2).map(|t| t as f32 * 3.0 / config.frames_per_latent as f32).map(f32::floor).collect();
    let mut patches = Vec::new();
    for i in 0..CLIPS {
        let side = 16 * config.token_px().div_ceil(2);
        let clip =
            make_clip(pool, &ClipSpec { width: side, height: side, frame_times: times.clone(), seed: example_seed(seed, u64::MAX, i) });
        for frames in clip.frames.chunks_exact(config.frames_per_latent) {
            patches.extend(cut(&frames.iter().collect::<Vec<_>>(), config.cell_px));
        }
    }
    PatchCodec::fit(config.cell_px, config.frames_per_latent, config.latent_channels, &patches)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::train::film::{Extent, Film};
    use crate::train::pool::tests::folders;
    use candle_core::safetensors;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn settings(run: &Path) -> Settings {
        Settings {
            run: run.to_owned(),
            config: Config::tiny(),
            from: None,
            minutes: 1e6,
            most_steps: None,
            learning_rate: 3e-3,
            batch_px: 16_384,
            evaluation_size: (64, 64),
            evaluate_every: 1e6,
            evaluation_clips: 6,
            workers: 2,
            seed: 4,
        }
    }

    fn state(run: &Path) -> Vec<(String, Vec<f32>)> {
        let tensors = safetensors::load(run.join("state/optimizer.safetensors"), &Device::Cpu).unwrap();
        let mut list: Vec<_> = tensors.into_iter().filter(|(name, _)| name.contains('/')).collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list.into_iter().map(|(name, t)| (name, t.flatten_all().unwrap().to_vec1().unwrap())).collect()
    }

    #[test]
    fn a_run_learns_and_a_stopped_one_goes_on_at_the_very_step() {
        let (root, photos, cutouts) = folders(12, 12);
        let go = |name: &str, steps: u64| {
            let (pool, held_out) = Pool::open_both(std::slice::from_ref(&photos), std::slice::from_ref(&cutouts), 1 << 28).unwrap();
            let mut losses = Vec::new();
            let settings = Settings { most_steps: Some(steps), ..settings(&root.path().join(name)) };
            let report = train(&settings, pool, &held_out, &mut |event| {
                if let Event::Step { step, loss, .. } = event {
                    losses.push((step, loss));
                }
            });
            (losses, report.unwrap())
        };
        let (whole, report) = go("whole", 5);
        let (first, _) = go("halves", 3);
        let (second, again) = go("halves", 5);
        assert_eq!(first.iter().chain(&second).map(|(step, _)| *step).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(whole[..3], first[..]);
        assert!(state(&root.path().join("whole")) == state(&root.path().join("halves")), "the resumed run went another way");
        assert_eq!(report.uncovered_gain_db, again.uncovered_gain_db);
        assert!(report.clips > 0 && report.uncovered_gain_db.is_finite() && report.baseline_uncovered_psnr_db > 5.0);
        for file in ["best/model.ron", "last/model.safetensors", "log.txt", "sheet-000005.png"] {
            assert!(root.path().join("whole").join(file).exists(), "{file}");
        }
        // The shipped folder can be loaded, and holds what was trained.
        let shipped = Checkpoint::load(&root.path().join("whole/last"), &Device::Cpu).unwrap();
        assert_eq!(shipped.dit.config, Config::tiny());
        // And a new run can start from it, whatever architecture it would have had.
        let from = |folder: &str| Settings {
            config: Config::sketch(),
            from: Some(root.path().join(folder)),
            ..settings(&root.path().join("another"))
        };
        let (pool, _) = Pool::open_both(std::slice::from_ref(&photos), std::slice::from_ref(&cutouts), 1 << 28).unwrap();
        let started = from("whole/last").open(&pool).unwrap();
        assert_eq!((started.config.clone(), started.optimizer.steps(), started.seconds), (Config::tiny(), 0, 0.0));
        let file = safetensors::load(root.path().join("whole/last/model.safetensors"), &Device::Cpu).unwrap();
        for (name, value) in started.averaged().unwrap() {
            let saved = file[&name].to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(saved == value.flatten_all().unwrap().to_vec1::<f32>().unwrap(), "{name}");
        }
        assert!(from("nowhere").open(&pool).err().unwrap().to_string().contains("nowhere"));
    }

    #[test]
    fn the_loss_falls_on_a_batch_that_is_seen_again_and_again() {
        let (root, photos, cutouts) = folders(12, 12);
        let (pool, _) = Pool::open_both(&[photos], &[cutouts], 1 << 28).unwrap();
        let settings = settings(root.path());
        let mut trainee = settings.open(&pool).unwrap();
        let example = |i| {
            let film = Film::random(&pool, &trainee.config, Extent::Window, (64, 64), Withheld::default(), i);
            Example::new(&trainee.config, &trainee.codec, &film, &mut ChaCha8Rng::seed_from_u64(i))
        };
        let batch: Vec<Example> = (0..4).map(example).collect();
        let losses: Vec<f32> = (0..120).map(|_| settings.step(&mut trainee, &batch, 0.0).unwrap()).collect();
        assert!(losses[119] < 0.8 * losses[0], "{} -> {}", losses[0], losses[119]);
    }
}
