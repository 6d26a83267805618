//! Depth from files: PNG of 8 or 16 bits, EXR, `.npz`.
//!
//! Invariants: the kind is told by the content; sizes are judged before a pixel is decoded; nothing that is not a finite number gets past
//! here, and surfaces are never mixed across their edges when a map is resampled. Guarded by the tests below.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use exr::prelude::{FlatSamples, MetaData, ReadChannels, ReadLayers, read};
use glam::Vec2;
use image::DynamicImage;

use super::{DepthMeaning, NEAREST, SAME_SURFACE, spread};
use crate::guide::pull_push::pull_push;
use crate::media::picture_file::decode;
use crate::motion::camera::Lens;
use crate::motion::npz::read_plane;
use crate::motion::region::Placement;
use crate::picture::{Grid, Mask, Picture};
use crate::{Error, Result};

/// Most samples of an EXR file, all channels together: 1.2 GB.
const MAX_SAMPLES: usize = 300_000_000;
/// Larger files are refused.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Shapes that differ by less than this are taken as the same: sides are whole pixels.
const SAME_SHAPE: f32 = 0.02;
/// Sweeps by which missing depth is continued.
const SWEEPS: usize = 60;

/// A file's numbers.
struct Numbers {
    /// As stored; NaN where there is none.
    plane: Mask,
    /// The number of white; None where the largest one that occurs is.
    white: Option<f32>,
}

/// Inverse depth of every pixel of `picture`, by the file at `path`.
pub(super) fn load(
    path: &Path,
    meaning: DepthMeaning,
    picture: &Picture,
    placement: &Placement,
    lens: &Lens,
    notes: &mut Vec<String>,
) -> Result<Mask> {
    let numbers = read_numbers(path, notes)?;
    let plane = inverse(path, numbers, meaning, lens, notes)?;
    let near = plane.data.iter().filter(|w| **w > NEAREST.recip()).count();
    if near > 0 {
        notes.push(format!("{near} px of the depth file are nearer than {NEAREST}; they were put there"));
    }
    let (size, own) = (placement.picture, (plane.width, plane.height));
    if size != own {
        notes.push(format!("the depth file has {}x{} px, the picture {}x{}: it was resampled", own.0, own.1, size.0, size.1));
        let shape = |(w, h): (usize, usize)| w as f32 / h as f32;
        if (shape(own) / shape(size) - 1.0).abs() > SAME_SHAPE {
            notes.push("the depth file has another shape than the picture: it was stretched".to_owned());
        }
    }
    let placed = resampled(&plane, placement);
    Ok(filled(placed, picture, notes))
}

/// Missing pixels take what is around them, along the picture's own colours.
fn filled(map: Mask, picture: &Picture, notes: &mut Vec<String>) -> Mask {
    let known = Mask { data: map.data.iter().map(|w| f32::from(!w.is_nan())).collect(), ..Mask::filled(map.width, map.height, 0.0) };
    let missing = known.data.iter().filter(|known| **known == 0.0).count();
    if missing == 0 {
        return map;
    }
    notes.push(format!("{:.1} % of the depth is missing: it was filled from around", 100.0 * missing as f32 / map.data.len() as f32));
    let planes = Grid { width: map.width, height: map.height, data: map.data.iter().map(|w| [*w]).collect() };
    let mut smooth = Mask { data: pull_push(&planes, &known).data.iter().map(|[w]| *w).collect(), ..map };
    let guide = if (picture.width, picture.height) == (smooth.width, smooth.height) {
        picture
    } else {
        &picture.resized(smooth.width, smooth.height)
    };
    spread::along_colours(guide, &mut smooth, |i| known.data[i] > 0.0, 0.0, SWEEPS);
    smooth
}

/// Inverse depths; NaN where the file says nothing.
fn inverse(path: &Path, numbers: Numbers, meaning: DepthMeaning, lens: &Lens, notes: &mut Vec<String>) -> Result<Mask> {
    let Numbers { mut plane, white } = numbers;
    let finite = || plane.data.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return Err(Error::file(path, "holds no depth: every number is missing (NaN or infinite); choose another file"));
    }
    let ranked = |far: f32, near: f32, is_near_white: bool| {
        let (black, white) = white.map_or((low, high), |white| (0.0, white));
        move |v: f32| {
            let part = if white > black { (v - black) / (white - black) } else { 0.0 };
            let part = if is_near_white { part } else { 1.0 - part };
            if v.is_finite() { far.recip() + part.clamp(0.0, 1.0) * (near.recip() - far.recip()) } else { f32::NAN }
        }
    };
    let apply = |plane: &mut Mask, f: &dyn Fn(f32) -> f32| plane.data.iter_mut().for_each(|v| *v = f(*v));
    match meaning {
        DepthMeaning::NearIsWhite { far, near } => apply(&mut plane, &ranked(far, near, true)),
        DepthMeaning::FarIsWhite { far, near } => apply(&mut plane, &ranked(far, near, false)),
        // Infinitely far is a distance too; none, or one behind the camera, is missing.
        DepthMeaning::Metric { scale } => apply(&mut plane, &|v| if v > 0.0 { (v * scale).recip().max(0.0) } else { f32::NAN }),
        DepthMeaning::Disparity { baseline, offset } => {
            let per_px = (lens.focal_px * baseline).recip();
            apply(&mut plane, &|v| if v.is_finite() { ((v + offset) * per_px).max(0.0) } else { f32::NAN });
        }
    }
    if matches!(meaning, DepthMeaning::NearIsWhite { .. } | DepthMeaning::FarIsWhite { .. }) && white.is_none() {
        notes.push(format!("the depth file's numbers from {low} to {high} were taken as black to white"));
    }
    if plane.data.iter().all(|w| w.is_nan()) {
        return Err(Error::file(path, "holds no distance that lies before the camera; choose another meaning of its numbers"));
    }
    Ok(plane)
}

