//! redis-server process for a test, on a free port and with a directory of its own; killed with the
//! test.

use std::{
    collections::BTreeSet,
    future::Future,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use redis::{Connection, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use crate::TEST_TIMEOUT;

/// Running Redis server; killed on drop.
pub struct RedisServer {
    child: Child,
    pub port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    pub fn start() -> RedisServer {
        RedisServer::with(&[])
    }

    /// Starts a server with more arguments, such as `--maxmemory 1mb`.
    pub fn with(arguments: &[&str]) -> RedisServer {
        // Another process may bind the free port first: redis-server then exits, and the next port
        // is tried.
        for _ in 0..20 {
            let port = free_port();
            let directory = TempDir::new().unwrap();
            let arguments: Vec<String> = arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect();
            let child = spawn(port, &arguments, &directory);
            let mut server = RedisServer {
                child,
                port,
                arguments,
                directory,
            };
            if server.is_ready() {
                return server;
            }
        }
        panic!("redis-server did not start");
    }

    /// Starts a sentinel with this configuration file, which it also writes to.
    pub fn sentinel(config: &Path) -> RedisServer {
        RedisServer::with(&[config.to_str().unwrap(), "--sentinel"])
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Restarts the server on the same port with an empty data set.
    pub fn restart(&mut self) {
        self.child = spawn(self.port, &self.arguments, &self.directory);
        assert!(self.is_ready(), "redis-server did not restart");
    }

    /// Runs a command given as its words.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.connection().unwrap()).unwrap()
    }

    /// Number of calls of a command that the server has received.
    pub fn calls(&self, command: &str) -> u64 {
        let stats: String = self.command(&["INFO", "commandstats"]);
        let name = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&*name));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// Keys of all buckets.
    pub fn buckets(&self) -> Vec<String> {
        let keys: Vec<String> = self.command(&["KEYS", "*"]);
        keys.into_iter()
            .filter(|key| !key.ends_with(":settings"))
            .collect()
    }

    fn connection(&self) -> redis::RedisResult<Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(TEST_TIMEOUT)
    }

    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            // A server that requires a password is ready, too.
            let response = self
                .connection()
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
            match response {
                Ok(_) => return true,
                Err(error) if error.code() == Some("NOAUTH") => return true,
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Path of the server program: TOLLGATE_REDIS_SERVER, for example of `valkey-server`, or
/// `redis-server`.
fn program() -> String {
    std::env::var("TOLLGATE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Returns a free port that no other caller in this process gets. With a shared port, the test that
/// lost the race for it would connect to the other test's server.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        if TAKEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

fn spawn(port: u16, arguments: &[String], directory: &TempDir) -> Child {
    // The configuration file must be the first argument.
    let (file, options) = arguments.split_at(usize::from(
        arguments
            .first()
            .is_some_and(|first| first.starts_with('/')),
    ));
    let sentinel = options.iter().any(|option| option == "--sentinel");
    let persistence = if sentinel {
        &[][..]
    } else {
        &["--save", "", "--appendonly", "no"]
    };
    Command::new(program())
        .args(file)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .arg("--dir")
        .arg(directory.path())
        .args(persistence)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need a Redis server: apt-get install redis-server")
}

/// Polls until `condition` returns true; the asynchronous [`eventually`](crate::eventually).
pub async fn eventually<F: Future<Output = bool>>(
    expected: &str,
    mut condition: impl FnMut() -> F,
) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !condition().await {
        assert!(
            Instant::now() < deadline,
            "not within {TEST_TIMEOUT:?}: {expected}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
