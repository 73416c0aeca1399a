//! Matching of requests to configured routes, independent of the spelling of the path.
//!
//! A route applies to its path; a path that ends in `/*` covers all paths below as well. An exact
//! path takes precedence over a covering one, and a longer covering path over a shorter one. A path
//! with several readings is charged for each of them, so that a client cannot bypass a limit by a
//! spelling that this server and an upstream read differently. Only a path that is spelled exactly
//! like the route is charged by that route alone, and only then an exemption of a single path
//! applies.

use std::{collections::HashMap, sync::Arc};

use hyper::Method;

use super::{
    limiter::Limiter,
    price::{Fee, Price},
};
use crate::{config, metrics::RouteCounters, request::path::readings};

/// Configured route with its counters, and its limiter if it has its own.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) configured: config::Route,
    pub(super) counters: Arc<RouteCounters>,
    pub(super) limiter: Option<Arc<Limiter>>,
}

impl Route {
    /// Returns the price of a request to the route. A route without a cost keeps the cost of
    /// `default`.
    fn price<'a>(&'a self, default: &Price<'a>) -> Price<'a> {
        let default_cost = default.fee.map_or(1, |fee| fee.cost);
        let fee = Fee {
            limiter: self.limiter.as_ref(),
            cost: self.configured.cost.unwrap_or(default_cost),
        };
        Price {
            fee: (!self.configured.exempt).then_some(fee),
            more: Vec::new(),
            counters: &self.counters,
        }
    }
}

/// Configured routes by path. The routes of one path differ in their methods.
#[derive(Default)]
pub(super) struct Routes {
    exact: HashMap<String, Vec<Route>>,
    /// Limited routes, by alternative spellings of their path.
    alternative: HashMap<String, Vec<Route>>,
    /// Routes that cover paths below a prefix, longer prefixes first.
    covering: Vec<(String, Vec<Route>)>,
}

impl Routes {
    pub(super) fn new(routes: impl Iterator<Item = Route>) -> Routes {
        let (mut exact, mut alternative, mut covering) =
            (HashMap::new(), HashMap::new(), HashMap::new());
        let add = |to: &mut HashMap<String, Vec<Route>>, path: &str, route: &Route| {
            to.entry(path.to_owned()).or_default().push(route.clone());
        };
        for route in routes {
            let path = &route.configured.path;
            if let Some(prefix) = route.configured.wildcard_parent() {
                add(&mut covering, prefix, &route);
                readings(prefix)
                    .iter()
                    .filter(|spelling| *spelling != prefix)
                    .for_each(|spelling| add(&mut covering, spelling, &route));
                continue;
            }
            add(&mut exact, path, &route);
            if !route.configured.exempt {
                add(&mut alternative, &with_toggled_slash(path), &route);
                for spelling in readings(path) {
                    add(&mut alternative, &with_toggled_slash(&spelling), &route);
                    add(&mut alternative, &spelling, &route);
                }
            }
        }
        let mut covering: Vec<_> = covering.into_iter().collect();
        covering.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Routes {
            exact,
            alternative,
            covering,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.covering.is_empty()
    }

    /// Returns the price of a request, or `default` when no route matches.
    pub(super) fn price<'a>(
        &'a self,
        method: &Method,
        path: &str,
        default: &Price<'a>,
    ) -> Price<'a> {
        if let Some(route) = self.exact(method, path) {
            return route.price(default);
        }
        let price_of = |path: &str| self.price_of_reading(method, path, default);
        readings(path)
            .iter()
            .fold(price_of(path), |price, reading| {
                price.combine(price_of(reading))
            })
    }

    /// Returns the price of a literal path.
    fn price_of_reading<'a>(
        &'a self,
        method: &Method,
        path: &str,
        default: &Price<'a>,
    ) -> Price<'a> {
        let alternative = self.alternative.get(path);
        let alternative = alternative.and_then(|routes| find_method(method, routes));
        let covering = self.covering(method, path);
        match (self.exact(method, path), alternative, covering) {
            (Some(route), _, _) | (None, Some(route), None) | (None, None, Some(route)) => {
                route.price(default)
            }
            (None, Some(alternative), Some(covering)) => {
                alternative.price(default).combine(covering.price(default))
            }
            (None, None, None) => default.clone(),
        }
    }

    fn exact(&self, method: &Method, path: &str) -> Option<&Route> {
        find_method(method, self.exact.get(path)?)
    }

    /// Finds the covering route. A prefix ends at a segment: `/api` covers `/api` and `/api/data`,
    /// not `/apis`.
    fn covering(&self, method: &Method, path: &str) -> Option<&Route> {
        let is_covered = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.covering
            .iter()
            .filter(|(prefix, _)| is_covered(prefix))
            .find_map(|(_, routes)| find_method(method, routes))
    }
}

/// Returns the route of this method, else the one of GET for HEAD, else the one for all methods.
fn find_method<'a>(method: &Method, routes: &'a [Route]) -> Option<&'a Route> {
    let find = |method: Option<&Method>| {
        routes
            .iter()
            .find(|route| route.configured.method.as_ref() == method)
    };
    let as_get = || {
        if *method == Method::HEAD {
            find(Some(&Method::GET))
        } else {
            None
        }
    };
    find(Some(method)).or_else(as_get).or_else(|| find(None))
}

/// Adds or removes the trailing slash. Many servers treat both forms as the same path.
fn with_toggled_slash(path: &str) -> String {
    path.strip_suffix('/')
        .map_or_else(|| format!("{path}/"), str::to_owned)
}
