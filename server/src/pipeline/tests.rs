//! Tests of the server without sockets, on a manual clock.

mod admin;
mod bans;
mod delay;
mod guide;
mod keys;
mod limits;
mod pending;
mod policies;
mod policy_reference;
mod reference;
mod refusals;
mod routes;
mod tokens;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::runtime::Runtime;
use tollgate::{KeyedLimiter, ManualClock};

use super::HeadResult;
use crate::{
    app::App,
    config,
    memory::{ConnectionMemory, TotalMemory},
    pipeline,
    response::Response,
};

/// Server at its start.
struct TestServer {
    app: App,
    clock: ManualClock,
    peer: SocketAddr,
}

/// Response with its complete body.
#[derive(Debug)]
struct TestResponse {
    status: StatusCode,
    headers: hyper::HeaderMap,
    body: Bytes,
}

impl TestServer {
    fn new(toml: &str) -> TestServer {
        let clock = ManualClock::new();
        // Time zero would hide errors in the conversion of times.
        clock.advance(Duration::from_secs(1_000_000));
        block_on(TestServer::start(toml, clock))
    }

    /// Starts a server on this clock. In Redis it lives as long as the runtime.
    async fn start(toml: &str, clock: ManualClock) -> TestServer {
        let settings = config::settings(toml);
        let builder = KeyedLimiter::builder(settings.quota).clock(clock.clone());
        let limiter = App::in_memory(&settings, builder).unwrap();
        let app = App::with_limiter(&settings, limiter, clock.clone().into()).await;
        TestServer {
            app: app.unwrap(),
            clock,
            peer: ([127, 0, 0, 1], 4711).into(),
        }
    }

    /// Returns a client with another address.
    fn client(&self, address: &str) -> TestClient<'_> {
        TestClient {
            server: self,
            peer: (address.parse::<std::net::IpAddr>().unwrap(), 4711).into(),
        }
    }

    fn get(&self, path: &str) -> TestResponse {
        self.send(Request::get(path), "")
    }

    fn post(&self, path: &str, body: &str) -> TestResponse {
        self.send(Request::post(path), body)
    }

    fn send(&self, request: hyper::http::request::Builder, body: &str) -> TestResponse {
        send(&self.app, self.peer, request, body)
    }

    fn advance(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }
}

/// Client of a server with an address of its own.
struct TestClient<'a> {
    server: &'a TestServer,
    peer: SocketAddr,
}

impl TestClient<'_> {
    fn send(&self, request: hyper::http::request::Builder, body: &str) -> TestResponse {
        send(&self.server.app, self.peer, request, body)
    }
}

fn send(
    app: &App,
    peer: SocketAddr,
    request: hyper::http::request::Builder,
    body: &str,
) -> TestResponse {
    block_on(respond(app, peer, request, body))
}

async fn respond(
    app: &App,
    peer: SocketAddr,
    request: hyper::http::request::Builder,
    body: &str,
) -> TestResponse {
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let caller = app.caller(peer);
    let outcome = match pipeline::process(app, &request, &caller) {
        HeadResult::Done(outcome) => outcome,
        HeadResult::Pending(charge) => pipeline::resolve(app, &request, &caller, charge).await,
    };
    let (body, memory) = (request.into_body(), unbounded_memory());
    let (response, _) = pipeline::finish(app, outcome, body, false, &memory).await;
    with_body(response).await
}

async fn with_body(response: Response) -> TestResponse {
    let (parts, body) = response.into_parts();
    TestResponse {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

fn unbounded_memory() -> Arc<ConnectionMemory> {
    TotalMemory::new(usize::MAX).connection(usize::MAX)
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

impl TestResponse {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn number(&self, name: &str) -> u64 {
        self.header(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .parse()
            .unwrap()
    }

    fn remaining(&self) -> u64 {
        self.number("x-ratelimit-remaining")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// Asserts that the metrics have this number of decisions of a limit: its name and mode, the
    /// decision and its reason.
    fn assert_counted(&self, [limit, mode, decision, reason]: [&str; 4], total: u64) {
        let line = format!(
            r#"tollgate_limit_decisions_total{{limit="{limit}",mode="{mode}",decision="{decision}",reason="{reason}"}} {total}"#
        );
        assert!(self.text().contains(&line), "{line} in {}", self.text());
    }

    fn retry_after(&self) -> f64 {
        self.json()["retry_after"].as_f64().unwrap()
    }
}

fn with_method(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path)
}