/// `plane`, which spans the picture, at every pixel of the scene: the mean of what the pixel covers of the surface in its middle.
fn resampled(plane: &Mask, placement: &Placement) -> Mask {
    let (width, height) = placement.scene;
    let per_px = Vec2::new(plane.width as f32 / placement.picture.0 as f32, plane.height as f32 / placement.picture.1 as f32);
    let radius = (per_px / placement.scale * 0.5).max(Vec2::splat(0.5));
    let strongest = plane.data.iter().copied().filter(|w| !w.is_nan()).fold(0.0, f32::max);
    Mask::from_fn(width, height, |x, y| {
        let place = Vec2::new(placement.picture_x(x as f32 + 0.5), placement.picture_y(y as f32 + 0.5)) * per_px;
        let last = Vec2::new(plane.width as f32, plane.height as f32) - 1e-3;
        let place = place.clamp(Vec2::ZERO, last);
        let (low, high) = (place - radius, place + radius);
        let span = |low: f32, high: f32, size: usize| (low.floor().max(0.0) as usize)..(high.ceil() as usize).clamp(1, size);
        let (columns, rows) = (span(low.x, high.x, plane.width), span(low.y, high.y, plane.height));
        let cells = || rows.clone().flat_map(|row| columns.clone().map(move |column| (column, row)));
        let mut own = plane.at(place.x as usize, place.y as usize);
        if own.is_nan() {
            let away = |(column, row): &(usize, usize)| place.distance_squared(Vec2::new(*column as f32 + 0.5, *row as f32 + 0.5));
            let nearest = cells().filter(|(column, row)| !plane.at(*column, *row).is_nan()).min_by(|a, b| away(a).total_cmp(&away(b)));
            let Some((column, row)) = nearest else { return f32::NAN };
            own = plane.at(column, row);
        }
        let share = |k: usize, low: f32, high: f32| ((k + 1) as f32).min(high) - (k as f32).max(low);
        let (mut sum, mut weight) = (0.0, 0.0);
        for (column, row) in cells() {
            let w = plane.at(column, row);
            // NaN is of no surface.
            if (w - own).abs() <= SAME_SURFACE.0 * w.max(own) + SAME_SURFACE.1 * strongest {
                let share = share(column, low.x, high.x).max(0.0) * share(row, low.y, high.y).max(0.0);
                (sum, weight) = (sum + share * w, weight + share);
            }
        }
        if weight > 0.0 { sum / weight } else { own }
    })
}

fn read_numbers(path: &Path, notes: &mut Vec<String>) -> Result<Numbers> {
    let unreadable = |e: std::io::Error| Error::file(path, format!("cannot be read ({e}); check the path of the depth file"));
    let metadata = path.metadata().map_err(unreadable)?;
    // Opening a pipe or a device could wait for ever.
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(Error::file(path, "is no file of less than 1 GiB; name a depth picture (PNG, EXR or .npz)"));
    }
    let mut magic = Vec::new();
    File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic)).map_err(unreadable)?;
    match &magic[..] {
        [b'P', b'K', ..] => Ok(Numbers { plane: read_plane(path)?, white: None }),
        [0x76, 0x2f, 0x31, 0x01] => Ok(Numbers { plane: read_exr(path, notes)?, white: None }),
        _ => read_picture(path, notes),
    }
}

