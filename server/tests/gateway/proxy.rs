//! Forwarding: allowed requests and their responses pass unmodified, refused requests are not
//! forwarded.

use test_support::http::encode;
use test_support::{ADMIN_TOKEN, AS_ADMIN, Client, Launch, SLOW, Server, Upstream};

#[test]
fn a_chunked_body_reaches_the_upstream_with_any_method() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "REPORT"] {
        let upstream = Upstream::responding("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let server = Server::gateway(&upstream.url());
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut client = server.client();
        client
            .send(format!("{head}5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n").as_bytes())
            .unwrap();
        assert_eq!(client.head().unwrap().status, 200, "{method}");
        assert_eq!(upstream.single_request().body, b"helloyou", "{method}");

        client.send(format!("{head}0\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(client.head().unwrap().status, 200, "{method}");
        assert_eq!(upstream.requests()[1].body, b"", "{method}");
    }
}

#[test]
fn request_and_response_pass_unmodified() {
    let upstream = Upstream::responding(
        "HTTP/1.1 207 Multi-Status\r\nContent-Type: text/x-odd\r\nX-Own: one\r\nX-Own: two\r\nSet-Cookie: a=b\r\n\
         Server: upstream\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 5\r\n\r\nhello",
    );
    let server = Server::gateway(&upstream.url());
    let headers = [
        ("X-Request", "as it was"),
        ("Cookie", "c=d"),
        ("Accept-Encoding", "br"),
    ];
    let response =
        server
            .client()
            .request("PATCH", "/a//b/../%7Ec?q=1&q=%20#", &headers, "the body");
    assert_eq!((response.status, response.text().as_str()), (207, "hello"));
    let own: Vec<_> = response
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-own"))
        .collect();
    assert_eq!(
        own.iter()
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>(),
        ["one", "two"]
    );
    for (name, value) in [
        ("Content-Type", "text/x-odd"),
        ("Set-Cookie", "a=b"),
        ("Server", "upstream"),
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Content-Length", "5"),
    ] {
        assert_eq!(response.header(name), Some(value), "{name}");
    }
    assert_eq!(
        (response.limit(), response.remaining()),
        (1_000_000, 999_999)
    );
    assert!(response.reset() > 0);
    let request = upstream.single_request();
    assert_eq!(
        request.request_line(),
        "PATCH /a//b/../%7Ec?q=1&q=%20 HTTP/1.1"
    );
    assert_eq!(request.body, b"the body");
    for (name, value) in headers
        .iter()
        .chain(&[("Host", "localhost"), ("Content-Length", "8")])
    {
        assert_eq!(request.header(name), Some(*value), "{name}");
    }
}

#[test]
fn limit_headers_of_the_gateway_replace_those_of_the_upstream() {
    let upstream = Upstream::responding(
        "HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 3\r\nContent-Length: 0\r\n\r\n",
    );
    let server = Server::gateway(&upstream.url());
    let response = server.get("/");
    assert_eq!(response.limit(), 1_000_000);
    assert_eq!(
        response
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-ratelimit-limit"))
            .count(),
        1
    );
}

#[test]
fn a_refused_request_never_reaches_the_upstream() {
    let upstream = Upstream::with_body("hello");
    let server = Server::start(&[
        "--upstream",
        &upstream.url(),
        "--capacity",
        "2",
        "--refill-rate",
        SLOW,
    ]);
    let mut client = server.client();
    assert_eq!(client.post("/", "first").status, 200);
    assert_eq!(client.get("/").status, 200);
    for _ in 0..3 {
        let response = client.post("/", "never seen");
        assert_eq!(response.status, 429);
        assert_eq!(response.json()["error"], "Too Many Requests");
        assert!(response.number("Retry-After") > 0);
    }
    // The server sends no 100 Continue for a refused request.
    client
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .unwrap();
    assert_eq!(client.read().unwrap().status, 429);
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    assert!(
        requests
            .iter()
            .all(|request| !String::from_utf8_lossy(&request.body).contains("never"))
    );
    assert_eq!(upstream.connections(), 1, "the connection is reused");
}

#[test]
fn costs_exemptions_and_api_keys_apply_before_forwarding() {
    let upstream = Upstream::with_body("hello");
    let text = format!(
        "capacity = 10\nrefill_rate = {SLOW}\nupstream = '{}'\nclient = {{ header = 'X-API-Key' }}\napi_keys = ['k']\n\
         [[routes]]\npath = '/dear'\ncost = 6\n[[routes]]\nmethod = 'GET'\npath = '/free'\nexempt = true\n",
        upstream.url()
    );
    let server = Launch::new().config("gateway.toml", &text).start();
    let get = |path: &str| server.client().get_with(path, &[("X-API-Key", "k")]);
    assert_eq!(server.get("/dear").status, 401, "no key");
    assert_eq!(
        server
            .client()
            .get_with("/", &[("X-API-Key", "other")])
            .status,
        401
    );
    assert_eq!(upstream.requests().len(), 0);
    let free = get("/free");
    assert_eq!((free.status, free.header("X-RateLimit-Limit")), (200, None));
    assert_eq!(get("/dear").remaining(), 4);
    assert_eq!(get("/dear").status, 429);
    assert_eq!(
        get("/api/upload").remaining(),
        3,
        "a gateway has no built-in endpoints with their costs"
    );
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn the_cost_of_a_route_applies_to_all_spellings_of_its_path() {
    let upstream = Upstream::with_body("hello");
    let text = format!(
        "capacity = 1000\nrefill_rate = {SLOW}\nupstream = '{}'\n[[routes]]\npath = '/dear/one'\ncost = 100\n\
         [[routes]]\npath = '/free'\nexempt = true\n",
        upstream.url()
    );
    let server = Launch::new().config("gateway.toml", &text).start();
    let mut client = server.client();
    let mut remaining = 1000;
    for spelling in [
        "/dear/one",
        "/dear/%6fne",
        "/%64ear/one",
        "//dear///one",
        "/x/../dear/./one",
        "/dear%2Fone",
        "/dear/one?a=/b",
    ] {
        remaining -= 100;
        assert_eq!(client.get(spelling).remaining(), remaining, "{spelling}");
    }
    // An upstream may normalise paths that the gateway does not: such a path must not be exempt.
    assert_eq!(client.get("/x/../free").remaining(), remaining - 1);
    assert_eq!(client.get("/dear/one%").remaining(), remaining - 2);
}

#[test]
fn the_longest_prefix_wins() {
    let (root, api, deep) = (
        Upstream::with_body("root"),
        Upstream::with_body("api"),
        Upstream::with_body("deep"),
    );
    let text = format!(
        "capacity = 1000\nupstream = '{}'\n[[upstreams]]\nprefix = '/api'\nurl = '{}'\n\
         [[upstreams]]\nprefix = '/api/deep/'\nurl = '{}'\n",
        root.url(),
        api.url(),
        deep.url()
    );
    let server = Launch::new().config("gateway.toml", &text).start();
    let mut client = server.client();
    for (path, name) in [
        ("/", "root"),
        ("/apis", "root"),
        ("/ap", "root"),
        ("/api", "api"),
        ("/api/", "api"),
        ("/api?x=/api/deep/", "api"),
        ("/api/deep", "api"),
        ("/api/deeper", "api"),
        ("/api/deep/", "deep"),
        ("/api/deep/x", "deep"),
    ] {
        assert_eq!(client.get(path).text(), name, "{path}");
    }
}

#[test]
fn endpoints_of_the_server_are_not_forwarded() {
    let upstream = Upstream::with_body("upstream");
    let text = format!(
        "capacity = 5\nrefill_rate = {SLOW}\nadmin_token = '{ADMIN_TOKEN}'\n\
         [[upstreams]]\nprefix = '/api'\nurl = '{}'\n",
        upstream.url()
    );
    let server = Launch::new().config("gateway.toml", &text).start();
    assert_eq!(server.get("/health").json()["status"], "ok");
    let config = server.client().get_with("/config", &AS_ADMIN);
    assert_eq!(config.json()["capacity"], 5);
    let rule = r#"{"client_id": "192.0.2.7", "capacity": 1, "refill_rate": 1}"#;
    let set = server
        .client()
        .request("POST", "/admin/update-rule", &AS_ADMIN, rule);
    assert_eq!(set.status, 200);
    for path in ["/", "/nothing", "/apis", "/admin/"] {
        let response = server.get(path);
        assert_eq!(
            (response.status, response.json()["error"].as_str()),
            (404, Some("Not Found")),
            "{path}"
        );
    }
    assert_eq!(server.get("/api/data").remaining(), 0);
    assert_eq!(
        upstream.single_request().request_line(),
        "GET /api/data HTTP/1.1"
    );
}

#[test]
fn a_response_without_a_body_ends_with_its_head() {
    let upstream = Upstream::start(|connection| {
        loop {
            let request = connection.request()?;
            let status = if request.request_line().starts_with("HEAD") {
                "200 OK"
            } else {
                "304 Not Modified"
            };
            connection.send(
                format!("HTTP/1.1 {status}\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n")
                    .as_bytes(),
            )?;
        }
    });
    let server = Server::gateway(&upstream.url());
    let mut client = server.client();
    for (method, status) in [("HEAD", 200), ("GET", 304), ("HEAD", 200)] {
        client.send(&encode(method, "/", &[], "")).unwrap();
        let head = client.head().unwrap();
        assert_eq!((head.status, head.header("ETag")), (status, Some("\"x\"")));
        if method == "HEAD" {
            assert_eq!(head.header("Content-Length"), Some("1234"));
        }
    }
    assert_eq!(client.unread(), 0);
}

#[test]
fn the_authority_of_an_absolute_target_overrides_host() {
    let upstream = Upstream::with_body("hello");
    let server = Server::gateway(&upstream.url());
    let mut client = Client::connect(server.address, None);
    client
        .send(b"GET http://named.example:81/x?y HTTP/1.1\r\nHost: other.example\r\n\r\n")
        .unwrap();
    assert_eq!(client.read().unwrap().status, 200);
    let request = upstream.single_request();
    assert_eq!(request.request_line(), "GET /x?y HTTP/1.1");
    assert_eq!(request.header("Host"), Some("named.example:81"));
    assert_eq!(request.header("X-Forwarded-Host"), Some("named.example:81"));
}

#[test]
fn http_1_0_clients_are_served() {
    let upstream = Upstream::responding(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let server = Server::gateway(&upstream.url());
    let mut client = server.client();
    client.send(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let response = client.read().unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    let request = upstream.single_request();
    assert_eq!(request.request_line(), "GET / HTTP/1.1");
    assert_eq!(
        request.header("Host"),
        Some(upstream.address.to_string().as_str())
    );
    assert_eq!(request.header("Via"), Some("1.0 tollgate"));
}
