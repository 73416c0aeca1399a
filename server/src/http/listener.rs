//! Listening sockets: of the public port, and of the admin endpoints, which may be a Unix socket.

use std::{
    fs, io,
    net::{self, Ipv4Addr, SocketAddr},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            self,
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

use crate::{outage::Outage, values::AdminAddress};

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

/// Socket of a connection. It moves from the reactor of the accepting thread to a worker's.
pub(super) enum Socket {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

/// Listening socket of the admin endpoints that another process has bound.
#[derive(Debug)]
pub(crate) enum GivenAdmin {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener, FileOwner),
}

/// Owner of the file of a Unix socket, who removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileOwner {
    /// The process that listens last.
    Process,
    Systemd,
}

/// Listener of the admin endpoints.
pub(super) enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl AdminListener {
    pub(super) fn bind(address: &AdminAddress) -> io::Result<AdminListener> {
        match address {
            AdminAddress::Tcp(address) => listen(*address).map(AdminListener::Tcp),
            AdminAddress::Unix(path) => {
                let (listener, file) = listen_on_file(path)?;
                Ok(AdminListener::Unix(listener, file))
            }
        }
    }

    /// Takes a socket that another process listens on, or did.
    pub(super) fn given(given: GivenAdmin, address: &AdminAddress) -> io::Result<AdminListener> {
        match (given, address) {
            // An older process that was stopped meanwhile has removed its file.
            (GivenAdmin::Unix(_, FileOwner::Process), AdminAddress::Unix(path))
                if !path.exists() =>
            {
                AdminListener::bind(address)
            }
            (GivenAdmin::Unix(socket, owner), AdminAddress::Unix(path)) => {
                socket.set_nonblocking(true)?;
                let listener = UnixListener::from_std(socket)?;
                let file = match owner {
                    FileOwner::Process => SocketFile::of(path)?,
                    FileOwner::Systemd => SocketFile {
                        path: path.clone(),
                        inode: 0,
                        is_kept: true,
                    },
                };
                Ok(AdminListener::Unix(listener, file))
            }
            (GivenAdmin::Tcp(socket), _) => given_listener(socket).map(AdminListener::Tcp),
            (GivenAdmin::Unix(..), AdminAddress::Tcp(_)) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            AdminListener::Tcp(listener) => listener.as_fd(),
            AdminListener::Unix(listener, _) => listener.as_fd(),
        }
    }

    /// Leaves the file of a Unix socket to another process that listens on it.
    pub(super) fn keep_file(&mut self) {
        if let AdminListener::Unix(_, file) = self {
            file.is_kept = true;
        }
    }

    /// Returns the address, with the port that the system picked.
    pub(super) fn address(&self) -> io::Result<AdminAddress> {
        match self {
            AdminListener::Tcp(listener) => listener.local_addr().map(AdminAddress::Tcp),
            AdminListener::Unix(_, file) => Ok(AdminAddress::Unix(file.path.clone())),
        }
    }

    /// Accepts the next connection. The peer of a Unix socket counts as a loopback address.
    pub(super) async fn accept(&self, outage: &Outage) -> (io::Result<Socket>, SocketAddr) {
        match self {
            AdminListener::Tcp(listener) => {
                let (stream, address) = retried(outage, || listener.accept()).await;
                (stream.into_std().map(Socket::Tcp), address)
            }
            AdminListener::Unix(listener, _) => {
                let (stream, _) = retried(outage, || listener.accept()).await;
                let address = (Ipv4Addr::LOCALHOST, 0).into();
                (stream.into_std().map(Socket::Unix), address)
            }
        }
    }
}

/// Accepts a connection, however often that fails.
pub(super) async fn retried<T, F: Future<Output = io::Result<T>>>(
    outage: &Outage,
    accept: impl Fn() -> F,
) -> T {
    loop {
        match accept().await {
            Ok(accepted) => {
                if outage.record_success() {
                    tracing::info!("accept recovered");
                }
                return accepted;
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

/// Returns whether an accept failed because the peer closed the connection, and not because of this
/// server.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Binds a listener as tokio does, with a longer accept queue.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
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

/// Takes a listening socket that another process has bound.
pub(super) fn given_listener(socket: net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&socket).set_tcp_notsent_lowat(MAX_UNSENT_BYTES);
    TcpListener::from_std(socket)
}

/// Listens on a Unix socket that only this user can connect to.
pub(crate) fn listen_on_file(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile::of(path)?;
    // Before listen, no connection is accepted, so the permissions of the umask are never used.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok((socket.listen(BACKLOG)?, file))
}

/// Removes the file of a socket whose process ended without doing so. Other files stay, and binding
/// then fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// File of a listening Unix socket; removed on drop.
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
    /// Another process uses it.
    is_kept: bool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile {
            path: path.to_owned(),
            inode: fs::symlink_metadata(path)?.ino(),
            is_kept: false,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The file may be that of a server that was started meanwhile.
        let is_own = fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if is_own && !self.is_kept {
            // A file that stays is removed by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}
