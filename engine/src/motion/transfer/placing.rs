//! Where a clip lies on the picture: px of the clip to px of the picture.
//!
//! Invariant: what pairs say is met exactly (up to 4 of them), and a map never turns a part of the clip inside out: pairs that ask for
//! it are met as well as a similarity can, which is said. Guarded by the tests below.

use glam::{Affine2, Mat2, Vec2};

use super::Placing;
use super::linear::solve;
use crate::{Error, Result};

/// Most pairs.
const MAX_PAIRS: usize = 64;
/// Nearer than this on the clip (px) two pairs say two things of one place.
const LEAST_APART_PX: f32 = 1.0;
/// Points of which the thinner spread is less than this share of the wider one lie on a line.
const LEAST_WIDTH: f32 = 0.02;
/// Places along each side of the clip at which a spline is looked at for folds.
const LOOKS: usize = 17;

/// The map from px of a clip to px of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipMap {
    affine: Affine2,
    spline: Option<Spline>,
    note: Option<&'static str>,
}

/// What a thin-plate spline adds to an affine map (Bookstein 1989).
#[derive(Clone, Debug, PartialEq)]
struct Spline {
    /// Where it is anchored, px of the clip ...
    knots: Vec<Vec2>,
    /// ... and how strongly it pulls there, px of the picture.
    pulls: Vec<Vec2>,
    /// Px of the clip that count as 1, so that the numbers stay small.
    unit_px: f32,
}

impl Placing {
    /// Checks every value; `field` is the transfer's own name, `clip` and `picture` are sizes in px.
    ///
    /// # Errors
    /// The first value that is not usable, by name.
    pub fn validate(&self, field: &str, picture: (usize, usize)) -> Result<()> {
        match self {
            Self::Similarity { offset, scale, turn_deg, .. } => {
                crate::motion::region::check_place(
                    &format!("{field}.offset"),
                    Vec2::from(*offset) + Vec2::new(picture.0 as f32, picture.1 as f32) * 0.5,
                    picture,
                )?;
                if !(0.01..=100.0).contains(scale) {
                    return Err(Error::field(format!("{field}.scale"), format!("is {scale}; it must lie between 0.01 and 100")));
                }
                if !(-36_000.0..=36_000.0).contains(turn_deg) {
                    return Err(Error::field(format!("{field}.turn_deg"), format!("is {turn_deg}; it must lie between -36000 and 36000")));
                }
            }
            Self::Pairs(pairs) => {
                if pairs.len() > MAX_PAIRS {
                    return Err(Error::field(field, format!("has {} pairs; at most {MAX_PAIRS} are allowed", pairs.len())));
                }
                for (i, (from, to)) in pairs.iter().enumerate() {
                    let from = Vec2::from(*from);
                    if !from.is_finite() || from.abs().max_element() > 1e6 {
                        return Err(Error::field(format!("{field}[{i}]"), format!("lies at {from} of the clip; set it again")));
                    }
                    crate::motion::region::check_place(&format!("{field}[{i}]"), Vec2::from(*to), picture)?;
                    let twin = pairs[..i].iter().position(|(other, _)| Vec2::from(*other).distance(from) < LEAST_APART_PX);
                    if let Some(twin) = twin {
                        let what = format!("begins where pair {twin} does on the clip; move it away or remove it");
                        return Err(Error::field(format!("{field}[{i}]"), what));
                    }
                }
            }
        }
        Ok(())
    }
}

