//! The MotionStream recipe (arXiv 2511.01266) at our scale: a teacher that sees whole clips, a student that starts from the teacher's
//! paths under causal masks, and learns to the end on its own rollouts.
//!
//! Stages, each a folder of the run with a state to go on from: `teacher` (rectified flow, condition dropout), then the same network
//! with tracks withheld; `paths` (the teacher's videos and the states they passed); `student` (regression on the paths, Self Forcing
//! with distribution matching), `critic`. Invariant: a run that was stopped, by whatever, goes on at the last saved step of its stage;
//! a finished stage is not begun again. Guarded by the tests below.

mod distill;
mod flow;
mod paths;
mod teacher;

pub use flow::{Guidance, Teacher, shifted};

use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::train::evaluate::{self, Clips, PUBLISHED, Report};
use crate::train::pool::Pool;
use crate::train::trainee::Trainee;
use crate::train::trainer::{SIZES, fit_codec, log};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// How much of what, in every stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Architecture of teacher, critic and student.
    pub config: Config,
    /// Model folder whose weights the teacher starts from, of that architecture; fresh ones if not given.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// Noise levels that the student denoises at, falling from 1.
    pub student_levels: Vec<f32>,
    /// Width and height of the clips of paths, rollouts and judgements, px.
    pub size: (usize, usize),
    /// Clips of that size in a batch; what holds the teacher's to the same number of pixels.
    pub batch: usize,
    /// Sizes of the teacher's clips, as often as each comes, px.
    pub teacher_sizes: Vec<(usize, usize)>,
    /// Timestep shift: k of `k t / (1 + (k - 1) t)`.
    pub shift: f32,
    /// Share of examples in which the teacher is not told the motion.
    pub dropout: f32,
    /// Guidance of the teacher.
    pub guidance: Guidance,
    /// Share of points that are hidden for a while in the teacher's second stage.
    pub masking: f32,
    /// Steps of the teacher's flow.
    pub teacher_denoising_steps: usize,
    /// Training steps of the teacher's first stage.
    pub teacher_steps: u64,
    /// Training steps of its second stage, with tracks withheld.
    pub masked_steps: u64,
    /// Clips whose paths the student starts from.
    pub paths: u64,
    /// Training steps on the paths.
    pub path_steps: u64,
    /// Generator steps on the student's own rollouts.
    pub distill_steps: u64,
    /// Critic steps for each of the generator's.
    pub critic_steps: usize,
    /// Most chunks by which a rollout is longer than the window.
    pub beyond_window: usize,
    /// Largest learning rates: teacher and paths, then student and critic on rollouts.
    pub learning_rates: (f64, f64),
}

impl Recipe {
    /// For Sketch on a laptop's processor, some hours.
    pub fn sketch() -> Self {
        Self {
            config: open(Config::sketch()),
            from: None,
            student_levels: vec![1.0, 0.5],
            size: (128, 128),
            batch: 8,
            teacher_sizes: SIZES.to_vec(),
            shift: 3.0,
            dropout: 0.1,
            guidance: Guidance { motion: 1.5, text: 3.0 },
            masking: 0.2,
            teacher_denoising_steps: 30,
            teacher_steps: 6000,
            masked_steps: 1500,
            paths: 400,
            path_steps: 1500,
            distill_steps: 400,
            critic_steps: 5,
            beyond_window: 4,
            learning_rates: (1e-3, 5e-5),
        }
    }

    /// Every stage in seconds, for tests.
    pub fn tiny() -> Self {
        Self {
            config: open(Config::tiny()),
            size: (64, 64),
            batch: 2,
            teacher_sizes: vec![(64, 64)],
            teacher_denoising_steps: 4,
            teacher_steps: 6,
            masked_steps: 3,
            paths: 3,
            path_steps: 4,
            distill_steps: 2,
            critic_steps: 2,
            beyond_window: 2,
            ..Self::sketch()
        }
    }

    /// This recipe for the model in `folder`: its architecture, and a teacher that starts from its weights.
    ///
    /// # Errors
    /// A folder that is no model.
    pub fn starting_from(self, folder: &Path) -> Result<Self> {
        let config = Checkpoint::load(folder, &Device::Cpu)?.card.config;
        Ok(Self { config: open(config), from: Some(folder.into()), ..self })
    }

