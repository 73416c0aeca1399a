//! Minimal HTTP/1.1 client of the stress tool and the health check.

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1::{SendRequest, handshake},
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Timeout of connecting, and of a request with its response.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Address and path that requests are sent to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    url: String,
    address: Address,
    host: HeaderValue,
    path: Uri,
}

#[derive(Clone, Debug)]
enum Address {
    /// Host and port.
    Tcp(String),
    Unix(PathBuf),
}

impl Target {
    /// Creates a target from the path of a Unix socket and the path of the requests.
    pub(crate) fn on_socket(socket: &Path, path: &'static str) -> Target {
        Target {
            url: format!("unix:{}", socket.display()),
            address: Address::Unix(socket.to_owned()),
            host: HeaderValue::from_static("localhost"),
            path: Uri::from_static(path),
        }
    }

    /// Creates a target from a URL with a host, which the command line has validated.
    pub(crate) fn new(url: &Uri) -> Result<Target, String> {
        let host = url.host().unwrap_or_default();
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let invalid = |part| format!("--url: expected a valid {part}, got {url}");
        Ok(Target {
            url: url.to_string(),
            address: Address::Tcp(format!("{host}:{}", url.port_u16().unwrap_or(80))),
            host: url
                .authority()
                .map_or(host, |authority| authority.as_str())
                .parse()
                .map_err(|_| invalid("host"))?,
            path: path.parse().map_err(|_| invalid("path"))?,
        })
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Connection, String> {
        let connecting = async {
            match &self.address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // An error only affects latency.
                    let _ = stream.set_nodelay(true);
                    Connection::start(stream).await
                }
                Address::Unix(path) => Connection::start(UnixStream::connect(path).await?).await,
            }
        };
        match timeout(TIMEOUT, connecting).await {
            Ok(connection) => connection.map_err(|error| self.connect_error(&*error)),
            Err(elapsed) => Err(self.connect_error(&elapsed)),
        }
    }

    fn connect_error(&self, error: &dyn Error) -> String {
        let address = match &self.address {
            Address::Tcp(address) => address.as_str(),
            Address::Unix(_) => self.url.as_str(),
        };
        format!("connecting to {address} failed: {error}")
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.path.clone();
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }
}

/// Open connection to a target.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
}

impl Connection {
    async fn start(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Errors of the connection show up in the responses.
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    /// Waits until the connection can take a request; false if the server has closed it or
    /// announced that it will.
    pub(crate) async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends one request and reads the whole response.
    pub(crate) async fn get(&mut self, target: &Target) -> Result<(StatusCode, Bytes), String> {
        let failed = |error: &dyn Error| {
            let cause = error
                .source()
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            format!("no response from {}: {error}{cause}", target.url)
        };
        let exchange = async {
            let response = self.sender.send_request(target.request()).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        match timeout(TIMEOUT, exchange).await {
            Ok(response) => response.map_err(|error| failed(&error)),
            Err(elapsed) => Err(failed(&elapsed)),
        }
    }
}
