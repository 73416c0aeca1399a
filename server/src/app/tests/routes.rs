//! Routes with limits of their own: who goes by which, and that no spelling of a path gets around
//! one.

use hyper::{Method, Request, StatusCode};

use super::{Bench, with_method};

/// Limit and what is left of it, of a GET.
fn seen(bench: &Bench, path: &str) -> (u64, u64) {
    let seen = bench.get(path);
    (seen.number("x-ratelimit-limit"), seen.remaining())
}

fn route(path: &str, capacity: u32) -> String {
    format!("[[routes]]\npath = '{path}'\ncapacity = {capacity}\nrefill_rate = 0.001\n")
}

#[test]
fn a_client_has_a_bucket_for_each_route_beside_the_default() {
    let file = format!(
        "refill_rate = 0.001\n{}cost = 2\n{}",
        route("/api/data", 5),
        route("/b", 7)
    );
    let bench = Bench::new(&file);
    assert_eq!(
        [seen(&bench, "/api/data"), seen(&bench, "/api/data")],
        [(5, 3), (5, 1)]
    );
    let refused = bench.get("/api/data");
    assert_eq!(
        (refused.status, refused.remaining()),
        (StatusCode::TOO_MANY_REQUESTS, 1)
    );
    assert_eq!(
        [seen(&bench, "/b"), seen(&bench, "/")],
        [(7, 6), (10, 9)],
        "other buckets"
    );
    assert_eq!(
        bench
            .from("192.0.2.1")
            .ask(Request::get("/api/data"), "")
            .remaining(),
        3,
        "another client"
    );
}

#[test]
fn a_route_may_be_for_one_method_and_leave_the_cost_as_it_is() {
    let file = "refill_rate = 0.001\n[[routes]]\nmethod = 'POST'\npath = '/api/upload'\nquota = '20/day'\n\
                [[routes]]\nmethod = 'GET'\npath = '/api/data'\nquota = '30/day'";
    let bench = Bench::new(file);
    assert_eq!(
        bench.post("/api/upload", "").remaining(),
        17,
        "an upload costs 3 anyway"
    );
    assert_eq!(
        bench
            .ask(with_method(Method::HEAD, "/api/data"), "")
            .remaining(),
        29
    );
    assert_eq!(
        bench
            .ask(with_method(Method::PUT, "/api/data"), "")
            .remaining(),
        9
    );
    assert_eq!(seen(&bench, "/api/upload"), (10, 8), "GET is another route");
}

#[test]
fn the_path_itself_goes_before_what_it_lies_below_and_the_longest_of_those_wins() {
    let routes = [
        ("/api/*", 20),
        ("/api/v1/*", 30),
        ("/api/v1/x", 40),
        ("/*", 50),
    ]
    .map(|(path, capacity)| route(path, capacity));
    let bench = Bench::new(&routes.concat());
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
        assert_eq!(seen(&bench, path).0, limit, "{path}");
    }
    assert_eq!(seen(&bench, "/other").1, 47, "one bucket for all below");
}

#[test]
fn a_longer_route_of_another_method_does_not_hide_a_shorter_one() {
    let file = format!(
        "{}method = 'POST'\n{}",
        route("/api/v1/*", 30),
        route("/api/*", 20)
    );
    assert_eq!(seen(&Bench::new(&file), "/api/v1/x").0, 20);
}

/// Each is `/api/upload` to some server.
const UPLOADS: [&str; 22] = [
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
fn every_spelling_of_a_limited_path_takes_from_its_bucket() {
    for path in ["/api/upload", "/api/upload/", "/%61pi/upload"] {
        let bench = Bench::new(&format!("capacity = 1000\n{}", route(path, 100)));
        for (number, spelling) in UPLOADS.into_iter().enumerate() {
            assert_eq!(
                seen(&bench, spelling),
                (100, 99 - number as u64),
                "{spelling} for {path}"
            );
        }
    }
    let bench = Bench::new(&format!("capacity = 1000\n{}", route("/api/*", 100)));
    for (number, spelling) in UPLOADS.into_iter().enumerate() {
        assert_eq!(
            seen(&bench, spelling),
            (100, 99 - number as u64),
            "{spelling} for all below"
        );
    }
    let bench = Bench::new(
        "capacity = 1000\nrefill_rate = 0.001\n[[routes]]\npath = '/api/upload'\ncost = 10",
    );
    for (number, spelling) in UPLOADS.into_iter().enumerate() {
        assert_eq!(
            seen(&bench, spelling).1,
            990 - 10 * number as u64,
            "{spelling} for a cost"
        );
    }
}

#[test]
fn a_path_that_may_be_read_as_two_routes_pays_for_both_or_neither() {
    let file = format!(
        "refill_rate = 0.001\n{}{}",
        route("/slow/*", 3),
        route("/fast/*", 100)
    );
    let bench = Bench::new(&file);
    for disguise in [
        "/slow/..%2ffast",
        "/fast/../slow/x",
        "/x/../slow/%2e%2e/fast",
    ] {
        assert_eq!(
            bench.get(disguise).status,
            StatusCode::NOT_FOUND,
            "{disguise}"
        );
    }
    assert_eq!(seen(&bench, "/fast/").1, 96);
    let refused = bench.get("/fast/../slow/x");
    assert_eq!(
        (refused.status, refused.number("x-ratelimit-limit")),
        (StatusCode::TOO_MANY_REQUESTS, 3)
    );
    assert_eq!(seen(&bench, "/fast/").1, 95, "it got back what it gave");
    assert_eq!(seen(&bench, "/").1, 8, "as it stands, one is of no route");
    assert_eq!(seen(&bench, "/fast/../x"), (100, 94), "and so may this be");
    assert_eq!(seen(&bench, "/").1, 6);
}

#[test]
fn nothing_gets_an_exemption_by_its_spelling() {
    let file = format!(
        "refill_rate = 0.001\n[[routes]]\npath = '/static/*'\nexempt = true\n[[routes]]\npath = '/open'\nexempt = true\n{}",
        route("/slow", 3)
    );
    let bench = Bench::new(&file);
    for path in ["/static", "/static/a%20b/c.css", "/static/./x", "/open"] {
        assert_eq!(bench.get(path).header("x-ratelimit-limit"), None, "{path}");
    }
    assert_eq!(
        seen(&bench, "/static/a/x%5Cy%2F..%2F..%2F..%2Fslow"),
        (3, 2)
    );
    for (number, path) in [
        "/static/../x",
        "/static/..%2fx",
        "/x/../open",
        "/open/",
        "//open",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(seen(&bench, path), (10, 9 - number as u64), "{path}");
    }
    assert_eq!(seen(&bench, "/static/%2e%2e/slow"), (3, 1));
}

#[test]
fn what_is_in_force_shows_the_routes() {
    let bench = Bench::new(
        "[[routes]]\npath = '/a'\nmethod = 'POST'\ncapacity = 100\nrefill = { every = '1h', mode = 'interval' }",
    );
    let shown = bench.get("/config").json();
    let expected = serde_json::json!({"capacity": 100, "refill_rate": 100.0 / 3600.0, "mode": "interval", "every": 3600.0});
    assert_eq!(shown["routes"]["POST /a"], expected, "{shown}");
    assert_eq!(
        bench.post("/config", r#"{"capacity": 5}"#).json()["routes"]["POST /a"],
        expected,
        "it is for the default"
    );
}
