//! Requests that a limit applies to, among locations or routers of which one is chosen.

use super::pattern::{Paths, with_methods};

/// Location or router, of which each request has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) paths: Paths,
    /// Empty: all.
    pub(crate) methods: Vec<String>,
    /// The limit applies to its requests.
    pub(crate) is_limited: bool,
}

/// Requests of a limit, as keys of a table of `[[limits]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// `match`. Empty: all requests.
    pub(crate) patterns: Vec<String>,
    /// `cost`: 0 for the places that are not limited, within places that are.
    pub(crate) costs: Vec<(String, u32)>,
}

/// Returns the requests of the places that are limited, without those of the other places within
/// them.
pub(crate) fn scope(places: &[Place]) -> Scope {
    let (limited, others): (Vec<&Place>, Vec<&Place>) =
        places.iter().partition(|place| place.is_limited);
    let mut scope = Scope::default();
    if !limited.iter().any(|place| place.is_all()) {
        for place in &limited {
            add(&mut scope.patterns, place.requests(&place.paths.patterns()));
        }
    }
    let meets = |outer: &Place, inner: &Place| {
        outer.paths.covers(&inner.paths) || outer.paths.may_meet(&inner.paths)
    };
    let exempt: Vec<&Place> = others
        .into_iter()
        .filter(|place| !place.is_all() && !place.paths.is_wide())
        .filter(|place| limited.iter().any(|outer| meets(outer, place)))
        .collect();
    for place in &exempt {
        for pattern in place.requests(&place.paths.patterns()) {
            scope.costs.push((pattern, 0));
        }
    }
    for inner in limited.iter().filter(|place| !place.is_all()) {
        let within = |outer: &&&Place| {
            outer.paths.covers(&inner.paths)
                || inner.is_prefix_before_regex(outer)
                || inner.is_anchored() && outer.paths.may_meet(&inner.paths)
        };
        if exempt.iter().any(|outer| within(&outer)) {
            for pattern in inner.requests(&inner.paths.patterns()) {
                scope.costs.push((pattern, 1));
            }
        }
    }
    add_regexes(&mut scope, &limited, &exempt);
    scope
}

/// Adds costs where a regular expression counts more than the prefix around it.
fn add_regexes(scope: &mut Scope, limited: &[&Place], exempt: &[&Place]) {
    let pairs = [(limited, exempt, 1), (exempt, limited, 0)];
    for (regexes, prefixes, cost) in pairs {
        for regex in regexes.iter().filter(|place| place.is_regex()) {
            for prefix in prefixes.iter() {
                let Paths::Prefix {
                    start,
                    beats_regex: false,
                } = &prefix.paths
                else {
                    continue;
                };
                let suffixes = regex.paths.patterns().into_iter();
                let within = suffixes
                    .filter(|pattern| pattern.starts_with('*'))
                    .map(|pattern| format!("{}/**/{pattern}", start.trim_end_matches('/')));
                for pattern in regex.requests(&within.collect::<Vec<_>>()) {
                    let is_needed = cost == 1 || scope.costs.iter().any(|(_, cost)| *cost == 1);
                    if is_needed && !scope.costs.iter().any(|(known, _)| *known == pattern) {
                        scope.costs.push((pattern, cost));
                    }
                }
            }
        }
    }
}

fn add(patterns: &mut Vec<String>, more: Vec<String>) {
    for pattern in more {
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
}

impl Place {
    fn is_all(&self) -> bool {
        self.paths == Paths::All && self.methods.is_empty()
    }

    fn is_regex(&self) -> bool {
        matches!(self.paths, Paths::Patterns { .. })
    }

    /// Returns true for patterns that begin with `/`.
    fn is_anchored(&self) -> bool {
        self.is_regex()
            && self
                .paths
                .patterns()
                .iter()
                .all(|pattern| pattern.starts_with('/'))
    }

    /// Returns true if this prefix counts although the regular expression matches.
    fn is_prefix_before_regex(&self, regex: &Place) -> bool {
        let is_first = |paths: &Paths| match paths {
            Paths::Prefix { beats_regex, .. } => *beats_regex,
            Paths::Exact(_) => true,
            _ => false,
        };
        regex.is_regex() && is_first(&self.paths)
    }

    fn requests(&self, patterns: &[String]) -> Vec<String> {
        if patterns.is_empty() && !self.methods.is_empty() {
            return vec![with_methods(&self.methods, None)];
        }
        let patterns = patterns.iter();
        patterns
            .map(|pattern| with_methods(&self.methods, Some(pattern)))
            .collect()
    }
}
