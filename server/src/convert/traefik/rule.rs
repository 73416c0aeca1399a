//! Rules of routers, such as ``Host(`a.example`) && PathPrefix(`/api`)``.

use std::collections::BTreeSet;

use crate::convert::{
    pattern::{Paths, is_valid},
    regex::of_regex,
};

/// Maximum depth of parentheses and negations.
const MAX_DEPTH: usize = 32;

/// Maximum number of alternatives.
const MAX_ALTERNATIVES: usize = 64;

/// One of the alternatives of a rule: all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) hosts: BTreeSet<String>,
    /// `None`: all.
    pub(crate) paths: Option<Paths>,
    /// Empty: all.
    pub(crate) methods: Vec<String>,
    pub(crate) headers: Vec<String>,
    /// Paths that are excluded.
    pub(crate) not_paths: Vec<Paths>,
    /// Conditions without a counterpart.
    pub(crate) others: Vec<String>,
}

/// Parses a rule into its alternatives.
///
/// # Errors
/// The expected text, and the given one.
pub(crate) fn alternatives(rule: &str) -> Result<Vec<Conditions>, String> {
    let mut parser = Parser { rest: rule };
    let alternatives = parser.or(0)?;
    match parser.peek() {
        None => Ok(alternatives),
        Some(char) => Err(format!("expected && or ||, got {char}")),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.peek();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn or(&mut self, depth: usize) -> Result<Vec<Conditions>, String> {
        let mut all = self.and(depth)?;
        while self.take("||") {
            all.extend(self.and(depth)?);
            check_count(&all)?;
        }
        Ok(all)
    }

    fn and(&mut self, depth: usize) -> Result<Vec<Conditions>, String> {
        let mut all = self.operand(depth)?;
        while self.take("&&") {
            let more = self.operand(depth)?;
            let pairs = all
                .iter()
                .flat_map(|one| more.iter().map(move |other| one.and(other)));
            all = pairs.collect();
            check_count(&all)?;
        }
        Ok(all)
    }

    fn operand(&mut self, depth: usize) -> Result<Vec<Conditions>, String> {
        if depth > MAX_DEPTH {
            return Err(format!("expected at most {MAX_DEPTH} levels, got more"));
        }
        if self.take("!") {
            let start = self.rest;
            let inner = self.operand(depth + 1)?;
            let text = &start[..start.len() - self.rest.len()];
            return Ok(vec![negated(&inner, text)]);
        }
        if self.take("(") {
            let inner = self.or(depth + 1)?;
            return match self.take(")") {
                true => Ok(inner),
                false => Err("expected ) at its end".to_owned()),
            };
        }
        self.matcher()
    }

    fn matcher(&mut self) -> Result<Vec<Conditions>, String> {
        self.peek();
        let start = self.rest;
        let is_name = |char: char| char.is_ascii_alphanumeric();
        let end = start.find(|char| !is_name(char)).unwrap_or(start.len());
        let name = &start[..end];
        self.rest = &start[end..];
        if name.is_empty() || !self.take("(") {
            return Err(format!(
                "expected a matcher such as Host(`a.example`), got {start:?}"
            ));
        }
        let mut arguments = Vec::new();
        while !self.take(")") {
            arguments.push(self.argument()?);
            if !self.take(",") && self.peek() != Some(')') {
                return Err(format!("{name}: expected , or ) after an argument"));
            }
        }
        let text = &start[..start.len() - self.rest.len()];
        Ok(conditions(name, &arguments, text))
    }

    fn argument(&mut self) -> Result<&'a str, String> {
        let expected = || "expected an argument in backticks or quotation marks".to_owned();
        let quote = self
            .peek()
            .filter(|char| "`\"'".contains(*char))
            .ok_or_else(expected)?;
        let rest = &self.rest[1..];
        let end = rest.find(quote).ok_or_else(expected)?;
        self.rest = &rest[end + 1..];
        Ok(&rest[..end])
    }
}

fn check_count(all: &[Conditions]) -> Result<(), String> {
    if all.len() > MAX_ALTERNATIVES {
        return Err(format!(
            "expected at most {MAX_ALTERNATIVES} alternatives, got more"
        ));
    }
    Ok(())
}

