//! Parsing of TOML and JSON texts. An error is one line, and shows no values, which may be secrets.

use serde::de::DeserializeOwned;

use crate::values::Table;

/// Parses a TOML text.
pub(super) fn toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let deserializer = ::toml::Deserializer::parse(text).map_err(|error| {
        one_line(&format!(
            "not TOML: {}{}",
            error.message(),
            location(text, &error)
        ))
    })?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let message = format!(
            "{}{}",
            error.inner().message(),
            location(text, error.inner())
        );
        one_line(&with_path(&error.path().to_string(), &message))
    })
}

/// Returns the line number and the key of an error, without the value, which may be a secret.
fn location(text: &str, error: &::toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return String::new();
    };
    let number = before.matches('\n').count();
    let key = text
        .lines()
        .nth(number)
        .and_then(|line| line.split_once('='))
        .map_or("", |(key, _)| key.trim());
    format!(
        " in line {}{}{key}",
        number + 1,
        if key.is_empty() { "" } else { ": " }
    )
}

/// Parses a JSON text.
pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    // Some editors begin a file with a byte-order mark. JSON does not allow one; the TOML parser
    // skips it.
    let mut deserializer = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}'));
    let Table(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        one_line(&with_path(
            &error.path().to_string(),
            &error.inner().to_string(),
        ))
    })?;
    deserializer
        .end()
        .map_err(|error| format!("not JSON: {error}"))?;
    Ok(value)
}

/// Keys of the file that are not supported yet. serde lists them among those that it expects.
const UNSUPPORTED: [&str; 3] = ["charge_on", "plans", "strict"];

/// Adds the path of the key. An error at the top level has the path `.`, which is left out.
fn with_path(path: &str, message: &str) -> String {
    let mut message = message.to_owned();
    if message.starts_with("unknown field") {
        for key in UNSUPPORTED {
            message = message.replace(&format!(", `{key}`"), "");
        }
    }
    if path == "." {
        message
    } else {
        format!("{path}: {message}")
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
