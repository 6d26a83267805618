//! The live worker with the embedded model: what is said when, what a hand and a new motion do, branching, faults, and an end at any time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candle_core::Device;
use crossbeam_channel::RecvTimeoutError;
use glam::Vec2;
use kinebrush_engine::media::picture_file::save_png;
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::motion::stroke::{After, Key, Stroke};
use kinebrush_engine::motion::{LayerMotion, Project, Region};
use kinebrush_engine::picture::Picture;
use kinebrush_engine::stream::live::compile::{Filling, Stage};
use kinebrush_engine::stream::live::log::{Log, MadeChunk};
use kinebrush_engine::stream::live::maker::ChunkMaker;
use kinebrush_engine::stream::live::worker::{LiveOptions, Worker};
use kinebrush_engine::stream::live::{Clock, Command, Compiled, Event, Hand, LiveFrame, State};
use kinebrush_engine::stream::render::Renderer;

/// Longer than anything takes on a machine that does other things too; only a hang is as long.
const HANG: Duration = Duration::from_secs(120);
const SIZE: (usize, usize) = (128, 80);

fn picture() -> Picture {
    Picture::from_fn(SIZE.0, SIZE.1, |x, y| {
        let inside = (12.5 - (x as f32 + 0.5 - 40.0).hypot(y as f32 + 0.5 - 40.0)).clamp(0.0, 1.0);
        let ground = [0.3 + x as f32 / 400.0, 0.5 + 0.1 * ((x / 3 + y / 5) % 2) as f32, 0.2 + y as f32 / 200.0];
        [0, 1, 2].map(|c| [0.9, 0.1, 0.1][c] * inside + ground[c] * (1.0 - inside))
    })
}

fn disc(x: f32, y: f32) -> Region {
    Region::Disc { center: (x, y), radius: 14.0, softness: 0.0 }
}

fn stroke(region: Region, path: &[(f32, f32, f32)]) -> Stroke {
    Stroke::along(region, path.iter().map(|key| Key::from(*key)).collect())
}

fn project(strokes: Vec<Stroke>) -> Arc<Project> {
    let mut project = Project::new("", "in memory.png", 16);
    (project.strokes, project.seed) = (strokes, 3);
    Arc::new(project)
}

fn dragged() -> Arc<Project> {
    project(vec![stroke(disc(40.0, 40.0), &[(0.0, 40.0, 40.0), (12.0, 90.0, 44.0)])])
}

fn sketch() -> Arc<Checkpoint> {
    Arc::new(Checkpoint::sketch(&Device::Cpu).unwrap())
}

/// A worker on the picture, without a clock.
fn open(options: LiveOptions, project: Arc<Project>) -> Worker {
    let worker = Worker::spawn(options, || {});
    worker.send(Command::SetClock(Clock::EveryFrame));
    worker.send(Command::Open { picture: Arc::new(picture()), project, revision: 1 });
    worker
}

fn next(worker: &Worker) -> Event {
    worker.events().recv_timeout(HANG).expect("the worker says nothing any more")
}

/// All events up to the one that ends it, that one included.
fn until(worker: &Worker, end: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = next(worker);
        let done = end(&event);
        events.push(event);
        if done {
            return events;
        }
    }
}

fn paused(event: &Event) -> bool {
    matches!(event, Event::State(State::Paused))
}

fn frames(events: &[Event]) -> Vec<LiveFrame> {
    events.iter().flat_map(|event| if let Event::Frames(frames) = event { frames.clone() } else { Vec::new() }).collect()
}

/// Where a frame's object layer has taken a source place.
fn place(frame: &LiveFrame, object: usize, source: Vec2) -> Vec2 {
    frame.motion.objects[object].apply(source)
}

/// Waits until texture has come, so that nothing changes any more but by commands.
fn settle(worker: &Worker) -> Vec<Event> {
    let cuts = std::cell::Cell::new(0);
    until(worker, |event| {
        cuts.set(cuts.get() + u32::from(matches!(event, Event::Compiled(_))));
        cuts.get() == 2
    })
}

/// What is the same about two frames whatever happened around them.
fn same(a: &[LiveFrame], b: &[LiveFrame]) -> bool {
    let own = |frames: &[LiveFrame]| frames.iter().map(|f| (f.frame, f.motion.clone(), f.correction.clone())).collect::<Vec<_>>();
    own(a) == own(b)
}

