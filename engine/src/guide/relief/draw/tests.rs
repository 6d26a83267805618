//! Frames in depth whose truth is known.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use glam::{Quat, Vec3};

use super::super::super::layers::{CutOptions, Fill};
use super::super::super::warp::Warper;
use super::*;
use crate::motion::camera::{Camera, Lens};
use crate::motion::depth::DepthMap;
use crate::picture::{Mask, Picture};

const SIZE: (usize, usize) = (160, 120);

fn in_box(x: usize, y: usize) -> bool {
    (60..100).contains(&x) && (40..80).contains(&y)
}

fn wall(x: f32, y: f32) -> [f32; 3] {
    [0.3 + 0.2 * (x * 0.21).sin(), 0.5 + 0.2 * (y * 0.17).cos(), 0.6]
}

/// A red box before a wall; inverse depths 0.5 and 0.1.
fn scene() -> (Picture, DepthMap) {
    let picture = Picture::from_fn(SIZE.0, SIZE.1, |x, y| match in_box(x, y) {
        true => [0.9, 0.1 + 0.1 * ((x / 3 + y / 3) % 2) as f32, 0.1],
        false => wall(x as f32, y as f32),
    });
    (picture, DepthMap { inverse: Mask::from_fn(SIZE.0, SIZE.1, |x, y| if in_box(x, y) { 0.5 } else { 0.1 }) })
}

fn options() -> CutOptions {
    CutOptions { plate_margin_px: 16, fill: Fill::PullPush, ..CutOptions::default() }
}

fn lens() -> Lens {
    Lens { focal_px: 160.0, principal_px: Vec2::new(80.0, 60.0) }
}

fn seen_from(position: Vec3, rotation: Quat) -> View {
    View::new(&lens(), &Camera { position, rotation, lens: lens() })
}

fn motion(view: Option<View>, objects: usize) -> FrameMotion {
    FrameMotion { view, ..FrameMotion::flat(LayerMotion::STILL, vec![LayerMotion::STILL; objects]) }
}

fn at_rest() -> View {
    View { columns: [Vec3::X, Vec3::Y, Vec3::Z, Vec3::ZERO] }
}

#[test]
fn at_rest_depth_changes_nothing_bit_for_bit() {
    let (picture, depth) = scene();
    let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from(in_box(x, y)));
    let layers = Layers::cut(&picture, &[region], &options());
    let deep = layers.with_depth(&depth);
    for objects in [LayerMotion::STILL, LayerMotion::Affine(Affine2::from_translation(Vec2::new(9.3, -4.0)))] {
        let flat = FrameMotion::flat(LayerMotion::STILL, vec![objects]);
        let truth = layers.guide(&flat, 160, 120);
        for view in [None, Some(at_rest())] {
            assert!(deep.guide(&FrameMotion { view, ..flat.clone() }, 160, 120) == truth);
        }
    }
}

#[test]
fn near_things_shift_more_and_uncover_what_is_behind_without_ghost_or_pinhole() {
    let (picture, depth) = scene();
    let layers = Layers::cut::<Mask>(&picture, &[], &options()).with_depth(&depth);
    // The box goes 16 px to the left, the wall 3.2.
    let frame = layers.guide(&motion(Some(seen_from(Vec3::X * 0.2, Quat::IDENTITY)), 0), 160, 120);
    for y in 0..120 {
        for x in 0..150usize {
            let (shown, covered) = (frame.rgb.at(x, y), frame.coverage.at(x, y));
            let on_box = (46..82).contains(&x) && (42..78).contains(&y);
            let near_box = (42..86).contains(&x) && (38..82).contains(&y);
            if on_box {
                assert_eq!(covered, 1.0);
                let truth = picture.at(x + 16, y);
                assert!((0..3).all(|c| (shown[c] - truth[c]).abs() < 0.01), "{shown:?}, not {truth:?} at {x} {y}");
            } else if !near_box {
                let truth = wall(x as f32 + 3.2, y as f32);
                // What is invented is at least the wall's own kind of colour, and nothing of the box.
                let good = match covered < 1.0 {
                    true => shown[0] < 0.55 && shown[1] > 0.25 && (shown[2] - truth[2]).abs() < 0.02,
                    false => (0..3).all(|c| (shown[c] - truth[c]).abs() < 0.02),
                };
                assert!(good, "{shown:?}, not {truth:?} at {x} {y}, {covered}");
            }
        }
    }
    let uncovered = (0..160).filter(|&x| frame.coverage.at(x, 60) < 0.5).count();
    assert!((10..22).contains(&uncovered), "{uncovered} px of the wall come to light");
}