impl ClipMap {
    /// The map of a valid `placing` for a clip and a picture of these sizes, px.
    pub fn new(placing: &Placing, clip: (usize, usize), picture: (usize, usize)) -> Self {
        let size = |(width, height): (usize, usize)| Vec2::new(width as f32, height as f32);
        let (clip, picture) = (size(clip), size(picture));
        let cover = (picture / clip).max_element();
        let plain = |affine| Self { affine, spline: None, note: None };
        match placing {
            Placing::Similarity { offset, scale, turn_deg, mirror } => {
                let scale = Vec2::new(if *mirror { -1.0 } else { 1.0 }, 1.0) * (cover * scale);
                let turned = Affine2::from_mat2(Mat2::from_angle(turn_deg.to_radians()) * Mat2::from_diagonal(scale));
                plain(Affine2::from_translation(picture * 0.5 + Vec2::from(*offset)) * turned * Affine2::from_translation(clip * -0.5))
            }
            Placing::Pairs(pairs) => {
                let (from, to): (Vec<Vec2>, Vec<Vec2>) = pairs.iter().map(|(a, b)| (Vec2::from(*a), Vec2::from(*b))).unzip();
                match pairs.len() {
                    0 => Self::new(&Placing::default(), (clip.x as usize, clip.y as usize), (picture.x as usize, picture.y as usize)),
                    1 => plain(Affine2::from_scale_angle_translation(Vec2::splat(cover), 0.0, to[0] - from[0] * cover)),
                    2 => plain(similarity(&from, &to, false).0),
                    _ => Self::spline(&from, &to, clip),
                }
            }
        }
    }

    fn spline(from: &[Vec2], to: &[Vec2], clip: Vec2) -> Self {
        let fallback = |note| {
            let (straight, mirrored) = (similarity(from, to, false), similarity(from, to, true));
            Self { affine: if mirrored.1 < straight.1 { mirrored.0 } else { straight.0 }, spline: None, note: Some(note) }
        };
        if on_a_line(from) || on_a_line(to) {
            return fallback("The pairs lie on one line, so the clip is only moved, turned and scaled");
        }
        let Some(map) = thin_plate(from, to) else {
            return fallback("The pairs do not say enough, so the clip is only moved, turned and scaled");
        };
        let step = clip / (LOOKS - 1) as f32;
        let turning = |i: usize| {
            let at = Vec2::new((i % LOOKS) as f32, (i / LOOKS) as f32) * step;
            map.linear(at).determinant()
        };
        let first = turning(0);
        if !(0..LOOKS * LOOKS).all(|i| turning(i) * first > 0.0) {
            return fallback("The pairs turn the clip inside out, so it is only moved, turned and scaled");
        }
        map
    }

    /// Where a place of the clip (px) lies on the picture, px.
    pub fn place(&self, at: Vec2) -> Vec2 {
        self.affine.transform_point2(at) + self.spline.as_ref().map_or(Vec2::ZERO, |spline| spline.at(at))
    }

    /// How small ways around a place of the clip (px) lie on the picture.
    pub fn linear(&self, at: Vec2) -> Mat2 {
        if self.spline.is_none() {
            return self.affine.matrix2;
        }
        let step = 0.5;
        let slope = |axis: Vec2| (self.place(at + axis * step) - self.place(at - axis * step)) / (2.0 * step);
        Mat2::from_cols(slope(Vec2::X), slope(Vec2::Y))
    }

    /// What a person should know of it: that pairs could not be met.
    pub fn note(&self) -> Option<&'static str> {
        self.note
    }
}

impl Spline {
    fn at(&self, at: Vec2) -> Vec2 {
        self.knots.iter().zip(&self.pulls).map(|(knot, pull)| *pull * kernel((at - knot) / self.unit_px)).sum()
    }
}

/// r^2 log r^2, the bending of a thin plate under a point load.
fn kernel(way: Vec2) -> f32 {
    let squared = way.length_squared();
    if squared > 0.0 { squared * squared.ln() } else { 0.0 }
}

/// Whether points have next to no width across the line through them.
fn on_a_line(points: &[Vec2]) -> bool {
    let middle = points.iter().sum::<Vec2>() / points.len() as f32;
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for way in points.iter().map(|p| *p - middle) {
        (xx, xy, yy) = (xx + way.x * way.x, xy + way.x * way.y, yy + way.y * way.y);
    }
    let (half, apart) = ((xx + yy) * 0.5, ((xx - yy) * 0.5).hypot(xy));
    half - apart <= LEAST_WIDTH * LEAST_WIDTH * (half + apart)
}

