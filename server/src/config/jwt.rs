//! Tokens whose claims are keys of limits.

use std::{fs, io::Read, time::Duration};

use super::file;
use crate::request::jwt::{Jwt, JwtOptions};

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
    let is_valid = |cookie: &String| {
        let is_name = |byte: u8| byte.is_ascii_graphic() && !b"=;,".contains(&byte);
        !cookie.is_empty() && cookie.bytes().all(is_name)
    };
    if let Some(cookie) = given.cookie.iter().find(|cookie| !is_valid(cookie)) {
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
    let keys = read(&given.keys).and_then(|keys| Jwt::new(&keys, options));
    keys.map_err(|error| format!("keys: {}: {error}", given.keys))
}

fn read(path: &str) -> Result<String, String> {
    let read = || {
        let mut text = String::new();
        let file = fs::File::open(path)?;
        file.take(MAX_KEYS + 1).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let text = read().map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_KEYS {
        return Err(format!("expected at most {MAX_KEYS} bytes, got more"));
    }
    Ok(text)
}
