//! What is on the canvas when: the frames that were made, the playhead that runs over them, and the guide where nothing was made yet.
//!
//! Invariants: memory is bounded whatever the length of a take (older frames come back from the take's log); the playhead only waits,
//! it never leaves out a frame that a slow network made. Guarded by the tests below.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kinebrush_engine::motion::stroke::Stroke;
use kinebrush_engine::stream::live::{ChunkStats, Clock, Compiled, Correction, Event, LiveFrame, State};

use super::action::Compare;

/// Frames per second of video.
pub const FPS: f32 = 16.0;
/// Corrections that are held for scrubbing, bytes.
const HELD_BYTES: usize = 192 << 20;
/// Cuts whose frames are held: each has the picture in it several times.
const HELD_CUTS: usize = 3;
/// A real-time playhead that is further behind than this catches up, frames.
const LATE: f32 = 6.0;

/// Frames of one take.
#[derive(Debug, Default)]
pub struct TakeFrames {
    /// The take it branched off, and its first own frame.
    pub parent: Option<(u64, usize)>,
    /// Its log.
    pub path: Option<PathBuf>,
    /// Frames that exist: shared ones too.
    pub end: usize,
    held: BTreeMap<usize, LiveFrame>,
}

impl TakeFrames {
    /// A frame of its own, if it is held.
    pub fn held(&self, frame: usize) -> Option<&LiveFrame> {
        self.held.get(&frame)
    }
}

/// Something the studio has to act on.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A scene was compiled: its pixels are wanted.
    Compiled(Arc<Compiled>),
    /// A drag is over and is a stroke now.
    Dragged(u64, Box<Stroke>),
    /// A take was opened.
    Take(u64),
    /// To be shown for a while.
    Warning(String),
    /// To be shown until it is read.
    Failed(String),
}

/// Frames, playhead and what the worker last said.
#[derive(Debug)]
pub struct Player {
    /// Whether video is being made.
    pub state: State,
    /// How time runs.
    pub clock: Clock,
    /// What is shown of a frame.
    pub compare: Compare,
    /// Frames that are played again and again.
    pub loop_range: Option<(usize, usize)>,
    /// How the last chunk went.
    pub stats: Option<ChunkStats>,
    /// Frames per second made lately.
    pub made_fps: f32,
    /// Whether what was made is shown again.
    pub playing: bool,
    /// Whether the motion changed since the frames were made: the guide is shown then.
    pub stale: bool,
    /// Whether the playhead was moved since video was made last.
    pub scrubbed: bool,
    playhead: f32,
    takes: BTreeMap<u64, TakeFrames>,
    shown: u64,
    compiled: Option<Arc<Compiled>>,
    /// The drag in work.
    dragged: Option<(u64, Stroke)>,
    /// The newest take and the newest drag that were heard of.
    newest: (u64, u64),
    /// The newest of them that belong to another picture: the worker may still speak of them.
    past: (u64, u64),
    /// Corrections that are held, bytes.
    held_bytes: usize,
    last_tick: Option<f64>,
}

impl Default for Player {
    fn default() -> Self {
        Self {
            state: State::Idle,
            clock: Clock::RealTime,
            compare: Compare::Generated,
            loop_range: None,
            stats: None,
            made_fps: 0.0,
            playing: false,
            stale: false,
            scrubbed: false,
            playhead: 0.0,
            takes: BTreeMap::new(),
            shown: 0,
            compiled: None,
            dragged: None,
            newest: (0, 0),
            past: (0, 0),
            held_bytes: HELD_BYTES,
            last_tick: None,
        }
    }
}

impl Player {
    /// A player without frames.
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// A player for another picture, with the settings of this one.
    pub fn reset(&mut self) {
        let Self { clock, compare, newest, held_bytes, .. } = *self;
        *self = Self { clock, compare, newest, past: newest, held_bytes, ..Self::default() };
    }

    /// Holds no more than these bytes of corrections from the next frames on.
    pub fn hold_at_most(&mut self, bytes: usize) {
        self.held_bytes = bytes;
    }

    /// The hand took hold of something: drags are told from those of another picture by their numbers.
    pub fn pressed(&mut self, drag: u64) {
        self.newest.1 = self.newest.1.max(drag);
    }

    /// Whether the worker speaks of the picture before this one.
    fn is_past(&self, event: &Event) -> bool {
        match event {
            Event::Frames(frames) => frames.iter().all(|frame| frame.take <= self.past.0),
            Event::Take { take, .. } => *take <= self.past.0,
            Event::Chunk(stats) => stats.take <= self.past.0,
            Event::Dragged { drag, .. } => *drag <= self.past.1,
            _ => false,
        }
    }

