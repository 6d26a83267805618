//! The picture's depth at a small size, worked out on a thread of its own: for the view in space, for distances that a hand needs, and to be
//! shown over the picture.
//!
//! Invariant: the thread that draws never waits for it; what is shown is the newest answer, and one question is under way at most. Guarded by
//! the tests below.

use std::sync::{Arc, Weak};

use eframe::egui::{Color32, ColorImage, Context, TextureHandle, TextureOptions};
use glam::{Vec2, Vec3};
use kinebrush_engine::Result;
use kinebrush_engine::motion::camera::{CameraPath, Lens, View};
use kinebrush_engine::motion::depth::{DepthMap, DepthSource, SceneShape};
use kinebrush_engine::motion::region::Placement;
use kinebrush_engine::picture::Picture;

use super::CameraInput;
use crate::studio::document::job::{Job, Wake};
use crate::studio::theme::Tokens;

/// Longer side of the small picture, px: fine enough to judge a fit by.
const SIDE: usize = 320;
/// Distance where nothing says another one, world units.
const USUAL: f32 = 4.0;

/// How the depth is shown over the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shade {
    /// Not at all.
    #[default]
    Off,
    /// Near is white.
    Grey,
    /// Near is warm.
    Colour,
}

/// What was worked out.
#[derive(Debug)]
pub struct Surveyed {
    /// Inverse depth of the small picture's pixels.
    pub depth: DepthMap,
    /// The small picture.
    pub picture: Picture,
    /// Its px per px of the picture.
    pub scale: Vec2,
    /// How the picture lies in the small one.
    placement: Placement,
    /// The lens, px of the picture.
    pub lens: Lens,
    /// Median distance, world units.
    pub median: f32,
    /// What is to be known of it.
    pub notes: Vec<String>,
}

/// What an answer depends on.
#[derive(Clone, Debug)]
struct Question {
    picture: Weak<Picture>,
    depth: DepthSource,
    lens: Lens,
}

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.picture, &other.picture) && self.depth == other.depth && self.lens == other.lens
    }
}

/// A way through a depth, and its length in frames.
#[derive(Debug)]
struct Way {
    path: CameraPath,
    through: Weak<Surveyed>,
    frames: usize,
}

impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        self.frames == other.frames && Weak::ptr_eq(&self.through, &other.through) && self.path == other.path
    }
}

/// The newest answer, and the question under way.
#[derive(Default)]
pub struct Survey {
    known: Option<(Question, std::result::Result<Arc<Surveyed>, String>)>,
    /// The last one that came to something; it stays in sight while another is under way.
    last: Option<Arc<Surveyed>>,
    asked: Option<(Question, Job<Surveyed>)>,
    /// What is to be known of a way, and the way that is being looked through.
    warned: Option<(Way, Vec<String>)>,
    warning: Option<(Way, Job<Vec<String>>)>,
    texture: Option<(Shade, bool, Weak<Surveyed>, TextureHandle)>,
}

impl Survey {
    /// Takes in an answer, and asks anew where picture, source or lens are others.
    pub fn look(&mut self, input: &CameraInput<'_>, path: &CameraPath, wake: &Wake) {
        let size = (input.picture.width, input.picture.height);
        let question = Question { picture: Arc::downgrade(input.picture), depth: path.depth.clone(), lens: path.lens(size) };
        if let Some((_, job)) = &self.asked
            && let Some(answer) = job.poll()
            && let Some((asked, _)) = self.asked.take()
        {
            let answer = answer.map(Arc::new).map_err(|error| error.to_string());
            if let Ok(surveyed) = &answer {
                self.last = Some(surveyed.clone());
            }
            self.known = Some((asked, answer));
        }
        let is_known = self.known.as_ref().is_some_and(|(known, _)| *known == question);
        if !is_known && self.asked.is_none() {
            if self.known.as_ref().is_none_or(|(known, _)| !Weak::ptr_eq(&known.picture, &question.picture)) {
                self.last = None;
            }
            let (picture, folder) = (input.picture.clone(), input.work.project.folder().to_owned());
            let (depth, lens) = (question.depth.clone(), question.lens);
            let job = Job::start("kinebrush-depth", wake.clone(), move || survey(&picture, &depth, &lens, &folder));
            self.asked = Some((question, job));
        }
        self.look_through(path, input.work.project.frames, wake);
    }

