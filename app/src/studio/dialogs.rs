//! Questions that must be answered, and the choice of a file.
//!
//! Invariant: a question is asked once, over everything, and Escape is its harmless answer; the system's file window runs on a thread of its
//! own; where there is none, a path can be typed. Guarded by the tests below, which never open the system's window.

use std::path::{Path, PathBuf};

use eframe::egui::{self, Id, Key, Modal, RichText, TextEdit};

use super::camera::CameraFile;
use super::document::job::{Job, Wake};
use super::strings::Strings;
use super::theme;

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub enum Dialog {
    /// Something is not saved, and `then` would lose it.
    SaveChanges {
        /// The document's name.
        title: String,
    },
    /// The window is to be closed while a video is being written.
    ExportRunning,
    /// The picture is too large to work with.
    TooLarge {
        /// The picture.
        path: PathBuf,
        /// Its pixels.
        pixels: usize,
        /// Width and height of the copy that is offered.
        suggested: (usize, usize),
    },
    /// No file window: a path is typed.
    Path {
        /// For opening or for saving.
        purpose: Purpose,
        /// What stands in the field.
        text: String,
    },
}

/// What a file is chosen for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be opened.
    Open,
    /// A clip, to be opened beside the picture.
    Clip,
    /// The project is saved there; the folder and name to begin with.
    Save {
        /// A path, or just a name.
        suggested: PathBuf,
    },
    /// A video is written there.
    Export {
        /// A path, or just a name.
        suggested: PathBuf,
    },
    /// A file of the camera panel.
    Camera {
        /// Which.
        file: CameraFile,
        /// A path, or just a name; empty for one to be read.
        suggested: PathBuf,
    },
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Save first.
    Save,
    /// Lose the changes.
    Discard,
    /// Do nothing: it stays as it was.
    Cancel,
    /// Stop writing the video.
    CancelExport,
    /// Open a copy of this size.
    Smaller {
        /// The picture.
        path: PathBuf,
        /// Width and height.
        size: (usize, usize),
    },
    /// This file.
    Path(Purpose, PathBuf),
}

impl Dialog {
    /// The dialog that is shown where the system has no file window.
    pub fn path(purpose: Purpose) -> Self {
        let text = match &purpose {
            Purpose::Open | Purpose::Clip => String::new(),
            Purpose::Save { suggested } | Purpose::Export { suggested } | Purpose::Camera { suggested, .. } => {
                suggested.display().to_string()
            }
        };
        Self::Path { purpose, text }
    }

    /// Draws the question over everything; its answer, once.
    pub fn dialog_ui(&mut self, ctx: &egui::Context, strings: &Strings) -> Option<Answer> {
        let (texts, cancel) = (&strings.dialogs, strings.common.cancel);
        let modal = Modal::new(Id::unique("dialog")).frame(theme::dialog_frame(ctx)).show(ctx, |ui| {
            ui.set_width(440.0_f32.min(ui.ctx().content_rect().width() - 64.0));
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match self {
                Self::SaveChanges { title } => {
                    text_ui(ui, &(texts.save_title)(title), texts.save_text);
                    let choices = [(texts.save, Answer::Save), (texts.discard, Answer::Discard), (cancel, Answer::Cancel)];
                    buttons_ui(ui, choices.into(), true)
                }
                Self::ExportRunning => {
                    text_ui(ui, texts.export_title, texts.export_text);
                    buttons_ui(ui, vec![(texts.export_keep, Answer::Cancel), (texts.export_cancel, Answer::CancelExport)], true)
                }
                Self::TooLarge { path, pixels, suggested } => {
                    let megapixels = *pixels / 1_000_000;
                    text_ui(ui, texts.large_title, &(texts.large_text)(&name(path), megapixels, suggested.0, suggested.1));
                    let smaller = Answer::Smaller { path: path.clone(), size: *suggested };
                    buttons_ui(ui, vec![(texts.large_open, smaller), (cancel, Answer::Cancel)], true)
                }
                Self::Path { purpose, text } => {
                    let (title, verb) = match purpose {
                        Purpose::Open => (texts.path_open_title, texts.path_open),
                        Purpose::Clip => (texts.path_clip_title, texts.path_open),
                        Purpose::Save { .. } => (texts.path_save_title, texts.path_save),
                        Purpose::Export { .. } => (texts.path_export_title, texts.path_save),
                        Purpose::Camera { file: CameraFile::Depth, .. } => (texts.path_depth_title, texts.path_open),
                        Purpose::Camera { file: CameraFile::Import, .. } => (texts.path_camera_in_title, texts.path_open),
                        Purpose::Camera { file: CameraFile::Export, .. } => (texts.path_camera_out_title, texts.path_save),
                    };
                    text_ui(ui, title, texts.path_text);
                    let label = ui.label(texts.path_label);
                    let field = ui.add(TextEdit::singleline(text).desired_width(f32::INFINITY)).labelled_by(label.id);
                    ui.add_space(theme::space::LARGE);
                    let chosen = typed_path(text, purpose).map(|path| Answer::Path(purpose.clone(), path));
                    let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
                    if entered && chosen.is_some() {
                        return chosen;
                    }
                    // The first thing to do here is to type.
                    if ui.memory(|memory| memory.focused().is_none()) {
                        field.request_focus();
                    }
                    let is_complete = chosen.is_some();
                    buttons_ui(ui, vec![(verb, chosen.unwrap_or(Answer::Cancel)), (cancel, Answer::Cancel)], is_complete)
                }
            }
        });
        let escaped = modal.is_top_modal && !modal.any_popup_open && ctx.input(|input| input.key_pressed(Key::Escape));
        modal.inner.or(escaped.then_some(Answer::Cancel))
    }
}

