//! Frames drawn on the graphics card (a software one is enough) against the engine's warp of the same layers.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use eframe::egui::{self, Color32, vec2};
use eframe::egui_wgpu::{RenderState, RendererOptions, wgpu};
use egui_kittest::Harness;
use egui_kittest::wgpu::{WgpuTestRenderer, create_render_state, default_wgpu_setup};
use glam::{Affine2, Quat, Vec2, Vec3};
use half::f16;
use kinebrush::studio::action::Compare;
use kinebrush::studio::gpu::{self, GuideCanvas, Liquify, Paint, Prepared, ScreenFromLive};
use kinebrush_engine::guide::detail::enlarged;
use kinebrush_engine::guide::layers::{CutOptions, Fill, Layers};
use kinebrush_engine::media::picture_file::{load_picture, save_png};
use kinebrush_engine::motion::camera::{Camera, Lens, View};
use kinebrush_engine::motion::depth::DepthMap;
use kinebrush_engine::motion::layer_motion::LayerMotion;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::scene::Scene;
use kinebrush_engine::motion::{FrameMotion, Project};
use kinebrush_engine::picture::{Mask, Picture};
use kinebrush_engine::stream::live::Correction;

fn card() -> RenderState {
    create_render_state(default_wgpu_setup(), RendererOptions::default())
}

/// What every test draws unless it says otherwise: `layers` at `motion`, px for px.
fn plain(layers: &Layers, motion: FrameMotion) -> Paint {
    Paint {
        prepared: Arc::new(Prepared::new(layers)),
        cut: 1,
        motion,
        correction: None,
        correction_id: 0,
        liquify: None,
        compare: Compare::Generated,
        screen_from_live: ScreenFromLive { scale: vec2(1.0, 1.0), offset: vec2(0.0, 0.0) },
        outside: Color32::BLACK,
    }
}

fn drawn(paint: &Paint, width: usize, height: usize) -> Picture {
    let card = card();
    gpu::render_to_picture(&card.device, &card.queue, paint, width, height).unwrap()
}

fn cut<R: std::borrow::Borrow<Mask>>(picture: &Picture, regions: &[R]) -> Layers {
    let options = CutOptions { plate_margin_px: 24, fill: Fill::PullPush, ..CutOptions::default() };
    Layers::cut(picture, regions, &options)
}

fn psnr_db(a: &Picture, b: &Picture) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let sum: f64 = a.data.iter().flatten().zip(b.data.iter().flatten()).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    -10.0 * (sum / (a.data.len() * 3) as f64).max(1e-10).log10()
}

fn largest_difference(a: &Picture, b: &Picture) -> f32 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.data.iter().flatten().zip(b.data.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn still(objects: usize) -> FrameMotion {
    FrameMotion::flat(LayerMotion::STILL, vec![LayerMotion::STILL; objects])
}

fn shift(x: f32, y: f32) -> LayerMotion {
    LayerMotion::Affine(Affine2::from_translation(Vec2::new(x, y)))
}

/// A picture with texture everywhere, a disc in it, and the disc's region.
fn disc() -> (Picture, Mask) {
    let inside = |x: usize, y: usize| (26.5 - (x as f32 + 0.5 - 80.0).hypot(y as f32 + 0.5 - 60.0)).clamp(0.0, 1.0);
    let picture = Picture::from_fn(192, 128, |x, y| {
        let wave = (x as f32 * 0.31).sin() * (y as f32 * 0.23).cos() * 0.12;
        let (disc, ground) = ([0.75, 0.3 + wave, 0.3 - wave], [0.25 + wave + x as f32 * 0.002, 0.5 - wave, 0.45 + y as f32 * 0.002]);
        std::array::from_fn(|c| inside(x, y) * disc[c] + (1.0 - inside(x, y)) * ground[c])
    });
    (picture, Mask::from_fn(192, 128, inside))
}

/// A preset's picture and scene.
fn preset(name: &str) -> (Picture, Scene) {
    let project = Project::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("../presets").join(name)).unwrap();
    let picture = load_picture(&project.image_path()).unwrap();
    let scene = Scene::new(&project, picture.width, picture.height).unwrap();
    (picture, scene)
}

