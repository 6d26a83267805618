//! A take that was written is shown again as it was, whatever happened to its file; a folder of takes keeps within its bytes.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use candle_core::Device;
use kinebrush_engine::media::picture_file::load_picture;
use kinebrush_engine::model::checkpoint::Checkpoint;
use kinebrush_engine::motion::Project;
use kinebrush_engine::picture::Picture;
use kinebrush_engine::stream::live::Compiled;
use kinebrush_engine::stream::live::compile::{Filling, Stage};
use kinebrush_engine::stream::live::log::{Log, MadeChunk};
use kinebrush_engine::stream::live::maker::ChunkMaker;
use kinebrush_engine::stream::render::{Renderer, model_size};
use kinebrush_engine::stream::take::{CAP_BYTES, Header, ModelId, Notice, Parent, TakePlayer, TakeReader, TakeWriter, Takes};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn sketch() -> Checkpoint {
    Checkpoint::sketch(&Device::Cpu).unwrap()
}

/// A disc that is dragged to the right; the model works at the picture's size, or smaller.
fn project(folder: &Path, size: Option<(usize, usize)>) -> Project {
    let picture = Picture::from_fn(160, 96, |x, y| {
        let inside = ((x as f32 - 40.0).hypot(y as f32 - 50.0) < 12.0) as u8 as f32;
        let ground = 0.3 + x as f32 / 400.0 + ((x / 5 + y / 3) % 2) as f32 * 0.1;
        [0.9 * inside + ground * (1.0 - inside), ground, 0.2]
    });
    kinebrush_engine::media::picture_file::save_png(&picture, &folder.join("p.png")).unwrap();
    let text = "(version: 1, image: \"p.png\", frames: 64, seed: 3,
        strokes: [(region: Disc(center: (40, 50), radius: 14), path: [(0, 40, 50), (12, 100, 50)])])";
    let path = folder.join("p.ron");
    std::fs::write(&path, text).unwrap();
    let mut project = Project::load(&path).unwrap();
    project.size = size;
    project
}

fn header(checkpoint: &Checkpoint, project: &Project, live_size: (usize, usize)) -> Header {
    Header {
        version: 1,
        model: ModelId::of(checkpoint),
        seed: project.seed,
        live_size,
        model_size: project.size.unwrap_or_else(|| model_size(live_size.0, live_size.1, checkpoint.dit.config.token_px())),
        chunk_frames: checkpoint.dit.config.chunk_frames(),
        parent: None,
    }
}

/// Writes a take of `chunks` chunks at `path`, with another motion from chunk 3 on if there is one.
fn write(path: &Path, checkpoint: &Checkpoint, project: &Project, later: Option<&Project>, chunks: u64, cap: u64, notice: Option<Notice>) {
    let picture = Arc::new(load_picture(&project.image_path()).unwrap());
    let mut stage = Stage::new(&picture, 1280, project.seed).unwrap();
    let header = header(checkpoint, project, (stage.picture.width, stage.picture.height));
    let mut writer = TakeWriter::create(path, &header, cap, notice).unwrap();
    let mut maker = ChunkMaker::new(checkpoint, &Device::Cpu, header.model_size, header.seed);
    let mut compile = |project: &Project, cut| {
        let (scene, layers) = stage.compile(project, Filling::Textured).unwrap();
        Arc::new(Compiled { revision: cut, scene: Arc::new(scene), layers: Arc::new(layers), cut, scale: 1.0 })
    };
    let mut compiled = compile(project, 1);
    for chunk in 0..chunks {
        match (chunk, later) {
            (0, _) => writer.motion(0, project).unwrap(),
            (3, Some(later)) => {
                compiled = compile(later, 2);
                writer.motion(3, later).unwrap();
            }
            _ => {}
        }
        maker.make(1, &compiled).unwrap();
        writer.chunk(chunk, &maker.made(Filling::Textured)).unwrap();
    }
}

/// Frames of a renderer that makes the same video.
fn rendered(checkpoint: &Checkpoint, project: &Project, chunks: usize) -> Vec<Vec<Picture>> {
    let picture = load_picture(&project.image_path()).unwrap();
    let mut renderer = Renderer::new(project, &picture, Some(checkpoint), &Device::Cpu, None, project.seed).unwrap();
    (0..chunks).map(|_| renderer.next_chunk().unwrap().to_vec()).collect()
}

#[test]
fn a_take_is_shown_again_bit_for_bit() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), sketch());
    for (name, size) in [("same", Some((160, 96))), ("smaller", Some((80, 48)))] {
        let project = project(folder.path(), size);
        let path = folder.path().join(name);
        write(&path, &checkpoint, &project, None, 4, CAP_BYTES, None);
        let truth = rendered(&checkpoint, &project, 4);
        let mut player = TakePlayer::open(&path, &checkpoint, &Device::Cpu, None, None).unwrap();
        assert_eq!((player.output_size(), player.reader().frames(), player.reader().ignored_bytes()), ((160, 96), 16, 0));
        for chunk in [3, 0, 2, 1, 1] {
            assert!(player.chunk(chunk).unwrap() == truth[chunk as usize], "{name}: chunk {chunk}");
        }
        assert!(player.chunk(4).is_err());
    }
}

