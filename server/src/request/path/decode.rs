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
    /// How often the path has to be decoded until it is read.
    pub(super) depth: u8,
    /// In a form that few servers decode: `%u002f`, or an overlong UTF-8 sequence.
    pub(super) is_rare: bool,
}

/// Length of the longest form of an escape, `%u002f`.
const LONGEST: usize = 6;

pub(super) fn decode(path: &str) -> Decoded<'_> {
    let Some(first) = path.find('%') else {
        return Decoded {
            text: Cow::Borrowed(path.as_bytes()),
            escapes: Vec::new(),
            is_canonical: path.is_ascii(),
        };
    };
    let mut decoder = Decoder {
        text: Vec::with_capacity(path.len()),
        escapes: Vec::new(),
        open_until: 0,
    };
    let (bytes, mut at) = (path.as_bytes(), 0);
    let mut next = Some(first);
    while let Some(mut percent) = next {
        // Bytes that may belong to an escape whose percent sign was escaped, and then others.
        while at < percent && decoder.is_open() {
            decoder.push(bytes[at]);
            at += 1;
        }
        decoder.text.extend_from_slice(&bytes[at..percent]);
        // A percent sign before another one is no escape.
        let run = percents(&bytes[percent..]);
        if run > 1 {
            decoder.push_percents(&bytes[percent..percent + run - 1]);
            percent += run - 1;
        }
        at = percent
            + match escape_at(bytes, percent) {
                Some((length, byte)) => {
                    decoder.push_escaped(byte, length != 3);
                    length
                }
                None => {
                    decoder.push(b'%');
                    1
                }
            };
        // Escapes often follow each other, and beginning a search costs more than a comparison.
        next = match bytes.get(at) {
            Some(b'%') => Some(at),
            _ => path[at..].find('%').map(|found| at + found),
        };
    }
    while at < bytes.len() && decoder.is_open() {
        decoder.push(bytes[at]);
        at += 1;
    }
    decoder.text.extend_from_slice(&bytes[at..]);
    let Decoder { text, escapes, .. } = decoder;
    let is_canonical = path.is_ascii()
        && !text.contains(&b'%')
        && escapes.iter().all(|escape| {
            escape.depth == 1 && !escape.is_rare && !has_meaning(text[escape.position])
        })
        && str::from_utf8(&text).is_ok();
    Decoded {
        text: Cow::Owned(text),
        escapes,
        is_canonical,
    }
}

struct Decoder {
    text: Vec<u8>,
    escapes: Vec<Escape>,
    /// Length of the text from which on no escape in it can be continued.
    open_until: usize,
}

impl Decoder {
    fn is_open(&self) -> bool {
        self.text.len() < self.open_until
    }

    /// Pushes a byte that was escaped once.
    fn push_escaped(&mut self, byte: u8, is_rare: bool) {
        self.escapes.push(Escape {
            position: self.text.len(),
            depth: 1,
            is_rare,
        });
        self.push(byte);
    }

    fn push(&mut self, byte: u8) {
        let is_open = self.is_open();
        self.text.push(byte);
        self.note_start(byte);
        // Every form of an escape ends with a digit, or with the second byte of an overlong sequence.
        if is_open && (byte.is_ascii_hexdigit() || !byte.is_ascii()) {
            self.replace_escapes();
        }
    }

    /// Pushes percent signs, each of which is followed by another one.
    fn push_percents(&mut self, percents: &[u8]) {
        self.text.extend_from_slice(percents);
        self.note_start(b'%');
    }

    /// Notes the first byte of an escape.
    fn note_start(&mut self, byte: u8) {
        let length = match byte {
            b'%' => LONGEST,
            0xC0 | 0xC1 => 2,
            _ => return,
        };
        self.open_until = self.open_until.max(self.text.len() - 1 + length);
    }