/// A frame as it is shown.
fn shown(frame: &LiveFrame, (width, height): (usize, usize)) -> Picture {
    let mut picture = frame.layers.guide(&frame.motion, width, height).rgb;
    if let Some(correction) = &frame.correction {
        assert_eq!((correction.width, correction.height), (width, height));
        for (pixel, change) in picture.data.iter_mut().zip(&correction.rgba) {
            (0..3).for_each(|c| pixel[c] += change[c].to_f32());
        }
    }
    picture
}

#[test]
fn frames_come_in_order_from_open_to_pause_and_go_on() {
    let worker = open(LiveOptions::new(sketch()), dragged());
    let events = settle(&worker);
    let compiled: Vec<&Arc<Compiled>> = events.iter().filter_map(|e| if let Event::Compiled(c) = e { Some(c) } else { None }).collect();
    assert!(compiled[0].cut < compiled[1].cut && compiled.iter().all(|c| c.revision == 1 && c.scale == 1.0));
    worker.send(Command::Run { until: Some(12) });
    let events = until(&worker, paused);
    assert!(matches!(events[0], Event::Take { take: 1, parent: None, path: None }) && matches!(events[1], Event::State(State::Running)));
    assert!(frames(&events).iter().map(|frame| (frame.take, frame.frame)).eq((0..12).map(|frame| (1, frame))));
    assert_eq!(
        events.iter().filter(|event| matches!(event, Event::Chunk(stats) if stats.frames == 4 && stats.hand_seconds.is_none())).count(),
        3
    );
    assert!(frames(&events)[0].correction.is_none(), "the first frame is the picture");
    assert!(frames(&events)[8..].iter().all(|frame| frame.correction.is_some()), "the network was never asked");
    worker.send(Command::Run { until: Some(16) });
    let events = until(&worker, paused);
    assert!(frames(&events).iter().map(|frame| (frame.take, frame.frame)).eq((12..16).map(|frame| (1, frame))));
    worker.send(Command::Stop);
    until(&worker, |event| matches!(event, Event::State(State::Idle)));
    worker.send(Command::Run { until: Some(4) });
    let events = until(&worker, paused);
    assert!(matches!(events[0], Event::Take { take: 2, .. }));
    assert_eq!(frames(&events)[0].frame, 0);
}

#[test]
fn chunks_equal_those_of_a_renderer() {
    let folder = tempfile::tempdir().unwrap();
    save_png(&picture(), &folder.path().join("p.png")).unwrap();
    let picture = kinebrush_engine::media::picture_file::load_picture(&folder.path().join("p.png")).unwrap();
    let mut project = Project::new(folder.path(), "p.png", 16);
    (project.strokes, project.seed) = (dragged().strokes.clone(), 3);
    let checkpoint = sketch();
    let mut renderer = Renderer::new(&project, &picture, Some(&checkpoint), &Device::Cpu, None, project.seed).unwrap();
    assert_eq!(renderer.model_size(), renderer.output_size());
    let mut stage = Stage::new(&Arc::new(picture), 1280, project.seed).unwrap();
    let (scene, layers) = stage.compile(&project, Filling::Textured).unwrap();
    let compiled = Arc::new(Compiled { revision: 1, scene: Arc::new(scene), layers: Arc::new(layers), cut: 1, scale: stage.scale() });
    let mut maker = ChunkMaker::new(&checkpoint, &Device::Cpu, SIZE, project.seed);
    for _ in 0..5 {
        let truth = renderer.next_chunk().unwrap();
        for (frame, truth) in maker.make(1, &compiled).unwrap().iter().zip(truth) {
            let ours = shown(frame, SIZE);
            let worst = ours.data.as_flattened().iter().zip(truth.data.as_flattened()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-3, "frame {}: {worst}", frame.frame);
        }
    }
}

#[test]
fn a_take_repeats_whatever_the_timing() {
    let checkpoint = sketch();
    let run = |clock: Clock, pauses: &[usize]| {
        let worker = open(LiveOptions::new(checkpoint.clone()), dragged());
        worker.send(Command::SetClock(clock));
        settle(&worker);
        let mut all = Vec::new();
        for pause in pauses {
            worker.send(Command::Run { until: Some(*pause) });
            all.extend(frames(&until(&worker, paused)));
        }
        all
    };
    let (one, two) = (run(Clock::EveryFrame, &[16]), run(Clock::RealTime, &[4, 12, 16]));
    assert!(one.len() == 16 && same(&one, &two));
}

