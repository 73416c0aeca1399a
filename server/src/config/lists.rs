//! Lists of networks whose clients are never limited, or always refused.

use ipnet::IpNet;

use super::{
    bounded_file,
    file::{self, File},
};
use crate::values::Value;

/// Maximum length of a file in bytes: a million networks, and as many bytes again for comments.
const MAX_FILE: u64 = 2 * 1_000_000 * LONGEST_LINE;

/// Maximum number of characters of a malformed line that an error shows.
const MAX_SHOWN: usize = 60;

/// Bytes of a line with the longest network, an address of IPv6 without zeros.
const LONGEST_LINE: u64 = "2001:db80:ffff:ffff:ffff:ffff:ffff:ffff/128\r\n".len() as u64;

/// Networks whose clients are not limited, and networks whose clients get 403. The longest prefix
/// that contains an address counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressLists {
    pub(crate) allow: Vec<IpNet>,
    pub(crate) deny: Vec<IpNet>,
}

impl AddressLists {
    /// Reads the lists of the file, and the files that they name. An error is one line.
    pub(super) fn merge(file: &File) -> Result<AddressLists, String> {
        let networks = |key: &str, list: &Option<file::Networks>| match list {
            Some(list) => networks(key, list),
            None => Ok(Vec::new()),
        };
        Ok(AddressLists {
            allow: networks("allow", &file.allow)?,
            deny: networks("deny", &file.deny)?,
        })
    }
}

fn networks(key: &str, list: &file::Networks) -> Result<Vec<IpNet>, String> {
    let mut networks = list.networks.clone();
    for path in &list.files {
        let read = bounded_file::read(path, MAX_FILE).and_then(|text| parse(&text));
        networks.extend(read.map_err(|error| format!("{key}: {path}: {error}"))?);
    }
    Ok(networks)
}

/// Parses a text with a network in each line. A `#` begins a comment.
fn parse(text: &str) -> Result<Vec<IpNet>, String> {
    let mut networks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        if line.is_empty() {
            continue;
        }
        let network = IpNet::from_text(line).ok_or_else(|| {
            let number = index + 1;
            // A binary file may be one line.
            let start: String = line.chars().take(MAX_SHOWN).collect();
            format!("line {number}: expected a network such as 10.0.0.0/8, got {start:?}")
        })?;
        networks.push(network);
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    fn networks_of(path: &std::path::Path) -> Result<Vec<IpNet>, String> {
        let list = file::Networks {
            networks: Vec::new(),
            files: vec![path.to_str().unwrap().to_owned()],
        };
        networks("deny", &list)
    }

    #[test]
    fn a_file_of_a_million_of_the_longest_networks_is_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let line = "2001:db80:ffff:ffff:ffff:ffff:ffff:ffff/128\r\n";
        file.write_all(line.repeat(1_000_000).as_bytes()).unwrap();
        assert_eq!(networks_of(file.path()).unwrap().len(), 1_000_000);
    }

    #[test]
    fn a_file_of_more_bytes_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Sparse, with more than is read of it.
        file.as_file().set_len(2 * MAX_FILE).unwrap();
        let expected = format!(
            "deny: {}: expected at most 90000000 bytes, got more",
            file.path().display()
        );
        assert_eq!(networks_of(file.path()).unwrap_err(), expected);
        fs::write(file.path(), "10.0.0.0/8 # all of it\n\n192.0.2.7").unwrap();
        assert_eq!(networks_of(file.path()).unwrap().len(), 2);
    }

    #[test]
    fn an_error_shows_the_beginning_of_a_long_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "x".repeat(100_000)).unwrap();
        let error = networks_of(file.path()).unwrap_err();
        assert!(error.ends_with(&format!("got {:?}", "x".repeat(60))));
    }
}
