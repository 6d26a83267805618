//! What moves where: strokes, regions and pins become a track field.

pub mod layer_motion;
