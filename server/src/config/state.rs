//! Directory with the buckets.

use std::path::PathBuf;

use super::file::File;
use crate::cli::Serve;

/// Returns the directory of flags or file.
pub(super) fn merge(
    flags: &Serve,
    file: &File,
    has_redis: bool,
) -> Result<Option<PathBuf>, String> {
    let Some(state) = flags.state.as_ref().or(file.state.as_ref()) else {
        return Ok(None);
    };
    let shown = state.display();
    if has_redis {
        return Err(format!(
            "state: expected no redis beside it, which shares the buckets already, got {shown}"
        ));
    }
    if !cfg!(all(target_os = "linux", target_pointer_width = "64")) {
        return Err(format!("state: expected Linux with 64 bits, got {shown}"));
    }
    Ok(Some(state.clone()))
}
