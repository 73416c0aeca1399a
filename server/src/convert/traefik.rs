//! Conversion of Traefik's dynamic configuration: `rateLimit`, `inFlightReq` and their routers.

mod middleware;
mod resource;
mod router;
mod rule;

use ipnet::IpNet;
use serde_json::Value;

use self::{
    middleware::{Middleware, Middlewares, limits_of, local_name, middlewares},
    router::{Requests, Router, requests, routers},
};
use super::{
    field::Field,
    policy::{Limit, MAX_LIMITS, Names, Policy},
    yaml,
};
use crate::values::Value as _;

/// Converts a file of YAML or TOML. An error is one line.
pub(crate) fn convert(text: &str, is_toml: Option<bool>) -> Result<Policy, String> {
    let toml = || {
        toml::from_str::<Value>(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            let message: Vec<&str> = error.message().split_whitespace().collect();
            format!("line {line}: not TOML: {}", message.join(" "))
        })
    };
    let documents = match is_toml {
        Some(true) => vec![toml()?],
        Some(false) => yaml::documents(text)?,
        // No file of one format with tables is also one of the other.
        None => toml()
            .map(|value| vec![value])
            .or_else(|_| yaml::documents(text))?,
    };
    let root = resource::merged(documents);
    let root = Field::root(&root);
    let mut policy = Policy::default();
    let all = match root.at(&["http", "middlewares"]) {
        Some(table) => middlewares(&mut policy, &table)?,
        None => Middlewares::new(),
    };
    let routers = match root.at(&["http", "routers"]) {
        Some(table) => routers(&table)?,
        None => Vec::new(),
    };
    let of_entry_points = entry_points(&mut policy, &root)?;
    add_tcp_gaps(&mut policy, &root)?;
    add_limits(&mut policy, &all, &routers, &of_entry_points)?;
    Ok(policy)
}

/// Adds a limit for each router of a middleware, since each has buckets of its own.
fn add_limits(
    policy: &mut Policy,
    all: &Middlewares,
    routers: &[Router],
    of_entry_points: &[String],
) -> Result<(), String> {
    let mut names = Names::default();
    let used: Vec<(&Router, Vec<String>)> = routers
        .iter()
        .map(|router| (router, limits_of(&router.middlewares, all)))
        .collect();
    let count = used.iter().map(|(_, limits)| limits.len()).sum::<usize>();
    if count > MAX_LIMITS {
        return Err(format!(
            "http.routers: expected at most {MAX_LIMITS} limits, got {count}"
        ));
    }
    for (name, middleware) in all {
        if matches!(middleware, Middleware::Chain(_)) {
            continue;
        }
        let of_routers = used.iter().filter(|(_, limits)| limits.contains(name));
        let of_routers: Vec<&Router> = of_routers.map(|(router, _)| *router).collect();
        let is_everywhere = limits_of(of_entry_points, all).contains(name);
        if of_routers.is_empty() || is_everywhere {
            if !is_everywhere {
                policy.gap(
                    middleware.path(),
                    "no router of this file has it: the limit applies to all requests; write match by hand",
                );
            }
            let limit = middleware.limit(names.unique(name, 1), Requests::default());
            policy.limits.push(limit);
            continue;
        }
        for router in &of_routers {
            let name = match of_routers.len() {
                1 => names.unique(name, 1),
                _ => names.unique(&format!("{name}-{}", router.name), 1),
            };
            let requests = requests(policy, router, routers);
            policy.limits.push(middleware.limit(name, requests));
        }
    }
    Ok(())
}

impl Middleware {
    fn path(&self) -> &str {
        match self {
            Middleware::Rate { path, .. } | Middleware::InFlight { path, .. } => path,
            Middleware::Chain(_) => "",
        }
    }

    fn limit(&self, name: String, requests: Requests) -> Limit {
        let mut limit = Limit {
            name,
            place: self.path().to_owned(),
            patterns: requests.scope.patterns,
            costs: requests.scope.costs,
            headers: requests.headers,
            ..Limit::default()
        };
        match self {
            Middleware::Rate { quota, key, .. } => {
                limit.quotas.push(*quota);
                limit.key.push(key.clone());
            }
            Middleware::InFlight { amount, key, .. } => {
                limit.concurrency = Some(*amount);
                limit.key.push(key.clone());
            }
            Middleware::Chain(_) => {}
        }
        limit
    }
}

/// Reads the entry points, which a file with static configuration has. Returns the middlewares of all
/// routers.
fn entry_points(policy: &mut Policy, root: &Field<'_>) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let Some(table) = root.get("entryPoints") else {
        return Ok(names);
    };
    for (_, entry_point) in table.entries()? {
        if let Some(list) = entry_point.at(&["http", "middlewares"]) {
            names.extend(list.texts()?.into_iter().map(local_name));
        }
        if let Some(list) = entry_point.at(&["forwardedHeaders", "trustedIPs"]) {
            for network in list.texts()? {
                let network = IpNet::from_text(network)
                    .ok_or_else(|| list.expected("networks such as 10.0.0.0/8"))?;
                if !policy.trust_proxy.contains(&network.trunc()) {
                    policy.trust_proxy.push(network.trunc());
                }
            }
        }
    }
    Ok(names)
}

fn add_tcp_gaps(policy: &mut Policy, root: &Field<'_>) -> Result<(), String> {
    let Some(table) = root.at(&["tcp", "middlewares"]) else {
        return Ok(());
    };
    for (_, field) in table.entries()? {
        if let Some(in_flight) = field.get("inFlightConn") {
            policy.gap(
                in_flight.path,
                "TCP connections of a client: set max_per_address in [connections]",
            );
        }
    }
    Ok(())
}
