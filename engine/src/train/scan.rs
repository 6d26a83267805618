//! One look through folders of pictures: which are usable, which are copies, and which split each belongs to.
//!
//! Invariant: a file that cannot be read or decoded is counted, never fatal; the outcome depends on the files' contents, not on the
//! order in which threads met them. Guarded by the tests below and of `pool`.

use super::pyramid::Pyramid;
use super::split::{self, Fingerprint, Split, THUMB};
use crate::picture::Picture;
use crate::{Error, Result};
use image::{DynamicImage, ImageReader, Limits};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Smaller files are icons and previews, not photographs, bytes.
const SMALLEST_PHOTO_FILE: u64 = 20_000;
/// Larger files are not read at all, bytes.
const LARGEST_FILE: u64 = 256 << 20;
/// Shorter side of a usable photograph, px.
const SMALLEST_PHOTO: usize = 320;
/// Photographs longer than this are halved, px.
const LONGEST_PHOTO: usize = 2560;
/// Cut-outs longer than this are halved, px.
const LONGEST_CUTOUT: usize = 512;
/// Shorter side of a usable cut-out, px.
const SMALLEST_CUTOUT: usize = 24;
/// Mean brightness step per px, at a size of 256 px, below which a picture has nothing to learn from.
const FLAT: f32 = 0.003;
/// Folders of lettering, coins, notes and flags: rectangles and glyphs, which nobody drags through a picture.
const NOT_OBJECTS: [&str; 6] = ["alphabets", "math", "money", "music", "flags", "shapes"];

/// What was found in the folders, and why some files are not used.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Photographs of this split.
    pub photos: usize,
    /// Photographs of the other split.
    pub photos_elsewhere: usize,
    /// Cut-outs of this split.
    pub cutouts: usize,
    /// Cut-outs of the other split.
    pub cutouts_elsewhere: usize,
    /// Copies of other pictures.
    pub copies: usize,
    /// Files left out, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
    /// Files that could not be read or decoded, with the reason.
    pub unreadable: Vec<(PathBuf, String)>,
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} photographs and {} cut-outs", self.photos, self.cutouts)?;
        write!(f, " ({} and {} in the other split; left out: {} copies", self.photos_elsewhere, self.cutouts_elsewhere, self.copies)?;
        self.left_out.iter().try_for_each(|(why, count)| write!(f, ", {count} {why}"))?;
        write!(f, ", {} unreadable)", self.unreadable.len())
    }
}