/// Returns the conditions of a matcher. Several arguments are alternatives, except of headers.
fn conditions(name: &str, arguments: &[&str], text: &str) -> Vec<Conditions> {
    let other = || {
        vec![Conditions {
            others: vec![text.to_owned()],
            ..Conditions::default()
        }]
    };
    let of_paths = |paths: &dyn Fn(&str) -> Option<Paths>| {
        let each = arguments.iter().map(|argument| {
            Some(Conditions {
                paths: Some(paths(argument)?),
                ..Conditions::default()
            })
        });
        each.collect::<Option<Vec<_>>>()
            .filter(|all| !all.is_empty())
            .unwrap_or_else(other)
    };
    match name {
        "Host" | "HostHeader" => vec![Conditions {
            hosts: arguments
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            ..Conditions::default()
        }],
        "Path" => of_paths(&|path| placeholders(path, "").or_else(|| Paths::exact(path))),
        "PathPrefix" => {
            of_paths(&|path| placeholders(path, "/*").or_else(|| Paths::prefix(path, false)))
        }
        "PathRegexp" => of_paths(&of_regex),
        "Method" => vec![Conditions {
            methods: arguments
                .iter()
                .map(|method| method.to_ascii_uppercase())
                .collect(),
            ..Conditions::default()
        }],
        "Header" | "Headers" => match arguments {
            [name, value] => vec![Conditions {
                headers: vec![format!("{name}: {value}")],
                ..Conditions::default()
            }],
            _ => other(),
        },
        _ => other(),
    }
}

/// Returns the paths of a text with placeholders, such as `/users/{id:[0-9]+}`, of Traefik 2.
fn placeholders(path: &str, end: &str) -> Option<Paths> {
    if !path.contains('{') {
        return None;
    }
    let segments = path
        .trim_end_matches('/')
        .split('/')
        .map(|segment| match segment {
            segment if segment.starts_with('{') && segment.ends_with('}') => Some("{id}"),
            segment if segment.contains(['{', '}', '*']) => None,
            segment => Some(segment),
        });
    let pattern = segments.collect::<Option<Vec<_>>>()?.join("/") + end;
    is_valid(&pattern).then_some(Paths::Patterns {
        patterns: vec![pattern],
        // A placeholder may have a regular expression.
        is_wide: path.contains(':'),
    })
}

/// Returns the negation of alternatives, which is none of an alternative of paths.
fn negated(inner: &[Conditions], text: &str) -> Conditions {
    let mut conditions = Conditions::default();
    for one in inner {
        let mut only_paths = Conditions {
            paths: one.paths.clone(),
            ..Conditions::default()
        };
        match only_paths.paths.take() {
            Some(paths)
                if Conditions {
                    paths: None,
                    ..one.clone()
                } == only_paths =>
            {
                conditions.not_paths.push(paths);
            }
            _ => {
                conditions.others = vec![format!("!{}", text.trim_end())];
                conditions.not_paths.clear();
                return conditions;
            }
        }
    }
    conditions
}

impl Conditions {
    fn and(&self, other: &Conditions) -> Conditions {
        let mut all = self.clone();
        if all.hosts.is_empty() {
            all.hosts.clone_from(&other.hosts);
        }
        match (&all.paths, &other.paths) {
            (Some(own), Some(paths)) if own.covers(paths) => all.paths = Some(paths.clone()),
            (Some(own), Some(paths)) if paths.covers(own) => {}
            (Some(_), Some(paths)) => all.others.extend(paths.patterns()),
            (None, paths) => all.paths.clone_from(paths),
            (Some(_), None) => {}
        }
        if all.methods.is_empty() {
            all.methods.clone_from(&other.methods);
        } else if !other.methods.is_empty() {
            all.methods.retain(|method| other.methods.contains(method));
        }
        all.headers.extend(other.headers.iter().cloned());
        all.not_paths.extend(other.not_paths.iter().cloned());
        all.others.extend(other.others.iter().cloned());
        all
    }
}
