//! Tests of routes: which one applies to a request, and that no spelling of a path bypasses a
//! limit.

use hyper::{Method, Request, StatusCode};

use super::{TestServer, with_method};

/// Returns limit and remaining tokens after a GET.
fn limit_and_remaining(server: &TestServer, path: &str) -> (u64, u64) {
    let response = server.get(path);
    (response.number("x-ratelimit-limit"), response.remaining())
}

fn route(path: &str, capacity: u32) -> String {
    format!("[[routes]]\npath = '{path}'\ncapacity = {capacity}\nrefill_rate = 0.001\n")
}

#[test]
fn each_route_with_limits_has_its_own_bucket_per_client() {
    let file = format!(
        "refill_rate = 0.001\n{}cost = 2\n{}",
        route("/api/data", 5),
        route("/b", 7)
    );
    let server = TestServer::new(&file);
    assert_eq!(
        [
            limit_and_remaining(&server, "/api/data"),
            limit_and_remaining(&server, "/api/data")
        ],
        [(5, 3), (5, 1)]
    );
    let refused = server.get("/api/data");
    assert_eq!(
        (refused.status, refused.remaining()),
        (StatusCode::TOO_MANY_REQUESTS, 1)
    );
    assert_eq!(
        [
            limit_and_remaining(&server, "/b"),
            limit_and_remaining(&server, "/")
        ],
        [(7, 6), (10, 9)],
        "other buckets"
    );
    assert_eq!(
        server
            .client("192.0.2.1")
            .send(Request::get("/api/data"), "")
            .remaining(),
        3,
        "another client"
    );
}

#[test]
fn route_may_match_one_method_and_keep_the_default_cost() {
    let file = "refill_rate = 0.001\n[[routes]]\nmethod = 'POST'\npath = '/api/upload'\nquota = '20/day'\n\
                [[routes]]\nmethod = 'GET'\npath = '/api/data'\nquota = '30/day'";
    let server = TestServer::new(file);
    assert_eq!(
        server.post("/api/upload", "").remaining(),
        17,
        "an upload costs 3 by default"
    );
    assert_eq!(
        server
            .send(with_method(Method::HEAD, "/api/data"), "")
            .remaining(),
        29
    );
    assert_eq!(
        server
            .send(with_method(Method::PUT, "/api/data"), "")
            .remaining(),
        9
    );
    assert_eq!(
        limit_and_remaining(&server, "/api/upload"),
        (10, 8),
        "GET is another route"
    );
}

#[test]
fn exact_path_precedes_prefixes_and_longer_prefixes_precede_shorter_ones() {
    let routes = [
        ("/api/*", 20),
        ("/api/v1/*", 30),
        ("/api/v1/x", 40),
        ("/*", 50),
    ]
    .map(|(path, capacity)| route(path, capacity));
    let server = TestServer::new(&routes.concat());
    for (path, limit) in [
        ("/api", 20),
        ("/api/", 20),
        ("/api/v2/x", 20),
        ("/apis", 50),
        ("/api/v1", 30),
        ("/api/v1/y", 30),
        ("/api/v1/x", 40),
        ("/api/v1/xy", 30),
        ("/", 50),
    ] {
        assert_eq!(limit_and_remaining(&server, path).0, limit, "{path}");
    }
    assert_eq!(
        limit_and_remaining(&server, "/other").1,
        47,
        "one bucket for all paths below"
    );
}

#[test]
fn longer_prefix_of_another_method_does_not_hide_a_shorter_one() {
    let file = format!(
        "{}method = 'POST'\n{}",
        route("/api/v1/*", 30),
        route("/api/*", 20)
    );
    assert_eq!(
        limit_and_remaining(&TestServer::new(&file), "/api/v1/x").0,
        20
    );
}

/// Spellings that some server reads as `/api/upload`.
const SPELLINGS: [&str; 22] = [
    "/api/upload",
    "/api/upload/",
    "//api/upload",
    "/api//upload",
    "/api/upload//",
    "/api/./upload",
    "/api/upload/.",
    "/api/x/../upload",
    "/./api/upload",
    "/%61pi/upload",
    "/api/uploa%64/",
    "/api%2fupload",
    "/api%2Fupload",
    "/api/%2e/upload",
    "/x/%2E%2e/api/upload",
    "/x%2f..%2fapi%2fupload",
    "/api\\upload",
    "/api%5Cupload",
    "/%zz/../api/upload",
    "/api//../upload",
    "/a/x%5Cy%2F..%2F..%2Fapi%2Fupload",
    "/a/x%2Fy\\..\\..\\api\\upload",
];

