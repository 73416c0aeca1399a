//! nginx process for a test, on a free port and with a directory of its own; killed with the test.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::TEST_TIMEOUT;

/// Running nginx; killed on drop.
pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
    directory: TempDir,
}

impl Nginx {
    /// Starts nginx with these server blocks. A free port replaces 127.0.0.1:8080.
    pub fn start(servers: &str) -> Nginx {
        // Another process may bind the free port first: nginx then exits, and the next port is
        // tried.
        let mut log = String::new();
        for _ in 0..20 {
            let address = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap();
            let directory = TempDir::new().unwrap();
            let child = spawn(
                &servers.replace("127.0.0.1:8080", &address.to_string()),
                &directory,
            );
            let mut nginx = Nginx {
                child,
                address,
                directory,
            };
            if nginx.is_ready() {
                return nginx;
            }
            log = nginx.log();
        }
        panic!("nginx did not start: {log}");
    }

    /// Waits until nginx accepts connections; false if it exits.
    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Contents of the error log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Spawns nginx as a single process that writes only to its directory.
fn spawn(servers: &str, directory: &TempDir) -> Child {
    let path = directory.path();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {};\n", path.join(name).display()))
        .concat();
    let pid = path.join("pid");
    let text = format!(
        "daemon off;\nmaster_process off;\npid {};\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{servers}\n}}\n",
        pid.display()
    );
    let config = path.join("nginx.conf");
    fs::write(&config, text).unwrap();
    // Debian installs nginx in a directory that is only in root's PATH.
    let search_path = format!(
        "{}:/usr/sbin:/usr/local/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    Command::new("nginx")
        .arg("-p")
        .arg(path)
        .arg("-c")
        .arg(&config)
        .arg("-e")
        .arg(path.join("log"))
        .env("PATH", search_path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need nginx: apt-get install nginx-light")
}
