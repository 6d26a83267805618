//! What can be written on the command line.

use clap::{Args, Parser, Subcommand};
use kinebrush_engine::train::evaluate::PUBLISHED;
use std::path::PathBuf;

/// Paint motion on a picture and watch it become video.
#[derive(Parser)]
#[command(name = "kinebrush", version)]
pub struct Arguments {
    /// Threads to compute with; all cores if not given.
    #[arg(long, global = true)]
    pub threads: Option<usize>,
    /// What to do; the studio opens if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Open the studio: paint motion on a picture while it plays.
    Studio(StudioOptions),
    /// Render a project to an MP4 (or to a folder of PNG frames if OUT ends in `/`).
    Render(RenderOptions),
    /// Estimate how near each pixel of a picture is, as a 16-bit PNG whose white is near.
    Depth(DepthOptions),
    /// Follow points through a clip and keep their tracks as .npz (`tracks`, `visibility`).
    Track(TrackOptions),
    /// Measure: a model on held-out synthetic clips, or one of the things named below.
    Eval(EvalOptions),
    /// Say which models there are, what they are and where they came from.
    Models(ModelsOptions),
    /// Measure the speed of every stage.
    Bench(BenchOptions),
    /// Train Sketch on clips made on the fly from photographs and cut-outs.
    Train(TrainOptions),
    /// Average the weights of models that were trained on from one: often better than any of them.
    Average(AverageOptions),
}

/// Which model, and where it runs.
#[derive(Args, Clone, Debug)]
pub struct ModelChoice {
    /// `sketch` (embedded), a model folder, or `none` for the guide alone.
    #[arg(long, default_value = "sketch")]
    pub model: String,
    /// What the network computes with.
    #[command(flatten)]
    pub place: Place,
}

impl Default for ModelChoice {
    /// Sketch on the CPU.
    fn default() -> Self {
        Self { model: "sketch".into(), place: Place { device: "cpu".into(), kernels: "auto".into() } }
    }
}

/// What the network computes with.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// cpu, cuda, cuda:N or metal.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Instructions on the CPU: auto, avx512-fp16, avx512-bf16, avx512, avx2, portable, fp16-emulated (what avx512-fp16 computes, on any
    /// processor, slowly), or graph for plain candle.
    #[arg(long, default_value = "auto")]
    pub kernels: String,
}

#[derive(Args, Default)]
pub struct StudioOptions {
    /// A picture or a project to open.
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelChoice,
}

#[derive(Args)]
pub struct RenderOptions {
    /// The project file.
    pub project: PathBuf,
    /// The video or the folder to write.
    #[arg(short, long)]
    pub output: PathBuf,
    /// Frames to render; the project's own number if not given.
    #[arg(long)]
    pub frames: Option<usize>,
    /// Size of the video, as WxH; the picture's own if not given. Of a picture of another shape the middle is shown.
    #[arg(long, value_parser = size)]
    pub size: Option<(usize, usize)>,
    /// Decides everything random; the project's own if not given.
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub model: ModelChoice,
}

