//! Accepting connections, and ending in order.

use std::{
    io,
    net::{self, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper_util::{rt::TokioExecutor, server::conn::auto::Builder};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    activity::Progress,
    connection::{Requests, protocols, serve},
    timeouts::Watch,
};
use crate::{app::App, config::Bounds, reload::Current, workers::Workers};

/// The pause after an accept that failed for want of something that the next connection to end
/// gives back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that may wait to be accepted, as far as the operating system allows. Who finds no
/// room tries again after a second.
const BACKLOG: u32 = 4096;

/// The server on its socket.
pub(crate) struct Server {
    listener: TcpListener,
    current: Current,
    bounds: Bounds,
    /// Connections may become tunnels.
    gateway: bool,
    protocols: Arc<Builder<TokioExecutor>>,
    watch: Arc<Watch>,
    /// Places for connections. Who finds none waits in the backlog of the operating system.
    places: Arc<Semaphore>,
    workers: Workers,
}

impl Server {
    pub(crate) fn bind(address: SocketAddr, app: App) -> io::Result<Server> {
        let (bounds, gateway, metrics) =
            (app.bounds, app.gateway.is_some(), Arc::clone(&app.metrics));
        Ok(Server {
            listener: listen(address)?,
            protocols: Arc::new(protocols(&bounds, gateway)),
            current: Arc::new(ArcSwap::from_pointee(app)),
            bounds,
            gateway,
            watch: Watch::new(bounds, metrics),
            places: Arc::new(Semaphore::new(bounds.max_connections)),
            workers: Workers::start()?,
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What it serves by, and may be told to.
    pub(crate) fn current(&self) -> Current {
        Arc::clone(&self.current)
    }

    /// Serves until `stop` is ready; then takes no more connections, and finishes what is in
    /// flight.
    pub(crate) async fn run(self, stop: impl Future) {
        tokio::select! {
            () = self.accept() => {}
            () = self.watch.keep() => {}
            _ = stop => {}
        }
        let Server {
            listener,
            current,
            bounds,
            watch,
            ..
        } = self;
        drop(listener);
        tokio::select! {
            () = watch.finish(bounds.shutdown_grace) => {}
            () = watch.keep() => {}
        }
        current.load_full().close().await;
    }

    async fn accept(&self) {
        let (mut failing, mut full) = (false, false);
        loop {
            let free = self.places.available_permits();
            if free == 0 && !full {
                tracing::warn!(
                    max = self.bounds.max_connections,
                    "as many connections are open as may be: the next ones wait"
                );
            }
            // Told again when half of them have been free.
            full = free == 0 || full && free < self.bounds.max_connections / 2;
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    failing = false;
                    // It leaves this thread's reactor for another's. Without a reactor there is no
                    // connection.
                    if let Ok(stream) = stream.into_std() {
                        self.begin(stream, address, place);
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Once, not every time: a flood of connections must not become a flood of
                    // lines.
                    if !failing {
                        tracing::warn!(%error, "cannot accept connections for now");
                    }
                    failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(&self, stream: net::TcpStream, address: SocketAddr, place: OwnedSemaphorePermit) {
        // Without it answers are as right, and later.
        let _ = stream.set_nodelay(true);
        let progress = Arc::new(Progress::default());
        let guard = self.watch.begin(&progress);
        let (caller, place) = (
            Arc::new(self.current.load().caller(address)),
            Arc::new(place),
        );
        let requests = Requests {
            current: self.current(),
            caller,
            progress,
            place,
        };
        let (protocols, gateway) = (Arc::clone(&self.protocols), self.gateway);
        self.workers.spawn(async move {
            let _guard = guard;
            let ended = match TcpStream::from_std(stream) {
                Ok(stream) => serve(&protocols, gateway, stream, requests).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = ended {
                tracing::debug!(peer = %address, error = &*error, "connection ended");
            }
        });
    }
}

/// tokio's own `bind`, with a longer backlog.
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

/// Errors of a connection that was gone before it was accepted, not of ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
