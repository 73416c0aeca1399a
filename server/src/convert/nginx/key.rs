//! Keys of zones: variables of nginx as parts of the key of a limit.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    source::{Source, caveat, source},
    variables::{Geo, Map, Part, Variables, parts},
};
use crate::{
    convert::{pattern::Paths, regex::of_regex},
    values::Value,
};

/// Maximum number of maps that refer to one another.
const MAX_DEPTH: usize = 8;

/// Key of a zone, and the requests that it exempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneKey {
    pub(crate) parts: Vec<String>,
    pub(crate) skips_missing: bool,
    /// Networks whose key is empty.
    pub(crate) allow: BTreeSet<IpNet>,
    /// Methods with a key. Empty: all.
    pub(crate) methods: Vec<String>,
    /// Paths with a key. Empty: all.
    pub(crate) patterns: Vec<String>,
    /// Patterns of requests whose key is empty.
    pub(crate) exempt: Vec<String>,
    /// Reasons why the key is not quite the same.
    pub(crate) gaps: Vec<String>,
}

/// Returns the key of a text with variables.
///
/// # Errors
/// The reason why there is no such key.
pub(crate) fn zone_key(text: &str, variables: &Variables) -> Result<ZoneKey, String> {
    resolve(text, variables, 0)
}

fn resolve(text: &str, variables: &Variables, depth: usize) -> Result<ZoneKey, String> {
    if depth > MAX_DEPTH {
        return Err(format!(
            "expected at most {MAX_DEPTH} maps that refer to one another"
        ));
    }
    let parts = parts(text);
    if parts.is_empty() {
        return Err("its key is empty, which is no limit there".to_owned());
    }
    if let [Part::Variable(name)] = &parts[..] {
        if let Some(map) = variables.maps.get(name) {
            return of_map(name, map, variables, depth);
        }
        if let Some(geo) = variables.geos.get(name) {
            let map = Map {
                default: "global".to_owned(),
                entries: vec![(String::new(), String::new())],
                ..Map::default()
            };
            return of_geo(name, geo, &map, variables, depth);
        }
        if let Source::Optional(source) = source(name) {
            return Ok(ZoneKey {
                parts: vec![source],
                skips_missing: true,
                ..ZoneKey::default()
            });
        }
    }
    combined(&parts)
}

/// Returns the key of several parts, which is never empty if one of them is not.
fn combined(given: &[Part]) -> Result<ZoneKey, String> {
    let mut key = ZoneKey::default();
    for part in given {
        let Part::Variable(name) = part else {
            continue;
        };
        let part = match source(name) {
            Source::Always("global") | Source::Constant => continue,
            Source::Always(part) => part.to_owned(),
            Source::Optional(part) => format!("{part} | global"),
            Source::Unknown(reason) => {
                key.gaps
                    .push(format!("${name} is left out of the key: {reason}"));
                continue;
            }
        };
        if let Some(reason) = caveat(name) {
            key.gaps.push(reason.to_owned());
        }
        if !key.parts.contains(&part) {
            key.parts.push(part);
        }
    }
    if key.parts.is_empty() {
        if let Some(reason) = key.gaps.first() {
            return Err(reason.clone());
        }
        key.parts.push("global".to_owned());
    }
    Ok(key)
}

/// Returns the key that a map selects by its source.
fn of_map(name: &str, map: &Map, variables: &Variables, depth: usize) -> Result<ZoneKey, String> {
    let parts = parts(&map.source);
    let [Part::Variable(source_name)] = &parts[..] else {
        return Err(format!("map ${name}: expected one variable as its source"));
    };
    if let Some(geo) = variables.geos.get(source_name) {
        return of_geo(name, geo, map, variables, depth);
    }
    if let Some(inner) = variables.maps.get(source_name) {
        // One map of the values of the other.
        let composed = Map {
            source: inner.source.clone(),
            default: map.result(&inner.default).to_owned(),
            entries: inner
                .entries
                .iter()
                .map(|(value, result)| (value.clone(), map.result(result).to_owned()))
                .collect(),
        };
        if depth > MAX_DEPTH {
            return Err(format!(
                "expected at most {MAX_DEPTH} maps that refer to one another"
            ));
        }
        return of_map(name, &composed, variables, depth + 1);
    }
    match source_name.as_str() {
        "remote_addr" | "binary_remote_addr" => of_addresses(name, map, variables, depth),
        "request_method" | "uri" | "request_uri" | "document_uri" => {
            of_requests(name, map, variables, depth)
        }
        _ => of_values(name, source_name, map, variables, depth),
    }
}

fn of_geo(
    name: &str,
    geo: &Geo,
    map: &Map,
    variables: &Variables,
    depth: usize,
) -> Result<ZoneKey, String> {
    if let Some(source) = &geo.source {
        return Err(format!("geo of {source}: expected the client's address"));
    }
    let default = map.result(&geo.default);
    if default.is_empty() {
        return Err(format!(
            "${name}: only some networks are limited there; allow all other networks by hand"
        ));
    }
    let mut key = resolve(default, variables, depth + 1)?;
    let results = geo
        .networks
        .iter()
        .map(|(network, value)| (*network, map.result(value)));
    let results: Vec<(IpNet, &str)> = results.collect();
    add_networks(&mut key, &results, default);
    for other in &geo.others {
        key.gaps
            .push(format!("geo ${name}: {other}: expected a network"));
    }
    Ok(key)
}

