//! Meaning of the examples of the guide, in exact numbers.

use std::time::Duration;

use super::{Headers, Meaning, Policy, Sent, check};
use crate::pipeline::tests::reference::{Part, Rate};

/// Part of a request, with the quota's text and its meaning: the tokens of so many seconds, which
/// are the capacity as well.
fn part(limit: &str, key: impl Into<String>, text: &str, tokens: u32, seconds: u64) -> Part {
    with_capacity(limit, key, text, tokens, (tokens, seconds))
}

fn with_capacity(
    limit: &str,
    key: impl Into<String>,
    text: &str,
    capacity: u32,
    (tokens, seconds): (u32, u64),
) -> Part {
    Part {
        limit: limit.to_owned(),
        key: key.into(),
        rate: Rate::new(text, capacity, tokens, Duration::from_secs(seconds)),
        cost: 1,
        is_shadow: false,
    }
}

fn key_or_ip(sent: &Sent, header: &str) -> String {
    let key = sent.header(header).map(|key| format!("key {key}"));
    key.unwrap_or_else(|| sent.ip())
}

const ANYWHERE: &[(&str, &str)] = &[("GET", "/"), ("POST", "/a"), ("GET", "/api/data")];
const PAUSES: &[u64] = &[0, 0, 0, 20, 137, 1000, 7919, 300_000];
const API_KEYS: &[Headers] = &[
    &[],
    &[("X-API-Key", "alice")],
    &[("X-API-Key", "bob")],
    &[("X-API-Key", "")],
    &[("X-API-Key", "alice"), ("X-API-Key", "alice")],
];

#[test]
fn a_burst_and_an_hourly_allowance_of_each_key() {
    check(&Policy {
        heading: "1.",
        settings: "",
        pauses: &[0, 100, 100, 100],
        burst: 400,
        targets: ANYWHERE,
        headers: API_KEYS,
        meaning: |sent| {
            let key = key_or_ip(sent, "X-API-Key");
            Meaning::Limited(vec![
                part("key", key.clone(), "10/s", 10, 1),
                part("key-2", key, "1000/hour", 1000, 3600),
            ])
        },
        refusing: &["key", "key-2"],
    });
}

#[test]
fn key_address_and_everything_at_the_same_time() {
    check(&Policy {
        heading: "2.",
        settings: "",
        pauses: &[0, 0, 0, 0, 0, 1, 20, 1000],
        burst: 90,
        targets: ANYWHERE,
        headers: &[
            &[],
            &[("X-API-Key", "a")],
            &[("X-API-Key", "b")],
            &[("X-API-Key", "c")],
            &[("X-API-Key", "d")],
            &[("X-API-Key", "e")],
            &[("X-API-Key", "f")],
            &[("X-API-Key", "g")],
        ],
        meaning: |sent| {
            Meaning::Limited(vec![
                part("key", key_or_ip(sent, "X-API-Key"), "10/s", 10, 1),
                part("ip", sent.ip(), "50/s", 50, 1),
                part("all", "", "5000/s", 5000, 1),
            ])
        },
        refusing: &["ip", "key"],
    });
}

#[test]
fn writes_cost_more_than_reads() {
    check(&Policy {
        heading: "3.",
        settings: "",
        pauses: PAUSES,
        burst: 150,
        targets: &[
            ("GET", "/"),
            ("GET", "/search"),
            ("POST", "/search"),
            ("POST", "//search"),
            ("POST", "/other"),
            ("DELETE", "/other"),
        ],
        headers: API_KEYS,
        meaning: |sent| match sent.header("X-API-Key") {
            None => Meaning::Status(401),
            Some(key) => Meaning::Limited(vec![Part {
                cost: match (sent.method, sent.path) {
                    ("GET", _) => 1,
                    ("POST", "/search" | "//search") => 20,
                    _ => 5,
                },
                ..part("points", key, "1000/minute", 1000, 60)
            }]),
        },
        refusing: &["points"],
    });
}

#[test]
fn an_expensive_path_in_place_of_the_default() {
    check(&Policy {
        heading: "4.",
        settings: "",
        pauses: PAUSES,
        burst: 150,
        targets: &[
            ("GET", "/"),
            ("GET", "/reports"),
            ("POST", "/reports/1"),
            ("GET", "/Reports/2"),
            ("GET", "/reports//2"),
            ("GET", "/reports2"),
        ],
        headers: &[&[]],
        meaning: |sent| {
            let default = part("default", sent.ip(), "100/minute", 100, 60);
            let reports = part("reports", sent.ip(), "10/hour", 10, 3600);
            Meaning::Limited(match sent.path {
                "/" | "/reports2" => vec![default],
                // Not every server reads it as a path of the reports.
                "/reports//2" => vec![default, reports],
                _ => vec![reports],
            })
        },
        refusing: &["default", "reports"],
    });
}

