//! One upstream: its connections, and how long it may take.

use std::{
    error::Error,
    fmt, io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Fault,
    pool::{Lease, Pool},
    upload::{Transfer, Upload},
};
use crate::config::{self, Scheme, Times, UpstreamUrl};

/// An upstream that is gone without a word is noticed within twice this.
const PING: Duration = Duration::from_secs(20);

pub(super) struct Upstream {
    prefix: String,
    url: UpstreamUrl,
    client: Client,
    times: Times,
    /// Requests on their way and tunnels take a turn each.
    turns: Arc<Semaphore>,
    failing: AtomicBool,
}

enum Client {
    Http1(Arc<Pool>),
    /// All requests share a few connections, which have tasks of their own.
    Http2(Box<legacy::Client<HttpConnector, Upload>>),
}

/// What came of a request: the header of an answer, and over HTTP/1.1 the connection on which the
/// rest of it comes.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Option<Lease>,
    pub(super) turn: OwnedSemaphorePermit,
}

/// Why no answer came.
#[derive(Debug)]
pub(super) enum NoAnswer {
    Unconnected(Box<dyn Error + Send + Sync>),
    Broken(hyper::Error),
    Http2(legacy::Error),
}

impl Upstream {
    pub(super) fn new(
        upstream: &config::Upstream,
        settings: &config::Gateway,
    ) -> Result<Upstream, String> {
        let config::Upstream { prefix, url } = upstream.clone();
        let client =
            Client::new(&url, settings).map_err(|error| format!("upstream: {url}: {error}"))?;
        let (times, turns) = (
            settings.times,
            Arc::new(Semaphore::new(settings.max_requests)),
        );
        Ok(Upstream {
            prefix,
            url,
            client,
            times,
            turns,
            failing: AtomicBool::new(false),
        })
    }

    /// A prefix ends where a part of the path does: `/api` answers for `/api` and `/api/data`, not
    /// for `/apis`.
    pub(super) fn answers_for(&self, path: &str) -> bool {
        let behind = path.strip_prefix(&self.prefix);
        behind.is_some_and(|behind| {
            behind.is_empty() || behind.starts_with('/') || self.prefix.ends_with('/')
        })
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
    ) -> Result<Answered, Fault> {
        let turn = match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => Box::pin(self.turn()).await?,
        };
        match self.try_twice(request, transfer).await {
            Ok((response, lease)) => {
                if self.failing.load(Ordering::Relaxed)
                    && self.failing.swap(false, Ordering::Relaxed)
                {
                    tracing::info!(upstream = %self.url, "the upstream answers again");
                }
                Ok(Answered {
                    response,
                    lease,
                    turn,
                })
            }
            Err(fault) => {
                self.note(fault, None);
                Err(fault)
            }
        }
    }

    /// A turn, as soon as somebody else's ends.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let turn = timeout(self.times.connect, Arc::clone(&self.turns).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or(Fault::Busy)
    }

    /// An upstream may close an idle connection just as a request is sent on it. What changes
    /// nothing is then sent again, once.
    async fn try_twice(
        &self,
        request: Request<Upload>,
        transfer: Option<&Transfer>,
    ) -> Result<Begun, Fault> {
        let safe =
            request.body().is_nothing() && matches!(*request.method(), Method::GET | Method::HEAD);
        let again = safe.then(|| copy(&request));
        let first = match self.in_time(request, transfer).await? {
            Ok(begun) => return Ok(begun),
            Err(error) => error,
        };
        if let Some(fault) = transfer.and_then(Transfer::fault) {
            return Err(Fault::Client(fault));
        }
        let second = match again {
            Some(request) if first.broke_off() => Box::pin(self.in_time(request, None)).await?,
            _ => Err(first),
        };
        second.map_err(|error| {
            tracing::debug!(upstream = %self.url, error = &error as &dyn Error, "no answer from the upstream");
            let fault = error.fault();
            self.note(fault, Some(&error));
            fault
        })
    }

    /// Tells of a failure of the upstream: once, not for every request.
    fn note(&self, fault: Fault, error: Option<&NoAnswer>) {
        if fault.is_upstreams() && !self.failing.swap(true, Ordering::Relaxed) {
            let error = error.map(|error| error as &(dyn Error + 'static));
            tracing::warn!(upstream = %self.url, ?fault, error, "the upstream fails");
        }
    }

    /// What comes within the time of an answer since the last piece of the request went out, and of
    /// twice that at most.
    async fn in_time(
        &self,
        request: Request<Upload>,
        transfer: Option<&Transfer>,
    ) -> Result<Result<Begun, NoAnswer>, Fault> {
        let mut answer = pin!(self.client.request(request));
        let mut seen = 0;
        loop {
            if let Ok(answer) = timeout(self.times.response, answer.as_mut()).await {
                return Ok(answer);
            }
            match transfer {
                // The client has a time of its own.
                Some(transfer) if transfer.waits_for_client() || transfer.pieces() != seen => {
                    seen = transfer.pieces()
                }
                _ => return Err(Fault::Late),
            }
        }
    }
}

type Begun = (Response<Incoming>, Option<Lease>);

/// A request without a body.
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::nothing());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

impl Client {
    fn new(url: &UpstreamUrl, settings: &config::Gateway) -> io::Result<Client> {
        if url.scheme != Scheme::H2c {
            return Pool::new(url, settings).map(Client::Http1);
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(settings.times.connect));
        connector.set_nodelay(true);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(settings.times.keep_alive)
            .http2_only(true)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .set_host(false);
        Ok(Client::Http2(Box::new(builder.build(connector))))
    }

    async fn request(&self, request: Request<Upload>) -> Result<Begun, NoAnswer> {
        match self {
            Client::Http1(pool) => pool
                .request(request)
                .await
                .map(|(response, lease)| (response, Some(lease))),
            Client::Http2(client) => match Box::pin(client.request(request)).await {
                Ok(response) => Ok((response, None)),
                Err(error) => Err(NoAnswer::Http2(error)),
            },
        }
    }
}

impl NoAnswer {
    /// Whether a connection ended before there was anything of an answer.
    fn broke_off(&self) -> bool {
        match self {
            NoAnswer::Broken(error) => {
                let gone = |kind| {
                    matches!(
                        kind,
                        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                    )
                };
                let io = error
                    .source()
                    .and_then(|source| source.downcast_ref::<io::Error>());
                error.is_incomplete_message()
                    || error.is_closed()
                    || error.is_canceled()
                    || io.is_some_and(|error| gone(error.kind()))
            }
            // These know by themselves what has not been begun.
            NoAnswer::Unconnected(_) | NoAnswer::Http2(_) => false,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            NoAnswer::Broken(_) => Fault::Broken,
            NoAnswer::Http2(error) if !error.is_connect() => Fault::Broken,
            NoAnswer::Http2(error) if timed_out(error) => Fault::Unconnected,
            NoAnswer::Unconnected(error) if timed_out(&**error) => Fault::Unconnected,
            NoAnswer::Http2(_) | NoAnswer::Unconnected(_) => Fault::Unreachable,
        }
    }
}

fn timed_out(error: &(dyn Error + 'static)) -> bool {
    let is_timeout = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    error.downcast_ref().is_some_and(is_timeout) || error.source().is_some_and(timed_out)
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer")
    }
}

impl Error for NoAnswer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            NoAnswer::Unconnected(error) => Some(&**error),
            NoAnswer::Broken(error) => Some(error),
            NoAnswer::Http2(error) => Some(error),
        }
    }
}
