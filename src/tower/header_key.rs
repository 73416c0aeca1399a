//! Header whose value identifies a client.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, PROXY_AUTHORIZATION};

/// Header whose value identifies a client, as in [`Key::header`](super::Key::header).
///
/// The spellings of one `Authorization` value are one key: the scheme is compared without regard to
/// case, and any whitespace is one space. `Bearer` and `Basic` take a single word, and the base64
/// of `Basic` must be canonical, because some servers ignore further words and invalid characters.
///
/// ```
/// use http::{HeaderMap, header::AUTHORIZATION};
/// use tollgate::tower::HeaderKey;
///
/// let key = HeaderKey::new(AUTHORIZATION);
/// let mut headers = HeaderMap::new();
/// headers.insert(AUTHORIZATION, "bearer  abc".parse()?);
/// assert_eq!(key.value(&headers).as_deref(), Some("Bearer abc"));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderKey {
    name: HeaderName,
    is_credentials: bool,
}

impl HeaderKey {
    /// Maximum length of a key in bytes, which bounds the memory of stored keys.
    pub const MAX_LENGTH: usize = 1024;

    /// Creates a key from the name of its header.
    #[must_use]
    pub fn new(name: HeaderName) -> HeaderKey {
        let is_credentials = [AUTHORIZATION, PROXY_AUTHORIZATION].contains(&name);
        HeaderKey {
            name,
            is_credentials,
        }
    }

    /// Name of the header.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Returns the key of a request, or `None` when the header is missing, repeated, or without a
    /// [valid](HeaderKey::normalize) value.
    #[inline]
    #[must_use]
    pub fn value<'a>(&self, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
        let mut values = headers.get_all(&self.name).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        self.normalize(value)
    }

    /// Returns the canonical spelling of a key, or `None` when it is empty, longer than
    /// [`MAX_LENGTH`](HeaderKey::MAX_LENGTH), or malformed. The usual spelling of credentials,
    /// `Bearer abc`, is not copied.
    ///
    /// ```
    /// # use {http::header::{AUTHORIZATION, HeaderName}, tollgate::tower::HeaderKey};
    /// let credentials = HeaderKey::new(AUTHORIZATION);
    /// assert_eq!(credentials.normalize("BEARER\tabc").as_deref(), Some("Bearer abc"));
    /// assert_eq!(credentials.normalize("Bearer abc def"), None);
    /// let api_key = HeaderKey::new(HeaderName::from_static("x-api-key"));
    /// assert_eq!(api_key.normalize("BEARER  abc").as_deref(), Some("BEARER  abc"));
    /// ```
    #[inline]
    #[must_use]
    pub fn normalize<'a>(&self, value: &'a str) -> Option<Cow<'a, str>> {
        if value.is_empty() || value.len() > HeaderKey::MAX_LENGTH {
            None
        } else if self.is_credentials {
            normalized_credentials(value)
        } else {
            Some(Cow::Borrowed(value))
        }
    }
}

/// Returns credentials with their scheme in title case, and with single spaces.
fn normalized_credentials(value: &str) -> Option<Cow<'_, str>> {
    let mut words = value.split_ascii_whitespace();
    let (scheme, first) = (words.next()?, words.next());
    let Some(first) = first else {
        // A key without a scheme.
        return Some(Cow::Borrowed(scheme));
    };
    let is_basic = scheme.eq_ignore_ascii_case("Basic");
    let is_one_word = is_basic || scheme.eq_ignore_ascii_case("Bearer");
    if is_one_word && words.next().is_some() || is_basic && !is_canonical_base64(first) {
        return None;
    }
    let rest = value.strip_prefix(scheme);
    if is_title_case(scheme) && rest.and_then(|rest| rest.strip_prefix(' ')) == Some(first) {
        return Some(Cow::Borrowed(value));
    }
    let mut normalized = scheme.to_ascii_lowercase();
    // `None`: the first character is not ASCII.
    if let Some(first) = normalized.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    for word in value.split_ascii_whitespace().skip(1) {
        normalized.push(' ');
        normalized.push_str(word);
    }
    Some(Cow::Owned(normalized))
}