#[test]
fn every_spelling_of_a_limited_path_is_charged_to_its_bucket() {
    for path in ["/api/upload", "/api/upload/", "/%61pi/upload"] {
        let server = TestServer::new(&format!("capacity = 1000\n{}", route(path, 100)));
        for (number, spelling) in SPELLINGS.into_iter().enumerate() {
            assert_eq!(
                limit_and_remaining(&server, spelling),
                (100, 99 - number as u64),
                "{spelling} for {path}"
            );
        }
    }
    let server = TestServer::new(&format!("capacity = 1000\n{}", route("/api/*", 100)));
    for (number, spelling) in SPELLINGS.into_iter().enumerate() {
        assert_eq!(
            limit_and_remaining(&server, spelling),
            (100, 99 - number as u64),
            "{spelling} for a prefix"
        );
    }
    let server = TestServer::new(
        "capacity = 1000\nrefill_rate = 0.001\n[[routes]]\npath = '/api/upload'\ncost = 10",
    );
    for (number, spelling) in SPELLINGS.into_iter().enumerate() {
        assert_eq!(
            limit_and_remaining(&server, spelling).1,
            990 - 10 * number as u64,
            "{spelling} for a cost"
        );
    }
}

#[test]
fn path_with_readings_of_two_routes_is_charged_both_or_neither() {
    let file = format!(
        "refill_rate = 0.001\n{}{}",
        route("/slow/*", 3),
        route("/fast/*", 100)
    );
    let server = TestServer::new(&file);
    for path in [
        "/slow/..%2ffast",
        "/fast/../slow/x",
        "/x/../slow/%2e%2e/fast",
    ] {
        assert_eq!(server.get(path).status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(limit_and_remaining(&server, "/fast/").1, 96);
    let refused = server.get("/fast/../slow/x");
    assert_eq!(
        (refused.status, refused.number("x-ratelimit-limit")),
        (StatusCode::TOO_MANY_REQUESTS, 3)
    );
    assert_eq!(
        limit_and_remaining(&server, "/fast/").1,
        95,
        "the other bucket was refunded"
    );
    assert_eq!(
        limit_and_remaining(&server, "/").1,
        8,
        "the literal path matches no route"
    );
    assert_eq!(
        limit_and_remaining(&server, "/fast/../x"),
        (100, 94),
        "and so does this one"
    );
    assert_eq!(limit_and_remaining(&server, "/").1, 6);
}

#[test]
fn no_alternative_spelling_gets_an_exemption() {
    let file = format!(
        "refill_rate = 0.001\n[[routes]]\npath = '/static/*'\nexempt = true\n[[routes]]\npath = '/open'\nexempt = true\n{}",
        route("/slow", 3)
    );
    let server = TestServer::new(&file);
    for path in [
        "/static",
        "/static/a%20b/c.css",
        "/static/IMG_1.JPG",
        "/static/caf%C3%A9/",
        "/static/a%40b",
        "/open",
    ] {
        assert_eq!(server.get(path).header("x-ratelimit-limit"), None, "{path}");
    }
    assert_eq!(
        limit_and_remaining(&server, "/static/a/x%5Cy%2F..%2F..%2F..%2Fslow"),
        (3, 2)
    );
    for (number, path) in [
        "/static/../x",
        "/static/..%2fx",
        "/x/../open",
        "/open/",
        "//open",
        "/static/./x",
        "/static/x;v=1",
        "/STATIC/x",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            limit_and_remaining(&server, path),
            (10, 9 - number as u64),
            "{path}"
        );
    }
    assert_eq!(limit_and_remaining(&server, "/static/%2e%2e/slow"), (3, 1));
}

/// Spellings that some server reads as `/api/report`.
const READ_AS_REPORT: [&str; 34] = [
    // Path parameters: Tomcat, Jetty, Spring.
    "/api/report;x",
    "/api;v=1/report",
    "/;/api/report",
    "/static/..;/api/report",
    "/static/..;x=1/api/report",
    "/static/%2e%2e;/api/report",
    "/static/..%3B/api/report",
    "/api/report%3Bx",
    "/api/report;/../../static/x",
    // Letter case: Express, ASP.NET.
    "/API/report",
    "/Api/REPORT/",
    "/%41pi/report",
    // Escaped twice.
    "/%2561pi/report",
    "/api%252Freport",
    "/static/%252e%252e/api/report",
    "/static/..%252fapi/report",
    "/%25%36%31pi/report",
    // Ends of a path.
    "/api/report%00",
    "/api/report%00.png",
    "/api/report%3Fx",
    "/api/report%23x",
    "/api/report%20",
    "/api/report%0a",
    "/api/report.",
    // IIS.
    "/%u0061pi/report",
    "/static/..\\api\\report",
    "/static/..%255capi%255creport",
    "/(S(lit3py55t21z5v55vlm25s55))/api/report",
    // Overlong UTF-8.
    "/static/..%c0%afapi/report",
    "/static/%c0%ae%c0%ae/api/report",
    // A host, or a script, and then the path.
    "//host/api/report",
    "/index.php/api/report",
    // Servers in a row.
    "/static/x%2Fy/../..%2f/api/report",
    "/static/..;/%2e%2e/api/report",
];

#[test]
fn path_belongs_to_every_route_that_a_server_reads() {
    let server = TestServer::new(&format!(
        "capacity = 1000\n[[routes]]\npath = '/static/*'\nexempt = true\n{}",
        route("/api/report", 100)
    ));
    for (number, spelling) in READ_AS_REPORT.into_iter().enumerate() {
        assert_eq!(
            limit_and_remaining(&server, spelling),
            (100, 99 - number as u64),
            "{spelling}"
        );
    }
    for path in [
        "/api/reports",
        "/api/report-x",
        "/api",
        "/report",
        "/api/x/report",
    ] {
        assert_eq!(limit_and_remaining(&server, path).0, 1000, "{path}");
    }
}

#[test]
fn script_is_charged_with_a_path_after_it() {
    let server = TestServer::new(&route("/wp-login.php", 100));
    for (number, path) in [
        "/wp-login.php",
        "/wp-login.php/",
        "/wp-login.php/x/y",
        "/WP-Login.PHP/x",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            limit_and_remaining(&server, path),
            (100, 99 - number as u64),
            "{path}"
        );
    }
}

