//! Interpretations of request paths.
//!
//! Servers interpret a path differently: some decode `%2F` before they split the path into
//! segments, some treat `\` as `/`, some drop empty segments, some resolve `..` before they decode
//! or after, and all that in every combination. The upstream's interpretation is unknown, so a path
//! has several readings, and a limit that must not be bypassed by an alternative spelling applies
//! to all of them. Two differences are not covered: letter case, and path parameters after `;`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Returns the distinct readings of a path, or none when all servers read it literally.
pub(crate) fn readings(path: &str) -> Vec<String> {
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
            for resolves in [false, true] {
                add(normalized(&slashes.decode(path), merges, resolves));
            }
        }
    }
    // Some servers resolve dot segments before they decode.
    for raw in [path.to_owned(), path.replace('\\', "/")] {
        for merges in [false, true] {
            let normalized = normalized(&raw, merges, true);
            SLASHES
                .iter()
                .for_each(|slashes| add(slashes.decode(&normalized)));
        }
    }
    readings
}

/// Characters that separate segments in addition to `/`.
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
    /// Decodes a path. A `%2F` that is no separator stays encoded, and so does a malformed percent
    /// sign.
    fn decode(self, path: &str) -> String {
        let path = if self.encoded {
            Cow::Borrowed(path)
        } else {
            path.replace("%2f", "%252F").replace("%2F", "%252F").into()
        };
        let text = percent_decode_str(&path).decode_utf8_lossy();
        if self.backslash {
            text.replace('\\', "/")
        } else {
            text.into_owned()
        }
    }
}

/// Normalizes a path: `merges` drops empty segments, `resolves` resolves `.` and `..`.
fn normalized(path: &str, merges: bool, resolves: bool) -> String {
    let mut segments = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = rest.next() {
        match segment {
            // An empty last segment is the trailing slash.
            "" if merges && rest.peek().is_some() => {}
            "." if resolves => {}
            ".." if resolves => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Decodes percent-encoded UTF-8. Unlike in paths, a malformed percent sign is an error: `None`.
pub(crate) fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    let is_hex =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_hex) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_cover_all_interpretations() {
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
            // Both the reading of nginx and the reading of browsers.
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
    fn malformed_percent_encoding_is_rejected() {
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