/// Writes a picture where a person may look at it, if they asked for it.
fn show(picture: &Picture, name: &str) {
    if let Some(folder) = std::env::var_os("KINEBRUSH_SHOW") {
        save_png(picture, &Path::new(&folder).join(name)).unwrap();
    }
}

#[test]
fn the_shader_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 1 && files.iter().all(|path| path.extension().is_some_and(|extension| extension == "wgsl")), "{files:?}");
    for path in files {
        let module = wgpu::naga::front::wgsl::parse_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut validator =
            wgpu::naga::valid::Validator::new(wgpu::naga::valid::ValidationFlags::all(), wgpu::naga::valid::Capabilities::empty());
        validator.validate(&module).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn what_did_not_move_is_the_source() {
    let (picture, region) = disc();
    let layers = cut(&picture, std::slice::from_ref(&region));
    let ours = drawn(&plain(&layers, still(1)), 192, 128);
    assert!(largest_difference(&ours, &picture) <= 1.0 / 255.0);
    // A motion too small to be seen takes the long way: object over plate, and the source where both move alike.
    let ours = drawn(&plain(&layers, FrameMotion::flat(LayerMotion::STILL, vec![shift(0.005, 0.0)])), 192, 128);
    assert!(largest_difference(&ours, &picture) <= 2.0 / 255.0, "{}", largest_difference(&ours, &picture));
    // Before the first cut too.
    let paint = Paint { prepared: Arc::new(Prepared::from_picture(&picture)), ..plain(&layers, still(0)) };
    assert!(largest_difference(&drawn(&paint, 192, 128), &picture) <= 1.0 / 255.0);
}

#[test]
fn whole_px_of_a_hard_object_are_those_of_the_warp() {
    let (picture, region) = disc();
    let layers = cut(&picture, &[region]);
    for objects in [vec![shift(17.0, -9.0)], vec![shift(-60.0, 30.0)]] {
        let motion = FrameMotion::flat(LayerMotion::STILL, objects);
        let truth = layers.guide(&motion, 192, 128).rgb;
        let psnr = psnr_db(&truth, &drawn(&plain(&layers, motion), 192, 128));
        println!("whole px: {psnr:.1} dB");
        assert!(psnr >= 45.0, "{psnr} dB");
    }
}

#[test]
fn presets_look_as_the_warp_does() {
    for (name, least_db) in [("coffee.ron", 49.0), ("cat.ron", 46.0), ("pan.ron", 43.0), ("rocket.ron", 52.5)] {
        let (picture, scene) = preset(name);
        let layers = cut(&picture, &scene.regions);
        let card = card();
        let mut renderer = GuideCanvas::new(&card.device, &card.queue, wgpu::TextureFormat::Rgba8Unorm);
        let mut paint = plain(&layers, still(0));
        for frame in [1, 9, 22, 47, 60] {
            paint.motion = scene.frame_motion(frame);
            let truth = layers.guide(&paint.motion, picture.width, picture.height).rgb;
            let ours = renderer.render_to_picture(&card.device, &card.queue, &paint, picture.width, picture.height).unwrap();
            let psnr = psnr_db(&truth, &ours);
            println!("{name} {frame}: {psnr:.1} dB");
            show(&ours, &format!("{name}-{frame}.png"));
            show(&truth, &format!("{name}-{frame}-cpu.png"));
            assert!(psnr >= least_db, "{name} frame {frame}: {psnr} dB");
        }
    }
}

#[test]
fn a_canvas_that_rests_shows_what_it_drew_until_anything_changes() {
    let (picture, scene) = preset("coffee.ron");
    let layers = cut(&picture, &scene.regions);
    let card = card();
    let mut canvas = GuideCanvas::new(&card.device, &card.queue, wgpu::TextureFormat::Rgba8Unorm);
    let mut paint = plain(&layers, still(0));
    let mut shown = |paint: &Paint| canvas.render_to_picture(&card.device, &card.queue, paint, picture.width, picture.height).unwrap();
    for change in 0..4 {
        match change {
            0 => paint.motion = scene.frame_motion(30),
            1 => paint.motion = scene.frame_motion(31),
            2 => (paint.correction, paint.correction_id) = (Some(Arc::new(correction(48, 32))), 1),
            _ => paint.compare = Compare::Guide,
        }
        // Drawn twice, then kept, then copied.
        let frames: Vec<Picture> = (0..5).map(|_| shown(&paint)).collect();
        assert!(frames[1..].iter().all(|frame| *frame == frames[0]), "change {change}: what was kept is not what was drawn");
        let fresh = gpu::render_to_picture(&card.device, &card.queue, &paint, picture.width, picture.height).unwrap();
        assert!(fresh == frames[4], "change {change} was not seen");
    }
}

/// A wall that slants away with a box before it, in whose place the picture shows a red disc.
fn deep_scene() -> (Layers, Lens) {
    let (picture, disc) = disc();
    let inverse = Mask::from_fn(192, 128, |x, y| if disc.at(x, y) > 0.5 { 0.5 } else { 0.1 + 0.0008 * x as f32 });
    let region = Mask::from_fn(192, 128, |x, y| f32::from((130..160).contains(&x) && (30..70).contains(&y)));
    let lens = Lens { focal_px: 200.0, principal_px: Vec2::new(96.0, 64.0) };
    (cut(&picture, &[region]).with_depth(&DepthMap { inverse }), lens)
}

#[test]
fn an_object_that_bends_back_hides_itself_where_it_is_nearer() {
    let (mut picture, _) = disc();
    let inside = |x: usize, y: usize| (120..160).contains(&x) && (30..90).contains(&y);
    for (i, colour) in picture.data.iter_mut().enumerate().filter(|(i, _)| inside(i % 192, i / 192)) {
        *colour = if i % 192 < 140 { [0.9, 0.8, 0.1] } else { [0.1, 0.1, 0.5] };
    }
    // Its left half stands before its right half, and moves over it.
    let inverse = Mask::from_fn(192, 128, |x, y| if !inside(x, y) { 0.1 } else { [0.4, 0.15][usize::from(x >= 140)] });
    let layers = cut(&picture, &[Mask::from_fn(192, 128, |x, y| f32::from(u8::from(inside(x, y))))]).with_depth(&DepthMap { inverse });
    let lens = Lens { focal_px: 200.0, principal_px: Vec2::new(96.0, 64.0) };
    let camera = Camera { position: Vec3::X * -0.25, rotation: Quat::IDENTITY, lens };
    let card = card();
    let mut paint = plain(&layers, still(1));
    paint.motion = FrameMotion { view: Some(View::new(&lens, &camera)), ..FrameMotion::flat(LayerMotion::STILL, vec![LayerMotion::STILL]) };
    let truth = layers.guide(&paint.motion, 192, 128).rgb;
    let ours = gpu::render_to_picture(&card.device, &card.queue, &paint, 192, 128).unwrap();
    show(&ours, "bent.png");
    show(&truth, "bent-cpu.png");
    let psnr = psnr_db(&truth, &ours);
    println!("an object that hides itself: {psnr:.1} dB");
    // Half a px of its edges apart; seen the wrong way round it would be 23.
    assert!(psnr >= 28.0, "{psnr} dB");
}

#[test]
fn a_camera_sees_what_the_relief_shows() {
    let (layers, lens) = deep_scene();
    let card = card();
    let mut renderer = GuideCanvas::new(&card.device, &card.queue, wgpu::TextureFormat::Rgba8Unorm);
    let mut paint = plain(&layers, still(1));
    let bent = LayerMotion::Affine(Affine2::from_scale_angle_translation(Vec2::splat(1.05), 0.1, Vec2::new(-30.0, 12.0)));
    for (i, (position, turn, object)) in [
        (Vec3::X * 0.15, 0.0, LayerMotion::STILL),
        (Vec3::new(-0.1, 0.05, 0.5), 0.02, bent.clone()),
        (Vec3::new(0.0, 0.0, -0.6), -0.03, bent),
    ]
    .into_iter()
    .enumerate()
    {
        let camera = Camera { position, rotation: Quat::from_rotation_y(turn), lens };
        paint.motion = FrameMotion { view: Some(View::new(&lens, &camera)), ..FrameMotion::flat(LayerMotion::STILL, vec![object]) };
        let truth = layers.guide(&paint.motion, 192, 128).rgb;
        let ours = renderer.render_to_picture(&card.device, &card.queue, &paint, 192, 128).unwrap();
        show(&ours, &format!("deep-{i}.png"));
        show(&truth, &format!("deep-{i}-cpu.png"));
        let flat = layers.guide(&FrameMotion { view: None, ..paint.motion.clone() }, 192, 128).rgb;
        let (psnr, without) = (psnr_db(&truth, &ours), psnr_db(&truth, &flat));
        println!("in depth {i}: {psnr:.1} dB, without {without:.1} dB");
        assert!(psnr >= 40.0 && without < 25.0, "{i}: {psnr} dB, {without} dB");
    }
    // A correction is added to it as to any frame.
    let change = correction(64, 44);
    let guide = renderer.render_to_picture(&card.device, &card.queue, &paint, 192, 128).unwrap();
    (paint.correction, paint.correction_id) = (Some(Arc::new(change.clone())), 1);
    let ours = renderer.render_to_picture(&card.device, &card.queue, &paint, 192, 128).unwrap();
    assert!(psnr_db(&corrected(&guide, &change), &ours) >= 40.0);
    // At rest it is the source.
    paint.correction = None;
    paint.motion = FrameMotion { view: Some(View { columns: [Vec3::X, Vec3::Y, Vec3::Z, Vec3::ZERO] }), ..still(1) };
    let ours = renderer.render_to_picture(&card.device, &card.queue, &paint, 192, 128).unwrap();
    assert!(largest_difference(&ours, &layers.guide(&still(1), 192, 128).rgb) <= 1.0 / 255.0);
}

#[test]
fn without_depth_a_camera_turns_and_zooms() {
    let (picture, region) = disc();
    let layers = cut(&picture, &[region]);
    let lens = Lens { focal_px: 200.0, principal_px: Vec2::new(96.0, 64.0) };
    let bent = LayerMotion::Affine(Affine2::from_scale_angle_translation(Vec2::splat(1.05), 0.1, Vec2::new(-20.0, 8.0)));
    let moves = [(Vec3::ZERO, 0.1, 1.0, LayerMotion::STILL), (Vec3::X, -0.06, 1.3, bent)];
    for (i, (position, turn, zoom, object)) in moves.into_iter().enumerate() {
        let camera = Camera { position, rotation: Quat::from_rotation_y(turn), lens: Lens { focal_px: lens.focal_px * zoom, ..lens } };
        let flat = FrameMotion::flat(LayerMotion::STILL, vec![object]);
        let motion = FrameMotion { view: Some(View::new(&lens, &camera)), ..flat.clone() };
        let truth = layers.guide(&motion, 192, 128).rgb;
        let ours = drawn(&plain(&layers, motion), 192, 128);
        show(&ours, &format!("turned-{i}.png"));
        show(&truth, &format!("turned-{i}-cpu.png"));
        let (psnr, without) = (psnr_db(&truth, &ours), psnr_db(&truth, &layers.guide(&flat, 192, 128).rgb));
        println!("turned {i}: {psnr:.1} dB, without {without:.1} dB");
        assert!(psnr >= 40.0 && without < 25.0, "{i}: {psnr} dB, {without} dB");
    }
}

#[test]
fn of_two_objects_the_nearer_one_lies_over_the_other() {
    let (picture, _) = disc();
    // The first in the list is much nearer, and both are dragged to one place.
    let boxed =
        |left: usize, top: usize| Mask::from_fn(192, 128, |x, y| f32::from((left..left + 40).contains(&x) && (top..top + 40).contains(&y)));
    let (near, far) = (boxed(20, 20), boxed(120, 60));
    let inverse = Mask::from_fn(192, 128, |x, y| if near.at(x, y) > 0.5 { 0.8 } else { 0.1 });
    let layers = cut(&picture, &[near, far]).with_depth(&DepthMap { inverse });
    let lens = Lens { focal_px: 200.0, principal_px: Vec2::new(96.0, 64.0) };
    let camera = Camera { position: Vec3::new(0.02, 0.0, 0.05), ..Camera::at_rest(lens) };
    let objects = vec![shift(55.0, 25.0), shift(-35.0, -5.0)];
    let motion = FrameMotion { view: Some(View::new(&lens, &camera)), ..FrameMotion::flat(LayerMotion::STILL, objects) };
    let truth = layers.guide(&motion, 192, 128);
    let both = truth.owner.iter().filter(|owner| **owner == 1).count();
    assert!(both > 1200, "{both} px show the first object");
    let ours = drawn(&plain(&layers, motion), 192, 128);
    show(&ours, "two.png");
    show(&truth.rgb, "two-cpu.png");
    let psnr = psnr_db(&truth.rgb, &ours);
    println!("two objects: {psnr:.1} dB");
    assert!(psnr >= 38.0, "{psnr} dB");
}

#[test]
fn ground_that_reaches_behind_the_camera_looks_as_the_relief_does() {
    let (picture, _) = disc();
    let inverse = Mask::from_fn(192, 128, |_, y| 0.02 + 0.012 * (y as f32 + 0.5));
    let layers = cut::<Mask>(&picture, &[]).with_depth(&DepthMap { inverse });
    let lens = Lens { focal_px: 200.0, principal_px: Vec2::new(96.0, 64.0) };
    let camera = Camera { position: Vec3::new(0.05, -0.1, 1.1), rotation: Quat::from_rotation_x(-0.3), lens };
    let motion = FrameMotion { view: Some(View::new(&lens, &camera)), ..still(0) };
    let truth = layers.guide(&motion, 192, 128).rgb;
    let ours = drawn(&plain(&layers, motion), 192, 128);
    show(&ours, "behind.png");
    show(&truth, "behind-cpu.png");
    let psnr = psnr_db(&truth, &ours);
    println!("behind the camera: {psnr:.1} dB");
    assert!(psnr >= 32.0, "{psnr} dB");
}

/// Of the soft disc that is dragged.
const SOFTNESS: f32 = 0.8;

/// A soft disc dragged by `way` and what the engine makes of it.
fn soft_drag(picture: &Picture, way: (f32, f32)) -> (Layers, FrameMotion, Picture) {
    let (width, height) = (picture.width, picture.height);
    let folder = tempfile::tempdir().unwrap();
    save_png(picture, &folder.path().join("p.png")).unwrap();
    let (x, y) = (88.0 + way.0, 62.0 + way.1);
    let path = folder.path().join("p.ron");
    let text = format!(
        "(version: 1, image: \"p.png\", frames: 16, strokes: [(region: Disc(center: (88, 62), radius: 40, softness: {SOFTNESS}),
        path: [(0, 88, 62), (8, {x}, {y})])])"
    );
    std::fs::write(&path, text).unwrap();
    let scene = Scene::new(&Project::load(&path).unwrap(), width, height).unwrap();
    let layers = cut(picture, &scene.regions);
    let motion = scene.frame_motion(8);
    let truth = layers.guide(&motion, width, height).rgb;
    (layers, motion, truth)
}

