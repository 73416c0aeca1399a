//! Middlewares of Traefik: limits of requests, bounds of requests in flight, and chains.

use std::collections::BTreeMap;

use ipnet::IpNet;
use tollgate::Quota;

use crate::{
    convert::{field::Field, policy::Policy},
    values::Value,
};

/// Maximum depth of chains.
const MAX_DEPTH: usize = 16;

/// Maximum number of middlewares of a chain.
const MAX_LENGTH: usize = 256;

/// Middleware with a counterpart.
#[derive(Clone, Debug)]
pub(crate) enum Middleware {
    Rate {
        path: String,
        quota: Quota,
        key: String,
    },
    InFlight {
        path: String,
        amount: u64,
        key: String,
    },
    Chain(Vec<String>),
}

/// Middlewares by their names.
pub(crate) type Middlewares = BTreeMap<String, Middleware>;

/// Parses the table `http.middlewares`.
///
/// # Errors
/// The field, what was expected, and what was found.
pub(crate) fn middlewares(policy: &mut Policy, table: &Field<'_>) -> Result<Middlewares, String> {
    let mut all = Middlewares::new();
    for (name, field) in table.entries()? {
        let middleware = if let Some(rate) = field.get("rateLimit") {
            rate_limit(policy, &rate)?
        } else if let Some(in_flight) = field.get("inFlightReq") {
            in_flight_requests(policy, &in_flight)?
        } else if let Some(names) = field.at(&["chain", "middlewares"]) {
            let names = names.texts()?.into_iter().map(local_name);
            Some(Middleware::Chain(names.collect()))
        } else {
            None
        };
        all.extend(middleware.map(|middleware| (name.to_owned(), middleware)));
    }
    Ok(all)
}

/// Returns the name of a middleware without its provider.
pub(crate) fn local_name(name: &str) -> String {
    name.split_once('@')
        .map_or(name, |(name, _)| name)
        .to_owned()
}

/// Returns the names of the limits that a list of middlewares has, those of chains included.
pub(crate) fn limits_of(names: &[String], all: &Middlewares) -> Vec<String> {
    let mut found = Vec::new();
    add_limits_of(names, all, 0, &mut found);
    found
}

fn add_limits_of(names: &[String], all: &Middlewares, depth: usize, found: &mut Vec<String>) {
    for name in names {
        match all.get(name) {
            Some(Middleware::Chain(inner)) if depth < MAX_DEPTH && found.len() < MAX_LENGTH => {
                add_limits_of(inner, all, depth + 1, found);
            }
            Some(Middleware::Rate { .. } | Middleware::InFlight { .. })
                if !found.contains(name) =>
            {
                found.push(name.clone());
            }
            _ => {}
        }
    }
}

fn rate_limit(policy: &mut Policy, field: &Field<'_>) -> Result<Option<Middleware>, String> {
    let whole =
        |name: &str, default: u64| field.get(name).map_or(Ok(default), |field| field.whole());
    let average = whole("average", 0)?;
    let burst = whole("burst", 1)?.max(1);
    let period = match field.get("period") {
        Some(period) => self::period(&period)?,
        None => "1s".to_owned(),
    };
    if field.get("redis").is_some() {
        policy.gap(
            format!("{}.redis", field.path),
            "instances share limits through the key redis at the top of the file",
        );
    }
    if average == 0 {
        policy.gap(
            format!("{}.average", field.path),
            "0 is no limit there, so there is none here",
        );
        return Ok(None);
    }
    let key = key(policy, field, "ip")?;
    match format!("{average}/{period} burst {burst}").parse() {
        Ok(quota) => Ok(Some(Middleware::Rate {
            path: field.path.clone(),
            quota,
            key,
        })),
        Err(error) => {
            policy.gap(&field.path, format!("the limit is left out: {error}"));
            Ok(None)
        }
    }
}

fn in_flight_requests(
    policy: &mut Policy,
    field: &Field<'_>,
) -> Result<Option<Middleware>, String> {
    let amount = field.get("amount").map_or(Ok(0), |amount| amount.whole())?;
    if amount == 0 {
        policy.gap(
            format!("{}.amount", field.path),
            "0 is no bound there, so there is none here",
        );
        return Ok(None);
    }
    // Its default is the host.
    let key = key(policy, field, "global")?;
    Ok(Some(Middleware::InFlight {
        path: field.path.clone(),
        amount,
        key,
    }))
}

