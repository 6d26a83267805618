//! Everything that is known of a point brought together: its first sight, the plate, what its neighbours agree on, how it went on by itself.
//!
//! Invariant: a visible point looks like its first sight, or like a later one that agreed with it; a hidden one is where the plate or
//! its neighbours have it. Guarded by the tests of this folder.

use glam::{Affine2, Mat2, Vec2};

use super::block::{Bells, Light, Prior};
use super::follow::Followed;
use super::neighbours::{Consensus, Voices, consensus};
use super::point::{Cut, Point, TEXTURED};
use super::pyramid::Pyramid;

/// A visible point whose misfit grows beyond this is hidden.
const LOST: f32 = 2.6;
/// A hidden point is seen again if its misfit falls below this.
const FOUND: f32 = 1.7;
/// Stiffness of a neighbourhood's shape against change within a frame, px^2.
const STIFFNESS: f32 = 12.0;
/// Say of a neighbour whose own place is wholly undetermined, against that of one well determined, off the plate and on it: there, what
/// surrounds a point on all sides weighs more than the one moving thing beside it that has texture.
const FLOOR: (f32, f32) = (0.15, 1.0);
/// Deviation of a member from the plate at the least, px^2.
const EXACT: f32 = 0.003;
/// How much rather a point is believed to be with the plate if it is seen there.
const FAVOUR: f32 = 2.0;
/// Say of the plate about a place that has nothing of its own to be followed by: as ten neighbours at its side.
const WITH_PLATE: f32 = 10.0;

/// What one frame made of a point.
pub(super) struct Outcome {
    pub place: Vec2,
    pub shape: Mat2,
    pub light: Light,
    pub misfit: f32,
    pub certainty: f32,
    pub visible: bool,
    pub quality: f32,
    /// How much brighter than at first sight it is, if it is seen, luma.
    pub shift: Option<f32>,
    /// Templates that were cut for it, of the first and of the later sight.
    pub cuts: [Option<Cut>; 2],
    /// Whether it is well seen, and the plate's place shows something else.
    pub elsewhere: bool,
}

/// A frame, and what is known of it.
pub(super) struct Scene<'a> {
    pub now: &'a Pyramid,
    /// Where every point was followed to.
    pub followed: &'a [Option<Followed>],
    /// From the plate, and how far its points are off it, px.
    pub plate: Affine2,
    pub spread: f32,
    /// Whether each point is part of the plate, 0..1.
    pub members: &'a [f32],
    pub bells: &'a Bells,
}

/// The point in a frame.
pub(super) fn settle(point: &Point, own: Option<Followed>, scene: &Scene) -> Outcome {
    let mut voices = Voices::default();
    // What the neighbourhood may be doing: as the point itself, or as its neighbours one by one.
    let mut by_say: Vec<(f32, Vec2)> = Vec::with_capacity(point.neighbours.len() + 1);
    // How much of what the neighbours say rests on something to be seen.
    let mut sure = 0.0;
    let mut hear = |from: Vec2, place: Vec2, say: f32| {
        voices.push(from, place, say);
        by_say.push((say, place - point.shape * from));
    };
    let belongs = point.member.belongs;
    let floor = FLOOR.0 + (FLOOR.1 - FLOOR.0) * belongs;
    for neighbour in &point.neighbours {
        if let Some(heard) = scene.followed[neighbour.index] {
            let akin = 1.0 - 0.9 * (belongs - scene.members[neighbour.index]).abs();
            sure += akin * neighbour.say() * heard.certainty;
            hear(neighbour.from, heard.place, akin * neighbour.say() * (heard.certainty + floor));
        }
    }
    // What has nothing of its own to be followed by goes with the plate, unless it is seen to be part of something else.
    let flat = belongs * (1.0 - 10.0 * own.map_or(1.0, |own| own.certainty)).max(0.0);
    let on = point.place + point.velocity;
    let (with_plate, plate_shape) = (scene.plate.transform_point2(point.member.home), scene.plate.matrix2 * point.member.shape);
    // Zoomed into for very long, the plate is lost in rounding.
    let sound = with_plate.is_finite() && plate_shape.is_finite();
    let (with_plate, plate_shape) = if sound { (with_plate, plate_shape) } else { (on, point.shape) };
    hear(Vec2::ZERO, on + (with_plate - on) * flat, if point.visible { 0.05 + WITH_PLATE * flat } else { 0.01 });
    by_say.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let starts = own
        .map(|own| own.place)
        .into_iter()
        .chain([if flat > 0.5 { with_plate } else { on }])
        .chain(by_say.iter().take(4).map(|(_, at)| *at));
    let variance = scene.spread * scene.spread;
    // The plate comes first: what others agree on near it is the same.
    let mut options = vec![Consensus {
        place: with_plate,
        shape: plate_shape,
        spread: scene.spread,
        support: belongs / (1.0 + 4.0 * variance) * voices.total.max(0.01),
        precision: 0.5 / (variance + EXACT),
    }];
    for start in starts {
        if options.len() < 4
            && let Some(found) = consensus(&voices, start, point.shape, STIFFNESS)
            && options.iter().all(|other| (other.place - found.place).length() > 0.6)
        {
            options.push(found);
        }
    }
    if let Some(own) = own
        && own.certainty > 0.2
        && options.iter().all(|agreed| (agreed.place - own.place).length() > 1.0)
    {
        // It goes its own way.
        options.push(Consensus::alone(own.place, point.shape));
    }
    let mut cuts = [None, None];
    let mut best: Option<(f32, Outcome)> = None;
    let mut seen_with_plate = true;
    for (k, agreed) in options.into_iter().enumerate() {
        let outcome = judge(point, &agreed, scene, sure, &mut cuts);
        // Whoever disagrees with everybody must look clearly better.
        let mut share = agreed.support / voices.total.max(0.01);
        if k == 0 {
            seen_with_plate = outcome.visible;
            share *= if outcome.visible { FAVOUR } else { 1.0 };
        }
        let sudden = (agreed.place - point.place - point.velocity).length_squared();
        let misfit = if outcome.visible { outcome.misfit } else { LOST };
        let price = misfit.powi(2) - 4.0 * share.clamp(0.003, FAVOUR).ln() + 0.7 * (1.0 + 0.25 * sudden).ln();
        if best.as_ref().is_none_or(|(least, _)| price < *least) {
            best = Some((price, outcome));
        }
    }
    let mut outcome = match best {
        Some((_, outcome)) => outcome,
        None => judge(point, &Consensus::alone(point.place, point.shape), scene, sure, &mut cuts),
    };
    outcome.cuts = cuts;
    outcome.elsewhere = !seen_with_plate && outcome.visible && outcome.misfit < FOUND;
    outcome
}

