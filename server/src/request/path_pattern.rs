//! Patterns of paths.

use super::path::{Name, ParsedPath, fold_case, is_end};

/// Maximum number of segments of a pattern.
const MAX_SEGMENTS: usize = 32;

/// Pattern of paths, such as `/api/*`, `/users/{id}/orders`, `/*/login` and `*.php`.
///
/// It is compared with the names of a path's segments, which are decoded. A router such as matchit
/// finds one pattern for one spelling; here every pattern counts that matches any reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    segments: Vec<SegmentPattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SegmentPattern {
    Literal(Vec<u8>),
    /// `{id}` or `*`: any one segment.
    One,
    /// `*.php`, `report-*`: a segment with this beginning and this end.
    Affixed(Vec<u8>, Vec<u8>),
    /// `**`, and `*` at the end: any number of segments.
    Any,
}

/// How closely a pattern describes a path: of two patterns that match, the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Specificity {
    literals: usize,
    is_exact: bool,
    segments: usize,
}

impl PathPattern {
    /// Parses a pattern. Returns what was expected instead.
    pub(crate) fn parse(text: &str) -> Result<PathPattern, &'static str> {
        let from_root = match text.strip_prefix('/') {
            Some(rest) => rest.to_owned(),
            None if text.starts_with('*') && text.len() > 1 && !text.contains('/') => {
                format!("**/{text}")
            }
            None => {
                return Err("a path that begins with /, such as /api/*, or a suffix such as *.php");
            }
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\".contains(&byte);
        if !from_root.bytes().all(is_plain) {
            return Err("a path without query, such as /api/*");
        }
        let parts: Vec<&str> = match &*from_root {
            "" => Vec::new(),
            path => path.trim_end_matches('/').split('/').collect(),
        };
        if parts.len() > MAX_SEGMENTS {
            return Err("at most 32 segments");
        }
        let last = parts.len().saturating_sub(1);
        let segments = parts.iter().enumerate().map(|(at, part)| match *part {
            "**" => Ok(SegmentPattern::Any),
            "*" if at == last => Ok(SegmentPattern::Any),
            "*" => Ok(SegmentPattern::One),
            part => SegmentPattern::parse(part),
        });
        Ok(PathPattern {
            segments: segments.collect::<Result<_, _>>()?,
        })
    }

    /// Returns the pattern in the form that [`fold_case`] makes of names.
    pub(crate) fn folded(&self) -> PathPattern {
        let fold = |name: &[u8]| fold_case(name).into_owned();
        let folded = |segment: &SegmentPattern| match segment {
            SegmentPattern::Literal(name) => SegmentPattern::Literal(fold(name)),
            SegmentPattern::Affixed(start, end) => SegmentPattern::Affixed(fold(start), fold(end)),
            segment @ (SegmentPattern::One | SegmentPattern::Any) => segment.clone(),
        };
        PathPattern {
            segments: self.segments.iter().map(folded).collect(),
        }
    }

    /// Returns true if the pattern describes a path with segments of these names, in some form of each.
    /// Takes a time proportional to the product of both lengths at most.
    pub(crate) fn matches<N: AsRef<[u8]>>(&self, names: &[Name<N>]) -> bool {
        // A bit for each number of segments of the pattern that may describe the names so far.
        let mut described = self.with_empty(1_u64);
        for name in names {
            let mut next = if name.is_optional { described } else { 0 };
            for (at, segment) in self.segments.iter().enumerate() {
                if described >> at & 1 == 1
                    && name.forms().any(|form| segment.matches(form.as_ref()))
                {
                    let is_any = *segment == SegmentPattern::Any;
                    next |= 1 << (at + usize::from(!is_any));
                }
            }
            if next == 0 {
                return false;
            }
            described = self.with_empty(next);
        }
        described >> self.segments.len() & 1 == 1
    }

    /// Adds that an `Any` describes no segment.
    fn with_empty(&self, mut described: u64) -> u64 {
        for (at, segment) in self.segments.iter().enumerate() {
            if *segment == SegmentPattern::Any {
                described |= (described >> at & 1) << (at + 1);
            }
        }
        described
    }

    pub(crate) fn specificity(&self) -> Specificity {
        let count = |is: fn(&SegmentPattern) -> bool| {
            self.segments.iter().filter(|segment| is(segment)).count()
        };
        Specificity {
            literals: count(|segment| matches!(segment, SegmentPattern::Literal(_))),
            is_exact: count(|segment| *segment == SegmentPattern::Any) == 0,
            segments: self.segments.len(),
        }
    }

    /// Returns the names with which every path of the pattern begins.
    pub(crate) fn literal_prefix(&self) -> Vec<Vec<u8>> {
        let names = self.segments.iter().map_while(|segment| match segment {
            SegmentPattern::Literal(name) => Some(name.clone()),
            _ => None,
        });
        names.collect()
    }
}

