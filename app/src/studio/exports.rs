//! Exports: the dialog's requests as jobs of the engine, which run beside the live loop.
//!
//! Invariant: jobs go on while the dialog is closed and the document changes; a window that closes asks before it stops them. Guarded by
//! `tests/tests/studio.rs`.

use kinebrush_engine::media::video::Quality as Mp4Quality;
use kinebrush_engine::stream::export::{ExportFormat, ExportJob, ExportOptions, ExportSource};

use super::document::job::Job;
use super::export::{ExportAction, ExportContext, ExportDialog, ExportRequest, Format, JobState, JobView, Quality, What};
use super::*;

/// Every how many frames a GIF shows one: players of GIFs are slow.
const GIF_DIVISOR: usize = 2;

/// The dialog and its jobs.
pub(super) struct Exports {
    wake: Wake,
    dialog: ExportDialog,
    jobs: Vec<(u64, ExportJob, JobState)>,
    count: u64,
    /// The path that was looked at last, and whether something is there.
    looked: Option<(PathBuf, Job<bool>, bool)>,
    /// How long a frame took in the last job that got anywhere, seconds.
    seconds_per_frame: Option<f64>,
}

impl Exports {
    pub fn new(wake: Wake) -> Self {
        Self { wake, dialog: ExportDialog::new(What::Project), jobs: Vec::new(), count: 0, looked: None, seconds_per_frame: None }
    }

    /// Whether a file is being written that shall be: what was cancelled is as good as over.
    pub fn is_running(&self) -> bool {
        self.jobs.iter().any(|(_, job, state)| *state == JobState::Running && !job.is_cancelled())
    }

    pub fn cancel_all(&mut self) {
        self.jobs.iter().for_each(|(_, job, _)| job.cancel());
    }

    /// Cancels all, and waits until nothing of them is left on the disk: for the end of the program.
    pub fn end(&mut self) {
        self.cancel_all();
        for (_, job, _) in self.jobs.iter().filter(|(_, _, state)| *state == JobState::Running) {
            // It was cancelled; whatever else it failed with cannot be shown any more.
            let _ = job.wait();
        }
    }

    /// Chooses what the dialog begins with.
    pub fn offer(&mut self, what: What) {
        self.dialog = ExportDialog::new(what);
    }

    fn start(&mut self, options: ExportOptions, checkpoint: Arc<kinebrush_engine::model::checkpoint::Checkpoint>) {
        let wake = self.wake.clone();
        self.count += 1;
        self.jobs.insert(0, (self.count, ExportJob::spawn(options, checkpoint, move || wake()), JobState::Running));
    }

    /// Takes in what the jobs came to, a message for each that is over; `beside` says whether video is made meanwhile.
    pub fn poll(&mut self, beside: bool, toasts: &mut Toasts, strings: &Strings) {
        for (_, job, state) in self.jobs.iter_mut().filter(|(_, _, state)| *state == JobState::Running) {
            job.give_way(beside);
            let progress = job.progress();
            if let Some(left) = progress.seconds_left
                && progress.frame < progress.frames
            {
                self.seconds_per_frame = Some(left / (progress.frames - progress.frame) as f64);
            }
            *state = match job.result() {
                None => continue,
                Some(Ok(path)) => {
                    toasts.info((strings.messages.exported)(&path.display().to_string()));
                    JobState::Done
                }
                Some(Err(_)) if job.is_cancelled() => JobState::Cancelled,
                Some(Err(error)) => {
                    toasts.error(error.to_string());
                    JobState::Failed(error.to_string())
                }
            };
        }
    }

    fn views(&self) -> Vec<JobView> {
        let view = |(id, job, state): &(u64, ExportJob, JobState)| {
            let progress = job.progress();
            let (path, state) = (job.path().to_owned(), state.clone());
            JobView { id: *id, path, frame: progress.frame, frames: progress.frames, seconds_left: progress.seconds_left, state }
        };
        self.jobs.iter().map(view).collect()
    }

