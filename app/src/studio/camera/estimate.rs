//! Depth that a network estimates from the picture alone: Depth Anything, from the artist's own weights.
//!
//! Reading the weights and looking at the picture take seconds, on a thread of its own. Invariants: an estimate lies in a file whose name is
//! made of what is in it, so that none takes the place of another that an undo may come back to; one of another picture is thrown away.
//! Guarded by the tests below, `tests/tests/camera.rs`, and for the network `tests/tests/depth_anything.rs`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use eframe::egui::{Button, RichText, TextEdit, Ui};
use kinebrush_engine::media::picture_file::save_grey16;
use kinebrush_engine::model::depth_anything::{DepthAnything, Estimate};
use kinebrush_engine::model::device::device_by_name;
use kinebrush_engine::model::parameters::fnv1a;
use kinebrush_engine::motion::camera::CameraPath;
use kinebrush_engine::motion::depth::{DepthMeaning, DepthSource, FARTHEST, NEAREST};
use kinebrush_engine::picture::Picture;
use kinebrush_engine::{Error, Result};

use super::{CameraFile, CameraInput, CameraPanel, note_ui, texts};
use crate::studio::action::Action;
use crate::studio::dialogs::{Purpose, typed_path};
use crate::studio::document::job::{Job, Wake};
use crate::studio::theme;
use crate::studio::timeline::{Look, small};

/// In the names of estimates, between the picture's name and what tells them apart.
const MARK: &str = ".depth-";
/// Distances of the farthest and the nearest pixel to begin with, where the network knows only what is nearer: world units.
const SPAN: (f32, f32) = (10.0, 1.0);

/// An estimate that is being made.
pub(super) struct Estimation {
    job: Job<DepthSource>,
    picture: Weak<Picture>,
    /// Whether the weights are read.
    looks: Arc<AtomicBool>,
}

impl Estimation {
    /// Looks at `picture`, whose file's name is `name`, with the weights in a folder, and writes what it sees into the first of `folders`
    /// that takes it.
    fn start(weights: PathBuf, picture: &Arc<Picture>, name: String, folders: Vec<PathBuf>, wake: Wake) -> Self {
        let looks = Arc::new(AtomicBool::new(false));
        let (begun, news, source) = (looks.clone(), wake.clone(), picture.clone());
        let job = Job::start("kinebrush-estimate", wake, move || {
            let network = DepthAnything::load(&weights, &device_by_name("cpu")?)?;
            begun.store(true, Ordering::Relaxed);
            news();
            let estimate = network.estimate(&source)?;
            Ok(DepthSource::File { path: keep(&estimate, &name, &folders)?, meaning: meaning(&estimate) })
        });
        Self { job, picture: Arc::downgrade(picture), looks }
    }
}

