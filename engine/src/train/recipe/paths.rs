//! How the student starts: the teacher's videos, with the states that their flow passed, are kept in files; the student learns to jump from
//! such a state to the end, under causal masks with random sinks and windows (ODE initialisation, CausVid and MotionStream).
//!
//! Invariant: a file holds all of one clip that cannot be made again from its seed; whatever files are there already are not made
//! again. Guarded by the tests of the recipe.

use super::flow::Teacher;
use super::teacher::material;
use super::{Ground, Progress, Recipe, Run};
use crate::error::{Error, Result};
use crate::media::atomic;
use crate::train::example::{Example, Input, Material};
use crate::train::film::Withheld;
use crate::train::network::Sight;
use crate::train::trainee::{Trainee, learning_rate, rates};
use crate::train::trainer::example_seed;
use candle_core::{Device, Tensor, safetensors};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::path::PathBuf;

/// A number that sets the paths' clips apart from those of other stages.
const PATHS: u64 = 0x7A74;

impl Ground<'_> {
    fn path_file(self, index: u64) -> PathBuf {
        self.folder.join("paths").join(format!("{index:05}.safetensors"))
    }

    fn path_seed(self, index: u64) -> u64 {
        example_seed(self.seed ^ PATHS, index, 0)
    }
}

/// Lets the teacher make its videos.
pub(super) fn make(run: &mut Run, teacher: &mut Trainee) -> Result<()> {
    let ground = run.ground;
    let folder = ground.folder.join("paths");
    std::fs::create_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
    // A clip can only be made again from the same pictures.
    ground.pool.rotate_to(0)?;
    let recipe = ground.recipe;
    let Recipe { teacher_denoising_steps, shift, guidance, .. } = *recipe;
    let Trainee { config, codec, network, optimizer, .. } = teacher;
    let mut film = Teacher { config, network, values: optimizer.values(), guidance };
    for index in 0..recipe.paths {
        let path = ground.path_file(index);
        if path.exists() {
            continue;
        }
        let seed = ground.path_seed(index);
        let material = material(ground.pool, config, codec, recipe.size, Withheld::default(), seed);
        let made = film.film(&material, teacher_denoising_steps, shift, &recipe.student_levels, seed)?;
        let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
        let mut tensors = vec![("clean".to_owned(), tensor(&made.latents)?)];
        for (i, state) in made.states.iter().enumerate() {
            tensors.push((format!("state.{i}"), tensor(state)?));
        }
        let bytes = ::safetensors::serialize(tensors, None).map_err(|e| Error::file(&path, e))?;
        atomic::write_atomic(&path, |w| w.write_all(&bytes))?;
        (run.tell)(Progress { stage: "paths", steps: (index + 1, recipe.paths), loss: 0.0 });
    }
    Ok(())
}

/// Trains the student on the paths.
pub(super) fn train(run: &mut Run, student: &mut Trainee) -> Result<()> {
    let ground = run.ground;
    let recipe = ground.recipe;
    let last = recipe.path_steps;
    ground.pool.rotate_to(0)?;
    run.train(("start", "student"), student, (0, last), |_, student| {
        let number = student.optimizer.steps();
        let rng = &mut ChaCha8Rng::seed_from_u64(example_seed(ground.seed ^ PATHS, number, 1));
        // One choice for the whole batch: its clips must be of one length.
        let chosen = Window::random(recipe, rng);
        let picks: Vec<(u64, u64)> = (0..recipe.batch).map(|_| (rng.random_range(0..recipe.paths), rng.random())).collect();
        let trainee = &*student;
        let batch: Vec<Example> =
            picks.into_par_iter().map(|(index, seed)| example(ground, trainee, &chosen, index, seed)).collect::<Result<_>>()?;
        let rate = learning_rate(recipe.learning_rates.0, number, number as f64 / last as f64);
        Ok(student.step(&batch, Sight::Causal, rates(rate))?.into())
    })
}

/// Which chunks of a clip are seen: a sink, a window, and the chunk in work.
struct Window {
    chunks: Vec<usize>,
    /// Chunks before this one are clean history.
    clean: usize,
}

impl Window {
    /// A sink of any size up to the model's (now and then none at all), and a window of any size.
    fn random(recipe: &Recipe, rng: &mut ChaCha8Rng) -> Self {
        let config = &recipe.config;
        let all = config.sink_chunks + config.window_chunks + 1;
        let sink = rng.random_range(0..=config.sink_chunks);
        let window = rng.random_range(0..=config.window_chunks);
        let first = rng.random_range(sink..=all - window - 1);
        let chunks: Vec<usize> = (0..sink).chain(first..first + window + 1).collect();
        let clean = if chunks.len() > 1 && rng.random_bool(0.5) { rng.random_range(1..chunks.len()) } else { 0 };
        Self { chunks, clean }
    }
}

/// A clip of the paths, seen through a window; each chunk that is no history at one of the student's levels.
fn example(ground: Ground, student: &Trainee, window: &Window, index: u64, seed: u64) -> Result<Example> {
    let (recipe, config) = (ground.recipe, &student.config);
    let path = ground.path_file(index);
    let tensors = safetensors::load(&path, &Device::Cpu).map_err(|e| Error::file(&path, e))?;
    let get = |name: &str| -> Result<Vec<f32>> {
        let tensor = tensors.get(name).ok_or_else(|| Error::file(&path, format!("has no `{name}`; delete it, it is made again")))?;
        Ok(tensor.to_vec1::<f32>()?)
    };
    let mut material = material(ground.pool, config, &student.codec, recipe.size, Withheld::default(), ground.path_seed(index));
    let clean = get("clean")?;
    if clean.len() != material.clean.len() {
        return Err(Error::file(&path, "is of another size; delete it, it is made again"));
    }
    aim_at(&mut material, student, clean);
    let all = config.span_latents() / config.chunk_latents;
    let states = (0..recipe.student_levels.len()).map(|i| get(&format!("state.{i}"))).collect::<Result<Vec<_>>>()?;
    let material = material.pick(all, &window.chunks);
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let chunk = material.clean.len() / window.chunks.len();
    let (mut noisy, mut levels) = (Vec::with_capacity(material.clean.len()), Vec::new());
    for (i, from) in window.chunks.iter().enumerate() {
        let level = rng.random_range(0..states.len());
        if i < window.clean {
            noisy.extend_from_slice(&material.clean[i * chunk..][..chunk]);
        } else {
            noisy.extend_from_slice(&states[level][from * chunk..][..chunk]);
        }
        levels.push(if i < window.clean { 0.0 } else { recipe.student_levels[level] });
    }
    Ok(material.example(Input::new(&material.condition, noisy, levels)))
}

/// Makes the teacher's video the truth: where the source shows nothing, and there alone.
fn aim_at(material: &mut Material, student: &Trainee, clean: Vec<f32>) {
    let patch = student.config.patch_len();
    let decoded = student.codec.decode(&clean);
    let cells =
        material.truth.chunks_exact_mut(patch).zip(decoded.chunks_exact(patch)).zip(material.condition.uncovered.chunks_exact(patch / 3));
    for ((truth, made), uncovered) in cells {
        let pixels = truth.chunks_exact_mut(3).zip(made.chunks_exact(3)).zip(uncovered);
        pixels.for_each(|((truth, made), u)| truth.iter_mut().zip(made).for_each(|(truth, made)| *truth += u * (made - *truth)));
    }
    material.clean = clean;
}
