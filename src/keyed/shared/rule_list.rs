//! List of the keys that have quotas of their own, in a file `path.rules.N` that never changes.

use std::ffi::{OsStr, OsString};

use super::{
    control::{FORMAT, sealed_words},
    directory::{Directory, with_suffix},
    error::OpenError,
    page::{PAGE, checksum, is_sealed, sealed},
    region::{Region, WORD},
    table_file::{LONGEST_TEXT, map, text_words, words_text},
};
use crate::{keyed::sections, quota::Quota, sync::Ordering};

const MAGIC: u64 = u64::from_ne_bytes(*b"tollgrul");
/// Words of a key: its hash, the number of its table, the length of the quota's text, and the text.
const ENTRY: usize = 3 + LONGEST_TEXT / WORD;

/// Greatest number of keys with quotas of their own: each has a mapped file in each process.
pub(in crate::keyed) const MAX_RULES: usize = 1_000;

/// Key with a quota of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::keyed) struct ListedRule {
    pub(in crate::keyed) hash: u64,
    /// Number of its table, in the file `path.rule.N`.
    pub(in crate::keyed) number: u64,
    pub(in crate::keyed) quota: Quota,
}

/// The list, and the number of the next table of a key.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleList {
    pub(super) rules: Vec<ListedRule>,
    pub(super) next: u64,
}

impl RuleList {
    pub(super) fn create(
        &self,
        directory: &Directory,
        name: &OsStr,
        version: u64,
    ) -> Result<(), OpenError> {
        let mut entries = Vec::new();
        for rule in &self.rules {
            let (length, text) = text_words(&rule.quota)?;
            entries.extend([rule.hash, rule.number, length]);
            entries.extend(text);
        }
        let header = [
            MAGIC,
            FORMAT,
            sections::FORMAT,
            version,
            self.rules.len() as u64,
            self.next,
            checksum(&entries),
        ];
        let mut bytes = sealed(&header);
        bytes.extend(entries.into_iter().flat_map(u64::to_ne_bytes));
        let size = bytes.len() as u64;
        directory.create(&list_name(name, version), &bytes, size, true)
    }

    /// Opens a list. Returns `None` if it does not exist.
    pub(super) fn open(
        directory: &Directory,
        name: &OsStr,
        version: u64,
    ) -> Result<Option<RuleList>, OpenError> {
        if version == 0 {
            return Ok(Some(RuleList::default()));
        }
        let Some((file, size)) = directory.open(&list_name(name, version))? else {
            return Ok(None);
        };
        if size > (PAGE + MAX_RULES * ENTRY * WORD) as u64 {
            let what = "the list of rules is too long";
            return Err(OpenError::Damaged { what });
        }
        RuleList::read(&map(&file, size)?, version).map(Some)
    }

    fn read(region: &Region, version: u64) -> Result<RuleList, OpenError> {
        let what = "the list of rules is wrong";
        let damaged = || OpenError::Damaged { what };
        let header = sealed_words(region, 0).filter(is_sealed);
        let [magic, format, layout, own, count, next, sum, ..] = header.ok_or_else(damaged)?;
        let words = region.words().get(PAGE / WORD..).ok_or_else(damaged)?;
        let words: Vec<u64> = words
            .iter()
            .map(|word| word.load(Ordering::Relaxed))
            .collect();
        let is_whole = count <= MAX_RULES as u64 && words.len() as u64 == count * ENTRY as u64;
        if magic != MAGIC || own != version || !is_whole || checksum(&words) != sum {
            return Err(damaged());
        }
        if format != FORMAT || layout != sections::FORMAT {
            return Err(OpenError::Version { found: format });
        }
        let rule = |words: &[u64]| {
            let [hash, number, length, text @ ..] = words else {
                return None;
            };
            Some(ListedRule {
                hash: *hash,
                number: *number,
                quota: words_text(*length, text)?,
            })
        };
        let rules: Option<Vec<_>> = words.chunks(ENTRY).map(rule).collect();
        Ok(RuleList {
            rules: rules.ok_or_else(damaged)?,
            next,
        })
    }

    pub(super) fn find(&self, hash: u64) -> Option<&ListedRule> {
        self.rules.iter().find(|rule| rule.hash == hash)
    }
}

pub(super) fn list_name(name: &OsStr, version: u64) -> OsString {
    with_suffix(name, &format!("rules.{version}"))
}

/// Returns the name of the file of a key's table.
pub(super) fn rule_name(name: &OsStr, number: u64) -> OsString {
    with_suffix(name, &format!("rule.{number}"))
}
