//! What the artist chose once: theme, size, threads, brush, recent files; and where the program keeps its files.
//!
//! Invariant: the program starts with any settings file: one that cannot be used is put aside, not lost, and said so; every value is brought
//! into its range. Guarded by the tests below.

use std::path::{Path, PathBuf};

use eframe::egui::{self, ComboBox, DragValue, Slider};
use kinebrush_engine::media::atomic::write_atomic;
use kinebrush_engine::stream::live::Clock;
use kinebrush_engine::{Error, Result};
use serde::{Deserialize, Serialize};

use super::action::{Action, Page};
use super::document::job::{Job, Wake};
use super::fold::Folds;
use super::strings::{Language, Strings};
use super::theme;

/// Most recent files that are kept.
pub const MAX_RECENT: usize = 12;
/// Largest settings file, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The file's name.
const FILE: &str = "settings.ron";
/// A gibibyte.
const GIB: u64 = 1 << 30;

/// Where the program keeps its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Settings.
    pub config: PathBuf,
    /// Presets, pasted pictures, takes.
    pub data: PathBuf,
}

impl Folders {
    /// Where this system wants them; below `KINEBRUSH_HOME` when that is set; beside temporary files when there is no home at all.
    pub fn find() -> Self {
        if let Some(home) = std::env::var_os("KINEBRUSH_HOME").filter(|home| !home.is_empty()) {
            return Self::below(Path::new(&home));
        }
        match directories::ProjectDirs::from("", "", "kinebrush") {
            Some(folders) => Self { config: folders.config_dir().to_owned(), data: folders.data_local_dir().to_owned() },
            None => Self::below(&std::env::temp_dir().join("kinebrush")),
        }
    }

    /// Both below one folder.
    pub fn below(home: &Path) -> Self {
        Self { config: home.join("config"), data: home.join("data") }
    }

    /// Where presets are unpacked; they open as copies.
    pub fn templates(&self) -> PathBuf {
        self.data.join("presets")
    }

    /// Where sessions are kept against crashes.
    pub fn sessions(&self) -> PathBuf {
        self.data.join("sessions")
    }

    /// Where takes are kept.
    pub fn takes(&self) -> PathBuf {
        self.data.join("takes")
    }
}

/// Dark or light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThemeChoice {
    /// Dark: for judging pictures.
    #[default]
    Dark,
    /// Light.
    Light,
    /// As the system says.
    System,
}

/// A new brush.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Brush {
    /// Its radius, screen points: as large as it looks, at any zoom.
    pub radius_points: f32,
    /// The outer part of the radius over which it fades, 0 (hard) to 1.
    pub softness: f32,
}

impl Default for Brush {
    fn default() -> Self {
        Self { radius_points: 24.0, softness: 0.3 }
    }
}

/// The engine's clock as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Clock")]
enum ClockName {
    RealTime,
    EveryFrame,
}

/// What the artist chose once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Dark or light.
    pub theme: ThemeChoice,
    /// Size of the interface, percent.
    pub scale_percent: u32,
    /// Language of the window.
    pub language: Language,
    /// Threads that make video; all when not given.
    pub threads: Option<usize>,
    /// How time runs.
    #[serde(with = "ClockName")]
    pub clock: Clock,
    /// Disk space for takes, bytes.
    pub take_budget_bytes: u64,
    /// New brushes.
    pub brush: Brush,
    /// Files that were open, newest first.
    pub recent: Vec<PathBuf>,
    /// Where the weights of Depth Anything are, once they were chosen.
    pub depth_weights: Option<PathBuf>,
    /// Which sections of the panels are open.
    pub folds: Folds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::Dark,
            scale_percent: 100,
            language: Language::English,
            threads: None,
            clock: Clock::RealTime,
            take_budget_bytes: 4 * GIB,
            brush: Brush::default(),
            recent: Vec::new(),
            depth_weights: None,
            folds: Folds::default(),
        }
    }
}

