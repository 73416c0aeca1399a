//! Tests of `[[limits]]`: which apply, by which key and cost, all or nothing.

use hyper::{Method, Request};

use super::{TestResponse, TestServer, with_method};
use crate::config;

fn get_with(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> TestResponse {
    let request = headers
        .iter()
        .fold(Request::get(path), |request, (name, value)| {
            request.header(*name, *value)
        });
    server.send(request, "")
}

fn statuses<const N: usize>(mut send: impl FnMut() -> TestResponse) -> [u16; N] {
    std::array::from_fn(|_| send().status.as_u16())
}

#[test]
fn refused_request_takes_from_no_limit() {
    let server = TestServer::new(
        "[[limits]]\nname = 'ip'\nquota = '5/hour'\n\
         [[limits]]\nname = 'key'\nkey = 'header:X-API-Key'\nquota = '2/hour'",
    );
    let alice = || get_with(&server, "/", &[("x-api-key", "alice")]);
    assert_eq!(statuses(alice), [200, 200, 429, 429]);
    let bob = || get_with(&server, "/", &[("x-api-key", "bob")]);
    // Alice's refused requests have left three tokens to the address.
    assert_eq!(statuses(bob), [200, 200, 429]);
    let carol = || get_with(&server, "/", &[("x-api-key", "carol")]);
    assert_eq!(statuses(carol), [200, 429]);
}

#[test]
fn several_quotas_of_one_key_are_all_or_nothing() {
    let server = TestServer::new("[[limits]]\nname = 'api'\nquota = ['2/s', '5/minute']");
    let get = || server.get("/");
    assert_eq!(statuses(get), [200, 200, 429]);
    server.advance(1.0);
    assert_eq!(statuses(get), [200, 200, 429]);
    server.advance(1.0);
    // Of the minute, one token is left, and two seconds have refilled a sixth of one.
    let last = server.get("/");
    assert_eq!((last.status.as_u16(), last.remaining()), (200, 0));
    assert_eq!(last.number("x-ratelimit-limit"), 5);
    let refused = server.get("/");
    assert_eq!(refused.status, 429);
    let wait = refused.retry_after();
    assert!((9.9..=10.0).contains(&wait), "{wait}");
}

#[test]
fn headers_name_all_limits_and_tell_of_the_tightest() {
    let server = TestServer::new(
        "headers = 'both'\n\
         [[limits]]\nname = 'burst'\nquota = '10/s'\n\
         [[limits]]\nname = 'hourly'\nkey = 'header:X-API-Key | ip'\nquota = '1000/hour'\ncost = 2",
    );
    let allowed = server.get("/");
    assert_eq!(
        allowed.header("ratelimit-policy"),
        Some(r#""burst";q=10;w=1, "hourly";q=1000;w=3600"#)
    );
    assert_eq!(
        allowed.header("ratelimit"),
        Some(r#""burst";r=9;t=1, "hourly";r=998;t=8"#)
    );
    assert_eq!(allowed.number("x-ratelimit-limit"), 10);
    for _ in 0..9 {
        server.get("/");
    }
    let problem = [("accept", "application/problem+json")];
    let refused = get_with(&server, "/", &problem);
    assert_eq!(refused.status, 429);
    assert_eq!(
        refused.header("ratelimit"),
        Some(r#""burst";r=0;t=1, "hourly";r=980;t=72"#)
    );
    assert_eq!(
        refused.json()["violated-policies"],
        serde_json::json!(["burst"])
    );
}

#[test]
fn only_matching_limits_apply() {
    let server = TestServer::new(
        "[[limits]]\nname = 'login'\nmatch = ['POST /login', '/admin/*']\nquota = '1/hour'\n\
         [[limits]]\nname = 'mobile'\nheader = 'X-Client: mobile'\nquota = '1/hour'",
    );
    let post = |path: &str| server.post(path, "").status.as_u16();
    assert_eq!(
        [post("/login"), post("/login"), post("/other")],
        [404, 429, 404]
    );
    // The bucket is the limit's, not that of a path.
    assert_eq!(server.get("/admin/x").status, 429);
    assert_eq!(server.get("/login").status, 404);
    let mobile = || get_with(&server, "/", &[("x-client", "mobile")]);
    assert_eq!(statuses(mobile), [200, 429]);
    let desktop = || get_with(&server, "/", &[("x-client", "desktop")]);
    assert_eq!(statuses(desktop), [200, 200]);
    let without = server.get("/");
    assert_eq!(
        without.header("x-ratelimit-limit"),
        None,
        "no limit applies"
    );
}

#[test]
fn every_spelling_of_a_path_is_limited() {
    let server = TestServer::new(
        "[[limits]]\nname = 'report'\nmatch = '/api/report'\nquota = '1/hour'\n\
         [[limits]]\nname = 'static'\nmatch = '/static/*'\nquota = '1000/hour'",
    );
    assert_eq!(server.get("/api/report").status, 404);
    for path in [
        "/api/report",
        "/api//report",
        "/api/report/",
        "/api/report;x=1",
        "/API/Report",
        "/%61pi/report",
        "/api/x/../report",
        "/static/..%2fapi/report",
        "/static/..;/api/report",
        "/api%2freport",
        "/api/report;x/y",
        "/api/report%3fx/y",
        "/api/report%00/y",
    ] {
        assert_eq!(server.get(path).status, 429, "{path}");
    }
    let sensitive = TestServer::new(
        "case_sensitive_paths = true\n\
         [[limits]]\nname = 'report'\nmatch = '/api/report'\nquota = '1/hour'",
    );
    assert_eq!(sensitive.get("/api/report").status, 404);
    assert_eq!(sensitive.get("/API/report").status, 404);
    assert_eq!(sensitive.get("/api/report").status, 429);
}

#[test]
fn a_limit_in_place_of_another_counts_only_for_plain_requests() {
    let server = TestServer::new(
        "quota = '3/hour'\n\
         [[limits]]\nname = 'reports'\nmatch = 'GET /reports/*'\nquota = '100/hour'\ninstead_of = 'default'",
    );
    let remaining = |response: TestResponse| response.remaining();
    assert_eq!(remaining(server.get("/reports/1")), 99);
    assert_eq!(remaining(server.get("/")), 2);
    // Some server may read another path, or another method.
    assert_eq!(remaining(server.get("/reports/1;x")), 1);
    let overridden =
        with_method(Method::GET, "/reports/1").header("x-http-method-override", "DELETE");
    assert_eq!(
        remaining(server.send(overridden, "")),
        97,
        "without an upstream nothing overrides"
    );
    assert_eq!(remaining(server.get("/reports/1")), 96);
}

#[test]
fn costs_depend_on_the_closest_pattern() {
    let server = TestServer::new(
        "[[limits]]\nname = 'points'\nquota = '1000/hour'\n\
         cost = { 'GET *' = 1, 'POST /search' = 20, '*' = 5, '/static/*' = 0, '/a/{id}' = 7 }",
    );
    let spent = |request: Request<()>| {
        let before = server.get("/x").remaining();
        let (parts, ()) = request.into_parts();
        let response = server.send(with_method(parts.method, &parts.uri.to_string()), "");
        let spent = response
            .header("x-ratelimit-remaining")
            .map(|remaining| before - remaining.parse::<u64>().unwrap());
        server.clock.advance(std::time::Duration::from_secs(3600));
        spent
    };
    let of = |method: Method, path: &str| spent(with_method(method, path).body(()).unwrap());
    assert_eq!(of(Method::GET, "/"), Some(1));
    assert_eq!(of(Method::HEAD, "/"), Some(1));
    assert_eq!(of(Method::PUT, "/"), Some(5));
    assert_eq!(of(Method::POST, "/search"), Some(20));
    assert_eq!(of(Method::GET, "/search"), Some(1));
    assert_eq!(of(Method::GET, "/a/1"), Some(7));
    assert_eq!(of(Method::GET, "/static/x"), None, "exempt");
    assert_eq!(of(Method::GET, "/static/..%2fsearch"), Some(1));
    assert_eq!(of(Method::POST, "/static/..%2fsearch"), Some(20));
    assert_eq!(of(Method::POST, "/static/x;y"), Some(5), "not plain");
}

#[test]
fn keys_are_of_many_kinds() {
    let keyed = |key: &str, first: (&str, &[(&str, &str)]), other: (&str, &[(&str, &str)])| {
        let server = TestServer::new(&format!(
            "[[limits]]\nname = 'one'\nkey = {key}\nquota = '1/hour'\nmissing = 'skip'"
        ));
        let get = |(path, headers): (&str, &[(&str, &str)])| {
            get_with(&server, path, headers).status.as_u16()
        };
        let seen = [get(first), get(first), get(other)];
        seen.map(|status| status == 429)
    };
    let distinct = [false, true, false];
    let same = [false, true, true];
    let none: &[(&str, &str)] = &[];
    assert_eq!(keyed("'global'", ("/", none), ("/b", none)), same);
    assert_eq!(keyed("'ip'", ("/", none), ("/b", none)), same);
    assert_eq!(keyed("'path'", ("/a", none), ("/b", none)), distinct);
    assert_eq!(keyed("'path'", ("/a", none), ("//A/", none)), same);
    assert_eq!(
        keyed("'path:2'", ("/t/acme/x", none), ("/t/acme/y", none)),
        same
    );
    assert_eq!(
        keyed("'path:2'", ("/t/acme/x", none), ("/t/other/x", none)),
        distinct
    );
    assert_eq!(
        keyed(
            "'header:X-Tenant'",
            ("/", &[("x-tenant", "a")]),
            ("/", &[("x-tenant", "b")])
        ),
        distinct
    );
    assert_eq!(
        keyed(
            "'cookie:sid'",
            ("/", &[("cookie", "sid=1")]),
            ("/", &[("cookie", "a=b; sid=1")])
        ),
        same
    );
    assert_eq!(
        keyed(
            "'query:token'",
            ("/?token=a", none),
            ("/?x=1&token=a", none)
        ),
        same
    );
    assert_eq!(
        keyed("'query:token'", ("/?token=a", none), ("/?token=b", none)),
        distinct
    );
    assert_eq!(
        keyed("['ip', 'path']", ("/a", none), ("/b", none)),
        distinct
    );
    // Equal values of two alternatives are two keys.
    assert_eq!(
        keyed(
            "'header:X-A | header:X-B'",
            ("/", &[("x-a", "1")]),
            ("/", &[("x-b", "1")])
        ),
        distinct
    );
    assert_eq!(
        keyed(
            "['header:X-A', 'header:X-B']",
            ("/", &[("x-a", "ab"), ("x-b", "c")]),
            ("/", &[("x-a", "a"), ("x-b", "bc")])
        ),
        distinct
    );
}

#[test]
fn networks_share_a_bucket_by_their_prefixes() {
    let server = TestServer::new("[[limits]]\nname = 'net'\nkey = 'ip/24,48'\nquota = '1/hour'");
    let status = |address: &str| {
        let client = server.client(address);
        client.send(Request::get("/"), "").status.as_u16()
    };
    assert_eq!(status("192.0.2.7"), 200);
    assert_eq!(status("192.0.2.200"), 429);
    assert_eq!(status("192.0.3.7"), 200);
    assert_eq!(status("2001:db8:1:2::1"), 200);
    assert_eq!(status("2001:db8:1:3::1"), 429);
    assert_eq!(status("2001:db8:2::1"), 200);
}

#[test]
fn every_reading_of_a_path_key_is_charged() {
    let server = TestServer::new("[[limits]]\nname = 'path'\nkey = 'path'\nquota = '1/hour'");
    assert_eq!(server.get("/b").status, 404);
    // Read as /a/b by no server, as /b by some.
    assert_eq!(server.get("/a/..%2fb").status, 429);
    assert_eq!(server.get("/a/..%2fc").status, 404);
    assert_eq!(server.get("/c").status, 429);
}

#[test]
fn readings_with_the_same_key_are_charged_once() {
    let server = TestServer::new("[[limits]]\nname = 'part'\nkey = 'path:1'\nquota = '2/hour'");
    let get = || server.get("/a/b/..%2fc");
    assert_eq!(statuses(get), [404, 404, 429]);
}

#[test]
fn a_missing_key_is_401_or_skips_the_limit() {
    let server = TestServer::new(
        "[[limits]]\nname = 'strict'\nmatch = '/strict'\nkey = 'header:X-API-Key'\nquota = '1/hour'\n\
         [[limits]]\nname = 'lax'\nkey = 'header:X-API-Key'\nmissing = 'skip'\nquota = '1/hour'",
    );
    let refused = server.get("/strict");
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.json()["message"],
        "expected a valid header:x-api-key"
    );
    assert_eq!(statuses(|| server.get("/")), [200, 200]);
    assert_eq!(
        statuses(|| get_with(&server, "/", &[("x-api-key", "a")])),
        [200, 429]
    );
    let metrics = server.get("/metrics");
    for (counted, total) in [
        (["strict", "enforced", "missing_key", "no_key"], 1),
        (["lax", "enforced", "refused", "no_tokens"], 1),
        (["lax", "enforced", "allowed", "tokens"], 1),
    ] {
        metrics.assert_counted(counted, total);
    }
}

#[test]
fn shadow_limits_refuse_nothing_and_are_counted() {
    let server = TestServer::new(
        "headers = 'draft'\n\
         [[limits]]\nname = 'real'\nquota = '3/hour'\n\
         [[limits]]\nname = 'next'\nquota = '2/hour'\nshadow = true",
    );
    let responses: [TestResponse; 4] = std::array::from_fn(|_| server.get("/"));
    assert_eq!(
        responses
            .each_ref()
            .map(|response| response.status.as_u16()),
        [200, 200, 200, 429]
    );
    for response in &responses {
        let fields = response.header("ratelimit").unwrap();
        assert!(fields.starts_with("\"real\";") && !fields.contains("next"));
    }
    let metrics = server.get("/metrics");
    metrics.assert_counted(["next", "shadow", "allowed", "tokens"], 2);
    metrics.assert_counted(["next", "shadow", "refused", "no_tokens"], 1);
}

#[test]
fn of_a_refused_request_only_refusing_limits_are_counted() {
    let server = TestServer::new(
        "[[limits]]\nname = 'wide'\nquota = '5/hour'\n\
         [[limits]]\nname = 'narrow'\nquota = '1/hour'",
    );
    assert_eq!(statuses(|| server.get("/")), [200, 429, 429]);
    let metrics = server.get("/metrics");
    metrics.assert_counted(["wide", "enforced", "allowed", "tokens"], 1);
    metrics.assert_counted(["narrow", "enforced", "allowed", "tokens"], 1);
    metrics.assert_counted(["narrow", "enforced", "refused", "no_tokens"], 2);
}

#[test]
fn the_default_limit_applies_when_it_is_given() {
    let without = TestServer::new("[[limits]]\nname = 'ip'\nquota = '100/hour'");
    assert_eq!(without.get("/").number("x-ratelimit-limit"), 100);
    for _ in 0..20 {
        assert_eq!(without.get("/").status, 200);
    }
    let with = TestServer::new(
        "capacity = 2\nrefill_rate = 0.001\n[[limits]]\nname = 'ip'\nquota = '100/hour'",
    );
    assert_eq!(statuses(|| with.get("/")), [200, 200, 429]);
    let config = with.get("/config").json();
    assert_eq!(config["capacity"], 2);
    assert_eq!(config["limits"]["ip"]["capacity"], 100);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let error = |toml: &str| config::settings_error(toml);
    let limit = |keys: &str| error(&format!("[[limits]]\nname = 'a'\n{keys}"));
    for (given, expected) in [
        (
            limit("quota = '5/s'\ncost = 6"),
            "limits[0].cost: expected at most the capacity, 5, got 6",
        ),
        (
            limit("quota = ['5/s', '2/minute']\ncost = { 'POST *' = 3 }"),
            "limits[0].cost: expected at most the capacity, 2, got 3",
        ),
        (
            limit("quota = []"),
            "limits[0].quota: expected at least one, got an empty list",
        ),
        (
            limit("quota = '5/s'\ninstead_of = 'default'"),
            "limits[0].instead_of: expected the name of another limit, got default",
        ),
        (
            limit("quota = '5/s'\n[[limits]]\nname = 'a'\nquota = '5/s'"),
            "limits[1].name: expected each name once, got a again",
        ),
        (
            limit("quota = '5/s'\n[[rules]]\nclient_id = '192.0.2.7'\nquota = '5/s'"),
            "rules: expected a default quota beside limits, got none",
        ),
        (
            limit("quota = '5/s'\n[[routes]]\npath = '/a'\ncost = 2"),
            "routes[0]: expected a default quota beside limits, got none",
        ),
        (
            error("delay = '1s'\n[[limits]]\nname = 'a'\nquota = '5/s'"),
            "delay: expected a default quota beside limits, got none",
        ),
        (
            limit(
                "quota = '5/s'\nban = { after = 5, within = '1m', for = '1h' }\n[[limits]]\nname = 'a-ban'\nquota = '5/s'",
            ),
            "limits[1].name: expected each name once, got a-ban again",
        ),
        (
            limit("concurrency = 5\nban = { after = 5, within = '1m', for = '1h' }"),
            "limits[0].concurrency: expected an upstream, got none",
        ),
        (
            limit("quota = '5/s'\nshadow = true\nban = { after = 5, within = '1m', for = '1h' }"),
            "limits[0].ban: expected a limit without shadow = true",
        ),
        (
            limit("quota = '5/s'\nshadow = true\ndelay = '1s'"),
            "limits[0].delay: expected a limit without shadow = true",
        ),
    ] {
        assert_eq!(given, expected);
    }
    for (keys, expected) in [
        (
            "quota = '5/s'\nstrict = true",
            "limits[0].strict: not supported yet",
        ),
        (
            "quota = '5/s'\ncharge_on = ['401']",
            "limits[0].charge_on: not supported yet",
        ),
        (
            "quota = { free = '5/s' }",
            "a quota by plan is not supported yet",
        ),
        (
            "quota = '5/s'\ncost = 'header:X-Cost'",
            "a cost from a response is not supported yet",
        ),
        (
            "quota = '5/s'\ncost = { of = 'header:X-Cost', least = 1, most = 9, else = 5 }",
            "a cost from a response is not supported yet",
        ),
        (
            "quota = '5/s'\ncost = { '/a' = 1, least = 1, most = 9 }",
            "\"least\": expected methods and a path",
        ),
        (
            "quota = '5/s'\nkey = 'jwt:sub'",
            "limits[0].key: expected [jwt] keys beside jwt:sub, got none",
        ),
        ("quota = '5/s'\nmatch = '/a/{id'", "limits[0].match"),
        ("quota = '5/x'", "limits[0].quota: \"5/x\": expected a unit"),
        (
            "quota = '5/s'\nheader = []",
            "limits[0].header: expected at least one, got an empty list",
        ),
    ] {
        let given = limit(keys);
        assert!(given.contains(expected), "{given}");
    }
    assert!(error("plans = {}").contains("plans: not supported yet"));
}

#[test]
fn limits_do_not_replace_one_another_in_a_cycle() {
    let error = |replaced: &[(&str, &str)]| {
        let limit = |(name, other): &(&str, &str)| {
            format!("[[limits]]\nname = '{name}'\nquota = '5/s'\ninstead_of = [{other}]\n")
        };
        config::settings_error(&replaced.iter().map(limit).collect::<String>())
    };
    assert_eq!(
        error(&[("a", "'b'"), ("b", "'a'")]),
        "limits[0].instead_of: expected no cycle, got a instead of b instead of a"
    );
    // `x` and `y` are beside the cycle: one leads to it, and the other one ends a chain.
    assert_eq!(
        error(&[
            ("x", "'c'"),
            ("y", ""),
            ("a", "'y', 'b'"),
            ("b", "'c'"),
            ("c", "'y', 'a'"),
        ]),
        "limits[4].instead_of: expected no cycle, got c instead of a instead of b instead of c"
    );
}

#[test]
fn replaced_limit_replaces_others() {
    let server = TestServer::new(
        "quota = '2/hour'\n\
         [[limits]]\nname = 'all'\nquota = '3/hour'\ninstead_of = 'default'\n\
         [[limits]]\nname = 'reports'\nmatch = '/reports/*'\nquota = '9/hour'\ninstead_of = 'all'",
    );
    // Neither `all` nor the default limit is charged.
    assert_eq!(server.get("/reports/1").remaining(), 8);
    assert_eq!(server.get("/").remaining(), 2);
    assert_eq!(server.get("/reports/1").remaining(), 7);
}

#[test]
fn at_most_eight_limits_may_meet() {
    let limits = |patterns: &[&str]| {
        let limit = |(index, pattern): (usize, &&str)| {
            format!("[[limits]]\nname = 'l{index}'\nmatch = '{pattern}'\nquota = '5/s'\n")
        };
        patterns.iter().enumerate().map(limit).collect::<String>()
    };
    let disjoint = limits(&[
        "/a/*", "/b/*", "/c/*", "/d/*", "/e/*", "GET /f", "POST /f", "/g", "/h", "*",
    ]);
    TestServer::new(&disjoint);
    let nested = limits(&[
        "*", "/*", "/a/*", "/a/b", "/A/b/*", "/a/{id}", "*.php", "/**/x", "/a",
    ]);
    assert_eq!(
        config::settings_error(&nested),
        "limits: expected at most 8 that may apply to one request, got l0, l1, l2, l3, l4, l5, l6, l7, l8"
    );
}

#[test]
fn a_path_with_more_limits_by_its_readings_is_rejected() {
    let limits: String = (0..3)
        .map(|index| {
            format!(
                "[[limits]]\nname = 'l{index}'\nkey = 'path'\nquota = ['5/s', '50/s', '500/s']\nmatch = '/{index}/*'\n"
            )
        })
        .collect();
    let server = TestServer::new(&limits);
    assert_eq!(server.get("/0/x").status, 404);
    let rejected = server.get("/0/..%2f1/..%5c2");
    assert_eq!(rejected.status, 400);
    assert!(
        rejected.text().contains("at most 8 limits"),
        "{}",
        rejected.text()
    );
}

/// *Caught:* limits without a quota do not count, at the start or for a path.
#[test]
fn limits_of_concurrent_requests_are_among_the_eight() {
    let limits = |count: usize, pattern: fn(usize) -> String| {
        let limit = |index: usize| {
            let pattern = pattern(index);
            format!("[[limits]]\nname = 'c{index}'\nmatch = '{pattern}'\nconcurrency = 5\n")
        };
        let limits: String = (0..count).map(limit).collect();
        format!("upstream = 'http://127.0.0.1:1'\n{limits}")
    };
    let everywhere = |_| "*".to_owned();
    TestServer::new(&limits(8, everywhere));
    let expected = "limits: expected at most 8 that may apply to one request, got ";
    assert_eq!(
        config::settings_error(&limits(9, everywhere)),
        format!("{expected}c0, c1, c2, c3, c4, c5, c6, c7, c8")
    );
    // A limit with both counts by its quotas.
    let both = "[[limits]]\nname = 'q'\nquota = ['1/s', '2/s']\nconcurrency = 5\n";
    TestServer::new(&(limits(6, everywhere) + both));
    assert_eq!(
        config::settings_error(&(limits(7, everywhere) + both)),
        format!("{expected}c0, c1, c2, c3, c4, c5, c6, q, q-2")
    );

    let server = TestServer::new(&limits(9, |index| format!("/{}/*", index % 3)));
    let rejected = get_with(&server, "/0/..%2f1/..%5c2", &[("host", "a")]);
    assert_eq!(rejected.status, 400);
    let text = rejected.text();
    assert!(text.contains("at most 8 limits"), "{text}");
}

/// *Caught:* the default limit does not count.
#[test]
fn the_default_limit_is_one_of_at_most_eight() {
    let limits: String = (0..2)
        .map(|index| {
            format!(
                "[[limits]]\nname = 'l{index}'\nkey = 'path'\nquota = ['1/s', '2/s', '3/s', '4/s']\nmatch = '/{index}/*'\n"
            )
        })
        .collect();
    let both = "/0/..%2f1";
    assert_eq!(TestServer::new(&limits).get(both).status, 404);
    let with_default = TestServer::new(&format!("quota = '100/s'\n{limits}"));
    assert_eq!(with_default.get("/0/x").status, 404);
    assert_eq!(with_default.get(both).status, 400);
}

#[test]
fn listed_networks_are_not_limited_or_not_served() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        &file,
        "# attackers\n203.0.113.0/24 # a network\n\n2001:db8:bad::/48\n",
    )
    .unwrap();
    let server = TestServer::new(&format!(
        "capacity = 1\nrefill_rate = 0.001\nallow = ['10.0.0.0/8', '203.0.113.9']\n\
         deny = [{{ file = '{}' }}, '10.6.6.0/24']\ntrust_proxy = ['192.0.2.1']",
        file.path().display()
    ));
    let from = |address: &str| {
        let client = server.client(address);
        [(); 2].map(|()| client.send(Request::get("/"), "").status.as_u16())
    };
    assert_eq!(from("10.1.2.3"), [200, 200]);
    assert_eq!(from("203.0.113.9"), [200, 200]);
    assert_eq!(from("203.0.113.7"), [403, 403]);
    assert_eq!(from("64:ff9b::203.0.113.7"), [403, 403]);
    assert_eq!(from("2001:db8:bad:1::1"), [403, 403]);
    assert_eq!(from("10.6.6.6"), [403, 403]);
    assert_eq!(from("198.51.100.1"), [200, 429]);
    let behind_proxy = |client: &str| {
        let request = Request::get("/").header("x-forwarded-for", client);
        server.client("192.0.2.1").send(request, "").status
    };
    assert_eq!(behind_proxy("203.0.113.7"), 403);
    assert_eq!(behind_proxy("10.1.2.3"), 200);
    let untrusted = Request::get("/").header("x-forwarded-for", "10.1.2.3");
    assert_eq!(
        server.client("198.51.100.1").send(untrusted, "").status,
        429
    );
}

#[test]
fn denied_requests_are_counted() {
    let server = TestServer::new("deny = ['203.0.113.0/24']");
    let denied = server.client("203.0.113.7");
    assert_eq!(denied.send(Request::get("/"), "").status, 403);
    let metrics = server.get("/metrics");
    let line = r#"tollgate_decisions_total{route="/",decision="refused",reason="denied"} 1"#;
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[test]
fn an_allowed_network_still_needs_a_listed_key() {
    let server = TestServer::new(
        "capacity = 1\nclient = 'header:X-API-Key'\napi_keys = ['alice']\nallow = ['127.0.0.0/8']",
    );
    let status = |key: &str| {
        get_with(&server, "/", &[("x-api-key", key)])
            .status
            .as_u16()
    };
    assert_eq!(
        [status("alice"), status("alice"), status("mallory")],
        [200, 200, 401]
    );
}

/// *Caught:* any key where no limit takes tokens.
#[test]
fn a_limit_of_concurrent_requests_needs_a_listed_key() {
    let server = TestServer::new(
        "upstream = 'http://127.0.0.1:1'\nclient = 'header:X-API-Key'\napi_keys = ['alice']\n\
         [[limits]]\nname = 'few'\nkey = 'ip'\nconcurrency = 5",
    );
    let status = |key: &str| {
        let headers = [("host", "a"), ("x-api-key", key)];
        get_with(&server, "/", &headers).status.as_u16()
    };
    assert_eq!([status("alice"), status("mallory")], [200, 401]);
}

#[test]
fn a_list_that_cannot_be_read_ends_the_start() {
    let error = config::settings_error("deny = { file = '/nonexistent/deny.txt' }");
    assert!(
        error.starts_with("deny: /nonexistent/deny.txt: No such file"),
        "{error}"
    );
    let error = config::settings_error("allow = ['10.0.0.0/33']");
    assert!(
        error.contains("allow[0]") && error.contains("10.0.0.0/33"),
        "{error}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "10.0.0.0/8\nexample.com\n").unwrap();
    let path = file.path().display();
    assert_eq!(
        config::settings_error(&format!("allow = {{ file = '{path}' }}")),
        format!(
            "allow: {path}: line 2: expected a network such as 10.0.0.0/8, got \"example.com\""
        )
    );
}

#[test]
fn check_takes_the_names_of_limits() {
    let server = TestServer::new(
        "[[limits]]\nname = 'key'\nkey = 'header:X-API-Key'\nquota = ['3/s', '4/minute']\n\
         [[limits]]\nname = 'ip'\nquota = '100/hour'\n\
         [[limits]]\nname = 'pair'\nkey = ['ip', 'header:X-API-Key']\nquota = '5/hour'",
    );
    let check = |body: &str| {
        let request = Request::post("/check").header("content-type", "application/json");
        server.send(request, body)
    };
    let answer = check(r#"{"key": "alice", "cost": 3, "limits": "key"}"#).json();
    assert_eq!(
        (&answer["allowed"], &answer["limit"], &answer["remaining"]),
        (&true.into(), &3.into(), &0.into())
    );
    assert_eq!(answer["limits"][0]["name"], "key");
    assert_eq!(answer["limits"][1]["name"], "key-2");
    assert_eq!(answer["limits"][1]["remaining"], 1);
    // The requests of the client share these buckets.
    let alice = get_with(&server, "/", &[("x-api-key", "alice")]);
    assert_eq!(alice.status, 429);
    let list =
        check(r#"[{"key": "192.0.2.7", "limits": ["ip"]}, {"key": "bob", "limits": ["key"]}]"#);
    assert_eq!(list.json()[0]["remaining"], 99);
    assert_eq!(list.json()[1]["remaining"], 2);
    for (body, expected) in [
        (r#"{"key": "a"}"#, "limits: expected the names of limits"),
        (
            r#"{"key": "a", "limits": []}"#,
            "limits: expected from 1 to 8 limits, got 0",
        ),
        (
            r#"{"key": "a", "limits": ["x"]}"#,
            "limits: expected the names of limits, got x",
        ),
        (
            r#"{"key": "a", "limits": ["key", "key"]}"#,
            "limits: expected each name once",
        ),
        (
            r#"{"key": "a", "limits": ["ip"]}"#,
            "key: expected an IP address",
        ),
        (
            r#"{"key": "a", "limits": ["pair"]}"#,
            "key: expected limits whose key has one part",
        ),
        (
            r#"[{"key": "", "limits": ["key"]}]"#,
            "[0].key: expected a string of 1 to 1024 bytes",
        ),
    ] {
        let response = check(body);
        assert_eq!(response.status, 400, "{body}");
        assert!(response.text().contains(expected), "{}", response.text());
    }
}

#[test]
fn check_takes_the_name_of_the_default_limit() {
    let check = |server: &TestServer, limits: &str| {
        let body = format!(r#"{{"key": "alice", "limits": {limits}}}"#);
        server.post("/check", &body)
    };
    let alone = TestServer::new("quota = '3/hour'");
    let answer = check(&alone, "\"default\"").json();
    assert_eq!(answer["limits"][0]["name"], "default");
    assert_eq!(answer["remaining"], 2);
    // The bucket of an item without names.
    let unnamed = alone.post("/check", r#"{"key": "alice"}"#).json();
    assert_eq!(unnamed["remaining"], 1);
    let unknown = check(&alone, "[\"default\", \"x\"]");
    assert_eq!(unknown.status, 400);
    assert!(unknown.text().contains("got x"), "{}", unknown.text());

    let api = "[[limits]]\nname = 'api'\nkey = 'header:X-API-Key'\nquota = '1/hour'\nmatch = '/a'";
    let server = TestServer::new(&format!("quota = '3/hour'\n{api}"));
    let both = || check(&server, "[\"api\", \"default\"]").json();
    assert_eq!(both()["allowed"], true);
    let refused = both();
    assert_eq!(refused["allowed"], false);
    // What one limit refuses takes nothing of the other.
    let names = refused["limits"].as_array().unwrap().iter();
    let left: Vec<_> = names
        .map(|it| (it["name"].as_str().unwrap(), &it["remaining"]))
        .collect();
    assert_eq!(left, [("default", &2.into()), ("api", &0.into())]);
    let twice = check(&server, "[\"default\", \"default\"]");
    assert!(
        twice.text().contains("got default again"),
        "{}",
        twice.text()
    );
    let only_limits = check(&TestServer::new(api), "\"default\"");
    assert_eq!(only_limits.status, 400);
}

#[test]
fn metrics_count_the_default_limit_beside_named_ones() {
    let server = TestServer::new(
        "quota = '2/hour'\n[[limits]]\nname = 'reports'\nquota = '1/hour'\nmatch = '/reports'\ninstead_of = 'default'",
    );
    let statuses: [u16; 3] = statuses(|| server.get("/"));
    assert_eq!(statuses, [200, 200, 429]);
    server.get("/reports");
    let metrics = server.get("/metrics");
    metrics.assert_counted(["default", "enforced", "allowed", "tokens"], 2);
    metrics.assert_counted(["default", "enforced", "refused", "no_tokens"], 1);
    metrics.assert_counted(["reports", "enforced", "allowed", "tokens"], 1);
}

#[test]
fn quota_of_a_limit_is_changed_by_its_name() {
    let server = TestServer::new(
        "[[limits]]\nname = 'api'\nquota = ['5/hour', '50/hour']\ncost = { 'POST *' = 3 }",
    );
    let put =
        |name: &str, body: &str| server.send(Request::put(format!("/admin/limits/{name}")), body);
    assert_eq!(server.get("/").remaining(), 4);
    let same = put("api", r#"{"quota": "5/hour"}"#);
    assert_eq!(
        (same.status.as_u16(), server.get("/").remaining()),
        (200, 3)
    );
    let changed = put("api", r#"{"quota": "8/hour"}"#);
    assert_eq!(changed.json()["name"], "api");
    assert_eq!(changed.json()["capacity"], 8);
    assert_eq!(server.get("/").remaining(), 7);
    assert_eq!(server.get("/config").json()["limits"]["api"]["capacity"], 8);
    assert_eq!(put("api-2", r#"{"quota": "4/hour"}"#).status, 200);
    assert_eq!(server.get("/").number("x-ratelimit-limit"), 4);
    for (name, body, status, expected, prefixes) in [
        (
            "other",
            r#"{"quota": "8/hour"}"#,
            404,
            "there is no limit of this name",
            0,
        ),
        (
            "api",
            r#"{"quota": "2/hour"}"#,
            400,
            "quota: expected a capacity of at least 3",
            1,
        ),
        (
            "api",
            r#"{"quota": "2/hours ago"}"#,
            400,
            "quota: expected",
            1,
        ),
        ("api", r#"{}"#, 400, "quota", 0),
    ] {
        let refused = put(name, body);
        assert_eq!(refused.status.as_u16(), status, "{body}");
        assert!(refused.text().contains(expected), "{}", refused.text());
        assert_eq!(
            refused.text().matches("quota: ").count(),
            prefixes,
            "{body}"
        );
    }
}

#[test]
fn auth_applies_the_limits_of_the_original_request() {
    let server = TestServer::new(
        "trust_proxy = ['127.0.0.0/8']\n\
         [[limits]]\nname = 'login'\nmatch = 'POST /login'\nquota = '1/hour'\n\
         [[limits]]\nname = 'token'\nkey = 'query:token'\nmissing = 'skip'\nquota = '1/hour'",
    );
    let auth = |method: &str, uri: &str| {
        let request = Request::get("/auth")
            .header("x-forwarded-for", "192.0.2.7")
            .header("x-original-method", method)
            .header("x-original-uri", uri);
        server.send(request, "").status.as_u16()
    };
    assert_eq!([auth("POST", "/login"), auth("POST", "/login")], [200, 429]);
    assert_eq!([auth("GET", "/login"), auth("GET", "/login")], [200, 200]);
    assert_eq!(
        [auth("GET", "/a?token=x"), auth("GET", "/b?token=x")],
        [200, 429]
    );
    assert_eq!(auth("GET", "/b?token=y"), 200);
}

#[test]
fn reloads_keep_the_buckets_of_unchanged_limits() {
    let settings = |limits: &str| {
        config::settings(&format!(
            "[[limits]]\nname = 'a'\nquota = '3/hour'\n{limits}"
        ))
    };
    let (old, new) = (
        settings(""),
        settings("[[limits]]\nname = 'b'\nquota = '9/hour'\n"),
    );
    let changed = settings("key = 'global'\n");
    let server = TestServer::new("[[limits]]\nname = 'a'\nquota = '3/hour'\n");
    assert_eq!(server.get("/").remaining(), 2);
    let reloaded = super::block_on(server.app.reload(&old, &new)).unwrap();
    let remaining =
        |app: &crate::app::App| super::send(app, server.peer, Request::get("/"), "").remaining();
    assert_eq!(remaining(&reloaded), 1);
    let other_key = super::block_on(reloaded.reload(&new, &changed)).unwrap();
    assert_eq!(
        remaining(&other_key),
        2,
        "a bucket of another key is another one"
    );
}

/// *Caught:* the cost compared with the quota of the file alone.
#[test]
fn a_reload_leaves_no_cost_above_the_quota_of_an_administrator() {
    let file = |quota: &str, cost: u32| {
        format!("[[limits]]\nname = 'q'\nkey = 'global'\nquota = '{quota}'\ncost = {cost}\n")
    };
    let server = TestServer::new(&file("10/day", 1));
    let put = Request::put("/admin/limits/q");
    assert_eq!(server.send(put, r#"{"quota": "3/day"}"#).status, 200);
    let [old, dearer, new] = [("10/day", 1), ("10/day", 5), ("9/day", 5)]
        .map(|(quota, cost)| config::settings(&file(quota, cost)));
    let error = super::block_on(server.app.reload(&old, &dearer)).err();
    assert_eq!(
        error.as_deref(),
        Some(
            "limits: q: expected a cost of at most 3, the capacity of 3/day, which PUT /admin/limits/q changes, got 5"
        )
    );
    assert_eq!(server.get("/").remaining(), 2);
    let reloaded = super::block_on(server.app.reload(&old, &new)).unwrap();
    let response = super::send(&reloaded, server.peer, Request::get("/"), "");
    assert_eq!(
        (response.number("x-ratelimit-limit"), response.remaining()),
        (9, 4),
        "a new quota of the file replaces that of the administrator"
    );
}
