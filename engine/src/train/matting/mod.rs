//! Trains the matting network ([`crate::guide::matting`]) on crops of clips made on the fly.
//!
//! A round makes clips, and its steps see each crop once. Invariant: a run that was stopped goes on at the round that it had begun, from the
//! state before it. Guarded by the tests below and of `network`.

mod crop;
mod network;

use crate::error::{Error, Result};
use crate::guide::matting;
use crate::model::checkpoint::write_tensors;
use crate::model::parameters::Parameters;
use crate::train::evaluate::{FIRST_SEED, PUBLISHED};
use crate::train::optimizer::AdamW;
use crate::train::pool::Pool;
use crate::train::trainee::{learning_rate, rates};
use crate::train::trainer::{Event, example_seed, log};
use candle_core::{DType, Device};
use crop::{Crop, crops};
use network::{Places, error};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Clips of a round.
const CLIPS: u64 = 24;
/// Crops of a step.
const BATCH: usize = 32;
/// Rounds after which the pool's working set moves on.
const ROUNDS_PER_EPOCH: u64 = 10;
/// Picture sizes, px: the larger, the softer the edges.
const SIZES: [(usize, usize); 4] = [(192, 192), (256, 256), (384, 224), (448, 448)];

/// How to train.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the run; an interrupted run in it goes on.
    pub run: PathBuf,
    /// Time over every resumption, minutes.
    pub minutes: f64,
    /// Stop after the round in which this step is, too.
    pub most_steps: Option<u64>,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// Minutes between evaluations.
    pub evaluate_every: f64,
    /// Held-out clips of an evaluation.
    pub evaluation_clips: usize,
    /// Decides everything random.
    pub seed: u64,
}

/// What an evaluation found on held-out clips.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Report {
    /// Crops that count.
    pub crops: usize,
    /// Mean over crops of how much smaller the squared error of alpha is than the guided filter's, weighed by contrast, dB. Of one answer:
    /// a matte is the mean of two.
    pub gain_db: f64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} crops, alpha {:+.2} dB over the guided filter", self.crops, self.gain_db)
    }
}

/// The run so far.
struct State {
    optimizer: AdamW,
    rounds: u64,
    seconds: f64,
}

/// Trains until the time is up; writes `matting.safetensors` to the run's folder and returns the last evaluation.
pub fn train(settings: &Settings, pool: &Pool, held_out: &Pool, tell: &mut dyn FnMut(Event)) -> Result<Report> {
    std::fs::create_dir_all(&settings.run).map_err(|e| Error::file(&settings.run, e))?;
    let mut state = State::open(settings)?;
    let places = Places::new(state.optimizer.names())?;
    let (started, already, mut evaluated) = (Instant::now(), state.seconds, Instant::now());
    let (mut smooth, mut seen) = (None, 0);
    loop {
        pool.rotate_to(state.rounds / ROUNDS_PER_EPOCH)?;
        let clip = |i: u64| crops(pool, SIZES[(i % SIZES.len() as u64) as usize], example_seed(settings.seed, state.rounds, i));
        let round: Vec<Crop> = (0..CLIPS).into_par_iter().flat_map_iter(clip).collect();
        // Neighbours are of one clip; a step is of many.
        let steps = (round.len() / BATCH).max(1);
        for first in 0..steps {
            let batch: Vec<&Crop> = round.iter().skip(first).step_by(steps).collect();
            let progress = (state.seconds / (settings.minutes * 60.0)).min(1.0);
            let rate = learning_rate(settings.learning_rate, state.optimizer.steps(), progress);
            let loss = step(&mut state.optimizer, &places, &batch, rate)?;
            let average = smooth.map_or(loss, |s: f64| s + 0.02 * (loss - s));
            smooth = Some(average);
            seen += batch.len();
            state.seconds = already + started.elapsed().as_secs_f64();
            let examples_per_s = seen as f64 / started.elapsed().as_secs_f64();
            tell(Event::Step { step: state.optimizer.steps(), loss: average as f32, examples_per_s, seconds: state.seconds });
        }
        state.rounds += 1;
        let over = state.seconds >= settings.minutes * 60.0 || settings.most_steps.is_some_and(|most| state.optimizer.steps() >= most);
        if over || evaluated.elapsed() >= Duration::from_secs_f64(settings.evaluate_every * 60.0) {
            state.save(&settings.run)?;
            let report = state.evaluate(&places, held_out, settings.evaluation_clips)?;
            let line = format!("step {}, minute {:.1}: {report}", state.optimizer.steps(), state.seconds / 60.0);
            tell(Event::Evaluated(&line));
            log(&settings.run, &line)?;
            if over {
                return Ok(report);
            }
            evaluated = Instant::now();
        }
    }
}

/// One step; returns the mean loss.
fn step(optimizer: &mut AdamW, places: &Places, batch: &[&Crop], rate: f64) -> Result<f64> {
    let values = optimizer.values();
    let empty = || values.iter().map(|v| vec![0.0; v.len()]).collect::<Vec<_>>();
    let one = |crop: &&Crop| {
        let mut gradients = empty();
        places.loss(values, crop, &mut gradients).map(|loss| (loss, gradients))
    };
    let all: Vec<(f64, Vec<Vec<f32>>)> = batch.par_iter().filter_map(one).collect();
    let (mut sum, mut loss) = (empty(), 0.0);
    let share = 1.0 / all.len().max(1) as f32;
    for (own, gradients) in &all {
        loss += own / all.len() as f64;
        sum.iter_mut().zip(gradients).for_each(|(sum, own)| sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += share * own));
    }
    optimizer.step(&sum, rates(rate))?;
    Ok(loss)
}

