//! JSON of .NET, with comments and with commas after the last item.

/// Returns the text with spaces in place of comments and of commas before a closing bracket, so that
/// lines and columns stay.
pub(crate) fn strict(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Position in `out` of a comma that no value has followed yet.
    let mut comma = None;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('"', _) => {
                comma = None;
                out.push(char);
                while let Some(char) = chars.next() {
                    out.push(char);
                    match char {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            ('/', Some('/')) => {
                out.push(' ');
                while let Some(char) = chars.next_if(|char| *char != '\n') {
                    out.push(if char == '\r' { char } else { ' ' });
                }
            }
            ('/', Some('*')) => {
                chars.next();
                out.push_str("  ");
                let mut before = ' ';
                for char in chars.by_ref() {
                    out.push(if char.is_whitespace() { char } else { ' ' });
                    if before == '*' && char == '/' {
                        break;
                    }
                    before = char;
                }
            }
            (',', _) => {
                comma = Some(out.len());
                out.push(char);
            }
            ('}' | ']', _) => {
                if let Some(at) = comma.take() {
                    out.replace_range(at..=at, " ");
                }
                out.push(char);
            }
            (char, _) => {
                if !char.is_whitespace() {
                    comma = None;
                }
                out.push(char);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_last_commas_become_spaces() {
        for (text, expected) in [
            ("{\"a\": 1, // b\n}", "{\"a\": 1      \n}"),
            ("[1, /* , \n ] */ ]", "[1       \n      ]"),
            (
                r#"["//", "/* ", "\",]", 2,]"#,
                r#"["//", "/* ", "\",]", 2 ]"#,
            ),
            ("[,]", "[ ]"),
            ("/*", "  "),
            ("/**/[1,2]", "    [1,2]"),
            ("/*/ */[1]", "      [1]"),
            ("\"", "\""),
            ("\"\\", "\"\\"),
        ] {
            assert_eq!(strict(text), expected, "{text}");
        }
    }
}
