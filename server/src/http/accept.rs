//! The listener: accepting connections, and graceful shutdown.

use std::{
    io,
    net::{self, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hyper_util::{rt::TokioExecutor, server::conn::auto::Builder};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    activity::Activity,
    connection::{ConnectionService, protocols, serve},
    timeouts::ConnectionMonitor,
};
use crate::{
    app::{App, CurrentApp},
    config::ConnectionLimits,
    outage::Outage,
    workers::Workers,
};

/// The pause after an accept that failed for lack of a resource, such as file descriptors, which
/// the next connection that ends releases.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Length of the accept queue; the operating system may reduce it. A client that finds the queue
/// full retries after a second.
const BACKLOG: u32 = 4096;

/// The server on its listening socket.
pub(crate) struct Server {
    listener: TcpListener,
    current: CurrentApp,
    limits: ConnectionLimits,
    /// Connections may be upgraded to tunnels.
    is_gateway: bool,
    protocols: Arc<Builder<TokioExecutor>>,
    monitor: Arc<ConnectionMonitor>,
    /// One permit for each open connection. Without a free permit, new connections wait in the
    /// accept queue of the operating system.
    permits: Arc<Semaphore>,
    workers: Workers,
}

impl Server {
    pub(crate) fn bind(address: SocketAddr, app: App) -> io::Result<Server> {
        let (limits, is_gateway, metrics) = (
            app.connection_limits,
            app.gateway.is_some(),
            Arc::clone(&app.metrics),
        );
        Ok(Server {
            listener: listen(address)?,
            protocols: Arc::new(protocols(&limits, is_gateway)),
            current: Arc::new(ArcSwap::from_pointee(app)),
            limits,
            is_gateway,
            monitor: ConnectionMonitor::new(limits, metrics),
            permits: Arc::new(Semaphore::new(limits.max_connections)),
            workers: Workers::start()?,
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the pointer to the current state, which a reload swaps.
    pub(crate) fn current(&self) -> CurrentApp {
        Arc::clone(&self.current)
    }

    /// Serves until `stop` is ready. Then accepts no more connections, and finishes the requests
    /// in flight.
    pub(crate) async fn run(self, stop: impl Future) {
        tokio::select! {
            () = self.accept() => {}
            () = self.monitor.run() => {}
            _ = stop => {}
        }
        let Server {
            listener,
            current,
            limits,
            monitor,
            ..
        } = self;
        drop(listener);
        tokio::select! {
            () = monitor.shut_down(limits.shutdown_grace) => {}
            () = monitor.run() => {}
        }
        current.load_full().close().await;
    }

    async fn accept(&self) {
        let (outage, mut full) = (Outage::new(Instant::now()), false);
        loop {
            let free = self.permits.available_permits();
            if free == 0 && !full {
                tracing::warn!(
                    max = self.limits.max_connections,
                    "connection limit reached; new connections wait"
                );
            }
            // Logged again only after half of the permits have been free.
            full = free == 0 || full && free < self.limits.max_connections / 2;
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    if outage.record_success() {
                        tracing::info!("accept recovered");
                    }
                    // The connection moves from this thread's reactor to a worker's. When
                    // deregistering fails, the connection is dropped.
                    if let Ok(stream) = stream.into_std() {
                        self.spawn(stream, address, permit);
                    }
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    // A flood of connections does not become a flood of log lines.
                    if let Some(failures) = outage.record_failure(Instant::now()) {
                        tracing::warn!(%error, failures, "accept failed; retrying");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn(&self, stream: net::TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        // A failure only delays responses.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::default());
        let guard = self.monitor.track(&activity);
        let (caller, permit) = (
            Arc::new(self.current.load().caller(address)),
            Arc::new(permit),
        );
        let service = ConnectionService {
            current: self.current(),
            caller,
            activity,
            permit,
        };
        let (protocols, is_gateway) = (Arc::clone(&self.protocols), self.is_gateway);
        self.workers.spawn(async move {
            let _guard = guard;
            let result = match TcpStream::from_std(stream) {
                Ok(stream) => serve(&protocols, is_gateway, stream, service).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = result {
                tracing::debug!(peer = %address, error = &*error, "connection ended");
            }
        });
    }
}

/// Binds a listener as tokio does, with a longer accept queue.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Returns whether an accept failed because the peer closed the connection, and not because of this
/// server.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