impl State {
    fn open(settings: &Settings) -> Result<Self> {
        let parameters = Parameters::seeded(settings.seed, &Device::Cpu);
        matting::parameters(&parameters)?;
        let mut state = Self { optimizer: AdamW::new(parameters.finish()?)?, rounds: 0, seconds: 0.0 };
        let path = settings.run.join("state.safetensors");
        if path.exists() {
            let [Some(rounds), Some(seconds)] = state.optimizer.load(&path, ["rounds", "seconds"])? else {
                return Err(Error::file(&path, "does not say how many rounds and seconds it trained; choose another folder"));
            };
            (state.rounds, state.seconds) = (rounds as u64, seconds);
        }
        Ok(state)
    }

    fn save(&self, run: &Path) -> Result<()> {
        let numbers = [("rounds", self.rounds as f64), ("seconds", self.seconds)];
        self.optimizer.save(&run.join("state.safetensors"), numbers)?;
        let half = self.optimizer.averaged()?.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F16)?)));
        write_tensors(&run.join("matting.safetensors"), &half.collect::<Result<_>>()?)
    }

    fn evaluate(&self, places: &Places, held_out: &Pool, clips: usize) -> Result<Report> {
        let averaged = self.optimizer.averaged()?;
        let values = averaged.values().map(|tensor| Ok(tensor.flatten_all()?.to_vec1::<f32>()?)).collect::<Result<Vec<_>>>()?;
        let gain = |crop: Crop| {
            let (before, after) = (error(&crop, |_, _| 0.0)?, places.error(&values, &crop)?);
            Some(10.0 * ((before + 1e-5) / (after + 1e-5)).log10())
        };
        let clip = |i: usize| crops(held_out, (256, 256), FIRST_SEED + (PUBLISHED + i) as u64);
        let gains: Vec<f64> = (0..clips).into_par_iter().flat_map_iter(clip).filter_map(gain).collect();
        match gains.is_empty() {
            true => Err(Error::field("clips", "none of the clips has an object; evaluate more of them")),
            false => Ok(Report { crops: gains.len(), gain_db: gains.iter().sum::<f64>() / gains.len() as f64 }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guide::matting::Matting;
    use crate::train::pool::tests::folders;

    #[test]
    fn a_run_learns_goes_on_where_it_stopped_and_leaves_a_network_that_can_be_read() {
        let (root, photos, cutouts) = folders(12, 12);
        let (pool, held_out) = Pool::open_both(&[photos], &[cutouts], 1 << 28).unwrap();
        let go = |name: &str, steps: u64| {
            let settings = Settings {
                run: root.path().join(name),
                minutes: 1e6,
                most_steps: Some(steps),
                learning_rate: 2e-3,
                evaluate_every: 1e6,
                evaluation_clips: 8,
                seed: 3,
            };
            let mut losses = Vec::new();
            let report = train(&settings, &pool, &held_out, &mut |event| {
                if let Event::Step { step, loss, .. } = event {
                    losses.push((step, loss));
                }
            });
            (losses, report.unwrap())
        };
        // Each ends with a whole round, which has several steps.
        let (first, _) = go("halves", 1);
        let two_rounds = first.len() as u64 + 1;
        let (second, again) = go("halves", two_rounds);
        let (whole, report) = go("whole", two_rounds);
        assert!(!second.is_empty() && whole.len() == first.len() + second.len());
        assert!(whole[..first.len()] == first[..] && whole[first.len()].0 == second[0].0);
        assert_eq!((report.crops, report.gain_db), (again.crops, again.gain_db));
        assert!(report.gain_db.is_finite() && report.crops > 5);
        assert!(Matting::load(&root.path().join("whole/matting.safetensors")).unwrap() != *Matting::embedded());
    }

    #[test]
    fn the_loss_falls_on_crops_that_are_seen_again_and_again() {
        let (root, photos, cutouts) = folders(12, 12);
        let (pool, _) = Pool::open_both(&[photos], &[cutouts], 1 << 28).unwrap();
        let settings = Settings {
            run: root.path().join("none"),
            minutes: 1.0,
            most_steps: None,
            learning_rate: 2e-3,
            evaluate_every: 1.0,
            evaluation_clips: 1,
            seed: 1,
        };
        let mut state = State::open(&settings).unwrap();
        let places = Places::new(state.optimizer.names()).unwrap();
        let all: Vec<Crop> = (0..8).flat_map(|seed| crops(&pool, (96, 80), seed)).collect();
        let batch: Vec<&Crop> = all.iter().take(8).collect();
        let losses: Vec<f64> = (0..60).map(|_| step(&mut state.optimizer, &places, &batch, 2e-3).unwrap()).collect();
        assert!(losses[59] < losses[0] - 0.3, "{} -> {}", losses[0], losses[59]);
    }
}
