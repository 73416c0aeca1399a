//! Conversion of the settings of AspNetCoreRateLimit: `IpRateLimiting` and `ClientRateLimiting`.

mod json;
mod network;
mod refusal;
mod rule;

use self::{
    network::networks,
    rule::{Endpoint, Rule, parse_endpoint, rules},
};
use super::{
    field::Field,
    policy::{Limit, Names, Policy},
};
use crate::values::Value as _;

/// Header of a client's identifier, unless the settings name another one.
const DEFAULT_CLIENT_HEADER: &str = "X-ClientId";

/// Sections of limits by address and by client.
const SECTIONS: [(&str, bool); 2] = [("IpRateLimiting", true), ("ClientRateLimiting", false)];

/// Converts a file. An error is one line.
pub(crate) fn convert(text: &str) -> Result<Policy, String> {
    let root: serde_json::Value =
        serde_json::from_str(&json::strict(text)).map_err(|error| format!("not JSON: {error}"))?;
    let root = Field::root(&root);
    let mut policy = Policy::default();
    let mut names = Names::default();
    let sections: Vec<_> = SECTIONS
        .iter()
        .filter_map(|(name, by_address)| Some((root.get(name)?, *by_address)))
        .collect();
    for (section, by_address) in &sections {
        let is_only = sections.len() == 1;
        add_section(&mut policy, &mut names, section, *by_address, is_only)?;
    }
    for (section, list, field) in [
        ("IpRateLimitPolicies", "IpRules", "Ip"),
        ("ClientRateLimitPolicies", "ClientRules", "ClientId"),
    ] {
        let Some(list) = root.at(&[section, list]) else {
            continue;
        };
        for item in list.items()? {
            // The identifier of a client may be a secret; an address is none.
            let who = match item.get(field).filter(|_| field == "Ip") {
                Some(address) => format!(" ({})", address.text()?),
                None => String::new(),
            };
            policy.gap(
                format!("{}{who}", item.path),
                "quotas of single clients and networks have no counterpart yet: the general rules apply to them",
            );
        }
    }
    Ok(policy)
}

fn add_section(
    policy: &mut Policy,
    names: &mut Names,
    section: &Field<'_>,
    by_address: bool,
    is_only: bool,
) -> Result<(), String> {
    let flag = |name: &str| section.get(name).map_or(Ok(false), |field| field.is_true());
    let header = match section.get("ClientIdHeader") {
        Some(header) if hyper::header::HeaderName::from_text(header.text()?).is_none() => {
            return Err(header.expected("the name of a header"));
        }
        Some(header) => header.text()?,
        None => DEFAULT_CLIENT_HEADER,
    };
    if by_address {
        add_addresses(policy, section, is_only)?;
    }
    if let Some(list) = section.get("ClientWhitelist")
        && !list.items()?.is_empty()
    {
        policy.gap(
            list.path,
            "clients without limits have no counterpart yet: they are limited like all others",
        );
    }
    if flag("StackBlockedRequests")? {
        policy.gap(
            format!("{}.StackBlockedRequests", section.path),
            "refused requests cost nothing here",
        );
    }
    policy.hides_headers |= flag("DisableRateLimitHeaders")?;
    refusal::add(policy, section)?;
    let exempt = exempt_endpoints(policy, section)?;
    let by_endpoint = flag("EnableEndpointRateLimiting")?;
    let is_regex = flag("EnableRegexRuleMatching")?;
    let Some(list) = section.get("GeneralRules") else {
        return Ok(());
    };
    let mut kept: Vec<Rule> = Vec::new();
    for rule in rules(policy, &list)? {
        if !by_endpoint && !rule.endpoint.is_all() {
            let reason = "without EnableEndpointRateLimiting only rules for * count, so the rule is left out";
            policy.gap(&rule.path, reason);
        } else if is_regex && !rule.endpoint.is_all() {
            let reason = "EnableRegexRuleMatching: the endpoint is a regular expression; write match by hand";
            policy.gap(&rule.path, reason);
        } else {
            kept.push(rule);
        }
    }
    let key = if by_address {
        "ip".to_owned()
    } else {
        // Requests without the header share a bucket.
        format!("header:{header} | global")
    };
    add_limits(policy, names, &kept, &key, by_endpoint, &exempt);
    Ok(())
}