/// Writes an estimate; where it is.
fn keep(estimate: &Estimate, name: &str, folders: &[PathBuf]) -> Result<PathBuf> {
    // Of the numbers as they will be read again.
    let numbers: Vec<u8> = estimate.nearness.data.iter().flat_map(|v| ((v * 65535.0 + 0.5) as u16).to_le_bytes()).collect();
    let hash = fnv1a(&numbers);
    let file = format!("{name}{MARK}{:08x}.png", (hash >> 32) ^ (hash & 0xFFFF_FFFF));
    let mut refused = Error::field("depth", "there is no folder to write it to");
    for folder in folders {
        let path = folder.join(&file);
        let made = std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, format_args!("cannot be made ({e}); free some space")));
        match made.and_then(|()| save_grey16(&estimate.nearness, &path)) {
            Ok(()) => return Ok(path),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// What the file's numbers mean.
fn meaning(estimate: &Estimate) -> DepthMeaning {
    let (near, far) = estimate.metres.unwrap_or((SPAN.1, SPAN.0));
    let near = if near.is_finite() { near.clamp(NEAREST, FARTHEST * 0.5) } else { SPAN.1 };
    let far = if far.is_finite() { far.clamp(near * 1.01, FARTHEST) } else { FARTHEST };
    DepthMeaning::NearIsWhite { far, near }
}

/// Whether a depth file is one of ours.
pub(super) fn is_estimate(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once(MARK).is_some_and(|(_, end)| end.len() == 12 && end.ends_with(".png"))
}

impl CameraPanel {
    /// Where the weights are, what is being done with them, and what came of it.
    pub(super) fn estimate_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, actions: &mut Vec<Action>) {
        let look = Look::of(ui);
        let done = match &t.path().depth {
            DepthSource::File { path, .. } if is_estimate(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            _ => None,
        };
        note_ui(ui, done.as_deref().map_or(texts::ESTIMATE_ABOUT, |_| texts::ESTIMATE_DONE), look.quiet);
        ui.horizontal(|ui| {
            let width = (ui.available_width() - 92.0).max(80.0);
            let field = TextEdit::singleline(&mut self.weights).hint_text(texts::WEIGHTS_HINT).desired_width(width).font(small());
            ui.add(field).on_hover_text(texts::WEIGHTS_TIP).accessible_name(texts::WEIGHTS);
            if ui.add(Button::new(RichText::new(texts::BROWSE).font(small()))).clicked() {
                actions.push(Action::Ask(Purpose::Camera { file: CameraFile::Weights, suggested: PathBuf::new() }));
            }
        });
        ui.horizontal(|ui| match &self.estimating {
            Some(estimation) => {
                let text = if estimation.looks.load(Ordering::Relaxed) { texts::ESTIMATING } else { texts::READING };
                note_ui(ui, text, look.text);
                if ui.add(Button::new(RichText::new(texts::ESTIMATE_STOP).font(small()))).clicked() {
                    self.estimating = None;
                }
            }
            None => {
                let folder = typed_path(&self.weights, &Purpose::Open);
                let text = if done.is_some() { texts::ESTIMATE_AGAIN } else { texts::ESTIMATE_BUTTON };
                let button = theme::primary_button(theme::tokens(ui), text);
                let pressed = ui.add_enabled(folder.is_some(), button).clicked();
                actions.extend(folder.filter(|_| pressed).map(Action::EstimateDepth));
            }
        });
        if let Some(error) = &self.refused {
            note_ui(ui, error, look.alert);
        }
    }

    /// Begins to estimate the depth of `picture`; see [`Estimation::start`].
    pub fn estimate(&mut self, weights: PathBuf, picture: &Arc<Picture>, name: String, folders: Vec<PathBuf>, wake: Wake) {
        self.weights = weights.display().to_string();
        self.refused = None;
        self.estimating = Some(Estimation::start(weights, picture, name, folders, wake));
    }

    /// The step that comes of an estimate, once it is there.
    pub(super) fn estimated(&mut self, t: &CameraInput<'_>) -> Option<Action> {
        let answer = self.estimating.as_ref()?.job.poll()?;
        let same = self.estimating.take().is_some_and(|estimation| std::ptr::eq(estimation.picture.as_ptr(), Arc::as_ptr(t.picture)));
        match answer {
            _ if !same => None,
            Ok(DepthSource::File { path, meaning }) => {
                // In the project's own folder it goes wherever that goes.
                let path = path.strip_prefix(t.work.project.folder()).map_or(path.clone(), Path::to_owned);
                self.choosing = None;
                let depth = DepthSource::File { path, meaning };
                Some(t.edit_path(texts::STEP_ESTIMATE, 0, CameraPath { depth, ..t.path() }))
            }
            Ok(_) => None,
            Err(error) => {
                self.refused = Some(error.to_string());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use kinebrush_engine::picture::Mask;

    fn estimate(metres: Option<(f32, f32)>) -> Estimate {
        Estimate { nearness: Mask::from_fn(20, 10, |x, _| x as f32 / 19.0), metres }
    }

    #[test]
    fn whatever_is_estimated_is_a_depth_that_can_be_used() {
        for metres in [None, Some((0.4, 30.0)), Some((2.0, 2.0)), Some((1e-9, f32::INFINITY)), Some((f32::NAN, f32::NAN))] {
            let depth = DepthSource::File { path: "a.png".into(), meaning: meaning(&estimate(metres)) };
            depth.validate("depth", (20, 10)).unwrap();
        }
    }

    #[test]
    fn estimates_that_differ_lie_side_by_side_and_are_known_by_their_names() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "no folder").unwrap();
        let folders = [root.path().join("file/below"), root.path().join("kept")];
        let first = keep(&estimate(None), "my cat", &folders).unwrap();
        assert_eq!(keep(&estimate(None), "my cat", &folders).unwrap(), first);
        let mut other = estimate(None);
        other.nearness.data[3] = 0.9;
        let second = keep(&other, "my cat", &folders).unwrap();
        assert!(first != second && first.is_file() && second.is_file() && first.starts_with(&folders[1]));
        assert!(is_estimate(&first) && is_estimate(&second));
        for name in ["my cat.png", "my.depth-map.png", "", "a.depth-0123abcd.exr"] {
            assert!(!is_estimate(Path::new(name)), "{name}");
        }
        assert!(keep(&estimate(None), "a", &folders[..1]).unwrap_err().to_string().contains("below"));
    }
}
