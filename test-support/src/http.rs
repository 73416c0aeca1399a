//! Minimal blocking HTTP/1.1 client with access to the raw bytes and a choice of source address.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::TEST_TIMEOUT;

/// HTTP/1.1 connection that is kept alive between requests.
pub struct Client {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects from the address `source`, or from any.
    ///
    /// # Panics
    /// If the server does not accept the connection.
    pub fn connect(server: SocketAddr, source: Option<IpAddr>) -> Client {
        Client::try_connect(server, source).expect("the server accepts a connection")
    }

    /// Connects from the address `source`, or from any.
    pub fn try_connect(server: SocketAddr, source: Option<IpAddr>) -> io::Result<Client> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect_timeout(&server.into(), TEST_TIMEOUT)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        stream.set_write_timeout(Some(TEST_TIMEOUT))?;
        Ok(Client {
            stream,
            unread: Vec::new(),
        })
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], "")
    }

    pub fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", path, headers, "")
    }

    pub fn post(&mut self, path: &str, body: &str) -> Response {
        self.request("POST", path, &[("Content-Type", "application/json")], body)
    }

    pub fn delete(&mut self, path: &str) -> Response {
        self.request("DELETE", path, &[], "")
    }

    /// Sends one request and reads its response.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let bytes = encode(method, path, headers, body);
        self.send(&bytes)
            .unwrap_or_else(|error| panic!("{method} {path}: sending failed: {error}"));
        self.read()
            .unwrap_or_else(|error| panic!("{method} {path}: no response: {error}"))
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the head of one response.
    pub fn head(&mut self) -> io::Result<Response> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let response = Response::head(&self.unread[..head_end])?;
        self.unread.drain(..head_end);
        Ok(response)
    }

    /// Reads exactly `length` bytes.
    pub fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            self.fill()?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    /// Reads one chunk of a chunked body; `None` is the last one.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.read_exact(1)?);
        }
        let length = std::str::from_utf8(&line)
            .ok()
            .and_then(|line| usize::from_str_radix(line.trim(), 16).ok());
        let length = length.ok_or_else(|| invalid("chunk"))?;
        let data = self.read_exact(length)?;
        self.read_exact(2)?;
        Ok((length > 0).then_some(data))
    }

    /// Reads one response; bytes of later ones stay buffered.
    pub fn read(&mut self) -> io::Result<Response> {
        let mut response = self.head()?;
        if (100..200).contains(&response.status) {
            return Ok(response);
        }
        match response.header("content-length").map(str::to_owned) {
            Some(length) => {
                let length: usize = length.parse().map_err(|_| invalid("Content-Length"))?;
                while self.unread.len() < length {
                    self.fill()?;
                }
                response.body = self.unread.drain(..length).collect();
            }
            // No content.
            None if response.status == 204 => {}
            None if response.header("transfer-encoding").is_some() => {
                return Err(invalid("chunked body: expected Content-Length"));
            }
            None => {
                while self.fill().is_ok() {}
                response.body = std::mem::take(&mut self.unread);
            }
        }
        Ok(response)
    }

    /// Number of received bytes that were not returned yet.
    pub fn unread(&self) -> usize {
        self.unread.len()
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 8192];
        match self.stream.read(&mut chunk)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.unread.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }

    /// Waits until the server closes or resets the connection; false on timeout.
    pub fn is_closed_within(&mut self, timeout: Duration) -> bool {
        self.stream.set_read_timeout(Some(timeout)).unwrap();
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) => {
                    return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            }
        }
    }
}

/// Encodes a request.
pub fn encode(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    text += body;
    text.into_bytes()
}

/// Complete response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    fn head(bytes: &[u8]) -> io::Result<Response> {
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("head"))?;
        let mut lines = text.trim_end().split("\r\n");
        let status = lines
            .next()
            .filter(|line| line.starts_with("HTTP/1."))
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .ok_or_else(|| invalid("status line"))?;
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').ok_or_else(|| invalid("header"))?;
                Ok((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<io::Result<_>>()?;
        Ok(Response {
            status,
            headers,
            body: Vec::new(),
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Value of a header that must be present and an integer.
    pub fn number(&self, name: &str) -> u64 {
        let value = self
            .header(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: expected an integer, got {value:?}"))
    }

    /// Asserts that the response has exactly these limit headers: `X-RateLimit-*` if `x`, and
    /// `draft`'s `RateLimit-Policy` with a `RateLimit` that starts with its second value.
    pub fn assert_limits(&self, x: bool, draft: Option<(&str, &str)>) {
        let x_present = ["Limit", "Remaining", "Reset"]
            .map(|name| self.header(&format!("X-RateLimit-{name}")).is_some());
        assert_eq!(x_present, [x; 3], "{self:?}");
        assert_eq!(
            self.header("RateLimit-Policy"),
            draft.map(|(policy, _)| policy),
            "{self:?}"
        );
        let starts_as_expected = self
            .header("RateLimit")
            .map(|limit| draft.is_some_and(|(_, start)| limit.starts_with(start)));
        assert_eq!(starts_as_expected, draft.map(|_| true), "{self:?}");
    }

    pub fn limit(&self) -> u64 {
        self.number("X-RateLimit-Limit")
    }

    pub fn remaining(&self) -> u64 {
        self.number("X-RateLimit-Remaining")
    }

    pub fn reset(&self) -> u64 {
        self.number("X-RateLimit-Reset")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// `retry_after` in the body of a 429 response.
    pub fn retry_after(&self) -> f64 {
        let body = self.json();
        body["retry_after"]
            .as_f64()
            .unwrap_or_else(|| panic!("no retry_after in {body}"))
    }

    /// `from` in the body of `GET /`: the client address that the server found.
    pub fn from(&self) -> String {
        let body = self.json();
        body["from"]
            .as_str()
            .unwrap_or_else(|| panic!("no from in {body}"))
            .to_owned()
    }
}

fn invalid(part: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("malformed response: {part}"),
    )
}
