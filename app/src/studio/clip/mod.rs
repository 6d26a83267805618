//! The clip panel: a film beside the canvas, its tracks, and how they move the picture.
//!
//! Data flows one way: the panel reads a [`ClipInput`] and returns [`Action`]s. Invariants: it changes no document; decoding, tracking
//! and everything else that takes time is done on other threads; at rest it asks for no repaint. Guarded by the tests of this folder and
//! by `tests/tests/clip.rs`.

mod mapping;
mod on_picture;
mod preview;
mod reader;
#[cfg(test)]
mod tests;
mod texts;
mod tracking;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::{self, Button, ColorImage, RichText, ScrollArea, TextureHandle, TextureOptions, Ui};
use kinebrush_engine::media::clip::{ClipFrame, ClipInfo};
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::Stroke;
use kinebrush_engine::motion::transfer::{ClipMotion, Transfer};

use self::reader::{News, Reader, THUMBNAILS, frames_of};
use self::tracking::{Tracked, Tracking};
use super::action::Action;
use super::document::job::{Job, Wake};
use super::document::{Selection, Work};
use super::theme;

pub use texts::{FILTER, NO_PICTURE};

/// Numbers of this panel's gestures begin here, so that they are never those of another.
const FIRST_GESTURE: u64 = 1 << 44;

/// What the panel works on.
pub struct ClipInput<'a> {
    /// Picture and motion.
    pub work: &'a Work,
    /// What is selected.
    pub selection: Selection,
    /// Width and height of the picture, px.
    pub picture: (usize, usize),
    /// The frame on the canvas.
    pub playhead: f32,
    /// Whether video is being made.
    pub making: bool,
}

/// What the pointer does in the clip, and on the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mode {
    /// Nothing.
    #[default]
    Look,
    /// Hides tracks in the clip.
    Hide,
    /// Picks a track that becomes a path.
    Pick,
    /// Moves the clip's frame on the picture.
    Place,
    /// Sets pairs; the place of the clip that waits for its place on the picture.
    Pair(Option<(f32, f32)>),
}

/// The panel.
#[derive(Default)]
pub struct ClipPanel {
    /// Whether it is shown.
    pub open: bool,
    clip: Option<Clip>,
    mode: Mode,
    apart: bool,
    gestures: u64,
    /// The playhead that was followed last.
    followed: Option<f32>,
    /// A corner, or the frame as a whole, in the hand.
    held: Option<on_picture::Held>,
    boxed: Option<egui::Pos2>,
    problems: Vec<String>,
}

/// A clip that is open.
struct Clip {
    path: PathBuf,
    reader: Reader,
    wake: Wake,
    info: Option<ClipInfo>,
    failed: bool,
    /// The frame that is wanted.
    frame: usize,
    /// The frame that is shown.
    shown: Option<(usize, TextureHandle)>,
    thumbnails: [Option<TextureHandle>; THUMBNAILS],
    /// When playing began, seconds of the window's clock, and at which frame.
    playing: Option<(f64, usize)>,
    tracking: Option<Tracking>,
    /// Whether tracking was stopped or failed: it is not begun again unasked.
    untracked: bool,
    tracked: Option<Arc<Tracked>>,
    landing: Option<Job<(Transfer, ClipMotion)>>,
    landed: Option<(Transfer, ClipMotion)>,
    path_job: Option<Job<Stroke>>,
}

