//! Bounded names of buckets, whatever keys clients choose.
//!
//! A key of up to 64 bytes without braces is part of the name as it is, so that an operator can
//! read it. Any other key is replaced by `#` and its SHA-256 hash in hexadecimal digits: 65 bytes,
//! which no readable key has. The hash has no seed, because all instances have to agree on it. It
//! is cryptographic, because a client must not be able to find a second key with the same bucket.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// Length of the longest key that is not hashed, in bytes.
const MAX_KEY: usize = 64;

/// Bounds a key: returns the key itself, or its hash if it is long.
#[inline]
pub(super) fn bounded(key: &[u8]) -> Cow<'_, [u8]> {
    if key.len() <= MAX_KEY {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(hashed(key))
    }
}

/// Returns the name of a bucket: `prefix` and a [`bounded`] key, which is the name's hash tag if it is
/// `tagged`. A cluster places a name by the part between its first braces, so a key with a brace is
/// hashed: it could choose its slot.
pub(super) fn bucket_name(prefix: &[u8], bounded: &[u8], tagged: bool) -> Vec<u8> {
    let hash;
    let key = if bounded.iter().any(|byte| matches!(byte, b'{' | b'}')) {
        hash = hashed(bounded);
        &hash
    } else {
        bounded
    };
    let [open, close]: [&[u8]; 2] = if tagged { [b"{", b"}"] } else { [b"", b""] };
    [prefix, open, key, close].concat()
}

fn hashed(key: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let hash = Sha256::digest(key);
    let digits = hash
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| DIGITS[usize::from(digit)]);
    [b'#'].into_iter().chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{super::slot::slot, *};

    fn name(key: &[u8]) -> String {
        String::from_utf8(bucket_name(b"tollgate:1:", &bounded(key), false)).unwrap()
    }

    #[test]
    fn short_keys_are_readable_and_long_keys_are_hashed() {
        assert_eq!(name(b"alice"), "tollgate:1:alice");
        let longest = "k".repeat(MAX_KEY);
        assert_eq!(name(longest.as_bytes()), format!("tollgate:1:{longest}"));
        // Computed by another program: printf 'k%.0s' {1..65} | sha256sum
        assert_eq!(
            name("k".repeat(MAX_KEY + 1).as_bytes()),
            "tollgate:1:#f39cdc2584758c99cf81c1f41d2572f54e17066afffc9d187aeafe5f7cbe2122"
        );
        assert_eq!(name(&[b'k'; 100_000]).len(), "tollgate:1:".len() + 65);
    }

    #[test]
    fn keys_with_braces_cannot_choose_their_slot() {
        for key in ["{a}b", "a{b", "a}b", "{}", "}{"] {
            let name = name(key.as_bytes());
            assert!(!name.contains(['{', '}']), "{name}");
        }
        // Also after a prefix with an open brace.
        let name = bucket_name(b"{tollgate:1:", b"a}b", false);
        assert!(!name.contains(&b'}'));
    }

    #[test]
    fn a_key_is_the_hash_tag_of_all_its_buckets() {
        let tagged = |prefix: &[u8], key| bucket_name(prefix, &bounded(key), true);
        assert_eq!(tagged(b"a:1:", b"alice"), b"a:1:{alice}");
        for key in [&b"alice"[..], b"{x}y", b"}{", &[b'k'; 100]] {
            let slots = [&b"a:1:"[..], b"b:2:"].map(|prefix| slot(&tagged(prefix, key)));
            assert_eq!(slots[0], slots[1]);
        }
    }

    #[test]
    fn different_keys_have_different_names() {
        let long = "k".repeat(MAX_KEY + 1);
        let hash = String::from_utf8(hashed(long.as_bytes())).unwrap();
        let keys = [
            &long,
            // A client that sends the hash of another client's key.
            &hash,
            &hash[1..].to_owned(),
            &"{a}".to_owned(),
            &"{b}".to_owned(),
            &"a".to_owned(),
        ];
        let names: HashSet<_> = keys.iter().map(|key| name(key.as_bytes())).collect();
        assert_eq!(names.len(), keys.len(), "{names:?}");
    }
}