#[test]
fn a_hand_moves_what_it_took_and_its_stroke_says_so() {
    let worker = open(LiveOptions::new(sketch()), project(vec![]));
    settle(&worker);
    worker.send(Command::Run { until: Some(4) });
    until(&worker, paused);
    let (start, taken) = (Instant::now(), Vec2::new(40.0, 40.0));
    worker.send(Command::Hand(Hand::Press { drag: 1, region: disc(40.0, 40.0), place: taken, time: start }));
    worker.send(Command::Hand(Hand::Move { drag: 1, place: taken + Vec2::X * 10.0, time: start + Duration::from_millis(10) }));
    // The hand's layer is cut while video is made; then its way is in the frames.
    worker.send(Command::Run { until: None });
    let events = until(&worker, |event| matches!(event, Event::Dragged { .. }));
    let Some(Event::Dragged { drag: 1, stroke, done: false }) = events.last() else { panic!("{:?}", events.last()) };
    let last = frames(&events).pop().unwrap();
    assert_eq!(stroke.path.last().unwrap().frame, last.frame as f32);
    assert!(place(&last, 0, taken).distance(taken + Vec2::X * 10.0) < 0.1, "{}", place(&last, 0, taken));
    assert!(matches!(&last.motion.objects[..], [motion] if matches!(motion, LayerMotion::Mesh(_)) == stroke.region.is_soft()));
    assert_eq!(last.layers.objects.len(), 1);
    let place_of_hand = taken + Vec2::new(40.0, 8.0);
    worker.send(Command::Hand(Hand::Release { drag: 1, place: place_of_hand, time: Instant::now(), after: After::Hold }));
    let events = until(&worker, |event| matches!(event, Event::Dragged { done: true, .. }));
    let Some(Event::Dragged { stroke, .. }) = events.last() else { unreachable!() };
    let (stroke, last) = (stroke.clone(), frames(&events).pop().unwrap());
    assert!(place(&last, 0, taken).distance(place_of_hand) < 0.1);
    assert!(events.iter().any(|event| matches!(event, Event::Chunk(stats) if stats.hand_seconds.is_some())));
    assert!(stroke.path.windows(2).all(|pair| pair[1].frame > pair[0].frame) && stroke.path[0].frame >= 3.0);
    // The project takes the stroke over: nothing jumps, nothing is cut again.
    worker.send(Command::SetMotion { project: project(vec![stroke]), revision: 2, absorbed: 1 });
    let events = until(&worker, |event| matches!(event, Event::Frames(frames) if frames[0].revision == 2));
    let all = frames(&events);
    assert!(all.iter().all(|frame| place(frame, 0, taken).distance(place_of_hand) < 0.1));
    assert!(!events.iter().any(|event| matches!(event, Event::Dragged { .. } | Event::Warning(_) | Event::Failed(_))));
}

#[test]
fn the_newest_motion_is_in_the_next_chunk_while_video_is_made() {
    let worker = open(LiveOptions::new(sketch()), dragged());
    settle(&worker);
    worker.send(Command::Run { until: None });
    let before = frames(&until(&worker, |event| matches!(event, Event::Frames(_))));
    let other = project(vec![stroke(disc(40.0, 40.0), &[(0.0, 40.0, 40.0), (12.0, 60.0, 70.0)])]);
    worker.send(Command::SetMotion { project: other.clone(), revision: 2, absorbed: 0 });
    let events = until(&worker, |event| matches!(event, Event::Frames(frames) if frames[0].revision == 2 && frames[0].frame >= 12));
    let last = frames(&events).pop().unwrap();
    assert!(place(&last, 0, Vec2::new(40.0, 40.0)).distance(Vec2::new(60.0, 70.0)) < 0.1);
    assert_eq!(last.cut, before[0].cut, "the same layers were cut again");
    // A motion that is none: said, and the last good one stays.
    let mut broken = (*other).clone();
    broken.strokes[0].path.clear();
    worker.send(Command::SetMotion { project: Arc::new(broken), revision: 3, absorbed: 0 });
    let events = until(&worker, |event| matches!(event, Event::Warning(_)));
    assert!(matches!(events.last(), Some(Event::Warning(why)) if why.starts_with("strokes[0].path: has no key")));
    let events = until(&worker, |event| matches!(event, Event::Frames(_)));
    assert!(frames(&events).iter().all(|frame| frame.revision == 2));
    // Another layer is cut beside the one there is.
    let two = project(vec![other.strokes[0].clone(), stroke(disc(90.0, 30.0), &[(0.0, 0.0, 0.0), (4.0, 0.0, 9.0)])]);
    worker.send(Command::SetMotion { project: two, revision: 4, absorbed: 0 });
    let events = until(&worker, |event| matches!(event, Event::Frames(frames) if frames[0].revision == 4));
    let last = frames(&events).pop().unwrap();
    assert!(last.motion.objects.len() == 2 && place(&last, 1, Vec2::ZERO).distance(Vec2::Y * 9.0) < 0.1);
}

