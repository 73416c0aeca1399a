//! Routes: the cost of requests to a path, and the bucket that is charged.

use std::collections::HashSet;

use hyper::Method;
use tollgate::Quota;

use super::{file, quota, rules::Rule};
use crate::{
    endpoint::{UPLOAD, UPLOAD_COST},
    placement::Placement,
    request::path::ParsedPath,
    values::PolicyName,
};

/// Cost, quota or exemption of the requests to a path, of one method or of all. A route for GET
/// applies to HEAD as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) method: Option<Method>,
    /// A path. When it ends with `/*`, the route covers the path before that and all paths below.
    pub(crate) path: String,
    /// Name of the route's policy in headers; `None`: its label.
    pub(crate) name: Option<PolicyName>,
    /// Requests are never limited.
    pub(crate) exempt: bool,
    /// `None`: the cost that the request has without a route.
    pub(crate) cost: Option<u32>,
    /// `None`: requests are charged to the client's default bucket.
    pub(crate) own_quota: Option<RouteQuota>,
}

/// A route's own quota: every client has a bucket for the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteQuota {
    pub(crate) quota: Quota,
    /// `None`: that of the default buckets, up to the maximum for a route.
    pub(crate) max_clients: Option<usize>,
}

impl Route {
    /// Returns the route's name in metrics.
    pub(crate) fn label(&self) -> String {
        match &self.method {
            Some(method) => format!("{method} {}", self.path),
            None => self.path.clone(),
        }
    }

    /// Returns the name of the policy of the route's own quota, in headers.
    pub(crate) fn policy(&self) -> String {
        match &self.name {
            Some(name) => name.as_str().to_owned(),
            None => self.label(),
        }
    }

    /// Returns the path before `/*`, when the route covers more than one path.
    pub(crate) fn wildcard_parent(&self) -> Option<&str> {
        self.path.strip_suffix("/*")
    }
}

/// Validates the routes of the file.
pub(super) fn merge(given: Vec<file::Route>, placement: &Placement) -> Result<Vec<Route>, String> {
    let mut seen = HashSet::new();
    let mut policies =
        HashSet::from([PolicyName::DEFAULT, PolicyName::FAILED_CREDENTIALS].map(str::to_owned));
    let mut routes = Vec::new();
    for (index, given) in given.into_iter().enumerate() {
        let own_quota = own_quota(&given).map_err(|error| format!("routes[{index}].{error}"))?;
        let cost = given.cost.map(|cost| cost.get());
        match (own_quota, cost, given.exempt) {
            (None, Some(_), true) => {
                return Err(format!(
                    "routes[{index}]: expected a cost or exempt = true, got both"
                ));
            }
            (Some(_), _, true) => {
                return Err(format!(
                    "routes[{index}]: expected a quota or exempt = true, got both"
                ));
            }
            (None, None, false) => {
                return Err(format!(
                    "routes[{index}]: expected a cost, a quota (such as capacity with refill_rate) or exempt = true, got none"
                ));
            }
            (Some(RouteQuota { quota, .. }), Some(cost), false) if cost > quota.capacity() => {
                let capacity = quota.capacity();
                return Err(format!(
                    "routes[{index}].cost: expected at most the route's capacity, {capacity}, got {cost}"
                ));
            }
            _ => {}
        }
        let (method, path) = (given.method, given.path.into_string());
        check_path(&path, placement).map_err(|error| format!("routes[{index}].path: {error}"))?;
        if !seen.insert((method.clone(), path.clone())) {
            return Err(format!(
                "routes[{index}]: expected each method and path once, got {path} again"
            ));
        }
        let route = Route {
            method,
            path,
            name: given.name,
            exempt: given.exempt,
            cost,
            own_quota,
        };
        if own_quota.is_none() && route.name.is_some() {
            return Err(format!(
                "routes[{index}].name: expected a quota of the route's own beside it, got none"
            ));
        }
        if own_quota.is_some() && !policies.insert(route.policy()) {
            return Err(format!(
                "routes[{index}].name: expected each name of a policy once, got {} again",
                route.policy()
            ));
        }
        routes.push(route);
    }
    if placement.gateway_prefix.is_none() {
        check_upload(&routes)?;
    }
    Ok(routes)
}

