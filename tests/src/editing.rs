//! Edits that can be told from each other, for `tests/kill.rs` and the process it kills.

use kinebrush::studio::document::Work;
use kinebrush_engine::motion::project::Project;
use kinebrush_engine::motion::region::Region;
use std::path::Path;

/// The state after edit `number`; every part of it follows from the number. The picture is `a.png` in `folder`.
pub fn numbered_work(folder: &Path, number: u64) -> Work {
    let disc = |i: u64| Region::Disc { center: ((number % 40) as f32 + 0.25, i as f32), radius: 1.0 + i as f32, softness: 0.5 };
    let mut project = Project::new(folder, "a.png", 1 + (number % 500) as usize);
    project.seed = number;
    // Thousands of points now and then, so that a write takes its time.
    let points = (0..number % 7 * 3000).map(|i| ((i % 40) as f32, (i % 30) as f32 + 0.125)).collect::<Vec<_>>();
    project.pins = (0..number % 9).map(disc).collect();
    if points.len() > 2 {
        project.pins.push(Region::Lasso { points, softness: 0.0 });
    }
    Work { project, region: number.is_multiple_of(2).then(|| disc(3)) }
}
