//! A server with a file that changes while it runs.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{Launch, PATIENCE, Server};

/// The server, and its file.
pub struct Reloaded {
    pub server: Server,
    pub path: PathBuf,
}

impl Reloaded {
    pub fn start(text: &str, flags: &[&str]) -> Reloaded {
        let launch = Launch::new();
        let path = launch.file("tollgate.toml", text);
        let server = launch
            .args(&["--config", path.to_str().unwrap()])
            .args(flags)
            .start();
        Reloaded { server, path }
    }

    /// Returns the line that says what came of it.
    pub fn reload(&self, text: &str) -> String {
        let before = self.lines().len();
        fs::write(&self.path, text).unwrap();
        self.server.signal(Signal::HUP);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.lines().get(before) {
                return line.clone();
            }
            assert!(
                Instant::now() < deadline,
                "nothing came of it: {}",
                self.server.stderr()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn lines(&self) -> Vec<String> {
        let text = self.server.stderr();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .filter(|line| line.contains("the configuration was"))
            .map(str::to_owned)
            .collect()
    }
}
