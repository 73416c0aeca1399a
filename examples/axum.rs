//! An axum service with a rate limit per client: a burst of ten tokens, then one per minute. An
//! upload costs three tokens, and `/health` is exempt.
//!
//! Run `cargo run -p tollgate-examples --example axum`, then `curl -i http://127.0.0.1:3000/`
//! repeatedly.

use std::{env, io, net::SocketAddr};

use axum::{
    Extension, Router,
    extract::ConnectInfo,
    http::Method,
    routing::{get, post},
};
use tokio::net::TcpListener;
use tollgate::{DecisionView, Quota, tower::RateLimitLayer};

/// Reports the remaining tokens, from the decision that the layer inserts into the request.
async fn hello(Extension(decision): Extension<DecisionView>) -> String {
    format!("hello, {} left\n", decision.remaining())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let limit = RateLimitLayer::per_ip(Quota::per_hour(60).with_capacity(10))
        .peer_from(|peer: &ConnectInfo<SocketAddr>| peer.0)
        .cost(|request| if request.method == Method::POST { 3 } else { 1 })
        .exempt(|request| request.uri.path() == "/health");
    let app = Router::new()
        .route("/", get(hello))
        .route("/upload", post(|| async { "uploaded\n" }))
        .route("/health", get(|| async { "ok\n" }))
        .layer(limit);

    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    axum::serve(
        listener,
        app.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .await
}
