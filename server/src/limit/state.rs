//! Files with the buckets of limiters, in a directory that other processes of the machine may share.

use std::{
    fs::DirBuilder,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
use tollgate::OpenError;
use tollgate::{KeyedLimiter, KeyedLimiterBuilder, Quota};

use super::config::UpdateError;
use crate::{config::State, request::client_id::ClientId};

/// Characters of a name that are not those of its file.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
/// Longest name of a file, with room for the suffixes of the files beside it.
const LONGEST_NAME: usize = 200;

/// File of a limiter.
pub(crate) struct StateFile<'a> {
    pub(crate) state: &'a State,
    /// Kind of the limiter: "default", "route", "limit", "ban" or "refusals".
    pub(crate) kind: &'static str,
    /// Label of the limiter; empty for the default one.
    pub(crate) label: &'a str,
}

impl StateFile<'_> {
    /// Opens the file, or creates it. Another quota or size in it is replaced, for all processes: the one
    /// that was started last decides.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    pub(super) fn open(
        &self,
        builder: KeyedLimiterBuilder<ClientId<'static>>,
    ) -> Result<KeyedLimiter<ClientId<'static>>, String> {
        let path = self.path()?;
        let shown = path.display();
        create_directory(&self.state.directory)?;
        let copy = self.copy()?;
        if let Some(copy) = &self.state.copy {
            create_directory(copy)?;
        }
        let open = || {
            let builder = builder.clone().shared_file(path.clone());
            match &copy {
                Some(copy) => builder.restored_from(copy),
                None => builder,
            }
        };
        let result = match open().open() {
            Err(error @ (OpenError::OtherQuota { .. } | OpenError::OtherSize { .. })) => {
                tracing::info!(file = %shown, %error, "table replaced; all buckets full");
                open().replace_quota().open()
            }
            result => result,
        };
        result.map_err(|error| format!("state: {shown}: {error}"))
    }

    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    pub(super) fn open(
        &self,
        _: KeyedLimiterBuilder<ClientId<'static>>,
    ) -> Result<KeyedLimiter<ClientId<'static>>, String> {
        // The configuration has refused it.
        let name = self.name()?;
        create_directory(&self.state.directory)?;
        Err(format!("state: {name}: expected Linux with 64 bits"))
    }

    pub(super) fn path(&self) -> Result<PathBuf, String> {
        Ok(self.state.directory.join(self.name()?))
    }

    /// Returns the path of the copy, if there is one.
    pub(super) fn copy(&self) -> Result<Option<PathBuf>, String> {
        let name = self.name()?;
        Ok(self.state.copy.as_ref().map(|copy| copy.join(name)))
    }

    fn name(&self) -> Result<String, String> {
        let label = utf8_percent_encode(self.label, ENCODED);
        let name = if self.label.is_empty() {
            self.kind.to_owned()
        } else {
            format!("{}-{label}", self.kind)
        };
        if name.len() > LONGEST_NAME {
            let label = self.label;
            return Err(format!(
                "state: expected names of limits and routes that are short enough for a file, got {label}"
            ));
        }
        Ok(name)
    }
}

/// Creates the directory for this user alone, if it is missing.
fn create_directory(directory: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            let shown = directory.display();
            Err(format!("state: cannot create {shown}: {error}"))
        }
        _ => Ok(()),
    }
}

type ClientLimiter = KeyedLimiter<ClientId<'static>>;

/// Sets the default quota and rules in one step, for all processes that share the buckets.
pub(super) fn update<'a>(
    limiter: &ClientLimiter,
    default: Option<Quota>,
    rules: impl IntoIterator<Item = (&'a ClientId<'a>, Option<Quota>)>,
) -> Result<(), UpdateError> {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    return limiter.try_update(default, rules).map_err(update_error);
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    {
        limiter.update(default, rules);
        Ok(())
    }
}

/// Copies the buckets to a path.
pub(super) fn copy(limiter: &ClientLimiter, path: &Path) -> Result<(), String> {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    return limiter.copy_to(path).map_err(|error| error.to_string());
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    {
        let _ = (limiter, path);
        Ok(())
    }
}

/// Sets the default quota, for all processes that share the buckets, and fills every bucket.
pub(super) fn replace_and_reset(limiter: &ClientLimiter, quota: Quota) -> Result<(), UpdateError> {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    return limiter.try_replace_and_reset(quota).map_err(update_error);
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    {
        limiter.replace_and_reset(quota);
        Ok(())
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn update_error(error: OpenError) -> UpdateError {
    match error {
        OpenError::TooManyRules { most } => UpdateError::TooManyRules(most),
        error => UpdateError::State(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_distinct() {
        let name = |kind, label| {
            let state = &State {
                directory: PathBuf::new(),
                copy: None,
            };
            StateFile { state, kind, label }.name()
        };
        assert_eq!(name("default", ""), Ok("default".to_owned()));
        assert_eq!(
            name("route", "POST /api/upload"),
            Ok("route-POST%20%2Fapi%2Fupload".to_owned())
        );
        assert_ne!(name("limit", "a.1"), name("limit", "a%2E1"));
        assert!(
            name("limit", &"ä".repeat(40))
                .unwrap_err()
                .contains("short enough")
        );
    }
}
