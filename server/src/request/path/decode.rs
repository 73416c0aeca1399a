//! Percent-decoding until no escape is left, with the origin of each byte.

use std::borrow::Cow;

/// A path without escapes, and its bytes that were escaped.
///
/// The result is that of decoding again and again. Escapes never overlap, so the order does not
/// matter, and one pass is enough: an escape is replaced as soon as its last byte has been read.
pub(super) struct Decoded<'a> {
    pub(super) text: Cow<'a, [u8]>,
    /// In ascending order of their positions.
    pub(super) escapes: Vec<Escape>,
    /// All servers decode the path to the same text, in which no escape stood for a character with
    /// a meaning.
    pub(super) is_canonical: bool,
}

/// A byte that was escaped.
#[derive(Clone, Copy)]
pub(super) struct Escape {
    pub(super) position: usize,
    /// Escaped more than once, or in a form that few servers decode: `%u002f`, or an overlong UTF-8
    /// sequence.
    pub(super) is_nested: bool,
}

pub(super) fn decode(path: &str) -> Decoded<'_> {
    let Some(first) = path.find('%') else {
        return Decoded {
            text: Cow::Borrowed(path.as_bytes()),
            escapes: Vec::new(),
            is_canonical: path.is_ascii(),
        };
    };
    let (plain, rest) = path.as_bytes().split_at(first);
    let (mut text, mut escapes) = (Vec::with_capacity(path.len()), Vec::new());
    text.extend_from_slice(plain);
    for &byte in rest {
        text.push(byte);
        // Every form of an escape ends with a digit.
        if byte.is_ascii_hexdigit() {
            replace_escapes(&mut text, &mut escapes);
        }
    }
    let is_canonical = path.is_ascii()
        && !text.contains(&b'%')
        && escapes
            .iter()
            .all(|escape| !escape.is_nested && !has_meaning(text[escape.position]))
        && str::from_utf8(&text).is_ok();
    Decoded {
        text: Cow::Owned(text),
        escapes,
        is_canonical,
    }
}

/// Replaces the escape at the end of the text, and the one that it completes, if any.
fn replace_escapes(text: &mut Vec<u8>, escapes: &mut Vec<Escape>) {
    while let Some((length, byte)) = escape_at_end(text) {
        let position = text.len() - length;
        text.truncate(position);
        text.push(byte);
        let mut is_nested = length != 3;
        while escapes
            .pop_if(|escape| escape.position >= position)
            .is_some()
        {
            is_nested = true;
        }
        escapes.push(Escape {
            position,
            is_nested,
        });
    }
}

/// Returns the length of the escape at the end of the text, and its value.
fn escape_at_end(text: &[u8]) -> Option<(usize, u8)> {
    match *text {
        [.., b'%', high, low] => Some((3, hex(high)? << 4 | hex(low)?)),
        // Longer code points do not matter here: no character with a meaning has one.
        [.., b'%', b'u' | b'U', b'0', b'0', high, low] => {
            let byte = hex(high)? << 4 | hex(low)?;
            byte.is_ascii().then_some((6, byte))
        }
        [.., lead @ 0xC0..=0xC1, next @ 0x80..=0xBF] => Some((2, (lead & 1) << 6 | next & 0x3F)),
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    // The value is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Returns true for a character that no client needs to escape, or that a server may interpret once
/// it is decoded.
fn has_meaning(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_control() || b"-._~/\\;?#%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_to_the_end() {
        for (path, text, nested) in [
            ("/a", "/a", false),
            ("/%61", "/a", false),
            ("/%2561", "/a", true),
            ("/%25252525%36%31", "/a", true),
            ("/%%361", "/a", true),
            ("/%u0061", "/a", true),
            ("/%u%30061", "/a", true),
            ("/%c1%a1", "/a", true),
            ("/%zz%", "/%zz%", false),
            ("/%u2f", "/%u2f", false),
            ("/%/61", "/%/61", false),
        ] {
            let decoded = decode(path);
            assert_eq!(&*decoded.text, text.as_bytes(), "{path}");
            let is_nested = decoded.escapes.iter().any(|escape| escape.is_nested);
            assert_eq!(is_nested, nested, "{path}");
        }
    }

    #[test]
    fn canonical_paths_escape_only_what_has_no_meaning() {
        for path in [
            "/",
            "/a%20b",
            "/caf%C3%A9",
            "/caf%c3%a9",
            "/a%40b",
            "/a.B~c-d_e",
        ] {
            assert!(decode(path).is_canonical, "{path}");
        }
        for path in [
            "/%61",
            "/a%2Fb",
            "/a%2eb",
            "/a%3Bb",
            "/%",
            "/%2540",
            "/%00",
            "/caf%E9",
            "/caf\u{e9}",
        ] {
            assert!(!decode(path).is_canonical, "{path}");
        }
    }
}