#[derive(Args)]
pub struct DepthOptions {
    /// The picture.
    pub picture: PathBuf,
    /// The PNG to write.
    #[arg(short, long)]
    pub output: PathBuf,
    /// Folder of a Depth Anything V2 checkpoint: config.json and model.safetensors as published for transformers.
    #[arg(long)]
    pub weights: PathBuf,
    /// cpu, cuda, cuda:N or metal.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

#[derive(Args)]
pub struct TrackOptions {
    /// The clip: a video, a GIF, or a folder or run of pictures.
    pub clip: PathBuf,
    /// The tracks to write (.npz).
    #[arg(short, long)]
    pub output: PathBuf,
    /// Points along the longer side of a grid over the first frame.
    #[arg(long, default_value_t = 50, conflicts_with = "at")]
    pub points: usize,
    /// Places in the first frame to follow instead, px, as x,y.
    #[arg(long, num_args = 1.., value_parser = place)]
    pub at: Vec<(f32, f32)>,
    /// Follow from every so many frames to the next; the tracks hold those frames alone.
    #[arg(long, default_value_t = 1)]
    pub every: usize,
    /// Frame of the clip to begin with.
    #[arg(long, default_value_t = 0)]
    pub first: usize,
    /// Frames to follow at most.
    #[arg(long)]
    pub frames: Option<usize>,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct EvalOptions {
    /// What to measure if it is not a model.
    #[command(subcommand)]
    pub subject: Option<EvalSubject>,
    #[command(flatten)]
    pub model: EvalModelOptions,
}

/// What else than a model can be measured.
#[derive(Subcommand)]
pub enum EvalSubject {
    /// Camera moves on real depth: a picture of a stereo pair seen from where the other one was taken.
    Camera(EvalCameraOptions),
    /// A clip made again from its first frame and the tracks of its points.
    Reconstruct(EvalReconstructOptions),
    /// A model with other sinks, windows, chunks and denoising steps than its own.
    Ablations(EvalAblationsOptions),
    /// What a model's video looks like after thousands of frames.
    Drift(EvalDriftOptions),
    /// The tracker: on synthetic clips with exact tracks, on a filmed clip there and back, and its speed.
    Track(EvalTrackOptions),
}

#[derive(Args)]
pub struct EvalReconstructOptions {
    /// The clip.
    pub clip: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Its tracks (.npz, px of the clip); it is tracked on a grid of 50 points along the longer side if not given.
    #[arg(long)]
    pub tracks: Option<PathBuf>,
    /// Frames from the first on; all if not given.
    #[arg(long)]
    pub frames: Option<usize>,
    /// Where to put a contact sheet (PNG): clip, first frame, guide, ours.
    #[arg(long)]
    pub sheet: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelChoice,
}

#[derive(Args)]
pub struct EvalAblationsOptions {
    /// Print one JSON object per line.
    #[arg(long)]
    pub json: bool,
    /// Held-out clips to measure.
    #[arg(long, default_value_t = 24)]
    pub clips: usize,
    /// Their size, as WxH.
    #[arg(long, value_parser = size, default_value = "128x128")]
    pub size: (usize, usize),
    /// Frames of each: more than a window spans, a multiple of 8.
    #[arg(long, default_value_t = 48)]
    pub frames: usize,
    #[command(flatten)]
    pub model: ModelChoice,
    #[command(flatten)]
    pub folders: PictureFolders,
}

#[derive(Args)]
pub struct EvalDriftOptions {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Held-out clips with a pinned background.
    #[arg(long, default_value_t = 4)]
    pub clips: usize,
    /// Their size, as WxH.
    #[arg(long, value_parser = size, default_value = "256x256")]
    pub size: (usize, usize),
    /// Frames of each.
    #[arg(long, default_value_t = 2000)]
    pub frames: usize,
    #[command(flatten)]
    pub model: ModelChoice,
    #[command(flatten)]
    pub folders: PictureFolders,
}

#[derive(Args)]
pub struct EvalTrackOptions {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Synthetic clips to track.
    #[arg(long, default_value_t = 64)]
    pub clips: usize,
    /// Their size, as WxH.
    #[arg(long, value_parser = size, default_value = "256x256")]
    pub size: (usize, usize),
    /// Frames of each.
    #[arg(long, default_value_t = 32)]
    pub frames: usize,
    /// Points along the longer side.
    #[arg(long, default_value_t = 20)]
    pub points: usize,
    /// Folder for the clips' frames, true tracks and ours, for tests/bench/opencv_tracks.py.
    #[arg(long)]
    pub export: Option<PathBuf>,
    /// A filmed clip to follow points through, there and back; no synthetic clips then.
    #[arg(long)]
    pub clip: Option<PathBuf>,
    /// Measure only the speed.
    #[arg(long, conflicts_with = "clip")]
    pub speed: bool,
    #[command(flatten)]
    pub folders: PictureFolders,
}

#[derive(Args)]
pub struct EvalCameraOptions {
    /// Folder of the stereo pair: NAME_left.png, NAME_right.png and NAME_disp.npz.
    #[arg(long, default_value = "../shared/pictures")]
    pub pair: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where to put what was drawn (PNG).
    #[arg(long)]
    pub show: Option<PathBuf>,
}

#[derive(Args)]
pub struct EvalModelOptions {
    /// `sketch` (embedded) or a model folder.
    #[arg(required = true)]
    pub model: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Clips to measure.
    #[arg(long, default_value_t = PUBLISHED)]
    pub clips: usize,
    /// Number of the first: beyond those that figures are given of, to choose settings by.
    #[arg(long, default_value_t = 0)]
    pub first: usize,
    /// Size of the clips, as WxH.
    #[arg(long, value_parser = size, default_value = "256x256")]
    pub size: (usize, usize),
    /// Where to put a contact sheet (PNG): input, plain warp, guide, ours, truth.
    #[arg(long)]
    pub sheet: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
    /// Noise levels instead of the checkpoint's, for comparisons: falling, such as 1.0,0.5.
    #[arg(long, value_delimiter = ',')]
    pub noise_levels: Option<Vec<f32>>,
    /// Share of the correction that is shown, instead of the checkpoint's, 0 to 1.
    #[arg(long)]
    pub correction: Option<f32>,
    /// Share of the correction's fine part that is shown, instead of the checkpoint's, 0 to 1.
    #[arg(long)]
    pub fine_correction: Option<f32>,
    /// Share of the fine part that is shown at the rim of a hole all the same, instead of the checkpoint's, 0 to 1.
    #[arg(long)]
    pub rim_correction: Option<f32>,
    #[command(flatten)]
    pub folders: PictureFolders,
}

#[derive(Args)]
pub struct ModelsOptions {
    /// A model folder to describe besides the embedded one.
    pub folder: Option<PathBuf>,
}

#[derive(Args)]
pub struct AverageOptions {
    /// Model folders, of one architecture and codec.
    #[arg(required = true)]
    pub models: Vec<PathBuf>,
    /// Model folder to write.
    #[arg(short, long)]
    pub out: PathBuf,
}

#[derive(Args)]
pub struct BenchOptions {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Size the model works at, as WxH.
    #[arg(long, value_parser = size, default_value = "384x216")]
    pub size: (usize, usize),
    /// Chunks to make; the first 20 are not counted.
    #[arg(long, default_value_t = 120)]
    pub chunks: usize,
    /// Noise levels instead of the checkpoint's: falling, such as 1.0,0.5.
    #[arg(long, value_delimiter = ',')]
    pub noise_levels: Option<Vec<f32>>,
    /// Measure the studio's window instead, with this picture or project.
    #[arg(long)]
    pub studio: Option<PathBuf>,
    /// Seconds of the longest part of that.
    #[arg(long, default_value_t = 20.0)]
    pub seconds: f64,
    /// Measure training steps instead: this many.
    #[arg(long)]
    pub training: Option<usize>,
    #[command(flatten)]
    pub model: ModelChoice,
}

/// `WxH` in pixels.
fn size(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once(['x', 'X']).and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)));
    match parsed {
        Some((w, h)) if (16..=8192).contains(&w) && (16..=8192).contains(&h) => Ok((w, h)),
        Some((w, h)) => Err(format!("{w}x{h} is out of range; each side must be 16 to 8192 px")),
        None => Err(format!("`{text}` is not a size; write it as 384x216")),
    }
}

