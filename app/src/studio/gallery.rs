//! The start page: presets, recent files, and what a crash left behind.
//!
//! Invariant: the presets are in the program and work wherever it is installed; disk and decoder are on a thread, and a card whose files are not
//! ready cannot be pressed. Guarded by the tests below.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use eframe::egui::{self, Align, Align2, Color32, ColorImage, FontId, Layout, Rect, RichText, Sense, Stroke, TextureHandle, UiBuilder};
use eframe::egui::{TextureOptions, Vec2, WidgetInfo, pos2, vec2};
use kinebrush_engine::media::atomic::write_atomic;
use kinebrush_engine::media::picture_file::{load_picture, rgb8};
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::stroke::{Stroke as Motion, Trajectory};
use kinebrush_engine::{Error, Result};

use super::action::Action;
use super::document::autosave::Recovery;
use super::document::job::{Job, Wake};
use super::settings::Folders;
use super::strings::Strings;
use super::theme::{self, Tokens, space};

/// Projects in the program, in the order they are shown; paths as they lie below the data folder.
const PRESETS: [(&str, &str); 6] = [
    ("presets/rocket.ron", include_str!("../../../presets/rocket.ron")),
    ("presets/cat.ron", include_str!("../../../presets/cat.ron")),
    ("presets/coffee.ron", include_str!("../../../presets/coffee.ron")),
    ("presets/pan.ron", include_str!("../../../presets/pan.ron")),
    ("presets/orbit.ron", include_str!("../../../presets/orbit.ron")),
    ("presets/turn.ron", include_str!("../../../presets/turn.ron")),
];
/// The pictures, clips and tracks they name.
const FILES: [(&str, &[u8]); 5] = [
    ("assets/pictures/rocket.jpg", include_bytes!("../../../assets/pictures/rocket.jpg")),
    ("assets/pictures/cat.png", include_bytes!("../../../assets/pictures/cat.png")),
    ("assets/pictures/coffee.png", include_bytes!("../../../assets/pictures/coffee.png")),
    ("presets/clips/turning_head.mp4", include_bytes!("../../../presets/clips/turning_head.mp4")),
    ("presets/clips/turning_head.npz", include_bytes!("../../../presets/clips/turning_head.npz")),
];
/// Size of a card's picture, points.
const CARD_PICTURE: Vec2 = vec2(248.0, 160.0);
/// Height of a card's texts, points.
const CARD_TEXT: f32 = 84.0;
/// Pixels per point of the thumbnails: sharp at 200 %.
const THUMBNAIL_SCALE: usize = 2;

/// What is asked for beside actions.
#[derive(Clone, Debug)]
pub enum GalleryAction {
    /// To the whole studio.
    Action(Action),
    /// Bring this session back.
    Restore(Arc<Recovery>),
    /// Throw this session away.
    Discard(Arc<Recovery>),
}

/// A preset as it is shown.
struct Card {
    path: PathBuf,
    name: String,
    description: String,
    thumbnail: ColorImage,
    /// Its strokes, parts of the thumbnail's sides.
    paths: Vec<Vec<(f32, f32)>>,
}

/// What the thread found.
struct Found {
    cards: Vec<Card>,
    /// Recent files, and whether they are there.
    recent: Vec<(PathBuf, bool)>,
    recoveries: Vec<Arc<Recovery>>,
}

/// The start page.
pub struct Gallery {
    job: Option<Job<Found>>,
    found: Found,
    textures: Vec<TextureHandle>,
    /// What could not be read or unpacked; to be shown as a message once.
    failed: Option<String>,
}

impl Gallery {
    /// Unpacks the presets, decodes their pictures, and looks for recent files and cut-off sessions, on a thread.
    pub fn new(folders: &Folders, recent: &[PathBuf], wake: Wake) -> Self {
        let (folders, recent) = (folders.clone(), recent.to_vec());
        let found = Found { cards: Vec::new(), recent: recent.iter().map(|path| (path.clone(), false)).collect(), recoveries: Vec::new() };
        let job = Job::start("kinebrush-gallery", wake, move || {
            let recoveries = Recovery::find(&folders.sessions()).into_iter().map(Arc::new).collect();
            let recent = recent.into_iter().map(|path| (path.is_file(), path)).map(|(there, path)| (path, there)).collect();
            let cards = unpack(&folders.data)?.iter().map(|path| card(path)).collect::<Result<_>>()?;
            Ok(Found { cards, recent, recoveries })
        });
        Self { job: Some(job), found, textures: Vec::new(), failed: None }
    }

