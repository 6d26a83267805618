//! Project files from the outside: every preset is valid, what is saved is read back, what is wrong is told in one line that names
//! the file and the field, and a save that fails leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use kinebrush_engine::media::picture_file::save_png;
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::scene::Scene;
use kinebrush_engine::motion::track_field::PointState;
use kinebrush_engine::picture::Picture;

const GOOD: &str = r#"(
    version: 1,
    image: "p.png",
    frames: 20,
    strokes: [
        (region: Disc(center: (30, 30), radius: 10), path: [(0, 30, 30), (10, 60, 40)]),
        (
            region: Lasso(points: [(50, 50), (80, 50), (80, 80)]),
            path: [(0, 1, 1), (4, 5, 5), (8, 9, 9), (12, 20, 20)],
            turn: [(0, 0), (12, 90)],
        ),
    ],
    pins: [Brush(points: [(90, 10), (95, 40)], radius: 4, softness: 0.5)],
)"#;

/// A folder with a 100 x 100 picture `p.png` and the project `test.ron`.
fn folder_with(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    save_png(&Picture::filled(100, 100, [0.5; 3]), &folder.path().join("p.png")).unwrap();
    let path = folder.path().join("test.ron");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_preset_loads_and_moves_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../presets");
    let presets: Vec<String> = names(&folder).into_iter().filter(|name| name.ends_with(".ron")).collect();
    assert!(presets.len() >= 4, "{presets:?}");
    for name in presets {
        let project = Project::load(folder.join(&name)).unwrap();
        assert!(!project.name.is_empty() && !project.description.is_empty() && !project.credits.is_empty(), "{name}");
        let scene = Scene::new(&project, 384, 256).unwrap();
        let mut field = scene.track_field(50);
        scene.advance(&mut field, 0);
        assert!(field.frame(0).unwrap().visible.iter().all(|visible| *visible), "{name}: frame 0 is the picture");
        let mut farthest = 0.0f32;
        // What goes round is where it began in some of them.
        for (pushed, frame) in [project.frames / 4, project.frames / 2, project.frames - 1].into_iter().enumerate() {
            scene.advance(&mut field, frame);
            let (first, now, states) = (field.frame(0).unwrap(), field.frame(pushed + 1).unwrap(), field.states(pushed + 1).unwrap());
            for i in 0..field.len() {
                let moved = first.positions[i].distance(now.positions[i]);
                match states[i] {
                    PointState::Driven => farthest = farthest.max(moved),
                    PointState::Pinned => assert!(moved < 0.01, "{name}: a pinned point moves by {moved} px"),
                    // Let go, it stays where it was left, or falls back.
                    PointState::Free => {}
                }
            }
        }
        assert!(farthest > 4.0, "{name}: nothing moves ({farthest} px)");
    }
}

