//! The keys: one table that both acts and is read on the page of keys.
//!
//! Invariant: what the page says is what the keys do; no two entries take the same keys; while a text field has the focus no key acts. Guarded by
//! the tests below.

use eframe::egui::{self, Key, KeyboardShortcut, ModifierNames, Modifiers, RichText};

use super::action::{Action, Compare, Page};
use super::settings::page_header_ui;
use super::strings::{Shortcuts as Texts, Strings};
use super::theme;

/// What the keys need to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortcutState {
    /// The page in front.
    pub page: Page,
    /// Whether a take is open: Enter ends it then.
    pub making: bool,
    /// The frame that is shown.
    pub frame: f32,
    /// Frames there are to be shown.
    pub frames: usize,
    /// Those of them that were made.
    pub made: usize,
    /// Frames that are played again and again.
    pub looped: Option<(usize, usize)>,
    /// What the canvas shows.
    pub compare: Compare,
    /// Whether a dialog waits for an answer: no key acts then.
    pub dialog: bool,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ask for a file.
    Open,
    /// Take the picture in the clipboard.
    Paste,
    /// Save.
    Save,
    /// Save under another name.
    SaveAs,
    /// The page for video out.
    Export,
    /// Close the window.
    Quit,
    /// One step back.
    Undo,
    /// One step forward.
    Redo,
    /// Start or end making video.
    Run,
    /// Hold or go on.
    Pause,
    /// A new take from here.
    Branch,
    /// One frame back.
    StepBack,
    /// One frame on.
    StepOn,
    /// The first frame.
    ToStart,
    /// The last frame.
    ToEnd,
    /// Loop all, or do not.
    Loop,
    /// The guide alone while the key is held.
    HoldGuide,
    /// Split view on or off.
    Split,
    /// The camera panel on or off.
    Camera,
    /// The clip panel on or off.
    Clip,
    /// The page of keys.
    Shortcuts,
    /// The page of settings.
    Settings,
    /// Back to the canvas.
    ClosePage,
    /// Told here, done by the canvas.
    Canvas,
}

/// Where an entry stands on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    File,
    Edit,
    Play,
    View,
    Tools,
}

/// When an entry acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// On every page.
    Always,
    /// When no page lies over the canvas.
    Canvas,
    /// When a page lies over the canvas.
    Page,
}

/// A line of the table.
struct Entry {
    group: Group,
    command: Command,
    name: fn(&Texts) -> &'static str,
    /// Any of them.
    keys: &'static [KeyboardShortcut],
    when: When,
}

const fn plain(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::NONE, key)
}

const fn command(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND, key)
}

const fn command_shift(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key)
}

const fn entry(group: Group, command: Command, name: fn(&Texts) -> &'static str, keys: &'static [KeyboardShortcut], when: When) -> Entry {
    Entry { group, command, name, keys, when }
}

