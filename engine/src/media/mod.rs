//! Pictures in, video out.
