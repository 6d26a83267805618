//! Edits a picture at random times and says so, until it is killed: the victim of `tests/kill.rs`. Arguments: the folder with `a.png`, in
//! which it also keeps its session, and a seed. Each line on stdout: an edit's number, and when it was handed over, ms of its own clock.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use kinebrush::studio::document::Document;
use kinebrush::studio::document::autosave::{Autosave, SaveState};
use kinebrush_tests::editing::numbered_work;
use rand::{RngExt, SeedableRng};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("a folder"));
    let seed = arguments.next().and_then(|text| text.parse().ok()).expect("a seed");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut document = Document::open(&folder.join("a.png")).unwrap();
    let autosave = Autosave::new(folder.join("sessions"), Arc::new(|| {}));
    let start = Instant::now();
    for number in 1.. {
        document.edit("Change", 0, numbered_work(&folder, number)).unwrap();
        autosave.put(SaveState::of(&document));
        println!("{number} {}", start.elapsed().as_millis());
        std::thread::sleep(Duration::from_millis(random.random_range(1..60)));
    }
}
