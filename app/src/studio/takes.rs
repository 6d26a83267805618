//! The takes: a strip of cards, each take after the one it branched off.
//!
//! Invariant: nothing is deleted by a single click. Guarded by the tests below.

use eframe::egui::{
    Align, Color32, CursorIcon, Id, Key, Layout, Rect, Role, ScrollArea, Sense, Shape, Stroke as Line, StrokeKind, TextEdit, TextureHandle,
    Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

use super::status::bytes;
use super::timeline::{Icon, Look, RADIUS, body, button, clock, elided, focus_ring, small, texts};

/// Size of a card, points.
const CARD: (f32, f32) = (148.0, 142.0);
/// Height of its picture, points.
const PICTURE: f32 = 80.0;
/// How much lower a branch lies than what it branched off, points; at most three times.
const STEP: f32 = 9.0;
/// Between two cards, points.
const GAP: f32 = 10.0;

/// A take as it is listed.
#[derive(Clone)]
pub struct TakeItem {
    /// Its number.
    pub id: u64,
    /// What it is called.
    pub name: String,
    /// Frames in it.
    pub frames: usize,
    /// How long it plays.
    pub seconds: f64,
    /// The take it branched off, and its first own frame.
    pub parent: Option<(u64, usize)>,
    /// A small picture of it.
    pub thumbnail: Option<TextureHandle>,
    /// Size on disk.
    pub bytes: u64,
    /// Whether it is still being made.
    pub open: bool,
}

/// What the artist wants of a take.
#[derive(Clone, Debug, PartialEq)]
pub enum TakeAction {
    /// Show it.
    Show(u64),
    /// Write it as a file.
    Export(u64),
    /// Delete it; was asked.
    Delete(u64),
    /// Call it something else.
    Rename(u64, String),
}

/// What a card is asked just now.
#[derive(Clone, Debug, PartialEq)]
enum Asking {
    Delete(u64),
    Name(u64, String),
}

/// Shows `takes`; `shown` is the one on the canvas.
pub fn takes_ui(ui: &mut Ui, takes: &[TakeItem], shown: u64) -> Vec<TakeAction> {
    let look = Look::of(ui);
    let mut actions = Vec::new();
    if takes.is_empty() {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 44.0), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, texts::TAKES_EMPTY));
        let galley = elided(ui, texts::TAKES_EMPTY, rect.width() - 24.0, body(), look.quiet);
        ui.painter().galley(pos2(rect.left() + 12.0, rect.center().y - galley.size().y / 2.0), galley, look.quiet);
        return actions;
    }
    let order = in_families(takes);
    let state = ui.scope_id().with("asking");
    let mut asking: Option<Asking> = ui.data(|data| data.get_temp(state)).unwrap_or_default();
    ScrollArea::horizontal().id_salt("takes").auto_shrink([false, true]).show(ui, |ui| {
        let deepest = order.iter().map(|entry| entry.1).max().unwrap_or(0).min(3);
        let size = vec2(order.len() as f32 * (CARD.0 + GAP) + GAP, CARD.1 + 2.0 * GAP + STEP * deepest as f32);
        let (space, _) = ui.allocate_exact_size(size, Sense::hover());
        let rect = |place: usize| {
            let down = GAP + STEP * order[place].1.min(3) as f32;
            Rect::from_min_size(space.min + vec2(GAP + place as f32 * (CARD.0 + GAP), down), CARD.into())
        };
        for (place, (index, _)) in order.iter().enumerate() {
            let take = &takes[*index];
            let parent = take.parent.and_then(|(parent, _)| order.iter().position(|entry| takes[entry.0].id == parent));
            if let Some(parent) = parent {
                branch_line(ui, rect(parent), rect(place), look.quiet);
            }
            let from = parent.map(|parent| takes[order[parent].0].name.as_str());
            card_ui(ui, rect(place), take, from, take.id == shown, &mut asking, &mut actions);
        }
    });
    ui.data_mut(|data| data.insert_temp(state, asking));
    actions
}

