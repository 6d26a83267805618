//! The export dialog: what is written as a file, how, and how far each file is.
//!
//! Invariant: what is asked for can be written: a range with frames in it, even sides within the limits, a path. Guarded by the tests
//! below.

use std::ops::Range;
use std::path::{Path, PathBuf};

use eframe::egui::{Align, DragValue, Layout, ProgressBar, Response, RichText, ScrollArea, Sense, TextEdit, TextStyle, Ui, vec2};

use super::takes::TakeItem;
use super::timeline::{Icon, Look, body, button, clock, segments, small, texts};

/// Width of the dialog, points.
pub const WIDTH: f32 = 500.0;
/// Width of a row's caption, points.
const CAPTION: f32 = 70.0;
/// Least and most px of a side, both even.
const SIDES: std::ops::RangeInclusive<usize> = 16..=8192;
/// Longer side of a GIF unless another one is chosen, px.
const GIF_SIDE: usize = 640;

/// Where the frames come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A take, as it was made.
    Take(u64),
    /// The project, made anew from its first frame.
    Project,
}

/// The kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One H.264 video.
    #[default]
    Mp4,
    /// A folder of pictures.
    Png,
    /// One animated picture.
    Gif,
}

/// How large an MP4 may get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quality {
    /// For messages.
    Small,
    /// For the web.
    #[default]
    Good,
    /// For further work.
    Best,
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportRequest {
    /// Where the frames come from.
    pub what: What,
    /// The first frame, and one after the last.
    pub frames: Range<usize>,
    /// Width and height, px, both even.
    pub size: (usize, usize),
    /// The kind of file.
    pub format: Format,
    /// How large an MP4 may get.
    pub quality: Quality,
    /// The file, or for PNG pictures the folder.
    pub path: PathBuf,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// It writes.
    Running,
    /// The file is there.
    Done,
    /// It could not be written; the sentence says why.
    Failed(String),
    /// It was stopped; nothing is left of it.
    Cancelled,
}

/// An export as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// Its number.
    pub id: u64,
    /// The file, or the folder.
    pub path: PathBuf,
    /// Frames written.
    pub frame: usize,
    /// Frames in all.
    pub frames: usize,
    /// How long it will still take, once that is known.
    pub seconds_left: Option<f64>,
    /// How it stands.
    pub state: JobState,
}

/// What the artist wants of the dialog.
#[derive(Clone, Debug, PartialEq)]
pub enum ExportAction {
    /// Write a file.
    Start(ExportRequest),
    /// Ask for a path; the answer goes to [`ExportDialog::set_path`].
    Browse {
        /// What stands there now.
        suggested: PathBuf,
        /// The kind of file.
        format: Format,
    },
    /// Stop a job.
    Cancel(u64),
    /// Show a file in its folder.
    ShowFile(PathBuf),
    /// Take a job that is over off the list.
    Dismiss(u64),
    /// Close the dialog; jobs go on.
    Close,
}

/// What the dialog has to know.
#[derive(Clone)]
pub struct ExportContext<'a> {
    /// Takes there are.
    pub takes: &'a [TakeItem],
    /// Length of the project, frames.
    pub project_frames: usize,
    /// Size of the picture, px.
    pub source: (usize, usize),
    /// The range that is played again and again: first frame, and one after the last.
    pub loop_range: Option<(usize, usize)>,
    /// Where files go unless another place is chosen.
    pub folder: &'a Path,
    /// What the project is called.
    pub name: &'a str,
    /// Whether something is known to be at [`ExportDialog::path`].
    pub occupied: bool,
    /// How long a frame takes to write, where that was measured.
    pub seconds_per_frame: Option<f64>,
    /// Jobs, the newest first.
    pub jobs: &'a [JobView],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    Loop,
    FromTo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Source,
    Fit1080,
    Fit720,
    /// Of this width, px.
    Own(usize),
}

/// What is chosen in the dialog.
#[derive(Clone, Debug)]
pub struct ExportDialog {
    what: What,
    part: Part,
    /// First and last frame of a part.
    from_to: (usize, usize),
    format: Format,
    quality: Quality,
    size: Size,
    /// What was typed or browsed; empty while the proposal stands.
    path: String,
}

