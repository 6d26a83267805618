//! A process that is killed while it is edited loses at most a second of work, and never all of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use kinebrush::studio::document::autosave::Recovery;
use kinebrush_engine::media::picture_file::save_png;
use kinebrush_engine::picture::Picture;
use kinebrush_tests::editing::numbered_work;
use rand::{RngExt, SeedableRng};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// A second, and as much again for a machine that is busy, ms.
const LOST_AT_MOST: u64 = 2000;

/// Starts an editor, kills it after `edits` edits; what was recovered, and how many edits came too late to be in it.
fn kill_after(edits: usize, seed: u64) -> (Option<u64>, u64) {
    let folder = tempfile::tempdir().unwrap();
    save_png(&Picture::filled(40, 30, [0.5; 3]), &folder.path().join("a.png")).unwrap();
    let mut editor =
        Command::new(env!("CARGO_BIN_EXE_editor")).arg(folder.path()).arg(seed.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(editor.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..edits {
        assert!(output.read_line(&mut text).unwrap() > 0, "the editor ended by itself");
    }
    assert!(edits < 20 || Recovery::find(&folder.path().join("sessions")).is_empty(), "the session of a living process");
    editor.kill().unwrap();
    editor.wait().unwrap();
    // What it said between the last line read and its death; the last line may be cut.
    output.read_to_string(&mut text).unwrap();
    let whole = &text[..text.rfind('\n').unwrap() + 1];
    let times: Vec<u64> = whole.lines().map(|line| line.split_once(' ').unwrap().1.parse().unwrap()).collect();
    let died = *times.last().unwrap();
    let found = Recovery::find(&folder.path().join("sessions"));
    assert!(found.len() <= 1);
    let recovered = found.first().map(|recovery| {
        let document = recovery.restore().expect("a session is never broken");
        let number = document.project().seed;
        assert_eq!(**document.work(), numbered_work(folder.path(), number), "every part is of the same edit");
        number
    });
    let kept = recovered.unwrap_or(0) as usize;
    if let Some(first_lost) = times.get(kept) {
        assert!(died - first_lost < LOST_AT_MOST, "edit {} of {first_lost} ms is lost, killed at {died} ms", kept + 1);
    }
    (recovered, times.len().saturating_sub(kept) as u64)
}

#[test]
fn what_was_done_a_second_before_the_kill_is_never_lost() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let moments: Vec<(usize, u64)> = (0..20).map(|seed| (random.random_range(1..120), seed)).collect();
    let mut outcomes = Vec::new();
    // Four at a time: each sleeps more than it works.
    for batch in moments.chunks(4) {
        std::thread::scope(|scope| {
            let killed: Vec<_> = batch.iter().map(|&(edits, seed)| scope.spawn(move || kill_after(edits, seed))).collect();
            outcomes.extend(killed.into_iter().map(|thread| thread.join().unwrap()));
        });
    }
    let restored = outcomes.iter().filter(|(recovered, _)| recovered.is_some()).count();
    let cut = outcomes.iter().filter(|(_, lost)| *lost > 0).count();
    assert!(restored >= 10 && cut >= 3, "the kills must fall between edit and disk, too: {outcomes:?}");
}
