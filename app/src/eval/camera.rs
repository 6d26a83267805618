//! `kinebrush eval camera`: a real picture seen from where a real camera took another one, and how long that takes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use glam::{Quat, Vec2, Vec3};
use kinebrush_engine::guide::layers::{CutOptions, Fill, Layers};
use kinebrush_engine::guide::stereo::{StereoPair, psnr_db};
use kinebrush_engine::guide::warp::{GuideFrame, Warper};
use kinebrush_engine::media::picture_file::save_png;
use kinebrush_engine::motion::camera::{Camera, project_points};
use kinebrush_engine::motion::{FrameMotion, View};
use kinebrush_engine::picture::{Mask, Picture};
use serde::Serialize;

use crate::arguments::EvalCameraOptions;

/// What a pixel's coverage must be to count as covered.
const COVERED: f32 = 0.999;
/// Points and frames of the projection that is timed.
const POINTS: usize = 2_500;
const FRAMES: usize = 240;
/// Frames drawn for one time.
const TIMED: usize = 20;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
struct Report {
    /// Median distance of projected points from where the other picture shows them, px, and of how many points.
    track_error_px: f32,
    tracks: usize,
    /// The guide against the other picture where it is covered and the truth is known, and the exact bilinear warp by the true
    /// disparities on the same pixels, dB.
    guide_psnr_db: f64,
    bilinear_psnr_db: f64,
    /// The guide on all that it covers, known or not.
    guide_covered_psnr_db: f64,
    /// Share of the frame that is covered, and covered and known.
    covered: f32,
    known: f32,
    /// 2 500 points in 240 frames, ms.
    projection_ms: f64,
    /// Corners and triangles of the sheets, and what they took to make, ms.
    corners: usize,
    triangles: usize,
    relief_ms: f64,
    /// A frame of the guide in depth, and of an affine one without, ms.
    frame_384x216_ms: [f64; 2],
    frame_1280x720_ms: [f64; 2],
}

pub fn run(options: &EvalCameraOptions) -> anyhow::Result<()> {
    let pair = StereoPair::motorcycle(&options.pair)?;
    let (width, height) = (pair.left.width, pair.left.height);
    let truth = pair.right_disparity();
    let depth = pair.depth();
    let flat = Layers::cut::<Mask>(&pair.left, &[], &CutOptions { fill: Fill::PullPush, ..CutOptions::default() });
    let started = Instant::now();
    let layers = Arc::new(flat.with_depth(&depth));
    let relief_ms = started.elapsed().as_secs_f64() * 1e3;

    let motion = FrameMotion { view: Some(pair.view()), ..FrameMotion::still() };
    let guide = layers.guide(&motion, width, height);
    let covered = Mask::from_fn(width, height, |x, y| f32::from(guide.coverage.at(x, y) >= COVERED));
    let known = Mask::from_fn(width, height, |x, y| if truth.at(x, y).is_nan() { 0.0 } else { covered.at(x, y) });
    let share = |mask: &Mask| mask.data.iter().sum::<f32>() / mask.data.len() as f32;
    let bilinear = pair.bilinear_warp(&truth);
    if let Some(folder) = &options.show {
        show(folder, &pair, &layers, &guide, &bilinear)?;
    }

    let tracks = pair.tracks(&truth, 3);
    let points: Vec<(Vec2, f32)> =
        tracks.iter().map(|(source, _)| (*source, depth.inverse.at(source.x as usize, source.y as usize))).collect();
    let mut seen = Vec::new();
    project_points(&pair.view(), &points, &mut seen);
    let mut errors: Vec<f32> =
        seen.iter().zip(&tracks).map(|(seen, (_, truth))| seen.map_or(f32::INFINITY, |(p, _)| p.distance(*truth))).collect();
    errors.sort_unstable_by(f32::total_cmp);

    let (corners, triangles) = layers.relief().map_or((0, 0), |relief| {
        let sheets = [&relief.front, &relief.back];
        (sheets.map(|s| s.corners.len()).iter().sum(), sheets.map(|s| s.opaque.len() + s.rim.len()).iter().sum())
    });
    let report = Report {
        track_error_px: *errors.get(errors.len() / 2).context("the pair has no point that both pictures show")?,
        tracks: errors.len(),
        guide_psnr_db: psnr_db(&guide.rgb, &pair.right, &known),
        bilinear_psnr_db: psnr_db(&bilinear, &pair.right, &known),
        guide_covered_psnr_db: psnr_db(&guide.rgb, &pair.right, &covered),
        covered: share(&covered),
        known: share(&known),
        projection_ms: projection_ms(&pair, &points),
        corners,
        triangles,
        relief_ms,
        frame_384x216_ms: frame_ms(&layers, &motion, 384, 216),
        frame_1280x720_ms: frame_ms(&layers, &motion, 1280, 720),
    };
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}