impl ExportDialog {
    /// A dialog for a take, or for the project.
    pub fn new(what: What) -> Self {
        Self {
            what,
            part: Part::All,
            from_to: (0, usize::MAX),
            format: Format::default(),
            quality: Quality::default(),
            size: Size::Source,
            path: String::new(),
        }
    }

    /// The file that a file dialog gave.
    pub fn set_path(&mut self, path: &Path) {
        self.path = path.to_string_lossy().into_owned();
    }

    /// Where the file would be written now.
    pub fn path(&self, ctx: &ExportContext<'_>) -> PathBuf {
        if self.path.trim().is_empty() {
            let name = self.take(ctx).map_or_else(|| ctx.name.to_owned(), |take| format!("{} {}", ctx.name, take.name));
            let plain: String = name.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
            return with_extension(&ctx.folder.join(plain.trim()), self.format);
        }
        let path = PathBuf::from(self.path.trim());
        if path.is_absolute() { path } else { ctx.folder.join(path) }
    }

    fn take<'a>(&self, ctx: &ExportContext<'a>) -> Option<&'a TakeItem> {
        let What::Take(id) = self.what else { return None };
        ctx.takes.iter().find(|take| take.id == id)
    }

    /// Frames there are, and those that were chosen.
    fn frames(&self, ctx: &ExportContext<'_>) -> (usize, Range<usize>) {
        let all = match self.what {
            What::Take(_) => self.take(ctx).map_or(0, |take| take.frames),
            What::Project => ctx.project_frames,
        };
        let chosen = match (self.part, ctx.loop_range) {
            (Part::Loop, Some((first, end))) => first.min(all)..end.min(all),
            (Part::FromTo, _) => self.from_to.0.min(all)..self.from_to.1.saturating_add(1).min(all),
            _ => 0..all,
        };
        (all, chosen)
    }

    /// What would be written now; None when something is missing.
    pub fn request(&self, ctx: &ExportContext<'_>) -> Option<ExportRequest> {
        let frames = self.frames(ctx).1;
        let size = self.size.of(ctx.source);
        let path = self.path(ctx);
        (!frames.is_empty() && path.file_name().is_some()).then_some(ExportRequest {
            what: self.what,
            frames,
            size,
            format: self.format,
            quality: self.quality,
            path,
        })
    }

    /// Shows the dialog, [`WIDTH`] wide, and says what the artist wants.
    pub fn export_ui(&mut self, ui: &mut Ui, ctx: &ExportContext<'_>) -> Option<ExportAction> {
        ui.set_width(WIDTH);
        ui.spacing_mut().item_spacing = vec2(8.0, 6.0);
        let look = Look::of(ui);
        let mut action = None;
        ui.horizontal(|ui| {
            ui.label(RichText::new(texts::EXPORT).size(17.0).color(look.text));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if button(ui, Icon::Close, "", texts::CLOSE, texts::CLOSE, false).clicked() {
                    action = Some(ExportAction::Close);
                }
            });
        });
        self.what_ui(ui, ctx);
        self.range_ui(ui, ctx);
        self.format_ui(ui, ctx);
        self.size_ui(ui, ctx);
        if let Some(wanted) = self.path_ui(ui, ctx) {
            action = Some(wanted);
        }
        ui.add_space(2.0);
        if let Some(wanted) = self.start_ui(ui, ctx) {
            action = Some(wanted);
        }
        if !ctx.jobs.is_empty() {
            ui.separator();
            ScrollArea::vertical().id_salt("jobs").max_height(150.0).auto_shrink([false, true]).show(ui, |ui| {
                for job in ctx.jobs {
                    if let Some(wanted) = job_ui(ui, job) {
                        action = Some(wanted);
                    }
                }
            });
        }
        action
    }

    fn what_ui(&mut self, ui: &mut Ui, ctx: &ExportContext<'_>) {
        if matches!(self.what, What::Take(_)) && self.take(ctx).is_none() {
            self.what = ctx.takes.first().map_or(What::Project, |take| What::Take(take.id));
        }
        row(ui, texts::WHAT, |ui| {
            let shown = self.take(ctx).map_or(texts::PROJECT, |take| take.name.as_str());
            let combo = eframe::egui::ComboBox::from_id_salt("what").width(220.0).selected_text(shown).show_ui(ui, |ui| {
                for take in ctx.takes {
                    ui.selectable_value(&mut self.what, What::Take(take.id), format!("{} ({})", take.name, clock(take.frames as f32)));
                }
                ui.selectable_value(&mut self.what, What::Project, texts::PROJECT);
            });
            combo.response.accessible_name(texts::WHAT);
        });
    }

    fn range_ui(&mut self, ui: &mut Ui, ctx: &ExportContext<'_>) {
        if ctx.loop_range.is_none() && self.part == Part::Loop {
            self.part = Part::All;
        }
        row(ui, texts::RANGE, |ui| {
            let mut kinds = vec![(texts::ALL, Part::All), (texts::PART, Part::FromTo)];
            if ctx.loop_range.is_some() {
                kinds.insert(1, (texts::LOOP_RANGE, Part::Loop));
            }
            choose(ui, &mut self.part, &kinds);
            let all = self.frames(ctx).0;
            if self.part == Part::FromTo && all > 0 {
                let (first, last) = (self.from_to.0.min(all - 1), self.from_to.1.min(all - 1));
                let (mut from, mut to) = (first, last.max(first));
                number(ui, &mut from, 0..=to, texts::FIRST_FRAME);
                note(ui, texts::TO);
                number(ui, &mut to, from..=all - 1, texts::LAST_FRAME);
                self.from_to = (from, to);
            }
        });
    }

    fn format_ui(&mut self, ui: &mut Ui, ctx: &ExportContext<'_>) {
        let before = self.format;
        row(ui, texts::FORMAT, |ui| {
            choose(ui, &mut self.format, &[(texts::MP4, Format::Mp4), (texts::PNG, Format::Png), (texts::GIF, Format::Gif)]);
        });
        if self.format == Format::Mp4 {
            row(ui, texts::QUALITY, |ui| {
                choose(
                    ui,
                    &mut self.quality,
                    &[(texts::SMALL, Quality::Small), (texts::GOOD, Quality::Good), (texts::BEST, Quality::Best)],
                );
            });
        }
        if self.format != before {
            if !self.path.trim().is_empty() {
                self.path = with_extension(Path::new(self.path.trim()), self.format).to_string_lossy().into_owned();
            }
            // GIFs are for messages: not the whole picture, unless somebody says so.
            if self.format == Format::Gif && ctx.source.0.max(ctx.source.1) > GIF_SIDE && self.size == Size::Source {
                self.size = Size::Own(fit(ctx.source, (GIF_SIDE, GIF_SIDE)).0);
            } else if before == Format::Gif && self.size == Size::Own(fit(ctx.source, (GIF_SIDE, GIF_SIDE)).0) {
                self.size = Size::Source;
            }
        }
    }

    fn size_ui(&mut self, ui: &mut Ui, ctx: &ExportContext<'_>) {
        let (mut width, mut height) = self.size.of(ctx.source);
        let own = matches!(self.size, Size::Own(_));
        row(ui, texts::SIZE, |ui| {
            let own_size = if own { self.size } else { Size::Own(width) };
            let kinds = [
                (texts::SOURCE_SIZE, Size::Source),
                (texts::FIT_1080, Size::Fit1080),
                (texts::FIT_720, Size::Fit720),
                (texts::CUSTOM_SIZE, own_size),
            ];
            choose(ui, &mut self.size, &kinds);
            if own {
                let (before, most) = ((width, height), *SIDES.end());
                number(ui, &mut width, *SIDES.start()..=most, texts::WIDTH);
                note(ui, "x");
                number(ui, &mut height, *SIDES.start()..=most, texts::HEIGHT);
                // The other side follows.
                if width != before.0 {
                    self.size = Size::Own(width);
                } else if height != before.1 {
                    self.size = Size::Own((height as f64 * ctx.source.0 as f64 / ctx.source.1.max(1) as f64).round() as usize);
                }
            } else {
                note(ui, &format!("{width} x {height}"));
            }
        });
    }

    fn path_ui(&mut self, ui: &mut Ui, ctx: &ExportContext<'_>) -> Option<ExportAction> {
        let mut action = None;
        let path = self.path(ctx);
        row(ui, texts::WHERE, |ui| {
            let proposal = path.to_string_lossy().into_owned();
            let mut typed = if self.path.is_empty() { proposal.clone() } else { self.path.clone() };
            let width = ui.available_width() - 86.0;
            let edit = TextEdit::singleline(&mut typed)
                .font(body())
                .desired_width(width)
                .margin(vec2(6.0, 3.0))
                .align(eframe::egui::Align2::LEFT_CENTER);
            if ui.add(edit).accessible_name(texts::FILE).changed() {
                self.path = typed;
            }
            if ui.button(texts::BROWSE).clicked() {
                action = Some(ExportAction::Browse { suggested: path.clone(), format: self.format });
            }
        });
        action
    }

    /// What it comes to, and the button that begins.
    fn start_ui(&mut self, ui: &mut Ui, ctx: &ExportContext<'_>) -> Option<ExportAction> {
        let look = Look::of(ui);
        let request = self.request(ctx);
        let mut action = None;
        ui.horizontal(|ui| {
            ui.allocate_ui_with_layout(vec2(WIDTH - 110.0, 34.0), Layout::top_down(Align::Min), |ui| {
                ui.set_min_width(WIDTH - 110.0);
                ui.spacing_mut().item_spacing.y = 1.0;
                let frames = self.frames(ctx).1.len();
                let mut sum = format!("{} ({frames} {})", clock(frames as f32), texts::RANGE.to_lowercase());
                if let Some(seconds) = ctx.seconds_per_frame {
                    sum += &format!(", {} {} {}", texts::ABOUT, duration(seconds * frames as f64), texts::TO_WRITE);
                }
                ui.label(RichText::new(sum).font(small()).color(look.quiet));
                let (width, height) = self.size.of(ctx.source);
                let warning = match &request {
                    None if frames == 0 => Some(texts::NO_FRAMES),
                    None => Some(texts::NO_PATH),
                    Some(_) if ctx.occupied => Some(texts::REPLACES),
                    Some(_) if self.format == Format::Gif && width.max(height) > GIF_SIDE => Some(texts::ODD_GIF),
                    Some(_) => None,
                };
                if let Some(warning) = warning {
                    ui.label(RichText::new(warning).font(small()).color(look.warning));
                }
            });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.add_enabled_ui(request.is_some(), |ui| {
                    let color = if request.is_some() { look.on_accent } else { look.off };
                    let start =
                        eframe::egui::Button::new(RichText::new(texts::EXPORT).color(color)).fill(look.accent).min_size(vec2(96.0, 28.0));
                    if ui.add(start).clicked() {
                        action = request.map(ExportAction::Start);
                    }
                });
            });
        });
        action
    }
}

