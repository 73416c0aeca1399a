//! `/auth` for proxies that request a decision before they forward, including a real nginx.

use test_support::nginx::Nginx;
use test_support::{Client, Launch, Response, Server, Upstream};

const ROUTES: &str = "capacity = 10\nrefill_rate = 0.001\ntrust_proxy = ['127.0.0.1']\n\
     [[routes]]\nmethod = 'POST'\npath = '/import'\ncost = 6\n\
     [[routes]]\npath = '/report'\ncost = 4\n\
     [[routes]]\npath = '/open'\nexempt = true\n";

fn server() -> Server {
    Launch::new().config("tollgate.toml", ROUTES).start()
}

/// Sends a request to `/auth` from a trusted proxy, on behalf of a client.
fn request_auth(server: &Server, client: &str, headers: &[(&str, &str)]) -> Response {
    let headers = [&[("X-Forwarded-For", client)], headers].concat();
    server.client().get_with("/auth", &headers)
}

#[test]
fn decision_is_200_or_429_with_headers_for_the_client_behind_the_proxy() {
    let server = server();
    for left in (0..10).rev() {
        let response = request_auth(&server, "203.0.113.7", &[]);
        assert_eq!(
            (response.status, response.limit(), response.remaining()),
            (200, 10, left)
        );
    }
    let refused = request_auth(&server, "203.0.113.7", &[]);
    assert_eq!((refused.status, refused.remaining()), (429, 0));
    assert!(
        (999..=1001).contains(&refused.number("Retry-After")),
        "{refused:?}"
    );
    assert_eq!(refused.json()["error"], "Too Many Requests");
    assert_eq!(
        request_auth(&server, "203.0.113.8", &[]).remaining(),
        9,
        "clients have separate buckets"
    );
}

#[test]
fn cost_is_that_of_the_original_request_in_the_headers_of_each_proxy() {
    let server = server();
    let original = [
        ("X-Original-URI", "/import?a=/open"),
        ("X-Original-Method", "POST"),
    ];
    assert_eq!(
        request_auth(&server, "203.0.113.1", &original).remaining(),
        4,
        "nginx"
    );
    let forwarded = [
        ("X-Forwarded-Uri", "/import?a"),
        ("X-Forwarded-Method", "POST"),
        ("X-Forwarded-Proto", "https"),
    ];
    assert_eq!(
        request_auth(&server, "203.0.113.2", &forwarded).remaining(),
        4,
        "Traefik and Caddy"
    );
    assert_eq!(
        request_auth(&server, "203.0.113.3", &[("X-Original-URI", "/import")]).remaining(),
        9,
        "the method of the request to /auth is GET"
    );
    assert_eq!(
        request_auth(&server, "203.0.113.3", &[("X-Original-URI", "//report")]).remaining(),
        5,
        "for every spelling"
    );
    let head = [
        ("X-Forwarded-Uri", "/nothing"),
        ("X-Forwarded-Method", "HEAD"),
    ];
    assert_eq!(request_auth(&server, "203.0.113.3", &head).remaining(), 4);
    let upload = [
        ("X-Original-URI", "/api/upload"),
        ("X-Original-Method", "POST"),
    ];
    assert_eq!(
        request_auth(&server, "203.0.113.3", &upload).remaining(),
        3,
        "another server's upload has the default cost"
    );
    for _ in 0..20 {
        let open = request_auth(&server, "203.0.113.3", &[("X-Forwarded-Uri", "/open")]);
        assert_eq!((open.status, open.header("X-RateLimit-Limit")), (200, None));
    }
    let methods = server.client_from("127.0.0.1").request(
        "PURGE",
        "/auth?x",
        &[("X-Forwarded-For", "203.0.113.4")],
        "",
    );
    assert_eq!(
        (methods.status, methods.remaining()),
        (200, 9),
        "every method is accepted"
    );
}

#[test]
fn higher_cost_of_two_original_requests_counts() {
    let server = server();
    let forged = [("X-Original-URI", "/report"), ("X-Forwarded-Uri", "/open")];
    assert_eq!(request_auth(&server, "203.0.113.1", &forged).remaining(), 6);
    let forged = [("X-Forwarded-Uri", "/open"), ("X-Original-Uri", "/report")];
    assert_eq!(request_auth(&server, "203.0.113.2", &forged).remaining(), 6);
    let forged = [
        ("X-Original-URI", "/import"),
        ("X-Original-Method", "POST"),
        ("X-Forwarded-Method", "GET"),
    ];
    assert_eq!(request_auth(&server, "203.0.113.3", &forged).remaining(), 4);
    for forged in [
        &[("X-Original-URI", "/report"), ("X-Original-URI", "/open")][..],
        &[
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Method", "POST"),
        ],
        &[("X-Forwarded-Method", "G T")],
    ] {
        let response = request_auth(&server, "203.0.113.4", forged);
        assert_eq!(response.status, 400, "{forged:?}");
        assert!(
            response.text().contains(&forged[0].0.to_lowercase()),
            "{}",
            response.text()
        );
    }
    assert_eq!(request_auth(&server, "203.0.113.4", &[]).remaining(), 9);
}

