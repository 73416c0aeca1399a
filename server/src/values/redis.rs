//! Redis: its URL, and the prefix of its keys.

use std::fmt;

use super::parse::Value;

/// URL of a Redis or Valkey. It may hold a password, so `Debug` and errors do not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RedisUrl(pub(crate) String);

impl Value for RedisUrl {
    const SECRET: bool = true;

    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "redis://[user][:password@]host[:port][/database], the same with rediss:// for TLS, redis+sentinel://host,host/master, \
             or redis+cluster://host,host",
        )
    }

    fn from_text(text: &str) -> Option<RedisUrl> {
        let (scheme, rest) = text.split_once("://")?;
        let known = [
            "redis",
            "rediss",
            "redis+sentinel",
            "rediss+sentinel",
            "redis+cluster",
            "rediss+cluster",
            "unix",
        ];
        (known.contains(&scheme) && !rest.is_empty()).then(|| RedisUrl(text.to_owned()))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(…)")
    }
}

/// Prefix of the names of all keys in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisPrefix(String);

impl RedisPrefix {
    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

impl Value for RedisPrefix {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("up to 64 letters, digits, and any of - _ . :")
    }

    fn from_text(text: &str) -> Option<RedisPrefix> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        (!text.is_empty() && text.len() <= 64 && text.chars().all(allowed))
            .then(|| RedisPrefix(text.to_owned()))
    }
}
