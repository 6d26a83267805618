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

use eframe::egui::{self, Button, ColorImage, RichText, TextureHandle, TextureOptions, Ui, vec2};
use kinebrush_engine::media::clip::{ClipFrame, ClipInfo};
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::Stroke;
use kinebrush_engine::motion::transfer::{ClipMap, ClipMotion, Placing, Transfer};
use kinebrush_engine::motion::{DepthMap, View};

use self::reader::{News, Reader, THUMBNAILS, frames_of};
use self::tracking::{Tracked, Tracking};
use super::action::Action;
use super::document::job::{Job, Wake};
use super::document::{Selection, Work};
use super::fold::{Folds, fixed_ui, scroll_ui};
use super::theme;
use super::timeline::{Icon, button};

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
    /// How the camera sees the picture's surface, if it has moved.
    pub camera: Option<Through>,
}

/// A camera that looks at the picture.
pub struct Through {
    /// px of the picture.
    pub view: View,
    /// What it looks at.
    pub depth: Arc<DepthMap>,
    /// px of the depth for each px of the picture.
    pub scale: f32,
}

impl Through {
    /// Where a place of the picture is seen that was moved to `surface`.
    fn seen(&self, source: glam::Vec2, surface: glam::Vec2) -> glam::Vec2 {
        self.view.project(surface, self.depth.at(source * self.scale)).map_or(surface, |(place, _)| place)
    }
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
    /// Where the clip was that could not be opened, while its place is taken by another.
    lost: Option<PathBuf>,
}