/// Adds the exempt networks and the header with the client's address.
fn add_addresses(policy: &mut Policy, section: &Field<'_>, is_only: bool) -> Result<(), String> {
    if let Some(list) = section.get("IpWhitelist") {
        if is_only {
            for item in list.items()? {
                policy.allow.extend(networks(&item)?);
            }
        } else if !list.items()?.is_empty() {
            policy.gap(
                list.path,
                "allow exempts from all limits, those of ClientRateLimiting included: set it if that is meant",
            );
        }
    }
    if let Some(header) = section.get("RealIpHeader") {
        let name = header.text()?;
        if hyper::header::HeaderName::from_text(name).is_none() {
            return Err(header.expected("the name of a header"));
        }
        policy.gap(
            header.path,
            format!(
                "a client can invent this header: set trust_proxy to the networks of your proxies, if there are some, and client_address_header = \"{}\"",
                name.to_ascii_lowercase()
            ),
        );
    }
    Ok(())
}

/// Returns the patterns of endpoints without limits.
fn exempt_endpoints(
    policy: &mut Policy,
    section: &Field<'_>,
) -> Result<Vec<(String, u32)>, String> {
    let mut exempt = Vec::new();
    let Some(list) = section.get("EndpointWhitelist") else {
        return Ok(exempt);
    };
    for item in list.items()? {
        match parse_endpoint(item.text()?) {
            Some(endpoint) if !endpoint.is_all() => exempt.push((endpoint.pattern(), 0)),
            _ => policy.gap(
                item.path,
                "no pattern says the same: write a cost of 0 by hand",
            ),
        }
    }
    Ok(exempt)
}

/// Adds a limit for each endpoint, with the quotas of its rules.
fn add_limits(
    policy: &mut Policy,
    names: &mut Names,
    rules: &[Rule],
    key: &str,
    by_endpoint: bool,
    exempt: &[(String, u32)],
) {
    let mut endpoints: Vec<(&Endpoint, bool)> = Vec::new();
    for rule in rules {
        if !endpoints.contains(&(&rule.endpoint, rule.is_shadow)) {
            endpoints.push((&rule.endpoint, rule.is_shadow));
        }
    }
    for (endpoint, is_shadow) in endpoints {
        let of_endpoint: Vec<&Rule> = rules
            .iter()
            .filter(|rule| rule.endpoint == *endpoint && rule.is_shadow == is_shadow)
            .collect();
        let quotas: Vec<_> = of_endpoint.iter().map(|rule| rule.quota).collect();
        let place = of_endpoint.iter().map(|rule| rule.path.as_str());
        let place = place.collect::<Vec<_>>().join(", ");
        let is_all = endpoint.is_all();
        let name = match is_all {
            true => "general".to_owned(),
            false => endpoint
                .pattern()
                .to_ascii_lowercase()
                .replace([' ', '/', '*'], "-"),
        };
        let name = name.split('-').filter(|part| !part.is_empty());
        let mut limit = Limit {
            name: names.unique(&name.collect::<Vec<_>>().join("-"), quotas.len()),
            place,
            key: vec![key.to_owned()],
            quotas,
            is_shadow,
            costs: exempt.to_vec(),
            ..Limit::default()
        };
        if !is_all {
            limit.patterns.push(endpoint.pattern());
        }
        if by_endpoint {
            // Each path and method has its own count.
            if !endpoint.is_one_path() {
                limit.key.push("path".to_owned());
            }
            if endpoint.method.is_none() {
                policy.gap(
                    &limit.place,
                    "each method has a count of its own there; all methods of a path share one here",
                );
            }
        }
        policy.limits.push(limit);
    }
}
