//! Matching of requests to configured routes, independent of the spelling of the path.
//!
//! A route applies to its path; a path that ends in `/*` covers all paths below as well. An exact
//! path takes precedence over a covering one, and a longer covering path over a shorter one. A path
//! belongs to the routes of all of its readings, and is charged the highest cost in each of their
//! buckets, so that a client cannot bypass a limit by a spelling that this server and an upstream
//! read differently. A path with only one reading that is spelled exactly like a route is charged
//! by that route alone, and only then an exemption applies.

mod route;
mod trie;

#[cfg(test)]
mod tests;

use hyper::Method;

pub(super) use self::route::Route;
use self::trie::{Spelling, Trie};
use super::price::Price;
use crate::request::path::{ParsedPath, PathError, Segment};

/// Configured routes by path.
#[derive(Default)]
pub(super) struct Routes {
    /// For upstreams that tell `/A` from `/a`.
    exact_case: Trie,
    /// For upstreams that do not; `None`: the configuration says that there are none.
    any_case: Option<Trie>,
    has_uppercase: bool,
    is_empty: bool,
}

impl Routes {
    pub(super) fn new(routes: impl Iterator<Item = Route>, is_case_sensitive: bool) -> Routes {
        let mut all = Routes {
            exact_case: Trie::new(false),
            any_case: (!is_case_sensitive).then(|| Trie::new(true)),
            has_uppercase: false,
            is_empty: true,
        };
        for route in routes {
            all.is_empty = false;
            let path = ParsedPath::parse(&route.configured.path);
            all.has_uppercase |= path.is_ok_and(|path| path.has_uppercase());
            // The configuration has no path that is rejected.
            for trie in [Some(&mut all.exact_case), all.any_case.as_mut()] {
                let _ = trie.map(|trie| trie.add(&route));
            }
        }
        all
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Returns the price of a request, or `default` when no route matches.
    pub(super) fn price<'a>(
        &'a self,
        method: &Method,
        path: &str,
        default: &Price<'a>,
    ) -> Result<Price<'a>, PathError> {
        let parsed = ParsedPath::parse(path)?;
        let mut matches = Matches {
            method,
            path,
            parsed: &parsed,
            default,
            exact: None,
            others: None,
            is_spelled: false,
            is_exempt: false,
        };
        let case_matters = self.has_uppercase || parsed.has_uppercase();
        for reading in 0..parsed.reading_count() {
            if let Some(trie) = &self.any_case {
                matches.add_reading(trie, parsed.reading(reading));
            }
            if case_matters || self.any_case.is_none() {
                matches.add_reading(&self.exact_case, parsed.reading(reading));
            }
        }
        Ok(matches.price())
    }
}

/// Prices of the routes that a path belongs to.
struct Matches<'a, 'p> {
    method: &'p Method,
    path: &'p str,
    parsed: &'p ParsedPath<'p>,
    default: &'p Price<'a>,
    /// Of routes whose path is a reading.
    exact: Option<Price<'a>>,
    /// Of covering routes, and the default.
    others: Option<Price<'a>>,
    /// The path is spelled exactly like that of a route.
    is_spelled: bool,
    /// The path, or its beginning, is spelled exactly like that of an exempt route.
    is_exempt: bool,
}

impl<'a> Matches<'a, '_> {
    /// Adds the routes of a reading.
    fn add_reading<'s>(&mut self, trie: &'a Trie, segments: impl Iterator<Item = &'s Segment>) {
        // The node, and the last node on the way to it that has a covering route.
        let (mut node, mut covering) = (0, None);
        let mut added = None;
        for segment in segments {
            if self.is_covered(trie, node) {
                covering = Some(node);
            }
            // To some server the name is unknown, and so is everything below.
            if segment.is_ambiguous() && added != Some(covering) {
                self.add_covering(trie, covering);
                added = Some(covering);
            }
            if !segment.is_droppable() {
                match trie.child(node, self.parsed.name(segment)) {
                    Some(child) => node = child,
                    None => return self.add_covering(trie, covering),
                }
            }
            if segment.may_end() {
                self.add_end(trie, node, covering);
            }
        }
        self.add_end(trie, node, covering);
    }

    /// Adds the routes of a path that ends at a node, below the covering routes of another one.
    fn add_end(&mut self, trie: &'a Trie, node: usize, covering: Option<usize>) {
        let mut is_found = false;
        for spelling in &trie.node(node).exact {
            let Some(route) = spelling.find(self.method, self.parsed) else {
                continue;
            };
            let is_spelled = *spelling.path == *self.path;
            add(&mut self.exact, route.price(self.default));
            self.is_spelled |= is_spelled;
            self.is_exempt |= is_spelled && route.configured.exempt;
            // Many servers take a path with a trailing slash for the one without it, some do not.
            is_found |= spelling.has_trailing_slash == self.parsed.has_trailing_slash();
        }
        if !is_found {
            let covering = if self.is_covered(trie, node) {
                Some(node)
            } else {
                covering
            };
            self.add_covering(trie, covering);
        }
    }

    /// Adds the covering routes of a node, or the default if there is none.
    fn add_covering(&mut self, trie: &'a Trie, node: Option<usize>) {
        let Some(node) = node else {
            return add(&mut self.others, self.default.clone());
        };
        for spelling in &trie.node(node).covering {
            if let Some(route) = spelling.find(self.method, self.parsed) {
                // A prefix ends at a segment: `/api` covers `/api` and `/api/data`, not `/apis`.
                let is_spelled = self
                    .path
                    .strip_prefix(&*spelling.path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                add(&mut self.others, route.price(self.default));
                self.is_exempt |= is_spelled && route.configured.exempt;
            }
        }
    }

    fn is_covered(&self, trie: &Trie, node: usize) -> bool {
        let covers = |spelling: &Spelling| spelling.find(self.method, self.parsed).is_some();
        trie.node(node).covering.iter().any(covers)
    }

    /// Returns the price of the path. An exemption ranks below every cost, and needs a plain path.
    fn price(self) -> Price<'a> {
        let price = match (self.exact, self.others) {
            (Some(exact), Some(others)) if !self.is_spelled => Some(exact.combine(others)),
            (exact, others) => exact.or(others),
        };
        let may_be_exempt = self.is_exempt && self.parsed.is_canonical();
        price
            .filter(|price| price.fee.is_some() || may_be_exempt)
            .unwrap_or_else(|| self.default.clone())
    }
}

fn add<'a>(to: &mut Option<Price<'a>>, price: Price<'a>) {
    *to = Some(match to.take() {
        Some(known) => known.combine(price),
        None => price,
    });
}
