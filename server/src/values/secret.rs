//! Secrets: API keys and tokens.

use std::fmt;

use super::parse::Value;

/// An API key, or the token of the admin API or of `/check`. `Debug` and errors do not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Secret {
    const SECRET: bool = true;

    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1 to 1024 visible ASCII characters, with spaces only between them")
    }

    fn from_text(text: &str) -> Option<Secret> {
        let visible = text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        ((1..=1024).contains(&text.len()) && visible && text.trim() == text)
            .then(|| Secret(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
