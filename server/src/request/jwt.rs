//! Identity from a JSON Web Token (RFC 7519): claims count only when the signature, the times and,
//! if they are configured, issuer and audience are valid.

mod keys;
mod verifier;

use std::{collections::HashSet, time::Duration};

use hyper::header::{AUTHORIZATION, HeaderName};
use jsonwebtoken::{
    Algorithm, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde_json::{Map, Value};

use self::keys::Key;

/// Maximum length of a claim that identifies a client, as of a header.
const MAX_CLAIM: usize = 1024;

/// Verifier of tokens.
#[derive(Debug)]
pub(crate) struct Jwt {
    keys: Vec<Key>,
    options: JwtOptions,
}

/// Requirements for a token besides a valid signature.
#[derive(Clone, Debug)]
pub(crate) struct JwtOptions {
    pub(crate) algorithms: Vec<Algorithm>,
    /// Accepted values of `iss`. Empty: any, and none.
    pub(crate) issuers: Vec<String>,
    /// Accepted values of `aud`. Empty: any, and none.
    pub(crate) audiences: Vec<String>,
    /// Difference of clocks.
    pub(crate) leeway: Duration,
    /// Cookie with the token; `None`: `Authorization: Bearer`.
    pub(crate) cookie: Option<String>,
}

/// Reason that a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// It is malformed or has critical extensions, or none of the keys has signed it.
    NotSigned,
    /// A key has signed it, but not for this time, issuer or audience.
    NotAccepted,
}

/// Claims of a valid token.
#[derive(Debug)]
pub(crate) struct Claims(Map<String, Value>);

impl Jwt {
    /// Maximum length of a token in bytes.
    pub(crate) const MAX_LENGTH: usize = 8192;

    /// Creates a verifier with the keys of a JWKS or of PEM files.
    ///
    /// # Errors
    /// The text has no key for one of the algorithms.
    pub(crate) fn new(keys: &str, options: JwtOptions) -> Result<Jwt, String> {
        verifier::install();
        let keys = keys::parse(keys, &options.algorithms)?;
        Ok(Jwt { keys, options })
    }

    /// Header with the token, unless it is in a cookie.
    pub(crate) fn header(&self) -> Option<HeaderName> {
        self.options.cookie.is_none().then_some(AUTHORIZATION)
    }

    /// Cookie with the token.
    pub(crate) fn cookie(&self) -> Option<&str> {
        self.options.cookie.as_deref()
    }

    /// Returns the claims of a valid token.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > Jwt::MAX_LENGTH {
            return Err(TokenError::NotSigned);
        }
        let header = decode_header(token).map_err(|_| TokenError::NotSigned)?;
        // Extensions that a recipient has to understand (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(TokenError::NotSigned);
        }
        let is_meant = |key: &&Key| match (&header.kid, &key.id) {
            (Some(named), Some(id)) => named == id,
            _ => true,
        };
        let candidates = self.keys.iter().filter(is_meant);
        let mut candidates = candidates.filter(|key| key.algorithms.contains(&header.alg));
        let verified = candidates.find_map(|key| {
            let validation = self.validation(header.alg);
            match decode::<Map<String, Value>>(token, &key.key, &validation) {
                Ok(token) => Some(Ok(Claims(token.claims))),
                Err(error) => is_of_claims(&error).then_some(Err(TokenError::NotAccepted)),
            }
        });
        verified.unwrap_or(Err(TokenError::NotSigned))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let JwtOptions {
            issuers,
            audiences,
            leeway,
            ..
        } = &self.options;
        let mut validation = Validation::new(algorithm);
        validation.leeway = leeway.as_secs();
        validation.validate_nbf = true;
        // The crate checks issuer and audience only when the token has them, so they are required.
        let mut required = HashSet::from(["exp".to_owned()]);
        if !issuers.is_empty() {
            validation.set_issuer(issuers);
            required.insert("iss".to_owned());
        }
        if audiences.is_empty() {
            validation.validate_aud = false;
        } else {
            validation.set_audience(audiences);
            required.insert("aud".to_owned());
        }
        validation.required_spec_claims = required;
        validation
    }
}

/// Returns true for an error of the claims, which are checked after the signature.
fn is_of_claims(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::MissingRequiredClaim(_)
            | ErrorKind::InvalidClaimFormat(_)
            | ErrorKind::ExpiredSignature
            | ErrorKind::ImmatureSignature
            | ErrorKind::InvalidIssuer
            | ErrorKind::InvalidAudience
    )
}

impl Claims {
    /// Returns a claim that can identify a client: a text, a whole number, or true or false.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let text = match self.0.get(name)? {
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
            Value::Bool(is_true) => is_true.to_string(),
            _ => return None,
        };
        (1..=MAX_CLAIM).contains(&text.len()).then_some(text)
    }
}

#[cfg(test)]
pub(crate) mod tests;
