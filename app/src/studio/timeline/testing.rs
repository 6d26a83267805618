//! What the tests of the panels share: small projects, seeded dice and pictures of a panel to look at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::region::Region;
use kinebrush_engine::motion::stroke::Stroke;

/// A seeded generator (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 up to 1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// 0 up to `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// A stroke with a disc as its region.
pub fn stroke(name: &str, path: &[(f32, f32, f32)]) -> Stroke {
    let region = Region::Disc { center: (200.0, 150.0), radius: 40.0, softness: 0.5 };
    Stroke { name: name.to_owned(), ..Stroke::along(region, path.iter().map(|key| (*key).into()).collect()) }
}

/// A project without motion for a picture of 400x300 px that lies in the folder.
pub fn project(frames: usize) -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    image::RgbImage::new(400, 300).save(folder.path().join("picture.png")).unwrap();
    let project = Project::new(folder.path(), "picture.png", frames);
    (folder, project)
}

/// Writes the harness's picture as `name`.png into the folder that KINEBRUSH_LOOK names, to be looked at; nothing without it.
pub fn look<State>(harness: &mut egui_kittest::Harness<'_, State>, name: &str) {
    if let Some(folder) = std::env::var_os("KINEBRUSH_LOOK") {
        harness.render().unwrap().save(std::path::Path::new(&folder).join(format!("{name}.png"))).unwrap();
    }
}
