//! Patterns of simple regular expressions, such as `\.php$`, `^/(a|b)/` and `^/users/\d+$`.

use super::pattern::{Paths, is_valid};

/// Maximum number of patterns of an expression.
const MAX_PATTERNS: usize = 32;

/// Returns the paths that a regular expression matches, or `None` if it is not simple enough.
pub(crate) fn of_regex(regex: &str) -> Option<Paths> {
    let without_segments = regex.replace("[^/]+", "");
    let is_class = |class: &&str| without_segments.contains(*class);
    let is_wide = ["[", "\\d", "\\w"].iter().any(is_class);
    match patterns_of(regex)? {
        patterns if patterns.is_empty() => Some(Paths::All),
        patterns => Some(Paths::Patterns { patterns, is_wide }),
    }
}

/// Returns the patterns of an expression. Empty: all paths.
fn patterns_of(regex: &str) -> Option<Vec<String>> {
    // An end of the line, and a group around all paths below, are written in many ways.
    let mut rest = regex;
    let from_start = rest.starts_with('^');
    rest = rest.strip_prefix('^').unwrap_or(rest);
    let mut is_whole = rest.ends_with('$') && !rest.ends_with("\\$");
    rest = if is_whole {
        &rest[..rest.len() - 1]
    } else {
        rest
    };
    for end in ["(/.*)?", "(?:/.*)?", "(/|$)", "(?:/|$)"] {
        let is_end = from_start && (is_whole || end.ends_with("$)"));
        if let Some(start) = rest.strip_suffix(end).filter(|_| is_end) {
            // A whole segment, and all paths below.
            return patterns(expand(start, from_start)?, |text| vec![format!("{text}/*")]);
        }
    }
    if let Some(start) = rest
        .strip_suffix(".*")
        .filter(|start| !start.ends_with('\\'))
    {
        (rest, is_whole) = (start, false);
    }
    // Servers serve a path with a slash at its end as the one without.
    rest = rest.strip_suffix("/?").unwrap_or(rest);
    if from_start {
        let texts = expand(rest, true)?;
        return match (is_whole, &texts[..]) {
            (true, _) => patterns(texts, |text| vec![text]),
            (false, [one]) if one.is_empty() || one == "/" => Some(Vec::new()),
            (false, _) => patterns(texts, |text| match text.ends_with('/') {
                true => vec![format!("{text}*")],
                // The literal may end within a segment.
                false if text.ends_with('*') || text.ends_with('}') => vec![format!("{text}/*")],
                false => vec![format!("{text}*/*")],
            }),
        };
    }
    // A suffix, unless it may be anywhere in a path.
    let is_suffix = is_whole && !rest.contains('/');
    if !is_suffix {
        return None;
    }
    patterns(expand(rest, false)?, |text| vec![format!("*{text}")])
}

fn patterns(texts: Vec<String>, pattern: impl Fn(String) -> Vec<String>) -> Option<Vec<String>> {
    let patterns: Vec<String> = texts.into_iter().flat_map(pattern).collect();
    let is_expressed = |text: &String| text != "*" && is_valid(text);
    patterns.iter().all(is_expressed).then_some(patterns)
}

/// Returns the literal texts of an expression, where one segment is `{id}` and affixes have `*`.
fn expand(regex: &str, from_start: bool) -> Option<Vec<String>> {
    if from_start && !regex.is_empty() && !regex.starts_with(['/', '(']) {
        return None;
    }
    let mut texts = vec![String::new()];
    let mut rest = regex;
    while let Some(char) = rest.chars().next() {
        let (parts, next) = match char {
            '(' => group(rest)?,
            _ => {
                let (text, next) = atom(rest)?;
                (vec![text], next)
            }
        };
        // A quantifier of a literal changes what it says.
        if next.starts_with(['*', '+', '?', '{']) {
            return None;
        }
        let combined = texts
            .iter()
            .flat_map(|text| parts.iter().map(move |part| format!("{text}{part}")));
        texts = combined.collect();
        if texts.len() > MAX_PATTERNS {
            return None;
        }
        rest = next;
    }
    let whole = |text: String| {
        // A variable part has to be a segment of its own, or all that is variable of one.
        let segments = text.split('/').map(|segment| match segment {
            "*" => Some("{id}".to_owned()),
            segment if segment.matches('*').count() > 1 => None,
            segment => Some(segment.to_owned()),
        });
        Some(segments.collect::<Option<Vec<_>>>()?.join("/"))
    };
    texts.into_iter().map(whole).collect()
}

