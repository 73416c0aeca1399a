//! Levels of a file: `http`, servers and locations, with the limits that each inherits.

use super::{
    syntax::Directive,
    zone::{Use, use_of_zone},
};
use crate::convert::{pattern::Paths, regex::of_regex};

/// Limits of a level. A level with limits of its own has none of the outer level's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) requests: Kind,
    pub(crate) connections: Kind,
}

/// Limits of requests, or of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) uses: Vec<Use>,
    pub(crate) status: Option<u16>,
    pub(crate) is_dry_run: bool,
}

/// Server, with its locations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    pub(crate) line: usize,
    pub(crate) names: String,
    pub(crate) locations: Vec<Location>,
    /// Locations whose requests cannot be described, with a reason.
    pub(crate) unknown: Vec<(String, Level)>,
    /// Named locations with limits of their own.
    pub(crate) named: Vec<String>,
    /// All its requests are answered with a redirect or a fixed status.
    pub(crate) is_fixed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) place: String,
    pub(crate) paths: Paths,
    pub(crate) level: Level,
}

impl Level {
    /// Returns the level of a block within this one.
    pub(crate) fn inner(&self, directives: &[Directive]) -> Result<Level, String> {
        Ok(Level {
            requests: self.requests.inner("limit_req", directives)?,
            connections: self.connections.inner("limit_conn", directives)?,
        })
    }

    pub(crate) fn has_limits(&self) -> bool {
        !self.requests.uses.is_empty() || !self.connections.uses.is_empty()
    }
}

impl Kind {
    fn inner(&self, name: &str, directives: &[Directive]) -> Result<Kind, String> {
        let mut kind = self.clone();
        let mut own = Vec::new();
        for directive in directives {
            match directive.name.strip_prefix(name) {
                Some("") => own.push(use_of_zone(directive)?),
                Some("_status") => {
                    let status = directive.arg(0).parse().ok();
                    let status = status.filter(|status| (400..=599).contains(status));
                    kind.status = Some(status.ok_or_else(|| {
                        format!(
                            "line {}: {}: expected a status from 400 to 599, got {}",
                            directive.line,
                            directive.name,
                            directive.arg(0)
                        )
                    })?);
                }
                Some("_dry_run") => kind.is_dry_run = directive.is_on(),
                _ => {}
            }
        }
        if !own.is_empty() {
            kind.uses = own;
        }
        Ok(kind)
    }
}

/// Returns the servers of the level `http`.
///
/// # Errors
/// The line, what was expected, and what was found.
pub(crate) fn servers(directives: &[&Directive], http: &Level) -> Result<Vec<Server>, String> {
    let mut servers = Vec::new();
    for directive in directives
        .iter()
        .filter(|directive| directive.name == "server")
    {
        let block = directive.block();
        let names = block
            .iter()
            .find(|directive| directive.name == "server_name");
        let is_answer = |directive: &Directive| matches!(directive.name.as_str(), "return");
        let mut server = Server {
            line: directive.line,
            names: names.map_or_else(String::new, |names| names.args.join(" ")),
            is_fixed: block.iter().any(is_answer),
            ..Server::default()
        };
        let level = http.inner(block)?;
        add_locations(&mut server, block, &level, &Paths::All)?;
        // Requests to no location, unless one is for all paths.
        if !server
            .locations
            .iter()
            .any(|location| location.paths == Paths::All)
        {
            let location = Location {
                place: directive.place(),
                paths: Paths::All,
                level,
            };
            server.locations.insert(0, location);
        }
        servers.push(server);
    }
    Ok(servers)
}

/// Adds the locations of a block, whose requests are those of a level and of paths.
fn add_locations(
    server: &mut Server,
    block: &[Directive],
    outer: &Level,
    within: &Paths,
) -> Result<(), String> {
    for directive in block
        .iter()
        .filter(|directive| directive.name == "location")
    {
        let level = outer.inner(directive.block())?;
        let paths = match &directive.args[..] {
            // A named location has no requests of its own, but those that others send to it.
            [path] if path.starts_with('@') => {
                if Level::default().inner(directive.block())?.has_limits() {
                    server.named.push(directive.place());
                }
                continue;
            }
            [path] => modifier(path),
            [modifier, path] => paths(modifier, path),
            _ => None,
        };
        let paths = paths.map(|paths| paths.within(within));
        let inner = paths.clone().unwrap_or(Paths::All);
        match paths {
            Some(paths) => server.locations.push(Location {
                place: directive.place(),
                paths,
                level: level.clone(),
            }),
            None => server.unknown.push((directive.place(), level.clone())),
        }
        add_locations(server, directive.block(), &level, &inner)?;
    }
    Ok(())
}

/// Returns the paths of a location in one word, such as `=/login` or `~\.php$`.
fn modifier(path: &str) -> Option<Paths> {
    let modifiers = ["=", "^~", "~*", "~"].into_iter();
    let mut found = modifiers.filter_map(|modifier| Some((modifier, path.strip_prefix(modifier)?)));
    match found.next() {
        Some((modifier, path)) => paths(modifier, path),
        None => paths("", path),
    }
}

fn paths(modifier: &str, path: &str) -> Option<Paths> {
    match modifier {
        "=" => Paths::exact(path),
        "~" | "~*" => of_regex(path),
        "^~" => Paths::prefix(path, true),
        "" => Paths::prefix(path, false),
        _ => None,
    }
}