/// The keys.
const TABLE: &[Entry] = &[
    entry(Group::File, Command::Open, |t| t.open, &[command(Key::O)], When::Always),
    entry(Group::File, Command::Paste, |t| t.paste, &[command(Key::V)], When::Always),
    entry(Group::File, Command::Save, |t| t.save, &[command(Key::S)], When::Always),
    entry(Group::File, Command::SaveAs, |t| t.save_as, &[command_shift(Key::S)], When::Always),
    entry(Group::File, Command::Export, |t| t.export, &[command(Key::E)], When::Always),
    entry(Group::File, Command::Quit, |t| t.quit, &[command(Key::Q)], When::Always),
    entry(Group::Edit, Command::Undo, |t| t.undo, &[command(Key::Z)], When::Canvas),
    entry(Group::Edit, Command::Redo, |t| t.redo, &[command_shift(Key::Z), command(Key::Y)], When::Canvas),
    entry(Group::Play, Command::Run, |t| t.run, &[plain(Key::Enter)], When::Canvas),
    entry(Group::Play, Command::Pause, |t| t.pause, &[plain(Key::Space)], When::Canvas),
    entry(Group::Play, Command::Branch, |t| t.branch, &[plain(Key::B)], When::Canvas),
    entry(Group::Play, Command::StepBack, |t| t.step_back, &[plain(Key::ArrowLeft)], When::Canvas),
    entry(Group::Play, Command::StepOn, |t| t.step_on, &[plain(Key::ArrowRight)], When::Canvas),
    entry(Group::Play, Command::ToStart, |t| t.to_start, &[plain(Key::Home)], When::Canvas),
    entry(Group::Play, Command::ToEnd, |t| t.to_end, &[plain(Key::End)], When::Canvas),
    entry(Group::Play, Command::Loop, |t| t.toggle_loop, &[plain(Key::L)], When::Canvas),
    entry(Group::View, Command::HoldGuide, |t| t.compare, &[plain(Key::A)], When::Canvas),
    entry(Group::View, Command::Split, |t| t.split, &[plain(Key::X)], When::Canvas),
    entry(Group::View, Command::Camera, |t| t.camera, &[plain(Key::C)], When::Canvas),
    entry(Group::View, Command::Clip, |t| t.clip, &[plain(Key::T)], When::Canvas),
    entry(Group::View, Command::Shortcuts, |t| t.shortcuts, &[plain(Key::F1), plain(Key::Questionmark)], When::Always),
    entry(Group::View, Command::Settings, |t| t.settings, &[command(Key::Comma)], When::Always),
    entry(Group::View, Command::ClosePage, |t| t.close_page, &[plain(Key::Escape)], When::Page),
    entry(Group::Tools, Command::Canvas, |t| t.drag, &[plain(Key::D)], When::Canvas),
    entry(Group::Tools, Command::Canvas, |t| t.path, &[plain(Key::P)], When::Canvas),
    entry(Group::Tools, Command::Canvas, |t| t.region, &[plain(Key::R)], When::Canvas),
    entry(Group::Tools, Command::Canvas, |t| t.pin, &[plain(Key::N)], When::Canvas),
    entry(Group::Tools, Command::Canvas, |t| t.erase, &[plain(Key::E)], When::Canvas),
    entry(Group::Tools, Command::Canvas, |t| t.hand, &[plain(Key::H)], When::Canvas),
    entry(Group::Tools, Command::Canvas, |t| t.brush_smaller, &[plain(Key::OpenBracket)], When::Canvas),
    entry(Group::Tools, Command::Canvas, |t| t.brush_larger, &[plain(Key::CloseBracket)], When::Canvas),
];

/// What the keys pressed since the last frame ask for. Takes them out of the input; the canvas' own keys stay in.
pub fn shortcut_actions(ctx: &egui::Context, state: &ShortcutState) -> Vec<Action> {
    let mut actions = Vec::new();
    // The guide comes back also when the key is let go while a text field or a dialog has the focus.
    let typing = ctx.text_edit_focused() || state.dialog;
    let held = !typing && state.page == Page::Canvas && ctx.input(|input| input.key_down(Key::A) && input.modifiers.is_none());
    let remembered = egui::Id::unique("compare before the guide was held");
    let before: Option<Compare> = ctx.data(|data| data.get_temp(remembered));
    match (held, before) {
        (true, None) => {
            ctx.data_mut(|data| data.insert_temp(remembered, state.compare));
            actions.push(Action::SetCompare(Compare::Guide));
        }
        (false, Some(compare)) => {
            ctx.data_mut(|data| data.remove_temp::<Compare>(remembered));
            actions.push(Action::SetCompare(compare));
        }
        _ => {}
    }
    if typing {
        return actions;
    }
    let acts = |when: When| match when {
        When::Always => true,
        When::Canvas => state.page == Page::Canvas,
        When::Page => state.page != Page::Canvas,
    };
    // A slider or a button that has the focus keeps the keys that move and press it.
    let focused = ctx.memory(|memory| memory.focused().is_some());
    let keeps = |keys: &KeyboardShortcut| {
        focused
            && keys.modifiers.is_none()
            && matches!(keys.logical_key, Key::Enter | Key::Space | Key::ArrowLeft | Key::ArrowRight | Key::Home | Key::End)
    };
    for entry in TABLE.iter().filter(|entry| acts(entry.when)) {
        let presses = |keys: &KeyboardShortcut| if keeps(keys) { 0 } else { take_presses(ctx, entry.command, keys) };
        let count: usize = entry.keys.iter().map(presses).sum();
        for _ in 0..count {
            actions.extend(action_of(entry.command, state));
        }
    }
    actions
}

