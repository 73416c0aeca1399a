//! A rate limit in front of axum, tonic, hyper, and whatever else speaks tower (feature `tower`).
//!
//! Three lines make an axum service limit its clients, each to ten requests a second:
//!
//! ```no_run
//! use std::net::SocketAddr;
//!
//! use axum::{Router, extract::ConnectInfo, routing::get};
//! use tollgate::{Quota, tower::RateLimitLayer};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let limit = RateLimitLayer::per_ip(Quota::per_second(10)).peer_from(|peer: &ConnectInfo<SocketAddr>| peer.0);
//! let app = Router::new().route("/", get(|| async { "hello" })).layer(limit);
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
//! # }
//! ```
//!
//! axum boxes what a layer makes of each route, and leaves the address in each request. Around the
//! whole router, made for each connection, a limit takes a third fewer instructions
//! (`benches/tower.sh`). It comes before all of the router's own layers then, and handlers find no
//! `ConnectInfo`. With the crate `tower` and its feature `util`:
//!
//! ```no_run
//! use std::{convert::Infallible, future::ready};
//!
//! use axum::{Router, response::Response, routing::get, serve::IncomingStream};
//! use tokio::net::TcpListener;
//! use tollgate::{Quota, tower::{RateLimitLayer, ResponseBody}};
//! use tower::{Layer, service_fn, util::MapResponseLayer};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let limit = RateLimitLayer::per_ip(Quota::per_second(10));
//! let app = Router::new().route("/", get(|| async { "hello" }));
//! let as_axums = MapResponseLayer::new(|answer: Response<_>| answer.map(ResponseBody::into_inner));
//! let connections = service_fn(move |stream: IncomingStream<'_, TcpListener>| {
//!     let limited = limit.for_peer(*stream.remote_addr()).layer(app.clone());
//!     ready(Ok::<_, Infallible>(as_axums.layer(limited)))
//! });
//!
//! let listener = TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, connections).await
//! # }
//! ```
//!
//! # Where the address of the peer comes from
//!
//! A layer sees a request, not its connection. Either it is made [for each
//! connection](RateLimitLayer::for_peer), or the server has to leave the address in the request's
//! extensions, and you say in which:
//!
//! | server | where it leaves the address | what to say |
//! | --- | --- | --- |
//! | axum | `into_make_service_with_connect_info::<SocketAddr>()` | `.peer_from(\|peer: &ConnectInfo<SocketAddr>\| peer.0)` |
//! | tonic | on its own | `.peer_from(\|peer: &TcpConnectInfo\| peer.remote_addr())` |
//! | hyper | nowhere | `.for_peer(peer)` for each connection, or put a [`PeerAddr`] into each request |
//!
//! A request without an address is **not let through**: it is answered with 500 and a message that
//! names [`RateLimitLayer::peer_from`].
//!
//! hyper itself has services of another kind, which hyper-util makes of tower's (its feature
//! `service`):
//!
//! ```no_run
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use hyper::{body::Incoming, server::conn::http1};
//! use hyper_util::{rt::TokioIo, service::TowerToHyperService};
//! use tollgate::{Quota, tower::RateLimitLayer};
//! use tower::{Layer, service_fn};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let limit = RateLimitLayer::per_ip(Quota::per_second(10));
//! let hello = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new("hello".to_owned())));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! loop {
//!     let (stream, peer) = listener.accept().await?;
//!     let service = TowerToHyperService::new(limit.for_peer(peer).layer(hello));
//!     tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
//! }
//! # }
//! ```
//!
//! # Safe from the start
//!
//! - **Forwarding headers are ignored** until [`RateLimitLayer::trust_proxies`] says whose count;
//!   then the client is the rightmost address that is not one of yours, and nothing that a client
//!   writes itself changes that.
//! - **IPv6 clients are told apart by their /64**, since each has that many addresses;
//!   [`RateLimitLayer::ipv6_prefix`] differs.
//! - **Memory is fixed**: 100,000 clients in 2.7 MB. [`RateLimitLayer::with_limiter`] takes a limiter of
//!   any other size.
//! - **What is refused never reaches your service**, nor does what has no key: 401 without the
//!   header of a [`Key::header`].
//! - **A limit is one limit**, on however many routes the layer is put, and in whatever clones of
//!   it.
//!
//! # What the client sees
//!
//! Every answer that was decided on carries `X-RateLimit-Limit`, `X-RateLimit-Remaining` and
//! `X-RateLimit-Reset`; a refusal is 429 with `Retry-After` and a JSON object. [`HeaderStyle::Draft11`]
//! is the IETF draft instead, [`HeaderStyle::Both`] both, and with [`HeaderStyle::RetryAfter`] a refusal
//! has that header, and what is allowed none, which costs least. Of two limits, one around the
//! other, the inner one's headers stand. A gRPC request is refused in gRPC's own way: status 200,
//! `grpc-status: 8` (`RESOURCE_EXHAUSTED`), the same headers as metadata.
//!
//! # Behind it
//!
//! The [`Decision`](crate::Decision) is in the request's extensions, so that a handler can say what
//! is left:
//!
//! ```
//! # use {axum::Extension, tollgate::Decision};
//! async fn left(Extension(decision): Extension<Decision>) -> String {
//!     format!("{} of {} left", decision.remaining(), decision.limit())
//! }
//! ```
//!
//! # On many machines
//!
//! `RateLimitLayer::redis` takes a `RedisLimiter` (feature `redis`), and all services whose
//! limiters use the same Redis and prefix share one limit:
//!
//! ```no_run
//! # #[cfg(feature = "redis")]
//! # async fn example() -> Result<(), tollgate::RedisError> {
//! # use tollgate::{Quota, RedisLimiter, tower::{Key, RateLimitLayer}};
//! let limiter = RedisLimiter::connect("redis://127.0.0.1/", Quota::per_second(10)).await?;
//! let layer = RateLimitLayer::redis(limiter, Key::ip()); // and .peer_from(…), as above
//! # Ok(()) }
//! ```
//!
//! Then a `SharedDecision` is in the request's extensions too, and says who decided. While Redis
//! cannot be asked, the limiter's policy does, the answer carries `X-RateLimit-Without-Redis`, and
//! a refusal that is the policy's own is 503 and not 429.

mod accept;
mod body;
mod decided;
mod forwarded;
mod future;
mod gate;
mod headers;
mod key;
mod layer;
mod peer;
#[cfg(feature = "redis")]
mod redis;
mod refusal;
mod seconds;
mod service;

pub use body::ResponseBody;
pub use decided::WITHOUT_REDIS;
pub use forwarded::TrustedProxies;
pub use future::ResponseFuture;
pub use headers::HeaderStyle;
pub use key::Key;
pub use layer::RateLimitLayer;
pub use peer::PeerAddr;
pub use seconds::retry_after;
pub use service::RateLimit;
