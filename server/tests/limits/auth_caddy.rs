//! `/auth` behind a real Caddy with the documented configuration.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;
use test_support::programs::ExternalService;
use test_support::{Client, Launch, Server, Upstream};

const ROUTES: &str = "capacity = 10\nrefill_rate = 0.001\ntrust_proxy = ['127.0.0.1']\n\
     [[routes]]\nmethod = 'POST'\npath = '/import'\ncost = 6\n\
     [[routes]]\npath = '/report'\ncost = 4\n\
     [[routes]]\npath = '/open'\nexempt = true\n";

/// Response of an upstream with rate limit headers of its own.
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 77\r\nContent-Length: 4\r\n\r\nmine";

struct Caddy {
    service: ExternalService,
    _directory: TempDir,
}

impl Caddy {
    /// Starts Caddy in front of an upstream.
    fn start(tollgate: SocketAddr, upstream: &Upstream) -> Caddy {
        let directory = TempDir::new().unwrap();
        let sites = include_str!("../../../examples/Caddyfile")
            .replace("127.0.0.1:8000", &tollgate.to_string())
            .replace("127.0.0.1:9000", &upstream.address.to_string());
        let service = ExternalService::start(|address| {
            let sites = sites.replace("http://:8080", &format!("http://:{}", address.port()));
            let path = directory.path().join("Caddyfile");
            // The admin endpoint would occupy a port.
            std::fs::write(&path, format!("{{\n\tadmin off\n}}\n{sites}")).unwrap();
            let mut command = Command::new("caddy");
            command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(path);
            // Keeps Caddy's state out of the home directory.
            for name in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
                command.env(name, directory.path());
            }
            command
        });
        Caddy {
            service,
            _directory: directory,
        }
    }

    /// Connects from the loopback address that ends with `last`.
    fn client(&self, last: u8) -> Client {
        Client::connect(self.service.address, Some([127, 0, 0, last].into()))
    }
}

fn server() -> Server {
    Launch::new().config("tollgate.toml", ROUTES).start()
}

#[test]
fn caddy_forwards_only_allowed_requests() {
    let (server, upstream) = (server(), Upstream::responding(RESPONSE));
    let caddy = Caddy::start(server.address, &upstream);
    let mut client = caddy.client(2);
    for left in (0..10).rev() {
        let response = client.get("/anything?x=1");
        assert_eq!(
            (response.status, response.text()),
            (200, "mine".to_owned()),
            "{response:?}"
        );
        assert_eq!(response.remaining(), left);
        let limits = response
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("X-RateLimit-Limit"));
        assert!(
            limits.map(|(_, limit)| limit).eq(["10"]),
            "the server's headers replace the upstream's: {response:?}"
        );
    }
    let refused = client.get("/anything");
    assert_eq!(
        (refused.status, refused.limit(), refused.remaining()),
        (429, 10, 0),
        "{refused:?}"
    );
    assert!(
        (999..=1001).contains(&refused.number("Retry-After")),
        "{refused:?}"
    );
    assert_eq!(refused.json()["error"], "Too Many Requests");
    assert_eq!(caddy.client(2).post("/anything", "body").status, 429);
    assert_eq!(
        upstream.requests().len(),
        10,
        "refused requests did not reach the upstream"
    );
}

#[test]
fn caddy_forwards_headers_of_the_configured_style() {
    let upstream = Upstream::responding(
        "HTTP/1.1 200 OK\r\nRateLimit: \"theirs\";r=7\r\nContent-Length: 4\r\n\r\nmine",
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
        let caddy = Caddy::start(server.address, &upstream);
        let mut client = caddy.client(2);
        for status in [200, 429] {
            let response = client.post("/import", "");
            assert_eq!(response.status, status, "{choice}: {response:?}");
            response.assert_limits(
                x,
                draft.then_some((r#""default";q=10;w=10000"#, r#""default";r=4;t="#)),
            );
        }
    }
}

#[test]
fn caddy_sets_client_and_original_request_and_clients_cannot() {
    let (server, upstream) = (server(), Upstream::responding(RESPONSE));
    let caddy = Caddy::start(server.address, &upstream);
    let mut client = caddy.client(3);
    assert_eq!(client.post("/import?x", "0123456789").remaining(), 4);
    assert_eq!(
        upstream.single_request().body,
        b"0123456789",
        "the request to /auth does not consume the body"
    );
    let open = client.get("/open");
    assert_eq!(
        (open.status, open.header("X-RateLimit-Remaining")),
        (200, None)
    );
    let claims = [
        ("X-Forwarded-For", "203.0.113.1"),
        ("Forwarded", "for=203.0.113.1"),
        ("X-Forwarded-Uri", "/open"),
        ("X-Forwarded-Method", "HEAD"),
        ("X-Original-URI", "/import"),
        ("X-Original-Method", "POST"),
    ];
    let report = client.get_with("/report", &claims);
    assert_eq!(
        (report.status, report.remaining()),
        (200, 0),
        "cost 4, neither 0 nor 6, from the client's own bucket"
    );
    assert_eq!(
        client.get_with("/anything", &claims).status,
        429,
        "clients cannot set their own address"
    );
}

#[test]
fn caddy_without_tollgate_forwards_nothing() {
    let (server, upstream) = (server(), Upstream::responding(RESPONSE));
    let address = server.address;
    drop(server);
    let caddy = Caddy::start(address, &upstream);
    assert_eq!(caddy.client(2).get("/").status, 502);
    assert_eq!(upstream.requests().len(), 0);
}
