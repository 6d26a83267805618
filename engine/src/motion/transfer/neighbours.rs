//! The nearest of many places, found through buckets.
//!
//! Invariant: the same places give the same neighbours in the same order, ties by index. Guarded by the tests below.

use glam::Vec2;

/// Places in buckets of about two each.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    places: Vec<Vec2>,
    low: Vec2,
    side: f32,
    columns: usize,
    rows: usize,
    /// Where each bucket begins in `order`; one more than there are buckets.
    starts: Vec<u32>,
    /// Indices of places, bucket by bucket.
    order: Vec<u32>,
}

impl Buckets {
    pub fn new(places: &[Vec2]) -> Self {
        let (low, high) = places.iter().fold((Vec2::INFINITY, Vec2::NEG_INFINITY), |(low, high), p| (low.min(*p), high.max(*p)));
        let size = if places.is_empty() { Vec2::ZERO } else { high - low };
        let low = if places.is_empty() { Vec2::ZERO } else { low };
        // Of places on a line the buckets are few as well.
        let side = (2.0 * size.x * size.y / places.len().max(1) as f32).sqrt().max(2.0 * size.max_element() / places.len().max(1) as f32);
        let side = side.max(1e-3);
        let (columns, rows) = ((size.x / side) as usize + 1, (size.y / side) as usize + 1);
        let mut grid = Self { places: places.to_vec(), low, side, columns, rows, starts: vec![0; columns * rows + 1], order: Vec::new() };
        let of: Vec<usize> = places.iter().map(|p| grid.bucket(*p)).collect();
        of.iter().for_each(|bucket| grid.starts[bucket + 1] += 1);
        for i in 1..grid.starts.len() {
            grid.starts[i] += grid.starts[i - 1];
        }
        grid.order = (0..places.len() as u32).collect();
        grid.order.sort_by_key(|i| of[*i as usize]);
        grid
    }

    fn cell(&self, at: Vec2) -> (usize, usize) {
        let cell = ((at - self.low) / self.side).max(Vec2::ZERO);
        ((cell.x as usize).min(self.columns - 1), (cell.y as usize).min(self.rows - 1))
    }

    fn bucket(&self, at: Vec2) -> usize {
        let (column, row) = self.cell(at);
        row * self.columns + column
    }

    /// The `count` places nearest to `at`, or all there are, as (squared distance, index), nearest first.
    pub fn nearest(&self, at: Vec2, count: usize, found: &mut Vec<(f32, u32)>) {
        found.clear();
        let (column, row) = self.cell(at);
        let last = self.columns.max(self.rows);
        for ring in 0..=last {
            let (left, right) = (column.saturating_sub(ring), (column + ring).min(self.columns - 1));
            for r in row.saturating_sub(ring)..=(row + ring).min(self.rows - 1) {
                let edge = r.abs_diff(row) == ring;
                for c in (left..=right).filter(|c| edge || c.abs_diff(column) == ring) {
                    let bucket = r * self.columns + c;
                    let held = &self.order[self.starts[bucket] as usize..self.starts[bucket + 1] as usize];
                    found.extend(held.iter().map(|i| (self.places[*i as usize].distance_squared(at), *i)));
                }
            }
            // Beyond the rings that were looked at nothing is nearer than this.
            let corner = self.low + Vec2::new(column as f32 - ring as f32, row as f32 - ring as f32) * self.side;
            let far = corner + Vec2::splat((2 * ring + 1) as f32 * self.side);
            let safe = (at - corner).min(far - at).min_element();
            if found.len() >= count && safe > 0.0 {
                found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                if count == 0 || found[count - 1].0 <= safe * safe {
                    break;
                }
            }
        }
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        found.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_those_of_a_full_search() {
        let number = |i: usize| (i * 7919 % 1009) as f32 / 1009.0;
        let cloud: Vec<Vec2> = (0..300).map(|i| Vec2::new(number(i) * 200.0, number(3 * i + 5) * 70.0)).collect();
        let line: Vec<Vec2> = (0..50).map(|i| Vec2::new(i as f32, 3.0)).collect();
        for places in [cloud, line, vec![Vec2::ONE; 9], vec![Vec2::ZERO], vec![]] {
            let buckets = Buckets::new(&places);
            let mut found = Vec::new();
            for i in 0..60 {
                let at = Vec2::new(number(5 * i) * 400.0 - 100.0, number(7 * i) * 300.0 - 100.0);
                buckets.nearest(at, 8, &mut found);
                let mut truth: Vec<(f32, u32)> = places.iter().zip(0..).map(|(p, i)| (p.distance_squared(at), i)).collect();
                truth.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                truth.truncate(8);
                assert_eq!(found, truth);
            }
        }
    }
}