#[test]
fn case_matters_where_the_configuration_says_so() {
    let file = format!(
        "case_sensitive_paths = true\nrefill_rate = 0.001\n{}",
        route("/api/report", 100)
    );
    let server = TestServer::new(&file);
    assert_eq!(limit_and_remaining(&server, "/api/report"), (100, 99));
    assert_eq!(limit_and_remaining(&server, "/API/report"), (10, 9));
    assert_eq!(limit_and_remaining(&server, "/api/report;x"), (100, 98));
}

#[test]
fn longest_prefix_differs_between_servers_that_fold_case_and_others() {
    let file = "refill_rate = 0.001\n[[routes]]\npath = '/api/*'\ncost = 5\n[[routes]]\npath = '/api/Free/*'\ncost = 1";
    let server = TestServer::new(file);
    assert_eq!(limit_and_remaining(&server, "/api/Free/x"), (10, 9));
    assert_eq!(limit_and_remaining(&server, "/api/free/x"), (10, 4));
}

#[test]
fn plain_path_is_charged_by_the_most_specific_route_alone() {
    let file = format!(
        "refill_rate = 0.001\n{}{}{}{}",
        route("/*", 50),
        route("/api/*", 20),
        route("/api/data", 30),
        route("/api/v;1", 40)
    );
    let server = TestServer::new(&file);
    for (path, limit, remaining) in [
        ("/api/data", 30, 29),
        ("/api/projects/a%20b", 20, 19),
        ("/api/projects/group%2Fproject", 20, 18),
        ("/api/DATA", 20, 17),
        ("/api/v", 20, 16),
        ("/api/v;1", 40, 39),
        ("/other", 50, 49),
    ] {
        let got = limit_and_remaining(&server, path);
        // The path in other letters is charged to both.
        let expected = if path == "/api/DATA" {
            (30, 28)
        } else {
            (limit, remaining)
        };
        assert_eq!(got, expected, "{path}");
    }
}

#[test]
fn path_with_too_many_segments_or_readings_is_rejected_for_free() {
    let server = TestServer::new(&format!("refill_rate = 0.001\n{}", route("/api/*", 5)));
    for path in [
        "/a".repeat(65),
        "/".repeat(1000),
        "%2f".repeat(65),
        format!("/{}", "\\".repeat(65)),
        "/a/..;/%2e%2e//..%2f..%5cb".to_owned(),
        "/x.php".repeat(9) + "/a",
    ] {
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        let response = server.get(&path);
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(
            response.text().contains("path: expected"),
            "{}",
            response.text()
        );
    }
    assert_eq!(limit_and_remaining(&server, &"/a".repeat(64)), (10, 9));
    assert_eq!(limit_and_remaining(&server, "/api/x"), (5, 4));
    let without_routes = TestServer::new("refill_rate = 0.001");
    assert_eq!(
        limit_and_remaining(&without_routes, &"/a".repeat(1000)),
        (10, 9)
    );
}

#[test]
fn method_matches_in_any_letter_case() {
    let file = "refill_rate = 0.001\n[[routes]]\nmethod = 'POST'\npath = '/login'\nquota = '20/day'\n\
                [[routes]]\nmethod = 'GET'\npath = '/login'\nquota = '30/day'";
    let server = TestServer::new(file);
    for (method, limit, remaining) in [
        ("POST", 20, 19),
        ("post", 20, 18),
        ("pOsT", 20, 17),
        ("get", 30, 29),
        ("head", 30, 28),
        ("put", 10, 9),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let response = server.send(with_method(method.clone(), "/login"), "");
        assert_eq!(
            (response.number("x-ratelimit-limit"), response.remaining()),
            (limit, remaining),
            "{method}"
        );
    }
}

#[test]
fn effective_config_contains_the_routes() {
    let server = TestServer::new(
        "[[routes]]\npath = '/a'\nmethod = 'POST'\ncapacity = 100\nrefill = { every = '1h', mode = 'interval' }",
    );
    let config = server.get("/config").json();
    let expected = serde_json::json!({"capacity": 100, "refill_rate": 100.0 / 3600.0, "mode": "interval", "every": 3600.0});
    assert_eq!(config["routes"]["POST /a"], expected, "{config}");
    assert_eq!(
        server.post("/config", r#"{"capacity": 5}"#).json()["routes"]["POST /a"],
        expected,
        "the update applies to the default"
    );
}