    /// Looks through the way for what the artist should know, unless it was looked through already.
    fn look_through(&mut self, path: &CameraPath, frames: usize, wake: &Wake) {
        if let Some((_, job)) = &self.warning
            && let Some(answer) = job.poll()
            && let Some((way, _)) = self.warning.take()
        {
            // A way that cannot be looked through has no warnings; it is drawn all the same.
            self.warned = Some((way, answer.unwrap_or_default()));
        }
        let Some(surveyed) = self.last.as_ref().filter(|_| self.warning.is_none()) else { return };
        let way = Way { path: path.clone(), through: Arc::downgrade(surveyed), frames };
        if self.warned.as_ref().is_none_or(|(known, _)| *known != way) {
            let (path, surveyed) = (path.clone(), surveyed.clone());
            let look = move || Ok(path.warnings(&surveyed.depth, &surveyed.placement, frames));
            self.warning = Some((way, Job::start("kinebrush-warnings", wake.clone(), look)));
        }
    }

    /// What is to be known of the way, perhaps as it was a moment ago.
    pub fn warnings(&self) -> &[String] {
        self.warned.as_ref().map_or(&[], |(_, warnings)| warnings)
    }

    /// What is known, perhaps of a state a moment ago.
    pub fn get(&self) -> Option<&Arc<Surveyed>> {
        self.last.as_ref()
    }

    /// Why there is nothing.
    pub fn error(&self) -> Option<&str> {
        self.known.as_ref().and_then(|(_, answer)| answer.as_ref().err().map(String::as_str))
    }

    /// Whether an answer is awaited.
    pub fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// How far the picture is, about; the median once it is known.
    pub fn distance(&self, path: &CameraPath) -> f32 {
        self.last.as_ref().map_or_else(|| rough(&path.depth), |surveyed| surveyed.median)
    }

    /// The depth as a picture, made anew only when it is another one.
    pub fn texture(&mut self, ctx: &Context, shade: Shade, dark: bool) -> Option<&TextureHandle> {
        let surveyed = self.last.as_ref()?;
        let of = Arc::downgrade(surveyed);
        if self.texture.as_ref().is_none_or(|(as_, on, known, _)| *as_ != shade || *on != dark || !Weak::ptr_eq(known, &of)) {
            let image = shaded(&surveyed.depth, shade, Tokens::of(dark));
            let handle = ctx.load_texture("camera depth", image, TextureOptions::LINEAR);
            self.texture = Some((shade, dark, of, handle));
        }
        self.texture.as_ref().map(|texture| &texture.3)
    }
}

impl Surveyed {
    /// Inverse depth at a place of the picture, px.
    pub fn inverse(&self, place: Vec2) -> f32 {
        let at = place * self.scale;
        let inverse = &self.depth.inverse;
        // The nearest pixel: between two surfaces there is nothing.
        inverse.clamped(at.x.floor() as isize, at.y.floor() as isize)
    }

    /// The world's point that is seen at `place` of the frame (px of the picture) through `view`: the nearest surface there.
    pub fn point_at(&self, place: Vec2, view: Option<&View>, far: f32) -> Option<Vec3> {
        let world = |source: Vec2, inverse: f32| self.lens.direction(source) / inverse.max(far.recip());
        let Some(view) = view else { return Some(world(place, self.inverse(place))) };
        let inverse = &self.depth.inverse;
        // Of all pixels that are seen about there, the nearest one.
        let reach = (2.0 / self.scale.min_element()).powi(2);
        let mut found: Option<(f32, Vec3)> = None;
        for y in 0..inverse.height {
            for x in 0..inverse.width {
                let source = Vec2::new(x as f32 + 0.5, y as f32 + 0.5) / self.scale;
                let w = inverse.at(x, y);
                if let Some((seen, near)) = view.project(source, w)
                    && seen.distance_squared(place) <= reach
                    && found.is_none_or(|(best, _)| near > best)
                {
                    found = Some((near, world(source, w)));
                }
            }
        }
        found.map(|(_, point)| point)
    }
}

/// A distance that a source names.
fn rough(source: &DepthSource) -> f32 {
    let distance = match source {
        DepthSource::Shape(SceneShape::Backdrop { distance }) => *distance,
        DepthSource::Shape(SceneShape::Ground { height, .. }) => height * 3.0,
        DepthSource::Shape(SceneShape::Room { depth, .. }) => *depth,
        DepthSource::Painted { far, near, .. } => (far * near).sqrt(),
        DepthSource::File { .. } => USUAL,
    };
    if distance.is_finite() && distance > 0.0 { distance } else { USUAL }
}

