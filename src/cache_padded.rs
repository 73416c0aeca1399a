//! Padding against false sharing.

use core::ops::Deref;

/// A value padded and aligned to 128 bytes: adjacent-line prefetch fetches 64-byte lines in pairs.
///
/// [`Bucket`](crate::Bucket) uses `core` alone, so this stands in for `CachePadded` of
/// crossbeam-utils.
#[repr(align(128))]
pub(crate) struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    pub(crate) const fn new(value: T) -> CachePadded<T> {
        CachePadded(value)
    }
}

impl<T> Deref for CachePadded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}
