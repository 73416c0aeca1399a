//! An axum service behind a limit: each client ten tokens at once, and one a minute. Uploads cost
//! three, `/health` nothing.
//!
//! `cargo run --features tower --example axum`, then `curl -i http://127.0.0.1:3000/`, some times
//! in a row.

use std::{env, io, net::SocketAddr};

use axum::{
    Extension, Router,
    extract::ConnectInfo,
    http::Method,
    routing::{get, post},
};
use tokio::net::TcpListener;
use tollgate::{Decision, Quota, tower::RateLimitLayer};

/// The layer leaves its decision in the request.
async fn hello(Extension(decision): Extension<Decision>) -> String {
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
        .route("/upload", post(|| async { "thank you\n" }))
        .route("/health", get(|| async { "well\n" }))
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
