//! What moves where: strokes, regions and pins become a track field.
//!
//! `project` is the file a person writes, `scene` is that file compiled for one picture size, `track_field` is what the models read.

mod bend;
mod curve;
pub mod geodesic;
pub mod layer_motion;
pub mod npz;
pub mod outline;
pub mod project;
mod raster;
pub mod region;
pub mod scene;
pub mod stroke;
pub mod track_field;

pub use layer_motion::{LayerMotion, Mesh};
pub use project::Project;
pub use region::{Placement, Region};
pub use scene::Scene;
pub use stroke::{After, Easing, Key, Stroke, Trajectory};
pub use track_field::{PointState, TrackField, TrackFrame};
