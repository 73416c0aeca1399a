//! Conversion of an nginx configuration: `limit_req`, `limit_conn` and what they depend on.

mod dump;
mod group;
mod key;
mod level;
mod other;
mod source;
mod syntax;
mod variables;
mod zone;

use std::{collections::BTreeSet, time::Duration};

use ipnet::IpNet;

use self::{
    group::{Group, groups},
    key::{ZoneKey, zone_key},
    level::{Level, servers},
    syntax::Directive,
    variables::Variables,
    zone::{Amount, Zone, quota, zone},
};
use super::{
    pattern::with_methods,
    policy::{Delay, Limit, Names, Policy},
    scope::Scope,
};

/// Clients of a limit that has no `max_clients`.
const DEFAULT_CLIENTS: u64 = 100_000;

/// Greatest `max_clients`.
const MAX_CLIENTS: u64 = 1_000_000_000;

/// Longest `delay`.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Greatest `max_delayed_per_client`.
const MAX_WAITING: u64 = 1_000_000;

/// Status of refusals without `limit_req_status`.
const DEFAULT_STATUS: u16 = 503;

/// Converts a file. An error is one line.
pub(crate) fn convert(text: &str) -> Result<Policy, String> {
    let directives = dump::directives(text)?;
    let mut policy = Policy::default();
    other::add(&mut policy, &directives);
    let mut variables = Variables::default();
    variables.add(&directives);
    // Files of sites are without `http`, and a dump of several files has them after it.
    let is_http = |directive: &&Directive| directive.name == "http";
    let http: Vec<&Directive> = directives
        .iter()
        .filter(|directive| !is_http(directive))
        .chain(directives.iter().filter(is_http).flat_map(Directive::block))
        .collect();
    let mut zones: Vec<Zone> = Vec::new();
    for directive in &http {
        if matches!(
            directive.name.as_str(),
            "limit_req_zone" | "limit_conn_zone"
        ) {
            zones.push(zone(directive)?);
        }
    }
    let own: Vec<Directive> = http
        .iter()
        .map(|directive| directive.without_block())
        .collect();
    let level = Level::default().inner(&own)?;
    let servers = servers(&http, &level)?;
    let mut groups = groups(&mut policy, servers, &level)?;
    // In the order of the zones.
    groups.sort_by_key(|group| zones.iter().position(|zone| zone.name == group.zone));
    add_limits(&mut policy, &zones, &groups, &variables);
    policy.share_status();
    Ok(policy)
}

/// Adds a limit for each use of a zone.
fn add_limits(policy: &mut Policy, zones: &[Zone], groups: &[Group], variables: &Variables) {
    let mut names = Names::default();
    let mut exempt: Vec<BTreeSet<IpNet>> = Vec::new();
    for zone in zones.iter().filter(|zone| zone.is_synchronised) {
        policy.gap(&zone.place, "sync: instances share limits through redis");
    }
    for zone in zones {
        // A smaller zone, such as the usual 10m, has no more than the default.
        if zone.keys.is_none_or(|keys| keys > MAX_CLIENTS) {
            let reason = format!(
                "the size of zone {}: a limit has {DEFAULT_CLIENTS} clients unless max_clients says otherwise",
                zone.name
            );
            policy.gap(&zone.place, reason);
        }
    }
    for group in groups {
        let is_same_kind = |zone: &&Zone| {
            zone.name == group.zone
                && zone.rate.is_some() == matches!(group.amount, Amount::Requests { .. })
        };
        let Some(zone) = zones.iter().find(is_same_kind) else {
            let reason = "the zone is not in this file: convert the output of nginx -T";
            policy.gap(format!("zone {}", group.zone), reason);
            continue;
        };
        if group.is_dry_run && matches!(group.amount, Amount::Connections(_)) {
            let reason =
                "limit_conn_dry_run: concurrency cannot be tried out; the limit is left out";
            policy.gap(&zone.place, reason);
            continue;
        }
        let key = match zone_key(&zone.key, variables) {
            Ok(key) => key,
            Err(reason) => {
                let place = format!("{}: zone {}", zone.place, zone.name);
                policy.gap(place, format!("the limit is left out: {reason}"));
                continue;
            }
        };
        for gap in &key.gaps {
            policy.gap(&zone.place, gap);
        }
        let mut gaps = Vec::new();
        match limit(zone, group, &key, &mut names, &mut gaps) {
            Ok(limit) => {
                let is_other = |other: &&Group| other.zone == group.zone && *other != group;
                if groups.iter().any(|other| is_other(&other)) {
                    let reason = format!(
                        "the places of zone {} have different bursts, delays, statuses or modes: each has a limit with buckets of its own here",
                        zone.name
                    );
                    policy.gap(&zone.place, reason);
                }
                for gap in gaps {
                    policy.gap(&limit.place, gap);
                }
                policy.limits.push(limit);
                exempt.push(key.allow);
            }
            Err(reason) => policy.gap(&zone.place, format!("the limit is left out: {reason}")),
        }
    }
    add_allow(policy, &exempt);
}

