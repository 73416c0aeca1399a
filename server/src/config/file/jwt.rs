//! The table `[jwt]`: tokens whose claims are keys of limits.

use std::fmt;

use jsonwebtoken::Algorithm;
use serde::Deserialize;

use crate::values::{Timeout, Value, one_or_list, optional};

/// Tokens whose claims are keys of limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jwt {
    /// File with a JWKS, or with public keys in PEM.
    pub(crate) keys: String,
    #[serde(deserialize_with = "one_or_list")]
    pub(crate) algorithms: Option<Vec<Algorithm>>,
    #[serde(default, deserialize_with = "one_or_list")]
    pub(crate) issuer: Option<Vec<String>>,
    #[serde(default, deserialize_with = "one_or_list")]
    pub(crate) audience: Option<Vec<String>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) leeway: Option<Timeout<0, 600_000>>,
    #[serde(default)]
    pub(crate) cookie: Option<String>,
}

impl Value for Algorithm {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, HS256, HS384 or HS512",
        )
    }

    fn from_text(text: &str) -> Option<Algorithm> {
        text.parse().ok()
    }
}

impl Value for String {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text that is not empty")
    }

    fn from_text(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }
}
