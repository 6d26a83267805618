//! Packed right-hand sides and the product with them.
//!
//! A matrix is cut into panels of a few vectors of columns and, along K, into blocks that fit the first-level cache; a block's sums are
//! added to f32. K may come in segments that lie apart in the left-hand side: the three rows of a 3x3 convolution. Invariant: any size
//! works, and columns and rows that a panel has too many of never leave it. Guarded by the tests below.

use super::aligned::Aligned;
use super::isa::{COLUMNS, Isa, ROWS};

/// A panel: where it starts.
#[derive(Clone, Copy)]
struct Panel {
    column: usize,
    vectors: usize,
    offset: usize,
}

/// A matrix packed for [`multiply`].
pub struct Panels<I: Isa> {
    data: Aligned<I::Element>,
    columns: usize,
    panels: Vec<Panel>,
    /// Segment, first element in it and length of each block.
    blocks: Vec<(usize, usize, usize)>,
}

/// Cuts `length` into parts of at most `most`, all but the last equal and multiples of `unit`.
pub fn cut(length: usize, most: usize, unit: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = length.div_ceil(most).max(1);
    let part = length.div_ceil(parts).next_multiple_of(unit);
    (0..parts).map(move |i| (i * part, part.min(length.saturating_sub(i * part)))).filter(|(_, length)| *length > 0)
}

impl<I: Isa> Panels<I> {
    /// Packs `value(column, k)`, k counted through `segments` segments of `segment` each.
    pub fn pack(isa: I, columns: usize, (segments, segment): (usize, usize), value: impl Fn(usize, usize) -> f32) -> Self {
        let padded = segment.next_multiple_of(I::PAIR);
        let blocks: Vec<_> =
            (0..segments).flat_map(|s| cut(padded, I::BLOCK, I::PAIR).map(move |(start, length)| (s, start, length))).collect();
        let vectors = columns.div_ceil(I::LANES);
        let count = vectors.div_ceil(I::VECTORS);
        let (mut panels, mut first, mut offset) = (Vec::with_capacity(count), 0, 0);
        let mut data = Aligned::new(segments * padded * vectors * I::LANES);
        for panel in 0..count {
            // The vectors are shared out evenly: narrow panels run slower.
            let vectors = vectors / count + usize::from(panel < vectors % count);
            let width = vectors * I::LANES;
            panels.push(Panel { column: first, vectors, offset });
            let mut packed = Vec::with_capacity(segments * padded * width);
            for (s, start, length) in &blocks {
                for pair in (*start..start + length).step_by(I::PAIR) {
                    for column in first..first + width {
                        packed.extend((pair..pair + I::PAIR).map(|k| match column < columns && k < segment {
                            true => value(column, s * segment + k),
                            false => 0.0,
                        }));
                    }
                }
            }
            isa.narrow(&packed, &mut data[offset..offset + packed.len()]);
            (first, offset) = (first + width, offset + packed.len());
        }
        Self { data, columns, panels, blocks }
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// Products of `rows` (at most [`ROWS`]) rows of `a` with `b`: row r, segment s starts at `r * stride + s * segment_stride`.
///
/// `a` must reach as many rows as a full tile has. Calls `done(first column, columns, sums)` for each panel, sums in rows of
/// [`COLUMNS`]; `sums` holds [`ROWS`] such rows.
#[inline(always)]
pub fn multiply<I: Isa>(
    isa: I,
    rows: usize,
    a: &[I::Element],
    (stride, segment_stride): (usize, usize),
    b: &Panels<I>,
    sums: &mut [f32],
    mut done: impl FnMut(usize, usize, &[f32]),
) {
    assert!(rows <= ROWS && sums.len() >= ROWS * COLUMNS);
    for panel in &b.panels {
        let width = panel.vectors * I::LANES;
        let mut offset = panel.offset;
        for (block, (segment, start, length)) in b.blocks.iter().enumerate() {
            let a = &a[segment * segment_stride + start..];
            isa.panel(rows, *length, a, stride, &b.data[offset..offset + length * width], panel.vectors, sums, block > 0);
            offset += length * width;
        }
        done(panel.column, width.min(b.columns - panel.column), sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::isa::{Precision, Visit};

    fn value(i: usize) -> f32 {
        ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0
    }

    /// Relative RMS error of products of odd sizes.
    struct Errors;

    impl Visit for Errors {
        type Output = f32;

        fn visit<I: Isa>(self, isa: I) -> f32 {
            let mut worst = 0f32;
            let sizes = [(1, 3usize, 1, 1), (47, 2, 1, 130), (5, 401, 1, 16), (48, 192, 1, 64), (17, 70, 3, 98), (30, 96, 3, 33)];
            // Interpreted by Miri, the large ones would take hours.
            for (rows, k, segments, columns) in sizes.into_iter().take(if cfg!(miri) { 2 } else { sizes.len() }) {
                let (stride, segment_stride) = (k.next_multiple_of(2) + 6, 11);
                let a: Vec<f32> = (0..(ROWS + 3) * stride + segments * segment_stride).map(value).collect();
                let mut narrow = vec![I::Element::default(); a.len()];
                isa.narrow(&a, &mut narrow);
                let weight = |column: usize, k: usize| value(column * 7919 + k * 31 + 5);
                let panels = Panels::pack(isa, columns, (segments, k), weight);
                let mut sums = vec![f32::NAN; ROWS * COLUMNS];
                let mut result = vec![f32::NAN; rows * columns];
                multiply(isa, rows, &narrow, (stride, segment_stride), &panels, &mut sums, |first, width, sums| {
                    for row in 0..rows {
                        result[row * columns + first..][..width].copy_from_slice(&sums[row * COLUMNS..][..width]);
                    }
                });
                let (mut error, mut norm) = (0.0, 0.0);
                for (i, result) in result.iter().enumerate() {
                    let (row, column) = (i / columns, i % columns);
                    let at = |k_: usize| a[row * stride + k_ / k * segment_stride + k_ % k] as f64;
                    let truth: f64 = (0..segments * k).map(|k| at(k) * weight(column, k) as f64).sum();
                    error += (*result as f64 - truth).powi(2);
                    norm += truth * truth;
                }
                worst = worst.max((error / norm).sqrt() as f32);
            }
            worst
        }
    }

    #[test]
    fn every_set_multiplies_any_size() {
        for precision in Precision::ALL.into_iter().filter(|p| p.available()) {
            let rounded = [Precision::Fp16, Precision::Fp16Emulated, Precision::Bf16];
            let bound = if rounded.contains(&precision) { 5e-3 } else { 1e-5 };
            let error = precision.with(Errors);
            assert!(error < bound, "{}: {error}", precision.name());
        }
    }

    #[test]
    fn cuts_cover_the_length() {
        for (length, most, unit) in [(1, 192, 1), (192, 192, 2), (194, 192, 2), (288, 192, 2), (7, 3, 2), (768, 192, 2)] {
            let parts: Vec<_> = cut(length, most, unit).collect();
            assert_eq!(parts.iter().map(|p| p.1).sum::<usize>(), length);
            assert!(parts.windows(2).all(|w| w[0].0 + w[0].1 == w[1].0 && w[1].0 % unit == 0));
            assert!(parts.iter().all(|p| p.1 <= most.next_multiple_of(unit)));
        }
    }
}