/// Parses `(a|b)`. Returns the alternatives, and what follows.
fn group(text: &str) -> Option<(Vec<String>, &str)> {
    let inner = text
        .strip_prefix("(?:")
        .or_else(|| text.strip_prefix('('))?;
    let (inner, next) = inner.split_once(')')?;
    if inner.contains('(') {
        return None;
    }
    let alternatives = inner.split('|').map(|alternative| {
        let mut literal = String::new();
        let mut rest = alternative;
        while !rest.is_empty() {
            let (part, next) = atom(rest)?;
            literal += &part;
            rest = next;
        }
        Some(literal)
    });
    Some((alternatives.collect::<Option<_>>()?, next))
}

/// Parses a literal character or a variable part of a segment, which is `*`. Returns what follows.
fn atom(text: &str) -> Option<(String, &str)> {
    for class in [
        "[^/]",
        "[0-9]",
        "[a-z]",
        "[a-zA-Z0-9]",
        "[A-Za-z0-9]",
        "[a-z0-9]",
        "[0-9a-f]",
        "[a-z0-9-]",
        "\\d",
        "\\w",
        "[\\w-]",
        "[0-9a-f-]",
    ] {
        if let Some(next) = text.strip_prefix(class) {
            return Some(("*".to_owned(), next.strip_prefix('+')?));
        }
    }
    let mut chars = text.chars();
    let char = match chars.next()? {
        '\\' => chars.next().filter(|char| char.is_ascii_punctuation())?,
        char if "[](){}|*+?.^$".contains(char) => return None,
        char => char,
    };
    // These have a meaning in patterns.
    let is_plain = !"*{}<>?#\\%".contains(char) && char.is_ascii_graphic();
    is_plain.then(|| (char.to_string(), chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_expressions_are_patterns() {
        for (regex, expected) in [
            (r"\.php$", &["*.php"][..]),
            (r"\.(jpe?g|png)$", &[]),
            (r"\.(jpg|png)$", &["*.jpg", "*.png"]),
            (r"^/api/", &["/api/*"]),
            (r"^/api", &["/api*/*"]),
            (r"^/api(/.*)?$", &["/api/*"]),
            (r"^/api(/|$)", &["/api/*"]),
            (r"^/api(/.*)?", &[]),
            (r"api(/.*)?$", &[]),
            (r"^/(login|register)$", &["/login", "/register"]),
            (r"^/login/?$", &["/login"]),
            (r"^/users/[0-9]+$", &["/users/{id}"]),
            (r"^/users/\d+/orders", &["/users/{id}/orders*/*"]),
            (r"^/v\d+/.*$", &["/v*/*"]),
            (r"/login", &[]),
            (r"^/a{2}", &[]),
            (r"^/(a|(b|c))", &[]),
            (r"^(", &[]),
            (r"\", &[]),
            ("", &[]),
            ("$", &[]),
            (r".*\.php$", &[]),
        ] {
            let patterns = of_regex(regex).map(|paths| paths.patterns());
            let expected: Vec<String> = expected.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(patterns.unwrap_or_default(), expected, "{regex}");
        }
        assert_eq!(of_regex("^/"), Some(Paths::All));
        let is_wide = |regex: &str| of_regex(regex).is_some_and(|paths| paths.is_wide());
        assert!(is_wide(r"^/users/\d+$") && is_wide("^/v[0-9]+/"));
        assert!(!is_wide("^/users/[^/]+$") && !is_wide(r"\.php$"));
    }
}
