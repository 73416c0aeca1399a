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
const LONGEST_TEXT: usize = 512;

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
        let text = quota.to_string();
        let what = "the quota has too long a text for a file";
        let length = Some(text.len())
            .filter(|&length| length <= LONGEST_TEXT)
            .ok_or(OpenError::Unsupported { what })?;
        let mut words = vec![
            MAGIC,
            FORMAT,
            sections::FORMAT,
            number,
            sets as u64,
            length as u64,
        ];
        let mut bytes = text.into_bytes();
        bytes.resize(LONGEST_TEXT, 0);
        let (chunks, _) = bytes.as_chunks();
        words.extend(chunks.iter().map(|&chunk| u64::from_ne_bytes(chunk)));
        Ok(sealed(&words))
    }

    /// Creates the file `name.N` of a table, in place of one that an earlier change left.
    pub(super) fn create(
        directory: &Directory,
        name: &OsStr,
        number: u64,
        quota: &Quota,
        sets: usize,
    ) -> Result<(), OpenError> {
        let page = TableFile::page(number, quota, sets)?;
        directory.create(
            &file_name(name, number),
            &page,
            TableFile::bytes(sets)?,
            true,
        )
    }

    /// Opens the file `name.N`. Returns `None` if it does not exist.
    pub(super) fn open(
        directory: &Directory,
        name: &OsStr,
        number: u64,
    ) -> Result<Option<TableFile>, OpenError> {
        let Some((file, size)) = directory.open(&file_name(name, number))? else {
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
        let text: Vec<u8> = words[TEXT..]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let quota = usize::try_from(length)
            .ok()
            .filter(|&length| length <= LONGEST_TEXT)
            .and_then(|length| str::from_utf8(&text[..length]).ok()?.parse().ok())
            .ok_or(damaged("the quota of a table is wrong"))?;
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

fn file_name(name: &OsStr, number: u64) -> OsString {
    with_suffix(name, &number.to_string())
}

/// Maps a whole file.
pub(super) fn map(file: &File, size: u64) -> Result<Region, OpenError> {
    let doing = "map the file";
    let bytes = usize::try_from(size).unwrap_or(usize::MAX);
    Region::map(file, bytes).map_err(|source| OpenError::Io { doing, source })
}