/// How often the keys were pressed, exactly with these modifiers; takes the presses out of the input.
fn take_presses(ctx: &egui::Context, command: Command, keys: &KeyboardShortcut) -> usize {
    if matches!(command, Command::Canvas | Command::HoldGuide) {
        return 0;
    }
    // Holding a key down steps through frames and undoes on and on; starting and stopping on and on helps nobody.
    let repeats = matches!(command, Command::StepBack | Command::StepOn | Command::Undo | Command::Redo);
    let mut count = 0;
    ctx.input_mut(|input| {
        input.events.retain(|event| match event {
            // The window turns this shortcut into an event of its own.
            egui::Event::Paste(_) | egui::Event::PasteImage(_) if command == Command::Paste => {
                count += 1;
                false
            }
            egui::Event::Key { key, pressed: true, repeat, modifiers, .. } if *key == keys.logical_key => {
                // "?" needs Shift on most keyboards.
                let fits = if *key == Key::Questionmark { !modifiers.command } else { modifiers.matches_exact(keys.modifiers) };
                count += usize::from(fits && (repeats || !repeat));
                !fits
            }
            _ => true,
        });
    });
    count
}

/// What the command asks for now.
fn action_of(command: Command, state: &ShortcutState) -> Option<Action> {
    let last = state.frames.saturating_sub(1) as f32;
    // What is played, as for the buttons: the loop, what was made, or what is planned.
    let played = if state.made > 0 { state.made } else { state.frames };
    let (begin, end) = state.looped.unwrap_or((0, played));
    let toggled = |page| Action::Show(if state.page == page { Page::Canvas } else { page });
    Some(match command {
        Command::Open => Action::AskOpen,
        Command::Paste => Action::Paste,
        Command::Save => Action::Save,
        Command::SaveAs => Action::SaveAs,
        Command::Export => toggled(Page::Export),
        Command::Quit => Action::Quit,
        Command::Undo => Action::Undo,
        Command::Redo => Action::Redo,
        Command::Run if state.making => Action::Stop,
        Command::Run => Action::Run,
        Command::Pause => Action::TogglePause,
        Command::Branch => Action::Branch,
        Command::StepBack => Action::Seek((state.frame.ceil() - 1.0).max(0.0)),
        Command::StepOn => Action::Seek((state.frame.floor() + 1.0).min(last)),
        Command::ToStart => Action::Seek(begin as f32),
        Command::ToEnd => Action::Seek(end.saturating_sub(1) as f32),
        Command::Loop if state.looped.is_some() => Action::SetLoop(None),
        Command::Loop if state.frames == 0 => return None,
        Command::Loop => Action::SetLoop(Some((0, played))),
        Command::Split if matches!(state.compare, Compare::Split(_)) => Action::SetCompare(Compare::Generated),
        Command::Split => Action::SetCompare(Compare::Split(0.5)),
        Command::Camera => Action::ToggleCamera,
        Command::Clip => Action::ToggleClip,
        Command::Shortcuts => toggled(Page::Shortcuts),
        Command::Settings => toggled(Page::Settings),
        Command::ClosePage => Action::Show(Page::Canvas),
        Command::HoldGuide | Command::Canvas => return None,
    })
}

/// The keys of a command as they are called here, for tooltips: "Ctrl+S".
pub fn keys_of(ctx: &egui::Context, command: Command) -> String {
    TABLE.iter().find(|entry| entry.command == command).map_or_else(String::new, |entry| spelled(ctx, entry.keys))
}