    /// Looks whether the thread is ready; what it failed with, once.
    pub fn poll(&mut self) -> Option<String> {
        match self.job.as_ref().and_then(Job::poll) {
            Some(Ok(found)) => (self.found, self.job) = (found, None),
            Some(Err(error)) => (self.failed, self.job) = (Some(error.to_string()), None),
            None => {}
        }
        self.failed.take()
    }

    /// Whether the thread still works.
    pub fn is_loading(&self) -> bool {
        self.job.is_some()
    }

    /// The sessions that were cut off, newest first.
    pub fn recoveries(&self) -> &[Arc<Recovery>] {
        &self.found.recoveries
    }

    /// Takes a session off the page: it was restored or thrown away.
    pub fn forget(&mut self, recovery: &Arc<Recovery>) {
        self.found.recoveries.retain(|other| !Arc::ptr_eq(other, recovery));
    }

    /// The page. [`Gallery::poll`] is to be called before.
    pub fn gallery_page_ui(&mut self, ui: &mut egui::Ui, strings: &Strings) -> Vec<GalleryAction> {
        if self.textures.len() != self.found.cards.len() {
            let load = |card: &Card| ui.ctx().load_texture(&card.name, card.thumbnail.clone(), TextureOptions::LINEAR);
            self.textures = self.found.cards.iter().map(load).collect();
        }
        let mut asked = Vec::new();
        egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            let width = ui.available_width().min(4.0 * CARD_PICTURE.x + 3.0 * space::LARGE);
            let side = ((ui.available_width() - width) * 0.5).max(0.0);
            ui.horizontal_top(|ui| {
                ui.add_space(side);
                ui.vertical(|ui| {
                    ui.set_width(width);
                    self.content_ui(ui, strings, &mut asked);
                });
            });
        });
        asked
    }

    fn content_ui(&self, ui: &mut egui::Ui, strings: &Strings, asked: &mut Vec<GalleryAction>) {
        let (texts, tokens) = (&strings.gallery, theme::tokens(ui));
        ui.label(RichText::new(texts.title).size(30.0).strong());
        ui.label(RichText::new(texts.tagline).color(tokens.muted).size(15.0));
        ui.add_space(space::LARGE);
        for (i, recovery) in self.found.recoveries.iter().enumerate() {
            recovery_ui(ui, recovery, i == 0, strings, asked);
            ui.add_space(space::MEDIUM);
        }
        ui.horizontal(|ui| {
            // A cut-off session comes first: then its button is the one that stands out.
            let is_first = self.found.recoveries.is_empty();
            let open = if is_first { theme::primary_button(tokens, texts.open) } else { egui::Button::new(texts.open) };
            if ui.add(open.min_size(vec2(150.0, 36.0))).on_hover_text(texts.open_hint).clicked() {
                asked.push(GalleryAction::Action(Action::AskOpen));
            }
            let paste = egui::Button::new(texts.paste).min_size(vec2(88.0, 36.0));
            if ui.add(paste).on_hover_text(texts.paste_hint).clicked() {
                asked.push(GalleryAction::Action(Action::Paste));
            }
            ui.add(egui::Label::new(RichText::new(texts.open_hint).color(tokens.muted)).wrap());
        });
        ui.add_space(space::MEDIUM);
        theme::heading_ui(ui, texts.presets);
        if self.job.is_some() {
            ui.label(RichText::new(texts.loading).color(tokens.muted));
        }
        let columns = (((ui.available_width() + space::LARGE) / (CARD_PICTURE.x + space::LARGE)) as usize).max(1);
        let cards: Vec<_> = self.found.cards.iter().zip(&self.textures).collect();
        for row in cards.chunks(columns) {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = space::LARGE;
                for (card, texture) in row {
                    if card_ui(ui, card, texture, tokens).clicked() {
                        asked.push(GalleryAction::Action(Action::Open(card.path.clone())));
                    }
                }
            });
            ui.add_space(space::LARGE - ui.spacing().item_spacing.y);
        }
        ui.add_space(space::MEDIUM);
        theme::heading_ui(ui, texts.recent);
        if self.found.recent.is_empty() {
            ui.label(RichText::new(texts.no_recent).color(tokens.muted));
        }
        for (path, there) in &self.found.recent {
            ui.horizontal(|ui| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let button = ui.add_enabled(*there, egui::Button::new(name.as_ref()).frame_when_inactive(false));
                if button.clicked() {
                    asked.push(GalleryAction::Action(Action::Open(path.clone())));
                }
                let folder = path.parent().unwrap_or(Path::new("")).display().to_string();
                let missing = if *there || self.job.is_some() { String::new() } else { format!("  ({})", texts.missing) };
                ui.add(egui::Label::new(RichText::new(folder + &missing).color(tokens.muted).size(12.5)).truncate());
            });
        }
    }
}

