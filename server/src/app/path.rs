//! Spellings of paths.
//!
//! Servers differ in how they read a path: some decode `%2F` before they look for the parts, some
//! take `\` for `/`, some drop empty parts, some follow `..`, before they decode or after, and all
//! that in every combination. What an upstream does is not known here, so that a path has several
//! readings, and whoever must not get around something by a spelling looks at all of them. (What is
//! not among them: letters of another case, and what is behind a `;`.)

/// The readings of a path, each of them once; none when it is read as it stands by everybody.
pub(super) fn readings(path: &str) -> Vec<String> {
    let mut readings = Vec::new();
    if !path.contains(['%', '\\']) && !path.contains("//") && !path.contains("/.") {
        return readings;
    }
    let mut add = |reading| {
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    };
    for slashes in SLASHES {
        for merges in [false, true] {
            for follows in [false, true] {
                add(walked(&slashes.decoded(path), merges, follows));
            }
        }
    }
    // Some follow what is written before they decode it.
    for written in [path.to_owned(), path.replace('\\', "/")] {
        for merges in [false, true] {
            let walked = walked(&written, merges, true);
            SLASHES
                .iter()
                .for_each(|slashes| add(slashes.decoded(&walked)));
        }
    }
    readings
}

/// What is a slash, beside the slash.
#[derive(Clone, Copy)]
struct Slashes {
    encoded: bool,
    backslash: bool,
}

const SLASHES: [Slashes; 4] = [
    Slashes {
        encoded: false,
        backslash: false,
    },
    Slashes {
        encoded: true,
        backslash: false,
    },
    Slashes {
        encoded: false,
        backslash: true,
    },
    Slashes {
        encoded: true,
        backslash: true,
    },
];

impl Slashes {
    /// Decoded, but for a `%2F` that is no slash.
    fn decoded(self, path: &str) -> String {
        let bytes = if self.encoded {
            decoded(path)
        } else {
            decoded(&path.replace("%2f", "%252F").replace("%2F", "%252F"))
        };
        let text = String::from_utf8_lossy(&bytes);
        if self.backslash {
            text.replace('\\', "/")
        } else {
            text.into_owned()
        }
    }
}

/// Where the parts of a path lead: `merges`, without the empty ones; `follows`, along `.` and `..`.
fn walked(path: &str, merges: bool, follows: bool) -> String {
    let mut parts = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(part) = rest.next() {
        match part {
            // The last one is the slash at the end.
            "" if merges && rest.peek().is_some() => {}
            "." if follows => {}
            ".." if follows => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `None`: not percent-encoded UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let encodes =
        |part: &str| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let is_encoded = text.split('%').skip(1).all(encodes);
    is_encoded
        .then(|| String::from_utf8(decoded(text)).ok())
        .flatten()
}

/// A percent sign that encodes nothing stands for itself.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        let encoded = match rest {
            [b'%', high, low, behind @ ..] => digit(*high)
                .zip(digit(*low))
                .map(|(high, low)| (high * 16 + low, behind)),
            _ => None,
        };
        match encoded {
            Some((code, behind)) => {
                bytes.push(code as u8);
                rest = behind;
            }
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_all_its_readings() {
        for (path, expected) in [
            ("//", &["//", "/"][..]),
            ("/a//b", &["/a//b", "/a/b"]),
            ("/a/./b/", &["/a/./b/", "/a/b/"]),
            ("/a/../../b", &["/a/../../b", "/b"]),
            ("/%61%2fb", &["/a%2Fb", "/a/b"]),
            ("/a/%2e%2E/b", &["/a/../b", "/b"]),
            ("/a\\b", &["/a\\b", "/a/b"]),
            ("/a/..%2fb", &["/a/..%2Fb", "/a/../b", "/b"]),
            ("/a//../b", &["/a//../b", "/a/b", "/a/../b", "/b"]),
            // As nginx reads it, for one, and as a browser does.
            (
                "/a/x%5Cy%2F..%2Fb",
                &[
                    "/a/x\\y%2F..%2Fb",
                    "/a/x\\y/../b",
                    "/a/b",
                    "/a/x/y%2F..%2Fb",
                    "/a/x/y/../b",
                    "/a/x/b",
                ],
            ),
            (
                "/a/x%2Fy\\..\\b",
                &[
                    "/a/x%2Fy\\..\\b",
                    "/a/x/y\\..\\b",
                    "/a/x%2Fy/../b",
                    "/a/b",
                    "/a/x/y/../b",
                    "/a/x/b",
                ],
            ),
            ("/a/../b/%2e%2e/c", &["/a/../b/../c", "/c", "/b/../c"]),
            ("/%zz/../b", &["/%zz/../b", "/b"]),
            ("/%ff/%2e%2e/b", &["/\u{fffd}/../b", "/b"]),
            ("/%", &["/%"]),
        ] {
            assert_eq!(readings(path), expected, "{path}");
        }
        for path in ["/", "/a/b", "/a.b/", "*", ""] {
            assert_eq!(readings(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn what_is_not_encoded_well_is_not_decoded() {
        for (text, expected) in [
            ("a%2eb%2E", Some("a.b.")),
            ("%c3%a9", Some("é")),
            ("", Some("")),
        ] {
            assert_eq!(percent_decoded(text).as_deref(), expected, "{text}");
        }
        for text in ["%", "a%2", "%zz", "%2", "%ff", "%%41"] {
            assert_eq!(percent_decoded(text), None, "{text}");
        }
    }
}
