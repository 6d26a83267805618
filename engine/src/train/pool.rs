//! The pictures that clips are made of: photographs and cut-outs from folders, in memory within a budget.
//!
//! Invariant: what is in memory is a function of the files, the split, the budget and the epoch alone, so a clip can be made again;
//! memory never exceeds the budget by more than the pictures being decoded. Guarded by the tests below.

use super::pyramid::{Pyramid, Window};
use super::scan::{Found, LeftOut, read_photo, steps};
use crate::picture::{Grid, Picture};
use crate::{Error, Result};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use super::scan::Census;
pub use super::split::Split;

/// Default memory for photographs, bytes.
pub const DEFAULT_BUDGET: usize = 4 << 30;
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

impl Pool {
    /// Looks through `photo_dirs` and `cutout_dirs` (with their sub-folders; links are not followed) and loads what belongs to
    /// `split`, photographs within `memory_budget` bytes.
    ///
    /// # Errors
    /// If a folder cannot be read, or holds nothing usable for this split. Single unusable files are counted in the [`Census`].
    pub fn open(photo_dirs: &[PathBuf], cutout_dirs: &[PathBuf], split: Split, memory_budget: usize) -> Result<Self> {
        Found::scan(photo_dirs, cutout_dirs, memory_budget)?.take(split, memory_budget)
    }

    /// Both pools, for training and for evaluation, with one look through the folders; an eighth of the budget goes to the second.
    ///
    /// # Errors
    /// As [`Pool::open`].
    pub fn open_both(photo_dirs: &[PathBuf], cutout_dirs: &[PathBuf], memory_budget: usize) -> Result<(Self, Self)> {
        let mut found = Found::scan(photo_dirs, cutout_dirs, memory_budget)?;
        let held_out = found.take(Split::HeldOut, memory_budget / 8)?;
        Ok((found.take(Split::Train, memory_budget - memory_budget / 8)?, held_out))
    }