    /// Takes in what the worker said.
    pub fn receive(&mut self, event: Event) -> Option<Notice> {
        if self.is_past(&event) {
            return None;
        }
        match event {
            Event::Compiled(compiled) => {
                self.compiled = Some(compiled.clone());
                Some(Notice::Compiled(compiled))
            }
            Event::Frames(frames) => {
                for frame in frames {
                    let take = self.takes.entry(frame.take).or_default();
                    take.end = take.end.max(frame.frame + 1);
                    take.held.insert(frame.frame, frame);
                }
                self.evict();
                None
            }
            Event::Chunk(stats) => {
                let fps = stats.frames as f32 / (stats.seconds as f32).max(1e-3);
                self.made_fps = if self.stats.is_none() { fps } else { self.made_fps * 0.8 + fps * 0.2 };
                self.stats = Some(stats);
                None
            }
            Event::Dragged { drag, stroke, done: true } => {
                self.dragged = None;
                Some(Notice::Dragged(drag, Box::new(stroke)))
            }
            Event::Dragged { drag, stroke, done: false } => {
                self.dragged = Some((drag, stroke));
                None
            }
            Event::Take { take, parent, path } => {
                let end = parent.map_or(0, |(_, frame)| frame);
                self.takes.insert(take, TakeFrames { parent, path, end, held: BTreeMap::new() });
                (self.shown, self.stale, self.playing) = (take, false, false);
                self.newest.0 = self.newest.0.max(take);
                self.playhead = end.saturating_sub(1) as f32;
                Some(Notice::Take(take))
            }
            Event::State(state) => {
                self.state = state;
                if state == State::Running {
                    (self.playing, self.stale, self.scrubbed) = (false, false, false);
                } else {
                    self.dragged = None;
                }
                None
            }
            Event::Warning(text) => Some(Notice::Warning(text)),
            Event::Failed(text) => {
                self.state = State::Idle;
                Some(Notice::Failed(text))
            }
        }
    }

    /// The newest compiled scene.
    pub fn compiled(&self) -> Option<&Arc<Compiled>> {
        self.compiled.as_ref()
    }

    /// The drag in work as far as the worker has it.
    pub fn dragged(&self) -> Option<&Stroke> {
        self.dragged.as_ref().map(|(_, stroke)| stroke)
    }

    /// Place of the playhead, frames.
    pub fn playhead(&self) -> f32 {
        self.playhead
    }

    /// The take on the canvas.
    pub fn shown_take(&self) -> Option<(u64, &TakeFrames)> {
        self.takes.get(&self.shown).map(|take| (self.shown, take))
    }

    /// All takes of this picture.
    pub fn takes(&self) -> &BTreeMap<u64, TakeFrames> {
        &self.takes
    }

    /// Whether the take on the canvas is the newest one, or there is none yet.
    pub fn shows_newest(&self) -> bool {
        self.takes.keys().next_back().is_none_or(|newest| *newest == self.shown)
    }

    /// Shows another take.
    pub fn show_take(&mut self, take: u64) {
        if self.takes.contains_key(&take) {
            (self.shown, self.stale) = (take, false);
            self.playhead = self.playhead.min(self.generated().end.saturating_sub(1) as f32);
        }
    }

    /// Forgets a take that was deleted.
    pub fn forget(&mut self, take: u64) {
        self.takes.remove(&take);
        if self.shown == take {
            self.shown = self.takes.keys().next_back().copied().unwrap_or(0);
        }
    }

    /// Frames of the shown take that exist.
    pub fn generated(&self) -> Range<usize> {
        0..self.takes.get(&self.shown).map_or(0, |take| take.end)
    }

    /// Runs of frames of the shown take that are held in memory, those it shares with the takes before it too.
    pub fn cached(&self) -> Vec<Range<usize>> {
        let mut held: Vec<usize> = Vec::new();
        let (mut id, mut end) = (self.shown, usize::MAX);
        while let Some(take) = self.takes.get(&id) {
            held.extend(take.held.range(..end).map(|(frame, _)| *frame));
            // Each parent is older than its branch, so this ends.
            let Some((parent, first)) = take.parent.filter(|(parent, _)| *parent < id) else { break };
            (id, end) = (parent, end.min(first));
        }
        held.sort_unstable();
        let mut runs: Vec<Range<usize>> = Vec::new();
        for frame in held {
            match runs.last_mut().filter(|run| run.end == frame) {
                Some(run) => run.end += 1,
                None => runs.push(frame..frame + 1),
            }
        }
        runs
    }

