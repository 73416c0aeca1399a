//! What is wrong with Redis, or with what was said about it.

use std::{error, fmt, time::Duration};

use redis::{ErrorKind, ParsingError, ServerErrorKind};

use crate::keyed::BuildError;

/// Why a [`RedisLimiter`](super::RedisLimiter) cannot be made, or a change of shared settings did
/// not happen.
///
/// A decision is never an error: what is decided while Redis cannot be asked is a matter of
/// [`RedisFallback`](super::RedisFallback).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL cannot be read. The text says why, without what the URL says.
    Url(String),
    /// The share of the quota for one process is not a number above 0 and up to 1.
    Share(f64),
    /// The fraction of a capacity that may be out on lease is not a number above 0 and up to 1.
    Fraction(f64),
    /// There can be no table for so many local keys.
    Table(BuildError),
    /// No answer in this time.
    Timeout(Duration),
    /// There is no connection.
    Unreachable(String),
    /// The server does not accept the user name and the password, or the user may not do what is
    /// asked.
    Denied(String),
    /// The server is a replica, or loads its data, or the cluster has no server for the key.
    NotReady(String),
    /// The server has no memory left.
    OutOfMemory(String),
    /// Any other answer than the expected one.
    Failed(String),
}

impl RedisError {
    pub(super) fn reply(error: ParsingError) -> RedisError {
        RedisError::Failed(error.to_string())
    }
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> RedisError {
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
            // What a script ran into is told as a plain error that quotes the first.
            _ if text.contains("OOM command not allowed") => RedisError::OutOfMemory(text),
            _ => RedisError::Failed(text),
        }
    }
}

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
            RedisError::Url(why) => write!(f, "the Redis URL cannot be used: {why}"),
            RedisError::Share(share) => write!(
                f,
                "a local share of {share}: allowed is above 0 and up to 1"
            ),
            RedisError::Fraction(fraction) => write!(
                f,
                "a lease fraction of {fraction}: allowed is above 0 and up to 1"
            ),
            RedisError::Table(error) => error.fmt(f),
            RedisError::Timeout(time) => write!(f, "Redis does not answer within {time:?}"),
            RedisError::Unreachable(why) => write!(f, "Redis cannot be reached: {why}"),
            RedisError::Denied(why) => write!(f, "Redis denies access: {why}"),
            RedisError::NotReady(why) => write!(f, "Redis takes no writes: {why}"),
            RedisError::OutOfMemory(why) => write!(f, "Redis is out of memory: {why}"),
            RedisError::Failed(why) => write!(f, "Redis answers with an error: {why}"),
        }
    }
}

impl error::Error for RedisError {}
