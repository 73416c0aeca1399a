//! Spellings of paths.

/// A path without percent-encoding, empty parts, `.` and `..`, as many frameworks read it; `None` when it is that already, or
/// cannot be decoded.
pub(super) fn plain(path: &str) -> Option<String> {
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return None;
    }
    let decoded = percent_decoded(path)?;
    let mut parts = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if decoded.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", parts.join("/")))
}

/// `None`: not percent-encoded UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match *rest {
            [] => return String::from_utf8(bytes).ok(),
            [b'%', high, low, ref behind @ ..] => {
                bytes.push((digit(high)? * 16 + digit(low)?) as u8);
                behind
            }
            [b'%', ..] => return None,
            [byte, ref behind @ ..] => {
                bytes.push(byte);
                behind
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_plain_spelling() {
        for (path, expected) in [
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/a/./b/", "/a/b/"),
            ("/a/../../b", "/b"),
            ("/%61%2fb", "/a/b"),
            ("/a/%2e%2E/b", "/b"),
        ] {
            assert_eq!(plain(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["/", "/a/b", "/a.b", "/%", "/%zz", "/%ff"] {
            assert_eq!(plain(path), None, "{path}");
        }
    }
}
