//! Redis: its URL, and the prefix of its keys.

use std::fmt;

use tollgate::RedisLimiter;

use super::parse::Value;

/// URL of a Redis or Valkey. It may hold a password, so `Debug` and errors do not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RedisUrl(pub(crate) String);

impl RedisUrl {
    /// Returns true if the URL holds a password.
    pub(crate) fn has_password(&self) -> bool {
        let authority = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let is_socket = authority.starts_with('/');
        !is_socket
            && authority
                .rsplit_once('@')
                .is_some_and(|(user, _)| user.contains(':'))
            || self.0.contains("pass=")
    }
}

impl Value for RedisUrl {
    const SECRET: bool = true;

    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "redis://[user][:password@]host[:port][/database], the same with rediss:// for TLS, unix:///path, \
             redis+sentinel://host,host/master, or redis+cluster://host,host; valkey in place of redis",
        )
    }

    fn from_text(text: &str) -> Option<RedisUrl> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found() {
        for (url, has_password) in [
            ("redis://:pw@127.0.0.1:6379/0", true),
            ("rediss://user:pw@host", true),
            ("redis+cluster://user:pw@one,two", true),
            ("unix:///run/redis.sock?user=a&pass=b", true),
            ("redis://user@host:6379", false),
            ("redis://host:6379/0", false),
            ("redis+sentinel://one:26379,two/main", false),
            ("unix:///run/re:dis@.sock", false),
        ] {
            assert_eq!(
                RedisUrl(url.to_owned()).has_password(),
                has_password,
                "{url}"
            );
        }
    }

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
            assert!(RedisUrl::from_text(url).is_some(), "{url}");
        }
        for url in ["redis://", "http://host", "redis+sentinel://one", "host"] {
            assert!(RedisUrl::from_text(url).is_none(), "{url}");
        }
    }
}