impl ClipPanel {
    /// Opens a clip beside the picture.
    pub fn open_clip(&mut self, path: &Path, wake: Wake) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.close_clip();
        self.open = true;
        self.clip = Some(Clip {
            reader: Reader::open(path.clone(), wake.clone()),
            path,
            wake,
            info: None,
            failed: false,
            frame: 0,
            shown: None,
            thumbnails: Default::default(),
            playing: None,
            tracking: None,
            untracked: false,
            tracked: None,
            landing: None,
            landed: None,
            path_job: None,
        });
    }

    /// Lets the clip go; the panel stays.
    pub fn close_clip(&mut self) {
        *self = Self { open: self.open, apart: self.apart, gestures: self.gestures, ..Self::default() };
    }

    /// What went wrong since the last time.
    pub fn problem(&mut self) -> Option<String> {
        self.problems.pop()
    }

    /// Whether the clip is tracked.
    pub fn is_tracked(&self) -> bool {
        self.clip.as_ref().is_some_and(|clip| clip.tracked.is_some())
    }

    /// Whether presses on the picture are for the clip.
    pub fn takes_picture(&self) -> bool {
        matches!(self.mode, Mode::Place | Mode::Pair(Some(_)))
    }

    /// How many frames are tracked while tracking goes on.
    pub fn tracking_frames(&self) -> Option<usize> {
        Some(self.clip.as_ref()?.tracking.as_ref()?.frames())
    }

    /// Draws the panel.
    pub fn panel_ui(&mut self, ui: &mut Ui, input: &ClipInput, wake: &Wake, data: &Path) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.clip.is_none()
            && let Some(transfer) = input.work.project.transfers.first()
        {
            self.open_clip(&input.work.project.folder().join(&transfer.clip), wake.clone());
        }
        self.poll(ui.ctx(), input, &mut actions);
        ui.horizontal(|ui| {
            ui.label(RichText::new(texts::TITLE).strong());
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                if ui.button(texts::OPEN).on_hover_text(texts::OPEN_TIP).clicked() {
                    actions.push(Action::AskClip);
                }
            });
        });
        let Some(clip) = &self.clip else {
            ui.add_space(theme::space::LARGE);
            ui.label(RichText::new(texts::NONE_YET).color(theme::tokens(ui).muted));
            return actions;
        };
        let name = clip.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ui.add(egui::Label::new(RichText::new(name).color(theme::tokens(ui).muted)).truncate());
        let Some(info) = clip.info.clone() else {
            if !clip.failed {
                ui.label(texts::OPENING);
            }
            return actions;
        };
        let about = format!("{}×{}, {:.3} frames/s, {}", info.width, info.height, info.fps, info.format);
        ui.add(egui::Label::new(RichText::new(about).color(theme::tokens(ui).muted).small()).truncate());
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            self.preview_ui(ui, input, &info, &mut actions);
            self.transport_ui(ui, input, &info, &mut actions);
            self.tracks_ui(ui, input, &info, data, &mut actions);
            if self.is_tracked() {
                self.mapping_ui(ui, input, &mut actions);
            }
        });
        actions
    }

    /// Takes in what other threads made.
    fn poll(&mut self, ctx: &egui::Context, input: &ClipInput, actions: &mut Vec<Action>) {
        let Some(clip) = &mut self.clip else { return };
        while let Some(news) = clip.reader.poll() {
            match news {
                News::Opened(info) => clip.info = Some(info),
                News::Failed(text) => {
                    (clip.failed, clip.playing) = (true, None);
                    self.problems.push(text);
                }
                News::Thumbnail(i, frame) => {
                    clip.thumbnails[i] = Some(ctx.load_texture(format!("thumbnail {i}"), image(&frame), TextureOptions::LINEAR))
                }
                News::Frame(frame) => match &mut clip.shown {
                    Some((index, texture)) => {
                        *index = frame.index;
                        texture.set(image(&frame), TextureOptions::LINEAR);
                    }
                    None => clip.shown = Some((frame.index, ctx.load_texture("clip", image(&frame), TextureOptions::LINEAR))),
                },
            }
        }
        if let Some(answer) = clip.tracking.as_ref().and_then(Tracking::poll) {
            clip.tracking = None;
            clip.untracked = !matches!(answer, Ok(Some(_)));
            match answer {
                Ok(tracked) => clip.tracked = tracked.map(Arc::new),
                Err(error) => self.problems.push(error.to_string()),
            }
        }
        if let Some(answer) = clip.landing.as_ref().and_then(Job::poll) {
            clip.landing = None;
            match answer {
                Ok(landed) => clip.landed = Some(landed),
                Err(error) => self.problems.push(error.to_string()),
            }
        }
        if let Some(answer) = clip.path_job.as_ref().and_then(Job::poll) {
            clip.path_job = None;
            match answer {
                Ok(stroke) => {
                    let index = input.work.project.strokes.len();
                    actions.push(edit(input.work, texts::PICK, 0, |project| project.strokes.push(stroke)));
                    actions.push(Action::Select(Selection::Stroke(index)));
                }
                Err(error) => self.problems.push(error.to_string()),
            }
        }
        self.follow(input, ctx.input(|i| i.time));
        self.land(input);
    }

    /// Lets clip and picture show the same moment, and plays.
    fn follow(&mut self, input: &ClipInput, now: f64) {
        let transfer = self.transfer(&input.work.project).map(|(_, transfer)| transfer.clone());
        let moved = self.followed.replace(input.playhead) != Some(input.playhead);
        let together = !self.apart;
        let Some(clip) = &mut self.clip else { return };
        let Some(info) = &clip.info else { return };
        let frames = frames_of(info);
        let wanted = match (clip.playing, transfer) {
            (Some((begin, from)), _) => (from + ((now - begin).max(0.0) * info.fps) as usize) % frames,
            (None, Some(transfer)) if together && moved => transfer.range.0 + transfer.clip_time(input.playhead).0.round() as usize,
            _ => clip.frame,
        };
        if wanted != clip.frame {
            clip.frame = wanted.min(frames - 1);
            clip.reader.show(clip.frame);
        }
        if clip.playing.is_some() {
            (clip.wake)();
        }
    }

    /// Looks that what is drawn on the picture is of the transfer as it is now.
    fn land(&mut self, input: &ClipInput) {
        let Some(transfer) = self.transfer(&input.work.project).map(|(_, transfer)| transfer.clone()) else { return };
        let Some(clip) = &mut self.clip else { return };
        let (Some(tracked), None) = (&clip.tracked, &clip.landing) else { return };
        if clip.landed.as_ref().is_none_or(|(landed, _)| !landed.same_clip_motion(&transfer)) {
            clip.landing = Some(tracking::landing(tracked.tracks.clone(), transfer, clip.wake.clone()));
        }
    }

    /// Shows a frame of the clip, and of the picture if they go together.
    fn scrub(&mut self, frame: usize, input: &ClipInput, actions: &mut Vec<Action>) {
        let transfer = self.transfer(&input.work.project).map(|(_, transfer)| transfer.clone());
        let Some(clip) = &mut self.clip else { return };
        (clip.frame, clip.playing) = (frame, None);
        clip.reader.show(frame);
        if let Some(transfer) = transfer.filter(|_| !self.apart && !input.making)
            && (transfer.range.0..=transfer.range.1).contains(&frame)
        {
            let way = (frame - transfer.range.0) as f32 * 16.0 / (transfer.clip_fps * transfer.speed);
            let playhead = (transfer.start + way).round().max(0.0);
            if playhead < input.work.project.frames as f32 {
                self.followed = Some(playhead);
                actions.push(Action::Seek(playhead));
            }
        }
    }

    /// The transfer of this clip, and which one it is.
    fn transfer<'a>(&self, project: &'a Project) -> Option<(usize, &'a Transfer)> {
        let clip = self.clip.as_ref()?;
        let is_this = |transfer: &Transfer| std::path::absolute(project.folder().join(&transfer.clip)).is_ok_and(|path| path == clip.path);
        project.transfers.iter().enumerate().find(|(_, transfer)| is_this(transfer))
    }

    /// One as if the clip were used as it lies.
    fn fresh_transfer(&self) -> Option<Transfer> {
        let clip = self.clip.as_ref()?;
        let (info, tracked) = (clip.info.as_ref()?, clip.tracked.as_ref()?);
        Some(Transfer::new(&clip.path, &tracked.file, (info.width, info.height), info.fps as f32, tracked.tracks.frames.len()))
    }

    /// Tracking, its progress, and what to do with tracks.
    fn tracks_ui(&mut self, ui: &mut Ui, input: &ClipInput, info: &ClipInfo, data: &Path, actions: &mut Vec<Action>) {
        let tokens = theme::tokens(ui);
        let used = self.transfer(&input.work.project).is_some();
        let fresh = self.fresh_transfer();
        let Some(clip) = &mut self.clip else { return };
        if let Some(tracking) = &clip.tracking {
            let (done, all) = (tracking.frames(), frames_of(info));
            ui.add(egui::ProgressBar::new((done as f32 / all as f32).min(1.0)).text(texts::tracking(done.min(all), all)));
            if ui.button(texts::CANCEL).clicked() {
                tracking.stop();
            }
            return;
        }
        let Some(tracked) = &clip.tracked else {
            if ui.add(theme::primary_button(tokens, texts::TRACK)).on_hover_text(texts::TRACK_TIP).clicked() || (used && !clip.untracked) {
                clip.tracking = Some(Tracking::start(clip.path.clone(), data.join("tracks"), clip.wake.clone()));
            }
            return;
        };
        let about = texts::tracked(tracked.tracks.points, tracked.tracks.frames.len(), tracked.cut);
        ui.label(RichText::new(about).color(tokens.muted).small());
        if let Some(transfer) = fresh.filter(|_| !used)
            && ui.add(theme::primary_button(tokens, texts::USE)).clicked()
        {
            let region = input.work.region.clone().unwrap_or(Region::All);
            actions.push(edit(input.work, texts::USED, 0, |project| project.transfers.push(Transfer { region, ..transfer })));
        }
        theme::heading_ui(ui, texts::TRACKS);
        ui.horizontal_wrapped(|ui| {
            self.mode_ui(ui, Mode::Pick, texts::PICK, texts::PICK_TIP);
            if ui.button(texts::FASTEST).on_hover_text(texts::FASTEST_TIP).clicked() {
                self.use_as_path(input, None);
            }
        });
    }

    /// A button that puts the pointer to a use, and off again.
    fn mode_ui(&mut self, ui: &mut Ui, mode: Mode, text: &str, tip: &str) {
        let is_on = std::mem::discriminant(&self.mode) == std::mem::discriminant(&mode);
        if ui.add(Button::selectable(is_on, text)).on_hover_text(tip).clicked() {
            self.mode = if is_on { Mode::Look } else { mode };
        }
    }

    /// The way of a track, or of the fastest, becomes a path over what is marked, or over a disc where it begins.
    fn use_as_path(&mut self, input: &ClipInput, point: Option<usize>) {
        let Some(fresh) = self.fresh_transfer() else { return };
        let transfer = self.transfer(&input.work.project).map_or(fresh, |(_, transfer)| transfer.clone());
        let Some(clip) = &mut self.clip else { return };
        let Some(tracked) = &clip.tracked else { return };
        let marked = input.work.region.clone().or_else(|| Some(transfer.region.clone()).filter(|region| *region != Region::All));
        clip.path_job = Some(tracking::path_of(tracked.tracks.clone(), point, transfer, marked, input.picture, clip.wake.clone()));
        self.mode = Mode::Look;
    }

    /// Changes the transfer of this clip.
    fn change(&self, input: &ClipInput, label: &'static str, gesture: u64, change: impl FnOnce(&mut Transfer)) -> Option<Action> {
        let index = self.transfer(&input.work.project)?.0;
        Some(edit(input.work, label, gesture, |project| change(&mut project.transfers[index])))
    }

    /// The number of the gesture under way.
    fn gesture(&self) -> u64 {
        FIRST_GESTURE + self.gestures
    }
}

/// The work with its project changed.
fn edit(work: &Work, label: &'static str, gesture: u64, change: impl FnOnce(&mut Project)) -> Action {
    let mut work = work.clone();
    change(&mut work.project);
    Action::Edit { label, gesture, work: Box::new(work) }
}

fn image(frame: &ClipFrame) -> ColorImage {
    ColorImage::from_rgb([frame.width, frame.height], &frame.rgb)
}

/// Whether a file that was dropped on the window is a clip rather than a picture or a project.
pub fn is_clip(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    path.is_dir() || extension.is_some_and(|e| CLIPS.contains(&e.as_str()))
}

/// Ends of the names of clips.
pub const CLIPS: [&str; 13] = ["mp4", "mov", "m4v", "gif", "webm", "mkv", "avi", "mpg", "mpeg", "ts", "3gp", "wmv", "ogv"];