fn spelled(ctx: &egui::Context, keys: &[KeyboardShortcut]) -> String {
    let is_mac = ctx.os().is_mac();
    let names = if is_mac { ModifierNames::SYMBOLS } else { ModifierNames::NAMES };
    let spell = |keys: &KeyboardShortcut| {
        let key = match keys.logical_key {
            Key::ArrowLeft => "Left",
            Key::ArrowRight => "Right",
            // Keys that write a character are called by it.
            Key::Comma => ",",
            Key::OpenBracket => "[",
            Key::CloseBracket => "]",
            Key::Questionmark => "?",
            other => other.name(),
        };
        let modifiers = names.format(&keys.modifiers, is_mac);
        if modifiers.is_empty() { key.to_owned() } else { modifiers + names.concat + key }
    };
    keys.iter().map(spell).collect::<Vec<_>>().join("  /  ")
}

/// The page that lists the keys.
pub fn shortcuts_page_ui(ui: &mut egui::Ui, strings: &Strings) -> Vec<Action> {
    let mut actions = Vec::new();
    let texts = &strings.shortcuts;
    page_header_ui(ui, texts.title, strings.common.close, &mut actions);
    ui.label(RichText::new(texts.hint).weak());
    let columns = [[Group::File, Group::Edit].as_slice(), &[Group::Play, Group::View], &[Group::Tools]];
    // Columns beside each other where there is room for them.
    let beside = ui.available_width() >= 960.0;
    egui::ScrollArea::vertical().show(ui, |ui| {
        if beside {
            ui.columns(columns.len(), |uis| {
                for (ui, groups) in uis.iter_mut().zip(columns) {
                    groups.iter().for_each(|group| group_ui(ui, *group, texts));
                }
            });
        } else {
            columns.concat().into_iter().for_each(|group| group_ui(ui, group, texts));
        }
    });
    actions
}

