//! `headers`: the rate limit headers of every limited response.

use std::fs;

use rustix::process::Signal;
use test_support::{Launch, Response, SLOW, Server, Upstream};

const X: [&str; 3] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];
const DRAFT: [&str; 2] = ["ratelimit-policy", "ratelimit"];
const PROBLEM: &str = "application/problem+json";
const JSON: &str = "application/json";

/// Each choice, and whether it sends the `X-RateLimit-*` headers and the draft's.
const CHOICES: [(&str, bool, bool); 3] = [
    ("x", true, false),
    ("draft", false, true),
    ("both", true, true),
];

/// Three tokens at once, and one in 1000 s.
fn server(choice: &str, more: &[&str]) -> Server {
    Launch::new()
        .args(&[
            "--headers",
            choice,
            "--capacity",
            "3",
            "--refill-rate",
            SLOW,
        ])
        .args(more)
        .start()
}

/// Asserts that the response has each header of this choice once, and none of the others.
fn assert_headers(response: &Response, (choice, x, draft): (&str, bool, bool), left: u64) {
    let count = |name: &str| {
        response
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .count()
    };
    for (names, expected) in [(&X[..], x), (&DRAFT, draft)] {
        for name in names {
            assert_eq!(
                count(name),
                usize::from(expected),
                "{choice}: {name} in {response:?}"
            );
        }
    }
    if x {
        assert_eq!(
            (response.limit(), response.remaining()),
            (3, left),
            "{choice}"
        );
    }
    if draft {
        assert_eq!(
            response.header("ratelimit-policy"),
            Some(r#""default";q=3;w=3000"#),
            "{choice}"
        );
        let start = format!(r#""default";r={left};t="#);
        assert!(
            response.header("ratelimit").unwrap().starts_with(&start),
            "{choice}: {response:?}"
        );
    }
}

fn kind(response: &Response) -> &str {
    response.header("content-type").unwrap()
}

#[test]
fn every_limited_response_has_the_headers_of_the_choice() {
    for choice in CHOICES {
        let server = server(choice.0, &[]);
        let mut client = server.client();
        for (path, status, left) in [("/", 200, 2), ("/nothing", 404, 1), ("/auth", 200, 0)] {
            let response = client.get(path);
            assert_eq!((response.status, kind(&response)), (status, JSON));
            assert_headers(&response, choice, left);
            assert_eq!(response.header("retry-after"), None);
        }
        for path in ["/", "/auth"] {
            let refused = client.get(path);
            assert_eq!(refused.status, 429);
            assert_headers(&refused, choice, 0);
            assert!(
                (1..=1001).contains(&refused.number("retry-after")),
                "{refused:?}"
            );
            if choice.2 {
                // In the draft, `t` must not be later than Retry-After.
                let header = format!(r#""default";r=0;t={}"#, refused.number("retry-after"));
                assert_eq!(refused.header("ratelimit"), Some(header.as_str()));
            }
        }
        assert_eq!(
            client.get("/health").header("ratelimit"),
            None,
            "/health is not limited"
        );
    }
}

#[test]
fn a_refusal_is_problem_json_when_accept_ranks_it_at_least_as_high_as_json() {
    for (choice, accept, expected) in [
        ("x", PROBLEM, JSON),
        ("draft", "*/*", PROBLEM),
        ("draft", "application/json", JSON),
        ("both", PROBLEM, PROBLEM),
        ("both", "application/json, */*;q=0.5", JSON),
    ] {
        let server = server(choice, &[]);
        let mut client = server.client();
        client.get("/");
        let refused = client.request("POST", "/api/upload", &[("Accept", accept)], "");
        assert_eq!(
            (refused.status, kind(&refused)),
            (429, expected),
            "{choice} {accept}"
        );
        let (body, wait) = (refused.json(), refused.retry_after());
        assert!((1.0..=1000.1).contains(&wait), "{wait}");
        let text = if expected == PROBLEM {
            &body["detail"]
        } else {
            &body["message"]
        };
        assert!(
            text.as_str()
                .unwrap()
                .starts_with("Rate limit exceeded: retry in "),
            "{body}"
        );
        if expected == PROBLEM {
            assert_eq!(
                body["type"],
                "https://iana.org/assignments/http-problem-types#quota-exceeded"
            );
            assert_eq!(
                (&body["status"], &body["violated-policies"][0]),
                (&429.into(), &"default".into())
            );
        } else {
            assert_eq!(body["error"], "Too Many Requests");
        }
    }
}

#[test]
fn a_gateway_replaces_the_rate_limit_headers_of_its_upstreams() {
    let upstream_response = "HTTP/1.1 200 OK\r\nContent-Type: text/odd\r\nRateLimit: mine\r\nRateLimit-Policy: mine\r\n\
                  X-RateLimit-Limit: 77\r\nContent-Length: 2\r\n\r\nhi";
    for choice in CHOICES {
        let upstream = Upstream::responding(upstream_response);
        let server = server(choice.0, &["--upstream", &upstream.url()]);
        let mut client = server.client();
        let response = client.get("/auth");
        assert_eq!(
            (response.status, kind(&response), response.text().as_str()),
            (200, "text/odd", "hi")
        );
        let (own, ours) = (
            response.header("ratelimit") == Some("mine"),
            response.header("x-ratelimit-limit") == Some("3"),
        );
        assert_eq!(
            (own, ours),
            (!choice.2, choice.1),
            "{choice:?}: other headers are the upstream's: {response:?}"
        );
        assert_eq!(
            response
                .headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("ratelimit"))
                .count(),
            1
        );
        client.get("/");
        client.get("/");
        let refused = client.get("/");
        assert_eq!(
            (refused.status, kind(&refused)),
            (429, if choice.2 { PROBLEM } else { JSON })
        );
        assert_headers(&refused, choice, 0);
        assert_eq!(
            upstream.requests().len(),
            3,
            "refused requests do not reach the upstream"
        );
    }
}

#[test]
fn a_grpc_call_to_this_server_is_refused_with_429_like_any_request() {
    for choice in CHOICES {
        // `/auth` is called by a proxy, which does not speak gRPC.
        for path in ["/grpc.health.v1.Health/Check", "/auth"] {
            let server = server(choice.0, &[]);
            let mut client = server.client();
            let headers = [
                ("Content-Type", "application/grpc+proto"),
                ("Accept", "application/json"),
            ];
            for _ in 0..3 {
                client.get("/");
            }
            let refused = client.request("POST", path, &headers, "");
            assert_eq!(
                (
                    refused.status,
                    kind(&refused),
                    refused.header("grpc-status")
                ),
                (429, JSON, None)
            );
            assert_headers(&refused, choice, 0);
        }
    }
}

#[test]
fn a_flag_takes_precedence_over_the_environment_and_that_over_the_file() {
    let names = |server: &Server| {
        let response = server.get("/");
        (
            response.header("x-ratelimit-limit").is_some(),
            response.header("ratelimit").is_some(),
        )
    };
    let launch = || Launch::new().config("tollgate.toml", "headers = 'both'\n");
    assert_eq!(
        names(&Server::start(&[])),
        (true, false),
        "x is the default"
    );
    assert_eq!(names(&launch().start()), (true, true));
    assert_eq!(
        names(&launch().env("TOLLGATE_HEADERS", "draft").start()),
        (false, true)
    );
    assert_eq!(
        names(
            &launch()
                .env("TOLLGATE_HEADERS", "draft")
                .args(&["--headers", "x"])
                .start()
        ),
        (true, false)
    );
}

#[test]
fn a_reload_applies_to_the_next_request_on_an_open_connection() {
    let launch = Launch::new();
    let path = launch.file("tollgate.toml", "headers = 'x'\n");
    let server = launch.args(&["--config", path.to_str().unwrap()]).start();
    let mut client = server.client();
    assert_eq!(client.get("/api/ping").header("ratelimit"), None);
    fs::write(&path, "headers = 'draft'\n").unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log("configuration reloaded");
    let response = client.get("/api/ping");
    assert_eq!(
        (
            response.header("ratelimit").is_some(),
            response.header("x-ratelimit-limit")
        ),
        (true, None)
    );
}