#[test]
fn a_tenant_in_the_path() {
    check(&Policy {
        heading: "5.",
        settings: "",
        pauses: PAUSES,
        burst: 150,
        targets: &[
            ("GET", "/t/acme/a"),
            ("POST", "/t/acme"),
            ("GET", "//T/acme/b"),
            ("GET", "/t/other/a"),
            ("GET", "/t"),
            ("GET", "/"),
        ],
        headers: &[&[]],
        meaning: |sent| {
            let tenant = match sent.path {
                "/t" | "/" => return Meaning::Unlimited,
                "/t/other/a" => "other",
                _ => "acme",
            };
            Meaning::Limited(vec![part("tenant", tenant, "100/s", 100, 1)])
        },
        refusing: &["tenant"],
    });
}

#[test]
fn a_stricter_limit_tried_out() {
    check(&Policy {
        heading: "6.",
        settings: "",
        pauses: PAUSES,
        burst: 40,
        targets: ANYWHERE,
        headers: &[&[]],
        meaning: |sent| {
            Meaning::Limited(vec![
                part("default", sent.ip(), "20/s", 20, 1),
                Part {
                    is_shadow: true,
                    ..part("next", sent.ip(), "5/s", 5, 1)
                },
            ])
        },
        refusing: &["default"],
    });
}

#[test]
fn networks_without_limits_and_without_access() {
    check(&Policy {
        heading: "7.",
        settings: "trust_proxy = ['127.0.0.1']",
        pauses: PAUSES,
        burst: 40,
        targets: ANYWHERE,
        headers: &[
            &[("X-Forwarded-For", "10.1.2.3")],
            &[("X-Forwarded-For", "203.0.113.7")],
            &[("X-Forwarded-For", "192.0.2.7")],
        ],
        // The second source is no trusted proxy.
        meaning: |sent| match sent.header("X-Forwarded-For") {
            Some("10.1.2.3") if sent.source == 1 => Meaning::Unlimited,
            Some("203.0.113.7") if sent.source == 1 => Meaning::Status(403),
            Some(client) if sent.source == 1 => {
                Meaning::Limited(vec![part("default", client, "20/s", 20, 1)])
            }
            _ => Meaning::Limited(vec![part("default", sent.ip(), "20/s", 20, 1)]),
        },
        refusing: &["default"],
    });
}

#[test]
fn four_windows_at_once_with_a_whitelist() {
    check(&Policy {
        heading: "Four windows",
        settings: "trust_proxy = ['127.0.0.0/8']",
        pauses: &[0, 500, 500, 500, 137, 9000],
        burst: 150,
        targets: &[("GET", "/"), ("POST", "/a"), ("GET", "/api/license")],
        headers: &[
            &[("X-Forwarded-For", "192.0.2.7")],
            &[("X-Forwarded-For", "192.0.2.8")],
            &[("X-Forwarded-For", "192.168.0.9")],
        ],
        meaning: |sent| match (sent.header("X-Forwarded-For"), sent.path) {
            (Some("192.168.0.9"), _) | (_, "/api/license") => Meaning::Unlimited,
            (client, _) => {
                let client = client.unwrap();
                Meaning::Limited(vec![
                    part("general", client, "2/s", 2, 1),
                    part("general-2", client, "100/15min", 100, 900),
                    part("general-3", client, "1000/12h", 1000, 12 * 3600),
                    part("general-4", client, "10000/week", 10_000, 7 * 86_400),
                ])
            }
        },
        refusing: &["general", "general-2"],
    });
}

#[test]
fn a_limit_of_a_path_for_all_callers() {
    check(&Policy {
        heading: "A limit of a path",
        settings: "",
        pauses: PAUSES,
        burst: 40,
        targets: &[
            ("GET", "/productpage"),
            ("POST", "/productpage"),
            ("GET", "/"),
        ],
        headers: &[&[]],
        meaning: |sent| match sent.path {
            "/" => Meaning::Unlimited,
            _ => Meaning::Limited(vec![part(
                "productpage",
                "",
                "10 per minute, all at once",
                10,
                60,
            )]),
        },
        refusing: &["productpage"],
    });
}