/// The best move, turn and scale (after a mirroring) from some places to others, and the sum of its squared errors, px^2 (Umeyama 1991).
pub(super) fn similarity(from: &[Vec2], to: &[Vec2], mirror: bool) -> (Affine2, f32) {
    let flip = Vec2::new(if mirror { -1.0 } else { 1.0 }, 1.0);
    let middle = |points: &[Vec2]| points.iter().sum::<Vec2>() / points.len().max(1) as f32;
    let (a, b) = (middle(from), middle(to));
    // As complex numbers: the factor that takes one set of ways to the other.
    let (mut factor, mut spread) = (Vec2::ZERO, 0.0);
    for (p, q) in from.iter().zip(to) {
        let (p, q) = ((*p - a) * flip, *q - b);
        factor += Vec2::new(p.dot(q), p.perp_dot(q));
        spread += p.length_squared();
    }
    let factor = if spread > 0.0 { factor / spread } else { Vec2::X };
    let turn = Mat2::from_cols(factor, factor.perp()) * Mat2::from_diagonal(flip);
    let map = Affine2::from_translation(b) * Affine2::from_mat2(turn) * Affine2::from_translation(-a);
    let error = from.iter().zip(to).map(|(p, q)| map.transform_point2(*p).distance_squared(*q)).sum();
    (map, error)
}

