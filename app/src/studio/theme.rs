//! Colours, spacing and type of the window.
//!
//! Invariant: every colour comes from [`Tokens`]; around the picture all is neutral grey, so that colours can be judged; driven, pinned and
//! path differ in lightness too, and texts stand out from their ground by the ratio that accessibility guidelines ask for. Guarded by
//! the tests below.

use eframe::egui::style::{HandleShape, WidgetVisuals, Widgets};
use eframe::egui::{self, Color32, CornerRadius, FontFamily, FontId, Margin, Shadow, Stroke, Style, TextStyle, Theme, Vec2, Visuals, vec2};

use super::settings::{Settings, ThemeChoice};

/// The colours of one theme.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tokens {
    /// Around the picture: neutral, middle dark.
    pub surround: Color32,
    /// Panels and bars.
    pub panel: Color32,
    /// What stands out of a panel: cards, fields, buttons.
    pub raised: Color32,
    /// A raised thing under the pointer.
    pub hovered: Color32,
    /// A raised thing that is pressed.
    pub pressed: Color32,
    /// Text fields and slider rails.
    pub sunken: Color32,
    /// Fine lines between parts.
    pub line: Color32,
    /// Text.
    pub text: Color32,
    /// Text of second rank.
    pub muted: Color32,
    /// The one accent: what is chosen, what to press next.
    pub accent: Color32,
    /// Text on the accent.
    pub on_accent: Color32,
    /// What is driven; drawn hatched too.
    pub driven: Color32,
    /// What is pinned; drawn dotted too.
    pub pinned: Color32,
    /// Paths; drawn as lines with arrow heads.
    pub path: Color32,
    /// Warnings.
    pub warning: Color32,
    /// Errors.
    pub error: Color32,
}

/// A grey.
const fn grey(level: u8) -> Color32 {
    Color32::from_gray(level)
}

/// For judging pictures.
pub const DARK: Tokens = Tokens {
    surround: grey(0x3a),
    panel: grey(0x24),
    raised: grey(0x33),
    hovered: grey(0x40),
    pressed: grey(0x2b),
    sunken: grey(0x18),
    line: grey(0x3c),
    text: grey(0xe4),
    muted: grey(0xa3),
    accent: Color32::from_rgb(0xe8, 0xb4, 0x5a),
    on_accent: grey(0x17),
    driven: Color32::from_rgb(0x3d, 0xd6, 0x98),
    pinned: Color32::from_rgb(0xe0, 0x50, 0x3a),
    path: Color32::from_rgb(0x5a, 0xa9, 0xff),
    warning: Color32::from_rgb(0xf0, 0xc0, 0x60),
    error: Color32::from_rgb(0xff, 0x7a, 0x68),
};

/// For bright rooms; the surround stays neutral.
pub const LIGHT: Tokens = Tokens {
    surround: grey(0xb4),
    panel: grey(0xee),
    raised: grey(0xfb),
    hovered: grey(0xff),
    pressed: grey(0xdc),
    sunken: grey(0xff),
    line: grey(0xcc),
    text: grey(0x1e),
    muted: grey(0x5c),
    accent: Color32::from_rgb(0x9a, 0x5b, 0x00),
    on_accent: grey(0xff),
    driven: Color32::from_rgb(0x00, 0x8a, 0x5c),
    pinned: Color32::from_rgb(0x9c, 0x1f, 0x10),
    path: Color32::from_rgb(0x1f, 0x66, 0xd1),
    warning: Color32::from_rgb(0x8a, 0x5a, 0x00),
    error: Color32::from_rgb(0xb0, 0x1c, 0x10),
};

/// Room between things, points.
pub mod space {
    /// Within a thing.
    pub const SMALL: f32 = 4.0;
    /// Between things that belong together.
    pub const MEDIUM: f32 = 8.0;
    /// Between groups.
    pub const LARGE: f32 = 16.0;
    /// Around pages.
    pub const PAGE: f32 = 32.0;
}

/// The colours in use.
pub fn tokens(ui: &egui::Ui) -> &'static Tokens {
    Tokens::of(ui.visuals().dark_mode)
}

impl Tokens {
    /// The colours of the dark theme, or of the light one.
    pub fn of(dark: bool) -> &'static Self {
        if dark { &DARK } else { &LIGHT }
    }
}

/// Makes both themes known and chooses by `settings`. To be called at the start and when the settings changed.
pub fn apply(ctx: &egui::Context, settings: &Settings) {
    ctx.set_style_of(Theme::Dark, style(true));
    ctx.set_style_of(Theme::Light, style(false));
    ctx.set_theme(match settings.theme {
        ThemeChoice::Dark => egui::ThemePreference::Dark,
        ThemeChoice::Light => egui::ThemePreference::Light,
        ThemeChoice::System => egui::ThemePreference::System,
    });
    ctx.set_zoom_factor(settings.scale());
}

/// A page or a dialog: raised a little, with room around.
pub fn page_frame(tokens: &Tokens) -> egui::Frame {
    egui::Frame::new().fill(tokens.panel).inner_margin(Margin::same(space::PAGE as i8))
}

/// A question over everything.
pub fn dialog_frame(ctx: &egui::Context) -> egui::Frame {
    egui::Frame::window(&ctx.global_style()).inner_margin(Margin::same(24))
}

/// A thing that stands out of a panel.
pub fn card_frame(tokens: &Tokens) -> egui::Frame {
    egui::Frame::new()
        .fill(tokens.raised)
        .stroke(Stroke::new(1.0, tokens.line))
        .corner_radius(CornerRadius::same(8))
        .inner_margin(Margin::same(12))
}