    /// Says which field cannot work.
    pub fn validate(&self) -> Result<()> {
        self.student().validate()?;
        let token = self.config.token_px();
        let fits =
            |(width, height): &(usize, usize)| *width.min(height) >= 32 && width.is_multiple_of(token) && height.is_multiple_of(token);
        if !fits(&self.size) {
            return Err(Error::field("size", format!("must be multiples of {token} px, at least 32")));
        }
        if self.teacher_sizes.is_empty() || !self.teacher_sizes.iter().all(fits) {
            return Err(Error::field("teacher_sizes", format!("must be at least one, of multiples of {token} px from 32 on")));
        }
        if self.batch == 0 || self.teacher_denoising_steps == 0 || self.paths == 0 {
            return Err(Error::field("batch", "teacher_denoising_steps and paths must be at least 1"));
        }
        if self.student_levels.first() != Some(&1.0) {
            return Err(Error::field("student_levels", "must begin with 1: a chunk starts from noise alone"));
        }
        if !(self.shift >= 1.0 && self.shift.is_finite()) {
            return Err(Error::field("shift", "must be 1 (none) or more"));
        }
        let shares = [("dropout", self.dropout), ("masking", self.masking)];
        if let Some((name, _)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(Error::field(*name, "must be between 0 and 1"));
        }
        if !(self.guidance.motion >= 0.0 && self.guidance.motion.is_finite() && self.guidance.text >= 0.0) {
            return Err(Error::field("guidance", "weights must be 0 or more"));
        }
        Ok(())
    }

    /// The student's architecture: the teacher's with its own schedule.
    pub fn student(&self) -> Config {
        Config { noise_levels: self.student_levels.clone(), ..self.config.clone() }
    }
}

/// Whoever invents texture must be allowed to show it.
fn open(config: Config) -> Config {
    Config { fine_correction: 1.0, ..config }
}

/// What a run of the recipe reports.
pub struct Progress<'a> {
    /// Which stage.
    pub stage: &'a str,
    /// Steps of it that are done, and all.
    pub steps: (u64, u64),
    /// Smoothed loss.
    pub loss: f64,
}

/// What all stages work with.
#[derive(Clone, Copy)]
struct Ground<'a> {
    folder: &'a Path,
    recipe: &'a Recipe,
    pool: &'a Arc<Pool>,
    workers: usize,
    seed: u64,
}

impl Ground<'_> {
    fn state(self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// A run in work.
struct Run<'a> {
    ground: Ground<'a>,
    /// Seconds between saved states.
    save_every: f64,
    /// Steps of the trainee that was saved last.
    saved_at: Option<u64>,
    tell: &'a mut dyn FnMut(Progress),
}

impl Run<'_> {
    fn save(&self, trainee: &Trainee, name: &str) -> Result<()> {
        let origin =
            format!("The {name} of `kinebrush train --recipe full`, {} steps, seed {}.", trainee.optimizer.steps(), self.ground.seed);
        trainee.save(&self.ground.state(name), &trainee.card(name, origin))
    }

    /// Calls `step` until the trainee, whose state is the folder `name`, has done `last` steps; saves every now and then and at the end.
    fn train(
        &mut self,
        (stage, name): (&str, &str),
        trainee: &mut Trainee,
        (first, last): (u64, u64),
        mut step: impl FnMut(&mut Self, &mut Trainee) -> Result<f64>,
    ) -> Result<()> {
        let (mut smooth, mut saved) = (None, Instant::now());
        while trainee.optimizer.steps() < last {
            let before = trainee.optimizer.steps();
            let start = Instant::now();
            let loss = step(self, trainee)?;
            trainee.seconds += start.elapsed().as_secs_f64();
            let done = trainee.optimizer.steps();
            if done == before {
                return Err(Error::field(stage, "has a gradient that is not finite; start the run anew with a smaller learning rate"));
            }
            let loss = smooth.map_or(loss, |s: f64| s + 0.05 * (loss - s));
            smooth = Some(loss);
            (self.tell)(Progress { stage, steps: (done - first, last - first), loss });
            if done == last || saved.elapsed().as_secs_f64() > self.save_every {
                self.save(trainee, name)?;
                (saved, self.saved_at) = (Instant::now(), Some(done));
                log(self.ground.folder, &format!("{stage}: step {done}, minute {:.1}, loss {loss:.6}", trainee.seconds / 60.0))?;
            }
        }
        Ok(())
    }
}

/// Where a run of the recipe is, and how it is judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the run.
    pub folder: PathBuf,
    /// What to do; a folder that holds a recipe already must hold this one.
    pub recipe: Recipe,
    /// Held-out clips for the judgement after each network: the same for all, of the recipe's size and as long as the teacher sees, so
    /// that what the student loses against its teacher is read off.
    pub evaluation_clips: usize,
    /// Threads that make the teacher's examples.
    pub workers: usize,
    /// Decides everything random.
    pub seed: u64,
    /// Seconds between saved states.
    pub save_every: f64,
}

