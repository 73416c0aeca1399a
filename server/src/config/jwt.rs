//! Tokens whose claims are keys of limits.

use std::time::Duration;

use super::{bounded_file, file};
use crate::{
    request::jwt::{Jwt, JwtOptions},
    values::is_cookie_name,
};

/// Maximum length of the file with the keys in bytes.
const MAX_KEYS: u64 = 262_144;

/// Difference of clocks that is accepted by default.
const LEEWAY: Duration = Duration::from_secs(60);

/// Validates the table, and reads the keys. An error is one line.
pub(super) fn merge(given: file::Jwt) -> Result<Jwt, String> {
    let algorithms = given.algorithms.unwrap_or_default();
    if algorithms.is_empty() {
        return Err("algorithms: expected at least one, got an empty list".to_owned());
    }
    if let Some(cookie) = given.cookie.iter().find(|cookie| !is_cookie_name(cookie)) {
        return Err(format!(
            "cookie: expected the name of a cookie, got {cookie:?}"
        ));
    }
    let options = JwtOptions {
        algorithms,
        issuers: given.issuer.unwrap_or_default(),
        audiences: given.audience.unwrap_or_default(),
        leeway: given.leeway.map_or(LEEWAY, |leeway| leeway.get()),
        cookie: given.cookie,
    };
    let keys = bounded_file::read(&given.keys, MAX_KEYS).and_then(|keys| Jwt::new(&keys, options));
    keys.map_err(|error| format!("keys: {}: {error}", given.keys))
}