/// "Restore the last session?"
fn recovery_ui(ui: &mut egui::Ui, recovery: &Arc<Recovery>, is_first: bool, strings: &Strings, asked: &mut Vec<GalleryAction>) {
    let (texts, tokens) = (&strings.gallery, theme::tokens(ui));
    theme::card_frame(tokens).stroke(Stroke::new(1.0, if is_first { tokens.accent } else { tokens.line })).show(ui, |ui| {
        ui.horizontal(|ui| {
            ui.vertical(|ui| {
                ui.label(RichText::new(texts.restore_title).strong().size(15.0));
                let seconds = SystemTime::now().duration_since(recovery.time).map_or(0, |ago| ago.as_secs());
                let text = (texts.restore_text)(&recovery.title, &(texts.ago)(seconds));
                ui.label(RichText::new(text).color(tokens.muted));
            });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let restore = if is_first { theme::primary_button(tokens, texts.restore) } else { egui::Button::new(texts.restore) };
                if ui.add(restore.min_size(theme::BUTTON_SIZE)).clicked() {
                    asked.push(GalleryAction::Restore(recovery.clone()));
                }
                if ui.add(egui::Button::new(texts.discard).min_size(theme::BUTTON_SIZE)).clicked() {
                    asked.push(GalleryAction::Discard(recovery.clone()));
                }
            });
        });
    });
}

fn card_ui(ui: &mut egui::Ui, card: &Card, texture: &TextureHandle, tokens: &Tokens) -> egui::Response {
    let (rect, response) = ui.allocate_exact_size(CARD_PICTURE + vec2(0.0, CARD_TEXT), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, &card.name));
    if !ui.is_rect_visible(rect) {
        return response;
    }
    let lit = response.hovered() || response.has_focus();
    let line = if response.has_focus() {
        tokens.accent
    } else if lit {
        tokens.muted
    } else {
        tokens.line
    };
    let painter = ui.painter();
    painter.rect_filled(rect, 8.0, if lit { tokens.hovered } else { tokens.raised });
    let picture = Rect::from_min_size(rect.min, CARD_PICTURE);
    let corners = egui::CornerRadius { nw: 8, ne: 8, sw: 0, se: 0 };
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    painter.add(egui::epaint::RectShape::filled(picture, corners, Color32::WHITE).with_texture(texture.id(), whole));
    let inside = painter.with_clip_rect(picture.intersect(ui.clip_rect()));
    for path in &card.paths {
        let places: Vec<_> = path.iter().map(|(x, y)| picture.min + vec2(*x, *y) * picture.size()).collect();
        // A dark line beneath: blue is seen on any picture.
        inside.add(egui::Shape::line(places.clone(), Stroke::new(4.5, Color32::from_black_alpha(130))));
        inside.add(egui::Shape::line(places.clone(), Stroke::new(2.0, theme::DARK.path)));
        // Eased paths end slowly: the last steps are too short to tell the direction.
        if let [.., before, _, _, _, end] = places[..] {
            let way = (end - before).normalized() * 9.0;
            let tip = [end + way, end + way.rot90() * 0.55, end - way.rot90() * 0.55];
            inside.add(egui::Shape::convex_polygon(tip.to_vec(), theme::DARK.path, Stroke::new(1.0, Color32::from_black_alpha(130))));
        }
    }
    painter.rect_stroke(rect, 8.0, Stroke::new(1.0, line), egui::StrokeKind::Inside);
    let text = Rect::from_min_max(picture.left_bottom(), rect.max).shrink2(vec2(12.0, 9.0));
    painter.text(text.min, Align2::LEFT_TOP, &card.name, FontId::proportional(14.5), tokens.text);
    let sentence = text.with_min_y(text.min.y + 21.0);
    // A child of its own: the card has its place already.
    let mut child = ui.new_child(UiBuilder::new().max_rect(sentence).layout(Layout::top_down(Align::Min)));
    child.set_clip_rect(sentence.intersect(ui.clip_rect()));
    child.add(egui::Label::new(RichText::new(&card.description).color(tokens.muted).size(12.0)).wrap().selectable(false));
    response.on_hover_cursor(egui::CursorIcon::PointingHand)
}

