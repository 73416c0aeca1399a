//! Process of the server binary for a test, reached over real sockets.
//!
//! Every test starts a server of its own on a free port, so that tests run in parallel. Machines
//! that run tests are shared and noisy. Timeouts are therefore generous, and no count depends on
//! the speed of a test: where tokens are counted, the refill is too slow to matter ([`SLOW`]).

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Client, Response, TEST_TIMEOUT, eventually};

/// Refill rate of one token in 1000 seconds, which is longer than any test runs.
pub const SLOW: &str = "0.001";

/// Admin token of servers that need one.
pub const ADMIN_TOKEN: &str = "admin token of the tests";
/// Header with [`ADMIN_TOKEN`].
pub const AS_ADMIN: [(&str, &str); 1] = [("Authorization", "Bearer admin token of the tests")];

/// Path of the server's binary, which cargo builds beside the tests of its package.
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

/// Builder of a server process: arguments, environment and files.
pub struct Launch {
    command: Command,
    directory: TempDir,
    listen: Option<String>,
}

impl Default for Launch {
    fn default() -> Launch {
        Launch::new()
    }
}

impl Launch {
    /// Creates a launch on a free port of 127.0.0.1, without the settings in this process's
    /// environment.
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

    /// Writes a file to the directory of this launch.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a configuration file and adds `--config` with its path.
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

    /// Sets the limit of open files.
    pub fn open_files(self, limit: u32) -> Launch {
        self.ulimit(&format!("-n {limit}"))
    }

    /// Sets the soft limit of open files.
    pub fn soft_open_files(self, limit: u32) -> Launch {
        self.ulimit(&format!("-Sn {limit}"))
    }

    /// Passes listening sockets on, as systemd does. They must have been made inheritable.
    pub fn listen_fds(self, sockets: &[RawFd]) -> Launch {
        let redirections: String = (3..)
            .zip(sockets)
            .map(|(to, from)| format!("exec {to}<&{from}; "))
            .collect();
        let count = sockets.len();
        self.after(&format!(
            "{redirections}export LISTEN_FDS={count} LISTEN_PID=$$"
        ))
    }

    fn ulimit(self, limit: &str) -> Launch {
        self.after(&format!("ulimit {limit}"))
    }

    /// Starts the server from a shell, after this command.
    fn after(mut self, command: &str) -> Launch {
        // Not every sh redirects from descriptors above 9.
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("{command}; exec \"$@\""), "bash"]);
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

    /// Spawns the process; returns it and the lines of its stdout.
    fn spawn(mut self) -> (Server, Receiver<String>) {
        if let Some(listen) = &self.listen {
            self.command.args(["--listen", listen]);
        }
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("spawning the server");
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
            admin_address: None,
            start_line: String::new(),
            stderr,
            stderr_reader: Some(stderr_reader),
            _directory: self.directory,
        };
        (server, stdout)
    }

    /// Starts the server and waits until it prints its address.
    pub fn start(self) -> Server {
        let (mut server, stdout) = self.spawn();
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = stdout.recv_timeout(left) else {
                panic!("the server did not start; stderr:\n{}", server.stderr());
            };
            if let Some(address) = address_in(&line) {
                server.address = address;
                server.admin_address = line
                    .split_once("admin API: ")
                    .and_then(|(_, rest)| address_in(rest));
                server.start_line = line;
                return server;
            }
        }
    }

    /// Starts a server that must fail to start and returns its exit code and stderr.
    ///
    /// # Errors
    /// A description if the server starts, or neither starts nor exits.
    pub fn start_error(self) -> Result<StartError, String> {
        let (mut server, stdout) = self.spawn();
        let deadline = Instant::now() + TEST_TIMEOUT;
        while let Ok(line) = stdout.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if address_in(&line).is_some() {
                return Err(format!("the server started: {line}"));
            }
        }
        let status = server
            .exit_within(TEST_TIMEOUT)
            .ok_or("the server neither started nor exited")?;
        server.stderr_reader.take().unwrap().join().unwrap();
        Ok(StartError {
            code: status.code(),
            stderr: server.stderr(),
        })
    }
}

/// Outcome of a failed start.
pub struct StartError {
    pub code: Option<i32>,
    pub stderr: String,
}

/// Running server; killed on drop.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Address of `--admin-listen`, if the server listens there.
    pub admin_address: Option<SocketAddr>,
    /// Line on stdout that announced the addresses.
    pub start_line: String,
    stderr: Arc<Mutex<String>>,
    stderr_reader: Option<JoinHandle<()>>,
    _directory: TempDir,
}

impl Server {
    /// Starts a server with these flags on a free port.
    pub fn start(args: &[&str]) -> Server {
        Launch::new().args(args).start()
    }

    /// Starts a gateway to this URL with more tokens than a test uses.
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

    /// Starts a server with this capacity and a negligible refill.
    pub fn with_capacity(capacity: u32) -> Server {
        Server::start(&["--capacity", &capacity.to_string(), "--refill-rate", SLOW])
    }

    /// Opens a connection from 127.0.0.1.
    pub fn client(&self) -> Client {
        Client::connect(self.address, None)
    }

    /// Opens a connection to the admin listener.
    pub fn admin(&self) -> Client {
        Client::connect(
            self.admin_address.expect("the server has --admin-listen"),
            None,
        )
    }

    /// Opens a connection from the address `source`.
    pub fn client_from(&self, source: &str) -> Client {
        let source: IpAddr = source.parse().unwrap();
        Client::connect(self.address, Some(source))
    }

    /// Sends a GET request on a new connection.
    pub fn get(&self, path: &str) -> Response {
        self.client().get(path)
    }

    /// Sends a POST request with a JSON body on a new connection.
    pub fn post(&self, path: &str, body: &str) -> Response {
        self.client().post(path, body)
    }

    /// Returns the sum of the metrics whose line begins with this text.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.client().get_with("/metrics", &AS_ADMIN).text();
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
    }

    /// Returns the number of requests that have waited for their tokens.
    pub fn delayed(&self) -> u64 {
        self.metric("tollgate_delayed_requests_total ")
    }

    /// Sends a request, and returns its connection once the request waits for its tokens.
    pub fn waiting(&self) -> Client {
        let before = self.delayed();
        let client = self.sent();
        eventually("the request waits", || self.delayed() > before);
        client
    }

    /// Sends requests until one waits. Until the server notices that the client before is gone, they
    /// are refused, and counted by the metric with this beginning.
    pub fn assert_place_is_free(&self, refusals: &str) {
        let before = self.delayed();
        eventually("another request waits", || {
            let refused_before = self.metric(refusals);
            let _client = self.sent();
            eventually("it waits or is refused", || {
                self.delayed() > before || self.metric(refusals) > refused_before
            });
            self.delayed() > before
        });
    }

    /// Sends a request, and returns its connection.
    fn sent(&self) -> Client {
        let mut client = self.client();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that the server has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until stderr contains `text` and returns all of stderr.
    pub fn wait_for_log(&self, text: &str) -> String {
        eventually(text, || self.stderr().contains(text));
        self.stderr()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub fn resident_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        kib.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the server exits by itself; `None` on timeout.
    pub fn exit_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
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

    /// Asserts that the server runs, responds and has not panicked.
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

/// Parses the address in a line such as `Listening on http://127.0.0.1:41234`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest
        .find(|c: char| c.is_whitespace() || "/,)".contains(c))
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Collects the output of a process in a thread until the process exits.
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
