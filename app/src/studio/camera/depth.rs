//! Where the depth comes from: a scene that is fitted, marks that are painted, or a file.
//!
//! Invariant: every state that a field or a handle makes is one that the project takes. Guarded by the tests below and the panel's.

use std::path::PathBuf;

use eframe::egui::{Button, ComboBox, RichText, Slider, TextEdit, Ui};
use kinebrush_engine::motion::camera::{CameraPath, FOV_DEG};
use kinebrush_engine::motion::depth::{DepthMark, DepthMeaning, DepthSource, SceneShape};

use super::edit::Size;
use super::survey::Shade;
use super::{CameraFile, CameraInput, CameraPanel, note_ui, number_ui, row_ui, texts};
use crate::studio::action::Action;
use crate::studio::dialogs::{Purpose, typed_path};
use crate::studio::theme;
use crate::studio::timeline::{Look, segments, small};

/// Nearest and farthest distance of a field, world units.
const DISTANCES: std::ops::RangeInclusive<f32> = 0.05..=10_000.0;

impl CameraPanel {
    pub(super) fn depth_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, path: &CameraPath, actions: &mut Vec<Action>) {
        theme::heading_ui(ui, texts::SOURCE);
        let kind = kind_of(&path.depth);
        let choices = [
            (texts::BACKDROP, texts::BACKDROP_TIP, kind == 0),
            (texts::GROUND, texts::GROUND_TIP, kind == 1),
            (texts::ROOM, texts::ROOM_TIP, kind == 2),
            (texts::PAINTED, texts::PAINTED_TIP, kind == 3),
            (texts::FILE, texts::FILE_TIP, kind == 4),
        ];
        // A file that is being chosen is a source only once it is named.
        let shown = if self.choosing_file { 4 } else { kind };
        let choices = std::array::from_fn::<_, 5, _>(|i| (choices[i].0, choices[i].1, i == shown));
        if let Some(chosen) = segments(ui, &choices).filter(|chosen| *chosen != shown) {
            self.choosing_file = chosen == 4;
            if chosen != 4 && chosen != kind {
                let depth = begun(chosen, t.size(), self.survey.distance(path));
                actions.push(t.edit_path(texts::STEP_DEPTH, 0, CameraPath { depth, ..path.clone() }));
            }
        }
        let gesture = self.gesture(ui);
        let mut depth = path.depth.clone();
        match &mut depth {
            _ if shown == 4 => self.file_ui(ui, t, actions),
            DepthSource::Shape(shape) => shape_ui(ui, shape),
            DepthSource::Painted { far, near, marks } => self.painted_ui(ui, t, far, near, marks),
            DepthSource::File { .. } => {}
        }
        if depth != path.depth {
            actions.push(t.edit_path(texts::STEP_DEPTH, gesture, CameraPath { depth, ..path.clone() }));
        }
        row_ui(ui, texts::LENS, |ui| {
            let mut fov_deg = path.fov_deg;
            let field = number_ui(ui, &mut fov_deg, texts::LENS, FOV_DEG, 0.2, 1, "°");
            note_ui(ui, texts::LENS_TIP, Look::of(ui).quiet);
            if field {
                actions.push(t.edit_path(texts::STEP_LENS, gesture, CameraPath { fov_deg, ..path.clone() }));
            }
        });
        row_ui(ui, texts::SHOW, |ui| {
            let choices = [
                (texts::SHOW_OFF, texts::SHOW_OFF_TIP, self.shade == Shade::Off),
                (texts::SHOW_GREY, texts::SHOW_GREY_TIP, self.shade == Shade::Grey),
                (texts::SHOW_COLOUR, texts::SHOW_COLOUR_TIP, self.shade == Shade::Colour),
            ];
            if let Some(chosen) = segments(ui, &choices) {
                self.shade = [Shade::Off, Shade::Grey, Shade::Colour][chosen];
            }
        });
    }

    fn painted_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, far: &mut f32, near: &mut f32, marks: &mut Vec<DepthMark>) {
        span_ui(ui, far, near);
        row_ui(ui, texts::VALUE, |ui| {
            ui.spacing_mut().slider_width = 120.0;
            note_ui(ui, texts::VALUE_FAR, Look::of(ui).quiet);
            ui.add(Slider::new(&mut self.value, 0.0..=1.0).show_value(false)).accessible_name(texts::VALUE);
            note_ui(ui, texts::VALUE_NEAR, Look::of(ui).quiet);
        });
        row_ui(ui, texts::BRUSH, |ui| {
            ui.spacing_mut().slider_width = 120.0;
            ui.add(Slider::new(&mut self.brush, 0.004..=0.25).logarithmic(true).show_value(false)).accessible_name(texts::BRUSH_FIELD);
            let radius = self.brush * t.picture.width.max(t.picture.height) as f32;
            note_ui(ui, &format!("{radius:.0} px"), Look::of(ui).quiet);
        });
        ui.horizontal_wrapped(|ui| {
            let button = |text| Button::new(RichText::new(text).font(small()));
            let region = t.work.region.clone();
            let mark = ui.add_enabled(region.is_some(), button(texts::MARK_REGION)).on_hover_text(texts::MARK_REGION_TIP);
            if let Some(region) = region.filter(|_| mark.clicked()) {
                marks.push(DepthMark { region, value: self.value });
            }
            if ui.add_enabled(!marks.is_empty(), button(texts::UNDO_MARK)).clicked() {
                marks.pop();
            }
            if ui.add_enabled(!marks.is_empty(), button(texts::CLEAR_MARKS)).clicked() {
                marks.clear();
            }
            note_ui(ui, &format!("{} {}", marks.len(), texts::MARKS), Look::of(ui).quiet);
        });
    }

    /// The file and what its numbers mean. It becomes the source by its button; from then on its meaning is the project's.
    fn file_ui(&mut self, ui: &mut Ui, t: &CameraInput<'_>, actions: &mut Vec<Action>) {
        if let Some(DepthSource::File { path, meaning }) = t.work.project.camera.as_ref().map(|camera| &camera.depth) {
            self.meaning = *meaning;
            if self.file.is_empty() {
                self.file = path.display().to_string();
            }
        }
        ui.horizontal(|ui| {
            let width = (ui.available_width() - 178.0).max(80.0);
            let field = TextEdit::singleline(&mut self.file).hint_text(texts::PATH).desired_width(width).font(small());
            ui.add(field).accessible_name(texts::PATH);
            if ui.add(Button::new(RichText::new(texts::BROWSE).font(small()))).clicked() {
                actions.push(Action::Ask(Purpose::Camera { file: CameraFile::Depth, suggested: PathBuf::new() }));
            }
            let typed = typed_path(&self.file, &Purpose::Open).is_some();
            if ui.add_enabled(typed, Button::new(RichText::new(texts::USE_FILE).font(small()))).clicked() {
                actions.extend(self.file_chosen(t));
            }
        });
        let before = self.meaning;
        meaning_ui(ui, &mut self.meaning);
        if self.meaning != before
            && let Some(camera) = &t.work.project.camera
            && let DepthSource::File { path, .. } = &camera.depth
        {
            let depth = DepthSource::File { path: path.clone(), meaning: self.meaning };
            actions.push(t.edit_path(texts::STEP_DEPTH, self.gesture(ui), CameraPath { depth, ..camera.clone() }));
        }
    }

    /// The file in the field becomes the source.
    pub(super) fn file_chosen(&mut self, t: &CameraInput<'_>) -> Option<Action> {
        let path = typed_path(&self.file, &Purpose::Open)?;
        self.choosing_file = false;
        let depth = DepthSource::File { path, meaning: self.meaning };
        Some(t.edit_path(texts::STEP_DEPTH, 0, CameraPath { depth, ..t.path() }))
    }
}