/// Exempts the networks that every limit exempts.
fn add_allow(policy: &mut Policy, exempt: &[BTreeSet<IpNet>]) {
    let all: BTreeSet<IpNet> = exempt.iter().flatten().copied().collect();
    for network in all {
        if exempt.iter().all(|networks| networks.contains(&network)) {
            policy.allow.push(network);
        } else {
            let reason =
                "only some zones exempt it, and allow exempts from all limits: it is limited here";
            policy.gap(format!("network {network}"), reason);
        }
    }
}

fn limit(
    zone: &Zone,
    group: &Group,
    key: &ZoneKey,
    names: &mut Names,
    gaps: &mut Vec<String>,
) -> Result<Limit, String> {
    let mut limit = Limit {
        place: format!("{}: zone {}", zone.place, zone.name),
        key: key.parts.clone(),
        is_shadow: group.is_dry_run,
        skips_missing: key.skips_missing,
        max_clients: zone
            .keys
            .filter(|keys| (DEFAULT_CLIENTS..=MAX_CLIENTS).contains(keys)),
        status: Some(group.status.unwrap_or(DEFAULT_STATUS)),
        ..Limit::default()
    };
    match group.amount {
        Amount::Connections(connections) => limit.concurrency = Some(connections),
        Amount::Requests { burst, at_once } => {
            let rate = zone.rate.as_deref().unwrap_or_default();
            let waiting = burst.saturating_sub(at_once);
            let wait = wait(rate, waiting);
            // Requests of a limit that is tried out do not wait.
            if waiting == 0 || group.is_dry_run {
                limit.quotas.push(quota(rate, burst)?);
            } else if wait <= MAX_DELAY && waiting <= MAX_WAITING {
                limit.quotas.push(quota(rate, at_once)?);
                limit.delay = Some(Delay { wait, waiting });
            } else {
                limit.quotas.push(quota(rate, burst)?);
                gaps.push(format!(
                    "requests wait for up to {} s there, and no longer than 60 s here: the burst passes at once",
                    wait.as_secs()
                ));
            }
        }
    }
    limit.name = names.unique(&zone.name, 1);
    (limit.patterns, limit.costs) = requests(&group.scope, key);
    Ok(limit)
}

/// Returns the time in which as many tokens as there are waiting requests refill.
fn wait(rate: &str, waiting: u64) -> Duration {
    let (number, unit) = rate.split_once('/').unwrap_or((rate, "s"));
    let number: u64 = number.parse().unwrap_or(1).max(1);
    let seconds = if unit == "s" { 1 } else { 60 };
    let nanos = u128::from(waiting) * seconds * 1_000_000_000;
    let nanos = nanos.div_ceil(u128::from(number));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Returns `match` and `cost` of the requests of a scope that have a key.
fn requests(scope: &Scope, key: &ZoneKey) -> (Vec<String>, Vec<(String, u32)>) {
    let patterns = if scope.patterns.is_empty() {
        &key.patterns
    } else {
        &scope.patterns
    };
    let patterns = match &patterns[..] {
        [] if key.methods.is_empty() => Vec::new(),
        [] => vec![with_methods(&key.methods, None)],
        patterns => {
            let patterns = patterns.iter();
            patterns
                .map(|pattern| with_methods(&key.methods, Some(pattern)))
                .collect()
        }
    };
    let free = key.exempt.iter().map(|pattern| (pattern.clone(), 0));
    (patterns, scope.costs.iter().cloned().chain(free).collect())
}