fn of_addresses(
    name: &str,
    map: &Map,
    variables: &Variables,
    depth: usize,
) -> Result<ZoneKey, String> {
    if map.default.is_empty() {
        return Err(format!(
            "${name}: only some addresses are limited there; allow all other networks by hand"
        ));
    }
    let mut key = resolve(&map.default, variables, depth + 1)?;
    let mut results = Vec::new();
    for (value, result) in &map.entries {
        match IpNet::from_text(value) {
            Some(address) => results.push((address, result.as_str())),
            None => key
                .gaps
                .push(format!("map ${name}: {value}: expected an address")),
        }
    }
    add_networks(&mut key, &results, &map.default);
    Ok(key)
}

/// Adds the networks with an empty key to those that are exempt.
fn add_networks(key: &mut ZoneKey, results: &[(IpNet, &str)], default: &str) {
    for (network, result) in results {
        if result.is_empty() {
            let limited = results.iter().find(|(inner, result)| {
                !result.is_empty() && inner != network && network.contains(inner)
            });
            match limited {
                None => {
                    key.allow.insert(*network);
                }
                Some((inner, _)) => key.gaps.push(format!(
                    "{network} is not exempt, because {inner} within it is limited: list its other parts in allow"
                )),
            }
        } else if *result != default {
            key.gaps.push(format!(
                "{network} has another key there: it has the default one here"
            ));
        }
    }
}

/// Returns a key that only some methods or paths have.
fn of_requests(
    name: &str,
    map: &Map,
    variables: &Variables,
    depth: usize,
) -> Result<ZoneKey, String> {
    let mut results = map.entries.iter().map(|(_, result)| result);
    let result = match map.default.as_str() {
        "" => results
            .find(|result| !result.is_empty())
            .map_or("", String::as_str),
        default => default,
    };
    if result.is_empty() {
        return Err(format!("map ${name}: expected a key, got none"));
    }
    let is_method = map.source.contains("method");
    let mut key = resolve(result, variables, depth + 1)?;
    for (value, given) in &map.entries {
        let is_exempt = given.is_empty();
        if is_exempt == map.default.is_empty() {
            continue;
        }
        if !is_exempt && given != result {
            key.gaps.push(format!(
                "map ${name}: {value}: it has the key {result} here"
            ));
        }
        if is_method {
            let is_name = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_uppercase());
            match (is_name, is_exempt) {
                (true, true) => key.exempt.push(format!("{value} *")),
                (true, false) => key.methods.push(value.clone()),
                (false, _) => key
                    .gaps
                    .push(format!("map ${name}: {value}: expected a method")),
            }
            continue;
        }
        let regex = value.strip_prefix("~*").or_else(|| value.strip_prefix('~'));
        let paths = match regex {
            Some(regex) => of_regex(regex),
            None => Paths::exact(value),
        };
        match paths {
            Some(paths) if paths != Paths::All && is_exempt && !paths.is_wide() => {
                key.exempt.extend(paths.patterns());
            }
            Some(paths) if paths != Paths::All && !is_exempt => {
                key.patterns.extend(paths.patterns())
            }
            _ => key
                .gaps
                .push(format!("map ${name}: {value}: write match or cost by hand")),
        }
    }
    if map.default.is_empty() && key.methods.is_empty() && key.patterns.is_empty() {
        return Err(format!("map ${name}: no value of it is a method or a path"));
    }
    Ok(key)
}

/// Returns a key by the value of a header, a cookie or a parameter.
fn of_values(
    name: &str,
    source_name: &str,
    map: &Map,
    variables: &Variables,
    depth: usize,
) -> Result<ZoneKey, String> {
    let own = match source(source_name) {
        Source::Optional(own) => own,
        _ => return Err(format!("map ${name}: ${source_name} has no counterpart")),
    };
    let missing = map.result("");
    let is_own = |text: &str| parts(text) == [Part::Variable(source_name.to_owned())];
    let valued = map.entries.iter().filter(|(value, _)| !value.is_empty());
    let others = valued.filter(|(_, result)| *result != map.default).count();
    let mut key = if is_own(&map.default) {
        let mut key = match missing {
            "" => ZoneKey {
                skips_missing: true,
                ..ZoneKey::default()
            },
            missing if is_own(missing) => ZoneKey {
                skips_missing: true,
                ..ZoneKey::default()
            },
            missing => resolve(missing, variables, depth + 1)?,
        };
        key.parts = match &key.parts[..] {
            [] => vec![own],
            [other] => vec![format!("{own} | {other}")],
            _ => {
                return Err(format!(
                    "map ${name}: expected one variable without ${source_name}"
                ));
            }
        };
        key
    } else if map.default.is_empty() || missing != map.default {
        return Err(format!(
            "map ${name}: whether a request is limited depends on a value of ${source_name}; use header"
        ));
    } else {
        resolve(&map.default, variables, depth + 1)?
    };
    if others > 0 {
        // The values may be secrets.
        key.gaps.push(format!(
            "map ${name}: {others} values of ${source_name} have another key or none there; they are limited like all others here"
        ));
    }
    Ok(key)
}
