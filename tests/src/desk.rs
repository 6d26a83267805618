//! A studio on a desk: its window without a screen, driven by the labels that screen readers read, with the embedded model.
//!
//! Invariant: nothing waits for a fixed time; whoever waits says for what, and fails only when that does not come at all.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eframe::egui::accesskit::Role;
use eframe::egui::{Key, Modifiers, Pos2, Rect, Vec2, ViewportCommand, ViewportEvent, ViewportId};
use egui_kittest::kittest::{NodeT, Queryable};
use egui_kittest::{Harness, Node};
use kinebrush::studio::document::Document;
use kinebrush::studio::player::Player;
use kinebrush::studio::settings::Folders;
use kinebrush::studio::{Options, Studio};
use kinebrush_engine::stream::live::State;

/// What takes this long is stuck; the threads that make video give way to everything else that runs.
const STUCK: Duration = Duration::from_secs(240);
/// Window, points.
const SIZE: [f32; 2] = [1280.0, 800.0];

/// A studio and its window.
pub struct Desk {
    /// The window.
    pub harness: Harness<'static, Studio>,
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    std::path::absolute(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

impl Desk {
    /// A studio that keeps everything below `home` and opens `file`.
    pub fn new(home: &Path, file: Option<&Path>) -> Self {
        let options = Options {
            file: file.map(Path::to_owned),
            model: Default::default(),
            threads: None,
            folders: Some(Folders::below(home)),
            file_windows: false,
        };
        let builder = Harness::builder().with_size(SIZE).with_step_dt(1.0 / 60.0).with_max_steps(4).wgpu();
        Self { harness: builder.build_eframe(|cc| Studio::new(cc, options)) }
    }

    /// One that is ready to make video of `file`.
    pub fn ready(home: &Path, file: &Path) -> Self {
        let mut desk = Self::new(home, Some(file));
        desk.until("the picture is cut and the model is there", |desk| desk.studio().is_ready());
        desk
    }

    /// Waits until what the motion uncovers is filled with texture: a first cut with smooth holes comes before it.
    pub fn until_filled(&mut self) {
        self.until("the holes are filled", |desk| {
            desk.studio().is_ready() && desk.player().compiled().is_some_and(|compiled| compiled.cut >= 2)
        });
    }

    /// The studio.
    pub fn studio(&self) -> &Studio {
        self.harness.state()
    }

    /// What is on the canvas when.
    pub fn player(&self) -> &Player {
        self.studio().player()
    }

    /// The document, which must be open.
    pub fn document(&self) -> &Document {
        self.studio().document().unwrap()
    }

    /// Lets the window live until something holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(begin.elapsed() < STUCK, "waited in vain until {what}; the window shows:\n{:?}", self.labels());
            self.harness.step();
            // The other threads have the processor while the window has nothing new.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// All that can be read.
    pub fn labels(&self) -> Vec<String> {
        let text = |node: Node<'_>| node.accesskit_node().label().or(node.accesskit_node().value());
        self.harness.query_all_by(|_| true).filter_map(text).collect()
    }

    /// Whether a text is in sight.
    pub fn reads(&self, text: &str) -> bool {
        self.labels().iter().any(|label| label.contains(text))
    }

    /// What can be pressed and is called `label`: of several what is in front.
    #[track_caller]
    pub fn control<'a>(&'a self, label: &'a str) -> Node<'a> {
        let presses = [Role::Button, Role::RadioButton, Role::CheckBox, Role::ListItem, Role::ComboBox];
        let node = self
            .harness
            .query_all_by_label(label)
            .filter(|node| presses.contains(&node.accesskit_node().role()) && !node.accesskit_node().is_disabled())
            .last();
        node.unwrap_or_else(|| panic!("nothing called {label:?} can be pressed; there is: {:?}", self.labels()))
    }

    /// Whether something called `label` can be pressed.
    pub fn can_press(&self, label: &str) -> bool {
        self.harness.query_all_by_label(label).any(|node| {
            let node = node.accesskit_node();
            matches!(node.role(), Role::Button | Role::RadioButton) && !node.is_disabled()
        })
    }

    /// Scrolls to what is called `label`.
    #[track_caller]
    pub fn reach(&mut self, label: &str) {
        self.harness.run_steps(2);
        let node = self.harness.query_all_by_label(label).last();
        node.unwrap_or_else(|| panic!("nothing is called {label:?}")).scroll_to_me();
        // Scrolling takes its time.
        self.harness.run_steps(40);
    }

    /// Clicks what is called `label`.
    #[track_caller]
    pub fn press(&mut self, label: &str) {
        // What has just appeared finds its place only now.
        self.harness.run_steps(2);
        self.control(label).click();
        self.harness.run_steps(2);
        self.harness.remove_cursor();
        self.harness.step();
    }

    /// Presses keys.
    pub fn keys(&mut self, modifiers: Modifiers, key: Key) {
        self.harness.key_press_modifiers(modifiers, key);
        self.harness.run_steps(2);
    }

    /// Puts `text` into the text field called `label`, over what stands there.
    pub fn write(&mut self, label: &str, text: &str) {
        let field = |desk: &Self| desk.harness.query_all_by_role_and_label(Role::TextInput, label).last().unwrap().focus();
        field(self);
        self.harness.run_steps(2);
        self.keys(Modifiers::COMMAND, Key::A);
        self.harness.query_all_by_role_and_label(Role::TextInput, label).last().unwrap().type_text(text);
        self.harness.run_steps(2);
    }

    /// Answers a question for a path.
    pub fn write_path(&mut self, path: &Path) {
        self.write("Path of the file", path.to_str().unwrap());
        self.keys(Modifiers::NONE, Key::Enter);
    }

    /// The canvas on the screen.
    pub fn canvas(&self) -> Rect {
        self.harness.query_all_by_label("Canvas").find(|node| node.rect().area() > 1e5).unwrap().rect()
    }

    /// A place on the canvas, points from its middle.
    pub fn place(&self, x: f32, y: f32) -> Pos2 {
        self.canvas().center() + Vec2::new(x, y)
    }

    /// Presses the pointer, and moves it there over some steps; it stays down.
    pub fn hold(&mut self, from: (f32, f32), to: (f32, f32)) {
        let (from, to) = (self.place(from.0, from.1), self.place(to.0, to.1));
        self.harness.hover_at(from);
        self.harness.drag_at(from);
        self.harness.step();
        for i in 1..=12 {
            self.harness.hover_at(from.lerp(to, i as f32 / 12.0));
            self.harness.step();
        }
    }

    /// Lets the pointer go.
    pub fn drop_at(&mut self, at: (f32, f32)) {
        self.harness.drop_at(self.place(at.0, at.1));
        self.harness.run_steps(2);
    }

    /// Draws over the canvas.
    pub fn stroke(&mut self, from: (f32, f32), to: (f32, f32)) {
        self.hold(from, to);
        self.drop_at(to);
    }

    /// Waits until there are so many frames in the shown take.
    pub fn until_frames(&mut self, frames: usize) {
        self.until(&format!("there are {frames} frames"), |desk| desk.player().generated().end >= frames);
    }

    /// Holds the video.
    pub fn pause(&mut self) {
        self.press("Pause");
        self.until("it pauses", |desk| desk.player().state == State::Paused);
    }

    /// The window is asked to close, as by its own button.
    pub fn ask_to_close(&mut self) {
        self.harness.input_mut().viewports.get_mut(&ViewportId::ROOT).unwrap().events.push(ViewportEvent::Close);
        self.harness.run_steps(3);
    }

    /// Whether the window wants to close now.
    pub fn closes(&self) -> bool {
        let output = &self.harness.output().viewport_output[&ViewportId::ROOT];
        output.commands.contains(&ViewportCommand::Close)
    }

    /// Closes the window properly.
    pub fn close(mut self) {
        self.ask_to_close();
        self.until("the window closes", |desk| desk.closes());
        eframe::App::on_exit(self.harness.state_mut());
    }

    /// A picture of the canvas, px for point.
    pub fn look(&mut self) -> image::RgbaImage {
        let (rect, picture) = (self.canvas(), self.harness.render().unwrap());
        let (left, top) = (rect.left().round() as u32, rect.top().round() as u32);
        image::imageops::crop_imm(&picture, left, top, rect.width() as u32, rect.height() as u32).to_image()
    }
}

/// How much two pictures differ, parts of 255, on average over all pixels.
pub fn difference(a: &image::RgbaImage, b: &image::RgbaImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.as_raw().len() as f64
}