/// The numbers of a PNG (or JPEG, WebP), whole ones.
fn read_picture(path: &Path, notes: &mut Vec<String>) -> Result<Numbers> {
    fn plane<T: Copy + Into<f32>>(width: u32, height: u32, samples: &[T], channels: usize, opaque: f32) -> (Mask, bool) {
        let mut coloured = false;
        let pixels = samples.chunks_exact(channels).map(|pixel| {
            let grey: f32 = pixel[0].into();
            coloured |= channels > 2 && pixel[1..3].iter().any(|c| ((*c).into() - grey).abs() > opaque * 0.02);
            // What is transparent is no depth.
            let is_seen = channels % 2 == 1 || pixel[channels - 1].into() >= opaque * 0.5;
            if is_seen { grey } else { f32::NAN }
        });
        (Mask { width: width as usize, height: height as usize, data: pixels.collect() }, coloured)
    }
    let image = decode(path)?;
    let (width, height) = (image.width(), image.height());
    let ((plane, coloured), white) = match image {
        DynamicImage::ImageLuma8(image) => (plane(width, height, &image, 1, 255.0), 255.0),
        DynamicImage::ImageLumaA8(image) => (plane(width, height, &image, 2, 255.0), 255.0),
        DynamicImage::ImageRgb8(image) => (plane(width, height, &image, 3, 255.0), 255.0),
        DynamicImage::ImageRgba8(image) => (plane(width, height, &image, 4, 255.0), 255.0),
        DynamicImage::ImageLuma16(image) => (plane(width, height, &image, 1, 65535.0), 65535.0),
        DynamicImage::ImageLumaA16(image) => (plane(width, height, &image, 2, 65535.0), 65535.0),
        image if image.color().has_alpha() => (plane(width, height, &image.into_rgba16(), 4, 65535.0), 65535.0),
        image => (plane(width, height, &image.into_rgb16(), 3, 65535.0), 65535.0),
    };
    if white < 256.0 {
        notes.push("the depth file has 8 bits: slopes may show steps, 16 bits would not".to_owned());
    }
    if coloured {
        notes.push("the depth file is coloured; only its red was taken, as depth is grey".to_owned());
    }
    Ok(Numbers { plane, white: Some(white) })
}

/// The depth channel of an EXR file: Z or depth if there is one, else grey, else red.
fn read_exr(path: &Path, notes: &mut Vec<String>) -> Result<Mask> {
    let damaged = |e: String| {
        let why = e.split_whitespace().collect::<Vec<_>>().join(" ");
        Error::file(path, format!("cannot be read as EXR ({why}); save it again, flat and not deep"))
    };
    let open = || File::open(path).map(BufReader::new).map_err(|e| damaged(e.to_string()));
    // The reader's own checks are thorough, but a fault in it must not end the program.
    let caught = |work: &dyn Fn() -> Result<Mask>| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        result.unwrap_or_else(|_| Err(damaged("its reader gave up".into())))
    };
    let name = std::cell::RefCell::new(String::new());
    let plane = caught(&|| {
        let meta = MetaData::read_from_buffered(open()?, false).map_err(|e| damaged(e.to_string()))?;
        let samples = meta.headers.iter().try_fold(0_usize, |sum, header| {
            let own = header.layer_size.0.checked_mul(header.layer_size.1)?.checked_mul(header.channels.list.len())?;
            sum.checked_add(own).filter(|sum| *sum <= MAX_SAMPLES)
        });
        if samples.is_none() {
            return Err(Error::file(path, "is too large for a depth file; save its depth channel alone"));
        }
        let reader = read().no_deep_data().largest_resolution_level().all_channels().all_layers().all_attributes().non_parallel();
        let image = reader.from_buffered(open()?).map_err(|e| damaged(e.to_string()))?;
        let mut best: Option<(usize, Mask, String)> = None;
        for layer in image.layer_data {
            let size = layer.size;
            for channel in layer.channel_data.list {
                let full = channel.name.to_string();
                let last = full.rsplit('.').next().unwrap_or_default().to_lowercase();
                let order = ["z", "depth", "v", "y", "r"];
                let rank = order.iter().position(|known| *known == last).unwrap_or(order.len());
                if best.as_ref().is_some_and(|(known, ..)| *known <= rank) {
                    continue;
                }
                let data: Vec<f32> = match channel.sample_data {
                    FlatSamples::F16(values) => values.into_iter().map(|v| v.to_f32()).collect(),
                    FlatSamples::F32(values) => values,
                    FlatSamples::U32(values) => values.into_iter().map(|v| v as f32).collect(),
                };
                // Channels may be stored at half the size.
                if data.len() == size.0 * size.1 && !data.is_empty() {
                    best = Some((rank, Mask { width: size.0, height: size.1, data }, full));
                }
            }
        }
        let (_, plane, full) = best.ok_or_else(|| Error::file(path, "holds no channel of full size; save its depth channel alone"))?;
        *name.borrow_mut() = full;
        Ok(plane)
    })?;
    let name = name.into_inner();
    if !["Z", "Y", "R"].contains(&name.as_str()) {
        notes.push(format!("the depth was taken from the channel `{name}`"));
    }
    Ok(plane)
}

#[cfg(test)]
mod tests;
