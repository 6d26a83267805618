//! The `kinebrush` program: the studio and the command line, both thin shells over the engine.
//!
//! Invariant: an error of the command line is one line on stderr and a non-zero exit code. Guarded by `app/tests/cli.rs`.

mod allocator;
mod arguments;
mod bench;
mod eval;
mod models;
mod render;
pub mod studio;
mod train;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// What the program does when it is started.
pub fn main() -> ExitCode {
    allocator::keep_large_blocks();
    let arguments = Arguments::parse();
    if let Some(threads) = arguments.threads
        && rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().is_err()
    {
        eprintln!("kinebrush: --threads {threads} cannot be used; try a smaller number");
        return ExitCode::FAILURE;
    }
    let result = match arguments.command {
        Command::Render(options) => render::run(&options),
        Command::Eval(options) => eval::run(&options),
        Command::Models(options) => models::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Train(options) => train::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kinebrush: {error:#}");
            ExitCode::FAILURE
        }
    }
}