/// The point registered against its sights, with what the neighbours agree on as prior.
fn judge(point: &Point, agreed: &Consensus, scene: &Scene, sure: f32, cuts: &mut [Option<Cut>; 2]) -> Outcome {
    let Scene { now, bells, .. } = scene;
    let alone = agreed.is_alone();
    let variance = agreed.spread * agreed.spread + 0.1 + if point.visible { 0.0 } else { 0.5 };
    // What is hidden may be farther away.
    let precision = if point.visible { agreed.precision } else { agreed.precision / (1.0 + agreed.precision) };
    let prior = Prior { place: agreed.place, precision };
    let shape = agreed.shape;
    let (mut place, mut light, mut misfit, mut information, mut shift) = (agreed.place, point.light, 9.0, 0.0, None);
    for (appearance, cut) in std::iter::once(&point.first).chain(&point.later).zip(cuts) {
        // What is hidden may be farther away.
        let mut near = agreed.place;
        if !point.visible && appearance.sight.sizes() > 1 {
            let coarse = appearance.sight.template(appearance.at, shape * appearance.shape.inverse(), 1, bells);
            let prior = Prior { place: prior.place * 0.5, precision: 4.0 * prior.precision };
            let fit = coarse.zip(now.levels.get(1)).and_then(|(t, level)| t.find(level, near * 0.5, Some(prior), point.light, 6, bells));
            near = fit.map_or(near, |fit| fit.place * 2.0);
        }
        let Some((of, template)) = appearance.template(shape, cut.take(), bells) else { continue };
        let before = point.light.since(appearance.light);
        let fit = template.find(&now.levels[0], near, Some(prior), before, 8, bells);
        *cut = Some((of, template));
        // The first sight is believed unless the later one is clearly better.
        if let Some(fit) = fit.filter(|fit| fit.misfit < 0.75 * misfit) {
            (place, misfit, information) = (fit.place, fit.misfit, fit.information);
            light = fit.light.after(appearance.light);
            shift = std::ptr::eq(appearance, &point.first).then_some(fit.shift);
        }
        if misfit < 1.5 {
            break;
        }
    }
    let size = Vec2::new(now.levels[0].width as f32, now.levels[0].height as f32);
    let inside = place.cmpge(Vec2::ZERO).all() && place.cmplt(size).all();
    let limit = if point.visible { LOST } else { FOUND };
    let near_enough = point.visible || (place - agreed.place).length() < 2.0 + 2.0 * agreed.spread;
    let known = information > 4.0 || !alone || point.visible;
    let visible = misfit < limit && inside && near_enough && known;
    if !visible {
        (place, light) = (agreed.place, point.light);
    }
    let supported = if alone { 0.0 } else { 0.5 / (1.0 + 4.0 * variance) * sure / (sure + 1.0) };
    let determined = information / (information + TEXTURED);
    let (mut certainty, mut quality) = (0.0, 0.0);
    if visible {
        certainty = determined / (1.0 + (0.5 * misfit).powi(4));
        quality = (determined + (1.0 - determined) * supported) / (1.0 + (0.4 * misfit).powi(4));
    }
    Outcome {
        place,
        shape,
        light,
        misfit,
        certainty,
        visible,
        quality,
        shift: shift.filter(|_| visible),
        cuts: [None, None],
        elsewhere: false,
    }
}
