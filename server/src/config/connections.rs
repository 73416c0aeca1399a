//! Limits of client connections: their number, timeouts and sizes.

use std::time::Duration;

use super::file;

/// A gateway streams bodies instead of buffering them, so its bodies may be longer.
const MAX_PROXIED_BYTES: usize = 64 * MIB;

const MIB: usize = 1024 * 1024;

/// Memory of `POST /api/submit` for each byte of its body: the body, and a response that escapes a
/// byte in up to six.
const BYTES_PER_SUBMITTED: usize = 7;

/// Limits of client connections and of the requests on them, apart from tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    pub(crate) max_connections: usize,
    /// Of each address that is not a trusted proxy; `None`: no limit but the total.
    pub(crate) max_per_address: Option<usize>,
    pub(crate) header_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) body_timeout: Duration,
    /// Allowance of the stall clock for responses and tunnels.
    pub(crate) stall_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) max_header_bytes: usize,
    pub(crate) max_body_bytes: usize,
    /// Maximum memory of bodies that clients have not taken, of all connections.
    pub(crate) max_unread_bytes: usize,
    pub(crate) max_unread_bytes_per_connection: usize,
}

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            max_connections: 10_000,
            max_per_address: None,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            max_body_bytes: 1024 * 1024,
            max_unread_bytes: 256 * MIB,
            max_unread_bytes_per_connection: 8 * MIB,
        }
    }
}

impl ConnectionLimits {
    /// Merges the table `connections` of the file with the defaults.
    pub(super) fn merge(
        given: Option<file::Connections>,
        is_gateway: bool,
    ) -> Result<ConnectionLimits, String> {
        let mut default = ConnectionLimits::default();
        if is_gateway {
            default.max_body_bytes = MAX_PROXIED_BYTES;
        }
        let given = given.unwrap_or_default();
        let idle_timeout = given
            .idle_timeout
            .map_or(default.idle_timeout, |time| time.get());
        let max_body_bytes = given
            .max_body_bytes
            .map_or(default.max_body_bytes, |bytes| bytes.size());
        // A gateway buffers no body whole.
        let needed = if is_gateway {
            MIB
        } else {
            max_body_bytes
                .saturating_mul(BYTES_PER_SUBMITTED)
                .saturating_add(MIB)
        };
        let max_unread_bytes_per_connection = at_least(
            "max_unread_bytes_per_connection",
            given.max_unread_bytes_per_connection.map(|max| max.size()),
            default.max_unread_bytes_per_connection,
            needed,
        )?;
        let max_unread_bytes = at_least(
            "max_unread_bytes",
            given.max_unread_bytes.map(|max| max.size()),
            default.max_unread_bytes,
            max_unread_bytes_per_connection,
        )?;
        Ok(ConnectionLimits {
            max_connections: given.max.map_or(default.max_connections, |max| max.size()),
            max_per_address: given.max_per_address.map(|max| max.size()),
            header_timeout: given
                .header_timeout
                .map_or(default.header_timeout, |time| time.get()),
            idle_timeout,
            body_timeout: given
                .body_timeout
                .map_or(default.body_timeout, |time| time.get()),
            stall_timeout: given
                .stall_timeout
                .map_or(default.stall_timeout.min(idle_timeout), |time| time.get()),
            shutdown_grace: given
                .shutdown_grace
                .map_or(default.shutdown_grace, |time| time.get()),
            max_header_bytes: given
                .max_header_bytes
                .map_or(default.max_header_bytes, |bytes| bytes.size()),
            max_body_bytes,
            max_unread_bytes,
            max_unread_bytes_per_connection,
        })
    }
}

/// Returns the given value, or the default raised to `min`. A given value below `min` is an error.
fn at_least(key: &str, given: Option<usize>, default: usize, min: usize) -> Result<usize, String> {
    match given {
        Some(given) if given < min => Err(format!(
            "connections.{key}: expected at least {min}, got {given}"
        )),
        given => Ok(given.unwrap_or(default.max(min))),
    }
}
