//! The pictures that clips are made of: photographs and cut-outs from folders, in memory within a budget.
//!
//! Invariant: what is in memory is a function of the files, the split, the budget and the epoch alone, so a clip can be made again;
//! memory never exceeds the budget by more than the pictures being decoded. Guarded by the tests below.

use super::pyramid::{Pyramid, Window};
use super::split::{self, Fingerprint, THUMB};
use crate::picture::{Grid, Picture};
use crate::{Error, Result};
use image::{DynamicImage, ImageReader, Limits};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use super::split::Split;

/// Default memory for photographs, bytes.
pub const DEFAULT_BUDGET: usize = 4 << 30;
/// Smaller files are icons and previews, not photographs, bytes.
const SMALLEST_PHOTO_FILE: u64 = 60_000;
/// Larger files are not read at all, bytes.
const LARGEST_FILE: u64 = 256 << 20;
/// Shorter side of a usable photograph, px.
const SMALLEST_PHOTO: usize = 320;
/// Photographs longer than this are halved, px.
const LONGEST_PHOTO: usize = 8192;
/// Cut-outs longer than this are halved, px.
const LONGEST_CUTOUT: usize = 512;
/// Shorter side of a usable cut-out, px.
const SMALLEST_CUTOUT: usize = 24;
/// Mean brightness step per px, at a size of 256 px, below which a picture has nothing to learn from.
const FLAT: f32 = 0.003;
/// Folders of lettering, coins, notes and flags: rectangles and glyphs, which nobody drags through a picture.
const NOT_OBJECTS: [&str; 6] = ["alphabets", "math", "money", "music", "flags", "shapes"];

/// Photographs and cut-outs to draw from.
pub struct Pool {
    /// All photographs of the split, in an order that depends on their contents only.
    listed: Vec<Listed>,
    cutouts: Arc<Vec<Pyramid<4>>>,
    budget: usize,
    working: RwLock<Arc<Vec<Loaded>>>,
    next: Arc<Mutex<Vec<Loaded>>>,
    census: Census,
}

struct Listed {
    path: PathBuf,
    hash: u64,
    bytes: usize,
}

#[derive(Clone)]
struct Loaded {
    index: usize,
    photo: Arc<Pyramid<3>>,
}

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
enum LeftOut {
    For(&'static str),
    Unreadable(String),
}

/// A picture that was decoded and judged usable.
struct Candidate<const N: usize> {
    path: PathBuf,
    print: Fingerprint,
    bytes: usize,
    pyramid: Option<Pyramid<N>>,
}

impl Pool {
    /// Looks through `photo_dirs` and `cutout_dirs` (with their sub-folders; links are not followed) and loads what belongs to
    /// `split`, photographs within `memory_budget` bytes.
    ///
    /// # Errors
    /// If a folder cannot be read, or holds nothing usable for this split. Single unusable files are counted in the [`Census`].
    pub fn open(photo_dirs: &[PathBuf], cutout_dirs: &[PathBuf], split: Split, memory_budget: usize) -> Result<Self> {
        let mut census = Census::default();
        let used = AtomicUsize::new(0);
        let photos = gather(photo_dirs, SMALLEST_PHOTO_FILE, &mut census, |path, bytes| {
            let photo = read_photo(path, bytes)?;
            // What does not fit now is decoded again if its turn comes.
            let kept = used.fetch_add(photo.bytes(), Ordering::Relaxed) + photo.bytes() <= memory_budget;
            if !kept {
                used.fetch_sub(photo.bytes(), Ordering::Relaxed);
            }
            let thumb = photo.crop(photo.whole(), THUMB, THUMB).data.iter().map(|[r, g, b]| [*r, *g, *b, 1.0]).collect();
            Ok(candidate(path, bytes, photo, thumb, kept))
        })?;
        let cutouts = gather(cutout_dirs, 0, &mut census, |path, bytes| {
            let cutout = read_cutout(path, bytes)?;
            let thumb = cutout.crop(cutout.whole(), THUMB, THUMB).data;
            Ok(candidate(path, bytes, cutout, thumb, true))
        })?;
        let (photos, elsewhere) = divide(photos, split, &mut census.copies);
        census.photos_elsewhere = elsewhere;
        let (cutouts, elsewhere) = divide(cutouts, split, &mut census.copies);
        census.cutouts_elsewhere = elsewhere;
        (census.photos, census.cutouts) = (photos.len(), cutouts.len());
        let nothing = |dirs: &[PathBuf], what: &str| {
            let first = dirs.first().cloned().unwrap_or_default();
            Error::file(first, format!("no usable {what} for this split in the {} folder(s) given: {census}. Add folders.", dirs.len()))
        };
        if photos.is_empty() {
            return Err(nothing(photo_dirs, "photograph (JPEG, PNG or WebP, 60 kB and 320 px at least)"));
        }
        if cutouts.is_empty() && !cutout_dirs.is_empty() {
            return Err(nothing(cutout_dirs, "cut-out (PNG or WebP with a transparent surround)"));
        }
        let mut listed = Vec::with_capacity(photos.len());
        let mut loaded = Vec::new();
        for (index, candidate) in photos.into_iter().enumerate() {
            listed.push(Listed { path: candidate.path, hash: candidate.print.hash, bytes: candidate.bytes });
            loaded.extend(candidate.pyramid.map(|photo| Loaded { index, photo: Arc::new(photo) }));
        }
        let cutouts = Arc::new(cutouts.into_iter().filter_map(|candidate| candidate.pyramid).collect());
        let pool = Self {
            listed,
            cutouts,
            budget: memory_budget,
            working: RwLock::new(Arc::new(loaded)),
            next: Arc::default(),
            census,
        };
        pool.rotate_to(0)?;
        Ok(pool)
    }

