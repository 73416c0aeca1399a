//! axum services with the layer, over TCP sockets.

use std::{
    convert::Infallible,
    future::{Future, ready},
    net::SocketAddr,
};

use ::http::header::HeaderName;
use axum::{
    Extension, Router, extract::ConnectInfo, response::Response as AxumResponse, routing::get,
    serve::IncomingStream,
};
use test_support::{Client, Response};
use tokio::{net::TcpListener, runtime::Runtime};
use tollgate::{
    DecisionView, Quota,
    tower::{Key, RateLimitLayer, ResponseBody},
};
use tower::{Layer, service_fn, util::MapResponseLayer};

/// Running service; shut down on drop.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    _runtime: Runtime,
}

impl Service {
    pub(crate) fn start(app: Router) -> Service {
        Service::with(|listener| async {
            axum::serve(
                listener,
                app.into_make_service_with_connect_info::<SocketAddr>(),
            )
            .await
        })
    }

    /// Starts a router with a layer built per connection.
    fn start_per_connection(app: Router, limit: RateLimitLayer) -> Service {
        let into_axum_body = MapResponseLayer::new(|response: AxumResponse<_>| {
            response.map(ResponseBody::into_inner)
        });
        let connections = service_fn(move |stream: IncomingStream<'_, TcpListener>| {
            let limited = limit.for_peer(*stream.remote_addr()).layer(app.clone());
            ready(Ok::<_, Infallible>(into_axum_body.layer(limited)))
        });
        Service::with(|listener| async { axum::serve(listener, connections).await })
    }

    fn with<F: Future<Output: Send> + Send + 'static>(
        serve: impl FnOnce(TcpListener) -> F,
    ) -> Service {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener));
        Service {
            address,
            _runtime: runtime,
        }
    }

    fn get(&self, source: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        Client::connect(self.address, Some(source.parse().unwrap())).get_with(path, headers)
    }
}

/// Layer with a quota per day, so that no token is refilled during a test.
fn per_ip(tokens: u32) -> RateLimitLayer {
    RateLimitLayer::per_ip(Quota::per_day(tokens))
        .peer_from(|peer: &ConnectInfo<SocketAddr>| peer.0)
}

async fn remaining(Extension(decision): Extension<DecisionView>) -> String {
    format!("{} left", decision.remaining())
}

#[test]
fn each_client_has_a_bucket_on_all_routes() {
    let service = Service::start(
        Router::new()
            .route("/", get(remaining))
            .route("/other", get(remaining))
            .layer(per_ip(2)),
    );
    let first = service.get("127.0.0.1", "/", &[]);
    assert_eq!(
        (first.status, first.text(), first.limit(), first.remaining()),
        (200, "1 left".to_owned(), 2, 1)
    );
    assert_eq!(first.header("content-length"), Some("6"));
    assert_eq!(service.get("127.0.0.1", "/other", &[]).status, 200);
    let refused = service.get("127.0.0.1", "/", &[]);
    assert_eq!((refused.status, refused.remaining()), (429, 0));
    assert!(refused.number("Retry-After") > 40_000 && refused.retry_after() > 40_000.0);
    assert_eq!(service.get("127.0.0.2", "/", &[]).status, 200);
}

#[test]
fn layers_built_per_connection_share_one_limit() {
    let service = Service::start_per_connection(
        Router::new().route("/", get(remaining)),
        RateLimitLayer::per_ip(Quota::per_day(2)),
    );
    let first = service.get("127.0.0.1", "/", &[]);
    assert_eq!(
        (first.status, first.text(), first.limit(), first.remaining()),
        (200, "1 left".to_owned(), 2, 1)
    );
    assert_eq!(service.get("127.0.0.1", "/none", &[]).status, 404);
    let refused = service.get("127.0.0.1", "/", &[]);
    assert_eq!((refused.status, refused.remaining()), (429, 0));
    assert!(
        refused
            .text()
            .starts_with(r#"{"error": "Too Many Requests""#),
        "{}",
        refused.text()
    );
    assert_eq!(service.get("127.0.0.2", "/", &[]).status, 200);
}

#[test]
fn refused_connection_stays_open() {
    let service = Service::start(Router::new().route("/", get(remaining)).layer(per_ip(3)));
    let mut client = Client::connect(service.address, None);
    let statuses: Vec<u16> = (0..6).map(|_| client.get("/").status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
}

#[test]
fn only_a_trusted_proxy_can_forward_a_client_address() {
    let layer = per_ip(1).trust_proxies(["127.0.0.9/32".parse().unwrap()]);
    let service = Service::start(Router::new().route("/", get(remaining)).layer(layer));
    let claiming = |source: &str, client: &str| {
        service
            .get(source, "/", &[("X-Forwarded-For", client)])
            .status
    };
    assert_eq!(
        [
            claiming("127.0.0.1", "192.0.2.1"),
            claiming("127.0.0.1", "192.0.2.2")
        ],
        [200, 429]
    );
    assert_eq!(
        [
            claiming("127.0.0.9", "192.0.2.1"),
            claiming("127.0.0.9", "192.0.2.2")
        ],
        [200, 200]
    );
    assert_eq!(claiming("127.0.0.9", "198.51.100.7, 192.0.2.1"), 429);
}

#[test]
fn api_keys_and_addresses_have_separate_buckets() {
    let key = Key::header(HeaderName::from_static("x-api-key")).or(Key::ip());
    let layer = RateLimitLayer::new(Quota::per_day(1), key)
        .peer_from(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let service = Service::start(Router::new().route("/", get(remaining)).layer(layer));
    let status = |headers: &[(&str, &str)]| service.get("127.0.0.1", "/", headers).status;
    assert_eq!(
        [
            status(&[("X-API-Key", "alice")]),
            status(&[("X-API-Key", "alice")])
        ],
        [200, 429]
    );
    assert_eq!(
        [status(&[]), status(&[]), status(&[("X-API-Key", "bob")])],
        [200, 429, 200]
    );
}

#[test]
fn request_without_peer_address_is_rejected() {
    let layer = RateLimitLayer::per_ip(Quota::per_day(5));
    let service = Service::start(Router::new().route("/", get(remaining)).layer(layer));
    let response = service.get("127.0.0.1", "/", &[]);
    assert_eq!(response.status, 500);
    assert!(
        response.text().contains("RateLimitLayer::peer_from"),
        "{}",
        response.text()
    );
}
