//! The clip itself: its picture with the tracks on it, and the strip below that is its time.
//!
//! Invariant: a track has one colour wherever it is drawn, by its quality. Guarded by the tests of this folder.

use eframe::egui::{
    Color32, Painter, PointerButton, Pos2, Rect, Role, Sense, Stroke as Line, StrokeKind, Ui, WidgetInfo, lerp, pos2, vec2,
};
use kinebrush_engine::media::clip::ClipInfo;
use kinebrush_engine::motion::npz::Tracks;

use super::reader::THUMBNAILS;
use super::*;
use crate::studio::theme::Tokens;
use crate::studio::timeline::{Icon, button};

/// Frames that a track is drawn back over.
const TAIL: usize = 8;
/// A click takes a track no farther away, points.
const REACH: f32 = 12.0;
const STRIP: f32 = 44.0;

/// The colour of a track of this quality, 0..1.
pub fn quality_color(tokens: &Tokens, quality: f32) -> Color32 {
    tokens.warning.lerp_to_gamma(tokens.driven, quality.clamp(0.0, 1.0))
}

/// Draws a track's way up to its place now.
pub fn track(painter: &Painter, way: &[Pos2], color: Color32) {
    for (i, pair) in way.windows(2).enumerate() {
        let fade = (i + 1) as f32 / way.len() as f32;
        painter.line_segment([pair[0], pair[1]], Line::new(1.5, color.gamma_multiply(0.6 * fade)));
    }
    if let Some(now) = way.last() {
        painter.circle_filled(*now, 1.8, color);
    }
}

/// The track of a frame that is visible nearest to a place (px of the clip), and its distance.
fn nearest(tracks: &Tracks, frame: usize, at: glam::Vec2) -> Option<(usize, f32)> {
    let frame = tracks.frames.get(frame)?;
    let seen = frame.positions.iter().enumerate().filter(|(i, _)| frame.visible[*i]);
    seen.map(|(i, place)| (i, place.distance(at))).min_by(|a, b| a.1.total_cmp(&b.1))
}