#[test]
fn a_soft_region_bends_as_in_the_warp() {
    let (picture, _) = disc();
    let (layers, motion, truth) = soft_drag(&picture, (9.3, 5.7));
    let ours = drawn(&plain(&layers, motion), 192, 128);
    show(&ours, "soft.png");
    show(&truth, "soft-cpu.png");
    let psnr = psnr_db(&truth, &ours);
    println!("soft: {psnr:.1} dB");
    assert!(psnr >= 48.0, "{psnr} dB");
}

#[test]
fn a_drag_looks_as_if_its_layer_were_cut_already() {
    let (picture, _) = disc();
    let way = (9.3, 5.7);
    let (_, _, truth) = soft_drag(&picture, way);
    let liquify = Liquify { center: Vec2::new(88.0, 62.0), radius: 40.0, softness: SOFTNESS, shift: way.into() };
    // The weight is the region's.
    let region = Region::Disc { center: (88.0, 62.0), radius: 40.0, softness: SOFTNESS }.rasterize(192, 128, Path::new(".")).unwrap();
    for (x, y) in [(88, 62), (100, 70), (60, 50), (112, 40), (120, 62), (5, 5)] {
        let weight = liquify.weight(Vec2::new(x as f32 + 0.5, y as f32 + 0.5));
        assert!((weight - region.at(x, y)).abs() < 1e-5, "{x} {y}: {weight} {}", region.at(x, y));
    }
    let prepared = Arc::new(Prepared::from_picture(&picture));
    let mut paint = Paint { prepared, liquify: Some(liquify), ..plain(&cut::<Mask>(&picture, &[]), still(0)) };
    let ours = drawn(&paint, 192, 128);
    show(&ours, "liquify.png");
    let inside = |p: &Picture| Picture::from_fn(56, 56, |x, y| p.at(x + 60, y + 34));
    let psnr = psnr_db(&inside(&truth), &inside(&ours));
    let undragged = psnr_db(&inside(&truth), &inside(&picture));
    println!("drag: {psnr:.1} dB, without it {undragged:.1} dB");
    assert!(psnr >= 38.0 && undragged < 28.0, "{psnr} dB, {undragged} dB");
    // Outside the disc nothing changes, wherever it went.
    for (x, y) in [(20, 20), (180, 100), (88, 10)] {
        assert!((0..3).all(|c| (ours.at(x, y)[c] - picture.at(x, y)[c]).abs() < 1.5 / 255.0));
    }
    // The same drag, enlarged and partly out of sight.
    paint.screen_from_live = ScreenFromLive { scale: vec2(2.0, 2.0), offset: vec2(-120.0, -60.0) };
    let near = drawn(&paint, 192, 128);
    show(&near, "liquify-near.png");
    let expected = Picture::from_fn(192, 128, |x, y| truth.bilinear((x as f32 + 120.5) * 0.5, (y as f32 + 60.5) * 0.5));
    let psnr = psnr_db(&expected, &near);
    println!("drag, enlarged: {psnr:.1} dB");
    assert!(psnr >= 30.0, "{psnr} dB");
}

