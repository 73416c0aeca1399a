//! The listener: accepting connections, and graceful shutdown.

use std::{io, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use hyper_util::{rt::TokioExecutor, server::conn::auto::Builder};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    activity::Activity,
    connection::{ConnectionService, protocols, serve},
    listener::{AdminListener, Socket, listen, retried},
    timeouts::ConnectionMonitor,
};
use crate::{
    app::{App, CurrentApp},
    config::ConnectionLimits,
    placement::Port,
    values::AdminAddress,
    workers::Workers,
};

/// Maximum number of connections to the admin listener, apart from those of the public port.
const MAX_ADMIN_CONNECTIONS: usize = 1024;

/// The server on its listening socket.
pub(crate) struct Server {
    listener: TcpListener,
    admin: Option<AdminPort>,
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

/// The listener of the admin endpoints.
struct AdminPort {
    listener: AdminListener,
    protocols: Arc<Builder<TokioExecutor>>,
    /// One permit for each open connection.
    permits: Arc<Semaphore>,
}

impl Server {
    /// Listens on the public port.
    pub(crate) fn bind(address: SocketAddr, app: App) -> io::Result<Server> {
        let (limits, is_gateway, metrics) = (
            app.connection_limits,
            app.gateway.is_some(),
            Arc::clone(&app.metrics),
        );
        Ok(Server {
            listener: listen(address)?,
            admin: None,
            protocols: Arc::new(protocols(&limits, is_gateway)),
            current: Arc::new(ArcSwap::from_pointee(app)),
            limits,
            is_gateway,
            monitor: ConnectionMonitor::new(limits, metrics),
            permits: Arc::new(Semaphore::new(limits.max_connections)),
            workers: Workers::start()?,
        })
    }

    /// Listens for requests to the admin endpoints.
    pub(crate) fn bind_admin(&mut self, address: &AdminAddress) -> io::Result<()> {
        self.admin = Some(AdminPort {
            listener: AdminListener::bind(address)?,
            protocols: Arc::new(protocols(&self.limits, false)),
            permits: Arc::new(Semaphore::new(MAX_ADMIN_CONNECTIONS)),
        });
        Ok(())
    }

    /// Returns the address of the admin listener.
    pub(crate) fn admin_address(&self) -> io::Result<Option<AdminAddress>> {
        let admin = self.admin.as_ref();
        admin.map(|admin| admin.listener.address()).transpose()
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
            () = self.accept_admin() => {}
            () = self.monitor.run() => {}
            _ = stop => {}
        }
        let Server {
            listener,
            admin,
            current,
            limits,
            monitor,
            ..
        } = self;
        drop((listener, admin));
        tokio::select! {
            () = monitor.shut_down(limits.shutdown_grace) => {}
            () = monitor.run() => {}
        }
        current.load_full().close().await;
    }

    async fn accept(&self) {
        let mut full = false;
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
            let (stream, address) = retried(|| self.listener.accept()).await;
            // The connection moves from this thread's reactor to a worker's. When deregistering
            // fails, the connection is dropped.
            if let Ok(stream) = stream.into_std() {
                self.spawn(Socket::Tcp(stream), address, Port::Public, permit);
            }
        }
    }

    /// Accepts connections to the admin listener. They have permits of their own, so that a full
    /// public port does not shut out an administrator.
    async fn accept_admin(&self) {
        let Some(admin) = &self.admin else {
            return std::future::pending().await;
        };
        while let Ok(permit) = Arc::clone(&admin.permits).acquire_owned().await {
            let (socket, address) = admin.listener.accept().await;
            if let Ok(socket) = socket {
                self.spawn(socket, address, Port::Admin, permit);
            }
        }
    }

    fn spawn(&self, socket: Socket, address: SocketAddr, port: Port, permit: OwnedSemaphorePermit) {
        if let Socket::Tcp(stream) = &socket {
            // A failure only delays responses.
            let _ = stream.set_nodelay(true);
        }
        let activity = Arc::new(Activity::default());
        let guard = self.monitor.track(&activity);
        let (caller, permit) = (
            Arc::new(self.current.load().caller(address).on(port)),
            Arc::new(permit),
        );
        let service = ConnectionService {
            current: self.current(),
            caller,
            activity,
            permit,
        };
        let (protocols, is_gateway) = match &self.admin {
            Some(admin) if port == Port::Admin => (Arc::clone(&admin.protocols), false),
            _ => (Arc::clone(&self.protocols), self.is_gateway),
        };
        self.workers.spawn(async move {
            let _guard = guard;
            if let Err(error) = serve(&protocols, is_gateway, socket, service).await {
                tracing::debug!(peer = %address, error = &*error, "connection ended");
            }
        });
    }
}
