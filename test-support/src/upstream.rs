//! Scripted upstream: runs a test's code for each connection and records the requests.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crate::TEST_TIMEOUT;

/// Running upstream; stopped on drop.
pub struct Upstream {
    pub address: SocketAddr,
    log: Arc<Log>,
}

/// Record of what the upstream received.
#[derive(Default)]
struct Log {
    requests: Mutex<Vec<ReceivedRequest>>,
    connections: AtomicUsize,
    /// Connections that the gateway closed.
    closed: AtomicUsize,
    stopped: AtomicBool,
}

/// Received request: the unmodified head, and the body without chunk framing.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub head: String,
    pub body: Vec<u8>,
}

/// Connection from the gateway.
pub struct Connection {
    pub stream: TcpStream,
    unread: Vec<u8>,
    log: Arc<Log>,
}

impl Upstream {
    /// Starts an upstream that runs `serve` for each connection in a thread of its own.
    pub fn start(
        serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, log, serve) = (
            listener.local_addr().unwrap(),
            Arc::<Log>::default(),
            Arc::new(serve),
        );
        let shared = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (serve, log) = (Arc::clone(&serve), Arc::clone(&shared));
                thread::spawn(move || {
                    let mut connection = Connection {
                        stream,
                        unread: Vec::new(),
                        log,
                    };
                    // The gateway has closed the connection, or the test has ended.
                    if serve(&mut connection).is_err() {
                        connection.log.closed.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Upstream { address, log }
    }

    /// Starts an upstream that sends this response to every request.
    pub fn responding(response: &str) -> Upstream {
        let response = response.to_owned();
        Upstream::start(move |connection| {
            loop {
                connection.request()?;
                connection.send(response.as_bytes())?;
            }
        })
    }

    /// Starts an upstream that responds with `200` and this body.
    pub fn with_body(text: &str) -> Upstream {
        Upstream::responding(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.log.requests.lock().unwrap().clone()
    }

    /// Returns the request, asserting that there was exactly one.
    pub fn single_request(&self) -> ReceivedRequest {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }

    pub fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// Waits until the gateway has closed `count` connections.
    pub fn wait_for_closed(&self, count: usize) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while self.log.closed.load(Ordering::SeqCst) < count {
            assert!(
                Instant::now() < deadline,
                "the gateway keeps an unused connection open"
            );
            thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.log.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Connection {
    /// Reads a whole request and records it.
    pub fn request(&mut self) -> io::Result<ReceivedRequest> {
        let head = self.head()?;
        let body = match (
            header(&head, "content-length"),
            header(&head, "transfer-encoding"),
        ) {
            (Some(length), None) => self.read_exact(length.parse().unwrap())?,
            (None, Some(_)) => self.chunks()?,
            (None, None) => Vec::new(),
            both => panic!("both Content-Length and Transfer-Encoding: {both:?}"),
        };
        let request = ReceivedRequest { head, body };
        self.log.requests.lock().unwrap().push(request.clone());
        Ok(request)
    }

    /// Reads the head of a request, without recording it.
    pub fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(String::from_utf8(self.unread.drain(..at + 4).collect()).unwrap());
            }
            self.fill()?;
        }
    }

    pub fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            self.fill()?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill()?;
        }
    }

    /// Reads a chunk; `None` is the last one.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let length = usize::from_str_radix(&line, 16).expect("the length of a chunk");
        let data = self.read_exact(length)?;
        assert_eq!(self.line()?, "");
        Ok((length > 0).then_some(data))
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(data) = self.chunk()? {
            body.extend(data);
        }
        Ok(body)
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits until the gateway closes the connection.
    pub fn wait_for_close(&mut self) -> io::Result<()> {
        loop {
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.unread.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }
}

impl ReceivedRequest {
    /// Value of a header; more than one line with this name fail the test.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn request_line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let found: Vec<_> = lines
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect();
    assert!(found.len() < 2, "{name}: expected at most one line: {head}");
    found.first().copied()
}
