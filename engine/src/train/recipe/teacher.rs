//! The teacher: the same transformer, seeing whole clips at one noise level; then once more with part of the tracks withheld.
//!
//! Invariant: an example depends on the pool and its number alone, so a resumed run sees what an uninterrupted one would. Guarded by the
//! tests of the recipe.

use super::flow::{shifted, without_motion};
use super::{Ground, Recipe, Run};
use crate::error::Result;
use crate::model::codec::PatchCodec;
use crate::model::config::Config;
use crate::train::clip::ClipSpec;
use crate::train::example::{Example, Material};
use crate::train::film::{Film, Withheld};
use crate::train::network::Sight;
use crate::train::pool::Pool;
use crate::train::trainee::{Trainee, learning_rate, rates};
use crate::train::trainer::{STEPS_PER_EPOCH, example_seed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Share of objects that are let go in the second stage once they rest.
const RELEASED: f32 = 0.5;
/// Smallest noise level that is trained at: below it there is nothing to learn.
const LEAST_LEVEL: f32 = 0.02;

/// Both stages, in one state: the second begins where the first ended.
pub(super) fn train(run: &mut Run, teacher: &mut Trainee) -> Result<()> {
    let Ground { recipe, pool, seed, .. } = run.ground;
    let Recipe { teacher_steps, masked_steps, .. } = *recipe;
    let all = teacher_steps + masked_steps;
    run.train(("teacher", "teacher"), teacher, (0, all), |_, teacher| {
        let number = teacher.optimizer.steps();
        pool.rotate_to(number / STEPS_PER_EPOCH)?;
        let withheld = match number < teacher_steps {
            true => Withheld::default(),
            false => Withheld { masking: recipe.masking, released: RELEASED },
        };
        let seed = |i: usize| example_seed(seed, number, i as u64);
        let codec = &teacher.codec;
        let batch: Vec<Example> = (0..recipe.batch).into_par_iter().map(|i| example(pool, recipe, codec, withheld, seed(i))).collect();
        let rate = learning_rate(recipe.learning_rates.0, number, number as f64 / all as f64);
        Ok(teacher.step(&batch, Sight::All, rates(rate))?.into())
    })
}

/// The clip of `seed`, as many frames as the student's window and the chunk in work span.
pub(super) fn material(pool: &Pool, config: &Config, codec: &PatchCodec, size: (usize, usize), withheld: Withheld, seed: u64) -> Material {
    let frames = config.span_latents() * config.frames_per_latent;
    let frame_times = (0..frames).map(|t| t as f32).collect();
    let spec = ClipSpec { width: size.0, height: size.1, frame_times, seed };
    Material::new(config, codec, &Film::new(pool, &spec, withheld))
}

fn example(pool: &Pool, recipe: &Recipe, codec: &PatchCodec, withheld: Withheld, seed: u64) -> Example {
    let config = &recipe.config;
    let material = material(pool, config, codec, recipe.size, withheld, seed);
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let t = shifted(rng.random_range(LEAST_LEVEL..1.0), recipe.shift);
    let levels = vec![t; material.condition.latents / config.chunk_latents];
    let mut input = material.input(config, &material.clean, levels, rng);
    if rng.random_bool(recipe.dropout.into()) {
        input.condition = without_motion(config, &input.condition);
    }
    material.example(input)
}
