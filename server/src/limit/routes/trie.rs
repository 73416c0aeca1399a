//! Tree of the segments of route paths.

use std::borrow::Cow;

use hyper::Method;

use super::route::Route;
use crate::request::path::{ParsedPath, PathError, fold_case};

/// Routes by the segments of their paths.
#[derive(Default)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// Names are compared without regard to letter case.
    folds_case: bool,
    /// Length of the longest name.
    longest: usize,
}

/// Routes of one path in all of its spellings, and of the paths below.
#[derive(Default)]
pub(super) struct Node {
    /// Sorted by name.
    children: Vec<(Box<[u8]>, usize)>,
    pub(super) exact: Vec<Spelling>,
    pub(super) covering: Vec<Spelling>,
}

/// Routes of one path in one spelling. They differ in their methods.
pub(super) struct Spelling {
    /// For covering routes, the path before `/*`.
    pub(super) path: Box<str>,
    pub(super) has_trailing_slash: bool,
    /// Some server removes a part of the path. It is not a reading of the path without that part.
    is_stripped: bool,
    routes: Vec<Route>,
}

impl Trie {
    pub(super) fn new(folds_case: bool) -> Trie {
        Trie {
            nodes: vec![Node::default()],
            folds_case,
            longest: 0,
        }
    }

    /// Adds a route, under the literal reading of its path.
    pub(super) fn add(&mut self, route: &Route) -> Result<(), PathError> {
        let parent = route.configured.wildcard_parent();
        let path = parent.unwrap_or(&route.configured.path);
        let parsed = ParsedPath::parse(path)?;
        let names = parsed
            .reading(0)
            .filter(|segment| !segment.is_droppable())
            .map(|segment| parsed.name(segment));
        let node = names.fold(0, |node, name| self.child_or_new(node, name));
        let spellings = match parent {
            Some(_) => &mut self.nodes[node].covering,
            None => &mut self.nodes[node].exact,
        };
        match spellings.iter_mut().find(|known| *known.path == *path) {
            Some(known) => known.routes.push(route.clone()),
            None => spellings.push(Spelling {
                path: path.into(),
                has_trailing_slash: parsed.has_trailing_slash(),
                is_stripped: parsed.is_stripped(),
                routes: vec![route.clone()],
            }),
        }
        Ok(())
    }

    fn child_or_new(&mut self, node: usize, name: &[u8]) -> usize {
        let name = self.key(name).into_owned();
        let new = self.nodes.len();
        let children = &mut self.nodes[node].children;
        match children.binary_search_by(|(known, _)| (**known).cmp(&name)) {
            Ok(position) => children[position].1,
            Err(position) => {
                self.longest = self.longest.max(name.len());
                children.insert(position, (name.into(), new));
                self.nodes.push(Node::default());
                new
            }
        }
    }

    /// Returns the child of a node that has this name.
    pub(super) fn child(&self, node: usize, name: &[u8]) -> Option<usize> {
        // A character folds to a quarter of its length at least.
        if name.len() > 4 * self.longest {
            return None;
        }
        let (children, name) = (&self.nodes[node].children, self.key(name));
        children
            .binary_search_by(|(known, _)| (**known).cmp(&name))
            .ok()
            .map(|position| children[position].1)
    }

    pub(super) fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    fn key<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        if self.folds_case {
            fold_case(name)
        } else {
            Cow::Borrowed(name)
        }
    }
}

impl Spelling {
    /// Returns the route for a method, if some server reads the path as this one.
    pub(super) fn find(&self, method: &Method, path: &ParsedPath<'_>) -> Option<&Route> {
        if self.is_stripped && !path.is_stripped() {
            return None;
        }
        find_method(method, &self.routes)
    }
}

/// Returns the route of this method, else the one of GET for HEAD, else the one for all methods.
/// Some servers ignore the letter case of methods.
fn find_method<'a>(method: &Method, routes: &'a [Route]) -> Option<&'a Route> {
    let find = |name: &str| {
        routes.iter().find(|route| {
            let method = route.configured.method.as_ref();
            method.is_some_and(|method| method.as_str().eq_ignore_ascii_case(name))
        })
    };
    let as_get = || {
        let is_head = method.as_str().eq_ignore_ascii_case("HEAD");
        is_head.then(|| find("GET")).flatten()
    };
    let for_all = || {
        routes
            .iter()
            .find(|route| route.configured.method.is_none())
    };
    find(method.as_str()).or_else(as_get).or_else(for_all)
}
