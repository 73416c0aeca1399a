//! Patterns of `match` for the paths of other products.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{request::request_pattern::RequestPattern, values::Value};

/// Characters of a path that patterns have in escapes.
const ESCAPED: AsciiSet = CONTROLS.add(b' ').add(b'%').add(b'"');

/// Paths of a location or a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Paths {
    All,
    Exact(String),
    /// All paths that begin with this text, also within a segment.
    Prefix {
        start: String,
        /// The prefix counts although a regular expression matches as well.
        beats_regex: bool,
    },
    /// Patterns of a regular expression.
    Patterns {
        patterns: Vec<String>,
        /// They describe more paths than the expression.
        is_wide: bool,
    },
}

impl Paths {
    /// Returns an exact path, or `None` if patterns cannot express it.
    pub(crate) fn exact(path: &str) -> Option<Paths> {
        let path = escaped(path)?;
        is_valid(&path).then_some(Paths::Exact(path))
    }

    /// Returns the paths with a prefix, or `None` if patterns cannot express it.
    pub(crate) fn prefix(path: &str, beats_regex: bool) -> Option<Paths> {
        if path.is_empty() || path == "/" {
            return Some(Paths::All);
        }
        let start = escaped(path)?;
        let paths = Paths::Prefix { start, beats_regex };
        paths
            .patterns()
            .iter()
            .all(|pattern| is_valid(pattern))
            .then_some(paths)
    }

    /// Returns the patterns of `match`. Empty: all paths.
    pub(crate) fn patterns(&self) -> Vec<String> {
        match self {
            Paths::All => Vec::new(),
            Paths::Exact(path) => vec![path.clone()],
            Paths::Prefix { start, .. } if start.ends_with('/') => vec![format!("{start}*")],
            Paths::Prefix { start, .. } => vec![format!("{start}*/*")],
            Paths::Patterns { patterns, .. } => patterns.clone(),
        }
    }

    /// Returns true if the patterns describe other paths as well.
    pub(crate) fn is_wide(&self) -> bool {
        matches!(self, Paths::Patterns { is_wide: true, .. })
    }

    /// Returns the paths of a location within another one: a suffix below a prefix.
    pub(crate) fn within(self, outer: &Paths) -> Paths {
        let (Paths::Patterns { patterns, is_wide }, Paths::Prefix { start, .. }) = (&self, outer)
        else {
            return self;
        };
        let below = patterns.iter().map(|pattern| match pattern.as_str() {
            suffix if suffix.starts_with('*') => {
                format!("{}/**/{suffix}", start.trim_end_matches('/'))
            }
            pattern => pattern.to_owned(),
        });
        Paths::Patterns {
            patterns: below.collect(),
            is_wide: *is_wide,
        }
    }

    /// Returns true if the patterns of a regular expression may describe paths of this set.
    pub(crate) fn may_meet(&self, regex: &Paths) -> bool {
        let Paths::Patterns { patterns, .. } = regex else {
            return false;
        };
        let literal = |pattern: &str| {
            let end = pattern.find(['*', '{']).unwrap_or(pattern.len());
            pattern[..end].to_owned()
        };
        match self {
            Paths::All => true,
            Paths::Prefix {
                start,
                beats_regex: false,
            } => patterns.iter().any(|pattern| {
                let literal = literal(pattern);
                literal.starts_with(start) || start.starts_with(&literal)
            }),
            _ => false,
        }
    }

    /// Returns true if all paths of the other set are in this one.
    pub(crate) fn covers(&self, other: &Paths) -> bool {
        match (self, other) {
            (Paths::All, _) => true,
            (Paths::Prefix { start, .. }, Paths::Exact(path)) => path.starts_with(start),
            (Paths::Prefix { start, .. }, Paths::Prefix { start: inner, .. }) => {
                inner.starts_with(start)
            }
            _ => self == other,
        }
    }
}

/// Returns true if the server accepts the pattern.
pub(crate) fn is_valid(pattern: &str) -> bool {
    RequestPattern::from_text(pattern).is_some()
}

/// Returns a pattern of requests with these methods; of all when there are none.
pub(crate) fn with_methods(methods: &[String], path: Option<&str>) -> String {
    match (methods, path) {
        ([], path) => path.unwrap_or("*").to_owned(),
        (methods, path) => format!("{} {}", methods.join(","), path.unwrap_or("*")),
    }
}

/// Returns a literal path in the form of patterns.
fn escaped(path: &str) -> Option<String> {
    let has_meaning = |char: char| "*{}<>?#\\".contains(char);
    let is_literal = path.starts_with('/') && !path.contains(has_meaning);
    is_literal.then(|| utf8_percent_encode(path, &ESCAPED).to_string())
}