#[test]
fn beyond_its_cap_a_take_is_made_again_and_says_so_once() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), sketch());
    let project = project(folder.path(), Some((80, 48)));
    let mut later = project.clone();
    later.strokes[0].path[1].place.y = 70.0;
    let path = |name: &str| folder.path().join(name);
    write(&path("whole"), &checkpoint, &project, Some(&later), 6, CAP_BYTES, None);
    let told = Arc::new(Mutex::new(Vec::new()));
    let notice = told.clone();
    let cap = std::fs::metadata(path("whole")).unwrap().len() / 2;
    write(&path("short"), &checkpoint, &project, Some(&later), 6, cap, Some(Box::new(move |text| notice.lock().unwrap().push(text))));
    assert_eq!(told.lock().unwrap().len(), 1, "{:?}", told.lock().unwrap());
    let mut reader = TakeReader::open(&path("short")).unwrap();
    let kept: Vec<bool> = (0..6).map(|chunk| reader.stored(chunk).unwrap().kept).collect();
    assert!(kept[0] && !kept[5] && kept.is_sorted_by(|a, b| a >= b), "{kept:?}");
    let open = |name: &str| TakePlayer::open(&path(name), &checkpoint, &Device::Cpu, Some((200, 120)), None);
    let (mut whole, mut short) = (open("whole").unwrap(), open("short").unwrap());
    for chunk in [5, 4, 0, 5] {
        assert!(whole.chunk(chunk).unwrap() == short.chunk(chunk).unwrap(), "chunk {chunk}");
    }
    short.stop_with(Arc::new(true.into()));
    assert!(short.chunk(4).unwrap_err().to_string().contains("stopped"));
}

#[test]
fn a_drag_that_goes_on_and_on_is_logged_by_what_it_adds() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), sketch());
    let mut project = project(folder.path(), None);
    let path = folder.path().join("take");
    let mut writer = TakeWriter::create(&path, &header(&checkpoint, &project, (160, 96)), CAP_BYTES, None).unwrap();
    let (active, output) = ([false; 8], [0.0; 8]);
    let (mut motions, mut whole) = (Vec::new(), 0);
    for chunk in 0..300 {
        let keys: Vec<String> = (0..12 * chunk).map(|i| format!("({}, {}, {})", i + 13, i * 37 % 101, i * 53 % 89)).collect();
        let path = [vec!["(0, 40, 50)".to_owned(), "(12, 100, 50)".to_owned()], keys].concat().join(", ");
        let text = project.to_text().unwrap();
        let (before, rest) = text.split_once("path:[").unwrap();
        let after = &rest[rest.find(']').unwrap()..];
        project = Project::from_text(&format!("{before}path:[{path}{after}"), "").unwrap();
        whole += project.to_text().unwrap().len();
        writer.motion(chunk, &project).unwrap();
        // Changed again before the chunk was made: the last one counts.
        project.frames += 1;
        writer.motion(chunk, &project).unwrap();
        let made = MadeChunk { active: &active, output: &output, filling: Filling::Textured };
        writer.chunk(chunk, &made).unwrap();
        motions.push(project.clone());
    }
    let bytes = writer.bytes() as usize;
    assert!(bytes * 20 < whole, "{bytes} bytes for motions of {whole}");
    let mut reader = TakeReader::open(&path).unwrap();
    for chunk in (0..300).chain((0..300).rev()).chain([7, 250, 64, 63, 65, 128, 299, 0]) {
        assert_eq!(*reader.motion(chunk).unwrap(), motions[chunk as usize], "chunk {chunk}");
    }
}

#[test]
fn a_branch_shows_its_parents_chunks_and_then_its_own() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), sketch());
    let project = project(folder.path(), Some((80, 48)));
    let path = |name: &str| folder.path().join(name);
    write(&path("parent"), &checkpoint, &project, None, 4, CAP_BYTES, None);
    let parent = Some(Parent { path: "parent".into(), first_chunk: 2 });
    let mut writer =
        TakeWriter::create(&path("branch"), &Header { parent, ..header(&checkpoint, &project, (160, 96)) }, CAP_BYTES, None).unwrap();
    let (mut source, mut output) = (TakeReader::open(&path("parent")).unwrap(), Vec::new());
    let cells = checkpoint.dit.config.chunk_latents * 6 * 10;
    assert!(source.output(3, cells, checkpoint.dit.config.output_channels(), &mut output).unwrap());
    writer.motion(2, &project).unwrap();
    let active = vec![true; cells];
    writer
        .chunk(2, &kinebrush_engine::stream::live::log::MadeChunk { active: &active, output: &output, filling: Filling::Textured })
        .unwrap();
    drop(writer);
    let open = |name: &str| TakePlayer::open(&path(name), &checkpoint, &Device::Cpu, None, None).unwrap();
    let (mut parent, mut branch) = (open("parent"), open("branch"));
    assert_eq!(branch.reader().chunks(), 3);
    assert!((0..2).all(|chunk| parent.chunk(chunk).unwrap() == branch.chunk(chunk).unwrap()));
    assert!(branch.chunk(2).is_ok() && branch.chunk(3).is_err());
    std::fs::remove_file(path("parent")).unwrap();
    let mut branch = open("branch");
    assert!(branch.chunk(2).is_ok());
    assert!(branch.chunk(1).unwrap_err().to_string().contains("cannot be read any more"));
}