/// Indices of `takes` with every branch after what it branched off, and how deep it lies.
fn in_families(takes: &[TakeItem]) -> Vec<(usize, usize)> {
    let known = |id: u64| takes.iter().any(|take| take.id == id);
    let is_root = |take: &TakeItem| take.parent.is_none_or(|(parent, _)| parent == take.id || !known(parent));
    let mut order = Vec::with_capacity(takes.len());
    let mut waiting: Vec<(usize, usize)> = (0..takes.len()).rev().filter(|i| is_root(&takes[*i])).map(|i| (i, 0)).collect();
    while let Some((i, depth)) = waiting.pop() {
        order.push((i, depth));
        let is_child = |take: &TakeItem| !is_root(take) && take.parent.is_some_and(|(parent, _)| parent == takes[i].id);
        waiting.extend((0..takes.len()).rev().filter(|j| is_child(&takes[*j])).map(|j| (j, depth + 1)));
    }
    // Takes that name each other as parents: broken files, still to be seen.
    order.extend((0..takes.len()).filter(|i| !order.iter().any(|entry| entry.0 == *i)).map(|i| (i, 0)).collect::<Vec<_>>());
    order
}

/// From above the parent to above the branch.
fn branch_line(ui: &Ui, parent: Rect, branch: Rect, color: Color32) {
    let y = parent.top() - 5.0;
    let points = vec![
        pos2(parent.center().x, parent.top()),
        pos2(parent.center().x, y),
        pos2(branch.center().x, y),
        pos2(branch.center().x, branch.top()),
    ];
    ui.painter().add(Shape::line(points, Line::new(1.5, color)));
}

fn card_ui(
    ui: &mut Ui,
    rect: Rect,
    take: &TakeItem,
    from: Option<&str>,
    shown: bool,
    asking: &mut Option<Asking>,
    actions: &mut Vec<TakeAction>,
) {
    let look = Look::of(ui);
    let card = ui.interact(rect, Id::unique("take").with(take.id), Sense::click()).on_hover_cursor(CursorIcon::PointingHand);
    card.widget_info(|| WidgetInfo::selected(Role::ListItem, true, shown, &take.name));
    let (line, ground) = if shown { (Line::new(2.0, look.accent), look.well) } else { (Line::new(1.0, look.line), look.raised) };
    ui.painter().rect(rect, RADIUS + 2.0, if card.hovered() { look.well } else { ground }, line, StrokeKind::Inside);
    let picture = Rect::from_min_size(rect.min + vec2(4.0, 4.0), vec2(rect.width() - 8.0, PICTURE));
    picture_ui(ui, picture, take, &look);
    focus_ring(ui, &card, rect.expand(2.0));
    let words = Rect::from_min_max(pos2(rect.left() + 8.0, picture.bottom() + 3.0), rect.max - vec2(6.0, 2.0));

    if *asking == Some(Asking::Delete(take.id)) {
        let mut ui = ui.new_child(UiBuilder::new().max_rect(words).id_salt(("delete", take.id)));
        ui.label(elided_text(&ui, texts::DELETE_ASK, words.width(), look.text));
        ui.horizontal(|ui| {
            if ui.button(texts::DELETE_YES).clicked() {
                actions.push(TakeAction::Delete(take.id));
                *asking = None;
            }
            if ui.button(texts::KEEP).clicked() || ui.input(|input| input.key_pressed(Key::Escape)) {
                *asking = None;
            }
        });
        return;
    }
    name_ui(ui, words, take, from, asking, actions);
    let mut tools = ui.new_child(
        UiBuilder::new()
            .max_rect(Rect::from_min_max(pos2(words.left(), words.bottom() - 26.0), words.max))
            .layout(Layout::right_to_left(Align::Center))
            .id_salt(("tools", take.id)),
    );
    tools.spacing_mut().item_spacing.x = 0.0;
    // Quiet until it matters; always there for the keyboard.
    tools.multiply_opacity(if shown || card.contains_pointer() || card.has_focus() { 1.0 } else { 0.45 });
    let label = |word: &str| format!("{word} {}", take.name);
    tools.add_enabled_ui(!take.open, |ui| {
        if button(ui, Icon::Delete, "", &label(texts::DELETE_TAKE), texts::DELETE_TAKE, false).clicked() {
            *asking = Some(Asking::Delete(take.id));
        }
    });
    let rename = button(&mut tools, Icon::Rename, "", &label(texts::RENAME_TAKE), texts::RENAME_TAKE, false).clicked();
    if button(&mut tools, Icon::Export, "", &label(texts::EXPORT_TAKE), texts::EXPORT_TAKE, false).clicked() {
        actions.push(TakeAction::Export(take.id));
    }
    let size = elided(&tools, &bytes(take.bytes), tools.available_width(), small(), look.quiet);
    let at = pos2(words.left(), tools.max_rect().center().y - size.size().y / 2.0);
    tools.painter().galley(at, size, look.quiet);
    if rename || card.double_clicked() {
        *asking = Some(Asking::Name(take.id, take.name.clone()));
    } else if card.clicked() && !shown {
        actions.push(TakeAction::Show(take.id));
    }
}

