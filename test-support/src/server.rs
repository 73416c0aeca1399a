//! What the server's tests share: start the real binary, talk to it over real sockets, end it.
//!
//! Every test has a server of its own on a free port, so that tests run side by side. Machines that
//! run tests are shared and noisy: waits are generous, and a count never depends on how fast a test
//! runs, because where tokens are counted they drip in too slowly to matter ([`SLOW`]).

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Client, PATIENCE, Response, eventually};

/// One token in 1000 seconds: no test lives long enough to see it.
pub const SLOW: &str = "0.001";

/// The server's binary, which cargo builds beside the tests of its package.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("tollgate");
    assert!(
        built.exists(),
        "{} is missing: cargo build -p tollgate-server",
        built.display()
    );
    built
}

/// The binary with its arguments, environment and files, not yet started.
pub struct Launch {
    command: Command,
    directory: TempDir,
    listen: Option<String>,
}

impl Launch {
    /// Listens on a free port of 127.0.0.1; knows nothing of this process's own settings.
    pub fn new() -> Launch {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os() {
            if name == "RUST_LOG" || name.to_string_lossy().starts_with("TOLLGATE_") {
                command.env_remove(name);
            }
        }
        let directory = TempDir::new().unwrap();
        Launch {
            command,
            directory,
            listen: Some("127.0.0.1:0".to_owned()),
        }
    }

    pub fn args(mut self, args: &[&str]) -> Launch {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.command.env(name, value);
        self
    }

    /// Writes a file into this launch's own directory.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a configuration file and starts with it.
    pub fn config(mut self, name: &str, text: &str) -> Launch {
        let path = self.file(name, text);
        self.command.arg("--config").arg(path);
        self
    }

    /// Replaces `--listen 127.0.0.1:0`; `None` leaves the address to the environment or the file.
    pub fn listen(mut self, address: Option<&str>) -> Launch {
        self.listen = address.map(str::to_owned);
        self
    }

    /// Starts under a limit of open files.
    pub fn open_files(mut self, limit: u32) -> Launch {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]);
        shell
            .arg(self.command.get_program())
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        self.command = shell;
        self
    }

    /// The process and the lines of its stdout.
    fn spawn(mut self) -> (Server, Receiver<String>) {
        if let Some(listen) = &self.listen {
            self.command.args(["--listen", listen]);
        }
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the binary starts");
        let (stderr, stderr_reader) = collect(child.stderr.take().unwrap());
        let (lines, stdout) = channel();
        let output = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let server = Server {
            child,
            address,
            stderr,
            stderr_reader: Some(stderr_reader),
            _directory: self.directory,
        };
        (server, stdout)
    }

    /// Starts the server and waits until it says where it listens.
    pub fn start(self) -> Server {
        let (mut server, stdout) = self.spawn();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = stdout.recv_timeout(left) else {
                panic!("the server does not start; stderr:\n{}", server.stderr());
            };
            if let Some(address) = address_in(&line) {
                server.address = address;
                return server;
            }
        }
    }

    /// Starts what must not start, and tells how it ended; `Err` with a note when it runs.
    pub fn refused(self) -> Result<Refusal, String> {
        let (mut server, stdout) = self.spawn();
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = stdout.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if address_in(&line).is_some() {
                return Err(format!("it started: {line}"));
            }
        }
        let status = server
            .exit_within(PATIENCE)
            .ok_or("it neither starts nor ends")?;
        server.stderr_reader.take().unwrap().join().unwrap();
        Ok(Refusal {
            code: status.code(),
            stderr: server.stderr(),
        })
    }
}

/// How a start that had to fail did fail.
pub struct Refusal {
    pub code: Option<i32>,
    pub stderr: String,
}

/// A running server; dropping it kills it.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    stderr: Arc<Mutex<String>>,
    stderr_reader: Option<JoinHandle<()>>,
    _directory: TempDir,
}

impl Server {
    /// The server with these flags on a free port.
    pub fn start(args: &[&str]) -> Server {
        Launch::new().args(args).start()
    }

    /// A gateway to this URL with more tokens than a test could use.
    pub fn gateway(url: &str) -> Server {
        Server::start(&[
            "--upstream",
            url,
            "--capacity",
            "1000000",
            "--refill-rate",
            SLOW,
        ])
    }

    /// The server with this capacity and no refill that a test could see.
    pub fn with_capacity(capacity: u32) -> Server {
        Server::start(&["--capacity", &capacity.to_string(), "--refill-rate", SLOW])
    }

    /// A connection from 127.0.0.1.
    pub fn client(&self) -> Client {
        Client::connect(self.address, None)
    }

    /// A connection whose peer address, to the server, is `source`.
    pub fn client_from(&self, source: &str) -> Client {
        let source: IpAddr = source.parse().unwrap();
        Client::connect(self.address, Some(source))
    }

    /// One GET on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        self.client().get(path)
    }

    /// One POST of JSON on a connection of its own.
    pub fn post(&self, path: &str, body: &str) -> Response {
        self.client().post(path, body)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that the server has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// The same, once this is part of it.
    pub fn logged(&self, text: &str) -> String {
        eventually(text, || self.stderr().contains(text));
        self.stderr()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the server to end by itself.
    pub fn exit_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The server has survived: it runs and answers.
    pub fn assert_healthy(&mut self) {
        assert!(
            self.is_running(),
            "the server died; stderr:\n{}",
            self.stderr()
        );
        assert_eq!(self.get("/health").status, 200);
        let log = self.stderr();
        assert!(!log.contains("panicked"), "the server panicked:\n{log}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line such as `Listening on http://127.0.0.1:41234`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest
        .find(|c: char| c.is_whitespace() || c == '/')
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Gathers what a process writes, as it writes it, until it ends.
fn collect(mut from: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&text);
    let reader = thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            into.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    });
    (text, reader)
}
