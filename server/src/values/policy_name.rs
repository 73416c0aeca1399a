//! Names of policies in the IETF's rate limit headers.

use std::fmt;

use super::parse::Value;

/// Name of a route's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyName(String);

impl PolicyName {
    /// Name of the default limit.
    pub(crate) const DEFAULT: &str = "default";
    /// Name of the limit of wrong tokens and unknown API keys.
    pub(crate) const FAILED_CREDENTIALS: &str = "failed-credentials";

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for PolicyName {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1 to 64 ASCII letters, digits, -, _ and ., such as login")
    }

    fn from_text(text: &str) -> Option<PolicyName> {
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        ((1..=64).contains(&text.len()) && is_plain).then(|| PolicyName(text.to_owned()))
    }
}
