//! Words of a table for one key, which a test writes as another program would.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

/// Size of the header, after which the words of the table follow.
pub const HEADER: u64 = 4096;
/// Bit of a tag that is marked busy.
const BUSY: u64 = 1 << 16;

/// File of a table of two sets.
pub struct TableWords(File);

impl TableWords {
    pub fn open(path: &Path) -> TableWords {
        let file = OpenOptions::new().read(true).write(true).open(path);
        TableWords(file.unwrap())
    }

    pub fn file(&self) -> &File {
        &self.0
    }

    pub fn write(&self, word: u64, value: u64) {
        let at = HEADER + word * 8;
        self.0.write_all_at(&value.to_ne_bytes(), at).unwrap();
    }

    /// Returns the number of words after the header.
    pub fn count(&self) -> u64 {
        (self.0.metadata().unwrap().len() - HEADER) / 8
    }

    /// Returns the first word of the slots: they are the last section, of 24 pairs.
    pub fn slots(&self) -> u64 {
        self.count() - 48
    }

    /// Marks the tags of all slots.
    pub fn mark_all(&self) {
        let mut tag = [0; 8];
        for word in (self.slots()..self.count()).step_by(2) {
            self.0.read_exact_at(&mut tag, HEADER + word * 8).unwrap();
            self.write(word, u64::from_ne_bytes(tag) | BUSY);
        }
    }

    /// Writes this number to both latches: an odd one closes them. The counters before them take five lines.
    pub fn write_latches(&self, number: u64) {
        (0..2).for_each(|latch| self.write((5 + latch) * 16, number));
    }
}
