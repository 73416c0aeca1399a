//! File mapped to memory, as words.

use std::{fmt, fs::File, io, slice};

use memmap2::{MmapOptions, MmapRaw};

use crate::sync::AtomicU64;

/// Bytes of a word.
pub(super) const WORD: usize = size_of::<u64>();

/// Mapped file. Its words are those of the file at any moment, whichever process writes them.
pub(in crate::keyed) struct Region(MmapRaw);

impl Region {
    /// Maps the first bytes of a file, which has at least so many.
    pub(super) fn map(file: &File, bytes: usize) -> io::Result<Region> {
        MmapOptions::new().len(bytes).map_raw(file).map(Region)
    }

    /// Waits until the words are on the disk, if the file is on one.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.flush()
    }

    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "the one place where a mapping becomes memory that Rust knows"
    )]
    pub(super) fn words(&self) -> &[AtomicU64] {
        let words = self.0.as_ptr().cast::<AtomicU64>();
        // SAFETY: The kernel maps whole pages, so the pointer is aligned to a word, and the bytes of the
        // mapping are readable, writable and initialized until it is dropped, which `self` outlives.
        // A length that the file no longer has, which only its owner can cause, is a signal and not
        // other memory. This process and others touch these bytes as `AtomicU64` alone, which has no
        // lock beside it and no invalid values; nothing makes a `&mut` of them.
        unsafe { slice::from_raw_parts(words, self.0.len() / WORD) }
    }

    #[inline(always)]
    pub(in crate::keyed) fn pairs(&self) -> &[[AtomicU64; 2]] {
        self.words().as_chunks().0
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("bytes", &self.0.len())
            .finish_non_exhaustive()
    }
}
