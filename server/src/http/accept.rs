//! The listener: accepting connections, and graceful shutdown.

use std::{
    io,
    net::{self, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hyper_util::{rt::TokioExecutor, server::conn::auto::Builder};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{
    activity::Activity,
    admission::{Admission, Admitted, Origin, Permit, PermitLimits},
    connection::{ConnectionService, protocols, serve},
    connection_permit::ConnectionPermit,
    timeouts::{ConnectionGuard, ConnectionMonitor},
};
use crate::{
    app::{App, Caller, CurrentApp},
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
    admission: Arc<Admission>,
    workers: Workers,
}

impl Server {
    /// Binds the listener. `max_connections` takes the place of the configured maximum.
    pub(crate) fn bind(
        address: SocketAddr,
        app: App,
        max_connections: usize,
    ) -> io::Result<Server> {
        let (limits, is_gateway, metrics) = (
            app.connection_limits,
            app.gateway.is_some(),
            Arc::clone(&app.metrics),
        );
        let permits = PermitLimits {
            max: max_connections,
            max_per_address: limits.max_per_address,
        };
        Ok(Server {
            listener: listen(address)?,
            protocols: Arc::new(protocols(&limits, is_gateway)),
            current: Arc::new(ArcSwap::from_pointee(app)),
            limits,
            is_gateway,
            monitor: ConnectionMonitor::new(limits, Arc::clone(&metrics)),
            admission: Admission::new(permits, metrics),
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
        let outage = Outage::new(Instant::now());
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    if outage.record_success() {
                        tracing::info!("accept recovered");
                    }
                    // The connection moves from this thread's reactor to a worker's. When
                    // deregistering fails, the connection is dropped.
                    if let Ok(stream) = stream.into_std() {
                        self.admit(stream, address);
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

    /// Serves a connection when it has a permit.
    fn admit(&self, stream: net::TcpStream, address: SocketAddr) {
        let app = self.current.load();
        let peer = app.clients.peer(address);
        let origin = Origin {
            network: app.clients.network(peer),
            is_trusted: peer.is_trusted(),
            is_loopback: peer.address.is_loopback(),
        };
        let activity = Arc::new(Activity::default());
        let admitted = self.admission.admit(origin, &activity);
        if let Admitted::Refused = admitted {
            tracing::debug!(peer = %address, "connection refused: its address has the maximum");
            return;
        }
        // A failure only delays responses.
        let _ = stream.set_nodelay(true);
        let accepted = Accepted {
            stream,
            address,
            origin,
            activity,
            current: self.current(),
            caller: Arc::new(app.caller(address)),
            protocols: Arc::clone(&self.protocols),
            is_gateway: self.is_gateway,
            monitor: Arc::clone(&self.monitor),
        };
        match admitted {
            Admitted::Now(permit) => {
                // Tracked before a shutdown can begin.
                let guard = self.monitor.track(&accepted.activity);
                self.workers.spawn(accepted.serve(permit, guard));
            }
            Admitted::Later(waiting) => self.workers.spawn(async move {
                if let Some(permit) = waiting.granted().await {
                    let guard = accepted.monitor.track(&accepted.activity);
                    accepted.serve(permit, guard).await;
                }
            }),
            Admitted::Refused => {}
        }
    }
}

/// Accepted connection.
struct Accepted {
    stream: net::TcpStream,
    address: SocketAddr,
    origin: Origin,
    activity: Arc<Activity>,
    current: CurrentApp,
    caller: Arc<Caller>,
    protocols: Arc<Builder<TokioExecutor>>,
    is_gateway: bool,
    monitor: Arc<ConnectionMonitor>,
}

impl Accepted {
    async fn serve(self, permit: Permit, _guard: ConnectionGuard) {
        let permit = ConnectionPermit::new(permit, self.origin, &self.activity);
        let service = ConnectionService {
            current: self.current,
            caller: self.caller,
            activity: self.activity,
            permit: Arc::new(permit),
        };
        let result = match TcpStream::from_std(self.stream) {
            Ok(stream) => serve(&self.protocols, self.is_gateway, stream, service).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = result {
            tracing::debug!(peer = %self.address, error = &*error, "connection ended");
        }
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
