//! The server without sockets, on a clock that the tests move.

mod admin;
mod keys;
mod limits;
mod routes;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tollgate::{KeyedLimiter, ManualClock};

use super::App;
use crate::{app, config};

/// A server that has just started.
struct Bench {
    app: App,
    clock: ManualClock,
    peer: SocketAddr,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Seen {
    status: StatusCode,
    headers: hyper::HeaderMap,
    body: Bytes,
}

impl Bench {
    fn new(toml: &str) -> Bench {
        let (settings, clock) = (config::settings(toml), ManualClock::new());
        // Not at the clock's own beginning.
        clock.advance(Duration::from_secs(1_000_000));
        let builder = KeyedLimiter::builder(settings.quota).clock(clock.clone());
        let limits = App::in_memory(&settings, builder).unwrap();
        Bench {
            app: block_on(App::with(&settings, limits)).unwrap(),
            clock,
            peer: ([127, 0, 0, 1], 4711).into(),
        }
    }

    fn from(&self, peer: &str) -> Elsewhere<'_> {
        Elsewhere {
            bench: self,
            peer: (peer.parse::<std::net::IpAddr>().unwrap(), 4711).into(),
        }
    }

    fn get(&self, path: &str) -> Seen {
        self.ask(Request::get(path), "")
    }

    fn post(&self, path: &str, body: &str) -> Seen {
        self.ask(Request::post(path), body)
    }

    fn ask(&self, request: hyper::http::request::Builder, body: &str) -> Seen {
        ask(&self.app, self.peer, request, body)
    }

    fn advance(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }
}

/// The same server, seen from another address.
struct Elsewhere<'a> {
    bench: &'a Bench,
    peer: SocketAddr,
}

impl Elsewhere<'_> {
    fn ask(&self, request: hyper::http::request::Builder, body: &str) -> Seen {
        ask(&self.bench.app, self.peer, request, body)
    }
}

fn ask(app: &App, peer: SocketAddr, request: hyper::http::request::Builder, body: &str) -> Seen {
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let caller = app.caller(peer);
    block_on(async {
        let handled = match app.handle(&request, &caller) {
            Some(handled) => handled,
            None => app.ask(&request, &caller).await,
        };
        let (answer, _) = app::finish(app, handled, request.into_body(), false).await;
        let (parts, body) = answer.into_parts();
        Seen {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

impl Seen {
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

    fn retry_after(&self) -> f64 {
        self.json()["retry_after"].as_f64().unwrap()
    }
}

fn with_method(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path)
}