/// Why a file is not used.
pub(super) enum LeftOut {
    For(&'static str),
    Unreadable(String),
}

/// A picture that was decoded and judged usable.
pub(super) struct Candidate<const N: usize> {
    pub path: PathBuf,
    pub print: Fingerprint,
    pub bytes: usize,
    pub pyramid: Option<Pyramid<N>>,
}

/// What one look through the folders found.
pub(super) struct Found {
    pub photo_dirs: Vec<PathBuf>,
    pub cutout_dirs: Vec<PathBuf>,
    pub photos: Vec<(Candidate<3>, Option<Split>)>,
    pub cutouts: Vec<(Candidate<4>, Option<Split>)>,
    pub census: Census,
}

impl Found {
    pub fn scan(photo_dirs: &[PathBuf], cutout_dirs: &[PathBuf], memory_budget: usize) -> Result<Self> {
        let mut census = Census::default();
        let used = AtomicUsize::new(0);
        let photos = gather(photo_dirs, SMALLEST_PHOTO_FILE, &mut census, |path, bytes| {
            let photo = read_photo(bytes)?;
            let size = photo.bytes();
            // What does not fit now is decoded again when its turn comes.
            let kept = used.fetch_add(size, Ordering::Relaxed) + size <= memory_budget;
            if !kept {
                used.fetch_sub(size, Ordering::Relaxed);
            }
            let thumb = photo.crop(photo.whole(), THUMB, THUMB).data.iter().map(|[r, g, b]| [*r, *g, *b, 1.0]).collect();
            Ok(candidate(path, bytes, photo, thumb, kept))
        })?;
        let cutouts = gather(cutout_dirs, 0, &mut census, |path, bytes| {
            let cutout = read_cutout(bytes)?;
            let thumb = cutout.crop(cutout.whole(), THUMB, THUMB).data;
            Ok(candidate(path, bytes, cutout, thumb, true))
        })?;
        let (photos, cutouts) = (divided(photos), divided(cutouts));
        census.copies =
            photos.iter().filter(|(_, split)| split.is_none()).count() + cutouts.iter().filter(|(_, split)| split.is_none()).count();
        Ok(Self { photo_dirs: photo_dirs.to_vec(), cutout_dirs: cutout_dirs.to_vec(), photos, cutouts, census })
    }
}

/// Reads every file under `dirs` with `read`, in parallel; the result is in the order of the paths.
fn gather<const N: usize>(
    dirs: &[PathBuf],
    smallest: u64,
    census: &mut Census,
    read: impl Fn(&Path, &[u8]) -> Result<Candidate<N>, LeftOut> + Sync,
) -> Result<Vec<Candidate<N>>> {
    let mut files = Vec::new();
    dirs.iter().try_for_each(|dir| walk(dir, &mut files))?;
    files.sort();
    files.dedup();
    let read_one = |path: &PathBuf| {
        let size = std::fs::metadata(path).map_err(|e| LeftOut::Unreadable(e.to_string()))?.len();
        if size < smallest {
            return Err(LeftOut::For("too small"));
        }
        if size > LARGEST_FILE {
            return Err(LeftOut::For("over 256 MB"));
        }
        let bytes = std::fs::read(path).map_err(|e| LeftOut::Unreadable(e.to_string()))?;
        read(path, &bytes)
    };
    let mut candidates = Vec::new();
    for (path, outcome) in files.par_iter().map(|path| (path, read_one(path))).collect::<Vec<_>>() {
        match outcome {
            Ok(candidate) => candidates.push(candidate),
            Err(LeftOut::For(why)) => *census.left_out.entry(why).or_default() += 1,
            Err(LeftOut::Unreadable(why)) => census.unreadable.push((path.clone(), why)),
        }
    }
    Ok(candidates)
}

/// Collects the pictures under `dir`.
fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = |e: std::io::Error| Error::file(dir, format!("cannot read this folder of training pictures ({e})"));
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        if kind.is_dir() {
            if !NOT_OBJECTS.iter().any(|name| entry.file_name().eq_ignore_ascii_case(name)) {
                walk(&path, files)?;
            }
        } else if kind.is_file() || kind.is_symlink() && path.metadata().map_or(true, |target| target.is_file()) {
            // A link to a folder may lead back to where it stands; one to nothing is told as unreadable.
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
            if ["jpg", "jpeg", "png", "webp"].contains(&extension.as_str()) {
                files.push(path);
            }
        }
    }
    Ok(())
}

/// The candidates in an order given by their contents, each with its split.
fn divided<const N: usize>(candidates: Vec<Candidate<N>>) -> Vec<(Candidate<N>, Option<Split>)> {
    let prints: Vec<Fingerprint> = candidates.iter().map(|candidate| candidate.print.clone()).collect();
    let splits = split::assign(&prints);
    let mut divided: Vec<_> = candidates.into_iter().zip(splits).collect();
    divided.sort_by_key(|(candidate, _)| split::scramble(candidate.print.hash));
    divided
}

fn candidate<const N: usize>(path: &Path, bytes: &[u8], pyramid: Pyramid<N>, thumb: Vec<[f32; 4]>, kept: bool) -> Candidate<N> {
    let print = Fingerprint {
        hash: crate::model::parameters::fnv1a(bytes),
        subject: subject(path),
        area: pyramid.width() * pyramid.height(),
        aspect: pyramid.width() as f32 / pyramid.height() as f32,
        thumb,
    };
    Candidate { path: path.to_owned(), print, bytes: pyramid.bytes(), pyramid: kept.then_some(pyramid) }
}

