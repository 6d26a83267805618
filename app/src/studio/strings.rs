//! Every text that is seen, in one table for each language, ordered by page.
//!
//! Invariant: no text stands in a panel; a language that lacks one does not compile. Guarded by the compiler and the test below.

use serde::{Deserialize, Serialize};

/// A language of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// English.
    #[default]
    English,
}

impl Language {
    /// All there are.
    pub const ALL: [Self; 1] = [Self::English];
}

/// The texts of one language.
#[allow(missing_docs, reason = "each text says what it is")]
#[derive(Clone, Copy, Debug)]
pub struct Strings {
    pub bar: Bar,
    pub language: &'static str,
    pub common: Common,
    pub gallery: Gallery,
    pub settings: Settings,
    pub shortcuts: Shortcuts,
    pub dialogs: Dialogs,
    pub messages: Messages,
}

#[allow(missing_docs, reason = "each text says what it is")]
#[derive(Clone, Copy, Debug)]
pub struct Common {
    pub ok: &'static str,
    pub cancel: &'static str,
    pub close: &'static str,
    pub dismiss: &'static str,
    pub undo: fn(&str) -> String,
    pub redo: fn(&str) -> String,
}

#[allow(missing_docs, reason = "each text says what it is")]
#[derive(Clone, Copy, Debug)]
pub struct Gallery {
    pub title: &'static str,
    pub tagline: &'static str,
    pub open: &'static str,
    pub open_hint: &'static str,
    pub paste: &'static str,
    pub paste_hint: &'static str,
    pub presets: &'static str,
    pub recent: &'static str,
    pub no_recent: &'static str,
    pub missing: &'static str,
    pub loading: &'static str,
    pub restore_title: &'static str,
    pub restore_text: fn(title: &str, ago: &str) -> String,
    pub restore: &'static str,
    pub discard: &'static str,
    pub ago: fn(seconds: u64) -> String,
}

#[allow(missing_docs, reason = "each text says what it is")]
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub title: &'static str,
    pub appearance: &'static str,
    pub theme: &'static str,
    pub theme_dark: &'static str,
    pub theme_light: &'static str,
    pub theme_system: &'static str,
    pub scale: &'static str,
    pub language: &'static str,
    pub performance: &'static str,
    pub threads: &'static str,
    pub threads_all: &'static str,
    pub threads_hint: &'static str,
    pub clock: &'static str,
    pub clock_real_time: &'static str,
    pub clock_every_frame: &'static str,
    pub clock_hint: &'static str,
    pub take_budget: &'static str,
    pub take_budget_hint: &'static str,
    pub brush: &'static str,
    pub brush_radius: &'static str,
    pub brush_softness: &'static str,
    pub reset: &'static str,
}

#[allow(missing_docs, reason = "each text says what it is")]
#[derive(Clone, Copy, Debug)]
pub struct Shortcuts {
    pub title: &'static str,
    pub hint: &'static str,
    pub file: &'static str,
    pub edit: &'static str,
    pub play: &'static str,
    pub view: &'static str,
    pub tools: &'static str,
    pub open: &'static str,
    pub paste: &'static str,
    pub save: &'static str,
    pub save_as: &'static str,
    pub export: &'static str,
    pub quit: &'static str,
    pub undo: &'static str,
    pub redo: &'static str,
    pub run: &'static str,
    pub pause: &'static str,
    pub branch: &'static str,
    pub step_back: &'static str,
    pub step_on: &'static str,
    pub to_start: &'static str,
    pub to_end: &'static str,
    pub toggle_loop: &'static str,
    pub compare: &'static str,
    pub clip: &'static str,
    pub split: &'static str,
    pub camera: &'static str,
    pub shortcuts: &'static str,
    pub settings: &'static str,
    pub close_page: &'static str,
    pub drag: &'static str,
    pub path: &'static str,
    pub region: &'static str,
    pub pin: &'static str,
    pub erase: &'static str,
    pub hand: &'static str,
    pub brush_smaller: &'static str,
    pub brush_larger: &'static str,
}

