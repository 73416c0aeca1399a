//! Handover of the listening sockets to a newer process, so that a deploy loses no connection.
//!
//! A listening socket has a queue of connections, which is lost when the last process closes it. So the
//! newer process gets the very sockets: from systemd, which keeps them, or from the older process through a
//! Unix socket in the directory of `--state`. The newer one accepts first; then the older one stops as
//! at SIGTERM.

use std::{
    io::{self, IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use listenfd::ListenFd;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{io::AsyncReadExt, net::UnixListener};

use crate::{
    http::{FileOwner, GivenAdmin, Server, SocketFile, listen_on_file},
    values::AdminAddress,
};

/// Longest wait for the other process's next message. One that starts restores and opens its tables first.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time for which the older process keeps its socket after the newer one is ready.
const TRIES_TO_OFFER: usize = 200;
const OFFER_PAUSE: Duration = Duration::from_millis(10);

/// Message of the newer process, once it accepts connections.
const READY: u8 = b'r';

/// Sockets that this process was given.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) public: Option<TcpListener>,
    pub(crate) admin: Option<GivenAdmin>,
    /// Connection to the older process; `None`: systemd gave them.
    older: Option<UnixStream>,
}

impl Given {
    /// Takes the sockets that systemd passes on: the public one, and then that of the admin endpoints if they
    /// have an address of their own.
    ///
    /// # Errors
    /// A socket is not one of those that were expected.
    pub(crate) fn from_systemd(admin: Option<&AdminAddress>) -> io::Result<Given> {
        let mut sockets = ListenFd::from_env();
        let Some(public) = sockets.take_tcp_listener(0)? else {
            return Ok(Given::default());
        };
        let admin = match admin {
            Some(AdminAddress::Tcp(_)) => sockets.take_tcp_listener(1)?.map(GivenAdmin::Tcp),
            Some(AdminAddress::Unix(_)) => {
                let socket = sockets.take_unix_listener(1)?;
                socket.map(|socket| GivenAdmin::Unix(socket, FileOwner::Systemd))
            }
            None => None,
        };
        Ok(Given {
            public: Some(public),
            admin,
            older: None,
        })
    }

    /// Takes the sockets of an older process with the same directory and address, if there is one.
    pub(crate) fn from_older(
        directory: &Path,
        listen: SocketAddr,
        admin: Option<&AdminAddress>,
    ) -> Given {
        let Some(path) = socket_path(directory, listen) else {
            return Given::default();
        };
        match Given::take(&path, admin) {
            Ok(given) => given,
            Err(error) if is_absent(&error) => Given::default(),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "listening sockets not taken over");
                Given::default()
            }
        }
    }

    fn take(path: &Path, admin: Option<&AdminAddress>) -> io::Result<Given> {
        let older = UnixStream::connect(path)?;
        older.set_read_timeout(Some(REPLY_TIMEOUT))?;
        let (admin_text, sockets) = receive(&older)?;
        let mut sockets = sockets.into_iter();
        let public = sockets.next().map(TcpListener::from);
        // One with another address is closed here, and by the older process.
        let is_same = admin.is_some_and(|admin| admin.to_string() == admin_text);
        let admin = sockets
            .next()
            .filter(|_| is_same)
            .map(|socket| match admin {
                Some(AdminAddress::Unix(_)) => GivenAdmin::Unix(socket.into(), FileOwner::Process),
                _ => GivenAdmin::Tcp(socket.into()),
            });
        Ok(Given {
            public,
            admin,
            older: Some(older),
        })
    }

    /// Takes the connection to the older process, which stops once it knows that this one accepts.
    pub(crate) fn older(&mut self) -> Option<Older> {
        self.older.take().map(Older)
    }
}

/// Older process that has given its sockets away, and waits for this one.
#[derive(Debug)]
pub(crate) struct Older(UnixStream);

