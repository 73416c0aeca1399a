//! Letter case of names in paths.

use std::borrow::Cow;

/// Returns a name in a form that is the same for all spellings that differ in letter case.
pub(crate) fn fold_case(name: &[u8]) -> Cow<'_, [u8]> {
    let is_folded = |byte: &u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if name.iter().all(is_folded) {
        return Cow::Borrowed(name);
    }
    match str::from_utf8(name) {
        // Servers fold to upper or to lower case: the Kelvin sign is a k, and ſ an s.
        Ok(text) => {
            let upper = text.chars().flat_map(char::to_uppercase);
            let folded: String = upper.flat_map(char::to_lowercase).collect();
            Cow::Owned(folded.into_bytes())
        }
        Err(_) => Cow::Owned(name.to_ascii_lowercase()),
    }
}
