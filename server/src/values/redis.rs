//! The kinds of values that say how limits are shared.

use std::fmt;

use tollgate::RedisLimiter;

use super::parse::Value;

/// Where Redis is; it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RedisUrl(pub(crate) String);

impl Value for RedisUrl {
    const SECRET: bool = true;

    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "redis://[user][:password@]host[:port][/database], the same with rediss:// for TLS, unix:///path, \
             redis+sentinel://host,host/master, or redis+cluster://host,host; valkey in place of redis",
        )
    }

    fn text(text: &str) -> Option<RedisUrl> {
        RedisLimiter::check_url(text)
            .is_ok()
            .then(|| RedisUrl(text.to_owned()))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(…)")
    }
}

/// How buckets are shared through Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RedisMode {
    #[default]
    Exact,
    Lease,
}

impl Value for RedisMode {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("exact or lease")
    }

    fn text(text: &str) -> Option<RedisMode> {
        match text {
            "exact" => Some(RedisMode::Exact),
            "lease" => Some(RedisMode::Lease),
            _ => None,
        }
    }
}

/// What to do while Redis cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnRedisError {
    #[default]
    Local,
    Open,
    Closed,
}

impl Value for OnRedisError {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("local, open or closed")
    }

    fn text(text: &str) -> Option<OnRedisError> {
        match text {
            "local" => Some(OnRedisError::Local),
            "open" => Some(OnRedisError::Open),
            "closed" => Some(OnRedisError::Closed),
            _ => None,
        }
    }
}

/// What the names of all keys in Redis begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisPrefix(pub(crate) String);

impl Value for RedisPrefix {
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("up to 64 letters, digits, and any of - _ . :")
    }

    fn text(text: &str) -> Option<RedisPrefix> {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        (!text.is_empty() && text.len() <= 64 && text.chars().all(good))
            .then(|| RedisPrefix(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_urls_of_the_library() {
        for url in [
            "redis://:pw@127.0.0.1:6379/0",
            "rediss://host",
            "valkey://host",
            "valkeys://host",
            "unix:///run/redis.sock",
            "redis+unix:///run/redis.sock",
            "redis+sentinel://one,two/main",
            "valkeys+sentinel://one,two/main",
            "rediss+cluster://one,two",
        ] {
            assert!(RedisUrl::text(url).is_some(), "{url}");
        }
        for url in ["redis://", "http://host", "redis+sentinel://one", "host"] {
            assert!(RedisUrl::text(url).is_none(), "{url}");
        }
    }
}