#[test]
fn what_is_saved_is_read_back_from_any_folder() {
    let (folder, path) = folder_with(GOOD);
    let mut project = Project::load(&path).unwrap();
    project.size = Some((384, 216));
    project.seed = u64::MAX;
    project.name = "a \"name\"\nin two lines".into();
    project.strokes[0].path[1].frame = 10.123_457;
    project.strokes[0].pivot = Some((1.5, -2.25));
    std::fs::copy(folder.path().join("p.png"), folder.path().join("mask.png")).unwrap();
    project.pins.push(Region::MaskFile { path: "mask.png".into(), soft: true });
    project.save(&path).unwrap();
    assert_eq!(Project::load(&path).unwrap(), project);

    std::fs::create_dir(folder.path().join("deeper")).unwrap();
    let deeper = folder.path().join("deeper/copy.ron");
    project.save(&deeper).unwrap();
    let copy = Project::load(&deeper).unwrap();
    assert_eq!((copy.image.to_str(), copy.picture_size().unwrap()), (Some("../p.png"), (100, 100)));
    assert_eq!(copy.strokes, project.strokes);
    assert_eq!(copy.pins[1], Region::MaskFile { path: "../mask.png".into(), soft: true });
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let far = (0..1001).map(|_| "All,").collect::<String>();
    let cases = [
        ("version: 1", "version: 2", "version: is 2"),
        ("version: 1", "version: -1", "line 2, column"),
        ("frames: 20,", "", "missing field named `frames`"),
        ("frames: 20", "frames: 0", "frames: is 0"),
        ("frames: 20", "frames: 100001", "frames: is 100001"),
        ("frames: 20", "frames: 20, size: (8, 216)", "size: is 8x216"),
        ("frames: 20", "frames: 20, speed: 3", "Unexpected field named `speed`"),
        ("radius: 10)", "radius: 10, blur: 1)", "Unexpected field named `blur`"),
        ("turn:", "twist:", "Unexpected field named `twist`"),
        ("Disc(", "Circle(", "`Circle`"),
        ("image: \"p.png\"", "image: \"gone.png\"", "image: gone.png cannot be read"),
        ("image: \"p.png\"", "image: \"test.ron\"", "image: test.ron cannot be read"),
        ("image: \"p.png\"", "image: \".\"", "image: . cannot be read"),
        ("(12, 20, 20)", "(12, NaN, 20)", "strokes[1].path[3]: is (NaN, 20)"),
        ("(12, 20, 20)", "(12, 20, inf)", "strokes[1].path[3]: is (20, inf)"),
        ("(12, 20, 20)", "(12, 1e30, 20)", "strokes[1].path[3]: is (1000000000000000000000000000000, 20), more than 4 picture sizes"),
        ("(12, 20, 20)", "(7, 20, 20)", "strokes[1].path[3]: its frame 7 is not later"),
        ("(12, 20, 20)", "(NaN, 20, 20)", "strokes[1].path[3]: its frame is NaN"),
        ("(12, 20, 20)", "(2e5, 20, 20)", "strokes[1].path[3]: its frame is 200000"),
        ("[(0, 30, 30), (10, 60, 40)]", "[]", "strokes[0].path: has no key"),
        ("radius: 10", "radius: 0", "strokes[0].region.radius: is 0"),
        ("center: (30, 30)", "center: (330, 30)", "strokes[0].region: lies outside the picture"),
        ("(80, 50), (80, 80)", "(80, 50)", "strokes[1].region.points: has 2 points"),
        ("(12, 90)", "(12, inf)", "strokes[1].turn[1]: is inf"),
        ("(95, 40)", "(95, NaN)", "pins[0].points[1]: is (95, NaN)"),
        ("softness: 0.5", "softness: -1", "pins[0].softness: is -1"),
        ("pins: [", "pins: [MaskFile(path: \"no.png\"), ", "pins[0].path: no.png cannot be read"),
        ("pins: [", &format!("pins: [{far}"), "pins: has 1002 entries"),
        ("pins: [", "pins: [(((((((((((((((((((((((((((((", "line 13, column"),
        (")]),\n        (", ")]),\n        ((", ", column "),
    ];
    for (good, bad, words) in cases {
        assert!(GOOD.contains(good), "{good}");
        let (_folder, path) = folder_with(&GOOD.replacen(good, bad, 1));
        let message = Project::load(&path).map(|_| ()).expect_err(bad).to_string();
        assert!(message.contains("test.ron: ") && message.contains(words) && !message.contains('\n'), "{bad}: {message}");
    }
    let both = GOOD.replace("Disc(center: (30, 30), radius: 10)", "All").replace("pins: [", "pins: [All, ");
    let (_folder, path) = folder_with(&both);
    let message = Project::load(&path).unwrap_err().to_string();
    assert!(message.contains("pins[0]: pins the whole picture, which strokes[0] moves"), "{message}");
    let (_folder, path) = folder_with(GOOD);
    assert!(Project::load(&path).is_ok());
    std::fs::write(&path, [0xFF, 0xFE, 0x00]).unwrap();
    assert!(Project::load(&path).unwrap_err().to_string().contains("test.ron: is not text"));
    assert!(Project::load(path.with_file_name("none.ron")).unwrap_err().to_string().contains("none.ron: cannot be opened"));
}

#[test]
fn deep_nesting_and_every_cut_are_errors_not_crashes() {
    for text in ["(".repeat(200_000), format!("(version: 1, strokes: {}", "[".repeat(200_000)), "/*".repeat(100_000)] {
        assert!(Project::load(folder_with(&text).1).is_err());
    }
    let (_folder, path) = folder_with(GOOD);
    for length in 0..GOOD.len() - 1 {
        std::fs::write(&path, &GOOD[..length]).unwrap();
        assert!(Project::load(&path).is_err(), "cut at {length}");
    }
}

#[test]
fn a_failed_save_leaves_nothing_behind() {
    let (folder, path) = folder_with(GOOD);
    let mut project = Project::load(&path).unwrap();
    let before = names(folder.path());
    let message = project.save(folder.path().join("missing/new.ron")).unwrap_err().to_string();
    assert!(message.contains("new.ron: cannot be written"), "{message}");
    let message = project.save(folder.path()).unwrap_err().to_string();
    assert!(message.contains("no regular file"), "{message}");
    project.frames = 0;
    assert!(project.save(&path).unwrap_err().to_string().contains("frames: is 0"));
    assert_eq!(names(folder.path()), before);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), GOOD);
}
