//! Lists of networks whose clients are never limited, or always refused.

use std::{fs, path::Path};

use ipnet::IpNet;

use super::file::{self, File};
use crate::values::Value;

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
        let read = read(Path::new(path));
        networks.extend(read.map_err(|error| format!("{key}: {path}: {error}"))?);
    }
    Ok(networks)
}

/// Reads a file with a network in each line. A `#` begins a comment.
fn read(path: &Path) -> Result<Vec<IpNet>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut networks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        if line.is_empty() {
            continue;
        }
        let network = IpNet::from_text(line).ok_or_else(|| {
            let number = index + 1;
            format!("line {number}: expected a network such as 10.0.0.0/8, got {line:?}")
        })?;
        networks.push(network);
    }
    Ok(networks)
}
