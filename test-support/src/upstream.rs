//! An upstream written by hand, which does exactly what a test wants, and keeps what came.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crate::PATIENCE;

/// Ends when it is dropped.
pub struct Upstream {
    pub address: SocketAddr,
    log: Arc<Log>,
}

/// What has come.
#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// Connections that the gateway ended.
    ended: AtomicUsize,
    stopped: AtomicBool,
}

/// A request as it came: its head, byte by byte, and its body without chunks.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

/// A connection from the gateway.
pub struct Connection {
    pub stream: TcpStream,
    unread: Vec<u8>,
    log: Arc<Log>,
}

impl Upstream {
    /// Does the same with every connection, each in a thread of its own.
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
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (serve, log) = (Arc::clone(&serve), Arc::clone(&shared));
                thread::spawn(move || {
                    let mut connection = Connection {
                        stream,
                        unread: Vec::new(),
                        log,
                    };
                    // The gateway's end, or the test's.
                    if serve(&mut connection).is_err() {
                        connection.log.ended.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Upstream { address, log }
    }

    /// Gives every request this answer.
    pub fn answering(answer: &str) -> Upstream {
        let answer = answer.to_owned();
        Upstream::start(move |connection| {
            loop {
                connection.request()?;
                connection.send(answer.as_bytes())?;
            }
        })
    }

    /// Answers `200` with this text.
    pub fn saying(text: &str) -> Upstream {
        Upstream::answering(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.log.requests.lock().unwrap().clone()
    }

    /// The only request that came.
    pub fn only(&self) -> Seen {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }

    pub fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// Waits until the gateway has ended so many connections.
    pub fn wait_for_ends(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log.ended.load(Ordering::SeqCst) < count {
            assert!(
                Instant::now() < deadline,
                "the gateway keeps a connection that nobody waits for"
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
    /// Reads a whole request, and keeps it.
    pub fn request(&mut self) -> io::Result<Seen> {
        let head = self.head()?;
        let body = match (
            header(&head, "content-length"),
            header(&head, "transfer-encoding"),
        ) {
            (Some(length), None) => self.exactly(length.parse().unwrap())?,
            (None, Some(_)) => self.chunks()?,
            (None, None) => Vec::new(),
            both => panic!("two lengths went on: {both:?}"),
        };
        let seen = Seen { head, body };
        self.log.requests.lock().unwrap().push(seen.clone());
        Ok(seen)
    }

    /// Reads a request's head alone.
    pub fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(String::from_utf8(self.unread.drain(..at + 4).collect()).unwrap());
            }
            self.fill()?;
        }
    }

    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
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

    /// A chunk; `None` is the last one.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let length = usize::from_str_radix(&line, 16).expect("a chunk's length");
        let data = self.exactly(length)?;
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

    /// Waits until the gateway ends the connection.
    pub fn wait_for_end(&mut self) -> io::Result<()> {
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

impl Seen {
    /// The value of the one line with this name; more than one fail the test.
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
    assert!(found.len() < 2, "{name} is there more than once: {head}");
    found.first().copied()
}
