//! The clip on the canvas: where its tracks land, its frame, and the hand that places it.
//!
//! Invariant: nothing is drawn outside the picture but the frame's handles; the canvas's own tools rest while the clip is placed.
//! Guarded by the tests of this folder.

use eframe::egui::{Align2, Area, FontId, Id, Order, Painter, Pos2, Rect, Role, Sense, Stroke as Line, Ui, WidgetInfo};
use glam::Vec2;
use kinebrush_engine::motion::transfer::{ClipMap, Placing};

use super::*;
use crate::studio::canvas::ScreenFromPicture;
use crate::studio::theme::Tokens;

/// Frames of the project that a track is drawn back over, and how many pieces that is.
const TAIL: [f32; 5] = [6.0, 4.5, 3.0, 1.5, 0.0];
/// How near a corner is taken, points.
const CORNER: f32 = 14.0;
/// Most pairs.
const PAIRS: usize = 4;

/// What the hand holds of the clip's frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    corner: bool,
    /// Where it was taken, px of the picture, and how the clip lay then.
    from: Vec2,
    offset: Vec2,
    scale: f32,
    turn_deg: f32,
}

/// A numbered place.
pub fn flag(painter: &Painter, at: Pos2, tokens: &Tokens, number: usize) {
    painter.circle(at, 9.0, tokens.accent, Line::new(1.5, tokens.on_accent));
    painter.text(at, Align2::CENTER_CENTER, number.to_string(), FontId::proportional(12.0), tokens.on_accent);
}

/// The placing while the hand that holds it is at `now`; `middle` is the picture's.
fn placed(held: &Held, now: Vec2, middle: Vec2, mirror: bool) -> Placing {
    let (mut offset, mut scale, mut turn_deg) = (held.offset, held.scale, held.turn_deg);
    if held.corner {
        let center = middle + held.offset;
        let (before, after) = (held.from - center, now - center);
        if before.length() > 1.0 && after.length() > 1.0 {
            scale = (held.scale * after.length() / before.length()).clamp(0.05, 20.0);
            let turned = held.turn_deg + before.angle_to(after).to_degrees();
            turn_deg = (turned + 180.0).rem_euclid(360.0) - 180.0;
        }
    } else {
        offset += now - held.from;
    }
    Placing::Similarity { offset: offset.into(), scale, turn_deg, mirror }
}