#[allow(missing_docs, reason = "each text says what it is")]
#[derive(Clone, Copy, Debug)]
pub struct Dialogs {
    pub save_title: fn(title: &str) -> String,
    pub save_text: &'static str,
    pub save: &'static str,
    pub discard: &'static str,
    pub export_title: &'static str,
    pub export_text: &'static str,
    pub export_cancel: &'static str,
    pub export_keep: &'static str,
    pub large_title: &'static str,
    pub large_text: fn(name: &str, megapixels: usize, width: usize, height: usize) -> String,
    pub large_open: &'static str,
    pub path_clip_title: &'static str,
    pub path_open_title: &'static str,
    pub path_save_title: &'static str,
    pub path_export_title: &'static str,
    pub path_text: &'static str,
    pub path_depth_title: &'static str,
    pub path_camera_in_title: &'static str,
    pub path_camera_out_title: &'static str,
    pub path_label: &'static str,
    pub path_open: &'static str,
    pub path_save: &'static str,
    pub filter_all: &'static str,
    pub filter_pictures: &'static str,
    pub filter_projects: &'static str,
    pub filter_depth: &'static str,
    pub filter_camera: &'static str,
}

#[allow(missing_docs, reason = "each text says what it is")]
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    pub gallery: &'static str,
    pub open: &'static str,
    pub save: &'static str,
    pub undo: &'static str,
    pub redo: &'static str,
    pub clip: &'static str,
    pub takes: &'static str,
    pub camera: &'static str,
    pub take: fn(number: u64) -> String,
    pub export: &'static str,
    pub settings: &'static str,
    pub shortcuts: &'static str,
    pub made: &'static str,
    pub preview: &'static str,
    pub guide: &'static str,
}

#[allow(missing_docs, reason = "each text says what it is")]
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    pub info: &'static str,
    pub warning: &'static str,
    pub error: &'static str,
    pub saved: fn(name: &str) -> String,
    pub restored: fn(title: &str) -> String,
    pub picture_missing: fn(picture: &str) -> String,
    pub model_loading: &'static str,
    pub model_failed: &'static str,
    pub exported: fn(path: &str) -> String,
    pub take_not_kept: &'static str,
    pub branch_newest: &'static str,
    pub autosave_again: &'static str,
    pub clipboard_empty: &'static str,
    pub clipboard_none: fn(why: &str) -> String,
    pub clipboard_broken: &'static str,
}

impl Strings {
    /// The texts of `language`.
    pub fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
        }
    }
}