#[test]
fn whatever_happens_to_its_file_a_take_opens_with_whole_chunks_or_says_why_not() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), sketch());
    let project = project(folder.path(), Some((80, 48)));
    let path = folder.path().join("take");
    write(&path, &checkpoint, &project, None, 3, CAP_BYTES, None);
    let bytes = std::fs::read(&path).unwrap();
    let (cells, channels) = (checkpoint.dit.config.chunk_latents * 60, checkpoint.dit.config.output_channels());
    let outputs = |path: &Path| -> Option<Vec<Vec<f32>>> {
        let mut reader = TakeReader::open(path).ok()?;
        let outputs = (0..reader.chunks()).map(|chunk| {
            let mut output = Vec::new();
            reader.motion(chunk).unwrap();
            assert!(reader.output(chunk, cells, channels, &mut output).unwrap());
            output
        });
        Some(outputs.collect())
    };
    let truth = outputs(&path).unwrap();
    assert!(truth.len() == 3 && truth[2].iter().any(|v| *v != 0.0));
    let broken = folder.path().join("broken");
    let (mut rng, mut lengths) = (ChaCha8Rng::seed_from_u64(5), [0; 4]);
    for round in 0..600 {
        let mut bytes = bytes.clone();
        if round % 2 == 0 {
            bytes.truncate(rng.random_range(0..bytes.len()));
        } else {
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
        }
        std::fs::File::create(&broken).unwrap().write_all(&bytes).unwrap();
        if let Some(outputs) = outputs(&broken) {
            assert!(outputs.iter().zip(&truth).all(|(a, b)| a == b), "round {round}");
            assert!(outputs.len() < 3 || TakeReader::open(&broken).unwrap().ignored_bytes() == 0);
            lengths[outputs.len()] += 1;
        }
    }
    assert!(lengths[..3].iter().all(|count| *count > 0), "{lengths:?}");
    // A length that no file has is no reason to allocate.
    let mut huge = bytes[..200].to_vec();
    huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    std::fs::write(&broken, huge).unwrap();
    assert!(TakeReader::open(&broken).err().unwrap().to_string().contains("is not a take"));
}

#[test]
fn a_folder_of_takes_is_listed_and_pruned_but_never_what_is_open() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), sketch());
    let project = project(folder.path(), Some((80, 48)));
    let picture = load_picture(&project.image_path()).unwrap();
    let takes = Takes::new(folder.path().join("takes"));
    assert!(takes.list().unwrap().is_empty());
    let mut open_log = takes.open_log(&checkpoint, CAP_BYTES, Arc::new(|_| {}));
    let (cells, channels) = (checkpoint.dit.config.chunk_latents * 60, checkpoint.dit.config.output_channels());
    let (active, output) = (vec![true; cells], vec![0.5; cells * channels]);
    let made = kinebrush_engine::stream::live::log::MadeChunk { active: &active, output: &output, filling: Filling::Smooth };
    let mut logs = Vec::new();
    for take in 1..=4 {
        let parent = (take == 4).then_some((2, 4));
        let (mut log, path) = open_log(take, &project, &picture, parent).unwrap();
        let first = u64::from(take == 4);
        log.motion(first, &project).unwrap();
        log.chunk(first, &made).unwrap();
        // 1, 2 and 3 have ended; 4 goes on, from 2.
        logs.push((take == 4).then_some((log, path.clone())));
        std::fs::write(path.with_extension("png"), "a thumbnail").unwrap();
    }
    let list = takes.list().unwrap();
    assert_eq!(list.iter().map(|take| (take.frames, take.open)).collect::<Vec<_>>(), [(8, true), (4, false), (4, false), (4, false)]);
    assert_eq!(list[0].parent, Some((list[2].path.clone(), 4)));
    assert!(list.iter().all(|take| take.thumbnail.is_some() && take.picture == project.image_path()));
    assert_eq!(takes.bytes().unwrap(), list.iter().map(|take| take.bytes).sum::<u64>());
    assert!(takes.delete(&list[0].path).unwrap_err().to_string().contains("is being made"));
    assert!(takes.delete(&folder.path().join("p.png")).is_err());
    assert_eq!(takes.prune(takes.bytes().unwrap()).unwrap(), Vec::<std::path::PathBuf>::new());
    assert_eq!(takes.prune(0).unwrap(), [list[3].path.clone(), list[1].path.clone()]);
    drop(logs);
    assert_eq!(takes.prune(0).unwrap(), [list[2].path.clone(), list[0].path.clone()]);
    assert_eq!(std::fs::read_dir(takes.folder()).unwrap().count(), 0);
}