    /// The frame at the playhead, if it is held: of the shown take, or of the one it branched off.
    pub fn held(&self, frame: usize) -> Option<&LiveFrame> {
        let (mut id, mut take) = (self.shown, self.takes.get(&self.shown)?);
        // Each parent is older than its branch, so this ends.
        while let Some((parent, first)) = take.parent.filter(|(parent, first)| frame < *first && *parent < id) {
            (id, take) = (parent, self.takes.get(&parent).filter(|_| frame < first)?);
        }
        take.held.get(&frame)
    }

    /// The log that has the frame, if there is one.
    pub fn logged(&self, frame: usize) -> Option<&PathBuf> {
        let (_, take) = self.shown_take()?;
        (frame < take.end).then_some(take.path.as_ref()).flatten()
    }

    /// Puts the playhead somewhere; while video is made it stays at its end.
    pub fn seek(&mut self, frame: f32) {
        if self.state != State::Running {
            self.playhead = frame.max(0.0);
            self.scrubbed = true;
        }
    }

    /// Plays what was made, or holds.
    pub fn toggle_playing(&mut self, project_end: usize) {
        let end = self.end(project_end);
        self.playing = !self.playing && end > 1;
        if self.playing && self.playhead >= (end - 1) as f32 {
            self.playhead = 0.0;
        }
    }

    /// Whether the playhead is where the take goes on.
    pub fn at_end(&self) -> bool {
        self.playhead + 1.0 >= self.generated().end as f32
    }

    /// Where playing ends: with the take, or with the project when the guide is played.
    fn end(&self, project_end: usize) -> usize {
        let made = self.generated().end;
        if made == 0 || self.stale { project_end } else { made }
    }

    /// Lets time pass until `now`, seconds; returns when the picture will change next.
    pub fn tick(&mut self, now: f64, project_end: usize) -> Option<Duration> {
        let passed = self.last_tick.map_or(0.0, |last| (now - last).clamp(0.0, 0.5)) as f32;
        self.last_tick = (self.playing || self.state == State::Running).then_some(now);
        let before = self.playhead;
        if self.state == State::Running {
            let newest = self.generated().end as f32 - 1.0;
            let behind = newest - self.playhead;
            // Real time: one frame after the other; far behind, or every frame as it comes: the backlog within a chunk's time.
            let hurry = if self.clock == Clock::EveryFrame || behind > LATE { (behind * 4.0).max(FPS) } else { FPS };
            self.playhead = (self.playhead + passed * hurry).min(newest).max(0.0);
        } else if self.playing {
            self.playhead += passed * FPS;
            let (first, end) = self.loop_range.map_or((0, self.end(project_end)), |(a, b)| (a, b.min(self.end(project_end)).max(a + 1)));
            if self.playhead >= end as f32 {
                match self.loop_range {
                    Some(_) => self.playhead = first as f32 + (self.playhead - first as f32) % (end - first) as f32,
                    None => (self.playing, self.playhead) = (false, (end - 1) as f32),
                }
            }
        }
        let moving = self.playing || self.state == State::Running && self.playhead + 1.0 < self.generated().end as f32 + 0.999;
        let to_next = (1.0 - self.playhead.fract()) / FPS;
        (moving || before != self.playhead).then(|| Duration::from_secs_f32(to_next.clamp(1.0 / 60.0, 1.0 / FPS)))
    }

    /// Drops what is too much: frames of cuts that are long gone, then the oldest.
    fn evict(&mut self) {
        let mut cuts: Vec<u64> = self.takes.values().flat_map(|take| take.held.values()).map(|frame| frame.cut).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let oldest_cut = cuts.len().checked_sub(HELD_CUTS).map_or(0, |i| cuts[i]);
        let mut bytes = 0;
        for take in self.takes.values_mut().rev() {
            take.held.retain(|_, frame| frame.cut >= oldest_cut);
            let mut kept: VecDeque<usize> = VecDeque::new();
            for (index, frame) in take.held.iter().rev() {
                bytes += frame.correction.as_ref().map_or(64, |c| bytes_of(c));
                if bytes > self.held_bytes {
                    break;
                }
                kept.push_front(*index);
            }
            let first = kept.front().copied();
            take.held = first.map_or_else(BTreeMap::new, |first| take.held.split_off(&first));
        }
    }
}

