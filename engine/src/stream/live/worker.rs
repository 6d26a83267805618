//! The worker: a thread that obeys commands between chunks, makes the next chunk when it is due, and says what happened.
//!
//! Invariant: commands never wait for the worker, and nothing waits for ever: an end is looked for wherever it waits. A panic, the log's
//! included, becomes `Failed`, and `Open` starts anew. Guarded by `tests/tests/live.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use candle_core::Device;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender, after, bounded, never, select};

use super::compile::{Answer, Compilers, Stage};
use super::hand::{Hands, Taken};
use super::log::OpenLog;
use super::mailbox::Mailbox;
use super::open_take::Take;
use super::pace::Pace;
use super::staging::Staging;
use super::{ChunkStats, Command, Event, State, panic_message};
use crate::error::Result;
use crate::model::checkpoint::Checkpoint;
use crate::motion::project::Project;
use crate::picture::Picture;

/// Longer side of the picture that is worked on, px, unless somebody says otherwise.
pub const LIVE_PX: usize = 1280;
/// Memory for the past of a take, bytes, unless somebody says otherwise.
pub const HISTORY_BYTES: usize = 256 << 20;
/// Events that may wait: four seconds of chunks with all that is said about them.
const MOST_EVENTS: usize = 48;
/// How long a full queue of events is waited for before the end is looked for again.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a worker works with.
pub struct LiveOptions {
    /// The model.
    pub checkpoint: Arc<Checkpoint>,
    /// Where it runs.
    pub device: Device,
    /// Longest side of the picture that is worked on, px; a larger one is scaled down.
    pub live_px: usize,
    /// Most memory for the past of a take, bytes: what branching starts from.
    pub history_bytes: usize,
    /// Opens the log of a take; without it no take is kept.
    pub open_log: Option<OpenLog>,
}

impl LiveOptions {
    /// On the processor, with the usual sizes, without logs.
    pub fn new(checkpoint: Arc<Checkpoint>) -> Self {
        Self { checkpoint, device: Device::Cpu, live_px: LIVE_PX, history_bytes: HISTORY_BYTES, open_log: None }
    }
}

/// The worker's other end. Dropped, it ends the worker within a chunk, and waits for that.
pub struct Worker {
    mailbox: Arc<Mailbox>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a worker; `wake` is called after each event. One that cannot start says `Failed`.
    pub fn spawn(options: LiveOptions, wake: impl Fn() + Send + 'static) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let (say, events) = bounded(MOST_EVENTS);
        let voice = Voice { say: say.clone(), wake: Box::new(wake), mailbox: mailbox.clone() };
        let thread = std::thread::Builder::new().name("kinebrush-live".into()).spawn(move || live(options, voice));
        if let Err(e) = &thread {
            // The queue is empty, so there is room.
            let _ = say.try_send(Event::Failed(format!("The video maker cannot be started ({e}); close other programs and start again")));
        }
        Self { mailbox, events, thread: thread.ok() }
    }

    /// Tells the worker something; never waits. Of motions the newest counts, of a hand's movements too when too many wait.
    pub fn send(&self, command: Command) {
        self.mailbox.send(command);
    }

    /// What the worker says. It waits for room when nobody listens, so they should be taken often.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.mailbox.close();
        if let Some(thread) = self.thread.take() {
            // A panic on the way out has nobody to be told to.
            let _ = thread.join();
        }
    }
}

/// How the worker speaks.
struct Voice {
    say: Sender<Event>,
    wake: Box<dyn Fn() + Send>,
    mailbox: Arc<Mailbox>,
}

impl Voice {
    /// Says it, waiting for room unless the worker shall end.
    fn say(&self, mut event: Event) {
        loop {
            match self.say.send_timeout(event, PATIENCE) {
                Ok(()) => return (self.wake)(),
                Err(SendTimeoutError::Timeout(back)) if !self.mailbox.is_closed() => event = back,
                Err(_) => return,
            }
        }
    }
}

/// The thread.
fn live(options: LiveOptions, voice: Voice) {
    let checkpoint = options.checkpoint.clone();
    let compilers = match Compilers::spawn(options.live_px) {
        Ok(compilers) => compilers,
        Err(e) => return voice.say(Event::Failed(e.to_string())),
    };
    let mut desk = Desk {
        checkpoint: &checkpoint,
        options,
        voice,
        compilers,
        staging: None,
        hands: Hands::default(),
        pace: Pace::default(),
        take: None,
        state: State::Idle,
        running: false,
        until: None,
        openings: 0,
        serials: 0,
        cuts: 0,
        takes: 0,
    };
    while !desk.voice.mailbox.is_closed() {
        let turn = catch_unwind(AssertUnwindSafe(|| desk.turn()));
        let failure = match turn {
            Ok(Ok(())) => continue,
            Ok(Err(e)) => e.to_string(),
            Err(panic) => format!("The video maker stopped ({}); this is a fault of the program", panic_message(&*panic)),
        };
        desk.fail(failure);
    }
}

