//! Routers of Traefik, of which each request has one.

use std::collections::BTreeSet;

use super::{
    middleware::local_name,
    rule::{Conditions, alternatives},
};
use crate::convert::{
    field::Field,
    pattern::{Paths, with_methods},
    policy::Policy,
    scope::{Place, Scope, scope},
};

/// Maximum number of alternatives of all rules, which bounds the time to compare them.
const MAX_ALTERNATIVES: usize = 1000;

#[derive(Clone, Debug)]
pub(crate) struct Router {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) middlewares: Vec<String>,
    pub(crate) alternatives: Vec<Conditions>,
    entry_points: BTreeSet<String>,
    priority: i64,
}

/// Requests of a router.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    pub(crate) scope: Scope,
    pub(crate) headers: Vec<String>,
}

/// Parses the table `http.routers`.
///
/// # Errors
/// The field, what was expected, and what was found.
pub(crate) fn routers(table: &Field<'_>) -> Result<Vec<Router>, String> {
    let mut routers = Vec::new();
    for (name, field) in table.entries()? {
        let names = |key: &str| field.get(key).map_or(Ok(Vec::new()), |list| list.texts());
        let rule = field.get("rule");
        let text = rule.as_ref().map_or(Ok(""), Field::text)?;
        let parsed = match (&rule, text) {
            (Some(rule), text) if !text.is_empty() => {
                alternatives(text).map_err(|error| format!("{}: {error}", rule.path))?
            }
            _ => vec![Conditions::default()],
        };
        let priority = match field.get("priority") {
            Some(priority) => priority.integer()?,
            None => 0,
        };
        let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
        routers.push(Router {
            name: name.to_owned(),
            path: field.path.clone(),
            middlewares: names("middlewares")?.into_iter().map(local_name).collect(),
            alternatives: parsed,
            entry_points: names("entryPoints")?
                .into_iter()
                .map(str::to_owned)
                .collect(),
            // Longer rules come first.
            priority: if priority == 0 { length } else { priority },
        });
    }
    let count = routers
        .iter()
        .map(|router: &Router| router.alternatives.len());
    let count = count.sum::<usize>();
    if count > MAX_ALTERNATIVES {
        return Err(format!(
            "{}: expected at most {MAX_ALTERNATIVES} alternatives of rules, got {count}",
            table.path
        ));
    }
    Ok(routers)
}

/// Returns the requests of a router, without those that another router has before it.
pub(crate) fn requests(policy: &mut Policy, router: &Router, all: &[Router]) -> Requests {
    add_gaps(policy, router);
    let mut places: Vec<Place> = router
        .alternatives
        .iter()
        .map(|one| place(one, true))
        .collect();
    let earlier = all.iter().filter(|other| {
        other.priority > router.priority && other.entry_points == router.entry_points
    });
    for other in earlier {
        for conditions in &other.alternatives {
            let has_hosts = router
                .alternatives
                .iter()
                .all(|own| conditions.hosts.is_empty() || conditions.hosts == own.hosts);
            let is_certain = conditions.headers.is_empty()
                && conditions.others.is_empty()
                && conditions.not_paths.is_empty();
            let has_paths = conditions.paths.is_some() || !conditions.methods.is_empty();
            if has_hosts && is_certain && has_paths {
                places.push(place(conditions, false));
            }
        }
    }
    let mut scope = scope(&places);
    // Paths that all alternatives exclude.
    if let [only] = &router.alternatives[..] {
        for paths in only.not_paths.iter().filter(|paths| !paths.is_wide()) {
            for pattern in paths.patterns() {
                scope
                    .costs
                    .push((with_methods(&only.methods, Some(&pattern)), 0));
            }
        }
    }
    let first = router.alternatives.first();
    let headers = first.map(|first| first.headers.clone()).unwrap_or_default();
    let is_same = router.alternatives.iter().all(|one| one.headers == headers);
    Requests {
        scope,
        headers: if is_same { headers } else { Vec::new() },
    }
}

fn place(conditions: &Conditions, is_limited: bool) -> Place {
    Place {
        paths: conditions.paths.clone().unwrap_or(Paths::All),
        methods: conditions.methods.clone(),
        is_limited,
    }
}

/// Adds gaps for conditions that the limit does not have.
fn add_gaps(policy: &mut Policy, router: &Router) {
    let place = format!("{}.rule", router.path);
    let hosts: BTreeSet<&str> = router
        .alternatives
        .iter()
        .flat_map(|one| one.hosts.iter().map(String::as_str))
        .collect();
    if !hosts.is_empty() {
        let hosts: Vec<&str> = hosts.into_iter().collect();
        policy.gap(
            &place,
            format!(
                "limits do not look at the host ({}): the limit applies to all hosts; run an instance for each where they differ",
                hosts.join(", ")
            ),
        );
    }
    for conditions in &router.alternatives {
        let paths = conditions.paths.iter().chain(&conditions.not_paths);
        for paths in paths.filter(|paths| paths.is_wide()) {
            let patterns = paths.patterns().join(", ");
            let reason =
                format!("{patterns} has more paths than the rule: the limit applies to them");
            policy.gap(&place, reason);
        }
        for other in &conditions.others {
            policy.gap(
                &place,
                format!("{other}: no counterpart, so the limit applies without it"),
            );
        }
        if router.alternatives.len() > 1 && !conditions.not_paths.is_empty() {
            let reason = "paths excluded from one of several alternatives are limited here";
            policy.gap(&place, reason);
        }
        if router
            .alternatives
            .iter()
            .any(|other| other.headers != conditions.headers)
        {
            let reason =
                "alternatives differ in headers: the limit applies whatever the headers are";
            policy.gap(&place, reason);
        }
    }
}
