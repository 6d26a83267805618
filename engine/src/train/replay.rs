//! Which films the batches of a run show. A film is shown several times, each time with other noise and mostly turned: to make one (cut
//! the picture, fill what is behind) takes several times as long as a training step on it.
//!
//! Invariant: what a batch shows depends on the seed and its number alone; memory is bounded by what [`SPREAD`] batches of each kind show.
//! Guarded by the tests below and of `trainer`.

use super::film::{Extent, Film, Turn, Withheld};
use super::trainer::example_seed;
use crate::model::config::Config;
use crate::train::pool::Pool;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Of so many rounds through the sizes one is of whole windows.
const WINDOW_EVERY: u64 = 5;
/// How often a film is shown, on average.
const SHOWN: u64 = 8;
/// A batch draws from so many batches' films.
const SPREAD: u64 = 4;
/// Sets the seeds of films apart from those of noise.
const FILMS: u64 = 0xF117;

/// What the films of a batch have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kind {
    /// Width and height, px.
    size: (usize, usize),
    extent: Extent,
    /// Which of the kinds it is.
    index: u64,
    /// How many batches of this kind come before.
    before: u64,
}

impl Kind {
    /// Of batch `number`, where films of these sizes take turns.
    fn of(number: u64, sizes: &[(usize, usize)]) -> Self {
        let (round, size) = (number / sizes.len() as u64, number % sizes.len() as u64);
        // Whole windows teach what to do with a past; the rest of the time goes into more holes.
        let windows = round.div_ceil(WINDOW_EVERY);
        let (extent, before) =
            if round.is_multiple_of(WINDOW_EVERY) { (Extent::Window, windows) } else { (Extent::Chunk, round - windows) };
        Self { size: sizes[size as usize], extent, index: 2 * size + u64::from(extent == Extent::Window), before }
    }

    /// Films in a batch of so many pixels per frame; single chunks are taken twice as many.
    fn films(&self, batch_px: usize) -> u64 {
        let times = if self.extent == Extent::Chunk { 2 } else { 1 };
        times * (batch_px / (self.size.0 * self.size.1)).max(1) as u64
    }

    /// Which films of this kind may be in a batch of `count`.
    fn window(&self, count: u64) -> std::ops::Range<u64> {
        let first = self.before * count / SHOWN;
        first..first + SPREAD * count
    }

    /// The films of a batch of `count`, each of them once.
    fn draw(&self, count: u64, rng: &mut ChaCha8Rng) -> Vec<u64> {
        let mut films: Vec<u64> = self.window(count).collect();
        (0..count as usize)
            .map(|i| {
                let other = rng.random_range(i..films.len());
                films.swap(i, other);
                films[i]
            })
            .collect()
    }
}

/// What films are made of.
pub(super) struct Source {
    pub pool: Arc<Pool>,
    pub config: Config,
    pub seed: u64,
    /// Sizes that take turns, as often as they stand here; multiples of a token.
    pub sizes: Vec<(usize, usize)>,
    /// Pixels of a batch, per frame.
    pub batch_px: usize,
    /// What is withheld of the tracks.
    pub withheld: Withheld,
}

/// A film that somebody has made, or is about to.
type Slot = Arc<OnceLock<Film>>;

/// The films that batches still may show, made when one first does.
#[derive(Default)]
pub(super) struct Replay {
    /// By kind and number.
    films: Mutex<BTreeMap<(u64, u64), Slot>>,
}

impl Replay {
    /// What `show` makes of each film of batch `number`, turned, and of a source of randomness of its own; whoever asks for a film that
    /// another thread is making waits for it.
    pub fn batch<T>(&self, source: &Source, number: u64, show: impl Fn(&Film, &mut ChaCha8Rng) -> T) -> Vec<T> {
        let Source { pool, config, seed, sizes, batch_px, withheld } = source;
        let kind = Kind::of(number, sizes);
        let count = kind.films(*batch_px);
        let drawn = kind.draw(count, &mut ChaCha8Rng::seed_from_u64(example_seed(*seed, number, u64::MAX)));
        let oldest = kind.window(count).start;
        let slots: Vec<(u64, Slot)> = {
            let mut films = self.films.lock().unwrap_or_else(PoisonError::into_inner);
            films.retain(|(index, film), _| *index != kind.index || *film >= oldest);
            drawn.into_iter().map(|film| (film, films.entry((kind.index, film)).or_default().clone())).collect()
        };
        let film = |film| Film::random(pool, config, kind.extent, kind.size, *withheld, example_seed(seed ^ FILMS, kind.index, film));
        let shown = |(i, (film_number, slot)): (usize, &(u64, Slot))| {
            let film = slot.get_or_init(|| film(*film_number));
            let rng = &mut ChaCha8Rng::seed_from_u64(example_seed(*seed, number, i as u64));
            show(&film.turned(Turn::random(rng, film.is_square())), rng)
        };
        slots.iter().enumerate().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::trainer::SIZES;

    #[test]
    fn every_film_is_shown_as_often_as_said_and_no_batch_shows_one_twice() {
        let mut shown: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        // Number and size of each kind's batches.
        let mut batches: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for number in 0..3000 {
            let kind = Kind::of(number, &SIZES);
            let count = kind.films(131_072);
            assert_eq!((kind.before, count), *batches.entry(kind.index).and_modify(|(n, _)| *n += 1).or_insert((0, count)));
            let mut drawn = kind.draw(count, &mut ChaCha8Rng::seed_from_u64(number));
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len() as u64, count);
            drawn.into_iter().for_each(|film| *shown.entry((kind.index, film)).or_default() += 1);
        }
        // Films that were there from the beginning, and those that still will be shown, count less.
        for (index, (batches, count)) in &batches {
            let grown: Vec<u64> =
                shown.range((*index, SPREAD * count)..(*index, batches * count / SHOWN)).map(|(_, times)| *times).collect();
            let mean = grown.iter().sum::<u64>() as f64 / ((batches * count / SHOWN).saturating_sub(SPREAD * count)).max(1) as f64;
            assert!(grown.len() < 8 || (mean - SHOWN as f64).abs() < 1.0, "kind {index}: {mean} of {} films", grown.len());
        }
    }
}