impl Size {
    /// Width and height of the file for a picture of `source` px.
    fn of(self, source: (usize, usize)) -> (usize, usize) {
        match self {
            Self::Source => fit(source, source),
            Self::Fit1080 => fit(source, upright(source, (1920, 1080))),
            Self::Fit720 => fit(source, upright(source, (1280, 720))),
            Self::Own(width) => fit(source, (width.clamp(*SIDES.start(), *SIDES.end()), usize::MAX)),
        }
    }
}

/// The frame turned the way the picture stands.
fn upright((width, height): (usize, usize), frame: (usize, usize)) -> (usize, usize) {
    if height > width { (frame.1, frame.0) } else { frame }
}

/// The largest size of the picture's shape within `frame`, both sides even and within the limits.
fn fit((width, height): (usize, usize), frame: (usize, usize)) -> (usize, usize) {
    let (width, height) = (width.max(1) as f64, height.max(1) as f64);
    let most = *SIDES.end() as f64;
    let scale = (frame.0 as f64 / width).min(frame.1 as f64 / height).min(most / width).min(most / height);
    let even = |side: f64, frame: usize| {
        let near = (side / 2.0).round() as usize * 2;
        // Never more than the frame, which may be odd.
        near.min(frame & !1).clamp(*SIDES.start(), *SIDES.end())
    };
    (even(width * scale, frame.0), even(height * scale, frame.1))
}

