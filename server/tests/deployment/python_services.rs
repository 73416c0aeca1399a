//! A real Flask and a real FastAPI service behind the gateway, unchanged: what they count is what
//! was allowed.

use std::{net::IpAddr, process::Command};

use serde_json::{Value, json};
use test_support::{
    Client, Launch, SLOW, Server,
    parts::{Service, part},
};

fn python(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(part(program));
    command
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn flask() -> Service {
    Service::start(|address| {
        let listen = address.to_string();
        let trust = [
            "--trusted-proxy",
            "127.0.0.1",
            "--trusted-proxy-headers",
            "x-forwarded-for",
        ];
        python(
            "python/bin/waitress-serve",
            &[&["--listen", &listen], &trust[..], &["flask_app:app"]].concat(),
        )
    })
}

fn fastapi() -> Service {
    Service::start(|address| {
        let port = address.port().to_string();
        python(
            "python/bin/uvicorn",
            &[
                "--port",
                &port,
                "--forwarded-allow-ips",
                "127.0.0.1",
                "fastapi_app:app",
            ],
        )
    })
}

/// What has reached the service, asked behind the gateway's back.
fn seen(service: &Service) -> Value {
    Client::connect(service.address, None).get("/seen").json()
}

/// From an address that no other part of a test has.
fn client(server: &Server, number: u8) -> Client {
    Client::connect(server.address, Some(IpAddr::from([127, 0, 0, number])))
}

/// Five tokens a client, none of which comes back, and an upload costs three.
fn gateway(service: &Service) -> Server {
    let text = format!(
        "capacity = 5\nrefill_rate = {SLOW}\nupstream = '{}'\n[[routes]]\nmethod = 'POST'\npath = '/api/upload'\ncost = 3\n\
         [[routes]]\npath = '/api/more'\nexempt = true\n",
        service.url()
    );
    Launch::new().config("gateway.toml", &text).start()
}

fn only_what_is_allowed_arrives(service: &Service) {
    let server = gateway(service);
    let mut first = client(&server, 2);
    for left in (0..5).rev() {
        let answer = first.get("/");
        assert_eq!(
            answer.json(),
            json!({"from": "127.0.0.2", "message": "Access granted"})
        );
        assert_eq!(
            (answer.status, answer.limit(), answer.remaining()),
            (200, 5, left)
        );
    }
    for _ in 0..7 {
        for refused in [
            first.get("/"),
            first.get("/api/data"),
            first.post("/api/submit", "{}"),
        ] {
            assert_eq!(
                (refused.status, refused.json()["error"].as_str()),
                (429, Some("Too Many Requests"))
            );
            assert!(refused.number("Retry-After") > 0);
        }
    }
    let mut second = client(&server, 3);
    assert_eq!(second.post("/api/upload", "one").remaining(), 2);
    assert_eq!(
        second.post("/api/upload", "two").status,
        429,
        "two tokens are not three"
    );
    assert_eq!(seen(service), json!({"GET /": 5, "POST /api/upload": 1}));
}

fn requests_and_answers_pass_as_they_are(service: &Service) {
    let server = gateway(service);
    let mut client = client(&server, 4);
    let body = json!({"name": "Grüße", "list": [1, 2.5, null]});
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Request", "as it was"),
    ];
    let answer = client.request("POST", "/api/submit", &headers, &body.to_string());
    assert_eq!(
        (answer.status, answer.json()),
        (201, json!({"submitted": body}))
    );
    assert_eq!(answer.header("Location"), Some("/api/data?item=7"));
    assert_eq!(answer.header("X-Service"), Some("as it was"));
    assert_eq!(
        client.get("/api/data?a=1&a=2&b=%26").json()["query"],
        json!({"a": ["1", "2"], "b": ["&"]})
    );
    let missing = client.get("/nowhere");
    assert_eq!(
        (missing.status, missing.remaining()),
        (404, 2),
        "the service's own 404, and a token spent"
    );
    assert_ne!(missing.header("Content-Type"), None);
}

fn long_bodies_arrive_whole(service: &Service) {
    let server = gateway(service);
    let body = "0123456789abcdef".repeat(1 << 16);
    let answer = client(&server, 5).request("POST", "/api/upload", &[], &body);
    // sha256 of those bytes, by sha256sum.
    let digest = "aca1cd027e979588d14b877b7b0cb8585ad9fec599eb45801992ee5382b3760f";
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"bytes": 1 << 20, "sha256": digest}))
    );

    let mut chunked = client(&server, 6);
    chunked
        .send(b"POST /api/upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for piece in body.as_bytes().chunks(100_000) {
        chunked
            .send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())
            .unwrap();
    }
    chunked.send(b"0\r\n\r\n").unwrap();
    assert_eq!(
        chunked.read().unwrap().json(),
        answer.json(),
        "and without a length"
    );
}

fn answers_come_as_they_are_written(service: &Service) {
    let server = gateway(service);
    let mut client = client(&server, 7);
    client
        .send(b"GET /api/stream HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let head = client.head().unwrap();
    assert_eq!((head.status, head.remaining()), (200, 4));
    assert_eq!(head.header("Content-Length"), None);
    assert_eq!(client.chunk().unwrap().unwrap(), b"first\n");
    // Only this lets the service write the rest.
    let mut other = server.client();
    other
        .send(b"POST /api/more HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(other.head().unwrap().status, 204);
    assert_eq!(client.chunk().unwrap().unwrap(), b"last\n");
    assert_eq!(client.chunk().unwrap(), None);
}

fn a_service_that_is_gone_is_a_502(service: Service) {
    let server = gateway(&service);
    assert_eq!(client(&server, 8).get("/").status, 200);
    drop(service);
    let answer = client(&server, 8).get("/");
    assert_eq!(answer.status, 502);
}

fn all(start: impl Fn() -> Service) {
    only_what_is_allowed_arrives(&start());
    let service = start();
    requests_and_answers_pass_as_they_are(&service);
    long_bodies_arrive_whole(&service);
    answers_come_as_they_are_written(&service);
    a_service_that_is_gone_is_a_502(service);
}

#[test]
fn flask_behind_the_gateway() {
    all(flask);
}

#[test]
fn fastapi_behind_the_gateway() {
    all(fastapi);
}

#[test]
fn both_behind_one_gateway_by_path() {
    let (flask, fastapi) = (flask(), fastapi());
    let text = format!(
        "capacity = 4\nrefill_rate = {SLOW}\nupstream = '{}'\n[[upstreams]]\nprefix = '/api'\nurl = '{}'\n",
        flask.url(),
        fastapi.url()
    );
    let server = Launch::new().config("gateway.toml", &text).start();
    for (path, status) in [
        ("/", 200),
        ("/api/data", 200),
        ("/", 200),
        ("/api/data", 200),
        ("/", 429),
        ("/api/data", 429),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    assert_eq!(seen(&flask), json!({"GET /": 2}));
    assert_eq!(seen(&fastapi), json!({"GET /api/data": 2}));
}