/// A change of `picture` that has no sharp edges, a third as large.
fn correction(width: usize, height: usize) -> Correction {
    let value = |x: usize, y: usize, c: usize| 0.11 * (x as f32 * 0.11 + c as f32).sin() * (y as f32 * 0.09 - c as f32).cos();
    let rgba = (0..width * height).map(|i| [0, 1, 2, 3].map(|c| f16::from_f32(if c < 3 { value(i % width, i / width, c) } else { 0.0 })));
    Correction { width, height, rgba: rgba.collect() }
}

/// The guide with the correction added to it as the engine enlarges it.
fn corrected(guide: &Picture, correction: &Correction) -> Picture {
    let small = Picture::from_fn(correction.width, correction.height, |x, y| {
        let texel = correction.rgba[y * correction.width + x];
        std::array::from_fn(|c| texel[c].to_f32())
    });
    let large = enlarged(&small, guide.width, guide.height);
    Picture::from_fn(guide.width, guide.height, |x, y| std::array::from_fn(|c| (guide.at(x, y)[c] + large.at(x, y)[c]).clamp(0.0, 1.0)))
}

#[test]
fn a_correction_is_added_once_to_the_whole_composite() {
    let (picture, region) = disc();
    let layers = cut(&picture, &[region]);
    // Whole px, so that the guides agree and what is measured is the correction.
    let motion = FrameMotion::flat(LayerMotion::STILL, vec![shift(20.0, 8.0)]);
    let (card, change) = (card(), correction(64, 44));
    let mut renderer = GuideCanvas::new(&card.device, &card.queue, wgpu::TextureFormat::Rgba8Unorm);
    let mut paint = plain(&layers, motion);
    let mut draw = |paint: &Paint| renderer.render_to_picture(&card.device, &card.queue, paint, 192, 128).unwrap();
    let guide = draw(&paint);
    paint.correction = Some(Arc::new(change.clone()));
    paint.correction_id = 1;
    let truth = corrected(&guide, &change);
    let ours = draw(&paint);
    show(&ours, "corrected.png");
    println!("correction: {} / 255", largest_difference(&truth, &ours) * 255.0);
    // The guide was rounded and the sum is; what is left over is the correction's own.
    assert!(largest_difference(&truth, &ours) <= 1.75 / 255.0);
    assert!(largest_difference(&guide, &ours) > 20.0 / 255.0);

    // Side by side: the guide left of the line, the rest right of it.
    paint.compare = Compare::Split(0.5);
    let both = draw(&paint);
    for y in 0..128 {
        for x in 0..192 {
            assert_eq!(both.at(x, y), if x < 96 { guide.at(x, y) } else { ours.at(x, y) }, "{x} {y}");
        }
    }
    paint.compare = Compare::Guide;
    assert_eq!(draw(&paint), guide);

    // The next frame's correction takes its place; none at all leaves the guide.
    paint.compare = Compare::Generated;
    let half = Correction { rgba: change.rgba.iter().map(|t| t.map(|v| f16::from_f32(v.to_f32() * 0.5))).collect(), ..change };
    (paint.correction, paint.correction_id) = (Some(Arc::new(half.clone())), 2);
    assert!(largest_difference(&corrected(&guide, &half), &draw(&paint)) <= 1.75 / 255.0);
    paint.correction = None;
    assert_eq!(draw(&paint), guide);
}

