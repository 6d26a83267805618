//! The takes as they are listed: names, small pictures, sizes on disk.
//!
//! Invariant: a take that is deleted leaves the list and the disk together; the open one cannot be deleted. Guarded by
//! `tests/tests/studio.rs`.

use std::collections::BTreeMap;

use eframe::egui::{ColorImage, TextureHandle, TextureOptions};
use kinebrush_engine::stream::live::LiveFrame;

use super::takes::TakeItem;
use super::*;

/// Longer side of a small picture, px: a card at 200 %.
const THUMBNAIL_PX: usize = 280;
/// A take that is longer than this shows a frame in which something has happened.
const TELLING: usize = 24;

/// What is known of takes beside their frames.
#[derive(Default)]
pub(super) struct Shelf {
    names: BTreeMap<u64, String>,
    /// A small picture, and the frame it shows.
    thumbnails: BTreeMap<u64, (usize, TextureHandle)>,
    /// Bytes on disk, and the frames there were when they were counted.
    bytes: BTreeMap<u64, (usize, u64)>,
}

impl Studio {
    /// The takes, oldest first.
    pub(super) fn take_items(&mut self, ctx: &egui::Context) -> Vec<TakeItem> {
        let open = (self.player.state != State::Idle).then(|| self.player.takes().keys().next_back().copied()).flatten();
        let Self { shelf, player, .. } = self;
        let strings = Strings::of(self.settings.language);
        let item = |(id, take): (&u64, &player::TakeFrames)| {
            let wanted = if take.end > TELLING { TELLING } else { take.end.min(1).saturating_sub(1) };
            let shown = shelf.thumbnails.get(id).map(|(frame, _)| *frame);
            if shown != Some(wanted)
                && let Some(frame) = take.held(wanted)
            {
                let picture = thumbnail(frame);
                shelf.thumbnails.insert(*id, (wanted, ctx.load_texture(format!("take {id}"), picture, TextureOptions::LINEAR)));
            }
            let counted = shelf.bytes.entry(*id).or_insert((usize::MAX, 0));
            if counted.0 != take.end {
                *counted = (take.end, take.path.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |m| m.len()));
            }
            TakeItem {
                id: *id,
                name: shelf.names.get(id).cloned().unwrap_or_else(|| (strings.bar.take)(*id)),
                frames: take.end,
                seconds: take.end as f64 / f64::from(player::FPS),
                parent: take.parent,
                thumbnail: shelf.thumbnails.get(id).map(|(_, texture)| texture.clone()),
                bytes: counted.1,
                open: open == Some(*id),
            }
        };
        player.takes().iter().map(item).collect()
    }

    /// Calls a take something else.
    pub(super) fn name_take(&mut self, take: u64, name: String) {
        self.shelf.names.insert(take, name);
    }

    /// Throws a take away.
    pub(super) fn delete_take(&mut self, take: u64) {
        if let Some(path) = self.player.takes().get(&take).and_then(|take| take.path.clone())
            && let Err(error) = Takes::new(self.folders.takes()).delete(&path)
        {
            self.toasts.warning(error.to_string());
            return;
        }
        self.player.forget(take);
        self.shelf.thumbnails.remove(&take);
    }
}

/// A small picture of a frame.
fn thumbnail(frame: &LiveFrame) -> ColorImage {
    let layers = &frame.layers;
    let scale = THUMBNAIL_PX as f32 / layers.width.max(layers.height) as f32;
    let side = |length: usize| ((length as f32 * scale).round() as usize).max(1);
    let picture = layers.guide(&frame.motion, side(layers.width), side(layers.height)).rgb;
    let bytes: Vec<u8> = picture.data.iter().flatten().map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect();
    ColorImage::from_rgb([picture.width, picture.height], &bytes)
}
