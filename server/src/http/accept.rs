//! Accepting connections at the listeners, and graceful shutdown.

use std::{
    io,
    net::{self, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;

use super::{
    activity::Activity,
    admission::{Admission, Admitted, Origin, Permit, PermitLimits},
    connection::{ConnectionService, serve},
    connection_permit::ConnectionPermit,
    listener::{AdminListener, GivenAdmin, Socket, given_listener, listen, retried},
    timeouts::{ConnectionGuard, ConnectionMonitor},
};
use crate::{
    app::{App, Caller, CurrentApp},
    config::ConnectionLimits,
    outage::Outage,
    placement::Port,
    values::AdminAddress,
    workers::Workers,
};

/// Maximum number of connections to the admin listener, apart from those of the public port.
pub(crate) const MAX_ADMIN_CONNECTIONS: usize = 1024;

/// Listening sockets, on which nothing is served yet.
pub(crate) struct Listeners {
    public: TcpListener,
    admin: Option<AdminListener>,
}

impl Listeners {
    /// Listens on the public port, or on the socket that is given.
    pub(crate) fn bind(
        address: SocketAddr,
        given: Option<net::TcpListener>,
    ) -> io::Result<Listeners> {
        Ok(Listeners {
            public: match given {
                Some(given) => given_listener(given)?,
                None => listen(address)?,
            },
            admin: None,
        })
    }

    /// Listens for requests to the admin endpoints.
    pub(crate) fn bind_admin(
        &mut self,
        address: &AdminAddress,
        given: Option<GivenAdmin>,
    ) -> io::Result<()> {
        self.admin = Some(match given {
            Some(given) => AdminListener::given(given, address)?,
            None => AdminListener::bind(address)?,
        });
        Ok(())
    }
}

/// The server on its listening sockets.
pub(crate) struct Server {
    listener: TcpListener,
    public: Service,
    admin: Option<(AdminListener, Service)>,
    current: CurrentApp,
    limits: ConnectionLimits,
    monitor: Arc<ConnectionMonitor>,
    workers: Workers,
}

/// Service of the connections to one port.
struct Service {
    port: Port,
    /// Connections may be upgraded to tunnels.
    is_gateway: bool,
    admission: Arc<Admission>,
}

impl Server {
    /// Creates the server on its listening sockets. `max_connections` takes the place of the configured maximum.
    pub(crate) fn new(
        listeners: Listeners,
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
        // An administrator's connections have permits of their own, so that a full public port does not shut
        // them out.
        let of_admin = PermitLimits {
            max: MAX_ADMIN_CONNECTIONS,
            max_per_address: None,
        };
        let admin = listeners.admin.map(|listener| {
            let service = Service {
                port: Port::Admin,
                is_gateway: false,
                admission: Admission::new(of_admin, Arc::clone(&metrics)),
            };
            (listener, service)
        });
        Ok(Server {
            listener: listeners.public,
            public: Service {
                port: Port::Public,
                is_gateway,
                admission: Admission::new(permits, Arc::clone(&metrics)),
            },
            admin,
            current: Arc::new(ArcSwap::from_pointee(app)),
            limits,
            monitor: ConnectionMonitor::new(limits, metrics),
            workers: Workers::start(is_gateway)?,
        })
    }

    /// Returns the address of the admin listener.
    pub(crate) fn admin_address(&self) -> io::Result<Option<AdminAddress>> {
        let admin = self.admin.as_ref();
        admin.map(|(listener, _)| listener.address()).transpose()
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the listening sockets: the public one, and that of the admin endpoints if there is one.
    pub(crate) fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        let admin = self.admin.iter().map(|(listener, _)| listener.as_fd());
        let all = [self.listener.as_fd()].into_iter().chain(admin);
        all.map(|socket| socket.try_clone_to_owned()).collect()
    }

    /// Returns the pointer to the current state, which a reload swaps.
    pub(crate) fn current(&self) -> CurrentApp {
        Arc::clone(&self.current)
    }

    /// Serves until `stop` is ready. Then accepts no more connections, and finishes the requests
    /// in flight. The result of `stop` is true when another process has the listening sockets.
    pub(crate) async fn run(self, stop: impl Future<Output = bool>) {
        let is_handed_over = tokio::select! {
            () = self.accept() => false,
            () = self.accept_admin() => false,
            () = self.monitor.run() => false,
            is_handed_over = stop => is_handed_over,
        };
        let Server {
            listener,
            mut admin,
            current,
            limits,
            monitor,
            ..
        } = self;
        if is_handed_over && let Some((listener, _)) = &mut admin {
            listener.keep_file();
        }
        drop((listener, admin));
        tokio::select! {
            () = monitor.shut_down(limits.shutdown_grace) => {}
            () = monitor.run() => {}
        }
        current.load_full().close().await;
    }

    async fn accept(&self) {
        let outage = Outage::new(Instant::now());
        loop {
            let (stream, address) = retried(&outage, || self.listener.accept()).await;
            // The connection moves from this thread's reactor to a worker's. When deregistering
            // fails, the connection is dropped.
            if let Ok(stream) = stream.into_std() {
                self.admit(&self.public, Socket::Tcp(stream), address);
            }
        }
    }

    async fn accept_admin(&self) {
        let Some((listener, service)) = &self.admin else {
            return std::future::pending().await;
        };
        let outage = Outage::new(Instant::now());
        loop {
            let (socket, address) = listener.accept(&outage).await;
            if let Ok(socket) = socket {
                self.admit(service, socket, address);
            }
        }
    }

    /// Serves a connection when it has a permit.
    fn admit(&self, service: &Service, socket: Socket, address: SocketAddr) {
        let app = self.current.load();
        let peer = app.clients.peer(address);
        let origin = Origin {
            network: app.clients.network(peer),
            is_trusted: peer.is_trusted(),
            is_loopback: peer.address.is_loopback(),
        };
        let activity = self.monitor.activity(peer.is_trusted());
        let admitted = service.admission.admit(origin, &activity);
        if let Admitted::Refused = admitted {
            tracing::debug!(peer = %address, "connection refused: its address has the maximum");
            return;
        }
        if let Socket::Tcp(stream) = &socket {
            // A failure only delays responses.
            let _ = stream.set_nodelay(true);
        }
        let accepted = Accepted {
            socket,
            address,
            origin,
            activity,
            current: self.current(),
            caller: Arc::new(app.caller(address).on(service.port)),
            limits: self.limits,
            is_gateway: service.is_gateway,
            monitor: Arc::clone(&self.monitor),
        };
        match admitted {
            Admitted::Now(permit) => {
                // Tracked before a shutdown can begin.
                let guard = self.monitor.track(&accepted.activity, peer.address);
                self.workers.spawn(accepted.serve(permit, guard));
            }
            Admitted::Later(waiting) => self.workers.spawn(async move {
                if let Some(permit) = waiting.granted().await {
                    let guard = accepted
                        .monitor
                        .track(&accepted.activity, accepted.caller.peer.address);
                    accepted.serve(permit, guard).await;
                }
            }),
            Admitted::Refused => {}
        }
    }
}

/// Accepted connection.
struct Accepted {
    socket: Socket,
    address: SocketAddr,
    origin: Origin,
    activity: Arc<Activity>,
    current: CurrentApp,
    caller: Arc<Caller>,
    limits: ConnectionLimits,
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
        let result = serve(&self.limits, self.is_gateway, self.socket, service).await;
        if let Err(error) = result {
            tracing::debug!(peer = %self.address, error = &*error, "connection ended");
        }
    }
}
