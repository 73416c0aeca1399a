//! The routes of the configuration: what requests to some paths are charged, and against which
//! limits.

use std::collections::HashSet;

use hyper::Method;
use tollgate::Quota;

use super::{file, quota};
use crate::{
    endpoint,
    values::{Table, Typed},
};

/// What requests to a path, with one method or any, are charged. HEAD goes by what GET is charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) method: Option<Method>,
    /// With `/*` in the end, it is a path and all that lies below it.
    pub(crate) path: String,
    /// Never limited.
    pub(crate) exempt: bool,
    /// `None`: what such a request costs without a route.
    pub(crate) cost: Option<u32>,
    /// `None`: it takes from the client's default bucket.
    pub(crate) own: Option<Own>,
}

/// Limits of a route's own: every client has a bucket for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) quota: Quota,
    /// `None`: so many as there is usually room for.
    pub(crate) max_clients: Option<usize>,
}

impl Route {
    /// What its requests are counted as.
    pub(crate) fn label(&self) -> String {
        match &self.method {
            Some(method) => format!("{method} {}", self.path),
            None => self.path.clone(),
        }
    }

    /// The path below which it holds, if it is for more than one.
    pub(crate) fn above(&self) -> Option<&str> {
        self.path.strip_suffix("/*")
    }
}

pub(super) fn of(given: Vec<Table<file::Route>>, gateway: bool) -> Result<Vec<Route>, String> {
    let mut seen = HashSet::new();
    let mut routes = Vec::new();
    for (number, Table(given)) in given.into_iter().enumerate() {
        let own = own(&given).map_err(|error| format!("routes[{number}].{error}"))?;
        let cost = given.cost.map(|cost| cost.0.0);
        match (own, cost, given.exempt) {
            (None, Some(_), true) => {
                return Err(format!(
                    "routes[{number}]: expected a cost or exempt = true, not both"
                ));
            }
            (Some(_), _, true) => {
                return Err(format!(
                    "routes[{number}]: expected limits or exempt = true, not both"
                ));
            }
            (None, None, false) => {
                return Err(format!(
                    "routes[{number}]: expected a cost, limits (capacity with refill_rate) or exempt = true"
                ));
            }
            (Some(Own { quota, .. }), Some(cost), false) if cost > quota.capacity() => {
                let capacity = quota.capacity();
                return Err(format!(
                    "routes[{number}].cost: {cost}: expected no more than the route's capacity, {capacity}"
                ));
            }
            _ => {}
        }
        let (method, path) = (given.method.map(|method| method.0), given.path.0.0);
        check(&path, gateway).map_err(|error| format!("routes[{number}].path: {path}: {error}"))?;
        if !seen.insert((method.clone(), path.clone())) {
            return Err(format!(
                "routes[{number}]: {path}: expected each method and path once"
            ));
        }
        let route = Route {
            method,
            path,
            exempt: given.exempt,
            cost,
            own,
        };
        if !gateway {
            check_upload(&route).map_err(|error| format!("routes[{number}].{error}"))?;
        }
        routes.push(route);
    }
    Ok(routes)
}

fn own(given: &file::Route) -> Result<Option<Own>, String> {
    let max_clients = given
        .max_clients
        .as_ref()
        .map(|Typed(clients)| clients.size());
    match quota::of_route(given)? {
        Some(quota) => Ok(Some(Own { quota, max_clients })),
        None if max_clients.is_some() => {
            Err("max_clients: expected with limits of the route's own only".to_owned())
        }
        None => Ok(None),
    }
}

fn check(path: &str, gateway: bool) -> Result<(), &'static str> {
    if endpoint::is_unlimited(path, gateway) {
        return Err("expected a path that is limited, and this one never is");
    }
    // A star that stood for itself would look as if it stood for more.
    if path.strip_suffix("/*").unwrap_or(path).contains('*') {
        return Err("expected a * behind the last / alone, as in /api/*");
    }
    Ok(())
}

/// An upload costs more than 1, and must fit in.
fn check_upload(route: &Route) -> Result<(), String> {
    let Route {
        method,
        path,
        cost,
        own: Some(own),
        ..
    } = route
    else {
        return Ok(());
    };
    let (capacity, is_post) = (
        own.quota.capacity(),
        method.as_ref().is_none_or(|method| method == Method::POST),
    );
    let default_cost = endpoint::default_cost(&Method::POST, path);
    if is_post && cost.is_none() && capacity < default_cost {
        return Err(format!(
            "capacity: {capacity}: expected at least {default_cost}, which an upload costs, or give the route a cost"
        ));
    }
    Ok(())
}
