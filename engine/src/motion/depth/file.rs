//! Depth files.
use super::DepthMeaning;
use crate::motion::camera::Lens;
use crate::motion::region::Placement;
use crate::picture::{Mask, Picture};
use crate::{Error, Result};
use std::path::Path;

pub(super) fn load(path: &Path, _: DepthMeaning, _: &Picture, _: &Placement, _: &Lens, _: &mut Vec<String>) -> Result<Mask> {
    Err(Error::file(path, "depth files come with the next commit"))
}