/// Checks that the cost of every route fits into the bucket that it is charged to: at least into
/// that of one client with a rule.
pub(super) fn check_costs(routes: &[Route], default: Quota, rules: &[Rule]) -> Result<(), String> {
    let rules = rules.iter().map(|rule| rule.quota.capacity());
    let capacity = rules.fold(default.capacity(), u32::max);
    let costs = routes.iter().enumerate();
    let mut costs = costs.filter(|(_, route)| route.own_quota.is_none());
    match costs.find(|(_, route)| route.cost.is_some_and(|cost| cost > capacity)) {
        None => Ok(()),
        Some((index, route)) => Err(format!(
            "routes[{index}].cost: expected at most {capacity}, the largest capacity of the default quota and the rules, got {}; or give the route a quota of its own",
            route.cost.unwrap_or_default()
        )),
    }
}

fn own_quota(given: &file::Route) -> Result<Option<RouteQuota>, String> {
    let max_clients = given.max_clients.map(|clients| clients.size());
    match quota::of_route(given)? {
        Some(quota) => Ok(Some(RouteQuota { quota, max_clients })),
        None if max_clients.is_some() => {
            Err("max_clients: expected a quota of the route's own beside it, got none".to_owned())
        }
        None => Ok(None),
    }
}

fn check_path(path: &str, placement: &Placement) -> Result<(), String> {
    if placement.is_unlimited(path) {
        return Err(format!("expected a path that can be limited, got {path}"));
    }
    let parent = path.strip_suffix("/*").unwrap_or(path);
    // In other positions a star would be literal, but look like a wildcard.
    if parent.contains('*') {
        return Err(format!(
            "expected a * only after the last /, as in /api/*, got {path}"
        ));
    }
    if let Some(placeholder) = placeholder(parent) {
        return Err(format!(
            "expected a path without the placeholder {placeholder} (/* after a path covers all paths below), got {path}"
        ));
    }
    // Requests to it would be rejected, or charged to the route of the path without them.
    match ParsedPath::parse(parent) {
        Ok(parsed) if parsed.has_parents() => {
            Err(format!("expected a path without .. segments, got {path}"))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error}, got {path}")),
    }
}

/// Returns the first segment that is a placeholder to other servers: `{id}`, `<id>` or `:id`.
fn placeholder(path: &str) -> Option<&str> {
    path.split('/').find(|segment| {
        let is_enclosed = |[open, close]: [char; 2]| {
            let end = segment
                .find(open)
                .map(|start| segment[start..].contains(close));
            end.unwrap_or(false)
        };
        let named = segment.strip_prefix(':');
        [['{', '}'], ['<', '>']].into_iter().any(is_enclosed)
            || named.is_some_and(|name| {
                name.starts_with(|first: char| first.is_alphabetic() || first == '_')
            })
    })
}

/// Checks that an upload, which costs more than 1, fits into the capacity of its route.
fn check_upload(routes: &[Route]) -> Result<(), String> {
    match route_of_upload(routes) {
        Some((
            index,
            Route {
                cost: None,
                own_quota: Some(RouteQuota { quota, .. }),
                ..
            },
        )) if quota.capacity() < UPLOAD_COST => Err(format!(
            "routes[{index}].capacity: expected at least {UPLOAD_COST}, the cost of an upload, or a cost for the route, got {}",
            quota.capacity()
        )),
        _ => Ok(()),
    }
}

/// Returns the route that describes an upload to this server most closely.
fn route_of_upload(routes: &[Route]) -> Option<(usize, &Route)> {
    let covers = |route: &Route| match route.wildcard_parent() {
        None => route.path == UPLOAD,
        Some(parent) => UPLOAD
            .strip_prefix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    };
    let routes = routes.iter().enumerate();
    let covering = routes.filter(|(_, route)| {
        route
            .method
            .as_ref()
            .is_none_or(|method| method == Method::POST)
            && covers(route)
    });
    covering.max_by_key(|(_, route)| {
        let is_exact = route.wildcard_parent().is_none();
        (is_exact, route.path.len(), route.method.is_some())
    })
}

/// Returns the labels and costs of requests that charge the default buckets, where they may be above
/// the capacity. `has_upload`: an upload without a route is one of them.
pub(super) fn default_costs(routes: &[Route], has_upload: bool) -> Vec<(String, u32)> {
    let of_default = routes.iter().filter(|route| route.own_quota.is_none());
    let costs = of_default.filter_map(|route| Some((route.label(), route.cost?)));
    let has_upload = has_upload && route_of_upload(routes).is_none();
    let upload = has_upload.then(|| (format!("POST {UPLOAD}"), UPLOAD_COST));
    costs.chain(upload).collect()
}
