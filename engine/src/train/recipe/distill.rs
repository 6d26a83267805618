//! Self Forcing (Huang et al. 2025) with distribution matching (DMD, Yin et al. 2024): the student is judged on what it makes itself.
//!
//! It rolls out more chunks than its window holds, through the very session that the studio runs; one denoising step of the last chunk
//! is made again with a gradient, behind the keys and values that the session holds. Teacher and critic, who see the whole window, each
//! say what they take for the truth behind a noised version of it; the student moves to where the teacher's answer lies from the
//! critic's. The critic learns what the student makes. Invariant: keys and values of the past are constants; the student sees nothing of
//! the truth. Guarded by the tests of the recipe and of `network`.

use super::flow::{Teacher, shifted};
use super::{Ground, Guidance, Recipe, Run};
use crate::condition::Condition;
use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::contrast::Contrast;
use crate::model::sampler::{noise, noised};
use crate::stream::session::{Chunk, Session};
use crate::train::clip::ClipSpec;
use crate::train::example::{Input, Material};
use crate::train::film::{Film, Withheld};
use crate::train::network::{Past, Sight};
use crate::train::trainee::{Trainee, rates};
use crate::train::trainer::{STEPS_PER_EPOCH, example_seed};
use candle_core::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A number that sets the rollouts' clips apart from those of other stages.
const ROLLOUTS: u64 = 0xD157;
/// Noise levels at which teacher and critic are asked: the ends say nothing.
const ASKED: std::ops::Range<f32> = 0.05..0.98;

/// What the student made: the window's chunks as they are held, and the last one once more with all that its gradient needs.
struct Rollout {
    /// Sink, window and the last chunk.
    window: Material,
    /// What the student shows there, (cells, latent_channels).
    latents: Vec<f32>,
    /// The last chunk alone.
    last: Material,
    /// What the network saw in the step that is trained.
    input: Input,
    past: Past,
}

/// Trains student and critic on the student's rollouts.
pub(super) fn train(run: &mut Run, teacher: &mut Trainee, student: &mut Trainee) -> Result<()> {
    let ground = run.ground;
    let recipe = ground.recipe;
    let first = recipe.path_steps;
    let last = first + recipe.distill_steps;
    let mut critic = match Trainee::open(&ground.state("critic"))? {
        Some(critic) => critic,
        None => Trainee::like(teacher, recipe.config.clone())?,
    };
    run.saved_at = None;
    run.train(("distill", "student"), student, (first, last), |run, student| {
        let number = student.optimizer.steps();
        ground.pool.rotate_to(number / STEPS_PER_EPOCH)?;
        // The student was saved as it stands now: the critic that belongs to it is, too.
        if run.saved_at == Some(number) {
            run.save(&critic, "critic")?;
        }
        // Not its average: what learns must see what it does itself.
        let parameters = student.optimizer.current()?;
        let checkpoint = Checkpoint::in_training(student.card("student", String::new()), student.codec.clone(), parameters)?;
        let seed = |i: usize| example_seed(ground.seed ^ ROLLOUTS, number, i as u64);
        for i in 1..=recipe.critic_steps {
            let rollout = rolled_out(ground, &checkpoint, student, seed(i))?;
            critic_step(recipe, &mut critic, &rollout, seed(i))?;
        }
        let rollout = rolled_out(ground, &checkpoint, student, seed(0))?;
        student_step(recipe, teacher, &mut critic, student, &rollout, seed(0))
    })
}

/// Lets the student make a video of random length, up to some chunks more than its window holds.
fn rolled_out(ground: Ground, checkpoint: &Checkpoint, student: &mut Trainee, seed: u64) -> Result<Rollout> {
    let (recipe, config, codec) = (ground.recipe, &checkpoint.dit.config, &checkpoint.codec);
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let held = config.sink_chunks + config.window_chunks;
    let chunks = held + 1 + rng.random_range(0..=recipe.beyond_window);
    let frame_times = (0..chunks * config.chunk_frames()).map(|t| t as f32).collect();
    let spec = ClipSpec { width: recipe.size.0, height: recipe.size.1, frame_times, seed };
    let whole = Material::new(config, codec, &Film::new(ground.pool, &spec, Withheld::default()));
    let mut session = Session::new(checkpoint, &Device::Cpu, seed);
    let mut made = Chunk::default();
    let mut shown = Vec::with_capacity(chunks);
    for chunk in 0..chunks - 1 {
        session.next_chunk(&whole.pick(chunks, &[chunk]).condition, &mut made)?;
        shown.push(made.latents.clone());
    }
    let snapshot = session.snapshot()?;
    let window = snapshot.window().ok_or_else(|| Error::field("student", "must be computed by the graph in training"))?;
    let past = Past { tokens: window.filled(), layers: window.held()? };

    let last = whole.pick(chunks, &[chunks - 1]);
    let step = rng.random_range(0..config.noise_levels.len());
    session.denoise_steps(&last.condition, &mut made, step)?;
    let mut noisy = made.latents.clone();
    let unknown = &last.condition.unknown;
    let prior = last.condition.prior(config, 0..unknown.len(), &mut Contrast::default());
    noised(&mut noisy, unknown, config.noise_levels[step], prior, noise(seed, chunks as u64 - 1, step));
    let input = Input::new(&last.condition, noisy, vec![config.noise_levels[step]]);
    let mut output = Vec::new();
    student.network.output(student.optimizer.values(), &[&input], Sight::After(&past), &mut output)?;
    shown.push(last.latents(&output));
    let seen: Vec<usize> = (0..config.sink_chunks).chain(chunks - 1 - config.window_chunks..chunks).collect();
    let latents = seen.iter().flat_map(|chunk| shown[*chunk].iter().copied()).collect();
    Ok(Rollout { window: whole.pick(chunks, &seen), latents, last, input, past })
}

