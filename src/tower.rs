//! Rate limiting middleware for axum, tonic, hyper and other tower servers (feature `tower`).
//!
//! Three lines limit each client of an axum service to ten requests per second: the layer,
//! `.layer(limit)`, and `into_make_service_with_connect_info`, which makes axum record the address
//! of each peer as `ConnectInfo`.
//!
//! ```no_run
//! use std::net::SocketAddr;
//!
//! use axum::{Router, extract::ConnectInfo, routing::get};
//! use tollgate::{Quota, tower::RateLimitLayer};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let limit = RateLimitLayer::per_ip(Quota::per_second(10))
//!     .peer_from(|peer: &ConnectInfo<SocketAddr>| peer.0);
//! let app = Router::new().route("/", get(|| async { "hello" })).layer(limit);
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
//! # }
//! ```
//!
//! axum boxes the layered service of each route and stores the address in each request. A layer
//! around the whole router, built once per connection, takes a third fewer instructions
//! (`benches/tower.sh`). Such a layer runs before all layers of the router, and handlers find no
//! `ConnectInfo`. The example needs the crate `tower` with its feature `util`:
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
//! let into_axum_body =
//!     MapResponseLayer::new(|response: Response<_>| response.map(ResponseBody::into_inner));
//! let connections = service_fn(move |stream: IncomingStream<'_, TcpListener>| {
//!     let limited = limit.for_peer(*stream.remote_addr()).layer(app.clone());
//!     ready(Ok::<_, Infallible>(into_axum_body.layer(limited)))
//! });
//!
//! let listener = TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, connections).await
//! # }
//! ```
//!
//! # Peer address
//!
//! A layer sees requests, not connections. It is either built [per
//! connection](RateLimitLayer::for_peer), or reads the peer address from a request extension that
//! the server sets:
//!
//! | server | sets the address | layer |
//! | --- | --- | --- |
//! | axum | with `into_make_service_with_connect_info::<SocketAddr>()` | `.peer_from(\|peer: &ConnectInfo<SocketAddr>\| peer.0)` |
//! | tonic | always | `.peer_from(\|peer: &TcpConnectInfo\| peer.remote_addr())` |
//! | hyper | never | `.for_peer(peer)` per connection, or a [`PeerAddr`] inserted into each request |
//!
//! A request without a peer address is **rejected** with 500 and a message that names
//! [`RateLimitLayer::peer_from`].
//!
//! hyper has its own `Service` trait. hyper-util (feature `service`) adapts tower services to it:
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
//! let hello = service_fn(async |_: Request<Incoming>| {
//!     Ok::<_, Infallible>(Response::new("hello".to_owned()))
//! });
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! loop {
//!     let (stream, peer) = listener.accept().await?;
//!     let service = TowerToHyperService::new(limit.for_peer(peer).layer(hello));
//!     tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
//! }
//! # }
//! ```
//!
//! # Secure defaults
//!
//! - **Forwarding headers are ignored** until [`RateLimitLayer::trust_proxies`] names the trusted
//!   networks. Then the client is the rightmost untrusted address, and no header that the client
//!   writes itself changes that: a request in which two headers name different clients gets 400.
//! - **IPv6 clients are keyed by their /64**, since each has that many addresses.
//!   [`RateLimitLayer::ipv6_prefix`] sets another prefix length. Clients of a NAT64 or 6to4 are keyed
//!   by their IPv4 address.
//! - **Memory is fixed**: 100,000 clients in 2.7 MB. [`RateLimitLayer::with_limiter`] takes a
//!   limiter of any other size.
//! - **Refused requests never reach the service**, nor do requests without a key: they get 401 when
//!   the header of a [`Key::header`] is missing.
//! - **One layer is one limit**, on any number of routes and across all clones.
//!
//! # Responses
//!
//! Every response to a limited request carries `X-RateLimit-Limit`, `X-RateLimit-Remaining` and
//! `X-RateLimit-Reset`. A refusal is 429 with `Retry-After` and a JSON object.
//! [`HeaderStyle::Draft11`] writes the fields of the IETF draft instead, and [`HeaderStyle::Both`]
//! writes both. [`HeaderStyle::XRateLimitEpoch`] writes the reset as a Unix time. [`HeaderStyle::RetryAfter`] writes `Retry-After` on refusals and nothing on allowed
//! responses, which costs least. A gRPC request is refused as gRPC specifies: status 200, `grpc-status: 8` (`RESOURCE_EXHAUSTED`),
//! and the same headers as metadata. [`Refusal`] builds these responses for other middleware.
//!
//! With `RateLimitLayer::delay` (feature `tokio`) requests wait for their tokens first, and are
//! refused only when that would take too long.
//!
//! # Several limits
//!
//! [`RateLimitLayer::all`] combines up to eight limits: a request takes tokens from all that apply to
//! it, or from none. `X-RateLimit-*` tell of the limit that allows the fewest further requests, or
//! decides the refusal; [`HeaderStyle::Draft11`] lists every limit by its name.
//!
//! ```
//! use http::header::HeaderName;
//! use tollgate::{Quota, tower::{Key, Limit, RateLimitLayer}};
//!
//! let api_key = Key::header(HeaderName::from_static("x-api-key"));
//! let layer = RateLimitLayer::all([
//!     Limit::new("burst", Quota::per_second(10), Key::ip()),
//!     Limit::new("hourly", Quota::per_hour(1000), api_key.or(Key::ip())),
//!     // Tried out: it refuses nothing.
//!     Limit::new("next", Quota::per_second(5), Key::ip()).shadow(),
//! ])
//! .on_decision(|limit, decision| println!("{limit}: {decision}"));
//! ```
//!
//! Nested layers work as well: each takes tokens before the next one decides, so that a request which
//! the inner one refuses has cost tokens of the outer one. Of `X-RateLimit-*` those of the inner one
//! are kept, and the fields of the draft list both.
//!
//! With CORS, tower-http's `CorsLayer` belongs around this layer (in axum: added after it). It then
//! answers preflight requests, which have neither key nor cost, and lets a page read a 429. Its
//! `expose_headers` names the headers that the page may read, such as `Retry-After`.
//!
//! # Decision in handlers
//!
//! The layer inserts a [`DecisionView`](crate::DecisionView) into the request's extensions, so that
//! a handler can report the remaining tokens:
//!
//! ```
//! # use {axum::Extension, tollgate::DecisionView};
//! async fn remaining(Extension(decision): Extension<DecisionView>) -> String {
//!     format!("{} of {} left", decision.remaining(), decision.limit())
//! }
//! ```
//!
//! # Shared limits
//!
//! `RateLimitLayer::redis` takes a `RedisLimiter` (feature `redis`). All services whose limiters
//! use the same Redis and prefix share one limit:
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
//! The decision in the request's extensions names its source. While Redis is unavailable, the limiter's fallback policy decides and the response
//! carries `X-RateLimit-Without-Redis`. When the fallback policy is `closed`, requests get 503.

mod check_outcome;
mod client_address;
mod content_negotiation;
#[cfg(feature = "tokio")]
mod delay;
#[cfg(feature = "tokio")]
mod delayed_request;
mod embedded_ipv4;
mod functions;
mod future;
mod grpc;
mod header_key;
mod headers;
mod ipv6_prefix;
mod key;
mod key_error;
mod layer;
mod layer_decision;
mod limit;
mod limited_request;
mod limits;
mod media_type;
mod memory_limiter;
mod no_key;
#[cfg(feature = "redis")]
mod redis;
mod refusal;
mod request_key;
mod request_limiter;
mod response_body;
mod retry_after;
mod service;
mod trusted_proxies;

pub use client_address::PeerAddr;
pub use content_negotiation::preferred_media_type;
pub use future::ResponseFuture;
pub use header_key::HeaderKey;
pub use headers::{HeaderStyle, PolicyHeaders, WITHOUT_REDIS};
pub use ipv6_prefix::Ipv6Prefix;
pub use key::Key;
pub use layer::RateLimitLayer;
pub use limit::Limit;
pub use limited_request::LimitedRequest;
pub use refusal::Refusal;
pub use request_key::{KeyMismatch, RequestKey};
pub use response_body::ResponseBody;
pub use retry_after::retry_after;
pub use service::RateLimit;
pub use trusted_proxies::{ConflictingHeaders, TrustedProxies};
