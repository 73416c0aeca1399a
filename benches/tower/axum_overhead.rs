//! Minimal axum service, bare or behind the layer, measured by `benches/tower.sh`.
//!
//! `axum_overhead MODE`. These modes limit nothing:
//!
//! - `bare`;
//! - `peer`: extracts the address of each peer;
//! - `by_hand`: adds three constant headers to each response.
//!
//! The others are behind the layer:
//!
//! - `allowed`: the layer is in the router, with a quota that is never exhausted;
//! - `refused`: the same with a quota that is always exhausted;
//! - `around`: the layer is around the router;
//! - `per_connection`: it is around the router, and made for each connection;
//! - `no_headers`: the same, and allowed responses get no headers.
//!
//! With a number as second argument, the service answers that many requests of its own over a pipe
//! and ends, so that instructions can be counted.

use std::{convert::Infallible, env, error::Error, future, io, net::SocketAddr};

use axum::{
    Router, ServiceExt,
    extract::{ConnectInfo, Request, connect_info::Connected},
    http::{HeaderName, HeaderValue},
    response::Response,
    routing::get,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpListener,
};
use tollgate::{
    Quota,
    tower::{HeaderStyle, RateLimitLayer, ResponseBody},
};
use tower::{Layer, service_fn, util::MapResponseLayer};

const GRANTED: &str = "Access granted";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mode = arguments.first().map_or("bare", String::as_str);
    match arguments.get(1) {
        Some(requests) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (client, server) = tokio::io::duplex(1 << 16);
            let mut connection = Connection(client);
            let serving = mode.to_owned();
            runtime.spawn(async move { serve(Pipe(Some(server)), &serving).await });
            // The first requests initialise what is initialised once.
            runtime.block_on(connection.ask(100))?;
            counted(&runtime, &mut connection, requests.parse()?)?;
            Ok(())
        }
        None => tokio::runtime::Runtime::new()?.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("Listening on http://{}", listener.local_addr()?);
            Ok(serve(listener, mode).await?)
        }),
    }
}

/// Function that callgrind counts in.
#[inline(never)]
fn counted(
    runtime: &tokio::runtime::Runtime,
    connection: &mut Connection,
    requests: u32,
) -> io::Result<()> {
    runtime.block_on(connection.ask(requests))
}

async fn serve<L>(listener: L, mode: &str) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
    Peer: for<'a> Connected<IncomingStream<'a, L>>,
{
    let app = Router::new().route("/", get(|| async { GRANTED }));
    let limit =
        |quota| RateLimitLayer::per_ip(quota).peer_from(|peer: &ConnectInfo<Peer>| peer.0.0);
    let never_used_up = Quota::per_second(1_000_000_000).with_capacity(900);
    let as_axums =
        MapResponseLayer::new(|answer: Response<_>| answer.map(ResponseBody::into_inner));
    let app = match mode {
        "peer" => app,
        "by_hand" => {
            let headers = [
                ("x-ratelimit-limit", "900"),
                ("x-ratelimit-remaining", "899"),
                ("x-ratelimit-reset", "1"),
            ]
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            let by_hand = MapResponseLayer::new(move |mut answer: Response| {
                for (name, value) in &headers {
                    answer.headers_mut().insert(name, value.clone());
                }
                answer
            });
            return axum::serve(
                listener,
                ServiceExt::<Request>::into_make_service(by_hand.layer(app)),
            )
            .await;
        }
        "allowed" => app.layer(limit(never_used_up)),
        "refused" => app.layer(limit(Quota::per_day(1))),
        "around" => {
            let app = as_axums.layer(limit(never_used_up).layer(app));
            return axum::serve(
                listener,
                ServiceExt::<Request>::into_make_service_with_connect_info::<Peer>(app),
            )
            .await;
        }
        "per_connection" | "no_headers" => {
            let headers = if mode == "per_connection" {
                HeaderStyle::XRateLimit
            } else {
                HeaderStyle::RetryAfter
            };
            let limit = RateLimitLayer::per_ip(never_used_up).headers(headers);
            let connections = service_fn(move |stream: IncomingStream<'_, L>| {
                let app = limit.for_peer(*stream.remote_addr()).layer(app.clone());
                future::ready(Ok::<_, Infallible>(as_axums.layer(app)))
            });
            return axum::serve(listener, connections).await;
        }
        _ => return axum::serve(listener, app).await,
    };
    axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await
}

/// Peer of a socket or a pipe.
#[derive(Clone)]
struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Peer {
        Peer(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, Pipe>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Pipe>) -> Peer {
        Peer(*stream.remote_addr())
    }
}

/// A listener that accepts one connection, the other end of which is in this process.
struct Pipe(Option<DuplexStream>);

impl Listener for Pipe {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.take() {
            Some(stream) => (stream, ([127, 0, 0, 1], 4711).into()),
            None => future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 80).into())
    }
}

/// The client's end of the pipe.
struct Connection(DuplexStream);

impl Connection {
    /// Sends requests one after another.
    async fn ask(&mut self, requests: u32) -> io::Result<()> {
        let mut answer = [0; 1024];
        for _ in 0..requests {
            self.0
                .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await?;
            let length = self.0.read(&mut answer).await?;
            if !answer[..length].ends_with(GRANTED.as_bytes()) && !answer[..length].ends_with(b"}")
            {
                return Err(io::Error::other(format!(
                    "not a whole answer: {}",
                    answer[..length].escape_ascii()
                )));
            }
        }
        Ok(())
    }
}
