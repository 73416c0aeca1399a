//! The listener: accepting connections, and graceful shutdown.

use std::{
    io,
    net::{self, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    connection::{ConnectionService, serve},
    timeouts::ConnectionMonitor,
};
use crate::{
    app::{App, CurrentApp},
    config::ConnectionLimits,
    workers::Workers,
};

/// The pause after an accept that failed for lack of a resource, such as file descriptors, which
/// the next connection that ends releases.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Length of the accept queue; the operating system may reduce it. A client that finds the queue
/// full retries after a second.
const BACKLOG: u32 = 4096;

/// Number of bytes that the operating system buffers for a connection beyond those in flight. A
/// larger buffer would hide for minutes that a slow client reads.
#[cfg(target_os = "linux")]
const MAX_UNSENT_BYTES: u32 = 64 * 1024;

/// The server on its listening socket.
pub(crate) struct Server {
    listener: TcpListener,
    current: CurrentApp,
    limits: ConnectionLimits,
    /// Connections may be upgraded to tunnels.
    is_gateway: bool,
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
        let (mut failing, mut full) = (false, false);
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
                    failing = false;
                    // The connection moves from this thread's reactor to a worker's. When
                    // deregistering fails, the connection is dropped.
                    if let Ok(stream) = stream.into_std() {
                        self.spawn(stream, address, permit);
                    }
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    // Logged once, so that a flood of connections does not become a flood of log
                    // lines.
                    if !failing {
                        tracing::warn!(%error, "accept failed; retrying");
                    }
                    failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn(&self, stream: net::TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        // A failure only delays responses.
        let _ = stream.set_nodelay(true);
        let (caller, permit) = (
            Arc::new(self.current.load().caller(address)),
            Arc::new(permit),
        );
        let activity = self.monitor.activity(caller.peer.is_trusted());
        let guard = self.monitor.track(&activity, caller.peer.address);
        let service = ConnectionService {
            current: self.current(),
            caller,
            activity,
            permit,
        };
        let (limits, is_gateway) = (self.limits, self.is_gateway);
        self.workers.spawn(async move {
            let _guard = guard;
            let result = match TcpStream::from_std(stream) {
                Ok(stream) => serve(&limits, is_gateway, stream, service).await,
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
    // Accepted connections inherit it. Without it only the stall clock is less exact.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&socket).set_tcp_notsent_lowat(MAX_UNSENT_BYTES);
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