#[test]
fn a_branch_goes_on_as_its_parent_did() {
    let worker = open(LiveOptions::new(sketch()), dragged());
    settle(&worker);
    worker.send(Command::Run { until: Some(96) });
    let first = frames(&until(&worker, paused));
    // Off an open take, off one that ended, off a branch; near a kept state, far from one, at the very beginning, and after another cut.
    for (frame, from) in [(43, 40), (95, 92), (64, 64), (0, 0)] {
        worker.send(Command::Branch { frame });
        let events = until(&worker, paused);
        let Some(Event::Take { take, parent: Some((parent, own)), .. }) = events.iter().find(|e| matches!(e, Event::Take { .. })) else {
            panic!("{events:?}")
        };
        assert_eq!((*own, *parent + 1), (from, *take));
        worker.send(Command::Run { until: Some(96) });
        let again = frames(&until(&worker, paused));
        assert!(again.iter().all(|frame| frame.take == *take) && same(&again, &first[from..]), "from {from}");
    }
    let two = project(vec![dragged().strokes[0].clone(), stroke(disc(90.0, 30.0), &[(0.0, 0.0, 0.0)])]);
    worker.send(Command::SetMotion { project: two, revision: 2, absorbed: 0 });
    settle(&worker);
    worker.send(Command::Branch { frame: 24 });
    until(&worker, paused);
    worker.send(Command::SetMotion { project: dragged(), revision: 3, absorbed: 0 });
    settle(&worker);
    worker.send(Command::Run { until: Some(40) });
    assert!(same(&frames(&until(&worker, paused)), &first[24..40]), "a past that was cut otherwise");
}

/// Remembers what it is told; fails or panics at a chunk.
struct Told {
    lines: Arc<Mutex<Vec<String>>>,
    fails: Option<u64>,
    panics: Option<u64>,
}

impl Log for Told {
    fn motion(&mut self, chunk: u64, project: &Project) -> kinebrush_engine::Result<()> {
        self.lines.lock().unwrap().push(format!("motion {chunk} {}", project.strokes.len()));
        Ok(())
    }

    fn chunk(&mut self, chunk: u64, made: &MadeChunk) -> kinebrush_engine::Result<()> {
        assert_ne!(self.panics, Some(chunk), "the log is broken");
        if self.fails == Some(chunk) {
            return Err(kinebrush_engine::Error::file("take", "the disk is full"));
        }
        assert!(made.active.len() > 1 && made.output.len() % made.active.len() == 0);
        let active = made.active.iter().any(|active| *active);
        self.lines.lock().unwrap().push(format!("chunk {chunk} {active} {:?}", made.filling));
        Ok(())
    }
}

/// Options with a log for the first take that fails or panics; later ones do not.
fn logged(fails: Option<u64>, panics: Option<u64>) -> (LiveOptions, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    let open = move |take: u64, project: &Project, picture: &Picture, parent: Option<(u64, usize)>| {
        kept.lock().unwrap().push(format!("take {take} {} {} {parent:?}", project.strokes.len(), picture.width));
        let (fails, panics) = if take == 1 { (fails, panics) } else { (None, None) };
        Ok((Box::new(Told { lines: kept.clone(), fails, panics }) as Box<dyn Log>, PathBuf::from(format!("{take}.take"))))
    };
    (LiveOptions { open_log: Some(Box::new(open)), ..LiveOptions::new(sketch()) }, lines)
}

#[test]
fn a_log_is_told_every_motion_and_chunk_and_may_fail() {
    let (options, lines) = logged(Some(2), None);
    let worker = open(options, dragged());
    settle(&worker);
    worker.send(Command::Run { until: Some(16) });
    let events = until(&worker, paused);
    assert!(events.iter().any(|e| matches!(e, Event::Take { path: Some(path), .. } if *path == PathBuf::from("1.take"))));
    let warnings: Vec<_> = events.iter().filter_map(|e| if let Event::Warning(why) = e { Some(why) } else { None }).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("the disk is full"), "{warnings:?}");
    assert_eq!(frames(&events).len(), 16, "the video goes on without its log");
    worker.send(Command::Branch { frame: 8 });
    until(&worker, paused);
    worker.send(Command::Run { until: Some(12) });
    until(&worker, paused);
    let told = lines.lock().unwrap().clone();
    let expected = ["take 1 1 128 None", "motion 0 1", "chunk 0 true Textured", "chunk 1 true Textured", "take 2 1 128 Some((1, 8))"];
    assert_eq!(told[..5], expected);
    assert_eq!(told[5..], ["motion 2 1", "chunk 2 true Textured"]);
}

