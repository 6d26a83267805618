//! 3-D rotary positions as in Wan 2.1: a head's pairs are shared out to time, row and column.
//!
//! Invariant: the table depends on the slot in the window, never on the absolute frame. Guarded by `tests/tests/parity.rs`.

use candle_core::{Device, Result, Tensor};

/// Pairs of a head that turn with time; those behind them turn with row and column, which do not change with the slot.
pub fn time_pairs(head_dim: usize) -> usize {
    head_dim / 2 - 2 * (head_dim / 6)
}

/// Cosines then sines of every token's pairs, (frames * rows * columns, head_dim); token order frame, row, column.
pub fn rotation(head_dim: usize, frames: usize, rows: usize, columns: usize, device: &Device) -> Result<Tensor> {
    let spatial = 2 * (head_dim / 6);
    let parts = [2 * time_pairs(head_dim), spatial, spatial];
    let mut table = Vec::with_capacity(frames * rows * columns * head_dim);
    for frame in 0..frames {
        for row in 0..rows {
            for column in 0..columns {
                let angles: Vec<f64> = [frame, row, column]
                    .into_iter()
                    .zip(parts)
                    .flat_map(|(position, dim)| (0..dim / 2).map(move |i| position as f64 / 10_000f64.powf(2.0 * i as f64 / dim as f64)))
                    .collect();
                table.extend(angles.iter().map(|a| a.cos() as f32));
                table.extend(angles.iter().map(|a| a.sin() as f32));
            }
        }
    }
    Tensor::from_vec(table, (frames * rows * columns, head_dim), device)
}
