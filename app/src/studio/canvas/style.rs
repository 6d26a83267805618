//! Colours and texts of the canvas, in one place. Invariant: nothing else in `canvas` names a colour or a visible text.

use eframe::egui::Color32;

/// What a hand drives.
pub const DRIVEN: Color32 = Color32::from_rgb(74, 222, 128);
/// What must stay.
pub const PINNED: Color32 = Color32::from_rgb(248, 92, 92);
/// Drawn paths.
pub const PATH: Color32 = Color32::from_rgb(86, 168, 255);
/// What is marked.
pub const MARKED: Color32 = Color32::from_rgb(255, 214, 92);
/// Light half of lines that must be seen on any picture.
pub const LIGHT: Color32 = Color32::from_rgb(255, 255, 255);
/// Dark half of them.
pub const DARK: Color32 = Color32::from_rgba_unmultiplied_const(0, 0, 0, 170);
/// Ground of hints on the picture.
pub const HINT_GROUND: Color32 = Color32::from_rgba_unmultiplied_const(18, 18, 22, 215);
/// Text on it.
pub const HINT_TEXT: Color32 = Color32::from_rgb(240, 240, 244);

/// Every text that the canvas shows.
pub struct Texts {
    /// Name of the canvas for screen readers.
    pub canvas: &'static str,
    /// Tools by [`super::Tool`]: name, key, what it does.
    pub tools: [(&'static str, &'static str, &'static str); 6],
    /// Ways to mark a region by [`super::RegionMode`], and what they do.
    pub modes: [(&'static str, &'static str); 4],
    /// Radius of the brush.
    pub radius: &'static str,
    /// Softness of the brush.
    pub softness: &'static str,
    /// Pins what is marked.
    pub pin_marked: &'static str,
    /// Pins whatever has no motion.
    pub pin_rest: &'static str,
    /// Without a picture, and the line below.
    pub empty: [&'static str; 2],
    /// With a picture and no motion.
    pub first_drag: &'static str,
    /// While a path is clicked.
    pub clicking: &'static str,
    /// Steps in the undo menu.
    pub steps: Steps,
}

/// Names of steps in the undo menu.
pub struct Steps {
    pub drag: &'static str,
    pub path: &'static str,
    pub move_key: &'static str,
    pub insert_key: &'static str,
    pub delete_key: &'static str,
    pub move_path: &'static str,
    pub bend_path: &'static str,
    pub delete_path: &'static str,
    pub mark: &'static str,
    pub unmark: &'static str,
    pub pin: &'static str,
    pub delete_pin: &'static str,
    pub erase: &'static str,
}

/// In English.
pub const TEXTS: Texts = Texts {
    canvas: "Canvas",
    tools: [
        ("Drag", "D", "Take something and move it; while video is made it moves with the hand. Let go with Shift to free it"),
        ("Path", "P", "Draw a path at the speed it shall have, or click its points and press Enter"),
        ("Region", "R", "Mark what the next path moves. Shift adds, Alt takes away"),
        ("Pin", "N", "Paint what must stay; click what is marked to pin it"),
        ("Erase", "E", "Click a path or a pin to remove it, or paint to take from what is marked or pinned"),
        ("Hand", "H", "Move the view. Space or the middle button do it with any tool"),
    ],
    modes: [
        ("Brush", "Paint over it"),
        ("Lasso", "Draw around it"),
        ("Smart", "Scribble on it and the edges are found. Alt scribbles on what is not meant"),
        ("Whole picture", "Everything moves"),
    ],
    radius: "Radius",
    softness: "Softness",
    pin_marked: "Pin marked region",
    pin_rest: "Pin the rest",
    empty: ["Drop a picture here, or press Ctrl+O", "PNG, JPEG or WebP, or a Kinebrush project"],
    first_drag: "Drag here: paint motion on it",
    clicking: "Click to go on, Enter to finish, Backspace to take back, Esc to stop",
    steps: Steps {
        drag: "Drag",
        path: "Draw path",
        move_key: "Move key",
        insert_key: "Insert key",
        delete_key: "Delete key",
        move_path: "Move path",
        bend_path: "Bend path",
        delete_path: "Delete path",
        mark: "Mark region",
        unmark: "Clear region",
        pin: "Pin",
        delete_pin: "Delete pin",
        erase: "Erase",
    },
};
