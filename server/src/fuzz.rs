//! Entry points of the fuzz targets. cargo-fuzz compiles with `--cfg fuzzing`.

use std::{
    cell::{OnceCell, RefCell},
    convert::Infallible,
    io::Cursor,
    net::IpAddr,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{
    HeaderMap, Method, Request, Response, Version,
    body::{Body, Incoming},
    header::{CONNECTION, HeaderName, TE, TRANSFER_ENCODING, UPGRADE},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{io, runtime::Runtime};
use tollgate::{KeyedLimiter, ManualClock};

use crate::{
    app::{App, Caller},
    config::Settings,
    memory::TotalMemory,
    pipeline::{self, HeadResult, NextStep},
    proxy::ForwardedHeaders,
    request::{
        body,
        client_identifier::IdentifyError,
        jwt::{Jwt, JwtOptions},
        limit_request::LimitRequest,
    },
    values::{Scheme, Value},
};

/// Maximum number of clients, whatever the file says: each start allocates the tables.
const MAX_CLIENTS: usize = 1000;

/// Header fields of HTTP/1 that HTTP/2 does not allow.
const HTTP1_ONLY: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Server without sockets. Its buckets are in memory, and the clock of the default ones stands still.
pub struct Server {
    settings: Settings,
    app: App,
}

/// A request, and its outcome.
pub struct Exchange {
    /// Head of the request as the server received it.
    pub request: Parts,
    /// Name of the request's client; `None`: it has no identity.
    pub client: Option<String>,
    pub outcome: Outcome,
}

/// Outcome of a request.
pub enum Outcome {
    /// Response of the server itself.
    Response(Response<Bytes>),
    /// Head of the request that the upstream receives.
    Forwarded(Parts),
}

/// Result of starting a server.
pub enum Start {
    Started(Box<Server>),
    /// The settings are valid, but they need Redis or the certificates of this machine.
    NotStarted,
    /// The text of the error.
    Refused(String),
}

impl Server {
    /// Starts a server with the text of a configuration file: JSON if it begins with a brace, else
    /// TOML.
    pub fn start(text: &str) -> Start {
        let mut settings = match Settings::from_text(text, text.starts_with('{')) {
            Ok(settings) => settings,
            Err(line) => return Start::Refused(line),
        };
        let mut upstreams = settings.gateway.iter().flat_map(|own| &own.upstreams);
        if settings.redis.is_some() || upstreams.any(|own| own.url.scheme == Scheme::Https) {
            return Start::NotStarted;
        }
        settings.max_clients = settings.max_clients.min(MAX_CLIENTS);
        // A run does not wait.
        settings.delay = None;
        for limit in &mut settings.limits.list {
            limit.delay = Duration::ZERO;
        }
        for route in &mut settings.routes {
            if let Some(own) = &mut route.own_quota {
                own.max_clients = own.max_clients.map(|max| max.min(MAX_CLIENTS));
            }
        }
        let clock = ManualClock::new();
        let builder = KeyedLimiter::builder(settings.quota).clock(clock.clone());
        let app = App::in_memory(&settings, builder)
            .and_then(|limiter| block_on(App::with_limiter(&settings, limiter, clock.into())));
        match app {
            Ok(app) => Start::Started(Box::new(Server { settings, app })),
            Err(line) => Start::Refused(line),
        }
    }

    /// Reloads the file, which has not changed.
    ///
    /// # Errors
    /// The text of the error.
    pub fn reload(&mut self) -> Result<(), String> {
        self.app = block_on(self.app.reload(&self.settings, &self.settings))?;
        Ok(())
    }

    /// Processes a request of a peer.
    pub fn send(&self, peer: IpAddr, request: Request<Full<Bytes>>) -> Exchange {
        block_on(self.exchange(&self.caller(peer), request))
    }

    /// Serves the requests of an HTTP/1 connection, on which a peer sends these bytes. With
    /// `is_http2`, requests with an absolute target are processed as if they had arrived by HTTP/2.
    pub fn serve(&self, peer: IpAddr, bytes: &[u8], is_http2: bool) -> Vec<Exchange> {
        let (caller, exchanges) = (self.caller(peer), RefCell::new(Vec::new()));
        let service = service_fn(async |mut request: Request<Incoming>| {
            if is_http2 && request.uri().authority().is_some() {
                convert_to_http2(&mut request);
            }
            let exchange = self.exchange(&caller, request).await;
            exchanges.borrow_mut().push(exchange);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let stream = io::join(Cursor::new(bytes), io::sink());
        let connection = http1::Builder::new()
            .max_buf_size(self.app.connection_limits.max_header_bytes)
            .serve_connection(TokioIo::new(stream), service);
        // A malformed request ends the connection with an error.
        let _ = block_on(connection);
        exchanges.into_inner()
    }

    fn caller(&self, peer: IpAddr) -> Caller {
        self.app.caller((peer, 4711).into())
    }

    async fn exchange<B: Body + Unpin>(&self, caller: &Caller, request: Request<B>) -> Exchange {
        let app = &self.app;
        let outcome = match pipeline::process(app, &request, caller) {
            HeadResult::Done(outcome) => outcome,
            HeadResult::Pending(charge) => pipeline::resolve(app, &request, caller, charge).await,
        };
        let canonical = OnceCell::new();
        let client = app
            .clients
            .identify(caller.peer, request.headers(), &canonical);
        let client = client.ok().map(|client| client.name().into_owned());
        let (parts, body) = request.into_parts();
        let head = parts.clone();
        let outcome = match (&outcome.next, &app.gateway) {
            (NextStep::Proxy(step), Some(gateway)) => {
                let forwarded =
                    ForwardedHeaders::new(caller.hop(), app.clients.trusted(), &app.header_rules);
                let request = Request::from_parts(parts, body);
                let (parts, body) = gateway.upstream_head(step.upstream, request, &forwarded);
                // An error ends the connection to the upstream.
                let _ = body::read(body, app.connection_limits.max_body_bytes, None).await;
                Outcome::Forwarded(parts)
            }
            _ => {
                let memory = TotalMemory::new(usize::MAX).connection(usize::MAX);
                let (response, _) = pipeline::finish(app, outcome, body, false, &memory).await;
                let (parts, body) = response.into_parts();
                let Ok(body) = body.collect().await;
                Outcome::Response(Response::from_parts(parts, body.to_bytes()))
            }
        };
        Exchange {
            request: head,
            client,
            outcome,
        }
    }
}

/// Verifier of tokens with given keys.
pub struct Tokens(Jwt);

impl Tokens {
    /// Creates a verifier with the text of a file of keys.
    ///
    /// # Errors
    /// The text of the error.
    pub fn new(keys: &str, algorithms: &[&str]) -> Result<Tokens, String> {
        let algorithms = algorithms.iter().map(|name| Value::from_text(name));
        let options = JwtOptions {
            algorithms: algorithms.collect::<Option<_>>().ok_or("algorithms")?,
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: Duration::from_secs(60),
            cookie: None,
        };
        Jwt::new(keys, options).map(Tokens)
    }

    /// Returns the claim `sub` of a request's token.
    pub fn subject(&self, headers: &HeaderMap) -> Option<String> {
        let client = Err(IdentifyError::MissingKey);
        let request = LimitRequest::new(vec![&Method::GET], &[], None, headers, client).ok()?;
        request.with_jwt(Some(&self.0)).claim("sub")
    }
}

/// Removes the fields with which h2 would not accept a request.
fn convert_to_http2<B>(request: &mut Request<B>) {
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    for name in HTTP1_ONLY {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|value| value != "trailers") {
        headers.remove(TE);
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a fuzz target opens no other descriptors");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}
