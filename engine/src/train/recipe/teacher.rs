//! The teacher: the same transformer, seeing whole clips at one noise level; then once more with part of the tracks withheld.
//!
//! Invariant: an example depends on the pool's working set and its number alone, so a resumed run sees what an uninterrupted one would.
//! Guarded by the tests of the recipe.

use super::flow::{shifted, without_motion};
use super::{Ground, Recipe, Run};
use crate::error::Result;
use crate::model::codec::PatchCodec;
use crate::model::config::Config;
use crate::train::batches::Batches;
use crate::train::clip::ClipSpec;
use crate::train::example::{Example, Material};
use crate::train::film::{Film, Withheld};
use crate::train::network::Sight;
use crate::train::pool::Pool;
use crate::train::replay::Source;
use crate::train::trainee::{Trainee, learning_rate, rates};
use crate::train::trainer::STEPS_PER_EPOCH;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Share of objects that are let go in the second stage once they rest.
const RELEASED: f32 = 0.5;
/// Smallest noise level that is trained at: below it there is nothing to learn.
const LEAST_LEVEL: f32 = 0.02;

/// Both stages, in one state: the second begins where the first ended.
pub(super) fn train(run: &mut Run, teacher: &mut Trainee) -> Result<()> {
    let Recipe { teacher_steps, masked_steps, .. } = *run.ground.recipe;
    let all = teacher_steps + masked_steps;
    stage(run, teacher, "teacher", (0, teacher_steps), Withheld::default())?;
    let withheld = Withheld { masking: run.ground.recipe.masking, released: RELEASED };
    stage(run, teacher, "masked", (teacher_steps, all), withheld)
}

/// The steps from the first to the last of a stage.
fn stage(run: &mut Run, teacher: &mut Trainee, name: &str, (first, last): (u64, u64), withheld: Withheld) -> Result<()> {
    let Ground { recipe, pool, workers, seed, .. } = run.ground;
    let done = teacher.optimizer.steps();
    if done >= last {
        return Ok(());
    }
    let all = recipe.teacher_steps + recipe.masked_steps;
    let (config, sizes, batch_px) = (recipe.config.clone(), recipe.teacher_sizes.clone(), recipe.batch * recipe.size.0 * recipe.size.1);
    let source = Source { pool: pool.clone(), config, seed, sizes, batch_px, withheld };
    let (recipe, codec) = (recipe.clone(), teacher.codec.clone());
    let most = recipe.learning_rates.0;
    let mut batches = Batches::start(source, done, workers, move |film, rng| example(&recipe, &codec, film, rng))?;
    run.train((name, "teacher"), teacher, (first, last), |_, teacher| {
        let number = teacher.optimizer.steps();
        pool.rotate_to(number / STEPS_PER_EPOCH)?;
        let rate = learning_rate(most, number, number as f64 / all as f64);
        Ok(teacher.step(&batches.next()?, Sight::All, rates(rate))?.into())
    })
}

/// The clip of `seed`, as many frames as the student's window and the chunk in work span.
pub(super) fn material(pool: &Pool, config: &Config, codec: &PatchCodec, size: (usize, usize), withheld: Withheld, seed: u64) -> Material {
    let frames = config.span_latents() * config.frames_per_latent;
    let frame_times = (0..frames).map(|t| t as f32).collect();
    let spec = ClipSpec { width: size.0, height: size.1, frame_times, seed };
    Material::new(config, codec, &Film::new(pool, &spec, withheld))
}

/// All of a film at one level, now and then without its motion.
fn example(recipe: &Recipe, codec: &PatchCodec, film: &Film, rng: &mut ChaCha8Rng) -> Example {
    let config = &recipe.config;
    let material = Material::new(config, codec, film);
    let t = shifted(rng.random_range(LEAST_LEVEL..1.0), recipe.shift);
    let levels = vec![t; material.condition.latents / config.chunk_latents];
    let mut input = material.input(config, &material.clean, levels, rng);
    if rng.random_bool(recipe.dropout.into()) {
        input.condition = without_motion(config, &input.condition);
    }
    material.example(input)
}
