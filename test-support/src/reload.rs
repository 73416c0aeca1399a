//! Server whose configuration file changes while it runs.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{Launch, Server, TEST_TIMEOUT};

/// Server and its configuration file.
pub struct Reloaded {
    pub server: Server,
    pub path: PathBuf,
}

impl Reloaded {
    /// Starts the server with a configuration file of this text.
    pub fn start(text: &str, flags: &[&str]) -> Reloaded {
        let launch = Launch::new();
        let path = launch.file("tollgate.toml", text);
        let server = launch
            .args(&["--config", path.to_str().unwrap()])
            .args(flags)
            .start();
        Reloaded { server, path }
    }

    /// Changes the file, sends SIGHUP and returns the log line with the outcome.
    pub fn reload(&self, text: &str) -> String {
        let before = self.lines().len();
        fs::write(&self.path, text).unwrap();
        self.server.signal(Signal::HUP);
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            if let Some(line) = self.lines().get(before) {
                return line.clone();
            }
            assert!(
                Instant::now() < deadline,
                "no outcome of the reload in the log: {}",
                self.server.stderr()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Log lines about reloads.
    pub fn lines(&self) -> Vec<String> {
        let text = self.server.stderr();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .filter(|line| {
                line.contains("configuration reloaded")
                    || line.contains("configuration not reloaded")
            })
            .map(str::to_owned)
            .collect()
    }
}
