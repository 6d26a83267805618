//! Buffers that start on a cache line: a vector load that straddles two lines costs as much as two.
//!
//! Invariant: the first element lies on a 64-byte boundary, also in a clone. Guarded by the test below.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line and of the widest vector.
const LINE: usize = 64;

/// A buffer of fixed length.
#[derive(Debug)]
pub struct Aligned<T> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` default values.
    pub fn new(len: usize) -> Self {
        let data = vec![T::default(); len + LINE / size_of::<T>()];
        let start = data.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        Self { data, start, len }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..self.start + self.len]
    }
}

impl<T: Copy + Default> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_line_and_keeps_its_values() {
        for len in [0, 1, 100] {
            let mut buffer = Aligned::<u16>::new(len);
            buffer.iter_mut().enumerate().for_each(|(i, v)| *v = i as u16);
            for buffer in [buffer.clone(), buffer] {
                assert_eq!(buffer.as_ptr() as usize % LINE, 0);
                assert!(buffer.iter().enumerate().all(|(i, v)| *v == i as u16) && buffer.len() == len);
            }
        }
    }
}