/// The path in a text field, as a file manager or a terminal gives it: perhaps in quotes, perhaps with `~` or `file://`.
pub(super) fn typed_path(text: &str, purpose: &Purpose) -> Option<PathBuf> {
    let text = text.trim();
    let text = text.strip_prefix(['"', '\'']).and_then(|text| text.strip_suffix(['"', '\''])).unwrap_or(text);
    let text = text.strip_prefix("file://").unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    let path = match text.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest),
        None => PathBuf::from(text),
    };
    Some(if matches!(purpose, Purpose::Save { .. }) { with_project_extension(path) } else { path })
}

/// A project's file ends in `.ron`, or it could not be told from a picture when it is opened.
fn with_project_extension(path: PathBuf) -> PathBuf {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ron")) {
        return path;
    }
    let mut name = path.into_os_string();
    name.push(".ron");
    name.into()
}

fn text_ui(ui: &mut egui::Ui, title: &str, text: &str) {
    ui.label(RichText::new(title).size(17.0).strong());
    ui.add_space(theme::space::SMALL);
    ui.label(RichText::new(text).color(theme::tokens(ui).muted));
    ui.add_space(theme::space::LARGE);
}

/// The answers from the right, the first one standing out; it can be pressed when `enabled`.
fn buttons_ui(ui: &mut egui::Ui, choices: Vec<(&str, Answer)>, enabled: bool) -> Option<Answer> {
    let tokens = theme::tokens(ui);
    let mut answer = None;
    ui.allocate_ui_with_layout(egui::vec2(ui.available_width(), 34.0), egui::Layout::right_to_left(egui::Align::Center), |ui| {
        for (i, (text, choice)) in choices.into_iter().enumerate() {
            let button = if i == 0 { theme::primary_button(tokens, text) } else { egui::Button::new(text) };
            if ui.add_enabled(enabled || i > 0, button.min_size(theme::BUTTON_SIZE)).clicked() {
                answer = Some(choice);
            }
        }
    });
    answer
}