/// Returns a period in the form of quotas. A number is in seconds.
fn period(field: &Field<'_>) -> Result<String, String> {
    if let Ok(seconds) = field.whole() {
        return Ok(format!("{seconds}s"));
    }
    let expected = || field.expected("a duration such as 1m or 1m30s");
    let text = field.text().map_err(|_| expected())?;
    // Units of Go, where m is a minute as well. Quotas have no fractions of a unit.
    let is_duration = text.starts_with(|char: char| char.is_ascii_digit())
        && text.ends_with(|char: char| char.is_ascii_alphabetic());
    let text = text.replace("µs", "us");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_duration && is_plain)
        .then_some(text)
        .ok_or_else(expected)
}

/// Returns the key of a `sourceCriterion`.
fn key(policy: &mut Policy, field: &Field<'_>, default: &str) -> Result<String, String> {
    let Some(criterion) = field.get("sourceCriterion") else {
        if default == "global" {
            add_host_gap(policy, field);
        }
        return Ok(default.to_owned());
    };
    let by_host = match criterion.get("requestHost") {
        Some(by_host) => by_host.is_true()?,
        None => false,
    };
    let (header, strategy) = (
        criterion.get("requestHeaderName"),
        criterion.get("ipStrategy"),
    );
    let given = [by_host, header.is_some(), strategy.is_some()];
    if given.iter().filter(|is_given| **is_given).count() > 1 {
        return Err(criterion.expected("one of ipStrategy, requestHeaderName and requestHost"));
    }
    if let Some(header) = header {
        let name = header.text()?;
        if hyper::header::HeaderName::from_text(name).is_none() {
            return Err(header.expected("the name of a header"));
        }
        // Requests without the header share a bucket.
        return Ok(format!("header:{name} | global"));
    }
    if let Some(strategy) = strategy {
        return ip_key(policy, &strategy);
    }
    if by_host || default == "global" {
        add_host_gap(policy, &criterion);
        return Ok("global".to_owned());
    }
    Ok("ip".to_owned())
}

fn add_host_gap(policy: &mut Policy, field: &Field<'_>) {
    policy.gap(
        &field.path,
        "the key is the host there; limits do not look at the host, so all requests share one here: run an instance for each host",
    );
}

/// Returns the key of an `ipStrategy`. `depth` takes precedence over `excludedIPs`, and both read
/// `X-Forwarded-For` alone, which has no address of the peer.
fn ip_key(policy: &mut Policy, strategy: &Field<'_>) -> Result<String, String> {
    let depth = match strategy.get("depth") {
        Some(depth) if depth.integer()? > 0 => Some(depth),
        _ => None,
    };
    let subnet = strategy.get("ipv6Subnet");
    if let Some(depth) = depth {
        policy.gap(
            &depth.path,
            "proxies are known by their networks, which a client cannot forge: set trust_proxy to those of your proxies; there, requests with fewer addresses in X-Forwarded-For share a bucket",
        );
        if let Some(networks) = strategy.get("excludedIPs") {
            policy.gap(&networks.path, "it has no effect there beside depth");
        }
    } else if let Some(networks) = strategy.get("excludedIPs")
        && !networks.texts()?.is_empty()
    {
        policy.gap(
            &networks.path,
            "the address that connects has to be in trust_proxy as well: add the proxy in front; there, requests without another address in X-Forwarded-For share a bucket",
        );
        if let Some(subnet) = &subnet {
            policy.gap(&subnet.path, "it has no effect there beside excludedIPs");
        }
        for network in networks.texts()? {
            let network = IpNet::from_text(network)
                .ok_or_else(|| networks.expected("networks such as 10.0.0.0/8"))?
                .trunc();
            if !policy.trust_proxy.contains(&network) {
                policy.trust_proxy.push(network);
            }
        }
        return Ok("ip".to_owned());
    }
    Ok(match subnet {
        Some(bits) => match bits.whole()? {
            bits @ 1..=128 => format!("ip/32,{bits}"),
            _ => return Err(bits.expected("a number of bits from 1 to 128")),
        },
        None => "ip".to_owned(),
    })
}
