//! Server behind a real socket, on a manual clock.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use test_support::Client;
use tokio::sync::oneshot;
use tollgate::ManualClock;

use crate::{
    http::{Listeners, Server},
    pipeline::tests::{TestServer, runtime},
};

/// Server on a socket, on a manual clock.
pub(super) struct SocketServer {
    address: SocketAddr,
    pub(super) clock: ManualClock,
    /// Dropped to stop it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SocketServer {
    pub(super) fn start(settings: &str) -> SocketServer {
        let clock = ManualClock::new();
        clock.advance(Duration::from_secs(1_000_000));
        let (stop, stopped) = oneshot::channel::<()>();
        let (address_of, address) = mpsc::channel();
        let (settings, server_clock) = (settings.to_owned(), clock.clone());
        let thread = thread::spawn(move || {
            runtime().block_on(async {
                let app = TestServer::start(&settings, server_clock).await.app;
                let server = Server::new(
                    Listeners::bind(([127, 0, 0, 1], 0).into(), None).unwrap(),
                    app,
                    1000,
                )
                .unwrap();
                address_of.send(server.address().unwrap()).unwrap();
                server
                    .run(async {
                        let _ = stopped.await;
                        false
                    })
                    .await;
            });
        });
        SocketServer {
            address: address.recv().unwrap(),
            clock,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Connects from the loopback address with this last byte.
    pub(super) fn client(&self, source: u8) -> Client {
        Client::connect(self.address, Some(Ipv4Addr::new(127, 0, 0, source).into()))
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has failed the test.
            let _ = thread.join();
        }
    }
}
