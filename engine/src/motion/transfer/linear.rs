//! Small dense systems of equations.
//!
//! Invariant: a system without a clear solution gives none rather than huge numbers. Guarded by the tests of `placing` and `homography`.

/// Below this share of the largest coefficient a pivot counts as zero.
const LEAST_PIVOT: f64 = 1e-12;

/// The solution of `matrix` x = `right`, both taken apart on the way: `matrix` is row-major, square, with `right` values per row on the
/// right side; the result has as many. Gaussian elimination with partial pivoting.
pub(super) fn solve<const R: usize>(mut matrix: Vec<f64>, mut right: Vec<[f64; R]>) -> Option<Vec<[f64; R]>> {
    let n = right.len();
    let largest = matrix.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for column in 0..n {
        let pivot = (column..n).max_by(|a, b| matrix[a * n + column].abs().total_cmp(&matrix[b * n + column].abs()))?;
        let value = matrix[pivot * n + column];
        // Not `<=`: a NaN is no pivot either.
        if !(value.abs() > largest * LEAST_PIVOT) {
            return None;
        }
        if pivot != column {
            (0..n).for_each(|k| matrix.swap(pivot * n + k, column * n + k));
            right.swap(pivot, column);
        }
        for row in column + 1..n {
            let factor = matrix[row * n + column] / value;
            (column..n).for_each(|k| matrix[row * n + k] -= factor * matrix[column * n + k]);
            for r in 0..R {
                right[row][r] -= factor * right[column][r];
            }
        }
    }
    for row in (0..n).rev() {
        for r in 0..R {
            let known: f64 = (row + 1..n).map(|k| matrix[row * n + k] * right[k][r]).sum();
            right[row][r] = (right[row][r] - known) / matrix[row * n + row];
        }
    }
    right.iter().flatten().all(|value| value.is_finite()).then_some(right)
}
