//! One upstream: its connections, and how long it may take.

use std::{
    error::Error,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{Method, Request, Response, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Fault,
    upload::{Transfer, Upload},
};
use crate::config::{self, Scheme, Times, UpstreamUrl};

/// What an upstream's header may take, and what is read from it at a time.
const BUFFER: usize = 64 * 1024;
/// An upstream that is gone without a word is noticed within twice this.
const PING: Duration = Duration::from_secs(20);

pub(super) struct Upstream {
    prefix: String,
    url: UpstreamUrl,
    pool: Pool,
    times: Times,
    /// Requests on their way and tunnels take a turn each.
    turns: Arc<Semaphore>,
    failing: AtomicBool,
}

enum Pool {
    Plain(Client<HttpConnector, Upload>),
    Tls(Client<HttpsConnector<HttpConnector>, Upload>),
}

impl Upstream {
    pub(super) fn new(upstream: &config::Upstream, settings: &config::Gateway) -> Result<Upstream, String> {
        let config::Upstream { prefix, url } = upstream.clone();
        let pool = Pool::new(&url, settings).map_err(|error| format!("upstream: {url}: {error}"))?;
        let (times, turns) = (settings.times, Arc::new(Semaphore::new(settings.max_requests)));
        Ok(Upstream { prefix, url, pool, times, turns, failing: AtomicBool::new(false) })
    }

    /// A prefix ends where a part of the path does: `/api` answers for `/api` and `/api/data`, not for `/apis`.
    pub(super) fn answers_for(&self, path: &str) -> bool {
        let behind = path.strip_prefix(&self.prefix);
        behind.is_some_and(|behind| behind.is_empty() || behind.starts_with('/') || self.prefix.ends_with('/'))
    }

    pub(super) fn url(&self) -> &UpstreamUrl {
        &self.url
    }

    pub(super) fn times(&self) -> &Times {
        &self.times
    }

    /// Sends a request, and waits for the header of the answer.
    pub(super) async fn send(
        &self,
        request: Request<Upload>,
        transfer: Option<&Transfer>,
    ) -> Result<(Response<Incoming>, OwnedSemaphorePermit), Fault> {
        let turn = timeout(self.times.connect, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Fault::Busy) };
        match self.try_twice(request, transfer).await {
            Ok(response) => {
                if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(upstream = %self.url, "the upstream answers again");
                }
                Ok((response, turn))
            }
            Err(fault) => {
                // Once, not for every request.
                if fault.is_upstreams() && !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(upstream = %self.url, ?fault, "the upstream fails");
                }
                Err(fault)
            }
        }
    }

    /// An upstream may close an idle connection just as a request is sent on it. What changes nothing is then sent again, once.
    async fn try_twice(&self, request: Request<Upload>, transfer: Option<&Transfer>) -> Result<Response<Incoming>, Fault> {
        let safe = request.body().is_nothing() && matches!(*request.method(), Method::GET | Method::HEAD);
        let again = safe.then(|| copy(&request));
        let first = match in_time(self.pool.request(request), transfer, self.times.response).await? {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if let Some(fault) = transfer.and_then(Transfer::fault) {
            return Err(Fault::Client(fault));
        }
        let second = match again {
            Some(request) if broke_off(&first) => in_time(self.pool.request(request), None, self.times.response).await?,
            _ => Err(first),
        };
        second.map_err(|error| {
            tracing::debug!(upstream = %self.url, error = &error as &dyn Error, "no answer from the upstream");
            Fault::of(&error)
        })
    }
}

/// A request without a body.
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::nothing());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Whether a connection ended before there was anything of an answer.
fn broke_off(error: &legacy::Error) -> bool {
    let Some(source) = error.source() else { return false };
    let by_end = source.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_incomplete_message() || error.is_closed());
    let by_reset = || {
        let io = source.source().and_then(|source| source.downcast_ref::<io::Error>());
        io.is_some_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
    };
    !error.is_connect() && (by_end || by_reset())
}

/// What comes within this time of the last piece of the request that went out, and of twice that at most.
async fn in_time<F: Future>(answer: F, transfer: Option<&Transfer>, most: Duration) -> Result<F::Output, Fault> {
    let mut answer = pin!(answer);
    let mut seen = 0;
    loop {
        if let Ok(answer) = timeout(most, answer.as_mut()).await {
            return Ok(answer);
        }
        match transfer {
            // The client has a time of its own.
            Some(transfer) if transfer.waits_for_client() || transfer.pieces() != seen => seen = transfer.pieces(),
            _ => return Err(Fault::Late),
        }
    }
}

impl Pool {
    fn new(url: &UpstreamUrl, settings: &config::Gateway) -> io::Result<Pool> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(settings.times.connect));
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(settings.times.keep_alive)
            .pool_max_idle_per_host(if settings.times.keep_alive.is_zero() { 0 } else { settings.max_idle })
            .http1_max_buf_size(BUFFER)
            .http2_only(url.scheme == Scheme::H2c)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .set_host(url.scheme != Scheme::H2c);
        Ok(match url.scheme {
            Scheme::Http | Scheme::H2c => Pool::Plain(builder.build(connector)),
            Scheme::Https => {
                connector.enforce_http(false);
                let tls = HttpsConnectorBuilder::new().with_native_roots()?.https_only().enable_http1();
                Pool::Tls(builder.build(tls.wrap_connector(connector)))
            }
        })
    }

    async fn request(&self, request: Request<Upload>) -> Result<Response<Incoming>, legacy::Error> {
        match self {
            Pool::Plain(client) => client.request(request).await,
            Pool::Tls(client) => client.request(request).await,
        }
    }
}
