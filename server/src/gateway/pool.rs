//! The HTTP/1.1 connections to one upstream that wait for a request.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use hyper::{Request, Response, Uri, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::Instant;
use tower_service::Service;

use super::{link::Link, upload::Upload, upstream::NoAnswer};
use crate::config::{self, Scheme, UpstreamUrl};

pub(super) struct Pool {
    connector: Connector,
    uri: Uri,
    keep_alive: Duration,
    most: usize,
    /// The one that waits for the shortest time comes last.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    link: Link,
    since: Instant,
}

#[derive(Clone)]
enum Connector {
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
}

/// A connection that is in use, and where it goes when it is not.
pub(super) struct Lease {
    pub(super) link: Link,
    pool: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(url: &UpstreamUrl, settings: &config::Gateway) -> io::Result<Arc<Pool>> {
        let keep_alive = settings.times.keep_alive;
        let pool = Arc::new(Pool {
            connector: Connector::new(url.scheme, settings.times.connect)?,
            uri: url.uri(),
            keep_alive,
            most: if keep_alive.is_zero() {
                0
            } else {
                settings.max_idle
            },
            idle: Mutex::default(),
        });
        let pause = (keep_alive / 4).clamp(Duration::from_millis(100), Duration::from_secs(1));
        tokio::spawn(look_after(Arc::downgrade(&pool), pause));
        Ok(pool)
    }

    /// Sends a request over a connection that waits for one, or over a new one.
    pub(super) async fn request(
        self: &Arc<Pool>,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Lease), NoAnswer> {
        let mut link = match self.take() {
            Some(link) => link,
            // In a box, since the way to most requests is a short one, and its future should be
            // small.
            None => Box::pin(self.connect())
                .await
                .map_err(NoAnswer::Unconnected)?,
        };
        let response = link.request(request).await.map_err(NoAnswer::Broken)?;
        Ok((
            response,
            Lease {
                link,
                pool: Arc::clone(self),
            },
        ))
    }

    async fn connect(&self) -> Result<Link, Box<dyn Error + Send + Sync>> {
        self.connector.clone().connect(self.uri.clone()).await
    }

    fn take(&self) -> Option<Link> {
        loop {
            let Idle { mut link, since } = self.last()?;
            if since.elapsed() < self.keep_alive && link.is_idle() {
                return Some(link);
            }
        }
    }

    /// Of those of this worker, the one that waits for the shortest time. Another worker's is
    /// better than a new one only where there would be no room to keep that.
    fn last(&self) -> Option<Idle> {
        let mut idle = self.lock();
        match idle.iter().rposition(|idle| idle.link.is_at_home()) {
            Some(place) => Some(idle.remove(place)),
            None if idle.len() < self.most => None,
            None => idle.pop(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // The list is whole at every step.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that have waited for too long, or that the upstream has closed.
async fn look_after(pool: Weak<Pool>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.lock()
            .retain_mut(|idle| idle.since.elapsed() < pool.keep_alive && idle.link.is_idle());
    }
}

impl Lease {
    /// Keeps the connection for the next request, if it can take one and there is room.
    pub(super) fn give_back(mut self) {
        if self.pool.most == 0 || !self.link.could_be_idle() {
            return;
        }
        let mut idle = self.pool.lock();
        if idle.len() < self.pool.most {
            idle.push(Idle {
                link: self.link,
                since: Instant::now(),
            });
        }
    }
}

impl Connector {
    fn new(scheme: Scheme, connect_timeout: Duration) -> io::Result<Connector> {
        let mut plain = HttpConnector::new();
        plain.set_connect_timeout(Some(connect_timeout));
        plain.set_nodelay(true);
        if scheme != Scheme::Https {
            return Ok(Connector::Plain(plain));
        }
        plain.enforce_http(false);
        let tls = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_only()
            .enable_http1();
        Ok(Connector::Tls(tls.wrap_connector(plain)))
    }

    async fn connect(&mut self, uri: Uri) -> Result<Link, Box<dyn Error + Send + Sync>> {
        match self {
            Connector::Plain(connector) => Ok(Link::over(connector.call(uri).await?).await?),
            Connector::Tls(connector) => Ok(Link::over(connector.call(uri).await?).await?),
        }
    }
}
