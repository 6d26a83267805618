//! Tracks for the model: each id as a sinusoid, added into the cell where its point is, the frames of a latent packed into channels;
//! a 1x1x1 convolution in the DiT then mixes them (MotionStream, arXiv 2511.01266, section on motion conditioning).
//!
//! Invariant: what is invisible or outside adds nothing. Guarded by `tests/tests/parity.rs`.

/// `channels` numbers for an id below 100 000: cosines, then sines, of the id at falling frequencies.
pub fn embed_id(id: u32, channels: usize) -> Vec<f32> {
    let half = channels / 2;
    let angle = |i: usize| id as f64 * 10_000f64.powf(-(i as f64) / half as f64);
    (0..half).map(|i| angle(i).cos() as f32).chain((0..half).map(|i| angle(i).sin() as f32)).collect()
}

/// The cell that holds a point, or none outside: `rows` x `columns` cells of `cell` units.
pub fn cell_from_px(x: f32, y: f32, cell: f32, rows: usize, columns: usize) -> Option<usize> {
    let (column, row) = ((x / cell).floor(), (y / cell).floor());
    let inside = column >= 0.0 && row >= 0.0 && column < columns as f32 && row < rows as f32;
    inside.then(|| row as usize * columns + column as usize)
}
