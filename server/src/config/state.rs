//! Directory with the buckets, and that of its copies.

use std::path::PathBuf;

use super::file::File;
use crate::cli::Serve;

/// Directories with the buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Directory that processes of the machine share.
    pub(crate) directory: PathBuf,
    /// Directory on a disk, with copies.
    pub(crate) copy: Option<PathBuf>,
}

impl State {
    /// Merges flags and file.
    pub(super) fn merge(
        flags: &Serve,
        file: &File,
        has_redis: bool,
    ) -> Result<Option<State>, String> {
        let copy = flags.state_copy.as_ref().or(file.state_copy.as_ref());
        let Some(directory) = flags.state.as_ref().or(file.state.as_ref()) else {
            return copy.map_or(Ok(None), |copy| {
                let copy = copy.display();
                Err(format!(
                    "state_copy: expected state beside it, got {copy} alone"
                ))
            });
        };
        let shown = directory.display();
        if has_redis {
            return Err(format!(
                "state: expected no redis beside it, which shares the buckets already, got {shown}"
            ));
        }
        if copy == Some(directory) {
            return Err(format!(
                "state_copy: expected another directory than that of state, got {shown}"
            ));
        }
        if !cfg!(all(target_os = "linux", target_pointer_width = "64")) {
            return Err(format!("state: expected Linux with 64 bits, got {shown}"));
        }
        Ok(Some(State {
            directory: directory.clone(),
            copy: copy.cloned(),
        }))
    }
}
