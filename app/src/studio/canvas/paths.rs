//! What lies under the pointer: keys, handles, paths, pins and layers. Invariant: what is drawn in front is found first. Guarded by the
//! canvas's tests.

use eframe::egui::Pos2;
use glam::Vec2;
use kinebrush_engine::motion::outline::winding;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::track_field::PointState;

use super::brush::Use;
use super::view::ScreenFromPicture;
use super::{Canvas, Env};
use crate::studio::document::Selection;

/// From this weight on a soft layer is taken as a whole; nearer to its border the plate is.
const SOFT_TAKES: f32 = 0.5;

/// What a hand would take hold of.
#[derive(Clone, Debug, PartialEq)]
pub struct Grip {
    /// The region.
    pub region: Region,
    /// Whether it has a layer of its own.
    pub on_object: bool,
    /// The place's source, picture px.
    pub source: Vec2,
}

impl Canvas {
    /// What a hand at `place` (picture px) takes at the frame that is shown; None where a pin is, and beside the picture.
    pub(super) fn grip(&mut self, env: &Env<'_>, place: Vec2) -> Option<Grip> {
        if self.pin_at(env, place).is_some() {
            return None;
        }
        let mut source = place;
        if let Some(compiled) = env.compiled {
            let frame = env.whole_frame();
            let (object, live) = compiled.scene.pick(place * compiled.scale, frame);
            source = live / compiled.scale;
            if let Some(object) = object {
                if compiled.scene.layer_state(object + 1, frame) == PointState::Pinned {
                    return None;
                }
                let whole = !compiled.scene.is_soft(object) || compiled.scene.regions[object].bilinear(live.x, live.y) >= SOFT_TAKES;
                if whole {
                    return Some(Grip { region: compiled.scene.outlines[object].clone(), on_object: true, source });
                }
            }
        }
        if let Some(marked) = &env.work.region
            && self.contains(env, marked, source)
        {
            return Some(Grip { region: marked.clone(), on_object: false, source });
        }
        self.disc(env, place, source).map(|region| Grip { region, on_object: false, source })
    }

    /// The brush set down once on the picture.
    fn disc(&self, env: &Env<'_>, place: Vec2, source: Vec2) -> Option<Region> {
        let brush = self.brushes[Use::Grab as usize];
        let region = Region::Disc { center: source.into(), radius: brush.radius_px, softness: brush.softness };
        let size = Vec2::new(env.picture.0 as f32, env.picture.1 as f32);
        let on_picture = place.cmpge(Vec2::ZERO).all() && place.cmple(size).all();
        (on_picture && region.validate("region", env.picture).is_ok()).then_some(region)
    }

    /// What a path that begins at `place` moves: what is marked, else what lies there.
    pub(super) fn path_target(&mut self, env: &Env<'_>, place: Vec2) -> Option<Region> {
        match &env.work.region {
            Some(marked) => Some(marked.clone()),
            None => self.grip(env, place).map(|grip| grip.region).or_else(|| self.disc(env, place, place)),
        }
    }

    /// Whether `place` (picture px) lies in the outline of `region`.
    pub(super) fn contains(&mut self, env: &Env<'_>, region: &Region, place: Vec2) -> bool {
        winding(&self.shapes.rings(region, env.picture, env.compiled), place) != 0
    }

    /// The front pin at `place`; the one over everything else is none.
    pub(super) fn pin_at(&mut self, env: &Env<'_>, place: Vec2) -> Option<usize> {
        let pins = &env.work.project.pins;
        (0..pins.len()).rev().find(|pin| pins[*pin] != Region::All && self.contains(env, &pins[*pin], place))
    }

    /// The front path under the pointer.
    pub(super) fn path_at(&mut self, env: &Env<'_>, pointer: Pos2, map: &ScreenFromPicture) -> Option<usize> {
        let strokes = &env.work.project.strokes;
        (0..strokes.len())
            .rev()
            .find(|stroke| self.shapes.path(&strokes[*stroke]).hit(pointer, env.reach, |place| map.screen(place)).is_some())
    }

    /// What a click selects.
    pub(super) fn selectable_at(&mut self, env: &Env<'_>, pointer: Pos2, map: &ScreenFromPicture) -> Selection {
        if let Some(stroke) = self.path_at(env, pointer, map) {
            return Selection::Stroke(stroke);
        }
        self.pin_at(env, map.picture(pointer)).map_or(Selection::None, Selection::Pin)
    }

    /// The key or handle of the selected stroke under the pointer: the key, and for a handle the side of it.
    pub(super) fn key_at(&self, env: &Env<'_>, pointer: Pos2, map: &ScreenFromPicture) -> Option<(usize, Option<f32>)> {
        let Selection::Stroke(index) = env.selection else { return None };
        let stroke = env.work.project.strokes.get(index)?;
        let key_place = |key: usize| stroke.path.get(key).map(|key| key.place);
        let handles = stroke.handles.iter().flat_map(|(key, x, y)| {
            let ends = [1.0, -1.0].map(|side| key_place(*key).map(|place| (*key, Some(side), place + Vec2::new(*x, *y) * side)));
            ends.into_iter().flatten()
        });
        let keys = stroke.path.iter().enumerate().map(|(i, key)| (i, None, key.place));
        let near = |list: &mut dyn Iterator<Item = (usize, Option<f32>, Vec2)>| {
            list.map(|(key, side, place)| (map.screen(place).distance(pointer), key, side))
                .filter(|(distance, ..)| *distance <= env.reach)
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, key, side)| (key, side))
        };
        near(&mut handles.into_iter()).or_else(|| near(&mut keys.into_iter()))
    }
}