impl Older {
    /// Tells the older process that this one accepts connections.
    ///
    /// # Errors
    /// It no longer waits for this one, and goes on.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        self.0.write_all(&[READY]).map_err(|error| {
            format!(
                "--state: the older process goes on, since this one took too long to start: {error}"
            )
        })?;
        tracing::info!("listening sockets taken over; the older process stops");
        Ok(())
    }
}

/// Offer of this process's sockets to a newer one.
pub(crate) struct Offer {
    /// Removed with the offer, and before the socket is closed: a newer process replaces the file once the
    /// socket is closed, and the new file may have the same number.
    _file: SocketFile,
    socket: UnixListener,
    admin: String,
    sockets: Vec<OwnedFd>,
    /// A newer process has the sockets, and may not be ready yet.
    is_sent: Arc<AtomicBool>,
}

impl Offer {
    /// Offers the sockets of the server. `None`: the address names no port, or the path is too long.
    pub(crate) async fn new(
        directory: &Path,
        listen: SocketAddr,
        server: &Server,
    ) -> io::Result<Option<Offer>> {
        let Some(path) = socket_path(directory, listen) else {
            return Ok(None);
        };
        let (socket, file) = bound(&path).await?;
        let admin = server.admin_address()?;
        Ok(Some(Offer {
            _file: file,
            socket,
            admin: admin.map(|admin| admin.to_string()).unwrap_or_default(),
            sockets: server.sockets()?,
            is_sent: Arc::default(),
        }))
    }

    /// Returns whether a newer process has the sockets, to be asked when this one stops.
    pub(crate) fn is_sent(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_sent)
    }

    /// Waits until a newer process accepts connections at the sockets.
    pub(crate) async fn taken(&self) {
        loop {
            let Ok((newer, _)) = self.socket.accept().await else {
                tokio::time::sleep(OFFER_PAUSE).await;
                continue;
            };
            if let Err(error) = send(&newer, &self.admin, &self.sockets) {
                tracing::warn!(%error, "listening sockets not handed over");
                continue;
            }
            self.is_sent.store(true, Ordering::Relaxed);
            // Ends early if the newer process ends.
            let message = tokio::time::timeout(REPLY_TIMEOUT, read(newer)).await;
            if matches!(message, Ok(Ok(READY))) {
                return;
            }
            self.is_sent.store(false, Ordering::Relaxed);
            tracing::info!("the newer process did not become ready; this one goes on");
        }
    }
}

async fn read(mut newer: tokio::net::UnixStream) -> io::Result<u8> {
    newer.read_u8().await
}

/// Binds the socket, once an older process has given it up.
async fn bound(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    for _ in 0..TRIES_TO_OFFER {
        // Asked here without blocking: an older process that has stopped does not answer.
        match tokio::net::UnixStream::connect(path).await {
            Err(error) if is_absent(&error) => return listen_on_file(path),
            _ => tokio::time::sleep(OFFER_PAUSE).await,
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Returns the path of the socket for a listening address.
fn socket_path(directory: &Path, listen: SocketAddr) -> Option<PathBuf> {
    /// Bytes of the longest path of a socket.
    const LONGEST: usize = 107;
    let name = listen.to_string().replace(':', "-");
    let path = directory.join(format!("listen-{name}-{}.sock", network_namespace()));
    (listen.port() != 0 && path.as_os_str().len() <= LONGEST).then_some(path)
}

/// Returns the number of the network namespace: another container may listen on the same address of its own.
fn network_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino())
}

/// Returns true when there is no older process.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}

/// Sends the sockets, and the address of the second one.
fn send(stream: &impl AsFd, admin: &str, sockets: &[OwnedFd]) -> io::Result<()> {
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    // At least one byte goes with the sockets.
    let text = format!("{admin}\n");
    let parts = [IoSlice::new(text.as_bytes())];
    sendmsg(stream, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what [`send`] sends.
fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 4096];
    let mut parts = [IoSliceMut::new(&mut text)];
    let received = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let sockets = sockets.flatten().collect();
    let text = String::from_utf8_lossy(&text[..received.bytes]);
    Ok((text.trim_end().to_owned(), sockets))
}
