//! Files of single tables: a first page with the quota and the size, and the words.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
};

use super::{
    control::{FORMAT, sealed_words},
    directory::{Directory, with_suffix},
    error::OpenError,
    page::{PAGE, is_sealed, sealed},
    region::{Region, WORD},
};
use crate::{
    keyed::{
        sections::{self, Sections},
        sets,
    },
    quota::Quota,
    sync::Arc,
};

const MAGIC: u64 = u64::from_ne_bytes(*b"tollgtbl");
/// Words of the header before the text of the quota.
const TEXT: usize = 6;
/// Bytes of the longest text of a quota; the longest has fewer than 80.
pub(super) const LONGEST_TEXT: usize = 512;

/// Mapped table.
#[derive(Debug)]
pub(in crate::keyed) struct TableFile {
    pub(in crate::keyed) sections: Sections,
    pub(in crate::keyed) number: u64,
    pub(in crate::keyed) quota: Quota,
    pub(in crate::keyed) sets: usize,
}

impl TableFile {
    /// Returns the bytes of a table, header included.
    pub(super) fn bytes(sets: usize) -> Result<u64, OpenError> {
        let what = "max_keys is too large for a file";
        let pairs = Sections::pairs(sets).ok_or(OpenError::Unsupported { what })?;
        Ok(PAGE as u64 + (pairs * 2 * WORD) as u64)
    }

    /// Returns the first page of a table.
    pub(super) fn page(number: u64, quota: &Quota, sets: usize) -> Result<Vec<u8>, OpenError> {
        let (length, text) = text_words(quota)?;
        let mut words = vec![MAGIC, FORMAT, sections::FORMAT, number, sets as u64, length];
        words.extend(text);
        Ok(sealed(&words))
    }

    /// Creates the file of a table, in place of one that an earlier change left.
    pub(super) fn create(
        directory: &Directory,
        name: &OsStr,
        number: u64,
        quota: &Quota,
        sets: usize,
    ) -> Result<(), OpenError> {
        let page = TableFile::page(number, quota, sets)?;
        directory.create(name, &page, TableFile::bytes(sets)?, true)
    }

    /// Opens the file of a table. Returns `None` if it does not exist.
    pub(super) fn open(
        directory: &Directory,
        name: &OsStr,
        number: u64,
    ) -> Result<Option<TableFile>, OpenError> {
        let Some((file, size)) = directory.open(name)? else {
            return Ok(None);
        };
        let region = map(&file, size)?;
        TableFile::read(Arc::new(region), 0, size, number).map(Some)
    }

    /// Reads the header of a table that begins with this page of a mapped file of `size` bytes.
    /// Nothing of the file is an index or a length later, except what was checked here.
    pub(super) fn read(
        region: Arc<Region>,
        page: usize,
        size: u64,
        number: u64,
    ) -> Result<TableFile, OpenError> {
        let damaged = |what| OpenError::Damaged { what };
        let words = sealed_words(&region, page).ok_or(damaged("a table is too short"))?;
        let [magic, format, layout, own_number, sets, length, ..] = words;
        if magic != MAGIC || !is_sealed(&words) {
            return Err(damaged("the header of a table is wrong"));
        }
        if format != FORMAT || layout != sections::FORMAT {
            return Err(OpenError::Version { found: format });
        }
        let sets = usize::try_from(sets)
            .ok()
            .filter(|&sets| sets::is_possible(sets))
            .ok_or(damaged("a table has an impossible size"))?;
        if own_number != number || TableFile::bytes(sets)? + (page * PAGE) as u64 != size {
            return Err(damaged("a table has another number or size than its file"));
        }
        let quota =
            words_text(length, &words[TEXT..]).ok_or(damaged("the quota of a table is wrong"))?;
        let first = (page + 1) * PAGE / (2 * WORD);
        let sections = Sections::in_region(&region, first, sets)
            .ok_or(damaged("a table has an impossible size"))?;
        Ok(TableFile {
            sections,
            number,
            quota,
            sets,
        })
    }
}

/// Returns the length of a quota's text, and the text as words.
pub(super) fn text_words(quota: &Quota) -> Result<(u64, [u64; LONGEST_TEXT / WORD]), OpenError> {
    let text = quota.to_string();
    if text.len() > LONGEST_TEXT {
        let what = "the quota has too long a text for a file";
        return Err(OpenError::Unsupported { what });
    }
    let mut bytes = [0; LONGEST_TEXT];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    let (chunks, _) = bytes.as_chunks();
    let words = std::array::from_fn(|n| u64::from_ne_bytes(chunks[n]));
    Ok((text.len() as u64, words))
}

/// Returns the quota whose text these words begin with.
pub(super) fn words_text(length: u64, words: &[u64]) -> Option<Quota> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = bytes.get(..usize::try_from(length).ok()?)?;
    str::from_utf8(text).ok()?.parse().ok()
}

pub(super) fn file_name(name: &OsStr, number: u64) -> OsString {
    with_suffix(name, &number.to_string())
}

/// Maps a whole file.
pub(super) fn map(file: &File, size: u64) -> Result<Region, OpenError> {
    let doing = "map the file";
    let bytes = usize::try_from(size).unwrap_or(usize::MAX);
    Region::map(file, bytes).map_err(|source| OpenError::Io { doing, source })
}