#[test]
fn a_turn_is_a_homography_whatever_the_depth() {
    let (picture, depth) = scene();
    let layers = Layers::cut::<Mask>(&picture, &[], &options());
    let view = seen_from(Vec3::ZERO, Quat::from_rotation_y(0.03) * Quat::from_rotation_z(0.05));
    let flat = layers.guide(&motion(Some(view), 0), 160, 120);
    let deep = layers.with_depth(&depth).guide(&motion(Some(view), 0), 160, 120);
    for i in 0..flat.rgb.data.len() {
        let (a, b) = (flat.rgb.data[i], deep.rgb.data[i]);
        // Only along the tear itself back and front are mixed.
        let (x, y) = (i % 160, i / 160);
        let edge = (50..110).contains(&x) && (30..90).contains(&y) && !((70..90).contains(&x) && (50..70).contains(&y));
        assert!(edge || (0..3).all(|c| (a[c] - b[c]).abs() < 0.02), "{a:?} {b:?} at {x} {y}");
    }
}

#[test]
fn an_object_behind_something_near_is_hidden_by_it() {
    let (picture, depth) = scene();
    // A patch of the wall, dragged behind the box.
    let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from((20..40).contains(&x) && (50..70).contains(&y)));
    let layers = Layers::cut(&picture, &[region], &options()).with_depth(&depth);
    let drag = LayerMotion::Affine(Affine2::from_translation(Vec2::new(40.0, 0.0)));
    let motion = FrameMotion { view: Some(seen_from(Vec3::X * 1e-4, Quat::IDENTITY)), ..FrameMotion::flat(LayerMotion::STILL, vec![drag]) };
    let frame = layers.guide(&motion, 160, 120);
    assert!(frame.rgb.at(70, 60)[0] > 0.8, "the box lies before the patch");
    assert_eq!(frame.owner[60 * 160 + 70], 0);
}

#[test]
fn objects_that_stand_still_show_the_source() {
    let (picture, depth) = scene();
    let flat = DepthMap { inverse: Mask::filled(SIZE.0, SIZE.1, 0.2) };
    let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from(in_box(x, y)));
    let layers = Layers::cut(&picture, &[region], &options()).with_depth(&flat);
    let frame = layers.guide(&motion(Some(seen_from(Vec3::X * 0.25, Quat::IDENTITY)), 1), 160, 120);
    for y in 4..116 {
        for x in 4..148 {
            let (shown, truth) = (frame.rgb.at(x, y), picture.at(x + 8, y));
            assert!((0..3).all(|c| (shown[c] - truth[c]).abs() < 0.01), "{shown:?}, not {truth:?} at {x} {y}");
            assert_eq!(frame.coverage.at(x, y), 1.0);
        }
    }
    drop(depth);
}

#[test]
fn no_camera_makes_a_nan_or_a_panic_and_a_warper_gives_the_same() {
    let (picture, depth) = scene();
    let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from((90..130).contains(&x) && (20..60).contains(&y)));
    let layers = Arc::new(Layers::cut(&picture, &[region], &options()).with_depth(&depth));
    let mut state = 7u32;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    for (width, height) in [(160, 120), (64, 48), (201, 77)] {
        let mut warper = Warper::new(layers.clone(), width, height);
        let mut frame = GuideFrame::blank(1, 1);
        for i in 0..24 {
            let far = [0.1, 1.0, 5.0, 1e4][i % 4];
            let position = Vec3::new(number(), number(), number()) * far;
            let rotation = Quat::from_axis_angle(Vec3::new(number(), number(), number() + 1.5).normalize(), number() * 3.0);
            let broken = View { columns: [Vec3::splat(f32::NAN), Vec3::Y, Vec3::Z, Vec3::X] };
            let view = if i == 23 { broken } else { seen_from(position, rotation) };
            let motion = motion(Some(view), 1);
            warper.warp(&motion, &mut frame);
            assert!(frame.rgb.data.iter().flatten().chain(&frame.coverage.data).all(|v| (0.0..=1.0).contains(v)), "{position} {rotation}");
            assert!(frame == layers.guide(&motion, width, height));
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let (picture, depth) = scene();
    let guide = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let region = Mask::from_fn(SIZE.0, SIZE.1, |x, y| f32::from(in_box(x, y)));
            let layers = Layers::cut(&picture, &[region], &CutOptions { fill: Fill::Exemplar, ..options() }).with_depth(&depth);
            layers.guide(&motion(Some(seen_from(Vec3::new(0.2, 0.05, 0.4), Quat::from_rotation_y(0.1))), 1), 150, 100)
        })
    };
    assert_eq!(guide(1), guide(3));
}
