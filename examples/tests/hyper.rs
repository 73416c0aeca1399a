//! hyper service with the layer, over TCP sockets. The server inserts the peer address into each
//! request.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use test_support::Client;
use tokio::net::TcpListener;
use tollgate::{
    Quota,
    tower::{PeerAddr, RateLimitLayer},
};
use tower::{Layer, ServiceExt};

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

async fn serve(listener: TcpListener) {
    let limited = RateLimitLayer::per_ip(Quota::per_day(2)).layer(tower::service_fn(hello));
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        let limited = limited.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddr(peer));
            limited.clone().oneshot(request)
        });
        tokio::spawn(async move {
            Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await
                .unwrap();
        });
    }
}

#[test]
fn each_client_of_a_hyper_service_has_a_bucket() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    runtime.spawn(serve(listener));

    let mut client = Client::connect(address, None);
    let responses: Vec<_> = (0..3).map(|_| client.get("/")).collect();
    assert_eq!(
        [0, 1, 2].map(|n: usize| responses[n].status),
        [200, 200, 429]
    );
    assert_eq!(
        (responses[0].text(), responses[0].header("content-length")),
        ("hello".to_owned(), Some("5"))
    );
    assert_eq!(
        responses[2].number("content-length") as usize,
        responses[2].body.len()
    );
    assert_eq!(
        Client::connect(address, Some([127, 0, 0, 2].into()))
            .get("/")
            .status,
        200
    );
}