/// The path without what tells variants of one picture apart: sizes, light and dark, mirrored.
fn subject(path: &Path) -> String {
    const VARIANTS: [&str; 11] = ["light", "dark", "l", "d", "mirror", "flip", "screenshot", "images", "contents", "small", "large"];
    let is_size =
        |word: &str| word.split('x').count() == 2 && word.split('x').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let stem = path.with_extension("");
    let parts = stem.iter().filter_map(|part| {
        let part = part.to_string_lossy().to_ascii_lowercase();
        let words: Vec<&str> = part.split(['-', '_', ' ', '.']).filter(|word| !VARIANTS.contains(word) && !is_size(word)).collect();
        (!words.is_empty()).then(|| words.join("-"))
    });
    parts.collect::<Vec<_>>().join("/")
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, LeftOut> {
    let unreadable = |e: &dyn fmt::Display| LeftOut::Unreadable(e.to_string());
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| unreadable(&e))?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height, limits.max_alloc) = (Some(32_768), Some(32_768), Some(1 << 30));
    reader.limits(limits);
    reader.decode().map_err(|e| unreadable(&e))
}

pub(super) fn read_photo(bytes: &[u8]) -> Result<Pyramid<3>, LeftOut> {
    let image = decode(bytes)?;
    if (image.width().min(image.height()) as usize) < SMALLEST_PHOTO {
        return Err(LeftOut::For("too small"));
    }
    if image.color().has_alpha() && image.to_rgba8().pixels().step_by(97).any(|pixel| pixel[3] < 250) {
        return Err(LeftOut::For("transparent"));
    }
    let image = image.into_rgb8();
    let photo = Pyramid::new(image.width() as usize, image.height() as usize, image.into_raw(), LONGEST_PHOTO);
    let small = photo.crop(photo.whole(), 256, 256);
    if steps(&small) < FLAT {
        return Err(LeftOut::For("flat"));
    }
    Ok(photo)
}

fn read_cutout(bytes: &[u8]) -> Result<Pyramid<4>, LeftOut> {
    let image = decode(bytes)?;
    if !image.color().has_alpha() {
        return Err(LeftOut::For("opaque"));
    }
    let image = image.into_rgba8();
    let (mut left, mut top, mut right, mut bottom) = (image.width(), image.height(), 0, 0);
    for (x, y, _) in image.enumerate_pixels().filter(|(.., pixel)| pixel[3] > 12) {
        (left, top, right, bottom) = (left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1));
    }
    if right <= left || ((right - left).min(bottom - top) as usize) < SMALLEST_CUTOUT {
        return Err(LeftOut::For("too small"));
    }
    let (width, height) = ((right - left) as usize, (bottom - top) as usize);
    let mut data = Vec::with_capacity(width * height * 4);
    let mut covered = 0;
    for y in top..bottom {
        for x in left..right {
            let [r, g, b, alpha] = image.get_pixel(x, y).0;
            let premultiplied = |v: u8| ((u16::from(v) * u16::from(alpha) + 127) / 255) as u8;
            data.extend([premultiplied(r), premultiplied(g), premultiplied(b), alpha]);
            covered += usize::from(alpha > 127);
        }
    }
    match covered as f32 / (width * height) as f32 {
        share if share > 0.95 => Err(LeftOut::For("opaque")),
        share if share < 0.08 => Err(LeftOut::For("nearly empty")),
        _ => Ok(Pyramid::new(width, height, data, LONGEST_CUTOUT)),
    }
}

/// Mean difference of brightness between neighbours.
pub(super) fn steps(picture: &Picture) -> f32 {
    let mut sum = 0.0;
    for row in picture.data.chunks_exact(picture.width) {
        sum += row.windows(2).map(|pair| (pair[1][1] - pair[0][1]).abs()).sum::<f32>();
    }
    for (above, below) in picture.data.iter().zip(&picture.data[picture.width..]) {
        sum += (above[1] - below[1]).abs();
    }
    sum / (2 * picture.data.len()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_have_one_subject() {
        let of = |path: &str| subject(Path::new(path));
        assert_eq!(of("/w/Flow/contents/images/5120x2880.jpg"), of("/w/Flow/contents/images_dark/720x1440.jpg"));
        assert_eq!(of("/s/duck_mirror.png"), of("/s/duck.png"));
        assert_ne!(of("/a/1.jpg"), of("/b/1.jpg"));
        assert_ne!(of("/a/IMG_1.jpg"), of("/a/IMG_2.jpg"));
    }
}