    /// What was found.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// Memory held by photographs and cut-outs now, bytes.
    pub fn bytes(&self) -> usize {
        let photos: usize = self.stock().photos.iter().map(|loaded| loaded.photo.bytes()).sum();
        photos + self.cutouts.iter().map(Pyramid::bytes).sum::<usize>()
    }

    /// Makes the working set of `epoch` current: a window of the list that moves by one photograph per epoch, and nothing to do
    /// where all of them fit into the budget. The newcomer of the epoch after is decoded in the background. Call it between batches
    /// if clips are to be repeatable.
    ///
    /// # Errors
    /// If a photograph has become unreadable since the pool was opened.
    pub fn rotate_to(&self, epoch: u64) -> Result<()> {
        let wanted = self.working_set(epoch);
        let mut at_hand: BTreeMap<usize, Loaded> = self.stock().photos.iter().map(|loaded| (loaded.index, loaded.clone())).collect();
        let prefetched = std::mem::take(&mut *self.next.lock().unwrap_or_else(PoisonError::into_inner));
        at_hand.extend(prefetched.into_iter().map(|loaded| (loaded.index, loaded)));
        if wanted.len() == at_hand.len() && wanted.iter().all(|index| at_hand.contains_key(index)) && wanted.len() == self.listed.len() {
            let set = wanted.iter().filter_map(|index| at_hand.remove(index)).collect();
            *self.working.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
            return Ok(());
        }
        at_hand.retain(|index, _| wanted.contains(index));
        // Free what goes before what comes is decoded, but never leave a thread that draws meanwhile with nothing.
        if !at_hand.is_empty() {
            let staying = wanted.iter().filter_map(|index| at_hand.get(index).cloned()).collect();
            *self.working.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(staying);
        }
        let set = wanted
            .par_iter()
            .map(|index| at_hand.get(index).cloned().map_or_else(|| self.load(*index), Ok))
            .collect::<Result<Vec<_>>>()?;
        *self.working.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        let newcomers: Vec<(usize, PathBuf, u64)> = self
            .working_set(epoch + 1)
            .into_iter()
            .filter(|index| !wanted.contains(index))
            .map(|index| (index, self.listed[index].path.clone(), self.listed[index].hash))
            .collect();
        let next = Arc::clone(&self.next);
        rayon::spawn(move || {
            // A failure here is met again, and reported, when the epoch comes.
            let loaded = newcomers.into_iter().filter_map(|(index, path, hash)| load(index, &path, hash).ok()).collect();
            *next.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
        });
        Ok(())
    }

    /// Indices of the photographs in memory at `epoch`.
    fn working_set(&self, epoch: u64) -> Vec<usize> {
        let count = self.listed.len();
        let total: usize = self.listed.iter().map(|listed| listed.bytes).sum();
        if total <= self.budget {
            return (0..count).collect();
        }
        let start = (epoch % count as u64) as usize;
        let mut left = self.budget;
        let mut set = Vec::new();
        for index in (0..count).map(|i| (start + i) % count) {
            let bytes = self.listed[index].bytes;
            if bytes > left && !set.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes);
            set.push(index);
        }
        set
    }

    fn load(&self, index: usize) -> Result<Loaded> {
        load(index, &self.listed[index].path, self.listed[index].hash)
    }

    /// What clips are drawn from now; a snapshot that stays whole while the pool rotates.
    pub(super) fn stock(&self) -> Stock {
        let photos = Arc::clone(&self.working.read().unwrap_or_else(PoisonError::into_inner));
        Stock { photos, cutouts: Arc::clone(&self.cutouts) }
    }

    /// A piece of a random photograph, see [`Stock::texture`].
    pub fn random_texture(&self, rng: &mut ChaCha8Rng, width: usize, height: usize, may_turn: bool) -> Picture {
        self.stock().texture(rng, width, height, may_turn)
    }
}

/// The photographs and cut-outs in memory at one moment.
pub(super) struct Stock {
    photos: Arc<Vec<Loaded>>,
    cutouts: Arc<Vec<Pyramid<4>>>,
}

impl Stock {
    /// A random cut-out, premultiplied; `None` if the pool has none.
    pub fn cutout(&self, rng: &mut ChaCha8Rng) -> Option<&Pyramid<4>> {
        (!self.cutouts.is_empty()).then(|| &self.cutouts[rng.random_range(0..self.cutouts.len())])
    }

