//! An axum service as small as they come, bare or behind the layer: what `benches/tower.sh` compares.
//!
//! `axum_overhead bare`; `axum_overhead told`, bare as well, but told the address of each peer; with a quota that is never used up
//! `axum_overhead allowed`, and `axum_overhead around`, where the layer is around the router, not in it; `axum_overhead refused` with
//! a quota that always is used up.

use std::{env, io, net::SocketAddr};

use axum::{
    Router, ServiceExt,
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
    routing::get,
};
use tokio::net::TcpListener;
use tollgate::{Quota, tower::RateLimitLayer};
use tower::{Layer, util::MapResponseLayer};

#[tokio::main]
async fn main() -> io::Result<()> {
    let app = Router::new().route("/", get(|| async { "Access granted" }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("Listening on http://{}", listener.local_addr()?);
    let limit = |quota| RateLimitLayer::per_ip(quota).peer_from(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let never_used_up = Quota::per_second(1_000_000_000).capacity(900);
    let app = match env::args().nth(1).as_deref() {
        Some("told") => app,
        Some("allowed") => app.layer(limit(never_used_up)),
        Some("refused") => app.layer(limit(Quota::per_day(1))),
        Some("around") => {
            let app = limit(never_used_up).layer(app);
            let app = MapResponseLayer::new(|answer: Response<_>| answer.map(Body::new)).layer(app);
            return axum::serve(listener, ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app))
                .await;
        }
        _ => return axum::serve(listener, app).await,
    };
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
}
