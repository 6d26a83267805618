//! The generator at work: a session makes one chunk after the other, in bounded memory; a renderer feeds it from a project.

pub mod compose;
pub mod export;
pub mod live;
pub mod pipeline;
pub mod render;
pub mod session;
pub mod take;