    /// A crop of a random photograph at a random scale between its own resolution and the whole picture, flipped by chance, turned
    /// by a quarter now and then if it `may_turn` (a sky may not). Crops with something in them are preferred.
    pub fn texture(&self, rng: &mut ChaCha8Rng, width: usize, height: usize, may_turn: bool) -> Picture {
        let turn = may_turn && rng.random_bool(0.3);
        let (columns, rows) = if turn { (height, width) } else { (width, height) };
        let mut picture = Picture::filled(columns, rows, [0.0; 3]);
        for _ in 0..4 {
            let photo = &self.photos[rng.random_range(0..self.photos.len())].photo;
            let largest = (photo.width() as f32 / columns as f32).min(photo.height() as f32 / rows as f32);
            // A photograph smaller than the texture is enlarged, but never by much.
            if largest < 0.7 && self.photos.len() > 1 {
                continue;
            }
            let scale = largest.max(1.0).powf(rng.random_range(0.0..1.0f32)).min(largest);
            let (w, h) = (columns as f32 * scale, rows as f32 * scale);
            let x = rng.random_range(0.0..1.0f32) * (photo.width() as f32 - w).max(0.0);
            let y = rng.random_range(0.0..1.0f32) * (photo.height() as f32 - h).max(0.0);
            picture = photo.crop(Window { x, y, width: w, height: h }, columns, rows);
            if steps(&picture) > 0.008 {
                break;
            }
        }
        if turn {
            picture = Grid { width, height, data: (0..width * height).map(|i| picture.at(i / width, i % width)).collect() };
        }
        if rng.random_bool(0.5) {
            picture.data.chunks_exact_mut(width).for_each(<[_]>::reverse);
        }
        picture
    }
}

/// Mean difference of brightness between neighbours.
fn steps(picture: &Picture) -> f32 {
    let mut sum = 0.0;
    for row in picture.data.chunks_exact(picture.width) {
        sum += row.windows(2).map(|pair| (pair[1][1] - pair[0][1]).abs()).sum::<f32>();
    }
    for (above, below) in picture.data.iter().zip(&picture.data[picture.width..]) {
        sum += (above[1] - below[1]).abs();
    }
    sum / (2 * picture.data.len()) as f32
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
        } else if kind.is_file() {
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
            if ["jpg", "jpeg", "png", "webp"].contains(&extension.as_str()) {
                files.push(path);
            }
        }
    }
    Ok(())
}

/// The candidates of `split` in an order given by their contents, and how many belong to the other one.
fn divide<const N: usize>(candidates: Vec<Candidate<N>>, split: Split, copies: &mut usize) -> (Vec<Candidate<N>>, usize) {
    let prints: Vec<Fingerprint> = candidates.iter().map(|candidate| candidate.print.clone()).collect();
    let splits = split::assign(&prints);
    *copies += splits.iter().filter(|split| split.is_none()).count();
    let elsewhere = splits.iter().filter(|of| of.is_some_and(|of| of != split)).count();
    let mut ours: Vec<Candidate<N>> =
        candidates.into_iter().zip(splits).filter(|(_, of)| *of == Some(split)).map(|(candidate, _)| candidate).collect();
    ours.sort_by_key(|candidate| split::scramble(candidate.print.hash));
    (ours, elsewhere)
}

fn candidate<const N: usize>(path: &Path, bytes: &[u8], pyramid: Pyramid<N>, thumb: Vec<[f32; 4]>, kept: bool) -> Candidate<N> {
    let print = Fingerprint {
        hash: split::fnv1a(bytes),
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
    let is_size = |word: &str| word.split('x').count() == 2 && word.split('x').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
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

fn read_photo(_path: &Path, bytes: &[u8]) -> Result<Pyramid<3>, LeftOut> {
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

fn read_cutout(_path: &Path, bytes: &[u8]) -> Result<Pyramid<4>, LeftOut> {
    let image = decode(bytes)?;
    if !image.color().has_alpha() {
        return Err(LeftOut::For("opaque"));
    }
    let image = image.into_rgba8();
    let (mut left, mut top, mut right, mut bottom) = (image.width(), image.height(), 0, 0);
    for (x, y, pixel) in image.enumerate_pixels().filter(|(.., pixel)| pixel[3] > 12) {
        (left, top, right, bottom) = (left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1));
        let _ = pixel;
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

fn load(index: usize, path: &Path, hash: u64) -> Result<Loaded> {
    let bytes = std::fs::read(path).map_err(|e| Error::file(path, format!("this training picture can no longer be read ({e})")))?;
    if split::fnv1a(&bytes) != hash {
        return Err(Error::file(path, "this training picture has changed since training started; start again"));
    }
    match read_photo(path, &bytes) {
        Ok(photo) => Ok(Loaded { index, photo: Arc::new(photo) }),
        Err(LeftOut::For(why)) => Err(Error::file(path, format!("this training picture is {why}"))),
        Err(LeftOut::Unreadable(why)) => Err(Error::file(path, format!("this training picture can no longer be decoded ({why})"))),
    }
}