#[test]
fn by_user_if_there_is_one_else_by_address() {
    check(&Policy {
        heading: "By user",
        settings: "",
        pauses: PAUSES,
        burst: 40,
        targets: ANYWHERE,
        headers: &[
            &[],
            &[("Cookie", "a=b; session=x")],
            &[("Cookie", "session=x"), ("Authorization", "Bearer t")],
            &[("Authorization", "Bearer t")],
            &[("Authorization", "bearer  t")],
            &[("Authorization", "Bearer u")],
        ],
        meaning: |sent| {
            let key = match (sent.header("Cookie"), sent.header("Authorization")) {
                (Some(_), _) => "session x".to_owned(),
                (None, Some("Bearer u")) => "token u".to_owned(),
                (None, Some(_)) => "token t".to_owned(),
                (None, None) => sent.ip(),
            };
            Meaning::Limited(vec![part("user", key, "60/minute", 60, 60)])
        },
        refusing: &["user"],
    });
}

#[test]
fn consumers_and_services() {
    check(&Policy {
        heading: "Consumers",
        settings: "",
        pauses: PAUSES,
        burst: 40,
        targets: &[
            ("GET", "/orders/1"),
            ("POST", "/orders"),
            ("GET", "/billing/1"),
            ("GET", "/other"),
        ],
        headers: &[&[("apikey", "alice")], &[("apikey", "bob")], &[]],
        meaning: |sent| {
            let Some(key) = sent.header("apikey") else {
                return Meaning::Status(401);
            };
            let service = match sent.path {
                "/billing/1" => Some(part("billing", key, "5/minute", 5, 60)),
                "/other" => None,
                _ => Some(part("orders", key, "10/minute", 10, 60)),
            };
            let consumer = part("consumer", key, "12/minute", 12, 60);
            Meaning::Limited(service.into_iter().chain([consumer]).collect())
        },
        refusing: &["billing", "consumer", "orders"],
    });
}

#[test]
fn two_zones_with_burst_and_nodelay() {
    check(&Policy {
        heading: "Two zones with burst and nodelay",
        settings: "",
        pauses: PAUSES,
        burst: 40,
        targets: ANYWHERE,
        headers: &[&[]],
        meaning: |sent| {
            Meaning::Limited(vec![
                with_capacity("perip", sent.ip(), "1r/s burst 6", 6, (1, 1)),
                with_capacity("perserver", "", "10r/s burst 11", 11, (10, 1)),
            ])
        },
        refusing: &["perip", "perserver"],
    });
}

#[test]
fn average_period_and_burst_with_a_depth() {
    check(&Policy {
        heading: "Average",
        settings: "",
        pauses: PAUSES,
        burst: 40,
        targets: ANYWHERE,
        headers: &[
            &[],
            &[("X-Forwarded-For", "192.0.2.7")],
            // Invented by the client, before the address that the proxy has added.
            &[("X-Forwarded-For", "198.51.100.1, 192.0.2.7")],
            &[("X-Forwarded-For", "192.0.2.8, 127.0.0.3")],
        ],
        meaning: |sent| {
            let client = match sent.header("X-Forwarded-For") {
                None => sent.ip(),
                Some("192.0.2.8, 127.0.0.3") => "192.0.2.8".to_owned(),
                Some(_) => "192.0.2.7".to_owned(),
            };
            let quota = "6/minute, capacity 4";
            Meaning::Limited(vec![with_capacity("web", client, quota, 4, (6, 60))])
        },
        refusing: &["web"],
    });
}

#[test]
fn by_header_and_path() {
    check(&Policy {
        heading: "By header",
        settings: "",
        pauses: PAUSES,
        burst: 40,
        targets: &[
            ("POST", "/graphql"),
            ("GET", "/graphql"),
            ("POST", "/other"),
        ],
        headers: &[&[("X-Device", "a")], &[("X-Device", "b")], &[]],
        meaning: |sent| match (sent.method, sent.path, sent.header("X-Device")) {
            ("POST", "/graphql", None) => Meaning::Status(401),
            ("POST", "/graphql", Some(device)) => {
                let key = format!("{} {device}", sent.ip());
                Meaning::Limited(vec![part("graphql", key, "3/10s", 3, 10)])
            }
            _ => Meaning::Unlimited,
        },
        refusing: &["graphql"],
    });
}
