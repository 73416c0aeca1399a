//! Property: whatever servers read a path as, the routes of their readings are charged.

use std::{iter, sync::Arc};

use hyper::Method;
use proptest::prelude::*;

use super::{Price, Route, Routes};
use crate::{
    config,
    request::{
        path::{Name, ParsedPath},
        path_pattern::PathPattern,
    },
};

/// Path as a server reads it, and whether the server folds letter case.
struct Reading {
    segments: Vec<String>,
    folds_case: bool,
}

fn hex(text: &str) -> Option<u8> {
    text.bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u8::from_str_radix(text, 16).ok())
        .flatten()
}

/// Decodes escapes once, except those that `keeps` names.
fn decode(path: &str, keeps: &str) -> String {
    let (mut text, mut at) = (Vec::new(), 0);
    while at < path.len() {
        let escape = path.get(at..at + 3).filter(|text| text.starts_with('%'));
        match escape.and_then(|text| hex(&text[1..])) {
            Some(byte) if !keeps.as_bytes().contains(&byte) => {
                text.push(byte);
                at += 3;
            }
            _ => {
                text.push(path.as_bytes()[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn split(path: &str) -> Vec<&str> {
    path.strip_prefix('/').unwrap_or(path).split('/').collect()
}

fn join<T: AsRef<str>>(segments: &[T]) -> String {
    let names: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    format!("/{}", names.join("/"))
}

/// Resolves dot segments, after or without merging slashes.
fn resolve(path: &str, merges: bool) -> String {
    let mut resolved: Vec<&str> = Vec::new();
    for (at, segment) in split(path).into_iter().enumerate() {
        let is_last = at + 1 == split(path).len();
        match segment {
            "" if merges && !is_last => {}
            "." => {}
            ".." => drop(resolved.pop()),
            segment => resolved.push(segment),
        }
    }
    join(&resolved)
}

/// Removes path parameters from each segment.
fn strip(path: &str) -> String {
    let strip = |segment: &str| segment.split(';').next().unwrap_or("").to_owned();
    join(&split(path).into_iter().map(strip).collect::<Vec<_>>())
}

fn merge(path: &str) -> String {
    let mut segments = split(path);
    let last = segments.pop().unwrap_or("");
    segments.retain(|segment| !segment.is_empty());
    segments.push(last);
    join(&segments)
}

fn until(path: &str, ends: &[char]) -> String {
    path.split(ends).next().unwrap_or("").to_owned()
}

/// `new URL(target, base).pathname`
fn whatwg(target: &str) -> String {
    let text = until(&target.replace('\\', "/"), &['?', '#']);
    let path = match text.strip_prefix("//") {
        Some(rest) => {
            let rest = rest.trim_start_matches('/');
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if decode(host, "").contains(['/', '\\', '?', '#', '%', ' ', '\0']) {
                // It throws an error.
                return text;
            }
            if path.is_empty() { "/" } else { path }.to_owned()
        }
        None => text,
    };
    let dots = |segment: &str| {
        let decoded = segment.replace("%2e", ".").replace("%2E", ".");
        if [".", ".."].contains(&decoded.as_str()) {
            decoded
        } else {
            segment.to_owned()
        }
    };
    resolve(
        &join(&split(&path).into_iter().map(dots).collect::<Vec<_>>()),
        false,
    )
}

/// Names of segments without dots and spaces at their ends, as on Windows.
fn windows_names(path: &str) -> String {
    let trim = |segment: &str| match segment.trim_end_matches([' ', '.']) {
        "" => segment.to_owned(),
        name => name.to_owned(),
    };
    join(&split(path).into_iter().map(trim).collect::<Vec<_>>())
}

/// Readings of model servers. Each does what its name says, in the order of the real one.
fn server_readings(path: &str) -> Vec<(&'static str, Reading)> {
    let nginx = |path: &str| resolve(&decode(path, ""), true);
    let tomcat = |path: &str, keeps: &str| resolve(&merge(&decode(&strip(path), keeps)), true);
    let php = |path: &str| {
        let end = path
            .to_lowercase()
            .find(".php/")
            .map(|at| at + ".php".len());
        end.map_or_else(|| path.to_owned(), |end| path[end..].to_owned())
    };
    let exact = [
        ("raw", path.to_owned()),
        ("wsgi", decode(path, "")),
        ("nginx", nginx(path)),
        (
            "nginx without merge_slashes",
            resolve(&decode(path, ""), false),
        ),
        ("apache", resolve(&merge(&decode(path, "/")), true)),
        ("apache, decoding slashes", decode(&resolve(path, true), "")),
        ("tomcat", tomcat(path, "/\\")),
        ("tomcat, decoding slashes", tomcat(path, "\\")),
        (
            "tomcat, backslashes",
            resolve(&decode(&strip(path), "").replace('\\', "/"), true),
        ),
        ("tomcat behind nginx", tomcat(&nginx(path), "")),
        ("nginx before tomcat, raw", tomcat(&resolve(path, true), "")),
        ("jetty", strip(&resolve(&decode(path, ""), false))),
        (
            "jetty, resolving first",
            decode(&strip(&resolve(path, false)), ""),
        ),
        ("undertow", resolve(&strip(&decode(path, "")), true)),
        ("go", resolve(&decode(path, ""), true)),
        ("node, url", whatwg(path)),
        ("node, url, decoded", decode(&whatwg(path), "")),
        ("node, decoded, url", whatwg(&decode(path, ""))),
        ("fastify", until(path, &[';'])),
        ("fastify, decoded", decode(&until(path, &[';']), "")),
        ("rails", merge(path)),
        (
            "decoding twice",
            resolve(&decode(&decode(path, ""), ""), true),
        ),
        (
            "decoding thrice",
            decode(&decode(&decode(path, ""), ""), ""),
        ),
        ("two proxies", nginx(&nginx(path))),
        (
            "two proxies without merging",
            resolve(&decode(&resolve(&decode(path, ""), false), ""), false),
        ),
        ("nul", until(&nginx(path), &['\0'])),
        ("reparsing", until(&decode(path, ""), &['?', '#', ';'])),
        ("php", php(path)),
        ("php behind nginx", php(&nginx(path))),
    ];
    let any_case = [
        ("express", path.to_owned()),
        ("kestrel", resolve(&decode(path, "/"), false)),
        ("caddy", resolve(&decode(path, ""), true)),
        (
            "iis",
            windows_names(&resolve(&decode(path, "").replace('\\', "/"), true)),
        ),
        (
            "iis, decoding twice",
            windows_names(&resolve(
                &decode(&decode(path, ""), "").replace('\\', "/"),
                true,
            )),
        ),
    ];
    let with_case = |folds_case: bool| {
        move |(name, path): (&'static str, String)| {
            // All of these take a path with a trailing slash for the one without.
            let mut segments: Vec<String> = split(&path).into_iter().map(str::to_owned).collect();
            if segments.last().is_some_and(String::is_empty) {
                segments.pop();
            }
            (
                name,
                Reading {
                    segments,
                    folds_case,
                },
            )
        }
    };
    exact
        .into_iter()
        .map(with_case(false))
        .chain(any_case.into_iter().map(with_case(true)))
        .collect()
}

/// A route without a bucket of its own.
fn route(path: &str, cost: Option<u32>) -> Route {
    Route {
        configured: config::Route {
            method: None,
            path: path.to_owned(),
            name: None,
            exempt: cost.is_none(),
            cost,
            own_quota: None,
        },
        counters: Arc::default(),
        own: None,
    }
}

/// Returns the cost of the route that a server's reading matches, `None` if it is exempt.
fn cost_of_reading(routes: &[(String, Option<u32>)], reading: &Reading) -> Option<u32> {
    let fold = |text: &str| {
        if reading.folds_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    };
    let path: Vec<String> = reading
        .segments
        .iter()
        .map(|segment| fold(segment))
        .collect();
    let matching = |is_exact: bool, length: usize| {
        let costs = routes.iter().filter(|(route, _)| {
            let parent = route.strip_suffix("/*");
            let names = split(parent.unwrap_or(route));
            let names = names.into_iter().filter(|name| !name.is_empty()).map(fold);
            parent.is_none() == is_exact && names.eq(path[..length].iter().cloned())
        });
        // Two spellings of one path: the server does not tell them apart.
        costs.map(|(_, cost)| *cost).max()
    };
    let lengths = (0..=path.len()).rev();
    iter::once((true, path.len()))
        .chain(lengths.map(|length| (false, length)))
        .find_map(|(is_exact, length)| matching(is_exact, length))
        .unwrap_or(Some(1))
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("/"),
        4 => prop::sample::select(vec!["a", "b", "A", "%61", "%2561", "a.php", "ab"]),
        3 => prop::sample::select(vec![
            "..", "/../", "%2e%2e", ".%2E", "%252e%252e", "..;", "..;x", "%2e%2e%3b", ".", "/./", "%2e", "...",
        ]),
        2 => prop::sample::select(vec![
            "//", "%2f", "%2F", "%252F", "\\", "%5c", "%255C", ";", ";a", "%3B", "%00", "%23", "%3fa", "%20", "%", "%2",
            "%25", "%u002f", "%c0%af", "2e", "2F",
        ]),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..9).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn routes() -> impl Strategy<Value = Vec<(String, Option<u32>)>> {
    let path = prop::collection::vec(
        prop::sample::select(vec!["a", "b", "A", "ab", "a.php"]),
        0..3,
    );
    let cost = prop_oneof![Just(None), (2..9_u32).prop_map(Some)];
    let route = (path, any::<bool>(), cost).prop_map(|(names, covers, cost)| {
        let path = join(&names);
        let path = if covers {
            format!("{}/*", path.trim_end_matches('/'))
        } else {
            path
        };
        (path, cost)
    });
    prop::collection::vec(route, 1..5).prop_map(|mut routes| {
        routes.sort();
        routes.dedup_by(|a, b| a.0 == b.0);
        routes
    })
}

fn check(path: &str, given: &[(String, Option<u32>)]) -> Result<(), TestCaseError> {
    let routes = Routes::new(given.iter().map(|(path, cost)| route(path, *cost)), false);
    let counters = Arc::default();
    let Ok(price) = routes.price(&Method::GET, path, &Price::new(1, &counters)) else {
        return Ok(());
    };
    prop_assert!(price.more.is_empty(), "there is one bucket");
    let charged = price.fee.map(|fee| fee.cost);
    for (server, reading) in server_readings(path) {
        let cost = cost_of_reading(given, &reading);
        prop_assert!(
            charged >= cost,
            "{path} costs {charged:?} with {given:?}; {server} reads {:?}, which costs {cost:?}",
            reading.segments
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_path_costs_as_much_as_any_servers_reading_of_it(path in path(), routes in routes()) {
        check(&path, &routes)?;
    }

    #[test]
    fn a_pattern_describes_what_any_server_reads(path in path(), pattern in patterns()) {
        check_pattern(&path, &pattern)?;
    }

    #[test]
    fn a_plain_path_costs_what_its_route_costs(
        names in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "a%20b"]), 0..4),
        routes in routes(),
    ) {
        let routes: Vec<_> = routes
            .into_iter()
            .filter(|(path, _)| !path.contains('A') && !path.contains(".php"))
            .collect();
        let path = join(&names);
        let counters = Arc::default();
        let built = Routes::new(routes.iter().map(|(path, cost)| route(path, *cost)), false);
        let price = built.price(&Method::GET, &path, &Price::new(1, &counters)).unwrap();
        let segments = names.iter().map(|name| (*name).to_owned()).collect();
        let expected = cost_of_reading(&routes, &Reading { segments, folds_case: false });
        prop_assert_eq!(price.fee.map(|fee| fee.cost), expected, "{} with {:?}", path, routes);
    }
}

fn patterns() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "{id}", "*", "a*", "*b", "**", "ab"]);
    prop::collection::vec(segment, 1..4).prop_map(|segments| join(&segments))
}

/// Checks that a pattern describes a path if it describes what some server reads.
fn check_pattern(path: &str, text: &str) -> Result<(), TestCaseError> {
    let pattern = PathPattern::parse(text).unwrap();
    let Ok(parsed) = ParsedPath::parse(path) else {
        return Ok(());
    };
    let Ok(names) = parsed.names() else {
        return Ok(());
    };
    let is_described = names.iter().any(|names| pattern.matches(names));
    for (server, reading) in server_readings(path) {
        // No server takes an empty segment for a placeholder's. The digits of an escape are no end of
        // a name.
        let has_affix = text.contains("a*") || text.contains("*b");
        let is_meant = |name: &String| !(name.is_empty() || has_affix && name.contains('%'));
        if !reading.folds_case && reading.segments.iter().all(is_meant) {
            let as_sent: Vec<_> = reading.segments.iter().map(Name::new).collect();
            prop_assert!(
                is_described || !pattern.matches(&as_sent),
                "{text} does not describe {path}; {server} reads {:?}",
                reading.segments
            );
        }
    }
    Ok(())
}

/// A character that is a separator to some server is a part of a segment to another one.
#[test]
fn placeholders_describe_segments_as_any_server_splits_them() {
    for (path, pattern) in [
        ("/users/7%2fx", "/users/{id}"),
        ("/users/7%5cx", "/users/{id}"),
        ("/users/7%252fx", "/users/{id}"),
        ("/users/7%u002fx", "/users/{id}"),
        ("/users/7%c0%afx", "/users/{id}"),
        ("/users/7\\x", "/users/*"),
        ("/users/.", "/users/{id}"),
        ("/users/..", "/users/{id}"),
        ("/users/%2e%2e%2fx", "/users/{id}"),
        ("/a%2f../b", "/{id}/b"),
        ("/pre-1%2f2", "/pre-*"),
        ("/a/b%2fc/d", "/a/*/d"),
        // An escape that a server decodes is a separator beside one that it does not decode.
        ("/a%252F%u002f", "/{id}/{id}"),
        ("/a%252F%25252F", "/{id}/{id}"),
        ("/a%2F%c0%af", "/{id}/{id}"),
    ] {
        check_pattern(path, pattern).unwrap();
    }
}

/// A path parameter ends at the next separator, and servers differ in what that is.
#[test]
fn a_parameter_ends_at_whichever_separator_a_server_knows() {
    for (path, route) in [
        ("/a;%2fx/b", "/a/b"),
        ("/a;x%2fy/b", "/a/b"),
        ("/a;%252fx/b", "/a/b"),
        ("/a;%5cx/b", "/a/b"),
        ("/a;x\\y/b", "/a/b"),
        ("/a;%2f../b", "/a/b"),
        ("/a;%2fx\\y/b", "/a/b"),
        ("/..;%2fa/b", "/b"),
        ("/..;%u002fa/b", "/b"),
        ("/a/..;%2fx/b", "/b"),
    ] {
        check(path, &[(route.to_owned(), Some(2))]).unwrap();
    }
}

/// To a server that knows none of the separators in it, a host is as long as the path up to a slash, or
/// to what ends the path.
#[test]
fn a_host_ends_with_the_path_also_after_separators_in_it() {
    for path in [
        "//a%23",
        "//a%c0%afa%23/a",
        "//a%2fa%23",
        "//a%252fa%2523/b",
        "//a%u002fa%3fb/a",
    ] {
        check(path, &[("/".to_owned(), Some(2))]).unwrap();
    }
}