fn bytes_of(correction: &Correction) -> usize {
    std::mem::size_of_val(&correction.rgba[..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use kinebrush_engine::motion::project::Project;
    use kinebrush_engine::picture::Picture;
    use kinebrush_engine::stream::live::compile::{Filling, Stage};

    fn compiled(cut: u64) -> Arc<Compiled> {
        let picture = Arc::new(Picture::filled(32, 24, [0.5; 3]));
        let (scene, layers) = Stage::new(&picture, 32, 0).unwrap().compile(&Project::new("", "none.png", 8), Filling::Smooth).unwrap();
        Arc::new(Compiled { revision: 1, scene: Arc::new(scene), layers: Arc::new(layers), cut, scale: 1.0 })
    }

    fn frames(take: u64, range: Range<usize>, compiled: &Arc<Compiled>) -> Event {
        let frame = |frame| {
            let motion = compiled.scene.frame_motion(frame);
            let Compiled { revision, layers, cut, .. } = &**compiled;
            LiveFrame { take, frame, revision: *revision, layers: layers.clone(), cut: *cut, motion, correction: None }
        };
        Event::Frames(range.map(frame).collect())
    }

    fn running() -> (Player, Arc<Compiled>) {
        let (mut player, compiled) = (Player::new(Clock::RealTime), compiled(1));
        player.receive(Event::Take { take: 1, parent: None, path: None });
        player.receive(Event::State(State::Running));
        (player, compiled)
    }

    #[test]
    fn while_video_is_made_every_frame_is_shown_in_turn_and_a_slow_network_is_waited_for() {
        let (mut player, compiled) = running();
        let (mut now, mut shown) = (0.0, Vec::new());
        for chunk in 0..6 {
            player.receive(frames(1, 4 * chunk..4 * chunk + 4, &compiled));
            // A chunk comes every half second, its frames take a quarter.
            for _ in 0..25 {
                now += 0.02;
                player.tick(now, 81);
                shown.push(player.playhead() as usize);
            }
        }
        shown.dedup();
        assert_eq!(shown, (0..24).collect::<Vec<_>>());
    }

    #[test]
    fn frames_of_cuts_that_are_long_gone_are_not_held() {
        let (mut player, _) = running();
        for cut in 1..=5 {
            let first = 4 * (cut as usize - 1);
            player.receive(frames(1, first..first + 4, &compiled(cut)));
        }
        assert_eq!((player.generated(), player.cached()), (0..20, vec![8..20]));
    }

    #[test]
    fn a_branch_shows_the_frames_it_shares() {
        let (mut player, compiled) = running();
        player.receive(frames(1, 0..12, &compiled));
        player.receive(Event::Take { take: 2, parent: Some((1, 8)), path: None });
        player.receive(frames(2, 8..12, &compiled));
        assert_eq!(player.generated(), 0..12);
        assert_eq!([3, 9].map(|frame| player.held(frame).unwrap().take), [1, 2]);
        assert!(player.shows_newest());
        player.show_take(1);
        assert!(!player.shows_newest());
        assert_eq!(player.held(9).unwrap().take, 1);
        assert!(player.held(12).is_none());
    }

    #[test]
    fn a_loop_comes_round_and_playing_ends_with_the_take() {
        let (mut player, compiled) = running();
        player.receive(frames(1, 0..12, &compiled));
        player.receive(Event::State(State::Paused));
        player.seek(4.0);
        player.loop_range = Some((4, 8));
        player.toggle_playing(81);
        let mut most = 0.0f32;
        for i in 0..200 {
            player.tick(f64::from(i) * 0.02, 81);
            assert!((4.0..8.0).contains(&player.playhead()), "{}", player.playhead());
            most = most.max(player.playhead());
        }
        assert!(player.playing && most > 7.5);
        player.loop_range = None;
        for i in 200..300 {
            player.tick(f64::from(i) * 0.02, 81);
        }
        assert_eq!((player.playing, player.playhead()), (false, 11.0));
    }

    fn opened(take: u64, parent: Option<(u64, usize)>) -> Event {
        Event::Take { take, parent, path: None }
    }

    fn chunk(take: u64) -> Event {
        Event::Chunk(ChunkStats { take, frame: 0, frames: 4, seconds: 0.5, hand_seconds: None })
    }

    fn dragged(drag: u64) -> Event {
        let stroke = ron::from_str("(region: Disc(center: (4, 4), radius: 2), path: [(3, 4, 4), (9, 8, 4)])");
        Event::Dragged { drag, stroke: stroke.unwrap_or_else(|error| panic!("{error}")), done: true }
    }

    #[test]
    fn what_the_worker_still_says_of_the_picture_before_is_left_out() {
        let mut player = Player::default();
        player.pressed(3);
        player.receive(opened(7, None));
        assert!(matches!(player.receive(dragged(2)), Some(Notice::Dragged(2, _))));
        player.reset();
        for late in [opened(7, None), chunk(7), dragged(3)] {
            assert!(player.receive(late).is_none());
        }
        assert!(player.takes().is_empty() && player.stats.is_none());
        assert!(matches!(player.receive(opened(8, None)), Some(Notice::Take(8))));
        player.receive(chunk(8));
        assert!(player.stats.is_some() && matches!(player.receive(dragged(4)), Some(Notice::Dragged(4, _))));
    }
}