impl ClipPanel {
    /// Draws over the canvas; what the hand asks for there comes back.
    pub fn on_picture_ui(&mut self, ui: &mut Ui, rect: Rect, map: ScreenFromPicture, input: &ClipInput) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some((_, transfer)) = self.transfer(&input.work.project).map(|(i, transfer)| (i, transfer.clone())) else { return actions };
        let Some(clip) = &self.clip else { return actions };
        let tokens = theme::tokens(ui);
        let lying = ClipMap::new(&transfer.placing, transfer.clip_size, input.picture);
        let painter = ui.painter().with_clip_rect(rect.intersect(map.picture_rect(input.picture)).intersect(ui.clip_rect()));
        if let (Some((landed, motion)), Some(tracked)) = (&clip.landed, &clip.tracked)
            && landed.same_clip_motion(&transfer)
        {
            let rest: Vec<Vec2> = motion.rest().iter().map(|place| lying.place(*place)).collect();
            let ways = TAIL.map(|back| {
                let (time, closed) = transfer.clip_time((input.playhead - back).max(0.0));
                motion.places(time, closed)
            });
            for (i, track) in motion.tracks.iter().enumerate() {
                let way = ways.each_ref().map(|places| map.screen(rest[i] + (lying.place(places[i]) - rest[i]) * transfer.strength));
                let quality = tracked.quality.get(*track as usize).copied().unwrap_or(0.0);
                preview::track(&painter, &way, preview::quality_color(tokens, quality).gamma_multiply(0.4 + 0.6 * motion.trust[i]));
            }
        }
        if let Placing::Pairs(pairs) = &transfer.placing {
            for (i, (_, to)) in pairs.iter().enumerate() {
                flag(&painter, map.screen((*to).into()), tokens, i + 1);
            }
        }
        if !self.takes_picture() {
            return actions;
        }
        // An area of its own: what lies under it, the canvas, leaves the pointer alone.
        let area = Area::new(Id::unique("clip on the picture")).order(Order::Middle).fixed_pos(rect.min).constrain(false);
        area.show(ui.ctx(), |ui| {
            let (_, response) = ui.allocate_exact_size(rect.size(), Sense::click_and_drag());
            response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, texts::ON_PICTURE));
            let painter = ui.painter().with_clip_rect(rect);
            let pointer = ui.input(|input| input.pointer.latest_pos());
            if let Mode::Pair(Some(from)) = self.mode {
                if let Some(at) = response.interact_pointer_pos().filter(|_| response.clicked()) {
                    actions.extend(self.pair(input, from, map.picture(at).into()));
                    self.mode = Mode::Pair(None);
                }
                return;
            }
            let Placing::Similarity { offset, scale, turn_deg, mirror } = transfer.placing else { return };
            let (width, height) = (transfer.clip_size.0 as f32, transfer.clip_size.1 as f32);
            let corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)].map(|(x, y)| map.screen(lying.place(Vec2::new(x, y))));
            for i in 0..4 {
                painter.line_segment([corners[i], corners[(i + 1) % 4]], Line::new(1.5, tokens.accent));
                painter.circle(corners[i], 6.0, tokens.accent, Line::new(1.5, tokens.on_accent));
            }
            if response.drag_started()
                && let Some(press) = ui.input(|input| input.pointer.press_origin())
            {
                let corner = corners.iter().any(|corner| corner.distance(press) < CORNER);
                self.gestures += 1;
                self.held = Some(Held { corner, from: map.picture(press), offset: offset.into(), scale, turn_deg });
            }
            if let (Some(held), Some(now)) = (self.held, pointer) {
                let middle = Vec2::new(input.picture.0 as f32, input.picture.1 as f32) * 0.5;
                let now = placed(&held, map.picture(now), middle, mirror);
                if now != transfer.placing {
                    actions.extend(self.change(input, texts::PLACE, self.gesture(), |transfer| transfer.placing = now));
                }
            }
            if response.drag_stopped() {
                self.held = None;
                self.gestures += 1;
            }
        });
        actions
    }

    /// A place of the clip lies on a place of the picture; the fifth pair begins anew.
    fn pair(&self, input: &ClipInput, from: (f32, f32), to: (f32, f32)) -> Option<Action> {
        self.change(input, texts::PAIR, 0, |transfer| {
            let mut pairs = match &transfer.placing {
                Placing::Pairs(pairs) if pairs.len() < PAIRS => pairs.clone(),
                _ => Vec::new(),
            };
            pairs.push((from, to));
            transfer.placing = Placing::Pairs(pairs);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corner_that_is_held_stays_under_the_hand() {
        let (clip, picture) = ((200, 100), (400, 300));
        let middle = Vec2::new(200.0, 150.0);
        let lies = |placing: &Placing| ClipMap::new(placing, clip, picture).place(Vec2::ZERO);
        let from = lies(&Placing::Similarity { offset: (10.0, -5.0), scale: 0.5, turn_deg: 20.0, mirror: false });
        let held = Held { corner: true, from, offset: Vec2::new(10.0, -5.0), scale: 0.5, turn_deg: 20.0 };
        for now in [Vec2::new(30.0, 40.0), Vec2::new(350.0, 20.0), from] {
            assert!(lies(&placed(&held, now, middle, false)).distance(now) < 0.1, "{now}");
        }
        let moved = placed(&Held { corner: false, ..held }, from + Vec2::new(7.0, 9.0), middle, false);
        assert!(lies(&moved).distance(from + Vec2::new(7.0, 9.0)) < 0.1);
    }
}