/// The path with the ending of the format; PNG pictures go into a folder, which has none.
fn with_extension(path: &Path, format: Format) -> PathBuf {
    let known = path.extension().is_some_and(|ending| ["mp4", "gif", "png"].iter().any(|known| ending.eq_ignore_ascii_case(known)));
    let mut bare = if known { path.with_extension("") } else { path.to_owned() }.into_os_string();
    match format {
        Format::Mp4 => bare.push(".mp4"),
        Format::Gif => bare.push(".gif"),
        Format::Png => {}
    }
    bare.into()
}

/// Seconds for people: "8 s", "2 min 5 s", "1 h 3 min".
fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).ceil() as u64;
    match seconds {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

fn job_ui(ui: &mut Ui, job: &JobView) -> Option<ExportAction> {
    let look = Look::of(ui);
    let mut action = None;
    let name = job.path.file_name().map_or_else(|| job.path.to_string_lossy(), |name| name.to_string_lossy());
    ui.horizontal(|ui| {
        ui.set_min_height(30.0);
        ui.allocate_ui_with_layout(vec2(WIDTH - 140.0, 30.0), Layout::top_down(Align::Min), |ui| {
            ui.set_min_width(WIDTH - 140.0);
            ui.spacing_mut().item_spacing.y = 3.0;
            let mut say = |text: String, color| {
                let line = RichText::new(text).font(small()).color(color);
                ui.add(eframe::egui::Label::new(line).truncate()).on_hover_text(job.path.to_string_lossy());
            };
            match &job.state {
                JobState::Running => {
                    let left = job.seconds_left.map_or(String::new(), |seconds| format!(", {} {}", duration(seconds), texts::LEFT));
                    say(format!("{name}: {} {} {}{left}", job.frame, texts::OF, job.frames), look.text);
                    let part = job.frame as f32 / job.frames.max(1) as f32;
                    let bar = ProgressBar::new(part).desired_height(5.0).desired_width(WIDTH - 150.0).fill(look.accent);
                    ui.add(bar).accessible_name(format!("{} {name}", texts::PROGRESS));
                }
                JobState::Done => say(format!("{}: {name}", texts::SAVED), look.good),
                JobState::Failed(why) => say(format!("{name}: {why}"), look.alert),
                JobState::Cancelled => say(format!("{}: {name}", texts::CANCELLED), look.quiet),
            }
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if job.state == JobState::Running {
                if ui.button(texts::CANCEL).accessible_name(format!("{} {name}", texts::CANCEL)).clicked() {
                    action = Some(ExportAction::Cancel(job.id));
                }
                return;
            }
            if button(ui, Icon::Close, "", &format!("{} {name}", texts::DISMISS), texts::DISMISS, false).clicked() {
                action = Some(ExportAction::Dismiss(job.id));
            }
            if job.state == JobState::Done && ui.button(texts::SHOW_FILE).accessible_name(format!("{} {name}", texts::SHOW_FILE)).clicked()
            {
                action = Some(ExportAction::ShowFile(job.path.clone()));
            }
        });
    });
    action
}

fn note(ui: &mut Ui, text: &str) -> Response {
    let quiet = Look::of(ui).quiet;
    ui.label(RichText::new(text).font(small()).color(quiet))
}

fn number(ui: &mut Ui, value: &mut usize, range: std::ops::RangeInclusive<usize>, label: &str) {
    ui.style_mut().drag_value_text_style = TextStyle::Body;
    ui.add(DragValue::new(value).range(range).speed(0.5).update_while_editing(false)).accessible_name(label);
}

/// Segments that set `value`.
fn choose<T: Copy + PartialEq>(ui: &mut Ui, value: &mut T, kinds: &[(&str, T)]) {
    let choices: Vec<(&str, &str, bool)> = kinds.iter().map(|(label, kind)| (*label, "", *kind == *value)).collect();
    if let Some(i) = segments(ui, &choices) {
        *value = kinds[i].1;
    }
}

/// A caption, then controls.
fn row(ui: &mut Ui, caption: &str, content: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        let (rect, _) = ui.allocate_exact_size(vec2(CAPTION, 26.0), Sense::hover());
        let look = Look::of(ui);
        ui.painter().text(rect.left_center(), eframe::egui::Align2::LEFT_CENTER, caption, body(), look.quiet);
        content(ui);
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use eframe::egui::{self, Modal, Role};
    use egui_kittest::{Harness, kittest::Queryable};

    use super::super::timeline::picture;
    use super::*;

    fn take(id: u64, frames: usize) -> TakeItem {
        let name = format!("Take {id}");
        TakeItem { id, name, frames, seconds: frames as f64 / 16.0, parent: None, thumbnail: None, bytes: 1, open: false }
    }

    struct Bench {
        dialog: ExportDialog,
        takes: Vec<TakeItem>,
        jobs: Vec<JobView>,
        occupied: bool,
        actions: Vec<ExportAction>,
    }

    impl Bench {
        fn new() -> Self {
            let takes = vec![take(1, 81), take(2, 640)];
            Self { dialog: ExportDialog::new(What::Take(2)), takes, jobs: Vec::new(), occupied: false, actions: Vec::new() }
        }

        fn context(&self) -> ExportContext<'_> {
            ExportContext {
                takes: &self.takes,
                project_frames: 65,
                source: (1601, 1200),
                loop_range: Some((16, 40)),
                folder: Path::new("/home/someone/Videos"),
                name: "Pulling out the spoon",
                occupied: self.occupied,
                seconds_per_frame: Some(0.11),
                jobs: &self.jobs,
            }
        }

        fn last(&self) -> &ExportRequest {
            let Some(ExportAction::Start(request)) = self.actions.last() else { panic!("{:?}", self.actions) };
            request
        }
    }

    fn harness(bench: Bench, theme: egui::Theme) -> Harness<'static, Bench> {
        let mut harness = Harness::builder().with_size(vec2(640.0, 480.0)).with_theme(theme).wgpu().build_ui_state(
            |ui, bench: &mut Bench| {
                Modal::new(egui::Id::unique("export")).show(&ui.ctx().clone(), |ui| {
                    let mut dialog = bench.dialog.clone();
                    let action = dialog.export_ui(ui, &bench.context());
                    bench.dialog = dialog;
                    bench.actions.extend(action);
                });
            },
            bench,
        );
        harness.run_ok();
        harness
    }

    fn click(harness: &mut Harness<'_, Bench>, label: &str) {
        harness.get_by_role_and_label(Role::RadioButton, label).click();
        harness.run_ok();
    }

    fn start(harness: &mut Harness<'_, Bench>) -> ExportRequest {
        harness.get_by_role_and_label(Role::Button, texts::EXPORT).click();
        harness.run_ok();
        harness.state().last().clone()
    }

    #[test]
    fn sizes_are_even_fit_and_keep_the_shape() {
        for source in [(1601, 1200), (1200, 1601), (31, 17), (20_000, 3000), (16, 9000), (640, 360)] {
            for size in [Size::Source, Size::Fit1080, Size::Fit720, Size::Own(333)] {
                let (width, height) = size.of(source);
                assert!(width % 2 == 0 && height % 2 == 0 && SIDES.contains(&width) && SIDES.contains(&height), "{source:?} {size:?}");
                let wanted = source.0 as f64 / source.1 as f64;
                if width > 64 && height > 64 {
                    assert!((width as f64 / height as f64 / wanted - 1.0).abs() < 0.03, "{source:?} {size:?}: {width}x{height}");
                }
            }
        }
        assert_eq!(Size::Source.of((1601, 1200)), (1600, 1200));
        assert_eq!(Size::Fit1080.of((1600, 1200)), (1440, 1080));
        assert_eq!(Size::Fit720.of((720, 1280)), (720, 1280));
    }

    #[test]
    fn what_is_chosen_is_what_is_asked_for() {
        let mut harness = harness(Bench::new(), egui::Theme::Dark);
        let request = start(&mut harness);
        assert_eq!(
            (request.what, request.frames.clone(), request.size, request.format),
            (What::Take(2), 0..640, (1600, 1200), Format::Mp4)
        );
        assert_eq!(request.path, Path::new("/home/someone/Videos/Pulling out the spoon Take 2.mp4"));
        for label in [texts::LOOP_RANGE, texts::BEST, texts::FIT_720] {
            click(&mut harness, label);
        }
        let request = start(&mut harness);
        assert_eq!((request.frames.clone(), request.quality, request.size), (16..40, Quality::Best, (960, 720)));
        click(&mut harness, texts::GIF);
        click(&mut harness, texts::SOURCE_SIZE);
        assert!(harness.query_by_label(texts::ODD_GIF).is_some());
        assert!(start(&mut harness).path.ends_with("Pulling out the spoon Take 2.gif"));
    }

    #[test]
    fn a_gif_is_small_unless_somebody_says_so() {
        let mut harness = harness(Bench::new(), egui::Theme::Dark);
        click(&mut harness, texts::GIF);
        assert_eq!(start(&mut harness).size, (640, 480));
        click(&mut harness, texts::MP4);
        assert_eq!(start(&mut harness).size, (1600, 1200));
    }

    #[test]
    fn nothing_is_asked_for_without_frames() {
        let bench = Bench { takes: vec![take(1, 0)], dialog: ExportDialog::new(What::Take(1)), ..Bench::new() };
        let mut harness = harness(bench, egui::Theme::Dark);
        assert!(harness.query_by_label(texts::NO_FRAMES).is_some());
        harness.get_by_role_and_label(Role::Button, texts::EXPORT).click();
        harness.run_ok();
        assert!(harness.state().actions.is_empty());
    }

    #[test]
    fn a_part_is_clipped_and_a_path_typed() {
        let mut harness = harness(Bench::new(), egui::Theme::Dark);
        click(&mut harness, texts::PART);
        let dialog = &mut harness.state_mut().dialog;
        dialog.from_to = (600, 9999);
        dialog.set_path(Path::new("clips/spoon.mp4"));
        harness.run_ok();
        let request = start(&mut harness);
        assert_eq!((request.frames.clone(), request.path.as_path()), (600..640, Path::new("/home/someone/Videos/clips/spoon.mp4")));
        click(&mut harness, texts::PNG);
        assert_eq!(start(&mut harness).path, Path::new("/home/someone/Videos/clips/spoon"));
    }

    #[test]
    fn jobs_are_cancelled_shown_and_dismissed() {
        let job = |id: u64, name: &str, state| JobView {
            id,
            path: format!("/home/someone/Videos/{name}").into(),
            frame: 214,
            frames: 640,
            seconds_left: Some(47.2),
            state,
        };
        let why = "Videos: the disk is full; free some space or choose another folder".to_owned();
        let jobs = vec![
            job(4, "spoon.mp4", JobState::Running),
            job(3, "spoon.gif", JobState::Done),
            job(2, "old.mp4", JobState::Failed(why)),
            job(1, "older.mp4", JobState::Cancelled),
        ];
        let mut harness = harness(Bench { jobs, occupied: true, ..Bench::new() }, egui::Theme::Dark);
        picture(&mut harness, "export_dark");
        for label in ["Cancel spoon.mp4", "Show file spoon.gif", "Dismiss old.mp4"] {
            harness.get_by_label(label).click();
            harness.run_ok();
        }
        let file = PathBuf::from("/home/someone/Videos/spoon.gif");
        assert_eq!(harness.state().actions, [ExportAction::Cancel(4), ExportAction::ShowFile(file), ExportAction::Dismiss(2)]);
        assert!(harness.query_by_label(texts::REPLACES).is_some());
        assert!(harness.query_by_label_contains("47").is_none() && harness.query_by_label_contains("48 s left").is_some());
    }

    #[test]
    fn the_light_theme_to_look_at() {
        let mut harness = harness(Bench::new(), egui::Theme::Light);
        click(&mut harness, texts::PART);
        click(&mut harness, texts::CUSTOM_SIZE);
        picture(&mut harness, "export_light");
        assert!(harness.query_by_label(texts::WIDTH).is_some() && harness.query_by_label(texts::LAST_FRAME).is_some());
    }

    #[test]
    fn durations_are_written_for_people() {
        assert_eq!([duration(7.2), duration(125.0), duration(3800.0)], ["8 s", "2 min 5 s", "1 h 3 min"]);
    }
}