#[test]
fn untrusted_peer_is_charged_itself() {
    let server = server();
    let mut client = server.client_from("127.0.0.9");
    let claims = [
        ("X-Forwarded-For", "203.0.113.1"),
        ("X-Original-URI", "/open"),
        ("X-Forwarded-Uri", "/open"),
    ];
    assert_eq!(client.get_with("/auth", &claims).remaining(), 9);
    assert_eq!(
        client
            .get_with("/auth", &[("X-Original-URI", "/report")])
            .remaining(),
        8
    );
    assert_eq!(
        client.get("/").remaining(),
        7,
        "all requests share one bucket"
    );
    let log = server.wait_for_log("--trust-proxy");
    assert_eq!(
        log.matches("--trust-proxy").count(),
        1,
        "logged once, not for every request: {log}"
    );
    assert_eq!(request_auth(&server, "203.0.113.1", &[]).remaining(), 9);
}

#[test]
fn clients_are_identified_by_api_key() {
    let file = format!("client = {{ header = 'X-API-Key' }}\napi_keys = ['first']\n{ROUTES}");
    let server = Launch::new().config("tollgate.toml", &file).start();
    assert_eq!(request_auth(&server, "203.0.113.1", &[]).status, 401);
    assert_eq!(
        request_auth(&server, "203.0.113.1", &[("X-API-Key", "third")]).status,
        401
    );
    let report = [("X-API-Key", "first"), ("X-Original-URI", "/report")];
    assert_eq!(request_auth(&server, "203.0.113.1", &report).remaining(), 6);
    assert_eq!(
        request_auth(&server, "203.0.113.2", &report).remaining(),
        2,
        "from every address"
    );
}

#[test]
fn gateway_forwards_the_path_to_its_upstream() {
    let upstream = Upstream::with_body("mine");
    assert_eq!(Server::gateway(&upstream.url()).get("/auth").text(), "mine");
}

/// Starts nginx with the documented configuration.
fn nginx(tollgate: &str, upstream: &Upstream) -> Nginx {
    let text = include_str!("../../../examples/nginx.conf");
    let text = text
        .replace("127.0.0.1:8000", tollgate)
        .replace("127.0.0.1:9000", &upstream.address.to_string());
    Nginx::start(&text)
}

#[test]
fn nginx_forwards_only_allowed_requests() {
    let (server, upstream) = (server(), Upstream::with_body("mine"));
    let nginx = nginx(&server.address.to_string(), &upstream);
    // nginx closes a connection after a refusal.
    let connect = |last| Client::connect(nginx.address, Some([127, 0, 0, last].into()));
    let mut client = connect(2);
    for left in (0..10).rev() {
        let response = client.get("/anything?x=1");
        assert_eq!(
            (response.status, response.text()),
            (200, "mine".to_owned()),
            "{}",
            nginx.log()
        );
        assert_eq!((response.limit(), response.remaining()), (10, left));
    }
    let refused = client.get("/anything");
    assert_eq!(
        (refused.status, refused.limit(), refused.remaining()),
        (429, 10, 0),
        "{refused:?} {}",
        nginx.log()
    );
    assert!(
        (999..=1001).contains(&refused.number("Retry-After")),
        "{refused:?}"
    );
    assert_eq!(refused.json()["error"], "Too Many Requests");
    assert_eq!(connect(2).post("/anything", "body").status, 429);
    assert_eq!(
        upstream.requests().len(),
        10,
        "refused requests did not reach the upstream"
    );

    let mut other = connect(3);
    assert_eq!(other.post("/import?x", "0123456789").remaining(), 4);
    assert_eq!(upstream.requests().last().unwrap().body, b"0123456789");
    assert_eq!(other.get("/report").remaining(), 0);
    assert_eq!(other.get("/open").status, 200);
    let claims = [
        ("X-Forwarded-For", "203.0.113.1"),
        ("X-Forwarded-Uri", "/open"),
        ("Forwarded", "for=203.0.113.1"),
    ];
    assert_eq!(
        other.get_with("/report", &claims).status,
        429,
        "clients cannot set their own address"
    );
    assert_eq!(
        connect(3).get("/_tollgate").status,
        404,
        "the header is set by nginx"
    );
}

#[test]
fn nginx_forwards_headers_of_the_configured_style() {
    let upstream = Upstream::responding(
        "HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 77\r\nRateLimit: \"theirs\";r=7\r\nContent-Length: 4\r\n\r\nmine",
    );
    for (choice, x, draft) in [
        ("x", true, false),
        ("draft", false, true),
        ("both", true, true),
    ] {
        let server = Launch::new()
            .config("tollgate.toml", ROUTES)
            .args(&["--headers", choice])
            .start();
        let nginx = nginx(&server.address.to_string(), &upstream);
        let mut client = Client::connect(nginx.address, Some([127, 0, 0, 2].into()));
        for status in [200, 429] {
            let response = client.post("/import", "");
            assert_eq!(
                response.status,
                status,
                "{choice}: {response:?} {}",
                nginx.log()
            );
            response.assert_limits(
                x,
                draft.then_some((r#""default";q=10;w=10000"#, r#""default";r=4;t="#)),
            );
        }
    }
}

#[test]
fn nginx_without_tollgate_forwards_nothing() {
    let (server, upstream) = (server(), Upstream::with_body("mine"));
    let address = server.address.to_string();
    drop(server);
    let nginx = nginx(&address, &upstream);
    assert_eq!(Client::connect(nginx.address, None).get("/").status, 503);
    assert_eq!(upstream.requests().len(), 0);
}
