//! What moves where: strokes, regions, pins, the camera and the motion of clips become a track field.
//!
//! `project` is the file a person writes, `scene` is that file compiled for one picture size, `track_field` is what the models read.

mod bend;
pub mod camera;
mod curve;
pub mod depth;
pub mod frame_motion;
pub mod geodesic;
pub mod layer_motion;
pub mod npz;
pub mod outline;
pub mod project;
mod raster;
pub mod region;
pub mod scene;
mod sheet;
pub mod stroke;
pub mod track_field;
pub mod tracker;
pub mod transfer;

pub use camera::{Camera, CameraPath, View};
pub use depth::{DepthMap, DepthSource};
pub use frame_motion::FrameMotion;
pub use layer_motion::{LayerMotion, Mesh};
pub use project::Project;
pub use region::{Placement, Region};
pub use scene::Scene;
pub use stroke::{After, Easing, Key, Stroke, Trajectory};
pub use track_field::{PointState, TrackField, TrackFrame};
pub use transfer::Transfer;