impl SegmentPattern {
    fn parse(part: &str) -> Result<SegmentPattern, &'static str> {
        let is_named = part.len() > 2 && part.starts_with('{') && part.ends_with('}');
        if is_named && !part[1..part.len() - 1].contains(['{', '}', '*']) {
            return Ok(SegmentPattern::One);
        }
        if part.contains(['{', '}', '<', '>']) || part.starts_with(':') {
            return Err("a placeholder that is a whole segment, such as /users/{id}");
        }
        match part.split_once('*') {
            None => Ok(SegmentPattern::Literal(literal(part)?)),
            Some((_, end)) if end.contains('*') => Err("at most one * in a segment"),
            Some((start, end)) => {
                let affix = |text: &str| {
                    if text.is_empty() || text == "." {
                        Ok(text.as_bytes().to_vec())
                    } else {
                        literal(text)
                    }
                };
                Ok(SegmentPattern::Affixed(affix(start)?, affix(end)?))
            }
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            SegmentPattern::Literal(literal) => literal == name,
            SegmentPattern::One | SegmentPattern::Any => true,
            SegmentPattern::Affixed(start, end) => {
                let is_described = |name: &[u8]| {
                    name.len() >= start.len() + end.len()
                        && name.starts_with(start)
                        && name.ends_with(end)
                };
                // A literal name may end earlier for some server.
                let mut ends = (0..name.len()).filter(|&at| is_end(name[at]));
                is_described(name) || ends.any(|at| is_described(&name[..at]))
            }
        }
    }
}

/// Returns the name that servers read for a segment of a pattern.
fn literal(part: &str) -> Result<Vec<u8>, &'static str> {
    const EXPECTED: &str = "segments without . and .., without path parameters, and not empty";
    let path = format!("/{part}");
    let parsed = ParsedPath::parse(&path).map_err(|_| EXPECTED)?;
    match parsed.names() {
        Ok(names) if names.len() == 1 && names[0].len() == 1 && !parsed.is_stripped() => {
            match &names[0][0] {
                name if name.is_optional => Err(EXPECTED),
                name => Ok(name.name.to_vec()),
            }
        }
        _ => Err(EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let parsed = ParsedPath::parse(path).unwrap();
        let pattern = PathPattern::parse(pattern).unwrap();
        let mut readings = parsed.names().unwrap().into_iter();
        readings.any(|names| pattern.matches(&names))
    }

    #[test]
    fn patterns_describe_paths() {
        for (pattern, matching, others) in [
            ("/", &["/", "//", "/."][..], &["/a"][..]),
            (
                "/login",
                &[
                    "/login",
                    "/login/",
                    "//login",
                    "/%6cogin",
                    "/x/../login",
                    "/login;v=1",
                ],
                &["/", "/logins", "/login/x", "/LOGIN"],
            ),
            (
                "/api/*",
                &["/api", "/api/", "/api/a", "/api/a/b"],
                &["/", "/apis"],
            ),
            ("/*", &["/", "/a", "/a/b"], &[]),
            (
                "/users/{id}/orders",
                &["/users/7/orders", "/users/7/orders/"],
                &["/users/orders", "/users/7/8/orders", "/users/7"],
            ),
            ("/*/login", &["/a/login"], &["/login", "/a/b/login", "/a"]),
            (
                "/t/*/files/*",
                &["/t/a/files", "/t/a/files/x/y"],
                &["/t/a", "/t/files"],
            ),
            (
                "/**/login",
                &["/login", "/a/login", "/a/b/login"],
                &["/login/a"],
            ),
            (
                "*.php",
                &["/x.php", "/a/b/x.php", "/.php", "/x.php/"],
                &["/x.php7", "/xphp"],
            ),
            (
                "/files/report-*",
                &["/files/report-1", "/files/report-"],
                &["/files/report", "/files/report-1/x"],
            ),
            ("/a*b", &["/ab", "/axb"], &["/a", "/b", "/aB"]),
            ("/caf%C3%A9", &["/caf%c3%a9"], &["/cafe"]),
        ] {
            for path in matching {
                assert!(matches(pattern, path), "{pattern} {path}");
            }
            for path in others {
                assert!(!matches(pattern, path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn a_script_with_a_path_after_it_belongs_to_the_script() {
        assert!(matches("/*.php", "/x.php") && !matches("/*.php", "/a/x.php"));
        // Some frameworks route by the rest of the path.
        assert!(matches("/login", "/index.php/login"));
    }

    #[test]
    fn folded_patterns_match_folded_names() {
        let pattern = PathPattern::parse("/Login/{id}/*.PHP").unwrap().folded();
        let names = ["login".as_bytes(), b"X", b"a.php"].map(Name::new);
        assert!(pattern.matches(&names));
        assert!(
            !PathPattern::parse("/Login/{id}/*.PHP")
                .unwrap()
                .matches(&names)
        );
    }

    #[test]
    fn invalid_patterns_are_refused() {
        for text in [
            "", "login", "*/a", "/a?b", "/a#b", "/a\\b", "/a b", "/a//b", "/a/./b", "/a/../b",
            "/{id", "/x{id}", "/:id", "/<id>", "/{}", "/a*b*c", "/a;b", "/{a*}",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
        assert!(PathPattern::parse(&"/a".repeat(33)).is_err());
    }

    #[test]
    fn closer_patterns_are_more_specific() {
        let specificity = |text: &str| PathPattern::parse(text).unwrap().specificity();
        let sorted = ["/*", "/{id}", "*.php", "/a/*", "/a/{id}", "/a/b/*", "/a/b"];
        for pair in sorted.windows(2) {
            if pair[0] != "/{id}" {
                assert!(specificity(pair[0]) < specificity(pair[1]), "{pair:?}");
            }
        }
    }

    #[test]
    fn many_wildcards_take_no_exponential_time() {
        let pattern = PathPattern::parse(&format!("{}/b", "/**/a".repeat(15))).unwrap();
        let names = vec![Name::new(b"a"); 64];
        assert!(!pattern.matches(&names));
    }
}