/// Time to project [`POINTS`] of `points` (again and again, if there are fewer) in [`FRAMES`] frames of a move, ms.
fn projection_ms(pair: &StereoPair, points: &[(Vec2, f32)]) -> f64 {
    let points: Vec<(Vec2, f32)> = points.iter().copied().cycle().step_by(7).take(POINTS).collect();
    let views: Vec<View> = (0..FRAMES)
        .map(|i| {
            let position = Vec3::X * (pair.baseline * i as f32 / FRAMES as f32);
            View::new(&pair.lens, &Camera { position, ..Camera::at_rest(pair.lens) })
        })
        .collect();
    let mut seen = Vec::with_capacity(points.len());
    let started = Instant::now();
    for view in &views {
        project_points(view, &points, &mut seen);
        std::hint::black_box(&seen);
    }
    started.elapsed().as_secs_f64() * 1e3
}

/// Times of a frame in depth, and of the same layers under an affine motion without, ms.
fn frame_ms(layers: &Arc<Layers>, motion: &FrameMotion, width: usize, height: usize) -> [f64; 2] {
    let mut warper = Warper::new(layers.clone(), width, height);
    let mut frame = GuideFrame::blank(width, height);
    let mut time = |motion: &dyn Fn(usize) -> FrameMotion| {
        warper.warp(&motion(TIMED), &mut frame);
        let started = Instant::now();
        (0..TIMED).for_each(|i| warper.warp(&motion(i), &mut frame));
        started.elapsed().as_secs_f64() * 1e3 / TIMED as f64
    };
    let affine =
        |i: usize| kinebrush_engine::motion::LayerMotion::Affine(glam::Affine2::from_scale(Vec2::splat(1.0 + (i + 1) as f32 * 1e-3)));
    [time(&|_| motion.clone()), time(&|i| FrameMotion::flat(affine(i), Vec::new()))]
}

/// Writes what was drawn, what is true, their difference, and a push-in and an orbit.
fn show(folder: &Path, pair: &StereoPair, layers: &Layers, guide: &GuideFrame, bilinear: &Picture) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let (width, height) = (guide.rgb.width, guide.rgb.height);
    let error = Picture::from_fn(width, height, |x, y| {
        let (ours, truth, covered) = (guide.rgb.at(x, y), pair.right.at(x, y), guide.coverage.at(x, y));
        std::array::from_fn(|c| ((ours[c] - truth[c]).abs() * 4.0 * covered).min(1.0))
    });
    let coverage = Picture::from_fn(width, height, |x, y| [guide.coverage.at(x, y); 3]);
    for (name, picture) in
        [("guide", &guide.rgb), ("bilinear", bilinear), ("truth", &pair.right), ("error", &error), ("coverage", &coverage)]
    {
        save_png(picture, &folder.join(format!("{name}.png")))?;
    }
    let distance = pair.inverse_depth(30.0).recip();
    for i in 0..8 {
        let part = i as f32 / 8.0;
        let push = Vec3::Z * distance * 0.3 * part;
        let (sin, cos) = (part * std::f32::consts::TAU).sin_cos();
        let orbit = distance * Vec3::new(0.08 * sin, 0.04 * cos, 0.0);
        let turn = Quat::from_rotation_arc(Vec3::Z, (Vec3::Z * distance - orbit).normalize());
        for (name, position, rotation) in [("push", push, Quat::IDENTITY), ("orbit", orbit, turn)] {
            let view = View::new(&pair.lens, &Camera { position, rotation, lens: pair.lens });
            let frame = layers.guide(&FrameMotion { view: Some(view), ..FrameMotion::still() }, width, height);
            save_png(&frame.rgb, &folder.join(format!("{name}{i}.png")))?;
        }
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tracks                {:.3} px median over {} points", self.track_error_px, self.tracks)?;
        writeln!(
            f,
            "guide                 {:.2} dB where it is covered and the truth is known ({:.1} % of the frame)",
            self.guide_psnr_db,
            self.known * 100.0
        )?;
        writeln!(f, "exact bilinear warp   {:.2} dB on the same pixels", self.bilinear_psnr_db)?;
        writeln!(f, "guide, all covered    {:.2} dB ({:.1} % of the frame)", self.guide_covered_psnr_db, self.covered * 100.0)?;
        writeln!(f, "projection            {:.2} ms for {POINTS} points in {FRAMES} frames", self.projection_ms)?;
        writeln!(f, "sheets                {} corners, {} triangles, made in {:.0} ms", self.corners, self.triangles, self.relief_ms)?;
        for (size, [deep, affine]) in [("384x216", self.frame_384x216_ms), ("1280x720", self.frame_1280x720_ms)] {
            writeln!(f, "frame of {size:<12} {deep:.1} ms in depth, {affine:.1} ms affine")?;
        }
        Ok(())
    }
}
