//! What `scripts/parts` has put beside the build: a program there, and a process that ends with its
//! test.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::PATIENCE;

/// The program of this name, such as `python/bin/uvicorn`, in the directory of the build.
pub fn part(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let found = test
        .ancestors()
        .map(|directory| directory.join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("target/{name} is missing: scripts/parts installs it"))
}

/// A service of somebody else, on a free port of 127.0.0.1.
pub struct Service {
    child: Child,
    pub address: SocketAddr,
}

impl Service {
    /// Starts what `command` makes for an address, and waits until it accepts connections.
    pub fn start(command: impl Fn(SocketAddr) -> Command) -> Service {
        // Another process may be faster to take the free port: then this one ends, and the next
        // port is tried.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap();
            let mut command = command(address);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let child = command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}: scripts/parts installs it"));
            let mut service = Service { child, address };
            if service.is_ready() {
                return service;
            }
            let mut said = String::new();
            service
                .child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            assert!(
                said.to_lowercase().contains("in use"),
                "{command:?} ends: {said}"
            );
        }
        panic!("the service finds no port");
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// False when it ends.
    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            assert!(Instant::now() < deadline, "the service does not start");
            thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
