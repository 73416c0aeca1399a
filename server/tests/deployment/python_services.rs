//! Unmodified Flask and FastAPI services behind the gateway: they receive exactly the allowed
//! requests.

use std::{net::IpAddr, process::Command};

use serde_json::{Value, json};
use test_support::{
    Client, Launch, SLOW, Server,
    programs::{ExternalService, installed_program},
};

fn python(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(installed_program(program));
    command
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn flask() -> ExternalService {
    ExternalService::start(|address| {
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

fn fastapi() -> ExternalService {
    ExternalService::start(|address| {
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

/// Numbers of requests that reached the service, queried without the gateway.
fn received(service: &ExternalService) -> Value {
    Client::connect(service.address, None).get("/seen").json()
}

/// Connects from an address that no other part of the test uses.
fn client(server: &Server, number: u8) -> Client {
    Client::connect(server.address, Some(IpAddr::from([127, 0, 0, number])))
}

/// Starts a gateway with five tokens per client and a negligible refill; an upload costs three.
fn gateway(service: &ExternalService) -> Server {
    let text = format!(
        "capacity = 5\nrefill_rate = {SLOW}\nupstream = '{}'\n[[routes]]\nmethod = 'POST'\npath = '/api/upload'\ncost = 3\n\
         [[routes]]\npath = '/api/more'\nexempt = true\n",
        service.url()
    );
    Launch::new().config("gateway.toml", &text).start()
}

fn only_allowed_requests_arrive(service: &ExternalService) {
    let server = gateway(service);
    let mut first = client(&server, 2);
    for remaining in (0..5).rev() {
        let response = first.get("/");
        assert_eq!(
            response.json(),
            json!({"from": "127.0.0.2", "message": "Access granted"})
        );
        assert_eq!(
            (response.status, response.limit(), response.remaining()),
            (200, 5, remaining)
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
        "an upload costs three tokens, two remain"
    );
    assert_eq!(
        received(service),
        json!({"GET /": 5, "POST /api/upload": 1})
    );
}

fn requests_and_responses_pass_unmodified(service: &ExternalService) {
    let server = gateway(service);
    let mut client = client(&server, 4);
    let body = json!({"name": "Grüße", "list": [1, 2.5, null]});
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Request", "as it was"),
    ];
    let response = client.request("POST", "/api/submit", &headers, &body.to_string());
    assert_eq!(
        (response.status, response.json()),
        (201, json!({"submitted": body}))
    );
    assert_eq!(response.header("Location"), Some("/api/data?item=7"));
    assert_eq!(response.header("X-Service"), Some("as it was"));
    assert_eq!(
        client.get("/api/data?a=1&a=2&b=%26").json()["query"],
        json!({"a": ["1", "2"], "b": ["&"]})
    );
    let missing = client.get("/nowhere");
    assert_eq!(
        (missing.status, missing.remaining()),
        (404, 2),
        "the 404 of the service, which costs a token"
    );
    assert_ne!(missing.header("Content-Type"), None);
}

fn long_bodies_arrive_complete(service: &ExternalService) {
    let server = gateway(service);
    let body = "0123456789abcdef".repeat(1 << 16);
    let response = client(&server, 5).request("POST", "/api/upload", &[], &body);
    // SHA-256 of the body, computed with sha256sum.
    let digest = "aca1cd027e979588d14b877b7b0cb8585ad9fec599eb45801992ee5382b3760f";
    assert_eq!(
        (response.status, response.json()),
        (200, json!({"bytes": 1 << 20, "sha256": digest}))
    );

    let mut chunked = client(&server, 6);
    chunked
        .send(b"POST /api/upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for chunk in body.as_bytes().chunks(100_000) {
        chunked
            .send(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
            .unwrap();
    }
    chunked.send(b"0\r\n\r\n").unwrap();
    assert_eq!(
        chunked.read().unwrap().json(),
        response.json(),
        "the same body without Content-Length"
    );
}

fn responses_are_streamed(service: &ExternalService) {
    let server = gateway(service);
    let mut client = client(&server, 7);
    client
        .send(b"GET /api/stream HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let head = client.head().unwrap();
    assert_eq!((head.status, head.remaining()), (200, 4));
    assert_eq!(head.header("Content-Length"), None);
    assert_eq!(client.chunk().unwrap().unwrap(), b"first\n");
    // The service writes the rest only after this request.
    let mut other = server.client();
    other
        .send(b"POST /api/more HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(other.head().unwrap().status, 204);
    assert_eq!(client.chunk().unwrap().unwrap(), b"last\n");
    assert_eq!(client.chunk().unwrap(), None);
}

fn a_stopped_service_is_502(service: ExternalService) {
    let server = gateway(&service);
    assert_eq!(client(&server, 8).get("/").status, 200);
    drop(service);
    let response = client(&server, 8).get("/");
    assert_eq!(response.status, 502);
}

fn run_all(start: impl Fn() -> ExternalService) {
    only_allowed_requests_arrive(&start());
    let service = start();
    requests_and_responses_pass_unmodified(&service);
    long_bodies_arrive_complete(&service);
    responses_are_streamed(&service);
    a_stopped_service_is_502(service);
}

#[test]
fn flask_behind_the_gateway() {
    run_all(flask);
}

#[test]
fn fastapi_behind_the_gateway() {
    run_all(fastapi);
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
    assert_eq!(received(&flask), json!({"GET /": 2}));
    assert_eq!(received(&fastapi), json!({"GET /api/data": 2}));
}