fn elided_text(ui: &Ui, text: &str, width: f32, color: Color32) -> std::sync::Arc<eframe::egui::Galley> {
    elided(ui, text, width, small(), color)
}

/// The thumbnail as large as it fits, the length in its corner.
fn picture_ui(ui: &Ui, rect: Rect, take: &TakeItem, look: &Look) {
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, RADIUS, look.ground);
    if let Some(thumbnail) = &take.thumbnail {
        let size = thumbnail.size_vec2();
        let fit = (rect.width() / size.x).min(rect.height() / size.y);
        let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
        painter.image(thumbnail.id(), Rect::from_center_size(rect.center(), size * fit), whole, look.on_shade);
    }
    let length = painter.layout_no_wrap(clock((take.seconds * 16.0) as f32), small(), look.on_shade);
    let tag = Rect::from_min_max(rect.max - length.size() - vec2(10.0, 6.0), rect.max - vec2(2.0, 2.0));
    painter.rect_filled(tag, 3.0, look.shade);
    painter.galley(tag.min + vec2(4.0, 2.0), length, look.on_shade);
    if take.open {
        painter.circle_filled(rect.min + vec2(9.0, 9.0), 4.0, look.alert);
    }
}

/// The name, or the field to change it; below it where the take comes from.
fn name_ui(ui: &mut Ui, words: Rect, take: &TakeItem, from: Option<&str>, asking: &mut Option<Asking>, actions: &mut Vec<TakeAction>) {
    let look = Look::of(ui);
    if let Some(Asking::Name(id, typed)) = asking
        && *id == take.id
    {
        let place = Rect::from_min_size(words.min - vec2(3.0, 1.0), vec2(words.width() + 3.0, 20.0));
        let mut field = ui.new_child(UiBuilder::new().max_rect(place).id_salt(("rename", take.id)));
        let edit = TextEdit::singleline(typed).font(body()).char_limit(100).desired_width(place.width()).margin(vec2(3.0, 1.0));
        let edit = field.add(edit).accessible_name(texts::NAME);
        if edit.lost_focus() {
            let dropped = ui.input(|input| input.key_pressed(Key::Escape));
            if !dropped && !typed.trim().is_empty() && *typed != take.name {
                actions.push(TakeAction::Rename(take.id, typed.trim().to_owned()));
            }
            *asking = None;
        } else if !edit.has_focus() {
            edit.request_focus();
        }
    } else {
        let galley = elided(ui, &take.name, words.width(), body(), look.text);
        ui.painter().galley(words.min, galley, look.text);
    }
    let note = match (take.open, from, take.parent) {
        (true, ..) => texts::OPEN.to_owned(),
        (false, Some(from), Some((_, frame))) => format!("{} {from}, {} {frame}", texts::FROM_TAKE, texts::FRAME),
        _ => format!("{} {}", take.frames, texts::RANGE.to_lowercase()),
    };
    let galley = elided_text(ui, &note, words.width(), look.quiet);
    ui.painter().galley(words.min + vec2(0.0, 16.0), galley, look.quiet);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use eframe::egui;
    use egui_kittest::{Harness, kittest::Queryable};

    use super::super::timeline::picture;
    use super::*;

    fn take(id: u64, name: &str, parent: Option<(u64, usize)>) -> TakeItem {
        TakeItem { id, name: name.to_owned(), frames: 81, seconds: 81.0 / 16.0, parent, thumbnail: None, bytes: 3_400_000, open: false }
    }

    fn some() -> Vec<TakeItem> {
        vec![
            take(1, "Take 1", None),
            take(2, "Take 2", None),
            take(3, "Slower spoon", Some((1, 33))),
            take(4, "Take 4", Some((3, 57))),
            TakeItem { open: true, ..take(5, "Take 5", Some((2, 17))) },
        ]
    }

    /// The strip with takes, and what it asked for.
    fn harness(theme: egui::Theme, takes: Vec<TakeItem>) -> Harness<'static, Vec<TakeAction>> {
        Harness::builder().with_size(vec2(1000.0, 200.0)).with_theme(theme).wgpu().build_ui_state(
            move |ui, actions: &mut Vec<TakeAction>| {
                let mut takes = takes.clone();
                if ui.data(|data| data.get_temp::<TextureHandle>(Id::unique("test picture"))).is_none() {
                    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pictures/coffee.png");
                    let small = image::open(file).unwrap().thumbnail(160, 160).to_rgba8();
                    let size = [small.width() as usize, small.height() as usize];
                    let pixels = egui::ColorImage::from_rgba_unmultiplied(size, small.as_raw());
                    let handle = ui.ctx().load_texture("take", pixels, egui::TextureOptions::LINEAR);
                    ui.data_mut(|data| data.insert_temp(Id::unique("test picture"), handle));
                }
                let handle = ui.data(|data| data.get_temp::<TextureHandle>(Id::unique("test picture")));
                takes.iter_mut().take(3).for_each(|take| take.thumbnail.clone_from(&handle));
                actions.extend(takes_ui(ui, &takes, 3));
            },
            Vec::new(),
        )
    }

    #[test]
    fn branches_follow_what_they_branched_off() {
        let takes = some();
        let order: Vec<_> = in_families(&takes).into_iter().map(|(i, depth)| (takes[i].id, depth)).collect();
        assert_eq!(order, [(1, 0), (3, 1), (4, 2), (2, 0), (5, 1)]);
        let broken = vec![take(1, "a", Some((2, 0))), take(2, "b", Some((1, 0))), take(3, "c", Some((9, 0)))];
        assert_eq!(in_families(&broken).len(), 3, "takes in a circle are shown too");
    }

    #[test]
    fn a_click_shows_and_delete_asks_first() {
        let mut harness = harness(egui::Theme::Dark, some());
        harness.run();
        picture(&mut harness, "takes_dark");
        harness.get_by_label("Take 2").click();
        harness.get_by_label("Export Take 1").click();
        harness.get_by_label("Delete Take 4").click();
        harness.run();
        assert_eq!(*harness.state(), [TakeAction::Show(2), TakeAction::Export(1)]);
        picture(&mut harness, "takes_asking");
        harness.get_by_label(texts::KEEP).click();
        harness.run();
        assert!(harness.query_by_label(texts::KEEP).is_none());
        harness.get_by_label("Delete Take 4").click();
        harness.run();
        harness.get_by_label(texts::DELETE_YES).click();
        harness.run();
        assert_eq!(harness.state().last(), Some(&TakeAction::Delete(4)));
    }

    #[test]
    fn a_take_is_renamed_in_place() {
        let mut harness = harness(egui::Theme::Light, some());
        harness.run();
        harness.get_by_label("Rename Take 1").click();
        harness.run();
        harness.get_by_label(texts::NAME).type_text(" calm");
        harness.run();
        picture(&mut harness, "takes_light_rename");
        harness.key_press(Key::Enter);
        harness.run();
        assert_eq!(harness.state().last(), Some(&TakeAction::Rename(1, "Take 1 calm".to_owned())));
    }

    #[test]
    fn without_takes_it_says_what_to_do() {
        let mut harness = harness(egui::Theme::Dark, Vec::new());
        harness.run();
        assert!(harness.query_by_label(texts::TAKES_EMPTY).is_some());
    }
}