fn group_ui(ui: &mut egui::Ui, group: Group, texts: &Texts) {
    let tokens = theme::tokens(ui);
    theme::heading_ui(
        ui,
        match group {
            Group::File => texts.file,
            Group::Edit => texts.edit,
            Group::Play => texts.play,
            Group::View => texts.view,
            Group::Tools => texts.tools,
        },
    );
    for entry in TABLE.iter().filter(|entry| entry.group == group) {
        ui.horizontal(|ui| {
            let keys = spelled(ui.ctx(), entry.keys);
            ui.allocate_ui_with_layout(egui::vec2(140.0, 22.0), egui::Layout::left_to_right(egui::Align::Center), |ui| {
                ui.set_min_width(140.0);
                egui::Frame::new().fill(tokens.raised).corner_radius(4.0).inner_margin(egui::Margin::symmetric(7, 2)).show(ui, |ui| {
                    ui.label(RichText::new(keys).size(12.5).color(tokens.text));
                });
            });
            ui.label((entry.name)(texts));
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::studio::strings::ENGLISH;
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable;

    const STATE: ShortcutState = ShortcutState {
        page: Page::Canvas,
        making: false,
        frame: 3.0,
        frames: 9,
        made: 0,
        looped: None,
        compare: Compare::Generated,
        dialog: false,
    };

    struct App {
        state: ShortcutState,
        actions: Vec<Action>,
        text: String,
    }

    fn harness<'a>(state: ShortcutState) -> Harness<'a, App> {
        Harness::new_ui_state(
            |ui, app: &mut App| {
                let actions = shortcut_actions(ui.ctx(), &app.state);
                app.actions.extend(actions);
                let label = ui.label("Field");
                ui.text_edit_singleline(&mut app.text).labelled_by(label.id);
            },
            App { state, actions: Vec::new(), text: String::new() },
        )
    }

    #[test]
    fn no_two_entries_take_the_same_keys() {
        for (i, a) in TABLE.iter().enumerate() {
            assert!(!a.keys.is_empty());
            for b in &TABLE[i + 1..] {
                assert!(
                    a.keys.iter().all(|keys| !b.keys.contains(keys)),
                    "{} and {}",
                    (a.name)(&ENGLISH.shortcuts),
                    (b.name)(&ENGLISH.shortcuts)
                );
            }
        }
    }

    #[test]
    fn every_entry_does_what_the_page_says() {
        let expected = "AskOpen Paste Save SaveAs Show(Export) Quit Undo Redo Redo Run TogglePause Branch Seek(2.0) Seek(4.0) Seek(0.0) \
                        Seek(8.0) SetLoop(Some((0,9))) SetCompare(Split(0.5)) ToggleCamera ToggleClip Show(Shortcuts) Show(Shortcuts) Show(Settings)";
        let mut done = Vec::new();
        for entry in TABLE.iter().filter(|entry| !matches!(entry.command, Command::Canvas | Command::HoldGuide | Command::ClosePage)) {
            for keys in entry.keys {
                let mut harness = harness(STATE);
                harness.key_press_modifiers(keys.modifiers, keys.logical_key);
                harness.run();
                let actions = &harness.state().actions;
                assert_eq!(actions.len(), 1, "{keys:?}: {actions:?}");
                done.push(format!("{:?}", actions[0]).replace(' ', ""));
            }
        }
        assert_eq!(done.join(" "), expected);
    }

    #[test]
    fn keys_mean_what_the_moment_asks_for() {
        for (state, key, expected) in [
            (ShortcutState { making: true, ..STATE }, Key::Enter, "[Stop]"),
            (ShortcutState { looped: Some((2, 5)), ..STATE }, Key::L, "[SetLoop(None)]"),
            (ShortcutState { compare: Compare::Split(0.2), ..STATE }, Key::X, "[SetCompare(Generated)]"),
            (ShortcutState { page: Page::Settings, ..STATE }, Key::Escape, "[Show(Canvas)]"),
            (ShortcutState { page: Page::Settings, ..STATE }, Key::B, "[]"),
            (ShortcutState { dialog: true, ..STATE }, Key::B, "[]"),
            (ShortcutState { frame: 2.5, ..STATE }, Key::ArrowRight, "[Seek(3.0)]"),
            (ShortcutState { frame: 2.5, ..STATE }, Key::ArrowLeft, "[Seek(2.0)]"),
            (ShortcutState { frames: 0, ..STATE }, Key::End, "[Seek(0.0)]"),
            (ShortcutState { made: 5, ..STATE }, Key::End, "[Seek(4.0)]"),
            (ShortcutState { made: 5, ..STATE }, Key::L, "[SetLoop(Some((0, 5)))]"),
            (ShortcutState { made: 5, looped: Some((2, 4)), ..STATE }, Key::End, "[Seek(3.0)]"),
            (ShortcutState { looped: Some((2, 4)), ..STATE }, Key::Home, "[Seek(2.0)]"),
            (STATE, Key::D, "[]"),
        ] {
            let mut harness = harness(state);
            harness.key_press(key);
            harness.run();
            assert_eq!(format!("{:?}", harness.state().actions), expected, "{key:?}");
        }
    }

    #[test]
    fn a_text_field_keeps_its_keys() {
        let mut harness = harness(STATE);
        harness.get_by_role_and_label(egui::accesskit::Role::TextInput, "Field").focus();
        harness.run();
        for key in [Key::B, Key::Space, Key::Home, Key::L] {
            harness.key_press(key);
        }
        harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
        harness.run();
        assert!(harness.state().actions.is_empty(), "{:?}", harness.state().actions);
    }

    #[test]
    fn the_guide_is_shown_while_its_key_is_held() {
        let mut harness = harness(ShortcutState { compare: Compare::Split(0.3), ..STATE });
        harness.key_down(Key::A);
        harness.run();
        harness.run();
        harness.key_up(Key::A);
        harness.run();
        assert_eq!(format!("{:?}", harness.state().actions), "[SetCompare(Guide), SetCompare(Split(0.3))]");
    }

    #[test]
    fn the_page_names_every_key() {
        let mut actions = Vec::new();
        let mut harness = Harness::builder().with_size([1000.0, 700.0]).build_ui(|ui| actions.extend(shortcuts_page_ui(ui, &ENGLISH)));
        for entry in TABLE {
            harness.get_by_label((entry.name)(&ENGLISH.shortcuts));
        }
        harness.get_by_label("F1  /  ?");
        harness.get_by_label("Close").click();
        harness.run();
        drop(harness);
        assert!(matches!(actions[..], [Action::Show(Page::Canvas)]));
    }
}
