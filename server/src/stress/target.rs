//! The server that requests go to, and a connection to it.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1::{SendRequest, handshake},
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// Who has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    url: String,
    address: String,
    host: HeaderValue,
    path: Uri,
}

impl Target {
    /// `url` has a host: the command line has seen to that.
    pub(crate) fn new(url: &Uri) -> Result<Target, String> {
        let host = url.host().unwrap_or_default();
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let bad = |part| format!("--url: {url}: expected a usable {part}");
        Ok(Target {
            url: url.to_string(),
            address: format!("{host}:{}", url.port_u16().unwrap_or(80)),
            host: url
                .authority()
                .map_or(host, |authority| authority.as_str())
                .parse()
                .map_err(|_| bad("host"))?,
            path: path.parse().map_err(|_| bad("path"))?,
        })
    }

    pub(crate) async fn connect(&self) -> Result<Connection, String> {
        let failed = |error: &dyn Error| format!("cannot connect to {}: {error}", self.address);
        let stream = match timeout(PATIENCE, TcpStream::connect(&self.address)).await {
            Ok(stream) => stream.map_err(|error| failed(&error))?,
            Err(elapsed) => return Err(failed(&elapsed)),
        };
        // Without it requests are as right, and later.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // What goes wrong there shows in the answers.
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.path.clone();
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }
}

pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
}

impl Connection {
    /// Whether the server has not closed it, nor said that it will.
    pub(crate) async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// One request and its answer, to the last byte.
    pub(crate) async fn get(&mut self, target: &Target) -> Result<(StatusCode, Bytes), String> {
        let failed = |error: &dyn Error| {
            let cause = error
                .source()
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            format!("no answer from {}: {error}{cause}", target.url)
        };
        let exchange = async {
            let answer = self.sender.send_request(target.request()).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        match timeout(PATIENCE, exchange).await {
            Ok(answer) => answer.map_err(|error| failed(&error)),
            Err(elapsed) => Err(failed(&elapsed)),
        }
    }
}
