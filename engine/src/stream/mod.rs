//! The generator at work: a session makes one chunk after the other, in bounded memory.

pub mod session;