/// Everything the worker has in hand.
struct Desk<'a> {
    checkpoint: &'a Checkpoint,
    options: LiveOptions,
    voice: Voice,
    compilers: Compilers,
    staging: Option<Staging>,
    hands: Hands,
    pace: Pace,
    /// The open take, or the one that ended last.
    take: Option<Take<'a>>,
    state: State,
    /// Whether chunk shall follow chunk, as soon as there is something to make them of.
    running: bool,
    until: Option<usize>,
    openings: u64,
    serials: u64,
    cuts: u64,
    takes: u64,
}

impl<'a> Desk<'a> {
    /// Obeys what was said, makes a chunk if one is due, else waits for whatever comes first.
    fn turn(&mut self) -> Result<()> {
        for command in self.voice.mailbox.take() {
            self.obey(command)?;
        }
        while let Ok(answer) = self.compilers.answers.try_recv() {
            self.hear(answer);
        }
        if self.pauses_here() {
            self.running = false;
            self.set_state(State::Paused);
        }
        let due = self.can_make().then(|| self.pace.wait(Instant::now()));
        if due.is_some_and(|wait| wait.is_zero()) {
            return self.make();
        }
        let timer = due.map_or_else(never, after);
        let (bell, answers) = (self.voice.mailbox.bell().clone(), self.compilers.answers.clone());
        select! {
            recv(bell) -> _ => {}
            recv(answers) -> answer => match answer {
                Ok(answer) => self.hear(answer),
                Err(_) => self.compilers.answers = never(),
            },
            recv(timer) -> _ => {}
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Open { picture, project, revision } => {
                self.end_take();
                self.take = None;
                self.openings += 1;
                self.staging = Some(Staging::new(self.openings, picture, project, revision));
                self.refresh();
            }
            Command::SetMotion { project, revision, absorbed } => {
                self.hands.forget(absorbed);
                if let Some(staging) = &mut self.staging {
                    (staging.project, staging.revision) = (project, revision);
                }
                self.refresh();
            }
            Command::Hand(hand) => {
                if self.take_is_open() {
                    self.hands.push(hand);
                }
            }
            Command::Run { until } => {
                (self.running, self.until) = (self.staging.is_some(), until);
                self.pace.restart();
            }
            Command::Pause => {
                self.running = false;
                if self.take_is_open() {
                    self.set_state(State::Paused);
                }
            }
            Command::Stop => self.end_take(),
            Command::SetClock(clock) => {
                self.pace.clock = clock;
                self.pace.restart();
            }
            Command::Branch { frame } => self.branch(frame)?,
        }
        Ok(())
    }

    fn take_is_open(&self) -> bool {
        self.take.as_ref().is_some_and(|take| take.open)
    }

