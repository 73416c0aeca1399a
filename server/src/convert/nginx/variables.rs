//! Variables of `geo` and `map`, and the parts of a text with variables.

use std::collections::HashMap;

use ipnet::IpNet;

use super::syntax::Directive;
use crate::values::Value;

/// Variables that a file defines, by their names without `$`.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    pub(crate) geos: HashMap<String, Geo>,
    pub(crate) maps: HashMap<String, Map>,
}

/// Variable by the client's network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Geo {
    /// Variable with the address, if it is not the client's.
    pub(crate) source: Option<String>,
    pub(crate) default: String,
    pub(crate) networks: Vec<(IpNet, String)>,
    /// Lines that are not networks.
    pub(crate) others: Vec<String>,
}

/// Variable by the value of a text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    pub(crate) source: String,
    pub(crate) default: String,
    /// Values, or regular expressions that begin with `~`, and results.
    pub(crate) entries: Vec<(String, String)>,
}

impl Map {
    /// Returns the result of a value, of those that are no regular expressions.
    pub(crate) fn result(&self, value: &str) -> &str {
        let mut entries = self.entries.iter();
        let found = entries.find(|(given, _)| given.eq_ignore_ascii_case(value));
        found.map_or(&self.default, |(_, result)| result)
    }
}

impl Variables {
    /// Collects the variables of all blocks.
    pub(crate) fn add(&mut self, directives: &[Directive]) {
        for directive in directives {
            match directive.name.as_str() {
                "geo" => {
                    let (source, name) = match &directive.args[..] {
                        [name] => (None, name),
                        [source, name] => (Some(source.clone()), name),
                        _ => continue,
                    };
                    self.geos.insert(variable(name), geo(source, directive));
                }
                "map" => {
                    if let [source, name] = &directive.args[..] {
                        self.maps.insert(variable(name), map(source, directive));
                    }
                }
                _ => self.add(directive.block()),
            }
        }
    }
}

fn variable(name: &str) -> String {
    name.trim_start_matches('$').to_owned()
}

fn geo(source: Option<String>, directive: &Directive) -> Geo {
    let is_client =
        |source: &String| matches!(source.as_str(), "$remote_addr" | "$binary_remote_addr");
    let mut geo = Geo {
        source: source.filter(|source| !is_client(source)),
        ..Geo::default()
    };
    for entry in directive.block() {
        let result = entry.arg(0).to_owned();
        match entry.name.as_str() {
            "default" => geo.default = result,
            "ranges" | "delete" | "include" | "proxy" | "proxy_recursive" => {
                geo.others.push(entry.place());
            }
            network => match IpNet::from_text(network) {
                Some(network) => geo.networks.push((network.trunc(), result)),
                None => geo.others.push(entry.place()),
            },
        }
    }
    geo
}

fn map(source: &str, directive: &Directive) -> Map {
    let mut map = Map {
        source: source.to_owned(),
        ..Map::default()
    };
    for entry in directive.block() {
        let result = entry.arg(0).to_owned();
        match entry.name.as_str() {
            "default" => map.default = result,
            "hostnames" | "volatile" if entry.args.is_empty() => {}
            // A backslash keeps a value from being a keyword.
            value => map
                .entries
                .push((value.trim_start_matches('\\').to_owned(), result)),
        }
    }
    map
}

/// Part of a text with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(String),
    Variable(String),
}

/// Splits a text at its variables, `$name` or `${name}`.
pub(crate) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        if at > 0 {
            parts.push(Part::Literal(rest[..at].to_owned()));
        }
        rest = &rest[at + 1..];
        let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let braced = rest
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let (name, next) = match braced {
            Some(found) => found,
            None => {
                let end = rest.find(|char| !is_name(char)).unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        parts.push(match name {
            "" => Part::Literal("$".to_owned()),
            name => Part::Variable(name.to_owned()),
        });
        rest = next;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_at_variables() {
        let variable = |name: &str| Part::Variable(name.to_owned());
        let literal = |text: &str| Part::Literal(text.to_owned());
        assert_eq!(
            parts("$a${b}c"),
            [variable("a"), variable("b"), literal("c")]
        );
        assert_eq!(
            parts("a:$b-$"),
            [literal("a:"), variable("b"), literal("-"), literal("$")]
        );
        assert_eq!(parts("${b"), [literal("$"), literal("{b")]);
        assert_eq!(parts(""), []);
    }
}
