//! Pool of idle connections to one upstream. `gateway.keep_alive` bounds their idle time.

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

use super::{connection::Connection, error::SendError, request_body::RequestBody};
use crate::{
    config,
    values::{Scheme, UpstreamUrl},
};

/// Connector and idle connections of one upstream.
pub(super) struct Pool {
    connector: Connector,
    uri: Uri,
    idle_timeout: Duration,
    max_idle: usize,
    /// The most recently used connection comes last.
    idle: Mutex<Vec<IdleConnection>>,
}

struct IdleConnection {
    connection: Connection,
    idle_since: Instant,
}

#[derive(Clone)]
enum Connector {
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
}

/// Connection in use, with the pool that takes it back.
pub(super) struct PooledConnection {
    pub(super) connection: Connection,
    pool: Arc<Pool>,
}

impl Pool {
    /// Creates an empty pool and spawns the task that removes expired connections.
    pub(super) fn new(url: &UpstreamUrl, settings: &config::Gateway) -> io::Result<Arc<Pool>> {
        let idle_timeout = settings.timeouts.keep_alive;
        let pool = Arc::new(Pool {
            connector: Connector::new(url.scheme, settings.timeouts.connect)?,
            uri: url.uri(),
            idle_timeout,
            max_idle: if idle_timeout.is_zero() {
                0
            } else {
                settings.max_idle
            },
            idle: Mutex::default(),
        });
        let interval = (idle_timeout / 4).clamp(Duration::from_millis(100), Duration::from_secs(1));
        tokio::spawn(remove_expired(Arc::downgrade(&pool), interval));
        Ok(pool)
    }

    /// Sends a request over an idle connection unless `is_retry`, or over a new one.
    pub(super) async fn send_request(
        self: &Arc<Pool>,
        request: Request<RequestBody>,
        is_retry: bool,
    ) -> Result<(Response<Incoming>, PooledConnection), SendError> {
        let idle = if is_retry { None } else { self.take_idle() };
        let is_reused = idle.is_some();
        let mut connection = match idle {
            Some(connection) => connection,
            // Boxed to keep this future small: most requests reuse a connection.
            None => Box::pin(self.connect()).await.map_err(SendError::Connect)?,
        };
        let response = connection
            .send_request(request)
            .await
            .map_err(|error| SendError::Http1 { error, is_reused })?;
        let pool = Arc::clone(self);
        Ok((response, PooledConnection { connection, pool }))
    }

    async fn connect(&self) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        self.connector.clone().connect(self.uri.clone()).await
    }

    fn take_idle(&self) -> Option<Connection> {
        loop {
            let IdleConnection {
                mut connection,
                idle_since,
            } = self.pop_idle()?;
            if idle_since.elapsed() < self.idle_timeout && connection.is_open() {
                return Some(connection);
            }
        }
    }

    /// Removes the most recently used connection of this worker. A connection of another worker is
    /// taken only when the pool is full and could not keep a new one.
    fn pop_idle(&self) -> Option<IdleConnection> {
        let mut idle = self.lock();
        match idle.iter().rposition(|idle| idle.connection.is_local()) {
            Some(index) => Some(idle.remove(index)),
            None if idle.len() < self.max_idle => None,
            None => idle.pop(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        // A panic cannot leave the list inconsistent, so a poisoned lock is usable.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Periodically drops connections whose idle timeout expired or that the upstream closed.
async fn remove_expired(pool: Weak<Pool>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.lock().retain_mut(|idle| {
            idle.idle_since.elapsed() < pool.idle_timeout && idle.connection.is_open()
        });
    }
}

impl PooledConnection {
    /// Returns the connection to the pool if it can be reused and the pool is not full.
    pub(super) fn release(mut self) {
        if self.pool.max_idle == 0 || !self.connection.can_reuse() {
            return;
        }
        let mut idle = self.pool.lock();
        if idle.len() < self.pool.max_idle {
            idle.push(IdleConnection {
                connection: self.connection,
                idle_since: Instant::now(),
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

    async fn connect(&mut self, uri: Uri) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        match self {
            Connector::Plain(connector) => {
                Ok(Connection::handshake(connector.call(uri).await?).await?)
            }
            Connector::Tls(connector) => {
                Ok(Connection::handshake(connector.call(uri).await?).await?)
            }
        }
    }
}