impl Settings {
    fn clips<'a>(&self, sheet: &'a Path) -> Clips<'a> {
        let Recipe { config, size, .. } = &self.recipe;
        let frames = config.span_latents() * config.frames_per_latent;
        Clips { first: PUBLISHED, count: self.evaluation_clips, size: *size, frames, sheet: Some(sheet) }
    }
}

/// What the recipe made.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The teacher in its many steps, on whole clips.
    pub teacher: Report,
    /// The student before it learned from its own rollouts.
    pub started: Report,
    /// The student in its few steps, chunk by chunk.
    pub student: Report,
}

/// Carries the recipe out, or goes on with it; the student is left in `student/` and, as it is shipped, in `shipped/`.
///
/// # Errors
/// A recipe that cannot work or is not the folder's, a folder that cannot be written, a loss that is not finite.
pub fn train(settings: &Settings, pool: &Arc<Pool>, held_out: &Pool, tell: &mut dyn FnMut(Progress)) -> Result<Outcome> {
    let recipe = &settings.recipe;
    recipe.validate()?;
    keep(&settings.folder, recipe)?;
    let Settings { folder, workers, seed, .. } = settings;
    let ground = Ground { folder, recipe, pool, workers: *workers, seed: *seed };
    let mut run = Run { ground, save_every: settings.save_every, saved_at: None, tell };
    let mut teacher = match (Trainee::open(&ground.state("teacher"))?, &recipe.from) {
        (Some(teacher), _) => teacher,
        (None, Some(folder)) => Trainee::like(&Trainee::from_checkpoint(folder)?, recipe.config.clone())?,
        (None, None) => Trainee::fresh(&recipe.config, fit_codec(&recipe.config, pool, settings.seed)?, settings.seed)?,
    };
    teacher::train(&mut run, &mut teacher)?;
    // From here on the teacher is its average, which does not change any more.
    let mut teacher = Trainee::like(&teacher, recipe.config.clone())?;
    let judged = judge_teacher(settings, &mut teacher, held_out)?;
    paths::make(&mut run, &mut teacher)?;
    let mut student = match Trainee::open(&ground.state("student"))? {
        Some(student) => student,
        None => Trainee::like(&teacher, recipe.student())?,
    };
    paths::train(&mut run, &mut student)?;
    let started = judge_student(settings, &student, held_out, "started")?;
    distill::train(&mut run, &mut teacher, &mut student)?;
    let report = judge_student(settings, &student, held_out, "student")?;
    let origin = format!("`kinebrush train --recipe full`, seed {}. Held-out: {report}", settings.seed);
    student.export(&settings.folder.join("shipped"), &student.card("Sketch", origin))?;
    Ok(Outcome { teacher: judged, started, student: report })
}

/// Writes the recipe into a new folder; an old one must hold the same.
fn keep(folder: &Path, recipe: &Recipe) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    let path = folder.join("recipe.ron");
    if path.exists() {
        let text = std::fs::read_to_string(&path).map_err(|e| Error::file(&path, e))?;
        let held: Recipe = ron::from_str(&text).map_err(|e| Error::file(&path, format!("line {e}; choose another folder")))?;
        return if held == *recipe { Ok(()) } else { Err(Error::file(&path, "is another recipe; choose another folder for this one")) };
    }
    let text = ron::ser::to_string_pretty(recipe, ron::ser::PrettyConfig::default()).map_err(|e| Error::file(&path, e))?;
    crate::media::atomic::write_atomic(&path, |w| w.write_all(text.as_bytes()))
}

fn judge_student(settings: &Settings, student: &Trainee, held_out: &Pool, name: &str) -> Result<Report> {
    let checkpoint = Checkpoint::in_training(student.card(name, String::new()), student.codec.clone(), student.averaged()?)?;
    let sheet = settings.folder.join(format!("sheet-{name}.png"));
    let report = evaluate::evaluate(&checkpoint, &Device::Cpu, held_out, settings.clips(&sheet))?;
    log(&settings.folder, &format!("{name}: {report}"))?;
    Ok(report)
}

