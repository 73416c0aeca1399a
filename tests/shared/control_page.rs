//! Control files that a test changes, with the checksum that they must have.

use std::{fs, path::Path};

/// Words that the checksum covers, the last of which it is.
const SEALED: usize = 128;

/// Changes the words of a control file.
pub fn change(path: &Path, change: impl FnOnce(&mut [u64])) {
    let bytes = fs::read(path).unwrap();
    let (words, _) = bytes.as_chunks();
    let mut words: Vec<_> = words.iter().map(|&word| u64::from_ne_bytes(word)).collect();
    change(&mut words);
    let (sum, words_before) = words[..SEALED].split_last_mut().unwrap();
    // FNV-1a, by words.
    *sum = words_before
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, word| {
            (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3)
        });
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    fs::write(path, bytes).unwrap();
}
