//! Matrix products on slices: a bounds-checked door to the `gemm` crate (AVX-512, AVX2, NEON or scalar, chosen at run time).
//!
//! Invariant: no element outside the given slices is read or written, and the order of summation does not depend on the number of
//! threads. Guarded by the tests below.

use rayon::current_num_threads;

/// A strided matrix inside a slice.
#[derive(Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// Rows of `stride` numbers.
    pub fn rows(data: &'a [f32], stride: usize) -> Self {
        Self { data, row_stride: stride, column_stride: 1 }
    }

    /// The transpose of [`View::rows`].
    pub fn columns(data: &'a [f32], stride: usize) -> Self {
        Self { data, row_stride: 1, column_stride: stride }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.data.len()
    }
}

/// Whether a product may use the other threads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// This thread only: the caller is already parallel.
    One,
    /// All of rayon's.
    All,
}

/// `dst = scale * lhs rhs` or `dst += scale * lhs rhs`; lhs (m, k), rhs (k, n), dst (m, n) with rows of `dst_stride` numbers.
pub fn matmul(
    (m, k, n): (usize, usize, usize),
    dst: &mut [f32],
    dst_stride: usize,
    accumulate: bool,
    lhs: View,
    rhs: View,
    scale: f32,
    threads: Threads,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= dst_stride && (m - 1) * dst_stride + n <= dst.len(), "product of {m}x{n} does not fit its destination");
    assert!(lhs.holds(m, k) && rhs.holds(k, n), "product of {m}x{k}x{n} reads past its factors");
    let parallelism = match threads {
        Threads::All if current_num_threads() > 1 => gemm::Parallelism::Rayon(current_num_threads()),
        _ => gemm::Parallelism::None,
    };
    let _flush = Flush::on();
    #[allow(unsafe_code)]
    // SAFETY: the asserts above prove that every index that the strides reach lies inside the three slices, and `dst` is borrowed
    // mutably, so it overlaps neither factor.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// As long as it lives, this thread takes numbers below 1e-38 for 0. Small gradients times small weights get there by the thousand, and
/// each costs a processor more than a hundred ordinary products.
struct Flush {
    #[cfg(target_arch = "x86_64")]
    before: u32,
}

#[cfg(target_arch = "x86_64")]
impl Flush {
    /// Flush to zero, denormals are zero.
    const BITS: u32 = 1 << 15 | 1 << 6;

    fn on() -> Self {
        let mut before = 0u32;
        #[allow(unsafe_code)]
        // SAFETY: every x86-64 processor has SSE; MXCSR is stored to and loaded from a live u32, no reserved bit is set, and nothing but
        // the treatment of denormal numbers changes, which safe code does not rely on within the products made here.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut before, options(nostack, preserves_flags));
        }
        Self::set(before | Self::BITS);
        Self { before }
    }

    fn set(control: u32) {
        #[allow(unsafe_code)]
        // SAFETY: as above; `control` is what the processor said, with two defined bits set or not.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, preserves_flags, readonly));
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Flush {
    fn drop(&mut self) {
        Self::set(self.before);
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Flush {
    fn on() -> Self {
        Self {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn product_transposed_scaled_and_accumulated() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // (2, 3)
        let b = [1.0, 0.0, 2.0, 1.0, 0.0, 1.0]; // (2, 3), used transposed as (3, 2)
        let mut c = vec![1.0; 4];
        matmul((2, 3, 2), &mut c, 2, true, View::rows(&a, 3), View::columns(&b, 3), 2.0, Threads::All);
        assert_eq!(c, [15.0, 9.0, 33.0, 21.0]);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (m, k, n) = (70, 900, 130);
        let number = |i: usize| (i * 7919 % 1009) as f32 / 1009.0 - 0.5;
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(number).collect(), (0..k * n).map(|i| number(i + 5)).collect());
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![0.0; m * n];
            pool.install(|| matmul((m, k, n), &mut c, n, false, View::columns(&a, m), View::rows(&b, n), 1.0, Threads::All));
            c
        };
        assert!(run(1) == run(3), "one and three threads differ");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_is_nearly_nothing_is_nothing_in_a_product_and_only_there() {
        let tiny = 1e-30f32;
        let product = |a: f32, b: f32| {
            let mut c = [1.0];
            matmul((1, 1, 1), &mut c, 1, false, View::rows(&[a], 1), View::rows(&[b], 1), 1.0, Threads::One);
            c[0]
        };
        assert_eq!(product(tiny, 1e-10), 0.0);
        assert_eq!(product(1e-39, 1.0), 0.0);
        assert!(product(tiny, 1e-5) > 0.0);
        assert!(std::hint::black_box(tiny) * std::hint::black_box(1e-10) > 0.0);
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_short_destination_is_refused() {
        matmul((2, 1, 2), &mut [0.0; 3], 2, false, View::rows(&[1.0; 2], 1), View::rows(&[1.0; 2], 2), 1.0, Threads::One);
    }
}
