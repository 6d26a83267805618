//! Which pictures training may see: groups of near-duplicates, each wholly in one split.
//!
//! Invariant: the split of a group depends only on the contents of its files, never on their names or order, and two pictures of
//! one group never land in different splits. Guarded by the tests below and of `pool`.

/// Which part of the pictures a pool draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What the trainer sees: about nine tenths.
    Train,
    /// What it never sees, for evaluation: about one tenth.
    HeldOut,
}

/// Side of the thumbnail that pictures are compared by.
pub(super) const THUMB: usize = 8;
/// Thumbnails that correlate more than this show the same thing: another size, crop or tint of one picture.
const SAME_MOTIF: f32 = 0.98;
/// Thumbnails that differ by less than this on average are copies.
const SAME_PICTURE: f32 = 0.012;

/// What is needed to compare two pictures.
#[derive(Clone, Debug)]
pub(super) struct Fingerprint {
    /// FNV-1a of the file's bytes.
    pub hash: u64,
    /// Folder and name without what tells variants apart.
    pub subject: String,
    /// Pixels.
    pub area: usize,
    /// Width over height.
    pub aspect: f32,
    /// RGBA, 0..1, [`THUMB`] squared.
    pub thumb: Vec<[f32; 4]>,
}

/// A bijective scramble (the finaliser of SplitMix64): FNV's high bits are poor.
pub(super) fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The split of each picture; `None` for a copy of a larger one.
pub(super) fn assign(prints: &[Fingerprint]) -> Vec<Option<Split>> {
    let motifs: Vec<[Vec<f32>; 2]> = prints.iter().map(|print| [motif(&print.thumb), motif(&mirrored(&print.thumb))]).collect();
    let mut parent: Vec<usize> = (0..prints.len()).collect();
    let mut copy = vec![false; prints.len()];
    for i in 0..prints.len() {
        for j in 0..i {
            let correlation = |k: usize| motifs[i][k].iter().zip(&motifs[j][0]).map(|(a, b)| a * b).sum::<f32>();
            // Absolute: light and dark variants of one picture are negatives of each other.
            let same_motif = correlation(0).abs().max(correlation(1).abs()) > SAME_MOTIF;
            if !(same_motif || prints[i].subject == prints[j].subject || prints[i].hash == prints[j].hash) {
                continue;
            }
            let (a, b) = (root(&mut parent, i), root(&mut parent, j));
            parent[a.max(b)] = a.min(b);
            if is_copy(&prints[i], &prints[j]) {
                let rank = |k: usize| (prints[k].area, prints[k].hash, k);
                copy[if rank(i) < rank(j) { i } else { j }] = true;
            }
        }
    }
    let roots: Vec<usize> = (0..prints.len()).map(|i| root(&mut parent, i)).collect();
    let mut key = vec![u64::MAX; prints.len()];
    for (i, print) in prints.iter().enumerate() {
        key[roots[i]] = key[roots[i]].min(print.hash);
    }
    let held_out = |group: usize| scramble(key[group]).is_multiple_of(10);
    let mut groups = roots.clone();
    groups.sort_unstable();
    groups.dedup();
    // A small set may have no group below the threshold: the evaluation must not be empty.
    let forced = if groups.len() > 1 && !groups.iter().any(|group| held_out(*group)) {
        groups.iter().copied().min_by_key(|group| scramble(key[*group]))
    } else {
        None
    };
    (0..prints.len())
        .map(|i| {
            let split = if held_out(roots[i]) || forced == Some(roots[i]) { Split::HeldOut } else { Split::Train };
            (!copy[i]).then_some(split)
        })
        .collect()
}

fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

fn is_copy(a: &Fingerprint, b: &Fingerprint) -> bool {
    let difference = |other: &[[f32; 4]]| {
        let sum: f32 = a.thumb.iter().zip(other).flat_map(|(a, b)| (0..4).map(move |c| (a[c] - b[c]).abs())).sum();
        sum / (4 * a.thumb.len()) as f32
    };
    let same_shape = (a.aspect / b.aspect).ln().abs() < 0.03;
    a.hash == b.hash || (same_shape && difference(&b.thumb).min(difference(&mirrored(&b.thumb))) < SAME_PICTURE)
}

/// The thumbnail's brightness (and, for cut-outs, outline) with mean 0 and length 1.
fn motif(thumb: &[[f32; 4]]) -> Vec<f32> {
    let grey: Vec<f32> = thumb.iter().map(|[r, g, b, _]| 0.3 * r + 0.59 * g + 0.11 * b).collect();
    let alpha: Vec<f32> = thumb.iter().map(|sample| sample[3]).collect();
    let mut both = [centred(&grey), centred(&alpha)].concat();
    let length = both.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-3);
    both.iter_mut().for_each(|v| *v /= length);
    both
}

fn centred(values: &[f32]) -> Vec<f32> {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    values.iter().map(|v| v - mean).collect()
}

fn mirrored(thumb: &[[f32; 4]]) -> Vec<[f32; 4]> {
    thumb.chunks_exact(THUMB).flat_map(|row| row.iter().rev().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(hash: u64, subject: &str, f: impl Fn(usize, usize) -> f32) -> Fingerprint {
        let thumb = (0..THUMB * THUMB).map(|i| f(i % THUMB, i / THUMB)).map(|v| [v, v, v, 1.0]).collect();
        Fingerprint { hash, subject: subject.into(), area: 100 + hash as usize, aspect: 1.5, thumb }
    }

    fn noise(seed: usize) -> impl Fn(usize, usize) -> f32 {
        move |x, y| (scramble((seed * 64 + y * 8 + x) as u64) % 1000) as f32 / 1000.0
    }

    #[test]
    fn variants_share_a_split_and_copies_are_dropped() {
        for seed in 0..60 {
            let base = noise(seed);
            let prints = vec![
                print(seed as u64, "a", &base),
                print(seed as u64 + 1000, "b", |x, y| base(x, y) + 0.001),
                print(seed as u64 + 2000, "c", |x, y| 0.9 - 0.5 * base(x, y)),
                print(seed as u64 + 3000, "d", |x, y| 0.2 + 0.5 * base(7 - x, y)),
                print(seed as u64 + 4000, "a", noise(seed + 500)),
                print(seed as u64 + 5000, "e", noise(seed + 900)),
            ];
            let splits = assign(&prints);
            assert_eq!(splits[0], None, "the smaller of two copies goes");
            assert!(splits[2].is_some() && splits[1] == splits[2] && splits[2] == splits[3] && splits[3] == splits[4], "{splits:?}");
            assert!(splits[5].is_some());
        }
    }

    #[test]
    fn about_a_tenth_is_held_out_whatever_the_order() {
        let mut prints: Vec<_> = (0..400).map(|i| print(i as u64 * 7919, &i.to_string(), noise(i))).collect();
        let held_out = |splits: &[Option<Split>]| splits.iter().filter(|split| **split == Some(Split::HeldOut)).count();
        let splits = assign(&prints);
        assert!((20..=60).contains(&held_out(&splits)), "{}", held_out(&splits));
        prints.reverse();
        let mut reversed = assign(&prints);
        reversed.reverse();
        assert_eq!(splits, reversed);
        assert_eq!(held_out(&assign(&prints[..2])), 1, "never empty");
    }
}
