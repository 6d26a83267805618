//! What can be written on the command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Paint motion on a picture and watch it become video.
#[derive(Parser)]
#[command(name = "kinebrush", version)]
pub struct Arguments {
    /// Threads to compute with; all cores if not given.
    #[arg(long, global = true)]
    pub threads: Option<usize>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train Sketch on clips made on the fly from photographs and cut-outs.
    Train(TrainOptions),
}

/// Where the pictures for training and evaluation are.
#[derive(Args, Clone)]
pub struct PictureFolders {
    /// Folders of photographs, searched with all below them.
    #[arg(long, required = true, num_args = 1..)]
    pub photos: Vec<PathBuf>,
    /// Folders of cut-outs (pictures with transparency).
    #[arg(long, required = true, num_args = 1..)]
    pub cutouts: Vec<PathBuf>,
    /// Memory for decoded photographs, MiB.
    #[arg(long, default_value_t = 4096)]
    pub memory_mib: usize,
}

#[derive(Args)]
pub struct TrainOptions {
    #[command(flatten)]
    pub folders: PictureFolders,
    /// Folder of the run; an interrupted run in it goes on.
    #[arg(long)]
    pub run: PathBuf,
    /// Minutes of training in all, over every resumption.
    #[arg(long, default_value_t = 120.0)]
    pub minutes: f64,
    /// Stop after this many steps.
    #[arg(long)]
    pub steps: Option<u64>,
    /// Largest learning rate.
    #[arg(long, default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// Pixels of a batch, per frame.
    #[arg(long, default_value_t = 131_072)]
    pub batch_px: usize,
    /// Minutes between held-out evaluations.
    #[arg(long, default_value_t = 15.0)]
    pub evaluate_every: f64,
    /// Clips of a held-out evaluation.
    #[arg(long, default_value_t = 32)]
    pub evaluation_clips: usize,
    /// Threads that make examples.
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
    /// Decides everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Train the tiny test model instead of Sketch.
    #[arg(long)]
    pub tiny: bool,
}
