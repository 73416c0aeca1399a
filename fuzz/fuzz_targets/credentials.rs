//! Header keys: a canonical spelling is its own, and all spellings of credentials have the same.
#![no_main]

use http::header::{AUTHORIZATION, HeaderName};
use libfuzzer_sys::fuzz_target;
use tollgate::tower::HeaderKey;

/// Other spellings of the same credentials, if the first word is a scheme.
fn respelled(value: &str) -> [String; 3] {
    let words: Vec<_> = value.split_ascii_whitespace().collect();
    let Some((scheme, rest)) = words.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return [value, value, value].map(|key| format!(" {}\t", key.trim_ascii()));
    };
    [
        format!(" {scheme} {}", rest.join(" ")),
        format!("{}  {} ", scheme.to_ascii_uppercase(), rest.join("\t")),
        format!("\t{} {}", scheme.to_ascii_lowercase(), rest.join("  ")),
    ]
}

fuzz_target!(|value: &str| {
    let plain = HeaderKey::new(HeaderName::from_static("x-api-key"));
    let is_bounded = (1..=HeaderKey::MAX_LENGTH).contains(&value.len());
    assert_eq!(
        plain.normalize(value).as_deref(),
        is_bounded.then_some(value)
    );

    let credentials = HeaderKey::new(AUTHORIZATION);
    let key = credentials.normalize(value);
    if let Some(key) = &key {
        assert!((1..=HeaderKey::MAX_LENGTH).contains(&key.len()));
        assert_eq!(credentials.normalize(key).as_ref(), Some(key));
    }
    for other in respelled(value) {
        if is_bounded && other.len() <= HeaderKey::MAX_LENGTH {
            assert_eq!(credentials.normalize(&other), key, "{other:?}");
        }
    }
});
