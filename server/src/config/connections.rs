//! Limits of client connections: their number, timeouts and sizes.

use std::time::Duration;

use super::file;

/// A gateway streams bodies instead of buffering them, so its bodies may be longer.
const MAX_PROXIED_BYTES: usize = 64 * 1024 * 1024;

/// Limits of client connections and of the requests on them, apart from tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    pub(crate) max_connections: usize,
    /// Of each address that is not a trusted proxy; `None`: no limit but the total.
    pub(crate) max_per_address: Option<usize>,
    pub(crate) header_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) max_header_bytes: usize,
    pub(crate) max_body_bytes: usize,
}

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            max_connections: 10_000,
            max_per_address: None,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            max_body_bytes: 1024 * 1024,
        }
    }
}

impl ConnectionLimits {
    /// Merges the table `connections` of the file with the defaults.
    pub(super) fn merge(given: Option<file::Connections>, is_gateway: bool) -> ConnectionLimits {
        let mut default = ConnectionLimits::default();
        if is_gateway {
            default.max_body_bytes = MAX_PROXIED_BYTES;
        }
        let given = given.unwrap_or_default();
        ConnectionLimits {
            max_connections: given.max.map_or(default.max_connections, |max| max.size()),
            max_per_address: given.max_per_address.map(|max| max.size()),
            header_timeout: given
                .header_timeout
                .map_or(default.header_timeout, |time| time.get()),
            idle_timeout: given
                .idle_timeout
                .map_or(default.idle_timeout, |time| time.get()),
            body_timeout: given
                .body_timeout
                .map_or(default.body_timeout, |time| time.get()),
            shutdown_grace: given
                .shutdown_grace
                .map_or(default.shutdown_grace, |time| time.get()),
            max_header_bytes: given
                .max_header_bytes
                .map_or(default.max_header_bytes, |bytes| bytes.size()),
            max_body_bytes: given
                .max_body_bytes
                .map_or(default.max_body_bytes, |bytes| bytes.size()),
        }
    }
}
