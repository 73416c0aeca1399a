//! An axum service as small as they come, bare or behind the layer: what `benches/tower.sh` compares.
//!
//! `axum_overhead bare`, `axum_overhead allowed` with a quota that is never used up, `axum_overhead refused` with one that
//! always is.

use std::{env, io, net::SocketAddr};

use axum::{Router, extract::ConnectInfo, routing::get};
use tokio::net::TcpListener;
use tollgate::{Quota, tower::RateLimitLayer};

#[tokio::main]
async fn main() -> io::Result<()> {
    let app = Router::new().route("/", get(|| async { "Access granted" }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("Listening on http://{}", listener.local_addr()?);
    let quota = match env::args().nth(1).as_deref() {
        Some("allowed") => Quota::per_second(1_000_000_000).capacity(900),
        Some("refused") => Quota::per_day(1),
        _ => return axum::serve(listener, app).await,
    };
    let limit = RateLimitLayer::per_ip(quota).peer_from(|peer: &ConnectInfo<SocketAddr>| peer.0);
    axum::serve(listener, app.layer(limit).into_make_service_with_connect_info::<SocketAddr>()).await
}