/// The button to press next; there is one of them at most in sight.
pub fn primary_button(tokens: &Tokens, text: &str) -> egui::Button<'static> {
    egui::Button::new(egui::RichText::new(text).color(tokens.on_accent).strong()).fill(tokens.accent)
}

/// A button as large as a finger.
pub const BUTTON_SIZE: Vec2 = vec2(88.0, 32.0);

/// A small heading of a group, in second rank.
pub fn heading_ui(ui: &mut egui::Ui, text: &str) {
    ui.add_space(space::MEDIUM);
    ui.label(egui::RichText::new(text).color(tokens(ui).muted).size(13.0).strong());
    ui.add_space(space::SMALL);
}

fn style(dark: bool) -> Style {
    let tokens = Tokens::of(dark);
    let mut style = Style { visuals: visuals(tokens, dark), animation_time: 0.1, ..Style::default() };
    let font = |size| FontId::new(size, FontFamily::Proportional);
    style.text_styles = [
        (TextStyle::Small, font(11.5)),
        (TextStyle::Body, font(14.0)),
        (TextStyle::Button, font(14.0)),
        (TextStyle::Heading, font(22.0)),
        (TextStyle::Monospace, FontId::new(13.0, FontFamily::Monospace)),
    ]
    .into();
    let spacing = &mut style.spacing;
    spacing.item_spacing = vec2(space::MEDIUM, 6.0);
    spacing.button_padding = vec2(12.0, 5.0);
    spacing.interact_size = vec2(40.0, 26.0);
    spacing.window_margin = Margin::same(20);
    spacing.menu_margin = Margin::same(6);
    spacing.slider_width = 160.0;
    spacing.slider_rail_height = 4.0;
    spacing.combo_width = 140.0;
    spacing.icon_width = 18.0;
    spacing.tooltip_width = 320.0;
    style
}

fn visuals(tokens: &Tokens, dark: bool) -> Visuals {
    let mut visuals = if dark { Visuals::dark() } else { Visuals::light() };
    let widget = |fill: Color32, line: Color32, text: Color32| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, line),
        corner_radius: CornerRadius::same(6),
        fg_stroke: Stroke::new(1.5, text),
        expansion: 0.0,
    };
    visuals.widgets = Widgets {
        noninteractive: WidgetVisuals { fg_stroke: Stroke::new(1.0, tokens.text), ..widget(tokens.panel, tokens.line, tokens.text) },
        inactive: widget(tokens.raised, tokens.line, tokens.text),
        hovered: widget(tokens.hovered, tokens.muted, tokens.text),
        active: widget(tokens.pressed, tokens.accent, tokens.text),
        open: widget(tokens.pressed, tokens.muted, tokens.text),
    };
    visuals.selection.bg_fill = tokens.accent.gamma_multiply(if dark { 0.35 } else { 0.25 });
    visuals.selection.stroke = Stroke::new(1.5, if dark { tokens.accent } else { tokens.text });
    visuals.hyperlink_color = tokens.accent;
    visuals.weak_text_color = Some(tokens.muted);
    visuals.faint_bg_color = tokens.raised;
    visuals.extreme_bg_color = tokens.sunken;
    visuals.text_edit_bg_color = Some(tokens.sunken);
    visuals.code_bg_color = tokens.sunken;
    visuals.warn_fg_color = tokens.warning;
    visuals.error_fg_color = tokens.error;
    visuals.panel_fill = tokens.panel;
    visuals.window_fill = tokens.panel;
    visuals.window_stroke = Stroke::new(1.0, tokens.line);
    visuals.window_corner_radius = CornerRadius::same(10);
    visuals.menu_corner_radius = CornerRadius::same(8);
    let shadow = Shadow { offset: [0, 6], blur: 24, spread: 0, color: Color32::from_black_alpha(if dark { 120 } else { 50 }) };
    (visuals.window_shadow, visuals.popup_shadow) = (shadow, shadow);
    visuals.slider_trailing_fill = true;
    visuals.handle_shape = HandleShape::Circle;
    visuals.button_frame = true;
    visuals
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of WCAG 2.
    fn luminance(colour: Color32) -> f32 {
        let linear = |c: u8| {
            let c = f32::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(colour.r()) + 0.7152 * linear(colour.g()) + 0.0722 * linear(colour.b())
    }

    fn contrast(a: Color32, b: Color32) -> f32 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn texts_can_be_read() {
        for tokens in [DARK, LIGHT] {
            for ground in [tokens.panel, tokens.raised, tokens.hovered, tokens.pressed, tokens.sunken] {
                assert!(contrast(tokens.text, ground) > 7.0, "{tokens:?}");
                assert!(contrast(tokens.muted, ground) > 4.0, "{:?} on {ground:?}: {}", tokens.muted, contrast(tokens.muted, ground));
            }
            for colour in [tokens.warning, tokens.error, tokens.accent] {
                assert!(contrast(colour, tokens.panel) > 4.5, "{colour:?}: {}", contrast(colour, tokens.panel));
            }
            assert!(contrast(tokens.on_accent, tokens.accent) > 4.5);
        }
    }

    #[test]
    fn the_surround_has_no_colour_and_the_marks_differ_without_colour() {
        for tokens in [DARK, LIGHT] {
            for ground in [tokens.surround, tokens.panel] {
                assert!(ground.r() == ground.g() && ground.g() == ground.b());
            }
            let marks = [tokens.driven, tokens.path, tokens.pinned];
            for (i, a) in marks.iter().enumerate() {
                for b in &marks[i + 1..] {
                    assert!(contrast(*a, *b) > 1.2, "{a:?} and {b:?}: {}", contrast(*a, *b));
                }
            }
        }
    }
}