/// Opens the system's file window on a thread of its own. None when it was closed, or when the system has none, which looks the same: offer
/// [`Dialog::path`] then.
pub fn choose_file(purpose: Purpose, strings: &'static Strings, wake: Wake) -> Job<Option<PathBuf>> {
    Job::start("kinebrush-dialog", wake, move || {
        let texts = &strings.dialogs;
        let pictures = ["png", "jpg", "jpeg", "webp"];
        let dialog = rfd::FileDialog::new();
        Ok(match purpose {
            Purpose::Clip => dialog.set_title(texts.path_clip_title).add_filter(super::clip::FILTER, &super::clip::CLIPS).pick_file(),
            Purpose::Open => dialog
                .set_title(texts.path_open_title)
                .add_filter(texts.filter_all, &[&pictures[..], &["ron"]].concat())
                .add_filter(texts.filter_pictures, &pictures)
                .add_filter(texts.filter_projects, &["ron"])
                .pick_file(),
            Purpose::Camera { file: CameraFile::Depth, .. } => {
                dialog.set_title(texts.path_depth_title).add_filter(texts.filter_depth, &["png", "exr", "npz"]).pick_file()
            }
            Purpose::Camera { file: CameraFile::Import, .. } => {
                dialog.set_title(texts.path_camera_in_title).add_filter(texts.filter_camera, &["json"]).pick_file()
            }
            Purpose::Camera { file: CameraFile::Export, ref suggested } => {
                let name = suggested.file_name().unwrap_or_default().to_string_lossy();
                dialog.set_title(texts.path_camera_out_title).add_filter(texts.filter_camera, &["json"]).set_file_name(name).save_file()
            }
            Purpose::Save { ref suggested } | Purpose::Export { ref suggested } => {
                let saves = matches!(purpose, Purpose::Save { .. });
                let dialog = match saves {
                    true => dialog.set_title(texts.path_save_title).add_filter(texts.filter_projects, &["ron"]),
                    false => dialog.set_title(texts.path_export_title),
                };
                let dialog = match suggested.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                    Some(folder) => dialog.set_directory(folder),
                    None => dialog,
                };
                let name = suggested.file_name().unwrap_or_default().to_string_lossy();
                dialog.set_file_name(name).save_file().map(|path| if saves { with_project_extension(path) } else { path })
            }
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::studio::strings::ENGLISH;
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable;

    fn harness<'a>(dialog: Dialog) -> Harness<'a, (Dialog, Option<Answer>)> {
        let mut harness = Harness::builder().with_size([800.0, 500.0]).build_ui_state(
            |ui, (dialog, answer): &mut (Dialog, Option<Answer>)| {
                let new = dialog.dialog_ui(ui.ctx(), &ENGLISH);
                *answer = answer.take().or(new);
            },
            (dialog, None),
        );
        harness.run();
        harness
    }

    #[test]
    fn every_button_gives_its_answer_and_escape_the_harmless_one() {
        let save = Dialog::SaveChanges { title: "Cat".to_owned() };
        let large = Dialog::TooLarge { path: "/a/wide.png".into(), pixels: 51_000_000, suggested: (4000, 3000) };
        let smaller = Answer::Smaller { path: "/a/wide.png".into(), size: (4000, 3000) };
        for (dialog, title, button, expected) in [
            (&save, "Save changes to “Cat”?", "Save", Answer::Save),
            (&save, "Save changes to “Cat”?", "Don't save", Answer::Discard),
            (&save, "Save changes to “Cat”?", "Cancel", Answer::Cancel),
            (&Dialog::ExportRunning, "Export is still running: cancel it?", "Keep exporting", Answer::Cancel),
            (&Dialog::ExportRunning, "Export is still running: cancel it?", "Cancel the export", Answer::CancelExport),
            (&large, "Picture is too large", "Open a smaller copy", smaller),
        ] {
            let mut clicked = harness(dialog.clone());
            clicked.get_by_label(title);
            assert_eq!(clicked.state().1, None);
            clicked.get_by_label(button).click();
            clicked.run();
            assert_eq!(clicked.state().1, Some(expected));
            let mut escaped = harness(dialog.clone());
            escaped.key_press(Key::Escape);
            escaped.run();
            assert_eq!(escaped.state().1, Some(Answer::Cancel));
        }
    }

    #[test]
    fn a_path_can_be_typed() {
        let mut harness = harness(Dialog::path(Purpose::Open));
        harness.get_by_label("Open").click();
        harness.run();
        assert_eq!(harness.state().1, None, "nothing was typed");
        harness.get_by_role_and_label(egui::accesskit::Role::TextInput, "Path of the file").focus();
        harness.run();
        harness.get_by_role_and_label(egui::accesskit::Role::TextInput, "Path of the file").type_text("/pictures/my cat.png");
        harness.run();
        harness.key_press(Key::Enter);
        harness.run();
        assert_eq!(harness.state().1, Some(Answer::Path(Purpose::Open, "/pictures/my cat.png".into())));
    }

    #[test]
    fn typed_paths_are_read_as_they_are_copied() {
        let save = Purpose::Save { suggested: "a".into() };
        assert_eq!(typed_path(" \"/a b/c.png\" ", &Purpose::Open).unwrap(), Path::new("/a b/c.png"));
        assert_eq!(typed_path("file:///a/c.png", &Purpose::Open).unwrap(), Path::new("/a/c.png"));
        assert!(typed_path("~/c.png", &Purpose::Open).unwrap().is_absolute());
        assert_eq!(typed_path("/a/v1.2", &save).unwrap(), Path::new("/a/v1.2.ron"));
        assert_eq!(typed_path("/a/b.RON", &save).unwrap(), Path::new("/a/b.RON"));
        assert_eq!(typed_path("  ", &save), None);
    }
}
