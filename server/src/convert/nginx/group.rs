//! Uses of a zone with the same settings, over all servers and locations.

use super::{
    level::{Kind, Level, Location, Server},
    zone::{Amount, Use},
};
use crate::convert::{
    pattern::Paths,
    policy::{MAX_LIMITS, Policy},
    scope::{Place, Scope, scope},
};

/// Maximum number of locations, which bounds the time to compare them.
const MAX_LOCATIONS: usize = 1000;

/// Uses of a zone with the same settings, and their requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) zone: String,
    pub(crate) amount: Amount,
    pub(crate) status: Option<u16>,
    pub(crate) is_dry_run: bool,
    pub(crate) scope: Scope,
}

/// Returns the groups of all servers, in the order of their first use.
///
/// # Errors
/// There are too many locations to compare.
pub(crate) fn groups(
    policy: &mut Policy,
    mut servers: Vec<Server>,
    http: &Level,
) -> Result<Vec<Group>, String> {
    if servers.is_empty() {
        // A file with the limits of all servers, which are elsewhere.
        servers.push(Server {
            line: 1,
            locations: vec![Location {
                place: "http".to_owned(),
                paths: Paths::All,
                level: http.clone(),
            }],
            ..Server::default()
        });
    }
    let locations = servers
        .iter()
        .map(|server| server.locations.len())
        .sum::<usize>();
    if locations > MAX_LOCATIONS {
        return Err(format!(
            "expected at most {MAX_LOCATIONS} locations, got {locations}"
        ));
    }
    add_gaps(policy, &servers);
    let mut groups: Vec<Group> = Vec::new();
    for location in servers.iter().flat_map(|server| &server.locations) {
        for group in uses(&location.level) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
    }
    if groups.len() > MAX_LIMITS {
        return Err(format!(
            "expected at most {MAX_LIMITS} limits, got {}",
            groups.len()
        ));
    }
    let scopes: Vec<Scope> = groups
        .iter()
        .map(|group| scope(&places(group, &servers)))
        .collect();
    for (group, scope) in groups.iter_mut().zip(scopes) {
        group.scope = scope;
    }
    Ok(groups)
}

/// Adds gaps for hosts and for locations without patterns.
fn add_gaps(policy: &mut Policy, servers: &[Server]) {
    let has_limits = |server: &&Server| {
        server
            .locations
            .iter()
            .any(|location| location.level.has_limits())
    };
    let others = servers.iter().filter(|server| !server.is_fixed);
    if others.count() > 1 {
        for server in servers.iter().filter(has_limits) {
            policy.gap(
                format!("line {}: server {}", server.line, server.names),
                "limits do not look at the host: its limits apply to the requests of all servers; run an instance for each",
            );
        }
    }
    for server in servers {
        let outer = server
            .locations
            .iter()
            .find(|location| location.paths == Paths::All);
        let wide = server
            .locations
            .iter()
            .filter(|location| location.paths.is_wide());
        for location in wide {
            if outer.is_none_or(|outer| outer.level != location.level) {
                let reason = format!(
                    "{} has more paths than the expression: its limits and those around it apply to them",
                    location.paths.patterns().join(", ")
                );
                policy.gap(&location.place, reason);
            }
        }
        for (place, level) in &server.unknown {
            if outer.is_some_and(|outer| outer.level == *level) {
                continue;
            }
            let reason = if level.has_limits() {
                "no pattern says the same, so its limits do not apply to it: write match by hand"
            } else {
                "no pattern says the same, so the limits around it apply to it: write a cost of 0 by hand"
            };
            policy.gap(place, reason);
        }
        for place in &server.named {
            let reason = "its requests have the paths of other locations, so its limits do not apply to them: write limits for these by hand";
            policy.gap(place, reason);
        }
    }
}

/// Returns the groups that a level belongs to, without their requests.
fn uses(level: &Level) -> impl Iterator<Item = Group> {
    let of_kind = |kind: &Kind| {
        let group = |used: &Use| Group {
            zone: used.zone.clone(),
            amount: used.amount.clone(),
            status: kind.status,
            is_dry_run: kind.is_dry_run,
            scope: Scope::default(),
        };
        kind.uses.iter().map(group).collect::<Vec<_>>()
    };
    of_kind(&level.requests)
        .into_iter()
        .chain(of_kind(&level.connections))
}

/// Returns the locations of all servers, where those with the group are limited. Paths that one
/// server limits are limited in all of them.
fn places(group: &Group, servers: &[Server]) -> Vec<Place> {
    let is_limited = |location: &Location| uses(&location.level).any(|other| other == *group);
    let using: Vec<&Server> = servers
        .iter()
        .filter(|server| server.locations.iter().any(is_limited))
        .collect();
    let exempt_in_all = |paths: &Paths| {
        using.iter().all(|server| {
            let mut same = server
                .locations
                .iter()
                .filter(|location| location.paths == *paths);
            same.next().is_some_and(|location| !is_limited(location))
        })
    };
    let locations = using.iter().flat_map(|server| &server.locations);
    let mut places: Vec<Place> = Vec::new();
    for location in locations {
        let is_limited = is_limited(location);
        if !is_limited && !exempt_in_all(&location.paths) {
            continue;
        }
        let place = Place {
            paths: location.paths.clone(),
            methods: Vec::new(),
            is_limited,
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}