    /// What was found.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// The files of this split's photographs.
    pub fn photographs(&self) -> impl Iterator<Item = &Path> {
        self.listed.iter().map(|listed| listed.path.as_path())
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
        let set =
            wanted.par_iter().map(|index| at_hand.get(index).cloned().map_or_else(|| self.load(*index), Ok)).collect::<Result<Vec<_>>>()?;
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
        for attempt in 0..4 {
            let photo = &self.photos[rng.random_range(0..self.photos.len())].photo;
            let largest = (photo.width() as f32 / columns as f32).min(photo.height() as f32 / rows as f32);
            // A photograph smaller than the texture would have to be enlarged: rather another one.
            if largest < 0.7 && attempt < 3 {
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

impl Found {
    /// The pool of `split`; what it needs is moved out.
    fn take(&mut self, split: Split, budget: usize) -> Result<Pool> {
        let mut census = self.census.clone();
        let of = |found: Option<Split>| found == Some(split);
        census.photos = self.photos.iter().filter(|(_, found)| of(*found)).count();
        census.cutouts = self.cutouts.iter().filter(|(_, found)| of(*found)).count();
        census.photos_elsewhere = self.photos.iter().filter(|(_, found)| found.is_some()).count() - census.photos;
        census.cutouts_elsewhere = self.cutouts.iter().filter(|(_, found)| found.is_some()).count() - census.cutouts;
        let nothing = |dirs: &[PathBuf], what: &str| {
            let first = dirs.first().cloned().unwrap_or_default();
            Error::file(first, format!("no usable {what} for this split in the {} folder(s) given: {census}. Add folders.", dirs.len()))
        };
        if census.photos == 0 {
            return Err(nothing(&self.photo_dirs, "photograph (JPEG, PNG or WebP, 20 kB and 320 px at least)"));
        }
        if census.cutouts == 0 && !self.cutout_dirs.is_empty() {
            return Err(nothing(&self.cutout_dirs, "cut-out (PNG or WebP with a transparent surround)"));
        }
        let mut listed = Vec::with_capacity(census.photos);
        let mut loaded = Vec::new();
        for (index, (candidate, _)) in self.photos.iter_mut().filter(|(_, found)| of(*found)).enumerate() {
            listed.push(Listed { path: candidate.path.clone(), hash: candidate.print.hash, bytes: candidate.bytes });
            loaded.extend(candidate.pyramid.take().map(|photo| Loaded { index, photo: Arc::new(photo) }));
        }
        let cutouts =
            self.cutouts.iter_mut().filter(|(_, found)| of(*found)).filter_map(|(candidate, _)| candidate.pyramid.take()).collect();
        let (working, next) = (RwLock::new(Arc::new(loaded)), Arc::default());
        let pool = Pool { listed, cutouts: Arc::new(cutouts), budget, working, next, census };
        pool.rotate_to(0)?;
        Ok(pool)
    }
}

fn load(index: usize, path: &Path, hash: u64) -> Result<Loaded> {
    let bytes = std::fs::read(path).map_err(|e| Error::file(path, format!("this training picture can no longer be read ({e})")))?;
    if crate::model::parameters::fnv1a(&bytes) != hash {
        return Err(Error::file(path, "this training picture has changed since training started; start again"));
    }
    match read_photo(&bytes) {
        Ok(photo) => Ok(Loaded { index, photo: Arc::new(photo) }),
        Err(LeftOut::For(why)) => Err(Error::file(path, format!("this training picture is {why}"))),
        Err(LeftOut::Unreadable(why)) => Err(Error::file(path, format!("this training picture can no longer be decoded ({why})"))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::train::clip::{ClipSpec, make_clip};
    use crate::train::split::scramble;

    /// Folders of `photos` and `cutouts` made-up pictures, each with a broken file among them.
    pub fn folders(photos: usize, cutouts: usize) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let (photo_dir, cutout_dir) = (root.path().join("photos"), root.path().join("cutouts"));
        std::fs::create_dir_all(photo_dir.join("more")).unwrap();
        std::fs::create_dir_all(&cutout_dir).unwrap();
        let random = |seed: usize, i: usize| (scramble((seed * 1_000_003 + i) as u64 + 1) % 256) as u8;
        for k in 0..photos {
            // Coarse patches tell photographs apart, fine noise makes the files large enough.
            let image = image::RgbImage::from_fn(340, 330, |x, y| {
                let patch = random(k, (x / 43 + 8 * (y / 42)) as usize) / 2 + 40;
                let noise = random(k + 900, (x + 340 * y) as usize) / 6;
                image::Rgb([patch + noise, patch + noise / 2, 200 - patch / 2])
            });
            let folder = if k % 2 == 0 { photo_dir.clone() } else { photo_dir.join("more") };
            image.save(folder.join(format!("p{k}.png"))).unwrap();
        }
        for k in 0..cutouts {
            let image = image::RgbaImage::from_fn(90, 80, |x, y| {
                let angle = (y as f32 - 40.0).atan2(x as f32 - 45.0);
                let radius = 28.0 + 10.0 * (angle * (2 + k % 5) as f32 + k as f32).sin();
                let inside = (x as f32 - 45.0).hypot(y as f32 - 40.0) < radius;
                let patch = random(k + 77, (x / 12 + 8 * (y / 12)) as usize);
                image::Rgba([patch, 255 - patch, 90, if inside { 255 } else { 0 }])
            });
            image.save(cutout_dir.join(format!("c{k}.png"))).unwrap();
        }
        std::fs::write(photo_dir.join("broken.jpg"), vec![7u8; 70_000]).unwrap();
        std::fs::write(cutout_dir.join("broken.png"), b"\x89PNG\r\n\x1a\nno").unwrap();
        (root, photo_dir, cutout_dir)
    }

    #[test]
    fn splits_are_disjoint_and_broken_files_are_counted() {
        let (_root, photos, cutouts) = folders(24, 24);
        let open = |split| Pool::open(std::slice::from_ref(&photos), std::slice::from_ref(&cutouts), split, DEFAULT_BUDGET).unwrap();
        let (train, held_out) = (open(Split::Train), open(Split::HeldOut));
        let hashes = |pool: &Pool| pool.listed.iter().map(|listed| listed.hash).collect::<Vec<_>>();
        assert!(hashes(&train).iter().all(|hash| !hashes(&held_out).contains(hash)));
        assert_eq!(train.listed.len() + held_out.listed.len(), 24);
        assert_eq!(train.census().photos_elsewhere, held_out.census().photos);
        assert_eq!(train.census().unreadable.len(), 2);
        assert!(held_out.census().photos >= 1 && held_out.census().cutouts >= 1);
        let (both_train, both_held_out) = Pool::open_both(&[photos], &[cutouts], DEFAULT_BUDGET).unwrap();
        assert_eq!((hashes(&both_train), hashes(&both_held_out)), (hashes(&train), hashes(&held_out)));
        assert_eq!(both_train.cutouts.len(), train.cutouts.len());
    }

    #[test]
    fn memory_keeps_to_the_budget_and_every_photograph_gets_its_turn() {
        let (_root, photos, _) = folders(12, 0);
        let whole = Pool::open(std::slice::from_ref(&photos), &[], Split::Train, DEFAULT_BUDGET).unwrap();
        let one = whole.listed[0].bytes;
        let pool = Pool::open(&[photos], &[], Split::Train, 3 * one + one / 2).unwrap();
        let spec = ClipSpec { width: 32, height: 32, frame_times: vec![0.0, 4.0], seed: 5 };
        let mut seen = std::collections::BTreeSet::new();
        let mut frames = Vec::new();
        for epoch in 0..pool.listed.len() as u64 {
            pool.rotate_to(epoch).unwrap();
            assert!(pool.bytes() <= pool.budget && pool.bytes() >= 3 * one, "{}", pool.bytes());
            seen.extend(pool.stock().photos.iter().map(|loaded| loaded.index));
            frames.push(make_clip(&pool, &spec).frames);
        }
        assert_eq!(seen.len(), whole.listed.len());
        pool.rotate_to(4).unwrap();
        assert_eq!(make_clip(&pool, &spec).frames, frames[4], "an epoch can be returned to");
        assert!(frames.iter().any(|other| *other != frames[0]));
    }

    #[test]
    fn nothing_usable_is_said_with_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let empty = root.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let message = |dir: &PathBuf| Pool::open(std::slice::from_ref(dir), &[], Split::Train, DEFAULT_BUDGET).err().unwrap().to_string();
        assert!(message(&empty).contains("empty: no usable photograph"), "{}", message(&empty));
        assert!(message(&root.path().join("missing")).contains("cannot read this folder"));
        let (_root, photos, _) = folders(4, 0);
        let failed = Pool::open(&[photos], &[empty], Split::Train, DEFAULT_BUDGET).err().unwrap().to_string();
        assert!(failed.contains("no usable cut-out"), "{failed}");
    }
}