#[test]
fn a_panic_is_told_and_video_goes_on_from_the_last_chunk_or_anew() {
    let (options, _) = logged(None, Some(2));
    let worker = open(options, dragged());
    settle(&worker);
    worker.send(Command::Run { until: Some(16) });
    let events = until(&worker, |event| matches!(event, Event::Failed(_)));
    assert!(matches!(events.last(), Some(Event::Failed(why)) if why.contains("the log is broken")), "{:?}", events.last());
    assert!(frames(&events).iter().map(|frame| frame.frame).eq(0..8));
    worker.send(Command::Branch { frame: 8 });
    let events = until(&worker, paused);
    assert!(events.iter().any(|event| matches!(event, Event::Take { parent: Some((1, 8)), .. })), "{events:?}");
    worker.send(Command::Run { until: Some(12) });
    let events = until(&worker, paused);
    assert!(frames(&events).iter().map(|frame| (frame.take, frame.frame)).eq((8..12).map(|frame| (2, frame))));
    worker.send(Command::Open { picture: Arc::new(picture()), project: dragged(), revision: 5 });
    worker.send(Command::Run { until: Some(8) });
    let events = until(&worker, paused);
    assert!(events.iter().any(|event| matches!(event, Event::State(State::Idle))));
    assert!(frames(&events).iter().map(|frame| frame.frame).eq(0..8));
}

#[test]
fn what_cannot_be_done_is_said_or_left_and_nothing_stops() {
    let worker = Worker::spawn(LiveOptions::new(sketch()), || {});
    for command in [Command::Run { until: None }, Command::Pause, Command::Stop, Command::Branch { frame: 7 }] {
        worker.send(command);
    }
    let tiny = Picture::filled(300, 9, [0.5; 3]);
    worker.send(Command::Open { picture: Arc::new(tiny), project: project(vec![]), revision: 1 });
    let events = until(&worker, |event| matches!(event, Event::Warning(_)));
    assert!(matches!(events.last(), Some(Event::Warning(why)) if why.contains("300x9")), "{events:?}");
    worker.send(Command::Open { picture: Arc::new(picture()), project: dragged(), revision: 2 });
    worker.send(Command::Branch { frame: 7 });
    settle(&worker);
    worker.send(Command::Branch { frame: 7 });
    let events = until(&worker, |event| matches!(event, Event::Warning(_)));
    assert!(matches!(events.last(), Some(Event::Warning(why)) if why.contains("no take")));
    // A region that is none is let go, and the video goes on.
    worker.send(Command::SetClock(Clock::EveryFrame));
    worker.send(Command::Run { until: Some(4) });
    until(&worker, paused);
    let nothing = Region::Disc { center: (40.0, 40.0), radius: 0.0, softness: 0.0 };
    worker.send(Command::Hand(Hand::Press { drag: 1, region: nothing, place: Vec2::ZERO, time: Instant::now() }));
    worker.send(Command::Run { until: None });
    until(&worker, |event| matches!(event, Event::Warning(_)));
    until(&worker, |event| matches!(event, Event::Frames(_)));
}

#[test]
fn dropping_a_worker_ends_it_at_any_time() {
    let checkpoint = sketch();
    for read in [0, 1, 5, 20] {
        let worker = open(LiveOptions::new(checkpoint.clone()), dragged());
        worker.send(Command::Run { until: None });
        (0..read).for_each(|_| drop(next(&worker)));
        let events = worker.events().clone();
        drop(worker);
        // The thread is gone: what it said is still there, then the line is dead.
        while events.try_recv().is_ok() {}
        assert_eq!(events.recv_timeout(HANG).err(), Some(RecvTimeoutError::Disconnected));
    }
    // Nobody listens, the queue is full, and it ends all the same.
    let worker = open(LiveOptions::new(checkpoint), dragged());
    worker.send(Command::Run { until: None });
    while !worker.events().is_full() {
        std::thread::yield_now();
    }
    drop(worker);
}
