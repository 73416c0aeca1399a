//! Settings of requests that wait for their tokens.

use std::time::Duration;

use super::file::File;
use crate::cli::Serve;

/// Longest wait of a request, and bounds of the requests that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delay {
    /// For tokens of the default limit and of routes. Zero: only named limits have a delay.
    pub(crate) max_wait: Duration,
    pub(crate) max_per_client: usize,
    pub(crate) max_total: usize,
}

impl Delay {
    /// Returns `None` when requests do not wait. An error is one line.
    pub(super) fn merge(flags: &Serve, file: &File) -> Result<Option<Delay>, String> {
        let max_wait = flags.delay.or(file.delay);
        let mut of_limits = file.limits.iter().filter_map(|limit| limit.delay);
        let has_limit = of_limits.any(|delay| !delay.get().is_zero());
        if max_wait.is_none() && !has_limit {
            for (key, given) in [
                ("max_delayed_per_client", file.max_delayed_per_client),
                ("max_delayed", file.max_delayed),
            ] {
                if given.is_some() {
                    return Err(format!("{key}: expected delay beside it, got none"));
                }
            }
            return Ok(None);
        }
        let max_wait = max_wait.map(|max_wait| max_wait.get()).unwrap_or_default();
        Ok((has_limit || !max_wait.is_zero()).then_some(Delay {
            max_wait,
            max_per_client: file.max_delayed_per_client.map_or(16, |max| max.size()),
            max_total: file.max_delayed.map_or(1024, |max| max.size()),
        }))
    }
}