/// `x,y` in pixels.
fn place(text: &str) -> Result<(f32, f32), String> {
    let parsed = text.split_once(',').and_then(|(x, y)| Some((x.trim().parse::<f32>().ok()?, y.trim().parse::<f32>().ok()?)));
    parsed.filter(|(x, y)| x.is_finite() && y.is_finite()).ok_or_else(|| format!("`{text}` is not a place; write it as 120,64"))
}

/// Where the pictures for training and evaluation are; `make train-data` fetches them.
#[derive(Args, Clone)]
pub struct PictureFolders {
    /// Folders of photographs, searched with all below them.
    #[arg(long, num_args = 1.., default_values_os_t = [fetched("photos")])]
    pub photos: Vec<PathBuf>,
    /// Folders of cut-outs (pictures with transparency).
    #[arg(long, num_args = 1.., default_values_os_t = [fetched("cutouts")])]
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
    /// `history`: one network on clean and noisy history, for --minutes. `full`: teacher, its paths, and a student that learns from its own
    /// rollouts; a file (.ron) instead gives that recipe's settings, such as the recipe.ron that a run leaves. `matting`: the network that
    /// corrects mattes, for --minutes; it needs neither Sketch nor the others.
    #[arg(long, default_value = "history")]
    pub recipe: String,
    /// Model folder whose weights a new run starts from, instead of fresh ones: such as `assets/sketch`, to train it on pictures of yours.
    #[arg(long)]
    pub from: Option<PathBuf>,
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

/// Where `make train-data` puts its pictures.
fn fetched(folder: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/kinebrush/train-data").join(folder)
}
