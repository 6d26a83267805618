//! Painted depth.
use super::DepthMark;
use crate::Result;
use crate::motion::region::Placement;
use crate::picture::{Mask, Picture};
use std::path::Path;

pub(super) fn inverse(
    picture: &Picture,
    placement: &Placement,
    folder: &Path,
    (far, near): (f32, f32),
    marks: &[DepthMark],
) -> Result<Mask> {
    let mut value = Mask::filled(picture.width, picture.height, 0.0);
    for mark in marks {
        let mask = mark.region.rasterize_placed(placement, folder)?;
        value.data.iter_mut().zip(&mask.data).for_each(|(v, m)| *v += m * (mark.value - *v));
    }
    value.data.iter_mut().for_each(|v| *v = far.recip() + *v * (near.recip() - far.recip()));
    Ok(value)
}