impl Settings {
    /// The settings in `folder`, the defaults when there are none. A file that cannot be used is renamed to `settings.ron.broken`; then the
    /// second value says so.
    pub fn load(folder: &Path) -> (Self, Option<String>) {
        let path = folder.join(FILE);
        let read = || -> Result<Self, String> {
            let metadata = path.metadata().map_err(|error| error.to_string())?;
            if !metadata.is_file() || metadata.len() > MAX_BYTES {
                return Err("no settings file".to_owned());
            }
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
            options.from_str(&text).map_err(|error| error.to_string())
        };
        if matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            return (Self::default(), None);
        }
        match read() {
            Ok(settings) => (settings.in_range(), None),
            Err(why) => {
                let aside = folder.join(format!("{FILE}.broken"));
                let kept = match std::fs::rename(&path, &aside) {
                    Ok(()) => format!("it was kept as {}", aside.display()),
                    Err(error) => format!("it could not be renamed ({error})"),
                };
                (Self::default(), Some(format!("{}: cannot be used ({why}); the defaults are used and {kept}", path.display())))
            }
        }
    }

    /// Writes the settings to `folder`, whole or not at all. Waits for the disk.
    ///
    /// # Errors
    /// Names the file when it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        std::fs::create_dir_all(folder).map_err(|error| Error::file(folder, format!("cannot be made ({error}); allow the place")))?;
        let text = ron::ser::to_string_pretty(self, ron::ser::PrettyConfig::new().new_line("\n").struct_names(false))
            .map_err(|error| Error::file(&path, format!("cannot hold these settings ({error})")))?;
        write_atomic(&path, |out| out.write_all((text + "\n").as_bytes()))
    }

    /// [`Settings::save`] on another thread.
    pub fn save_job(&self, folder: PathBuf, wake: Wake) -> Job<()> {
        let settings = self.clone();
        Job::start("kinebrush-settings", wake, move || settings.save(&folder))
    }

    /// Size of the interface, 1 = as drawn.
    pub fn scale(&self) -> f32 {
        self.scale_percent as f32 / 100.0
    }

    /// `path` was opened or saved: it is the newest of the recent files.
    pub fn remember(&mut self, path: &Path) {
        self.recent.retain(|recent| recent != path);
        self.recent.insert(0, path.to_owned());
        self.recent.truncate(MAX_RECENT);
    }

    fn in_range(mut self) -> Self {
        let unit = |value: f32, low: f32, high: f32, default: f32| if value.is_finite() { value.clamp(low, high) } else { default };
        let brush = Brush::default();
        self.scale_percent = self.scale_percent.clamp(75, 250);
        self.threads = self.threads.map(|threads| threads.clamp(1, 1024));
        self.take_budget_bytes = self.take_budget_bytes.max(GIB / 4);
        self.brush.radius_points = unit(self.brush.radius_points, 1.0, 500.0, brush.radius_points);
        self.brush.softness = unit(self.brush.softness, 0.0, 1.0, brush.softness);
        self.recent.truncate(MAX_RECENT);
        self
    }
}

/// The page; the settings as they shall be when something was changed. `cores` = threads there are.
pub fn settings_page_ui(ui: &mut egui::Ui, settings: &Settings, cores: usize) -> (Option<Settings>, Vec<Action>) {
    let strings = Strings::of(settings.language);
    let text = &strings.settings;
    let mut chosen = settings.clone();
    let mut actions = Vec::new();
    page_header_ui(ui, text.title, strings.common.close, &mut actions);
    let row = |ui: &mut egui::Ui, name: &str, widget: &mut dyn FnMut(&mut egui::Ui) -> egui::Response| {
        let label = ui.label(name);
        widget(ui).labelled_by(label.id);
        ui.end_row();
    };
    let grid = |id: &str| egui::Grid::new(id.to_owned()).num_columns(2).min_col_width(170.0).spacing([24.0, 10.0]);
    egui::ScrollArea::vertical().show(ui, |ui| {
        ui.set_max_width(560.0);
        theme::heading_ui(ui, text.appearance);
        grid("appearance").show(ui, |ui| {
            let themes =
                [(ThemeChoice::Dark, text.theme_dark), (ThemeChoice::Light, text.theme_light), (ThemeChoice::System, text.theme_system)];
            row(ui, text.theme, &mut |ui| choice_ui(ui, "theme", &mut chosen.theme, &themes));
            let sizes = [75, 100, 125, 150, 175, 200, 250].map(|percent| (percent, format!("{percent} %")));
            let sizes: Vec<(u32, &str)> = sizes.iter().map(|(percent, name)| (*percent, name.as_str())).collect();
            row(ui, text.scale, &mut |ui| choice_ui(ui, "scale", &mut chosen.scale_percent, &sizes));
            let languages = Language::ALL.map(|language| (language, Strings::of(language).language));
            row(ui, text.language, &mut |ui| choice_ui(ui, "language", &mut chosen.language, &languages));
        });
        theme::heading_ui(ui, text.performance);
        grid("performance").show(ui, |ui| {
            let names: Vec<String> = (1..=cores).map(|threads| threads.to_string()).collect();
            let mut counts = vec![(None, text.threads_all)];
            counts.extend(names.iter().enumerate().map(|(i, name)| (Some(i + 1), name.as_str())));
            row(ui, text.threads, &mut |ui| choice_ui(ui, "threads", &mut chosen.threads, &counts).on_hover_text(text.threads_hint));
            let clocks = [(Clock::RealTime, text.clock_real_time), (Clock::EveryFrame, text.clock_every_frame)];
            row(ui, text.clock, &mut |ui| choice_ui(ui, "clock", &mut chosen.clock, &clocks).on_hover_text(text.clock_hint));
            let mut gib = chosen.take_budget_bytes as f64 / GIB as f64;
            row(ui, text.take_budget, &mut |ui| {
                let value = DragValue::new(&mut gib).range(0.25..=1000.0).speed(0.05).max_decimals(2).suffix(" GiB");
                ui.add(value).on_hover_text(text.take_budget_hint)
            });
            if gib != chosen.take_budget_bytes as f64 / GIB as f64 {
                chosen.take_budget_bytes = (gib * GIB as f64) as u64;
            }
        });
        theme::heading_ui(ui, text.brush);
        grid("brush").show(ui, |ui| {
            let brush = &mut chosen.brush;
            row(ui, text.brush_radius, &mut |ui| {
                ui.add(Slider::new(&mut brush.radius_points, 1.0..=500.0).logarithmic(true).max_decimals(0))
            });
            row(ui, text.brush_softness, &mut |ui| ui.add(Slider::new(&mut brush.softness, 0.0..=1.0).max_decimals(2)));
        });
        ui.add_space(theme::space::LARGE);
        if ui.button(text.reset).clicked() {
            // What was opened and where things are is no matter of taste.
            let (recent, depth_weights) = (settings.recent.clone(), settings.depth_weights.clone());
            chosen = Settings { recent, depth_weights, ..Settings::default() };
        }
    });
    ((chosen != *settings).then_some(chosen), actions)
}

