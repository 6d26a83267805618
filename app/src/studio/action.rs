//! What panels ask for. Invariant: panels change nothing themselves; whatever happens to a document is one of these.

use std::path::PathBuf;

use kinebrush_engine::stream::live::{Clock, Hand};

use super::dialogs::Purpose;
use super::document::{Selection, Work};

/// Something the artist wants.
#[derive(Clone, Debug)]
pub enum Action {
    /// The work as it shall be: one step to undo.
    Edit {
        /// What the step is called in the undo menu: "Move path".
        label: &'static str,
        /// Changes with the same number other than 0 are one step: a handle that is still being dragged.
        gesture: u64,
        /// The new state.
        work: Box<Work>,
    },
    /// Another selection; no step of its own.
    Select(Selection),
    /// A drag while video is made.
    Hand(Hand),
    /// One step back.
    Undo,
    /// One step forward.
    Redo,
    /// Make video, or go on.
    Run,
    /// Hold, or go on after that (also play back what was made).
    TogglePause,
    /// End the take.
    Stop,
    /// A new take from the frame that is shown.
    Branch,
    /// How time runs.
    SetClock(Clock),
    /// Show this frame, fractions allowed.
    Seek(f32),
    /// Play these frames again and again: first, and one after the last.
    SetLoop(Option<(usize, usize)>),
    /// Show another take.
    ShowTake(u64),
    /// Show what was generated, or the guide alone.
    SetCompare(Compare),
    /// Open a picture or a project.
    Open(PathBuf),
    /// Ask for a file to open.
    AskOpen,
    /// Ask for a file for something else.
    Ask(Purpose),
    /// Take the picture in the clipboard.
    Paste,
    /// Write the project where it came from, or ask.
    Save,
    /// Ask where to write the project.
    SaveAs,
    /// Open or close the camera panel.
    ToggleCamera,
    /// Open or close a page.
    Show(Page),
    /// Show or hide the clip panel.
    ToggleClip,
    /// Ask for a clip to open.
    AskClip,
    /// Open a clip beside the picture.
    OpenClip(PathBuf),
    /// Close the window, asking first if something would be lost.
    Quit,
}

/// What the canvas shows of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Compare {
    /// What was generated.
    #[default]
    Generated,
    /// The guide alone.
    Guide,
    /// The guide left of this part (0..1) of the picture, what was generated right of it.
    Split(f32),
}

/// Pages over the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// None.
    Canvas,
    /// Presets and recent files.
    Gallery,
    /// Keys and gestures.
    Shortcuts,
    /// Theme, scale, threads.
    Settings,
    /// Video out.
    Export,
}