/// English.
pub const ENGLISH: Strings = Strings {
    language: "English",
    bar: Bar {
        gallery: "Start",
        open: "Open",
        save: "Save",
        undo: "Undo",
        redo: "Redo",
        clip: "Clip",
        takes: "Takes",
        camera: "Camera",
        take: |number| format!("Take {number}"),
        export: "Export",
        settings: "Settings",
        shortcuts: "Keys",
        made: "Generated",
        preview: "Preview",
        guide: "Guide alone",
    },
    common: Common {
        ok: "OK",
        cancel: "Cancel",
        close: "Close",
        dismiss: "Dismiss",
        undo: |step| if step.is_empty() { "Undo".to_owned() } else { format!("Undo {}", step.to_lowercase()) },
        redo: |step| if step.is_empty() { "Redo".to_owned() } else { format!("Redo {}", step.to_lowercase()) },
    },
    gallery: Gallery {
        title: "Kinebrush",
        tagline: "Paint motion on a picture and watch it become video.",
        open: "Open a picture…",
        open_hint: "PNG, JPEG or WebP, or a project. You can also drop a file on the window.",
        paste: "Paste",
        paste_hint: "Start with the picture in the clipboard.",
        presets: "Try one of these",
        recent: "Recent",
        no_recent: "What you open will be listed here.",
        missing: "not found",
        loading: "Loading…",
        restore_title: "Restore the last session?",
        restore_text: |title, ago| format!("“{title}” was not closed properly. Last kept {ago}."),
        restore: "Restore",
        discard: "Discard",
        ago: |seconds| match seconds {
            0..60 => "a moment ago".to_owned(),
            60..120 => "a minute ago".to_owned(),
            120..3600 => format!("{} minutes ago", seconds / 60),
            3600..7200 => "an hour ago".to_owned(),
            7200..86_400 => format!("{} hours ago", seconds / 3600),
            86_400..172_800 => "yesterday".to_owned(),
            _ => format!("{} days ago", seconds / 86_400),
        },
    },
    settings: Settings {
        title: "Settings",
        appearance: "Appearance",
        theme: "Theme",
        theme_dark: "Dark",
        theme_light: "Light",
        theme_system: "Like the system",
        scale: "Size of the interface",
        language: "Language",
        performance: "Making video",
        threads: "Processor threads",
        threads_all: "All",
        threads_hint: "Fewer leave room for other programs. Takes effect at the next start.",
        clock: "Clock",
        clock_real_time: "Real time",
        clock_every_frame: "Every frame",
        clock_hint: "Real time: 16 frames are a second, the clock waits where the machine is slower. Every frame: as fast as they are made.",
        take_budget: "Disk space for takes",
        take_budget_hint: "The oldest takes are removed when they need more.",
        brush: "New brushes",
        brush_radius: "Radius",
        brush_softness: "Softness",
        reset: "Back to the defaults",
    },
    shortcuts: Shortcuts {
        title: "Keys",
        hint: "Keys do nothing while you type in a text field.",
        file: "File",
        edit: "Edit",
        play: "Make and play video",
        view: "View",
        tools: "Tools",
        open: "Open a picture or a project",
        paste: "Paste a picture",
        save: "Save the project",
        save_as: "Save the project as…",
        export: "Export video",
        quit: "Quit",
        undo: "Undo",
        redo: "Redo",
        run: "Start or end making video",
        pause: "Pause, or go on",
        branch: "New take from this frame",
        step_back: "One frame back",
        step_on: "One frame on",
        to_start: "First frame",
        to_end: "Last frame",
        toggle_loop: "Loop on or off",
        compare: "Hold: the guide alone",
        clip: "Clip: let a film move the picture",
        split: "Split view: guide and video",
        camera: "Camera: move it, fit the depth",
        shortcuts: "These keys",
        settings: "Settings",
        close_page: "Close the page",
        drag: "Drag: paint motion live",
        path: "Path: draw where it goes",
        region: "Region: choose what moves",
        pin: "Pin: what must stay",
        erase: "Erase",
        hand: "Hand: move the view",
        brush_smaller: "Smaller brush",
        brush_larger: "Larger brush",
    },
    dialogs: Dialogs {
        save_title: |title| format!("Save changes to “{title}”?"),
        save_text: "What you changed since the last save is lost otherwise.",
        save: "Save",
        discard: "Don't save",
        export_title: "Export is still running: cancel it?",
        export_text: "The video is not finished; nothing of it is kept when you cancel.",
        export_cancel: "Cancel the export",
        export_keep: "Keep exporting",
        large_title: "Picture is too large",
        large_text: |name, megapixels, width, height| {
            format!(
                "“{name}” has {megapixels} megapixels. A copy of {width} × {height} can be opened instead; the picture itself stays as it is."
            )
        },
        large_open: "Open a smaller copy",
        path_clip_title: "Open a clip",
        path_open_title: "Open a picture or a project",
        path_save_title: "Save the project",
        path_export_title: "Write the video as",
        path_text: "This system offered no file window, or you closed it. Type a path, or drop a file on the window.",
        path_depth_title: "Open a depth picture",
        path_camera_in_title: "Read a camera path",
        path_camera_out_title: "Write the camera path as",
        path_label: "Path of the file",
        path_open: "Open",
        path_save: "Save here",
        filter_all: "Pictures and projects",
        filter_pictures: "Pictures",
        filter_projects: "Projects",
        filter_depth: "Depth pictures",
        filter_camera: "Camera paths",
    },
    messages: Messages {
        picture_missing: |picture| format!("The project was saved, but its picture {picture} is not there any more"),
        model_loading: "The model is still being read; video starts as soon as it is there.",
        model_failed: "There is no model that could make video; start Kinebrush with another one.",
        exported: |path| format!("{path} is written"),
        branch_newest: "Only the newest take can be branched off; choose it first, or start a new one.",
        take_not_kept: "This take was not kept on disk; export the project instead.",
        info: "Note",
        warning: "Warning",
        error: "Error",
        saved: |name| format!("Saved {name}"),
        restored: |title| format!("“{title}” is back as it was."),
        autosave_again: "Your work is being kept again.",
        clipboard_empty: "There is no picture in the clipboard; copy one first.",
        clipboard_none: |why| format!("The clipboard cannot be used ({why}); save the picture and open the file."),
        clipboard_broken: "The picture in the clipboard is damaged; copy it again.",
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_a_name_of_its_own_and_texts_with_values_say_them() {
        let names: std::collections::BTreeSet<_> = Language::ALL.iter().map(|language| Strings::of(*language).language).collect();
        assert_eq!(names.len(), Language::ALL.len());
        for language in Language::ALL {
            let strings = Strings::of(language);
            assert!((strings.dialogs.large_text)("cat", 51, 4000, 3000).contains("4000"));
            let ago: Vec<_> = [5, 61, 200, 4000, 9000, 90_000, 400_000].iter().map(|seconds| (strings.gallery.ago)(*seconds)).collect();
            assert!(ago.windows(2).all(|pair| pair[0] != pair[1]), "{ago:?}");
        }
    }
}