/// The window noised to one level, and that level.
fn asked(recipe: &Recipe, rollout: &Rollout, seed: u64) -> Input {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed ^ 1);
    let config = &recipe.config;
    let t = shifted(rng.random_range(ASKED), recipe.shift);
    let levels = vec![t; rollout.window.condition.latents / config.chunk_latents];
    rollout.window.input(config, &rollout.latents, levels, rng)
}

/// The critic learns what the student makes: the clean latents, from noised ones.
fn critic_step(recipe: &Recipe, critic: &mut Trainee, rollout: &Rollout, seed: u64) -> Result<f64> {
    let input = asked(recipe, rollout, seed);
    let condition = &rollout.window.condition;
    let scale = 1.0 / unknown_numbers(condition, &recipe.config);
    let objective =
        |picture: usize, out: &mut [f32]| towards(condition, &recipe.config, picture, out, scale, |i, shown| shown - rollout.latents[i]);
    let loss = critic.network.step_towards(critic.optimizer.values(), &[&input], Sight::All, &objective)?;
    critic.optimizer.step(critic.network.gradients(), rates(recipe.learning_rates.1))?;
    Ok(loss)
}

/// The student's last chunk moves from where the critic takes the truth to be towards where the teacher does.
fn student_step(
    recipe: &Recipe,
    teacher: &mut Trainee,
    critic: &mut Trainee,
    student: &mut Trainee,
    rollout: &Rollout,
    seed: u64,
) -> Result<f64> {
    let config = &recipe.config;
    let input = asked(recipe, rollout, seed);
    let (condition, t) = (&rollout.window.condition, input.levels[0]);
    let truth_to = |trainee: &mut Trainee, guidance| -> Result<Vec<f32>> {
        let Trainee { network, optimizer, .. } = trainee;
        let output = Teacher { config, network, values: optimizer.values(), guidance }.estimate(condition, &input.noisy, t)?;
        Ok(rollout.window.latents(&output))
    };
    let real = truth_to(teacher, recipe.guidance)?;
    let fake = truth_to(critic, Guidance { motion: 1.0, text: 1.0 })?;
    let start = rollout.latents.len() - rollout.last.clean.len();
    let (real, fake, shown) = (&real[start..], &fake[start..], &rollout.latents[start..]);
    // DMD's weight: the size of what the teacher would change.
    let count = unknown_numbers(&rollout.last.condition, config);
    let change = real.iter().zip(shown).map(|(real, shown)| f64::from((real - shown).abs())).sum::<f64>() / f64::from(count);
    let scale = 1.0 / (count * change.max(1e-3) as f32);
    let objective =
        |picture: usize, out: &mut [f32]| towards(&rollout.last.condition, config, picture, out, scale, |i, _| fake[i] - real[i]);
    let loss = student.network.step_towards(student.optimizer.values(), &[&rollout.input], Sight::After(&rollout.past), &objective)?;
    student.optimizer.step(student.network.gradients(), rates(recipe.learning_rates.1))?;
    Ok(loss)
}

/// Numbers of a condition's unknown cells, at least one.
fn unknown_numbers(condition: &Condition, config: &Config) -> f32 {
    (condition.unknown.iter().filter(|unknown| **unknown).count() * config.latent_channels).max(1) as f32
}

/// Turns a picture's output into `scale` times the gradient that `wanted` is of its latents: correction and lean share it, the gate has
/// none, and known cells have none. `wanted(number, latent)`. Returns half of `scale` times the gradient's square.
fn towards(condition: &Condition, config: &Config, picture: usize, out: &mut [f32], scale: f32, wanted: impl Fn(usize, f32) -> f32) -> f64 {
    let (channels, width) = (config.latent_channels, config.output_channels());
    let first = picture * out.len() / width;
    let mut loss = 0.0;
    for (i, out) in out.chunks_exact_mut(width).enumerate() {
        let cell = first + i;
        if !condition.unknown[cell] {
            out.fill(0.0);
            continue;
        }
        let (lean, mut dlean) = (out[channels], 0.0);
        for (c, out) in out[..channels].iter_mut().enumerate() {
            let at = cell * channels + c;
            let smooth = condition.smooth_latent[at];
            let d = wanted(at, condition.guide_latent[at] + *out + lean * smooth);
            loss += 0.5 * f64::from(scale) * f64::from(d * d);
            dlean += scale * d * smooth;
            *out = scale * d;
        }
        (out[channels], out[channels + 1]) = (dlean, 0.0);
    }
    loss
}