    fn set_state(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.voice.say(Event::State(state));
        }
    }

    /// The project, or the drags on it, have changed.
    fn refresh(&mut self) {
        let Some(staging) = &mut self.staging else { return };
        if let Some(compiled) = staging.refresh(&self.hands, &self.compilers, &mut self.serials) {
            self.voice.say(Event::Compiled(compiled));
        }
    }

    fn hear(&mut self, answer: Answer) {
        let Some(staging) = &mut self.staging else { return };
        let heard = staging.hear(answer, &self.hands, &mut self.cuts);
        if let Some(compiled) = heard.compiled {
            self.voice.say(Event::Compiled(compiled));
        }
        if let Some(why) = heard.warning {
            self.voice.say(Event::Warning(why));
            heard.broken.iter().for_each(|drag| self.hands.remove(*drag));
            // What was asked for meanwhile, or what is left without the drags.
            self.refresh();
        }
    }

    /// Whether there is all that a chunk takes. A take begins with the newest motion, so it waits for that.
    fn can_make(&self) -> bool {
        let begun = self.take.as_ref().is_some_and(|take| take.open && take.next_frame() > 0);
        self.running && self.staging.as_ref().is_some_and(|staging| staging.ready().is_some() && (begun || !staging.is_pending()))
    }

    fn pauses_here(&self) -> bool {
        let next = self.take.as_ref().filter(|take| take.open).map(Take::next_frame);
        self.running && next.zip(self.until).is_some_and(|(next, until)| next >= until)
    }

    /// Makes the next chunk.
    fn make(&mut self) -> Result<()> {
        if !self.take_is_open() {
            self.begin_take();
        }
        let (Some(staging), Some(take)) = (&mut self.staging, &mut self.take) else { return Ok(()) };
        if self.state != State::Running {
            self.state = State::Running;
            self.voice.say(Event::State(State::Running));
        }
        let (now, first, frames) = (Instant::now(), take.next_frame(), take.chunk_frames());
        self.pace.cut(now, frames);
        let shown = staging.shown(&self.hands, &self.compilers, &mut self.serials);
        let taken = self.hands.cut(first, frames, now, &shown);
        let broken = staging.draw(&self.hands);
        let Some(ready) = staging.ready() else { return Ok(()) };
        let (made, warning) = take.make(&ready.compiled, ready.plan())?;
        let (number, done) = (take.number, Instant::now());
        self.voice.say(Event::Frames(made));
        let seconds = |from: Instant| done.saturating_duration_since(from).as_secs_f64();
        let hand_seconds = taken.oldest.map(seconds);
        self.voice.say(Event::Chunk(ChunkStats { take: number, frame: first, frames, seconds: seconds(now), hand_seconds }));
        if let Some(warning) = warning {
            self.voice.say(Event::Warning(warning));
        }
        self.report(&taken, &broken);
        Ok(())
    }

    /// Tells what became of the drags in a chunk.
    fn report(&mut self, taken: &Taken, broken: &[u64]) {
        for drag in &taken.drags {
            if let Some((stroke, done)) = self.hands.stroke(*drag).filter(|_| !broken.contains(drag)) {
                self.voice.say(Event::Dragged { drag: *drag, stroke, done });
            }
        }
        for drag in broken {
            self.hands.remove(*drag);
            self.voice.say(Event::Warning("A drag left the picture too far and was let go.".into()));
        }
    }

    /// A new take from frame 0 on.
    fn begin_take(&mut self) {
        let Some(ready) = self.staging.as_ref().and_then(Staging::ready) else { return };
        let (project, picture) = (ready.motion.project.clone(), ready.staged.picture.clone());
        let take = Take::new(self.checkpoint, &self.options.device, &project, &picture, self.options.history_bytes);
        self.open(take, &project, &picture, None);
    }

    /// Opens `take` under the next number.
    fn open(&mut self, mut take: Take<'a>, project: &Project, picture: &Picture, parent: Option<(u64, usize)>) {
        self.takes += 1;
        let opened = take.begin(self.takes, self.options.open_log.as_mut(), project, picture, parent);
        self.take = Some(take);
        self.voice.say(Event::Take { take: self.takes, parent, path: opened.path });
        if let Some(warning) = opened.warning {
            self.voice.say(Event::Warning(warning));
        }
    }

    /// Ends the open take; drags that were still held are told as they are.
    fn end_take(&mut self) {
        self.running = false;
        for (drag, stroke) in self.hands.end() {
            self.voice.say(Event::Dragged { drag, stroke, done: true });
        }
        if let Some(take) = &mut self.take {
            take.end();
        }
        self.set_state(State::Idle);
    }

    /// A new take that shares the past of this one before the chunk of `frame`, paused there.
    fn branch(&mut self, frame: usize) -> Result<()> {
        self.end_take();
        let Some((ready, staging)) = self.staging.as_ref().and_then(|staging| Some((staging.ready()?, staging))) else { return Ok(()) };
        let Some(mut take) = self.take.take() else {
            self.voice.say(Event::Warning("There is no take to branch off yet; make some video first.".into()));
            return Ok(());
        };
        let chunk = (frame / take.chunk_frames()) as u64;
        let (project, picture, at_hand) = (ready.motion.project.clone(), ready.staged.picture.clone(), ready.compiled.clone());
        let mut stage = Stage::new(&staging.picture, self.options.live_px, project.seed)?;
        let mailbox = self.voice.mailbox.clone();
        if !take.rewind(chunk, &mut stage, &at_hand, || mailbox.is_closed())? {
            self.take = Some(take);
            self.voice.say(Event::Warning(format!("Frame {frame} is too long ago to branch off; choose a later one.")));
            return Ok(());
        }
        let parent = (take.number, take.next_frame());
        self.open(take, &project, &picture, Some(parent));
        self.set_state(State::Paused);
        Ok(())
    }

    /// What was being made is lost; the take ends with its last chunk, and can be branched off there.
    fn fail(&mut self, why: String) {
        self.running = false;
        self.hands = Hands::default();
        // A log that panicked once may do so again.
        let ended = catch_unwind(AssertUnwindSafe(|| self.take.as_mut().map(Take::end)));
        if ended.is_err() {
            self.take = None;
        }
        self.voice.say(Event::Failed(why));
        self.set_state(State::Idle);
    }
}