/// The teacher's own videos: it sees a whole clip, which no session does.
fn judge_teacher(settings: &Settings, teacher: &mut Trainee, held_out: &Pool) -> Result<Report> {
    let recipe = &settings.recipe;
    let sheet = settings.folder.join("sheet-teacher.png");
    let (config, codec) = (teacher.config.clone(), teacher.codec.clone());
    let teacher = std::sync::Mutex::new(teacher);
    let report = evaluate::evaluate_film(config.token_px(), held_out, settings.clips(&sheet), &|guide, points, seed| {
        let mut teacher = teacher.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Trainee { network, optimizer, .. } = &mut **teacher;
        let mut film = Teacher { config: &config, network, values: optimizer.values(), guidance: recipe.guidance };
        film.pictures(&codec, guide, points, (recipe.teacher_denoising_steps, recipe.shift), seed)
    })?;
    log(&settings.folder, &format!("teacher: {report}"))?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::pool::tests::folders;

    fn settings(folder: PathBuf) -> Settings {
        Settings { folder, recipe: Recipe::tiny(), evaluation_clips: 4, workers: 2, seed: 3, save_every: 0.0 }
    }

    fn bytes(path: PathBuf) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }

    #[test]
    fn the_whole_recipe_runs_and_an_interrupted_one_ends_at_the_same_place() {
        let (root, photos, cutouts) = folders(12, 12);
        let (pool, held_out) = Pool::open_both(&[photos], &[cutouts], 1 << 28).unwrap();
        let pool = Arc::new(pool);
        let whole = settings(root.path().join("whole"));
        let mut seen = Vec::new();
        let outcome = train(&whole, &pool, &held_out, &mut |p| seen.push((p.stage.to_owned(), p.steps.0, p.loss))).unwrap();
        let recipe = &whole.recipe;
        let steps = |stage: &str| seen.iter().filter(|(name, ..)| name == stage).count() as u64;
        assert_eq!((steps("teacher"), steps("masked")), (recipe.teacher_steps, recipe.masked_steps));
        assert_eq!((steps("paths"), steps("start"), steps("distill")), (recipe.paths, recipe.path_steps, recipe.distill_steps));
        assert!(seen.iter().all(|(.., loss)| loss.is_finite()));
        for report in [&outcome.teacher, &outcome.started, &outcome.student] {
            assert!(report.clips > 0 && report.uncovered_gain_db.is_finite(), "{report}");
        }
        // What is shipped is a checkpoint with the student's own schedule.
        let shipped = Checkpoint::load(&whole.folder.join("shipped"), &Device::Cpu).unwrap();
        assert_eq!(shipped.dit.config.noise_levels, recipe.student_levels);
        assert!(whole.folder.join("sheet-teacher.png").exists() && whole.folder.join("sheet-student.png").exists());

        // Killed once in every stage, after a step and before its state is on disk.
        let broken = settings(root.path().join("broken"));
        for (stage, at) in [("teacher", 4), ("masked", 2), ("paths", 2), ("start", 3), ("distill", 2)] {
            let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                train(&broken, &pool, &held_out, &mut |p| assert!((p.stage, p.steps.0) != (stage, at), "cut here"))
            }));
            assert!(stopped.is_err(), "{stage} {at} was not reached");
        }
        let again = train(&broken, &pool, &held_out, &mut |_| {}).unwrap();
        assert_eq!(again.student.uncovered_gain_db, outcome.student.uncovered_gain_db);
        let weights = |folder: &Path| bytes(folder.join("shipped/model.safetensors"));
        assert!(weights(&whole.folder) == weights(&broken.folder), "the interrupted run went another way");
        // A run that starts from a model and trains nothing ends with that model; its schedule is the student's.
        let folder = whole.folder.join("shipped");
        let untrained = Recipe { teacher_steps: 0, masked_steps: 0, path_steps: 0, distill_steps: 0, ..Recipe::tiny() };
        let recipe = untrained.starting_from(&folder).unwrap();
        let from = Settings { folder: root.path().join("from"), recipe, ..whole.clone() };
        train(&from, &pool, &held_out, &mut |_| {}).unwrap();
        assert!(weights(&from.folder) == weights(&whole.folder), "the run did not start from the model");
        assert!(Recipe::tiny().starting_from(root.path()).unwrap_err().to_string().contains("model.ron"));
        // Another recipe is not mixed into the folder.
        let other = Settings { recipe: Recipe { dropout: 0.5, ..Recipe::tiny() }, ..whole };
        assert!(train(&other, &pool, &held_out, &mut |_| {}).unwrap_err().to_string().contains("another recipe"));
    }

    #[test]
    fn recipes_that_cannot_work_name_the_field() {
        Recipe::sketch().validate().unwrap();
        let tiny = Recipe::tiny;
        for (name, recipe) in [
            ("size", Recipe { size: (60, 64), ..tiny() }),
            ("teacher_sizes", Recipe { teacher_sizes: vec![(64, 64), (64, 60)], ..tiny() }),
            ("student_levels", Recipe { student_levels: vec![0.9], ..tiny() }),
            ("noise_levels", Recipe { student_levels: vec![1.0, 1.0], ..tiny() }),
            ("shift", Recipe { shift: f32::NAN, ..tiny() }),
            ("dropout", Recipe { dropout: 1.5, ..tiny() }),
            ("guidance", Recipe { guidance: Guidance { motion: -1.0, text: 0.0 }, ..tiny() }),
        ] {
            assert!(recipe.validate().unwrap_err().to_string().starts_with(name), "{name}");
        }
    }
}