    /// Replaces the escape at the end of the text, and the one that it completes, if any.
    fn replace_escapes(&mut self) {
        while let Some((length, byte)) = escape_at_end(&self.text) {
            let position = self.text.len() - length;
            self.text.truncate(position);
            let (mut depth, mut is_rare) = (0, length != 3);
            while let Some(inner) = self.escapes.pop_if(|escape| escape.position >= position) {
                depth = depth.max(inner.depth);
                is_rare |= inner.is_rare;
            }
            // What decodes the bytes of an overlong sequence decodes the sequence.
            if length != 2 {
                depth = depth.saturating_add(1);
            }
            self.text.push(byte);
            self.note_start(byte);
            self.escapes.push(Escape {
                position,
                depth,
                is_rare,
            });
        }
    }
}

/// Returns the number of percent signs at the start of the text.
fn percents(text: &[u8]) -> usize {
    let others = text.iter().position(|byte| *byte != b'%');
    others.unwrap_or(text.len())
}

/// Returns the length of the escape at a percent sign, and its value.
fn escape_at(text: &[u8], percent: usize) -> Option<(usize, u8)> {
    let of_length = |length| {
        let text = text.get(percent..percent + length)?;
        escape_at_end(text).filter(|(found, _)| *found == length)
    };
    of_length(3).or_else(|| of_length(LONGEST))
}

/// Returns the length of the escape at the end of the text, and its value.
fn escape_at_end(text: &[u8]) -> Option<(usize, u8)> {
    match *text {
        [.., b'%', high, low] => Some((3, (hex(high)? << 4) | hex(low)?)),
        // Longer code points do not matter here: no character with a meaning has one.
        [.., b'%', b'u' | b'U', b'0', b'0', high, low] => {
            let byte = (hex(high)? << 4) | hex(low)?;
            byte.is_ascii().then_some((6, byte))
        }
        [.., lead @ 0xC0..=0xC1, next @ 0x80..=0xBF] => {
            Some((2, ((lead & 1) << 6) | (next & 0x3F)))
        }
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Returns true for a character that no client needs to escape, or that a server may interpret once
/// it is decoded.
fn has_meaning(byte: u8) -> bool {
    let is_mark = matches!(
        byte,
        b'-' | b'.' | b'_' | b'~' | b'/' | b'\\' | b';' | b'?' | b'#' | b'%'
    );
    is_mark || byte.is_ascii_alphanumeric() || byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_to_the_end() {
        for (path, text, depth, rare) in [
            ("/a", "/a", 0, false),
            ("/%61", "/a", 1, false),
            ("/%2561", "/a", 2, false),
            ("/%25252525%36%31", "/a", 5, false),
            ("/%%361", "/a", 2, false),
            ("/%u0061", "/a", 1, true),
            ("/%U0061", "/a", 1, true),
            ("/%u%30061", "/a", 2, true),
            ("/%c1%a1", "/a", 1, true),
            ("/%25c1%a1", "/a", 2, true),
            ("/%zz%", "/%zz%", 0, false),
            ("/%%%%", "/%%%%", 0, false),
            ("/%%%2f%", "/%%/%", 1, false),
            ("/%%%%36%31", "/%%a", 2, false),
            ("/%%%%u0061", "/%%%a", 1, true),
            ("/%u2f", "/%u2f", 0, false),
            ("/%/61", "/%/61", 0, false),
            ("/%25u0061b%2525u0061%61x", "/abaax", 3, true),
            ("/%u00%361", "/a", 2, true),
            ("/%2%35%36%31xyzxyz%", "/axyzxyz%", 3, false),
        ] {
            let decoded = decode(path);
            assert_eq!(&*decoded.text, text.as_bytes(), "{path}");
            let deepest = decoded.escapes.iter().map(|escape| escape.depth).max();
            let is_rare = decoded.escapes.iter().any(|escape| escape.is_rare);
            assert_eq!((deepest.unwrap_or(0), is_rare), (depth, rare), "{path}");
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
