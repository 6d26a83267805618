//! Colours and sizes of timeline, takes, export and status line, for both themes.
//!
//! Invariant: no other file of these panels names a colour. What means the same as elsewhere has the
//! colour it has there (`theme`).

use eframe::egui::{Color32, FontId, Ui};
use kinebrush_engine::motion::region::Region;

use crate::studio::theme;

const fn grey(level: u8) -> Color32 {
    Color32::from_gray(level)
}

/// Colours by what they mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Behind the bars and the ruler.
    pub ground: Color32,
    /// Every second row, and the ruler.
    pub raised: Color32,
    /// After the end of the project.
    pub beyond: Color32,
    /// Thin lines between parts.
    pub line: Color32,
    /// What is read first.
    pub text: Color32,
    /// What is read second.
    pub quiet: Color32,
    /// What cannot be used now.
    pub off: Color32,
    /// Behind a control under the pointer.
    pub hover: Color32,
    /// Behind a control in a group.
    pub well: Color32,
    /// The theme's one accent: what is selected, what to press next.
    pub accent: Color32,
    /// Text on the accent.
    pub on_accent: Color32,
    /// Behind what is chosen of several, or switched on: quieter than what is to be pressed.
    pub chosen: Color32,
    /// Text on it.
    pub on_chosen: Color32,
    /// The playhead.
    pub playhead: Color32,
    /// Frames that exist.
    pub generated: Color32,
    /// Frames that are shown without waiting.
    pub cached: Color32,
    /// Strokes: what is driven.
    pub driven: Color32,
    /// Pins: what stays.
    pub pinned: Color32,
    /// Being made right now; something went wrong.
    pub alert: Color32,
    /// Something to know.
    pub warning: Color32,
    /// Something that was done.
    pub good: Color32,
    /// Behind text that lies on a picture.
    pub shade: Color32,
    /// Text that lies on a picture; also a picture as it is.
    pub on_shade: Color32,
}

const DARK: Look = Look {
    ground: grey(24),
    raised: grey(31),
    beyond: Color32::from_rgba_premultiplied(0, 0, 0, 90),
    line: grey(52),
    text: grey(222),
    quiet: grey(150),
    off: grey(88),
    hover: grey(58),
    well: grey(40),
    accent: theme::DARK.accent,
    on_accent: theme::DARK.on_accent,
    chosen: Color32::from_rgb(104, 84, 50),
    on_chosen: grey(238),
    playhead: theme::DARK.accent,
    generated: Color32::from_rgb(62, 88, 122),
    cached: Color32::from_rgb(112, 160, 220),
    driven: theme::DARK.driven,
    pinned: theme::DARK.pinned,
    alert: theme::DARK.error,
    warning: theme::DARK.warning,
    good: Color32::from_rgb(116, 184, 136),
    shade: Color32::from_rgba_premultiplied(0, 0, 0, 150),
    on_shade: Color32::WHITE,
};

const LIGHT: Look = Look {
    ground: grey(236),
    raised: grey(227),
    beyond: Color32::from_rgba_premultiplied(0, 0, 0, 20),
    line: grey(200),
    text: grey(34),
    quiet: grey(98),
    off: grey(168),
    hover: grey(208),
    well: grey(217),
    accent: theme::LIGHT.accent,
    on_accent: theme::LIGHT.on_accent,
    chosen: Color32::from_rgb(206, 184, 150),
    on_chosen: grey(28),
    playhead: theme::LIGHT.accent,
    generated: Color32::from_rgb(164, 188, 220),
    cached: Color32::from_rgb(74, 126, 196),
    driven: theme::LIGHT.driven,
    pinned: theme::LIGHT.pinned,
    alert: theme::LIGHT.error,
    warning: theme::LIGHT.warning,
    good: Color32::from_rgb(40, 122, 70),
    shade: Color32::from_rgba_premultiplied(0, 0, 0, 150),
    on_shade: Color32::WHITE,
};

impl Look {
    /// Of the theme that `ui` shows.
    pub fn of(ui: &Ui) -> Self {
        if ui.visuals().dark_mode { DARK } else { LIGHT }
    }
}

/// Running text.
pub fn body() -> FontId {
    FontId::proportional(13.0)
}

/// Captions and numbers of the ruler.
pub fn small() -> FontId {
    FontId::proportional(11.0)
}

/// Height of a control, points.
pub const CONTROL: f32 = 26.0;
/// Height of a stroke's row, points.
pub const ROW: f32 = 26.0;
/// Height of a pin's row, points.
pub const PIN_ROW: f32 = 18.0;
/// Height of the ruler, points.
pub const RULER: f32 = 40.0;
/// Corner radius of controls and bars, points.
pub const RADIUS: f32 = 4.0;

/// A stroke's colour: strokes with the very same region move one layer and share it. Shades of the driven green, so that red stays for
/// pins and blue for paths, far enough apart to tell neighbours.
pub fn layer_color(look: &Look, region: &Region, regions: &[&Region]) -> Color32 {
    let order = regions.iter().position(|other| *other == region).unwrap_or(0);
    let shades = [look.driven, look.driven.lerp_to_gamma(look.cached, 0.55), look.driven.lerp_to_gamma(look.playhead, 0.5)];
    shades[order % shades.len()]
}
