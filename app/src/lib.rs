//! The `kinebrush` program: the studio and the command line, both thin shells over the engine.
//!
//! Invariant: an error of the command line is one line on stderr and a non-zero exit code. Guarded by `app/tests/cli.rs`.

mod allocator;
mod arguments;
mod bench;
mod depth;
mod eval;
mod models;
mod render;
pub mod studio;
mod track;
mod train;

pub use arguments::{ModelChoice, Place};

use allocator::LargeBlocks;
use arguments::{Arguments, BenchOptions, Command, StudioOptions};
use clap::Parser;
use std::process::ExitCode;
use std::time::Instant;

/// What the program does when it is started.
pub fn main() -> ExitCode {
    let started = Instant::now();
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Studio(StudioOptions::default()));
    let window = matches!(&command, Command::Studio(_) | Command::Bench(BenchOptions { studio: Some(_), .. }));
    allocator::tune(if window { LargeBlocks::Return } else { LargeBlocks::Keep });
    // The studio's threads give way to its window, and their number is one of its settings.
    let pool = match window {
        true => Ok(()),
        false => arguments.threads.map_or(Ok(()), |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()),
    };
    if pool.is_err() {
        eprintln!("kinebrush: --threads {} cannot be used; try a smaller number", arguments.threads.unwrap_or_default());
        return ExitCode::FAILURE;
    }
    let result = match command {
        Command::Studio(StudioOptions { file, model }) => {
            studio::start::run(studio::Options { file, model, threads: arguments.threads, folders: None, file_windows: true })
        }
        Command::Render(options) => render::run(&options),
        Command::Depth(options) => depth::run(&options),
        Command::Track(options) => track::run(&options),
        Command::Eval(options) => eval::run(&options),
        Command::Models(options) => models::run(&options),
        Command::Bench(BenchOptions { studio: Some(file), seconds, json, model, .. }) => {
            let options = studio::Options { file: Some(file), model, threads: arguments.threads, folders: None, file_windows: false };
            studio::measure::run(options, seconds, json, started)
        }
        Command::Bench(options) => bench::run(&options),
        Command::Train(options) => train::run(&options),
        Command::Average(options) => models::average(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kinebrush: {error:#}");
            ExitCode::FAILURE
        }
    }
}