/// The title of a page, and the button that closes it.
pub(super) fn page_header_ui(ui: &mut egui::Ui, title: &str, close: &str, actions: &mut Vec<Action>) {
    ui.horizontal(|ui| {
        ui.heading(title);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            if ui.button(close).clicked() {
                actions.push(Action::Show(Page::Canvas));
            }
        });
    });
    ui.add_space(theme::space::MEDIUM);
}

/// One of several.
fn choice_ui<T: Copy + PartialEq>(ui: &mut egui::Ui, id: &str, value: &mut T, choices: &[(T, &str)]) -> egui::Response {
    let shown = choices.iter().find(|(choice, _)| choice == value).map_or("", |(_, name)| name);
    let combo = ComboBox::from_id_salt(id).selected_text(shown).show_ui(ui, |ui| {
        for (choice, name) in choices {
            ui.selectable_value(value, *choice, *name);
        }
    });
    combo.response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable;

    #[test]
    fn settings_come_back_and_unknown_ones_are_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("deep/config");
        assert_eq!(Settings::load(&config), (Settings::default(), None));
        let mut settings = Settings { threads: Some(3), clock: Clock::EveryFrame, scale_percent: 150, ..Settings::default() };
        settings.remember(Path::new("/a b/ü.png"));
        settings.depth_weights = Some("/weights of mine".into());
        settings.folds = ron::from_str("{\"presets\": false}").unwrap();
        settings.save_job(config.clone(), std::sync::Arc::new(|| {})).wait().unwrap();
        assert_eq!(Settings::load(&config), (settings, None));
        for text in ["(colour: 3)", "(theme: Dark", "\u{0}", "(scale_percent: -1)"] {
            std::fs::write(config.join(FILE), text).unwrap();
            let (loaded, warning) = Settings::load(&config);
            assert_eq!(loaded, Settings::default());
            assert!(warning.unwrap().contains("settings.ron.broken"));
            assert_eq!(std::fs::read_to_string(config.join("settings.ron.broken")).unwrap(), text);
            assert_eq!(Settings::load(&config).1, None, "put aside, so the next start is quiet");
        }
        std::fs::write(config.join(FILE), "(scale_percent: 9000, threads: 0, brush: (radius_points: -4, softness: NaN))").unwrap();
        let (loaded, warning) = Settings::load(&config);
        assert_eq!((loaded.scale_percent, loaded.threads, warning), (250, Some(1), None));
        assert_eq!(loaded.brush, Brush { radius_points: 1.0, ..Brush::default() });
    }

    #[test]
    fn the_newest_file_comes_first_and_once() {
        let mut settings = Settings::default();
        for i in 0..20 {
            settings.remember(Path::new(&format!("{}.png", i % 15)));
        }
        assert_eq!((settings.recent.len(), settings.recent[0].as_path()), (MAX_RECENT, Path::new("4.png")));
        assert_eq!(settings.recent.iter().filter(|path| path.as_path() == Path::new("4.png")).count(), 1);
    }

    #[test]
    fn everything_can_be_chosen_by_label() {
        let mut harness = Harness::builder().with_size([800.0, 700.0]).build_ui_state(
            |ui, (settings, actions): &mut (Settings, Vec<Action>)| {
                let (chosen, asked) = settings_page_ui(ui, settings, 4);
                *settings = chosen.unwrap_or_else(|| settings.clone());
                actions.extend(asked);
            },
            (Settings::default(), Vec::new()),
        );
        for (name, choice) in [("Theme", "Light"), ("Size of the interface", "150 %"), ("Processor threads", "2"), ("Clock", "Every frame")]
        {
            harness.run();
            harness.get_by_role_and_label(egui::accesskit::Role::ComboBox, name).click();
            harness.run();
            harness.get_by_role_and_label(egui::accesskit::Role::Button, choice).click();
            harness.run();
        }
        let settings = harness.state().0.clone();
        assert_eq!((settings.theme, settings.scale_percent, settings.threads), (ThemeChoice::Light, 150, Some(2)));
        assert_eq!(settings.clock, Clock::EveryFrame);
        harness.get_by_label("Back to the defaults").click();
        harness.run();
        assert_eq!(harness.state().0, Settings::default());
        harness.get_by_label("Close").click();
        harness.run();
        assert!(matches!(harness.state().1[..], [Action::Show(Page::Canvas)]));
    }
}
