//! Third-party programs that `scripts/parts` installs beside the build, and processes of them.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::TEST_TIMEOUT;

/// Returns the path of an installed program, such as `python/bin/uvicorn`.
pub fn installed_program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let found = test
        .ancestors()
        .map(|directory| directory.join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("target/{name} is missing: scripts/parts installs it"))
}

/// Third-party server on a free port of 127.0.0.1; killed on drop.
pub struct ExternalService {
    child: Child,
    pub address: SocketAddr,
}

impl ExternalService {
    /// Spawns the command for a free address and waits until it accepts connections.
    pub fn start(command: impl Fn(SocketAddr) -> Command) -> ExternalService {
        // Another process may bind the free port first: this one then exits, and the next port is
        // tried.
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
            let mut service = ExternalService { child, address };
            if service.is_ready() {
                return service;
            }
            let mut stderr = String::new();
            service
                .child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut stderr)
                .unwrap();
            assert!(
                stderr.to_lowercase().contains("in use"),
                "{command:?} exited: {stderr}"
            );
        }
        panic!("no free port for the service");
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the process accepts connections; false if it exits.
    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while self.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            assert!(Instant::now() < deadline, "the service did not start");
            thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for ExternalService {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
