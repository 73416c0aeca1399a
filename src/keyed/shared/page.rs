//! First page of a file: numbers that are written once, with a checksum.

use super::region::WORD;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// Words that the checksum covers, itself included. Those after it change.
pub(super) const SEALED_WORDS: usize = 128;

/// Returns a page with these words, and a checksum after them.
pub(super) fn sealed(words: &[u64]) -> Vec<u8> {
    let mut sealed = words.to_vec();
    sealed.resize(SEALED_WORDS - 1, 0);
    sealed.push(checksum(&sealed));
    sealed.resize(PAGE / WORD, 0);
    sealed.into_iter().flat_map(u64::to_ne_bytes).collect()
}

/// Returns true when the last of these words is the checksum of the others.
pub(super) fn is_sealed(words: &[u64; SEALED_WORDS]) -> bool {
    let [words @ .., sum] = words;
    checksum(words) == *sum
}

/// FNV-1a, by words: it finds damage, not forgery.
pub(super) fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