/// The thin-plate spline through `to` at `from`.
fn thin_plate(from: &[Vec2], to: &[Vec2]) -> Option<ClipMap> {
    let n = from.len();
    let middle = from.iter().sum::<Vec2>() / n as f32;
    let unit_px = from.iter().map(|p| p.distance(middle)).fold(1e-3, f32::max);
    let size = n + 3;
    let mut matrix = vec![0.0; size * size];
    let mut right = vec![[0.0; 2]; size];
    for (i, (p, q)) in from.iter().zip(to).enumerate() {
        for (j, knot) in from.iter().enumerate() {
            matrix[i * size + j] = f64::from(kernel((*p - *knot) / unit_px));
        }
        let at = (*p - middle) / unit_px;
        for (k, value) in [1.0, at.x, at.y].into_iter().enumerate() {
            matrix[i * size + n + k] = f64::from(value);
            matrix[(n + k) * size + i] = f64::from(value);
        }
        right[i] = [f64::from(q.x), f64::from(q.y)];
    }
    let solved: Vec<Vec2> = solve(matrix, right)?.iter().map(|[x, y]| Vec2::new(*x as f32, *y as f32)).collect();
    let matrix2 = Mat2::from_cols(solved[n + 1] / unit_px, solved[n + 2] / unit_px);
    let affine = Affine2::from_mat2_translation(matrix2, solved[n] - matrix2 * middle);
    Some(ClipMap { affine, spline: Some(Spline { knots: from.to_vec(), pulls: solved[..n].to_vec(), unit_px }), note: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn pairs(pairs: &[((f32, f32), (f32, f32))]) -> ClipMap {
        ClipMap::new(&Placing::Pairs(pairs.to_vec()), (100, 50), (300, 200))
    }

    #[test]
    fn a_clip_covers_the_picture_from_its_middle() {
        let map = ClipMap::new(&Placing::default(), (100, 50), (300, 200));
        assert_eq!(map.place(Vec2::new(50.0, 25.0)), Vec2::new(150.0, 100.0));
        assert_eq!(map.place(Vec2::new(50.0, 0.0)), Vec2::new(150.0, 0.0));
        assert!(map.place(Vec2::ZERO).x < 0.0, "what is too wide is cut");
        let placing = Placing::Similarity { offset: (10.0, -5.0), scale: 0.5, turn_deg: 90.0, mirror: true };
        let map = ClipMap::new(&placing, (100, 50), (300, 200));
        assert!(map.place(Vec2::new(50.0, 25.0)).distance(Vec2::new(160.0, 95.0)) < 1e-3);
        // One px to the right: mirrored to the left, turned clockwise to the top, 4 * 0.5 as long.
        assert!(map.place(Vec2::new(51.0, 25.0)).distance(Vec2::new(160.0, 93.0)) < 1e-3);
    }

    #[test]
    fn one_pair_moves_and_two_make_a_similarity() {
        let map = pairs(&[((20.0, 30.0), (40.0, 50.0))]);
        assert_eq!(map.place(Vec2::new(20.0, 30.0)), Vec2::new(40.0, 50.0));
        assert_eq!(map.linear(Vec2::ZERO), Mat2::from_diagonal(Vec2::splat(4.0)));
        let known = Affine2::from_scale_angle_translation(Vec2::splat(2.5), 0.8, Vec2::new(70.0, 10.0));
        let at = |x: f32, y: f32| ((x, y), known.transform_point2(Vec2::new(x, y)).into());
        let map = pairs(&[at(10.0, 5.0), at(80.0, 45.0)]);
        for p in [Vec2::ZERO, Vec2::new(55.0, 12.0), Vec2::new(99.0, 50.0)] {
            assert!(map.place(p).distance(known.transform_point2(p)) < 1e-3);
        }
    }

    #[test]
    fn a_spline_goes_through_its_pairs_and_three_make_an_affine_map() {
        let four = [((5.0, 5.0), (20.0, 30.0)), ((95.0, 8.0), (280.0, 10.0)), ((90.0, 45.0), (250.0, 190.0)), ((8.0, 40.0), (60.0, 150.0))];
        for set in [&four[..3], &four[..]] {
            let map = pairs(set);
            assert!(map.note().is_none());
            for (from, to) in set {
                let found = map.place(Vec2::from(*from));
                assert!(found.distance(Vec2::from(*to)) < 1e-2, "{from:?}: {found}");
            }
        }
        let map = pairs(&four[..3]);
        let (a, b) = (Vec2::new(13.0, 40.0), Vec2::new(70.0, 3.0));
        let bend = map.place((a + b) * 0.5).distance((map.place(a) + map.place(b)) * 0.5);
        assert!(bend < 1e-2, "{bend}");
        let bent = pairs(&four);
        let turn = bent.linear(Vec2::new(50.0, 25.0)) * Vec2::new(0.5, 0.25);
        let way = bent.place(Vec2::new(50.25, 25.125)) - bent.place(Vec2::new(49.75, 24.875));
        assert!(turn.distance(way) < 1e-2, "{turn} {way}");
    }

    #[test]
    fn pairs_that_cannot_be_met_make_a_similarity_and_say_so() {
        let line = pairs(&[((10.0, 10.0), (10.0, 10.0)), ((20.0, 20.0), (40.0, 40.0)), ((30.0, 30.0), (70.0, 70.0))]);
        assert!(line.note().unwrap().contains("one line"));
        assert!(line.place(Vec2::splat(25.0)).distance(Vec2::splat(55.0)) < 1e-2);
        let crossed =
            pairs(&[((0.0, 0.0), (0.0, 0.0)), ((100.0, 0.0), (100.0, 0.0)), ((100.0, 50.0), (0.0, 50.0)), ((0.0, 50.0), (100.0, 50.0))]);
        assert!(crossed.note().unwrap().contains("inside out"));
        let mirrored = pairs(&[((0.0, 0.0), (200.0, 0.0)), ((100.0, 0.0), (0.0, 0.0)), ((0.0, 50.0), (200.0, 100.0))]);
        assert!(mirrored.note().is_none());
        assert!(mirrored.place(Vec2::new(100.0, 50.0)).distance(Vec2::new(0.0, 100.0)) < 1e-2);
    }

    #[test]
    fn bad_placings_are_named() {
        let similarity = |offset, scale, turn_deg| Placing::Similarity { offset, scale, turn_deg, mirror: false };
        let twice = vec![((1.0, 1.0), (2.0, 2.0)), ((1.5, 1.0), (9.0, 9.0))];
        for (placing, words) in [
            (similarity((0.0, f32::NAN), 1.0, 0.0), "placing.offset: is "),
            (similarity((0.0, 0.0), 0.0, 0.0), "placing.scale: is 0"),
            (similarity((0.0, 0.0), f32::NAN, 0.0), "placing.scale: is NaN"),
            (similarity((0.0, 0.0), 1.0, f32::INFINITY), "placing.turn_deg: is inf"),
            (Placing::Pairs(twice), "placing[1]: begins where pair 0 does"),
            (Placing::Pairs(vec![((f32::NAN, 0.0), (0.0, 0.0))]), "placing[0]: lies at"),
            (Placing::Pairs(vec![((0.0, 0.0), (0.0, 1e9))]), "placing[0]: is (0, 1000000000)"),
        ] {
            let message = placing.validate("placing", (300, 200)).unwrap_err().to_string();
            assert!(message.starts_with(words), "{message}");
        }
    }
}