/// Writes presets and pictures below `data` unless they are there already; the presets' paths.
fn unpack(data: &Path) -> Result<Vec<PathBuf>> {
    let texts = PRESETS.iter().map(|(path, text)| (*path, text.as_bytes()));
    for (path, bytes) in texts.chain(FILES) {
        let path = data.join(path);
        let folder = path.parent().unwrap_or(data);
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::file(folder, format!("cannot be made ({error}); free or allow the place")))?;
        // By length first: most starts find everything in place.
        let there = path.metadata().is_ok_and(|metadata| metadata.len() == bytes.len() as u64);
        if !there || std::fs::read(&path).ok().as_deref() != Some(bytes) {
            write_atomic(&path, |out| out.write_all(bytes))?;
        }
    }
    Ok(PRESETS.iter().map(|(path, _)| data.join(path)).collect())
}

/// A project's name and picture.
fn card(path: &Path) -> Result<Card> {
    let project = Project::load(path)?;
    let picture = load_picture(&project.image_path())?;
    // The largest middle part of the card's proportions.
    let (width, height) = (CARD_PICTURE.x as usize * THUMBNAIL_SCALE, CARD_PICTURE.y as usize * THUMBNAIL_SCALE);
    let scale = (width as f32 / picture.width as f32).max(height as f32 / picture.height as f32);
    let small = picture.resized((picture.width as f32 * scale).ceil() as usize, (picture.height as f32 * scale).ceil() as usize);
    let (left, top) = ((small.width - width) / 2, (small.height - height) / 2);
    let part = kinebrush_engine::picture::Picture::from_fn(width, height, |x, y| small.at(x + left, y + top));
    let place = |x: f32, y: f32| ((x * scale - left as f32) / width as f32, (y * scale - top as f32) / height as f32);
    let curve = |stroke: &Motion| {
        let trajectory = Trajectory::new(stroke);
        let [begin, .., end] = stroke.path[..] else { return Vec::new() };
        let at = |i: usize| begin.place + trajectory.displacement(begin.frame + (end.frame - begin.frame) * i as f32 / 32.0);
        (0..=32).map(at).map(|at| place(at.x, at.y)).collect()
    };
    let paths = project.strokes.iter().map(curve).collect();
    Ok(Card {
        path: path.to_owned(),
        name: project.name.clone(),
        description: project.description.clone(),
        thumbnail: ColorImage::from_rgb([width, height], &rgb8(&part)),
        paths,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::studio::document::autosave::{Autosave, SaveState};
    use crate::studio::document::opening::{Loading, Opened};
    use crate::studio::strings::ENGLISH;
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable;

    fn idle() -> Wake {
        Arc::new(|| {})
    }

    /// A gallery whose thread has answered.
    fn ready(folders: &Folders, recent: &[PathBuf]) -> Gallery {
        let (woken, wakes) = crossbeam_channel::bounded(1);
        let mut gallery = Gallery::new(
            folders,
            recent,
            Arc::new(move || {
                let _ = woken.try_send(());
            }),
        );
        wakes.recv().unwrap();
        assert_eq!(gallery.poll(), None);
        assert!(!gallery.is_loading());
        gallery
    }

    fn harness<'a>(gallery: Gallery) -> Harness<'a, (Gallery, Vec<GalleryAction>)> {
        Harness::builder().with_size([1200.0, 900.0]).build_ui_state(
            |ui, (gallery, asked)| {
                let new = gallery.gallery_page_ui(ui, &ENGLISH);
                asked.extend(new);
            },
            (gallery, Vec::new()),
        )
    }

    #[test]
    fn presets_come_out_of_the_program_and_open_as_copies() {
        let home = tempfile::tempdir().unwrap();
        let folders = Folders::below(home.path());
        let mut harness = harness(ready(&folders, &[]));
        for name in ["Lift-off", "Curious cat", "Pulling out the spoon", "Past the launch pad"] {
            harness.get_by_label(name).click();
            harness.run();
            let Some(GalleryAction::Action(Action::Open(path))) = harness.state_mut().1.pop() else { panic!("{name}") };
            let Opened::Document(document) = Loading::open(path, folders.templates(), idle()).wait().unwrap() else { panic!("{name}") };
            assert_eq!((document.title().as_str(), document.path()), (name, None));
        }
    }

    #[test]
    fn a_preset_that_was_changed_is_put_right() {
        let home = tempfile::tempdir().unwrap();
        unpack(home.path()).unwrap();
        let path = home.path().join(PRESETS[0].0);
        std::fs::write(&path, "x".repeat(PRESETS[0].1.len())).unwrap();
        unpack(home.path()).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), PRESETS[0].1);
        std::fs::write(home.path().join("blocked"), "").unwrap();
        assert!(unpack(&home.path().join("blocked")).unwrap_err().to_string().contains("blocked"));
    }

    #[test]
    fn recent_files_open_and_missing_ones_do_not() {
        let home = tempfile::tempdir().unwrap();
        let there = home.path().join("there.png");
        std::fs::write(&there, "").unwrap();
        let gone = home.path().join("gone.png");
        let mut harness = harness(ready(&Folders::below(home.path()), &[gone, there.clone()]));
        harness.get_by_label("gone.png").click();
        harness.run();
        assert!(harness.state().1.is_empty());
        harness.get_by_label("there.png").click();
        harness.run();
        assert!(matches!(&harness.state().1[..], [GalleryAction::Action(Action::Open(path))] if *path == there));
        for button in ["Open a picture…", "Paste"] {
            harness.get_by_label(button).click();
            harness.run();
        }
        let asked: Vec<_> = harness.state().1[1..].iter().map(|action| format!("{action:?}")).collect();
        assert_eq!(asked, ["Action(AskOpen)", "Action(Paste)"]);
    }

    #[test]
    fn a_session_that_was_cut_off_is_offered() {
        let home = tempfile::tempdir().unwrap();
        let folders = Folders::below(home.path());
        let presets = unpack(&folders.data).unwrap();
        let document = crate::studio::document::Document::open(&presets[0]).unwrap();
        let autosave = Autosave::new(folders.sessions(), idle());
        autosave.put(SaveState::of(&document));
        drop(autosave);
        let mut harness = harness(ready(&folders, &[]));
        harness.get_by_label_contains("“Lift-off” was not closed properly");
        harness.get_by_label("Restore").click();
        harness.run();
        harness.get_by_label("Discard").click();
        harness.run();
        let (gallery, asked) = harness.state_mut();
        let [GalleryAction::Restore(a), GalleryAction::Discard(b)] = &asked[..] else { panic!("{asked:?}") };
        assert!(Arc::ptr_eq(a, b));
        gallery.forget(a);
        harness.run();
        assert!(harness.query_by_label("Restore").is_none());
    }
}