fn is_title_case(scheme: &str) -> bool {
    let mut bytes = scheme.bytes();
    bytes
        .next()
        .is_some_and(|first| !first.is_ascii_lowercase())
        && !bytes.any(|byte| byte.is_ascii_uppercase())
}

/// Returns true for base64 (RFC 4648, section 4) with padding, and without bits that no byte uses.
fn is_canonical_base64(text: &str) -> bool {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |byte: u8| DIGITS.iter().position(|digit| *digit == byte);
    let digits = text.trim_end_matches('=');
    let unused_bits = match text.len() - digits.len() {
        0 => 0,
        1 => 0b11,
        2 => 0b1111,
        _ => return false,
    };
    let is_valid = digits.bytes().all(|byte| value(byte).is_some());
    let last = digits.bytes().next_back().and_then(value);
    text.len().is_multiple_of(4) && is_valid && last.is_some_and(|last| last & unused_bits == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(value: &str) -> Option<String> {
        let key = HeaderKey::new(AUTHORIZATION);
        key.normalize(value).map(Cow::into_owned)
    }

    #[test]
    fn spellings_of_credentials_are_one_key() {
        for value in [
            "Bearer abc",
            "bearer abc",
            "BEARER abc",
            "Bearer  abc",
            "Bearer\tabc",
            "Bearer \t abc",
            " bEaReR abc ",
            " Bearer abc",
        ] {
            assert_eq!(credentials(value).as_deref(), Some("Bearer abc"), "{value}");
        }
        assert_eq!(
            credentials("token  token=\"a\",   email=\"b\"").as_deref(),
            Some("Token token=\"a\", email=\"b\"")
        );
        assert_eq!(credentials("aBc").as_deref(), Some("aBc"), "no scheme");
        assert_ne!(credentials("Bearer abc"), credentials("Bearer aBc"));
        assert_ne!(credentials("Bearer abc"), credentials("Basic YWJj"));
    }

    /// A header value is ASCII, but a rule or a body may name any key.
    #[test]
    fn scheme_may_begin_with_another_character_than_a_letter() {
        for (value, expected) in [
            ("éA  b", "éa b"),
            ("É b", "É b"),
            ("\u{1f511}A b", "\u{1f511}a b"),
            ("-A b", "-a b"),
        ] {
            assert_eq!(credentials(value).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn usual_spelling_is_not_copied() {
        let key = HeaderKey::new(AUTHORIZATION);
        for value in ["Bearer abc", "Basic YWJj", "abc"] {
            assert!(
                matches!(key.normalize(value), Some(Cow::Borrowed(_))),
                "{value}"
            );
        }
    }

    #[test]
    fn words_that_some_servers_ignore_are_rejected() {
        for value in ["Bearer abc def", "bearer abc,  def", "Basic YWJj YWJj"] {
            assert_eq!(credentials(value), None, "{value}");
        }
    }

    #[test]
    fn basic_credentials_have_one_spelling() {
        for (value, expected) in [
            ("basic  YTpi", Some("Basic YTpi")),
            ("Basic YTpiYw==", Some("Basic YTpiYw==")),
            ("Basic YTpiY2Q=", Some("Basic YTpiY2Q=")),
            ("Basic YTpiYx==", None),
            ("Basic YTpiY2R=", None),
            ("Basic YTpiYw", None),
            ("Basic YTpiYw=", None),
            ("Basic YTpi====", None),
            ("Basic YTp!i", None),
            ("Basic YTp-_w==", None),
            ("Basic ====", None),
        ] {
            assert_eq!(credentials(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn length_is_bounded() {
        let key = HeaderKey::new(HeaderName::from_static("x-api-key"));
        let [longest, longer] = [1024, 1025].map(|length| "a".repeat(length));
        assert_eq!(key.normalize(&longest).as_deref(), Some(longest.as_str()));
        assert_eq!(key.normalize(&longer), None);
        assert_eq!(key.normalize(""), None);
    }
}
