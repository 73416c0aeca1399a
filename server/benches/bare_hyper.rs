//! Bare hyper server, the peer of `tollgate` in `server/benches/http.sh`.
//!
//! Settings, threads, allocator, body and content type are those of `tollgate` for `GET /`. It does
//! not identify clients, route, limit, time out slow clients, log, or shut down gracefully.

use std::{convert::Infallible, io, net::SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::net::{TcpListener, TcpStream};
use workers::Workers;

#[expect(dead_code, reason = "its worker number is not used")]
#[path = "../src/workers.rs"]
mod workers;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BODY: &[u8] = br#"{"from": "127.0.0.1", "message": "Access granted"}"#;

async fn respond(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(BODY)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn serve() -> io::Result<()> {
    let workers = Workers::start(false)?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).half_close(true);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (stream, builder) = (stream.into_std()?, builder.clone());
        workers.spawn(async move {
            // Errors of a connection concern its client alone.
            if let Ok(stream) = TcpStream::from_std(stream) {
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service_fn(respond))
                    .await;
            }
        });
    }
}

fn main() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve())
}