/// A clip that is open.
struct Clip {
    path: PathBuf,
    reader: Reader,
    wake: Wake,
    info: Option<ClipInfo>,
    /// Why it cannot be seen, or not any further.
    failure: Option<String>,
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
        let lost = self.clip.as_ref().filter(|clip| clip.info.is_none() && clip.failure.is_some()).map(|clip| clip.path.clone());
        self.close_clip();
        (self.open, self.lost) = (true, lost.filter(|lost| *lost != path));
        self.clip = Some(Clip {
            reader: Reader::open(path.clone(), wake.clone()),
            path,
            wake,
            info: None,
            failure: None,
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

    /// Shows the panel, or hides it: what the pointer was put to ends then.
    pub fn toggle(&mut self) {
        self.open = !self.open;
        (self.mode, self.held, self.boxed) = (Mode::Look, None, None);
        if let Some(clip) = &mut self.clip {
            clip.playing = None;
        }
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
    pub fn panel_ui(&mut self, ui: &mut Ui, input: &ClipInput, folds: &mut Folds, wake: &Wake, data: &Path) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.clip.is_none()
            && let Some(transfer) = input.work.project.transfers.first()
        {
            self.open_clip(&input.work.project.folder().join(&transfer.clip), wake.clone());
        }
        self.poll(ui.ctx(), input, &mut actions);
        ui.spacing_mut().item_spacing = vec2(6.0, 5.0);
        ui.spacing_mut().button_padding = vec2(9.0, 4.0);
        ui.style_mut().override_font_id = Some(egui::FontId::proportional(12.5));
        self.head_ui(ui, &mut actions);
        let Some(clip) = &self.clip else {
            ui.add_space(theme::space::LARGE);
            ui.label(RichText::new(texts::NONE_YET).color(theme::tokens(ui).muted));
            return actions;
        };
        if let Some(failure) = &clip.failure {
            ui.label(RichText::new(failure).color(theme::tokens(ui).error));
        }
        let Some(info) = clip.info.clone() else {
            match clip.failure {
                Some(_) => self.lost_ui(ui, input, &mut actions),
                None => drop(ui.label(texts::OPENING)),
            }
            return actions;
        };
        let about = format!("{}×{}, {:.3} frames/s, {}", info.width, info.height, info.fps, info.format);
        ui.add(egui::Label::new(RichText::new(about).color(theme::tokens(ui).muted).small()).truncate());
        // The clip stays in sight, and what is done with it scrolls below.
        let height = (ui.available_height() * 0.38).clamp(110.0, 300.0);
        fixed_ui(ui, "clip picture", |ui| self.preview_ui(ui, input, &info, height, &mut actions));
        fixed_ui(ui, "clip time", |ui| self.transport_ui(ui, input, &info, &mut actions));
        scroll_ui(ui, "clip", |ui| {
            fixed_ui(ui, "tracks", |ui| self.tracks_ui(ui, input, &info, data, &mut actions));
            if self.is_tracked() {
                self.mapping_ui(ui, input, folds, &mut actions);
            }
        });
        actions
    }

    /// The clip's name, and what opens another or closes the panel.
    fn head_ui(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        ui.horizontal(|ui| {
            ui.label(RichText::new(texts::TITLE).strong());
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                if button(ui, Icon::Close, "", texts::CLOSE, texts::CLOSE, false).clicked() {
                    actions.push(Action::ToggleClip);
                }
                if ui.button(texts::OPEN).on_hover_text(texts::OPEN_TIP).clicked() {
                    actions.push(Action::AskClip);
                }
                if let Some(clip) = &self.clip {
                    let name = clip.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let name = egui::Label::new(RichText::new(name).color(theme::tokens(ui).muted)).truncate();
                    ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| ui.add(name));
                }
            });
        });
    }

    /// What can be done about a clip that the picture moves with and that cannot be opened.
    fn lost_ui(&mut self, ui: &mut Ui, input: &ClipInput, actions: &mut Vec<Action>) {
        let Some((index, _)) = self.transfer(&input.work.project) else { return };
        ui.label(RichText::new(texts::LOST).color(theme::tokens(ui).muted));
        ui.horizontal_wrapped(|ui| {
            if ui.add(theme::primary_button(theme::tokens(ui), texts::FIND)).on_hover_text(texts::FIND_TIP).clicked() {
                actions.push(Action::AskClip);
            }
            if ui.button(texts::REMOVE).clicked() {
                actions.push(edit(input.work, texts::REMOVE, 0, |project| drop(project.transfers.remove(index))));
            }
        });
    }

    /// The clip that was opened may be the one that was lost: what it moved is its own again.
    fn found(&mut self, info: &ClipInfo, input: &ClipInput) -> Option<Action> {
        let (lost, clip) = (self.lost.take()?, self.clip.as_ref()?);
        let project = &input.work.project;
        let was_it = |transfer: &Transfer| std::path::absolute(project.folder().join(&transfer.clip)).is_ok_and(|path| path == lost);
        let size = (info.width, info.height);
        let fits = project.transfers.iter().any(|transfer| was_it(transfer) && transfer.clip_size == size);
        fits.then(|| {
            edit(input.work, texts::FIND, 0, |project| {
                let all = project.transfers.iter_mut().filter(|transfer| was_it(transfer) && transfer.clip_size == size);
                all.for_each(|transfer| transfer.clip = clip.path.clone());
            })
        })
    }

    /// Takes in what other threads made.
    fn poll(&mut self, ctx: &egui::Context, input: &ClipInput, actions: &mut Vec<Action>) {
        let Some(clip) = &mut self.clip else { return };
        let mut opened = None;
        while let Some(news) = clip.reader.poll() {
            match news {
                News::Opened(info) => {
                    opened = Some(info.clone());
                    clip.info = Some(info);
                }
                // It stands in the panel for as long as it is so.
                News::Failed(text) => (clip.failure, clip.playing) = (Some(text), None),
                News::Thumbnail(i, frame) => {
                    clip.thumbnails[i] = Some(ctx.load_texture(format!("thumbnail {i}"), image(&frame), TextureOptions::LINEAR))
                }
                News::Frame(frame) => {
                    clip.failure = None;
                    match &mut clip.shown {
                        Some((index, texture)) => {
                            *index = frame.index;
                            texture.set(image(&frame), TextureOptions::LINEAR);
                        }
                        None => clip.shown = Some((frame.index, ctx.load_texture("clip", image(&frame), TextureOptions::LINEAR))),
                    }
                }
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
        actions.extend(opened.and_then(|info| self.found(&info, input)));
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
        ui.label(RichText::new(texts::tracked(tracked.tracks.points, tracked.tracks.frames.len())).color(tokens.muted).small());
        if let Some(frame) = tracked.cut {
            ui.label(RichText::new(texts::cut(frame)).color(tokens.warning).small());
        }
        if let Some(transfer) = fresh.filter(|_| !used)
            && ui.add(theme::primary_button(tokens, texts::USE)).clicked()
        {
            let region = input.work.region.clone().unwrap_or(Region::All);
            actions.push(edit(input.work, texts::USED, 0, |project| project.transfers.push(Transfer { region, ..transfer })));
        }
        self.tools_ui(ui, input, actions);
    }

    /// What the pointer can be put to, in the clip and on the picture.
    fn tools_ui(&mut self, ui: &mut Ui, input: &ClipInput, actions: &mut Vec<Action>) {
        let transfer = self.transfer(&input.work.project).map(|(_, transfer)| transfer.clone());
        ui.horizontal_wrapped(|ui| {
            if let Some(transfer) = &transfer {
                if matches!(transfer.placing, Placing::Similarity { .. }) {
                    self.mode_ui(ui, Mode::Place, texts::PLACE, texts::PLACE_TIP);
                } else if ui.button(texts::NO_PAIRS).clicked() {
                    actions.extend(self.change(input, texts::PLACE, 0, |transfer| transfer.placing = Placing::default()));
                }
                self.mode_ui(ui, Mode::Pair(None), texts::PAIR, texts::PAIR_TIP);
                self.mode_ui(ui, Mode::Hide, texts::HIDE, texts::HIDE_TIP);
            }
            self.mode_ui(ui, Mode::Pick, texts::PICK, texts::PICK_TIP);
            if ui.button(texts::FASTEST).on_hover_text(texts::FASTEST_TIP).clicked() {
                self.use_as_path(input, None);
            }
            // It comes and goes: nothing is behind it.
            let hides = transfer.as_ref().is_some_and(|transfer| !transfer.hidden.is_empty());
            if hides && ui.button(texts::SHOW_ALL).clicked() {
                actions.extend(self.change(input, texts::SHOW_ALL, 0, |transfer| transfer.hidden.clear()));
            }
        });
        let accent = theme::tokens(ui).accent;
        let hint = match self.mode {
            Mode::Look => None,
            Mode::Hide => Some(texts::HIDE_TIP),
            Mode::Pick => Some(texts::PICK_TIP),
            Mode::Place => Some(texts::PLACE_TIP),
            Mode::Pair(None) => Some(texts::PAIR_FIRST),
            Mode::Pair(Some(_)) => Some(texts::PAIR_THEN),
        };
        if let Some(hint) = hint {
            ui.label(RichText::new(hint).color(accent).small());
        }
        if let Some(note) = transfer.and_then(|transfer| ClipMap::new(&transfer.placing, transfer.clip_size, input.picture).note()) {
            ui.label(RichText::new(note).color(theme::tokens(ui).warning).small());
        }
    }

    /// A button that puts the pointer to a use, and off again.
    fn mode_ui(&mut self, ui: &mut Ui, mode: Mode, text: &str, tip: &str) {
        let is_on = std::mem::discriminant(&self.mode) == std::mem::discriminant(&mode);
        if ui.add(Button::selectable(is_on, text).frame_when_inactive(true)).on_hover_text(tip).clicked() {
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