/// The place of a source among the choices.
fn kind_of(depth: &DepthSource) -> usize {
    match depth {
        DepthSource::Shape(SceneShape::Backdrop { .. }) => 0,
        DepthSource::Shape(SceneShape::Ground { .. }) => 1,
        DepthSource::Shape(SceneShape::Room { .. }) => 2,
        DepthSource::Painted { .. } => 3,
        DepthSource::File { .. } => 4,
    }
}

/// A source of one of the kinds that need no file, about as far as what was there before.
fn begun(kind: usize, size: Size, distance: f32) -> DepthSource {
    let distance = distance.clamp(*DISTANCES.start() * 4.0, *DISTANCES.end() / 4.0);
    let (w, h) = (size.0 as f32, size.1 as f32);
    match kind {
        0 => DepthSource::Shape(SceneShape::Backdrop { distance }),
        2 => {
            let back = (w * 0.3, h * 0.3, w * 0.7, h * 0.68);
            DepthSource::Shape(SceneShape::Room { back, vanishing: (w * 0.5, h * 0.47), depth: distance })
        }
        3 => DepthSource::Painted { far: distance * 2.0, near: distance * 0.5, marks: Vec::new() },
        _ => DepthSource::guess(size),
    }
}

fn shape_ui(ui: &mut Ui, shape: &mut SceneShape) {
    let distance = |ui: &mut Ui, caption: &str, value: &mut f32| {
        row_ui(ui, caption, |ui| {
            let speed = f64::from(*value) * 0.01;
            number_ui(ui, value, caption, DISTANCES, speed, 2, "");
        });
    };
    match shape {
        SceneShape::Backdrop { distance: far } => distance(ui, texts::DISTANCE, far),
        SceneShape::Ground { height, far, .. } => {
            distance(ui, texts::HEIGHT, height);
            distance(ui, texts::FAR, far);
        }
        SceneShape::Room { depth, .. } => distance(ui, texts::LENGTH, depth),
    }
}