#[test]
fn a_picture_seen_from_afar_is_the_warp_at_that_size() {
    for (name, part, least_db) in [("coffee.ron", 2, 56.5), ("coffee.ron", 3, 47.0), ("coffee.ron", 5, 47.0), ("cat.ron", 3, 48.5)] {
        let (picture, scene) = preset(name);
        let layers = cut(&picture, &scene.regions);
        let motion = scene.frame_motion(30);
        let (width, height) = (picture.width / part, picture.height / part);
        let truth = layers.guide(&motion, width, height).rgb;
        let mut paint = plain(&layers, motion);
        paint.screen_from_live.scale = vec2(width as f32 / picture.width as f32, height as f32 / picture.height as f32);
        let ours = drawn(&paint, width, height);
        show(&ours, &format!("afar-{name}.png"));
        let psnr = psnr_db(&truth, &ours);
        println!("{name} at 1/{part}: {psnr:.1} dB");
        assert!(psnr >= least_db, "{name} at 1/{part}: {psnr} dB");
    }
}

#[test]
fn in_a_window_the_frame_is_where_the_view_puts_it() {
    let (picture, region) = disc();
    let layers = cut(&picture, &[region]);
    let motion = FrameMotion::flat(LayerMotion::STILL, vec![shift(12.0, 0.0)]);
    let truth = layers.guide(&motion, 192, 128).rgb;
    let card = card();
    gpu::install(&card);
    let mut paint = plain(&layers, motion);
    paint.screen_from_live.offset = vec2(40.0, 30.0);
    paint.outside = Color32::from_rgb(10, 20, 30);
    let canvas = egui::Rect::from_min_size(egui::pos2(20.0, 10.0), egui::vec2(180.0, 140.0));
    let mut harness = Harness::builder()
        .with_size(egui::vec2(260.0, 180.0))
        .renderer(WgpuTestRenderer::from_render_state(card))
        .build_ui(move |ui| gpu::paint(ui, canvas, paint.clone()));
    harness.run();
    let image = harness.render().unwrap();
    if let Some(folder) = std::env::var_os("KINEBRUSH_SHOW") {
        image.save(Path::new(&folder).join("window.png")).unwrap();
    }
    for y in 0..140u32 {
        for x in 0..180u32 {
            let pixel = image.get_pixel(x + 20, y + 10).0;
            let (u, v) = (x as i32 - 20, y as i32 - 20);
            let inside = (0..192).contains(&u) && (0..128).contains(&v);
            let expected = if inside { truth.at(u as usize, v as usize).map(|c| c * 255.0) } else { [10.0, 20.0, 30.0] };
            for c in 0..3 {
                assert!((f32::from(pixel[c]) - expected[c]).abs() <= 3.0, "{x} {y}: {pixel:?}, not {expected:?}");
            }
        }
    }
    assert!(image.get_pixel(5, 5).0[0] != 10, "nothing is drawn outside the canvas");
}
