//! The picture warped by the motion, its holes filled.
