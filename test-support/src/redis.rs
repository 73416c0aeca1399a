//! A real redis-server for a test: started on a free port with a directory of its own, ended with
//! the test.

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

pub use crate::PATIENCE;

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

    /// With more arguments, such as `--maxmemory 1mb`.
    pub fn with(arguments: &[&str]) -> RedisServer {
        // Another process may be faster to take the free port: then this one ends, and the next
        // port is tried.
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
        panic!("redis-server does not start");
    }

    /// A sentinel with this configuration, which it also writes to.
    pub fn sentinel(config: &Path) -> RedisServer {
        RedisServer::with(&[config.to_str().unwrap(), "--sentinel"])
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, with nothing in it.
    pub fn restart(&mut self) {
        self.child = spawn(self.port, &self.arguments, &self.directory);
        assert!(self.is_ready(), "redis-server does not start again");
    }

    /// A command as one types it.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.connection().unwrap()).unwrap()
    }

    /// Names of all buckets.
    pub fn buckets(&self) -> Vec<String> {
        let keys: Vec<String> = self.command(&["KEYS", "*"]);
        keys.into_iter()
            .filter(|key| !key.ends_with(":settings"))
            .collect()
    }

    fn connection(&self) -> redis::RedisResult<Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(PATIENCE)
    }

    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            // It answers, if only that it wants a password.
            let answer = self
                .connection()
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
            match answer {
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

/// `redis-server`, or what takes its place, such as `valkey-server`: with TOLLGATE_REDIS_SERVER its
/// path.
fn program() -> String {
    std::env::var("TOLLGATE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Nobody else in this process gets the same: who lost a race for it would take the winner's server
/// for its own.
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
    // A file comes first.
    let (file, options) = arguments.split_at(usize::from(
        arguments
            .first()
            .is_some_and(|first| first.starts_with('/')),
    ));
    let sentinel = options.iter().any(|option| option == "--sentinel");
    let own = if sentinel {
        &[][..]
    } else {
        &["--save", "", "--appendonly", "no"]
    };
    Command::new(program())
        .args(file)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .arg("--dir")
        .arg(directory.path())
        .args(own)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need a Redis server: apt-get install redis-server")
}

/// Waits until something holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