fn survey(picture: &Picture, source: &DepthSource, lens: &Lens, folder: &std::path::Path) -> Result<Surveyed> {
    let shrink = (SIDE as f32 / picture.width.max(picture.height) as f32).min(1.0);
    let side = |px: usize| ((px as f32 * shrink).round() as usize).max(2);
    let small = picture.resized(side(picture.width), side(picture.height));
    let placement = Placement::stretch((picture.width, picture.height), (small.width, small.height));
    let (depth, notes) = source.map(&small, &placement, folder, lens)?;
    let mut near: Vec<f32> = depth.inverse.data.iter().copied().filter(|inverse| *inverse > 0.0).collect();
    let middle = near.len() / 2;
    let median = if near.is_empty() { USUAL } else { near.select_nth_unstable_by(middle, f32::total_cmp).1.recip() };
    Ok(Surveyed { depth, picture: small, scale: placement.scale, placement, lens: *lens, median, notes })
}

/// The depth between its own nearest and farthest, which are taken without the last hundredths.
fn shaded(depth: &DepthMap, shade: Shade, tokens: &Tokens) -> ColorImage {
    let inverse = &depth.inverse;
    let mut sorted = inverse.data.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let part = |p: f32| sorted.get((p * sorted.len().saturating_sub(1) as f32) as usize).copied().unwrap_or(0.0);
    let (far, near) = (part(0.01), part(0.99));
    let range = near - far;
    let colour = |inverse: &f32| {
        let t = if range > 1e-9 { ((inverse - far) / range).clamp(0.0, 1.0) } else { 0.5 };
        ramp(t, shade, tokens)
    };
    ColorImage::new([inverse.width, inverse.height], inverse.data.iter().map(colour).collect())
}

/// Far 0 to near 1.
pub fn ramp(t: f32, shade: Shade, tokens: &Tokens) -> Color32 {
    match shade {
        Shade::Colour if t < 0.5 => tokens.path.lerp_to_gamma(tokens.driven, t * 2.0),
        Shade::Colour => tokens.driven.lerp_to_gamma(tokens.accent, t * 2.0 - 1.0),
        _ => Color32::BLACK.lerp_to_gamma(Color32::WHITE, t),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use kinebrush_engine::motion::camera::Camera;

    fn ground() -> Surveyed {
        let picture = Picture::filled(800, 600, [0.5; 3]);
        let source = DepthSource::Shape(SceneShape::Ground { horizon: (240.0, 240.0), height: 1.5, far: 40.0 });
        let lens = Lens::from_fov(800.0, 600.0, 50.0);
        survey(&picture, &source, &lens, std::path::Path::new(".")).unwrap()
    }

    #[test]
    fn the_small_picture_has_the_depth_of_the_large_one() {
        let surveyed = ground();
        assert_eq!((surveyed.picture.width, surveyed.picture.height), (320, 240));
        let (near, far) = (surveyed.inverse(Vec2::new(400.0, 590.0)), surveyed.inverse(Vec2::new(400.0, 300.0)));
        assert!(near > 2.0 * far && far > 0.0, "{near} {far}");
        assert!(surveyed.median > 1.5 && surveyed.median <= 40.1, "{}", surveyed.median);
        let image = shaded(&surveyed.depth, Shade::Grey, Tokens::of(true));
        assert!(image.pixels[239 * 320 + 160].r() > 200 && image.pixels[160].r() < 30, "near is white");
    }

    #[test]
    fn a_point_that_is_clicked_is_where_the_camera_sees_it() {
        let surveyed = ground();
        let place = Vec2::new(420.0, 500.0);
        let rest = surveyed.point_at(place, None, 100.0).unwrap();
        assert!((rest.z - surveyed.inverse(place).recip()).abs() < 1e-3);
        let camera = Camera { position: Vec3::new(0.4, -0.2, 0.3), ..Camera::at_rest(surveyed.lens) };
        let view = View::new(&surveyed.lens, &camera);
        let (seen, _) = view.project(place, surveyed.inverse(place)).unwrap();
        let found = surveyed.point_at(seen, Some(&view), 100.0).unwrap();
        assert!(found.distance(rest) < 0.15, "{found} {rest}");
        assert!(surveyed.point_at(Vec2::new(-9e4, 0.0), Some(&view), 100.0).is_none());
    }
}