/// Near and far, near always nearer.
fn span_ui(ui: &mut Ui, far: &mut f32, near: &mut f32) {
    row_ui(ui, texts::NEAR, |ui| {
        let speed = f64::from(*near) * 0.01;
        number_ui(ui, near, texts::NEAR, *DISTANCES.start()..=*far * 0.95, speed, 2, "");
        ui.label(RichText::new(texts::FAR).font(small()).color(Look::of(ui).quiet));
        let speed = f64::from(*far) * 0.01;
        number_ui(ui, far, texts::FAR, *near * 1.05..=*DISTANCES.end(), speed, 2, "");
    });
}

fn meaning_ui(ui: &mut Ui, meaning: &mut DepthMeaning) {
    let (far, near) = match *meaning {
        DepthMeaning::NearIsWhite { far, near } | DepthMeaning::FarIsWhite { far, near } => (far, near),
        _ => (20.0, 1.0),
    };
    let kinds = [
        (texts::NEAR_WHITE, DepthMeaning::NearIsWhite { far, near }),
        (texts::FAR_WHITE, DepthMeaning::FarIsWhite { far, near }),
        (texts::METRIC, DepthMeaning::Metric { scale: 1.0 }),
        (texts::DISPARITY, DepthMeaning::Disparity { baseline: 1.0, offset: 0.0 }),
    ];
    let shown = kinds.iter().find(|kind| std::mem::discriminant(&kind.1) == std::mem::discriminant(meaning)).map_or("", |kind| kind.0);
    row_ui(ui, texts::MEANING, |ui| {
        let combo = ComboBox::from_id_salt("meaning").width(130.0).selected_text(RichText::new(shown).font(small()));
        let inner = combo.show_ui(ui, |ui| {
            for (label, kind) in kinds {
                if ui.selectable_label(shown == label, label).clicked() && shown != label {
                    *meaning = kind;
                }
            }
        });
        inner.response.accessible_name(texts::MEANING);
    });
    match meaning {
        DepthMeaning::NearIsWhite { far, near } | DepthMeaning::FarIsWhite { far, near } => span_ui(ui, far, near),
        DepthMeaning::Metric { scale } => row_ui(ui, texts::SCALE, |ui| {
            let speed = f64::from(*scale) * 0.01;
            number_ui(ui, scale, texts::SCALE, 1e-6..=1e4, speed, 6, "");
        }),
        DepthMeaning::Disparity { baseline, offset } => row_ui(ui, texts::BASELINE, |ui| {
            let speed = f64::from(*baseline) * 0.01;
            number_ui(ui, baseline, texts::BASELINE, 1e-4..=1e4, speed, 4, "");
            ui.label(RichText::new(texts::OFFSET).font(small()).color(Look::of(ui).quiet));
            number_ui(ui, offset, texts::OFFSET, -1e4..=1e4, 0.1, 3, " px");
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_kind_begins_with_something_that_can_be_used() {
        for size in [(16, 16), (400, 300), (300, 4000)] {
            for kind in 0..4 {
                for distance in [1e-9, 0.3, 7.0, 1e9] {
                    let depth = begun(kind, size, distance);
                    assert_eq!(kind_of(&depth), kind);
                    CameraPath::new(depth).validate("camera", size).unwrap();
                }
            }
        }
    }
}
