//! Errors of connecting to Redis and of changing shared settings.

use std::{error, fmt, time::Duration};

use redis::{ErrorKind, ParsingError, ServerErrorKind};

use crate::keyed::{BuildError, TooManyPauses};

/// Error from making a [`RedisLimiter`](super::RedisLimiter) or from changing its shared settings.
///
/// A decision never fails with this error: while Redis is unavailable,
/// [`RedisFallback`](super::RedisFallback) decides.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL is invalid. The text gives the reason and shows no part of the URL but its scheme.
    Url(String),
    /// The local share of the quota is not above 0 and at most 1.
    Share(f64),
    /// The lease fraction is not above 0 and at most 1.
    Fraction(f64),
    /// The table of local keys cannot be built.
    Table(BuildError),
    /// The key is paused in Redis, but not for the fallback: too many local buckets are paused.
    Pauses(TooManyPauses),
    /// No reply arrived within this time.
    Timeout(Duration),
    /// There is no connection.
    Unreachable(String),
    /// The server rejected the user name or the password, or the user lacks a permission.
    Denied(String),
    /// The server has no database with the number in the URL.
    NoDatabase(String),
    /// The server accepts no writes: it is a replica or loads its data, or the cluster has no
    /// server for the key.
    NotReady(String),
    /// The server is out of memory.
    OutOfMemory(String),
    /// The server returned another error or an unexpected reply.
    Failed(String),
}

impl RedisError {
    /// Classifies an error of the redis crate. Not a `From`: that would make the crate's error type
    /// part of the public API.
    pub(super) fn from_client(error: redis::RedisError) -> RedisError {
        let text = error.to_string();
        match (error.kind(), error.code()) {
            (ErrorKind::InvalidClientConfig | ErrorKind::EmptySentinelList, _) => {
                RedisError::Url(text)
            }
            (ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm), _)
            | (_, Some("NOAUTH" | "WRONGPASS")) => RedisError::Denied(text),
            (_, Some("OOM")) => RedisError::OutOfMemory(text),
            (ErrorKind::Server(kind), _) if is_not_ready(kind) => RedisError::NotReady(text),
            (_, Some("MISCONF" | "NOREPLICAS")) => RedisError::NotReady(text),
            (
                ErrorKind::Io
                | ErrorKind::ClusterConnectionNotFound
                | ErrorKind::MasterNameNotFoundBySentinel,
                _,
            ) => RedisError::Unreachable(text),
            _ if error.is_connection_dropped() || error.is_timeout() => {
                RedisError::Unreachable(text)
            }
            // An error inside a script arrives as a plain error that quotes the original one.
            _ if text.contains("OOM command not allowed") => RedisError::OutOfMemory(text),
            // So does an error of the commands that set up a connection.
            _ if DENIALS.iter().any(|denial| text.contains(denial)) => RedisError::Denied(text),
            _ if NO_DATABASE.iter().any(|reason| text.contains(reason)) => {
                RedisError::NoDatabase(text)
            }
            _ => RedisError::Failed(text),
        }
    }

    /// Error for a reply of an unexpected type.
    pub(super) fn from_parsing(error: ParsingError) -> RedisError {
        RedisError::Failed(error.to_string())
    }
}

/// Texts of a missing permission inside a script or at the setup of a connection.
const DENIALS: [&str; 4] = [
    "NOPERM",
    "ACL failure in script",
    "has no permissions to",
    // Redis 6.
    "The user executing the script can't",
];

/// Texts of a database that does not exist.
const NO_DATABASE: [&str; 2] = [
    "DB index is out of range",
    "SELECT is not allowed in cluster mode",
];

fn is_not_ready(kind: ServerErrorKind) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    matches!(
        kind,
        Ask | BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain
    )
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedisError::Url(reason) => write!(f, "url: {reason}"),
            RedisError::Share(share) => {
                write!(f, "share: expected above 0 and at most 1, got {share}")
            }
            RedisError::Fraction(fraction) => write!(
                f,
                "lease fraction: expected above 0 and at most 1, got {fraction}"
            ),
            RedisError::Table(error) => error.fmt(f),
            RedisError::Pauses(error) => write!(f, "local {error}"),
            RedisError::Timeout(time) => write!(f, "Redis timed out: no reply within {time:?}"),
            RedisError::Unreachable(reason) => write!(f, "Redis is unreachable: {reason}"),
            RedisError::Denied(reason) => write!(f, "Redis denies access: {reason}"),
            RedisError::NoDatabase(reason) => write!(f, "Redis lacks the database: {reason}"),
            RedisError::NotReady(reason) => write!(f, "Redis accepts no writes: {reason}"),
            RedisError::OutOfMemory(reason) => write!(f, "Redis is out of memory: {reason}"),
            RedisError::Failed(reason) => write!(f, "Redis returned an error: {reason}"),
        }
    }
}

impl error::Error for RedisError {}