    /// Whether something is known to be at `path`.
    fn is_occupied(&mut self, path: PathBuf) -> bool {
        if self.looked.as_ref().is_none_or(|(looked, ..)| *looked != path) {
            let at = path.clone();
            let job = Job::start("kinebrush-look", self.wake.clone(), move || Ok(at.exists()));
            self.looked = Some((path, job, false));
        }
        let Some((_, job, found)) = &mut self.looked else { return false };
        if let Some(Ok(there)) = job.poll() {
            *found = there;
        }
        *found
    }
}

impl Studio {
    /// The dialog.
    pub(super) fn export_ui(&mut self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        let takes = self.take_items(ui.ctx());
        let Some(document) = &self.document else { return };
        let (folder, name) = (self.suggested_path().parent().map(Path::to_owned).unwrap_or_default(), document.title());
        let jobs = self.exports.views();
        let mut context = ExportContext {
            takes: &takes,
            project_frames: document.project().frames,
            source: (document.picture().width, document.picture().height),
            loop_range: self.player.loop_range,
            folder: &folder,
            name: &name,
            occupied: false,
            seconds_per_frame: self.exports.seconds_per_frame,
            jobs: &jobs,
        };
        context.occupied = self.exports.is_occupied(self.exports.dialog.path(&context));
        match self.exports.dialog.export_ui(ui, &context) {
            None => {}
            Some(ExportAction::Start(request)) => self.export(&request),
            Some(ExportAction::Browse { suggested, .. }) => self.ask(dialogs::Purpose::Export { suggested }),
            Some(ExportAction::Cancel(id)) => {
                if let Some((_, job, _)) = self.exports.jobs.iter().find(|(number, ..)| *number == id) {
                    job.cancel();
                }
            }
            Some(ExportAction::ShowFile(path)) => {
                start::open_page(path.parent().unwrap_or(&path));
            }
            Some(ExportAction::Dismiss(id)) => self.exports.jobs.retain(|(number, ..)| *number != id),
            Some(ExportAction::Close) => actions.push(Action::Show(Page::Canvas)),
        }
    }

    /// The file that was chosen for the video.
    pub(super) fn set_export_path(&mut self, path: &Path) {
        self.exports.dialog.set_path(path);
    }

    /// Starts to write a file.
    pub fn export(&mut self, request: &ExportRequest) {
        let (Some(document), Some(ready)) = (&self.document, self.model.ready()) else {
            self.toasts.info(self.strings().messages.model_loading);
            return;
        };
        let source = match request.what {
            What::Project => ExportSource::Project { project: Box::new(document.project().as_ref().clone()), frames: request.frames.end },
            What::Take(take) => match self.player.takes().get(&take).and_then(|take| take.path.clone()) {
                Some(path) => ExportSource::Take(path),
                None => {
                    self.toasts.error(self.strings().messages.take_not_kept);
                    return;
                }
            },
        };
        let format = match request.format {
            Format::Mp4 => ExportFormat::Mp4 {
                quality: match request.quality {
                    Quality::Small => Mp4Quality::Small,
                    Quality::Good => Mp4Quality::Good,
                    Quality::Best => Mp4Quality::Best,
                },
            },
            Format::Png => ExportFormat::Png,
            Format::Gif => ExportFormat::Gif { divisor: GIF_DIVISOR },
        };
        let (first, end, size) = (request.frames.start, request.frames.end, Some(request.size));
        let options = ExportOptions { source, first, end, size, format, path: request.path.clone(), threads: None };
        let checkpoint = ready.checkpoint.clone();
        self.exports.start(options, checkpoint);
    }

    /// Writes all of the shown take to `path`, as MP4 at the picture's size.
    pub fn export_shown_take(&mut self, path: PathBuf) {
        let (Some((take, frames)), Some((width, height))) = (self.player.shown_take(), self.picture_size()) else { return };
        let size = (width.next_multiple_of(2), height.next_multiple_of(2));
        let request =
            ExportRequest { what: What::Take(take), frames: 0..frames.end, size, format: Format::Mp4, quality: Quality::Good, path };
        self.export(&request);
    }

    /// Whether a file is being written.
    pub fn is_exporting(&self) -> bool {
        self.exports.is_running()
    }
}
