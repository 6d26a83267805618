//! A stream allocates nothing: after its first chunks, no thread asks the system for memory.
#![allow(clippy::unwrap_used)]

use candle_core::Device;
use glam::{Affine2, Vec2};
use kinebrush_engine::condition::FramePoints;
use kinebrush_engine::guide::layers::{CutOptions, Layers};
use kinebrush_engine::guide::warp::{GuideFrame, Warper};
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::motion::layer_motion::Mesh;
use kinebrush_engine::motion::track_field::{PointState, TrackField};
use kinebrush_engine::motion::{FrameMotion, LayerMotion};
use kinebrush_engine::picture::{Mask, Picture};
use kinebrush_engine::stream::pipeline::Pipeline;
use kinebrush_engine::stream::session::Session;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;

/// Counts on all threads.
#[global_allocator]
static COUNTER: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SIZE: (usize, usize) = (200, 120);
const CHUNKS: usize = 8;
const WARM_UP: usize = 2;

/// A picture with two discs, the front one bent.
fn layers() -> Layers {
    let (width, height) = SIZE;
    let disc =
        |x: f32| Mask::from_fn(width, height, move |u, v| f32::from(u8::from(Vec2::new(u as f32 - x, v as f32 - 60.0).length() < 25.0)));
    let picture = Picture::from_fn(width, height, |x, y| [x as f32 / 200.0, y as f32 / 120.0, ((x / 3 + y / 5) % 4) as f32 / 4.0]);
    Layers::cut(&picture, &[disc(60.0), disc(140.0)], &CutOptions { plate_margin_px: 20, ..CutOptions::default() })
}

/// A plate that stands, then moves; a disc that moves and one that bends.
fn motions(frame: usize) -> FrameMotion {
    let time = frame as f32 * 0.3;
    let shift = |x: f32, y: f32| LayerMotion::Affine(Affine2::from_translation(Vec2::new(x, y)));
    let plate = if frame < 16 { LayerMotion::STILL } else { shift(0.0, time - 4.0) };
    let (columns, rows, origin, spacing_px) = (9, 9, Vec2::new(105.0, 25.0), 9.0);
    let rest = (0..columns * rows).map(|i| origin + spacing_px * Vec2::new((i % columns) as f32, (i / columns) as f32));
    let positions = rest.map(|p| p + 4.0 * Vec2::new((time + p.y * 0.05).sin(), 0.0)).collect();
    FrameMotion::flat(plate, vec![shift(3.0 * time, time), LayerMotion::Mesh(Mesh { origin, spacing_px, columns, rows, positions })])
}

#[test]
fn chunks_after_the_first_two_allocate_nothing() {
    let (width, height) = SIZE;
    let checkpoint = Checkpoint::sketch(&Device::Cpu).unwrap();
    let frames = checkpoint.dit.config.chunk_frames();
    let motions: Vec<_> = (0..CHUNKS * frames).map(motions).collect();
    let field = TrackField::grid(width, height, 50, 1, |_| 0);
    let points = FramePoints {
        states: vec![PointState::Driven; field.len()],
        visible: vec![true; field.len()],
        positions: field.sources,
        ids: field.ids,
    };
    let points = vec![points; frames];
    let mut warper = Warper::new(Arc::new(layers()), width, height);
    let mut guide = vec![GuideFrame::blank(width, height); frames];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let mut pipeline = Pipeline::new(&checkpoint, Session::new(&checkpoint, &Device::Cpu, 1));
    let mut changed = false;
    let mut allocations = Vec::with_capacity(CHUNKS);
    // Work that comes from outside of a pool is queued, and the queue allocates.
    pool.install(|| {
        for motions in motions.chunks(frames) {
            let region = Region::new(COUNTER);
            for (frame, motion) in guide.iter_mut().zip(motions) {
                warper.warp(motion, frame);
            }
            changed |= pipeline.advance(&guide, &points, |shown| shown[0].data != guide[0].rgb.data).unwrap();
            let counted = region.change();
            allocations.push(counted.allocations + counted.reallocations);
        }
    });
    assert!(changed, "the model changed nothing");
    assert!(allocations[0] > 0, "the allocations are not counted");
    assert!(allocations[WARM_UP..].iter().all(|count| *count == 0), "{allocations:?}");
}
