//! Which routes of the configuration a request goes by, however its path is spelled.
//!
//! A route's path is that path; one that ends in `/*` is all below it as well. The path itself goes
//! before what it lies below, and of those the longest. A path that can be read in several ways
//! pays for each: so nobody gets around a limit by a spelling that this server reads in one way and
//! an upstream in another. Only in the very spelling of a route does a request go by that route and
//! no other, and only so does the exemption of a single path count.

use std::{collections::HashMap, sync::Arc};

use hyper::Method;

use super::{path::readings, price::Price};
use crate::{config, limits::Limits, metrics::RouteCounters};

/// A route of the configuration, where it is counted, and its limits if it has some of its own.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) configured: config::Route,
    pub(super) counts: Arc<RouteCounters>,
    pub(super) limits: Option<Arc<Limits>>,
}

/// All of them; those of a path stand together, each for another method.
#[derive(Default)]
pub(super) struct Routes {
    exact: HashMap<String, Vec<Route>>,
    /// By other spellings of the path: those that are limited.
    spelled: HashMap<String, Vec<Route>>,
    /// By what they lie below, longer ones before shorter ones.
    below: Vec<(String, Vec<Route>)>,
}

impl Routes {
    pub(super) fn new(routes: impl Iterator<Item = Route>) -> Routes {
        let (mut exact, mut spelled, mut below) = (HashMap::new(), HashMap::new(), HashMap::new());
        let add = |to: &mut HashMap<String, Vec<Route>>, path: &str, route: &Route| {
            to.entry(path.to_owned()).or_default().push(route.clone());
        };
        for route in routes {
            let path = &route.configured.path;
            if let Some(above) = route.configured.above() {
                add(&mut below, above, &route);
                readings(above)
                    .iter()
                    .filter(|spelling| *spelling != above)
                    .for_each(|spelling| add(&mut below, spelling, &route));
                continue;
            }
            add(&mut exact, path, &route);
            if !route.configured.exempt {
                add(&mut spelled, &other_end(path), &route);
                for spelling in readings(path) {
                    add(&mut spelled, &other_end(&spelling), &route);
                    add(&mut spelled, &spelling, &route);
                }
            }
        }
        let mut below: Vec<_> = below.into_iter().collect();
        below.sort_by_key(|(above, _)| std::cmp::Reverse(above.len()));
        Routes {
            exact,
            spelled,
            below,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// What a request is charged; `standard`, where no route says otherwise.
    pub(super) fn price<'a>(
        &'a self,
        method: &Method,
        path: &str,
        standard: &Price<'a>,
    ) -> Price<'a> {
        if let Some(route) = self.exact(method, path) {
            return standard.by(route);
        }
        let read = |path: &str| self.read(method, path, standard);
        readings(path)
            .iter()
            .fold(read(path), |price, reading| price.and(read(reading)))
    }

    /// The price of a path that is read as it stands.
    fn read<'a>(&'a self, method: &Method, path: &str, standard: &Price<'a>) -> Price<'a> {
        let spelled = self.spelled.get(path).and_then(|routes| of(method, routes));
        match (self.exact(method, path), spelled, self.below(method, path)) {
            (Some(route), _, _) | (None, Some(route), None) | (None, None, Some(route)) => {
                standard.by(route)
            }
            (None, Some(spelled), Some(below)) => standard.by(spelled).and(standard.by(below)),
            (None, None, None) => standard.clone(),
        }
    }

    fn exact(&self, method: &Method, path: &str) -> Option<&Route> {
        of(method, self.exact.get(path)?)
    }

    /// What it lies below ends where a part of the path does: `/api` and `/api/data`, not `/apis`,
    /// lie below `/api`.
    fn below(&self, method: &Method, path: &str) -> Option<&Route> {
        let is_below = |above: &str| {
            path.strip_prefix(above)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.below
            .iter()
            .filter(|(above, _)| is_below(above))
            .find_map(|(_, routes)| of(method, routes))
    }
}

/// The route of that very method, else for HEAD that of GET, else that of any method.
fn of<'a>(method: &Method, routes: &'a [Route]) -> Option<&'a Route> {
    let of = |method: Option<&Method>| {
        routes
            .iter()
            .find(|route| route.configured.method.as_ref() == method)
    };
    let as_get = || {
        if *method == Method::HEAD {
            of(Some(&Method::GET))
        } else {
            None
        }
    };
    of(Some(method)).or_else(as_get).or_else(|| of(None))
}

/// With a slash in the end, or without the one that is there: many servers do not tell them apart.
fn other_end(path: &str) -> String {
    path.strip_suffix('/')
        .map_or_else(|| format!("{path}/"), str::to_owned)
}
