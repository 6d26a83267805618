//! The timeline by label and pointer, and pictures of it to look at.
#![allow(clippy::unwrap_used, clippy::expect_used)]