impl ClipPanel {
    /// The clip's picture, and what the pointer does in it.
    pub(super) fn preview_ui(&mut self, ui: &mut Ui, input: &ClipInput, info: &ClipInfo, actions: &mut Vec<Action>) {
        let hidden = self.transfer(&input.work.project).map(|(_, transfer)| transfer.hidden.clone()).unwrap_or_default();
        let pairs = match self.transfer(&input.work.project) {
            Some((_, Transfer { placing: kinebrush_engine::motion::transfer::Placing::Pairs(pairs), .. })) => pairs.clone(),
            _ => Vec::new(),
        };
        let Some(clip) = &self.clip else { return };
        let room = vec2(ui.available_width(), 300.0);
        let scale = (room.x / info.width as f32).min(room.y / info.height as f32);
        let size = vec2(info.width as f32, info.height as f32) * scale;
        let (whole, response) = ui.allocate_exact_size(vec2(room.x, size.y), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, texts::PICTURE));
        let rect = Rect::from_center_size(whole.center(), size);
        let tokens = theme::tokens(ui);
        let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
        painter.rect_filled(rect, 4.0, tokens.surround);
        let shown = clip.shown.as_ref();
        if let Some((_, texture)) = shown {
            painter.image(texture.id(), rect, Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0)), Color32::WHITE);
        }
        let screen = |place: glam::Vec2| rect.min + vec2(place.x, place.y) * scale;
        let clip_place = |at: Pos2| glam::Vec2::new(at.x - rect.left(), at.y - rect.top()) / scale;
        let frame = shown.map_or(clip.frame, |(index, _)| *index);
        let tracked = clip.tracked.clone();
        if let Some(tracked) = &tracked
            && frame < tracked.tracks.frames.len()
        {
            let frames = &tracked.tracks.frames[frame.saturating_sub(TAIL)..=frame];
            for i in
                (0..tracked.tracks.points).filter(|i| frames[frames.len() - 1].visible[*i] && hidden.binary_search(&(*i as u32)).is_err())
            {
                let begin = frames.iter().rposition(|frame| !frame.visible[i]).map_or(0, |gap| gap + 1);
                let way: Vec<Pos2> = frames[begin..].iter().map(|frame| screen(frame.positions[i])).collect();
                track(&painter, &way, quality_color(tokens, tracked.quality.get(i).copied().unwrap_or(0.0)));
            }
        }
        let waiting = if let Mode::Pair(Some(place)) = self.mode { Some(place) } else { None };
        for (i, (from, _)) in pairs.iter().enumerate() {
            on_picture::flag(&painter, screen((*from).into()), tokens, i + 1);
        }
        if let Some(place) = waiting {
            on_picture::flag(&painter, screen(place.into()), tokens, pairs.len() + 1);
        }
        let hover = response.hover_pos().filter(|at| rect.contains(*at));
        if let (Some(at), Some(tracked), Mode::Hide | Mode::Pick) = (hover, &tracked, self.mode)
            && let Some((point, far)) = nearest(&tracked.tracks, frame, clip_place(at))
            && far * scale < REACH
        {
            painter.circle_stroke(screen(tracked.tracks.frames[frame].positions[point]), 6.0, Line::new(2.0, tokens.accent));
        }
        let pressed = ui.input(|input| input.pointer.press_origin()).filter(|at| rect.contains(*at));
        if response.drag_started_by(PointerButton::Primary) && self.mode == Mode::Hide {
            self.boxed = pressed;
        }
        let now = ui.input(|input| input.pointer.latest_pos());
        if let (Some(from), Some(to)) = (self.boxed, now) {
            painter.rect_stroke(Rect::from_two_pos(from, to), 0.0, Line::new(1.0, tokens.accent), StrokeKind::Middle);
        }
        let Some(tracked) = tracked else { return };
        if let Some(from) = self.boxed.filter(|_| response.drag_stopped()) {
            let area = Rect::from_two_pos(from, now.unwrap_or(from));
            self.boxed = None;
            let inside = tracked.tracks.frames.get(frame).into_iter().flat_map(|frame| {
                let seen = frame.positions.iter().enumerate().filter(|(i, _)| frame.visible[*i]);
                seen.filter(|(_, place)| area.contains(screen(**place))).map(|(i, _)| i as u32).collect::<Vec<_>>()
            });
            let inside: Vec<u32> = inside.collect();
            actions.extend(self.hide(input, &inside));
        }
        if let Some(at) = response.interact_pointer_pos().filter(|at| response.clicked() && rect.contains(*at)) {
            let near = nearest(&tracked.tracks, frame, clip_place(at)).filter(|(_, far)| far * scale < REACH);
            match (self.mode, near) {
                (Mode::Hide, Some((point, _))) => actions.extend(self.hide(input, &[point as u32])),
                (Mode::Pick, Some((point, _))) => self.use_as_path(input, Some(point)),
                (Mode::Pair(_), _) => self.mode = Mode::Pair(Some(clip_place(at).into())),
                _ => {}
            }
        }
    }

    /// Leaves tracks out of the motion.
    fn hide(&self, input: &ClipInput, tracks: &[u32]) -> Option<Action> {
        let action = self.change(input, texts::HIDE, 0, |transfer| {
            transfer.hidden.extend(tracks);
            transfer.hidden.sort_unstable();
            transfer.hidden.dedup();
        });
        action.filter(|_| !tracks.is_empty())
    }

    /// Play, steps, and the strip of thumbnails that is the clip's time.
    pub(super) fn transport_ui(&mut self, ui: &mut Ui, input: &ClipInput, info: &ClipInfo, actions: &mut Vec<Action>) {
        let frames = frames_of(info);
        let range = self.transfer(&input.work.project).map(|(_, transfer)| transfer.range);
        let Some(clip) = &mut self.clip else { return };
        let tokens = theme::tokens(ui);
        let mut wanted = None;
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), STRIP), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::slider(true, clip.frame as f64, texts::TIME));
        let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
        painter.rect_filled(rect, 4.0, tokens.sunken);
        let cell = rect.width() / THUMBNAILS as f32;
        for (i, texture) in clip.thumbnails.iter().enumerate() {
            let Some(texture) = texture else { continue };
            let place = Rect::from_min_size(pos2(rect.left() + i as f32 * cell, rect.top()), vec2(cell, STRIP));
            // Cut to the cell's shape, from the middle.
            let size = texture.size_vec2();
            let part = (vec2(cell, STRIP) / (vec2(cell, STRIP) / size).max_elem()) / size;
            let uv = Rect::from_center_size(pos2(0.5, 0.5), part);
            painter.image(texture.id(), place, uv, Color32::WHITE);
        }
        let x_of = |frame: usize| lerp(rect.left()..=rect.right(), frame as f32 / (frames - 1).max(1) as f32);
        if let Some((first, last)) = range {
            for out in [rect.left()..=x_of(first), x_of(last)..=rect.right()] {
                painter.rect_filled(Rect::from_x_y_ranges(out, rect.y_range()), 0.0, tokens.surround.gamma_multiply(0.7));
            }
            for edge in [first, last] {
                painter.vline(x_of(edge), rect.y_range(), Line::new(2.0, tokens.driven));
            }
        }
        painter.vline(x_of(clip.frame), rect.y_range(), Line::new(2.0, tokens.accent));
        if let Some(at) = response.interact_pointer_pos() {
            let share = ((at.x - rect.left()) / rect.width()).clamp(0.0, 1.0);
            wanted = Some((share * (frames - 1) as f32).round() as usize);
        }
        ui.horizontal(|ui| {
            let at = clip.frame;
            if button(ui, Icon::Back, "", texts::BACK, texts::BACK, false).clicked() {
                wanted = Some(at.saturating_sub(1));
            }
            let (icon, name) = if clip.playing.is_some() { (Icon::Pause, texts::PAUSE) } else { (Icon::Play, texts::PLAY) };
            if button(ui, icon, "", name, name, false).clicked() {
                let now = ui.input(|input| input.time);
                clip.playing = if clip.playing.is_some() { None } else { Some((now, at)) };
            }
            if button(ui, Icon::Forward, "", texts::ON, texts::ON, false).clicked() {
                wanted = Some((at + 1).min(frames - 1));
            }
            ui.label(format!("{:.2} s  {}/{}", at as f64 / info.fps, at + 1, frames));
        });
        let mut together = !self.apart;
        ui.checkbox(&mut together, texts::TOGETHER).on_hover_text(texts::TOGETHER_TIP);
        self.apart = !together;
        if let Some(frame) = wanted {
            self.scrub(frame, input, actions);
        }
    }
}
