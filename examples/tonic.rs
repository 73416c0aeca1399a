//! A gRPC service with a rate limit per client: a burst of ten calls, then one per minute. A
//! refused call ends with `RESOURCE_EXHAUSTED`, and `retry-after` in its metadata.
//!
//! The service is gRPC's standard health check, so the example needs neither a `.proto` file nor
//! `protoc`.
//!
//! Run `cargo run -p tollgate-examples --example tonic`.

use std::{env, error::Error, net::SocketAddr};

use tollgate::{Quota, tower::RateLimitLayer};
use tonic::transport::server::{Server, TcpConnectInfo, TcpIncoming};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let limit = RateLimitLayer::per_ip(Quota::per_hour(60).with_capacity(10))
        .peer_from(|peer: &TcpConnectInfo| peer.remote_addr());
    let (_reporter, health) = tonic_health::server::health_reporter();

    let address: SocketAddr = env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("127.0.0.1:3000")
        .parse()?;
    let incoming = TcpIncoming::bind(address)?;
    println!("Listening on http://{}", incoming.local_addr()?);
    Server::builder()
        .layer(limit)
        .add_service(health)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
